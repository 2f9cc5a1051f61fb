"""sweep.py: the planner asks the dearest query first, in the form that answers most, and nothing ever starves."""

import math
import random
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async import Policy
from kling_async.bands import Lane, Watch
from kling_async.hazards import OTHERS, Hazard
from kling_async.pace import Pace, pace_for
from kling_async.queues import Ask
from kling_async.reach import Ability, Batch, Form, ListPage, Query, Reach, Single
from kling_async.sweep import Planner

T2V, I2V = "text2video", "image2video"


@attrs.define(eq=False)
class Service:
    """A host in virtual time, and the planner that follows its tasks.

    Attributes:
        ends: task id → when it ends.
        lists: endpoint → ids from the oldest to the newest, None for other users'.
        hides: ids that no list shows.
        lag_s: seconds until a list shows a task.
    """

    planner: Planner
    now: float = 1000.0
    ends: dict[str, float] = attrs.field(factory=dict)
    made: dict[str, float] = attrs.field(factory=dict)
    lists: dict[str, list[str | None]] = attrs.field(factory=dict)
    hides: set[str] = attrs.field(factory=set)
    lag_s: float = 0.0
    asked: list[tuple[float, Query]] = attrs.field(factory=list)
    seen: dict[str, list[float]] = attrs.field(factory=dict)
    lags: list[float] = attrs.field(factory=list)
    works: Callable[[Query], bool] = attrs.field(default=lambda _query: True)
    moment: float = math.inf
    pace: Pace = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pace = pace_for(self.planner.policy)
        self.pace.tokens(self.now)

    def make(self, lasts_s: float = math.inf, endpoint: str = T2V, kind: str = "kind", count: int = 1) -> list[str]:
        """Make tasks now."""
        ids = []
        for _ in range(count):
            id_ = f"{endpoint}-{len(self.ends)}"
            self.ends[id_], self.made[id_] = self.now + lasts_s, self.now
            self.seen[id_] = [self.now]
            self.lists.setdefault(endpoint, []).append(id_)
            watch = Watch(endpoint, id_, external=False, asked_at=self.now)
            self.moment = min(self.moment, self.planner.add(watch, kind, self.now))
            ids.append(id_)
        return ids

    def run(self, seconds: float) -> None:
        """Let time pass, and the planner ask."""
        pace = self.pace
        until = self.now + seconds
        while self.planner.rows and self.moment <= until:
            self.now = max(self.moment, self.now)
            asks, short = self.planner.plan(self.now, pace.tokens(self.now))
            for ask in asks:
                pace.spend(1)
                self.asked.append((self.now, ask.query))
                self.answer(ask)
            self.moment = max(self.planner.next_moment(self.now), self.now + 0.05)
            if short:
                pace.wanted_more(self.now)
                self.moment = self.now + max(pace.wait_s(), 0.25)
        self.now = until

    def answer(self, ask: Ask) -> None:
        planner, now = self.planner, self.now
        if not self.works(ask.query):
            planner.failed(ask, now)
            planner.close(ask, now)
            return
        planner.answered(ask)
        if isinstance(ask.query, ListPage):
            shown = [
                id_
                for id_ in self.lists.get(ask.query.endpoint, [])
                if id_ is None or (id_ not in self.hides and now - self.made[id_] >= self.lag_s)
            ][::-1]
            first = (ask.query.index - 1) * ask.query.size
            page = shown[first : first + ask.query.size]
            found = [(index, planner.rows[id_]) for index, id_ in enumerate(page) if id_ in planner.rows]
        else:
            found = list(enumerate(ask.watches))
        for _, watch in found:
            self.seen[watch.id].append(now)
            if self.ends[watch.id] <= now:
                self.lags.append(now - self.ends[watch.id])
                planner.remove(watch, now, self.ends[watch.id] - self.made[watch.id], ended=True)
            elif not isinstance(ask.query, ListPage):
                planner.seen(watch, now)
        if isinstance(ask.query, ListPage):
            for watch in planner.page_seen(ask, found, now):
                watch.misses += 1
                planner.demote(watch, now)
            for _, watch in found:
                if watch.misses:
                    planner.forgive(watch)
        planner.close(ask, now)

    def tell(self, ids: Iterable[str], *, singly: Callable[[str], object] = lambda _id: False) -> list[Query]:
        """Let somebody say that these have ended; give what is asked on that."""
        watches = [self.planner.rows[id_] for id_ in ids if id_ in self.planner.rows]
        asks = self.planner.told(watches, self.now, singly=singly)
        for ask in asks:
            assert ask.told
            self.answer(ask)
        assert sorted(watch.id for ask in asks for watch in ask.told) == sorted(watch.id for watch in watches)
        return [ask.query for ask in asks]

    def forms(self) -> set[type[Any]]:
        return {type(query) for _, query in self.asked}


