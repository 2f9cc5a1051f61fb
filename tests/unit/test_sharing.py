"""sharing.py: what is kept, given up and followed when several processes share a journal."""

from collections.abc import Callable
from datetime import UTC, datetime

import attrs
import pytest

from kling_async import (
    Job,
    JournalError,
    MemoryJournal,
    MemoryStore,
    Status,
    SubmissionUnknown,
    TaskFailed,
    TextToVideo,
)
from kling_async.endpoints import find_endpoint
from kling_async.journal import Entry, Fact
from kling_async.models import Failed, Outcome
from kling_async.recorder import Record
from kling_async.sharing import Sharing
from kling_async.sweep import Form

ROW = find_endpoint("text2video")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Loop:
    """The scheduler's side: what it was told."""

    def __init__(self) -> None:
        self.open: dict[str, Job] = {}
        self.told: list[tuple[object, ...]] = []

    def open_job(self, job_id: str) -> Job | None:
        return self.open.get(job_id)

    def lost(self, job_id: str) -> None:
        self.told.append(("lost", job_id))

    def go_on(self, job: Job, entry: Entry) -> None:
        self.told.append(("goes on", job.id, entry.state))

    def end_as(self, job: Job, entry: Entry) -> None:
        self.told.append(("ended", job.id, entry.state))

    def end(self, job: Job, outcome: Outcome) -> None:
        job.settle(outcome)

    def recalled(self, endpoint: str, form: Form, *, found: bool) -> None:
        self.told.append(("recalled", endpoint, form, found))

    async def renewed(self) -> None:
        """What is kept then is not looked at here."""


class Journal(MemoryJournal):
    """Counts what is read of facts, and fails while it is told to."""

    broken = False
    facts = 0
    meanwhile: Callable[[], None] | None = None

    async def learned(self, key: str) -> Fact | None:
        self.facts += 1
        return await super().learned(key)

    async def find(self, job_id: str) -> Entry | None:
        if self.broken:
            raise JournalError("disk full")
        return await super().find(job_id)

    async def take(self, job_id: str, lease_s: float) -> Entry | None:
        if self.meanwhile is not None:
            self.meanwhile()
        return await super().take(job_id, lease_s)


@attrs.define
class Place:
    """One process, and another one that holds a job of the store they share."""

    clock: Clock
    store: MemoryStore
    journal: Journal
    sharing: Sharing
    loop: Loop
    other: Record
    job: Job

    def due(self) -> None:
        """Let the next look be due."""
        moment = self.sharing.next_moment()
        assert moment is not None
        self.clock.now = max(self.clock.now, moment)
        self.sharing.is_busy = True


def a_job() -> Job:
    return Job("j1", ROW, TextToVideo(prompt="a boat"), created_at=datetime.fromtimestamp(5, UTC))


async def place() -> Place:
    clock, store, loop = Clock(), MemoryStore(), Loop()
    journal = Journal(wall=clock, owner="me", store=store)
    theirs = MemoryJournal(wall=clock, owner="other", store=store)
    for one in (journal, theirs):
        await one.open()
    mine = Record(journal=journal, host="https://h", lease_s=90.0, clock=clock, wall=clock)
    other = Record(journal=theirs, host="https://h", lease_s=90.0, clock=clock, wall=clock)
    await other.add(a_job(), callback_url=None, timeout_s=None)
    made = Place(clock, store, journal, Sharing(record=mine, family=loop, clock=clock), loop, other, a_job())
    made.sharing.follow(made.job)
    return made


async def test_what_another_process_holds_is_looked_at_every_two_seconds_and_left_to_it() -> None:
    here = await place()
    assert here.sharing.next_moment() == 1002.0
    for _ in range(3):
        here.due()
        assert here.sharing.next_moment() is None, "one look at a time"
        await here.sharing.keep()
        assert here.sharing.next_moment() == here.clock.now + 2
    assert [told for told in here.loop.told if told[0] != "recalled"] == []
    assert not here.job.done()


