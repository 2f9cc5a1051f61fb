"""prices.py: the printed list, applied by hand here; what it does not tell is not made up."""

from datetime import date
from decimal import Decimal
from typing import Any

import attrs
import pytest

from kling_async import ConfigError, TextToVideo
from kling_async.endpoints import ENDPOINTS
from kling_async.prices import CALLS, CLIPS, PICTURES, UNIT_USD, Estimate, estimate

PIC = "https://host.example/a.png"
CLIP = "https://host.example/a.mp4"
SOUND = "https://host.example/a.mp3"
VOICES: dict[str, Any] = {"voice_list": [{"voice_id": "v"}], "sound": "on"}
FEATURE: dict[str, Any] = {"video_list": [{"video_url": CLIP, "refer_type": "feature"}]}
HD: dict[str, Any] = {"resolution": "1080p"}
EDIT: dict[str, Any] = {"video_list": [{"video_url": CLIP}]}
RATIOS: dict[str, Any] = {f"{side}_expansion_ratio": 0.1 for side in ("up", "down", "left", "right")}

# What each class needs besides what a case is about.
NEEDS: dict[str, dict[str, Any]] = {
    "TextToVideo": {"prompt": "x"},
    "ImageToVideo": {"image": PIC, "prompt": "x"},
    "OmniVideo": {"prompt": "x", "aspect_ratio": "16:9"},
    "Operation": {},
    "MultiImageToVideo": {"prompt": "x", "image_list": [{"image": PIC}]},
    "MultiElements": {"session_id": "s", "edit_mode": "removal", "prompt": "x"},
    "MotionControl": {"image_url": PIC, "video_url": CLIP, "character_orientation": "image", "mode": "std"},
    "VideoExtend": {"video_id": "1"},
    "VideoEffects": {"effect_scene": "hug", "input": {"image": PIC}},
    "Avatar": {"image": PIC, "sound_file": SOUND},
    "LipSync": {"input": {"mode": "audio2video", "video_url": CLIP, "audio_type": "url", "audio_url": SOUND}},
    "AdvancedLipSync": {
        "session_id": "s",
        "face_choose": [
            {"face_id": "0", "sound_file": SOUND, "sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": 0}
        ],
    },
    "IdentifyFace": {"video_url": CLIP},
    "RecognizeImage": {"image": PIC},
    "TextToSpeech": {"text": "x", "voice_id": "v"},
    "TextToAudio": {"prompt": "x", "duration": 10.0},
    "VideoToAudio": {"video_url": CLIP},
    "CustomVoice": {"voice_name": "v", "voice_url": SOUND},
    "SubjectCompletion": {"element_frontal_image": PIC},
    "ImageGeneration": {"prompt": "x"},
    "OmniImage": {"prompt": "x"},
    "MultiImageToImage": {"subject_image_list": [{"subject_image": PIC}]},
    "ImageExpand": {"image": PIC, **RATIOS},
    "VirtualTryOn": {"human_image": PIC, "cloth_image": PIC},
    "DeleteVoice": {"voice_id": "v"},
}


def make(kind: str, **fields: Any) -> Any:
    """A request of the registry, by the name of its class."""
    (found,) = {row.request for row in ENDPOINTS if row.request.__name__ == kind}
    return found(**{**NEEDS[kind], **fields})


def operation(operation: str, model: str, *types: str, **settings: Any) -> Any:
    items: list[dict[str, Any]] = [{"type": "prompt", "text": "x"}]
    for index, type_ in enumerate(types):
        bare = {"type": type_, "id": f"it{index}"}
        items.append({**bare, "voice_id": "v"} if type_ == "voice" else {**bare, "url": PIC})
    return make("Operation", operation=operation, model=model, contents=items, settings=settings or None)


def new(*arguments: str, **settings: Any) -> dict[str, Any]:
    """A row's request of the new standard, made when the test runs."""
    return {"new": (arguments, settings)}


def request_of(kind: str, fields: dict[str, Any]) -> Any:
    if "new" in fields:
        arguments, settings = fields["new"]
        return operation(*arguments, **settings)
    return make(kind, **fields)


