"""The awaitable handle of one job.

Stage: loop. Before: scheduler, which alone changes a job. After: whoever waits.

Theory. A job keeps its outcome, never an exception with a traceback: every waiter has a future of its own, and unwraps
the outcome into an exception made anew. So cancelling one waiter hurts nobody else, an unread failure logs nothing,
and a job nobody waits for costs no future at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from datetime import datetime
from typing import Any, Protocol

import attrs

from .endpoints import Endpoint
from .errors import ConfigError, KlingError
from .lifecycle import Search
from .models import NOTHING, Failed, Observation, Outcome, Result, Status, Succeeded
from .sweep import Watch
from .wire import Mark, mark_of, observation_of

_log = logging.getLogger(__name__)


class Job:
    """One generation: awaitable for its Result, from any number of places.

    Attributes:
        id: our id of the job; also its external id at the service.
        task_id: the service's id, once there is one.
        endpoint: short name of its endpoint.
        request: what was asked for; None for a task that was made elsewhere.
        status: where it stands.
        metadata: what the caller gave to `submit`; never sent.
        created_at: when it was submitted (UTC).
        duplicates: ids of further tasks that bear this job's id, if the host has shown any: each was paid for.
    """

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_callbacks",
        "_error",
        "_keeper",
        "_news",
        "_outcome",
        "_row",
        "_task_waiters",
        "_waiters",
        "_watchers",
        "created_at",
        "duplicates",
        "id",
        "metadata",
        "request",
        "status",
        "task_id",
    )

    def __init__(
        self,
        job_id: str,
        endpoint: Endpoint,
        request: Any,
        *,
        created_at: datetime,
        metadata: Mapping[str, object] | None = None,
        keeper: Keeper | None = None,
        status: Status = Status.QUEUED,
        task_id: str | None = None,
    ) -> None:
        self.id: str = job_id
        self.request: Any = request
        self.metadata: Mapping[str, object] = metadata if metadata is not None else NOTHING
        self.created_at: datetime = created_at
        self.status: Status = status
        self.task_id: str | None = task_id
        self._accepted = task_id is not None
        self._row = endpoint
        self._keeper = keeper
        self.duplicates: tuple[str, ...] = ()
        self._outcome: Outcome | None = None
        self._error: KlingError | None = None
        self._news: Observation | Mark | None = None
        self._waiters: dict[asyncio.Future[None], None] | None = None
        self._task_waiters: dict[asyncio.Future[None], None] | None = None
        self._watchers: list[asyncio.Queue[Observation | None]] | None = None
        self._callbacks: list[Callable[[Job], None]] | None = None

    def __repr__(self) -> str:
        task = f" | task {self.task_id}" if self.task_id else ""
        return f"<Job {self.id} [{self.endpoint} {self.status}{task}]>"

    @property
    def endpoint(self) -> str:
        """Short name of its endpoint."""
        return self._row.name

    @property
    def error(self) -> KlingError | None:
        """Why it does not deliver, as a fresh exception; None while it may, and when it did."""
        if isinstance(self._outcome, Failed):
            return self._outcome.error.anew(job_id=self.id, task_id=self.task_id)
        return None if self._outcome is not None or self._error is None else self._error.anew(job_id=self.id)

    def done(self) -> bool:
        """Tell whether waiting is over: the status is final, or the session has ended before it was."""
        return self._outcome is not None or self._error is not None

    def result(self) -> Result:
        """Give the result at once.

        Raises:
            asyncio.InvalidStateError: it is not done yet.
            KlingError: it will not deliver; what `await job` raises.
        """
        if isinstance(self._outcome, Succeeded):
            return self._outcome.result
        error = self.error
        if error is None:
            raise asyncio.InvalidStateError(f"job {self.id} is {self.status}; await it")
        raise error

    def __await__(self) -> Generator[Any, None, Result]:
        while not self.done():  # another waiter may have had it sent again
            self._waiters = self._waiters if self._waiters is not None else {}
            yield from _wait(self._waiters)
        return self.result()

    async def accepted(self) -> str:
        """Wait until the service has made a task, and give its id.

        Raises:
            KlingError: no task was made, or it could not be found out whether one was.
        """
        while not self._accepted and not self.done():
            self._task_waiters = self._task_waiters if self._task_waiters is not None else {}
            await _Waiting(self._task_waiters)
        return self.task_id if self.task_id is not None else self.result().task_id

    async def watch(self) -> AsyncIterator[Observation]:
        """Yield what is known of the task now, then every change, and end when the job does; raises nothing."""
        news: asyncio.Queue[Observation | None] = asyncio.Queue()
        last = self.news
        if last is not None:
            news.put_nowait(last)
        if self.done():
            news.put_nowait(None)
        # Listening before anything is yielded: what happens while the caller is at work must not be missed.
        self._watchers = self._watchers if self._watchers is not None else []
        self._watchers.append(news)
        try:
            while (observation := await news.get()) is not None:
                yield observation
        finally:
            self._watchers.remove(news)

    def abandon(self) -> None:
        """Follow it no longer. The service knows no cancel: a task that exists goes on, and costs what it costs."""
        if self._keeper is not None:
            self._keeper.abandon(self)

    async def resend(self) -> None:
        """Send an unresolved job once more, under its old id, and let it go on: await it again.

        Nobody knows whether it has a task. A host that refuses an id it knows answers so, and the task is found; any
        other makes a second one, and bills it.

        Raises:
            ConfigError: its status is not UNRESOLVED, or what was asked for is not known.
            JournalError: it could not be recorded; nothing is sent.
            SessionError: the session is closed, or has crashed.
        """
        await self._require_keeper().resend(self)

    async def forget(self) -> None:
        """Leave an unresolved job as it is: later runs look it up no more. Its status becomes ABANDONED.

        Raises:
            ConfigError: its status is not UNRESOLVED.
            JournalError: it could not be recorded.
            SessionError: the session is closed, or has crashed.
        """
        await self._require_keeper().forget(self)

    def _require_keeper(self) -> Keeper:
        if self._keeper is None or self.status is not Status.UNRESOLVED:
            raise ConfigError(f"job {self.id} is {self.status}: this is for jobs that are unresolved")
        return self._keeper

    # --- for the scheduler -----------------------------------------------------------------------------------------

    @property
    def row(self) -> Endpoint:
        """The registry's row of its endpoint."""
        return self._row

    @property
    def outcome(self) -> Outcome | None:
        """The final value, once there is one."""
        return self._outcome

    @property
    def news(self) -> Observation | None:
        """What was last seen of the task."""
        news = self._news
        return observation_of(news, self.task_id) if isinstance(news, tuple) else news

    @property
    def mark(self) -> Mark | None:
        """What a row about the task repeats as long as there is no news in it; None where that has to be read."""
        return self._news if isinstance(self._news, tuple) else None

    def tell(self, observation: Observation) -> None:
        """Keep news, and hand it to whoever watches."""
        # The answer as received is kept with the end only: while it runs, it may be large and is soon replaced.
        if observation.status.is_final or not observation.raw:
            self._news = observation
        else:
            mark = mark_of(observation.raw, observation.request_id, self.id)
            self._news = attrs.evolve(observation, raw=NOTHING) if mark is None else mark
        for queue in self._watchers or ():
            queue.put_nowait(observation)

    def take_task(self, task_id: str) -> None:
        """Keep the task's id, and wake whoever waits for it."""
        self.task_id = task_id
        self._accepted = True
        _wake(self._task_waiters)

    def settle(self, outcome: Outcome) -> None:
        """Keep the final value, and wake everybody."""
        self._outcome = outcome
        self.status = outcome.status
        self._end()

    def reopen(self, status: Status) -> None:
        """Go on after all: its owner has decided so."""
        self._outcome, self.status = None, status

    def add_duplicate(self, task_id: str) -> bool:
        """Keep the id of a further task of this job; tell whether it is new."""
        is_new = task_id != self.task_id and task_id not in self.duplicates
        if is_new:
            self.duplicates = (*self.duplicates, task_id)
        return is_new

    def release(self, error: KlingError) -> None:
        """Wake everybody with an error that is the session's, not the job's: its status stays what it was."""
        if not self.done():
            self._error = error
            self._end()

    def end_like(self, job: Job) -> None:
        """End as another handle of the same task did."""
        if job.outcome is not None:
            self.settle(job.outcome)
        elif job.error is not None:
            self.release(job.error)

    def when_done(self, callback: Callable[[Job], None]) -> None:
        """Call back once when it is done, at once if it is already."""
        if self.done():
            callback(self)
        else:
            self._callbacks = self._callbacks if self._callbacks is not None else []
            self._callbacks.append(callback)

    def _end(self) -> None:
        _wake(self._waiters)
        _wake(self._task_waiters)
        for queue in self._watchers or ():
            queue.put_nowait(None)
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - the caller's own, and nobody else's trouble
                _log.exception("a callback of job %s raised", self.id)


