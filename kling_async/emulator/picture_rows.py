"""Rows of the legacy standard that make pictures.

Place: part of the endpoint table. Source for every limit: service reference, "Legacy create endpoints: audio, image,
general" and "Rules shared by many endpoints". Where a limit is not printed (the range of a fidelity, the ratios of
`multi-image2image`), that of the nearest endpoint stands in.
"""

import math
from decimal import Decimal
from typing import Any, Literal

from .checks import Body, Field, Order, dig, items, text, wrong
from .images import decode_base64, is_url, look
from .media_orders import CALLER, number, ordered
from .media_results import omni_outputs, omni_result, shot_outputs, shot_result
from .refusals import Refusal, invalid
from .rows import Row

PROMPT_CHARACTERS = 2500
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
RESULTS = (1, 9)  # n
SERIES = (2, 9)  # series_amount
SERIES_DEFAULT = 4
EXPANSION = 3.0  # largest new area, in areas of the old picture
OMNI_INPUTS = 10  # images and elements together

# Means in seconds. Source: service reference, "Generation time".
_IMAGE_MEAN_S, _TRY_ON_MEAN_S = 32.0, 19.0

# Units by the piece. Source: service reference, "Price".
_MULTI_UNITS, _EXPAND_UNITS, _SHOT_UNITS, _TRY_ON_UNITS = Decimal(16), Decimal(8), Decimal(20), Decimal(1)
_IMAGE_UNITS = {"kling-v1": Decimal(1), "kling-v1-5": Decimal(4), "kling-v2": Decimal(4), "kling-v2-new": Decimal(4)}

_PROMPT = Field("prompt", "text", longest=PROMPT_CHARACTERS)
_NEEDED_PROMPT = Field("prompt", "text", required=True, longest=PROMPT_CHARACTERS)
_MODEL = Field("model_name", "text")
_COUNT = Field("n", "integer", low=RESULTS[0], high=RESULTS[1])
_RATIO = Field("aspect_ratio", "text", choices=RATIOS)
_MARK = (Field("watermark_info", "object"), Field("watermark_info.enabled", "flag"))
_SIDES = ("up", "down", "left", "right")


