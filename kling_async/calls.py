"""What a call answers: one typed object per endpoint that makes no task.

Stage: decode. Before: transport (the envelope). After: session. Types are strict but for figures, which hosts write as
numbers and as text; what the service adds is left in `raw`, and what it leaves out or sends as null keeps its default,
as does a number that it leaves empty.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, get_args

import attrs
import cattrs

from .endpoints import Endpoint
from .errors import BadEnvelope, clean_text, service_error
from .models import Asset
from .wire import Envelope, JsonObject, decode_task

_log = logging.getLogger(__name__)
_LARGEST = 1e18
_FIGURE = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?\Z")


def decode_answer(row: Endpoint, envelope: Envelope) -> Any:
    """Turn the answer to a call into the object its row promises.

    Raises:
        BadEnvelope: it lacks what it cannot be without, or holds a value of a type that cannot be what it says.
    """
    kind = row.answer
    assert kind is not None
    fields = attrs.fields_dict(kind)
    raw = envelope.rows[0] if len(envelope.rows) == 1 and not envelope.many else {"rows": list(envelope.rows)}
    if fields.keys() == {"raw"}:
        return kind(raw=raw)
    if "assets" in fields:
        assets: tuple[Asset, ...] = ()
        for item in envelope.rows:
            try:
                assets += decode_task(item, row.yields).assets
            except BadEnvelope as error:  # one that cannot be read must not hide the others
                _log.warning("a row of %s cannot be read: %s", row.name, error)
        return kind(assets=assets, raw=raw)
    if envelope.many:
        raise BadEnvelope(f"the answer to {row.name} is a list" if envelope.rows else f"no answer to {row.name}")
    inner = envelope.rows[0].get("code")
    if isinstance(inner, int) and inner:  # the account's pages have a code of their own inside
        raise service_error(inner, str(envelope.rows[0].get("msg") or ""), 200, request_id=envelope.request_id)
    try:
        answer = _CONVERTER.structure(envelope.rows[0], kind)
    except (TypeError, ValueError, KeyError, ArithmeticError, RecursionError, cattrs.BaseValidationError) as error:
        raise BadEnvelope(f"the answer to {row.name} cannot be read: {clean_text(error, 120)}") from None
    return attrs.evolve(answer, raw=raw) if "raw" in fields else answer


def _text(value: object, _kind: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # an id or an amount that a gateway writes as a number: what was paid for is not thrown away
    if not isinstance(value, str):
        raise TypeError(f"a JSON {type(value).__name__} is not a text")
    return value


def _integer(value: object, _kind: object) -> int:
    if isinstance(value, str) and _FIGURE.match(value) and "." not in value:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a JSON {type(value).__name__} is not an integer")
    return value


def _number(value: object, _kind: object) -> float:
    if isinstance(value, str) and _FIGURE.match(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise TypeError(f"a JSON {type(value).__name__} is not a number of this world")
    return float(value)


def _amount(value: object, _kind: object) -> Decimal:
    if isinstance(value, str) and _FIGURE.match(value):
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise TypeError(f"a JSON {type(value).__name__} is not an amount of this world")
    return Decimal(str(value))


def _flag(value: object, _kind: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"a JSON {type(value).__name__} is not true or false")
    return value


def _mapping(value: object, _kind: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"a JSON {type(value).__name__} is not an object")
    return value


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for kind, hook in ((str, _text), (int, _integer), (float, _number), (Decimal, _amount), (bool, _flag)):
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(lambda kind: kind == Mapping[str, object], _mapping)

    def factory(kind: type[Any]) -> Callable[[JsonObject, object], Any]:
        attrs.resolve_types(kind)
        types = {field.name: field.type for field in attrs.fields(kind) if field.name != "raw"}

        def structure(value: JsonObject, _kind: object) -> Any:
            given = _mapping(value, _kind)
            return kind(
                **{
                    name: converter.structure(given[name], told_as)
                    for name, told_as in types.items()
                    if _is_told(given.get(name), told_as)
                }
            )

        return structure

    converter.register_structure_hook_factory(attrs.has, factory)
    return converter


def _is_told(value: object, kind: object) -> bool:
    # Where a number does not apply, as the length of a picture, a text of none is the service's way to say nothing:
    # a page of what was paid is not thrown away for it.
    return value is not None and (value != "" or str in (kind, *get_args(kind)))


_CONVERTER = _make_converter()
