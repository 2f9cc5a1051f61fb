"""Files per second: sixty files of 8 MB over loopback, against an aiohttp loop that writes to files.

    python benchmarks/download.py [--quick] [--files N] [--folder FOLDER] [--json FILE]

Three clients take the same files from the same server, eight at a time, each run in a process of its own: `plain` is
what people write (stream, and write to a file under its last name), `careful` adds what this package adds and nothing
more (hash, temporary name, force to the disk, rename; all on the loop), and `kling_async` is `session.save`. Runs
alternate, and the median counts. Fails when a file is not what the server has.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import hashlib
import json
import os
import resource
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from _report import Cell, add_options, at_least, at_most, publish

from kling_async import Asset, KlingSession, Policy, Result, official

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE = 8 * 1024 * 1024
AT_ONCE = 8
CLIENTS = ("plain", "careful", "kling_async")


@functools.cache
def clip() -> bytes:
    """Make the file that is served; not in the clients, whose memory is measured."""
    content = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(251)) * (SIZE // 251)
    return content[:SIZE].ljust(SIZE, b"\0")


def sha256() -> str:
    """Hash what is served."""
    return hashlib.sha256(clip()).hexdigest()


class _Files(socketserver.StreamRequestHandler):
    """Answers every GET of a connection with the same clip."""

    def handle(self) -> None:
        head = f'HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nETag: "v1"\r\n\r\n'.encode()
        while self.rfile.readline().startswith(b"GET "):
            while self.rfile.readline().strip():
                pass
            self.connection.sendall(head)
            self.connection.sendall(clip())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


def serve() -> None:
    """Serve until standard input ends."""
    with _Server(("127.0.0.1", 0), _Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
        server.shutdown()


async def plain(url: str, folder: Path, files: int) -> list[str]:
    """Take the files as people write it."""
    room = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession() as http:

        async def take(number: int) -> None:
            async with room, http.get(f"{url}/{number}") as response:
                response.raise_for_status()
                with (folder / f"{number}.mp4").open("wb") as file:
                    async for chunk in response.content.iter_chunked(64 * 1024):
                        file.write(chunk)

        await asyncio.gather(*(take(number) for number in range(files)))
    return []


async def careful(url: str, folder: Path, files: int) -> list[str]:
    """Take the files with the same promises, in the fewest lines."""
    room = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession() as http:

        async def take(number: int) -> str:
            part = folder / f"{number}.part"
            found = hashlib.sha256()
            async with room, http.get(f"{url}/{number}") as response:
                response.raise_for_status()
                with part.open("wb") as file:
                    async for chunk in response.content.iter_chunked(64 * 1024):
                        file.write(chunk)
                        found.update(chunk)
                    file.flush()
                    os.fsync(file.fileno())
            part.rename(folder / f"{number}.mp4")
            above = os.open(folder, os.O_RDONLY)
            os.fsync(above)
            os.close(above)
            return found.hexdigest()

        return await asyncio.gather(*(take(number) for number in range(files)))


async def ours(url: str, folder: Path, files: int) -> list[str]:
    """Take the files with `session.save`."""
    policy = Policy(max_downloads=AT_ONCE)
    async with KlingSession(api_key="k", base_url=official(url), policy=policy) as kling:

        async def take(number: int) -> str:
            asset = Asset(kind="video", url=f"{url}/{number}")
            result = Result(assets=(asset,), endpoint="text2video", task_id=str(number))
            (saved,) = await kling.save(result, folder)
            return saved.sha256

        return await asyncio.gather(*(take(number) for number in range(files)))


async def _ticking(gaps: list[float]) -> None:
    """Note how late the loop serves a timer."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        gaps.append(time.perf_counter() - before - 0.005)


