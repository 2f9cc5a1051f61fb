"""Rows of the legacy standard: flat bodies, the model version in `model_name`.

Place: half of the endpoint table. Source for every limit: service reference, "Legacy create endpoints: video" and
"Rules shared by many endpoints".
"""

from typing import TYPE_CHECKING, Any

import attrs

from .checks import Body, Field, Order, dig, items, seconds_of, text, wrong
from .images import is_url
from .refusals import invalid
from .rows import Row
from .sources import Limits, linked

if TYPE_CHECKING:
    from .service import Service

PROMPT_CHARACTERS = 2500
SHOT_CHARACTERS = 512
RATIOS = ("16:9", "9:16", "1:1")
_CAMERAS = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")
_AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")

# Means in seconds measured on 2025 models; later ones are assumed alike. Source: service reference, "Generation time".
_TEXT_MEAN_S = 319.0
_IMAGE_MEAN_S = 164.0
_OMNI_MEAN_S = 240.0  # assumed: between the two

# Reference videos of omni.
_OMNI_LIMITS = Limits(seconds=((3, 10),), sides=(720, 2160), fps=(24, 60), fps_range=True, megabytes=200)

_COMMON = (
    Field("model_name", "text"),
    Field("external_task_id", "text"),
    Field("callback_url", "text"),
    Field("watermark_info", "object"),
    Field("watermark_info.enabled", "flag"),
)
_CLIP = (
    Field("prompt", "text", longest=PROMPT_CHARACTERS),
    Field("negative_prompt", "text", longest=PROMPT_CHARACTERS),
    Field("multi_shot", "flag"),
    Field("shot_type", "text", choices=("customize", "intelligence")),
    Field("multi_prompt", "list", longest=6),
    Field("voice_list", "list", longest=2),
    Field("sound", "text", choices=("on", "off")),
    Field("cfg_scale", "number", low=0, high=1),
    Field("mode", "text", choices=("std", "pro", "4k")),
    Field("camera_control", "object"),
    Field("camera_control.type", "text", choices=_CAMERAS),
    Field("duration", "seconds", low=3, high=15),
)


def _read(row: Row, body: Body) -> Order:
    elements = dig(body, "watermark_info.enabled")
    mode = text(body, "mode") or ("pro" if row.name == "omni-video" else "std")
    return Order(
        model=text(body, "model_name") or row.model,
        prompt=" ".join(
            [text(body, "prompt"), *(str(shot.get("prompt", "")) for shot in items(body, "multi_prompt"))]
        ).strip(),
        seconds=seconds_of(body, "duration", 5),
        ratio=text(body, "aspect_ratio") or None,
        mode=mode if mode in ("pro", "4k") else "std",  # type: ignore[arg-type]
        sound=dig(body, "sound") == "on",
        voice=bool(items(body, "voice_list")),
        video_input=bool(items(body, "video_list")),
        watermark=elements is True,
        external_id=text(body, "external_task_id"),
        callback_url=text(body, "callback_url"),
        pictures=tuple(_pictures(body)),
    )


def _pictures(body: Body) -> list[str]:
    """Inline and linked pictures of a body, the one that decides the ratio first."""
    listed = [item.get("image_url") for item in items(body, "image_list")]
    return [
        value for value in [dig(body, "image"), dig(body, "image_tail"), *listed] if isinstance(value, str) and value
    ]


def _is_customized(body: Body) -> bool:
    return dig(body, "multi_shot") is True and dig(body, "shot_type") == "customize"


def _needs_prompt(body: Body) -> None:
    if not _is_customized(body) and not text(body, "prompt"):
        raise invalid("prompt is required")


