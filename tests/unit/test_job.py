"""job.py: the handle: any number of waiters, none of whom can hurt another."""

import asyncio
import gc
import traceback
import weakref
from datetime import UTC, datetime
from typing import Any

import pytest
from unit_tools import seen

from kling_async import Asset, Job, Observation, Result, Status, TaskStatus, TextToVideo
from kling_async.endpoints import find_endpoint
from kling_async.errors import (
    ConfigError,
    JobAbandoned,
    KlingError,
    RequestRejected,
    SessionClosed,
    SubmissionUnknown,
    TaskFailed,
    service_error,
)
from kling_async.job import Track
from kling_async.models import Failed, Succeeded

NOW = datetime(2026, 10, 1, tzinfo=UTC)
RESULT = Result(assets=(Asset(kind="video", url="https://u"),), endpoint="text2video", task_id="t1")
DONE = Succeeded(RESULT)
FAILED = Failed(Status.FAILED, TaskFailed("risk"))


def make(**fields: Any) -> Job:
    return Job("job-7", find_endpoint("text2video"), TextToVideo(prompt="x"), **{"created_at": NOW, **fields})


async def turn() -> None:
    """Let everything run that can run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def watched(job: Job) -> list[Observation]:
    return [news async for news in job.watch()]


# --- what it tells -------------------------------------------------------------------------------------------------


def test_it_tells_what_it_is() -> None:
    job = make(metadata={"row": 5}, status=Status.ACCEPTED, task_id="t1")
    assert (job.id, job.endpoint, job.status, job.task_id, job.created_at) == (
        "job-7",
        "text2video",
        Status.ACCEPTED,
        "t1",
        NOW,
    )
    assert job.request == TextToVideo(prompt="x")
    assert job.metadata == {"row": 5}
    assert job.row is find_endpoint("text2video")
    assert job.news is None
    assert repr(job) == "<Job job-7 [text2video accepted | task t1]>"
    fresh = make()
    assert repr(fresh) == "<Job job-7 [text2video queued]>"
    assert fresh.metadata == {}
    assert fresh.status is Status.QUEUED


def test_a_result_before_the_end_is_an_error_of_the_caller() -> None:
    job = make()
    assert not job.done()
    assert job.error is None
    with pytest.raises(asyncio.InvalidStateError, match="job job-7 is queued; await it"):
        job.result()


def test_a_success_gives_the_same_result_every_time() -> None:
    job = make()
    job.settle(DONE)
    assert job.done()
    assert job.status is Status.SUCCEEDED
    assert job.error is None
    assert job.result() is job.result() is RESULT


def test_a_failure_gives_a_fresh_exception_every_time_with_the_ids_filled_in() -> None:
    job = make(task_id="t1")
    job.settle(FAILED)
    assert job.status is Status.FAILED
    errors = [job.error, job.error]
    for _ in range(2):
        with pytest.raises(TaskFailed) as caught:
            job.result()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 4
    for error in errors:
        assert isinstance(error, TaskFailed)
        assert (error.job_id, error.task_id, error.reason, error.paid) == ("job-7", "t1", "risk", "no")
    assert FAILED.error.job_id is None
    assert FAILED.error.__traceback__ is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.REJECTED, service_error(1301, "no", 400)),
        (Status.UNRESOLVED, SubmissionUnknown("sent")),
        (Status.ABANDONED, JobAbandoned("x")),
    ],
)
def test_the_status_of_a_failure_is_the_outcomes(status: Status, error: KlingError) -> None:
    job = make()
    job.settle(Failed(status, error))
    assert job.status is status
    assert type(job.error) is type(error)
    with pytest.raises(type(error)):
        job.result()


def test_release_wakes_without_ending_the_job() -> None:
    """Closing is not failing: the status stays what it was, and the job can be followed again."""
    job = make(status=Status.PROCESSING, task_id="t1")
    job.release(SessionClosed("closed", paid="yes"))
    assert job.done()
    assert job.status is Status.PROCESSING
    with pytest.raises(SessionClosed) as caught:
        job.result()
    assert (caught.value.job_id, caught.value.paid, caught.value.resumable) == ("job-7", "yes", True)
    assert job.error is not job.error


def test_release_after_the_end_changes_nothing() -> None:
    for outcome in (DONE, FAILED):
        job = make()
        job.settle(outcome)
        before = (job.status, type(job.error))
        job.release(SessionClosed("closed"))
        assert (job.status, type(job.error)) == before
    job = make()
    job.release(SessionClosed("first"))
    job.release(SessionClosed("second"))
    assert str(job.error) == "first"


def test_an_outcome_after_a_release_has_the_last_word() -> None:
    job = make()
    job.release(SessionClosed("closed"))
    job.settle(DONE)
    assert job.error is None
    assert job.result() is RESULT


async def test_what_the_owner_decides_goes_to_the_keeper() -> None:
    asked: list[tuple[str, Job]] = []

    class Asked:
        def abandon(self, job: Job) -> None:
            asked.append(("abandon", job))

        async def resend(self, job: Job) -> None:
            asked.append(("resend", job))

        async def forget(self, job: Job) -> None:
            asked.append(("forget", job))

    job = make(keeper=Asked())
    job.abandon()
    for decision in (job.resend, job.forget):
        with pytest.raises(ConfigError, match="unresolved"):
            await decision()
    assert not job.done()
    job.settle(Failed(Status.UNRESOLVED, SubmissionUnknown("x")))
    await job.resend()
    await job.forget()
    assert asked == [("abandon", job), ("resend", job), ("forget", job)]
    orphan = make()
    orphan.abandon()
    orphan.settle(Failed(Status.UNRESOLVED, SubmissionUnknown("x")))
    with pytest.raises(ConfigError):
        await orphan.forget()


# --- waiting -------------------------------------------------------------------------------------------------------


async def test_any_number_of_waiters_get_the_same_result() -> None:
    job = make()

    async def wait() -> Result:
        return await job

    waiters = [asyncio.create_task(wait()) for _ in range(100)]
    await turn()
    assert not any(waiter.done() for waiter in waiters)
    job.settle(DONE)
    assert all(result is RESULT for result in await asyncio.gather(*waiters))
    assert await job is RESULT


async def test_each_waiter_gets_an_exception_of_its_own() -> None:
    job = make()

    async def wait() -> Result:
        return await job

    waiters = [asyncio.create_task(wait()) for _ in range(3)]
    await turn()
    job.settle(FAILED)
    errors = await asyncio.gather(*waiters, return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, TaskFailed)
        assert len(traceback.extract_tb(error.__traceback__)) < 6, "tracebacks do not pile up on a shared exception"


async def test_cancelling_one_waiter_hurts_nobody_else() -> None:
    job = make()

    async def wait() -> Result:
        return await job

    one, two, three = (asyncio.create_task(wait()) for _ in range(3))
    await turn()
    two.cancel()
    await turn()
    assert two.cancelled()
    assert not job.done()
    assert not one.done()
    job.settle(DONE)
    assert await one is await three is RESULT


async def test_a_waiter_cancelled_in_the_turn_of_the_end_is_cancelled_and_the_others_are_not() -> None:
    job = make()

    async def wait() -> Result:
        return await job

    one, two = (asyncio.create_task(wait()) for _ in range(2))
    await turn()
    job.settle(DONE)
    one.cancel()
    await turn()
    assert one.cancelled()
    assert await two is RESULT


async def test_a_timeout_around_a_job_leaves_it_alone() -> None:
    job = make()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(job, 3.0)
    asyncio.get_running_loop().call_later(2.0, job.settle, DONE)
    assert await asyncio.wait_for(job, 3.0) is RESULT


async def test_a_job_may_be_awaited_in_a_group_and_with_gather() -> None:
    job, other = make(), make()
    asyncio.get_running_loop().call_later(1.0, job.settle, DONE)
    asyncio.get_running_loop().call_later(2.0, other.settle, FAILED)
    results = await asyncio.gather(job, job, other, return_exceptions=True)
    assert results[0] is results[1] is RESULT
    assert isinstance(results[2], TaskFailed)


async def test_an_unread_failure_logs_nothing_and_leaves_nothing() -> None:
    """The test's loop reports whatever asyncio complains about; there must be nothing."""
    job = make()
    gone = weakref.ref(job)
    job.settle(FAILED)
    del job
    gc.collect()
    assert gone() is None


