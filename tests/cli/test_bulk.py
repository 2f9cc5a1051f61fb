"""`kling bulk`, inside this process: what it takes, what it leaves in the folder, and how it counts."""

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_tools import LIMIT_S, Outcome, box, environ, here, is_clip, picture

from kling_async.cli import inputs
from kling_async.cli.exits import Fail
from kling_async.cli.inputs import Input, Row
from kling_async.cli.manifest import Manifest, lines_of
from kling_async.emulator import Emulator, Fault

Source = Callable[..., str]
Lines = dict[object, dict[str, Any]]


def clips(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.mp4"))


def manifest(folder: Path) -> Lines:
    """The last line of each job, and of each row that was wrong."""
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return {line["id"] or f"row {line['row']}": line for line in lines}


def by_row(folder: Path) -> dict[int, dict[str, Any]]:
    return {line["row"]: line for line in manifest(folder).values()}


def ids(emulator: Emulator) -> Counter[str]:
    return Counter(task.external_id for task in emulator.tasks)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    def write(text: str | bytes, name: str = "jobs.txt") -> str:
        path: Path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def test_a_file_of_prompts(source: Source, tmp_path: Path) -> None:
    """One clip per line that is not blank, named after its line; failures with reason and price; exit code 1."""
    path = source("\ufeffone\n\n  two [fail]  \r\nthree [refuse]\nfour {x}\n{curly\n")
    with box(speed=20, dialect="official") as emulator:
        done = here("bulk", path, "--out", str(tmp_path / "clips"), url=f"official:{emulator.url}")
        prompts = [task.body["prompt"] for task in emulator.tasks]
    assert done.code == 1, done.err
    assert sorted(prompts) == ["four {x}", "one", "two [fail]", "{curly"]
    names = clips(tmp_path / "clips")
    assert [name[:6] for name in names] == ["00001-", "00005-", "00006-"]
    assert sorted(done.lines) == [str(tmp_path / "clips" / name) for name in names]
    assert all(is_clip(line) for line in done.lines)
    assert "5 jobs from" in done.err
    assert f"3 saved in {tmp_path / 'clips'}, 2 failed" in done.err
    assert "  line 3: failed, not paid, task " in done.err
    assert "  line 4: rejected, not paid: " in done.err


def test_json_lines(source: Source, tmp_path: Path) -> None:
    """Each with its own endpoint, picture beside the file, and name; one JSON line per end."""
    picture(tmp_path)
    jobs = [
        {"prompt": "one", "job_id": "-first"},
        {"prompt": "two", "image": "picture.png", "external_task_id": "second"},
        {"endpoint": "omni-video", "prompt": "x", "image_list": [{"image_url": "picture.png", "type": "first_frame"}]},
        {"prompt": "no [refuse]"},
    ]
    path = source("\n".join(json.dumps(job) for job in jobs))
    with box() as emulator:
        done = here("bulk", path, "--out", str(tmp_path / "clips"), "--json", "--quiet", url=emulator.url)
        assert {task.endpoint for task in emulator.tasks} == {"text2video", "image2video", "omni-video"}
        assert {"-first", "second"} < {task.external_id for task in emulator.tasks}
    assert done.code == 1
    told = {line["row"]: line for line in map(json.loads, done.lines)}
    assert [told[number]["status"] for number in (1, 2, 3, 4)] == ["succeeded"] * 3 + ["rejected"]
    assert told[1]["files"][0]["path"] == "xfirst.mp4"
    assert told[2]["id"] == "second"
    assert told[4]["error"]["type"] == "PolicyRejected"
    assert done.err == ""


def test_stdin_and_slots(tmp_path: Path) -> None:
    """More jobs than slots: all done, never more at once than --max-running."""
    with box(slots=2) as emulator:
        done = here("bulk", "-", "-o", str(tmp_path), "--max-running", "1", url=emulator.url, stdin="one\ntwo\n")
        assert len(emulator.tasks) == 2
    assert done.code == 0, done.err
    assert "2 jobs from stdin (prompts)" in done.err
    assert len(done.lines) == 2


WRONG = [
    ('{"prompt": "a"}\n\nplain\n', "line 3: {}does not begin with {{"),
    ('plain\n{"prompt": "a"}\n', "line 2: {}is JSON among prompts"),
    ('{"prompt": "a"}\n{"prompt": }\n', "line 2: {}is not JSON"),
    ('{"prompt": "a"} {"prompt": "b"}\n', "line 1: {}is not JSON"),
    ('{"prompt": "a", "prompt": "b"}\n', "line 1: {}is not JSON: 'prompt' is given twice"),
    ('{"prompt": "a", "cfg_scale": NaN}\n', "line 1: {}is not JSON: NaN is not JSON"),
    ('{"a":' + "[" * 100_000 + "\n", "line 1: {}is not JSON: too deeply nested"),
    ('{"promt": "a"}\n', "line 1: {}promt='a': no such field; did you mean prompt?"),
    ('{"prompt": ""}\n', "line 1: {}prompt='': is empty"),
    ('{"prompt": "a", "endpoint": 5}\n', "line 1: {}endpoint must be a text"),
    ('{"prompt": "a", "job_id": 5}\n', "line 1: {}job_id must be a text"),
    ('{"prompt": "a", "job_id": "a,b"}\n', "line 1: {}job_id='a,b': must be"),
    ('{"prompt": "a", "name": "../a"}\n', "line 1: {}name='../a': must be"),
    ('{"prompt": "a", "name": "a", "job_id": "b"}\n', "line 1: {}name='a': differs from job_id 'b'"),
    ('{"prompt": "a", "endpoint": "nope"}\n', "line 1: {}no endpoint is called 'nope'"),
    ('{"prompt": "a", "job_id": "x"}\n{"prompt": "b", "job_id": "x"}\n', "line 2: {}job_id='x': is given on a line"),
    ('{"prompt": "a", "name": "x"}\n{"prompt": "b", "name": "X"}\n', "line 2: {}name='X': is given on a line before"),
    ('{"prompt": "a {b}"}\n', "line 1: {}prompt='a {{b}}': has {{b}}, and that column is missing or empty here"),
    ('{"image": "nope.png"}\n', "line 1: {}image='nope.png': is not a URL, and there is no file"),
    (json.dumps({"image": "a\0b"}) + "\n", "line 1: {}image='a\\x00b': is not a URL"),
    (json.dumps({"image": "x y" * 200}) + "\n", "line 1: {}image='x yx y"),
    (b"fine\n\xff\xfe\n", "line 2: {}is not UTF-8 text"),
    (b"fine\0\n", "line 1: {}has a zero byte"),
    (b"a" * (16 * 1024 * 1024 + 1), "line 1: {}has more than"),
    ("a" * 2501, "line 1: {}prompt="),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_with_strict_a_wrong_row_is_told_and_nothing_is_sent(
    text: str | bytes, told: str, source: Source, tmp_path: Path
) -> None:
    done = here("bulk", source(text), "--out", str(tmp_path / "clips"), "--strict", url="http://127.0.0.1:1")
    assert done.code == 2
    assert told.format("") in done.err
    assert "(--strict). Nothing was sent." in done.err
    assert done.out == ""
    assert not (tmp_path / "clips").exists()


def test_wrong_rows_are_told_and_stop_nothing_else(source: Source, tmp_path: Path) -> None:
    """Each has its line in the manifest, once, however often it is met."""
    texts = [text for text, _ in WRONG if isinstance(text, str) and text.startswith("{") and text.count("\n") == 1]
    path = source('{"prompt": "good"}\n' + "".join(texts), "jobs.jsonl")
    with box() as emulator:
        for _ in range(2):
            done = here("bulk", path, "--out", str(tmp_path / "c"), url=emulator.url)
            assert done.code == 2, done.err
        assert len(emulator.tasks) == 1
    assert f"{len(texts)} failed" in done.err
    assert "1 done before" in done.err
    lines = [json.loads(line) for line in (tmp_path / "c" / "manifest.jsonl").read_text().splitlines()]
    assert sorted(line["row"] for line in lines) == list(range(1, len(texts) + 2))
    assert {line["status"] for line in lines if line["row"] > 1} == {"invalid"}
    assert all(line["id"] is None and line["paid"] == "no" for line in lines if line["row"] > 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("\n  \n\t\n", "is empty"),
        ('[{"prompt": "a"}]\n', "line 1: is a JSON list"),
        ("[\n", "line 1: is a JSON list"),
    ],
)
def test_what_is_no_table_at_all(text: str, told: str, source: Source, tmp_path: Path) -> None:
    done = here("bulk", source(text), "--out", str(tmp_path / "clips"), url="http://127.0.0.1:1")
    assert done.code == 2
    assert told in done.err
    assert not (tmp_path / "clips").exists()


def test_strict_refuses_a_line_before_anything_is_sent(source: Source, tmp_path: Path) -> None:
    path = source('{"prompt": "a"}\n{"prompt": "b", "model_name": "kling-v1", "duration": 7}\n')
    done = here("bulk", path, "--out", str(tmp_path / "clips"), "--strict", url="http://127.0.0.1:1")
    assert done.code == 2
    assert "line 2: kling-v1 makes clips of 5 or 10 seconds, not 7 (--strict). Nothing was sent." in done.err


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = here("bulk", str(tmp_path / "nowhere.txt"), "--out", str(tmp_path))
    assert done.code == 2
    assert "cannot be read: No such file or directory" in done.err


# --- CSV -----------------------------------------------------------------------------------------------------------


def rows_of(path: str) -> list[Row]:
    given = Input(path)
    try:
        rows = list(given.rows())
        assert rows == list(given.rows()), "every pass gives the same"
        assert len(rows) == given.count
        return rows
    finally:
        given.close()


def test_csv_as_programs_write_it(source: Source) -> None:
    """A mark of the encoding, other separators, empty lines and cells, quoted line ends, cells that are left over."""
    text = '\ufeffprompt;duration;_note\r\n\r\n"a ""b""\r\nc; d";5;x\r\n;;\r\nplain;;;;\r\n'
    rows = rows_of(source(text, "jobs.csv"))
    assert [(row.line, row.given, row.error) for row in rows] == [
        (3, {"prompt": 'a "b"\r\nc; d', "duration": "5", "_note": "x"}, None),
        (6, {"prompt": "plain"}, None),
    ]
    assert [row.given for row in rows_of(source("prompt\tmode\na, b\tpro\n", "jobs.tsv"))] == [
        {"prompt": "a, b", "mode": "pro"}
    ]


def test_a_wrong_record_takes_none_of_the_others_with_it(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_MOST_LINES", 3)
    raw = b'prompt,mode\na,std\n"b,std\nc,std\nd\n\xff,std\n"e"x,std\nf,std,more\ng,std\n'
    rows = rows_of(source(raw, "jobs.csv"))
    assert [(row.line, row.given.get("prompt")) for row in rows if row.error is None] == [
        (2, "a"),
        (4, "c"),
        (9, "g"),
    ]
    assert [row.line for row in rows if row.error] == [3, 5, 6, 7, 8]
    unclosed = rows_of(source('prompt\na\n"b\nc\n', "other.csv"))
    assert [(row.line, row.error is None) for row in unclosed] == [(2, True), (3, False), (4, True)]
    assert "opened and not closed" in str(unclosed[1].error)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompt,prompt\na,b\n", "line 1: two columns are called 'prompt'"),
        ("prompt,,mode\na,b,c\n", "line 1: a column has no name"),
        ("prompt,colour\na,red\n", "'colour' is no field of anything that can be made"),
        ("prompt\n", "is empty"),
        ("", "is empty"),
        (b"pr\xff\n", "line 1: is not UTF-8 text"),
    ],
)
def test_a_header_that_is_wrong(text: str | bytes, told: str, source: Source, tmp_path: Path) -> None:
    done = here("bulk", source(text, "jobs.csv"), "--out", str(tmp_path / "c"), url="http://127.0.0.1:1")
    assert (done.code, told in done.err) == (2, True), done.err
    assert not (tmp_path / "c").exists()


