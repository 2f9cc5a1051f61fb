"""terms.py: what asking is worth, and how that follows what is scarce and what was late."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async import Policy
from kling_async.hazards import Hazard
from kling_async.reach import Form
from kling_async.terms import Prices, Terms

STILL = Policy(jitter=0)
TERMS = Terms(price_s=4.0, late_s=10.0, enough=0.1, ceiling_s=60.0, least_s=1.0, first_look_s=1.0)


@pytest.mark.parametrize(
    ("ended", "waiting_s", "unseen_s", "worth"),
    [
        (0.0, 0.0, 0.0, 0.0),
        (5.0, 400.0, 0.9, 0.0),  # it was seen just now
        (0.5, 4.0, 5.0, 1.0),
        (0.05, 0.0, 9.9, 0.0),
        (0.05, 0.0, 10.0, 0.5),
        (0.1, 4.0, 10.0, 2.0),
        (0.0, 0.0, 60.0, 2.0),
        (0.0, 0.0, 120.0, 32.0),
    ],
)
def test_waiting_lateness_and_the_ceiling_add_up(ended: float, waiting_s: float, unseen_s: float, worth: float) -> None:
    assert TERMS.worth(ended, waiting_s, unseen_s) == pytest.approx(worth)


def test_a_class_without_history_is_looked_at_at_1_2_4_8_seconds() -> None:
    hazard = Hazard("a")
    looks, age, seen = [], 0.0, 0.0
    while age < 70:
        age += 0.25
        if TERMS.exploring(hazard, seen, age):
            looks.append(age)
            hazard.explored_s = seen = age
    assert looks == [1, 2, 4, 8, 16, 32, 64]
    for _ in range(5):
        hazard.ended(0.0, 50.0)
    assert not TERMS.exploring(hazard, 64.0, 1e9)


def test_few_tasks_and_waiting_jobs_make_a_query_cheaper() -> None:
    prices = Prices(STILL, random.Random(1))
    usual = prices.terms(Form.LIST, 4)
    assert (usual.price_s, usual.late_s, usual.ceiling_s, usual.least_s) == (4, 10, 60, 1)
    few = prices.terms(Form.LIST, 3)
    assert (few.price_s, few.late_s) == (4 / 44, 7.5)
    assert prices.terms(Form.LIST, 3, are_known=False).price_s == 4 / 67
    assert few.enough < usual.enough
    prices.has_backlog = True
    assert prices.terms(Form.LIST, 4).price_s == 1
    quick = Prices(Policy(sweep_s=0.2, jitter=0), random.Random(1)).terms(Form.SINGLE, 1)
    assert (quick.least_s, quick.first_look_s) == (0.2, 0.2)
    slow = Prices(Policy(sweep_s=60, late_s=120, jitter=0), random.Random(1)).terms(Form.SINGLE, 1)
    assert slow.late_s == 90
    assert slow.price_s == pytest.approx(4 / 44 * 144), "twelve times the interval"
    wild = Prices(Policy(jitter=0.5, ceiling_s=3), random.Random(1))
    wild.early = 1.0
    assert wild.terms(Form.SINGLE, 1).ceiling_s == 3
    assert quick.late_s == pytest.approx(0.3)


@given(st.floats(0, 0.5), st.integers())
def test_a_sweep_comes_early_by_its_jitter_and_never_late(jitter: float, seed: int) -> None:
    prices = Prices(Policy(jitter=jitter), random.Random(seed))
    for _ in range(5):
        prices.draw()
        terms = prices.terms(Form.LIST, 10)
        assert 10 * (1 - jitter) <= terms.late_s <= 10
        assert terms.ceiling_s <= 60


def test_scarcity_raises_the_price_first_and_both_come_back() -> None:
    prices = Prices(STILL, random.Random(1))
    prices.feel(10.0, scarce=True)
    assert prices.dearer > 2
    assert prices.longer == 1
    for _ in range(100):
        prices.feel(10.0, scarce=True)
    assert (prices.dearer, prices.longer) == (100, 20)
    assert prices.terms(Form.LIST, 10).ceiling_s == 1200
    for _ in range(100):
        prices.feel(10.0, scarce=False)
    assert (prices.dearer, prices.longer) == (1, 1)


@pytest.mark.parametrize("form", list(Form))
def test_enough_steers_itself_so_that_one_lag_in_a_hundred_is_late(form: Form) -> None:
    prices = Prices(STILL, random.Random(1))
    begin = prices.enough[form]
    for number in range(1000):
        prices.steer(form, 12.0, 11.0 if number % 100 == 0 else 5.0)
    assert prices.enough[form] == pytest.approx(begin, rel=0.01)
    prices.steer(form, 12.0, 11.0)
    less = prices.enough[form]
    assert less < begin
    prices.steer(form, 20.0, None)  # not told when it ended: late with the share of the gap that is
    assert prices.enough[form] < less
    for _ in range(10_000):
        prices.steer(form, 5.0, None)
    assert prices.enough[form] == 50
    for _ in range(10_000):
        prices.steer(form, 99.0, 98.0)
    assert 0 < prices.enough[form] <= 0.02


def test_a_price_of_nothing_is_no_division_by_it() -> None:
    assert Prices(Policy(price_s=0), random.Random(1)).terms(Form.LIST, 100).worth(0.0, 0.1, 2.0) > 1
