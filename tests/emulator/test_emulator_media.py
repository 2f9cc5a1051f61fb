"""Sounds and pictures: what is taken, what comes back, and that its files are real."""

import asyncio
import io
import wave
from typing import Any

import aiohttp
import pytest
from emulator_tools import EPOCH_MS, Caller, jpeg, play, png

from kling_async.emulator import Emulator
from kling_async.emulator.images import look
from kling_async.emulator.media_rows import MEDIA_ROWS
from kling_async.emulator.sounds import MP3_FRAME_S

TTS = "/v1/audio/tts"
T2A = "/v1/audio/text-to-audio"
V2A = "/v1/audio/video-to-audio"
IMG = "/v1/images/generations"
OMNI = "/v1/images/omni-image"
MULTI = "/v1/images/multi-image2image"
EXPAND = "/v1/images/editing/expand"
TRY_ON = "/v1/images/kolors-virtual-try-on"
SHOT = "/v1/general/ai-multi-shot"
URL = "https://host/a.png"
SIDES = {f"{side}_expansion_ratio": 0.0 for side in ("up", "down", "left", "right")}

SPEECH = {"text": "hello there", "voice_id": "genshin_vindi2"}
SUBJECTS = {"subject_image_list": [{"subject_image": URL}]}
BIG = "x" * 2501


async def ended(kling: Caller, path: str, **body: Any) -> dict[str, Any]:
    """The row of a task of this path at its end."""
    created = await kling.post(path, body)
    assert created.status == 200, created.raw
    assert created.data["task_status"] == "submitted"
    kling.hand.at += 11
    return dict((await kling.get(f"{path}/{created.data['task_id']}")).data)


def test_short_names() -> None:
    """The endpoints are known by these names."""
    assert {row.name for row in MEDIA_ROWS} >= {
        "tts",
        "text-to-audio",
        "video-to-audio",
        "generations",
        "omni-image",
        "multi-image2image",
        "expand",
        "virtual-try-on",
        "ai-multi-shot",
        "custom-elements",
        "presets-elements",
        "delete-elements",
        "custom-voices",
        "presets-voices",
        "delete-voices",
    }


