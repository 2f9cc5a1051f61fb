"""What a journal keeps of a request's pictures and sounds: path, hash and length, never their content among the jobs.

Stage: mover. Before: recorder, in a thread. After: the disk, beside the journal.

Theory. A job must be sent again, if ever, with the body it was sent with before: a local file is recorded with its
hash, and a file that has changed since is refused before anything is sent. Long texts given inline (Base64) would make
every job of the journal megabytes long. They go to a folder beside it, each under its own hash: the same picture in ten
thousand jobs is kept once, and a text that is damaged or gone is noticed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from .endpoints import has_files, to_plain
from .errors import InvalidRequest, JournalError

_LONG = 4096  # characters; no prompt is longer, and no picture shorter
_CHUNK_BYTES = 1 << 20
_FOLDERS_SYNC = os.name == "posix"  # elsewhere a folder cannot be opened


def is_heavy(request: object) -> bool:
    """Tell whether `record_request` has to read or write files for a request, and belongs in a thread."""
    return has_files(request) or _has_long_text(to_plain(request))


def _has_long_text(plain: Any) -> bool:
    if isinstance(plain, str):
        return len(plain) > _LONG
    if isinstance(plain, Mapping):
        return any(map(_has_long_text, plain.values()))
    return isinstance(plain, list) and any(map(_has_long_text, plain))


# --- writing ---------------------------------------------------------------------------------------------------------


def record_request(request: object, folder: Path | None) -> Any:
    """Turn a request into what the journal keeps of it; blocks on the disk.

    Args:
        request: as the caller gave it.
        folder: where long texts go, each in a file of its own; it is made if need be. None: they stay where they are.

    Returns:
        Plain data: `to_plain(request)`, but a file is `{"$file": path, "sha256": hex, "bytes": length}` and a long text
        `{"$text": sha256, "bytes": length}`.

    Raises:
        InvalidRequest: a file cannot be read.
        JournalError: a text could not be written.
    """
    try:
        return _record(request, "", folder)
    except OSError as error:
        raise JournalError(f"a long text cannot be kept in {folder}: {error.strerror}", retryable=True) from None


def _record(value: Any, name: str, folder: Path | None) -> Any:
    if isinstance(value, Path):
        return _measured(value, name)
    if isinstance(value, str):
        return value if folder is None or len(value) <= _LONG else _kept(value, folder)
    if attrs.has(type(value)):
        fields = ((field.name, getattr(value, field.name)) for field in attrs.fields(type(value)))
        value = {each: inner for each, inner in fields if inner is not None and not (each == "extra" and not inner)}
    if isinstance(value, Mapping):
        plain = {key: _record(item, f"{name}.{key}" if name else str(key), folder) for key, item in value.items()}
        # The caller's own names must not be taken for ours.
        return {"$mapping": plain} if any(str(key).startswith("$") for key in plain) else plain
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_record(item, f"{name}[{index}]", folder) for index, item in enumerate(value)]
    return value


def _measured(path: Path, name: str) -> dict[str, object]:
    digest, length = hashlib.sha256(), 0
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)  # a pipe or a device may never end
        if is_file:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    length += len(chunk)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else None
        raise InvalidRequest(name, str(path), f"cannot be read: {reason or error}") from None
    if not is_file:
        raise InvalidRequest(name, str(path), "is not a file")
    return {"$file": str(path), "sha256": digest.hexdigest(), "bytes": length}


def _kept(text: str, folder: Path) -> dict[str, object]:
    """Put a text into the folder, on disk before its job is recorded; one that is there is not written again."""
    data = text.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(data).hexdigest()
    place = folder / digest
    try:
        is_there = place.stat().st_size == len(data)
    except FileNotFoundError:
        is_there = False
    if is_there:
        os.utime(place)  # it is needed again: see `prune_texts`
    else:
        folder.mkdir(mode=0o700, exist_ok=True)
        part = folder / f"{digest}.{uuid.uuid4().hex}.part"
        try:
            part.touch(0o600, exist_ok=False)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(place)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        _sync_folders(folder, folder.parent)
    return {"$text": digest, "bytes": len(data)}


def _sync_folders(*folders: Path) -> None:
    for folder in folders if _FOLDERS_SYNC else ():
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


# --- reading ---------------------------------------------------------------------------------------------------------


def restore_request(plain: Any, folder: Path | None) -> Any:
    """Give the plain data from which `from_mapping` makes the request as it was; blocks on the disk.

    Args:
        plain: an entry's `request`, of this release or an earlier one.
        folder: where long texts were put.

    Raises:
        JournalError: a text is gone, or is not what was put there.
    """
    if isinstance(plain, Mapping):
        if plain.keys() == {"$file", "sha256", "bytes"}:
            return {"file": plain["$file"]}
        if plain.keys() == {"$text", "bytes"}:
            return _text(str(plain["$text"]), folder)
        if plain.keys() == {"$mapping"}:
            plain = plain["$mapping"]
        return {key: restore_request(item, folder) for key, item in plain.items()}
    if isinstance(plain, list):
        return [restore_request(item, folder) for item in plain]
    return plain


def _text(digest: str, folder: Path | None) -> str:
    place = f"{folder}/{digest}"
    if folder is None:
        raise JournalError("the journal has no folder for long texts, and a job needs one from there")
    try:
        data = (folder / digest).read_bytes()
    except OSError as error:
        raise JournalError(f"a text of a job cannot be read from {place}: {error.strerror}: restore it") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise JournalError(f"{place} is not what was put there: restore it")
    return data.decode("utf-8", "surrogatepass")


def recorded_hashes(plain: Any) -> dict[str, str]:
    """Give path → sha256 in hex of the local files of an entry's `request`: what `encode_files` holds them to."""
    return {file: digest for kind, file, digest in _marks(plain) if kind == "$file"}


def needed_texts(plain: Any) -> set[str]:
    """Give the names in the folder of the long texts of an entry's `request`."""
    return {digest for kind, _, digest in _marks(plain) if kind == "$text"}


def _marks(plain: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(plain, Mapping):
        if plain.keys() == {"$file", "sha256", "bytes"}:
            yield "$file", str(plain["$file"]), str(plain["sha256"])
        elif plain.keys() == {"$text", "bytes"}:
            yield "$text", "", str(plain["$text"])
        else:
            for item in (plain["$mapping"] if plain.keys() == {"$mapping"} else plain).values():
                yield from _marks(item)
    elif isinstance(plain, list):
        for item in plain:
            yield from _marks(item)


def prune_texts(folder: Path, needed: Iterable[str], before: float) -> int:
    """Remove the texts that no open job needs; blocks on the disk.

    Args:
        folder: where they are; it need not exist.
        needed: names of those that are needed.
        before: wall seconds; what was put or needed again later stays, since its job may be about to be recorded.

    Returns:
        How many were removed.
    """
    keep, removed = frozenset(needed), 0
    with suppress(OSError):
        for file in list(folder.iterdir()):
            with suppress(OSError):  # another session was faster, or it is none of ours
                if file.name not in keep and file.stat().st_mtime < before:
                    file.unlink()
                    removed += 1
    return removed
