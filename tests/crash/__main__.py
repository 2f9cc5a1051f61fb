"""Kills processes and counts: `python tests/crash/__main__.py --help`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve()
    sys.path[:0] = [str(here.parents[1]), str(here.parents[2])]
    from crash.command import main

    sys.exit(main())
