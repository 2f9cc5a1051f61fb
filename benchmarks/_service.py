"""A service without HTTP, in the place of a session's transport, so that its real planner runs on virtual time.

It answers the same questions as kling_async.transport.Transport, from a table of tasks, in the rows that a host would
send; nothing of the client's planning is copied here. What it costs itself is counted apart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from kling_async import Host, KlingSession, Policy
from kling_async.emulator.virtual import VirtualLoop
from kling_async.errors import service_error
from kling_async.sweep import Batch, ListPage, Single
from kling_async.wire import Envelope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence

    from _world import Planned, Workload

    from kling_async import KlingError
    from kling_async.endpoints import Task

ROUND_TRIP_S = 0.1
EPOCH = 1_750_000_000.0  # a fixed start, so that a run repeats exactly
FOREIGN_S = 200.0  # after which rows of others are told as ended
AFTER_S = 60.0  # how long a run goes on after counting, for what ended shortly before
ANY_NUMBER = 1 << 30


@attrs.define(eq=False)
class Row:
    """One row of a list; `planned` is None for rows of others."""

    id: str
    made_at: float
    planned: Planned | None
    live: dict[str, object]
    final: dict[str, object] | None = None

    def told(self, now: float) -> dict[str, object]:
        """Give it as a host tells it now; an ended row never changes again."""
        if self.final is not None:
            return self.final
        ends_at = self.made_at + FOREIGN_S if self.planned is None else self.planned.ends_at
        if now < ends_at:
            return self.live
        fails = self.planned is not None and self.planned.fails
        clip = {
            "id": self.id,
            "url": f"https://cdn.example/{self.id}/clip.mp4?sign=0123456789abcdef",
            "duration": "5.1",
        }
        self.final = {
            **self.live,
            "task_status": "failed" if fails else "succeed",
            "task_status_msg": "the output triggered the risk control" if fails else "",
            "updated_at": _milliseconds(ends_at),
            "task_result": {} if fails else {"videos": [clip]},
        }
        return self.final


def _milliseconds(moment: float) -> int:
    return round((EPOCH + moment) * 1000)


def _quiet(_now: float) -> None:
    """Nothing is the matter."""


@attrs.define(eq=False)
class Service:
    """The table of tasks, and the questions it was asked.

    Attributes:
        jobs: job id → what becomes of it.
        lists: whether lists are served.
        slots: most tasks running; None: any number.
        trouble: gives what is raised at a moment instead of an answer, to creates and questions.
        ask_trouble: the same, to questions only.
        asked: (moment, form, rows told) of each question.
        submits: moment of each create, refused ones included.
        own_s: CPU seconds spent in here.
        in_flight: exchanges under way.
    """

    workload: Workload
    jobs: Mapping[str, Planned]
    lists: bool = True
    slots: int | None = None
    trouble: Callable[[float], KlingError | None] = _quiet
    ask_trouble: Callable[[float], KlingError | None] = _quiet
    asked: list[tuple[float, str, int]] = attrs.field(factory=list)
    submits: list[float] = attrs.field(factory=list)
    own_s: float = 0.0
    in_flight: int = 0
    host: Host = attrs.field(init=False)
    _rows: dict[str, list[Row]] = attrs.field(factory=dict)
    _by_id: dict[str, Row] = attrs.field(factory=dict)
    _by_name: dict[str, Row] = attrs.field(factory=dict)
    _running: list[Planned] = attrs.field(factory=list)
    _others_at: dict[str, float] = attrs.field(factory=dict)
    _others: int = 0
    credentials: Any = None
    _rng: random.Random = attrs.field(factory=lambda: random.Random(7))

    def __attrs_post_init__(self) -> None:
        # Lists and single queries are what the figures are about; batches would only make them better.
        self.host = Host(
            url="http://127.0.0.1:9",
            prefix="",
            family="official",
            lacks=frozenset({"batch"}) if self.lists else frozenset({"batch", "list"}),
        )

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def submit(self, path: str, body: bytes, may_send: object = None, hidden: object = ()) -> Envelope:
        """Make a task."""
        del may_send, hidden
        await self._travel()
        with self._counted() as now:
            self.submits.append(now)
            _stumble(self.trouble(now))
            planned = self.jobs[json.loads(body)["external_task_id"]]
            if self.slots is not None:
                self._running = [task for task in self._running if task.ends_at > now]
                if len(self._running) >= self.slots:
                    raise service_error(1303, "parallel task over resource pack limit", 429)
                self._running.append(planned)
            planned.made_at = now
            planned.ends_at = self.workload.shift.end_of(now, planned.takes_s)
            endpoint = path.rsplit("/", 1)[1]
            self._add_others(endpoint, now)
            row = _row(f"8{len(self._by_id):017d}", now, planned)
            self._rows.setdefault(endpoint, []).append(row)
            self._by_id[row.id] = self._by_name[planned.name] = row
        await self._travel()
        return Envelope((row.live,), many=False)

    async def ask(self, query: object) -> Envelope:
        """Answer a question."""
        await self._travel()
        with self._counted() as now:
            form, rows = self._find(query, now)
            self.asked.append((now, form, len(rows)))
            _stumble(self.trouble(now) or self.ask_trouble(now))
            if form == "other" or (form == "list" and not self.lists):
                raise service_error(None, "no such page", 404)
            told = tuple([row.told(now) for row in rows])
        await self._travel()
        if form == "single" and not told:
            raise service_error(1201, "task not found", 404)
        return Envelope(told, many=form != "single")

    async def _travel(self) -> None:
        self.in_flight += 1
        try:
            await asyncio.sleep(ROUND_TRIP_S / 2)
        finally:
            self.in_flight -= 1

    @contextmanager
    def _counted(self) -> Iterator[float]:
        began = time.thread_time()
        try:
            yield asyncio.get_running_loop().time()
        finally:
            self.own_s += time.thread_time() - began

    def _find(self, query: object, now: float) -> tuple[str, Sequence[Row]]:
        if isinstance(query, ListPage):
            self._add_others(query.endpoint, now)
            rows = self._rows.get(query.endpoint, [])
            end = len(rows) - (query.index - 1) * query.size
            return "list", rows[max(0, end - query.size) : end][::-1] if end > 0 else []
        if isinstance(query, Batch):
            return "other", []
        if isinstance(query, Single):
            row = self._by_id.get(query.id) or (self._by_name.get(query.id) if query.external else None)
            return "single", [] if row is None else [row]
        return "other", []

    def _add_others(self, endpoint: str, now: float) -> None:
        """Let others of the account have made what they did since."""
        if not self.workload.foreign:
            return
        sorts = self.workload.sorts
        share = sum(s.share for s in sorts if s.endpoint == endpoint) / sum(s.share for s in sorts)
        per_s = self.workload.per_s * share * self.workload.foreign
        rows = self._rows.setdefault(endpoint, [])
        at = self._others_at.setdefault(endpoint, self._rng.expovariate(per_s))
        while at <= now:
            self._others += 1
            rows.append(_row(f"9{self._others:017d}", at, None))
            at += self._rng.expovariate(per_s)
        self._others_at[endpoint] = at

    def rows_of(self, endpoint: str) -> Sequence[Row]:
        """Give the rows of an endpoint's list, oldest first."""
        return self._rows.get(endpoint, ())


