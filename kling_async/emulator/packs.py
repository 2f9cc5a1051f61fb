"""Resource packs: what the account bought, and what is left of it.

Place: under account and service. Source: service reference, "Account and billing".
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal

import attrs

PackStatus = Literal["toBeOnline", "online", "expired", "runOut"]


@attrs.frozen(kw_only=True)
class ResourcePack:
    """One bought pack; moments are Unix seconds of the emulator's clock.

    Attributes:
        name, pack_id: how it is told.
        pack: whose units it holds ("video", "image", "audio", "try_on", "general").
        total: units bought.
        kind: whether it runs out once, or belongs to a period.
        purchased_at, effective_at, invalid_at: when it was bought, begins and ends.
    """

    name: str
    pack_id: str
    pack: str = "video"
    total: float = 100_000.0
    kind: Literal["decreasing_total", "constant_period"] = "decreasing_total"
    purchased_at: float
    effective_at: float
    invalid_at: float

    def is_usable(self, now: float) -> bool:
        """Whether it has begun and not ended."""
        return self.effective_at <= now < self.invalid_at

    def status(self, remaining: Decimal, now: float) -> PackStatus:
        """How the service calls its state."""
        if now < self.effective_at:
            return "toBeOnline"
        if now >= self.invalid_at:
            return "expired"
        return "online" if remaining > 0 else "runOut"


def shares(packs: Iterable[ResourcePack], billed: dict[str, Decimal]) -> list[tuple[ResourcePack, Decimal]]:
    """Each pack with its share of the units billed per kind: the first bought is used up first."""
    left = dict(billed)
    told = []
    for pack in sorted(packs, key=lambda pack: pack.purchased_at):
        share = min(left.get(pack.pack, Decimal(0)), Decimal(str(pack.total)))
        left[pack.pack] = left.get(pack.pack, Decimal(0)) - share
        told.append((pack, share))
    return told


def room(packs: Iterable[ResourcePack], promised: Mapping[str, Decimal], pack: str, now: float) -> Decimal:
    """Units that the usable packs still have for a kind; kinds without a pack of their own use the video pack."""
    bought = list(packs)
    kinds = {one.pack for one in bought}
    kind = pack if pack in kinds else "video"
    total = sum((Decimal(str(one.total)) for one in bought if one.pack == kind and one.is_usable(now)), Decimal(0))
    spent = sum((units for name, units in promised.items() if (name if name in kinds else "video") == kind), Decimal(0))
    return total - spent
