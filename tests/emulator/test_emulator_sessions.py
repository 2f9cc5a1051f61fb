"""Sessions: faces for lip sync, selections for multi-elements; their limits, their end, their refusals inside."""

import base64
import zlib
from typing import Any

import pytest
from emulator_tools import T2V, Caller, Reply, play, png

from kling_async.emulator.masks import packed, runs

URL = "https://host/a.png"
VIDEO = "https://host/v.mp4"
SOUND = "https://host/s.mp3"
FIND = "/v1/videos/identify-face"
LIPS = "/v1/videos/advanced-lip-sync"
MULTI = "/v1/videos/multi-elements"
DAY_S = 86_400


async def faces(kling: Caller, video_url: str = VIDEO + "?seconds=8") -> Any:
    reply = await kling.post(FIND, {"video_url": video_url})
    assert reply.status == 200, reply.raw
    return reply.data


def lips(session_id: str, **face: Any) -> dict[str, Any]:
    chosen = {
        "face_id": "0",
        "sound_file": SOUND + "?seconds=5",
        "sound_start_time": 0,
        "sound_end_time": 4000,
        "sound_insert_time": 1000,
    }
    return {"session_id": session_id, "face_choose": [chosen | face]}


def test_faces_are_found_for_a_price() -> None:
    """The reply tells session, faces with pictures and times, and the charge; no task is made."""

    async def story(kling: Caller) -> None:
        found = await faces(kling, VIDEO + "?seconds=8&faces=2")
        assert set(found) == {"session_id", "face_data", "final_unit_deduction"}
        assert found["final_unit_deduction"] == "0.05"
        assert [set(face) for face in found["face_data"]] == [{"face_id", "face_image", "start_time", "end_time"}] * 2
        assert [(face["start_time"], face["end_time"]) for face in found["face_data"]] == [(0, 8000), (2000, 8000)]
        address = found["face_data"][0]["face_image"]
        for other in (address.replace("/s-", "/x-"), address.replace("/s-", "/s-1"), address.replace("sig=", "sig=0")):
            assert (await kling.get(other, key=None)).status in (403, 404)
        picture = await kling.get(address, key=None)
        assert (picture.status, picture.raw[:4]) == (200, b"\x89PNG")
        assert (await faces(kling, VIDEO + "?faces=0"))["face_data"] == []
        assert kling.emulator.tasks == []
        assert [(call.endpoint, call.billed) for call in kling.emulator.calls] == [("identify-face", 0.05)] * 2
        assert kling.emulator.spent == 0.1
        assert kling.emulator.calls[0].body == {"video_url": VIDEO + "?seconds=8&faces=2"}

    play(story, dialect="official")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "exactly one of video_id and video_url"),
        ({"video_id": "v", "video_url": VIDEO}, "exactly one of video_id and video_url"),
        ({"video_url": "AAAA"}, "video_url value 'AAAA' is invalid"),
        ({"video_id": "nobody"}, "video_id 'nobody' not found"),
        ({"video_url": VIDEO + "?seconds=61"}, "Video duration is invalid"),
        ({"video_url": VIDEO + "?seconds=1.9"}, "Video duration is invalid"),
        ({"video_url": VIDEO + "?width=511&height=720"}, "Video pixel is invalid"),
        ({"video_url": VIDEO + "?mb=101"}, "Video size is invalid"),
        ({"video_url": "https://host/v.webm"}, "Video format is invalid"),
    ],
)
def test_faces_of_a_bad_video(body: dict[str, Any], words: str) -> None:
    """A call that is refused costs nothing."""

    async def story(kling: Caller) -> None:
        refused = await kling.post(FIND, body)
        assert (refused.status, refused.json["code"]) == (400, 1201)
        assert words in refused.json["message"]
        assert (kling.emulator.calls, kling.emulator.spent) == ([], 0.0)

    play(story, dialect="official")


def test_calls_have_no_queries() -> None:
    async def story(kling: Caller) -> None:
        for path in (FIND, f"{FIND}/1", f"{MULTI}/init-selection"):
            reply = await kling.get(path)
            assert reply.status in (400, 404), path
        assert (await kling.get(FIND)).json["code"] == 1202

    play(story, dialect="official")


