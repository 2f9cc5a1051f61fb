"""wire.py: every dialect and error form decodes to what it says, and nothing is coerced or crashes on the way."""

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit_tools import load, samples

from kling_async import Asset, BadEnvelope, Billing, Observation, ServiceError, TaskStatus, errors
from kling_async.lifecycle import outcome_of
from kling_async.models import AssetKind, Failed, Succeeded
from kling_async.wire import Envelope, decode_task, fast_loads, ids_of, mark_of, open_envelope, parse_json

REPLIES = samples("replies")
HTML = samples("replies", "*.html")


def moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


def expected(plain: dict[str, Any]) -> Observation:
    """The observation that a sample describes; what it leaves out must not be there."""
    billing = plain.get("billing")
    known = {"task_id", "external_id", "word", "reason"}
    upstream = plain.get("upstream")
    figures: dict[str, Any] = {
        name: value if name == "currency" else Decimal(value) for name, value in (billing or {}).items()
    }
    return Observation(
        **{name: value for name, value in plain.items() if name in known},
        status=TaskStatus(plain["status"]),
        upstream=None if upstream is None else TaskStatus(upstream),
        assets=tuple(Asset(**asset) for asset in plain.get("assets", ())),
        billing=None if billing is None else Billing(**figures),
        created_at=moment(plain.get("created_at_ms")),
        updated_at=moment(plain.get("updated_at_ms")),
    )


@pytest.mark.parametrize("path", REPLIES)
def test_every_reply_of_every_dialect_decodes_to_what_it_says(path: Path) -> None:
    sample = load(path)
    expect = sample["expect"]
    payload = parse_json(json.dumps(sample["payload"]).encode())
    status = sample.get("http_status", 200)
    if "error" in expect:
        with pytest.raises(ServiceError) as caught:
            open_envelope(payload, status, retry_in_s=1.5)
        error = caught.value
        assert type(error) is getattr(errors, expect["error"])
        assert (error.code, error.message) == (expect["code"], expect["message"])
        assert (error.paid, error.retryable) == (expect["paid"], expect["retryable"])
        assert error.http_status == status
        assert error.request_id == expect.get("request_id")
        assert error.retry_in_s == 1.5
        return
    envelope = open_envelope(payload, status)
    rows = [
        decode_task(row, sample.get("yields", "video"), created=sample.get("created", False)) for row in envelope.rows
    ]
    assert rows == [expected(row) for row in expect["rows"]]
    assert envelope.many is expect["many"]
    assert envelope.request_id == expect.get("request_id")
    assert envelope.next_cursor == expect.get("next_cursor")


def test_there_is_a_sample_of_every_dialect_and_error_form() -> None:
    forms = {parameter.values[0].stem.partition("-")[0] for parameter in (*REPLIES, *HTML)}
    assert forms >= {f"D{number}" for number in range(1, 14)}
    assert forms >= {"E1", "E2", "E2b", "E2c", "E2d", "E2e", "E3", "E4", "E5"}


@pytest.mark.parametrize("path", HTML)
def test_a_page_is_not_an_answer(path: Path) -> None:
    """Error form E4: a CDN's or a host's HTML page."""
    with pytest.raises(BadEnvelope, match="an HTML page") as caught:
        parse_json(path.read_bytes())
    assert (caught.value.paid, caught.value.retryable) == ("maybe", True)
    assert "\n" not in str(caught.value)


def test_the_kinds_of_outputs_are_kept_apart() -> None:
    """Every kind of the reference, in the legacy lists and in the new outputs."""
    for name, kind in (("videos", "video"), ("images", "image"), ("series_images", "image"), ("audios", "audio"),
                       ("voices", "voice"), ("elements", "element")):  # fmt: skip
        row: dict[str, object] = {"task_id": "t", "task_result": {name: [{"url": "https://u"}]}}
        role = "series_images" if name == "series_images" else None
        asset = Asset(kind=kind, url="https://u", role=role)  # type: ignore[arg-type]
        assert decode_task(row, "cover").assets == (asset,)
        row = {"id": "t", "outputs": [{"type": kind, "url": "https://u"}]}
        assert decode_task(row, "cover").assets[0].kind == kind
    row = {"id": "t", "outputs": [{"type": "hologram", "url": "https://u"}, {"url": "https://v"}, {"type": None}]}
    assert [asset.kind for asset in decode_task(row, "cover").assets] == ["cover", "cover"]


# --- section 20 ------------------------------------------------------------------------------------------------------


def test_case_1_the_body_is_read_before_the_status_is_judged() -> None:
    """Section 20, case 1: HTTP 200 with a non-zero code, as number or text; a 4xx whose JSON says 1303."""
    for payload, status, code in (
        ({"code": 1303, "message": "m"}, 200, 1303),
        ({"code": "1303", "message": "m"}, 200, 1303),
        ({"code": 1303, "message": "m"}, 400, 1303),
        ({"code": 1303, "message": "m", "data": {"task_id": "t", "task_status": "submitted"}}, 200, 1303),
    ):
        with pytest.raises(errors.SlotsFull) as caught:
            open_envelope(payload, status)
        assert caught.value.code == code
    fine: tuple[object, ...] = (0, "0", "success", "SUCCESS", "Succeed", "OK", "00")
    for word in fine:
        assert open_envelope({"code": word, "data": []}) == Envelope((), many=True)
    with pytest.raises(errors.ServerFault):
        open_envelope({"code": 0, "message": "SUCCEED", "data": {}}, 500)
    # It was made, and is paid for, whatever the status around it says.
    assert open_envelope({"code": 0, "message": "SUCCEED", "data": {"task_id": "t"}}, 500).rows == ({"task_id": "t"},)
    with pytest.raises(errors.RequestRejected):
        open_envelope({"task_id": "t", "status": "queued"}, 404)


