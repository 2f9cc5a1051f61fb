"""Section 20 of the service reference, case by case: what a real service produces and naive clients get wrong.

One short test a case, through the real client where it can be; the long ones are in test_journey, test_trouble and
test_hostile, and the tables in tests/unit.
"""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import json
import logging
import os
import re
import struct
import zlib
from decimal import Decimal
from email.utils import formatdate
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from flow_tools import EPOCH, assert_paid_once, client, clip, kinds, service, wall
from test_trouble import assert_all_done, run_all, running_most

from kling_async import (
    AccountError,
    AddSelection,
    BadEnvelope,
    CallbackRejected,
    ConfigError,
    DeadlineExceeded,
    DownloadError,
    IdempotencyMismatch,
    ImageGeneration,
    ImageToVideo,
    InitSelection,
    InvalidRequest,
    Job,
    KlingError,
    KlingSession,
    NoOutputs,
    Observation,
    Operation,
    Policy,
    PolicyRejected,
    RequestRejected,
    ServiceError,
    SlotsFull,
    Status,
    TaskFailed,
    TaskStatus,
    TaskVanished,
    TextToSpeech,
    TextToVideo,
    TransportError,
    official,
)
from kling_async.emulator import Emulator, Fault
from kling_async.webhook import Webhook, decode_callback

TASK = "867000000000000001"
PICTURE = "https://pictures.example/first.png"
SINGLES: dict[str, Any] = {"lists": False, "batch": False}


def dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def enveloped(data: object) -> bytes:
    return dump({"code": 0, "message": "SUCCEED", "request_id": "r1", "data": data})


async def id_to_come(dialect: str = "official") -> str:
    """The id under which an emulator of this dialect gives out its first task: the seed decides it."""
    async with service(dialect) as emulator, client(emulator) as kling:
        return await (await kling.submit(clip())).accepted()


async def observed(row: object, *, body: bytes | None = None, dialect: str = "cometapi") -> Observation:
    """What a question of the user's own makes of a task object."""
    answer = Fault(action="body", kind="single", body=enveloped(row) if body is None else body)
    async with service(dialect, faults=[answer]) as emulator, client(emulator) as kling:
        return await kling.query(TASK, "text2video")


async def ended(payload: object, dialect: str = "cometapi", **submit: Any) -> Job:
    """A job that was accepted, and whose single queries are then all answered like this (TASK stands for its id)."""
    async with service(dialect, duration_s=50_000.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip(), **submit)
        task_id = await job.accepted()
        answer = dump(payload).replace(b"TASK", task_id.encode())
        emulator.faults.append(Fault(action="body", kind="single", body=answer))
        with contextlib.suppress(KlingError):
            await job
        assert_paid_once(emulator, 1)
        return job


def turbo(text: str = "a red bicycle", **options: Any) -> Operation:
    """A small valid request of the new standard."""
    settings = {"duration": 5, "aspect_ratio": "16:9", "resolution": "720p"}
    return Operation(
        operation="text-to-video", model="kling-3.0", prompt=text, settings=settings, options=options or None
    )


# --- create ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"code": 1201, "message": "duration is invalid", "request_id": "r1"}, RequestRejected),
        ({"code": "1301", "message": "policy"}, PolicyRejected),
        ({"code": "task_failed", "message": "invalid model name", "data": None}, RequestRejected),
    ],
    ids=["number", "number as text", "word"],
)
async def test_case_01_a_refusal_under_http_200_is_a_refusal(body: object, kind: type[KlingError]) -> None:
    """Section 20, case 1: HTTP 200 with a non-zero code ends the job, unpaid."""
    refusal = Fault(action="body", kind="create", status=200, body=dump(body))
    async with service(faults=[refusal]) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        with pytest.raises(kind) as caught:
            await job
        assert (job.status, caught.value.paid, caught.value.retryable) == (Status.REJECTED, "no", False)
        assert kinds(emulator)["create"] == 1


async def test_case_01_1303_under_any_4xx_is_waited_for() -> None:
    """Section 20, case 1: the code in the body, not the status 400, says that a slot is missing."""
    full = Fault(action="body", kind="create", status=400, body=dump({"code": 1303, "message": "full"}), times=2)
    async with service(faults=[full]) as emulator, client(emulator) as kling:
        assert (await kling.generate(clip())).url
        assert kinds(emulator)["create"] == 3
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("code", [1100, 1101, 1102, 1304])
async def test_case_02_some_429_are_final(code: int) -> None:
    """Section 20, case 2: account, money and address do not mend themselves by waiting."""
    async with (
        service(faults=[Fault(action="status", kind="create", status=429, code=code)]) as emulator,
        client(emulator) as kling,
    ):
        with pytest.raises(AccountError) as caught:
            await kling.generate(clip())
        assert (caught.value.code, caught.value.paid, caught.value.retryable) == (code, "no", False)
        assert kinds(emulator)["create"] == 1


@pytest.mark.parametrize(
    "refusal",
    [
        {"action": "status", "code": 1302},
        {"action": "status", "code": 1303},
        {"action": "html"},
        {"action": "body", "body": b'{"error":{"message":"slow down","type":"new_api_error","code":""}}'},
    ],
    ids=["1302", "1303", "a page", "a gateway's"],
)
async def test_case_02_other_429_are_waited_out(refusal: dict[str, Any]) -> None:
    """Section 20, case 2: throttling, slots, and a 429 without any code of the service."""
    fault = Fault(kind="create", status=429, times=2, **refusal)
    async with service(faults=[fault]) as emulator, client(emulator) as kling:
        assert (await kling.generate(clip())).url
        creates = [request.at for request in emulator.requests if request.kind == "create"]
        assert len(creates) == 3
        assert all(after > before for before, after in pairwise(creates))
        assert_paid_once(emulator, 1)


async def test_case_03_the_services_code_is_found_inside_a_gateways_message() -> None:
    """Section 20, case 3: the inner 1301 and 1102 end the job as what they are, 1303 is waited for."""

    def wrapped(code: int, status: int, **limits: Any) -> Fault:
        inner = json.dumps({"code": code, "message": "inside", "request_id": "u1"})
        body = dump({"code": "fail_to_fetch_task", "message": inner, "data": None})
        return Fault(action="body", kind="create", status=status, body=body, **limits)

    async with service("new-api") as emulator, client(emulator) as kling:
        emulator.faults.append(wrapped(1301, 400, times=1))
        with pytest.raises(PolicyRejected) as caught:
            await kling.generate(clip())
        assert (caught.value.code, caught.value.message, caught.value.paid) == (1301, "inside", "no")
        emulator.faults.append(wrapped(1102, 429, times=1))
        with pytest.raises(AccountError) as unpaid:
            await kling.generate(clip())
        assert (unpaid.value.code, unpaid.value.retryable) == (1102, False)
        emulator.faults.append(wrapped(1303, 400, times=2))
        assert (await kling.generate(clip())).url
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize(
    "loss",
    [
        {"action": "reset"},
        {"action": "hang"},
        {"action": "html", "status": 502},
        {"action": "status", "status": 504, "code": 5002},
        {"action": "status", "status": 500, "code": "insert_task_failed"},
        {"action": "status", "status": 500, "code": "unmarshal_response_failed"},
        {"action": "status", "status": 500, "code": "do_request_failed"},
    ],
    ids=lambda loss: str(loss.get("code", loss["action"])),
)
async def test_case_04_a_lost_answer_is_looked_up_and_never_sent_again_blindly(loss: dict[str, Any]) -> None:
    """Section 20, case 4: the task exists and bills; it is found, and it is the only one."""
    fault = Fault(stage="after", kind="create", **loss)
    async with service(faults=[fault], unique_external_ids=False) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        assert (await job).task_id == emulator.tasks[0].task_id
        assert kinds(emulator)["create"] == 1
        assert_paid_once(emulator, 1)


