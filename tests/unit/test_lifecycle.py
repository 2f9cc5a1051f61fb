"""lifecycle.py: what may happen to one job, as tables."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_tools import seen

from kling_async import Asset, Billing, Observation, Policy, Status, TaskStatus
from kling_async.errors import (
    AnswerTimeout,
    AuthError,
    BadEnvelope,
    ConnectFailed,
    ConnectionLost,
    InvalidRequest,
    JournalError,
    KlingError,
    LeaseLost,
    NoOutputs,
    Paid,
    ServerFault,
    ServiceError,
    SlotsFull,
    TaskFailed,
    Throttled,
    TransportError,
    service_error,
)
from kling_async.lifecycle import (
    Accepted,
    Barred,
    GiveUp,
    Later,
    Look,
    NotSent,
    Refused,
    Resend,
    Search,
    Unsure,
    Verdict,
    is_gone,
    is_new,
    is_stale,
    judge_search,
    judge_submission,
    look_again,
    may_follow,
    may_insist,
    next_look,
    outcome_of,
    paid_so_far,
    status_of_news,
)
from kling_async.models import Failed, Succeeded

Q, S, U, A, P = Status.QUEUED, Status.SENDING, Status.UNSURE, Status.ACCEPTED, Status.PROCESSING
OK, F, R = Status.SUCCEEDED, Status.FAILED, Status.REJECTED
UN, V, AB = Status.UNRESOLVED, Status.VANISHED, Status.ABANDONED

# Source: the design, "Submission", and the path of one job. A resend goes from unsure back to queued.
ALLOWED: dict[Status, set[Status]] = {
    Q: {S, U, R, UN, AB},
    S: {Q, U, A, P, OK, F, R, UN, AB},
    U: {Q, A, P, OK, F, UN, AB},
    A: {P, OK, F, V, AB},
    P: {OK, F, V, AB},
    **{status: set() for status in Status if status.is_final},
}


@pytest.mark.parametrize("now", Status)
@pytest.mark.parametrize("then", Status)
def test_every_cell_of_the_table(now: Status, then: Status) -> None:
    assert may_follow(now, then) is (then in ALLOWED[now])


def test_case_20_terminal_states_absorb_and_nothing_goes_backwards() -> None:
    """Section 20, case 20: late, repeated or contradicting news changes nothing."""
    for now in Status:
        assert not may_follow(now, now)
        if now.is_final:
            assert not any(may_follow(now, then) for then in Status)
    assert not may_follow(P, A)


@pytest.mark.parametrize(
    ("status", "paid"),
    [
        (Q, "no"), (R, "no"), (S, "maybe"), (U, "maybe"), (UN, "maybe"), (V, "maybe"), (A, "yes"), (P, "yes"),
        (OK, "yes"), (F, "maybe"), (AB, "maybe"),
    ],
)  # fmt: skip
def test_what_a_job_has_cost_so_far(status: Status, paid: str) -> None:
    assert paid_so_far(status) == paid


def test_a_job_that_waits_to_be_sent_again_may_have_a_task_after_all() -> None:
    """However surely it was not found: it was sent once."""
    assert paid_so_far(Q, Search(0.0)) == "maybe"
    assert paid_so_far(R, Search(0.0)) == "no"
    assert paid_so_far(A, Search(0.0)) == "yes"


# --- the answer to a submission ------------------------------------------------------------------------------------


def service(code: int | str | None, status: int, message: str = "why") -> ServiceError:
    return service_error(code, message, status)


VERDICTS: list[tuple[Observation | KlingError, type[Verdict]]] = [
    (seen(TaskStatus.SUBMITTED), Accepted),
    (seen(TaskStatus.SUCCEEDED), Accepted),
    (seen(TaskStatus.UNKNOWN), Accepted),
    (seen(TaskStatus.FAILED), Accepted),
    (ConnectFailed("refused"), NotSent),
    (ConnectFailed("certificate", retryable=False), NotSent),
    (JournalError("disk full", paid="no"), NotSent),  # nothing is sent that is not recorded
    (LeaseLost("another process has it", paid="no"), NotSent),
    (ConnectionLost("reset"), Unsure),
    (AnswerTimeout("slow"), Unsure),
    (BadEnvelope("HTML"), Unsure),
    (TransportError("odd"), Unsure),
    (InvalidRequest("image", "a.png", "cannot be read"), Refused),
    (KlingError("odd"), Refused),
    (KlingError("odd", paid="maybe"), Unsure),
    *((service(code, 401), Barred) for code in (1000, 1001, 1002, 1003, 1004)),
    *((service(code, 429), Barred) for code in (1100, 1101, 1102, 1304)),
    (service(1103, 403), Barred),
    (service("invalid_api_key", 401), Barred),
    (service("quota_not_enough", 403), Barred),
    (service("no_such_word", 401), Refused),
    *((service(code, 400), Refused) for code in (1200, 1201, 1202, 1203, 1300, 1301)),
    (service(1302, 429), Later),
    (service(1303, 429), Later),
    (service(1303, 200), Later),
    (service(5000, 500), Unsure),
    (service(5001, 503), Unsure),
    (service(5002, 504), Unsure),
    (service(1999, 400), Refused),
    (service(1999, 200), Unsure),
    (service(1999, 500), Unsure),
    (service(429, 429), Later),
    (service(None, 429), Later),
    (service("fail_to_fetch_task", 429), Later),
    (service("task_failed", 400, "parallel task over resource pack limit"), Later),
    (service(None, 400), Refused),
    (service(None, 401), Barred),
    (service(None, 403), Refused),
    (AuthError("not this model", http_status=200), Refused),
    (AuthError("not this model"), Refused),
    (service(None, 404), Refused),
    (service(None, 408), Unsure),
    (service(None, 500), Unsure),
    (service(None, 502), Unsure),
    (service(None, 200), Unsure),
    *(
        (service(word, 500), Unsure)
        for word in (
            "fail_to_fetch_task",
            "do_request_failed",
            "read_response_body_failed",
            "unmarshal_response_failed",
            "insert_task_failed",
            "a_word_of_tomorrow",
        )
    ),
    *((service(word, 400), Refused) for word in ("invalid_request", "model_mapping_failed", "task_failed")),
    (service("get_channel_failed", 500), Refused),
    (service("model_not_found", 503), Refused),
]


@pytest.mark.parametrize(
    ("answer", "verdict"), VERDICTS, ids=[f"{type(answer).__name__}-{answer}"[:60] for answer, _ in VERDICTS]
)
def test_case_4_every_answer_to_a_submission_has_its_verdict(
    answer: Observation | KlingError, verdict: type[Verdict]
) -> None:
    """Section 20, case 4: what may have taken effect is unsure; only proof is refusal."""
    judged = judge_submission(answer)
    assert type(judged) is verdict
    assert (judged.observation if isinstance(judged, Accepted) else judged.error) is answer
    if isinstance(judged, Unsure):
        assert judged.exists is False
        assert isinstance(answer, KlingError)
        assert answer.paid == "maybe"
    elif isinstance(judged, Later):
        assert isinstance(answer, Throttled | SlotsFull)
    elif isinstance(judged, NotSent | Refused | Barred):
        assert judged.error.paid == "no"


@pytest.mark.parametrize(
    ("error", "paid"),
    [
        (ServerFault("internal error"), "no"),
        (TransportError("odd"), "no"),
        (KlingError("odd"), "maybe"),
        (KlingError("odd"), "yes"),
    ],
)
def test_whoever_says_what_it_cost_a_doubt_stays_a_doubt(error: KlingError, paid: Paid) -> None:
    """What may have taken effect is not refused because some code believes that it cost nothing."""
    error.paid = paid
    assert type(judge_submission(error)) is Unsure


@pytest.mark.parametrize("http_status", [None, 200, 400, 403, 404, 405, 406, 500, 502])
def test_a_page_that_is_not_there_made_nothing_and_any_other_page_may_have(http_status: int | None) -> None:
    """A wrong base URL must not leave every job unsure; a page from a proxy says nothing of what is behind it."""
    page = BadEnvelope("an HTML page")
    page.http_status = http_status
    assert type(judge_submission(page)) is (Refused if http_status in {404, 405} else Unsure)


@pytest.mark.parametrize(("code", "status"), [(1201, 400), (1205, 400), (None, 409), (1205, 200), (5000, 500)])
def test_case_5_a_duplicate_is_a_success_in_disguise(code: int | None, status: int) -> None:
    """Section 20, case 5: its code and status are not documented, only the words "already exists"."""
    judged = judge_submission(service(code, status, "external_task_id already exists"))
    assert isinstance(judged, Unsure)
    assert judged.exists is True


# --- looking up an unsure job --------------------------------------------------------------------------------------

USUAL = Policy()


def test_a_search_begins_with_nothing_known() -> None:
    """Each count is evidence towards a second POST: none may be there that no answer has given."""
    begun = Search(70.0)
    assert (begun.looks, begun.answered, begun.absent, begun.resent, begun.exists) == (0, 0, 0, 0, False)
    assert begun.looked_at == -math.inf
    assert begun.absent_at == 0.0, "never seen absent is long ago, and no fresh proof"
    assert next_look(begun, USUAL) == 70.5


def test_looks_follow_the_schedule_of_the_design() -> None:
    times = [next_look(Search(100.0, looks=looks), USUAL) - 100 for looks in range(13)]
    assert times[:8] == [0.5, 1, 2, 4, 8, 15, 30, 60]
    assert times[8:] == [65, 70, 120, 150, 180]


def test_a_shorter_window_squeezes_the_looks_and_a_longer_one_adds_its_own_at_the_end() -> None:
    short = Policy(settle_s=6)
    assert [next_look(Search(0.0, looks=looks), short) for looks in range(9)] == pytest.approx(
        [0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 11]
    )
    long = Policy(settle_s=300)
    times = [next_look(Search(0.0, looks=looks), long) for looks in range(11)]
    assert times[7:] == [60, 305, 310, 360]


def test_looks_keep_their_distance_however_late_they_are() -> None:
    """After a night asleep every look is overdue: two reads in one instant would be one read."""
    late = Search(0.0, looks=7, looked_at=30_000.0)
    assert next_look(late, USUAL) == 30_000.5
    late = Search(0.0, looks=8, looked_at=30_000.0)
    assert next_look(late, USUAL) == 30_005.0
    look_again(late, 40_000.0)
    assert next_look(late, USUAL) == 40_000.0
    assert (late.absent, late.answered) == (1, 1)


def test_a_squeezed_schedule_keeps_its_distance_in_proportion() -> None:
    late = Search(0.0, looks=7, looked_at=30_000.0)
    assert next_look(late, Policy(settle_s=6)) == pytest.approx(30_000.05)
    assert next_look(late, Policy(settle_s=600)) == 30_000.5


def test_who_is_told_that_there_is_a_task_looks_at_once_and_then_keeps_the_shortest_distance() -> None:
    """However far the next look of the schedule is: a callback has come, and a paid task waits to be found."""
    told = Search(0.0, looks=12, is_told=True)
    assert next_look(told, USUAL) == -math.inf, "not looked at yet"
    told.looked_at = 30_000.0
    assert next_look(told, USUAL) == 30_000.5
    assert next_look(told, Policy(settle_s=6)) == pytest.approx(30_000.05)


def test_another_look_is_due_at_once_and_needs_one_more_absent_read() -> None:
    """A job that waited too long to be sent again: what was known of it is one read, and one more decides."""
    search = Search(0.0, looks=9, answered=5, absent=5, resent=1)
    look_again(search, 500.0)
    assert next_look(search, USUAL) == 500.0
    assert judge_search(search, can_find=True, now=500.0, policy=USUAL) == Look()
    search.absent += 1
    assert judge_search(search, can_find=True, now=500.0, policy=USUAL) == Resend(proved=True)
    assert search.resent == 1


@given(st.floats(0.1, 1000), st.integers(0, 50))
def test_each_look_comes_after_the_one_before(settle_s: float, looks: int) -> None:
    policy = Policy(settle_s=settle_s)
    one, two = next_look(Search(0.0, looks=looks), policy), next_look(Search(0.0, looks=looks + 1), policy)
    assert 0 <= one <= two
    assert two - one <= max(70.0, settle_s)


def judged(search: Search, *, can_find: bool | None, age_s: float, policy: Policy = USUAL) -> Look | Resend | GiveUp:
    return judge_search(attrs.evolve(search, since=1000.0), can_find=can_find, now=1000.0 + age_s, policy=policy)


DONE = Search(0.0, looks=8, answered=2, absent=2)


@pytest.mark.parametrize("can_find", [True, False, None])
def test_nothing_is_sent_again_and_nothing_given_up_within_the_window(*, can_find: bool | None) -> None:
    for age_s in (0.0, 30.0, 59.999):
        assert judged(attrs.evolve(DONE, looks=20, answered=9, absent=9), can_find=can_find, age_s=age_s) == Look()
    for looks in range(8):
        assert judged(attrs.evolve(DONE, looks=looks), can_find=can_find, age_s=1e6) == Look()


@pytest.mark.parametrize(
    ("change", "can_find", "age_s", "decision"),
    [
        # A host that has shown that it can find: two independent reads after the window prove absence.
        ({}, True, 60, Resend()),
        ({"absent": 3, "answered": 3}, True, 90, Resend()),
        ({"absent": 1}, True, 60, Look()),
        ({"absent": 1, "answered": 50}, True, 119, Look()),
        ({"absent": 1, "answered": 50}, True, 1e6, Look()),  # one more read, and it is known
        # It finds in lists alone, which cannot say that one is absent: asked long enough, the user decides.
        ({"absent": 0, "answered": 50}, True, 120, GiveUp()),
        ({"absent": 0, "answered": 1}, True, 1e6, Look()),
        ({"resent": 1}, True, 60, Resend()),
        ({"resent": 2}, True, 60, GiveUp()),
        ({"resent": 3}, True, 60, GiveUp()),
        # It said itself that the id is taken: never again, whatever it does not find.
        ({"exists": True}, True, 60, Look()),
        ({"exists": True}, True, 119.9, Look()),
        ({"exists": True}, True, 120, GiveUp()),
        ({"exists": True, "answered": 1, "absent": 1}, True, 1e6, Look()),
        # A host that cannot find by our id: what it does not find means nothing.
        ({}, False, 60, GiveUp()),
        ({"answered": 1}, False, 1e6, Look()),
        ({"exists": True}, False, 60, GiveUp()),
        # Not known yet: patience for a second window.
        ({}, None, 60, Look()),
        ({}, None, 119.9, Look()),
        ({}, None, 120, GiveUp()),
        ({}, None, 1e6, GiveUp()),
        ({"answered": 0, "absent": 0}, None, 1e6, Look()),  # an outage: nobody answered any look
    ],
)
def test_an_unsure_job_is_sent_again_only_upon_proof(
    change: dict[str, Any], *, can_find: bool | None, age_s: float, decision: Look | Resend | GiveUp
) -> None:
    assert judged(attrs.evolve(DONE, **change), can_find=can_find, age_s=age_s) == decision


INSISTING = Policy(on_unknown="resend")


@pytest.mark.parametrize(
    ("change", "can_find", "age_s", "decision"),
    [
        ({}, False, 60, Resend(proved=False)),
        ({}, None, 120, Resend(proved=False)),
        ({"absent": 0}, True, 120, Resend(proved=False)),
        ({"resent": 1}, False, 60, Resend(proved=False)),
        # Its owner takes the risk of one doubt, not of a host that loses every answer, nor against the host's own word.
        ({"resent": 2}, False, 60, GiveUp()),
        ({"exists": True}, False, 60, GiveUp()),
        ({"exists": True}, True, 120, GiveUp()),
        # No sooner than a job is given up for others.
        ({}, None, 119.9, Look()),
        ({"answered": 1}, False, 1e6, Look()),
        # Where the host can prove it, proof it is.
        ({}, True, 60, Resend(proved=True)),
        ({"resent": 2}, True, 60, GiveUp()),
    ],
)
def test_who_says_so_beforehand_has_unknown_jobs_sent_again(
    change: dict[str, Any], *, can_find: bool | None, age_s: float, decision: Look | Resend | GiveUp
) -> None:
    assert judged(attrs.evolve(DONE, **change), can_find=can_find, age_s=age_s, policy=INSISTING) == decision


@pytest.mark.parametrize(
    ("search", "insists"),
    [
        (None, True),
        (Search(0.0), True),
        (Search(0.0, resent=1), True),
        (Search(0.0, resent=2), False),
        (Search(0.0, resent=3), False),
        (Search(0.0, exists=True), False),
    ],
)
def test_what_has_a_task_for_sure_or_was_sent_thrice_is_not_insisted_on(
    search: Search | None, *, insists: bool
) -> None:
    assert may_insist(search, INSISTING) is insists
    assert may_insist(search, USUAL) is False, "only who said so beforehand takes that risk"


@given(
    st.builds(
        Search,
        st.just(0.0),
        exists=st.booleans(),
        looks=st.integers(0, 20),
        answered=st.integers(0, 5),
        absent=st.integers(0, 5),
        resent=st.integers(0, 4),
    ),
    st.sampled_from([True, False, None]),
    st.floats(0, 500),
    st.floats(0.1, 200),
)
def test_a_resend_always_has_window_proof_and_two_absent_reads(
    search: Search, can_find: bool | None, age_s: float, settle_s: float
) -> None:
    decision = judge_search(search, can_find=can_find, now=age_s, policy=Policy(settle_s=settle_s))
    if decision == Resend():
        assert can_find is True
        assert age_s >= settle_s
        assert search.looks >= 8
        assert search.absent >= 2
        assert search.resent < 2
        assert not search.exists


@pytest.mark.parametrize("can_find", [True, False, None])
@pytest.mark.parametrize("exists", [True, False])
def test_every_search_on_a_host_that_answers_comes_to_an_end(*, can_find: bool | None, exists: bool) -> None:
    search = Search(0.0, exists=exists)
    for _ in range(100):
        now = next_look(search, USUAL)
        if now >= USUAL.settle_s:
            search.answered += 1
            search.absent += can_find is True
        search.looks += 1
        decision = judge_search(search, can_find=can_find, now=now, policy=USUAL)
        if decision != Look():
            break
    assert type(decision) is (Resend if can_find and not exists else GiveUp)
    assert now <= 120


# --- news about a task ---------------------------------------------------------------------------------------------

T0 = datetime(2026, 10, 1, tzinfo=UTC)
T1 = T0 + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("before", "news", "stale"),
    [
        (None, seen(updated_at=T0), False),
        (seen(updated_at=T1), seen(updated_at=T0), True),
        (seen(updated_at=T1), seen(updated_at=T1), False),
        (seen(updated_at=T0), seen(updated_at=T1), False),
        (seen(), seen(updated_at=T0), False),
        (seen(updated_at=T1), seen(), False),
        (seen(updated_at=T1), seen(TaskStatus.SUCCEEDED, updated_at=T0), False),
        (seen(updated_at=T1), seen(TaskStatus.FAILED, updated_at=T0), False),
        (seen(updated_at=T1), seen(TaskStatus.UNKNOWN, updated_at=T0), True),
    ],
)
def test_case_20_old_news_is_known_by_its_time(before: Observation | None, news: Observation, *, stale: bool) -> None:
    """Section 20, case 20: a status going backwards is a cache or a replica; a final word cannot become untrue."""
    assert is_stale(before, news) is stale


FILE = (Asset(kind="video", url="https://u", duration_s=5.1),)


@pytest.mark.parametrize(
    ("before", "news", "new"),
    [
        (None, seen(), True),
        (seen(), seen(), False),
        (seen(updated_at=T0), seen(updated_at=T0, request_id="r2", raw={"a": 1}, reason="why"), False),
        (seen(TaskStatus.SUBMITTED), seen(TaskStatus.PROCESSING), True),
        (seen(word="processing"), seen(word="rendering"), True),
        (seen(updated_at=T0), seen(updated_at=T1), True),
        (seen(updated_at=T0), seen(updated_at=T0, assets=FILE), True),  # files may come without a new time stamp
    ],
)
def test_news_is_new_when_it_says_something_that_was_not_seen(
    before: Observation | None, news: Observation, *, new: bool
) -> None:
    assert is_new(before, news) is new


def test_a_success_with_a_file_is_a_result() -> None:
    news = seen(
        TaskStatus.SUCCEEDED,
        external_id="job-7",
        assets=FILE,
        billing=Billing(units=Decimal(3)),
        created_at=T0,
        updated_at=T1,
        raw={"task_id": "t1"},
    )
    outcome = outcome_of(news, "text2video", 0)
    assert isinstance(outcome, Succeeded)
    result = outcome.result
    assert (result.url, result.endpoint, result.task_id, result.external_id) == (
        "https://u",
        "text2video",
        "t1",
        "job-7",
    )
    assert (result.billing, result.created_at, result.updated_at) == (Billing(units=Decimal(3)), T0, T1)
    assert result.raw is news.raw
    nameless = outcome_of(seen(TaskStatus.SUCCEEDED, task_id=None, assets=FILE), "e", 0)
    assert isinstance(nameless, Succeeded)
    assert nameless.result.task_id == ""


@pytest.mark.parametrize("status", [TaskStatus.SUBMITTED, TaskStatus.PROCESSING, TaskStatus.UNKNOWN])
def test_case_19_what_is_not_final_ends_nothing(status: TaskStatus) -> None:
    """Section 20, case 19: an unknown word keeps the job open, also when files are already there."""
    assert outcome_of(seen(status, assets=FILE, reason="x"), "e", 99) is None


def test_case_17_a_success_without_a_file_is_asked_again_and_then_fails_distinctly() -> None:
    """Section 20, case 17: not for ever, and never reported as a success."""
    news = seen(TaskStatus.SUCCEEDED, request_id="r9")
    assert [outcome_of(news, "e", count) for count in range(3)] == [None] * 3
    outcome = outcome_of(news, "e", 3)
    assert isinstance(outcome, Failed)
    assert outcome.status is Status.FAILED
    assert type(outcome.error) is NoOutputs
    assert (outcome.error.paid, outcome.error.retryable, outcome.error.task_id) == ("yes", False, "t1")
    assert str(outcome.error).startswith("the task succeeded without any file")
    late = outcome_of(news, "e", 50)
    assert isinstance(late, Failed), "whatever made us miss the moment"
    assert outcome.error.request_id == "r9", "what the service's own people ask for first"


@pytest.mark.parametrize(
    ("fields", "paid"),
    [
        ({}, "no"),
        ({"billing": Billing(units=Decimal(0))}, "no"),
        ({"billing": Billing(list_price=Decimal(3))}, "no"),
        ({"billing": Billing(units=Decimal(3))}, "yes"),
        ({"billing": Billing(units=Decimal("0.5"))}, "yes"),
        ({"billing": Billing(units=Decimal(-3))}, "no"),  # given back
        ({"billing": Billing(amount=Decimal("-0.5"))}, "no"),
        ({"billing": Billing(amount=Decimal(0), units=Decimal(0))}, "no"),
        ({"billing": Billing(amount=Decimal("0.01"))}, "yes"),
        ({"upstream": TaskStatus.FAILED}, "no"),
        ({"upstream": TaskStatus.PROCESSING}, "maybe"),
        ({"upstream": TaskStatus.SUBMITTED}, "maybe"),
        ({"upstream": TaskStatus.SUCCEEDED}, "maybe"),
        ({"upstream": TaskStatus.PROCESSING, "billing": Billing(units=Decimal(3))}, "yes"),
    ],
)
def test_case_21_a_failed_task_is_not_billed_unless_the_answer_says_otherwise(
    fields: dict[str, Any], paid: str
) -> None:
    """Section 20, case 21: a gateway that fails by its own clock refunds, while the service may still finish."""
    outcome = outcome_of(seen(TaskStatus.FAILED, reason="risk", request_id="r9", **fields), "e", 0)
    assert isinstance(outcome, Failed)
    assert outcome.status is Status.FAILED
    assert isinstance(outcome.error, TaskFailed)
    assert (outcome.error.reason, outcome.error.task_id, outcome.error.paid) == ("risk", "t1", paid)
    assert outcome.error.request_id == "r9"


@pytest.mark.parametrize("status", TaskStatus)
def test_an_open_job_is_accepted_or_processing(status: TaskStatus) -> None:
    assert status_of_news(seen(status)) is (P if status is TaskStatus.PROCESSING else A)


@pytest.mark.parametrize(
    ("misses", "silent_s", "age_s", "gone"),
    [
        (5, 120, 180, True),
        (6, 121, 181, True),
        (5, 1e6, 180, True),
        (5, 120, 1e6, True),
        (4, 1e6, 1e6, False),
        (5, 119.9, 1e6, False),
        (99, 120, 179.9, False),  # right after its creation that is lag, not loss
        (1, 0, 0, False),
        (2, 1e6, 1e6, False),
        (3, 0, 0, False),  # enough only where nobody but the caller speaks of it
    ],
)
def test_case_13_not_found_is_lag_at_first_and_loss_later(
    misses: int, silent_s: float, age_s: float, *, gone: bool
) -> None:
    """Section 20, case 13: five single queries in a row over two minutes, and not within three of the creation."""
    now = 5e6
    assert is_gone(misses, now - silent_s, now - age_s, now, known=True) is gone
    assert is_gone(misses, now - silent_s, now - age_s, now, known=False) is (misses >= 3)


def test_the_age_of_the_loops_clock_does_not_matter() -> None:
    """Its moments count from when the machine was started: on one that just was, they are small."""
    assert is_gone(5, 100.0, 50.0, 1000.0, known=True)
    assert not is_gone(5, 900.0, 50.0, 1000.0, known=True)
