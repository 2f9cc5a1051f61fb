"""What a journal tells without a session, and the journal's file opened only to be read."""

import os
import sqlite3
from pathlib import Path

import pytest

from kling_async import JournalCorrupt, JournalError, Status, find_host
from kling_async.journal import Entry, Journal
from kling_async.journal_sqlite import SqliteJournal
from kling_async.owners import name_owner
from kling_async.reading import holder_of, moment, move_aside, plain_entry, reading, result_of, to_line

NOW = 1_790_000_000.0
RAW = {
    "task_id": "t",
    "task_status": "succeed",
    "task_result": {"videos": [{"id": "v", "url": "https://a.test/x.mp4"}]},
}


def wall() -> float:
    return NOW


def entry(job_id: str = "one", **fields: object) -> Entry:
    kept = {"job_id": job_id, "endpoint": "text2video", "host": "https://a.example", "created_at": NOW}
    return Entry(**{**kept, **fields})  # type: ignore[arg-type]


async def all_in(journal: Journal) -> list[str]:
    return [found.job_id async for found in journal.entries()]


# --- only to be read -----------------------------------------------------------------------------------------------


async def test_a_reader_beside_a_writer(tmp_path: Path) -> None:
    """It sees what is committed, also later, takes nothing, and the writer does not notice it come and go."""
    file = tmp_path / "j.db"
    writer = SqliteJournal(file, wall=wall, owner="writer")
    await writer.open()
    await writer.add(entry("one", owner="writer", lease_until=NOW + 60))
    async with reading(file, wall=wall) as journal:
        assert await all_in(journal) == ["one"]
        await writer.add(entry("two"))
        assert await all_in(journal) == ["one", "two"]
        assert dict(await journal.counts()) == {Status.QUEUED: 2}
        found = await journal.find("one")
        assert found is not None
        assert (found.owner, found.epoch, found.lease_until) == ("writer", 0, NOW + 60)
    await writer.write(found.change(state=Status.UNSURE))
    await writer.close()


async def test_a_reader_opens_first_and_closes_last(tmp_path: Path) -> None:
    """Sessions come and go beside it, with their log; it goes on reading."""
    file = tmp_path / "j.db"
    for name in ("one", "two"):
        writer = SqliteJournal(file, wall=wall, owner=name)
        await writer.open()
        await writer.add(entry(name))
        await writer.close()
    async with reading(file, wall=wall) as journal:
        assert await all_in(journal) == ["one", "two"]
        async with reading(file, wall=wall) as other:
            assert await all_in(other) == ["one", "two"]
        writer = SqliteJournal(file, wall=wall, owner="three")
        await writer.open()
        await writer.add(entry("three"))
        await writer.close()
        assert await all_in(journal) == ["one", "two", "three"]
    again = SqliteJournal(file, wall=wall, owner="four")
    await again.open()
    assert await all_in(again) == ["one", "two", "three"]
    await again.close()


async def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    writer = SqliteJournal(file, wall=wall, owner="writer")
    await writer.open()
    await writer.add(entry())
    await writer.close()
    file.chmod(0o640)
    before = file.read_bytes()
    async with reading(file, wall=wall) as journal:
        with pytest.raises(JournalError, match="readonly"):
            await journal.add(entry("two"))
        with pytest.raises(JournalError, match="readonly"):
            await journal.claim("https://a.example", 10, 60.0)
        assert await all_in(journal) == ["one"]
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (before, 0o640)