@pytest.mark.parametrize("message", ['{"code":1102,"message":"m"}', ' \n{"code":"1102","message":"m","data":null}'])
@pytest.mark.parametrize("wrap", ["fail_to_fetch_task", "task_failed", "E3"])
def test_case_3_the_services_own_body_in_a_gateways_message(message: str, wrap: str) -> None:
    """Section 20, case 3: error form E2; the inner code decides."""
    payload: dict[str, object] = {"code": wrap, "message": message, "data": None}
    if wrap == "E3":
        payload = {"error": {"message": message, "type": "upstream_error", "code": "bad_response"}}
    with pytest.raises(errors.AccountError) as caught:
        open_envelope(payload, 429)
    assert (caught.value.code, caught.value.message, caught.value.retryable) == (1102, "m", False)


@pytest.mark.parametrize(
    "message",
    [
        '{"code":true}',
        '{"code":0}',
        '{"code":"x"}',
        '{"code":null}',
        "{}",
        "[1303]",
        "{",
        '{"code":1303',
        '{"code":1e9}',
    ],
)
def test_case_3_what_only_looks_like_it_decides_nothing(message: str) -> None:
    """Section 20, case 3, turned round: true is not a code."""
    with pytest.raises(errors.ServerFault) as caught:
        open_envelope({"code": "fail_to_fetch_task", "message": message}, 500)
    assert caught.value.code == "fail_to_fetch_task"


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ({"id": "t", "status": ""}, TaskStatus.SUBMITTED),
        ({"id": "t"}, TaskStatus.SUBMITTED),
        ({"id": "t", "status": None}, TaskStatus.SUBMITTED),
        ({"task_id": "t", "task_status": "processing"}, TaskStatus.PROCESSING),
        ({"task_id": "t", "task_status": "succeed"}, TaskStatus.SUCCEEDED),
        ({"task_id": "t", "task_status": "shiny"}, TaskStatus.UNKNOWN),
        ({"task_id": "t", "status": "", "data": {"data": {"task_status": "succeed"}}}, TaskStatus.SUCCEEDED),
    ],
)
def test_case_6_a_create_reply_may_leave_out_almost_everything(row: dict[str, object], status: TaskStatus) -> None:
    """Section 20, case 6: an empty status is "submitted" in a create reply, and unknown elsewhere."""
    assert decode_task(row, "video", created=True).status is status
    if status is TaskStatus.SUBMITTED:
        assert decode_task(row, "video").status is TaskStatus.UNKNOWN


@pytest.mark.parametrize(
    ("payload", "task_id"),
    [
        ({"code": 0, "data": {"id": "2032273942220931072"}}, "2032273942220931072"),
        ({"code": 0, "data": {"task_id": "2032273942220931072"}}, "2032273942220931072"),
        ({"id": "task_A"}, "task_A"),
        ({"task_id": "task_A"}, "task_A"),
        ({"id": "task_A", "task_id": "task_A"}, "task_A"),
        ({"code": 0, "request_id": "867", "data": {"task_id": "867"}}, "867"),
        ({"code": "success", "data": {"id": 91, "task_id": "task_A"}}, "task_A"),
        ({"code": "success", "data": {"id": 91, "data": {"data": {"task_id": "867"}}}}, "867"),
        ({"code": 0, "data": {"id": "", "task_id": "867"}}, "867"),
        ({"code": 0, "data": {"id": "a/b", "task_id": "867"}}, "867"),
        ({"code": 0, "data": {"id": "video_01J9ZK4M2Q"}}, "video_01J9ZK4M2Q"),
        ({"code": 0, "data": {"id": "dGFzazo5MQ==.x~y+z:1"}}, "dGFzazo5MQ==.x~y+z:1"),
        ({"code": 0, "data": {"id": "x" * 256}}, "x" * 256),
    ],
)
def test_case_7_the_id_is_found_wherever_it_stands_and_stays_text(payload: dict[str, object], task_id: str) -> None:
    """Section 20, case 7: data.id, data.task_id, top level, equal to the request id, 19 digits."""
    (row,) = open_envelope(payload).rows
    assert decode_task(row, "video", created=True).task_id == task_id


