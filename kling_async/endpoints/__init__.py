"""The registry: every kind of generation, one row each.

Stage: registry and wire. To add one: its request class and its row in a file of this folder, its name in the table
below, and a sample under `tests/samples/`; session, command, emulator and README go through `ENDPOINTS`.

| file | what is in it |
|---|---|
| video | clips from words, pictures, everything: TextToVideo, ImageToVideo, OmniVideo |
| clips | other clips: MultiImageToVideo, MotionControl, VideoExtend, VideoEffects |
| lips | what speaks: Avatar, LipSync, AdvancedLipSync, IdentifyFace |
| scenes | multi-elements and its selections; RecognizeImage |
| sound, images, library | sounds; pictures; voices and elements |
| operation, contents | the new standard, and what stands inside of its requests |
| solutions, account | the Solutions API; packs and charges |
| base, rules, required, parts, media, answers | the row; rules of fields; nested objects; files; answers |
| matrix, matrix_images, matrix_new | which model can do what, as data |

A file is imported when one of its endpoints is asked for: most programs make one kind of clip, and all the request
classes together take longer to build than the rest of the package. A request brings its own file with it, so that
nothing of an endpoint is left to be imported once a job of it is there; `ENDPOINTS` imports every file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .base import Advice, Body, Call, Endpoint, Task, body_of, dump, from_mapping, place_ids, to_plain
from .media import encode_files, has_files
from .rules import Media

ENDPOINTS: tuple[Endpoint, ...]  # every row, in the order of the files; made by `__getattr__`

# File → the names of its rows; "word/" stands for every name that begins so.
_FILES: Mapping[str, tuple[str, ...]] = {
    "video": ("text2video", "image2video", "omni-video"),
    "clips": ("multi-image2video", "motion-control", "video-extend", "effects"),
    "lips": ("avatar", "lip-sync", "advanced-lip-sync", "identify-face"),
    "scenes": (
        *("multi-elements", "init-selection", "add-selection", "delete-selection", "clear-selection"),
        *("preview-selection", "image-recognize"),
    ),
    "sound": ("tts", "text-to-audio", "video-to-audio"),
    "images": ("generations", "omni-image", "multi-image2image", "expand", "virtual-try-on", "ai-multi-shot"),
    "library": (
        *("custom-voices", "presets-voices", "delete-voices"),
        *("custom-elements", "presets-elements", "delete-elements"),
    ),
    "operation": ("text-to-video/", "image-to-video/", "omni-video/", "motion-control/"),
    "solutions": ("solutions/",),
    "account": ("account/",),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}
_FILE_OF_MODULE = {f"{__name__}.{file}": file for file in _FILES}

# Of the files that were imported so far.
_BY_NAME: dict[str, Endpoint] = {}
_BY_REQUEST: dict[type[Any], Endpoint] = {}
# Standards of which one class serves many endpoints, and every name is one; with a name as an example.
_MANY: Mapping[str, str] = {"new": "image-to-video/kling-3.0", "solutions": "solutions/e-commerce/goods_studio"}

if not TYPE_CHECKING:  # for a type checker it would make every name a good one

    def __getattr__(name: str) -> Any:
        if name in _FILES:
            return import_module(f".{name}", __name__)
        if name != "ENDPOINTS":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, _every_row())


def _every_row() -> tuple[Endpoint, ...]:
    return tuple(row for file in _FILES for row in _rows_of(file))


@cache
def _rows_of(file: str) -> tuple[Endpoint, ...]:
    """Import a file, and give its rows; twice, or in two threads at once, does no harm."""
    rows: tuple[Endpoint, ...] = import_module(f".{file}", __name__).ENDPOINTS
    for row in rows:
        _BY_NAME[row.name] = row
        _BY_REQUEST.setdefault(row.request, row)
    return rows


def _row_of(kind: Any) -> Endpoint | None:
    """Give the first row of a request class; None if it is no such class."""
    if kind not in _BY_REQUEST and kind.__module__ in _FILE_OF_MODULE:
        _rows_of(_FILE_OF_MODULE[kind.__module__])
    return _BY_REQUEST.get(kind)


def _operation_row(word: str, model: str) -> Endpoint:
    from .operation import operation_row  # noqa: PLC0415 - only for who uses the new standard

    return operation_row(word, model)


def _solution_row(area: str | None, name: str) -> Endpoint:
    from .solutions import solution_row  # noqa: PLC0415 - only for who uses Solutions

    return solution_row(area, name)


def find_endpoint(what: object) -> Endpoint:
    """Find the row for a request, a request class, a row, or a short name.

    Of the new standard and of Solutions every name is one, also of an operation or a model of tomorrow:
    "image-to-video/kling-9.0", "solutions/e-commerce/goods_studio".

    Raises:
        ConfigError: nothing of that name or class; tells the nearest name.
    """
    if isinstance(what, Endpoint):
        return what
    if isinstance(what, str):
        return _named(what)
    kind = what if isinstance(what, type) else type(what)
    row = _row_of(kind)
    if row is None:
        raise ConfigError(f"{kind.__name__} is not a request of this package")
    if row.standard not in _MANY:
        return row
    if kind is what:
        raise ConfigError(f"{kind.__name__} serves many endpoints: name one, as {_MANY[row.standard]!r}")
    request: Any = what
    if row.standard == "new":
        return _operation_row(request.operation, request.model)
    return _solution_row(request.area, request.name)


def _named(name: str) -> Endpoint:
    row = _BY_NAME.get(name)
    if row is not None:
        return row
    first, *rest = name.split("/")
    file = _FILE_OF.get(f"{first}/" if rest else name)
    if file is not None:
        _rows_of(file)
        if name in _BY_NAME:
            return _BY_NAME[name]
    if file == "operation" and len(rest) == 1:
        return _operation_row(first, rest[0])
    if file == "solutions" and len(rest) in (1, 2):
        return _solution_row(rest[0] if len(rest) == 2 else None, rest[-1])
    known = [row.name for row in _every_row()]
    near = difflib.get_close_matches(name, known, n=1) or [each for each in known if name and name in each][:1]
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    raise ConfigError(f"no endpoint is called {name!r}; {hint}")


def endpoint_of(request: object) -> Endpoint:
    """Find the row of a request object.

    Raises:
        ConfigError: it is not one, but its class, a mapping, a text, or something else.
    """
    if _row_of(type(request)) is not None:
        return find_endpoint(request)
    if isinstance(request, type) and _row_of(request) is not None:
        raise ConfigError(f"{request.__name__} is a class: make a request of it, {request.__name__}(...)")
    raise ConfigError(
        f"a {type(request).__name__} is not a request: give TextToVideo(prompt=...) or another of its kind"
    )


def list_row(what: object) -> Endpoint:
    """Find the row whose list holds the tasks of an endpoint; of the new standard one list holds them all."""
    row = _row_of(what) if isinstance(what, type) else None
    return find_endpoint(what) if row is None else row


def request_from(row: Endpoint, fields: Mapping[str, object]) -> Any:
    """Build a request of an endpoint from plain data, as from a line of JSON.

    Raises:
        InvalidRequest: as `from_mapping`.
    """
    fixed: dict[str, object] = {}
    if row.standard == "new":
        fixed["operation"], fixed["model"] = row.name.split("/")
    elif row.standard == "solutions":
        _, *area, fixed["name"] = row.name.split("/")
        fixed.update({"area": area[0]} if area else {})
    return from_mapping(row.request, {**fixed, **fields})


__all__ = [
    "ENDPOINTS",
    "Advice",
    "Body",
    "Call",
    "Endpoint",
    "Media",
    "Task",
    "body_of",
    "dump",
    "encode_files",
    "endpoint_of",
    "find_endpoint",
    "from_mapping",
    "has_files",
    "list_row",
    "place_ids",
    "request_from",
    "to_plain",
]
