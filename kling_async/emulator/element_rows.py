"""Rows of multi-elements: selecting parts of a video step by step, and the task that then changes them.

Place: part of the endpoint table. Source for every limit: service reference, "Other legacy video endpoints"
(multi-elements). The steps are synchronous. What is wrong with a body is a 1201; what is wrong with a session, its
video or its points is told inside of a success, as a `status` that is not 0 (switch `inner_refusals`). The reference
has no list of these numbers; those here are the emulator's own.
"""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from .checks import Body, Field, Order, dig, items, seconds_of, text, wrong
from .refusals import invalid
from .rows import Row
from .sessions import Point, Selection, rounded
from .sources import Limits, Medium, check_video, video_of

if TYPE_CHECKING:
    from .service import Service

PATH = "/v1/videos/multi-elements"
PROMPT_CHARACTERS = 2500
FRAMES, POINTS = 10, 10  # most frames of a selection, most points of a frame

# How many images each way of editing takes.
_IMAGES = {"addition": (1, 2), "swap": (1, 1), "removal": (0, 0)}

_LIMITS = Limits(seconds=((2, 5), (7, 10)), sides=(720, 2160), fps=(24, 30, 60))

# Units for 5 and 10 seconds. Source: service reference, "Price".
_UNITS = {"std": (Decimal(3), Decimal(6)), "pro": (Decimal(5), Decimal(10))}

_MEAN_S = 320.0  # assumed: as effects

# The numbers of inner refusals.
_NO_SESSION, _BAD_VIDEO, _TOO_MANY, _NOT_ADDED, _BAD_FRAME, _EMPTY = 1, 2, 3, 4, 5, 6

Json = dict[str, Any]


@attrs.define(eq=False)
class _Inner(Exception):
    """A refusal inside of a success."""

    status: int
    message: str
    session_id: str = ""


def _told(service: "Service", refusal: _Inner) -> Json:
    if not service.settings.inner_refusals:
        raise invalid(refusal.message)
    told: Json = {"status": refusal.status}
    return told | {"session_id": refusal.session_id} if refusal.session_id else told


def _living(service: "Service", body: Body, now: float) -> Selection:
    ident = text(body, "session_id")
    session = service.sessions.selections.get(ident)
    if session is None and (service.settings.takes_foreign_ids or service.settings.lenient):
        return service.sessions.open_selection(Medium(), now, service.settings.seed, ident or None)
    if session is None or now >= session.made_at + service.settings.session_ttl_s:
        raise _Inner(_NO_SESSION, "session_id is invalid or has expired", ident)
    return session


# The steps


def _init(service: "Service", body: Body, now: float) -> Json:
    film = video_of(service, body, now)
    flaw = _LIMITS.flaw(film)
    if flaw:
        return _told(service, _Inner(_BAD_VIDEO, flaw))
    session = service.sessions.open_selection(film, now, service.settings.seed)
    width, height = session.size
    return {
        "status": 0,
        "session_id": session.session_id,
        "fps": session.fps,
        "original_duration": round(film.length_s * 1000),
        "width": width,
        "height": height,
        "total_frame": session.total_frame,
        "normalized_video": _file(service, session, "normalized", "mp4"),
    }


def _check_points(body: Body) -> None:
    points = items(body, "points")
    if not 1 <= len(points) <= POINTS:
        raise invalid(f"points must have 1 to {POINTS} items")
    for point in points:
        for axis in ("x", "y"):
            Field(axis, "number", required=True, low=0, high=1).check(point, "legacy")


def _points(body: Body) -> list[Point]:
    return [rounded(float(point["x"]), float(point["y"])) for point in items(body, "points")]


def _frame(session: Selection, body: Body) -> int:
    frame = int(dig(body, "frame_index") or 0)
    if frame >= session.total_frame:
        message = f"frame_index value '{frame}' is invalid: the video has {session.total_frame} frames"
        raise _Inner(_BAD_FRAME, message, session.session_id)
    return frame


def _add(service: "Service", body: Body, now: float) -> Json:
    try:
        session = _living(service, body, now)
        frame, points = _frame(session, body), _points(body)
        known = session.points.get(frame, [])
        if frame not in session.points and len(session.points) >= FRAMES:
            raise _Inner(_TOO_MANY, f"a selection must not have more than {FRAMES} frames", session.session_id)
        if len({*known, *points}) > POINTS:
            raise _Inner(_TOO_MANY, f"a frame must not have more than {POINTS} points", session.session_id)
    except _Inner as refusal:
        return _told(service, refusal)
    session.add(frame, points)
    return _selected(session, frame)


def _delete(service: "Service", body: Body, now: float) -> Json:
    try:
        session = _living(service, body, now)
        frame = _frame(session, body)
        if not session.remove(frame, _points(body)):
            raise _Inner(_NOT_ADDED, "points must equal points that were added to this frame", session.session_id)
    except _Inner as refusal:
        return _told(service, refusal)
    return _selected(session, frame)


