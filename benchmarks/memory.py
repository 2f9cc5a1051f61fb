"""Memory of a pending job, in the scheduler and with its handle, beside a loop per task.

    python benchmarks/memory.py [--quick] [--json FILE]

Each line is a process of its own. The requests are made first and are not counted; then they are submitted, accepted,
and asked about for a while while none ends. "resident" is what the process grew by, "traced" what Python's
own tracing finds still allocated, sorted by the file that allocated it. The baseline is a task per job that sleeps and
asks nothing: without the state of any HTTP request.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from _report import Cell, Figure, add_options, at_most, publish
from _service import EPOCH, Service, policy_of, run_virtual, session_on
from _world import PICTURES, TEXT, Workload

from kling_async.errors import service_error
from kling_async.sweep import ListPage, Single
from kling_async.wire import Envelope, open_envelope, parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kling_async import Job

HERE = Path(__file__).parent
SETTLED_S = 40.0
# Files whose allocations are the loop's own; what is left belongs to the handle: job, ids, dates, last news.
LOOP_FILES = (
    "scheduler",
    "poller",
    "sweep",
    "planner",
    "submitter",
    "searcher",
    "slots",
    "lifecycle",
    "Track",
    "Watch",
)


@attrs.define(eq=False)
class Endless(Service):
    """Makes tasks that never end, and keeps nothing but their number, so that what grows is the client."""

    made: Counter[str] = attrs.field(factory=Counter)

    async def submit(self, path: str, body: bytes, may_send: object = None, hidden: object = ()) -> Envelope:
        """Answer with a new id."""
        del body, may_send, hidden
        await self._travel()
        endpoint = path.rsplit("/", 1)[1]
        self.made[endpoint] += 1
        return self._opened(_told(endpoint, self.made[endpoint]))

    async def ask(self, query: object) -> Envelope:
        """Answer from the number alone."""
        await self._travel()
        if isinstance(query, ListPage):
            newest = self.made[query.endpoint] - (query.index - 1) * query.size
            numbers = range(newest, max(0, newest - query.size), -1)
            return self._opened([_told(query.endpoint, number) for number in numbers])
        assert isinstance(query, Single)
        if query.external:
            raise service_error(1201, "task not found", 404)
        return self._opened(_told(query.endpoint, int(query.id[2:])))

    def _opened(self, data: object) -> Envelope:
        answer = {"code": 0, "message": "SUCCEED", "request_id": "0", "data": data}
        return open_envelope(parse_json(json.dumps(answer).encode()))


def _told(endpoint: str, number: int) -> dict[str, object]:
    made_at = round(EPOCH * 1000) + number
    kind = 1 if endpoint == "text2video" else 2
    return {
        "task_id": f"8{kind}{number:016d}",
        "task_status": "processing",
        "task_status_msg": "",
        "created_at": made_at,
        "updated_at": made_at,
    }


def resident() -> int:
    """Give the bytes of memory that the process has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def hold(number: int, *, traced: bool) -> dict[str, float]:
    """Hold so many jobs pending; give bytes per job."""
    workload = Workload(pending=1)
    service = Endless(workload, {})
    sorts = TEXT + PICTURES
    requests = [attrs.evolve(sorts[n % len(sorts)].request("x"), external_task_id=None) for n in range(number)]
    policy = policy_of(max_submissions=2000, task_limit_s=1e6)
    async with session_on(service, policy) as kling:
        await asyncio.sleep(1.0)
        gc.collect()
        if traced:
            tracemalloc.start()
        before = resident()
        jobs: list[Job] = [await kling.submit(request) for request in requests]
        await asyncio.sleep(SETTLED_S)
        assert all(job.task_id is not None for job in jobs)
        gc.collect()
        found = {"resident": (resident() - before) / number}
        if traced:
            found |= _sorted_by_file(tracemalloc.take_snapshot(), number)
            tracemalloc.stop()
    return found


def _sorted_by_file(snapshot: tracemalloc.Snapshot, number: int) -> dict[str, float]:
    loop = rest = 0
    for entry in snapshot.statistics("filename"):
        name = entry.traceback[0].filename
        if name.startswith(str(HERE)) or "tracemalloc" in name:
            continue
        stem = name if name.startswith("<") else Path(name).stem
        if any(word in stem for word in LOOP_FILES):
            loop += entry.size
        else:
            rest += entry.size
    return {"loop": loop / number, "handle": rest / number}


def loops(number: int) -> dict[str, float]:
    """Give bytes per job of a task that sleeps between two questions, and asks none."""

    async def ask() -> None:
        await asyncio.sleep(3600)

    async def loop_of_its_own() -> None:
        while True:
            await ask()

    async def main() -> float:
        gc.collect()
        before = resident()
        tasks = [asyncio.ensure_future(loop_of_its_own()) for _ in range(number)]
        await asyncio.sleep(0.1)
        gc.collect()
        grown = resident() - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return grown / number

    return {"resident": asyncio.run(main())}


def one(what: str, number: int) -> dict[str, float]:
    """Measure one line, in this process."""
    if what == "loops":
        return loops(number)
    logging.getLogger("kling_async").addHandler(logging.NullHandler())
    found: dict[str, float] = {}

    async def main() -> None:
        found.update(await hold(number, traced=what == "traced"))

    run_virtual(main())
    return found


def apart(what: str, number: int) -> dict[str, float]:
    """Measure one line, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", what, str(number)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"the line {what} {number} failed: {done.stderr[-1000:]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="Memory of a pending job.")
    add_options(parser, "1,000 jobs")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "NUMBER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one is not None:
        print(json.dumps(one(options.one[0], int(options.one[1]))))
        return 0
    rounds = 1 if options.quick else 3
    rows: list[dict[str, Cell]] = []
    figures: list[Figure] = []
    for number in (1000,) if options.quick else (1000, 10_000, 100_000):
        ours, theirs = [], []
        for _ in range(rounds if number <= 1000 else 1):  # of many jobs the figure repeats within a hundredth
            ours.append(apart("ours", number)["resident"])
            theirs.append(apart("loops", number)["resident"])
        mine, naive = sorted(ours)[len(ours) // 2], sorted(theirs)[len(theirs) // 2]
        traced = apart("traced", min(number, 20_000)) if number <= 10_000 else None
        rows.append({"jobs": f"{number:,} sleeping tasks", "pending": number, "resident B": naive, "x": 1.0})
        rows.append(
            {
                "jobs": f"{number:,} in kling_async",
                "pending": number,
                "resident B": mine,
                "x": mine / naive,
                "traced B": None if traced is None else traced["loop"] + traced["handle"],
                "scheduler B": None if traced is None else traced["loop"],
                "handle B": None if traced is None else traced["handle"],
            }
        )
        if number == 10_000 and traced is not None:
            total = traced["loop"] + traced["handle"]
            figures.append(at_most("memory of a pending job in the scheduler", traced["loop"], 600, unit="B"))
            figures.append(at_most("memory of a pending job with its handle", total, 1229, unit="B"))
        if number == 100_000:
            what = "resident memory of a pending job with its handle, 100,000 pending"
            figures.append(at_most(what, mine, 1229, unit="B", against=f"{naive:,.0f} B of a sleeping task"))
    heads = max(rows, key=len)
    rows = [{head: row.get(head) for head in heads} for row in rows]
    assert not any(isinstance(cell, float) and math.isnan(cell) for row in rows for cell in row.values())
    notes = ["bytes per job beyond its request; x: times a task that sleeps and has no HTTP state"]
    publish(options, "memory", "Memory of a pending job", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
