"""Rows of the new standard: `POST /{operation}/{model}` with contents, settings and options.

Place: the other half of the endpoint table; `new_checks.py` holds the rules. Source for every limit: service reference,
"New-standard create endpoints" and "Kling 4.0". What is misplaced (a top-level `external_task_id`, `duration`, `mode`
or `callback_url`) is ignored here as it is there, and the default clip is billed.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from .checks import Body, Field, Order, dig, items, seconds_of, text
from .made import find_made
from .new_checks import (
    FRAMES,
    LONG_PROMPT_CHARACTERS,
    PICTURES,
    Spec,
    contents_rule,
    first,
    prompt_of,
    settings_fields,
    settings_rule,
)
from .refusals import invalid
from .rows import Binder, Row
from .sources import Limits, linked
from .video_rows import move

if TYPE_CHECKING:
    from .service import Service

RATIOS = ("16:9", "9:16", "1:1")
SHORT_PROMPT_CHARACTERS = 2500  # 2.6, 2.5 and motion control

# Reference videos of omni.
_OMNI_LIMITS = Limits(
    seconds=((3, 15.5),),
    sides=(700, 4553),
    area=8_294_400,
    ratio=(0.4, 2.0),
    fps=(24, 60),
    fps_range=True,
    megabytes=200,
)

# Means in seconds. Source: service reference, "Generation time"; where it is silent, the figure of the nearest kind.
_MEAN_S = {"text-to-video": 319.0, "image-to-video": 164.0, "omni-video": 240.0, "motion-control": 320.0}
_MEAN_S_OF_MODEL = {"kling-3.0-turbo": 40.0, "kling-4.0": 120.0, "kling-4.0-flash": 60.0}

_ALWAYS_SOUND = frozenset({"kling-3.0-turbo", "kling-4.0", "kling-4.0-flash"})


def _read(row: Row, body: Body) -> Order:
    contents = items(body, "contents")
    kinds = {item.get("type") for item in contents}
    resolution = text(body, "settings.resolution")
    seconds = seconds_of(body, "settings.duration", 5)
    return Order(
        model=row.model,
        prompt=prompt_of(body),
        # What comes out of an impossible length is not known; a possible one keeps the file playable.
        seconds=min(max(seconds, 3.0), 30.0),
        ratio=text(body, "settings.aspect_ratio") or None,
        mode="4k" if resolution == "4k" else "pro" if resolution == "1080p" else "std",
        sound=dig(body, "settings.audio") == "native" or row.model in _ALWAYS_SOUND,
        voice="voice" in kinds and row.family == "image-to-video",
        video_input=bool(kinds & {"feature_video", "base_video"}),
        watermark=dig(body, "options.watermark_info.enabled") is True,
        external_id=text(body, "options.external_task_id"),
        callback_url=text(body, "options.callback_url"),
        pictures=tuple(_pictures(row, contents)),
        defect="resolution 480p is not supported" if resolution == "480p" else "",
    )


def _pictures(row: Row, contents: Iterable[Body]) -> list[str]:
    # On omni the generic `image` is taken and ignored.
    kinds = [kind for kind in PICTURES if kind != "image" or row.family == "motion-control"]
    return [text(item, "url") for item in contents if item.get("type") in kinds and text(item, "url")]


def _bind_motion(service: "Service", order: Order, body: Body, _: float) -> Order:
    url = first(items(body, "contents"), "video")
    return move(service, order, url, text(body, "settings.character_orientation"))


def _omni_binder(spec: Spec) -> Binder:
    def bind(service: "Service", order: Order, body: Body, now: float) -> Order:
        if spec.weak and not service.settings.weak_omni:
            for field in settings_fields(spec, strict=True):
                field.check(body, "new")
        contents = items(body, "contents")
        characters = _video_characters(service, contents, now)
        if not spec.is_four:
            _check_characters(contents, characters)
        video_input = order.video_input or (spec.is_four and characters > 0)
        edited, shown = first(contents, "base_video"), first(contents, "feature_video")
        if not edited and not shown:
            return attrs.evolve(order, video_input=video_input)
        film = linked(service, edited or shown)
        # An edited video keeps its length.
        seconds = min(max(film.length_s, 3.0), 30.0) if edited and film.seconds is not None else order.seconds
        flaw = "" if spec.is_four else _OMNI_LIMITS.flaw(film)
        return attrs.evolve(order, video_input=video_input, seconds=seconds, defect=order.defect or flaw)

    return bind


def _video_characters(service: "Service", contents: Iterable[Body], now: float) -> int:
    """How many elements were made from videos; those that are not of this emulator count as made from images."""
    makers = [
        find_made(service, "elements", item.get("element_id"), now)
        for item in contents
        if item.get("type") == "element"
    ]
    return sum(maker is not None and maker.body.get("reference_type") == "video_refer" for maker in makers)


def _check_characters(contents: list[Body], characters: int) -> None:
    if not characters:
        return
    kinds = [item.get("type") for item in contents]
    inputs = sum(kind in ("element", "refer_image", *FRAMES) for kind in kinds)
    if "feature_video" in kinds or "base_video" in kinds:
        if characters > 1 or inputs > characters:
            raise invalid("with a video only one video-character element and no other images or elements are supported")
    elif characters > 3 or inputs > 4:
        raise invalid("contents must not have more than 4 images and elements, 3 of them video-character elements")


def _row(spec: Spec) -> Row:
    fields = (
        Field("contents", "list", required=spec.operation != "text-to-video"),
        Field("settings", "object"),
        *settings_fields(spec),
        Field("options", "object"),
        Field("options.external_task_id", "text"),
        Field("options.callback_url", "text"),
        Field("options.watermark_info", "object"),
        Field("options.watermark_info.enabled", "flag"),
    )
    binders = {"omni-video": _omni_binder(spec), "motion-control": _bind_motion}
    return Row(
        name=spec.name,
        path=f"/{spec.name}",
        standard="new",
        model=spec.model,
        fields=fields,
        rules=(contents_rule(spec), settings_rule(spec)),
        read=_read,
        bind=binders.get(spec.operation),
        action="textGenerate" if spec.operation == "text-to-video" else "generate",
        mean_s=_MEAN_S[spec.operation],
        mean_s_of_model=_MEAN_S_OF_MODEL,
    )


_WITH_SOUND = ("native", "off")
_OMNI = ("prompt", *FRAMES, "refer_image", "feature_video", "base_video", "element")
# Taken by the validator of the omni path and then ignored. Source: service reference, "Omni, wrong generic types".
_GENERIC = ("image", "video", "voice")
_FOUR_FRAMES = ("prompt", "first_frame", "middle_frame", "last_frame")

SPECS: tuple[Spec, ...] = (
    Spec(operation="text-to-video", model="kling-3.0-turbo", types=("prompt",), ratios=RATIOS),
    Spec(
        operation="image-to-video",
        model="kling-3.0-turbo",
        types=("prompt", "first_frame"),
        needs=("first_frame",),
    ),
    Spec(
        operation="text-to-video",
        model="kling-3.0",
        types=("prompt",),
        resolutions=("720p", "1080p", "4k"),
        ratios=RATIOS,
        audio=_WITH_SOUND,
        multi_shot=True,
    ),
    Spec(
        operation="image-to-video",
        model="kling-3.0",
        types=("prompt", *FRAMES, "element"),
        needs=("first_frame",),
        resolutions=("720p", "1080p", "4k"),
        audio=_WITH_SOUND,
        multi_shot=True,
        elements=3,
    ),
    *(
        Spec(
            operation="omni-video",
            model="kling-3.0-omni",
            path_model=word,
            types=_OMNI,
            ignored=_GENERIC,
            resolutions=("720p", "1080p", "4k"),
            ratios=RATIOS,
            audio=("native", "original", "off"),
            multi_shot=True,
            weak=True,
        )
        # The documented name, and one seen to work; one model all the same.
        for word in ("kling-3.0-omni", "kling-v3-omni")
    ),
    Spec(
        operation="omni-video",
        model="kling-o1",
        types=_OMNI,
        ignored=_GENERIC,
        ratios=RATIOS,
        seconds=(3, 10),
    ),
    Spec(
        operation="text-to-video",
        model="kling-2.6",
        types=("prompt",),
        ratios=RATIOS,
        audio=_WITH_SOUND,
        lengths=("5", "10"),
        prompt=SHORT_PROMPT_CHARACTERS,
    ),
    Spec(
        operation="image-to-video",
        model="kling-2.6",
        types=("prompt", *FRAMES, "voice"),
        needs=("first_frame",),
        audio=_WITH_SOUND,
        lengths=("5", "10"),
        prompt=SHORT_PROMPT_CHARACTERS,
    ),
    Spec(
        operation="text-to-video",
        model="kling-2.5-turbo",
        types=("prompt",),
        ratios=RATIOS,
        lengths=("5", "10"),
        prompt=SHORT_PROMPT_CHARACTERS,
    ),
    Spec(
        operation="image-to-video",
        model="kling-2.5-turbo",
        types=("prompt", *FRAMES),
        needs=("first_frame",),
        lengths=("5", "10"),
        prompt=SHORT_PROMPT_CHARACTERS,
    ),
    *(
        Spec(
            operation="motion-control",
            model=model,
            types=("prompt", "image", "video", *(("element",) if elements else ())),
            needs=("image", "video"),
            audio=("original", "off"),
            seconds=None,
            prompt=SHORT_PROMPT_CHARACTERS,
            elements=elements,
        )
        for model, elements in (("kling-3.0", 1), ("kling-2.6", 0))
    ),
    *(
        spec
        for model, longest, resolutions in (
            ("kling-4.0", 30, ("720p", "1080p")),
            ("kling-4.0-flash", 20, ("720p",)),
        )
        for spec in (
            Spec(
                operation="text-to-video",
                model=model,
                types=("prompt",),
                resolutions=resolutions,
                ratios=(*RATIOS, "21:9"),
                seconds=(3, longest),
                prompt=LONG_PROMPT_CHARACTERS,
            ),
            Spec(
                operation="image-to-video",
                model=model,
                types=_FOUR_FRAMES,
                needs=("first_frame",),
                resolutions=resolutions,
                seconds=(3, longest),
                prompt=LONG_PROMPT_CHARACTERS,
            ),
            Spec(
                operation="omni-video",
                model=model,
                types=(*_FOUR_FRAMES, "refer_image", "feature_video", "base_video", "element", "voice"),
                resolutions=resolutions,
                ratios=RATIOS,
                seconds=(3, longest),
                prompt=LONG_PROMPT_CHARACTERS,
                elements=7,
            ),
        )
    ),
)

NEW_ROWS: tuple[Row, ...] = tuple(_row(spec) for spec in SPECS)
