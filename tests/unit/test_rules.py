"""endpoints: every rule of the reference, with a value that just passes and one that just does not."""

import pickle
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_tools import HOSTS, refused

from kling_async import (
    CameraConfig,
    CameraControl,
    DynamicMask,
    ElementRef,
    ImageToVideo,
    InvalidRequest,
    OmniVideo,
    Point,
    ReferenceImage,
    ReferenceVideo,
    Shot,
    TextToVideo,
    VoiceRef,
    WatermarkInfo,
)
from kling_async.endpoints import body_of, from_mapping
from kling_async.endpoints.rules import seconds_of

URL = "https://host.example/a.png"
BASE64 = "iVBORw0KGgoAAAANSUhEUgAA" + "A" * 60
MINIMAL: dict[type[Any], dict[str, Any]] = {
    TextToVideo: {"prompt": "x"},
    ImageToVideo: {"image": URL},
    OmniVideo: {"prompt": "x"},
}
KINDS = list(MINIMAL)


def make(kind: type[Any], **fields: Any) -> Any:
    return kind(**{**MINIMAL[kind], **fields})


def has(kind: type[Any], name: str) -> bool:
    return name in attrs.fields_dict(kind)


def points(count: int) -> list[dict[str, int]]:
    return [{"x": index, "y": 0} for index in range(count)]


def shots(*lengths: Any) -> list[dict[str, Any]]:
    return [{"index": index, "prompt": "a", "duration": length} for index, length in enumerate(lengths, 1)]


CUSTOM: dict[str, Any] = {"multi_shot": True, "shot_type": "customize"}

