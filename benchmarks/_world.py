"""The workload of the benchmarks on virtual time: tasks of eight sorts, when they are asked for and how long they take.

Theory. Tasks arrive as a Poisson stream, so that the wanted number is pending on average. Their times are lognormal
around medians of 75 to 420 s as they are told of the service's models; some wait in a queue first, a few fail early.
Everything is drawn from one seed before the run, so that every policy meets the same tasks at the same moments.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import attrs

from kling_async import ImageToVideo, TextToVideo

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUED_SHARE, QUEUED_MEAN_S = 0.15, 60.0
EARLY_SHARE, EARLY_MEAN_S, EARLY_FROM_S = 0.03, 8.0, 2.0
SHORTEST_S, LONGEST_S = 2.0, 3600.0
PICTURE = "https://pictures.example/first.png"


@attrs.frozen
class Sort:
    """Tasks of one model, mode and length: what a planner can learn the times of."""

    endpoint: str
    model: str
    mode: str
    seconds: str
    median_s: float
    sigma: float
    share: float

    @property
    def mean_s(self) -> float:
        """How long they take on average, seconds."""
        usual = self.median_s * math.exp(self.sigma**2 / 2) + QUEUED_SHARE * QUEUED_MEAN_S
        return usual * (1 - EARLY_SHARE) + EARLY_SHARE * (EARLY_FROM_S + EARLY_MEAN_S)

    def draw(self, rng: random.Random) -> tuple[float, bool]:
        """Give the time one of them takes, seconds, and whether it fails early."""
        usual = self.median_s * math.exp(self.sigma * rng.gauss(0.0, 1.0))
        waits, fails = rng.random() < QUEUED_SHARE, rng.random() < EARLY_SHARE
        queued, early = rng.expovariate(1 / QUEUED_MEAN_S), EARLY_FROM_S + rng.expovariate(1 / EARLY_MEAN_S)
        taken = early if fails else usual + (queued if waits else 0.0)
        return min(max(taken, SHORTEST_S), LONGEST_S), fails

    def request(self, name: str) -> TextToVideo | ImageToVideo:
        """Make the request for one of them."""
        prompt = "A happy scene of a vacation on the beach."
        if self.endpoint == "text2video":
            return TextToVideo(
                prompt=prompt, model_name=self.model, mode=self.mode, duration=self.seconds, external_task_id=name
            )
        return ImageToVideo(
            image=PICTURE,
            prompt=prompt,
            model_name=self.model,
            mode=self.mode,
            duration=self.seconds,
            external_task_id=name,
        )


TEXT = (
    Sort("text2video", "kling-v2-5-turbo", "pro", "5", 75.0, 0.30, 0.20),
    Sort("text2video", "kling-v1-6", "std", "5", 140.0, 0.35, 0.20),
    Sort("text2video", "kling-v1-6", "pro", "10", 290.0, 0.35, 0.10),
    Sort("text2video", "kling-v2-6", "pro", "10", 330.0, 0.40, 0.10),
)
PICTURES = (
    Sort("image2video", "kling-v2-1", "std", "5", 90.0, 0.30, 0.20),
    Sort("image2video", "kling-v2-1", "pro", "10", 200.0, 0.35, 0.10),
    Sort("image2video", "kling-v2-6", "pro", "5", 150.0, 0.45, 0.05),
    Sort("image2video", "kling-v1-6", "pro", "10", 420.0, 0.50, 0.05),
)


@attrs.define
class Planned:
    """One task of the workload.

    Attributes:
        name: its job id.
        at: when it is asked for, virtual seconds.
        takes_s: how long it takes; infinite if it never ends.
        fails: whether it ends as failed.
        made_at, ends_at: when the service made it and ends it, virtual seconds; not known before it is made.
        known_at: when its waiter was woken.
    """

    name: str
    sort: Sort
    at: float
    takes_s: float
    fails: bool
    made_at: float = math.nan
    ends_at: float = math.inf
    known_at: float = math.nan

    @property
    def lag_s(self) -> float:
        """From its end to its waiter."""
        return self.known_at - self.ends_at


@attrs.frozen(kw_only=True)
class Shift:
    """From a moment on, the service takes so many times as long, also for what is left of running tasks."""

    at: float = math.inf
    factor: float = 1.0

    def end_of(self, made_at: float, takes_s: float) -> float:
        """Give the moment a task ends."""
        if made_at >= self.at:
            return made_at + takes_s * self.factor
        over_s = made_at + takes_s - self.at
        return self.at + over_s * self.factor if over_s > 0 else made_at + takes_s


@attrs.frozen(kw_only=True)
class Workload:
    """What a run is about.

    Attributes:
        pending: tasks pending on average; or all of them at once, with `burst`.
        kinds: lists they are on: 1 (text to video) or 2 (and pictures to video).
        foreign: rows of other users in the same lists, for each row of ours.
        warm_s: virtual seconds before anything is counted.
        span_s: virtual seconds in which it is.
        burst: all at once, none later; everything is counted.
        stuck: share of tasks that never end.
        model: only tasks of this one; empty: of all.
        shift: when the service becomes slower or faster.
    """

    pending: int
    kinds: int = 2
    foreign: float = 0.0
    warm_s: float = 900.0
    span_s: float = 1500.0
    seed: int = 1
    burst: bool = False
    stuck: float = 0.0
    model: str = ""
    shift: Shift = Shift()

    @property
    def sorts(self) -> Sequence[Sort]:
        """The sorts of tasks in it."""
        sorts = TEXT + PICTURES if self.kinds == 2 else TEXT
        return [sort for sort in sorts if self.model in {"", sort.model}]

    @property
    def mean_s(self) -> float:
        """How long its tasks take on average."""
        return sum(sort.mean_s * sort.share for sort in self.sorts) / sum(sort.share for sort in self.sorts)

    @property
    def per_s(self) -> float:
        """Tasks asked for in a second."""
        return self.pending / self.mean_s

    @property
    def until(self) -> float:
        """When counting ends."""
        return math.inf if self.burst else self.warm_s + self.span_s

    def tasks(self) -> list[Planned]:
        """Draw them, in order of arrival."""
        rng = random.Random(self.seed)
        sorts, shares = self.sorts, [sort.share for sort in self.sorts]
        planned: list[Planned] = []
        at = 0.0
        while len(planned) < self.pending if self.burst else at < self.until:
            at += 0.0 if self.burst else rng.expovariate(self.per_s)
            sort = rng.choices(sorts, shares)[0]
            takes_s, fails = sort.draw(rng)
            is_stuck = rng.random() < self.stuck
            planned.append(Planned(f"job-{len(planned)}", sort, at, math.inf if is_stuck else takes_s, fails))
        return planned

    def counts(self, task: Planned) -> bool:
        """Tell whether a task ended while it was counted."""
        start = 0.0 if self.burst else self.warm_s
        return start <= task.ends_at < self.until
