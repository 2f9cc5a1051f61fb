"""What the caller breaks off in the middle, or decides while something else happens: nothing is lost, nobody hangs."""

import asyncio
import base64
import gc
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flow_tools import assert_paid_once, client, clip, service, wall
from test_journey import png
from test_unknown import BLIND, LOST, NEVER

from kling_async import (
    AccountError,
    DeadlineExceeded,
    ImageToVideo,
    Job,
    JobAbandoned,
    JournalError,
    KlingError,
    Policy,
    Result,
    SessionClosed,
    Status,
    SubmissionUnknown,
)
from kling_async.emulator import Fault
from kling_async.endpoints import find_endpoint
from kling_async.journal import Change, Entry, Fact, MemoryJournal, MemoryStore
from kling_async.recorder import Record


class Slow(MemoryJournal):
    """A disk that takes a moment: what is asked is done at once, and answered `delay_s` later."""

    delay_s = 0.0
    failing = 0

    async def add(self, entry: Entry) -> Entry | None:
        found = await super().add(entry)
        await asyncio.sleep(self.delay_s)
        return found

    async def take(self, job_id: str, lease_s: float) -> Entry | None:
        found = await super().take(job_id, lease_s)
        await asyncio.sleep(self.delay_s)
        return found

    async def claim(self, host: str, limit: int, lease_s: float) -> list[Entry]:
        found = await super().claim(host, limit, lease_s)
        await asyncio.sleep(self.delay_s)
        return found

    async def write(self, change: Change) -> None:
        await super().write(change)
        await asyncio.sleep(self.delay_s)

    async def learned(self, key: str) -> Fact | None:
        if self.failing:
            self.failing -= 1
            raise JournalError("the disk is busy", retryable=True)
        return await super().learned(key)


def slow(store: MemoryStore, owner: str) -> Slow:
    return Slow(wall=wall, owner=owner, store=store)


async def unresolved(kling: Any, **arguments: Any) -> Job:
    job: Job = await kling.submit(clip(), **arguments)
    with pytest.raises(SubmissionUnknown):
        await job
    return job


@pytest.mark.parametrize("how", ["cancelled", "the disk fails"])
async def test_an_adoption_that_was_broken_off_can_be_called_again(how: str) -> None:
    """What it had taken over already is not left to nobody."""
    store = MemoryStore()
    async with service(duration_s=300.0) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            await (await kling.submit(clip())).accepted()
        disk = slow(store, "b")
        async with client(emulator, journal=disk) as kling:
            if how == "cancelled":
                disk.delay_s = 1.0
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await kling.adopt()
                disk.delay_s = 0.0
            else:
                disk.failing = 1
            (job,) = await kling.adopt()
            assert (await job).url
            assert await kling.adopt() == []
        assert_paid_once(emulator, 1)


async def test_a_name_whose_taking_over_was_broken_off_is_adopted() -> None:
    store, disk = MemoryStore(), slow(MemoryStore(), "b")
    async with service(duration_s=300.0) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            await (await kling.submit(clip(), job_id="x")).accepted()
        disk = slow(store, "b")
        async with client(emulator, journal=disk) as kling:
            disk.delay_s = 1.0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await kling.submit(clip(), job_id="x")
            disk.delay_s = 0.0
            assert [job.id for job in await kling.adopt()] == ["x"]
            assert (await (await kling.submit(clip(), job_id="x"))).url
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("what", ["resend", "forget"])
async def test_a_decision_that_was_broken_off_can_be_made_again(what: str) -> None:
    store = MemoryStore()
    disk = slow(store, "a")
    async with service(faults=[NEVER], **BLIND) as emulator, client(emulator, journal=disk) as kling:
        job = await unresolved(kling)
        disk.delay_s = 1.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5 if what == "forget" else 1.5):
                await getattr(job, what)()
        disk.delay_s = 0.0
        assert job.status is Status.UNRESOLVED
        with pytest.raises(SubmissionUnknown):
            await job
        await job.resend()
        assert (await job).url
        assert_paid_once(emulator, 1)