async def test_case_04_the_new_standard_is_asked_for_many_ids_at_once() -> None:
    """Section 20, case 4: thirty lost answers are thirty tasks, found by their external ids."""
    lost = Fault(action="reset", stage="after", kind="create")
    async with service(faults=[lost], unique_external_ids=False) as emulator, client(emulator) as kling:
        assert_all_done([job async for job in kling.map(turbo(f"scene {index}") for index in range(30))])
        assert kinds(emulator)["create"] == 30
        assert_paid_once(emulator, 30)


async def test_case_04_a_create_of_the_new_standard_lost_before_its_effect_is_sent_again() -> None:
    """Section 20, case 4: a host that finds others by external id, and this one never, has not got it."""
    async with service(duration_s=400.0) as emulator, client(emulator) as kling:
        await (await kling.submit(turbo("shows that the host finds by external id"))).accepted()
        await asyncio.sleep(20)
        emulator.faults.append(Fault(action="close", kind="create", times=1))
        assert (await kling.generate(turbo("lost"))).url
        assert_paid_once(emulator, 2)


@pytest.mark.parametrize(("code", "status"), [(1201, 400), (1205, 409), (5000, 500)])
async def test_case_05_the_refusal_of_a_duplicate_is_a_success(code: int, status: int) -> None:
    """Section 20, case 5: our own second try meets "already exists", so the first one has worked."""
    settings = {**SINGLES, "duplicate_code": code, "duplicate_status": status, "duration_s": 400.0}
    async with service(**settings) as emulator, client(emulator) as kling:
        other = await kling.submit(clip("shows that the host finds by external id"))
        await other.accepted()
        await asyncio.sleep(20)
        emulator.visible_after_s = 110.0  # longer than the window in which nothing is sent again
        emulator.faults.append(Fault(action="reset", stage="after", kind="create", times=1))
        job = await kling.submit(clip("lost"))
        result = await job
        assert kinds(emulator)["create"] == 3
        assert result.task_id == emulator.tasks[1].task_id
        assert job.status is Status.SUCCEEDED
        assert_paid_once(emulator, 2)


@pytest.mark.parametrize(
    "reply",
    [
        {"id": "TASK", "task_id": "TASK", "object": "video", "status": "", "progress": 0, "created_at": 1774805076},
        {"code": 0, "data": {"task_id": "TASK", "task_status": ""}},
        {"code": 0, "data": {"task_id": "TASK"}},
        {"code": 0, "data": {"task_id": "TASK", "task_status": "processing", "task_info": {}}},
        {"code": 0, "data": {"task_id": "TASK", "task_status": "submitted", "task_info": {"external_task_id": None}}},
    ],
    ids=["D6", "empty", "missing", "processing", "null id"],
)
async def test_case_06_a_create_reply_may_be_nearly_empty(reply: object) -> None:
    """Section 20, case 6: an empty status, no task_info, request_id or updated_at, and it is followed."""
    task_id = await id_to_come()
    answer = Fault(action="body", stage="after", kind="create", body=dump(reply).replace(b"TASK", task_id.encode()))
    async with service(faults=[answer]) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        assert await job.accepted() == task_id == emulator.tasks[0].task_id
        assert (await job).url
        assert kinds(emulator)["create"] == 1


async def test_case_06_a_task_that_is_finished_at_once_is_not_asked_about() -> None:
    """Section 20, case 6: the create reply holds the file already."""
    row = {
        "task_id": TASK,
        "task_status": "succeed",
        "task_result": {"videos": [{"id": "v", "url": "https://x.test/1"}]},
    }
    reply = Fault(action="body", kind="create", body=enveloped(row))
    async with service(faults=[reply]) as emulator, client(emulator) as kling:
        result = await kling.generate(clip())
        assert (result.url, result.task_id) == ("https://x.test/1", TASK)
        assert kinds(emulator) == {"create": 1}


async def test_case_06_speech_is_finished_in_the_reply_to_its_create() -> None:
    """Section 20, case 6: tts has no later: its file, its price and its end are all there at once."""
    speech = TextToSpeech(text="good morning", voice_id="genshin_vindi2", voice_language="en")
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(speech)
        result = await job
        assert (job.status, result.task_id) == (Status.SUCCEEDED, emulator.tasks[0].task_id)
        assert [asset.kind for asset in result.assets] == ["audio"]
        assert result.billing is not None
        assert kinds(emulator) == {"create": 1}
        assert asyncio.get_running_loop().time() < 1


@pytest.mark.parametrize(
    "reply",
    [
        {"code": 0, "data": {"id": "TASK", "status": "submitted"}},
        {"code": 0, "data": {"task_id": "TASK", "task_status": "submitted"}},
        {"code": 0, "request_id": "TASK", "data": {"task_id": "TASK", "task_status": "submitted"}},
        {"code": "success", "message": "", "data": {"id": 91, "task_id": "TASK", "status": "SUBMITTED"}},
        {"id": "TASK", "status": "queued"},
        {"task_id": "TASK", "status": "queued"},
    ],
    ids=["data.id", "data.task_id", "request_id equal", "row number beside it", "id", "task_id"],
)
async def test_case_07_the_task_id_is_found_wherever_it_stands(reply: object) -> None:
    """Section 20, case 7: and what is followed is that task, by its 19 digits as text."""
    task_id = await id_to_come("cometapi")
    assert len(task_id) == 19
    answer = Fault(action="body", stage="after", kind="create", body=dump(reply).replace(b"TASK", task_id.encode()))
    async with service("cometapi", faults=[answer]) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        assert (await job).task_id == task_id == emulator.tasks[0].public_id
        assert_paid_once(emulator, 1)


async def test_case_07_an_id_that_came_as_a_number_is_not_trusted() -> None:
    """Section 20, case 7: 19 digits are beyond what JSON numbers hold elsewhere: the task is looked up by our id."""
    number = Fault(
        action="body", stage="after", kind="create", body=b'{"code":0,"data":{"task_id":2032273942220931072}}'
    )
    async with service("cometapi", faults=[number]) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        assert (await job).task_id == emulator.tasks[0].public_id
        assert isinstance(job.task_id, str)
        assert_paid_once(emulator, 1)


async def test_case_08_what_was_asked_for_is_what_is_made() -> None:
    """Section 20, case 8: every field stands where the service reads it, so the clip has the asked length."""
    request = TextToVideo(
        prompt="a red bicycle",
        negative_prompt="rain",
        model_name="kling-v2-6",
        mode="pro",
        aspect_ratio="9:16",
        duration="10",
        watermark_info={"enabled": True},
    )
    async with service() as emulator, client(emulator) as kling:
        result = await kling.generate(request, job_id="bike-1", callback_url="https://me.example/done")
        assert emulator.tasks[0].body == {
            "prompt": "a red bicycle",
            "negative_prompt": "rain",
            "model_name": "kling-v2-6",
            "mode": "pro",
            "aspect_ratio": "9:16",
            "duration": "10",
            "watermark_info": {"enabled": True},
            "external_task_id": "bike-1",
            "callback_url": "https://me.example/done",
        }
        assert result.assets[0].duration_s == pytest.approx(10, abs=0.5)
        assert result.assets[0].watermark_url
    with pytest.raises(TypeError, match="modelname"):
        TextToVideo(prompt="x", modelname="kling-v2-6")  # type: ignore[call-arg]


