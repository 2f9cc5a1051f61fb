"""Clips that start from other material: several pictures, a motion to copy, a clip to make longer, a ready-made effect.

Stage: registry and wire. Fields bear the service's own names and values; unset ones are not sent, so that its defaults
rule. Source of every rule, unless said otherwise: service reference, "Multi-Image to Video", "Motion Control",
"Video Extension", "Video Effects".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from ..dialects import Host
from ..errors import InvalidRequest
from .base import IMAGE, SECONDS, Advice, Endpoint, Task, nested, nested_list, printed_limits
from .matrix import MODELS
from .parts import ElementRef, Plain, WatermarkInfo, as_elements, as_watermark
from .required import exactly_one, require, said
from .rules import (
    Media,
    as_media,
    external_id,
    extra_fields,
    few,
    kept,
    media,
    number,
    one_of,
    optional,
    seconds,
    seconds_of,
    text,
    web_url,
)

_words: Any = optional(text())
_prompt: Any = optional(text(2500))
_MODES = ("std", "pro")
_5_10 = (5, 10)


# --- nested objects ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ClipImage:
    """A picture of something that is to be in the clip, cut to it: the service does not crop.

    Attributes:
        image: URL, Base64 or a local file.
    """

    image: Media = attrs.field(converter=as_media, validator=media, metadata=IMAGE)


def as_clip_images(value: Iterable[ClipImage | Plain] | None) -> tuple[ClipImage, ...] | None:
    """Take pictures or their plain data."""
    return nested_list(ClipImage, "image_list", value)


def _as_pair(value: Iterable[Media | Plain] | None) -> tuple[Media, ...] | None:
    if value is None:
        return None
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidRequest("images", value, "must be a list of two pictures")
    return tuple(as_media(item) for item in value)


def _every_media(instance: object, field: attrs.Attribute[Any], value: tuple[object, ...]) -> None:
    for item in value:
        media(instance, field, item)


@attrs.frozen(kw_only=True)
class EffectInput:
    """What an effect is made of: one picture, or two for an effect with two people. Source: "Video Effects".

    Attributes:
        image: URL, Base64 or a local file; exactly one of image and images.
        images: two pictures: who stands left, who stands right.
        model_name: only in the older form of the call.
        mode: std or pro; only in the older form.
        duration: seconds; only in the older form.
    """

    image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    images: tuple[Media, ...] | None = attrs.field(
        default=None, converter=_as_pair, validator=optional(few(2, least=2), _every_media), metadata=IMAGE
    )
    model_name: str | None = attrs.field(default=None, validator=_words)
    mode: str | None = attrs.field(default=None, validator=_words)
    duration: str | float | None = attrs.field(default=None, validator=optional(seconds(1, 60)), metadata=SECONDS)

    def __attrs_post_init__(self) -> None:
        exactly_one(self, "image", "images")


def _as_effect(value: EffectInput | Plain | None) -> EffectInput | None:
    return nested(EffectInput, "input", value)


# --- requests ------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class MultiImageToVideo(Task):
    """A clip with the things of several pictures in it. Reported as retired by the service since 2026-09-28.

    Attributes:
        model_name: kling-v1-6, which is the service's default, and no other so far.
        image_list: 1 to 4 pictures; required.
        prompt: at most 2500 characters; required.
        negative_prompt: what to keep out; at most 2500 characters.
        mode: std (the service's default) or pro.
        duration: seconds, "5" (the service's default) or "10".
        aspect_ratio: as of other clips, 16:9 unless set.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    image_list: tuple[ClipImage, ...] | None = attrs.field(
        default=None, converter=as_clip_images, validator=optional(few(4))
    )
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    negative_prompt: str | None = attrs.field(default=None, validator=_prompt)
    mode: str | None = attrs.field(default=None, validator=_words)
    duration: str | float | None = attrs.field(default=None, validator=optional(seconds(1, 60)), metadata=SECONDS)
    aspect_ratio: str | None = attrs.field(default=None, validator=_words)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "image_list", "prompt")


@attrs.frozen(kw_only=True)
class MotionControl(Task):
    """A picture's person, moving as somebody does in a video.

    Attributes:
        model_name: open; kling-v2-6 (the service's default) or kling-v3.
        prompt: at most 2500 characters.
        image_url: the person: URL, Base64 or a local file; required.
        video_url: the motion: mp4 or mov, at most 100 MB, sides of 340 to 3850 px, from 3 s; required.
        element_list: at most one element; with it the person faces as in the video.
        keep_original_sound: yes (the service's default) or no.
        character_orientation: image or video: as in which the person faces; a video of at most 10 s with image, of 30 s
            with video; required.
        mode: std or pro; required.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    image_url: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    video_url: str | None = attrs.field(default=None, validator=optional(web_url))
    element_list: tuple[ElementRef, ...] | None = attrs.field(
        default=None, converter=as_elements, validator=optional(few(1))
    )
    keep_original_sound: str | None = attrs.field(default=None, validator=optional(one_of("yes", "no")))
    character_orientation: str | None = attrs.field(default=None, validator=optional(one_of("image", "video")))
    mode: str | None = attrs.field(default=None, validator=_words)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "image_url", "video_url", "character_orientation", "mode")


@attrs.frozen(kw_only=True)
class VideoExtend(Task):
    """A clip, continued.

    Attributes:
        video_id: a clip the service made with a model up to kling-v1-6 in the last 30 days, with all its extensions at
            most 3 minutes long; required.
        prompt: what comes next; at most 2500 characters.
        negative_prompt: what to keep out; at most 2500 characters.
        cfg_scale: 0 to 1, how closely the prompt is followed.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    video_id: str | None = attrs.field(default=None, validator=_words)
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    negative_prompt: str | None = attrs.field(default=None, validator=_prompt)
    cfg_scale: float | None = attrs.field(default=None, validator=optional(number(0, 1)))
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "video_id")