async def test_waiters_that_are_gone_leave_nothing_behind() -> None:
    job = make()
    for _ in range(50):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job, 0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job.accepted(), 0.1)
    assert not job._waiters
    assert not job._task_waiters


async def test_release_wakes_every_kind_of_waiter() -> None:
    job = make()

    async def wait() -> Result:
        return await job

    waiters = [asyncio.create_task(wait()), asyncio.create_task(job.accepted())]
    listener = asyncio.create_task(watched(job))
    await turn()
    job.release(SessionClosed("closed"))
    for waiter in waiters:
        with pytest.raises(SessionClosed):
            await waiter
    assert await listener == []


# --- accepted ------------------------------------------------------------------------------------------------------


async def test_accepted_waits_for_the_task_and_gives_its_id() -> None:
    job = make()
    waiters = [asyncio.create_task(job.accepted()) for _ in range(3)]
    await turn()
    waiters[0].cancel()
    await turn()
    job.take_task("t1")
    assert await asyncio.gather(*waiters[1:]) == ["t1", "t1"]
    assert waiters[0].cancelled()
    assert await job.accepted() == "t1"
    assert not job.done()


async def test_a_task_that_ends_in_the_turn_it_is_accepted_in_is_accepted_all_the_same() -> None:
    """Speech is finished in the answer to its create."""
    job = make()
    waiter = asyncio.create_task(job.accepted())
    await turn()
    job.take_task("t1")
    job.settle(DONE)
    assert await waiter == "t1"
    assert await job is RESULT


