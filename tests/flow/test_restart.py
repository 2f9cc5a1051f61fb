"""Jobs that outlive their process: a second session on the same journal goes on where the first one stood."""

import asyncio
import gc
import hashlib
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from flow_tools import EPOCH, assert_paid_once, client, clip, kinds, service, wall
from test_journey import png

from kling_async import (
    ConfigError,
    IdempotencyMismatch,
    ImageToVideo,
    InvalidRequest,
    JournalError,
    Operation,
    Policy,
    SessionClosed,
    Status,
    SubmissionUnknown,
    TaskFailed,
)
from kling_async.emulator import Fault
from kling_async.endpoints import to_plain
from kling_async.journal import Change, Entry, MemoryJournal, MemoryStore, fingerprint


def journal(store: MemoryStore, owner: str) -> MemoryJournal:
    return MemoryJournal(wall=wall, owner=owner, store=store)


def left_behind(store: MemoryStore, host: str, request: Any, **fields: Any) -> None:
    """Put an entry into the journal as a process that was killed leaves it."""
    plain = to_plain(request)
    entry = Entry(
        **{
            "job_id": "left",
            "endpoint": "text2video",
            "host": host,
            "request": plain,
            "fingerprint": fingerprint("text2video", plain),
            "created_at": EPOCH,
            "owner": "killed",
            **fields,
        }
    )
    store.entries[entry.job_id] = entry
    store.unsettled[entry.job_id] = None


async def test_a_session_without_a_journal_has_nothing_to_adopt() -> None:
    async with service() as emulator, client(emulator) as kling:
        with pytest.raises(ConfigError, match="journal"):
            await kling.adopt()