def service(*, lists: bool | None = True, batch: bool | None = False, seed: int = 1, **policy: Any) -> Service:
    reach = Reach()
    for endpoint in (T2V, I2V):
        reach.of(endpoint, Form.LIST).works = lists
        reach.of(endpoint, Form.BATCH).works = batch
        reach.of(endpoint, Form.BATCH).since = math.inf if batch is False else 0.0
    return Service(Planner(policy=Policy(**policy), reach=reach, rng=random.Random(seed)))


# --- one clip, and few ---------------------------------------------------------------------------------------------


def test_a_lone_clip_is_looked_at_at_once_and_then_as_often_as_a_loop_would() -> None:
    host = service()
    host.make()
    host.run(600)
    assert host.forms() == {Single}
    ages = [moment - 1000 for moment, _ in host.asked]
    assert ages[:2] == pytest.approx([1, 4], abs=0.2)
    gaps = [after - before for before, after in pairwise(ages)]
    assert max(gaps) <= 8.5
    likely = [gap for age, gap in zip(ages, gaps, strict=False) if 100 <= age <= 250]
    assert max(likely) < 5 < min(gaps[2:6]), "closer where clips usually end, further apart where they do not"
    assert len(ages) <= 600 / 5


def test_a_lone_picture_is_asked_about_more_often_than_a_clip() -> None:
    host = service()
    watch = Watch(T2V, "p", external=False, asked_at=host.now)
    host.planner.add(watch, "pictures", host.now, guess=OTHERS)
    host.planner.plan(host.now + 10, 9)
    host.planner.seen(watch, host.now + 10)
    assert host.planner.next_moment(host.now + 10) < host.now + 13.5


def test_the_last_of_many_is_followed_like_a_task_alone() -> None:
    """Also if it was just asked about, when there were many, and was given a moment that was right for many."""
    host = service(lists=False)
    ids = host.make(count=40)
    host.run(30)
    last = max(ids, key=lambda id_: host.seen[id_][-1])
    for id_ in ids:
        if id_ != last:
            host.planner.remove(host.planner.rows[id_], host.now, ended=False)
    assert host.planner.next_moment(host.now) <= host.seen[last][-1] + 8


def test_a_task_about_which_an_answer_is_on_its_way_is_left_alone() -> None:
    for lists in (True, False):
        host = service(lists=lists)
        host.make()
        (watch,) = host.planner.rows.values()
        host.planner.awaits(watch, host.now + 0.9)
        assert host.planner.plan(host.now + 1.5, 9)[0] == []
        (ask,), _ = host.planner.plan(host.now + 3, 9)
        assert ask.query == Single(T2V, watch.id), "it did not come"
    two = service()
    two.make()
    two.make()
    two.planner.awaits(next(iter(two.planner.rows.values())), two.now + 0.9)
    assert two.planner.plan(two.now + 1.5, 9)[0] != [], "others are on the page as well"
    gone = Watch(T2V, "gone", external=False, asked_at=0.0)
    two.planner.awaits(gone, two.now)
    assert gone.id not in two.planner.rows


