"""The journal's file: one SQLite database, and what is done to it in the thread that owns it.

Stage: mover. Before: `journal_sqlite`, the asyncio side. After: the disk.

Theory. A job's text is written once, beside a short record of its state, so that a change of state writes some hundred
bytes. Within a transaction records are changed in memory and written together before anything is read and at the end:
one call for a thousand rows, so that the loop is left its share of the interpreter. That takes it for granted that
nobody else has changed them meanwhile; where a count of rows shows that somebody has, all is rolled back and done once
more, from what the file says.

SQLite knows whether its pages fit together, not whether a bit of a record is what was written. So every record is
sealed with a checksum, and at opening a file of usual size is read whole: what cannot be trusted is refused. The log
beside the file (WAL) has checksums of its own, and is cut where they fail: what is left is an earlier state. That
holds only as long as nothing in the log is in the file already, so checkpoints are ours, and each empties the log.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import attrs

from .errors import JournalCorrupt, JournalError, JournalLocked, KlingError, clean_text
from .journal import Entry, Fact, id_taken, is_settled, lease_lost
from .models import Status

_APPLICATION_ID = 0x4B4C4E47  # "KLNG"
_BUSY_S = 5.0  # how long another process may hold the file
_OPENING_S = 20.0  # the same while it is opened: several may be making it, each with a few writes to the disk
_CHECK_BYTES = 32 << 20  # files up to this size are read whole at opening: half a second
_LEAST_BYTES = 512  # no SQLite file is shorter
_LOG_BYTES = 16 << 20  # a log longer than this is brought into the file
_PAGE = 500  # entries read at once, about a megabyte

# Locks and shared memory do not work across machines. Source: sqlite.org/wal.html, "Overview"; Linux mount types.
_NETWORK_TYPES = frozenset(
    {
        *("afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs"),
        *("nfs4", "ocfs2", "orangefs", "smb2", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)

# The tables as they are since version 1. Their text is compared with the file's, to the last blank.
_TABLES = (
    # A record is found by its seal to be whole; `settled` says of `state` and `attempt` what the index needs.
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
)

_PRAGMAS = (
    "synchronous=FULL",
    "fullfsync=ON",  # macOS: fsync alone does not reach the disk
    "checkpoint_fullfsync=ON",
    "wal_autocheckpoint=0",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "secure_delete=OFF",
    "cache_size=-6000",
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
_MOVE = (
    "UPDATE entries SET settled = ?, state = ?, attempt = ?, sent_at = ?, task_id = ?, outcome_crc = ?, "
    "owner = ?, epoch = ?, updated_at = ?, seal = ? WHERE id = ?"
)
# As an insert, since that can take many rows in one statement.
_CHANGED = ("state", "attempt", "sent_at", "task_id", "outcome_crc", "updated_at", "seal")
_CHANGE = (
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CHANGED)} "
    "WHERE owner IS excluded.owner AND epoch = excluded.epoch"
)
# Naming `settled` makes SQLite write the index of unsettled entries as well.
_CHANGE_SETTLED = _CHANGE.replace("SET ", "SET settled = excluded.settled, ")
_ROWS = (256, 32, 1)  # in one statement: between two the interpreter goes to the loop, which may keep it for a while
_FREE = "(e.owner IS NULL OR e.owner NOT IN (SELECT owner FROM leases))"

Row = tuple[Any, ...]


class Stored(NamedTuple):
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
    def of(cls, row: Row) -> Stored:
        """Make it of a row that begins with these columns, and check its seal."""
        try:
            whole = _seal(row[1:14]) == row[14]
        except (struct.error, TypeError):  # not even the types are right
            whole = False
        if not whole:
            raise _damaged(row[0])
        return cls._make(row[:14])


_NUMBERS = struct.Struct("<dqqqdqqd").pack  # a float's repr would cost as much as writing the record
POSITION = {name: position for position, name in enumerate(Stored._fields)}
_SETTLED, _STATE, _ATTEMPT = (POSITION[name] for name in ("settled", "state", "attempt"))


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
    record = Stored.of(row)
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


class Work(NamedTuple):
    """One thing to do in the thread: a method of Store, what it is given, and whom to tell on the loop."""

    run: Callable[..., object]
    arguments: tuple[Any, ...]
    done: Callable[[object], None] | None
    writes: bool = True


class _Stale(Exception):
    """A record was changed by somebody else since this connection wrote it, or its id is taken."""


@attrs.define
class _Changes:
    """What a transaction has changed and not yet written, by line."""

    last_line: int | None = None
    new: dict[int, Stored] = attrs.field(factory=dict)
    bodies: list[tuple[int, str]] = attrs.field(factory=list)
    old: dict[int, Stored] = attrs.field(factory=dict)
    changed: dict[int, Stored] = attrs.field(factory=dict)
    outcomes: dict[int, str | None] = attrs.field(factory=dict)
    leases: dict[str, float] = attrs.field(factory=dict)


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
            self._db = connect(name, timeout=_OPENING_S, isolation_level=None, uri=read_only)
        except (OSError, sqlite3.Error) as error:
            raise translated(error) from None
        # Records this connection wrote last. While owner and epoch are the same nobody else has changed them.
        self._held: dict[str, Stored] = {}
        self._is_careful = False  # the transaction under way trusts no such record
        self._changes = _Changes()
        self._most_values = self._db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        try:
            self._prepare(check_bytes)
            self._identity = self._identify()
            self._db.execute(f"PRAGMA busy_timeout={int(_BUSY_S * 1000)}")
        except (OSError, sqlite3.Error, UnicodeError) as error:
            self._db.close()
            raise translated(error) from None
        except KlingError:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; the last of all connections brings the log into it."""
        self._db.close()

    def commit(self, works: Sequence[Work]) -> list[object]:
        """Do all of these in one transaction; give what each gave, or its JournalError."""
        try:
            if self._identify() != self._identity:
                raise JournalError(f"{self._path} was deleted or replaced while it was open: nothing can be recorded")
            try:
                results = self._transact(works)
            except _Stale:
                self._roll_back()
                self._is_careful = True
                results = self._transact(works)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may wait for ever
            with suppress(sqlite3.Error):
                self._roll_back()
            trouble = translated(error)
            return [trouble.anew() for _ in works]
        finally:
            self._is_careful = False
        if not self._read_only:
            self._shorten_log()
        return results

    def _transact(self, works: Sequence[Work]) -> list[object]:
        self._changes = _Changes()  # the last line is another's to raise between two transactions
        self._db.execute("BEGIN IMMEDIATE" if any(work.writes for work in works) else "BEGIN")
        results = [self._attempt(work) for work in works]
        self._flush()
        self._db.execute("COMMIT")
        return results

    def _roll_back(self) -> None:
        self._held.clear()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _attempt(self, work: Work) -> object:
        try:
            return work.run(self, *work.arguments)
        except JournalError as error:
            return error

    def _prepare(self, check_bytes: int) -> None:
        # Who only looks reads from one end to the other, and nothing twice.
        for pragma in (*_PRAGMAS, *(("cache_size=-2000",) if self._read_only else ())):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("BEGIN")  # another process may be making the file just now: look at it at one moment
        version = self._check_kind()
        self._db.execute("COMMIT")
        if self._read_only:
            if version < VERSION:
                raise JournalError(f"{self._path} is empty, or of an earlier release: open it with a session first")
            self._check(thoroughly=False)  # each record is checked when it is read
            return
        if self._value("PRAGMA journal_mode=WAL") != "wal":
            raise JournalError(f"{self._path}: its file system cannot hold a journal; choose another folder")
        if version < VERSION:
            self._migrate()
        self._check(thoroughly=self._path.stat().st_size <= check_bytes)

    def _migrate(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for bring_further in _MIGRATIONS[self._check_kind() :]:  # another process may have been faster
            bring_further(self)
        self._db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version={VERSION}")
        self._db.execute("COMMIT")

    def make_tables(self) -> None:
        """Make what version 1 has."""
        for statement in _TABLES:
            self._db.execute(statement)

    def reopen_unresolved(self) -> None:
        """Version 2: a job that was sent, and of which nothing could be found out, is looked up by every later run."""
        self._check_tables()
        for row in self._db.execute(f"SELECT {_RECORD} FROM entries e WHERE e.state = 'unresolved'").fetchall():  # noqa: S608
            record = Stored.of(row)
            self._write(record, record._replace(settled=int(is_settled(Status.UNRESOLVED, record.attempt))))
        self._flush()
        self._held.clear()

    def _refuse_stumps(self) -> None:
        # SQLite takes a file that was cut this short for a new one, and throws its log away.
        # The log first: who makes the file just now has written its first page before there is a log.
        log_bytes = 0
        with suppress(FileNotFoundError):
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
        if version > VERSION:
            raise JournalError(
                f"{self._path} has version {version}; this release of kling_async knows {VERSION}: upgrade it"
            )
        return int(version)

    def _check(self, *, thoroughly: bool) -> None:
        self._check_tables()
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

    def _check_tables(self) -> None:
        found = {sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if found != set(_TABLES):
            raise JournalCorrupt(f"{self._path}: its tables are not those of a journal")

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

    def insert(self, record: Stored, body: str, outcome: str | None, lease_until: float | None) -> None:
        """Record a new job."""
        if not self._add(record, body, outcome, lease_until):
            raise id_taken(record.job_id)

    def add(self, record: Stored, body: str, outcome: str | None, lease_until: float | None) -> Entry | None:
        """Record a new job, or give the entry of that id."""
        return None if self._add(record, body, outcome, lease_until) else self.find(record.job_id)

    def _add(self, record: Stored, body: str, outcome: str | None, lease_until: float | None) -> bool:
        if record.job_id in self._held or (self._is_careful and self._record(record.job_id) is not None):
            return False
        changes = self._changes
        last: int | None = changes.last_line
        if last is None:
            last = int(self._value("SELECT COALESCE(MAX(id), 0) FROM entries"))
        line = changes.last_line = last + 1
        new = Stored(line, *record[1:])
        changes.new[line] = new
        changes.bodies.append((line, body))
        if outcome is not None:
            changes.outcomes[line] = outcome
        if record.owner is not None and lease_until is not None:
            changes.leases[record.owner] = max(lease_until, changes.leases.get(record.owner, lease_until))
        self._hold(new)
        return True

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
        values[_SETTLED] = int(is_settled(values[_STATE], values[_ATTEMPT]))
        values[-1] = at
        new = Stored._make(values)
        self._write(record, new)
        if outcome is not None:
            self._changes.outcomes[record.id] = outcome
        elif new.outcome_crc is None and record.outcome_crc is not None:
            self._changes.outcomes[record.id] = None

    def _record(self, job_id: str) -> Stored | None:
        row = self._read(_READ_ONE, (job_id,)).fetchone()
        return None if row is None else Stored.of(row)

    def _write(self, old: Stored, new: Stored) -> None:
        self._hold(new)
        changes = self._changes
        if old.id in changes.new:
            changes.new[old.id] = new
        else:
            changes.old.setdefault(old.id, old)
            changes.changed[old.id] = new

    def _hold(self, record: Stored) -> None:
        if record.settled:
            self._held.pop(record.job_id, None)
        else:
            self._held[record.job_id] = record

    def _read(self, statement: str, arguments: Sequence[object] = ()) -> sqlite3.Cursor:
        """Read from the file, when it says what was changed in this transaction."""
        self._flush()
        return self._db.execute(statement, arguments)

    def _flush(self) -> None:
        """Write what was changed in this transaction.

        Raises:
            _Stale: a record is not what it was taken for.
        """
        changes = self._changes
        self._insert(
            "entries",
            [(*new, _seal(new[1:])) for new in changes.new.values()],
            "ON CONFLICT (job_id) DO NOTHING",
        )
        self._insert("bodies", changes.bodies)
        same: list[Row] = []
        settled: list[Row] = []
        moved: list[Row] = []
        for line, new in changes.changed.items():
            old = changes.old[line]
            seal = _seal(new[1:])
            if new.owner != old.owner or new.epoch != old.epoch:
                moved.append((*new[5:], seal, line))  # read in this transaction: nobody else has changed it
            else:
                (same if new.settled == old.settled else settled).append((*new, seal))
        self._insert("entries", same, _CHANGE)
        self._insert("entries", settled, _CHANGE_SETTLED)
        self._db.executemany(_MOVE, moved)
        if changes.outcomes:
            known = [(line, text) for line, text in changes.outcomes.items() if text is not None]
            self._insert("outcomes", known, "ON CONFLICT (id) DO UPDATE SET outcome = excluded.outcome")
            gone = [(line,) for line, text in changes.outcomes.items() if text is None]
            self._db.executemany("DELETE FROM outcomes WHERE id = ?", gone)
        self._changes = _Changes(last_line=changes.last_line)
        for owner, until in changes.leases.items():  # once for many new jobs
            row = self._db.execute("SELECT lease_until FROM leases WHERE owner = ?", (owner,)).fetchone()
            if row is None or row[0] < until:
                self._set_lease(owner, until)

    def _insert(self, table: str, rows: Sequence[Row], otherwise: str = "") -> None:
        """Write rows, many in one statement; where one is there already, do `otherwise`."""
        begin = 0
        for size in _ROWS if rows else ():
            count = (len(rows) - begin) // size
            width = len(rows[0])
            if count == 0 or size * width > self._most_values:
                continue
            end = begin + count * size
            values = list(chain.from_iterable(rows[begin:end]))
            places = ", ".join([f"({', '.join('?' * width)})"] * size)
            done = self._db.executemany(
                f"INSERT INTO {table} VALUES {places} {otherwise}",  # noqa: S608 - words of this file
                [values[at : at + size * width] for at in range(0, len(values), size * width)],
            )
            if done.rowcount != end - begin:
                raise _Stale
            begin = end

    def find(self, job_id: str) -> Entry | None:
        """Give the entry of that id."""
        row = self._read(f"{_READ} WHERE e.job_id = ?", (job_id,)).fetchone()
        return None if row is None else _entry_of(row)

    def claim(self, host: str, limit: int, owner: str, now: float, lease_s: float) -> list[Entry]:
        """Take over free unsettled entries of others."""
        self._forget_old_leases(now)
        found = self._read(
            f"{_READ} WHERE e.host = ? AND e.settled = 0 AND {_FREE} AND e.owner IS NOT ? "
            "ORDER BY e.created_at, e.job_id LIMIT ?",
            (host, owner, limit),
        ).fetchall()
        return self._take_over(found, owner, now, lease_s)

    def take(self, job_id: str, owner: str, now: float, lease_s: float) -> Entry | None:
        """Take over one entry."""
        self._forget_old_leases(now)
        found = self._read(
            f"{_READ} WHERE e.job_id = ? AND (e.settled = 1 OR e.owner = ? OR {_FREE})", (job_id, owner)
        ).fetchall()
        return next(iter(self._take_over(found, owner, now, lease_s)), None)

    def _take_over(self, rows: list[Row], owner: str, now: float, lease_s: float) -> list[Entry]:
        entries = [_entry_of(row) for row in rows]
        for row in rows:
            record = Stored._make(row[:14])
            self._write(record, record._replace(owner=owner, epoch=record.epoch + 1, updated_at=now))
        if entries:
            self._set_lease(owner, now + lease_s)
        return [
            attrs.evolve(entry, owner=owner, epoch=entry.epoch + 1, updated_at=now, lease_until=now + lease_s)
            for entry in entries
        ]

    def renew(self, job_ids: frozenset[str], owner: str, lease_until: float) -> frozenset[str]:
        """Set a lease, and give the ids that its owner does not hold."""
        self._flush()
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
            self._flush()
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
            Status(state): number for state, number in self._read("SELECT state, COUNT(*) FROM entries GROUP BY state")
        }

    def page(self, after: int, state: Status | None) -> tuple[int, list[Entry]]:
        """Give the entries after a line, and the line to go on from."""
        rows = self._read(
            f"{_READ} WHERE e.id > ? AND (? IS NULL OR e.state = ?) ORDER BY e.id LIMIT ?",
            (after, state, state, _PAGE),
        ).fetchall()
        return (rows[-1][0] if rows else after), [_entry_of(row) for row in rows]

    def newest(self, host: str, limit: int, before: int | None, state: Status | None) -> list[tuple[int, Entry]]:
        """Give entries of a host, the last recorded first, each with its line."""
        rows = self._read(
            f"{_READ} WHERE e.host = ? AND (? IS NULL OR e.id < ?) AND (? IS NULL OR e.state = ?) "
            "ORDER BY e.id DESC LIMIT ?",
            (host, before, before, state, state, limit),
        ).fetchall()
        return [(row[0], _entry_of(row)) for row in rows]

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

    def _set_lease(self, owner: str, until: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (owner, until, _small_seal(owner, until)))

    def bury(self, owner: str, has_ended: Callable[[str], bool]) -> None:
        """End the leases of other owners that run no more."""
        others = [name for (name,) in self._read("SELECT owner FROM leases WHERE owner != ?", (owner,))]
        ended = [(name,) for name in others if has_ended(name)]
        self._db.executemany("DELETE FROM leases WHERE owner = ?", ended)

    def _forget_old_leases(self, now: float) -> None:
        self._flush()
        self._db.execute("DELETE FROM leases WHERE lease_until <= ?", (now,))


# Each brings a file one version further. A release never changes one that was released.
_MIGRATIONS: tuple[Callable[[Store], None], ...] = (Store.make_tables, Store.reopen_unresolved)
VERSION = len(_MIGRATIONS)


def translated(error: Exception) -> JournalError:
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
        raise translated(error) from None
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