REFUSED: list[tuple[str, dict[str, Any]]] = [
    (TTS, {"text": "x"}),
    (TTS, {"voice_id": "v"}),
    (TTS, SPEECH | {"text": "x" * 1001}),
    (TTS, SPEECH | {"voice_language": "de"}),
    (TTS, SPEECH | {"voice_speed": 0.7}),
    (TTS, SPEECH | {"voice_speed": 2.1}),
    (T2A, {"prompt": "rain"}),
    (T2A, {"duration": 3.0}),
    (T2A, {"prompt": "x" * 201, "duration": 3.0}),
    (T2A, {"prompt": "rain", "duration": 2.9}),
    (T2A, {"prompt": "rain", "duration": 10.1}),
    (T2A, {"prompt": "rain", "duration": "5"}),
    (V2A, {}),
    (V2A, {"video_id": "1", "video_url": "https://host/v.mp4"}),
    (V2A, {"video_url": "ftp://host/v.mp4"}),
    (V2A, {"video_id": "nobody"}),
    (V2A, {"video_url": "https://host/v.mp4", "bgm_prompt": "x" * 201}),
    (V2A, {"video_url": "https://host/v.mp4", "sound_effect_prompt": "x" * 201}),
    (V2A, {"video_url": "https://host/v.mp4", "asmr_mode": "yes"}),
    (IMG, {}),
    (IMG, {"prompt": BIG}),
    (IMG, {"prompt": "a", "n": 0}),
    (IMG, {"prompt": "a", "n": 10}),
    (IMG, {"prompt": "a", "n": "2"}),
    (IMG, {"prompt": "a", "negative_prompt": "b", "image": URL}),
    (IMG, {"prompt": "a", "image": f"data:image/png;base64,{png()}"}),
    (IMG, {"prompt": "a", "image_reference": "hand"}),
    (IMG, {"prompt": "a", "image_fidelity": 1.1}),
    (IMG, {"prompt": "a", "human_fidelity": -0.1}),
    (IMG, {"prompt": "a", "resolution": "4k"}),
    (IMG, {"prompt": "a", "aspect_ratio": "auto"}),
    (IMG, {"prompt": "a", "element_list": [{}]}),
    (OMNI, {}),
    (OMNI, {"prompt": "a", "n": 10}),
    (OMNI, {"prompt": "a", "aspect_ratio": "5:4"}),
    (OMNI, {"prompt": "a", "resolution": "8k"}),
    (OMNI, {"prompt": "a", "result_type": "many"}),
    (OMNI, {"prompt": "a", "result_type": "series", "series_amount": 1}),
    (OMNI, {"prompt": "a", "result_type": "series", "series_amount": "ten"}),
    (OMNI, {"prompt": "a", "image_list": [{"image_url": URL}]}),
    (OMNI, {"prompt": "a", "image_list": [{"image": URL}] * 6, "element_list": [{"element_id": 1}] * 5}),
    (MULTI, {"prompt": "a"}),
    (MULTI, {"subject_image_list": [{}]}),
    (MULTI, {"subject_image_list": [{"subject_image": URL}] * 5}),
    (MULTI, SUBJECTS | {"n": 10}),
    (MULTI, SUBJECTS | {"scene_image": "?"}),
    (EXPAND, SIDES),
    (EXPAND, {"image": URL, **SIDES, "up_expansion_ratio": None}),
    (EXPAND, {"image": URL, **SIDES, "left_expansion_ratio": 2.1}),
    (EXPAND, {"image": URL, **SIDES, "left_expansion_ratio": 1.5, "up_expansion_ratio": 0.5}),
    (TRY_ON, {"cloth_image": URL}),
    (SHOT, {}),
]


@pytest.mark.parametrize(("path", "body"), REFUSED)
def test_refused_bodies(path: str, body: dict[str, Any]) -> None:
    """What breaks a printed limit is a 1201 with a sentence, and makes nothing."""

    async def story(kling: Caller) -> None:
        refused = await kling.post(path, body)
        assert (refused.status, refused.json["code"]) == (400, 1201), refused.raw
        assert refused.json["message"]
        assert kling.emulator.tasks == []

    play(story, dialect="official")


TAKEN: list[tuple[str, dict[str, Any], float]] = [
    (TTS, SPEECH | {"voice_language": "en", "voice_speed": 1.3}, 0.05),
    (T2A, {"prompt": "rain", "duration": 10}, 0.25),
    (V2A, {"video_url": "https://host/v.mp4", "asmr_mode": True, "bgm_prompt": "piano"}, 0.25),
    (IMG, {"prompt": "a", "n": 9, "resolution": "2k", "aspect_ratio": "21:9", "element_list": []}, 72.0),
    (IMG, {"prompt": "a", "negative_prompt": "b", "model_name": "kling-v2-1"}, 4.0),
    (
        IMG,
        {
            "prompt": "a",
            "model_name": "kling-v2-1",
            "image": png(),
            "image_reference": "face",
            "image_fidelity": 0.5,
            "human_fidelity": 0.45,
        },
        8.0,
    ),
    (IMG, {"prompt": "a", "model_name": "kling-v1"}, 1.0),
    (OMNI, {"prompt": "a", "resolution": "4k"}, 16.0),
    (OMNI, {"prompt": "a", "result_type": "series", "n": 99}, 32.0),
    (OMNI, {"prompt": "a", "series_amount": 99, "n": 2, "image_list": [{"image": URL}] * 10}, 16.0),
    (MULTI, SUBJECTS | {"n": 2, "scene_image": URL, "style_image": URL}, 32.0),
    (EXPAND, {"image": URL, **SIDES, "left_expansion_ratio": 2, "n": 3}, 24.0),
    (TRY_ON, {"human_image": URL, "model_name": "kolors-virtual-try-on-v1-5"}, 1.0),
    (SHOT, {"element_frontal_image": URL}, 20.0),
]


