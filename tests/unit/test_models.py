"""models.py: the nouns, and what they refuse."""

import copy
import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest

from kling_async import Asset, Billing, Observation, Policy, Result, Status, TaskStatus
from kling_async.models import NOTHING


def test_five_statuses_are_open_and_the_rest_final() -> None:
    opened = {status.name for status in Status if not status.is_final}
    assert opened == {"QUEUED", "SENDING", "UNSURE", "ACCEPTED", "PROCESSING"}
    assert {status.name for status in Status if status.is_final} == {
        "SUCCEEDED",
        "FAILED",
        "REJECTED",
        "UNRESOLVED",
        "VANISHED",
        "ABANDONED",
    }


def test_a_task_ends_in_two_ways_only() -> None:
    assert {status for status in TaskStatus if status.is_final} == {TaskStatus.SUCCEEDED, TaskStatus.FAILED}
    assert not TaskStatus.UNKNOWN.is_final


def test_statuses_are_their_own_words() -> None:
    assert f"{Status.QUEUED}" == "queued"
    assert all(status.value == status.name.lower() for status in (*Status, *TaskStatus))


def test_a_result_gives_the_first_url_and_all() -> None:
    assets = (Asset(kind="video", url="https://a"), Asset(kind="audio", url="https://b", watermark_url="https://w"))
    result = Result(assets=assets, endpoint="text2video", task_id="t")
    assert result.url == "https://a"
    assert result.urls == ("https://a", "https://b")


@pytest.mark.parametrize(
    "value",
    [
        Asset(kind="video", url="https://a"),
        Billing(units=Decimal(3)),
        Observation(task_id="t", status=TaskStatus.UNKNOWN),
        Result(assets=(), endpoint="e", task_id="t"),
        Policy(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_frozen(value: Any) -> None:
    for field in attrs.fields(type(value)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, None)


def test_the_raw_answer_is_kept_out_of_comparison_and_repr() -> None:
    now = datetime.now(UTC)
    one = Observation(task_id="t", status=TaskStatus.UNKNOWN, updated_at=now, raw={"huge": 1})
    assert one == Observation(task_id="t", status=TaskStatus.UNKNOWN, updated_at=now)
    assert "huge" not in repr(one)


def test_what_billing_does_not_say_is_none_and_not_zero() -> None:
    """Section 20, case 40: missing is not zero, and units are not money."""
    billing = Billing(units=Decimal(0))
    assert billing.units == 0
    assert (billing.amount, billing.currency, billing.list_price) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("sweep_s", 0.1, 0),
        ("jitter", 0.5, 0.51),
        ("jitter", 0, -0.01),
        ("queries_per_s", 0.01, 0),
        ("queries_per_s", None, -1),
        ("batch_size", 1, 0),
        ("page_size", 500, 501),
        ("page_size", 1, 0),
        ("max_queries", 1, 0),
        ("max_submissions", 1, 0),
    ],
)
def test_a_policy_is_held_to_its_bounds(field: str, good: Any, bad: Any) -> None:
    assert getattr(Policy(**{field: good}), field) == good
    with pytest.raises(ValueError, match=field):
        Policy(**{field: bad})


@pytest.mark.parametrize("word", ["ask", "", None, True, "RESEND"])
def test_what_becomes_of_unknown_jobs_is_said_in_one_of_two_words(word: Any) -> None:
    """It decides about money: a word that is not understood must not be taken for either."""
    with pytest.raises(ValueError, match=r"on_unknown=.* must be one of raise, resend"):
        Policy(on_unknown=word)


def test_what_holds_nothing_stays_so_and_copies_are_ones_own() -> None:
    """All jobs without metadata share one mapping: what is written into it would be everybody's."""
    nothing: Any = NOTHING
    with pytest.raises(TypeError, match="shared and stays empty"):
        nothing["a"] = 1
    for name, given in (("update", {"a": 1}), ("setdefault", "a"), ("__ior__", {"a": 1})):
        with pytest.raises(TypeError, match="shared and stays empty"):
            getattr(nothing, name)(given)
    assert nothing == {}
    for twin in (nothing.copy(), copy.deepcopy(nothing), pickle.loads(pickle.dumps(nothing))):
        assert type(twin) is dict
        assert twin == {}
    assert json.dumps(nothing) == "{}"
