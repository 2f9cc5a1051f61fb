"""What the planner is compared with: loops per task, sweeps of whole lists, the best there can be, and floors.

Loops are computed on the very tasks of the run, round trips included. Theory and sources: inspection of systems that
fail unseen (Barlow, Hunter and Proschan) for the optimum of single queries; a page asked r times a second hides an
ending for 1/(2r) on average, which gives the floors of pages.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import attrs
import backoff
from _service import ROUND_TRIP_S, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from _world import Planned, Sort

ROWS = 500  # of a full page


@attrs.frozen(kw_only=True)
class Cost:
    """What following tasks cost and how late their ends were seen, over the tasks that ended while it was counted."""

    tasks: int
    queries: float
    rows: float
    lags: Sequence[float]

    @property
    def per_task(self) -> float:
        """Queries per task."""
        return self.queries / self.tasks

    @property
    def mean_s(self) -> float:
        """Mean lag, seconds."""
        return statistics.fmean(self.lags)

    @property
    def p99_s(self) -> float:
        """Lag that 99 of 100 tasks do not exceed, seconds."""
        return percentile(self.lags, 0.99)


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that this share does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def cost_of(service: Service, *, start: float | None = None, until: float | None = None) -> Cost:
    """Count what a run cost, between two moments; all that is counted, if they are left out."""
    workload = service.workload
    start = start if start is not None else 0.0 if workload.burst else workload.warm_s
    until = until if until is not None else workload.until
    ended = [task for task in service.jobs.values() if start <= task.ends_at < until and task.known_at >= 0]
    asked = [rows for at, _form, rows in service.asked if start <= at < until]
    return Cost(tasks=len(ended), queries=len(asked), rows=sum(asked), lags=[task.lag_s for task in ended])


def join(costs: Iterable[Cost]) -> Cost:
    """Put runs of several seeds together."""
    several = list(costs)
    return Cost(
        tasks=sum(cost.tasks for cost in several),
        queries=sum(cost.queries for cost in several),
        rows=sum(cost.rows for cost in several),
        lags=[lag for cost in several for lag in cost.lags],
    )


# --- a loop per task -----------------------------------------------------------------------------------------------


def loop_per_task(tasks: Sequence[Planned], delays: Callable[[], Iterator[float]]) -> Cost:
    """Ask about each task alone, after each of the delays; the lag ends when the answer is there."""
    queries = 0
    lags: list[float] = []
    for task in tasks:
        age = ROUND_TRIP_S / 2  # when its maker knows of it
        ends = task.ends_at - task.made_at
        for delay_s in delays():
            queries += 1
            age += delay_s + ROUND_TRIP_S
            if age - ROUND_TRIP_S / 2 >= ends:
                lags.append(age - ends)
                break
    return Cost(tasks=len(tasks), queries=queries, rows=queries, lags=lags)


def every(seconds: float) -> Callable[[], Iterator[float]]:
    """Give the delays of `while True: sleep, ask`."""
    return lambda: itertools.repeat(seconds)


def usual(cap_s: float, rng: random.Random) -> Callable[[], Iterator[float]]:
    """Give the delays of `backoff.on_predicate(backoff.expo, jitter=full_jitter, max_value=cap)`, the library's own."""

    def delays() -> Iterator[float]:
        waits = backoff.expo(max_value=cap_s)
        next(waits)  # its first value is for priming
        for value in waits:
            yield rng.uniform(0, value)

    return delays


# --- a sweep of whole lists ----------------------------------------------------------------------------------------


def fixed_sweep(service: Service, seconds: float) -> Cost:
    """Read every list from its top down to the oldest task that is pending, every so many seconds."""
    workload = service.workload
    queries = rows = 0
    lags: list[float] = []
    ended = 0
    for endpoint in sorted({sort.endpoint for sort in workload.sorts}):
        listed = service.rows_of(endpoint)
        top = 0
        open_rows: dict[int, Planned] = {}
        for number in itertools.count(1):
            now = number * seconds
            if now > workload.until + seconds:
                break
            while top < len(listed) and listed[top].made_at <= now:
                planned = listed[top].planned
                if planned is not None:
                    open_rows[top] = planned
                top += 1
            if not open_rows:
                continue
            first = next(iter(open_rows))
            pages = math.ceil((top - first) / ROWS)
            counts = workload.warm_s <= now < workload.until
            queries += pages * counts
            rows += min(top, pages * ROWS) * counts
            for index in [index for index, planned in open_rows.items() if planned.ends_at <= now]:
                planned = open_rows.pop(index)
                if workload.warm_s <= planned.ends_at < workload.until:
                    ended += 1
                    lags.append(now + ROUND_TRIP_S / 2 - planned.ends_at)
    return Cost(tasks=ended, queries=queries, rows=rows, lags=lags)


