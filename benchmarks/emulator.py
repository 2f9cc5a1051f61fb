"""The emulator as a server: requests per second on one core, and how soon it listens.

    python benchmarks/emulator.py [--quick] [--json FILE]

It runs in a process of its own, as `kling emulator` does; clients on the other core keep it busy with creates, single
queries and list pages over loopback. Requests per CPU second of that process count, which is what one core can do; the
baseline in the same run is an aiohttp server that answers every request with one fixed text.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from _report import Cell, add_options, at_least, at_most, publish, with_bytecode
from _server import pin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AT_ONCE = 20
PATH = "/v1/videos/text2video"
COMMON = """
import asyncio, sys, time
sys.path.insert(0, {folder!r})
from _server import pin
pin(0)
"""
EMULATOR = """
from kling_async.emulator import Emulator
async def main():
    async with Emulator(dialect="official", lists=True) as emulator:
        print(emulator.url, emulator.api_key, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(time.process_time(), flush=True)
asyncio.run(main())
"""
FIXED = """
from aiohttp import web
TEXT = b'{"code":0,"message":"SUCCEED","request_id":"0","data":{"task_id":"8","task_status":"processing"}}'
async def answer(request):
    await request.read()
    return web.Response(body=TEXT, content_type="application/json")
async def main():
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", "key", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(time.process_time(), flush=True)
asyncio.run(main())
"""


class Served:
    """A server in a process of its own, which tells its CPU time when asked."""

    def __init__(self, process: subprocess.Popen[str], began: float) -> None:
        self.process = process
        address, self.key = self._read().split()
        self.started_s = time.perf_counter() - began
        self.port = int(address.rpartition(":")[2])

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def cpu_s(self) -> float:
        """Ask for its CPU seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._read())


@contextmanager
def served(code: str, cache: str) -> Iterator[Served]:
    """Start a server, and end it."""
    folder = __file__.rpartition("/")[0] or "."
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMON.format(folder=folder) + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=with_bytecode(cache),
    )
    try:
        yield Served(process, began)
    finally:
        process.terminate()
        process.wait()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """Send one request on an open connection, and read its answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"WRONG: {head[:80]!r}")
    size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    return await reader.readexactly(size)


def get(path: str, key: str) -> bytes:
    """Write a query."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def post(path: str, key: str, body: bytes) -> bytes:
    """Write a create."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def load(server: Served, kind: str, number: int) -> float:
    """Send so many requests of a kind; give requests per CPU second of the server."""
    numbers = iter(range(number))

    async def work(first: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for count in numbers:
            if kind == "create":
                body = {
                    "prompt": "A happy scene of a vacation.",
                    "external_task_id": f"{first}-{count}-{time.monotonic_ns()}",
                }
                request = post(PATH, server.key, json.dumps(body).encode())
            else:
                request = get(f"{PATH}/{task_id}" if kind == "single" else f"{PATH}?pageNum=1&pageSize=30", server.key)
            await ask(reader, writer, request)
        writer.close()
        await writer.wait_closed()

    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    made = await ask(reader, writer, post(PATH, server.key, b'{"prompt": "A happy scene of a vacation."}'))
    task_id = json.loads(made)["data"]["task_id"]
    writer.close()
    await writer.wait_closed()
    before = server.cpu_s()
    await asyncio.gather(*(work(f"w{index}") for index in range(AT_ONCE)))
    return number / (server.cpu_s() - before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="The emulator as a server.")
    add_options(parser, "few requests")
    options = parser.parse_args(arguments)
    pin(1)
    number, rounds, starts = (300, 1, 1) if options.quick else (2000, 5, 5)
    kinds = ("create", "single", "list of 30")
    rates: dict[str, list[float]] = {kind: [] for kind in (*kinds, "fixed")}
    started: list[float] = []
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(starts + 1):
            with served(EMULATOR, cache) as server:
                started.append(server.started_s)
    del started[0]  # it wrote the bytecode
    with tempfile.TemporaryDirectory() as cache, served(EMULATOR, cache) as server, served(FIXED, cache) as fixed:
        asyncio.run(load(server, "single", 100))
        asyncio.run(load(fixed, "single", 100))
        for _ in range(rounds):
            rates["fixed"].append(asyncio.run(load(fixed, "single", number)))
            for kind in kinds:
                rates[kind].append(asyncio.run(load(server, kind, number)))
    base = statistics.median(rates["fixed"])
    rows: list[dict[str, Cell]] = [
        {
            "requests": "any, a fixed answer" if kind == "fixed" else f"{kind}, emulator",
            "per CPU s": statistics.median(found),
            "lowest": min(found),
            "highest": max(found),
            "x": statistics.median(found) / base,
        }
        for kind, found in rates.items()
    ]
    # As many creates, single queries and lists.
    mixed = len(kinds) / sum(1 / statistics.median(rates[kind]) for kind in kinds)
    start_s = statistics.median(started)
    figures = [
        at_least(
            "emulator, a third each creates, single queries and lists", mixed, 2000, unit="requests/s of one core"
        ),
        at_most("emulator, from its process to its first answer", start_s, 1.0, unit="s"),
    ]
    notes = [
        f"{number:,} requests a round, {rounds} rounds in turns, {AT_ONCE} connections; x: over aiohttp's bare server",
        f"started in {start_s:.2f} s, median of {starts}",
    ]
    publish(options, "emulator", "The emulator", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
