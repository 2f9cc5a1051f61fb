"""Validation: what creates refuse, what they swallow, what fails only at generation."""

import io
import json
from typing import Any

import pytest
from emulator_tools import I2V, OMNI, T2V, Caller, jpeg, play, png

URL = "https://host/a.png"
VIDEO = "https://host/v.mp4"
SHOT = {"index": 1, "prompt": "a", "duration": "5"}
FIRST = {"type": "first_frame", "url": URL}
LAST = {"type": "last_frame", "url": URL}
PROMPT = {"type": "prompt", "text": "a"}
ELEMENT = {"type": "element", "element_id": "860000000000000001", "id": "e"}
IMAGE_REF = {"type": "refer_image", "url": URL}
SHAPE = {"aspect_ratio": "1:1"}
T30, I30, OMNI30 = "/text-to-video/kling-3.0", "/image-to-video/kling-3.0", "/omni-video/kling-3.0-omni"
I26, MOTION, FOUR = "/image-to-video/kling-2.6", "/motion-control/kling-3.0", "/omni-video/kling-4.0"


def camera(**config: object) -> dict[str, Any]:
    return {"prompt": "a", "camera_control": {"type": "simple", "config": config}}


def omni(**body: Any) -> dict[str, Any]:
    return {"prompt": "a", "aspect_ratio": "1:1"} | body


def contents(*items: Any, **settings: Any) -> dict[str, Any]:
    return {"contents": list(items), "settings": settings}


