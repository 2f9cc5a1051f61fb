"""recorder: what is written down of a job, whose it is, and what is read back."""

import asyncio
import math
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kling_async import (
    AnswerTimeout,
    Asset,
    ConfigError,
    Job,
    JobAbandoned,
    JournalError,
    KlingError,
    LeaseLost,
    MemoryJournal,
    MemoryStore,
    Result,
    Status,
    SubmissionUnknown,
    TaskFailed,
    TextToVideo,
    recorder,
)
from kling_async.endpoints import find_endpoint
from kling_async.journal import Change, Entry
from kling_async.journal_sqlite import SqliteJournal
from kling_async.media_record import needed_texts
from kling_async.models import Failed, Succeeded
from kling_async.owners import has_ended, name_owner
from kling_async.recorder import NoRecord, Record, outcome_from, plain_outcome

ROW = find_endpoint("text2video")
RAW = {"task_id": "t1", "task_status": "succeed", "task_result": {"videos": [{"id": "v", "url": "https://h/x.mp4"}]}}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def job(job_id: str = "j1") -> Job:
    request = TextToVideo(prompt="a boat")
    return Job(job_id, ROW, request, created_at=datetime.fromtimestamp(5, UTC))


async def record(store: MemoryStore, owner: str, clock: Clock, lease_s: float = 90.0) -> Record:
    journal = MemoryJournal(wall=clock, owner=owner, store=store)
    await journal.open()
    return Record(journal=journal, host="https://h", lease_s=lease_s, clock=clock, wall=clock)


def entry(state: Status, outcome: object = None, **fields: Any) -> Entry:
    return Entry(job_id="j1", endpoint="text2video", host="h", created_at=5.0, state=state, outcome=outcome, **fields)


async def test_without_a_journal_everything_is_told_at_once() -> None:
    told: list[object] = []
    nothing = NoRecord()
    nothing.note(job(), Status.UNSURE)
    nothing.note(job(), Status.ACCEPTED, told.append, task_id="t1")
    nothing.settle(job(), Failed(Status.FAILED, TaskFailed("x")), told.append)
    await nothing.sending(job())
    await nothing.learn("key", 1)
    assert told == [None, None]
    assert nothing.let_go() == []


async def test_the_four_records_of_a_job() -> None:
    store, clock = MemoryStore(), Clock()
    mine = await record(store, "me", clock)
    one = job()
    assert await mine.add(one, callback_url=None, timeout_s=7.0) is None
    assert (store.entries["j1"].state, store.entries["j1"].timeout_s) == (Status.QUEUED, 7.0)
    await mine.sending(one)
    assert (store.entries["j1"].state, store.entries["j1"].attempt, store.entries["j1"].sent_at) == ("sending", 1, 1000)
    mine.note(one, Status.ACCEPTED, task_id="t1")
    assert (store.entries["j1"].state, store.entries["j1"].task_id) == (Status.ACCEPTED, "t1")
    result = Result(assets=(Asset(kind="video", url="https://h/x.mp4"),), endpoint="text2video", task_id="t1", raw=RAW)
    mine.settle(one, Succeeded(result), lambda _error: None)
    assert (store.entries["j1"].state, store.entries["j1"].outcome) == (Status.SUCCEEDED, {"raw": RAW})
    assert mine.held == {}
    mine.note(one, Status.UNSURE)  # no more ours: nothing is written
    assert store.entries["j1"].state is Status.SUCCEEDED
    assert await mine.add(job(), callback_url=None, timeout_s=None) == store.entries["j1"]


async def test_what_surely_made_nothing_counts_as_never_sent() -> None:
    store, clock = MemoryStore(), Clock()
    mine = await record(store, "me", clock)
    one = job()
    await mine.add(one, callback_url=None, timeout_s=None)
    await mine.sending(one)
    mine.note(one, Status.QUEUED, undone=True)
    assert (store.entries["j1"].state, store.entries["j1"].attempt) == (Status.QUEUED, 0)
    await mine.sending(one)
    assert store.entries["j1"].attempt == 1


