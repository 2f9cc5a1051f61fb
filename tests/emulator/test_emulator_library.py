"""The library: elements and voices are made, listed, named in other bodies, and deleted; presets are there for all."""

from typing import Any

import pytest
from emulator_tools import I2V, T2V, Caller, play, png

ELEMENTS = "/v1/general/advanced-custom-elements"
ELEMENT_PRESETS = "/v1/general/advanced-presets-elements"
DELETE_ELEMENT = "/v1/general/delete-advanced-elements"
VOICES = "/v1/general/custom-voices"
VOICE_PRESETS = "/v1/general/presets-voices"
DELETE_VOICE = "/v1/general/delete-voices"
URL = "https://host/a.png"

IMAGES = {"frontal_image": URL, "refer_images": [{"image_url": "https://host/b.png"}]}
ELEMENT: dict[str, Any] = {
    "element_name": "cat",
    "element_description": "a cat",
    "reference_type": "image_refer",
    "element_image_list": IMAGES,
    "tag_list": [{"tag_id": "o_104"}],
}
FILM = {"refer_videos": [{"video_url": "https://host/v.mp4"}]}
VOICE = {"voice_name": "me", "voice_url": "https://host/v.mp3"}


async def made(kling: Caller, path: str, body: dict[str, Any]) -> dict[str, Any]:
    created = await kling.post(path, body)
    assert created.status == 200, created.raw
    kling.hand.at += 11
    result = (await kling.get(f"{path}/{created.data['task_id']}")).data["task_result"]
    return dict(next(iter(result.values()))[0])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ELEMENTS, ELEMENT | {"element_name": ""}),
        (ELEMENTS, ELEMENT | {"element_name": "x" * 21}),
        (ELEMENTS, ELEMENT | {"element_description": "x" * 101}),
        (ELEMENTS, ELEMENT | {"reference_type": "sound_refer"}),
        (ELEMENTS, ELEMENT | {"element_image_list": None}),
        (ELEMENTS, ELEMENT | {"element_image_list": {"frontal_image": URL}}),
        (ELEMENTS, ELEMENT | {"element_image_list": {"frontal_image": URL, "refer_images": [{"image_url": URL}] * 4}}),
        (ELEMENTS, ELEMENT | {"element_image_list": IMAGES | {"refer_images": [{}]}}),
        (ELEMENTS, ELEMENT | {"tag_list": [{"tag_id": "o_109"}]}),
        (ELEMENTS, ELEMENT | {"reference_type": "video_refer"}),
        (ELEMENTS, ELEMENT | {"reference_type": "video_refer", "element_video_list": {"refer_videos": [{}]}}),
        (VOICES, {"voice_url": "https://host/v.mp3"}),
        (VOICES, {"voice_name": "x" * 21, "voice_url": "https://host/v.mp3"}),
        (VOICES, {"voice_name": "me"}),
        (VOICES, VOICE | {"video_id": "1"}),
        (VOICES, {"voice_name": "me", "voice_url": "c291bmQ="}),
        (VOICES, {"voice_name": "me", "video_id": "nobody"}),
        (DELETE_ELEMENT, {}),
        (DELETE_ELEMENT, {"element_id": 860000000000000001}),
        (DELETE_ELEMENT, {"element_id": "cat"}),
        (DELETE_VOICE, {}),
        (DELETE_VOICE, {"voice_id": "1"}),
    ],
)
def test_refused_bodies(path: str, body: dict[str, Any]) -> None:
    async def story(kling: Caller) -> None:
        refused = await kling.post(path, body)
        assert (refused.status, refused.json["code"]) == (400, 1201), refused.raw
        assert kling.emulator.tasks == []

    play(story, dialect="official")


def test_element_from_pictures() -> None:
    """An element's id is a whole number of 18 digits that a float cannot hold; its pictures have addresses."""

    async def story(kling: Caller) -> None:
        inline = {"frontal_image": png(), "refer_images": [{"image_url": URL}]}
        element = await made(kling, ELEMENTS, ELEMENT | {"element_image_list": inline, "external_task_id": "e"})
        ident = element["element_id"]
        assert isinstance(ident, int)
        assert len(str(ident)) == 18
        assert ident > 2**53
        frontal = element["element_image_list"]["frontal_image"]
        assert (await kling.get(frontal, key=None)).headers["Content-Type"] == "image/png"
        assert element == {
            "element_id": ident,
            "element_name": "cat",
            "element_description": "a cat",
            "reference_type": "image_refer",
            "element_image_list": {"frontal_image": frontal, "refer_images": [{"image_url": URL}]},
            "element_voice_info": {},
            "tag_list": [{"tag_id": "o_104"}],
            "owned_by": "emulator",
            "status": "succeed",
        }
        assert (await kling.get(f"{ELEMENTS}/e")).status == 200
        assert kling.emulator.spent == 0

    play(story, dialect="official")


