"""The rules that fields of requests are checked with.

Stage: registry and wire. Before: base. A rule raises InvalidRequest when the request is built, naming field, value and
rule, so a request that exists is one the service can understand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import InvalidRequest

Media = str | Path
"""An image or audio: a URL, Base64 without a `data:` prefix, or a local file as a Path, read when it is sent."""

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
"""What an external id may look like. The service prints no limit; a comma would split a batch query, a slash a path."""


# Text goes out as it is given, so what only Python reads as a number (" 5", "1_0", "1e1") is refused.
_FIGURE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?\Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]+={0,2}[\r\n]*\Z")


Rule = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def saying(rule: Rule, **schema: object) -> Rule:
    """Have a rule say, in words of JSON Schema, what it can say there of what it takes."""
    vars(rule)["schema"] = schema
    return rule


def schema_of(rule: object) -> Mapping[str, object]:
    """Give what a rule says of itself; of several, what all of them say together."""
    schema = getattr(rule, "schema", {})
    return schema if isinstance(schema, Mapping) else {}


def optional(*rules: Rule) -> Rule:
    """Apply the rules unless the field is unset."""

    def check(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None:
            for rule in rules:
                rule(instance, field, value)

    return saying(check, **{name: value for rule in rules for name, value in schema_of(rule).items()})


def text(longest: int | None = None, *, empty: bool = False) -> Rule:
    """A string of at most `longest` characters."""

    def check(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str):
            raise InvalidRequest(field.name, value, "must be a string")
        if not empty and not value.strip():
            raise InvalidRequest(field.name, value, "is empty")
        if longest is not None and len(value) > longest:
            raise InvalidRequest(field.name, value, f"has {len(value)} characters, at most {longest} are allowed")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(field.name, value, "has a lone surrogate, which is not text") from None

    bounds = {"minLength": 0 if empty else 1, "maxLength": longest}
    return saying(check, **{name: value for name, value in bounds.items() if value})


def one_of(*words: str) -> Rule:
    """One of a closed set: the service defines no other word, and would ignore it."""

    def check(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in words:
            raise InvalidRequest(field.name, value, f"must be one of {', '.join(words)}")

    return saying(check, enum=list(words))


def number(low: float, high: float) -> Rule:
    """A number within bounds, both included; a bool is not a number."""

    def check(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InvalidRequest(field.name, value, f"must be a number from {low:g} to {high:g}")

    return saying(check, minimum=low, maximum=high)


def integer(low: int | None = None, high: int | None = None) -> Rule:
    """An integer, within bounds where they are given."""

    def check(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidRequest(field.name, value, "must be an integer")
        if (low is not None and value < low) or (high is not None and value > high):
            raise InvalidRequest(field.name, value, f"must be from {low} to {high}")

    bounds = {"minimum": low, "maximum": high}
    return saying(check, **{name: value for name, value in bounds.items() if value is not None})


def boolean(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    """True or False, nothing that only looks like it."""
    if not isinstance(value, bool):
        raise InvalidRequest(field.name, value, "must be True or False")


def seconds_of(value: object) -> float | None:
    """Read a duration given as "5", 5 or 5.0; None when it is none of these."""
    if isinstance(value, str) and _FIGURE.match(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 1e6 else None


def seconds(low: float, high: float) -> Rule:
    """A length in seconds, as a string or a number."""

    def check(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
        read = seconds_of(value)
        if read is None or not low <= read <= high:
            raise InvalidRequest(field.name, value, f"must be a length from {low:g} to {high:g} seconds")

    return saying(check, minimum=low, maximum=high)  # says nothing of a length that is given as text


def as_media(value: Media | Mapping[str, object] | None) -> Any:
    """Take what a field for media takes; `{"file": "a.png"}` is a local file in plain data, as `to_plain` writes it."""
    if isinstance(value, Mapping) and value.keys() == {"file"} and isinstance(value["file"], str):
        return Path(value["file"])
    return value


def media(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    """A URL, plain Base64, or a Path. A file's content is looked at when it is sent, not here."""
    if isinstance(value, Path):
        return
    if not isinstance(value, str) or not value:
        raise InvalidRequest(field.name, value, "must be a URL, Base64 text or a pathlib.Path")
    if value.startswith("data:"):
        raise InvalidRequest(field.name, value, "must be Base64 without the data: prefix; a pathlib.Path is easier")
    if value.startswith(("http://", "https://")):
        return
    if len(value) < 64 or not _BASE64.match(value):
        raise InvalidRequest(field.name, value, "is neither a URL nor Base64; for a local file give a pathlib.Path")


def web_url(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    """An http(s) URL."""
    if not isinstance(value, str) or not value.startswith(("http://", "https://")) or not value.isprintable():
        raise InvalidRequest(field.name, value, "must be an http(s) URL")


def element_id(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    """An element's id: digits, as an integer or as text (they are larger than a double can hold)."""
    digits = str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**64 else value
    if not isinstance(digits, str) or not re.fullmatch(r"[1-9][0-9]{0,63}", digits):
        raise InvalidRequest(field.name, value, "must be the element's id: an integer, or its digits as text")


def external_id(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    """An id of the caller's: at most 64 letters, digits, hyphens and underscores."""
    if not isinstance(value, str) or not ID_PATTERN.match(value):
        raise InvalidRequest(field.name, value, "must be 1 to 64 of A-Z a-z 0-9 - _")


def extra_fields(instance: Any, field: attrs.Attribute[Any], value: object) -> None:
    """Fields by name that the class does not set as well."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidRequest(field.name, value, "must be a mapping from field names to JSON values")
    if not _is_shallow(value):
        raise InvalidRequest(field.name, "...", f"is nested more than {_DEEPEST} deep")
    for name in value:
        if name == "external_task_id":
            raise InvalidRequest(f"extra.{name}", value[name], "is a field of its own, which also names the job")
        if getattr(instance, name, None) is not None and name in attrs.fields_dict(type(instance)):
            raise InvalidRequest(f"extra.{name}", value[name], f"the field {name} is set already")


_DEEPEST = 32


def _is_shallow(value: object) -> bool:
    """Tell whether plain data is nested so little that nothing that walks through it can run out of stack."""
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[object] = []
        for item in level:
            if isinstance(item, Mapping):
                inner.extend(item.values())
            elif isinstance(item, Sequence) and not isinstance(item, str | bytes):
                inner.extend(item)
        if not inner:
            return True
        level = inner
    return False


def plain_mapping(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    """A mapping from names to JSON values."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidRequest(field.name, value, "must be a mapping from names to JSON values")
    if not _is_shallow(value):
        raise InvalidRequest(field.name, "...", f"is nested more than {_DEEPEST} deep")


def kept(value: Mapping[str, object]) -> Mapping[str, object]:
    """Take a copy, so that a change of the caller's mapping does not change a request; rules look at it later."""
    given: Any = value  # whatever it really is, the rule looks at it next
    return dict(given) if isinstance(given, Mapping) else given


def few(most: int, *, least: int = 1) -> Rule:
    """A list of a certain size."""

    def check(_instance: object, field: attrs.Attribute[Any], value: Sequence[object]) -> None:
        if not least <= len(value) <= most:
            raise InvalidRequest(field.name, value, f"has {len(value)} items, {least} to {most} are allowed")

    # Where one is enough, an empty list may have been turned into nothing before it comes here.
    return saying(check, maxItems=most, **({"minItems": least} if least > 1 else {}))
