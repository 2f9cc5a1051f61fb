"""What every endpoint is made of: the registry's row, the nested objects, and the way to a body.

Stage: registry and wire. After: rules, models. Before: transport.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from ..dialects import Host
from ..errors import InvalidRequest
from ..models import AssetKind
from .rules import seconds_of

_N = TypeVar("_N")
_R = TypeVar("_R")

SECONDS = {"wire": "seconds"}
"""Metadata of a field whose JSON type follows the host: `Host.seconds_as`."""
ELEMENT_ID = {"wire": "element_id"}
"""Metadata of a field whose JSON type follows the host: `Host.element_id_as`."""
IMAGE = {"media": "image"}
"""Metadata of a field that takes a local JPG or PNG, held to the service's limits for pictures."""
MASK = {"media": "mask"}
"""Metadata of a field that takes a local JPG or PNG without limits on its sides."""
AUDIO = {"media": "audio"}
"""Metadata of a field that takes a local sound file, held to the service's limits for sounds."""
NOT_SENT = {"wire": "path"}
"""Metadata of a field that is part of the path, and not of the body."""
ALWAYS = {"always": True}
"""Metadata of a field that is sent also when it has its default."""


class Task:
    """A request that makes a task: `await session.generate(request)` gives its Result."""

    __slots__ = ()


class Call(Generic[_R]):
    """A request that makes no task: `await session.call(request)` gives its answer, of type R, at once."""

    __slots__ = ()


@attrs.frozen
class Advice:
    """What is likely wrong with a request on a model or host; prints as its sentence.

    Attributes:
        field: the field it is about, as the user wrote it.
        told: one sentence.
    """

    field: str
    told: str

    def __str__(self) -> str:
        return self.told


Standard = Literal["legacy", "new", "solutions", "account"]
Kind = Literal["task", "finished", "call"]


@attrs.frozen(kw_only=True)
class Endpoint:
    """One row of the registry: all that the rest of the package knows about a kind of generation.

    Attributes:
        name: short name, as on the command line.
        path: the service's own path of the call, percent-encoded; queries go below it.
        request: its request class.
        source: page of the service reference it is taken from.
        yields: kind of its first output.
        pack: resource-pack family whose slots its tasks take; the service knows video and image, others are our names.
        kind: "task" makes a task to be followed, "finished" one that is finished in the reply and cannot be asked
            about, "call" makes none and answers at once.
        standard: which generation of the service's interface it belongs to.
        method: of the call.
        answer: class of a call's answer.
        is_free: whether it surely costs nothing, so that a lost answer cannot have cost anything either.
        has_list: whether the service documents a list of its tasks.
        by_external_id: whether the service documents that a single query takes the external id.
        default_model: model the service takes when the request names none; its tasks share that model's slots.
        slots: how many slots a request takes.
        advice: rules that depend on model or host; shown as RequestWarning.
    """

    name: str
    path: str
    request: type[Any]
    source: str = ""
    yields: AssetKind = "video"
    pack: str = ""
    kind: Kind = "task"
    standard: Standard = "legacy"
    method: Literal["POST", "GET"] = "POST"
    answer: type[Any] | None = None
    is_free: bool = False
    has_list: bool = True
    by_external_id: bool = True
    default_model: str = ""
    slots: Callable[[Any], int] = attrs.field(default=lambda _request: 1, repr=False)
    advice: Callable[[Any, Host], Iterable[Advice]] = attrs.field(default=lambda _request, _host: (), repr=False)

    def model_of(self, request: Any) -> str:
        """Give the model whose slots a request takes; where an endpoint has but one, the endpoint stands for it."""
        named = getattr(request, "model_name", None) or getattr(request, "extra", {}).get("model_name")
        if named and not isinstance(named, str):
            return type(named).__name__  # of `extra`, where anything may stand
        return named or self.default_model or self.name


def printed_limits(request: Any, host: Host) -> Iterator[Advice]:
    """Say which texts are longer than this host prints; see `Host.prompt_limits`."""
    if host.prompt_limits is not None:
        for name, longest in zip(("prompt", "negative_prompt"), host.prompt_limits, strict=True):
            given = getattr(request, name, None)
            if given is not None and len(given) > longest:
                told = f"{name} has {len(given)} characters; this host prints a limit of {longest}"
                yield Advice(name, told)


# --- nested objects ------------------------------------------------------------------------------------------------


def nested(kind: type[_N], name: str, value: object) -> _N | None:
    """Take an instance of `kind`, a plain mapping, or None."""
    return None if value is None else _build(kind, name, value)


def nested_list(kind: type[_N], name: str, value: object) -> tuple[_N, ...] | None:
    """Take a sequence of instances of `kind` or plain mappings, or None."""
    if value is None:
        return None
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidRequest(name, value, f"must be a list of {kind.__name__}")
    return tuple(_build(kind, f"{name}[{index}]", item) for index, item in enumerate(value))


def _build(kind: type[_N], name: str, value: object) -> _N:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise InvalidRequest(name, value, f"must be a {kind.__name__} or a mapping")
    try:
        return from_mapping(kind, value)
    except InvalidRequest as error:
        raise error.inside(name) from None


