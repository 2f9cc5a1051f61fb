"""A host without lists: what learned timing of single queries wins, and how near it comes to the optimum.

    python benchmarks/singles.py [--quick] [--json FILE]

The session's real planner on virtual time, as in poll_cost.py. The baselines follow the very same tasks: a loop with a
fixed interval chosen so that its mean lag, or its p99 lag, is the same as the session's; the usual `backoff` loop, its
cap chosen likewise; and the optimum with the law of every sort of task known, by dynamic programming.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import TYPE_CHECKING

from _baselines import Cost, cost_of, every, loop_per_task, optimum, usual
from _report import Cell, Figure, add_options, at_most, publish
from _service import ROUND_TRIP_S, policy_of, simulate
from _world import Planned, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LATES_S = (10.0, 30.0)
PRICES_S = (0.5, 1.0, 2.0, 4.0)


def chosen(make: Callable[[float], Cost], read: Callable[[Cost], float], wanted: float) -> tuple[float, Cost]:
    """Find the setting at which a loop has the wanted lag, by halving; larger settings have more lag."""
    low, high = 0.05, 600.0
    for _ in range(14):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if read(make(middle)) < wanted else (low, middle)
    return high, make(high)


def measure(workload: Workload, late_s: float, prices_s: Sequence[float]) -> tuple[list[dict[str, Cell]], list[Figure]]:
    """Run one policy, and everything it is compared with."""
    service = simulate(workload, policy_of(late_s=late_s), lists=False)
    ours = cost_of(service)
    tasks: list[Planned] = [task for task in service.jobs.values() if workload.counts(task)]

    def fixed(seconds: float) -> Cost:
        return loop_per_task(tasks, every(seconds))

    def backing_off(cap_s: float) -> Cost:
        return loop_per_task(tasks, usual(cap_s, random.Random(3)))

    mean_at, mean = chosen(fixed, lambda cost: cost.mean_s, ours.mean_s)
    tail_at, tail = chosen(fixed, lambda cost: cost.p99_s, ours.p99_s)
    cap_mean, usual_mean = chosen(backing_off, lambda cost: cost.mean_s, ours.mean_s)
    cap_tail, usual_tail = chosen(backing_off, lambda cost: cost.p99_s, ours.p99_s)
    named = (
        (f"kling_async, late_s {late_s:g}", ours),
        (f"fixed {mean_at:.1f} s: same mean", mean),
        (f"fixed {tail_at:.1f} s: same p99", tail),
        (f"backoff, cap {cap_mean:.0f} s: same mean", usual_mean),
        (f"backoff, cap {cap_tail:.0f} s: same p99", usual_tail),
    )
    rows: list[dict[str, Cell]] = [
        {
            "policy": name,
            "tasks": cost.tasks,
            "queries/task": cost.per_task,
            "lag mean s": cost.mean_s,
            "lag p99 s": cost.p99_s,
            "queries x": ours.per_task / cost.per_task,
        }
        for name, cost in named
    ]
    nearness: list[float] = []
    for price_s in prices_s:
        best = optimum(workload.sorts, price_s)
        # The round trip is in every lag and cannot be chosen.
        spent = price_s * ours.per_task + ours.mean_s - ROUND_TRIP_S
        least = price_s * best.per_task + best.mean_s - ROUND_TRIP_S
        nearness.append(spent / least)
        rows.append(
            {
                "policy": f"optimum, law known, price {price_s:g} s",
                "tasks": ours.tasks,
                "queries/task": best.per_task,
                "lag mean s": best.mean_s,
                "lag p99 s": None,
                "queries x": ours.per_task / best.per_task,
            }
        )
    minor = late_s != LATES_S[0]
    label = f"single queries only, late_s {late_s:g} s"
    same = f"{label}: queries at the same"
    fixed_at, loop = "a fixed interval", "a backoff loop per task"
    figures = [
        at_most(f"{same} mean lag", ours.per_task / mean.per_task, 0.68, against=fixed_at, minor=minor),
        at_most(f"{same} p99 lag", ours.per_task / tail.per_task, 0.88, against=fixed_at, minor=minor),
        at_most(f"{same} mean lag", ours.per_task / usual_mean.per_task, 0.43, against=loop, minor=minor),
        at_most(
            f"{label}: price x queries + lag, at the price it is nearest to",
            min(nearness),
            1.07,
            against="the optimum with the law known",
            minor=minor,
        ),
    ]
    return rows, figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="Single queries only: against intervals and the optimum.")
    add_options(parser, "few tasks, one setting")
    options = parser.parse_args(arguments)
    workload = (
        Workload(pending=10, warm_s=400.0, span_s=1000.0) if options.quick else Workload(pending=60, span_s=6000.0)
    )
    rows: list[dict[str, Cell]] = []
    figures: list[Figure] = []
    for late_s in LATES_S[:1] if options.quick else LATES_S:
        some, more = measure(workload, late_s, PRICES_S[:1] if options.quick else PRICES_S)
        rows += some
        figures += more
    notes = [
        f"{workload.pending} pending; queries x: the session's queries per task over those of the line",
        "cost: price x queries + mean lag, over the optimum's; a query is worth `price` seconds of lag",
    ]
    publish(options, "singles", "Single queries only", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
