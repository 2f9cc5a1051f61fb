"""What every benchmark says besides its figures: the machine, the versions, the commit; and how it prints them."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

Cell = str | int | float | bool | None

_PACKAGES = ("aiohttp", "attrs", "cattrs", "backoff")
_EXTRAS = ("orjson", "uvloop")


@attrs.frozen(kw_only=True)
class Figure:
    """One measured figure beside what it is meant to be.

    Attributes:
        what: what was measured, with its workload.
        shown: the figure, with its unit.
        against: the baseline of the same run; "" where the figure needs none.
        goal: what it is meant to be.
        holds: whether it is.
        value: the bare number.
        minor: it is of interest here, and not in README.
    """

    what: str
    shown: str
    against: str
    goal: str
    holds: bool
    value: float
    minor: bool = False


def at_most(
    what: str,
    value: float,
    goal: float,
    *,
    unit: str = "x",
    against: str = "",
    also: bool = True,
    minor: bool = False,
) -> Figure:
    """Make a figure that is meant to be no larger; `also` is what has to hold besides."""
    holds = also and value <= goal
    return _figure(what, value, f"at most {_with_unit(goal, unit)}", unit, against, holds=holds, minor=minor)


def at_least(
    what: str,
    value: float,
    goal: float,
    *,
    unit: str = "x",
    against: str = "",
    also: bool = True,
    minor: bool = False,
) -> Figure:
    """Make a figure that is meant to be no smaller."""
    holds = also and value >= goal
    return _figure(what, value, f"at least {_with_unit(goal, unit)}", unit, against, holds=holds, minor=minor)


def fewer(
    what: str,
    ours: float,
    theirs: float,
    goal: float,
    *,
    against: str,
    also: bool = True,
    where: str = "",
    minor: bool = False,
) -> Figure:
    """Make a figure of how many times fewer: one in `goal` or better; `where` says in words what `also` is."""
    times = theirs / ours
    return Figure(
        what=what,
        shown=f"1/{times:.3g}",
        against=against,
        goal=f"1/{goal:g}{where}",
        holds=also and times >= goal,
        value=times,
        minor=minor,
    )


def _figure(what: str, value: float, goal: str, unit: str, against: str, *, holds: bool, minor: bool) -> Figure:
    shown = _with_unit(value, unit)
    return Figure(what=what, shown=shown, against=against, goal=goal, holds=holds, value=value, minor=minor)


def _with_unit(value: float, unit: str) -> str:
    figure = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return figure + ("" if unit in {"", "%"} else " ") + unit


def surroundings() -> dict[str, str]:
    """Tell on what the figures were measured."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    versions |= {name: version for name in _EXTRAS if (version := version_of(name)) is not None}
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": _commit(),
    }


def version_of(package: str) -> str | None:
    """Give the version of an installed package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def print_report(
    title: str, rows: Sequence[Mapping[str, Cell]], notes: Sequence[str] = (), figures: Sequence[Figure] = ()
) -> None:
    """Print a table (one column per key of the first row), what it was measured on, notes, and the goals."""
    heads = list(rows[0])
    cells = [heads, *([_shown(row.get(head)) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    print(title)
    print()
    for number, line in enumerate(cells):
        # The first column names the row, the others are figures.
        named, *rest = line
        print("  ".join([named.ljust(widths[0]), *(f.rjust(w) for f, w in zip(rest, widths[1:], strict=True))]))
        if number == 0:
            print("  ".join("-" * width for width in widths))
    print()
    for name, value in surroundings().items():
        print(f"{name}: {value}")
    for note in notes:
        print(note)
    if figures:
        print()
    for figure in figures:
        against = f" against {figure.against}" if figure.against else ""
        held = "as meant" if figure.holds else "NOT as meant"
        print(f"{figure.what}{against}: {figure.shown} (goal: {figure.goal}; {held})")
    sys.stdout.flush()


def write_json(
    file: Path, name: str, rows: Sequence[Mapping[str, Cell]], figures: Sequence[Figure] = (), **settings: Cell
) -> None:
    """Write the same as a JSON object."""
    content = {
        "benchmark": name,
        "settings": settings,
        **surroundings(),
        "rows": list(rows),
        "figures": [attrs.asdict(figure) for figure in figures],
    }
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def publish(
    options: argparse.Namespace,
    name: str,
    title: str,
    rows: Sequence[Mapping[str, Cell]],
    *,
    notes: Sequence[str] = (),
    figures: Sequence[Figure] = (),
) -> None:
    """Print the report, and write its JSON where the options say so."""
    quick = bool(options.quick)
    # Small workloads show that a benchmark works, and nothing else.
    print_report(title, rows, [*notes, "quick: not for comparison"] if quick else notes, () if quick else figures)
    if options.json is not None:
        write_json(options.json, name, rows, figures, quick=quick)


def add_options(parser: argparse.ArgumentParser, quick: str) -> None:
    """Add the options that every benchmark has."""
    parser.add_argument("--quick", action="store_true", help=f"{quick}: does it still work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def with_bytecode(folder: str) -> dict[str, str]:
    """Give an environment in which a new interpreter keeps bytecode in a folder, as an installed package has it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**environment, "PYTHONPYCACHEPREFIX": folder}


def _shown(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 1 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else value


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    here = Path(__file__).parent
    commit = _said(git, here, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return f"{commit} with changes" if _said(git, here, "status", "--porcelain") else commit


def _said(git: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run([git, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