# field, value that just passes, value that just does not, words of the rule.
FIELDS: list[tuple[str, Any, Any, str]] = [
    ("model_name", "kling-v9-of-tomorrow", "", "is empty"),
    ("model_name", "k", 3, "must be a string"),
    ("model_name", "k", "\ud800", "surrogate"),
    ("prompt", "x" * 2500, "x" * 2501, "has 2501 characters, at most 2500"),
    ("prompt", "海" * 2500, "  \n ", "is empty"),
    ("prompt", "🌊", ["a"], "must be a string"),
    ("prompt", "é", "a\udfffb", "surrogate"),
    ("negative_prompt", "x" * 2500, "x" * 2501, "at most 2500"),
    ("negative_prompt", "x", "", "is empty"),
    ("multi_shot", False, 0, "True or False"),
    ("multi_shot", False, "false", "True or False"),
    ("sound", "on", "ON", "one of on, off"),
    ("sound", "off", True, "one of on, off"),
    ("cfg_scale", 0, -0.01, "from 0 to 1"),
    ("cfg_scale", 1, 1.01, "from 0 to 1"),
    ("cfg_scale", 0.5, True, "from 0 to 1"),
    ("cfg_scale", 0.5, "0.5", "from 0 to 1"),
    ("cfg_scale", 0.5, float("nan"), "from 0 to 1"),
    ("cfg_scale", 0.5, 10**400, "from 0 to 1"),
    ("mode", "8k", " ", "is empty"),
    ("aspect_ratio", "4:3", "", "is empty"),
    ("aspect_ratio", "16:9", 1.78, "must be a string"),
    ("duration", "5", "", "a length from"),
    ("duration", 15, 0, "a length from"),
    ("duration", "3", "0", "a length from"),
    ("duration", 1, 0.9, "a length from"),
    ("duration", "60", "61", "a length from"),
    ("duration", 60, 10**400, "a length from"),
    ("duration", 5.5, float("nan"), "a length from"),
    ("duration", 5.0, float("inf"), "a length from"),
    ("duration", "5.0", "5s", "a length from"),
    ("duration", "10", " 10", "a length from"),
    ("duration", "10", "1_0", "a length from"),
    ("duration", "10", "1e1", "a length from"),
    ("duration", "5", "\u0665", "a length from"),
    ("duration", "5", "-5", "a length from"),
    ("duration", 5, True, "a length from"),
    ("duration", 5, [5], "a length from"),
    ("callback_url", "https://host.example/hook?a=1", "host.example/hook", "http(s) URL"),
    ("callback_url", "http://host.example", "ftp://host.example", "http(s) URL"),
    ("callback_url", "https://h", "", "http(s) URL"),
    ("callback_url", "https://h", "https://h/\n", "http(s) URL"),
    ("callback_url", "https://h", 5, "http(s) URL"),
    ("external_task_id", "x" * 64, "x" * 65, "1 to 64 of"),
    ("external_task_id", "Az-09_", "a,b", "1 to 64 of"),
    ("external_task_id", "a", "", "1 to 64 of"),
    ("external_task_id", "a", "a/b", "1 to 64 of"),
    ("external_task_id", "a", "..", "1 to 64 of"),
    ("external_task_id", "a", "a\n", "1 to 64 of"),
    ("external_task_id", "a", "ä", "1 to 64 of"),
    ("external_task_id", "a", 7, "1 to 64 of"),
    ("image", URL, "", "URL, Base64 text or a pathlib.Path"),
    ("image", "http://host.example/a.png", 5, "URL, Base64 text or a pathlib.Path"),
    ("image", BASE64, "data:image/png;base64," + BASE64, "without the data: prefix"),
    ("image", BASE64 + "==", BASE64 + "===", "neither a URL nor Base64"),
    ("image", BASE64 + "\r\n" + BASE64 + "=\n", BASE64 + "\udc80", "neither a URL nor Base64"),
    ("image", Path("not-there.png"), "not-there.png", "for a local file give a pathlib.Path"),
    ("image", BASE64, "/home/" + "a" * 70 + "/b.png", "neither a URL nor Base64"),
    ("image", BASE64, "ftp://host.example/" + "a" * 70, "neither a URL nor Base64"),
    ("image", BASE64, BASE64[:63], "neither a URL nor Base64"),
    ("image_tail", URL, b"bytes", "URL, Base64 text or a pathlib.Path"),
    ("static_mask", Path("m.png"), "m.png", "neither a URL nor Base64"),
    ("voice_list", None, [], "has 0 items, 1 to 2"),
    ("element_list", [{"element_id": 1}] * 3, [], "has 0 items"),
    ("dynamic_masks", [{"mask": URL, "trajectories": points(2)}] * 6, [], "has 0 items, 1 to 6"),
    ("dynamic_masks", None, [{"mask": URL, "trajectories": points(2)}] * 7, "has 7 items"),
    ("dynamic_masks", None, {"mask": URL, "trajectories": points(2)}, "must be a list of DynamicMask"),
    ("image_list", [{"image_url": URL}] * 7, [{"image_url": URL}] * 8, "has 8 items, 1 to 7"),
    ("image_list", None, [], "has 0 items"),
    ("image_list", None, URL, "must be a list of ReferenceImage"),
    ("image_list", None, b"x", "must be a list of ReferenceImage"),
    ("image_list", None, 5, "must be a list of ReferenceImage"),
    ("video_list", [{"video_url": URL}], [{"video_url": URL}] * 2, "has 2 items, 1 to 1"),
    ("video_list", None, [], "has 0 items"),
    ("camera_control", {"type": "down_back"}, "down_back", "must be a CameraControl or a mapping"),
    ("watermark_info", {"enabled": True}, True, "must be a WatermarkInfo or a mapping"),
    ("extra", {"seed": 1}, None, "mapping from field names"),
    ("extra", {}, [("seed", 1)], "mapping from field names"),
    ("extra", {}, {5: 1}, "mapping from field names"),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("field", "good", "bad", "words"), FIELDS, ids=lambda value: repr(value)[:30])
def test_every_field_takes_its_bound_and_refuses_what_lies_beyond(
    kind: type[Any], field: str, good: Any, bad: Any, words: str
) -> None:
    if not has(kind, field):
        return
    fields: dict[str, Any] = {"image": None} if field == "image_tail" and kind is ImageToVideo else {}
    assert has(kind, field)
    make(kind, **{**fields, field: good})
    refused(lambda: make(kind, **{**fields, field: bad}), field, words)
    refused(lambda: from_mapping(kind, {**MINIMAL[kind], field: bad}), field, words)


FIRST = {"image_url": URL, "type": "first_frame"}
VIDEO = {"video_url": URL, "refer_type": "feature", "keep_original_sound": "no"}
SIMPLE = {"type": "simple", "config": {"pan": 1}}

