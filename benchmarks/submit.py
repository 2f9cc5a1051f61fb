"""Submissions per second against a raw aiohttp loop as users write it, over real HTTP on loopback.

    python benchmarks/submit.py [--quick] [--json FILE]

The server is a bare protocol on another core (`_server.py`). The raw loop posts with `json=`, reads with `.json()` and
keeps the task id: fifty at once, no checks, no record, nothing followed. The session does all that it promises: checks,
ids, slots, one asyncio task per submission, a strict reading of the answer, and the task is pending afterwards. Rounds
alternate; CPU seconds of the client count, which on one core is throughput; the median of the rounds' ratios is told.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from _report import Cell, Figure, add_options, at_least, publish, version_of
from _server import pin, running

from kling_async import KlingSession, TextToVideo, official

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

AT_ONCE = 50
PROMPT = "A golden retriever runs through a sunny meadow, cinematic, slow motion. " * 2
PATH = "/v1/videos/text2video"

Way = tuple[float, float]


async def raw(address: str, number: int, _folder: str) -> Way:
    """Post as users write it."""
    headers = {"Authorization": "Bearer " + "x" * 40}
    found: list[str] = []
    numbers = iter(range(number))
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as http:

        async def work() -> None:
            for _ in numbers:
                body = {"model_name": "kling-v2-6", "prompt": PROMPT, "mode": "pro", "duration": "5"}
                async with http.post(f"{address}{PATH}", json=body) as response:
                    response.raise_for_status()
                    found.append((await response.json())["data"]["task_id"])

        cpu_s, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        spent = time.process_time() - cpu_s, time.perf_counter() - began
    assert len(found) == number
    return spent


async def ours(address: str, number: int, folder: str) -> Way:
    """Submit to a session, and wait until every job has a task."""
    journal = Path(folder) / f"{time.monotonic_ns()}.db" if folder else None
    async with KlingSession(api_key="benchmark", base_url=official(address), journal=journal) as kling:
        cpu_s, began = time.process_time(), time.perf_counter()

        async def one() -> None:
            request = TextToVideo(prompt=PROMPT, model_name="kling-v2-6", mode="pro", duration="5")
            job = await kling.submit(request)
            await job.accepted()

        if journal is None:
            jobs = [
                await kling.submit(TextToVideo(prompt=PROMPT, model_name="kling-v2-6", mode="pro", duration="5"))
                for _ in range(number)
            ]
            for job in jobs:
                await job.accepted()
        else:  # a durable submit waits for its disk, so many wait at once
            await asyncio.gather(*(one() for _ in range(number)))
        spent = time.process_time() - cpu_s, time.perf_counter() - began
        assert kling.stats.submissions == number
    return spent


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="Submissions per second.")
    add_options(parser, "few submissions")
    options = parser.parse_args(arguments)
    logging.getLogger("kling_async").addHandler(logging.NullHandler())
    pin(1)
    number, rounds = (300, 1) if options.quick else (1000, 7)
    runners: dict[str, Callable[[Coroutine[Any, Any, Way]], Way]] = {"asyncio": asyncio.run}
    if version_of("uvloop"):
        import uvloop  # noqa: PLC0415 - an extra, which may be missing

        runners["uvloop"] = uvloop.run
    extras = "orjson" if version_of("orjson") else "no orjson"
    rows: list[dict[str, Cell]] = []
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, running(low_s=3600.0) as address:
        ways = {"raw aiohttp": (raw, ""), "kling_async": (ours, ""), "kling_async, journal": (ours, folder)}
        for loop, run in runners.items():
            spent: dict[str, list[Way]] = {name: [] for name in ways}
            for number_of_round in range(rounds + 1):
                for name, (way, where) in ways.items():
                    gc.collect()
                    got = run(way(address, number if number_of_round else 100, where))
                    if number_of_round:  # the first warms up
                        spent[name].append(got)
            base = spent["raw aiohttp"]
            for name, got_all in spent.items():
                pairs = list(zip(base, got_all, strict=True))
                by_cpu = [theirs[0] / mine[0] for theirs, mine in pairs]
                rows.append(
                    {
                        "way": f"{name}, {loop}",
                        "jobs": number,
                        "us CPU/job": statistics.median(mine[0] for mine in got_all) / number * 1e6,
                        "jobs/s": number / statistics.median(mine[1] for mine in got_all),
                        "x by CPU": statistics.median(by_cpu),
                        "lowest": min(by_cpu),
                        "highest": max(by_cpu),
                        "x by time": statistics.median(theirs[1] / mine[1] for theirs, mine in pairs),
                    }
                )
                against = f"a raw aiohttp loop ({loop})"
                ratio = statistics.median(by_cpu)
                if name == "kling_async":
                    goal, label = (1.0, "standard loop") if loop == "asyncio" else (1.1, f"uvloop, {extras}")
                    figures.append(at_least(f"submit throughput, {label}", ratio, goal, against=against))
                elif name.endswith("journal") and loop == "asyncio":
                    figures.append(at_least("submit throughput with the durable journal", ratio, 0.75, against=against))
    notes = [
        (
            f"{rounds} rounds each, alternating, {AT_ONCE} in flight; x: jobs per CPU second over the raw loop's of "
            "the same round, median, lowest and highest"
        ),
        f"extras installed: {extras}",
    ]
    publish(options, "submit", "Submissions", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
