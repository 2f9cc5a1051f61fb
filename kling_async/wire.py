"""Bytes in, observations out: the one place that knows the dialects and error forms of every host.

Stage: decode. Before: transport. After: lifecycle.

Theory. Gateways wrap, rename, flatten and nest the service's answer, and change how they do it without notice. So this
does not ask which host answered: it looks for what it needs in the order of the service reference, "Normaliser". What
it cannot use it refuses with BadEnvelope; it never coerces (a null id must not become the text "None").
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn, TypeGuard

import attrs
import cattrs

from .dialects import STATUS_WORDS, status_of
from .errors import BadEnvelope, clean_text, service_error
from .models import NOTHING, Asset, AssetKind, Billing, Observation, TaskStatus

JsonObject = Mapping[str, object]

_OK_WORDS = frozenset({"0", "success", "succeed", "ok"})
_OK_MESSAGES = frozenset({"success", "succeed", "succeeded", "http_ok", "ok"})
# Ids reach URLs and logs: letters, digits and what gateways put into base64-like ids, but no slash, comma or space.
_ID = re.compile(r"[A-Za-z0-9_\-.:=+~]{1,256}\Z")
_LOST = frozenset({"do_request_failed", "read_response_body_failed", "unmarshal_response_failed", "insert_task_failed"})
_SECONDS_BELOW = 1e11  # a time below this is in seconds, above it in milliseconds
_LATEST_MS = 253_402_300_799_999  # the last moment of the year 9999, which is as far as a datetime goes
_FIGURE = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?\Z")
_LONGEST_S = 1e9
_LARGEST = 1e18
_DEEPEST_WRAP = 3
_PAGE_BYTES = 8192  # from here on the parser matters


def parse_json(data: bytes) -> object:
    """Parse an answer's body; a page of a list with the parser of the extra `speed`, if that is installed.

    That one reads a whole number of more than 64 bits as a float, which no id or figure of the service is; everything
    else it reads alike, or refuses, and then it is read again here.

    Raises:
        BadEnvelope: not JSON, NaN or Infinity in it, nested too deeply, or a number too long to be one.
    """
    fast = fast_loads() if len(data) >= _PAGE_BYTES else None
    if fast is not None:
        try:
            return fast(data)
        except ValueError:
            pass  # refused below as well, in our words; or read there, where it is the stricter one of the two
    try:
        # As text: given bytes, json.loads would take UTF-16 as well, which no host speaks.
        return _JSON.decode(data.removeprefix(b"\xef\xbb\xbf").decode())
    except (ValueError, RecursionError) as error:
        head = clean_text(data[:60].decode("utf-8", "replace"), 60)
        kind = "an HTML page" if data.lstrip()[:1] == b"<" else "not JSON"
        raise BadEnvelope(f"the answer is {kind} ({type(error).__name__}): {head!r}") from None


@functools.cache
def fast_loads() -> Callable[[bytes], object] | None:
    """Give the parser of the extra `speed`, if it is installed: imported when the first answer is read, not before."""
    try:
        import orjson  # noqa: PLC0415 - an extra, which may be missing
    except ImportError:
        return None
    return orjson.loads


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)


@attrs.frozen
class Envelope:
    """An answer that is not a refusal.

    Attributes:
        rows: the task objects in it, undecoded.
        many: whether it is a list; one task stands alone otherwise.
        request_id: the service's id of the exchange.
        next_cursor: where the next page of a cursor list begins; None at its end.
        is_null: there was something else than a plain list of objects, which a host may mean as an empty list or not.
    """

    rows: tuple[JsonObject, ...]
    many: bool
    request_id: str | None = None
    next_cursor: str | None = None
    is_null: bool = False


def open_envelope(
    payload: object, http_status: int = 200, retry_in_s: float | None = None, *, is_call: bool = False
) -> Envelope:
    """Take the tasks out of an answer of any dialect.

    Args:
        payload: the parsed body.
        http_status: decides only where the body does not.
        retry_in_s: from Retry-After, seconds, to hand on.
        is_call: it answers a call that makes no task, so that no task can be meant.

    Raises:
        ServiceError: the answer is a refusal (error forms E1 to E3 and E5).
        BadEnvelope: it is neither a refusal nor an answer.
    """
    if not isinstance(payload, dict):
        raise BadEnvelope(f"the answer is a JSON {type(payload).__name__}, not an object", http_status=http_status)
    request_id = _shown(payload.get("request_id"))
    refusal = _refusal(payload, http_status) or _selection_refusal(payload, is_call=is_call)
    if refusal is not None:
        code, message = refusal
        raise service_error(code, message, http_status, request_id=request_id, retry_in_s=retry_in_s)
    data = payload.get("data")
    if isinstance(data, list):
        rows = _objects(data)
        return Envelope(rows, many=True, request_id=request_id, is_null=len(rows) < len(data))
    if isinstance(data, dict) and isinstance(data.get("result"), list):
        cursor = _text(data.get("next_cursor")) if data.get("has_more", True) else None
        rows = _objects(data["result"])
        return Envelope(rows, many=True, request_id=request_id, next_cursor=cursor or None, is_null=True)
    if isinstance(data, dict) and ("code" in payload or not _has_task(payload)):
        return Envelope((_with_words(data, payload.get("message")),), many=False, request_id=request_id)
    if _has_task(payload):
        return Envelope((payload,), many=False, request_id=request_id)
    if data is None and "code" in payload:
        return Envelope((), many=True, request_id=request_id, is_null=True)
    raise BadEnvelope("the answer holds no task", http_status=http_status)


def _objects(values: list[Any]) -> tuple[JsonObject, ...]:
    if not set(map(type, values)) - _OBJECT:  # a page of 500 rows need not be looked at one by one
        return tuple(values)
    return tuple(value for value in values if isinstance(value, dict))


_OBJECT = frozenset({dict})


def _with_words(row: JsonObject, message: object) -> JsonObject:
    # Some hosts tell the reason of a failure beside the task, where the service's own word is always "SUCCEED".
    if not isinstance(message, str) or not message or message.lower() in _OK_MESSAGES or "message" in row:
        return row
    return {**row, "message": message}


def _has_task(payload: JsonObject) -> bool:
    return any(isinstance(payload.get(name), str) and payload[name] for name in ("task_id", "id"))


def _refusal(payload: JsonObject, http_status: int) -> tuple[int | str | None, str] | None:
    error = payload.get("error")
    if isinstance(error, dict) and not _has_task(payload) and not payload.get("data"):
        message = _text(error.get("message")) or ""
        return _inner_refusal(message) or (_word(error.get("code")) or _word(error.get("type")), message)
    message = _text(payload.get("message")) or ""
    code = payload.get("code")
    if isinstance(code, str) and code.lower() in _OK_WORDS:
        code = 0
    if isinstance(code, str) and code.isdecimal() and len(code) < 10:
        code = int(code)
    if isinstance(code, bool) or (code is not None and not isinstance(code, int | str)):
        raise BadEnvelope(f"the answer's code is a JSON {type(code).__name__}", http_status=http_status)
    if isinstance(code, str):
        # A gateway that lost the answer knows less than what it quotes: a task may exist.
        return (None if code in _LOST else _inner_refusal(message)) or (code, message)
    if code:
        return code, message
    if http_status >= 400 and not (code == 0 and _holds_task(payload.get("data"))):
        detail = _text(error) or _text(payload.get("detail")) or ""
        return None, message or detail
    return None


def _holds_task(data: object) -> bool:
    """Tell whether there is a task in an answer, whatever the status around it says: it was made, and is paid for."""
    return isinstance(data, dict) and any(is_id(data.get(name)) for name in ("task_id", "id"))


def _selection_refusal(payload: JsonObject, *, is_call: bool) -> tuple[str, str] | None:
    # Source: service reference, "Multi-elements": a number other than 0 in `data.status` is a refusal, whatever the
    # code around it says; a task's status is a word.
    data, message = payload.get("data"), _text(payload.get("message")) or ""
    if not isinstance(data, dict) or not (is_call or ("session_id" in data and not _has_task(data))):
        return None
    status = data.get("status")
    if isinstance(status, str) and status.lstrip("-").isdecimal() and len(status) < 10:
        status = int(status)
    if isinstance(status, bool) or not isinstance(status, int) or not status:
        return None
    told = "" if message.lower() in _OK_MESSAGES else message
    words = told or _text(data.get("message")) or "the selection was refused"
    return "selection_refused", f"{words} (inner status {status})"


def _inner_refusal(message: str) -> tuple[int, str] | None:
    # Error form E2: a gateway puts the service's whole body, as a string, into its own message.
    if not message.lstrip().startswith("{"):
        return None
    try:
        inner = parse_json(message.encode("utf-8", "replace"))
    except BadEnvelope:
        return None
    code = _word(inner.get("code")) if isinstance(inner, dict) else None
    return (code, _text(inner.get("message")) or "") if isinstance(inner, dict) and isinstance(code, int) else None


def _word(value: object) -> int | str | None:
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < 10 else value or None
    return value if isinstance(value, int) and not isinstance(value, bool) and value else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _shown(value: object) -> str | None:
    return clean_text(value, 128) if isinstance(value, str) and value else None


# --- one task ------------------------------------------------------------------------------------------------------


def is_id(value: object) -> TypeGuard[str]:
    """Tell whether a value can be a host's id of a task: it reaches URLs and logs."""
    return isinstance(value, str) and _ID.match(value) is not None and value not in {".", ".."}


