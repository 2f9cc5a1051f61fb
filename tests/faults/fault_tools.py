"""What the tests of the fault model share: a session whose connections are never reused, and one check per column.

The columns are those of FAULTS.md: what a submit gets, and what a waiter gets.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import pytest
from flow_tools import EPOCH, SOCKET, assert_paid_once, clip, host_of, kinds, service, wall

from kling_async import Job, KlingError, KlingSession, Policy, Status
from kling_async.emulator import Emulator, Fault

QUESTIONS = ("single", "list", "batch")
# The host does not save us from sending twice, and keeps tasks running long enough to be asked about.
CARELESS: dict[str, Any] = {"unique_external_ids": False, "duration_s": (20.0, 60.0)}

E = TypeVar("E", bound=BaseException)


@asynccontextmanager
async def client(emulator: Emulator, *, fresh: bool = False, **arguments: Any) -> AsyncIterator[KlingSession]:
    """An open session on the emulator over memory; `fresh` makes a new connection for every request."""
    if "access_key" not in arguments:
        arguments.setdefault("api_key", emulator.api_key)
    connector = aiohttp.UnixConnector(path=SOCKET, limit=100, force_close=fresh)
    arguments = {"base_url": host_of(emulator), "seed": 7, "wall": wall, **arguments}
    async with aiohttp.ClientSession(connector=connector) as http, KlingSession(http=http, **arguments) as session:
        yield session


async def caught(work: Any, kind: type[E]) -> E:
    """What awaiting it raises, which must be exactly of this class."""
    with pytest.raises(BaseException) as found:  # noqa: PT011 - its class is looked at below
        await work
    error = found.value
    assert type(error) is kind, repr(error)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error


async def finished(jobs: list[Job]) -> None:
    """Wait for all of them; each must deliver."""
    for job in jobs:
        with contextlib.suppress(KlingError):
            await job
    assert [job.error for job in jobs if job.error is not None] == [], [job.status for job in jobs]


async def left(job: Job, *statuses: Status) -> Status:
    """Wait until a job has left these statuses, and give the next one."""
    while job.status in statuses:
        await asyncio.sleep(0.05)
    return job.status


async def submit_gets(kind: type[KlingError], **fault: Any) -> KlingError:
    """What one POST of a create raises, seen without the protocol around it."""
    where: dict[str, Any] = {} if fault.get("stage") == "accept" else {"kind": "create"}
    async with service(faults=[Fault(**where, **fault)], **CARELESS) as emulator, client(emulator) as kling:
        error = await caught(kling._transport.submit("/v1/videos/text2video", b'{"prompt":"a red bicycle"}'), kind)
        assert len([request for request in emulator.requests if request.kind == "create"]) <= 1
        return error


async def found_after(*, settings: dict[str, Any] | None = None, **fault: Any) -> None:
    """Every answer to a create is lost after its effect: each job is unsure, is found, and is paid once."""
    broken = Fault(**{"stage": "after", "kind": "create", **fault})
    async with service(faults=[broken], **{**CARELESS, **(settings or {})}) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
        assert {await left(job, Status.QUEUED, Status.SENDING) for job in jobs} == {Status.UNSURE}
        await finished(jobs)
        assert kinds(emulator)["create"] == 3
        assert_paid_once(emulator, 3)
        assert {job.id for job in jobs} == {task.external_id for task in emulator.tasks}


async def sent_again_after(**fault: Any) -> None:
    """One create is lost before its effect: after the window, absent, it goes again under the same id, and once."""
    is_accept = fault.get("stage") == "accept"
    settings = {**CARELESS, "duration_s": 400.0}
    async with service(**settings) as emulator, client(emulator, fresh=is_accept) as kling:
        first = await kling.submit(clip("shows that the host finds by external id"))
        await first.accepted()
        await asyncio.sleep(20)
        where: dict[str, Any] = {} if is_accept else {"kind": "create"}
        emulator.faults.append(Fault(**where, **{"times": 1, **fault}))
        began = emulator.now()
        job = await kling.submit(clip("lost"), job_id="lost")
        assert await left(job, Status.QUEUED, Status.SENDING) is Status.UNSURE
        await finished([job])
        assert emulator.faults.hits() == 1
        assert_paid_once(emulator, 2)
        again = emulator.tasks[1]
        assert again.external_id == "lost"
        assert again.created_at - began >= Policy().settle_s
        await finished([first])


async def waiters_get_nothing_of(*, for_s: float = 30.0, most_s: float = 400.0, **fault: Any) -> None:
    """Every question goes wrong for a while: every job delivers all the same, and nothing is sent again."""
    async with service(**{**CARELESS, "lists": True}) as emulator, client(emulator, fresh=True) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(4)]
        for job in jobs:
            await job.accepted()
        since_s = emulator.now() - EPOCH
        kinds_hit: tuple[str | None, ...] = (None,) if fault.get("stage") == "accept" else QUESTIONS
        emulator.faults.extend(Fault(kind=kind, until_s=since_s + for_s, **fault) for kind in kinds_hit)
        await finished(jobs)
        assert emulator.faults.hits() > 0
        assert emulator.now() - EPOCH < most_s
        assert kinds(emulator)["create"] == 4
        assert_paid_once(emulator, 4)


async def query_gets(kind: type[KlingError], **fault: Any) -> KlingError:
    """What a question of the user's own raises; it costs nothing."""
    where: dict[str, Any] = {} if fault.get("stage") == "accept" else {"kind": "single"}
    async with service(**CARELESS) as emulator, client(emulator, fresh=True) as kling:
        emulator.faults.append(Fault(**where, **fault))
        error = await caught(kling.query("867000000000000001", "text2video"), kind)
        assert error.paid == "no"
        return error


async def check_unknown(
    kind: type[KlingError], *, effect: bool = True, asked: bool = True, retryable: bool = True, **fault: Any
) -> None:
    """All that a row says whose submit is UNKNOWN, and which nobody who waits ever sees."""
    lost = await submit_gets(kind, **fault)
    assert (lost.paid, lost.retryable) == ("maybe", retryable)
    if effect:
        await found_after(**fault)
    await sent_again_after(**fault)
    if asked:
        told = await query_gets(kind, **fault)
        assert told.retryable is retryable
        await waiters_get_nothing_of(**fault)
