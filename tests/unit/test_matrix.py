"""matrix.py and the advice of the endpoints: sentences about what a model or host is not known to do."""

from typing import Any

import attrs
import pytest
from unit_tools import HOSTS

from kling_async import ImageToVideo, OmniVideo, TextToVideo
from kling_async.endpoints import find_endpoint
from kling_async.endpoints.matrix import DEFAULT_MODELS, MODELS

URL = "https://host.example/a.png"
MASKS: dict[str, Any] = {"dynamic_masks": [{"mask": URL, "trajectories": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]}]}
SIMPLE: dict[str, Any] = {"camera_control": {"type": "simple", "config": {"pan": 1}}}
SHOTS: dict[str, Any] = {"multi_shot": True, "shot_type": "intelligence"}
MOVES = "down_back, forward_up, left_turn_forward, right_turn_forward, simple"
VOICES: dict[str, Any] = {"voice_list": [{"voice_id": "v"}], "sound": "on"}


def t2v(model: str | None = None, **fields: Any) -> TextToVideo:
    return TextToVideo(**{"prompt": "x", "model_name": model, **fields})


def i2v(model: str | None = None, **fields: Any) -> ImageToVideo:
    return ImageToVideo(**{"image": URL, "prompt": "x", "model_name": model, **fields})


def omni(model: str | None = None, **fields: Any) -> OmniVideo:
    return OmniVideo(**{"prompt": "x", "model_name": model, "aspect_ratio": "16:9", **fields})


def advice(request: Any, host: str = "official") -> list[str]:
    return [str(told) for told in find_endpoint(request).advice(request, HOSTS[host])]


# Source: service reference, "Capability Map" and "Image to Video": what each model is known to do.
FINE = [
    t2v(),
    t2v("kling-v1", mode="pro", duration="10"),
    t2v("kling-v1", cfg_scale=0.5),
    t2v("kling-v1", **SIMPLE),
    t2v("kling-v1", mode="std", duration="5", camera_control={"type": "forward_up"}),
    i2v("kling-v1", static_mask=URL),
    i2v("kling-v1", mode="pro", **MASKS),
    i2v("kling-v1", image_tail=URL, mode="pro"),
    i2v("kling-v1-5", mode="pro", duration="10", image_tail=URL),
    i2v("kling-v1-5", mode="pro", image=None, image_tail=URL),
    i2v("kling-v1-5", mode="pro", static_mask=URL),
    i2v("kling-v1-5", mode="pro", **SIMPLE),
    i2v("kling-v1-6", mode="pro", image=None, image_tail=URL, duration=10),
    t2v("kling-v2-master", mode="8k"),
    i2v("kling-v2-1", mode="pro", image_tail=URL),
    t2v("kling-v2-1-master", duration="10"),
    i2v("kling-v2-5-turbo", mode="pro", image_tail=URL),
    t2v("kling-v2-6", mode="pro", sound="on"),
    t2v("kling-v2-6", mode="std", sound="off"),
    t2v("kling-v2-6", mode="pro", **VOICES),
    i2v("kling-v2-6", mode="pro", sound="off", image_tail=URL),
    t2v("kling-v3", mode="4k", duration=3, cfg_scale=1, sound="on", **SHOTS),
    i2v("kling-v3", duration="15", image_tail=URL),
    omni(),
    omni("kling-video-o1", duration="10", mode="pro"),
    omni("kling-video-o1", duration="3", image_list=[{"image_url": URL}]),
    omni("kling-video-o1", duration="3", element_list=[{"element_id": 1}]),
    omni("kling-video-o1", duration="7", video_list=[{"video_url": URL}]),
    omni("kling-v3-omni", duration="15", sound="on", **SHOTS),
    t2v("kling-v9", mode="16k", duration="59", sound="on", cfg_scale=1, **SHOTS, **SIMPLE),
    t2v(extra={"model_name": "kling-v3"}, mode="4k"),
]


