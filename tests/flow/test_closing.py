"""How a session ends, and what happens when nothing could run for a while."""

import asyncio
import gc
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from flow_tools import assert_paid_once, client, clip, kinds, service

from kling_async import (
    ConfigError,
    DeadlineExceeded,
    DownloadError,
    ForkError,
    KlingSession,
    Policy,
    SessionClosed,
    Status,
)
from kling_async.emulator import Fault
from kling_async.emulator.virtual import VirtualLoop


def block(seconds: float) -> None:
    """Let virtual time pass within one callback, as code that blocks the loop does."""
    loop: Any = asyncio.get_running_loop()
    loop._set_time(loop.time() + seconds)


# --- draining ------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F48")
async def test_f48_a_drain_follows_what_was_sent_and_sends_nothing_more() -> None:
    async with service(slots=2, duration_s=60.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(5)]
        await asyncio.gather(*(job.accepted() for job in jobs[:2]))
        closing = asyncio.ensure_future(kling.aclose(drain=600))
        await asyncio.sleep(1)
        with pytest.raises(SessionClosed):
            await kling.submit(clip("late"))
        await closing
        assert [job.status for job in jobs] == [Status.SUCCEEDED] * 2 + [Status.QUEUED] * 3
        assert asyncio.get_running_loop().time() < 120, "it ends when what was sent has ended"
        for job in jobs[2:]:
            with pytest.raises(SessionClosed) as caught:
                await job
            assert (caught.value.paid, caught.value.resumable) == ("no", True)
        assert_paid_once(emulator, 2)


async def test_a_session_that_is_drained_still_saves_files(tmp_path: Path) -> None:
    async with service(slots=1, duration_s=60.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(2)]
        await jobs[0].accepted()
        await kling.drain()
        result = await jobs[0]
        with pytest.raises(SessionClosed):
            await kling.submit(clip("late"))
        with pytest.raises(DownloadError, match="cannot be a file name"):
            await kling.download(result, tmp_path, name="../a")
        await kling.aclose()
        with pytest.raises(SessionClosed):
            await kling.download(result, tmp_path, name="../a")
        assert jobs[1].status is Status.QUEUED
        assert_paid_once(emulator, 1)


async def test_a_drain_has_an_end() -> None:
    async with service(duration_s=4000.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        await job.accepted()
        await kling.aclose(drain=30)
        assert 30 <= asyncio.get_running_loop().time() < 32
        with pytest.raises(SessionClosed) as caught:
            await job
        assert (caught.value.paid, caught.value.task_id) == ("yes", emulator.tasks[0].task_id)


async def test_a_drain_waits_for_what_is_not_sure() -> None:
    lost = Fault(action="reset", stage="after", kind="create", nth=2)
    async with service(faults=[lost], duration_s=30.0) as emulator, client(emulator) as kling:
        first, second = [await kling.submit(clip(f"scene {index}")) for index in range(2)]
        await asyncio.sleep(0.3)
        assert Status.UNSURE in {first.status, second.status}
        await kling.aclose(drain=600)
        assert {first.status, second.status} == {Status.SUCCEEDED}
        assert_paid_once(emulator, 2)


async def test_a_drain_takes_seconds() -> None:
    async with service() as emulator, client(emulator) as kling:
        with pytest.raises(ConfigError, match="drain"):
            await kling.aclose(drain=-1)
        await kling.aclose(drain=1)
        assert asyncio.get_running_loop().time() < 1


# --- nothing could run ---------------------------------------------------------------------------------------------


@pytest.mark.fault("F46")
async def test_f46_a_blocked_loop_fails_nobody_who_could_have_been_asked_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The task ended in time; nobody could look, because something blocked the loop past the deadline."""
    caplog.set_level(logging.WARNING, logger="kling_async")
    async with service(duration_s=30.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip(), timeout=50)
        await job.accepted()
        await asyncio.sleep(20)
        block(40)
        assert (await job).url
        assert "stood still for" in caplog.text
        assert caplog.text.count("stood still") == 1


async def test_after_a_block_a_deadline_still_ends_a_job() -> None:
    async with service(duration_s=4000.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip(), timeout=50)
        await job.accepted()
        await asyncio.sleep(20)
        block(40)
        with pytest.raises(DeadlineExceeded):
            await job
        assert asyncio.get_running_loop().time() < 90


@pytest.mark.fault("F40")
async def test_f40_after_a_night_asleep_one_sweep_is_enough() -> None:
    async with service(duration_s=300.0) as emulator, client(emulator, policy=Policy(task_limit_s=86_400)) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(60)]
        await asyncio.gather(*(job.accepted() for job in jobs))
        await asyncio.sleep(20)
        before = kinds(emulator).total()
        block(8 * 3600)
        assert len([await job for job in jobs]) == 60
        assert kinds(emulator).total() - before < 10, "overdue is one question for all, not a burst"
        assert_paid_once(emulator, 60)


# --- closed by nobody ----------------------------------------------------------------------------------------------


@pytest.mark.fault("F49")
def test_f49_a_loop_that_is_closed_first_is_told_of_and_nothing_hangs(caplog: pytest.LogCaptureFixture) -> None:
    loop = VirtualLoop()

    async def leave_open() -> KlingSession:
        session = KlingSession(api_key="k", base_url="https://127.0.0.1:1")
        await session.__aenter__()
        await session._transport.close()  # its own connections warn for themselves
        return session

    session = loop.run_until_complete(leave_open())
    loop.close()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del session
        gc.collect()
    assert [str(warning.message) for warning in told if warning.category is ResourceWarning]
    assert "was not closed" in str(told[0].message)
    assert "destroyed" not in caplog.text


@pytest.mark.fault("F50")
async def test_f50_a_forked_process_is_told_to_open_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        pid = os.getpid()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: pid + 1)
            with pytest.raises(ForkError) as caught:
                await kling.submit(clip("from the child"))
            assert caught.value.paid == "no"
            with pytest.raises(ForkError):
                await kling.aclose()
        assert (await job).url
        assert_paid_once(emulator, 1)