@pytest.mark.parametrize("pending", [1, 2, 3])
@pytest.mark.parametrize("lists", [True, False])
def test_a_script_with_few_clips_is_no_worse_off_than_with_a_loop(pending: int, lists: bool) -> None:
    """Lag and queries of a 5 s loop per task, followed on the same durations."""
    host, rng = service(lists=lists), random.Random(pending)
    durations = []
    for _ in range(120 // pending):
        for _ in range(pending):
            durations.append(rng.lognormvariate(math.log(120), 0.35))
            host.make(durations[-1])
            host.run(rng.uniform(0, 3))
        while host.planner.rows:
            host.run(5)
    queries = sum(math.ceil(duration / 5) for duration in durations)
    lag_s = sum(math.ceil(duration / 5) * 5 - duration for duration in durations) / len(durations)
    assert len(host.asked) <= queries
    assert sum(host.lags) / len(host.lags) <= lag_s
    assert sorted(host.lags)[int(0.99 * len(host.lags))] <= 8.5


@pytest.mark.parametrize("form", [Form.LIST, Form.BATCH])
@pytest.mark.parametrize("pending", [10, 30, 100])
def test_short_tasks_of_which_nothing_was_known_are_seen_soon(pending: int, form: Form) -> None:
    """The first endings tell how long the others take, and the very next look is planned with that."""
    host, rng = service(lists=form is Form.LIST, batch=form is Form.BATCH), random.Random(pending)
    for _ in range(pending):
        host.make(min(max(rng.lognormvariate(math.log(4.5), 0.45), 2.0), 10.0))
    host.run(60)
    assert len(host.lags) == pending
    assert sum(host.lags) / pending < 2.2
    assert max(host.lags) < 5


# --- lists ---------------------------------------------------------------------------------------------------------


def steady(host: Service, seconds: float, per_s: float, *, foreign: float = 0.0, seed: int = 5) -> None:
    rng = random.Random(seed)
    until = host.now + seconds
    while host.now < until:
        host.make(rng.lognormvariate(math.log(150), 0.35))
        for _ in range(int(foreign)):
            host.lists[T2V].append(None)
        host.run(rng.expovariate(per_s))


def test_hundreds_are_followed_by_a_page_at_a_time() -> None:
    host = service()
    steady(host, 900, 1.0)
    before, ended = len(host.asked), len(host.lags)
    steady(host, 600, 1.0, seed=6)
    per_task = (len(host.asked) - before) / (len(host.lags) - ended)
    assert per_task < 0.75
    late = sorted(host.lags[ended:])
    assert late[int(0.99 * len(late))] <= 10.5
    assert sum(isinstance(query, ListPage) for _, query in host.asked) > 0.8 * len(host.asked)


def test_a_page_far_down_is_asked_for_directly() -> None:
    """Old tasks stand behind the new ones: their page is asked for, and not the ones before it."""
    host = service()
    old = host.make(400, count=20)
    host.run(300)
    host.make(3000, count=1500)
    host.run(20)
    host.asked.clear()
    host.run(100)
    deep = [query for _, query in host.asked if isinstance(query, ListPage) and query.index == 4]
    assert deep
    assert not set(old) & set(host.planner.rows)


def test_other_users_rows_are_allowed_for() -> None:
    host = service()
    steady(host, 600, 0.5, foreign=10.0)
    assert host.planner.lanes[T2V].foreign_per_s == pytest.approx(5.0, rel=0.5)
    singles = sum(isinstance(query, Single) for _, query in host.asked)
    assert singles < 0.1 * len(host.asked)
    late = sorted(host.lags[50:])
    assert late[int(0.98 * len(late))] <= 12


def test_two_misses_and_a_task_is_asked_for_singly() -> None:
    host = service()
    ids = host.make(500, count=20)
    host.hides = {ids[3]}
    host.run(700)
    singles = {query.id for _, query in host.asked if isinstance(query, Single)}
    assert ids[3] in singles
    assert not host.planner.rows
    assert sum(isinstance(query, Single) for _, query in host.asked) < 120


def test_a_list_that_shows_tasks_late_is_no_miss() -> None:
    host = service()
    host.lag_s = 4.0
    host.make(100, count=50)
    host.run(60)
    assert host.forms() == {ListPage}
    assert len(host.asked) < 20


def test_what_a_list_shows_again_is_asked_by_page_again() -> None:
    host = service()
    ids = host.make(count=20)
    host.run(10)
    watch = host.planner.rows[ids[0]]
    watch.misses = 2
    host.planner.demote(watch, host.now)
    assert watch.band is None
    host.planner.forgive(watch)
    assert (watch.band is not None, watch.misses) == (True, 0)
    host.run(10)


def test_a_row_that_a_list_shows_again_stands_among_its_neighbours() -> None:
    """A band of its own for each would make every plan dearer, and never become one with the others again."""
    host = service()
    ids = host.make(count=20)
    lane, now = host.planner.lanes[T2V], host.now + 5.0
    (band,) = lane.bands
    watch = host.planner.rows[ids[7]]
    watch.misses = 2
    host.planner.demote(watch, now)
    page = Ask(ListPage(T2V, 1, 30), 1.0, [], [band])
    found = [(19 - number, host.planner.rows[id_]) for number, id_ in enumerate(ids)]
    assert host.planner.page_seen(page, found, now) == []
    host.planner.forgive(watch)
    assert lane.bands == [band]
    assert (watch.band, lane.listed, len(band.rows), band.seen_at) == (band, 20, 20, now)
    host.planner.remove(watch, now, ended=False)
    assert lane.listed == 19

    # Where no neighbour was seen with it, it stands where its age says, in a band of its own.
    host.now += 20.0
    host.make(count=5)
    watch = host.planner.rows[ids[0]]
    watch.misses = 2
    host.planner.demote(watch, host.now)
    host.planner.page_seen(Ask(ListPage(T2V, 1, 30), 1.0, [], []), [(24, watch)], host.now)
    host.planner.forgive(watch)
    assert watch.band is lane.bands[1]
    assert [len(each.rows) for each in lane.bands] == [18, 1, 5]


def test_what_was_made_since_a_page_was_chosen_pushes_its_rows_to_a_later_one() -> None:
    host = service(page_size=100)
    ids = host.make(count=300)
    asks, _ = host.planner.plan(host.now + 60.0, 10)
    host.now += 60.0
    pages = [ask for ask in asks if isinstance(ask.query, ListPage)]
    (page,) = (ask for ask in pages if ask.query == ListPage(T2V, 1, 100))
    host.planner.aim(page, host.now)
    assert page.query == ListPage(T2V, 1, 100)
    host.make(count=120)
    host.planner.aim(page, host.now)
    assert page.query == ListPage(T2V, 2, 100)
    for id_ in ids:
        host.planner.remove(host.planner.rows[id_], host.now, ended=False)
    host.planner.aim(page, host.now)  # nothing of it is left: it is asked as it was
    assert page.query == ListPage(T2V, 2, 100)


def test_a_task_that_newer_ones_have_pushed_off_its_page_is_no_miss() -> None:
    host = service(page_size=100)
    ids = host.make(count=100)
    lane = host.planner.lanes[T2V]
    (band,) = lane.bands
    page = Ask(ListPage(T2V, 1, 100), 1.0, [], [band], made=lane.made)
    born, host.now = host.now, host.now + 30.0
    host.make(count=40)  # while the page was on its way
    found = [(40 + place, host.planner.rows[id_]) for place, id_ in enumerate(ids[:39:-1])]
    assert len(found) == 60
    assert host.planner.page_seen(page, found, host.now) == []
    (rest,) = (each for each in lane.bands if each.seen_at == born)
    assert set(rest.rows) == set(ids[:40])

    # One that should have stood between those that were found is a miss.
    hole = [(index, watch) for index, watch in found if watch.id != ids[70]]
    bands = list(dict.fromkeys(watch.band for _, watch in found if watch.band is not None))
    page = Ask(ListPage(T2V, 1, 100), 1.0, [], bands, made=lane.made)
    missed = host.planner.page_seen(page, hole, host.now + 10.0)
    assert [watch.id for watch in missed] == [ids[70]]

    # The whole rest is pushed off, and not one of it was shown.
    page = Ask(ListPage(T2V, 2, 100), 1.0, [], [rest], made=lane.made)
    host.make(count=110)
    assert host.planner.page_seen(page, [], host.now + 10.0) == []
    # Nor is one that stood on another page already when this one was aimed at.
    page = Ask(ListPage(T2V, 1, 100), 1.0, [], [rest], made=lane.made)
    host.make()
    assert host.planner.page_seen(page, [], host.now + 10.0) == []
    # Nothing was made meanwhile: it is not where it was expected.
    page = Ask(ListPage(T2V, 2, 100), 1.0, [], [rest], made=lane.made)
    assert len(host.planner.page_seen(page, [], host.now + 10.0)) == 40


def test_a_page_that_fails_is_left_alone_for_a_while_and_longer_each_time() -> None:
    host = service()
    host.make(count=20)
    host.works = lambda _query: False
    host.run(300)
    moments = [moment for moment, _ in host.asked]
    gaps = [after - before for before, after in pairwise(moments)]
    assert gaps[0] >= 2
    assert 14 <= max(gaps) <= 16
    assert len(moments) < 30


def test_an_endpoint_that_keeps_failing_does_not_come_before_the_others() -> None:
    """What it owes is dearest of all, and would take every query of a host in trouble."""
    host = service(lists=False, queries_per_s=1.0)
    host.make(count=60)
    host.works = lambda query: isinstance(query, Single) and query.endpoint == I2V
    host.run(300)
    (id_,) = host.make(30.0, I2V)
    host.run(90)
    assert id_ not in host.planner.rows


def test_a_plan_that_was_cut_short_loses_nobody() -> None:
    host = service(lists=False)
    host.make(count=20)
    asks, short = host.planner.plan(host.now + 30, 3)
    assert len(asks) == 3
    assert short
    for ask in asks:
        host.planner.close(ask, host.now + 30)
    again, _ = host.planner.plan(host.now + 30, 100)
    assert len({watch.id for ask in again for watch in ask.watches}) == 20


# --- forms ---------------------------------------------------------------------------------------------------------


def test_where_there_is_no_list_ids_are_asked_for_together() -> None:
    host = service(lists=False, batch=True)
    host.make(200, count=40)
    host.make(200, I2V, count=3)
    host.run(400)
    assert not host.planner.rows
    batches = [query for _, query in host.asked if isinstance(query, Batch)]
    assert max(len(query.ids) for query in batches) == 20
    assert any(len(query.endpoints) == 2 for query in batches)
    assert len(batches) > 0.8 * len(host.asked)


def test_where_there_is_neither_each_is_asked_for() -> None:
    host = service(lists=False)
    host.make(100, count=30)
    host.run(300)
    assert host.forms() == {Single}
    assert not host.planner.rows


def test_few_tasks_of_many_kinds_go_into_one_batch_rather_than_many_pages() -> None:
    host = service(lists=True, batch=True)
    for number in range(6):
        endpoint = f"kind-{number}"
        for form in (Form.LIST, Form.BATCH):
            host.planner.reach.of(endpoint, form).works = True
        host.make(endpoint=endpoint)
    host.run(120)
    assert sum(isinstance(query, Batch) for _, query in host.asked) > 0.8 * len(host.asked)


def test_a_list_that_is_refused_is_asked_no_more_and_again_after_a_day() -> None:
    host = service(lists=None)
    host.make(count=5)
    host.run(30)
    assert host.forms() == {ListPage}
    host.planner.reach.refused(T2V, Form.LIST, host.now)
    host.asked.clear()
    host.run(60)
    assert host.forms() == {Single}
    host.run(86_400)
    host.asked.clear()
    host.run(300)
    assert ListPage in host.forms()


def test_solutions_have_batches_of_their_own() -> None:
    host = service(lists=False, batch=True, batch_size=50)
    solution = "solutions/video/any"
    host.planner.reach.of(solution, Form.LIST).works = False
    host.planner.reach.of(solution, Form.BATCH).works = True
    host.make(count=30)
    host.make(endpoint=solution, count=30)
    host.run(70)
    for _, query in host.asked:
        if isinstance(query, Batch):
            assert query.endpoints in ({T2V}, {solution})
            assert len(query.ids) <= (20 if solution in query.endpoints else 50)


# --- whatever happens ----------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)  # each is minutes of sweeps
@given(
    price_s=st.sampled_from([0.0, 0.01, 4.0, 1e9]),
    late_s=st.sampled_from([0.1, 10.0, 1e6]),
    ceiling_s=st.sampled_from([1.0, 60.0, 600.0]),
    sweep_s=st.sampled_from([0.05, 5.0, 1000.0]),
    queries_per_s=st.sampled_from([0.1, 1.0, None]),
    sizes=st.tuples(st.sampled_from([1, 2, 20]), st.sampled_from([1, 7, 500])),
    lists=st.sampled_from([True, False, None]),
    batch=st.booleans(),
    pending=st.integers(1, 30),
    seed=st.integers(0, 2**31),
)
def test_no_policy_starves_a_task(
    price_s: float,
    late_s: float,
    ceiling_s: float,
    sweep_s: float,
    queries_per_s: float | None,
    sizes: tuple[int, int],
    lists: bool | None,
    batch: bool,
    pending: int,
    seed: int,
) -> None:
    """Knobs at their extremes, tasks that end and that never do: each is seen again and again, within the pace."""
    policy: dict[str, Any] = {
        "price_s": price_s,
        "late_s": late_s,
        "ceiling_s": ceiling_s,
        "sweep_s": sweep_s,
        "queries_per_s": queries_per_s,
        "batch_size": sizes[0],
        "page_size": sizes[1],
    }
    host, rng = service(lists=lists, batch=batch, seed=seed, **policy), random.Random(seed)
    for _ in range(pending):
        host.make(rng.choice([rng.uniform(0.1, 300), math.inf]), rng.choice([T2V, I2V]), rng.choice("ab"))
        host.run(rng.uniform(0, 5))
    begin = host.now
    horizon = 2000.0
    host.run(horizon)
    rate = queries_per_s or 10.0
    # A round of single queries at this rate, the stretched ceiling, and patience for what failed to show.
    longest = 21 * ceiling_s + 4 * pending / rate + 120
    for id_, moments in host.seen.items():
        last = moments[-1] if id_ not in host.planner.rows else begin + horizon
        gaps = [after - before for before, after in zip(moments, [*moments[1:], last], strict=True)]
        assert max(gaps) <= longest, (id_, max(gaps))
    assert all(host.ends[id_] == math.inf or host.ends[id_] > host.now - longest for id_ in host.planner.rows)
    if queries_per_s is not None:
        assert len(host.asked) <= queries_per_s * (host.now - 1000) + max(2, queries_per_s) + 1


def test_after_an_hour_without_a_look_there_is_no_burst() -> None:
    """A suspended laptop, or an outage: what is overdue is asked about at the usual pace, the dearest first."""
    host = service(lists=False, queries_per_s=5.0)
    host.make(count=100)
    host.run(10)
    host.asked.clear()
    host.now += 3600
    begin = host.now
    host.moment = begin
    host.run(10)
    assert len(host.asked) <= 5 * 10 + 6


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["make", "run", "abandon", "fail", "refuse", "rest", "tell"]), st.integers(0, 40)),
        max_size=25,
    ),
    st.booleans(),
)
def test_the_books_balance_whatever_comes_and_goes(story: list[tuple[str, int]], batch: bool) -> None:
    host, rng = service(lists=None, batch=batch), random.Random(1)
    for what, number in story:
        if what == "make":
            host.make(rng.choice([5.0, 50.0, math.inf]), rng.choice([T2V, I2V]), count=number)
        elif what == "run":
            host.run(float(number))
        elif what == "abandon":
            for id_ in list(host.planner.rows)[:number]:
                host.planner.remove(host.planner.rows[id_], host.now, ended=False)
        elif what == "fail":
            host.works = spares((Single, Batch, ListPage)[number % 3])
        elif what == "refuse":
            host.planner.reach.refused(T2V, Form.LIST if number % 2 else Form.BATCH, host.now)
        elif what == "tell":
            host.tell(rng.sample(sorted(host.ends), min(number, len(host.ends))))
        else:
            host.planner.reach.rests(T2V, Form.LIST, host.now)
        check_books(host.planner)


