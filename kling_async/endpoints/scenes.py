"""Things put into a video, exchanged in it or taken out of it: the selection, step by step, and the clip made of it.

Stage: registry and wire. Fields bear the service's own names and values; unset ones are not sent, so that its defaults
rule. Source of every rule, unless said otherwise: service reference, "Multi-Elements"; "Image Recognition" of a
gateway.

The order of the steps: `InitSelection` opens a video, `AddSelection` and `DeleteSelection` mark in single frames what
is to change, `ClearSelection` forgets all marks, `PreviewSelection` shows them in motion, `MultiElements` makes the
clip. To add something, no mark is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from ..dialects import Host
from ..errors import InvalidRequest
from .answers import ImageRecognition, SelectionCleared, SelectionMasks, SelectionPreview, SelectionSession
from .base import IMAGE, SECONDS, Advice, Call, Endpoint, Task, nested_list
from .clips import ClipImage, advise_settings, as_clip_images
from .parts import Plain, WatermarkInfo, as_watermark
from .required import exactly_one, is_given, require
from .rules import (
    Media,
    as_media,
    external_id,
    extra_fields,
    few,
    integer,
    kept,
    media,
    number,
    one_of,
    optional,
    seconds,
    text,
    web_url,
)

_MOST_POINTS = 10
# How many pictures each kind of edit takes: at least, at most.
_PICTURES: Mapping[str, tuple[int, int]] = {"addition": (1, 2), "swap": (1, 1), "removal": (0, 0)}

_words: Any = optional(text())
_prompt: Any = optional(text(2500))
_share: Any = number(0, 1)


@attrs.frozen(kw_only=True)
class SelectionPoint:
    """A point of a frame, in shares of its sides. Source: service reference, "Multi-Elements".

    Attributes:
        x: 0 to 1.
        y: 0 to 1.
    """

    x: float = attrs.field(validator=_share)
    y: float = attrs.field(validator=_share)


Points = Iterable[SelectionPoint | Plain | tuple[float, float]]
"""Points, as objects, plain data or pairs of x and y."""


def _as_points(value: Points | None) -> tuple[SelectionPoint, ...] | None:
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        value = [_from_pair(item) for item in value]
    return nested_list(SelectionPoint, "points", value)


def _from_pair(item: Any) -> Any:
    is_pair = isinstance(item, Sequence) and not isinstance(item, str | bytes) and len(item) == 2
    return {"x": item[0], "y": item[1]} if is_pair else item


def _as_pictures(value: Iterable[ClipImage | Plain] | None) -> tuple[ClipImage, ...] | None:
    # The reference's own example of a removal sends an empty list, where leaving it out says the same.
    return as_clip_images(value) or None


@attrs.frozen(kw_only=True)
class MultiElements(Task):
    """A video with something added, exchanged or removed.

    Attributes:
        model_name: kling-v1-6, and no other so far. Only a gateway's page lists the field.
        session_id: of `SelectionSession`, at most 24 hours old; required.
        edit_mode: addition, swap or removal; required.
        image_list: pictures of what is new: 1 or 2 for an addition, 1 for a swap, none for a removal.
        prompt: at most 2500 characters; required; refers to `<<<video_1>>>` and `<<<image_1>>>`.
        negative_prompt: what to keep out; at most 2500 characters.
        mode: std (the service's default) or pro.
        duration: seconds: "5" (the service's default) for a video of 2 to 5 s, "10" for one of 7 to 10 s.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    session_id: str | None = attrs.field(default=None, validator=_words)
    edit_mode: str | None = attrs.field(default=None, validator=optional(one_of(*_PICTURES)))
    image_list: tuple[ClipImage, ...] | None = attrs.field(
        default=None, converter=_as_pictures, validator=optional(few(2))
    )
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    negative_prompt: str | None = attrs.field(default=None, validator=_prompt)
    mode: str | None = attrs.field(default=None, validator=_words)
    duration: str | float | None = attrs.field(default=None, validator=optional(seconds(1, 60)), metadata=SECONDS)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "session_id", "edit_mode", "prompt")
        if self.edit_mode is None or "image_list" in self.extra:
            return
        least, most = _PICTURES[self.edit_mode]
        count = len(self.image_list or ())
        if count < least:
            raise InvalidRequest("image_list", None, f'is required with edit_mode="{self.edit_mode}"')
        if count > most:
            told = f'has {count} items, at most {most} are allowed with edit_mode="{self.edit_mode}"'
            raise InvalidRequest("image_list", count, told)


@attrs.frozen(kw_only=True)
class InitSelection(Call[SelectionSession]):
    """Open a video, so that things in it can be selected.

    Attributes:
        video_id: a video the service made in the last 30 days, 2 to 5 s or 7 to 10 s; exactly one of video_id and
            video_url.
        video_url: mp4 or mov, 2 to 5 s or 7 to 10 s, sides of 720 to 2160 px, 24, 30 or 60 frames per second.
        extra: further fields for the body, by name.
    """

    video_id: str | None = attrs.field(default=None, validator=_words)
    video_url: str | None = attrs.field(default=None, validator=optional(web_url))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        exactly_one(self, "video_id", "video_url")


@attrs.frozen(kw_only=True)
class AddSelection(Call[SelectionMasks]):
    """Select what is at some points of one frame. At most 10 frames of a video can have points.

    Attributes:
        session_id: of `SelectionSession`; required.
        frame_index: which frame, counted from 0; required.
        points: 1 to 10; required.
        extra: further fields for the body, by name.
    """

    session_id: str | None = attrs.field(default=None, validator=_words)
    frame_index: int | None = attrs.field(default=None, validator=optional(integer(0, 10**6)))
    points: tuple[SelectionPoint, ...] | None = attrs.field(
        default=None, converter=_as_points, validator=optional(few(_MOST_POINTS))
    )
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "session_id", "frame_index", "points")


