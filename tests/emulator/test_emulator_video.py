"""The other video endpoints: what they take, what they refuse, what they make and cost."""

import base64
from typing import Any

import pytest
from emulator_tools import T2V, Caller, play, png

URL = "https://host/a.png"
VIDEO = "https://host/v.mp4"
SOUND = "https://host/s.mp3"
MULTI = "/v1/videos/multi-image2video"
MOTION = "/v1/videos/motion-control"
EXTEND = "/v1/videos/video-extend"
EFFECTS = "/v1/videos/effects"
AVATAR = "/v1/videos/avatar/image2video"
OLD_LIPS = "/v1/videos/lip-sync"
RECOGNIZE = "/v1/videos/image-recognize"


def multi(**body: Any) -> dict[str, Any]:
    return {"prompt": "a", "image_list": [{"image": URL}]} | body


def motion(**body: Any) -> dict[str, Any]:
    needed = {"image_url": URL, "video_url": VIDEO, "character_orientation": "video", "mode": "std"}
    return needed | body


def effect(**given: Any) -> dict[str, Any]:
    return {"effect_scene": "hug", "input": given}


def avatar(**body: Any) -> dict[str, Any]:
    return {"image": URL, "sound_file": SOUND} | body


def lips(**given: Any) -> dict[str, Any]:
    return {"input": {"mode": "text2video", "video_url": VIDEO, "text": "hi", "voice_id": "v"} | given}