def _selected(session: Selection, frame: int) -> Json:
    result = {"frame_index": frame, "rle_mask_list": session.masks(frame)}
    return {"status": 0, "session_id": session.session_id, "res": result}


def _clear(service: "Service", body: Body, now: float) -> Json:
    try:
        session = _living(service, body, now)
    except _Inner as refusal:
        return _told(service, refusal)
    session.points.clear()
    return {"status": 0, "session_id": session.session_id}


def _preview(service: "Service", body: Body, now: float) -> Json:
    try:
        session = _living(service, body, now)
        if not session.points:
            raise _Inner(_EMPTY, "nothing is selected", session.session_id)
    except _Inner as refusal:
        return _told(service, refusal)
    result = {
        "video": _file(service, session, "preview", "mp4"),
        "video_cover": _file(service, session, "cover", "png"),
        "tracking_output": _file(service, session, "tracking", "mp4"),
    }
    return {"status": 0, "session_id": session.session_id, "res": result}


def _file(service: "Service", session: Selection, word: str, ending: str) -> str:
    name = service.sessions.name(session.session_id, word, ending)
    return service.store.address(service.base, name, session.made_at + service.settings.session_ttl_s)


# The task


def _check_edit(body: Body) -> None:
    mode, images = text(body, "edit_mode"), items(body, "image_list")
    low, high = _IMAGES[mode]
    if not low <= len(images) <= high:
        wanted = f"{low}" if low == high else f"{low} to {high}"
        raise invalid(f"image_list must have {wanted} items with edit_mode {mode}")
    for image in images:
        Field("image", "image", required=True).check(image, "legacy")


def _read_edit(row: Row, body: Body) -> Order:
    images = [image.get("image") for image in items(body, "image_list")]
    return Order(
        model=text(body, "model_name") or row.model,
        prompt=text(body, "prompt"),
        seconds=seconds_of(body, "duration", 5),
        mode="pro" if text(body, "mode") == "pro" else "std",
        video_input=True,
        watermark=dig(body, "watermark_info.enabled") is True,
        external_id=text(body, "external_task_id"),
        callback_url=text(body, "callback_url"),
        pictures=tuple(image for image in images if isinstance(image, str)),
    )


def _bind_edit(service: "Service", order: Order, body: Body, now: float) -> Order:
    try:
        session = _living(service, body, now)
    except _Inner as refusal:
        # A task is refused outside: its reply has no inner status.
        raise invalid(refusal.message) from None
    # Videos of 2 to 5 seconds give 5, those of 7 to 10 give 10.
    fitting = 5 if session.film.length_s <= 6 else 10
    if session.film.seconds is not None and order.seconds != fitting:
        raise wrong("duration", dig(body, "duration") or order.seconds)
    ratio = session.film.task.ratio if session.film.task is not None else None
    return attrs.evolve(order, ratio=ratio, facts={"session_id": session.session_id})


def _price(order: Order) -> Decimal:
    return _UNITS["pro" if order.mode == "pro" else "std"][0 if order.seconds <= 5 else 1]


_SESSION = Field("session_id", "text", required=True)
_POINTED = (_SESSION, Field("frame_index", "integer", required=True, low=0), Field("points", "list", required=True))

ELEMENT_ROWS: tuple[Row, ...] = (
    Row(
        name="multi-elements",
        path=PATH,
        model="kling-v1-6",
        fields=(
            Field("external_task_id", "text"),
            Field("callback_url", "text"),
            Field("model_name", "text"),
            _SESSION,
            Field("edit_mode", "text", required=True, choices=tuple(_IMAGES)),
            Field("image_list", "list"),
            Field("prompt", "text", required=True, longest=PROMPT_CHARACTERS),
            Field("negative_prompt", "text", longest=PROMPT_CHARACTERS),
            Field("mode", "text", choices=("std", "pro")),
            Field("duration", "seconds", choices=("5", "10")),
            Field("watermark_info", "object"),
            Field("watermark_info.enabled", "flag"),
        ),
        rules=(_check_edit,),
        read=_read_edit,
        bind=_bind_edit,
        price=_price,
        mean_s=_MEAN_S,
    ),
    Row(
        name="init-selection",
        path=f"{PATH}/init-selection",
        fields=(Field("video_id", "id"), Field("video_url", "text")),
        rules=(check_video,),
        answer=_init,
    ),
    Row(name="add-selection", path=f"{PATH}/add-selection", fields=_POINTED, rules=(_check_points,), answer=_add),
    Row(
        name="delete-selection",
        path=f"{PATH}/delete-selection",
        fields=_POINTED,
        rules=(_check_points,),
        answer=_delete,
    ),
    Row(name="clear-selection", path=f"{PATH}/clear-selection", fields=(_SESSION,), answer=_clear),
    Row(name="preview-selection", path=f"{PATH}/preview-selection", fields=(_SESSION,), answer=_preview),
)
