"""`kling endpoints`, and every endpoint by `kling generate --endpoint` and by `kling bulk`."""

import io
import json
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias, get_args

import attrs
import pytest
from cli_tools import LIMIT_S, Outcome, box, here, is_clip, picture
from test_inside import signalled_when

from kling_async import ENDPOINTS, Endpoint, InvalidRequest, TextToVideo, find_host
from kling_async.cli.exits import Fail
from kling_async.cli.fields import parse_settings, request_of
from kling_async.cli.inputs import refusal
from kling_async.cli.listing import fields_of, markdown
from kling_async.emulator import Emulator, Fault
from kling_async.endpoints import request_from
from kling_async.models import AssetKind

Plain: TypeAlias = dict[str, Any]

SAMPLES = Path(__file__).parents[1] / "samples"
ROWS = {row.name: row for row in ENDPOINTS}
VIDEO = "https://videos.example/in.mp4"
STEPS = ("add-selection", "delete-selection", "clear-selection", "preview-selection")
# Samples that are right as bodies, and want something that a service which looks at it can tell.
MORE: dict[str, Plain] = {"omni-video": {"prompt": "a kite", "aspect_ratio": "16:9"}}
NO_HOST = "http://127.0.0.1:1"


def sample(row: Endpoint) -> Plain:
    """The fields of its smallest sample; the words of its path are in its name."""
    path = SAMPLES / row.name.replace("/", "--") / "minimal.json"
    plain = json.loads(path.read_text(encoding="utf-8"))["request"] | MORE.get(row.name, {})
    known = attrs.fields_dict(row.request)
    return {name: value for name, value in plain.items() if known[name].metadata.get("wire") != "path"}


def as_settings(plain: Plain) -> list[str]:
    return [word for name, value in plain.items() for word in ("--set", f"{name}={json.dumps(value)}")]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """An official host that takes ids of videos, faces and selections that it never gave."""
    with box(dialect="official", takes_foreign_ids=True, duration_s=0.01) as given:
        yield given


def run(emulator: Emulator, *words: str) -> Outcome:
    return here(*words, url=f"official:{emulator.url}", sweep_s=0.1)


def generate(emulator: Emulator, name: str, plain: Plain, *words: str) -> Outcome:
    return run(emulator, "generate", "--endpoint", name, *as_settings(plain), *words)


def prepared(emulator: Emulator, row: Endpoint) -> Plain:
    """The sample, with ids of things that are there: only what is there can be deleted or shown."""
    plain = sample(row)
    made_by = {"delete-voices": "custom-voices", "delete-elements": "custom-elements"}.get(row.name)
    if made_by is not None:
        made = json.loads(generate(emulator, made_by, sample(ROWS[made_by]), "--json").out)
        (name,) = plain
        plain[name] = made["assets"][0]["id"]
    elif row.name in STEPS:
        plain["session_id"] = f"9{STEPS.index(row.name)}{len(emulator.requests)}"
        if row.name != "add-selection":
            added = sample(ROWS["add-selection"]) | {"session_id": plain["session_id"]}
            assert generate(emulator, "add-selection", added).code == 0
    return plain


# --- the list ------------------------------------------------------------------------------------------------------


def test_the_list_has_every_endpoint_in_columns() -> None:
    done = here("endpoints", key=None)
    assert done.code == 0
    assert [line.split()[0] for line in done.lines] == ["name", *ROWS]
    assert {line.index(row.path) for row, line in zip(ENDPOINTS, done.lines[1:], strict=True)} == {
        done.lines[0].index("call") + len("POST "),
        done.lines[0].index("call") + len("GET "),
    }
    assert all(line == line.rstrip() and len(line) < 120 for line in done.lines)
    assert "kling endpoints NAME" in done.err


