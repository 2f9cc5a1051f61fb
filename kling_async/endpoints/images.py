"""Pictures: from words, from other pictures, wider than they were, with other clothes on.

Stage: registry and wire. Fields bear the service's own names and values; unset ones are not sent. Source of every
rule, unless said otherwise: service reference, "Image Generation", "Omni Image", "Multi-Image to Image",
"Image Expansion", "Virtual Try-On", "Subject Completion".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from ..dialects import Host
from ..errors import InvalidRequest
from .base import IMAGE, Advice, Endpoint, Task, nested_list
from .matrix_images import IMAGE_RATIOS, advise_image_model, advise_ratio
from .parts import ElementRef, Plain, WatermarkInfo, as_elements, as_watermark
from .required import is_given, require, said
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
    text,
    web_url,
)

_MOST_INPUTS = 10  # pictures and elements together
_MOST_IMAGES = 9
_SERIES_IMAGES = 4  # the service's default for series_amount
# New area over old area. The reference's own sample rounds its ratios to four decimals, so the bound is not sharp.
_MOST_AREA = 3.0
_ROUNDING = 1e-3

_words: Any = optional(text())
_prompt: Any = optional(text(2500))
_share: Any = optional(number(0, 1))
_count: Any = optional(integer(1, _MOST_IMAGES))


def _amount(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    if value == "auto":
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= _MOST_IMAGES:
        raise InvalidRequest(field.name, value, f"must be an integer from 2 to {_MOST_IMAGES}, or auto")


# --- nested objects ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class OmniPicture:
    """A picture for an omni image; referred to in a prompt as `<<<image_1>>>`. Source: "Omni Image".

    Attributes:
        image: URL, Base64 or a local file.
    """

    image: Media = attrs.field(converter=as_media, validator=media, metadata=IMAGE)


@attrs.frozen(kw_only=True)
class SubjectImage:
    """A picture of one subject, cut to it: the service does not crop. Source: "Multi-Image to Image".

    Attributes:
        subject_image: URL, Base64 or a local file.
    """

    subject_image: Media = attrs.field(converter=as_media, validator=media, metadata=IMAGE)


def _as_pictures(value: Iterable[OmniPicture | Plain] | None) -> tuple[OmniPicture, ...] | None:
    return nested_list(OmniPicture, "image_list", value)


def _as_subjects(value: Iterable[SubjectImage | Plain] | None) -> tuple[SubjectImage, ...] | None:
    return nested_list(SubjectImage, "subject_image_list", value)


# --- requests ------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ImageGeneration(Task):
    """Pictures from words, or from words and one picture.

    Attributes:
        model_name: open; the service's default is kling-v3.
        prompt: at most 2500 characters; required.
        negative_prompt: what to keep out; at most 2500 characters; not with a picture.
        image: URL, Base64 or a local file.
        image_reference: subject (a character's features) or face (a person's looks; one face in the picture); needs
            image.
        image_fidelity: 0 to 1, how much of the picture is kept; the service's default is 0.5.
        human_fidelity: 0 to 1, how much of the face is kept, with image_reference="subject"; default 0.45.
        element_list: elements; with the picture at most 10.
        resolution: 1k (the service's default) or 2k.
        n: 1 to 9 pictures; each takes a slot.
        aspect_ratio: 16:9 (the service's default), 9:16, 1:1, 4:3, 3:4, 3:2, 2:3, 21:9.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    negative_prompt: str | None = attrs.field(default=None, validator=_prompt)
    image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    image_reference: str | None = attrs.field(default=None, validator=optional(one_of("subject", "face")))
    image_fidelity: float | None = attrs.field(default=None, validator=_share)
    human_fidelity: float | None = attrs.field(default=None, validator=_share)
    element_list: tuple[ElementRef, ...] | None = attrs.field(
        default=None, converter=as_elements, validator=optional(few(_MOST_INPUTS))
    )
    resolution: str | None = attrs.field(default=None, validator=_words)
    n: int | None = attrs.field(default=None, validator=_count)
    aspect_ratio: str | None = attrs.field(default=None, validator=_words)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "prompt")
        if self.image_reference is not None and not is_given(self, "image"):
            raise InvalidRequest("image", None, "is required with image_reference")
        if self.image is not None and self.negative_prompt is not None:
            # "Not supported", says the reference, and not what happens: ignored it would be billed all the same.
            raise InvalidRequest("negative_prompt", self.negative_prompt, "is not supported together with image")
        _check_inputs("element_list", self.element_list, () if self.image is None else (self.image,))


@attrs.frozen(kw_only=True)
class OmniImage(Task):
    """Pictures from words, pictures and elements: single ones, or a series that belongs together.

    Attributes:
        model_name: open; the service's default is kling-image-o1.
        prompt: at most 2500 characters; refers to `<<<image_1>>>`, `<<<element_1>>>`; required.
        image_list: pictures; with the elements at most 10.
        element_list: elements.
        resolution: 1k (the service's default), 2k, 4k.
        result_type: single (the service's default) or series.
        n: 1 to 9 single pictures; each takes a slot. Not with a series.
        series_amount: 2 to 9 pictures, or auto: the service decides; its default is 4. Only with a series.
        aspect_ratio: auto (the service's default), 16:9, 9:16, 1:1, 4:3, 3:4, 3:2, 2:3, 21:9.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    image_list: tuple[OmniPicture, ...] | None = attrs.field(
        default=None, converter=_as_pictures, validator=optional(few(_MOST_INPUTS))
    )
    element_list: tuple[ElementRef, ...] | None = attrs.field(
        default=None, converter=as_elements, validator=optional(few(_MOST_INPUTS))
    )
    resolution: str | None = attrs.field(default=None, validator=_words)
    result_type: str | None = attrs.field(default=None, validator=optional(one_of("single", "series")))
    n: int | None = attrs.field(default=None, validator=_count)
    series_amount: int | str | None = attrs.field(default=None, validator=optional(_amount))
    aspect_ratio: str | None = attrs.field(default=None, validator=_words)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "prompt")
        _check_inputs("image_list", self.element_list, self.image_list)
        if "result_type" in self.extra:
            return
        # The service would ignore the one that does not fit, and bill another number of pictures.
        if self.result_type == "series" and self.n is not None:
            raise InvalidRequest("n", self.n, 'is void with result_type="series"; use series_amount')
        if self.result_type != "series" and self.series_amount is not None:
            raise InvalidRequest("series_amount", self.series_amount, 'needs result_type="series"')


@attrs.frozen(kw_only=True)
class MultiImageToImage(Task):
    """Pictures of up to four subjects, in a scene and a style of their own.

    Attributes:
        model_name: open; the service's default is kling-v2-1.
        prompt: at most 2500 characters.
        subject_image_list: 1 to 4 pictures, one subject each; required.
        scene_image: URL, Base64 or a local file.
        style_image: URL, Base64 or a local file.
        n: 1 to 9 pictures; each takes a slot.
        aspect_ratio: 16:9 (the service's default), 9:16, 1:1, 4:3, 3:4, 3:2, 2:3, 21:9.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    subject_image_list: tuple[SubjectImage, ...] | None = attrs.field(
        default=None, converter=_as_subjects, validator=optional(few(4))
    )
    scene_image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    style_image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    n: int | None = attrs.field(default=None, validator=_count)
    aspect_ratio: str | None = attrs.field(default=None, validator=_words)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "subject_image_list")


