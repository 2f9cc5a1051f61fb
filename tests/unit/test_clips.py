"""endpoints.clips, endpoints.lips, endpoints.scenes: clips made from other material, and the calls around them."""

import base64
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from reference_clips import CLASSES_CLIPS, NESTED_CLIPS, REFERENCE_CLIPS
from unit_tools import HOSTS, SAMPLES, load, refused, samples

from kling_async.calls import decode_answer
from kling_async.dialects import PRESETS
from kling_async.endpoints import body_of, dump, encode_files, find_endpoint, from_mapping, has_files, to_plain
from kling_async.endpoints.base import Call
from kling_async.endpoints.clips import EffectInput, MotionControl, MultiImageToVideo, VideoEffects, VideoExtend
from kling_async.endpoints.lips import AdvancedLipSync, Avatar, FaceChoose, IdentifyFace, LipSync, LipSyncInput
from kling_async.endpoints.scenes import (
    AddSelection,
    ClearSelection,
    DeleteSelection,
    InitSelection,
    MultiElements,
    PreviewSelection,
    RecognizeImage,
    SelectionPoint,
)
from kling_async.errors import BadEnvelope, RequestRejected
from kling_async.wire import open_envelope

URL = "https://host.example/a.png"
MP3 = "https://host.example/a.mp3"
MP4 = "https://host.example/a.mp4"
BASE64 = "QUJD" * 20
PICTURE = {"image": URL}
MOTION = {"image_url": URL, "video_url": MP4, "character_orientation": "image", "mode": "std"}
READ = {"mode": "text2video", "video_id": "8", "text": "Hello", "voice_id": "v"}
HEARD = {"mode": "audio2video", "video_id": "8", "audio_type": "url", "audio_url": MP3}
FACE = {"face_id": "0", "audio_id": "8", "sound_start_time": 0, "sound_end_time": 2000, "sound_insert_time": 0}
EDIT = {"session_id": "8", "edit_mode": "swap", "image_list": [PICTURE], "prompt": "x"}
POINTS = {"session_id": "8", "frame_index": 0, "points": [{"x": 0, "y": 1}]}

# Class → the fewest fields it takes.
MINIMAL: dict[Any, dict[str, Any]] = {
    MultiImageToVideo: {"image_list": [PICTURE], "prompt": "x"},
    MotionControl: MOTION,
    VideoExtend: {"video_id": "8"},
    VideoEffects: {"effect_scene": "hug_pro", "input": PICTURE},
    Avatar: {"image": URL, "sound_file": MP3},
    LipSync: {"input": READ},
    AdvancedLipSync: {"session_id": "8", "face_choose": [FACE]},
    IdentifyFace: {"video_id": "8"},
    MultiElements: EDIT,
    InitSelection: {"video_url": MP4},
    AddSelection: POINTS,
    DeleteSelection: POINTS,
    ClearSelection: {"session_id": "8"},
    PreviewSelection: {"session_id": "8"},
    RecognizeImage: {"image": URL},
}
EITHER: dict[Any, tuple[str, str]] = {
    Avatar: ("audio_id", "sound_file"),
    IdentifyFace: ("video_id", "video_url"),
    InitSelection: ("video_id", "video_url"),
}
REQUIRED = [
    (kind, name)
    for kind, minimal in MINIMAL.items()
    for name in minimal
    if name not in EITHER.get(kind, ()) and not (kind is MultiElements and name == "image_list")
]
EVERY_SAMPLE = [sample for name in REFERENCE_CLIPS for sample in samples(name)]


def made(kind: Any, **fields: Any) -> Any:
    return kind(**{**MINIMAL[kind], **fields})