# path of the field that is blamed, value that just passes, value that just does not.
NESTED: list[tuple[str, str, Any, Any, str]] = [
    ("camera_control", "camera_control.type", {"type": "forward_up"}, {"type": ""}, "is empty"),
    ("camera_control", "camera_control.type", {"type": "new_one"}, {"config": {"pan": 1}}, "is required"),
    ("camera_control", "camera_control.config", SIMPLE, {"type": "simple"}, "required"),
    (
        "camera_control",
        "camera_control.config",
        {"type": "right_turn_forward"},
        {"type": "left_turn_forward", "config": {"pan": 1}},
        "must be left out",
    ),
    *(
        (
            "camera_control",
            f"camera_control.config.{axis}",
            {"type": "simple", "config": {axis: good}},
            {"type": "simple", "config": {axis: bad}},
            "from -10 to 10",
        )
        for axis in ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
        for good, bad in ((10, 10.01), (-10, -10.01), (0.1, "1"), (1, True))
    ),
    (
        "camera_control",
        "camera_control.config.tilt",
        {"type": "simple", "config": {"pan": 1, "tilt": 0}},
        {"type": "simple", "config": {"pan": 1, "tilt": 1}},
        "exactly one axis",
    ),
    (
        "camera_control",
        "camera_control.config.horizontal",
        {"type": "simple", "config": {"pan": -0.5}},
        {"type": "simple", "config": {}},
        "exactly one axis",
    ),
    (
        "camera_control",
        "camera_control.config.pam",
        {"type": "simple", "config": {"pan": 1}},
        {"type": "simple", "config": {"pam": 1}},
        "did you mean pan?",
    ),
    ("watermark_info", "watermark_info.enabled", {"enabled": False}, {"enabled": "false"}, "True or False"),
    ("watermark_info", "watermark_info.enabled", {"enabled": True}, {}, "is required"),
    ("watermark_info", "watermark_info.enable", {"enabled": True}, {"enable": True}, "did you mean enabled?"),
    (
        "dynamic_masks",
        "dynamic_masks[1].trajectories",
        [{"mask": URL, "trajectories": points(77)}],
        [{"mask": URL, "trajectories": points(2)}, {"mask": URL, "trajectories": points(78)}],
        "has 78 items, 2 to 77",
    ),
    (
        "dynamic_masks",
        "dynamic_masks[0].trajectories",
        [{"mask": Path("m.png"), "trajectories": points(2)}],
        [{"mask": URL, "trajectories": points(1)}],
        "has 1 items, 2 to 77",
    ),
    (
        "dynamic_masks",
        "dynamic_masks[0].trajectories",
        [{"mask": URL, "trajectories": tuple(points(2))}],
        [{"mask": URL, "trajectories": None}],
        "has 0 items",
    ),
    (
        "dynamic_masks",
        "dynamic_masks[0].trajectories[1].x",
        [{"mask": URL, "trajectories": [{"x": -5, "y": 0}, {"x": 5, "y": 9}]}],
        [{"mask": URL, "trajectories": [{"x": 1, "y": 1}, {"x": 1.5, "y": 1}]}],
        "must be an integer",
    ),
    (
        "dynamic_masks",
        "dynamic_masks[0].trajectories[0].y",
        [{"mask": URL, "trajectories": points(2)}],
        [{"mask": URL, "trajectories": [{"x": 1, "y": True}, {"x": 1, "y": 1}]}],
        "must be an integer",
    ),
    (
        "dynamic_masks",
        "dynamic_masks[0].mask",
        [{"mask": BASE64, "trajectories": points(2)}],
        [{"mask": "mask.png", "trajectories": points(2)}],
        "neither a URL nor Base64",
    ),
    ("element_list", "element_list[0].element_id", [{"element_id": 829836802793406551}], [{"element_id": True}], "id"),
    ("element_list", "element_list[0].element_id", [{"element_id": "829"}], [{"element_id": "x1"}], "id"),
    ("element_list", "element_list[0].element_id", [{"element_id": 1}], [{"element_id": -1}], "id"),
    ("element_list", "element_list[0].element_id", [{"element_id": 1}], [{"element_id": 8.3e17}], "id"),
    ("element_list", "element_list[0].element_id", [{"element_id": "1"}], [{"element_id": "\u0661\u0662"}], "id"),
    ("element_list", "element_list[0].element_id", [{"element_id": "1"}], [{"element_id": ""}], "id"),
    ("element_list", "element_list[0].element_id", [{"element_id": 10**63}], [{"element_id": 10**5000}], "id"),
    ("element_list", "element_list[1]", [{"element_id": 1}], [{"element_id": 1}, 5], "ElementRef or a mapping"),
    ("image_list", "image_list[0].image_url", [{"image_url": Path("a.png")}], [{"image_url": "a.png"}], "neither"),
    ("image_list", "image_list[0].type", [FIRST], [{**FIRST, "type": "tail"}], "end_frame"),
    ("image_list", "image_list[0].image", [{"image_url": URL}], [{"image": URL}], "did you mean image_url?"),
    ("video_list", "video_list[0].video_url", [VIDEO], [{"video_url": Path("v.mp4")}], "http(s) URL"),
    ("video_list", "video_list[0].video_url", [VIDEO], [{"video_url": BASE64}], "http(s) URL"),
    ("video_list", "video_list[0].refer_type", [VIDEO], [{**VIDEO, "refer_type": "edit"}], "feature, base"),
    ("video_list", "video_list[0].keep_original_sound", [VIDEO], [{**VIDEO, "keep_original_sound": True}], "yes, no"),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("field", "blamed", "good", "bad", "words"), NESTED)
