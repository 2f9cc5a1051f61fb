"""The folder of a bulk run: its journal, its key, and its lock.

Stage: door. Before: bulk. The key is in the ids of all jobs of the folder, so that the same rows in another folder are
other jobs; where it was lost, the manifest tells it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .exits import Fail
from .manifest import NAME, lines_of

_KEY = re.compile(r"[0-9a-f]{8}\Z")
_ID = re.compile(r"ka-bulk-([0-9a-f]{8})-")


class Folder:
    """Where a bulk run keeps what it makes, and what it knows.

    Args:
        path: the folder; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self._home = path / ".kling"

    @property
    def journal(self) -> Path:
        """Where its jobs are kept, unless the user says otherwise."""
        return self._home / "jobs.db"

    def known_key(self) -> str | None:
        """Give its key, if it has one."""
        try:
            told = json.loads((self._home / "folder.json").read_text(encoding="utf-8"))["key"]
        except (OSError, ValueError, KeyError, TypeError):
            told = None
        if isinstance(told, str) and _KEY.match(told):
            return told
        for _, line in lines_of(self.path / NAME):
            found = _ID.match(line.id or "")
            if found:
                return found[1]
        return None

    def key(self) -> str:
        """Give its key, made if it has none; on the disk before it is used.

        Raises:
            Fail: it cannot be written.
        """
        key = self.known_key()
        file = self._home / "folder.json"
        if key is not None and file.exists():
            return key
        key = key or secrets.token_hex(4)
        part = self._home / "folder.json.part"
        try:
            with part.open("w", encoding="ascii") as stream:
                json.dump({"key": key}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(file)
        except OSError as error:
            raise Fail(f"cannot write to the folder {self._home}: {error.strerror}") from None
        return key

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while the block runs; however it ends, the system takes the lock away.

        Raises:
            Fail: another process is at work there, or it cannot be written.
        """
        try:
            self._home.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Fail(f"cannot write to the folder {self.path}: {error.strerror}") from None
        try:
            lock = sqlite3.connect(self._home / "lock.db", timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise Fail(f"cannot write to the folder {self._home}: {error}") from None
        with closing(lock):
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                told = f"cannot write to the folder {self._home}: {error}"
                if "locked" in str(error):
                    told = f"Another process works on {self.path}: wait for its end, or choose another folder."
                raise Fail(told) from None
            yield
