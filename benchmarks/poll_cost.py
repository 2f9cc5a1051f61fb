"""How many queries a task takes and how late its end is seen, by how many are pending: on virtual time.

    python benchmarks/poll_cost.py [--quick] [--json FILE]

The session's real planner, scheduler and jobs, over a table of tasks instead of HTTP (`_service.py`), on a clock that
jumps: 15 to 60 minutes of the service pass in seconds, and a run of a seed repeats exactly. Tasks arrive as a Poisson
stream and take 188 s on average (`_world.py`). The baselines follow the very same tasks: a loop per task every 5 or
10 s, the usual loop with `backoff`, and a sweep of all pages every 10 s; floors are what no asking of pages can beat.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import TYPE_CHECKING

import attrs
from _baselines import Cost, Floor, cost_of, every, fixed_sweep, floor_of, join, loop_per_task, usual
from _report import Cell, Figure, add_options, at_most, fewer, publish
from _service import Service, has_price, policy_of, simulate
from _world import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

LATE_S = 10.0
SLACK = 1.02  # a p99 within 2 % of what was asked for counts as reached
LEAST = 0.9  # less of what was asked for would be queries for nothing
PRICE_S = 4.0
NO_PRICE_S = 1e6  # a query costs more than any waiting: asked only for the sake of the latest hundredth
CAP_S = 30.0
SWEEPS_S = (2.5, 5.0, 10.0, 20.0)
LOOPS_S = (2.5, 5.0, 10.0, 20.0)


@attrs.frozen(kw_only=True)
class Case:
    """One workload; `seeds`: draws of it that are put together; `both`: with the usual price of a query as well."""

    name: str
    workload: Workload
    seeds: int = 1
    goal: float | None = None
    both: bool = False


CASES = (
    Case(name="10 of one kind", workload=Workload(pending=10, kinds=1, span_s=20_000.0), seeds=2, goal=9.0),
    Case(name="10 of two kinds", workload=Workload(pending=10, span_s=20_000.0), seeds=2, goal=5.0),
    Case(name="100", workload=Workload(pending=100, span_s=6000.0), goal=45.0, both=True),
    Case(name="1,000", workload=Workload(pending=1000, span_s=800.0), seeds=3, goal=100.0, both=True),
    Case(
        name="1,000 beside as many of others",
        workload=Workload(pending=1000, foreign=1.0, span_s=500.0),
        seeds=3,
        goal=55.0,
    ),
    Case(name="1,000 among 10,000 of others", workload=Workload(pending=1000, foreign=10.0, span_s=400.0), goal=11.0),
    Case(name="10,000", workload=Workload(pending=10_000, warm_s=650.0, span_s=100.0), goal=100.0),
)
QUICK = (
    Case(name="10 of one kind", workload=Workload(pending=10, kinds=1, warm_s=400.0, span_s=600.0)),
    Case(name="50 among 100 of others", workload=Workload(pending=50, foreign=2.0, warm_s=400.0, span_s=300.0)),
)
FEW = {1: 1200, 2: 600, 3: 400}  # draws of each, since every one is a session that knows nothing yet
README_CASES = ("10 of one kind", "100", "1,000", "1,000 among 10,000 of others", "10,000")


def services_of(case: Case, price_s: float) -> list[Service]:
    """Run the session on every draw of a case."""
    policy = policy_of(late_s=LATE_S, price_s=price_s)
    return [simulate(attrs.evolve(case.workload, seed=seed), policy) for seed in range(1, case.seeds + 1)]


def baselines(services: Sequence[Service]) -> dict[str, Cost]:
    """Follow the same tasks in the other ways."""
    counted = [[task for task in service.jobs.values() if service.workload.counts(task)] for service in services]
    rng = random.Random(3)
    found = {
        f"loop per task, {seconds:g} s": join(loop_per_task(tasks, every(seconds)) for tasks in counted)
        for seconds in LOOPS_S
    }
    found[f"backoff loop, cap {CAP_S:g} s"] = join(loop_per_task(tasks, usual(CAP_S, rng)) for tasks in counted)
    found["backoff loop, cap 60 s"] = join(loop_per_task(tasks, usual(60.0, rng)) for tasks in counted)
    for seconds in SWEEPS_S:
        found[f"all pages, {seconds:g} s"] = join(fixed_sweep(service, seconds) for service in services)
    return found


def row(case: Case, policy: str, cost: Cost, naive: Cost, floor: Floor) -> dict[str, Cell]:
    """One line of the table."""
    return {
        "pending": case.name,
        "policy": policy,
        "tasks": cost.tasks,
        "queries/task": cost.per_task,
        "rows/task": cost.rows / cost.tasks,
        "lag mean s": cost.mean_s,
        "lag p99 s": cost.p99_s,
        "lag max s": max(cost.lags),
        "queries x": cost.per_task / naive.per_task,
        "x floor mean": cost.per_task * cost.mean_s / floor.mean if policy.startswith("kling") else None,
        "x floor p99": cost.per_task * cost.p99_s / floor.p99 if policy.startswith("kling") else None,
    }


def measure(case: Case) -> tuple[list[dict[str, Cell]], list[Figure]]:
    """Run one case with every policy."""
    prices: dict[str, float] = {}
    if case.both or not has_price():
        prices["kling_async"] = PRICE_S
    if has_price():
        prices["kling_async, tail rule only"] = NO_PRICE_S
    ours: dict[str, Cost] = {}
    services: list[Service] = []
    for name, price_s in prices.items():
        services = services_of(case, price_s)
        ours[name] = join(map(cost_of, services))
    theirs = baselines(services)
    floors = [floor_of(service) for service in services]
    floor = Floor(
        mean=sum(f.mean for f in floors) / len(floors),
        p99=sum(f.p99 for f in floors) / len(floors),
    )
    naive = theirs["loop per task, 10 s"]
    rows = [row(case, name, cost, naive, floor) for name, cost in (*theirs.items(), *ours.items())]
    figures: list[Figure] = []
    best = list(ours.values())[-1]
    reached = best.p99_s <= LATE_S * SLACK
    if case.goal is not None:
        what = f"queries per task, {case.name} pending, p99 lag {best.p99_s:.1f} s"
        minor = case.name not in README_CASES
        against = "a 10 s loop per task"
        where = f", p99 at most {LATE_S * SLACK:g} s"
        figures.append(
            fewer(
                what, best.per_task, naive.per_task, case.goal, against=against, also=reached, where=where, minor=minor
            )
        )
        if case.workload.pending >= 100:
            share = best.p99_s / LATE_S
            what = f"p99 lag over late_s (no less than {LEAST:g}), {case.name} pending"
            figures.append(at_most(what, share, SLACK, also=share >= LEAST, minor=case.name != "1,000"))
    if case.name == "1,000":
        loop = theirs[f"backoff loop, cap {CAP_S:g} s"]
        against = "a backoff loop per task"
        figures += [
            fewer("queries per task, 1,000 pending", best.per_task, loop.per_task, 80.0, against=against),
            at_most("mean lag, 1,000 pending", best.mean_s / loop.mean_s, 0.55, against=against),
            at_most("p99 lag, 1,000 pending", best.p99_s / loop.p99_s, 0.4, against=against),
            at_most(
                "queries at the same p99 lag, 1,000 pending",
                best.per_task * best.p99_s / floor.p99,
                1.12,
                against="the floor of page queries",
            ),
        ]
    return rows, figures


def measure_few(pending: int, *, quick: bool) -> tuple[dict[str, Cell], Figure]:
    """One job at a time, or two or three: all of them submitted at once, again and again, against a 5 s loop."""
    costs, loops = [], []
    for seed in range(1, 4 if quick else FEW[pending] + 1):
        service = simulate(Workload(pending=pending, burst=True, seed=seed), policy_of(late_s=LATE_S, price_s=PRICE_S))
        costs.append(cost_of(service))
        loops.append(loop_per_task(list(service.jobs.values()), every(5.0)))
    cost, loop = join(costs), join(loops)
    told: dict[str, Cell] = {
        "pending": f"{pending} at once, then none",
        "policy": "kling_async",
        "tasks": cost.tasks,
        "queries/task": cost.per_task,
        "rows/task": cost.rows / cost.tasks,
        "lag mean s": cost.mean_s,
        "lag p99 s": cost.p99_s,
        "lag max s": max(cost.lags),
        "queries x": cost.per_task / loop.per_task,
    }
    return told, at_most(
        f"mean lag of {pending} at once, at {cost.per_task / loop.per_task:.2f} x the queries",
        cost.mean_s / loop.mean_s,
        1.0,
        against="a 5 s loop per task",
        also=cost.per_task <= loop.per_task,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="Queries per task and lag, on virtual time.")
    add_options(parser, "few tasks")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Cell]] = []
    figures: list[Figure] = []
    for case in QUICK if options.quick else CASES:
        some, more = measure(case)
        rows += some
        figures += more
    for pending in (1,) if options.quick else FEW:
        told, figure = measure_few(pending, quick=options.quick)
        rows.append({**dict.fromkeys(rows[0]), **told})
        figures.append(figure)
    notes = [
        (
            f"late_s {LATE_S:g} s; round trips of 0.1 s are in every lag; queries x: times a 10 s loop's per task, "
            "in the last lines a 5 s loop's"
        ),
        "x floor: queries times mean lag, or times p99 lag, over the least that asking pages of 500 rows can reach",
    ]
    publish(options, "poll_cost", "Queries per task, and lag", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
