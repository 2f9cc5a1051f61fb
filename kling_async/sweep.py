"""Whom to ask about, in how few queries, and when next: pure decisions, no clock, no I/O.

Stage: decide. Before: poller (rows and ages). After: poller (queries and the next moment). This planner is the simple
one, a jittered sweep over everything that is pending; another can replace it behind `plan`, `next_page` and
`next_sweep_s`.

Theory. One sweep clock for all tasks, never a timer per task: per-task jitter would unbatch every question. A page of
a list answers for up to 500 tasks, a batch for 20, a single query for one, so each endpoint is asked in the form that
needs the fewest queries of those its host has shown to answer. A form nobody has tried is tried once, when it would
save something; what a host refuses is not asked again for a day, and never hurts a job.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

import attrs

from .models import Policy


class Form(StrEnum):
    """How a host can be asked about tasks."""

    SINGLE = "single"
    BATCH = "batch"
    LIST = "list"


@attrs.frozen
class Single:
    """One task, by its task id or (`external`) by its external id."""

    endpoint: str
    id: str
    external: bool = False


@attrs.frozen
class Batch:
    """Several tasks of any endpoints, all by task id or all by external id."""

    ids: tuple[str, ...]
    endpoints: frozenset[str]
    external: bool = False


@attrs.frozen
class ListPage:
    """One page of an endpoint's own list; `index` counts from 1.

    `task_ids` and `external_ids` tell which rows it is asked for: those known by their task id, or by ours.
    """

    endpoint: str
    index: int
    size: int
    task_ids: bool = True
    external_ids: bool = False


Query = Single | Batch | ListPage


@attrs.frozen
class CursorPage:
    """One page of the new standard's list of the whole account; asked for by users only, never by a sweep."""

    path: str
    fields: Mapping[str, object]


@attrs.define
class Watch:
    """One row of the planner: a task to ask about.

    Attributes:
        endpoint: name of its endpoint.
        id: its task id, or its external id while no task id is known.
        external: which of the two `id` is.
        asked_at: loop time at which it was last asked about, seconds.
        misses: answers in a row that should have held it and did not.
    """

    endpoint: str
    id: str
    external: bool
    asked_at: float
    misses: int = 0


# --- what a host has shown it can do -------------------------------------------------------------------------------

_FORGET_AFTER_S = 86_400.0  # abilities are tried again daily
_FRUITLESS_TRIES = 2
_REST_S = 300.0


@attrs.define
class Ability:
    """What is known about one form of query on one endpoint of one host.

    Attributes:
        works: True, False, or None: not tried yet.
        since: loop time of that knowledge, seconds; infinite for what is documented, which is not tried again.
        fruitless: tries that were answered and held none of the tasks asked about.
        finds_external: whether rows were found by, or carried, external ids.
        failures: queries in a row that got no usable answer.
        rests_until: loop time until which it is not used, because it kept failing while others did not, seconds.
    """

    works: bool | None = None
    since: float = 0.0
    fruitless: int = 0
    finds_external: bool | None = None
    failures: int = 0
    rests_until: float = 0.0