async def test_a_lease_is_renewed_at_a_third_and_looked_at_before_every_post() -> None:
    store, clock = MemoryStore(), Clock()
    mine = await record(store, "me", clock)
    assert mine.next_moment() is None
    one = job()
    await mine.add(one, callback_url=None, timeout_s=None)
    assert mine.next_moment() == 1030.0
    clock.now += 70
    await mine.sending(one)
    assert (store.leases["me"], mine.next_moment()) == (clock.now + 90, clock.now + 30)
    two = job("j2")
    await mine.add(two, callback_url=None, timeout_s=None)
    other = await record(store, "other", clock)
    clock.now += 200  # away for longer than the lease
    assert {entry.job_id for entry in await other.claim()} == {"j1", "j2"}
    with pytest.raises(LeaseLost):
        await mine.sending(one)
    assert mine.next_moment() == clock.now - 170  # the lease is to be renewed: what else is lost shows there
    await mine.renew()
    assert mine.next_moment() == -math.inf  # so that the loop takes note of it at once
    assert mine.take_lost() == {"j2"}
    assert mine.take_lost() == set()
    for lost in (one, two):
        with pytest.raises(LeaseLost):
            await mine.sending(lost)
    assert (mine.held, mine.take_lost(), mine.next_moment()) == ({}, set(), None)


async def test_what_is_taken_after_a_lapse_of_the_lease_says_nothing_of_what_was_held_before() -> None:
    store, clock = MemoryStore(), Clock()
    mine, other = await record(store, "me", clock), await record(store, "other", clock)
    one, two = job(), job("j2")
    await mine.add(one, callback_url=None, timeout_s=None)
    await mine.sending(one)
    clock.now += 200  # it stood still just before the first byte
    assert [entry.job_id for entry in await other.claim()] == ["j1"]
    await mine.add(two, callback_url=None, timeout_s=None)
    assert not mine.may_send(one), "it is another process's now"
    assert mine.next_moment() == clock.now, "so the lease is renewed at once"
    await mine.renew()
    assert (set(mine.held), mine.take_lost(), mine.may_send(two)) == ({"j2"}, {"j1"}, True)


async def test_what_another_process_had_for_a_while_is_not_gone_on_with_as_if_nothing_had_been() -> None:
    store, clock = MemoryStore(), Clock()
    mine, other = await record(store, "me", clock), await record(store, "other", clock)
    one = job()
    await mine.add(one, callback_url=None, timeout_s=None)
    clock.now += 200
    await other.claim()
    await other.sending(one)
    clock.now += 200  # both stood still: nobody holds it now, and it may have been sent
    assert await mine.claim() == []
    told: list[object] = []
    mine.settle(one, Failed(Status.ABANDONED, JobAbandoned("abandoned", paid="no")), told.append)
    assert [type(error) for error in told] == [LeaseLost], "nobody is told of an end that is not ours to tell"
    assert (mine.held, mine.take_lost(), mine.may_send(one)) == ({}, {"j1"}, False)
    taken = await mine.take("j1")
    assert taken is not None
    assert (taken.state, set(mine.held)) == (Status.SENDING, {"j1"})


async def test_what_is_being_claimed_is_not_taken_a_second_time() -> None:
    """That would make it another's for whoever goes on with what the claim gave."""
    store, clock = MemoryStore(), Clock()
    mine, other = await record(store, "me", clock), await record(store, "other", clock)
    await other.add(job(), callback_url=None, timeout_s=None)
    clock.now += 200
    claim, answered = mine.journal.claim, asyncio.Event()

    async def slowly(*arguments: Any) -> list[Entry]:
        found = await claim(*arguments)
        await answered.wait()
        return found

    mine.journal.claim = slowly  # type: ignore[method-assign,assignment]
    claiming = asyncio.ensure_future(mine.claim())
    await asyncio.sleep(0)
    taking = asyncio.ensure_future(mine.take("j1"))
    await asyncio.sleep(0)
    answered.set()
    (entry,) = await claiming
    assert await taking is None
    assert mine.held == {"j1": entry}
    assert store.entries["j1"].epoch == entry.epoch


@pytest.mark.parametrize("is_taken", [True, False])
async def test_whoever_stood_still_after_the_record_does_not_send(is_taken: bool) -> None:
    """Stopped between the record that it is being sent and the sending, for longer than the lease."""
    store, clock = MemoryStore(), Clock()
    mine, other = await record(store, "me", clock), await record(store, "other", clock)
    one = job()
    await mine.add(one, callback_url=None, timeout_s=None)
    write = mine.journal.write

    async def stop(change: Change) -> None:
        await write(change)
        clock.now += 200
        if is_taken:
            assert [entry.state for entry in await other.claim()] == [Status.SENDING]

    mine.journal.write = stop  # type: ignore[method-assign]
    if not is_taken:
        await mine.sending(one)
        assert (store.leases["me"], set(mine.held)) == (clock.now + 90, {"j1"})
        return
    with pytest.raises(LeaseLost):
        await mine.sending(one)
    assert (mine.held, mine.take_lost()) == ({}, {"j1"})


