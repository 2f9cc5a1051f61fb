"""Options, `--set` and plain data into a request: which field of which object each of them is.

Stage: door. Before: app, inputs. After: endpoints. Where a file can stand, and where a figure is meant as text, is
read from the request's class; a word in the wrong place is left to the class, which says where it belongs.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from ..dialects import find_host
from ..endpoints import Endpoint, body_of, encode_files, find_endpoint, has_files, request_from
from ..errors import InvalidRequest, clean_text
from .exits import Fail

PLACE: re.Pattern[str] = re.compile(r"\{\{([^\W\d][\w .-]{0,63})\}\}|\{([^\W\d][\w .-]{0,63})\}")
"""A column's name in braces, where a prompt is a template: {name}; {{name}} stands for the braces themselves."""

_LONGEST_PATH = 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64}")  # as the rules of the requests see it
_ANY_HOST = find_host("global")  # files are checked in a body, and where it goes does not matter for that


def request_of(fields: Mapping[str, object], endpoint: str | None, base: Path) -> Any:
    """Build a request from plain data, local pictures and sounds included.

    Args:
        fields: of the request, under the service's own names.
        endpoint: short name; None: image2video with a picture, else text2video.
        base: what relative paths are relative to.

    Raises:
        KlingError: no such endpoint, no such field, or a value or a file that is refused.
    """
    row = row_of(endpoint, fields)
    request = request_from(row, _with_files((row.request,), fields, base, ""))
    if has_files(request):
        encode_files(body_of(request, _ANY_HOST), request)  # for its refusals: the files are read again when sent
    return request


def request_from_options(endpoint: str | None, options: Mapping[str, object], pairs: Sequence[str]) -> Any:
    """Build a request from the options of a command and its `--set FIELD=VALUE`.

    Raises:
        Fail: a field is given twice, or a pair is none.
        KlingError: as `request_of`.
    """
    given = {name: value for name, value in options.items() if value is not None}
    row = row_of(endpoint, given.keys() | {re.split("[.=]", pair, maxsplit=1)[0] for pair in pairs})
    return request_of(_joined(_placed(row, given), parse_settings(pairs, row.request)), row.name, Path())


_OPTIONS = frozenset({"prompt", "model_name", "duration", "mode", "aspect_ratio", "negative_prompt", "image"})


def fields_from_cells(row: Endpoint, cells: Mapping[str, str]) -> dict[str, object]:
    """Read the cells of a table, all of them texts, as fields of an endpoint, as options and `--set` would.

    Args:
        row: the endpoint.
        cells: name of a field, also of one within another ("camera_control.type"), to its text.

    Raises:
        Fail: a field is given twice.
    """
    given: dict[str, object] = {name: cell for name, cell in cells.items() if name in _OPTIONS}
    pairs = [f"{name}={cell}" for name, cell in cells.items() if name not in _OPTIONS]
    return _joined(_placed(row, given), parse_settings(pairs, row.request))


def row_of(endpoint: str | None, names: Collection[str]) -> Endpoint:
    """Find the endpoint of a name; None: text2video, or image2video where there is a picture.

    Raises:
        ConfigError: nothing of that name.
    """
    with_picture = "image" in names or "image_tail" in names
    return find_endpoint(endpoint or ("image2video" if with_picture else "text2video"))


# --- what a class says of its fields -------------------------------------------------------------------------------


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


def classes_in(kind: Any, name: str) -> tuple[type[Any], ...]:
    """Give the classes of the objects that a field of a request holds, one or in a list; none for other fields."""
    return tuple(part for part in _parts(_hints(kind).get(name)) if attrs.has(part))


def _plain_types(kind: Any, name: str) -> frozenset[object]:
    """Give what a field takes: str, int, list, ...; empty where there is no such field."""
    hint = _hints(kind).get(name)
    members = typing.get_args(hint) if typing.get_origin(hint) in {types.UnionType, typing.Union} else (hint,)
    return frozenset(typing.get_origin(member) or member for member in members if member is not None)


def _parts(hint: Any) -> Iterator[Any]:
    if isinstance(hint, type):
        yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


# --- local files ---------------------------------------------------------------------------------------------------


def _with_files(kinds: Sequence[type[Any]], fields: Mapping[str, object], base: Path, place: str) -> dict[str, object]:
    """Replace names of local files by Paths, in an object of one of these classes and in those inside of it."""
    kind = _kind_of(kinds, fields)
    known = attrs.fields_dict(kind)
    told: dict[str, object] = {}
    for name, value in fields.items():
        at = f"{place}.{name}" if place else name
        use = "media" in known[name].metadata if name in known else _is_picture_of_tomorrow(kind, name)
        inner = classes_in(kind, name) if name in known else ()
        if isinstance(value, Mapping) and inner:
            told[name] = _with_files(inner, value, base, at)
        elif isinstance(value, list | tuple) and inner:
            told[name] = [
                _with_files(inner, item, base, f"{at}[{index}]") if isinstance(item, Mapping) else item
                for index, item in enumerate(value)
            ]
        else:
            told[name] = _media(value, base, at) if use and not inner else value
    return told


