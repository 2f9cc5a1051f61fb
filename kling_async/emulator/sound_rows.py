"""Rows of the legacy standard that make sounds.

Place: part of the endpoint table. Source for every limit: service reference, "Legacy create endpoints: audio, image,
general".
"""

from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from .checks import Body, Field, Order, dig, text
from .media_orders import CALLER, number, ordered
from .media_results import audio_result
from .rows import Row
from .sources import Limits, exactly_one, parent_of, video_of

if TYPE_CHECKING:
    from .service import Service

SOUND_CHARACTERS = 200
SPEECH_CHARACTERS = 1000

# Mean time of making a sound in seconds; assumed.
_MEAN_S = 30.0

# Characters that a voice speaks in a second at speed 1.0; assumed.
_CHARACTERS_PER_S = 15.0

# What video gets a sound: 3 to 20 s, 100 MB.
_SOUNDED = Limits(seconds=((3.0, 20.0),), megabytes=100)

# Units by the piece. Source: service reference, "Price".
_SPEECH_UNITS, _SOUND_UNITS = Decimal("0.05"), Decimal("0.25")


def _read_speech(row: Row, body: Body) -> Order:
    # Finished in the reply, so there is nothing to find again: ids and callbacks are not read.
    speed = number(dig(body, "voice_speed"), 1.0)
    seconds = len(text(body, "text")) / (_CHARACTERS_PER_S * max(0.1, speed))
    return Order(model=row.model, prompt=text(body, "text"), seconds=round(max(1.0, seconds), 3))


def _read_sound(row: Row, body: Body) -> Order:
    return ordered(row, body, model=row.model, seconds=number(dig(body, "duration"), 3.0), watermark=False)


def _read_video_sound(row: Row, body: Body) -> Order:
    prompt = f"{text(body, 'sound_effect_prompt')} {text(body, 'bgm_prompt')}".strip()
    return ordered(row, body, model=row.model, prompt=prompt, seconds=5.0, watermark=False)


def _check_source(body: Body) -> None:
    exactly_one(body, "video_id", "video_url")


def _bind_video_sound(service: "Service", order: Order, body: Body, now: float) -> Order:
    film = video_of(service, body, now)
    facts = {"parent_video": parent_of(service, film, now)}
    ratio = film.task.ratio if film.task is not None else None
    return attrs.evolve(order, seconds=film.length_s, ratio=ratio, facts=facts, defect=_SOUNDED.flaw(film))


SOUND_ROWS: tuple[Row, ...] = (
    Row(
        name="tts",
        path="/v1/audio/tts",
        model="tts",
        pack="audio",
        result="audios",
        fields=(
            Field("text", "text", required=True, longest=SPEECH_CHARACTERS),
            Field("voice_id", "id", required=True),
            Field("voice_language", "text", choices=("zh", "en")),
            Field("voice_speed", "number", low=0.8, high=2.0),
        ),
        read=_read_speech,
        tell=audio_result,
        price=lambda _: _SPEECH_UNITS,
        has_list=False,
        has_external_lookup=False,
        finished_at_once=True,
    ),
    Row(
        name="text-to-audio",
        path="/v1/audio/text-to-audio",
        model="text-to-audio",
        pack="audio",
        result="audios",
        fields=(
            *CALLER,
            Field("prompt", "text", required=True, longest=SOUND_CHARACTERS),
            Field("duration", "number", required=True, low=3.0, high=10.0),
        ),
        read=_read_sound,
        price=lambda _: _SOUND_UNITS,
        mean_s=_MEAN_S,
    ),
    Row(
        name="video-to-audio",
        path="/v1/audio/video-to-audio",
        model="video-to-audio",
        pack="audio",
        result=("videos", "audios"),
        fields=(
            *CALLER,
            Field("video_id", "id"),
            Field("video_url", "text"),
            Field("sound_effect_prompt", "text", longest=SOUND_CHARACTERS),
            Field("bgm_prompt", "text", longest=SOUND_CHARACTERS),
            Field("asmr_mode", "flag"),
        ),
        rules=(_check_source,),
        read=_read_video_sound,
        bind=_bind_video_sound,
        price=lambda _: _SOUND_UNITS,
        mean_s=_MEAN_S,
    ),
)
