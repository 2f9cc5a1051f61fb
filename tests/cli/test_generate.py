"""`kling generate`, inside this process: outputs, exit codes, and one sentence for every kind of trouble."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import box, here, is_clip, picture

from kling_async.cli.fields import request_of
from kling_async.emulator import Fault


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with box() as emulator:
        yield emulator.url


def test_out_saves_the_clip_and_prints_its_path(url: str, tmp_path: Path) -> None:
    done = here("generate", "a beach", "--out", str(tmp_path / "new" / "clips"), url=url)
    assert done.code == 0, done.err
    assert len(done.lines) == 1
    assert done.lines[0].startswith(str(tmp_path))
    assert is_clip(done.lines[0])


def test_json_is_one_object(url: str, tmp_path: Path) -> None:
    done = here("generate", "a beach", "--json", "--out", str(tmp_path), url=url)
    told = json.loads(done.out)
    assert told["status"] == "succeeded"
    assert told["paid"] == "yes"
    assert told["error"] is None
    assert told["endpoint"] == "text2video"
    assert len(told["urls"]) == len(told["files"]) == 1
    assert done.err == ""


def test_options_and_settings_reach_the_service(tmp_path: Path) -> None:
    """Whole body: options under the service's names, --set as JSON or text, nothing that was not asked for."""
    with box() as emulator:
        words = [
            "--model",
            "kling-v1",
            "-d",
            "5",
            "--mode",
            "std",
            "--aspect-ratio",
            "1:1",
            "--negative-prompt",
            "rain",
        ]
        words += [
            "--set",
            "cfg_scale=0.5",
            "--set",
            'camera_control={"type":"forward_up"}',
            "--set",
            "external_task_id=me",
        ]
        done = here("generate", "a beach", *words, "--api-key-file", str(_key(tmp_path)), url=emulator.url, key=None)
        assert done.code == 0, done.err
        (task,) = emulator.tasks
    assert task.body == {
        "prompt": "a beach",
        "negative_prompt": "rain",
        "model_name": "kling-v1",
        "duration": "5",
        "mode": "std",
        "aspect_ratio": "1:1",
        "cfg_scale": 0.5,
        "camera_control": {"type": "forward_up"},
        "external_task_id": "me",
    }


def _key(folder: Path) -> Path:
    path = folder / "key"
    path.write_text("emulator-key\n")
    return path


def test_a_picture_from_disk_makes_an_image2video(tmp_path: Path) -> None:
    with box() as emulator:
        done = here("generate", "waves", "--image", str(picture(tmp_path)), url=emulator.url)
        assert done.code == 0, done.err
        (task,) = emulator.tasks
    assert task.endpoint == "image2video"


def test_an_endpoint_can_be_named(tmp_path: Path) -> None:
    with box() as emulator:
        images = json.dumps([{"image_url": str(picture(tmp_path))}])
        settings = [f"image_list={images}", "aspect_ratio=1:1"]
        words = [word for setting in settings for word in ("--set", setting)]
        done = here("generate", "as <<<image_1>>>", "--endpoint", "omni-video", *words, url=emulator.url)
        assert done.code == 0, done.err
        assert [task.endpoint for task in emulator.tasks] == ["omni-video"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "--set", "durration=5"], "did you mean duration?"),
        (["a", "--set", "duration"], "--set duration: write field=value"),
        (["a", "--set", "=5"], "--set =5: write field=value"),
        (["a", "--set", "mode=std", "--set", "mode=pro"], "--set mode: is given twice"),
        (["a", "--set", "mode=std", "--mode", "pro"], "--set mode: is given twice, as an option too"),
        (["a", "--endpoint", "text2vide"], "did you mean 'text2video'?"),
        (["a", "--duration", "ninety"], "duration='ninety'"),
        (["a", "--image", "nowhere.png"], "there is no file nowhere.png"),
        ([], "prompt: is required"),
        (["a", "--base-url", "ftp://x"], "base_url"),
        (["a", "--base-url", "http://example.com"], "not https"),
        (["a", "--base-url", "official:example.com"], "neither an https URL nor one of"),
        (["a", "--api-key-file", "nowhere"], "--api-key-file nowhere cannot be read"),
        (["a", "--api-key-file", "/dev/null"], "--api-key-file /dev/null is empty"),
        (["a", "--out", "/dev/null"], "/dev/null is not a folder"),
        (["a", "--out", "/dev/null/clips"], "cannot write to the folder /dev/null/clips"),
    ],
)
def test_bad_options_end_with_2_and_one_sentence(words: list[str], told: str) -> None:
    done = here("generate", *words)
    assert done.code == 2
    assert done.out == ""
    assert told in done.err
    assert done.err.count("\n") == 1