def without(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def advice(request: Any, host: str = "official") -> list[str]:
    found = list(find_endpoint(request).advice(request, HOSTS[host]))
    for item in found:
        top = item.field.split(".")[0]
        assert top in {field.name for field in attrs.fields(type(request))}, "advice is about a field of the request"
    return [str(item) for item in found]


def as_classes(endpoint: str, name: str, value: Any) -> Any:
    kind = CLASSES_CLIPS.get((endpoint, name))
    if kind is None:
        return value
    return [kind(**item) for item in value] if isinstance(value, list) else kind(**value)


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERY_SAMPLE)
@pytest.mark.parametrize("way", ["mapping", "classes", "json"])
def test_case_8_the_whole_body_is_the_sample(path: Path, way: str) -> None:
    """Section 20, case 8: a misplaced or misspelt field is ignored and the default clip billed, so all is compared."""
    sample = load(path)
    row = find_endpoint(path.parent.name)
    host = HOSTS[sample["host"]]
    given = sample["request"]
    if way == "classes":
        request = row.request(**{name: as_classes(row.name, name, value) for name, value in given.items()})
    else:
        request = from_mapping(row.request, json.loads(json.dumps(given)) if way == "json" else given)
    body = body_of(request, host)
    assert json.loads(dump(body)) == sample["body"]
    if "exact" in sample:
        assert dump(body) == sample["exact"].encode()
    assert host.path(row.path).raw_path == sample["path"]
    for family, where in sample.get("paths", {}).items():
        family_host = {**PRESETS, "official": PRESETS["global"], "new-api": HOSTS["number"]}[family]
        assert family_host.path(row.path).raw_path == where
    assert not has_files(request)
    assert from_mapping(row.request, to_plain(request)) == request
    assert sample["source"]


@pytest.mark.parametrize("name", REFERENCE_CLIPS)
def test_the_samples_use_every_field_of_the_reference_and_no_class_has_others(name: str) -> None:
    used: set[str] = set()
    for path in (SAMPLES / name).glob("*.json"):
        used |= set(load(path)["request"])
    fields = {field.name for field in attrs.fields(find_endpoint(name).request)}
    assert used == REFERENCE_CLIPS[name] == fields - {"extra"}


def test_the_samples_use_every_field_of_every_object_inside() -> None:
    used: dict[str, set[str]] = {}
    for name in REFERENCE_CLIPS:
        for path in (SAMPLES / name).glob("*.json"):
            for field, value in load(path)["body"].items():
                for item in value if isinstance(value, list) else [value]:
                    if isinstance(item, dict):
                        used.setdefault(field, set()).update(item)
    assert used == NESTED_CLIPS


@pytest.mark.parametrize("kind", MINIMAL)
@pytest.mark.parametrize("host", list(HOSTS.values()), ids=list(HOSTS))
def test_case_9_nothing_unset_is_sent(kind: Any, host: Any) -> None:
    """Section 20, case 9: gateways take even an empty string or a null as a choice."""
    minimal = MINIMAL[kind]
    assert json.loads(dump(body_of(kind(**minimal), host))) == minimal
    unset = {field.name: None for field in attrs.fields(kind) if field.name != "extra"}
    assert json.loads(dump(body_of(kind(**{**unset, **minimal}), host))) == minimal


def test_zero_is_sent_where_it_is_a_value() -> None:
    face = {**FACE, "sound_volume": 0, "original_audio_volume": 0}
    body: Any = body_of(AdvancedLipSync(session_id="8", face_choose=[face]), HOSTS["official"])
    assert list(body["face_choose"]) == [face]
    assert body_of(made(VideoExtend, cfg_scale=0), HOSTS["official"])["cfg_scale"] == 0


def test_points_may_be_given_as_pairs() -> None:
    pairs = made(AddSelection, points=[(0.25, 0.5), [1, 0], SelectionPoint(x=0, y=0)])
    assert pairs == made(AddSelection, points=[{"x": 0.25, "y": 0.5}, {"x": 1, "y": 0}, {"x": 0, "y": 0}])
    refused(lambda: made(AddSelection, points=[(0.5, 1.5)]), "points[0].y", "from 0 to 1")
    refused(lambda: made(AddSelection, points=[(0.5,)]), "points[0]", "SelectionPoint")
    refused(lambda: made(AddSelection, points=["01"]), "points[0]", "SelectionPoint")
    refused(lambda: made(AddSelection, points=7), "points", "a list of SelectionPoint")
    refused(lambda: made(AddSelection, points={"x": 0, "y": 0}), "points", "a list of SelectionPoint")