@pytest.mark.parametrize("claims", [False, True])
async def test_what_was_lost_is_not_taken_again_before_the_loop_knows_that_it_was_lost(claims: bool) -> None:
    """Else it would take the loss for one of the job it holds now, and hold what nobody follows."""
    store, clock = MemoryStore(), Clock()
    mine, other = await record(store, "me", clock), await record(store, "other", clock)
    one = job()
    await mine.add(one, callback_url=None, timeout_s=None)
    clock.now += 200
    assert [entry.job_id for entry in await other.claim()] == ["j1"]
    await mine.renew()
    clock.now += 200  # the other one has gone
    if claims:
        assert await mine.claim() == []
    else:
        assert await mine.take("j1") is None
    assert store.entries["j1"].owner == ("other" if not claims else None), "it stays with nobody"
    assert (mine.held, mine.take_lost()) == ({}, {"j1"})
    taken = await mine.take("j1")
    assert taken is not None
    assert (set(mine.held), mine.take_lost()) == ({"j1"}, set())


async def test_an_unresolved_job_is_reopened_only_where_nobody_else_has_it() -> None:
    store, clock = MemoryStore(), Clock()
    mine, other = await record(store, "me", clock), await record(store, "other", clock)
    one = job()
    with pytest.raises(LeaseLost):
        await mine.reopen(one)
    await mine.add(one, callback_url=None, timeout_s=None)
    unresolved = Failed(Status.UNRESOLVED, SubmissionUnknown("x"))
    mine.settle(one, unresolved, lambda _error: None)
    await mine.reopen(one)
    assert (store.entries["j1"].state, set(mine.held)) == (Status.UNSURE, {"j1"})
    with pytest.raises(LeaseLost):
        await other.reopen(one)
    mine.settle(one, unresolved, lambda _error: None)
    await other.reopen(one, Failed(Status.ABANDONED, JobAbandoned("forgotten")))
    assert (store.entries["j1"].state, other.held, store.entries["j1"].owner) == (Status.ABANDONED, {}, "other")


async def test_facts_of_a_host_are_good_for_a_day() -> None:
    store, clock = MemoryStore(), Clock()
    mine = await record(store, "me", clock)
    assert await mine.learned("finds") is None
    await mine.learn("finds", value=True)
    assert await mine.learned("finds") is True
    clock.now += 90_000
    assert await mine.learned("finds") is None
    await mine.journal.close()
    await mine.learn("finds", value=True)  # no harm where it cannot be written
    told: list[JournalError | None] = []
    mine.held["j1"] = entry(Status.QUEUED, owner="me")
    mine.note(job(), Status.UNSURE, told.append)
    assert isinstance(told[0], JournalError)
    assert "1 held" in repr(mine)


def test_an_end_is_read_back_as_it_was() -> None:
    result = outcome_from(entry(Status.SUCCEEDED, {"raw": RAW}), ROW, None)
    assert isinstance(result, Succeeded)
    assert (result.result.url, result.result.task_id) == ("https://h/x.mp4", "t1")
    error = AnswerTimeout("no answer")
    back = outcome_from(entry(Status.UNRESOLVED, plain_outcome(Failed(Status.UNRESOLVED, error))), ROW, None)
    assert isinstance(back, Failed)
    assert (back.status, type(back.error), back.error.paid, str(back.error)) == (
        Status.UNRESOLVED,
        AnswerTimeout,
        "maybe",
        str(error),
    )
    unreadable: list[object] = [None, {}, {"raw": {}}, {"raw": {"task_id": "t", "task_status": "processing"}}, [1]]
    for broken in unreadable:
        lost = outcome_from(entry(Status.SUCCEEDED, broken), ROW, None)
        assert isinstance(lost, Failed)
        assert type(lost.error) is KlingError


