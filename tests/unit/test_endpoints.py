"""endpoints: the registry, and whole request bodies compared with samples written from the references."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import assume, given, settings, strategies
from reference_clips import REFERENCE_CLIPS
from reference_media import REFERENCE_MEDIA
from unit_tools import HOSTS, NESTED, SAMPLES, folder_of, load, refused, samples

from kling_async import (
    ENDPOINTS,
    ConfigError,
    Endpoint,
    ImageToVideo,
    InvalidRequest,
    OmniVideo,
    Operation,
    Solution,
    TextToVideo,
)
from kling_async.endpoints import body_of, encode_files, find_endpoint, from_mapping, has_files, to_plain


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


ROWS = {endpoint.name: endpoint for endpoint in ENDPOINTS}
LATER = {**REFERENCE_CLIPS, **REFERENCE_MEDIA}
EVERY_SAMPLE = [sample for endpoint in ENDPOINTS for sample in samples(folder_of(endpoint.name))]


def row_of(path: Path) -> Endpoint:
    return ROWS[path.parent.name.replace("--", "/")]


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
    row = row_of(path)
    host = HOSTS[sample["host"]]
    plain = sample["request"]
    if way == "classes" and row.name in REFERENCE:
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
@pytest.mark.parametrize("family", ["official", "cometapi", "new-api"])
def test_the_whole_path_and_body_on_every_family_of_hosts(endpoint: Endpoint, family: str) -> None:
    sample = load(SAMPLES / folder_of(endpoint.name) / "minimal.json")
    host = HOSTS[family]
    assert host.path(endpoint.path).raw_path == sample["paths"][family]
    assert json.loads(dumped(body_of(from_mapping(endpoint.request, sample["request"]), host))) == sample["body"]


@pytest.mark.parametrize("path", EVERY_SAMPLE)
def test_a_request_survives_the_way_to_json_and_back(path: Path) -> None:
    request = from_mapping(row_of(path).request, load(path)["request"])
    plain = json.loads(json.dumps(to_plain(request)))
    again = from_mapping(type(request), plain)
    assert again == request
    assert to_plain(again) == plain
    assert body_of(again, HOSTS["official"]) == body_of(request, HOSTS["official"])


@given(data=strategies.data())
@settings(max_examples=300)
def test_any_request_survives_the_way_to_json_and_back(data: strategies.DataObject) -> None:
    """Any fields together, of any endpoint, with local files and fields of tomorrow."""
    path: Path = data.draw(strategies.sampled_from([sample.values[0] for sample in EVERY_SAMPLE]))
    row = row_of(path)
    known = [pair for other in sorted(path.parent.glob("*.json")) for pair in load(other)["request"].items()]
    fields: dict[str, Any] = dict(data.draw(strategies.lists(strategies.sampled_from(known or [("extra", {})]))))
    fields = {**load(path)["request"], **fields}
    words = strategies.text(max_size=20).map(lambda text: f"x_{text}")
    fields["extra"] = data.draw(strategies.dictionaries(words, strategies.none() | strategies.floats(allow_nan=False)))
    if "image" in fields and isinstance(fields["image"], str) and data.draw(strategies.booleans()):
        fields["image"] = Path(data.draw(strategies.sampled_from(["a.png", "./b c.jpg", "/tmp/ü.png"])))
    try:
        request = from_mapping(row.request, fields)
    except InvalidRequest:
        assume(False)
    again = from_mapping(row.request, json.loads(json.dumps(to_plain(request))))
    assert again == request
    assert type(again) is type(request)


@pytest.mark.parametrize("endpoint", [row for row in ENDPOINTS if row.name in {**REFERENCE, **LATER}], ids=str)
def test_the_samples_use_every_field_that_the_reference_lists_and_no_class_has_others(endpoint: Endpoint) -> None:
    used: set[str] = set()
    for path in (SAMPLES / folder_of(endpoint.name)).glob("*.json"):
        used |= set(load(path)["request"])
    fields = {field.name for field in attrs.fields(endpoint.request)}
    assert used - {"extra"} == {**REFERENCE, **LATER}[endpoint.name] == fields - {"extra"}


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
    for endpoint in (ROWS[name] for name in REFERENCE):
        for path in (SAMPLES / endpoint.name).glob("*.json"):
            for outer, inner in nested_names(
                {k: v for k, v in load(path)["body"].items() if k in REFERENCE[endpoint.name]}
            ):
                used.setdefault(outer, set()).add(inner)
    assert used == NESTED_REFERENCE


def test_every_folder_of_samples_belongs_to_an_endpoint() -> None:
    folders = {folder_of(endpoint.name) for endpoint in ENDPOINTS}
    assert {path.name for path in SAMPLES.iterdir()} == folders | {"replies", "journals"}


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
        whats = [endpoint, endpoint.name]
        if endpoint.request not in (Operation, Solution):
            whats.append(endpoint.request)
        for what in whats:
            assert find_endpoint(what) is endpoint
    assert find_endpoint(TextToVideo(prompt="x")).name == "text2video"
    for many in (Operation, Solution):
        with pytest.raises(ConfigError, match="serves many endpoints"):
            find_endpoint(many)


def test_an_operation_or_model_of_tomorrow_has_a_row() -> None:
    row = find_endpoint("image-to-video/kling-9.0")
    assert (row.name, row.path, row.standard) == ("image-to-video/kling-9.0", "/image-to-video/kling-9.0", "new")
    request = Operation(operation="dance-to-video", model="kling-9.0", contents=[{"type": "music", "url": "https://m"}])
    assert find_endpoint(request).path == "/dance-to-video/kling-9.0"
    assert find_endpoint("solutions/film/trailer").path == "/solutions/film/trailer"
    assert find_endpoint("solutions/trailer").path == "/solutions/trailer"
    with pytest.raises(ConfigError, match="did you mean 'image-to-video/"):
        find_endpoint("imagetovideo/kling-3.0")


# Source: service reference, sections of the create calls, name → path, first output, pack, default model. A call that
# answers at once has no output; what has no model of its own is its own.
TABLE = """
text2video            /v1/videos/text2video                      video   video    kling-v1
image2video           /v1/videos/image2video                     video   video    kling-v1
omni-video            /v1/videos/omni-video                      video   video    kling-video-o1
multi-image2video     /v1/videos/multi-image2video               video   video    kling-v1-6
motion-control        /v1/videos/motion-control                  video   video    kling-v2-6
video-extend          /v1/videos/video-extend                    video   video    -
effects               /v1/videos/effects                         video   video    -
avatar                /v1/videos/avatar/image2video              video   video    -
lip-sync              /v1/videos/lip-sync                        video   video    -
advanced-lip-sync     /v1/videos/advanced-lip-sync               video   video    -
multi-elements        /v1/videos/multi-elements                  video   video    kling-v1-6
identify-face         /v1/videos/identify-face                   answer  -        -
image-recognize       /v1/videos/image-recognize                 answer  -        -
init-selection        /v1/videos/multi-elements/init-selection   answer  -        -
add-selection         /v1/videos/multi-elements/add-selection    answer  -        -
delete-selection      /v1/videos/multi-elements/delete-selection answer  -        -
clear-selection       /v1/videos/multi-elements/clear-selection  answer  -        -
preview-selection     /v1/videos/multi-elements/preview-selection answer -        -
tts                   /v1/audio/tts                              audio   audio    -
text-to-audio         /v1/audio/text-to-audio                    audio   audio    -
video-to-audio        /v1/audio/video-to-audio                   video   audio    -
generations           /v1/images/generations                     image   image    kling-v3
omni-image            /v1/images/omni-image                      image   image    kling-image-o1
multi-image2image     /v1/images/multi-image2image               image   image    kling-v2-1
expand                /v1/images/editing/expand                  image   image    -
virtual-try-on        /v1/images/kolors-virtual-try-on           image   try_on   kolors-virtual-try-on-v1
ai-multi-shot         /v1/general/ai-multi-shot                  image   general  -
custom-elements       /v1/general/advanced-custom-elements       element general  -
presets-elements      /v1/general/advanced-presets-elements      answer  -        -
delete-elements       /v1/general/delete-advanced-elements       answer  -        -
custom-voices         /v1/general/custom-voices                  voice   general  -
presets-voices        /v1/general/presets-voices                 answer  -        -
delete-voices         /v1/general/delete-voices                  answer  -        -
account/costs                     /account/costs                 answer  -        -
account/billing/balance           /account/billing/balance       answer  -        -
account/billing/package           /account/billing/package       answer  -        -
solutions/e-commerce/goods_studio /solutions/e-commerce/goods_studio video video  -
"""


def test_the_rows_are_those_of_the_reference() -> None:
    told = {line.split()[0]: line.split()[1:] for line in TABLE.strip().splitlines()}
    for row in ENDPOINTS:
        if row.standard == "new":
            assert (row.path, row.yields, row.pack) == (f"/{row.name}", "video", "video")
            assert row.default_model == row.name.partition("/")[2]
            continue
        yields = "answer" if row.kind == "call" else row.yields
        found = [row.path, yields, row.pack or "-", row.default_model or "-"]
        assert found == told.pop(row.name), row.name
    assert told == {}


def test_a_row_without_advice_gives_none() -> None:
    row = Endpoint(name="n", path="/p", request=TextToVideo, yields="video", pack="video")
    assert list(row.advice(None, HOSTS["official"])) == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("text2vidoe", "did you mean 'text2video'?"),
        ("omnivideo", "did you mean 'omni-video'?"),
        ("zzz", "known are text2video, image2video, omni-video, "),
        (5, "int is not a request of this package"),
        (dict, "dict is not a request of this package"),
        (None, "NoneType is not a request of this package"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_nearest_name(what: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_endpoint(what)
    assert words in str(caught.value)