async def test_case_08_the_new_standard_has_its_ids_among_the_options() -> None:
    """Section 20, case 8: at the top level they would be ignored: no callback, no finding again, a second bill."""
    async with service() as emulator, client(emulator) as kling:
        await kling.generate(
            turbo(watermark_info={"enabled": True}), job_id="bike-2", callback_url="https://me.example/done"
        )
        assert emulator.tasks[0].body == {
            "prompt": "a red bicycle",
            "settings": {"duration": 5, "aspect_ratio": "16:9", "resolution": "720p"},
            "options": {
                "watermark_info": {"enabled": True},
                "external_task_id": "bike-2",
                "callback_url": "https://me.example/done",
            },
        }
        assert (emulator.tasks[0].external_id, emulator.tasks[0].callback_url) == ("bike-2", "https://me.example/done")


async def test_case_09_what_is_not_set_is_not_sent() -> None:
    """Section 20, case 9: no empty text and no null, which gateways take for a choice."""
    async with service() as emulator, client(emulator) as kling:
        await kling.generate(clip(negative_prompt=None, callback_url=None, watermark_info=None))
        await kling.generate(ImageToVideo(image=PICTURE, prompt="it moves", model_name="kling-v2-6", image_tail=None))
        await kling.generate(turbo())
        bodies = [dict(task.body) for task in emulator.tasks]
        for body in bodies:
            body.get("options", body).pop("external_task_id")
        assert bodies == [
            {"prompt": "a red bicycle", "model_name": "kling-v2-6", "duration": "5"},
            {"image": PICTURE, "prompt": "it moves", "model_name": "kling-v2-6"},
            {
                "prompt": "a red bicycle",
                "settings": {"duration": 5, "aspect_ratio": "16:9", "resolution": "720p"},
                "options": {},
            },
        ]
    with pytest.raises(InvalidRequest, match="empty"):
        clip(negative_prompt="")


def picture_of(size: int) -> bytes:
    """A PNG of about so many bytes, which do not compress."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 640, 640, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\x00" + b"\x80" * 640 for _ in range(640)))
    noise = chunk(b"noIs", os.urandom(size - len(pixels) - 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + noise + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


async def test_case_10_a_picture_of_ten_megabytes_goes_whole_and_in_time(tmp_path: Path) -> None:
    """Section 20, case 10: 13 MB of plain Base64 without a prefix, and an answer that takes its forty seconds."""
    picture = tmp_path / "large.png"
    data = picture_of(10 * 1024 * 1024)
    picture.write_bytes(data)
    slow = Fault(action="delay", stage="after", kind="create", delay_s=40.0)
    async with service(faults=[slow]) as emulator, client(emulator) as kling:
        job = await kling.submit(ImageToVideo(image=picture, prompt="it moves", model_name="kling-v2-6"))
        await job.accepted()
        assert asyncio.get_running_loop().time() >= 40
        plain = base64.b64encode(data)
        # The ledger keeps length and hash of what is so long.
        assert (
            emulator.tasks[0].body["image"] == f"<{len(plain)} characters, sha256 {hashlib.sha256(plain).hexdigest()}>"
        )
        assert (await job).url
        assert kinds(emulator)["create"] == 1
    with pytest.raises(InvalidRequest, match="without the data: prefix"):
        ImageToVideo(image=f"data:image/png;base64,{plain[:400].decode()}", model_name="kling-v2-6")


async def test_case_10_a_picture_of_a_megabyte_goes_where_warnings_are_errors(tmp_path: Path) -> None:
    """Section 20, case 10: and without blocking the loop while it is written."""
    picture = tmp_path / "large.png"
    picture.write_bytes(picture_of(1024 * 1024))
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(ImageToVideo(image=picture, prompt="it moves", model_name="kling-v2-6"))
        await job.accepted()
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("dialect", ["official", "cometapi", "new-api"])
async def test_case_11_a_refusal_inside_of_a_success_is_raised(dialect: str) -> None:
    """Section 20, case 11: `code: 0` around a selection whose own status says no."""
    async with service(dialect) as emulator, client(emulator) as kling:
        session = await kling.call(InitSelection(video_url="https://films.example/a.mp4"))
        assert session.status == 0
        point = {"x": 0.5, "y": 0.5}
        with pytest.raises(ServiceError) as caught:
            await kling.call(AddSelection(session_id="nobodys", frame_index=1, points=[point]))
        assert (caught.value.paid, caught.value.retryable) == ("no", False)
        added = await kling.call(AddSelection(session_id=session.session_id, frame_index=1, points=[point]))
        assert added.status == 0
        assert emulator.tasks == []


@pytest.mark.parametrize("status", [1, -1, 1201, 500])
async def test_case_11_any_inner_status_but_zero_is_a_refusal(status: int) -> None:
    """Section 20, case 11: whichever number it is."""
    inner = Fault(action="body", kind="call", body=enveloped({"status": status, "session_id": "s1"}))
    async with service(faults=[inner]) as emulator, client(emulator) as kling:
        with pytest.raises(ServiceError):
            await kling.call(InitSelection(video_url="https://films.example/a.mp4"))
        assert kinds(emulator) == {"call": 1}


async def test_case_12_cancelling_the_caller_leaves_the_post_and_its_slot_alone() -> None:
    """Section 20, case 12: the task is made, is found under its id, and holds its slot until it ends."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0, nth=1)
    async with service(faults=[slow], duration_s=100.0) as emulator, client(emulator, max_running=1) as kling:
        caller = asyncio.ensure_future(kling.generate(clip(), job_id="kept"))
        await asyncio.sleep(2)
        caller.cancel()
        await asyncio.wait({caller})
        assert caller.cancelled()
        second = await kling.submit(clip("second"))
        first = await kling.submit(clip(), job_id="kept")
        assert first.status is Status.SENDING
        assert (await first).url
        assert (await second).url
        tasks = emulator.tasks
        assert tasks[0].ended_at is not None
        assert tasks[1].created_at >= tasks[0].ended_at
        assert_paid_once(emulator, 2)


# --- query -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["1201", "1203", "empty", "task_not_exist"])
async def test_case_13_not_found_is_lag_at_first_and_loss_later(answer: Any) -> None:
    """Section 20, case 13: in each of the four ways to say it."""
    async with service(**SINGLES, unknown_task=answer, duration_s=150.0) as emulator, client(emulator) as kling:
        emulator.visible_after_s = 60.0
        assert (await kling.generate(clip("lag"))).url
        emulator.retention_s = 300.0
        lost = await kling.submit(clip("[stuck]"))
        with pytest.raises(TaskVanished) as caught:
            await lost
        assert (lost.status, caught.value.paid) == (Status.VANISHED, "maybe")
        assert emulator.now() - emulator.tasks[1].created_at >= 300 + 120
        assert_paid_once(emulator, 2)