def ids_of(row: JsonObject) -> tuple[str | None, str | None]:
    """Read a row's task id and external id, without decoding the rest: most rows of a page are not of interest.

    A numeric id is a gateway's row number, never the task's.
    """
    # Written out: a page has 500 rows, and generators would cost more than its JSON.
    task_id = row.get("id")
    if task_id is None or not is_id(task_id):
        task_id = row.get("task_id")
        if not is_id(task_id):
            task_id = None
    return task_id, external_id_of(row)


def external_id_of(row: JsonObject) -> str | None:
    """Read a row's external id."""
    external_id = row.get("external_id")
    if not isinstance(external_id, str) or not external_id:
        external_id = row.get("external_task_id")
        if not isinstance(external_id, str) or not external_id:
            info = row.get("task_info")
            external_id = info.get("external_task_id") if isinstance(info, dict) else None
            if not isinstance(external_id, str) or not external_id:
                return None
    return external_id


# What a plain row of a running task tells, as it stands there: its word, when it was changed and when it was made; then
# its external id, and the service's id of the exchange.
Mark = tuple[str, object, object, str | None, str | None]

# What a row of a task that runs consists of. Anything more may be news, and is read with care.
_PLAIN_FIELDS = frozenset(
    {
        "task_id",
        "id",
        "status",
        "task_status",
        "task_status_msg",
        "message",
        "task_info",
        "external_id",
        "external_task_id",
        "created_at",
        "updated_at",
        "create_time",
        "update_time",
    }
)


