"""Whole journeys: submit, poll, resolve, on every kind of host."""

import asyncio
import pickle
import traceback
import warnings
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from flow_tools import SOCKET, assert_paid_once, client, clip, kinds, service

from kling_async import (
    AccountError,
    AuthError,
    ConfigError,
    DeadlineExceeded,
    IdempotencyMismatch,
    ImageToVideo,
    InvalidRequest,
    Job,
    JobAbandoned,
    KlingError,
    KlingSession,
    NoOutputs,
    OmniVideo,
    Policy,
    PolicyRejected,
    RequestRejected,
    RequestWarning,
    SessionClosed,
    Status,
    TaskFailed,
    TaskStatus,
    TaskVanished,
    TextToVideo,
    official,
)
from kling_async.emulator import Fault

DIALECTS = (
    "official",
    "official-old-host",
    "cometapi",
    "new-api",
    "new-api-old",
    "crazyrouter",
    "flat",
    "mixed",
)
PICTURE = "https://pictures.example/first.png"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_from_submit_to_url(dialect: str) -> None:
    """The same program gets its clips from every family of hosts."""
    async with service(dialect, duration_s=(20, 90)) as emulator, client(emulator) as kling:
        requests = [
            clip("words"),
            ImageToVideo(image=PICTURE, prompt="it moves", model_name="kling-v2-6"),
            OmniVideo(prompt="everything", model_name="kling-v3-omni", aspect_ratio="16:9"),
        ]
        jobs = [await kling.submit(request) for request in requests]
        results = [await job for job in jobs]
        assert [job.status for job in jobs] == [Status.SUCCEEDED] * 3
        assert [job.endpoint for job in jobs] == ["text2video", "image2video", "omni-video"]
        assert all(result.url.startswith("http://localhost/_emulator/assets/") for result in results)
        assert {result.task_id for result in results} == {task.public_id for task in emulator.tasks}
        assert_paid_once(emulator, 3)


async def test_result_tells_what_the_service_told() -> None:
    """Assets, their ids and lengths, the watermark's twin, billing and times reach the caller."""
    async with service("official") as emulator, client(emulator) as kling:
        result = await kling.generate(clip(watermark_info={"enabled": True}), job_id="holiday-1")
        (asset,) = result.assets
        assert asset.kind == "video"
        assert asset.duration_s is not None
        assert abs(asset.duration_s - 5) < 0.2
        assert asset.watermark_url not in {None, asset.url}
        assert asset.id
        assert result.urls == (asset.url,)
        assert result.external_id == "holiday-1"
        assert result.billing is not None
        assert result.billing.units == emulator.tasks[0].billed
        assert result.created_at is not None
        assert result.updated_at is not None
        assert result.created_at < result.updated_at
        assert result.raw["task_status"] == "succeed"
        assert pickle.loads(pickle.dumps(result)) == result


async def test_submit_returns_before_anything_is_sent() -> None:
    """`submit` gives the handle at once; `accepted()` waits for the task."""
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(clip(), metadata={"row": 3})
        assert (job.status, job.task_id, emulator.requests) == (Status.QUEUED, None, [])
        task_id = await job.accepted()
        assert job.task_id == task_id == emulator.tasks[0].task_id
        assert job.status in {Status.ACCEPTED, Status.PROCESSING}
        assert job.metadata == {"row": 3}
        assert not job.done()
        with pytest.raises(asyncio.InvalidStateError):
            job.result()
        await job
        assert await job.accepted() == task_id


async def test_local_picture_is_read_when_it_is_sent(tmp_path: Path) -> None:
    """A queue does not hold pictures: the file may even come after the submit, while the job waits for its slot."""
    picture = tmp_path / "first.png"
    async with service(duration_s=30.0) as emulator, client(emulator, max_running=1) as kling:
        first = await kling.submit(clip())
        second = await kling.submit(ImageToVideo(image=picture, prompt="it moves", model_name="kling-v2-6"))
        await first.accepted()
        picture.write_bytes(png(640, 360))
        await second
        body = emulator.tasks[1].body
        assert not str(body["image"]).startswith("data:")
    async with service() as emulator, client(emulator) as kling:
        with pytest.raises(InvalidRequest, match="cannot be read") as caught:
            await kling.generate(ImageToVideo(image=tmp_path / "none.png", prompt="x", model_name="kling-v2-6"))
        assert caught.value.paid == "no"
        assert caught.value.job_id is not None
        assert emulator.requests == []


