"""`kling bulk`, inside this process: what it takes, what it leaves in the folder, and how it counts."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_tools import box, here, is_clip, picture

from kling_async.cli.inputs import Entry, Input
from kling_async.emulator import Fault

Source = Callable[[str | bytes], str]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    def write(text: str | bytes, name: str = "jobs.txt") -> str:
        path = tmp_path / name
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
    names = sorted(file.name for file in (tmp_path / "clips").iterdir())
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
    told = {line["line"]: line for line in map(json.loads, done.lines)}
    assert [told[number]["status"] for number in (1, 2, 3, 4)] == ["succeeded"] * 3 + ["rejected"]
    assert told[1]["files"] == [str(tmp_path / "clips" / "xfirst.mp4")]
    assert told[2]["job_id"] == "second"
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("\n  \n\t\n", "is empty"),
        ('{"prompt": "a"}\n\nplain\n', "line 3: does not begin with {"),
        ('plain\n{"prompt": "a"}\n', "line 2: is a JSON object among prompts"),
        ('[{"prompt": "a"}]\n', "line 1: is a JSON list"),
        ("[\n", "line 1: is a JSON list"),
        ('{"prompt": "a"}\n{"prompt": }\n', "line 2: is not JSON"),
        ('{"prompt": "a"} {"prompt": "b"}\n', "line 1: is not JSON"),
        ('{"prompt": "a", "prompt": "b"}\n', "line 1: is not JSON: 'prompt' is given twice"),
        ('{"prompt": "a", "cfg_scale": NaN}\n', "line 1: is not JSON: NaN is not JSON"),
        ('{"a":' + "[" * 100_000 + "\n", "line 1: is not JSON: too deeply nested"),
        ('{"promt": "a"}\n', "line 1: promt='a': no such field; did you mean prompt?"),
        ('{"prompt": ""}\n', "line 1: prompt='': is empty"),
        ('{"prompt": "a", "endpoint": 5}\n', "line 1: endpoint must be a text"),
        ('{"prompt": "a", "job_id": 5}\n', "line 1: job_id must be a text"),
        ('{"prompt": "a", "job_id": "a,b"}\n', "line 1: job_id 'a,b' must be"),
        ('{"prompt": "a", "endpoint": "nope"}\n', "line 1: no endpoint is called 'nope'"),
        ('{"prompt": "a", "job_id": "x"}\n{"prompt": "b", "job_id": "x"}\n', "line 2: job_id 'x' is on line 1 already"),
        ('{"image": "nope.png"}\n', "line 1: image='nope.png': is not a URL, and there is no file"),
        (json.dumps({"image": "a\0b"}) + "\n", "line 1: image='a\\x00b': is not a URL"),
        (json.dumps({"image": "x y" * 200}) + "\n", "line 1: image='x yx y"),
        (b"fine\n\xff\xfe\n", "line 2: is not UTF-8 text"),
        (b"fine\0\n", "line 1: has a zero byte"),
        (b"a" * (16 * 1024 * 1024 + 1), "line 1: has more than"),
        ("a" * 2501, "line 1: prompt="),
    ],
)
def test_a_bad_file_is_told_with_its_line_and_nothing_is_sent(
    text: str | bytes, told: str, source: Source, tmp_path: Path
) -> None:
    done = here("bulk", source(text), "--out", str(tmp_path / "clips"), url="http://127.0.0.1:1")
    assert done.code == 2
    assert told in done.err
    assert done.out == ""
    assert not (tmp_path / "clips").exists()


def test_strict_refuses_a_line_before_anything_is_sent(source: Source, tmp_path: Path) -> None:
    path = source('{"prompt": "a"}\n{"prompt": "b", "model_name": "kling-v1", "duration": 7}\n')
    done = here("bulk", path, "--out", str(tmp_path / "clips"), "--strict", url="http://127.0.0.1:1")
    assert done.code == 2
    assert "line 2: kling-v1 makes clips of 5 or 10 seconds, not 7 (--strict). Nothing was sent." in done.err


@pytest.mark.parametrize(
    ("name", "told"),
    [("nowhere.txt", "cannot be read: No such file or directory"), ("prompts.CSV", "CSV is not read in this release")],
)
def test_files_that_are_not_read(name: str, told: str, tmp_path: Path) -> None:
    done = here("bulk", str(tmp_path / name), "--out", str(tmp_path))
    assert done.code == 2
    assert told in done.err


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
    assert "not sent, because every other would have met the same" in done.err
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
    assert "... and 5 more; --json tells all" in done.err


def test_a_file_that_changes_after_the_check_ends_early(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was already sent is saved; the rest is told."""
    path = source("one\ntwo\n")
    whole = Input.entries
    passes: list[int] = []

    def entries(given: Input) -> Iterator[Entry]:
        passes.append(1)
        for entry in whole(given):
            yield entry
            if len(passes) == 2:
                raise given._bad(2, "is gone")

    monkeypatch.setattr(Input, "entries", entries)
    with box() as emulator:
        done = here("bulk", path, "--out", str(tmp_path / "clips"), url=emulator.url)
    assert done.code == 2
    assert len(done.lines) == 1
    assert "line 2: is gone" in done.err
