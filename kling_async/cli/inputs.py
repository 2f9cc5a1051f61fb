"""Words, options and files in, checked requests out.

Stage: door. After: endpoints. Everything is checked before anything is sent, and a refusal names its line.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import attrs

from ..dialects import Host
from ..endpoints import Endpoint, find_endpoint, request_from
from ..endpoints.media import encode_picture, encode_sound
from ..endpoints.rules import ID_PATTERN
from ..errors import InvalidRequest, KlingError, clean_text
from .exits import Fail

_SPOOL_BYTES = 8 * 1024 * 1024
_LONGEST_PATH = 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64}")  # as the rules of the requests see it
_LONGEST_LINE_BYTES = 16 * 1024 * 1024  # a line may hold a picture as Base64

Kind = Literal["prompts", "JSON Lines"]


@attrs.frozen(kw_only=True)
class Entry:
    """One job to do.

    Attributes:
        label: what people call it ("line 7"); empty where there is only one.
        line: its line in the input, counted from 1.
        request: what to submit.
        job_id: the caller's own name of the job.
        stem: how the names of its files begin; None: the task's id.
        note: words about it to show when it is done.
    """

    label: str
    line: int
    request: Any
    job_id: str | None = None
    stem: str | None = None
    note: str = ""


# --- requests ------------------------------------------------------------------------------------------------------


def request_of(fields: Mapping[str, object], endpoint: str | None, base: Path) -> Any:
    """Build a request from plain data, local pictures included.

    Args:
        fields: of the request, under the service's own names.
        endpoint: short name; None: image2video with a picture, else text2video.
        base: what relative paths are relative to.

    Raises:
        KlingError: no such endpoint, no such field, or a value that is refused.
    """
    with_picture = "image" in fields or "image_tail" in fields
    row = find_endpoint(endpoint or ("image2video" if with_picture else "text2video"))
    kind: Any = row.request
    places = _media_names(kind)
    return request_from(row, {name: _with_paths(name, value, places, base) for name, value in fields.items()})


@cache
def _media_names(kind: Any) -> Mapping[str, str]:
    """Names of the fields that take a local file, here and in nested objects, and what for: image, mask, audio."""
    names: dict[str, str] = {}
    for name, hint in typing.get_type_hints(kind).items():
        field = attrs.fields_dict(kind).get(name)
        use = field.metadata.get("media") if field is not None else None
        if use is not None:
            names[name] = use
        for inner in _classes_in(hint):
            names.update(_media_names(inner))
    return names


def _classes_in(hint: Any) -> Iterator[Any]:
    if isinstance(hint, type) and attrs.has(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from _classes_in(part)


def _with_paths(name: str, value: object, places: Mapping[str, str], base: Path) -> object:
    """Replace names of local files by Paths, after a look at the files."""
    if isinstance(value, str) and name in places:
        path = _local(name, value, base)
        if path is not None and places[name] == "audio":
            encode_sound(path, name)
        elif path is not None:
            encode_picture(path, name, bounded=places[name] == "image")
        return value if path is None else path
    if isinstance(value, Mapping):
        return {key: _with_paths(str(key), item, places, base) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_with_paths(name, item, places, base) for item in value]
    return value


def _local(name: str, value: str, base: Path) -> Path | None:
    """Give the file that a text names, or None where the text is a URL or Base64."""
    if value.startswith(("http://", "https://", "data:")) or len(value) > _LONGEST_PATH:
        return None
    path = base / value
    try:
        found = path.is_file()
    except (OSError, ValueError):
        found = False
    if found:
        return path
    if _BASE64.match(value):
        return None
    raise InvalidRequest(name, value, f"is not a URL, and there is no file {clean_text(path)}")


def options_of(endpoint: str | None, options: Mapping[str, object]) -> dict[str, object]:
    """Put what was given as options where the endpoint wants it.

    A text to speak is `text`; the new standard has its own places for prompt, picture and settings; a figure is a
    number where the field takes no text.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if endpoint is None:
        return given
    row = find_endpoint(endpoint)
    if row.standard == "new":
        return _of_the_new_standard(row, given)
    hints = typing.get_type_hints(row.request)
    if "prompt" in given and "prompt" not in hints and "text" in hints:
        given["text"] = given.pop("prompt")
    for name in given.keys() & hints.keys():
        if str not in (hints[name], *typing.get_args(hints[name])):
            given[name] = _json_or_text(str(given[name]))
    return given


_SETTINGS = ("duration", "aspect_ratio")


def _of_the_new_standard(row: Endpoint, given: dict[str, object]) -> dict[str, object]:
    contents: list[Mapping[str, object]] = []
    if "prompt" in given and not row.name.startswith("text-to-video/"):
        contents.append({"type": "prompt", "text": given.pop("prompt")})
    if "image" in given:
        kind = "image" if row.name.startswith("motion-control/") else "first_frame"
        contents.append({"type": kind, "url": given.pop("image")})
    settings = {name: _json_or_text(str(given.pop(name))) for name in _SETTINGS if name in given}
    return {**given, **({"contents": contents} if contents else {}), **({"settings": settings} if settings else {})}


def parse_settings(pairs: Sequence[str]) -> dict[str, object]:
    """Read `--set field=value`: the value is JSON where it parses, else text; `a.b=value` sets b within a.

    Raises:
        Fail: no "=", or one field twice.
    """
    fields: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Fail(f"--set {pair}: write field=value")
        *outer, last = name.split(".")
        place = fields
        for part in outer:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise Fail(f"--set {name}: {part} is given as a value already")
            place = inner
        if last in place:
            raise Fail(f"--set {name}: is given twice")
        place[last] = _json_or_text(text)
    return fields


def _json_or_text(text: str) -> object:
    try:
        return _strict_json(text)
    except ValueError:
        return text


def collect(options: Mapping[str, object], pairs: Sequence[str]) -> dict[str, object]:
    """Join the options that were given with what `--set` says.

    Raises:
        Fail: a field is given twice, or a pair is none.
    """
    fields = dict(options)
    for name, value in parse_settings(pairs).items():
        given = fields.get(name)
        if isinstance(given, dict) and isinstance(value, dict) and not given.keys() & value.keys():
            fields[name] = {**given, **value}
        elif given is not None:
            raise Fail(f"--set {name}: is given twice, as an option too")
        else:
            fields[name] = value
    return fields


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
        self.base: Path = Path() if source == "-" else Path(source).parent
        try:
            self._file = _spooled_stdin() if source == "-" else _opened(Path(source))
        except OSError as error:
            raise Fail(f"{source} cannot be read: {error.strerror}") from None
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
            value: dict[str, object] = _strict_json(text)  # what begins with { is an object, or no JSON
        except ValueError as error:
            raise self._bad(number, f"is not JSON: {error}") from None
        return value

    def _bad(self, number: int, told: str) -> Fail:
        return Fail(f"{self.name}, line {number}: {told}. Nothing was sent.")


def first_advice(request: Any, host: Host) -> str | None:
    """Tell the first thing that is likely wrong with a request on this host: what --strict refuses."""
    return next((str(advice) for advice in find_endpoint(request).advice(request, host)), None)


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _spooled_stdin() -> BinaryIO:
    spool = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 - its owner closes it
    shutil.copyfileobj(sys.stdin.buffer, spool)
    return typing.cast(BinaryIO, spool)


def _is_json(text: str) -> bool:
    try:
        _strict_json(text)
    except ValueError:
        return False
    return True


def _strict_json(text: str) -> Any:
    """Read JSON as others do: no NaN, no name twice (the last would win, silently)."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("too deeply nested") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return fields


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")