def _count(value: object, bounds: tuple[int, int], default: int) -> int:
    """A whole number within its bounds, else the default."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 3:
        value = int(value)
    is_fit = isinstance(value, int) and not isinstance(value, bool) and bounds[0] <= value <= bounds[1]
    return value if is_fit and isinstance(value, int) else default


def _read_images(row: Row, body: Body) -> Order:
    resolution = text(body, "resolution")
    ratio = text(body, "aspect_ratio")
    quality: Literal["std", "pro", "4k"] = "4k" if resolution == "4k" else "pro" if resolution == "2k" else "std"
    pictures = _pictures(body)
    return ordered(
        row,
        body,
        ratio=ratio if ratio in RATIOS else None if ratio == "auto" or row.name == "omni-image" else "16:9",
        mode=quality,
        count=_count(dig(body, "n"), RESULTS, 1),
        pictures=pictures,
        facts={"from_image": bool(pictures)},
    )


def _pictures(body: Body) -> tuple[str, ...]:
    """Linked and inline pictures of a body, the one that decides the ratio first."""
    named = [dig(body, name) for name in ("human_image", "image", "element_frontal_image")]
    subjects = [item.get("subject_image") for item in items(body, "subject_image_list")]
    listed = [item.get("image") for item in items(body, "image_list")]
    others = [dig(body, name) for name in ("scene_image", "style_image", "cloth_image")]
    values = [*named, *subjects, *listed, *others]
    return tuple(value for value in values if isinstance(value, str) and value)


def _check_negative(body: Body) -> None:
    if dig(body, "image") and dig(body, "negative_prompt"):
        raise invalid("negative_prompt is not supported together with image")


def _check_elements(body: Body) -> None:
    for element in items(body, "element_list"):
        Field("element_id", "id", required=True).check(element, "legacy")


def _price_of_images(order: Order) -> Decimal:
    if order.mode == "4k":
        each = Decimal(16)
    elif order.model == "kling-v2-1":
        each = Decimal(8) if order.facts.get("from_image") else Decimal(4)
    else:
        each = _IMAGE_UNITS.get(order.model, Decimal(8))
    return each * order.count


def _read_omni(row: Row, body: Body) -> Order:
    if text(body, "result_type") != "series":
        return _read_images(row, body)
    order = _read_images(row, {**body, "n": None})
    amount = dig(body, "series_amount")
    more: dict[str, Any] = {"counts": SERIES} if amount == "auto" else {"count": _count(amount, SERIES, SERIES_DEFAULT)}
    kept = {name: getattr(order, name) for name in ("ratio", "mode", "pictures", "facts")}
    return ordered(row, body, **kept, **more)


def _check_omni(body: Body) -> None:
    images = items(body, "image_list")
    for image in images:
        Field("image", "image", required=True).check(image, "legacy")
    if len(images) + len(items(body, "element_list")) > OMNI_INPUTS:
        raise invalid(f"image_list and element_list must not have more than {OMNI_INPUTS} items together")
    # Of the two counts the one that the result type does not use is void, whatever it holds.
    if text(body, "result_type") != "series":
        _COUNT.check(body, "legacy")
        return
    amount = dig(body, "series_amount")
    if amount not in (None, "", "auto") and not _count(amount, SERIES, 0):
        raise wrong("series_amount", amount)


def _check_subjects(body: Body) -> None:
    subjects = items(body, "subject_image_list")
    if not subjects:
        raise invalid("subject_image_list is required")
    for subject in subjects:
        Field("subject_image", "image", required=True).check(subject, "legacy")


def _read_expansion(row: Row, body: Body) -> Order:
    up, down, left, right = (number(dig(body, f"{side}_expansion_ratio"), 0.0) for side in _SIDES)
    # A linked picture is never opened; it counts as a square.
    width, height = 1000, 1000
    image = text(body, "image")
    if image and not is_url(image):
        try:
            picture = look(decode_base64("image", image, "legacy"))
        except Refusal:  # only reached when validation is lenient
            picture = look(b"")
        width, height = picture.width or width, picture.height or height
    ratio = f"{round(width * (1 + left + right))}:{round(height * (1 + up + down))}"
    count = _count(dig(body, "n"), RESULTS, 1)
    return ordered(row, body, model=row.model, count=count, pictures=_pictures(body), facts={"ratio": ratio})


def _check_expansion(body: Body) -> None:
    up, down, left, right = (number(dig(body, f"{side}_expansion_ratio"), 0.0) for side in _SIDES)
    area = (1 + up + down) * (1 + left + right)
    if area > EXPANSION and not math.isclose(area, EXPANSION):
        raise invalid("the expanded image must not be larger than 3 times the original one")


def _read_shot(row: Row, body: Body) -> Order:
    return ordered(row, body, model=row.model, ratio="1:1", pictures=_pictures(body), watermark=False)


def _read_try_on(row: Row, body: Body) -> Order:
    return ordered(row, body, pictures=_pictures(body), watermark=False)


PICTURE_ROWS: tuple[Row, ...] = (
    Row(
        name="generations",
        path="/v1/images/generations",
        model="kling-v3",
        pack="image",
        result="images",
        fields=(
            *CALLER,
            *_MARK,
            _MODEL,
            _NEEDED_PROMPT,
            Field("negative_prompt", "text", longest=PROMPT_CHARACTERS),
            Field("image", "image"),
            Field("image_reference", "text", choices=("subject", "face")),
            Field("image_fidelity", "number", low=0, high=1),
            Field("human_fidelity", "number", low=0, high=1),
            Field("element_list", "list"),
            Field("resolution", "text", choices=("1k", "2k")),
            _COUNT,
            _RATIO,
        ),
        rules=(_check_negative, _check_elements),
        read=_read_images,
        price=_price_of_images,
        mean_s=_IMAGE_MEAN_S,
    ),
    Row(
        name="omni-image",
        path="/v1/images/omni-image",
        model="kling-image-o1",
        pack="image",
        result="images",
        fields=(
            *CALLER,
            *_MARK,
            _MODEL,
            _NEEDED_PROMPT,
            Field("image_list", "list"),
            Field("element_list", "list"),
            Field("resolution", "text", choices=("1k", "2k", "4k")),
            Field("result_type", "text", choices=("single", "series")),
            Field("aspect_ratio", "text", choices=("auto", *RATIOS)),
        ),
        rules=(_check_elements, _check_omni),
        read=_read_omni,
        tell=omni_result,
        tell_new=omni_outputs,
        price=_price_of_images,
        mean_s=_IMAGE_MEAN_S,
    ),
    Row(
        name="multi-image2image",
        path="/v1/images/multi-image2image",
        model="kling-v2-1",
        pack="image",
        result="images",
        fields=(
            *CALLER,
            *_MARK,
            _MODEL,
            _PROMPT,
            Field("subject_image_list", "list", longest=4),
            Field("scene_image", "image"),
            Field("style_image", "image"),
            _COUNT,
            _RATIO,
        ),
        rules=(_check_subjects,),
        read=_read_images,
        price=lambda order: _MULTI_UNITS * order.count,
        mean_s=_IMAGE_MEAN_S,
    ),
    Row(
        name="expand",
        path="/v1/images/editing/expand",
        model="kling-image-expand",
        pack="image",
        result="images",
        fields=(
            *CALLER,
            *_MARK,
            Field("image", "image", required=True),
            *(Field(f"{side}_expansion_ratio", "number", required=True, low=0, high=2) for side in _SIDES),
            _PROMPT,
            _COUNT,
        ),
        rules=(_check_expansion,),
        read=_read_expansion,
        price=lambda order: _EXPAND_UNITS * order.count,
        mean_s=_IMAGE_MEAN_S,
    ),
    Row(
        name="virtual-try-on",
        path="/v1/images/kolors-virtual-try-on",
        model="kolors-virtual-try-on-v1",
        pack="try_on",
        result="images",
        fields=(*CALLER, _MODEL, Field("human_image", "image", required=True), Field("cloth_image", "image")),
        read=_read_try_on,
        price=lambda _: _TRY_ON_UNITS,
        mean_s=_TRY_ON_MEAN_S,
    ),
    Row(
        name="ai-multi-shot",
        path="/v1/general/ai-multi-shot",
        model="ai-multi-shot",
        pack="image",
        result="images",
        fields=(*CALLER, Field("element_frontal_image", "image", required=True)),
        read=_read_shot,
        tell=shot_result,
        tell_new=shot_outputs,
        price=lambda _: _SHOT_UNITS,
        mean_s=_IMAGE_MEAN_S,
        has_external_lookup=False,
    ),
)