def test_a_process_that_runs_is_told_from_one_that_has_ended() -> None:
    """Only of this machine: of another one nothing is known."""
    mine = name_owner()
    assert not has_ended(mine)
    machine, pid, started, _ = mine.rsplit(" ", 3)
    child = subprocess.Popen([sys.executable, "-c", ""])
    if Path("/proc").is_dir():
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
        assert has_ended(f"{machine} {child.pid} {started} x")
    child.wait()
    assert has_ended(f"{machine} {child.pid} {started} x")
    assert has_ended(f"{machine} {os.getpid()} 1 x"), "another process has its number now"
    assert not has_ended(f"elsewhere/boot {child.pid} {started} x")
    assert not has_ended("a name of somebody's own")
    assert int(pid) == os.getpid()


async def test_a_claim_that_takes_nothing_prolongs_nothing() -> None:
    """Else a session that adopts often would never renew, and others would take over what it sends."""
    store, clock = MemoryStore(), Clock()
    mine = await record(store, "me", clock)
    await mine.add(job(), callback_url=None, timeout_s=None)
    until, renew_at = store.leases["me"], mine.next_moment()
    for _ in range(3):
        clock.now += 25
        assert await mine.claim() == []
    assert (store.leases["me"], mine.next_moment()) == (until, renew_at)
    assert mine.leased_until == until


