"""calls.py: answers of calls as typed objects, whatever a host leaves out, adds, or writes in another type."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async import (
    ENDPOINTS,
    AccountUsage,
    BadEnvelope,
    BalanceDeduction,
    Charge,
    ChargesPage,
    Deletion,
    Endpoint,
    Face,
    FaceIdentification,
    FrameMasks,
    ImageRecognition,
    KlingError,
    ObjectMask,
    PngMask,
    Presets,
    RequestRejected,
    RleMask,
    SelectionMasks,
    SelectionSession,
    ServiceError,
)
from kling_async.calls import decode_answer
from kling_async.endpoints import find_endpoint
from kling_async.wire import Envelope, open_envelope

CALLS = [row for row in ENDPOINTS if row.kind == "call"]
PAGES = ("account/billing/balance", "account/billing/package")


def answer_to(name: str, data: object, **envelope: Any) -> Any:
    """What the data of an answer, in the service's envelope, becomes."""
    payload = {"code": 0, "message": "SUCCEED", "request_id": "r1", "data": data, **envelope}
    return decode_answer(find_endpoint(name), open_envelope(payload))


def charge(**fields: object) -> Charge:
    """One charge as the service would tell it in a page of one."""
    page: ChargesPage = answer_to(PAGES[0], {"result": {"detail": [fields]}})
    (only,) = page.charges
    return only


# --- whole answers ---------------------------------------------------------------------------------------------------


def test_faces_of_a_video() -> None:
    """Source: service reference, "Face Identification"; what the service adds stays in `raw`."""
    data = {
        "session_id": "s1",
        "face_data": [
            {"face_id": "0", "face_image": "https://x.test/0.png", "start_time": 0, "end_time": 5200, "age": 30},
            {"face_id": "1"},
        ],
        "final_unit_deduction": "0.05",
        "final_balance_deduction": {"quota": "0.007", "list_price": "0.007"},
        "new": [1],
    }
    faces: Any = answer_to("identify-face", data)
    assert isinstance(faces, FaceIdentification)
    assert faces.session_id == "s1"
    assert faces.face_data[0] == Face(face_id="0", face_image="https://x.test/0.png", start_time=0, end_time=5200)
    assert faces.face_data[1] == Face(face_id="1")
    assert faces.final_balance_deduction == BalanceDeduction(quota="0.007", list_price="0.007")
    assert faces.final_unit_deduction == "0.05"
    assert faces.raw == data


def test_masks_of_a_selection_are_decoded_to_the_innermost_list() -> None:
    """Source: service reference, "Multi-Elements"."""
    mask = {
        "object_id": 0,
        "rle_mask": {"size": [720, 1280], "counts": "^Wh5"},
        "png_mask": {"size": [720, 1280], "base64": "iVBO"},
    }
    data = {"status": 0, "session_id": "s1", "res": {"frame_index": 3, "rle_mask_list": [mask]}}
    decoded = ObjectMask(
        object_id=0,
        rle_mask=RleMask(size=(720, 1280), counts="^Wh5"),
        png_mask=PngMask(size=(720, 1280), base64="iVBO"),
    )
    frame = FrameMasks(frame_index=3, rle_mask_list=(decoded,))
    assert answer_to("add-selection", data) == SelectionMasks(session_id="s1", res=frame)


def test_a_recognised_picture_is_given_as_it_came() -> None:
    """No source tells its form, so every form is taken, and nothing of it is lost."""
    shapes: list[dict[str, Any]] = [{"images": [{"url": "u"}]}, {"task_result": {}}, {}]
    for data in shapes:
        answer = answer_to("image-recognize", data)
        assert type(answer) is ImageRecognition
        assert answer.raw == data
    rows = [{"a": 1}, {"b": 2}]
    assert answer_to("image-recognize", rows).raw == {"rows": rows}
    assert answer_to("image-recognize", None).raw == {"rows": []}


def test_presets_are_assets_in_the_services_order() -> None:
    """A list of task-shaped rows: a voice or an element each, one row with two of them too."""
    rows = [
        {"task_id": "1", "task_status": "succeed", "task_result": {"voices": [{"voice_id": "v1", "voice_name": "A"}]}},
        {"task_id": "2", "task_status": "succeed", "task_result": {"voices": [{"voice_id": "v2"}, {"voice_id": "v3"}]}},
    ]
    answer = answer_to("presets-voices", rows)
    assert type(answer) is Presets
    assert [(asset.kind, asset.id) for asset in answer.assets] == [("voice", "v1"), ("voice", "v2"), ("voice", "v3")]
    assert answer.raw == {"rows": rows}
    assert answer_to("presets-voices", []).assets == ()
    assert answer_to("presets-elements", None).assets == ()