@pytest.mark.parametrize(
    "outcome",
    [
        Failed(Status.REJECTED, RequestRejected("no", code=1201, http_status=400)),
        Failed(Status.UNRESOLVED, SubmissionUnknown("sent")),
    ],
)
async def test_accepted_raises_why_there_is_no_task(outcome: Failed) -> None:
    job = make()
    early = asyncio.create_task(job.accepted())
    await turn()
    job.settle(outcome)
    for waiting in (early, job.accepted()):
        with pytest.raises(type(outcome.error)) as caught:
            await waiting
        assert caught.value.job_id == "job-7"


async def test_accepted_is_true_of_a_task_that_failed_or_was_left() -> None:
    job = make(task_id="t1")
    job.settle(FAILED)
    assert await job.accepted() == "t1"
    job = make(task_id="t1")
    job.release(SessionClosed("closed"))
    assert await job.accepted() == "t1"


async def test_accepted_after_a_release_raises_the_release() -> None:
    job = make()
    job.release(SessionClosed("closed"))
    with pytest.raises(SessionClosed):
        await job.accepted()


async def test_a_job_that_is_finished_at_once_was_accepted_with_what_its_result_says() -> None:
    job = make()
    job.settle(DONE)
    assert await job.accepted() == "t1"


# --- watch ---------------------------------------------------------------------------------------------------------

FIRST = seen(TaskStatus.SUBMITTED)
SECOND = seen(TaskStatus.PROCESSING)
LAST = seen(TaskStatus.SUCCEEDED)


async def test_watch_gives_what_is_known_then_every_change_then_ends() -> None:
    job = make()
    early = asyncio.create_task(watched(job))
    await turn()
    job.tell(FIRST)
    late = asyncio.create_task(watched(job))
    await turn()
    job.tell(SECOND)
    job.tell(LAST)
    job.settle(DONE)
    assert await early == [FIRST, SECOND, LAST]
    assert await late == [FIRST, SECOND, LAST]
    assert await watched(job) == [LAST]
    assert job.news is LAST


async def test_watch_misses_nothing_while_the_caller_is_at_work() -> None:
    """Also not between the first item, which is what is known already, and the second."""
    job = make()
    job.tell(FIRST)
    got = []
    async for news in job.watch():
        got.append(news)
        if news == FIRST:
            job.tell(SECOND)
            await turn()
            job.tell(LAST)
            job.settle(DONE)
            await turn()
    assert got == [FIRST, SECOND, LAST]


async def test_watch_raises_nothing_for_a_job_that_fails() -> None:
    job = make()
    listener = asyncio.create_task(watched(job))
    await turn()
    job.settle(FAILED)
    assert await listener == []
    assert await watched(job) == []


async def test_a_watcher_that_leaves_is_forgotten_and_the_others_stay() -> None:
    job = make()
    job.tell(FIRST)
    stays = asyncio.create_task(watched(job))
    leaving = job.watch()
    assert await anext(leaving) == FIRST
    await turn()
    assert job._watchers is not None
    assert len(job._watchers) == 2
    await leaving.aclose()  # type: ignore[attr-defined]
    assert len(job._watchers) == 1
    cancelled = asyncio.create_task(watched(job))
    await turn()
    cancelled.cancel()
    await turn()
    assert cancelled.cancelled()
    assert len(job._watchers) == 1
    job.tell(LAST)
    job.settle(DONE)
    assert await stays == [FIRST, LAST]
    assert job._watchers == []


# --- when_done -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [DONE, FAILED])
def test_when_done_calls_once_at_the_end_or_at_once(outcome: Succeeded | Failed) -> None:
    job = make()
    called: list[tuple[str, Job]] = []
    job.when_done(lambda done: called.append(("one", done)))
    job.when_done(lambda done: called.append(("two", done)))
    job.tell(FIRST)
    job.take_task("t1")
    assert called == []
    job.settle(outcome)
    assert called == [("one", job), ("two", job)]
    job.when_done(lambda done: called.append(("late", done)))
    assert called[2:] == [("late", job)]
    job.release(SessionClosed("closed"))
    assert len(called) == 3


def test_when_done_is_called_at_a_release_and_not_again_at_the_end() -> None:
    job = make()
    called: list[bool] = []
    job.when_done(lambda done: called.append(done.done()))
    job.release(SessionClosed("closed"))
    job.settle(DONE)
    assert called == [True]


def test_a_job_nobody_waits_for_costs_no_future() -> None:
    """It can be made, told and settled without any loop at all."""
    job = make()
    job.tell(FIRST)
    job.take_task("t1")
    job.settle(DONE)
    assert job._waiters is job._task_waiters is None
    assert job._watchers is None
    assert not hasattr(job, "__dict__")


def test_tracks_compare_by_identity() -> None:
    job = make()
    one = Track(job=job, order=1, gate=("video", ""))
    assert one != Track(job=job, order=1, gate=("video", ""))
    assert (one.slots, one.holds_slot, one.watch, one.search) == (0, False, None, None)
