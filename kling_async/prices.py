"""What a request would cost by the printed price list, as data with its date; or why that is not known.

Stage: registry and wire. After: endpoints. Nothing is sent, and nothing here is ever the real charge: prices change,
packs and discounts differ, failed tasks are free. What was really taken is `Result.billing`, in the service's figures.

The tables are the printed list: units per second of a clip, or per picture, by quality. "-" is a dash of the list: no
such price, so none is made up. An unknown model has no price, whatever its name resembles. The defaults (mode, length,
sound, number) are those of the service reference, page by page as in `endpoints`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

import attrs

from .endpoints import endpoint_of
from .endpoints.rules import seconds_of
from .errors import clean_text

UnitKind = Literal["video", "image"]

UNIT_USD: Final[Mapping[UnitKind, Decimal]] = {"video": Decimal("0.14"), "image": Decimal("0.0035")}
"""List price of one unit in USD. Sounds, voices and faces are counted in video units too."""


@attrs.frozen
class Source:
    """Where figures were read, and when."""

    told: str
    read_on: date


_VIDEO_PAGE = Source("kling.ai/document-api/pricing/base/video", date(2026, 8, 13))
_IMAGE_PAGE = Source("kling.ai/document-api/pricing/base/image", date(2026, 8, 13))
# What these two transcriptions leave out stands in an older copy of the whole list.
_COPY = Source("the service's price list, as copied in inference-sh/grid, api/klingai/pricing.md", date(2026, 5, 15))


@attrs.frozen(kw_only=True)
class Estimate:
    """What a request would cost by the price list. Never the real charge: that is `Result.billing`.

    Attributes:
        units: resource-pack units; the upper bound where it is a range. None where it is not known, and for what is
            priced in money only.
        units_low: the lower bound; equal to `units` unless it is a range.
        unit_kind: what the units are, "video" (0.14 USD each) or "image" (0.0035 USD each).
        list_price: price before discounts, in `currency`; the upper bound where it is a range, None if not known.
        list_price_low: the lower bound; equal to `list_price` unless it is a range.
        currency: always USD, in which the list is printed.
        as_of: day on which the figures were read; they may have changed since.
        source: where they were read.
        why: one sentence: what it was computed from, or why it is not known.
    """

    units: Decimal | None = None
    units_low: Decimal | None = None
    unit_kind: UnitKind | None = None
    list_price: Decimal | None = None
    list_price_low: Decimal | None = None
    currency: Literal["USD"] = "USD"
    as_of: date
    source: str
    why: str

    @property
    def is_known(self) -> bool:
        """Whether there is a figure at all, if only a range."""
        return self.list_price is not None

    @property
    def is_range(self) -> bool:
        """Whether the bounds differ."""
        return self.list_price != self.list_price_low


@attrs.frozen
class Rate:
    """One row of the list.

    Attributes:
        models: model names it holds for, of both standards.
        cases: what is asked of the model: silent, sound, voice, video (as an input), motion, ...
        units: units per second or per picture, by quality; a quality without a price is not in it.
        source: where it was read.
        seconds: lengths that are sold; empty for pictures.
        one_quality: the model makes one quality only, and is not asked for another.
    """

    models: Collection[str]
    cases: Collection[str]
    units: Mapping[str, Decimal]
    source: Source
    seconds: Collection[int] = ()
    one_quality: bool = False


def _clips(models: str, cases: str, cells: str, seconds: Collection[int], source: Source = _VIDEO_PAGE) -> Rate:
    units = _read_cells("720p 1080p 4k", cells)
    return Rate(models.split(), cases.split(), units, source, seconds, one_quality="master" in models)


def _pictures(models: str, cases: str, cells: str) -> Rate:
    return Rate(models.split(), cases.split(), _read_cells("1k 2k 4k", cells), _IMAGE_PAGE)


def _read_cells(columns: str, cells: str) -> Mapping[str, Decimal]:
    pairs = zip(columns.split(), cells.split(), strict=True)
    return {column: Decimal(cell) for column, cell in pairs if cell != "-"}


# Older models are billed by the clip, so that no price is printed for other lengths.
_5_10 = (5, 10)
_3_10, _3_15 = range(3, 11), range(3, 16)
# One model, as the legacy standard and as the new one call it.
_3, _2_6, _O1 = "kling-v3 kling-3.0", "kling-v2-6 kling-2.6", "kling-video-o1 kling-o1"
_3_OMNI = "kling-v3-omni kling-3.0-omni"

CLIPS: Final[tuple[Rate, ...]] = (
    #      models                               cases           720p 1080p 4k  lengths
    _clips("kling-3.0-turbo",                   "silent sound", "0.8 1.0 -",   _3_15),
    _clips(_3,                                  "silent",       "0.6 0.8 3.0", _3_15),
    _clips(_3,                                  "sound",        "0.9 1.2 3.0", _3_15),
    _clips(_3,                                  "motion",       "0.9 1.2 -",   (), _COPY),
    _clips(_3_OMNI,                             "silent",       "0.6 0.8 3.0", _3_15),
    _clips(_3_OMNI,                             "sound",        "0.8 1.0 3.0", _3_15),
    _clips(_3_OMNI,                             "video",        "0.9 1.2 3.0", _3_15),
    _clips(_O1,                                 "silent",       "0.6 0.8 -",   _3_10),
    _clips(_O1,                                 "video",        "0.9 1.2 -",   _3_10),
    _clips(_2_6,                                "silent",       "0.3 0.5 -",   _5_10),
    _clips(_2_6,                                "sound",        "- 1.0 -",     _5_10),
    _clips(_2_6,                                "voice",        "- 1.2 -",     _5_10),
    _clips(_2_6,                                "motion",       "0.5 0.8 -",   (), _COPY),
    _clips("kling-v2-5-turbo kling-2.5-turbo",  "silent",       "0.3 0.5 -",   _5_10),
    _clips("kling-v2-1 kling-v1-6 kling-v1-5",  "silent",       "0.4 0.7 -",   _5_10),
    _clips("kling-v1-6",                        "pictures",     "0.4 0.7 -",   _5_10, _COPY),
    _clips("kling-v1-6",                        "elements",     "0.6 1.0 -",   _5_10, _COPY),
    _clips("kling-v2-1-master kling-v2-master", "silent",       "- 2.0 -",     _5_10),
    _clips("kling-v1",                          "silent",       "0.2 0.7 -",   _5_10),
    _clips("avatar",                            "avatar",       "0.4 0.8 -",   (), _COPY),
)  # fmt: skip

PICTURES: Final[tuple[Rate, ...]] = (
    #         models            cases            1k 2k 4k
    _pictures("kling-v3",       "words picture", "8 8 -"),
    _pictures("kling-v3-omni",  "words picture", "8 8 16"),
    _pictures("kling-image-o1", "words picture", "8 8 -"),
    _pictures("kling-v2-1",     "words",         "4 4 -"),
    _pictures("kling-v2-1",     "picture",       "8 8 -"),
    _pictures("kling-v2-1",     "pictures",      "16 16 -"),
    _pictures("kling-v2",       "words",         "4 4 -"),
    _pictures("kling-v2",       "picture",       "8 - -"),
    _pictures("kling-v2",       "pictures",      "16 - -"),
    _pictures("kling-v1-5",     "words",         "4 - -"),
    _pictures("kling-v1-5",     "picture",       "8 - -"),
    _pictures("kling-v1",       "words picture", "1 - -"),
)  # fmt: skip

CALLS: Final[Mapping[str, tuple[Decimal, UnitKind]]] = {
    "TextToSpeech": (Decimal("0.05"), "video"),
    "TextToAudio": (Decimal("0.25"), "video"),
    "VideoToAudio": (Decimal("0.25"), "video"),
    "IdentifyFace": (Decimal("0.05"), "video"),
    "RecognizeImage": (Decimal("0.1"), "video"),
    "CustomVoice": (Decimal("0.05"), "video"),
    "SubjectCompletion": (Decimal(20), "image"),
}
"""Units per call, by request class; all from the copy of the list."""

_CASES: Final[Mapping[str, str]] = {
    "silent": "without sound",
    "sound": "with sound",
    "voice": "with sound and voices",
    "video": "with a video",
    "video and sound": "with a video and sound",
    "motion": "for motion control",
    "elements": "for multi-elements",
    "words": "from words",
    "picture": "from a picture",
    "pictures": "from several pictures",
    "avatar": "of a picture",
}
_QUALITIES: Final[Mapping[str, str]] = {"std": "720p", "pro": "1080p"}
_MOTION = "the motion's video, or shorter"
# In std 1 for kling-v1 and 2 for its successors, in pro 3.5; the request names neither model nor quality.
_EXTEND_UNITS: Final = (Decimal(1), Decimal("3.5"))
_EXPAND_UNITS = Decimal(8)
_TRY_ON_USD = Decimal("0.07")
_TRY_ON_MODELS = ("kolors-virtual-try-on-v1", "kolors-virtual-try-on-v1-5")
_DEFAULT_SECONDS = 5
_MOST_PICTURES = 9


def estimate(request: object) -> Estimate:
    """Estimate what a request would cost by the price list, before it is sent.

    Good for a plan or a limit, never as the charge: read that from `Result.billing`. What `extra` gives counts as
    given; what is unset counts as the service's default.

    Returns:
        Units and list price, or a range of them; or an Estimate without figures that says why: a model the list does
        not have, a dash in the list, or a length that only the service knows (editing a video, following a motion or
        a sound).

    Raises:
        ConfigError: it is not a request object.
    """
    row = endpoint_of(request)
    kind = type(request).__name__
    if kind in CALLS:
        units, unit_kind = CALLS[kind]
        return _known(units, unit_kind, _COPY, f"{row.name} costs {units} {unit_kind} units a call")
    if kind in _RULES:
        return _RULES[kind](request, row.model_of(request))
    return _unknown(f"the price list has no row for {row.name}")


# --- by kind of request --------------------------------------------------------------------------------------------


def _legacy_clip(request: Any, model: str) -> Estimate:
    is_omni = type(request).__name__ == "OmniVideo"
    sound = _word(request, "sound", "off")
    if sound not in {"on", "off"}:
        return _unknown(f"the price list does not know sound={_shown(sound)}")
    videos = [_word(video, "refer_type", "base") for video in _items(request, "video_list")] if is_omni else []
    return _clip_price(
        model,
        _case(video=bool(videos), sound=sound == "on", voice=bool(_items(request, "voice_list"))),
        _mode(request),
        _get(request, "duration"),
        default="1080p" if is_omni else "720p",
        # The service ignores the duration then.
        as_long_as="the video it edits" if "base" in videos else "",
    )


def _operation(request: Any, _model: str) -> Estimate:
    operation, model, settings = _word(request, "operation"), _word(request, "model"), _get(request, "settings")
    resolution = _word(settings, "resolution").lower()
    if operation == "motion-control":
        return _clip_price(model, "motion", resolution, as_long_as=_MOTION)
    if operation not in {"text-to-video", "image-to-video", "omni-video"}:
        return _unknown(f"the price list does not know the operation {_shown(operation)}")
    audio = _word(settings, "audio", "off")
    if audio not in {"native", "original", "off"}:
        return _unknown(f"the price list does not know audio={_shown(audio)}")
    types = {_word(item, "type") for item in _items(request, "contents")}
    return _clip_price(
        model,
        _case(video=bool(types & {"feature_video", "base_video"}), sound=audio == "native", voice="voice" in types),
        resolution,
        _get(settings, "duration"),
        as_long_as="the video it edits" if "base_video" in types else "",
    )


def _multi_image(request: Any, model: str) -> Estimate:
    return _clip_price(model, "pictures", _mode(request), _get(request, "duration"))


def _multi_elements(request: Any, model: str) -> Estimate:
    return _clip_price(model, "elements", _mode(request), _get(request, "duration"))


def _motion(request: Any, model: str) -> Estimate:
    return _clip_price(model, "motion", _mode(request), as_long_as=_MOTION)


def _avatar(request: Any, _model: str) -> Estimate:
    return _clip_price("avatar", "avatar", _mode(request), as_long_as="its sound")


def _lip_sync(_request: Any, _model: str) -> Estimate:
    return _unknown("lip sync costs 0.5 units per 5 seconds, at least 5, of a length that is not known here", _COPY)


def _effects(_request: Any, _model: str) -> Estimate:
    return _unknown("each effect has a price of its own, which the price list does not print", _COPY)


def _extend(_request: Any, _model: str) -> Estimate:
    low, high = _EXTEND_UNITS
    why = f"an extension costs {low} to {high} units, by model and quality of the video it extends"
    return _known(high, "video", _COPY, why, low)


def _image(request: Any, model: str) -> Estimate:
    return _picture_price(request, model, "words" if _get(request, "image") is None else "picture", _count(request))


def _omni_image(request: Any, model: str) -> Estimate:
    result = _word(request, "result_type", "single")
    if result not in {"single", "series"}:
        return _unknown(f"the price list does not know result_type={_shown(result)}", _IMAGE_PAGE)
    pictured = bool(_items(request, "image_list") or _items(request, "element_list"))
    count = _count(request)
    if result == "series":  # n is void then
        is_auto = _get(request, "series_amount") == "auto"
        count = (2, _MOST_PICTURES) if is_auto else _count(request, "series_amount", default=4, least=2)
    return _picture_price(request, model, "picture" if pictured else "words", count)


def _multi_image_picture(request: Any, model: str) -> Estimate:
    return _picture_price(request, model, "pictures", _count(request))


def _expand(request: Any, _model: str) -> Estimate:
    count = _count(request)
    if count is None:
        return _unknown("an expanded picture costs 8 image units, and it is not clear how many are asked for", _COPY)
    why = f"an expanded picture costs {_EXPAND_UNITS} image units, times {count[1]}"
    return _known(_EXPAND_UNITS * count[1], "image", _COPY, why)


def _try_on(_request: Any, model: str) -> Estimate:
    if model not in _TRY_ON_MODELS:
        return _unknown(f"the price list has no model {_shown(model)} for try-on", _COPY)
    usd, why = _TRY_ON_USD, f"{model} costs {_TRY_ON_USD} USD, and is not counted in units"
    return Estimate(list_price=usd, list_price_low=usd, as_of=_COPY.read_on, source=_COPY.told, why=why)


_RULES: Mapping[str, Callable[[Any, str], Estimate]] = {
    "TextToVideo": _legacy_clip,
    "ImageToVideo": _legacy_clip,
    "OmniVideo": _legacy_clip,
    "Operation": _operation,
    "MultiImageToVideo": _multi_image,
    "MultiElements": _multi_elements,
    "MotionControl": _motion,
    "VideoExtend": _extend,
    "VideoEffects": _effects,
    "Avatar": _avatar,
    "LipSync": _lip_sync,
    "AdvancedLipSync": _lip_sync,
    "ImageGeneration": _image,
    "OmniImage": _omni_image,
    "MultiImageToImage": _multi_image_picture,
    "ImageExpand": _expand,
    "VirtualTryOn": _try_on,
}


# --- from the tables -----------------------------------------------------------------------------------------------


def _case(*, video: bool, sound: bool, voice: bool) -> str:
    if video:
        return "video and sound" if sound else "video"
    # The list knows voices only on top of sound, and the service has none without it.
    return ("voice" if voice else "sound") if sound else "silent"


def _clip_price(
    model: str, case: str, quality: str, duration: object = None, *, default: str = "720p", as_long_as: str = ""
) -> Estimate:
    rate = _find(CLIPS, model, case)
    if isinstance(rate, Estimate):
        return rate
    quality = quality or (next(iter(rate.units)) if rate.one_quality else default)
    each = rate.units.get(quality)
    if each is None:
        return _unknown(f"the price list has no price for {model} {_CASES[case]} in {_shown(quality)}", rate.source)
    told = f"{model} {_CASES[case]} costs {each} units a second in {quality}"
    if as_long_as:
        return _unknown(f"{told}, and the clip is as long as {as_long_as}, which is not known here", rate.source)
    length = seconds_of(_DEFAULT_SECONDS if duration is None else duration)
    if length is None or length not in rate.seconds:
        return _unknown(f"{told}, and no price is printed for a length of {_shown(duration)}", rate.source)
    return _known(each * int(length), "video", rate.source, f"{told}, times {length:g} s")


def _picture_price(request: Any, model: str, case: str, count: tuple[int, int] | None) -> Estimate:
    rate = _find(PICTURES, model, case)
    if isinstance(rate, Estimate):
        return rate
    quality = _word(request, "resolution", "1k").lower()
    each = rate.units.get(quality)
    if each is None:
        return _unknown(f"the price list has no price for {model} {_CASES[case]} in {_shown(quality)}", rate.source)
    told = f"{model} {_CASES[case]} costs {each} units a picture in {quality}"
    if count is None:
        return _unknown(f"{told}, and it is not clear how many are asked for", rate.source)
    low, high = count
    times = f"{low}" if low == high else f"{low} to {high}, as the service chooses"
    return _known(each * high, "image", rate.source, f"{told}, times {times}", each * low)


def _find(table: tuple[Rate, ...], model: str, case: str) -> Rate | Estimate:
    """Find a row, or say what the list does not have."""
    of_model = [rate for rate in table if model in rate.models]
    if not of_model:
        return _unknown(f"the price list has no model {_shown(model)}", table[0].source)
    for rate in of_model:
        if case in rate.cases:
            return rate
    return _unknown(f"the price list has no row for {model} {_CASES[case]}", table[0].source)


def _known(units: Decimal, kind: UnitKind, source: Source, why: str, low: Decimal | None = None) -> Estimate:
    low = units if low is None else low
    return Estimate(
        units=_plain(units),
        units_low=_plain(low),
        unit_kind=kind,
        list_price=_plain(units * UNIT_USD[kind]),
        list_price_low=_plain(low * UNIT_USD[kind]),
        as_of=source.read_on,
        source=source.told,
        why=why,
    )


def _plain(amount: Decimal) -> Decimal:
    """The same amount, to be printed as 3 and 20, not as 3.0 and 2E+1."""
    return Decimal(f"{amount.normalize():f}")


def _unknown(why: str, source: Source = _VIDEO_PAGE) -> Estimate:
    return Estimate(as_of=source.read_on, source=source.told, why=why)


# --- reading requests ----------------------------------------------------------------------------------------------


def _get(item: Any, name: str) -> Any:
    """Read a field of a request, of a nested object or of plain data; what `extra` gives counts as given."""
    if isinstance(item, Mapping):
        return item.get(name)
    given = getattr(item, name, None)
    extra = getattr(item, "extra", None)
    return extra.get(name) if given is None and isinstance(extra, Mapping) else given


def _word(item: Any, name: str, default: str = "") -> str:
    given = _get(item, name)
    return default if given is None else str(given)


def _items(item: Any, name: str) -> Sequence[Any]:
    given = _get(item, name)
    return given if isinstance(given, list | tuple) else ()


def _mode(request: Any) -> str:
    mode = _word(request, "mode")
    return _QUALITIES.get(mode, mode)


def _count(request: Any, name: str = "n", *, default: int = 1, least: int = 1) -> tuple[int, int] | None:
    given = _get(request, name)
    count = default if given is None else given
    if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= _MOST_PICTURES:
        return None
    return count, count


def _shown(value: object) -> str:
    return clean_text(repr(value), 64)
