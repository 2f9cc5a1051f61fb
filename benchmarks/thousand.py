"""A thousand jobs at once: how many requests they take and how late their ends are seen, by what the host can be asked.

    python benchmarks/thousand.py [--quick] [--jobs N] [--seed N] [--json FILE]

The real session talks to the real emulator through aiohttp, on a virtual clock and in-memory connections: an hour of
the service passes in seconds, and every run of a seed gives the same figures on every machine. The baseline, in the
same run, is what people write today: one loop per task that asks every five seconds. It asserts nothing about time;
it fails when a job is lost or made twice.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
import attrs
from _report import Cell, print_report, write_json

from kling_async import ENDPOINTS, ImageToVideo, Job, KlingSession, OmniVideo, Status, TextToVideo, official
from kling_async.emulator import Emulator, Fault
from kling_async.emulator.virtual import run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

ASK_EVERY_S = 5.0  # of the baseline
LATENCY_S = 0.02  # each way of a connection
EPOCH = 1_750_000_000.0  # a fixed start, so that a run repeats exactly
SOCKET = "kling.sock"  # a virtual path; nothing is created on disk

Kinds = Literal["one kind", "three kinds"]


@attrs.frozen(kw_only=True)
class Case:
    """One line of the table: what the jobs are, and what the host can do.

    `drops`: the host makes the task of every create, and then resets the connection instead of answering.
    """

    name: str
    lists: bool = False
    batch: bool = False
    drops: bool = False
    kinds: Kinds = "one kind"
    baseline: bool = False


# What is not known of the service is measured both ways: whether batch queries tell tasks of the legacy standard.
CASES = (
    Case(name="loop per task, every 5 s", baseline=True),
    Case(name="lists", lists=True),
    Case(name="lists, three kinds", lists=True, kinds="three kinds"),
    Case(name="lists and batches", lists=True, batch=True),
    Case(name="batches only", batch=True),
    Case(name="single queries only"),
    Case(name="lists, all creates dropped", lists=True, drops=True),
    Case(name="singles, all creates dropped", drops=True),
)


@attrs.define
class Run:
    """What became of one case; times in virtual seconds."""

    case: Case
    jobs: int
    resolved: int = 0
    made: int = 0
    made_twice: int = 0
    requests: Counter[str] = attrs.field(factory=Counter)
    lags: list[float] = attrs.field(factory=list)
    took_s: float = 0.0
    real_s: float = 0.0

    @property
    def queries(self) -> int:
        """How many questions were asked."""
        return self.requests.total() - self.requests["create"]

    @property
    def is_right(self) -> bool:
        """Whether every job has its clip, and nothing was made that was not asked for."""
        return self.resolved == self.jobs == self.made and self.made_twice == 0

    def row(self, baseline: Run) -> dict[str, Cell]:
        """One line of the table."""
        lags = sorted(self.lags)
        mean_s = statistics.fmean(lags) if lags else None
        per_job = self.queries / self.jobs
        return {
            "case": self.case.name,
            "jobs": self.jobs,
            "resolved": self.resolved,
            "made twice": self.made_twice,
            "creates": self.requests["create"],
            "queries": self.queries,
            "requests": self.requests.total(),
            "queries/job": per_job,
            "lag mean s": mean_s,
            "lag p99 s": lags[int(0.99 * len(lags))] if lags else None,
            "lag max s": lags[-1] if lags else None,
            "queries x": per_job / (baseline.queries / baseline.jobs),
            "lag mean x": None if mean_s is None or not baseline.lags else mean_s / statistics.fmean(baseline.lags),
            "took s": self.took_s,
            "real s": self.real_s,
        }


def requests_of(kinds: Kinds, jobs: int) -> list[TextToVideo | ImageToVideo | OmniVideo]:
    """Make the workload; `jobs` of one kind, or of three in turn."""
    picture = "https://example.com/picture.png"
    made: list[TextToVideo | ImageToVideo | OmniVideo] = []
    for number in range(jobs):
        prompt = f"A happy scene of a vacation on the beach, take {number}."
        kind = 0 if kinds == "one kind" else number % 3
        if kind == 0:
            made.append(TextToVideo(prompt=prompt))
        elif kind == 1:
            made.append(ImageToVideo(image=picture, prompt=prompt))
        else:
            made.append(OmniVideo(prompt=prompt, aspect_ratio="16:9", model_name="kling-video-o1"))
    return made


async def measure(case: Case, jobs: int, seed: int) -> Run:
    """Run one case on the loop it is called on."""
    faults = [Fault(action="reset", stage="after", kind="create")] if case.drops else []
    emulator = Emulator(
        dialect="official",
        seed=seed,
        epoch=EPOCH,
        unix_path=SOCKET,
        lists=case.lists,
        batch=case.batch,
        batch_sees_legacy=case.batch,
        faults=faults,
    )
    ran = Run(case, jobs)
    ends: dict[str, float] = {}  # external id → the moment its waiter knew
    began = time.perf_counter()
    async with emulator, aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=SOCKET)) as http:
        start = emulator.now()
        follow: Callable[..., Coroutine[Any, Any, int]] = loop_per_task if case.baseline else one_session
        ran.resolved = await follow(case, jobs, seed, emulator, http, ends)
        ran.took_s = emulator.now() - start
        tasks = emulator.tasks
        ran.requests = Counter(request.kind for request in emulator.requests)
    ran.real_s = time.perf_counter() - began
    ran.made = len(tasks)
    ran.made_twice = sum(number - 1 for number in Counter(task.external_id for task in tasks).values())
    ran.lags = [
        ends[task.external_id] - task.ended_at
        for task in tasks
        if task.ended_at is not None and task.external_id in ends
    ]
    return ran


async def one_session(
    case: Case, jobs: int, seed: int, emulator: Emulator, http: aiohttp.ClientSession, ends: dict[str, float]
) -> int:
    """Follow all of them with one KlingSession; give the number that delivered."""
    host = official(emulator.url)
    async with KlingSession(api_key=emulator.api_key, base_url=host, http=http, seed=seed) as kling:
        submitted = [await kling.submit(request) for request in requests_of(case.kinds, jobs)]

        async def wait(job: Job) -> None:
            await asyncio.gather(job, return_exceptions=True)
            ends[job.id] = emulator.now()

        await asyncio.gather(*map(wait, submitted))
        return sum(job.status is Status.SUCCEEDED for job in submitted)


async def loop_per_task(
    case: Case, jobs: int, seed: int, emulator: Emulator, http: aiohttp.ClientSession, ends: dict[str, float]
) -> int:
    """Follow each of them with a loop of its own, as users write it; give the number that delivered."""
    del seed
    path = next(row.path for row in ENDPOINTS if row.request is TextToVideo)
    headers = {"Authorization": f"Bearer {emulator.api_key}"}

    async def follow(number: int, request: TextToVideo | ImageToVideo | OmniVideo) -> bool:
        external_id = f"loop-{number}"
        body = {"prompt": request.prompt, "external_task_id": external_id}
        async with http.post(f"{emulator.url}{path}", json=body, headers=headers) as response:
            task_id = (await response.json())["data"]["task_id"]
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            async with http.get(f"{emulator.url}{path}/{task_id}", headers=headers) as response:
                status = (await response.json())["data"]["task_status"]
            if status in {"succeed", "failed"}:
                ends[external_id] = emulator.now()
                return bool(status == "succeed")

    return sum(await asyncio.gather(*map(follow, range(jobs), requests_of(case.kinds, jobs))))


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0 when every job was resolved and none made twice."""
    parser = argparse.ArgumentParser(description="A thousand jobs at once, by what the host can be asked.")
    parser.add_argument("--quick", action="store_true", help="40 jobs: does it still work?")
    parser.add_argument("--jobs", type=int, help="jobs per case (1000)")
    parser.add_argument("--seed", type=int, default=1, help="of durations and jitter (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(arguments)
    jobs = options.jobs or (40 if options.quick else 1000)
    # A thousand warnings of lookups, in the cases that drop every answer, are what is measured and not news.
    logging.getLogger("kling_async").addHandler(logging.NullHandler())
    runs = [run(measure(case, jobs, options.seed), latency=LATENCY_S) for case in CASES]
    rows = [ran.row(runs[0]) for ran in runs]
    wrong = [ran for ran in runs if not ran.is_right]
    notes = [
        f"durations: the emulator's realistic ones, seed {options.seed}",
        "lag: from the end of a task on the emulator's clock to its waiter; x: times the baseline's",
        "took: virtual seconds; real: of this machine",
        *(f"WRONG: {ran.case.name}: {ran.resolved} resolved, {ran.made} made of {ran.jobs} jobs" for ran in wrong),
    ]
    print_report(f"{jobs:,} jobs at once", rows, notes)
    if options.json is not None:
        write_json(options.json, "thousand", rows, jobs=jobs, seed=options.seed, latency_s=LATENCY_S)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
