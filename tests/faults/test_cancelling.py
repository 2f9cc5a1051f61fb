"""F47: the caller is cancelled at its first await, at its second, and so on, until there is none left.

Whatever it was doing (submitting, waiting for an answer that was lost, following, downloading, closing), the
cancellation comes through to it, the journal stays consistent, there is at most one task, everybody else who waits is
served, and nothing is left behind.
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from fault_tools import finished
from flow_tools import SOCKET, clip, host_of, kinds, service, wall

from kling_async import AnswerTimeout, Job, KlingSession, Policy, Status
from kling_async.emulator import Emulator, Fault
from kling_async.journal import Change, Entry, MemoryJournal, MemoryStore

MOST_AWAITS = 400


@attrs.define
class Awaits:
    """Counts the awaits of a coroutine at which it is really suspended, and cancels its asyncio task at one of them."""

    cancel_at: int
    count: int = 0

    @types.coroutine
    def driving(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Drive the coroutine by hand, as a task would."""
        step: Callable[[], Any] = lambda: work.send(None)  # noqa: E731
        while True:
            try:
                waited_for = step()
            except StopIteration as end:
                return end.value
            self.count += 1
            if self.count == self.cancel_at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value = yield waited_for
            except BaseException as error:  # noqa: BLE001 - handed on to the coroutine
                step = _throwing(work, error)
            else:
                step = _sending(work, value)


def _throwing(work: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: work.throw(error)


def _sending(work: Coroutine[Any, Any, Any], value: Any) -> Callable[[], Any]:
    return lambda: work.send(value)


class Slow(MemoryJournal):
    """A journal each of whose calls takes a few turns of the loop, before and after its effect."""

    async def add(self, entry: Entry) -> Entry | None:
        await asyncio.sleep(0)
        found = await super().add(entry)
        await asyncio.sleep(0.01)
        return found

    async def write(self, change: Change) -> None:
        await asyncio.sleep(0.01)
        await super().write(change)
        await asyncio.sleep(0)

    async def release(self, job_ids: Iterable[str] | None = None) -> None:
        await asyncio.sleep(0)
        await super().release(job_ids)
        await asyncio.sleep(0)

    async def close(self) -> None:
        await asyncio.sleep(0)
        await super().close()


@attrs.define(kw_only=True)
class Stage:
    """What a scenario plays on: the caller's part is `work`, the rest of the world goes on beside it."""

    emulator: Emulator
    kling: KlingSession
    store: MemoryStore
    folder: Path
    other: Job | None = None


Work = Callable[[Stage], Coroutine[Any, Any, Any]]
Setting = Callable[[Stage], Awaitable[None]]


async def submit(stage: Stage) -> None:
    await stage.kling.submit(clip("mine"), job_id="mine")


async def generate(stage: Stage) -> None:
    await stage.kling.generate(clip("mine"), job_id="mine")


async def accepted(stage: Stage) -> None:
    await (await stage.kling.submit(clip("mine"), job_id="mine")).accepted()


async def watch(stage: Stage) -> None:
    job = await stage.kling.submit(clip("mine"), job_id="mine")
    async for _ in job.watch():
        pass


async def follow_together(stage: Stage) -> None:
    """Wait for the job that another waiter has too."""
    assert stage.other is not None
    await stage.other


async def map_two(stage: Stage) -> None:
    async for _ in stage.kling.map(clip(f"mapped {index}") for index in range(2)):
        pass


async def query(stage: Stage) -> None:
    assert stage.other is not None
    await stage.kling.query(stage.other)


async def download(stage: Stage) -> None:
    assert stage.other is not None
    await stage.kling.download(await stage.other, stage.folder, name="clip")


async def close(stage: Stage) -> None:
    await stage.kling.aclose()


async def close_by_leaving(stage: Stage) -> None:
    await stage.kling.__aexit__(None, None, None)


# Put in force when the other job has its task: each hits the caller's own create.
LOST = Fault(action="reset", stage="after", kind="create", times=1)
LOST_BEFORE = Fault(action="close", kind="create", times=1)
HUNG = Fault(action="hang", kind="create", times=1)
SLOW = Fault(action="delay", stage="after", kind="create", delay_s=3.0, times=1)

# name → the caller's part, the faults meanwhile, and how many awaits it must have at least, so that it is a sweep.
SCENARIOS: dict[str, tuple[Work, list[Fault], int]] = {
    "submit": (submit, [], 2),
    "submit and wait": (generate, [], 3),
    "slow answer": (generate, [SLOW], 3),
    "settle, found": (generate, [LOST], 3),
    "settle, sent again": (generate, [LOST_BEFORE], 3),
    "settle, hung": (generate, [HUNG], 3),
    "accepted": (accepted, [LOST], 3),
    "watch": (watch, [], 3),
    "map": (map_two, [], 4),
    "poll together": (follow_together, [], 1),
    "poll through trouble": (follow_together, [Fault(action="html", kind="single", status=502, until_s=50)], 1),
    "query": (query, [], 1),
    "query that hangs": (query, [Fault(action="hang", kind="single", until_s=50)], 1),
    "download": (download, [], 5),
    "download that breaks": (download, [Fault(action="truncate", kind="asset", times=2)], 8),
    "close": (close, [], 2),
    "close with a create in flight": (close, [SLOW], 2),
    "leave": (close_by_leaving, [], 2),
}
ENDS_THE_SESSION = {"close", "close with a create in flight", "leave"}


async def play(name: str, cancel_at: int, folder: Path) -> int:
    """Play a scenario once and cancel its caller at the given await; give how many awaits there were."""
    work, faults, _ = SCENARIOS[name]
    awaits = Awaits(cancel_at)
    before = asyncio.all_tasks()
    store = MemoryStore()
    async with service(duration_s=30.0, unique_external_ids=False) as emulator:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=SOCKET)) as http:
            kling = KlingSession(
                api_key=emulator.api_key,
                base_url=host_of(emulator),
                http=http,
                wall=wall,
                seed=7,
                journal=Slow(wall=wall, owner="first", store=store),
                policy=Policy(grace_s=5.0),
            )
            await kling.__aenter__()
            kling._downloader._http = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=SOCKET), auto_decompress=False
            )
            try:
                stage = Stage(emulator=emulator, kling=kling, store=store, folder=folder)
                stage.other = await kling.submit(clip("other"), job_id="other")
                await stage.other.accepted()
                if name.startswith("close with"):
                    stage.emulator.faults.extend(faults)
                    await kling.submit(clip("mine"), job_id="mine")
                    await asyncio.sleep(1)
                else:
                    await asyncio.sleep(20)
                    emulator.faults.extend(faults)
                beside = asyncio.ensure_future(_wait(stage.other))
                caller = asyncio.ensure_future(_drive(awaits, work(stage)))
                await asyncio.wait({caller})
                assert caller.cancelled() is (awaits.count >= cancel_at), "a cancellation comes through, and only one"
                if not caller.cancelled() and not isinstance(caller.exception(), AnswerTimeout):
                    caller.result()
                await _check(name, stage, beside)
            finally:
                await kling.aclose()
                await kling._downloader.close()
            _check_journal(stage)
        assert not list(folder.glob(".*.part"))
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() if not task.done()} - before
    assert left == set()
    return awaits.count


