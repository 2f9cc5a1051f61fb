"""`kling recover`: a lost journal, made again from the account's own lists.

Stage: door. Before: app. After: session, which reads the lists, and reading, which moves a damaged file aside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs

from ..errors import JournalCorrupt
from ..reading import moment, move_aside
from ..recovery import Finding, Found, Recovery
from ..session import ID_PREFIX, KlingSession
from .connect import Connection
from .exits import Exit, Fail
from .interrupt import Interrupt, run
from .progress import counted
from .talk import Talk

_MOST_TOLD = 20
_WRITTEN = frozenset({Finding.ADDED, Finding.MENDED})
_TOLD = {
    Finding.HELD: "a running session holds it, and will find the task by itself",
    Finding.UNRESOLVED: "the journal keeps how it ended, and here is its task",
    Finding.OTHER: "the journal has a job of that id at another host",
    Finding.SECOND: "the job has another task already: it was made twice",
}


def recover(
    talk: Talk,
    connection: Connection,
    *,
    days: float | None,
    prefixes: Sequence[str] | None,
    move_damaged: bool,
    dry_run: bool,
) -> Exit:
    """Write into the journal what the host's lists tell and it does not hold; each such job goes to stdout.

    Args:
        talk: the outputs.
        connection: with the journal.
        days: how far back; None: all that is listed.
        prefixes: beginnings of external ids that are ours; None: of the ids that are made up here.
        move_damaged: rename a damaged journal, and begin a new one.
        dry_run: write nothing.

    Raises:
        Fail: no credentials, a damaged journal, or a host without lists.
        KlingError: the credentials, the host or the journal cannot be right.
    """
    assert connection.journal is not None
    file = connection.journal
    if dry_run and not file.exists():
        connection = attrs.evolve(connection, journal=None)
    since = None if days is None else datetime.fromtimestamp(time.time(), UTC) - timedelta(days=days)

    def show(found: Found) -> None:
        if talk.as_json:
            talk.record({**attrs.asdict(found), "created_at": moment(found.created_at)})
        elif found.finding in _WRITTEN:
            talk.data(f"{found.finding}\t{found.job_id}\t{found.task_id}\t{found.endpoint}\t{found.state}")

    async def action(interrupt: Interrupt) -> Exit:
        session = await _opened(talk, connection, file, move_damaged=move_damaged and not dry_run)
        try:
            working = asyncio.create_task(
                session.recover(since=since, prefixes=prefixes or (ID_PREFIX,), dry_run=dry_run, on_found=show)
            )
            leaving = asyncio.create_task(interrupt.wait())
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait({working})
                talk.tell("Stopped. What was found is in the journal; the same command goes on from there.")
                return Exit.INTERRUPTED
            recovery = working.result()
        finally:
            await session.aclose()
        _summarise(talk, recovery, session, dry_run=dry_run)
        if not dry_run and (recovery.added or recovery.mended):
            talk.say(f"To go on with what is open: {connection.again('adopt')}", whole=True)
        return Exit.DONE if recovery.lists and not recovery.broken else Exit.FAILED

    return run(action)


async def _opened(talk: Talk, connection: Connection, file: Path, *, move_damaged: bool) -> KlingSession:
    session = connection.session()
    try:
        return await session.__aenter__()
    except JournalCorrupt as error:
        if not move_damaged:
            told = "`kling recover --move-aside` renames it, and begins a new one"
            raise Fail(f"{error}. Nothing was changed; {told}", Exit.FAILED) from None
    talk.tell(f"{file} is damaged. It is now {move_aside(file, time.time())}", "yellow", whole=True)
    return await connection.session().__aenter__()


def _summarise(talk: Talk, recovery: Recovery, session: KlingSession, *, dry_run: bool) -> None:
    verb = "would be " if dry_run else ""
    talk.say(
        f"{counted(recovery.rows, 'task')} seen in {counted(len(recovery.lists), 'list')} of {session.host.name}: "
        f"{counted(recovery.added, 'job')} {verb}added, {recovery.mended:,} {verb}given a task, "
        f"{recovery.known:,} known",
        "bold",
    )
    for found in recovery.told[:_MOST_TOLD]:
        talk.tell(f"  job {found.job_id}  task {found.task_id}  {found.endpoint}: {_TOLD[found.finding]}", whole=True)
    if len(recovery.told) > _MOST_TOLD:
        talk.tell(f"  ... and {len(recovery.told) - _MOST_TOLD:,} more; --json tells all")
    for name, why in recovery.broken.items():
        talk.tell(f"The list of {name} was not read to its end: {why}. Run it again.", "red")
    if recovery.refused:
        talk.say(f"The host has no list of {', '.join(recovery.refused)}; what was made there is not found.")
    if not recovery.lists and not recovery.broken:
        talk.tell("No list could be read: nothing can be recovered from this host.", "red")
