"""pace.py: a token bucket whose rate is learned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async import Policy
from kling_async.pace import Pace, pace_for


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
