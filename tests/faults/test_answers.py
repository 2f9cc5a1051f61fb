"""F15 to F26: an answer came, and it is a refusal, a page, or nothing that can be read."""

import asyncio
import contextlib
import gzip
import json
import tracemalloc
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest
from fault_tools import (
    CARELESS,
    QUESTIONS,
    caught,
    check_unknown,
    client,
    finished,
    found_after,
    left,
    query_gets,
    submit_gets,
    waiters_get_nothing_of,
)
from flow_tools import EPOCH, assert_paid_once, clip, service

from kling_async import (
    AccountError,
    AuthError,
    BadEnvelope,
    ConnectionLost,
    DeadlineExceeded,
    Job,
    KlingError,
    NoOutputs,
    PolicyRejected,
    RequestRejected,
    ServerFault,
    ServiceError,
    SlotsFull,
    Status,
    Throttled,
)
from kling_async.emulator import Emulator, Fault


def creates(emulator: Emulator) -> list[float]:
    """When each create came."""
    return [request.at - EPOCH for request in emulator.requests if request.kind == "create"]


# --- refusals that pass --------------------------------------------------------------------------------------------


@pytest.mark.fault("F15")
@pytest.mark.parametrize(("wish", "least_s", "most_s"), [(None, 1, 60), ("7", 7, 60), ("9999", 300, 301)])
async def test_f15_too_many_requests(wish: str | None, least_s: float, most_s: float) -> None:
    """Nothing was made: it waits, as long as the host wishes and at most five minutes, and goes once."""
    headers = {} if wish is None else {"Retry-After": wish}
    error = await submit_gets(Throttled, action="status", status=429, code=1302, headers=headers)
    assert (error.paid, error.retryable) == ("no", True)
    refusal = Fault(action="status", kind="create", status=429, code=1302, headers=headers, times=1)
    async with service(faults=[refusal], **CARELESS) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        assert await left(job, Status.SENDING) is Status.QUEUED
        await finished([job])
        first, second = creates(emulator)
        assert least_s <= second - first <= most_s
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F15")
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "7"}], ids=["bare", "with a wish"])
async def test_f15_a_throttled_poller_fails_nobody(headers: dict[str, str]) -> None:
    """Nobody who waits is told; how much less is asked is shown in test_sweep and test_trouble."""
    await waiters_get_nothing_of(action="status", status=429, code=1302, headers=headers)
    error = await query_gets(Throttled, action="status", status=429, code=1302, headers=headers)
    assert error.retryable


@pytest.mark.fault("F16")
async def test_f16_no_slot() -> None:
    """It stays in line, the limit is learned, and nobody who waits for a running task notices."""
    error = await submit_gets(SlotsFull, action="status", status=429, code=1303)
    assert (error.paid, error.retryable) == ("no", True)
    async with service(slots=2, duration_s=(20.0, 40.0)) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(6)]
        await asyncio.sleep(5)
        ((running, limit),) = kling.stats.slots.values()
        assert (running, limit) == (2, 2)
        await finished(jobs)
        assert_paid_once(emulator, 6)


@pytest.mark.fault("F18")
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "7"}], ids=["bare", "with a wish"])
async def test_f18_a_page_with_429(headers: dict[str, str]) -> None:
    """As F15, never fatal: the code is lost on the way, so the mildest meaning is taken."""
    error = await submit_gets(Throttled, action="html", status=429, headers=headers)
    assert (error.paid, error.retryable) == ("no", True)
    page = Fault(action="html", kind="create", status=429, headers=headers, times=2)
    async with service(faults=[page], **CARELESS) as emulator, client(emulator) as kling:
        await finished([await kling.submit(clip())])
        assert all(later - earlier >= (7 if headers else 1) for earlier, later in pairwise(creates(emulator)))
        assert_paid_once(emulator, 1)
    await waiters_get_nothing_of(action="html", status=429, headers=headers)


