"""owners.py: whether a process of that name has surely ended, also where the system tells little."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from kling_async import owners
from kling_async.owners import has_ended, name_owner


def other_system(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Let everything under / be looked for under `root`."""
    monkeypatch.setattr(owners, "Path", lambda place: root / place.lstrip("/"))
    monkeypatch.setattr(os, "kill", no_such_process)


def no_such_process(pid: int, _signal: int) -> None:
    raise ProcessLookupError(pid)


def hidden(pid: int, _signal: int) -> None:
    raise PermissionError(pid)


def put(root: Path, place: str, text: str) -> None:
    file = root / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


def process(root: Path, pid: int, started: str, state: str = "S", name: str = "python") -> None:
    """A process as Linux tells of it: field 3 is its state, field 22 when it began."""
    fields = " ".join([state, *["0"] * 18, started, "0", "0"])
    put(root, f"proc/{pid}/stat", f"{pid} ({name}) {fields}\n")


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    other_system(monkeypatch, tmp_path)
    (tmp_path / "proc/self").mkdir(parents=True)
    put(tmp_path, "proc/sys/kernel/random/boot_id", "boot-1\n")
    (tmp_path / "proc/self/ns").mkdir()
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[42]")
    return tmp_path


def test_a_name_tells_machine_boot_process_and_start(linux: Path) -> None:
    process(linux, os.getpid(), "4711")
    machine, pid, started, own = name_owner().split(" ")
    assert (machine, pid, started) == (f"{socket.gethostname()}/boot-1/pid:[42]", str(os.getpid()), "4711")
    assert len(own) == 8
    assert not name_owner().endswith(own), "two sessions of one process have two names"


@pytest.mark.parametrize("name", ["python", "a (b) c", ") S 1 2"])
def test_a_process_that_runs_has_not_ended_whatever_it_is_called(linux: Path, name: str) -> None:
    process(linux, 77, "100", name=name)
    here = f"{socket.gethostname()}/boot-1/pid:[42]"
    assert not has_ended(f"{here} 77 100 aaaa")
    assert has_ended(f"{here} 77 99 aaaa"), "the same number was given to another process since"
    assert has_ended(f"{here} 78 100 aaaa"), "it is not there"


@pytest.mark.parametrize("state", ["Z", "X"])
def test_what_nobody_has_asked_the_end_of_has_ended(linux: Path, state: str) -> None:
    process(linux, 77, "100", state)
    assert has_ended(f"{socket.gethostname()}/boot-1/pid:[42] 77 100 aaaa")


@pytest.mark.parametrize(
    "owner",
    [
        "{here}/boot-1/pid:[43] 77 100 aaaa",
        "elsewhere/boot-1/pid:[42] 77 100 aaaa",
        "{here}/boot-0/pid:[42] 77 100 aaaa",
        "{here}/boot-1/pid:[42] x7 100 aaaa",
        "{here}/boot-1/pid:[42]",
        "",
        "me",
    ],
)
def test_of_others_nothing_is_known(linux: Path, owner: str) -> None:
    """Another machine, boot or container, or a name somebody gave by hand: only its lease can end it."""
    assert not has_ended(owner.replace("{here}", socket.gethostname()))


def test_a_process_whose_start_was_not_told_has_not_ended_while_its_number_is_used(linux: Path) -> None:
    process(linux, 77, "100")
    assert not has_ended(f"{socket.gethostname()}/boot-1/pid:[42] 77 - aaaa")
    assert has_ended(f"{socket.gethostname()}/boot-1/pid:[42] 78 - aaaa")


def test_where_the_system_tells_nothing_nobody_has_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without /proc a lease is all there is: a process that runs must not be taken for one that has ended."""
    other_system(monkeypatch, tmp_path)
    me = name_owner()
    assert me.startswith(f"{socket.gethostname()}/-/- {os.getpid()} - ")
    assert not has_ended(me)
    assert not has_ended(f"{socket.gethostname()}/-/- 1 12345 aaaa")


def test_a_process_that_cannot_be_read_has_not_ended(linux: Path) -> None:
    (linux / "proc/77/stat").mkdir(parents=True)  # any trouble but "not there"
    assert not has_ended(f"{socket.gethostname()}/boot-1/pid:[42] 77 100 aaaa")


@pytest.mark.parametrize("answer", [hidden, lambda _pid, _signal: None])
def test_a_process_that_is_hidden_has_not_ended(linux: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """Shared machines hide the processes of others from /proc; a signal still tells that they are there."""
    monkeypatch.setattr(os, "kill", answer)
    assert not has_ended(f"{socket.gethostname()}/boot-1/pid:[42] 77 100 aaaa")


def test_a_number_beyond_all_processes_is_nobody(linux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert has_ended(f"{name_owner().partition(' ')[0]} {1 << 80} 100 aaaa")