@pytest.mark.parametrize(
    "hostile",
    [None, 5, 5.0, True, [], {}, "", ".", "..", "a/b", "../../etc", "a b", "a,b", "a\n", "a\x00", "a?b", "a#b", "a%2Fb",
     "é", "\ud800", "x" * 257],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("name", ["id", "task_id"])
def test_case_7_an_id_that_is_none_is_never_made_one(hostile: object, name: str) -> None:
    """Section 20, case 7: null is not "None", 5 is not "5", and no id leads out of a path."""
    assert ids_of({name: hostile})[0] is None
    with pytest.raises(BadEnvelope, match="usable id"):
        decode_task({name: hostile, "task_status": "succeed"}, "video")


def test_case_7_an_external_id_is_text_or_nothing() -> None:
    """Section 20, case 7: in all three places, null and empty text being none."""
    for row, external_id in (
        ({"external_id": "j"}, "j"),
        ({"external_task_id": "j"}, "j"),
        ({"task_info": {"external_task_id": "j"}}, "j"),
        ({"external_id": "", "task_info": {"external_task_id": "j"}}, "j"),
        ({"external_id": 5, "external_task_id": "j"}, "j"),
        ({"external_id": 5}, None),
        ({"external_id": ""}, None),
        ({"task_info": {"external_task_id": None}}, None),
        ({"task_info": None}, None),
        ({"task_info": []}, None),
        ({}, None),
    ):
        assert ids_of({"id": "t", **row}) == ("t", external_id)
        assert decode_task({"id": "t", **row}, "video").external_id == external_id


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"code": 1201, "message": "Task not found"}, 400),
        ({"code": 1203, "message": "resource does not exist"}, 404),
        ({"code": "task_not_exist", "message": "task_not_exist", "data": None}, 400),
    ],
)
def test_case_13_four_ways_of_not_knowing_a_task(payload: dict[str, object], status: int) -> None:
    """Section 20, case 13: 200 with nothing in it, 400 with 1201, 404 with 1203, 400 with a gateway's word."""
    with pytest.raises(ServiceError) as caught:
        open_envelope(payload, status)
    assert errors.is_missing(caught.value)
    assert open_envelope({"code": 0, "data": []}).rows == ()


def test_case_14_one_bad_row_does_not_fail_the_batch() -> None:
    """Section 20, case 14: fewer, reordered, extra and broken rows; matched by id, never by position."""
    payload = {"code": 0, "data": [None, {"id": "b"}, 5, {"id": "a"}, "x", [], {"id": None}, {"id": "b"}]}
    envelope = open_envelope(payload)
    assert [ids_of(row)[0] for row in envelope.rows] == ["b", "a", None, "b"]


def test_case_15_a_page_may_be_null_or_empty() -> None:
    """Section 20, case 15: `data: null` instead of `[]`."""
    for payload in ({"code": 0, "data": None}, {"code": 0}, {"code": 0, "data": []}, {"code": "success", "data": None}):
        envelope = open_envelope(payload)
        assert envelope == Envelope((), many=True, is_null=payload.get("data") is None)
    data: dict[str, object]
    for more in (False, None, 0):
        data = {"result": [], "next_cursor": "c", "has_more": more}
        assert open_envelope({"code": 0, "data": data}).next_cursor is None
    for cursor in ("", None, 5):
        data = {"result": [], "next_cursor": cursor, "has_more": True}
        assert open_envelope({"code": 0, "data": data}).next_cursor is None
    assert open_envelope({"code": 0, "data": {"result": [], "next_cursor": "c"}}).next_cursor == "c"


@pytest.mark.parametrize("result", [None, {}, {"videos": None}, {"videos": []}, {"videos": {}}, [], "x", 5])
def test_case_16_and_17_a_task_without_files_has_no_assets(result: object) -> None:
    """Section 20, cases 16 and 17: `task_result` missing or with null; a success without a file is no result yet."""
    news = decode_task({"task_id": "t", "task_status": "succeed", "task_result": result}, "video")
    assert news.assets == ()
    assert [outcome_of(news, "e", seen) for seen in range(3)] == [None, None, None]
    last = outcome_of(news, "e", 3)
    assert isinstance(last, Failed)
    assert isinstance(last.error, errors.NoOutputs)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"task_status_msg": "risk"}, "risk"),
        ({"message": "risk"}, "risk"),
        ({"task_status_msg": "", "message": "SUCCEED"}, ""),
        ({"task_status_msg": None, "message": "Success"}, ""),
        ({"task_status_msg": "", "fail_reason": "SUCCESS", "message": "HTTP_OK"}, ""),
        ({"error": {"message": "risk"}}, "risk"),
        ({"error": "risk"}, "risk"),
        ({"error": {"message": None}}, ""),
        ({"task_status_msg": 5, "message": ["x"], "error": 7}, ""),
        ({"task_status_msg": "a\nb\x1b[31m"}, r"a\nb\x1b[31m"),
        ({}, ""),
    ],
)
def test_case_18_the_reason_is_found_and_success_is_none(row: dict[str, object], reason: str) -> None:
    """Section 20, case 18: empty task_status_msg, and a gateway that says "SUCCESS" as the reason of a failure."""
    news = decode_task({"task_id": "t", "task_status": "failed", **row}, "video")
    assert news.reason == reason


