"""Runs histories by their seeds: `python tests/simulation/simulate.py --seeds 0..2000 --jobs 2`.

A seed that fails prints one line with the command that plays it again, and is added to `seeds.txt`, which the tests
run for ever after. `--seed N --trace` shows the plan of one seed and everything that happened. `--mutants` checks
that deliberate bugs are found.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]  # as a plain script, from any place

from mutants import MUTANTS, first_seed_that_finds  # noqa: E402 - after the path is known
from plans import draw_plan  # noqa: E402
from simulator import run_seed  # noqa: E402
from world import Violation  # noqa: E402

REGRESSIONS = HERE / "seeds.txt"
_BATCH = 20


@attrs.define
class Figures:
    """What a batch of seeds came to."""

    seeds: int = 0
    requests: int = 0
    tasks: int = 0
    crashes: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    ends: Counter[str] = attrs.field(factory=Counter)
    failed: list[tuple[int, str]] = attrs.field(factory=list)

    def add(self, other: Figures) -> None:
        """Count another batch in."""
        for name in ("seeds", "requests", "tasks", "crashes", "virtual_s", "cpu_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ends += other.ends
        self.failed += other.failed


def run_batch(seeds: Sequence[int]) -> Figures:
    """Run some seeds, whatever becomes of each."""
    figures = Figures()
    began = time.process_time()
    for seed in seeds:
        figures.seeds += 1
        try:
            report = run_seed(seed)
        except Violation as error:
            figures.failed.append((seed, str(error)))
            continue
        figures.requests += report.requests
        figures.tasks += report.tasks
        figures.crashes += report.crashes
        figures.virtual_s += report.virtual_s
        figures.ends += report.ends
    figures.cpu_s = time.process_time() - began
    return figures


def regressions() -> list[int]:
    """Give the seeds that once failed."""
    lines = REGRESSIONS.read_text(encoding="utf-8").splitlines()
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


def main() -> int:
    """Give 0 when everything held."""
    parser = argparse.ArgumentParser(description="Deterministic simulation of sessions, hosts, journals and crashes.")
    parser.add_argument("--seeds", default="0..200", metavar="A..B", help="from A to below B")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--trace", action="store_true", help="with --seed: show the plan, and all that happens")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--forget", action="store_true", help="do not add failing seeds to seeds.txt")
    parser.add_argument("--mutants", action="store_true", help="look for the first seed that finds each deliberate bug")
    options = parser.parse_args()
    if options.mutants:
        return _hunt(_range_of(options.seeds))
    if options.seed is not None:
        return _replay(options.seed, trace=options.trace)
    return _run_many(_range_of(options.seeds), options.jobs, keep=not options.forget)


def _range_of(text: str) -> range:
    first, _, end = text.partition("..")
    return range(int(first), int(end) if end else int(first) + 1)


def _replay(seed: int, *, trace: bool) -> int:
    if trace:
        print(draw_plan(seed), flush=True)
        logging.basicConfig(format="             %(levelname)s %(message)s", level=logging.INFO, stream=sys.stdout)
        logging.getLogger("kling_async").setLevel(logging.INFO)
        logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    try:
        report = run_seed(seed, print if trace else None)
    except Violation as error:
        print(error)
        return 1
    print(report)
    return 0


def _run_many(seeds: range, jobs: int, *, keep: bool) -> int:
    began = time.monotonic()
    total = Figures()
    batches = [seeds[at : at + _BATCH] for at in range(0, len(seeds), _BATCH)]
    for figures in _spread(run_batch, batches, jobs):
        for seed, told in figures.failed:
            print(f"{told.splitlines()[0][:300]} | {replay_command(seed)}", flush=True)
        total.add(figures)
    if keep and total.failed:
        known = regressions()
        with REGRESSIONS.open("a", encoding="utf-8") as file:
            file.writelines(f"{seed}\n" for seed, _ in total.failed if seed not in known)
    took_s = time.monotonic() - began
    print(
        f"{total.seeds} seeds, {len(total.failed)} failed; {total.cpu_s / max(1, total.seeds) * 1000:.0f} ms of CPU "
        f"each, {took_s:.0f} s in all; {total.virtual_s / 3600:.0f} virtual hours, {total.requests} requests, "
        f"{total.tasks} tasks, {total.crashes} crashes"
    )
    print("ends told: " + ", ".join(f"{name} {number}" for name, number in total.ends.most_common()))
    return 1 if total.failed else 0


def replay_command(seed: int) -> str:
    """Give the command that plays a seed again."""
    return f"python tests/simulation/simulate.py --seed {seed} --trace"


def _spread(run: Callable[[range], Figures], batches: Sequence[range], jobs: int) -> Iterator[Figures]:
    if jobs == 1:
        yield from map(run, batches)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run, batches)


def _hunt(seeds: range) -> int:
    missed = 0
    for name in MUTANTS:
        seed, told = first_seed_that_finds(name, seeds)
        missed += seed is None
        found = "NOT FOUND" if seed is None else f"seed {seed}"
        print(f"{name:40s} {found}  {told[:150]}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