@pytest.mark.parametrize("request_", FINE)
def test_what_a_model_is_known_to_do_needs_no_advice(request_: Any) -> None:
    assert advice(request_) == []


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (t2v(duration="7"), "kling-v1 makes clips of 5 or 10 seconds, not 7"),
        (t2v(duration=5.5), "kling-v1 makes clips of 5 or 10 seconds, not 5.5"),
        (t2v("kling-v3", duration="16"), "kling-v3 makes clips of 3 to 15 seconds, not 16"),
        (omni(duration="11"), "kling-video-o1 makes clips of 3 to 10 seconds, not 11"),
        (omni(duration="7"), "kling-video-o1 makes clips of 5 or 10 seconds from words or a first frame"),
        (
            omni(duration="7", image_list=[{"image_url": URL, "type": "first_frame"}]),
            "kling-video-o1 makes clips of 5 or 10 seconds from words or a first frame",
        ),
        (t2v(mode="4k"), "kling-v1 has no mode 4k"),
        (t2v("kling-v1-5"), "kling-v1-5 is not known on text2video"),
        (t2v("kling-v2-1"), "kling-v2-1 is not known on text2video"),
        (t2v("kling-v3-omni"), "kling-v3-omni is not known on text2video"),
        (omni("kling-v3"), "kling-v3 is not known on omni-video"),
        (t2v(sound="on"), "kling-v1 has no sound on text2video"),
        (t2v("kling-v2-6", sound="on"), 'kling-v2-6 has sound only with mode="pro"'),
        (omni("kling-video-o1", sound="on"), "kling-video-o1 has no sound on omni-video"),
        (t2v("kling-v2-6", **SHOTS), "kling-v2-6 has no multi-shot on text2video"),
        (omni(**SHOTS), "kling-video-o1 has no multi-shot on omni-video"),
        (i2v("kling-v2-master", image_tail=URL), "kling-v2-master has no last frame on image2video"),
        (i2v("kling-v1", image_tail=URL, duration="10"), "kling-v1 has last frame only with 5 seconds"),
        (i2v("kling-v1-6", image_tail=URL), 'kling-v1-6 has last frame only with mode="pro"'),
        (i2v("kling-v2-1", image_tail=URL), 'kling-v2-1 has last frame only with mode="pro"'),
        (i2v("kling-v2-5-turbo", image_tail=URL, mode="std"), 'kling-v2-5-turbo has last frame only with mode="pro"'),
        (
            i2v("kling-v3", image=None, image_tail=URL),
            "kling-v3 has no last frame without a first one on image2video",
        ),
        (
            i2v("kling-v2-6", image_tail=URL, sound="on", mode="pro"),
            "kling-v2-6 has a last frame only without sound",
        ),
        (t2v("kling-v1-6", **SIMPLE), "kling-v1-6 has no camera control on text2video"),
        (i2v("kling-v1", **SIMPLE), "kling-v1 has no camera control on image2video"),
        (t2v("kling-v1", mode="pro", **SIMPLE), 'kling-v1 has camera control only with mode="std"'),
        (t2v("kling-v1", duration="10", **SIMPLE), "kling-v1 has camera control only with 5 seconds"),
        (
            i2v("kling-v1-5", mode="pro", camera_control={"type": "down_back"}),
            'kling-v1-5 has camera control only with type="simple"',
        ),
        (i2v("kling-v1-6", static_mask=URL), "kling-v1-6 has no masks on image2video"),
        (i2v("kling-v1-5", **MASKS), 'kling-v1-5 has masks only with mode="pro"'),
        (i2v("kling-v1", duration="10", **MASKS), "kling-v1 has masks only with 5 seconds"),
        (t2v("kling-v2-5-turbo", cfg_scale=0), "kling-v2-5-turbo has no cfg_scale on text2video"),
        (t2v(aspect_ratio="4:3"), "aspect_ratio 4:3 is not one of 16:9, 1:1, 9:16"),
        (
            t2v("new", camera_control={"type": "spin"}),
            f"camera_control.type spin is not one of {MOVES}",
        ),
        (t2v("new", prompt="<<<image_1>>>"), "the prompt refers to image_1, and there are 0"),
        (t2v("new", prompt="<<<voice_2>>>", **VOICES), "the prompt refers to voice_2, and there are 1"),
        (i2v("new", prompt="<<<image_2>>>"), "the prompt refers to image_2, and there are 1"),
        (i2v("new", prompt="<<<element_1>>>"), "the prompt refers to element_1, and there are 0"),
        (omni("new", prompt="<<<video_1>>>"), "the prompt refers to video_1, and there are 0"),
        (
            omni("new", prompt="<<<image_0>>>", image_list=[{"image_url": URL}]),
            "the prompt refers to image_0, and there are 1",
        ),
        (
            omni("new", prompt="<<<image_3>>> <<<image_1>>>", image_list=[{"image_url": URL}] * 2),
            "the prompt refers to image_3, and there are 2",
        ),
        (OmniVideo(prompt="x"), "aspect_ratio is needed without a first frame and without a video to edit"),
        (
            OmniVideo(prompt="x", image_list=[{"image_url": URL}]),
            "aspect_ratio is needed without a first frame and without a video to edit",
        ),
        (
            OmniVideo(prompt="x", video_list=[{"video_url": URL, "refer_type": "feature"}]),
            "aspect_ratio is needed without a first frame and without a video to edit",
        ),
        (ImageToVideo(image=URL), "the newest reference of the service requires a prompt"),
    ],
)
def test_advice_is_one_sentence_that_says_what_and_who(request_: Any, sentence: str) -> None:
    assert advice(request_) == [sentence]


