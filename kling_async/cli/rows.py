"""A row of a table into a checked request, with an id of its own and a price.

Stage: door. Before: inputs. After: fields. A row's id is made of what it asks for, so that the same row is the same
job in every run, wherever it stands in the file; rows that ask for the same are numbered.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final

import attrs

from ..endpoints import ENDPOINTS, Endpoint
from ..endpoints.rules import ID_PATTERN
from ..errors import ConfigError, InvalidRequest, KlingError, clean_text
from ..prices import Estimate, estimate
from .exits import Fail
from .fields import PLACE, fields_from_cells, parse_settings, request_of, row_of
from .inputs import Entry, Input, Row

_TEMPLATES = ("prompt", "negative_prompt", "text")
_OWN = frozenset({"endpoint", "job_id", "name"})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}\Z")
_LONGEST_ID: Final = 64
_LONGEST_TOLD: Final = 300


@attrs.frozen(kw_only=True)
class Origin:
    """What an entry of a bulk run was made from.

    Attributes:
        row: as it was given.
        fields: of the request, as plain data; empty for a row that is wrong.
        price: by the price list; None for a row that is wrong.
    """

    row: Row
    fields: Mapping[str, object] = attrs.field(factory=dict)
    price: Estimate | None = None


@attrs.frozen(kw_only=True)
class Recipe:
    """What the command line says of all rows.

    Attributes:
        endpoint: of the rows that name none; None: text2video, or image2video with a picture.
        prompt: template of every prompt; None: the rows have their own.
        settings: FIELD=VALUE of the rows that do not give the field.
        model: of the rows that name none.
    """

    endpoint: str | None = None
    prompt: str | None = None
    settings: Sequence[str] = ()
    model: str | None = None


class Maker:
    """Makes entries of rows.

    Args:
        given: the file.
        recipe: what holds for all rows.
        prefix: how the ids of jobs begin that have no name.
        count: tells how often a key was given before, and counts it.

    Raises:
        Fail: the recipe cannot be right.
    """

    def __init__(self, given: Input, recipe: Recipe, *, prefix: str, count: Callable[[str], int]) -> None:
        self._given = given
        self._recipe = recipe
        self._prefix = prefix
        self._count = count
        self._places = given.places | _places_of(recipe.prompt or "")
        self._defaults = {**dict(_pairs(recipe.settings)), **({"model_name": recipe.model} if recipe.model else {})}

    def entry(self, row: Row) -> Entry:
        """Make the entry of a row; one that is wrong says why in `refused`."""
        label = f"line {row.line}"
        refused: KlingError
        try:
            if row.error is not None:
                raise ConfigError(row.error)
            return self._made(row, label)
        except Fail as error:
            refused = ConfigError(str(error).replace("--set ", "column ", 1))
        except KlingError as error:
            told = str(error)
            refused = error if len(told) <= _LONGEST_TOLD else ConfigError(clean_text(told, _LONGEST_TOLD))
        return Entry(label=label, line=row.line, request=None, refused=refused, row=Origin(row=row))

    def _made(self, row: Row, label: str) -> Entry:
        fields, own = self._fields_of(row)
        name = own.get("name")
        endpoint = own.get("endpoint") or self._recipe.endpoint
        request = request_of(fields, endpoint, self._given.base)
        plain = fields if endpoint is None else {"endpoint": endpoint, **fields}
        outer = getattr(request, "external_task_id", None)
        job_id = self._id_of(plain, own.get("job_id"), outer, name)
        return Entry(
            label=label,
            line=row.line,
            request=request,
            job_id=job_id,
            stem=f"{row.line:05d}",
            name=name or own.get("job_id") or outer,
            row=Origin(row=row, fields=fields, price=estimate(request)),
        )

    # --- fields ----------------------------------------------------------------------------------------------------

    def _fields_of(self, row: Row) -> tuple[dict[str, object], dict[str, str]]:
        """Sort a row into fields of the request, and what is for us."""
        given = self._filled(row.given)
        own: dict[str, str] = {}
        for name in ("endpoint", "job_id", "name"):
            value = given.get(name)
            if name in given and not (name == "name" and _has_name(given.get("endpoint") or self._recipe.endpoint)):
                del given[name]
                if value is not None and not isinstance(value, str):
                    raise ConfigError(f"{name} must be a text")
                if value:
                    own[name] = value.strip()
        given = {name: value for name, value in given.items() if not name.startswith("_")}
        row_kind = row_of(own.get("endpoint") or self._recipe.endpoint, given.keys() | self._defaults.keys())
        if self._given.kind == "jsonl":
            defaults = parse_settings([f"{name}={value}" for name, value in self._defaults.items()], row_kind.request)
            return {**defaults, **given}, own
        cells = {**self._defaults, **{name: str(value) for name, value in given.items()}}
        return fields_from_cells(row_kind, cells), own

    def _filled(self, given: Mapping[str, object]) -> dict[str, object]:
        """Fill in the templates, and leave out the columns that are there for them alone."""
        if self._given.kind == "text" and self._recipe.prompt is None:
            return dict(given)
        filled, used = dict(given), set[str](self._places if self._given.kind == "csv" else ())
        if self._recipe.prompt is not None:
            filled["prompt"] = _fill("--prompt", self._recipe.prompt, given, used)
        elif self._given.kind != "text":
            for name in _TEMPLATES:
                value = filled.get(name)
                if isinstance(value, str) and "{" in value:
                    filled[name] = _fill(name, value, given, used)
        known = _all_fields()
        return {name: value for name, value in filled.items() if name not in used or name in known or name in _OWN}

    # --- ids -------------------------------------------------------------------------------------------------------

    def _id_of(self, plain: Mapping[str, object], job_id: str | None, outer: str | None, name: str | None) -> str:
        named = job_id if job_id is not None else outer
        if named is not None:
            if not ID_PATTERN.match(named):
                raise InvalidRequest("job_id", named, "must be 1 to 64 of A-Z a-z 0-9 - _")
            if outer is not None and outer != named:
                raise InvalidRequest("job_id", named, f"differs from external_task_id {outer!r}")
            if name is not None and name != named:
                raise InvalidRequest("name", name, f"differs from job_id {named!r}: give one of the two")
            if self._count(f"id {named}"):
                raise InvalidRequest("job_id", named, "is given on a line before")
            return named
        if name is not None:
            if not _NAME.match(name):
                rule = "must be 1 to 80 of A-Z a-z 0-9 . - _, since the file is called so"
                raise InvalidRequest("name", name, rule)
            if self._count(f"name {name.casefold()}"):
                raise InvalidRequest("name", name, "is given on a line before")
            return f"{self._prefix}{_digest(['name', name])}"
        digest = _digest(plain)
        before = self._count(digest)
        return f"{self._prefix}{digest}" + (f"-{before + 1}" if before else "")


def check_columns(given: Input, recipe: Recipe) -> None:
    """Look at the header of a CSV file: a name that is wrong there is wrong in every row.

    Raises:
        Fail: a column is no field of anything, and in no template.
    """
    places = given.places | _places_of(recipe.prompt or "")
    for name in given.columns:
        if name in places or name in _OWN or name.startswith("_") or name.partition(".")[0] in _all_fields():
            continue
        shown = clean_text(name, 60)
        raise Fail(
            f"{given.name}: {shown!r} is no field of anything that can be made. Correct the column's name, "
            f"use it in a prompt as {{{shown}}}, or call it {'_' + shown!r} to keep it as a note. Nothing was sent."
        )


def next_id(job_id: str, number: int) -> str:
    """Name the try of that number (from 2) of a job that has failed."""
    ending = f"-r{number}"
    if len(job_id) + len(ending) > _LONGEST_ID:
        job_id = f"{job_id[:40]}-{_digest(job_id)[:12]}"
    return job_id + ending


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:20]


def _pairs(settings: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for pair in settings:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Fail(f"--set {pair}: write field=value")
        pairs.append((name, text))
    return pairs


def _places_of(template: str) -> frozenset[str]:
    return frozenset(name for _, name in PLACE.findall(template) if name)


def _fill(field: str, template: str, given: Mapping[str, object], used: set[str]) -> str:
    """Fill a template in from the row's columns."""

    def value_of(match: re.Match[str]) -> str:
        spared, name = match.groups()
        if spared is not None:
            return f"{{{spared}}}"
        value = given.get(name)
        if value is None or isinstance(value, dict | list | bool) or not str(value).strip():
            there = ", ".join(sorted(str(other) for other in given if other != field)) or "none"
            told = f"has {{{name}}}, and that column is missing or empty here (there are: {there})"
            raise InvalidRequest(field, template, f"{told}; write {{{{{name}}}}} for the braces themselves")
        used.add(name)
        return str(value).strip()

    return PLACE.sub(value_of, template)


@cache
def _all_fields() -> Collection[str]:
    return frozenset(name for row in ENDPOINTS for name in attrs.fields_dict(row.request))


@cache
def _has_name(endpoint: object) -> bool:
    """Tell whether an endpoint has a field of its own called "name"."""
    if not isinstance(endpoint, str):
        return False
    try:
        row: Endpoint = row_of(endpoint, ())
    except KlingError:
        return False
    return "name" in attrs.fields_dict(row.request) and row.standard != "solutions"


def price_of(entry: Entry) -> Any:
    """Give what an entry would cost by the list, USD, at most; None where that is not known."""
    price = entry.row.price
    return None if price is None else price.list_price