def from_mapping(kind: type[_N], value: Mapping[str, object]) -> _N:
    """Build a request or a nested object from plain data, as from a line of JSON.

    Raises:
        InvalidRequest: a name that the class does not have (the service would ignore it and bill the default), with
            the nearest one it has; a required field that is missing; or whatever the class itself refuses.
    """
    known: dict[str, attrs.Attribute[Any]] = attrs.fields_dict(cast("type[Any]", kind))
    for name in value:
        if name not in known:
            home = getattr(kind, "__hints__", {}).get(name)
            if home is not None:
                raise InvalidRequest(str(name), value[name], home)
            near = _nearest(str(name), known)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise InvalidRequest(str(name), value[name], f"no such field; {hint}")
    for name, field in known.items():
        if field.default is attrs.NOTHING and name not in value:
            raise InvalidRequest(name, None, "is required")
    return kind(**value)


def to_plain(value: Any) -> Any:
    """Turn a request or a nested object into plain JSON data, from which `from_mapping` makes an equal one.

    Unset fields are left out; a local file is `{"file": path}`, never its content.
    """
    if isinstance(value, Path):
        return {"file": str(value)}
    if attrs.has(type(value)):
        return {
            field.name: to_plain(inner)
            for field in attrs.fields(type(value))
            if (inner := getattr(value, field.name)) is not None and not (field.name == "extra" and not inner)
        }
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [to_plain(item) for item in value]
    return value


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    # "model" is model_name, not mode: the service itself takes the former for it and ignores it.
    longer = [field for field in known if field.startswith(f"{name}_")]
    shorter = [field for field in known if name.startswith(f"{field}_")]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return longer or close or shorter or difflib.get_close_matches(name, known, n=1)


# --- bodies --------------------------------------------------------------------------------------------------------

Body = dict[str, object]


def body_of(request: object, host: Host) -> Body:
    """Turn a request into the body that this host wants; local files stay Path objects (see media.py).

    Nothing unset is in it: gateways take even an empty string as a choice. The order is that of the class.

    Raises:
        InvalidRequest: a length with a fraction, on a host that wants whole seconds.
    """
    body: Body = _converter_for(host.seconds_as, host.element_id_as).unstructure(request)
    return body


def place_ids(row: Endpoint, body: Body, *, job_id: str, callback_url: str | None) -> None:
    """Put our id and callback where the service reads them: anywhere else they are ignored, silently."""
    if row.kind == "finished":
        return
    if row.standard == "legacy":
        place = body
    else:
        options = body.get("options")
        place = dict(options) if isinstance(options, Mapping) else {}
        body["options"] = place
    place["external_task_id"] = job_id
    if callback_url is not None:
        place["callback_url"] = callback_url


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dump(fields: Body) -> bytes:
    """Write a body as JSON.

    Raises:
        InvalidRequest: a value that JSON does not have, in a field of `extra`.
    """
    try:
        return _JSON.encode(fields).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest("extra", None, f"cannot be written as JSON: {error}") from None


_CONVERTERS: dict[tuple[str, str], cattrs.Converter] = {}


def _converter_for(seconds_as: str, element_id_as: str) -> cattrs.Converter:
    key = (seconds_as, element_id_as)
    if key not in _CONVERTERS:
        hooks: dict[str, Callable[[Any], object]] = {
            "seconds": _SECONDS[seconds_as],
            "element_id": int if element_id_as == "integer" else str,
        }
        _CONVERTERS[key] = _make_converter(hooks)
    return _CONVERTERS[key]


def _make_converter(hooks: Mapping[str, Callable[[Any], object]]) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False, prefer_attrib_converters=True)
    converter.register_unstructure_hook(Path, lambda path: path)

    def factory(kind: type[Any]) -> Callable[[Any], dict[str, Any]]:
        overrides: dict[str, Any] = {}
        for field in attrs.fields(kind):
            use = field.metadata.get("wire", "")
            if field.name == "extra" or use == "path":
                overrides[field.name] = override(omit=True)
                continue
            hook = hooks.get(use)
            overrides[field.name] = override(
                omit_if_default=not field.metadata.get("always", False),
                unstruct_hook=None if hook is None else _unless_none(hook),
            )
        plain = make_dict_unstructure_fn(kind, converter, **overrides)
        if "extra" not in attrs.fields_dict(kind):
            return plain

        def with_extra(value: Any) -> dict[str, Any]:
            body: dict[str, Any] = plain(value)
            if value.extra:
                body.update(value.extra)
            return body

        return with_extra

    converter.register_unstructure_hook_factory(attrs.has, factory)
    return converter


def _unless_none(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda value: None if value is None else hook(value)


def _seconds_text(value: object) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _seconds_number(value: object) -> float:
    read = seconds_of(value) or 0.0
    return int(read) if read.is_integer() else read


def _seconds_integer(value: object) -> int:
    read = _seconds_number(value)
    if not isinstance(read, int):
        raise InvalidRequest("duration", value, "must be whole seconds on this host")
    return read


_SECONDS: Mapping[str, Callable[[Any], object]] = {
    "string": _seconds_text,
    "number": _seconds_number,
    "integer": _seconds_integer,
}