def test_local_files_are_read_for_what_their_field_is(tmp_path: Path) -> None:
    """A sound is not held to the rules of pictures, nor a picture to those of sounds, however deep they stand."""
    sound, picture = tmp_path / "a.mp3", tmp_path / "a.png"
    sound.write_bytes(b"ID3" + bytes(40))
    size = (300).to_bytes(4) * 2
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + size)
    heard, seen = (base64.b64encode(path.read_bytes()).decode() for path in (sound, picture))
    as_file = {"file": str(sound)}
    cases: list[tuple[Any, dict[str, Any]]] = [
        (Avatar(image=picture, sound_file=sound), {"image": seen, "sound_file": heard}),
        (LipSync(input={**without(HEARD, "audio_url"), "audio_type": "file", "audio_file": as_file}), {
            "input": {**without(HEARD, "audio_url"), "audio_type": "file", "audio_file": heard},
        }),
        (AdvancedLipSync(session_id="8", face_choose=[{**without(FACE, "audio_id"), "sound_file": sound}]), {
            "session_id": "8", "face_choose": [{**without(FACE, "audio_id"), "sound_file": heard}],
        }),
        (VideoEffects(effect_scene="s", input={"images": [picture, {"file": str(picture)}]}), {
            "effect_scene": "s", "input": {"images": [seen, seen]},
        }),
        (made(MultiImageToVideo, image_list=[{"image": picture}]), {"image_list": [{"image": seen}], "prompt": "x"}),
        (RecognizeImage(image=picture), {"image": seen}),
    ]  # fmt: skip
    for request, body in cases:
        assert has_files(request)
        assert encode_files(body_of(request, HOSTS["official"]), request) == body
        assert from_mapping(type(request), json.loads(json.dumps(to_plain(request)))) == request
    swapped = Avatar(image=sound, sound_file=picture)
    refused(lambda: encode_files(body_of(swapped, HOSTS["official"]), swapped), "image", "not a JPG or PNG")
    pair = VideoEffects(effect_scene="s", input={"images": [picture, sound]})
    refused(lambda: encode_files(body_of(pair, HOSTS["official"]), pair), "input.images[1]", "not a JPG or PNG")


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), REQUIRED)
def test_a_required_field_may_stand_in_extra_and_nowhere_else(kind: Any, name: str) -> None:
    given = without(MINIMAL[kind], name)
    refused(lambda: kind(**given), name, "is required")
    body = body_of(kind(**given, extra={name: "of tomorrow"}), HOSTS["official"])
    assert body[name] == "of tomorrow"


@pytest.mark.parametrize("kind", EITHER)
def test_exactly_one_source_is_taken(kind: Any) -> None:
    first, second = EITHER[kind]
    rest = without(MINIMAL[kind], first, second)
    refused(lambda: kind(**rest), first, f"unless {second} is given")
    refused(lambda: kind(**rest, **{first: "8", second: MP4}), first, f"excludes {second}")
    refused(lambda: kind(**rest, **{second: MP4}, extra={first: "8"}), first, f"excludes {second}")
    for extra in ({first: "8"}, {second: MP4}):
        assert kind(**rest, extra=extra).extra == extra


