"""reach.py: what a host has shown it can do is used, and what it refused is tried again daily."""

import math
from collections import Counter
from typing import Any

import attrs
import pytest

from kling_async import Policy
from kling_async.bands import Watch
from kling_async.lookups import plan
from kling_async.reach import Ability, Batch, Form, ListPage, Reach, Single

DAY_S = 86_400.0
USUAL = Policy()
T2V, I2V = "text2video", "image2video"


def watches(count: int, endpoint: str = T2V, *, at: float = 0.0) -> list[Watch]:
    return [Watch(endpoint, f"{endpoint}-t{index}", external=False, asked_at=at + index) for index in range(count)]


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
