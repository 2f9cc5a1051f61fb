"""Ready-made solutions: one request for every `POST /solutions/<area>/<name>`.

Stage: registry and wire. Source of every rule, unless said otherwise: service reference, "Solutions API" and the page
"Goods Studio". What one solution's page says is advice: which solutions there are, and what they take, moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import attrs

from ..dialects import Host
from ..errors import InvalidRequest
from .base import NOT_SENT, Advice, Endpoint, Task, nested
from .contents import PICTURE, Content, as_contents
from .operation import path_word
from .parts import Plain, WatermarkInfo
from .rules import external_id, extra_fields, kept, optional, plain_mapping, web_url

_OPTIONS = ("callback_url", "external_task_id", "watermark", "watermark_info")
_HOMES: Mapping[str, str] = {
    **dict.fromkeys(_OPTIONS, "belongs in options"),
    **dict.fromkeys(("contents", "settings", "options"), "is a field of its own"),
}


def _as_watermark(value: WatermarkInfo | Plain | None) -> WatermarkInfo | None:
    return nested(WatermarkInfo, "watermark", value)


def _as_options(value: SolutionOptions | Plain | None) -> SolutionOptions | None:
    return nested(SolutionOptions, "options", value)


def _settings(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    plain_mapping(_instance, field, value)
    assert isinstance(value, Mapping)
    for name in _OPTIONS:
        if name in value:
            raise InvalidRequest(f"{field.name}.{name}", value[name], "belongs in options")


def _further(instance: object, field: attrs.Attribute[Any], value: object) -> None:
    given: Mapping[str, object] = value if isinstance(value, Mapping) else {}
    for name, told in _HOMES.items():
        if name in given:
            raise InvalidRequest(f"{field.name}.{name}", given[name], told)
    extra_fields(instance, field, value)


@attrs.frozen(kw_only=True)
class SolutionOptions:
    """What is the same for every solution; the watermark has another name than elsewhere.

    Attributes:
        callback_url: where the service reports changes.
        external_task_id: your own id, unique in the account; also the job's id.
        watermark: asks for a second file with a watermark.
        extra: further options, by name.
    """

    callback_url: str | None = attrs.field(default=None, validator=optional(web_url))
    external_task_id: str | None = attrs.field(default=None, validator=optional(external_id))
    watermark: WatermarkInfo | None = attrs.field(default=None, converter=_as_watermark)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        for name, told in (("watermark_info", "is called watermark here"), ("callback_url", "is a field of its own")):
            if name in self.extra:
                raise InvalidRequest(f"extra.{name}", self.extra[name], told)


@attrs.frozen(kw_only=True)
class Solution(Task):
    """A task of the Solutions API, of any solution.

    Attributes:
        area: open; None for a solution that stands directly below /solutions.
        name: open; goods_studio, ...
        contents: what goes in, as mappings with a "type".
        settings: what shall come out, by the solution's own names.
        options: callback_url, external_task_id and watermark.
        extra: further fields for the top level of the body, by name.
    """

    area: str | None = attrs.field(default=None, validator=optional(path_word), metadata=NOT_SENT)
    name: str = attrs.field(validator=path_word, metadata=NOT_SENT)
    contents: tuple[Content, ...] | None = attrs.field(default=None, converter=as_contents, metadata=PICTURE)
    settings: Mapping[str, object] | None = attrs.field(
        default=None, converter=attrs.converters.optional(kept), validator=optional(_settings), hash=False
    )
    options: SolutionOptions | None = attrs.field(default=None, converter=_as_options)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=_further, hash=False)

    def __attrs_post_init__(self) -> None:
        if not self.contents:
            raise InvalidRequest("contents", self.contents, "is required")

    @property
    def external_task_id(self) -> str | None:
        """The caller's own id, from the options; also the job's."""
        return None if self.options is None else self.options.external_task_id

    @property
    def callback_url(self) -> str | None:
        """Where the service reports changes, from the options."""
        return None if self.options is None else self.options.callback_url


# --- what the page of a solution says ------------------------------------------------------------------------------

_GOODS_STUDIO = ("e-commerce", "goods_studio")
# type → fewest items, most items, longest text.
_GOODS: Mapping[str, tuple[int, int, int]] = {
    "ref_image": (1, 5, 0),
    "goods_title": (1, 1, 200),
    "goods_description": (0, 1, 2000),
}
_GOODS_SETTINGS: Mapping[str, tuple[object, ...]] = {
    "resolution": ("720p", "1080p"),
    "aspect_ratio": ("9:16", "1:1", "16:9"),
    "duration": (15, 30, 60),
}


def _advise(request: Solution, _host: Host) -> Iterator[Advice]:
    if (request.area, request.name) != _GOODS_STUDIO:
        return
    items = request.contents or ()
    for word in sorted({item.type for item in items} - set(_GOODS)):
        yield Advice("contents", f"goods_studio takes {', '.join(_GOODS)}, and no {word}")
    for word, (least, most, longest) in _GOODS.items():
        found = [item for item in items if item.type == word]
        if not least <= len(found) <= most:
            yield Advice("contents", f"goods_studio takes {least} to {most} of {word}, not {len(found)}")
        for item in found:
            given = item.extra.get("text")
            if longest and isinstance(given, str) and len(given) > longest:
                yield Advice("contents", f"{word} has {len(given)} characters, at most {longest} are allowed")
    settings = request.settings or {}
    for name, known in _GOODS_SETTINGS.items():
        if settings.get(name) not in known:
            told = f"goods_studio needs {name}, one of {', '.join(map(str, known))}"
            yield Advice(f"settings.{name}", told)


# --- rows ----------------------------------------------------------------------------------------------------------


def _row(area: str | None, name: str, source: str) -> Endpoint:
    place = f"{area}/{name}" if area else name
    return Endpoint(
        name=f"solutions/{place}",
        path=f"/solutions/{place}",
        source=source,
        request=Solution,
        yields="video",
        pack="video",
        standard="solutions",
        has_list=False,
        advice=_advise,
    )


ENDPOINTS = (_row(*_GOODS_STUDIO, source="Goods Studio"),)
_ROWS = {row.name: row for row in ENDPOINTS}


@lru_cache(maxsize=256)
def solution_row(area: str | None, name: str) -> Endpoint:
    """Give the registry's row of any solution: the documented one, or one made for it.

    Raises:
        InvalidRequest: one of the words cannot stand in a path.
    """
    fields = attrs.fields_dict(Solution)
    if area is not None:
        path_word(None, fields["area"], area)
    path_word(None, fields["name"], name)
    row = _row(area, name, "")
    return _ROWS.get(row.name, row)
