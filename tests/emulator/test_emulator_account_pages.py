"""Account pages: packs and deductions, fed from the emulator's own ledger."""

from typing import Any

import pytest
from emulator_tools import EPOCH, EPOCH_MS, T2V, Caller, play, token

from kling_async.emulator import ResourcePack

COSTS = "/account/costs"
BALANCE = "/account/billing/balance"
PACKAGE = "/account/billing/package"
DAY_MS = 86_400_000
ALL = {"start_time": EPOCH_MS - DAY_MS, "end_time": EPOCH_MS + DAY_MS}
WIDE = f"start_time={EPOCH_MS - 400 * DAY_MS}&end_time={EPOCH_MS + 400 * DAY_MS}"


def pack(name: str, **more: Any) -> ResourcePack:
    """A pack bought an hour before the start and good for a day after it."""
    moments: dict[str, Any] = {"purchased_at": EPOCH - 3600, "effective_at": EPOCH - 3600, "invalid_at": EPOCH + 86_400}
    said: dict[str, Any] = {"name": name, "pack_id": f"id-{name}", "total": 3.0} | moments | more
    return ResourcePack(**said)


async def packs(kling: Caller, query: str = WIDE) -> list[dict[str, Any]]:
    reply = await kling.get(f"{COSTS}?{query}")
    assert reply.status == 200, reply.raw
    assert (reply.data["code"], reply.data["msg"]) == (0, "success")
    return list(reply.data["resource_pack_subscribe_infos"])


def test_packs_are_told_with_a_lag() -> None:
    """What is left is told as of twelve hours ago; failed tasks take nothing."""

    async def story(kling: Caller) -> None:
        await kling.create()
        await kling.create(prompt="[fail]")
        await kling.post("/v1/images/generations", {"prompt": "a", "n": 2})
        await kling.post("/v1/audio/tts", {"text": "a", "voice_id": "v"})
        kling.hand.at = 60
        told = {row["resource_pack_name"]: row for row in await packs(kling)}
        video = told["Emulator pack (video)"]
        bought = EPOCH_MS - 60 * DAY_MS
        assert video == {
            "resource_pack_name": "Emulator pack (video)",
            "resource_pack_id": "pack-video",
            "resource_pack_type": "decreasing_total",
            "total_quantity": 100_000.0,
            "remaining_quantity": 100_000.0,
            "purchase_time": bought,
            "effective_time": bought,
            "invalid_time": bought + 365 * DAY_MS,
            "status": "online",
        }
        kling.hand.at = 60 + 12 * 3600
        left = {row["resource_pack_id"]: row["remaining_quantity"] for row in await packs(kling)}
        # The speech has no pack of its own.
        assert left == {"pack-video": 100_000 - 1.05, "pack-image": 100_000.0 - 16, "pack-try_on": 100_000.0}

    play(story, dialect="official")


def test_the_window_is_that_of_the_purchase() -> None:
    """A window of 30 days hides a pack that is good but was bought before."""

    async def story(kling: Caller) -> None:
        assert await packs(kling, f"start_time={EPOCH_MS - 30 * DAY_MS}&end_time={EPOCH_MS + DAY_MS}") == []
        (one,) = await packs(kling, f"{WIDE}&resource_pack_name=Emulator%20pack%20(image)")
        assert one["resource_pack_id"] == "pack-image"
        assert await packs(kling, f"{WIDE}&resource_pack_name=nobody") == []

    play(story, dialect="official")


@pytest.mark.parametrize(
    "query", ["", "start_time=1", "end_time=1", "start_time=x&end_time=1", "start_time=2&end_time=1"]
)
def test_times_are_required(query: str) -> None:
    """Wrong times are refused outside, or by the inner code: nobody has shown which."""

    async def story(kling: Caller) -> None:
        refused = await kling.get(f"{COSTS}?{query}")
        assert (refused.status, refused.json["code"]) == (400, 1201)
        kling.emulator.inner_account_errors = True
        inner = await kling.get(f"{COSTS}?{query}")
        assert (inner.status, inner.json["code"], inner.data["code"]) == (200, 0, 1201)
        assert inner.data["resource_pack_subscribe_infos"] == []
        assert inner.data["msg"]

    play(story, dialect="official")


