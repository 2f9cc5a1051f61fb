"""What the reference leaves open, and the rest of the account: codes, lists that shift, lost patience, late results."""

import json
from typing import Any

import pytest
from emulator_tools import I2V, T2V, Caller, play

from kling_async.emulator import Emulator, Fault
from kling_async.emulator.legacy_rows import LEGACY_ROWS
from kling_async.emulator.refusals import CODES, Refusal
from kling_async.emulator.rows import read_nothing
from kling_async.emulator.service import Service

NEW = "/text-to-video/kling-3.0"
OMNI30 = "/omni-video/kling-3.0-omni"
IMAGES = "/v1/images/generations"
TRY_ON = "/v1/images/kolors-virtual-try-on"
SOUND = "/v1/audio/text-to-audio"
URL = "https://host/a.png"
DAY_S = 86_400

# Source: service reference, "Error codes".
STATUSES = {
    1000: 401,
    1001: 401,
    1002: 401,
    1003: 401,
    1004: 401,
    1100: 429,
    1101: 429,
    1102: 429,
    1103: 403,
    1200: 400,
    1201: 400,
    1202: 404,
    1203: 404,
    1300: 400,
    1301: 400,
    1302: 429,
    1303: 429,
    1304: 429,
    5000: 500,
    5001: 503,
    5002: 504,
}


def test_every_code_has_its_status() -> None:
    """A planned refusal by code alone comes with the HTTP status of that code, on creates, queries and calls."""
    assert {code: status for code, (status, _) in CODES.items()} == STATUSES

    async def story(kling: Caller) -> None:
        for code, status in STATUSES.items():
            kling.emulator.faults = [Fault(action="status", code=code)]
            for method, path in (("POST", T2V), ("GET", f"{T2V}/1"), ("POST", "/v1/videos/image-recognize")):
                refused = await kling.ask(method, path, json={"prompt": "a", "image": URL})
                assert (refused.status, refused.json["code"]) == (status, code)
                assert set(refused.json) == {"code", "message", "request_id"}
        kling.emulator.faults = [Fault(action="status", code=1303, status=503)]
        assert (await kling.get(T2V)).status == 503
        kling.emulator.faults = [Fault(action="status", code=9999)]
        assert (await kling.get(T2V)).status == 500
        assert (kling.emulator.tasks, kling.emulator.calls) == ([], [])

    play(story, dialect="official")


def test_calls_can_be_broken() -> None:
    """A call is a kind of request of its own: broken before it has no effect, after it has been billed."""

    async def story(kling: Caller) -> None:
        path = "/v1/videos/image-recognize"
        for stage, count in (("before", 0), ("after", 1)):
            kling.emulator.faults = [Fault(action="truncate", kind="call", stage=stage)]  # type: ignore[arg-type]
            with pytest.raises(Exception, match=r"payload|length|closed|transfer"):
                await kling.post(path, {"image": URL})
            assert len(kling.emulator.calls) == count
        kling.emulator.faults = []
        told = (await kling.ask("GET", "/_emulator/calls", bare=True)).json
        assert [(call["endpoint"], call["billed"]) for call in told] == [("image-recognize", 0.1)]

    play(story, dialect="official")


def test_pages_shift_while_tasks_are_created() -> None:
    """Newest first, the next page repeats a row for every task made meanwhile; oldest first, it does not."""

    async def story(kling: Caller) -> None:
        ids = [await kling.create() for _ in range(4)]
        first = [row["task_id"] for row in (await kling.get(f"{T2V}?pageNum=1&pageSize=2")).data]
        await kling.create()
        second = [row["task_id"] for row in (await kling.get(f"{T2V}?pageNum=2&pageSize=2")).data]
        assert (first, second) == ([ids[3], ids[2]], [ids[2], ids[1]])
        kling.emulator.list_order = "oldest"
        first = [row["task_id"] for row in (await kling.get(f"{T2V}?pageNum=1&pageSize=2")).data]
        await kling.create()
        second = [row["task_id"] for row in (await kling.get(f"{T2V}?pageNum=2&pageSize=2")).data]
        assert first + second == ids

    play(story, dialect="official")


def test_lists_may_never_forget() -> None:
    """After 30 days whole tasks are gone, or only their results: both are switches, for nobody knows."""

    async def story(kling: Caller) -> None:
        legacy = await kling.create()
        new = await kling.create(NEW)
        picture = await kling.create(IMAGES)
        kling.hand.at = 20
        url = (await kling.get(f"{T2V}/{legacy}")).data["task_result"]["videos"][0]["url"]
        kling.hand.at = 30 * DAY_S
        assert (await kling.get(T2V)).data == []
        assert (await kling.post("/tasks", {"start_time": "0"})).data["result"] == []
        kling.emulator.clears = "results"
        (row,) = (await kling.get(T2V)).data
        assert (row["task_id"], row["task_status"], row["task_result"]) == (legacy, "succeed", {"videos": []})
        assert (await kling.get(f"{IMAGES}/{picture}")).data["task_result"] == {"images": []}
        (row,) = (await kling.post("/tasks", {"start_time": "0"})).data["result"]
        assert (row["id"], row["outputs"]) == (new, [])
        assert row["billing"][0]["amount"] == "3"
        assert (await kling.get(url)).status in (403, 404)

    play(story, dialect="official")