LONG = "x" * 2501
# class, field, value that just passes, value that just does not, the field that is blamed, words of the rule.
LIMITS: list[tuple[Any, str, Any, Any, str, str]] = [
    (MultiImageToVideo, "image_list", [PICTURE] * 4, [PICTURE] * 5, "image_list", "1 to 4 are allowed"),
    (MultiImageToVideo, "image_list", [PICTURE], [], "image_list", "1 to 4 are allowed"),
    (MultiImageToVideo, "image_list", [PICTURE], [{}], "image_list[0].image", "is required"),
    (MultiImageToVideo, "image_list", [PICTURE], [{"image": "a.png"}], "image_list[0].image", "pathlib.Path"),
    (MultiImageToVideo, "image_list", [PICTURE], [{"image_url": URL}], "image_list[0].image_url", "no such field"),
    (MultiImageToVideo, "prompt", LONG[1:], LONG, "prompt", "at most 2500"),
    (MultiImageToVideo, "negative_prompt", LONG[1:], LONG, "negative_prompt", "at most 2500"),
    (MultiImageToVideo, "duration", 10, "ten", "duration", "a length from"),
    (MultiImageToVideo, "mode", "4k", "", "mode", "is empty"),
    (MultiImageToVideo, "aspect_ratio", "9:21", 1, "aspect_ratio", "must be a string"),
    (MotionControl, "prompt", LONG[1:], LONG, "prompt", "at most 2500"),
    (MotionControl, "element_list", [{"element_id": 1}], [{"element_id": 1}] * 2, "element_list", "1 to 1"),
    (MotionControl, "keep_original_sound", "no", "off", "keep_original_sound", "one of yes, no"),
    (MotionControl, "character_orientation", "video", "left", "character_orientation", "one of image, video"),
    (MotionControl, "video_url", MP4, "a.mp4", "video_url", "http(s) URL"),
    (MotionControl, "image_url", BASE64, "data:image/png;base64,", "image_url", "without the data: prefix"),
    (MotionControl, "watermark_info", {"enabled": False}, {"enabled": 0}, "watermark_info.enabled", "True or False"),
    (VideoExtend, "cfg_scale", 1, 1.01, "cfg_scale", "from 0 to 1"),
    (VideoExtend, "prompt", LONG[1:], LONG, "prompt", "at most 2500"),
    (VideoExtend, "video_id", "8", 8, "video_id", "must be a string"),
    (VideoExtend, "callback_url", URL, "host", "callback_url", "http(s) URL"),
    (VideoExtend, "external_task_id", "a-1", "a,b", "external_task_id", "1 to 64 of"),
    (VideoEffects, "effect_scene", "of_tomorrow", " ", "effect_scene", "is empty"),
    (VideoEffects, "input", {"images": [URL, URL]}, {"images": [URL]}, "input.images", "2 to 2 are allowed"),
    (VideoEffects, "input", {"images": (URL, BASE64)}, {"images": [URL] * 3}, "input.images", "2 to 2 are allowed"),
    (VideoEffects, "input", PICTURE, {"images": [URL, "b.png"]}, "input.images", "pathlib.Path"),
    (VideoEffects, "input", PICTURE, {"images": URL}, "input.images", "a list of two pictures"),
    (VideoEffects, "input", PICTURE, {"images": 5}, "input.images", "a list of two pictures"),
    (VideoEffects, "input", PICTURE, {}, "input.image", "unless images is given"),
    (VideoEffects, "input", PICTURE, {**PICTURE, "images": [URL, URL]}, "input.image", "excludes images"),
    (VideoEffects, "input", {**PICTURE, "duration": 5}, {**PICTURE, "duration": "x"}, "input.duration", "a length"),
    (VideoEffects, "input", PICTURE, URL, "input", "must be a EffectInput or a mapping"),
    (Avatar, "prompt", LONG[1:], LONG, "prompt", "at most 2500"),
    (Avatar, "image", Path("not-there.png"), "not-there.png", "image", "pathlib.Path"),
    (Avatar, "sound_file", Path("not-there.wav"), "not-there.wav", "sound_file", "pathlib.Path"),
    (LipSync, "input", READ, without(READ, "mode"), "input.mode", "is required"),
    (LipSync, "input", READ, without(READ, "text"), "input.text", 'with mode="text2video"'),
    (LipSync, "input", READ, without(READ, "voice_id"), "input.voice_id", 'with mode="text2video"'),
    (LipSync, "input", READ, without(READ, "video_id"), "input.video_id", "unless video_url is given"),
    (LipSync, "input", READ, {**READ, "video_url": MP4}, "input.video_id", "excludes video_url"),
    (LipSync, "input", {**READ, "voice_speed": 0.8}, {**READ, "voice_speed": 0.79}, "input.voice_speed", "0.8 to 2"),
    (LipSync, "input", {**READ, "voice_speed": 2}, {**READ, "voice_speed": 2.1}, "input.voice_speed", "0.8 to 2"),
    (LipSync, "input", {**READ, "voice_language": "zh"}, {**READ, "voice_language": "de"}, "input.voice_language",
     "one of zh, en"),
    (LipSync, "input", HEARD, without(HEARD, "audio_type"), "input.audio_type", 'with mode="audio2video"'),
    (LipSync, "input", HEARD, without(HEARD, "audio_url"), "input.audio_url", 'with mode="audio2video"'),
    (LipSync, "input", HEARD, {**HEARD, "audio_type": "file"}, "input.audio_file", 'with mode="audio2video"'),
    (LipSync, "input", HEARD, {**HEARD, "audio_type": "base64"}, "input.audio_type", "one of file, url"),
    (LipSync, "input", {"mode": "of_tomorrow", "video_id": "8"}, {"mode": "", "video_id": "8"}, "input.mode", "empty"),
    (AdvancedLipSync, "face_choose", [FACE], [FACE] * 2, "face_choose", "1 to 1 are allowed"),
    (AdvancedLipSync, "face_choose", [FACE], [without(FACE, "face_id")], "face_choose[0].face_id", "is required"),
    (AdvancedLipSync, "face_choose", [FACE], [without(FACE, "audio_id")], "face_choose[0].audio_id",
     "unless sound_file is given"),
    (AdvancedLipSync, "face_choose", [FACE], [{**FACE, "sound_file": MP3}], "face_choose[0].audio_id",
     "excludes sound_file"),
    (AdvancedLipSync, "face_choose", [FACE], [{**FACE, "sound_end_time": 1999}], "face_choose[0].sound_end_time",
     "2000 ms after sound_start_time"),
    (AdvancedLipSync, "face_choose", [{**FACE, "sound_start_time": "500", "sound_end_time": 2500}],
     [{**FACE, "sound_start_time": "500", "sound_end_time": "2499"}], "face_choose[0].sound_end_time", "2000 ms"),
    (AdvancedLipSync, "face_choose", [FACE], [{**FACE, "sound_start_time": -1}], "face_choose[0].sound_start_time",
     "whole milliseconds"),
    (AdvancedLipSync, "face_choose", [FACE], [{**FACE, "sound_insert_time": 0.5}], "face_choose[0].sound_insert_time",
     "whole milliseconds"),
    (AdvancedLipSync, "face_choose", [FACE], [{**FACE, "sound_insert_time": True}], "face_choose[0].sound_insert_time",
     "whole milliseconds"),
    (AdvancedLipSync, "face_choose", [FACE], [{**FACE, "sound_insert_time": "1s"}], "face_choose[0].sound_insert_time",
     "whole milliseconds"),
    (AdvancedLipSync, "face_choose", [{**FACE, "sound_volume": 2}], [{**FACE, "sound_volume": 2.1}],
     "face_choose[0].sound_volume", "from 0 to 2"),
    (AdvancedLipSync, "face_choose", [FACE], FACE, "face_choose", "a list of FaceChoose"),
    (IdentifyFace, "video_id", "8", "", "video_id", "is empty"),
    (MultiElements, "edit_mode", "swap", "change", "edit_mode", "one of addition, swap, removal"),
    (MultiElements, "image_list", [PICTURE], [PICTURE] * 2, "image_list", "at most 1 are allowed with"),
    (MultiElements, "image_list", [PICTURE], [], "image_list", 'is required with edit_mode="swap"'),
    (MultiElements, "image_list", [PICTURE], [PICTURE] * 3, "image_list", "1 to 2 are allowed"),
    (MultiElements, "edit_mode", "addition", "removal", "image_list", 'at most 0 are allowed with edit_mode="removal"'),
    (MultiElements, "prompt", LONG[1:], LONG, "prompt", "at most 2500"),
    (MultiElements, "negative_prompt", LONG[1:], LONG, "negative_prompt", "at most 2500"),
    (AddSelection, "frame_index", 0, -1, "frame_index", "from 0"),
    (AddSelection, "frame_index", 299, "0", "frame_index", "an integer"),
    (AddSelection, "points", [(0, 0)] * 10, [(0, 0)] * 11, "points", "1 to 10 are allowed"),
    (AddSelection, "points", [(1, 1)], [], "points", "1 to 10 are allowed"),
    (DeleteSelection, "points", [(0, 1)], [(-0.1, 0)], "points[0].x", "from 0 to 1"),
    (DeleteSelection, "points", [(0, 1)], [{"x": 0}], "points[0].y", "is required"),
    (ClearSelection, "session_id", "8", 8, "session_id", "must be a string"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "fine", "wrong", "field", "words"), LIMITS)
