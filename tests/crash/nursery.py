"""Starts lives quickly: one process has imported everything and forks a child for each.

The fork server runs no event loop and no thread, so that its children begin as fresh processes do. A child tells one
JSON line through a pipe of its own; that pipe's end is also how its death is noticed, and it is reaped before anybody
hears of it, since the next life asks the system whether the process of an earlier one is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

_LINE_LIMIT = 16 << 20


@attrs.define
class Ended:
    """How one life ended: its exit status (minus the signal's number), and the lines it told, oldest first."""

    status: int
    told: list[dict[str, Any]]

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL

    def word(self, key: str) -> Any:
        """What it told last under a key, or None."""
        return next((line[key] for line in reversed(self.told) if key in line), None)


@attrs.define(eq=False)
class Child:
    """A life under way."""

    born: asyncio.Future[int] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())
    told: list[dict[str, Any]] = attrs.field(factory=list)
    has_begun: asyncio.Event = attrs.field(factory=asyncio.Event)
    ended: asyncio.Future[Ended] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())

    async def send(self, number: int) -> None:
        """Send a signal; nothing happens if it has ended already."""
        pid = await self.born
        if not self.ended.done():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@attrs.define(eq=False)
class Nursery:
    """The parent's side of the fork server."""

    _server: asyncio.subprocess.Process
    _children: dict[int, Child] = attrs.field(factory=dict)
    _count: int = 0

    def start(self, spec: dict[str, Any]) -> Child:
        """Begin a life; see `life.live` for what a spec says."""
        assert self._server.stdin is not None
        self._count += 1
        child = self._children[self._count] = Child()
        self._server.stdin.write(json.dumps({"number": self._count, "spec": spec}).encode() + b"\n")
        return child

    async def listen(self) -> None:
        """Hand on what the server tells, until it ends; whoever waits then, waits for nothing."""
        try:
            await self._listen()
        finally:
            for child in self._children.values():
                child.ended.cancel()

    async def _listen(self) -> None:
        assert self._server.stdout is not None
        while line := await self._server.stdout.readline():
            news = json.loads(line)
            child = self._children[news["number"]]
            if "pid" in news:
                child.born.set_result(news["pid"])
            elif "told" in news:
                child.told.append(news["told"])
                child.has_begun.set()
            else:
                del self._children[news["number"]]
                child.has_begun.set()
                if not child.ended.done():
                    child.ended.set_result(Ended(news["status"], child.told))


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """A fork server, and the end of every life that is left when the block is."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crash.nursery"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        limit=_LINE_LIMIT,
    )
    home = Nursery(server)
    listening = asyncio.ensure_future(home.listen())
    try:
        yield home
    finally:
        assert server.stdin is not None
        server.stdin.close()  # its end is the word to kill what is left
        await server.wait()
        await listening


# --- the server's side -----------------------------------------------------------------------------------------------


@attrs.define
class _Raised:
    number: int
    pid: int
    unread: bytes = b""


def _tell(news: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def _raise(number: int, spec: dict[str, Any], watched: selectors.BaseSelector) -> None:
    from crash.life import live

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            watched.close()
            os.close(reading)
            errors = os.open(Path(spec["folder"]) / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for target, descriptor in ((0, nowhere), (1, nowhere), (2, errors)):
                os.dup2(descriptor, target)
            live(spec, writing)
            code = 0
        except BaseException:  # noqa: BLE001 - told in the life's own file; nothing of it may go on in this process
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    watched.register(reading, selectors.EVENT_READ, _Raised(number, pid))
    _tell({"number": number, "pid": pid})


def _hear(reading: int, raised: _Raised, watched: selectors.BaseSelector) -> None:
    data = os.read(reading, 1 << 20)
    raised.unread += data
    *lines, raised.unread = raised.unread.split(b"\n")
    for line in lines:
        _tell({"number": raised.number, "told": json.loads(line)})
    if not data:
        watched.unregister(reading)
        os.close(reading)
        _, status = os.waitpid(raised.pid, 0)
        _tell({"number": raised.number, "status": os.waitstatus_to_exitcode(status)})


def serve() -> None:
    """Fork a child for each line on standard input; at its end kill those that are left."""
    from crash.life import warm_up  # imported once, for all children

    warm_up()
    watched = selectors.DefaultSelector()
    watched.register(0, selectors.EVENT_READ)
    orders = b""
    alive = True
    while alive:
        for key, _ in watched.select():
            if key.data is not None:
                _hear(key.fd, key.data, watched)
                continue
            data = os.read(0, 1 << 20)
            alive = bool(data)
            *lines, orders = (orders + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                _raise(order["number"], order["spec"], watched)
    for key in list(watched.get_map().values()):
        if key.data is not None:
            os.kill(key.data.pid, signal.SIGKILL)
            os.kill(key.data.pid, signal.SIGCONT)
            while key.fd in watched.get_map():
                _hear(key.fd, key.data, watched)


if __name__ == "__main__":
    serve()
