"""operation, contents, solutions: whole bodies against samples, every rule at its edge, every advice by its words."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_new import CONTENT_FIELDS, REFERENCE_NEW, SETTINGS, SOLUTIONS
from unit_tools import HOSTS, SAMPLES, load, refused

from kling_async.dialects import PRESETS
from kling_async.endpoints import account, operation, solutions
from kling_async.endpoints.base import Endpoint, body_of, from_mapping, place_ids, to_plain
from kling_async.endpoints.contents import (
    TYPES,
    BaseVideo,
    Element,
    FeatureVideo,
    FirstFrame,
    LastFrame,
    MiddleFrame,
    MotionImage,
    MotionVideo,
    Options,
    OtherContent,
    Prompt,
    ReferImage,
    Settings,
    Voice,
)
from kling_async.endpoints.matrix_new import MODELS, UNLISTED, able_of
from kling_async.endpoints.media import encode_files, has_files
from kling_async.endpoints.operation import Operation, operation_row, setting, shots_of
from kling_async.endpoints.solutions import Solution, SolutionOptions, solution_row
from kling_async.errors import InvalidRequest

URL = "https://host.example/a.png"
CLIP = "https://host.example/a.mp4"
ROWS = (*operation.ENDPOINTS, *solutions.ENDPOINTS)
OFFICIAL = HOSTS["official"]


def folder(row: Endpoint) -> Path:
    return SAMPLES / row.name.replace("/", "--")


SAMPLED = [
    pytest.param(row, path, id=f"{row.name}-{path.stem}") for row in ROWS for path in sorted(folder(row).glob("*.json"))
]


def text(**fields: Any) -> Operation:
    return Operation(**{"operation": "text-to-video", "model": "kling-3.0", "prompt": "x", **fields})


def image(*contents: Any, model: str = "kling-3.0", **fields: Any) -> Operation:
    return Operation(operation="image-to-video", model=model, contents=contents or (FirstFrame(url=URL),), **fields)


def omni(*contents: Any, model: str = "kling-3.0-omni", **fields: Any) -> Operation:
    return Operation(operation="omni-video", model=model, contents=contents or (Prompt(text="x"),), **fields)


def motion(*contents: Any, model: str = "kling-3.0", **fields: Any) -> Operation:
    given = contents or (MotionImage(url=URL), MotionVideo(url=CLIP))
    return Operation(
        **{
            "operation": "motion-control",
            "model": model,
            "contents": given,
            "settings": {"character_orientation": "video"},
            **fields,
        }
    )


def told(request: Any) -> list[tuple[str, str]]:
    row = operation_row(request.operation, request.model)
    return [(advice.field, advice.told) for advice in row.advice(request, OFFICIAL)]


# --- samples -------------------------------------------------------------------------------------------------------


def as_classes(request: dict[str, Any]) -> dict[str, Any]:
    made = dict(request)
    if "contents" in made:
        made["contents"] = [
            TYPES[item["type"]](**item)
            if item["type"] in TYPES
            else OtherContent(type=item["type"], extra={name: item[name] for name in item if name != "type"})
            for item in made["contents"]
        ]
    is_solution = "name" in made
    if "settings" in made and not is_solution:
        made["settings"] = Settings(**made["settings"])
    if "options" in made:
        made["options"] = (SolutionOptions if is_solution else Options)(**made["options"])
    return made


@pytest.mark.parametrize(("row", "path"), SAMPLED)
@pytest.mark.parametrize("way", ["mapping", "classes", "journal"])
def test_the_whole_body_is_the_sample(row: Endpoint, path: Path, way: str) -> None:
    """A misplaced or misspelt field is ignored and the default clip billed, so all is compared."""
    sample = load(path)
    if way == "classes":
        request = row.request(**as_classes(sample["request"]))
    else:
        request = from_mapping(row.request, sample["request"])
    if way == "journal":
        again = from_mapping(row.request, json.loads(json.dumps(to_plain(request))))
        assert again == request
        request = again
    host = HOSTS[sample["host"]]
    body = body_of(request, host)
    sent = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    assert json.loads(sent) == sample["body"]
    if "exact" in sample:
        assert sent == sample["exact"]
    assert host.path(row.path).raw_path == sample["path"]
    assert not has_files(request)
    assert encode_files(body, request) == json.loads(sent)
    assert sample["source"]
    assert list(row.advice(request, host)) == [] or path.stem == "type-of-tomorrow"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_minimal_sample_tells_the_whole_path_on_each_family(row: Endpoint) -> None:
    sample = load(folder(row) / "minimal.json")
    assert sample["paths"] == {
        family: PRESETS[family if family != "official" else "global"].path(row.path).raw_path
        if family in {"official", "cometapi"}
        else f"/kling{row.path}"
        for family in sample["paths"]
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_samples_use_all_that_the_reference_lists_for_a_row(row: Endpoint) -> None:
    used: dict[str, set[str]] = {"top": set(), "contents": set(), "settings": set(), "options": set()}
    for path in folder(row).glob("*.json"):
        if path.stem == "minimal" or path.stem.startswith("every-field"):
            body = load(path)["body"]
            used["top"] |= set(body)
            used["contents"] |= {item["type"] for item in body.get("contents", ())}
            used["settings"] |= set(body.get("settings", ()))
            used["options"] |= set(body.get("options", ()))
    assert used == {**REFERENCE_NEW, **SOLUTIONS}[row.name]


def test_the_rows_are_those_of_the_reference() -> None:
    assert {row.name for row in operation.ENDPOINTS} == set(REFERENCE_NEW)
    assert {row.name for row in solutions.ENDPOINTS} == set(SOLUTIONS)
    for row in ROWS:
        assert (row.path, row.pack, row.yields, row.has_list, row.kind) == (
            f"/{row.name}",
            "video",
            "video",
            False,
            "task",
        )
        assert row.method == "POST"
        assert row.slots(None) == 1
        assert row.standard == ("solutions" if row.request is Solution else "new")


def test_the_table_of_models_says_what_the_reference_lists() -> None:
    for name, listed in REFERENCE_NEW.items():
        able = MODELS[tuple(name.split("/"))]  # type: ignore[index]
        assert able.contents == listed["contents"]
        assert able.settings - {"multi_shot"} == listed["settings"] - {"multi_shot"}
        assert able.source
    assert able_of("omni-video", "kling-v3-omni") is MODELS["omni-video", "kling-3.0-omni"]
    assert not set(UNLISTED) & set(MODELS)
    assert able_of("text-to-video", "kling-9") is None


def test_the_classes_have_the_fields_that_the_reference_lists_and_no_others() -> None:
    assert set(TYPES) == set(CONTENT_FIELDS)
    for word, kind in TYPES.items():
        assert {field.name for field in attrs.fields(kind)} - {"extra"} == CONTENT_FIELDS[word]
        assert attrs.fields(kind)[0].name == "type"
    assert {field.name for field in attrs.fields(Settings)} == SETTINGS | {"seed", "extra"}
    assert {field.name for field in attrs.fields(Options)} == REFERENCE_NEW["text-to-video/kling-3.0"]["options"] | {
        "extra"
    }


# --- rows ----------------------------------------------------------------------------------------------------------


def test_a_row_is_found_for_any_operation_and_model() -> None:
    documented = operation_row("text-to-video", "kling-3.0")
    assert documented in operation.ENDPOINTS
    tomorrow = operation_row("dream-to-video", "kling-5.0")
    assert (tomorrow.name, tomorrow.path) == ("dream-to-video/kling-5.0", "/dream-to-video/kling-5.0")
    assert operation_row("dream-to-video", "kling-5.0") is tomorrow
    request = Operation(operation="dream-to-video", model="kling-5.0")
    assert tomorrow.model_of(request) == "kling-5.0"
    assert list(tomorrow.advice(request, OFFICIAL)) == []
    assert documented.model_of(text()) == "kling-3.0"
    assert solution_row("e-commerce", "goods_studio") in solutions.ENDPOINTS
    assert solution_row("a", "b").path == "/solutions/a/b"
    assert solution_row(None, "drama_subtitle").path == "/solutions/drama_subtitle"
    assert solution_row(None, "drama_subtitle").name == "solutions/drama_subtitle"


@pytest.mark.parametrize("word", ["", ".", "..", ".a", "a/b", "a b", "a?b", "a%2fb", "ä", "a\n", "x" * 101, 5, None])
def test_words_of_a_path_are_held_to_what_a_path_can_have(word: Any) -> None:
    """No word can lead a request, and the key with it, to another path of the host."""
    refused(lambda: Operation(operation=word, model="m"), "operation", "A-Z a-z")
    refused(lambda: Operation(operation="o", model=word), "model", "A-Z a-z")
    refused(lambda: operation_row(word, "m"), "operation", "A-Z a-z")
    refused(lambda: operation_row("o", word), "model", "A-Z a-z")
    refused(lambda: Solution(area="a", name=word, contents=[{"type": "x"}]), "name", "A-Z a-z")
    refused(lambda: solution_row("a", word), "name", "A-Z a-z")
    if word is not None:
        refused(lambda: Solution(area=word, name="n", contents=[{"type": "x"}]), "area", "A-Z a-z")
        refused(lambda: solution_row(word, "n"), "area", "A-Z a-z")


@pytest.mark.parametrize("word", ["v1", "solutions", "account", "tasks"])
def test_an_operation_is_not_the_path_of_something_else(word: str) -> None:
    refused(lambda: Operation(operation=word, model="m"), "operation", "is ")
    assert operation_row("o", word).path == f"/o/{word}"


# --- rules ---------------------------------------------------------------------------------------------------------

E1, E2 = Element(element_id="1", id="one"), Element(element_id="2", id="two")

ALLOWED: list[Any] = [
    text(prompt="x" * 26_000, model="kling-4.0"),
    text(settings={"duration": 1}),
    text(settings={"duration": 60, "resolution": "8k", "aspect_ratio": "4:3"}),
    Operation(operation="text-to-video", model="m", contents=[Prompt(text="x")]),
    Operation(operation="tomorrow", model="m", prompt="x"),
    Operation(operation="tomorrow", model="m"),
    image({"type": "key_frame", "url": URL}),
    motion({"type": "who"}, {"type": "how"}),
    motion(settings={"extra": {"character_orientation": "video"}}),
    image(FirstFrame(url=URL), LastFrame(url=URL)),
    text(settings={"extra": {"image": 2, "style": 3}}, options={"extra": {"priority": 1}}),
    Solution(name="n", contents=[{"type": "x"}], settings={"duration": 15}),
]
REFUSED: list[tuple[Any, str, str]] = [
    (lambda: text(prompt=None), "prompt", "is required"),
    (lambda: text(prompt="x" * 26_001), "prompt", "at most 26000"),
    (lambda: text(prompt=" "), "prompt", "is empty"),
    (lambda: image(prompt="x"), "prompt", "of image-to-video belongs in contents"),
    (lambda: omni(prompt="x"), "prompt", "belongs in contents"),
    (lambda: motion(prompt="x"), "prompt", "belongs in contents"),
    (lambda: Operation(operation="omni-video", model="m"), "contents", "is required"),
    (lambda: Operation(operation="omni-video", model="m", contents=[]), "contents", "is required"),
    (lambda: image(Prompt(text="x")), "contents", "needs an item of type first_frame"),
    (lambda: image(LastFrame(url=URL)), "contents", "a last frame needs a first frame"),
    (lambda: image(FirstFrame(url=URL), FirstFrame(url=URL)), "contents", "more than one first_frame"),
    (lambda: omni(Prompt(text="x"), Prompt(text="y")), "contents", "more than one prompt"),
    (lambda: image(FirstFrame(url=URL), *[LastFrame(url=URL)] * 2), "contents", "more than one last_frame"),
    (lambda: motion(MotionImage(url=URL)), "contents", "needs an item of type video"),
    (lambda: motion(MotionVideo(url=CLIP)), "contents", "needs an item of type image"),
    (lambda: motion(settings=None), "settings.character_orientation", "is required"),
    (lambda: motion(settings={}), "settings.character_orientation", "is required"),
    (lambda: omni(ReferImage(url=URL, id="a"), E1, ReferImage(url=URL, id="one")), "contents", "unique"),
    (lambda: omni(E1, {"type": "x", "id": "one"}), "contents", "unique"),
    (lambda: omni(E1, FeatureVideo(url=CLIP, extra={"id": "one"})), "contents", "unique"),
    (lambda: omni("x"), "contents[0]", "one of the classes"),
    (lambda: text(contents="x"), "contents", "must be a list"),
    (lambda: text(contents={"type": "prompt"}), "contents", "must be a list"),
    (lambda: text(contents=5), "contents", "must be a list"),
    (lambda: omni({"text": "x"}), "contents[0].type", "is required; known are prompt, first_frame"),
    (lambda: omni({"type": 5}), "contents[0].type", "must be a string"),
    (lambda: omni({"type": ["prompt"]}), "contents[0].type", "must be a string"),
    (lambda: omni({"type": "prompt", "txt": "x"}), "contents[0].txt", "did you mean text"),
    (lambda: omni({"type": "prompt"}), "contents[0].text", "is required"),
    (lambda: omni({"type": "element", "element_id": "1"}), "contents[0].id", "is required"),
    (lambda: omni({"type": "voice", "voice_id": "1"}), "contents[0].id", "is required"),
    (lambda: omni({"type": "x", "extra": {}, "a": 1}), "contents[0].a", "no such field"),
    (lambda: omni({"type": "x", 5: 1}), "contents[0].extra", "must be a mapping"),
    (lambda: Element(element_id="a", id="x"), "element_id", "digits"),
    (lambda: Element(element_id=True, id="x"), "element_id", "digits"),
    (lambda: Element(element_id=10**70, id="x"), "element_id", "digits"),
    (lambda: Element(element_id="1", id=""), "id", "is empty"),
    (lambda: Voice(voice_id="", id="x"), "voice_id", "is empty"),
    (lambda: Prompt(type="x", text="x"), "type", "one of prompt"),
    (lambda: OtherContent(type="prompt"), "type", "has a class of its own, Prompt"),
    (lambda: OtherContent(type=""), "type", "is empty"),
    (lambda: OtherContent(type="x", extra=5), "extra", "must be a mapping"),
    (lambda: FirstFrame(url="a.png"), "url", "pathlib.Path"),
    (lambda: MiddleFrame(url=""), "url", "must be a URL"),
    (lambda: BaseVideo(url="ftp://host.example/a.mp4"), "url", "http(s) URL"),
    (lambda: MotionVideo(url="a.mp4"), "url", "http(s) URL"),
    (lambda: text(settings={"duration": "5"}), "settings.duration", "must be an integer"),
    (lambda: text(settings={"duration": 5.0}), "settings.duration", "must be an integer"),
    (lambda: text(settings={"duration": 0}), "settings.duration", "from 1 to 60"),
    (lambda: text(settings={"duration": 61}), "settings.duration", "from 1 to 60"),
    (lambda: text(settings={"audio": "on"}), "settings.audio", "one of native, original, off"),
    (lambda: text(settings={"multi_shot": "true"}), "settings.multi_shot", "True or False"),
    (lambda: text(settings={"resolution": ""}), "settings.resolution", "is empty"),
    (lambda: text(settings={"aspect_ratio": 1.78}), "settings.aspect_ratio", "must be a string"),
    (lambda: text(settings={"character_orientation": "left"}), "settings.character_orientation", "one of image"),
    (lambda: text(settings={"seed": "7"}), "settings.seed", "must be an integer"),
    (lambda: text(settings={"callback_url": CLIP}), "settings.callback_url", "no such field"),
    (lambda: text(settings={"extra": {"callback_url": CLIP}}), "settings.extra.callback_url", "belongs in options"),
    (lambda: text(settings={"extra": {"mode": "pro"}}), "settings.extra.mode", "settings.resolution"),
    (lambda: text(settings={"duration": 5, "extra": {"duration": 6}}), "settings.extra.duration", "set already"),
    (lambda: text(options={"duration": 5}), "options.duration", "no such field"),
    (lambda: text(options={"extra": {"duration": 5}}), "options.extra.duration", "belongs in settings"),
    (lambda: text(options={"extra": {"watermark": True}}), "options.extra.watermark", "watermark_info"),
    (lambda: text(options={"extra": {"external_task_id": "a"}}), "options.extra.external_task_id", "field of its own"),
    (lambda: text(options={"extra": {"callback_url": CLIP}}), "options.extra.callback_url", "field of its own"),
    (lambda: text(options={"extra": 5}), "options.extra", "must be a mapping"),
    (lambda: text(options={"external_task_id": "a,b"}), "options.external_task_id", "1 to 64"),
    (lambda: text(options={"callback_url": "x"}), "options.callback_url", "http(s) URL"),
    (lambda: text(options={"watermark_info": {}}), "options.watermark_info.enabled", "is required"),
    (lambda: Solution(name="n"), "contents", "is required"),
    (lambda: Solution(name="n", contents=[]), "contents", "is required"),
    (lambda: Solution(name="n", contents=[{"type": "x"}], settings=cast("Any", 5)), "settings", "must be a mapping"),
    (
        lambda: Solution(name="n", contents=[{"type": "x"}], settings=cast("Any", {5: 5})),
        "settings",
        "must be a mapping",
    ),
    (
        lambda: Solution(name="n", contents=[{"type": "x"}], settings={"callback_url": CLIP}),
        "settings.callback_url",
        "belongs in options",
    ),
    (
        lambda: Solution(name="n", contents=[{"type": "x"}], extra={"watermark": {"enabled": True}}),
        "extra.watermark",
        "belongs in options",
    ),
    (lambda: Solution(name="n", contents=[{"type": "x"}], extra={"options": {}}), "extra.options", "field of its own"),
    (lambda: Solution(name="n", contents=[{"type": "x"}], extra=cast("Any", 5)), "extra", "must be a mapping"),
    (lambda: SolutionOptions(extra={"watermark_info": {}}), "extra.watermark_info", "is called watermark here"),
    (lambda: SolutionOptions(extra={"callback_url": CLIP}), "extra.callback_url", "field of its own"),
    (lambda: SolutionOptions(watermark={"enabled": 1}), "watermark.enabled", "True or False"),
]


@pytest.mark.parametrize("request_", ALLOWED, ids=lambda request: repr(request)[:60])
def test_what_is_allowed_survives_the_journal(request_: Any) -> None:
    plain = json.loads(json.dumps(to_plain(request_)))
    assert from_mapping(type(request_), plain) == request_
    assert pickle.loads(pickle.dumps(request_)) == request_
    assert hash(request_) == hash(from_mapping(type(request_), plain))


@pytest.mark.parametrize(("build", "field", "words"), REFUSED, ids=[f"{field}-{words}" for _, field, words in REFUSED])
def test_what_every_source_forbids_is_refused(build: Any, field: str, words: str) -> None:
    refused(build, field, words)


IGNORED_AT_THE_TOP = [
    *("duration", "resolution", "aspect_ratio", "audio", "multi_shot", "seed", "character_orientation"),
    *("callback_url", "external_task_id", "watermark_info", "watermark"),
    *("mode", "sound", "shot_type", "multi_prompt", "model", "model_name", "operation"),
    *("first_frame", "last_frame", "image", "image_tail", "image_list", "video_list", "element_list", "voice_list"),
    *("prompt", "contents", "settings", "options"),
]


@pytest.mark.parametrize("name", IGNORED_AT_THE_TOP)
def test_what_the_service_ignores_at_the_top_level_is_refused_with_a_hint(name: str) -> None:
    """Section 3: the service accepts them there, does nothing with them, and bills the default clip."""
    error = refused(lambda: text(extra={name: 1}), f"extra.{name}")
    assert any(hint in error.rule for hint in ("belongs in", " here", "path", "field of its own", "in the prompt"))


def test_a_local_picture_of_the_new_standard_may_be_larger(tmp_path: Path) -> None:
    """New standard: 50 MB, where the legacy one takes 10."""
    picture = tmp_path / "a.png"
    size = (400).to_bytes(4) * 2
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + size + b"\x00" * (11 * 1024 * 1024))
    for item in (FirstFrame(url=picture), {"type": "key_frame", "url": picture}):
        request = image(item, FirstFrame(url=URL)) if isinstance(item, dict) else image(item)
        again = from_mapping(Operation, json.loads(json.dumps(to_plain(request))))
        assert again == request
        assert has_files(again)
        body: Any = encode_files(body_of(again, OFFICIAL), again)
        assert body["contents"][0]["url"].startswith("iVBORw0KGgo")
    with picture.open("ab") as file:
        file.truncate(51 * 1024 * 1024)
    refused(
        lambda: encode_files(body_of(request, OFFICIAL), request), "contents[0].url", "at most 52,428,800 are allowed"
    )


# --- placing -------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab@ ;,", max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from([*IGNORED_AT_THE_TOP, "a", "tomorrow", "id", "type"])
ITEMS = st.one_of(
    st.builds(Prompt, text=st.sampled_from(["x", "@one", "shot 1, 2, a; shot 2, 3, b", "@two x@three.four"])),
    *(
        st.builds(kind, url=st.just(CLIP), id=st.none() | st.sampled_from(["one", "two", "three"]))
        for kind in TYPES.values()
        if "url" in attrs.fields_dict(kind)
    ),
    st.builds(Element, element_id=st.integers(1, 9), id=st.sampled_from(["one", "two", "on"])),
    st.builds(Voice, voice_id=st.just("v"), id=st.sampled_from(["one", "three"])),
    st.dictionaries(NAMES, JSON, max_size=3),
)
PLAIN_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "multi_shot": st.booleans(),
        "audio": st.sampled_from(["native", "original", "off"]),
        "resolution": st.sampled_from(["480p", "720p", "1080p"]),
        "duration": st.integers(1, 31),
        "character_orientation": st.sampled_from(["image", "video"]),
        "extra": st.dictionaries(NAMES, JSON, max_size=2),
    },
)
PLAIN_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "callback_url": st.just(CLIP),
        "external_task_id": st.just("mine"),
        "watermark_info": st.just({"enabled": True}),
        "extra": st.dictionaries(NAMES, JSON, max_size=2),
    },
)
OURS = {"external_task_id", "callback_url", "watermark_info"}


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


@given(
    st.sampled_from([*MODELS, ("tomorrow", "m")]),
    st.none() | st.just("@a shot"),
    st.none() | st.lists(ITEMS, max_size=4),
    st.none() | PLAIN_SETTINGS,
    st.none() | PLAIN_OPTIONS,
    st.dictionaries(NAMES, JSON, max_size=2),
    st.none() | st.just("https://host.example/ours"),
)
def test_no_field_of_ours_lands_where_the_service_ignores_it(
    of: tuple[str, str], prompt: Any, contents: Any, settings: Any, options: Any, extra: Any, callback_url: Any
) -> None:
    """Any operation has our fields in its options and nowhere else, before and after the job's id is placed."""
    plain = {
        "operation": of[0],
        "model": of[1],
        "prompt": prompt,
        "contents": contents,
        "settings": settings,
        "options": options,
        "extra": extra,
    }
    try:
        request = from_mapping(Operation, plain)
    except InvalidRequest:
        return
    told(request)  # never raises
    body: dict[str, Any] = json.loads(json.dumps(body_of(request, OFFICIAL)))
    for placed in (False, True):
        if placed:
            place_ids(operation_row("text-to-video", "kling-3.0"), body, job_id="job", callback_url=callback_url)
        assert set(body) <= {"prompt", "contents", "settings", "options"} | set(extra)
        assert not OURS & set(body)
        assert not OURS & set(body.get("settings", ()))
    assert body["options"]["external_task_id"] == "job"
    assert body["options"].get("callback_url") == (callback_url or request.callback_url)
    assert from_mapping(Operation, json.loads(json.dumps(to_plain(request)))) == request


