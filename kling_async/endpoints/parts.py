"""Objects that stand inside requests: camera, masks, shots, references. Each may be given as a plain mapping too.

Stage: registry and wire. Field names and values are the service's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from ..errors import InvalidRequest
from .base import ALWAYS, ELEMENT_ID, IMAGE, MASK, SECONDS, nested, nested_list
from .rules import (
    Media,
    as_media,
    boolean,
    element_id,
    few,
    integer,
    media,
    number,
    one_of,
    optional,
    seconds,
    text,
    web_url,
)

_AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_axis: Any = number(-10, 10)

Plain: TypeAlias = Mapping[str, object]
"""The same object as plain data, field by field."""


def _camera_config(value: CameraConfig | Plain | None) -> CameraConfig | None:
    return nested(CameraConfig, "config", value)


def _points(value: Iterable[Point | Plain]) -> tuple[Point, ...]:
    return nested_list(Point, "trajectories", value) or ()


@attrs.frozen(kw_only=True)
class CameraConfig:
    """A simple camera move: exactly one axis is not zero. Source: service reference, "Camera Control".

    Which way pan and tilt turn is described differently by different pages, so the figures are passed on as they are.
    """

    horizontal: float = attrs.field(default=0, validator=_axis, metadata=ALWAYS)
    vertical: float = attrs.field(default=0, validator=_axis, metadata=ALWAYS)
    pan: float = attrs.field(default=0, validator=_axis, metadata=ALWAYS)
    tilt: float = attrs.field(default=0, validator=_axis, metadata=ALWAYS)
    roll: float = attrs.field(default=0, validator=_axis, metadata=ALWAYS)
    zoom: float = attrs.field(default=0, validator=_axis, metadata=ALWAYS)

    def __attrs_post_init__(self) -> None:
        used = [axis for axis in _AXES if getattr(self, axis) != 0]
        if len(used) != 1:
            blamed = used[-1] if used else _AXES[0]
            raise InvalidRequest(blamed, getattr(self, blamed), "exactly one axis must differ from 0")


@attrs.frozen(kw_only=True)
class CameraControl:
    """A camera move: `simple` with a config, or a ready-made one without. Source: service reference, "Camera Control".

    Attributes:
        type: simple, down_back, forward_up, right_turn_forward, left_turn_forward.
        config: needed with `simple`, refused with the others.
    """

    type: str = attrs.field(validator=text())
    config: CameraConfig | None = attrs.field(default=None, converter=_camera_config)

    def __attrs_post_init__(self) -> None:
        if self.type == "simple" and self.config is None:
            raise InvalidRequest("config", None, 'is required with type="simple"')
        if self.type != "simple" and self.config is not None:
            raise InvalidRequest("config", self.config, f'must be left out with type="{self.type}"')


@attrs.frozen(kw_only=True)
class Point:
    """One point of a trajectory, in pixels from the bottom left corner. Source: service reference, "Motion Brush"."""

    x: int = attrs.field(validator=integer())
    y: int = attrs.field(validator=integer())


@attrs.frozen(kw_only=True)
class DynamicMask:
    """An area and the way it moves. Source: service reference, "Motion Brush".

    Attributes:
        mask: picture of the area, with the aspect ratio of the main picture.
        trajectories: 2 to 77 points, in the order of the motion.
    """

    mask: Media = attrs.field(converter=as_media, validator=media, metadata=MASK)
    trajectories: tuple[Point, ...] = attrs.field(converter=_points, validator=few(77, least=2))


@attrs.frozen(kw_only=True)
class Shot:
    """One shot of several. Source: service reference, "Multi-shot".

    Attributes:
        index: its place, counted from 1.
        prompt: at most 512 characters.
        duration: seconds; the shots' durations add up to the clip's.
    """

    index: int = attrs.field(validator=integer(1, 6))
    prompt: str = attrs.field(validator=text(512))
    duration: str | float = attrs.field(validator=seconds(1, 30), metadata=SECONDS)


@attrs.frozen(kw_only=True)
class VoiceRef:
    """A voice, by its id; referred to in a prompt as `<<<voice_1>>>`. Source: service reference, "Voices"."""

    voice_id: str = attrs.field(validator=text())


@attrs.frozen(kw_only=True)
class ElementRef:
    """An element, by its id (18 digits); referred to in a prompt as `<<<element_1>>>`. Source: "Elements"."""

    element_id: int | str = attrs.field(validator=element_id, metadata=ELEMENT_ID)


@attrs.frozen(kw_only=True)
class ReferenceImage:
    """A picture for an omni video; referred to in a prompt as `<<<image_1>>>`. Source: "Omni Video".

    Attributes:
        image_url: URL, Base64 or a local file.
        type: first_frame or end_frame pins it; unset it is a reference.
    """

    image_url: Media = attrs.field(converter=as_media, validator=media, metadata=IMAGE)
    type: str | None = attrs.field(default=None, validator=optional(one_of("first_frame", "end_frame")))


@attrs.frozen(kw_only=True)
class ReferenceVideo:
    """A video for an omni video; referred to in a prompt as `<<<video_1>>>`. Source: "Omni Video".

    Attributes:
        video_url: mp4 or mov, 3 to 10 s, 720 to 2160 px, 24 to 60 fps, at most 200 MB.
        refer_type: feature takes its style, base (the service's default) edits it.
        keep_original_sound: yes or no.
    """

    video_url: str = attrs.field(validator=web_url)
    refer_type: str | None = attrs.field(default=None, validator=optional(one_of("feature", "base")))
    keep_original_sound: str | None = attrs.field(default=None, validator=optional(one_of("yes", "no")))


@attrs.frozen(kw_only=True)
class WatermarkInfo:
    """Whether a second file with a watermark is made. Source: service reference, "watermark_info"."""

    enabled: bool = attrs.field(validator=boolean, metadata=ALWAYS)


# --- converters: what a field takes, and what it keeps -------------------------------------------------------------


def as_camera(value: CameraControl | Plain | None) -> CameraControl | None:
    """Take a CameraControl or its plain data."""
    return nested(CameraControl, "camera_control", value)


def as_watermark(value: WatermarkInfo | Plain | None) -> WatermarkInfo | None:
    """Take a WatermarkInfo or its plain data."""
    return nested(WatermarkInfo, "watermark_info", value)


def as_shots(value: Iterable[Shot | Plain] | None) -> tuple[Shot, ...] | None:
    """Take shots or their plain data."""
    return nested_list(Shot, "multi_prompt", value)


def as_voices(value: Iterable[VoiceRef | Plain] | None) -> tuple[VoiceRef, ...] | None:
    """Take voices or their plain data."""
    return nested_list(VoiceRef, "voice_list", value)


def as_elements(value: Iterable[ElementRef | Plain] | None) -> tuple[ElementRef, ...] | None:
    """Take elements or their plain data."""
    return nested_list(ElementRef, "element_list", value)


def as_masks(value: Iterable[DynamicMask | Plain] | None) -> tuple[DynamicMask, ...] | None:
    """Take masks or their plain data."""
    return nested_list(DynamicMask, "dynamic_masks", value)


def as_images(value: Iterable[ReferenceImage | Plain] | None) -> tuple[ReferenceImage, ...] | None:
    """Take pictures or their plain data."""
    return nested_list(ReferenceImage, "image_list", value)


def as_videos(value: Iterable[ReferenceVideo | Plain] | None) -> tuple[ReferenceVideo, ...] | None:
    """Take videos or their plain data."""
    return nested_list(ReferenceVideo, "video_list", value)
