"""What lives while a session is open: connections, the scheduler, and the one asyncio task that runs it.

Stage: front. Before: session. After: scheduler. Opens in the order HTTP, scheduler, root task, and closes in reverse.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import warnings
from collections.abc import Callable, MutableMapping
from contextlib import AsyncExitStack

from .download import Downloader
from .errors import ConfigError, ForkError, JournalError, SchedulerCrashed, SessionClosed
from .events import Hub
from .job import Job
from .journal import Journal
from .models import Policy
from .recorder import Record
from .scheduler import Scheduler
from .transport import Transport

_log = logging.getLogger(__name__)


class Runtime:
    """Owner of everything that has to be closed again."""

    def __init__(
        self,
        transport: Transport,
        downloader: Downloader,
        *,
        policy: Policy,
        rng: random.Random,
        max_running: int | None,
        journal: Journal | None,
        wall: Callable[[], float],
        hub: Hub,
        address: Callable[[str, str | None], str | None],
        handles: MutableMapping[str, Job],
    ) -> None:
        self.hub = hub
        self._address = address
        self._journal = journal
        self._handles = handles
        self._wall = wall
        self.record: Record | None = None
        self._transport = transport
        self._downloader = downloader
        self._policy = policy
        self._rng = rng
        self._max_running = max_running
        self._stack = AsyncExitStack()
        self._scheduler: Scheduler | None = None
        self._root: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._closed = False
        self._draining = False
        self.crash: SchedulerCrashed | None = None

    def __repr__(self) -> str:
        return "closed" if self._closed else repr(self._scheduler) if self._scheduler else "not entered"

    def __del__(self) -> None:
        if getattr(self, "_root", None) is not None and not self._closed and self._pid == os.getpid():
            told = "a KlingSession was not closed: use `async with`, or `await session.aclose()`"
            warnings.warn(told, ResourceWarning, source=self, stacklevel=2)

    @property
    def last_scheduler(self) -> Scheduler | None:
        """The scheduler, also after closing; None before opening."""
        return self._scheduler

    def scheduler(self, *, admitting: bool = False) -> Scheduler:
        """Give the scheduler of an open session.

        Args:
            admitting: for a new job; one that is being drained takes none.

        Raises:
            ConfigError: not opened, or opened in another event loop.
            ForkError: opened by the process that this one was forked from.
            SessionClosed: closed.
            SchedulerCrashed: ended by a bug.
        """
        if self.crash is not None:
            raise self.crash.anew(paid="no")
        if self._scheduler is None or self._root is None:
            if self._closed:
                raise SessionClosed("the session is closed; nothing was sent", paid="no")
            raise ConfigError("the session is not open: use `async with KlingSession() as kling:`")
        if os.getpid() != self._pid:
            raise ForkError("the session was opened before the process was forked: open one here")
        if self._closed or self._root.done() or (admitting and self._draining):
            raise SessionClosed("the session is closed; nothing was sent", paid="no")
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigError("the session belongs to another event loop")
        return self._scheduler

    def check_open(self) -> None:
        """Make sure that files can be fetched: also while it is being drained, and when that is over.

        Raises:
            ConfigError: not opened, or opened in another event loop.
            SessionError: as `scheduler`.
        """
        if not self._draining or self._closed or self.crash is not None:
            self.scheduler()

    async def open(self) -> None:
        """Open connections and start the loop.

        Raises:
            SessionClosed: it was opened before.
        """
        if self._loop is not None or self._closed:
            raise SessionClosed("a session is entered once; make a new one", resumable=False)
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        if self._journal is not None:
            await self._journal.open()
            self._stack.push_async_callback(self._close_journal)
            self.record = Record(
                journal=self._journal,
                host=self._transport.host.name,
                lease_s=self._policy.lease_s,
                clock=self._loop.time,
                wall=self._wall,
                account=lambda: self._transport.credentials.account,
            )
        try:
            await self._transport.open()
        except BaseException:
            await self._stack.aclose()
            raise
        self._stack.push_async_callback(self._transport.close)
        self._stack.push_async_callback(self._downloader.close)
        self._scheduler = Scheduler(
            self._transport,
            policy=self._policy,
            clock=self._loop.time,
            rng=self._rng,
            max_running=self._max_running,
            record=self.record,
            hub=self.hub,
            address=self._address,
            handles=self._handles,
        )
        try:
            await self._scheduler.remember()
        except JournalError as error:
            _log.warning("what was learned in earlier runs is not known: %s", error)
        name = f"kling_async {self._transport.host.name}"
        self._root = self._loop.create_task(self._run(self._scheduler), name=name)
        # A loop that is closed with the session still open: the ResourceWarning says more than asyncio's own words.
        self._root._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as `asyncio.gather` does

    async def drain(self, seconds: float | None) -> None:
        """Send nothing more, and follow what was sent to its end, for so long at most."""
        self._draining = True
        if self._scheduler is not None and self._root is not None and not self._root.done():
            self._scheduler.drain()
            await asyncio.wait({self._root}, timeout=seconds)

    async def close(self) -> None:
        """Stop sending, give submissions in flight their grace, release every waiter, close connections."""
        self._closed = True
        if self._scheduler is None or self._root is None:
            return
        if os.getpid() != self._pid:
            raise ForkError("the session was opened before the process was forked: it is closed there")
        self._scheduler.stop()
        is_cancelled = False
        while not self._root.done():
            try:
                await asyncio.wait({self._root})
            except asyncio.CancelledError:
                # However often whoever closes is cancelled: nothing may be left running, and nobody left waiting.
                is_cancelled = True
                self._root.cancel()
        self._scheduler.release_all(closed_early())
        closing = asyncio.ensure_future(self._stack.aclose())
        while not closing.done():
            try:
                await asyncio.wait({closing})
            except asyncio.CancelledError:
                is_cancelled = True
        self.hub.close()
        closing.result()
        if is_cancelled:
            raise asyncio.CancelledError

    async def _close_journal(self) -> None:
        """Let go of what is open, so that another run can take it over at once; write what was put, and close."""
        assert self._journal is not None
        if self.record is not None:
            await self.record.finish()
            self.record.pay()
        try:
            await self._journal.release()
            if self.record is not None:
                await self.record.tidy()
        except JournalError as error:
            _log.warning("the journal's jobs stay held until their lease is over: %s", error)
        finally:
            await self._journal.close()

    def _loop_is_closed(self) -> bool:
        return self._loop is None or self._loop.is_closed()

    async def _run(self, scheduler: Scheduler) -> None:
        """Run the loop; whatever ends it early reaches every waiter instead of leaving them to hang."""
        try:
            await scheduler.run()
        except Exception as error:  # noqa: BLE001 - every bug must reach the waiters
            self.crash = SchedulerCrashed(f"the background loop ended with a bug: {_first_line(error)}")
            self.crash.__cause__ = error
            _log.exception("the background loop ended with a bug")
            scheduler.release_all(self.crash)
            self.hub.close()
        except BaseExceptionGroup:
            # A task group's word for GeneratorExit: the loop was closed with the session open, and nobody is left.
            if not self._loop_is_closed():
                raise
        finally:
            if not self._closed and not self._loop_is_closed():
                scheduler.release_all(self.crash or closed_early())


def closed_early() -> SessionClosed:
    """Make the error for waiters whose job had not ended when the session closed."""
    return SessionClosed(
        "the session was closed first: follow a task with session.attach(), submit a job that was not sent again, "
        "and one that was sent and not answered only under the same job_id"
    )


def _first_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
