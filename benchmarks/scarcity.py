"""Half of the queries that are needed: how late do ends become, does anything starve, is one kind favoured?

    python benchmarks/scarcity.py [--quick] [--json FILE]

The session's real planner on virtual time, as in poll_cost.py, once bounded by its own `queries_per_s`, once by a host
that answers 429 to whatever is above that rate. The floor is the least lag that pages can have at that rate.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import TYPE_CHECKING

import attrs
from _baselines import cost_of, floor_of
from _report import Cell, Figure, add_options, at_most, publish
from _service import Service, policy_of, simulate
from _world import Workload

from kling_async.errors import service_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kling_async import KlingError

LATE_S = 10.0
SHARE = 0.5  # of the queries that a p99 lag of late_s needs


@attrs.define
class Allowance:
    """A host's own bound: a bucket of questions, refilled at a rate; what it does not hold is refused."""

    per_s: float
    burst: float = 5.0
    refused: int = 0
    _left: float = 5.0
    _at: float = 0.0

    def check(self, now: float) -> KlingError | None:
        """Take one, or give the refusal."""
        self._left = min(self.burst, self._left + (now - self._at) * self.per_s)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return None
        self.refused += 1
        return service_error(1302, "request frequency too high", 429)


def line(name: str, service: Service, refused: int) -> dict[str, Cell]:
    """One line of the table."""
    cost, floor = cost_of(service), floor_of(service)
    kinds = [
        statistics.fmean(
            task.lag_s
            for task in service.jobs.values()
            if service.workload.counts(task) and task.sort.endpoint == endpoint
        )
        for endpoint in ("text2video", "image2video")
    ]
    return {
        "bound": name,
        "tasks": cost.tasks,
        "queries/s": cost.queries / service.workload.span_s,
        "refused": refused,
        "lag mean s": cost.mean_s,
        "lag p99 s": cost.p99_s,
        "lag max s": max(cost.lags),
        "x floor mean": cost.mean_s * cost.per_task / floor.mean,
        "x floor p99": cost.p99_s * cost.per_task / floor.p99,
        "kind x kind": max(kinds) / min(kinds),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="Half of the queries that are needed.")
    add_options(parser, "few tasks")
    options = parser.parse_args(arguments)
    workload = (
        Workload(pending=100, warm_s=400.0, span_s=300.0) if options.quick else Workload(pending=1000, span_s=900.0)
    )
    free = simulate(workload, policy_of(late_s=LATE_S))
    need = floor_of(free).p99 / LATE_S * workload.per_s
    own = simulate(workload, policy_of(late_s=LATE_S, queries_per_s=need * SHARE))
    host = Allowance(need * SHARE)
    # Creates are not what is short here.
    bounded = simulate(workload, policy_of(late_s=LATE_S), ask_trouble=host.check)
    rows = [
        line("none", free, 0),
        line(f"queries_per_s={need * SHARE:.2f}", own, 0),
        line("the host's 429", bounded, host.refused),
    ]
    figures: list[Figure] = []
    for row, name in ((rows[1], "queries_per_s at half of the need"), (rows[2], "429 above half of the need")):
        mean, tail, longest, kinds = (
            float(row[key] or 0) for key in ("x floor mean", "x floor p99", "lag max s", "kind x kind")
        )
        against = "the floor at that rate"
        figures += [
            at_most(f"{name}: mean lag", mean, 1.6, against=against, minor=True),
            at_most(f"{name}: p99 lag", tail, 1.4, against=against, minor=True),
            at_most(f"{name}: longest lag", longest, 150.0, unit="s", minor=True),
            at_most(f"{name}: mean lag of one kind over the other's", kinds, 1.2, minor=True),
        ]
    notes = [f"{workload.pending:,} pending of two kinds; x floor: at the rate of queries that was used"]
    publish(options, "scarcity", "Too few queries", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
