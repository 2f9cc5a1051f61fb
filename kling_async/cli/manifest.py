"""`manifest.jsonl`: one line for each row of a bulk run, and how it is kept.

Stage: door. Before: bulk. After: crew. Lines are only ever added, each in one write, so that whatever ends the process
leaves whole lines and at most one that is torn; the last line of an id counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

import attrs

from ..endpoints import find_endpoint
from ..errors import ConfigError, IdempotencyMismatch, InvalidRequest, KlingError, clean_text
from ..models import Asset, Billing, Result, Status
from .exits import Fail
from .rows import Origin
from .tally import Done

NAME = "manifest.jsonl"
_LONGEST_TEXT = 10_000
_KEPT = 200
_SYNC_EVERY_S = 1.0


@attrs.frozen(kw_only=True)
class Line:
    """What is needed of a line that was written before.

    Attributes:
        id: of the job; None for a row that was wrong.
        key: names a row that was wrong.
        status: how it ended, or where it was left.
        paid: whether money was spent.
        error_type: the kind of trouble, if there was any.
        price: estimate in USD.
        task_id: the service's id.
        files: path, relative to the folder, and size in bytes.
    """

    id: str | None
    key: str
    status: str
    paid: str
    error_type: str | None
    price: str | None
    task_id: str | None
    files: tuple[tuple[str, int], ...]


def key_of(row: int | None, told: str) -> str:
    """Name a row that is wrong by its place and the reason."""
    return hashlib.sha256(f"{row} {told}".encode()).hexdigest()[:20]


def lines_of(file: Path) -> Iterator[tuple[int, Line]]:
    """Read a manifest: where each line begins (bytes), and what it says; what is torn or foreign is left out.

    Raises:
        Fail: it is there, and cannot be read.
    """
    try:
        stream = file.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise Fail(f"{file} cannot be read: {error.strerror}") from None
    with stream:
        at = 0
        for raw in stream:
            line = read_line(raw)
            if line is not None:
                yield at, line
            at += len(raw)


def line_at(file: Path, at: int) -> Line | None:
    """Read the line that begins there."""
    with file.open("rb") as stream:
        stream.seek(at)
        return read_line(stream.readline())


def read_line(raw: bytes) -> Line | None:
    """Read one line; None where it is torn, or none of ours."""
    try:
        plain = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(plain, dict) or not isinstance(plain.get("status"), str):
        return None
    error, estimate, files = plain.get("error"), plain.get("estimate"), plain.get("files")
    error = error if isinstance(error, dict) else {}
    price = estimate.get("price") if isinstance(estimate, dict) else None
    names = [
        (str(saved["path"]), int(saved["bytes"]))
        for saved in (files if isinstance(files, list) else [])
        if isinstance(saved, dict) and isinstance(saved.get("path"), str) and isinstance(saved.get("bytes"), int)
    ]
    return Line(
        id=plain["id"] if isinstance(plain.get("id"), str) else None,
        key=key_of(plain.get("row"), str(error.get("message", ""))),
        status=plain["status"],
        paid=str(plain.get("paid")),
        error_type=str(error["type"]) if "type" in error else None,
        price=None if price is None else str(price),
        task_id=plain["task_id"] if isinstance(plain.get("task_id"), str) else None,
        files=tuple(names),
    )


# --- writing -------------------------------------------------------------------------------------------------------


class Manifest:
    """The file, open for adding.

    Args:
        folder: where it lies.

    Raises:
        Fail: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path: Path = folder / NAME
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise Fail(f"{self.path} cannot be written: {error.strerror}") from None
        self._is_synced = True
        size = os.fstat(self._descriptor).st_size
        if size:
            os.lseek(self._descriptor, size - 1, os.SEEK_SET)
            if os.read(self._descriptor, 1) != b"\n":
                os.write(self._descriptor, b"\n")  # what a process that was killed has left

    def add(self, plain: Mapping[str, object]) -> None:
        """Add one line.

        Raises:
            OSError: it could not be written.
        """
        self._is_synced = False
        raw = json.dumps(plain, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")
        if os.write(self._descriptor, raw + b"\n") <= len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def keep_synced(self) -> None:
        """Have what was added on the disk within about a second, until cancelled."""
        while True:
            await asyncio.sleep(_SYNC_EVERY_S)
            if not self._is_synced:
                self._is_synced = True
                with contextlib.suppress(OSError):  # what is lost is known from the journal
                    await asyncio.to_thread(os.fsync, self._descriptor)

    def close(self) -> None:
        """Have everything on the disk, and close."""
        with contextlib.suppress(OSError):
            os.fsync(self._descriptor)
        os.close(self._descriptor)


# --- one line ------------------------------------------------------------------------------------------------------


def plain_line(done: Done, folder: Path) -> dict[str, object]:
    """Give what became of a row as the plain data of its line.

    Args:
        done: its end.
        folder: what the paths of its files are relative to.
    """
    entry, job, result, error = done.entry, done.job, done.result, done.error
    origin: Origin = entry.row
    is_wrong = job is None and isinstance(error, ConfigError | InvalidRequest | IdempotencyMismatch)
    row = None if entry.request is None else find_endpoint(entry.request)
    result = result if result is not None else _result_of(done)
    host_began = None if result is None or result.created_at is None else result.created_at.timestamp()
    host_ended = None if result is None or result.updated_at is None else result.updated_at.timestamp()
    plain: dict[str, object] = {
        "row": entry.line,
        "id": None if is_wrong else entry.job_id,
        "endpoint": None if row is None else row.name,
        "model": _model_of(entry.request),
        "request": _short(origin.fields),
        "input": _short(origin.row.given),
        "task_id": job.task_id if job is not None else None if result is None else result.task_id,
        "request_id": _request_id_of(done),
        "status": "invalid" if is_wrong else _status_of(done),
        "error": None if error is None else _plain_error(error),
        "paid": error.paid if error is not None else "no" if row is not None and row.is_free else "yes",
        "assets": [] if result is None else [_plain_asset(asset) for asset in result.assets],
        "files": [
            {
                "path": PurePath(os.path.relpath(path, folder)).as_posix(),
                "kind": file.kind,
                "bytes": file.size_bytes,
                "sha256": file.sha256,
            }
            for path, file in zip(done.files, done.saved, strict=True)
        ],
        "billing": [] if result is None else _plain_billing(result.billing),
        "estimate": _plain_estimate(origin),
        "times": {
            "created_at": None if job is None else round(job.created_at.timestamp(), 3),
            "sent_at": None,
            "accepted_at": done.accepted_at if done.accepted_at is not None else host_began,
            "ended_at": done.ended_at if done.ended_at is not None else host_ended,
            "saved_at": round(time.time(), 3) if done.saved else None,
        },
    }
    if done.answer is not None:
        plain["answer"] = _short(done.answer.raw)
    return plain


def _result_of(done: Done) -> Result | None:
    if done.job is None or done.job.status is not Status.SUCCEEDED or done.job.outcome is None:
        return None
    return getattr(done.job.outcome, "result", None)


def _status_of(done: Done) -> str:
    if done.job is not None:
        return str(done.job.status)
    return "succeeded" if done.error is None or done.result is not None else "failed"


def _request_id_of(done: Done) -> str | None:
    if done.error is not None and done.error.request_id is not None:
        return done.error.request_id
    return None if done.job is None or done.job.news is None else done.job.news.request_id


def _model_of(request: Any) -> str | None:
    named = getattr(request, "model_name", None) or getattr(request, "model", None)
    return named if isinstance(named, str) else None


def _plain_error(error: KlingError) -> dict[str, object]:
    return {
        "type": type(error).__name__,
        "message": clean_text(str(error), 1000),
        "code": getattr(error, "code", None),
        "retryable": error.retryable,
    }


def _plain_asset(asset: Asset) -> dict[str, object]:
    plain: dict[str, object] = {
        "kind": asset.kind,
        "id": asset.id,
        "duration_s": asset.duration_s,
        "url_host": urlsplit(asset.url).hostname,
        "expires_at": None if asset.expires_at is None else asset.expires_at.timestamp(),
    }
    return plain if asset.name is None else {**plain, "name": asset.name}


def _plain_billing(billing: Billing | None) -> list[dict[str, object]]:
    if billing is None:
        return []
    told = ((billing.units, "units"), (billing.amount, billing.currency or "money"))
    return [{"amount": float(amount), "unit": unit} for amount, unit in told if amount is not None]


def _plain_estimate(origin: Origin) -> dict[str, object] | None:
    price = origin.price
    if price is None or price.list_price is None:
        return None
    units = None if price.units is None else float(price.units)
    return {"units": units, "price": float(price.list_price), "currency": price.currency}


def _short(value: Any) -> Any:
    """Leave out what is too long to be read, as pictures in Base64."""
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:_KEPT]}... ({len(value):,} characters)"
    if isinstance(value, Mapping):
        return {str(name): _short(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_short(inner) for inner in value]
    return value