def spares(broken: type[Query]) -> Callable[[Query], bool]:
    return lambda query: not isinstance(query, broken)


def check_books(planner: Planner) -> None:
    banded = {watch.id for lane in planner.lanes.values() for watch in lane.rows()}
    for lane in planner.lanes.values():
        assert lane.listed == sum(len(band.rows) for band in lane.bands)
        assert lane.members == sum(watch.endpoint == lane.endpoint for watch in planner.rows.values())
        for band in lane.bands:
            assert band.rows
            assert sum(band.kinds.values()) == len(band.rows)
            assert all(watch.band is band for watch in band.rows.values())
    for watch in planner.rows.values():
        assert (watch.id in banded) == (watch.band is not None)
        assert watch.band is not None or watch.due_at < math.inf, "neither in a band nor in a queue"
    assert banded <= set(planner.rows)


# --- what others tell ----------------------------------------------------------------------------------------------


def test_one_that_is_told_of_is_asked_about_alone() -> None:
    for lists, batch in ((True, False), (False, True), (False, False)):
        host = service(lists=lists, batch=batch)
        ids = host.make(10, count=300)
        host.now += 20
        assert host.tell([ids[150]]) == [Single(T2V, ids[150])]
        assert ids[150] not in host.planner.rows
        check_books(host.planner)