def wav(seconds: float, rate: int = 8000) -> str:
    size = int(seconds * rate)
    head = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = (1).to_bytes(2, "little") * 2 + rate.to_bytes(4, "little") * 2 + b"\x01\x00\x08\x00"
    return base64.b64encode(head + form + b"data" + size.to_bytes(4, "little") + bytes(size)).decode()


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (MULTI, {"image_list": [{"image": URL}]}, "prompt is required"),
    (MULTI, {"prompt": "a"}, "image_list is required"),
    (MULTI, multi(image_list=[{"image": URL}] * 5), "image_list must not have more than 4 items"),
    (MULTI, multi(image_list=[{}]), "image is required"),
    (MULTI, multi(image_list=[{"image": "data:image/png;base64," + png()}]), "must not have a data: prefix"),
    (MULTI, multi(mode="4k"), "mode value '4k' is invalid"),
    (MULTI, multi(duration="7"), "duration value '7' is invalid"),
    (MULTI, multi(aspect_ratio="4:3"), "aspect_ratio value '4:3' is invalid"),
    (MULTI, multi(negative_prompt="a" * 2501), "negative_prompt must not be longer"),
    (MOTION, motion(image_url=""), "image_url is required"),
    (MOTION, motion(video_url=None), "video_url is required"),
    (MOTION, motion(video_url="AAAA"), "video_url value 'AAAA' is invalid"),
    (MOTION, motion(character_orientation=None), "character_orientation is required"),
    (MOTION, motion(character_orientation="left"), "character_orientation value 'left' is invalid"),
    (MOTION, motion(mode=None), "mode is required"),
    (MOTION, motion(mode="4k"), "mode value '4k' is invalid"),
    (MOTION, motion(keep_original_sound=True), "keep_original_sound value 'True' is invalid"),
    (MOTION, motion(element_list=[{"element_id": 1}] * 2), "element_list must not have more than 1 items"),
    (
        MOTION,
        motion(element_list=[{"element_id": 1}], character_orientation="image"),
        "character_orientation must be video with an element",
    ),
    (EXTEND, {}, "video_id is required"),
    (EXTEND, {"video_id": "nobody"}, "video_id 'nobody' not found"),
    (EXTEND, {"video_id": "v", "cfg_scale": 2}, "cfg_scale value '2' is invalid"),
    (EFFECTS, {"input": {"image": URL}}, "effect_scene is required"),
    (EFFECTS, {"effect_scene": "hug"}, "input is required"),
    (EFFECTS, effect(), "exactly one of input.image and input.images"),
    (EFFECTS, effect(image=URL, images=[URL, URL]), "exactly one of input.image and input.images"),
    (EFFECTS, effect(images=[URL]), "input.images must have exactly 2 items"),
    (EFFECTS, effect(images=[URL, "no picture"]), "neither a URL nor Base64"),
    (EFFECTS, effect(image=URL, duration="6"), "input.duration value '6' is invalid"),
    (AVATAR, {"sound_file": SOUND}, "image is required"),
    (AVATAR, {"image": URL}, "exactly one of audio_id and sound_file"),
    (AVATAR, avatar(audio_id="a"), "exactly one of audio_id and sound_file"),
    (AVATAR, {"image": URL, "audio_id": "nobody"}, "audio_id 'nobody' not found"),
    (AVATAR, avatar(sound_file="https://host/s.m4a"), "Audio format is invalid"),
    (AVATAR, avatar(sound_file="https://host/s.png"), "Audio format is invalid"),
    (AVATAR, avatar(sound_file=base64.b64encode(b"noise").decode()), "Audio format is invalid"),
    (AVATAR, avatar(sound_file=base64.b64encode(b"\x00\x00\x00\x18ftypM4A ").decode()), "Audio format is invalid"),
    (AVATAR, avatar(sound_file=base64.b64encode(b"\xff\xf1aaaa").decode()), "Audio format is invalid"),
    (AVATAR, avatar(sound_file=SOUND + "?mb=6"), "sound_file is larger than 5 MB"),
    (AVATAR, avatar(sound_file=SOUND + "?seconds=301"), "Audio duration must be between 2 and 300 seconds"),
    (AVATAR, avatar(sound_file=wav(1)), "Audio duration must be between 2 and 300 seconds"),
    (AVATAR, avatar(mode="4k"), "mode value '4k' is invalid"),
    (OLD_LIPS, {}, "input is required"),
    (OLD_LIPS, lips(mode="x"), "input.mode value 'x' is invalid"),
    (OLD_LIPS, lips(video_id="v"), "exactly one of video_id and video_url"),
    (OLD_LIPS, lips(video_url=""), "exactly one of video_id and video_url"),
    (OLD_LIPS, lips(video_url="x"), "video_url value 'x' is invalid"),
    (OLD_LIPS, lips(text="a" * 121), "input.text must not be longer than 120 characters"),
    (OLD_LIPS, lips(text=""), "input.text is required with mode text2video"),
    (OLD_LIPS, lips(voice_id=None), "input.voice_id is required with mode text2video"),
    (OLD_LIPS, lips(voice_language="fr"), "input.voice_language value 'fr' is invalid"),
    (OLD_LIPS, lips(voice_speed=3), "input.voice_speed value '3' is invalid"),
    (OLD_LIPS, lips(mode="audio2video"), "input.audio_type is required with mode audio2video"),
    (OLD_LIPS, lips(mode="audio2video", audio_type="url"), "input.audio_url is required with audio_type url"),
    (OLD_LIPS, lips(mode="audio2video", audio_type="file", audio_file=SOUND), "input.audio_file value"),
    (RECOGNIZE, {}, "image is required"),
    (RECOGNIZE, {"image": png(10, 10)}, "Image pixel is invalid"),
]

