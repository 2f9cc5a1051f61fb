"""Runs every benchmark in turn: `python -m benchmarks [--quick] [--json FOLDER]`; fails if one fails."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

SCRIPTS = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("_"))


def main() -> int:
    """Give the number of benchmarks that failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run every benchmark in turn.")
    parser.add_argument("--quick", action="store_true", help="smaller workloads: do they still work?")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write one JSON file per benchmark there")
    options = parser.parse_args()
    failed: list[str] = []
    for script in SCRIPTS:
        command = [sys.executable, str(script)]
        if options.quick:
            command.append("--quick")
        if options.json is not None:
            options.json.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(options.json / f"{script.stem}.json")]
        print(f"== {script.stem}", flush=True)
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(script.stem)
        print(flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
