"""People who speak: a picture made to talk, and the lips of a video moved to another sound.

Stage: registry and wire. Fields bear the service's own names and values; unset ones are not sent, so that its defaults
rule. Source of every rule, unless said otherwise: service reference, "Avatar", "Lip Sync", "Face Identification"; of
the old lip sync: the schema a partner of the service prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import attrs

from ..dialects import Host
from ..errors import InvalidRequest
from .answers import FaceIdentification
from .base import AUDIO, IMAGE, Advice, Call, Endpoint, Task, nested, nested_list
from .parts import Plain, WatermarkInfo, as_watermark
from .required import exactly_one, is_given, require
from .rules import Media, as_media, external_id, extra_fields, few, kept, media, number, one_of, optional, text, web_url

_LEAST_SOUND_MS = 2_000
_MOST_SOUND_MS = 60_000
_MOST_SPOKEN = 120
_DIGITS = re.compile(r"[0-9]{1,9}\Z")

_words: Any = optional(text())
_volume: Any = optional(number(0, 2))


def _milliseconds(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    is_text = isinstance(value, str) and _DIGITS.match(value)
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
    if not is_text and not is_number:
        raise InvalidRequest(field.name, value, "must be whole milliseconds, from 0")


# --- nested objects ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class LipSyncInput:
    """A video and what is to be said in it: a text to be read out, or a sound.

    Attributes:
        mode: text2video reads a text, audio2video takes a sound.
        video_id: a video of 5 or 10 s the service made in the last 30 days; exactly one of video_id and video_url.
        video_url: mp4 or mov, 2 to 10 s, sides of 720 to 1920 px, at most 100 MB.
        text: what is read; needed with text2video.
        voice_id: who reads it, of the list for speech; needed with text2video.
        voice_language: zh or en, as the voice speaks.
        voice_speed: 0.8 to 2.0.
        audio_type: file (needs audio_file) or url (needs audio_url); needed with audio2video.
        audio_file: Base64 or a local file: mp3 or wav, at most 5 MB.
        audio_url: the same at a URL.
    """

    mode: str = attrs.field(validator=text())
    video_id: str | None = attrs.field(default=None, validator=_words)
    video_url: str | None = attrs.field(default=None, validator=optional(web_url))
    text: str | None = attrs.field(default=None, validator=_words)
    voice_id: str | None = attrs.field(default=None, validator=_words)
    voice_language: str | None = attrs.field(default=None, validator=optional(one_of("zh", "en")))
    voice_speed: float | None = attrs.field(default=None, validator=optional(number(0.8, 2)))
    audio_type: str | None = attrs.field(default=None, validator=optional(one_of("file", "url")))
    audio_file: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=AUDIO)
    audio_url: str | None = attrs.field(default=None, validator=optional(web_url))

    def __attrs_post_init__(self) -> None:
        exactly_one(self, "video_id", "video_url")
        needed: tuple[str, ...] = ()
        if self.mode == "text2video":
            needed = ("text", "voice_id")
        elif self.mode == "audio2video":
            needed = ("audio_type", f"audio_{self.audio_type}")
        for name in needed:
            if getattr(self, name) is None:
                raise InvalidRequest(name, None, f'is required with mode="{self.mode}"')


@attrs.frozen(kw_only=True)
class FaceChoose:
    """A face and what it says, from when to when. Source: service reference, "Lip Sync".

    Attributes:
        face_id: of `FaceIdentification.face_data`.
        sound_start_time: where the sound is cut, milliseconds, an integer or (as CometAPI shows it) its digits as text.
        sound_end_time: where it ends, milliseconds; 2 s after its start at least.
        sound_insert_time: where it begins in the video, milliseconds; it has to lie in the video, and for 2 s at least
            where the face is seen.
        audio_id: a sound the service made in the last 30 days; exactly one of audio_id and sound_file.
        sound_file: URL, Base64 or a local file: mp3 or wav, 2 to 60 s, at most 5 MB.
        sound_volume: 0 to 2; the service's default is 1.
        original_audio_volume: 0 to 2, of the video's own sound; the service's default is 1.
    """

    face_id: str = attrs.field(validator=text())
    sound_start_time: int | str = attrs.field(validator=_milliseconds)
    sound_end_time: int | str = attrs.field(validator=_milliseconds)
    sound_insert_time: int | str = attrs.field(validator=_milliseconds)
    audio_id: str | None = attrs.field(default=None, validator=_words)
    sound_file: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=AUDIO)
    sound_volume: float | None = attrs.field(default=None, validator=_volume)
    original_audio_volume: float | None = attrs.field(default=None, validator=_volume)

    def __attrs_post_init__(self) -> None:
        exactly_one(self, "audio_id", "sound_file")
        if int(self.sound_end_time) - int(self.sound_start_time) < _LEAST_SOUND_MS:
            told = f"must be {_LEAST_SOUND_MS} ms after sound_start_time at least"
            raise InvalidRequest("sound_end_time", self.sound_end_time, told)


def _as_input(value: LipSyncInput | Plain | None) -> LipSyncInput | None:
    return nested(LipSyncInput, "input", value)


def _as_faces(value: Iterable[FaceChoose | Plain] | None) -> tuple[FaceChoose, ...] | None:
    return nested_list(FaceChoose, "face_choose", value)


# --- requests ------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Avatar(Task):
    """A picture of somebody who says a recorded sound.

    Attributes:
        image: URL, Base64 or a local file; required.
        audio_id: a sound the service made in the last 30 days, 2 to 300 s; exactly one of audio_id and sound_file.
        sound_file: URL, Base64 or a local file: mp3 or wav, 2 to 300 s (2 to 60 s on CometAPI), at most 5 MB.
        prompt: gestures, mood and camera; at most 2500 characters.
        mode: std (the service's default) or pro.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    audio_id: str | None = attrs.field(default=None, validator=_words)
    sound_file: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=AUDIO)
    prompt: str | None = attrs.field(default=None, validator=optional(text(2500)))
    mode: str | None = attrs.field(default=None, validator=_words)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "image")
        exactly_one(self, "audio_id", "sound_file")


