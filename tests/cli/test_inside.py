"""Parts of the command inside this process: the show, the emulator, signals, the display, the two outputs."""

import asyncio
import errno
import io
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import attrs
import pytest
from cli_tools import LIMIT_S, box, here, is_clip
from rich.console import Console

from kling_async import (
    AccountError,
    AuthError,
    BadEnvelope,
    ConnectFailed,
    DownloadError,
    InvalidRequest,
    KlingSession,
    RequestWarning,
    SchedulerCrashed,
    SubmissionUnknown,
    TaskFailed,
    TextToVideo,
    __main__,
    find_host,
)
from kling_async.cli import crew as crew_module
from kling_async.cli import serve as serve_module
from kling_async.cli.bulk import Wishes, bulk
from kling_async.cli.connect import Connection
from kling_async.cli.crew import Crew
from kling_async.cli.demo import make_entries
from kling_async.cli.exits import Exit, Fail, exit_of
from kling_async.cli.inputs import Entry, first_advice
from kling_async.cli.interrupt import Interrupt, run
from kling_async.cli.picture import HEIGHT, WIDTH, dusk
from kling_async.cli.progress import Progress, View, clock, counted
from kling_async.cli.report import end
from kling_async.cli.serve import client_url, serve
from kling_async.cli.talk import Talk, drop_stdout
from kling_async.cli.tally import Done, Tally
from kling_async.emulator import Emulator, Fault
from kling_async.endpoints.media import picture_size