async def test_a_name_that_is_taken_over_while_the_session_closes_does_not_hang() -> None:
    store = MemoryStore()
    async with service(duration_s=300.0) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            await (await kling.submit(clip(), job_id="x")).accepted()
        disk = slow(store, "b")
        async with client(emulator, journal=disk) as kling:
            disk.delay_s = 1.0
            late = asyncio.ensure_future(kling.submit(clip(), job_id="x"))
            await asyncio.sleep(1.5)
            await kling.aclose()
            with pytest.raises(SessionClosed):
                await late
        async with client(emulator, journal=slow(store, "c")) as kling:
            assert [job.id for job in await kling.adopt()] == ["x"], "it was let go"


async def test_a_cancelled_submit_leaves_alone_what_has_ended_under_its_name() -> None:
    store = MemoryStore()
    disk = slow(store, "a")
    async with service(duration_s=20.0) as emulator, client(emulator, journal=disk) as kling:
        job = await kling.submit(clip())
        url, job_id = (await job).url, job.id
        del job
        gc.collect()
        disk.delay_s = 1.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await kling.submit(clip(), job_id=job_id)
        disk.delay_s = 0.0
        assert store.entries[job_id].state is Status.SUCCEEDED
        assert (await (await kling.submit(clip(), job_id=job_id))).url == url


async def test_twice_at_most_is_counted_over_all_runs() -> None:
    store = MemoryStore()
    always = Fault(action="reset", stage="after", kind="create")
    settings = {**BLIND, "unique_external_ids": False}
    async with service(faults=[always], **settings) as emulator:
        for run in range(3):
            policy = Policy(on_unknown="resend")
            async with client(emulator, journal=slow(store, f"run {run}"), policy=policy) as kling:
                jobs = await kling.adopt() if run else [await kling.submit(clip(), job_id="x")]
                for job in jobs:
                    with pytest.raises(SubmissionUnknown):
                        await job
        assert len(emulator.tasks) == 3


async def test_what_ended_in_time_while_nobody_looked_is_a_result() -> None:
    """The time of a job was over before the next run began; its task had ended long before."""
    store = MemoryStore()
    async with service(duration_s=100.0) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            await (await kling.submit(clip(), job_id="x", timeout=600)).accepted()
        await asyncio.sleep(3600)
        async with client(emulator, journal=slow(store, "b")) as kling:
            (job,) = await kling.adopt()
            assert (await job).url


async def test_a_task_that_was_attached_and_is_adopted_ends_for_both() -> None:
    store = MemoryStore()
    async with service(duration_s=100.0) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            task = await (await kling.submit(clip(), job_id="x")).accepted()
        async with client(emulator, journal=slow(store, "b")) as kling:
            mine = kling.attach(task, "text2video")
            (job,) = await kling.adopt()
            assert (await mine).url == (await job).url
            assert kling.stats.pending == 0


async def test_a_task_that_was_attached_and_is_found_ends_for_both() -> None:
    async with service(faults=[LOST], duration_s=300.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        while not emulator.tasks:
            await asyncio.sleep(0.01)
        mine = kling.attach(emulator.tasks[0].task_id, "text2video")
        assert (await job).url == (await mine).url
        assert_paid_once(emulator, 1)


async def test_an_attached_handle_is_released_with_the_other() -> None:
    store = MemoryStore()
    async with service(duration_s=5000.0) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            task = await (await kling.submit(clip(), job_id="x")).accepted()
        async with client(emulator, journal=slow(store, "b")) as kling:
            mine = kling.attach(task, "text2video")
            await kling.adopt()
        with pytest.raises(SessionClosed):
            await mine


async def test_who_waits_beside_the_one_who_decides_waits_on() -> None:
    async with service(faults=[NEVER], **BLIND) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())

        async def decide() -> Result:
            try:
                return await job
            except SubmissionUnknown:
                await job.resend()
                return await job

        async def wait() -> Result:
            return await job

        first, second = await asyncio.gather(decide(), wait(), return_exceptions=True)
        assert isinstance(first, Result)
        assert isinstance(second, Result | SubmissionUnknown)


