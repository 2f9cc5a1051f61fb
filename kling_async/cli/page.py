"""The page of a bulk run: `index.html`, one file that opens from disk and shows every job of the folder.

Stage: door. Before: the manifest that `kling bulk` writes. The rows are made small and harmless here; `page.html`
beside this file is what shows them. Prompts and messages are foreign text: they travel as JSON in a script tag that
cannot be left from within, are only ever shown as text, and a Content-Security-Policy lets no other script or style
run.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import html
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO
from urllib.parse import quote

MANIFEST = "manifest.jsonl"
PAGE = "index.html"

_PROMPT_CAP, _MESSAGE_CAP, _WORD_CAP = 5_000, 1_000, 200
_MOST_SETTINGS = 24

_PLAYERS = {
    **dict.fromkeys(("mp4", "m4v", "mov", "webm"), "video"),
    **dict.fromkeys(("png", "jpg", "jpeg", "webp", "gif", "avif"), "image"),
    **dict.fromkeys(("mp3", "wav", "m4a", "aac", "ogg", "opus", "flac"), "sound"),
    **dict.fromkeys(("srt", "ass", "vtt", "txt", "json", "zip"), "other"),
}
"""File endings that are linked, and what plays them. What could hold scripts (a page, a drawing) is named only."""

_TIMES = ("created_at", "sent_at", "accepted_at", "ended_at", "saved_at")

_RUNNING = frozenset({"sending", "unsure", "accepted", "processing"})
_FAILED = ("failed", "rejected", "invalid", "vanished")


class Cause(NamedTuple):
    """Why a job gave nothing, and what to do about it; jobs of one cause stand together."""

    title: str
    advice: str


_AGAIN = "Run the same command again; what is done already is not made anew."
_WRONG = Cause("The row cannot be sent", "Correct the row in the input file and run the same command again.")
_CONTENT = Cause("Refused for its content", "Change the prompt or the picture, then run the same command again.")
_UNKNOWN = Cause(
    "Not known whether it was made",
    "It may have been paid. Look for the job's id (its external id) in the account before sending it again.",
)
_STOPPED = Cause("Followed no longer", "The service may still make it. Run the same command again to go on with it.")
_UNSAVED = Cause(
    "Made, and not saved",
    "The result exists and is paid; only saving failed. Run the same command again soon: its link expires.",
)
_VANISHED = Cause(
    "The service no longer knows it", "Ask the service's support, quoting the task, whether it was billed."
)
_BUSY = Cause("The service was too busy", _AGAIN)

_CAUSES: Mapping[str, Cause] = {
    "InvalidRequest": _WRONG,
    "IdempotencyMismatch": Cause(
        "The id names another request", "Give the row another id, or take back the change of its request."
    ),
    "RequestRejected": Cause("Refused by the service", "Correct the request as the reason says, then run it again."),
    "PolicyRejected": _CONTENT,
    "AuthError": Cause("The credentials were refused", f"Check the key and the host. {_AGAIN}"),
    "AccountError": Cause("The account may not do this", f"See to its balance and its rights. {_AGAIN}"),
    "ConfigError": Cause("The settings cannot be right", f"Correct them as the reason says. {_AGAIN}"),
    "Throttled": _BUSY,
    "SlotsFull": _BUSY,
    "ServerFault": Cause("Trouble at the service", _AGAIN),
    "ConnectFailed": Cause("The service could not be reached", f"Check the connection. {_AGAIN}"),
    "TaskVanished": _VANISHED,
    "SubmissionUnknown": _UNKNOWN,
    "DeadlineExceeded": _STOPPED,
    "JobAbandoned": _STOPPED,
    "DownloadError": _UNSAVED,
    "NoOutputs": Cause("Ended without a file", "Ask the service's support, quoting the task."),
}
_BY_STATUS: Mapping[str, Cause] = {
    "invalid": _WRONG,
    "rejected": Cause("Refused by the service", "Correct the request as the reason says, then run it again."),
    "unresolved": _UNKNOWN,
    "vanished": _VANISHED,
    "abandoned": _STOPPED,
}
_MADE_NOTHING = Cause(
    "The service could not make it", "Run it again with --retry-failed, or change the prompt. A failed task is free."
)
_POLICY_CODE = 1301


def write_page(folder: Path, *, is_over: bool, now: float, total: int | None = None) -> Path:
    """Write the page of a folder anew: whole, or not at all.

    Reads the whole manifest each time (about half a second of CPU and 3 MB of page for 5,000 jobs), so call it in a
    thread, and less often as the run grows; it holds a row at a time.

    Args:
        folder: where `manifest.jsonl` and the clips are; a manifest that is missing counts as empty.
        is_over: whether nothing will be added; until then the page loads itself again every 15 s.
        now: the present, in Unix seconds.
        total: how many jobs the run has in all, where that is known; shown while it goes on.

    Returns:
        The path of `index.html` in the folder.

    Raises:
        OSError: the manifest cannot be read or the page not be written; the page there was is left as it is.
    """
    rows, unread = read_manifest(folder / MANIFEST)
    page = folder / PAGE
    with _whole(page) as stream:
        title = folder.resolve().name or "Bulk run"
        head, tail = _template(title)
        told = {"title": title, "written": _number(now), "over": is_over, "total": total, "unread": unread}
        stream.write(head + embed(told)[:-1] + ',"jobs":[')
        causes: dict[Cause, int] = {}
        for number, (row, failures) in enumerate(rows):
            stream.write(("," if number else "") + embed(_job(row, failures, causes)))
        stream.write('],"causes":' + embed([cause._asdict() for cause in causes]) + "}" + tail)
    return page


def read_manifest(file: Path) -> tuple[Iterator[tuple[Mapping[str, object], int]], int]:
    """Read what became of each job: the last line of an id counts.

    A line without an id (a row that was wrong) gives way to any later line of its row. Read twice, so that of a long
    run only the places of its lines are held.

    Args:
        file: a manifest; one that is missing counts as empty.

    Returns:
        Each job's last line and how often it had failed before, in the order of their rows; and how many lines could
        not be read, not counting a last one that is torn.
    """
    found: dict[object, _Place] = {}
    unread = at = 0
    for number, line in enumerate(_lines(file), 1):
        row, begins, at = _read(line), at, at + len(line)
        if row is None:
            unread += bool(line.strip()) and line.endswith(b"\n")
            continue
        order, name, failures = _number(row.get("row")), row.get("id"), 0
        if order is not None:
            found.pop(("row", order), None)
        key: object = ("line", number) if order is None else ("row", order)
        if isinstance(name, str) and name:
            key, before = name, found.pop(name, None)
            failures = 0 if before is None else before.failures + before.has_failed
        found[key] = _Place(math.inf if order is None else order, begins, failures, row.get("status") in _FAILED)
    places = sorted(found.values(), key=lambda place: place.order)
    del found
    return _rows_at(file, places), unread


class _Place(NamedTuple):
    """Where the last line of a job is."""

    order: float
    begins: int
    failures: int
    has_failed: bool


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            yield from stream
    except FileNotFoundError:
        return


def _read(line: bytes) -> Mapping[str, object] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _rows_at(file: Path, places: Iterable[_Place]) -> Iterator[tuple[Mapping[str, object], int]]:
    if not places:
        return
    with file.open("rb") as stream:
        for place in places:
            stream.seek(place.begins)
            yield _read(stream.readline()) or {}, place.failures


def embed(data: object) -> str:
    """Give data as JSON that is safe between script tags and on any line: neither tags nor odd line ends in it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub(r"[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)


def link(path: object) -> str | None:
    """Give the address of a file of the folder as a link within it, percent-encoded; None for any other path."""
    if not isinstance(path, str) or not path or "\0" in path or "\\" in path:
        return None
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts) or _ending(path) not in _PLAYERS:
        return None
    try:
        return quote(path)  # ":" too: no name can pass for a scheme
    except UnicodeEncodeError:
        return None


