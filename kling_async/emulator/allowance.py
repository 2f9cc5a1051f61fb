"""What the account may do: slots, units and requests.

Place: under the service, which asks before it makes anything.
"""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from heapq import heappop, heappush

import attrs

from .packs import room
from .refusals import Refusal
from .settings import Settings


@attrs.define(eq=False)
class _Gate:
    """The slots of one (model version, pack): a heap of (freed at, count) and the sum."""

    used: int = 0
    ends: list[tuple[float, int]] = attrs.field(factory=list)

    def held(self, now: float) -> int:
        while self.ends and self.ends[0][0] <= now:
            self.used -= heappop(self.ends)[1]
        return self.used

    def take(self, freed_at: float, count: int) -> None:
        self.used += count
        heappush(self.ends, (freed_at, count))


@attrs.define(eq=False)
class Allowance:
    """What is taken of the account's slots, units and rate."""

    settings: Settings
    _gates: dict[tuple[str, str], _Gate] = attrs.field(factory=lambda: defaultdict(_Gate), init=False)
    _promised: dict[str, Decimal] = attrs.field(factory=lambda: defaultdict(Decimal), init=False)
    _tokens: float | None = attrs.field(default=None, init=False)
    _refilled_at: float = attrs.field(default=0.0, init=False)

    # Slots

    def slot_limit(self, model: str, pack: str) -> int | None:
        """How many slots the account has for a model version and a pack; None without limit."""
        slots = self.settings.slots
        if isinstance(slots, Mapping):
            return slots.get(model, slots.get(pack))
        return slots

    def check_slots(self, model: str, pack: str, slots: int, now: float) -> None:
        """Refuse with 1303 what would need more slots than are free."""
        limit = self.slot_limit(model, pack)
        if limit is not None and slots and self._gates[model, pack].held(now) + slots > limit:
            raise Refusal.of(1303)

    def take_slots(self, model: str, pack: str, slots: int, ended_at: float) -> None:
        """Take slots until a task has ended and the service has noticed it."""
        self._gates[model, pack].take(ended_at + self.settings.slot_release_s, slots)

    # Units

    def check_units(self, pack: str, units: Decimal, now: float) -> None:
        """Refuse with 1102 what the packs cannot pay any more."""
        if not units:
            return
        packs, limit = self.settings.packs, self.settings.units
        if packs is not None and units > room(packs, self._promised, pack, now):
            raise Refusal.of(1102)
        spent = self._promised[pack] if isinstance(limit, Mapping) else sum(self._promised.values(), Decimal(0))
        if isinstance(limit, Mapping):
            limit = limit.get(pack)
        if limit is not None and spent + units > Decimal(str(limit)):
            raise Refusal.of(1102)

    def promise(self, pack: str, units: Decimal) -> None:
        """Keep units for what will be billed."""
        self._promised[pack] += units

    # Rate

    def take_request(self, now: float) -> None:
        """Take one request out of the rate, or refuse it with 1302."""
        rate = self.settings.requests_per_s
        if rate is None:
            return
        burst = max(1.0, rate)
        if self._tokens is None:
            self._tokens, self._refilled_at = burst, now
        self._tokens = min(burst, self._tokens + max(0.0, now - self._refilled_at) * rate)
        self._refilled_at = now
        if self._tokens < 1.0:
            raise Refusal.of(1302)
        self._tokens -= 1.0
