"""A random user, a random network and a random clock against the real session: what must hold after every step."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import aiohttp
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kling_async import Job, KlingError, KlingSession, Policy, Status, TextToVideo, official
from kling_async.emulator import Emulator, Fault
from kling_async.emulator.virtual import VirtualLoop

SOCKET = "/virtual/emulator"
EPOCH = 1_790_000_000.0
T = TypeVar("T")

FAULTS = [
    Fault(action="reset", stage="after", kind="create"),
    Fault(action="close", stage="before", kind="create"),
    Fault(action="html", stage="after", kind="create", status=502),
    Fault(action="reset", kind="create", commit_after_s=15.0),
    Fault(action="status", kind="create", status=429, code=1302),
    Fault(action="html", status=200, rate=0.5),
    Fault(action="reset", rate=0.5),
    Fault(action="delay", delay_s=7.0),
    Fault(action="truncate", kind="list"),
    Fault(action="status", kind="single", status=500, code=5000),
]


class SessionMachine(RuleBasedStateMachine):
    """Submit, wait, cancel, abandon, break, mend, close and open again, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.stack = AsyncExitStack()
        self.jobs: list[Job] = []
        self.waiters: list[tuple[Job, asyncio.Future[Any]]] = []
        self.final: dict[int, tuple[Status, object]] = {}
        self.cancelled: set[int] = set()
        self.kling: KlingSession | None = None
        self.number = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(
        dialect=st.sampled_from(["official", "cometapi", "new-api"]),
        slots=st.sampled_from([None, 2, 5]),
        max_running=st.sampled_from([None, 1, 4]),
        seed=st.integers(0, 3),
    )
    def start(self, dialect: str, slots: int | None, max_running: int | None, seed: int) -> None:
        self.max_running = max_running
        self.emulator = Emulator(
            dialect=dialect,
            slots=slots,
            seed=seed,
            unix_path=SOCKET,
            epoch=EPOCH,
            duration_s=(2, 90),
            failure_rate=0.1,
            unique_external_ids=False,  # the host does not save us from paying twice
        )
        self.run(self.emulator.__aenter__())
        self.run(self.open())

    async def open(self) -> None:
        http = await self.stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.UnixConnector(SOCKET)))
        url = self.emulator.url
        self.kling = KlingSession(
            api_key=self.emulator.api_key,
            base_url=official(url) if self.emulator.dialect == "official" else url,
            http=http,
            max_running=self.max_running,
            policy=Policy(grace_s=2.0),
            seed=1,
        )
        await self.kling.__aenter__()

    @rule(count=st.integers(1, 4), timeout=st.sampled_from([None, None, 30.0]), named=st.booleans())
    def submit(self, count: int, timeout: float | None, named: bool) -> None:
        async def work() -> None:
            assert self.kling is not None
            for _ in range(count):
                self.number += 1
                request = TextToVideo(prompt=f"scene {self.number}", model_name="kling-v2-6")
                name = f"job-{self.number}" if named else None
                job = await self.kling.submit(request, timeout=timeout, job_id=name)
                if named:
                    assert await self.kling.submit(request, job_id=name) is job
                self.jobs.append(job)

        self.run(work())

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))

        async def wait() -> object:
            return await job

        async def work() -> None:
            self.waiters.append((job, asyncio.ensure_future(wait())))
            await asyncio.sleep(0)

        self.run(work())

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def cancel_one_waiter(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.waiters) - 1))
        _, waiter = self.waiters.pop(index)

        async def work() -> None:
            waiter.cancel()
            await asyncio.wait({waiter})

        self.run(work())
        waiter.cancelled() or waiter.exception()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))

        async def work() -> None:
            job.abandon()

        self.run(work())
        assert job.done()

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 30.0, 120.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(fault=st.sampled_from(FAULTS))
    def break_something(self, fault: Fault) -> None:
        self.emulator.faults.append(fault)

    @rule()
    def mend_everything(self) -> None:
        self.emulator.faults.clear()

    @rule()
    def close_and_open_again(self) -> None:
        async def work() -> None:
            assert self.kling is not None
            await self.kling.aclose()
            for job in self.jobs:
                assert job.done()
            await self.open()

        self.run(work())

    # --- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_made_twice(self) -> None:
        if self.kling is not None:
            ids = [task.external_id for task in self.emulator.tasks]
            assert len(ids) == len(set(ids))

    @invariant()
    def what_is_final_stays(self) -> None:
        for index, job in enumerate(self.jobs):
            if not job.status.is_final:
                continue
            value = job.result() if job.status is Status.SUCCEEDED else (type(job.error), str(job.error))
            assert self.final.setdefault(index, (job.status, value)) == (job.status, value)

    @invariant()
    def waiters_end_with_their_job(self) -> None:
        self.run(asyncio.sleep(0))
        for job, waiter in self.waiters:
            assert waiter.done() == job.done()
            if waiter.done() and waiter.exception() is not None:
                assert isinstance(waiter.exception(), KlingError)

    @invariant()
    def slots_are_counted_right(self) -> None:
        if self.kling is None or (scheduler := self.kling._runtime.last_scheduler) is None:
            return
        gates = scheduler.submitter.gates.values()
        assert all(gate.running >= 0 and gate.sending >= 0 for gate in gates)
        assert sum(gate.sending for gate in gates) == scheduler.submitter.in_flight
        if self.max_running is not None:
            assert sum(gate.running + gate.sending for gate in gates) <= self.max_running

    @invariant()
    def counts_are_those_of_the_jobs(self) -> None:
        if self.kling is not None:
            assert all(number >= 0 for number in self.kling.stats.jobs.values())
            assert self.kling._runtime.crash is None

    def teardown(self) -> None:
        """When the faults stop, everything ends within bounded time, and nothing is left behind."""
        try:
            if self.kling is not None:
                self.emulator.faults.clear()
                self.run(self.finish())
                self.nothing_is_made_twice()
                self.what_is_final_stays()
        finally:
            if self.kling is not None:
                self.run(self.shut())
            self.loop.close()

    async def finish(self) -> None:
        for _ in range(400):
            if all(job.done() for job in self.jobs):
                return
            await asyncio.sleep(10)
        left = [job for job in self.jobs if not job.done()]
        raise AssertionError(f"after 4000 s without faults these are not done: {left}")

    async def shut(self) -> None:
        assert self.kling is not None
        await self.kling.aclose()
        await self.stack.aclose()
        await self.emulator.__aexit__(None, None, None)
        for _, waiter in self.waiters:
            if not waiter.done():
                waiter.cancel()
            await asyncio.wait({waiter})
            assert waiter.cancelled() or isinstance(waiter.exception(), KlingError | None)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left


SessionMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSessionMachine = SessionMachine.TestCase