def test_lip_sync_of_a_living_session() -> None:
    """A task is made, as long and as dear as the video; it is found by its own id only."""

    async def story(kling: Caller) -> None:
        session = (await faces(kling))["session_id"]
        reply = await kling.post(
            LIPS, lips(session) | {"external_task_id": "mine", "watermark_info": {"enabled": True}}
        )
        assert reply.status == 200, reply.raw
        kling.hand.at += 20
        ended = (await kling.get(f"{LIPS}/{reply.data['task_id']}")).data
        video = ended["task_result"]["videos"][0]
        assert 8.0 <= float(video["duration"]) <= 8.1
        assert "watermark_url" in video
        assert ended["final_unit_deduction"] == "1"
        assert (await kling.get(f"{LIPS}/mine")).json["code"] == 1201
        assert [row["task_id"] for row in (await kling.get(LIPS)).data] == [ended["task_id"]]

    play(story, dialect="official")


REFUSED_LIPS: list[tuple[dict[str, Any], str]] = [
    ({"face_id": None}, "face_choose[0].face_id is required"),
    ({"face_id": "7"}, "face_choose[0].face_id value '7' is invalid"),
    ({"sound_file": None}, "exactly one of audio_id and sound_file"),
    ({"audio_id": "a"}, "exactly one of audio_id and sound_file"),
    ({"audio_id": "a", "sound_file": None}, "audio_id 'a' not found"),
    ({"sound_file": "https://host/s.aac"}, "Audio format is invalid"),
    ({"sound_file": SOUND + "?seconds=61"}, "Audio duration must be between 2 and 60 seconds"),
    ({"sound_start_time": None}, "face_choose[0].sound_start_time is required"),
    ({"sound_insert_time": -1}, "face_choose[0].sound_insert_time value '-1' is invalid"),
    ({"sound_end_time": 4.5}, "face_choose[0].sound_end_time value '4.5' is invalid"),
    ({"sound_end_time": True}, "face_choose[0].sound_end_time value 'True' is invalid"),
    ({"sound_end_time": 1999}, "must be at least 2000 ms long"),
    ({"sound_end_time": 6000}, "face_choose[0].sound_end_time value '6000' is invalid"),
    ({"sound_insert_time": 6001}, "must overlap with the face for at least 2000 ms"),
    ({"sound_volume": 2.1}, "sound_volume value '2.1' is invalid"),
    ({"original_audio_volume": -1}, "original_audio_volume value '-1' is invalid"),
    ({"original_audio_volume": "loud"}, "original_audio_volume value 'loud' is invalid"),
]


def test_refused_lip_syncs() -> None:
    async def story(kling: Caller) -> None:
        session = (await faces(kling))["session_id"]
        for face, words in REFUSED_LIPS:
            refused = await kling.post(LIPS, lips(session, **face))
            assert (refused.status, refused.json["code"]) == (400, 1201), (face, refused.raw)
            assert words in refused.json["message"], (face, refused.json["message"])
        for body in ({}, {"session_id": session}, lips(session) | {"face_choose": []}):
            assert (await kling.post(LIPS, body)).json["code"] == 1201
        two = lips(session)
        two["face_choose"] *= 2
        assert "exactly 1 item" in (await kling.post(LIPS, two)).json["message"]
        assert kling.emulator.tasks == []
        # One gateway shows these numbers as texts.
        texts = {"sound_start_time": "0", "sound_end_time": "4000", "sound_insert_time": "6000", "sound_volume": "1"}
        assert (await kling.post(LIPS, lips(session, **texts))).status == 200

    play(story, dialect="official")


def test_face_sessions_live_for_a_day() -> None:
    """Unknown and expired sessions are a 1201, and so are their pictures gone."""

    async def story(kling: Caller) -> None:
        found = await faces(kling)
        assert (await kling.post(LIPS, lips("nobody"))).json["message"] == "session_id is invalid or has expired"
        kling.hand.at = DAY_S - 1
        assert (await kling.post(LIPS, lips(found["session_id"]))).status == 200
        kling.hand.at = DAY_S
        expired = await kling.post(LIPS, lips(found["session_id"]))
        assert (expired.status, expired.json["code"]) == (400, 1201)
        assert (await kling.get(found["face_data"][0]["face_image"])).status in (403, 404)
        kling.emulator.takes_foreign_ids = True
        assert (await kling.post(LIPS, lips("of another day"))).status == 200

    play(story, dialect="official")


def test_faces_of_an_own_video() -> None:
    async def story(kling: Caller) -> None:
        ident = await kling.create(T2V, duration="10")
        kling.hand.at += 20
        video = (await kling.get(f"{T2V}/{ident}")).data["task_result"]["videos"][0]
        found = (await kling.post(FIND, {"video_id": video["id"]})).data
        assert found["face_data"][0]["end_time"] == int(float(video["duration"]) * 1000)

    play(story, dialect="official")


