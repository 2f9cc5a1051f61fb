"""Whose a job is: names of processes, by which others on the same machine can tell that one has ended.

Stage: move. Before: session (its journal's owner name). After: recorder, which frees what a process that ended held.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

_DEAD = frozenset({"Z", "X"})  # it has ended, and its parent has not asked how yet


def name_owner() -> str:
    """Name this process so that others on the same machine can tell when it has ended."""
    return f"{_machine()} {os.getpid()} {_started(os.getpid()) or '-'} {uuid.uuid4().hex[:8]}"


def has_ended(owner: str) -> bool:
    """Tell whether the process of that name surely runs no more: it was of this machine, and is not there."""
    machine, _, rest = owner.partition(" ")
    pid, _, started = rest.partition(" ")
    if machine != _machine() or not pid.isdecimal():
        return False
    now = _started(int(pid))
    return now is None or (now != "-" and started.split(" ")[0] not in {now, "-"})


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = "-"
    try:
        # Containers may share a host name, and number their processes each for itself.
        numbers = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        numbers = "-"
    return f"{socket.gethostname()}/{boot}/{numbers}"


def _started(pid: int) -> str | None:
    """Give when a process began, in ticks since boot; None where there is none, "-" where the system does not say."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        fields = told.rpartition(")")[2].split()
        return None if fields[0] in _DEAD else fields[19]
    except FileNotFoundError:
        return None if Path("/proc/self").is_dir() and _is_gone(pid) else "-"
    except OSError:
        return "-"


def _is_gone(pid: int) -> bool:
    # A system may hide the processes of others from /proc; what cannot be signalled is there all the same.
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False
