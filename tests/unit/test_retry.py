"""retry.py: delays after trouble."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.retry import Backoff, Quota


class Highest(random.Random):
    """Draws the upper end, so that the longest delay is seen."""

    def uniform(self, a: float, b: float) -> float:
        del a
        return b


class Lowest(random.Random):
    """Draws the lower end."""

    def uniform(self, a: float, b: float) -> float:
        del b
        return a


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(Highest())
    assert [backoff.trouble() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_first_delay_and_the_cap_can_be_chosen() -> None:
    backoff = Backoff(Highest(), first_s=0.5, cap_s=3.0)
    assert [backoff.trouble() for _ in range(5)] == [0.5, 1, 2, 3, 3]


def test_recovery_is_step_by_step() -> None:
    """One good answer in an outage does not bring the whole load back."""
    backoff = Backoff(Highest())
    for _ in range(4):
        backoff.trouble()
    backoff.success()
    assert backoff.trouble() == 8
    for _ in range(100):
        backoff.success()
    assert backoff.level == 0
    assert backoff.trouble() == 1


def test_a_long_outage_does_not_have_to_be_worked_off() -> None:
    backoff = Backoff(Highest())
    for _ in range(10_000):
        assert backoff.trouble() <= 60
    assert backoff.level <= 16


def test_full_jitter_is_never_quite_zero() -> None:
    backoff = Backoff(Lowest())
    assert [backoff.trouble() for _ in range(3)] == pytest.approx([0.1, 0.2, 0.4])


@pytest.mark.parametrize(
    ("wish_s", "delay_s"), [(None, 1), (0, 1), (0.5, 1), (-5, 1), (7, 7), (300, 300), (1e9, 300), (float("inf"), 300)]
)
def test_the_hosts_wish_is_honoured_up_to_five_minutes(wish_s: float | None, delay_s: float) -> None:
    assert Backoff(Highest()).trouble(wish_s) == delay_s


@given(st.integers(), st.lists(st.booleans()))
def test_every_delay_is_within_bounds_and_repeatable(seed: int, story: list[bool]) -> None:
    one, two = Backoff(random.Random(seed)), Backoff(random.Random(seed))
    for fine in story:
        if fine:
            one.success()
            two.success()
        else:
            delay_s = one.trouble()
            assert 0.1 <= delay_s <= 60
            assert delay_s == two.trouble()


def test_its_repr_tells_the_level_and_not_the_table() -> None:
    assert "level=0" in repr(Backoff(random.Random(1)))
    assert "_table" not in repr(Backoff(random.Random(1)))


def test_what_is_tried_again_too_often_waits_longest() -> None:
    """A host that fails every other time is not tried at full speed for ever; successes win the speed back."""
    quota = Quota()
    mine, other = Backoff(Highest(), quota=quota), Backoff(Highest(), quota=quota)
    for _ in range(50):
        assert mine.trouble() <= 60
        assert other.trouble() <= 60
        mine.success()
        other.success()
    while quota.left >= 5:
        mine.trouble()
        mine.success()
        mine.success()
    mine.level = 0
    assert mine.trouble() == 60
    for _ in range(600):
        other.success()
        mine.success()
    assert quota.left == 500
    assert mine.trouble() == 1