@attrs.frozen(kw_only=True)
class VideoEffects(Task):
    """A ready-made effect on one or two people or pets.

    Attributes:
        effect_scene: name of the effect, of about two hundred that come and go; required.
        input: what it is made of; required.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    effect_scene: str | None = attrs.field(default=None, validator=_words)
    input: EffectInput | None = attrs.field(default=None, converter=_as_effect)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "effect_scene", "input")


# --- advice --------------------------------------------------------------------------------------------------------


def _model_of(request: Any) -> str:
    named = said(request, "model_name")
    return named if isinstance(named, str) else ""


def advise_settings(request: Any, endpoint: str, models: Iterable[str]) -> Iterator[Advice]:
    """Say what of model, mode and length an endpoint is not known to take; an unknown model gets no advice."""
    name = _model_of(request)
    if name and name not in MODELS:
        return
    if name and name not in models:
        yield Advice("model_name", f"{name} is not known on {endpoint}")
    if request.mode is not None and request.mode not in _MODES:
        yield Advice("mode", f"{endpoint} has no mode {request.mode}")
    length = seconds_of(getattr(request, "duration", None))
    if length is not None and length not in _5_10:
        yield Advice("duration", f"{endpoint} makes clips of 5 or 10 seconds, not {length:g}")


def _advise_several(request: MultiImageToVideo, host: Host) -> Iterator[Advice]:
    # Source: a third party's contract test with the service itself, 2026-09-28. Other hosts only pass requests on.
    yield Advice("model_name", "multi-image2video was reported as retired by the service on 2026-09-28")
    yield from printed_limits(request, host)
    yield from advise_settings(request, "multi-image2video", ("kling-v1-6",))


def _advise_motion(request: MotionControl, _host: Host) -> Iterator[Advice]:
    yield from advise_settings(request, "motion-control", ("kling-v2-6", "kling-v3"))
    if request.element_list is None:
        return
    if _model_of(request) in {"", "kling-v2-6"}:
        yield Advice("element_list", "kling-v2-6 takes no element on motion-control")
    if request.character_orientation == "image":
        told = 'with an element the person faces as in the video, whatever character_orientation="image" says'
        yield Advice("character_orientation", told)


def _advise_extension(request: VideoExtend, host: Host) -> Iterator[Advice]:
    yield from printed_limits(request, host)
    for name in ("negative_prompt", "cfg_scale"):
        if getattr(request, name) is not None:
            # The call lists both fields; the service's map of what models can do says that they have no effect.
            yield Advice(name, f"video-extend is not known to heed {name}")


ENDPOINTS = (
    Endpoint(
        name="multi-image2video",
        path="/v1/videos/multi-image2video",
        source="Multi-Image to Video",
        request=MultiImageToVideo,
        yields="video",
        pack="video",
        default_model="kling-v1-6",
        advice=_advise_several,
    ),
    Endpoint(
        name="motion-control",
        path="/v1/videos/motion-control",
        source="Motion Control",
        request=MotionControl,
        yields="video",
        pack="video",
        default_model="kling-v2-6",
        advice=_advise_motion,
    ),
    Endpoint(
        name="video-extend",
        path="/v1/videos/video-extend",
        source="Video Extension",
        request=VideoExtend,
        yields="video",
        pack="video",
        advice=_advise_extension,
    ),
    Endpoint(
        name="effects",
        path="/v1/videos/effects",
        source="Video Effects",
        request=VideoEffects,
        yields="video",
        pack="video",
    ),
)