@attrs.define
class Reach:
    """What a host has shown it can do, per endpoint and form; learned, beginning with what is documented.

    Attributes:
        prior: gives what is documented of a form before it was ever used.
    """

    prior: Callable[[str, Form], Ability] = attrs.field(default=lambda _endpoint, _form: Ability(), repr=False)
    _abilities: dict[tuple[str, Form], Ability] = attrs.field(factory=dict)
    _rows: dict[str, int] = attrs.field(factory=dict)

    def of(self, endpoint: str, form: Form) -> Ability:
        """Give what is known, to read or to change."""
        key = (endpoint, form)
        ability = self._abilities.get(key)
        if ability is None:
            ability = self._abilities[key] = self.prior(endpoint, form)
        return ability

    def usable(self, endpoint: str, form: Form, now: float) -> bool | None:
        """Tell whether a form works; None: not known, or not known any more."""
        if form is Form.SINGLE:
            return True
        ability = self.of(endpoint, form)
        if ability.works is False and now - ability.since >= _FORGET_AFTER_S:
            self._abilities[endpoint, form] = Ability(finds_external=ability.finds_external or None)
            return None
        return False if now < ability.rests_until else ability.works

    def answered(self, endpoint: str, form: Form, *, found: int, now: float) -> None:
        """Note an answer that held `found` of the tasks asked about."""
        ability = self.of(endpoint, form)
        if found:
            ability.works, ability.since, ability.fruitless = True, now, 0
        elif ability.works is None:
            ability.fruitless += 1
            if ability.fruitless >= _FRUITLESS_TRIES:
                ability.works, ability.since = False, now

    def rests(self, endpoint: str, form: Form, now: float) -> None:
        """Note that a form keeps failing on a host that answers otherwise: it is not used for a while."""
        ability = self.of(endpoint, form)
        ability.rests_until, ability.failures = now + _REST_S, 0

    def refused(self, endpoint: str, form: Form, now: float) -> None:
        """Note that the host does not have this form."""
        ability = self.of(endpoint, form)
        ability.works, ability.since = False, now

    def found_external(self, endpoint: str, form: Form, *, found: bool) -> None:
        """Note whether a task that surely exists was found by its external id; found once counts for ever."""
        ability = self.of(endpoint, form)
        ability.finds_external = True if found else ability.finds_external or False

    def can_find_external(self, endpoint: str) -> bool | None:
        """Tell whether any form finds tasks by external id; None: not shown either way."""
        known = [self.of(endpoint, form).finds_external for form in Form]
        if any(known):
            return True
        return False if False in known else None

    def walked(self, endpoint: str, rows: int) -> None:
        """Remember how many rows from the top of its list the last sweep of this endpoint had to read."""
        self._rows[endpoint] = rows

    def rows(self, endpoint: str) -> int:
        """Give the number of rows from the top of its list that a sweep of this endpoint is expected to read."""
        return self._rows.get(endpoint, 0)


# --- planning ------------------------------------------------------------------------------------------------------

MISSES_BEFORE_SINGLE = 2
_SOLUTIONS = 20  # ids in one batch of the Solutions API; source: service reference, "Solutions API"
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
        groups[watch.external, _is_solution(watch.endpoint)].append(watch)
    for (_, solution), group in groups.items():
        # Across endpoints, so that the first batch holds the longest unasked.
        group.sort(key=lambda watch: watch.asked_at)
        most = min(size, _SOLUTIONS) if solution else size
        for start in range(0, len(group), most):
            yield group[start : start + most]


def _is_solution(endpoint: str) -> bool:
    """Tell whether a task is asked about at the Solutions API's own place."""
    return endpoint.startswith("solutions/")


def _batch_of(watches: Sequence[Watch]) -> Batch:
    return Batch(
        tuple(dict.fromkeys(watch.id for watch in watches)),
        frozenset(watch.endpoint for watch in watches),
        watches[0].external,
    )


# --- when ----------------------------------------------------------------------------------------------------------

_FIRST_SWEEP_S = 1.0
_EXPLORING_SWEEPS = 3
# A query is worth so many seconds of waiting. Chosen by simulation of 1,000 tasks made at once, with the service's
# durations: about 0.18 queries a task, 5 s of lag in the mean, 19 s for the slowest hundredth.
_PRICE_S = 32.0
_FEW = 10
_LONG_RUNNING_S = 300.0
_PATIENCE = 0.05  # share of their age for which tasks that have run long are left alone
_HALF_LIFE_S = 60.0
_PRIOR_S = 20.0