def test_a_deletion_may_say_as_little_as_it_likes() -> None:
    assert answer_to("delete-voices", {}) == Deletion()
    assert answer_to("delete-voices", {"task_id": "9", "task_status": "succeed"}).task_id == "9"


def test_packs_of_the_account() -> None:
    """Source: service reference, "Account Usage": quantities are exact, moments are milliseconds."""
    data = {
        "code": 0,
        "msg": "success",
        "resource_pack_subscribe_infos": [
            {
                "resource_pack_name": "Video",
                "resource_pack_id": "p1",
                "resource_pack_type": "decreasing_total",
                "total_quantity": 100.1,
                "remaining_quantity": "99.3",
                "purchase_time": 1726124664368,
                "status": "online",
            }
        ],
    }
    usage = answer_to("account/costs", data)
    assert type(usage) is AccountUsage
    (pack,) = usage.packs
    assert (pack.total_quantity, pack.remaining_quantity) == (Decimal("100.1"), Decimal("99.3"))
    assert (pack.purchase_time, pack.invalid_time) == (1726124664368, None)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_charges_as_the_service_prints_it(name: str) -> None:
    """Source: "Billing Deduction", both pages: lengths and moments are texts there, amounts are numbers."""
    common = {
        "task_id": "867",
        "api_key_name": "key",
        "product_function": "Image to Video",
        "model_name": "kling-3.0",
        "resolution": "720p",
        "duration": "5.04",
        "refer_video_input": True,
        "video_sound": "native",
        "voice_control": False,
        "deduction_time": "1779549455861",
        "deduction_amount": 5.0,
    }
    of_balance = {
        "cash_type": "balance",
        "balance_before_deduction": 13037.3,
        "balance_after_deduction": 13032.3,
        "list_price": 5.0,
        "currency": "USD",
    }
    of_packs = {
        "package_id": "p1",
        "product_type": "video",
        "unit_before_deduction": 13037.3,
        "unit_after_deduction": 13032.3,
    }
    own = of_balance if name.endswith("balance") else of_packs
    data = {"result": {"detail": [{**common, **own}], "count": 1}, "next_cursor": "c2", "has_more": True}
    page = answer_to(name, data)
    assert type(page) is ChargesPage
    (only,) = page.charges
    assert (only.duration, only.deduction_time, only.deduction_amount) == (5.04, 1779549455861, Decimal("5.0"))
    assert (only.refer_video_input, only.video_sound, only.voice_control) == (True, "native", False)
    told = {name for name in attrs.fields_dict(Charge) if getattr(only, name) is not None}
    assert told == common.keys() | own.keys(), "nothing is lost, and nothing is made up"
    assert (page.next_cursor, page.has_more, page.result.count) == ("c2", True, 1)


def test_a_class_without_raw_is_given_as_it_is() -> None:
    @attrs.frozen
    class Small:
        text: str = ""

    row = attrs.evolve(find_endpoint("account/costs"), answer=Small)
    assert decode_answer(row, Envelope(({"text": "a"},), many=False)) == Small("a")


# --- refusals inside -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in CALLS if row.standard == "account"], ids=lambda row: row.name)
def test_the_accounts_inner_code_is_a_refusal(row: Endpoint) -> None:
    """A code other than 0 inside a success is raised with its words and the exchange's id, and nothing was paid."""
    with pytest.raises(RequestRejected, match="start_time is invalid") as caught:
        answer_to(row.name, {"code": 1201, "msg": "start_time is invalid"})
    assert (caught.value.code, caught.value.paid, caught.value.request_id) == (1201, "no", "r1")
    with pytest.raises(ServiceError):
        answer_to(row.name, {"code": 5000, "msg": None})


@pytest.mark.parametrize("row", [row for row in CALLS if "assets" not in attrs.fields_dict(row.answer or Face)])
def test_a_call_never_takes_nothing_for_an_answer(row: Endpoint) -> None:
    """A list or no data at all is told apart, and is no answer, except where no source tells the form."""
    if row.answer is ImageRecognition:
        return
    with pytest.raises(BadEnvelope, match=f"no answer to {row.name}"):
        answer_to(row.name, None)
    with pytest.raises(BadEnvelope, match=f"the answer to {row.name} is a list"):
        answer_to(row.name, [{"session_id": "s1"}])