ACCEPTED: list[tuple[str, dict[str, Any], float]] = [
    (MULTI, multi(), 2.0),
    (MULTI, multi(mode="pro", duration=10, model_name="kling-v1-6"), 7.0),
    (MOTION, motion(), 2.5),
    (MOTION, motion(mode="pro", model_name="kling-v3", video_url=VIDEO + "?seconds=20"), 24.0),
    (MOTION, motion(element_list=[{"element_id": 1}]), 2.5),
    (EFFECTS, effect(image=URL), 2.0),
    (EFFECTS, effect(images=[URL, URL], model_name="kling-v1-5", mode="pro", duration="10"), 7.0),
    (EFFECTS, {"effect_scene": "a scene of tomorrow", "input": {"image": png()}}, 2.0),
    (AVATAR, avatar(prompt=""), 2.0),
    (AVATAR, avatar(mode="pro", sound_file=wav(2.5)), 2.4),
    (AVATAR, avatar(sound_file=base64.b64encode(b"ID3 and so on").decode()), 2.0),
    (OLD_LIPS, lips(), 0.5),
    (OLD_LIPS, lips(mode="audio2video", audio_type="url", audio_url=SOUND, video_url=VIDEO + "?seconds=9"), 1.0),
    (OLD_LIPS, lips(mode="audio2video", audio_type="file", audio_file=wav(3)), 0.5),
]


def test_refused_video_bodies() -> None:
    """Every broken rule is a 1201 with a sentence that names it, makes nothing and costs nothing."""

    async def story(kling: Caller) -> None:
        for path, body, words in REFUSED:
            reply = await kling.post(path, body)
            assert (reply.status, reply.json["code"]) == (400, 1201), (path, words, reply.raw)
            assert words in reply.json["message"], (path, reply.json["message"])
        assert (kling.emulator.tasks, kling.emulator.calls, kling.emulator.spent) == ([], [], 0.0)

    play(story, dialect="official")


def test_accepted_video_bodies_and_prices() -> None:
    """What keeps the rules makes one video, told in a single query and in the endpoint's list, for its price."""

    async def story(kling: Caller) -> None:
        for path, body, units in ACCEPTED:
            before = kling.emulator.spent
            reply = await kling.post(path, body)
            assert reply.status == 200, (path, body, reply.raw)
            kling.hand.at += 20
            ended = (await kling.get(f"{path}/{reply.data['task_id']}")).data
            assert ended["task_status"] == "succeed", (path, body, ended)
            assert len(ended["task_result"]["videos"]) == 1
            assert kling.emulator.spent - before == pytest.approx(units), (path, body)
            listed = (await kling.get(path)).data
            assert listed[0]["task_id"] == ended["task_id"]

    play(story, dialect="official")


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        (MULTI, multi(image_list=[{"image": URL}, {"image": png(299, 400)}]), "Image pixel is invalid"),
        (MOTION, motion(video_url=VIDEO + "?seconds=31"), "Video duration is invalid"),
        (MOTION, motion(video_url=VIDEO + "?seconds=11", character_orientation="image"), "Video duration is invalid"),
        (MOTION, motion(video_url=VIDEO + "?width=339&height=720"), "Video pixel is invalid"),
        (MOTION, motion(video_url=VIDEO + "?mb=101"), "Video size is invalid"),
        (MOTION, motion(video_url="https://host/v.avi"), "Video format is invalid"),
        (OLD_LIPS, lips(video_url=VIDEO + "?seconds=11"), "Video duration is invalid"),
    ],
)
def test_bad_inputs_fail_as_tasks(path: str, body: dict[str, Any], reason: str) -> None:
    """An input whose form is right but which will not do is accepted, fails within two seconds, and is not billed."""

    async def story(kling: Caller) -> None:
        ident = (await kling.post(path, body)).data["task_id"]
        kling.hand.at = 2
        told = (await kling.get(f"{path}/{ident}")).data
        assert (told["task_status"], told["task_status_msg"]) == ("failed", reason)
        assert (told["final_unit_deduction"], kling.emulator.spent) == ("0", 0.0)

    play(story, dialect="official")


async def made(kling: Caller, path: str = T2V, **body: Any) -> Any:
    """Create, wait, and give the first video."""
    ident = await kling.create(path, **body)
    kling.hand.at += 20
    return (await kling.get(f"{path}/{ident}")).data["task_result"]["videos"][0]


