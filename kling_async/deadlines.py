"""When whose time is over: moments of open jobs, the next one first. Pure decisions, no clock, no I/O.

Stage: decide. Before: scheduler, which sets a moment for each job and asks whose has come.

Theory. A deadline that passes while nothing could run (a callback that blocks the loop, a laptop asleep) is not the
job's fault: its task may have ended in time, and nobody could look. Such jobs get a little more time, once.
"""

from __future__ import annotations

import heapq

import attrs

_BLOCKED_S = 5.0
_SECOND_CHANCE_S = 15.0


@attrs.define
class Deadlines:
    """Moments by job.

    Kept by id and order of arrival, not by object: an entry outlives its job, and must not keep its request alive.
    """

    _heap: list[tuple[float, int, str]] = attrs.field(factory=list)

    def __repr__(self) -> str:
        return f"<Deadlines [{len(self._heap)} set]>"

    def set(self, moment: float, order: int, job_id: str) -> None:
        """Let a job's time be over at `moment`, loop time in seconds."""
        heapq.heappush(self._heap, (moment, order, job_id))

    @property
    def next_moment(self) -> float | None:
        """Loop time of the next one, seconds."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[tuple[int, str]]:
        """Take out the jobs whose time is over: order and id, the oldest moment first; some may have ended."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[1:])
        return due

    def put_off(self, expected: float, now: float) -> bool:
        """Give a little more time to jobs whose moment passed while nothing ran, from `expected` until `now`.

        Returns:
            Whether nothing ran for so long that it matters.
        """
        if now - expected < _BLOCKED_S:
            return False
        missed = [entry for entry in self._heap if expected < entry[0] <= now]
        if missed:
            later = [(now + _SECOND_CHANCE_S, order, job_id) for _, order, job_id in missed]
            self._heap = [entry for entry in self._heap if not expected < entry[0] <= now] + later
            heapq.heapify(self._heap)
        return True
