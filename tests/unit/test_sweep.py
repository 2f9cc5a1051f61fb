"""sweep.py: whom to ask about, in how few queries, and when next: tables and properties."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async import Policy
from kling_async.sweep import (
    Ability,
    Batch,
    Endings,
    Form,
    ListPage,
    Load,
    Pace,
    Query,
    Reach,
    Single,
    Watch,
    next_page,
    next_sweep_s,
    pace_for,
    plan,
)

DAY_S = 86_400.0
USUAL = Policy()
T2V, I2V = "text2video", "image2video"


def watches(
    count: int, endpoint: str = T2V, *, external: bool = False, at: float = 0.0, misses: int = 0
) -> list[Watch]:
    kind = "x" if external else "t"
    return [Watch(endpoint, f"{endpoint}-{kind}{index}", external, at + index, misses) for index in range(count)]


def reach_of(**works: bool | None) -> Reach:
    """A host of which is known what is given, on every endpoint."""
    reach = Reach()
    for endpoint in (T2V, I2V):
        for name, able in works.items():
            reach.of(endpoint, Form(name)).works = able
    return reach


def planned(rows: Iterable[Watch], reach: Reach, *, policy: Policy = USUAL, budget: int = 10_000) -> tuple[Query, ...]:
    return plan(rows, reach, policy, 0.0, budget)


LISTS = {"list": True, "batch": False}
BATCHES = {"list": False, "batch": True}
SINGLES = {"list": False, "batch": False}


@pytest.mark.parametrize(
    ("count", "works", "queries"),
    [
        (0, LISTS, 0),
        (1, LISTS, 1),
        (2, LISTS, 1),
        (500, LISTS, 1),
        (20, BATCHES, 1),
        (21, BATCHES, 2),
        (1000, BATCHES, 50),
        (7, SINGLES, 7),
        (1000, {"list": True, "batch": True}, 1),
    ],
)
def test_the_number_of_queries_is_the_least_the_forms_allow(count: int, works: dict[str, bool], queries: int) -> None:
    assert len(planned(watches(count), reach_of(**works))) == queries


def test_one_page_of_a_list_is_planned_and_read_on_from_there() -> None:
    (page,) = planned(watches(1000), reach_of(**LISTS))
    assert page == ListPage(T2V, 1, 500)


@pytest.mark.parametrize(
    ("count", "size"), [(2, 30), (15, 30), (16, 100), (50, 100), (51, 250), (125, 250), (126, 500), (600, 500)]
)
def test_a_page_is_as_small_as_what_is_wanted_allows(count: int, size: int) -> None:
    assert planned(watches(count), reach_of(**LISTS)) == (ListPage(T2V, 1, size),)
    small = planned(watches(count), reach_of(**LISTS), policy=Policy(page_size=40))
    assert small == (ListPage(T2V, 1, min(size, 40)),)


def test_a_batch_holds_ids_of_any_endpoint_and_of_one_kind() -> None:
    rows = [*watches(2, T2V), *watches(2, I2V), *watches(2, T2V, external=True)]
    queries = planned(rows, reach_of(**BATCHES))
    assert queries == (
        Batch((f"{T2V}-t0", f"{I2V}-t0", f"{T2V}-t1", f"{I2V}-t1"), frozenset({T2V, I2V})),
        Batch((f"{T2V}-x0", f"{T2V}-x1"), frozenset({T2V}), external=True),
    )


def test_the_same_id_stands_in_a_batch_once() -> None:
    """Section 20, case 14: duplicates in the id list."""
    rows = [Watch(T2V, "a", external=False, asked_at=0), Watch(T2V, "a", external=False, asked_at=1)]
    assert planned(rows, reach_of(**BATCHES)) == (Batch(("a",), frozenset({T2V})),)


def test_a_form_nobody_has_tried_is_tried_when_it_saves_something() -> None:
    assert planned(watches(2), Reach()) == (ListPage(T2V, 1, 30),)
    assert planned(watches(1), Reach()) == (Single(T2V, f"{T2V}-t0"),)
    assert isinstance(planned(watches(3), reach_of(list=False))[0], Batch)
    tiny = Policy(batch_size=1, page_size=1)
    assert all(isinstance(query, Single) for query in planned(watches(3), Reach(), policy=tiny))


def test_a_form_nobody_has_tried_is_not_tried_where_a_known_one_is_as_cheap() -> None:
    assert isinstance(planned(watches(20), reach_of(batch=True))[0], Batch)
    assert isinstance(planned(watches(21), reach_of(batch=True))[0], ListPage)
    assert isinstance(planned(watches(20), reach_of(list=True))[0], ListPage)


def test_deep_lists_lose_against_batches() -> None:
    reach = reach_of(list=True, batch=True)
    reach.walked(T2V, 1001)
    assert reach.rows(T2V) == 1001
    assert reach.rows(I2V) == 0
    assert [type(query) for query in planned(watches(40), reach)] == [Batch, Batch]
    assert [type(query) for query in planned(watches(80), reach)] == [ListPage]


def test_a_deep_list_loses_against_few_single_queries() -> None:
    reach = reach_of(**LISTS)
    reach.walked(T2V, 1001)
    assert [type(query) for query in planned(watches(3), reach)] == [Single] * 3
    assert [type(query) for query in planned(watches(4), reach)] == [ListPage]


def test_case_15_two_misses_and_a_task_is_asked_for_singly() -> None:
    """Section 20, case 15: pages shift, and a task that a list skips must not be lost."""
    rows = [*watches(5), Watch(T2V, "lost", external=False, asked_at=-9.0, misses=2)]
    queries = planned(rows, reach_of(**LISTS))
    assert queries == (Single(T2V, "lost"), ListPage(T2V, 1, 30))
    once = [*watches(5), Watch(T2V, "late", external=False, asked_at=-9.0, misses=1)]
    assert planned(once, reach_of(**LISTS)) == (ListPage(T2V, 1, 30),)
    assert all(isinstance(query, Single) for query in planned(watches(9, misses=2), reach_of(list=True, batch=True)))


def test_external_ids_go_only_where_they_may_be_found() -> None:
    rows = watches(5, external=True)
    for form, kind in ((Form.LIST, ListPage), (Form.BATCH, Batch)):
        other = Form.BATCH if form is Form.LIST else Form.LIST
        reach = reach_of(list=True, batch=True)
        reach.of(T2V, other).finds_external = False
        assert [type(query) for query in planned(rows, reach)] == [kind]
        reach.of(T2V, form).finds_external = False
        assert planned(rows, reach) == tuple(Single(T2V, row.id, external=True) for row in rows)
        assert [type(query) for query in planned(watches(5), reach)] == [ListPage]


def test_a_list_answers_for_both_kinds_of_ids_at_once() -> None:
    rows = [*watches(5), *watches(5, external=True)]
    assert planned(rows, reach_of(**LISTS)) == (ListPage(T2V, 1, 30, task_ids=True, external_ids=True),)
    assert planned(rows[:5], reach_of(**LISTS)) == (ListPage(T2V, 1, 30, task_ids=True, external_ids=False),)
    assert planned(rows[5:], reach_of(**LISTS)) == (ListPage(T2V, 1, 30, task_ids=False, external_ids=True),)


@pytest.mark.parametrize("budget", [-1, 0, 1, 3, 100])
def test_the_budget_is_respected_and_the_longest_unasked_go_first(budget: int) -> None:
    rows = watches(10)
    random.Random(1).shuffle(rows)
    queries = planned(rows, reach_of(**SINGLES), budget=budget)
    assert queries == tuple(Single(T2V, f"{T2V}-t{index}") for index in range(min(max(budget, 0), 10)))


# --- the properties of a plan --------------------------------------------------------------------------------------

ABILITY = st.sampled_from([True, False, None])


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Watch], Reach, Policy]:
    rows = []
    for endpoint in (T2V, I2V, "omni-video"):
        for external in (False, True):
            for index in range(draw(st.integers(0, 45))):
                asked_at = draw(st.floats(0, 100))
                rows.append(
                    Watch(endpoint, f"{endpoint}-{external}-{index}", external, asked_at, draw(st.integers(0, 3)))
                )
    reach = Reach()
    for endpoint in (T2V, I2V, "omni-video"):
        for form in (Form.LIST, Form.BATCH):
            ability = reach.of(endpoint, form)
            ability.works, ability.finds_external = draw(ABILITY), draw(ABILITY)
        reach.walked(endpoint, draw(st.integers(0, 300)))
    policy = Policy(batch_size=draw(st.integers(1, 25)), page_size=draw(st.integers(1, 100)))
    return rows, reach, policy


def covered(query: Query, rows: Sequence[Watch], reach: Reach) -> list[str]:
    """Ids that a query asks about; a list answers for the rows that are not asked about otherwise."""
    if isinstance(query, Single):
        return [query.id]
    if isinstance(query, Batch):
        return list(query.ids)
    return [
        row.id
        for row in rows
        if row.endpoint == query.endpoint
        and row.misses < 2
        and not (row.external and reach.of(row.endpoint, Form.LIST).finds_external is False)
    ]


@settings(max_examples=150, deadline=None)
@given(situations())
def test_every_due_watch_is_asked_about_exactly_once(situation: tuple[list[Watch], Reach, Policy]) -> None:
    rows, reach, policy = situation
    before = [attrs.evolve(row) for row in rows]
    queries = planned(rows, reach, policy=policy)
    assert rows == before
    asked = Counter(id_ for query in queries if not isinstance(query, ListPage) for id_ in covered(query, rows, reach))
    assert all(count == 1 for count in asked.values())
    by_list = {id_ for query in queries if isinstance(query, ListPage) for id_ in covered(query, rows, reach)}
    assert set(asked) | by_list == {row.id for row in rows}
    assert len({query.endpoint for query in queries if isinstance(query, ListPage)}) == sum(
        isinstance(query, ListPage) for query in queries
    )


@settings(max_examples=150, deadline=None)
@given(situations())
def test_no_form_that_may_work_would_have_been_cheaper(situation: tuple[list[Watch], Reach, Policy]) -> None:
    rows, reach, policy = situation
    queries = planned(rows, reach, policy=policy)
    most = 0
    for endpoint in (T2V, I2V, "omni-video"):
        for external in (False, True):
            group = [row for row in rows if row.endpoint == endpoint and row.external is external]
            normal = [row for row in group if row.misses < 2]
            costs = {Form.LIST: math.ceil(max(reach.rows(endpoint), len(normal)) / policy.page_size),
                     Form.BATCH: math.ceil(len(normal) / policy.batch_size)}  # fmt: skip
            usable = [
                cost
                for form, cost in costs.items()
                if reach.of(endpoint, form).works is not False
                and not (external and reach.of(endpoint, form).finds_external is False)
            ]
            most += min([*usable, len(normal)]) + len(group) - len(normal)
    assert len(queries) <= most


@settings(max_examples=150, deadline=None)
@given(situations(), st.integers(0, 30))
def test_queries_are_well_formed_in_order_and_within_the_budget(
    situation: tuple[list[Watch], Reach, Policy], budget: int
) -> None:
    rows, reach, policy = situation
    asked_at = {row.id: row.asked_at for row in rows}
    kinds = {row.id: (row.endpoint, row.external) for row in rows}
    all_queries = planned(rows, reach, policy=policy)
    queries = planned(rows, reach, policy=policy, budget=budget)
    assert queries == all_queries[:budget]
    ages: list[float] = []
    for query in all_queries:
        if isinstance(query, Batch):
            assert 1 <= len(query.ids) <= policy.batch_size
            assert {kinds[id_][1] for id_ in query.ids} == {query.external}
            assert {kinds[id_][0] for id_ in query.ids} == query.endpoints
            for endpoint in query.endpoints:
                assert reach.of(endpoint, Form.BATCH).works is not False
        elif isinstance(query, ListPage):
            assert query.index == 1
            assert 1 <= query.size <= policy.page_size
            assert reach.of(query.endpoint, Form.LIST).works is not False
        else:
            assert kinds[query.id] == (query.endpoint, query.external)
        ages.append(min(asked_at[id_] for id_ in covered(query, rows, reach)))
    if all(not isinstance(query, ListPage) for query in all_queries):
        assert ages == sorted(ages)


# --- what a host has shown -----------------------------------------------------------------------------------------


def test_what_is_refused_is_not_planned_for_a_day_and_then_tried_again() -> None:
    reach = Reach()
    reach.refused(T2V, Form.LIST, 100.0)
    reach.refused(T2V, Form.BATCH, 100.0)
    for now, form in ((100.0, Single), (100.0 + DAY_S - 1, Single), (100.0 + DAY_S, ListPage)):
        assert isinstance(plan(watches(5), reach, USUAL, now, 9)[0], form)
    assert reach.usable(T2V, Form.LIST, 100.0 + DAY_S) is None


def test_what_worked_once_keeps_working_and_single_queries_always_do() -> None:
    reach = Reach()
    assert reach.usable(T2V, Form.SINGLE, 0.0) is True
    assert reach.usable(T2V, Form.BATCH, 0.0) is None
    reach.answered(T2V, Form.BATCH, found=1, now=5.0)
    for _ in range(9):
        reach.answered(T2V, Form.BATCH, found=0, now=6.0)
    assert reach.usable(T2V, Form.BATCH, 1e9) is True
    assert reach.usable(I2V, Form.BATCH, 0.0) is None


def test_two_fruitless_answers_are_a_no() -> None:
    reach = Reach()
    reach.answered(T2V, Form.BATCH, found=0, now=5.0)
    assert reach.usable(T2V, Form.BATCH, 5.0) is None
    reach.answered(T2V, Form.BATCH, found=0, now=6.0)
    assert reach.usable(T2V, Form.BATCH, 6.0 + DAY_S - 1) is False
    assert reach.usable(T2V, Form.BATCH, 6.0 + DAY_S) is None
    reach.answered(T2V, Form.BATCH, found=0, now=7.0 + DAY_S)
    assert reach.usable(T2V, Form.BATCH, 7.0 + DAY_S) is None


def test_a_found_task_takes_a_refusal_back() -> None:
    reach = Reach()
    reach.refused(T2V, Form.LIST, 1.0)
    reach.answered(T2V, Form.LIST, found=0, now=2.0)
    assert reach.usable(T2V, Form.LIST, 2.0) is False
    reach.answered(T2V, Form.LIST, found=3, now=3.0)
    assert reach.usable(T2V, Form.LIST, 3.0) is True


def test_finding_by_external_id_counts_for_ever_once_shown() -> None:
    reach = Reach()
    assert reach.can_find_external(T2V) is None
    reach.found_external(T2V, Form.SINGLE, found=False)
    assert reach.can_find_external(T2V) is False
    reach.found_external(T2V, Form.LIST, found=True)
    reach.found_external(T2V, Form.LIST, found=False)
    assert reach.can_find_external(T2V) is True
    assert reach.can_find_external(I2V) is None
    reach.refused(T2V, Form.LIST, 0.0)
    assert reach.usable(T2V, Form.LIST, DAY_S) is None
    assert reach.can_find_external(T2V) is True


def test_not_finding_is_forgotten_with_the_refusal() -> None:
    reach = Reach()
    reach.found_external(T2V, Form.LIST, found=False)
    reach.refused(T2V, Form.LIST, 0.0)
    assert reach.usable(T2V, Form.LIST, DAY_S) is None
    assert reach.can_find_external(T2V) is None


# --- reading on ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "rows", "wanted", "index"),
    [
        (ListPage(T2V, 1, 100), 100, 0, None),  # all were seen
        (ListPage(T2V, 1, 100), 99, 5, None),  # the list ended
        (ListPage(T2V, 1, 100), 0, 5, None),
        (ListPage(T2V, 1, 100), 100, 5, 2),
        (ListPage(T2V, 1, 100), 100, 1, 2),
        (ListPage(T2V, 2, 100), 100, 1, None),  # one single query is cheaper
        (ListPage(T2V, 2, 100), 100, 2, 3),
        (ListPage(T2V, 1, 100), 300, 5, 2),  # a host that gives more than was asked for
        (ListPage(T2V, 1000, 500), 500, 90_000, None),  # pageNum is at most 1000
        (ListPage(T2V, 999, 1), 1, 90_000, 1000),
    ],
)
def test_a_list_is_read_on_while_it_is_worth_it(page: ListPage, rows: int, wanted: int, index: int | None) -> None:
    following = next_page(page, rows, wanted)
    assert (following.index if following else None) == index
    if following is not None:
        assert (following.endpoint, following.size) == (page.endpoint, page.size)


@given(st.sampled_from([1, 30, 100, 500]), st.integers(0, 5000), st.integers(0, 2**31))
def test_reading_on_ends_whatever_a_host_answers(size: int, wanted: int, seed: int) -> None:
    """Bounded by the wanted rows, also when the pages are full of other users' tasks and never end."""
    rng = random.Random(seed)
    page: ListPage | None = ListPage(T2V, 1, size)
    pages = 0
    while page is not None:
        pages += 1
        assert page.index == pages
        page = next_page(page, size + rng.randrange(3), wanted)
    assert pages <= min(1000, 2 * (2 + math.ceil(2 * wanted / size)) + 1)