# --- one row ---------------------------------------------------------------------------------------------------------


def _job(row: Mapping[str, object], failures: int, causes: dict[Cause, int]) -> dict[str, object]:
    """Give what the page shows of one line; nothing that is not known, and no value of a type it does not expect."""
    error, estimate, times = (_mapping(row.get(name)) for name in ("error", "estimate", "times"))
    request, given = _mapping(row.get("request")), _mapping(row.get("input"))
    status = _text(row.get("status")) or "invalid"
    state = _state(status, is_saved=not error)
    job: dict[str, object] = {
        "row": _number(row.get("row")),
        "id": _text(row.get("id")),
        "endpoint": _text(row.get("endpoint")),
        "model": _text(row.get("model")),
        "prompt": _prompt(request) or _prompt(given),
        "name": _text(given.get("name")),
        "task": _text(row.get("task_id")),
        "request": _text(row.get("request_id")),
        "status": status,
        "state": state,
        "paid": paid if (paid := _text(row.get("paid"))) in {"yes", "maybe"} else None,
        "files": [_file(file) for file in _mappings(row.get("files"))],
        "length": _length(row),
        "billed": [
            [amount, _text(charge.get("unit")) or "units"]
            for charge in _mappings(row.get("billing"))
            if (amount := _number(charge.get("amount"))) is not None
        ],
        "price": _number(estimate.get("price")),
        "currency": _text(estimate.get("currency")),
        "units": _number(estimate.get("units")),
        "at": [_number(times.get(name)) for name in _TIMES],
        "settings": _settings(request),
        "tries": failures + 1 if failures else None,
    }
    if state in {"failed", "unclear", "unsaved"}:
        job["cause"] = causes.setdefault(_cause(status, state, error), len(causes))
        job["error"] = _text(error.get("message"), _MESSAGE_CAP)
        job["code"] = _number(error.get("code"))
    return {name: value for name, value in job.items() if value not in (None, [], {})}