def test_a_value_at_the_limit_passes_and_one_beyond_it_is_refused(
    kind: Any, name: str, fine: Any, wrong: Any, field: str, words: str
) -> None:
    """The refusal names the field as the user wrote it, however deep it stands."""
    made(kind, **{name: fine})
    refused(lambda: made(kind, **{name: wrong}), field, words)


def test_two_pictures_make_an_addition() -> None:
    for count in (1, 2):
        made(MultiElements, edit_mode="addition", image_list=[PICTURE] * count)
    refused(lambda: made(MultiElements, edit_mode="addition", image_list=None), "image_list", "is required")


def test_what_stands_in_extra_is_not_counted() -> None:
    """A field in `extra` is the caller's own business: the rules about pictures do not look at it."""
    own = {"image_list": [PICTURE, PICTURE]}
    request = MultiElements(**without(EDIT, "image_list"), extra=own)
    assert body_of(request, HOSTS["official"])["image_list"] == own["image_list"]
    MultiElements(**without(EDIT, "edit_mode", "image_list"), extra={"edit_mode": "of_tomorrow"})


# --- advice ----------------------------------------------------------------------------------------------------------

RETIRED = "multi-image2video was reported as retired by the service on 2026-09-28"
AAC = "{} is documented, and in practice rejected with 1201; mp3 and wav are taken"


