"""Rules about several fields at once: which must be given, and which only alone.

Stage: registry and wire. After: base. A field counts as given when it is in `extra` too: what stands there is the
caller's own business, and is not looked at.
"""

from __future__ import annotations

from typing import Any

from ..errors import InvalidRequest


def said(request: Any, name: str) -> Any:
    """Give what a request says for a field, on its own or in `extra`; None when it says nothing."""
    value = getattr(request, name, None)
    return getattr(request, "extra", {}).get(name) if value is None else value


def is_given(request: Any, name: str) -> bool:
    """Tell whether a field is set, on its own or in `extra`, which a nested object does not have."""
    return getattr(request, name) is not None or name in getattr(request, "extra", {})


def require(request: Any, *names: str) -> None:
    """Refuse a request without one of these fields.

    Raises:
        InvalidRequest: names the first that is missing.
    """
    for name in names:
        if not is_given(request, name):
            raise InvalidRequest(name, None, "is required")


def exactly_one(request: Any, first: str, second: str) -> None:
    """Refuse a request that has both fields, or neither.

    Raises:
        InvalidRequest: names the first.
    """
    both = is_given(request, first), is_given(request, second)
    if both == (False, False):
        raise InvalidRequest(first, None, f"is required, unless {second} is given")
    if both == (True, True):
        raise InvalidRequest(first, getattr(request, first), f"excludes {second}")