# --- the best there can be -----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Floor:
    """Bounds for asking pages of 500 rows whose rates of endings are known.

    Attributes:
        mean: queries per task times mean lag, seconds; none can have less.
        p99: queries per task times the lag that 99 of 100 do not exceed.
    """

    mean: float
    p99: float


def floor_of(service: Service) -> Floor:
    """Find the bounds for a workload: how often something ends on each page.

    With rates H of the pages, X their sum: the mean lag at fixed cost is least when page k is asked in proportion to
    sqrt(H_k), so queries per task times mean lag is at least (sum sqrt(H_k))^2 / (2 X^2); for the tail all pages that
    together hold 99 of 100 endings must be asked once in L.
    """
    workload = service.workload
    span_s = workload.span_s
    pages: Counter[tuple[str, int]] = Counter()
    for endpoint in {sort.endpoint for sort in workload.sorts}:
        listed = service.rows_of(endpoint)
        made = [row.made_at for row in listed]
        for index, row in enumerate(listed):
            task = row.planned
            if task is not None and workload.counts(task):
                above = _count_until(made, task.ends_at) - 1 - index
                pages[endpoint, above // ROWS] += 1
    rates = sorted((number / span_s for number in pages.values()), reverse=True)
    total = sum(rates)
    held, needed = 0.0, 0
    while held < 0.99 * total:
        held += rates[needed]
        needed += 1
    return Floor(mean=sum(map(math.sqrt, rates)) ** 2 / (2 * total**2), p99=needed / total)


def _count_until(ordered: Sequence[float], moment: float) -> int:
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if ordered[middle] <= moment else (low, middle)
    return low


# --- the optimum of single queries ---------------------------------------------------------------------------------

STEP_S = 1.0
HORIZON_S = 1800.0
WIDEST_S = 120.0
SAMPLES = 40_000


@attrs.frozen(kw_only=True)
class Optimum:
    """The least of price x queries + lag that single queries can reach, with the law of each sort known.

    Attributes:
        price_s: seconds of lag that a query is worth.
        per_task: queries per task.
        mean_s: mean lag, seconds.
    """

    price_s: float
    per_task: float
    mean_s: float


def optimum(sorts: Sequence[Sort], price_s: float) -> Optimum:
    """Find it by dynamic programming backwards in age, a second at a time; over all sorts, by their shares."""
    total = sum(sort.share for sort in sorts)
    queries = lag = 0.0
    for sort in sorts:
        one, late = _best_of(_survival(sort), price_s)
        queries += one * sort.share / total
        lag += late * sort.share / total
    return Optimum(price_s=price_s, per_task=queries, mean_s=lag + ROUND_TRIP_S)


def _survival(sort: Sort) -> list[float]:
    rng = random.Random(5)
    ends: dict[int, int] = defaultdict(int)
    for _ in range(SAMPLES):
        ends[math.ceil(sort.draw(rng)[0] / STEP_S)] += 1
    alive, left = [], SAMPLES
    for step in range(int(HORIZON_S / STEP_S) + 1):
        left -= ends[step]
        alive.append(left / SAMPLES)
    return alive


def _best_of(alive: Sequence[float], price_s: float) -> tuple[float, float]:
    """Give queries and lag per task of the cheapest moments to ask.

    value[i]: the least cost from step i on, given that the task was seen alive then, times the chance of that.
    """
    last = max(step for step, share in enumerate(alive) if share > 0) + 1
    ended = [1 - share for share in alive]
    # area[i]: lag that builds up until step i if nothing is ever seen.
    area = [0.0, *itertools.accumulate((a + b) / 2 * STEP_S for a, b in itertools.pairwise(ended))]
    widest = int(WIDEST_S / STEP_S)
    last = min(last, len(alive) - 1)
    value, asked, late = [0.0] * (last + 1), [0.0] * (last + 1), [0.0] * (last + 1)
    for i in range(last - 1, -1, -1):
        share, dead, begun = alive[i], ended[i], area[i]
        best = (math.inf, i + 1, 0.0)
        for k in range(i + 1, min(last, i + widest) + 1):
            hidden = area[k] - begun - dead * (k - i) * STEP_S
            cost = price_s * share + hidden + value[k]
            if cost < best[0]:
                best = (cost, k, hidden)
        cost, k, hidden = best
        value[i] = cost
        asked[i] = share + asked[k]
        late[i] = hidden + late[k]
    return asked[0], late[0]
