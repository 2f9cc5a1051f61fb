"""How likely it is that a task has ended since it was last seen: learned per class of task, no clock, no I/O.

Stage: decide. Before: poller (what was seen). After: bands and sweep, which weigh questions by it.

Theory. A class (endpoint, model, mode, duration) has a hazard by age: endings over task-seconds under observation.
Tasks that have not ended count with the time they have run, so neither short tasks nor a service that slows down bias
it, and a stuck task lowers it at once. Older evidence fades with the endings that follow it. While there is little, a
lognormal law fitted to how long those took that succeeded stands in for it, worth eight tasks. The integral of the
hazard from the last look until now tells how probably a task has ended unseen; the integral of that is the waiting
which not asking has probably hidden.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import attrs


def _edges() -> tuple[float, ...]:
    edges = [0.0]
    while edges[-1] < 7200.0:  # the longest time a task may take, unless the caller says otherwise
        edges.append(edges[-1] + max(1.0, 0.08 * edges[-1]))
    return tuple(edges)


EDGES = _edges()  # ages in seconds, a second apart at first and then growing by 8 %
BUCKETS = len(EDGES) - 1
_WIDTHS = tuple(after - before for before, after in pairwise(EDGES))

_HALF_LIFE = 100.0  # endings after which evidence counts half; simulated: a faster service is noticed soon enough
_GROWTH = 2.0 ** (1.0 / _HALF_LIFE)
_HEAVIEST = 1e9  # weights are scaled down before they lose digits
_BACKBONE_TASKS = 8.0
_FIT_TASKS = 2.0  # what the first guess is worth in the fitted law
_LEAST_SIGMA = 0.15
_QUICK_SHARE, _QUICK_S = 0.03, 10.0  # refusals by moderation come within seconds, whatever the law says
_LAST_SHARE, _LAST_S = 1e-4, 900.0  # however old, a task may still end
# Of each edge its logarithm, the share that ends quickly, and the least share alive.
_LAW_EDGES = tuple(
    (
        math.log(max(age_s, 1e-3)),
        _QUICK_SHARE * math.exp(-age_s / _QUICK_S),
        _LAST_SHARE * math.exp(-age_s / _LAST_S),
    )
    for age_s in EDGES
)
KNOWN_ENDINGS = 4.5  # five, of which the first have faded a little


@attrs.frozen
class Guess:
    """How long tasks take of which nothing is known: a lognormal law.

    Attributes:
        median_s: of their durations, seconds.
        sigma: of the logarithm of the durations.
    """

    median_s: float
    sigma: float


# Averages that others publish for clips lie between 160 and 460 s, the quick models well below: some minutes.
CLIPS = Guess(160.0, 0.65)
OTHERS = Guess(30.0, 1.0)  # pictures and sounds: nobody says; seconds to minutes


@attrs.define(eq=False)
class Hazard:
    """What is known about the durations of one class of tasks.

    Attributes:
        name: of the class.
        guess: how long they take, as far as nothing is known of them.
        explored_s: age up to which tasks of a class without history were looked at, seconds.
        endings, exposure: evidence per bucket of age, in tasks and task-seconds, times `weight`.
        weight: of the next ending.
        was_known: whether that it is known has been told.
    """

    name: str
    guess: Guess = CLIPS
    explored_s: float = 0.0
    endings: array[float] = attrs.field(factory=lambda: array("d", bytes(8 * BUCKETS)), repr=False)
    exposure: array[float] = attrs.field(factory=lambda: array("d", bytes(8 * BUCKETS)), repr=False)
    weight: float = 1.0
    was_known: bool = False
    _fitted: float = 0.0
    _logs: float = 0.0
    _squares: float = 0.0
    _table: list[tuple[float, float, float, float]] = attrs.field(factory=list, repr=False)
    _stale: bool = True

    @property
    def is_known(self) -> bool:
        """Whether enough tasks of this class were seen to succeed for its own figures to count."""
        return self._fitted >= KNOWN_ENDINGS

    # --- evidence --------------------------------------------------------------------------------------------------

    def alive(self, begin_s: float, end_s: float, tasks: int = 1) -> None:
        """Count tasks that were seen alive at one age, and are seen alive at a later one."""
        first = bucket_of(begin_s)
        last = bucket_of(end_s)
        weight = self.weight * tasks
        exposure = self.exposure
        if end_s <= begin_s or begin_s >= EDGES[-1]:
            return
        if first == last:
            exposure[first] += weight * (end_s - begin_s)
        else:
            exposure[first] += weight * (EDGES[first + 1] - begin_s)
            for bucket in range(first + 1, last):
                exposure[bucket] += weight * _WIDTHS[bucket]
            exposure[last] += weight * (min(end_s, EDGES[-1]) - EDGES[last])
        self._stale = True

    def ended(self, seen_s: float, duration_s: float, *, failed: bool = False) -> None:
        """Count a task that was seen alive at the age `seen_s` and ended at the age `duration_s`."""
        self.alive(min(seen_s, duration_s), duration_s)
        self.weight *= _GROWTH
        self.endings[bucket_of(duration_s)] += self.weight
        if not failed:  # a failure says nothing about how long the others take
            log = math.log(max(duration_s, 1.0))
            self._fitted = self._fitted / _GROWTH + 1.0
            self._logs = self._logs / _GROWTH + log
            self._squares = self._squares / _GROWTH + log * log
        self._stale = True
        if self.weight > _HEAVIEST:
            self._scale_down()

    def _scale_down(self) -> None:
        for evidence in (self.endings, self.exposure):
            for bucket in range(BUCKETS):
                evidence[bucket] /= self.weight
        self.weight = 1.0

    def expect(self, guess: Guess) -> None:
        """Guess otherwise at what is not known."""
        self.guess, self._stale = guess, True

    # --- what follows from it --------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Draw the conclusions of the evidence since the last time; some 0.1 ms, so not done for every look."""
        if not self._stale:
            return
        self._stale = False
        law_endings, law_exposure = self._law()
        endings, exposure = _smooth(self.endings), _smooth(self.exposure)
        weight, total, area = self.weight, 0.0, 0.0
        table = []
        for bucket, width in enumerate(_WIDTHS):
            seen_tasks = endings[bucket] / weight + _BACKBONE_TASKS * law_endings[bucket]
            seen_s = exposure[bucket] / weight + _BACKBONE_TASKS * law_exposure[bucket]
            rate = seen_tasks / (seen_s + 1e-9)
            table.append((EDGES[bucket], rate, total, area))
            area += (total + rate * width / 2) * width
            total += rate * width
        self._table = table

    def _mean(self) -> float:
        return (self._logs + _FIT_TASKS * math.log(self.guess.median_s)) / (self._fitted + _FIT_TASKS)

    def _law(self) -> tuple[list[float], list[float]]:
        """Give endings and task-seconds per bucket of one task that follows the fitted lognormal law."""
        mean = self._mean()
        first_guess = _FIT_TASKS * (math.log(self.guess.median_s) ** 2 + self.guess.sigma**2)
        second = (self._squares + first_guess) / (self._fitted + _FIT_TASKS)
        sigma = math.sqrt(max(second - mean * mean, _LEAST_SIGMA**2))
        alive = []
        width = sigma * math.sqrt(2.0)
        for log_age, quick, least in _LAW_EDGES:
            usual = (1 - _QUICK_SHARE) * (0.5 * math.erfc((log_age - mean) / width)) + quick
            alive.append(max(least, usual))
        pairs = list(pairwise(alive))
        endings = [before - after for before, after in pairs]
        return endings, [(before + after) / 2 * width for (before, after), width in zip(pairs, _WIDTHS, strict=True)]

    def at(self, age_s: float) -> tuple[float, float]:
        """Give the integral of the hazard up to an age, and the integral of that integral (seconds)."""
        # Beyond the last edge the last hazard holds on.
        edge, rate, total, area = self._table[bisect_right(EDGES, age_s, 1, BUCKETS) - 1]
        passed_s = age_s - edge
        grown = rate * passed_s
        return total + grown, area + (total + grown / 2) * passed_s

    def hidden(self, seen_s: float, age_s: float) -> tuple[float, float]:
        """Tell what not asking about a task since it was seen alive has probably hidden.

        Args:
            seen_s: its age when it was last seen, seconds.
            age_s: its age now, seconds.

        Returns:
            The probability that it has ended, and the expected waiting since, seconds.
        """
        if not self._table:
            self.refresh()
        if age_s <= seen_s:
            return 0.0, 0.0
        before, area = self.at(seen_s)
        total, total_area = self.at(age_s)
        risk = total - before
        waiting_s = total_area - area - before * (age_s - seen_s)
        if risk < 0.02:
            return risk, waiting_s
        return -math.expm1(-risk), self._waiting_s(seen_s, age_s)

    def _waiting_s(self, seen_s: float, age_s: float) -> float:
        """Integrate the probability exactly, a bucket of steady hazard at a time: a task ends once."""
        bucket = bisect_right(EDGES, seen_s, 1, BUCKETS) - 1
        alive, begin_s, waiting_s = 1.0, seen_s, 0.0
        while begin_s < age_s:
            last = bucket >= BUCKETS - 1
            end_s = age_s if last else min(EDGES[bucket + 1], age_s)
            rate, passed_s = self._table[bucket][1], end_s - begin_s
            died = -math.expm1(-rate * passed_s)
            # With no hazard at all they are alive all the time.
            waiting_s += passed_s - alive * (died / rate if rate > 0 else passed_s)
            alive -= alive * died
            begin_s, bucket = end_s, bucket + 1
        return waiting_s

    # --- kept between runs -----------------------------------------------------------------------------------------

    def take(self, other: Hazard) -> None:
        """Know what another knows, instead of what was known here."""
        for field in attrs.fields(Hazard):
            if field.name not in {"name", "guess"}:
                setattr(self, field.name, getattr(other, field.name))

    def to_plain(self) -> dict[str, object]:
        """Write what is known as plain data: only the buckets that hold something."""
        evidence = [
            [bucket, round(ended / self.weight, 6), round(seen_s / self.weight, 3)]
            for bucket, (ended, seen_s) in enumerate(zip(self.endings, self.exposure, strict=True))
            if ended or seen_s
        ]
        fit = [self._fitted, self._logs, self._squares]
        return {"explored_s": self.explored_s, "fit": fit, "evidence": evidence}

    @classmethod
    def from_plain(cls, name: str, plain: object) -> Hazard:
        """Read it again; what cannot be read is left out, since it costs only queries."""
        hazard = cls(name)
        fields: Mapping[Any, Any] = plain if isinstance(plain, Mapping) else {}
        fit = _numbers(fields.get("fit"))
        rows = [_numbers(row) for row in _list(fields.get("evidence"))]
        good = [row for row in rows if len(row) == 3 and row[0] == int(row[0]) and row[0] < BUCKETS]
        if len(fit) in {3, 4} and len(good) == len(rows):  # of four the first counted all endings, and serves no more
            hazard._fitted, hazard._logs, hazard._squares = fit[-3:]
            for bucket, ended, seen_s in good:
                hazard.endings[int(bucket)], hazard.exposure[int(bucket)] = ended, seen_s
        explored = _numbers([fields.get("explored_s")])
        hazard.explored_s = explored[0] if explored else 0.0
        return hazard


