"""journal_sqlite.py: what is on the disk, what is refused, and what survives kills, cuts and flipped bits.

What every journal promises is in test_journal.py, for this one as well.
"""

import asyncio
import logging
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from journal_torture import (
    Made,
    copy_after_each_commit,
    cut_files,
    cut_logs,
    flip_bits,
    lose_pages,
    make,
    reopened,
)

from kling_async import journal_sqlite, journal_store
from kling_async.errors import ConfigError, JournalCorrupt, JournalError, JournalLocked, LeaseLost
from kling_async.journal import Entry, Insert, Update
from kling_async.journal_sqlite import SqliteJournal
from kling_async.journal_store import Store, read_mounts
from kling_async.models import Status

NOW = 1_790_000_000.25
HOST = "https://api.example"
KILLS = int(os.environ.get("KLING_KILLS", "20"))
FLIPS = 1_000  # `journal_torture.py --all` does 10,000


def entry(job_id: str = "j1", **more: Any) -> Entry:
    fields: dict[str, Any] = {"endpoint": "text2video", "host": HOST, "created_at": NOW, "owner": "one", "epoch": 1}
    return Entry(job_id=job_id, **{**fields, **more})


def journal_at(file: Path, owner: str = "one", **more: Any) -> SqliteJournal:
    return SqliteJournal(file, wall=lambda: NOW, owner=owner, **more)


@asynccontextmanager
async def opened(file: Path, owner: str = "one", **more: Any) -> AsyncIterator[SqliteJournal]:
    journal = journal_at(file, owner, **more)
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of files are made and thrown away."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


