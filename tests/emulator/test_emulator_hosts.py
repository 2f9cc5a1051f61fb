"""Every dialect: whole replies, error bodies and abilities of each family of hosts."""

import json
from typing import Any

import pytest
from emulator_tools import EPOCH, EPOCH_MS, I2V, OMNI, T2V, Caller, play

from kling_async.emulator import Emulator, Fault
from kling_async.emulator.dialects import SATURATED


async def finished(kling: Caller, path: str = T2V, **body: Any) -> tuple[str, Any]:
    ident = await kling.create(path, **body)
    kling.hand.at += 100
    return ident, (await kling.get(f"{path}/{ident}")).json


def test_cometapi() -> None:
    """CometAPI: 19-digit ids, no request id and an empty task_info on create, D1 on query."""

    async def story(kling: Caller) -> None:
        created = await kling.post(I2V, {"image": "https://host/a.png", "external_task_id": "e"})
        ident = created.data["task_id"]
        assert len(ident) == 19
        assert created.json == {
            "code": 0,
            "message": "SUCCEED",
            "data": {
                "task_id": ident,
                "task_status": "submitted",
                "task_info": {},
                "created_at": EPOCH_MS,
                "updated_at": EPOCH_MS,
            },
        }
        kling.hand.at = 11
        told = (await kling.get(f"{I2V}/e")).json
        assert told["request_id"] == ident
        assert told["data"]["task_info"] == {"external_task_id": "e"}
        assert told["data"]["task_result"]["videos"][0]["url"].startswith("http://127.0.0.1")
        for path in (I2V, "/tasks?task_ids=1"):
            reply = await kling.get(path)
            assert (reply.status, reply.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        bare = await kling.ask("POST", T2V, bare=True, json={"prompt": "x"})
        assert bare.status == 404
        refused = await kling.post(T2V, {})
        assert (refused.status, refused.json["code"], refused.json["message"]) == (400, 1201, "prompt is required")

    play(story)


def test_bad_key_at_a_gateway() -> None:
    """A gateway answers a bad key in its own form, and takes no tokens of the pair."""

    async def story(kling: Caller) -> None:
        for key in ("wrong", None, "a.b.c"):
            reply = await kling.get(f"{T2V}/1", key=key)
            assert reply.status == 401
            message = reply.json["error"]["message"]
            assert message.startswith("Invalid token (request id: ")
            assert reply.json == {"error": {"message": message, "type": "new_api_error", "code": ""}}

    for dialect in ("cometapi", "new-api", "flat", "mixed", "crazyrouter"):
        play(story, dialect=dialect)


def test_older_omni_form() -> None:
    """D8: a gateway's wrapping with the service's object directly inside; other endpoints stay D1."""

    async def story(kling: Caller) -> None:
        _, told = await finished(kling, OMNI, aspect_ratio="1:1")
        assert told["code"] == "success"
        assert told["data"]["status"] == "SUCCESS"
        assert told["data"]["data"]["task_result"]["videos"][0]["url"]
        _, told = await finished(kling)
        assert told["data"]["task_status"] == "succeed"

    play(story, older_omni_form=True)


def test_older_omni_form_before_the_first_round() -> None:
    async def story(kling: Caller) -> None:
        ident = await kling.create(OMNI, aspect_ratio="1:1")
        kling.hand.at = 1
        assert (await kling.get(f"{OMNI}/{ident}")).data["data"] is None

    play(story, older_omni_form=True, cache_s=15.0)


def test_new_api() -> None:
    """new-api: own ids, D6 create, D7 query from a cache of 15 s."""

    async def story(kling: Caller) -> None:
        created = await kling.post(T2V, {"prompt": "x", "model_name": "kling-v2-6", "external_task_id": "e"})
        ident = created.json["id"]
        assert ident.startswith("task_")
        assert created.json == {
            "id": ident,
            "task_id": ident,
            "object": "video",
            "model": "kling-v2-6",
            "status": "",
            "progress": 0,
            "created_at": int(EPOCH),
        }
        row = {
            "id": 1,
            "created_at": int(EPOCH),
            "updated_at": int(EPOCH),
            "task_id": ident,
            "platform": "50",
            "user_id": 1,
            "group": "default",
            "channel_id": 3,
            "quota": 0,
            "action": "textGenerate",
            "status": "NOT_START",
            "fail_reason": "",
            "result_url": "",
            "submit_time": int(EPOCH),
            "start_time": 0,
            "finish_time": 0,
            "progress": "0%",
            "properties": {},
            "data": None,
        }
        kling.hand.at = 1
        assert (await kling.get(f"{T2V}/{ident}")).json == {"code": "success", "message": "", "data": row}
        # The next round of the gateway is at a multiple of 15 s of Unix time.
        kling.hand.at = 15 - EPOCH % 15
        kling_id = kling.emulator.tasks[0].task_id
        told = (await kling.get(f"{T2V}/{ident}")).data
        assert (told["status"], told["progress"]) == ("IN_PROGRESS", "30%")
        assert told["data"]["data"]["task_id"] == kling_id
        kling.hand.at = 14 - EPOCH % 15 + 15
        assert (await kling.get(f"{T2V}/{ident}")).data["status"] == "IN_PROGRESS"
        kling.hand.at = 30
        for path in (f"{T2V}/{ident}", f"/v1/video/generations/{ident}"):
            reply = await kling.ask("GET", path, bare=not path.startswith(T2V))
            data = reply.data
            url = data["result_url"]
            assert data == row | {
                "updated_at": int(EPOCH) + 10,
                "status": "SUCCESS",
                "result_url": url,
                "start_time": data["start_time"],
                "finish_time": int(EPOCH) + 10,
                "progress": "100%",
                "data": data["data"],
            }
            assert data["data"]["data"]["task_result"]["videos"][0]["url"] == url
        video = (await kling.ask("GET", f"/v1/videos/{ident}", bare=True)).json
        assert video == {
            "id": ident,
            "task_id": ident,
            "object": "video",
            "model": "kling-v2-6",
            "status": "completed",
            "progress": 100,
            "created_at": EPOCH_MS,
            "completed_at": EPOCH_MS + 10_000,
            "seconds": video["seconds"],
            "metadata": {"url": url},
        }
        for unknown in (f"{T2V}/e", f"{T2V}/{kling_id}", f"{T2V}/x"):
            reply = await kling.get(unknown)
            assert reply.status == 400
            assert reply.json == {"code": "task_not_exist", "message": "task_not_exist", "data": None}
        assert (await kling.get(T2V)).status == 404

    play(story, dialect="new-api")


def test_new_api_failures() -> None:
    async def story(kling: Caller) -> None:
        ident, told = await finished(kling, prompt="[fail]")
        assert told["data"]["status"] == "FAILURE"
        assert "risk control" in told["data"]["fail_reason"]
        video = (await kling.ask("GET", f"/v1/videos/{ident}", bare=True)).json
        assert (video["status"], video["error"]["code"]) == ("failed", "task_failed")
        assert "metadata" not in video
        ident = await kling.create()
        video = (await kling.ask("GET", f"/v1/videos/{ident}", bare=True)).json
        assert (video["status"], video["progress"]) == ("queued", 0)

    play(story, dialect="new-api")


def test_new_api_old() -> None:
    """Older new-api: the service's own id, the URL of a success in fail_reason."""

    async def story(kling: Caller) -> None:
        ident = await kling.create()
        assert len(ident) == 18
        young = (await kling.get(f"{T2V}/{ident}")).data
        assert "result_url" not in young
        assert young["data"]["data"]["task_status"] == "submitted"
        kling.hand.at = 30
        told = (await kling.get(f"{T2V}/{ident}")).data
        assert told["fail_reason"].startswith("http://")
        assert told["fail_reason"] == told["data"]["data"]["task_result"]["videos"][0]["url"]

    play(story, dialect="new-api-old")


def test_new_api_wraps_refusals() -> None:
    """E2: the service's answer as text in `message`; every 429 becomes one sentence; E2b for a 200 with a code."""

    async def story(kling: Caller) -> None:
        refused = await kling.post(T2V, {"prompt": "x", "mode": "ultra"})
        assert refused.status == 400
        assert refused.json["code"] == "fail_to_fetch_task"
        assert refused.json["data"] is None
        inside = json.loads(refused.json["message"])
        assert inside == {
            "code": 1201,
            "message": "mode value 'ultra' is invalid",
            "request_id": inside["request_id"],
        }
        await kling.create()
        full = await kling.post(T2V, {"prompt": "x"})
        assert full.status == 429
        assert full.json == {"code": "fail_to_fetch_task", "message": SATURATED, "data": None}
        for body in ({}, {"prompt": ""}):
            missing = await kling.post(T2V, body)
            assert missing.status == 400
            assert missing.json == {"code": "invalid_request", "message": "prompt is required", "data": None}
        malformed = await kling.ask("POST", T2V, data=b"{")
        assert (malformed.status, malformed.json["code"]) == (400, "invalid_request")
        kling.emulator.errors_as_200 = True
        failed = await kling.post(T2V, {"prompt": "x", "mode": "ultra"})
        assert failed.status == 400
        assert failed.json == {"code": "task_failed", "message": "mode value 'ultra' is invalid", "data": None}
        nobody = await kling.post(T2V, {"prompt": "x", "model_name": "kling-v9"})
        assert nobody.status == 503
        assert nobody.json["error"]["code"] == "model_not_found"

    play(story, dialect="new-api", slots=1, refused_models={"kling-v9"})


def test_new_api_queries_refuse_by_themselves() -> None:
    async def story(kling: Caller) -> None:
        await kling.get(f"{T2V}/1")
        slow = await kling.get(f"{T2V}/1")
        assert slow.status == 429
        assert slow.json["error"]["code"] == "1302"

    play(story, dialect="new-api", requests_per_s=1.0)


def test_gateway_words_as_faults() -> None:
    """A gateway that loses its own row answers 500 although the task exists."""

    async def story(kling: Caller) -> None:
        reply = await kling.post(T2V, {"prompt": "x"})
        assert reply.status == 500
        assert reply.json == {"code": "insert_task_failed", "message": "insert_task_failed", "data": None}
        assert len(kling.emulator.tasks) == 1

    fault = Fault(action="status", stage="after", kind="create", status=500, code="insert_task_failed")
    play(story, dialect="new-api", faults=[fault])


def test_crazyrouter() -> None:
    """D9: flat under a success wrapper; a failed task is a success too."""

    async def story(kling: Caller) -> None:
        ident = await kling.create()
        assert (await kling.get(f"{T2V}/{ident}")).json == {
            "code": "success",
            "message": "",
            "data": {
                "task_id": ident,
                "status": "queued",
                "url": "",
                "format": "mp4",
                "metadata": None,
                "error": None,
            },
        }
        kling.hand.at = 11
        done = (await kling.get(f"{T2V}/{ident}")).data
        assert (done["status"], done["error"]) == ("succeeded", None)
        assert done["url"].startswith("http")
        _, told = await finished(kling, prompt="[fail]")
        assert told["code"] == "success"
        assert told["data"]["error"]["code"] == "task_failed"

    play(story, dialect="crazyrouter")


def test_flat() -> None:
    """D10: no wrapper at all, an error object with code 0 on success, E3 for every refusal."""

    async def story(kling: Caller) -> None:
        ident, told = await finished(kling)
        assert told == {
            "task_id": ident,
            "status": "completed",
            "url": told["url"],
            "format": "mp4",
            "error": {"code": 0, "message": ""},
            "metadata": {
                "duration": told["metadata"]["duration"],
                "fps": 24,
                "width": 1280,
                "height": 720,
                "seed": 1,
            },
        }
        _, failed = await finished(kling, prompt="[fail]")
        assert (failed["status"], failed["error"]["code"], failed["url"]) == ("failed", 1, "")
        refused = await kling.post(T2V, {})
        assert refused.status == 400
        assert refused.json["error"]["code"] == "1201"

    play(story, dialect="flat")


def test_mixed() -> None:
    """D12: new paths behind a gateway, told with new names and old words; legacy paths as ever."""

    async def story(kling: Caller) -> None:
        path = "/text-to-video/kling-3.0-turbo"
        ident, told = await finished(kling, path)
        videos = told["data"]["task_result"]["videos"]
        assert told == {"code": 0, "data": {"id": ident, "status": "succeed", "task_result": {"videos": videos}}}
        _, failed = await finished(kling, path, prompt="[fail]")
        assert failed["data"]["status"] == "failed"
        assert "risk" in failed["data"]["message"]
        _, legacy = await finished(kling)
        assert legacy["data"]["task_status"] == "succeed"
        assert (await kling.get("/tasks?task_ids=1")).status == 404

    play(story, dialect="mixed")


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("1201", 400, {"code": 1201, "message": "Task not found by id/external id"}),
        ("1203", 404, {"code": 1203, "message": "Task not found by id/external id"}),
        ("empty", 200, {"code": 0, "message": "SUCCEED", "data": []}),
        ("task_not_exist", 400, {"code": "task_not_exist", "message": "task_not_exist", "data": None}),
    ],
)
def test_unknown_task(kind: str, status: int, body: dict[str, object]) -> None:
    async def story(kling: Caller) -> None:
        reply = await kling.get(f"{T2V}/nobody")
        told = reply.json
        told.pop("request_id", None)
        assert (reply.status, told) == (status, body)

    play(story, dialect="official", unknown_task=kind)