@pytest.mark.parametrize(("path", "body", "units"), TAKEN)
def test_taken_bodies_and_their_prices(path: str, body: dict[str, Any], units: float) -> None:
    async def story(kling: Caller) -> None:
        created = await kling.post(path, body)
        assert created.status == 200, created.raw
        kling.hand.at = 11
        assert kling.emulator.spent == pytest.approx(units)

    play(story, dialect="official")


def test_speech_is_finished_in_the_reply() -> None:
    """Text to speech answers with the file itself; nothing of it can be asked for later."""

    async def story(kling: Caller) -> None:
        created = await kling.post(TTS, SPEECH | {"external_task_id": "e", "callback_url": "https://me"})
        data = created.data
        (audio,) = data["task_result"]["audios"]
        assert data["task_status"] == "succeed"
        assert set(audio) == {"id", "url", "duration"}
        assert data["task_info"] == {}
        assert data["created_at"] == data["updated_at"] == EPOCH_MS
        file = await kling.get(audio["url"], key=None)
        assert (file.status, file.headers["Content-Type"]) == (200, "audio/mpeg")
        assert file.raw.count(b"\xff\xfb\x14\xc0") * MP3_FRAME_S == pytest.approx(float(audio["duration"]))
        for path in (f"{TTS}/{data['task_id']}", f"{TTS}/e", TTS):
            assert (await kling.get(path)).json["code"] == 1202
        assert (kling.emulator.tasks[0].external_id, kling.emulator.tasks[0].slots) == ("", 0)
        # The id is not burnt either.
        assert (await kling.post(TTS, SPEECH | {"external_task_id": "e"})).status == 200
        long = (await kling.post(TTS, SPEECH | {"text": "x" * 600, "voice_speed": 2.0})).data
        assert 20 <= float(long["task_result"]["audios"][0]["duration"]) < 20.2

    play(story, dialect="official", slots=0)


def test_text_to_audio() -> None:
    """One sound in two formats, each exactly as long as told."""

    async def story(kling: Caller) -> None:
        row = await ended(kling, T2A, prompt="rain", duration=4.5, external_task_id="e")
        (audio,) = row["task_result"]["audios"]
        assert set(audio) == {"id", "url_mp3", "url_wav", "duration_mp3", "duration_wav"}
        first, second = [await kling.get(audio[name], key=None) for name in ("url_mp3", "url_wav")]
        assert first.headers["Content-Type"] == "audio/mpeg"
        assert second.headers["Content-Type"] == "audio/wav"
        with wave.open(io.BytesIO(second.raw)) as sound:
            assert sound.getnframes() / sound.getframerate() == pytest.approx(float(audio["duration_wav"]), abs=1e-3)
        assert float(audio["duration_mp3"]) >= float(audio["duration_wav"]) >= 4.5
        assert (await kling.get(f"{T2A}/e")).data["task_id"] == row["task_id"]
        assert [one["task_id"] for one in (await kling.get(T2A)).data] == [row["task_id"]]
        assert row["final_balance_deduction"]["quota"] == "0.035"

    play(story, dialect="official")


def test_video_to_audio() -> None:
    """The video comes back with its sound, and the sound alone; the task names its parent."""

    async def story(kling: Caller) -> None:
        parent = await ended(kling, "/v1/videos/text2video", prompt="a", duration="10", aspect_ratio="9:16")
        video = parent["task_result"]["videos"][0]
        row = await ended(kling, V2A, video_id=video["id"], bgm_prompt="piano")
        assert row["task_info"]["parent_video"]["id"] == video["id"]
        assert row["task_info"]["parent_video"]["url"].startswith(kling.emulator.url)
        assert set(row["task_result"]) == {"videos", "audios"}
        made, sound = row["task_result"]["videos"][0], row["task_result"]["audios"][0]
        assert float(made["duration"]) == pytest.approx(float(video["duration"]), abs=0.2)
        assert made["id"] != sound["id"]
        for url, kind in ((made["url"], "video/mp4"), (sound["url_wav"], "audio/wav")):
            assert (await kling.get(url, key=None)).headers["Content-Type"] == kind
        linked = await ended(kling, V2A, video_url="https://host/v.mp4?seconds=7.5")
        assert linked["task_info"]["parent_video"]["url"] == "https://host/v.mp4?seconds=7.5"
        assert linked["task_result"]["videos"][0]["duration"].startswith(("7.5", "7.6"))
        short = await ended(kling, V2A, video_url="https://host/v.mp4?seconds=2")
        assert (short["task_status"], short["task_status_msg"]) == ("failed", "Video duration is invalid")

    play(story, dialect="official")


