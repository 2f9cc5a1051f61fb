"""`kling download`: the files of jobs that have succeeded. Nothing is made, and no journal is changed.

Stage: door. Before: app. After: crew, missing. A journal is only read, also while other processes write it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from pathlib import Path

import attrs

from ..download import Saved, find_saved
from ..endpoints import Endpoint, find_endpoint
from ..errors import ConfigError, JobError, KlingError, SessionClosed, SessionError, TaskVanished
from ..job import Job
from ..journal import Entry as Recorded
from ..journal import Journal
from ..models import Failed, Result, Status
from ..reading import ending_of, reading
from ..session import KlingSession
from .bulk import was_interrupted
from .connect import Connection, existing, make_folder
from .crew import Crew
from .exits import Exit, Fail
from .inputs import Entry
from .interrupt import Interrupt, run
from .missing import Stock, with_files
from .naming import entry_of, name_of
from .progress import Progress, clock, counted
from .report import data_of, fields_of
from .talk import Talk
from .tally import Done, Tally

_RECENT = 3
_MOST_ASKING = 4  # questions at once; of the others the session's batches tell meanwhile
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
_LONGEST_COMMAND = 500


@attrs.frozen(kw_only=True)
class Order:
    """What the options of the command say.

    Attributes:
        ids: of jobs or tasks; none: all of the journal.
        out: the folder.
        endpoint: what made the tasks; None: the journal knows.
        waits: whether tasks that still run are waited for.
    """

    ids: tuple[str, ...]
    out: Path
    endpoint: str | None = None
    waits: bool = False


def download(talk: Talk, connection: Connection, order: Order) -> Exit:
    """Save the files of jobs that have succeeded and that the folder does not have; their paths go to stdout.

    Raises:
        Fail: the options do not fit together, no journal, no credentials, or a folder that cannot be written.
        KlingError: the credentials, the host or the journal cannot be right.
    """
    order = attrs.evolve(order, ids=tuple(dict.fromkeys(order.ids)))
    row = _check(connection, order)
    journal = None if connection.journal is None else existing(connection.journal)
    # Without the journal: what a session holds there, and writes, is of no use here.
    session = attrs.evolve(connection, journal=None).session()
    if journal is not None:
        from_journal = _FromJournal(talk, connection, session, order, journal)
        return run(from_journal.run)
    assert row is not None
    from_host = _FromHost(talk, connection, session, order, row)
    return run(from_host.run)


def _check(connection: Connection, order: Order) -> Endpoint | None:
    """See that it is clear what is meant, and give the endpoint that was named.

    Raises:
        Fail: it is not.
        ConfigError: there is no such endpoint.
    """
    if connection.journal is not None:
        if order.endpoint is not None:
            raise Fail("--endpoint is for tasks that no journal knows: leave it out, or --journal")
        if order.waits:
            raise Fail("--wait is for tasks that no journal knows: `kling adopt` follows the jobs of a journal")
        return None
    if not order.ids:
        raise Fail("Nothing to download: give --journal FILE, or task ids and --endpoint NAME")
    if order.endpoint is None:
        raise Fail("What made these tasks? Give --endpoint NAME (`kling endpoints` lists them), or --journal FILE")
    row = find_endpoint(order.endpoint)
    if row.kind != "task":
        raise Fail(f"--endpoint {row.name}: it makes no tasks that can be asked about later")
    return row


class _Saving:
    """What both kinds of run share: saving, and what is told of it."""

    def __init__(self, talk: Talk, connection: Connection, session: KlingSession, order: Order) -> None:
        self._talk = talk
        self._connection = connection
        self._session = session
        self._order = order

    async def _save(self, entries: Iterable[Entry] | AsyncIterable[Entry], total: int, interrupt: Interrupt) -> Exit:
        talk, resume = self._talk, self._resume()
        crew = Crew(
            self._session,
            interrupt,
            total=total,
            out=self._order.out,
            on_done=lambda done: self._say(progress, done),
            resume=resume,
            ended=total,
        )
        progress = Progress(talk, self._session, crew.tally, word="saved", recent=_RECENT, is_making=False)
        interrupt.when_signalled(progress.leave)
        async with progress.shown():
            await crew.work(entries)
        tally = crew.tally
        _summarise(talk, tally, progress.elapsed_s, self._order.out)
        if crew.trouble is not None:
            talk.tell(str(crew.trouble), "red")
        if _left(tally) or tally.unsaved:
            is_short = len(resume) <= _LONGEST_COMMAND
            talk.tell("To go on:" if is_short else "To go on, give the same command again.", "bold")
            if is_short:
                talk.tell(f"  {resume}", whole=True)
        if crew.trouble is not None:
            return crew.trouble.code
        return Exit.INTERRUPTED if was_interrupted(crew, interrupt) else tally.exit_code()

    def _resume(self) -> str:
        order = self._order
        endpoint = () if order.endpoint is None else ("--endpoint", order.endpoint)
        waits = ("--wait",) if order.waits else ()
        # One that begins like an option has to come after all of them.
        ids = ("--", *order.ids) if any(word.startswith("-") for word in order.ids) else order.ids
        return self._connection.again("download", "--out", str(order.out), *endpoint, *waits, *ids)

    def _say(self, progress: Progress, done: Done) -> None:
        talk, is_there = self._talk, done.entry.passed is not None
        if not done.is_sent or done.is_open:
            return
        if talk.as_json:
            talk.record({**fields_of(done), "already_there": is_there})
        elif done.error is not None:
            progress.note(f"{done.entry.label}: {done.error}")
        elif self._order.ids or not is_there:  # of a whole journal only the number of those that were there is told
            for line in data_of(done, indent=None):
                talk.data(line)


def _left(tally: Tally) -> int:
    return len(tally.open) + tally.unsent + tally.kept + tally.unseen


def _summarise(talk: Talk, tally: Tally, elapsed_s: float, out: Path) -> None:
    parts = [f"{tally.fine:,} saved{f' in {out}' if tally.fine else ''}"] if tally.fine or not tally.before else []
    told = (
        (tally.before, "already there" if tally.fine else f"already in {out}"),
        (tally.bad, "not saved"),
        (_left(tally), "not got to"),
    )
    parts += [f"{number:,} {word}" for number, word in told if number]
    fine = tally.fine + tally.before
    style = "green" if fine == tally.total else "yellow" if fine else "red"
    talk.say(f"{counted(tally.total, 'job')} in {clock(elapsed_s)}: {', '.join(parts)}", f"bold {style}")
    if talk.as_json:
        return
    first = tally.first_told()
    for done in first:
        talk.tell(f"  {done.entry.label}: {done.error}")
    if tally.bad > len(first):
        talk.tell(f"  ... and {tally.bad - len(first):,} more; --json tells all")


# --- from a journal --------------------------------------------------------------------------------------------------


class _FromJournal(_Saving):
    """A run over the jobs of a journal, or over some of them."""

    def __init__(self, talk: Talk, connection: Connection, session: KlingSession, order: Order, file: Path) -> None:
        super().__init__(talk, connection, session, order)
        self._file = file

    async def run(self, interrupt: Interrupt) -> Exit:
        """Do it."""
        async with AsyncExitStack() as stack:
            journal = await stack.enter_async_context(reading(self._file, wall=time.time))
            stock = Stock(journal, self._session.host, self._order.out)
            if self._order.ids:
                found = await self._found(journal, stock, interrupt)
                total, entries = len(found), self._named(journal, stock, found)
            else:
                await stock.look_through(self._talk, lambda: interrupt.is_asked)
                found, total, entries = {}, stock.count, stock.entries()
                self._tell(stock)
            source = await stack.enter_async_context(aclosing(entries))
            if interrupt.is_asked:
                self._talk.tell("Stopped; nothing was begun.")
                return Exit.INTERRUPTED
            code = Exit.DONE
            if total:
                if not self._order.ids or any([await self._has_files(journal, job_id) for job_id in found.values()]):
                    make_folder(self._order.out)
                await stack.enter_async_context(self._session)
                code = await self._save(source, total, interrupt)
            if not self._order.ids and not interrupt.is_asked:
                await self._tell_open(journal)
            return code

    async def _found(self, journal: Journal, stock: Stock, interrupt: Interrupt) -> dict[str, str | None]:
        """Find the jobs that are meant: by their own ids, or by those of their tasks."""
        found: dict[str, str | None] = {}
        has_names = False
        for given in self._order.ids:
            recorded = await journal.find(given)
            found[given] = None if recorded is None else given
            has_names |= recorded is not None and entry_of(given, recorded.metadata).name is not None
        tasks = {given for given, job_id in found.items() if job_id is None}
        if tasks or has_names:
            await stock.look_through(self._talk, lambda: interrupt.is_asked, tasks=tasks)
        known = {given: job_id or stock.tasks.get(given) for given, job_id in found.items()}
        once = {job_id or given: given for given, job_id in known.items()}  # a job and its task may both be named
        return {given: known[given] for given in once.values()}

    async def _has_files(self, journal: Journal, job_id: str | None) -> bool:
        recorded = None if job_id is None else await journal.find(job_id)
        return recorded is not None and self._refusal(recorded) is None

    async def _named(self, journal: Journal, stock: Stock, found: dict[str, str | None]) -> AsyncGenerator[Entry, None]:
        for given, job_id in found.items():
            recorded = None if job_id is None else await journal.find(job_id)
            if recorded is None:
                told = ConfigError(f"{self._file} has no job and no task of that id")
                yield Entry(label=given, line=None, request=None, job_id=given, state="unknown", refused=told)
                continue
            refused = self._refusal(recorded)
            yield refused or stock.entry(recorded)

    def _refusal(self, recorded: Recorded) -> Entry | None:
        """Say why there is nothing to be had of a job; None: there is."""
        host, state = self._session.host, recorded.state
        why: KlingError
        if recorded.host != host.name:
            why = ConfigError(f"it was sent to {recorded.host}, and not to {host.name}: give --base-url")
        elif not state.is_final:
            adopt = self._connection.again("adopt", "--out", str(self._order.out))
            told = f"it is {state} and has no files yet; to go on with it: {adopt}"
            why = JobError(told, paid="no" if state is Status.QUEUED else "maybe", task_id=recorded.task_id)
        elif state is not Status.SUCCEEDED:
            outcome = ending_of(recorded, host)
            error = outcome.error if isinstance(outcome, Failed) else KlingError(f"it is {state}")
            why = JobError(f"it has no files: {error}", paid=error.paid, task_id=recorded.task_id)
        else:
            return None
        return attrs.evolve(entry_of(recorded.job_id, recorded.metadata), state=str(state), refused=why)

    def _tell(self, stock: Stock) -> None:
        host = self._session.host.name
        if stock.count:
            self._talk.say(f"{counted(stock.count, 'job')} of {self._file} done at {host}")
        else:
            self._talk.say(f"Nothing to download: no job of {self._file} has succeeded at {host}.")
        for other, number in stock.elsewhere.items():
            self._talk.say(f"{counted(number, 'job')} done at another host, {other} (--base-url)", "yellow")

    async def _tell_open(self, journal: Journal) -> None:
        number = sum(count for state, count in (await journal.counts()).items() if not state.is_final)
        if number:
            adopt = self._connection.again("adopt", "--out", str(self._order.out))
            self._talk.say(f"{counted(number, 'job')} not done yet. To go on with what nobody follows:")
            self._talk.say(f"  {adopt}", whole=True)


# --- from the host ---------------------------------------------------------------------------------------------------


class _FromHost(_Saving):
    """A run over tasks that no journal knows."""

    def __init__(self, talk: Talk, connection: Connection, session: KlingSession, order: Order, row: Endpoint) -> None:
        super().__init__(talk, connection, session, order)
        self._row = row
        self._asks = asyncio.Semaphore(_MOST_ASKING)

    async def run(self, interrupt: Interrupt) -> Exit:
        """Do it."""
        make_folder(self._order.out)
        async with self._session:
            return await self._save(self._entries(interrupt), len(self._order.ids), interrupt)

    def _entries(self, interrupt: Interrupt) -> Iterator[Entry]:
        for task_id in self._order.ids:
            entry = Entry(label=f"task {task_id}", line=None, request=self._row)
            only = Result(assets=(), endpoint=self._row.name, task_id=task_id)
            there = find_saved(self._order.out, name_of(entry, only))
            if there is None:
                yield attrs.evolve(entry, find=partial(self._find, entry, task_id, interrupt))
            else:  # the one file of a task with one: nobody has to be asked
                saved = Saved(there[0], self._row.yields, there[1], "", there[0].name)
                yield attrs.evolve(entry, result=only, passed="done", saved=(saved,))

    async def _find(self, entry: Entry, task_id: str, interrupt: Interrupt) -> Entry:
        """Ask what became of a task.

        Raises:
            KlingError: nobody could be asked, or that is no task's id.
        """
        job = self._session.attach(task_id, self._row)
        try:
            async with self._asks:
                await self._ask(job, interrupt)
            if not (job.done() or self._order.waits or (job.news is not None and job.news.status.is_final)):
                why = JobError("it is not done yet; --wait waits for it", paid="maybe", task_id=task_id, retryable=True)
                return attrs.evolve(entry, state=str(job.status), refused=why)
            return with_files(entry, await job, self._order.out)
        except JobError as error:
            state = Status.VANISHED if isinstance(error, TaskVanished) else job.status
            return attrs.evolve(entry, state=str(state), refused=error)
        finally:
            if not job.done():
                job.abandon()

    async def _ask(self, job: Job, interrupt: Interrupt) -> None:
        """Have something known of a task; passing trouble is sat out."""
        clock_s = asyncio.get_running_loop().time
        until, pause_s = clock_s() + self._connection.retry_for_s, _FIRST_PAUSE_S
        while not job.done() and job.news is None:
            try:
                await self._session.query(job)
            except KlingError as error:
                if isinstance(error, SessionError) or not error.retryable or clock_s() >= until:
                    raise
                wish_s = getattr(error, "retry_in_s", None) or 0.0
            else:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(interrupt.wait(), min(max(pause_s, wish_s), _LONGEST_PAUSE_S))
            if interrupt.is_asked:
                raise SessionClosed("the command was ended", paid="no")
            pause_s *= 2
