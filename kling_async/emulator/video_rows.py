"""Rows of the legacy standard for the other video endpoints: several images, motion, extension, effects, avatars.

Place: part of the endpoint table; `face_rows.py` and `element_rows.py` hold those that go through sessions. Source for
every limit: service reference, "Other legacy video endpoints" and "Price". What a linked file is like is told by its
address (see `sources.py`); a video that breaks a limit makes a task that fails early, as a bad picture does.
"""

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import attrs

from .checks import Body, Field, Order, dig, items, seconds_of, text
from .element_rows import ELEMENT_ROWS
from .face_rows import FACE_ROWS
from .images import is_url
from .refusals import invalid
from .rows import Row
from .sources import Limits, exactly_one, linked, made_video, parent_of, sound_of

if TYPE_CHECKING:
    from .service import Service

PROMPT_CHARACTERS = 2500
RATIOS = ("16:9", "9:16", "1:1")

# Files for motion control. Source: service reference, "New-standard create endpoints" (motion video). Output is at
# most 10 s long with orientation image, 30 s with orientation video.
_MOTION = {
    orientation: Limits(seconds=((3, longest),), sides=(340, 3850), megabytes=100)
    for orientation, longest in (("image", 10.0), ("video", 30.0))
}

# Longest video that can be extended, and what one extension adds, in seconds; the latter is assumed.
_EXTENDABLE_S, EXTENSION_S = 180.0, 5.0
_EXTENDABLE = ("kling-v1", "kling-v1-5", "kling-v1-6")

# Seconds of an avatar's sound.
_AVATAR_S = (2.0, 300.0)

# Means in seconds. Source: service reference, "Generation time"; where it is silent, the figure of the nearest kind.
_IMAGE_MEAN_S, _EFFECT_MEAN_S, _EXTEND_MEAN_S = 164.0, 320.0, 320.0
_MOTION_MEAN_S, _AVATAR_MEAN_S = 320.0, 455.0

_AVATAR_UNITS = {"std": Decimal("0.4"), "pro": Decimal("0.8")}

Mode = Literal["std", "pro", "4k"]

CALLER = (Field("external_task_id", "text"), Field("callback_url", "text"))
MARK = (Field("watermark_info", "object"), Field("watermark_info.enabled", "flag"))
_PROMPT = Field("prompt", "text", longest=PROMPT_CHARACTERS)
_NEGATIVE = Field("negative_prompt", "text", longest=PROMPT_CHARACTERS)
_QUALITY = Field("mode", "text", choices=("std", "pro"))
_LENGTH = Field("duration", "seconds", choices=("5", "10"))


def _order(row: Row, body: Body, **more: Any) -> Order:
    mode: Mode = "pro" if text(body, "mode") == "pro" else "std"
    common: dict[str, Any] = {
        "model": text(body, "model_name") or row.model,
        "prompt": text(body, "prompt"),
        "seconds": seconds_of(body, "duration", 5),
        "ratio": text(body, "aspect_ratio") or None,
        "mode": mode,
        "watermark": dig(body, "watermark_info.enabled") is True,
        "external_id": text(body, "external_task_id"),
        "callback_url": text(body, "callback_url"),
    }
    return Order(**(common | more))


def _pictures(values: list[Any]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str) and value)


# Several images


def _check_images(body: Body) -> None:
    for image in items(body, "image_list"):
        Field("image", "image", required=True).check(image, "legacy")


def _read_images(row: Row, body: Body) -> Order:
    return _order(row, body, pictures=_pictures([image.get("image") for image in items(body, "image_list")]))


# Motion control


def _check_motion(body: Body) -> None:
    if not is_url(text(body, "video_url")):
        raise invalid(f"video_url value '{text(body, 'video_url')[:60]}' is invalid")
    elements = items(body, "element_list")
    for element in elements:
        Field("element_id", "id", required=True).check(element, "legacy")
    if elements and dig(body, "character_orientation") != "video":
        raise invalid("character_orientation must be video with an element")


def _read_motion(row: Row, body: Body) -> Order:
    return _order(row, body, pictures=_pictures([dig(body, "image_url")]), video_input=True)


def _bind_motion(service: "Service", order: Order, body: Body, _: float) -> Order:
    return move(service, order, text(body, "video_url"), text(body, "character_orientation"))


def move(service: "Service", order: Order, url: str, orientation: str) -> Order:
    """The order as long as its video; flawed when the video is no good."""
    film = linked(service, url)
    limits = _MOTION.get(orientation, _MOTION["video"])
    # The output may be shorter than the video; it is billed by its own length.
    seconds = min(film.length_s, limits.seconds[0][1])
    return attrs.evolve(order, seconds=seconds, defect=order.defect or limits.flaw(film))


# Extension


def _read_extension(row: Row, body: Body) -> Order:
    return _order(row, body, model=row.model, seconds=2 * EXTENSION_S)


def _bind_extension(service: "Service", order: Order, body: Body, now: float) -> Order:
    film = made_video(service, str(dig(body, "video_id")), now)
    model = film.task.model if film.task is not None else order.model
    if model not in _EXTENDABLE:
        raise invalid(f"video_id value is invalid: a video of {model} cannot be extended")
    if film.length_s > _EXTENDABLE_S:
        raise invalid(f"video_id value is invalid: the video is longer than {_EXTENDABLE_S:.0f} seconds")
    return attrs.evolve(
        order,
        model=model,
        mode="pro" if film.task is not None and film.task.mode == "pro" else "std",
        ratio=film.task.ratio if film.task is not None else None,
        seconds=round(film.length_s + EXTENSION_S, 3),
        facts={"parent_video": parent_of(service, film, now)},
    )


