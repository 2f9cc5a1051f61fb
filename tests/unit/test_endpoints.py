"""endpoints: the registry, and whole request bodies compared with samples written from the references."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from unit_tools import HOSTS, NESTED, SAMPLES, load, refused, samples

from kling_async import ENDPOINTS, ConfigError, Endpoint, ImageToVideo, OmniVideo, TextToVideo
from kling_async.endpoints import body_of, encode_files, find_endpoint, from_mapping, has_files


def names(*lines: str) -> set[str]:
    return {name for line in lines for name in line.split()}


# Source: service reference, the tables of the three create calls, "Camera Control" and "Motion Brush".
REFERENCE: dict[str, set[str]] = {
    "text2video": names(
        "model_name prompt negative_prompt multi_shot shot_type multi_prompt voice_list sound cfg_scale mode",
        "camera_control aspect_ratio duration watermark_info callback_url external_task_id",
    ),
    "image2video": names(
        "model_name image image_tail prompt negative_prompt multi_shot shot_type multi_prompt element_list voice_list",
        "sound cfg_scale mode static_mask dynamic_masks camera_control duration watermark_info callback_url",
        "external_task_id",
    ),
    "omni-video": names(
        "model_name prompt multi_shot shot_type multi_prompt image_list element_list video_list voice_list sound mode",
        "aspect_ratio duration watermark_info callback_url external_task_id",
    ),
}
NESTED_REFERENCE: dict[str, set[str]] = {
    "camera_control": {"type", "config"},
    "config": {"horizontal", "vertical", "pan", "tilt", "roll", "zoom"},
    "multi_prompt": {"index", "prompt", "duration"},
    "voice_list": {"voice_id"},
    "element_list": {"element_id"},
    "dynamic_masks": {"mask", "trajectories"},
    "trajectories": {"x", "y"},
    "image_list": {"image_url", "type"},
    "video_list": {"video_url", "refer_type", "keep_original_sound"},
    "watermark_info": {"enabled"},
}


EVERY_SAMPLE = [sample for endpoint in ENDPOINTS for sample in samples(endpoint.name)]


def as_classes(name: str, value: Any) -> Any:
    """The same field made of instances."""
    kind = NESTED.get(name)
    if kind is None or value is None:
        return value
    if isinstance(value, list):
        return [kind(**item) for item in value]
    return kind(**value)


def dumped(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("path", EVERY_SAMPLE)
@pytest.mark.parametrize("way", ["mapping", "classes", "json"])
def test_case_8_the_whole_body_is_the_sample(path: Path, way: str) -> None:
    """Section 20, case 8: a misplaced or misspelt field is ignored and the default clip billed, so all is compared."""
    sample = load(path)
    row = find_endpoint(path.parent.name)
    host = HOSTS[sample["host"]]
    plain = sample["request"]
    if way == "classes":
        request = row.request(**{name: as_classes(name, value) for name, value in plain.items()})
    else:
        request = from_mapping(row.request, json.loads(json.dumps(plain)) if way == "json" else plain)
    body = body_of(request, host)
    assert json.loads(dumped(body)) == sample["body"]
    assert dumped(body) == dumped({name: body[name] for name in body})  # no coercion by JSON, no NaN
    if "exact" in sample:
        assert dumped(body) == sample["exact"].encode("utf-8")
    assert host.path(row.path).raw_path == sample["path"]
    assert not has_files(request)
    assert encode_files(body, request) == json.loads(json.dumps(body))
    assert sample["source"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_the_samples_use_every_field_that_the_reference_lists_and_no_class_has_others(endpoint: Endpoint) -> None:
    used: set[str] = set()
    for path in (SAMPLES / endpoint.name).glob("*.json"):
        used |= set(load(path)["request"])
    fields = {field.name for field in attrs.fields(endpoint.request)}
    assert used - {"extra"} == REFERENCE[endpoint.name] == fields - {"extra"}


def nested_names(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if name:
                yield name, key
            yield from nested_names(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from nested_names(item, name)


def test_the_samples_use_every_field_of_every_nested_object() -> None:
    used: dict[str, set[str]] = {}
    for endpoint in ENDPOINTS:
        for path in (SAMPLES / endpoint.name).glob("*.json"):
            for outer, inner in nested_names(
                {k: v for k, v in load(path)["body"].items() if k in REFERENCE[endpoint.name]}
            ):
                used.setdefault(outer, set()).add(inner)
    assert used == NESTED_REFERENCE


def test_every_folder_of_samples_belongs_to_an_endpoint() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == {endpoint.name for endpoint in ENDPOINTS} | {"replies"}


@pytest.mark.parametrize(
    ("kind", "minimal"),
    [(TextToVideo, {"prompt": "x"}), (ImageToVideo, {"image": "https://a"}), (OmniVideo, {"prompt": "x"})],
)
@pytest.mark.parametrize("host", list(HOSTS.values()), ids=list(HOSTS))
def test_case_9_nothing_unset_is_sent(kind: Any, minimal: dict[str, str], host: Any) -> None:
    """Section 20, case 9: gateways take even an empty string or a null as a choice."""
    assert body_of(kind(**minimal), host) == minimal
    unset = {field.name: None for field in attrs.fields(kind) if field.name != "extra"}
    assert body_of(kind(**{**unset, **minimal}), host) == minimal


@pytest.mark.parametrize(
    ("host", "given_as", "sent"),
    [
        ("official", 5, "5"),
        ("official", 5.0, "5"),
        ("official", 10, "10"),
        ("official", 5.5, "5.5"),
        ("official", "5", "5"),
        ("cometapi", 10, "10"),
        ("number", "5", 5),
        ("number", "5.0", 5),
        ("number", 5.5, 5.5),
        ("number", 5.0, 5),
        ("integer", "10", 10),
        ("integer", 10.0, 10),
    ],
)
def test_the_json_type_of_a_duration_follows_the_host(host: str, given_as: Any, sent: Any) -> None:
    shots = [{"index": 1, "prompt": "a", "duration": given_as}]
    request = TextToVideo(duration=given_as, multi_shot=True, shot_type="customize", multi_prompt=shots)
    body = body_of(request, HOSTS[host])
    assert body["duration"] == sent
    assert type(body["duration"]) is type(sent)
    assert json.loads(dumped(body))["multi_prompt"][0]["duration"] == sent


def test_a_fraction_is_refused_where_a_host_wants_whole_seconds_and_never_rounded() -> None:
    for length in (5.5, "4.5"):
        refused(
            lambda length=length: body_of(TextToVideo(prompt="x", duration=length), HOSTS["integer"]),
            "duration",
            "whole",
        )


@pytest.mark.parametrize("given_as", [829836802793406551, "829836802793406551"])
def test_element_ids_above_2_to_53_arrive_digit_by_digit(given_as: Any) -> None:
    request = OmniVideo(prompt="x", element_list=[{"element_id": given_as}])
    assert '"element_id":829836802793406551}' in dumped(body_of(request, HOSTS["official"])).decode()
    assert '"element_id":"829836802793406551"}' in dumped(body_of(request, HOSTS["element-text"])).decode()


def test_text_is_sent_as_utf8_and_unchanged() -> None:
    prompt = 'a "b" \\ 海滩 🌊\n\x00<<<x>>>'
    body = body_of(TextToVideo(prompt=prompt), HOSTS["official"])
    assert json.loads(dumped(body)) == {"prompt": prompt}
    assert "海滩 🌊".encode() in dumped(body)


def test_a_body_is_made_anew_each_time() -> None:
    request = TextToVideo(prompt="x", extra={"seed": 1})
    body = body_of(request, HOSTS["official"])
    body["prompt"] = "y"
    body.pop("seed")
    assert body_of(request, HOSTS["official"]) == {"prompt": "x", "seed": 1}


# --- the registry ----------------------------------------------------------------------------------------------------


def test_rows_are_found_by_name_class_request_and_row() -> None:
    for endpoint in ENDPOINTS:
        for what in (endpoint, endpoint.name, endpoint.request):
            assert find_endpoint(what) is endpoint
    assert find_endpoint(TextToVideo(prompt="x")).name == "text2video"


def test_the_rows_are_those_of_the_reference() -> None:
    assert {(row.name, row.path, row.yields, row.pack) for row in ENDPOINTS} == {
        ("text2video", "/v1/videos/text2video", "video", "video"),
        ("image2video", "/v1/videos/image2video", "video", "video"),
        ("omni-video", "/v1/videos/omni-video", "video", "video"),
    }
    assert all(row.slots(None) == 1 for row in ENDPOINTS)
    assert [row.default_model for row in ENDPOINTS] == ["kling-v1", "kling-v1", "kling-video-o1"]


def test_a_row_without_advice_gives_none() -> None:
    row = Endpoint(name="n", path="/p", request=TextToVideo, yields="video", pack="video")
    assert list(row.advice(None, HOSTS["official"])) == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("text2vidoe", "did you mean 'text2video'?"),
        ("omnivideo", "did you mean 'omni-video'?"),
        ("zzz", "known are text2video, image2video, omni-video"),
        (5, "int is not a request of this package"),
        (dict, "dict is not a request of this package"),
        (None, "NoneType is not a request of this package"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_nearest_name(what: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_endpoint(what)
    assert words in str(caught.value)
