"""Which tasks are due on the word of somebody else: pure, no clock, no I/O.

Stage: decide. Before: scheduler (a callback told of a task). After: poller (who is asked about next).

Theory. A hint may be wrong, and may come again and again; so it costs one query at most in `GAP_S` for each task. One
that comes sooner is not dropped, because it may be the true one: it waits for its turn. What is due at the same time
goes into as few queries as hold it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable

import attrs

GAP_S = 5.0  # between two queries about one task on the word of a callback
_TRIES = 3  # of a query that is of no use


@attrs.define
class Hints:
    """Owner of what was told and not asked about yet. Ids are task ids, or job ids while no task id is known."""

    _heap: list[tuple[float, str]] = attrs.field(factory=list)
    _waiting: set[str] = attrs.field(factory=set)
    _tries: dict[str, int] = attrs.field(factory=dict)
    # Oldest first: what lies further back than the gap is forgotten.
    _asked_at: dict[str, float] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"<Hints [{len(self._waiting)} waiting]>"

    def offer(self, id_: str, now: float) -> None:
        """Make a task due: at once, or as soon as the last query on such a word is long enough ago."""
        while self._asked_at:
            oldest = next(iter(self._asked_at))
            if now - self._asked_at[oldest] < GAP_S:
                break
            del self._asked_at[oldest]
        if id_ not in self._waiting:
            self._put(id_, max(now, self._asked_at.get(id_, -math.inf) + GAP_S))

    def _put(self, id_: str, moment: float) -> None:
        self._waiting.add(id_)
        heapq.heappush(self._heap, (moment, id_))

    def next_moment(self) -> float | None:
        """Give the loop time at which the next one is due."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[str]:
        """Take out what is due, to be asked about now."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            id_ = heapq.heappop(self._heap)[1]
            self._waiting.discard(id_)
            self._asked_at.pop(id_, None)
            self._asked_at[id_] = now
            found.append(id_)
        return found

    def put_back(self, ids: Iterable[str], moment: float) -> None:
        """Make what was taken out due again at a later moment: it could not be asked about."""
        for id_ in ids:
            if id_ not in self._waiting:
                self._put(id_, moment)

    def try_again(self, ids: Iterable[str], moment: float) -> None:
        """Make what was asked about in vain due again at a later moment, a few times."""
        for id_ in ids:
            tries = self._tries[id_] = self._tries.get(id_, 0) + 1
            if tries < _TRIES:
                self.put_back([id_], moment)
            else:
                del self._tries[id_]

    def tried(self, id_: str) -> int:
        """Give how often it was asked about in vain."""
        return self._tries.get(id_, 0)

    def forget(self, id_: str) -> None:
        """Take note that it was answered."""
        self._tries.pop(id_, None)