async def test_a_recovery_leaves_alone_what_its_own_session_is_finding_out() -> None:
    store = MemoryStore()
    blocked = Fault(action="status", kind="single", status=503)
    async with service(faults=[LOST, blocked], duration_s=200.0) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            job = await kling.submit(clip())
            await asyncio.sleep(5)
            await kling.recover()
            emulator.faults.clear()
            assert (await job).url
            assert store.entries[job.id].state is Status.SUCCEEDED


@pytest.mark.parametrize("what", ["resend", "forget"])
@pytest.mark.parametrize("then", ["close", "abandon"])
async def test_a_decision_that_is_overtaken(what: str, then: str) -> None:
    store = MemoryStore()
    disk = slow(store, "a")
    async with service(faults=[NEVER], **BLIND) as emulator, client(emulator, journal=disk) as kling:
        job = await unresolved(kling)
        disk.delay_s = 1.0
        deciding = asyncio.ensure_future(getattr(job, what)())
        await asyncio.sleep(0.1)
        if then == "close":
            await kling.aclose()
        else:
            job.abandon()
        await asyncio.wait({deciding})
        assert deciding.exception() is None or isinstance(deciding.exception(), KlingError)
        with pytest.raises(KlingError):
            await job
        assert emulator.tasks == []


async def test_what_else_lies_in_the_folder_of_texts_is_left_alone(tmp_path: Path) -> None:
    odd = tmp_path / "jobs.db.media" / "lost+found"
    odd.mkdir(parents=True)
    os.utime(odd, (1, 1))
    async with service(duration_s=300.0) as emulator:
        async with client(emulator, journal=tmp_path / "jobs.db") as kling:
            await (await kling.submit(clip(), job_id="x")).accepted()
        assert odd.is_dir()


# --- crashes, clocks and accounts ----------------------------------------------------------------------------------


class Mortal(Slow):
    """A disk that hears nothing more of a process that was killed."""

    dead = False

    def put(self, change: Change, then: Any = None) -> None:
        if not self.dead:
            super().put(change, then)

    async def release(self, job_ids: Any = None) -> None:
        if not self.dead:
            await super().release(job_ids)


async def kill(kling: Any) -> None:
    """Nothing is written or let go any more."""
    kling._runtime._journal.dead = True
    kling._runtime._root.cancel()
    await asyncio.wait({kling._runtime._root})


def mortal(store: MemoryStore, owner: str) -> Mortal:
    return Mortal(wall=wall, owner=owner, store=store)


def count(emulator: Any, name: str) -> int:
    return [task.external_id for task in emulator.tasks].count(name)


async def test_the_window_of_a_killed_process_begins_when_the_next_one_does() -> None:
    """Killed while a slow POST was under way: nobody knows when its answer was lost."""
    store = MemoryStore()
    held_up = Fault(action="delay", kind="create", nth=2, delay_s=50.0)
    settings: dict[str, Any] = {"visible_after_s": 55.0, "unique_external_ids": False, "duration_s": 100.0}
    async with service(faults=[held_up], **settings) as emulator:
        async with client(emulator, journal=mortal(store, "a")) as kling:
            await kling.generate(clip("shows"))
            await kling.submit(clip(), job_id="x")
            await asyncio.sleep(49)
            await kill(kling)
        assert store.entries["x"].state is Status.SENDING
        store.leases.clear()
        async with client(emulator, journal=mortal(store, "b")) as kling:
            (job,) = await kling.adopt()
            await job
        assert count(emulator, "x") == 1