def succeeded(task_id: str, **fields: Any) -> dict[str, object]:
    """A finished task as the new standard tells it."""
    output = {"type": "video", "id": "v1", "url": f"https://files.test/{task_id}.mp4", "duration": "5.041"}
    return {"id": task_id, "status": "succeeded", "message": "", "outputs": [output], **fields}


async def test_case_14_rows_of_a_batch_are_matched_by_id() -> None:
    """Section 20, case 14: an answer with rows missing, reordered and foreign gives each job its own file."""
    settings: dict[str, Any] = {"lists": False, "batch_sees_legacy": True, "duration_s": 200.0}
    async with service(**settings) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(12)]
        ids = [await job.accepted() for job in jobs]
        rows = [
            succeeded("867000000000999999"),
            *(succeeded(task_id) for task_id in reversed(ids[1:])),
            succeeded(ids[3]),
        ]
        emulator.faults.append(Fault(action="body", kind="batch", body=enveloped(rows), times=1))
        urls = [(await job).url for job in jobs]
        assert urls[1:] == [f"https://files.test/{task_id}.mp4" for task_id in ids[1:]]
        assert "/_emulator/assets/" in urls[0]
        assert kling.stats.jobs == {Status.SUCCEEDED: 12}


async def test_case_14_one_bad_id_does_not_fail_the_batch_and_no_id_is_asked_twice() -> None:
    """Section 20, case 14: a refused batch is asked singly; the same task attached twice is one job and one id."""
    settings: dict[str, Any] = {"lists": False, "batch_sees_legacy": True, "duration_s": 200.0}
    async with service(**settings) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(12)]
        ids = [await job.accepted() for job in jobs]
        assert [kling.attach(task_id, "text2video") for task_id in ids] == jobs
        bad = Fault(action="status", kind="batch", status=400, code=1201, message=f"task id {ids[0]} is invalid", nth=2)
        emulator.faults.append(bad)
        assert_all_done([await _finished(job) for job in jobs])
        batches = [request for request in emulator.requests if request.kind == "batch"]
        assert any(request.fault for request in batches)
        for request in batches:
            asked = request.query.partition("=")[2].split(",")
            assert len(asked) == len(set(asked)) <= 20


async def _finished(job: Job) -> Job:
    with contextlib.suppress(KlingError):
        await job
    return job


async def test_case_15_a_list_that_shifts_gives_no_task_twice() -> None:
    """Section 20, case 15: tasks made between two pages, a last page as long as asked for, and an empty one."""
    async with service(duration_s=5000.0) as emulator, client(emulator) as kling:
        for index in range(20):
            await (await kling.submit(clip(f"scene {index}"))).accepted()
        before = kinds(emulator)["list"]
        seen: list[str | None] = []
        async for observation in kling.tasks("text2video", page_size=10):
            seen.append(observation.task_id)
            if len(seen) == 5:
                for index in range(10):
                    await (await kling.submit(clip(f"late {index}"))).accepted()
        assert len(seen) == len(set(seen)) == 20
        assert {task.task_id for task in emulator.tasks[:20]} == set(seen)
        assert kinds(emulator)["list"] - before <= 8


async def test_case_15_a_list_without_data_is_empty() -> None:
    """Section 20, case 15: `data: null` is no error, for the caller's pages and for the poller's."""
    null = Fault(action="body", kind="list", body=b'{"code":0,"message":"SUCCEED","data":null}')
    async with service(faults=[null], duration_s=30.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(12)]
        assert [observation async for observation in kling.tasks("text2video")] == []
        assert_all_done([await _finished(job) for job in jobs])
        assert_paid_once(emulator, 12)


async def test_case_16_rows_without_results_are_tasks_that_go_on() -> None:
    """Section 20, case 16: no `task_result`, `{}`, `videos: null`, in the caller's list and in the poller's."""
    async with service(duration_s=100.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(12)]
        ids = [await job.accepted() for job in jobs]
        results: list[dict[str, Any]] = [
            {},
            {"task_result": {}},
            {"task_result": {"videos": None}},
            {"task_result": None},
        ]
        rows = [
            {"task_id": task_id, "task_status": "processing", **results[index % 4]} for index, task_id in enumerate(ids)
        ]
        emulator.faults.append(Fault(action="body", kind="list", body=enveloped(rows), until_s=50))
        listed = [observation async for observation in kling.tasks("text2video")]
        assert [(seen.task_id, seen.status, seen.assets) for seen in listed] == [
            (task_id, TaskStatus.PROCESSING, ()) for task_id in ids
        ]
        assert_all_done([await _finished(job) for job in jobs])


async def test_case_17_success_without_a_file_is_neither_success_nor_endless() -> None:
    """Section 20, case 17: asked again a few times; then a distinct error that says the money is spent."""
    empty = {"code": 0, "data": {"task_id": "TASK", "task_status": "succeed", "task_result": {"videos": []}}}
    async with service("cometapi", duration_s=5000.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        task_id = await job.accepted()
        answer = Fault(action="body", kind="single", body=dump(empty).replace(b"TASK", task_id.encode()))
        emulator.faults.append(answer)
        with pytest.raises(NoOutputs) as caught:
            await job
        assert (caught.value.paid, job.status) == ("yes", Status.FAILED)
        assert 2 <= emulator.faults.hits() <= 6
        assert asyncio.get_running_loop().time() < 120


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"code": 0, "message": "SUCCEED", "data": {"task_id": "TASK", "task_status": "failed"}}, ""),
        ({"code": 0, "data": {"task_id": "TASK", "task_status": "failed", "task_status_msg": ""}}, ""),
        ({"code": 0, "message": "risk control", "data": {"task_id": "TASK", "task_status": "failed"}}, "risk control"),
        ({"code": "success", "data": {"task_id": "TASK", "status": "FAILURE", "fail_reason": "SUCCESS"}}, ""),
        (
            {
                "code": "success",
                "data": {
                    "task_id": "TASK",
                    "status": "FAILURE",
                    "fail_reason": "SUCCESS",
                    "data": {"code": 0, "data": {"task_id": "8", "task_status": "failed", "task_status_msg": "pixels"}},
                },
            },
            "pixels",
        ),
        ({"code": "success", "data": {"task_id": "TASK", "status": "failed", "error": {"message": "words"}}}, "words"),
    ],
    ids=["nothing", "empty", "envelope", "gateway's success", "inner body", "error object"],
)
async def test_case_18_the_reason_of_a_failure_is_found_where_there_is_one(payload: object, reason: str) -> None:
    """Section 20, case 18: and a failure without any is a failure all the same."""
    job = await ended(payload)
    assert isinstance(job.error, TaskFailed)
    assert (job.status, job.error.reason, job.error.paid) == (Status.FAILED, reason, "no")


async def test_case_19_an_unknown_word_is_asked_on_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """Section 20, case 19: until the deadline, never taken for failed, and logged."""
    caplog.set_level(logging.WARNING)
    job = await ended({"code": 0, "data": {"task_id": "TASK", "task_status": "rendering_v2"}}, timeout=120)
    assert isinstance(job.error, DeadlineExceeded)
    assert (job.status, job.error.paid) == (Status.ABANDONED, "yes")
    told = [record.getMessage() for record in caplog.records if "rendering_v2" in record.getMessage()]
    assert 1 <= len(told) <= 2