# --- when ----------------------------------------------------------------------------------------------------------


def load(**changes: Any) -> Load:
    """A thousand young tasks, ten of which end each second; a sweep takes two pages."""
    usual = {"sweeps": 9, "pending": 1000, "queries": 2, "youngest_s": 10.0, "endings_per_s": 10.0}
    return Load(**{**usual, **changes})


STILL = Policy(jitter=0)


def wait_s(policy: Policy = STILL, **changes: Any) -> float:
    return next_sweep_s(load(**changes), policy, random.Random(1))


def test_the_first_sweeps_come_after_1_2_4_seconds() -> None:
    assert [wait_s(sweeps=sweeps) for sweeps in range(3)] == [1, 2, 4]
    assert [wait_s(sweeps=sweeps, pending=1) for sweeps in range(5)] == [1, 2, 4, 5, 5]
    assert [wait_s(Policy(sweep_s=1.5, jitter=0), sweeps=sweeps, pending=1) for sweeps in range(4)] == [
        1,
        1.5,
        1.5,
        1.5,
    ]
    assert wait_s(sweeps=10**9, pending=1) == 5


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"pending": 10, "youngest_s": 299.0}, 5),  # a few: as often as allowed
        ({"pending": 10, "youngest_s": 300.0, "endings_per_s": 1e-9}, 15),
        ({"pending": 11, "endings_per_s": 1e-9}, 15),  # at most late_s while tasks are young
        ({"endings_per_s": 1e-9, "youngest_s": 300.0}, 15),
        ({"endings_per_s": 1e-9, "youngest_s": 1000.0}, 50),  # a share of their age
        ({"endings_per_s": 1e-9, "youngest_s": 1e6}, 60),  # at most ceiling_s
        ({"endings_per_s": 1e9}, 5),
        ({"endings_per_s": 2.0, "queries": 1}, math.sqrt(32)),
        ({"endings_per_s": 2.0, "queries": 4}, 2 * math.sqrt(32)),
        ({"endings_per_s": 2.0, "queries": 0}, math.sqrt(32)),
        ({"queries": 10**9}, 15),
    ],
)
def test_with_many_the_waiting_is_worth_the_queries(changes: dict[str, Any], seconds: float) -> None:
    assert wait_s(**changes) == pytest.approx(seconds)