@pytest.mark.parametrize(("columns", "shown"), [(80, False), (200, True)])
def test_a_narrow_terminal_gets_fewer_columns(columns: int, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    from kling_async.cli.listing import list_endpoints
    from kling_async.cli.talk import Talk

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
    list_endpoints(Talk(quiet=True))
    lines = terminal.getvalue().splitlines()
    assert ("call" in lines[0]) == shown
    assert max(map(len, lines)) <= columns


def test_the_list_as_json_is_an_object_per_line() -> None:
    done = here("endpoints", "--json", key=None)
    told = [json.loads(line) for line in done.lines]
    assert [line["name"] for line in told] == list(ROWS)
    assert told[list(ROWS).index("account/costs")] == {
        "name": "account/costs",
        "class": "AccountCosts",
        "kind": "call",
        "standard": "account",
        "yields": None,
        "method": "GET",
        "path": "/account/costs",
    }
    assert {line["yields"] for line in told if line["kind"] != "call"} <= {*get_args(AssetKind)}
    assert done.err == ""


def test_the_list_as_markdown() -> None:
    done = here("endpoints", "--markdown", key=None)
    assert done.lines == list(markdown())
    assert done.err == ""


def test_one_endpoint_tells_its_fields_and_marks_what_is_required() -> None:
    done = here("endpoints", "tts", key=None)
    assert done.lines == [
        "tts  TextToSpeech  audio  POST /v1/audio/tts",
        "A text, read by one of the service's voices. Finished in the reply: there is no id to ask about it later.",
        "* text            at most 1000 characters.",
        "* voice_id        a voice of the list for speech, which is not the list of `PresetVoices`.",
        "  voice_language  zh or en, as the voice speaks; the service's default is zh.",
        "  voice_speed     0.8 to 2.0; the service rounds it to one decimal.",
        "  extra           further fields for the body, by name.",
    ]
    assert "* is required" in done.err
    assert "* is required" not in here("endpoints", "presets-voices", key=None).err


def test_fields_inside_of_fields_are_told_as_set_takes_them() -> None:
    lines = here("endpoints", "image-to-video/kling-3.0", key=None).lines
    names = [line[2:].split()[0] for line in lines[2:]]
    assert "operation" not in names
    assert "settings.resolution" in names
    assert "contents[].type=first_frame" in names
    assert lines[2 + names.index("contents[].type=element")].endswith("An element made before. Has element_id, id.")
    told = {field.name: field for field in fields_of(ROWS["custom-elements"].request)}
    assert told["element_image_list.refer_images[].image_url"].is_required
    assert not told["tag_list"].is_required


def test_a_solution_has_kinds_of_items_of_its_own() -> None:
    assert "contents[]" not in here("endpoints", "solutions/e-commerce/goods_studio", key=None).out


def test_a_model_of_tomorrow_has_fields_too() -> None:
    done = here("endpoints", "image-to-video/kling-9.9", key=None)
    assert done.lines[0] == "image-to-video/kling-9.9  Operation  video  POST /image-to-video/kling-9.9"
    assert "speaks of image-to-video/kling-9.9" in done.err
    told = json.loads(here("endpoints", "image-to-video/kling-9.9", "--json", key=None).out)
    assert told["fields"]["settings.duration"] == {"required": False, "about": "whole seconds, as an integer."}


@pytest.mark.parametrize(("name", "told"), [("tss", "did you mean 'tts'?"), ("x y", "known are text2video")])
def test_a_name_that_is_none(name: str, told: str) -> None:
    done = here("endpoints", name, key=None)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert done.err.count("\n") == 1


# Required by what other fields say, or by the operation.
SOMETIMES = {
    *(("text2video", "prompt"), ("omni-video", "prompt"), ("custom-elements", "element_image_list")),
    *(("new", "prompt"), ("new", "contents"), ("new", "settings"), ("solutions", "contents")),
}


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)
def test_marks_are_true(row: Endpoint) -> None:
    """Without a field that is marked as required the class refuses, and it misses no other one."""
    plain = sample(row)
    marked = {field.name: field.is_required for field in fields_of(row.request) if field.name in plain}
    for name, is_required in marked.items():
        rest = {other: value for other, value in plain.items() if other != name}
        rule = ""
        try:
            request_from(row, rest)
        except InvalidRequest as error:
            rule = error.rule
        is_known = (row.standard, name) in SOMETIMES or (row.name, name) in SOMETIMES
        assert is_known or is_required == (rule == "is required"), f"{name}: {rule}"


