"""The journal on disk: one SQLite file, one thread of its own, many changes in one commit.

Stage: mover. Before: scheduler and submitter, through the protocol of `journal`. After: the disk.

Theory. A durable commit costs about a millisecond, whatever it holds, and must not stop the loop: the thread takes
everything that was put since it last looked, writes it in one transaction, and has the loop call back. A job's text is
written once, beside a short record of its state, so that a change of state writes some hundred bytes.

SQLite knows whether its pages fit together, not whether a bit of a record is what was written. So every record is
sealed with a checksum, and at opening a file of usual size is read whole: what cannot be trusted is refused. The log
beside the file (WAL) has checksums of its own, and is cut where they fail: what is left is an earlier state. That
holds only as long as nothing in the log is in the file already, so checkpoints are ours, and each empties the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import struct
import uuid
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import attrs

from .errors import ConfigError, JournalCorrupt, JournalError, JournalLocked, KlingError, clean_text
from .journal import Change, Entry, Fact, Insert, Then, id_taken, lease_lost, to_text
from .models import Status

T = TypeVar("T")

_APPLICATION_ID = 0x4B4C4E47  # "KLNG"
_BUSY_S = 5.0  # how long another process may hold the file
_CHECK_BYTES = 32 << 20  # files up to this size are read whole at opening: half a second
_LEAST_BYTES = 512  # no SQLite file is shorter
_LOG_BYTES = 8 << 20  # a log longer than this is brought into the file
_TOGETHER = 4096  # changes in one transaction at most, so that other processes get their turn
_PER_CALL = 256  # callbacks in one turn of the loop at most: the loop is not held up by a large commit
_PAGE = 500  # entries read at once, about a megabyte

# Locks and shared memory do not work across machines. Source: sqlite.org/wal.html, "Overview"; Linux mount types.
_NETWORK_TYPES = frozenset(
    {
        *("afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs"),
        *("nfs4", "ocfs2", "orangefs", "smb2", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)

# Each brings a file one version further. A release never changes one that was released.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # A record is found by its seal to be whole; `settled` says of `state` what the index needs.
        """CREATE TABLE entries (
            id INTEGER PRIMARY KEY, job_id TEXT NOT NULL UNIQUE, host TEXT NOT NULL, created_at REAL NOT NULL,
            body_crc INTEGER NOT NULL, settled INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
            sent_at REAL, task_id TEXT, outcome_crc INTEGER, owner TEXT, epoch INTEGER NOT NULL,
            updated_at REAL NOT NULL, seal INTEGER NOT NULL
        )""",
        "CREATE INDEX unsettled ON entries (host, created_at) WHERE settled = 0",
        "CREATE TABLE bodies (id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
        "CREATE TABLE outcomes (id INTEGER PRIMARY KEY, outcome TEXT NOT NULL)",
        "CREATE TABLE leases (owner TEXT PRIMARY KEY, lease_until REAL NOT NULL, seal INTEGER NOT NULL)",
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL, at REAL NOT NULL, seal INTEGER NOT NULL)",
    ),
)

_PRAGMAS = (
    "synchronous=FULL",
    "fullfsync=ON",  # macOS: fsync alone does not reach the disk
    "checkpoint_fullfsync=ON",
    "wal_autocheckpoint=0",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "secure_delete=OFF",
    "cache_size=-16000",
)

_RECORD = (
    "e.id, e.job_id, e.host, e.created_at, e.body_crc, e.settled, e.state, e.attempt, e.sent_at, e.task_id, "
    "e.outcome_crc, e.owner, e.epoch, e.updated_at, e.seal"
)
_READ_ONE = f"SELECT {_RECORD} FROM entries e WHERE e.job_id = ?"  # noqa: S608 - words of this file, here and below
_READ = (
    f"SELECT {_RECORD}, b.body, o.outcome, l.lease_until FROM entries e LEFT JOIN bodies b ON b.id = e.id "  # noqa: S608
    "LEFT JOIN outcomes o ON o.id = e.id LEFT JOIN leases l ON l.owner = e.owner "
)
_INSERT = (
    "INSERT INTO entries (job_id, host, created_at, body_crc, settled, state, attempt, sent_at, task_id, outcome_crc, "
    "owner, epoch, updated_at, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id) DO NOTHING"
)
_SETTLE = (
    "UPDATE entries SET settled = ?, state = ?, attempt = ?, sent_at = ?, task_id = ?, outcome_crc = ?, "
    "owner = ?, epoch = ?, updated_at = ?, seal = ? WHERE id = ? AND owner IS ? AND epoch = ?"
)
_UPDATE = _SETTLE.replace("settled = ?, ", "")
_FREE = "(e.owner IS NULL OR e.owner NOT IN (SELECT owner FROM leases))"

Row = tuple[Any, ...]


class _Record(NamedTuple):
    """One row of `entries`: a plain tuple, since ten thousand are made in a second."""

    id: int
    job_id: str
    host: str
    created_at: float
    body_crc: int
    settled: int
    state: str
    attempt: int
    sent_at: float | None
    task_id: str | None
    outcome_crc: int | None
    owner: str | None
    epoch: int
    updated_at: float

    @classmethod
    def of(cls, row: Row) -> _Record:
        """Make it of a row that begins with these columns, and check its seal."""
        try:
            whole = _seal(row[1:14]) == row[14]
        except (struct.error, TypeError):  # not even the types are right
            whole = False
        if not whole:
            raise _damaged(row[0])
        return cls._make(row[:14])


_NUMBERS = struct.Struct("<dqqqdqqd").pack  # a float's repr would cost as much as writing the record
_POSITION = {name: position for position, name in enumerate(_Record._fields)}


def _seal(values: Row) -> int:
    """Give the checksum of a record, without its line."""
    job_id, host, created_at, body_crc, settled, state, attempt, sent_at, task_id, outcome_crc, owner, epoch, at = (
        values
    )
    texts = f"{job_id!r}{host}\0{state}\0{task_id!r}{owner!r}{sent_at is None}{outcome_crc is None}".encode()
    return zlib.crc32(
        _NUMBERS(created_at, body_crc, settled, attempt, sent_at or 0.0, outcome_crc or 0, epoch, at), zlib.crc32(texts)
    )


def _small_seal(*values: object) -> int:
    return zlib.crc32(repr(values).encode())


def _damaged(line: int) -> JournalCorrupt:
    return JournalCorrupt(f"record {line} of the journal is damaged: restore the file, or move it aside", line=line)


def _entry_of(row: Row) -> Entry:
    record = _Record.of(row)
    body, outcome, lease_until = row[15:]
    if body is None or zlib.crc32(body.encode()) != record.body_crc:
        raise _damaged(record.id)
    if (None if outcome is None else zlib.crc32(outcome.encode())) != record.outcome_crc:
        raise _damaged(record.id)
    return Entry(
        **json.loads(body),
        job_id=record.job_id,
        host=record.host,
        created_at=record.created_at,
        state=Status(record.state),
        attempt=record.attempt,
        sent_at=record.sent_at,
        task_id=record.task_id,
        outcome=None if outcome is None else json.loads(outcome),
        owner=record.owner,
        epoch=record.epoch,
        lease_until=lease_until,
        updated_at=record.updated_at,
    )


# --- the file; everything here runs in the thread --------------------------------------------------------------------


class Store:
    """One open file. Its methods run inside a transaction of `commit`, and raise JournalError before they write."""

    def __init__(
        self,
        path: Path,
        *,
        mounts: Callable[[], str],
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        check_bytes: int = _CHECK_BYTES,
        read_only: bool = False,
    ) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._read_only = read_only
        _check_place(path, mounts)
        if read_only and not path.exists():
            raise JournalError(f"there is no journal at {path}")
        try:
            if not read_only:
                _make_private(path)
            self._refuse_stumps()
            name = f"file:{quote(os.fsencode(path))}?mode=ro" if read_only else path
            self._db = connect(name, timeout=_BUSY_S, isolation_level=None, uri=read_only)
        except (OSError, sqlite3.Error) as error:
            raise _translated(error) from None
        # Records this connection wrote last. While owner and epoch are the same nobody else has changed them.
        self._held: dict[str, _Record] = {}
        self._leases: dict[str, float] = {}  # to be prolonged by the transaction under way
        try:
            self._prepare(check_bytes)
            self._identity = self._identify()
        except (OSError, sqlite3.Error, UnicodeError) as error:
            self._db.close()
            raise _translated(error) from None
        except KlingError:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; the last of all connections brings the log into it."""
        self._db.close()

    def commit(self, works: Sequence[_Work]) -> list[object]:
        """Do all of these in one transaction; give what each gave, or its JournalError."""
        try:
            if self._identify() != self._identity:
                raise JournalError(f"{self._path} was deleted or replaced while it was open: nothing can be recorded")
            self._db.execute("BEGIN IMMEDIATE" if any(work.writes for work in works) else "BEGIN")
            results = [self._attempt(work) for work in works]
            self._prolong_leases()
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may wait for ever
            with suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            self._held.clear()
            self._leases.clear()
            trouble = _translated(error)
            return [trouble.anew() for _ in works]
        if not self._read_only:
            self._shorten_log()
        return results

    def _attempt(self, work: _Work) -> object:
        try:
            return work.run(self, *work.arguments)
        except JournalError as error:
            return error

    def _prepare(self, check_bytes: int) -> None:
        for pragma in _PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("BEGIN")  # another process may be making the file just now: look at it at one moment
        version = self._check_kind()
        self._db.execute("COMMIT")
        if self._read_only:
            if version < len(_MIGRATIONS):
                raise JournalError(f"{self._path} is empty, or of an earlier release: open it with a session first")
            self._check(thoroughly=False)  # each record is checked when it is read
            return
        if self._value("PRAGMA journal_mode=WAL") != "wal":
            raise JournalError(f"{self._path}: its file system cannot hold a journal; choose another folder")
        if version < len(_MIGRATIONS):
            self._migrate()
        self._check(thoroughly=self._path.stat().st_size <= check_bytes)

    def _migrate(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for script in _MIGRATIONS[self._check_kind() :]:  # another process may have been faster
            for statement in script:
                self._db.execute(statement)
        self._db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version={len(_MIGRATIONS)}")
        self._db.execute("COMMIT")

    def _refuse_stumps(self) -> None:
        # SQLite takes a file that was cut this short for a new one, and throws its log away.
        # The log first: who makes the file just now has written its first page before there is a log.
        log_bytes = 0
        with contextlib.suppress(FileNotFoundError):
            log_bytes = self._log.stat().st_size
        size_bytes = self._path.stat().st_size
        if size_bytes == 0 and log_bytes:
            raise JournalCorrupt(f"{self._path} is empty, and there is a log beside it: restore the file")
        if 0 < size_bytes < _LEAST_BYTES:
            raise JournalCorrupt(f"{self._path} is cut short: restore it, or move it aside")

    def _value(self, statement: str) -> Any:
        return self._db.execute(statement).fetchone()[0]

    def _check_kind(self) -> int:
        """Give the version of the file, 0 for a new one."""
        kind, version = self._value("PRAGMA application_id"), self._value("PRAGMA user_version")
        if kind == 0 and version == 0 and self._value("SELECT COUNT(*) FROM sqlite_master") == 0:
            return 0
        if kind != _APPLICATION_ID or version < 1:
            raise JournalCorrupt(f"{self._path} is not a journal, or its head is damaged")
        if version > len(_MIGRATIONS):
            raise JournalError(
                f"{self._path} has version {version}; this release of kling_async knows {len(_MIGRATIONS)}: upgrade it"
            )
        return int(version)

    def _check(self, *, thoroughly: bool) -> None:
        expected = {statement for script in _MIGRATIONS for statement in script}
        found = {sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if found != expected:
            raise JournalCorrupt(f"{self._path}: its tables are not those of a journal")
        if not thoroughly:
            return
        # Not quick_check: that one does not see a record that an index has lost, and that would never be claimed.
        if self._value("PRAGMA integrity_check(1)") != "ok":
            raise JournalCorrupt(f"{self._path} is damaged: restore it, or move it aside")
        for row in self._db.execute(f"{_READ} ORDER BY e.id"):
            _entry_of(row)
        for line, *values, seal in self._db.execute("SELECT rowid, owner, lease_until, seal FROM leases"):
            if _small_seal(*values) != seal:
                raise _damaged(line)
        for line, *values, seal in self._db.execute("SELECT rowid, name, value, at, seal FROM facts"):
            if _small_seal(*values) != seal:
                raise _damaged(line)

    def _identify(self) -> list[tuple[int, int]]:
        # Others may begin and end the log beside a reader, which has nothing to lose in it.
        files = (self._path,) if self._read_only else (self._path, self._log)
        try:
            return [(found.st_dev, found.st_ino) for found in map(Path.stat, files)]
        except FileNotFoundError:
            return []

    def _shorten_log(self) -> None:
        """Bring a long log into the file and empty it, unless somebody is reading: then after a later commit."""
        with suppress(OSError, sqlite3.Error):  # the changes are durable in the log, whatever happens here
            if self._log.stat().st_size > _LOG_BYTES:
                self._db.execute("PRAGMA busy_timeout=0")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with suppress(sqlite3.Error):
            self._db.execute(f"PRAGMA busy_timeout={int(_BUSY_S * 1000)}")

    # --- what can be done in a transaction -----------------------------------------------------------------------

    def insert(self, record: _Record, body: str, outcome: str | None, lease_until: float | None) -> None:
        """Record a new job."""
        if self._add(record, body, outcome, lease_until) is None:
            raise id_taken(record.job_id)

    def add(self, record: _Record, body: str, outcome: str | None, lease_until: float | None) -> Entry | None:
        """Record a new job, or give the entry of that id."""
        if self._add(record, body, outcome, lease_until) is None:
            return self.find(record.job_id)
        return None

    def _add(self, record: _Record, body: str, outcome: str | None, lease_until: float | None) -> int | None:
        values = record[1:]
        done = self._db.execute(_INSERT, (*values, _seal(values)))
        if done.rowcount == 0:
            return None
        line = done.lastrowid
        assert line is not None
        self._db.execute("INSERT INTO bodies (id, body) VALUES (?, ?)", (line, body))
        if outcome is not None:
            self._db.execute("INSERT INTO outcomes (id, outcome) VALUES (?, ?)", (line, outcome))
        if record.owner is not None and lease_until is not None:
            self._leases[record.owner] = max(lease_until, self._leases.get(record.owner, lease_until))
        self._hold(_Record(line, *values))
        return line

    def update(
        self, job_id: str, owner: str, epoch: int, news: Iterable[tuple[int, object]], outcome: str | None, at: float
    ) -> None:
        """Change one entry, if it is still held; `news` are pairs of position and value."""
        record = self._held.get(job_id) or self._record(job_id)
        if record is None or record.owner != owner or record.epoch != epoch:
            raise lease_lost(job_id)
        values: list[Any] = list(record)
        for position, value in news:
            values[position] = value
        values[-1] = at
        new = _Record._make(values)
        if not self._write(record, new):
            raise lease_lost(job_id)
        if outcome is not None:
            self._db.execute("INSERT OR REPLACE INTO outcomes (id, outcome) VALUES (?, ?)", (record.id, outcome))
        elif new.outcome_crc is None and record.outcome_crc is not None:
            self._db.execute("DELETE FROM outcomes WHERE id = ?", (record.id,))

    def _record(self, job_id: str) -> _Record | None:
        row = self._db.execute(_READ_ONE, (job_id,)).fetchone()
        return None if row is None else _Record.of(row)

    def _write(self, old: _Record, new: _Record) -> bool:
        # Naming `settled` makes SQLite write the index of unsettled entries as well.
        given = (*new[6:], _seal(new[1:]), old.id, old.owner, old.epoch)
        self._hold(new)
        done = (
            self._db.execute(_UPDATE, given)
            if new.settled == old.settled
            else self._db.execute(_SETTLE, (new.settled, *given))
        )
        if done.rowcount == 1:
            return True
        self._held.pop(new.job_id, None)
        return False

    def _hold(self, record: _Record) -> None:
        if record.settled:
            self._held.pop(record.job_id, None)
        else:
            self._held[record.job_id] = record

    def find(self, job_id: str) -> Entry | None:
        """Give the entry of that id."""
        row = self._db.execute(f"{_READ} WHERE e.job_id = ?", (job_id,)).fetchone()
        return None if row is None else _entry_of(row)

    def claim(self, host: str, limit: int, owner: str, now: float, lease_s: float) -> list[Entry]:
        """Take over free unsettled entries."""
        self._forget_old_leases(now)
        found = self._db.execute(
            f"{_READ} WHERE e.host = ? AND e.settled = 0 AND {_FREE} ORDER BY e.created_at, e.job_id LIMIT ?",
            (host, limit),
        ).fetchall()
        return self._take_over(found, owner, now, lease_s)

    def take(self, job_id: str, owner: str, now: float, lease_s: float) -> Entry | None:
        """Take over one entry."""
        self._forget_old_leases(now)
        found = self._db.execute(f"{_READ} WHERE e.job_id = ? AND (e.settled = 1 OR {_FREE})", (job_id,)).fetchall()
        return next(iter(self._take_over(found, owner, now, lease_s)), None)

    def _take_over(self, rows: list[Row], owner: str, now: float, lease_s: float) -> list[Entry]:
        entries = [_entry_of(row) for row in rows]
        for row in rows:
            record = _Record._make(row[:14])
            self._write(record, record._replace(owner=owner, epoch=record.epoch + 1, updated_at=now))
        if entries:
            self._set_lease(owner, now + lease_s)
        return [
            attrs.evolve(entry, owner=owner, epoch=entry.epoch + 1, updated_at=now, lease_until=now + lease_s)
            for entry in entries
        ]

    def renew(self, job_ids: frozenset[str], owner: str, lease_until: float) -> frozenset[str]:
        """Set a lease, and give the ids that its owner does not hold."""
        self._prolong_leases()
        self._set_lease(owner, lease_until)
        held = self._db.execute("SELECT job_id FROM entries WHERE settled = 0 AND owner = ?", (owner,))
        missing = job_ids.difference(job_id for (job_id,) in held)
        # What is left was taken by somebody else, or has settled.
        mine = "SELECT 1 FROM entries WHERE job_id = ? AND owner = ?"
        lost = frozenset(job_id for job_id in missing if not self._db.execute(mine, (job_id, owner)).fetchone())
        for job_id in lost:
            self._held.pop(job_id, None)
        return lost

    def release(self, job_ids: frozenset[str] | None, owner: str, now: float) -> None:
        """Let go of these entries, or of everything."""
        if job_ids is None:
            self._prolong_leases()
            self._db.execute("DELETE FROM leases WHERE owner = ?", (owner,))
            self._held.clear()
            return
        for record in list(map(self._record, job_ids)):
            if record is not None and record.owner == owner:
                self._write(record, record._replace(owner=None, updated_at=now))
                self._held.pop(record.job_id, None)

    def counts(self) -> dict[Status, int]:
        """Count entries by state."""
        return {
            Status(state): number
            for state, number in self._db.execute("SELECT state, COUNT(*) FROM entries GROUP BY state")
        }

    def page(self, after: int, state: Status | None) -> tuple[int, list[Entry]]:
        """Give the entries after a line, and the line to go on from."""
        rows = self._db.execute(
            f"{_READ} WHERE e.id > ? AND (? IS NULL OR e.state = ?) ORDER BY e.id LIMIT ?",
            (after, state, state, _PAGE),
        ).fetchall()
        return (rows[-1][0] if rows else after), [_entry_of(row) for row in rows]

    def learn(self, key: str, value: str, at: float) -> None:
        """Remember a fact."""
        self._db.execute(
            "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", (key, value, at, _small_seal(key, value, at))
        )

    def learned(self, key: str) -> Fact | None:
        """Give a fact."""
        row = self._db.execute("SELECT name, value, at, seal, rowid FROM facts WHERE name = ?", (key,)).fetchone()
        if row is None:
            return None
        if _small_seal(*row[:3]) != row[3]:
            raise _damaged(row[4])
        return Fact(json.loads(row[1]), row[2])

    def _prolong_leases(self) -> None:
        """Write, once for many new jobs, how long their owners' leases run."""
        for owner, until in self._leases.items():
            row = self._db.execute("SELECT lease_until FROM leases WHERE owner = ?", (owner,)).fetchone()
            if row is None or row[0] < until:
                self._set_lease(owner, until)
        self._leases.clear()

    def _set_lease(self, owner: str, until: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (owner, until, _small_seal(owner, until)))

    def bury(self, owner: str, has_ended: Callable[[str], bool]) -> None:
        """End the leases of other owners that run no more."""
        others = [name for (name,) in self._db.execute("SELECT owner FROM leases WHERE owner != ?", (owner,))]
        ended = [(name,) for name in others if has_ended(name)]
        self._db.executemany("DELETE FROM leases WHERE owner = ?", ended)

    def _forget_old_leases(self, now: float) -> None:
        self._prolong_leases()
        self._db.execute("DELETE FROM leases WHERE lease_until <= ?", (now,))


def _translated(error: Exception) -> JournalError:
    """Say the trouble of a file in our own words."""
    if isinstance(error, JournalError):
        return error
    words, code = clean_text(error), getattr(error, "sqlite_errorcode", None)
    if isinstance(error, UnicodeDecodeError):  # a name in the file, which sqlite3 tried to tell
        return JournalCorrupt("the journal is damaged: a name in it is no text")
    if isinstance(error, sqlite3.Error):
        if code is None and "decode" in words:  # text that is no UTF-8: the module's own error, without a code
            return JournalCorrupt(f"the journal is damaged: {words}")
        primary = None if code is None else code & 0xFF
        if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return JournalLocked(f"another process holds the journal for more than {_BUSY_S:g} s")
        if primary in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return JournalCorrupt(f"the journal is damaged: {words}")
        return JournalError(f"the journal cannot be used: {words}", retryable=True)
    if isinstance(error, OSError):
        return JournalError(f"the journal cannot be used: {error.strerror or words}", retryable=True)
    return JournalError(f"a bug in writing the journal, please report it: {type(error).__name__}: {words}")


def _check_place(path: Path, mounts: Callable[[], str]) -> None:
    try:
        if not path.parent.is_dir():
            raise JournalError(f"the folder of {path} does not exist: make it first")
        if path.exists() and not path.is_file():
            raise JournalError(f"{path} is not a file")
        place = path.resolve()
    except OSError as error:
        raise _translated(error) from None
    kind = _file_system(place, mounts())
    if kind in _NETWORK_TYPES:
        raise JournalError(f"{path} is on a network file system ({kind}), where locks cannot be trusted: move it")


def _file_system(place: Path, mounts: str) -> str | None:
    """Give the type of the file system that holds a place; of two mounted at one point the later covers the other."""
    best: tuple[int, str | None] = (-1, None)
    for line in mounts.splitlines():
        _device, point, kind, *_options = [*line.split(" "), "", "", ""]
        # Blanks and the like are written as three octal digits.
        folder = Path(os.fsdecode(point.encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")))
        if (place == folder or folder in place.parents) and len(folder.parts) >= best[0]:
            best = (len(folder.parts), kind)
    return best[1]


def read_mounts() -> str:
    """Give the table of mounted file systems; empty where the system has no such file."""
    try:
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _make_private(path: Path) -> None:
    """Make the file, or close it and its companions to other users: it holds prompts."""
    # An existing file is never opened here: closing it would drop the locks of another instance in this process.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
    for file in (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))):
        with suppress(FileNotFoundError, PermissionError):  # another user's file, opened to us by its group
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)


# --- the loop's side -------------------------------------------------------------------------------------------------


class _Work(NamedTuple):
    """One thing to do in the thread: a method of Store, what it is given, and whom to tell on the loop."""

    run: Callable[..., object]
    arguments: tuple[Any, ...]
    done: Callable[[object], None] | None
    writes: bool = True


class _Writer(ThreadPoolExecutor):
    """The thread. What it does answers by itself: the future given here is done, so that no loop waits for it.

    A loop's own way back from a thread makes noise when the loop was closed meanwhile.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="kling_async-journal")

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        super().submit(fn, *args, **kwargs)
        begun: Future[Any] = Future()
        begun.set_result(None)
        return begun


class SqliteJournal:
    """A journal in one SQLite file on a local disk, shared by several sessions and processes if need be.

    An error that every change of a commit is answered with does not end it: it goes on when the trouble is over.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        wall: Callable[[], float],
        owner: str | None = None,
        mounts: Callable[[], str] = read_mounts,
        read_only: bool = False,
    ) -> None:
        """Name the file; nothing is touched before `open`.

        Args:
            path: the file; "~" is the home folder. It is made if need be, its folder is not.
            wall: gives the wall clock in Unix seconds.
            owner: name under which entries are held, never used before; a fresh one if left out.
            mounts: gives the system's table of mounts (form of /proc/mounts).
            read_only: only look at a file that is there, also beside sessions that write it; every change fails.
        """
        self._path = Path(path).expanduser().absolute()
        self._wall = wall
        self._owner = owner if owner is not None else uuid.uuid4().hex
        self._mounts = mounts
        self._read_only = read_only
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: _Writer | None = None
        self._store: Store | None = None
        self._queue: deque[_Work] = deque()
        self._busy = False  # the thread is at work, or about to be; changed on the loop only
        self._delivering = False
        self._told: deque[tuple[Callable[[object], None], object]] = deque()

    def __repr__(self) -> str:
        state = "closed" if self._loop is None else f"open | {len(self._queue)} waiting"
        return f"<SqliteJournal {self._path} [{state}]>"

    @property
    def owner(self) -> str:
        """The name under which this instance holds entries."""
        return self._owner

    async def open(self) -> None:
        """Open the file, or make it, and check that it can be trusted.

        Raises:
            JournalCorrupt: it cannot; nothing was changed.
            JournalLocked: another process holds it.
            JournalError: it was written by a newer release, its folder is not there, or is on another machine.
        """
        if self._loop is not None:
            raise JournalError("the journal is open already")
        loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._writer = _Writer()
        try:
            await self._in_thread(loop, self._begin)
        except BaseException:
            loop.run_in_executor(self._writer, self._end)
            self._writer.shutdown(wait=False)
            raise
        self._loop = loop

    async def close(self) -> None:
        """Write what was put, call back, and close the file."""
        if self._loop is None:
            return
        loop, _ = self._opened()
        assert self._writer is not None
        self._loop = None
        try:
            await self._in_thread(loop, lambda: self._finish(loop))
        finally:
            self._writer.shutdown(wait=False)

    def put(self, change: Change, then: Then | None = None) -> None:
        """Have one change written soon; `then` is called on the loop when it is durable, or failed."""
        self._opened()
        self._do(self._work_of(change, None if then is None else lambda result: then(_error_in(result))))

    async def write(self, change: Change) -> None:
        """Write one change, and return when it is durable."""
        loop, _ = self._opened()
        answer: asyncio.Future[None] = loop.create_future()
        self._do(self._work_of(change, _settler(answer)))
        await answer

    async def add(self, entry: Entry) -> Entry | None:
        """Record a new job durably, or give the entry of that id."""
        self._opened()
        return await self._ask(Store.add, *self._parts(entry))

    async def find(self, job_id: str) -> Entry | None:
        """Give the entry of that id."""
        return await self._ask(Store.find, job_id, writes=False)

    async def claim(self, host: str, limit: int, lease_s: float) -> list[Entry]:
        """Take over unsettled entries of a host that nobody holds, the oldest first."""
        return await self._ask(Store.claim, host, limit, self._owner, self._wall(), lease_s)

    async def take(self, job_id: str, lease_s: float) -> Entry | None:
        """Take over one entry, if it is free or settled."""
        return await self._ask(Store.take, job_id, self._owner, self._wall(), lease_s)

    async def renew(self, job_ids: Iterable[str], lease_s: float) -> frozenset[str]:
        """Prolong the lease by one small write, and give the ids that this owner does not hold any more."""
        return await self._ask(Store.renew, frozenset(job_ids), self._owner, self._wall() + lease_s)

    async def release(self, job_ids: Iterable[str] | None = None) -> None:
        """Let go of these entries, or of all that this owner holds."""
        ids = None if job_ids is None else frozenset(job_ids)
        await self._ask(Store.release, ids, self._owner, self._wall())

    async def bury(self, has_ended: Callable[[str], bool]) -> None:
        """End the leases of owners that run no more."""
        await self._ask(Store.bury, self._owner, has_ended)

    async def counts(self) -> Mapping[Status, int]:
        """Count entries by state; reads all of them: 0.1 s per million."""
        return await self._ask(Store.counts, writes=False)

    async def entries(self, state: Status | None = None) -> AsyncIterator[Entry]:
        """Give all entries, or those of a state, in the order they were recorded."""
        line, found = await self._ask(Store.page, 0, state, writes=False)
        while found:
            for entry in found:
                yield entry
            line, found = await self._ask(Store.page, line, state, writes=False)

    async def learn(self, key: str, value: object) -> None:
        """Remember a fact, with the date."""
        await self._ask(Store.learn, key, to_text(value, f"fact {key!r}"), float(self._wall()))

    async def learned(self, key: str) -> Fact | None:
        """Give what was learned under a key."""
        return await self._ask(Store.learned, key, writes=False)

    # --- on the way to the thread ------------------------------------------------------------------------------------

    def _opened(self) -> tuple[asyncio.AbstractEventLoop, Store]:
        if self._loop is None or self._store is None:
            raise JournalError("the journal is not open")
        if os.getpid() != self._pid:
            raise JournalError("the journal was opened before this process was forked: open another one here")
        return self._loop, self._store

    def _work_of(self, change: Change, done: Callable[[object], None] | None) -> _Work:
        if isinstance(change, Insert):
            return _Work(Store.insert, self._parts(change.entry), done)
        news: list[tuple[int, object]] = []
        text: str | None = None
        for name, value in change.fields.items():
            if name == "outcome":
                text = None if value is None else to_text(value, f"the outcome of job {change.job_id}")
                news.append((_POSITION["outcome_crc"], None if text is None else zlib.crc32(text.encode())))
                continue
            if name == "state":
                state = value if isinstance(value, Status) else Status(str(value))
                news += ((_POSITION["state"], state.value), (_POSITION["settled"], int(state.is_final)))
            elif name == "sent_at" and isinstance(value, int):
                news.append((_POSITION[name], float(value)))
            elif name == "task_id":
                _check_texts(value)
                news.append((_POSITION[name], value))
            else:
                news.append((_POSITION[name], value))
        return _Work(Store.update, (change.job_id, change.owner, change.epoch, news, text, float(self._wall())), done)

    def _parts(self, entry: Entry) -> tuple[_Record, str, str | None, float | None]:
        body = to_text(
            {
                "endpoint": entry.endpoint,
                "request": entry.request,
                "fingerprint": entry.fingerprint,
                "callback_url": entry.callback_url,
                "metadata": entry.metadata,
                "timeout_s": entry.timeout_s,
            },
            f"job {entry.job_id}",
        )
        outcome = None if entry.outcome is None else to_text(entry.outcome, f"the outcome of job {entry.job_id}")
        _check_texts(entry.job_id, entry.host, entry.owner, entry.task_id)
        record = _Record(
            0,
            entry.job_id,
            entry.host,
            entry.created_at,
            zlib.crc32(body.encode()),
            int(entry.state.is_final),
            entry.state.value,
            entry.attempt,
            entry.sent_at,
            entry.task_id,
            None if outcome is None else zlib.crc32(outcome.encode()),
            entry.owner,
            entry.epoch,
            float(self._wall()),
        )
        return record, body, outcome, entry.lease_until

    async def _ask(self, run: Callable[..., T], *arguments: Any, writes: bool = True) -> T:
        loop, _ = self._opened()
        answer: asyncio.Future[T] = loop.create_future()
        self._do(_Work(run, arguments, _settler(answer), writes))
        return await answer

    def _do(self, work: _Work) -> None:
        self._queue.append(work)
        if not self._busy and self._loop is not None:
            self._busy = True
            self._loop.call_soon(self._start)  # and not at once: what else is put in this turn shares the commit

    def _start(self) -> None:
        if self._writer is not None and self._store is not None and self._loop is not None:
            # Through the loop, so that a loop that plays with time can do the work itself.
            self._loop.run_in_executor(self._writer, self._drain, self._loop, self._store)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _drain(self, loop: asyncio.AbstractEventLoop, store: Store) -> None:
        while self._queue:
            works = [self._queue.popleft() for _ in range(min(len(self._queue), _TOGETHER))]
            results = store.commit(works)
            self._tell(loop, [(w.done, result) for w, result in zip(works, results, strict=True) if w.done is not None])
        self._tell(loop, [(self._rest, None)])

    def _begin(self) -> None:
        self._store = Store(self._path, mounts=self._mounts, read_only=self._read_only)

    def _end(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _finish(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._store is not None
        self._drain(loop, self._store)
        self._end()

    def _tell(self, loop: asyncio.AbstractEventLoop, told: Iterable[tuple[Callable[[object], None], object]]) -> None:
        self._told.extend(told)
        with suppress(RuntimeError):  # the loop was closed, and nobody is left to be told
            loop.call_soon_threadsafe(self._hear, loop)

    # --- on the way back ---------------------------------------------------------------------------------------------

    def _hear(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._delivering:  # else it comes to that by itself
            self._deliver(loop)

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(len(self._told), _PER_CALL)):
            done, result = self._told.popleft()
            try:
                done(result)
            except Exception as error:  # noqa: BLE001 - the callbacks after it have to be called all the same
                loop.call_exception_handler({"message": "a journal callback failed", "exception": error})
        self._delivering = bool(self._told)
        if self._delivering:
            loop.call_soon(self._deliver, loop)

    def _rest(self, _result: object) -> None:
        self._busy = False
        if self._queue and self._loop is not None:  # put after the thread had looked for the last time
            self._busy = True
            self._start()

    def _in_thread(self, loop: asyncio.AbstractEventLoop, run: Callable[[], None]) -> asyncio.Future[None]:
        answer: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            result: object = None
            try:
                run()
            except Exception as error:  # noqa: BLE001 - told to the one who waits
                result = _translated(error)
            self._tell(loop, [(_settler(answer), result)])

        loop.run_in_executor(self._writer, work)
        return answer


def _check_texts(*texts: object) -> None:
    try:
        for text in texts:
            str(text).encode()
    except UnicodeEncodeError:
        raise ConfigError("half a character (a lone surrogate) cannot be recorded") from None


def _settler(answer: asyncio.Future[T]) -> Callable[[Any], None]:
    def settle(result: Any) -> None:
        if answer.done():  # whoever waited was cancelled
            return
        if isinstance(result, JournalError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    return settle


def _error_in(result: object) -> JournalError | None:
    return result if isinstance(result, JournalError) else None
