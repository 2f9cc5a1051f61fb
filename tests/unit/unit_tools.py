"""Helpers of these tests: where the samples are, and hosts by the names that samples use."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from yarl import URL

from kling_async import (
    CameraControl,
    DynamicMask,
    ElementRef,
    Host,
    InvalidRequest,
    Observation,
    ReferenceImage,
    ReferenceVideo,
    Shot,
    TaskStatus,
    VoiceRef,
    WatermarkInfo,
)
from kling_async.dialects import PRESETS, find_host

SAMPLES = Path(__file__).parents[1] / "samples"

GATEWAY = Host(url=URL("https://gateway.example"), prefix="/kling")
HOSTS: dict[str, Host] = {
    "official": PRESETS["global"],
    "cometapi": PRESETS["cometapi"],
    "new-api": find_host("new-api:https://gateway.example"),
    "number": attrs.evolve(GATEWAY, seconds_as="number"),
    "integer": attrs.evolve(GATEWAY, seconds_as="integer"),
    "element-text": attrs.evolve(GATEWAY, element_id_as="string"),
}

NESTED: dict[str, type[Any]] = {
    "camera_control": CameraControl,
    "watermark_info": WatermarkInfo,
    "multi_prompt": Shot,
    "voice_list": VoiceRef,
    "element_list": ElementRef,
    "dynamic_masks": DynamicMask,
    "image_list": ReferenceImage,
    "video_list": ReferenceVideo,
}


def folder_of(endpoint: str) -> str:
    """Where the samples of an endpoint are."""
    return endpoint.replace("/", "--")


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def samples(folder: str, pattern: str = "*.json") -> list[Any]:
    """Every sample of a folder, as parameters named after their files."""
    found = sorted((SAMPLES / folder).glob(pattern))
    assert found, f"no samples in {folder}"
    return [pytest.param(path, id=f"{folder}-{path.stem}") for path in found]


def refused(build: Any, field: str, *words: str) -> InvalidRequest:
    """Assert that building is refused for one field, by a rule that says the words."""
    with pytest.raises(InvalidRequest) as caught:
        build()
    error = caught.value
    assert error.field == field
    for word in words:
        assert word in error.rule, f"{word!r} is not in {error.rule!r}"
    missing = error.value == "None" and error.rule.startswith("is required")
    assert str(error) == (f"{field}: {error.rule}" if missing else f"{field}={error.value}: {error.rule}")
    assert (error.paid, error.retryable) == ("no", False)
    return error


def seen(status: TaskStatus = TaskStatus.PROCESSING, **fields: Any) -> Observation:
    """An observation, as short as a test wants it."""
    return Observation(**{"task_id": "t1", "status": status, **fields})
