"""Clips: from words, from a picture, from everything at once.

Stage: registry and wire. Fields bear the service's own names and values; unset ones are not sent, so that its defaults
rule. Source of every rule, unless said otherwise: service reference, "Text to Video", "Image to Video", "Omni Video".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..dialects import Host
from ..errors import InvalidRequest
from .base import IMAGE, MASK, SECONDS, Advice, Endpoint, Task, printed_limits
from .matrix import DEFAULT_MODELS, advise_model
from .parts import (
    CameraControl,
    DynamicMask,
    ElementRef,
    ReferenceImage,
    ReferenceVideo,
    Shot,
    VoiceRef,
    WatermarkInfo,
    as_camera,
    as_elements,
    as_images,
    as_masks,
    as_shots,
    as_videos,
    as_voices,
    as_watermark,
)
from .rules import (
    Media,
    as_media,
    boolean,
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

_PROMPT = 2500
_DEFAULT_SECONDS = 5.0
_words: Any = optional(text())
_prompt: Any = optional(text(_PROMPT))


@attrs.frozen(kw_only=True)
class TextToVideo(Task):
    """A clip from words.

    Attributes:
        model_name: open; the service's default is kling-v1.
        prompt: at most 2500 characters; required unless the shots bring their own.
        negative_prompt: what to keep out; at most 2500 characters.
        multi_shot: several shots; needs shot_type.
        shot_type: customize (needs multi_prompt) or intelligence (needs prompt).
        multi_prompt: 1 to 6 shots whose durations add up to `duration`.
        voice_list: at most 2 voices; needs sound="on".
        sound: on or off.
        cfg_scale: 0 to 1, how closely the prompt is followed.
        mode: std (720p), pro (1080p), 4k.
        camera_control: a camera move.
        aspect_ratio: 16:9 (the service's default), 9:16, 1:1.
        duration: seconds, "5" unless set.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    negative_prompt: str | None = attrs.field(default=None, validator=_prompt)
    multi_shot: bool | None = attrs.field(default=None, validator=optional(boolean))
    shot_type: str | None = attrs.field(default=None, validator=optional(one_of("customize", "intelligence")))
    multi_prompt: tuple[Shot, ...] | None = attrs.field(default=None, converter=as_shots, validator=optional(few(6)))
    voice_list: tuple[VoiceRef, ...] | None = attrs.field(default=None, converter=as_voices, validator=optional(few(2)))
    sound: str | None = attrs.field(default=None, validator=optional(one_of("on", "off")))
    cfg_scale: float | None = attrs.field(default=None, validator=optional(number(0, 1)))
    mode: str | None = attrs.field(default=None, validator=_words)
    camera_control: CameraControl | None = attrs.field(default=None, converter=as_camera)
    aspect_ratio: str | None = attrs.field(default=None, validator=_words)
    duration: str | float | None = attrs.field(default=None, validator=optional(seconds(1, 60)), metadata=SECONDS)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        _check_shots(self, prompt_required=True)
        _check_voices(self)


@attrs.frozen(kw_only=True)
class ImageToVideo(Task):
    """A clip from a first picture, a last one, or both.

    Attributes:
        model_name: open; the service's default is kling-v1.
        image: first frame: URL, Base64 or a local file. At least one of image and image_tail is needed.
        image_tail: last frame; excludes the masks and the camera.
        prompt: at most 2500 characters.
        negative_prompt: what to keep out; at most 2500 characters.
        multi_shot: several shots; needs shot_type.
        shot_type: customize (needs multi_prompt) or intelligence (needs prompt).
        multi_prompt: 1 to 6 shots whose durations add up to `duration`.
        element_list: at most 3 elements; excludes voice_list.
        voice_list: at most 2 voices; needs sound="on".
        sound: on or off.
        cfg_scale: 0 to 1, how closely the prompt is followed.
        mode: std (720p), pro (1080p), 4k.
        static_mask: area that stays still; same aspect ratio as the picture, or the task fails.
        dynamic_masks: at most 6 areas that move along trajectories.
        camera_control: a camera move; masks, camera and image_tail exclude each other.
        duration: seconds, "5" unless set.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    image_tail: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    negative_prompt: str | None = attrs.field(default=None, validator=_prompt)
    multi_shot: bool | None = attrs.field(default=None, validator=optional(boolean))
    shot_type: str | None = attrs.field(default=None, validator=optional(one_of("customize", "intelligence")))
    multi_prompt: tuple[Shot, ...] | None = attrs.field(default=None, converter=as_shots, validator=optional(few(6)))
    element_list: tuple[ElementRef, ...] | None = attrs.field(
        default=None, converter=as_elements, validator=optional(few(3))
    )
    voice_list: tuple[VoiceRef, ...] | None = attrs.field(default=None, converter=as_voices, validator=optional(few(2)))
    sound: str | None = attrs.field(default=None, validator=optional(one_of("on", "off")))
    cfg_scale: float | None = attrs.field(default=None, validator=optional(number(0, 1)))
    mode: str | None = attrs.field(default=None, validator=_words)
    static_mask: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=MASK)
    dynamic_masks: tuple[DynamicMask, ...] | None = attrs.field(
        default=None, converter=as_masks, validator=optional(few(6)), metadata=MASK
    )
    camera_control: CameraControl | None = attrs.field(default=None, converter=as_camera)
    duration: str | float | None = attrs.field(default=None, validator=optional(seconds(1, 60)), metadata=SECONDS)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        if self.image is None and self.image_tail is None and not {"image", "image_tail"} & set(self.extra):
            raise InvalidRequest("image", None, "is required, unless image_tail is given")
        _check_shots(self, prompt_required=False)
        _check_voices(self)
        if self.element_list is not None and self.voice_list is not None:
            raise InvalidRequest("element_list", self.element_list, "excludes voice_list")
        used = [
            name
            for name, given in (
                ("image_tail", self.image_tail),
                ("static_mask or dynamic_masks", self.static_mask or self.dynamic_masks),
                ("camera_control", self.camera_control),
            )
            if given is not None
        ]
        if len(used) > 1:
            raise InvalidRequest(used[0].split()[0], used, "exclude each other")


@attrs.frozen(kw_only=True)
class OmniVideo(Task):
    """A clip from words, pictures, elements and a video, or an edit of that video.

    Attributes:
        model_name: open; the service's default is kling-video-o1.
        prompt: at most 2500 characters; refers to `<<<image_1>>>`, `<<<element_1>>>`, `<<<video_1>>>`.
        multi_shot: several shots; not with a first and an end frame.
        shot_type: customize (needs multi_prompt) or intelligence (needs prompt).
        multi_prompt: 1 to 6 shots whose durations add up to `duration`.
        image_list: pictures; an end frame needs a first frame, and then no more than these two.
        element_list: elements; with the pictures at most 7, or 4 beside a video.
        video_list: at most one video.
        voice_list: at most 2 voices; needs sound="on".
        sound: on or off.
        mode: std (720p), pro (1080p; the service's default here), 4k.
        aspect_ratio: 16:9, 9:16, 1:1; needed unless there is a first frame or a video to edit.
        duration: seconds, "5" unless set; ignored when a video is edited.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    multi_shot: bool | None = attrs.field(default=None, validator=optional(boolean))
    shot_type: str | None = attrs.field(default=None, validator=optional(one_of("customize", "intelligence")))
    multi_prompt: tuple[Shot, ...] | None = attrs.field(default=None, converter=as_shots, validator=optional(few(6)))
    image_list: tuple[ReferenceImage, ...] | None = attrs.field(
        default=None, converter=as_images, validator=optional(few(7))
    )
    element_list: tuple[ElementRef, ...] | None = attrs.field(
        default=None, converter=as_elements, validator=optional(few(7))
    )
    video_list: tuple[ReferenceVideo, ...] | None = attrs.field(
        default=None, converter=as_videos, validator=optional(few(1))
    )
    voice_list: tuple[VoiceRef, ...] | None = attrs.field(default=None, converter=as_voices, validator=optional(few(2)))
    sound: str | None = attrs.field(default=None, validator=optional(one_of("on", "off")))
    mode: str | None = attrs.field(default=None, validator=_words)
    aspect_ratio: str | None = attrs.field(default=None, validator=_words)
    duration: str | float | None = attrs.field(default=None, validator=optional(seconds(1, 60)), metadata=SECONDS)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        _check_shots(self, prompt_required=True)
        _check_voices(self)
        pictures = self.image_list or ()
        pins = [picture.type for picture in pictures if picture.type is not None]
        if len(pins) != len(set(pins)):
            raise InvalidRequest("image_list", pins, "has two pictures for the same frame")
        if "end_frame" in pins and "first_frame" not in pins:
            raise InvalidRequest("image_list", pins, "an end frame needs a first frame")
        if "end_frame" in pins and len(pictures) > 2:
            raise InvalidRequest("image_list", len(pictures), "with an end frame at most 2 pictures are allowed")
        if "end_frame" in pins and self.multi_shot:
            raise InvalidRequest("multi_shot", self.multi_shot, "excludes a first and an end frame")
        most = 4 if self.video_list else 7
        count = len(pictures) + len(self.element_list or ())
        if count > most:
            beside = " beside a video" if self.video_list else ""
            raise InvalidRequest("image_list", count, f"pictures and elements are at most {most} together{beside}")


def _check_shots(request: TextToVideo | ImageToVideo | OmniVideo, *, prompt_required: bool) -> None:
    extra = request.extra
    if not request.multi_shot:
        # The service would ignore them and bill one plain clip.
        if "multi_shot" not in extra:
            for name in ("shot_type", "multi_prompt"):
                if getattr(request, name) is not None:
                    raise InvalidRequest(name, getattr(request, name), "needs multi_shot=True")
        if prompt_required and request.prompt is None and "prompt" not in extra and "multi_shot" not in extra:
            raise InvalidRequest("prompt", None, "is required")
        return
    if request.shot_type is None and "shot_type" not in extra:
        raise InvalidRequest("shot_type", None, "is required with multi_shot: customize or intelligence")
    if request.shot_type == "intelligence" and request.prompt is None and "prompt" not in extra:
        raise InvalidRequest("prompt", None, 'is required with shot_type="intelligence"')
    if request.shot_type == "customize" and request.multi_prompt is None and "multi_prompt" not in extra:
        raise InvalidRequest("multi_prompt", None, 'is required with shot_type="customize"')
    if request.multi_prompt is not None and "duration" not in extra:
        total = seconds_of(request.duration) or _DEFAULT_SECONDS
        given = sum(seconds_of(shot.duration) or 0.0 for shot in request.multi_prompt)
        if abs(total - given) > 1e-6:
            raise InvalidRequest("multi_prompt", f"{given:g} s", f"the shots must add up to the duration, {total:g} s")


def _check_voices(request: TextToVideo | ImageToVideo | OmniVideo) -> None:
    if request.voice_list is not None and request.sound != "on" and "sound" not in request.extra:
        raise InvalidRequest("voice_list", request.voice_list, 'needs sound="on"')


_REFERENCE = re.compile(r"<<<(image|element|video|voice)_(\d+)>>>")


def _advise(request: Any, host: Host) -> Iterator[Advice]:
    if not isinstance(request, OmniVideo):
        yield from printed_limits(request, host)
    for kind, index in _REFERENCE.findall(request.prompt or ""):
        given = request.image if kind == "image" and isinstance(request, ImageToVideo) else None
        listed = getattr(request, f"{kind}_list", None) or ((given,) if given is not None else ())
        if not 1 <= int(index) <= len(listed):
            yield Advice("prompt", f"the prompt refers to {kind}_{index}, and there are {len(listed)}")
    yield from advise_model(request)
    if isinstance(request, OmniVideo) and request.aspect_ratio is None and "aspect_ratio" not in request.extra:
        framed = any(picture.type == "first_frame" for picture in request.image_list or ())
        edited = any(video.refer_type in {None, "base"} for video in request.video_list or ())
        if not framed and not edited:
            told = "aspect_ratio is needed without a first frame and without a video to edit"
            yield Advice("aspect_ratio", told)
    prompted = request.prompt is not None or request.multi_prompt is not None or "prompt" in request.extra
    if isinstance(request, ImageToVideo) and not prompted and host.family != "cometapi":
        yield Advice("prompt", "the newest reference of the service requires a prompt")


ENDPOINTS = (
    Endpoint(
        name="text2video",
        path="/v1/videos/text2video",
        source="Text to Video",
        request=TextToVideo,
        yields="video",
        pack="video",
        default_model=DEFAULT_MODELS["TextToVideo"],
        advice=_advise,
    ),
    Endpoint(
        name="image2video",
        path="/v1/videos/image2video",
        source="Image to Video",
        request=ImageToVideo,
        yields="video",
        pack="video",
        default_model=DEFAULT_MODELS["ImageToVideo"],
        advice=_advise,
    ),
    Endpoint(
        name="omni-video",
        path="/v1/videos/omni-video",
        source="Omni Video",
        request=OmniVideo,
        yields="video",
        pack="video",
        default_model=DEFAULT_MODELS["OmniVideo"],
        advice=_advise,
    ),
)