def test_states_of_packs() -> None:
    """The first bought is used up first; a pack may be yet to come, good, used up, or over."""

    async def story(kling: Caller) -> None:
        for _ in range(4):
            await kling.create()
        empty = await kling.post(T2V, {"prompt": "a"})
        assert empty.status == 200
        full = await kling.post(T2V, {"prompt": "a", "model_name": "kling-v2-master"})
        assert (full.status, full.json["code"]) == (429, 1102)
        kling.hand.at = 100
        told = {row["resource_pack_name"]: (row["remaining_quantity"], row["status"]) for row in await packs(kling)}
        assert told == {
            "first": (0.0, "runOut"),
            "second": (1.0, "online"),
            "later": (3.0, "toBeOnline"),
            "old": (0.0, "expired"),
            "period": (9.0, "online"),
        }
        kinds = {row["resource_pack_name"]: row["resource_pack_type"] for row in await packs(kling)}
        assert kinds["period"] == "constant_period"

    settings = [
        pack("old", total=0.0, purchased_at=EPOCH - 9999, invalid_at=EPOCH - 1),
        pack("first"),
        pack("second", purchased_at=EPOCH - 1800),
        pack("later", purchased_at=EPOCH - 600, effective_at=EPOCH + 5000),
        pack("period", pack="image", total=9.0, kind="constant_period"),
    ]
    play(story, dialect="official", packs=settings, costs_lag_s=0.0)


def test_costs_may_be_limited() -> None:
    async def story(kling: Caller) -> None:
        await packs(kling)
        assert (await kling.get(f"{COSTS}?{WIDE}")).json["code"] == 1302
        kling.hand.at = 1
        await packs(kling)

    play(story, dialect="official", costs_per_s=1.0)


def test_packs_of_the_units_switch() -> None:
    async def story(kling: Caller) -> None:
        assert [row["total_quantity"] for row in await packs(kling)] == [7.0]
        kling.emulator.units = {"video": 2.0, "image": 3.0}
        assert [row["total_quantity"] for row in await packs(kling)] == [2.0, 3.0]

    play(story, dialect="official", units=7.0)


def test_deductions_in_money() -> None:
    """Each ended task is a line: what was on the account before, what it cost, what is left."""

    async def story(kling: Caller) -> None:
        first = await kling.create(model_name="kling-v2-6", sound="on", mode="pro", duration="10")
        kling.hand.at = 5
        second = await kling.create("/text-to-video/kling-3.0", settings={"audio": "native"})
        await kling.create(prompt="[fail]")
        kling.hand.at = 12
        running = (await kling.post(BALANCE, ALL)).data
        assert [line["task_id"] for line in running["result"]["detail"]] == [first]
        kling.hand.at = 20
        told = (await kling.post(BALANCE, ALL)).data
        assert (told["result"]["count"], told["next_cursor"], told["has_more"]) == (2, "", False)
        newer, older = told["result"]["detail"]
        assert older == {
            "task_id": first,
            "api_key_name": "emulator",
            "product_function": "text2video",
            "model_name": "kling-v2-6",
            "resolution": "1080p",
            "duration": older["duration"],
            "refer_video_input": False,
            "video_sound": "native",
            "voice_control": False,
            "deduction_time": EPOCH_MS + 10_000,
            "cash_type": "balance",
            "balance_before_deduction": "100",
            "deduction_amount": "1.4",
            "balance_after_deduction": "98.6",
            "list_price": "1.4",
            "currency": "CNY",
        }
        assert (newer["task_id"], newer["balance_before_deduction"]) == (second, "98.6")
        assert (newer["video_sound"], newer["resolution"]) == ("native", "720p")
        assert (await kling.post(PACKAGE, ALL)).data["result"] == {"detail": [], "count": 0}

    play(story, dialect="official", charge="cash", currency="CNY", balance=100.0)


