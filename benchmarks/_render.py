"""README's table of figures and the two plots, from what the benchmarks wrote as JSON.

    python benchmarks/_render.py FOLDER [--plots FOLDER] [--readme FILE]

Without `--readme` the table is printed. What was not measured is left out, and nothing is made up for it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from _plot import Panel, Series, draw

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
Results = dict[str, dict[str, Any]]
Row = dict[str, Any]
CASE = "1,000"
DURABLE_GOAL = 10_000


def load(folder: Path) -> Results:
    """Read every result of a folder."""
    found = (json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json")))
    return {result["benchmark"]: result for result in found}


# --- the table -----------------------------------------------------------------------------------------------------


def figures_of(result: dict[str, Any]) -> list[Row]:
    """Give the figures of one benchmark that README shows."""
    if result["benchmark"] == "journal":
        rows = {row["journal"]: row for row in result["rows"]}
        per_s = rows["group commit"]["jobs/s"]
        figure = {
            "what": f"durable jobs per second, {result['settings']['submitters']:,} submitters",
            "shown": f"{per_s:,.0f}",
            "against": f"one transaction a change: {rows['one transaction a change']['jobs/s']:,.0f}",
            "goal": f"at least {DURABLE_GOAL:,}",
            "holds": per_s >= DURABLE_GOAL,
        }
        return [figure]
    return [figure for figure in result.get("figures", ()) if not figure.get("minor")]


def table(results: Results) -> list[str]:
    """Give README's lines: what, measured, against, goal, script; and on what it was measured."""
    lines = ["| figure | measured | beside it in the same run | goal | by |", "|---|---|---|---|---|"]
    for name, result in results.items():
        for figure in figures_of(result):
            goal = figure["goal"] if figure["holds"] else f"{figure['goal']}: **missed**"
            cells = [figure["what"], figure["shown"], figure["against"] or "-", goal, f"`{name}.py`"]
            lines.append("| " + " | ".join(cells) + " |")
    on = {(result["machine"], result["python"], result["packages"], result["commit"]) for result in results.values()}
    told = [
        f"{machine}; Python {python}; {packages}; commit {commit}." for machine, python, packages, commit in sorted(on)
    ]
    return [*lines, "", "Measured on: " + " ".join(told)]


def write_readme(readme: Path, lines: list[str]) -> None:
    """Put the table between its two marks; both must be there."""
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN + "\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{readme} lacks {BEGIN} or {END}")
    readme.write_text(before + begin + "\n".join(lines) + "\n" + end + after, encoding="utf-8")


# --- the plots -----------------------------------------------------------------------------------------------------


def policies(results: Results) -> str | None:
    """Draw queries per task against lag, for every policy."""
    if "poll_cost" not in results:
        return None
    all_rows: list[Row] = results["poll_cost"]["rows"]
    case = CASE if any(row["pending"] == CASE for row in all_rows) else all_rows[-2]["pending"]
    rows = [row for row in all_rows if row["pending"] == case]
    singles: list[Row] = results.get("singles", {"rows": []})["rows"]
    panels = []
    for title, lag, floor, singly in (
        ("Mean lag", "lag mean s", "x floor mean", "kling_async, price"),
        ("Lag that 99 of 100 do not exceed", "lag p99 s", "x floor p99", "kling_async, late_s"),
    ):

        def points(among: list[Row], start: str, lag: str = lag) -> list[tuple[float, float]]:
            return [(row[lag], row["queries/task"]) for row in among if row["policy"].startswith(start) and row[lag]]

        ours = next(row for row in rows if row["policy"].startswith("kling"))
        # Queries times lag at the floor is the same everywhere on it.
        product = ours[lag] * ours["queries/task"] / ours[floor]
        lowest, highest = min(row[lag] for row in rows), max(row[lag] for row in rows)
        series = [
            Series("kling_async, lists", points(rows, "kling"), 0, 0),
            Series("kling_async, single queries only (60 pending)", points(singles, singly), 0, 2),
            Series("loop per task, every 2.5, 5, 10, 20 s", points(rows, "loop per task"), 1, 1),
            Series("backoff loop per task, full jitter, cap 30 and 60 s", points(rows, "backoff"), 2, 2),
            Series("all pages of the lists, every 2.5, 5, 10, 20 s", points(rows, "all pages"), 3, 1),
            Series(
                "optimum of single queries, law known (60 pending)", points(singles, "optimum"), 4, 0, is_bound=True
            ),
            Series(
                "floor of page queries, law known",
                [(at, product / at) for at in (lowest, highest)],
                5,
                None,
                is_bound=True,
            ),
        ]
        shown = [one for one in series if one.points]
        panels.append(Panel(title, "lag, seconds", "queries per task", shown))
    notes = [
        f"{case} pending, two kinds, tasks of 188 s on average, round trips of 0.1 s, virtual time; axes logarithmic.",
        "Lower and further left is better. benchmarks/poll_cost.py, benchmarks/singles.py",
    ]
    return draw("Queries per task against lag", panels, notes)


def sizes(results: Results) -> str | None:
    """Draw memory and CPU against the number of pending jobs."""
    if "memory" not in results or "scheduler" not in results:
        return None
    memory: list[Row] = results["memory"]["rows"]
    cpu: list[Row] = results["scheduler"]["rows"]

    def grown(name: str) -> list[tuple[float, float]]:
        return [(row["pending"], row["pending"] * row["resident B"] / 1e6) for row in memory if name in row["jobs"]]

    def share(name: str) -> list[tuple[float, float]]:
        return [(row["pending"], row["core %"]) for row in cpu if row["policy"] == name and row["core %"]]

    loops = "a loop per task, without any request"
    by_policy = sorted({row["policy"] for row in cpu if row["policy"].startswith("kling")})
    left = [Series("kling_async", grown("kling_async"), 0, 0), Series(loops, grown("sleeping"), 1, 1)]
    right = [
        *(Series(name, share(name), 0 if number == 0 else 4, 0) for number, name in enumerate(by_policy)),
        Series(loops, share("5 s loop per task, no queries"), 1, 1),
    ]
    panels = [
        Panel("Memory", "pending jobs", "MB beyond the requests", left),
        Panel("CPU of following", "pending jobs", "% of a core", right),
    ]
    notes = [
        "kling_async: planning, matching, settling, without HTTP and JSON. Loops: tasks that sleep (CPU: 5 s) and ask",
        "nothing at all, so without HTTP too. Axes logarithmic. benchmarks/memory.py, benchmarks/scheduler.py",
    ]
    return draw("Memory and CPU against pending jobs", panels, notes)


def main() -> int:
    """Give 0."""
    parser = argparse.ArgumentParser(description="README's table and plots.")
    parser.add_argument("folder", type=Path, help="where the benchmarks wrote their JSON")
    parser.add_argument("--plots", type=Path, help="where the plots go")
    parser.add_argument("--readme", type=Path, help="the file whose table is replaced")
    options = parser.parse_args()
    results = load(options.folder)
    lines = table(results)
    if options.readme is None:
        print("\n".join(lines))
    else:
        write_readme(options.readme, lines)
    if options.plots is not None:
        options.plots.mkdir(parents=True, exist_ok=True)
        for name, plot in (("policies", policies(results)), ("sizes", sizes(results))):
            if plot is not None:
                (options.plots / f"{name}.svg").write_text(plot, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