async def refusal(file: Path, **more: Any) -> JournalError:
    """Give the error with which a file is refused."""
    with pytest.raises(JournalError) as caught:
        await journal_at(file, **more).open()
    return caught.value


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.realtime
async def test_only_its_owner_can_read_the_file_and_its_companions(file: Path) -> None:
    async with opened(file) as journal:
        await journal.add(entry())
        files = sorted(file.parent.iterdir())
        assert [each.name for each in files] == ["journal.db", "journal.db-shm", "journal.db-wal"]
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    file.chmod(0o644)
    async with opened(file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.realtime
async def test_every_commit_reaches_the_disk_before_it_is_told(file: Path) -> None:
    async with opened(file) as journal:
        store = journal._store
        assert store is not None
        told: list[Any] = []

        def look() -> None:
            names = ("synchronous", "journal_mode", "busy_timeout", "application_id", "user_version")
            told.extend(store._value(f"PRAGMA {name}") for name in names)

        await journal._in_thread(asyncio.get_running_loop(), look)
        assert told == [2, "wal", 5000, 0x4B4C4E47, 2]


async def test_the_home_folder_is_found_and_a_folder_is_not_made(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with opened(Path("~/a.db")):
        assert (tmp_path / "a.db").is_file()
    assert "does not exist" in str(await refusal(tmp_path / "no" / "a.db"))
    assert "is not a file" in str(await refusal(tmp_path))
    assert "cannot be used" in str(await refusal(tmp_path / ("n" * 300)))
    (tmp_path / "loop").symlink_to("loop")
    assert isinstance(await refusal(tmp_path / "loop"), JournalError)


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/export {folder} nfs4 rw,vers=4.2 0 0
short

"""


async def test_network_file_systems_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    escaped = str(folder).replace(" ", "\\040")
    error = await refusal(folder / "j.db", mounts=lambda: MOUNTS.format(folder=escaped))
    assert "network file system (nfs4)" in str(error)
    assert list(folder.iterdir()) == []
    async with opened(tmp_path / "j.db", mounts=lambda: MOUNTS.format(folder=escaped)):
        pass
    covered = MOUNTS.format(folder=escaped) + f"tmpfs {escaped} tmpfs rw 0 0\n"
    async with opened(folder / "j.db", mounts=lambda: covered):
        pass
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert "nfs4" in str(await refusal(link / "j.db", mounts=lambda: MOUNTS.format(folder=escaped)))


def test_a_system_without_a_table_of_mounts_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert " / " in read_mounts() or sys.platform != "linux"
    monkeypatch.setattr(journal_store, "Path", lambda name: Path("/no/such/file"))
    assert read_mounts() == ""


def usual_arguments() -> dict[str, Any]:
    return Store.__init__.__kwdefaults__ or {}


def with_pragma(file: Path, statement: str) -> None:
    db = sqlite3.connect(file)
    db.executescript(statement)
    db.close()


@pytest.mark.parametrize(
    ("statement", "words", "corrupt"),
    [
        ("PRAGMA user_version=3", "version 3; this release of kling_async knows 2: upgrade it", False),
        ("PRAGMA user_version=0", "is not a journal", True),
        ("PRAGMA application_id=7", "is not a journal", True),
        ("DROP INDEX unsettled", "its tables are not those of a journal", True),
        ("CREATE TABLE more (a)", "its tables are not those of a journal", True),
        ("UPDATE entries SET attempt = 5", "record 1 of the journal is damaged", True),
        ("UPDATE entries SET epoch = x'00'", "record 1 of the journal is damaged", True),
        ("UPDATE bodies SET body = '{}'", "record 1 of the journal is damaged", True),
        ("DELETE FROM bodies", "record 1 of the journal is damaged", True),
        ("DELETE FROM outcomes", "record 1 of the journal is damaged", True),
        ("UPDATE leases SET lease_until = 1", "record 1 of the journal is damaged", True),
        ("UPDATE facts SET at = 1", "record 1 of the journal is damaged", True),
        ("UPDATE entries SET job_id = CAST(x'ff' AS TEXT)", "damaged", True),
    ],
)
async def test_what_cannot_be_trusted_is_refused(file: Path, statement: str, words: str, corrupt: bool) -> None:
    async with opened(file) as journal:
        await journal.add(entry(outcome={"a": 1}, lease_until=NOW + 60))
        await journal.learn("fact", 1)
    with_pragma(file, statement)
    error = await refusal(file)
    assert words in str(error)
    assert isinstance(error, JournalCorrupt) is corrupt
    assert getattr(error, "line", None) == (1 if "record 1" in words else None)


async def test_other_files_are_refused_and_left_alone(file: Path) -> None:
    file.write_bytes(b"to be or not to be " * 500)
    before = file.read_bytes()
    assert isinstance(await refusal(file), JournalCorrupt)
    assert file.read_bytes() == before
    file.unlink()
    with_pragma(file, "CREATE TABLE mine (a)")
    assert "is not a journal" in str(await refusal(file))


async def test_an_empty_file_is_a_new_journal_unless_a_log_is_left(file: Path) -> None:
    file.touch()
    async with opened(file) as journal:
        await journal.add(entry())
    file.write_bytes(b"")
    file.with_name("journal.db-wal").write_bytes(b"left")
    assert "there is a log beside it" in str(await refusal(file))


async def test_large_files_are_checked_record_by_record_as_they_are_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(file) as journal:
        await journal.add(entry("a"))
        await journal.add(entry("b", owner=None))
        await journal.learn("fact", 1)
    with_pragma(file, "UPDATE entries SET attempt = 5 WHERE id = 2; UPDATE facts SET value = '2'")
    store = Store(file, mounts=str, check_bytes=0)
    store.close()
    monkeypatch.setattr(Store.__init__, "__kwdefaults__", {**usual_arguments(), "check_bytes": 0})
    async with opened(file) as journal:
        found = await journal.find("a")
        assert found is not None
        for call in (journal.find("b"), journal.claim(HOST, 9, 60), journal.learned("fact")):
            with pytest.raises(JournalCorrupt):
                await call
        with pytest.raises(JournalCorrupt) as caught:
            await journal.write(Update("b", "one", 1, {"attempt": 6}))
        assert caught.value.line == 2
        await journal.write(found.change(attempt=1))


async def test_a_file_system_without_a_log_is_refused(file: Path) -> None:
    class NoLog(sqlite3.Connection):
        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            return super().execute(statement.replace("journal_mode=WAL", "journal_mode=DELETE"), *arguments)

    with pytest.raises(JournalError, match="cannot hold a journal"):
        Store(file, mounts=str, connect=lambda *a, **k: sqlite3.connect(*a, factory=NoLog, **k))


def test_a_file_that_cannot_be_opened_is_named(file: Path) -> None:
    def connect(*_arguments: object, **_options: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    with pytest.raises(JournalError, match="cannot be used: unable to open"):
        Store(file, mounts=str, connect=connect)


def test_damage_that_only_a_whole_check_sees_is_seen(file: Path) -> None:
    class Damaged(sqlite3.Connection):
        def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
            return super().execute(statement.replace("PRAGMA integrity_check(1)", "SELECT 'bad'"), *arguments)

    with pytest.raises(JournalCorrupt, match="is damaged: restore it"):
        Store(file, mounts=str, connect=lambda *a, **k: sqlite3.connect(*a, factory=Damaged, **k))


# --- trouble while it is open ----------------------------------------------------------------------------------------


class Faulty(sqlite3.Connection):
    """A connection that fails where it is told to, with an error of SQLite's own."""

    fail_on = ""
    code: int | None = sqlite3.SQLITE_IOERR

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        self._fail(statement)
        return super().execute(statement, *arguments)

    def executemany(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        self._fail(statement)
        return super().executemany(statement, *arguments)

    def _fail(self, statement: str) -> None:
        if self.fail_on and statement.startswith(self.fail_on):
            error = sqlite3.OperationalError("disk I/O error")
            if self.code is not None:
                error.sqlite_errorcode = self.code
            raise error


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Faulty]]:
    connect = sqlite3.connect
    defaults = {**usual_arguments(), "connect": lambda *a, **k: connect(*a, factory=Faulty, **k)}
    monkeypatch.setattr(Store.__init__, "__kwdefaults__", defaults)
    yield Faulty
    Faulty.fail_on, Faulty.code = "", sqlite3.SQLITE_IOERR


@pytest.mark.realtime
@pytest.mark.parametrize("place", ["BEGIN", "INSERT INTO entries", "COMMIT"])
async def test_trouble_is_told_to_every_change_of_the_commit_and_passes(
    file: Path, faulty: type[Faulty], place: str
) -> None:
    async with opened(file) as journal:
        await journal.add(entry("before"))
        faulty.fail_on = place
        told: list[JournalError | None] = []
        journal.put(entry("before").change(attempt=7), told.append)
        journal.put(Insert(entry("a")), told.append)
        with pytest.raises(JournalError, match="disk I/O error") as caught:
            await journal.write(entry("a").change(attempt=1))
        assert caught.value.retryable
        assert [type(error) for error in told] == [JournalError, JournalError]
        assert told[0] is not told[1]
        faulty.fail_on = ""
        found = await journal.find("before")
        assert found is not None
        assert found.attempt == 0
        assert await journal.find("a") is None
        await journal.write(entry("before").change(task_id="t"))
        found = await journal.find("before")
        assert found is not None
        assert (found.attempt, found.task_id) == (0, "t")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, JournalLocked),
        (sqlite3.SQLITE_BUSY | 2 << 8, JournalLocked),
        (sqlite3.SQLITE_CORRUPT, JournalCorrupt),
        (sqlite3.SQLITE_FULL, JournalError),
        (None, JournalError),
    ],
)
async def test_trouble_has_a_name(file: Path, faulty: type[Faulty], code: int | None, kind: type[JournalError]) -> None:
    async with opened(file) as journal:
        faulty.fail_on, faulty.code = "BEGIN", code
        with pytest.raises(JournalError) as caught:
            await journal.add(entry())
        assert type(caught.value) is kind