def test_deductions_from_packs() -> None:
    """Units go to the pack page, of tasks and of synchronous calls alike; the money page is empty then."""

    async def story(kling: Caller) -> None:
        await kling.post("/v1/images/generations", {"prompt": "a", "resolution": "2k"})
        await kling.post("/v1/audio/tts", {"text": "a", "voice_id": "v"})
        kling.hand.at = 11
        image, speech = (await kling.post(PACKAGE, ALL)).data["result"]["detail"]
        assert (image["package_type"], image["deduction_amount"]) == ("image", "8")
        assert (image["resource_pack_name"], image["resolution"]) == ("Emulator pack (image)", "2k")
        assert (speech["package_type"], speech["deduction_amount"]) == ("audio", "0.05")
        assert speech["resource_pack_name"] == "Emulator pack (video)"
        assert (await kling.post(BALANCE, ALL)).data["result"]["count"] == 0
        face = await kling.post("/v1/videos/identify-face", {"video_url": "https://host/v.mp4"})
        assert face.status == 200
        newest = (await kling.post(PACKAGE, ALL)).data["result"]["detail"][0]
        assert (newest["product_function"], newest["task_id"]) == ("identify-face", "")

    play(story, dialect="official")


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_by_cursor(order: Any) -> None:
    """After the first call the cursor is everything: times, limit and filters beside it are void."""

    async def story(kling: Caller) -> None:
        ids = []
        for second in range(5):
            kling.hand.at = second
            ids.append(await kling.create())
        kling.hand.at = 100
        seen: list[str] = []
        body: dict[str, Any] = ALL | {
            "limit": 2,
            "filters": [{"key": "api_key_name", "values": ["emulator", "other"]}],
        }
        sizes = []
        while True:
            page = (await kling.post(PACKAGE, body)).data
            seen += [line["task_id"] for line in page["result"]["detail"]]
            sizes.append(page["result"]["count"])
            if not page["has_more"]:
                break
            kling.hand.at += 100
            await kling.create()
            body = {"cursor": page["next_cursor"], "limit": 9, "start_time": 0, "end_time": 1, "filters": "x"}
        assert sizes == ([2, 2, 1] if order == "newest" else [2, 2, 2])
        assert seen[:5] == (ids if order == "oldest" else ids[::-1])

    play(story, dialect="official", list_order=order)


def test_filters_and_bounds_of_deductions() -> None:
    async def story(kling: Caller) -> None:
        await kling.create()
        kling.hand.at = 11
        other = ALL | {"filters": [{"key": "api_key_name", "values": ["other"]}]}
        assert (await kling.post(PACKAGE, other)).data["result"]["count"] == 0
        late = ALL | {"start_time": EPOCH_MS + 10_001}
        assert (await kling.post(PACKAGE, late)).data["result"]["count"] == 0
        exact = {"start_time": str(EPOCH_MS + 10_000), "end_time": EPOCH_MS + 10_000, "limit": 500}
        assert (await kling.post(PACKAGE, exact)).data["result"]["count"] == 1
        for wrong in (
            {},
            {"start_time": 1},
            ALL | {"limit": 501},
            ALL | {"limit": 0},
            ALL | {"limit": "5"},
            ALL | {"filters": [{"key": "status", "values": []}]},
            ALL | {"filters": [{"key": "api_key_name"}]},
            ALL | {"start_time": -1},
            {"cursor": "rubbish"},
            {"cursor": "WzFd"},
        ):
            for path in (PACKAGE, BALANCE):
                refused = await kling.post(path, wrong)
                assert (refused.status, refused.json["code"]) == (400, 1201), wrong

    play(story, dialect="official")


def test_who_may_ask() -> None:
    """Both credentials are taken, as on the older paths; gateways and the old host have no such pages."""

    async def story(kling: Caller) -> None:
        assert (await kling.get(f"{COSTS}?{WIDE}", key=token())).status == 200
        assert (await kling.get(f"{COSTS}?{WIDE}", key=None)).json["code"] == 1001
        assert (await kling.get(f"/v1{COSTS}?{WIDE}")).json["code"] == 1202
        assert (await kling.post(COSTS, {})).json["code"] == 1202
        assert (await kling.get(BALANCE)).json["code"] == 1202

    async def elsewhere(kling: Caller) -> None:
        assert (await kling.get(f"{COSTS}?{WIDE}")).status == 404
        assert (await kling.post(BALANCE, ALL)).status == 404

    play(story, dialect="official")
    for dialect in ("cometapi", "new-api", "mixed", "official-old-host"):
        play(elsewhere, dialect=dialect)


def test_unchecked_bodies_do_not_spoil_the_pages() -> None:
    async def story(kling: Caller) -> None:
        await kling.post(T2V, {"video_list": 5, "contents": "x", "settings": 7, "voice_list": [1]})
        kling.hand.at = 11
        (line,) = (await kling.post(PACKAGE, ALL)).data["result"]["detail"]
        assert (line["refer_video_input"], line["voice_control"]) == (False, False)

    play(story, dialect="official", lenient=True)
