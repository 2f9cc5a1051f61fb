"""Many jobs on one session: submitted as there is room, saved as they come, and accounted for to the last one.

Stage: door. Before: inputs. After: session. Shared by `generate`, `bulk` and `demo`.

Theory. Every entry ends as exactly one Done, whatever happens: that is what the summary counts and what the exit code
is made of. On an interruption, what was not sent is given up (it cost nothing), what is being saved gets a moment, the
session is closed, and every job the service still has is told with its ids, because it goes on and is paid for. Where
the jobs are in a journal nothing is given up: what was not sent waits there as well.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from ..endpoints import find_endpoint
from ..errors import (
    AccountError,
    AuthError,
    ConnectFailed,
    JobAbandoned,
    JournalError,
    KlingError,
    Paid,
    SessionClosed,
    SessionError,
)
from ..job import Job
from ..models import Result, Status
from ..session import KlingSession
from .exits import Exit, Fail, exit_of
from .inputs import Entry
from .interrupt import Interrupt

_MOST_OPEN = 1000
_MOST_CALLS = 4  # they take no slots, and one that is refused for now is not sent again
_SAVING_GRACE_S = 3.0
_TICK_S = 0.05
_LOOK_S = 0.2
_NOT_SAVED = "the command was ended before its files were saved"
_NO_RIGHT = 1103  # no right to this model: says nothing about jobs with another one


@attrs.frozen(kw_only=True)
class Done:
    """What became of one entry.

    Attributes:
        entry: what was to be done.
        job: its job, if there was one.
        result: what the service made.
        files: what was saved of it.
        answer: what the service answered, where it makes no task.
        error: why it is not as wished.
    """

    entry: Entry
    job: Job | None = None
    result: Result | None = None
    files: tuple[Path, ...] = ()
    answer: Any = None
    error: KlingError | None = None

    @property
    def is_sent(self) -> bool:
        """Whether anything of it reached the service."""
        return not isinstance(self.error, JobAbandoned | SessionError) or self.error.paid != "no"

    @property
    def is_open(self) -> bool:
        """Whether the service goes on with it, or holds a clip that was not saved, because the session has ended."""
        return isinstance(self.error, SessionError) and self.error.paid != "no"


@attrs.define
class Tally:
    """Counts of what is done; only what needs to be told by name is kept.

    Attributes:
        total: jobs there are.
        submitted: jobs handed to the session.
        fine: jobs as wished.
        answered: those of them that were answered at once, so that there was nothing to save.
        asking: calls whose answer is waited for.
        saving: jobs being saved now.
        bad: jobs that failed, in the order of their ends.
        open: jobs the service goes on with.
        unsent: jobs that were given up before they were sent.
        kept: jobs that were not sent, or not followed yet, and that wait in the journal.
    """

    total: int
    submitted: int = 0
    fine: int = 0
    answered: int = 0
    asking: int = 0
    saving: int = 0
    bad: list[Done] = attrs.field(factory=list)
    open: list[Done] = attrs.field(factory=list)
    unsent: int = 0
    kept: int = 0

    def add(self, done: Done, *, is_kept: bool = False) -> None:
        """Count one end; `is_kept`: what was not sent waits in a journal."""
        if done.error is None:
            self.fine += 1
            self.answered += done.answer is not None
        elif done.is_open:
            self.open.append(done)
        elif not done.is_sent and is_kept and done.job is not None:
            self.kept += 1
        elif not done.is_sent:
            self.unsent += 1
        else:
            self.bad.append(done)

    def exit_code(self) -> Exit:
        """Give the exit code: money that may be lost weighs more than a refusal, and that more than a failure."""
        codes = {exit_of(done.error) for done in (*self.bad, *self.open) if done.error is not None}
        for code in (Exit.UNRESOLVED, Exit.REFUSED, Exit.UNREACHABLE):
            if code in codes:
                return code
        if codes == {Exit.USAGE}:
            return Exit.USAGE
        return Exit.FAILED if self.bad or self.open or self.unsent or self.kept else Exit.DONE


class Crew:
    """Works off entries on an open session.

    Args:
        session: open; it is closed here on an interruption.
        interrupt: asked for the user's wish to leave.
        total: number of entries, for the display.
        out: where clips are saved; None: they are not.
        on_done: called for each end, in the order of the ends.
        resume: the command that goes on with what is left in the journal; None: there is no journal.

    Attributes:
        tally: what is done so far.
        trouble: why it stopped early, where neither a job nor the user is the reason.
        gave_up: it stopped early, because every other job would have met the same.
    """

    def __init__(
        self,
        session: KlingSession,
        interrupt: Interrupt,
        *,
        total: int,
        out: Path | None,
        on_done: Callable[[Done], None],
        resume: str | None = None,
    ) -> None:
        self.session = session
        self.tally: Tally = Tally(total)
        self.trouble: Fail | None = None
        self.gave_up: bool = False
        self.resume: str | None = resume
        self._interrupt = interrupt
        self._out = out
        self._on_done = on_done
        self._room = asyncio.Semaphore(_MOST_OPEN)
        self._lines = asyncio.Semaphore(_MOST_CALLS)
        self._jobs: dict[str, Job] = {}
        self._saving: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()  # no submit is under way
        self._idle.set()

    async def work(self, entries: Iterable[Entry]) -> Tally:
        """Do them all, or as many as there is time for.

        Raises:
            KlingError: the session crashed.
        """
        working = asyncio.create_task(self._work(entries))
        leaving = asyncio.create_task(self._interrupt.wait())
        holding = asyncio.create_task(self._hold_back())
        watching = asyncio.create_task(self._watch_account())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await self._wind_down()
            await working
        finally:
            for task in (working, leaving, holding, watching):
                task.cancel()
            await asyncio.wait({working, leaving, holding, watching})
        return self.tally

    async def _work(self, entries: Iterable[Entry]) -> None:
        source = islice(entries, self.tally.total)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._room.acquire()
                entry = None if self._stopping.is_set() else self._next(source)
                if entry is None:
                    break
                if entry.result is not None:
                    self.tally.submitted += 1
                    group.create_task(self._fetch(entry, entry.result))
                    continue
                if entry.job is None and find_endpoint(entry.request).kind == "call":
                    self.tally.submitted += 1
                    group.create_task(self._ask(entry))
                    continue
                job = await self._submit(entry)
                if job is not None:
                    group.create_task(self._follow(entry, job))
                if self.tally.submitted % 64 == 0:
                    await asyncio.sleep(0)  # the display and the signals have their turn
            # What an earlier run put into the journal is there still; lines of a file were not begun.
            while self._stopping.is_set() and self.resume is not None and (left := self._next(source)) is not None:
                if left.job is None and left.result is None:
                    break
                self.tally.submitted += 1
                self.tally.kept += 1
            self.tally.unsent += self.tally.total - self.tally.submitted

    def _next(self, source: Iterator[Entry]) -> Entry | None:
        try:
            return next(source, None)
        except Fail as error:  # the file was changed after it was checked
            self.trouble = error
            return None

    async def _submit(self, entry: Entry) -> Job | None:
        self.tally.submitted += 1
        if entry.job is not None:
            return entry.job
        # In the journal, so that a later run can name its files in the same way.
        metadata = None if self.resume is None or entry.line is None else {"line": entry.line}
        self._idle.clear()
        try:
            job = await self.session.submit(entry.request, job_id=entry.job_id, metadata=metadata)
        except KlingError as error:
            self._end(Done(entry=entry, error=error))
            return None
        finally:
            self._idle.set()
        self._jobs[job.id] = job
        return job

    async def _ask(self, entry: Entry) -> None:
        """Send one call that makes no task, and report its answer."""
        async with self._lines:
            if self._stopping.is_set():
                self._end(Done(entry=entry, error=JobAbandoned("it was not sent")))
                return
            self.tally.asking += 1
            try:
                done = Done(entry=entry, answer=await self.session.call(entry.request))
            except KlingError as error:
                done = Done(entry=entry, error=error)
            self.tally.asking -= 1
        self._end(done)

    async def _follow(self, entry: Entry, job: Job) -> None:
        """Wait for one job, save what it made, and report its end whatever happens on the way."""
        done = Done(entry=entry, job=job)
        try:
            done = attrs.evolve(done, result=await job)
            if done.result is not None and self._out is not None:
                done = attrs.evolve(done, files=tuple(await self._save(entry, done.result, self._out)))
        except KlingError as error:
            done = attrs.evolve(done, error=error.anew(job_id=job.id, task_id=job.task_id))
        except asyncio.CancelledError:
            self._end(attrs.evolve(done, error=_not_saved(job)))
            raise
        self._end(done)

    async def _fetch(self, entry: Entry, result: Result) -> None:
        """Save what an earlier run had made."""
        done = Done(entry=entry, result=result)
        assert self._out is not None
        try:
            done = attrs.evolve(done, files=tuple(await self._save(entry, result, self._out)))
        except KlingError as error:
            done = attrs.evolve(done, error=error.anew(task_id=result.task_id, paid="yes"))
        except asyncio.CancelledError:
            left = SessionClosed(_NOT_SAVED, paid="yes").anew(task_id=result.task_id)
            self._end(attrs.evolve(done, error=left))
            raise
        self._end(done)

    async def _save(self, entry: Entry, result: Result, out: Path) -> list[Path]:
        # The picture of an element is one of those it was made of: nothing to save.
        assets = tuple(asset for asset in result.assets if asset.kind != "element")
        if not assets:
            return []
        task = asyncio.current_task()
        assert task is not None
        self._saving.add(task)
        self.tally.saving += 1
        try:
            return await self.session.download(attrs.evolve(result, assets=assets), out, name=name_of(entry, result))
        except SessionError as error:
            raise error.anew(paid="yes") from None
        finally:
            self.tally.saving -= 1
            self._saving.discard(task)

    def _end(self, done: Done) -> None:
        if done.job is not None:
            self._jobs.pop(done.job.id, None)
        self._room.release()
        self.tally.add(done, is_kept=self.resume is not None)
        if done.error is not None and _is_hopeless(done.error):
            self._give_up()
        try:
            self._on_done(done)
        except OSError as error:
            if error.errno != errno.EPIPE:  # whoever read the output has left: no reason for words
                self.trouble = Fail(f"Cannot write the output: {error.strerror}", Exit.FAILED)
            self._interrupt.ask()

    def stop(self) -> None:
        """Send nothing more: jobs that are waiting are given up, the others go on."""
        self._stopping.set()

    def _give_up(self) -> None:
        self.stop()
        if self.resume is not None and not self._interrupt.is_asked:
            self.gave_up = True  # what waits stays in the journal: the session has to end for that
            self._interrupt.ask()

    async def _watch_account(self) -> None:
        """End when the account or its key is refused: the session waits for another, which nobody can give it here."""
        while True:
            paused = self.session.stats.paused
            if paused is not None and f"code {_NO_RIGHT}" not in paused:
                self.trouble = Fail(f"Nothing more is sent: {paused}", Exit.REFUSED)
                self._give_up()
                return
            await asyncio.sleep(_LOOK_S)

    async def _hold_back(self) -> None:
        """Once it is stopping, give up what waits to be sent; also what was refused for now and waits again."""
        await self._stopping.wait()
        while self.resume is None:
            for job in list(self._jobs.values()):
                if job.status is Status.QUEUED:
                    job.abandon()
            await asyncio.sleep(_TICK_S)

    async def _wind_down(self) -> None:
        self.stop()
        await self._idle.wait()  # what is being recorded now would be in the journal, and told as not begun
        if self._saving:
            await asyncio.wait(self._saving, timeout=_SAVING_GRACE_S)
        for task in self._saving:
            task.cancel()
        await self.session.aclose()


def _is_hopeless(error: KlingError) -> bool:
    """Tell whether every other job would meet the same: sending on would only repeat it, or hammer the host."""
    if isinstance(error, AccountError):
        return error.code != _NO_RIGHT
    return isinstance(error, AuthError | ConnectFailed | JournalError)


def _not_saved(job: Job) -> KlingError:
    paid: Paid = "maybe" if job.task_id is None else "yes"
    return SessionClosed(_NOT_SAVED, paid=paid).anew(job_id=job.id, task_id=job.task_id)


def name_of(entry: Entry, result: Result) -> str:
    """Name its files after its job where the user named it, else after line and task: nothing is overwritten."""
    if entry.job_id is not None:
        return re.sub(r"\A[^A-Za-z0-9]", "x", entry.job_id)
    task = re.sub(r"[^A-Za-z0-9_-]", "_", result.task_id)[:80]
    return re.sub(r"\A-", "_", task) if entry.stem is None else f"{entry.stem}-{task}"