def test_the_ids_of_a_request_are_those_of_its_options() -> None:
    assert (text().external_task_id, text().callback_url) == (None, None)
    options = {"external_task_id": "mine", "callback_url": CLIP}
    assert (text(options=options).external_task_id, text(options=options).callback_url) == ("mine", CLIP)
    solution = Solution(name="n", contents=[{"type": "x"}])
    assert (solution.external_task_id, solution.callback_url) == (None, None)
    solution = attrs.evolve(solution, options=options)
    assert (solution.external_task_id, solution.callback_url) == ("mine", CLIP)


@pytest.mark.parametrize("given_options", [None, {}, {"watermark": {"enabled": True}}, "not a mapping"])
def test_the_jobs_id_and_its_callback_are_placed_in_the_options(given_options: Any) -> None:
    row = solution_row("e-commerce", "goods_studio")
    body: dict[str, Any] = {"contents": []} if given_options is None else {"contents": [], "options": given_options}
    place_ids(row, body, job_id="job", callback_url=None)
    kept = given_options if isinstance(given_options, dict) else {}
    assert body == {"contents": [], "options": {**kept, "external_task_id": "job"}}
    place_ids(row, body, job_id="job", callback_url=CLIP)
    assert body["options"]["callback_url"] == CLIP
    if isinstance(given_options, dict):
        assert "external_task_id" not in given_options