@pytest.mark.fault("F39")
@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
async def test_f39_a_clock_that_was_set_over_a_crash_shortens_no_window(ahead_s: float) -> None:
    store = MemoryStore()
    settings: dict[str, Any] = {"visible_after_s": 30.0, "unique_external_ids": False, "duration_s": 100.0}
    async with service(**settings) as emulator:
        async with client(emulator, journal=mortal(store, "a")) as kling:
            await kling.generate(clip("shows"))
            emulator.faults.append(Fault(action="hang", stage="after", kind="create"))
            await kling.submit(clip(), job_id="x")
            await asyncio.sleep(1)
            await kill(kling)
        emulator.faults.clear()
        store.leases.clear()

        def jumped() -> float:
            return wall() + ahead_s

        journal = Mortal(wall=jumped, owner="b", store=store)
        async with client(emulator, journal=journal, wall=jumped) as kling:
            (job,) = await kling.adopt()
            await job
        assert count(emulator, "x") == 1


async def test_an_outage_of_hours_leaves_an_unsure_job_to_the_next_run() -> None:
    store = MemoryStore()
    down = Fault(action="status", kind="single", status=503)
    async with service(faults=[LOST, down], lists=False, batch=False, duration_s=20.0) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            job = await kling.submit(clip(), job_id="x")
            with pytest.raises(DeadlineExceeded) as caught:
                await job
            assert (caught.value.paid, job.status) == ("maybe", Status.UNRESOLVED)
        emulator.faults.clear()
        async with client(emulator, journal=slow(store, "b")) as kling:
            (job,) = await kling.adopt()
            assert (await job).url
        assert_paid_once(emulator, 1)


async def test_what_is_sent_again_and_refused_is_still_looked_for_later() -> None:
    store = MemoryStore()
    async with service(faults=[LOST], **BLIND) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            job = await unresolved(kling, job_id="x")
            emulator.faults.append(Fault(action="status", kind="create", code=1102, status=429))
            await job.resend()
            with pytest.raises(AccountError) as caught:
                await job
            assert (caught.value.paid, job.status) == ("maybe", Status.UNRESOLVED)
        emulator.faults.clear()
        emulator.external_lookup = True
        async with client(emulator, journal=slow(store, "b")) as kling:
            (job,) = await kling.adopt()
            assert (await job).url
        assert_paid_once(emulator, 1)


async def test_another_account_cannot_say_that_a_task_is_absent() -> None:
    """The key was changed for one of another account while it was not sure whether a task exists."""
    async with service(duration_s=50.0, unique_external_ids=False) as emulator, client(emulator) as kling:
        await kling.generate(clip("shows"))
        emulator.faults.append(Fault(action="reset", stage="after", kind="create", nth=1))
        emulator.faults.append(Fault(action="status", kind="single", status=503))
        job = await kling.submit(clip(), job_id="x")
        await asyncio.sleep(0.3)
        emulator.faults.clear()
        emulator.faults.append(Fault(action="alter", rows="none", task="x"))
        emulator.api_key = "second"
        kling.renew_credentials(api_key="second")
        with pytest.raises(SubmissionUnknown):
            await job
        assert count(emulator, "x") == 1


async def test_another_account_on_the_same_journal_sends_nothing_again() -> None:
    store = MemoryStore()
    async with service(duration_s=100.0) as emulator:
        async with client(emulator, journal=mortal(store, "a")) as kling:
            emulator.faults.append(Fault(action="reset", stage="after", kind="create", nth=1))
            await kling.submit(clip(), job_id="x")
            await asyncio.sleep(0.2)
            await kill(kling)
        assert count(emulator, "x") == 1
    store.leases.clear()
    async with service(duration_s=100.0, api_key="second") as emulator:
        async with client(emulator, journal=mortal(store, "b")) as kling:
            await kling.generate(clip("its own"))
            (job,) = await kling.adopt()
            with pytest.raises(SubmissionUnknown):
                await job
        assert count(emulator, "x") == 0