def test_several_that_are_told_of_share_the_page_on_which_they_stand() -> None:
    """Directly, however deep it is; one that stands elsewhere alone is asked about alone."""
    host = service()
    old = host.make(100, count=20)
    host.run(50)
    host.make(5000, count=1600)
    host.now += 60
    (page,) = host.tell(old)
    assert page == ListPage(T2V, 4, 500)
    assert not set(old) & set(host.planner.rows)
    new = host.make(1, count=5)
    host.now += 2
    alone = next(iter(host.planner.rows))
    assert host.tell([*new, alone]) == [ListPage(T2V, 1, 500), Single(T2V, alone)]
    assert not set(new) & set(host.planner.rows)
    check_books(host.planner)


def test_few_at_the_top_are_a_small_page() -> None:
    host = service()
    ids = host.make(1, count=6)
    host.now += 2
    assert host.tell(ids) == [ListPage(T2V, 1, 30)]


def test_a_page_that_was_in_vain_and_a_list_that_was_never_tried_are_not_relied_on() -> None:
    host = service()
    ids = host.make(1, count=6)
    host.now += 2
    assert host.tell(ids[:4], singly=lambda id_: id_ != ids[3]) == [Single(T2V, id_) for id_ in ids[:4]]
    host = service(lists=None)
    ids = host.make(1, count=4)
    assert host.tell(ids) == [Single(T2V, id_) for id_ in ids]
    check_books(host.planner)