@attrs.define
class Endings:
    """How many tasks end per second, as seen lately: counted, and forgotten with a half-life of a minute."""

    _count: float = 0.0
    _span_s: float = 0.0
    _at: float | None = None

    def note(self, ended: int, now: float) -> None:
        """Count tasks that were seen to end."""
        # A loop's time does not begin at 0: the first note begins the span, and does not end a long one.
        passed_s = 0.0 if self._at is None else max(0.0, now - self._at)
        kept = 0.5 ** (passed_s / _HALF_LIFE_S)
        self._count = self._count * kept + ended
        self._span_s = self._span_s * kept + passed_s
        self._at = now

    def per_s(self) -> float:
        """Give the rate; never quite zero, since something may always end."""
        return (self._count + 1) / (self._span_s + _PRIOR_S)


@attrs.frozen(kw_only=True)
class Load:
    """What the time of the next sweep depends on.

    Attributes:
        sweeps: how many there were since something became pending after nothing was.
        pending: tasks being followed.
        queries: queries that the last sweep over all of them took.
        youngest_s: age of the task accepted last, seconds.
        endings_per_s: how many tasks end per second, lately.
    """

    sweeps: int
    pending: int
    queries: int
    youngest_s: float
    endings_per_s: float


def next_sweep_s(load: Load, policy: Policy, rng: random.Random) -> float:
    """Give the seconds until the next sweep.

    The first ones come after 1, 2, 4 seconds, so that quick refusals and short clips are seen at once; a few tasks are
    asked about every `sweep_s`. With many, the interval is the one at which the waiting that a sweep ends is worth its
    queries (the square-root rule of inspection theory), at most `late_s`; tasks that have run long are asked about
    more seldom, at least every `ceiling_s`. The sweep is jittered, never the task.
    """
    if load.sweeps < _EXPLORING_SWEEPS:
        usual = min(policy.sweep_s, _FIRST_SWEEP_S * 2.0**load.sweeps)
    elif load.pending <= _FEW and load.youngest_s < _LONG_RUNNING_S:
        usual = policy.sweep_s
    else:
        longest = min(max(policy.late_s, _PATIENCE * load.youngest_s), max(policy.late_s, policy.ceiling_s))
        worth = math.sqrt(2 * _PRICE_S * max(1, load.queries) / load.endings_per_s)
        usual = max(policy.sweep_s, min(worth, longest))
    return usual * rng.uniform(1 - policy.jitter, 1 + policy.jitter)


@attrs.define
class Pace:
    """How many queries may be sent: a token bucket whose rate is learned.

    Attributes:
        rate: queries per second; starts at 10, grows by a tenth a second while more is wanted and nobody complains,
            halves on a complaint.
        most: upper bound of the rate: the user's, or 100.
        burst: tokens kept while nothing is asked, so that a sweep need not be spread.
        left: tokens left; below zero when pages were read on.
    """

    rate: float = 10.0
    most: float = 100.0
    burst: float = 20.0
    left: float = 20.0
    _at: float = 0.0
    _grown_at: float = 0.0

    def tokens(self, now: float) -> int:
        """Give the number of queries that may be sent now."""
        self.left = min(max(self.burst, self.rate), self.left + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        return max(0, int(self.left))

    def spend(self, queries: int) -> None:
        """Take tokens for queries that were sent; pages read on may overdraw a little."""
        self.left -= queries

    def wanted_more(self, now: float) -> None:
        """Note that a sweep did not get all the queries it wanted."""
        if now - self._grown_at >= 1.0:
            self.rate, self._grown_at = min(self.most, self.rate * 1.1), now

    def complaint(self) -> None:
        """Note that the host asked for less."""
        self.rate = max(min(0.5, self.most), self.rate / 2)

    def wait_s(self) -> float:
        """Give the seconds until the next token."""
        return max(0.0, (1 - self.left) / self.rate)


def pace_for(policy: Policy) -> Pace:
    """Make the pace that a policy asks for."""
    if policy.queries_per_s is None:
        return Pace()
    rate = policy.queries_per_s
    return Pace(rate=min(10.0, rate), most=rate, burst=max(1.0, min(20.0, rate)), left=max(1.0, min(20.0, rate)))
