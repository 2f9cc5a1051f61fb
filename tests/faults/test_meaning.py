"""F27 to F35 and F54: the answer is whole and the service's own, and says something odd about a task."""

import asyncio
import logging
from typing import Any

import pytest
from fault_tools import CARELESS, QUESTIONS, caught, client, finished, left, submit_gets
from flow_tools import EPOCH, assert_paid_once, clip, kinds, service, wall

from kling_async import (
    DeadlineExceeded,
    Job,
    NoOutputs,
    PolicyRejected,
    ServiceError,
    Status,
    SubmissionUnknown,
    TaskFailed,
    TaskStatus,
    TaskVanished,
)
from kling_async.emulator import Emulator, Fault
from kling_async.journal import MemoryJournal, MemoryStore

LISTS: dict[str, Any] = {**CARELESS, "lists": True}
BATCHES: dict[str, Any] = {**CARELESS, "lists": False, "batch_sees_legacy": True}


async def _wait(job: Job) -> Any:
    return await job


def told(emulator: Emulator, job: Job, *, for_s: float | None = None, **how: Any) -> None:
    """Let every answer about one job's task say something else."""
    assert job.task_id is not None
    until_s = None if for_s is None else emulator.now() - EPOCH + for_s
    altered: dict[str, Any] = {"action": "alter", "task": job.task_id, "until_s": until_s, **how}
    emulator.faults.append(Fault(kind="single", path=f"*/{job.task_id}", **altered))
    emulator.faults.extend(Fault(kind=kind, **altered) for kind in QUESTIONS if kind != "single")


async def accepted(kling: Any, count: int, **submit: Any) -> list[Job]:
    jobs = [await kling.submit(clip(f"scene {index}"), **submit) for index in range(count)]
    for job in jobs:
        await job.accepted()
    return jobs


