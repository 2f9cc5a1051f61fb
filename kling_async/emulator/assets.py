"""Results: which files a task made, their signed URLs, and their bytes.

Place: beside the service. Nothing is stored: an asset's name holds the task's ordinal, and its bytes are made anew
when they are asked for.
"""

import functools
import hashlib
import hmac
import math
import re
from collections.abc import Mapping, Sequence

import attrs

from .checks import text
from .clips import RATIOS, clip
from .pictures import png, size_of
from .sounds import mp3, mp3_seconds, wav
from .subtitles import ass, srt
from .tasks import AssetView, Task
from .wares import ENDINGS, MARKED, WareKind, wares

__all__ = ["PREFIX", "RATIOS", "Asset", "AssetStore"]

PREFIX = "/_emulator/assets/"
_WATERMARK = "-wm"

CONTENT_TYPES = {
    "mp4": "video/mp4",
    "png": "image/png",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "srt": "application/x-subrip",
    "ass": "text/x-ssa",
}

# Seconds of a voice's trial sound; assumed.
TRIAL_S = 3.0

_NAME = re.compile(r"((p?)([0-9a-f]{1,12})-([0-9a-f]{16})-(\d{1,4}))(-wm)?\.([0-9a-z]{3})")


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
        presets: what was there before any task; their ordinals are -1, -2, ...
    """

    seed: int
    ttl_s: float
    fresh: bool
    presets: Sequence[Task] = ()

    def views(self, task: Task, now: float, base: str, *, wm: bool) -> tuple[AssetView, ...]:
        """The results of a succeeded task as a reply tells them."""
        expires = self._expires(task, now)
        ordinal = f"{task.ordinal:x}" if task.ordinal >= 0 else f"p{-1 - task.ordinal:x}"
        views = []
        for index, kind in enumerate(wares(task)):
            asset_id = f"{ordinal}-{task.asset_key:016x}-{index}"
            first, *others = ENDINGS[kind]
            twin = f"{asset_id}{_WATERMARK}.{first}" if wm and kind in MARKED else None
            views.append(
                AssetView(
                    asset_id,
                    self._url(base, f"{asset_id}.{first}", expires),
                    self._url(base, twin, expires) if twin else None,
                    _told(_seconds(task, kind, first, index)),
                    kind,
                    self._url(base, f"{asset_id}.{others[0]}", expires) if others else None,
                    _told(_seconds(task, kind, others[0], index)) if others else None,
                )
            )
        return tuple(views)

    def address(self, base: str, name: str, until: float) -> str:
        """A signed URL, good until a moment, for a file that no task made."""
        return self._url(base, name, math.ceil(until))

    def may_fetch(self, name: str, query: Mapping[str, str], now: float) -> bool:
        """Whether the URL's signature is ours and has not expired."""
        try:
            expires = int(query.get("expires", ""))
        except ValueError:
            return False
        return hmac.compare_digest(self._sign(name, expires), query.get("sig", "")) and now < expires

    def find(self, name: str, tasks: list[Task]) -> tuple[Task, str] | None:
        """The task that made the file called `name` ("1f-…-0-wm.mp4"), and the name without its ending.

        Presets are found as well.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        _, preset, ordinal, key, index, wm, ending = match.groups()
        made: Sequence[Task] = self.presets if preset else tasks
        at = int(ordinal, 16)
        if at >= len(made) or key != f"{made[at].asset_key:016x}":
            return None
        kinds = wares(made[at])
        if int(index) >= len(kinds) or ending not in ENDINGS[kinds[int(index)]]:
            return None
        if wm and (ending != ENDINGS[kinds[int(index)]][0] or kinds[int(index)] not in MARKED):
            return None
        return made[at], name.removesuffix("." + ending)

    def make(self, task: Task, asset_id: str, ending: str = "mp4") -> Asset:
        """The bytes of an asset."""
        index = int(asset_id.split("-")[2])
        kind = wares(task)[index]
        if ending == "png":
            ratio = str(task.facts.get("ratio", task.ratio))
            return _picture(*size_of(ratio, text(task.body, "resolution")), asset_id)
        return _recording(ending, task.ratio, _seconds(task, kind, ending, index), asset_id)

    def _expires(self, task: Task, now: float) -> int:
        # A URL is told until it expires and then replaced, so rows stay the same between two changes.
        windows = math.floor((now - task.ended_at) / self.ttl_s) if self.fresh else 0
        return math.ceil(task.ended_at + self.ttl_s * (1 + max(0, windows)))

    def _url(self, base: str, name: str, expires: int) -> str:
        return f"{base}{PREFIX}{name}?expires={expires}&sig={self._sign(name, expires)}"

    def _sign(self, name: str, expires: int) -> str:
        key = f"emulator/{self.seed}".encode()
        return hmac.new(key, f"{name}/{expires}".encode(), hashlib.sha256).hexdigest()[:16]


def _seconds(task: Task, kind: WareKind, ending: str, index: int) -> float:
    lengths = task.facts.get("lengths")
    # Several videos of one task have lengths of their own.
    whole = task.seconds if lengths is None else float(lengths[index])
    seconds = TRIAL_S if kind == "voice" else whole
    return mp3_seconds(seconds) if ending == "mp3" else seconds


def _told(seconds: float) -> str:
    """Seconds as the service writes them: "5.041", "5.1", "5.0"."""
    words = f"{seconds:.3f}".rstrip("0")
    return words + "0" if words.endswith(".") else words


@functools.lru_cache(maxsize=256)
def _picture(width: int, height: int, asset_id: str) -> Asset:
    return _asset("png", png(width, height, asset_id, marked=asset_id.endswith(_WATERMARK)))


@functools.lru_cache(maxsize=64)
def _recording(ending: str, ratio: str, seconds: float, asset_id: str) -> Asset:
    if ending == "mp4":
        return _asset(ending, clip(ratio, seconds, asset_id))
    makers = {"mp3": mp3, "wav": wav, "srt": srt, "ass": ass}
    return _asset(ending, makers[ending](seconds, asset_id))


def _asset(ending: str, content: bytes) -> Asset:
    return Asset(content, f'"{hashlib.sha256(content).hexdigest()[:16]}"', CONTENT_TYPES[ending])
