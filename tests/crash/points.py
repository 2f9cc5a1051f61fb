"""The places where a life can be made to end: labels, and how each is reached without a hook in the product.

Methods of the product are wrapped, in the child only. `after` a method of the journal's Store means within the
transaction: what it wrote is not committed yet.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import attrs

from kling_async import Status, download, journal_store, transfer, transport
from kling_async.download import Downloader
from kling_async.journal_sqlite import SqliteJournal
from kling_async.journal_store import Store
from kling_async.recorder import Record
from kling_async.runtime import Runtime
from kling_async.searcher import Searcher
from kling_async.transport import Transport

When = Callable[..., bool]


@attrs.define(eq=False)
class Bomb:
    """Sends this process a signal at the n-th time that its point is reached, and tells so first.

    Attributes:
        nth: which time, from 1.
        pipe: where to tell.
        signal: SIGKILL, or SIGSTOP.
        luck: of those points that lie somewhere within a stretch of time.
    """

    nth: int
    pipe: int
    signal: int
    luck: random.Random
    seen: int = 0
    is_live: bool = True
    _lock: Any = attrs.field(factory=threading.Lock)

    def tick(self) -> None:
        """Note that the point is reached."""
        self.seen += 1
        if self.is_live and self.seen == self.nth:
            self.strike()

    def strike(self) -> None:
        """End this process, or stop it; at most once."""
        with self._lock:  # held for good: whoever else wants to strike waits for the end
            if self.is_live:
                self.is_live = False
                os.write(self.pipe, json.dumps({"struck": self.seen, "at": time.time()}).encode() + b"\n")
                os.kill(os.getpid(), self.signal)

    def strike_within(self, seconds: float) -> None:
        """End this process from another thread, at a random moment of the next `seconds`."""
        delay_s = self.luck.uniform(0, seconds)

        def later() -> None:
            time.sleep(delay_s)
            self.strike()

        threading.Thread(target=later, daemon=True).start()


def put(owner: Any, name: str, value: Any) -> None:
    """Put something in the place of a method or name of the product, in this process."""
    setattr(owner, name, value)


def _always(*_arguments: Any, **_more: Any) -> bool:
    return True


def before(owner: Any, name: str, when: When = _always) -> Callable[[Bomb], None]:
    """The point before a function begins, if `when` says so of its arguments."""

    def arm(bomb: Bomb) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if when(*args, **kwargs):
                bomb.tick()
            return original(*args, **kwargs)

        setattr(owner, name, wrapper)

    return arm


def after(owner: Any, name: str, when: When = _always) -> Callable[[Bomb], None]:
    """The point after a function has returned, or after what it gave was awaited."""

    def arm(bomb: Bomb) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def plain(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if when(*args, **kwargs):
                bomb.tick()
            return result

        @functools.wraps(original)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            result = await original(*args, **kwargs)
            if when(*args, **kwargs):
                bomb.tick()
            return result

        setattr(owner, name, awaited if asyncio.iscoroutinefunction(original) else plain)

    return arm


def writes(state: Status) -> When:
    """Whether an update of the Store brings an entry into a state."""

    def when(_store: Store, _job_id: str, _owner: str, _epoch: int, news: Any, *_more: Any) -> bool:
        return any(value == state.value for _, value in news)

    return when


def noted(state: Status) -> Callable[[Bomb], None]:
    """The point at which a note that a job stands there has become durable, and nobody was told."""

    def arm(bomb: Bomb) -> None:
        original = Record.note

        def note(
            self: Record, job: Any, to: Status, then: Any = None, *, task_id: str | None = None, undone: bool = False
        ) -> None:
            def durable(error: Any) -> None:
                if to is state:
                    bomb.tick()
                if then is not None:
                    then(error)

            original(self, job, to, durable, task_id=task_id, undone=undone)

        put(Record, "note", note)

    return arm


def ended(bomb: Bomb) -> None:
    """The point at which a job's end is durable, and nobody was told."""
    original = Record.settle

    def settle(self: Record, job: Any, outcome: Any, then: Any) -> None:
        def durable(error: Any) -> None:
            bomb.tick()
            then(error)

        original(self, job, outcome, durable)

    put(Record, "settle", settle)


def _is_post(response: aiohttp.ClientResponse, *_more: Any) -> bool:
    return response.method == "POST"


def in_flight(bomb: Bomb, *, turns: int = 5, again: bool = False) -> None:
    """The point at which a create has left, and its answer has not come."""
    start = aiohttp.ClientResponse.start
    resent: set[str] = set()

    async def started(self: aiohttp.ClientResponse, connection: Any) -> aiohttp.ClientResponse:
        if self.method == "POST" and (resent or not again):
            for _ in range(turns):  # the body may be written by a task of its own
                await asyncio.sleep(0)
            bomb.tick()
        return await start(self, connection)

    put(aiohttp.ClientResponse, "start", started)
    if again:
        sending = Record.sending

        async def sent(self: Record, job: Any, /) -> None:
            await sending(self, job)
            if _is_again(self, job):
                resent.add(job.id)

        put(Record, "sending", sent)