def _check_shots(body: Body) -> None:
    if dig(body, "multi_shot") is not True:
        # Without multi_shot the two others are void, whatever they hold.
        return
    shot_type = dig(body, "shot_type")
    if not shot_type:
        raise invalid("shot_type is required when multi_shot is true")
    if shot_type == "intelligence":
        if not text(body, "prompt"):
            raise invalid("prompt is required when shot_type is intelligence")
        return
    shots = items(body, "multi_prompt")
    if not shots:
        raise invalid("multi_prompt is required when shot_type is customize")
    total = 0
    for position, shot in enumerate(shots):
        name = f"multi_prompt[{position}]"
        Field("index", "integer", required=True).check(shot, "legacy")
        words = shot.get("prompt")
        if not isinstance(words, str) or not words or len(words) > SHOT_CHARACTERS:
            raise wrong(f"{name}.prompt", words)
        length = str(shot.get("duration"))
        if not (length.isascii() and length.isdigit()) or int(length) < 1:
            raise wrong(f"{name}.duration", length)
        total += int(length)
    if total != seconds_of(body, "duration", 5):
        raise invalid("the sum of multi_prompt durations must equal duration")


def _check_voices(body: Body) -> None:
    voices = items(body, "voice_list")
    for position, voice in enumerate(voices):
        if not voice.get("voice_id"):
            raise invalid(f"voice_list[{position}].voice_id is required")
    if voices and dig(body, "sound") != "on":
        raise invalid("voice_list requires sound on")


def _check_camera(body: Body) -> None:
    camera = dig(body, "camera_control")
    if not camera:
        return
    config = camera.get("config")
    if camera.get("type") != "simple":
        if config is not None:
            raise invalid("camera_control.config is only valid with type simple")
        return
    if not isinstance(config, dict):
        raise invalid("camera_control.config is required with type simple")
    for axis in _AXES:
        Field(axis, "number", low=-10, high=10).check(config, "legacy")
    if sum(1 for axis in _AXES if config.get(axis)) != 1:
        raise invalid("camera_control.config must have exactly one non-zero value")


def _check_frames(body: Body) -> None:
    if not dig(body, "image") and not dig(body, "image_tail"):
        raise invalid("image or image_tail is required")
    brushes = bool(dig(body, "static_mask") or dig(body, "dynamic_masks"))
    if sum((bool(dig(body, "image_tail")), brushes, bool(dig(body, "camera_control")))) > 1:
        raise invalid("image_tail, static_mask/dynamic_masks and camera_control cannot be used together")


def _check_masks(body: Body) -> None:
    for position, mask in enumerate(items(body, "dynamic_masks")):
        name = f"dynamic_masks[{position}]"
        Field("mask", "image", required=True).check(mask, "legacy")
        points = items(mask, "trajectories")
        if not 2 <= len(points) <= 77:
            raise invalid(f"{name}.trajectories must have 2 to 77 points")
        for point in points:
            Field("x", "integer", required=True).check(point, "legacy")
            Field("y", "integer", required=True).check(point, "legacy")


def _check_elements(body: Body) -> None:
    elements = items(body, "element_list")
    for element in elements:
        Field("element_id", "id", required=True).check(element, "legacy")
    if elements and items(body, "voice_list"):
        raise invalid("element_list and voice_list cannot be used together")


def _check_references(body: Body) -> None:
    images, videos = items(body, "image_list"), items(body, "video_list")
    kinds: list[Any] = []
    for position, image in enumerate(images):
        Field("image_url", "image", required=True).check(image, "legacy")
        kind = image.get("type") or None
        if kind not in (None, "first_frame", "end_frame"):
            raise wrong(f"image_list[{position}].type", kind)
        kinds.append(kind)
    if "end_frame" in kinds and "first_frame" not in kinds:
        raise invalid("an end_frame requires a first_frame")
    if "end_frame" in kinds and len(images) > 2:
        raise invalid("image_list must not have more than 2 items with an end_frame")
    for position, video in enumerate(videos):
        if not is_url(str(video.get("video_url", ""))):
            raise wrong(f"video_list[{position}].video_url", video.get("video_url"))
        Field("refer_type", "text", choices=("feature", "base")).check(video, "legacy")
        Field("keep_original_sound", "text", choices=("yes", "no")).check(video, "legacy")
    allowed = 4 if videos else 7
    if len(images) + len(items(body, "element_list")) > allowed:
        raise invalid(f"image_list and element_list must not have more than {allowed} items together")
    edits = any((video.get("refer_type") or "base") == "base" for video in videos)
    if not dig(body, "aspect_ratio") and "first_frame" not in kinds and not edits:
        raise invalid("aspect_ratio is required without a first frame or a video to edit")