@contextmanager
def signalled_when(condition: Callable[[], object], number: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """Send this process a signal, once, as soon as the condition holds."""

    def watch() -> None:
        until = time.monotonic() + LIMIT_S
        while not condition() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()


def kinds(emulator: Emulator) -> set[str]:
    return {request.kind for request in emulator.requests}


def talk_to(stream: io.StringIO, *, terminal: bool = False, quiet: bool = False) -> Talk:
    talk = Talk(quiet=quiet)
    talk.console = Console(file=stream, force_terminal=terminal, width=80, highlight=False, markup=False, emoji=False)
    return talk


def entry(line: int = 1) -> Entry:
    return Entry(label=f"line {line}", line=line, request=TextToVideo(prompt="a"))


# --- commands ------------------------------------------------------------------------------------------------------


def test_demo_tells_what_it_took(tmp_path: Path) -> None:
    done = here("demo", "--jobs", "5", "--speed", "100", "--out", str(tmp_path / "clips"), key=None)
    assert done.code == 0, done.err
    clips = list((tmp_path / "clips").glob("*.mp4"))
    assert len(clips) == 5
    assert all(is_clip(clip) for clip in clips)
    assert any("image2video" in clip.name for clip in clips)
    assert "5 clips" in done.out
    assert "Warning" not in done.err
    assert max(len(line) for line in done.lines if str(tmp_path) not in line) < 80


def test_demo_requests_are_mixed_and_without_advice() -> None:
    """Three endpoints, several models, lengths and ratios, camera moves; whatever the seed, nothing doubtful."""
    host = find_host("official:http://127.0.0.1:1")
    for seed in range(20):
        entries = make_entries(50, seed, Path("picture.png"))
        requests = [entry.request for entry in entries]
        assert len({type(request) for request in requests}) == 3
        assert len({request.model_name for request in requests}) > 5
        assert sum(getattr(request, "camera_control", None) is not None for request in requests) >= 5
        assert [first_advice(request, host) for request in requests] == [None] * 50


def test_demo_that_is_interrupted(tmp_path: Path) -> None:
    """Nothing of it is left anywhere, and nothing was paid."""
    with signalled_when(lambda: (tmp_path / "picture.png").exists() and _has_task(seen)):
        seen: list[Emulator] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kling_async.cli.demo.Emulator", lambda **more: _seen(Emulator(**more), seen))
            done = here("demo", "--jobs", "3", "--out", str(tmp_path), key=None)
    assert done.code == 130
    assert "nothing was billed" in done.err
    assert "left at the service" not in done.err
    assert done.out == ""


def test_demo_tells_jobs_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kling_async.cli.demo.Emulator", lambda **more: Emulator(**(more | {"failure_rate": 1.0})))
    done = here("demo", "--jobs", "2", "--speed", "100", "--out", str(tmp_path), key=None)
    assert done.code == 1
    assert "2 jobs in" in done.err
    assert "2 failed" in done.err


def _seen(emulator: Emulator, seen: list[Emulator]) -> Emulator:
    seen.append(emulator)
    return emulator


def _has_task(seen: list[Emulator]) -> bool:
    return bool(seen) and len(seen[0].requests) > 3


def test_the_picture_is_a_png_that_the_service_takes() -> None:
    assert picture_size(dusk()) == (WIDTH, HEIGHT)


def test_emulator_serves_until_a_signal() -> None:
    stream = io.StringIO()
    emulator = Emulator(dialect="official")
    with signalled_when(lambda: "Ctrl-C" in stream.getvalue(), signal.SIGTERM):
        assert serve(talk_to(stream), emulator) is Exit.DONE
    assert "KLING_API_KEY=emulator-key KLING_BASE_URL=official:http://127.0.0.1:" in stream.getvalue()
    assert not emulator.is_started


@pytest.mark.parametrize(
    ("dialect", "url", "told"),
    [
        ("cometapi", "http://0.0.0.0:5", "http://127.0.0.1:5"),
        ("new-api", "http://[::]:5", "http://[::1]:5"),
        ("official", "http://127.0.0.1:5", "official:http://127.0.0.1:5"),
    ],
)
def test_the_address_for_a_client(dialect: str, url: str, told: str) -> None:
    emulator = Emulator(dialect=dialect)
    emulator._url = url
    assert client_url(emulator) == told
    assert find_host(told).url.port == 5


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = here("emulator", "--port", str(port))
    assert done.code == 2
    assert f"Port {port} of 127.0.0.1 is in use" in done.err


def test_a_place_where_nobody_can_listen() -> None:
    done = here("emulator", "--host", "203.0.113.1", "--port", "0")
    assert done.code == 2
    assert "Cannot listen on 203.0.113.1" in done.err
    why = serve_module._why(("127.0.0.1", 80), PermissionError(errno.EACCES, "denied"))
    assert why == "Port 80 needs more rights: choose one above 1023 with --port."


def test_a_dialect_that_does_not_exist() -> None:
    done = here("emulator", "--dialect", "klingon")
    assert done.code == 2
    assert "dialect must be one of" in done.err


def test_version_and_help() -> None:
    assert here("--version").out.startswith("kling_async 0.")
    for words in (["--help"], ["generate", "-h"], ["bulk", "-h"], ["demo", "-h"], ["emulator", "-h"]):
        done = here(*words)
        assert done.code == 0
        assert "Usage: kling" in done.out.replace("root", "kling")
    assert here("generate", "--nonsense").code == 2


def test_main_runs_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["kling", "--version"])
    with pytest.raises(SystemExit) as left:
        __main__.main()
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("kling_async")


def test_main_without_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "kling_async.cli.app")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as left:
        __main__.main()
    assert left.value.code == 2
    assert "pip install 'kling-async[cli]'" in capsys.readouterr().err


def test_ctrl_c_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def __getattr__(self, _name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "kling_async.cli.app", Interrupted())
    with pytest.raises(SystemExit) as left:
        __main__.main()
    assert left.value.code == 130


def test_main_hides_no_other_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "kling_async.cli.app")
    monkeypatch.setitem(sys.modules, "kling_async.cli.connect", None)
    with pytest.raises(ModuleNotFoundError):
        __main__.main()


# --- interruptions -------------------------------------------------------------------------------------------------


