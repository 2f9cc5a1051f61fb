"""sound, images, library: every rule of the reference, and whole bodies compared with samples."""

import json
import pickle
import re
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_media import NESTED_MEDIA, REFERENCE_MEDIA
from unit_tools import HOSTS, SAMPLES, load, refused, samples

from kling_async import ElementRef, InvalidRequest, WatermarkInfo
from kling_async.endpoints import Endpoint, body_of, encode_files, from_mapping, has_files, images, library, sound
from kling_async.endpoints.answers import Deletion, Presets
from kling_async.endpoints.base import Call, to_plain
from kling_async.endpoints.images import (
    ImageExpand,
    ImageGeneration,
    MultiImageToImage,
    OmniImage,
    OmniPicture,
    SubjectCompletion,
    SubjectImage,
    VirtualTryOn,
)
from kling_async.endpoints.library import (
    CustomElement,
    CustomVoice,
    DeleteElement,
    DeleteVoice,
    ElementPicture,
    ElementPictures,
    ElementTag,
    ElementVideo,
    ElementVideos,
    PresetElements,
    PresetVoices,
)
from kling_async.endpoints.required import said
from kling_async.endpoints.sound import TextToAudio, TextToSpeech, VideoToAudio

ROWS = (*sound.ENDPOINTS, *images.ENDPOINTS, *library.ENDPOINTS)
BY_NAME = {row.name: row for row in ROWS}
BY_REQUEST = {row.request: row for row in ROWS}
EVERY_SAMPLE = [sample for row in ROWS for sample in samples(row.name)]
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)

URL = "https://host.example/a.png"
BASE64 = "iVBORw0KGgoAAAANSUhEUgAA" + "A" * 60
SIDES = ("up_expansion_ratio", "down_expansion_ratio", "left_expansion_ratio", "right_expansion_ratio")
PICTURES = {"frontal_image": URL, "refer_images": [{"image_url": URL}]}
VIDEOS = {"refer_videos": [{"video_url": URL}]}
MINIMAL: dict[type[Any], dict[str, Any]] = {
    TextToSpeech: {"text": "x", "voice_id": "v"},
    TextToAudio: {"prompt": "x", "duration": 5},
    VideoToAudio: {"video_id": "1"},
    ImageGeneration: {"prompt": "x"},
    OmniImage: {"prompt": "x"},
    MultiImageToImage: {"subject_image_list": [{"subject_image": URL}]},
    ImageExpand: {"image": URL, **dict.fromkeys(SIDES, 0)},
    VirtualTryOn: {"human_image": URL},
    SubjectCompletion: {"element_frontal_image": URL},
    CustomVoice: {"voice_name": "x", "voice_url": URL},
    PresetVoices: {},
    DeleteVoice: {"voice_id": "x"},
    CustomElement: {
        "element_name": "x",
        "element_description": "x",
        "reference_type": "image_refer",
        "element_image_list": PICTURES,
    },
    PresetElements: {},
    DeleteElement: {"element_id": "1"},
}
KINDS = list(MINIMAL)
CLASSES: dict[str, type[Any]] = {
    "watermark_info": WatermarkInfo,
    "element_list": ElementRef,
    "image_list": OmniPicture,
    "subject_image_list": SubjectImage,
    "element_image_list": ElementPictures,
    "refer_images": ElementPicture,
    "element_video_list": ElementVideos,
    "refer_videos": ElementVideo,
    "tag_list": ElementTag,
}


def make(kind: type[Any], **fields: Any) -> Any:
    return kind(**{**MINIMAL[kind], **fields})


def with_classes(name: str, value: Any) -> Any:
    """The same plain data made of instances, all the way down."""
    if isinstance(value, list):
        return [with_classes(name, item) for item in value]
    if isinstance(value, dict) and name in CLASSES:
        return CLASSES[name](**{key: with_classes(key, item) for key, item in value.items()})
    return value


def advice(request: Any, host: str = "official") -> list[tuple[str, str]]:
    return [(told.field, str(told)) for told in BY_REQUEST[type(request)].advice(request, HOSTS[host])]


# --- samples and rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERY_SAMPLE)
@pytest.mark.parametrize("way", ["mapping", "classes", "plain"])
def test_the_whole_body_is_the_sample(path: Path, way: str) -> None:
    """A misplaced or misspelt field is ignored by the service, so all of the body is compared, and its order."""
    sample = load(path)
    row, host, plain = BY_NAME[path.parent.name], HOSTS[sample["host"]], sample["request"]
    request = from_mapping(row.request, plain)
    if way == "classes":
        assert row.request(**{name: with_classes(name, value) for name, value in plain.items()}) == request
    elif way == "plain":
        request = from_mapping(row.request, json.loads(json.dumps(to_plain(request))))
    body = body_of(request, host)
    dumped = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    assert json.loads(dumped) == sample["body"]
    assert dumped == sample.get("exact", dumped)
    assert host.path(row.path).raw_path == sample["path"]
    assert not has_files(request)
    assert pickle.loads(pickle.dumps(request)) == request