# --- types -----------------------------------------------------------------------------------------------------------

NOT_TEXT = [True, False, 1.5, [], {}, ["a"]]
NOT_INTEGER = [True, 1.5, "1.5", "a", "1e3", "0x10", " 1", "1" * 19, [], {}]
NOT_NUMBER = [True, "a", "1e3", "NaN", "-", "--1", [], {}]
NOT_FLAG = ["true", 0, 1, "", [], {}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("task_id", value) for value in NOT_TEXT),
        *(("deduction_time", value) for value in NOT_INTEGER),
        *(("duration", value) for value in NOT_NUMBER),
        *(("deduction_amount", value) for value in NOT_NUMBER),
        *(("voice_control", value) for value in NOT_FLAG if value != ""),
    ],
)
def test_a_value_that_cannot_be_what_its_field_says_is_refused_and_never_coerced(field: str, value: object) -> None:
    """Null must not become "None", and "false" must not become True."""
    with pytest.raises(BadEnvelope, match=f"the answer to {PAGES[0]} cannot be read") as caught:
        charge(**{field: value})
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("task_id", "867", "867"),
        ("task_id", 867000000000000001, "867000000000000001"),
        ("task_id", "", ""),
        ("deduction_time", 1779549455861, 1779549455861),
        ("deduction_time", "1779549455861", 1779549455861),
        ("deduction_time", "-5", -5),
        ("duration", "5.04", 5.04),
        ("duration", 5, 5.0),
        ("duration", 5.5, 5.5),
        ("deduction_amount", "0.10", Decimal("0.10")),
        ("deduction_amount", 0.1, Decimal("0.1")),
        ("deduction_amount", 5, Decimal(5)),
        ("deduction_amount", "-1.5", Decimal("-1.5")),
        ("voice_control", False, False),
        *((name, None, None) for name in ("task_id", "deduction_time", "duration", "deduction_amount")),
    ],
)
def test_every_way_to_write_a_value_is_read(field: str, value: object, read: object) -> None:
    """Numbers come as texts and ids as numbers; null is what is left out."""
    told = getattr(charge(**{field: value}), field)
    assert told == read
    assert type(told) is type(read)


@pytest.mark.parametrize("field", ["duration", "deduction_time", "deduction_amount", "list_price", "voice_control"])
def test_a_figure_that_is_left_empty_is_one_that_was_not_told(field: str) -> None:
    """A picture has no length: the page of charges it stands on is not lost for that."""
    told = charge(task_id="867", **{field: ""})
    assert (told.task_id, getattr(told, field)) == ("867", None)


@pytest.mark.parametrize("value", ["text", 5, [], True])
def test_an_object_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(BadEnvelope):
        answer_to("add-selection", {"status": 0, "res": value})
    with pytest.raises(BadEnvelope):
        answer_to(PAGES[0], {"result": {"detail": [value]}})


@attrs.frozen
class _Holder:
    given: Mapping[str, object]


def test_a_mapping_is_taken_as_it_is_and_nothing_else_for_one() -> None:
    row = attrs.evolve(find_endpoint("account/costs"), answer=_Holder)
    inner = {"a": [1, None]}
    assert decode_answer(row, Envelope(({"given": inner},), many=False)).given == inner
    with pytest.raises(BadEnvelope, match="not an object"):
        decode_answer(row, Envelope(({"given": [1]},), many=False))


def test_what_an_answer_cannot_be_without_is_missed() -> None:
    for name in ("identify-face", "init-selection"):
        for data in ({}, {"session_id": None}):
            with pytest.raises(BadEnvelope, match="cannot be read"):
                answer_to(name, data)
    opened = answer_to("init-selection", {"session_id": "s1"})
    assert opened == SelectionSession(session_id="s1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(CALLS), st.data())
def test_whatever_comes_is_an_answer_or_an_error_of_ours(row: Endpoint, data: Any) -> None:
    """No foreign exception leaves the decoder, also where the names are the right ones."""
    assert row.answer is not None
    names = st.sampled_from([*attrs.fields_dict(row.answer), "code", "msg", "id", "task_id", "task_result"])
    rows = data.draw(st.lists(st.dictionaries(names, JSON, max_size=5), max_size=2))
    many = data.draw(st.booleans()) or len(rows) != 1
    try:
        answer = decode_answer(row, Envelope(tuple(rows), many=many))
    except KlingError:
        return
    assert type(answer) is row.answer
