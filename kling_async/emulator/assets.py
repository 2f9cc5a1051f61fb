"""Results: which files a task made, their signed URLs, and their bytes.

Place: beside the service. Nothing is stored: an asset's name holds the task's ordinal, and its bytes are made anew
when they are asked for.
"""

import functools
import hashlib
import hmac
import math
from collections.abc import Mapping

import attrs

from .clips import RATIOS, clip
from .tasks import AssetView, Task

__all__ = ["PREFIX", "RATIOS", "Asset", "AssetStore"]

PREFIX = "/_emulator/assets/"
_WATERMARK = "-wm"


@attrs.frozen
class Asset:
    """A file to serve: its bytes, and its strong validator."""

    content: bytes
    etag: str
    content_type: str = "video/mp4"


@attrs.define(eq=False)
class AssetStore:
    """Names, signs and makes assets.

    Args:
        ttl_s: how long a URL is good, in emulated seconds.
        fresh: whether a query after the expiry tells a new URL; else the first one stays for good.
    """

    seed: int
    ttl_s: float
    fresh: bool

    def views(self, task: Task, now: float, base: str, *, wm: bool) -> tuple[AssetView, ...]:
        """The results of a succeeded task as a reply tells them."""
        expires = self._expires(task, now)
        count = task.count if task.row.result == "images" else 1
        length = f"{task.seconds:.3f}".rstrip("0")
        length = length + "0" if length.endswith(".") else length
        views = []
        for index in range(count):
            asset_id = f"{task.ordinal:x}-{task.asset_key:016x}-{index}"
            url = self._url(base, asset_id, expires)
            twin = self._url(base, asset_id + _WATERMARK, expires) if wm else None
            views.append(AssetView(asset_id, url, twin, length))
        return tuple(views)

    def may_fetch(self, name: str, query: Mapping[str, str], now: float) -> bool:
        """Whether the URL's signature is ours and has not expired."""
        try:
            expires = int(query.get("expires", ""))
        except ValueError:
            return False
        return hmac.compare_digest(self._sign(name, expires), query.get("sig", "")) and now < expires

    def find(self, name: str, tasks: list[Task]) -> tuple[Task, str] | None:
        """The task that made the file called `name` ("1f-…-0-wm.mp4"), and the asset's id."""
        asset_id = name.removesuffix(".mp4")
        try:
            task = tasks[int(asset_id.partition("-")[0], 16)]
        except (ValueError, IndexError):
            return None
        return (task, asset_id) if asset_id.split("-")[1:2] == [f"{task.asset_key:016x}"] else None

    def make(self, task: Task, asset_id: str) -> Asset:
        """The bytes of an asset."""
        return _clip(task.ratio, task.seconds, asset_id)

    def _expires(self, task: Task, now: float) -> int:
        # A URL is told until it expires and then replaced, so rows stay the same between two changes.
        windows = math.floor((now - task.ended_at) / self.ttl_s) if self.fresh else 0
        return math.ceil(task.ended_at + self.ttl_s * (1 + max(0, windows)))

    def _url(self, base: str, asset_id: str, expires: int) -> str:
        name = f"{asset_id}.mp4"
        return f"{base}{PREFIX}{name}?expires={expires}&sig={self._sign(name, expires)}"

    def _sign(self, name: str, expires: int) -> str:
        key = f"emulator/{self.seed}".encode()
        return hmac.new(key, f"{name}/{expires}".encode(), hashlib.sha256).hexdigest()[:16]


@functools.lru_cache(maxsize=256)
def _clip(ratio: str, seconds: float, asset_id: str) -> Asset:
    content = clip(ratio, seconds, asset_id)
    return Asset(content, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
