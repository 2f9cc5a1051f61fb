"""`kling endpoints`: what can be made, and with which fields.

Stage: door. Before: app. After: endpoints. All of it is read from the registry and its classes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..endpoints import ENDPOINTS, Endpoint, find_endpoint
from .exits import Exit
from .talk import Talk

_ATTRIBUTE = re.compile(r"^    (\w[\w, ]*): (.*(?:\n        .*)*)", re.MULTILINE)


def list_endpoints(talk: Talk, *, as_markdown: bool = False) -> Exit:
    """Tell every documented endpoint; with --json one object per line."""
    if as_markdown:
        for line in markdown():
            talk.data(line)
        return Exit.DONE
    if talk.as_json:
        for row in ENDPOINTS:
            talk.record(_plain(row))
        return Exit.DONE
    lines = [("name", "class", "makes", "path"), *(_words(row) for row in ENDPOINTS)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for columns in lines:
        padded = (word.ljust(width) for word, width in zip(columns, widths, strict=False))
        talk.data("  ".join((*padded, columns[3])))
    talk.say("Any other operation/model of the new standard works too. Fields of one: kling endpoints NAME")
    return Exit.DONE


def markdown() -> Iterator[str]:
    """Give the table of README, line by line."""
    yield "| name | class | call | gives |"
    yield "|---|---|---|---|"
    for row in ENDPOINTS:
        gives = row.yields if row.answer is None else f"`{row.answer.__name__}`"
        yield f"| `{row.name}` | `{row.request.__name__}` | `{row.method} {row.path}` | {gives} |"


def show_endpoint(talk: Talk, name: str) -> Exit:
    """Tell the fields of one endpoint.

    Raises:
        ConfigError: no such endpoint; tells the nearest name.
    """
    row = find_endpoint(name)
    fields = _fields(row.request)
    if talk.as_json:
        talk.record({**_plain(row), "fields": fields})
        return Exit.DONE
    talk.data(f"{row.name}  {row.request.__name__}  {row.method} {row.path}")
    talk.data((inspect.getdoc(row.request) or "").partition("\n")[0])
    width = max(len(field) for field in fields)
    for field, told in fields.items():
        talk.data(f"  {field.ljust(width)}  {told}")
    return Exit.DONE


def _words(row: Endpoint) -> tuple[str, str, str, str]:
    makes = row.yields if row.kind != "call" else "an answer"
    return row.name, row.request.__name__, makes, f"{row.method} {row.path}"


def _plain(row: Endpoint) -> Mapping[str, object]:
    return {
        "name": row.name,
        "class": row.request.__name__,
        "kind": row.kind,
        "standard": row.standard,
        "yields": None if row.kind == "call" else row.yields,
        "method": row.method,
        "path": row.path,
    }


def _fields(kind: type[Any]) -> Mapping[str, str]:
    """Give what the class says of its fields, in the order of the class; what must be given is marked."""
    told: dict[str, str] = {}
    for names, words in _ATTRIBUTE.findall(inspect.getdoc(kind) or ""):
        for name in names.split(", "):
            told[name] = " ".join(words.split())
    return {
        field.name: ("required. " if field.default is attrs.NOTHING else "") + told.get(field.name, "")
        for field in attrs.fields(kind)
        if field.init
    }