def test_case_18_the_reason_may_stand_in_the_envelope_or_in_the_inner_body() -> None:
    """Section 20, case 18: beside the task, or in the service's body that a gateway passes on."""
    beside = {"code": 0, "message": "content risk", "data": {"task_id": "t", "task_status": "failed"}}
    assert decode_task(open_envelope(beside).rows[0], "video").reason == "content risk"
    own = {"code": 0, "message": "done", "data": {"id": "t", "status": "failed", "message": "mine"}}
    assert decode_task(open_envelope(own).rows[0], "video").reason == "mine"
    inner = {"code": 1301, "message": "risk control", "data": None}
    outer = {"code": "success", "data": {"task_id": "t", "status": "FAILURE", "fail_reason": "failed", "data": inner}}
    assert decode_task(open_envelope(outer).rows[0], "video").reason == "risk control"
    told = decode_task({"task_id": "t", "task_status": "processing", "task_status_msg": "queue is long"}, "video")
    assert told.reason == ""


@pytest.mark.parametrize("word", ["paused", "unknown", "", "99%", "succeed?", "\x1b[31m" * 50])
def test_case_19_an_unknown_word_is_kept_and_not_guessed(word: str) -> None:
    """Section 20, case 19: the word itself is kept, safe to print."""
    news = decode_task({"task_id": "t", "task_status": word}, "video")
    assert news.status is TaskStatus.UNKNOWN
    assert outcome_of(news, "e", 9) is None
    assert len(news.word) <= 40
    assert news.word.isprintable()


@pytest.mark.parametrize("value", [None, 5, True, ["succeed"], {"x": 1}])
def test_case_19_a_status_that_is_no_word_is_unknown(value: object) -> None:
    """Section 20, case 19: missing, null, a number."""
    assert decode_task({"task_id": "t", "task_status": value}, "video").status is TaskStatus.UNKNOWN


def gateway(status: object, data: object, **more: object) -> dict[str, object]:
    return {"id": 91, "task_id": "task_A", "status": status, "fail_reason": "", "data": data, **more}


def test_case_21_a_gateways_failure_shows_what_the_service_said() -> None:
    """Section 20, case 21: FAILURE by the gateway's clock while the service works on is perhaps paid."""
    inner = {"code": 0, "message": "SUCCEED", "data": {"task_id": "8", "task_status": "processing"}}
    news = decode_task(gateway("FAILURE", inner, fail_reason="timeout"), "video")
    assert (news.status, news.upstream, news.reason) == (TaskStatus.FAILED, TaskStatus.PROCESSING, "timeout")
    outcome = outcome_of(news, "e", 0)
    assert isinstance(outcome, Failed)
    assert outcome.error.paid == "maybe"


def test_the_outer_status_wins_unless_it_says_nothing() -> None:
    done = {"data": {"task_id": "8", "task_status": "succeed"}}
    assert decode_task(gateway("IN_PROGRESS", done), "video").status is TaskStatus.PROCESSING
    assert decode_task(gateway("UNKNOWN", done), "video").status is TaskStatus.SUCCEEDED
    assert decode_task(gateway("", done), "video").word == "succeed"
    between = {"status": "SUCCESS", "data": {"task_result": {"videos": []}}}
    assert decode_task(gateway(None, between), "video").status is TaskStatus.SUCCEEDED
    neither = decode_task(gateway("strange", {"data": {"task_status": "odd"}}), "video")
    assert (neither.status, neither.word, neither.upstream) == (TaskStatus.UNKNOWN, "strange", None)


@pytest.mark.parametrize("name", ["outputs", "task_result", "task_status"])
def test_what_lies_below_the_result_is_not_opened(name: str) -> None:
    """A field named data inside a task is its own business."""
    deeper = {"task_status": "failed", "task_result": {"videos": [{"url": "https://deeper"}]}, "created_at": 5}
    row: dict[str, object] = {"id": "t", "status": "odd", "data": deeper}
    row[name] = {"outputs": [{"type": "video", "url": "https://u"}], "task_result": {}, "task_status": "odd"}[name]
    news = decode_task(row, "video")
    assert [asset.url for asset in news.assets] == (["https://u"] if name == "outputs" else [])
    assert (news.status, news.created_at) == (TaskStatus.UNKNOWN, None)


def test_wraps_are_opened_three_deep_and_no_deeper() -> None:
    result: dict[str, object] = {"task_status": "succeed", "task_result": {"videos": [{"url": "https://u"}]}}
    for depth in range(6):
        wrapped = result
        for _ in range(depth):
            wrapped = {"data": wrapped}
        news = decode_task({"id": "t", **wrapped}, "video")
        assert bool(news.assets) is (depth <= 3)


@pytest.mark.parametrize(
    ("row", "url"),
    [
        ({"fail_reason": "https://h/x.mp4"}, "https://h/x.mp4"),
        ({"fail_reason": "http://h/x.mp4", "result_url": ""}, "http://h/x.mp4"),
        ({"fail_reason": "https://old", "result_url": "https://new"}, "https://new"),
        ({"fail_reason": "SUCCESS", "url": "https://u"}, "https://u"),
        ({"fail_reason": "see https://docs"}, None),
        ({"fail_reason": 5, "url": None, "metadata": {"url": ["x"]}}, None),
        ({"url": "ftp://h/x"}, None),
        ({"url": "https://h/\x1b[31m"}, None),
        ({"url": "https://h/\ud800"}, None),
        ({"metadata": {"url": "https://m"}, "url": "https://u"}, "https://m"),
    ],
)
def test_case_22_a_url_may_stand_in_fail_reason(row: dict[str, object], url: str | None) -> None:
    """Section 20, case 22: older new-api releases put the URL of a success there."""
    news = decode_task({"task_id": "t", "status": "SUCCESS", **row}, "video")
    assert [asset.url for asset in news.assets] == ([] if url is None else [url])