@pytest.mark.parametrize("kind", [kind for kind in MINIMAL if kind is not MultiImageToVideo])
@pytest.mark.parametrize("host", ["official", "cometapi"])
def test_the_least_of_a_request_needs_no_advice(kind: Any, host: str) -> None:
    fields = {"prompt": "x"} if kind is Avatar else {}
    assert advice(made(kind, **fields), host) == []


@pytest.mark.parametrize(
    ("request_", "host", "told"),
    [
        (made(MultiImageToVideo), "official", [RETIRED]),
        (
            made(MultiImageToVideo, model_name="kling-v3", mode="4k", duration=7),
            "cometapi",
            [
                RETIRED,
                "kling-v3 is not known on multi-image2video",
                "multi-image2video has no mode 4k",
                "multi-image2video makes clips of 5 or 10 seconds, not 7",
            ],
        ),
        (made(MultiImageToVideo, model_name="kling-v9", mode="8k", duration=30), "official", [RETIRED]),
        (made(MultiImageToVideo, extra={"model_name": "kling-v1"}), "official",
         [RETIRED, "kling-v1 is not known on multi-image2video"]),
        (made(MultiImageToVideo, prompt="x" * 501, negative_prompt="y" * 201), "cometapi", [
            RETIRED,
            "prompt has 501 characters; this host prints a limit of 500",
            "negative_prompt has 201 characters; this host prints a limit of 200",
        ]),
        (made(MotionControl, model_name="kling-v1-6"), "official", ["kling-v1-6 is not known on motion-control"]),
        (made(MotionControl, model_name="kling-v3", mode="4k"), "official", ["motion-control has no mode 4k"]),
        (made(MotionControl, model_name="kling-v3", element_list=[{"element_id": 1}]), "official",
         ['with an element the person faces as in the video, whatever character_orientation="image" says']),
        (made(MotionControl, character_orientation="video", element_list=[{"element_id": 1}]), "official",
         ["kling-v2-6 takes no element on motion-control"]),
        (made(MotionControl, extra={"model_name": ["kling-v3"]}), "official", []),
        (made(VideoExtend, negative_prompt="x", cfg_scale=0), "official",
         ["video-extend is not known to heed negative_prompt", "video-extend is not known to heed cfg_scale"]),
        (made(VideoExtend, prompt="x" * 501), "cometapi",
         ["prompt has 501 characters; this host prints a limit of 500"]),
        (made(Avatar), "official", []),
        (made(Avatar), "cometapi", ["this host says that an avatar's prompt is required"]),
        (made(Avatar, extra={"prompt": "x"}), "cometapi", []),
        (made(Avatar, prompt="x" * 2500), "cometapi", []),
        (made(Avatar, mode="4k"), "official", ["avatar has no mode 4k"]),
        (made(Avatar, mode="pro"), "official", []),
        (made(Avatar, sound_file=Path("a.M4A")), "official", [AAC.format(".M4A")]),
        (made(Avatar, sound_file="https://host.example/a.aac?key=b.mp3"), "official", [AAC.format(".aac")]),
        (made(Avatar, sound_file="https://host.example/a.mp3?key=b.aac"), "official", []),
        (made(Avatar, sound_file=Path("a.wav")), "official", []),
        (made(Avatar, sound_file=BASE64), "official", []),
        (Avatar(image=URL, audio_id="8"), "official", []),
        (LipSync(input={**READ, "text": "x" * 120}), "official", []),
        (LipSync(input={**READ, "text": "x" * 121}), "official",
         ["text has 121 characters; a partner of the service prints a limit of 120"]),
        (LipSync(input={**HEARD, "audio_url": "https://host.example/a.m4a"}), "official", [AAC.format(".m4a")]),
        (LipSync(input={**HEARD, "audio_type": "file", "audio_file": Path("a.aac")}), "official",
         [AAC.format(".aac")]),
        (LipSync(input={"mode": "of_tomorrow", "video_id": "8"}), "official", ["lip-sync has no mode of_tomorrow"]),
        (LipSync(extra={"input": {}}), "official", []),
        (AdvancedLipSync(session_id="8", face_choose=[{**FACE, "sound_end_time": "60001"}]), "official",
         ["sound_end_time 60001 lies behind the end of the longest sound, 60 s"]),
        (AdvancedLipSync(session_id="8", face_choose=[{**FACE, "sound_end_time": 60000}]), "official", []),
        (AdvancedLipSync(session_id="8", face_choose=[
            {**without(FACE, "audio_id"), "sound_file": "https://host.example/A.AAC"}]), "official",
         [AAC.format(".AAC")]),
        (AdvancedLipSync(session_id="8", extra={"face_choose": []}), "official", []),
        (made(MultiElements, model_name="kling-v2-1", mode="4k", duration="3"), "official", [
            "kling-v2-1 is not known on multi-elements",
            "multi-elements has no mode 4k",
            "multi-elements makes clips of 5 or 10 seconds, not 3",
        ]),
        (made(MultiElements, prompt="<<<video_1>>> <<<image_1>>> <<<image_2>>>"), "official",
         ["the prompt refers to image_2, and there are 1"]),
        (made(MultiElements, edit_mode="removal", image_list=[], prompt="<<<image_1>>>"), "official",
         ["the prompt refers to image_1, and there are 0"]),
        (MultiElements(**without(EDIT, "image_list"), extra={"image_list": [PICTURE]}), "official", []),
        (MultiElements(**without(EDIT, "prompt"), extra={"prompt": "<<<image_9>>>"}), "official", []),
        (made(MultiElements, prompt="x" * 501), "cometapi", []),
    ],
)  # fmt: skip
def test_what_depends_on_model_or_host_warns_and_never_refuses(request_: Any, host: str, told: list[str]) -> None:
    assert advice(request_, host) == told