def test_element_from_a_film_with_a_voice() -> None:
    """An element may speak with a voice of one's own or with a preset one."""

    async def story(kling: Caller) -> None:
        body = ELEMENT | {"reference_type": "video_refer", "element_video_list": FILM}
        own = (await made(kling, VOICES, VOICE))["voice_id"]
        preset = (await kling.get(VOICE_PRESETS)).data[0]["task_result"]["voices"][0]["voice_id"]
        for voice, name, owner in ((own, "me", "emulator"), (preset, "Calm narrator", "kling"), ("77", "", "emulator")):
            element = await made(kling, ELEMENTS, body | {"element_voice_id": voice})
            assert element["element_video_list"] == FILM
            info = element["element_voice_info"]
            assert (info["voice_id"], info["voice_name"], info["owned_by"]) == (voice, name, owner)
            assert (await kling.get(info["trial_url"], key=None)).headers["Content-Type"] == "audio/mpeg"

    play(story, dialect="official")


def test_voices() -> None:
    """A voice comes from a sound, or from a video of ours in which somebody speaks."""

    async def story(kling: Caller) -> None:
        voice = await made(kling, VOICES, VOICE)
        assert set(voice) == {"voice_id", "voice_name", "trial_url", "owned_by"}
        assert (await kling.get(voice["trial_url"], key=None)).headers["Content-Type"] == "audio/mpeg"
        assert kling.emulator.spent == 0.05
        spoken = await made(kling, T2V, {"prompt": "a", "model_name": "kling-v2-6", "sound": "on", "mode": "pro"})
        silent = await made(kling, T2V, {"prompt": "a", "model_name": "kling-v2-6"})
        other = await made(kling, VOICES, {"voice_name": "she", "video_id": spoken["id"]})
        assert other["voice_id"] != voice["voice_id"]
        refused = await kling.post(VOICES, {"voice_name": "she", "video_id": silent["id"]})
        assert (refused.status, refused.json["code"]) == (400, 1201)
        names = [row["task_result"]["voices"][0]["voice_name"] for row in (await kling.get(VOICES)).data]
        assert names == ["she", "me"]
        assert (await kling.get(f"{VOICES}?pageSize=1000")).status == 200
        assert (await kling.get(f"{VOICES}?pageSize=1001")).status == 400
        assert (await kling.get(f"{ELEMENTS}?pageSize=501")).status == 400

    play(story, dialect="official")


@pytest.mark.parametrize("path", [DELETE_ELEMENT, "/v1/general/delete-elements"])
def test_elements_are_deleted(path: str) -> None:
    """A deleted element stays in the list as such, and can be deleted no more; the id may be a number or a text."""

    async def story(kling: Caller) -> None:
        first = (await made(kling, ELEMENTS, ELEMENT))["element_id"]
        second = (await made(kling, ELEMENTS, ELEMENT))["element_id"]
        gone = await kling.post(path, {"element_id": first})
        assert gone.json["data"] == {"task_id": kling.emulator.tasks[0].task_id, "task_status": "succeed"}
        told = [row["task_result"]["elements"][0] for row in (await kling.get(ELEMENTS)).data]
        assert [(one["element_id"], one["status"]) for one in told] == [(second, "succeed"), (first, "deleted")]
        again = await kling.post(path, {"element_id": first})
        assert (again.status, again.json["message"]) == (400, "Element id not found")
        kling.emulator.deleted_again = "ok"
        assert (await kling.post(path, {"element_id": str(first)})).status == 200
        assert (await kling.post(path, {"element_id": str(second)})).status == 200
        running = (await kling.post(ELEMENTS, ELEMENT)).data["task_id"]
        assert running
        assert [call.endpoint.partition("/")[0] for call in kling.emulator.calls] == ["delete-elements"] * 3

    play(story, dialect="official")