# --- every endpoint ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)
def test_generate_reaches_every_endpoint(row: Endpoint, emulator: Emulator) -> None:
    """From the smallest sample; a task gives URLs, a call its answer."""
    done = generate(emulator, row.name, prepared(emulator, row), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["endpoint"], told["status"], told["error"]) == (row.name, "succeeded", None)
    assert told["paid"] == ("no" if row.is_free else "yes")
    if row.kind == "call":
        assert told["answer"]
        assert told["task_id"] is None
    else:
        assert told["urls"]
        assert "answer" not in told


SUFFIXES = {"video": {".mp4", ".mp3", ".wav", ".png"}, "audio": {".mp3", ".wav"}, "image": {".png"}, "voice": {".mp3"}}


def test_one_bulk_file_reaches_every_endpoint(emulator: Emulator, tmp_path: Path) -> None:
    """Each line with a name of its own, which becomes the external id wherever there is one, and names the files."""
    names = {row.name.replace("/", "-").replace(".", "_"): row for row in ENDPOINTS}
    lines = [prepared(emulator, row) | {"endpoint": row.name, "job_id": name} for name, row in names.items()]
    source = tmp_path / "all.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)))
    before = len(emulator.tasks)
    done = run(emulator, "bulk", str(source), "--out", str(tmp_path / "out"), "--json")
    assert done.code == 0, [line for line in done.lines if '"error": null' not in line]
    ends = {line["id"]: line for line in map(json.loads, done.lines)}
    assert ends.keys() == names.keys()
    tasks = emulator.tasks[before:]
    assert {task.endpoint for task in tasks} == {row.name for row in ENDPOINTS if row.kind != "call"}
    assert {task.external_id for task in tasks if task.external_id} == {
        name for name, row in names.items() if row.kind == "task"
    }
    for name, row in names.items():
        files = [tmp_path / "out" / file["path"] for file in ends[name]["files"]]
        assert all(file.name.startswith(name) and file.exists() for file in files)
        if row.kind == "call" or row.yields == "element":
            assert not files
        else:
            assert files
            assert {file.suffix for file in files} <= SUFFIXES[row.yields]
    calls = sum(row.kind == "call" for row in ENDPOINTS)
    assert f"{len(names) - calls} saved in {tmp_path / 'out'}, {calls} answered\n" in done.err


# --- options -------------------------------------------------------------------------------------------------------


def body_of_words(emulator: Emulator, *words: str) -> Plain:
    done = run(emulator, "generate", *words)
    assert done.code == 0, done.err
    return dict(emulator.tasks[-1].body)


def test_words_are_what_is_said(emulator: Emulator) -> None:
    """Word for word, also where they look like JSON."""
    body = body_of_words(emulator, '"Hello"', "--endpoint", "tts", "--set", "voice_id=5", "--set", "voice_language=en")
    assert body == {"text": '"Hello"', "voice_id": "5", "voice_language": "en"}


def test_a_duration_is_a_figure_where_it_must_be(emulator: Emulator) -> None:
    body = body_of_words(emulator, "Rain", "--endpoint", "text-to-audio", "-d", "5.5")
    assert (body["prompt"], body["duration"]) == ("Rain", 5.5)
    assert body_of_words(emulator, "Rain", "-d", "5")["duration"] == "5"


def test_the_new_standard_gets_its_contents_and_settings(emulator: Emulator, tmp_path: Path) -> None:
    words = ["it turns", "--endpoint", "image-to-video/kling-3.0", "--image", str(picture(tmp_path)), "-d", "3"]
    body = body_of_words(emulator, *words, "--set", "settings.resolution=1080p")
    assert [item["type"] for item in body["contents"]] == ["prompt", "first_frame"]
    assert body["contents"][0]["text"] == "it turns"
    assert body["contents"][1]["url"].startswith("iVBOR")
    assert body["settings"] == {"duration": 3, "resolution": "1080p"}
    body = body_of_words(emulator, "sea", "--endpoint", "text-to-video/kling-3.0", "--aspect-ratio", "1:1")
    assert (body["prompt"], body["settings"]) == ("sea", {"aspect_ratio": "1:1"})