@pytest.mark.fault("F28")
async def test_case_20_a_status_never_goes_backwards() -> None:
    """Section 20, case 20: an older answer of a replica changes nothing, nor does any after the end."""
    async with service("cometapi", duration_s=200.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        task_id = await job.accepted()
        seen: list[TaskStatus] = []

        async def follow() -> None:
            async for observation in job.watch():
                seen.append(observation.status)  # noqa: PERF401 - read while it grows

        watching = asyncio.ensure_future(follow())
        while TaskStatus.PROCESSING not in seen:
            await asyncio.sleep(1)
        older = {"task_id": task_id, "task_status": "submitted", "updated_at": emulator.tasks[0].created_at * 1000}
        emulator.faults.append(Fault(action="body", kind="single", body=enveloped(older), times=1))
        assert (await kling.query(job)).status is TaskStatus.SUBMITTED
        assert job.status is Status.PROCESSING
        result = await job
        await watching
        assert seen == [TaskStatus.SUBMITTED, TaskStatus.PROCESSING, TaskStatus.SUCCEEDED]
        for word in ("processing", "failed"):
            emulator.faults.append(
                Fault(action="body", kind="single", body=enveloped({"task_id": task_id, "task_status": word}), times=1)
            )
            await kling.query(job)
            assert (job.status, job.result()) == (Status.SUCCEEDED, result)


def outer(status: str, inner: dict[str, object] | None, **fields: object) -> dict[str, object]:
    """A gateway's own task around the service's answer, as it was last polled."""
    data = None if inner is None else {"code": 0, "message": "SUCCEED", "data": {"task_id": "8", **inner}}
    return {
        "code": "success",
        "message": "",
        "data": {"id": 9, "task_id": "TASK", "status": status, "data": data, **fields},
    }


@pytest.mark.parametrize(
    ("inner", "paid"),
    [({"task_status": "processing"}, "maybe"), ({"task_status": "failed"}, "no"), (None, "no")],
    ids=["the service works on", "failed there too", "nothing known"],
)
async def test_case_21_a_gateway_that_gave_up_may_have_been_charged(inner: dict[str, object] | None, paid: str) -> None:
    """Section 20, case 21: FAILURE by the gateway's clock, while the service may finish later."""
    job = await ended(outer("FAILURE", inner, fail_reason="任务超时（10分钟）"), "new-api")  # noqa: RUF001 - its own words
    assert isinstance(job.error, TaskFailed)
    assert "任务超时" in job.error.reason
    assert job.error.paid == paid


@pytest.mark.parametrize(
    "purged",
    [
        {"action": "status", "status": 404, "code": "task_not_exist"},
        {
            "action": "body",
            "status": 404,
            "body": b'{"error":{"message":"not found","type":"new_api_error","code":""}}',
        },
    ],
    ids=["word", "error object"],
)
async def test_case_21_a_gateway_that_forgot_its_tasks_is_not_believed_at_once(purged: dict[str, Any]) -> None:
    """Section 20, case 21: 404 for a moment is borne; for minutes, after a purge of its database, it is the end."""
    async with service("new-api", duration_s=400.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip()), await kling.submit(clip("[stuck]"))]
        for job in jobs:
            await job.accepted()
        emulator.faults.append(Fault(kind="single", from_s=200, until_s=260, **purged))
        assert (await jobs[0]).url
        began = asyncio.get_running_loop().time()
        emulator.faults.append(Fault(kind="single", **purged))
        with pytest.raises(TaskVanished) as caught:
            await jobs[1]
        assert caught.value.paid == "maybe"
        assert asyncio.get_running_loop().time() - began >= 120


async def test_case_22_a_url_in_fail_reason_is_the_result() -> None:
    """Section 20, case 22: older new-api releases put it there, on success; and on failure it is no file."""
    url = "https://files.test/x.mp4"
    job = await ended(outer("SUCCESS", None, fail_reason=url), "new-api-old")
    assert (job.status, job.result().url) == (Status.SUCCEEDED, url)
    job = await ended(outer("FAILURE", None, fail_reason=url), "new-api-old")
    assert (job.status, job.task_id is not None) == (Status.FAILED, True)
    async with service("new-api-old") as emulator, client(emulator) as kling:
        result = await kling.generate(clip())
        assert result.url.startswith("http://localhost/_emulator/assets/")


@pytest.mark.parametrize("value", [1774805076, 1774805076000, "1774805076", "1774805076000", 1774805076.0, None, "", 0])
async def test_case_23_moments_are_the_same_in_every_unit(value: object) -> None:
    """Section 20, case 23: seconds, milliseconds, text; missing is None and not 1970."""
    seen = await observed({"task_id": TASK, "task_status": "processing", "created_at": value})
    assert (seen.created_at and seen.created_at.timestamp()) == (1774805076 if value else None)


@pytest.mark.parametrize("dialect", ["official", "cometapi", "new-api", "new-api-old"])
async def test_case_23_a_result_was_created_when_it_was(dialect: str) -> None:
    """Section 20, case 23: a host that counts in seconds and one that counts in milliseconds agree."""
    async with service(dialect) as emulator, client(emulator) as kling:
        await asyncio.sleep(1000)
        result = await kling.generate(clip())
        assert result.created_at is not None
        assert result.created_at.timestamp() == pytest.approx(emulator.tasks[0].created_at, abs=1)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5.041", 5.041), ("5", 5.0), (5, 5.0), (5.0, 5.0), (None, None), ("", None), ("five", None), (-1, None)],
)
async def test_case_24_a_length_is_seconds_or_unknown(value: object, seconds: float | None) -> None:
    """Section 20, case 24: text, integer, float or missing; a clip with an odd length is a clip all the same."""
    files = [{"id": "a", "url": "https://files.test/a", "duration": value}, {"id": "b", "url": "https://files.test/b"}]
    seen = await observed({"task_id": TASK, "task_status": "succeed", "task_result": {"videos": files}})
    assert [(asset.url, asset.duration_s) for asset in seen.assets] == [
        ("https://files.test/a", seconds),
        ("https://files.test/b", None),
    ]


@pytest.mark.parametrize(
    ("row", "files"),
    [
        (
            {
                "videos": [{"id": "v", "url": "https://f.test/v", "watermark_url": "https://f.test/w"}],
                "audios": [{"id": "a", "url_mp3": "https://f.test/3", "url_wav": "https://f.test/4"}],
            },
            [("video", "v"), ("audio", "3"), ("audio", "4")],
        ),
        ({"videos": [{"url": "https://f.test/1"}, {"url": "https://f.test/2"}]}, [("video", "1"), ("video", "2")]),
        (
            {"images": [{"url": "https://f.test/1"}], "series_images": [{"url": "https://f.test/2"}]},
            [("image", "1"), ("image", "2")],
        ),
        (
            {"images": [{"url_1": "https://f.test/1", "url_2": "https://f.test/2", "url_3": "https://f.test/3"}]},
            [("image", "1"), ("image", "2"), ("image", "3")],
        ),
    ],
    ids=["clip and sound", "two clips", "series", "three views"],
)
async def test_case_25_no_output_is_lost(row: dict[str, Any], files: list[tuple[str, str]]) -> None:
    """Section 20, case 25: every file of a task reaches the caller, with its kind and its watermark's twin."""
    job = await ended({"code": 0, "data": {"task_id": "TASK", "task_status": "succeed", "task_result": row}})
    result = job.result()
    assert [(asset.kind, asset.url) for asset in result.assets] == [
        (kind, f"https://f.test/{name}") for kind, name in files
    ]
    assert result.urls == tuple(asset.url for asset in result.assets)
    twins = [asset.watermark_url for asset in result.assets if asset.watermark_url]
    assert twins == (["https://f.test/w"] if "audios" in row else [])


