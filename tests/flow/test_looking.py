"""Where jobs stand, looked at and not followed: here, with other processes, and after their end."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flow_tools import EPOCH, client, clip, kinds, service, wall

from kling_async import (
    ConfigError,
    Job,
    KlingError,
    MemoryJournal,
    MemoryStore,
    Policy,
    SessionClosed,
    Snapshot,
    Status,
    TaskFailed,
)
from kling_async.emulator import Fault
from kling_async.journal import Entry
from kling_async.journal_sqlite import SqliteJournal


def journal(store: MemoryStore) -> MemoryJournal:
    return MemoryJournal(wall=wall, store=store)


async def test_a_job_is_seen_at_every_step_by_every_session() -> None:
    """By the one that follows it, at once; by another one, as far as the journal has it; no question is asked."""
    store = MemoryStore()
    async with (
        service() as emulator,
        client(emulator, journal=journal(store)) as one,
        client(emulator, journal=journal(store)) as two,
    ):
        assert await one.look("order-1") is None
        job = await one.submit(clip(), job_id="order-1", metadata={"owner": "ann"})
        seen = await one.look("order-1")
        assert seen is not None
        assert (seen.id, seen.endpoint, seen.status, seen.done()) == ("order-1", "text2video", Status.QUEUED, False)
        assert (seen.metadata, seen.created_at) == ({"owner": "ann"}, job.created_at)
        while job.status is not Status.PROCESSING:
            await asyncio.sleep(0.1)
        here, there = await one.look("order-1"), await two.look("order-1")
        assert here is not None
        assert there is not None
        assert (here.status, there.status) == (Status.PROCESSING, Status.ACCEPTED)
        assert here.task_id == there.task_id == job.task_id
        assert there.metadata == {"owner": "ann"}
        result = await job
        for session in (one, two):
            seen = await session.look("order-1")
            assert seen is not None
            assert (seen.result, seen.error, seen.done()) == (result, None, True)
        assert two.stats.pending == 0
        assert (await two.history()).jobs == (await one.history()).jobs
    assert kinds(emulator)["create"] == 1


async def test_a_failure_is_told_with_what_it_cost() -> None:
    store = MemoryStore()
    async with service() as emulator, client(emulator, journal=journal(store)) as one:
        job = await one.submit(clip("[fail]"), job_id="wrong")
        with pytest.raises(TaskFailed):
            await job
        async with client(emulator, journal=journal(store)) as two:
            seen = await two.look("wrong")
        assert seen is not None
        assert isinstance(seen.error, TaskFailed)
        assert (seen.status, seen.error.paid, seen.error.job_id) == (Status.FAILED, "no", "wrong")


async def test_what_nobody_knows_any_more_is_none() -> None:
    """No such job, no id at all, a job of another host, and a submission that was taken back."""
    store = MemoryStore()
    async with service() as emulator:
        async with client(emulator, journal=journal(store)) as one:
            for wrong in ("nothing", "", "a b", "x" * 65, "\ud800", "\0"):
                assert await one.look(wrong) is None
        book = journal(store)
        await book.open()
        fields: dict[str, Any] = {"endpoint": "text2video", "created_at": EPOCH}
        host = one.host.name
        await book.add(Entry(job_id="other", host="https://elsewhere.example", **fields))
        await book.add(Entry(job_id="back", host=host, state=Status.ABANDONED, **fields))
        await book.add(Entry(job_id="newer", host=host, state="failed", **{**fields, "endpoint": "tomorrow"}))
        await book.close()
        async with client(emulator, journal=journal(store)) as two:
            assert await two.look("other") is None
            assert await two.look("back") is None
            seen = await two.look("newer")
            assert seen is not None
            assert (seen.status, seen.done(), seen.endpoint) == (Status.FAILED, True, "tomorrow")
            assert [seen.id for seen in (await two.history()).jobs] == ["newer"]


async def test_without_a_journal_only_handles_are_known() -> None:
    async with service() as emulator, client(emulator) as session:
        job = await session.submit(clip(), job_id="order-1")
        seen = await session.look("order-1")
        assert seen is not None
        assert seen.status is Status.QUEUED
        await job
        seen = await session.look("order-1")
        assert seen is not None
        assert seen.result == job.result()
        with pytest.raises(ConfigError, match="needs a journal"):
            await session.history()
    with pytest.raises(SessionClosed):
        await session.look("order-1")


async def test_history_goes_page_by_page_whatever_comes_meanwhile(tmp_path: Path) -> None:
    """The last submitted first, on disk as in memory; a new job does not move the pages that are left."""
    async with service() as emulator, client(emulator, journal=SqliteJournal(tmp_path / "j.db", wall=wall)) as session:
        jobs: list[Job] = [await session.submit(clip(f"s{n}"), job_id=f"s{n}") for n in range(5)]
        first = await session.history(limit=2)
        await session.submit(clip("late"), job_id="late")
        second = await session.history(limit=2, before=first.next)
        third = await session.history(limit=2, before=second.next)
        listed = [[seen.id for seen in page.jobs] for page in (first, second, third)]
        assert listed == [["s4", "s3"], ["s2", "s1"], ["s0"]]
        assert third.next is None
        while jobs[0].status is not Status.PROCESSING:
            await asyncio.sleep(0.1)
        for status in (Status.ACCEPTED, Status.PROCESSING):
            found = (await session.history(status=status)).jobs
            assert "s0" in [seen.id for seen in found]
            assert {seen.status for seen in found} <= {Status.ACCEPTED, Status.PROCESSING}
        for job in jobs:
            await job
        ended = await session.history(status=Status.SUCCEEDED, limit=1)
        assert [(seen.id, seen.done()) for seen in ended.jobs] in ([("late", True)], [("s4", True)])
        for wrong in ({"limit": 0}, {"limit": 1001}, {"limit": True}, {"before": -1}, {"before": 1 << 63}):
            with pytest.raises(ConfigError):
                await session.history(**wrong)


async def test_what_could_not_be_found_out_is_asked_of_the_journal_again() -> None:
    """Another session may have found it meanwhile; the handle here cannot know."""
    store = MemoryStore()
    lost = Fault(action="reset", stage="after", kind="create")
    blind = [Fault(action="status", status=500, kind=kind, times=10_000) for kind in ("list", "single", "batch")]
    policy = Policy(settle_s=5, task_limit_s=30)
    async with (
        service(faults=[lost, *blind]) as emulator,
        client(emulator, journal=journal(store), policy=policy) as one,
    ):
        job = await one.submit(clip(), job_id="order-1")
        with pytest.raises(KlingError):
            await job
        assert job.status is Status.UNRESOLVED
        seen = await one.look("order-1")
        assert seen is not None
        assert (seen.status, seen.error is not None) == (Status.UNRESOLVED, True)
        emulator.faults.clear()
        await one._runtime.record.journal.release(["order-1"])  # type: ignore[union-attr]
        async with client(emulator, journal=journal(store)) as two:
            (again,) = await two.adopt()
            result = await again
            seen = await one.look("order-1")
            assert seen is not None
            assert (seen.status, seen.result) == (Status.SUCCEEDED, result)
            assert job.status is Status.UNRESOLVED


def test_a_snapshot_shows_no_secrets() -> None:
    """Metadata is the caller's own, and is not printed."""
    seen = Snapshot(
        id="j",
        endpoint="tts",
        status=Status.QUEUED,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        metadata={"key": "s3"},
    )
    assert "s3" not in repr(seen)