def test_bounds_of_a_policy_that_contradict_each_other_are_taken_sensibly() -> None:
    assert wait_s(Policy(jitter=0, late_s=1), endings_per_s=1e-9) == 5  # never faster than sweep_s
    assert wait_s(Policy(jitter=0, ceiling_s=1), endings_per_s=1e-9, youngest_s=1e6) == 15  # nor than late_s


@given(
    st.builds(
        Load,
        sweeps=st.integers(0, 100),
        pending=st.integers(0, 10**6),
        queries=st.integers(0, 10**5),
        youngest_s=st.floats(0, 1e6),
        endings_per_s=st.floats(1e-9, 1e6),
    ),
    st.floats(0.01, 100),
    st.floats(0, 0.5),
    st.integers(),
)
def test_the_sweep_is_jittered_within_its_bounds(load: Load, sweep_s: float, jitter: float, seed: int) -> None:
    policy = Policy(sweep_s=sweep_s, jitter=jitter)
    seconds = next_sweep_s(load, policy, random.Random(seed))
    least = min(sweep_s, 2.0**load.sweeps if load.sweeps < 3 else sweep_s)
    most = max(sweep_s, policy.late_s, policy.ceiling_s)
    assert least * (1 - jitter) * 0.999999 <= seconds <= most * (1 + jitter) * 1.000001
    assert seconds == next_sweep_s(load, policy, random.Random(seed))


