"""`kling status`, `adopt`, `recover` and `export`, and `--journal` of the commands that send."""

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import LIMIT_S, box, here, is_clip, kling, start

from kling_async import Status
from kling_async.cli.connect import Connection
from kling_async.emulator import Emulator, Fault
from kling_async.journal import Entry
from kling_async.journal_sqlite import SqliteJournal

NOW = 1_790_000_000.0
HOST = "https://api.example"


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.02)


def written(file: Path, *entries: Entry) -> str:
    """A journal with these entries, as a session that ended leaves it."""

    async def write() -> None:
        journal = SqliteJournal(file, wall=lambda: NOW, owner="gone")
        await journal.open()
        await asyncio.gather(*(journal.add(entry) for entry in entries))
        await journal.close()

    asyncio.run(write())
    return str(file)


def entry(job_id: str, state: Status = Status.QUEUED, **fields: Any) -> Entry:
    kept: dict[str, Any] = {"endpoint": "text2video", "host": HOST, "created_at": NOW, "request": {"prompt": "a"}}
    return Entry(job_id=job_id, state=state, **{**kept, **fields})


def exported(file: str, *options: str) -> list[dict[str, Any]]:
    done = here("export", "--journal", file, *options, key=None)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.lines]


def prompts(folder: Path, number: int) -> str:
    path = folder / "prompts.txt"
    path.write_text("".join(f"prompt {line}\n" for line in range(number)))
    return str(path)


# --- status --------------------------------------------------------------------------------------------------------


def test_status_counts_and_lists_what_is_open(tmp_path: Path) -> None:
    file = written(
        tmp_path / "my jobs.db",
        entry("one", Status.SUCCEEDED, task_id="t1", outcome={"raw": {}}),
        entry("two", Status.ACCEPTED, task_id="t2"),
        entry("three"),
        *(entry(f"bad-{index}", Status.FAILED) for index in range(1200)),
    )
    before = Path(file).read_bytes()
    done = here("status", "--journal", file, key=None)
    assert (done.code, done.lines[0]) == (0, f"{file}: 1,203 jobs, 2 open")
    assert "  failed          1,200" in done.lines
    assert "  queued              1  open" in done.lines
    assert re.search(r"^accepted +\S+ d +two +t2 +text2video +nobody$", done.out, re.MULTILINE)
    assert re.search(r"^queued +\S+ d +three +- +text2video +nobody$", done.out, re.MULTILINE)
    assert f"kling adopt --journal '{file}'" in done.err
    bad = here("status", "--journal", file, "--state", "FAILED", "--limit", "3", key=None)
    assert len(re.findall(r"^failed .* bad-\d ", bad.out, re.MULTILINE)) == 3
    assert bad.lines[-1] == "... and 1,197 more: --limit N"
    assert "kling adopt" not in bad.err
    assert Path(file).read_bytes() == before


def test_status_for_machines(tmp_path: Path) -> None:
    file = written(tmp_path / "j.db", entry("two", Status.ACCEPTED, task_id="t2"), entry("one", Status.VANISHED))
    told = json.loads(here("status", "--journal", file, "--json", key=None).out)
    assert (told["total"], told["open"], told["journal"]) == (2, 1, file)
    assert told["states"] == {**dict.fromkeys(map(str, Status), 0), "accepted": 1, "vanished": 1}
    (job,) = told["jobs"]
    assert job.pop("age_s") > 0
    assert job == {
        "job_id": "two",
        "state": "accepted",
        "endpoint": "text2video",
        "host": HOST,
        "task_id": "t2",
        "created_at": "2026-09-21T14:13:20.000Z",
        "held_by": None,
    }


@pytest.mark.parametrize("command", ["status", "export", "adopt"])
def test_a_missing_journal_is_not_made(command: str, tmp_path: Path) -> None:
    done = here(command, "--journal", str(tmp_path / "none.db"))
    assert done.code == 2
    assert "There is no journal at" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["status", "export", "adopt", "recover"])
