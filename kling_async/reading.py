"""What a journal tells without a session: to people, and as plain data for machines.

Stage: front. Before: cli. After: journal_sqlite, recorder. Nothing here changes a journal, or waits for who writes it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from .dialects import Host
from .endpoints import find_endpoint
from .errors import ConfigError, JournalError
from .journal import Entry, Journal
from .journal_sqlite import SqliteJournal
from .models import Outcome, Result, Succeeded
from .owners import has_ended
from .recorder import outcome_from

_CALLBACK = "callback_url"


@asynccontextmanager
async def reading(path: str | Path, *, wall: Callable[[], float]) -> AsyncIterator[Journal]:
    """Open a journal to look at it only, also while sessions write it.

    Args:
        path: its file.
        wall: gives the wall clock in Unix seconds.

    Raises:
        JournalCorrupt: it is damaged, or not a journal.
        JournalError: it is not there, or cannot be read.
    """
    journal = SqliteJournal(path, wall=wall, read_only=True)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


def holder_of(entry: Entry, now: float) -> str | None:
    """Name who holds an open job now: a process that runs, as far as can be told from here; None: nobody.

    Args:
        entry: as read now.
        now: wall seconds.
    """
    owner = entry.owner
    if owner is None or entry.state.is_final or entry.lease_until is None or entry.lease_until <= now:
        return None
    if has_ended(owner):
        return None
    place, _, rest = owner.partition(" ")
    machine, pid = place.partition("/")[0], rest.partition(" ")[0]
    return f"process {pid} on {machine}" if pid.isdecimal() else "a session"


def ending_of(entry: Entry, host: Host) -> Outcome | None:
    """Give how a job ended, as it was recorded; None where this release cannot read it."""
    try:
        return outcome_from(entry, find_endpoint(entry.endpoint), host.retention_s)
    except ConfigError:  # written by a release that knows more
        return None


def result_of(entry: Entry, host: Host) -> Result | None:
    """Give the result of a job that has succeeded; None where there is none, or it cannot be read."""
    outcome = ending_of(entry, host)
    return outcome.result if isinstance(outcome, Succeeded) else None


def plain_entry(entry: Entry, *, with_callbacks: bool = False) -> dict[str, object]:
    """Give one entry as plain data, always the same fields in the same order; moments are ISO 8601 in UTC.

    Callback URLs may hold secrets, so they are left out wherever they stand, unless they are asked for.
    """
    plain: dict[str, object] = {
        "job_id": entry.job_id,
        "endpoint": entry.endpoint,
        "host": entry.host,
        "state": str(entry.state),
        "task_id": entry.task_id,
        "attempt": entry.attempt,
        "created_at": moment(entry.created_at),
        "sent_at": moment(entry.sent_at),
        "updated_at": moment(entry.updated_at),
        "timeout_s": entry.timeout_s,
        "request": entry.request,
        "fingerprint": entry.fingerprint,
        "metadata": dict(entry.metadata),
        "outcome": entry.outcome,
    }
    if with_callbacks:
        return {**plain, _CALLBACK: entry.callback_url}
    return {**plain, "request": _without_callbacks(entry.request), "outcome": _without_callbacks(entry.outcome)}


def to_line(entry: Entry, *, with_callbacks: bool = False) -> str:
    """Give one entry as a line of JSON, in ASCII."""
    return json.dumps(plain_entry(entry, with_callbacks=with_callbacks), separators=(",", ":"))


def moment(at: float | None) -> str | None:
    """Write a moment (wall seconds) as ISO 8601 in UTC, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _without_callbacks(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _without_callbacks(inner) for name, inner in value.items() if name != _CALLBACK}
    if isinstance(value, list | tuple):
        return [_without_callbacks(inner) for inner in value]
    return value


def move_aside(path: Path, now: float) -> Path:
    """Move a damaged journal out of the way, together with its log; give its new name.

    Args:
        path: its file.
        now: wall seconds, for the name.

    Raises:
        JournalError: it could not be moved, or something of that name is there.
    """
    target = path.with_name(f"{path.name}.damaged-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}")
    if target.exists():
        raise JournalError(f"{target} exists already")
    try:
        for ending in ("", "-wal", "-shm"):  # the file first: nobody may open it without its log
            part = path.with_name(f"{path.name}{ending}")
            if part.exists():
                part.rename(target.with_name(f"{target.name}{ending}"))
    except OSError as error:
        raise JournalError(f"{path} cannot be moved aside: {error.strerror}") from None
    return target
