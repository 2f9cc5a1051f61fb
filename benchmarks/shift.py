"""A service that changes its habits: three times slower or faster, tasks that never end, a burst, a new start.

    python benchmarks/shift.py [--quick] [--json FILE]

The session's real planner on virtual time, as in poll_cost.py. Each line is compared with the same run without the
change, over the same span; the tasks are the same, drawn from one seed.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import attrs
from _baselines import Cost, cost_of
from _report import Cell, Figure, add_options, at_most, publish
from _service import policy_of, simulate
from _world import Shift, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

LATE_S = 10.0
SETTLING = 0.4  # share of the span after which a change is over


def line(name: str, cost: Cost, steady: Cost | None) -> dict[str, Cell]:
    """One line of the table."""
    return {
        "service": name,
        "tasks": cost.tasks,
        "queries/task": cost.per_task,
        "lag mean s": cost.mean_s,
        "lag p99 s": cost.p99_s,
        "lag max s": max(cost.lags),
        "p99 / late_s": cost.p99_s / LATE_S,
        "queries x": None if steady is None else cost.per_task / steady.per_task,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="A service that changes its habits.")
    add_options(parser, "few tasks")
    options = parser.parse_args(arguments)
    steady_load = (
        Workload(pending=60, warm_s=400.0, span_s=400.0)
        if options.quick
        else Workload(pending=300, warm_s=800.0, span_s=1400.0)
    )
    policy = policy_of(late_s=LATE_S)
    at = steady_load.warm_s
    changes = {
        "3 x slower": attrs.evolve(steady_load, shift=Shift(at=at, factor=3.0)),
        "3 x faster": attrs.evolve(steady_load, shift=Shift(at=at, factor=1 / 3)),
        "1 % never end": attrs.evolve(steady_load, stuck=0.01),
    }
    # Right after a change fewer or more tasks end than are asked about: queries are compared when that is over.
    settled = at + steady_load.span_s * SETTLING
    steady_run = simulate(steady_load, policy)
    steady, steady_later = cost_of(steady_run), cost_of(steady_run, start=settled)
    rows = [line("steady", steady, None)]
    figures: list[Figure] = []
    goals = {"3 x slower": 1.6, "1 % never end": 1.1}
    for name, workload in changes.items():
        service = simulate(workload, policy)
        cost, later = cost_of(service), cost_of(service, start=settled)
        rows.append(line(name, cost, steady))
        rows.append(line(f"{name}, later", later, steady_later))
        if name in goals:
            share = cost.p99_s / LATE_S
            against = "the same without the change"
            figures.append(
                at_most(
                    f"{name}: queries per task", later.per_task / steady_later.per_task, goals[name], against=against
                )
            )
            figures.append(at_most(f"{name}: p99 lag over late_s", share, 1.02, also=share >= 0.9))
    burst = Workload(pending=steady_load.pending * (1 if options.quick else 2), burst=True)
    rows.append(line(f"burst of {burst.pending:,}", cost_of(simulate(burst, policy)), steady))
    # The first tasks of a session that knows nothing yet, against later ones of the same number pending.
    early = attrs.evolve(steady_load, warm_s=0.0, span_s=400.0)
    rows.append(line("first 400 s, nothing known yet", cost_of(simulate(early, policy)), steady))
    notes = [
        (
            f"{steady_load.pending:,} pending when steady; late_s {LATE_S:g} s; counted from the change for "
            f"{steady_load.span_s:,.0f} virtual seconds, or (later) the last {at + steady_load.span_s - settled:,.0f}"
        ),
        "queries x: queries per task over the steady run's; slower tasks are asked about for longer",
    ]
    publish(options, "shift", "A service that changes its habits", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