def _is_again(record: Record, job: Any, *_more: Any) -> bool:
    entry = record.held.get(job.id)
    return entry is not None and entry.attempt > 1


def mid_download(bomb: Bomb) -> None:
    """The point at which a part of a file is written."""
    original = aiohttp.StreamReader.iter_chunked

    async def chunks(reader: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        async for chunk in original(reader, 1024):
            yield chunk
            bomb.tick()  # asked for the next one: this one is written

    def iter_chunked(self: aiohttp.StreamReader, size: int) -> Any:
        return chunks(self) if size == transfer._CHUNK_BYTES else original(self, size)

    put(aiohttp.StreamReader, "iter_chunked", iter_chunked)


def schema(bomb: Bomb) -> None:
    """Any statement of the opening of a journal, before it is executed."""

    class Connection(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            bomb.tick()
            return super().execute(*args)

    defaults = Store.__init__.__kwdefaults__
    assert defaults is not None
    defaults["connect"] = functools.partial(sqlite3.connect, factory=Connection)


def within(owner: Any, name: str, seconds: float, *, due: When = _always) -> Callable[[Bomb], None]:
    """Some moment while a function runs that lets other threads run; at its end, if it was faster."""

    def arm(bomb: Bomb) -> None:
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            bomb.seen += 1
            if bomb.seen != bomb.nth or not bomb.is_live:
                return original(*args, **kwargs)
            bomb.strike_within(seconds)
            result = original(*args, **kwargs)
            bomb.strike()
            return result

        setattr(owner, name, wrapper)

    return arm


def checkpoint(bomb: Bomb) -> None:
    """Some moment while the log is brought into the file: made small, so that this happens often."""
    put(journal_store, "_LOG_BYTES", 8 << 10)
    shorten = Store._shorten_log

    def shortened(self: Store) -> None:
        if self._log.stat().st_size <= journal_store._LOG_BYTES:
            shorten(self)
            return
        bomb.seen += 1
        if bomb.seen == bomb.nth:
            bomb.strike_within(0.002)
            shorten(self)
            bomb.strike()
        else:
            shorten(self)

    put(Store, "_shorten_log", shortened)


def _download_begins(bomb: Bomb) -> None:
    before(Downloader, "save")(bomb)


# Label → how to arm it. The order is that of a job's life.
POINTS: dict[str, Callable[[Bomb], None]] = {
    "creation: a statement of the schema": schema,
    "P0 nothing written": before(Record, "add"),
    "P1 insert not committed": after(Store, "add"),
    "P2 intent committed": after(Record, "add"),
    "J2 sending not committed": after(Store, "update", writes(Status.SENDING)),
    "J2 sending recorded, not told": after(SqliteJournal, "write"),
    "P3 just before the POST": before(Transport, "submit"),
    "P4 request half sent": functools.partial(in_flight, turns=0),
    "P4 request in flight": in_flight,
    "P5 headers got, body unread": before(transport, "_read_capped", _is_post),
    "P6 answer read, not journaled": after(Transport, "submit"),
    "J3 task id not committed": after(Store, "update", writes(Status.ACCEPTED)),
    "P7 task id journaled": noted(Status.ACCEPTED),
    "J4 unsure not committed": after(Store, "update", writes(Status.UNSURE)),
    "J4 unsure journaled": noted(Status.UNSURE),
    "J4 looked up, not settled": before(Searcher, "judge"),
    "again: just before the second POST": after(Record, "sending", _is_again),
    "again: second POST in flight": functools.partial(in_flight, again=True),
    "P8 polling, before the question": before(Transport, "ask"),
    "P8 polling, answer read": after(Transport, "ask"),
    "J5 end not committed": after(Store, "update", writes(Status.SUCCEEDED)),
    "J5 end journaled, nobody told": ended,
    "P8 download begins": _download_begins,
    "P9 mid-download": mid_download,
    "P10 downloaded, not renamed": before(download, "_finish"),
    "P11 renamed, not told": after(download, "_finish"),
    "P12 all done, not closed": after(Downloader, "save"),
    "lease: before renewal": before(Record, "renew"),
    "lease: renewal not committed": after(Store, "renew"),
    "lease: renewed": after(Record, "renew"),
    "checkpoint of the log": checkpoint,
    "adopt: dead owner's lease ended, not committed": after(Store, "bury"),
    "adopt: claimed, not committed": after(Store, "claim"),
    "adopt: claimed, not resumed": after(Record, "claim"),
    "close: begun": before(Runtime, "close"),
    "close: release not committed": after(Store, "release"),
    "close: released, not closed": before(SqliteJournal, "close"),
    "close: last connection closing": within(Store, "close", 0.003),
}
