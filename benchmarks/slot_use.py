"""An account with few slots and a long queue: what share of the slots is busy.

    python benchmarks/slot_use.py [--quick] [--json FILE]

The session's real planner on virtual time, as in poll_cost.py, with `max_running`, and without it: then it finds the
limit by the host's refusals (code 1303). All tasks are of one model, since the service counts slots by model. A slot
that ended is empty until its end is seen and the next task is made.
The baseline, on the same tasks: as many workers as there are slots, each waiting with the usual `backoff` loop.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from typing import TYPE_CHECKING

from _baselines import usual
from _report import Cell, Figure, add_options, at_least, at_most, publish
from _service import ROUND_TRIP_S, Service, policy_of, simulate
from _world import Planned, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

CAP_S = 30.0
MODEL = "kling-v1-6"
WAITING = {5: 500, 20: 1000}
MOST_REFUSED = 0.05


def busy_share(service: Service, slots: int) -> float:
    """Give the share of slot time that was used, until the last task was made."""
    tasks = [task for task in service.jobs.values() if task.made_at >= 0]
    until = max(task.made_at for task in tasks)
    return sum(min(task.ends_at, until) - task.made_at for task in tasks) / (slots * until)


def usual_share(tasks: Sequence[Planned], slots: int) -> float:
    """Give the same for workers with the usual loop."""
    delays = usual(CAP_S, random.Random(3))
    free = [0.0] * slots
    busy: list[tuple[float, float]] = []
    for task in tasks:
        made_at = heapq.heappop(free) + ROUND_TRIP_S / 2
        busy.append((made_at, made_at + task.takes_s))
        age = ROUND_TRIP_S / 2
        for delay_s in delays():
            age += delay_s + ROUND_TRIP_S
            if age - ROUND_TRIP_S / 2 >= task.takes_s:
                break
        heapq.heappush(free, made_at + age)
    until = max(made_at for made_at, _ in busy)
    return sum(min(end, until) - made_at for made_at, end in busy) / (slots * until)


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="The share of slots that is busy.")
    add_options(parser, "few tasks")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Cell]] = []
    figures: list[Figure] = []
    for slots, backlog in {5: 60}.items() if options.quick else WAITING.items():
        workload = Workload(pending=backlog, burst=True, model=MODEL)
        told = simulate(workload, policy_of(late_s=10.0), max_running=slots, slots=slots)
        found = simulate(workload, policy_of(late_s=10.0), slots=slots)
        shares = {
            f"backoff loop, cap {CAP_S:g} s": (usual_share(workload.tasks(), slots), None, None),
            f"kling_async, max_running={slots}": (busy_share(told, slots), told, len(told.submits)),
            "kling_async, limit found": (busy_share(found, slots), found, len(found.submits)),
        }
        base = next(iter(shares.values()))[0]
        for name, (share, service, creates) in shares.items():
            rows.append(
                {
                    "policy": name,
                    "slots": slots,
                    "tasks": backlog,
                    "busy": share,
                    "x": share / base,
                    "queries/task": None if service is None else len(service.asked) / backlog,
                    "creates": creates,
                    "refused": None if creates is None else (creates - backlog) / creates,
                }
            )
            if service is not None:
                what = f"busy share of {slots} slots, {backlog} waiting ({name.partition(', ')[2]})"
                figures.append(
                    at_least(
                        what, share, 0.97, unit="", against=f"a backoff loop's {base:.3f}", minor=told is not service
                    )
                )
        refused = (len(found.submits) - backlog) / len(found.submits)
        figures.append(
            at_most(f"share of creates refused, {slots} slots, {backlog} waiting", refused, MOST_REFUSED, unit="")
        )
    notes = ["counted until the last task is made; creates: those that met full slots are refused and sent again"]
    publish(options, "slot_use", "Slots in use", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
