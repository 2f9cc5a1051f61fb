"""Queries with the rows they are asked for, and rows in line to be asked about by name: pure, no clock, no I/O.

Stage: decide. Used by sweep, and by poller for what a query was asked for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import attrs

from .bands import Band, Watch
from .reach import Batch, Query, Single


@attrs.define(eq=False)
class Ask:
    """One query, and the rows it is asked for.

    Attributes:
        query: what is sent.
        worth: in prices.
        watches: its rows, where they are named in it.
        bands: those expected on its page.
        told: rows asked about because somebody says that they have ended.
        made: of a page, how many tasks of ours its list had got when it was chosen.
    """

    query: Query
    worth: float
    watches: list[Watch] = attrs.field(factory=list)
    bands: list[Band] = attrs.field(factory=list)
    told: Sequence[Watch] = ()
    made: int = 0


@attrs.define(eq=False)
class Queue:
    """Rows that are asked about by name, by the moment at which that begins to be worth it.

    Attributes:
        size: most rows in one query.
    """

    size: int
    _heap: list[tuple[float, int, Watch]] = attrs.field(factory=list)
    _numbers: int = 0

    def put(self, watch: Watch, due_at: float) -> None:
        """Put a row in, or give it another moment."""
        watch.due_at = due_at
        self._numbers += 1
        heapq.heappush(self._heap, (due_at, self._numbers, watch))

    def first(self) -> Watch | None:
        """Give the row that is due first; entries that rows have left behind are dropped on the way."""
        while self._heap:
            due_at, _, watch = self._heap[0]
            if watch.due_at == due_at:
                return watch
            heapq.heappop(self._heap)
        return None

    def pop(self) -> Watch:
        """Take the first row out; it must be put back when it was asked about."""
        watch = heapq.heappop(self._heap)[2]
        watch.due_at = math.inf
        return watch


def query_of(watches: Sequence[Watch]) -> Query:
    """Make the query that asks about these by name."""
    if len(watches) == 1:
        return Single(watches[0].endpoint, watches[0].id)
    return Batch(tuple(watch.id for watch in watches), frozenset(watch.endpoint for watch in watches))


def endpoints_of(query: Query) -> frozenset[str]:
    """Give the endpoints that a query is about."""
    return query.endpoints if isinstance(query, Batch) else frozenset({query.endpoint})
