"""The journal on disk, as the loop sees it: changes are taken at once, and written many in one commit.

Stage: mover. Before: scheduler and submitter, through the protocol of `journal`. After: `journal_store`, in the thread.

Theory. A durable commit costs about a millisecond, whatever it holds, and must not stop the loop: the thread takes
everything that was put since it last looked, writes it in one transaction, and has the loop call back.
"""

from __future__ import annotations

import asyncio
import os
import uuid
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError, JournalError
from .journal import Change, Entry, Fact, Insert, Then, to_text
from .journal_store import POSITION, Store, Stored, Work, read_mounts, translated
from .models import Status

T = TypeVar("T")

_OUTCOME_CRC = POSITION["outcome_crc"]
_TOGETHER = 4096  # changes in one transaction at most, so that other processes get their turn
_PER_CALL = 256  # callbacks in one turn of the loop at most: the loop is not held up by a large commit


class _Writer(ThreadPoolExecutor):
    """The thread. What it does answers by itself: the future given here is done, so that no loop waits for it.

    A loop's own way back from a thread makes noise when the loop was closed meanwhile.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="kling_async-journal")

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        super().submit(fn, *args, **kwargs)
        begun: Future[Any] = Future()
        begun.set_result(None)
        return begun


class SqliteJournal:
    """A journal in one SQLite file on a local disk, shared by several sessions and processes if need be.

    An error that every change of a commit is answered with does not end it: it goes on when the trouble is over.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        wall: Callable[[], float],
        owner: str | None = None,
        mounts: Callable[[], str] = read_mounts,
        read_only: bool = False,
    ) -> None:
        """Name the file; nothing is touched before `open`.

        Args:
            path: the file; "~" is the home folder. It is made if need be, its folder is not.
            wall: gives the wall clock in Unix seconds.
            owner: name under which entries are held, never used before; a fresh one if left out.
            mounts: gives the system's table of mounts (form of /proc/mounts).
            read_only: only look at a file that is there, also beside sessions that write it; every change fails.
        """
        self._path = Path(path).expanduser().absolute()
        self._wall = wall
        self._owner = owner if owner is not None else uuid.uuid4().hex
        self._mounts = mounts
        self._read_only = read_only
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: _Writer | None = None
        self._store: Store | None = None
        self._queue: deque[Work] = deque()
        self._busy = False  # the thread is at work, or about to be; changed on the loop only
        self._delivering = False
        self._told: deque[tuple[Callable[[object], None], object]] = deque()

    def __repr__(self) -> str:
        state = "closed" if self._loop is None else f"open | {len(self._queue)} waiting"
        return f"<SqliteJournal {self._path} [{state}]>"

    @property
    def owner(self) -> str:
        """The name under which this instance holds entries."""
        return self._owner

    @property
    def texts(self) -> Path:
        """The folder beside the file for long texts of requests: its name and ".media"."""
        return self._path.with_name(f"{self._path.name}.media")

    async def open(self) -> None:
        """Open the file, or make it, and check that it can be trusted.

        Raises:
            JournalCorrupt: it cannot; nothing was changed.
            JournalLocked: another process holds it.
            JournalError: it was written by a newer release, its folder is not there, or is on another machine.
        """
        if self._loop is not None:
            raise JournalError("the journal is open already")
        loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._writer = _Writer()
        try:
            await self._in_thread(loop, self._begin)
        except BaseException:
            loop.run_in_executor(self._writer, self._end)
            self._writer.shutdown(wait=False)
            raise
        self._loop = loop

    async def close(self) -> None:
        """Write what was put, call back, and close the file."""
        if self._loop is None:
            return
        loop, _ = self._opened()
        assert self._writer is not None
        self._loop = None
        try:
            await self._in_thread(loop, lambda: self._finish(loop))
        finally:
            self._writer.shutdown(wait=False)

    def put(self, change: Change, then: Then | None = None) -> None:
        """Have one change written soon; `then` is called on the loop when it is durable, or failed."""
        self._opened()
        self._do(self._work_of(change, None if then is None else lambda result: then(_error_in(result))))

    async def write(self, change: Change) -> None:
        """Write one change, and return when it is durable."""
        loop, _ = self._opened()
        answer: asyncio.Future[None] = loop.create_future()
        self._do(self._work_of(change, _settler(answer)))
        await answer

    async def add(self, entry: Entry) -> Entry | None:
        """Record a new job durably, or give the entry of that id."""
        self._opened()
        return await self._ask(Store.add, *self._parts(entry))

    async def find(self, job_id: str) -> Entry | None:
        """Give the entry of that id."""
        return await self._ask(Store.find, job_id, writes=False)

    async def claim(self, host: str, limit: int, lease_s: float) -> list[Entry]:
        """Take over unsettled entries of a host that nobody holds, the oldest first."""
        return await self._ask(Store.claim, host, limit, self._owner, self._wall(), lease_s)

    async def take(self, job_id: str, lease_s: float) -> Entry | None:
        """Take over one entry, if it is free or settled."""
        return await self._ask(Store.take, job_id, self._owner, self._wall(), lease_s)

    async def renew(self, job_ids: Iterable[str], lease_s: float) -> frozenset[str]:
        """Prolong the lease by one small write, and give the ids that this owner does not hold any more."""
        return await self._ask(Store.renew, frozenset(job_ids), self._owner, self._wall() + lease_s)

    async def release(self, job_ids: Iterable[str] | None = None) -> None:
        """Let go of these entries, or of all that this owner holds."""
        ids = None if job_ids is None else frozenset(job_ids)
        await self._ask(Store.release, ids, self._owner, self._wall())

    async def bury(self, has_ended: Callable[[str], bool]) -> None:
        """End the leases of owners that run no more."""
        await self._ask(Store.bury, self._owner, has_ended)

    async def counts(self) -> Mapping[Status, int]:
        """Count entries by state; reads all of them: 0.1 s per million."""
        return await self._ask(Store.counts, writes=False)

    async def entries(self, state: Status | None = None) -> AsyncIterator[Entry]:
        """Give all entries, or those of a state, in the order they were recorded."""
        line, found = await self._ask(Store.page, 0, state, writes=False)
        while found:
            for entry in found:
                yield entry
            line, found = await self._ask(Store.page, line, state, writes=False)

    async def newest(
        self, host: str, limit: int, *, before: int | None = None, state: Status | None = None
    ) -> list[tuple[int, Entry]]:
        """Give entries of a host, the last recorded first; of a rare state, all records may have to be looked at."""
        return await self._ask(Store.newest, host, limit, before, state, writes=False)

    async def learn(self, key: str, value: object) -> None:
        """Remember a fact, with the date."""
        await self._ask(Store.learn, key, to_text(value, f"fact {key!r}"), float(self._wall()))

    async def learned(self, key: str) -> Fact | None:
        """Give what was learned under a key."""
        return await self._ask(Store.learned, key, writes=False)

    # --- on the way to the thread ------------------------------------------------------------------------------------

    def _opened(self) -> tuple[asyncio.AbstractEventLoop, Store]:
        if self._loop is None or self._store is None:
            raise JournalError("the journal is not open")
        if os.getpid() != self._pid:
            raise JournalError("the journal was opened before this process was forked: open another one here")
        return self._loop, self._store

    def _work_of(self, change: Change, done: Callable[[object], None] | None) -> Work:
        if isinstance(change, Insert):
            return Work(Store.insert, self._parts(change.entry), done)
        news: list[tuple[int, object]] = []
        text: str | None = None
        for name, value in change.fields.items():
            if name == "state":
                value = str(value if isinstance(value, Status) else Status(str(value)))  # noqa: PLW2901
            elif name == "outcome":
                text = None if value is None else to_text(value, f"the outcome of job {change.job_id}")
                news.append((_OUTCOME_CRC, None if text is None else zlib.crc32(text.encode())))
                continue
            elif name == "task_id":
                _check_texts(value)
            elif name == "sent_at" and isinstance(value, int):
                value = float(value)  # noqa: PLW2901
            news.append((POSITION[name], value))
        return Work(Store.update, (change.job_id, change.owner, change.epoch, news, text, float(self._wall())), done)

    def _parts(self, entry: Entry) -> tuple[Stored, str, str | None, float | None]:
        body = to_text(
            {
                "endpoint": entry.endpoint,
                "request": entry.request,
                "fingerprint": entry.fingerprint,
                "callback_url": entry.callback_url,
                "metadata": entry.metadata,
                "timeout_s": entry.timeout_s,
                **({"account": entry.account} if entry.account else {}),
            },
            f"job {entry.job_id}",
        )
        outcome = None if entry.outcome is None else to_text(entry.outcome, f"the outcome of job {entry.job_id}")
        _check_texts(entry.job_id, entry.host, entry.owner, entry.task_id)
        record = Stored(
            0,
            entry.job_id,
            entry.host,
            entry.created_at,
            zlib.crc32(body.encode()),
            int(entry.is_settled),
            str(entry.state),
            entry.attempt,
            entry.sent_at,
            entry.task_id,
            None if outcome is None else zlib.crc32(outcome.encode()),
            entry.owner,
            entry.epoch,
            float(self._wall()),
        )
        return record, body, outcome, entry.lease_until

    async def _ask(self, run: Callable[..., T], *arguments: Any, writes: bool = True) -> T:
        loop, _ = self._opened()
        answer: asyncio.Future[T] = loop.create_future()
        self._do(Work(run, arguments, _settler(answer), writes))
        return await answer

    def _do(self, work: Work) -> None:
        self._queue.append(work)
        if not self._busy and self._loop is not None:
            self._busy = True
            self._loop.call_soon(self._start)  # and not at once: what else is put in this turn shares the commit

    def _start(self) -> None:
        if self._writer is not None and self._store is not None and self._loop is not None:
            # Through the loop, so that a loop that plays with time can do the work itself.
            self._loop.run_in_executor(self._writer, self._drain, self._loop, self._store)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _drain(self, loop: asyncio.AbstractEventLoop, store: Store) -> None:
        while self._queue:
            works = [self._queue.popleft() for _ in range(min(len(self._queue), _TOGETHER))]
            results = store.commit(works)
            self._tell(loop, [(w.done, result) for w, result in zip(works, results, strict=True) if w.done is not None])
        self._tell(loop, [(self._rest, None)])

    def _begin(self) -> None:
        self._store = Store(self._path, mounts=self._mounts, read_only=self._read_only)

    def _end(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _finish(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._store is not None
        self._drain(loop, self._store)
        self._end()

    def _tell(self, loop: asyncio.AbstractEventLoop, told: Iterable[tuple[Callable[[object], None], object]]) -> None:
        self._told.extend(told)
        with suppress(RuntimeError):  # the loop was closed, and nobody is left to be told
            loop.call_soon_threadsafe(self._hear, loop)

    # --- on the way back ---------------------------------------------------------------------------------------------

    def _hear(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._delivering:  # else it comes to that by itself
            self._deliver(loop)

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(len(self._told), _PER_CALL)):
            done, result = self._told.popleft()
            try:
                done(result)
            except Exception as error:  # noqa: BLE001 - the callbacks after it have to be called all the same
                loop.call_exception_handler({"message": "a journal callback failed", "exception": error})
        self._delivering = bool(self._told)
        if self._delivering:
            loop.call_soon(self._deliver, loop)

    def _rest(self, _result: object) -> None:
        self._busy = False
        if self._queue and self._loop is not None:  # put after the thread had looked for the last time
            self._busy = True
            self._start()

    def _in_thread(self, loop: asyncio.AbstractEventLoop, run: Callable[[], None]) -> asyncio.Future[None]:
        answer: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            result: object = None
            try:
                run()
            except Exception as error:  # noqa: BLE001 - told to the one who waits
                result = translated(error)
            self._tell(loop, [(_settler(answer), result)])

        loop.run_in_executor(self._writer, work)
        return answer


def _check_texts(*texts: object) -> None:
    try:
        for text in texts:
            if not (isinstance(text, str) and text.isascii()):
                str(text).encode()
    except UnicodeEncodeError:
        raise ConfigError("half a character (a lone surrogate) cannot be recorded") from None


def _settler(answer: asyncio.Future[T]) -> Callable[[Any], None]:
    def settle(result: Any) -> None:
        if answer.done():  # whoever waited was cancelled
            return
        if isinstance(result, JournalError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    return settle


def _error_in(result: object) -> JournalError | None:
    return result if isinstance(result, JournalError) else None
