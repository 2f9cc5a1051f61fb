"""deadlines.py: whose time is over, and the second chance after a time in which nothing ran."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.deadlines import Deadlines


def of(*moments: float) -> Deadlines:
    """Jobs "0", "1", ... with these moments."""
    deadlines = Deadlines()
    for order, moment in enumerate(moments):
        deadlines.set(moment, order, str(order))
    return deadlines


def test_nothing_is_due_where_nothing_is_set() -> None:
    deadlines = Deadlines()
    assert deadlines.next_moment is None
    assert deadlines.due(1e9) == []
    assert repr(deadlines) == "<Deadlines [0 set]>"


def test_what_is_due_is_given_once_and_the_oldest_moment_first() -> None:
    deadlines = of(30.0, 10.0, 20.0, 20.5)
    assert repr(deadlines) == "<Deadlines [4 set]>"
    assert deadlines.next_moment == 10.0
    assert deadlines.due(9.999) == []
    assert deadlines.due(20.0) == [(1, "1"), (2, "2")]
    assert deadlines.next_moment == 20.5
    assert deadlines.due(20.0) == []
    assert deadlines.due(99.0) == [(3, "3"), (0, "0")]
    assert deadlines.next_moment is None


def test_of_the_same_moment_the_longest_waiting_job_goes_first() -> None:
    deadlines = Deadlines()
    for order, job_id in ((2, "a"), (1, "z"), (3, "b")):
        deadlines.set(5.0, order, job_id)
    assert deadlines.due(5.0) == [(1, "z"), (2, "a"), (3, "b")]


@given(st.lists(st.floats(0, 100)), st.lists(st.floats(0, 100)).map(sorted))
def test_each_job_is_due_once_and_never_before_its_moment(moments: list[float], looks: list[float]) -> None:
    deadlines = of(*moments)
    given_at: dict[str, float] = {}
    for now in looks:
        for order, job_id in deadlines.due(now):
            assert str(order) == job_id
            assert job_id not in given_at
            given_at[job_id] = now
        assert deadlines.next_moment is None or deadlines.next_moment > now
    last = looks[-1] if looks else -1.0
    assert set(given_at) == {str(order) for order, moment in enumerate(moments) if moment <= last}


@pytest.mark.parametrize("gap_s", [0.0, 4.999])
def test_a_loop_that_is_a_little_late_changes_nothing(gap_s: float) -> None:
    deadlines = of(100.0, 101.0)
    assert deadlines.put_off(100.0 - 0.5, 100.0 - 0.5 + gap_s) is False
    assert deadlines.next_moment == 100.0
    assert len(deadlines.due(101.0)) == 2


def test_what_passed_while_nothing_ran_gets_a_little_more_time_and_nothing_else_does() -> None:
    """A laptop asleep from 100 to 500: what was due before it slept, or is due after, is as it was."""
    deadlines = of(600.0, 100.0, 100.001, 500.0, 500.001, 300.0)
    assert deadlines.put_off(100.0, 500.0)
    assert deadlines.due(500.0) == [(1, "1")]
    assert deadlines.due(514.9) == [(4, "4")]
    assert deadlines.due(515.0) == [(2, "2"), (3, "3"), (5, "5")]
    assert deadlines.next_moment == 600.0


def test_the_next_moment_is_known_at_once_when_others_were_put_off() -> None:
    """The loop sleeps until it: a wrong one would let a job outlive its time."""
    deadlines = of(100.001, 600.0, 510.0)
    assert deadlines.put_off(100.0, 500.0)
    assert deadlines.next_moment == 510.0


def test_a_gap_that_matters_is_told_also_when_nobodys_time_passed() -> None:
    deadlines = of(1000.0)
    assert deadlines.put_off(10.0, 15.0)
    assert deadlines.next_moment == 1000.0
    assert Deadlines().put_off(0.0, 5.0)


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 100), st.floats(0, 100))
def test_putting_off_loses_nobody_and_makes_nobody_earlier(moments: list[float], expected: float, gap: float) -> None:
    deadlines = of(*moments)
    now = expected + gap
    deadlines.put_off(expected, now)
    last = -1.0
    left = {str(order): moment for order, moment in enumerate(moments)}
    while (moment := deadlines.next_moment) is not None:
        assert moment >= last, "the next one comes first, also after they were put off"
        last = moment
        for _, job_id in deadlines.due(moment):
            assert moment >= left.pop(job_id)
    assert not left
