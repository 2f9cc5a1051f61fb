"""Files in, rows out: one prompt per line, JSON Lines, or CSV.

Stage: door. Before: rows, which makes requests of them. A row that cannot be read is a row all the same, with its line
and the reason: whether it stops the others is for the command to decide.
"""

from __future__ import annotations

import codecs
import csv
import shutil
import sys
import tempfile
import typing
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import attrs

from ..dialects import Host
from ..download import Saved
from ..endpoints import find_endpoint
from ..errors import KlingError, clean_text
from ..job import Job
from ..models import Result
from .exits import Fail
from .fields import PLACE, strict_json

_SPOOL_BYTES = 8 * 1024 * 1024
_LONGEST_LINE_BYTES = 16 * 1024 * 1024  # a line may hold a picture as Base64
_MOST_LINES = 1000  # of one CSV record: beyond, a quotation mark was forgotten
_MOST_PLACES = 1000
_DELIMITERS = ",;\t|"

Kind = Literal["text", "jsonl", "csv"]
KINDS: tuple[str, ...] = get_args(Kind)
_TOLD: Mapping[Kind, str] = {"text": "prompts", "jsonl": "JSON Lines", "csv": "CSV"}
_ENDINGS: Mapping[str, Kind] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

Passed = Literal["done", "failed", "held", "out"]


@attrs.frozen(kw_only=True)
class Entry:
    """One job to do.

    Attributes:
        label: what people call it ("line 7"); empty where there is only one.
        line: its line in the input, counted from 1; None where there is no input.
        request: what to submit; None where the row is wrong, or nothing is to be done.
        job_id: the id that the job is to have; None: made up.
        stem: how the names of its files begin; None: the task's id.
        name: the caller's own name of the job, and of its files.
        note: words about it to show when it is done.
        job: its job, where it was submitted in an earlier run.
        result: what that made, where only the files are left to be saved.
        metadata: what the journal shall keep with it; None: its line.
        find: finds out at its turn what is to be done; asks the host.
        state: where its job stands, where that is known without a handle.
        saved: its files, where they were there before.
        is_shared: other jobs have the same name, so the task's id is needed to tell the files apart.
        refused: why the row is wrong.
        passed: why nothing is done about it: "done" or "failed" in an earlier run, "held" back, left "out".
        row: what it was made from, for whoever made it.
    """

    label: str
    line: int | None
    request: Any
    job_id: str | None = None
    stem: str | None = None
    name: str | None = None
    note: str = ""
    job: Job | None = None
    result: Result | None = None
    metadata: Mapping[str, object] | None = None
    find: Callable[[], Awaitable[Entry]] | None = attrs.field(default=None, repr=False)
    state: str | None = None
    saved: tuple[Saved, ...] = ()
    is_shared: bool = False
    refused: KlingError | None = None
    passed: Passed | None = None
    row: Any = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Row:
    """One row as it was given.

    Attributes:
        line: where it begins in the file, counted from 1.
        given: its columns; of a prompt just {"prompt": line}.
        error: why it cannot be read; then `given` may be empty.
    """

    line: int
    given: Mapping[str, object] = attrs.field(factory=dict)
    error: str | None = None


# --- files ---------------------------------------------------------------------------------------------------------


