"""Everything drawn by lot: ids, durations, failures. Same seed, same order of creation, same fate.

Place: under the service. Each task owns a generator made of the seed and its ordinal, so neither the clock nor the
queries between two creates can change what is drawn.
"""

import math
import random
import string
from collections.abc import Mapping

import attrs

from .rows import Row

# A fixed time, a uniform range (low, high), or None for realistic; all in emulated seconds.
Spread = float | tuple[float, float] | None
Durations = Spread | Mapping[str, Spread]

# Spread of the logarithm of a generation's time: p99 is about three medians, a heavy tail as users report it.
# Source: service reference, "Generation time" (means only; the spread is assumed).
SIGMA = 0.5

# Seconds until a task fails whose input was no good. Source: service reference, "early failure" (1.7 s).
EARLY_FAILURE_S = (1.0, 2.0)

# Share of a generation spent in `submitted`, and its cap in seconds; assumed.
_QUEUED_SHARE = (0.02, 0.15)
_QUEUED_MAX_S = 20.0

RISK_CONTROL = "Failure to pass the risk control system: the output triggered the content risk control"
_REASONS = (
    "Service busy, please try again later",
    "Generation failed due to an internal error",
    RISK_CONTROL,
)

# First id of each length; the distance between two is random, so that ids look like the service's.
_FIRST_ID = {18: 867_000_000_000_000_000, 19: 2_032_000_000_000_000_000}
_ID_STEP = 1_000_000
_PUBLIC_ALPHABET = string.ascii_letters + string.digits


@attrs.frozen
class Fate:
    """What will become of one task; times in emulated seconds after its creation."""

    task_id: str
    public_id: str
    asset_key: int
    processing_s: float
    ended_s: float
    reason: str  # why it fails, "" when it succeeds
    extra_s: float  # by how much a clip is longer than asked


def draw(
    row: Row, model: str, ordinal: int, *, seed: int, digits: int, durations: Durations, failure_rate: float
) -> Fate:
    """Draw the fate of the task created as number `ordinal` (from 0)."""
    rng = random.Random(seed * 1_000_003 + ordinal)
    task_id = str(_FIRST_ID[digits] + ordinal * _ID_STEP + rng.randrange(_ID_STEP))
    public_id = "task_" + "".join(rng.choices(_PUBLIC_ALPHABET, k=24))
    asset_key = rng.getrandbits(64)
    normal = rng.normalvariate(0.0, 1.0)
    share = rng.random()
    fails = rng.random() < failure_rate
    reason = rng.choice(_REASONS)
    queued = rng.uniform(*_QUEUED_SHARE)
    # Results are a little longer than asked. Source: service reference, "Fields" ("5.041", "5.1", "5.0").
    extra_s = rng.choice((0.0, 0.041, 0.1))
    ended_s = _length(_spread_of(row, durations), row.mean_s_of_model.get(model, row.mean_s), normal, share)
    return Fate(
        task_id=task_id,
        public_id=public_id,
        asset_key=asset_key,
        processing_s=min(ended_s * queued, _QUEUED_MAX_S),
        ended_s=ended_s,
        reason=reason if fails else "",
        extra_s=extra_s,
    )


def how_many(seed: int, ordinal: int, counts: tuple[int, int]) -> int:
    """How many results the service decides to make, between these two."""
    return random.Random(seed * 1_000_003 + ordinal + 0.5).randint(*counts)


def early(fate: Fate, reason: str) -> Fate:
    """The same task, failing within a second or two because its input was no good."""
    low, high = EARLY_FAILURE_S
    ended_s = low + (high - low) * (fate.asset_key % 1000) / 1000
    return attrs.evolve(fate, processing_s=ended_s * 0.2, ended_s=ended_s, reason=reason)


def _spread_of(row: Row, durations: Durations) -> Spread:
    if not isinstance(durations, Mapping):
        return durations
    for name in (row.name, row.family, "*"):
        if name in durations:
            return durations[name]
    return None


def _length(spread: Spread, mean_s: float, normal: float, share: float) -> float:
    if spread is None:
        # The mean of a lognormal is its median times exp(sigma^2 / 2).
        return mean_s * math.exp(SIGMA * normal - SIGMA**2 / 2)
    if isinstance(spread, tuple):
        low, high = spread
        return low + (high - low) * share
    return float(spread)