def png(width: int, height: int) -> bytes:
    """A grey picture, by hand."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + b"\x80" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- failures --------------------------------------------------------------------------------------------------------


async def test_failed_task_raises_with_its_reason_anew_for_every_waiter() -> None:
    """Each waiter gets an exception of its own, which says that nothing was paid."""
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(clip("a [fail] scene"))
        errors = await asyncio.gather(_wait(job), _wait(job), return_exceptions=True)
        assert all(isinstance(error, TaskFailed) for error in errors)
        assert errors[0] is not errors[1]
        error = job.error
        assert isinstance(error, TaskFailed)
        assert "risk control" in error.reason
        assert (error.paid, error.job_id, error.task_id) == ("no", job.id, job.task_id)
        assert job.status is Status.FAILED
        assert emulator.spent == 0


@pytest.mark.parametrize(
    ("faults", "request_", "kind"),
    [
        ([], clip("[refuse]"), PolicyRejected),
        ([Fault(action="status", kind="create", status=429, code=1102)], clip(), AccountError),
        ([Fault(action="status", kind="create", status=429, code=1304)], clip(), AccountError),
        ([Fault(action="status", kind="create", status=403, code=1103)], clip(), AccountError),
        (
            [Fault(action="status", kind="create", status=400, code=1201, message="duration is invalid")],
            clip(),
            RequestRejected,
        ),
        ([Fault(action="status", kind="create", status=200, code=1201, message="in a 200")], clip(), RequestRejected),
    ],
)
async def test_refusals_end_the_job_unpaid_and_are_not_tried_again(
    faults: list[Fault], request_: TextToVideo, kind: type[KlingError]
) -> None:
    """Case 1 and 2: the code decides, and 429 is not always worth another try."""
    async with service(faults=faults) as emulator, client(emulator) as kling:
        job = await kling.submit(request_)
        with pytest.raises(kind) as caught:
            await job
        assert job.status is Status.REJECTED
        assert (caught.value.paid, caught.value.retryable) == ("no", False)
        assert kinds(emulator)["create"] == 1
        assert emulator.tasks == []
        with pytest.raises(kind):
            await job.accepted()


@pytest.mark.parametrize("dialect", ["official", "cometapi", "new-api"])
async def test_wrong_key_is_a_clear_error(dialect: str) -> None:
    """A wrong key ends each job unpaid, and its text stays secret."""
    async with service(dialect) as emulator, client(emulator, api_key="wrong-key-123") as kling:
        with pytest.raises(AuthError) as caught:
            await kling.generate(clip())
        assert caught.value.paid == "no"
        assert "wrong-key-123" not in repr(caught.value)
        assert "check the key" in str(caught.value)


async def test_key_pair_signs_tokens_that_outlive_a_long_wait() -> None:
    """Case 26: a wait of an hour needs more than one token, and a refused one fails nobody."""
    async with service(duration_s=4000.0) as emulator:
        pair = {"access_key": emulator.access_key, "secret_key": emulator.secret_key}
        async with client(emulator, **pair) as kling:
            job = await kling.submit(clip())
            await job
            assert not [request for request in emulator.requests if request.status == 401]


async def test_clock_that_is_wrong_is_corrected_from_the_answer() -> None:
    """Case 35: a clock that is off by an hour is found out by the Date header of the refusal."""
    async with service() as emulator:
        pair = {"access_key": emulator.access_key, "secret_key": emulator.secret_key}
        # aiohttp's server writes the real time into Date, so that is what this clock is wrong against.
        emulator.epoch = None
        async with client(emulator, wall=lambda: 1_000_000.0, **pair) as kling:
            job = await kling.submit(clip())
            with pytest.raises(AuthError):
                await job
            refused = [request.status for request in emulator.requests]
            assert refused == [401, 401]


async def test_success_without_files_is_asked_again_and_then_told() -> None:
    """Case 17: three more looks, then a distinct error that says the money is spent."""
    empty = b'{"code":0,"data":{"task_id":"%s","task_status":"succeed","task_result":{"videos":[]}}}'
    async with service(lists=False, batch=False) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        task_id = await job.accepted()
        emulator.faults.append(Fault(action="body", kind="single", body=empty % task_id.encode()))
        with pytest.raises(NoOutputs) as caught:
            await job
        assert caught.value.paid == "yes"


async def test_empty_success_that_fills_up_is_a_success() -> None:
    """Case 17: the files may come a moment after the word."""
    empty = b'{"code":0,"data":{"task_id":"%s","task_status":"succeed","task_result":{"videos":null}}}'
    async with service(lists=False, batch=False, duration_s=5.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        task_id = await job.accepted()
        emulator.faults.append(Fault(action="body", kind="single", body=empty % task_id.encode(), times=2))
        assert (await job).url


async def test_task_that_vanishes_is_told_after_patience() -> None:
    """Case 13: not found right after creation is lag; for two minutes on end it is loss."""
    async with service(lists=False, batch=False, duration_s=9000.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        await job.accepted()
        emulator.faults.append(Fault(action="status", kind="single", status=400, code=1201, message="Task not found"))
        with pytest.raises(TaskVanished) as caught:
            await job
        assert job.status is Status.VANISHED
        assert caught.value.paid == "maybe"
        assert asyncio.get_running_loop().time() >= 180


async def test_lag_after_creation_is_not_loss() -> None:
    """Case 13: a task that is not visible for a minute is waited for."""
    async with service(visible_after_s=70.0, duration_s=100.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(5)]
        assert all([(await job).url for job in jobs])
        assert_paid_once(emulator, 5)


# --- waiting -----------------------------------------------------------------------------------------------------


@pytest.mark.fault("F47")
async def test_cancelling_one_waiter_hurts_nobody() -> None:
    """The job and its other waiters go on."""
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(clip())

        async def wait() -> str:
            return (await job).url

        waiters = [asyncio.ensure_future(wait()) for _ in range(3)]
        await job.accepted()
        waiters[0].cancel()
        urls = await asyncio.gather(*waiters, return_exceptions=True)
        assert isinstance(urls[0], asyncio.CancelledError)
        assert urls[1] == urls[2] == job.result().url
        assert_paid_once(emulator, 1)


async def test_cancelling_generate_leaves_the_post_alone() -> None:
    """Case 12: the POST in flight is not the caller's to cancel; the job can still be had by its id."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0)
    async with service(faults=[slow]) as emulator, client(emulator) as kling:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await kling.generate(clip(), job_id="kept")
        job = await kling.submit(clip(), job_id="kept")
        assert (await job).url
        assert_paid_once(emulator, 1)


