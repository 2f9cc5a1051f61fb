"""The command line of the crash harness."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from crash import crowd, histories, pair, restart
from crash.histories import RANDOM, Setting
from crash.nursery import Nursery, nursery
from crash.points import POINTS

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; give 1 if a job was lost, or paid twice."""
    parser = argparse.ArgumentParser(
        prog="python tests/crash/__main__.py",
        description="Kills and stops processes of the package on a real disk, and lets the emulator's ledger judge.",
    )
    parser.add_argument("--kills", type=int, default=200, help="at labelled points; with --jobs: of the one process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, help="histories (60) or pairs (4) under way at once")
    parser.add_argument("--point", action="append", choices=(*POINTS, RANDOM), help="these points only")
    parser.add_argument("--careless", action="store_true", help="without a settle window: this has to fail")
    parser.add_argument("--jobs", type=int, help="one process with so many jobs, killed at random instants")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between those kills, in the mean")
    parser.add_argument("--pairs", type=int, help="so many times: two processes share a list, one is stopped")
    parser.add_argument("--stop", choices=tuple(pair.STOPS), help="where it is stopped; at random if left out")
    parser.add_argument("--settled", type=int, help="open a journal with so many settled entries, and --open open ones")
    parser.add_argument("--open", type=int, default=10_000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kling-crash-") as name:
        folder = Path(name)
        if options.settled is not None:
            return _restart(folder, options)
        if options.pairs is not None:
            return _pairs(folder, options)
        return _histories(folder, options) if options.jobs is None else _crowd(folder, options)


def _histories(folder: Path, options: argparse.Namespace) -> int:
    setting = Setting.careless() if options.careless else Setting()
    made = histories.plans(options.kills, options.seed, setting, options.point or (*POINTS, RANDOM))
    began = time.monotonic()
    _live(lambda home: histories.run(folder, home, made, setting, at_once=options.at_once or 60))
    print_table(histories.table(made))
    say(f"{time.monotonic() - began:.0f} s, seed {options.seed}, {setting}")
    bad = [history for history in made if not history.is_good]
    for history in bad:
        say(str(history))
    return int(bool(bad))


def _crowd(folder: Path, options: argparse.Namespace) -> int:
    setting = Setting(settle_s=8.0, commit_s=3.0)
    size: dict[str, Any] = {"jobs": options.jobs, "kills": options.kills, "every_s": options.every}
    found = _live(lambda home: crowd.run(folder, home, **size, seed=options.seed, setting=setting))
    say(
        f"{found.jobs:,} jobs, {found.kills} kills: {found.tasks:,} tasks by {found.creates:,} creates, "
        f"{found.requests:,} requests; {len(found.verdict.twice)} paid twice, {len(found.verdict.unpaid)} unpaid, "
        f"{len(found.verdict.unfinished)} unfinished, {len(found.verdict.broken)} files broken; "
        f"{found.seconds:.0f} s, the last life {found.last_life_s:.0f} s"
    )
    say(f"tasks at each kill: {found.made_at_kills}")
    if not found.verdict.is_good:
        say(str(found.verdict))
    return int(not found.verdict.is_good)


def _pairs(folder: Path, options: argparse.Namespace) -> int:
    room = asyncio.Semaphore(options.at_once or 4)

    async def one(home: Nursery, seed: int) -> pair.Pair:
        async with room:
            return await pair.run(folder, home, seed=seed, stop=options.stop)

    async def every(home: Nursery) -> list[pair.Pair]:
        return await asyncio.gather(*(one(home, options.seed + number) for number in range(options.pairs)))

    found = _live(every)
    print_table([one.row() for one in found])
    return int(not all(one.is_good for one in found))


def _restart(folder: Path, options: argparse.Namespace) -> int:
    found = _live(lambda home: restart.run(folder, home, settled=options.settled, open_count=options.open))
    print_table([found])
    return 0


def _live(what: Callable[[Nursery], Coroutine[Any, Any, T]]) -> T:
    async def lived() -> T:
        async with nursery() as home:
            return await what(home)

    return asyncio.run(lived())


def say(line: str) -> None:
    """Print one line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def print_table(rows: Sequence[dict[str, str | int | float | None]]) -> None:
    """Print rows as a table with a line of heads."""
    lines = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        first, *others = zip(line, widths, strict=True)
        say("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))


def _shown(value: object) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