def test_nothing_unset_is_sent() -> None:
    """Section 20, case 9: gateways take even an empty value as a choice."""
    for host in HOSTS.values():
        assert body_of(text(contents=[], settings=None, options=None), host) == {"prompt": "x"}
        assert body_of(omni(E1), host) == {"contents": [{"type": "element", "element_id": "1", "id": "one"}]}
        sent = body_of(text(settings={"multi_shot": False}), host)
        assert sent == {"prompt": "x", "settings": {"multi_shot": False}}


def test_a_setting_is_read_also_from_the_further_ones() -> None:
    assert setting(text(), "duration") is None
    assert setting(text(settings={"duration": 7}), "duration") == 7
    assert setting(text(settings={"extra": {"duration": 8}}), "duration") == 8
    assert setting(text(settings={"extra": {"duration": [8]}}), "duration") == "[8]"


# --- advice --------------------------------------------------------------------------------------------------------

FEATURE, BASE = FeatureVideo(url=CLIP), BaseVideo(url=CLIP)
FIRST, LAST, MIDDLE = FirstFrame(url=URL), LastFrame(url=URL), MiddleFrame(url=URL)
REFER = ReferImage(url=URL)
RATIO = {"aspect_ratio": "16:9"}
LONG = "shot 1, 5, " + "x" * 513