async def test_a_task_that_is_asked_about_for_its_slot_alone_can_be_followed_again() -> None:
    """The job was lost to another session while its POST was under way, and came back from there."""
    store = MemoryStore()
    late = Fault(action="delay", kind="create", nth=1, delay_s=30.0)
    async with service(faults=[late], duration_s=600.0) as emulator:
        async with client(emulator, max_running=3, journal=slow(store, "a")) as kling:
            job = await kling.submit(clip(), job_id="x")
            await asyncio.sleep(5)
            async with client(emulator, journal=slow(store, "b")) as other:
                store.leases.pop("a")
                await other.adopt()
                await kling._runtime.record.renew()  # type: ignore[union-attr]
                kling._runtime._scheduler._wake.set()  # type: ignore[union-attr]
                await asyncio.sleep(60)
            async with asyncio.timeout(3000):
                assert (await job).url
            assert kling.stats.slots["video", "kling-v2-6"][0] == 0
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("how", ["abandon", "timeout"])
async def test_a_job_of_another_process_can_be_left(how: str) -> None:
    store = MemoryStore()
    async with (
        service(duration_s=600.0) as emulator,
        client(emulator, journal=slow(store, "a")) as kling,
        client(emulator, journal=slow(store, "b")) as other,
    ):
        mine = await kling.submit(clip(), job_id="x")
        await mine.accepted()
        theirs = await other.submit(clip(), job_id="x", timeout=30)
        if how == "abandon":
            theirs.abandon()
        async with asyncio.timeout(100):
            with pytest.raises(JobAbandoned if how == "abandon" else DeadlineExceeded) as caught:
                await theirs
        assert caught.value.paid == "maybe"
        assert (await mine).url
        assert_paid_once(emulator, 1)


async def test_a_map_goes_on_when_one_job_could_not_be_recorded() -> None:
    class Full(MemoryJournal):
        asked = 0

        async def add(self, entry: Entry) -> Entry | None:
            self.asked += 1
            if self.asked == 3:
                raise JournalError("disk full", paid="no", retryable=True)
            return await super().add(entry)

    async with service(duration_s=10.0) as emulator:
        async with client(emulator, journal=Full(wall=wall, owner="a", store=MemoryStore())) as kling:
            jobs = [job async for job in kling.map([clip(str(index)) for index in range(5)])]
        assert sorted(job.status for job in jobs) == [Status.REJECTED] + [Status.SUCCEEDED] * 4
        assert_paid_once(emulator, 4)


async def test_what_waits_to_be_sent_again_and_runs_out_of_time_is_looked_for_later() -> None:
    store = MemoryStore()
    async with service(faults=[LOST], **BLIND) as emulator:
        async with client(emulator, journal=slow(store, "a"), policy=Policy(task_limit_s=300)) as kling:
            job = await unresolved(kling, job_id="x")
            emulator.faults.append(Fault(action="status", kind="create", code=1303, status=429))
            await job.resend()
            with pytest.raises(DeadlineExceeded):
                await job
        assert store.entries["x"].state is Status.UNRESOLVED
        assert store.entries["x"].attempt == 1, "what was refused does not count"


async def test_the_task_of_a_job_that_ended_while_it_was_sent_is_recorded() -> None:
    """Its time was over before the answer came; the next run knows the task, and gives its result."""
    store = MemoryStore()
    late = Fault(action="delay", kind="create", delay_s=20.0)
    async with service(faults=[late], duration_s=15.0) as emulator:
        async with client(emulator, journal=slow(store, "a")) as kling:
            job = await kling.submit(clip(), job_id="x", timeout=10)
            with pytest.raises(DeadlineExceeded):
                await job
            await asyncio.sleep(30)
            assert job.task_id == store.entries["x"].task_id == emulator.tasks[0].task_id
        async with client(emulator, journal=slow(store, "b")) as kling:
            (job,) = await kling.adopt()
            assert (await job).url
        assert_paid_once(emulator, 1)