async def test_deadline_tells_whether_money_was_spent() -> None:
    """Case 33: the task goes on; the error has its id, and the task can be followed again."""
    async with service(duration_s=300.0) as emulator, client(emulator) as kling:
        with pytest.raises(DeadlineExceeded) as caught:
            await kling.generate(clip(), timeout=60)
        error = caught.value
        assert (error.paid, error.task_id) == ("yes", emulator.tasks[0].task_id)
        assert isinstance(error, TimeoutError)
        job = kling.attach(str(error.task_id), "text2video")
        assert (await job).url
        assert kling.stats.jobs == {Status.ABANDONED: 1, Status.SUCCEEDED: 1}


async def test_deadline_in_the_queue_was_never_accepted() -> None:
    """Case 32: waiting for a slot ends too, unpaid."""
    async with service(duration_s=300.0) as emulator, client(emulator, max_running=1) as kling:
        first = await kling.submit(clip())
        with pytest.raises(DeadlineExceeded, match="never accepted") as caught:
            await kling.generate(clip("second"), timeout=60)
        assert caught.value.paid == "no"
        await first
        assert_paid_once(emulator, 1)


async def test_deadline_while_the_answer_is_on_its_way_keeps_the_task_id() -> None:
    """The answer that comes late still tells the task's id to who asks the job."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=20.0)
    async with service(faults=[slow]) as emulator, client(emulator) as kling:
        job = await kling.submit(clip(), timeout=10)
        with pytest.raises(DeadlineExceeded) as caught:
            await job
        assert (caught.value.paid, job.task_id) == ("maybe", None)
        await asyncio.sleep(30)
        assert job.task_id == emulator.tasks[0].task_id


async def test_abandon_stops_following() -> None:
    """The service knows no cancel; abandoning only stops asking."""
    async with service(duration_s=300.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        await job.accepted()
        job.abandon()
        job.abandon()
        asked = len(emulator.requests)
        with pytest.raises(JobAbandoned) as caught:
            await job
        assert caught.value.paid == "yes"
        await asyncio.sleep(100)
        assert len(emulator.requests) <= asked + 1  # the proof that the host finds by external id, at the most
        queued = await kling.submit(clip("second"))
        queued.abandon()
        await asyncio.sleep(10)
        assert queued.status is Status.ABANDONED
        assert_paid_once(emulator, 1)


async def test_watch_tells_every_change_and_ends() -> None:
    """Watching yields what is known, then changes, and ends with the job."""
    async with service(duration_s=60.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        seen = [observation.status async for observation in job.watch()]
        assert seen == [TaskStatus.SUBMITTED, TaskStatus.PROCESSING, TaskStatus.SUCCEEDED]
        assert [observation.status async for observation in job.watch()] == [TaskStatus.SUCCEEDED]
        failing = await kling.submit(clip("[refuse]"))
        assert [observation async for observation in failing.watch()] == []


# --- map, attach, query ----------------------------------------------------------------------------------------------


async def test_map_yields_in_order_of_completion_and_never_raises_for_a_job() -> None:
    """Good, failing, refused and invalid requests all come back as finished jobs."""
    async with service(duration_s=(10, 200)) as emulator, client(emulator) as kling:

        def requests() -> Any:
            for index in range(30):
                yield clip(
                    f"scene {index}" + (" [fail]" if index % 10 == 3 else " [refuse]" if index % 10 == 5 else "")
                )

        jobs = [job async for job in kling.map(requests(), max_pending=10)]
        assert len(jobs) == 30
        assert all(job.done() for job in jobs)
        assert sum(job.error is None for job in jobs) == 24
        ended = [job.result().updated_at for job in jobs if job.error is None]
        assert len(ended) == 24
        assert [job.request.prompt for job in jobs] != [f"scene {index}" for index in range(30)]
        assert_paid_once(emulator, 27)


async def test_map_holds_at_most_max_pending_open() -> None:
    """The next request is taken only when there is room; async sources work too."""
    taken = 0

    async def requests() -> Any:
        nonlocal taken
        for index in range(40):
            taken += 1
            yield clip(f"scene {index}")

    async with service() as emulator, client(emulator) as kling:
        done = 0
        async for job in kling.map(requests(), max_pending=8):
            done += 1
            assert job.error is None
            assert taken <= done + 8
        assert done == 40
        assert_paid_once(emulator, 40)
        with pytest.raises(ConfigError):
            await anext(kling.map([], max_pending=0))


async def test_map_gives_invalid_requests_back_as_rejected_jobs() -> None:
    """What strict=True refuses does not end the whole run."""
    async with service() as emulator, client(emulator, strict=True) as kling:
        jobs = [job async for job in kling.map([clip(), clip(duration="7"), clip("last")])]
        errors = [job.error for job in jobs if job.error is not None]
        assert len(errors) == 1
        assert isinstance(errors[0], InvalidRequest)
        assert_paid_once(emulator, 2)


async def test_map_gives_finished_jobs_while_its_source_is_slow() -> None:
    """Order of completion holds also when the next request takes long to come."""
    arrived: list[float] = []

    async def requests() -> Any:
        for index in range(3):
            yield clip(f"scene {index}")
            await asyncio.sleep(200)

    async with service(duration_s=10.0) as emulator, client(emulator) as kling:
        async for job in kling.map(requests()):
            assert job.error is None
            arrived.append(asyncio.get_running_loop().time())
        assert_paid_once(emulator, 3)
    assert [round(moment // 200) for moment in arrived] == [0, 1, 2]


async def test_map_hands_on_what_its_source_raises_and_leaves_the_jobs_alone() -> None:
    """The caller's own error comes through; what was submitted goes on."""

    def requests() -> Any:
        yield clip()
        raise OSError("the disk is gone")

    async with service() as emulator, client(emulator) as kling:
        with pytest.raises(OSError, match="disk"):
            [job async for job in kling.map(requests())]
        await asyncio.sleep(2000)
        assert kling.stats.jobs == {Status.SUCCEEDED: 1}
        with pytest.raises(ConfigError, match="not a request"):
            [job async for job in kling.map(["a prompt"])]  # type: ignore[list-item]
        async for _ in kling.map(clip(f"scene {index}") for index in range(5)):
            break
        await asyncio.sleep(2000)
        assert kling.stats.jobs == {Status.SUCCEEDED: len(emulator.tasks)}


