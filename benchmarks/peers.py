"""The SDKs of similar services and this one: N jobs of 2 to 10 s at once, against one local server.

    python benchmarks/peers.py [--quick] [--env FOLDER] [--only NAME ...] [--json FILE]

It makes an environment of its own and installs the peers there (`--env` keeps it for the next run), which needs the
network; without it, and with `--quick` unless `--env` has one already, only this package and a raw loop are run. Each
run is a process of its own on one core, with the SDK's own defaults; the server (`_server.py`) is on the other, speaks
each one's protocol, and is asked what it was asked. The same durations for all. A lag ends when the caller's await
returns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _report import Cell, Figure, add_options, at_least, at_most, publish
from _server import counts_of, running

if TYPE_CHECKING:
    from collections.abc import Sequence

OURS, RAW = "kling_async", "raw_loop"
PACKAGES = {
    "fal_client": "fal-client",
    "replicate": "replicate",
    "runwayml": "runwayml",
    "openai": "openai",
    "lumaai": "lumaai",
    "google_genai": "google-genai",
    "comfy_sdk": "comfy-sdk",
}
WITHOUT_WAIT = {"lumaai": "lumaai, its documented 3 s loop", "google_genai": "google-genai, its documented 10 s loop"}
LIMITS_S = {100: 30.0, 1000: 40.0}
INSTALL_LIMIT_S = 240.0
VERSIONS = "import sys, importlib.metadata as m; print(*(m.version(name) for name in sys.argv[1:]))"


def interpreter_of(folder: Path) -> Path:
    """Give the interpreter of an environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Install peers that are not there; give the versions of those that are."""
    python = interpreter_of(folder)
    if not python.exists():
        venv.create(folder, with_pip=True)
    began = time.monotonic()
    for name in names:
        if not versions_of(folder, [name]):
            command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", PACKAGES[name]]
            try:
                left_s = max(1.0, INSTALL_LIMIT_S - (time.monotonic() - began))
                subprocess.run(command, check=True, capture_output=True, timeout=left_s)
            except (subprocess.SubprocessError, OSError) as error:
                print(f"{PACKAGES[name]} cannot be installed and is left out: {type(error).__name__}", flush=True)
    return versions_of(folder, names)


def versions_of(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Give the versions of the peers that an environment has."""
    found: dict[str, str] = {}
    for name in names:
        command = [str(interpreter_of(folder)), "-c", VERSIONS, PACKAGES[name]]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return {}
        if done.returncode == 0:
            found[name] = done.stdout.strip()
    return found


def measure(name: str, python: Path, jobs: int, limit_s: float, *, longest_s: float = 10.0) -> dict[str, Any]:
    """Run one of them against a server of its own."""
    low_s = min(2.0, longest_s / 4)
    with running(median_s=4.5, sigma=0.45, low_s=low_s, high_s=longest_s, peers=True) as address:
        script = str(Path(__file__).with_name("_peer.py"))
        command = [str(python), script, name, address, str(jobs), str(limit_s)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s + 60)
            found: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2] or "{}")
            told = done.stderr
        except (subprocess.TimeoutExpired, ValueError) as error:
            found, told = {}, f"{type(error).__name__}: {error}"
        if not found:
            print(f"{name} did not run: {told[-400:]}", flush=True)
            return {}
        if found["errors"]:
            print(f"{name}, {jobs} jobs: {found['errors']} {told.strip()[:200]}", flush=True)
        return {**found, **counts_of(address)}


def line(name: str, version: str, jobs: int, got: dict[str, Any], ours: dict[str, Any]) -> dict[str, Cell]:
    """One line of the table."""
    return {
        "client": WITHOUT_WAIT.get(name, name.replace("_", " ") if name == RAW else name),
        "version": version,
        "jobs": jobs,
        "succeeded": got["done"],
        "requests": got["requests"],
        "requests/job": got["requests"] / jobs,
        "lag mean s": got["mean_s"],
        "lag max s": got["max_s"],
        "CPU s": got["cpu_s"],
        "MB above imports": got["memory_mb"],
        "took s": got["took_s"],
        "CPU x ours": got["cpu_s"] / ours["cpu_s"],
    }


def judge(results: dict[str, dict[str, Any]], jobs: int) -> list[Figure]:
    """Compare this package with each of the others."""
    ours, peers = results[OURS], {name: got for name, got in results.items() if name not in {OURS, RAW}}
    minor = jobs < 1000
    figures = [
        at_least(f"{jobs:,} jobs at once: succeeded", ours["done"], jobs, unit="", minor=minor),
        at_most(f"{jobs:,} jobs at once: mean lag", ours["mean_s"] or 1e9, 0.6, unit="s", minor=minor),
    ]
    # A peer that did not finish sent, and used, less than it would have.
    finished = {name: got for name, got in peers.items() if got["done"] == jobs}
    for key, what in (("requests", "requests"), ("cpu_s", "client CPU"), ("memory_mb", "memory above imports")):
        if finished:
            best = min(finished, key=lambda name: finished[name][key])
            least = finished[best][key]
            label = f"{jobs:,} jobs at once: {what}"
            against = f"the least of {len(finished)} peers that finished ({PACKAGES[best]})"
            figures.append(at_most(label, ours[key] / least, 1.0, against=against, minor=minor))
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0 when this package delivered every job."""
    parser = argparse.ArgumentParser(description="The SDKs of similar services, and this one.")
    add_options(parser, "30 jobs, nothing is installed")
    parser.add_argument("--env", type=Path, metavar="FOLDER", help="environment of the peers, made if it is not there")
    parser.add_argument("--jobs", type=int, nargs="*", help="how many at once (100 and 1000)")
    parser.add_argument("--only", nargs="*", choices=sorted(PACKAGES), help="these peers only")
    options = parser.parse_args(arguments)
    wanted = list(PACKAGES) if options.only is None else options.only
    rows: list[dict[str, Cell]] = []
    figures: list[Figure] = []
    notes = ["jobs of 2 to 10 s, median 4.5 s, all submitted at once; requests: creates are among them"]
    is_whole = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.env or Path(temporary)
        if not options.quick:
            versions = install(folder, wanted)
        else:
            versions = versions_of(folder, wanted[:1]) if options.env else {}
        missing = [PACKAGES[name] for name in wanted if name not in versions]
        if missing:
            notes.append(f"not run, because not installed: {', '.join(missing)}")
        for jobs in (30,) if options.quick else options.jobs or LIMITS_S:
            results: dict[str, dict[str, Any]] = {}
            names = [OURS, RAW, *versions]
            for name in names[:1] + names[2:3] if options.quick else names:
                python = Path(sys.executable) if name in {OURS, RAW} else interpreter_of(folder)
                longest_s = 2.0 if options.quick else 10.0
                got = measure(name, python, jobs, LIMITS_S.get(jobs, 30.0), longest_s=longest_s)
                if got:
                    results[name] = got
            is_whole &= OURS in results and results[OURS]["done"] == jobs
            for name, got in results.items():
                rows.append(line(name, versions.get(name, "-"), jobs, got, results[OURS]))
            figures += judge(results, jobs)
    publish(options, "peers", "This package and its peers", rows, notes=notes, figures=figures)
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
