"""Which image model can do what, as data: it moves, so it warns and never refuses.

Stage: registry and wire. Source of every row: service reference, "Capability Map, image" (copy of May 2026), and its
older copy for models that the newer one no longer lists. An unknown model gets no advice: the service adds models
without telling us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from .base import Advice
from .matrix import names
from .required import said


@attrs.frozen
class ImageAbilities:
    """What one model can do.

    Attributes:
        endpoints: short names of the endpoints that take it.
        resolutions: allowed ones.
        reference: takes image_reference and the two fidelities.
        elements: takes elements.
        series: makes a series.
        wide: knows 21:9.
    """

    endpoints: frozenset[str]
    resolutions: frozenset[str]
    reference: bool = False
    elements: bool = False
    series: bool = False
    wide: bool = True


_1K, _2K, _4K = names("1k"), names("1k 2k"), names("1k 2k 4k")
_ONE, _OMNI, _BOTH = names("generations"), names("omni-image"), names("generations multi-image2image")
IMAGE_MODELS: Mapping[str, ImageAbilities] = {
    "kling-v1": ImageAbilities(_ONE, _1K, wide=False),
    "kling-v1-5": ImageAbilities(_ONE, _1K, reference=True),
    "kling-v2": ImageAbilities(_BOTH, _2K),
    "kling-v2-new": ImageAbilities(_ONE, _1K),
    "kling-v2-1": ImageAbilities(_BOTH, _2K, reference=True),
    "kling-v3": ImageAbilities(_ONE, _2K, elements=True),
    "kling-image-o1": ImageAbilities(_OMNI, _2K, elements=True),
    "kling-v3-omni": ImageAbilities(_OMNI, _4K, elements=True, series=True),
}
IMAGE_RATIOS = names("16:9 9:16 1:1 4:3 3:4 3:2 2:3 21:9")
"""What the service makes; omni-image knows auto as well."""


def advise_ratio(request: Any, known: frozenset[str]) -> Iterator[Advice]:
    """Say that an aspect ratio is not among those that the service prints."""
    if request.aspect_ratio is not None and request.aspect_ratio not in known:
        told = f"aspect_ratio {request.aspect_ratio} is not one of {', '.join(sorted(known))}"
        yield Advice("aspect_ratio", told)


def advise_image_model(request: Any, endpoint: str, default: str) -> Iterator[Advice]:
    """Say what this request asks of its model that the model is not known to do; of unknown models nothing."""
    name = str(said(request, "model_name") or default)
    model = IMAGE_MODELS.get(name)
    if model is None:
        return
    if endpoint not in model.endpoints:
        yield Advice("model_name", f"{name} is not known on {endpoint}")
        return
    resolution = getattr(request, "resolution", None)
    if resolution is not None and resolution not in model.resolutions:
        yield Advice("resolution", f"{name} makes {' or '.join(sorted(model.resolutions))}, not {resolution}")
    for field, able in (
        ("image_reference", model.reference),
        ("image_fidelity", model.reference),
        ("human_fidelity", model.reference),
        ("element_list", model.elements),
    ):
        if getattr(request, field, None) is not None and not able:
            yield Advice(field, f"{name} is not known to take {field}")
    if getattr(request, "result_type", None) == "series" and not model.series:
        yield Advice("result_type", f"{name} is not known to make a series")
    if request.aspect_ratio == "21:9" and not model.wide:
        yield Advice("aspect_ratio", f"{name} has no aspect_ratio 21:9")