async def test_an_id_is_one_job_even_if_it_was_made_up() -> None:
    """Submitting under the id of an open job gives that job."""
    async with service() as emulator, client(emulator) as kling:
        first = await kling.submit(clip())
        assert await kling.submit(clip(), job_id=first.id) is first
        with pytest.raises(IdempotencyMismatch):
            await kling.submit(clip("other"), job_id=first.id)
        await first
        assert await kling.submit(clip(), job_id=first.id) is first
        assert_paid_once(emulator, 1)


async def test_wrong_arguments_are_the_callers_error_and_nobody_elses() -> None:
    """What is not a request, an id, a URL or a number is refused at once; other jobs do not notice."""
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        wrong: list[Any] = ["text2video", TextToVideo, {"prompt": "x"}, None, 7]
        for request in wrong:
            with pytest.raises(ConfigError, match=r"class|not a request"):
                await kling.submit(request)
        for task_id in (123, "", "a/b", "..", None):
            with pytest.raises(ConfigError, match="task_id"):
                kling.attach(task_id, "text2video")  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match="task_id"):
                await kling.query(task_id, "text2video")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="callback_url"):
            await kling.submit(clip(), callback_url="not a url")
        with pytest.raises(ConfigError, match="timeout"):
            await kling.submit(clip(), timeout="5")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="page_size"):
            await anext(kling.tasks("text2video", page_size=0))
        assert (await job).url
        assert_paid_once(emulator, 1)


