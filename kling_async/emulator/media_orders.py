"""Orders of sounds and pictures: what their bodies share.

Place: under the rows of `sound_rows.py` and `picture_rows.py`.
"""

from typing import Any

from .checks import Body, Field, Order, dig, text
from .rows import Row

CALLER = (Field("external_task_id", "text"), Field("callback_url", "text"))


def ordered(row: Row, body: Body, **more: Any) -> Order:
    """The order of a legacy body, with what all endpoints of this kind share."""
    common: dict[str, Any] = {
        "model": text(body, "model_name") or row.model,
        "prompt": text(body, "prompt"),
        "seconds": 0.0,
        "watermark": dig(body, "watermark_info.enabled") is True,
        "external_id": text(body, "external_task_id"),
        "callback_url": text(body, "callback_url"),
    }
    return Order(**(common | more))


def number(value: object, default: float) -> float:
    """A number, else the default."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
