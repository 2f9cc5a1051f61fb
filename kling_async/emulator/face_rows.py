"""Rows that work on faces: finding them, moving their lips in two ways, and looking into a picture.

Place: part of the endpoint table. Source for every limit: service reference, "Other legacy video endpoints".

The reply of `image-recognize` is in no source that was read. Two plausible ones are a switch (`recognition`): "result"
wraps the found parts like a finished task's images, "flat" tells them without the wrapping. Nothing should be built
on either.
"""

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from .checks import Body, Field, Order, dig, items, text, wrong
from .images import decode_base64 as decoded
from .images import is_url, look
from .prices import plain
from .refusals import invalid
from .rows import Row
from .sessions import FaceSession
from .sources import Limits, Medium, check_video, exactly_one, sound, sound_of, video_of

if TYPE_CHECKING:
    from .service import Service

FIND_COST, RECOGNIZE_COST = Decimal("0.05"), Decimal("0.1")

_FACE_LIMITS = Limits(seconds=((2, 60),), sides=(512, 2160), megabytes=100)
_FACE_ID_LIMITS = Limits(seconds=((0, 60),))
_LIP_LIMITS = Limits(seconds=((2, 10),), sides=(720, 1920))

# Seconds of a sound, and shortest piece of it and shortest overlap with the face in milliseconds.
_SOUND_S = (2.0, 60.0)
_PIECE_MS = 2000
_TEXT_CHARACTERS = 120

# Source: service reference, "Generation time".
_LIP_MEAN_S = 455.0

_CALLER = (Field("external_task_id", "text"), Field("callback_url", "text"))


# Finding faces


def _identify(service: "Service", body: Body, now: float) -> dict[str, Any]:
    film = video_of(service, body, now)
    flaw = (_FACE_LIMITS if film.url else _FACE_ID_LIMITS).flaw(film)
    if flaw:
        raise invalid(flaw)
    session = service.sessions.open_faces(film, now, service.settings.seed)
    until = now + service.settings.session_ttl_s
    return {
        "session_id": session.session_id,
        "face_data": [
            {
                "face_id": face.face_id,
                "face_image": service.store.address(
                    service.base, service.sessions.name(session.session_id, f"face{face.face_id}", "png"), until
                ),
                "start_time": face.start_ms,
                "end_time": face.end_ms,
            }
            for face in session.faces
        ],
        "final_unit_deduction": plain(FIND_COST),
    }


# Lip sync with sessions


def _check_choice(body: Body) -> None:
    chosen = items(body, "face_choose")
    if len(chosen) != 1:
        raise invalid("face_choose must have exactly 1 item")
    face = chosen[0]
    if face.get("face_id") in (None, ""):
        raise invalid("face_choose[0].face_id is required")
    exactly_one(face, "audio_id", "sound_file")
    start, end, _ = _times(face)
    if end - start < _PIECE_MS:
        raise invalid(f"the sound between sound_start_time and sound_end_time must be at least {_PIECE_MS} ms long")
    for name in ("sound_volume", "original_audio_volume"):
        Field(name, "number", low=0, high=2).check(_with_number(face, name), "legacy")


def _with_number(face: Body, name: str) -> Body:
    """One gateway shows these numbers as texts."""
    value = face.get(name)
    try:
        return {name: float(value)} if isinstance(value, str) and value else {name: value}
    except ValueError:
        raise wrong(name, value) from None


def _times(face: Body) -> tuple[int, int, int]:
    """Start and end of the piece of sound, and where in the video it goes, in milliseconds."""
    found: list[int] = []
    for name in ("sound_start_time", "sound_end_time", "sound_insert_time"):
        value = face.get(name)
        if value is None or value == "":
            raise invalid(f"face_choose[0].{name} is required")
        words = str(value)
        if isinstance(value, bool) or not (words.isascii() and words.isdigit()):
            raise wrong(f"face_choose[0].{name}", value)
        found.append(int(words))
    return found[0], found[1], found[2]


def _read_lips(row: Row, body: Body) -> Order:
    return Order(
        model=row.model,
        seconds=5,
        sound=True,
        watermark=dig(body, "watermark_info.enabled") is True,
        external_id=text(body, "external_task_id"),
        callback_url=text(body, "callback_url"),
    )


def _bind_lips(service: "Service", order: Order, body: Body, now: float) -> Order:
    session = _living(service, text(body, "session_id"), now)
    (chosen,) = items(body, "face_choose")
    start, end, insert = _times(chosen)
    heard = sound_of(service, chosen, now)
    low, high = _SOUND_S
    if heard.seconds is not None and not low <= heard.seconds <= high + 0.1:
        raise invalid(f"Audio duration must be between {low:.0f} and {high:.0f} seconds")
    if heard.seconds is not None and end > math.ceil(heard.seconds * 1000):
        raise wrong("face_choose[0].sound_end_time", end)
    if session is None:
        return order
    face = next((face for face in session.faces if face.face_id == str(chosen["face_id"])), None)
    if face is None:
        raise wrong("face_choose[0].face_id", chosen["face_id"])
    overlap = min(insert + end - start, face.end_ms) - max(insert, face.start_ms)
    if overlap < _PIECE_MS:
        raise invalid(f"the inserted sound must overlap with the face for at least {_PIECE_MS} ms")
    return attrs.evolve(order, seconds=session.film.length_s, ratio=_ratio(session.film))