def test_columns_templates_and_fields_of_their_own_types(source: Source, tmp_path: Path) -> None:
    picture(tmp_path)
    text = (
        "name,prompt,animal,duration,cfg_scale,image,endpoint,camera_control.type,_note\n"
        "first,A {animal} {{here}},fox,10,0.5,,,,mine\n"
        "second,Sea,,,,picture.png,,,\n"
        ",A {animal},,,,,,,\n"
        ",Pan,,5,,,text2video,down_back,\n"
        ",Rain,,5,,,text-to-video/kling-3.0,,\n"
    )
    out = tmp_path / "c"
    with box(dialect="official") as emulator:
        done = here("bulk", source(text, "jobs.csv"), "--out", str(out), url=f"official:{emulator.url}")
        assert done.code == 2, done.err
        bodies = {task.endpoint: task.body for task in emulator.tasks if task.endpoint != "text2video"}
        words = {task.body["prompt"]: task.body for task in emulator.tasks if task.endpoint == "text2video"}
    assert "line 4: wrong, not paid: prompt='A {animal}': has {animal}, and that column is missing or empty" in done.err
    assert words["A fox {here}"]["cfg_scale"] == 0.5
    assert str(words["A fox {here}"]["duration"]) == "10"
    assert words["Pan"]["camera_control"]["type"] == "down_back"
    assert bodies["image2video"]["image"]
    assert set(bodies) == {"image2video", "text-to-video/kling-3.0"}
    assert {"first.mp4", "second.mp4"} < set(clips(out))
    line = by_row(out)[2]
    assert line["input"]["_note"] == "mine"
    assert line["request"] == {"prompt": "A fox {here}", "duration": "10", "cfg_scale": 0.5}