@pytest.mark.fault("F27")
@pytest.mark.parametrize("settings", [LISTS, BATCHES], ids=["lists", "batches"])
async def test_f27_an_unknown_status_word(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Not failed and not for ever: told once, asked on, and at that job's deadline it is over; others deliver."""
    caplog.set_level(logging.WARNING)
    async with service(**settings) as emulator, client(emulator) as kling:
        jobs = await accepted(kling, 12)
        odd = await kling.submit(clip("odd"), timeout=500)
        await odd.accepted()
        told(emulator, odd, values={"task_status": "rendering_v2", "status": "rendering_v2"})
        await finished(jobs)
        error = await caught(_wait(odd), DeadlineExceeded)
        assert (error.paid, error.retryable, odd.status) == ("yes", False, Status.ABANDONED)
        lines = [record.getMessage() for record in caplog.records if "rendering_v2" in record.getMessage()]
        assert len(set(lines)) == 1
        assert len(lines) == 1  # not at every question
        assert_paid_once(emulator, 13)


@pytest.mark.fault("F27")
async def test_f27_an_unknown_word_in_the_answer_to_a_create_is_an_acceptance() -> None:
    async with service(**CARELESS) as emulator, client(emulator) as kling:
        emulator.faults.append(Fault(action="alter", kind="create", values={"task_status": "queued_v3"}))
        await finished(await accepted(kling, 2))
        assert kinds(emulator)["create"] == 2
        assert_paid_once(emulator, 2)


@pytest.mark.fault("F28")
async def test_f28_a_status_that_goes_backwards() -> None:
    """A replica that lags says "processing" of what has succeeded: the first end wins, and stays."""
    async with service("cometapi", duration_s=30.0) as emulator, client(emulator) as kling:
        (job,) = await accepted(kling, 1)
        result = await job
        for word in ("submitted", "processing", "failed"):
            emulator.faults[:] = [Fault(action="alter", kind="single", values={"task_status": word})]
            assert (await kling.query(str(job.task_id), "text2video")).word == word
            assert (job.status, job.result()) == (Status.SUCCEEDED, result)
        again = kling.attach(str(job.task_id), "text2video")
        assert isinstance((await caught(_wait(again), TaskFailed)), TaskFailed)
        assert job.result() == result
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F29")
@pytest.mark.parametrize("outputs", [{"task_result": {"videos": []}}, {"task_result": None}, {"task_result": {}}])
async def test_f29_success_without_a_file(outputs: dict[str, Any]) -> None:
    """The word may come before the file: three more questions, and then it is told, as paid."""
    async with service("cometapi", duration_s=20.0) as emulator, client(emulator) as kling:
        (late,) = await accepted(kling, 1)
        told(emulator, late, values=outputs, for_s=22)
        assert (await late).url
        emulator.faults.clear()
        (empty,) = await accepted(kling, 1)
        told(emulator, empty, values={"task_status": "succeed", **outputs})
        error = await caught(_wait(empty), NoOutputs)
        assert (error.paid, error.retryable, error.task_id) == ("yes", False, empty.task_id)
        assert emulator.faults.hits() == 4
        assert_paid_once(emulator, 2)


@pytest.mark.fault("F29")
async def test_f29_success_whose_output_has_no_url() -> None:
    async with service("cometapi", duration_s=20.0) as emulator, client(emulator) as kling:
        (job,) = await accepted(kling, 1)
        told(emulator, job, values={"task_status": "succeed", "task_result": {"videos": [{"id": "1", "url": ""}]}})
        assert (await caught(_wait(job), NoOutputs)).paid == "yes"


@pytest.mark.fault("F30")
@pytest.mark.parametrize("settings", [LISTS, BATCHES], ids=["lists", "batches"])
async def test_f30_left_out_of_a_page_and_still_there(settings: dict[str, Any]) -> None:
    """Rows that are missing, or there twice, are nobody's end: the task is asked for singly, and delivers."""
    async with service(**settings) as emulator, client(emulator) as kling:
        jobs = await accepted(kling, 12)
        for rows, job in (("none", jobs[0]), ("twice", jobs[1])):
            emulator.faults.extend(
                Fault(action="alter", kind=kind, task=job.task_id, rows=rows, every=every)  # type: ignore[arg-type]
                for kind in ("list", "batch")
                for every in ((2,) if rows == "twice" else (None,))
            )
        await finished(jobs)
        assert kling.stats.jobs == {Status.SUCCEEDED: 12}
        assert kinds(emulator)["single"] >= 1
        assert_paid_once(emulator, 12)


@pytest.mark.fault("F30")
@pytest.mark.parametrize("settings", [LISTS, BATCHES, {"lists": False, "batch": False}], ids=["list", "batch", "none"])
async def test_f30_a_task_that_is_gone(settings: dict[str, Any]) -> None:
    """Five single questions over two minutes, each answered with "no such task": only then it is told."""
    async with service(**{**settings, "duration_s": 900.0}) as emulator, client(emulator) as kling:
        jobs = await accepted(kling, 3)
        await asyncio.sleep(100)
        began = emulator.now()
        told(emulator, jobs[0], rows="none")
        error = await caught(_wait(jobs[0]), TaskVanished)
        assert (error.paid, error.task_id, jobs[0].status) == ("maybe", jobs[0].task_id, Status.VANISHED)
        assert emulator.now() - began >= 120
        asked = [r for r in emulator.requests if r.kind == "single" and str(jobs[0].task_id) in r.path and r.fault]
        assert len(asked) >= 5
        await finished(jobs[1:])
        assert_paid_once(emulator, 3)


@pytest.mark.fault("F31")
async def test_f31_one_task_id_for_two_creates() -> None:
    """The second entry is refused, since one clip must not be told as two; both stay in the journal."""
    store = MemoryStore()
    journal = MemoryJournal(wall=wall, owner="first", store=store)
    async with service(**CARELESS) as emulator, client(emulator, journal=journal) as kling:
        (first,) = await accepted(kling, 1)
        same = Fault(action="alter", kind="create", values={"task_id": first.task_id, "task_info": {}}, times=1)
        emulator.faults.append(same)
        second = await kling.submit(clip("second"), job_id="second")
        error = await caught(_wait(second), SubmissionUnknown)
        assert (error.paid, error.retryable, second.status) == ("maybe", False, Status.UNRESOLVED)
        assert "another job" in str(error)
        await finished([first])
        assert kinds(emulator)["create"] == 2
        assert_paid_once(emulator, 2)
    assert store.entries[first.id].state is Status.SUCCEEDED
    assert store.entries["second"].state is Status.UNRESOLVED


@pytest.mark.fault("F33")
@pytest.mark.parametrize("visible_after_s", [5.0, 25.0, 55.0])
async def test_f33_a_create_that_is_visible_late(visible_after_s: float) -> None:
    """With its answer lost the window covers it; with it, not being found is lag for a while, and not loss."""
    async with service(**CARELESS, visible_after_s=visible_after_s) as emulator, client(emulator) as kling:
        jobs = await accepted(kling, 2)
        emulator.faults.append(Fault(action="reset", stage="after", kind="create"))
        lost = await kling.submit(clip("lost"))
        assert await left(lost, Status.QUEUED, Status.SENDING) is Status.UNSURE
        await finished([*jobs, lost])
        assert kinds(emulator)["create"] == 3
        assert_paid_once(emulator, 3)


@pytest.mark.fault("F34")
async def test_f34_a_task_that_never_ends() -> None:
    """The time given is over: told as paid, and followed on by whoever wants to; nothing is sent again."""
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(clip("[stuck]"), timeout=300, job_id="stuck")
        error = await caught(_wait(job), DeadlineExceeded)
        assert (error.paid, error.retryable, error.task_id) == ("yes", False, emulator.tasks[0].task_id)
        assert isinstance(error, TimeoutError)
        again = kling.attach(str(error.task_id), "text2video")
        await asyncio.sleep(60)
        assert again.news is not None
        assert again.news.status is TaskStatus.PROCESSING
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F35")
async def test_f35_moderation_before_and_after_the_create() -> None:
    refused = await submit_gets(PolicyRejected, action="status", status=400, code=1301)
    assert (refused.paid, refused.retryable) == ("no", False)
    async with service(duration_s=20.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip("[refuse]"))
        error = await caught(_wait(job), PolicyRejected)
        assert (error.paid, error.retryable, job.status, emulator.tasks) == ("no", False, Status.REJECTED, [])
        job = await kling.submit(clip("[fail]"))
        failure = await caught(_wait(job), TaskFailed)
        assert (failure.paid, failure.retryable, job.status) == ("no", False, Status.FAILED)
        assert failure.reason
        assert (emulator.tasks[0].billed, kinds(emulator)["create"]) == (0, 2)


@pytest.mark.fault("F54")
async def test_f54_what_kling_may_add_tomorrow() -> None:
    """New fields everywhere, a new model, a new option: tolerated, and given back as received."""
    async with service(**{**LISTS, "lenient": True}) as emulator, client(emulator) as kling:
        news = {"tomorrow": {"a": [1, None, {"b": True}]}, "priority": 3}
        for kind in ("create", *QUESTIONS):
            emulator.faults.append(Fault(action="alter", kind=kind, values=news, headers={"X-New": "1"}))
        job = await kling.submit(clip(extra={"shutter_angle": 180}))
        result = await job
        assert result.raw["tomorrow"] == news["tomorrow"]
        assert emulator.tasks[0].body["shutter_angle"] == 180
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F54")
@pytest.mark.parametrize(("status", "code", "paid"), [(400, 1999, "no"), (403, 7777, "no"), (200, 1999, "maybe")])
async def test_f54_a_new_code(status: int, code: int, paid: str) -> None:
    """A plain refusal that says what the service said; where the status proves nothing, neither do we."""
    error = await submit_gets(ServiceError, action="status", status=status, code=code, message="new words")
    assert (error.paid, error.retryable) == (paid, False)
    assert "new words" in str(error)
    assert str(code) in str(error)