def _living(service: "Service", ident: str, now: float) -> FaceSession | None:
    """The session, None when it is foreign and such are taken."""
    session = service.sessions.faces.get(ident)
    if session is None and (service.settings.takes_foreign_ids or service.settings.lenient):
        return None
    if session is None or now >= session.made_at + service.settings.session_ttl_s:
        raise invalid("session_id is invalid or has expired")
    return session


def _ratio(film: Medium) -> str | None:
    return film.task.ratio if film.task is not None else None


def _price_of_lips(order: Order) -> Decimal:
    """Half a unit for each five seconds begun, at least one."""
    return Decimal("0.5") * max(1, math.ceil((order.seconds - 0.1) / 5))


# Lip sync of old


def _check_old_lips(body: Body) -> None:
    exactly_one(dig(body, "input"), "video_id", "video_url")
    if dig(body, "input.mode") == "text2video":
        for name in ("input.text", "input.voice_id"):
            if not dig(body, name):
                raise invalid(f"{name} is required with mode text2video")
        return
    kind = dig(body, "input.audio_type")
    if not kind:
        raise invalid("input.audio_type is required with mode audio2video")
    name = f"input.audio_{kind}"
    value = dig(body, name)
    if not isinstance(value, str) or not value:
        raise invalid(f"{name} is required with audio_type {kind}")
    if is_url(value) != (kind == "url"):
        raise wrong(name, value)


def _read_old_lips(row: Row, body: Body) -> Order:
    return Order(
        model=row.model,
        prompt=text(body, "input.text"),
        seconds=5,
        sound=True,
        external_id=text(body, "external_task_id"),
        callback_url=text(body, "callback_url"),
    )


def _bind_old_lips(service: "Service", order: Order, body: Body, now: float) -> Order:
    film = video_of(service, body, now, "input.")
    if dig(body, "input.mode") == "audio2video":
        name = f"input.audio_{dig(body, 'input.audio_type')}"
        sound(name, text(body, name), service)
    flaw = _LIP_LIMITS.flaw(film)
    if flaw and not film.url:
        raise invalid(flaw)
    return attrs.evolve(order, seconds=film.length_s, ratio=_ratio(film), defect=flaw)


# Looking into a picture


def _recognize(service: "Service", body: Body, now: float) -> dict[str, Any]:
    value = text(body, "image")
    if value and not is_url(value) and not service.settings.lenient:
        picture = look(decoded("image", value, "legacy"))
        if not picture.is_usable:
            raise invalid("Image pixel is invalid")
    # A session only holds the files; it has no face that a lip sync could choose.
    session = service.sessions.open_faces(Medium(faces=0), now, service.settings.seed)
    until = now + service.settings.session_ttl_s
    images = [
        {
            "index": index,
            "type": kind,
            "url": service.store.address(service.base, service.sessions.name(session.session_id, kind, "png"), until),
        }
        for index, kind in enumerate(("object", "head", "face", "cloth"))
    ]
    units = plain(RECOGNIZE_COST)
    if service.settings.recognition == "flat":
        return {"images": images, "final_unit_deduction": units}
    return {"task_result": {"images": images}, "final_unit_deduction": units}


FACE_ROWS: tuple[Row, ...] = (
    Row(
        name="identify-face",
        path="/v1/videos/identify-face",
        model="identify-face",
        fields=(Field("video_id", "id"), Field("video_url", "text")),
        rules=(check_video,),
        answer=_identify,
        cost=FIND_COST,
    ),
    Row(
        name="advanced-lip-sync",
        path="/v1/videos/advanced-lip-sync",
        model="advanced-lip-sync",
        fields=(
            *_CALLER,
            Field("session_id", "text", required=True),
            Field("face_choose", "list", required=True),
            Field("watermark_info", "object"),
            Field("watermark_info.enabled", "flag"),
        ),
        rules=(_check_choice,),
        read=_read_lips,
        bind=_bind_lips,
        price=_price_of_lips,
        mean_s=_LIP_MEAN_S,
        has_external_lookup=False,
    ),
    Row(
        name="lip-sync",
        path="/v1/videos/lip-sync",
        model="lip-sync",
        fields=(
            *_CALLER,
            Field("input", "object", required=True),
            Field("input.mode", "text", required=True, choices=("text2video", "audio2video")),
            Field("input.video_id", "id"),
            Field("input.video_url", "text"),
            Field("input.text", "text", longest=_TEXT_CHARACTERS),
            Field("input.voice_id", "text"),
            Field("input.voice_language", "text", choices=("zh", "en")),
            Field("input.voice_speed", "number", low=0.8, high=2.0),
            Field("input.audio_type", "text", choices=("file", "url")),
            Field("input.audio_file", "text"),
            Field("input.audio_url", "text"),
        ),
        rules=(_check_old_lips,),
        read=_read_old_lips,
        bind=_bind_old_lips,
        price=_price_of_lips,
        mean_s=_LIP_MEAN_S,
    ),
    Row(
        name="image-recognize",
        path="/v1/videos/image-recognize",
        model="image-recognize",
        fields=(Field("image", "image", required=True),),
        answer=_recognize,
        cost=RECOGNIZE_COST,
    ),
)