@pytest.mark.fault("F42")
async def test_a_full_disk_passes(file: Path) -> None:
    async with opened(file) as journal:
        store = journal._store
        assert store is not None
        pages = store._value("PRAGMA page_count")
        store._db.execute(f"PRAGMA max_page_count={pages}")
        big = entry("big", request={"prompt": "x" * 100_000})
        with pytest.raises(JournalError, match="full"):
            await journal.add(big)
        store._db.execute("PRAGMA max_page_count=1000000")
        assert await journal.add(big) is None
        assert await journal.counts() == {Status.QUEUED: 1}


async def test_a_bug_reaches_whoever_waits(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise KeyError("oops")

    async with opened(file) as journal:
        monkeypatch.setattr(Store, "find", broken)
        with pytest.raises(JournalError, match=r"a bug in writing the journal.*KeyError"):
            await journal.find("j")
        monkeypatch.undo()
        assert await journal.find("j") is None


@pytest.mark.parametrize("change", ["delete", "replace", "delete log"])
async def test_a_file_that_is_gone_is_noticed(file: Path, change: str) -> None:
    async with opened(file) as journal:
        await journal.add(entry())
        if change == "delete log":
            file.with_name("journal.db-wal").unlink()
        else:
            moved = file.rename(file.with_name("moved"))
        if change == "replace":
            shutil.copy(moved, file)
        for call in (journal.renew(["j1"], 60), journal.write(entry().change(attempt=1)), journal.add(entry("j2"))):
            with pytest.raises(JournalError, match="deleted or replaced"):
                await call
        if change != "delete log":
            moved.rename(file)
            assert await journal.renew(["j1"], 60) == frozenset()


@pytest.mark.fault("F50")
async def test_another_process_after_a_fork_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(file) as journal:
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: 1)
            with pytest.raises(JournalError, match="forked"):
                journal.put(Insert(entry()))
            with pytest.raises(JournalError, match="forked"):
                await journal.find("j")
        await journal.add(entry())


