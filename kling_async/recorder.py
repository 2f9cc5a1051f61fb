"""What of a job is written down, and when: between the loop and the journal.

Stage: loop. Before: scheduler, submitter and session. After: journal.

Theory. Four small records a job and none per poll: that it exists, that it is being sent, its task, its end. Nothing is
sent before it is recorded, and nobody is told of an end before that is. A session without a journal has a recorder that
writes nothing and calls back at once, so that the loop knows only one way.

Several processes may share a journal: each holds what it took under a lease, renewed at a third of its term. A process
that was away longer than its lease must not send: it renews first, and learns there what it has lost. Whatever another
process holds is followed in the journal only, and taken over when its lease is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import attrs

from .endpoints import Endpoint, from_mapping, to_plain
from .errors import BadEnvelope, JournalError, KlingError, LeaseLost
from .job import Job
from .journal import Entry, Journal, Update, fingerprint, lease_lost, plain_error, revive_error
from .lifecycle import outcome_of
from .media_record import is_heavy, needed_texts, prune_texts, record_request, recorded_hashes, restore_request
from .models import Failed, Outcome, Status, Succeeded
from .owners import has_ended
from .wire import decode_task

_log = logging.getLogger(__name__)

Then = Callable[[JournalError | None], None]
_SHARE = 3.0  # a lease is renewed when a third of it is over
_CLAIMED_AT_ONCE = 10_000
_TEXTS_KEPT_S = 86_400.0  # another session may be about to record a job that needs one
_FACTS_GOOD_S = 86_400.0  # abilities of a host are found out again daily


class Recorder(Protocol):
    """Who writes down what becomes of jobs."""

    def note(
        self, job: Job, state: Status, then: Then | None = None, /, *, task_id: str | None = None, undone: bool = False
    ) -> None:
        """Record where a job stands.

        Args:
            job: which.
            state: where it stands.
            then: called when that is on disk, with the error if it cannot be.
            task_id: its task.
            undone: surely nothing was made by the last attempt.
        """
        ...

    def settle(self, job: Job, outcome: Outcome, then: Then, /) -> None:
        """Record how a job ended."""
        ...

    def late(self, job: Job, task_id: str | None, /) -> None:
        """Record the task of a job that ended while its answer was on its way; None: there is none."""
        ...

    async def sending(self, job: Job, /) -> None:
        """Record durably that a job is being sent.

        Raises:
            LeaseLost: another process holds it now; nothing may be sent.
            JournalError: it could not be recorded; nothing may be sent.
        """
        ...

    def may_send(self, job: Job, /) -> bool:
        """Tell whether a job that was recorded as being sent is surely still ours, now."""
        ...

    async def learn(self, key: str, value: object, /) -> None:
        """Remember a fact about the host."""
        ...

    def hashes(self, job: Job, /) -> Mapping[str, str]:
        """Give path → sha256 in hex of the local files that a job was recorded with: it is sent with these, or not."""
        ...

    def let_go(self) -> list[Job]:
        """Follow what other processes hold no longer; give those jobs."""
        ...


class NoRecord:
    """The recorder of a session without a journal."""

    def note(self, _job: Job, _state: Status, then: Then | None = None, **_more: object) -> None:
        """Call back at once."""
        if then is not None:
            then(None)

    def settle(self, _job: Job, _outcome: Outcome, then: Then) -> None:
        """Call back at once."""
        then(None)

    def late(self, _job: Job, _task_id: str | None) -> None:
        """Nothing to do."""

    async def sending(self, _job: Job) -> None:
        """Nothing to do."""

    def may_send(self, _job: Job) -> bool:
        """Nobody shares anything."""
        return True

    async def learn(self, _key: str, _value: object) -> None:
        """Nothing to do."""

    def hashes(self, _job: Job) -> Mapping[str, str]:
        """Nothing was recorded."""
        return {}

    def let_go(self) -> list[Job]:
        """Nobody shares anything."""
        return []


@attrs.define(eq=False)
class Record:
    """The recorder of a session with a journal.

    Attributes:
        journal: where it is written.
        host: text naming the host; jobs of other hosts in the same journal are left alone.
        lease_s: how long what is held stays held without renewal, seconds.
        clock: loop time, seconds.
        wall: Unix time, seconds.
        account: tag of the credentials in use.
        wake: told that there is something to do: what could not be written is to be tried again.
        held: job id → its entry, of the open jobs of this session.
        foreign: job id → job, of those that another process holds; followed in the journal.
        lost: ids of jobs that another process has taken over, until the loop has taken note.
        owed: job id → what could not be written, and is tried again until it can.
        is_broken_off: taking over ended in the middle, so that entries may be ours which nobody follows.
        renew_at: loop time of the next renewal.
        leased_until: loop time until which the lease surely runs.
    """

    journal: Journal
    host: str
    lease_s: float
    clock: Callable[[], float]
    wall: Callable[[], float]
    account: Callable[[], str] = str
    wake: Callable[[], object] = int
    held: dict[str, Entry] = attrs.field(factory=dict)
    foreign: dict[str, Job] = attrs.field(factory=dict)
    lost: set[str] = attrs.field(factory=set)
    owed: dict[str, Update] = attrs.field(factory=dict)
    renew_at: float = 0.0
    leased_until: float = 0.0
    look_at: float = 0.0
    is_broken_off: bool = False
    _ended: dict[str, Entry] = attrs.field(factory=dict)
    _working: set[asyncio.Future[None]] = attrs.field(factory=set)
    _claiming: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    _last: dict[str, Update] = attrs.field(factory=dict)  # the newest of what is being written, per job

    def __repr__(self) -> str:
        return f"<Record [{len(self.held)} held, {len(self.foreign)} with others | {self.journal!r}]>"

    # --- new jobs, and those of earlier runs -----------------------------------------------------------------------

    async def add(self, job: Job, *, callback_url: str | None, timeout_s: float | None) -> Entry | None:
        """Record a new job durably; give the entry of that id if there is one already, and change nothing then.

        Raises:
            ConfigError: the request or the metadata cannot be written as JSON.
            InvalidRequest: a local file cannot be read.
            JournalError: it could not be recorded.
        """
        began = self.clock()
        plain, texts = to_plain(job.request), self.journal.texts
        if is_heavy(job.request):
            request = await asyncio.to_thread(record_request, job.request, texts)
        else:
            request = record_request(job.request, texts)
        entry = Entry(
            job_id=job.id,
            endpoint=job.endpoint,
            host=self.host,
            request=request,
            fingerprint=fingerprint(job.endpoint, plain),
            callback_url=callback_url,
            metadata=dict(job.metadata),
            account=self.account(),
            created_at=job.created_at.timestamp(),
            timeout_s=timeout_s,
            owner=self.journal.owner,
            lease_until=self.wall() + self.lease_s,
        )
        with self._busy():
            try:
                found = await self.journal.add(entry)
            except asyncio.CancelledError:
                await self._withdraw_if_new(entry)
                raise
        if found is None:
            self._prolong_if_it_runs(began)
            self.held[job.id] = entry
        return found

    def withdraw(self, job: Job) -> None:
        """Take back a job that was just recorded: nobody will hold its handle."""
        self._withdraw(self.held.pop(job.id))

    async def _withdraw_if_new(self, entry: Entry) -> None:
        # The same id may have been there before, and have ended: that must stay.
        found = await self.journal.find(entry.job_id)
        if found is not None and (found.created_at, found.state, found.attempt) == (entry.created_at, entry.state, 0):
            self._withdraw(entry)

    def _withdraw(self, entry: Entry) -> None:
        # A later run must not find it there, and send it.
        self._send(entry.change(state=Status.ABANDONED))

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        done = asyncio.get_running_loop().create_future()
        self._working.add(done)
        try:
            yield
        finally:
            self._working.remove(done)
            done.set_result(None)

    async def finish(self) -> None:
        """Wait for what is being recorded or taken over, before what is held is let go."""
        while self._working:
            await asyncio.wait(self._working)

    async def bury(self) -> None:
        """End the leases of processes of this machine that run no more."""
        await self.journal.bury(has_ended)

    async def claim(self) -> list[Entry]:
        """Take over the unsettled jobs of this host that nobody holds."""
        with self._busy():
            await self.bury()
            return await self._claim()

    async def _claim(self) -> list[Entry]:
        taken = await self._left_over() if self.is_broken_off else []
        left: list[Entry] = []
        while True:
            async with self._claiming:
                began = self.clock()
                some = await self.journal.claim(self.host, _CLAIMED_AT_ONCE, self.lease_s)
                if some:  # only then does the journal prolong the lease too
                    self._prolong_if_it_runs(began)
                for entry in some:
                    if self.held.pop(entry.job_id, None) is None and entry.job_id not in self.lost:
                        self.held[entry.job_id] = entry
                        taken.append(entry)
                    else:  # another process had it meanwhile, and left it further on than it is known here
                        self.lost.add(entry.job_id)
                        left.append(entry)
            if len(some) < _CLAIMED_AT_ONCE:
                break
        if left:  # nobody's again, until the loop has taken note: it may not want to follow them any more
            self.leave(left)
            await self.journal.release([entry.job_id for entry in left])
        return taken

    def leave(self, entries: Iterable[Entry]) -> None:
        """Hold entries no longer that were taken and are followed by nobody, until `claim` is called again."""
        for entry in entries:
            self.is_broken_off = True
            if self.held.get(entry.job_id) is entry:
                del self.held[entry.job_id]

    async def _left_over(self) -> list[Entry]:
        """Take what is ours already, and followed by nobody: taking it over was broken off."""
        known = {*self.held, *self.owed, *self._last, *self.lost}
        left = [entry async for entry in self._unsettled() if self._is_left(entry, known)]
        taken = [await self.take(entry.job_id) for entry in left]
        self.is_broken_off = False
        return [entry for entry in taken if entry is not None and is_open(entry)]

    async def _unsettled(self) -> AsyncIterator[Entry]:
        """Give every entry, whoever holds it, of which something may come yet."""
        for state in Status:
            if not state.is_final or state is Status.UNRESOLVED:
                async for entry in self.journal.entries(state):
                    yield entry

    def _is_left(self, entry: Entry, known: set[str]) -> bool:
        mine = entry.owner == self.journal.owner and entry.host == self.host
        return mine and entry.job_id not in known and not entry.is_settled

    async def take(self, job_id: str) -> Entry | None:
        """Take over one job, if nobody holds it, also not this session; one that has ended is given, and not held."""
        with self._busy():
            async with self._claiming:
                pass  # what `claim` is about to give must not be taken a second time: that would make it another's
            if job_id in self.held or job_id in self.lost:  # of what was lost the loop has to take note first
                return None
            began = self.clock()
            entry = await self.journal.take(job_id, self.lease_s)
        if entry is not None:
            self._prolong_if_it_runs(began)
            if is_open(entry):
                self.held[job_id] = entry
        return entry

    async def reopen(self, job: Job, outcome: Outcome | None = None) -> None:
        """Record durably that a job which was unresolved goes on, or how it ends instead.

        Raises:
            LeaseLost: another process has it.
            JournalError: it could not be recorded.
        """
        entry = self.held.get(job.id) or await self.take(job.id)
        # UNSURE: an earlier decision was broken off when it was written already.
        if entry is None or entry.state not in {Status.UNRESOLVED, Status.UNSURE, Status.ABANDONED}:
            raise lease_lost(job.id)
        if outcome is None:
            change = entry.change(state=Status.UNSURE)
        else:
            change = entry.change(state=outcome.status, outcome=plain_outcome(outcome))
        try:
            await self.journal.write(change)
        except BaseException:
            self.held.pop(job.id, None)
            raise
        if outcome is None:
            self.held[job.id] = entry
        else:
            self.held.pop(job.id, None)

    # --- what becomes of them --------------------------------------------------------------------------------------

    def note(
        self, job: Job, state: Status, then: Then | None = None, *, task_id: str | None = None, undone: bool = False
    ) -> None:
        """Record where a job stands."""
        fields: dict[str, object] = {"state": state}
        if undone and job.id in self.held:
            attempt = max(0, self.held[job.id].attempt - 1)
            fields["attempt"] = attempt
            self.held[job.id] = attrs.evolve(self.held[job.id], attempt=attempt)
        if task_id is not None:
            fields["task_id"] = task_id
        self._put(job, fields, then)

    def settle(self, job: Job, outcome: Outcome, then: Then) -> None:
        """Record how a job ended; it is held no longer then."""
        fields: dict[str, object] = {"state": outcome.status, "outcome": plain_outcome(outcome)}
        if job.task_id is not None:  # again: its first record may have failed
            fields["task_id"] = job.task_id
        self._put(job, fields, then)
        entry = self.held.pop(job.id, None)
        if entry is not None and job.status is Status.SENDING:
            self._ended[job.id] = entry

    def late(self, job: Job, task_id: str | None) -> None:
        """Record the task of a job that ended while its answer was on its way."""
        entry = self._ended.pop(job.id, None)
        if entry is not None and task_id is not None:
            self._send(entry.change(task_id=task_id))

    def _put(self, job: Job, fields: Mapping[str, object], then: Then | None) -> None:
        entry = self.held.get(job.id)
        if entry is None:  # attached: what was made elsewhere is not recorded; or lost, and the loop does not know yet
            if then is not None:
                then(lease_lost(job.id) if job.id in self.lost else None)
            return

        earlier = self.owed.pop(job.id, None)
        change = entry.change(**{**({} if earlier is None else earlier.fields), **fields})
        self._last[job.id] = change
        self._send(change, then)

    def _send(self, change: Update, then: Then | None = None) -> None:
        def written(error: JournalError | None) -> None:
            self._note_written(change, error)
            if then is not None:
                then(error)

        try:
            self.journal.put(change, written)
        except JournalError as error:
            written(error)
        except KlingError as error:  # JSON cannot hold it, now or later
            _log.warning("job %s is not recorded: %s", change.job_id, error)
            self._last.pop(change.job_id, None)
            if then is not None:
                then(JournalError(str(error)))

    def _note_written(self, change: Update, error: JournalError | None) -> None:
        last = self._last.get(change.job_id)
        if error is None or isinstance(error, LeaseLost):
            if last is change:
                del self._last[change.job_id]
            if error is not None:
                _log.warning("job %s is not recorded: %s", change.job_id, error)
            return
        # What was put after it must not be undone when this is written at last: so all of it is written again.
        _log.warning("job %s is not recorded yet: %s", change.job_id, error)
        parts = (self.owed.get(change.job_id), change, last)
        fields = {name: value for part in parts if part is not None for name, value in part.fields.items()}
        self.owed[change.job_id] = attrs.evolve(change if last is None else last, fields=fields)
        self.wake()

    def pay(self) -> None:
        """Write what could not be written before."""
        owed, self.owed = self.owed, {}
        for change in owed.values():
            self._send(change)

    async def sending(self, job: Job) -> None:
        """Record durably that a job is being sent, if it is surely still ours when that is done."""
        entry = self.held.get(job.id)
        if entry is None:
            raise lease_lost(job.id)
        sent = attrs.evolve(entry, attempt=entry.attempt + 1, sent_at=self.wall(), state=Status.SENDING)
        change = sent.change(state=Status.SENDING, attempt=sent.attempt, sent_at=sent.sent_at)
        self.held[job.id], self._last[job.id] = sent, change
        self.owed.pop(job.id, None)
        try:
            await self.journal.write(change)
        except LeaseLost:
            self.held.pop(job.id, None)
            raise
        finally:
            if self._last.get(job.id) is change:
                del self._last[job.id]
        # A process that stood still for longer than its lease must not send: another one may be at it.
        while not self.may_send(job):
            await self.renew()
            if job.id not in self.held:
                raise lease_lost(job.id)

    def may_send(self, job: Job) -> bool:
        """Tell whether a job is surely still ours: it is held, and the lease was renewed not long ago."""
        return job.id in self.held and self.clock() <= self.leased_until - self.lease_s / _SHARE

    def hashes(self, job: Job) -> Mapping[str, str]:
        """Give path → sha256 in hex of the local files that a job was recorded with."""
        entry = self.held.get(job.id)
        return {} if entry is None else recorded_hashes(entry.request)

    async def request_of(self, entry: Entry, row: Endpoint) -> Any:
        """Make the request of an entry again; None where it is not known.

        Raises:
            KlingError: this release cannot read it, or a text of it is gone.
        """
        if entry.request is None:
            return None
        restore = functools.partial(restore_request, entry.request, self.journal.texts)
        plain = await asyncio.to_thread(restore) if needed_texts(entry.request) else restore()
        return from_mapping(row.request, plain if isinstance(plain, Mapping) else {})

    async def tidy(self) -> None:
        """Remove long texts that no open job needs; what was put there in the last day stays."""
        folder = self.journal.texts
        if folder is None or not await asyncio.to_thread(folder.is_dir):
            return
        needed: set[str] = set()
        async for entry in self._unsettled():
            needed |= needed_texts(entry.request)
        await asyncio.to_thread(prune_texts, folder, needed, self.wall() - _TEXTS_KEPT_S)

    # --- leases ----------------------------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Renew the lease; what is not ours any more is held no longer, and waits in `lost`."""
        began = self.clock()
        self.renew_at = began + self.lease_s / _SHARE
        for job_id in await self.journal.renew(tuple(self.held), self.lease_s):
            if self.held.pop(job_id, None) is not None:
                self.lost.add(job_id)
        self._prolong(began)

    def take_lost(self) -> set[str]:
        """Give the ids of jobs that turned out to be lost since this was last asked."""
        lost, self.lost = self.lost, set()
        return lost

    def let_go(self) -> list[Job]:
        """Follow what other processes hold no longer; give those jobs."""
        jobs, self.foreign = list(self.foreign.values()), {}
        return jobs

    def _prolong_if_it_runs(self, began: float) -> None:
        # A process that stood still may have lost what it held, and what it takes now says nothing of that.
        if self.held and self.clock() >= self.leased_until:
            self.renew_at = self.clock()
        else:
            self._prolong(began)

    def _prolong(self, began: float) -> None:
        self.leased_until = began + self.lease_s
        self.renew_at = began + self.lease_s / _SHARE

    def next_moment(self) -> float | None:
        """Give the loop time of the next renewal or look at what others hold."""
        if self.lost:
            return -math.inf  # at once: a moment read from the clock now would lie after the one the loop has read
        moments = [self.renew_at] if self.held else []
        moments += [self.look_at] if self.foreign or self.owed else []
        return min(moments, default=None)

    # --- facts -----------------------------------------------------------------------------------------------------

    async def learn(self, key: str, value: object) -> None:
        """Remember a fact about the host; it is no harm if that fails."""
        try:
            await self.journal.learn(f"{self.host} {key}", value)
        except JournalError as error:
            _log.warning("a fact is not recorded: %s", error)

    async def learned(self, key: str) -> object:
        """Give a fact about the host that is fresh enough, or None."""
        fact = await self.journal.learned(f"{self.host} {key}")
        return fact.value if fact is not None and 0 <= self.wall() - fact.at < _FACTS_GOOD_S else None