def mark_of(row: JsonObject, request_id: str | None = None, own_id: str = "") -> Mark | None:
    """Give what a row of a running task tells, if it is one that tells no more than its status and its times.

    While word and time stay the same there is no news in it. A hundred thousand pending jobs keep this of what was
    last seen of them, which is a third of an observation.

    Args:
        row: the task object.
        request_id: the service's id of the exchange.
        own_id: the external id it probably has: kept in place of an equal text.

    Returns:
        None where only decoding can tell: an end, an unknown word, no time, or anything beside the usual fields.
    """
    word, at = row.get("task_status"), row.get("updated_at")
    if word is None and at is None:
        word, at = row.get("status"), row.get("update_time")
    if type(word) is not str or not at or type(at) not in _TIMES:
        return None
    same = _SAME_WORD.get(word)
    if (same is None and status_of(word) not in _RUNNING) or not row.keys() <= _PLAIN_FIELDS:
        return None
    made = row.get("created_at") or row.get("create_time")
    if made == at:
        made = at  # one number for both
    external_id = external_id_of(row)
    return same or word, at, made, own_id if external_id == own_id else external_id, request_id


def observation_of(mark: Mark, task_id: str | None, raw: JsonObject = NOTHING) -> Observation:
    """Give the observation that a plain row of a running task amounts to."""
    word, at, made, external_id, request_id = mark
    updated_at = _time(at)
    return Observation(
        task_id=task_id,
        external_id=external_id,
        status=status_of(word),
        word=word,
        created_at=updated_at if made is at else _time(made),
        updated_at=updated_at,
        request_id=request_id,
        raw=raw,
    )