def test_named_outputs_come_before_a_lonely_url() -> None:
    inner = {"task_status": "succeed", "task_result": {"videos": [{"url": "https://named"}]}}
    news = decode_task(gateway("SUCCESS", inner, result_url="https://lonely"), "video")
    assert [asset.url for asset in news.assets] == ["https://named"]


SECOND = datetime(2026, 3, 29, 17, 24, 36, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (1774805076, SECOND),
        (1774805076000, SECOND),
        ("1774805076", SECOND),
        ("1774805076000", SECOND),
        (1774805076.0, SECOND),
        ("1774805076.0", SECOND),
        (253402300799000, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (99999999999, datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
        (253402300800000, None),
        (9e14, None),
        (10**400, None),
        (float("inf"), None),
        (0, None),
        (-1, None),
        (True, None),
        ("", None),
        ("2026-03-29", None),
        (" 1774805076", None),
        ("1_774_805_076", None),
        ("9" * 18, None),
        ([1774805076], None),
        ({}, None),
        (None, None),
    ],
    ids=repr,
)
def test_case_23_times_come_in_seconds_milliseconds_and_text(value: object, time: datetime | None) -> None:
    """Section 20, case 23: seconds here, ms there, string numbers, missing."""
    for created, updated in (
        ("created_at", "updated_at"),
        ("create_time", "update_time"),
        ("submit_time", "finish_time"),
    ):
        news = decode_task({"id": "t", created: value, updated: value}, "video")
        assert news.created_at == news.updated_at == time
    assert decode_task({"id": "t", "completed_at": value}, "video").updated_at == time


def test_case_23_the_services_own_times_come_before_the_gateways() -> None:
    """Section 20, case 23: the innermost body knows best; a zero is no time."""
    inner = {"task_status": "succeed", "created_at": 1774805076000, "updated_at": 0}
    news = decode_task(gateway("SUCCESS", inner, created_at=5, updated_at=1774805076), "video")
    assert news.created_at == news.updated_at == SECOND


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("5.041", 5.041),
        ("5", 5.0),
        (5, 5.0),
        (5.0, 5.0),
        (0, 0.0),
        ("0.0", 0.0),
        (None, None),
        ("", None),
        ("5s", None),
        (" 5", None),
        ("1_0", None),
        ("nan", None),
        ("inf", None),
        ("-5", None),
        (-5, None),
        (True, None),
        ([5], None),
        ({}, None),
        (float("inf"), None),
        (float("nan"), None),
        (10**400, None),
    ],
    ids=repr,
)
def test_case_24_a_length_is_text_or_number_or_missing(value: object, length: float | None) -> None:
    """Section 20, case 24: "5.041", "5", 5, 5.0, missing."""
    row = {"task_id": "t", "task_result": {"videos": [{"url": "https://u", "duration": value}]}}
    assert decode_task(row, "video").assets == (Asset(kind="video", url="https://u", duration_s=length),)
    flat = {"task_id": "t", "url": "https://u", "metadata": {"duration": value}}
    assert decode_task(flat, "video").assets[0].duration_s == length


def test_case_25_no_output_is_dropped() -> None:
    """Section 20, case 25: several clips, clip and sound, series, three views, watermark twins."""
    entries = {
        "videos": [{"id": "1", "url": "https://1"}, {"id": "2", "url": "https://2", "watermark_url": "https://2w"}],
        "images": [{"url_1": "https://3", "url_2": "https://4", "url_3": "https://5"}],
        "series_images": [{"url": "https://6"}],
        "audios": [{"url_mp3": "https://7", "url_wav": "https://8", "url": "https://9"}],
        "voices": [{"voice_id": "v", "trial_url": "https://10"}],
    }
    news = decode_task({"task_id": "t", "task_status": "succeed", "task_result": entries}, "video")
    assert sorted(int(asset.url.removeprefix("https://")) for asset in news.assets) == list(range(1, 11))
    assert news.assets[1].watermark_url == "https://2w"
    outcome = outcome_of(news, "e", 0)
    assert isinstance(outcome, Succeeded)
    assert len(outcome.result.urls) == 10