def _state(status: str, *, is_saved: bool) -> str:
    if status == "succeeded":
        return "done" if is_saved else "unsaved"
    if status in _FAILED:
        return "failed"
    if status == "queued":
        return "waiting"
    return "running" if status in _RUNNING else "unclear"


def _cause(status: str, state: str, error: Mapping[str, object]) -> Cause:
    if state == "unsaved":
        return _UNSAVED
    if error.get("code") == _POLICY_CODE:
        return _CONTENT
    known = _CAUSES.get(_text(error.get("type")) or "")
    return known or _BY_STATUS.get(status, _MADE_NOTHING if status == "failed" else _UNKNOWN)


def _prompt(request: Mapping[str, object]) -> str | None:
    """Find the words that were asked for: most endpoints call them prompt, speech calls them text."""
    for name in ("prompt", "text"):
        if words := _text(request.get(name), _PROMPT_CAP):
            return words
    parts = [words for part in _mappings(request.get("contents")) if (words := _text(part.get("text"), _PROMPT_CAP))]
    return "\n".join(parts)[:_PROMPT_CAP] or None


def _settings(request: Mapping[str, object]) -> dict[str, str]:
    """Give the plain fields of a request, in its order, as text; a local file by its path."""
    found: dict[str, str] = {}
    for name, value in request.items():
        plain = value.get("path") if isinstance(value, dict) else value
        if name in {"prompt", "text"} or not isinstance(plain, str | int | float) or len(found) == _MOST_SETTINGS:
            continue
        found[_cut(name, _WORD_CAP)] = _cut(str(plain).lower() if isinstance(plain, bool) else str(plain), _WORD_CAP)
    return found


def _file(file: Mapping[str, object]) -> Mapping[str, object]:
    path = file.get("path")
    known: Mapping[str, object] = {
        "kind": _PLAYERS.get(_ending(path), "other") if isinstance(path, str) else "other",
        "path": _text(path),
        "href": link(path),
        "bytes": _number(file.get("bytes")),
    }
    return {name: value for name, value in known.items() if value is not None}


def _length(row: Mapping[str, object]) -> float | None:
    lengths = [_number(asset.get("duration_s")) for asset in _mappings(row.get("assets"))]
    return max((length for length in lengths if length), default=None)


def _ending(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[2].lower()


# --- values of any type ----------------------------------------------------------------------------------------------


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> Iterator[Mapping[str, object]]:
    return (part for part in value if isinstance(part, dict)) if isinstance(value, list) else iter(())


def _text(value: object, cap: int = _WORD_CAP) -> str | None:
    return _cut(value, cap) if isinstance(value, str) and value else None


def _cut(text: str, cap: int) -> str:
    return text if len(text) <= cap else text[: cap - 1] + "…"


def _number(value: object) -> float | None:
    """Give a number that a browser can hold, an integer as one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        return None
    return value


# --- the file --------------------------------------------------------------------------------------------------------


@functools.cache
def _parts() -> tuple[str, str]:
    """Give the template and its policy: of scripts and styles only the two in it may run, known by their hashes."""
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    hashes = {}
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "img-src 'self' file: data:; media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )
    return text, policy


def _template(title: str) -> tuple[str, str]:
    """Give what stands before the data, and what after it."""
    text, policy = _parts()
    values = {"TITLE": html.escape(title), "POLICY": html.escape(policy, quote=True)}
    head, _, tail = text.partition("{{DATA}}")
    # In one pass, so that a title which names a place is not filled in itself.
    fill = functools.partial(re.sub, r"\{\{(TITLE|POLICY)\}\}", lambda match: values[match[1]])
    return fill(head), fill(tail)


@contextlib.contextmanager
def _whole(file: Path) -> Iterator[TextIO]:
    """Write a file beside its place, and put it there when it is whole."""
    # For its owner only, as the clips beside it are: the prompts are in it.
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    part = Path(name)
    try:
        # Lone halves of a character, which JSON can hold and UTF-8 cannot, become escapes again.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            yield stream
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