async def _measured(client: str, url: str, folder: Path, files: int) -> tuple[dict[str, float], list[str]]:
    gaps: list[float] = []
    ticking = asyncio.ensure_future(_ticking(gaps))
    began, used = time.perf_counter(), time.process_time()
    hashes = await {"plain": plain, "careful": careful, "kling_async": ours}[client](url, folder, files)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - used
    ticking.cancel()
    return {"took_s": took_s, "cpu_s": cpu_s, "block_s": max(gaps, default=0.0)}, sorted(set(hashes))


def child(client: str, url: str, folder: Path, files: int) -> None:
    """Run one client, and print what it took."""
    before = _peak_kib()
    told, hashes = asyncio.run(_measured(client, url, folder, files))
    peak = _peak_kib()
    print(json.dumps({**told, "rss_mib": peak / 1024, "grown_mib": (peak - before) / 1024, "hashes": hashes}))


def _peak_kib() -> int:
    """Give the most memory that this process had; what its parent had counts in `getrusage`, and not here."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(client: str, url: str, files: int, where: Path | None) -> dict[str, float]:
    """Run one client in a new process, and look at what it saved."""
    with tempfile.TemporaryDirectory(dir=where) as folder:
        command = [sys.executable, __file__, "--child", client, "--url", url, "--files", str(files), "--folder", folder]
        told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        saved = sorted(Path(folder).iterdir())
        if len(saved) != files or any(path.stat().st_size != SIZE for path in saved):
            raise SystemExit(f"WRONG: {client} saved {[path.name for path in saved]}")
        hashes = {*told.pop("hashes"), *(hashlib.sha256(path.read_bytes()).hexdigest() for path in saved)}
        if hashes != {sha256()}:
            raise SystemExit(f"WRONG: {client} saved something else")
    measured: dict[str, float] = told
    return measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="Files per second.")
    add_options(parser, "ten files, once")
    parser.add_argument("--files", type=int, help="files of 8 MB a run (60)")
    parser.add_argument("--folder", type=Path, help="where they are saved; a disk, not memory")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve()
        return 0
    files = options.files or (10 if options.quick else 60)
    if options.child:
        child(options.child, options.url, options.folder, files)
        return 0
    rounds = 1 if options.quick else 5
    took: dict[str, list[dict[str, float]]] = {client: [] for client in CLIENTS}
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for _ in range(rounds):
            for client in CLIENTS:
                took[client].append(run(client, url, files, options.folder))
        server.stdin.close()

    def middle(client: str, what: str) -> float:
        return statistics.median(told[what] for told in took[client])

    def against(client: str, what: str = "took_s") -> float:
        """Median of the rounds' ratios: how many times as fast as that client."""
        pairs = zip(took[client], took["kling_async"], strict=True)
        return statistics.median(theirs[what] / mine[what] for theirs, mine in pairs)

    rows: list[dict[str, Cell]] = [
        {
            "client": client,
            "seconds": middle(client, "took_s"),
            "MB/s": files * SIZE / 1e6 / middle(client, "took_s"),
            "CPU s": middle(client, "cpu_s"),
            "longest block ms": middle(client, "block_s") * 1000,
            "peak RSS MiB": middle(client, "rss_mib"),
            "grown MiB": middle(client, "grown_mib"),
        }
        for client in CLIENTS
    ]
    what = f"{files} files of 8 MB, {AT_ONCE} at a time"
    figures = [
        at_least(f"speed, {what}", against("plain"), 0.5, against="a plain aiohttp loop", minor=True),
        at_least(f"speed with hash, fsync and rename, {what}", against("careful"), 1.0, against="the same on the loop"),
        at_most(f"CPU, {what}", 1 / against("careful", "cpu_s"), 1.25, against="the same on the loop", minor=True),
        at_most(f"memory above imports, {what}", middle("kling_async", "grown_mib"), 40.0, unit="MiB", minor=True),
    ]
    notes = [f"{rounds} rounds, alternating; medians; block: how late a timer of 5 ms came at worst"]
    publish(options, "download", "Files per second", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
