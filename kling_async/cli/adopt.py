"""`kling adopt`: the open jobs of a journal, followed again until they end.

Stage: door. Before: app. After: crew, missing, and reading for what the journal tells beforehand.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import attrs

from ..errors import AuthError, KlingError
from ..job import Job
from ..models import Status
from ..reading import holder_of, reading
from ..session import KlingSession
from .bulk import say, was_interrupted
from .connect import Connection, existing, make_folder
from .crew import Crew
from .exits import Exit
from .inputs import Entry
from .interrupt import Interrupt, run
from .missing import Stock
from .naming import entry_of
from .progress import Progress, counted
from .report import end, summarise
from .talk import Talk

_RECENT = 3
_OPEN = tuple(status for status in Status if not status.is_final)


@attrs.define
class Survey:
    """What a journal holds open for one host.

    Attributes:
        held: open jobs by who holds them.
        elsewhere: open jobs by their host, where it is another one.
        example: task and endpoint of an open job.
    """

    held: Counter[str] = attrs.field(factory=Counter)
    elsewhere: Counter[str] = attrs.field(factory=Counter)
    example: tuple[str, str] | None = None


def adopt(talk: Talk, connection: Connection, *, out: Path | None, missing: bool) -> Exit:
    """Follow what is open to its end; URLs, or with `out` files, go to stdout as they come.

    Args:
        talk: the outputs.
        connection: with the journal.
        out: where to save.
        missing: save also what has ended before, and has no file in `out`.

    Raises:
        Fail: no journal, no credentials, or a folder that cannot be written.
        KlingError: the credentials, the host or the journal cannot be right.
    """
    assert connection.journal is not None
    journal = existing(connection.journal)
    session = connection.session()
    folder = None if out is None else make_folder(out)
    options = () if out is None else ("--out", str(out))
    resume = connection.again("adopt", *options, *(("--missing",) if missing else ()))

    async def action(interrupt: Interrupt) -> Exit:
        survey = await _survey(journal, session)
        async with session, AsyncExitStack() as stack:
            await _try_key(session, survey)
            jobs = await session.adopt()
            stock: Stock | None = None
            if missing and folder is not None:
                file = await stack.enter_async_context(reading(journal, wall=time.time))
                stock = Stock(file, session.host, folder)
                await stock.look_through(talk, lambda: interrupt.is_asked)
            before = 0 if stock is None else stock.count
            _tell(talk, connection, survey, session, len(jobs), before)
            if not jobs and not before:
                return Exit.DONE
            return await _follow(talk, session, interrupt, jobs, stock, folder, resume)

    return run(action)


async def _try_key(session: KlingSession, survey: Survey) -> None:
    """Ask once before anything is taken over: with a wrong key what waits would be sent, and end as rejected.

    Raises:
        AuthError: the host refused the credentials.
    """
    if survey.example is None:
        return
    try:
        await session.query(*survey.example)
    except AuthError:
        raise
    except KlingError:
        pass  # whatever it is, following deals with it


async def _follow(
    talk: Talk,
    session: KlingSession,
    interrupt: Interrupt,
    jobs: list[Job],
    stock: Stock | None,
    out: Path | None,
    resume: str,
) -> Exit:
    word = "done" if out is None else "saved"
    before = 0 if stock is None else stock.count
    crew = Crew(
        session,
        interrupt,
        total=len(jobs) + before,
        out=out,
        on_done=lambda done: say(talk, progress, done),
        resume=resume,
        ended=before,
    )
    progress = Progress(talk, session, crew.tally, word=word, recent=_RECENT)
    interrupt.when_signalled(progress.leave)
    async with progress.shown(), aclosing(_entries(jobs, stock)) as entries:
        await crew.work(entries)
    interrupted = was_interrupted(crew, interrupt)
    place = "" if out is None else f" in {out}"
    summarise(talk, crew.tally, elapsed_s=progress.elapsed_s, word=word, place=place)
    return end(talk, crew, interrupted=interrupted)


async def _entries(jobs: list[Job], stock: Stock | None) -> AsyncGenerator[Entry, None]:
    for job in jobs:
        yield attrs.evolve(entry_of(job.id, job.metadata), request=job.request, job=job)
    if stock is not None:
        async with aclosing(stock.entries(without={job.id for job in jobs})) as entries:
            async for entry in entries:
                yield attrs.evolve(entry, saved=()) if entry.saved else entry  # only the number of them is told


# --- what the journal tells beforehand -----------------------------------------------------------------------------


async def _survey(file: Path, session: KlingSession) -> Survey:
    survey, now = Survey(), time.time()
    async with reading(file, wall=time.time) as journal:
        for status in _OPEN:
            async for entry in journal.entries(status):
                if entry.host != session.host.name:
                    survey.elsewhere[entry.host] += 1
                elif holder := holder_of(entry, now):
                    survey.held[holder] += 1
                elif entry.task_id is not None:
                    survey.example = entry.task_id, entry.endpoint
    return survey


def _tell(talk: Talk, connection: Connection, survey: Survey, session: KlingSession, adopted: int, before: int) -> None:
    host = session.host.name
    if adopted:
        talk.say(f"{counted(adopted, 'open job')} of {connection.journal}, at {host}")
    elif not before:
        talk.say(f"Nothing to follow: {connection.journal} has no open job of {host} that is free.")
    if before:
        talk.say(f"{counted(before, 'job')} done before, whose files are saved where they are missing")
    for holder, number in survey.held.items():
        talk.say(f"{counted(number, 'job')} held by {holder}, which follows what it holds", "yellow")
    for other, number in survey.elsewhere.items():
        talk.say(f"{counted(number, 'open job')} of another host, {other}", "yellow")
