"""Sounds: a voice that reads a text, a sound from words, the sound of a video.

Stage: registry and wire. Fields bear the service's own names and values; unset ones are not sent. Source of every
rule: service reference, "Text to Speech", "Text to Audio", "Video to Audio".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..dialects import Host
from .base import Advice, Endpoint, Task
from .required import exactly_one, is_given, require
from .rules import boolean, external_id, extra_fields, kept, number, one_of, optional, text, web_url

_words: Any = optional(text())
_prompt: Any = optional(text(200))


@attrs.frozen(kw_only=True)
class TextToSpeech(Task):
    """A text, read by one of the service's voices. Finished in the reply: there is no id to ask about it later.

    Attributes:
        text: at most 1000 characters; required.
        voice_id: a voice of the list for speech, which is not the list of `PresetVoices`; required.
        voice_language: zh or en, as the voice speaks; the service's default is zh.
        voice_speed: 0.8 to 2.0; the service rounds it to one decimal.
        extra: further fields for the body, by name.
    """

    text: str | None = attrs.field(default=None, validator=optional(text(1000)))
    voice_id: str | None = attrs.field(default=None, validator=_words)
    voice_language: str | None = attrs.field(default=None, validator=optional(one_of("zh", "en")))
    voice_speed: float | None = attrs.field(default=None, validator=optional(number(0.8, 2)))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "text", "voice_id")


@attrs.frozen(kw_only=True)
class TextToAudio(Task):
    """A sound from words.

    Attributes:
        prompt: at most 200 characters; required.
        duration: 3.0 to 10.0 seconds, a number with at most one decimal; required.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    prompt: str | None = attrs.field(default=None, validator=_prompt)
    # A JSON number on every host, unlike the duration of a clip.
    duration: float | None = attrs.field(default=None, validator=optional(number(3, 10)))
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "prompt", "duration")


@attrs.frozen(kw_only=True)
class VideoToAudio(Task):
    """Sound for a silent video: the video comes back with it, and the sound alone as well.

    Attributes:
        video_id: a video the service made in the last 30 days, 3 to 20 s; exactly one of video_id and video_url.
        video_url: mp4 or mov, 3 to 20 s, at most 100 MB.
        sound_effect_prompt: at most 200 characters.
        bgm_prompt: the music; at most 200 characters.
        asmr_mode: whether small sounds come out more clearly.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    video_id: str | None = attrs.field(default=None, validator=_words)
    video_url: str | None = attrs.field(default=None, validator=optional(web_url))
    sound_effect_prompt: str | None = attrs.field(default=None, validator=_prompt)
    bgm_prompt: str | None = attrs.field(default=None, validator=_prompt)
    asmr_mode: bool | None = attrs.field(default=None, validator=optional(boolean))
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        exactly_one(self, "video_id", "video_url")


def _advise_speech(request: TextToSpeech, _host: Host) -> Iterator[Advice]:
    # The reference marks it as required and prints a default as well.
    if not is_given(request, "voice_language"):
        yield Advice("voice_language", "voice_language is marked as required; left out it is zh")


def _advise_sound(request: TextToAudio, _host: Host) -> Iterator[Advice]:
    length = request.duration
    if length is not None and round(length, 1) != length:
        yield Advice("duration", f"duration {length:g} has more than one decimal")


ENDPOINTS = (
    Endpoint(
        name="tts",
        path="/v1/audio/tts",
        source="Text to Speech",
        request=TextToSpeech,
        yields="audio",
        pack="audio",
        kind="finished",
        has_list=False,
        by_external_id=False,
        advice=_advise_speech,
    ),
    Endpoint(
        name="text-to-audio",
        path="/v1/audio/text-to-audio",
        source="Text to Audio",
        request=TextToAudio,
        yields="audio",
        pack="audio",
        advice=_advise_sound,
    ),
    Endpoint(
        name="video-to-audio",
        path="/v1/audio/video-to-audio",
        source="Video to Audio",
        request=VideoToAudio,
        yields="video",
        pack="audio",
    ),
)