# Source: service reference, "Price". Units and USD by hand: rate x seconds, and x 0.14 or x 0.0035.
KNOWN: list[tuple[str, dict[str, Any], str, str]] = [
    # measured by others: 720p 3 s = 1.8 units, 5 s = 3 units; turbo 1080p 5 s = 5 units
    ("TextToVideo", {"model_name": "kling-v3", "duration": "3"}, "1.8", "0.252"),
    ("TextToVideo", {"model_name": "kling-v3"}, "3", "0.42"),
    ("Operation", new("text-to-video", "kling-3.0", resolution="720p", duration=3), "1.8", "0.252"),
    ("Operation", new("text-to-video", "kling-3.0"), "3", "0.42"),
    ("Operation", new("omni-video", "kling-v3-omni", duration=3), "1.8", "0.252"),
    ("Operation", new("image-to-video", "kling-3.0-turbo", "first_frame", resolution="1080p", duration=5), "5", "0.7"),
    # defaults: kling-v1, std, 5 s; on omni kling-video-o1, pro
    ("TextToVideo", {}, "1", "0.14"),
    ("ImageToVideo", {}, "1", "0.14"),
    ("OmniVideo", {}, "4", "0.56"),
    ("OmniVideo", {"mode": "std"}, "3", "0.42"),
    ("TextToVideo", {"mode": "pro", "duration": 10}, "7", "0.98"),
    ("TextToVideo", {"duration": "5.0"}, "1", "0.14"),
    # the legacy models
    ("ImageToVideo", {"model_name": "kling-v1-5"}, "2", "0.28"),
    ("ImageToVideo", {"model_name": "kling-v1-5", "mode": "pro"}, "3.5", "0.49"),
    ("TextToVideo", {"model_name": "kling-v1-6", "duration": "10"}, "4", "0.56"),
    ("TextToVideo", {"model_name": "kling-v1-6", "mode": "pro", "duration": "10"}, "7", "0.98"),
    ("ImageToVideo", {"model_name": "kling-v2-1"}, "2", "0.28"),
    ("ImageToVideo", {"model_name": "kling-v2-1", "mode": "pro"}, "3.5", "0.49"),
    ("TextToVideo", {"model_name": "kling-v2-1-master"}, "10", "1.4"),
    ("TextToVideo", {"model_name": "kling-v2-1-master", "mode": "pro", "duration": "10"}, "20", "2.8"),
    ("ImageToVideo", {"model_name": "kling-v2-master"}, "10", "1.4"),
    ("TextToVideo", {"model_name": "kling-v2-5-turbo"}, "1.5", "0.21"),
    ("TextToVideo", {"model_name": "kling-v2-5-turbo", "mode": "pro"}, "2.5", "0.35"),
    ("TextToVideo", {"model_name": "kling-v2-6"}, "1.5", "0.21"),
    ("TextToVideo", {"model_name": "kling-v2-6", "mode": "pro", "sound": "off"}, "2.5", "0.35"),
    ("TextToVideo", {"model_name": "kling-v2-6", "mode": "pro", "sound": "on"}, "5", "0.7"),
    ("TextToVideo", {"model_name": "kling-v2-6", "mode": "pro", **VOICES}, "6", "0.84"),
    ("TextToVideo", {"model_name": "kling-v3", "mode": "pro", "duration": "15"}, "12", "1.68"),
    ("TextToVideo", {"model_name": "kling-v3", "sound": "on"}, "4.5", "0.63"),
    ("ImageToVideo", {"model_name": "kling-v3", "mode": "pro", "sound": "on"}, "6", "0.84"),
    ("ImageToVideo", {"model_name": "kling-v3", "mode": "4k"}, "15", "2.1"),
    ("ImageToVideo", {"model_name": "kling-v3", "mode": "4k", "sound": "on"}, "15", "2.1"),
    ("OmniVideo", {"model_name": "kling-v3-omni", "mode": "std", "sound": "on"}, "4", "0.56"),
    ("OmniVideo", {"model_name": "kling-v3-omni", "sound": "on"}, "5", "0.7"),
    ("OmniVideo", {"model_name": "kling-v3-omni", "mode": "4k", "duration": "4"}, "12", "1.68"),
    ("OmniVideo", {"model_name": "kling-v3-omni", "mode": "4k", **FEATURE}, "15", "2.1"),
    ("OmniVideo", {"model_name": "kling-v3-omni", **FEATURE}, "6", "0.84"),
    ("OmniVideo", {"mode": "std", "duration": "7", **FEATURE}, "6.3", "0.882"),
    ("MultiImageToVideo", {}, "2", "0.28"),
    ("MultiImageToVideo", {"mode": "pro", "duration": "10"}, "7", "0.98"),
    ("MultiElements", {}, "3", "0.42"),
    ("MultiElements", {"duration": "10"}, "6", "0.84"),
    ("MultiElements", {"mode": "pro"}, "5", "0.7"),
    ("MultiElements", {"mode": "pro", "duration": "10"}, "10", "1.4"),
    # the new standard
    ("Operation", new("text-to-video", "kling-3.0", resolution="1080p", audio="native", duration=10), "12", "1.68"),
    ("Operation", new("image-to-video", "kling-3.0", "first_frame", resolution="4k", audio="off"), "15", "2.1"),
    ("Operation", new("text-to-video", "kling-3.0-turbo"), "4", "0.56"),
    ("Operation", new("omni-video", "kling-3.0-omni", "feature_video", duration=5), "4.5", "0.63"),
    ("Operation", new("omni-video", "kling-3.0-omni", "refer_image", audio="native"), "4", "0.56"),
    ("Operation", new("omni-video", "kling-o1", resolution="1080p", duration=10), "8", "1.12"),
    ("Operation", new("text-to-video", "kling-2.6", resolution="1080p", audio="native"), "5", "0.7"),
    ("Operation", new("image-to-video", "kling-2.6", "first_frame", "voice", audio="native", **HD), "6", "0.84"),
    ("Operation", new("image-to-video", "kling-2.6", "first_frame", "voice", **HD), "2.5", "0.35"),
    ("Operation", new("omni-video", "kling-3.0-omni", extra={"duration": 10}), "6", "0.84"),
    ("Operation", new("text-to-video", "kling-2.5-turbo", duration=10), "3", "0.42"),
    # what `extra` gives counts
    ("TextToVideo", {"extra": {"duration": "10"}}, "2", "0.28"),
    ("TextToVideo", {"extra": {"model_name": "kling-v3", "mode": "pro", "sound": "on"}}, "6", "0.84"),
    ("TextToVideo", {"extra": {"duration": None, "mode": None}}, "1", "0.14"),
    ("OmniVideo", {"extra": {"video_list": [{"refer_type": "feature"}]}}, "6", "0.84"),
    ("ImageGeneration", {"extra": {"n": 3}}, "24", "0.084"),
    # calls
    ("TextToSpeech", {}, "0.05", "0.007"),
    ("TextToAudio", {}, "0.25", "0.035"),
    ("VideoToAudio", {}, "0.25", "0.035"),
    ("IdentifyFace", {}, "0.05", "0.007"),
    ("RecognizeImage", {}, "0.1", "0.014"),
    ("CustomVoice", {}, "0.05", "0.007"),
    ("SubjectCompletion", {}, "20", "0.07"),
    # pictures
    ("ImageGeneration", {}, "8", "0.028"),
    ("ImageGeneration", {"resolution": "2k", "n": 9}, "72", "0.252"),
    ("ImageGeneration", {"model_name": "kling-v2-1", "n": 2}, "8", "0.028"),
    ("ImageGeneration", {"model_name": "kling-v2-1", "image": PIC}, "8", "0.028"),
    ("ImageGeneration", {"model_name": "kling-v2", "resolution": "2K"}, "4", "0.014"),
    ("ImageGeneration", {"model_name": "kling-v1-5"}, "4", "0.014"),
    ("ImageGeneration", {"model_name": "kling-v1", "image": PIC}, "1", "0.0035"),
    ("OmniImage", {}, "8", "0.028"),
    ("OmniImage", {"model_name": "kling-v3-omni", "resolution": "4k", "n": 2}, "32", "0.112"),
    ("OmniImage", {"image_list": [{"image": PIC}]}, "8", "0.028"),
    ("OmniImage", {"result_type": "series"}, "32", "0.112"),
    ("OmniImage", {"result_type": "series", "series_amount": 9}, "72", "0.252"),
    ("MultiImageToImage", {}, "16", "0.056"),
    ("MultiImageToImage", {"model_name": "kling-v2", "n": 2}, "32", "0.112"),
    ("ImageExpand", {}, "8", "0.028"),
    ("ImageExpand", {"n": 9}, "72", "0.252"),
]


