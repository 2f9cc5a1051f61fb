"""The console script `kling`, and `python -m kling_async`.

Stage: door. Before: the shell. After: cli. Only looks whether the extra `cli` is installed.
"""

from __future__ import annotations

import sys

_EXTRA = frozenset({"click", "rich", "typer"})


def main() -> None:
    """Run the command; without its extra, say in one sentence how to get it, and exit with 2."""
    try:
        from .cli.app import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f"The kling command needs {missing}, of an extra: pip install 'kling-async[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    app(prog_name="kling")


if __name__ == "__main__":
    main()
