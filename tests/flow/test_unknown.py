"""Sent, not answered, and a host that cannot be asked: the owner decides, and nobody else."""

import asyncio
from typing import Any

import pytest
from flow_tools import EPOCH, assert_paid_once, client, clip, kinds, service, wall
from test_restart import Failing, journal

from kling_async import (
    ConfigError,
    JobAbandoned,
    JournalError,
    Policy,
    SessionClosed,
    Status,
    SubmissionUnknown,
    TextToSpeech,
)
from kling_async.emulator import Fault
from kling_async.journal import MemoryJournal, MemoryStore

BLIND: dict[str, Any] = {"lists": False, "external_lookup": False, "duration_s": 20.0}
LOST = Fault(action="reset", stage="after", kind="create", nth=1)  # made, and never told
NEVER = Fault(action="reset", stage="before", kind="create", nth=1)  # not made


async def unresolved(kling: Any, **arguments: Any) -> Any:
    job = await kling.submit(clip(), **arguments)
    with pytest.raises(SubmissionUnknown) as caught:
        await job
    assert (job.status, caught.value.paid, caught.value.retryable) == (Status.UNRESOLVED, "maybe", False)
    return job


async def test_its_owner_has_it_sent_again_under_the_same_id() -> None:
    async with service(faults=[NEVER], **BLIND) as emulator, client(emulator) as kling:
        job = await unresolved(kling)
        await job.resend()
        assert (job.status, job.done(), job.error) == (Status.QUEUED, False, None)
        assert await job.accepted() == emulator.tasks[0].task_id
        assert (await job).external_id == job.id
        assert kling.stats.jobs == {Status.SUCCEEDED: 1}
        with pytest.raises(ConfigError, match="unresolved"):
            await job.resend()
        assert_paid_once(emulator, 1)


async def test_a_host_that_knows_the_id_says_so_and_nothing_is_made_twice() -> None:
    """The only task is named by the refusal alone, and cannot be found: still nobody pays twice."""
    async with service(faults=[LOST], **BLIND) as emulator, client(emulator) as kling:
        job = await unresolved(kling)
        await job.resend()
        with pytest.raises(SubmissionUnknown, match="taken") as caught:
            await job
        assert caught.value.paid == "yes"
        assert_paid_once(emulator, 1)


async def test_a_second_decision_while_the_first_is_carried_out_is_refused() -> None:
    async with service(faults=[NEVER], **BLIND) as emulator, client(emulator) as kling:
        job = await unresolved(kling)
        ends = await asyncio.gather(job.resend(), job.resend(), return_exceptions=True)
        assert [type(end) for end in ends] == [type(None), ConfigError]
        assert (await job).url
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("sent", [True, False])
async def test_what_the_policy_decides_beforehand(*, sent: bool) -> None:
    """`on_unknown="resend"`: what it can cost is what its docstring says."""
    settings = {**BLIND, "unique_external_ids": False}
    fault = LOST if sent else NEVER
    async with service(faults=[fault], **settings) as emulator:
        async with client(emulator, policy=Policy(on_unknown="resend")) as kling:
            assert (await kling.generate(clip())).url
            assert len(emulator.tasks) == (2 if sent else 1)


async def test_it_is_sent_again_twice_at_most() -> None:
    always = Fault(action="reset", stage="before", kind="create")
    async with service(faults=[always], **BLIND) as emulator:
        async with client(emulator, policy=Policy(on_unknown="resend")) as kling:
            await unresolved(kling)
            assert kinds(emulator)["create"] == 3


@pytest.mark.parametrize(("on_unknown", "creates"), [("raise", 1), ("resend", 3)])
async def test_speech_cannot_be_asked_about(on_unknown: Any, creates: int) -> None:
    """It is made at once, and bears no id of ours."""
    always = Fault(action="reset", stage="after", kind="create")
    async with service(faults=[always]) as emulator, client(emulator, policy=Policy(on_unknown=on_unknown)) as kling:
        job = await kling.submit(TextToSpeech(text="hello", voice_id="genshin_vindi2", voice_language="en"))
        with pytest.raises(SubmissionUnknown):
            await job
        assert kinds(emulator)["create"] == creates
        if on_unknown == "raise":
            emulator.faults.clear()
            await job.resend()
            assert (await job).url


async def test_forgotten_is_forgotten_by_later_runs_too() -> None:
    store = MemoryStore()
    async with service(faults=[LOST], **BLIND) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            job = await unresolved(kling, job_id="left")
            assert str(store.entries["left"].state) == "unresolved"
            await job.forget()
            assert str(job.status) == "abandoned"
            with pytest.raises(JobAbandoned) as caught:
                await job
            assert caught.value.paid == "maybe"
            assert kling.stats.jobs == {Status.ABANDONED: 1}
        assert store.entries["left"].state is Status.ABANDONED
        async with client(emulator, journal=journal(store, "second")) as kling:
            assert await kling.adopt() == []
            again = await kling.submit(clip(), job_id="left")
            with pytest.raises(JobAbandoned):
                await again