def _price_of_extension(order: Order) -> Decimal:
    if order.mode != "std":
        return Decimal("3.5")
    return Decimal(1) if order.model == "kling-v1" else Decimal(2)


# Effects


def _check_effect(body: Body) -> None:
    image, images = dig(body, "input.image"), dig(body, "input.images")
    if bool(image) == bool(images):
        raise invalid("exactly one of input.image and input.images is required")
    if images:
        # Two people, left and right.
        if len(images) != 2:
            raise invalid("input.images must have exactly 2 items")
        for position, value in enumerate(images):
            Field(f"images[{position}]", "image", required=True).check({f"images[{position}]": value}, "legacy")


def _read_effect(row: Row, body: Body) -> Order:
    images = dig(body, "input.images")
    return _order(
        row,
        body,
        model=text(body, "input.model_name") or row.model,
        seconds=seconds_of(body, "input.duration", 5),
        mode="pro" if text(body, "input.mode") == "pro" else "std",
        pictures=_pictures([dig(body, "input.image"), *(images if isinstance(images, list) else [])]),
    )


# Avatars


def _check_avatar(body: Body) -> None:
    exactly_one(body, "audio_id", "sound_file")


def _read_avatar(row: Row, body: Body) -> Order:
    return _order(row, body, model=row.model, pictures=_pictures([dig(body, "image")]), sound=True)


def _bind_avatar(service: "Service", order: Order, body: Body, now: float) -> Order:
    heard = sound_of(service, body, now)
    low, high = _AVATAR_S
    if heard.seconds is not None and not low <= heard.seconds <= high + 0.1:
        raise invalid(f"Audio duration must be between {low:.0f} and {high:.0f} seconds")
    return attrs.evolve(order, seconds=heard.length_s)


def _price_of_avatar(order: Order) -> Decimal:
    return _AVATAR_UNITS["pro" if order.mode == "pro" else "std"] * math.ceil(order.seconds)


VIDEO_ROWS: tuple[Row, ...] = (
    Row(
        name="multi-image2video",
        path="/v1/videos/multi-image2video",
        model="kling-v1-6",
        fields=(
            *CALLER,
            *MARK,
            Field("model_name", "text"),
            Field("prompt", "text", required=True, longest=PROMPT_CHARACTERS),
            _NEGATIVE,
            Field("image_list", "list", required=True, longest=4),
            _QUALITY,
            _LENGTH,
            Field("aspect_ratio", "text", choices=RATIOS),
        ),
        rules=(_check_images,),
        read=_read_images,
        mean_s=_IMAGE_MEAN_S,
    ),
    Row(
        name="motion-control",
        path="/v1/videos/motion-control",
        model="kling-v2-6",
        fields=(
            *CALLER,
            *MARK,
            Field("model_name", "text"),
            _PROMPT,
            Field("image_url", "image", required=True),
            Field("video_url", "text", required=True),
            Field("character_orientation", "text", required=True, choices=("image", "video")),
            Field("mode", "text", required=True, choices=("std", "pro")),
            Field("keep_original_sound", "text", choices=("yes", "no")),
            Field("element_list", "list", longest=1),
        ),
        rules=(_check_motion,),
        read=_read_motion,
        bind=_bind_motion,
        mean_s=_MOTION_MEAN_S,
    ),
    Row(
        name="video-extend",
        path="/v1/videos/video-extend",
        model="kling-v1",
        fields=(
            *CALLER,
            Field("video_id", "id", required=True),
            _PROMPT,
            _NEGATIVE,
            Field("cfg_scale", "number", low=0, high=1),
        ),
        read=_read_extension,
        bind=_bind_extension,
        price=_price_of_extension,
        mean_s=_EXTEND_MEAN_S,
    ),
    Row(
        name="effects",
        path="/v1/videos/effects",
        model="kling-v1-6",
        fields=(
            *CALLER,
            Field("effect_scene", "text", required=True),
            Field("input", "object", required=True),
            Field("input.image", "image"),
            Field("input.images", "list"),
            # The older form.
            Field("input.model_name", "text"),
            Field("input.mode", "text", choices=("std", "pro")),
            Field("input.duration", "seconds", choices=("5", "10")),
        ),
        rules=(_check_effect,),
        read=_read_effect,
        mean_s=_EFFECT_MEAN_S,
    ),
    Row(
        name="avatar",
        path="/v1/videos/avatar/image2video",
        model="avatar",
        fields=(
            *CALLER,
            *MARK,
            Field("image", "image", required=True),
            Field("audio_id", "id"),
            Field("sound_file", "text"),
            _PROMPT,
            _QUALITY,
        ),
        rules=(_check_avatar,),
        read=_read_avatar,
        bind=_bind_avatar,
        price=_price_of_avatar,
        mean_s=_AVATAR_MEAN_S,
    ),
    *FACE_ROWS,
    *ELEMENT_ROWS,
)
