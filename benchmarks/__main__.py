"""Runs every benchmark in turn, and renders README's table and the plots; fails if one fails.

    python -m benchmarks [--quick] [--only NAME ...] [--json FOLDER] [--env FOLDER] [--write-readme]

In full it takes half an hour, and needs the network for the peers. With `--quick` everything is run once with small
workloads, and rendered into a temporary folder: nothing may rot.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("_"))


def run(script: Path, folder: Path, options: argparse.Namespace) -> bool:
    """Run one; tell whether it did."""
    command = [sys.executable, str(script), "--json", str(folder / f"{script.stem}.json")]
    if options.quick:
        command.append("--quick")
    if options.env is not None and script.stem == "peers":
        command += ["--env", str(options.env)]
    print(f"== {script.stem}", flush=True)
    began = time.perf_counter()
    done = subprocess.run(command, check=False).returncode == 0
    print(f"\n{script.stem}: {time.perf_counter() - began:.1f} s\n", flush=True)
    return done


def render(folder: Path, options: argparse.Namespace) -> bool:
    """Draw the plots and write, or print, the table."""
    plots = folder if options.quick else HERE / "plots"
    command = [sys.executable, str(HERE / "_render.py"), str(folder), "--plots", str(plots)]
    if options.write_readme:
        command += ["--readme", str(HERE.parent / "README.md")]
    # Figures of small workloads are not to be read.
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL if options.quick else None).returncode == 0


def main() -> int:
    """Give the number of benchmarks that failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run every benchmark in turn.")
    parser.add_argument("--quick", action="store_true", help="smaller workloads: do they still work?")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these only; with no name none: render what is there")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep one JSON file per benchmark there")
    parser.add_argument("--env", type=Path, metavar="FOLDER", help="keep the environment of the peers there")
    parser.add_argument("--write-readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    if options.quick and options.write_readme:
        parser.error("figures of a quick run are not for README")
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = options.json or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = [script for script in SCRIPTS if options.only is None or script.stem in options.only]
        failed = [script.stem for script in chosen if not run(script, folder, options)]
        if not render(folder, options):
            failed.append("rendering")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