async def test_case_25_every_picture_of_a_request_for_several_arrives() -> None:
    """Section 20, case 25: four were paid for, four are there, each with its watermark's twin."""
    request = pictures(4, watermark_info={"enabled": True})
    async with service() as emulator, client(emulator) as kling:
        result = await kling.generate(request)
        assert len(set(result.urls)) == emulator.tasks[0].slots == 4
        assert len({asset.watermark_url for asset in result.assets} - {None}) == 4


def pictures(count: int, text: str = "a red bicycle", **fields: Any) -> ImageGeneration:
    """A small valid request for so many pictures, which takes as many slots."""
    return ImageGeneration(prompt=text, model_name="kling-v2-1", n=count, **fields)


def dated(since_start_s: float) -> dict[str, str]:
    """What the emulated service's clock says so many seconds after its start, as a header."""
    return {"Date": formatdate(EPOCH + since_start_s, usegmt=True)}


async def test_case_26_a_token_that_expires_in_a_long_wait_fails_nobody() -> None:
    """Section 20, case 26: a wait of more than an hour on tokens of half an hour, and a refusal on the way."""
    async with service(duration_s=4500.0) as emulator:
        pair = {"access_key": emulator.access_key, "secret_key": emulator.secret_key}
        async with client(emulator, **pair) as kling:
            job = await kling.submit(clip())
            await job.accepted()
            for kind in ("single", "list", "batch"):
                refusal = Fault(
                    action="status", status=401, code=1004, kind=kind, from_s=2000, headers=dated(2000), times=1
                )
                emulator.faults.append(refusal)
            assert (await job).url
            refused = [request for request in emulator.requests if request.status == 401]
            assert refused
            assert all(request.fault for request in refused)


@pytest.mark.parametrize(
    "trouble",
    [
        {"action": "html", "status": 503},
        {"action": "html", "status": 200},
        {"action": "status", "status": 500, "code": 5000},
        {"action": "status", "status": 429, "code": 1302},
        {"action": "close"},
        {"action": "hang"},
    ],
    ids=["503", "page", "5000", "1302", "close", "hang"],
)
async def test_case_27_trouble_slows_the_poller_as_a_whole(trouble: dict[str, Any]) -> None:
    """Section 20, case 27: a hundred seconds of it fail none of forty tasks, and cost no more than good ones."""
    async with service("cometapi", duration_s=300.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(40)]
        for job in jobs:
            await job.accepted()
        emulator.faults.append(Fault(kind="single", from_s=100, until_s=200, **trouble))
        assert_all_done([await _finished(job) for job in jobs])
        usual = 100 / Policy().late_s * len(jobs)
        assert 1 <= sum(bool(request.fault) for request in emulator.requests) < usual
        assert_paid_once(emulator, 40)


@pytest.mark.parametrize("form", ["lists", "batches", "new standard"])
async def test_case_28_two_hundred_tasks_cost_a_query_or_ten_a_sweep(form: str) -> None:
    """Section 20, case 28: one by one at a second each they would cost thirty thousand."""
    settings: dict[str, Any] = {"lists": False, "batch_sees_legacy": True} if form == "batches" else {}
    make = turbo if form == "new standard" else clip
    async with service(duration_s=(60, 200), **settings) as emulator, client(emulator) as kling:
        assert_all_done([job async for job in kling.map(make(f"scene {index}") for index in range(200))])
        counts = kinds(emulator)
        assert counts["single"] + counts["list"] + counts["batch"] < 400


def raw_http(body: bytes, *headers: str, status: str = "200 OK") -> dict[str, Any]:
    """A fault that answers with these very bytes."""
    head = "\r\n".join([f"HTTP/1.1 {status}", "Content-Type: application/json", *headers])
    return {"action": "garbage", "body": head.encode() + b"\r\n\r\n" + body}


GOOD_ROW = enveloped({"task_id": TASK, "task_status": "processing"})


@pytest.mark.parametrize(
    "answer",
    [
        raw_http(b"\xef\xbb\xbf" + GOOD_ROW, f"Content-Length: {len(GOOD_ROW) + 3}"),
        raw_http(gzip.compress(GOOD_ROW), "Content-Encoding: gzip", f"Content-Length: {len(gzip.compress(GOOD_ROW))}"),
        raw_http(
            b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD_ROW[:30], GOOD_ROW[30:])) + b"0\r\n\r\n",
            "Transfer-Encoding: chunked",
        ),
        raw_http(GOOD_ROW, "Connection: close"),
    ],
    ids=["BOM", "gzip", "chunked", "until the end"],
)
async def test_case_29_answers_in_odd_wrappings_are_read(answer: dict[str, Any]) -> None:
    """Section 20, case 29: a byte order mark, gzip, chunks, no length."""
    async with service("cometapi", faults=[Fault(kind="single", **answer)]) as emulator, client(emulator) as kling:
        assert (await kling.query(TASK, "text2video")).status is TaskStatus.PROCESSING


BOMB = gzip.compress(b'{"code":0,"x":"' + b"x" * 20_000_000 + b'"}')