def test_generations() -> None:
    """N pictures of the asked ratio, numbered; a watermark is a second file."""

    async def story(kling: Caller) -> None:
        row = await ended(
            kling, IMG, prompt="a", n=3, aspect_ratio="3:4", resolution="2k", watermark_info={"enabled": True}
        )
        images = row["task_result"]["images"]
        assert [image["index"] for image in images] == [0, 1, 2]
        files = [await kling.get(image[name], key=None) for image in images for name in ("url", "watermark_url")]
        assert {file.headers["Content-Type"] for file in files} == {"image/png"}
        assert len({file.raw for file in files}) == len({file.headers["ETag"] for file in files}) == 6
        picture = look(files[0].raw)
        assert picture.width * 4 == picture.height * 3
        (plain,) = (await ended(kling, IMG, prompt="a"))["task_result"]["images"]
        assert set(plain) == {"index", "url"}
        small = look((await kling.get(plain["url"], key=None)).raw)
        assert small.width * 9 == small.height * 16
        assert picture.height > small.height

    play(story, dialect="official")


def test_picture_files_are_served_like_clips() -> None:
    """In parts, by validator, and not after their time."""

    async def story(kling: Caller) -> None:
        url = (await ended(kling, IMG, prompt="a"))["task_result"]["images"][0]["url"]
        whole = await kling.get(url, key=None)
        part = await kling.get(url, key=None, headers={"Range": "bytes=1-3"})
        assert (part.status, part.raw) == (206, b"PNG")
        same = await kling.get(url, key=None, headers={"If-None-Match": whole.headers["ETag"]})
        assert same.status == 304
        assert (await kling.get(url.replace(".png", ".mp4"), key=None)).status == 404
        assert (await kling.get(url.replace("-0.png", "-1.png"), key=None)).status == 404
        assert (await kling.get(url.replace("-0.png", "-0-wm.png"), key=None)).status == 403
        assert (await kling.get(url.replace("-0.png", "-x.png"), key=None)).status == 404
        kling.hand.at += 60
        assert (await kling.get(url, key=None)).status == 403

    play(story, dialect="official", url_ttl_s=60.0)


def test_sounds_have_no_watermark() -> None:
    async def story(kling: Caller) -> None:
        audio = (await ended(kling, T2A, prompt="a", duration=3))["task_result"]["audios"][0]
        assert (await kling.get(audio["url_mp3"].replace("-0.mp3", "-0-wm.mp3"), key=None)).status == 404

    play(story, dialect="official")


def test_omni_image() -> None:
    """Single pictures and a series come in lists of their own; the number of an automatic series is the service's."""

    async def story(kling: Caller) -> None:
        single = (await ended(kling, OMNI, prompt="a", n=2))["task_result"]
        assert (single["result_type"], len(single["images"]), single["series_images"]) == ("single", 2, [])
        series = (await ended(kling, OMNI, prompt="a", result_type="series"))["task_result"]
        assert (series["result_type"], len(series["series_images"]), series["images"]) == ("series", 4, [])
        assert (await kling.get(series["series_images"][3]["url"], key=None)).status == 200
        six = (await ended(kling, OMNI, prompt="a", result_type="series", series_amount="6"))["task_result"]
        assert len(six["series_images"]) == 6
        auto = [
            len((await ended(kling, OMNI, prompt="a", result_type="series", series_amount="auto"))["task_result"][name])
            for name in ("series_images",) * 8
        ]
        assert len(set(auto)) > 1
        assert set(auto) <= set(range(2, 10))
        assert [task.slots for task in kling.emulator.tasks[3:]] == auto
        shaped = await ended(kling, OMNI, prompt="a", image_list=[{"image": jpeg(400, 600)}], aspect_ratio="auto")
        picture = look((await kling.get(shaped["task_result"]["images"][0]["url"], key=None)).raw)
        assert picture.width * 3 == picture.height * 2

    play(story, dialect="official")


