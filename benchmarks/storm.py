"""Everything is refused for 30 s, with 429 or with 500: how many requests more, and when is the session itself again?

    python benchmarks/storm.py [--quick] [--json FILE]

The session's real planner on virtual time, as in poll_cost.py; the same run without the storm is the baseline.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from _report import Cell, Figure, add_options, at_most, publish
from _service import Service, policy_of, simulate
from _world import Workload

from kling_async.errors import service_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kling_async import KlingError

STORM_S = 30.0
AFTER_S = 120.0  # for which requests are compared


def storm(at: float, status: int) -> Callable[[float], KlingError | None]:
    """Give what a host says while it storms."""

    def trouble(now: float) -> KlingError | None:
        if not at <= now < at + STORM_S:
            return None
        return service_error(None, "too many requests" if status == 429 else "internal error", status)

    return trouble


def count(moments: Sequence[float], start: float, until: float) -> int:
    """Count what falls into a span."""
    return sum(start <= at < until for at in moments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="Everything is refused for 30 s.")
    add_options(parser, "few tasks")
    options = parser.parse_args(arguments)
    workload = (
        Workload(pending=60, warm_s=300.0, span_s=200.0)
        if options.quick
        else Workload(pending=500, warm_s=600.0, span_s=200.0)
    )
    at, policy = workload.warm_s, policy_of(late_s=10.0)
    over = at + STORM_S
    runs: dict[str, Service] = {"none": simulate(workload, policy)}
    for status in (429, 500):
        runs[f"{status} to questions"] = simulate(workload, policy, ask_trouble=storm(at, status))
        runs[f"{status} to everything"] = simulate(workload, policy, trouble=storm(at, status))
    rows: list[dict[str, Cell]] = []
    figures: list[Figure] = []
    needed = 0
    for name, service in runs.items():
        queries = count([moment for moment, _, _ in service.asked], at, over + AFTER_S)
        creates = count(service.submits, at, over + AFTER_S)
        needed = needed or queries + creates
        extra = 100.0 * (queries + creates - needed) / needed
        hidden = [t.known_at - over for t in service.jobs.values() if t.made_at < at and at <= t.ends_at < over]
        recovered = max(0.0, *hidden) if hidden and name != "none" else 0.0
        rows.append(
            {
                "refused": name,
                "during it": count([moment for moment, _, _ in service.asked], at, over)
                + count(service.submits, at, over),
                "queries": queries,
                "creates": creates,
                "extra %": extra,
                "recovered s": recovered,
            }
        )
        if name.endswith("everything"):
            against = "the same without the storm"
            figures += [
                at_most(f"30 s of {name}: more requests", extra, 10.0, unit="%", against=against),
                at_most(f"30 s of {name}: until the last end it hid is seen", recovered, 20.0, unit="s"),
            ]
    notes = [
        f"{workload.pending:,} pending; queries and creates from its begin to {AFTER_S:g} s after its end",
        (
            "recovered: from its end until the last task that had ended in it was known; creates refused with 500 may "
            "have been made, and are looked up for a minute before they are sent again"
        ),
    ]
    publish(options, "storm", "A storm of 30 s", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
