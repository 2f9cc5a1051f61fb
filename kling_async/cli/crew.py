"""Many jobs on one session: submitted as there is room, saved as they come, and accounted for to the last one.

Stage: door. Before: inputs. After: session. Shared by all commands that make or save something.

Theory. Every entry ends as exactly one Done, whatever happens: that is what the summary counts and what the exit code
is made of. On an interruption, what was not sent is given up (it cost nothing), what is being saved gets a moment, the
session is closed, and every job the service still has is told with its ids, because it goes on and is paid for. Where
the jobs are in a journal nothing is given up: what was not sent waits there as well.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from itertools import islice
from pathlib import Path

import attrs

from ..download import Saved
from ..endpoints import find_endpoint
from ..errors import (
    DownloadError,
    JobAbandoned,
    KlingError,
    Paid,
    SessionClosed,
    SessionError,
)
from ..job import Job
from ..models import Result, Status
from ..session import KlingSession
from .connect import try_folder
from .exits import NO_RIGHT, Exit, Fail, exit_of, is_hopeless
from .inputs import Entry
from .interrupt import Interrupt
from .naming import files_of, name_of
from .tally import Done, Tally

_MOST_OPEN = 1000
_MOST_CALLS = 4  # they take no slots, and one that is refused for now is not sent again
_MOST_FETCHES = 16  # more files than the session takes at once, so that none waits for a name to be looked up
_SAVING_GRACE_S = 3.0
_TICK_S = 0.05
_LOOK_S = 0.2
_NOT_SAVED = "the command was ended before its files were saved"


class Crew:
    """Works off entries on an open session.

    Args:
        session: open; it is closed here on an interruption.
        interrupt: asked for the user's wish to leave.
        total: number of entries, for the display.
        out: where clips are saved; None: they are not.
        on_done: called for each end, in the order of the ends.
        resume: the command that goes on with what is left; None: it cannot be gone on with, there is no journal.
        keep: writes an end down, and gives it with that, before `on_done`; not called for what the command leaves.
        ended: how many of the entries, the last ones, are about jobs that ended before.

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
        keep: Callable[[Done], Awaitable[Done]] | None = None,
        ended: int = 0,
    ) -> None:
        self.session = session
        self.tally: Tally = Tally(total)
        self.trouble: Fail | None = None
        self.gave_up: bool = False
        self.resume: str | None = resume
        self._interrupt = interrupt
        self._out = out
        self._on_done = on_done
        self._keep = keep
        self._ended = ended
        self._room = asyncio.Semaphore(_MOST_OPEN)
        self._lines = asyncio.Semaphore(_MOST_CALLS)
        self._fetches = asyncio.Semaphore(_MOST_FETCHES)
        self._jobs: dict[str, Job] = {}
        self._saving: set[asyncio.Task[None]] = set()
        self._turns = 0
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()  # no submit is under way
        self._idle.set()

    async def work(self, entries: Iterable[Entry] | AsyncIterable[Entry]) -> Tally:
        """Do them all, or as many as there is time for.

        Args:
            entries: taken as there is room. Of a file no more than were counted; an asynchronous source is taken to
                its end, and what it raises as Fail or KlingError ends the work.

        Raises:
            KlingError: the session crashed.
        """
        working = asyncio.create_task(self._work(entries))
        leaving = asyncio.create_task(self._interrupt.wait())
        holding = asyncio.create_task(self._hold_back())
        watching = asyncio.create_task(self._watch_account())
        draining = asyncio.create_task(self._drain())
        try:
            await asyncio.wait({working, leaving, draining}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await self._wind_down()
            await working
        finally:
            for task in (working, leaving, holding, watching, draining):
                task.cancel()
            await asyncio.wait({working, leaving, holding, watching, draining})
        return self.tally

    async def _work(self, entries: Iterable[Entry] | AsyncIterable[Entry]) -> None:
        async with aclosing(_source(entries, self.tally.total)) as source, asyncio.TaskGroup() as group:
            while True:
                await self._room.acquire()
                entry = None if self._stopping.is_set() else await self._next(source)
                if entry is None:
                    break
                if self.tally.submitted == self.tally.total:
                    self.tally.total += 1  # of a journal that grows
                self._turns += 1
                if self._turns % 64 == 0:
                    await asyncio.sleep(0)  # the display and the signals have their turn
                if entry.passed is not None:
                    self._pass_over(entry)
                    continue
                if entry.find is not None:
                    self.tally.submitted += 1
                    group.create_task(self._find(entry, entry.find))
                    continue
                if entry.refused is not None:
                    self.tally.submitted += 1
                    await self._finish(Done(entry=entry, error=entry.refused))
                    continue
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
            # What an earlier run put into the journal is there still; lines of a file were not begun.
            while (
                self._stopping.is_set() and self.resume is not None and (left := await self._next(source)) is not None
            ):
                if left.job is None:
                    break
                self.tally.submitted += 1
                self.tally.kept += 1
            left_over = max(0, self.tally.total - self.tally.submitted)
            self.tally.unseen = min(left_over, self._ended)
            self.tally.unsent += left_over - self.tally.unseen

    async def _next(self, source: AsyncIterator[Entry]) -> Entry | None:
        try:
            return await anext(source, None)
        except Fail as error:  # the file was changed after it was checked
            self.trouble = error
        except KlingError as error:  # so was the journal
            self.trouble = Fail(str(error), exit_of(error))
        return None

    def _pass_over(self, entry: Entry) -> None:
        assert entry.passed is not None
        self.tally.pass_over(entry.passed)
        self._room.release()
        if entry.saved:
            self._tell(Done(entry=entry, result=entry.result, saved=entry.saved))

    async def _submit(self, entry: Entry) -> Job | None:
        self.tally.submitted += 1
        if entry.job is not None:
            return entry.job
        # In the journal, so that a later run can name its files in the same way.
        metadata = entry.metadata
        if metadata is None and self.resume is not None and entry.line is not None:
            metadata = {"line": entry.line}
        self._idle.clear()
        try:
            job = await self.session.submit(entry.request, job_id=entry.job_id, metadata=metadata)
        except KlingError as error:
            await self._finish(Done(entry=entry, error=error))
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
        await self._finish(done)

    async def _follow(self, entry: Entry, job: Job) -> None:
        """Wait for one job, save what it made, and report its end whatever happens on the way."""
        done = Done(entry=entry, job=job)
        try:
            if self._keep is not None and job.task_id is None:
                await job.accepted()
                done = attrs.evolve(done, accepted_at=round(time.time(), 3))
            was_over = job.done()
            result = await job
            done = attrs.evolve(done, result=result, ended_at=None if was_over else round(time.time(), 3))
            if self._out is not None:
                done = attrs.evolve(done, saved=await self._save(entry, result, self._out))
        except KlingError as error:
            ended_at = done.ended_at or round(time.time(), 3)
            done = attrs.evolve(done, error=error.anew(job_id=job.id, task_id=job.task_id), ended_at=ended_at)
        except asyncio.CancelledError:
            self._end(attrs.evolve(done, error=_not_saved(job)))
            raise
        await self._finish(done)

    async def _find(self, entry: Entry, find: Callable[[], Awaitable[Entry]]) -> None:
        """Find out what is to be done, and do it."""
        self.tally.asking += 1
        try:
            found = await find()
        except KlingError as error:
            await self._finish(Done(entry=entry, error=error))
            return
        finally:
            self.tally.asking -= 1
        if found.passed is not None:
            self.tally.submitted -= 1
            self._pass_over(found)
        elif found.result is not None:
            await self._fetch(found, found.result)
        else:
            await self._finish(Done(entry=found, error=found.refused))

    async def _fetch(self, entry: Entry, result: Result) -> None:
        """Save what an earlier run had made."""
        done = Done(entry=entry, result=result)
        left = attrs.evolve(done, error=SessionClosed(_NOT_SAVED, paid="yes").anew(task_id=result.task_id))
        assert self._out is not None
        try:
            async with self._fetches:
                saved = None if self._stopping.is_set() else await self._save(entry, result, self._out)
            done = left if saved is None else attrs.evolve(done, saved=saved)
        except KlingError as error:
            done = attrs.evolve(done, error=error.anew(task_id=result.task_id, paid="yes"))
            if isinstance(error, DownloadError) and not error.retryable:
                self._try_folder(self._out)
        except asyncio.CancelledError:
            self._end(left)
            raise
        await self._finish(done)

    def _try_folder(self, out: Path) -> None:
        """Stop where nothing can be written any more: every other file would meet the same."""
        try:
            try_folder(out)
        except Fail as error:
            self.trouble = Fail(f"Nothing more is saved: {error}", Exit.FAILED)
            self._give_up()

    async def _save(self, entry: Entry, result: Result, out: Path) -> tuple[Saved, ...]:
        assets = files_of(result)
        if not assets:
            return ()
        task = asyncio.current_task()
        assert task is not None
        self._saving.add(task)
        self.tally.saving += 1
        try:
            wanted = attrs.evolve(result, assets=assets)
            return tuple(await self.session.save(wanted, out, name=name_of(entry, result)))
        except SessionError as error:
            raise error.anew(paid="yes") from None
        finally:
            self.tally.saving -= 1
            self._saving.discard(task)

    async def _finish(self, done: Done) -> None:
        """Have an end written down, and count it."""
        if self._keep is not None:
            try:
                done = await self._keep(done)
            except OSError as error:
                self.trouble = Fail(f"Cannot write the manifest: {error.strerror}", Exit.FAILED)
                self._interrupt.ask()
        self._end(done)

    def _end(self, done: Done) -> None:
        if done.job is not None:
            self._jobs.pop(done.job.id, None)
        self._room.release()
        self.tally.add(done, is_kept=self.resume is not None)
        if done.error is not None and is_hopeless(done.error):
            self._give_up()
        self._tell(done)

    def _tell(self, done: Done) -> None:
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
            stats = self.session.stats
            if stats.paused is not None and stats.paused_code != NO_RIGHT:
                self.trouble = Fail(f"Nothing more is sent: {stats.paused}", Exit.REFUSED)
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

    async def _drain(self) -> None:
        """Once the user wants it, begin nothing more, and wait for what was sent and for its files."""
        await self._interrupt.wait_to_drain()
        self.stop()
        await self._idle.wait()
        await self.session.drain()
        while self._jobs or self.tally.asking:  # noqa: ASYNC110 - nothing tells of both
            await asyncio.sleep(_TICK_S)
        self._interrupt.ask()

    async def _wind_down(self) -> None:
        self.stop()
        await self._idle.wait()  # what is being recorded now would be in the journal, and told as not begun
        if self._saving:
            await asyncio.wait(self._saving, timeout=_SAVING_GRACE_S)
        for task in self._saving:
            task.cancel()
        await self.session.aclose()


def _not_saved(job: Job) -> KlingError:
    paid: Paid = "maybe" if job.task_id is None else "yes"
    return SessionClosed(_NOT_SAVED, paid=paid).anew(job_id=job.id, task_id=job.task_id)


async def _source(entries: Iterable[Entry] | AsyncIterable[Entry], most: int) -> AsyncGenerator[Entry, None]:
    if isinstance(entries, AsyncIterable):
        async for entry in entries:
            yield entry
    else:
        for entry in islice(entries, most):
            yield entry
