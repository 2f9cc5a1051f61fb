"""What stands inside requests of the new standard: typed contents, settings and options.

Stage: registry and wire. Each may be given as a plain mapping too; an item of contents is told by its "type". The
service ignores a misplaced field and bills the default clip, so every name has one place, and elsewhere it is refused.
Source of every field, unless said otherwise: service reference, new-standard pages of text, image and omni video and
of motion control.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from ..errors import InvalidRequest
from .base import ALWAYS, from_mapping, nested
from .parts import Plain, WatermarkInfo, as_watermark
from .rules import (
    Media,
    Rule,
    as_media,
    boolean,
    element_id,
    external_id,
    extra_fields,
    integer,
    kept,
    media,
    one_of,
    optional,
    text,
    web_url,
)

PICTURE = {"media": "large image"}
"""Metadata of a field that takes a local JPG or PNG, which the new standard takes up to 50 MB."""
_MOST_PROMPT = 26_000  # characters; Kling 4.0 takes most, what other models take is advice
_words: Any = optional(text())


def _type(word: str) -> Any:
    # Not init=False: a request is journalled as plain data and read again, and only the type tells what an item is.
    return attrs.field(default=word, validator=one_of(word), metadata=ALWAYS)


def _digits(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**64 else value


# --- contents ------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Prompt:
    """The words of a clip; `@id` refers to another item, `shot n, seconds, words; ...` makes several shots.

    Attributes:
        type: "prompt".
        text: at most 3072 characters (4.0: 26,000).
        extra: further fields of the item, by name.
    """

    type: str = _type("prompt")
    text: str = attrs.field(validator=text(_MOST_PROMPT))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class FirstFrame:
    """The picture a clip begins with.

    Attributes:
        type: "first_frame".
        url: URL, Base64 or a local file.
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("first_frame")
    url: Media = attrs.field(converter=as_media, validator=media, metadata=PICTURE)
    id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class MiddleFrame:
    """A picture on the way, spread evenly with its likes. Source: "Kling 4.0" (partners' pages).

    Attributes:
        type: "middle_frame".
        url: URL, Base64 or a local file.
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("middle_frame")
    url: Media = attrs.field(converter=as_media, validator=media, metadata=PICTURE)
    id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class LastFrame:
    """The picture a clip ends with; needs a first one.

    Attributes:
        type: "last_frame".
        url: URL, Base64 or a local file.
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("last_frame")
    url: Media = attrs.field(converter=as_media, validator=media, metadata=PICTURE)
    id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class ReferImage:
    """A picture an omni video refers to, for a thing, a scene or a style.

    Attributes:
        type: "refer_image".
        url: URL, Base64 or a local file.
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("refer_image")
    url: Media = attrs.field(converter=as_media, validator=media, metadata=PICTURE)
    id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class FeatureVideo:
    """A video whose features an omni video takes over.

    Attributes:
        type: "feature_video".
        url: URL of an mp4 or mov, 3 to 15.5 s, at most 200 MB.
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("feature_video")
    url: str = attrs.field(validator=web_url)
    id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class BaseVideo:
    """A video that is edited.

    Attributes:
        type: "base_video".
        url: URL of an mp4 or mov, 3 to 15.5 s, at most 200 MB.
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("base_video")
    url: str = attrs.field(validator=web_url)
    id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class MotionImage:
    """Who moves, for motion control.

    Attributes:
        type: "image".
        url: URL, Base64 or a local file.
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("image")
    url: Media = attrs.field(converter=as_media, validator=media, metadata=PICTURE)
    id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class MotionVideo:
    """The motion, for motion control.

    Attributes:
        type: "video".
        url: URL of an mp4 or mov, at most 100 MB, 3 to 30 s (10 s with character_orientation="image").
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("video")
    url: str = attrs.field(validator=web_url)
    id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class Element:
    """An element made before.

    Attributes:
        type: "element".
        element_id: the service's id; sent as text on every host.
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("element")
    element_id: str = attrs.field(converter=_digits, validator=element_id)
    id: str = attrs.field(validator=text())
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class Voice:
    """A voice.

    Attributes:
        type: "voice".
        voice_id: the service's id.
        id: name for `@id` in the prompt, unique in the task.
        extra: further fields of the item, by name.
    """

    type: str = _type("voice")
    voice_id: str = attrs.field(validator=text())
    id: str = attrs.field(validator=text())
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


