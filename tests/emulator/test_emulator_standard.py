"""The new standard: every model's limits, shots, reference videos, and what is ignored."""

from typing import Any

import pytest
from emulator_tools import OMNI, Caller, play

from kling_async.emulator.new_rows import NEW_ROWS
from kling_async.emulator.routes import ROWS

URL = "https://host/a.png"
VIDEO = "https://host/v.mp4"
PROMPT = {"type": "prompt", "text": "a"}
FIRST = {"type": "first_frame", "url": URL}
LAST = {"type": "last_frame", "url": URL}
MIDDLE = {"type": "middle_frame", "url": URL}
IMAGE_REF = {"type": "refer_image", "url": URL}
SHAPE = {"aspect_ratio": "1:1"}
PEOPLE = {"type": "image", "url": URL}
MOVE = {"type": "video", "url": VIDEO}
T30, I30, OMNI30 = "/text-to-video/kling-3.0", "/image-to-video/kling-3.0", "/omni-video/kling-3.0-omni"
O1, T26, I26, I25 = "/omni-video/kling-o1", "/text-to-video/kling-2.6", "/image-to-video/kling-2.6", ""
I25 = "/image-to-video/kling-2.5-turbo"
M30, M26 = "/motion-control/kling-3.0", "/motion-control/kling-2.6"
T40, I40, OMNI40 = "/text-to-video/kling-4.0", "/image-to-video/kling-4.0", "/omni-video/kling-4.0"

NAMES = {
    "text-to-video/kling-3.0-turbo",
    "image-to-video/kling-3.0-turbo",
    "text-to-video/kling-3.0",
    "image-to-video/kling-3.0",
    "omni-video/kling-3.0-omni",
    "omni-video/kling-v3-omni",
    "omni-video/kling-o1",
    "text-to-video/kling-2.6",
    "image-to-video/kling-2.6",
    "text-to-video/kling-2.5-turbo",
    "image-to-video/kling-2.5-turbo",
    "motion-control/kling-3.0",
    "motion-control/kling-2.6",
    "text-to-video/kling-4.0",
    "image-to-video/kling-4.0",
    "omni-video/kling-4.0",
    "text-to-video/kling-4.0-flash",
    "image-to-video/kling-4.0-flash",
    "omni-video/kling-4.0-flash",
}


def contents(*items: Any, **settings: Any) -> dict[str, Any]:
    return {"contents": list(items), "settings": settings}


def shots(*parts: str, **settings: Any) -> dict[str, Any]:
    return {"prompt": "; ".join(parts), "settings": settings}


def elements(count: int) -> list[dict[str, str]]:
    return [{"type": "element", "element_id": f"{number}", "id": f"e{number}"} for number in range(count)]


def voices(count: int) -> list[dict[str, str]]:
    return [{"type": "voice", "voice_id": f"{number}", "id": f"v{number}"} for number in range(count)]


def video(kind: str, hint: str = "") -> dict[str, str]:
    return {"type": kind, "url": VIDEO + hint}


