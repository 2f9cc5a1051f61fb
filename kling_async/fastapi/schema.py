"""Request classes as JSON Schema: what the documentation of `POST /jobs` says of them.

Stage: door. Before: jobs. After: endpoints. Names and types are read from the classes, bounds from their rules, and
words from their docstrings. The models made here only describe; it is the request classes that check.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from ..endpoints import Endpoint
from ..endpoints.rules import schema_of
from .examples import example_of

LEFT_OUT = frozenset({"callback_url", "external_task_id"})
"""Fields that are the server's business: where the service calls back, and the id of the job."""

_FILE = re.compile(r"(URL, )?Base64 or a local file")
_ENTRY = re.compile(r"^    (\w+(?:, \w+)*): (.*)$")


def is_in_path(field: attrs.Attribute[Any]) -> bool:
    """Tell whether a field is part of the endpoint's name, and so not of the request."""
    return field.metadata.get("wire") == "path"


def union_of(rows: Sequence[Endpoint]) -> Any:
    """Make the model of the body of `POST /jobs`: `{"endpoint": ..., "request": {...}}`, told apart by the endpoint."""
    classes: dict[type[Any], list[str]] = {}
    for row in rows:
        classes.setdefault(row.request, []).append(row.name)
    choices = [_job_model(kind, tuple(names)) for kind, names in classes.items()]
    if len(choices) == 1:
        return choices[0]
    union: Any = Annotated[reduce(or_, choices), Field(discriminator="endpoint")]
    return create_model("JobRequest", __base__=RootModel[union], __doc__="What to make, and where.")


def examples_of(rows: Sequence[Endpoint]) -> dict[str, Any]:
    """Give an example for each endpoint, as OpenAPI lists them."""
    return {
        row.name: {"summary": summary_of(row.request), "value": {"endpoint": row.name, "request": dict(found)}}
        for row in rows
        if (found := example_of(row)) is not None
    }


def summary_of(kind: type[Any]) -> str:
    """Give the first line of a class's docstring."""
    return (inspect.getdoc(kind) or kind.__name__).partition("\n")[0]


def _job_model(kind: Any, names: tuple[str, ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "endpoint": (Literal[names], Field(description="The kind of generation.")),
        "request": (model_of(kind), Field(description="What is asked for, in the service's own names.")),
    }
    config = ConfigDict(extra="forbid")
    return create_model(f"{kind.__name__}Job", __config__=config, __doc__=summary_of(kind), **fields)


@cache
def model_of(kind: Any) -> type[BaseModel]:
    """Make the model that describes a request class, or an object inside of one."""
    hints, told = typing.get_type_hints(kind), _told(kind)
    fields: dict[str, Any] = {}
    is_open = kind.__name__ == "OtherContent"  # whose fields stand beside its type
    for field in attrs.fields(kind):
        if field.name in LEFT_OUT or is_in_path(field) or (is_open and field.name == "extra"):
            continue
        hint = hints[field.name]
        words = told.get(field.name, "")
        if Path in set(_parts(hint)):
            words = _without_files(words)
        schema: dict[str, Any] = dict(schema_of(field.validator))
        described: dict[str, Any] = {"description": words or None, "json_schema_extra": schema or None}
        if field.default is attrs.NOTHING:
            fields[field.name] = (_annotation(hint), Field(**described))
        elif isinstance(field.default, str):
            fields[field.name] = (_annotation(hint), Field(default=field.default, **described))
        else:  # a default that is made is not printed: unset and null are not the same in a schema
            fields[field.name] = (_annotation(hint), Field(default_factory=lambda: None, **described))
    config = ConfigDict(extra="allow" if is_open else "forbid", protected_namespaces=())
    return create_model(kind.__name__, __config__=config, __doc__=summary_of(kind), **fields)


def _annotation(hint: Any) -> Any:
    if isinstance(hint, type) and attrs.has(hint):
        return model_of(hint)
    origin = typing.get_origin(hint)
    if origin in {types.UnionType, typing.Union}:
        members = [_annotation(part) for part in typing.get_args(hint) if part not in {types.NoneType, Path}]
        return reduce(or_, members)
    if origin is tuple:
        return list[_annotation(typing.get_args(hint)[0])]  # type: ignore[misc]  # made, not written
    return dict[str, Any] if origin is not None and issubclass(origin, Mapping) else hint


def _without_files(words: str) -> str:
    """Say what a field for media takes from afar, where a file of the server cannot be named."""
    if not _FILE.search(words):
        return f"{words.rstrip('.')}: a URL or Base64." if words else "a URL or Base64."
    return _FILE.sub(lambda found: "a URL or Base64" if found[1] else "Base64", words)


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


def _told(kind: type[Any]) -> dict[str, str]:
    """Read what the docstring of a class says of its attributes."""
    told: dict[str, str] = {}
    names: list[str] = []
    for line in (inspect.getdoc(kind) or "").partition("Attributes:")[2].splitlines():
        entry = _ENTRY.match(line)
        if entry:
            names = entry[1].split(", ")
            told.update(dict.fromkeys(names, entry[2]))
        elif line.startswith("        "):
            told.update({name: f"{told[name]} {line.strip()}" for name in names})
        else:
            names = []
    return told