@pytest.mark.parametrize(("kind", "fields", "units", "usd"), KNOWN)
def test_a_price_is_that_of_the_printed_list(kind: str, fields: dict[str, Any], units: str, usd: str) -> None:
    told = estimate(request_of(kind, fields))
    assert (str(told.units), str(told.list_price)) == (units, usd)
    assert (told.units_low, told.list_price_low) == (told.units, told.list_price)
    assert (told.is_known, told.is_range) == (True, False)
    assert told.unit_kind is not None
    assert told.list_price == Decimal(units) * UNIT_USD[told.unit_kind]


@pytest.mark.parametrize(
    ("kind", "fields", "low", "high", "usd_low", "usd_high"),
    [
        ("VideoExtend", {}, "1", "3.5", "0.14", "0.49"),
        ("OmniImage", {"result_type": "series", "series_amount": "auto"}, "16", "72", "0.056", "0.252"),
    ],
)
def test_what_the_service_decides_is_a_range(
    kind: str, fields: dict[str, Any], low: str, high: str, usd_low: str, usd_high: str
) -> None:
    """`units` and `list_price` are the upper bounds: a limit that holds for them holds."""
    told = estimate(make(kind, **fields))
    assert (str(told.units_low), str(told.units)) == (low, high)
    assert (str(told.list_price_low), str(told.list_price)) == (usd_low, usd_high)
    assert (told.is_known, told.is_range) == (True, True)