def test_extension_takes_own_young_videos_and_names_them() -> None:
    """A video of v1 to v1-6 is extended; the result is longer and its info tells the parent."""

    async def story(kling: Caller) -> None:
        video = await made(kling, model_name="kling-v1-6", mode="pro")
        spent = kling.emulator.spent
        reply = await kling.post(EXTEND, {"video_id": video["id"], "prompt": "on"})
        assert reply.data["task_info"]["parent_video"]["id"] == video["id"]
        kling.hand.at += 20
        ended = (await kling.get(f"{EXTEND}/{reply.data['task_id']}")).data
        parent = ended["task_info"]["parent_video"]
        assert (parent["id"], parent["duration"]) == (video["id"], f"{float(video['duration']):g}")
        assert (await kling.get(parent["url"])).status == 200
        longer = ended["task_result"]["videos"][0]
        assert float(longer["duration"]) >= float(video["duration"]) + 5
        assert kling.emulator.spent - spent == 3.5
        assert kling.emulator.tasks[-1].model == "kling-v1-6"
        again = await kling.post(EXTEND, {"video_id": longer["id"]})
        assert again.status == 200
        other = await made(kling, model_name="kling-v3")
        for ident in (other["id"], "0-0000000000000000-0"):
            refused = await kling.post(EXTEND, {"video_id": ident})
            assert (refused.status, refused.json["code"]) == (400, 1201), ident
        kling.hand.at += 31 * 86_400
        refused = await kling.post(EXTEND, {"video_id": longer["id"]})
        assert "older than 30 days" in refused.json["message"]
        kling.emulator.takes_foreign_ids = True
        assert (await kling.post(EXTEND, {"video_id": "of another day"})).status == 200

    play(story, dialect="official")


def test_extension_ends_at_three_minutes() -> None:
    async def story(kling: Caller) -> None:
        video = await made(kling, duration="10")
        for _ in range(34):
            video = await made(kling, EXTEND, video_id=video["id"])
        assert float(video["duration"]) > 180
        refused = await kling.post(EXTEND, {"video_id": video["id"]})
        assert "longer than 180 seconds" in refused.json["message"]

    play(story, dialect="official")


def test_running_videos_cannot_be_extended() -> None:
    async def story(kling: Caller) -> None:
        video = await made(kling)
        kling.hand.at -= 15
        assert (await kling.post(EXTEND, {"video_id": video["id"]})).status == 400

    play(story, dialect="official")


def test_own_files_are_known() -> None:
    """The address of a result says what it is, without any hint: too long for a lip sync of old."""

    async def story(kling: Caller) -> None:
        video = await made(kling, model_name="kling-v3", duration="15", mode="pro")
        ident = (await kling.post(OLD_LIPS, lips(video_url=video["url"]))).data["task_id"]
        refused = await kling.post(OLD_LIPS, lips(video_url=None, video_id=video["id"]))
        assert refused.json["message"] == "Video duration is invalid"
        kling.hand.at += 2
        assert (await kling.get(f"{OLD_LIPS}/{ident}")).data["task_status"] == "failed"

    play(story, dialect="official")


def test_strange_addresses_and_sounds() -> None:
    """An own address of nothing, a hint that is no number, a sound without samples: unknown, and taken."""

    async def story(kling: Caller) -> None:
        nothing = f"{kling.emulator.url}/_emulator/assets/0-0000000000000000-0.mp4?seconds=long"
        assert (await kling.post(OLD_LIPS, lips(video_url=nothing))).status == 200
        bare = b"RIFF" + bytes(4) + b"WAVEfmt " + (16).to_bytes(4, "little") + bytes(40)
        for content in (bare, bare[:20]):
            sound = base64.b64encode(content).decode()
            assert (await kling.post(AVATAR, avatar(sound_file=sound))).status == 200

    play(story, dialect="official")