@pytest.mark.parametrize(
    ("row", "billing"),
    [
        ({}, None),
        ({"final_unit_deduction": ""}, None),
        ({"final_unit_deduction": None, "final_balance_deduction": None}, None),
        ({"final_unit_deduction": "3"}, Billing(units=Decimal(3))),
        ({"final_unit_deduction": 3.5}, Billing(units=Decimal("3.5"))),
        ({"final_unit_deduction": "0"}, Billing(units=Decimal(0))),
        ({"final_balance_deduction": {"quota": "0.42", "list_price": "0.5"}},
         Billing(amount=Decimal("0.42"), list_price=Decimal("0.5"))),
        ({"final_balance_deduction": "0.42"}, None),
        ({"final_unit_deduction": True}, None),
        ({"final_unit_deduction": "NaN"}, None),
        ({"final_unit_deduction": "9e999999"}, None),
        ({"final_unit_deduction": "1_000"}, None),
        ({"final_unit_deduction": float("inf")}, None),
        ({"final_unit_deduction": 10**400}, None),
        ({"final_unit_deduction": {"x": 1}}, None),
        ({"billing": []}, None),
        ({"billing": None, "final_unit_deduction": "3"}, Billing(units=Decimal(3))),
        ({"billing": [{"amount": "0"}]}, Billing(units=Decimal(0))),
        ({"billing": [{"charge_type": "unit", "amount": "3"}, {"charge_type": "unit", "amount": "1.5"}]},
         Billing(units=Decimal("4.5"))),
        ({"billing": [{"charge_type": "cash", "amount": "3", "currency": "CNY", "list_price": "4"}]},
         Billing(amount=Decimal(3), currency="CNY", list_price=Decimal(4))),
        ({"billing": [{"charge_type": "cash", "amount": "3", "currency": "CNY"}, {"amount": "2"}]},
         Billing(amount=Decimal(3), currency="CNY", units=Decimal(2))),
        ({"billing": [{"charge_type": "cash", "amount": "-0.5", "currency": "USD"}]},
         Billing(amount=Decimal("-0.5"), currency="USD")),
        ({"billing": [{"charge_type": "cash"}, {"amount": None}, 5, None]}, None),
        ({"billing": [{"charge_type": "cash", "amount": 1, "currency": 7}]}, Billing(amount=Decimal(1))),
    ],
)  # fmt: skip
def test_case_40_units_are_not_money_and_missing_is_not_zero(row: dict[str, object], billing: Billing | None) -> None:
    """Section 20, case 40: unit or cash, CNY or USD, text or number, missing while running."""
    assert decode_task({"task_id": "t", "task_status": "processing", **row}, "video").billing == billing


# --- strictness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [5, True, ["https://u"], {"a": 1}, "\ud800", "x" * 65_537], ids=lambda v: repr(v)[:20]
)
@pytest.mark.parametrize("name", ["url", "watermark_url", "url_mp3"])
def test_an_output_of_the_wrong_type_is_refused_and_not_coerced(name: str, value: object) -> None:
    row = {"task_id": "t", "task_result": {"videos": [{"url": "https://u", name: value}]}}
    with pytest.raises(BadEnvelope, match="an output that cannot be read"):
        decode_task(row, "video")


@pytest.mark.parametrize("name", ["id", "watermark_url", "voice_id", "duration", "type"])
def test_null_is_nothing_and_not_the_text_none(name: str) -> None:
    row = {"task_id": "t", "outputs": [{"url": "https://u", name: None}]}
    assert decode_task(row, "video").assets == (Asset(kind="video", url="https://u"),)


@pytest.mark.parametrize("code", [True, False, 0.0, 1303.0, [], [0], {}, {"code": 0}], ids=repr)
def test_a_code_is_a_number_or_a_word(code: object) -> None:
    with pytest.raises(BadEnvelope, match="code is a JSON") as caught:
        open_envelope({"code": code, "data": []}, 502)
    assert caught.value.http_status == 502


@pytest.mark.parametrize(
    "payload",
    [None, True, 5, 1.5, "text", [], [{"task_id": "t"}], {}, {"message": "hello"}, {"data": 5}, {"data": "x"},
     {"data": None}, {"data": [][:0] or None}, {"code": 0, "data": "x"}, {"code": 0, "data": True}, {"id": 5},
     {"error": {"message": "x"}, "data": 5}],
    ids=repr,
)  # fmt: skip
def test_what_holds_neither_a_task_nor_a_refusal_is_no_envelope(payload: object) -> None:
    with pytest.raises(BadEnvelope) as caught:
        open_envelope(payload)
    assert caught.value.http_status == 200
    assert (caught.value.paid, caught.value.retryable) == ("maybe", True)


def test_a_task_beside_an_error_object_is_a_task() -> None:
    """D10 carries an error with code 0 on success."""
    envelope = open_envelope({"task_id": "abc", "error": {"code": 0, "message": ""}, "data": {"x": 1}})
    assert ids_of(envelope.rows[0])[0] == "abc"
    envelope = open_envelope({"data": {"task_id": "t"}})
    assert ids_of(envelope.rows[0])[0] == "t"