@pytest.mark.parametrize(
    "request_",
    [
        i2v("new", prompt="<<<image_1>>>"),
        omni("new", prompt="<<<image_2>>> <<<element_1>>> <<<video_1>>>", image_list=[{"image_url": URL}] * 2,
             element_list=[{"element_id": 1}], video_list=[{"video_url": URL}]),
        t2v("new", prompt="<<<nothing_1>>> <<image_1>> <<<image_>>>"),
        OmniVideo(prompt="x", image_list=[{"image_url": URL, "type": "first_frame"}]),
        OmniVideo(prompt="x", video_list=[{"video_url": URL}]),
        OmniVideo(prompt="x", video_list=[{"video_url": URL, "refer_type": "base"}]),
        OmniVideo(prompt="x", extra={"aspect_ratio": "1:1"}),
        ImageToVideo(image=URL, extra={"prompt": "x"}),
        ImageToVideo(image=URL, model_name="kling-v3", multi_shot=True, shot_type="customize",
                     multi_prompt=[{"index": 1, "prompt": "a", "duration": "5"}]),
    ],
)  # fmt: skip
def test_what_refers_and_stands_well_needs_no_advice(request_: Any) -> None:
    assert advice(request_) == []


def test_the_limits_a_host_prints_are_advice_there_and_nowhere_else() -> None:
    fine = t2v(prompt="x" * 500, negative_prompt="y" * 200)
    long = t2v(prompt="x" * 501, negative_prompt="y" * 201)
    assert advice(fine, "cometapi") == advice(long, "official") == []
    assert advice(long, "cometapi") == [
        "prompt has 501 characters; this host prints a limit of 500",
        "negative_prompt has 201 characters; this host prints a limit of 200",
    ]
    assert advice(omni(prompt="x" * 2500), "cometapi") == [], "its page of omni videos prints the service's own limit"


def test_the_first_example_of_each_reference_page_warns_of_nothing_there() -> None:
    """S3 sends a picture alone, and says that the prompt is optional."""
    assert advice(TextToVideo(prompt="A happy scene of a vacation on the beach."), "cometapi") == []
    assert advice(ImageToVideo(image=URL), "cometapi") == []
    zh = TextToVideo(model_name="kling-v2-5-turbo", prompt="在海滩上度假的快乐场景。", duration=5)
    assert advice(zh, "number") == []


def test_several_things_give_several_sentences() -> None:
    told = advice(t2v("kling-v2-1-master", sound="on", cfg_scale=1, duration="7"))
    assert len(told) == 3
    assert all(sentence.startswith("kling-v2-1-master ") for sentence in told)


def test_the_models_are_those_of_the_reference() -> None:
    assert set(MODELS) == {
        *(
            f"kling-{name}"
            for name in ("v1", "v1-5", "v1-6", "v2-master", "v2-1", "v2-1-master", "v2-5-turbo", "v2-6", "v3")
        ),
        "kling-video-o1",
        "kling-v3-omni",
    }
    assert DEFAULT_MODELS == {"TextToVideo": "kling-v1", "ImageToVideo": "kling-v1", "OmniVideo": "kling-video-o1"}
    assert all(attrs.asdict(model)["endpoints"] for model in MODELS.values())
