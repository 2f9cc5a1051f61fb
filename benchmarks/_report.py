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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Cell = str | int | float | None

_PACKAGES = ("aiohttp", "attrs", "cattrs", "backoff")


def surroundings() -> dict[str, str]:
    """Tell on what the figures were measured."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": _commit(),
    }


def print_report(title: str, rows: Sequence[Mapping[str, Cell]], notes: Sequence[str] = ()) -> None:
    """Print a table (one column per key of the first row), what it was measured on, and notes."""
    heads = list(rows[0])
    cells = [heads, *([_shown(row.get(head)) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    print(title)
    print()
    for number, line in enumerate(cells):
        # The first column names the row, the others are figures.
        named, *figures = line
        print("  ".join([named.ljust(widths[0]), *(f.rjust(w) for f, w in zip(figures, widths[1:], strict=True))]))
        if number == 0:
            print("  ".join("-" * width for width in widths))
    print()
    for name, value in surroundings().items():
        print(f"{name}: {value}")
    for note in notes:
        print(note)
    sys.stdout.flush()


def write_json(file: Path, name: str, rows: Sequence[Mapping[str, Cell]], **settings: Cell) -> None:
    """Write the same as a JSON object."""
    content = {"benchmark": name, "settings": settings, **surroundings(), "rows": list(rows)}
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _shown(value: Cell) -> str:
    if value is None:
        return "-"
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