def test_an_interruption_of_bulk_tells_the_open_jobs(tmp_path: Path) -> None:
    source = tmp_path / "prompts.txt"
    source.write_text("one\ntwo\nthree\n")
    with box(slots=1, duration_s=600) as emulator:
        with signalled_when(lambda: "single" in kinds(emulator), signal.SIGTERM):
            done = here("bulk", str(source), "--out", str(tmp_path / "clips"), "--json", url=emulator.url)
        (task,) = emulator.tasks
    assert done.code == 130
    assert f"job {task.external_id}  task {task.task_id}  text2video" in done.err
    assert "2 jobs waiting in the journal" in done.err
    assert f"  kling bulk {source} --out {tmp_path / 'clips'}" in done.err
    assert done.out == ""
    (line,) = (tmp_path / "clips" / "manifest.jsonl").read_text().splitlines()
    assert (json.loads(line)["task_id"], json.loads(line)["paid"]) == (task.task_id, "yes")


def test_an_interruption_while_a_clip_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets a moment; then it is told as a clip that was paid for, and nothing half is left."""
    monkeypatch.setattr(crew_module, "_SAVING_GRACE_S", 0.2)
    faults = [Fault(action="hang", kind="asset")]
    with box(faults=faults) as emulator, signalled_when(lambda: "asset" in kinds(emulator)):
        done = here("generate", "a", "--out", str(tmp_path), url=emulator.url)
        (task,) = emulator.tasks
    assert done.code == 130
    assert f"task {task.task_id}  text2video  succeeded  paid" in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_while_a_submission_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows whether it was taken: it is told by its own id, with what to do."""
    monkeypatch.setattr("kling_async.cli.connect._GRACE_S", 0.2)
    faults = [Fault(action="hang", kind="create")]
    with box(faults=faults) as emulator, signalled_when(lambda: emulator.requests):
        done = here("generate", "a", "--json", url=emulator.url)
    assert done.code == 130
    assert "no task known  text2video  sending  perhaps paid" in done.err
    assert "look for the job's id" in done.err
    assert json.loads(done.out)["error"]["type"] == "SessionClosed"


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        (errno.ENOSPC, 1, "Cannot write the output: No space left on device"),
        (errno.EPIPE, 130, "To go on:"),
    ],
)
def test_output_that_cannot_be_written_ends_it(
    number: int, code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk under stdout is told, a reader that left is not; nothing more is sent."""
    source = tmp_path / "prompts.txt"
    source.write_text("one\ntwo\nthree\nfour\nfive\nsix\n")
    stream = io.StringIO()
    talk = talk_to(stream)

    def full(_line: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(talk, "data", full)
    monkeypatch.setenv("KLING_API_KEY", "emulator-key")
    with box() as emulator:
        connection = Connection(base_url=emulator.url)
        assert bulk(talk, connection, str(source), Wishes(out=tmp_path / "clips", max_running=1)) == code
        assert len(emulator.tasks) < 6
    assert told in stream.getvalue()
    assert "Broken" not in stream.getvalue()


def test_the_second_signal_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)

    async def action(interrupt: Interrupt) -> Exit:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0.05)
        return Exit.DONE

    run(action)
    assert left == [130]


def test_signals_where_the_loop_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: the ordinary handlers stand in, and are put back."""

    def refuse(*_args: object) -> None:
        raise NotImplementedError

    async def action(interrupt: Interrupt) -> Exit:
        signal.raise_signal(signal.SIGTERM)
        await interrupt.wait()
        return Exit.DONE

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", refuse)
    assert run(action) is Exit.DONE
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_gets_no_signals() -> None:
    codes: list[Exit] = []

    async def action(interrupt: Interrupt) -> Exit:
        return Exit.FAILED if interrupt.is_asked else Exit.DONE

    thread = threading.Thread(target=lambda: codes.append(run(action)))
    thread.start()
    thread.join(LIMIT_S)
    assert codes == [Exit.DONE]


def test_ctrl_c_before_the_loop_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kling_async.cli.bulk.Input", interrupted)
    assert here("bulk", "x", "--out", str(tmp_path)).code == 130


# --- counts and codes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], 0),
        ([TaskFailed("x")], 1),
        ([TaskFailed("x"), ConnectFailed("x")], 5),
        ([ConnectFailed("x"), AuthError("x")], 3),
        ([AccountError("x"), SubmissionUnknown("x")], 4),
        ([SchedulerCrashed("x")], 4),
        ([SchedulerCrashed("x").anew(task_id="1", paid="yes")], 1),
        ([DownloadError("x")], 1),
    ],
)
def test_the_worst_error_gives_the_code(errors: list[TaskFailed], code: int) -> None:
    tally = Tally(len(errors))
    for error in errors:
        tally.add(Done(entry=entry(), error=error))
    assert tally.exit_code() == code


