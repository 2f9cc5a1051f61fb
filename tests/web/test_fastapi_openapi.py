"""What the routes say of themselves: every answer documented, every example valid, every request described."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra kling-async[fastapi]")

from fastapi import FastAPI

from kling_async import ENDPOINTS, KlingError
from kling_async.endpoints import Endpoint, has_files, request_from
from kling_async.fastapi import jobs_router
from kling_async.fastapi.examples import example_of
from kling_async.fastapi.jobs import _Allowed

SAMPLES = Path(__file__).parents[1] / "samples"
TASKS = [row for row in ENDPOINTS if row.kind != "call"]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = FastAPI()
    app.include_router(jobs_router())
    return app.openapi()


# --- as much of JSON Schema as the document uses ---------------------------------------------------------------------

TYPES: Mapping[str, type[Any] | tuple[type[Any], ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
KNOWN = {
    *("type", "enum", "const", "anyOf", "oneOf", "$ref", "properties", "required", "additionalProperties", "items"),
    *("minimum", "maximum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems"),
    *("title", "description", "default", "examples", "discriminator", "format"),  # which refuse nothing
}


def faults(document: Any, schema: Any, value: Any, place: str = "") -> Iterator[str]:
    """Name what a schema refuses of a value."""
    assert not schema.keys() - KNOWN, f"not known here: {schema.keys() - KNOWN}"
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        yield from faults(document, document["components"]["schemas"][name], value, place)
    for word in ("anyOf", "oneOf"):
        choices = [list(faults(document, choice, value, place)) for choice in schema.get(word, ())]
        fitting = sum(not found for found in choices)
        if choices and (fitting == 0 or (word == "oneOf" and fitting > 1)):
            yield f"{place}: fits {fitting} of {word}: {choices}"
    if "type" in schema:
        is_of_type = isinstance(value, TYPES[schema["type"]])
        if not is_of_type or (isinstance(value, bool) and schema["type"] != "boolean"):
            yield f"{place}: {value!r} is no {schema['type']}"
            return
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{place}: {value!r} is another word"
    for size, low, high in (
        (value if isinstance(value, int | float) else None, "minimum", "maximum"),
        (len(value) if isinstance(value, str) else None, "minLength", "maxLength"),
        (len(value) if isinstance(value, list) else None, "minItems", "maxItems"),
    ):
        if size is not None and not schema.get(low, size) <= size <= schema.get(high, size):
            yield f"{place}: {size} is out of bounds"
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from faults(document, schema.get("items", {}), item, f"{place}[{index}]")
    if isinstance(value, dict):
        yield from faults_of_fields(document, schema, value, place)


def faults_of_fields(document: Any, schema: Any, value: dict[str, Any], place: str) -> Iterator[str]:
    known = schema.get("properties", {})
    yield from (f"{place}.{name}: is missing" for name in schema.get("required", ()) if name not in value)
    for name, inner in value.items():
        if name in known:
            yield from faults(document, known[name], inner, f"{place}.{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{place}.{name}: is not known"


def body_schema(document: Any) -> Any:
    return document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]


# --- routes ----------------------------------------------------------------------------------------------------------


def test_every_answer_is_documented(document: dict[str, Any]) -> None:
    """Which statuses, what is in them, and an example of each refusal; nothing of FastAPI's own forms is left."""
    answers = {
        (method, path): set(operation["responses"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert answers == {
        ("post", "/jobs"): {"202", "400", "413", "415", "422", "503", "4XX"},
        ("get", "/jobs"): {"200", "422", "503", "4XX"},
        ("get", "/jobs/{job_id}"): {"200", "404", "503", "4XX"},
        ("get", "/jobs/{job_id}/events"): {"200", "204", "404", "503", "4XX"},
    }
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()
    created = document["paths"]["/jobs"]["post"]["responses"]["202"]
    assert created["headers"]["Location"]["schema"] == {"type": "string"}
    events = document["paths"]["/jobs/{job_id}/events"]["get"]
    assert set(events["responses"]["200"]["content"]) == {"text/event-stream"}
    names = {parameter["name"]: parameter["in"] for parameter in events["parameters"]}
    assert names == {"job_id": "path", "Last-Event-ID": "header"}
    assert document["paths"]["/jobs"]["post"]["parameters"][0]["name"] == "Idempotency-Key"
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["description"]
            for status, answer in operation["responses"].items():
                assert answer["description"]
                for kind, content in answer.get("content", {}).items():
                    assert kind == ("application/problem+json" if status[0] in "45" else kind)
                    if kind == "application/problem+json":
                        assert list(faults(document, content["schema"], content["example"])) == []
                        assert content["example"]["status"] == int(status)


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    """By the schema, and by the class that will check it; there is one for each kind of task."""
    content = body_schema(document)
    assert content["examples"].keys() == {row.name for row in TASKS}
    allowed = _Allowed.of(None)
    for name, example in content["examples"].items():
        assert example["summary"]
        assert list(faults(document, content["schema"], example["value"])) == [], name
        assert allowed.request_of(example["value"]) is not None
    for schema in document["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            assert list(faults(document, schema, example)) == []


def test_a_request_is_described_in_full(document: dict[str, Any]) -> None:
    """Every field but the server's, with its words; bounds and choices as the class holds to them."""
    schemas = document["components"]["schemas"]
    mapping = schemas["JobRequest"]["discriminator"]["mapping"]
    assert mapping.keys() == {row.name for row in TASKS}
    clip = schemas["TextToVideo"]
    assert (clip["description"], clip["additionalProperties"]) == ("A clip from words.", False)
    assert clip["properties"]["prompt"]["maxLength"] == 2500
    assert clip["properties"]["sound"]["enum"] == ["on", "off"]
    assert clip["properties"]["cfg_scale"]["maximum"] == 1
    assert clip["properties"]["multi_prompt"]["maxItems"] == 6
    assert clip["properties"]["negative_prompt"]["description"] == "what to keep out; at most 2500 characters."
    picture = schemas["ImageToVideo"]["properties"]
    assert picture["image"]["type"] == "string"
    assert picture["image"]["description"].startswith("first frame: a URL or Base64.")
    assert picture["static_mask"]["description"].endswith(": a URL or Base64.")
    assert not {"callback_url", "external_task_id"} & {
        name for schema in schemas.values() for name in schema.get("properties", ())
    }
    assert not {"operation", "model"} & schemas["Operation"]["properties"].keys()
    assert not re.search(r"local file|\bPath\b", json.dumps(document))


def samples() -> Iterator[tuple[str, Endpoint, dict[str, Any]]]:
    for row in TASKS:
        for file in sorted((SAMPLES / row.name.replace("/", "--")).glob("*.json")):
            yield f"{row.name} {file.stem}", row, json.loads(file.read_text())["request"]


SERVERS = ("callback_url", "external_task_id", "operation", "model", "area", "name")


def without_the_servers(fields: Mapping[str, Any]) -> dict[str, Any]:
    left = {name: value for name, value in fields.items() if name not in SERVERS}
    if isinstance(left.get("options"), dict):
        left["options"] = without_the_servers(left["options"])
    return left


def test_the_schema_takes_what_the_reference_has(document: dict[str, Any]) -> None:
    """Every recorded request of every endpoint, field by field: none is refused that the class takes."""
    schema, count = body_schema(document)["schema"], 0
    for name, row, fields in samples():
        plain = without_the_servers(fields)
        body = {"endpoint": row.name, "request": plain}
        try:
            request = request_from(row, plain)
        except KlingError:
            continue  # a sample of a refusal
        if has_files(request) or "file" in json.dumps(body):
            continue
        assert list(faults(document, schema, body)) == [], name
        count += 1
    assert count > 80


def test_the_schema_refuses_what_the_class_refuses(document: dict[str, Any]) -> None:
    schema = body_schema(document)["schema"]
    for fields in (
        {"prompt": ""},
        {"prompt": "x" * 2501},
        {"prompt": "x", "sound": "loud"},
        {"prompt": "x", "cfg_scale": 1.5},
        {"prompt": "x", "nonsense": 1},
        {"prompt": "x", "duration": 61},
        {"prompt": "x", "multi_prompt": [{"index": 1, "prompt": "x", "duration": 1}] * 7},
        {"prompt": "x", "camera_control": {}},
        {"prompt": "x", "callback_url": "https://x.example"},
    ):
        assert list(faults(document, schema, {"endpoint": "text2video", "request": fields})), fields
    assert list(faults(document, schema, {"endpoint": "account/costs", "request": {}}))


def test_tomorrows_endpoints_have_the_example_of_their_operation() -> None:
    for row in TASKS:
        found = example_of(row)
        assert found is not None
        request_from(row, found)