_TIMES = frozenset({int, str, float})
_RUNNING = frozenset({TaskStatus.SUBMITTED, TaskStatus.PROCESSING})
_SAME_WORD = {word: word for word, status in STATUS_WORDS.items() if status in _RUNNING}  # one text for all tasks


def decode_task(
    row: JsonObject,
    yields: AssetKind,
    *,
    created: bool = False,
    retention_s: float | None = None,
    nameless: bool = False,
    known_id: str | None = None,
    request_id: str | None = None,
) -> Observation:
    """Turn one task object of any dialect into an observation.

    Args:
        row: the task object, with whatever a gateway wrapped around it.
        yields: kind of the endpoint's first output, for URLs that come without a name.
        created: the row answers a create: an empty status word then means submitted.
        retention_s: how long the host keeps files, seconds; dates the assets.
        nameless: the row may come without an id, because nothing can be asked about it anyway.
        known_id: the task's id as it was told before, which is kept whatever this row calls it.
        request_id: the service's id of the exchange.

    Raises:
        BadEnvelope: the row has no usable id, or a field of a type that cannot be what it says.
    """
    # Nearly every row is of a task that runs and tells nothing else: the rest of this function is for the others.
    mark = mark_of(row, request_id)
    if mark is not None:
        task_id = ids_of(row)[0]
        if task_id is None and not nameless:
            raise BadEnvelope("a task without a usable id")
        return observation_of(mark, known_id or task_id, row)
    layers = _layers(row)
    inner = layers[-1]
    task_id, external_id = ids_of(row)
    for layer in layers[1:]:
        inner_task_id, inner_external_id = ids_of(layer)
        task_id = task_id or inner_task_id
        external_id = external_id or inner_external_id
    if task_id is None and not nameless:
        raise BadEnvelope("a task without a usable id")
    word, status = _status(layers, created=created)
    upstream = _word_of(inner)[1] if inner is not row else _UNKNOWN
    updated_at = _time(_first(layers[::-1], "updated_at", "update_time", "finish_time", "completed_at"))
    expires_at = None
    if retention_s is not None and updated_at is not None and status is TaskStatus.SUCCEEDED:
        try:
            expires_at = updated_at + timedelta(seconds=retention_s)
        except OverflowError:  # a hostile date at the end of time
            expires_at = None
    return Observation(
        task_id=known_id or task_id,
        external_id=external_id,
        status=status,
        word=clean_text(word, 40),
        upstream=upstream if upstream is not _UNKNOWN else None,
        reason=_reason(layers) if status is TaskStatus.FAILED else "",
        assets=_assets(layers, yields, expires_at),
        billing=_billing(inner),
        created_at=_time(_first(layers[::-1], "created_at", "create_time", "submit_time")),
        updated_at=updated_at,
        request_id=request_id,
        raw=row,
    )