def test_own_sounds_move_lips_and_avatars() -> None:
    """The id of a speech made here is a sound for 30 days, as long as it is and no longer."""

    async def story(kling: Caller) -> None:
        spoken = {"text": "one two three four five six seven eight nine ten eleven", "voice_id": "v"}
        told = (await kling.post("/v1/audio/tts", spoken)).data
        sound = told["task_result"]["audios"][0]
        until = int(float(sound["duration"]) * 1000)
        session = (await faces(kling))["session_id"]
        own = {"audio_id": sound["id"], "sound_file": None}
        assert (await kling.post(LIPS, lips(session, **own, sound_end_time=until + 100))).json["code"] == 1201
        assert (await kling.post(LIPS, lips(session, **own, sound_end_time=until))).status == 200
        avatar = {"image": URL, "audio_id": sound["id"]}
        assert (await kling.post("/v1/videos/avatar/image2video", avatar)).status == 200
        kling.hand.at = 30 * DAY_S
        old = await kling.post("/v1/videos/avatar/image2video", avatar)
        assert "older than 30 days" in old.json["message"]

    play(story, dialect="official")


# Selections


async def step(kling: Caller, name: str, session: str, **body: Any) -> Reply:
    return await kling.post(f"{MULTI}/{name}-selection", {"session_id": session} | body)


async def opened(kling: Caller, video_url: str = VIDEO + "?seconds=5&fps=30&width=1280&height=720") -> Any:
    return (await kling.post(f"{MULTI}/init-selection", {"video_url": video_url})).data


def at(*points: tuple[float, float], frame: int = 0) -> dict[str, Any]:
    return {"frame_index": frame, "points": [{"x": x, "y": y} for x, y in points]}


def edit(session: str, **body: Any) -> dict[str, Any]:
    return {"session_id": session, "edit_mode": "swap", "image_list": [{"image": URL}], "prompt": "a"} | body


def test_selection_from_init_to_task() -> None:
    """Six steps: open, add, delete, clear, preview, create; only the task costs."""

    async def story(kling: Caller) -> None:
        told = await opened(kling)
        session = told["session_id"]
        assert told == {
            "status": 0,
            "session_id": session,
            "fps": 30.0,
            "original_duration": 5000,
            "width": 1280,
            "height": 720,
            "total_frame": 150,
            "normalized_video": told["normalized_video"],
        }
        assert (await kling.get(told["normalized_video"])).raw[4:8] == b"ftyp"
        added = (await step(kling, "add", session, **at((0.5, 0.5), (0.1, 0.2), frame=7))).data
        assert (added["status"], added["session_id"], added["res"]["frame_index"]) == (0, session, 7)
        (found,) = added["res"]["rle_mask_list"]
        assert set(found) == {"object_id", "rle_mask", "png_mask"}
        assert found["rle_mask"]["size"] == found["png_mask"]["size"] == [720, 1280]
        assert base64.b64decode(found["png_mask"]["base64"]).startswith(b"\x89PNG")
        removed = (await step(kling, "delete", session, **at((0.1, 0.2), frame=7))).data
        assert removed["res"]["rle_mask_list"][0]["rle_mask"] != found["rle_mask"]
        preview = (await step(kling, "preview", session)).data
        assert set(preview["res"]) == {"video", "video_cover", "tracking_output"}
        assert (await kling.get(preview["res"]["video_cover"])).raw[:4] == b"\x89PNG"
        assert (await step(kling, "clear", session)).data == {"status": 0, "session_id": session}
        assert (await step(kling, "preview", session)).data["status"] != 0
        assert kling.emulator.spent == 0
        created = await kling.post(MULTI, edit(session, mode="pro", external_task_id="e"))
        assert created.data["session_id"] == session
        assert created.data["task_status"] == "submitted"
        kling.hand.at += 20
        ended = (await kling.get(f"{MULTI}/e")).data
        assert (ended["final_unit_deduction"], len(ended["task_result"]["videos"])) == ("5", 1)
        assert len((await kling.get(MULTI)).data) == 1

    play(story, dialect="official")