def test_a_damaged_journal_is_told_and_left_alone(command: str, tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    file.write_bytes(b"no journal at all" * 100)
    done = here(command, "--journal", str(file), url="http://127.0.0.1:1")
    assert done.code == 1
    assert "damaged" in done.err
    assert file.read_bytes() == b"no journal at all" * 100


def test_an_empty_journal_has_nothing_to_tell(tmp_path: Path) -> None:
    file = written(tmp_path / "j.db")
    assert here("status", "--journal", file, key=None).lines == [f"{file}: 0 jobs, 0 open"]
    assert exported(file) == []
    done = here("adopt", "--journal", file, url="http://127.0.0.1:1")
    assert (done.code, done.out) == (0, "")
    assert "Nothing to follow" in done.err


def test_a_state_that_is_none(tmp_path: Path) -> None:
    done = here("status", "--journal", written(tmp_path / "j.db"), "--state", "lost", key=None)
    assert done.code == 2
    assert "--state lost: it must be one of queued, sending," in done.err


# --- export --------------------------------------------------------------------------------------------------------


def test_export_tells_everything_but_callbacks(tmp_path: Path) -> None:
    secret = "https://me.example/hook?token=secret"
    request = {
        "prompt": "é",
        "callback_url": secret,
        "extra": {"callback_url": secret},
        "list": [{"callback_url": secret}],
    }
    file = written(
        tmp_path / "j.db",
        entry("one", Status.ACCEPTED, task_id="t", request=request, callback_url=secret, metadata={"line": 3}),
        entry("two", Status.SUCCEEDED, outcome={"raw": {"callback_url": secret, "id": "t"}}),
    )
    one, two = exported(file)
    assert list(one) == [
        *("job_id", "endpoint", "host", "state", "task_id", "attempt", "created_at", "sent_at", "updated_at"),
        *("timeout_s", "request", "fingerprint", "metadata", "outcome"),
    ]
    assert one["request"] == {"prompt": "é", "extra": {}, "list": [{}]}
    assert (one["metadata"], one["sent_at"]) == ({"line": 3}, None)
    assert two["outcome"] == {"raw": {"id": "t"}}
    one, two = exported(file, "--with-callbacks")
    assert (one["callback_url"], one["request"]) == (secret, request)
    assert [line["job_id"] for line in exported(file, "--state", "succeeded")] == ["two"]


def test_export_into_a_file_is_whole_and_private(tmp_path: Path) -> None:
    file = written(tmp_path / "j.db", *(entry(f"job-{index}") for index in range(1500)))
    out = tmp_path / "jobs.jsonl"
    out.write_text("old")
    done = here("export", "--journal", file, "--out", str(out), key=None)
    assert (done.code, done.out) == (0, "")
    assert "1,500 jobs written" in done.err
    lines = out.read_text().splitlines()
    assert [json.loads(line)["job_id"] for line in lines] == [f"job-{index}" for index in range(1500)]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    for wrong, told in ((file, "the journal itself"), (str(tmp_path), "not a file"), ("/proc/none/x", "cannot be wr")):
        done = here("export", "--journal", file, "--out", wrong, key=None)
        assert (done.code, told in done.err) == (2, True)
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.name[0] == ".") == []


def test_export_to_a_reader_that_leaves(tmp_path: Path) -> None:
    file = written(tmp_path / "j.db", *(entry(f"job-{index}") for index in range(3000)))
    process = start("export", "--journal", file)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["job_id"] == "job-0"
    process.stdout.close()
    assert (process.wait(LIMIT_S), process.stderr.read()) == (0, "")
    process.stderr.close()


# --- signals, and going on -----------------------------------------------------------------------------------------


def interrupted(process: "subprocess.Popen[str]", number: signal.Signals, *, times: int = 1) -> str:
    """Send the signal, and give what is told; it is over within the grace of submissions in flight."""
    process.send_signal(number)
    if times == 2:
        assert process.stderr is not None
        while "what runs is waited for" not in process.stderr.readline():
            pass
        process.send_signal(number)
    asked = time.monotonic()
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert time.monotonic() - asked < 8
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    return stderr


def next_words(stderr: str) -> list[str]:
    """The command that goes on, as told."""
    (line,) = [line for line in stderr.splitlines() if line.startswith("  kling ")]
    return line.split()[1:]