@pytest.mark.parametrize("jobs", [0, 1, 2, 3, 4, 5])
async def test_more_jobs_than_are_taken_over_at_once_are_all_taken_over(
    jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that left a hundred thousand open jobs behind: none may be forgotten at the edge of a portion."""
    monkeypatch.setattr(recorder, "_CLAIMED_AT_ONCE", 2)
    store, clock = MemoryStore(), Clock()
    before, mine = await record(store, "before", clock), await record(store, "me", clock)
    ids = {f"j{index}" for index in range(jobs)}
    for job_id in ids:
        await before.add(job(job_id), callback_url=None, timeout_s=None)
    assert await mine.claim() == [], "its lease runs"
    clock.now += 91
    taken = await mine.claim()
    assert len(taken) == jobs
    assert {entry.job_id for entry in taken} == set(mine.held) == ids


async def test_a_job_that_has_ended_is_given_and_not_held() -> None:
    store, clock = MemoryStore(), Clock()
    mine, other = await record(store, "me", clock), await record(store, "other", clock)
    one = job()
    await other.add(one, callback_url=None, timeout_s=None)
    other.settle(one, Failed(Status.FAILED, TaskFailed("risk")), lambda _error: None)
    entry_ = await mine.take("j1")
    assert entry_ is not None
    assert entry_.state is Status.FAILED
    assert (mine.held, mine.next_moment()) == ({}, None), "there is nothing to renew"


class NoFacts(MemoryJournal):
    """Its disk is full."""

    async def learn(self, key: str, value: object) -> None:
        raise JournalError("disk full")


async def test_a_fact_that_cannot_be_written_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    journal = NoFacts(wall=clock, owner="me", store=MemoryStore())
    await journal.open()
    mine = Record(journal=journal, host="https://h", lease_s=90.0, clock=clock, wall=clock)
    await mine.learn("finds text2video single", True)
    assert await mine.learned("finds text2video single") is None
    assert "a fact is not recorded: disk full" in caplog.text


@pytest.mark.parametrize(("age_s", "known"), [(0, True), (86_399, True), (86_400, False), (-1, False)])
async def test_facts_are_good_for_a_day(age_s: float, known: bool) -> None:
    """And one from the future was written by a clock that is wrong: it is found out again."""
    store, clock = MemoryStore(), Clock()
    mine = await record(store, "me", clock)
    await mine.learn("finds text2video single", False)
    clock.now += age_s
    assert (await mine.learned("finds text2video single") is False) is known
    assert await mine.learned("finds text2video batch") is None


async def test_what_was_made_elsewhere_is_told_at_once_and_not_recorded() -> None:
    store, told = MemoryStore(), list[object]()
    mine = await record(store, "me", Clock())
    mine.note(job("attached"), Status.PROCESSING, told.append)
    mine.settle(job("attached"), Failed(Status.FAILED, TaskFailed("risk")), told.append)
    assert told == [None, None]
    assert store.entries == {}


async def test_an_end_that_json_cannot_hold_is_told_and_not_tried_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """It would fail each time: whoever waits is told the end all the same, with the reason why it is not on record."""
    clock, told = Clock(), list[object]()

    class Refusing(MemoryJournal):
        def put(self, change: Change, then: Any = None) -> None:
            raise ConfigError("JSON cannot hold it")

    journal = Refusing(wall=clock, owner="me", store=MemoryStore())
    await journal.open()
    mine = Record(journal=journal, host="https://h", lease_s=90.0, clock=clock, wall=clock)
    await mine.add(job(), callback_url=None, timeout_s=None)
    mine.note(job(), Status.UNSURE)
    mine.settle(job(), Failed(Status.FAILED, TaskFailed("risk")), told.append)
    assert [type(error) for error in told] == [JournalError]
    assert mine.owed == {}
    assert caplog.text.count("job j1 is not recorded: JSON cannot hold it") == 2


async def test_what_is_put_while_it_is_written_that_a_job_is_sent_is_not_forgotten() -> None:
    """Abandoned in that moment: if that end cannot be written, it is still owed."""
    clock, store = Clock(), MemoryStore()

    class Busy(MemoryJournal):
        broken = False

        async def write(self, change: Change) -> None:
            await super().write(change)
            self.broken = True
            mine.note(one, Status.UNSURE)
            self.broken = False

        def put(self, change: Change, then: Any = None) -> None:
            if self.broken:
                raise JournalError("disk full")
            super().put(change, then)

    journal = Busy(wall=clock, owner="me", store=store)
    await journal.open()
    mine = Record(journal=journal, host="https://h", lease_s=90.0, clock=clock, wall=clock)
    one = job()
    await mine.add(one, callback_url=None, timeout_s=None)
    await mine.sending(one)
    assert mine.owed["j1"].fields["state"] is Status.UNSURE
    mine.pay()
    assert store.entries["j1"].state is Status.UNSURE
    await asyncio.sleep(0)
    assert mine.owed == {}


async def test_what_was_lost_and_has_ended_meanwhile_is_not_lost_a_second_time() -> None:
    """Its end was taken while the lease was being renewed: there is nothing to leave to anybody."""
    clock, store = Clock(), MemoryStore()

    class Ending(MemoryJournal):
        async def renew(self, job_ids: Any, lease_s: float) -> Any:
            mine.settle(one, Failed(Status.FAILED, TaskFailed("risk")), lambda _error: None)
            await super().renew((), lease_s)
            return list(job_ids)

    journal = Ending(wall=clock, owner="me", store=store)
    await journal.open()
    mine = Record(journal=journal, host="https://h", lease_s=90.0, clock=clock, wall=clock)
    one = job()
    await mine.add(one, callback_url=None, timeout_s=None)
    await mine.renew()
    assert mine.take_lost() == set()
    assert store.entries["j1"].state is Status.FAILED


async def test_long_texts_are_kept_as_long_as_a_job_may_need_them(tmp_path: Path) -> None:
    """Without its picture a job could not be sent again: only those of ended jobs are removed, a day later."""
    clock = Clock()
    journal = SqliteJournal(tmp_path / "jobs.db", wall=clock, owner="me")
    await journal.open()
    mine = Record(journal=journal, host="https://h", lease_s=90.0, clock=clock, wall=clock)
    await mine.tidy()
    assert not journal.texts.exists(), "there is nothing to tidy up"
    ends: dict[str, Failed | None] = {
        "open": None,
        "ended": Failed(Status.FAILED, TaskFailed("risk")),
        "doubtful": Failed(Status.UNRESOLVED, SubmissionUnknown("no answer")),
        "fresh": Failed(Status.FAILED, TaskFailed("risk")),
    }
    names: dict[str, set[str]] = {}
    try:
        for job_id, end in ends.items():
            request = TextToVideo(prompt="a boat", extra={"some_text": job_id * 5000})
            one = Job(job_id, ROW, request, created_at=datetime.fromtimestamp(5, UTC))
            await mine.add(one, callback_url=None, timeout_s=None)
            names[job_id] = needed_texts(mine.held[job_id].request)
            (name,) = names[job_id]
            written_at = 900.0 if job_id == "fresh" else 5.0
            os.utime(journal.texts / name, (written_at, written_at))
            if end is not None:
                told = asyncio.get_running_loop().create_future()
                mine.settle(one, end, told.set_result)
                assert await told is None
        clock.now = 86_400.0 + 800
        await mine.tidy()
        assert {file.name for file in journal.texts.iterdir()} == names["open"] | names["doubtful"] | names["fresh"]
    finally:
        await journal.close()
