"""hazards.py: how likely a task has ended unseen, learned from what was seen: tables and properties."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async.hazards import BUCKETS, EDGES, OTHERS, Hazard, Hazards, bucket_of


def learned(rng: random.Random, tasks: int, median: float = 100.0, sigma: float = 0.3) -> Hazard:
    """A class that has seen so many lognormal tasks, each looked at every 10 s."""
    hazard = Hazard("a")
    teach(hazard, rng, tasks, median, sigma)
    return hazard


def teach(hazard: Hazard, rng: random.Random, tasks: int, median: float, sigma: float = 0.3) -> None:
    for _ in range(tasks):
        duration, seen = rng.lognormvariate(math.log(median), sigma), 0.0
        while seen + 10 < duration:
            hazard.alive(seen, seen + 10)
            seen += 10
        hazard.ended(seen, duration)
    hazard.refresh()


def survival(hazard: Hazard, age: float) -> float:
    return 1 - hazard.hidden(0.0, age)[0]


def test_buckets_grow_from_a_second_and_cover_every_age() -> None:
    assert EDGES[:4] == (0, 1, 2, 3)
    assert EDGES[-1] >= 7200
    assert [bucket_of(age) for age in (-1.0, 0.0, 0.99, 1.0, 1e9)] == [0, 0, 0, 1, BUCKETS - 1]


def test_the_durations_seen_are_what_is_expected() -> None:
    hazard = learned(random.Random(1), 400)
    assert survival(hazard, 100.0) == pytest.approx(0.5, abs=0.08)
    assert survival(hazard, 50.0) == pytest.approx(0.98, abs=0.03)
    assert survival(hazard, 200.0) < 0.05


def test_nothing_known_is_a_wide_guess() -> None:
    hazard = Hazard("a")
    assert not hazard.is_known
    assert survival(hazard, 160.0) == pytest.approx(0.5, abs=0.05)
    assert 0.01 < 1 - survival(hazard, 20.0) < 0.1
    assert survival(hazard, 600.0) > 0.02


def test_a_class_is_told_once_when_it_has_become_known() -> None:
    hazards = Hazards()
    clip = hazards.of("clip")
    for _ in range(4):
        clip.ended(0.0, 100.0)
        assert hazards.refresh() == []
    clip.ended(0.0, 100.0)
    assert hazards.refresh() == [clip]
    clip.ended(0.0, 100.0)
    assert hazards.refresh() == []


def test_failures_tell_when_they_come_and_not_how_long_the_others_take() -> None:
    """However early: a clip that is refused within seconds does not make another one likely to be ready."""
    hazard, plain = learned(random.Random(9), 100), learned(random.Random(9), 100)
    for _ in range(30):
        hazard.ended(4.0, 5.0, failed=True)
        plain.ended(4.0, 5.0)
    hazard.refresh()
    plain.refresh()
    assert hazard.hidden(0.0, 8.0)[0] > 0.1
    only = Hazard("b")
    for _ in range(20):
        only.ended(0.0, 3.0, failed=True)
    assert not only.is_known
    usual = learned(random.Random(9), 100).hidden(60.0, 120.0)[0]
    assert hazard.hidden(60.0, 120.0)[0] == pytest.approx(usual, abs=0.03)


def test_pictures_and_sounds_are_guessed_to_come_sooner_than_clips() -> None:
    hazards = Hazards()
    assert survival(hazards.of("picture", OTHERS), 30.0) == pytest.approx(0.5, abs=0.05)
    assert survival(hazards.of("clip"), 30.0) > 0.9
    teach(hazards.of("picture", OTHERS), random.Random(8), 50, 100.0)
    kept = Hazards()
    kept.take_plain(hazards.to_plain())
    again = kept.of("picture", OTHERS)
    assert again.guess == OTHERS
    assert survival(again, 100.0) == pytest.approx(survival(hazards.of("picture", OTHERS), 100.0), abs=0.02)


def test_a_service_that_slows_down_is_believed_before_the_slow_tasks_end() -> None:
    """Unfinished tasks count: at ages at which all used to have ended, many are seen alive."""
    hazard = learned(random.Random(2), 200)
    before = hazard.hidden(100.0, 150.0)[0]
    for _ in range(100):
        hazard.alive(0.0, 250.0)
    hazard.refresh()
    assert hazard.hidden(100.0, 150.0)[0] < before / 1.5


def test_old_evidence_fades() -> None:
    rng = random.Random(3)
    hazard = learned(rng, 300, median=300.0)
    teach(hazard, rng, 400, median=60.0)
    assert survival(hazard, 60.0) == pytest.approx(0.5, abs=0.12)


def test_weights_are_scaled_down_without_a_change() -> None:
    hazard = learned(random.Random(4), 50)
    before = [value for age in (10.0, 80.0, 300.0) for value in hazard.hidden(0.0, age)]
    hazard._scale_down()
    hazard._stale = True
    hazard.refresh()
    assert hazard.weight == 1.0
    assert [value for age in (10.0, 80.0, 300.0) for value in hazard.hidden(0.0, age)] == pytest.approx(before)
    hazard.weight = 1e9
    hazard.ended(10.0, 20.0)
    assert hazard.weight == 1.0


def test_the_waiting_is_the_integral_of_the_probability() -> None:
    hazard = learned(random.Random(5), 100)
    for seen, now in ((0.0, 30.0), (60.0, 70.0), (90.0, 150.0)):
        steps = 2000
        width = (now - seen) / steps
        exact = sum(hazard.hidden(seen, seen + (step + 0.5) * width)[0] for step in range(steps)) * width
        assert hazard.hidden(seen, now)[1] == pytest.approx(exact, rel=0.03)


ages = st.floats(0, 20_000)


@given(st.lists(st.tuples(st.booleans(), ages, ages), max_size=30), st.lists(ages, min_size=3, max_size=3))
def test_whatever_was_seen_it_is_a_probability_that_grows(
    story: list[tuple[bool, float, float]], moments: list[float]
) -> None:
    hazard = Hazard("a")
    for ended, one, other in story:
        if ended:
            hazard.ended(min(one, other), max(one, other))
        else:
            hazard.alive(one, other, 2)
    hazard.refresh()
    seen, early, late = sorted(moments)
    sooner, later = hazard.hidden(seen, early), hazard.hidden(seen, late)
    assert 0 <= sooner[0] <= later[0] + 1e-9 <= 1 + 1e-6
    assert -1e-6 <= sooner[1] <= later[1] + 1e-6
    assert later[1] <= (late - seen) * (1 + 1e-6) + 1e-6
    assert hazard.hidden(late, seen) == (0.0, 0.0)


def test_what_is_known_is_kept_as_plain_data() -> None:
    hazards = Hazards()
    teach(hazards.of("a"), random.Random(6), 50, 100.0)
    hazards.of("a").explored_s = 64.0
    hazards.of("without history").alive(0.0, 5.0)
    plain = json.loads(json.dumps(hazards.to_plain()))
    assert list(plain) == ["a"]
    again = Hazards()
    held = again.of("a")  # rows hold on to a class before it is recalled
    again.take_plain(plain)
    again.refresh()
    assert again.of("a") is held
    assert held.is_known
    assert held.explored_s == 64.0
    for age in (10.0, 100.0, 200.0):
        assert held.hidden(0.0, age) == pytest.approx(hazards.of("a").hidden(0.0, age), rel=0.02)


def test_what_was_learned_here_is_not_replaced_by_what_was_kept() -> None:
    hazards = Hazards()
    teach(hazards.of("a"), random.Random(7), 50, 100.0)
    other = Hazards()
    teach(other.of("a"), random.Random(7), 50, 900.0)
    hazards.take_plain(other.to_plain())
    hazards.refresh()
    assert hazards.of("a").hidden(0.0, 150.0)[0] > 0.5


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        {"a": None},
        {1: {}},
        {"a": {"fit": [1, 2], "evidence": [[0, 1, 2]]}},
        {"a": {"fit": [5, 5, "x", 1], "evidence": []}},
        {"a": {"fit": [5, 5, 20, 90], "evidence": [[0.5, 1, 2]]}},
        {"a": {"fit": [5, 5, 20, 90], "evidence": [[10**9, 1, 2]]}},
        {"a": {"fit": [5, 5, 20, math.nan], "evidence": []}},
        {"a": {"fit": [5, 5, 20, 90], "evidence": [[0, -1, 2]]}},
        {"a": {"fit": [5, 5, 20, 90], "evidence": [[0, True, 2]], "explored_s": "x"}},
    ],
)
def test_what_cannot_be_read_is_left_out(plain: object) -> None:
    hazards = Hazards()
    hazards.take_plain(plain)
    hazards.refresh()
    assert not hazards.of("a").is_known
    assert 0 < hazards.of("a").hidden(0.0, 100.0)[0] < 1


def test_what_was_kept_with_a_count_of_all_endings_is_read_as_well() -> None:
    plain = learned(random.Random(10), 50).to_plain()
    fit = plain["fit"]
    assert isinstance(fit, list)
    older = Hazard.from_plain("a", {**plain, "fit": [60.0, *fit]})
    assert older.to_plain() == Hazard.from_plain("a", plain).to_plain()
    assert older.is_known