@pytest.mark.fault("F19")
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (ServerFault, {"action": "status", "status": 500, "code": 5000}),
        (ServerFault, {"action": "status", "status": 503, "code": 5001}),
        (ServerFault, {"action": "status", "status": 504, "code": 5002}),
        (BadEnvelope, {"action": "html", "status": 502}),
        (BadEnvelope, {"action": "html", "status": 504}),
    ],
    ids=["5000", "5001", "5002", "502 page", "504 page"],
)
async def test_f19_trouble_inside_the_service(kind: type[KlingError], how: dict[str, Any]) -> None:
    await check_unknown(kind, **how)


# --- refusals that stay --------------------------------------------------------------------------------------------


def dated(emulator: Emulator) -> dict[str, str]:
    return {"Date": formatdate(emulator.now(), usegmt=True)}


def pair_of(emulator: Emulator) -> dict[str, Any]:
    return {"access_key": emulator.access_key, "secret_key": emulator.secret_key}


@pytest.mark.fault("F20")
@pytest.mark.parametrize("code", [1003, 1004])
async def test_f20_a_token_that_is_refused_once_is_signed_anew(code: int) -> None:
    """Refused means that nothing was made, so the create goes once more, and only once more."""
    async with service(**CARELESS) as emulator:
        emulator.faults.append(
            Fault(action="status", kind="create", status=401, code=code, headers=dated(emulator), times=1)
        )
        async with client(emulator, **pair_of(emulator)) as kling:
            job = await kling.submit(clip())
            await job.accepted()
            emulator.faults[:] = [
                Fault(action="status", kind=kind, status=401, code=code, headers=dated(emulator), times=1)
                for kind in QUESTIONS
            ]
            await finished([job])
            assert emulator.faults.hits() >= 1
            assert len(creates(emulator)) == 2
            assert_paid_once(emulator, 1)


@pytest.mark.fault("F20")
@pytest.mark.parametrize("code", [1003, 1004])
async def test_f20_a_token_that_stays_refused_is_told(code: int) -> None:
    async with service() as emulator:
        emulator.faults.append(Fault(action="status", kind="create", status=401, code=code))
        async with client(emulator, **pair_of(emulator)) as kling:
            error = await caught(kling.generate(clip()), AuthError)
            assert (error.paid, error.retryable, error.code) == ("no", False, code)
            assert len(creates(emulator)) == 2
            assert emulator.tasks == []


@pytest.mark.fault("F22")
@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        (1000, AuthError, False),
        (1102, AccountError, False),
        (1201, RequestRejected, False),
        (1301, PolicyRejected, False),
        (1302, Throttled, True),
        (1303, SlotsFull, True),
    ],
)
async def test_f22_a_refusal_under_http_200_is_what_its_code_says(
    code: int, kind: type[ServiceError], retryable: bool
) -> None:
    error = await submit_gets(kind, action="status", status=200, code=code)
    assert (error.paid, error.retryable) == ("no", retryable)
    told = await query_gets(kind, action="status", status=200, code=code)
    assert told.retryable is retryable
    async with service(**CARELESS) as emulator, client(emulator) as kling:
        running = await kling.submit(clip())
        await running.accepted()
        emulator.faults.append(Fault(action="status", kind="create", status=200, code=code, times=1))
        job = await kling.submit(clip("second"))
        if retryable or kind is AuthError:  # the key has worked before: it is waited for, and fails nobody
            await finished([job])
        else:
            final = await caught(_wait(job), kind)
            assert (final.paid, job.status, final.job_id) == ("no", Status.REJECTED, job.id)
        await finished([running])
        assert_paid_once(emulator, 2 if retryable or kind is AuthError else 1)


@pytest.mark.fault("F22")
@pytest.mark.parametrize("code", [5000, 5001, 5002])
async def test_f22_internal_trouble_under_http_200_proves_nothing(code: int) -> None:
    error = await submit_gets(ServerFault, action="status", status=200, code=code)
    assert (error.paid, error.retryable) == ("maybe", True)
    await found_after(action="status", status=200, code=code)
    await waiters_get_nothing_of(action="status", status=200, code=code)


async def _wait(job: Any) -> Any:
    return await job


# --- no answer of the service --------------------------------------------------------------------------------------