def test_contents_of_options_and_of_set_are_one_list(emulator: Emulator, tmp_path: Path) -> None:
    video = json.dumps([{"type": "video", "url": VIDEO}])
    words = ["--endpoint", "motion-control/kling-3.0", "--image", str(picture(tmp_path)), "--set", f"contents={video}"]
    body = body_of_words(emulator, *words, "--set", "settings.character_orientation=image")
    assert [item["type"] for item in body["contents"]] == ["image", "video"]


def test_the_only_picture_of_an_endpoint_is_the_picture(emulator: Emulator) -> None:
    url = "https://pictures.example/a.png"
    words = ["--endpoint", "motion-control", "--mode", "std", "--image", url, "--set", f"video_url={VIDEO}"]
    assert body_of_words(emulator, *words, "--set", "character_orientation=image")["image_url"] == url


def test_a_solution_has_its_settings_from_options(emulator: Emulator) -> None:
    plain = {"contents": sample(ROWS["solutions/e-commerce/goods_studio"])["contents"]}
    words = ["--aspect-ratio", "1:1", "-d", "15", "--set", "settings.resolution=720p"]
    assert generate(emulator, "solutions/e-commerce/goods_studio", plain, *words).code == 0
    assert emulator.tasks[-1].body["settings"] == {"aspect_ratio": "1:1", "duration": 15, "resolution": "720p"}


@pytest.mark.parametrize(
    ("name", "pair", "value"),
    [
        ("delete-voices", "voice_id=850087542757535834", "850087542757535834"),
        ("delete-voices", "voice_id=true", "true"),
        ("text2video", "prompt=1985", "1985"),
        ("text2video", 'prompt={"scene": "a lake"}', '{"scene": "a lake"}'),
        ("text2video", 'prompt="quoted"', "quoted"),
        ("text2video", "prompt=null", None),
        ("text2video", "duration=5", 5),
        ("text2video", "cfg_scale=0.5", 0.5),
        ("text2video", "extra.seed=5", {"seed": 5}),
        ("text2video", "tomorrow=5", 5),
        ("text2video", "tomorrow.a=5", {"a": 5}),
        ("lip-sync", "input.video_id=5", {"video_id": "5"}),
        ("image-to-video/kling-3.0", "settings.resolution=720", {"resolution": "720"}),
        ("image-to-video/kling-3.0", "settings.duration=5", {"duration": 5}),
        ("image-to-video/kling-3.0", "contents.type=5", {"type": 5}),
        ("image2video", 'image={"file": "a.png"}', {"file": "a.png"}),
        ("solutions/e-commerce/goods_studio", "settings.duration=15", {"duration": 15}),
    ],
)
def test_a_value_is_read_as_its_field_takes_it(name: str, pair: str, value: object) -> None:
    """Ids are figures, but no numbers; where only text can be, it is text."""
    ((_, told),) = parse_settings([pair], ROWS[name].request).items()
    assert told == value


@pytest.mark.parametrize("pairs", [["input=5", "input.image=a"], ["input.image=a", "input.image=b"]])
def test_a_field_is_set_once(pairs: list[str]) -> None:
    with pytest.raises(Fail, match="--set input"):
        parse_settings(pairs, ROWS["effects"].request)


# --- refusals ------------------------------------------------------------------------------------------------------