def test_a_try_on_has_a_price_in_money_and_none_in_units() -> None:
    for model in (None, "kolors-virtual-try-on-v1-5"):
        told = estimate(make("VirtualTryOn", model_name=model))
        assert (told.units, told.units_low, told.unit_kind) == (None, None, None)
        assert (told.list_price, told.list_price_low, told.currency) == (Decimal("0.07"), Decimal("0.07"), "USD")
        assert (told.is_known, told.is_range) == (True, False)


UNKNOWN: list[tuple[str, dict[str, Any], str]] = [
    # the list prints no price of a voice for this model
    ("ImageToVideo", {"model_name": "kling-v3", "mode": "pro", **VOICES}, "voice"),
    # models that the list does not have, however familiar they sound
    ("TextToVideo", {"model_name": "kling-v9"}, "no model 'kling-v9'"),
    ("TextToVideo", {"extra": {"model_name": ["kling-v3"]}}, "no model"),
    ("Operation", new("text-to-video", "kling-4.0"), "no model 'kling-4.0'"),
    ("ImageGeneration", {"model_name": "kling-v2-new"}, "no model 'kling-v2-new'"),
    ("VirtualTryOn", {"model_name": "kolors-virtual-try-on-v9"}, "no model 'kolors-virtual-try-on-v9'"),
    # dashes
    ("TextToVideo", {"mode": "4k"}, "no price for kling-v1 without sound in '4k'"),
    ("TextToVideo", {"model_name": "kling-v2-1-master", "mode": "std"}, "no price for kling-v2-1-master"),
    ("TextToVideo", {"model_name": "kling-v2-6", "sound": "on"}, "no price for kling-v2-6 with sound in '720p'"),
    ("TextToVideo", {"model_name": "kling-v2-6", **VOICES}, "with sound and voices in '720p'"),
    ("OmniVideo", {"mode": "4k"}, "no price for kling-video-o1 without sound in '4k'"),
    ("Operation", new("text-to-video", "kling-3.0-turbo", resolution="4k"), "in '4k'"),
    ("Operation", new("text-to-video", "kling-3.0", resolution="480p"), "in '480p'"),
    ("TextToVideo", {"extra": {"mode": {"a": 1}}}, "no price for kling-v1"),
    ("ImageGeneration", {"resolution": "4k"}, "no price for kling-v3 from words in '4k'"),
    ("ImageGeneration", {"model_name": "kling-v2", "image": PIC, "resolution": "2k"}, "from a picture in '2k'"),
    # combinations without a row
    ("TextToVideo", {"sound": "on"}, "no row for kling-v1 with sound"),
    ("OmniVideo", {"sound": "on"}, "no row for kling-video-o1 with sound"),
    ("OmniVideo", {"model_name": "kling-v3-omni", "sound": "on", **FEATURE}, "with a video and sound"),
    ("MultiImageToVideo", {"model_name": "kling-v3"}, "no row for kling-v3 from several pictures"),
    ("MotionControl", {"model_name": "kling-v1"}, "no row for kling-v1 for motion control"),
    ("MultiImageToImage", {"model_name": "kling-v3"}, "no row for kling-v3 from several pictures"),
    ("DeleteVoice", {}, "no row for delete-voices"),
    # lengths that are not known, or not sold
    ("OmniVideo", EDIT, "costs 1.2 units a second in 1080p, and the clip is as long as the video it edits"),
    ("OmniVideo", {**EDIT, "duration": "5"}, "as long as the video it edits"),
    ("OmniVideo", {"extra": {"video_list": [{"refer_type": "base"}]}}, "as long as the video it edits"),
    ("Operation", new("omni-video", "kling-3.0-omni", "base_video", audio="original"), "0.9 units a second"),
    ("Operation", new("motion-control", "kling-3.0", "image", "video", character_orientation="image"), "0.9 units"),
    ("MotionControl", {}, "kling-v2-6 for motion control costs 0.5 units a second in 720p"),
    ("MotionControl", {"mode": "pro", "model_name": "kling-v3"}, "costs 1.2 units a second in 1080p"),
    ("Avatar", {}, "costs 0.4 units a second in 720p, and the clip is as long as its sound"),
    ("Avatar", {"mode": "pro"}, "costs 0.8 units a second in 1080p"),
    ("LipSync", {}, "0.5 units per 5 seconds"),
    ("AdvancedLipSync", {}, "0.5 units per 5 seconds"),
    ("TextToVideo", {"duration": "7"}, "costs 0.2 units a second in 720p, and no price is printed for a length of '7'"),
    ("TextToVideo", {"model_name": "kling-v3", "duration": "16"}, "a length of '16'"),
    ("TextToVideo", {"model_name": "kling-v3", "duration": 3.5}, "a length of 3.5"),
    ("TextToVideo", {"extra": {"duration": "long"}}, "a length of 'long'"),
    # words and numbers that the service does not define
    ("TextToVideo", {"extra": {"sound": "loud"}}, "does not know sound='loud'"),
    ("Operation", new("text-to-video", "kling-3.0", extra={"audio": "loud"}), "does not know audio='loud'"),
    ("Operation", new("video-to-video", "kling-3.0"), "does not know the operation 'video-to-video'"),
    ("OmniImage", {"extra": {"result_type": "album"}}, "does not know result_type='album'"),
    ("OmniImage", {"result_type": "series", "extra": {"series_amount": 1}}, "not clear how many"),
    ("ImageGeneration", {"extra": {"n": True}}, "not clear how many"),
    ("ImageGeneration", {"extra": {"n": "2"}}, "not clear how many"),
    ("MultiImageToImage", {"extra": {"n": 10}}, "not clear how many"),
    ("ImageExpand", {"extra": {"n": 0}}, "not clear how many"),
    ("VideoEffects", {}, "each effect has a price of its own"),
]