@attrs.frozen(kw_only=True)
class ImageExpand(Task):
    """A picture with more around it.

    The new picture is (1 + left + right) times as wide and (1 + up + down) times as high, and its area is at most
    three times the old one.

    Attributes:
        image: URL, Base64 or a local file; required.
        up_expansion_ratio: 0 to 2, in heights of the picture; required.
        down_expansion_ratio: 0 to 2, in heights of the picture; required.
        left_expansion_ratio: 0 to 2, in widths of the picture; required.
        right_expansion_ratio: 0 to 2, in widths of the picture; required.
        prompt: at most 2500 characters.
        n: 1 to 9 pictures; each takes a slot.
        watermark_info: asks for a second file with a watermark.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    up_expansion_ratio: float | None = attrs.field(default=None, validator=optional(number(0, 2)))
    down_expansion_ratio: float | None = attrs.field(default=None, validator=optional(number(0, 2)))
    left_expansion_ratio: float | None = attrs.field(default=None, validator=optional(number(0, 2)))
    right_expansion_ratio: float | None = attrs.field(default=None, validator=optional(number(0, 2)))
    prompt: str | None = attrs.field(default=None, validator=_prompt)
    n: int | None = attrs.field(default=None, validator=_count)
    watermark_info: WatermarkInfo | None = attrs.field(default=None, converter=as_watermark)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        sides = [f"{side}_expansion_ratio" for side in ("up", "down", "left", "right")]
        require(self, "image", *sides)
        up, down, left, right = (getattr(self, side) or 0.0 for side in sides)
        area = (1 + up + down) * (1 + left + right)
        if area > _MOST_AREA + _ROUNDING:
            told = f"makes the picture {area:.3f} times as large, at most {_MOST_AREA:g} times is allowed"
            blamed = sides[0] if up + down > left + right else sides[2]
            raise InvalidRequest(blamed, getattr(self, blamed), told)


@attrs.frozen(kw_only=True)
class VirtualTryOn(Task):
    """A person in other clothes.

    Attributes:
        model_name: open; the service's default is kolors-virtual-try-on-v1.
        human_image: the person: URL, Base64 or a local file; required.
        cloth_image: an upper, a lower or a dress; with kolors-virtual-try-on-v1-5 also an upper and a lower together on
            a white ground.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    model_name: str | None = attrs.field(default=None, validator=_words)
    human_image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    cloth_image: Media | None = attrs.field(default=None, converter=as_media, validator=optional(media), metadata=IMAGE)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "human_image")