def test_told_ids_go_into_batches() -> None:
    host = service(lists=False, batch=True)
    ids = host.make(1, count=25) + host.make(1, endpoint=I2V, count=5)
    host.now += 2
    queries = host.tell(ids)
    assert [len(query.ids) for query in queries if isinstance(query, Batch)] == [20, 10]
    assert not host.planner.rows
    gone = host.make(count=1)
    watch = host.planner.rows[gone[0]]
    host.planner.remove(watch, host.now, ended=False)
    assert host.planner.told([watch], host.now, singly=lambda _id: False) == []


def test_a_task_that_left_is_gone_for_good() -> None:
    host = service()
    (id_,) = host.make()
    watch = host.planner.rows[id_]
    for _ in range(2):
        host.planner.remove(watch, host.now, ended=False)
        host.planner.seen(watch, host.now)
        host.planner.absent(watch, host.now)
    assert not host.planner.rows
    assert repr(host.planner) == "<Planner [0 rows, 0 bands | price x1]>"


def test_bands_divide_where_a_page_ends_and_join_again() -> None:
    lane, hazard = Lane(T2V), Hazard("a")
    watches = []
    for number in range(20):
        watch = Watch(T2V, f"t{number}", external=False, asked_at=0.0)
        watch.born_at = watch.seen_at = number * 0.05
        watch.hazard, watch.order = hazard, lane.made
        lane.made += 1
        lane.enlist(watch)
        watches.append(watch)
    (band,) = lane.bands
    assert [place[:2] for place in lane.places(1.0)] == [(9.5, 9.5)]
    lane.shown([(index, watches[19 - index]) for index in range(8)], 5.0)
    older, newer = lane.bands
    assert (len(older.rows), len(newer.rows)) == (12, 8)
    assert (older.seen_at, newer.seen_at) == (0.0, 5.0)
    lane.shown([(index, watches[19 - index]) for index in range(20)], 6.0)
    assert len(lane.bands) == 2
    lane.tidy()
    (band,) = lane.bands
    assert (len(band.rows), band.seen_at, band.others, band.spread) == (20, 6.0, 0.0, 0.0)
    assert [place[:2] for place in lane.places(9.0)] == [(9.5, 9.5)]