# --- how many end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.0, 5e6])
def test_endings_are_counted_from_the_first_note_whatever_the_loops_time(start: float) -> None:
    """A real loop's clock is the machine's uptime; that time without endings is not ours."""
    endings = Endings()
    endings.note(0, start)
    assert endings.per_s() == pytest.approx(1 / 20)
    endings.note(10, start + 10.0)
    assert endings.per_s() == pytest.approx(11 / 30)


def test_endings_are_forgotten_with_a_half_life_of_a_minute() -> None:
    endings = Endings()
    endings.note(0, 0.0)
    endings.note(100, 0.0)
    endings.note(0, 60.0)
    assert endings.per_s() == pytest.approx(51 / 80)
    for minute in range(2, 100):
        endings.note(0, 60.0 * minute)
    assert 0 < endings.per_s() < 0.01


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(-10, 100))))
def test_the_rate_of_endings_is_positive_and_finite(story: list[tuple[int, float]]) -> None:
    endings, now = Endings(), 1000.0
    for ended, seconds in story:
        now += seconds
        endings.note(ended, now)
        assert 0 < endings.per_s() < float("inf")


def test_a_steady_rate_is_found() -> None:
    endings = Endings()
    for second in range(600):
        endings.note(3, 1e6 + second)
    assert endings.per_s() == pytest.approx(3, rel=0.35)


