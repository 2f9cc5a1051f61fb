"""lookups.py: how tasks are asked about that must be asked now, in how few queries: tables and properties."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async import Policy
from kling_async.bands import Watch
from kling_async.lookups import next_page, plan
from kling_async.reach import Batch, Form, ListPage, Query, Reach, Single

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
