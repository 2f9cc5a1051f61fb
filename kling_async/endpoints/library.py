"""The account's library: voices and elements, made once and named by their ids in later requests.

Stage: registry and wire. Fields bear the service's own names and values; unset ones are not sent. Source of every
rule: service reference, "Voice Management", "Element Management".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from ..dialects import Host
from ..errors import InvalidRequest
from .answers import Deletion, Presets
from .base import IMAGE, Advice, Call, Endpoint, Task, nested, nested_list
from .parts import Plain
from .required import is_given, require
from .rules import (
    Media,
    as_media,
    external_id,
    extra_fields,
    few,
    integer,
    kept,
    media,
    one_of,
    optional,
    text,
    web_url,
)

_words: Any = optional(text())
_name: Any = optional(text(20))
_page: Any = optional(integer(1, 1000))


# --- nested objects ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ElementPicture:
    """A further picture of an element, from another side or nearer. Source: "Element Management".

    Attributes:
        image_url: URL, Base64 or a local file.
    """

    image_url: Media = attrs.field(converter=as_media, validator=media, metadata=IMAGE)


def _as_further(value: Iterable[ElementPicture | Plain] | None) -> tuple[ElementPicture, ...]:
    return nested_list(ElementPicture, "refer_images", value) or ()


@attrs.frozen(kw_only=True)
class ElementPictures:
    """How an element looks, in pictures. Source: "Element Management".

    Attributes:
        frontal_image: its front: URL, Base64 or a local file.
        refer_images: 1 to 3 others.
    """

    frontal_image: Media = attrs.field(converter=as_media, validator=media, metadata=IMAGE)
    refer_images: tuple[ElementPicture, ...] = attrs.field(converter=_as_further, validator=few(3))


@attrs.frozen(kw_only=True)
class ElementVideo:
    """A video of an element. Source: "Element Management".

    Attributes:
        video_url: mp4 or mov, 3 to 8 s, 1080p, 16:9 or 9:16, at most 200 MB; a lifelike person.
    """

    video_url: str = attrs.field(validator=web_url)


def _as_footage(value: Iterable[ElementVideo | Plain] | None) -> tuple[ElementVideo, ...]:
    return nested_list(ElementVideo, "refer_videos", value) or ()


@attrs.frozen(kw_only=True)
class ElementVideos:
    """How an element looks, in a video. Source: "Element Management".

    Attributes:
        refer_videos: one video; a voice in it becomes the element's.
    """

    refer_videos: tuple[ElementVideo, ...] = attrs.field(converter=_as_footage, validator=few(1))


@attrs.frozen(kw_only=True)
class ElementTag:
    """A tag of an element. Source: "Element Management".

    Attributes:
        tag_id: o_101 (hottest), o_102 (character), o_103 (animal), o_104 (item), o_105 (costume), o_106 (scene),
            o_107 (effect), o_108 (others).
    """

    tag_id: str = attrs.field(validator=text())


def _as_pictures(value: ElementPictures | Plain | None) -> ElementPictures | None:
    return nested(ElementPictures, "element_image_list", value)


def _as_videos(value: ElementVideos | Plain | None) -> ElementVideos | None:
    return nested(ElementVideos, "element_video_list", value)


def _as_tags(value: Iterable[ElementTag | Plain] | None) -> tuple[ElementTag, ...] | None:
    return nested_list(ElementTag, "tag_list", value)


# --- tasks ---------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class CustomVoice(Task):
    """A voice of your own.

    Attributes:
        voice_name: at most 20 characters; required.
        voice_url: mp3, wav, mp4 or mov, 5 to 30 s, one clean voice. One of voice_url and video_id is needed.
        video_id: a video made with sound by kling-v2-6, by Avatar or by lip sync.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    voice_name: str | None = attrs.field(default=None, validator=_name)
    voice_url: str | None = attrs.field(default=None, validator=optional(web_url))
    video_id: str | None = attrs.field(default=None, validator=_words)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "voice_name")
        if not is_given(self, "voice_url") and not is_given(self, "video_id"):
            raise InvalidRequest("voice_url", None, "is required, unless video_id is given")