@pytest.mark.fault("F15")
def test_the_rate_starts_at_ten_grows_while_needed_and_halves_at_a_complaint() -> None:
    pace = Pace()
    assert pace.tokens(0.0) == 20
    pace.spend(20)
    assert pace.tokens(0.0) == 0
    assert pace.wait_s() == pytest.approx(0.1)
    assert pace.tokens(0.5) == 5
    pace.wanted_more(10.0)
    pace.wanted_more(10.5)
    assert pace.rate == pytest.approx(11)
    pace.wanted_more(11.0)
    assert pace.rate == pytest.approx(12.1)
    pace.complaint()
    assert pace.rate == pytest.approx(6.05)
    for _ in range(20):
        pace.complaint()
    assert pace.rate == 0.5
    for second in range(1000):
        pace.wanted_more(20.0 + second)
    assert pace.rate == 100


@pytest.mark.parametrize("most", [0.01, 0.1, 0.5, 1, 3, 10, 50, 1000])
def test_a_users_bound_is_never_passed(most: float) -> None:
    """Also not by a complaint: the slowest learned rate is no floor for what the user wants."""
    pace = pace_for(Policy(queries_per_s=most))
    assert pace.rate <= most
    pace.complaint()
    assert pace.rate <= most
    for second in range(200):
        pace.wanted_more(float(second))
        assert pace.rate <= most
    assert pace.tokens(0.0) >= 1
    sent = 0
    for second in range(1, 1001):
        tokens = pace.tokens(float(second))
        pace.spend(tokens)
        sent += tokens
    assert sent <= most * 1000 + max(pace.burst, most) + 1


