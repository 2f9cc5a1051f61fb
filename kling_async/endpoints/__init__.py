"""The registry: every kind of generation, one row each.

Stage: registry and wire. To add one: its request class and its row in a file of this folder, and a sample under
`tests/samples/`; session, command, emulator and README go through `ENDPOINTS`.
"""

from __future__ import annotations

import difflib
from typing import Any

from ..errors import ConfigError
from . import video
from .base import Body, Endpoint, Media, Request, body_of, from_mapping
from .media import encode_files, has_files

ENDPOINTS: tuple[Endpoint, ...] = (*video.ENDPOINTS,)

_BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
_BY_REQUEST: dict[type[Any], Endpoint] = {endpoint.request: endpoint for endpoint in ENDPOINTS}


def find_endpoint(what: object) -> Endpoint:
    """Find the row for a request, a request class, a row, or a short name.

    Raises:
        ConfigError: nothing of that name or class; tells the nearest name.
    """
    if isinstance(what, Endpoint):
        return what
    if isinstance(what, str):
        if what in _BY_NAME:
            return _BY_NAME[what]
        near = difflib.get_close_matches(what, _BY_NAME, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_BY_NAME)}"
        raise ConfigError(f"no endpoint is called {what!r}; {hint}")
    kind = what if isinstance(what, type) else type(what)
    if kind in _BY_REQUEST:
        return _BY_REQUEST[kind]
    raise ConfigError(f"{kind.__name__} is not a request of this package")


def endpoint_of(request: object) -> Endpoint:
    """Find the row of a request object.

    Raises:
        ConfigError: it is not one, but its class, a mapping, a text, or something else.
    """
    row = _BY_REQUEST.get(type(request))
    if row is not None:
        return row
    if isinstance(request, type) and request in _BY_REQUEST:
        raise ConfigError(f"{request.__name__} is a class: make a request of it, {request.__name__}(...)")
    raise ConfigError(
        f"a {type(request).__name__} is not a request: give TextToVideo(prompt=...) or another of its kind"
    )


__all__ = [
    "ENDPOINTS",
    "Body",
    "Endpoint",
    "Media",
    "Request",
    "body_of",
    "encode_files",
    "endpoint_of",
    "find_endpoint",
    "from_mapping",
    "has_files",
]