def test_m4a_is_documented_and_refused() -> None:
    """Both behaviours: as documented, and as observed."""

    async def story(kling: Caller) -> None:
        body = avatar(sound_file="https://host/s.m4a")
        assert (await kling.post(AVATAR, body)).json["message"] == "Audio format is invalid"
        kling.emulator.takes_m4a = True
        assert (await kling.post(AVATAR, body)).status == 200

    play(story, dialect="official")


def test_retired_endpoints_and_models() -> None:
    """Retirement is a switch: by endpoint, whatever the model and the body, or by model."""

    async def story(kling: Caller) -> None:
        for path, body in ((MULTI, {}), (MULTI, multi(model_name="kling-v3")), (T2V, {"prompt": "a"})):
            refused = await kling.post(path, body)
            assert (refused.status, refused.json["code"]) == (400, 1201)
            assert refused.json["message"] == "This API is no longer available"
        assert (await kling.post(T2V, {"prompt": "a", "model_name": "kling-v3"})).status == 200
        kling.emulator.retired_code = 1203
        assert (await kling.post(MULTI, {})).status == 404

    play(story, dialect="official", retired=["multi-image2video", "kling-v1", "image-recognize"])
    play(_retired_call, dialect="official", retired=["image-recognize"])


async def _retired_call(kling: Caller) -> None:
    assert (await kling.post(RECOGNIZE, {"image": URL})).json["message"] == "This API is no longer available"


def test_recognition_in_both_forms() -> None:
    """Nobody knows the reply, so there are two; either costs 0.1 units and makes no task."""

    async def story(kling: Caller) -> None:
        wrapped = (await kling.post(RECOGNIZE, {"image": png()})).data
        assert wrapped["final_unit_deduction"] == "0.1"
        images = wrapped["task_result"]["images"]
        assert (await kling.get(images[0]["url"])).raw.startswith(b"\x89PNG")
        kling.emulator.recognition = "flat"
        flat = (await kling.post(RECOGNIZE, {"image": URL})).data
        assert len(flat["images"]) == len(images)
        assert kling.emulator.tasks == []
        assert [(call.endpoint, call.billed, call.pack) for call in kling.emulator.calls] == [
            ("image-recognize", 0.1, "video")
        ] * 2
        assert kling.emulator.spent == 0.2
        assert {request.kind for request in kling.emulator.requests} == {"call", "asset"}

    play(story, dialect="official")


def test_calls_are_paid_from_the_pack() -> None:
    """A call that the pack cannot pay is a 1102, like a create."""

    async def story(kling: Caller) -> None:
        assert (await kling.post(RECOGNIZE, {"image": URL})).status == 200
        empty = await kling.post(RECOGNIZE, {"image": URL})
        assert (empty.status, empty.json["code"]) == (429, 1102)
        assert (await kling.post(T2V, {"prompt": "a"})).json["code"] == 1102
        kling.emulator.units = {"video": 2.0, "image": 0.0}
        assert (await kling.post(T2V, {"prompt": "a"})).status == 200

    play(story, dialect="official", units=0.15)


@pytest.mark.parametrize("dialect", ["official-old-host", "cometapi", "new-api", "crazyrouter", "flat", "mixed"])
def test_every_host_serves_the_legacy_paths(dialect: str) -> None:
    """Gateways hand every legacy path on, each in its own words."""

    async def story(kling: Caller) -> None:
        for path, body in ((MULTI, multi()), (MOTION, motion()), (EFFECTS, effect(image=URL)), (AVATAR, avatar())):
            reply = await kling.post(path, body)
            assert reply.status == 200, (path, reply.raw)
            told = reply.json.get("data") or reply.json
            kling.hand.at += 30
            assert (await kling.get(f"{path}/{told['task_id']}")).status == 200
        assert (await kling.post(RECOGNIZE, {"image": URL})).data["final_unit_deduction"] == "0.1"
        assert {task.status for task in kling.emulator.tasks} == {"succeed"}

    play(story, dialect=dialect)
