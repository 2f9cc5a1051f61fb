"""`kling download`, and what it shares with `kling adopt --missing`."""

import asyncio
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from cli_tools import LIMIT_S, Outcome, box, here, is_clip, start
from test_inside import kinds, signalled_when
from test_journal_commands import entry, exported, wait_for, written

from kling_async import Asset, DownloadError, Result, Status
from kling_async.cli import crew as crew_module
from kling_async.cli import missing as missing_module
from kling_async.cli.connect import Connection
from kling_async.cli.download import Order, _FromJournal
from kling_async.cli.exits import Exit
from kling_async.cli.interrupt import Interrupt
from kling_async.cli.naming import files_of
from kling_async.cli.talk import Talk
from kling_async.emulator import Emulator, Fault

LINES = [
    {"prompt": "one", "name": "lake"},
    {"prompt": "two"},
    {"endpoint": "generations", "prompt": "three", "n": 2},
    {"prompt": "no [fail]", "name": "bad"},
]


@attrs.frozen
class Made:
    """An emulator with some tasks that have ended, the journal of their jobs, and the folder with their files."""

    emulator: Emulator
    journal: Path
    folder: Path

    @property
    def url(self) -> str:
        return f"official:{self.emulator.url}"

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir() if path.suffix in {".mp4", ".png"}}

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The journal's entries by the prompts of their jobs."""
        return {job["request"]["prompt"]: job for job in exported(str(self.journal))}

    def download(self, *words: str, key: str = "emulator-key") -> Outcome:
        return here("download", *words, url=self.url, key=key)

    def rewritten(self, file: Path, **jobs: dict[str, Any]) -> str:
        """A journal with jobs of these ids; each has a "prompt" of ours, whose outcome it has, and what it names."""
        known, entries = self.jobs, []
        for job_id, fields in jobs.items():
            like = known[fields.pop("like")]
            had = {name: like[name] for name in ("host", "endpoint", "task_id", "outcome", "request")}
            entries.append(entry(job_id.replace("_", "-"), Status.SUCCEEDED, **{**had, **fields}))
        return written(file, *entries)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    source = folder / "jobs.jsonl"
    source.write_text("\n".join(map(json.dumps, LINES)))
    with box(dialect="official") as emulator:
        made = Made(emulator, folder / "jobs.db", folder / "clips")
        done = here("bulk", str(source), "--out", str(made.folder), "--journal", str(made.journal), url=made.url)
        assert done.code == 1, done.err
        yield made


@pytest.fixture
def made(once: Made) -> Iterator[Made]:
    """Whatever a test does, it makes no task."""
    before = len(once.emulator.tasks)
    once.emulator.requests.clear()
    yield once
    once.emulator.faults = []
    assert len(once.emulator.tasks) == before
    assert "create" not in kinds(once.emulator)


def files_in(folder: Path) -> set[str]:
    """All names in a folder, also of hidden files."""
    return {path.name for path in folder.iterdir()}


# --- a whole journal -------------------------------------------------------------------------------------------------


def test_all_of_a_journal_is_saved_under_the_names_it_had(made: Made, tmp_path: Path) -> None:
    out, before = tmp_path / "clips", made.journal.read_bytes()
    done = made.download("--journal", str(made.journal), "--out", str(out))
    assert done.code == 0, done.err
    assert files_in(out) == made.names
    assert sorted(done.lines) == sorted(str(out / name) for name in made.names)
    assert f"3 jobs in 0:00: 3 saved in {out}" in done.err
    assert made.journal.read_bytes() == before
    assert "lake.mp4" in files_in(out)
    for name in made.names:
        assert (out / name).read_bytes() == (made.folder / name).read_bytes()


def test_what_is_there_is_kept_and_nobody_is_asked(made: Made, tmp_path: Path) -> None:
    """Only what is missing is fetched; an empty file of the name, or a folder, is not it."""
    out = tmp_path / "clips"
    shutil.copytree(made.folder, out)
    words = ("--journal", str(made.journal), "--out", str(out))
    done = made.download(*words)
    assert (done.code, done.out, kinds(made.emulator)) == (0, "", set())
    assert f"3 jobs in 0:00: 3 already in {out}" in done.err
    (out / "lake.mp4").write_bytes(b"")
    (out / "lake.png").mkdir()
    (picture,) = out.glob("*-2.png")
    picture.unlink()
    done = made.download(*words)
    assert (done.code, is_clip(out / "lake.mp4"), picture.exists()) == (0, True, True)
    assert "2 saved in" in done.err
    assert "1 already there" in done.err
    assert len(done.lines) == 3
    assert {request.kind for request in made.emulator.requests} == {"asset"}