@attrs.frozen(kw_only=True)
class SubjectCompletion(Task):
    """Further views of a subject, three at a time, from one picture of its front.

    Attributes:
        element_frontal_image: URL, Base64 or a local file; required.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    element_frontal_image: Media | None = attrs.field(
        default=None, converter=as_media, validator=optional(media), metadata=IMAGE
    )
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "element_frontal_image")


def _check_inputs(blamed: str, elements: tuple[object, ...] | None, pictures: tuple[object, ...] | None) -> None:
    count = len(elements or ()) + len(pictures or ())
    if count > _MOST_INPUTS:
        raise InvalidRequest(blamed, count, f"pictures and elements are at most {_MOST_INPUTS} together")


# --- slots ---------------------------------------------------------------------------------------------------------


def _slots(request: Any) -> int:
    """A picture takes a slot each. Source: service reference, "Concurrency Rules"."""
    return _whole(said(request, "n"), 1)


def _omni_slots(request: Any) -> int:
    if said(request, "result_type") != "series":
        return _slots(request)
    amount = said(request, "series_amount")
    # The pictures really made are counted, and their number is known when they are made: as many as it may be are
    # kept free, since with fewer the next request would meet a full host.
    return _MOST_IMAGES if amount == "auto" else _whole(amount, _SERIES_IMAGES)


def _whole(value: object, otherwise: int) -> int:
    # What stands in `extra` was never checked.
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise


# --- advice --------------------------------------------------------------------------------------------------------


_REFERENCE = re.compile(r"<<<(image|element)_(\d+)>>>")


def _advise_generation(request: ImageGeneration, _host: Host) -> Iterator[Advice]:
    yield from advise_ratio(request, IMAGE_RATIOS)
    yield from advise_image_model(request, "generations", "kling-v3")
    if request.image_fidelity is not None and not is_given(request, "image"):
        yield Advice("image_fidelity", "image_fidelity means nothing without image")
    if request.human_fidelity is not None and said(request, "image_reference") != "subject":
        yield Advice("human_fidelity", 'human_fidelity works only with image_reference="subject"')
    bare = request.image is not None and not is_given(request, "image_reference")
    if bare and said(request, "model_name") == "kling-v1-5":
        yield Advice("image_reference", "kling-v1-5 requires image_reference with image")


def _advise_omni(request: OmniImage, _host: Host) -> Iterator[Advice]:
    yield from advise_ratio(request, IMAGE_RATIOS | {"auto"})
    yield from advise_image_model(request, "omni-image", "kling-image-o1")
    for kind, index in _REFERENCE.findall(request.prompt or ""):
        listed = getattr(request, f"{kind}_list") or ()
        if not 1 <= int(index) <= len(listed) and f"{kind}_list" not in request.extra:
            yield Advice("prompt", f"the prompt refers to {kind}_{index}, and there are {len(listed)}")


def _advise_subjects(request: MultiImageToImage, _host: Host) -> Iterator[Advice]:
    yield from advise_ratio(request, IMAGE_RATIOS)
    yield from advise_image_model(request, "multi-image2image", "kling-v2-1")


def _advise_clothes(request: VirtualTryOn, _host: Host) -> Iterator[Advice]:
    # An older copy of the reference marks it as optional, and says nothing about what happens then.
    if not is_given(request, "cloth_image"):
        yield Advice("cloth_image", "cloth_image is required by the newest reference of the service")


ENDPOINTS = (
    Endpoint(
        name="generations",
        path="/v1/images/generations",
        source="Image Generation",
        request=ImageGeneration,
        yields="image",
        pack="image",
        default_model="kling-v3",
        slots=_slots,
        advice=_advise_generation,
    ),
    Endpoint(
        name="omni-image",
        path="/v1/images/omni-image",
        source="Omni Image",
        request=OmniImage,
        yields="image",
        pack="image",
        default_model="kling-image-o1",
        slots=_omni_slots,
        advice=_advise_omni,
    ),
    Endpoint(
        name="multi-image2image",
        path="/v1/images/multi-image2image",
        source="Multi-Image to Image",
        request=MultiImageToImage,
        yields="image",
        pack="image",
        default_model="kling-v2-1",
        slots=_slots,
        advice=_advise_subjects,
    ),
    Endpoint(
        name="expand",
        path="/v1/images/editing/expand",
        source="Image Expansion",
        request=ImageExpand,
        yields="image",
        pack="image",
        slots=_slots,
    ),
    Endpoint(
        name="virtual-try-on",
        path="/v1/images/kolors-virtual-try-on",
        source="Virtual Try-On",
        request=VirtualTryOn,
        yields="image",
        pack="try_on",
        default_model="kolors-virtual-try-on-v1",
        advice=_advise_clothes,
    ),
    Endpoint(
        name="ai-multi-shot",
        path="/v1/general/ai-multi-shot",
        source="Subject Completion",
        request=SubjectCompletion,
        yields="image",
        pack="general",
        by_external_id=False,
    ),
)
