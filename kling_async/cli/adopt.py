"""`kling adopt`: the open jobs of a journal, followed again until they end.

Stage: door. Before: app. After: crew, and reading for what the journal tells beforehand.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from ..endpoints import find_endpoint
from ..errors import AuthError, KlingError
from ..job import Job
from ..journal import Entry as Recorded
from ..models import Result, Status
from ..reading import holder_of, reading, result_of
from ..session import ID_PREFIX, KlingSession
from .bulk import say, was_interrupted
from .connect import Connection, existing, make_folder
from .crew import Crew, name_of
from .exits import Exit
from .inputs import Entry
from .interrupt import Interrupt, run
from .progress import Progress, counted
from .report import end, summarise
from .talk import Talk

_RECENT = 3
_OPEN = tuple(status for status in Status if not status.is_final)


@attrs.define
class Survey:
    """What a journal holds for one host.

    Attributes:
        held: open jobs by who holds them.
        elsewhere: open jobs by their host, where it is another one.
        missing: what is done, and has no file in the folder.
        example: task and endpoint of an open job.
    """

    held: Counter[str] = attrs.field(factory=Counter)
    elsewhere: Counter[str] = attrs.field(factory=Counter)
    missing: list[Entry] = attrs.field(factory=list)
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
        survey = await _survey(journal, session, folder if missing else None)
        async with session:
            await _try_key(session, survey)
            jobs = await session.adopt()
            _tell(talk, connection, survey, session, len(jobs))
            if not jobs and not survey.missing:
                return Exit.DONE
            return await _follow(talk, session, interrupt, [*_entries(jobs), *survey.missing], folder, resume)

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
    talk: Talk, session: KlingSession, interrupt: Interrupt, entries: list[Entry], out: Path | None, resume: str
) -> Exit:
    word = "done" if out is None else "saved"
    crew = Crew(
        session,
        interrupt,
        total=len(entries),
        out=out,
        on_done=lambda done: say(talk, progress, done),
        resume=resume,
    )
    progress = Progress(talk, session, crew.tally, word=word, recent=_RECENT)
    interrupt.when_signalled(progress.leave)
    async with progress.shown():
        await crew.work(entries)
    interrupted = was_interrupted(crew, interrupt)
    place = "" if out is None else f" in {out}"
    summarise(talk, crew.tally, elapsed_s=progress.elapsed_s, word=word, place=place)
    return end(talk, crew, interrupted=interrupted)


def _entries(jobs: list[Job]) -> Iterator[Entry]:
    for job in jobs:
        yield attrs.evolve(_entry(job.id, job.metadata), request=job.request, job=job)


def _entry(job_id: str, metadata: Mapping[str, object]) -> Entry:
    """Name an entry, and thereby its files, as the command did that submitted it."""
    line = metadata.get("line")
    line = line if isinstance(line, int) and not isinstance(line, bool) and line > 0 else None
    name = metadata.get("name")
    named = name if isinstance(name, str) else None if job_id.startswith(ID_PREFIX) else job_id
    return Entry(
        label=f"job {job_id}",
        line=line,
        request=None,
        job_id=named,
        stem=None if line is None else f"{line:05d}",
    )


# --- what the journal tells beforehand -----------------------------------------------------------------------------


async def _survey(file: Path, session: KlingSession, folder: Path | None) -> Survey:
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
        if folder is None:
            return survey
        there = _stems(folder)
        async for entry in journal.entries(Status.SUCCEEDED):
            if entry.host == session.host.name:
                survey.missing += _missing(entry, result_of(entry, session.host), there)
    return survey


def _stems(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir() if not path.name.startswith(".")}


def _missing(recorded: Recorded, result: Result | None, there: set[str]) -> Iterator[Entry]:
    """Give what is to be saved of a job that has succeeded, unless its files are there."""
    count = 0 if result is None else sum(asset.kind != "element" for asset in result.assets)
    if result is None or not count:
        return
    row = find_endpoint(recorded.endpoint)
    entry = attrs.evolve(_entry(recorded.job_id, recorded.metadata), request=row, result=result)
    stem = name_of(entry, result)
    wanted = {stem} if count == 1 else {f"{stem}-{index + 1}" for index in range(count)}
    if not wanted <= there:
        yield entry


def _tell(talk: Talk, connection: Connection, survey: Survey, session: KlingSession, adopted: int) -> None:
    host = session.host.name
    if adopted:
        talk.say(f"{counted(adopted, 'open job')} of {connection.journal}, at {host}")
    elif not survey.missing:
        talk.say(f"Nothing to follow: {connection.journal} has no open job of {host} that is free.")
    if survey.missing:
        talk.say(f"{counted(len(survey.missing), 'job')} done before, to be saved")
    for holder, number in survey.held.items():
        talk.say(f"{counted(number, 'job')} held by {holder}, which follows what it holds", "yellow")
    for other, number in survey.elsewhere.items():
        talk.say(f"{counted(number, 'open job')} of another host, {other}", "yellow")
