"""The registry: every kind of generation, one row each.

Stage: registry and wire. To add one: its request class and its row in a file of this folder, and a sample under
`tests/samples/`; session, command, emulator and README go through `ENDPOINTS`.

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
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from . import account, clips, images, library, lips, operation, scenes, solutions, sound, video
from .base import Advice, Body, Call, Endpoint, Task, body_of, dump, from_mapping, place_ids, to_plain
from .media import encode_files, has_files
from .operation import Operation, operation_row
from .rules import Media
from .solutions import Solution, solution_row

ENDPOINTS: tuple[Endpoint, ...] = (
    *video.ENDPOINTS,
    *clips.ENDPOINTS,
    *lips.ENDPOINTS,
    *scenes.ENDPOINTS,
    *sound.ENDPOINTS,
    *images.ENDPOINTS,
    *library.ENDPOINTS,
    *operation.ENDPOINTS,
    *solutions.ENDPOINTS,
    *account.ENDPOINTS,
)

_CLASSES: frozenset[type[Any]] = frozenset(endpoint.request for endpoint in ENDPOINTS)
_OPERATIONS = frozenset(endpoint.name.partition("/")[0] for endpoint in ENDPOINTS if endpoint.standard == "new")
_BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
# Requests of one class for many endpoints are not among these: what they ask for is in the object.
_BY_REQUEST: dict[type[Any], Endpoint] = {
    endpoint.request: endpoint for endpoint in ENDPOINTS if endpoint.request not in (Operation, Solution)
}


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
    if isinstance(what, Operation):
        return operation_row(what.operation, what.model)
    if isinstance(what, Solution):
        return solution_row(what.area, what.name)
    kind = what if isinstance(what, type) else type(what)
    if kind in _BY_REQUEST:
        return _BY_REQUEST[kind]
    if kind in (Operation, Solution):
        example = "image-to-video/kling-3.0" if kind is Operation else "solutions/e-commerce/goods_studio"
        raise ConfigError(f"{kind.__name__} serves many endpoints: name one, as {example!r}")
    raise ConfigError(f"{kind.__name__} is not a request of this package")


def _named(name: str) -> Endpoint:
    row = _BY_NAME.get(name)
    if row is not None:
        return row
    first, *rest = name.split("/")
    if first == "solutions" and len(rest) in (1, 2):
        return solution_row(rest[0] if len(rest) == 2 else None, rest[-1])
    near = difflib.get_close_matches(name, _BY_NAME, n=1) or [known for known in _BY_NAME if name and name in known][:1]
    if len(rest) == 1 and first in _OPERATIONS:
        return operation_row(first, rest[0])
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_BY_NAME)}"
    raise ConfigError(f"no endpoint is called {name!r}; {hint}")


def endpoint_of(request: object) -> Endpoint:
    """Find the row of a request object.

    Raises:
        ConfigError: it is not one, but its class, a mapping, a text, or something else.
    """
    if type(request) in _CLASSES:
        return find_endpoint(request)
    if isinstance(request, type) and request in _CLASSES:
        raise ConfigError(f"{request.__name__} is a class: make a request of it, {request.__name__}(...)")
    raise ConfigError(
        f"a {type(request).__name__} is not a request: give TextToVideo(prompt=...) or another of its kind"
    )


def list_row(what: object) -> Endpoint:
    """Find the row whose list holds the tasks of an endpoint; of the new standard one list holds them all."""
    if what in (Operation, Solution):
        return next(row for row in ENDPOINTS if row.request is what)
    return find_endpoint(what)


def request_from(row: Endpoint, fields: Mapping[str, object]) -> Any:
    """Build a request of an endpoint from plain data, as from a line of JSON.

    Raises:
        InvalidRequest: as `from_mapping`.
    """
    fixed: dict[str, object] = {}
    if row.request is Operation:
        fixed["operation"], fixed["model"] = row.name.split("/")
    elif row.request is Solution:
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