def test_every_nested_rule_blames_the_dotted_path(
    kind: type[Any], field: str, blamed: str, good: Any, bad: Any, words: str
) -> None:
    if not has(kind, field):
        return
    make(kind, **{field: good})
    refused(lambda: make(kind, **{field: bad}), blamed, words)
    refused(lambda: from_mapping(kind, {**MINIMAL[kind], field: bad}), blamed, words)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: CameraConfig(pan=11), "pan"),
        (lambda: CameraControl(type="simple", config={"pan": 11}), "config.pan"),
        (lambda: DynamicMask(mask=URL, trajectories=[{"x": 1, "y": 1}, {"x": 1, "y": 1.0}]), "trajectories[1].y"),
        (lambda: Shot(index=7, prompt="a", duration=1), "index"),
    ],
)
def test_nested_objects_built_by_hand_blame_their_own_field(build: Any, field: str) -> None:
    refused(build, field)


# --- required fields, exclusions, sums -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TextToVideo, OmniVideo])
def test_a_prompt_is_required_unless_the_shots_bring_their_own(kind: type[Any]) -> None:
    refused(kind, "prompt", "is required")
    refused(lambda: from_mapping(kind, {"prompt": None}), "prompt", "is required")
    refused(lambda: kind(multi_shot=False), "prompt", "is required")
    kind(**CUSTOM, multi_prompt=shots("5"))
    kind(extra={"prompt": "x"})
    kind(extra={"multi_shot": True})


def test_a_picture_is_required_at_one_end() -> None:
    refused(ImageToVideo, "image", "is required")
    refused(lambda: ImageToVideo(prompt="x"), "image", "is required")
    ImageToVideo(image_tail=URL)
    ImageToVideo(extra={"image": URL})
    ImageToVideo(extra={"image_tail": URL})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_several_shots(kind: type[Any]) -> None:
    minimal = {name: value for name, value in MINIMAL[kind].items() if name != "prompt"}
    for name, value in (("shot_type", "customize"), ("multi_prompt", shots("5"))):
        refused(lambda name=name, value=value: make(kind, **{name: value}), name, "needs multi_shot=True")
        refused(lambda name=name, value=value: make(kind, multi_shot=False, **{name: value}), name, "needs multi_shot")
        make(kind, extra={"multi_shot": True}, **{name: value})
    refused(lambda: make(kind, multi_shot=True), "shot_type", "customize or intelligence")
    refused(lambda: make(kind, multi_shot=True, shot_type="auto"), "shot_type", "one of customize, intelligence")
    refused(lambda: kind(**minimal, multi_shot=True, shot_type="intelligence"), "prompt", "is required")
    refused(lambda: make(kind, **CUSTOM), "multi_prompt", "is required")
    kind(**minimal, multi_shot=True, shot_type="intelligence", extra={"prompt": "x"})
    kind(**minimal, **CUSTOM, extra={"multi_prompt": []})
    kind(**minimal, multi_shot=True, multi_prompt=shots("5"), extra={"shot_type": "customize"})
    kind(**{**minimal, "prompt": "x"}, multi_shot=True, shot_type="intelligence")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("duration", "good", "bad", "total"),
    [
        (None, ("2", "3"), ("2", "2"), "5 s"),
        ("10", ("4", "6"), ("4", "5"), "10 s"),
        (15, (1, 2, 3, 4, 4, 1), (1, 2, 3, 4, 4, 2), "15 s"),
        ("5", ("2.5", 2.5), ("2.5", "2.6"), "5 s"),
    ],
)
def test_the_shots_add_up_to_the_clip(kind: type[Any], duration: Any, good: Any, bad: Any, total: str) -> None:
    make(kind, **CUSTOM, duration=duration, multi_prompt=shots(*good))
    refused(lambda: make(kind, **CUSTOM, duration=duration, multi_prompt=shots(*bad)), "multi_prompt", "add up", total)
    if duration is None:
        make(kind, **CUSTOM, multi_prompt=shots(*bad), extra={"duration": "9"})