def test_one_ctrl_c_waits_for_what_runs(tmp_path: Path) -> None:
    """Nothing more is sent, what runs is saved, and the rest waits in the journal for the same command."""
    out = tmp_path / "clips"
    with box(dialect="official", slots=2, duration_s=1.5) as emulator:
        words = ("bulk", prompts(tmp_path, 5), "--out", str(out))
        process = start(*words, url=f"official:{emulator.url}")
        wait_for(lambda: len(emulator.tasks) == 2, "two tasks")
        stderr = interrupted(process, signal.SIGINT)
        assert "what runs is waited for" in stderr
        assert f"2 saved in {out}, 3 waiting in the journal" in stderr
        assert (len(list(out.glob("*.mp4"))), len(emulator.tasks)) == (2, 2)
        assert next_words(stderr) == list(words)
        emulator.duration_s = 0.1
        done = here(*words, url=f"official:{emulator.url}")
        assert (done.code, len(done.lines), len(emulator.tasks)) == (0, 3, 5), done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_bulk_goes_on_after_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    """Nothing is lost or made twice: the command told follows what runs, and sends what waited."""
    file, out = str(tmp_path / "j.db"), tmp_path / "clips"
    with box(dialect="official", slots=3, duration_s=600) as emulator:
        url = f"official:{emulator.url}"
        process = start("bulk", prompts(tmp_path, 8), "--out", str(out), "--journal", file, url=url)
        wait_for(lambda: "list" in {request.kind for request in emulator.requests}, "a first query")
        told = json.loads(here("status", "--journal", file, "--json", key=None).out)
        assert {job["held_by"] for job in told["jobs"]} == {f"process {process.pid} on {os.uname().nodename}"}
        busy = here("adopt", "--journal", file, url=url)
        assert (busy.code, f"8 jobs held by process {process.pid} on" in busy.err) == (0, True)
        stderr = interrupted(process, number, times=2 if number == signal.SIGINT else 1)
        assert "3 jobs left at the service" in stderr
        assert "5 jobs waiting in the journal" in stderr
        for task in emulator.tasks:
            assert f"job {task.external_id}  task {task.task_id}  text2video" in stderr
        told = json.loads(here("status", "--journal", file, "--json", key=None).out)
        assert (told["open"], {job["held_by"] for job in told["jobs"]}) == (8, {None})
        assert len(emulator.tasks) == 3
        emulator.duration_s = 0.2
        emulator.slots = None
        words = next_words(stderr)
        assert words == ["bulk", "--journal", file, str(tmp_path / "prompts.txt"), "--out", str(out)]
        process = start(*words, url=url)
        wait_for(lambda: len(emulator.tasks) == 8, "the waiting ones are sent")
        wait_for(lambda: len(list(out.glob("*.mp4"))) == 5, "they are saved")
        stderr = interrupted(process, signal.SIGTERM)
        assert "5 saved" in stderr
        assert "3 jobs left at the service" in stderr
        assert next_words(stderr) == words
        names = sorted(path.name[:6] for path in out.glob("*.mp4"))
        assert len(set(names)) == 5
        assert set(names) <= {f"{line:05d}-" for line in range(1, 9)}
        assert len({task.external_id for task in emulator.tasks}) == len(emulator.tasks) == 8


def test_generate_goes_on_after_a_signal_in_the_middle_of_a_create(tmp_path: Path) -> None:
    """The POST gets its grace; what it may have made is looked up by the command that is told, and not made again."""
    file, out = str(tmp_path / "j.db"), tmp_path / "clips"
    hang = Fault(action="hang", kind="create", stage="after", times=1)
    with box(dialect="official", faults=[hang]) as emulator:
        url = f"official:{emulator.url}"
        process = start("generate", "a beach", "--journal", file, "--out", str(out), url=url)
        wait_for(lambda: emulator.requests, "the create arrived")
        stderr = interrupted(process, signal.SIGINT)
        assert "1 job left at the service" in stderr
        assert "perhaps paid" in stderr
        done = kling(*next_words(stderr), url=url)
        assert done.returncode == 0, done.stderr
        assert len(emulator.tasks) == 1
        (clip,) = out.iterdir()
        assert done.stdout == f"{clip}\n"
        assert is_clip(clip)