def test_a_request_id_is_text_short_and_safe_or_nothing() -> None:
    for value, shown in (("r-1", "r-1"), (None, None), (5, None), ("", None), ("\x1b[2J", r"\x1b[2J")):
        assert open_envelope({"code": 0, "data": [], "request_id": value}).request_id == shown
    request_id = open_envelope({"code": 0, "data": [], "request_id": "x" * 10_000}).request_id
    assert request_id is not None
    assert len(request_id) <= 128


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b' \r\n{"a":1}\n', {"a": 1}),
        ('{"a":"任务"}'.encode(), {"a": "任务"}),
        (b'{"a":123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        (b"[" * 50 + b"]" * 50, json.loads("[" * 50 + "]" * 50)),
        (b"null", None),
    ],
)
def test_json_is_read(data: bytes, value: object) -> None:
    assert parse_json(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"code":0,"data":{"task_id":"867',
        b'{"code":0} trailing',
        b'{"code":0}{"code":0}',
        b"{'code':0}",
        b"\xff\xfe\xfa",
        b"\x1f\x8b\x08\x00gzip that nobody unpacked",
        b"upstream connect error or disconnect/reset before headers",
        b'data: {"event": 1}\n\n',
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_case_29_what_is_not_json_is_refused_safely(data: bytes) -> None:
    """Section 20, case 29: truncated, empty, NaN, BOM alone, binary, nested without end."""
    with pytest.raises(BadEnvelope, match="the answer is not JSON") as caught:
        parse_json(data)
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


@given(st.binary(max_size=300))
@example(b"\x00\x00\x00{")
@example(b'"\xed\xa0\x80"')
def test_any_bytes_are_json_or_a_bad_envelope(data: bytes) -> None:
    try:
        parse_json(data)
    except BadEnvelope as error:
        told = str(error)
    else:
        told = ""
    told.encode()


# --- anything at all -------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "succeed",
        "SUCCESS",
        "failed",
        "processing",
        "",
        "t1",
        "https://u",
        "0",
        "1303",
        "success",
        "5.0",
        "NaN",
        "\ud800",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([1303, 1774805076, 9 * 10**14, 10**400, -(10**400)]),
    st.floats(),
    WORDS,
    st.text(st.characters(), max_size=8),
)
NAMES = """
code message request_id data result next_cursor has_more error type id task_id status task_status fail_reason url
result_url metadata duration seconds external_id external_task_id task_info task_result videos images audios voices
outputs billing charge_type amount currency list_price final_unit_deduction final_balance_deduction quota created_at
updated_at create_time finish_time task_status_msg url_1 url_mp3 watermark_url
"""
KEYS = st.sampled_from(NAMES.split())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
KINDS: tuple[AssetKind, ...] = get_args(AssetKind)


@settings(max_examples=400)
@given(VALUES, st.sampled_from([200, 400, 404, 429, 500]))
def test_any_json_is_an_envelope_a_refusal_or_bad(payload: object, status: int) -> None:
    try:
        envelope = open_envelope(payload, status)
    except (BadEnvelope, ServiceError):
        return
    assert all(isinstance(row, dict) for row in envelope.rows)
    assert isinstance(envelope.request_id, str | None)
    assert isinstance(envelope.next_cursor, str | None)


@settings(max_examples=400)
@given(st.dictionaries(KEYS, VALUES, max_size=8), st.booleans(), st.booleans())
def test_any_row_is_an_observation_or_bad(row: dict[str, object], created: bool, named: bool) -> None:
    """Nothing but BadEnvelope comes out, and every field of an observation has the type it says."""
    if named:
        row["task_id"] = "t1"
    try:
        news = decode_task(row, "video", created=created)
    except BadEnvelope:
        return
    assert isinstance(news.task_id, str)
    assert isinstance(news.external_id, str | None)
    assert isinstance(news.status, TaskStatus)
    assert isinstance(news.upstream, TaskStatus | None)
    for asset in news.assets:
        assert asset.kind in KINDS
        asset.url.encode()
        assert isinstance(asset.id, str | None)
        assert asset.duration_s is None or (type(asset.duration_s) is float and 0 <= asset.duration_s < float("inf"))
    for figure in (news.billing.units, news.billing.amount, news.billing.list_price) if news.billing else ():
        assert figure is None or figure.is_finite()
    for time in (news.created_at, news.updated_at):
        assert time is None or time.tzinfo is UTC
    assert news.word.isprintable()
    assert news.reason.isprintable()
    assert news.raw == row
    outcome_of(news, "e", 0)


@pytest.mark.parametrize("value", [5, True, None, ["x"], {"a": 1}], ids=repr)
@pytest.mark.parametrize("name", ["id", "voice_id", "type"])
def test_a_file_is_not_lost_over_an_id_of_the_wrong_type(name: str, value: object) -> None:
    """The URL was paid for: an id that cannot be used is left out, and not made into a text."""
    row = {"task_id": "t", "task_result": {"videos": [{"url": "https://u", name: value}]}}
    (asset,) = decode_task(row, "video").assets
    assert (asset.url, asset.id, asset.kind) == ("https://u", None, "video")


@pytest.mark.parametrize(
    ("element_id", "id_"),
    [
        (831429, "831429"),
        ("831429", "831429"),
        ("", None),
        (None, None),
        (0, None),
        (-1, None),
        (True, None),
        ([], None),
    ],
)
def test_an_elements_id_is_a_number_or_a_text_and_nothing_else(element_id: object, id_: str | None) -> None:
    """Hosts write it either way, and later requests bear it as a text: `True` must not become "1", nor null "None"."""
    result = {"elements": [{"element_id": element_id, "element_name": "a fox", "url": "https://h/x.png"}]}
    news = decode_task({"task_id": "t", "task_status": "succeed", "task_result": result}, "element")
    assert [asset.id for asset in news.assets] == [id_]


@pytest.mark.parametrize("status", [4, "4", "-4", -4])
def test_a_selection_is_refused_by_the_number_inside_whatever_is_around_it(status: object) -> None:
    with pytest.raises(ServiceError, match="no such point") as caught:
        open_envelope(
            {"code": 0, "message": "SUCCEED", "data": {"status": status, "message": "no such point"}}, is_call=True
        )
    assert caught.value.code == "selection_refused"
    assert str(status) in str(caught.value)


@pytest.mark.parametrize("status", [0, "0", None, True, "ready", "4" * 10, "4.5", [4]])
def test_what_is_no_such_number_refuses_no_selection(status: object) -> None:
    answer = {"code": 0, "message": "SUCCEED", "data": {"status": status, "session_id": "s"}}
    assert len(open_envelope(answer, is_call=True).rows) == 1


def page(**more: object) -> bytes:
    """A body that is long enough for the parser of the extra."""
    return json.dumps({"code": 0, "data": ["x" * 100] * 100, **more}).encode()


def test_a_long_answer_is_read_alike_with_and_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = (page(), b"\xef\xbb\xbf" + page(), page(word="\ud800"), page(figure=1e300, id=2**63, text="任务"))
    with_it = [parse_json(body) for body in bodies]
    fast_loads.cache_clear()
    monkeypatch.setitem(sys.modules, "orjson", None)
    assert fast_loads() is None
    assert [parse_json(body) for body in bodies] == with_it
    fast_loads.cache_clear()


@pytest.mark.parametrize("bad", [page()[:-1], page().replace(b'"code": 0', b'"code": NaN'), b"<" + page()])
def test_a_long_answer_that_is_not_json_is_refused(bad: bytes) -> None:
    with pytest.raises(BadEnvelope):
        parse_json(bad)


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"task_id": "8", "task_status": "processing", "updated_at": 5}, "processing"),
        ({"id": "8", "status": "PROCESSING", "update_time": "5"}, "PROCESSING"),
        ({"task_id": "8", "task_status": "processing", "updated_at": 5, "task_result": {}}, None),
        ({"task_id": "8", "task_status": "processing", "updated_at": 5, "data": {}}, None),
        ({"task_id": "8", "task_status": "processing", "updated_at": 0}, None),
        ({"task_id": "8", "task_status": "processing", "updated_at": True}, None),
        ({"task_id": "8", "task_status": "processing", "updated_at": [5]}, None),
        ({"task_id": "8", "task_status": "succeed", "updated_at": 5}, None),
        ({"task_id": "8", "task_status": "strange", "updated_at": 5}, None),
        ({"task_id": "8", "task_status": None, "status": "processing", "updated_at": 5}, None),
    ],
)
def test_only_a_plain_row_of_a_running_task_is_known_by_its_mark(row: dict[str, object], word: str | None) -> None:
    mark = mark_of(row)
    assert (None if mark is None else mark[0]) == word


