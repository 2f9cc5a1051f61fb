"""The command as a user meets it: a process of its own, on real sockets, in a pipe and on a terminal."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from cli_tools import KLING, LIMIT_S, box, environ, is_clip, kling, start

from kling_async.emulator import Fault

ESCAPE = "\x1b"


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if ".part" in path.name]


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def on_terminal(*words: str, url: str | None = None, interrupt_at: str = "", **env: str) -> tuple[int, str]:
    """Run the command on a pseudo-terminal of 80 columns; tell its exit code and all it wrote."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [*KLING, *words]
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environ(url, "emulator-key", **env),
        start_new_session=True,
    )
    os.close(slave)
    seen = b""
    until = time.monotonic() + LIMIT_S
    with contextlib.suppress(OSError):  # how a terminal says that nobody holds its other end
        while time.monotonic() < until:
            if not select.select([master], [], [], 0.5)[0]:
                continue
            data = os.read(master, 65536)
            if not data:
                break
            seen += data
            if interrupt_at and interrupt_at.encode() in seen:
                process.send_signal(signal.SIGINT)
                interrupt_at = ""
    os.close(master)
    return process.wait(LIMIT_S), seen.decode()


def test_demo_makes_playable_clips_and_counts_honestly(tmp_path: Path) -> None:
    """A few jobs, fast, in a pipe: clips on disk, a summary on stdout, no escapes anywhere."""
    done = kling("demo", "--jobs", "6", "--speed", "100", "--out", str(tmp_path / "clips"), key=None)
    assert done.returncode == 0, done.stderr
    clips = sorted((tmp_path / "clips").glob("*.mp4"))
    assert len(clips) == 6
    assert all(is_clip(path) for path in clips)
    assert "6 clips" in done.stdout
    told = re.search(r"ask how they stand +(\d+) +(\d+)", done.stdout)
    assert told is not None
    assert int(told[1]) > 0
    assert int(told[2]) == 6  # each runs for less than 5 s at this speed, so a loop asks about it once
    assert ESCAPE not in done.stdout + done.stderr
    assert left_over(tmp_path) == []


def test_a_terminal_gets_a_live_display(tmp_path: Path) -> None:
    code, seen = on_terminal("demo", "--jobs", "5", "--speed", "100", "--out", str(tmp_path / "clips"))
    assert code == 0, seen
    assert "▒" in seen
    assert "5 running" in seen
    assert f"{ESCAPE}[?25l" in seen
    assert seen.rindex(f"{ESCAPE}[?25h") > seen.rindex(f"{ESCAPE}[?25l")
    assert "5 clips" in seen


def test_a_terminal_without_colours_stays_without(tmp_path: Path) -> None:
    code, seen = on_terminal("demo", "--jobs", "2", "--speed", "100", "--out", str(tmp_path), NO_COLOR="1")
    assert code == 0
    assert not re.search(ESCAPE + r"\[[0-9;]*3[0-9]m", seen)


def test_a_dumb_terminal_gets_lines(tmp_path: Path) -> None:
    code, seen = on_terminal("demo", "--jobs", "2", "--speed", "100", "--out", str(tmp_path), TERM="dumb")
    assert code == 0
    assert ESCAPE not in seen


def test_generate_prints_the_url_and_nothing_else() -> None:
    with box() as emulator:
        url = emulator.url
        done = kling("generate", "a beach", url=url)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"{url}/_emulator/assets/\S+\n", done.stdout)
    assert ESCAPE not in done.stderr