def _all_media(value: Any) -> Any:
    return {name: as_media(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _other_type(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    text()(_instance, field, value)
    if value in TYPES:
        raise InvalidRequest(field.name, value, f"has a class of its own, {TYPES[str(value)].__name__}")


@attrs.frozen(kw_only=True)
class OtherContent:
    """An item of a type that this package does not know yet.

    Attributes:
        type: the service's word for it.
        extra: its fields, by name; a pathlib.Path is a local picture.
    """

    type: str = attrs.field(validator=_other_type)
    extra: Mapping[str, object] = attrs.field(
        factory=dict, converter=_all_media, validator=extra_fields, hash=False, metadata=PICTURE
    )


Content: TypeAlias = (
    Prompt
    | FirstFrame
    | MiddleFrame
    | LastFrame
    | ReferImage
    | FeatureVideo
    | BaseVideo
    | MotionImage
    | MotionVideo
    | Element
    | Voice
    | OtherContent
)
"""One item of contents."""

TYPES: Mapping[str, type[Any]] = {
    str(attrs.fields_dict(kind)["type"].default): kind
    for kind in (
        Prompt,
        FirstFrame,
        MiddleFrame,
        LastFrame,
        ReferImage,
        FeatureVideo,
        BaseVideo,
        MotionImage,
        MotionVideo,
        Element,
        Voice,
    )
}
"""The service's word for a type, and its class."""


def as_contents(value: Iterable[Content | Plain] | None) -> tuple[Content, ...] | None:
    """Take typed items or plain mappings; of a mapping the "type" says what it is. An empty list is nothing."""
    if value is None:
        return None
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidRequest("contents", value, "must be a list of contents")
    return tuple(_content(item, f"contents[{index}]") for index, item in enumerate(value)) or None


def _content(value: Any, name: str) -> Content:
    if isinstance(value, Content):
        return value
    if not isinstance(value, Mapping):
        raise InvalidRequest(name, value, 'must be one of the classes of contents, or a mapping with a "type"')
    word = value.get("type")
    if word is None:
        raise InvalidRequest(f"{name}.type", None, f"is required; known are {', '.join(TYPES)}")
    kind = TYPES.get(word) if isinstance(word, str) else None
    try:
        return from_mapping(kind, value) if kind else _other(value)
    except InvalidRequest as error:
        raise error.inside(name) from None


def _other(value: Mapping[str, object]) -> OtherContent:
    # Both forms are read: fields beside the type, as the service has them, and the `extra` that `to_plain` writes.
    beside = {name: field for name, field in value.items() if name not in {"type", "extra"}}
    if "extra" not in value:
        return from_mapping(OtherContent, {"type": value["type"], "extra": beside})
    return from_mapping(OtherContent, value)


# --- where a name belongs ------------------------------------------------------------------------------------------

_TYPES = (
    *("first_frame", "middle_frame", "last_frame", "refer_image", "feature_video", "base_video"),
    *("image", "video", "element", "voice"),
)
_IN_CONTENTS = "belongs in contents, as an item with its type"
_IN_PROMPT = "is written in the prompt: shot 1, 2, words; shot 2, 3, words"
_SETTINGS = ("multi_shot", "audio", "resolution", "aspect_ratio", "duration", "character_orientation", "seed")
_HOME: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("prompt", "contents", "settings", "options"), ("top", "is a field of its own")),
    **dict.fromkeys(_SETTINGS, ("settings", "belongs in settings")),
    **dict.fromkeys(("callback_url", "external_task_id", "watermark_info"), ("options", "belongs in options")),
    **dict.fromkeys(("operation", "model", "model_name"), ("path", "is part of the path: give operation and model")),
    **dict.fromkeys((*_TYPES, "image_list", "video_list", "element_list", "voice_list"), ("contents", _IN_CONTENTS)),
    "image_tail": ("contents", "belongs in contents, as an item of type last_frame"),
    "mode": ("nowhere", "is settings.resolution here: std is 720p, pro is 1080p"),
    "sound": ("nowhere", "is settings.audio here: native or off"),
    "watermark": ("nowhere", "is options.watermark_info here"),
    "shot_type": ("nowhere", _IN_PROMPT),
    "multi_prompt": ("nowhere", _IN_PROMPT),
}
# Names that the legacy standard has and this one has not, or has elsewhere. Source: service reference, "Rules shared by
# many endpoints": such fields are accepted at the wrong place, do nothing, and the default clip is billed.


HINTS: Mapping[str, str] = {name: told for name, (_, told) in _HOME.items()}
"""Where a name belongs that is no field of a request of the new standard."""


def further(place: str) -> Rule:
    """Make the rule for further fields of one place; names that are known to belong elsewhere are refused with a hint.

    Args:
        place: "top", "settings" or "options".
    """

    def check(instance: Any, field: attrs.Attribute[Any], value: object) -> None:
        given: Mapping[str, object] = value if isinstance(value, Mapping) else {}
        for name in given:
            home, told = _HOME.get(name, (place, ""))
            # A setting of tomorrow may well be called like an item of contents; the top level is closed to both.
            if home not in {place, "contents"} or (told and place == "top"):
                raise InvalidRequest(f"{field.name}.{name}", given[name], told)
        if place == "options" and "callback_url" in given:
            raise InvalidRequest(f"{field.name}.callback_url", given["callback_url"], "is a field of its own")
        extra_fields(instance, field, value)

    return check


# --- settings and options ------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Settings:
    """How the clip shall be.

    Attributes:
        multi_shot: whether shots written in the prompt are made; the service's default is True.
        audio: native, original (of the reference video), off.
        resolution: 720p (the service's default), 1080p, 4k.
        aspect_ratio: 16:9, 9:16, 1:1.
        duration: whole seconds, as an integer.
        character_orientation: image or video; required for motion control, and only there.
        seed: seen accepted; no page of the service speaks of it.
        extra: further settings, by name.
    """

    multi_shot: bool | None = attrs.field(default=None, validator=optional(boolean))
    audio: str | None = attrs.field(default=None, validator=optional(one_of("native", "original", "off")))
    resolution: str | None = attrs.field(default=None, validator=_words)
    aspect_ratio: str | None = attrs.field(default=None, validator=_words)
    duration: int | None = attrs.field(default=None, validator=optional(integer(1, 60)))
    character_orientation: str | None = attrs.field(default=None, validator=optional(one_of("image", "video")))
    seed: int | None = attrs.field(default=None, validator=optional(integer()))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=further("settings"), hash=False)


@attrs.frozen(kw_only=True)
class Options:
    """What is the same for every task.

    Attributes:
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        watermark_info: asks for a second file with a watermark.
        extra: further options, by name.
    """

    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=further("options"), hash=False)


def as_settings(value: Settings | Plain | None) -> Settings | None:
    """Take Settings or their plain data."""
    return nested(Settings, "settings", value)


def as_options(value: Options | Plain | None) -> Options | None:
    """Take Options or their plain data."""
    return nested(Options, "options", value)
