"""CPU of the client per finished task over real HTTP, submit included, against a loop per task.

    python benchmarks/client_cpu.py [--quick] [--json FILE]

4,000 jobs at once against a bare server on another core (`_server.py`), time squeezed twenty times: tasks of 188 s on
average take 9, intervals of 5 s are 0.25 s, and so are the session's. Every way starts in a process of its own, in
turns. At this squeeze the loops want more requests a second than one core can send, so they fall behind: that makes
them cheaper than they would be, and their lag longer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import backoff
from _report import Cell, Figure, add_options, fewer, publish
from _server import counts_of, pin, running
from _service import has_price, policy_of

from kling_async import KlingSession, TextToVideo, official

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SQUEEZE = 20.0
PATH = "/v1/videos/text2video"
AT_ONCE = 100  # connections, as aiohttp's own limit is


def lag_of(url: str) -> float:
    """Give the squeezed seconds since the task of an asset ended."""
    return time.monotonic() - float(url.rpartition("=")[2])


def every(seconds: float) -> Callable[[], Iterator[float]]:
    """Give the delays of a loop with a fixed interval."""

    def delays() -> Iterator[float]:
        while True:
            yield seconds

    return delays


def usual(cap_s: float) -> Callable[[], Iterator[float]]:
    """Give the delays of the usual loop with `backoff` and full jitter."""
    rng = random.Random(3)

    def delays() -> Iterator[float]:
        waits = backoff.expo(factor=1 / SQUEEZE, max_value=cap_s)
        next(waits)
        for value in waits:
            yield rng.uniform(0, value)

    return delays


async def loops(address: str, jobs: int, delays: Callable[[], Iterator[float]]) -> list[float]:
    """Follow each job with a loop of its own."""
    headers = {"Authorization": "Bearer " + "x" * 40}
    lags: list[float] = []
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as http:

        async def follow(number: int) -> None:
            body = {
                "model_name": "kling-v2-6",
                "prompt": f"A happy scene, take {number}.",
                "mode": "pro",
                "duration": "5",
            }
            async with http.post(f"{address}{PATH}", json=body) as response:
                task_id = (await response.json())["data"]["task_id"]
            for delay_s in delays():
                await asyncio.sleep(delay_s)
                async with http.get(f"{address}{PATH}/{task_id}") as response:
                    data = (await response.json())["data"]
                if data["task_status"] == "succeed":
                    lags.append(lag_of(data["task_result"]["videos"][0]["url"]))
                    return

        await asyncio.gather(*map(follow, range(jobs)))
    return lags


async def session(address: str, jobs: int, price_s: float) -> list[float]:
    """Follow all of them with one session."""
    policy = policy_of(
        sweep_s=5.0 / SQUEEZE, late_s=10.0 / SQUEEZE, ceiling_s=60.0 / SQUEEZE, price_s=price_s / SQUEEZE
    )
    requests = (
        TextToVideo(prompt=f"A happy scene, take {number}.", model_name="kling-v2-6", mode="pro", duration="5")
        for number in range(jobs)
    )
    async with KlingSession(api_key="x" * 40, base_url=official(address), policy=policy) as kling:
        return [lag_of(job.result().url) async for job in kling.map(requests, max_pending=jobs)]


def one(way: str, address: str, jobs: int) -> dict[str, float]:
    """Run one way in this process; give CPU and lags."""
    logging.getLogger("kling_async").addHandler(logging.NullHandler())
    pin(1)
    began = time.process_time()
    if way.startswith("kling"):
        lags = asyncio.run(session(address, jobs, 1e6 if "tail" in way else 4.0))
    else:
        delays = usual(30.0 / SQUEEZE) if way.startswith("backoff") else every(5.0 / SQUEEZE)
        lags = asyncio.run(loops(address, jobs, delays))
    cpu_s = time.process_time() - began
    lags.sort()
    return {
        "done": len(lags),
        "cpu_s": cpu_s,
        "mean_s": statistics.fmean(lags) * SQUEEZE,
        "p99_s": lags[int(0.99 * len(lags))] * SQUEEZE,
    }


def apart(way: str, jobs: int, longest_s: float) -> dict[str, float]:
    """Run one way in a process of its own, against a server of its own."""
    with running(median_s=160.0 / SQUEEZE, sigma=0.55, low_s=2.0 / SQUEEZE, high_s=longest_s / SQUEEZE) as address:
        command = [sys.executable, __file__, "--one", way, address, str(jobs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{way} failed: {done.stderr[-1000:]}")
        found: dict[str, float] = json.loads(done.stdout)
        found["requests"] = counts_of(address)["requests"]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0 when every job was delivered."""
    parser = argparse.ArgumentParser(description="CPU of the client per finished task.")
    add_options(parser, "few jobs, short")
    parser.add_argument("--jobs", type=int, help="jobs at once (4000)")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "ADDRESS", "JOBS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one is not None:
        way, address, jobs_text = options.one
        print(json.dumps(one(way, address, int(jobs_text))))
        return 0
    jobs = options.jobs or (100 if options.quick else 4000)
    ways = ["5 s loop per task", "backoff loop, cap 30 s", "kling_async"]
    if has_price():
        ways.append("kling_async, tail rule only")
    if options.quick:
        ways = ways[2:3]
    found = {way: apart(way, jobs, 30.0 if options.quick else 600.0) for way in ways}
    rows: list[dict[str, Cell]] = []
    base = found[ways[0]]["cpu_s"]
    for way, got in found.items():
        rows.append(
            {
                "way": way,
                "jobs": jobs,
                "done": int(got["done"]),
                "CPU ms/task": got["cpu_s"] / jobs * 1000,
                "requests/task": got["requests"] / jobs,
                "lag mean s": got["mean_s"],
                "lag p99 s": got["p99_s"],
                "x": got["cpu_s"] / base,
            }
        )
    figures: list[Figure] = []
    if not options.quick:
        what = f"client CPU per finished task, {jobs:,} at once, submit included"
        best = found[ways[-1]]["cpu_s"]
        figures = [
            fewer(what, best, found[ways[0]]["cpu_s"], 8.0, against="a 5 s loop per task"),
            fewer(what, best, found[ways[1]]["cpu_s"], 6.0, against="a backoff loop per task"),
        ]
    notes = [f"time squeezed {SQUEEZE:g} times; lags are told unsqueezed; requests: creates are among them"]
    publish(options, "client_cpu", "CPU of the client", rows, notes=notes, figures=figures)
    return 0 if all(got["done"] == jobs for got in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