def test_a_closed_port_is_not_waited_for(tmp_path: Path) -> None:
    """A host that does not answer is tried again for a while, told so, and ends with 5."""
    done = kling("generate", "a beach", "--retry-for", "0.5", url="http://127.0.0.1:1")
    assert done.returncode == 5
    assert done.stdout == ""
    assert "cannot connect to http://127.0.0.1:1" in done.stderr
    assert "trying again" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interruption_tells_what_is_open(tmp_path: Path) -> None:
    """Jobs that run are told with their ids, jobs that wait are not sent, nothing half is left, and it is quick."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"prompt {line}\n" for line in range(8)))
    out = tmp_path / "clips"
    with box(slots=3, duration_s=600) as emulator:
        process = start("bulk", str(prompts), "--out", str(out), url=emulator.url)
        wait_for(lambda: {"single", "list", "batch"} & {request.kind for request in emulator.requests}, "a first query")
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=LIMIT_S)
        took_s = time.monotonic() - asked
        tasks = emulator.tasks
    assert process.returncode == 130, stderr
    assert took_s < 5
    assert stdout == ""
    assert len(tasks) == 3
    for task in tasks:
        assert re.search(rf"job {task.external_id} +task {task.task_id} +text2video +\w+ +paid", stderr)
    assert "5 jobs waiting in the journal, to be sent or followed." in stderr
    assert f"  kling bulk {prompts} --out {out}" in stderr
    assert "Traceback" not in stderr
    assert "asyncio" not in stderr
    assert left_over(tmp_path) == []


def test_a_second_interruption_leaves_at_once(tmp_path: Path) -> None:
    """While the first is still closing (a submission hangs), the second ends the process."""
    with box(faults=[Fault(action="hang", kind="create")]) as emulator:
        process = start("generate", "a beach", url=emulator.url)
        wait_for(lambda: emulator.requests, "the create arrived")
        process.send_signal(signal.SIGINT)
        stderr = process.stderr
        assert stderr is not None
        wait_for(lambda: "Stopping" in stderr.readline(), "it is stopping")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=3)
    assert process.returncode == 130


def test_a_terminal_is_left_as_it_was_found(tmp_path: Path) -> None:
    """Ctrl-C in the middle of the display: the cursor is back, and the open job is told."""
    with box(duration_s=600) as emulator:
        code, seen = on_terminal("generate", "a beach", url=emulator.url, interrupt_at="running")
    assert code == 130
    assert seen.rindex(f"{ESCAPE}[?25h") > seen.rindex(f"{ESCAPE}[?25l")
    assert "1 job left at the service" in seen
    assert "Traceback" not in seen


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """`kling ... | head`: quiet, and the clips that were under way are told or saved."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\n")
    with box(dialect="official") as emulator:
        process = start("bulk", str(prompts), "-o", str(tmp_path / "clips"), "-q", url=f"official:{emulator.url}")
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        stderr = process.stderr.read()
        process.stderr.close()
        assert process.wait(LIMIT_S) in {0, 130}
    assert "BrokenPipe" not in stderr
    assert "Traceback" not in stderr


def test_the_emulator_answers_the_line_it_prints(tmp_path: Path) -> None:
    """Its URL comes on stdout as soon as it listens, the printed line works, and Ctrl-C ends it."""
    process = start("emulator", "--port", "0", "--speed", "2000", key=None)
    assert process.stdout is not None
    assert process.stderr is not None
    url = process.stdout.readline().strip()
    with urllib.request.urlopen(f"{url}/_emulator", timeout=LIMIT_S) as answer:
        assert json.load(answer)["dialect"] == "cometapi"
    line = next(line for line in process.stderr if "KLING_BASE_URL" in line)
    settings = dict(re.findall(r"(KLING_\w+)=(\S+)", line))
    done = kling("generate", "hello", url=settings["KLING_BASE_URL"], key=settings["KLING_API_KEY"])
    assert done.returncode == 0, done.stderr
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert "Stopped after 1 tasks" in stderr


def test_the_emulator_signs_callbacks_when_it_is_told_to() -> None:
    """A secret that is none is said at once, and not repeated."""
    done = kling("emulator", "--port", "0", "--webhook-secret", "rubbish!", key=None)
    assert done.returncode != 0
    assert "whsec_" in done.stderr
    assert "rubbish" not in done.stderr


def test_without_its_extra_it_says_how_to_get_it() -> None:
    block = "import sys; sys.modules['typer'] = None; from kling_async.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2
    assert done.stderr == "The kling command needs typer, of an extra: pip install 'kling-async[cli]'\n"


def test_help_is_quick_and_tells_the_exit_codes() -> None:
    done = kling("--help", COLUMNS="80")
    assert done.returncode == 0
    for words in ("generate", "bulk", "demo", "emulator", "Exit codes", "130", "KLING_API_KEY"):
        assert words in done.stdout
