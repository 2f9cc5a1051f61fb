"""Words for validation: fields with kinds and limits, and the order read from a checked body.

Place: under the endpoint rows. A row lists `Field`s (what one value may be) and rules (what values may be
together); both raise a `Refusal` with a sentence, as the service does.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from .images import decode_base64, is_url
from .refusals import Refusal, invalid

Body = Mapping[str, Any]
Facts = Mapping[str, Any]
Standard = Literal["legacy", "new"]
Kind = Literal["text", "number", "integer", "seconds", "flag", "object", "list", "image", "id"]

# Longest value repeated inside a message, in characters.
_SHOWN = 60


@attrs.frozen(kw_only=True)
class Order:
    """What a valid create asks for, in words that both standards share."""

    model: str
    seconds: float
    prompt: str = ""
    ratio: str | None = None
    mode: Literal["std", "pro", "4k"] = "std"
    sound: bool = False
    voice: bool = False
    video_input: bool = False
    watermark: bool = False
    external_id: str = ""
    callback_url: str = ""
    count: int = 1
    counts: tuple[int, int] | None = None  # the service decides how many results between these
    pictures: tuple[str, ...] = ()
    defect: str = ""  # passes the create, fails at generation with this reason
    facts: Facts = attrs.field(factory=dict)  # what else replies and prices must know


@attrs.frozen
class Field:
    """One value of a body: where it is, what it may be.

    `name` may be dotted ("settings.duration"). Absent, null and "" are the same: official samples send "" for
    "none". `low` and `high` bound numbers and seconds; `longest` bounds characters of a text and items of a list.
    """

    name: str
    kind: Kind
    required: bool = attrs.field(default=False, kw_only=True)
    choices: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    low: float | None = attrs.field(default=None, kw_only=True)
    high: float | None = attrs.field(default=None, kw_only=True)
    longest: int | None = attrs.field(default=None, kw_only=True)

    def check(self, body: Body, standard: Standard) -> None:
        """Refuse a body whose value here is missing or out of its bounds."""
        value = dig(body, self.name)
        if value is None or value == "":
            if self.required:
                raise invalid(f"{self.name} is required")
            return
        _KINDS[self.kind](self, value, standard)
        if self.choices and str(value) not in self.choices:
            raise wrong(self.name, value)


Rule = Callable[[Body], None]


def wrong(name: str, value: object) -> Exception:
    """The service's sentence for a value it does not take."""
    return invalid(f"{name} value '{str(value)[:_SHOWN]}' is invalid")


def dig(body: Body, name: str) -> Any:
    """The value at a dotted name, None when any step is missing; a step that is no object is refused."""
    value: Any = body
    walked: list[str] = []
    for step in name.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise wrong(".".join(walked), value)
        value = value.get(step)
        walked.append(step)
    return value


def text(body: Body, name: str) -> str:
    """The text at a name, "" when absent."""
    value = dig(body, name)
    return value if isinstance(value, str) else ""


def items(body: Body, name: str) -> list[Mapping[str, Any]]:
    """The objects of a list, [] when absent; anything but objects is refused."""
    value = dig(body, name)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise wrong(name, value)
    for position, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise wrong(f"{name}[{position}]", item)
    return value


def kept(body: Body, name: str) -> Any:
    """The value at a name in a body that was never checked; None where there is none."""
    try:
        return dig(body, name)
    except Refusal:
        return None


def kept_items(body: Body, name: str) -> list[Mapping[str, Any]]:
    """The objects of a list in a body that was never checked."""
    value = kept(body, name)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def kept_text(body: Body, name: str) -> str:
    """The text at a name in a body that was never checked."""
    value = kept(body, name)
    return value if isinstance(value, str) else ""


def whole(value: object, name: str, default: int, bounds: tuple[int, int]) -> int:
    """A whole number given as one or as digits, `default` when absent; refused outside of its bounds."""
    if value is None or value == "":
        return default
    words = str(value)
    number = int(words) if words.isascii() and words.isdigit() and len(words) < 10 else 0
    if isinstance(value, bool) or not bounds[0] <= number <= bounds[1]:
        raise wrong(name, words)
    return number


def page_of(query: Body, largest: int = 500) -> tuple[int, int]:
    """Number (from 1) and size of the asked page of a legacy list. Source: service reference, "List (legacy)"."""
    return whole(query.get("pageNum"), "pageNum", 1, (1, 1000)), whole(
        query.get("pageSize"), "pageSize", 30, (1, largest)
    )


def seconds_of(body: Body, name: str, default: float) -> float:
    """A duration in seconds given as a number or as digits."""
    value = dig(body, name)
    try:
        return float(value)
    except (TypeError, ValueError):
        return default


def check_picture(name: str, value: object, standard: Standard) -> None:
    """Refuse what is neither a URL nor decodable Base64."""
    if not isinstance(value, str):
        raise wrong(name, value)
    if not is_url(value):
        decode_base64(name, value, standard)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bounded(field: Field, value: float) -> None:
    if (field.low is not None and value < field.low) or (field.high is not None and value > field.high):
        raise wrong(field.name, value)


def _check_text(field: Field, value: object, _: Standard) -> None:
    if not isinstance(value, str):
        raise wrong(field.name, value)
    if field.longest is not None and len(value) > field.longest:
        raise invalid(f"{field.name} must not be longer than {field.longest} characters")


def _check_number(field: Field, value: Any, _: Standard) -> None:
    if not _is_number(value):
        raise wrong(field.name, value)
    _bounded(field, value)


def _check_integer(field: Field, value: Any, _: Standard) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(field.name, value)
    _bounded(field, value)


def _check_seconds(field: Field, value: Any, _: Standard) -> None:
    # The legacy standard documents a string; gateways send numbers, and the service is not known to mind.
    if isinstance(value, bool) or not str(value).isascii() or not str(value).isdigit():
        raise wrong(field.name, value)
    _bounded(field, int(value))


def _check_flag(field: Field, value: object, _: Standard) -> None:
    if not isinstance(value, bool):
        raise wrong(field.name, value)


def _check_object(field: Field, value: object, _: Standard) -> None:
    if not isinstance(value, Mapping):
        raise wrong(field.name, value)


def _check_list(field: Field, value: object, _: Standard) -> None:
    if not isinstance(value, list):
        raise wrong(field.name, value)
    if field.longest is not None and len(value) > field.longest:
        raise invalid(f"{field.name} must not have more than {field.longest} items")


def _check_image(field: Field, value: object, standard: Standard) -> None:
    check_picture(field.name, value, standard)


def _check_id(field: Field, value: object, _: Standard) -> None:
    # Ids are longs in the legacy standard and strings in the new one; gateways mix them.
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise wrong(field.name, value)


_KINDS: dict[Kind, Callable[[Field, Any, Standard], None]] = {
    "text": _check_text,
    "number": _check_number,
    "integer": _check_integer,
    "seconds": _check_seconds,
    "flag": _check_flag,
    "object": _check_object,
    "list": _check_list,
    "image": _check_image,
    "id": _check_id,
}
