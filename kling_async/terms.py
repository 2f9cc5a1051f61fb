"""What asking about a task is worth at this moment: prices and patience. Pure, no clock, no I/O.

Stage: decide. Before: sweep (rows, and what was seen late). After: sweep, which asks for what is worth 1.
"""

from __future__ import annotations

import math
import random

import attrs

from .hazards import Hazard
from .models import Policy
from .reach import Form

TICK_S = 0.5  # between two plans over many bands
_LEAST_S = 1.0  # no task is asked about more often
FIRST_LOOK_S = 1.0  # at a task of a class without history
FEW = 3
# One clip in a script must not wait longer than with a loop that asks every `sweep_s`, on average, nor take more
# queries: so the looks of such a loop are spread by how likely an end is, somewhat further apart where it is not.
_PRICE_OF_FEW, _PRICE_OF_FEW_KNOWN, _USUAL_SWEEP_S = 1 / 67, 1 / 44, 5.0
_LATE_OF_FEW = 1.5
_ENOUGH_FOR_FEW = 1e-6
_LOOKS, _LOOKS_AT_FEW = 2.0, 4.0  # factor from one look at a class without history to the next
_BACKLOG_PRICE = 1 / 4  # while jobs wait for slots: what is seen late leaves a slot empty
_DEAREST, _LONGEST = 100.0, 20.0  # how far price and patience grow when queries are scarce
_SHARE_LATE = 0.01
_STEERING = 0.001
_LEAST_ENOUGH = {Form.LIST: 0.02, Form.BATCH: 0.02, Form.SINGLE: 0.0005}
_MOST_ENOUGH = 50.0


@attrs.frozen
class Terms:
    """What counts at this moment; see `Policy` for the meaning.

    Attributes:
        price_s: seconds of waiting that one query is worth.
        late_s: how long a task may be unseen before enough expected endings make it due, seconds.
        enough: how many expected endings those are.
        ceiling_s: how long it may be unseen at all, seconds.
        least_s: how long it is left alone after an answer, seconds.
        first_look_s: age at which a task of a class without history is looked at first, seconds.
        looks: factor from the age at one such look to that at the next.
    """

    price_s: float
    late_s: float
    enough: float
    ceiling_s: float
    least_s: float
    first_look_s: float
    looks: float = _LOOKS

    def worth(self, ended: float, waiting_s: float, unseen_s: float) -> float:
        """Tell what asking is worth, in prices: from 1 on it is asked.

        Args:
            ended: how many tasks have probably ended unseen.
            waiting_s: the waiting that has probably hidden, seconds.
            unseen_s: how long ago they were seen, seconds.
        """
        if unseen_s < self.least_s:
            return 0.0
        value = waiting_s / self.price_s
        if unseen_s >= self.late_s:
            value += ended / self.enough
        if unseen_s >= self.ceiling_s:
            value += 2 * (unseen_s / self.ceiling_s) ** 4  # without bound, whatever the price: nothing starves
        return value

    def exploring(self, hazard: Hazard, seen_s: float, age_s: float) -> float:
        """Tell what it is worth to look at a task of a class without history: when it is 1, 2, 4, 8, ... s old.

        Of few, when it is 1, 4, 16, ... s old.
        """
        if hazard.is_known:
            return 0.0
        look_s = max(self.first_look_s, self.looks * hazard.explored_s)
        return 2.0 if seen_s < look_s <= age_s else 0.0


@attrs.define(eq=False)
class Prices:
    """Owner of what changes in the terms.

    Attributes:
        policy: the prices and the patience the user gave.
        rng: source of the jitter.
        has_backlog: whether jobs wait for slots.
        dearer: factor on the price while queries are scarce.
        longer: factor on the patience.
        enough: expected endings that make a query due after `late_s`, by form; steers itself.
    """

    policy: Policy
    rng: random.Random
    has_backlog: bool = False
    dearer: float = 1.0
    longer: float = 1.0
    enough: dict[Form, float] = attrs.field(factory=lambda: {Form.LIST: 0.05, Form.BATCH: 0.05, Form.SINGLE: 0.003})
    early: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.draw()

    def draw(self) -> None:
        """Draw the jitter of the next sweep: it comes a little before it must, so that many clients do not meet."""
        self.early = 1.0 - self.rng.uniform(0.0, self.policy.jitter)

    def terms(self, form: Form, pending: int, *, are_known: bool = True) -> Terms:
        """Give the terms for a form of query.

        Args:
            form: of the query.
            pending: how many tasks are followed.
            are_known: whether their classes have history; of interest where they are few.
        """
        policy = self.policy
        few = pending <= FEW
        if few:
            # The best interval goes with the root of the price.
            share = (policy.sweep_s / _USUAL_SWEEP_S) ** 2
            price_s = policy.price_s * share * (_PRICE_OF_FEW_KNOWN if are_known else _PRICE_OF_FEW)
        else:
            price_s = policy.price_s * (_BACKLOG_PRICE if self.has_backlog else 1.0)
        late_s = min(policy.late_s, _LATE_OF_FEW * policy.sweep_s) if few else policy.late_s
        # Of few, each look a little early is a query more: so there the jitter goes both ways.
        early = self.early / (1.0 - policy.jitter / 2) if few else self.early
        stretch = self.longer * early
        return Terms(
            price_s=max(price_s * self.dearer * early, 1e-6),
            late_s=late_s * stretch,
            enough=min(self.enough[form], _ENOUGH_FOR_FEW) if few else self.enough[form],
            ceiling_s=policy.ceiling_s * self.longer * min(early, 1.0),
            least_s=min(_LEAST_S, policy.sweep_s),
            first_look_s=min(FIRST_LOOK_S, policy.sweep_s),
            looks=_LOOKS_AT_FEW if few else _LOOKS,
        )

    def feel(self, passed_s: float, *, scarce: bool) -> None:
        """Note whether queries were scarce: first the price rises, then the patience; both come back by themselves."""
        ticks = min(passed_s / TICK_S, 20.0)
        if not scarce:
            self.dearer = max(1.0, self.dearer * 0.99**ticks)
            self.longer = max(1.0, self.longer * 0.995**ticks)
        elif self.dearer < _DEAREST:
            self.dearer = min(_DEAREST, self.dearer * 1.05**ticks)
        else:
            self.longer = min(_LONGEST, self.longer * 1.02**ticks)

    def steer(self, form: Form, gap_s: float, lag_s: float | None) -> None:
        """Note how late an end was seen, so that one lag in a hundred is longer than `late_s`.

        Args:
            form: how its task is asked about.
            gap_s: the time between the last two looks at it, seconds.
            lag_s: how late the end was seen, seconds; None: at some time in that gap.
        """
        late_s = self.policy.late_s * self.longer
        late = max(0.0, 1.0 - late_s / max(gap_s, 1e-9)) if lag_s is None else float(lag_s > late_s)
        steered = self.enough[form] * math.exp(_STEERING * (1.0 - late / _SHARE_LATE))
        self.enough[form] = min(max(steered, _LEAST_ENOUGH[form]), _MOST_ENOUGH)