async def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Not there, empty, something else, replaced while it is open: nothing is made or changed."""
    with pytest.raises(JournalError, match="no journal at"):
        async with reading(tmp_path / "none.db", wall=wall):
            raise AssertionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(JournalError, match="is empty"):
        async with reading(tmp_path / "empty.db", wall=wall):
            raise AssertionError
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE a (b)")
    other.close()
    with pytest.raises(JournalCorrupt, match="not a journal"):
        async with reading(tmp_path / "other.db", wall=wall):
            raise AssertionError
    for name in ("a.db", "b.db"):
        writer = SqliteJournal(tmp_path / name, wall=wall)
        await writer.open()
        await writer.close()
    async with reading(tmp_path / "a.db", wall=wall) as journal:
        (tmp_path / "b.db").replace(tmp_path / "a.db")
        with pytest.raises(JournalError, match="replaced"):
            await journal.counts()


async def test_odd_names_of_files(tmp_path: Path) -> None:
    file = tmp_path / "100% mine? #1 é.db"
    writer = SqliteJournal(file, wall=wall)
    await writer.open()
    await writer.add(entry())
    await writer.close()
    async with reading(file, wall=wall) as journal:
        assert await all_in(journal) == ["one"]


# --- what it tells -------------------------------------------------------------------------------------------------


def test_who_holds_a_job() -> None:
    """A process that runs, an owner of another kind, nobody: without an owner, lease, process, or open state."""
    mine = entry(owner=name_owner(), lease_until=NOW + 1)
    assert holder_of(mine, NOW) == f"process {os.getpid()} on {os.uname().nodename}"
    assert holder_of(mine, NOW + 1) is None
    assert holder_of(entry(owner="x", lease_until=NOW + 1), NOW) == "a session"
    assert holder_of(entry(owner="x", lease_until=NOW + 1, state=Status.FAILED), NOW) is None
    assert holder_of(entry(owner="x"), NOW) is None
    assert holder_of(entry(), NOW) is None
    place, _pid, started, unique = name_owner().split(" ")
    ended = f"{place} 99999999 {started} {unique}"
    assert holder_of(entry(owner=ended, lease_until=NOW + 1), NOW) is None
    elsewhere = entry(owner="far/boot 12 34 56", lease_until=NOW + 1)
    assert holder_of(elsewhere, NOW) == "process 12 on far"


def test_an_entry_as_plain_data() -> None:
    full = entry(
        request={"prompt": "a", "callback_url": "s", "options": {"callback_url": "s", "n": (1, 2)}},
        callback_url="s",
        metadata={"callback_url": "the caller's own"},
        outcome={"raw": [{"callback_url": "s"}]},
        sent_at=NOW + 0.0004,
        timeout_s=5,
    )
    plain = plain_entry(full)
    assert "s" not in (plain["request"], plain["outcome"])
    assert plain["request"] == {"prompt": "a", "options": {"n": [1, 2]}}
    assert plain["outcome"] == {"raw": [{}]}
    assert plain["metadata"] == {"callback_url": "the caller's own"}
    assert (plain["created_at"], plain["sent_at"]) == ("2026-09-21T14:13:20.000Z", "2026-09-21T14:13:20.000Z")
    assert plain_entry(full, with_callbacks=True)["callback_url"] == "s"
    assert to_line(entry()).startswith('{"job_id":"one","endpoint":"text2video"')
    assert moment(None) is None


def test_the_result_of_an_entry() -> None:
    host = find_host("global")
    done = entry(state=Status.SUCCEEDED, outcome={"raw": RAW})
    found = result_of(done, host)
    assert found is not None
    assert (found.url, found.task_id) == ("https://a.test/x.mp4", "t")
    assert result_of(entry(state=Status.SUCCEEDED, outcome={"raw": {}}), host) is None
    assert result_of(entry(state=Status.FAILED), host) is None
    assert result_of(entry("x", endpoint="of-tomorrow", state=Status.SUCCEEDED, outcome={"raw": RAW}), host) is None


def test_moving_aside_takes_the_log_along(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    for ending in ("", "-wal"):
        (tmp_path / f"j.db{ending}").write_text(f"file{ending}")
    target = move_aside(file, NOW)
    assert target == tmp_path / "j.db.damaged-20260921T141320Z"
    assert sorted(path.name for path in tmp_path.iterdir()) == [target.name, f"{target.name}-wal"]
    assert target.read_text() == "file"
    file.touch()
    with pytest.raises(JournalError, match="exists already"):
        move_aside(file, NOW)
    with pytest.raises(JournalError, match="cannot be moved"):
        move_aside(Path("/proc/self/stat"), NOW)