def test_an_interruption_before_anything_was_sent() -> None:
    stream = io.StringIO()
    crew = cast(Crew, SimpleNamespace(tally=Tally(2, unsent=2), trouble=None, resume=None))
    assert end(talk_to(stream, quiet=True), crew, interrupted=True) is Exit.INTERRUPTED
    assert stream.getvalue() == "2 jobs not sent; nothing was paid for that.\n"


def test_usage_is_the_users() -> None:
    assert exit_of(InvalidRequest("prompt", None, "is required")) is Exit.USAGE


def test_a_crash_before_anything_was_sent_is_unsent() -> None:
    tally = Tally(1)
    tally.add(Done(entry=entry(), error=SchedulerCrashed("x").anew(paid="no")))
    assert (tally.unsent, tally.open, tally.bad) == (1, [], 0)


# --- display -------------------------------------------------------------------------------------------------------


def view(**more: float) -> View:
    figures = {"total": 10, "fine": 0, "bad": 0, "saving": 0, "running": 0, "sending": 0, "unsure": 0, "queries": 0}
    return View(**({**figures, "slots": (), "elapsed_s": 0.0} | more))  # type: ignore[arg-type]


def test_counts_and_figures() -> None:
    shown = view(fine=2, bad=1, saving=1, running=3, sending=1, unsure=1, queries=1, elapsed_s=60.0)
    assert shown.waiting == 1
    assert (
        shown.counts("saved") == "2 saved · 3 running · 1 waiting · 1 being saved · 1 being sent · 1 unsure · 1 failed"
    )
    assert shown.figures() == "1:00 · 2 per minute · 1 query made"
    slots = attrs.evolve(shown, slots=(("kling-v3", 1, 2), ("", 3, 3)))
    assert slots.figures().endswith("1 of 2 slots of kling-v3 · 3 of 3 slots · 1 query made")
    later = attrs.evolve(shown, before=2, rate=0.1, price=Decimal("1.5"))
    assert later.waiting == 0
    assert later.counts("saved").endswith("1 failed · 2 before")
    assert later.figures() == "1:00 · 6 per minute · 0:50 left · 1.50 USD · 1 query made"


def test_a_single_job_has_a_state() -> None:
    assert view(total=1).counts("done") == "waiting to be sent"
    assert view(total=1, running=1).counts("done") == "running"
    assert view(total=1, fine=1).counts("done") == "done"


def test_times_and_counts_in_words() -> None:
    assert clock(59.9) == "0:59"
    assert clock(3661) == "1:01:01"
    assert counted(1, "clip") == "1 clip"
    assert counted(2000, "query", "queries") == "2,000 queries"


class _Ascii(Console):
    @property
    def encoding(self) -> str:
        return "ascii"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_display_draws_states_also_without_unicode(encoding: str) -> None:
    stream = io.StringIO()
    talk = talk_to(stream, terminal=True)
    if encoding == "ascii":
        talk.console = _Ascii(file=stream, force_terminal=True, width=80)
    tally = Tally(4, fine=2, bad=1)
    session = KlingSession(api_key="k", base_url="http://127.0.0.1:1")
    progress = Progress(talk, session, tally, word="saved", recent=1)
    assert progress.view().total == 4
    progress.note("[red]ü\x1b[31m")
    talk.console.print(progress.picture())
    tally.total = 1
    talk.console.print(progress.picture())
    drawn = stream.getvalue()
    assert ("█" * 30 + "\x1b" in drawn) == (encoding == "utf-8")
    assert ("#" * 30 in drawn) == (encoding == "ascii")
    assert "3 of 4" in drawn
    assert "\\x1b[31m" in drawn
    assert drawn.isascii() == (encoding == "ascii")


