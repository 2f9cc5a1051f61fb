"""Result forms of sounds and pictures that are not like those of others.

Place: named by the endpoint rows, called by replies. Each takes the snapshot of a succeeded task and gives its
`task_result` or its `outputs`. Source: service reference, "Legacy create endpoints: audio, image, general" and
"Response dialects" D4.
"""

from typing import Any

from .checks import text
from .tasks import AssetView, Snapshot
from .wares import SHOTS

Json = dict[str, Any]


def marked(row: Json, asset: AssetView) -> Json:
    """The row with the twin's address, where there is one."""
    return {**row, "watermark_url": asset.watermark_url} if asset.watermark_url else row


def audio_result(snapshot: Snapshot) -> Json:
    """Spoken text: one file and one length."""
    return {"audios": [{"id": a.asset_id, "url": a.url, "duration": a.seconds} for a in snapshot.assets]}


def omni_result(snapshot: Snapshot) -> Json:
    """Single pictures and a series have a list each, and the other one is empty."""
    images = [marked({"index": at, "url": asset.url}, asset) for at, asset in enumerate(snapshot.assets)]
    is_series = _is_series(snapshot)
    return {
        "result_type": "series" if is_series else "single",
        "images": [] if is_series else images,
        "series_images": images if is_series else [],
    }


def omni_outputs(snapshot: Snapshot) -> list[Json]:
    """Pictures of a series share a group (assumed: the reference names the key, not when it is there)."""
    group = {"group_id": snapshot.task.task_id} if _is_series(snapshot) else {}
    return [marked({"type": "image", "url": asset.url, **group}, asset) for asset in snapshot.assets]


def without_index(value: Any) -> Any:
    """The same answer with pictures as some gateways tell them: an empty id in place of the number (D13)."""
    if isinstance(value, list):
        return [without_index(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) >= {"index", "url"}:
        return {"id": "", **{name: item for name, item in value.items() if name != "index"}}
    return {name: without_index(item) for name, item in value.items()}


def _is_series(snapshot: Snapshot) -> bool:
    return text(snapshot.task.body, "result_type") == "series"


def shot_result(snapshot: Snapshot) -> Json:
    """Three views in one entry."""
    urls = {f"url_{at + 1}": asset.url for at, asset in enumerate(snapshot.assets[:SHOTS])}
    return {"images": [{"index": 0, **urls}]}


def shot_outputs(snapshot: Snapshot) -> list[Json]:
    """The three views as pictures of one group (assumed)."""
    return [{"type": "image", "url": asset.url, "group_id": snapshot.task.task_id} for asset in snapshot.assets]