@each_row
def test_the_smallest_request_has_its_path_on_every_family_of_hosts(row: Endpoint) -> None:
    sample = load(SAMPLES / row.name / "minimal.json")
    assert sample["paths"] == {
        "official": row.path,
        "cometapi": f"/kling{row.path}",
        "new-api": f"/kling{row.path}",
    }
    assert sample["path"] == sample["paths"][sample["host"]]


@each_row
def test_the_samples_use_every_field_that_the_reference_lists_and_no_class_has_others(row: Endpoint) -> None:
    used: set[str] = set()
    for path in (SAMPLES / row.name).glob("*.json"):
        used |= set(load(path)["request"])
    fields = {field.name for field in attrs.fields(row.request)}
    assert "extra" in fields
    assert used == REFERENCE_MEDIA[row.name] == fields - {"extra"}


def nested_names(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if name:
                yield name, key
            yield from nested_names(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from nested_names(item, name)


def test_the_samples_use_every_field_of_every_nested_object() -> None:
    used: dict[str, set[str]] = {}
    for row in ROWS:
        for path in (SAMPLES / row.name).glob("*.json"):
            for outer, inner in nested_names(load(path)["body"]):
                used.setdefault(outer, set()).add(inner)
    assert used == NESTED_MEDIA
    assert used == {name: {field.name for field in attrs.fields(kind)} for name, kind in CLASSES.items()}


def test_the_rows_are_those_of_the_reference() -> None:
    told = {
        row.name: (row.path, row.yields, row.pack, row.kind, row.method, row.has_list, row.by_external_id)
        for row in ROWS
    }
    general = "/v1/general"
    assert told == {
        "tts": ("/v1/audio/tts", "audio", "audio", "finished", "POST", False, False),
        "text-to-audio": ("/v1/audio/text-to-audio", "audio", "audio", "task", "POST", True, True),
        "video-to-audio": ("/v1/audio/video-to-audio", "video", "audio", "task", "POST", True, True),
        "generations": ("/v1/images/generations", "image", "image", "task", "POST", True, True),
        "omni-image": ("/v1/images/omni-image", "image", "image", "task", "POST", True, True),
        "multi-image2image": ("/v1/images/multi-image2image", "image", "image", "task", "POST", True, True),
        "expand": ("/v1/images/editing/expand", "image", "image", "task", "POST", True, True),
        "virtual-try-on": ("/v1/images/kolors-virtual-try-on", "image", "try_on", "task", "POST", True, True),
        "ai-multi-shot": (f"{general}/ai-multi-shot", "image", "general", "task", "POST", True, False),
        "custom-voices": (f"{general}/custom-voices", "voice", "general", "task", "POST", True, True),
        "presets-voices": (f"{general}/presets-voices", "voice", "", "call", "GET", False, False),
        "delete-voices": (f"{general}/delete-voices", "voice", "", "call", "POST", False, False),
        "custom-elements": (f"{general}/advanced-custom-elements", "element", "general", "task", "POST", True, True),
        "presets-elements": (f"{general}/advanced-presets-elements", "element", "", "call", "GET", False, False),
        "delete-elements": (f"{general}/delete-advanced-elements", "element", "", "call", "POST", False, False),
    }
    assert {row.name: row.default_model for row in ROWS if row.default_model} == {
        "generations": "kling-v3",
        "omni-image": "kling-image-o1",
        "multi-image2image": "kling-v2-1",
        "virtual-try-on": "kolors-virtual-try-on-v1",
    }
    assert {row.standard for row in ROWS} == {"legacy"}


@each_row
def test_a_row_fits_its_request(row: Endpoint) -> None:
    """Calls answer with what their class promises; tasks can be named and reported, and what is finished cannot."""
    fields = attrs.fields_dict(row.request)
    caller = {"external_task_id", "callback_url"}
    assert caller & fields.keys() == (caller if row.kind == "task" else set())
    if row.kind == "call":
        assert row.request.__orig_bases__ == (Call[row.answer],)  # type: ignore[name-defined]
        assert row.answer in {Deletion, Presets}
    else:
        assert row.answer is None
    assert all(field.kw_only for field in fields.values())
    assert row.source in load(SAMPLES / row.name / "minimal.json")["source"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("host", list(HOSTS.values()), ids=list(HOSTS))
def test_nothing_unset_is_sent(kind: type[Any], host: Any) -> None:
    unset = {field.name: None for field in attrs.fields(kind) if field.name != "extra"}
    assert body_of(make(kind), host) == MINIMAL[kind]
    assert body_of(kind(**{**unset, **MINIMAL[kind]}), host) == MINIMAL[kind]
    assert body_of(make(kind, extra={"seed": 1}), host) == {**MINIMAL[kind], "seed": 1}


# --- one field -------------------------------------------------------------------------------------------------------

WORDS = [
    ("model_name", "kling-v9-of-tomorrow", "", "is empty"),
    ("callback_url", "https://host.example/hook", "host.example", "http(s) URL"),
    ("external_task_id", "x" * 64, "a,b", "1 to 64 of"),
    ("resolution", "8k", "", "is empty"),
    ("aspect_ratio", "5:4", "", "is empty"),
    ("n", 9, 10, "from 1 to 9"),
    ("n", 1, 0, "from 1 to 9"),
    ("n", 2, "2", "must be an integer"),
    ("n", 2, True, "must be an integer"),
    ("negative_prompt", "x" * 2500, "x" * 2501, "at most 2500"),
    ("image_fidelity", 0, -0.1, "from 0 to 1"),
    ("human_fidelity", 1, 1.1, "from 0 to 1"),
    ("watermark_info", {"enabled": False}, True, "WatermarkInfo or a mapping"),
    ("extra", {"seed": 1}, None, "mapping from field names"),
]
# class, field, value that just passes, value that just does not, words of the rule.
FIELDS: list[tuple[type[Any], str, Any, Any, str]] = [
    *((kind, *rule) for rule in WORDS for kind in KINDS if rule[0] in attrs.fields_dict(kind)),
    (TextToSpeech, "text", "x" * 1000, "x" * 1001, "at most 1000"),
    (TextToSpeech, "text", "海", "  ", "is empty"),
    (TextToSpeech, "voice_id", "v", "", "is empty"),
    (TextToSpeech, "voice_language", "zh", "de", "one of zh, en"),
    (TextToSpeech, "voice_speed", 0.8, 0.79, "from 0.8 to 2"),
    (TextToSpeech, "voice_speed", 2, 2.1, "from 0.8 to 2"),
    (TextToSpeech, "voice_speed", 1, "1.0", "must be a number"),
    (TextToAudio, "prompt", "x" * 200, "x" * 201, "at most 200"),
    (TextToAudio, "duration", 3, 2.9, "from 3 to 10"),
    (TextToAudio, "duration", 10.0, 10.1, "from 3 to 10"),
    (TextToAudio, "duration", 5, "5", "must be a number"),
    (VideoToAudio, "video_id", "1", "", "is empty"),
    (VideoToAudio, "sound_effect_prompt", "x" * 200, "x" * 201, "at most 200"),
    (VideoToAudio, "bgm_prompt", "x" * 200, "x" * 201, "at most 200"),
    (VideoToAudio, "asmr_mode", False, 0, "True or False"),
    (ImageGeneration, "prompt", "x" * 2500, "x" * 2501, "at most 2500"),
    (ImageGeneration, "image", BASE64, "data:image/png;base64," + BASE64, "without the data: prefix"),
    (ImageGeneration, "image", Path("not-there.png"), "not-there.png", "neither a URL nor Base64"),
    (ImageGeneration, "element_list", [{"element_id": 1}] * 10, [{"element_id": 1}] * 11, "has 11 items"),
    (OmniImage, "prompt", "x" * 2500, "x" * 2501, "at most 2500"),
    (OmniImage, "image_list", [{"image": URL}] * 10, [{"image": URL}] * 11, "has 11 items, 1 to 10"),
    (OmniImage, "image_list", [{"image": URL}], [], "has 0 items"),
    (OmniImage, "image_list", [{"image": URL}], URL, "must be a list of OmniPicture"),
    (OmniImage, "element_list", [{"element_id": "1"}] * 10, [], "has 0 items"),
    (OmniImage, "result_type", "single", "both", "one of single, series"),
    (MultiImageToImage, "prompt", "x" * 2500, "x" * 2501, "at most 2500"),
    (MultiImageToImage, "subject_image_list", [{"subject_image": URL}] * 4, [{"subject_image": URL}] * 5, "1 to 4"),
    (MultiImageToImage, "subject_image_list", [{"subject_image": URL}], [], "has 0 items"),
    (MultiImageToImage, "scene_image", BASE64, "a.png", "neither"),
    (MultiImageToImage, "style_image", URL, 5, "URL, Base64 text or a pathlib.Path"),
    (ImageExpand, "image", URL, "", "URL, Base64 text or a pathlib.Path"),
    *((ImageExpand, side, good, bad, "from 0 to 2") for side in SIDES for good, bad in ((2, 2.01), (0.0, -0.01))),
    (ImageExpand, "prompt", "x" * 2500, "x" * 2501, "at most 2500"),
    (VirtualTryOn, "human_image", Path("a.png"), "a.png", "neither"),
    (VirtualTryOn, "cloth_image", BASE64, b"x", "URL, Base64 text or a pathlib.Path"),
    (SubjectCompletion, "element_frontal_image", URL, "a.png", "neither"),
    (CustomVoice, "voice_name", "x" * 20, "x" * 21, "at most 20"),
    (CustomVoice, "voice_url", URL, "a.mp3", "http(s) URL"),
    (CustomVoice, "video_id", "1", 1, "must be a string"),
    (CustomElement, "element_name", "海" * 20, "海" * 21, "at most 20"),
    (CustomElement, "element_description", "x" * 100, "x" * 101, "at most 100"),
    (CustomElement, "reference_type", "image_refer", "image", "one of video_refer, image_refer"),
    (CustomElement, "element_voice_id", "1", "", "is empty"),
    (CustomElement, "element_image_list", PICTURES, [PICTURES], "must be a ElementPictures or a mapping"),
    (CustomElement, "tag_list", [{"tag_id": "o_101"}], "o_101", "must be a list of ElementTag"),
    (PresetVoices, "pageNum", 1000, 1001, "from 1 to 1000"),
    (PresetVoices, "pageSize", 1000, 1001, "from 1 to 1000"),
    (PresetElements, "pageNum", 1, 0, "from 1 to 1000"),
    (PresetElements, "pageSize", 500, 501, "from 1 to 500"),
    (DeleteVoice, "voice_id", "1", 1, "must be a string"),
    (DeleteElement, "element_id", 10**63, 10**64, "must be a string"),
    (DeleteElement, "element_id", 1, 0, "must be a string"),
    (DeleteElement, "element_id", "elem_8", True, "must be a string"),
]


@pytest.mark.parametrize(("kind", "field", "good", "bad", "words"), FIELDS, ids=lambda value: repr(value)[:30])
def test_every_field_takes_its_bound_and_refuses_what_lies_beyond(
    kind: type[Any], field: str, good: Any, bad: Any, words: str
) -> None:
    make(kind, **{field: good})
    refused(lambda: make(kind, **{field: bad}), field, words)
    refused(lambda: from_mapping(kind, {**MINIMAL[kind], field: bad}), field, words)


def footage(*urls: str) -> dict[str, Any]:
    return {"refer_videos": [{"video_url": url} for url in urls]}


def looks(*urls: Any) -> dict[str, Any]:
    return {"frontal_image": URL, "refer_images": [{"image_url": url} for url in urls]}


BY_VIDEO: dict[str, Any] = {"reference_type": "video_refer", "element_image_list": None}
# class, other fields, field, path of the one that is blamed, value that passes, value that does not, words of the rule.
NESTED: list[tuple[type[Any], dict[str, Any], str, str, Any, Any, str]] = [
    (OmniImage, {}, "image_list", "[0].image", [{"image": Path("a.png")}], [{"image": "a.png"}], "neither"),
    (OmniImage, {}, "image_list", "[1].image_url", [{"image": URL}], [{"image": URL}, {"image_url": URL}], "image?"),
    (OmniImage, {}, "image_list", "[0].image", [{"image": URL}], [{}], "is required"),
    (OmniImage, {}, "element_list", "[0].element_id", [{"element_id": 1}], [{"element_id": "x"}], "the element's id"),
    (
        MultiImageToImage,
        {},
        "subject_image_list",
        "[0].subject_image",
        [{"subject_image": BASE64}],
        [{"subject_image": ""}],
        "URL, Base64 text",
    ),
    (CustomElement, {}, "element_image_list", ".refer_images", looks(URL, URL, URL), looks(URL, URL, URL, URL), "4"),
    (CustomElement, {}, "element_image_list", ".refer_images", looks(URL), looks(), "has 0 items"),
    (CustomElement, {}, "element_image_list", ".refer_images", PICTURES, {**PICTURES, "refer_images": None}, "0 items"),
    (CustomElement, {}, "element_image_list", ".refer_images", PICTURES, {"frontal_image": URL}, "is required"),
    (CustomElement, {}, "element_image_list", ".refer_images[0].image_url", looks(BASE64), looks("a.png"), "neither"),
    (
        CustomElement,
        {},
        "element_image_list",
        ".frontal_image",
        PICTURES,
        {**PICTURES, "frontal_image": "a"},
        "neither",
    ),
    (CustomElement, BY_VIDEO, "element_video_list", ".refer_videos", footage(URL), footage(URL, URL), "has 2 items"),
    (CustomElement, BY_VIDEO, "element_video_list", ".refer_videos", VIDEOS, {"refer_videos": None}, "has 0 items"),
    (CustomElement, BY_VIDEO, "element_video_list", ".refer_videos[0].video_url", VIDEOS, footage("a.mp4"), "URL"),
    (CustomElement, {}, "tag_list", "[0].tag_id", [{"tag_id": "o_999"}], [{"tag_id": 101}], "must be a string"),
    (CustomElement, {}, "tag_list", "[1].tag", [{"tag_id": "o_101"}], [{"tag_id": "x"}, {"tag": "y"}], "tag_id?"),
]


@pytest.mark.parametrize(
    ("kind", "others", "field", "where", "good", "bad", "words"), NESTED, ids=lambda value: repr(value)[:30]
)
def test_nested_objects_are_held_to_their_rules_and_blamed_by_their_path(
    kind: type[Any], others: dict[str, Any], field: str, where: str, good: Any, bad: Any, words: str
) -> None:
    make(kind, **others, **{field: good})
    refused(lambda: make(kind, **others, **{field: bad}), field + where, words)


# --- several fields --------------------------------------------------------------------------------------------------

REQUIRED = {
    TextToSpeech: ("text", "voice_id"),
    TextToAudio: ("prompt", "duration"),
    ImageGeneration: ("prompt",),
    OmniImage: ("prompt",),
    MultiImageToImage: ("subject_image_list",),
    ImageExpand: ("image", *SIDES),
    VirtualTryOn: ("human_image",),
    SubjectCompletion: ("element_frontal_image",),
    CustomVoice: ("voice_name",),
    DeleteVoice: ("voice_id",),
    CustomElement: ("element_name", "element_description", "reference_type", "element_image_list"),
    DeleteElement: ("element_id",),
}


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in REQUIRED.items() for field in fields])
def test_a_required_field_is_asked_for_and_may_stand_in_extra(kind: type[Any], field: str) -> None:
    refused(lambda: make(kind, **{field: None}), field, "is required")
    plain = {name: value for name, value in MINIMAL[kind].items() if name != field}
    refused(lambda: from_mapping(kind, plain), field, "is required")
    assert body_of(kind(**plain, extra={field: "anything"}), HOSTS["official"]) == {**plain, field: "anything"}


WRONG: list[tuple[type[Any], dict[str, Any], str, str]] = [
    (VideoToAudio, {"video_id": None}, "video_id", "is required, unless video_url is given"),
    (VideoToAudio, {"video_url": URL}, "video_id", "excludes video_url"),
    (VideoToAudio, {"extra": {"video_url": URL}}, "video_id", "excludes video_url"),
    (ImageGeneration, {"image_reference": "face"}, "image", "required with image_reference"),
    (ImageGeneration, {"image": URL, "negative_prompt": "x"}, "negative_prompt", "not supported together with image"),
    (ImageGeneration, {"image": URL, "element_list": [{"element_id": 1}] * 10}, "element_list", "at most 10 together"),
    (
        OmniImage,
        {"image_list": [{"image": URL}] * 6, "element_list": [{"element_id": 1}] * 5},
        "image_list",
        "at most 10 together",
    ),
    (OmniImage, {"result_type": "series", "n": 1}, "n", "use series_amount"),
    (OmniImage, {"series_amount": 2}, "series_amount", 'needs result_type="series"'),
    (OmniImage, {"result_type": "single", "series_amount": "auto"}, "series_amount", 'needs result_type="series"'),
    (CustomVoice, {"voice_url": None}, "voice_url", "is required, unless video_id is given"),
    (CustomElement, BY_VIDEO, "element_video_list", "is required"),
    (CustomElement, {"element_video_list": VIDEOS}, "element_video_list", "is void with image_refer"),
]
RIGHT: list[tuple[type[Any], dict[str, Any]]] = [
    (VideoToAudio, {"video_id": None, "video_url": URL}),
    (VideoToAudio, {"video_id": None, "extra": {"video_url": URL}}),
    (ImageGeneration, {"image_reference": "face", "image": URL}),
    (ImageGeneration, {"image_reference": "face", "extra": {"image": URL}}),
    (ImageGeneration, {"image": URL, "extra": {"negative_prompt": "x"}}),
    (ImageGeneration, {"image": URL, "element_list": [{"element_id": 1}] * 9}),
    (OmniImage, {"image_list": [{"image": URL}] * 5, "element_list": [{"element_id": 1}] * 5}),
    (OmniImage, {"result_type": "single", "n": 1}),
    (OmniImage, {"result_type": "series", "series_amount": 9}),
    (OmniImage, {"result_type": "series", "series_amount": 2}),
    (OmniImage, {"n": 2, "series_amount": 2, "extra": {"result_type": "of tomorrow"}}),
    (CustomVoice, {"voice_url": None, "video_id": "1"}),
    (CustomVoice, {"voice_url": None, "extra": {"video_id": "1"}}),
    (CustomElement, {**BY_VIDEO, "element_video_list": VIDEOS}),
    (CustomElement, {**BY_VIDEO, "extra": {"element_video_list": {}}}),
    (CustomElement, {"reference_type": None, "extra": {"reference_type": "of tomorrow"}}),
]


@pytest.mark.parametrize(("kind", "fields", "blamed", "words"), WRONG, ids=lambda value: repr(value)[:40])
def test_fields_that_exclude_or_need_each_other(
    kind: type[Any], fields: dict[str, Any], blamed: str, words: str
) -> None:
    refused(lambda: make(kind, **fields), blamed, words)


@pytest.mark.parametrize(("kind", "fields"), RIGHT, ids=lambda value: repr(value)[:40])
def test_what_is_just_within_the_rules_is_taken_and_extra_is_not_looked_at(
    kind: type[Any], fields: dict[str, Any]
) -> None:
    make(kind, **fields)


@pytest.mark.parametrize("amount", [1, 10, 2.5, "2", "many", True, [2]])
def test_a_series_has_2_to_9_pictures_or_as_many_as_the_service_likes(amount: Any) -> None:
    refused(
        lambda: make(OmniImage, result_type="series", series_amount=amount), "series_amount", "from 2 to 9, or auto"
    )


@pytest.mark.parametrize(
    ("ratios", "blamed"),
    [
        ((0, 0, 0, 0), None),
        ((2, 0, 0, 0), None),
        ((0, 0, 1, 1), None),
        ((0.25, 0.25, 0.5, 0.5), None),
        ((0.1495, 0.1495, 0.6547, 0.6547), None),  # the reference's own, for a square that becomes 16:9
        ((0.3661, 0.3661, 0.3660, 0.3660), None),  # rounded up, as the reference's own sample would
        ((2, 0.01, 0, 0), "up_expansion_ratio"),
        ((0, 0, 1.5, 0.51), "left_expansion_ratio"),
        ((0.4, 0.4, 0.4, 0.4), "left_expansion_ratio"),
        ((2, 2, 2, 2), "left_expansion_ratio"),
    ],
)
def test_an_expanded_picture_is_at_most_three_times_as_large(ratios: tuple[float, ...], blamed: str | None) -> None:
    """The ratios count in heights and widths of the picture, so the areas are told without knowing it."""
    fields = dict(zip(SIDES, ratios, strict=True))
    if blamed is None:
        make(ImageExpand, **fields)
    else:
        refused(lambda: make(ImageExpand, **fields), blamed, "times as large, at most 3 times")


@given(st.lists(st.floats(0, 2), min_size=4, max_size=4))
def test_the_area_decides_and_nothing_else(ratios: list[float]) -> None:
    up, down, left, right = ratios
    try:
        make(ImageExpand, **dict(zip(SIDES, ratios, strict=True)))
    except InvalidRequest:
        assert (1 + up + down) * (1 + left + right) > 3
    else:
        assert (1 + up + down) * (1 + left + right) <= 3.0011


def test_ratios_in_extra_are_not_looked_at() -> None:
    fields = {**MINIMAL[ImageExpand], "up_expansion_ratio": None, "extra": {"up_expansion_ratio": 99}}
    assert body_of(ImageExpand(**fields), HOSTS["official"])["up_expansion_ratio"] == 99


def test_element_ids_are_sent_as_text_when_an_element_is_deleted_and_as_integers_elsewhere() -> None:
    """The reference types it so, and 18 digits are more than a double holds."""
    for host in HOSTS.values():
        assert body_of(DeleteElement(element_id=829836802793406551), host) == {"element_id": "829836802793406551"}
    listed = make(OmniImage, element_list=[{"element_id": "829836802793406551"}])
    assert body_of(listed, HOSTS["official"])["element_list"] == [{"element_id": 829836802793406551}]


@given(st.sampled_from(KINDS), st.data())
def test_any_json_value_in_any_field_is_taken_or_refused_by_name(kind: type[Any], data: st.DataObject) -> None:
    """Nothing but InvalidRequest ever comes out of building a request from plain data."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(URL)
    values = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    )
    names = [field.name for field in attrs.fields(kind)]
    drawn = data.draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    plain = {**MINIMAL[kind], **{name: data.draw(values, label=name) for name in drawn}}
    blamed = names[0]
    try:
        request = from_mapping(kind, plain)
    except InvalidRequest as error:
        blamed = re.split(r"[.\[]", error.field)[0]
    else:
        sent = {name for name, value in plain.items() if value is not None} - {"extra"}
        assert set(body_of(request, HOSTS["official"])) >= sent
        assert BY_REQUEST[kind].slots(request) >= 1
        list(BY_REQUEST[kind].advice(request, HOSTS["official"]))
    assert blamed in names


# --- local files -----------------------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


FILES: list[tuple[type[Any], str, Any]] = [
    (ImageGeneration, "image", "{}"),
    (OmniImage, "image_list", [{"image": "{}"}, {"image": URL}]),
    (MultiImageToImage, "subject_image_list", [{"subject_image": "{}"}]),
    (MultiImageToImage, "scene_image", "{}"),
    (MultiImageToImage, "style_image", "{}"),
    (ImageExpand, "image", "{}"),
    (VirtualTryOn, "human_image", "{}"),
    (VirtualTryOn, "cloth_image", "{}"),
    (SubjectCompletion, "element_frontal_image", "{}"),
    (CustomElement, "element_image_list", {"frontal_image": "{}", "refer_images": [{"image_url": "{}"}]}),
]


def filled(value: Any, file: Any) -> Any:
    if isinstance(value, list):
        return [filled(item, file) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, file) for key, item in value.items()}
    return file if value == "{}" else value


@pytest.mark.parametrize(("kind", "field", "value"), FILES, ids=lambda value: repr(value)[:40])
def test_a_local_picture_is_taken_everywhere_and_read_when_it_is_sent(
    kind: type[Any], field: str, value: Any, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    request = make(kind, **{field: filled(value, file)})
    again = from_mapping(kind, {**MINIMAL[kind], field: filled(value, {"file": str(file)})})
    assert again == request
    assert from_mapping(kind, json.loads(json.dumps(to_plain(request)))) == request
    assert has_files(request)
    body = body_of(request, HOSTS["official"])
    with pytest.raises(InvalidRequest) as caught:
        encode_files(body, request)
    assert caught.value.field.startswith(field)
    file.write_bytes(png(299, 300))
    with pytest.raises(InvalidRequest) as caught:
        encode_files(body, request)
    assert "each side needs at least 300" in caught.value.rule
    file.write_bytes(png(300, 300))
    encoded = b64encode(file.read_bytes()).decode()
    assert encode_files(body, request)[field] == filled(value, encoded)


# --- slots -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "slots"),
    [
        (make(ImageGeneration), 1),
        (make(ImageGeneration, n=9), 9),
        (make(ImageGeneration, extra={"n": 4}), 4),
        (make(ImageGeneration, extra={"n": "4"}), 1),
        (make(ImageGeneration, extra={"n": True}), 1),
        (make(ImageGeneration, extra={"n": 0}), 1),
        (make(MultiImageToImage, n=3), 3),
        (make(ImageExpand, n=2), 2),
        (make(OmniImage), 1),
        (make(OmniImage, n=5), 5),
        (make(OmniImage, n=5, result_type="single"), 5),
        (make(OmniImage, result_type="series"), 4),
        (make(OmniImage, result_type="series", series_amount=7), 7),
        (make(OmniImage, result_type="series", series_amount="auto"), 9),
        (make(OmniImage, extra={"result_type": "series", "series_amount": 6, "n": 2}), 6),
        (make(VirtualTryOn), 1),
        (make(SubjectCompletion), 1),
        (make(TextToAudio), 1),
        (make(CustomVoice), 1),
    ],
    ids=str,
)
def test_every_picture_takes_a_slot(request_: Any, slots: int) -> None:
    """A series of unknown length takes as many as it may have: they are counted when they are made."""
    assert BY_REQUEST[type(request_)].slots(request_) == slots


def test_what_is_said_is_a_field_or_in_extra() -> None:
    assert said(make(ImageGeneration, n=2), "n") == 2
    assert said(make(ImageGeneration, extra={"n": 3}), "n") == 3
    assert said(make(ImageGeneration), "n") is None
    assert said(None, "n") is None


# --- advice ----------------------------------------------------------------------------------------------------------

ADVISED: list[tuple[Any, list[tuple[str, str]]]] = [
    (make(TextToSpeech), [("voice_language", "left out it is zh")]),
    (make(TextToSpeech, voice_language="en"), []),
    (make(TextToSpeech, extra={"voice_language": "de"}), []),
    (make(TextToAudio, duration=3.3), []),
    (make(TextToAudio, duration=3.25), [("duration", "duration 3.25 has more than one decimal")]),
    (TextToAudio(prompt="x", extra={"duration": 3.25}), []),
    (make(VideoToAudio), []),
    (make(ImageGeneration), []),
    (
        make(ImageGeneration, model_name="kling-v9", resolution="8k", aspect_ratio="1:1", image_fidelity=1, image=URL),
        [],
    ),
    (make(ImageGeneration, aspect_ratio="21:9"), []),
    (make(ImageGeneration, aspect_ratio="auto"), [("aspect_ratio", "aspect_ratio auto is not one of")]),
    (make(ImageGeneration, aspect_ratio="21:9", model_name="kling-v1"), [("aspect_ratio", "kling-v1 has no")]),
    (make(ImageGeneration, resolution="2k"), []),
    (make(ImageGeneration, resolution="4k"), [("resolution", "kling-v3 makes 1k or 2k, not 4k")]),
    (make(ImageGeneration, resolution="2k", model_name="kling-v1-5"), [("resolution", "makes 1k, not 2k")]),
    (make(ImageGeneration, resolution="2k", extra={"model_name": "kling-v1"}), [("resolution", "kling-v1 makes 1k")]),
    (make(ImageGeneration, model_name="kling-v3-omni", n=2), [("model_name", "is not known on generations")]),
    (make(ImageGeneration, element_list=[{"element_id": 1}]), []),
    (
        make(ImageGeneration, element_list=[{"element_id": 1}], model_name="kling-v2-1"),
        [("element_list", "kling-v2-1 is not known to take element_list")],
    ),
    (make(ImageGeneration, model_name="kling-v2-1", image=URL, image_reference="subject", human_fidelity=0.5), []),
    (make(ImageGeneration, model_name="kling-v1-5", image=URL, image_reference="face", image_fidelity=0.5), []),
    (make(ImageGeneration, model_name="kling-v1-5", image=URL), [("image_reference", "requires image_reference")]),
    (make(ImageGeneration, model_name="kling-v1-5", image=URL, extra={"image_reference": "new"}), []),
    (
        make(ImageGeneration, image=URL, image_reference="face", image_fidelity=0.5),
        [("image_reference", "kling-v3 is not known to take"), ("image_fidelity", "kling-v3 is not known to take")],
    ),
    (make(ImageGeneration, model_name="kling-v2-1", image_fidelity=0), [("image_fidelity", "nothing without image")]),
    (
        make(ImageGeneration, model_name="kling-v2-1", image=URL, image_reference="face", human_fidelity=0),
        [("human_fidelity", 'only with image_reference="subject"')],
    ),
    (make(OmniImage, aspect_ratio="3:2", resolution="2k"), []),
    (make(OmniImage, aspect_ratio="5:4"), [("aspect_ratio", "is not one of")]),
    (make(OmniImage, aspect_ratio="auto", image_list=[{"image": URL}]), []),
    (make(OmniImage, aspect_ratio="auto"), []),
    (make(OmniImage, resolution="4k"), [("resolution", "kling-image-o1 makes 1k or 2k, not 4k")]),
    (make(OmniImage, resolution="4k", model_name="kling-v3-omni"), []),
    (make(OmniImage, model_name="kling-v3"), [("model_name", "kling-v3 is not known on omni-image")]),
    (make(OmniImage, result_type="series"), [("result_type", "kling-image-o1 is not known to make a series")]),
    (make(OmniImage, result_type="series", model_name="kling-v3-omni"), []),
    (make(OmniImage, prompt="<<<image_1>>> <<<element_1>>>", image_list=[{"image": URL}]), [("prompt", "element_1")]),
    (make(OmniImage, prompt="<<<image_1>>>", extra={"image_list": [{"image": URL}]}), []),
    (make(OmniImage, prompt="<<<image_0>>>", image_list=[{"image": URL}]), [("prompt", "image_0, and there are 1")]),
    (OmniImage(extra={"prompt": "<<<image_1>>>"}), []),
    (make(MultiImageToImage), []),
    (make(MultiImageToImage, model_name="kling-v2", aspect_ratio="2:3"), []),
    (make(MultiImageToImage, model_name="kling-v3"), [("model_name", "kling-v3 is not known on multi-image2image")]),
    (make(MultiImageToImage, aspect_ratio="auto"), [("aspect_ratio", "is not one of")]),
    (make(ImageExpand), []),
    (make(VirtualTryOn, cloth_image=URL), []),
    (make(VirtualTryOn), [("cloth_image", "is required by the newest reference")]),
    (make(VirtualTryOn, extra={"cloth_image": URL}), []),
    (make(SubjectCompletion), []),
    (make(CustomVoice), []),
    (make(CustomVoice, video_id="1"), [("video_id", "one of voice_url and video_id is enough")]),
    (make(CustomElement), []),
    (
        make(CustomElement, reference_type="video_refer", element_video_list=VIDEOS),
        [("element_image_list", "not looked")],
    ),
    (make(CustomElement, **BY_VIDEO, element_video_list=VIDEOS), []),
    (make(PresetVoices), []),
]


@pytest.mark.parametrize(("request_", "told"), ADVISED, ids=lambda value: str(value)[:60])
def test_what_a_model_is_not_known_to_do_is_advice(request_: Any, told: list[tuple[str, str]]) -> None:
    given_ = advice(request_)
    assert [field for field, _ in given_] == [field for field, _ in told]
    for (_, sentence), (_, words) in zip(given_, told, strict=True):
        assert words in sentence


@pytest.mark.parametrize("path", EVERY_SAMPLE)
def test_the_samples_need_no_advice(path: Path) -> None:
    """They are what the reference shows; but a person alone is what only its older copy allows."""
    row = BY_NAME[path.parent.name]
    sample = load(path)
    expected = ["cloth_image"] if path.stem == "person-only" else []
    assert [field for field, _ in advice(from_mapping(row.request, sample["request"]), sample["host"])] == expected


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_prompt_limits_of_a_host_are_those_of_clips(kind: type[Any]) -> None:
    """The limits that CometAPI prints stand on its pages about videos."""
    if "prompt" in attrs.fields_dict(kind) and kind is not TextToAudio:
        assert advice(make(kind, prompt="x" * 2500), "cometapi") == []


def test_answers_carry_the_whole_answer_which_is_no_part_of_their_value() -> None:
    assert Deletion(task_id="1", task_status="succeed", raw={"a": 1}) == Deletion(task_id="1", task_status="succeed")
    assert Presets(raw={"a": 1}) == Presets()
    assert "raw" not in repr(Presets(raw={"a": 1}))
