"""`kling endpoints`: what can be made, and with which fields.

Stage: door. Before: app. After: endpoints. All of it is read from the registry and its classes.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ..endpoints import ENDPOINTS, Endpoint, find_endpoint
from .exits import Exit
from .fields import classes_in
from .talk import Talk

_ATTRIBUTE = re.compile(r"^    (\w[\w, ]*): (.*(?:\n        .*)*)", re.MULTILINE)
# In the words of a class whose rules need a field that its constructor can do without.
_REQUIRED = re.compile(r"[,;] required(?=[.;]|\Z)")
_NAMES = frozenset(row.name for row in ENDPOINTS)


@attrs.frozen
class Field:
    """One field of a request, or of an object inside of it.

    Attributes:
        name: as `--set` takes it; `[]` stands after a list.
        is_required: whether its object cannot do without.
        words: what its class says.
    """

    name: str
    is_required: bool
    words: str


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
    for line in fitting([("name", "class", "makes", "call"), *(_words(row) for row in ENDPOINTS)]):
        talk.data(line)
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
    fields = list(fields_of(row.request, items=row.standard == "new"))
    if talk.as_json:
        told = {field.name: {"required": field.is_required, "about": field.words} for field in fields}
        talk.record({**_plain(row), "fields": told})
        return Exit.DONE
    talk.data("  ".join(_words(row)))
    talk.data(_first_line(row.request))
    width = max(len(field.name) for field in fields)
    for field in fields:
        mark = "*" if field.is_required else " "
        talk.data(f"{mark} {field.name.ljust(width)}  {field.words}".rstrip())
    if any(field.is_required for field in fields):
        talk.say("* is required, within an object where the object is given.")
    if row.name not in _NAMES:
        talk.say(f"No page that this release knows speaks of {row.name}: it is sent as it is.")
    return Exit.DONE


def fields_of(kind: type[Any], place: str = "", *, items: bool = True) -> Iterator[Field]:
    """Tell the fields of a class and of the objects inside, in its order; parts of the path are in the name already.

    Args:
        kind: the class.
        place: what stands before the names.
        items: whether the known kinds of an item are told where a list takes several.
    """
    told: dict[str, str] = {}
    for names, words in _ATTRIBUTE.findall(inspect.getdoc(kind) or ""):
        told.update(dict.fromkeys(names.split(", "), " ".join(words.split())))
    for field in attrs.fields(kind):
        if field.metadata.get("wire") == "path" or (place and field.name == "extra"):
            continue
        words, found = _REQUIRED.subn("", told.get(field.name, ""))
        name = f"{place}{field.name}"
        yield Field(name, bool(found) or field.default is attrs.NOTHING, words)
        inner = classes_in(kind, field.name)
        ending = "[]" if "tuple[" in str(field.type) else ""
        if len(inner) == 1:
            yield from fields_of(inner[0], f"{name}{ending}.")
        elif items:
            yield from (_kind_of_item(item, f"{name}{ending}") for item in inner)


def _kind_of_item(kind: type[Any], place: str) -> Field:
    """Tell one of several kinds of items: its type, and which fields it has beside."""
    word = attrs.fields_dict(kind)["type"].default
    if word is attrs.NOTHING:
        return Field(f"{place}.type=...", False, _first_line(kind))
    beside = [field.name for field in attrs.fields(kind) if field.name not in {"type", "extra"}]
    return Field(f"{place}.type={word}", False, f"{_first_line(kind)} Has {', '.join(beside)}.")


def _first_line(kind: type[Any]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0].partition(" Source: ")[0]


def fitting(lines: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Align columns; on a terminal too narrow for them the last is left out."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    is_narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < sum(widths) + 2 * len(widths) - 2
    for line in lines:
        padded = [word.ljust(width) for word, width in zip(line, widths, strict=True)]
        yield "  ".join(padded[:-1] if is_narrow else padded).rstrip()


def _words(row: Endpoint) -> tuple[str, ...]:
    makes = row.yields if row.kind != "call" else "answer"
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