def elements(count: int) -> list[Element]:
    return [Element(element_id=str(index), id=f"e{index}") for index in range(1, count + 1)]


def omni40(*contents: Any) -> Operation:
    return omni(*contents, model="kling-4.0")


# A request, and what is told of it: field and words, in order.
ADVICE: list[tuple[Operation, list[tuple[str, str]]]] = [
    (text(), []),
    (text(model="kling-9", settings={"duration": 60, "resolution": "8k"}), []),
    # references
    (omni(Prompt(text="@one and @two."), E1, E2, settings=RATIO), []),
    (omni(Prompt(text="@张三走"), Element(element_id="1", id="张三"), settings=RATIO), []),
    (omni(Prompt(text="@on and a@b.c"), settings=RATIO), [("contents", "refers to @on, and no item")]),
    (omni(Prompt(text="@ones @on"), E1, settings=RATIO), [("contents", "@ones"), ("contents", "@on,")]),
    (text(prompt="see @cat"), [("prompt", "refers to @cat")]),
    (
        omni(
            Prompt(text="@Zhang, @ZhangSan"),
            Element(element_id="1", id="Zhang"),
            Element(element_id="2", id="ZhangSan"),
            settings=RATIO,
        ),
        [("contents", "the id Zhang is part of the id ZhangSan")],
    ),
    (
        omni(Prompt(text="write to x@one.com"), E1, settings=RATIO),
        [("contents", "the id one is also a word of the prompt")],
    ),
    (omni(Prompt(text="@one is one"), E1, settings=RATIO), [("contents", "the id one is also a word")]),
    # shots
    (text(prompt="shot 1, 2, a; Shot 2, 3, b;"), []),
    (text(prompt="镜头 1, 2, 门; 镜头 2, 3, 厅", settings={"duration": 5}), []),
    (text(prompt="shot 1, 2, a; and more"), []),
    (text(prompt="镜头 1\uff0c2\uff0c门\uff1b镜头 2\uff0c3\uff0c厅"), [("prompt", "half-width separators")]),
    (text(prompt="shot 1, 2, a; shot 2, 2, b"), [("prompt", "take 4 s together, and the clip takes 5 s")]),
    (text(prompt="shot 1, 5, a", settings={"duration": 6}), [("prompt", "take 5 s together")]),
    (text(prompt="shot 1, 5, a", settings={"multi_shot": False}), [("settings.multi_shot", "is False")]),
    (
        text(prompt="shot 1, 0.5, a; shot 7, 4.5, b"),
        [("prompt", "numbered 1 to 6"), ("prompt", "shot 1 takes 0.5 s")],
    ),
    (text(prompt=";".join(["shot 1, 1, a"] * 7), settings={"duration": 7}), [("prompt", "has 7 shots")]),
    (text(prompt=LONG), [("prompt", "shot 1 has 513 characters, at most 512")]),
    (text(prompt="shot 1, 5, a", model="kling-2.6"), [("prompt", "kling-2.6 has no multi-shot")]),
    (text(prompt="shot 1, 5, a", model="kling-9"), []),
    # models
    (Operation(operation="text-to-video", model="m", contents=[Prompt(text="x")]), [("contents", "no page tells")]),
    (text(prompt="x" * 3073), [("prompt", "has 3073 characters, kling-3.0 takes 3072")]),
    (text(prompt="x" * 3072), []),
    (text(prompt="x" * 2501, model="kling-2.6"), [("prompt", "takes 2500")]),
    (text(prompt="x" * 26_000, model="kling-4.0"), []),
    (text(prompt="海" * 11_001, model="kling-4.0"), [("prompt", "takes 11000")]),
    (text(settings={"duration": 2}), [("settings.duration", "makes 3, 4, 5")]),
    (text(settings={"duration": 16}), [("settings.duration", "not 16")]),
    (text(model="kling-2.6", settings={"duration": 7}), [("settings.duration", "makes 5, 10 of duration")]),
    (text(model="kling-4.0", settings={"duration": 30, "aspect_ratio": "21:9"}), []),
    (text(model="kling-4.0", settings={"audio": "off"}), [("settings.audio", "takes no audio")]),
    (text(model="kling-4.0-flash", settings={"duration": 21}), [("settings.duration", "not 21")]),
    (text(model="kling-4.0-flash", settings={"resolution": "1080p"}), [("settings.resolution", "makes 720p")]),
    (text(settings={"aspect_ratio": "4:3"}), [("settings.aspect_ratio", "not 4:3")]),
    (text(settings={"resolution": "480p"}), [("settings.resolution", "not 480p")]),
    (text(settings={"audio": "original"}), [("settings.audio", "native, off")]),
    (text(settings={"extra": {"resolution": ["720p"]}}), [("settings.resolution", "not ['720p']")]),
    (text(model="kling-3.0-turbo", settings={"audio": "off"}), [("settings.audio", "takes no audio")]),
    (text(model="kling-2.6", settings={"audio": "native"}), [("settings.resolution", "native audio only with 1080p")]),
    (image(settings={"aspect_ratio": "1:1"}), [("settings.aspect_ratio", "takes no aspect_ratio in image-to-video")]),
    (image(FIRST, LAST, model="kling-2.5-turbo"), [("settings.resolution", "a last frame only with 1080p")]),
    (
        image(FIRST, LAST, model="kling-2.6", settings={"audio": "native", "resolution": "1080p"}),
        [("settings.audio", "a last frame only without sound")],
    ),
    (
        image(FIRST, Voice(voice_id="v", id="a"), model="kling-2.6"),
        [("settings.resolution", "a voice only with 1080p")],
    ),
    (image(FIRST, LAST, model="kling-3.0-turbo"), [("contents", "and may ignore last_frame")]),
    (image(FIRST, MIDDLE), [("contents", "may ignore middle_frame")]),
    (image(FIRST, *elements(4)), [("contents", "at most 3 of element, not 4")]),
    (image(FIRST, *[MIDDLE] * 8, LAST, model="kling-4.0"), []),
    (
        image(FIRST, *[MIDDLE] * 9, LAST, model="kling-4.0"),
        [("contents", "at most 10 of first_frame"), ("contents", "at most 8 of middle_frame, not 9")],
    ),
    (image(LAST, model="kling-4.0"), []),
    (image(LAST, model="kling-9"), []),
    # omni
    (omni(), [("settings.aspect_ratio", "needed without a first frame and without a video")]),
    (omni(FIRST), []),
    (omni(settings={"extra": {"aspect_ratio": "16:9"}}), []),
    (omni(FEATURE, settings={"audio": "native"}), [("settings.audio", "makes no sound with a feature_video")]),
    (omni(FEATURE, settings={"audio": "off", "multi_shot": True}), []),
    (omni(FEATURE, settings={"multi_shot": False}), [("settings.multi_shot", "needs multi_shot=True")]),
    (omni(BASE, settings={"audio": "native"}), [("settings.audio", "no native audio with a base_video")]),
    (omni(BASE, settings={"audio": "original"}), []),
    (omni(BASE, settings={"multi_shot": True}), [("settings.multi_shot", "no multi-shot with a base_video")]),
    (omni(BASE, FIRST, LAST), [("contents", "takes no first_frame, last_frame with a base_video")]),
    (omni(FIRST, settings={"audio": "original"}), [("settings.audio", "there is none")]),
    (omni(*[REFER] * 7, settings=RATIO), []),
    (omni(*[REFER] * 8, settings=RATIO), [("contents", "at most 7 of element, refer_image, not 8")]),
    (omni(FEATURE, *[REFER] * 5), [("contents", "at most 4 of element, refer_image beside feature_video, not 5")]),
    (omni(FEATURE, BASE), [("contents", "at most 1 of base_video, feature_video, not 2")]),
    (omni(FIRST, *elements(4)), [("contents", "at most 3 of element beside first_frame, not 4")]),
    (
        omni(MotionImage(url=URL), MotionVideo(url=CLIP), settings=RATIO),
        [("contents", "may ignore image"), ("contents", "may ignore video")],
    ),
    (omni(MotionImage(url=URL), model="kling-v3-omni", settings=RATIO), [("contents", "may ignore image")]),
    (omni(FIRST, model="kling-o1", settings={"duration": 3}), [("settings.duration", "5 or 10 seconds")]),
    (omni(FIRST, REFER, model="kling-o1", settings={"duration": 3}), []),
    (omni(FIRST, REFER, model="kling-o1", settings={"duration": 11}), [("settings.duration", "not 11")]),
    (omni40(*[REFER] * 10, *[FEATURE] * 5), []),
    (omni40(*[REFER] * 10, *[FEATURE] * 5, BASE), [("contents", "at most 15"), ("contents", "at most 5 of")]),
    (omni40(*[REFER] * 11), [("contents", "at most 10 of")]),
    (omni40(BASE, BASE), [("contents", "at most 1 of base_video")]),
    (omni40(*elements(8)), [("contents", "at most 7 of element")]),
    (omni40(*[Voice(voice_id="v", id=f"v{index}") for index in range(4)]), [("contents", "at most 3 of voice")]),
    # motion control
    (motion(), []),
    (motion(settings={"character_orientation": "image", "duration": 5}), [("settings.duration", "takes no duration")]),
    (
        motion(MotionImage(url=URL), MotionVideo(url=CLIP), E1, settings={"character_orientation": "image"}),
        [("settings.character_orientation", "face as in the video")],
    ),
    (motion(MotionImage(url=URL), MotionVideo(url=CLIP), E1, E2), [("contents", "at most 1 of element")]),
    (motion(MotionImage(url=URL), MotionVideo(url=CLIP), E1, model="kling-2.6"), [("contents", "ignore element")]),
]


