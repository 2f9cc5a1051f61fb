"""Files in, checked requests out.

Stage: door. After: fields. Before: crew. Everything is checked before anything is sent, and a refusal names its line.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import attrs

from ..dialects import Host
from ..endpoints import find_endpoint
from ..endpoints.rules import ID_PATTERN
from ..errors import KlingError
from ..job import Job
from ..models import Result
from .exits import Fail
from .fields import request_of, strict_json

_SPOOL_BYTES = 8 * 1024 * 1024
_LONGEST_LINE_BYTES = 16 * 1024 * 1024  # a line may hold a picture as Base64

Kind = Literal["prompts", "JSON Lines"]


@attrs.frozen(kw_only=True)
class Entry:
    """One job to do.

    Attributes:
        label: what people call it ("line 7"); empty where there is only one.
        line: its line in the input, counted from 1; None where there is no input.
        request: what to submit.
        job_id: the caller's own name of the job.
        stem: how the names of its files begin; None: the task's id.
        note: words about it to show when it is done.
        job: its job, where it was submitted in an earlier run.
        result: what that made, where only the files are left to be saved.
    """

    label: str
    line: int | None
    request: Any
    job_id: str | None = None
    stem: str | None = None
    note: str = ""
    job: Job | None = None
    result: Result | None = None


# --- files ---------------------------------------------------------------------------------------------------------


class Input:
    """The jobs of one file, read anew for every pass, so that a long file is never held in memory.

    Args:
        source: a path, or "-" for stdin.

    Raises:
        Fail: the file cannot be read, is empty, or mixes prompts and JSON.
    """

    def __init__(self, source: str) -> None:
        if source.lower().endswith(".csv"):
            raise Fail(f"{source}: CSV is not read in this release; write JSON Lines, or one prompt per line")
        self.name: str = "stdin" if source == "-" else source
        try:
            self._file = _spooled(sys.stdin.buffer) if source == "-" else _opened(Path(source))
        except OSError as error:
            raise Fail(f"{source} cannot be read: {error.strerror}") from None
        self.base: Path = Path() if source == "-" else Path(source).parent
        if not self._file.seekable():  # a pipe, as of `kling bulk <(...)`: it is nowhere
            with self._file as pipe:
                self._file, self.base = _spooled(pipe), Path()
        try:
            self.kind: str
            self.count: int
            self.kind, self.count = self._survey()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def entries(self) -> Iterator[Entry]:
        """Yield the jobs in the order of the file.

        Raises:
            Fail: a line is wrong; names it.
        """
        named: dict[str, int] = {}
        for number, text in self._lines():
            try:
                entry = self._entry(number, text)
            except KlingError as error:
                raise self._bad(number, str(error)) from None
            if entry.job_id is not None:
                if entry.job_id in named:
                    raise self._bad(number, f"job_id {entry.job_id!r} is on line {named[entry.job_id]} already")
                named[entry.job_id] = number
            yield entry

    def _survey(self) -> tuple[Kind, int]:
        """Tell what the file holds, and how many jobs."""
        kind: Kind | None = None
        count = 0
        for number, text in self._lines():
            count += 1
            if kind is None:
                kind = "JSON Lines" if text.startswith("{") else "prompts"
            elif kind == "JSON Lines" and not text.startswith("{"):
                raise self._bad(number, "does not begin with { as the lines before it do: JSON Lines, or all prompts")
            elif kind == "prompts" and text.startswith("{") and _is_json(text):
                raise self._bad(number, "is a JSON object among prompts: JSON Lines, or all prompts")
            if kind == "prompts" and text.startswith("[") and (text == "[" or _is_json(text)):
                raise self._bad(number, "is a JSON list: write one JSON object per line, without brackets around them")
        if kind is None:
            raise Fail(f"{self.name} is empty: write one prompt per line, or one JSON object per line")
        return kind, count

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that are not blank, with their numbers."""
        self._file.seek(0)
        for number, raw in enumerate(iter(lambda: self._file.readline(_LONGEST_LINE_BYTES), b""), start=1):
            if len(raw) == _LONGEST_LINE_BYTES and not raw.endswith(b"\n"):
                raise self._bad(number, f"has more than {_LONGEST_LINE_BYTES:,} bytes")
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                raise self._bad(number, "is not UTF-8 text") from None
            if "\0" in text:
                raise self._bad(number, "has a zero byte: is it a text file?")
            if text:
                yield number, text

    def _entry(self, number: int, text: str) -> Entry:
        fields: dict[str, object] = {"prompt": text}
        if self.kind == "JSON Lines":
            fields = self._object(number, text)
        endpoint, job_id = fields.pop("endpoint", None), fields.pop("job_id", None)
        for name, value in (("endpoint", endpoint), ("job_id", job_id)):
            if value is not None and not isinstance(value, str):
                raise self._bad(number, f"{name} must be a text")
        request = request_of(fields, typing.cast("str | None", endpoint), self.base)
        own = getattr(request, "external_task_id", None)
        named: str | None = own if job_id is None else typing.cast("str", job_id)
        if named is not None and not ID_PATTERN.match(named):
            raise self._bad(number, f"job_id {named!r} must be 1 to 64 of A-Z a-z 0-9 - _")
        if own is not None and own != named:
            raise self._bad(number, f"job_id {named!r} differs from external_task_id {own!r}")
        return Entry(label=f"line {number}", line=number, request=request, job_id=named, stem=f"{number:05d}")

    def _object(self, number: int, text: str) -> dict[str, object]:
        try:
            value: dict[str, object] = strict_json(text)  # what begins with { is an object, or no JSON
        except ValueError as error:
            raise self._bad(number, f"is not JSON: {error}") from None
        return value

    def _bad(self, number: int, told: str) -> Fail:
        return Fail(f"{self.name}, line {number}: {told}{'' if told.endswith('?') else '.'} Nothing was sent.")


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