async def _drive(awaits: Awaits, work: Coroutine[Any, Any, Any]) -> Any:
    return await awaits.driving(work)


async def _wait(job: Job) -> Any:
    return await job


async def _check(name: str, stage: Stage, beside: asyncio.Future[Any]) -> None:
    """Everybody else is served, the session works on, and there is at most one task for each job."""
    if name in ENDS_THE_SESSION:
        await asyncio.wait({beside})
        assert not beside.cancelled()
        beside.exception()  # SessionClosed, or it was done before
    else:
        assert (await beside).url
        mine = stage.kling._runtime.scheduler().open_job("mine")
        if mine is not None:  # it goes on, whoever has left
            await finished([mine])
        again = await stage.kling.submit(clip("later"))
        await finished([again])
    ids = [task.external_id for task in stage.emulator.tasks]
    assert len(ids) == len(set(ids))
    assert kinds(stage.emulator)["create"] <= len(ids) + 1


def _check_journal(stage: Stage) -> None:
    """What was recorded is what happened: a task for each entry that says so, and none for those that say none."""
    made = {task.external_id: task.task_id for task in stage.emulator.tasks}
    for job_id, entry in stage.store.entries.items():
        if entry.task_id is not None:
            assert made[job_id] == entry.task_id
        if entry.state in {Status.QUEUED, Status.REJECTED} or (entry.state is Status.ABANDONED and not entry.attempt):
            assert job_id not in made
        if entry.state.is_final and entry.state is not Status.ABANDONED:
            assert entry.state is Status.SUCCEEDED
    assert made.keys() <= stage.store.entries.keys()


@pytest.mark.fault("F47")
@pytest.mark.parametrize("name", SCENARIOS)
async def test_f47_cancelled_at_every_await(name: str, tmp_path: Path) -> None:
    """Once without, to count; then at the first await, the second, ..., until one is left to its end."""
    least = SCENARIOS[name][2]
    total = await play(name, MOST_AWAITS + 1, tmp_path)
    assert least <= total <= MOST_AWAITS
    for number in range(1, total + 1):
        await play(name, number, tmp_path / str(number))
