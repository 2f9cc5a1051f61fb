"""A host without lists: what learned timing of single queries wins, and how near it comes to the optimum.

    python benchmarks/singles.py [--quick] [--json FILE]

The session's real planner on virtual time, as in poll_cost.py. The baselines follow the very same tasks: a loop with a
fixed interval chosen so that its mean lag, or its p99 lag, is the same as the session's; the usual `backoff` loop, its
cap chosen likewise; and the optimum with the law of every sort of task known, by dynamic programming. A policy that
only weighs waiting against the price of a query is judged by its mean lag and its nearness to the optimum at that
price, one that keeps to `late_s` by its p99 lag.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from typing import TYPE_CHECKING

import attrs
from _baselines import Cost, cost_of, every, loop_per_task, optimum, usual
from _report import Cell, Figure, add_options, at_most, publish
from _service import ROUND_TRIP_S, policy_of, simulate
from _world import Planned, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@attrs.frozen(kw_only=True)
class Setting:
    """One policy; without `late_s` only the price counts, up to the ceiling."""

    price_s: float = 4.0
    late_s: float = math.inf
    ceiling_s: float = 60.0

    @property
    def name(self) -> str:
        """Name it in a table."""
        if self.late_s < math.inf:
            return f"late_s {self.late_s:g} s"
        return f"price {self.price_s:g} s alone, ceiling {self.ceiling_s:g} s"


SETTINGS = (
    Setting(late_s=10.0),
    Setting(late_s=30.0),
    Setting(price_s=0.5),
    Setting(price_s=1.0),
    Setting(price_s=2.0),
    Setting(price_s=4.0, ceiling_s=240.0),
)
MAIN_PRICES_S = (1.0, 4.0)


def chosen(make: Callable[[float], Cost], read: Callable[[Cost], float], wanted: float) -> tuple[float, Cost]:
    """Find the setting at which a loop has the wanted lag, by halving; larger settings have more lag."""
    low, high = 0.05, 600.0
    for _ in range(14):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if read(make(middle)) < wanted else (low, middle)
    return high, make(high)


def measure(workload: Workload, setting: Setting) -> tuple[list[dict[str, Cell]], list[Figure]]:
    """Run one policy, and everything it is compared with."""
    late_s, price_s = min(setting.late_s, setting.ceiling_s), setting.price_s
    policy = policy_of(late_s=late_s, price_s=price_s, ceiling_s=setting.ceiling_s)
    service = simulate(workload, policy, lists=False)
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
        (f"kling_async, {setting.name}", ours),
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
    label = f"single queries only, {setting.name}"
    same, against, loop = f"{label}: queries at the same", "a fixed interval", "a backoff loop per task"
    if setting.late_s < math.inf:
        share, minor = ours.per_task / tail.per_task, setting.late_s != SETTINGS[0].late_s
        return rows, [at_most(f"{same} p99 lag", share, 0.88, against=against, minor=minor)]
    minor = price_s not in MAIN_PRICES_S
    best = optimum(workload.sorts, price_s)
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
    # The round trip is in every lag and cannot be chosen.
    spent = price_s * ours.per_task + ours.mean_s - ROUND_TRIP_S
    least = price_s * best.per_task + best.mean_s - ROUND_TRIP_S
    figures = [
        at_most(f"{same} mean lag", ours.per_task / mean.per_task, 0.68, against=against, minor=minor),
        at_most(f"{same} mean lag", ours.per_task / usual_mean.per_task, 0.43, against=loop, minor=minor),
        at_most(
            f"{label}: price x queries + lag",
            spent / least,
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
    for setting in SETTINGS[1:3] if options.quick else SETTINGS:
        some, more = measure(workload, setting)
        rows += some
        figures += more
    notes = [
        f"{workload.pending} pending; queries x: the session's queries per task over those of the line",
        "the optimum is that of the price, whatever the lag; a query is worth `price` seconds of lag",
    ]
    publish(options, "singles", "Single queries only", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