def elements(count: int) -> list[dict[str, str]]:
    return [ELEMENT | {"id": f"e{number}"} for number in range(count)]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (T2V, {}, "prompt is required"),
    (T2V, {"prompt": 5}, "prompt value '5' is invalid"),
    (T2V, {"prompt": "a" * 2501}, "prompt must not be longer than 2500 characters"),
    (T2V, {"prompt": "a", "duration": "2"}, "duration value '2' is invalid"),
    (T2V, {"prompt": "a", "duration": True}, "duration value 'True' is invalid"),
    (T2V, {"prompt": "a", "duration": "5.0"}, "duration value '5.0' is invalid"),
    (T2V, {"prompt": "a", "aspect_ratio": "4:3"}, "aspect_ratio value '4:3' is invalid"),
    (T2V, {"prompt": "a", "cfg_scale": 1.5}, "cfg_scale value '1.5' is invalid"),
    (T2V, {"prompt": "a", "cfg_scale": "x"}, "cfg_scale value 'x' is invalid"),
    (T2V, {"prompt": "a", "multi_shot": "yes"}, "multi_shot value 'yes' is invalid"),
    (T2V, {"prompt": "a", "watermark_info": True}, "watermark_info value 'True' is invalid"),
    (T2V, {"prompt": "a", "watermark_info": {"enabled": 1}}, "watermark_info.enabled value '1' is invalid"),
    (T2V, {"prompt": "a", "voice_list": "v"}, "voice_list value 'v' is invalid"),
    (T2V, {"prompt": "a", "voice_list": [{}]}, "voice_list[0].voice_id is required"),
    (T2V, {"prompt": "a", "voice_list": ["v"]}, "voice_list[0] value 'v' is invalid"),
    (T2V, {"prompt": "a", "voice_list": [{"voice_id": 1}] * 3}, "voice_list must not have more than 2 items"),
    (T2V, {"prompt": "a", "voice_list": [{"voice_id": "v"}]}, "voice_list requires sound on"),
    (T2V, {"prompt": "a", "multi_shot": True}, "shot_type is required when multi_shot is true"),
    (T2V, {"prompt": "a", "multi_shot": True, "shot_type": "x"}, "shot_type value 'x' is invalid"),
    (T2V, {"multi_shot": True, "shot_type": "customize"}, "multi_prompt is required when shot_type is customize"),
    (T2V, {"multi_shot": True, "shot_type": "intelligence"}, "prompt is required"),
    (I2V, {"image": URL, "multi_shot": True, "shot_type": "intelligence"}, "prompt is required when shot_type"),
    (
        T2V,
        {"multi_shot": True, "shot_type": "customize", "multi_prompt": [SHOT, SHOT]},
        "the sum of multi_prompt durations must equal duration",
    ),
    (T2V, {"multi_shot": True, "shot_type": "customize", "multi_prompt": [{}]}, "index is required"),
    (T2V, {"multi_shot": True, "shot_type": "customize", "multi_prompt": [SHOT | {"prompt": ""}]}, "multi_prompt[0]"),
    (
        T2V,
        {"multi_shot": True, "shot_type": "customize", "multi_prompt": [SHOT | {"duration": "0"}]},
        "multi_prompt[0].duration value '0' is invalid",
    ),
    (T2V, camera(pan=11), "pan value '11' is invalid"),
    (T2V, camera(), "exactly one non-zero value"),
    (T2V, camera(pan=1, zoom=1), "exactly one non-zero value"),
    (T2V, {"prompt": "a", "camera_control": {"type": "simple"}}, "config is required with type simple"),
    (T2V, {"prompt": "a", "camera_control": {"type": "down_back", "config": {}}}, "config is only valid"),
    (I2V, {}, "image or image_tail is required"),
    (I2V, {"image": 5}, "image value '5' is invalid"),
    (I2V, {"image": "data:image/png;base64," + png()}, "must not have a data: prefix"),
    (I2V, {"image": "not base64!"}, "neither a URL nor Base64"),
    (I2V, {"image": "===="}, "image is invalid"),
    (I2V, {"image": "A" * (14 * 1024 * 1024)}, "image is larger than 10 MB"),
    (I2V, {"image": URL, "image_tail": URL, "static_mask": URL}, "cannot be used together"),
    (I2V, {"image": URL, "element_list": [{}]}, "element_id is required"),
    (I2V, {"image": URL, "element_list": [{"element_id": True}]}, "element_id value 'True' is invalid"),
    (
        I2V,
        {"image": URL, "element_list": [{"element_id": 1}], "sound": "on", "voice_list": [{"voice_id": "v"}]},
        "element_list and voice_list cannot be used together",
    ),
    (I2V, {"image": URL, "dynamic_masks": {}}, "dynamic_masks value '{}' is invalid"),
    (I2V, {"image": URL, "dynamic_masks": [{"mask": URL, "trajectories": [{"x": 1, "y": 1}]}]}, "2 to 77 points"),
    (I2V, {"image": URL, "dynamic_masks": [{"mask": URL, "trajectories": [{"x": 1.5, "y": 1}] * 2}]}, "x value"),
    (OMNI, {"prompt": "a"}, "aspect_ratio is required"),
    (OMNI, omni(duration="11"), "duration value '11' is invalid"),
    (OMNI, omni(image_list=[{"image_url": URL, "type": "middle"}]), "image_list[0].type value 'middle' is invalid"),
    (OMNI, omni(image_list=[{"image_url": URL, "type": "end_frame"}]), "an end_frame requires a first_frame"),
    (
        OMNI,
        omni(image_list=[{"image_url": URL, "type": kind} for kind in ("first_frame", "end_frame", "")]),
        "more than 2 items with an end_frame",
    ),
    (OMNI, omni(image_list=[{"image_url": URL}] * 8), "more than 7 items together"),
    (OMNI, omni(image_list=[{"image_url": URL}] * 5, video_list=[{"video_url": VIDEO}]), "more than 4 items"),
    (OMNI, omni(video_list=[{"video_url": "x"}]), "video_list[0].video_url value 'x' is invalid"),
    (OMNI, omni(video_list=[{"video_url": VIDEO, "refer_type": "x"}]), "refer_type value 'x' is invalid"),
    (OMNI, {"prompt": "a", "video_list": [{"video_url": VIDEO, "refer_type": "feature"}]}, "aspect_ratio is required"),
    (T30, {}, "prompt is required"),
    (T30, {"prompt": "a" * 3073}, "prompt must not be longer than 3072 characters"),
    (T30, {"prompt": "a", "settings": {"duration": 16}}, "settings.duration value '16' is invalid"),
    (T30, {"prompt": "a", "settings": {"duration": "5"}}, "settings.duration value '5' is invalid"),
    (T30, {"prompt": "a", "settings": {"resolution": "480p"}}, "settings.resolution value '480p' is invalid"),
    (T30, {"prompt": "a", "settings": 5}, "settings value '5' is invalid"),
    (T30, {"prompt": "a", "options": {"watermark_info": 5}}, "options.watermark_info value '5' is invalid"),
    (T30, contents(PROMPT, PROMPT), "more than one prompt"),
    (I30, {}, "contents is required"),
    (I30, contents(PROMPT), "contents type 'first_frame' is required"),
    (I30, contents({"type": "x"}), "contents[0].type value 'x' is invalid"),
    (I30, contents({"type": "first_frame"}), "contents[0].url is required"),
    (I30, contents({"type": "first_frame", "url": 5}), "contents[0].url value '5' is invalid"),
    (I30, contents(FIRST, FIRST), "more than one first_frame"),
    (I30, contents(FIRST, {"type": "element", "id": "e"}), "contents[1].element_id is required"),
    (I30, contents(FIRST, ELEMENT, ELEMENT), "contents[2].id 'e' is not unique"),
    (I30, contents(FIRST, *elements(4)), "more than 3 elements"),
    (OMNI30, contents(PROMPT), "settings.aspect_ratio is required"),
    (OMNI30, contents(LAST, **SHAPE), "a last_frame requires a first_frame"),
    (OMNI30, contents(*[IMAGE_REF] * 8, **SHAPE), "more than 7 images and elements"),
    (OMNI30, contents({"type": "base_video", "url": VIDEO}, *[IMAGE_REF] * 5), "more than 4 images"),
    (OMNI30, contents(*[{"type": "base_video", "url": VIDEO}] * 2), "more than one video"),
    (OMNI30, contents({"type": "base_video", "url": "x"}), "contents[0].url value 'x' is invalid"),
    (OMNI30, contents({"type": "base_video", "url": VIDEO}, FIRST), "base_video and frames"),
    (OMNI30, contents({"type": "base_video", "url": VIDEO}, multi_shot=True), "multi_shot cannot be used"),
    (OMNI30, contents({"type": "feature_video", "url": VIDEO}, multi_shot=False), "multi_shot must be true"),
    (OMNI30, contents({"type": "feature_video", "url": VIDEO}, audio="native"), "native cannot be used"),
    (OMNI30, contents(FIRST, duration="x"), "settings.duration value 'x' is invalid"),
    (FOUR, contents(*[IMAGE_REF] * 16, **SHAPE), "more than 15 images and elements"),
    ("/image-to-video/kling-4.0", contents(FIRST, *[{"type": "middle_frame", "url": URL}] * 9), "8 middle_frames"),
    (I26, contents(FIRST, duration=7), "settings.duration value '7' is invalid"),
    (I26, contents(FIRST, audio="native"), "native is only supported with resolution 1080p"),
    (I26, contents(FIRST, LAST), "a last_frame is only supported with resolution 1080p and audio off"),
    (MOTION, contents({"type": "image", "url": URL}), "settings.character_orientation is required"),
    (MOTION, contents({"type": "image", "url": URL}, character_orientation="image"), "type 'video' is required"),
]

ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    (T2V, {"prompt": "a", "negative_prompt": "", "callback_url": None, "unknown": 1, "model": "kling-v3"}),
    (T2V, {"prompt": "a", "duration": 10, "multi_shot": False, "shot_type": "customize"}),
    (T2V, {"multi_shot": True, "shot_type": "customize", "multi_prompt": [SHOT]}),
    (T2V, {"prompt": "a", "multi_shot": True, "shot_type": "intelligence"}),
    (T2V, camera(zoom=-10.0, pan=0)),
    (T2V, {"prompt": "a", "camera_control": {"type": "down_back"}}),
    (I2V, {"image_tail": URL, "prompt": ""}),
    (I2V, {"image": png(), "image_tail": jpeg()}),
    (I2V, {"image": URL, "dynamic_masks": [{"mask": URL, "trajectories": [{"x": 1, "y": 1}] * 2}]}),
    (I2V, {"image": URL, "element_list": [{"element_id": 860000000000000001}]}),
    (OMNI, {"prompt": "a", "image_list": [{"image_url": URL, "type": "first_frame"}]}),
    (OMNI, {"prompt": "a", "video_list": [{"video_url": VIDEO, "keep_original_sound": "yes"}]}),
    (OMNI, omni(model_name="kling-v3-omni", duration="15")),
    (T30, contents(PROMPT)),
    (T30, {"prompt": "a", "duration": 99, "mode": 5, "settings": {"multi_shot": False, "seed": 7}}),
    (I30, contents({"type": "first_frame", "url": "data:image/png;base64," + png()})),
    (OMNI30, contents({"type": "image", "url": URL}, {"type": "video", "url": VIDEO}, **SHAPE)),
    (OMNI30, contents({"type": "voice", "voice_id": "1", "id": "v"}, duration=20, **SHAPE)),
    (I26, contents(FIRST, LAST, resolution="1080p")),
    (FOUR, contents(FIRST, *[{"type": "feature_video", "url": VIDEO}] * 3, *elements(7))),
]