def test_a_killed_bulk_goes_on(tmp_path: Path) -> None:
    file, out = str(tmp_path / "j.db"), tmp_path / "clips"
    with box(dialect="official", slots=2, duration_s=2.0) as emulator:
        url = f"official:{emulator.url}"
        process = start("bulk", prompts(tmp_path, 5), "--out", str(out), "--journal", file, url=url)
        # Both slots are taken, so nothing is on its way: what was would be looked up for a minute.
        wait_for(lambda: len(emulator.tasks) == 2, "two tasks")
        wait_for(lambda: sum(entry["state"] == "accepted" for entry in exported(file)) == 2, "their records")
        process.kill()
        process.communicate(timeout=LIMIT_S)
        done = here("adopt", "--journal", file, "--out", str(out), "--json", url=url)
        assert done.code == 0, done.err
        assert len({task.external_id for task in emulator.tasks}) == len(emulator.tasks)
        again = here("adopt", "--journal", file, "--out", str(out), "--missing", url=url)
        assert again.code == 0, again.err
    assert {entry["state"] for entry in exported(file)} == {"succeeded"}
    assert len(list(out.glob("*.mp4"))) == len(emulator.tasks) == len(exported(file))


def test_what_is_done_and_not_saved_is_saved_again(tmp_path: Path) -> None:
    """--missing saves what has no file in the folder, under the same name, and only that."""
    file, out = str(tmp_path / "j.db"), tmp_path / "clips"
    lines = [
        {"prompt": "one", "job_id": "first"},
        {"prompt": "two"},
        {"endpoint": "generations", "prompt": "three", "n": 2},
        {"prompt": "no [fail]"},
    ]
    source = tmp_path / "jobs.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)))
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"
        done = here("bulk", str(source), "--out", str(out), "--journal", file, url=url)
        assert done.code == 1, done.err
        names = sorted(path.name for path in out.iterdir() if path.suffix in {".mp4", ".png"})
        assert len(names) == 4
        for path in (out / names[0], next(out.glob("first*"))):
            path.unlink()
        asked = sum(request.kind == "asset" for request in emulator.requests)
        again = here("adopt", "--journal", file, "--out", str(out), "--missing", "--json", url=url)
        assert again.code == 0, again.err
        assert {path.name for path in out.iterdir()} >= set(names)
        assert sum(request.kind == "asset" for request in emulator.requests) - asked in {2, 3}
        told = [json.loads(line) for line in again.lines]
        assert {line["status"] for line in told} == {"succeeded"}
        assert {line["task_id"] for line in told} <= {task.task_id for task in emulator.tasks}
        emulator.faults = [Fault(action="status", status=500, kind="asset")]
        (out / names[1]).unlink()
        failing = here("adopt", "--journal", file, "--out", str(out), "--missing", url=url)
        assert failing.code == 1
        assert f"  kling adopt --journal {file} --out {out}" in failing.err
    assert here("adopt", "--journal", file, "--missing", url=url).code == 2


def test_a_wrong_key_takes_nothing_over(tmp_path: Path) -> None:
    file = str(tmp_path / "j.db")
    with box(dialect="official", slots=1, duration_s=600) as emulator:
        url = f"official:{emulator.url}"
        process = start("bulk", prompts(tmp_path, 3), "--out", str(tmp_path / "c"), "--journal", file, url=url)
        wait_for(lambda: emulator.tasks, "a task")
        wait_for(lambda: [e for e in exported(file) if e["state"] == "accepted"], "it is recorded")
        interrupted(process, signal.SIGTERM)
        before = [(e["job_id"], e["state"]) for e in exported(file)]
        done = here("adopt", "--journal", file, url=url, key="wrong")
        assert (done.code, "authentication failed" in done.err) == (3, True)
        assert [(e["job_id"], e["state"]) for e in exported(file)] == before
        assert sorted(state for _, state in before) == ["accepted", "queued", "queued"]