@pytest.mark.fault("F23")
@pytest.mark.parametrize(
    "how",
    [
        {"action": "html", "status": 200, "body": "<!doctype html><title>Sign in to the network</title>"},
        {"action": "body", "status": 204, "body": b""},
        {"action": "body", "body": b""},
        {"action": "body", "body": b" \r\n"},
    ],
    ids=["captive portal", "204", "empty", "blank"],
)
async def test_f23_a_page_or_nothing_with_success(how: dict[str, Any]) -> None:
    await check_unknown(BadEnvelope, **how)


NOT_JSON = {
    "words": b"upstream connect error or disconnect/reset before headers",
    "half": b'{"code":0,"data":{"task_id":"867',
    "NaN": b'{"code":0,"data":{"task_id":"867000000000000001","task_status":"submitted","n":NaN}}',
    "Infinity": b'{"code":0,"data":{"task_id":"867000000000000001","task_status":"submitted","n":-Infinity}}',
    "depth": b'{"code":0,"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "digits": b'{"code":0,"data":{"task_id":"867000000000000001","n":' + b"9" * 5000 + b"}}",
    "UTF-16": '{"code":0,"data":{"task_id":"867000000000000001"}}'.encode("utf-16"),
    "bad UTF-8": b'{"code":0,"data":{"task_id":"\xff\xfe"}}',
    "a list": b"[1,2,3]",
    "a number": b"7",
    "null": b"null",
}


@pytest.mark.fault("F24")
@pytest.mark.parametrize("name", NOT_JSON)
async def test_f24_what_is_no_json_of_the_service(name: str) -> None:
    await check_unknown(BadEnvelope, action="body", body=NOT_JSON[name])


@pytest.mark.fault("F24")
async def test_f24_a_byte_order_mark_is_no_trouble() -> None:
    """It is harmless before JSON, and a proxy that adds it costs nobody a minute."""
    answer = b'\xef\xbb\xbf{"code":0,"data":{"task_id":"867000000000000001","task_status":"processing"}}'
    async with service("cometapi", duration_s=30.0) as emulator, client(emulator) as kling:
        emulator.faults.append(Fault(action="body", kind="single", body=answer))
        assert (await kling.query("867000000000000001", "text2video")).word == "processing"


@pytest.mark.fault("F24")
async def test_f24_batches_that_cannot_be_read_are_asked_for_one_by_one() -> None:
    """One task whose answer stays unreadable is one job's trouble: the others of its batch deliver in time."""
    settings: dict[str, Any] = {"lists": False, "batch_sees_legacy": True, "duration_s": (60.0, 90.0)}
    async with service(**settings) as emulator, client(emulator) as kling:
        bad = await kling.submit(clip("bad"), timeout=900)
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(19)]
        for job in (bad, *jobs):
            await job.accepted()
        emulator.faults.append(Fault(action="body", kind="batch", body=NOT_JSON["NaN"]))
        emulator.faults.append(Fault(action="body", kind="single", path=f"*/{bad.task_id}", body=NOT_JSON["digits"]))
        await finished(jobs)
        assert emulator.now() - EPOCH < 300
        error = await caught(_wait(bad), DeadlineExceeded)
        assert (error.paid, error.task_id, error.retryable) == ("yes", bad.task_id, False)
        assert_paid_once(emulator, 20)


BOMB = gzip.compress(b'{"code":0,"x":"' + b"x" * (100 * 1024 * 1024) + b'"}')
LARGE = b'{"code":0,"x":"' + b"x" * (9 * 1024 * 1024) + b'"}'
GZIPPED = {"Content-Encoding": "gzip"}


@pytest.mark.fault("F25")
@pytest.mark.parametrize("how", [{"body": BOMB, "headers": GZIPPED}, {"body": LARGE}], ids=["a bomb of 100 MB", "9 MB"])
async def test_f25_an_answer_beyond_the_bound(how: dict[str, Any]) -> None:
    """Eight megabytes, counted after decompression: more are not taken into memory."""
    await check_unknown(BadEnvelope, action="body", asked=False, **how)
    assert (await query_gets(BadEnvelope, action="body", **how)).retryable
    await waiters_get_nothing_of(action="body", for_s=10.0, **how)


@pytest.mark.fault("F25")
async def test_f25_a_bomb_takes_no_memory() -> None:
    async with service() as emulator, client(emulator) as kling:
        emulator.faults.append(Fault(action="body", kind="single", body=BOMB, headers=GZIPPED))
        tracemalloc.start()
        try:
            error = await caught(kling.query("867000000000000001", "text2video"), BadEnvelope)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "8388608 bytes" in str(error)
        assert peak < 40 * 1024 * 1024


@pytest.mark.fault("F11")
async def test_f11_gzip_that_is_none() -> None:
    await check_unknown(ConnectionLost, action="body", body=b'{"code":0}' * 50, headers=GZIPPED)


UNUSABLE: dict[str, dict[str, Any]] = {
    "null": {"task_id": None},
    "number": {"task_id": 867000000000000001},
    "list": {"task_id": ["867000000000000001"]},
    "object": {"task_id": {"id": "867000000000000001"}},
    "slash": {"task_id": "../../etc/passwd"},
    "empty": {"task_id": ""},
    "long": {"task_id": "8" * 300},
    "lone surrogate": {"task_id": "867\ud800"},
}


@pytest.mark.fault("F26")
@pytest.mark.parametrize("name", UNUSABLE)
async def test_f26_an_id_that_cannot_be_one_makes_a_create_unsure(name: str) -> None:
    """The task exists: it is looked up by our id, never made again, and never followed under a made-up id."""
    body = json.dumps({"code": 0, "data": {"task_status": "submitted", **UNUSABLE[name]}})
    await found_after(action="body", body=body)


WRONG: dict[str, dict[str, Any]] = {
    "url a number": {"task_status": "succeed", "task_result": {"videos": [{"url": 7}]}},
    "url a list": {"task_status": "succeed", "task_result": {"videos": [{"url": ["https://x.test/1"]}]}},
    "url false": {"task_status": "succeed", "task_result": {"videos": [{"url": False}]}},
    "status a number": {"task_status": 4},
    "status null": {"task_status": None},
    "status true": {"task_status": True},
}


async def beside_neighbours(values: dict[str, Any], until_s: float | None) -> Job:
    """Thirteen jobs, one of which is told of with these values; the other twelve must deliver."""
    async with service(**{**CARELESS, "lists": True}) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(12)]
        bad = await kling.submit(clip("bad"), timeout=600)
        for job in (*jobs, bad):
            await job.accepted()
        until_s = None if until_s is None else emulator.now() - EPOCH + until_s
        told: dict[str, Any] = {"action": "alter", "values": values, "until_s": until_s}
        emulator.faults.append(Fault(kind="list", task=bad.task_id, **told))
        emulator.faults.append(Fault(kind="single", path=f"*/{bad.task_id}", **told))
        await finished(jobs)
        with contextlib.suppress(KlingError):
            await bad
        assert_paid_once(emulator, 13)
        return bad


@pytest.mark.fault("F26")
@pytest.mark.parametrize("name", WRONG)
async def test_f26_a_row_of_wrong_types_is_one_jobs_trouble(name: str) -> None:
    """While it lasts that job waits, and its neighbours on the page do not; to the end it is a deadline, and paid."""
    assert (await beside_neighbours(WRONG[name], 120)).status is Status.SUCCEEDED
    bad = await beside_neighbours(WRONG[name], None)
    assert isinstance(bad.error, DeadlineExceeded)
    assert (bad.error.paid, bad.error.retryable, bad.error.task_id) == ("yes", False, bad.task_id)


@pytest.mark.fault("F26")
@pytest.mark.parametrize("result", [[], {"videos": {"url": "https://x.test/1"}}, {"videos": "https://x.test/1"}, "x"])
async def test_f26_outputs_that_are_no_list_are_none(result: object) -> None:
    """As F29: asked again a few times, and then told, to that job alone."""
    bad = await beside_neighbours({"task_status": "succeed", "task_result": result}, None)
    assert isinstance(bad.error, NoOutputs)
    assert (bad.error.paid, bad.error.retryable) == ("yes", False)