@pytest.mark.parametrize(
    ("field", "good", "bad", "words"),
    [
        ("index", 1, 0, "from 1 to 6"),
        ("index", 6, 7, "from 1 to 6"),
        ("index", 1, "1", "must be an integer"),
        ("index", 1, True, "must be an integer"),
        ("prompt", "x" * 512, "x" * 513, "at most 512"),
        ("prompt", "x", "", "is empty"),
        ("duration", "5", "0", "a length from"),
        ("duration", 5, 0.5, "a length from"),
        ("duration", 5.0, None, "a length from"),
    ],
)
def test_one_shot(field: str, good: Any, bad: Any, words: str) -> None:
    plain = {"index": 1, "prompt": "a", "duration": "5"}
    make(TextToVideo, **CUSTOM, multi_prompt=[{**plain, field: good}])
    bad_shot = {**plain, field: bad}
    refused(lambda: make(TextToVideo, **CUSTOM, multi_prompt=[bad_shot]), f"multi_prompt[0].{field}", words)
    del plain[field]
    refused(lambda: make(TextToVideo, **CUSTOM, multi_prompt=[plain]), f"multi_prompt[0].{field}", "is required")


def test_at_most_six_shots() -> None:
    make(TextToVideo, **CUSTOM, duration="6", multi_prompt=shots(*[1] * 6))
    six_and_one = [*shots(*[1] * 6), {"index": 1, "prompt": "a", "duration": 1}]
    refused(
        lambda: make(TextToVideo, **CUSTOM, duration="7", multi_prompt=six_and_one), "multi_prompt", "7 items, 1 to 6"
    )
    refused(lambda: make(TextToVideo, **CUSTOM, multi_prompt=[]), "multi_prompt", "has 0 items")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_voices_need_sound(kind: type[Any]) -> None:
    two = [{"voice_id": "a"}, VoiceRef(voice_id="b")]
    make(kind, voice_list=two, sound="on")
    make(kind, voice_list=two, extra={"sound": "on"})
    refused(lambda: make(kind, voice_list=two), "voice_list", 'needs sound="on"')
    refused(lambda: make(kind, voice_list=two, sound="off"), "voice_list", 'needs sound="on"')
    refused(lambda: make(kind, voice_list=[*two, {"voice_id": "c"}], sound="on"), "voice_list", "3 items, 1 to 2")
    refused(lambda: make(kind, voice_list=[{"voice_id": ""}], sound="on"), "voice_list[0].voice_id", "empty")


TAIL = {"image_tail": URL}
STATIC = {"static_mask": URL}
DYNAMIC = {"dynamic_masks": [{"mask": URL, "trajectories": points(2)}]}
CAMERA = {"camera_control": {"type": "down_back"}}


@pytest.mark.parametrize(
    ("fields", "blamed"),
    [
        (TAIL | STATIC, "image_tail"),
        (TAIL | DYNAMIC, "image_tail"),
        (TAIL | CAMERA, "image_tail"),
        (STATIC | CAMERA, "static_mask"),
        (DYNAMIC | CAMERA, "static_mask"),
        (TAIL | STATIC | DYNAMIC | CAMERA, "image_tail"),
    ],
)
def test_last_frame_masks_and_camera_exclude_each_other(fields: dict[str, Any], blamed: str) -> None:
    refused(lambda: ImageToVideo(image=URL, **fields), blamed, "exclude each other")


@pytest.mark.parametrize("fields", [TAIL, STATIC, DYNAMIC, STATIC | DYNAMIC, CAMERA], ids=str)
def test_one_of_them_is_fine(fields: dict[str, Any]) -> None:
    ImageToVideo(image=URL, **fields)


def test_elements_of_a_picture_clip() -> None:
    three: list[Any] = [{"element_id": 1}, ElementRef(element_id="2"), {"element_id": 3}]
    ImageToVideo(image=URL, element_list=three)
    refused(lambda: ImageToVideo(image=URL, element_list=[*three, three[0]]), "element_list", "4 items, 1 to 3")
    voices = [{"voice_id": "a"}]
    refused(
        lambda: ImageToVideo(image=URL, element_list=three, voice_list=voices, sound="on"),
        "element_list",
        "excludes voice_list",
    )