async def test_the_same_name_looks_once_more() -> None:
    store = MemoryStore()
    silent = Fault(action="status", kind="single", status=404)
    async with service(faults=[LOST, silent], lists=False, batch=False, duration_s=20.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            await unresolved(kling, job_id="left")
        emulator.faults.clear()
        async with client(emulator, journal=journal(store, "second")) as kling:
            assert (await (await kling.submit(clip(), job_id="left"))).external_id == "left"
        assert_paid_once(emulator, 1)


async def test_sent_again_it_survives_a_crash_unsent() -> None:
    """Between the decision and the sending: the next run looks it up, and does not send it by itself."""
    store = MemoryStore()
    settings = {**BLIND, "duration_s": 500.0}
    async with service(faults=[NEVER], slots=1, **settings) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            job = await unresolved(kling, job_id="left")
            await (await kling.submit(clip("holds the slot"))).accepted()
            await job.resend()
            assert store.entries["left"].state is Status.UNSURE
        async with client(emulator, journal=journal(store, "second")) as kling:
            adopted = {job.id: job for job in await kling.adopt()}
            with pytest.raises(SubmissionUnknown):
                await adopted["left"]
            callbacks = kinds(emulator)["create"]
            await adopted["left"].resend()
            assert (await adopted["left"]).url
            assert kinds(emulator)["create"] > callbacks
        assert_paid_once(emulator, 2)


async def test_what_cannot_be_recorded_is_not_done() -> None:
    failing = Failing(wall=wall, owner="first")
    async with service(faults=[NEVER], **BLIND) as emulator, client(emulator, journal=failing) as kling:
        job = await unresolved(kling)
        failing.broken = True
        for decision in (job.resend, job.forget):
            with pytest.raises(JournalError):
                await decision()
            assert job.status is Status.UNRESOLVED
            with pytest.raises(SubmissionUnknown):
                await job
        failing.broken = False
        await job.resend()
        assert (await job).url
        assert kinds(emulator)["create"] == 2


async def test_a_closed_session_decides_nothing() -> None:
    async with service(faults=[NEVER], **BLIND) as emulator, client(emulator) as kling:
        job = await unresolved(kling)
        await kling.aclose()
        for decision in (job.resend, job.forget):
            with pytest.raises(SessionClosed):
                await decision()
        assert job.status is Status.UNRESOLVED


async def test_where_it_wanted_to_be_called_is_kept() -> None:
    async with service(faults=[NEVER], **BLIND) as emulator, client(emulator) as kling:
        job = await unresolved(kling, callback_url="https://example.org/hook")
        await job.resend()
        await job.accepted()
        assert emulator.tasks[0].callback_url == "https://example.org/hook"


# --- one job, two tasks --------------------------------------------------------------------------------------------


@pytest.mark.fault("F32")
async def test_f32_a_second_task_of_a_job_is_reported() -> None:
    """Another program, or a host, made a second one under our id: it is told, since it was paid for."""
    async with service(unique_external_ids=False, duration_s=300.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip(), job_id="twice")
        await asyncio.gather(*[(await kling.submit(clip(f"scene {index}"))).accepted() for index in range(40)])
        async with client(emulator) as other:
            twin = await (await other.submit(clip(), job_id="twice")).accepted()
            assert (await job).task_id != twin
        assert job.duplicates == (twin,)


async def test_an_older_task_without_our_id_is_not_ours() -> None:
    """A gateway answers a look-up with some task of before: it is not taken for the one that was lost."""
    old = b'{"code":0,"data":{"task_id":"1","task_status":"processing","created_at":%d}}' % ((EPOCH - 900) * 1000)
    wrong = Fault(action="body", kind="single", body=old, until_s=300)
    async with service("cometapi", faults=[LOST, wrong], lists=False, batch=False, duration_s=30.0) as emulator:
        async with client(emulator) as kling:
            job = await kling.submit(clip())
            await asyncio.wait([asyncio.ensure_future(_end(job))], timeout=2000)
            assert job.task_id in {None, emulator.tasks[0].task_id}
            assert_paid_once(emulator, 1)


async def _end(job: Any) -> None:
    try:
        await job
    except SubmissionUnknown:
        return


async def test_a_cancelled_submit_leaves_its_name_free() -> None:
    """Nobody had its handle, and nothing was sent: the same name is the same job, sent once."""
    store = MemoryStore()

    class Slow(MemoryJournal):
        slow = True

        async def add(self, entry: Any) -> Any:
            found = await super().add(entry)
            if self.slow:
                await asyncio.sleep(5)
            return found

    slow = Slow(wall=wall, owner="first", store=store)
    async with service(duration_s=20.0) as emulator:
        async with client(emulator, journal=slow) as kling:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(kling.submit(clip(), job_id="named"), 1)
            assert store.entries["named"].state is Status.ABANDONED
            slow.slow = False
            assert (await (await kling.submit(clip(), job_id="named"))).url
        assert_paid_once(emulator, 1)


async def test_the_next_run_looks_once_more() -> None:
    """The host could not be asked for long; in the next run it can, and the task that was paid for is found."""
    store = MemoryStore()
    silent = Fault(action="status", kind="single", status=404)
    async with service(faults=[LOST, silent], lists=False, batch=False, duration_s=20.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            await unresolved(kling, job_id="left")
        emulator.faults.clear()
        async with client(emulator, journal=journal(store, "second")) as kling:
            (job,) = await kling.adopt()
            assert job.status is Status.UNSURE
            assert (await job).external_id == "left"
        async with client(emulator, journal=journal(store, "third")) as kling:
            assert await kling.adopt() == []
            assert (await (await kling.submit(clip(), job_id="left"))).url
        assert_paid_once(emulator, 1)