@attrs.frozen(kw_only=True)
class DeleteSelection(Call[SelectionMasks]):
    """Take points of one frame back.

    Attributes:
        session_id: of `SelectionSession`; required.
        frame_index: which frame, counted from 0; required.
        points: 1 to 10, each exactly as it was added; required.
        extra: further fields for the body, by name.
    """

    session_id: str | None = attrs.field(default=None, validator=_words)
    frame_index: int | None = attrs.field(default=None, validator=optional(integer(0, 10**6)))
    points: tuple[SelectionPoint, ...] | None = attrs.field(
        default=None, converter=_as_points, validator=optional(few(_MOST_POINTS))
    )
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "session_id", "frame_index", "points")


@attrs.frozen(kw_only=True)
class ClearSelection(Call[SelectionCleared]):
    """Take all points of all frames back.

    Attributes:
        session_id: of `SelectionSession`; required.
        extra: further fields for the body, by name.
    """

    session_id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "session_id")


@attrs.frozen(kw_only=True)
class PreviewSelection(Call[SelectionPreview]):
    """See the selection followed through the whole video.

    Attributes:
        session_id: of `SelectionSession`; required.
        extra: further fields for the body, by name.
    """

    session_id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "session_id")


@attrs.frozen(kw_only=True)
class RecognizeImage(Call[ImageRecognition]):
    """Recognise what is in a picture. Only a gateway's page lists it, and none says what it answers.

    Attributes:
        image: URL, Base64 or a local file; required.
        extra: further fields for the body, by name.
    """

    image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "image")


# --- advice --------------------------------------------------------------------------------------------------------

_REFERENCE = re.compile(r"<<<image_(\d+)>>>")


def _advise(request: MultiElements, _host: Host) -> Iterator[Advice]:
    yield from advise_settings(request, "multi-elements", ("kling-v1-6",))
    if request.image_list is None and is_given(request, "image_list"):
        return  # nobody looks into `extra`
    count = len(request.image_list or ())
    for index in _REFERENCE.findall(request.prompt or ""):
        if not 1 <= int(index) <= count:
            yield Advice("prompt", f"the prompt refers to image_{index}, and there are {count}")


def _step(name: str, request: type[Any], answer: type[Any]) -> Endpoint:
    return Endpoint(
        name=name,
        path=f"/v1/videos/multi-elements/{name}",
        source="Multi-Elements",
        request=request,
        kind="call",
        answer=answer,
        has_list=False,
        by_external_id=False,
    )


ENDPOINTS = (
    Endpoint(
        name="multi-elements",
        path="/v1/videos/multi-elements",
        source="Multi-Elements",
        request=MultiElements,
        yields="video",
        pack="video",
        default_model="kling-v1-6",
        advice=_advise,
    ),
    _step("init-selection", InitSelection, SelectionSession),
    _step("add-selection", AddSelection, SelectionMasks),
    _step("delete-selection", DeleteSelection, SelectionMasks),
    _step("clear-selection", ClearSelection, SelectionCleared),
    _step("preview-selection", PreviewSelection, SelectionPreview),
    Endpoint(
        name="image-recognize",
        path="/v1/videos/image-recognize",
        source="Image Recognition",
        request=RecognizeImage,
        kind="call",
        answer=ImageRecognition,
        has_list=False,
        by_external_id=False,
    ),
)
