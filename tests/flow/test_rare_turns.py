"""Rare turns in the path of a job: what changes while something is being written, and what an earlier run left odd."""

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest
from flow_tools import EPOCH, assert_paid_once, client, clip, host_of, kinds, service, wall
from test_journey import png
from test_restart import journal, left_behind
from test_unknown import BLIND, unresolved

from kling_async import (
    ConfigError,
    DeadlineExceeded,
    IdempotencyMismatch,
    ImageToVideo,
    Job,
    JobAbandoned,
    JournalError,
    KlingError,
    KlingSession,
    SessionClosed,
    Status,
    SubmissionUnknown,
    TaskFailed,
    TextToSpeech,
)
from kling_async.emulator import Emulator, Fault
from kling_async.journal import Change, Entry, MemoryJournal, MemoryStore, Update
from kling_async.models import Failed
from kling_async.recorder import plain_outcome

SPEECH = TextToSpeech(text="hello", voice_id="genshin_vindi2", voice_language="en")


def name_of(emulator: Emulator) -> str:
    """The host as entries of the journal name it."""
    return host_of(emulator).name


async def until(job: Job, status: Status) -> None:
    """Wait for a status, which the clock of the test makes a matter of turns."""
    while job.status is not status:
        await asyncio.sleep(0.1)


class Slow(MemoryJournal):
    """Takes its time to write that a job is being sent."""

    delay_s = 0.0

    async def write(self, change: Change) -> None:
        await super().write(change)
        await asyncio.sleep(self.delay_s)


# --- while it is being written that a job is sent --------------------------------------------------------------------


async def test_a_job_that_was_abandoned_while_that_was_written_is_not_sent() -> None:
    slow = Slow(wall=wall, owner="first")
    slow.delay_s = 5.0
    async with service(slots=1, duration_s=20.0) as emulator, client(emulator, journal=slow, max_running=1) as kling:
        job = await kling.submit(clip("not wanted"))
        next_one = await kling.submit(clip("wanted"))
        await asyncio.sleep(2)
        assert job.status is Status.SENDING
        job.abandon()
        with pytest.raises(JobAbandoned):
            await job
        assert (await next_one).url, "its slot is free again"
        assert [task.external_id for task in emulator.tasks] == [next_one.id]
        assert kinds(emulator)["create"] == 1


async def test_a_job_that_was_abandoned_while_its_picture_was_read_is_not_sent(tmp_path: Path) -> None:
    """Without a journal too, where nothing is written: reading and encoding 10 MB takes its time."""
    picture = tmp_path / "cat.png"
    picture.write_bytes(png(400, 300))
    request = ImageToVideo(image=picture, prompt="a cat", model_name="kling-v2-6", duration="5")
    async with service(slots=1, duration_s=20.0) as emulator, client(emulator, max_running=1) as kling:
        job = await kling.submit(request)
        next_one = await kling.submit(clip("wanted"))
        while job.status is Status.QUEUED:
            await asyncio.sleep(0)
        assert (job.status, kling.stats.submissions) == (Status.SENDING, 0), "it is being read"
        job.abandon()
        with pytest.raises(JobAbandoned):
            await job
        assert (await next_one).url, "its slot is free again"
        assert [task.external_id for task in emulator.tasks] == [next_one.id]
        assert kinds(emulator)["create"] == 1


async def test_proof_that_grew_old_while_that_was_written_is_looked_for_again() -> None:
    """Absent was proven, and then the disk stood still for a minute: meanwhile the task may have become visible."""
    slow = Slow(wall=wall, owner="first")
    lost = Fault(action="reset", stage="before", kind="create", nth=2)
    async with service(faults=[lost], duration_s=20.0) as emulator, client(emulator, journal=slow) as kling:
        await kling.generate(clip("shows that this host finds"))
        job = await kling.submit(clip())
        await until(job, Status.UNSURE)
        slow.delay_s = 60.0
        await until(job, Status.SENDING)
        slow.delay_s, began_at = 0.0, wall()
        assert (await job).url
        third = [request.at for request in emulator.requests if request.kind == "create"][2]
        assert third >= began_at + 59
        looks = [r.at for r in emulator.requests if r.kind == "single" and began_at + 59 <= r.at <= third]
        assert looks, "asked once more before it was sent"
        assert kinds(emulator)["create"] == 3
        assert_paid_once(emulator, 2)