# --- rows ------------------------------------------------------------------------------------------------------------

V = "/v1/videos"
STEPS = [f"{step}-selection" for step in ("init", "add", "delete", "clear", "preview")]


def test_the_rows_are_those_of_the_reference() -> None:
    rows = [find_endpoint(name) for name in REFERENCE_CLIPS]
    tasks = {row.name: row.path for row in rows if row.kind == "task"}
    calls = {row.name: row.path for row in rows if row.kind == "call"}
    assert tasks == {
        **{name: f"{V}/{name}" for name in tasks},
        "avatar": f"{V}/avatar/image2video",
    }
    assert calls == {
        "identify-face": f"{V}/identify-face",
        "image-recognize": f"{V}/image-recognize",
        **{name: f"{V}/multi-elements/{name}" for name in STEPS},
    }
    assert len(tasks) + len(calls) == len(rows)
    assert {row.name: row.default_model for row in rows if row.default_model} == {
        "multi-image2video": "kling-v1-6",
        "motion-control": "kling-v2-6",
        "multi-elements": "kling-v1-6",
    }
    assert all((row.yields, row.pack, row.has_list) == ("video", "video", True) for row in rows if row.kind == "task")
    assert [row.name for row in rows if row.kind == "task" and not row.by_external_id] == ["advanced-lip-sync"]
    assert all((row.standard, row.method, row.slots(None)) == ("legacy", "POST", 1) for row in rows)
    for row in rows:
        assert issubclass(row.request, Call) == (row.kind == "call") == (row.answer is not None)
        assert not (row.kind == "call" and (row.has_list or row.by_external_id))