def test_many_bands_are_weighed_in_parts_and_worth_what_they_were() -> None:
    """A plan over a thousand bands must not hold the loop up: what is weighed beforehand is weighed the same."""
    planners = []
    for _ in range(2):
        planner = Planner(policy=Policy(), reach=Reach(lambda _endpoint, _form: Ability()), rng=random.Random(7))
        for number in range(1000):
            watch = Watch(T2V, f"t{number}", external=False, asked_at=0.0)
            planner.add(watch, "kind", 1000.0 + 3.0 * number)
        planners.append(planner)
    slowly, at_once = planners
    now = 1000.0 + 3.0 * 1000 + 30.0
    assert len(list(slowly.weigh(now))) == 4
    worths = [band.worth for band in slowly.lanes[T2V].bands]
    assert any(worths)
    plans = [[(ask.query, ask.worth) for ask in planner.plan(now, 100)[0]] for planner in planners]
    assert plans[0] == plans[1]
    assert worths == [band.worth for band in at_once.lanes[T2V].bands]
    few = Planner(policy=Policy(), reach=Reach(lambda _endpoint, _form: Ability()), rng=random.Random(7))
    few.add(Watch(T2V, "t", external=False, asked_at=0.0), "kind", now)
    assert list(few.weigh(now)) == []
