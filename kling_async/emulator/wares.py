"""Wares: which things a task makes, in which order.

Place: under assets and results. A task's things are counted from 0 in the order told here; a file's name holds that
number, so the files of a task are known without being kept anywhere.
"""

from collections.abc import Callable
from typing import Literal

from .checks import dig, text
from .tasks import Task

WareKind = Literal[
    "video",
    "image",
    "series_image",
    "shot",
    "audio",
    "speech",
    "voice",
    "element",
    "product_image",
    "model_images",
    "product_video",
    "subbed_video",
    "srt",
    "ass",
]

# File endings of each kind, the first one being that of the main address.
ENDINGS: dict[WareKind, tuple[str, ...]] = {
    "video": ("mp4",),
    "image": ("png",),
    "series_image": ("png",),
    "shot": ("png",),
    "audio": ("mp3", "wav"),
    "speech": ("mp3",),
    "voice": ("mp3",),
    "element": ("png",),
    "product_image": ("png",),
    "model_images": ("png",),
    "product_video": ("mp4",),
    "subbed_video": ("mp4",),
    "srt": ("srt",),
    "ass": ("ass",),
}

# Kinds that have a twin with a watermark. Source: service reference, "Rules shared by many endpoints" and the results
# of each endpoint: no sound, voice or element is shown with one.
MARKED: frozenset[WareKind] = frozenset(
    {"video", "image", "series_image", "product_image", "model_images", "product_video", "subbed_video"}
)

# Views that `ai-multi-shot` makes of one element: url_1, url_2 and url_3 of one entry.
SHOTS = 3

_OF_RESULT: dict[str, WareKind] = {
    "videos": "video",
    "images": "image",
    "audios": "audio",
    "voices": "voice",
    "elements": "element",
}


def wares(task: Task) -> tuple[WareKind, ...]:
    """The kinds of everything that the task makes when it succeeds."""
    own = _OF_ROW.get(task.row.name)
    if own is not None:
        return own(task)
    if task.row.family == "solutions":
        return _solution(task)
    kinds: list[WareKind] = []
    for word in task.row.result:
        kind = _OF_RESULT[word]
        kinds.extend(_times(kind, task.count if kind in ("image", "video") else 1))
    return tuple(kinds)


def _times(kind: WareKind, count: int) -> tuple[WareKind, ...]:
    return tuple(kind for _ in range(count))


def _omni_image(task: Task) -> tuple[WareKind, ...]:
    if text(task.body, "result_type") == "series":
        return _times("series_image", task.count)
    return _times("image", task.count)


def _solution(task: Task) -> tuple[WareKind, ...]:
    """What a solution makes. Only the output types are documented; which solution makes which is assumed."""
    name = task.row.name
    if "subtitle" in name:
        return "subbed_video", "srt", "ass"
    if name.startswith("solutions/e-commerce/"):
        return "product_image", "model_images", "model_images", "product_video"
    return ("video",)


def _shots(_: Task) -> tuple[WareKind, ...]:
    return _times("shot", SHOTS)


def _speech(_: Task) -> tuple[WareKind, ...]:
    return ("speech",)


def _element(task: Task) -> tuple[WareKind, ...]:
    # The voice of an element can be tried out beside it.
    return ("element", "voice") if dig(task.body, "element_voice_id") else ("element",)


_OF_ROW: dict[str, Callable[[Task], tuple[WareKind, ...]]] = {
    "omni-image": _omni_image,
    "ai-multi-shot": _shots,
    "tts": _speech,
    "custom-elements": _element,
}
