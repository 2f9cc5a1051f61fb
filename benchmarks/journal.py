"""Durable jobs per second: a thousand submitters on one journal file, against one transaction per change.

    python benchmarks/journal.py [--quick] [--jobs N] [--submitters N] [--folder FOLDER] [--json FILE]

A job is four small changes, each waited for: recorded, sending, accepted, settled with its outcome. The request is of
usual size (about 500 bytes). The baseline, in the same run, is what people write: the same tables, synchronous=FULL,
and a transaction of its own for each change, in a thread. Runs alternate, and the median of three counts; the whole
stays under a minute. It fails when a job is missing from the file afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from _report import Cell, print_report, write_json

from kling_async import Status, journal_sqlite
from kling_async.journal import Entry, Insert, fingerprint
from kling_async.journal_sqlite import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANGES = 4
REQUEST = {"model_name": "kling-v2-6", "prompt": "A happy scene of a vacation on the beach. " * 9, "duration": "5"}
OUTCOME = {"task_id": "t" * 24, "task_status": "succeed", "task_result": {"videos": [{"url": "https://x/" + "u" * 90}]}}


async def durable(folder: Path, jobs: int, submitters: int) -> float:
    """Write jobs with many submitters at once; give the seconds it took."""
    journal = SqliteJournal(folder / f"{uuid.uuid4().hex}.db", wall=time.time)
    await journal.open()
    numbers = itertools.count()
    print_of = fingerprint("text2video", REQUEST)

    async def submit() -> None:
        while next(numbers) < jobs:
            now = time.time()
            entry = Entry(
                job_id=uuid.uuid4().hex,
                endpoint="text2video",
                host="https://api.cometapi.com",
                request=REQUEST,
                fingerprint=print_of,
                created_at=now,
                owner=journal.owner,
                epoch=1,
                lease_until=now + 60.0,
            )
            await journal.write(Insert(entry))
            await journal.write(entry.change(state=Status.SENDING, attempt=1, sent_at=now))
            await journal.write(entry.change(state=Status.ACCEPTED, task_id="t" * 24))
            await journal.write(entry.change(state=Status.SUCCEEDED, outcome=OUTCOME))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(submitters):
            group.create_task(submit())
    took_s = time.perf_counter() - began
    counts = await journal.counts()
    await journal.close()
    if counts != {Status.SUCCEEDED: jobs}:
        raise SystemExit(f"WRONG: {jobs} jobs were written, the file holds {dict(counts)}")
    return took_s


def run(folder: Path, jobs: int, submitters: int, together: int) -> float:
    """Give jobs per second, with at most so many changes in a transaction."""
    usual = journal_sqlite._TOGETHER
    journal_sqlite._TOGETHER = together
    try:
        return jobs / asyncio.run(durable(folder, jobs, submitters))
    finally:
        journal_sqlite._TOGETHER = usual


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="Durable jobs per second.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs: does it still work?")
    parser.add_argument("--jobs", type=int, help="jobs per run (20000)")
    parser.add_argument("--submitters", type=int, default=1000, help="jobs being written at once (1000)")
    parser.add_argument("--folder", type=Path, help="where the file is made; a disk, not memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(arguments)
    jobs = options.jobs or (2_000 if options.quick else 20_000)
    few = max(1, jobs // 100)
    group, single = [], []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for _ in range(1 if options.quick else 3):
            group.append(run(Path(folder), jobs, options.submitters, journal_sqlite._TOGETHER))
            single.append(run(Path(folder), few, options.submitters, 1))
    rows: list[dict[str, Cell]] = []
    baseline = statistics.median(single)
    for name, count, figures in (("one transaction a change", few, single), ("group commit", jobs, group)):
        middle = statistics.median(figures)
        rows.append(
            {
                "journal": name,
                "jobs": count,
                "jobs/s": middle,
                "changes/s": middle * CHANGES,
                "lowest": min(figures),
                "highest": max(figures),
                "x": middle / baseline,
            }
        )
    notes = [f"{options.submitters:,} submitters, each waits for each of {CHANGES} changes; lowest, highest: jobs/s"]
    print_report("Durable jobs per second", rows, notes)
    if options.json is not None:
        write_json(options.json, "journal", rows, jobs=jobs, submitters=options.submitters)
    return 0


if __name__ == "__main__":
    sys.exit(main())