def test_a_key_that_is_refused_in_the_middle_leaves_the_rest_in_the_journal(tmp_path: Path) -> None:
    """It is told, and nobody is given up: all wait in the journal for a better key."""
    file, out = str(tmp_path / "j.db"), str(tmp_path / "c")
    refused = Fault(action="status", status=401, code=1000, kind="create", nth=tuple(range(2, 30)))
    with box(dialect="official", duration_s=1.0, faults=[refused]) as emulator:
        url = f"official:{emulator.url}"
        words = ("bulk", prompts(tmp_path, 20), "--out", out, "--journal", file, "--max-running", "1")
        done = here(*words, url=url)
        assert done.code == 3, done.err
        states = [e["state"] for e in exported(file)]
        refusals, waiting = states.count("rejected"), states.count("queued")
        assert (states.count("succeeded"), waiting) == (1, len(states) - 1 - refusals)
        assert refusals == 0
        assert waiting > 1
        assert "Nothing more is sent: " in done.err
        assert f"{waiting} jobs waiting in the journal" in done.err
        assert len(states) == 20 or f"{20 - len(states)} jobs not begun" in done.err
        assert f"  kling bulk --journal {file} {tmp_path / 'prompts.txt'} --out {out}" in done.err
        emulator.faults = []
        emulator.duration_s = 0.1
        rest = here("adopt", "--journal", file, "--out", out, url=url)
        assert rest.code == 0, rest.err
        assert len(emulator.tasks) == waiting + 1


def test_jobs_of_another_host_are_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path / "j.db", entry("one"), entry("two", Status.UNSURE, attempt=1))
    done = here("adopt", "--journal", file, url="http://127.0.0.1:1")
    assert done.code == 0
    assert f"2 open jobs of another host, {HOST}" in done.err
    assert {e["state"] for e in exported(file)} == {"queued", "unsure"}


def test_the_command_that_goes_on_names_host_and_key_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_BASE_URL", "china")
    given = Connection(base_url="https://a.example", api_key_file=Path("my key"), journal=Path("j.db"))
    told = "kling adopt --journal j.db --out c --base-url https://a.example --api-key-file 'my key'"
    assert given.again("adopt", "--out", "c") == told
    assert Connection(base_url="china", journal=Path("j.db")).again("adopt") == "kling adopt --journal j.db"


def test_a_long_list_of_what_runs_is_cut(tmp_path: Path) -> None:
    file = str(tmp_path / "j.db")
    with box(dialect="official", duration_s=600) as emulator:
        process = start(
            *("bulk", prompts(tmp_path, 22), "--out", str(tmp_path / "c"), "--journal", file),
            url=f"official:{emulator.url}",
        )
        wait_for(lambda: len(emulator.tasks) == 22, "all are sent")
        wait_for(lambda: sum(e["state"] == "accepted" for e in exported(file)) == 22, "all are recorded")
        stderr = interrupted(process, signal.SIGTERM)
    assert "22 jobs left at the service" in stderr
    assert stderr.count("  job ka-") == 20
    assert "  ... and 2 more; kling status tells all" in stderr


# --- recover -------------------------------------------------------------------------------------------------------


def made(emulator: Emulator, folder: Path, number: int) -> dict[str, str]:
    """Make clips under a journal that is lost; give their tasks."""
    lost = folder / "lost.db"
    words = ("bulk", prompts(folder, number), "--out", str(folder / "c"), "--journal", str(lost))
    done = here(*words, url=f"official:{emulator.url}")
    assert done.code == 0, done.err
    lost.unlink()
    return {task.external_id: task.task_id for task in emulator.tasks}