def test_errors_as_200() -> None:
    async def story(kling: Caller) -> None:
        reply = await kling.post(T2V, {})
        assert (reply.status, reply.json["code"]) == (200, 1201)

    play(story, dialect="official", errors_as_200=True)


def test_refused_model() -> None:
    async def story(kling: Caller) -> None:
        reply = await kling.post(T2V, {"prompt": "x", "model_name": "kling-v1"})
        assert (reply.status, reply.json["code"]) == (404, 1203)

    play(story, refused_models=["kling-v1"])


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="dialect must be one of"):
        Emulator(dialect="french")
    with pytest.raises(ValueError, match="speed must be positive"):
        Emulator(speed=0)


def test_given_abilities_win_over_the_dialect() -> None:
    """What is given is taken; what is not follows the dialect."""
    plain = Emulator(dialect="new-api")
    assert (plain.lists, plain.batch, plain.external_lookup) == (False, False, False)
    assert (plain.unknown_task, plain.cache_s) == ("task_not_exist", 15.0)
    turned = Emulator(dialect="new-api", lists=True, batch=True, external_lookup=True, unknown_task="1203", cache_s=0.0)
    assert (turned.lists, turned.batch, turned.external_lookup) == (True, True, True)
    assert (turned.unknown_task, turned.cache_s) == ("1203", 0.0)