def test_every_operation_and_model_is_there() -> None:
    """The names are those of the paths, and every path of the table is its own."""
    assert {row.name for row in NEW_ROWS} == NAMES
    assert all(row.path == f"/{row.name}" for row in NEW_ROWS)
    assert len({(row.method, row.path) for row in ROWS}) == len({row.name for row in ROWS}) == len(ROWS)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("/image-to-video/kling-3.0-turbo", contents(FIRST, LAST), "contents[1].type value 'last_frame' is invalid"),
    ("/image-to-video/kling-3.0-turbo", contents(FIRST, resolution="4k"), "settings.resolution value '4k'"),
    (T30, shots("shot 1, 3, a", "shot 2, 3, b"), "must add up to settings.duration"),
    (T30, shots("shot 1, 2, a", "shot 3, 3, b"), "shot 2 is not of the form"),
    (T30, shots("Shot 1, 0, a", "shot 2, 5, b"), "shot 1 must be at least 1 second long"),
    (T30, shots("shot 1, 5, " + "a" * 513), "shot 1 must not be longer than 512 characters"),
    (T30, shots(*[f"shot {at}, 1, a" for at in range(1, 8)], duration=7), "more than 6 shots"),
    (T30, shots("镜头 1, 3, 海", duration=5), "must add up"),
    (T30, {"prompt": "a", "settings": {"audio": "original"}}, "settings.audio value 'original' is invalid"),
    (T30, {"prompt": "a", "settings": {"multi_shot": "yes"}}, "settings.multi_shot value 'yes' is invalid"),
    (T30, {"prompt": "a", "settings": {"seed": "x"}}, "settings.seed value 'x' is invalid"),
    (I30, contents(LAST), "contents type 'first_frame' is required"),
    (I30, contents({"type": "first_frame", "url": "data:image/png;base64,"}), "contents[0].url is invalid: empty"),
    (OMNI30, contents(*elements(4), FIRST), "more than 3 elements with frames"),
    (OMNI30, contents(video("feature_video"), audio="original"), "settings.audio must be off"),
    (OMNI30, contents({"type": "end_frame", "url": URL}, **SHAPE), "contents[0].type value 'end_frame' is invalid"),
    (OMNI30, contents({"type": "reference_image", "url": URL}), "type value 'reference_image' is invalid"),
    (OMNI30, contents(PROMPT, PEOPLE), "settings.aspect_ratio is required"),
    (O1, contents(PROMPT, duration=7, **SHAPE), "settings.duration value '7' is invalid"),
    (O1, contents(FIRST, duration=3), "settings.duration value '3' is invalid"),
    (O1, contents(IMAGE_REF, duration=11, **SHAPE), "settings.duration value '11' is invalid"),
    (O1, contents(FIRST, resolution="4k"), "settings.resolution value '4k' is invalid"),
    (T26, {"prompt": "a" * 2501}, "prompt must not be longer than 2500 characters"),
    (T26, {"prompt": "a", "settings": {"audio": "native"}}, "only supported with resolution 1080p"),
    (I26, contents(FIRST, *voices(1)), "only supported with resolution 1080p"),
    (I26, contents(FIRST, LAST, resolution="1080p", audio="native"), "resolution 1080p and audio off"),
    (I25, contents(FIRST, LAST), "a last_frame is only supported with resolution 1080p"),
    (I25, contents(FIRST, *elements(1)), "contents[1].type value 'element' is invalid"),
    (M30, contents(PEOPLE, MOVE), "settings.character_orientation is required"),
    (M30, contents(PEOPLE, MOVE, *elements(1), character_orientation="image"), "must be video with an element"),
    (M30, contents(PEOPLE, MOVE, *elements(2), character_orientation="video"), "more than 1 elements"),
    (M26, contents(PEOPLE, MOVE, *elements(1), character_orientation="video"), "type value 'element' is invalid"),
    (M26, contents(PEOPLE, MOVE, character_orientation="video", audio="native"), "settings.audio value 'native'"),
    (T40, {"prompt": "a" * 26_001}, "prompt must not be longer than 26000 characters"),
    (T40, {"prompt": "海" * 11_001}, "not English"),
    (T40, {"prompt": "a", "settings": {"duration": 31}}, "settings.duration value '31' is invalid"),
    (T40, {"prompt": "a", "settings": {"resolution": "4k"}}, "settings.resolution value '4k' is invalid"),
    (T40 + "-flash", {"prompt": "a", "settings": {"duration": 21}}, "settings.duration value '21' is invalid"),
    (T40 + "-flash", {"prompt": "a", "settings": {"resolution": "1080p"}}, "settings.resolution value '1080p'"),
    (I40, contents(FIRST, *elements(1)), "contents[1].type value 'element' is invalid"),
    (I40, contents(FIRST, *[MIDDLE] * 9), "more than 8 middle_frames"),
    (OMNI40, contents(*[IMAGE_REF] * 11), "more than 10 images"),
    (OMNI40, contents(*[video("feature_video")] * 6), "more than 5 videos"),
    (OMNI40, contents(*elements(8)), "more than 7 elements"),
    (OMNI40, contents(*voices(4)), "more than 3 voices"),
    (OMNI40, contents(*[video("base_video")] * 2), "more than one base_video"),
    (OMNI40, contents(*[IMAGE_REF] * 8, *elements(7), *voices(1)), "more than 15"),
    (OMNI40, contents({"type": "voice", "voice_id": "1"}), "contents[0].id is required"),
]