async def test_an_answer_about_another_job_is_no_answer() -> None:
    """A proxy that mixes two answers up must not give one job the other's clip: the right task is looked for."""
    mixed = {
        "code": 0,
        "data": {"task_id": "t-other", "task_status": "submitted", "task_info": {"external_task_id": "x"}},
    }
    fault = Fault(action="body", stage="after", kind="create", status=200, body=json.dumps(mixed).encode(), nth=1)
    async with service(faults=[fault], duration_s=20.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        assert await job.accepted() == emulator.tasks[0].task_id
        assert (await job).external_id == job.id
        assert_paid_once(emulator, 1)


# --- what an earlier run left ----------------------------------------------------------------------------------------


async def test_the_name_of_another_request_is_refused_from_the_journal_alone() -> None:
    """The first thing that is asked of a new run: nobody may be given the clip of another request."""
    store = MemoryStore()
    async with service(duration_s=20.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            result = await kling.generate(clip(), job_id="order-1")
        async with client(emulator, journal=journal(store, "second")) as kling:
            with pytest.raises(IdempotencyMismatch) as caught:
                await kling.submit(clip("another"), job_id="order-1")
            assert (caught.value.paid, caught.value.job_id) == ("no", "order-1")
            assert (await kling.generate(clip(), job_id="order-1")).task_id == result.task_id
        assert_paid_once(emulator, 1)


async def test_speech_that_may_have_been_sent_is_its_owners_to_decide_about() -> None:
    """It cannot be asked about, so a restart neither pays twice nor claims that nothing was paid."""
    store = MemoryStore()
    async with service() as emulator:
        left_behind(store, name_of(emulator), SPEECH, endpoint="tts", state=Status.SENDING, attempt=1, sent_at=EPOCH)
        async with client(emulator, journal=journal(store, "second")) as kling:
            (job,) = await kling.adopt()
            with pytest.raises(SubmissionUnknown) as caught:
                await job
            assert (job.status, caught.value.paid) == (Status.UNRESOLVED, "maybe")
        assert kinds(emulator)["create"] == 0


async def test_a_clock_that_was_set_back_shortens_no_settle_window() -> None:
    """Sent in the future, as the record says: then the window begins now."""
    store = MemoryStore()
    async with service(duration_s=20.0) as emulator:
        left_behind(
            store, name_of(emulator), clip(), state=Status.SENDING, attempt=1, sent_at=EPOCH + 1e6, created_at=EPOCH
        )
        async with client(emulator, journal=journal(store, "second")) as kling:
            (job,) = await kling.adopt()
            await asyncio.sleep(59)
            assert (job.status, kinds(emulator)["create"]) == (Status.UNSURE, 0)


@pytest.mark.parametrize("timeout_s", [30.0, 3000.0], ids=["over", "not over"])
async def test_what_was_never_sent_is_not_sent_after_its_time(timeout_s: float) -> None:
    """It ran out while no program was there: no task can have been made of it, so there is nothing to look for."""
    store = MemoryStore()
    async with service(duration_s=20.0) as emulator:
        left_behind(store, name_of(emulator), clip(), state=Status.QUEUED, timeout_s=timeout_s)
        await asyncio.sleep(60)
        async with client(emulator, journal=journal(store, "second"), max_running=1) as kling:
            (job,) = await kling.adopt()
            if timeout_s > 60:
                assert (await job).url
            else:
                began = wall()
                with pytest.raises(DeadlineExceeded) as caught:
                    await job
                assert (caught.value.paid, caught.value.retryable) == ("no", True)
                assert wall() == began, "at once"
                await asyncio.sleep(100)
        assert kinds(emulator)["create"] == (1 if timeout_s > 60 else 0)
        assert store.entries["left"].state is (Status.SUCCEEDED if timeout_s > 60 else Status.ABANDONED)


async def test_a_recovered_job_is_followed_though_this_program_never_sent_it() -> None:
    store = MemoryStore()
    async with service(duration_s=100.0) as emulator:
        async with client(emulator) as kling:
            task_id = await (await kling.submit(clip(), job_id="left")).accepted()
        left_behind(store, name_of(emulator), clip(), state=Status.ACCEPTED, task_id=task_id, attempt=0)
        async with client(emulator, journal=journal(store, "second")) as kling:
            (job,) = await kling.adopt()
            assert (await job).task_id == task_id
        assert_paid_once(emulator, 1)


async def test_what_a_later_release_wrote_stays_there_and_hinders_nobody(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    async with service(duration_s=20.0) as emulator:
        left_behind(store, name_of(emulator), clip(), job_id="new", endpoint="thought2video", state=Status.QUEUED)
        left_behind(store, name_of(emulator), clip(), job_id="old", state=Status.QUEUED)
        before = store.entries["new"]
        async with client(emulator, journal=journal(store, "second")) as kling:
            jobs = await kling.adopt()
            assert [job.id for job in jobs] == ["old"]
            assert (await jobs[0]).url
        after = store.entries["new"]
        assert (after.state, after.request) == (before.state, before.request)
        assert "job new cannot be read from the journal, and stays there" in caplog.text


async def test_what_is_not_known_cannot_be_sent_again() -> None:
    """Of a recovered job there is no request: its owner is told so, and it stays unresolved."""
    store = MemoryStore()
    async with service(**BLIND) as emulator:
        left_behind(store, name_of(emulator), clip(), state=Status.SENDING, attempt=1, sent_at=EPOCH)
        store.entries["left"] = attrs.evolve(store.entries["left"], request=None, fingerprint="")
        async with client(emulator, journal=journal(store, "second")) as kling:
            (job,) = await kling.adopt()
            with pytest.raises(SubmissionUnknown):
                await job
            with pytest.raises(ConfigError, match="not known here"):
                await job.resend()
            assert job.status is Status.UNRESOLVED
        assert kinds(emulator)["create"] == 0


async def test_an_end_that_another_process_has_to_write_is_taken_from_it() -> None:
    """What we saw may be less than what became of it: nobody is told our end, but the one that is on record."""
    store = MemoryStore()
    async with service(duration_s=20.0) as emulator, client(emulator, journal=journal(store, "first")) as kling:
        job = await kling.submit(clip())
        await job.accepted()
        store.entries[job.id] = attrs.evolve(store.entries[job.id], owner="other")
        store.leases["other"] = wall() + 1e6
        await asyncio.sleep(60)
        assert not job.done()
        assert kling.stats.jobs == {}, "it is not this session's any more"
        failure = Failed(Status.FAILED, TaskFailed("risk control"))
        store.entries[job.id] = attrs.evolve(store.entries[job.id], state=Status.FAILED, outcome=plain_outcome(failure))
        with pytest.raises(TaskFailed, match="risk control"):
            await job
        assert_paid_once(emulator, 1)


async def test_who_closes_before_that_is_told_that_another_process_follows_it() -> None:
    store = MemoryStore()
    async with service(duration_s=20.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            job = await kling.submit(clip())
            await job.accepted()
            store.entries[job.id] = attrs.evolve(store.entries[job.id], owner="other")
            store.leases["other"] = wall() + 1e6
            await asyncio.sleep(60)
        assert job.error is not None
        assert (job.error.paid, job.done()) == ("maybe", True)


@pytest.mark.virtual(latency=2.0)
@pytest.mark.parametrize("ends", ["refused", "accepted"])
async def test_an_answer_in_the_last_seconds_of_a_session_that_has_lost_its_job(ends: str) -> None:
    """Another process took it over while its create was under way: what that answers is for the other to find out."""
    store = MemoryStore()
    refusal = Fault(action="status", stage="before", kind="create", status=400, code=1201)
    async with service(duration_s=20.0, faults=[refusal] if ends == "refused" else []) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            job = await kling.submit(clip())
            await asyncio.sleep(1)
            assert job.status is Status.SENDING
            store.entries[job.id] = attrs.evolve(store.entries[job.id], owner="other")
            store.leases["other"] = wall() + 1e6
        with pytest.raises(SessionClosed) as caught:
            await job
        assert caught.value.paid != "no"
        assert (store.entries[job.id].state, store.entries[job.id].owner) == (Status.SENDING, "other")


class Full(MemoryJournal):
    """Has no room for ends."""

    is_full = True

    def put(self, change: Change, then: Callable[[JournalError | None], None] | None = None) -> None:
        if self.is_full and isinstance(change, Update) and "outcome" in change.fields:
            raise JournalError("disk full", retryable=True)
        super().put(change, then)


async def test_a_refusal_that_is_not_on_disk_may_cost_money_yet() -> None:
    """Killed now, the next run finds the job open, and may send it: so nobody is told that it costs nothing."""
    full = Full(wall=wall, owner="first")
    refusal = Fault(action="status", stage="before", kind="create", status=400, code=1201)
    async with service(faults=[refusal]) as emulator, client(emulator, journal=full) as kling:
        job = await kling.submit(clip())
        with pytest.raises(KlingError) as caught:
            await job
        assert (job.status, caught.value.paid) == (Status.REJECTED, "maybe")
        found = await full.find(job.id)
        assert found is not None
        assert not found.is_settled
        full.is_full = False
        await asyncio.sleep(10)
        found = await full.find(job.id)
        assert found is not None
        assert found.state is Status.REJECTED, "written at last"
        again = await kling.submit(clip("another"))
        with pytest.raises(KlingError) as caught:
            await again
        assert caught.value.paid == "no"


async def test_an_end_that_was_told_stays_the_end_when_its_job_comes_back() -> None:
    """It could not be written, another process had the job for a while, and left it: it is neither sent nor asked."""
    store = MemoryStore()
    full = Full(wall=wall, owner="first", store=store)
    async with service(duration_s=20.0) as emulator, client(emulator, journal=full) as kling:
        job = await kling.submit(clip())
        result = await job
        assert store.entries[job.id].state is Status.ACCEPTED
        store.entries[job.id] = attrs.evolve(store.entries[job.id], owner="other", epoch=1)
        full.is_full = False
        await asyncio.sleep(10)
        assert store.entries[job.id].state is Status.ACCEPTED, "the other's to write"
        asked = len(emulator.requests)
        assert await kling.adopt() == []
        await asyncio.sleep(100)
        assert store.entries[job.id].state is Status.SUCCEEDED
        assert (job.result(), len(emulator.requests)) == (result, asked)
        assert kling.stats.jobs == {Status.SUCCEEDED: 1}


class SlowToAnswer(MemoryJournal):
    """Tells late what is recorded of a name already, and may fail before it could be taken over."""

    fails = False
    delay_s = 1.0

    async def add(self, entry: Entry) -> Entry | None:
        found = await super().add(entry)
        await asyncio.sleep(self.delay_s)
        return found

    async def bury(self, has_ended: Callable[[str], bool]) -> None:
        if self.fails:
            raise JournalError("disk full", paid="no")
        await super().bury(has_ended)


@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "has ended"])
@pytest.mark.parametrize("fails", [False, True])
async def test_adopted_while_it_is_asked_for_by_name_it_is_one_job(*, fails: bool, ends: bool) -> None:
    """A program that resubmits by name and adopts at once: neither may end, or send, what the other follows."""
    store = MemoryStore()
    slow = SlowToAnswer(wall=wall, owner="second", store=store)
    slow.delay_s = 60.0 if ends else 1.0
    async with service(duration_s=20.0) as emulator:
        left_behind(store, name_of(emulator), clip(), state=Status.QUEUED)
        async with client(emulator, journal=slow) as kling:
            asked = asyncio.ensure_future(kling.submit(clip(), job_id="left"))
            await asyncio.sleep(0.5)
            (job,) = await kling.adopt()
            slow.fails = fails
            assert not ends or (await job).url
            if fails:
                with pytest.raises(JournalError, match="disk full"):
                    await asked
            else:
                assert await asked is job
            assert (await job).url
        assert kinds(emulator)["create"] == 1
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("told", [{"task_info": {"external_task_id": "named"}}, {}], ids=["named", "nameless"])
async def test_a_task_without_a_date_is_found_by_its_external_id_all_the_same(told: dict[str, Any]) -> None:
    """Not every gateway tells when a task was made; only one that surely is older than the job is not the job's."""
    found = {"task_id": "t9", "task_status": "processing", **told}
    faults = [
        Fault(action="reset", stage="after", kind="create", nth=1),
        Fault(action="body", kind="single", status=200, body=json.dumps({"code": 0, "data": found}).encode()),
    ]
    async with service("cometapi", lists=False, batch=False, faults=faults) as emulator, client(emulator) as kling:
        job = await kling.submit(clip(), job_id="named")
        assert await job.accepted() == "t9"
        assert kinds(emulator)["create"] == 1


async def test_a_job_that_has_ended_cannot_be_lost_to_others_any_more() -> None:
    """The news that another process holds it may come after its end."""
    async with service(duration_s=20.0) as emulator:
        async with client(emulator, journal=journal(MemoryStore(), "first")) as kling:
            job = await kling.submit(clip())
            result = await job
            kling._runtime.scheduler().lost(job.id)
            assert (job.result(), job.status) == (result, Status.SUCCEEDED)
            assert kling.stats.jobs == {Status.SUCCEEDED: 1}


@pytest.mark.parametrize("how", ["sent again", "ended twice", "taken twice"])
async def test_a_mistake_of_ours_is_stopped_before_it_costs_anything(how: str) -> None:
    """What the loop itself asks for is checked as well: none of these may send a job a second time, or end it anew."""
    async with service(duration_s=20.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        await job.accepted()
        scheduler = kling._runtime.scheduler()
        track, counted = scheduler._open[job.id], dict(kling.stats.jobs)
        with pytest.raises(AssertionError, match=job.id):
            if how == "sent again":
                scheduler.set_status(track, Status.QUEUED)
            elif how == "ended twice":
                scheduler.settle(track, Failed(Status.REJECTED, SubmissionUnknown("made up")))
            else:
                scheduler.admit(job, callback_url=None, timeout_s=None)
        assert (job.done(), dict(kling.stats.jobs)) == (False, counted)
        assert (await job).url
        assert kinds(emulator)["create"] == 1


# --- ends ------------------------------------------------------------------------------------------------------------


async def test_forgotten_without_a_journal_too() -> None:
    async with service(faults=[Fault(action="reset", stage="after", kind="create", nth=1)], **BLIND) as emulator:
        async with client(emulator) as kling:
            job = await unresolved(kling)
            await job.forget()
            assert job.status is Status.ABANDONED
            with pytest.raises(JobAbandoned) as caught:
                await job
            assert caught.value.paid == "maybe"
            assert kling.stats.jobs == {Status.ABANDONED: 1}
            assert kinds(emulator)["create"] == 1


@pytest.mark.parametrize("status", ["processing", "a_word_of_tomorrow"])
async def test_speech_that_is_not_finished_in_its_answer_cannot_be_followed(status: str) -> None:
    """There is no question for it: the money may be gone, and that is what is said, instead of waiting for ever."""
    body = json.dumps({"code": 0, "data": {"task_id": "t1", "task_status": status}}).encode()
    fault = Fault(action="body", stage="after", kind="create", status=200, body=body)
    async with service(faults=[fault]) as emulator, client(emulator) as kling:
        job = await kling.submit(SPEECH)
        with pytest.raises(SubmissionUnknown, match="cannot be asked again") as caught:
            await job
        assert (job.status, caught.value.paid) == (Status.UNRESOLVED, "maybe")
        assert kinds(emulator)["create"] == 1


async def test_speech_without_an_id_is_delivered() -> None:
    done = {
        "task_status": "succeed",
        "task_result": {"audios": [{"id": "a", "url": "https://h/a.mp3", "duration": "1"}]},
    }
    fault = Fault(
        action="body", stage="after", kind="create", status=200, body=json.dumps({"code": 0, "data": done}).encode()
    )
    async with service(faults=[fault]) as emulator, client(emulator) as kling:
        result = await kling.generate(SPEECH)
        assert (result.url, result.task_id) == ("https://h/a.mp3", "")


class Stuck(MemoryJournal):
    """Cannot give its jobs back."""

    async def release(self, job_ids: Iterable[str] | None = None) -> None:
        raise JournalError("disk full")


async def test_a_journal_that_cannot_let_go_hinders_no_closing(caplog: pytest.LogCaptureFixture) -> None:
    stuck = Stuck(wall=wall, owner="first")
    async with service(duration_s=20.0) as emulator:
        async with client(emulator, journal=stuck) as kling:
            job = await kling.submit(clip())
            await job.accepted()
        assert job.done()
        assert "stay held until their lease is over: disk full" in caplog.text
        assert "closed" in repr(stuck)


async def test_a_session_that_was_never_opened_has_nothing_to_follow_to_its_end() -> None:
    began = wall()
    kling = KlingSession(api_key="some-key", base_url="https://gateway.example")
    await kling.aclose(drain=30)
    assert wall() == began
    with pytest.raises(SessionClosed):
        await kling.submit(clip())
