"""Which model can do what, as data: it moves, so it warns and never refuses.

Stage: registry and wire. Source of every row: service reference, "Capability Map" (legacy models), copy of May 2026,
and "Image to Video" for kling-v3. An unknown model gets no advice: the service adds models without telling us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from .base import Advice
from .rules import seconds_of


@attrs.frozen
class Only:
    """When a model has an ability that it does not always have."""

    modes: frozenset[str]
    seconds: frozenset[int]


@attrs.frozen
class Abilities:
    """What one model can do.

    Attributes:
        endpoints: short names of the endpoints that take it.
        modes: allowed modes; empty where the model ignores the field.
        seconds: allowed durations.
        sound: has sound of its own.
        shots: has multi-shot.
        end_frame: takes a last frame.
        camera: endpoint names on which it takes a camera move.
        brush: takes masks.
        scale: takes cfg_scale.
        tail_only: takes a last frame without a first one.
        elements: takes elements.
        only: in which modes and lengths, for abilities that are limited.
    """

    endpoints: frozenset[str]
    modes: frozenset[str]
    seconds: range | frozenset[int]
    sound: bool = False
    shots: bool = False
    end_frame: bool = False
    camera: frozenset[str] = frozenset()
    brush: bool = False
    scale: bool = False
    tail_only: bool = False
    elements: bool = False
    only: Mapping[str, Only] = attrs.field(factory=dict)


def names(words: str) -> frozenset[str]:
    """Give the words of a line, as a set."""
    return frozenset(words.split())


_BOTH = names("text2video image2video")
_STD_PRO = names("std pro")
_ALL = names("std pro 4k")
_5_10 = frozenset({5, 10})
_FRAME, _CAMERA, _BRUSH = "last frame", "camera control", "masks"
_PRO = Only(names("pro"), _5_10)
_PRO_5 = Only(names("pro"), frozenset({5}))
_ANY_5 = Only(_STD_PRO, frozenset({5}))
_STD_5 = Only(names("std"), frozenset({5}))

MODELS: Mapping[str, Abilities] = {
    "kling-v1": Abilities(
        _BOTH,
        _STD_PRO,
        _5_10,
        end_frame=True,
        camera=names("text2video"),
        brush=True,
        scale=True,
        only={_FRAME: _ANY_5, _CAMERA: _STD_5, _BRUSH: _ANY_5},
    ),
    "kling-v1-5": Abilities(
        names("image2video"),
        _STD_PRO,
        _5_10,
        end_frame=True,
        camera=names("image2video"),
        brush=True,
        scale=True,
        tail_only=True,
        only={_FRAME: _PRO, _CAMERA: _PRO_5, _BRUSH: _PRO_5},
    ),
    "kling-v1-6": Abilities(_BOTH, _STD_PRO, _5_10, end_frame=True, scale=True, tail_only=True, only={_FRAME: _PRO}),
    "kling-v2-master": Abilities(_BOTH, frozenset(), _5_10),
    "kling-v2-1": Abilities(names("image2video"), _STD_PRO, _5_10, end_frame=True, only={_FRAME: _PRO}),
    "kling-v2-1-master": Abilities(_BOTH, frozenset(), _5_10),
    "kling-v2-5-turbo": Abilities(_BOTH, _STD_PRO, _5_10, end_frame=True, only={_FRAME: _PRO}),
    "kling-v2-6": Abilities(_BOTH, _STD_PRO, _5_10, sound=True, end_frame=True, only={_FRAME: _PRO, "sound": _PRO}),
    "kling-v3": Abilities(_BOTH, _ALL, range(3, 16), sound=True, shots=True, end_frame=True, scale=True, elements=True),
    "kling-video-o1": Abilities(names("omni-video"), _STD_PRO, range(3, 11), end_frame=True, elements=True),
    "kling-v3-omni": Abilities(
        names("omni-video"), _ALL, range(3, 16), sound=True, shots=True, end_frame=True, elements=True
    ),
}
DEFAULT_MODELS: Mapping[str, str] = {
    "TextToVideo": "kling-v1",
    "ImageToVideo": "kling-v1",
    "OmniVideo": "kling-video-o1",
}
_ENDPOINT_OF: Mapping[str, str] = {
    "TextToVideo": "text2video",
    "ImageToVideo": "image2video",
    "OmniVideo": "omni-video",
}
_DEFAULT_SECONDS = 5.0
_RATIOS = names("16:9 9:16 1:1")
_CAMERA_MOVES = names("simple down_back forward_up right_turn_forward left_turn_forward")


def advise_model(request: Any) -> Iterator[Advice]:
    """Say what this request asks of its model that the model is not known to do."""
    kind = type(request).__name__
    endpoint = _ENDPOINT_OF.get(kind, "")
    ratio = getattr(request, "aspect_ratio", None)
    if ratio is not None and ratio not in _RATIOS:
        yield Advice("aspect_ratio", f"aspect_ratio {ratio} is not one of {', '.join(sorted(_RATIOS))}")
    camera = getattr(request, "camera_control", None)
    if camera is not None and camera.type not in _CAMERA_MOVES:
        known = ", ".join(sorted(_CAMERA_MOVES))
        yield Advice("camera_control.type", f"camera_control.type {camera.type} is not one of {known}")
    name = request.model_name or str(request.extra.get("model_name", DEFAULT_MODELS.get(kind)))
    model = MODELS.get(name)
    if model is None:
        return
    if endpoint not in model.endpoints:
        yield Advice("model_name", f"{name} is not known on {endpoint}")
        return
    length = seconds_of(request.duration)
    if length is not None and length not in model.seconds:
        yield Advice("duration", f"{name} makes clips of {_spelt(model.seconds)} seconds, not {length:g}")
    if request.mode is not None and model.modes and request.mode not in model.modes:
        yield Advice("mode", f"{name} has no mode {request.mode}")
    tail = getattr(request, "image_tail", None) is not None
    static = getattr(request, "static_mask", None) is not None
    masks = static or getattr(request, "dynamic_masks", None) is not None
    for field, asked, able, what in (
        ("sound", request.sound == "on", model.sound, "sound"),
        ("multi_shot", request.multi_shot, model.shots, "multi-shot"),
        ("image_tail", tail, model.end_frame, _FRAME),
        ("image_tail", tail and request.image is None, model.tail_only, "last frame without a first one"),
        ("element_list", bool(getattr(request, "element_list", None)), model.elements, "elements"),
        ("camera_control", camera is not None, endpoint in model.camera, _CAMERA),
        ("static_mask" if static else "dynamic_masks", masks, model.brush, _BRUSH),
        ("cfg_scale", getattr(request, "cfg_scale", None) is not None, model.scale, "cfg_scale"),
    ):
        if asked and not able:
            yield Advice(field, f"{name} has no {what} on {endpoint}")
        elif asked and what in model.only:
            yield from _limits(f"{name} has {what}", model.only[what], request)
    if name == "kling-v1-5" and camera is not None and camera.type != "simple":
        yield Advice("camera_control.type", 'kling-v1-5 has camera control only with type="simple"')
    if name == "kling-v2-6" and tail and request.sound == "on":
        yield Advice("sound", "kling-v2-6 has a last frame only without sound")
    short = length in model.seconds and length not in _5_10
    if name == "kling-video-o1" and short and not _has_references(request):
        yield Advice("duration", "kling-video-o1 makes clips of 5 or 10 seconds from words or a first frame")


def _limits(told: str, only: Only, request: Any) -> Iterator[Advice]:
    if (request.mode or "std") not in only.modes:  # std is the service's default
        yield Advice("mode", f'{told} only with mode="{" or ".join(sorted(only.modes))}"')
    length = seconds_of(request.duration) or _DEFAULT_SECONDS
    if length not in only.seconds and length in _5_10:
        yield Advice("duration", f"{told} only with {_spelt(only.seconds)} seconds")


def _has_references(request: Any) -> bool:
    framed_only = all(picture.type == "first_frame" for picture in request.image_list or ())
    return bool(request.video_list or request.element_list) or not framed_only


def _spelt(lengths: range | frozenset[int]) -> str:
    if isinstance(lengths, range):
        return f"{lengths.start} to {lengths.stop - 1}"
    return " or ".join(str(length) for length in sorted(lengths))