ACCEPTED: list[tuple[str, dict[str, Any], float]] = [
    (T30, shots("shot 1, 3, a", "shot 2, 2, b"), 3.0),
    (T30, shots("镜头 1, 3, 海", "镜头 2, 4, 山", duration=7), 4.2),
    (T30, shots("shot 1, 9, a", multi_shot=False), 3.0),
    (T30, {"prompt": "a shot 1, 9, in the middle"}, 3.0),
    ("/text-to-video/kling-3.0-turbo", shots("shot 1, 9, a"), 4.0),
    (I30, contents(FIRST, LAST, *elements(3), PROMPT), 3.0),
    ("/omni-video/kling-v3-omni", contents(FIRST, LAST), 3.0),
    (OMNI30, contents(PEOPLE, {"type": "voice"}, {"type": "video"}, FIRST), 3.0),
    (OMNI30, contents(video("feature_video"), multi_shot=True, audio="off"), 4.5),
    (OMNI30, contents(video("base_video", "?seconds=8"), audio="original"), 7.2),
    (O1, contents(PROMPT, IMAGE_REF, duration=7, audio="native", **SHAPE), 4.2),
    (O1, contents(FIRST, duration=10), 6.0),
    (I26, contents(FIRST, *voices(1), resolution="1080p", audio="native"), 6.0),
    (I25, contents(FIRST, LAST, resolution="1080p"), 2.5),
    (M30, contents(PEOPLE, video("video", "?seconds=20"), *elements(1), character_orientation="video"), 18.0),
    (M26, contents(PEOPLE, video("video", "?seconds=9"), character_orientation="image", resolution="1080p"), 7.2),
    (T40, {"prompt": "a" * 26_000, "settings": {"duration": 30, "aspect_ratio": "21:9"}}, 24.0),
    (T40, {"prompt": "海" * 11_000}, 4.0),
    (I40, contents(FIRST, *[MIDDLE] * 8, LAST), 4.0),
    (OMNI40, contents(*[video("feature_video")] * 2, *elements(7), *voices(3)), 4.5),
    (OMNI40, contents(video("base_video", "?seconds=10"), PROMPT), 9.0),
    (OMNI40 + "-flash", contents(PROMPT), 4.0),
]


def test_refused_new_bodies() -> None:
    """Every broken rule is a 1201 with a sentence that names it, and makes nothing."""

    async def story(kling: Caller) -> None:
        for path, body, words in REFUSED:
            reply = await kling.post(path, body)
            assert (reply.status, reply.json["code"]) == (400, 1201), (path, words, reply.raw)
            assert words in reply.json["message"], (path, reply.json["message"])
        assert kling.emulator.tasks == []

    play(story, dialect="official")


def test_accepted_new_bodies_and_prices() -> None:
    async def story(kling: Caller) -> None:
        for path, body, units in ACCEPTED:
            before = kling.emulator.spent
            reply = await kling.post(path, body)
            assert reply.status == 200, (path, body, reply.raw)
            kling.hand.at += 20
            (row,) = (await kling.get(f"/tasks?task_ids={reply.data['id']}")).data
            assert (row["status"], len(row["outputs"])) == ("succeeded", 1), (path, body, row)
            assert kling.emulator.spent - before == pytest.approx(units), (path, body)

    play(story, dialect="official")


@pytest.mark.parametrize(
    ("path", "item", "hint", "reason"),
    [
        (OMNI30, "feature_video", "?seconds=16", "Video duration is invalid"),
        (OMNI30, "base_video", "?width=699&height=900", "Video pixel is invalid"),
        (OMNI30, "base_video", "?width=4000&height=3000", "Video pixel is invalid"),
        (OMNI30, "base_video", "?width=2000&height=900", "Video pixel is invalid"),
        (OMNI30, "feature_video", "?fps=23", "Video frame rate is invalid"),
        (OMNI30, "feature_video", "?mb=201", "Video size is invalid"),
        (M30, "video", "?seconds=2", "Video duration is invalid"),
        (M30, "video", "?width=339&height=400", "Video pixel is invalid"),
    ],
)
def test_bad_reference_videos_fail_as_tasks(path: str, item: str, hint: str, reason: str) -> None:
    async def story(kling: Caller) -> None:
        body = contents(video(item, hint), character_orientation="video")
        if path == M30:
            body["contents"].append(PEOPLE)
        ident = (await kling.post(path, body)).data["id"]
        kling.hand.at = 2
        (row,) = (await kling.get(f"/tasks?task_ids={ident}")).data
        assert (row["status"], row["message"], row["billing"]) == ("failed", reason, [{"amount": "0"}])

    play(story, dialect="official")


