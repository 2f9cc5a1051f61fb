"""A file that is not whole yet, in the folder where it belongs: locked, checked, and named only at the end.

Stage: move. Before: download, sinks. After: the disk. Everything here blocks, and runs in a thread.

Theory: what a killed process left is gone on with only where it is proved to be the beginning of the same file. Beside
the part lies a note: whose it is, what the server calls this version of it, and the hash of its first so many bytes.
The bytes are hashed again before they are believed, so neither the note nor the part has to be forced to the disk
while it grows, and a torn note or a part with a hole costs nothing but a fresh start.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Final

import attrs

# Elsewhere (Windows) parts get names of their own, and are not gone on with.
_CAN_LOCK = os.name == "posix"
_NOTE_EVERY_BYTES: Final = 4 * 1024 * 1024
_NOTE_MOST_BYTES: Final = 4096
_BLOCK_BYTES: Final = 1024 * 1024
_LOOKS: Final = 5
HEAD_BYTES: Final = 16
_GUARDED: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@attrs.frozen(kw_only=True)
class Origin:
    """Which file a part is the beginning of.

    Attributes:
        place: hash of the task, the number of its file, and the address without its signature.
        validator: what the server calls this version of it: a strong ETag, or its date.
        whole: its length, if it is known.
    """

    place: str
    validator: str
    whole: int | None


@attrs.define(eq=False)
class PartFile:
    """One file under way. After `open`, `drop` or `finish` must follow; `drop` may always.

    Attributes:
        folder: where it lies, and will lie.
        stem: the name it will have, without its ending.
        size: bytes in it.
        origin: which file they are the beginning of; None: it cannot be gone on with.
    """

    folder: Path
    stem: str
    size: int = 0
    origin: Origin | None = None
    head: bytes = b""
    _path: Path | None = None
    _descriptor: int = -1
    _noted: int = 0
    _has_note: bool = False
    _hash: hashlib._Hash = attrs.field(factory=hashlib.sha256, repr=False)

    @property
    def sha256(self) -> str:
        """Hash of what is in it, in hexadecimal."""
        return self._hash.hexdigest()

    def open(self) -> None:
        """Take what an earlier process left, or begin; never what another one is at, nor anything but a plain file.

        Raises:
            OSError: the folder cannot be written to.
        """
        usual = self.folder / f".{self.stem}.part"
        for _ in range(_LOOKS if _CAN_LOCK else 0):
            try:
                descriptor = os.open(usual, os.O_RDWR | os.O_CREAT | os.O_EXCL | _GUARDED, 0o600)
            except FileExistsError:
                try:
                    descriptor = os.open(usual, os.O_RDWR | os.O_NONBLOCK | _GUARDED)
                except FileNotFoundError:
                    continue
                except OSError:  # a link, a folder, somebody else's
                    break
            if not (_is_plain(descriptor) and _lock(descriptor)):
                os.close(descriptor)
                break
            if _is_at(descriptor, usual):
                self._path, self._descriptor = usual, descriptor
                self._recall()
                return
            os.close(descriptor)  # whoever held it has just given it its name
        self._path = self.folder / f".{self.stem}.{secrets.token_hex(4)}.part"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _GUARDED, 0o600)

    def write(self, chunk: bytes) -> None:
        """Append; note how far it is now and then.

        Raises:
            OSError: the disk is full, or worse.
        """
        left = memoryview(chunk)
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._hash.update(chunk)
        self.size += len(chunk)
        if len(self.head) < HEAD_BYTES:
            self.head = (self.head + chunk[:HEAD_BYTES])[:HEAD_BYTES]
        if self.origin is not None and self.size - self._noted >= _NOTE_EVERY_BYTES:
            self._note()

    def reset(self) -> None:
        """Begin anew.

        Raises:
            OSError: it cannot be cut.
        """
        self._forget()
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.size, self.head, self.origin, self._noted, self._hash = 0, b"", None, 0, hashlib.sha256()

    def finish(self, target: Path) -> None:
        """Force it to the disk, and give it its name.

        Raises:
            OSError: the disk is full, or the name is a folder's.
        """
        assert self._path is not None
        os.fsync(self._descriptor)
        self._forget()
        if not _CAN_LOCK:
            self._close()  # an open file cannot be renamed there
        self._path.replace(target)
        self._path = None
        self._close()
        if os.name == "posix":
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def drop(self) -> None:
        """Leave nothing of it."""
        if self._path is not None and self._descriptor >= 0:
            self._forget()
            if not _CAN_LOCK:
                self._close()
            with contextlib.suppress(OSError):
                self._path.unlink()  # while it is locked, so that it is nobody else's
        self._path = None
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- the note ------------------------------------------------------------------------------------------------

    @property
    def _note_path(self) -> Path:
        return self.folder / f".{self.stem}.part.json"

    def _note(self) -> None:
        assert self.origin is not None
        self._noted = self.size
        if self._path is None or self._path.name != f".{self.stem}.part":
            return
        told = {**attrs.asdict(self.origin), "size": self.size, "sha256": self.sha256}
        with contextlib.suppress(OSError):  # without it the next process begins anew
            self._note_path.unlink(missing_ok=True)
            descriptor = os.open(self._note_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _GUARDED, 0o600)
            self._has_note = True
            try:
                os.write(descriptor, json.dumps(told).encode())
            finally:
                os.close(descriptor)

    def _forget(self) -> None:
        if self._has_note:
            with contextlib.suppress(OSError):
                self._note_path.unlink(missing_ok=True)
            self._has_note = False

    def _recall(self) -> None:
        """Believe what an earlier process noted as far as the bytes bear it out; else begin anew."""
        noted = self._read_note()
        if noted is not None:
            origin, size, sha256 = noted
            if self._take(size) and self.sha256 == sha256:
                os.ftruncate(self._descriptor, size)
                os.lseek(self._descriptor, size, os.SEEK_SET)
                self.origin, self._noted = origin, size
                return
        self.reset()

    def _take(self, size: int) -> bool:
        """Hash the first bytes; False: there are not so many."""
        while self.size < size:
            block = os.read(self._descriptor, min(_BLOCK_BYTES, size - self.size))
            if not block:
                return False
            self._hash.update(block)
            self.head = self.head or block[:HEAD_BYTES]
            self.size += len(block)
        return True

    def _read_note(self) -> tuple[Origin, int, str] | None:
        try:
            descriptor = os.open(self._note_path, os.O_RDONLY | os.O_NONBLOCK | _GUARDED)
        except OSError:
            return None
        self._has_note = True
        try:
            told = json.loads(os.read(descriptor, _NOTE_MOST_BYTES)) if _is_plain(descriptor) else None
        except (OSError, ValueError, RecursionError):
            return None
        finally:
            os.close(descriptor)
        if not isinstance(told, dict):
            return None
        place, validator, whole = told.get("place"), told.get("validator"), told.get("whole")
        size, sha256 = told.get("size"), told.get("sha256")
        if not (isinstance(place, str) and isinstance(validator, str) and isinstance(sha256, str)):
            return None
        if type(size) is not int or size < HEAD_BYTES or not (whole is None or type(whole) is int):
            return None
        return Origin(place=place, validator=validator, whole=whole), size, sha256


def _is_plain(descriptor: int) -> bool:
    """Whether it is an ordinary file of ours with no second name, so that nothing else is written to through it."""
    found = os.fstat(descriptor)
    return stat.S_ISREG(found.st_mode) and found.st_nlink <= 1 and (os.name != "posix" or found.st_uid == os.geteuid())


def _lock(descriptor: int) -> bool:
    import fcntl  # noqa: PLC0415 - not there on Windows, where nobody asks

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