NEW = "image-to-video/kling-3.0"


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("tts", ["--set", "voice_sped=1"], "voice_sped=1: no such field; did you mean voice_speed?"),
        ("tts", ["--set", "voice_id=1"], "text: is required"),
        ("effects", ["--set", "input.imag=a.png"], "input.imag='a.png': no such field; did you mean image?"),
        ("effects", ["--image", "nope.png"], "image='nope.png': no such field; known are effect_scene, input"),
        (NEW, ["--mode", "pro"], "mode='pro': is settings.resolution here"),
        (NEW, ["--set", "sound=on"], "sound='on': is settings.audio here"),
        (NEW, ["--set", "resolution=720p"], "resolution='720p': belongs in settings"),
        (NEW, ["--set", "settings.resolutoin=720p"], "settings.resolutoin='720p': no such field; did you mean"),
        (NEW, ["-d", "5", "--set", "settings.duration=5"], "--set settings: is given twice, as an option too"),
        (NEW, ["--model", "kling-v3"], "model_name='kling-v3': is part of the path"),
        (NEW, ["turn"], "contents=None: image-to-video needs an item of type first_frame"),
        ("account/costs", [], "start_time: is required"),
        ("identify-face", [], "video_id: is required, unless video_url is given"),
    ],
)
def test_a_word_in_the_wrong_place_is_told_where_it_belongs(name: str, words: list[str], told: str) -> None:
    done = here("generate", *words, "--endpoint", name, url=NO_HOST)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert done.err.count("\n") == 1


NOPE = "is not a URL, and there is no file "