def test_results_may_come_after_the_end() -> None:
    """A task may be told as succeeded before there is anything to fetch."""

    async def story(kling: Caller) -> None:
        legacy = await kling.create()
        new = await kling.create(NEW)
        kling.hand.at = 11
        ended = (await kling.get(f"{T2V}/{legacy}")).data
        assert (ended["task_status"], ended["task_result"]) == ("succeed", {"videos": []})
        (row,) = (await kling.get(f"/tasks?task_ids={new}")).data
        assert (row["status"], row["outputs"]) == ("succeeded", [])
        kling.hand.at = 15
        assert len((await kling.get(f"{T2V}/{legacy}")).data["task_result"]["videos"]) == 1

    play(story, dialect="official", results_after_s=5.0)


def test_gateways_lose_patience() -> None:
    """A gateway tells a slow task as failed and keeps to it, although the service finishes and bills it."""

    async def story(kling: Caller) -> None:
        ident = await kling.create()
        kling.hand.at = 599
        assert (await kling.get(f"{T2V}/{ident}")).data["status"] == "IN_PROGRESS"
        for moment in (600, 5000):
            kling.hand.at = moment
            told = (await kling.get(f"{T2V}/{ident}")).data
            assert (told["status"], told["fail_reason"]) == ("FAILURE", "任务超时（10分钟）")  # noqa: RUF001
        assert [task.status for task in kling.emulator.tasks] == ["succeed"]
        assert kling.emulator.spent == 1.0

    play(story, dialect="new-api", gateway_timeout_s=600.0, cache_s=0.0, duration_s=1000.0)


def test_hosts_that_are_no_such_gateway_wait_for_ever() -> None:
    async def story(kling: Caller) -> None:
        ident = await kling.create()
        kling.hand.at = 700
        assert (await kling.get(f"{T2V}/{ident}")).data["task_status"] == "processing"

    play(story, dialect="official", gateway_timeout_s=600.0, duration_s=1000.0)


def test_external_ids_of_the_legacy_standard() -> None:
    """Whether it refuses known ids is not proven, nor how long an id may be: switches."""

    async def story(kling: Caller) -> None:
        for _ in range(2):
            await kling.create(external_task_id="e")
        again = await kling.post(NEW, {"prompt": "a", "options": {"external_task_id": "e"}})
        assert "already exists" in again.json["message"]
        kling.emulator.external_id_limit = 64
        long = await kling.post(T2V, {"prompt": "a", "external_task_id": "x" * 65})
        assert (long.status, long.json["code"]) == (400, 1201)
        await kling.create(external_task_id="x" * 64)

    play(story, dialect="official", unique_legacy_ids=False)


def test_cursor_list_by_kind_of_product() -> None:
    """Videos, images and try-ons can be told apart; sounds are none of them."""

    async def story(kling: Caller) -> None:
        made = {
            "video": await kling.create(),
            "image": await kling.create(IMAGES),
            "try_on": await kling.create(TRY_ON, human_image=URL, cloth_image=URL),
        }
        await kling.create(SOUND, duration=3.0)
        for kind, ident in made.items():
            filters = [{"key": "product_type", "values": [kind]}]
            page = (await kling.post("/tasks", {"filters": filters})).data
            assert [row["id"] for row in page["result"]] == [ident], kind
        both = [{"key": "product_type", "values": ["image", "try_on"]}, {"key": "status", "values": ["succeeded"]}]
        assert (await kling.post("/tasks", {"filters": both})).data["result"] == []
        kling.hand.at = 20
        assert len((await kling.post("/tasks", {"filters": both})).data["result"]) == 2
        assert (await kling.post("/tasks", {})).data["count"] == 4

    play(story, dialect="official", batch_sees_legacy=True)


CREATES: list[tuple[str, dict[str, Any]]] = [
    (T2V, {"prompt": "[fail]"}),
    (I2V, {"image": URL, "prompt": "[fail]"}),
    (IMAGES, {"prompt": "[fail]", "n": 3}),
    (SOUND, {"prompt": "[fail]", "duration": 3.0}),
    ("/v1/videos/multi-image2video", {"prompt": "[fail]", "image_list": [{"image": URL}]}),
    ("/v1/videos/avatar/image2video", {"prompt": "[fail]", "image": URL, "sound_file": "https://host/s.mp3"}),
]


def test_failed_tasks_are_not_billed_and_give_back_their_slots() -> None:
    """Of whatever kind: no charge, no result, the reason in the task and not in the envelope, the slots free."""

    async def story(kling: Caller) -> None:
        for path, body in CREATES:
            created = await kling.post(path, body)
            assert created.status == 200, (path, created.raw)
            assert (await kling.post(path, body)).json["code"] == 1303, path
            kling.hand.at += 20
            told = (await kling.get(f"{path}/{created.data['task_id']}")).json
            ended = told["data"]
            assert (told["code"], told["message"]) == (0, "SUCCEED")
            assert (ended["task_status"], ended["task_result"]) == ("failed", {})
            assert ended["task_status_msg"]
            assert (ended["final_unit_deduction"], ended["final_balance_deduction"]["quota"]) == ("0", "0")
        assert kling.emulator.spent == 0

    play(story, dialect="official", slots={"video": 1, "image": 3, "audio": 1})