async def test_a_question_costs_nothing_and_is_counted() -> None:
    """Trouble with a question of the user's own does not say that money may be spent."""
    async with service() as emulator, client(emulator) as kling:
        emulator.faults.append(Fault(action="reset", kind="single"))
        with pytest.raises(KlingError) as caught:
            await kling.query("867000000000000001", "text2video")
        assert caught.value.paid == "no"
        assert kling.stats.queries == {"single": 1}


async def test_a_failed_task_has_the_request_id_of_the_answer_that_told_it() -> None:
    """Something to quote to the service's support."""
    async with service("official") as emulator, client(emulator) as kling:
        with pytest.raises(TaskFailed) as caught:
            await kling.generate(clip("[fail]"))
        assert caught.value.request_id
        assert emulator.spent == 0


async def test_closing_twice_at_once_closes_once_and_both_wait() -> None:
    """The second call does not return before everything is closed."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0)
    async with service(faults=[slow]) as emulator:
        async with client(emulator) as kling:
            await kling.submit(clip())
            await asyncio.sleep(1)
            await asyncio.gather(kling.aclose(), kling.aclose())
            assert asyncio.get_running_loop().time() >= 5
            assert "closed" in repr(kling._transport)


async def test_attach_follows_what_was_made_elsewhere() -> None:
    """A task id and its endpoint are enough, also for a task of an earlier session."""
    async with service(duration_s=100.0) as emulator:
        async with client(emulator) as kling:
            task_id = await (await kling.submit(clip())).accepted()
        async with client(emulator) as kling:
            job = kling.attach(task_id, TextToVideo, metadata={"again": True})
            assert kling.attach(task_id, "text2video") is job
            assert (job.request, job.task_id, job.endpoint) == (None, task_id, "text2video")
            assert (await job).task_id == task_id
            assert job.metadata == {"again": True}
        assert_paid_once(emulator, 1)


async def test_attaching_what_the_host_never_heard_of_ends_soon() -> None:
    """A mistyped id is found out with the third answer, not after minutes."""
    async with service() as emulator, client(emulator) as kling:
        with pytest.raises(TaskVanished) as caught:
            await kling.attach("867000000000999999", "text2video")
        assert caught.value.task_id == "867000000000999999"
        assert asyncio.get_running_loop().time() < 15
        assert emulator.tasks == []


async def test_closing_tells_which_paid_tasks_are_left(caplog: pytest.LogCaptureFixture) -> None:
    """Leaving the block is not an error, but what goes on at the service is said once."""
    async with service(duration_s=1000.0) as emulator:
        async with client(emulator) as kling:
            jobs = [await kling.submit(clip(f"scene {index}")) for index in range(12)]
            for job in jobs:
                await job.accepted()
        told = [record.getMessage() for record in caplog.records if "go on at the service" in record.getMessage()]
        assert len(told) == 1
        assert str(jobs[0].task_id) in told[0]
        assert "and 2 more" in told[0]


async def test_query_asks_now_and_feeds_the_job() -> None:
    """One question of the user's own; what it tells the job knows as well."""
    async with service(duration_s=3.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        with pytest.raises(ConfigError, match="no task yet"):
            await kling.query(job)
        task_id = await job.accepted()
        assert (await kling.query(task_id, "text2video")).status in {TaskStatus.SUBMITTED, TaskStatus.PROCESSING}
        await asyncio.sleep(0.5)
        assert (await kling.query(job)).task_id == task_id
        with pytest.raises(TaskVanished):
            await kling.query("867000000000999999", TextToVideo)
        with pytest.raises(ConfigError):
            await kling.query(task_id)
        with pytest.raises(ConfigError, match="takes a Result"):
            await kling.download(job, ".")  # type: ignore[arg-type]
        assert emulator.tasks[0].task_id == task_id
    async with service(unknown_task="empty") as emulator, client(emulator) as kling:
        with pytest.raises(TaskVanished):
            await kling.query("867000000000999999", TextToVideo)


async def test_tasks_pages_through_the_hosts_list() -> None:
    """Every task once, page by page; a host without lists refuses clearly."""
    async with service() as emulator, client(emulator) as kling:
        jobs = [job async for job in kling.map(clip(f"scene {index}") for index in range(25))]
        listed = [observation.task_id async for observation in kling.tasks("text2video", page_size=10)]
        assert sorted(map(str, listed)) == sorted(str(job.task_id) for job in jobs)
        assert len(emulator.tasks) == 25
    async with service("cometapi") as emulator, client(emulator) as kling:
        with pytest.raises(KlingError):
            [observation async for observation in kling.tasks("text2video")]


# --- names -----------------------------------------------------------------------------------------------------------


async def test_a_named_job_is_one_job() -> None:
    """The same id gives the same job, also when it is done; another request under it is refused."""
    async with service() as emulator, client(emulator) as kling:
        first = await kling.submit(clip(), job_id="holiday-7")
        assert await kling.submit(clip(), job_id="holiday-7") is first
        assert first.id == "holiday-7"
        await first
        assert await kling.submit(clip(external_task_id=None), job_id="holiday-7") is first
        with pytest.raises(IdempotencyMismatch) as caught:
            await kling.submit(clip("other"), job_id="holiday-7")
        assert caught.value.paid == "no"
        assert emulator.tasks[0].external_id == "holiday-7"
        assert_paid_once(emulator, 1)


async def test_the_requests_own_external_id_names_the_job() -> None:
    """`external_task_id` and `job_id` are one thing; two different ones are refused."""
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(clip(external_task_id="mine-1"))
        assert job.id == "mine-1"
        await job
        assert emulator.tasks[0].external_id == "mine-1"
        with pytest.raises(InvalidRequest):
            await kling.submit(clip(external_task_id="mine-2"), job_id="other")
        with pytest.raises(InvalidRequest):
            await kling.submit(clip(), job_id="with,comma")


async def test_a_name_used_in_an_earlier_session_finds_its_task() -> None:
    """Case 5: "already exists" is a success in disguise: the task is looked up and followed, not paid again."""
    async with service(duration_s=100.0) as emulator:
        async with client(emulator) as kling:
            await (await kling.submit(clip(), job_id="order-12")).accepted()
        async with client(emulator) as kling:
            result = await kling.generate(clip(), job_id="order-12")
        assert result.task_id == emulator.tasks[0].task_id
        assert_paid_once(emulator, 1)


async def test_callback_url_of_session_request_and_call() -> None:
    """The call's wins over the request's, and that over the session's."""
    async with service() as emulator, client(emulator, callback="https://me.example/all") as kling:
        await kling.generate(clip())
        await kling.generate(clip(callback_url="https://me.example/own"))
        await kling.generate(clip(callback_url="https://me.example/own"), callback_url="https://me.example/now")
        assert [task.callback_url for task in emulator.tasks] == [
            "https://me.example/all",
            "https://me.example/own",
            "https://me.example/now",
        ]


# --- rules of model and host -----------------------------------------------------------------------------------------


async def test_advice_warns_once_at_the_callers_line_or_refuses_when_strict() -> None:
    """What is likely wrong for the model is told where it was written; strict makes it an error."""
    odd = clip(duration="7")
    async with service() as emulator, client(emulator) as kling:
        with pytest.warns(RequestWarning, match="not 7") as caught:
            await kling.submit(odd)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RequestWarning)
            job = await kling.submit(odd)
        assert (await job).url  # the service decides, and this one took it
        assert_paid_once(emulator, 2)
    async with service() as emulator, client(emulator, strict=True) as kling:
        with pytest.raises(InvalidRequest, match="not 7"):
            await kling.submit(odd)
        assert emulator.requests == []