class Input:
    """The rows of one file, read anew for every pass, so that a long file is never held in memory.

    Args:
        source: a path, or "-" for stdin.
        kind: how it is written; None: told by its name's ending, or by its first line.

    Attributes:
        name: what people call the file.
        base: the folder that its paths are relative to, absolute.
        kind: how it is written.
        count: number of rows.
        columns: of CSV the names in its header; empty for other files.
        places: of CSV the names in braces of all prompts: columns that belong to them.

    Raises:
        Fail: the file cannot be read, is empty, or is none of these.
    """

    def __init__(self, source: str, kind: Kind | None = None) -> None:
        self.name: str = "stdin" if source == "-" else source
        try:
            self._file = _spooled(sys.stdin.buffer) if source == "-" else _opened(Path(source))
        except OSError as error:
            raise Fail(f"{source} cannot be read: {error.strerror}") from None
        self.base: Path = Path.cwd() if source == "-" else Path(source).absolute().parent
        if not self._file.seekable():  # a pipe, as of `kling bulk <(...)`: it is nowhere
            with self._file as pipe:
                self._file, self.base = _spooled(pipe), Path.cwd()
        self.columns: tuple[str, ...] = ()
        self.places: frozenset[str] = frozenset()
        self._delimiter = ","
        self._after_header = 0, 0
        try:
            self.kind: Kind = kind or _ENDINGS.get(Path(source).suffix.lower()) or self._guess()
            if self.kind == "csv":
                self._read_header()
            self.count: int = self._survey()
        except BaseException:
            self.close()
            raise

    @property
    def told_kind(self) -> str:
        """How it is written, in words."""
        return _TOLD[self.kind]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rows(self) -> Iterator[Row]:
        """Yield the rows in the order of the file; one pass at a time."""
        if self.kind == "csv":
            yield from self._records()
        else:
            for number, text in self._lines():
                yield text if isinstance(text, Row) else self._row(number, text)

    def _guess(self) -> Kind:
        first = next((text for _, text in self._lines() if isinstance(text, str)), "")
        return "jsonl" if first.startswith("{") else "text"

    def _survey(self) -> int:
        """Count the rows, and look for what says that the file as a whole is none of these."""
        count, places = 0, set[str]()
        if self.kind == "csv":
            for row in self._records():
                count += 1
                if len(places) < _MOST_PLACES:
                    places.update(name for value in row.given.values() for name in _places_in(value))
            self.places = frozenset(places)
        else:
            for number, text in self._lines():
                count += 1
                if count == 1 and isinstance(text, str) and text.startswith("[") and (text == "[" or _is_json(text)):
                    raise self._bad(number, "is a JSON list: write one JSON object per line, without brackets around")
        if not count:
            raise Fail(f"{self.name} is empty: write one prompt per line, one JSON object per line, or CSV")
        return count

    # --- lines -----------------------------------------------------------------------------------------------------

    def _raw_lines(self, number: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the lines from where the file stands; what is too long comes in pieces under one number."""
        while raw := self._file.readline(_LONGEST_LINE_BYTES):
            number += 1
            yield number, raw
            while len(raw) == _LONGEST_LINE_BYTES and not raw.endswith(b"\n"):
                raw = self._file.readline(_LONGEST_LINE_BYTES)

    def _lines(self) -> Iterator[tuple[int, str | Row]]:
        """Yield the lines that are not blank, with their numbers; a Row where one cannot be read."""
        self._file.seek(0)
        for number, raw in self._raw_lines():
            text, error = _decoded(raw, number)
            if error is not None:
                yield number, Row(line=number, error=error)
            elif text.strip():
                yield number, text.strip()

    def _row(self, number: int, text: str) -> Row:
        if self.kind == "text":
            if text.startswith(("{", "[")) and _is_json(text):
                return Row(line=number, error="is JSON among prompts: write JSON Lines, or all prompts")
            return Row(line=number, given={"prompt": text})
        if not text.startswith("{"):
            return Row(line=number, error="does not begin with {: write one JSON object per line")
        try:
            value: dict[str, object] = strict_json(text)  # what begins with { is an object, or no JSON
        except ValueError as error:
            return Row(line=number, error=f"is not JSON: {error}")
        return Row(line=number, given=value)

    def _bad(self, number: int, told: str) -> Fail:
        return Fail(f"{self.name}, line {number}: {told}{'' if told.endswith('?') else '.'} Nothing was sent.")

    # --- CSV -------------------------------------------------------------------------------------------------------

    def _read_header(self) -> None:
        """Read the first record, whose separator is the one that it has most of."""
        csv.field_size_limit(_LONGEST_LINE_BYTES)
        number = 0
        self._file.seek(0)
        for number, raw in self._raw_lines():
            text, error = _decoded(raw, number)
            if error is not None:
                raise self._bad(number, error)
            if text.strip():
                break
        else:
            raise Fail(f"{self.name} is empty: its first line names the columns, as prompt,duration")
        self._delimiter = max(_DELIMITERS, key=text.count)
        try:
            names = [name.strip() for name in next(csv.reader([text], delimiter=self._delimiter, strict=True))]
        except csv.Error as error:
            raise self._bad(number, f"is no header: {error}") from None
        while names and not names[-1]:
            names.pop()
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None or "" in names:
            told = f"two columns are called {clean_text(twice)!r}" if twice else "a column has no name"
            raise self._bad(number, f"{told}; the first line names the columns")
        self.columns, self._after_header = tuple(names), (number, self._file.tell())

    def _records(self) -> Iterator[Row]:
        number, at = self._after_header
        self._file.seek(at)
        while True:
            source = _Record(self._raw_lines(number))
            reader = csv.reader(source, delimiter=self._delimiter, strict=True)
            begins = self._file.tell()
            try:
                cells = next(reader, None)
            except (csv.Error, _Unreadable) as error:
                told = f"is not CSV: {error}" if isinstance(error, csv.Error) else str(error)
                if source.number > number + 1:  # a quotation mark that is never closed must not swallow the others
                    told = "a quotation mark is opened and not closed" if isinstance(error, csv.Error) else told
                    self._file.seek(begins)
                    self._file.readline(_LONGEST_LINE_BYTES)
                number += 1
                yield Row(line=number, error=told)
                continue
            if cells is None:
                return
            line, number = number + 1, source.number
            if any(cell.strip() for cell in cells):
                yield self._of_cells(line, cells)

    def _of_cells(self, line: int, cells: list[str]) -> Row:
        wanted = len(self.columns)
        while len(cells) > wanted and not cells[-1].strip():
            cells.pop()
        given = {name: cell for name, cell in zip(self.columns, cells, strict=False) if cell.strip()}
        if len(cells) != wanted:
            told = f"has {len(cells)} cells, and the header {wanted}: is a separator or a quotation mark missing?"
            return Row(line=line, given=given, error=told)
        return Row(line=line, given=given)


class _Unreadable(Exception):
    """A line of a record cannot be read."""


class _Record:
    """The lines of one CSV record, as the csv module asks for them; counted, and not without end."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self._first: int | None = None
        self._bytes = 0
        self.number: int = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, raw = next(self._lines)
        self._first = self.number if self._first is None else self._first
        self._bytes += len(raw)
        if self.number - self._first >= _MOST_LINES or self._bytes > _LONGEST_LINE_BYTES:
            raise _Unreadable("a quotation mark is opened and not closed, or the row is too long")
        text, error = _decoded(raw, self.number)
        if error is not None:
            raise _Unreadable(error)
        return text


def _decoded(raw: bytes, number: int) -> tuple[str, str | None]:
    """Read one line; the text, or why there is none."""
    if len(raw) == _LONGEST_LINE_BYTES and not raw.endswith(b"\n"):
        return "", f"has more than {_LONGEST_LINE_BYTES:,} bytes"
    try:
        text = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).decode("utf-8")
    except UnicodeDecodeError:
        return "", "is not UTF-8 text: save the file as UTF-8"
    return ("", "has a zero byte: is it a text file?") if "\0" in text else (text, None)


def _places_in(value: object) -> Iterator[str]:
    if isinstance(value, str) and "{" in value:
        yield from (name for _, name in PLACE.findall(value) if name)


def first_advice(request: Any, host: Host) -> str | None:
    """Tell the first thing that is likely wrong with a request on this host: what --strict refuses."""
    return next((str(advice) for advice in find_endpoint(request).advice(request, host)), None)


def refusal(request: Any, host: Host) -> str | None:
    """Tell that this host is known not to have the endpoint of a request."""
    row = find_endpoint(request)
    if row.standard == "new" and "new" in host.lacks:
        return f"{host.name} has no {row.name}, nor anything else of the new standard; it has text2video and its like"
    if row.standard in {"solutions", "account"} and row.standard in host.lacks:
        return f"{host.name} has no {row.name}, which only the official hosts have"
    return None


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _spooled(source: BinaryIO) -> BinaryIO:
    spool = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 - its owner closes it
    shutil.copyfileobj(source, spool)
    return typing.cast(BinaryIO, spool)


def _is_json(text: str) -> bool:
    try:
        strict_json(text)
    except ValueError:
        return False
    return True