@attrs.frozen(kw_only=True)
class CustomElement(Task):
    """A figure or thing of your own, that later requests can show again.

    Attributes:
        element_name: at most 20 characters; required.
        element_description: at most 100 characters; required.
        reference_type: image_refer (needs element_image_list) or video_refer (needs element_video_list); required.
        element_image_list: how it looks, in pictures.
        element_video_list: how it looks, in a video.
        element_voice_id: a voice of the library; sources differ on whether an element made of pictures may have one.
        tag_list: tags.
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        extra: further fields for the body, by name.
    """

    element_name: str | None = attrs.field(default=None, validator=_name)
    element_description: str | None = attrs.field(default=None, validator=optional(text(100)))
    reference_type: str | None = attrs.field(default=None, validator=optional(one_of("video_refer", "image_refer")))
    element_image_list: ElementPictures | None = attrs.field(default=None, converter=_as_pictures)
    element_video_list: ElementVideos | None = attrs.field(default=None, converter=_as_videos)
    element_voice_id: str | None = attrs.field(default=None, validator=_words)
    tag_list: tuple[ElementTag, ...] | None = attrs.field(default=None, converter=_as_tags)
    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "element_name", "element_description", "reference_type")
        if self.reference_type == "video_refer":
            require(self, "element_video_list")
        if self.reference_type == "image_refer":
            require(self, "element_image_list")
            if self.element_video_list is not None:
                raise InvalidRequest("element_video_list", self.element_video_list, "is void with image_refer")


# --- calls ---------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class PresetVoices(Call[Presets]):
    """The voices that the service offers to everybody, page by page.

    Attributes:
        pageNum: 1 (the service's default) to 1000.
        pageSize: 1 to 1000; the service's default is 30.
        extra: further parameters, by name.
    """

    pageNum: int | None = attrs.field(default=None, validator=_page)  # noqa: N815, the service's own name
    pageSize: int | None = attrs.field(default=None, validator=_page)  # noqa: N815
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class PresetElements(Call[Presets]):
    """The elements that the service offers to everybody, page by page.

    Attributes:
        pageNum: 1 (the service's default) to 1000.
        pageSize: 1 to 500; the service's default is 30.
        extra: further parameters, by name.
    """

    pageNum: int | None = attrs.field(default=None, validator=_page)  # noqa: N815, the service's own name
    pageSize: int | None = attrs.field(default=None, validator=optional(integer(1, 500)))  # noqa: N815
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)


@attrs.frozen(kw_only=True)
class DeleteVoice(Call[Deletion]):
    """Take a voice of your own out of the library.

    Attributes:
        voice_id: its id; required.
        extra: further fields for the body, by name.
    """

    voice_id: str | None = attrs.field(default=None, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "voice_id")


def _as_id(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole and 0 < value < 10**64 else value


@attrs.frozen(kw_only=True)
class DeleteElement(Call[Deletion]):
    """Take an element of your own out of the library.

    Attributes:
        element_id: its id; required. Sent as text, which it is here and not elsewhere; gateways have ids of their own
            that are no figures.
        extra: further fields for the body, by name.
    """

    element_id: str | None = attrs.field(default=None, converter=_as_id, validator=_words)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        require(self, "element_id")


def _advise_voice(request: CustomVoice, _host: Host) -> Iterator[Advice]:
    if is_given(request, "voice_url") and is_given(request, "video_id"):
        yield Advice("video_id", "one of voice_url and video_id is enough; which of them counts is not said")


def _advise_element(request: CustomElement, _host: Host) -> Iterator[Advice]:
    if request.reference_type == "video_refer" and request.element_image_list is not None:
        yield Advice("element_image_list", "element_image_list is not looked at with video_refer")


ENDPOINTS = (
    Endpoint(
        name="custom-voices",
        path="/v1/general/custom-voices",
        source="Voice Management",
        request=CustomVoice,
        yields="voice",
        pack="general",
        advice=_advise_voice,
    ),
    Endpoint(
        name="presets-voices",
        path="/v1/general/presets-voices",
        source="Voice Management",
        request=PresetVoices,
        yields="voice",
        kind="call",
        is_free=True,
        method="GET",
        answer=Presets,
        has_list=False,
        by_external_id=False,
    ),
    Endpoint(
        name="delete-voices",
        path="/v1/general/delete-voices",
        source="Voice Management",
        request=DeleteVoice,
        yields="voice",
        kind="call",
        is_free=True,
        answer=Deletion,
        has_list=False,
        by_external_id=False,
    ),
    Endpoint(
        name="custom-elements",
        path="/v1/general/advanced-custom-elements",
        source="Element Management",
        request=CustomElement,
        yields="element",
        pack="general",
        advice=_advise_element,
    ),
    Endpoint(
        name="presets-elements",
        path="/v1/general/advanced-presets-elements",
        source="Element Management",
        request=PresetElements,
        yields="element",
        kind="call",
        is_free=True,
        method="GET",
        answer=Presets,
        has_list=False,
        by_external_id=False,
    ),
    Endpoint(
        name="delete-elements",
        path="/v1/general/delete-advanced-elements",
        source="Element Management",
        request=DeleteElement,
        yields="element",
        kind="call",
        is_free=True,
        answer=Deletion,
        has_list=False,
        by_external_id=False,
    ),
)