async def test_it_is_opened_once_at_a_time(file: Path) -> None:
    async with opened(file) as journal:
        with pytest.raises(JournalError, match="open already"):
            await journal.open()


async def test_what_cannot_be_written_is_refused_before_it_is_queued(file: Path) -> None:
    async with opened(file) as journal:
        with pytest.raises(ConfigError, match="job j1 cannot be recorded"):
            journal.put(Insert(entry(metadata={"a": {1}})))
        with pytest.raises(ConfigError, match="the outcome of job j1"):
            journal.put(entry().change(outcome=b""))
        with pytest.raises(ConfigError, match="the outcome of job j1"):
            await journal.add(entry(outcome=b""))
        with pytest.raises(ConfigError, match="surrogate"):
            await journal.add(entry("\ud800"))
        with pytest.raises(ConfigError, match="surrogate"):
            journal.put(entry().change(task_id="\ud800"))
        with pytest.raises(ConfigError, match="fact 'x'"):
            await journal.learn("x", b"")
        assert await journal.counts() == {}


# --- the thread ------------------------------------------------------------------------------------------------------


@pytest.mark.realtime
async def test_changes_of_one_turn_share_a_commit_and_callbacks_take_turns(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    commit = Store.commit

    def counted(self: Store, works: Any) -> list[object]:
        sizes.append(len(works))
        return commit(self, works)

    monkeypatch.setattr(Store, "commit", counted)
    turns: list[int] = []
    order: list[int] = []
    async with opened(file) as journal:
        loop = asyncio.get_running_loop()
        turn = 0

        def count_turn() -> None:
            nonlocal turn
            turn += 1
            if len(order) < 1000:
                loop.call_soon(count_turn)

        def note(number: int) -> Callable[[JournalError | None], None]:
            def told(_error: object) -> None:
                order.append(number)
                turns.append(turn)

            return told

        for number in range(1000):
            journal.put(Insert(entry(f"j{number}")), note(number))
        loop.call_soon(count_turn)
        await journal.renew([], 60)
    assert sizes == [1001]
    assert order == list(range(1000))
    assert max(turns.count(each) for each in turns) == 256


@pytest.mark.realtime
async def test_large_commits_leave_others_their_turn(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_sqlite, "_TOGETHER", 10)
    async with opened(file) as journal:
        for number in range(95):
            journal.put(Insert(entry(f"j{number}")))
        assert "95 waiting" in repr(journal)
        assert await journal.counts() == {Status.QUEUED: 95}


@pytest.mark.realtime
async def test_what_is_put_while_the_thread_ends_is_written(file: Path) -> None:
    """The thread has looked for the last time, and the loop does not know it yet."""
    async with opened(file) as journal:
        await journal.add(entry("a"))
        journal._busy = True
        journal.put(Insert(entry("b")))
        journal._rest(None)
        assert await journal.counts() == {Status.QUEUED: 2}


@pytest.mark.realtime
async def test_a_failing_callback_does_not_keep_the_others_from_theirs(file: Path) -> None:
    reports: list[dict[str, Any]] = []
    told: list[object] = []
    loop = asyncio.get_running_loop()
    usual = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: reports.append(context))
    async with opened(file) as journal:
        journal.put(Insert(entry("a")), lambda error: dict[object, None]()[error])
        journal.put(Insert(entry("b")), told.append)
        await journal.find("b")
    loop.set_exception_handler(usual)
    assert told == [None]
    assert [type(report["exception"]) for report in reports] == [KeyError]