def test_voices_are_deleted() -> None:
    async def story(kling: Caller) -> None:
        ident = (await made(kling, VOICES, VOICE))["voice_id"]
        gone = await kling.post(DELETE_VOICE, {"voice_id": ident})
        assert set(gone.data) == {"task_id", "task_status"}
        (row,) = (await kling.get(VOICES)).data
        assert row["task_result"]["voices"][0]["status"] == "deleted"
        assert (await kling.post(DELETE_VOICE, {"voice_id": ident})).json["code"] == 1201

    play(story, dialect="official")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("seconds=9", "Video duration is invalid"),
        ("seconds=5&width=1280&height=720", "Video pixel is invalid"),
        ("mb=201", "Video size is invalid"),
        ("seconds=8&width=1920&height=1080&mb=200", ""),
    ],
)
def test_films_of_elements_have_limits(said: str, reason: str) -> None:
    """A film that is no good makes a task that fails at once."""

    async def story(kling: Caller) -> None:
        film = {"refer_videos": [{"video_url": f"https://host/v.mp4?{said}"}]}
        await kling.post(ELEMENTS, ELEMENT | {"reference_type": "video_refer", "element_video_list": film})
        kling.hand.at = 11
        (row,) = (await kling.get(ELEMENTS)).data
        assert row["task_status_msg"] == reason

    play(story, dialect="official")


def test_voices_are_taken_from_5_to_30_seconds() -> None:
    async def story(kling: Caller) -> None:
        for length in (4, 5, 30, 31):
            await kling.post(VOICES, VOICE | {"voice_url": f"https://host/v.mp3?seconds={length}"})
        kling.hand.at = 11
        reasons = [row["task_status_msg"] for row in (await kling.get(VOICES)).data]
        assert reasons == ["Audio duration is invalid", "", "", "Audio duration is invalid"]

    play(story, dialect="official")


def test_nothing_but_ended_tasks_makes_elements() -> None:
    """Ids are not good before their task has ended, nor of a task of another kind."""

    async def story(kling: Caller) -> None:
        await kling.post(ELEMENTS, ELEMENT)
        await kling.create()
        running = 860_000_000_000_000_000
        for ident in (running, running + 1_000_000):
            assert (await kling.post(DELETE_ELEMENT, {"element_id": ident})).status == 400
        await kling.post(ELEMENTS, ELEMENT | {"element_description": "[fail]"})
        kling.hand.at = 11
        newest, oldest = (await kling.get(ELEMENTS)).data
        assert (newest["task_status"], newest["task_result"]) == ("failed", {})
        assert oldest["task_result"]["elements"]

    play(story, dialect="official")


def test_presets() -> None:
    """Presets are task-shaped, one each, owned by the service, and come in pages; nobody can delete them."""

    async def story(kling: Caller) -> None:
        elements = (await kling.get(ELEMENT_PRESETS)).data
        voices = (await kling.get(f"{VOICE_PRESETS}?pageSize=1000")).data
        assert len(elements) >= 3
        assert len(voices) >= 3
        for row in elements:
            assert row["task_status"] == "succeed"
            (element,) = row["task_result"]["elements"]
            assert (element["owned_by"], element["status"]) == ("kling", "succeed")
            assert len(str(element["element_id"])) == 18
            picture = await kling.get(element["element_image_list"]["frontal_image"], key=None)
            assert picture.headers["Content-Type"] == "image/png"
            refused = await kling.post(DELETE_ELEMENT, {"element_id": element["element_id"]})
            assert refused.json["code"] == 1201
        for row in voices:
            (voice,) = row["task_result"]["voices"]
            assert voice["owned_by"] == "kling"
            assert (await kling.get(voice["trial_url"], key=None)).status == 200
        assert (await kling.get(f"{VOICE_PRESETS}?pageNum=2&pageSize=2")).data[0]["task_id"] == voices[2]["task_id"]
        assert (await kling.get(f"{VOICE_PRESETS}?pageNum=9")).data == []
        assert (await kling.get(f"{VOICE_PRESETS}?pageSize=1001")).status == 400
        assert (await kling.get(f"{ELEMENT_PRESETS}?pageSize=501")).status == 400
        assert (await kling.post(ELEMENT_PRESETS, {})).json["code"] == 1202
        assert kling.emulator.tasks == []

    play(story, dialect="official")