def _check_omni_length(body: Body) -> None:
    if (text(body, "model_name") or "kling-video-o1") != "kling-video-o1":
        return
    others = [image for image in items(body, "image_list") if image.get("type") != "first_frame"]
    is_plain = not others and not items(body, "element_list") and not items(body, "video_list")
    seconds = seconds_of(body, "duration", 5)
    # From words or from a first frame alone there are two lengths only.
    if seconds > 10 or (is_plain and seconds not in (5, 10)):
        raise wrong("duration", dig(body, "duration"))


def _check_omni_shots(body: Body) -> None:
    has_end = any(image.get("type") == "end_frame" for image in items(body, "image_list"))
    if dig(body, "multi_shot") is True and has_end:
        raise invalid("multi_shot cannot be used with a first and an end frame")


def _bind_clip(service: "Service", order: Order, body: Body, _: float) -> Order:
    """One video, or one of each shot where the switch says so."""
    if not service.settings.video_per_shot or not _is_customized(body):
        return order
    lengths = [seconds_of(shot, "duration", 5) for shot in items(body, "multi_prompt")]
    return attrs.evolve(order, count=len(lengths), facts={"lengths": lengths}) if lengths else order


def _one_slot(_: Order) -> int:
    return 1


def _bind_omni(service: "Service", order: Order, body: Body, now: float) -> Order:
    videos = items(body, "video_list")
    if not videos:
        return _bind_clip(service, order, body, now)
    film = linked(service, text(videos[0], "video_url"))
    edits = (videos[0].get("refer_type") or "base") == "base"
    # An edited video keeps its length, billed in whole seconds; `duration` is ignored then.
    seconds = float(max(1, round(film.seconds))) if edits and film.seconds is not None else order.seconds
    return attrs.evolve(order, seconds=seconds, defect=order.defect or _OMNI_LIMITS.flaw(film))


LEGACY_ROWS: tuple[Row, ...] = (
    Row(
        name="text2video",
        path="/v1/videos/text2video",
        standard="legacy",
        model="kling-v1",
        action="textGenerate",
        fields=(*_COMMON, *_CLIP, Field("aspect_ratio", "text", choices=RATIOS)),
        rules=(_needs_prompt, _check_shots, _check_voices, _check_camera),
        read=_read,
        bind=_bind_clip,
        slots=_one_slot,
        mean_s=_TEXT_MEAN_S,
    ),
    Row(
        name="image2video",
        path="/v1/videos/image2video",
        standard="legacy",
        model="kling-v1",
        fields=(
            *_COMMON,
            *_CLIP,
            Field("image", "image"),
            Field("image_tail", "image"),
            Field("static_mask", "image"),
            Field("dynamic_masks", "list", longest=6),
            Field("element_list", "list", longest=3),
        ),
        rules=(_check_frames, _check_masks, _check_elements, _check_shots, _check_voices, _check_camera),
        read=_read,
        bind=_bind_clip,
        slots=_one_slot,
        mean_s=_IMAGE_MEAN_S,
    ),
    Row(
        name="omni-video",
        path="/v1/videos/omni-video",
        standard="legacy",
        model="kling-video-o1",
        fields=(
            *_COMMON,
            *_CLIP,
            Field("aspect_ratio", "text", choices=RATIOS),
            Field("image_list", "list"),
            Field("element_list", "list"),
            Field("video_list", "list", longest=1),
        ),
        rules=(
            _needs_prompt,
            _check_shots,
            _check_elements,
            _check_references,
            _check_omni_length,
            _check_omni_shots,
        ),
        read=_read,
        bind=_bind_omni,
        slots=_one_slot,
        mean_s=_OMNI_MEAN_S,
    ),
)