def test_lines_in_a_pipe_come_only_with_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kling_async.cli.progress._LINE_EVERY_S", 0.01)
    stream = io.StringIO()
    session = KlingSession(api_key="k", base_url="http://127.0.0.1:1")
    tally = Tally(4)
    progress = Progress(talk_to(stream), session, tally, word="saved")

    async def show() -> None:
        async with progress.shown():
            await asyncio.sleep(0.1)
            tally.fine = 1
            await asyncio.sleep(0.1)

    asyncio.run(show())
    assert [line.partition(" · ")[0] for line in stream.getvalue().splitlines()] == ["0 saved", "1 saved"]


def test_a_live_display_leaves_the_terminal_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data for the same terminal go above it; leaving shows the cursor again, once."""
    stream = io.StringIO()
    talk = talk_to(stream, terminal=True)
    monkeypatch.setenv("TERM", "xterm")
    session = KlingSession(api_key="k", base_url="http://127.0.0.1:1")
    progress = Progress(talk, session, Tally(4), word="saved")

    class _Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    async def show() -> None:
        async with progress.shown():
            await asyncio.sleep(0.05)
            monkeypatch.setattr(sys, "stdout", _Terminal())
            talk.data("clips/one.mp4")
            progress.leave()
            await asyncio.sleep(0.2)

    asyncio.run(show())
    drawn = stream.getvalue()
    assert "clips/one.mp4" in drawn
    assert "Stopping" in drawn
    assert drawn.count("\x1b[?25h") == 1


# --- outputs -------------------------------------------------------------------------------------------------------


def test_warnings_are_said_once_each_and_not_without_end() -> None:
    stream = io.StringIO()
    talk = talk_to(stream)
    with talk.listening():
        for number in range(30):
            warnings.warn(f"doubt {number}", RequestWarning, stacklevel=1)
            warnings.warn(f"doubt {number}", RequestWarning, stacklevel=1)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Warning: doubt 0"
    assert len(lines) == 11
    assert lines[-1] == "Further warnings are not shown."


def test_other_warnings_are_not_for_users() -> None:
    stream = io.StringIO()
    with talk_to(stream).listening(), warnings.catch_warnings(action="always"):
        warnings.warn("internal", DeprecationWarning, stacklevel=1)
    assert stream.getvalue() == ""


def test_troubles_of_the_log_are_said_each_kind_once() -> None:
    stream = io.StringIO()
    log = logging.getLogger("kling_async.poller")
    with talk_to(stream).listening():
        for _ in range(3):
            log.info("asking again in %.1f s: %s", 1.0, ConnectFailed("cannot connect"))
            log.info("this host has no %s queries: %s", "list", BadEnvelope("a page", http_status=404))
            log.info("asking again in %.1f s: %s", 1.0, BadEnvelope("another page", http_status=502))
            log.warning("job %s: odd", "x")
            log.info("job %s accepted", "x")
            log.info("nothing to tell of %(a)s", {"a": 1})
    assert stream.getvalue().splitlines() == [
        "Cannot connect; trying again",
        "Another page; trying again",
        "Job x: odd",
    ]


def test_stdout_is_dropped_once_its_reader_has_left() -> None:
    """Also where stdout is a stand-in without a descriptor."""
    reader, writer = os.pipe()
    os.close(reader)
    before = sys.stdout
    with os.fdopen(writer, "w") as broken:
        sys.stdout = broken
        try:
            drop_stdout()
            broken.write("into nowhere")
            broken.flush()
            sys.stdout = io.StringIO()
            drop_stdout()
        finally:
            sys.stdout = before


def test_a_broken_pipe_of_a_short_command_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_more: object) -> Exit:
        raise BrokenPipeError

    monkeypatch.setattr("kling_async.cli.serve.serve", broken)
    done = here("emulator", "--port", "0")
    assert (done.code, done.err) == (0, "")


def test_a_failure_has_a_code() -> None:
    assert Fail("x").code is Exit.USAGE
