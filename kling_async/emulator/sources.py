"""Videos and sounds that a request brings: made here, linked from elsewhere, or inline.

Place: beside images. The emulator fetches nothing. Of its own files it knows everything; of others what their
address says in its query: `https://host/v.mp4?seconds=7.5&width=1280&height=720&fps=30&mb=20&faces=2`. What is not
said is unknown, and breaks no limit.
"""

import math
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import attrs

from .assets import PREFIX
from .checks import Body, dig, text, wrong
from .clips import record
from .images import decode_base64, is_url
from .refusals import invalid
from .tasks import Task

if TYPE_CHECKING:
    from .service import Service

# Age in seconds up to which a made video or sound can be used. Source: service reference, "Other legacy video
# endpoints" (30 days, everywhere).
YOUNGER_THAN_S = 30 * 86_400.0

# Largest sound in bytes, and the endings of those that are taken. Source: service reference, "Rules shared by many
# endpoints"; m4a and aac are documented and yet refused.
SOUND_BYTES = 5 * 1024 * 1024
_SOUNDS = ("mp3", "wav")
_DOCUMENTED_SOUNDS = ("m4a", "aac")
_FILMS = ("mp4", "mov")

# Endings of other media that no endpoint takes; an address without one of these says nothing about its format.
_OTHERS = frozenset({"avi", "mkv", "webm", "flv", "wmv", "gif", "jpg", "jpeg", "png", "ogg", "flac"})

# What is assumed of a video or a sound whose length nobody knows, in seconds.
ASSUMED_S = 5.0


@attrs.frozen(kw_only=True)
class Medium:
    """A video or a sound as far as it is known: None and 0 are unknown.

    `task` made it, when one of ours did; `url` is where it came from, "" when inline or named by an id.
    """

    seconds: float | None = None
    width: int = 0
    height: int = 0
    fps: float = 0.0
    megabytes: float = 0.0
    ending: str = ""
    faces: int = 1
    task: Task | None = None
    ident: str = ""
    url: str = ""

    @property
    def length_s(self) -> float:
        """Seconds, assumed when unknown."""
        return ASSUMED_S if self.seconds is None else self.seconds


@attrs.frozen(kw_only=True)
class Limits:
    """What a video may be: seconds in one of the stretches, both sides in pixels, frames per second, megabytes."""

    seconds: tuple[tuple[float, float], ...] = ()
    sides: tuple[int, int] | None = None
    area: int | None = None
    ratio: tuple[float, float] | None = None
    fps: tuple[float, ...] = ()  # the only ones; two of them with `fps_range` are bounds
    fps_range: bool = False
    megabytes: float | None = None

    def flaw(self, film: Medium) -> str:
        """What is wrong with a video, in a sentence; "" when nothing is."""
        if film.ending in _OTHERS:
            return "Video format is invalid"
        if film.seconds is not None and self.seconds and not _within(film.seconds, self.seconds):
            return "Video duration is invalid"
        if self._is_misshapen(film):
            return "Video pixel is invalid"
        if film.fps and self.fps and not self._has_speed(film.fps):
            return "Video frame rate is invalid"
        if self.megabytes is not None and film.megabytes > self.megabytes:
            return "Video size is invalid"
        return ""

    def _is_misshapen(self, film: Medium) -> bool:
        if not film.width or not film.height:
            return False
        sides = self.sides or (0, 1 << 30)
        if not all(sides[0] <= side <= sides[1] for side in (film.width, film.height)):
            return True
        if self.area is not None and film.width * film.height > self.area:
            return True
        low, high = self.ratio or (0.0, float("inf"))
        return not low <= film.width / film.height <= high

    def _has_speed(self, fps: float) -> bool:
        return self.fps[0] <= fps <= self.fps[-1] if self.fps_range else fps in self.fps


def linked(service: "Service", url: str) -> Medium:
    """What is known of the file at an address."""
    parts = urlsplit(url)
    ending = parts.path.rpartition(".")[2].lower()
    if parts.path.startswith(PREFIX):
        name = parts.path[len(PREFIX) :]
        found = service.maker_of(name)
        if found is not None:
            ident = name.partition(".")[0].removesuffix("-wm")
            return attrs.evolve(_made(service, found, ident), url=url, ending=ending)
    said = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return Medium(
        seconds=_number(said, "seconds"),
        width=int(_number(said, "width") or 0),
        height=int(_number(said, "height") or 0),
        fps=_number(said, "fps") or 0.0,
        megabytes=_number(said, "mb") or 0.0,
        faces=int(1 if (faces := _number(said, "faces")) is None else faces),
        ending=ending,
        url=url,
    )


def made_video(service: "Service", ident: str, now: float, name: str = "video_id") -> Medium:
    """A video of the account by its id.

    Raises:
        Refusal: 1201, nobody made it, or it is older than 30 days.
    """
    return _by_id(service, ident, "mp4", now, name)


def made_sound(service: "Service", ident: str, now: float, name: str = "audio_id") -> Medium:
    """A sound of the account by its id; refused like a video."""
    return _by_id(service, ident, "mp3", now, name)