def _stumble(error: KlingError | None) -> None:
    if error is not None:
        raise error


def _row(task_id: str, made_at: float, planned: Planned | None) -> Row:
    name = f"foreign-{task_id}" if planned is None else planned.name
    live: dict[str, object] = {
        "task_id": task_id,
        "task_status": "processing",
        "task_status_msg": "",
        "task_info": {"external_task_id": name},
        "created_at": _milliseconds(made_at),
        "updated_at": _milliseconds(made_at),
    }
    return Row(task_id, made_at, planned, live)


# --- a session over it ---------------------------------------------------------------------------------------------


def policy_of(**wanted: Any) -> Policy:
    """Make a policy; fields that this release does not have are left out."""
    known = {field.name for field in attrs.fields(Policy)}
    return Policy(**{name: value for name, value in wanted.items() if name in known})


def has_price() -> bool:
    """Tell whether the price of a query can be set in this release."""
    return "price_s" in {field.name for field in attrs.fields(Policy)}


def session_on(service: Service, policy: Policy, *, seed: int = 1, **arguments: Any) -> KlingSession:
    """Make a session whose planner, scheduler and jobs are the real ones, and whose transport is the table."""
    session = KlingSession(
        api_key="benchmark",
        base_url=service.host,
        policy=policy,
        seed=seed,
        wall=lambda: EPOCH + asyncio.get_running_loop().time(),
        **arguments,
    )
    stand_in: Any = service
    stand_in.credentials = session._transport.credentials
    session._transport = session._runtime._transport = stand_in
    return session


async def follow(service: Service, policy: Policy, *, seed: int = 1, max_running: int | None = None) -> None:
    """Submit the workload as it arrives, and note when each waiter knows; it ends a minute after counting does."""
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def arrivals() -> AsyncIterator[Task]:
        for planned in service.jobs.values():
            wait_s = start + planned.at - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            yield planned.sort.request(planned.name)

    async with session_on(service, policy, seed=seed, max_running=max_running) as kling:
        try:
            async with asyncio.timeout_at(start + service.workload.until + AFTER_S):
                async for job in kling.map(arrivals(), max_pending=ANY_NUMBER):
                    service.jobs[job.id].known_at = loop.time()
        except TimeoutError:
            pass
    for planned in service.jobs.values():
        if planned.ends_at <= loop.time() and not planned.known_at >= 0:
            planned.known_at = loop.time()  # at least: it was not known when the run ended


def run_virtual(main: Coroutine[Any, Any, None]) -> None:
    """Run a program on virtual time, quietly."""
    logging.getLogger("kling_async").addHandler(logging.NullHandler())
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)


def simulate(workload: Workload, policy: Policy, *, max_running: int | None = None, **settings: Any) -> Service:
    """Run a workload under a policy; the service knows what it was asked, the tasks when their ends were known."""
    service = Service(workload, {task.name: task for task in workload.tasks()}, **settings)
    run_virtual(follow(service, policy, seed=workload.seed, max_running=max_running))
    return service