async def test_what_nobody_holds_any_more_goes_on_here() -> None:
    here = await place()
    here.clock.now += 91
    here.due()
    await here.sharing.keep()
    assert here.loop.told == [("goes on", "j1", Status.QUEUED)]
    assert set(here.sharing.record.held) == {"j1"}


async def test_what_is_abandoned_while_it_is_taken_over_is_left_for_whoever_adopts_next() -> None:
    here = await place()
    here.clock.now += 91
    here.due()
    here.journal.meanwhile = lambda: here.sharing.abandon(here.job)
    await here.sharing.keep()
    record = here.sharing.record
    assert here.job.done()
    assert [told for told in here.loop.told if told[0] == "goes on"] == []
    assert not record.held, "a lease kept for ever would keep the job from everybody"
    assert [entry.job_id for entry in await record.claim()] == ["j1"]


async def test_what_ended_elsewhere_ends_here() -> None:
    here = await place()
    here.other.settle(here.job, Failed(Status.FAILED, TaskFailed("risk")), lambda _error: None)
    here.due()
    await here.sharing.keep()
    assert here.loop.told == [("ended", "j1", Status.FAILED)]


async def test_a_record_that_is_gone_is_no_end_that_is_known() -> None:
    here = await place()
    here.store.entries.clear()
    here.due()
    await here.sharing.keep()
    assert here.job.status is Status.UNRESOLVED
    assert isinstance(here.job.error, SubmissionUnknown)
    assert here.job.error.paid == "maybe"
    assert here.sharing.next_moment() is None


@pytest.mark.parametrize("how", ["taken over", "ended"])
async def test_what_was_settled_meanwhile_is_looked_at_no_longer(how: str) -> None:
    """Between the look and its answer `adopt` may have taken the job over, or its end have come another way."""
    here = await place()

    def meanwhile() -> None:
        if how == "ended":
            here.job.settle(Failed(Status.FAILED, TaskFailed("risk")))
        else:
            here.loop.open["j1"] = here.job

    here.journal.meanwhile = meanwhile
    here.clock.now += 91
    here.due()
    await here.sharing.keep()
    assert here.loop.told == [], "it is told to nobody twice"
    assert here.sharing.record.foreign == {}


async def test_what_the_host_has_shown_is_read_once_per_endpoint() -> None:
    here = await place()
    await here.other.learn("finds text2video single", True)
    await here.other.learn("finds text2video list", "odd")
    for _ in range(3):
        await here.sharing.recall("text2video")
    assert here.loop.told == [("recalled", "text2video", Form.SINGLE, True)]
    assert here.journal.facts == len(Form)


async def test_a_journal_that_fails_is_tried_again_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    here = await place()
    here.journal.broken = True
    here.due()
    await here.sharing.keep()
    assert "trying again: disk full" in caplog.text
    assert not here.sharing.is_busy
    assert here.sharing.next_moment() == here.clock.now + 2
    here.journal.broken = False
    here.other.settle(here.job, Failed(Status.FAILED, TaskFailed("risk")), lambda _error: None)
    here.due()
    await here.sharing.keep()
    assert here.loop.told[-1] == ("ended", "j1", Status.FAILED)


async def test_what_was_taken_over_by_others_is_given_up_once() -> None:
    here = await place()
    mine = Job("j2", ROW, TextToVideo(prompt="a boat"), created_at=datetime.fromtimestamp(5, UTC))
    await here.sharing.record.add(mine, callback_url=None, timeout_s=None)
    here.clock.now += 91
    assert {entry.job_id for entry in await here.other.claim()} == {"j2"}
    here.due()
    await here.sharing.keep()
    here.due()
    await here.sharing.keep()
    assert [told for told in here.loop.told if told[0] == "lost"] == [("lost", "j2")]


async def test_it_shows_what_is_held_and_what_is_with_others() -> None:
    here = await place()
    assert "0 held, 1 with others" in repr(here.sharing)
