"""Solutions: whole productions of the new standard, with a board of their own.

Place: part of the endpoint table; a row is made for any `/solutions/<area>/<name>` that is asked for, because the
reference names one and says that there are others. Source for what is checked: service reference, "Solutions API".
"""

import functools
import re
from decimal import Decimal
from typing import Any

from .checks import Body, Field, Order, check_picture, dig, items, text, wrong
from .rows import Row
from .tasks import AssetView, Snapshot

ROOT = "/solutions"
BOARD = "solutions"

# Most ids in one query; length of a page and its bounds.
LARGEST_QUERY = 20
LIMIT = 500

_PATH = re.compile(r"/solutions/[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9_-]*")
_PRICE = Decimal(5)  # assumed: no price is printed
_SECONDS = 5.0  # assumed
_VIDEOS = ("product_video", "subbed_video", "video")


@functools.lru_cache(maxsize=256)
def solution_row(path: str) -> Row | None:
    """The row of a solution's path, None when the path is none."""
    if not _PATH.fullmatch(path):
        return None
    return Row(
        name=path[1:],
        path=path,
        standard="new",
        model=path.rpartition("/")[2],
        fields=(
            Field("contents", "list", required=True),
            Field("settings", "object"),
            Field("options", "object"),
            Field("options.external_task_id", "text"),
            Field("options.callback_url", "text"),
            # Not watermark_info as everywhere else.
            Field("options.watermark", "flag"),
        ),
        rules=(_check_contents,),
        read=_read,
        tell_new=_outputs,
        price=_price,
        board=BOARD,
        official_only=True,
    )


def limit_of(value: object) -> int:
    """Rows on a page of the list: 500 unless given; 0 and less count as 1.

    Raises:
        Refusal: 1201 for what is no whole number, and above 500.
    """
    if value is None or value == "":
        return LIMIT
    if isinstance(value, bool) or not isinstance(value, int) or value > LIMIT:
        raise wrong("limit", value)
    return max(1, value)


def _check_contents(body: Body) -> None:
    for position, item in enumerate(items(body, "contents")):
        where = f"contents[{position}]"
        if not isinstance(item.get("type"), str) or not item["type"]:
            raise wrong(f"{where}.type", item.get("type"))
        if item["type"] == "prompt":
            Field("text", "text", required=True).check(item, "new")
        elif "image" in item["type"] and item.get("url"):
            check_picture(f"{where}.url", item["url"], "new")


def _read(row: Row, body: Body) -> Order:
    contents = items(body, "contents")
    return Order(
        model=row.model,
        prompt=" ".join(text(item, "text") for item in contents).strip(),
        seconds=_SECONDS,
        ratio=text(body, "settings.aspect_ratio") or None,
        watermark=dig(body, "options.watermark") is True,
        external_id=text(body, "options.external_task_id"),
        callback_url=text(body, "options.callback_url"),
        pictures=tuple(text(item, "url") for item in contents if "image" in text(item, "type") and text(item, "url")),
    )


def _price(order: Order) -> Decimal:
    return _PRICE * order.count


def _outputs(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [_output(asset) for asset in snapshot.assets]


def _output(asset: AssetView) -> dict[str, Any]:
    row: dict[str, Any] = {"type": asset.kind, "id": asset.asset_id, "url": asset.url}
    if asset.kind in _VIDEOS:
        row["duration"] = asset.seconds
    return {**row, "watermark_url": asset.watermark_url} if asset.watermark_url else row
