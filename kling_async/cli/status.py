"""`kling status`: how the jobs of a journal stand, from its file alone.

Stage: door. Before: app. After: reading. No session, no key, no lease: it may look while another process works.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..journal import Entry
from ..models import Status
from ..reading import holder_of, moment, reading
from .connect import existing
from .exits import Exit, Fail
from .listing import fitting
from .progress import clock, counted
from .talk import Talk

_DAY_S = 86_400.0
_HEAD = ("state", "age", "job", "task", "endpoint", "held by")


def status(talk: Talk, journal: Path, *, state: str | None, limit: int) -> Exit:
    """Tell counts by state, and open jobs or those in one state.

    Raises:
        Fail: no journal, or no such state.
        JournalError: it cannot be read.
    """
    file, chosen = existing(journal), state_of(state)
    counts, entries = asyncio.run(_read(file, [chosen] if chosen else [s for s in Status if not s.is_final], limit))
    now = time.time()
    if talk.as_json:
        talk.record(_plain(file, counts, entries, now))
        return Exit.DONE
    for line in _told(file, counts, entries, chosen, now):
        talk.data(talk.plain(line))
    if any(not entry.state.is_final and holder_of(entry, now) is None for entry in entries):
        talk.say(f"To go on with what nobody holds: kling adopt --journal {shlex.quote(str(journal))}", whole=True)
    return Exit.DONE


def state_of(word: str | None) -> Status | None:
    """Give the state of that name.

    Raises:
        Fail: there is none.
    """
    try:
        return None if word is None else Status(word.lower())
    except ValueError:
        raise Fail(f"--state {word}: it must be one of {', '.join(Status)}") from None


async def _read(file: Path, wanted: list[Status], limit: int) -> tuple[Mapping[Status, int], list[Entry]]:
    entries: list[Entry] = []
    async with reading(file, wall=time.time) as journal:
        counts = await journal.counts()
        for state in wanted:
            if counts.get(state, 0) and len(entries) < limit:
                async for entry in journal.entries(state):
                    entries.append(entry)
                    if len(entries) == limit:
                        break
    return counts, entries


def _told(
    file: Path, counts: Mapping[Status, int], entries: list[Entry], chosen: Status | None, now: float
) -> Iterator[str]:
    is_open = sum(number for state, number in counts.items() if not state.is_final)
    yield f"{file}: {counted(sum(counts.values()), 'job')}, {is_open:,} open"
    for state in Status:
        if number := counts.get(state, 0):
            yield f"  {state:<10}  {number:>9,}{'' if state.is_final else '  open'}"
    if not entries:
        return
    yield ""
    lines = [_words(entry, now) for entry in entries]
    width = sum(max(map(len, column)) + 2 for column in zip(_HEAD, *lines, strict=True)) - 2
    narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < width
    yield from _in_pairs(lines) if narrow else fitting([_HEAD, *lines])
    total = counts.get(chosen, 0) if chosen else is_open
    if total > len(entries):
        yield f"... and {total - len(entries):,} more: --limit N"


def _in_pairs(lines: list[tuple[str, ...]]) -> Iterator[str]:
    """Give each job two lines, for a terminal that is too narrow for one."""
    for state, age, job, task, endpoint, held_by in lines:
        yield f"{state:<10} {age:>8}  {endpoint}  task {task}"
        yield f"{'':<10} {'':>8}  {job}  held by {held_by}"


def _words(entry: Entry, now: float) -> tuple[str, ...]:
    held_by = "-" if entry.state.is_final else holder_of(entry, now) or "nobody"
    return str(entry.state), _age(now - entry.created_at), entry.job_id, entry.task_id or "-", entry.endpoint, held_by


def _age(seconds: float) -> str:
    return clock(max(0.0, seconds)) if seconds < 2 * _DAY_S else f"{seconds / _DAY_S:.0f} d"


def _plain(file: Path, counts: Mapping[Status, int], entries: list[Entry], now: float) -> Mapping[str, object]:
    return {
        "journal": str(file),
        "total": sum(counts.values()),
        "open": sum(number for state, number in counts.items() if not state.is_final),
        "states": {str(state): counts.get(state, 0) for state in Status},
        "jobs": [
            {
                "job_id": entry.job_id,
                "state": str(entry.state),
                "endpoint": entry.endpoint,
                "host": entry.host,
                "task_id": entry.task_id,
                "created_at": moment(entry.created_at),
                "age_s": round(now - entry.created_at, 3),
                "held_by": holder_of(entry, now),
            }
            for entry in entries
        ],
    }
