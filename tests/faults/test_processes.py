"""F41, F42 and F51: callbacks that mean harm, a journal that cannot be written, and a name used twice."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from fault_tools import CARELESS, caught, client, finished
from flow_tools import assert_paid_once, clip, kinds, service, wall

from kling_async import IdempotencyMismatch, JournalError, Status, TaskStatus
from kling_async.emulator import Fault
from kling_async.journal import Change, Entry, MemoryJournal, MemoryStore
from kling_async.webhook import Webhook


class Full(MemoryJournal):
    """A journal on a disk that is full for some kinds of records."""

    refuses: tuple[str, ...] = ()

    def _is_full(self, what: str) -> bool:
        return what in self.refuses

    async def add(self, entry: Entry) -> Entry | None:
        if self._is_full("J1"):
            raise JournalError("no space left on device", paid="no")
        return await super().add(entry)

    async def write(self, change: Change) -> None:
        if self._is_full("J2"):
            raise JournalError("no space left on device", paid="no", retryable=True)
        await super().write(change)

    def put(self, change: Change, then: Callable[[JournalError | None], None] | None = None) -> None:
        if self._is_full("J3"):
            if then is not None:
                then(JournalError("no space left on device", paid="no"))
            return
        super().put(change, then)


@pytest.mark.fault("F42")
async def test_f42_a_disk_that_is_full_before_anything_is_sent() -> None:
    """What cannot be recorded is not sent: told as unpaid, or held until there is room; what runs is not hurt."""
    full = Full(wall=wall, owner="first")
    async with service(**CARELESS) as emulator, client(emulator, journal=full) as kling:
        running = await kling.submit(clip("runs"))
        await running.accepted()
        full.refuses = ("J1",)
        error = await caught(kling.submit(clip("new"), job_id="new"), JournalError)
        assert error.paid == "no"
        full.refuses = ("J2",)
        held = await kling.submit(clip("held"), job_id="held")
        await asyncio.sleep(30)
        assert (held.status, kinds(emulator)["create"]) == (Status.QUEUED, 1)
        full.refuses = ()
        await finished([running, held, await kling.submit(clip("new"), job_id="new")])
        assert_paid_once(emulator, 3)


@pytest.mark.fault("F42")
async def test_f42_a_disk_that_is_full_after_the_create(caplog: pytest.LogCaptureFixture) -> None:
    """The task is made, so its handle is given and it delivers, with a warning; a later run finds it by its id."""
    caplog.set_level(logging.WARNING)
    store = MemoryStore()
    full = Full(wall=wall, owner="first", store=store)
    async with service(**CARELESS) as emulator:
        async with client(emulator, journal=full) as kling:
            job = await kling.submit(clip(), job_id="mine")
            while job.status is Status.QUEUED:
                await asyncio.sleep(0)
            full.refuses = ("J3",)
            assert await job.accepted() == emulator.tasks[0].task_id
            await finished([job])
            assert "no space left" in caplog.text
        assert store.entries["mine"].state is Status.SENDING
        async with client(emulator, journal=MemoryJournal(wall=wall, owner="second", store=store)) as kling:
            (again,) = await kling.adopt()
            assert (await again).task_id == emulator.tasks[0].task_id
        assert kinds(emulator)["create"] == 1
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F51")
@pytest.mark.parametrize("restart", [False, True])
async def test_f51_one_name_for_two_requests(restart: bool) -> None:
    """Refused before anything is sent, in the same session and in a later one; the first is not hurt."""
    store = MemoryStore()

    def journal(owner: str) -> MemoryJournal:
        return MemoryJournal(wall=wall, owner=owner, store=store)

    async with service(**CARELESS) as emulator:
        async with client(emulator, journal=journal("first")) as kling:
            job = await kling.submit(clip("one"), job_id="order-1")
            await job.accepted()
            if not restart:
                error = await caught(kling.submit(clip("another"), job_id="order-1"), IdempotencyMismatch)
                assert (error.paid, error.retryable, error.job_id) == ("no", False, "order-1")
                await finished([job])
        if restart:
            async with client(emulator, journal=journal("second")) as kling:
                error = await caught(kling.submit(clip("another"), job_id="order-1"), IdempotencyMismatch)
                assert (error.paid, error.retryable, error.job_id) == ("no", False, "order-1")
                await finished([await kling.submit(clip("one"), job_id="order-1")])
        assert kinds(emulator)["create"] == 1
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F41")
async def test_f41_no_callback_changes_what_the_host_says() -> None:
    """Duplicates, in any order, late, forged: the job's end is what the host answers, and nothing is paid for it."""
    async with service(duration_s=60.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip(), callback_url="https://me.example/kling")
        task_id = await job.accepted()
        webhook = Webhook()
        for word in ("failed", "succeed", "submitted", "succeed", "failed"):
            body = b'{"task_id":"%s","task_status":"%s"}' % (task_id.encode(), word.encode())
            told = webhook.read({}, body, wall())
            assert not told.signed
            seen = await kling.query(str(told.observation.task_id), "text2video")
            assert seen.status in {TaskStatus.SUBMITTED, TaskStatus.PROCESSING}
            assert not job.done()
        await finished([job])
        assert kinds(emulator)["create"] == 1
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F42")
async def test_f42_and_a_lost_answer_at_once() -> None:
    """The worst day: the create's answer is lost and the disk is full from then on; still one task, still found."""
    store = MemoryStore()
    full = Full(wall=wall, owner="first", store=store)
    lost = Fault(action="reset", stage="after", kind="create")
    settings: dict[str, Any] = {**CARELESS, "faults": [lost]}
    async with service(**settings) as emulator, client(emulator, journal=full) as kling:
        job = await kling.submit(clip(), job_id="mine")
        while not emulator.requests:
            await asyncio.sleep(0)
        full.refuses = ("J1", "J2", "J3")
        await finished([job])
        assert kinds(emulator)["create"] == 1
        assert_paid_once(emulator, 1)