def _layers(row: JsonObject) -> tuple[JsonObject, ...]:
    """Give the row, and every object a gateway nested in it under `data`, down to the one that holds the result."""
    layers: tuple[JsonObject, ...] = (row,)
    if "task_status" in row:
        return layers
    for _ in range(_DEEPEST_WRAP):
        layer = layers[-1]
        if "task_result" in layer or "task_status" in layer or "outputs" in layer:
            break
        nested = layer.get("data")
        if not isinstance(nested, dict):
            break
        layers = (*layers, nested)
    return layers


def _status(layers: tuple[JsonObject, ...], *, created: bool) -> tuple[str, TaskStatus]:
    """Read the outermost status that is known: a gateway's own, unless it has none."""
    first = ""
    for layer in layers:
        word, status = _word_of(layer)
        if status is not _UNKNOWN:
            return word, status
        first = first or word
    return first, TaskStatus.SUBMITTED if created and not first else _UNKNOWN


_UNKNOWN = TaskStatus.UNKNOWN


def _word_of(layer: JsonObject) -> tuple[str, TaskStatus]:
    word = layer.get("task_status")
    if not isinstance(word, str) or not word:
        word = layer.get("status")
        if not isinstance(word, str) or not word:
            return "", _UNKNOWN
    return word, status_of(word)


def _reason(layers: tuple[JsonObject, ...]) -> str:
    for layer in reversed(layers):
        error = layer.get("error")
        told = (
            layer.get("task_status_msg"),
            layer.get("fail_reason"),
            error.get("message") if isinstance(error, dict) else error,
            layer.get("message"),
        )
        for words in told:
            # "SUCCEED" beside a failure is the envelope talking about the exchange, not about the task.
            if isinstance(words, str) and words and words.lower() not in _OK_MESSAGES:
                return clean_text(words)
    return ""


def _first(layers: tuple[JsonObject, ...], *names: str) -> object:
    for layer in layers:
        for name in names:
            value = layer.get(name)
            if value not in (None, 0, ""):  # a tuple: hostile values need not be hashable
                return value
    return None


