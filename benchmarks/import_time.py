"""How long importing kling_async takes, against importing the four packages it needs.

    python benchmarks/import_time.py [--quick] [--json FILE]

Each import is a process of its own, in turns, so that both meet the same state of the machine; the median of the
ratios of neighbours is told, and what Python itself needs to start is taken off both.

The package's names are imported when they are asked for, so `import kling_async` alone says little: what a program
writes that makes clips is measured as well, and all names at once.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from _report import Cell, add_options, at_most, publish, with_bytecode

if TYPE_CHECKING:
    from collections.abc import Sequence

WAYS = {
    "nothing": "pass",
    "its four packages": "import aiohttp, attrs, cattrs, backoff",
    "the package alone": "import kling_async",
    "what a program writes": "from kling_async import KlingSession, TextToVideo",
    "all names": "from kling_async import *",
}
GOAL = 1.15
JUDGED = ("the package alone", "what a program writes")


def took_s(code: str, cache: str) -> float:
    """Run a line in a new interpreter; give its CPU seconds, which other processes disturb least."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env=with_bytecode(cache))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="Time of import.")
    add_options(parser, "one round")
    options = parser.parse_args(arguments)
    rounds = 1 if options.quick else 25
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    wall: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as cache:
        for code in WAYS.values():  # bytecode is written, and files are read once
            took_s(code, cache)
        for _ in range(rounds):
            for name, code in WAYS.items():
                began = time.perf_counter()
                cpu[name].append(took_s(code, cache))
                wall[name].append(time.perf_counter() - began)
    empty = statistics.median(cpu["nothing"])
    base = cpu["its four packages"]
    rows: list[dict[str, Cell]] = []
    times: dict[str, float] = {}
    for name in WAYS:
        ratios = [(mine - empty) / (theirs - empty) for mine, theirs in zip(cpu[name], base, strict=True)]
        times[name] = statistics.median(ratios)
        rows.append(
            {
                "import": name,
                "CPU ms": 1000 * statistics.median(cpu[name]),
                "real ms": 1000 * statistics.median(wall[name]),
                "beyond Python ms": 1000 * (statistics.median(cpu[name]) - empty),
                "x": times[name],
            }
        )
    figures = [at_most(WAYS[name], times[name], GOAL, against="importing its four packages") for name in JUDGED]
    notes = [f"{rounds} processes each, in turns; x: median of the ratios in each turn, Python's own start taken off"]
    publish(options, "import_time", "Time of import", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
