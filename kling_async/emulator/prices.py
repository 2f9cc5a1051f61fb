"""What a generation costs: units per second by model, quality and sound.

Place: under the service, which bills succeeded tasks only. The figures are the printed list; they only have to be
plausible and stable. Source: service reference, "Price".
"""

from decimal import Decimal

import attrs

from .checks import Order
from .rows import Row

# List price of one unit in USD, by pack. A try-on is priced by the piece: its unit is one piece.
UNIT_USD: dict[str, Decimal] = {
    "video": Decimal("0.14"),
    "audio": Decimal("0.14"),
    "general": Decimal("0.14"),
    "image": Decimal("0.0035"),
    "try_on": Decimal("0.07"),
}


@attrs.frozen
class Rate:
    """Units per second: silent, with sound, with a reference video; each for (720p, 1080p, 4k)."""

    silent: tuple[str, str, str]
    sound: tuple[str, str, str] | None = None
    video: tuple[str, str, str] | None = None
    voice: tuple[str, str, str] | None = None


_OLD = Rate(("0.4", "0.7", "0.7"))
_MASTER = Rate(("2.0", "2.0", "2.0"))
_THREE = Rate(("0.6", "0.8", "3.0"), ("0.9", "1.2", "3.0"))
_OMNI = Rate(("0.6", "0.8", "3.0"), ("0.8", "1.0", "3.0"), ("0.9", "1.2", "3.0"))
_O1 = Rate(("0.6", "0.8", "0.8"), None, ("0.9", "1.2", "1.2"))
_TWO_SIX = Rate(("0.3", "0.5", "0.5"), ("0.3", "1.0", "1.0"), None, ("0.3", "1.2", "1.2"))
_TWO_FIVE = Rate(("0.3", "0.5", "0.5"))
_TURBO = Rate(("0.8", "1.0", "1.0"))

_RATES: dict[str, Rate] = {
    "kling-v1": Rate(("0.2", "0.7", "0.7")),
    "kling-v1-5": _OLD,
    "kling-v1-6": _OLD,
    "kling-v2-1": _OLD,
    "kling-v2-master": _MASTER,
    "kling-v2-1-master": _MASTER,
    "kling-v2-5-turbo": _TWO_FIVE,
    "kling-2.5-turbo": _TWO_FIVE,
    "kling-v2-6": _TWO_SIX,
    "kling-2.6": _TWO_SIX,
    "kling-v3": _THREE,
    "kling-3.0": _THREE,
    "kling-3.0-turbo": _TURBO,
    "kling-v3-omni": _OMNI,
    "kling-3.0-omni": _OMNI,
    "kling-4.0": _OMNI,
    "kling-4.0-flash": _OMNI,
    "kling-video-o1": _O1,
    "kling-o1": _O1,
}
_MOTION_THREE, _MOTION_TWO_SIX = Rate(("0.9", "1.2", "1.2")), Rate(("0.5", "0.8", "0.8"))
_MOTION: dict[str, Rate] = {
    "kling-3.0": _MOTION_THREE,
    "kling-v3": _MOTION_THREE,
    "kling-2.6": _MOTION_TWO_SIX,
    "kling-v2-6": _MOTION_TWO_SIX,
}

# Models without a printed price (retired and future ones) cost what 3.0 does; 4.0 what 3.0 omni does.
_DEFAULT = _THREE


def units_of(row: Row, order: Order) -> Decimal:
    """Units that the task will cost when it succeeds."""
    if row.price is not None:
        return row.price(order).normalize()
    table = _MOTION if row.family == "motion-control" else _RATES
    rate = table.get(order.model, _DEFAULT)
    prices = rate.silent
    if order.video_input and rate.video:
        prices = rate.video
    elif order.voice and rate.voice:
        prices = rate.voice
    elif order.sound and rate.sound:
        prices = rate.sound
    per_second = Decimal(prices[("std", "pro", "4k").index(order.mode)])
    # Several videos of one order share its seconds; several images are as many orders.
    pieces = 1 if "lengths" in order.facts else order.count
    return (per_second * Decimal(str(order.seconds)) * pieces).normalize()


def plain(amount: Decimal) -> str:
    """The amount as the service writes it: "3", "1.8", never "3E+1"."""
    return f"{amount.normalize():f}"