def _time(value: object) -> datetime | None:
    if type(value) is int and _SECONDS_BELOW <= value <= _LATEST_MS:  # as nearly all are
        return datetime.fromtimestamp(value / 1000, UTC)
    if isinstance(value, str) and _FIGURE.match(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LATEST_MS:
        return None
    return datetime.fromtimestamp(value if value < _SECONDS_BELOW else value / 1000, UTC)


# --- outputs -------------------------------------------------------------------------------------------------------


def _strict_text(value: object, _kind: object) -> str:
    if not isinstance(value, str) or len(value) > 65_536:
        raise TypeError("not a text")
    if not value.isascii():
        value.encode()  # refuses lone surrogates
    return value


def _seconds(value: object, _kind: object = None) -> float | None:
    if isinstance(value, str) and _FIGURE.match(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST_S:
        return None
    return float(value)


def _digits(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST * 100:
        return str(value)
    return value if isinstance(value, str) and value else None


@attrs.frozen
class _Length:
    """A length in seconds that hosts write as "5.041", "5", 5 or 5.0."""

    seconds: float | None = None


@attrs.frozen
class _Name:
    """An id that hosts write as text or as a number of 18 digits."""

    text: str | None = None


@attrs.frozen(kw_only=True)
class _Output:
    """One output as any dialect writes it; every field may be missing or null."""

    type: str | None = None
    id: str | None = None
    url: str | None = None
    watermark_url: str | None = None
    duration: _Length = _Length()
    url_mp3: str | None = None
    url_wav: str | None = None
    mp3_url: str | None = None
    wav_url: str | None = None
    duration_mp3: _Length = _Length()
    duration_wav: _Length = _Length()
    mp3_duration: _Length = _Length()
    wav_duration: _Length = _Length()
    url_1: str | None = None
    url_2: str | None = None
    url_3: str | None = None
    voice_id: str | None = None
    element_id: _Name = _Name()
    name: str | None = None
    voice_name: str | None = None
    element_name: str | None = None
    trial_url: str | None = None


# cattrs' own hooks coerce: null becomes "None", "false" becomes True. These refuse.
_STRICT = cattrs.Converter(detailed_validation=False)
_STRICT.register_structure_hook(str, _strict_text)
_STRICT.register_structure_hook(_Length, lambda value, _kind: _Length(_seconds(value)))
_STRICT.register_structure_hook(_Name, lambda value, _kind: _Name(_digits(value)))

_KINDS: Mapping[str, AssetKind] = {
    "videos": "video",
    "images": "image",
    "series_images": "image",
    "audios": "audio",
    "voices": "voice",
    "elements": "element",
}
# The last six are those of the Solutions API.
_OUTPUT_KINDS: Mapping[str, AssetKind] = {
    **{kind: kind for kind in _KINDS.values()},
    "cover": "cover",
    "subbed_video": "video",
    "product_video": "video",
    "product_image": "image",
    "model_images": "image",
    "srt": "subtitle",
    "ass": "subtitle",
}


def _assets(layers: tuple[JsonObject, ...], yields: AssetKind, expires_at: datetime | None) -> tuple[Asset, ...]:
    for layer in reversed(layers):
        found: tuple[Asset, ...] = ()
        for kind, role, entry in _entries(layer, yields):
            found += _assets_of(entry, kind, role, expires_at)
        if found:
            return found
    for layer in layers:
        url = _lonely_url(layer)
        if url is not None:
            return (Asset(kind=yields, url=url, duration_s=_lonely_length(layer), expires_at=expires_at),)
    return ()


def _entries(layer: JsonObject, yields: AssetKind) -> Iterator[tuple[AssetKind, str | None, JsonObject]]:
    """Give every output: its kind, and the service's own word for it where the kind does not say it all."""
    outputs = layer.get("outputs")
    if isinstance(outputs, list):
        for entry in _objects(outputs):
            word = str(entry.get("type"))
            kind = _OUTPUT_KINDS.get(word, yields)
            yield kind, word if word in _OUTPUT_KINDS and word != kind else None, entry
    result = layer.get("task_result")
    if isinstance(result, dict):
        for name in _KINDS if len(result) > 1 else result:  # nearly all have but one
            listed = result[name] if name in _KINDS and name in result else None
            if isinstance(listed, list):
                for entry in _objects(listed):
                    yield _KINDS[name], name if name == "series_images" else None, entry


_FILE_FIELDS = frozenset({"id", "url", "duration", "watermark_url"})
_SIDE_FIELDS = frozenset({"id", "type", "voice_id", "name", "voice_name", "element_name"})
_LIVING: frozenset[AssetKind] = frozenset({"voice", "element"})


def _assets_of(entry: JsonObject, kind: AssetKind, role: str | None, expires_at: datetime | None) -> tuple[Asset, ...]:
    if entry.keys() <= _FILE_FIELDS and (url := entry.get("url")) is not None:  # as the outputs of nearly all tasks are
        twin, asset_id = entry.get("watermark_url"), entry.get("id")
        try:
            url = _strict_text(url, str)
            twin = None if twin is None else _strict_text(twin, str)
            if isinstance(asset_id, str):
                asset_id = _strict_text(asset_id, str)
        except (TypeError, ValueError) as error:
            raise BadEnvelope(f"an output that cannot be read: {clean_text(error, 80)}") from None
        if url:
            file = Asset(
                kind=kind,
                url=url,
                watermark_url=twin or None,
                duration_s=_seconds(entry.get("duration")),
                id=asset_id if isinstance(asset_id, str) and asset_id else None,
                role=role,
                expires_at=expires_at,
            )
            return (file,)
    # A file that was paid for is worth more than its id: an id of a wrong type is left out, a URL of one is refused.
    usable = {name: value for name, value in entry.items() if name not in _SIDE_FIELDS or isinstance(value, str)}
    try:
        output = _STRICT.structure(usable, _Output)
    except (TypeError, ValueError, cattrs.BaseValidationError) as error:
        raise BadEnvelope(f"an output that cannot be read: {clean_text(error, 80)}") from None
    asset_id = output.id or output.voice_id or output.element_id.text or None
    name = output.name or output.voice_name or output.element_name or None
    variants = (
        (output.url or output.trial_url or _picture_of(entry), output.duration.seconds, role),
        (output.url_mp3 or output.mp3_url, output.duration_mp3.seconds or output.mp3_duration.seconds, "mp3"),
        (output.url_wav or output.wav_url, output.duration_wav.seconds or output.wav_duration.seconds, "wav"),
        (output.url_1, None, "url_1"),
        (output.url_2, None, "url_2"),
        (output.url_3, None, "url_3"),
    )
    twin = output.watermark_url or None
    found = tuple(
        Asset(
            kind=kind,
            url=url,
            watermark_url=twin,
            duration_s=length,
            id=asset_id,
            name=name,
            role=word,
            expires_at=expires_at,
        )
        for url, length, word in variants
        if url
    )
    if not found and asset_id is not None and kind in _LIVING:
        return (Asset(kind=kind, url="", id=asset_id, name=name, role=role),)
    return found


def _picture_of(entry: JsonObject) -> str | None:
    """Give the picture of an element, whose output has no URL of its own."""
    pictures = entry.get("element_image_list")
    url = pictures.get("frontal_image") if isinstance(pictures, dict) else None
    return url if isinstance(url, str) and url.startswith(("http://", "https://")) and url.isprintable() else None


def _lonely_url(layer: JsonObject) -> str | None:
    metadata = layer.get("metadata")
    candidates = (
        layer.get("result_url"),
        metadata.get("url") if isinstance(metadata, dict) else None,
        layer.get("url"),
        layer.get("fail_reason"),  # older new-api releases put the URL there, on success
    )
    for url in candidates:
        if isinstance(url, str) and url.startswith(("http://", "https://")) and url.isprintable():
            return url
    return None


def _lonely_length(layer: JsonObject) -> float | None:
    metadata = layer.get("metadata")
    if isinstance(metadata, dict) and metadata.get("duration") is not None:
        return _seconds(metadata["duration"])
    return _seconds(layer.get("seconds") or layer.get("duration"))


# --- billing -------------------------------------------------------------------------------------------------------


def _billing(row: JsonObject) -> Billing | None:
    charges = row.get("billing")
    if isinstance(charges, list):
        return _billing_of_charges(_objects(charges))
    units = _decimal(row.get("final_unit_deduction"))
    money = row.get("final_balance_deduction")
    amount = _decimal(money.get("quota")) if isinstance(money, dict) else None
    list_price = _decimal(money.get("list_price")) if isinstance(money, dict) else None
    if units is None and amount is None and list_price is None:
        return None
    return Billing(units=units, amount=amount, list_price=list_price)


def _billing_of_charges(charges: tuple[JsonObject, ...]) -> Billing | None:
    units: Decimal | None = None
    amount: Decimal | None = None
    list_price: Decimal | None = None
    currency: str | None = None
    for charge in charges:
        figure = _decimal(charge.get("amount"))
        if figure is None:
            continue
        if charge.get("charge_type") == "cash":
            amount = figure + (amount or 0)
            currency = _text(charge.get("currency")) or currency
            price = _decimal(charge.get("list_price"))
            list_price = list_price if price is None else price + (list_price or 0)
        else:  # "unit", or the bare amount "0" of a task that failed before it began
            units = figure + (units or 0)
    if units is None and amount is None:
        return None
    return Billing(units=units, amount=amount, currency=currency, list_price=list_price)


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, str):
        return Decimal(value) if _FIGURE.match(value.removeprefix("-")) else None
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
    return Decimal(str(value)) if number else None