def test_weak_validation_of_omni_is_a_switch() -> None:
    """As observed, impossible lengths and 480p pass the create; as documented, they do not."""
    bodies = [contents(FIRST, duration=length) for length in (0, 1, 20)] + [contents(FIRST, resolution="480p")]

    async def story(kling: Caller) -> None:
        for body in bodies:
            assert (await kling.post(OMNI30, body)).status == 200
        kling.emulator.weak_omni = False
        for body in bodies:
            refused = await kling.post(OMNI30, body)
            assert (refused.status, refused.json["code"]) == (400, 1201), body
        assert (await kling.post(OMNI30, contents(FIRST, duration=15, resolution="4k"))).status == 200
        kling.hand.at = 20
        assert [task.status for task in kling.emulator.tasks] == ["succeed"] * 3 + ["failed", "succeed"]

    play(story, dialect="official")


def test_misplaced_fields_are_ignored_and_the_default_clip_is_billed() -> None:
    """At the top level duration, mode, callback_url and external_task_id do nothing; neither do unknown fields."""

    async def story(kling: Caller) -> None:
        misplaced = {"duration": 10, "mode": "pro", "callback_url": "https://me/x", "external_task_id": "e", "zz": {}}
        for path, body, units in (
            (T30, {"prompt": "a"}, 3.0),
            (I30, contents(FIRST), 3.0),
            (OMNI30, contents(FIRST), 3.0),
            (T40, {"prompt": "a", "settings": {"audio": 7, "colour": "red"}}, 4.0),
        ):
            before = kling.emulator.spent
            assert (await kling.post(path, body | misplaced)).status == 200
            kling.hand.at += 20
            assert kling.emulator.spent - before == pytest.approx(units)
            task = kling.emulator.tasks[-1]
            assert (task.external_id, task.callback_url) == ("", "")
        assert (await kling.get("/tasks?external_task_ids=e")).data == []

    play(story, dialect="official")


def test_references_in_a_prompt_are_not_looked_at() -> None:
    async def story(kling: Caller) -> None:
        body = contents({"type": "prompt", "text": "@nobody meets @e0"}, *elements(1), FIRST)
        assert (await kling.post(OMNI30, body)).status == 200

    play(story, dialect="official")


def test_both_names_of_omni_share_their_slots() -> None:
    async def story(kling: Caller) -> None:
        assert (await kling.post(OMNI30, contents(FIRST))).status == 200
        full = await kling.post("/omni-video/kling-v3-omni", contents(FIRST))
        assert (full.status, full.json["code"]) == (429, 1303)

    play(story, dialect="official", slots=1)


def test_legacy_omni_edits_keep_their_length() -> None:
    """An edited video is as long as it was, billed in whole seconds; a bad one fails early."""

    async def story(kling: Caller) -> None:
        clip = {"video_url": VIDEO + "?seconds=7.6"}
        assert (await kling.post(OMNI, {"prompt": "a", "duration": "3", "video_list": [clip]})).status == 200
        late = {"video_url": VIDEO + "?seconds=12", "refer_type": "feature"}
        body = {"prompt": "a", "aspect_ratio": "1:1", "video_list": [late]}
        assert (await kling.post(OMNI, body)).status == 200
        kling.hand.at = 20
        assert [task.billed for task in kling.emulator.tasks] == [pytest.approx(9.6), 0.0]
        plain = {"prompt": "a", "aspect_ratio": "1:1", "duration": "7"}
        assert (await kling.post(OMNI, plain)).json["code"] == 1201
        assert (await kling.post(OMNI, plain | {"model_name": "kling-v3-omni"})).status == 200
        assert (await kling.post(OMNI, plain | {"image_list": [{"image_url": URL}]})).status == 200
        frames = [{"image_url": URL, "type": kind} for kind in ("first_frame", "end_frame")]
        both = plain | {"image_list": frames, "multi_shot": True, "shot_type": "intelligence"}
        assert "multi_shot cannot be used" in (await kling.post(OMNI, both)).json["message"]

    play(story, dialect="official")