def test_refused_bodies() -> None:
    """Every broken rule is a 1201 with a sentence that names it, and makes nothing."""

    async def story(kling: Caller) -> None:
        for path, body, words in REFUSED:
            # As a stream: aiohttp warns about large bodies in one piece.
            reply = await kling.ask("POST", path, data=io.BytesIO(json.dumps(body).encode()))
            assert (reply.status, reply.json["code"]) == (400, 1201), (path, words, reply.raw)
            assert words in reply.json["message"], (path, reply.json["message"])
        assert kling.emulator.tasks == []
        for raw in (b"", b"[]", b"{", b'{"prompt": NaN}', b"[" * 100_000):
            reply = await kling.ask("POST", T2V, data=raw)
            assert (reply.status, reply.json["code"]) == (400, 1200), raw[:20]

    play(story, dialect="official")


def test_accepted_bodies() -> None:
    async def story(kling: Caller) -> None:
        for path, body in ACCEPTED:
            reply = await kling.post(path, body)
            assert reply.status == 200, (path, reply.raw)
        kling.hand.at = 1e6
        assert {task.status for task in kling.emulator.tasks} == {"succeed"}
        assert kling.emulator.tasks[0].model == "kling-v1"

    play(story, dialect="official")


@pytest.mark.parametrize("body", [body for path, body, _ in REFUSED if path == T2V] + [{"external_task_id": [1]}])
def test_lenient_takes_anything(body: dict[str, Any]) -> None:
    async def story(kling: Caller) -> None:
        assert (await kling.post(T2V, body)).status == 200
        assert (await kling.post(I2V, {"image": "not base64!"})).status == 200
        assert (await kling.post(I2V, {"image": "AAAA"})).status == 200
        kling.hand.at = 100
        assert {task.status for task in kling.emulator.tasks} == {"succeed"}

    play(story, lenient=True)


@pytest.mark.parametrize("image", ["AAAA", png(299, 400), png(1000, 300)])
def test_bad_pictures_fail_as_tasks(image: str) -> None:
    """A picture that decodes but will not do is accepted, and fails within two seconds."""

    async def story(kling: Caller) -> None:
        ident = await kling.create(I2V, image=image)
        kling.hand.at = 0.99
        assert kling.emulator.tasks[0].status in ("submitted", "processing")
        kling.hand.at = 2
        told = (await kling.get(f"{I2V}/{ident}")).data
        assert (told["task_status"], told["task_status_msg"]) == ("failed", "Image pixel is invalid")

    play(story)


def test_weak_resolution_fails_as_task() -> None:
    """The omni path takes 480p at create and fails at generation."""

    async def story(kling: Caller) -> None:
        await kling.create(OMNI30, **contents(FIRST, resolution="480p"))
        kling.hand.at = 2
        assert kling.emulator.tasks[0].status == "failed"
        assert "480p" in kling.emulator.tasks[0].reason

    play(story, dialect="official")
