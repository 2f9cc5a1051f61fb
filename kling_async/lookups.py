"""How tasks are asked about that must be asked now: in the fewest queries. Pure, no clock, no I/O.

Stage: decide. Before: searcher (jobs not known to have a task). After: poller. Tasks that are merely pending are
weighed by sweep instead, which knows how likely they are to have ended; here the moment is given, and each endpoint is
asked in the form that needs the fewest queries.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import attrs

from .bands import Watch
from .models import Policy
from .reach import Batch, Form, ListPage, Query, Reach, Single

MISSES_BEFORE_SINGLE = 2
SOLUTIONS_IDS = 20  # ids in one batch of the Solutions API; source: service reference, "Solutions API"
_PAGE_SIZES = (30, 100, 250, 500)  # a small page costs the host and us less while few tasks are pending


def plan(watches: Iterable[Watch], reach: Reach, policy: Policy, now: float, budget: int) -> tuple[Query, ...]:
    """Choose the fewest queries that ask about every watch, the longest unasked first.

    Args:
        watches: rows that are due; not changed.
        reach: what the host has shown it can do.
        policy: `batch_size` ids per batch query, `page_size` rows per list page.
        now: loop time, seconds.
        budget: most queries that may be sent now; what does not fit waits, and is older next time.

    Returns:
        Queries ordered by the longest unasked watch in each. For n tasks of one endpoint: one per list page, else
        ceil(n / batch_size), else n.

    Source: service reference, "Query Task" (batch, list, single).
    """
    groups: dict[tuple[str, bool], list[Watch]] = defaultdict(list)
    for watch in sorted(watches, key=lambda watch: watch.asked_at):
        groups[watch.endpoint, watch.external].append(watch)
    aged: list[tuple[float, Query]] = []
    batched: list[Watch] = []
    listed: dict[str, list[Watch]] = defaultdict(list)
    for (endpoint, external), group in groups.items():
        normal = [watch for watch in group if watch.misses < MISSES_BEFORE_SINGLE]
        form = _cheapest(endpoint, normal, reach, policy, now, external=external)
        if form is Form.LIST:
            listed[endpoint].extend(normal)
        elif form is Form.BATCH:
            batched.extend(normal)
        singly = group if form is Form.SINGLE else [w for w in group if w.misses >= MISSES_BEFORE_SINGLE]
        aged.extend((watch.asked_at, Single(endpoint, watch.id, watch.external)) for watch in singly)
    for endpoint, group in listed.items():
        oldest = min(watch.asked_at for watch in group)
        rows = max(2 * len(group), reach.rows(endpoint))  # finished tasks stand between pending ones
        kinds = {watch.external for watch in group}
        page = ListPage(endpoint, 1, _page_size(rows, policy), task_ids=False in kinds, external_ids=True in kinds)
        aged.append((oldest, page))
    aged.extend((batch[0].asked_at, _batch_of(batch)) for batch in _batches(batched, policy.batch_size))
    aged.sort(key=lambda entry: entry[0])
    return tuple(query for _, query in aged[: max(0, budget)])


def _cheapest(
    endpoint: str, group: Sequence[Watch], reach: Reach, policy: Policy, now: float, *, external: bool
) -> Form:
    """Choose between the forms by the number of queries; one not tried yet is tried when it would save some."""
    if len(group) < 2:
        return Form.SINGLE
    pages = math.ceil(max(reach.rows(endpoint), len(group)) / policy.page_size)
    batches = math.ceil(len(group) / policy.batch_size)
    costs = {Form.LIST: pages, Form.BATCH: batches}
    # Of two that cost the same, the one that is known to work saves the attempt.
    for form in sorted(costs, key=lambda form: (costs[form], not reach.usable(endpoint, form, now))):
        if costs[form] >= len(group) or (external and reach.of(endpoint, form).finds_external is False):
            continue
        if reach.usable(endpoint, form, now) is not False:
            return form
    return Form.SINGLE


def _page_size(rows: int, policy: Policy) -> int:
    # One small page where that will hold them all; full pages otherwise, since each costs a query whatever its size.
    return min(next((size for size in _PAGE_SIZES if size >= rows), policy.page_size), policy.page_size)


def next_page(page: ListPage, rows: int, wanted: int) -> ListPage | None:
    """Choose whether a list is read on.

    Args:
        page: the page just read.
        rows: how many rows it held.
        wanted: how many watches of this endpoint are still unseen.

    Returns:
        The next page, or None: all were seen, the list ended, or single queries are cheaper than searching on.
        Pages are never made larger on the way: that would shift their borders.
    """
    if wanted == 0 or rows < page.size or (page.index >= 2 and wanted <= 1):
        return None
    most = 2 + math.ceil(2 * wanted / page.size) + page.index // 2
    return attrs.evolve(page, index=page.index + 1) if page.index < min(most, 1000) else None


def _batches(watches: Sequence[Watch], size: int) -> Iterable[Sequence[Watch]]:
    groups: dict[tuple[bool, bool], list[Watch]] = defaultdict(list)
    for watch in watches:
        groups[watch.external, is_solution(watch.endpoint)].append(watch)
    for (_, solution), group in groups.items():
        # Across endpoints, so that the first batch holds the longest unasked.
        group.sort(key=lambda watch: watch.asked_at)
        most = min(size, SOLUTIONS_IDS) if solution else size
        for start in range(0, len(group), most):
            yield group[start : start + most]


def is_solution(endpoint: str) -> bool:
    """Tell whether a task is asked about at the Solutions API's own place."""
    return endpoint.startswith("solutions/")


def _batch_of(watches: Sequence[Watch]) -> Batch:
    return Batch(
        tuple(dict.fromkeys(watch.id for watch in watches)),
        frozenset(watch.endpoint for watch in watches),
        watches[0].external,
    )