async def test_a_closing_that_is_cancelled_twice_lets_go_of_everything() -> None:
    store = MemoryStore()

    class Slowly(MemoryJournal):
        async def release(self, job_ids: Any = None) -> None:
            await asyncio.sleep(2)
            await super().release(job_ids)

    async with service(duration_s=300.0) as emulator:
        async with client(emulator, journal=Slowly(wall=wall, owner="a", store=store)) as kling:
            await (await kling.submit(clip(), job_id="x")).accepted()
            closing = asyncio.ensure_future(kling.aclose())
            for _ in range(3):
                await asyncio.sleep(0.5)
                closing.cancel()
            await asyncio.wait({closing})
            assert closing.cancelled()
        async with client(emulator, journal=slow(store, "b")) as kling:
            assert [job.id for job in await kling.adopt()] == ["x"]


async def test_a_paid_job_is_followed_although_its_picture_is_gone(tmp_path: Path) -> None:
    """The folder of long texts was not restored with the journal; a task needs none of it."""
    path = tmp_path / "jobs.db"
    big = base64.b64encode(png(400, 400) + bytes(9000)).decode()
    async with service(duration_s=100.0, lenient=True) as emulator:
        async with client(emulator, journal=path) as kling:
            request = ImageToVideo(image=big, prompt="x", model_name="kling-v2-6", duration="5")
            await (await kling.submit(request, job_id="x")).accepted()
        shutil.rmtree(tmp_path / "jobs.db.media")
        async with client(emulator, journal=path) as kling:
            (job,) = await kling.adopt()
            assert job.request is None
            assert (await job).url
        assert_paid_once(emulator, 1)


async def test_a_job_that_was_left_to_another_process_can_be_asked_for_again() -> None:
    store = MemoryStore()
    async with service(duration_s=300.0) as emulator, client(emulator, journal=slow(store, "b")) as other:
        async with client(emulator, journal=slow(store, "a")) as kling:
            await (await kling.submit(clip(), job_id="x")).accepted()
            left = await other.submit(clip(), job_id="x", timeout=10)
            with pytest.raises(DeadlineExceeded):
                await left
            again = await other.submit(clip(), job_id="x")
            assert not again.done()
        assert (await again).url
        with pytest.raises(DeadlineExceeded):
            await left
        assert_paid_once(emulator, 1)


async def test_whoever_stood_still_while_connecting_sends_nothing() -> None:
    """Between its last look at the lease and the first byte the process waits for a connection, and may be stopped."""
    store = MemoryStore()
    async with service(duration_s=60.0, unique_external_ids=False) as emulator:
        async with client(emulator, journal=slow(store, "a"), policy=Policy(lease_s=60)) as kling:
            await kling.generate(clip("shows that the host finds by external id"))
            record = kling._runtime.record
            assert record is not None
            submit = kling._transport.submit
            lost: list[bool] = []

            async def stop(path: str, body: bytes, may_send: Any, hidden: Any) -> Any:
                def stopped() -> bool:
                    if not lost:
                        lost.append(True)
                        record.leased_until = 0.0  # as if it had stood still for longer than the lease
                    return bool(may_send())

                return await submit(path, body, stopped, hidden)

            kling._transport.submit = stop  # type: ignore[method-assign, assignment]
            assert (await kling.generate(clip(), job_id="x")).url
            assert lost
        assert count(emulator, "x") == 1
        assert [request.kind for request in emulator.requests].count("create") == 2, "one of each"


def test_a_lease_that_may_be_over_is_no_leave_to_send() -> None:
    record = Record(journal=slow(MemoryStore(), "a"), host="h", lease_s=90.0, clock=lambda: 100.0, wall=lambda: 0.0)
    job = Job("x", find_endpoint("text2video"), clip(), created_at=datetime.now(UTC))
    assert not record.may_send(job), "it is not held"
    record.held["x"] = Entry(job_id="x", endpoint="text2video", host="h", created_at=0.0, owner="a")
    assert not record.may_send(job)
    record.leased_until = 130.0
    assert record.may_send(job)
    record.leased_until = 129.9
    assert not record.may_send(job), "a third of it must be left"