# --- answers ---------------------------------------------------------------------------------------------------------

PAID = {"final_unit_deduction": "0.05", "final_balance_deduction": {"quota": "0.01", "list_price": "0.02"}}
MASK = {
    "object_id": 0,
    "rle_mask": {"size": [720, 1280], "counts": "o1"},
    "png_mask": {"size": [720, 1280], "base64": "iVBO"},
}
MASKS = {"status": 0, "session_id": "8", "res": {"frame_index": 0, "rle_mask_list": [MASK]}, **PAID}
ANSWERS: dict[str, dict[str, Any]] = {
    "identify-face": {
        "session_id": "8",
        "face_data": [{"face_id": "0", "face_image": URL, "start_time": 0, "end_time": 5200}],
        **PAID,
    },
    "init-selection": {
        "status": 0,
        "session_id": "8",
        "fps": 30.0,
        "original_duration": 1000,
        "width": 720,
        "height": 1280,
        "total_frame": 300,
        "normalized_video": MP4,
        **PAID,
    },
    "add-selection": MASKS,
    "delete-selection": MASKS,
    "clear-selection": {"status": 0, "session_id": "8", **PAID},
    "preview-selection": {
        "status": 0,
        "session_id": "8",
        "res": {"video": MP4, "video_cover": URL, "tracking_output": URL},
        **PAID,
    },
    "image-recognize": {},
}


def answered(name: str, data: Any) -> Any:
    payload = {"code": 0, "message": "SUCCEED", "request_id": "r", "data": data}
    return decode_answer(find_endpoint(name), open_envelope(payload))


def plain(value: Any) -> Any:
    return json.loads(json.dumps(attrs.asdict(value, filter=lambda field, _: field.name != "raw")))


@pytest.mark.parametrize("name", ANSWERS)
def test_every_field_of_an_answer_has_its_place(name: str) -> None:
    answer = answered(name, {**ANSWERS[name], "of_tomorrow": 1})
    assert type(answer) is find_endpoint(name).answer
    assert plain(answer) == ANSWERS[name]
    assert answer.raw == {**ANSWERS[name], "of_tomorrow": 1}
    assert "raw" not in repr(answer)


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_leaves_out_or_sends_as_null_keeps_its_default(name: str) -> None:
    wanted = {"session_id": "8"} if name != "image-recognize" else {"kind": "unknown"}
    bare = answered(name, wanted)
    assert answered(name, {**dict.fromkeys(ANSWERS[name]), **wanted}) == bare
    kind: Any = find_endpoint(name).answer
    assert bare == kind(**{key: value for key, value in wanted.items() if key == "session_id"})


@pytest.mark.parametrize("name", ["identify-face", "init-selection"])
def test_a_session_without_its_id_is_no_answer(name: str) -> None:
    with pytest.raises(BadEnvelope):
        answered(name, without(ANSWERS[name], "session_id"))


@pytest.mark.parametrize("name", STEPS)
def test_case_11_a_selection_is_refused_inside_an_envelope_that_says_fine(name: str) -> None:
    """Section 20, case 11: code 0, and a status other than 0 in the data."""
    with pytest.raises(RequestRejected):
        answered(name, {**ANSWERS[name], "status": 3})


def test_the_small_objects_are_values() -> None:
    kinds: list[tuple[Any, dict[str, Any]]] = [(EffectInput, PICTURE), (LipSyncInput, READ), (FaceChoose, FACE)]
    for kind, fields in kinds:
        assert kind(**fields) == kind(**fields)
        assert hash(kind(**fields)) == hash(kind(**fields))