@pytest.mark.parametrize("dialect", ["official", "cometapi", "new-api", "crazyrouter", "flat", "mixed"])
def test_formats_of_flat_replies(dialect: str) -> None:
    """A picture's reply leads to a picture, in every dialect."""

    async def story(kling: Caller) -> None:
        ident = await kling.create(IMAGES)
        kling.hand.at = 30
        told = await kling.get(f"{IMAGES}/{ident}")
        assert ".png?" in json.dumps(told.json)
        if dialect in ("crazyrouter", "flat"):
            body = told.json.get("data", told.json)
            assert (body["format"], ".png?" in body["url"]) == ("png", True)

    play(story, dialect=dialect)


async def element(kling: Caller, kind: str) -> str:
    body: dict[str, Any] = {"element_name": "x", "element_description": "y", "reference_type": kind}
    if kind == "video_refer":
        body["element_video_list"] = {"refer_videos": [{"video_url": "https://host/v.mp4"}]}
    else:
        body["element_image_list"] = {"frontal_image": URL, "refer_images": [{"image_url": URL}]}
    path = "/v1/general/advanced-custom-elements"
    made = await kling.post(path, body)
    assert made.status == 200, made.raw
    kling.hand.at += 20
    told = (await kling.get(f"{path}/{made.data['task_id']}")).data
    return str(told["task_result"]["elements"][0]["element_id"])


def test_video_characters_count_more_than_other_elements() -> None:
    """Omni: 3 video characters and 4 inputs in all; with a video only one, and nothing beside it."""

    async def story(kling: Caller) -> None:
        films = [await element(kling, "video_refer") for _ in range(4)]
        plain = await element(kling, "image_refer")

        async def code(*idents: str, video: str = "", images: int = 0) -> int:
            contents: list[dict[str, str]] = [
                {"type": "element", "element_id": ident, "id": f"e{at}"} for at, ident in enumerate(idents)
            ]
            contents += [{"type": "refer_image", "url": URL}] * images
            if video:
                contents.append({"type": video, "url": "https://host/v.mp4"})
            body = {"contents": contents, "settings": {"aspect_ratio": "1:1"}}
            return int((await kling.post(OMNI30, body)).json["code"])

        assert await code(*films[:3]) == 0
        assert await code(*films) == 1201
        assert await code(*films[:3], plain) == 0
        assert await code(*films[:2], plain, images=2) == 1201
        assert await code(plain, images=6) == 0
        assert await code(films[0], video="feature_video") == 0
        assert await code(*films[:2], video="feature_video") == 1201
        assert await code(films[0], plain, video="base_video") == 1201
        assert await code(films[0], video="base_video", images=1) == 1201

    play(story, dialect="official")


def test_video_characters_cost_like_videos_on_4() -> None:
    async def story(kling: Caller) -> None:
        film = await element(kling, "video_refer")
        for kind, units in ((film, 4.5), ("123", 4.0)):
            before = kling.emulator.spent
            contents = [{"type": "element", "element_id": kind, "id": "e"}]
            assert (await kling.post("/omni-video/kling-4.0", {"contents": contents})).status == 200
            kling.hand.at += 20
            assert kling.emulator.spent - before == pytest.approx(units)

    play(story, dialect="official")


def test_shots_may_come_as_several_videos() -> None:
    """By switch each shot is a video of its own length, for one slot and one price; else there is one video."""

    async def story(kling: Caller) -> None:
        shots = [{"index": 1, "prompt": "a", "duration": "2"}, {"index": 2, "prompt": "b", "duration": "3"}]
        body: dict[str, Any] = {
            "multi_shot": True,
            "shot_type": "customize",
            "multi_prompt": shots,
            "model_name": "kling-v3",
        }
        for per_shot, lengths in ((False, [5.0]), (True, [2.0, 3.0])):
            kling.emulator.video_per_shot = per_shot
            before = kling.emulator.spent
            ident = await kling.create(**body)
            kling.hand.at += 20
            videos = (await kling.get(f"{T2V}/{ident}")).data["task_result"]["videos"]
            assert [float(video["duration"]) for video in videos] == pytest.approx(lengths, abs=0.11)
            assert kling.emulator.spent - before == pytest.approx(3.0)
            assert kling.emulator.tasks[-1].slots == 1
            assert len({(await kling.get(video["url"])).raw for video in videos}) == len(lengths)

    play(story, dialect="official", slots=1)


def test_only_calls_are_answered_as_calls() -> None:
    service = Service(Emulator())
    with pytest.raises(Refusal) as caught:
        service.call(LEGACY_ROWS[0], {}, 0.0)
    assert caught.value.code == 1202
    assert read_nothing(LEGACY_ROWS[0], {}).model == "kling-v1"