def test_without_a_bound_the_usual_pace_is_made() -> None:
    assert pace_for(Policy()) == Pace()


@given(st.lists(st.tuples(st.sampled_from(["tokens", "spend", "more", "complaint"]), st.floats(0, 50)), max_size=60),
       st.sampled_from([None, 0.2, 5.0, 1000.0]))  # fmt: skip
def test_the_pace_is_never_negative_and_always_bounded(story: list[tuple[str, float]], most: float | None) -> None:
    pace = pace_for(Policy(queries_per_s=most))
    now = 0.0
    for what, value in story:
        now += value
        if what == "spend":
            pace.spend(min(int(value), pace.tokens(now)))
        elif what == "more":
            pace.wanted_more(now)
        elif what == "complaint":
            pace.complaint()
        tokens = pace.tokens(now)
        assert 0 <= tokens <= max(pace.burst, pace.rate)
        assert 0 < pace.rate <= pace.most
        assert pace.wait_s() >= 0
        assert pace.tokens(now - 5.0) == tokens, "a clock that stands or goes back gives nothing"
        assert tokens >= 1 or pace.tokens(now + pace.wait_s() + 1e-6) >= 1
        pace._at = now


def test_overdrawn_tokens_are_worked_off() -> None:
    pace = Pace()
    pace.spend(40)
    assert pace.tokens(0.0) == 0
    assert pace.wait_s() == pytest.approx(2.1)
    assert pace.tokens(1.0) == 0
    assert pace.tokens(2.2) == 2


