"""How long to wait after trouble: the only use of `backoff`, whose wait generators give the delays.

Stage: move. Used by the scheduler for the poller as a whole and for submissions as a whole,
never per task: a delay per task would unbatch every question.
"""

from __future__ import annotations

import random
from itertools import islice

import attrs
import backoff

_CAP_S = 60.0
_COST = 5  # tokens of a retry
_LONGEST_WISH_S = 300.0  # a Retry-After beyond this is taken as this: a host may be wrong, and jobs are waiting


def _delays(first_s: float, cap_s: float) -> tuple[float, ...]:
    # The first value that the generator yields only primes it (backoff 2.2 and its continuation alike).
    grown = islice(backoff.expo(base=2, factor=first_s, max_value=cap_s), 1, 17)
    return tuple(float(delay) for delay in grown)


@attrs.define
class Quota:
    """What a session may spend on trying again: a host that fails every other time is not tried at full speed for ever.

    Attributes:
        left: tokens; trouble costs some, a success gives one back. Source: botocore's standard retry mode.
    """

    left: int = 500
    _most: int = 500

    def spend(self) -> bool:
        """Pay for one more try; False when there is nothing left."""
        enough = self.left >= _COST
        self.left = max(0, self.left - _COST)
        return enough

    def earn(self) -> None:
        """Take note of a success."""
        self.left = min(self._most, self.left + 1)


@attrs.define
class Backoff:
    """Exponential delays with full jitter that shrink again step by step.

    Attributes:
        rng: source of the jitter.
        first_s: longest first delay, seconds.
        cap_s: longest delay of all, seconds.
        quota: what all retries of the session share; once it is spent, the longest delay is taken.
        level: how many steps up; each trouble adds one, each success takes one off (additive recovery, so that one
            good answer in an outage does not bring the whole load back).
    """

    rng: random.Random
    first_s: float = 1.0
    cap_s: float = _CAP_S
    quota: Quota = attrs.field(factory=Quota)
    level: int = 0
    _table: tuple[float, ...] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._table = _delays(self.first_s, self.cap_s)

    def trouble(self, wish_s: float | None = None) -> float:
        """Go one step up and give the seconds to wait; the host's own wish is honoured, up to five minutes."""
        longest = self._table[min(self.level, len(self._table) - 1) if self.quota.spend() else -1]
        self.level = min(self.level + 1, len(self._table))
        # `backoff.full_jitter` draws from the global random; ours is seeded, and never quite zero.
        delay_s = self.rng.uniform(0.1 * longest, longest)
        return max(delay_s, min(wish_s or 0.0, _LONGEST_WISH_S))

    def success(self) -> None:
        """Go one step down."""
        self.level = max(0, self.level - 1)
        self.quota.earn()