async def test_what_was_open_goes_on_in_the_next_session() -> None:
    """Sent or not: each job makes one task, and ends with its result."""
    store = MemoryStore()
    async with service(slots=2, duration_s=300.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            jobs = [await kling.submit(clip(f"scene {index}"), metadata={"row": index}) for index in range(5)]
            await asyncio.gather(*(job.accepted() for job in jobs[:2]))
            assert await kling.adopt() == []  # they are its own already
        assert {job.status for job in jobs} == {Status.ACCEPTED, Status.QUEUED}
        async with client(emulator, journal=journal(store, "second")) as kling:
            adopted = await kling.adopt()
            assert sorted(job.id for job in adopted) == sorted(job.id for job in jobs)
            assert {job.metadata["row"] for job in adopted} == set(range(5))
            results = [await job for job in adopted]
            assert {result.task_id for result in results} == {task.task_id for task in emulator.tasks}
            assert_paid_once(emulator, 5)
            assert await kling.adopt() == []
    assert {entry.state for entry in store.entries.values()} == {Status.SUCCEEDED}


async def test_a_name_is_one_job_after_a_restart_too() -> None:
    """A finished job is given again from the journal, without a question; another request under its name is refused."""
    store = MemoryStore()
    async with service(duration_s=20.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            result = await kling.generate(clip(), job_id="order-1")
            emulator.failure_rate = 1.0
            with pytest.raises(TaskFailed) as first:
                await kling.generate(clip("fails"), job_id="order-2")
        asked = len(emulator.requests)
        async with client(emulator, journal=journal(store, "second")) as kling:
            again = await kling.generate(clip(), job_id="order-1")
            assert (again.url, again.task_id, again.billing) == (result.url, result.task_id, result.billing)
            with pytest.raises(TaskFailed) as second:
                await kling.generate(clip("fails"), job_id="order-2")
            assert (second.value.reason, second.value.paid) == (first.value.reason, first.value.paid)
            with pytest.raises(IdempotencyMismatch):
                await kling.submit(clip("another"), job_id="order-1")
            job = await kling.submit(clip(), job_id="order-1")
            assert await job.accepted() == result.task_id
            assert len(emulator.requests) == asked
        assert_paid_once(emulator, 2)


async def test_names_take_no_memory_where_a_journal_keeps_them() -> None:
    """A run of any length under names of its own: what nobody holds is given by the journal, and not made again."""
    async with service(duration_s=20.0) as emulator, client(emulator, journal=journal(MemoryStore(), "a")) as kling:
        job = await kling.submit(clip(), job_id="order-1")
        held = weakref.ref(job)
        assert await kling.submit(clip(), job_id="order-1") is job, "as long as it is open, or anybody holds it"
        result = await job
        del job
        gc.collect()
        assert held() is None
        assert (await kling.generate(clip(), job_id="order-1")).url == result.url
        with pytest.raises(IdempotencyMismatch):
            await kling.submit(clip("another"), job_id="order-1")
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("made", [True, False])
async def test_what_may_have_been_sent_is_looked_up_first(*, made: bool) -> None:
    """Killed in the middle of a create: found, it is followed; surely not there, it is sent with the same id."""
    store = MemoryStore()
    async with service(duration_s=100.0) as emulator, client(emulator, journal=journal(store, "second")) as kling:
        if made:
            async with client(emulator) as other:
                await (await other.submit(clip("left"), job_id="left")).accepted()
        left_behind(store, kling.host.name, clip("left"), state=Status.SENDING, attempt=1, sent_at=EPOCH - 5)
        await (await kling.submit(clip("shows that the host finds by external id"))).accepted()
        (job,) = await kling.adopt()
        assert job.status is Status.UNSURE
        assert (await job).external_id == "left"
        assert_paid_once(emulator, 2)
        assert kinds(emulator)["create"] == 2


async def test_what_was_sent_to_a_host_that_cannot_be_asked_is_not_sent_again() -> None:
    store = MemoryStore()
    async with service("new-api") as emulator, client(emulator, journal=journal(store, "second")) as kling:
        left_behind(store, kling.host.name, clip("left"), state=Status.UNSURE, attempt=1, sent_at=EPOCH - 500)
        (job,) = await kling.adopt()
        with pytest.raises(SubmissionUnknown) as caught:
            await job
        assert caught.value.paid == "maybe"
        assert emulator.tasks == []
    assert store.entries["left"].state is Status.UNRESOLVED


async def test_what_was_refused_for_now_is_sent_after_a_restart_without_a_look() -> None:
    """Code 1303 proved that nothing was made."""
    store = MemoryStore()
    async with service(slots=1, duration_s=500.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            await (await kling.submit(clip("holds the slot"))).accepted()
            second = await kling.submit(clip("is refused"), job_id="later")
            await asyncio.sleep(20)
            assert second.status is Status.QUEUED
        assert store.entries["later"].state is Status.QUEUED
        async with client(emulator, journal=journal(store, "second")) as kling:
            jobs = await kling.adopt()
            assert Status.UNSURE not in {job.status for job in jobs}
            await asyncio.gather(*jobs)
        assert_paid_once(emulator, 2)


async def test_the_new_standard_and_deadlines_survive() -> None:
    store = MemoryStore()
    request = Operation(operation="text-to-video", model="kling-3.0", prompt="a boat", settings={"duration": 3})
    async with service(duration_s=4000.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            await (await kling.submit(request, job_id="boat", timeout=1000)).accepted()
        await asyncio.sleep(600)
        async with client(emulator, journal=journal(store, "second")) as kling:
            (job,) = await kling.adopt()
            assert job.request == request
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(450)
            assert job.status is Status.ABANDONED, "its time counts from its submission"
            assert asyncio.get_running_loop().time() - began == 450


async def test_a_submit_that_is_cancelled_leaves_nothing_to_be_sent() -> None:
    """Its caller never had a handle, so no later run may find the job and pay for it."""
    store = MemoryStore()

    class Slow(MemoryJournal):
        async def add(self, entry: Entry) -> Entry | None:
            found = await super().add(entry)
            await asyncio.sleep(5)
            return found

    slow = Slow(wall=wall, owner="first", store=store)
    async with service() as emulator:
        async with client(emulator, journal=slow) as kling:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(kling.submit(clip(), job_id="never"), 1)
        assert store.entries["never"].state is Status.ABANDONED
        async with client(emulator, journal=journal(store, "second")) as kling:
            assert await kling.adopt() == []
        assert emulator.tasks == []


# --- several processes on one journal ------------------------------------------------------------------------------


@pytest.mark.fault("F44")
async def test_two_sessions_share_the_work_by_name() -> None:
    """Both are given the same list: each job is made once, and both know how it ended."""
    store = MemoryStore()
    async with (
        service(duration_s=60.0) as emulator,
        client(emulator, journal=journal(store, "first")) as one,
        client(emulator, journal=journal(store, "second")) as other,
    ):
        names = [f"job-{index}" for index in range(10)]
        mine = [await one.submit(clip(name), job_id=name) for name in names[:7]]
        theirs = [await other.submit(clip(name), job_id=name) for name in names[3:]]
        mine += [await one.submit(clip(name), job_id=name) for name in names[7:]]
        results = [await job for job in (*mine, *theirs)]
        assert len({result.url for result in results}) == 10
        assert_paid_once(emulator, 10)


@pytest.mark.fault("F45")
async def test_who_was_away_beyond_the_lease_sends_nothing() -> None:
    """What another process has taken over meanwhile is followed in the journal, by both."""
    store = MemoryStore()
    policy = Policy(lease_s=60)
    async with service(slots=1, duration_s=30.0) as emulator:
        async with (
            client(emulator, journal=journal(store, "first"), policy=policy) as one,
            client(emulator, journal=journal(store, "second"), policy=policy) as other,
        ):
            job = await one.submit(clip("slow"), job_id="slow")
            store.leases.pop("first")  # as if it had been stopped for longer than its lease
            (taken,) = await other.adopt()
            assert taken.id == "slow"
            assert (await job).url == (await taken).url
        assert_paid_once(emulator, 1)


async def test_a_job_of_a_process_that_ended_is_taken_over_when_its_lease_is_over() -> None:
    store = MemoryStore()
    async with service(duration_s=30.0) as emulator, client(emulator, journal=journal(store, "second")) as kling:
        left_behind(store, kling.host.name, clip("left"))
        store.leases["killed"] = EPOCH + 100
        assert await kling.adopt() == []
        job = await kling.submit(clip("left"), job_id="left")
        assert (await job).url
        assert asyncio.get_running_loop().time() > 100
        assert_paid_once(emulator, 1)


# --- a journal that fails ------------------------------------------------------------------------------------------


class Failing(MemoryJournal):
    """Fails from the moment it is told to."""

    broken = False

    def put(self, change: Change, then: Callable[[JournalError | None], None] | None = None) -> None:
        if not self.broken:
            super().put(change, then)
        elif then is not None:
            then(JournalError("disk full", paid="no"))

    async def write(self, change: Change) -> None:
        if self.broken:
            raise JournalError("disk full", paid="no", retryable=True)
        await super().write(change)

    async def add(self, entry: Entry) -> Entry | None:
        if self.broken:
            raise JournalError("disk full", paid="no")
        return await super().add(entry)


@pytest.mark.fault("F42")
async def test_nothing_is_sent_that_cannot_be_recorded() -> None:
    """A full disk refuses new jobs, holds what waits, and hurts nothing that runs."""
    failing = Failing(wall=wall, owner="first")
    async with service(slots=1, duration_s=100.0) as emulator, client(emulator, journal=failing) as kling:
        running = await kling.submit(clip("runs"))
        await running.accepted()
        waiting = await kling.submit(clip("waits"))
        failing.broken = True
        with pytest.raises(JournalError) as caught:
            await kling.submit(clip("new"), job_id="new")
        assert caught.value.paid == "no"
        assert (await running).url
        await asyncio.sleep(60)
        assert waiting.status is Status.QUEUED
        assert len(emulator.tasks) == 1
        failing.broken = False
        assert (await waiting).url
        assert (await kling.generate(clip("new"), job_id="new")).url
        assert_paid_once(emulator, 3)


async def test_nobody_is_told_of_an_end_that_is_not_recorded() -> None:
    """When a waiter wakes, the journal holds the outcome already; also the task's id, before `accepted()` returns."""
    store = MemoryStore()
    lost = Fault(action="reset", stage="after", kind="create", times=1)
    async with service(faults=[lost]) as emulator, client(emulator, journal=journal(store, "first")) as kling:
        job = await kling.submit(clip())
        task_id = await job.accepted()
        assert store.entries[job.id].task_id == task_id
        result = await job
        assert store.entries[job.id].state is Status.SUCCEEDED
        assert store.entries[job.id].outcome == {"raw": result.raw}


# --- found by simulation -------------------------------------------------------------------------------------------


async def test_who_stood_still_tells_what_became_of_it_and_not_what_he_missed() -> None:
    """Its time was over before it could look; meanwhile another process has made it, and paid for it."""
    store = MemoryStore()
    policy = Policy(lease_s=60)
    async with (
        service(slots=1, duration_s=30.0) as emulator,
        client(emulator, journal=journal(store, "first"), policy=policy) as one,
        client(emulator, journal=journal(store, "second"), policy=policy) as other,
    ):
        await (await one.submit(clip("holds the slot"))).accepted()
        job = await one.submit(clip("slow"), job_id="slow", timeout=20)
        store.entries["slow"] = attrs.evolve(store.entries["slow"], timeout_s=None)
        store.leases.pop("first")  # as if it had been stopped for longer than its lease
        theirs = {job.id: job for job in await other.adopt()}["slow"]
        await asyncio.sleep(0)
        assert (await job).external_id == "slow"
        assert (await theirs).url == job.result().url
        assert_paid_once(emulator, 2)


@pytest.mark.parametrize("drain", [None, 5.0])
async def test_what_is_recorded_while_the_session_closes_is_not_sent_later(drain: float | None) -> None:
    """Its caller is told that nothing was taken, so no later run may find it and pay for it."""
    store = MemoryStore()

    class Slow(MemoryJournal):
        async def add(self, entry: Entry) -> Entry | None:
            found = await super().add(entry)
            await asyncio.sleep(3)
            return found

    async with service() as emulator:
        async with client(emulator, journal=Slow(wall=wall, owner="first", store=store)) as kling:
            late = asyncio.ensure_future(kling.submit(clip(), job_id="late"))
            await asyncio.sleep(1)
            await kling.aclose(drain=drain)
            with pytest.raises(SessionClosed) as caught:
                await late
            assert caught.value.paid == "no"
        assert store.entries["late"].state is Status.ABANDONED
        async with client(emulator, journal=journal(store, "second")) as kling:
            assert await kling.adopt() == []
        assert emulator.tasks == []


async def test_who_follows_what_another_process_holds_is_released_at_the_end() -> None:
    store = MemoryStore()
    async with service(duration_s=3000.0) as emulator, client(emulator, journal=journal(store, "first")) as one:
        await one.submit(clip("long"), job_id="long")
        async with client(emulator, journal=journal(store, "second")) as other:
            theirs = await other.submit(clip("long"), job_id="long")
            waiting = asyncio.ensure_future(theirs.accepted())
            await asyncio.sleep(0)
        with pytest.raises(SessionClosed) as caught:
            await theirs
        assert caught.value.paid == "maybe"
        with pytest.raises(SessionClosed):
            await waiting


async def test_an_end_that_could_not_be_written_is_written_when_the_disk_has_room_again() -> None:
    failing = Failing(wall=wall, owner="first")
    async with service(duration_s=30.0) as emulator, client(emulator, journal=failing) as kling:
        first, second = [await kling.submit(clip(f"scene {index}"), job_id=f"job-{index}") for index in range(2)]
        await asyncio.gather(first.accepted(), second.accepted())
        failing.broken = True
        await asyncio.gather(first, second)
        assert {entry.state for entry in failing._store.entries.values()} == {Status.ACCEPTED}
        failing.broken = False
        await (await kling.submit(clip("something happens"))).accepted()
        await asyncio.sleep(5)
        assert {failing._store.entries[name].state for name in ("job-0", "job-1")} == {Status.SUCCEEDED}
        assert {failing._store.entries[job.id].task_id for job in (first, second)} == {first.task_id, second.task_id}


async def test_a_name_alone_begins_with_what_the_host_has_shown_before() -> None:
    """The first run proved that the host finds by our ids; the next one needs no other job to send again."""
    store = MemoryStore()
    async with service(duration_s=30.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            await kling.generate(clip("shows that the host finds by external id"))
            host = kling.host.name
        left_behind(store, host, clip("left"), state=Status.SENDING, attempt=1, sent_at=EPOCH - 5)
        async with client(emulator, journal=journal(store, "second")) as kling:
            assert (await (await kling.submit(clip("left"), job_id="left"))).external_id == "left"
        assert_paid_once(emulator, 2)


PNG = png(320, 320)

# --- pictures and long texts ---------------------------------------------------------------------------------------


async def test_a_picture_is_sent_as_it_was_recorded_or_not_at_all(tmp_path: Path) -> None:
    """A file that was changed between two runs is not sent under an id that may have a task already."""
    store = MemoryStore()
    pictures = {name: tmp_path / f"{name}.png" for name in ("runs", "kept", "changed")}
    requests = {name: ImageToVideo(image=path, prompt=name, model_name="kling-v2-6") for name, path in pictures.items()}
    for path in pictures.values():
        path.write_bytes(PNG)
    async with service(slots=1, duration_s=500.0) as emulator:
        async with client(emulator, journal=journal(store, "first")) as kling:
            await (await kling.submit(requests["runs"])).accepted()
            for name in ("kept", "changed"):
                await kling.submit(requests[name], job_id=name)
        recorded: Any = store.entries["kept"].request
        assert recorded["image"] == {
            "$file": str(pictures["kept"]),
            "sha256": hashlib.sha256(PNG).hexdigest(),
            "bytes": len(PNG),
        }
        assert "iVBOR" not in repr(store.entries)
        pictures["changed"].write_bytes(PNG + b"x")
        async with client(emulator, journal=journal(store, "second")) as kling:
            jobs = {job.id: job for job in await kling.adopt()}
            await jobs["kept"]
            with pytest.raises(InvalidRequest, match="has changed") as caught:
                await jobs["changed"]
            assert caught.value.paid == "no"
        assert_paid_once(emulator, 2)


async def test_a_picture_that_is_not_there_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    store = MemoryStore()
    async with service() as emulator, client(emulator, journal=journal(store, "first")) as kling:
        with pytest.raises(InvalidRequest, match="cannot be read"):
            await kling.submit(
                ImageToVideo(image=tmp_path / "none.png", prompt="none", model_name="kling-v2-6"), job_id="x"
            )
        assert store.entries == {}


async def test_who_follows_a_record_that_is_gone_is_told() -> None:
    """The file was replaced, or its commit was lost with the other process: nobody waits for ever."""
    store = MemoryStore()
    async with service(duration_s=3000.0) as emulator, client(emulator, journal=journal(store, "first")) as one:
        await one.submit(clip("long"), job_id="long")
        async with client(emulator, journal=journal(store, "second")) as other:
            theirs = await other.submit(clip("long"), job_id="long")
            del store.entries["long"], store.unsettled["long"]
            with pytest.raises(SubmissionUnknown, match="gone") as caught:
                await theirs
            assert caught.value.paid == "maybe"


async def test_a_name_that_could_not_be_taken_over_can_be_asked_for_again() -> None:
    """The disk failed between finding the record and taking it: the error is told, and the name is not burnt."""
    store = MemoryStore()

    class Once(MemoryJournal):
        failing = True

        async def take(self, job_id: str, lease_s: float) -> Entry | None:
            if self.failing:
                raise JournalError("disk full", paid="no")
            return await super().take(job_id, lease_s)

    once = Once(wall=wall, owner="second", store=store)
    async with service(duration_s=30.0) as emulator, client(emulator, journal=once) as kling:
        left_behind(store, kling.host.name, clip("left"))
        with pytest.raises(JournalError):
            await kling.submit(clip("left"), job_id="left")
        once.failing = False
        assert (await (await kling.submit(clip("left"), job_id="left"))).url
        assert_paid_once(emulator, 1)