def test_expanded_pictures_have_the_new_ratio() -> None:
    async def story(kling: Caller) -> None:
        row = await ended(
            kling, EXPAND, image=png(400, 400), **SIDES | {"left_expansion_ratio": 0.5, "right_expansion_ratio": 0.5}
        )
        picture = look((await kling.get(row["task_result"]["images"][0]["url"], key=None)).raw)
        assert picture.width == picture.height * 2

    play(story, dialect="official")


def test_try_on_and_views() -> None:
    """A try-on takes a slot of its own pack; views of an element are three addresses in one entry."""

    async def story(kling: Caller) -> None:
        row = await ended(kling, TRY_ON, human_image=jpeg(400, 600), cloth_image=URL)
        assert row["final_balance_deduction"]["quota"] == "0.07"
        picture = look((await kling.get(row["task_result"]["images"][0]["url"], key=None)).raw)
        assert picture.width * 3 == picture.height * 2
        doubled = await kling.get(f"/v1/images//kolors-virtual-try-on/{row['task_id']}")
        assert doubled.status == 200
        await kling.post(TRY_ON, {"human_image": URL})
        assert (await kling.post(TRY_ON, {"human_image": URL})).json["code"] == 1303
        shot = await ended(kling, SHOT, element_frontal_image=URL, external_task_id="e")
        (views,) = shot["task_result"]["images"]
        assert list(views) == ["index", "url_1", "url_2", "url_3"]
        assert len({(await kling.get(views[f"url_{at}"], key=None)).raw for at in (1, 2, 3)}) == 3
        assert (await kling.get(f"{SHOT}/e")).status == 400
        assert len((await kling.get(SHOT)).data) == 1

    play(story, dialect="official", slots={"try_on": 1})


def test_small_pictures_fail_early() -> None:
    async def story(kling: Caller) -> None:
        for path, body in (
            (IMG, {"prompt": "a", "image": png(200, 200)}),
            (MULTI, SUBJECTS | {"style_image": png(200, 200)}),
            (OMNI, {"prompt": "a", "image_list": [{"image": png(1000, 300)}]}),
        ):
            row = await ended(kling, path, **body)
            assert (row["task_status"], row["task_status_msg"]) == ("failed", "Image pixel is invalid")
            assert (row["task_result"], row["final_unit_deduction"]) == ({}, "0")

    play(story, dialect="official")


def test_pictures_take_as_many_slots_as_they_are() -> None:
    """N slots for n pictures; more than the whole account has can never run."""

    async def story(kling: Caller) -> None:
        assert (await kling.post(IMG, {"prompt": "a", "n": 5})).json["code"] == 1303
        await kling.post(IMG, {"prompt": "a", "n": 3})
        assert (await kling.post(IMG, {"prompt": "a", "n": 2})).json["code"] == 1303
        assert (await kling.post(IMG, {"prompt": "a", "n": 1})).status == 200
        assert (await kling.post(OMNI, {"prompt": "a", "result_type": "series"})).status == 200
        assert [task.slots for task in kling.emulator.tasks] == [3, 1, 4]

    play(story, dialect="official", slots=4)


