"""Several processes on one journal: the lease is renewed, and what others hold is followed in the journal alone.

Stage: loop. Before: scheduler (when), recorder (whose). After: scheduler (what is lost, taken over, or has ended).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Protocol

import attrs

from .errors import DeadlineExceeded, JobAbandoned, JournalError, SubmissionUnknown
from .job import Job
from .journal import Entry
from .models import Failed, Outcome, Status
from .recorder import Record
from .sweep import Form

_log = logging.getLogger(__name__)

_LOOK_S = 2.0  # between two looks at what other processes hold


class Family(Protocol):
    """Who owns the jobs: the scheduler, as this part sees it."""

    def open_job(self, job_id: str) -> Job | None:
        """Give the open job of that id."""
        ...

    def lost(self, job_id: str) -> None:
        """Leave a job to the process that holds it now, if it is open here."""
        ...

    def go_on(self, job: Job, entry: Entry) -> None:
        """Follow a job that was just taken over."""
        ...

    def end_as(self, job: Job, entry: Entry) -> None:
        """End a job as its entry says."""
        ...

    def end(self, job: Job, outcome: Outcome) -> None:
        """End a job."""
        ...

    def recalled(self, endpoint: str, form: Form, *, found: bool) -> None:
        """Take note of what the host has shown in an earlier run."""
        ...

    async def renewed(self) -> None:
        """Keep what was learned, now that the journal is at work anyway."""
        ...


@attrs.define(kw_only=True, eq=False)
class Sharing:
    """Keeps a session's jobs its own, and watches those of others.

    Attributes:
        record: what is held, and what others hold.
        family: who owns the jobs.
        clock: loop time, seconds.
        is_busy: `keep` is under way.
    """

    record: Record
    family: Family
    clock: Callable[[], float]
    is_busy: bool = False
    _recalled: set[str] = attrs.field(factory=set)
    _until: dict[str, float] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"<Sharing [{self.record!r}]>"

    def follow(self, job: Job, timeout_s: float | None = None) -> None:
        """Follow a job that another process holds, in the journal."""
        now = self.clock()
        self.record.foreign[job.id] = job
        self.record.look_at = now + _LOOK_S
        if timeout_s is not None:
            self._until[job.id] = now + timeout_s

    def abandon(self, job: Job) -> None:
        """Follow a job that another process holds no longer; that process goes on with it."""
        if self._leave(job):
            job.release(JobAbandoned(f"abandoned while {job.status}; another process follows it", paid="maybe"))

    def _leave(self, job: Job) -> bool:
        self._until.pop(job.id, None)
        return self.record.foreign.pop(job.id, None) is not None

    async def recall(self, endpoint: str) -> None:
        """Begin with what the host has shown in earlier runs: what is not sure yet may hang on it."""
        if endpoint in self._recalled:
            return
        try:
            for form in Form:
                found = await self.record.learned(f"finds {endpoint} {form}")
                if isinstance(found, bool):
                    self.family.recalled(endpoint, form, found=found)
            self._recalled.add(endpoint)
        except JournalError as error:
            _log.warning("what the host has shown is not known: %s", error)

    def next_moment(self) -> float | None:
        """Give the loop time at which `keep` is due, unless it is under way."""
        return None if self.is_busy else self.record.next_moment()

    async def keep(self) -> None:
        """Renew the lease, write what could not be written, and look what became of jobs that others hold."""
        record = self.record
        try:
            now = self.clock()
            if record.held and now >= record.renew_at:
                await record.renew()
                await self.family.renewed()
            for job_id in sorted(record.take_lost()):
                self.family.lost(job_id)
            if now >= record.look_at:
                record.look_at = self.clock() + _LOOK_S
                record.pay()
                if record.foreign:
                    await record.bury()
                for job in list(record.foreign.values()):
                    await self._look(job)
                self._until = {job_id: until for job_id, until in self._until.items() if job_id in record.foreign}
        except JournalError as error:
            record.renew_at = record.look_at = self.clock() + _LOOK_S
            _log.warning("the journal cannot be used, trying again: %s", error)
        finally:
            self.is_busy = False

    async def _look(self, job: Job) -> None:
        entry, taken = await self.record.journal.find(job.id), None
        if entry is not None and not entry.state.is_final:
            await self.recall(job.endpoint)
            taken = await self.record.take(job.id)
        if job.done() or self.family.open_job(job.id) is not None:
            self.record.foreign.pop(job.id, None)
            if taken is not None and self.family.open_job(job.id) is None:
                self.record.leave([taken])  # abandoned just now: held, and followed by nobody
        elif entry is None:
            del self.record.foreign[job.id]
            self.family.end(job, Failed(Status.UNRESOLVED, SubmissionUnknown("its record is gone from the journal")))
        elif taken is not None:
            self.family.go_on(job, taken)
        elif entry.state.is_final:
            self.family.end_as(job, entry)
        elif self.clock() >= self._until.get(job.id, math.inf) and self._leave(job):
            job.release(DeadlineExceeded("its time is over; another process follows it", paid="maybe"))
