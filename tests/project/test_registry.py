"""Every row of the registry is whole: its class, its samples, its counterpart in the emulator, its export."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

import kling_async
from kling_async import ENDPOINTS, Endpoint
from kling_async.emulator import Emulator

SAMPLES = Path(__file__).parents[1] / "samples"
SOCKET = "emulator.sock"
ROWS = [pytest.param(row, id=row.name) for row in ENDPOINTS]


def samples_of(row: Endpoint) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted((SAMPLES / row.name).glob("*.json")):
        yield file.name, json.loads(file.read_text(encoding="utf-8"))


async def accepted_by(emulator: Emulator, row: Endpoint) -> tuple[list[str], list[str]]:
    """Post every sample of a row; give the names of those that were accepted and refused."""
    headers = {"Authorization": f"Bearer {emulator.api_key}"}
    accepted: list[str] = []
    refused: list[str] = []
    async with emulator, aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=SOCKET)) as http:
        for name, sample in samples_of(row):
            # Samples of several hosts may hold the same external id, which the service takes once.
            body = {key: value for key, value in sample["body"].items() if key != "external_task_id"}
            async with http.post(f"{emulator.url}{row.path}", json=body, headers=headers) as response:
                answer = await response.json()
            (accepted if answer["code"] == 0 else refused).append(f"{name}: {answer['message']}")
        assert {task.endpoint for task in emulator.tasks} <= {row.name}
    return accepted, refused


def test_rows_are_told_apart() -> None:
    for key in ("name", "path", "request"):
        values = [getattr(row, key) for row in ENDPOINTS]
        assert len(set(values)) == len(values), f"two rows have the same {key}"


@pytest.mark.parametrize("row", ROWS)
def test_request_class_has_what_every_request_has(row: Endpoint) -> None:
    fields = attrs.fields_dict(row.request)
    assert {"external_task_id", "callback_url", "extra"} <= fields.keys()
    for field in fields.values():
        assert field.kw_only, f"{field.name} may be given by position"
    assert "__setattr__" in vars(row.request), "it is not frozen"
    assert row.path.startswith("/")
    assert row.pack


@pytest.mark.parametrize("row", ROWS)
def test_request_class_is_exported(row: Endpoint) -> None:
    assert getattr(kling_async, row.request.__name__) is row.request
    assert row.request.__name__ in kling_async.__all__


@pytest.mark.parametrize("row", ROWS)
def test_samples_are_there_and_are_of_this_endpoint(row: Endpoint) -> None:
    samples = dict(samples_of(row))
    assert any(name.startswith("minimal") for name in samples), f"tests/samples/{row.name}/minimal*.json is missing"
    for name, sample in samples.items():
        assert {"source", "host", "request", "path", "body"} <= sample.keys(), name
        assert sample["path"].endswith(row.path), name


@pytest.mark.parametrize("row", ROWS)
async def test_the_emulator_knows_the_endpoint(row: Endpoint) -> None:
    """Every sample is accepted as this endpoint's, and some of them even by all the rules of the emulator."""
    samples = len(list(samples_of(row)))
    lenient = Emulator(dialect="official", unix_path=SOCKET, lenient=True)
    assert await accepted_by(lenient, row) == ([f"{name}: SUCCEED" for name, _ in samples_of(row)], [])
    assert len(lenient.tasks) == samples
    accepted, refused = await accepted_by(Emulator(dialect="official", unix_path=SOCKET), row)
    assert accepted, f"the emulator takes none of the samples: {refused}"


def test_no_sample_is_left_over() -> None:
    """A folder of samples belongs to an endpoint, or says in the registry's own words that it does not."""
    assert {folder.name for folder in SAMPLES.iterdir() if folder.is_dir()} - {"replies"} == {
        row.name for row in ENDPOINTS
    }
