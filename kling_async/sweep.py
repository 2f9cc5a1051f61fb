"""Whom to ask about, in which query, and when next: dearest page first. Pure decisions, no clock, no I/O.

Stage: decide. Before: poller (rows that come and go, answers). After: poller (queries and the next moment).

Theory. A query is worth the waiting that not asking has probably hidden, summed over the tasks it answers (dynamic
acknowledgement: one answer serves all that wait for it). The dearest is asked while it is worth the price of a query.
Two rules more: what was unseen for `late_s` is asked about when enough endings are expected in it, and how many are
enough steers itself so that one lag in a hundred is longer than that; and nothing is unseen for much longer than
`ceiling_s`, whatever the model says. When queries are scarce the price rises first, then the patience, and what waits
gains worth without bound: so nothing starves, and a wrong model costs queries and never a task.

A band of ages is a page of a list (bands). Where a host has no list its tasks wait in a queue by the moment at which
asking about them begins to be worth it, and are asked about in batches, or singly.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from .bands import Band, Lane, Watch
from .hazards import CLIPS, OTHERS, Guess, Hazard, Hazards
from .lookups import MISSES_BEFORE_SINGLE, SOLUTIONS_IDS, is_solution, next_page, plan
from .models import Policy
from .pace import Pace, pace_for
from .queues import Ask, Queue, endpoints_of, query_of
from .reach import Ability, Batch, CursorPage, Form, ListPage, Query, Reach, Single
from .terms import FEW, FIRST_LOOK_S, TICK_S, Prices, Terms

__all__ = [
    "CLIPS",
    "MISSES_BEFORE_SINGLE",
    "OTHERS",
    "Ability",
    "Ask",
    "Batch",
    "CursorPage",
    "Form",
    "Guess",
    "ListPage",
    "Pace",
    "Planner",
    "Query",
    "Reach",
    "Single",
    "Watch",
    "next_page",
    "pace_for",
    "plan",
]

_MANY_BANDS = 16
_VERY_MANY_BANDS = 1000
_WEIGHED_AT_ONCE = 256  # bands, some milliseconds
_PAGE_SIZES = (30, 100, 250, 500)  # a small page costs the host and us less while few tasks are pending
_MOST_PAGES = 1000  # source: service reference, "Query Task (List)"
_REFORM_S = 10.0
_BETTER = 1.25  # by so much must another form be better to be changed to
_YOUNG_S = 5.0  # a task may become visible late in a list
_YOUNG_HOLD_S = 2.0
_FIRST_HOLD_S, _LONGEST_HOLD_S = 2.0, 15.0
_FAILS_BEFORE_HELD = 3  # in a row
_AWAITED_S = 2.0
_MOVED_AT_ONCE = 100  # rows of a class that has just become known, some milliseconds
_LOOKED_THROUGH = 1000  # rows of a queue in one plan, so that a plan stays short
_AHEAD_S = 64.0
_SLACK_S = 2.0  # by which a host's times may differ from ours
_PATIENCE = 0.15  # share of the time unseen after which a band is weighed anew


@attrs.define(kw_only=True, eq=False)
class Planner:
    """Owner of the rows of all pending tasks.

    Attributes:
        policy: prices, patience, sizes.
        reach: what the host has shown it can do.
        rng: source of the jitter.
        hazards: what is known of how long tasks take.
        prices: what asking is worth at this moment.
        rows: task id → row.
        lanes: endpoint → its list.
    """

    policy: Policy
    reach: Reach
    rng: random.Random
    hazards: Hazards = attrs.field(factory=Hazards)
    prices: Prices = attrs.field(init=False)
    rows: dict[str, Watch] = attrs.field(factory=dict, repr=False)
    lanes: dict[str, Lane] = attrs.field(factory=dict, repr=False)
    _singles: Queue = attrs.field(init=False, repr=False)
    _batches: Queue = attrs.field(init=False, repr=False)
    _solutions: Queue = attrs.field(init=False, repr=False)
    _planned_at: float | None = None
    _are_few: bool = True

    def __attrs_post_init__(self) -> None:
        self._singles = Queue(1)
        self._batches = Queue(int(self.policy.batch_size))
        self._solutions = Queue(min(int(self.policy.batch_size), SOLUTIONS_IDS))
        self.prices = Prices(self.policy, self.rng)

    def __repr__(self) -> str:
        bands = sum(len(lane.bands) for lane in self.lanes.values())
        return f"<Planner [{len(self.rows)} rows, {bands} bands | price x{self.prices.dearer:.2g}]>"

    # --- rows that come and go -------------------------------------------------------------------------------------

    def add(self, watch: Watch, kind: str, now: float, *, guess: Guess = CLIPS, age_s: float = 0.0) -> float:
        """Follow a task from now on; give the loop time by which a plan should be made.

        Args:
            watch: its row.
            kind: name of its class.
            now: loop time, seconds.
            guess: how long tasks of its class take, if nothing is known of them.
            age_s: how long ago it was made, seconds.
        """
        lane = self._lane(watch.endpoint)
        watch.hazard = self.hazards.of(kind, guess)
        watch.born_at = watch.seen_at = now - age_s
        watch.order = lane.made
        lane.made += 1
        lane.members += 1
        self.rows[watch.id] = watch
        if lane.is_listed and watch.misses < MISSES_BEFORE_SINGLE:
            lane.enlist(watch)
        else:
            self._enqueue(watch, now)
        return now + min(FIRST_LOOK_S, self.policy.sweep_s)

    def remove(
        self, watch: Watch, now: float, duration_s: float | None = None, *, ended: bool, failed: bool = False
    ) -> None:
        """Follow a task no longer.

        Args:
            watch: its row.
            now: loop time, seconds.
            duration_s: how long the task took, as the host says.
            ended: whether it was seen to end.
            failed: whether it ended so.
        """
        if self.rows.get(watch.id) is not watch or watch.hazard is None:
            return
        form = self._form_of(watch)
        seen_s = (watch.band.seen_at if watch.band is not None else watch.seen_at) - watch.born_at
        del self.rows[watch.id]
        lane = self.lanes[watch.endpoint]
        lane.members -= 1
        if watch.band is not None:
            lane.delist(watch)
        elif watch.due_at < math.inf:
            watch.due_at = math.inf  # what it leaves in its queue counts no more
        if ended:
            self._learn(watch.hazard, form, seen_s, now - watch.born_at, duration_s, failed=failed)

    def _learn(
        self, hazard: Hazard, form: Form, seen_s: float, age_s: float, duration_s: float | None, *, failed: bool
    ) -> None:
        told = duration_s is not None and seen_s - _SLACK_S <= duration_s <= age_s + _SLACK_S
        took_s = min(max(duration_s, seen_s), age_s) if told and duration_s is not None else (seen_s + age_s) / 2
        hazard.ended(seen_s, took_s, failed=failed)
        if len(self.rows) >= FEW:
            self.prices.steer(form, age_s - seen_s, age_s - took_s if told else None)

    def _conclude(self, now: float) -> None:
        """Draw the conclusions of what was seen.

        Rows in a queue get another moment when their class has just become known, and when only few are left.
        """
        fresh = self.hazards.refresh()
        few = len(self.rows) <= FEW
        became_few, self._are_few = few and not self._are_few, few
        waiting: list[Watch] = []
        if fresh or became_few:
            waiting = [w for w in self.rows.values() if (became_few or w.hazard in fresh) and w.due_at < math.inf]
        for watch in waiting[:_MOVED_AT_ONCE]:  # of more, some are due at any moment, and told anew one by one
            watch.due_at = math.inf
            self._enqueue(watch, now)

    def _lane(self, endpoint: str) -> Lane:
        lane = self.lanes.get(endpoint)
        if lane is None:
            lane = self.lanes[endpoint] = Lane(endpoint)
            lane.is_listed = self.reach.usable(endpoint, Form.LIST, 0.0) is not False
        return lane

    def _form_of(self, watch: Watch) -> Form:
        if watch.band is not None:
            return Form.LIST
        return Form.SINGLE if self._queue_of(watch) is self._singles else Form.BATCH

    def _queue_of(self, watch: Watch) -> Queue:
        if watch.misses >= MISSES_BEFORE_SINGLE or not self._can_batch(watch.endpoint):
            return self._singles
        return self._solutions if is_solution(watch.endpoint) else self._batches

    def _can_batch(self, endpoint: str) -> bool:
        return (
            self.policy.batch_size > 1 and self.reach.usable(endpoint, Form.BATCH, self._planned_at or 0.0) is not False
        )

    # --- what asking is worth --------------------------------------------------------------------------------------

    def _terms(self, form: Form) -> Terms:
        """Give what counts at this moment for a form of query."""
        pending = len(self.rows)
        are_known = pending > FEW or all(watch.hazard and watch.hazard.is_known for watch in self.rows.values())
        return self.prices.terms(form, pending, are_known=are_known)

    def _worth_of_row(self, watch: Watch, terms: Terms, now: float) -> float:
        assert watch.hazard is not None
        seen_s, age_s = watch.seen_at - watch.born_at, now - watch.born_at
        unseen_s = age_s - seen_s
        ended, waiting_s = watch.hazard.hidden(seen_s, age_s)
        return terms.worth(ended, waiting_s, unseen_s) + terms.exploring(watch.hazard, seen_s, age_s)

    def _worth_of_band(self, band: Band, terms: Terms, now: float) -> float:
        unseen_s = now - band.seen_at
        if unseen_s < terms.least_s:
            return 0.0
        if now < band.weigh_at:
            return band.worth
        ended, waiting_s = band.hidden(now)
        value = terms.worth(ended, waiting_s, unseen_s)
        for hazard in band.kinds:
            if not hazard.is_known:
                value += terms.exploring(hazard, band.seen_at - band.born_at, now - band.born_at)
        return value

    def _weigh(self, bands: Iterable[Band], terms: Terms, now: float) -> None:
        """Weigh many bands, each only when its worth can have changed by a part: weighing is what a plan costs."""
        for band in bands:
            if now >= band.weigh_at:
                band.worth = self._worth_of_band(band, terms, now)
                unseen_s = now - band.seen_at
                rest_s = terms.late_s - unseen_s
                band.weigh_at = now + (_PATIENCE * unseen_s if rest_s <= 0 else min(_PATIENCE * unseen_s, rest_s))

    def weigh(self, now: float) -> Iterator[None]:
        """Weigh what a plan will have to weigh, a part at a time: the loop may turn in between.

        Args:
            now: loop time, seconds.
        """
        for lane in tuple(self.lanes.values()):
            bands = tuple(lane.bands) if lane.listed else ()
            if len(bands) > _WEIGHED_AT_ONCE:
                terms = self._terms(Form.LIST)
                for start in range(0, len(bands), _WEIGHED_AT_ONCE):
                    self._weigh(bands[start : start + _WEIGHED_AT_ONCE], terms, now)
                    yield

    def _enqueue(self, watch: Watch, now: float) -> None:
        """Put a row into its queue, at the first moment at which asking about it is worth its share of a query."""
        queue = self._queue_of(watch)
        form = Form.SINGLE if queue is self._singles else Form.BATCH
        terms = self._terms(form)
        share = 1.0 / max(1, min(queue.size, len(self.rows)))
        low = max(watch.seen_at + terms.least_s, now)
        high = max(watch.seen_at + terms.ceiling_s, low)
        if self._worth_of_row(watch, terms, low) >= share:
            queue.put(watch, low)
            return
        while high - low > 0.05:
            middle = (low + high) / 2
            if self._worth_of_row(watch, terms, middle) >= share:
                high = middle
            else:
                low = middle
        queue.put(watch, high)

    # --- plans -----------------------------------------------------------------------------------------------------

    def plan(self, now: float, budget: int) -> tuple[list[Ask], bool]:
        """Choose the queries that are worth their price now, the dearest first.

        Args:
            now: loop time, seconds.
            budget: most queries that may be sent now.

        Returns:
            The queries, and whether more would have been worth it. Each one's rows must be given back by `close`.
        """
        passed_s = now - self._planned_at if self._planned_at is not None else 0.0
        self._planned_at = now
        self._conclude(now)
        self._form_lanes(now)
        asks = [ask for lane in self.lanes.values() if now >= lane.held_until for ask in self._pages(lane, now)]
        for queue in (self._singles, self._batches, self._solutions):
            asks += self._named(queue, now, budget)
        asks.sort(key=lambda ask: -ask.worth)
        budget = max(0, budget)
        for ask in asks[budget:]:
            self.close(ask, now)
        self.prices.feel(passed_s, scarce=len(asks) > budget)
        if asks:
            self.prices.draw()
        return asks[:budget], len(asks) > budget

    def told(self, watches: Iterable[Watch], now: float, *, singly: Callable[[str], object]) -> list[Ask]:
        """Choose the fewest queries about tasks that somebody says have ended.

        Args:
            watches: their rows.
            now: loop time, seconds.
            singly: tells of an id whether its task is asked about alone, whatever that costs.

        Returns:
            The queries. Each one's rows must be given back by `close`.
        """
        listed: dict[str, list[Watch]] = {}
        named: dict[int, list[Watch]] = {}
        asks: list[Ask] = []
        queues = (self._singles, self._batches, self._solutions)
        for watch in watches:
            if self.rows.get(watch.id) is not watch:
                continue
            watch.due_at = math.inf  # of a row in a queue: it is out of it meanwhile
            if watch.band is None and not singly(watch.id):
                named.setdefault(queues.index(self._queue_of(watch)), []).append(watch)
            elif watch.band is None or singly(watch.id) or not self.reach.usable(watch.endpoint, Form.LIST, now):
                asks.append(_single(watch))
            else:
                listed.setdefault(watch.endpoint, []).append(watch)
        for endpoint, group in listed.items():
            asks += self._told_pages(self.lanes[endpoint], group, now)
        for index, group in named.items():
            size = queues[index].size
            for chunk in (group[start : start + size] for start in range(0, len(group), size)):
                asks.append(Ask(query_of(chunk), math.inf, chunk, told=chunk))
        return asks

    def _told_pages(self, lane: Lane, watches: Sequence[Watch], now: float) -> Iterator[Ask]:
        """Give the pages of a list on which these are expected; what stands on a page alone is asked about singly."""
        places = {watch.id: lane.place(watch.band, watch.order, now) for watch in watches if watch.band is not None}
        most = int(self.policy.page_size)
        size = min(next((size for size in _PAGE_SIZES if size >= max(places.values()) + 2), most), most)
        cells: dict[int, list[Watch]] = {}
        for watch in watches:
            cells.setdefault(int(places[watch.id] // size), []).append(watch)
        for number, group in cells.items():
            if len(group) == 1 or number >= _MOST_PAGES:
                yield from map(_single, group)
            else:
                bands = list(dict.fromkeys(watch.band for watch in group if watch.band is not None))
                yield Ask(ListPage(lane.endpoint, number + 1, size), math.inf, [], bands, told=group, made=lane.made)

    def _pages(self, lane: Lane, now: float) -> Iterator[Ask]:
        """Give the pages of a list that are worth their price."""
        terms = self._terms(Form.LIST)
        if not lane.listed:
            return
        if len(lane.bands) > _MANY_BANDS:
            self._weigh(lane.bands, terms, now)
        size, cells = self._cells(lane, terms, now)
        for number, (worth, bands) in cells.items():
            if worth >= 1.0:
                yield self._page(lane, number, size, worth, bands)

    def _cells(self, lane: Lane, terms: Terms, now: float) -> tuple[int, dict[int, tuple[float, list[Band]]]]:
        """Sum up what asking is worth by page: (rows of a page, page → worth and bands)."""
        most = int(self.policy.page_size)
        places = lane.places(now)
        depth = max((place + doubt for place, doubt, _ in places), default=0.0) + 2
        size = min(next((size for size in _PAGE_SIZES if size >= depth), most), most)
        cells: dict[int, tuple[float, list[Band]]] = {}
        for place, doubt, band in places:
            number = int(place // size)
            worth = self._worth_of_band(band, terms, now)
            if (place - doubt < number * size and number) or place + doubt >= (number + 1) * size:
                worth *= 0.6  # near a border: perhaps on the next page
            cell = cells.get(number)
            if cell is None:
                cells[number] = (worth, [band])
            else:
                cell[1].append(band)
                cells[number] = (cell[0] + worth, cell[1])
        return size, cells

    def _page(self, lane: Lane, number: int, size: int, worth: float, bands: list[Band]) -> Ask:
        if sum(len(band.rows) for band in bands) == 1:
            (watch,) = (watch for band in bands for watch in band.rows.values())
            return Ask(Single(lane.endpoint, watch.id), worth, [watch])
        if number >= _MOST_PAGES:
            watch = next(iter(bands[0].rows.values()))
            return Ask(Single(lane.endpoint, watch.id), worth, [watch])
        return Ask(ListPage(lane.endpoint, number + 1, size), worth, [], bands, made=lane.made)

    def _named(self, queue: Queue, now: float, budget: int) -> Iterator[Ask]:
        """Give the queries by id that are worth their price."""
        form = Form.SINGLE if queue is self._singles else Form.BATCH
        terms = self._terms(form)
        due: list[tuple[float, Watch]] = []
        most = 2 * max(1, budget) * queue.size
        for _ in range(most + _LOOKED_THROUGH):
            first = queue.first()
            if len(due) >= most or first is None or first.due_at > now:
                break
            watch = queue.pop()
            held_until = self.lanes[watch.endpoint].held_until
            if self._queue_of(watch) is not queue:
                self._enqueue(watch, now)
            elif held_until > now:
                queue.put(watch, held_until)
            else:
                due.append((self._worth_of_row(watch, terms, now), watch))
        due.sort(key=lambda entry: -entry[0])
        for start in range(0, len(due), queue.size):
            chunk = due[start : start + queue.size]
            worth = sum(value for value, _ in chunk)
            watches = [watch for _, watch in chunk]
            if worth < 1.0:
                for watch in watches:
                    self._wait_on(queue, watch, now)
                continue
            while len(watches) < queue.size and queue.first() is not None:  # the others ride along for nothing
                watches.append(queue.pop())
            yield Ask(query_of(watches), worth, watches)

    def _wait_on(self, queue: Queue, watch: Watch, now: float) -> None:
        if queue.size > 1:
            queue.put(watch, now + TICK_S)
            return
        self._enqueue(watch, now)
        if watch.due_at <= now:
            queue.put(watch, now + TICK_S)

    # --- answers ---------------------------------------------------------------------------------------------------

    def seen(self, watch: Watch, now: float) -> None:
        """Note that a task is alive."""
        if self.rows.get(watch.id) is not watch or watch.hazard is None:
            return
        if watch.band is not None:
            if len(watch.band.rows) == 1:
                watch.band.alive(now)
            return
        watch.hazard.alive(watch.seen_at - watch.born_at, now - watch.born_at)
        watch.hazard.explored_s = max(watch.hazard.explored_s, now - watch.born_at)
        watch.seen_at = now

    def aim(self, ask: Ask, now: float) -> None:
        """Choose the page of a query anew when its turn has come: tasks made since it was planned push its rows down.

        Args:
            ask: of a page.
            now: loop time, seconds.
        """
        page = ask.query
        assert isinstance(page, ListPage)
        lane = self.lanes[page.endpoint]
        if ask.made == lane.made:
            return
        ask.made = lane.made
        rows = sum(len(band.rows) for band in ask.bands)
        if rows:
            places = sum(len(band.rows) * lane.place(band, (band.first + band.last) / 2, now) for band in ask.bands)
            number = min(int(places / rows // page.size), _MOST_PAGES - 1)
            ask.query = ListPage(page.endpoint, number + 1, page.size)

    def page_seen(self, ask: Ask, found: Sequence[tuple[int, Watch]], now: float) -> list[Watch]:
        """Take an answered page.

        Args:
            ask: the page.
            found: index on the page and row of every task of ours on it, also of those that have ended.
            now: loop time, seconds.

        Returns:
            Rows that should have been on it, and were not.
        """
        page = ask.query
        assert isinstance(page, ListPage)
        lane = self.lanes[page.endpoint]
        low = (page.index - 1) * page.size
        touched = {watch.band for _, watch in found}
        lane.shown(found, now, low=low)
        high, pushed = low + page.size, lane.made - ask.made
        absent: list[Watch] = []
        for band in ask.bands:
            if band.seen_at == now:  # all of it was found; of a divided one this is what was not
                continue
            middle = lane.place(band, (band.first + band.last) / 2, now) - pushed
            if pushed > 0 and not low <= middle < high:  # it was no longer expected on the page when that was aimed at
                continue
            rows, was_moved = tuple(band.rows.values()), False
            # The rest of a divided band may well stand beyond a border, and so may one that tasks made since the page
            # was chosen have pushed over it; any other of which nothing was found was not where it was expected.
            may_be_beyond = band in touched or (
                pushed > 0 and any(low <= lane.place(band, watch.order, now) - pushed < high for watch in rows)
            )
            for watch in rows:
                if may_be_beyond and not low <= lane.place(band, watch.order, now) < high:
                    continue
                if now - watch.born_at < _YOUNG_S:
                    lane.held_until = max(lane.held_until, now + _YOUNG_HOLD_S)
                    continue
                absent.append(watch)
                if not was_moved:
                    was_moved = True
                    lane.missed(band, low, high, now)
        return absent

    def forgive(self, watch: Watch) -> None:
        """Note that the page just taken shows a task again that was missed, or asked about singly."""
        watch.misses = 0
        lane = self.lanes[watch.endpoint]
        if lane.is_listed and watch.band is None and self.rows.get(watch.id) is watch:
            watch.due_at = math.inf
            lane.restore(watch)

    def awaits(self, watch: Watch, now: float) -> None:
        """Note that an answer about a task is on its way already: a task alone is left alone meanwhile."""
        if self.rows.get(watch.id) is not watch:
            return
        if watch.band is None:
            if watch.due_at < math.inf:  # it stands in its queue
                self._queue_of(watch).put(watch, max(watch.due_at, now + _AWAITED_S))
        elif len(watch.band.rows) == 1:
            watch.band.worth, watch.band.weigh_at = 0.0, now + _AWAITED_S

    def absent(self, watch: Watch, now: float) -> None:
        """Note that an answer about a task by name did not show it: it is asked about again after a while."""
        if self.rows.get(watch.id) is watch:
            if watch.band is not None:
                self.lanes[watch.endpoint].delist(watch)
            self._queue_of(watch).put(watch, now + self.policy.sweep_s)

    def demote(self, watch: Watch, now: float) -> None:
        """Ask about a task singly from now on, if it was missed too often."""
        if watch.misses >= MISSES_BEFORE_SINGLE and watch.band is not None and self.rows.get(watch.id) is watch:
            self.lanes[watch.endpoint].delist(watch)
            self._enqueue(watch, now)

    def answered(self, ask: Ask) -> None:
        """Note that a query was answered."""
        for endpoint in endpoints_of(ask.query):
            if (lane := self.lanes.get(endpoint)) is not None:
                lane.fails, lane.held_s = 0, 0.0

    def failed(self, ask: Ask, now: float) -> None:
        """Note that a query was of no use: its rows are left alone for a while, longer each time.

        So are all of an endpoint that keeps failing, because otherwise what it owes would always come first.
        """
        held_s = _FIRST_HOLD_S
        for endpoint in endpoints_of(ask.query):
            if (lane := self.lanes.get(endpoint)) is not None:
                lane.fails += 1
                held_s = lane.held_s = min(max(_FIRST_HOLD_S, 2 * lane.held_s), _LONGEST_HOLD_S)
                if ask.bands or lane.fails >= _FAILS_BEFORE_HELD:
                    lane.held_until = now + held_s
        for watch in ask.watches:
            if watch.band is None and self.rows.get(watch.id) is watch:
                self._queue_of(watch).put(watch, now + held_s)
            elif watch.band is not None:
                self.lanes[watch.endpoint].held_until = now + held_s

    def close(self, ask: Ask, now: float) -> None:
        """Give back the rows of a query, whatever became of it."""
        for watch in ask.watches:
            if watch.band is None and watch.due_at == math.inf and self.rows.get(watch.id) is watch:
                self._enqueue(watch, now)

    # --- forms -----------------------------------------------------------------------------------------------------

    def _form_lanes(self, now: float) -> None:
        """Choose for each endpoint whether its tasks are asked about by pages or by name: what answers more."""
        batchable = sum(lane.members for name, lane in self.lanes.items() if self._can_batch(name))
        for lane in self.lanes.values():
            usable = self.reach.usable(lane.endpoint, Form.LIST, now)
            stays = lane.is_listed if usable is not False else not lane.is_listed
            if stays and now - lane.formed_at < _REFORM_S:
                continue
            lane.formed_at = now
            wants = usable is not False and (not lane.members or self._prefers_list(lane, batchable, now))
            if wants != lane.is_listed:
                self._reform(lane, now, listed=wants)

    def _prefers_list(self, lane: Lane, batchable: int, now: float) -> bool:
        if not self._can_batch(lane.endpoint):
            return True
        if lane.listed:
            lane.pages = max(1.0, math.ceil(lane.depth(now) / self.policy.page_size))
        by_page = lane.members / lane.pages
        size = self._solutions.size if is_solution(lane.endpoint) else self._batches.size
        by_batch = min(batchable, size)
        untried = self.reach.usable(lane.endpoint, Form.LIST, now) is None
        if untried and self.reach.usable(lane.endpoint, Form.BATCH, now) is True:
            return by_page > by_batch  # of two that answer the same, the one known to work saves the attempt
        return by_page * (_BETTER if lane.is_listed else 1 / _BETTER) >= by_batch

    def _reform(self, lane: Lane, now: float, *, listed: bool) -> None:
        lane.is_listed = listed
        if listed:
            moving = [
                watch
                for watch in self.rows.values()
                if watch.endpoint == lane.endpoint and watch.band is None and watch.misses < MISSES_BEFORE_SINGLE
            ]
            for watch in sorted(moving, key=lambda watch: watch.order):
                watch.due_at = math.inf
                lane.enlist(watch)
            return
        for watch in list(lane.rows()):
            lane.delist(watch)
            self._enqueue(watch, now)

    # --- when ------------------------------------------------------------------------------------------------------

    def next_moment(self, now: float) -> float:
        """Give the loop time at which the next query will be worth its price, if nothing happens until then."""
        self._conclude(now)
        moments = [
            first.due_at for queue in (self._singles, self._batches, self._solutions) if (first := queue.first())
        ]
        bands = sum(len(lane.bands) for lane in self.lanes.values() if lane.listed)
        if bands > _MANY_BANDS:
            tick_s = TICK_S if bands <= _VERY_MANY_BANDS else 2 * TICK_S
            moments.append(now + tick_s * self.prices.early)
        elif bands:
            moments.append(self._next_page_at(now))
        return min(moments, default=now + _AHEAD_S)

    def _next_page_at(self, now: float) -> float:
        terms = self._terms(Form.LIST)
        lanes = [lane for lane in self.lanes.values() if lane.listed]

        def is_worth(moment: float) -> bool:
            return any(
                worth >= 1.0
                for lane in lanes
                if moment >= lane.held_until
                for worth, _ in self._cells(lane, terms, moment)[1].values()
            )

        if is_worth(now):
            return now
        low, step_s = 0.0, 0.25
        while step_s < _AHEAD_S and not is_worth(now + step_s):
            low, step_s = step_s, step_s * 2
        high = step_s
        while high - low > 0.1:
            middle = (low + high) / 2
            if is_worth(now + middle):
                high = middle
            else:
                low = middle
        return now + high


def _single(watch: Watch) -> Ask:
    """Ask about one task that somebody says has ended."""
    return Ask(Single(watch.endpoint, watch.id), math.inf, [watch], told=[watch])