def test_a_plain_row_needs_an_id_as_any_other() -> None:
    plain = {"task_status": "processing", "updated_at": 1_790_000_000_000}
    with pytest.raises(BadEnvelope, match="usable id"):
        decode_task(plain, "video")
    assert decode_task(plain, "video", nameless=True).task_id is None
    assert decode_task({**plain, "task_id": "8"}, "video", known_id="9", request_id="r").task_id == "9"


@pytest.mark.parametrize(
    ("output", "asset"),
    [
        ({"url": "https://a/b", "watermark_url": "", "id": 7}, Asset(kind="video", url="https://a/b")),
        (
            {"url": "https://a/b", "watermark_url": "https://a/w", "id": "v", "duration": "5.1"},
            Asset(kind="video", url="https://a/b", watermark_url="https://a/w", id="v", duration_s=5.1),
        ),
        ({"url": "", "id": "v"}, None),
        ({"url": "https://a/b", "watermark_url": 5}, BadEnvelope),
        ({"url": "https://a/" + "b" * 70_000}, BadEnvelope),
        ({"url": "https://a/b", "id": "\ud800"}, BadEnvelope),
    ],
)
def test_a_plain_file_is_read_as_strictly_as_any_other_output(output: dict[str, object], asset: Any) -> None:
    row = {"task_id": "8", "task_status": "succeed", "task_result": {"videos": [output]}}
    careful = {**row, "task_result": {"videos": [{**output, "name": None}]}}
    for each in (row, careful):
        if asset is BadEnvelope:
            with pytest.raises(BadEnvelope, match="cannot be read"):
                decode_task(each, "video")
        else:
            assert decode_task(each, "video").assets == (() if asset is None else (asset,))


def test_a_file_of_a_host_at_the_end_of_time_has_no_end() -> None:
    row = {"task_id": "8", "task_status": "succeed", "updated_at": 253_402_300_799_000}
    row = {**row, "task_result": {"videos": [{"url": "https://a/b"}]}}
    assert decode_task(row, "video", retention_s=1e6).assets[0].expires_at is None


def test_the_parser_of_the_extra_is_asked_first_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def loads(data: bytes) -> object:
        asked.append(data)
        if b"strict" in data:
            raise ValueError("refused")
        return "read by it"

    fast_loads.cache_clear()
    monkeypatch.setitem(sys.modules, "orjson", SimpleNamespace(loads=loads))
    assert parse_json(page()) == "read by it"
    assert parse_json(b'{"a":1}') == {"a": 1}
    strict = page(word="strict")
    assert parse_json(strict) == json.loads(strict)
    assert asked == [page(), strict]
    fast_loads.cache_clear()