def _kind_of(kinds: Sequence[type[Any]], fields: Mapping[str, object]) -> type[Any]:
    """Choose the class of an item by its "type"; the last is for types that nobody knows yet."""
    named = (kind for kind in kinds if attrs.fields_dict(kind)["type"].default == fields.get("type"))
    return kinds[0] if len(kinds) == 1 else next(named, kinds[-1])


def _is_picture_of_tomorrow(kind: type[Any], name: str) -> bool:
    """Tell whether an item of a type that nobody knows yet has a picture here; its class says where they may be."""
    extra = attrs.fields_dict(kind).get("extra")
    return name == "url" and extra is not None and "media" in extra.metadata


def _media(value: object, base: Path, place: str) -> object:
    if isinstance(value, Mapping) and value.keys() == {"file"} and isinstance(value["file"], str):
        return base / value["file"]  # as a journal has it
    if isinstance(value, list | tuple):
        return [_media(item, base, f"{place}[{index}]") for index, item in enumerate(value)]
    return (_local(place, value, base) or value) if isinstance(value, str) else value


def _local(place: str, value: str, base: Path) -> Path | None:
    """Give the file that a text names, or None where the text is a URL or Base64."""
    if value.startswith(("http://", "https://", "data:")) or len(value) > _LONGEST_PATH:
        return None
    path = base / value
    try:
        found = path.is_file()
    except (OSError, ValueError):
        found = False
    if found:
        return path
    if _BASE64.match(value):
        return None
    raise InvalidRequest(place, value, f"is not a URL, and there is no file {clean_text(path)}")


# --- options -------------------------------------------------------------------------------------------------------


def _placed(row: Endpoint, given: dict[str, object]) -> dict[str, object]:
    """Put what was given as options where the endpoint wants it.

    A text to speak is `text`, the only picture is the one; the new standard and solutions have their own places for
    settings; a figure is a number where the field takes no text.
    """
    if row.standard in {"new", "solutions"}:
        return _placed_in_settings(row, given)
    known = attrs.fields_dict(row.request)
    if "prompt" in given and "prompt" not in known and "text" in known:
        given["text"] = given.pop("prompt")
    pictures = [name for name, field in known.items() if field.metadata.get("media") == "image"]
    if "image" in given and "image" not in known and len(pictures) == 1:
        given[pictures[0]] = given.pop("image")
    return {
        name: value if name not in known or str in _plain_types(row.request, name) else _json_or_text(str(value))
        for name, value in given.items()
    }


_SETTINGS = ("duration", "aspect_ratio")


def _placed_in_settings(row: Endpoint, given: dict[str, object]) -> dict[str, object]:
    contents: list[Mapping[str, object]] = []
    if row.standard == "new":
        if "prompt" in given and not row.name.startswith("text-to-video/"):
            contents.append({"type": "prompt", "text": given.pop("prompt")})
        if "image" in given:
            kind = "image" if row.name.startswith("motion-control/") else "first_frame"
            contents.append({"type": kind, "url": given.pop("image")})
    settings = {name: _json_or_text(str(given.pop(name))) for name in _SETTINGS if name in given}
    return {**given, **({"contents": contents} if contents else {}), **({"settings": settings} if settings else {})}


def parse_settings(pairs: Sequence[str], kind: type[Any]) -> dict[str, object]:
    """Read `--set field=value` for a class; `a.b=value` sets b within a.

    The value is JSON where it parses, else text; where the field takes only text, a figure is text, too: ids are
    figures, but no numbers.

    Raises:
        Fail: no "=", or one field twice.
    """
    fields: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Fail(f"--set {pair}: write field=value")
        *outer, last = name.split(".")
        place, owner = fields, [kind]
        for part in outer:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise Fail(f"--set {name}: {part} is given as a value already")
            place, owner = inner, [found for one in owner for found in classes_in(one, part)]
        if last in place:
            raise Fail(f"--set {name}: is given twice")
        place[last] = _read(owner[0], last, text) if len(owner) == 1 else _json_or_text(text)
    return fields


def _read(kind: type[Any], name: str, text: str) -> object:
    """Read a value for a field: text where it is, or may only be, text; else JSON."""
    taken = _plain_types(kind, name)
    value = _json_or_text(text)
    if str not in taken or value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return value if taken - {str, types.NoneType} else text
    return value if taken & {int, float, bool} else text


def _json_or_text(text: str) -> object:
    try:
        return strict_json(text)
    except ValueError:
        return text


def _joined(options: Mapping[str, object], settings: Mapping[str, object]) -> dict[str, object]:
    """Join what was given as options with what `--set` says; contents of both are one list."""
    fields = dict(options)
    for name, value in settings.items():
        given = fields.get(name)
        if isinstance(given, dict) and isinstance(value, dict) and not given.keys() & value.keys():
            fields[name] = {**given, **value}
        elif isinstance(given, list) and isinstance(value, list):
            fields[name] = [*given, *value]
        elif given is not None:
            raise Fail(f"--set {name}: is given twice, as an option too")
        else:
            fields[name] = value
    return fields


# --- JSON ----------------------------------------------------------------------------------------------------------


def strict_json(text: str) -> Any:
    """Read JSON as others do: no NaN, no name twice (the last would win, silently).

    Raises:
        ValueError: it is not JSON; says where.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("too deeply nested") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return fields


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")
