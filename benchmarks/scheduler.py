"""What following costs by itself: CPU, the longest block of the loop, and live timers, up to 100,000 pending jobs.

    python benchmarks/scheduler.py [--quick] [--most N] [--json FILE]

The session's real planner, scheduler and jobs on virtual time, over a table of tasks (`_service.py`) whose own CPU is
taken off; HTTP and JSON are not in it. Tasks arrive until as many are pending; then nothing is submitted, and the CPU
of half a minute is measured: planning, matching of rows, and settling what ended. The baseline is a loop per task that
sleeps 5 s and asks nothing at all, on asyncio's own loop and in real time: the timers alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import random
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
from _report import Cell, Figure, add_options, at_most, publish
from _service import Service, follow, has_price, policy_of
from _world import Workload

from kling_async.emulator.virtual import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Sequence

RAMP_S = 190.0
FILLED = 0.8  # share of the steady number that is pending after the ramp
WINDOW_S = 30.0
MINE = 2  # timers of this script: its own sleep, and the end of the run
LOOPS_FOR_S = 6.0


class TimedLoop(VirtualLoop):
    """A virtual loop that notes the longest turn, in CPU time of this thread without garbage collection."""

    longest_s: float = 0.0
    collecting_s: float = 0.0
    longest_collection_s: float = 0.0
    _collection_began: float = 0.0

    def _run_once(self) -> None:
        collected_s, began = self.collecting_s, time.thread_time()
        super()._run_once()  # type: ignore[misc]
        took_s = time.thread_time() - began - (self.collecting_s - collected_s)
        self.longest_s = max(self.longest_s, took_s)

    def note_collection(self, phase: str, _info: object) -> None:
        """Take note of a garbage collection."""
        if phase == "start":
            self._collection_began = time.thread_time()
        else:
            took_s = time.thread_time() - self._collection_began
            self.collecting_s += took_s
            self.longest_collection_s = max(self.longest_collection_s, took_s)

    def live_timers(self) -> int:
        """Count timers that are not cancelled."""
        return sum(not handle.cancelled() for handle in self._scheduled)


@attrs.define
class Measured:
    """One line of the table."""

    pending: float = 0.0
    cpu_s: float = 0.0
    queries: int = 0
    ended: int = 0
    longest_s: float = 0.0
    collection_s: float = 0.0
    timers: int = 0
    register_us: float = 0.0


async def watch(workload: Workload, policy_settings: dict[str, Any], loop: TimedLoop) -> Measured:
    """Fill a session, and measure a span in which nothing is submitted."""
    service = Service(workload, {task.name: task for task in workload.tasks()})
    measured = Measured()
    began, own_s = time.thread_time(), service.own_s
    following = asyncio.ensure_future(follow(service, policy_of(**policy_settings)))
    await asyncio.sleep(workload.until + 1.0)
    measured.register_us = (time.thread_time() - began - service.own_s + own_s) / max(1, len(service.submits)) * 1e6
    gc.collect()
    start = loop.time()
    before = known(service), len(service.asked), service.own_s, time.thread_time()
    loop.longest_s = loop.longest_collection_s = 0.0
    for _ in range(int(WINDOW_S)):
        await asyncio.sleep(1.0)
        measured.timers = max(measured.timers, loop.live_timers() - service.in_flight - MINE + 1)
    measured.cpu_s = time.thread_time() - before[3] - (service.own_s - before[2])
    measured.queries = len(service.asked) - before[1]
    measured.ended = known(service) - before[0]
    measured.pending = len(service.submits) - (before[0] + known(service)) / 2
    measured.longest_s, measured.collection_s = loop.longest_s, loop.longest_collection_s
    assert loop.time() - start >= WINDOW_S
    following.cancel()
    await asyncio.wait({following})
    return measured


def known(service: Service) -> int:
    """Count the tasks whose end is known."""
    return sum(task.known_at >= 0 for task in service.jobs.values())


def measure(pending: int, settings: dict[str, Any]) -> Measured:
    """Run one line."""
    workload = Workload(pending=round(pending / FILLED), warm_s=RAMP_S, span_s=0.0)
    loop = TimedLoop()
    gc.callbacks.append(loop.note_collection)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(watch(workload, settings, loop))
    finally:
        gc.callbacks.remove(loop.note_collection)


async def sleepers(number: int, seconds: float) -> float:
    """Give the share of a core that loops need which only sleep 5 s, phases spread."""
    rng = random.Random(1)

    async def loop_of_its_own(first_s: float) -> None:
        await asyncio.sleep(first_s)
        while True:  # noqa: ASYNC110 - this is what users write
            await asyncio.sleep(5.0)

    tasks = [asyncio.ensure_future(loop_of_its_own(rng.uniform(0, 5.0))) for _ in range(number)]
    await asyncio.sleep(0.5)
    began, cpu_s = time.perf_counter(), time.thread_time()
    await asyncio.sleep(seconds)
    share = (time.thread_time() - cpu_s) / (time.perf_counter() - began)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return share


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="CPU, blocks and timers of following many jobs.")
    add_options(parser, "up to 1,000 pending")
    parser.add_argument("--most", type=int, help="most jobs pending (100000)")
    options = parser.parse_args(arguments)
    logging.getLogger("kling_async").addHandler(logging.NullHandler())
    most = options.most or (1000 if options.quick else 100_000)
    policies: dict[str, dict[str, Any]] = {"kling_async": {}}
    if has_price():
        policies = {"kling_async": {"price_s": 4.0}, "kling_async, tail rule only": {"price_s": 1e6}}
    rows: list[dict[str, Cell]] = []
    figures: list[Figure] = []
    for pending in [number for number in (10, 100, 1000, 10_000, 100_000) if number <= most]:
        idle = asyncio.run(sleepers(pending, 1.0 if options.quick else LOOPS_FOR_S))
        rows.append({"policy": "5 s loop per task, no queries", "pending": pending, "core %": 100 * idle})
        for name, settings in policies.items():
            got = measure(pending, {"late_s": 10.0, "max_submissions": 5000, **settings})
            share = 100 * got.cpu_s / WINDOW_S
            rows.append(
                {
                    "policy": name,
                    "pending": round(got.pending),
                    "core %": share,
                    "us/pending/s": got.cpu_s / WINDOW_S / max(1.0, got.pending) * 1e6,
                    "queries/s": got.queries / WINDOW_S,
                    "ended/s": got.ended / WINDOW_S,
                    "block ms": got.longest_s * 1000,
                    "collection ms": got.collection_s * 1000,
                    "timers": got.timers,
                    "us/submit": got.register_us,
                    "x": share / (100 * idle),
                }
            )
            if pending == 100_000:
                scaled = share * pending / got.pending
                goal = 3.0 if "tail" in name or not has_price() else 5.0
                label = f"{name}, 100,000 pending"
                minor = len(policies) > 1 and "tail" not in name
                against = f"{100 * idle:.0f} % of loops that only sleep"
                figures += [
                    at_most(f"CPU of {label}", scaled, goal, unit="% of a core", against=against),
                    at_most(f"longest block of the loop, {label}", got.longest_s * 1000, 20.0, unit="ms", minor=minor),
                    at_most(f"live timers, {label}", got.timers, 4, unit="", minor=minor),
                ]
    if rows:
        heads = max(rows, key=len)
        rows = [{head: row.get(head) for head in heads} for row in rows]
    notes = [
        f"{WINDOW_S:g} virtual seconds without submits, after {RAMP_S:g} s of arrivals; x: times loops that only sleep",
        "block: the longest turn of the loop in CPU time, garbage collection apart (the longest is beside it)",
        "us/submit: CPU of the whole ramp, its polling included, by jobs submitted",
    ]
    publish(options, "scheduler", "Following many jobs", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