def test_points_are_counted() -> None:
    """Ten points to a frame, ten frames to a selection; the same point again is no new one."""

    async def story(kling: Caller) -> None:
        session = (await opened(kling))["session_id"]
        points = [(number / 20, 0.5) for number in range(10)]
        assert (await step(kling, "add", session, **at(*points))).data["status"] == 0
        assert (await step(kling, "add", session, **at(points[3]))).data["status"] == 0
        over = await step(kling, "add", session, **at((0.9, 0.9)))
        assert (over.status, over.json["code"]) == (200, 0)
        assert over.data == {"status": over.data["status"], "session_id": session}
        assert over.data["status"] != 0
        assert (await step(kling, "delete", session, **at(points[0]))).data["status"] == 0
        assert (await step(kling, "add", session, **at((0.9, 0.9)))).data["status"] == 0
        for frame in range(1, 10):
            assert (await step(kling, "add", session, **at((0.5, 0.5), frame=frame))).data["status"] == 0
        assert (await step(kling, "add", session, **at((0.5, 0.5), frame=10))).data["status"] != 0
        assert (await step(kling, "delete", session, **at((0.5, 0.5), frame=9))).data["res"]["rle_mask_list"] == []
        assert (await step(kling, "add", session, **at((0.5, 0.5), frame=10))).data["status"] == 0
        for wrong in (at((0.5, 0.6), frame=10), at((0.5, 0.5), (0.7, 0.7), frame=10), at((0.5, 0.5), frame=99)):
            assert (await step(kling, "delete", session, **wrong)).data["status"] != 0
        assert (await step(kling, "delete", session, **at((0.5, 0.5), frame=10))).data["status"] == 0
        assert (await step(kling, "add", session, **at((0.5, 0.5), frame=150))).data["status"] != 0

    play(story, dialect="official")


def test_bad_steps() -> None:
    """What is wrong with a body itself is a plain 1201."""

    async def story(kling: Caller) -> None:
        session = (await opened(kling))["session_id"]
        bodies: list[dict[str, Any]] = [
            {"points": [{"x": 0.5, "y": 0.5}]},
            {"frame_index": 0},
            at(),
            at(*[(number / 20, 0.5) for number in range(11)]),
            at((1.1, 0.5)),
            {"frame_index": 0, "points": [{"x": 0.5}]},
            {"frame_index": 0, "points": [{"x": "a", "y": 0.5}]},
            {"frame_index": 1.5, "points": [{"x": 0.5, "y": 0.5}]},
            at((0.5, 0.5), frame=-1),
        ]
        for body in bodies:
            for name in ("add", "delete"):
                refused = await step(kling, name, session, **body)
                assert (refused.status, refused.json["code"]) == (400, 1201), body
        for name in ("add", "delete", "clear", "preview"):
            assert (await kling.post(f"{MULTI}/{name}-selection", at((0.5, 0.5)))).status == 400
        for body in ({}, {"video_id": "v", "video_url": VIDEO}, {"video_id": "nobody"}):
            assert (await kling.post(f"{MULTI}/init-selection", body)).json["code"] == 1201

    play(story, dialect="official")


@pytest.mark.parametrize(
    "hint", ["seconds=1", "seconds=6", "seconds=11", "width=719&height=720", "width=720&height=2161", "fps=25"]
)
def test_videos_that_cannot_be_selected(hint: str) -> None:
    """Told inside of a success, without a session; or as a 1201, by switch."""

    async def story(kling: Caller) -> None:
        reply = await kling.post(f"{MULTI}/init-selection", {"video_url": f"{VIDEO}?{hint}"})
        assert (reply.status, reply.json["code"]) == (200, 0)
        assert reply.data["status"] != 0
        assert "session_id" not in reply.data
        kling.emulator.inner_refusals = False
        reply = await kling.post(f"{MULTI}/init-selection", {"video_url": f"{VIDEO}?{hint}"})
        assert (reply.status, reply.json["code"]) == (400, 1201)

    play(story, dialect="official")


def test_selections_live_for_a_day() -> None:
    """After it every step is refused inside of a success; a create is refused outside."""

    async def story(kling: Caller) -> None:
        session = (await opened(kling))["session_id"]
        await step(kling, "add", session, **at((0.5, 0.5)))
        kling.hand.at = DAY_S - 1
        assert (await step(kling, "preview", session)).data["status"] == 0
        kling.hand.at = DAY_S
        for ident in (session, "nobody"):
            for name in ("add", "delete", "clear", "preview"):
                told = await step(kling, name, ident, **at((0.5, 0.5)))
                assert (told.status, told.json["code"], told.data["status"]) == (200, 0, 1)
            refused = await kling.post(MULTI, edit(ident))
            assert (refused.status, refused.json["code"]) == (400, 1201)
        kling.emulator.inner_refusals = False
        assert (await step(kling, "clear", session)).json["code"] == 1201
        kling.emulator.takes_foreign_ids = True
        assert (await step(kling, "add", "of another day", **at((0.5, 0.5)))).data["status"] == 0
        assert (await kling.post(MULTI, edit("of another day", duration="10"))).status == 200

    play(story, dialect="official")


