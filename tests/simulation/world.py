"""What a history runs in: a loop that knows processes, and a journal that can be torn.

Theory. A process that is killed runs no further instruction, and what it had given to the kernel still takes effect.
So every callback of a process is known by its context: when the process is paused or dead, the loop lays the callback
aside instead of running it. Bytes on the wire belong to nobody and go on; a paused process later runs what was laid
aside; a dead one never does, its journal keeps a part of what was being written, and its connections are ended the
way a kernel (or a power cut) ends them.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs

from kling_async import JournalError, KlingSession, Status
from kling_async.emulator.virtual import Connection, MemoryTransport, VirtualLoop
from kling_async.journal import Change, Entry, Fact, Insert, MemoryJournal, MemoryStore, Then, Update
from kling_async.recorder import is_open

T = TypeVar("T")

Ending = Literal["reset", "end", "silence"]


class Violation(AssertionError):
    """Something that must hold did not."""


class _Call:
    """One callback of a process, until it has run."""

    __slots__ = ("args", "callback", "context", "handle")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.handle: asyncio.Handle | None = None


@attrs.define(eq=False)
class Process:
    """One run of a user's program.

    Attributes:
        name: who it is, in traces; also its name as an owner in the journal.
        slot: which of the programs that run side by side it is a run of.
        has_stirred: it ran something since it was last checked.
        state: a frozen one runs nothing, a dead one never again, a ghost is a dead one that is being cleared away.
    """

    name: str
    slot: int
    state: Literal["alive", "paused", "dead", "ghost"] = "alive"
    main: asyncio.Task[None] | None = None
    session: KlingSession | None = None
    journal: TornJournal | None = None
    tasks: list[asyncio.Task[Any]] = attrs.field(factory=list)
    connections: list[Connection] = attrs.field(factory=list)
    laid_aside: list[_Call] = attrs.field(factory=list)
    has_stirred: bool = False

    def __repr__(self) -> str:
        return f"<Process {self.name} {self.state}>"

    def run(self, call: _Call) -> None:
        """Run a callback, unless the process stands still."""
        if self.state in {"alive", "ghost"}:
            call.handle = None
            self.has_stirred = True
            call.callback(*call.args)
        else:
            self.laid_aside.append(call)

    def take_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run what was laid aside, in order, without what was cancelled meanwhile."""
        calls, self.laid_aside = self.laid_aside, []
        for call in calls:
            loop.call_soon(self._run_late, call, context=call.context)

    def _run_late(self, call: _Call) -> None:
        if call.handle is None or not call.handle.cancelled():
            call.handle = None
            call.callback(*call.args)


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class World(VirtualLoop):
    """A virtual loop whose callbacks belong to processes, or to nobody: the network, the host, the simulation itself.

    Args:
        on_step: called each time before the clock jumps, when nothing is ready.
        latency: as of VirtualLoop.
    """

    def __init__(self, *, on_step: Callable[[], None], latency: float | Callable[[], float]) -> None:
        self._on_step = on_step
        self._nobody = contextvars.Context()
        self.is_down = False
        super().__init__(latency=latency, horizon=100_000.0)

    def call_soon(  # type: ignore[override]  # the pack of argument types cannot be kept through a call of ours
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        if context is None and _is_network(callback):
            return super().call_soon(callback, *args, context=self._nobody)
        call = _Call(callback, args, context)
        call.handle = super().call_soon(process.run, call, context=call.context)
        return call.handle

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        if context is None and _is_network(callback):
            return super().call_at(when, callback, *args, context=self._nobody)
        call = _Call(callback, args, context)
        timer = super().call_at(when, process.run, call, context=call.context)
        call.handle = timer
        return timer

    def start(self, process: Process, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin the main task of a process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context)

    def _make_task(
        self,
        _loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        **options: Any,
    ) -> asyncio.Task[T]:
        task = super()._make_task(_loop, coro, **options)
        context = options.get("context")
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks.append(task)
        return task

    async def create_unix_server(self, *args: Any, **options: Any) -> asyncio.Server:
        server: Any = await super().create_unix_server(*args, **options)
        accept: Callable[[], Connection] = server._accept

        def accept_from() -> Connection:
            if self.is_down:
                raise ConnectionRefusedError("the host is down")
            process = PROCESS.get()
            # The server's side of a connection, and all that it begins, is not the client's.
            connection = self._nobody.run(accept)
            if process is not None:
                process.connections.append(connection)
            return connection

        server._accept = accept_from
        listening: asyncio.Server = server
        return listening

    def kill(self, process: Process, how: Ending) -> None:
        """Stop a process for good, between two instructions of it."""
        process.state = "dead"
        for connection in process.connections:
            if how == "reset":
                connection.client.abort()
            elif how == "end":
                connection.client.close()

    def _pass_time(self) -> None:
        self._on_step()
        super()._pass_time()


def _is_network(callback: Callable[..., object]) -> bool:
    owner = getattr(callback, "__self__", None)
    return isinstance(owner, MemoryTransport) or getattr(callback, "__qualname__", "").startswith("MemoryTransport.")


# --- the journal -----------------------------------------------------------------------------------------------------


@attrs.define
class _Work:
    run: Callable[[], object]
    tell: Callable[[Any], None] | None
    writes: bool


@attrs.define(eq=False)
class Disk:
    """What the journals of one history share.

    Attributes:
        store: what is durable.
        rng: chance of this disk.
        delay_s: bounds of the time that a commit takes, seconds.
        fails: tells whether writing fails now.
        on_work: called with the journal's process at each piece of work taken.
        ended: names of owners that surely run no more.
        digest: takes a line about each change, for the trace.
    """

    store: MemoryStore
    rng: random.Random
    delay_s: tuple[float, float]
    fails: Callable[[], bool]
    on_work: Callable[[Process], None]
    digest: Callable[[str], None]
    ended: set[str] = attrs.field(factory=set)


class TornJournal:
    """A journal with the manners of the one on disk: work is done in order, many pieces in one commit, some time later.

    Answers and callbacks come when the commit is durable. A process that dies leaves a prefix of what was not yet
    durable; nobody was told of it.
    """

    def __init__(self, disk: Disk, process: Process, wall: Callable[[], float]) -> None:
        self._disk = disk
        self._process = process
        self._inner = MemoryJournal(wall=wall, owner=process.name, store=disk.store)
        self.texts: Path | None = None
        self._queue: deque[_Work] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._commit: asyncio.TimerHandle | None = None
        self._is_cut = False

    def __repr__(self) -> str:
        return f"<TornJournal {self.owner} [{len(self._queue)} not durable | {self._disk.store!r}]>"

    @property
    def owner(self) -> str:
        return self._inner.owner

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._inner.open()

    async def close(self) -> None:
        if self._loop is not None:
            self._work_off()
            self._loop = None
            await self._inner.close()

    def die(self) -> None:
        """Keep a part of what was being written, and tell nobody."""
        kept = self._disk.rng.randint(0, len(self._queue))
        for _ in range(kept):
            self._run(self._queue.popleft())
        self._queue.clear()
        self._is_cut = True
        self._disk.digest(f"{self.owner} died, {kept} kept")

    def put(self, change: Change, then: Then | None = None) -> None:
        self._take(lambda: self._made(change), then)

    async def write(self, change: Change) -> None:
        error = await self._ask(lambda: self._made(change))
        if error is not None:
            raise error

    async def add(self, entry: Entry) -> Entry | None:
        def add() -> object:
            found = _at_once(self._inner.find(entry.job_id))
            return found if found is not None else self._made(Insert(entry))

        found = await self._ask(add)
        if isinstance(found, JournalError):
            raise found
        assert found is None or isinstance(found, Entry)
        return found

    async def find(self, job_id: str) -> Entry | None:
        return await self._ask(lambda: _at_once(self._inner.find(job_id)), writes=False)

    async def claim(self, host: str, limit: int, lease_s: float) -> list[Entry]:
        return await self._ask(lambda: _at_once(self._inner.claim(host, limit, lease_s)))

    async def take(self, job_id: str, lease_s: float) -> Entry | None:
        return await self._ask(lambda: _at_once(self._inner.take(job_id, lease_s)))

    async def renew(self, job_ids: Iterable[str], lease_s: float) -> frozenset[str]:
        ids = tuple(job_ids)
        return await self._ask(lambda: _at_once(self._inner.renew(ids, lease_s)))

    async def release(self, job_ids: Iterable[str] | None = None) -> None:
        ids = None if job_ids is None else tuple(job_ids)
        await self._ask(lambda: _at_once(self._inner.release(ids)))

    async def bury(self, has_ended: Callable[[str], bool]) -> None:
        """End the leases of those who ended as the simulation says, since there are no real processes."""
        del has_ended
        await self._ask(lambda: _at_once(self._inner.bury(self._disk.ended.__contains__)))

    async def counts(self) -> Mapping[Status, int]:
        return await self._ask(lambda: _at_once(self._inner.counts()), writes=False)

    async def entries(self, state: Status | None = None) -> AsyncIterator[Entry]:
        async for entry in self._inner.entries(state):
            yield entry

    async def newest(
        self, host: str, limit: int, *, before: int | None = None, state: Status | None = None
    ) -> list[tuple[int, Entry]]:
        return await self._ask(
            lambda: _at_once(self._inner.newest(host, limit, before=before, state=state)), writes=False
        )

    async def learn(self, key: str, value: object) -> None:
        await self._ask(lambda: _at_once(self._inner.learn(key, value)))

    async def learned(self, key: str) -> Fact | None:
        return await self._ask(lambda: _at_once(self._inner.learned(key)), writes=False)

    def _made(self, change: Change) -> JournalError | None:
        before = self._disk.store.entries.get(change.entry.job_id if isinstance(change, Insert) else change.job_id)
        if isinstance(change, Insert):
            return self._inner._insert(change.entry)
        error = self._inner._update(change)
        if error is None and before is not None:
            self._check_end(before, change)
        return error

    def _check_end(self, before: Entry, change: Update) -> None:
        after = self._disk.store.entries[before.job_id]
        self._disk.digest(
            f"{self.owner} {before.job_id} {before.state} > {after.state} {after.attempt} {after.task_id}"
        )
        # What is unresolved may be found out later, and a submit that was cancelled had no handle; other ends stay.
        if not is_open(before) and (after.state, after.outcome) != (before.state, before.outcome):
            raise Violation(f"the journal's end of {before.job_id} changed from {before.state}: {change!r}")
        if before.task_id is not None and after.task_id != before.task_id:
            raise Violation(f"the journal's task of {before.job_id} changed: {change!r}")

    async def _ask(self, run: Callable[[], T], *, writes: bool = True) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def tell(result: Any) -> None:
            if not answer.done():
                if isinstance(result, JournalError) and getattr(result, "of_the_disk", False):
                    answer.set_exception(result)
                else:
                    answer.set_result(result)

        self._take(run, tell, writes=writes)
        return await answer

    def _take(self, run: Callable[[], object], tell: Callable[[Any], None] | None, *, writes: bool = True) -> None:
        if self._loop is None:
            raise JournalError("the journal is not open")
        self._queue.append(_Work(run, tell, writes))
        if self._commit is None:
            self._commit = self._loop.call_later(self._disk.rng.uniform(*self._disk.delay_s), self._work_off)
        if not self._is_cut:
            self._disk.on_work(self._process)

    def _work_off(self) -> None:
        if self._commit is not None:
            self._commit.cancel()
            self._commit = None
        works, self._queue = self._queue, deque()
        for work, result in [(work, self._run(work)) for work in works]:
            if work.tell is not None:
                work.tell(result)

    def _run(self, work: _Work) -> object:
        if self._is_cut or (work.writes and self._disk.fails()):
            error = JournalError("disk full", paid="no", retryable=True)
            error.of_the_disk = True  # type: ignore[attr-defined]  # told apart from answers that are errors
            return error
        return work.run()


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Give what a coroutine returns that never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")
