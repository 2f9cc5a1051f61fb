"""`kling bulk` killed twice in the middle and started again: what is made and billed, and how much memory it takes.

    python benchmarks/bulk.py [--rows N ...] [--speed X] [--slots N] [--keep FOLDER] [--json FILE]

Of the rows of a CSV file 3 % are wrong and 5 % are of tasks that fail. The command runs as a process of its own against
an emulator on loopback, is ended by SIGKILL at about a third and two thirds of the files, and is then let run to its
end. It fails unless every good row has its file, the manifest has one line for each row (the last of an id counts), and
the emulator's ledger has one task for each good row. Peak memory is the largest of the three processes, as the system
counts it. Much of the time is the window of a minute after each kill, in which what was on its way is looked up.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _report import write_json

from kling_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 1800.0
TASK_S = 300.0  # emulated seconds a task takes


def write_rows(file: Path, rows: int) -> tuple[int, int]:
    """Write the table; give the number of rows that are wrong, and of those whose tasks fail."""
    wrong = failing = 0
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["prompt", "animal", "duration"])
        for row in range(rows):
            if row % 100 in (7, 41, 83):
                wrong += 1
                table.writerow(([f"A {{bird}}, {row}", "fox", "5"], ["no cells"], ["", "fox", "5"])[row % 3])
                continue
            ends = " [fail]" if row % 20 == 13 else ""
            failing += bool(ends)
            table.writerow([f"A {{animal}} in a wood, number {row}.{ends}", "fox" if row % 2 else "heron", 5])
    return wrong, failing


@contextmanager
def box(**settings: Any) -> Iterator[Emulator]:
    """An emulator on loopback, in a thread of its own."""
    emulator, loop, ready, leave = Emulator(**settings), asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with emulator:
            ready.set()
            await leave.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield emulator
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join()
        loop.close()


def run(words: list[str], url: str, out: Path, log: Path, *, kill_at: int | None) -> tuple[int, float]:
    """Run the command, killed when so many files are there; give its exit code and its peak memory in MiB."""
    env = {**os.environ, "KLING_BASE_URL": url, "KLING_API_KEY": "emulator-key"}
    command = [sys.executable, "-m", "kling_async", "bulk", *words]
    with log.open("ab") as stream:
        null = os.open(os.devnull, os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1)]
        pid = os.posix_spawn(
            sys.executable, command, env, file_actions=[*actions, (os.POSIX_SPAWN_DUP2, stream.fileno(), 2)]
        )
        os.close(null)
    until = time.monotonic() + LIMIT_S
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024
        if time.monotonic() > until or (kill_at is not None and files_in(out) >= kill_at):
            os.kill(pid, signal.SIGKILL)
            kill_at = None
        time.sleep(0.02)


def files_in(folder: Path) -> int:
    """Count the clips that are there."""
    return sum(entry.name.endswith(".mp4") for entry in os.scandir(folder)) if folder.exists() else 0


def judge(out: Path, emulator: Emulator, rows: int, wrong: int, failing: int) -> list[str]:
    """Say what is not as it must be."""
    last: dict[object, dict[str, Any]] = {}
    for raw in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        plain = json.loads(raw)
        last[plain["id"] or ("row", plain["row"])] = plain
    good = rows - wrong
    states = Counter(line["status"] for line in last.values())
    wanted = {"succeeded": good - failing, "failed": failing, "invalid": wrong}
    troubles = [] if states == wanted else [f"the manifest tells {dict(states)}, not {wanted}"]
    if len({line["row"] for line in last.values()}) != rows:
        troubles.append("not every row has its line")
    ids = Counter(task.external_id for task in emulator.tasks)
    if len(emulator.tasks) != good or len(ids) != good:
        troubles.append(f"{len(emulator.tasks)} tasks of {len(ids)} jobs were made, not {good}")
    for told in last.values():
        for file in told["files"]:
            digest = hashlib.sha256((out / file["path"]).read_bytes()).hexdigest()
            if digest != file["sha256"]:
                troubles.append(f"{file['path']} is not what the manifest says")
    saved = sum(bool(line["files"]) for line in last.values())
    if (saved, files_in(out)) != (good - failing, good - failing):
        troubles.append(f"{saved} rows with {files_in(out)} files, not {good - failing}")
    return troubles


def measure(rows: int, *, speed: float, slots: int, folder: Path) -> dict[str, object]:
    """Run it once."""
    out, source, log = folder / f"clips-{rows}", folder / f"rows-{rows}.csv", folder / f"log-{rows}.txt"
    wrong, failing = write_rows(source, rows)
    began = time.monotonic()
    with box(dialect="official", speed=speed, slots=slots, duration_s=TASK_S) as emulator:
        words = [str(source), "--out", str(out), "--quiet"]
        good = rows - wrong - failing
        runs = [run(words, f"official:{emulator.url}", out, log, kill_at=at) for at in (good // 3, 2 * good // 3, None)]
        queries = sum(request.kind not in {"create", "asset"} for request in emulator.requests)
        again = len(emulator.requests)
        idle = run(words, f"official:{emulator.url}", out, log, kill_at=None)
        again = len(emulator.requests) - again
        troubles = judge(out, emulator, rows, wrong, failing)
    codes = [code for code, _ in (*runs, idle)]
    if codes != [-signal.SIGKILL, -signal.SIGKILL, 1, 1]:
        troubles.append(f"the exit codes are {codes}")
    if again:
        troubles.append(f"a run with nothing to do sent {again} requests")
    return {
        "rows": rows,
        "seconds": round(time.monotonic() - began, 1),
        "peak MiB": [round(peak, 1) for _, peak in (*runs, idle)],
        "queries": queries,
        "troubles": troubles,
    }


def main() -> int:
    """Measure, print, and say whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--quick", action="store_true", help="a few rows, to see that it runs; not for comparison")
    parser.add_argument("--speed", type=float, default=100.0)
    parser.add_argument("--slots", type=int, default=200)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [100] if options.quick else options.rows
        results = [measure(rows, speed=options.speed, slots=options.slots, folder=folder) for rows in wanted]
    for result in results:
        print(json.dumps(result))
    if options.json:
        cells = [{name: str(value) for name, value in result.items()} for result in results]
        write_json(options.json, "bulk", cells, speed=options.speed, slots=options.slots)
    return int(any(result["troubles"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
