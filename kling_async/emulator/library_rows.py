"""Rows of elements and voices: making, listing, deleting, presets.

Place: part of the endpoint table. Source for every limit: service reference, "Legacy create endpoints: audio, image,
general". Which fields of an element are required the page does not mark; name, description and kind are taken for it.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from . import library
from .checks import Body, Field, Order, dig, items, kept, text, wrong
from .images import is_url
from .made import Shelf, find_made
from .refusals import invalid
from .rows import Row
from .sources import Limits, exactly_one, linked, made_video
from .tasks import Task

if TYPE_CHECKING:
    from .service import Service

NAME_CHARACTERS, DESCRIPTION_CHARACTERS = 20, 100
TAGS = tuple(f"o_{number}" for number in range(101, 109))
LARGEST_VOICE_PAGE = 1000

# A film that makes an element: one of 3 to 8 s in 1080p, 200 MB; a voice is taken from 5 to 30 s.
_FILM = Limits(seconds=((3.0, 8.0),), sides=(1080, 1920), megabytes=200)
_SPOKEN = Limits(seconds=((5.0, 30.0),))

_ELEMENT_PAGE = 500
_MEAN_S = 30.0  # assumed
_VOICE_UNITS = Decimal("0.05")
_CALLER = (Field("external_task_id", "text"), Field("callback_url", "text"))


def _read(row: Row, body: Body) -> Order:
    frontal = text(body, "element_image_list.frontal_image")
    others = [text(item, "image_url") for item in items(body, "element_image_list.refer_images")]
    return Order(
        model=row.model,
        prompt=text(body, "element_description"),
        seconds=0.0,
        ratio="1:1",
        external_id=text(body, "external_task_id"),
        callback_url=text(body, "callback_url"),
        pictures=tuple(value for value in (frontal, *others) if value),
        facts={"shelf": Shelf()},
    )


def _check_element(body: Body) -> None:
    if dig(body, "reference_type") == "video_refer":
        videos = items(body, "element_video_list.refer_videos")
        if len(videos) != 1:
            raise invalid("element_video_list.refer_videos must have one item")
        if not is_url(text(videos[0], "video_url")):
            raise wrong("element_video_list.refer_videos[0].video_url", videos[0].get("video_url"))
    else:
        Field("element_image_list.frontal_image", "image", required=True).check(body, "legacy")
        others = items(body, "element_image_list.refer_images")
        if not 1 <= len(others) <= 3:
            raise invalid("element_image_list.refer_images must have 1 to 3 items")
        for other in others:
            Field("image_url", "image", required=True).check(other, "legacy")
    for position, tag in enumerate(items(body, "tag_list")):
        if tag.get("tag_id") not in TAGS:
            raise wrong(f"tag_list[{position}].tag_id", tag.get("tag_id"))


def _bind_element(service: "Service", order: Order, body: Body, now: float) -> Order:
    facts = dict(order.facts)
    ident = dig(body, "element_voice_id")
    voice = find_made(service, "voices", ident, now) or library.preset_of(PRESETS, "voices", ident)
    if voice is not None:
        facts["voice_name"] = text(voice.body, "voice_name")
        facts["voice_owner"] = library.PRESET if voice.ordinal < 0 else library.OWN
    film = next(iter(items(body, "element_video_list.refer_videos")), None)
    is_film = film is not None and dig(body, "reference_type") == "video_refer"
    flaw = _FILM.flaw(linked(service, text(film, "video_url"))) if film is not None and is_film else ""
    return attrs.evolve(order, facts=facts, defect=flaw)


def _check_voice(body: Body) -> None:
    exactly_one(body, "voice_url", "video_id")


def _bind_voice(service: "Service", order: Order, body: Body, now: float) -> Order:
    """The same order, once its source has been looked at."""
    video_id = dig(body, "video_id")
    if video_id:
        film = made_video(service, str(video_id), now)
        if film.task is not None and not _speaks(film.task):
            raise invalid("video_id must be a video of version 2.6 with sound, of an avatar, or of a lip sync")
        return order
    flaw = _SPOKEN.flaw(linked(service, text(body, "voice_url")))
    return attrs.evolve(order, defect=flaw.replace("Video", "Audio"))


def _speaks(task: Task) -> bool:
    """Whether a voice can be taken from the task's video."""
    if "avatar" in task.row.name or "lip-sync" in task.row.name:
        return True
    with_sound = kept(task.body, "sound") == "on" or kept(task.body, "settings.audio") == "native"
    return with_sound and task.model in ("kling-v2-6", "kling-2.6")


