"""The account: credentials, duplicates, slots, rate, pack, lag and retention."""

from typing import Any

import attrs
import pytest
from emulator_tools import EPOCH, OMNI, T2V, Caller, Hand, play, token

from kling_async.emulator import Emulator
from kling_async.emulator.assets import AssetStore
from kling_async.emulator.auth import Credentials, check_bearer
from kling_async.emulator.clock import Clock
from kling_async.emulator.legacy_rows import LEGACY_ROWS
from kling_async.emulator.refusals import Refusal
from kling_async.emulator.replies import legacy_row, new_row
from kling_async.emulator.routes import ROWS
from kling_async.emulator.service import Service

NEW = "/text-to-video/kling-3.0"
OWN = Credentials("key", "emulator-access-key", "emulator-secret-key")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 1001),
        ("  ", 1001),
        ("Basic abc", 1002),
        ("Bearer", 1002),
        ("Bearer nobody", 1000),
        ("Bearer a.b.c", 1002),
        ("Bearer !.!.!", 1002),
        (f"Bearer {token(secret='other')}", 1002),
        (f"Bearer {token(iss='other')}", 1002),
        (f"Bearer {token(header={'alg': 'none'})}", 1002),
        (f"Bearer {token(header=[1])}", 1002),
        (f"Bearer {token(header=b'x')}", 1002),
        (f"Bearer {token(exp=None)}", 1002),
        (f"Bearer {token(nbf=True)}", 1002),
        (f"Bearer {token(nbf=EPOCH + 1)}", 1003),
        (f"Bearer {token(exp=EPOCH)}", 1004),
        ("Bearer \udcff", 1000),
    ],
)
def test_refused_credentials(header: str | None, code: int) -> None:
    """Each way to be wrong has the service's own code."""
    with pytest.raises(Refusal) as caught:
        check_bearer(header, OWN, EPOCH, pair=True)
    assert (caught.value.code, caught.value.status) == (code, 401)


def test_good_credentials() -> None:
    check_bearer("Bearer key", OWN, EPOCH, pair=False)
    check_bearer(f"bearer {token()}", OWN, EPOCH, pair=True)
    check_bearer(f"Bearer {token(nbf=None)}", OWN, EPOCH, pair=True)


def test_tokens_are_for_the_legacy_standard() -> None:
    """Documented only there; a switch lets them in everywhere."""

    async def story(kling: Caller) -> None:
        assert (await kling.post(T2V, {"prompt": "x"}, key=token())).status == 200
        for method, path in (("POST", NEW), ("GET", "/tasks?task_ids=1"), ("POST", "/tasks")):
            reply = await kling.ask(method, path, key=token(), json={"prompt": "x"})
            assert (reply.status, reply.json["code"]) == (401, 1002)
        kling.emulator.jwt_on_new_standard = True
        assert (await kling.post(NEW, {"prompt": "x"}, key=token())).status == 200
        kling.hand.at = 1800
        assert (await kling.get(f"{T2V}/1", key=token())).json["code"] == 1004

    play(story, dialect="official")


def test_tokens_ignore_speed() -> None:
    """A caller's clock is not fast-forwarded, so its tokens are judged by the plain one."""

    async def story(kling: Caller) -> None:
        kling.hand.at = 100
        assert kling.emulator.now() == EPOCH + 100_000
        assert (await kling.post(T2V, {"prompt": "x"}, key=token())).status == 200

    play(story, dialect="official", speed=1000)


def test_clock() -> None:
    hand = Hand(5.0)
    clock = Clock(2.0, None, hand)
    assert (clock.now(), clock.since_start()) == (0.0, 0.0)
    clock.start()
    clock.start()
    assert clock.epoch is not None
    assert clock.epoch > 1e9
    hand.at = 6.0
    assert clock.since_start() == 2.0
    assert clock.real(3.0) == 1.5


