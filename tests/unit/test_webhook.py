"""webhook.py: callbacks of both standards, bare and wrapped; which signatures are believed, and which are not."""

import base64
import contextlib
import hashlib
import hmac
import json
import pickle
import time
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from unit_tools import SAMPLES, load

from kling_async import CallbackRejected, ConfigError, KlingError, Observation, TaskStatus
from kling_async.auth import Secret
from kling_async.webhook import Callback, Webhook, decode_callback, verify_callback

# Source: service reference, "Callbacks": the printed test vector.
SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
BODY = b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
NOW = 1781080794
SIGNATURE = "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="
HEADERS = {"webhook-id": "9876543210", "webhook-timestamp": str(NOW), "webhook-signature": SIGNATURE}

OTHER = "whsec_" + base64.b64encode(b"another secret of another account").decode()


def signed(body: bytes, secret: str = SECRET, *, message_id: str = "m1", at: int = NOW) -> dict[str, str]:
    """Headers as the service would make them, by the words of the reference and none of our code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    value = "v1," + base64.b64encode(mac).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": value}


def refused(headers: Any, body: bytes = BODY, secrets: Any = SECRET, now: float = NOW) -> str:
    """Assert that a callback is refused, and give the reason."""
    with pytest.raises(CallbackRejected) as caught:
        verify_callback(body, headers, secrets, now)
    assert (caught.value.paid, caught.value.retryable) == ("no", False)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


# --- signatures ------------------------------------------------------------------------------------------------------


def test_the_references_own_example_is_believed() -> None:
    """Every byte of the printed vector, and a signature of ours made by the same words."""
    verify_callback(BODY, HEADERS, SECRET, NOW)
    assert signed(BODY, message_id="9876543210") == HEADERS


@pytest.mark.parametrize(
    "secret",
    [SECRET, SECRET.removeprefix("whsec_"), SECRET.rstrip("="), Secret(SECRET), [OTHER, SECRET], (Secret(SECRET),)],
    ids=["whole", "without whsec_", "without padding", "hidden", "the second of two", "tuple"],
)
def test_secrets_in_every_form_people_have_them(secret: Any) -> None:
    verify_callback(BODY, HEADERS, secret, NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {name.title(): value for name, value in HEADERS.items()},
        {name.upper(): value for name, value in HEADERS.items()},
        CIMultiDict({**HEADERS, "Content-Type": "application/json; charset=utf-8"}),
    ],
    ids=["Title", "UPPER", "multidict"],
)
def test_the_case_of_header_names_does_not_matter(headers: Any) -> None:
    verify_callback(BODY, headers, SECRET, NOW)


@pytest.mark.parametrize(
    "value",
    [
        f"{SIGNATURE} v1,AAAA",
        f"v1,AAAA {SIGNATURE}",
        f"v1a,{'A' * 44} {SIGNATURE}  v1",
        f"v2,x {SIGNATURE} v3,y",
    ],
)
def test_case_39_any_of_several_signatures_may_be_the_good_one(value: str) -> None:
    """Section 20, case 39: while the secret is being changed each message is signed with the old and the new one."""
    verify_callback(BODY, {**HEADERS, "webhook-signature": value}, SECRET, NOW)


@pytest.mark.fault("F41")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"webhook-signature": SIGNATURE.replace("v1,", "v2,")}, "forged"),
        ({"webhook-signature": SIGNATURE.removeprefix("v1,")}, "forged"),
        ({"webhook-signature": SIGNATURE[:-2] + "A="}, "forged"),
        ({"webhook-signature": SIGNATURE.swapcase()}, "forged"),
        ({"webhook-signature": "v1,"}, "forged"),
        ({"webhook-signature": "v1"}, "forged"),
        ({"webhook-signature": " "}, "forged"),
        ({"webhook-id": "9876543211"}, "forged"),
        ({"webhook-timestamp": str(NOW + 1)}, "forged"),
        ({"webhook-timestamp": f"0{NOW}"}, "forged"),
        ({"webhook-timestamp": "now"}, "malformed"),
        ({"webhook-timestamp": f"-{NOW}"}, "malformed"),
        ({"webhook-timestamp": f"{NOW}.0"}, "malformed"),
        ({"webhook-timestamp": f" {NOW}"}, "malformed"),
        ({"webhook-timestamp": "١٧٨١٠٨٠٧٩٤"}, "malformed"),
        ({"webhook-timestamp": "9" * 5000}, "malformed"),
        ({"webhook-id": "m" * 257}, "malformed"),
        ({"webhook-id": "m\n1"}, "malformed"),
        ({"webhook-id": "ünïcode"}, "malformed"),
        ({"webhook-signature": "v1,\udc80"}, "malformed"),
        ({"Webhook-Id": "9876543210"}, "malformed"),
        ({"webhook-id": ""}, "unsigned"),
        ({"webhook-signature": ""}, "unsigned"),
    ],
)
def test_whatever_is_changed_is_noticed(change: dict[str, str], reason: str) -> None:
    """Each of the three headers is signed or checked; two of one name are ambiguous."""
    assert refused({**HEADERS, **change}) == reason


@pytest.mark.parametrize("missing", HEADERS)
def test_case_38_a_callback_without_a_signature_is_refused_where_a_secret_is_set(missing: str) -> None:
    """Section 20, case 38: callbacks go on unsigned when the secret is deleted in the console."""
    assert refused({name: value for name, value in HEADERS.items() if name != missing}) == "unsigned"
    assert refused({}) == "unsigned"


def test_case_39_the_bytes_are_signed_not_what_they_mean() -> None:
    """Section 20, case 39: the same JSON, written anew, is another message."""
    again = json.dumps(json.loads(BODY)).encode()
    assert json.loads(again) == json.loads(BODY)
    assert refused(HEADERS, again) == "forged"
    assert refused(HEADERS, BODY + b"\n") == "forged"


@pytest.mark.parametrize("difference_s", [-300, -299.9, 0, 299.9, 300])
def test_five_minutes_of_difference_are_let_through(difference_s: float) -> None:
    verify_callback(BODY, HEADERS, SECRET, NOW + difference_s)


@pytest.mark.fault("F41")
@pytest.mark.parametrize("difference_s", [-1e9, -300.1, 300.1, 86_400, float("inf"), float("nan")])
def test_case_39_what_was_signed_long_ago_is_refused(difference_s: float) -> None:
    """Section 20, case 39: a replay, or one of the two clocks is wrong; "stale" is said of good signatures only."""
    assert refused(HEADERS, now=NOW + difference_s) == "stale"
    forged = {**HEADERS, "webhook-signature": "v1,AAAA"}
    assert refused(forged, now=NOW + difference_s) == "forged"


def test_a_tolerance_of_ones_own() -> None:
    verify_callback(BODY, HEADERS, SECRET, NOW + 900, tolerance_s=1000)
    with pytest.raises(CallbackRejected, match="stale"):
        verify_callback(BODY, HEADERS, SECRET, NOW + 11, tolerance_s=10)


@given(st.binary(max_size=300), st.integers(0, 299), st.integers(1, 255))
def test_one_bit_is_enough_to_be_forged(body: bytes, place: int, flip: int) -> None:
    headers = signed(body)
    verify_callback(body, headers, [OTHER, SECRET], NOW)
    spoilt = bytearray(body or b"x")
    spoilt[place % len(spoilt)] ^= flip
    assert refused(headers, bytes(spoilt) if body else b"x") == "forged"
    assert refused(headers, body, OTHER) == "forged"


@given(st.dictionaries(st.sampled_from([*HEADERS, "Webhook-ID", "host"]), st.text(st.characters(), max_size=60)))
def test_no_header_breaks_it(headers: dict[str, str]) -> None:
    """Whatever comes, the answer is one of ours."""
    assert refused(headers) in {"unsigned", "malformed", "forged", "stale"}


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_????", "not base64 at all", "whsec_ü", [], ["", SECRET]])
def test_a_secret_that_is_none_is_told_without_being_shown(secret: Any) -> None:
    """An empty key would believe everybody."""
    for refusing in (lambda: Webhook(secret), lambda: verify_callback(BODY, HEADERS, secret, NOW)):
        with pytest.raises(ConfigError, match="secret") as caught:
            refusing()
        assert "????" not in str(caught.value)
        assert "not base64 at all" not in str(caught.value)


def test_the_secret_is_not_shown_by_an_error() -> None:
    """Neither in the words, nor among the locals of our frames, nor by the object that keeps it."""
    odd = SECRET[:-4] + "!!!!"
    for act in (
        lambda: Webhook(odd),
        lambda: Webhook(SECRET, tolerance_s=0),
        lambda: verify_callback(BODY, HEADERS, odd, NOW),
        lambda: verify_callback(BODY, {}, SECRET, NOW),
        lambda: verify_callback(BODY, {**HEADERS, "webhook-signature": "v1,x"}, [SECRET], NOW),
        lambda: Webhook(SECRET).read({}, BODY, NOW),
    ):
        with pytest.raises(KlingError) as caught:
            act()
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        inside = [frame for frame in told.stack if "kling_async" in frame.filename]
        assert inside
        for shown in (str(caught.value), repr([frame.locals for frame in inside])):
            assert SECRET[6:-4] not in shown
            assert "testsecret" not in shown
    assert repr(Webhook(SECRET)) == "<Webhook [1 secrets, 300 s]>"
    assert repr(Webhook()) == "<Webhook [signatures unchecked]>"


# --- what it says ----------------------------------------------------------------------------------------------------

LEGACY = load(SAMPLES / "replies" / "D1-official-single.json")["payload"]
NEW = load(SAMPLES / "replies" / "D4-new-batch.json")["payload"]


def bare_and_wrapped(task: Any) -> list[bytes]:
    """A task object as a callback's body: the service's way, and the way some third parties show."""
    envelope = {"code": 0, "message": "SUCCEED", "request_id": "r9", "data": task}
    return [json.dumps(body).encode() for body in (task, envelope)]


def test_case_38_legacy_and_new_bare_and_wrapped_say_the_same() -> None:
    """Section 20, case 38: wrapped or bare, both standards."""
    for task, task_id in ((LEGACY["data"], LEGACY["data"]["task_id"]), (NEW["data"][0], NEW["data"][0]["id"])):
        bare, wrapped = (decode_callback(body) for body in bare_and_wrapped(task))
        assert bare == wrapped
        assert (bare.task_id, bare.status, bare.word) == (
            task_id,
            TaskStatus.SUCCEEDED,
            task.get("task_status") or task["status"],
        )
        assert bare.assets
        assert bare.external_id
        assert (bare.request_id, wrapped.request_id) == (None, "r9")
        assert bare.updated_at is not None


def test_a_batch_of_one_is_a_task_too() -> None:
    """A list holds one task or it is no callback."""
    assert decode_callback(json.dumps({"code": 0, "data": NEW["data"][:1]}).encode()).task_id == NEW["data"][0]["id"]
    with pytest.raises(CallbackRejected, match="2 tasks"):
        decode_callback(json.dumps({"code": 0, "data": [{"id": "1"}, {"id": "2"}]}).encode())


@pytest.mark.parametrize(
    ("task", "status", "reason"),
    [
        ({"task_id": "8", "task_status": "submitted", "task_info": {}}, TaskStatus.SUBMITTED, ""),
        ({"id": "9", "status": "submitted", "message": "", "outputs": []}, TaskStatus.SUBMITTED, ""),  # console's test
        ({"id": "9", "status": "processing", "external_id": "job-8"}, TaskStatus.PROCESSING, ""),
        ({"id": "9", "status": "failed", "message": "risk control"}, TaskStatus.FAILED, "risk control"),
        ({"task_id": "8", "task_status": "failed", "task_status_msg": "pixels"}, TaskStatus.FAILED, "pixels"),
        ({"task_id": "8", "task_status": "rendering"}, TaskStatus.UNKNOWN, ""),
        ({"id": "9", "status": ""}, TaskStatus.UNKNOWN, ""),
    ],
)
def test_every_change_of_status_is_told(task: dict[str, object], status: TaskStatus, reason: str) -> None:
    for body in bare_and_wrapped(task):
        observation = decode_callback(body)
        assert (observation.status, observation.reason) == (status, reason)
        assert observation.task_id == (task.get("id") or task["task_id"])


def test_the_endpoint_says_what_a_nameless_output_is() -> None:
    body = b'{"id":"9","status":"succeeded","outputs":[{"url":"https://x.example/1"}]}'
    assert [decode_callback(body, yields=kind).assets[0].kind for kind in ("video", "image")] == ["video", "image"]


def test_a_byte_order_mark_hurts_nobody() -> None:
    assert decode_callback(b"\xef\xbb\xbf" + BODY).task_id == "1234567890"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'"1234567890"',
        b'{"id":1234567890,"status":"succeeded"}',
        b'{"id":"../../etc","status":"succeeded"}',
        b'{"id":"1","status":"succeeded","outputs":[{"url":7}]}',
        b'{"code":0,"data":null}',
        b'{"code":0,"data":[]}',
        b'{"code":1201,"message":"Task not found","data":null}',
        b'{"id":"1","n":NaN}',
        b"\xff\xfe{\x00}\x00",
        b"[" * 100_000,
    ],
)
def test_what_holds_no_task_is_unreadable(body: bytes) -> None:
    with pytest.raises(CallbackRejected) as caught:
        decode_callback(body)
    assert caught.value.reason == "unreadable"
    assert caught.value.__cause__ is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "status", "data", "code", "outputs", "error", "url"]), inner)
        ),
        max_leaves=12,
    )
)
def test_whatever_json_comes_is_an_observation_or_a_refusal(value: object) -> None:
    with contextlib.suppress(CallbackRejected):
        assert isinstance(decode_callback(json.dumps(value).encode()), Observation)


@pytest.mark.fault("F41")
def test_more_than_a_callback_can_be_is_not_read() -> None:
    large = b'{"id":"1","x":"' + b"x" * 262_144 + b'"}'
    for act in (lambda: decode_callback(large), lambda: verify_callback(large, signed(large), SECRET, NOW)):
        with pytest.raises(CallbackRejected, match="262,144") as caught:
            act()
        assert caught.value.reason == "too large"


@pytest.mark.parametrize("body", [json.loads(BODY), BODY.decode(), None])
def test_a_parsed_body_is_the_programmers_mistake(body: Any) -> None:
    """Written anew it would have another signature, so it is said at once, also where nothing is checked yet."""
    for act in (
        lambda: decode_callback(body),
        lambda: verify_callback(body, HEADERS, SECRET, NOW),
        lambda: Webhook().read({}, body, NOW),
    ):
        with pytest.raises(ConfigError, match="as they were received"):
            act()


# --- the reference library as the oracle -----------------------------------------------------------------------------

IDS = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=40)
KEYS = st.binary(min_size=1, max_size=64)
BODIES = st.dictionaries(st.text(max_size=8), st.text(max_size=30) | st.integers(), max_size=4)


def stamped(key: bytes, message_id: str, at: int, body: str) -> tuple[str, dict[str, str]]:
    """A secret, and headers as the library of Standard Webhooks makes them."""
    secret = "whsec_" + base64.b64encode(key).decode()
    signature = standardwebhooks.Webhook(secret).sign(message_id, datetime.fromtimestamp(at, UTC), body)
    return secret, {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}


@given(KEYS, IDS, BODIES, st.integers(-290, 290))
def test_what_the_reference_library_signs_is_believed(key: bytes, message_id: str, value: object, late_s: int) -> None:
    body = json.dumps(value, ensure_ascii=False)
    at = int(time.time()) - late_s
    secret, headers = stamped(key, message_id, at, body)
    standardwebhooks.Webhook(secret).verify(body, headers)
    verify_callback(body.encode(), headers, secret, at + late_s)
    verify_callback(body.encode(), headers, [OTHER, secret], at + late_s)


@given(
    KEYS,
    IDS,
    BODIES,
    st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "body", "secret", "nothing"]),
    st.integers(0, 200),
    st.sampled_from(["", " ", "v1,", "v2,", "0", "-", ".", "=", "A", "\u0663", "\x00"]),
    st.sampled_from([-400, -310, 0, 310, 86_400]),
)
@pytest.mark.fault("F41")
def test_what_the_reference_library_refuses_is_refused(
    key: bytes, message_id: str, value: object, where: str, place: int, inserted: str, late_s: int
) -> None:
    """Whatever is put into, or taken out of, a message: nothing is believed that it does not believe."""
    now = time.time()
    body = json.dumps(value)
    secret, headers = stamped(key, message_id, int(now) - late_s, body)

    def changed(text: str) -> str:
        at = place % (len(text) + 1)
        return text[:at] + inserted + text[at + (place % 3) :]

    sent = changed(body) if where == "body" else body
    if where in headers:
        headers[where] = changed(headers[where])
    if where == "secret":
        secret = "whsec_" + base64.b64encode(key + b"1").decode()
    try:
        verify_callback(sent.encode(), headers, secret, now)
    except CallbackRejected:
        return
    standardwebhooks.Webhook(secret).verify(sent, headers, json_parse=False)


# --- both at once ----------------------------------------------------------------------------------------------------


def test_a_signed_callback_has_an_id_to_know_it_by() -> None:
    callback = Webhook(SECRET).read(HEADERS, BODY, NOW)
    assert (callback.signed, callback.id) == (True, "9876543210")
    assert callback.observation == decode_callback(BODY)
    assert pickle.loads(pickle.dumps(callback)) == callback


def test_without_a_secret_nothing_is_believed_not_even_the_id() -> None:
    """Else anybody could use up the ids of messages to come."""
    callback = Webhook().read(HEADERS, BODY, NOW + 1e6)
    assert callback == Callback(observation=decode_callback(BODY), signed=False, id=None)


def test_the_signature_is_checked_before_a_body_is_read() -> None:
    """A stranger learns nothing of the parser."""
    webhook = Webhook([OTHER, SECRET])
    with pytest.raises(CallbackRejected, match="forged"):
        webhook.read(HEADERS, b"not json", NOW)
    with pytest.raises(CallbackRejected, match="unreadable"):
        webhook.read(signed(b"not json"), b"not json", NOW)
    with pytest.raises(CallbackRejected, match="stale"):
        Webhook(SECRET, tolerance_s=5).read(HEADERS, BODY, NOW + 6)


@pytest.mark.parametrize("tolerance_s", [0, -1, float("inf"), float("nan")])
def test_a_tolerance_is_a_number_of_seconds(tolerance_s: float) -> None:
    with pytest.raises(ConfigError, match="tolerance_s"):
        Webhook(SECRET, tolerance_s=tolerance_s)


def test_an_image_callback_is_read_as_one() -> None:
    body = b'{"id":"9","status":"succeeded","outputs":[{"url":"https://x.example/1"}]}'
    assert Webhook().read({}, body, NOW, yields="image").observation.assets[0].kind == "image"
    assert Webhook(SECRET).read(signed(body), body, NOW, yields="image").observation.assets[0].kind == "image"


@pytest.mark.parametrize("headers", [None, [("webhook-id", "1")], "webhook-id: 1"])
def test_headers_that_are_no_mapping_are_the_programmers_mistake(headers: Any) -> None:
    """No refusal of the callback: with the headers as the framework has them it may be a good one."""
    with pytest.raises(ConfigError, match="headers"):
        verify_callback(BODY, headers, SECRET, NOW)