def test_what_holds_for_all_rows(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "c"
    options = ("--prompt", "{prompt}, in {style}", "--set", "mode=pro", "--model", "kling-v1-6")
    with box() as emulator:
        path = source("prompt,style,mode\nA fox,oil,\nA hen,chalk,std\n", "jobs.csv")
        assert here("bulk", path, "--out", str(out), *options, url=emulator.url).code == 0
        bodies = [(task.body["prompt"], task.body["mode"], task.body["model_name"]) for task in emulator.tasks]
        assert sorted(bodies) == [("A fox, in oil", "pro", "kling-v1-6"), ("A hen, in chalk", "std", "kling-v1-6")]
        plain = source("A cat\n", "plain.txt")
        assert here("bulk", plain, "--out", str(out), "--prompt", "{prompt}!", url=emulator.url).code == 0
        given = here(
            *("bulk", "-", "--format", "csv", "--out", str(out), "--set", "duration=10"),
            url=emulator.url,
            stdin="prompt\nA dog\n",
        )
        assert given.code == 0, given.err
        assert {task.body["prompt"] for task in emulator.tasks[2:]} == {"A cat!", "A dog"}


# --- again ---------------------------------------------------------------------------------------------------------


def test_the_same_command_makes_nothing_twice(source: Source, tmp_path: Path) -> None:
    """Rows that are moved, or that others come before, are the same jobs; equal rows are jobs of their own."""
    out = tmp_path / "c"
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"

        def run(text: str, *options: str) -> Outcome:
            return here("bulk", source(text), "--out", str(out), *options, url=url)

        first = run("one\ntwo\ntwo\nbad [fail]\n")
        assert (first.code, len(clips(out)), len(emulator.tasks)) == (1, 3, 4)
        asked = len(emulator.requests)
        again = run("two\none\ntwo\nbad [fail]\n", "--json")
        assert (again.code, again.out, len(emulator.requests)) == (1, "", asked)
        assert "0 saved" not in again.err
        assert "3 done before, 1 failed before" in again.err
        assert "--retry-failed" in again.err
        more = run("new\none\ntwo\ntwo\n")
        assert (more.code, len(emulator.tasks), len(more.lines)) == (0, 5, 1)
        (out / clips(out)[0]).unlink()
        fetched = run("new\none\ntwo\ntwo\n")
        assert (fetched.code, len(emulator.tasks), len(fetched.lines), len(clips(out))) == (0, 5, 1, 4)
        assert set(ids(emulator).values()) == {1}
        other = here("bulk", source("one\n"), "--out", str(tmp_path / "d"), url=url)
        assert (other.code, len(emulator.tasks)) == (0, 6), "another folder has other jobs"


def test_what_failed_is_made_again_on_request_only(source: Source, tmp_path: Path) -> None:
    out, path = tmp_path / "c", source("one [fail]\ntwo [refuse]\nthree\n")
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"
        assert here("bulk", path, "--out", str(out), url=url).code == 1
        assert len(emulator.tasks) == 2
        assert here("bulk", path, "--out", str(out), "--retry-failed", "--only", "1", url=url).code == 1
        assert here("bulk", path, "--out", str(out), "--retry-failed", "--only", "failed", url=url).code == 1
        names = sorted(ids(emulator), key=len)
        assert [name.removeprefix(names[0]) for name in names if name.startswith(names[0])][1:] != []
        assert {name[-3:] for name in ids(emulator) if "-r" in name} == {"-r2", "-r3"}
        assert here("bulk", path, "--out", str(out), url=url).code == 1
        assert len(emulator.tasks) == 4


def test_a_refusal_that_is_not_the_jobs_fault_is_tried_again(source: Source, tmp_path: Path) -> None:
    out, path = tmp_path / "c", source("one\ntwo\n")
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"
        assert here("bulk", path, "--out", str(out), url=url, key="wrong").code == 3
        done = here("bulk", path, "--out", str(out), url=url)
        assert (done.code, len(clips(out))) == (0, 2), done.err
        assert len(emulator.tasks) == 2


def test_a_folder_without_its_journal_goes_on_with_the_manifest(source: Source, tmp_path: Path) -> None:
    """What is done stays done; what is missing is found again by its task."""
    out, path = tmp_path / "c", source("one\ntwo\n")
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"
        assert here("bulk", path, "--out", str(out), url=url).code == 0
        shutil.rmtree(out / ".kling")
        (out / clips(out)[0]).unlink()
        done = here("bulk", path, "--out", str(out), url=url)
        assert (done.code, len(clips(out)), len(emulator.tasks)) == (0, 2, 2), done.err


def test_one_process_at_a_time(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "c"
    (out / ".kling").mkdir(parents=True)
    with sqlite3.connect(out / ".kling" / "lock.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = here("bulk", source("one\n"), "--out", str(out), url="http://127.0.0.1:1")
    other.close()
    assert done.code == 2
    assert f"Another process works on {out}: wait for its end" in done.err


def test_a_manifest_that_cannot_be_read_or_written(source: Source, tmp_path: Path) -> None:
    (tmp_path / "c" / "manifest.jsonl").mkdir(parents=True)
    done = here("bulk", source("one\n"), "--out", str(tmp_path / "c"), url="http://127.0.0.1:1")
    assert (done.code, "manifest.jsonl cannot be read: Is a directory" in done.err) == (2, True)
    with pytest.raises(Fail, match="cannot be written: Is a directory"):
        Manifest(tmp_path / "c")


def test_a_full_disk_under_the_manifest_ends_it(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was made is in the journal, and told by the next run."""
    out, path = tmp_path / "c", source("one\ntwo\n")

    def full(_manifest: Manifest, _plain: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with box() as emulator:
        with monkeypatch.context() as patch:
            patch.setattr(Manifest, "add", full)
            done = here("bulk", path, "--out", str(out), url=emulator.url)
        assert (done.code, "Cannot write the manifest: No space left on device" in done.err) == (1, True), done.err
        assert here("bulk", path, "--out", str(out), url=emulator.url).code == 0
        assert len(emulator.tasks) == 2
    assert {line["status"] for line in manifest(out).values()} == {"succeeded"}


def test_another_host_is_another_folder(source: Source, tmp_path: Path) -> None:
    out, path = tmp_path / "c", source("one\n")
    with box() as emulator:
        assert here("bulk", path, "--out", str(out), url=emulator.url).code == 0
    done = here("bulk", path, "--out", str(out), url="http://127.0.0.1:1")
    assert done.code == 2
    assert "The jobs of this folder were sent to " in done.err


def test_a_name_that_stands_for_something_else_now(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "c"
    with box() as emulator:
        path = source('{"prompt": "one [fail]", "name": "a"}\n', "jobs.jsonl")
        assert here("bulk", path, "--out", str(out), url=emulator.url).code == 1
        source('{"prompt": "two", "name": "a"}\n', "jobs.jsonl")
        done = here("bulk", path, "--out", str(out), "--retry-failed", url=emulator.url)
    assert (done.code, clips(out)) == (0, ["a.mp4"]), done.err


# --- money, choice, and before it is sent --------------------------------------------------------------------------


def test_the_price_has_a_bound_over_all_runs(source: Source, tmp_path: Path) -> None:
    """0.14 USD a clip; what failed unpaid does not count."""
    out, path = tmp_path / "c", source("".join(f"number {n}{' [fail]' if n == 1 else ''}\n" for n in range(6)))
    with box(dialect="official") as emulator:
        url = f"official:{emulator.url}"
        words = ("bulk", path, "--out", str(out), "--max-cost", "0.5")
        done = here(*words, url=url)
        assert (done.code, len(emulator.tasks)) == (1, 3), done.err
        assert "3 jobs not sent: with the next one the price of all would pass --max-cost 0.5" in done.err
        assert "By the price list 0.28 USD at most" in done.err
        assert here(*words, url=url).code == 1
        assert len(emulator.tasks) == 4
        assert here(*words, url=url).code == 1
        assert len(emulator.tasks) == 4
        assert here(*words[:-1], "5", url=url).code == 1
        assert len(emulator.tasks) == 6


def test_jobs_without_a_price_are_told(source: Source, tmp_path: Path) -> None:
    path = source('{"prompt": "a", "model_name": "kling-v99"}\n')
    done = here("bulk", path, "--out", str(tmp_path / "c"), "--dry-run", "--max-cost", "1", key=None)
    assert "price not known" in done.out
    assert "1 job without a known price not counted" in done.err


@pytest.mark.parametrize("options", [("--max-cost", "x"), ("--max-cost", "-1"), ("--only", "a-b"), ("--format", "xls")])
def test_options_that_are_wrong(options: tuple[str, str], source: Source, tmp_path: Path) -> None:
    done = here("bulk", source("one\n"), "--out", str(tmp_path / "c"), *options)
    assert (done.code, f"{options[0]} {options[1]}" in done.err) == (2, True)


def test_only_some_rows(source: Source, tmp_path: Path) -> None:
    path = source("one\n\ntwo\nthree\nfour\n")
    with box() as emulator:
        done = here("bulk", path, "--out", str(tmp_path / "c"), "--only", "1,4-", url=emulator.url)
        assert sorted(task.body["prompt"] for task in emulator.tasks) == ["four", "one", "three"]
        assert (done.code, "3 jobs in " in done.err) == (0, True)
        rest = here("bulk", path, "--out", str(tmp_path / "c"), "--only", "new", url=emulator.url)
        assert (rest.code, "1 job in " in rest.err) == (0, True)


def test_a_dry_run_writes_and_sends_nothing(source: Source, tmp_path: Path) -> None:
    """No key, no folder, no host; and of a folder that is there it tells what is done already."""
    path = source("one\ntwo\n[\n")
    done = here("bulk", path, "--out", str(tmp_path / "c"), "--dry-run", key=None)
    assert (done.code, len(done.lines), list(tmp_path.iterdir())) == (0, 3, [tmp_path / "jobs.txt"])
    assert done.lines[0] == "line 1  text2video  default model  0.14 USD  one"
    assert "3 to make, 0 made or begun before" in done.err
    assert "By the price list 0.42 USD at most" in done.err
    with box() as emulator:
        assert here("bulk", source("one\n"), "--out", str(tmp_path / "c"), url=emulator.url).code == 0
        again = here(
            "bulk", source("one\ntwo\n"), "--out", str(tmp_path / "c"), "--dry-run", "--json", url=emulator.url
        )
        assert len(emulator.tasks) == 1
    (line,) = map(json.loads, again.lines)
    assert (line["row"], line["status"], line["estimate"]["price"]) == (2, "new", 0.14)
    assert "With what was made or begun before 0.28 USD." in again.err


def test_a_dry_run_of_wrong_rows(source: Source, tmp_path: Path) -> None:
    done = here("bulk", source("prompt,mode\na,std\nb\n", "j.csv"), "--out", str(tmp_path / "c"), "--dry-run")
    assert done.code == 2
    assert "line 3: wrong: has 1 cells, and the header 2" in done.err
    assert "1 wrong. Nothing was sent." in done.err


# --- the manifest --------------------------------------------------------------------------------------------------


def test_a_line_tells_everything(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "c"
    with box(dialect="official") as emulator:
        path = source("one\ntwo [fail]\n")
        assert here("bulk", path, "--out", str(out), url=f"official:{emulator.url}").code == 1
        tasks = {task.body["prompt"]: task for task in emulator.tasks}
    fine, failed = by_row(out)[1], by_row(out)[2]
    file = out / fine["files"][0]["path"]
    assert fine["files"] == [
        {
            "path": file.name,
            "kind": "video",
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
    ]
    assert (fine["task_id"], fine["status"], fine["paid"]) == (tasks["one"].task_id, "succeeded", "yes")
    assert fine["estimate"] == {"units": 1.0, "price": 0.14, "currency": "USD"}
    assert fine["billing"][0] == {"amount": 1.0, "unit": "units"}
    times = fine["times"]
    assert times["created_at"] <= times["accepted_at"] <= times["ended_at"] <= times["saved_at"] <= time.time()
    assert (failed["status"], failed["paid"], failed["error"]["type"]) == ("failed", "no", "TaskFailed")
    assert (failed["files"], failed["input"]) == ([], {"prompt": "two [fail]"})
    assert "http" not in (out / "manifest.jsonl").read_text().replace("url_host", "")


def test_a_torn_line_hurts_nobody(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(b'{"id":"a","status":"succeeded"}\n7\n{"id":"b","sta')
    written = Manifest(tmp_path)
    written.add({"id": "c", "status": "failed", "files": "none", "error": None})
    written.close()
    assert [line.id for _, line in lines_of(tmp_path / "manifest.jsonl")] == ["a", "c"]


# --- killed --------------------------------------------------------------------------------------------------------

# The command with a shorter window of looking up what was on its way when it was killed.
IMPATIENT = """
import functools, sys
from kling_async import Policy
from kling_async.cli import connect
connect.Policy = functools.partial(Policy, settle_s=0.3, sweep_s=0.3, late_s=0.5)
from kling_async.cli.app import app
app(sys.argv[1:], prog_name="kling")
"""


def test_killed_twice_and_started_again(source: Source, tmp_path: Path) -> None:
    """Every good row has its file and one task, and the manifest is complete; bad rows and failing tasks between."""
    rows = [f"A {{animal}} {n}{' [fail]' if n % 20 == 13 else ''},fox" for n in range(36)]
    rows[7] = rows[31] = "A {bird},fox"
    path, out = source("prompt,animal\n" + "\n".join(rows), "jobs.csv"), tmp_path / "c"
    with box(dialect="official", slots=10, duration_s=0.3) as emulator:
        env = environ(f"official:{emulator.url}", "emulator-key")
        del env["PYTHONDEVMODE"]  # half of the time
        words = [sys.executable, "-c", IMPATIENT, "bulk", path, "--out", str(out), "--quiet"]
        for at in (8, 20):
            process = subprocess.Popen(words, env=env, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
            until = time.monotonic() + LIMIT_S
            while len(clips(out)) < at and process.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.02)
            process.kill()
            process.wait()
        done = subprocess.run(
            words, env=env, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 1
        assert (len(ids(emulator)), set(ids(emulator).values())) == (34, {1})
    lines = by_row(out)
    assert sorted(lines) == list(range(2, 38))
    assert Counter(line["status"] for line in lines.values()) == {"succeeded": 32, "failed": 2, "invalid": 2}
    assert len(clips(out)) == 32
    assert all((out / f["path"]).stat().st_size == f["bytes"] for line in lines.values() for f in line["files"])


# --- trouble -------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written(source: Source) -> None:
    done = here("bulk", source("one\n"), "--out", "/dev/null/clips", url="http://127.0.0.1:1")
    assert done.code == 2
    assert "cannot write to the folder" in done.err


def test_a_refused_key_ends_it_at_once(source: Source, tmp_path: Path) -> None:
    """A thousand jobs are not all sent with a key that the host refuses."""
    path = source("".join(f"prompt {line}\n" for line in range(1000)))
    with box() as emulator:
        done = here("bulk", path, "--out", str(tmp_path), url=emulator.url, key="wrong")
        assert len(emulator.requests) <= 60
    assert done.code == 3
    # One may be on its way into the journal just then, and waits there for another key.
    told = (
        "not sent, because every other would have met the same",
        "not begun, and not in the journal; nothing was paid",
    )
    assert any(words in done.err for words in told), done.err
    assert "check the key" in done.err


def test_a_model_that_is_not_allowed_does_not_end_the_others(source: Source, tmp_path: Path) -> None:
    lines = [{"prompt": "a", "model_name": "kling-v3"}, {"prompt": "b", "model_name": "kling-v1"}]
    fault = Fault(action="status", status=403, code=1103, kind="create", nth=1)
    with box(faults=[fault]) as emulator:
        path = source("\n".join(map(json.dumps, lines)))
        done = here("bulk", path, "--out", str(tmp_path / "clips"), "--max-running", "1", url=emulator.url)
    assert done.code == 3
    assert len(done.lines) == 1


def test_an_unreachable_host(source: Source, tmp_path: Path) -> None:
    path = source("one\ntwo\nthree\nfour\nfive\nsix\n")
    done = here(
        "bulk", path, "--out", str(tmp_path), "--retry-for", "0.2", "--max-running", "1", url="http://127.0.0.1:1"
    )
    assert done.code == 5
    assert "cannot connect" in done.err


def test_many_failures_are_told_up_to_a_number(source: Source, tmp_path: Path) -> None:
    path = source("".join(f"prompt {line} [refuse]\n" for line in range(25)))
    with box() as emulator:
        done = here("bulk", path, "--out", str(tmp_path), url=emulator.url)
    assert done.code == 1
    assert done.err.count("rejected, not paid") == 20
    assert "... and 5 more; " in done.err
    assert "manifest.jsonl tells all" in done.err


def test_a_file_that_changes_after_the_check_ends_early(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was already sent is saved; the rest is told."""
    path = source("one\ntwo\n")
    whole = Input.rows

    def rows(given: Input) -> Iterator[Row]:
        for row in whole(given):
            yield row
            raise given._bad(2, "is gone")

    monkeypatch.setattr(Input, "rows", rows)
    with box() as emulator:
        done = here("bulk", path, "--out", str(tmp_path / "clips"), url=emulator.url)
    assert done.code == 2
    assert len(done.lines) == 1
    assert "line 2: is gone" in done.err