def _list_elements(service: "Service", query: Body, now: float) -> list[library.Json]:
    return library.page_of_presets(service, PRESETS, "elements", query, _ELEMENT_PAGE, now)


def _list_voices(service: "Service", query: Body, now: float) -> list[library.Json]:
    return library.page_of_presets(service, PRESETS, "voices", query, LARGEST_VOICE_PAGE, now)


_ELEMENT = Row(
    name="custom-elements",
    path="/v1/general/advanced-custom-elements",
    model="custom-elements",
    pack="general",
    result="elements",
    fields=(
        *_CALLER,
        Field("element_name", "text", required=True, longest=NAME_CHARACTERS),
        Field("element_description", "text", required=True, longest=DESCRIPTION_CHARACTERS),
        Field("reference_type", "text", required=True, choices=("video_refer", "image_refer")),
        Field("element_image_list", "object"),
        Field("element_video_list", "object"),
        Field("element_voice_id", "id"),
        Field("tag_list", "list"),
    ),
    rules=(_check_element,),
    read=_read,
    bind=_bind_element,
    tell=library.elements_result,
    tell_new=library.elements_outputs,
    # No price is printed for elements.
    price=lambda _: Decimal(0),
    mean_s=_MEAN_S,
)
_VOICE = Row(
    name="custom-voices",
    path="/v1/general/custom-voices",
    model="custom-voices",
    pack="general",
    result="voices",
    fields=(
        *_CALLER,
        Field("voice_name", "text", required=True, longest=NAME_CHARACTERS),
        Field("voice_url", "text"),
        Field("video_id", "id"),
    ),
    rules=(_check_voice,),
    read=_read,
    bind=_bind_voice,
    tell=library.voices_result,
    tell_new=library.voices_outputs,
    price=lambda _: _VOICE_UNITS,
    mean_s=_MEAN_S,
    largest_page=LARGEST_VOICE_PAGE,
)
_ELEMENT_PRESETS = Row(
    name="presets-elements",
    path="/v1/general/advanced-presets-elements",
    pack="general",
    result="elements",
    tell=library.elements_result,
    tell_new=library.elements_outputs,
    method="GET",
    answer=_list_elements,
)
_VOICE_PRESETS = Row(
    name="presets-voices",
    path="/v1/general/presets-voices",
    pack="general",
    result="voices",
    tell=library.voices_result,
    tell_new=library.voices_outputs,
    method="GET",
    answer=_list_voices,
)

PRESETS = library.preset_tasks(_ELEMENT_PRESETS, _VOICE_PRESETS)

_NEEDED_ID = Field("element_id", "id", required=True)

LIBRARY_ROWS: tuple[Row, ...] = (
    _ELEMENT,
    _ELEMENT_PRESETS,
    Row(
        name="delete-elements",
        path="/v1/general/delete-advanced-elements",
        pack="general",
        fields=(_NEEDED_ID,),
        answer=library.delete_element,
    ),
    # The path of older gateways.
    Row(
        name="delete-elements/older",
        path="/v1/general/delete-elements",
        pack="general",
        fields=(_NEEDED_ID,),
        answer=library.delete_element,
    ),
    _VOICE,
    _VOICE_PRESETS,
    Row(
        name="delete-voices",
        path="/v1/general/delete-voices",
        pack="general",
        fields=(Field("voice_id", "id", required=True),),
        answer=library.delete_voice,
    ),
)