class Keeper(Protocol):
    """Who carries out what the user decides about a job: the scheduler."""

    def abandon(self, job: Job) -> None:
        """Follow it no longer."""
        ...

    async def resend(self, job: Job) -> None:
        """Send an unresolved job once more."""
        ...

    async def forget(self, job: Job) -> None:
        """Give an unresolved job up."""
        ...


class _Waiting:
    """Awaitable for one turn among the waiters."""

    def __init__(self, waiters: dict[asyncio.Future[None], None]) -> None:
        self._waiters = waiters

    def __await__(self) -> Generator[Any, None, None]:
        return _wait(self._waiters)


def _wait(waiters: dict[asyncio.Future[None], None]) -> Generator[Any, None, None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiters[future] = None
    try:
        yield from future
    finally:
        waiters.pop(future, None)


def _wake(waiters: dict[asyncio.Future[None], None] | None) -> None:
    for future in waiters or ():
        if not future.done():
            future.set_result(None)


@attrs.define(eq=False)
class Track:
    """One open job, as the loop sees it.

    Attributes:
        job: its handle.
        order: its place among all jobs, by arrival.
        gate: which slots it takes: (pack, model).
        slots: how many of them.
        callback_url: where the service shall report changes.
        account: tag of the credentials it was sent with; only they can be told that it has no task.
        deadline: loop time at which its time is over, seconds.
        holds_slot: its task, or the one it may have, counts as running.
        accepted_at: loop time at which its task was accepted, seconds.
        refused: how often it was refused for lack of slots with nothing of ours running.
        refused_at: loop time of the first of these, seconds.
        is_barred: the account was refused when it was sent.
        insists: it is sent again on its owner's word, though it may have a task.
        is_over: it was settled, or lost; its handle may learn that a moment later, when it is recorded.
        empty_answers: how often it was seen succeeded without a file.
        misses: single queries in a row that did not find its task.
        first_miss_at: loop time of the first of them, seconds.
        mark: what a row about it repeats as long as there is no news in it.
        watch: its row for the planner, while there is something to ask.
        search: what is known while it is not known whether it has a task.
        told: what a callback told of its task before an answer to its submission did; a hint, and no more.
    """

    job: Job
    order: int
    gate: tuple[str, str]
    slots: int = 0
    callback_url: str | None = None
    account: str = ""
    deadline: float | None = None
    holds_slot: bool = False
    accepted_at: float = 0.0
    refused: int = 0
    refused_at: float = 0.0
    is_barred: bool = False
    insists: bool = False
    is_over: bool = False
    empty_answers: int = 0
    misses: int = 0
    first_miss_at: float = 0.0
    mark: Mark | None = None
    watch: Watch | None = None
    search: Search | None = None
    told: Observation | None = attrs.field(default=None, repr=False)


class Owner(Protocol):
    """The one object that changes a job's state: the scheduler, as its parts see it."""

    def set_status(self, track: Track, status: Status, *, undone: bool = False) -> None:
        """Move an open job to another open status; `undone`: surely nothing was made by the last attempt."""
        ...

    def accept(self, track: Track, news: Observation) -> None:
        """Take note that a job has a task."""
        ...

    def outlive(self, track: Track, news: Observation) -> None:
        """Take note that a job that is over has a task after all."""
        ...

    def settle(self, track: Track, outcome: Outcome) -> None:
        """End a job."""
        ...

    def lose(self, track: Track) -> None:
        """Leave a job to another process, which holds it now."""
        ...
