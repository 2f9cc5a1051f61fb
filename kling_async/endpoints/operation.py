"""The new standard: one request for every `POST /{operation}/{model}`.

Stage: registry and wire. Operation and model are open words, so that a model of tomorrow works today. What all sources
agree on is refused here; what one model's page says is advice (matrix_new.py holds it).
Source of every rule, unless said otherwise: service reference, "New-standard create endpoints".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, ClassVar

import attrs

from ..dialects import Host
from ..errors import InvalidRequest
from .base import NOT_SENT, Advice, Endpoint, Task
from .contents import (
    HINTS,
    PICTURE,
    Content,
    Options,
    OtherContent,
    Prompt,
    Settings,
    as_contents,
    as_options,
    as_settings,
    further,
)
from .matrix_new import MODELS, Able, able_of
from .rules import kept, optional, seconds_of, text

_MOST_PROMPT = 26_000
_WORD = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z")
# Paths below these belong to other requests and are queried in other ways.
_TAKEN: Mapping[str, str] = {
    "v1": "is the legacy standard: use TextToVideo, ImageToVideo or another class of it",
    "solutions": "is the Solutions API: use Solution",
    "account": "is the account's: use AccountCosts, BalanceCharges or PackageCharges",
    "tasks": "is where tasks are queried",
}
_DEFAULT_SECONDS = 5.0
# Models whose pages say how frames go together. Kling 4.0 has no page of the service's own yet.
_FRAMED = frozenset(model for _, model in MODELS if not model.startswith("kling-4"))


def path_word(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    """A word that can stand in a path as it is: letters, digits, dots, hyphens and underscores."""
    if not isinstance(value, str) or not _WORD.match(value):
        raise InvalidRequest(field.name, value, "must be 1 to 100 of A-Z a-z 0-9 . _ -, and not begin with a dot")


def _operation(instance: object, field: attrs.Attribute[Any], value: str) -> None:
    path_word(instance, field, value)
    if value in _TAKEN:
        raise InvalidRequest(field.name, value, _TAKEN[value])


@attrs.frozen(kw_only=True)
class Operation(Task):
    """A task of the new standard, of any operation and model.

    Attributes:
        operation: open; text-to-video, image-to-video, omni-video, motion-control.
        model: open; as in the path: kling-3.0, kling-3.0-turbo, kling-3.0-omni, ...
        prompt: words of a text-to-video; the other operations have them in contents.
        contents: what goes in; unknown types are sent as they are given.
        settings: how the clip shall be.
        options: callback_url, external_task_id and watermark_info; the service ignores them elsewhere.
        extra: further fields for the top level of the body, by name.
    """

    operation: str = attrs.field(validator=_operation, metadata=NOT_SENT)
    model: str = attrs.field(validator=path_word, metadata=NOT_SENT)
    prompt: str | None = attrs.field(default=None, validator=optional(text(_MOST_PROMPT)))
    contents: tuple[Content, ...] | None = attrs.field(default=None, converter=as_contents, metadata=PICTURE)
    settings: Settings | None = attrs.field(default=None, converter=as_settings)
    options: Options | None = attrs.field(default=None, converter=as_options)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=further("top"), hash=False)

    __hints__: ClassVar[Mapping[str, str]] = HINTS

    def __attrs_post_init__(self) -> None:
        _check_words(self)
        _check_contents(self)
        if self.operation == "motion-control" and setting(self, "character_orientation") is None:
            raise InvalidRequest("settings.character_orientation", None, "is required: image or video")

    @property
    def external_task_id(self) -> str | None:
        """The caller's own id, from the options; also the job's."""
        return None if self.options is None else self.options.external_task_id

    @property
    def callback_url(self) -> str | None:
        """Where the service reports changes, from the options."""
        return None if self.options is None else self.options.callback_url


def setting(request: Operation, name: str) -> Any:
    """Give one of the settings, also when it was given as a further one; None when it is unset."""
    settings = request.settings
    if settings is None:
        return None
    value = getattr(settings, name)
    value = settings.extra.get(name) if value is None else value
    # A further field may be anything, and is compared with sets of words.
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def _count(request: Operation, *types: str) -> int:
    return sum(item.type in types for item in request.contents or ())


def _check_words(request: Operation) -> None:
    known = {operation for operation, _ in MODELS}
    if request.operation == "text-to-video":
        if request.prompt is None and not request.contents:
            raise InvalidRequest("prompt", None, "is required")
    elif request.operation in known and request.prompt is not None:
        # The service would take it, ignore it, and bill a clip of something else.
        raise InvalidRequest("prompt", request.prompt, f"of {request.operation} belongs in contents: Prompt(text=...)")
    elif request.operation in known and not request.contents:
        raise InvalidRequest("contents", request.contents, "is required")


def _check_contents(request: Operation) -> None:
    items = request.contents or ()
    for word in ("prompt", "first_frame", "last_frame"):
        if _count(request, word) > 1:
            raise InvalidRequest("contents", _count(request, word), f"has more than one {word}")
    if request.model in _FRAMED:
        _check_frames(request)
    ids = [name for item in items if (name := _id_of(item)) is not None]
    for name in ids:
        if ids.count(name) > 1:
            raise InvalidRequest("contents", name, "two items have this id, and ids must be unique in the task")


def _check_frames(request: Operation) -> None:
    """Refuse what the pages of every model so far exclude; later models may well do otherwise."""
    if _count(request, "last_frame") and not _count(request, "first_frame"):
        raise InvalidRequest("contents", "last_frame", "a last frame needs a first frame")
    unknown = any(isinstance(item, OtherContent) for item in request.contents or ())
    needed = {"image-to-video": ("first_frame",), "motion-control": ("image", "video")}.get(request.operation, ())
    for word in needed:
        if not _count(request, word) and not unknown:
            raise InvalidRequest("contents", None, f"{request.operation} needs an item of type {word}")


def _id_of(item: Content) -> str | None:
    named = getattr(item, "id", None) or item.extra.get("id")
    return named if isinstance(named, str) and named else None


# --- advice --------------------------------------------------------------------------------------------------------


def advise(request: Operation, _host: Host) -> Iterator[Advice]:
    """Say what is likely wrong with a request, by its words and by what is known of its model."""
    words = _words_of(request)
    where = "prompt" if request.prompt is not None else "contents"
    ids = [name for item in request.contents or () if (name := _id_of(item)) is not None]
    yield from _advise_references(words, ids, where)
    able = able_of(request.operation, request.model)
    yield from _advise_shots(request, words, where, able)
    if request.operation == "text-to-video" and request.contents:
        yield Advice("contents", "text-to-video takes its words as prompt; no page tells of contents")
    if able is not None:
        yield from _advise_model(request, able, words, where)
        yield from _advise_contents(request, able)


def _words_of(request: Operation) -> str:
    if request.prompt is not None:
        return request.prompt
    return next((item.text for item in request.contents or () if isinstance(item, Prompt)), "")


# An address (a@b.c) is no reference; letters of other scripts may follow one without a space.
_AT = re.compile(r"(?<![A-Za-z0-9_.])@(?=(\w[\w-]{0,63}))")


def _refers(words: str, at: int, name: str) -> bool:
    after = words[at + len(name) : at + len(name) + 1]
    goes_on = name[-1].isascii() and after.isascii() and (after.isalnum() or after == "_")
    return words.startswith(name, at) and not goes_on


def _advise_references(words: str, ids: list[str], where: str) -> Iterator[Advice]:
    plain, last = "", 0
    for found in _AT.finditer(words):
        at, called = found.end(), found.group(1)
        named = [name for name in ids if _refers(words, at, name)]
        if named:
            plain += words[last : found.start()]
            last = at + len(max(named, key=len))
        else:
            yield Advice(where, f"the prompt refers to @{called}, and no item of contents has that id")
    plain += words[last:]
    for name in ids:
        inside = [other for other in ids if name != other and name in other]
        if inside:
            yield Advice("contents", f"the id {name} is part of the id {inside[0]}, and the service may mix them up")
        if re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", plain):
            yield Advice("contents", f"the id {name} is also a word of the prompt, and the service may mix them up")


_SHOT = re.compile(r"(?:shot|镜头)\s*(\d{1,3})\s*,\s*(\d{1,3}(?:\.\d{1,3})?)\s*,(.*)", re.IGNORECASE | re.DOTALL)
_FULL_WIDTH = str.maketrans({"\uff0c": ",", "\uff1b": ";"})


def shots_of(words: str) -> list[tuple[int, float, str]]:
    """Read the shots a prompt is written in: number, seconds, words; empty when it is not written so.

    The form is `shot n, m, words; ...` (zh `镜头 n, m, words; ...`), with half-width separators.
    """
    parts = [part.strip() for part in words.split(";") if part.strip()]
    found = [_SHOT.fullmatch(part) for part in parts]
    shots = [(int(shot[1]), float(shot[2]), shot[3].strip()) for shot in found if shot]
    return shots if len(shots) == len(parts) else []


def _advise_shots(request: Operation, words: str, where: str, able: Able | None) -> Iterator[Advice]:
    shots = shots_of(words)
    if not shots:
        if shots_of(words.translate(_FULL_WIDTH)):
            yield Advice(where, "shots are told apart by half-width separators, and this prompt has full-width ones")
        return
    if setting(request, "multi_shot") is False:
        yield Advice("settings.multi_shot", "multi_shot is False, and the prompt is written in shots")
        return
    if able is not None and "multi_shot" not in able.settings:
        yield Advice(where, f"{request.model} has no multi-shot, and the prompt is written in shots")
        return
    if len(shots) > 6 or any(not 1 <= number <= 6 for number, _, _ in shots):
        yield Advice(where, f"the prompt has {len(shots)} shots; they are numbered 1 to 6")
    for number, seconds, told in shots:
        if seconds < 1:
            yield Advice(where, f"shot {number} takes {seconds:g} s, and each takes at least 1 s")
        if len(told) > 512:
            yield Advice(where, f"shot {number} has {len(told)} characters, at most 512 are allowed")
    length = seconds_of(setting(request, "duration")) or _DEFAULT_SECONDS
    total = sum(seconds for _, seconds, _ in shots)
    if abs(total - length) > 1e-6:
        yield Advice(where, f"the shots take {total:g} s together, and the clip takes {length:g} s")


def _advise_model(request: Operation, able: Able, words: str, where: str) -> Iterator[Advice]:
    model = request.model
    longest = able.prompt[1 if _is_mostly_foreign(words) else 0]
    if len(words) > longest:
        yield Advice(where, f"the prompt has {len(words)} characters, {model} takes {longest}")
    for name in ("multi_shot", "audio", "resolution", "aspect_ratio", "duration", "character_orientation"):
        value = setting(request, name)
        if value is not None and name not in able.settings:
            yield Advice(f"settings.{name}", f"{model} takes no {name} in {request.operation}, and ignores it")
    for name, known in (
        ("audio", able.audio),
        ("resolution", able.resolutions),
        ("aspect_ratio", able.ratios),
        ("duration", able.seconds),
    ):
        value = setting(request, name)
        if value is not None and name in able.settings and value not in known:
            yield Advice(f"settings.{name}", f"{model} makes {_spelt(known)} of {name}, not {value}")
    resolution = setting(request, "resolution") or "720p"  # the service's default
    audible = setting(request, "audio") == "native"
    for asked, allowed, what in (
        (audible, able.native_at, "native audio"),
        (_count(request, "last_frame") > 0, able.last_frame_at, "a last frame"),
        (_count(request, "voice") > 0, able.voice_at, "a voice"),
    ):
        if asked and allowed is not None and resolution not in allowed:
            yield Advice("settings.resolution", f"{model} has {what} only with {_spelt(allowed)}")
    if able.last_frame_silent and audible and _count(request, "last_frame"):
        yield Advice("settings.audio", f"{model} has a last frame only without sound")


def _is_mostly_foreign(words: str) -> bool:
    """Tell whether most letters are of a script other than the Latin one: a few accents make no other language."""
    letters = [letter for letter in words if letter.isalpha()]
    return 2 * sum(letter > "\u024f" for letter in letters) > len(letters)


def _spelt(known: frozenset[Any]) -> str:
    return ", ".join(str(value) for value in sorted(known))


_LIKE_3_OMNI = ("kling-3.0-omni", "kling-v3-omni", "kling-o1")


def _advise_contents(request: Operation, able: Able) -> Iterator[Advice]:
    types = [item.type for item in request.contents or ()]
    if able.contents:
        for word in sorted(set(types) - able.contents):
            told = f"{request.model} takes {_spelt(able.contents)} in {request.operation}, and may ignore {word}"
            yield Advice("contents", told)
    for most in able.most:
        count = _count(request, *most.types)
        if count > most.count and (not most.beside or _count(request, *most.beside)):
            beside = f" beside {_spelt(most.beside & set(types))}" if most.beside else ""
            told = f"{request.model} takes at most {most.count} of {_spelt(most.types)}{beside}, not {count}"
            yield Advice("contents", told)
    if "element" in types and setting(request, "character_orientation") == "image":
        yield Advice("settings.character_orientation", "an element makes the character face as in the video")
    if request.operation == "omni-video" and request.model in _LIKE_3_OMNI:
        yield from _advise_omni(request, types)


def _advise_omni(request: Operation, types: list[str]) -> Iterator[Advice]:
    model, audio = request.model, setting(request, "audio")
    feature, base = "feature_video" in types, "base_video" in types
    frames = {"first_frame", "last_frame"} & set(types)
    if feature and audio not in {None, "off"}:
        yield Advice("settings.audio", f"{model} makes no sound with a feature_video: audio must be off")
    if base and audio == "native":
        yield Advice("settings.audio", f"{model} has no native audio with a base_video")
    if feature and setting(request, "multi_shot") is False:
        yield Advice("settings.multi_shot", f"{model} needs multi_shot=True with a feature_video")
    if base and setting(request, "multi_shot"):
        yield Advice("settings.multi_shot", f"{model} has no multi-shot with a base_video")
    if base and frames:
        yield Advice("contents", f"{model} takes no {_spelt(frozenset(frames))} with a base_video")
    if audio == "original" and not (feature or base):
        yield Advice("settings.audio", "audio=original keeps the sound of a reference video, and there is none")
    if setting(request, "aspect_ratio") is None and not (frames or feature or base):
        yield Advice("settings.aspect_ratio", "aspect_ratio is needed without a first frame and without a video")
    short = setting(request, "duration") not in {None, 5, 10}
    if model == "kling-o1" and short and set(types) <= {"prompt", "first_frame"}:
        yield Advice("settings.duration", "kling-o1 makes clips of 5 or 10 seconds from words or a first frame")


# --- rows ----------------------------------------------------------------------------------------------------------


def _row(operation: str, model: str, source: str) -> Endpoint:
    return Endpoint(
        name=f"{operation}/{model}",
        path=f"/{operation}/{model}",
        source=source,
        request=Operation,
        yields="video",
        pack="video",
        standard="new",
        has_list=False,
        default_model=model,
        advice=advise,
    )


ENDPOINTS = tuple(_row(operation, model, able.source) for (operation, model), able in MODELS.items())
_ROWS = {row.name: row for row in ENDPOINTS}


@lru_cache(maxsize=256)
def operation_row(operation: str, model: str) -> Endpoint:
    """Give the registry's row of any operation and model: the documented one, or one made for it.

    Raises:
        InvalidRequest: one of them cannot stand in a path.
    """
    for name, value in (("operation", operation), ("model", model)):
        field = attrs.fields_dict(Operation)[name]
        (_operation if name == "operation" else path_word)(None, field, value)
    return _ROWS.get(f"{operation}/{model}") or _row(operation, model, "")
