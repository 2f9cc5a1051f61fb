"""account: the requests' whole bodies against samples, their rules, and the fields of their answers."""

import json
import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest
from reference_new import ACCOUNT, names
from unit_tools import HOSTS, SAMPLES, load, refused

from kling_async.endpoints.account import (
    ENDPOINTS,
    AccountCosts,
    AccountUsage,
    BalanceCharges,
    Charge,
    ChargeFilter,
    ChargesPage,
    ChargesResult,
    PackageCharges,
    ResourcePack,
)
from kling_async.endpoints.base import Call, Endpoint, body_of, from_mapping, to_plain

OFFICIAL = HOSTS["official"]
SPAN: dict[str, Any] = {"start_time": 1726124664368, "end_time": 1727366400000}
PAGED: list[type[Any]] = [BalanceCharges, PackageCharges]
KINDS: list[type[Any]] = [AccountCosts, *PAGED]


def folder(row: Endpoint) -> Path:
    return SAMPLES / row.name.replace("/", "--")


SAMPLED = [
    pytest.param(row, path, id=f"{row.name}-{path.stem}")
    for row in ENDPOINTS
    for path in sorted(folder(row).glob("*.json"))
]


@pytest.mark.parametrize(("row", "path"), SAMPLED)
def test_the_whole_body_is_the_sample(row: Endpoint, path: Path) -> None:
    sample = load(path)
    request = from_mapping(row.request, sample["request"])
    host = HOSTS[sample["host"]]
    assert json.loads(json.dumps(body_of(request, host))) == sample["body"]
    assert host.path(row.path).raw_path == sample["path"]
    assert from_mapping(row.request, json.loads(json.dumps(to_plain(request)))) == request
    assert pickle.loads(pickle.dumps(request)) == request
    assert list(row.advice(request, host)) == []
    if "paths" in sample:
        assert sample["paths"] == {
            "official": row.path,
            "cometapi": f"/kling{row.path}",
            "new-api": f"/kling{row.path}",
        }


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)
def test_the_samples_use_every_field_that_the_reference_lists_and_no_class_has_others(row: Endpoint) -> None:
    used = {name for path in folder(row).glob("*.json") for name in load(path)["body"]}
    assert used == ACCOUNT[row.name] == {field.name for field in attrs.fields(row.request)} - {"extra"}


def test_the_rows_are_calls_that_answer_at_once() -> None:
    assert {(row.name, row.path, row.method, row.request, row.answer) for row in ENDPOINTS} == {
        ("account/costs", "/account/costs", "GET", AccountCosts, AccountUsage),
        ("account/billing/balance", "/account/billing/balance", "POST", BalanceCharges, ChargesPage),
        ("account/billing/package", "/account/billing/package", "POST", PackageCharges, ChargesPage),
    }
    for row in ENDPOINTS:
        assert (row.kind, row.standard, row.has_list, row.by_external_id) == ("call", "account", False, False)
        assert issubclass(row.request, Call)


FILTER = {"key": "api_key_name", "values": ["a"]}
REFUSED: list[tuple[type[Any], dict[str, Any], str, str]] = [
    *((kind, {"start_time": None}, "start_time", "is required") for kind in KINDS),
    *((kind, {"end_time": None}, "end_time", "is required") for kind in KINDS),
    *((kind, {"end_time": SPAN["start_time"]}, "end_time", "later than start_time") for kind in KINDS),
    *((kind, {"start_time": str(SPAN["start_time"])}, "start_time", "must be an integer") for kind in KINDS),
    *((kind, {"end_time": -1}, "end_time", "must be from 0") for kind in KINDS),
    *((kind, {"extra": {"end_time": 1}}, "extra.end_time", "set already") for kind in KINDS),
    (AccountCosts, {"resource_pack_name": ""}, "resource_pack_name", "is empty"),
    *((kind, {"limit": 0}, "limit", "from 1 to 500") for kind in PAGED),
    *((kind, {"limit": 501}, "limit", "from 1 to 500") for kind in PAGED),
    *((kind, {"cursor": ""}, "cursor", "is empty") for kind in PAGED),
    *((kind, {"filters": FILTER}, "filters", "must be a list") for kind in PAGED),
    *((kind, {"filters": [{"key": "a"}]}, "filters[0].values", "is required") for kind in PAGED),
    *((kind, {"filters": [{"key": "", "values": []}]}, "filters[0].key", "is empty") for kind in PAGED),
    *((kind, {"filters": [{"key": "a", "values": "b"}]}, "filters[0].values", "list of strings") for kind in PAGED),
    *((kind, {"filters": [{"key": "a", "values": [5]}]}, "filters[0].values", "list of strings") for kind in PAGED),
    *((kind, {"filters": [{"key": "a", "values": 5}]}, "filters[0].values", "list of strings") for kind in PAGED),
    (
        PackageCharges,
        {"filters": [{"key": "package_name", "values": ["a"]}, {"key": "package_id", "values": ["b"]}]},
        "filters",
        "exclude each other",
    ),
]


