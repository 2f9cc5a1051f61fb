"""The stream of one job's states, as server-sent events.

Stage: door. Before: jobs. After: session.

Theory. The number of an event is how far the job has come: queued 1, sending 2, ... ended 7. So it is the same in every
process, before and after a restart, and nothing has to be kept of a stream: a client that comes back names the last
number it has seen, and gets every later state that is known. A job that is put back (a request that could not be
sent) goes through a state twice, and that is told once. States pass while nobody looks; the last one never does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Protocol

import attrs

from ..errors import JournalError, SessionError
from ..models import Status
from ..snapshots import Snapshot
from .views import view_of

_log = logging.getLogger(__name__)

_RANKS: Mapping[Status, int] = {
    Status.QUEUED: 1,
    Status.SENDING: 2,
    Status.UNSURE: 3,
    Status.ACCEPTED: 4,
    Status.PROCESSING: 5,
    Status.UNRESOLVED: 6,  # it may be found out later, by another run or by its owner
}
LAST = 7
_RETRY_MS = 2000  # what a client waits before it comes back
_PING_S = 15.0  # proxies end what is silent for a minute or so
_LOOK_S = (0.25, 1.0)  # between two looks: shortest after news, longest later


class Looker(Protocol):
    """Who tells where jobs stand: the session."""

    async def look(self, job_id: str) -> Snapshot | None:
        """Tell where a job stands."""
        ...


def rank_of(status: Status) -> int:
    """Give the number of a state's event."""
    return _RANKS.get(status, LAST)


def is_told(seen: Snapshot, last: int) -> bool:
    """Tell whether a client that has seen the event of that number has nothing to wait for."""
    return seen.done() and rank_of(seen.status) <= last


def last_seen(header: str | None) -> int:
    """Read `Last-Event-ID`; what is no number of ours is as good as none."""
    return int(header) if header is not None and header.isascii() and header.isdecimal() and len(header) < 3 else 0


async def stream(kling: Looker, seen: Snapshot, last: int) -> AsyncIterator[bytes]:
    """Give the events of a job after the one of number `last`, and end after that of its end.

    Ends early when the session is closed: the client comes back, and finds whoever is there then.

    Args:
        kling: tells where the job stands.
        seen: where it stands now.
        last: number of the last event the client has; 0: none.
    """
    yield f"retry: {_RETRY_MS}\n\n".encode()
    clock = asyncio.get_running_loop().time
    pause_s, ping_at = _LOOK_S[0], clock() + _PING_S
    while True:
        for rank, step in _steps(seen):
            if rank > last:
                last, pause_s, ping_at = rank, _LOOK_S[0], clock() + _PING_S
                yield f"id: {rank}\ndata: {view_of(step).model_dump_json()}\n\n".encode()
        if seen.done():
            return
        if clock() >= ping_at:
            ping_at = clock() + _PING_S
            yield b": ping\n\n"
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LOOK_S[1])
        try:
            found = await kling.look(seen.id)
        except JournalError as error:
            _log.warning("the journal cannot be read, trying again: %s", error)
            continue
        except SessionError:
            return
        if found is None:
            return
        seen = found


def _steps(seen: Snapshot) -> Iterator[tuple[int, Snapshot]]:
    """Give what is known of a job's way: it was queued, it was accepted if it has a task, and where it is now."""
    began = attrs.evolve(seen, status=Status.QUEUED, task_id=None, result=None, error=None)
    yield rank_of(Status.QUEUED), began
    if seen.task_id is not None:
        yield rank_of(Status.ACCEPTED), attrs.evolve(began, status=Status.ACCEPTED, task_id=seen.task_id)
    yield rank_of(seen.status), seen