def test_pack_of_images_runs_out_by_itself() -> None:
    """Each pack is its own; failed pictures are not billed."""

    async def story(kling: Caller) -> None:
        await kling.post(IMG, {"prompt": "[fail]", "n": 2})
        await kling.post(IMG, {"prompt": "a", "n": 2})
        empty = await kling.post(IMG, {"prompt": "a"})
        assert (empty.status, empty.json["code"]) == (429, 1102)
        assert (await kling.post(TTS, SPEECH)).status == 200
        kling.hand.at = 11
        assert kling.emulator.spent == pytest.approx(16.05)

    play(story, dialect="official", units={"image": 20.0})


def test_new_standard_tells_legacy_tasks_behind_a_switch() -> None:
    """Seen through `/tasks`, each kind of result has an output of its own."""

    async def story(kling: Caller) -> None:
        ids = []
        for path, body in (
            (IMG, {"prompt": "a", "watermark_info": {"enabled": True}}),
            (T2A, {"prompt": "a", "duration": 3}),
            (V2A, {"video_url": "https://host/v.mp4"}),
            (OMNI, {"prompt": "a", "result_type": "series", "series_amount": 2}),
            (SHOT, {"element_frontal_image": URL}),
            (TRY_ON, {"human_image": URL}),
        ):
            ids.append((await kling.post(path, body)).data["task_id"])
        kling.hand.at = 11
        assert (await kling.get(f"/tasks?task_ids={','.join(ids)}")).data == []
        kling.emulator.batch_sees_legacy = True
        rows = (await kling.get(f"/tasks?task_ids={','.join(ids)}")).data
        outputs = [[set(output) for output in row["outputs"]] for row in rows]
        sound = {"type", "id", "mp3_url", "wav_url", "mp3_duration", "wav_duration"}
        assert outputs == [
            [{"type", "url", "watermark_url"}],
            [sound],
            [{"type", "id", "url", "duration"}, sound],
            [{"type", "url", "group_id"}] * 2,
            [{"type", "url", "group_id"}] * 3,
            [{"type", "url"}],
        ]
        assert rows[0]["billing"] == [{"charge_type": "unit", "amount": "8", "package_type": "image"}]
        filters = [{"key": "product_type", "values": ["try_on"]}]
        (tried,) = (await kling.post("/tasks", {"filters": filters})).data["result"]
        assert tried["id"] == ids[-1]

    play(story, dialect="official")


@pytest.mark.parametrize("dialect", ["cometapi", "new-api", "new-api-old", "crazyrouter", "flat", "mixed"])
def test_gateways_wrap_what_is_inside(dialect: str) -> None:
    """A gateway hands the task's result on inside of its own form, or only its first address."""

    async def story(kling: Caller) -> None:
        created = (await kling.post(OMNI, {"prompt": "a", "n": 2})).json
        ident = (created.get("data") or created)["task_id"]
        kling.hand.at = 31
        told = await kling.get(f"{OMNI}/{ident}")
        assert told.status == 200
        assert b".png?expires=" in told.raw
        if dialect not in ("crazyrouter", "flat"):
            assert b'"result_type":"single"' in told.raw
        speech = (await kling.post(TTS, SPEECH)).json
        assert speech["data"]["task_result"]["audios"][0]["url"]

    play(story, dialect=dialect)


def test_lenient_bodies() -> None:
    """Without validation anything makes a task, and never an error."""

    async def story(kling: Caller) -> None:
        for path in (IMG, OMNI, MULTI, EXPAND, TRY_ON, SHOT, T2A, V2A):
            for body in (
                {},
                {"n": "x", "image": "?", "duration": "x", "voice_speed": []},
                {"result_type": "series", "series_amount": [], "image_list": 5},
            ):
                assert (await kling.post(path, body)).status == 200, (path, body)
        kling.hand.at = 11
        for path in (IMG, OMNI, MULTI, EXPAND, TRY_ON, SHOT, T2A, V2A):
            assert len((await kling.get(path)).data) == 3
        assert (await kling.post(TTS, {"voice_speed": "fast"})).status == 200

    play(story, dialect="official", lenient=True)