@pytest.mark.parametrize(
    ("name", "plain", "place"),
    [
        ("image2video", {"image": "nope.png"}, "image"),
        ("image2video", {"dynamic_masks": [{"mask": "nope.png"}]}, "dynamic_masks[0].mask"),
        ("omni-video", {"image_list": [{"image_url": "a.png"}, {"image_url": "nope.png"}]}, "image_list[1].image_url"),
        ("effects", {"input": {"image": "nope.png"}}, "input.image"),
        ("effects", {"input": {"images": ["a.png", "nope.png"]}}, "input.images[1]"),
        ("avatar", {"image": "a.png", "sound_file": "nope.mp3"}, "sound_file"),
        ("advanced-lip-sync", {"face_choose": [{"sound_file": "nope.mp3"}]}, "face_choose[0].sound_file"),
        ("custom-elements", {"element_image_list": {"refer_images": [{"image_url": "nope.png"}]}}, "refer_images[0]"),
        (NEW, {"contents": [{"type": "first_frame", "url": "nope.png"}]}, "contents[0].url"),
        (NEW, {"contents": [{"type": "of_tomorrow", "url": "nope.png"}]}, "contents[0].url"),
    ],
)
def test_a_missing_file_is_told_with_its_place(name: str, plain: Plain, place: str, tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    with pytest.raises(InvalidRequest, match=NOPE) as refused:
        request_of(plain, name, tmp_path)
    assert place in refused.value.field
    line = tmp_path / "jobs.jsonl"
    line.write_text(json.dumps({"endpoint": name, **plain}))
    done = here("bulk", str(line), "--out", str(tmp_path / "out"), url=NO_HOST)
    assert done.code == 2
    assert f"line 1: wrong, not paid: {refused.value.field}=" in done.err


def test_a_video_that_is_no_url_is_not_taken_for_a_picture(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"\0\0\0\x18ftyp")
    items = [{"type": "image", "url": "https://a.example/a.png"}, {"type": "video", "url": "v.mp4"}]
    with pytest.raises(InvalidRequest, match=r"contents\[1\].url='v.mp4': must be an http\(s\) URL"):
        request_of({"contents": items}, "motion-control/kling-3.0", tmp_path)


def test_files_are_checked_by_what_they_are_for(tmp_path: Path) -> None:
    """A picture that is too large for one standard is not for the other; a sound is no picture."""
    large = picture(tmp_path, "large.png")
    with large.open("ab") as file:
        file.truncate(11 * 1024 * 1024)
    items = [{"type": "first_frame", "url": "large.png"}]
    assert request_of({"contents": items}, NEW, tmp_path).contents[0].url == large
    with pytest.raises(InvalidRequest, match=r"image='.*large.*: has 11,534,336 bytes"):
        request_of({"image": "large.png"}, "image2video", tmp_path)
    with pytest.raises(InvalidRequest, match=r"sound_file='.*large"):
        request_of({"image": picture(tmp_path).name, "sound_file": "large.png"}, "avatar", tmp_path)


def test_a_file_as_a_journal_writes_it(tmp_path: Path) -> None:
    path = picture(tmp_path)
    assert request_of({"image": {"file": path.name}}, None, tmp_path).image == path


@pytest.mark.parametrize("items", [["a"], [{"url": 5}], [{"type": "first_frame", "url": {"a": 1}}], "a"])
def test_data_of_another_shape_is_left_to_the_class(items: object, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="contents"):
        request_of({"contents": items}, NEW, tmp_path)


@pytest.mark.parametrize(
    ("dialect", "name", "told"),
    [
        ("cometapi", "account/costs", "has no account/costs, which only the official hosts have. Nothing was sent."),
        ("new-api", NEW, f"has no {NEW}, nor anything else of the new standard"),
    ],
)
def test_what_a_host_has_not_is_not_asked_of_it(dialect: str, name: str, told: str, tmp_path: Path) -> None:
    with box(dialect=dialect) as other:
        url = f"new-api:{other.url}" if dialect == "new-api" else other.url
        done = here("generate", "--endpoint", name, *as_settings(sample(ROWS[name])), url=url)
        source = tmp_path / "jobs.jsonl"
        source.write_text("\n" + json.dumps({"endpoint": name, **sample(ROWS[name])}))
        many = here("bulk", str(source), "--out", str(tmp_path / "out"), url=url)
        assert other.requests == []
    assert (done.code, many.code) == (2, 2)
    assert told in done.err
    assert "line 2: wrong, not paid: " in many.err
    assert told.partition(".")[0] in many.err
    assert refusal(TextToVideo(prompt="a"), find_host("cometapi")) is None


def test_what_the_session_refuses_is_a_matter_of_usage(tmp_path: Path) -> None:
    """No page of this host speaks of the new standard: advice, which --strict makes an error, unsent."""
    with box() as other:
        done = here("generate", "a", "--endpoint", "text-to-video/kling-3.0", "--strict", url=other.url)
        assert other.requests == []
    assert done.code == 2
    assert "no page of" in done.err


# --- outputs -------------------------------------------------------------------------------------------------------


def test_an_answer_is_printed_as_json(emulator: Emulator) -> None:
    done = generate(emulator, "identify-face", {"video_url": VIDEO}, "--quiet")
    assert json.loads(done.out)["face_data"]
    assert done.lines[0] == "{"
    assert done.err == ""


def test_a_voice_is_printed_with_its_id(emulator: Emulator, tmp_path: Path) -> None:
    done = generate(emulator, "custom-voices", sample(ROWS["custom-voices"]), "--out", str(tmp_path))
    told, file = done.lines
    assert re.fullmatch(r"\d+\tGrandmother\thttp\S+", told)
    assert Path(file).suffix == ".mp3"
    (only,) = generate(emulator, "custom-voices", sample(ROWS["custom-voices"])).lines
    assert only.split("\t")[1] == "Grandmother"


def test_pictures_and_sounds_are_saved_as_what_they_are(emulator: Emulator, tmp_path: Path) -> None:
    dogs = run(emulator, "generate", "dog", "--endpoint", "generations", "--set", "n=3", "--out", str(tmp_path))
    assert [Path(line).read_bytes()[:4] for line in dogs.lines] == [b"\x89PNG"] * 3
    rain = run(emulator, "generate", "Rain", "--endpoint", "text-to-audio", "-d", "5", "--out", str(tmp_path))
    assert [Path(line).suffix for line in rain.lines] == [".mp3", ".wav"]


def test_bulk_prints_files_ids_and_answers(emulator: Emulator, tmp_path: Path) -> None:
    """An answer takes one line."""
    lines = [{"endpoint": "identify-face", "video_url": VIDEO}, {"prompt": "a"}]
    lines += [{"endpoint": "custom-voices", **sample(ROWS["custom-voices"])}]
    source = tmp_path / "jobs.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)))
    done = run(emulator, "bulk", str(source), "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    answer, living, files = (
        [line for line in done.lines if line.startswith("{")],
        [line for line in done.lines if "\t" in line],
        [line for line in done.lines if line.startswith(str(tmp_path))],
    )
    assert len(answer) == len(living) == 1
    assert sorted(Path(file).suffix for file in files) == [".mp3", ".mp4"]
    assert is_clip(next(file for file in files if file.endswith(".mp4")))
    assert json.loads(answer[0])["face_data"]
    assert f"2 saved in {tmp_path / 'out'}, 1 answered" in done.err


def test_bulk_of_answers_alone_saves_nothing(emulator: Emulator, tmp_path: Path) -> None:
    source = tmp_path / "jobs.jsonl"
    source.write_text('{"endpoint": "presets-voices"}\n{"endpoint": "delete-voices", "voice_id": "5"}\n')
    done = run(emulator, "bulk", str(source), "--out", str(tmp_path / "out"), "--max-running", "1")
    assert done.code == 1
    assert re.search(r"2 jobs in 0:0\d: 1 answered, 1 failed\n", done.err)
    assert "line 2: refused, not paid: Voice id not found" in done.err


def test_bulk_reads_a_pipe(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `kling bulk <(...)` gives it; pictures are looked for where the command runs."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path)
    (tmp_path / "far").mkdir()
    pipe = tmp_path / "far" / "pipe"
    os.mkfifo(pipe)
    lines = '{"image": "picture.png", "prompt": "a"}\n{"prompt": "b"}\n'
    writer = threading.Thread(target=pipe.write_text, args=(lines,))
    writer.start()
    done = run(emulator, "bulk", str(pipe), "--out", "out")
    writer.join(LIMIT_S)
    assert done.code == 0, done.err
    assert len(done.lines) == 2


def test_an_element_has_an_id_and_no_file(emulator: Emulator, tmp_path: Path) -> None:
    done = generate(emulator, "custom-elements", sample(ROWS["custom-elements"]), "--out", str(tmp_path))
    assert done.code == 0, done.err
    assert re.fullmatch(r"\d+\tHat\thttps://host.example/front.png\n", done.out)
    assert list(tmp_path.iterdir()) == []


def test_the_ids_of_a_job_and_of_its_request_are_one(tmp_path: Path) -> None:
    """Also where the request has its id in its options."""
    source = tmp_path / "jobs.jsonl"
    line = {"endpoint": "text-to-video/kling-3.0", "prompt": "a", "options": {"external_task_id": "mine"}}
    source.write_text(json.dumps(line | {"job_id": "another"}))
    done = here("bulk", str(source), "--out", str(tmp_path / "out"), url=NO_HOST)
    assert done.code == 2
    assert "line 1: wrong, not paid: job_id='another': differs from external_task_id 'mine'" in done.err


# --- calls ---------------------------------------------------------------------------------------------------------


def test_a_call_whose_answer_is_lost(emulator: Emulator) -> None:
    """It is never sent twice, and may have been paid for."""
    with box(dialect="official", faults=[Fault(action="reset")]) as other:
        done = generate(other, "identify-face", {"video_url": VIDEO})
        assert len(other.requests) == 1
    assert done.code == 4
    assert "Error, perhaps paid: " in done.err


def test_an_interruption_of_a_call_tells_what_it_may_have_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kling_async.cli.connect._GRACE_S", 0.2)
    with box(dialect="official", faults=[Fault(action="hang")]) as other, signalled_when(lambda: other.requests):
        done = generate(other, "identify-face", {"video_url": VIDEO})
    assert done.code == 130
    assert "Error, perhaps paid: the connection to " in done.err
    assert "Traceback" not in done.err


def test_an_interruption_of_many_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few are under way at once; the others are not sent any more."""
    monkeypatch.setattr("kling_async.cli.connect._GRACE_S", 0.2)
    source = tmp_path / "jobs.jsonl"
    source.write_text(f'{{"endpoint": "identify-face", "video_url": "{VIDEO}"}}\n' * 10)
    with box(dialect="official", faults=[Fault(action="hang")] * 10) as other:
        with signalled_when(lambda: len(other.requests) >= 4, signal.SIGTERM):
            done = run(other, "bulk", str(source), "--out", str(tmp_path / "out"))
        assert len(other.requests) == 4
    assert done.code == 130, done.err
    assert "6 jobs not begun, and not in the journal; nothing was paid for that." in done.err
    assert done.err.count("refused, perhaps paid: the connection to ") == 4