@pytest.mark.parametrize(
    ("kind", "fields", "field", "words"),
    REFUSED,
    ids=[f"{kind.__name__}-{field}-{words}" for kind, _, field, words in REFUSED],
)
def test_what_the_reference_forbids_is_refused(kind: type[Any], fields: dict[str, Any], field: str, words: str) -> None:
    refused(lambda: kind(**{**SPAN, **fields}), field, words)


@pytest.mark.parametrize("kind", PAGED)
def test_the_next_page_is_the_same_request_with_a_cursor(kind: type[Any]) -> None:
    """With a cursor the service does not look at the other fields, so they are neither needed nor in the way."""
    request = kind(**SPAN, limit=500, filters=[ChargeFilter(key="api_key_name", values=["a"])])
    page = ChargesPage(next_cursor="c2", has_more=True)
    assert body_of(attrs.evolve(request, cursor=page.next_cursor), OFFICIAL)["cursor"] == "c2"
    assert body_of(kind(cursor="c2"), OFFICIAL) == {"cursor": "c2"}
    assert body_of(kind(extra={"cursor": "c2"}), OFFICIAL) == {"cursor": "c2"}


@pytest.mark.parametrize("kind", KINDS)
def test_required_fields_may_come_as_further_ones(kind: type[Any]) -> None:
    assert body_of(kind(extra=SPAN), OFFICIAL) == SPAN


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (AccountCosts(start_time=0, end_time=SPAN["end_time"]), []),
        (AccountCosts(start_time=1726124664, end_time=SPAN["end_time"]), ["start_time 1726124664 looks like seconds"]),
        (BalanceCharges(start_time=1726124664, end_time=1727366400), ["looks like seconds"] * 2),
        (
            BalanceCharges(**SPAN, filters=[{"key": "package_id", "values": []}]),
            ["package_id is not a known filter; known are api_key_name"],
        ),
        (PackageCharges(**SPAN, filters=[{"key": "package_id", "values": []}]), []),
    ],
)
def test_advice_tells_of_seconds_and_of_unknown_filters(request_: Any, expected: list[str]) -> None:
    row = next(row for row in ENDPOINTS if row.request is type(request_))
    found = [str(advice) for advice in row.advice(request_, OFFICIAL)]
    assert len(found) == len(expected)
    assert all(words in told for told, words in zip(found, expected, strict=True))


def test_answers_have_the_fields_of_the_reference_and_shorter_ways_to_them() -> None:
    packs = (
        "resource_pack_name resource_pack_id resource_pack_type total_quantity remaining_quantity",
        "purchase_time effective_time invalid_time status",
    )
    charges = (
        "task_id api_key_name product_function model_name resolution duration refer_video_input video_sound",
        "voice_control deduction_time cash_type balance_before_deduction deduction_amount balance_after_deduction",
        "list_price currency package_id product_type unit_before_deduction unit_after_deduction",
    )
    assert {field.name for field in attrs.fields(ResourcePack)} == names(*packs)
    assert {field.name for field in attrs.fields(Charge)} == names(*charges)
    pack, charge = ResourcePack(resource_pack_name="a"), Charge(task_id="1")
    assert AccountUsage(resource_pack_subscribe_infos=(pack,)).packs == (pack,)
    assert ChargesPage(result=ChargesResult(detail=(charge,), count=1)).charges == (charge,)
    assert ChargesPage().charges == ()
    assert AccountUsage().packs == ()
