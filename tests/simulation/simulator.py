"""One history: a plan carried out on virtual time with the real session and the real emulator, and judged at each step.

Theory. Everything that a run could depend on comes from the seed: chance, names, clocks, the network, the disk. What
must hold is checked each time before the clock jumps, so that the moment at which it ceased to hold is the moment at
which the history stops.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import hashlib
import logging
import random
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import attrs
from plans import End, Order, Plan, draw_plan
from world import PROCESS, Disk, Process, TornJournal, Violation, World

from kling_async import (
    Job,
    JobAbandoned,
    KlingError,
    KlingSession,
    Operation,
    Policy,
    SessionClosed,
    Status,
    TaskFailed,
    TextToVideo,
    find_host,
    new_api,
    official,
)
from kling_async import errors as all_errors
from kling_async.emulator import Emulator
from kling_async.emulator.virtual import Stuck, describe_task
from kling_async.journal import Entry, MemoryStore

SOCKET = "/virtual/emulator"
EPOCH = 1_790_000_000.0
_ADOPT_EVERY_S = 25.0
_LATE_S = 120.0  # longer than anything postponed by the host
_CLOSING_S = 75.0  # grace, and what a request in flight may take


@attrs.frozen
class Told:
    """What a user was told of a job."""

    at: float
    process: str
    job_id: str
    status: Status
    error: KlingError | None


@attrs.define
class Report:
    """What came of a history."""

    seed: int
    digest: str
    steps: int
    requests: int
    tasks: int
    jobs: int
    crashes: int
    virtual_s: float
    ends: Counter[str]


@attrs.define(eq=False)
class History:
    """One run of a plan."""

    plan: Plan
    trace: Callable[[str], None] | None = None
    world: World = attrs.field(init=False)
    emulator: Emulator = attrs.field(init=False)
    disk: Disk = attrs.field(init=False)
    rng: random.Random = attrs.field(init=False)
    steps: int = 0
    crashes: int = 0
    running: dict[int, Process] = attrs.field(factory=dict)
    past: list[Process] = attrs.field(factory=list)
    told: list[Told] = attrs.field(factory=list)
    problems: list[str] = attrs.field(factory=list)
    _ends: dict[int, list[End]] = attrs.field(factory=dict)
    _work: Counter[str] = attrs.field(factory=Counter)
    _creates_seen: int = 0
    _logged: int = 0
    _began_creates: dict[str, int] = attrs.field(factory=dict)
    _generation: Counter[int] = attrs.field(factory=Counter)
    _asked_once: set[tuple[int, int]] = attrs.field(factory=set)
    _jobs: dict[str, list[tuple[Process, Job]]] = attrs.field(factory=dict)
    _seen: dict[int, tuple[Job, Status, object]] = attrs.field(factory=dict)
    _made: Counter[str] = attrs.field(factory=Counter)
    _tasks_seen: int = 0
    _excused: set[str] = attrs.field(factory=set)
    _offset: float = 0.0
    _finished: asyncio.Event = attrs.field(init=False)
    _pending_starts: int = 0
    _digest: Any = attrs.field(factory=hashlib.sha256)
    _stop_checking: bool = False

    def __attrs_post_init__(self) -> None:
        plan = self.plan
        self.rng = random.Random(f"kling history {plan.seed}")
        line = random.Random(f"kling line {plan.seed}")
        low, high = plan.latency
        latency: float | Callable[[], float] = low if low == high else lambda: line.uniform(low, high)
        self.world = World(on_step=self._on_step, latency=latency)
        self.disk = Disk(
            store=MemoryStore(),
            rng=random.Random(f"kling disk {plan.seed}"),
            delay_s=plan.commit_s,
            fails=self._disk_is_full,
            on_work=self._on_work,
            digest=self.note,
        )
        for end in plan.ends:
            self._ends.setdefault(end.slot, []).append(end)

    def run(self) -> Report:
        """Run it to its end.

        Raises:
            Violation: something did not hold.
        """
        asyncio.set_event_loop(None)
        self.world.set_exception_handler(self._on_report)
        try:
            with _own_names(self.plan.seed):
                try:
                    self.world.run_until_complete(self._drive())
                except Stuck as error:
                    raise Violation(f"stuck: {error}") from None
                finally:
                    self._stop_checking = True
                    self._clear_away()
        finally:
            self.world.close()
        if self.problems:
            raise Violation(self.problems[0])
        ends = Counter(f"{told.status} {type(told.error).__name__ if told.error else ''}".strip() for told in self.told)
        return Report(
            seed=self.plan.seed,
            digest=self._digest.hexdigest(),
            steps=self.steps,
            requests=len(self.emulator.requests),
            tasks=self._tasks_seen,
            jobs=len(self._jobs),
            crashes=self.crashes,
            virtual_s=self.world.time(),
            ends=ends,
        )

    def note(self, line: str) -> None:
        """Take a line into the trace."""
        text = f"{self.world.time():12.6f} {line}"
        self._digest.update(text.encode() + b"\n")
        if self.trace is not None:
            self.trace(text)

    def wall(self) -> float:
        """The wall clock of the machine on which the programs run."""
        return EPOCH + self.world.time() + self._offset

    # --- carrying out ----------------------------------------------------------------------------------------------

    async def _drive(self) -> None:
        plan, world = self.plan, self.world
        self._finished = asyncio.Event()
        async with Emulator(
            **plan.host, faults=plan.faults, unix_path=SOCKET, epoch=EPOCH, seed=plan.seed, hang_s=90.0
        ) as self.emulator:
            for slot in range(plan.programs):
                self._begin(slot)
            for at in plan.cuts:
                world.call_at(at, self._cut)
            for at, until in plan.outages:
                world.call_at(at, self._set_down, True)
                world.call_at(until, self._set_down, False)
            for at, by_s in plan.jumps:
                world.call_at(at, self._jump, by_s)
            for slot, at, for_s in plan.pauses:
                world.call_at(at, self._pause, slot, for_s)
            bound_s = self._bound_s()
            try:
                async with asyncio.timeout(bound_s):
                    await self._finished.wait()
            except TimeoutError:
                raise Violation(f"not finished after {bound_s:.0f} s: {self._left()}") from None
            await asyncio.sleep(_LATE_S)  # what the host does late
            self._judge()
            self._stop_checking = True

    def _bound_s(self) -> float:
        """Virtual seconds within which everything has to be over."""
        plan = self.plan
        each_s = plan.host["duration_s"][1] + 40.0
        width = min(plan.max_running or 25, plan.host["slots"] or 25)
        trouble_s = max([plan.faults_end, *(until for _, until in plan.outages), *(at + s for _, at, s in plan.pauses)])
        restarts_s = sum(end.restart_s + 100.0 + plan.lease_s for end in plan.ends)
        jumps_s = sum(abs(by_s) for _, by_s in plan.jumps)  # a lease may seem to run for longer
        bound_s: float = (
            1500.0 + trouble_s + restarts_s + jumps_s + each_s * (len(plan.orders) / width + 1) + plan.lease_s * 4
        )
        return bound_s

    def _begin(self, slot: int) -> None:
        self._generation[slot] += 1
        process = Process(f"p{slot}.{self._generation[slot]}", slot)
        self.running[slot] = process
        self.note(f"{process.name} begins")
        process.main = self.world.start(process, self._program(process))
        process.main.add_done_callback(functools.partial(self._on_end, process))
        ends = self._ends.get(slot)
        self._began_creates[process.name] = self._creates_seen
        if ends and ends[0].on in {"time", "close"}:
            self.world.call_later(ends[0].at, self._end_in_time, process, ends[0])

    def _end_in_time(self, process: Process, end: End) -> None:
        if self.running.get(process.slot) is not process or process.state == "dead":
            return
        assert process.main is not None
        if process.main.done():
            return  # what has ended cannot be killed
        if end.on == "time":
            self._kill(process)
        elif process.state == "alive":
            self.note(f"{process.name} is asked to close")
            self._ends[process.slot].pop(0)
            process.main.cancel()
            self.world.call_later(_CLOSING_S + self._slack_s(), self._must_be_closed, process)
            self._restart(process.slot, end.restart_s)

    def _slack_s(self) -> float:
        return 30.0 + sum(for_s for _, _, for_s in self.plan.pauses) + self.plan.commit_s[1] * 20

    def _must_be_closed(self, process: Process) -> None:
        if process.state == "alive" and process.main is not None and not process.main.done():
            self.problems.append(f"{process.name} was asked to close and did not: {describe_task(process.main)}")

    def _restart(self, slot: int, after_s: float) -> None:
        self._pending_starts += 1

        def start() -> None:
            before = self.running.get(slot)
            if before is not None and before.state != "dead" and before.main is not None and not before.main.done():
                self.world.call_later(1.0, start)
                return
            self._pending_starts -= 1
            self._begin(slot)

        self.world.call_later(after_s, start)

    def _kill(self, process: Process) -> None:
        end = self._ends[process.slot].pop(0)
        self.note(f"{process.name} is killed ({end.on} {end.at:g}, {end.ending})")
        self.crashes += 1
        self.world.kill(process, end.ending)
        if process.journal is not None:
            process.journal.die()
        if end.is_known:
            self.disk.ended.add(process.name)
        self.past.append(process)
        self._restart(process.slot, end.restart_s)

    def _on_work(self, process: Process) -> None:
        """Count a piece of work that the journal took: some processes die at the n-th."""
        self._work[process.name] += 1
        ends = self._ends.get(process.slot)
        due = ends and ends[0].on == "journal" and self._work[process.name] >= ends[0].at
        if due and process.state == "alive" and self.running.get(process.slot) is process:
            contextvars.Context().run(self._kill, process)  # what follows from it is not the process's own

    def _on_end(self, process: Process, main: asyncio.Task[None]) -> None:
        if process.state == "ghost":
            return
        if not main.cancelled() and main.exception() is not None:
            self.problems.append(f"{process.name} ended with {_shown(main.exception())}")
        self.note(f"{process.name} ended")
        left = [task for task in process.tasks if not task.done()]
        if left:
            self.world.call_later(5.0, self._check_left, process)
        if self.running.get(process.slot) is process and not main.cancelled():
            self._check_finished()

    def _check_left(self, process: Process) -> None:
        left = [describe_task(task) for task in process.tasks if not task.done()]
        if left and process.state == "alive":
            self.problems.append(f"{process.name} left behind: {'; '.join(left)}")

    def _check_finished(self) -> None:
        over = [process.main is not None and process.main.done() for process in self.running.values()]
        if all(over) and not self._pending_starts:
            self._finished.set()

    def _cut(self) -> None:
        connections = self.world.connections
        if connections:
            self.note("a connection is cut")
            connections[self.rng.randrange(len(connections))].cut()

    def _set_down(self, down: bool) -> None:
        self.note("the host cannot be reached" if down else "the host can be reached again")
        self.world.is_down = down

    def _jump(self, by_s: float) -> None:
        self.note(f"the wall clock jumps by {by_s:g} s")
        self._offset += by_s

    def _disk_is_full(self) -> bool:
        full = self.plan.full_disk
        return full is not None and full[0] <= self.world.time() < full[1]

    def _pause(self, slot: int, for_s: float) -> None:
        process = self.running.get(slot)
        if process is None or process.state != "alive" or process.main is None or process.main.done():
            return
        self.note(f"{process.name} stands still for {for_s:g} s")
        process.state = "paused"
        scheduler = _scheduler(process)
        if scheduler is not None:
            # Between the last look at the lease and the first byte nothing can help but the host: these may go twice.
            self._excused.update(
                track.job.id for track in scheduler._open.values() if track.job.status is Status.SENDING
            )
        self.world.call_later(for_s, self._go_on, process)

    def _go_on(self, process: Process) -> None:
        if process.state == "paused":
            self.note(f"{process.name} goes on")
            process.state = "alive"
            process.take_up(self.world)

    # --- what a program does ---------------------------------------------------------------------------------------

    async def _program(self, process: Process) -> None:
        plan = self.plan
        if plan.has_journal:
            process.journal = TornJournal(self.disk, process, self.wall)
        url = self.emulator.url
        hosts = {"official": official, "new-api": new_api}
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(SOCKET, limit=100)) as http,
            KlingSession(
                api_key=self.emulator.api_key,
                base_url=hosts.get(plan.host["dialect"], find_host)(url),
                http=http,
                journal=process.journal,
                max_running=plan.max_running,
                policy=Policy(lease_s=plan.lease_s, settle_s=60.0),
                seed=plan.seed,
                wall=self.wall,
            ) as session,
        ):
            process.session = session
            async with asyncio.TaskGroup() as users:
                if plan.has_journal and plan.adopts_first:
                    await self._adopt(process, session, users)
                mapped = [order for order in self._orders_of(process) if order.through_map]
                if mapped:
                    users.create_task(self._map(process, session, mapped))
                for order in self._orders_of(process):
                    if not order.through_map:
                        users.create_task(self._order(process, session, order, users))
                if plan.has_journal:
                    await self._adopt_until_all_is_over(process, session, users)

    def _orders_of(self, process: Process) -> list[Order]:
        """Give what this run asks for: what has no name is asked for once, whatever becomes of it."""
        return [
            order
            for order in self.plan.orders
            if order.slot == process.slot
            and (order.name is not None or (order.slot, order.number) not in self._asked_once)
        ]

    def _request(self, order: Order) -> Any:
        prompt = f"scene {order.number}"
        if order.new:
            return Operation(operation="text-to-video", model="kling-3.0", prompt=prompt, settings={"duration": 3})
        return TextToVideo(prompt=prompt, model_name="kling-v2-6", duration="5")

    async def _order(self, process: Process, session: KlingSession, order: Order, users: asyncio.TaskGroup) -> None:
        await asyncio.sleep(order.at)
        while True:
            self._asked_once.add((order.slot, order.number))
            try:
                job = await session.submit(self._request(order), job_id=order.name, timeout=order.timeout)
            except SessionClosed:
                return
            except KlingError as error:
                self.note(f"{process.name} order {order.number} not taken: {type(error).__name__} paid {error.paid}")
                if error.paid != "no":
                    self.problems.append(f"a submit that raises says paid={error.paid}: {_shown(error)}")
                await asyncio.sleep(5.0)
                continue
            break
        if order.name is not None and job.id != order.name:
            self.problems.append(f"{order.name} became {job.id}")
        self._follow(process, job, users, waiters=order.waiters)
        if order.cancel_after is not None:
            waiter = users.create_task(self._wait(process, job))
            await asyncio.sleep(order.cancel_after)
            waiter.cancel()
        if order.abandon_after is not None:
            await asyncio.sleep(order.abandon_after)
            job.abandon()

    async def _map(self, process: Process, session: KlingSession, orders: list[Order]) -> None:
        def requests() -> Iterator[Any]:
            for order in orders:
                self._asked_once.add((order.slot, order.number))
                yield self._request(order)

        pending = self.rng.choice([1, 2, 100])
        try:
            async for job in session.map(requests(), max_pending=pending, timeout=orders[0].timeout):
                self._hold(process, job)
                if not job.done():
                    self.problems.append(f"map gave a job that is not done: {job}")
                self._tell(process, job)
        except KlingError as error:
            self.note(f"{process.name} map ended: {type(error).__name__} paid {error.paid}")
            self._asked_once |= {(order.slot, order.number) for order in orders}  # its caller gives them up

    async def _adopt_until_all_is_over(self, process: Process, session: KlingSession, users: asyncio.TaskGroup) -> None:
        while await self._adopt(process, session, users):
            wanted = {(order.slot, order.number) for order in self.plan.orders if order.slot == process.slot}
            if wanted <= self._asked_once and not self._unfinished() and not self._open_jobs(process):
                return
            await asyncio.sleep(_ADOPT_EVERY_S)

    async def _adopt(self, process: Process, session: KlingSession, users: asyncio.TaskGroup) -> bool:
        try:
            for job in await session.adopt():
                self._follow(process, job, users, waiters=1)
        except SessionClosed:
            return False
        except KlingError as error:
            self.note(f"{process.name} cannot adopt: {type(error).__name__}")
        return True

    def _open_jobs(self, process: Process) -> bool:
        return any(task for task in process.tasks if not task.done() and task.get_name().startswith("waiter"))

    def _follow(self, process: Process, job: Job, users: asyncio.TaskGroup, *, waiters: int) -> None:
        self._hold(process, job)
        for _ in range(max(1, waiters)):
            users.create_task(self._wait(process, job), name=f"waiter of {job.id}")

    def _hold(self, process: Process, job: Job) -> None:
        held = self._jobs.setdefault(job.id, [])
        if not any(job is other for _, other in held):
            held.append((process, job))

    async def _wait(self, process: Process, job: Job) -> None:
        try:
            await job
        except KlingError as error:
            if not job.done():
                self.problems.append(f"a waiter of {job} was woken with {_shown(error)}, and it is not done")
        self._tell(process, job)

    def _tell(self, process: Process, job: Job) -> None:
        error = job.error
        self.note(f"{process.name} is told {job.id} {job.status} {type(error).__name__} {error.paid if error else ''}")
        self.told.append(Told(self.world.time(), process.name, job.id, job.status, error))
        if error is None and job.status is not Status.SUCCEEDED:
            self.problems.append(f"{job} delivers, and its status does not say so")

    # --- what must hold at each step -------------------------------------------------------------------------------

    def _on_report(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self._stop_checking:
            error = context.get("exception")
            if isinstance(error, BaseException) and any(
                frame.f_code.co_filename.endswith("aiohttp/web_protocol.py")
                for frame, _ in traceback.walk_tb(error.__traceback__)
            ):
                return  # a peer that resets at once trips the server side of aiohttp itself
            place = "".join(traceback.format_tb(error.__traceback__)[-3:]) if isinstance(error, BaseException) else ""
            self.problems.append(f"unhandled: {context.get('message')} {_shown(error)}\n{place}".rstrip())

    def _on_step(self) -> None:
        if self._stop_checking:
            return
        self.steps += 1
        self._read_log()
        self._check_ledger()
        stirred = [process for process in self.running.values() if process.has_stirred]
        for process in stirred:
            process.has_stirred = False
            if process.state == "alive":
                self._check_process(process)
        if stirred:
            self._check_owners()
            self._check_handles()
        if self.problems:
            raise Violation(self.problems[0])

    def _read_log(self) -> None:
        requests = self.emulator.requests if hasattr(self, "emulator") else []
        while self._logged < len(requests):
            request = requests[self._logged]
            self._logged += 1
            self.note(
                f"{request.method} {request.path}?{request.query} {request.kind} {request.status} {request.fault}"
            )
            self._creates_seen += request.kind == "create"
        for process in list(self.running.values()):
            ends = self._ends.get(process.slot)
            if ends and ends[0].on == "create" and process.state == "alive":
                seen = self._creates_seen - self._began_creates[process.name]
                if seen >= ends[0].at and process.main is not None and not process.main.done():
                    self._kill(process)

    def _check_ledger(self) -> None:
        """No job has two tasks."""
        if not hasattr(self, "emulator"):
            return
        service = self.emulator._service
        service.settle(self.emulator.now())
        while self._tasks_seen < len(service.tasks):
            task = service.tasks[self._tasks_seen]
            self._tasks_seen += 1
            self._made[task.external_id] += 1
            self.note(f"the host has made task {task.public_id} of {task.external_id}")
            if self._made[task.external_id] > 1 and task.external_id not in self._excused:
                self.problems.append(f"job {task.external_id} is made and paid twice")

    def _check_process(self, process: Process) -> None:
        scheduler = _scheduler(process)
        if scheduler is None or process.session is None:
            return
        if process.session._runtime.crash is not None:
            self.problems.append(f"{process.name} crashed: {_shown(process.session._runtime.crash.__cause__)}")
            return
        if process.session._runtime._closed:
            return
        gates = scheduler.submitter.gates.values()
        running, sending = sum(gate.running for gate in gates), sum(gate.sending for gate in gates)
        tracks = {id(track): track for track in (*scheduler._open.values(), *scheduler._by_task.values())}
        holding = sum(track.slots for track in tracks.values() if track.holds_slot)
        if running != holding:
            self.problems.append(f"{process.name} counts {running} slots as running, and {holding} are held")
        if sending != scheduler.submitter.in_flight or min([0, *(gate.running for gate in gates)]) < 0:
            self.problems.append(f"{process.name} counts its slots wrongly: {sending} sending, {list(gates)}")
        if self.plan.max_running is not None:
            # Slots of jobs that began in another session are taken, whatever the bound is.
            entries = self.disk.store.entries
            taken = sum(t.slots for t in tracks.values() if t.holds_slot and _was_taken(entries.get(t.job.id)))
            most = self.plan.max_running + taken
            if running + sending > most:
                self.problems.append(f"{process.name} has {running + sending} slots, more than {most}")
        if any(number < 0 for number in scheduler.counts.values()):
            self.problems.append(f"{process.name} counts jobs wrongly: {scheduler.counts}")

    def _check_owners(self) -> None:
        """No job is followed by two programs that both may believe that they hold it."""
        if self.plan.programs < 2 or self.plan.jumps:
            return
        now = self.world.time()
        owner_of: dict[str, str] = {}
        for process in self.running.values():
            runtime = None if process.session is None else process.session._runtime
            if runtime is None or runtime.record is None or runtime._closed or process.state != "alive":
                continue
            record = runtime.record
            if record.leased_until <= now:
                continue
            for job_id in record.held:
                if owner_of.setdefault(job_id, process.name) != process.name:
                    self.problems.append(f"job {job_id} is held by {owner_of[job_id]} and by {process.name}")

    def _unfinished(self) -> list[str]:
        """What the journal holds open, but for what was given up: later runs look it up, for ever if need be."""
        entries = self.disk.store.entries
        return [name for name in self.disk.store.unsettled if entries[name].state is not Status.UNRESOLVED]

    def _check_handles(self) -> None:
        """What is final stays, and nobody waits for what is done."""
        for held in self._jobs.values():
            for process, job in held:
                if process.state != "alive":
                    continue
                if job.done():
                    key = id(job)
                    seen = self._seen.get(key)
                    if seen is None or seen[1] is Status.UNRESOLVED:  # `adopt` may have taken it up again
                        self._seen[key] = (job, job.status, job._outcome)
                    elif seen[1] is not job.status or seen[2] is not job._outcome:
                        self.problems.append(f"{job} was {seen[1]} with {seen[2]!r}, and changed")
                    waiters = [*(job._waiters or ()), *(job._task_waiters or ())]
                    if any(not future.done() for future in waiters):
                        self.problems.append(f"{job} is done, and somebody waits for it")
                elif job.status.is_final and not self.plan.has_journal:
                    self.problems.append(f"{job} is final and not done")

    # --- what must hold at the end ---------------------------------------------------------------------------------

    def _judge(self) -> None:
        self._on_step()
        ledger: dict[str, list[Any]] = {}
        for task in self.emulator.tasks:
            ledger.setdefault(task.external_id, []).append(task)
        entries = self.disk.store.entries
        for held in self._jobs.values():
            for process, job in held:
                if process.state == "alive" and not job.done():
                    self.problems.append(f"{job} of {process.name} never ended")
        for told in self.told:
            self._judge_told(told, ledger.get(told.job_id, []))
        for job_id, tasks in ledger.items():
            if self.plan.has_journal:
                self._judge_entry(job_id, tasks, entries.get(job_id))
            elif job_id not in self._jobs:
                self.problems.append(f"nobody knows task {tasks[0].public_id} of {job_id}")
        never = {order.name for order in self.plan.orders if order.name is not None} - self._jobs.keys()
        self.problems += [f"{name} was never taken" for name in sorted(never)]
        left = [entry for entry in entries.values() if not entry.state.is_final]
        if left:
            self.problems.append(f"the journal holds open jobs: {left}")
        if self.problems:
            raise Violation(self.problems[0])

    def _judge_told(self, told: Told, tasks: list[Any]) -> None:
        """What was said about money is true."""
        error = told.error
        if error is None:
            if not tasks:
                self.problems.append(f"{told.job_id} delivered without a task")
        elif isinstance(error, TaskFailed):
            if error.paid == "no" and any(task.billed for task in tasks):
                self.problems.append(f"{told.job_id} failed unpaid, and was billed")
        elif error.paid == "no":
            # A job that a closed session left in its journal may be made later, by another one.
            before = [
                task for task in tasks if not isinstance(error, SessionClosed) or task.created_at - EPOCH < told.at
            ]
            if isinstance(error, SessionClosed | JobAbandoned) and self.plan.programs > 1:
                before = []
            if before:
                self.problems.append(f"{told.job_id} was said to be unpaid ({_shown(error)}), and has a task")
        elif error.paid == "yes" and not tasks:
            self.problems.append(f"{told.job_id} was said to be paid ({_shown(error)}), and has no task")

    def _judge_entry(self, job_id: str, tasks: list[Any], entry: Entry | None) -> None:
        """A task that was made is known to the journal, or its job says that it may have been."""
        if entry is None:
            self.problems.append(f"the journal does not know job {job_id}, and it has a task")
        elif entry.task_id not in {task.public_id for task in tasks}:
            plain: Any = entry.outcome if isinstance(entry.outcome, dict) else {}
            paid = plain.get("with", {}).get("paid") or _default_paid(plain.get("error"))
            if entry.task_id is not None or paid == "no":
                self.problems.append(f"{job_id} has a task, and its end is {entry.state}, paid {paid}: {plain}")
            elif entry.state is Status.UNRESOLVED and self._can_find():
                self.problems.append(f"{job_id} has a task, the host can be asked, and it was not found: {plain}")

    def _can_find(self) -> bool:
        """Whether the host can be asked by external id, and trouble did not last as long as the search."""
        host = self.plan.host
        able = host["dialect"] in {"official", "cometapi"} and host.get("external_lookup", True)
        return able and not self.plan.faults and not self.plan.outages and "requests_per_s" not in host

    def _left(self) -> str:
        parts = [f"journal open: {len(self._unfinished())}"]
        for process in self.running.values():
            if process.main is not None and not process.main.done():
                waiting = [task.get_name() for task in process.tasks if not task.done()]
                parts.append(f"{process.name} {process.state} {process.session!r}: {waiting[:12]}")
        return "; ".join(parts)

    # --- afterwards ------------------------------------------------------------------------------------------------

    def _clear_away(self) -> None:
        """End what is left of dead processes; nothing they do matters any more."""
        logging.disable(logging.CRITICAL)
        try:
            processes = [*self.past, *(process for process in self.running.values() if process not in self.past)]
            for process in processes:
                process.state = "ghost"
                if process.journal is not None and not process.journal._is_cut:
                    process.journal.die()
                process.take_up(self.world)
            self.world.run_until_complete(self._end_all())
        finally:
            logging.disable(logging.NOTSET)

    async def _end_all(self) -> None:
        mine = asyncio.current_task()
        for _ in range(40):
            left = [task for task in asyncio.all_tasks() if task is not mine]
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=30.0)


def _was_taken(entry: Entry | None) -> bool:
    return entry is not None and entry.epoch > 0


def run_seed(seed: int, trace: Callable[[str], None] | None = None) -> Report:
    """Run the history of a seed, without the kinds of trouble that are left out.

    Raises:
        Violation: something did not hold; the message begins with the seed.
    """
    was_enabled = gc.isenabled()
    gc.disable()  # thousands of short histories: what each leaves is collected once, after it
    try:
        return History(draw_plan(seed), trace).run()
    except Violation as error:
        raise Violation(f"seed {seed}: {error}") from None
    finally:
        if was_enabled:
            gc.enable()


def _scheduler(process: Process) -> Any:
    return None if process.session is None else process.session._runtime.last_scheduler


def _default_paid(name: object) -> str:
    return str(getattr(getattr(all_errors, str(name), KlingError), "paid", "no"))


def _shown(error: BaseException | None) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


@contextmanager
def _own_names(seed: int) -> Iterator[None]:
    """Draw the ids that the package makes up from the seed too, and keep its log quiet."""
    rng = random.Random(f"kling names {seed}")
    real = uuid.uuid4
    token = PROCESS.set(None)

    def draw() -> uuid.UUID:
        return uuid.UUID(int=rng.getrandbits(128), version=4)

    setattr(uuid, "uuid4", draw)  # noqa: B010 - assigned by name: a type checker knows a function there
    log = logging.getLogger("kling_async")
    level = log.level
    if level == logging.NOTSET:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        setattr(uuid, "uuid4", real)  # noqa: B010
        log.setLevel(level)
        PROCESS.reset(token)