def test_for_machines_there_is_one_line_for_each_job(made: Made, tmp_path: Path) -> None:
    words = ("--journal", str(made.journal), "--out", str(tmp_path / "c"), "--json")
    jobs = {job["job_id"]: job for job in made.jobs.values()}
    for is_there in (False, True):
        done = made.download(*words)
        told = [json.loads(line) for line in done.lines]
        assert (done.code, len(told)) == (0, 3)
        for line in told:
            assert line["task_id"] == jobs[line["job_id"]]["task_id"]
            assert (line["status"], line["paid"], line["error"]) == ("succeeded", "yes", None)
            assert line["already_there"] == is_there
            assert line["files"] == [file["path"] for file in line["saved"]]
            for file in line["saved"]:
                assert file["bytes"] == Path(file["path"]).stat().st_size
                assert (file["sha256"] is None) == is_there
        assert {file["kind"] for line in told for file in line["saved"]} == {"video", "image"}


def test_an_expired_url_is_asked_for_anew(made: Made, tmp_path: Path) -> None:
    made.emulator.faults = [Fault(action="html", kind="asset", status=403, times=1)]
    lake = made.jobs["one"]["job_id"]
    done = made.download("--journal", str(made.journal), "--out", str(tmp_path), lake)
    assert (done.code, done.out) == (0, f"{tmp_path / 'lake.mp4'}\n"), done.err
    assert [request.kind for request in made.emulator.requests] == ["asset", "single", "asset"]


def test_a_wrong_key_is_told_where_a_url_has_expired(made: Made, tmp_path: Path) -> None:
    """It is no fault of the files, and every other one would meet the same."""
    made.emulator.faults = [Fault(action="html", kind="asset", status=403)]
    done = made.download("--journal", str(made.journal), "--out", str(tmp_path), key="wrong")
    assert done.code == 3
    assert "its URL does not work any more (HTTP 403), and there is no fresh one: authentication failed" in done.err
    assert f"  kling download --out {tmp_path}" not in done.err
    assert f"  kling download --journal {made.journal} --out {tmp_path}" in done.err
    assert files_in(tmp_path) == set()


def test_a_file_that_cannot_be_had_does_not_keep_the_others(made: Made, tmp_path: Path) -> None:
    made.emulator.faults = [Fault(action="status", kind="asset", status=404, path="*.png")]
    done = made.download("--journal", str(made.journal), "--out", str(tmp_path), "--json")
    assert done.code == 1
    assert "2 saved in" in done.err
    told = {line["endpoint"]: line for line in map(json.loads, done.lines)}
    failed = told["generations"]
    assert (failed["status"], failed["paid"], failed["retryable"], failed["files"]) == ("succeeded", "yes", True, [])
    assert failed["error"]["type"] == "DownloadError"
    done = made.download("--journal", str(made.journal), "--out", str(tmp_path))
    assert f"2 already in {tmp_path}, 1 not saved" in done.err
    assert f"  job {failed['job_id']}: image at 127.0.0.1: its URL does not work any more (HTTP 404)" in done.err


def test_nothing_to_do_is_told(made: Made, tmp_path: Path) -> None:
    """Jobs of other hosts and open ones are named, with the way to get at them; no folder is made."""
    file = written(tmp_path / "j.db", entry("one", Status.SUCCEEDED, task_id="t"), entry("two"))
    done = made.download("--journal", file, "--out", str(tmp_path / "c"))
    assert (done.code, done.out) == (0, "")
    assert f"Nothing to download: no job of {file} has succeeded at {made.emulator.url}" in done.err
    assert "1 job done at another host, https://api.example (--base-url)" in done.err
    assert f"  kling adopt --journal {file} --out {tmp_path / 'c'}" in done.err
    assert not (tmp_path / "c").exists()
    assert kinds(made.emulator) == set()


def test_a_result_that_cannot_be_read_is_no_secret(made: Made, tmp_path: Path) -> None:
    host = made.emulator.url
    file = written(tmp_path / "j.db", entry("one", Status.SUCCEEDED, host=host, task_id="t", outcome={"raw": {}}))
    done = made.download("--journal", file, "--out", str(tmp_path / "c"))
    assert done.code == 1
    assert "job one: its result cannot be read from the journal" in done.err