# --- opening and closing ---------------------------------------------------------------------------------------------


@pytest.mark.fault("F48")
async def test_closing_releases_every_waiter_resumably() -> None:
    """Queued, sending and running jobs: each waiter gets SessionClosed, which tells about the money."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=100.0, nth=2)
    async with service(duration_s=1000.0, faults=[slow]) as emulator:
        policy = Policy(grace_s=1.0)
        async with client(emulator, policy=policy, max_running=2) as kling:
            jobs = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
            await jobs[0].accepted()
            await asyncio.sleep(5)
            waiting = [asyncio.ensure_future(_wait(job)) for job in jobs]
            statuses = [job.status for job in jobs]
            await asyncio.sleep(0)
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert statuses == [Status.ACCEPTED, Status.SENDING, Status.QUEUED]
        assert [(type(error), getattr(error, "resumable", None), getattr(error, "paid", None)) for error in errors] == [
            (SessionClosed, True, "yes"),
            (SessionClosed, True, "maybe"),
            (SessionClosed, True, "no"),
        ]
        assert all(job.done() for job in jobs)
        assert isinstance(jobs[0].error, SessionClosed)
        with pytest.raises(SessionClosed):
            jobs[0].result()
        with pytest.raises(SessionClosed):
            await jobs[2].accepted()
        with pytest.raises(SessionClosed, match="nothing was sent"):
            await kling.submit(clip())


async def _wait(job: Job) -> object:
    return await job


@pytest.mark.fault("F48")
async def test_closing_lets_a_submission_in_flight_end() -> None:
    """A create that is answered within the grace time is not left unsure."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0)
    async with service(faults=[slow]) as emulator:
        async with client(emulator) as kling:
            job = await kling.submit(clip())
            await asyncio.sleep(1)
            assert job.status is Status.SENDING
        assert job.task_id == emulator.tasks[0].task_id
        assert "1 " in repr(emulator) or emulator.tasks