def test_duplicates_are_refused_for_good() -> None:
    """An external id is burnt for good, also across endpoints and after a failure."""

    async def story(kling: Caller) -> None:
        await kling.create(external_task_id="e", prompt="[fail]")
        kling.hand.at = 20
        again = await kling.post(NEW, {"prompt": "x", "options": {"external_task_id": "e"}})
        assert again.status == 400
        assert again.json["code"] == 1201
        assert "already exists" in again.json["message"]
        kling.emulator.duplicate_code, kling.emulator.duplicate_status = 1200, 409
        again = await kling.post(T2V, {"prompt": "x", "external_task_id": "e"})
        assert (again.status, again.json["code"]) == (409, 1200)
        assert len(kling.emulator.tasks) == 1
        kling.emulator.unique_external_ids = False
        newest = await kling.create(external_task_id="e")
        assert (await kling.get(f"{T2V}/e")).data["task_id"] == newest
        kling.emulator.external_lookup = False
        assert (await kling.get(f"{T2V}/e")).status == 400
        await kling.create(external_task_id="")
        await kling.create(external_task_id="")

    play(story, dialect="official")


def test_duplicates_found_by_batch() -> None:
    async def story(kling: Caller) -> None:
        for _ in range(2):
            await kling.create(NEW, options={"external_task_id": "e"})
        assert len((await kling.get("/tasks?external_task_ids=e")).data) == 2

    play(story, dialect="official", unique_external_ids=False)


def test_slots_are_counted_per_model() -> None:
    """A slot is held from the create to the end, per model version; queries cost none."""

    async def story(kling: Caller) -> None:
        for _ in range(2):
            await kling.create(model_name="kling-v3")
        full = await kling.post(T2V, {"prompt": "x", "model_name": "kling-v3"})
        assert full.status == 429
        assert full.json == {
            "code": 1303,
            "message": "parallel task over resource pack limit",
            "request_id": full.json["request_id"],
        }
        await kling.create(model_name="kling-v1")
        kling.hand.at = 10
        full = await kling.post(T2V, {"prompt": "x", "model_name": "kling-v3"})
        assert full.status == 429
        kling.hand.at = 11
        await kling.create(model_name="kling-v3")

    play(story, dialect="official", slots=2, slot_release_s=0.5)


def test_slots_by_name() -> None:
    async def story(kling: Caller) -> None:
        await kling.create(model_name="kling-v3")
        assert (await kling.post(T2V, {"prompt": "x", "model_name": "kling-v3"})).status == 429
        await kling.create(model_name="kling-v1")
        await kling.create(model_name="kling-v1")
        assert (await kling.post(T2V, {"prompt": "x", "model_name": "kling-v1"})).status == 429
        kling.emulator.slots = {"image": 0}
        await kling.create(model_name="kling-v1")

    play(story, slots={"kling-v3": 1, "video": 2})


def test_rate() -> None:
    """Above the rate every authenticated request is a 1302, until the second has passed."""

    async def story(kling: Caller) -> None:
        for _ in range(2):
            assert (await kling.get(T2V)).status == 200
        assert (await kling.get(T2V)).json["code"] == 1302
        assert (await kling.get(T2V, key="bad")).json["code"] == 1000
        kling.hand.at = 0.5
        assert (await kling.get(T2V)).status == 200
        assert (await kling.get(T2V)).status == 429

    play(story, dialect="official", requests_per_s=2.0)


def test_pack_runs_out() -> None:
    """Units are kept for running tasks; one too many is a 1102, which is no invitation to retry."""

    async def story(kling: Caller) -> None:
        await kling.create()
        await kling.create(prompt="[fail]")
        await kling.create()
        empty = await kling.post(T2V, {"prompt": "x"})
        assert (empty.status, empty.json["code"]) == (429, 1102)

    play(story, dialect="official", units=2.0)


def test_lag_and_retention() -> None:
    """A task is seen some time after its creation, and no more after the retention."""

    async def story(kling: Caller) -> None:
        old = await kling.create(NEW, options={"external_task_id": "e"})
        legacy = await kling.create()
        assert (await kling.get(f"/tasks?task_ids={old}")).data == []
        assert (await kling.get(f"{T2V}/{legacy}")).status == 400
        assert (await kling.get(T2V)).data == []
        assert (await kling.post("/tasks", {})).data["result"] == []
        kling.hand.at = 2
        assert len((await kling.get("/tasks?external_task_ids=e")).data) == 1
        assert len((await kling.get(T2V)).data) == 1
        kling.hand.at = 30 * 86_400
        await kling.create()
        assert (await kling.get("/tasks?external_task_ids=e")).data == []
        assert (await kling.get(T2V)).data == []
        assert (await kling.get(f"{T2V}/{legacy}")).status == 400

    play(story, dialect="official", visible_after_s=2.0)