@attrs.define(eq=False)
class Hazards:
    """What is known about every class of tasks of one host, by the name of the class."""

    _classes: dict[str, Hazard] = attrs.field(factory=dict)

    def of(self, name: str, guess: Guess = CLIPS) -> Hazard:
        """Give the class of that name, which is guessed at like this as long as nothing is known."""
        hazard = self._classes.get(name)
        if hazard is None:
            hazard = self._classes[name] = Hazard(name, guess)
        if hazard.guess != guess:  # one read from an earlier run was not told
            hazard.expect(guess)
        return hazard

    def refresh(self) -> list[Hazard]:
        """Draw the conclusions of what was seen since the last time; give the classes that have become known by it."""
        fresh = []
        for hazard in self._classes.values():
            hazard.refresh()
            if hazard.is_known and not hazard.was_known:
                hazard.was_known = True
                fresh.append(hazard)
        return fresh

    def to_plain(self) -> dict[str, object]:
        """Write what is known of the classes with history as plain data."""
        return {name: hazard.to_plain() for name, hazard in self._classes.items() if hazard.is_known}

    def take_plain(self, plain: object) -> None:
        """Begin with what an earlier run knew; classes that have been seen already keep what is known of them."""
        for name, fields in plain.items() if isinstance(plain, Mapping) else ():
            if isinstance(name, str) and not (name in self._classes and self._classes[name].is_known):
                learned = Hazard.from_plain(name, fields)
                mine = self._classes.setdefault(name, learned)
                if mine is not learned:  # rows hold on to it already
                    mine.take(learned)


def bucket_of(age_s: float) -> int:
    """Give the bucket of an age, seconds."""
    return bisect_right(EDGES, age_s, 1, BUCKETS) - 1


def _smooth(values: array[float]) -> list[float]:
    inner = [
        (before + 2 * value + after) / 4 for before, value, after in zip(values, values[1:], values[2:], strict=False)
    ]
    return [values[0], *inner, values[-1]]


def _list(plain: object) -> Iterable[object]:
    return plain if isinstance(plain, list) else ()


def _numbers(plain: object) -> list[float]:
    """Give the finite numbers from 0 of a list, or nothing if there is anything else in it."""
    values = list(_list(plain))
    good = all(isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v < 1e15 for v in values)
    return [float(v) for v in values if isinstance(v, int | float)] if good else []