async def test_a_session_is_opened_once_and_used_inside() -> None:
    """Outside of its block it refuses clearly."""
    async with service() as emulator:
        connector = aiohttp.UnixConnector(path=SOCKET)
        async with aiohttp.ClientSession(connector=connector) as http:
            kling = KlingSession(api_key="emulator-key", base_url=official(emulator.url), http=http)
            assert "not entered" in repr(kling)
            assert kling.stats.jobs == {}
            with pytest.raises(ConfigError, match="async with"):
                await kling.submit(clip())
            async with kling:
                assert "0 pending" in repr(kling)
            assert "closed" in repr(kling)
            await kling.aclose()
            with pytest.raises(SessionClosed):
                await kling.__aenter__()
            assert not http.closed
        unopened = KlingSession(api_key="emulator-key", base_url=official(emulator.url))
        await unopened.aclose()


def test_a_session_belongs_to_its_loop() -> None:
    """Another loop gets a clear error instead of a hang."""
    kling = KlingSession(api_key="k", base_url="https://gateway.example")

    async def opened() -> None:
        await kling.__aenter__()

    async def elsewhere() -> None:
        with pytest.raises(ConfigError, match="another event loop"):
            await kling.submit(clip())

    from kling_async.emulator.virtual import VirtualLoop

    loop, other = VirtualLoop(), VirtualLoop()
    try:
        loop.run_until_complete(opened())
        other.run_until_complete(elsewhere())
        loop.run_until_complete(kling.aclose())
    finally:
        loop.close()
        other.close()