def test_ledger_keeps_bodies_but_not_floods() -> None:
    async def story(kling: Caller) -> None:
        body: dict[str, Any] = {
            "prompt": "a",
            "callback_url": "https://me/x",
            "external_task_id": "e",
            "unknown": ["b" * 70_000],
        }
        await kling.create(**body)
        (task,) = kling.emulator.tasks
        assert task.body["prompt"] == "a"
        assert task.body["unknown"][0].startswith("<70000 characters, sha256 ")
        assert (task.endpoint, task.model, task.slots, task.billed) == ("text2video", "kling-v1", 1, 0.0)
        assert (task.external_id, task.callback_url) == ("e", "https://me/x")
        assert (task.created_at, task.ended_at) == (EPOCH, None)
        kling.hand.at = 11
        assert (kling.emulator.tasks[0].billed, kling.emulator.spent) == (1.0, 1.0)

    play(story)


@pytest.mark.parametrize(
    ("path", "body", "units"),
    [
        (T2V, {"model_name": "kling-v3", "sound": "on", "mode": "pro", "duration": "3"}, 3.6),
        (T2V, {"model_name": "kling-v2-6", "sound": "on", "mode": "pro", "voice_list": [{"voice_id": "v"}]}, 6.0),
        (T2V, {"model_name": "kling-future", "duration": 10}, 6.0),
        (T2V, {"model_name": "kling-v2-5-turbo", "sound": "on"}, 1.5),
        (OMNI, {"video_list": [{"video_url": "https://h/v.mp4"}]}, 6.0),
        ("/text-to-video/kling-3.0-turbo", {"settings": {"resolution": "1080p"}}, 5.0),
        ("/text-to-video/kling-3.0", {"settings": {"resolution": "4k", "audio": "native", "duration": 4}}, 12.0),
        (
            "/motion-control/kling-3.0",
            {
                "contents": [{"type": "image", "url": "https://h/i.png"}, {"type": "video", "url": "https://h/v"}],
                "settings": {"character_orientation": "video"},
            },
            4.5,
        ),
    ],
)
def test_prices(path: str, body: dict[str, object], units: float) -> None:
    async def story(kling: Caller) -> None:
        await kling.create(path, **body)
        kling.hand.at = 100
        assert kling.emulator.spent == units

    play(story, dialect="official")


def test_every_row_has_its_own_path() -> None:
    assert len({row.path for row in ROWS}) == len({row.name for row in ROWS}) == len(ROWS)


def test_images_take_as_many_slots_and_make_as_many_results() -> None:
    """A row may say which field counts slots and results; the table decides, not the code."""
    own: dict[str, Any] = {"name": "images", "path": "/v1/images", "pack": "image", "result": "images"}
    row = attrs.evolve(LEGACY_ROWS[0], count_field="n", slots=None, **own)
    emulator = Emulator(slots=4, duration_s={"text2video": 1.0}, lenient=True)
    service = Service(emulator)
    with pytest.raises(Refusal, match="parallel task"):
        service.create(row, {"prompt": "a", "n": 5}, 0.0)
    task = service.create(row, {"prompt": "a", "n": 3, "watermark_info": {"enabled": True}}, 0.0)
    assert 100 < task.ended_at < 2000
    with pytest.raises(Refusal):
        service.create(row, {"prompt": "a", "n": 2}, 0.0)
    service.create(row, {"prompt": "a"}, 0.0)
    told = service.snapshot(task, 2000.0, AssetStore(0, 60.0, fresh=True), "http://h", "r")
    images = legacy_row(told)["task_result"]["images"]
    assert [image["index"] for image in images] == [0, 1, 2]
    assert len({image["watermark_url"] for image in images}) == 3
    assert [output["type"] for output in new_row(told)["outputs"]] == ["image"] * 3