def test_a_gateway_may_tell_an_inner_refusal_as_one() -> None:
    async def story(kling: Caller) -> None:
        told = await step(kling, "clear", "nobody")
        assert (told.status, told.json["code"]) == (400, "task_failed")

    play(story, dialect="new-api")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"edit_mode": "paint"}, "edit_mode value 'paint' is invalid"),
        ({"edit_mode": None}, "edit_mode is required"),
        ({"edit_mode": "swap", "image_list": []}, "image_list must have 1 items with edit_mode swap"),
        ({"edit_mode": "swap", "image_list": [{"image": URL}] * 2}, "image_list must have 1 items"),
        ({"edit_mode": "addition", "image_list": None}, "image_list must have 1 to 2 items"),
        ({"edit_mode": "addition", "image_list": [{"image": URL}] * 3}, "image_list must have 1 to 2 items"),
        ({"edit_mode": "removal"}, "image_list must have 0 items with edit_mode removal"),
        ({"image_list": [{"image": "no picture"}]}, "neither a URL nor Base64"),
        ({"prompt": ""}, "prompt is required"),
        ({"mode": "4k"}, "mode value '4k' is invalid"),
        ({"duration": "6"}, "duration value '6' is invalid"),
        ({"duration": "10"}, "duration value '10' is invalid"),
    ],
)
def test_refused_edits(body: dict[str, Any], words: str) -> None:
    """The images fit the way of editing, the duration fits the video."""

    async def story(kling: Caller) -> None:
        session = (await opened(kling))["session_id"]
        refused = await kling.post(MULTI, edit(session, **body))
        assert (refused.status, refused.json["code"]) == (400, 1201)
        assert words in refused.json["message"]

    play(story, dialect="official")


def test_edits_of_longer_videos() -> None:
    async def story(kling: Caller) -> None:
        session = (await opened(kling, VIDEO + "?seconds=8"))["session_id"]
        assert (await kling.post(MULTI, edit(session))).json["code"] == 1201
        assert (await kling.post(MULTI, edit(session, duration="10", edit_mode="addition"))).status == 200
        assert (await kling.post(MULTI, edit(session, duration=10, edit_mode="removal", image_list=[]))).status == 200
        await kling.post(MULTI, edit(session, duration="10", image_list=[{"image": png(10, 10)}]))
        kling.hand.at += 20
        assert [task.billed for task in kling.emulator.tasks] == [6.0, 6.0, 0.0]

    play(story, dialect="official")


def test_lenient_steps_take_any_session() -> None:
    async def story(kling: Caller) -> None:
        for name in ("add", "delete", "clear", "preview"):
            assert (await step(kling, name, "any", **at((0.5, 0.5)))).status == 200
        for path, body in ((LIPS, {}), (LIPS, lips("any")), (MULTI, {}), (MULTI, edit("any"))):
            assert (await kling.post(path, body)).status == 200

    play(story, dialect="official", lenient=True)


# Masks


def unpacked(words: str) -> list[int]:
    """The run lengths in a text, read independently."""
    lengths: list[int] = []
    at = 0
    while at < len(words):
        value = shift = 0
        more = True
        while more:
            bits = ord(words[at]) - 48
            value |= (bits & 0x1F) << shift
            shift += 5
            at += 1
            more = bool(bits & 0x20)
            if not more and bits & 0x10:
                value |= -1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
    return lengths


def test_masks_say_the_same_in_both_forms() -> None:
    """The run lengths cover the frame and mark the pixels that are white in the picture."""

    async def story(kling: Caller) -> None:
        told = await opened(kling, VIDEO + "?width=721&height=730")
        added = (await step(kling, "add", told["session_id"], **at((0.0, 1.0), (0.5, 0.5), (0.52, 0.5)))).data
        found = added["res"]["rle_mask_list"][0]
        lengths = unpacked(found["rle_mask"]["counts"])
        assert sum(lengths) == 721 * 730
        content = base64.b64decode(found["png_mask"]["base64"])
        size = int.from_bytes(content[33:37], "big")
        raw = zlib.decompress(content[41 : 41 + size])
        line = 1 + (721 + 7) // 8
        white = sum(raw[at * line + 1 : (at + 1) * line].hex().translate(BITS).count("1") for at in range(730))
        assert white == sum(lengths[1::2])

    play(story, dialect="official")


BITS = {ord(f"{number:x}"): f"{number:04b}" for number in range(16)}


def test_runs_start_with_the_background() -> None:
    assert runs([(0, 1, 0, 2)], 2, 3) == [0, 2, 4]
    assert runs([(1, 2, 2, 3)], 2, 3) == [5, 1, 0]
    assert runs([], 2, 3) == [6]
    assert unpacked(packed([0, 2, 40, 1000, 3])) == [0, 2, 40, 1000, 3]