def test_results_may_come_late() -> None:
    """Every kind of result can be missing from a task that has succeeded, but for those told at once."""

    async def story(kling: Caller) -> None:
        image = {"frontal_image": URL, "refer_images": [{"image_url": URL}]}
        element = {
            "element_name": "a",
            "element_description": "b",
            "reference_type": "image_refer",
            "element_image_list": image,
        }
        for path, body, late in (
            (IMG, {"prompt": "a"}, {"images": []}),
            (OMNI, {"prompt": "a"}, {"images": []}),
            (SHOT, {"element_frontal_image": URL}, {"images": []}),
            (V2A, {"video_url": "https://host/v.mp4"}, {"videos": [], "audios": []}),
            ("/v1/general/advanced-custom-elements", element, {"elements": []}),
            (
                "/v1/general/custom-voices",
                {"voice_name": "a", "voice_url": "https://host/v.mp3"},
                {"voices": []},
            ),
        ):
            row = await ended(kling, path, **body)
            assert (row["task_status"], row["task_result"]) == ("succeed", late)
            (told,) = (await kling.get(f"/tasks?task_ids={row['task_id']}")).data
            assert (told["status"], told["outputs"]) == ("succeeded", [])
            kling.hand.at += 30
            assert (await kling.get(f"{path}/{row['task_id']}")).data["task_result"] != late
        assert (await kling.post(TTS, SPEECH)).data["task_result"]["audios"]

    play(story, dialect="official", results_after_s=20.0, batch_sees_legacy=True)


@pytest.mark.parametrize("dialect", ["cometapi", "new-api", "official"])
def test_pictures_without_numbers(dialect: str) -> None:
    """Some gateways tell an empty id in place of the number, at any depth."""

    async def story(kling: Caller) -> None:
        created = (await kling.post(IMG, {"prompt": "a", "n": 2, "watermark_info": {"enabled": True}})).json
        ident = (created.get("data") or created)["task_id"]
        kling.hand.at = 31
        data = (await kling.get(f"{IMG}/{ident}")).data
        inner = data if dialect != "new-api" else data["data"]["data"]
        assert [set(image) for image in inner["task_result"]["images"]] == [{"id", "url", "watermark_url"}] * 2
        assert inner["task_result"]["images"][0]["id"] == ""

    play(story, dialect=dialect, images_with_id=True)


def test_speech_lends_its_sound_to_an_avatar() -> None:
    """The id of a sound made here is good where a sound is asked for."""

    async def story(kling: Caller) -> None:
        speech = (await kling.post(TTS, SPEECH | {"text": "x" * 60})).data["task_result"]["audios"][0]
        body = {"image": URL, "audio_id": speech["id"], "prompt": "she speaks"}
        avatar = await ended(kling, "/v1/videos/avatar/image2video", **body)
        video = avatar["task_result"]["videos"][0]
        voice = await kling.post("/v1/general/custom-voices", {"voice_name": "she", "video_id": video["id"]})
        assert voice.status == 200
        assert float(video["duration"]) == pytest.approx(4.1, abs=0.3)

    play(story, dialect="official")


async def test_pictures_and_sounds_on_virtual_time() -> None:
    """On the in-memory loop a picture of half a minute takes no time, and its file comes whole."""
    connector = aiohttp.UnixConnector("/virtual/emulator")
    async with (
        Emulator(dialect="official", unix_path="/virtual/emulator") as emulator,
        aiohttp.ClientSession(connector=connector, headers={"Authorization": "Bearer emulator-key"}) as http,
    ):
        async with http.post(f"http://localhost{IMG}", json={"prompt": "a"}) as response:
            task = (await response.json())["data"]
        await asyncio.sleep(600)
        assert emulator.tasks[0].status == "succeed"
        async with http.get(f"http://localhost{IMG}/{task['task_id']}") as response:
            (image,) = (await response.json())["data"]["task_result"]["images"]
        async with http.get(image["url"]) as response:
            assert look(await response.read()).kind == "png"
