"""What is known of the jobs of a folder: from its manifest, and from its journal, which knows better.

Stage: door. Before: bulk. After: reading, manifest. It lies in a temporary database, of which little is in memory, so
that a folder of a million jobs costs no more of it than one of ten.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from ..journal import Entry as Recorded
from ..models import Status
from .manifest import Line, lines_of

_UNPAID = frozenset({Status.FAILED, Status.REJECTED})
_CACHE_KIB = 1024
# Refusals that say nothing about the job: the account, the key or the host had trouble.
_NOT_ITS_FAULT = frozenset(
    {"AuthError", "AccountError", "ConnectFailed", "Throttled", "SlotsFull", "ServerFault", "JournalError"}
)


@attrs.frozen(kw_only=True)
class Known:
    """What is known of one job.

    Attributes:
        state: where it stands, a word of Status; of a call that makes no task "succeeded" or "failed".
        at: where its last line of the manifest begins, bytes; None: it has none.
        is_recorded: the journal has it.
        is_unpaid: it failed or was refused, and nothing was paid.
        is_barred: likewise, for a reason that is not its own.
    """

    state: str
    at: int | None
    is_recorded: bool
    is_unpaid: bool
    is_barred: bool

    @property
    def is_open(self) -> bool:
        """Whether it may go on."""
        return self.state not in _FINAL


def _is_barred(line: Line) -> bool:
    return line.status == Status.REJECTED and line.paid == "no" and line.error_type in _NOT_ITS_FAULT


_FINAL = frozenset(str(status) for status in Status if status.is_final)


class Ledger:
    """Jobs by their ids, and how often a key was counted.

    Args:
        folder: whose jobs are counted for the price.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file = sqlite3.connect("", isolation_level=None)  # a temporary file, gone when it is closed
        self._file.executescript(
            f"""
            PRAGMA cache_size = -{_CACHE_KIB};
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            CREATE TABLE jobs (
                id TEXT PRIMARY KEY, state TEXT, at INTEGER,
                recorded INTEGER, unpaid INTEGER, barred INTEGER, price TEXT
            ) WITHOUT ROWID;
            CREATE TABLE keys (key TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
            CREATE TABLE wrong (key TEXT PRIMARY KEY) WITHOUT ROWID;
            """
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    # --- filling ---------------------------------------------------------------------------------------------------

    def read_manifest(self, file: Path) -> None:
        """Take what a manifest tells; the last line of a job counts."""
        self._file.execute("BEGIN")
        for at, line in lines_of(file):
            if line.id is None:
                self._file.execute("INSERT OR IGNORE INTO wrong VALUES (?)", (line.key,))
                continue
            is_unpaid = line.status in _UNPAID and line.paid == "no"
            self._file.execute(
                "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, 0, ?, ?, ?)",
                (line.id, line.status, at, is_unpaid, _is_barred(line), None if is_unpaid else line.price),
            )
        self._file.execute("COMMIT")

    def read_entry(self, entry: Recorded) -> bool:
        """Take what a journal tells of one job; False: it is not of this folder."""
        if entry.metadata.get("bulk") != self._folder:
            return False
        outcome: Mapping[str, Any] = entry.outcome if isinstance(entry.outcome, Mapping) else {}
        carried = outcome.get("with")
        paid = carried.get("paid", "no") if isinstance(carried, Mapping) else "no"
        is_unpaid = entry.state in _UNPAID and paid == "no"
        told = entry.metadata.get("usd")
        price = told if isinstance(told, str) and not is_unpaid else None
        is_barred = entry.state is Status.REJECTED and is_unpaid and outcome.get("error") in _NOT_ITS_FAULT
        self._file.execute(
            "INSERT INTO jobs VALUES (?, ?, NULL, 1, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state, "
            "recorded = 1, unpaid = excluded.unpaid, barred = excluded.barred, price = excluded.price",
            (entry.job_id, str(entry.state), is_unpaid, is_barred, price),
        )
        return True

    # --- asking ----------------------------------------------------------------------------------------------------

    def find(self, job_id: str) -> Known | None:
        """Give what is known of a job."""
        asked = "SELECT state, at, recorded, unpaid, barred FROM jobs WHERE id = ?"
        row = self._file.execute(asked, (job_id,)).fetchone()
        if row is None:
            return None
        state, at, *is_so = row
        is_recorded, is_unpaid, is_barred = map(bool, is_so)
        return Known(state=state, at=at, is_recorded=is_recorded, is_unpaid=is_unpaid, is_barred=is_barred)

    def is_told(self, key: str) -> bool:
        """Tell whether the manifest has this wrong row already."""
        return self._file.execute("SELECT 1 FROM wrong WHERE key = ?", (key,)).fetchone() is not None

    def count(self, key: str) -> int:
        """Tell how often a key was given before, and count it."""
        row = self._file.execute(
            "INSERT INTO keys VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET number = number + 1 RETURNING number",
            (key,),
        ).fetchone()
        return int(row[0]) - 1

    def forget_counts(self) -> None:
        """Begin another pass over the rows."""
        self._file.execute("DELETE FROM keys")

    def price(self) -> Decimal:
        """Add up the estimates of all jobs that were or may yet be paid for, USD."""
        rows = self._file.execute("SELECT price FROM jobs WHERE price IS NOT NULL")
        return sum((Decimal(row[0]) for row in rows), Decimal(0))

    @property
    def number(self) -> int:
        """Number of jobs known."""
        return int(self._file.execute("SELECT count(*) FROM jobs").fetchone()[0])