END = {"image_url": URL, "type": "end_frame"}
PICTURE = {"image_url": URL}
ELEMENT = {"element_id": 1}


def test_frames_of_an_omni_video() -> None:
    make(OmniVideo, image_list=[FIRST, END])
    make(OmniVideo, image_list=[END, FIRST])
    make(OmniVideo, image_list=[FIRST, PICTURE])
    refused(lambda: make(OmniVideo, image_list=[END]), "image_list", "an end frame needs a first frame")
    refused(lambda: make(OmniVideo, image_list=[PICTURE, END]), "image_list", "needs a first frame")
    refused(lambda: make(OmniVideo, image_list=[FIRST, END, PICTURE]), "image_list", "at most 2 pictures")
    refused(lambda: make(OmniVideo, image_list=[FIRST, FIRST]), "image_list", "two pictures for the same frame")
    refused(lambda: make(OmniVideo, image_list=[FIRST, END, END]), "image_list", "two pictures for the same frame")
    both = {"image_list": [FIRST, END], **CUSTOM, "multi_prompt": shots("5")}
    refused(lambda: make(OmniVideo, **both), "multi_shot", "excludes a first and an end frame")
    make(OmniVideo, **{**both, "image_list": [FIRST, PICTURE]})


@pytest.mark.parametrize(
    ("pictures", "elements", "video", "fine"),
    [
        (7, 0, False, True),
        (0, 7, False, True),
        (3, 4, False, True),
        (4, 4, False, False),
        (7, 1, False, False),
        (4, 0, True, True),
        (0, 4, True, True),
        (2, 2, True, True),
        (3, 2, True, False),
        (5, 0, True, False),
        (0, 5, True, False),
    ],
)
def test_pictures_and_elements_together(pictures: int, elements: int, *, video: bool, fine: bool) -> None:
    fields: dict[str, Any] = {
        "image_list": [PICTURE] * pictures or None,
        "element_list": [ELEMENT] * elements or None,
        "video_list": [VIDEO] if video else None,
    }
    if fine:
        make(OmniVideo, **fields)
    else:
        refused(lambda: make(OmniVideo, **fields), "image_list", f"at most {4 if video else 7} together")
    refused(lambda: make(OmniVideo, element_list=[ELEMENT] * 8), "element_list", "8 items, 1 to 7")


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        (TextToVideo, "promt", "prompt"),
        (TextToVideo, "aspectRatio", "aspect_ratio"),
        (TextToVideo, "model", "model_name"),  # the service takes it, ignores it, and bills the default model
        (TextToVideo, "negative", "negative_prompt"),
        (TextToVideo, "camera", "camera_control"),
        (ImageToVideo, "image_url", "image"),
        (ImageToVideo, "image_tails", "image_tail"),
        (OmniVideo, "image", "image_list"),
        (OmniVideo, "video", "video_list"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_known(kind: type[Any], name: str, near: str) -> None:
    refused(lambda: from_mapping(kind, {**MINIMAL[kind], name: "x"}), name, "no such field", f"did you mean {near}?")


def test_a_name_like_no_other_gets_them_all() -> None:
    error = refused(lambda: from_mapping(WatermarkInfo, {"zzzz": 1}), "zzzz", "known are enabled")
    assert error.value == "1"
    odd: Any = {5: 1, "enabled": True}
    refused(lambda: from_mapping(WatermarkInfo, odd), "5", "no such field")


def test_fields_of_another_endpoint_are_refused() -> None:
    refused(lambda: from_mapping(ImageToVideo, {"image": URL, "aspect_ratio": "1:1"}), "aspect_ratio", "no such field")
    refused(lambda: from_mapping(OmniVideo, {"prompt": "x", "cfg_scale": 1}), "cfg_scale", "no such field")


# --- extra -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_extra_carries_a_field_of_tomorrow(kind: type[Any]) -> None:
    request = make(kind, extra={"seed": 7, "new": {"deep": [None, 1.5]}})
    assert body_of(request, HOSTS["official"]) == {**MINIMAL[kind], "seed": 7, "new": {"deep": [None, 1.5]}}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_extra_sets_nothing_twice(kind: type[Any]) -> None:
    refused(lambda: make(kind, mode="pro", extra={"mode": "std"}), "extra.mode", "is set already")
    refused(lambda: make(kind, extra={"extra": {}}), "extra.extra", "is set already")
    name = next(iter(MINIMAL[kind]))
    refused(lambda: make(kind, extra={name: "y"}), f"extra.{name}", "is set already")
    assert body_of(make(kind, extra={"mode": "std"}), HOSTS["official"])["mode"] == "std"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_external_id_has_one_place(kind: type[Any]) -> None:
    """The job's id is sent there: one hidden in `extra` would be overwritten, and then not found again."""
    refused(lambda: make(kind, extra={"external_task_id": "mine"}), "extra.external_task_id", "field of its own")


def test_a_request_does_not_change_when_the_callers_mapping_does() -> None:
    extra: dict[str, object] = {"seed": 1}
    request = TextToVideo(prompt="x", extra=extra)
    extra["seed"] = 2
    extra["prompt"] = "y"
    assert body_of(request, HOSTS["official"]) == {"prompt": "x", "seed": 1}


# --- instances and mappings, values ----------------------------------------------------------------------------------


def test_nested_objects_may_be_instances_mappings_or_mixed() -> None:
    by_hand = OmniVideo(
        prompt="x",
        image_list=(ReferenceImage(image_url=URL),),
        video_list=iter([ReferenceVideo(video_url=URL)]),
        watermark_info=WatermarkInfo(enabled=True),
    )
    plain = OmniVideo(
        prompt="x", image_list=[{"image_url": URL}], video_list=[{"video_url": URL}], watermark_info={"enabled": True}
    )
    assert by_hand == plain
    one = ImageToVideo(
        image=URL, dynamic_masks=[DynamicMask(mask=URL, trajectories=[Point(x=0, y=0), {"x": 1, "y": 0}])]
    )
    assert one == ImageToVideo(image=URL, **DYNAMIC)  # type: ignore[arg-type]
    config = CameraConfig(pan=1)
    two = TextToVideo(prompt="x", camera_control=CameraControl(type="simple", config=config))
    assert two == TextToVideo(prompt="x", camera_control={"type": "simple", "config": {"pan": 1}})
    assert two.camera_control is not None
    assert two.camera_control.config is config


def test_requests_compare_hash_and_pickle_by_value() -> None:
    one, two = TextToVideo(prompt="x", extra={"seed": [1]}), TextToVideo(prompt="x", extra={"seed": [1]})
    other = TextToVideo(prompt="x", extra={"seed": [2]})
    assert one == two
    assert one != other
    assert len({one, two, other, ImageToVideo(image=URL, **DYNAMIC)}) == 3  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(one)) == one
    assert len({TextToVideo(prompt="x"), OmniVideo(prompt="x")}) == 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_requests_are_frozen_and_evolve_through_the_same_rules(kind: type[Any]) -> None:
    request = make(kind)
    for field in attrs.fields(kind):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(request, field.name, None)
    assert attrs.evolve(request, duration="10").duration == "10"
    refused(lambda: attrs.evolve(request, duration="x"), "duration")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_arguments_go_by_name(kind: type[Any]) -> None:
    with pytest.raises(TypeError):
        kind("x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(KINDS), st.data())
def test_any_json_value_in_any_field_is_taken_or_refused_by_name(kind: type[Any], data: st.DataObject) -> None:
    """Nothing but InvalidRequest ever comes out of building a request from plain data."""
    names = data.draw(st.lists(st.sampled_from([field.name for field in attrs.fields(kind)]), max_size=3, unique=True))
    plain = {**MINIMAL[kind], **{name: data.draw(JSON, label=name) for name in names}}
    blamed: str | None = None
    try:
        request = from_mapping(kind, plain)
    except InvalidRequest as error:
        blamed = re.split(r"[.\[]", error.field)[0]
    else:
        sent = {name for name, value in plain.items() if value is not None} - {"extra"}
        for host in HOSTS.values():
            assert set(body_of(request, host)) >= sent
    assert blamed is None or has(kind, blamed)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        (5, 5),
        (5.5, 5.5),
        ("5.041", 5.041),
        (True, None),
        (None, None),
        ("", None),
        ("nan", None),
        (1e6, None),
    ],
)
def test_seconds_are_read_from_text_and_numbers(value: object, seconds: float | None) -> None:
    assert seconds_of(value) == seconds