@pytest.mark.realtime
async def test_a_cancelled_waiter_hurts_nobody(file: Path) -> None:
    async with opened(file) as journal:
        waiters = [asyncio.ensure_future(journal.write(Insert(entry(f"j{number}")))) for number in range(3)]
        await asyncio.sleep(0)
        waiters[1].cancel()
        done = await asyncio.gather(*waiters, return_exceptions=True)
        assert [type(each) for each in done] == [type(None), asyncio.CancelledError, type(None)]
        assert await journal.counts() == {Status.QUEUED: 3}


@pytest.mark.realtime
async def test_an_opening_that_is_cancelled_leaves_nothing_open(file: Path) -> None:
    threads = threading.active_count()
    journal = journal_at(file)
    opening = asyncio.ensure_future(journal.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with opened(file, "two"):  # its own thread comes after; and the log is gone once nobody has it open
        pass
    assert journal._writer is not None
    journal._writer.shutdown(wait=True)
    assert journal._store is None
    assert threading.active_count() <= threads + 1
    assert not file.with_name("journal.db-wal").exists()


def test_a_loop_that_was_closed_is_left_in_peace(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was put is written, nobody is told, and nothing is raised or logged."""
    began, go = threading.Event(), threading.Event()
    told: list[object] = []
    journal = journal_at(file)

    async def leave() -> None:
        await journal.open()
        store = journal._store
        assert store is not None
        commit = store.commit

        def slow(works: Any) -> list[object]:
            began.set()
            go.wait(10)
            return commit(works)

        store.commit = slow  # type: ignore[method-assign]
        journal.put(Insert(entry()), told.append)
        while not began.is_set():
            await asyncio.sleep(0)

    with caplog.at_level(logging.DEBUG):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave())
        loop.close()
        go.set()
        assert journal._writer is not None
        journal._writer.submit(journal._end)
        journal._writer.shutdown(wait=True)
    assert [record for record in caplog.records if record.name != "asyncio"] == []
    assert told == []
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT job_id FROM entries").fetchall() == [("j1",)]
    db.close()


async def test_a_long_log_is_brought_into_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_store, "_LOG_BYTES", 100_000)
    log = file.with_name("journal.db-wal")
    async with opened(file) as journal:
        sizes = []
        for number in range(100):
            await journal.add(entry(f"j{number}", request={"prompt": "x" * 5_000}))
            sizes.append(log.stat().st_size)
        assert max(sizes) < 150_000
        assert min(sizes[10:]) == 0
        reader = sqlite3.connect(file, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM entries").fetchall()
        for number in range(100, 150):  # somebody reads: the log grows, and nobody waits
            await journal.add(entry(f"j{number}", request={"prompt": "x" * 5_000}))
        assert log.stat().st_size > 150_000
        reader.close()
        await journal.add(entry("last"))
        assert log.stat().st_size == 0
        store = journal._store
        assert store is not None
        assert store._value("PRAGMA busy_timeout") == 5000


async def test_the_index_finds_open_jobs_among_many(file: Path) -> None:
    async with opened(file) as journal:
        store = journal._store
        assert store is not None
        which = f"e.host = 'h' AND e.settled = 0 AND {journal_store._FREE}"
        for statement in (
            f"{journal_store._READ} WHERE {which} ORDER BY e.created_at, e.job_id LIMIT 5",
            "SELECT job_id FROM entries WHERE settled = 0 AND owner = 'o'",
        ):
            plan = " ".join(row[3] for row in store._db.execute(f"EXPLAIN QUERY PLAN {statement}"))
            assert "unsettled" in plan, plan


async def test_a_poll_writes_no_row_and_a_renewal_one(file: Path) -> None:
    async with opened(file) as journal:
        for number in range(500):
            journal.put(Insert(entry(f"j{number}")))
        await journal.counts()
        store = journal._store
        assert store is not None
        before = store._db.total_changes
        await journal.renew([f"j{number}" for number in range(500)], 60)
        assert store._db.total_changes - before == 1
        await journal.find("j1")
        assert store._db.total_changes - before == 1


async def test_what_another_session_did_meanwhile_is_seen(file: Path) -> None:
    """What this one remembers of the file is stale then; the rest of the commit is not hurt by it."""
    now = NOW
    one, two = (SqliteJournal(file, wall=lambda: now, owner=name) for name in ("one", "two"))
    await one.open()
    await two.open()
    for name in ("a", "b"):
        await one.add(entry(name, lease_until=NOW + 10))
    now += 10
    assert [each.job_id for each in await two.claim(HOST, 1, 60)] == ["a"]
    await two.add(entry("taken", owner="two"))
    told: list[tuple[str | None, str]] = []

    def note(error: JournalError | None) -> None:
        told.append(("", "fine") if error is None else (error.job_id, type(error).__name__))

    for change in (
        entry("b").change(attempt=1),
        entry("a").change(attempt=1),
        Insert(entry("c")),
        entry("c").change(attempt=2),
        Insert(entry("taken")),
        entry("b").change(state="failed", outcome={"why": 1}),
        Insert(entry("b")),
        entry("b").change(outcome=None),
    ):
        one.put(change, note)
    assert await one.add(entry("taken")) == await two.find("taken")
    assert told == [
        *(("", "fine"), ("a", "LeaseLost"), ("", "fine"), ("", "fine")),
        *(("taken", "JournalError"), ("", "fine"), ("b", "JournalError"), ("", "fine")),
    ]
    found = {each.job_id: (each.owner, each.state, each.attempt, each.outcome) async for each in two.entries()}
    assert found == {
        "a": ("two", Status.QUEUED, 0, None),
        "b": ("one", Status.FAILED, 1, None),
        "taken": ("two", Status.QUEUED, 0, None),
        "c": ("one", Status.QUEUED, 2, None),
    }
    await one.close()
    await two.close()


async def test_many_rows_go_into_few_statements_also_where_sqlite_takes_few_values(file: Path) -> None:
    async with opened(file) as journal:
        store = journal._store
        assert store is not None
        statements: list[str] = []
        for most, prefix in ((store._most_values, "a"), (999, "b")):
            store._most_values = most
            store._db.set_trace_callback(statements.append)
            for number in range(600):
                journal.put(Insert(entry(f"{prefix}{number}", outcome={"n": number})))
            assert (await journal.counts())[Status.QUEUED] == 600 * (1 if prefix == "a" else 2)
            store._db.set_trace_callback(None)
            inserts = [each for each in statements if each.startswith("INSERT INTO entries")]
            assert len(inserts) == (2 + 2 + 24 if prefix == "a" else 18 + 24)
            statements.clear()
        found = [each async for each in journal.entries()]
        assert [each.outcome for each in found] == [{"n": number} for number in range(600)] * 2


# --- files of earlier releases ---------------------------------------------------------------------------------------

JOURNALS = Path(__file__).parents[1] / "samples" / "journals"


def recorded(file: Path, name: str) -> None:
    """Make a journal as a release has left it: its tables and rows, as that release wrote them."""
    db = sqlite3.connect(file)
    db.executescript((JOURNALS / name).read_text(encoding="utf-8"))
    db.execute("PRAGMA journal_mode=WAL").fetchall()
    db.close()


async def test_a_journal_of_version_1_is_opened_and_finished(file: Path) -> None:
    recorded(file, "version-1.sql")
    async with opened(file, "two") as journal:
        before = {each.job_id: each async for each in journal.entries()}
        assert [each.state for each in before.values()] == [
            *("queued", "sending", "unsure", "accepted", "succeeded", "unresolved", "unresolved", "abandoned")
        ]
        assert {each.owner for each in before.values()} == {"first run"}
        assert await journal.claim(HOST, 9, 60) == []
        await journal.bury(lambda owner: owner == "first run")
        claimed = await journal.claim(HOST, 9, 60)
        assert [each.job_id for each in claimed] == ["queued", "sending", "unsure", "accepted", "lost"]
        assert [each.metadata["line"] for each in claimed] == [0, 1, 2, 3, 5]
        assert claimed[1].callback_url == "https://me.example/hook"
        assert (claimed[4].attempt, claimed[4].epoch) == (2, 2)
        for each in claimed:
            await journal.write(each.change(state="succeeded", outcome={"raw": {}}))
        await journal.release()
        assert await journal.claim(HOST, 9, 60) == []
        fact = await journal.learned(f"{HOST} reach")
        assert fact is not None
        assert fact.value == {"batch": True}
        assert await journal.find("done") == attrs.evolve(before["done"], lease_until=None)
    async with opened(file) as journal:  # the checks at opening find everything in order
        assert (await journal.counts())[Status.SUCCEEDED] == 6


async def test_a_migration_trusts_no_damaged_record(file: Path) -> None:
    recorded(file, "version-1.sql")
    with_pragma(file, "UPDATE entries SET attempt = 9 WHERE job_id = 'lost'")
    assert getattr(await refusal(file), "line", None) == 6
    with_pragma(file, "UPDATE entries SET attempt = 2 WHERE job_id = 'lost'")
    with_pragma(file, "DROP INDEX unsettled")
    assert "its tables are not those of a journal" in str(await refusal(file))
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()


# --- cuts, flips and kills -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    """A journal with a log of 64 KiB, and each state it went through."""
    with tempfile.TemporaryDirectory() as folder:
        yield make(Path(folder))


def test_a_log_that_is_whole_is_read_whole(memory: Path, made: Made) -> None:
    assert len(made.log) >= 65_536
    assert reopened(memory, made.empty, made.log) == reopened(memory, made.whole, None) == made.states[-1]
    assert reopened(memory, b"", None) == ()  # as if it had never been there


@pytest.mark.fault("F43")
def test_every_cut_of_the_log_gives_an_earlier_state(memory: Path, made: Made) -> None:
    """Near every border of a frame and evenly in between; `journal_torture.py --all` takes every byte."""
    lengths = {*range(64), *range(len(made.log) - 30, len(made.log) + 1), *range(0, len(made.log), 211)}
    frame = 24 + 4096
    lengths |= {32 + at + more for at in range(0, len(made.log), frame) for more in (-1, 0, 1, 23, 24, 25)}
    seen = cut_logs(memory, made, sorted(lengths))
    assert set(seen) == set(range(len(made.states)))


@pytest.mark.fault("F43")
def test_every_cut_of_the_file_is_refused(memory: Path, made: Made) -> None:
    size = len(made.whole)
    assert cut_files(memory, made, sorted({*range(1, 600), *range(1, size, 211), *range(512, size, 512), size - 1}))


@pytest.mark.fault("F43")
def test_flipped_bits_give_an_earlier_state_or_a_refusal(memory: Path, made: Made) -> None:
    seen = flip_bits(memory, made, FLIPS, random.Random(7))
    assert {"log: an earlier state", "file: refused", "file below log: whole"} <= seen.keys()


@pytest.mark.fault("F43")
def test_what_was_acknowledged_outlives_a_loss_of_power(memory: Path, made: Made) -> None:
    seen = lose_pages(memory, made, 300, random.Random(7))
    assert seen == {"in a commit": 150, "in a checkpoint": 150}


async def test_a_copy_holds_what_was_acknowledged(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_store, "_LOG_BYTES", 100_000)  # so that some copies are made after a checkpoint
    assert await copy_after_each_commit(memory, 60) == 60


WRITER = f"""
import asyncio, sys, types
package = sys.modules["kling_async"] = types.ModuleType("kling_async")  # a third of a second for what is not used
package.__path__ = [{str(Path(journal_sqlite.__file__).parent)!r}]
from kling_async.journal import Entry, Insert
from kling_async.journal_sqlite import SqliteJournal

async def main():
    journal = SqliteJournal(sys.argv[1], wall=lambda: 1790000000.0, owner=sys.argv[2])
    await journal.open()

    async def job(name):
        entry = Entry(job_id=name, endpoint="e", host="h", created_at=1.0, owner=journal.owner, epoch=1,
                      request=dict(prompt="x" * 300))
        await journal.write(Insert(entry))
        print(name, 0, flush=True)
        for attempt in range(1, 50):
            await journal.write(entry.change(attempt=attempt))
            print(name, attempt, flush=True)

    await asyncio.gather(*(job(sys.argv[2] + "-" + str(number)) for number in range(20)))

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.realtime
async def test_a_killed_process_loses_nothing_that_was_acknowledged(file: Path) -> None:
    rng = random.Random(5)
    attempts: dict[str, int] = {}
    for number in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(file), f"w{number}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:  # noqa: ASYNC220
            assert writer.stdout is not None
            left = rng.randrange(400)
            for line in writer.stdout:
                name, attempt = line.split() if line.endswith("\n") else ("", "")
                if name:
                    attempts[name] = int(attempt)
                left -= 1
                if left == 0:
                    writer.send_signal(signal.SIGKILL)
        assert writer.returncode in (0, -signal.SIGKILL)
    async with opened(file) as journal:
        found = {each.job_id: each.attempt async for each in journal.entries()}
    assert attempts
    assert {name for name, attempt in attempts.items() if found.get(name, -1) < attempt} == set()


@pytest.mark.fault("F44")
async def test_two_processes_share_a_file(file: Path) -> None:
    script = WRITER.replace("range(1, 50)", "range(1, 5)")
    commands = [[sys.executable, "-c", script, str(file), name] for name in ("x", "y")]
    writers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]  # noqa: ASYNC220
    assert [writer.wait(30) for writer in writers] == [0, 0]
    async with opened(file) as journal:
        assert await journal.counts() == {Status.QUEUED: 40}


@pytest.mark.realtime
async def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    for number in range(8):
        journals = [journal_at(tmp_path / f"{number}.db", f"o{each}") for each in range(6)]
        await asyncio.gather(*(journal.open() for journal in journals))
        await asyncio.gather(*(journal.add(entry(journal.owner)) for journal in journals))
        assert await journals[0].counts() == {Status.QUEUED: 6}
        await asyncio.gather(*(journal.close() for journal in journals))


@pytest.mark.realtime
async def test_two_instances_never_hold_the_same_job(file: Path) -> None:
    async with opened(file, "one") as one, opened(file, "two") as two:
        for number in range(500):
            one.put(Insert(entry(f"j{number}", owner=None, epoch=0)))
        await one.counts()

        async def take_all(journal: SqliteJournal) -> list[Entry]:
            taken: list[Entry] = []
            while got := await journal.claim(HOST, 7, 60):
                taken += got
            return taken

        mine, yours = await asyncio.gather(take_all(one), take_all(two))
        assert len(mine) + len(yours) == 500
        assert not {each.job_id for each in mine} & {each.job_id for each in yours}
        assert {each.epoch for each in mine + yours} == {1}
        # What an instance remembers of an entry is worth nothing once another has taken it over.
        await two.release([yours[0].job_id] if yours else [])
        await one.release([each.job_id for each in mine])
        await two.claim(HOST, 500, 60)
        for each in mine[:3]:
            with pytest.raises(LeaseLost):
                await one.write(each.change(attempt=9))


async def test_secrets_have_no_place_in_it(file: Path) -> None:
    """Nothing but what an entry names is written; no entry names credentials."""
    columns: set[str] = set()
    async with opened(file) as journal:
        store = journal._store
        assert store is not None
        for table in ("entries", "bodies", "outcomes", "leases", "facts"):
            columns |= {row[1] for row in store._db.execute(f"PRAGMA table_info({table})")}
    words = ("secret", "token", "api_key", "password", "authorization")
    assert not {column for column in columns for word in words if word in column}


def test_a_name_in_the_file_that_is_no_text_is_damage() -> None:
    """What sqlite3 raises when it cannot even tell what is wrong is not a bug of ours to be reported."""
    told = journal_store.translated(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"))
    assert isinstance(told, JournalCorrupt)
    assert "no text" in str(told)
