"""Every row of the registry is whole: its class, its samples, its counterpart in the emulator, its export.

Beside it stands the list of what the service has, written from the service reference: when the registry, README's
table, the samples or the emulator miss one, a test fails.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

import kling_async
from kling_async import ENDPOINTS, Call, Endpoint
from kling_async.emulator import Emulator

SAMPLES = Path(__file__).parents[1] / "samples"
README = Path(__file__).parents[2] / "README.md"
SOCKET = "emulator.sock"
ROWS = [pytest.param(row, id=row.name) for row in ENDPOINTS]
HAS_TASKS = [pytest.param(row, id=row.name) for row in ENDPOINTS if row.kind == "task"]

# Source: service reference, sections 4 to 8 in its own order, method and path.
REFERENCE = """
POST /text-to-video/kling-3.0-turbo
POST /image-to-video/kling-3.0-turbo
POST /text-to-video/kling-3.0
POST /image-to-video/kling-3.0
POST /omni-video/kling-3.0-omni
POST /omni-video/kling-o1
POST /text-to-video/kling-2.6
POST /image-to-video/kling-2.6
POST /text-to-video/kling-2.5-turbo
POST /image-to-video/kling-2.5-turbo
POST /motion-control/kling-3.0
POST /motion-control/kling-2.6
POST /text-to-video/kling-4.0
POST /image-to-video/kling-4.0
POST /omni-video/kling-4.0
POST /v1/videos/text2video
POST /v1/videos/image2video
POST /v1/videos/omni-video
POST /v1/videos/multi-image2video
POST /v1/videos/motion-control
POST /v1/videos/video-extend
POST /v1/videos/effects
POST /v1/videos/avatar/image2video
POST /v1/videos/identify-face
POST /v1/videos/advanced-lip-sync
POST /v1/videos/lip-sync
POST /v1/videos/image-recognize
POST /v1/videos/multi-elements/init-selection
POST /v1/videos/multi-elements/add-selection
POST /v1/videos/multi-elements/delete-selection
POST /v1/videos/multi-elements/clear-selection
POST /v1/videos/multi-elements/preview-selection
POST /v1/videos/multi-elements
POST /v1/audio/tts
POST /v1/audio/text-to-audio
POST /v1/audio/video-to-audio
POST /v1/images/generations
POST /v1/images/omni-image
POST /v1/images/multi-image2image
POST /v1/images/editing/expand
POST /v1/images/kolors-virtual-try-on
POST /v1/general/ai-multi-shot
POST /v1/general/advanced-custom-elements
GET /v1/general/advanced-presets-elements
POST /v1/general/delete-advanced-elements
POST /v1/general/custom-voices
GET /v1/general/presets-voices
POST /v1/general/delete-voices
POST /solutions/e-commerce/goods_studio
GET /account/costs
POST /account/billing/balance
POST /account/billing/package
"""

# Their samples name a video, a session or a face that is not there in an emulator just begun.
NEEDS_ANOTHER = {"advanced-lip-sync", "lip-sync", "multi-elements", "video-extend"}


def folder(row: Endpoint) -> Path:
    return SAMPLES / row.name.replace("/", "--")


def samples_of(row: Endpoint) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(folder(row).glob("*.json")):
        yield file.name, json.loads(file.read_text(encoding="utf-8"))


def without_external_id(body: dict[str, Any]) -> dict[str, Any]:
    """Samples of several hosts may hold the same external id, which the service takes once."""
    kept = {key: value for key, value in body.items() if key != "external_task_id"}
    if isinstance(kept.get("options"), dict):
        kept["options"] = {key: value for key, value in kept["options"].items() if key != "external_task_id"}
    return kept


async def sent_to(emulator: Emulator, row: Endpoint) -> list[dict[str, Any]]:
    """Send every sample of a row; give the answers, with their HTTP status."""
    headers = {"Authorization": f"Bearer {emulator.api_key}"}
    answers: list[dict[str, Any]] = []
    async with emulator, aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=SOCKET)) as http:
        for name, sample in samples_of(row):
            url, body = f"{emulator.url}{row.path}", without_external_id(sample["body"])
            async with http.request(
                row.method,
                url,
                params=body if row.method == "GET" else None,
                json=None if row.method == "GET" else body,
                headers=headers,
            ) as response:
                answers.append({"name": name, "status": response.status, **await response.json()})
        assert {task.endpoint for task in emulator.tasks} <= {row.name}
    return answers


def test_the_registry_has_all_that_the_reference_has_and_nothing_else() -> None:
    assert sorted(f"{row.method} {row.path}" for row in ENDPOINTS) == sorted(REFERENCE.split("\n")[1:-1])


def test_readme_shows_all_that_the_reference_has() -> None:
    readme = README.read_text(encoding="utf-8")
    for line in REFERENCE.strip().splitlines():
        assert f"| `{line}` |" in readme, line


def test_rows_are_told_apart() -> None:
    for key in ("name", "path"):
        values = [getattr(row, key) for row in ENDPOINTS]
        assert len(set(values)) == len(values), f"two rows have the same {key}"


@pytest.mark.parametrize("row", ROWS)
def test_request_class_has_what_every_request_has(row: Endpoint) -> None:
    fields = attrs.fields_dict(row.request)
    assert "extra" in fields
    if row.kind == "task":
        assert hasattr(row.request, "external_task_id") or "external_task_id" in fields
        assert hasattr(row.request, "callback_url") or "callback_url" in fields
    assert (row.kind == "call") is issubclass(row.request, Call) is (row.answer is not None)
    for field in fields.values():
        assert field.kw_only, f"{field.name} may be given by position"
    assert "__setattr__" in vars(row.request), "it is not frozen"
    assert row.path.startswith("/")
    assert row.source
    assert bool(row.pack) is (row.kind != "call")


@pytest.mark.parametrize("row", ROWS)
def test_request_class_is_exported(row: Endpoint) -> None:
    assert getattr(kling_async, row.request.__name__) is row.request
    assert row.request.__name__ in kling_async.__all__


@pytest.mark.parametrize("row", ROWS)
def test_samples_are_there_and_are_of_this_endpoint(row: Endpoint) -> None:
    samples = dict(samples_of(row))
    assert any(name.startswith("minimal") for name in samples), f"{folder(row)}/minimal*.json is missing"
    for name, sample in samples.items():
        assert {"source", "host", "request", "path", "body"} <= sample.keys(), name
        assert sample["path"].endswith(row.path), name
    assert {"official", "cometapi", "new-api"} <= samples["minimal.json"]["paths"].keys()


@pytest.mark.parametrize("row", HAS_TASKS)
async def test_the_emulator_knows_the_endpoint(row: Endpoint) -> None:
    """Every sample is accepted as this endpoint's when nothing is checked; which the rules refuse is said in words."""
    lenient = Emulator(dialect="official", unix_path=SOCKET, lenient=True)
    answers = await sent_to(lenient, row)
    assert [(answer["name"], answer["message"]) for answer in answers] == [
        (name, "SUCCEED") for name, _ in samples_of(row)
    ]
    assert len(lenient.tasks) == len(answers)
    strict = await sent_to(Emulator(dialect="official", unix_path=SOCKET), row)
    assert {answer["code"] for answer in strict} <= {0, 1201}, strict
    if row.name not in NEEDS_ANOTHER:
        assert any(answer["code"] == 0 for answer in strict), strict


@pytest.mark.parametrize("row", [param for param in ROWS if param not in HAS_TASKS])
async def test_the_emulator_answers_the_call(row: Endpoint) -> None:
    """It is the service's own answer, if only that an id of the sample is not known; never a page of no such path."""
    for answer in await sent_to(Emulator(dialect="official", unix_path=SOCKET), row):
        assert answer["code"] in {0, 1201}, answer
        assert answer["status"] in {200, 400}, answer


def test_no_sample_is_left_over() -> None:
    """A folder of samples belongs to an endpoint, or says in the registry's own words that it does not."""
    assert {path.name for path in SAMPLES.iterdir() if path.is_dir()} - {"replies", "journals"} == {
        folder(row).name for row in ENDPOINTS
    }