def test_a_key_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe")
    done = here("generate", "a", "--api-key-file", str(path))
    assert done.code == 2
    assert "is not a text file" in done.err


def test_a_file_that_is_no_picture(tmp_path: Path) -> None:
    """Seen before anything is sent, by its own bytes."""
    path = tmp_path / "holiday.png"
    path.write_text("not a picture")
    done = here("generate", "a", "--image", str(path), url="http://127.0.0.1:1")
    assert done.code == 2
    assert "is not a JPG or PNG, whatever its name says" in done.err


def test_no_key() -> None:
    done = here("generate", "a", key=None)
    assert done.code == 2
    assert "Set KLING_API_KEY" in done.err
    assert "--api-key-file" in done.err


def test_a_wrong_key(url: str) -> None:
    done = here("generate", "a", url=url, key="wrong-key")
    assert done.code == 3
    assert done.out == ""
    assert "check the key" in done.err
    assert "wrong-key" not in done.err


def test_a_refused_prompt(url: str) -> None:
    done = here("generate", "a [refuse]", "--json", url=url)
    assert done.code == 1
    told = json.loads(done.out)
    assert told["status"] == "rejected"
    assert told["paid"] == "no"
    assert told["error"]["type"] == "PolicyRejected"
    assert "Error, not paid: " in done.err


def test_a_task_that_fails() -> None:
    with box(speed=20) as emulator:
        done = here("generate", "a [fail]", "--quiet", url=emulator.url)
    assert done.code == 1
    assert re.search(r"Error, not paid, task \d+: the task failed: ", done.err)


def test_a_timeout_tells_that_the_task_goes_on() -> None:
    with box(duration_s=600) as emulator:
        done = here("generate", "a", "--timeout", "1", url=emulator.url)
    assert done.code == 1
    assert "goes on at the service" in done.err
    assert "Error, paid, task" in done.err


def test_a_timeout_while_it_is_not_known_whether_a_task_exists() -> None:
    """Money may have been spent: its own exit code."""
    with box(faults=[Fault(action="reset", kind="create")]) as emulator:
        done = here("generate", "a", "--timeout", "1", url=emulator.url)
    assert done.code == 4
    assert "Error, perhaps paid: " in done.err


def test_a_clip_that_cannot_be_saved_is_told_with_its_url(tmp_path: Path) -> None:
    with box(faults=[Fault(action="status", status=404, kind="asset")]) as emulator:
        done = here("generate", "a", "--out", str(tmp_path), url=emulator.url)
        assert done.code == 1
        assert "Error, paid" in done.err
        assert f"It was made all the same: {emulator.url}/_emulator/assets/" in done.err
    assert list(tmp_path.iterdir()) == []


def test_warnings_are_sentences_and_strict_makes_errors_of_them(url: str) -> None:
    words = ["generate", "a", "--model", "kling-v1", "--duration", "7"]
    done = here(*words, url=url)
    assert done.code == 0
    assert "Warning: kling-v1 makes clips of 5 or 10 seconds, not 7\n" in done.err
    assert "RequestWarning" not in done.err
    strict = here(*words, "--strict", url=url)
    assert strict.code == 2
    assert "kling-v1 makes clips of 5 or 10 seconds" in strict.err


def test_foreign_words_are_neither_markup_nor_escapes() -> None:
    """The service's message holds both; it is printed as it is, made safe."""
    evil = "[red]no[/red] \x1b[31mred\x1b[0m \x9b2J"
    with box(faults=[Fault(action="status", status=400, code=1201, message=evil, kind="create")]) as emulator:
        done = here("generate", "a", url=emulator.url)
        told = here("generate", "a", "--json", url=emulator.url)
    assert done.code == 1
    assert "[red]no[/red]" in done.err
    assert "\x1b" not in done.err + told.out + told.err
    assert "\x9b" not in done.err + told.out + told.err


@pytest.mark.parametrize("image", ["https://example.com/a.png", "A" * 2000, "/9j/" * 20])
def test_pictures_that_are_no_files_are_sent_as_they_are(image: str) -> None:
    """URLs and Base64; the emulator, as the service, says what it thinks of them."""
    assert request_of({"image": image}, None, Path()).image == image


def test_a_host_that_speaks_as_the_official_one() -> None:
    with box(dialect="official") as emulator:
        done = here("generate", "a", "--base-url", f"official:{emulator.url}")
    assert done.code == 0, done.err