def test_recover_makes_a_journal_that_export_and_adopt_know(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"
        tasks = made(emulator, tmp_path, 3)
        planned = here("recover", "--journal", str(file), "--dry-run", "--json", url=url)
        assert planned.code == 0, planned.err
        assert {line["job_id"]: line["task_id"] for line in map(json.loads, planned.lines)} == tasks
        assert not file.exists()
        done = here("recover", "--journal", str(file), "--days", "1", url=url)
        assert done.code == 0, done.err
        assert sorted(done.lines) == sorted(f"added\t{j}\t{t}\ttext2video\tsucceeded" for j, t in tasks.items())
        assert "3 tasks seen in 23 lists of" in done.err
        assert f"kling adopt --journal {file}" in done.err
        again = here("recover", "--journal", str(file), url=url)
        assert (again.code, again.out) == (0, "")
        assert "0 jobs added, 0 given a task, 3 known" in again.err
        assert {e["job_id"]: e["task_id"] for e in exported(str(file))} == tasks
        saved = here("adopt", "--journal", str(file), "--out", str(tmp_path / "d"), "--missing", url=url)
        assert (saved.code, len(saved.lines)) == (0, 3), saved.err
        assert len(emulator.tasks) == 3


def test_recover_takes_names_on_request(tmp_path: Path) -> None:
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"
        for name in ("order-1", "other-1"):
            source = tmp_path / f"{name}.jsonl"
            source.write_text(json.dumps({"prompt": "a", "job_id": name}))
            assert here("bulk", str(source), "--out", str(tmp_path / name), url=url).code == 0
        for options, names in (((), []), (("--prefix", "order-"), ["order-1"]), (("--all",), ["order-1", "other-1"])):
            done = here("recover", "--journal", str(tmp_path / "n.db"), "--dry-run", *options, url=url)
            assert sorted(line.split("\t")[1] for line in done.lines) == names


def test_recover_moves_a_damaged_journal_aside_only_when_told(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    file.write_bytes(b"damaged" * 200)
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"
        made(emulator, tmp_path, 1)
        for options in ((), ("--move-aside", "--dry-run")):
            done = here("recover", "--journal", str(file), *options, url=url)
            assert done.code == 1
            assert "--move-aside" in done.err
            assert file.read_bytes() == b"damaged" * 200
        done = here("recover", "--journal", str(file), "--move-aside", url=url)
        assert done.code == 0, done.err
        (aside,) = tmp_path.glob("j.db.damaged-*")
        assert str(aside) in done.err
        assert aside.read_bytes() == b"damaged" * 200
        assert len(exported(str(file))) == 1


def test_recover_tells_what_it_cannot(tmp_path: Path) -> None:
    """A host without lists, a key that is refused, a host that is not there, lists that are all refused."""
    file = str(tmp_path / "j.db")
    assert here("recover", "--journal", file, url="new-api:http://127.0.0.1:1").code == 2
    with box(dialect="official") as emulator:
        assert here("recover", "--journal", file, url=f"official:{emulator.url}", key="wrong").code == 3
    with box(dialect="cometapi") as emulator:
        done = here("recover", "--journal", file, url=emulator.url)
    assert done.code == 1
    assert "No list could be read" in done.err
    assert "The host has no list of text2video, image2video" in done.err


def test_recover_tells_what_was_made_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "one.jsonl"
    source.write_text(json.dumps({"prompt": "a", "job_id": "ka-1"}))
    with box(dialect="official", unique_external_ids=False) as emulator:
        url = f"official:{emulator.url}"
        for number in range(4):
            assert here("bulk", str(source), "--out", str(tmp_path / str(number)), url=url).code == 0
        monkeypatch.setattr("kling_async.cli.recover._MOST_TOLD", 2)
        done = here("recover", "--journal", str(tmp_path / "j.db"), url=url)
    assert done.err.count("it was made twice") == 2
    assert "... and 1 more; --json tells all" in done.err


def test_recover_is_broken_off_and_done_again(tmp_path: Path) -> None:
    file = str(tmp_path / "j.db")
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"
        made(emulator, tmp_path, 2)
        emulator.faults = [Fault(action="hang", kind="list", path="*/image2video")]
        process = start("recover", "--journal", file, url=url)
        wait_for(lambda: any("image2video" in request.path for request in emulator.requests), "it hangs")
        stderr = interrupted(process, signal.SIGINT)
        assert "the same command goes on" in stderr
        emulator.faults = []
        assert here("recover", "--journal", file, url=url).code == 0
        assert len(exported(file)) == 2


def test_a_list_that_breaks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kling_async.recovery._TRIES", 1)
    with box(dialect="official") as emulator:
        emulator.faults = [Fault(action="status", status=500, kind="list", path="*/text2video")]
        done = here("recover", "--journal", str(tmp_path / "j.db"), url=f"official:{emulator.url}")
    assert done.code == 1
    assert "The list of text2video was not read to its end" in done.err
    assert "Run it again." in done.err


def test_no_key_can_be_given_on_the_command_line() -> None:
    """It would be visible to everybody in the list of processes."""
    for command in ("generate", "bulk", "adopt", "recover", "status", "export"):
        help_text = here(command, "--help").out
        options = set(re.findall(r"--[a-z-]+", help_text))
        assert not {"--api-key", "--access-key", "--secret-key", "--key", "--token"} & options