def test_unknown_ids_are_refused_behind_a_switch() -> None:
    """With the switch a body may name only elements and voices that are there."""

    async def story(kling: Caller) -> None:
        ident = (await made(kling, ELEMENTS, ELEMENT))["element_id"]
        voice = (await made(kling, VOICES, VOICE))["voice_id"]
        preset = (await kling.get(ELEMENT_PRESETS)).data[0]["task_result"]["elements"][0]["element_id"]

        async def status(element: Any) -> int:
            legacy = await kling.post(
                I2V, {"prompt": "a", "image": URL, "element_list": [{"element_id": element}], "model_name": "kling-v3"}
            )
            contents = [
                {"type": "first_frame", "url": URL},
                {"type": "element", "element_id": str(element), "id": "one"},
            ]
            new = await kling.post("/image-to-video/kling-3.0", {"contents": contents})
            assert legacy.status == new.status
            if new.status == 400:
                assert legacy.json["message"] == new.json["message"] == "Element id not found"
            return new.status

        assert [await status(one) for one in (ident, preset, 77)] == [200, 200, 200]
        kling.emulator.known_ids_only = True
        assert [await status(one) for one in (ident, str(ident), preset, 77)] == [200, 200, 200, 400]
        await kling.post(DELETE_ELEMENT, {"element_id": ident})
        assert await status(ident) == 400
        spoken = {"prompt": "a", "model_name": "kling-v3", "sound": "on"}
        assert (await kling.post(T2V, spoken | {"voice_list": [{"voice_id": voice}]})).status == 200
        assert (await kling.post(T2V, spoken | {"voice_list": [{"voice_id": "7"}]})).status == 400
        assert (await kling.post(ELEMENTS, ELEMENT | {"element_voice_id": "7"})).status == 400
        assert (await kling.post(ELEMENTS, ELEMENT | {"element_voice_id": voice})).status == 200

    play(story, dialect="official")


def test_new_standard_tells_elements_and_voices() -> None:
    """Behind the switch `/tasks` tells them too; ids are texts there."""

    async def story(kling: Caller) -> None:
        element = await made(kling, ELEMENTS, ELEMENT)
        film = await made(kling, ELEMENTS, ELEMENT | {"reference_type": "video_refer", "element_video_list": FILM})
        voice = await made(kling, VOICES, VOICE)
        await kling.post(DELETE_VOICE, {"voice_id": voice["voice_id"]})
        rows = (await kling.post("/tasks", {})).data["result"]
        told_voice, told_film, told = (row["outputs"][0] for row in rows)
        assert told == {
            "type": "element",
            "id": str(element["element_id"]),
            "name": "cat",
            "description": "a cat",
            "element_type": "image_refer",
            "references": [
                {"type": "frontal_image", "url": URL},
                {"type": "refer_image", "url": "https://host/b.png"},
            ],
            "owned_by": "emulator",
            "status": "succeed",
            "tags": [{"tag_id": "o_104"}],
        }
        assert told_film["id"] == str(film["element_id"])
        assert told_film["references"] == [{"type": "refer_video", "url": "https://host/v.mp4"}]
        assert told_voice == {
            "type": "voice",
            "id": voice["voice_id"],
            "name": "me",
            "url": told_voice["url"],
            "owned_by": "emulator",
            "status": "deleted",
        }

    play(story, dialect="official", batch_sees_legacy=True)


@pytest.mark.parametrize("dialect", ["cometapi", "new-api", "mixed", "official-old-host"])
def test_other_hosts_have_the_library_too(dialect: str) -> None:
    async def story(kling: Caller) -> None:
        created = (await kling.post(ELEMENTS, ELEMENT)).json
        ident = (created.get("data") or created)["task_id"]
        kling.hand.at = 31
        assert b'"element_id":86' in (await kling.get(f"{ELEMENTS}/{ident}")).raw
        assert len((await kling.get(ELEMENT_PRESETS)).data) >= 3
        refused = await kling.post(DELETE_ELEMENT, {"element_id": 1})
        assert refused.status == 400

    play(story, dialect=dialect)


def test_lenient_library() -> None:
    """Without validation even an empty body makes an element, which can be told and deleted."""

    async def story(kling: Caller) -> None:
        element = await made(kling, ELEMENTS, {})
        voice = await made(kling, VOICES, {"video_id": "nobody"})
        assert (await kling.post(DELETE_ELEMENT, {"element_id": element["element_id"]})).status == 200
        assert (await kling.post(DELETE_VOICE, {"voice_id": voice["voice_id"]})).status == 200
        await kling.post(ELEMENTS, {"element_image_list": 5, "tag_list": 5, "element_voice_id": []})
        kling.hand.at += 11
        assert len((await kling.get(ELEMENTS)).data) == 2

    play(story, dialect="official", lenient=True, known_ids_only=True)