def test_a_long_journal_is_told_to_be_read(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_module, "_MANY", 4)
    done = made.download("--journal", str(made.journal), "--out", str(tmp_path))
    assert "Reading the journal: 4 jobs" in done.err


# --- some of a journal -----------------------------------------------------------------------------------------------


def test_jobs_are_named_by_their_ids_or_by_those_of_their_tasks(made: Made, tmp_path: Path) -> None:
    """Named ones are told on stdout also where they are there already: a script wants to know where."""
    one, two = made.jobs["one"]["job_id"], made.jobs["two"]["task_id"]
    twice = (one, one, made.jobs["one"]["task_id"])
    words = ("--journal", str(made.journal), "--out", str(tmp_path), two, *twice)
    for told in ("2 saved in", "2 already in"):
        done = made.download(*words)
        assert (done.code, sorted(done.lines)) == (0, sorted(map(str, tmp_path.iterdir()))), done.err
        assert f"2 jobs in 0:00: {told}" in done.err
    assert files_in(tmp_path) == {"lake.mp4", f"00002-{two}.mp4"}


def test_what_cannot_be_had_is_told_before_anybody_is_asked(made: Made, tmp_path: Path) -> None:
    """Each with its reason; nothing goes to the host, and no folder is made."""
    host = made.emulator.url
    failed = {"error": {"type": "TaskFailed", "message": "the task failed: fog", "paid": "no"}}
    file = written(
        tmp_path / "j.db",
        entry("bad", Status.FAILED, host=host, task_id="t1", outcome=failed),
        entry("runs", Status.ACCEPTED, host=host, task_id="t2"),
        entry("waits", host=host),
        entry("elsewhere", Status.SUCCEEDED, task_id="t4"),
        entry("odd", Status.VANISHED, host=host, endpoint="of-tomorrow", task_id="t5"),
    )
    words = ("--journal", file, "--out", str(tmp_path / "c"))
    done = made.download(*words, "bad", "t2", "waits", "elsewhere", "odd", "nope")
    assert (done.code, done.out) == (1, "")
    assert "6 jobs in 0:00: 0 saved, 6 not saved" in done.err
    for words_of in (
        "  job bad: it has no files: ",
        f"  job runs: it is accepted and has no files yet; to go on with it: kling adopt --journal {file}",
        "  job waits: it is queued and has no files yet",
        f"  job elsewhere: it was sent to https://api.example, and not to {host}: give --base-url",
        "  job odd: it has no files: it is vanished",
        f"  nope: {file} has no job and no task of that id",
    ):
        assert words_of in done.err
    assert kinds(made.emulator) == set()
    assert not (tmp_path / "c").exists()
    done = made.download(*words, "nope", "--json")
    told = json.loads(done.out)
    assert (done.code, told["job_id"], told["status"], told["endpoint"]) == (2, "nope", "unknown", None)
    states = [json.loads(line)["status"] for line in made.download(*words, "runs", "bad", "--json").lines]
    assert sorted(states) == ["accepted", "failed"]


def test_the_good_ones_are_saved_beside_the_bad(made: Made, tmp_path: Path) -> None:
    jobs = made.jobs
    ids = [jobs["no [fail]"]["job_id"], "nope", jobs["one"]["job_id"]]
    done = made.download("--journal", str(made.journal), "--out", str(tmp_path), *ids)
    assert (done.code, done.lines) == (1, [str(tmp_path / "lake.mp4")])
    assert "it has no files: the task failed: Failure to pass the risk control system" in done.err
    assert "1 saved in" in done.err


# --- names -----------------------------------------------------------------------------------------------------------


def test_jobs_of_one_name_do_not_lie_over_each_other(made: Made, tmp_path: Path) -> None:
    """Two runs of bulk on one journal may both have a "lake"; some systems tell it from no "Lake"."""
    out = tmp_path / "c"
    file = made.rewritten(
        tmp_path / "j.db",
        ka_1={"like": "one", "metadata": {"name": "lake"}},
        ka_2={"like": "two", "metadata": {"name": "Lake"}},
        shot={"like": "three"},
        shot_1={"like": "one"},
        alone={"like": "two"},
    )
    one, two, three = (made.jobs[prompt]["task_id"] for prompt in ("one", "two", "three"))
    names = {f"lake-{one}.mp4", f"Lake-{two}.mp4", f"shot-{three}-1.png", f"shot-{three}-2.png", "shot-1.mp4"}
    done = made.download("--journal", file, "--out", str(out), "ka-2")
    assert (done.code, files_in(out)) == (0, {f"Lake-{two}.mp4"}), done.err
    done = made.download("--journal", file, "--out", str(out))
    assert (done.code, files_in(out)) == (0, {*names, "alone.mp4"}), done.err
    assert "4 saved" in done.err
    assert "5 already in" in made.download("--journal", file, "--out", str(out)).err
    adopted = here("adopt", "--journal", file, "--out", str(out), "--missing", url=made.url)
    assert (adopted.code, adopted.out) == (0, ""), adopted.err
    assert "5 done before" in adopted.err