@pytest.mark.parametrize(
    "answer",
    [
        {"action": "body", "status": 302, "body": b"{}", "headers": {"Location": "http://other.example/taken"}},
        {"action": "truncate"},
        raw_http(GOOD_ROW[:40], "Content-Length: 40"),
        {"action": "body", "body": b'{"code":0,"data":{"task_id":"1","n":NaN}}'},
        {"action": "body", "body": b""},
        raw_http(BOMB, "Content-Encoding: gzip", f"Content-Length: {len(BOMB)}"),
        raw_http(b'5\r\n{"cod\r\n', "Transfer-Encoding: chunked"),
    ],
    ids=["redirect", "cut", "half of the JSON", "NaN", "empty", "20 MB in 20 kB", "chunks that end early"],
)
async def test_case_29_answers_that_cannot_be_read_fail_the_question_only(answer: dict[str, Any]) -> None:
    """Section 20, case 29: the caller's question raises, unpaid; the job does not notice."""
    async with service("cometapi", duration_s=20.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        await job.accepted()
        emulator.faults.append(Fault(kind="single", until_s=10, **answer))
        with pytest.raises(TransportError) as caught:
            await kling.query(job)
        assert caught.value.paid == "no"
        assert isinstance(caught.value, BadEnvelope) or answer["action"] != "body"
        assert (await job).url
        assert "/taken" not in {request.path for request in emulator.requests}


# --- concurrency and time --------------------------------------------------------------------------------------------


async def test_case_30_waiters_do_not_storm() -> None:
    """Section 20, case 30: thirty jobs through three slots, each sent when one of ours has ended."""
    async with service(slots=3, duration_s=(20, 40)) as emulator, client(emulator) as kling:
        assert_all_done(await run_all(kling, 30))
        assert running_most(emulator) == 3
        refused = [request for request in emulator.requests if request.status == 429]
        assert len(refused) <= 30
        assert_paid_once(emulator, 30)


async def test_case_31_a_request_for_several_pictures_takes_several_slots() -> None:
    """Section 20, case 31: one to four pictures at a time through four slots, never more, and none is left waiting."""
    async with service(slots={"image": 4}, duration_s=(10, 30)) as emulator, client(emulator) as kling:
        wanted = [1, 2, 3, 4] * 5
        requests = [pictures(count, f"scene {index}") for index, count in enumerate(wanted)]
        assert_all_done([job async for job in kling.map(requests)])
        changes = [(task.created_at, task.slots) for task in emulator.tasks]
        changes += [(task.ended_at or 0.0, -task.slots) for task in emulator.tasks]
        assert max(accumulate(slots for _, slots in sorted(changes))) == 4
        assert sum(request.status == 429 for request in emulator.requests) <= len(wanted)
        assert_paid_once(emulator, len(wanted))


async def test_case_31_more_pictures_than_the_account_has_slots_fail_soon_and_hold_nobody_up() -> None:
    """Section 20, case 31: with nothing in flight and 1303 again and again, nine can never run on four slots."""
    async with service(slots={"image": 4}, duration_s=20.0) as emulator, client(emulator) as kling:
        await kling.generate(pictures(2))
        large = await kling.submit(pictures(9, "too many"))
        small = await kling.submit(pictures(1, "behind it"))
        with pytest.raises(SlotsFull) as caught:
            await large
        assert (large.status, caught.value.paid) == (Status.REJECTED, "no")
        assert (await small).url
        assert asyncio.get_running_loop().time() < 900
        assert sum(request.status == 429 for request in emulator.requests) < 20


async def test_case_32_waiting_for_others_slots_is_bounded_and_told() -> None:
    """Section 20, case 32: another program holds the account: knocks never further apart than minutes, then an end."""
    async with service(slots=1, duration_s=50_000.0) as emulator, client(emulator) as other:
        await (await other.submit(clip("the other program"))).accepted()
        async with client(emulator, policy=Policy(slots_wait_s=1800)) as kling:
            timed = await kling.submit(clip("with a deadline"), timeout=900)
            patient = await kling.submit(clip("without"))
            with pytest.raises(DeadlineExceeded, match="never accepted") as at_deadline:
                await timed
            with pytest.raises(SlotsFull) as at_the_end:
                await patient
            assert (at_deadline.value.paid, at_the_end.value.paid) == ("no", "no")
            assert (timed.task_id, patient.task_id, patient.status) == (None, None, Status.REJECTED)
        knocks = [request.at for request in emulator.requests if request.status == 429]
        assert max(later - earlier for earlier, later in pairwise(knocks)) <= 180
        assert len(knocks) < 100
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F34")
async def test_case_33_a_local_deadline_leaves_the_task_to_be_followed_by_its_id() -> None:
    """Section 20, case 33: the error names the task; following it makes no second one."""
    async with service(duration_s=300.0) as emulator, client(emulator) as kling:
        with pytest.raises(DeadlineExceeded) as caught:
            await kling.generate(clip(), timeout=60)
        assert (caught.value.paid, caught.value.retryable) == ("yes", False)
        again = kling.attach(str(caught.value.task_id), "text2video")
        assert (await again).task_id == emulator.tasks[0].task_id
        assert_paid_once(emulator, 1)


async def test_case_33_a_local_deadline_does_not_free_the_slot() -> None:
    """Section 20, case 33: with one place in all, the next job waits for the end of the task, not of the waiting."""
    async with service(duration_s=300.0) as emulator, client(emulator, max_running=1) as kling:
        with pytest.raises(DeadlineExceeded):
            await kling.generate(clip(), timeout=60)
        assert (await kling.generate(clip("second"))).url
        assert running_most(emulator) == 1


async def test_case_34_what_a_restart_needs_is_known_before_and_after_the_create() -> None:
    """Section 20, case 34: id, endpoint and host before anything is sent; the task's id as soon as there is one."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0)
    async with service(faults=[slow], duration_s=100.0) as emulator:
        async with client(emulator) as kling:
            job = await kling.submit(clip(), job_id="order-7")
            assert emulator.requests == []
            kept = {"id": job.id, "endpoint": job.endpoint, "host": kling.host.name}
            assert kept == {"id": "order-7", "endpoint": "text2video", "host": "http://localhost"}
            await job.accepted()
            assert job.task_id == emulator.tasks[0].task_id
        # The process began anew, and knows what it kept: by our id, and by the task's with its endpoint.
        async with client(emulator) as kling:
            by_id = await kling.submit(clip(), job_id=kept["id"])
            result = await by_id
            assert result.task_id == emulator.tasks[0].task_id
            attached = kling.attach(result.task_id, kept["endpoint"])
            assert (await attached).url == result.url
            with pytest.raises(ConfigError, match="endpoint"):
                await kling.query(result.task_id)
        assert_paid_once(emulator, 1)


async def test_case_34_a_restart_in_the_middle_of_a_create_makes_no_second_task() -> None:
    """Section 20, case 34: the answer never came; the same id, submitted again, finds the task that was made."""
    hung = Fault(action="hang", stage="after", kind="create", times=1)
    async with service(faults=[hung], duration_s=300.0) as emulator:
        async with client(emulator, policy=Policy(grace_s=1.0)) as kling:
            job = await kling.submit(clip(), job_id="order-8")
            await asyncio.sleep(5)
            assert (job.status, job.task_id) == (Status.SENDING, None)
        async with client(emulator) as kling:
            again = await kling.submit(clip(), job_id="order-8")
            assert (await again).task_id == emulator.tasks[0].task_id
            with pytest.raises(IdempotencyMismatch):
                await kling.submit(clip("another request"), job_id="order-8")
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F39")
@pytest.mark.parametrize(("off_s", "code"), [(-3600.0, 1004), (3600.0, 1003), (-86_400.0, 1004)])
async def test_case_35_a_clock_that_is_wrong_is_set_by_the_services(off_s: float, code: int) -> None:
    """Section 20, case 35: the Date of the refusal says by how much; later tokens are right at once."""
    async with service(duration_s=4500.0) as emulator:
        # The emulator refuses such a token by itself; only its Date header has to tell its own time.
        emulator.faults.append(Fault(action="status", kind="create", status=401, code=code, headers=dated(0), times=1))
        pair = {"access_key": emulator.access_key, "secret_key": emulator.secret_key}
        async with client(emulator, wall=lambda: wall() + off_s, **pair) as kling:
            assert (await kling.generate(clip())).url
        assert [request.status for request in emulator.requests].count(401) == 1
        assert kinds(emulator)["create"] == 2
        assert_paid_once(emulator, 1)


# --- results and callbacks -------------------------------------------------------------------------------------------


def quick(**settings: Any) -> Emulator:
    """An emulator on a socket of 127.0.0.1, for files: its tasks take a moment."""
    return Emulator(**{"dialect": "official", "speed": 100.0, "duration_s": 10.0, **settings})


@pytest.mark.fault("F36")
@pytest.mark.realtime
async def test_case_36_an_expired_url_is_asked_for_anew_once_and_without_the_key(tmp_path: Path) -> None:
    """Section 20, case 36: a fresh URL makes the download whole; where there is none it fails, and says so."""
    async with quick(url_ttl_s=50.0) as emulator:
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url)) as kling:
            result = await kling.generate(clip())
            await asyncio.sleep(1.0)  # a hundred seconds at the emulator
            (file,) = await kling.download(result, tmp_path)
            assert file.read_bytes()[4:8] == b"ftyp"
            statuses = [request.status for request in emulator.requests if request.kind == "asset"]
            assert statuses == [403, 200]
            emulator.fresh_urls = False
            await asyncio.sleep(1.0)
            with pytest.raises(DownloadError, match="does not work any more") as caught:
                await kling.download(result, tmp_path, name="again")
            statuses = [request.status for request in emulator.requests if request.kind == "asset"]
            assert statuses == [403, 200, 403, 403]
            assert (caught.value.paid, caught.value.task_id) == ("yes", result.task_id)
        assert emulator.leaked_credentials == 0
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.fault("F37")
@pytest.mark.realtime
async def test_case_37_a_page_or_half_a_file_never_lies_where_the_clip_belongs(tmp_path: Path) -> None:
    """Section 20, case 37: mended if it can be; else nothing is left, and the ending fits the bytes, not the URL."""
    async with quick() as emulator:
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url)) as kling:
            result = await kling.generate(clip())
            emulator.faults.append(Fault(action="truncate", kind="asset", times=1))
            (file,) = await kling.download(result, tmp_path / "mended", name="clip")
            assert (file.name, file.read_bytes()[4:8]) == ("clip.mp4", b"ftyp")
            emulator.faults.append(Fault(action="html", kind="asset", status=200))
            with pytest.raises(DownloadError, match="page"):
                await kling.download(result, tmp_path / "page")
            assert list((tmp_path / "page").iterdir()) == []
            emulator.faults.clear()
            emulator.faults.append(Fault(action="body", kind="asset", body=picture_of(20_000)))
            (file,) = await kling.download(result, tmp_path, name="other")
            assert file.name == "other.png"


SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="


def callback_of(emulator: Emulator, status: str, *, wrapped: bool = False, number: int = 0) -> bytes:
    """The body the service would send about its first task; through a gateway the id is the service's own."""
    task = emulator.tasks[number]
    row = {"task_id": task.task_id, "task_status": status, "task_info": {"external_task_id": task.external_id}}
    return enveloped(row) if wrapped else dump(row)


@pytest.mark.fault("F41")
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("dialect", ["official", "new-api"])
async def test_case_38_a_callback_may_come_before_the_reply_to_the_create(dialect: str, *, wrapped: bool) -> None:
    """Section 20, case 38: the external id says whose it is, also where a gateway's ids are not the service's."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0)
    async with service(dialect, faults=[slow], duration_s=60.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip(), job_id="order-9", callback_url="https://me.example/kling")
        await asyncio.sleep(1)
        early = decode_callback(callback_of(emulator, "submitted", wrapped=wrapped))
        assert (job.status, job.task_id) == (Status.SENDING, None)
        assert (early.external_id, early.status) == (job.id, TaskStatus.SUBMITTED)
        # Late, double and out of order: each is a hint to ask, and asking changes nothing that is not so.
        await job.accepted()
        for status in ("processing", "processing", "submitted", "succeed", "failed"):
            hint = decode_callback(callback_of(emulator, status, wrapped=wrapped))
            assert hint.external_id == job.id
            seen = await kling.query(job)
            assert seen.task_id == job.task_id == emulator.tasks[0].public_id
            assert not seen.status.is_final
        assert (hint.task_id == job.task_id) is (dialect == "official")
        assert (await job).url
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F41")
async def test_case_38_a_callback_without_a_signature_is_a_hint_or_nothing() -> None:
    """Section 20, case 38: with a secret it is refused; without one it is marked, and the host has the last word."""
    async with service(duration_s=60.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        await job.accepted()
        forged = callback_of(emulator, "failed")
        with pytest.raises(CallbackRejected) as caught:
            Webhook(SECRET).read({"Content-Type": "application/json"}, forged, wall())
        assert (caught.value.reason, caught.value.paid) == ("unsigned", "no")
        callback = Webhook().read({}, forged, wall())
        assert (callback.signed, callback.observation.status) == (False, TaskStatus.FAILED)
        assert (await kling.query(str(callback.observation.task_id), job.endpoint)).status is not TaskStatus.FAILED
        assert (await job).url


@pytest.mark.fault("F41")
async def test_case_39_only_the_bytes_as_received_carry_the_signature() -> None:
    """Section 20, case 39: the reference's own message; JSON written anew, an old one and a replay are refused."""
    body = (
        b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
    )
    signature = "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="
    headers = {
        "Webhook-Id": "9876543210",
        "Webhook-Timestamp": "1781080794",
        "Webhook-Signature": f"v1,AA== {signature}",
    }
    webhook = Webhook(SECRET)
    callback = webhook.read(headers, body, 1781080794 + 299)
    assert (callback.signed, callback.id, callback.observation.task_id) == (True, "9876543210", "1234567890")
    for changed, late_s, reason in ((dump(json.loads(body)) + b" ", 0, "forged"), (body, 301, "stale")):
        with pytest.raises(CallbackRejected) as caught:
            webhook.read(headers, changed, 1781080794 + late_s)
        assert caught.value.reason == reason


async def test_case_40_what_a_task_cost_is_unknown_until_it_is_told() -> None:
    """Section 20, case 40: missing while it runs, which is not zero; then the service's own figure."""
    async with service(duration_s=100.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        await job.accepted()
        assert (await kling.query(job)).billing is None
        billing = (await job).billing
        assert billing is not None
        assert billing.units == Decimal(str(emulator.tasks[0].billed)) > 0


@pytest.mark.parametrize(
    ("charges", "figures"),
    [
        ([{"charge_type": "unit", "amount": "3", "package_type": "video"}], ("3", None, None, None)),
        (
            [{"charge_type": "cash", "amount": "4.20", "currency": "CNY", "list_price": "6"}],
            (None, "4.20", "CNY", "6"),
        ),
        ([{"charge_type": "cash", "amount": 0.42, "currency": "USD"}], (None, "0.42", "USD", None)),
        (
            [{"charge_type": "unit", "amount": "2"}, {"charge_type": "cash", "amount": "1", "currency": "USD"}],
            ("2", "1", "USD", None),
        ),
        ([{"amount": "0"}], ("0", None, None, None)),
        ([], None),
    ],
    ids=["units", "CNY", "USD as a number", "both", "a failed task's zero", "nothing"],
)
async def test_case_40_units_and_money_are_never_mixed(charges: object, figures: tuple[str | None, ...] | None) -> None:
    """Section 20, case 40: unit or cash, CNY or USD, text or number."""
    billing = (await observed(succeeded(TASK, billing=charges))).billing
    if figures is None:
        assert billing is None
        return
    assert billing is not None
    told = (billing.units, billing.amount, billing.currency, billing.list_price)
    assert told == tuple(
        Decimal(figure) if figure is not None and place != 2 else figure for place, figure in enumerate(figures)
    )


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_case_has_a_test_of_its_number() -> None:
    """A case of the reference without a test would be forgotten; the list there has forty."""
    tests = Path(__file__).parents[1]
    names = re.findall(r"def (test_case_\d\d_\w+)", "".join(path.read_text() for path in tests.rglob("test_*.py")))
    numbers = {int(name.split("_")[2]) for name in names}
    assert numbers == set(range(1, 41))