def check_video(body: Body) -> None:
    """Refuse a body that names no video, or two."""
    exactly_one(body, "video_id", "video_url")


def video_of(service: "Service", body: Body, now: float, inside: str = "") -> Medium:
    """The video of a body that brings exactly one of `video_id` and `video_url`, checked by `exactly_one` before."""
    ident, url = dig(body, f"{inside}video_id"), text(body, f"{inside}video_url")
    return made_video(service, str(ident), now) if ident else linked(service, url)


def sound_of(service: "Service", body: Body, now: float) -> Medium:
    """The sound of a body that brings exactly one of `audio_id` and `sound_file`."""
    ident = body.get("audio_id")
    return made_sound(service, str(ident), now) if ident else sound("sound_file", text(body, "sound_file"), service)


def sound(name: str, value: str, service: "Service") -> Medium:
    """An inline or linked sound.

    Raises:
        Refusal: 1201 for what is no sound, for another format, for more than 5 MB.
    """
    if is_url(value):
        medium = linked(service, value)
    else:
        content = decode_base64(name, value, "legacy")
        medium = Medium(
            seconds=_wav_seconds(content), megabytes=len(content) / (1024 * 1024), ending=_sound_ending(content)
        )
    taken = (*_SOUNDS, *_DOCUMENTED_SOUNDS) if service.settings.takes_m4a else _SOUNDS
    if medium.ending in _OTHERS or (medium.ending in _DOCUMENTED_SOUNDS and medium.ending not in taken):
        raise invalid("Audio format is invalid")
    if medium.megabytes * 1024 * 1024 > SOUND_BYTES:
        raise invalid(f"{name} is larger than {SOUND_BYTES >> 20} MB")
    return medium


def exactly_one(body: Body, first: str, second: str) -> None:
    """Refuse a body that brings neither or both; the one that is a URL must look like one."""
    given = [name for name in (first, second) if dig(body, name) not in (None, "")]
    if len(given) != 1:
        raise invalid(f"exactly one of {first} and {second} is required")
    if given[0].endswith("url") and not is_url(str(dig(body, given[0]))):
        raise wrong(given[0], dig(body, given[0]))


def parent_of(service: "Service", film: Medium, now: float) -> dict[str, str]:
    """The `parent_video` of a task's info."""
    url = film.url
    if film.task is not None and not url:
        url = next((view.url for view in service.views(film.task, now) if view.asset_id == film.ident), "")
    return {"id": film.ident, "url": url, "duration": f"{film.length_s:g}"}


def _by_id(service: "Service", ident: str, ending: str, now: float, name: str) -> Medium:
    task = service.maker_of(f"{ident}.{ending}")
    if task is None or task.status_at(now) != "succeed" or now >= task.created_at + YOUNGER_THAN_S:
        if service.settings.takes_foreign_ids or service.settings.lenient:
            return Medium(ident=ident, ending=ending)
        raise invalid(f"{name} '{ident[:60]}' not found or older than 30 days")
    return attrs.evolve(_made(service, task, ident), ident=ident, ending=ending)


def _made(service: "Service", task: Task, ident: str) -> Medium:
    # Told lengths are those of the files: a sound ends with a whole frame, several videos have lengths of their own.
    views = service.views(task, task.ended_at) if math.isfinite(task.ended_at) else ()
    told = next((float(view.seconds) for view in views if view.asset_id == ident), task.seconds)
    # The recordings are small; the true files have 720 pixels on the shorter side, 1080 in mode pro.
    recording = record(task.ratio)
    short = {"std": 720, "pro": 1080, "4k": 2160}.get(task.mode, 720)
    scale = short / min(recording.width, recording.height)
    return Medium(
        seconds=told,
        width=round(recording.width * scale),
        height=round(recording.height * scale),
        fps=24.0,
        task=task,
    )


def _number(said: Mapping[str, str], name: str) -> float | None:
    try:
        return float(said[name])
    except (KeyError, ValueError):
        return None


def _within(value: float, stretches: tuple[tuple[float, float], ...]) -> bool:
    # Results are up to a tenth of a second longer than asked, and are taken back all the same.
    return any(low <= value <= high + 0.1 for low, high in stretches)


def _sound_ending(content: bytes) -> str:
    if content.startswith(b"RIFF") and content[8:12] == b"WAVE":
        return "wav"
    if content[4:8] == b"ftyp":
        return "m4a"
    if content[:1] == b"\xff" and len(content) > 1 and content[1] & 0xF6 == 0xF0:
        return "aac"
    if content.startswith(b"ID3") or (content[:1] == b"\xff" and len(content) > 1 and content[1] & 0xE0 == 0xE0):
        return "mp3"
    raise invalid("Audio format is invalid")


def _wav_seconds(content: bytes) -> float | None:
    if not content.startswith(b"RIFF") or len(content) < 44:
        return None
    at, rate = 12, 0
    while at + 8 <= len(content):
        name, size = struct.unpack("<4sI", content[at : at + 8])
        if name == b"fmt " and at + 20 <= len(content):
            (rate,) = struct.unpack("<I", content[at + 16 : at + 20])
        if name == b"data":
            return size / rate if rate else None
        at += 8 + size + size % 2
    return None