@attrs.frozen(kw_only=True)
class LipSync(Task):
    """The lips of a video, moved to a text or a sound. The older way; `AdvancedLipSync` can choose the face.

    Attributes:
        input: the video and what is said; required.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    input: LipSyncInput | None = attrs.field(default=None, converter=_as_input)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "input")


@attrs.frozen(kw_only=True)
class AdvancedLipSync(Task):
    """The lips of one face of a video, moved to a sound. `IdentifyFace` finds the faces first.

    Attributes:
        session_id: of `FaceIdentification`, at most 24 hours old; required.
        face_choose: the face and its sound; exactly one so far; required.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    session_id: str | None = attrs.field(default=None, validator=_words)
    face_choose: tuple[FaceChoose, ...] | None = attrs.field(
        default=None, converter=_as_faces, validator=optional(few(1))
    )
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "session_id", "face_choose")


@attrs.frozen(kw_only=True)
class IdentifyFace(Call[FaceIdentification]):
    """Find the faces of a video: answers at once, and costs a little.

    Attributes:
        video_id: a video the service made in the last 30 days, at most 60 s; exactly one of video_id and video_url.
        video_url: mp4 or mov, 2 to 60 s, 720p or 1080p, sides of 512 to 2160 px, at most 100 MB.
        extra: further fields for the body, by name.
    """

    video_id: str | None = attrs.field(default=None, validator=_words)
    video_url: str | None = attrs.field(default=None, validator=optional(web_url))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        exactly_one(self, "video_id", "video_url")


# --- advice --------------------------------------------------------------------------------------------------------


def _advise_sound(name: str, sound: Media | None) -> Iterator[Advice]:
    if isinstance(sound, Path):
        suffix = sound.suffix
    elif sound is not None and sound.startswith(("http://", "https://")):
        suffix = PurePosixPath(urlsplit(sound).path).suffix
    else:
        return
    if suffix.lower() in {".m4a", ".aac"}:
        # Documented, and refused as "Audio format is invalid" (1201) where people tried.
        yield Advice(name, f"{suffix} is documented, and in practice rejected with 1201; mp3 and wav are taken")


def _advise_avatar(request: Avatar, host: Host) -> Iterator[Advice]:
    yield from _advise_sound("sound_file", request.sound_file)
    if host.family == "cometapi" and not is_given(request, "prompt"):
        yield Advice("prompt", "this host says that an avatar's prompt is required")
    if request.mode is not None and request.mode not in {"std", "pro"}:
        yield Advice("mode", f"avatar has no mode {request.mode}")


def _advise_old(request: LipSync, _host: Host) -> Iterator[Advice]:
    given = request.input
    if given is None:
        return
    yield from _advise_sound("input.audio_file", given.audio_file)
    yield from _advise_sound("input.audio_url", given.audio_url)
    if given.mode not in {"text2video", "audio2video"}:
        yield Advice("input.mode", f"lip-sync has no mode {given.mode}")
    if given.text is not None and len(given.text) > _MOST_SPOKEN:
        told = f"text has {len(given.text)} characters; a partner of the service prints a limit of {_MOST_SPOKEN}"
        yield Advice("input.text", told)


def _advise_faces(request: AdvancedLipSync, _host: Host) -> Iterator[Advice]:
    for face in request.face_choose or ():
        yield from _advise_sound("face_choose.sound_file", face.sound_file)
        if int(face.sound_end_time) > _MOST_SOUND_MS:
            told = f"sound_end_time {face.sound_end_time} lies behind the end of the longest sound, 60 s"
            yield Advice("face_choose.sound_end_time", told)


ENDPOINTS = (
    Endpoint(
        name="avatar",
        path="/v1/videos/avatar/image2video",
        source="Avatar",
        request=Avatar,
        yields="video",
        pack="video",
        advice=_advise_avatar,
    ),
    Endpoint(
        name="lip-sync",
        path="/v1/videos/lip-sync",
        source="Lip Sync",
        request=LipSync,
        yields="video",
        pack="video",
        advice=_advise_old,
    ),
    Endpoint(
        name="advanced-lip-sync",
        path="/v1/videos/advanced-lip-sync",
        source="Lip Sync",
        request=AdvancedLipSync,
        yields="video",
        pack="video",
        by_external_id=False,
        advice=_advise_faces,
    ),
    Endpoint(
        name="identify-face",
        path="/v1/videos/identify-face",
        source="Face Identification",
        request=IdentifyFace,
        kind="call",
        answer=FaceIdentification,
        has_list=False,
        by_external_id=False,
    ),
)