def test_a_name_that_leads_out_of_the_folder(made: Made, tmp_path: Path) -> None:
    """It is not looked for out there, and nothing is written there."""
    (tmp_path / "evil.mp4").write_bytes(b"mine")
    names = {f"ka_{index}": {"like": "one", "metadata": {"name": name}} for index, name in enumerate(("x/../../evil",))}
    file = made.rewritten(tmp_path / "j.db", **names)
    done = made.download("--journal", file, "--out", str(tmp_path / "c"))
    assert done.code == 1
    assert "cannot be a file name" in done.err
    assert (tmp_path / "evil.mp4").read_bytes() == b"mine"
    assert files_in(tmp_path / "c") == set()


def test_folders_with_hostile_names(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "-q [red] \x1b[31m 'ü' $(x)"
    made.emulator.faults = [Fault(action="status", kind="asset", status=404, path="*.png")]
    done = made.download("--journal", str(made.journal), "--out", str(out))
    assert done.code == 1
    assert is_clip(out / "lake.mp4")
    assert "\x1b" not in done.err
    assert "[red]" in done.err
    made.emulator.faults = []
    plain = tmp_path / "-q 'ü' $(x)"
    made.emulator.faults = [Fault(action="status", kind="asset", status=404)]
    done = made.download("--journal", str(made.journal), "--out", str(plain))
    (line,) = [line for line in done.err.splitlines() if line.startswith("  kling ")]
    made.emulator.faults = []
    assert here(*shlex.split(line)[1:], url=made.url).code == 0
    assert files_in(plain) == made.names


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_no_text(made: Made, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xff")
    done = made.download("--journal", str(made.journal), "--out", str(out), made.jobs["one"]["job_id"])
    assert (done.code, done.out) == (0, f"{tmp_path}/\\udcff/lake.mp4\n")
    assert is_clip(out / "lake.mp4")


def test_elements_and_voices_without_a_file_are_nothing_to_save() -> None:
    kept = Asset(kind="voice", url="https://a.example/a.mp3")
    assets = (Asset(kind="element", url="https://a.example/a.png"), Asset(kind="voice", url=""), kept)
    assert files_of(Result(assets=assets, endpoint="custom-voices", task_id="t")) == (kept,)


# --- tasks that no journal knows -------------------------------------------------------------------------------------


def test_tasks_are_saved_under_their_ids(made: Made, tmp_path: Path) -> None:
    """One question each; of what is there nobody is asked, unless it may have several files."""
    one, two = made.jobs["one"]["task_id"], made.jobs["two"]["task_id"]
    words = (one, two, "--endpoint", "text2video", "--out", str(tmp_path))
    done = made.download(*words)
    assert (done.code, files_in(tmp_path)) == (0, {f"{one}.mp4", f"{two}.mp4"}), done.err
    assert sorted(request.kind for request in made.emulator.requests) == ["asset", "asset", "single", "single"]
    made.emulator.requests.clear()
    done = made.download(*words, "--json")
    told = [json.loads(line) for line in done.lines]
    assert [(line["task_id"], line["job_id"], line["already_there"]) for line in told] == [
        (one, None, True),
        (two, None, True),
    ]
    assert kinds(made.emulator) == set()
    pictures = (made.jobs["three"]["task_id"], "--endpoint", "generations", "--out", str(tmp_path))
    assert len(made.download(*pictures).lines) == 2
    made.emulator.requests.clear()
    again = made.download(*pictures)
    assert (len(again.lines), kinds(made.emulator)) == (2, {"single"})
    assert "1 job in 0:00: 1 already in" in again.err


def test_tasks_that_have_no_files(made: Made, tmp_path: Path) -> None:
    jobs = made.jobs
    ids = ("404", "../x", jobs["no [fail]"]["task_id"], jobs["one"]["task_id"])
    done = made.download(*ids, "--endpoint", "text2video", "--out", str(tmp_path), "--json")
    told = {line["task_id"]: line for line in map(json.loads, done.lines)}
    assert done.code == 1
    assert {task_id: line["status"] for task_id, line in told.items()} == {
        "404": "vanished",
        None: "rejected",
        jobs["no [fail]"]["task_id"]: "failed",
        jobs["one"]["task_id"]: "succeeded",
    }
    assert told["404"]["error"]["message"] == "the host does not know task 404"
    assert "cannot be a host's id of a task" in told[None]["error"]["message"]
    assert files_in(tmp_path) == {f"{jobs['one']['task_id']}.mp4"}


def test_a_task_that_still_runs_is_told_or_waited_for(tmp_path: Path) -> None:
    with box(dialect="official", duration_s=4) as emulator:
        url = f"official:{emulator.url}"
        with signalled_when(lambda: emulator.tasks):
            here("generate", "a", url=url)
        (task,) = emulator.tasks
        words = ("download", task.task_id, "--endpoint", "text2video", "--out", str(tmp_path / "c"))
        done = here(*words, url=url)
        assert (done.code, done.out) == (1, "")
        assert f"  task {task.task_id}: it is not done yet; --wait waits for it" in done.err
        before = len(emulator.requests)
        with signalled_when(lambda: len(emulator.requests) > before):
            done = here(*words, "--wait", url=url)
        assert done.code == 130
        assert "1 not got to" in done.err
        assert f"  kling download --out {tmp_path / 'c'} --endpoint text2video --wait {task.task_id}" in done.err
        done = here(*words, "--wait", url=url)
        assert (done.code, done.lines) == (0, [str(tmp_path / "c" / f"{task.task_id}.mp4")]), done.err
        assert len(emulator.tasks) == 1


def test_passing_trouble_of_a_question_is_sat_out(made: Made, tmp_path: Path) -> None:
    made.emulator.faults = [Fault(action="status", kind="single", status=503, times=1)]
    done = made.download(made.jobs["one"]["task_id"], "--endpoint", "text2video", "--out", str(tmp_path))
    assert (done.code, len(done.lines)) == (0, 1), done.err


def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    words = ("download", "1", "2", "--endpoint", "text2video", "--out", str(tmp_path), "--retry-for", "0.1")
    done = here(*words, url="official:http://127.0.0.1:1")
    assert done.code == 5
    assert "2 jobs in 0:00: 0 saved, " in done.err


# --- what is wrong from the start ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Nothing to download: give --journal FILE, or task ids and --endpoint NAME"),
        (("1",), "What made these tasks? Give --endpoint NAME"),
        (("1", "--endpoint", "text2vidio"), "did you mean 'text2video'?"),
        (("1", "--endpoint", "identify-face"), "it makes no tasks that can be asked about later"),
        (("--endpoint", "text2video"), "Nothing to download"),
        (("--journal", "none.db"), "There is no journal at none.db"),
        (("--journal", "none.db", "1", "--endpoint", "text2video"), "--endpoint is for tasks that no journal knows"),
        (("--journal", "none.db", "--wait"), "--wait is for tasks that no journal knows"),
    ],
)
def test_options_that_do_not_fit_together(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = here("download", "--out", str(tmp_path / "c"), *words, url="http://127.0.0.1:1")
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert not (tmp_path / "c").exists()


def test_no_key_and_no_folder(made: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    words = ("download", "--journal", str(made.journal), "--out", str(tmp_path / "file"))
    assert "No credentials" in here(*words, url=made.url, key=None).err
    done = here(*words, url=made.url)
    assert (done.code, "file is not a folder" in done.err) == (2, True)
    damaged = tmp_path / "j.db"
    damaged.write_bytes(b"no journal at all" * 100)
    done = made.download("--journal", str(damaged), "--out", str(tmp_path))
    assert (done.code, "damaged" in done.err) == (1, True)
    assert "--api-key " not in here("download", "--help").out


# --- ends in the middle ----------------------------------------------------------------------------------------------


def test_a_signal_leaves_nothing_half_written(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "_SAVING_GRACE_S", 0.2)
    made.emulator.faults = [Fault(action="hang", kind="asset")]
    words = ("--journal", str(made.journal), "--out", str(tmp_path))
    with signalled_when(lambda: "asset" in kinds(made.emulator)):
        done = made.download(*words)
    assert (done.code, done.out) == (130, "")
    assert "Stopping: nothing more is fetched." in done.err
    assert "3 jobs in 0:00: 0 saved, 3 not got to" in done.err
    assert f"To go on:\n  kling download --journal {made.journal} --out {tmp_path}\n" in done.err
    assert files_in(tmp_path) == set()
    made.emulator.faults = []
    assert made.download(*words).code == 0
    assert files_in(tmp_path) == made.names


def test_a_long_command_is_not_cut_but_left_out(made: Made, tmp_path: Path) -> None:
    made.emulator.faults = [Fault(action="status", kind="asset", status=404)]
    ids = [f"{number:0100}" for number in range(6)]
    done = made.download("--journal", str(made.journal), "--out", str(tmp_path), made.jobs["one"]["job_id"], *ids)
    assert "To go on, give the same command again.\n" in done.err
    assert "kling download" not in done.err


def test_a_killed_run_is_gone_on_with(made: Made, tmp_path: Path) -> None:
    """No half file has the name of a whole one, and the next run makes it whole."""
    made.emulator.faults = [Fault(action="hang", kind="asset", path="*.png")]
    words = ("download", "--journal", str(made.journal), "--out", str(tmp_path))
    process = start(*words, url=made.url)
    wait_for(lambda: len(list(tmp_path.glob("*.mp4"))) == 2, "the clips")
    wait_for(lambda: list(tmp_path.glob(".*.part")), "half a picture")
    process.kill()
    process.communicate(timeout=LIMIT_S)
    made.emulator.faults = []
    assert list(tmp_path.glob("*.png")) == []
    done = here(*words, url=made.url)
    assert (done.code, len(done.lines), files_in(tmp_path)) == (0, 2, made.names), done.err
    assert "2 already there" in done.err


def test_a_signal_before_anything_was_begun(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_API_KEY", "emulator-key")

    async def run() -> Exit:
        interrupt = Interrupt()
        interrupt.ask()
        return await saving(made, tmp_path / "c").run(interrupt)

    assert asyncio.run(run()) is Exit.INTERRUPTED
    assert not (tmp_path / "c").exists()
    assert kinds(made.emulator) == set()


def saving(made: Made, out: Path) -> _FromJournal:
    connection = Connection(base_url=made.url, journal=made.journal)
    session = attrs.evolve(connection, journal=None).session()
    return _FromJournal(Talk(quiet=True), connection, session, Order(ids=(), out=out), made.journal)


def test_two_runs_at_once_do_not_harm_each_other(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_API_KEY", "emulator-key")
    made.emulator.faults = [Fault(action="delay", delay_s=0.2, kind="asset")]

    async def both() -> list[Exit]:
        return await asyncio.gather(*(saving(made, tmp_path).run(Interrupt()) for _ in range(2)))

    assert asyncio.run(both()) == [Exit.DONE, Exit.DONE]
    assert files_in(tmp_path) == made.names
    for name in made.names:
        assert (tmp_path / name).read_bytes() == (made.folder / name).read_bytes()
    assert len(capsys.readouterr().out.splitlines()) == 8


def test_a_folder_that_cannot_be_written_any_more_ends_it(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a full disk: every other file would meet the same."""
    out = tmp_path / "c"

    async def refuse(*_arguments: object, **_more: object) -> list[Path]:
        if out.is_dir():
            out.rmdir()
            out.write_text("")
        raise DownloadError("cannot write lake", retryable=False)

    monkeypatch.setattr("kling_async.session.KlingSession.save", refuse)
    done = made.download("--journal", str(made.journal), "--out", str(out))
    assert done.code == 1
    assert f"Nothing more is saved: cannot write to the folder {out}: Not a directory" in done.err


def test_an_adoption_that_is_ended_tells_what_it_did_not_look_for(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "_SAVING_GRACE_S", 0.2)
    monkeypatch.setattr(crew_module, "_MOST_OPEN", 1)
    made.emulator.faults = [Fault(action="hang", kind="asset")]
    with signalled_when(lambda: "asset" in kinds(made.emulator)):
        words = ("adopt", "--journal", str(made.journal), "--out", str(tmp_path), "--missing")
        done = here(*words, url=made.url)
    assert done.code == 130
    assert "2 jobs done before, whose files were not looked for any more." in done.err
    assert "1 job done, and not saved yet." in done.err
    assert f"  kling adopt --journal {made.journal} --out {tmp_path} --missing" in done.err
    assert files_in(tmp_path) == set()
