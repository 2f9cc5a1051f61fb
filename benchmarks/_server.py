"""A server as light as can be, in a process and on a core of its own, so that what is measured is the client.

It speaks the legacy standard of the service (create, single query, list) and, for the peers, the protocols of theirs. A
bare asyncio protocol: no framework, one JSON text per task, kept. Times are of CLOCK_MONOTONIC, which processes of one
machine share; an asset's URL tells when its task ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KLING = "/v1/videos/"
_JSON = b"Content-Type: application/json\r\nContent-Length: "


@attrs.define(eq=False)
class Held:
    """One task."""

    number: int
    name: str
    ends_at: float
    live: bytes
    final: bytes

    def told(self, now: float) -> bytes:
        """Give its row."""
        return self.final if now >= self.ends_at else self.live


@attrs.define(eq=False)
class Table:
    """All tasks, and what was asked.

    Attributes:
        low_s, high_s: bounds of how long a task takes.
        median_s, sigma: of the lognormal law between them.
        address: of this server, for answers that name it.
    """

    median_s: float
    sigma: float
    low_s: float
    high_s: float
    address: str = ""
    tasks: list[Held] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)
    _rng: random.Random = attrs.field(factory=lambda: random.Random(42))

    def make(self, name: str) -> Held:
        """Make a task."""
        drawn = math.exp(self._rng.gauss(math.log(self.median_s), self.sigma)) if self.median_s else 0.0
        now = time.monotonic()
        ends_at = now + min(max(drawn, self.low_s), self.high_s)
        number = len(self.tasks)
        stamp = round(time.time() * 1000)
        row: dict[str, Any] = {
            "task_id": f"8{number:017d}",
            "task_status": "processing",
            "task_status_msg": "",
            "task_info": {"external_task_id": name},
            "created_at": stamp,
            "updated_at": stamp,
        }
        clip = {"id": row["task_id"], "url": url_of(number, ends_at), "duration": "5.1"}
        over = stamp + round((ends_at - now) * 1000)
        final = {**row, "task_status": "succeed", "updated_at": over, "task_result": {"videos": [clip]}}
        task = Held(number, name, ends_at, _dumped(row), _dumped(final))
        self.tasks.append(task)
        self.counts["created"] += 1
        return task


def url_of(number: int, ends_at: float) -> str:
    """Give the address of a task's asset, which tells when it ended."""
    return f"https://cdn.example/clip-{number}.mp4?done={ends_at:.6f}"


def _dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _enveloped(data: bytes) -> bytes:
    return b'{"code":0,"message":"SUCCEED","request_id":"0","data":' + data + b"}"


@attrs.define(eq=False)
class Connection(asyncio.Protocol):
    """One connection: reads requests, answers each at once."""

    table: Table
    speak: Any
    _transport: asyncio.Transport | None = None
    _buffer: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.table.counts["connections"] += 1

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._buffer += data
        while (request := self._next()) is not None:
            method, target, body = request
            if target.startswith("/_"):
                status, answer = 200, _dumped(self.table.counts)
            else:
                self.table.counts["requests"] += 1
                status, answer = self.speak(self.table, method, target, body)
            assert self._transport is not None
            self._transport.write(b"HTTP/1.1 %d OK\r\n%s%d\r\n\r\n%s" % (status, _JSON, len(answer), answer))

    def _next(self) -> tuple[str, str, bytes] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._buffer[:end]
        low = head.lower()
        start = end + 4
        if b"transfer-encoding: chunked" in low:
            whole = _unchunked(self._buffer, start)
            if whole is None:
                return None
            body, after = whole
        else:
            at = low.find(b"\r\ncontent-length:")
            size = int(low[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            after = start + size
            if len(self._buffer) < after:
                return None
            body = self._buffer[start:after]
        method, target, _ = head.split(b" ", 2)
        self._buffer = self._buffer[after:]
        return method.decode(), target.decode(), body


def _unchunked(buffer: bytes, at: int) -> tuple[bytes, int] | None:
    body = b""
    while True:
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(buffer[at:end], 16)
        at = end + 2 + size + 2
        if len(buffer) < at:
            return None
        body += buffer[end + 2 : end + 2 + size]
        if size == 0:
            return body, at


def speak_kling(table: Table, method: str, target: str, body: bytes) -> tuple[int, bytes]:
    """Answer as the service does: create, list, single query by either id."""
    path, _, query = target.partition("?")
    now = time.monotonic()
    if method == "POST":
        table.counts["create"] += 1
        task = table.make(json.loads(body).get("external_task_id", ""))
        return 200, _enveloped(task.live)
    table.counts["query"] += 1
    name = path.removeprefix(KLING).partition("/")[2]
    if name:
        number = int(name[1:]) if name.isdecimal() else -1
        if 0 <= number < len(table.tasks):
            return 200, _enveloped(table.tasks[number].told(now))
        return 404, b'{"code":1201,"message":"task not found","request_id":"0"}'
    asked = parse_qs(query)
    index, size = int(asked.get("pageNum", ["1"])[0]), min(500, int(asked.get("pageSize", ["30"])[0]))
    end = len(table.tasks) - (index - 1) * size
    rows = table.tasks[max(0, end - size) : max(0, end)]
    return 200, _enveloped(b"[" + b",".join([task.told(now) for task in reversed(rows)]) + b"]")


async def serve(table: Table, speak: Any, for_s: float) -> None:
    """Listen on a free port of loopback, tell it, and end with who started it, or after a while."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(table, speak), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    table.address = f"http://127.0.0.1:{port}"
    print(port, flush=True)
    reading = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait({reading}, timeout=for_s)
    server.close()
    os._exit(0)  # a thread may still be reading


# --- for the scripts -----------------------------------------------------------------------------------------------


@contextmanager
def running(
    *, median_s: float = 0.0, sigma: float = 0.0, low_s: float = 0.0, high_s: float = 1e9, peers: bool = False
) -> Iterator[str]:
    """Run a server in a process of its own; gives its address."""
    law = [str(figure) for figure in (median_s, sigma, low_s, high_s)]
    command = [sys.executable, __file__, "--law", *law, *(["--peers"] if peers else [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise SystemExit("the benchmark's server did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def counts_of(address: str) -> Mapping[str, int]:
    """Ask a running server what it was asked."""
    with urllib.request.urlopen(f"{address}/_counts", timeout=20) as answer:
        counts: Mapping[str, int] = json.loads(answer.read())
    return counts


def pin(core: int) -> None:
    """Keep this process on one core, where there are several and the system can."""
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--law", nargs=4, type=float, required=True)
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    pin(0)
    table = Table(*options.law)
    speak: Any = speak_kling
    if options.peers:
        from _protocols import speak_all  # noqa: PLC0415 - only the peers need it

        speak = speak_all
    asyncio.run(serve(table, speak, 900.0))


if __name__ == "__main__":
    main()