@pytest.mark.parametrize(("request_", "expected"), ADVICE, ids=range(len(ADVICE)))
def test_advice_names_the_field_and_says_what_is_likely_wrong(
    request_: Operation, expected: list[tuple[str, str]]
) -> None:
    found = told(request_)
    assert len(found) == len(expected), found
    for (field, sentence), (wanted, words) in zip(found, expected, strict=True):
        assert field == wanted
        assert words in sentence


def test_shots_are_read_from_a_prompt() -> None:
    assert shots_of("shot 1, 2, a, b; SHOT 2, 3.5, c\nd ;") == [(1, 2.0, "a, b"), (2, 3.5, "c\nd")]
    assert shots_of("a; b") == shots_of("") == shots_of("shot one, 2, a") == []


GOODS = {"resolution": "720p", "aspect_ratio": "9:16", "duration": 15}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"area": "tomorrow", "settings": None, "contents": [{"type": "x"}]}, []),
        ({"settings": None}, ["needs resolution", "needs aspect_ratio", "needs duration"]),
        ({"settings": {**GOODS, "duration": 20}}, ["duration, one of 15, 30, 60"]),
        ({"contents": [{"type": "goods_title", "text": "x"}]}, ["takes 1 to 5 of ref_image, not 0"]),
        ({"contents": [{"type": "ref_image", "url": URL}]}, ["takes 1 to 1 of goods_title, not 0"]),
        (
            {"contents": [*[{"type": "ref_image", "url": URL}] * 6, {"type": "goods_title", "text": "x" * 201}]},
            ["not 6", "goods_title has 201 characters, at most 200"],
        ),
        (
            {
                "contents": [
                    {"type": "ref_image", "url": URL},
                    {"type": "goods_title", "text": 5},
                    {"type": "goods_description", "text": "x" * 2001},
                    FIRST,
                ]
            },
            ["and no first_frame", "at most 2000"],
        ),
    ],
)
def test_what_the_page_of_a_solution_says_is_advice(fields: dict[str, Any], expected: list[str]) -> None:
    contents = [{"type": "ref_image", "url": URL}, {"type": "goods_title", "text": "x"}]
    request = Solution(
        **{"area": "e-commerce", "name": "goods_studio", "contents": contents, "settings": GOODS, **fields}
    )
    row = solution_row(request.area, request.name)
    found = [str(advice) for advice in row.advice(request, OFFICIAL)]
    assert len(found) == len(expected), found
    for sentence, words in zip(found, expected, strict=True):
        assert words in sentence


def test_the_rows_of_all_three_standards_have_names_of_their_own() -> None:
    rows = [*ROWS, *account.ENDPOINTS]
    assert len({row.name for row in rows}) == len({row.path for row in rows}) == len(rows)