def test_queries_are_values() -> None:
    one: Any = Single(T2V, "a")
    assert len({one, Single(T2V, "a"), Single(T2V, "a", external=True)}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.id = "b"


# --- what is documented ----------------------------------------------------------------------------------------------


def test_what_is_documented_is_used_at_once_and_what_is_ruled_out_is_never_tried() -> None:
    """A prior says so per endpoint and form, before the first answer; "never" does not end after a day."""
    reach = Reach(
        lambda endpoint, form: {
            (T2V, Form.BATCH): Ability(works=True),
            (T2V, Form.LIST): Ability(works=False, since=math.inf, finds_external=False),
            (I2V, Form.BATCH): Ability(works=False, since=math.inf),
            (I2V, Form.LIST): Ability(works=False, since=math.inf),
        }.get((endpoint, form), Ability())
    )
    for now in (0.0, DAY_S, 1000 * DAY_S):
        rows = watches(25, at=now) + watches(3, I2V, at=now)
        queries = plan(rows, reach, USUAL, now, 10_000)
        assert Counter(type(query) for query in queries) == {Batch: 2, Single: 3}
        assert reach.usable(T2V, Form.LIST, now) is False
        assert reach.can_find_external(T2V) is False


def test_every_endpoint_has_a_prior_of_its_own() -> None:
    """What is learned of one says nothing of another, and the prior is asked once for each."""
    asked: list[tuple[str, Form]] = []

    def prior(endpoint: str, form: Form) -> Ability:
        asked.append((endpoint, form))
        return Ability()

    reach = Reach(prior)
    for _ in range(3):
        reach.refused(T2V, Form.BATCH, 5.0)
        assert reach.usable(I2V, Form.BATCH, 5.0) is None
        assert reach.usable(T2V, Form.BATCH, 5.0) is False
    assert asked == [(T2V, Form.BATCH), (I2V, Form.BATCH)]


def test_what_was_learned_to_be_missing_is_tried_again_after_a_day_without_the_prior() -> None:
    """Hosts change: the ability is open again, and that it once found by external id is kept."""
    reach = Reach(lambda _endpoint, _form: Ability(works=True))
    reach.found_external(T2V, Form.BATCH, found=True)
    reach.refused(T2V, Form.BATCH, 10.0)
    assert reach.usable(T2V, Form.BATCH, 9.0 + DAY_S) is False
    assert reach.usable(T2V, Form.BATCH, 10.0 + DAY_S) is None
    assert reach.can_find_external(T2V) is True
