"""Helpers of these tests: an emulator in a thread, the command as a process, the command in this process."""

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from typer.testing import CliRunner

from kling_async import Policy
from kling_async.cli import connect
from kling_async.cli.app import app
from kling_async.cli.picture import dusk
from kling_async.emulator import Emulator

LIMIT_S = 40.0
KLING = (sys.executable, "-m", "kling_async")


@contextlib.contextmanager
def box(**settings: Any) -> Iterator[Emulator]:
    """An emulator that listens on loopback from a thread of its own; generations take 0.2 s unless told otherwise."""
    emulator = Emulator(**({"duration_s": 0.2} | settings))
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    leave = asyncio.Event()

    async def serve() -> None:
        async with emulator:
            ready.set()
            await leave.wait()

    def work() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(LIMIT_S)
        yield emulator
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join(LIMIT_S)


def environ(url: str | None, key: str | None, **more: str) -> dict[str, str]:
    """The environment of a command: nothing of the developer's own, warnings are errors, asyncio in debug mode."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("KLING_", "PY", "FORCE_", "NO_C"))
    }
    wanted = {"KLING_BASE_URL": url, "KLING_API_KEY": key}
    given = {name: value for name, value in wanted.items() if value is not None}
    return {**kept, "PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error", "TERM": "xterm", **given, **more}


def kling(
    *words: str, url: str | None = None, key: str | None = "emulator-key", stdin: str = "", **env: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command as a user does, in a pipe."""
    return subprocess.run(
        [*KLING, *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environ(url, key, **env),
        check=False,
    )


def start(
    *words: str, url: str | None = None, key: str | None = "emulator-key", **more: Any
) -> "subprocess.Popen[str]":
    """Start the command and let it run."""
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*KLING, *words], text=True, env=environ(url, key), **(pipes | more))


@attrs.frozen
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def here(
    *words: str,
    url: str | None = None,
    key: str | None = "emulator-key",
    stdin: bytes | str = "",
    sweep_s: float = 0.25,
    **env: str,
) -> Outcome:
    """Run the command inside this process, with sweeps that come sooner than a user's."""
    cleared: dict[str, str | None] = dict.fromkeys(
        ("KLING_BASE_URL", "KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY")
    )
    given = {"KLING_BASE_URL": url, "KLING_API_KEY": key, "COLUMNS": "80", "TERM": "xterm"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connect, "Policy", functools.partial(Policy, sweep_s=sweep_s))
        result = CliRunner().invoke(app, words, input=stdin, env={**cleared, **given, **env}, catch_exceptions=False)
    return Outcome(result.exit_code, result.stdout, result.stderr)


_dusk = functools.cache(dusk)  # drawing it takes a third of a second


def picture(folder: Path, name: str = "picture.png") -> Path:
    path = folder / name
    path.write_bytes(_dusk())
    return path


def is_clip(path: Path | str) -> bool:
    return Path(path).read_bytes()[4:8] == b"ftyp"