@pytest.mark.parametrize(("kind", "fields", "reason"), UNKNOWN)
def test_what_the_list_does_not_tell_is_not_made_up_and_says_why(
    kind: str, fields: dict[str, Any], reason: str
) -> None:
    told = estimate(request_of(kind, fields))
    assert reason in told.why
    assert (told.is_known, told.is_range) == (False, False)
    assert (told.units, told.units_low, told.unit_kind) == (None, None, None)
    assert (told.list_price, told.list_price_low) == (None, None)


@pytest.mark.parametrize("case", [*KNOWN, *UNKNOWN])
def test_every_estimate_has_a_date_a_source_and_one_printable_sentence(case: tuple[Any, ...]) -> None:
    told = estimate(request_of(case[0], case[1]))
    assert date(2026, 5, 1) <= told.as_of <= date(2026, 8, 13)
    assert told.source
    assert told.why
    assert told.why.isprintable()
    assert len(told.why) < 250
    assert told.currency == "USD"


def test_rows_of_the_page_and_rows_of_the_older_copy_are_told_apart() -> None:
    page = estimate(make("TextToVideo"))
    assert (page.as_of, page.source) == (date(2026, 8, 13), "kling.ai/document-api/pricing/base/video")
    picture = estimate(make("ImageGeneration"))
    assert (picture.as_of, picture.source) == (date(2026, 8, 13), "kling.ai/document-api/pricing/base/image")
    copied = estimate(make("TextToSpeech"))
    assert copied.as_of == date(2026, 5, 15)
    assert copied.source != page.source


def test_foreign_words_are_shown_short_and_escaped() -> None:
    told = estimate(make("TextToVideo", model_name="\u202e\x1b" + "x" * 5000))
    assert told.why.isprintable()
    assert len(told.why) < 200


@pytest.mark.parametrize("thing", [{"prompt": "x"}, "text2video", None, TextToVideo, object()])
def test_what_is_no_request_is_refused(thing: object) -> None:
    with pytest.raises(ConfigError):
        estimate(thing)


def test_every_request_of_the_registry_gets_an_answer() -> None:
    """A new endpoint without a row in the list is "not known", and never an error."""
    assert CALLS.keys() <= {row.request.__name__ for row in ENDPOINTS}
    for kind in NEEDS:
        if kind != "Operation":
            assert isinstance(estimate(make(kind)), Estimate)


def test_no_two_rows_of_a_table_hold_for_the_same() -> None:
    for table in (CLIPS, PICTURES):
        held = [(model, case) for rate in table for model in rate.models for case in rate.cases]
        assert len(held) == len(set(held))
        assert all(rate.units and all(units > 0 for units in rate.units.values()) for rate in table)


def test_an_estimate_is_a_value() -> None:
    one, other = estimate(make("TextToVideo")), estimate(make("TextToVideo"))
    assert one == other
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.units = Decimal(0)  # type: ignore[misc]