async def test_a_bug_reaches_every_waiter_and_the_block() -> None:
    """Nothing hangs: waiters, `submit` and the end of the block all get SchedulerCrashed with its cause."""
    from kling_async import SchedulerCrashed

    async with service(duration_s=1000.0) as emulator:
        with pytest.raises(SchedulerCrashed) as at_exit:
            async with client(emulator) as kling:
                job = await kling.submit(clip())
                await job.accepted()
                scheduler = kling._runtime.last_scheduler
                assert scheduler is not None
                scheduler._deadlines._heap.insert(0, None)  # type: ignore[arg-type]
                with pytest.raises(SchedulerCrashed) as caught:
                    await job
                with pytest.raises(SchedulerCrashed) as refused:
                    await kling.submit(clip())
                with pytest.raises(SchedulerCrashed):
                    [done async for done in kling.map([clip()])]
        assert caught.value.paid == "yes"
        assert refused.value.paid == "no"
        assert caught.value.__cause__ is not None
        assert at_exit.value.__cause__ is not None
        assert job.status is Status.PROCESSING or job.status is Status.ACCEPTED


def test_arguments_are_checked_before_any_io(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mistake has its own sentence, and no sentence holds a key."""
    for name in ("KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    secret = "sk-very-secret"
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "no credentials"),
        ({"api_key": secret, "journal": 5}, "journal=5"),
        ({"api_key": secret, "max_running": 0}, "at least 1"),
        ({"api_key": secret, "timeout": -1}, "above 0"),
        ({"api_key": secret, "access_key": "a"}, "choose one"),
        ({"access_key": secret}, "secret_key"),
        ({"api_key": secret, "base_url": "http://gateway.example"}, "not https"),
        ({"api_key": f"{secret}\n"}, "white space"),
    ]
    for arguments, words in cases:
        with pytest.raises(ConfigError, match=words) as caught:
            KlingSession(**arguments)
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        inside = [frame for frame in told.stack if "kling_async" in frame.filename]
        assert inside
        assert secret not in repr([(frame.line, frame.locals) for frame in inside])
        assert secret not in str(caught.value)


def test_environment_chooses_host_and_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """CometAPI with an API key, the global host with a pair, KLING_BASE_URL over both, arguments over all."""
    for name in ("KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KLING_API_KEY", "one")
    assert KlingSession().host.name == "https://api.cometapi.com/kling"
    monkeypatch.setenv("KLING_BASE_URL", "china")
    assert KlingSession().host.name == "https://api-beijing.klingai.com"
    assert KlingSession(base_url="cometapi").host.family == "cometapi"
    monkeypatch.delenv("KLING_BASE_URL")
    assert KlingSession(access_key="a", secret_key="b").host.name == "https://api-singapore.klingai.com"