# --- outcomes as plain data ----------------------------------------------------------------------------------------


def is_open(entry: Entry) -> bool:
    """Tell whether a recorded job goes on, for whoever takes it over.

    What is unresolved may be found out by now; and a submit that was cancelled had no handle yet, so it has no end.
    """
    if entry.state is Status.ABANDONED:
        return entry.outcome is None and entry.attempt == 0
    return entry.state is Status.UNRESOLVED or not entry.state.is_final


def status_of_entry(entry: Entry) -> Status:
    """Tell where a job of an earlier run stands now: what was being sent may have arrived."""
    if entry.task_id is not None:
        return Status.ACCEPTED
    unsent = entry.state in {Status.QUEUED, Status.ABANDONED} and entry.attempt == 0
    return Status.QUEUED if unsent else Status.UNSURE


def plain_outcome(outcome: Outcome) -> object:
    """Write an outcome as plain data: the answer as received, or the error."""
    return {"raw": outcome.result.raw} if isinstance(outcome, Succeeded) else plain_error(outcome.error)


def outcome_from(entry: Entry, row: Endpoint, retention_s: float | None) -> Outcome:
    """Make the outcome of a settled entry again."""
    plain: Any = entry.outcome if isinstance(entry.outcome, Mapping) else {}
    if entry.state is Status.SUCCEEDED:
        try:
            found = outcome_of(decode_task(plain["raw"], row.yields, retention_s=retention_s), row.name, 0)
        except (BadEnvelope, KeyError):
            found = None
        if isinstance(found, Succeeded):
            return found
    error = revive_error(plain) if "error" in plain else KlingError("its end was recorded, and cannot be read")
    return Failed(entry.state if entry.state is not Status.SUCCEEDED else Status.FAILED, error)
