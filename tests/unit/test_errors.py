"""errors.py: the tree, what an exception carries, and which one a refusal becomes."""

import copy
import inspect
import pickle
import re
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_async import errors
from kling_async.errors import (
    CODES,
    WORDS,
    AccountError,
    AnswerTimeout,
    AuthError,
    BadEnvelope,
    CallbackRejected,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    DownloadError,
    ForkError,
    IdempotencyMismatch,
    InvalidRequest,
    JobAbandoned,
    JobError,
    JournalCorrupt,
    JournalError,
    JournalLocked,
    KlingError,
    LeaseLost,
    NoOutputs,
    PolicyRejected,
    RequestRejected,
    RequestWarning,
    SchedulerCrashed,
    ServerFault,
    ServiceError,
    SessionClosed,
    SessionError,
    SlotsFull,
    SubmissionUnknown,
    TaskFailed,
    TaskVanished,
    Throttled,
    TransportError,
    clean_text,
    is_duplicate,
    is_missing,
    service_error,
)

EXAMPLES: list[KlingError] = [
    KlingError("a", request_id="r"),
    ConfigError("a"),
    InvalidRequest("prompt", "x" * 500, "is too long", job_id="j"),
    IdempotencyMismatch("job_id", "j", "names another"),
    TransportError("a", http_status=502),
    ConnectFailed("a", retryable=False),
    ConnectionLost("a"),
    AnswerTimeout("a"),
    BadEnvelope("a", http_status=200),
    ServiceError("a", code=1999, http_status=400, request_id="r"),
    AuthError("a", code=1000, http_status=401),
    AccountError("a", code=1102, http_status=429),
    RequestRejected("a", code="task_failed", http_status=400),
    PolicyRejected("a", code=1301, http_status=400),
    Throttled("a", code=1302, http_status=429, retry_in_s=3.5),
    SlotsFull("a", code=1303, http_status=429),
    ServerFault("a", code=5000, http_status=500),
    JobError("a", job_id="j", task_id="t"),
    TaskFailed("bad words", task_id="t"),
    TaskVanished("a"),
    NoOutputs("a"),
    DeadlineExceeded("a", paid="maybe"),
    JobAbandoned("a"),
    SubmissionUnknown("a"),
    SessionError("a"),
    SessionClosed("a", resumable=False, paid="yes"),
    ForkError("a"),
    SchedulerCrashed("a"),
    JournalError("a", retryable=True),
    JournalCorrupt("a", line=7),
    JournalLocked("a"),
    LeaseLost("a", job_id="j"),
    DownloadError("a"),
    CallbackRejected("stale", "a"),
]

# paid, retryable of each class on its own. Source: the design, "Public interface" and "Submission".
TRAITS: dict[type[KlingError], tuple[str, bool]] = {
    KlingError: ("no", False),
    ConfigError: ("no", False),
    InvalidRequest: ("no", False),
    IdempotencyMismatch: ("no", False),
    TransportError: ("maybe", True),
    ConnectFailed: ("no", True),
    ConnectionLost: ("maybe", True),
    AnswerTimeout: ("maybe", True),
    BadEnvelope: ("maybe", True),
    ServiceError: ("no", False),
    AuthError: ("no", False),
    AccountError: ("no", False),
    RequestRejected: ("no", False),
    PolicyRejected: ("no", False),
    Throttled: ("no", True),
    SlotsFull: ("no", True),
    ServerFault: ("maybe", True),
    JobError: ("no", False),
    TaskFailed: ("no", False),
    TaskVanished: ("maybe", False),
    NoOutputs: ("yes", False),
    DeadlineExceeded: ("no", True),
    JobAbandoned: ("no", False),
    SubmissionUnknown: ("maybe", False),
    SessionError: ("no", False),
    SessionClosed: ("no", True),
    ForkError: ("no", False),
    SchedulerCrashed: ("maybe", False),
    JournalError: ("no", False),
    JournalCorrupt: ("no", False),
    JournalLocked: ("no", True),
    LeaseLost: ("maybe", False),
    DownloadError: ("yes", True),
    CallbackRejected: ("no", False),
}


def classes_of_module() -> set[type[BaseException]]:
    return {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, BaseException) and kind.__module__ == errors.__name__
    }


def tree_of_docstring() -> dict[str, tuple[str | None, str | None]]:
    """Name → (parent in the tree, second base in brackets), read from the drawing."""
    found: dict[str, tuple[str | None, str | None]] = {}
    path: list[str] = []
    drawing = (errors.__doc__ or "").split("```")[1]
    for line in drawing.strip().splitlines():
        match = re.match(r"((?:│   |    )*)(├─ |└─ )?(\w+)(?:\((\w+)\))?", line)
        assert match is not None, line
        depth = len(match[1]) // 4 + (1 if match[2] else 0)
        path[depth:] = [match[3]]
        found[match[3]] = (path[depth - 1] if depth else None, match[4])
    return found


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    drawn = tree_of_docstring()
    real: dict[str, tuple[str | None, str | None]] = {}
    for kind in classes_of_module():
        names = [base.__name__ for base in kind.__bases__]
        ours = [name for name in names if name in drawn]
        foreign = [name for name in names if name not in drawn and name != "Exception"]
        real[kind.__name__] = (ours[0] if ours else None, foreign[0] if foreign else None)
    assert drawn == real


def test_every_class_has_an_example_here() -> None:
    assert {type(error) for error in EXAMPLES} == classes_of_module() - {RequestWarning} == set(TRAITS)


@pytest.mark.parametrize("kind", TRAITS, ids=lambda kind: kind.__name__)
def test_every_class_says_whether_money_was_spent_and_whether_to_try_again(kind: type[KlingError]) -> None:
    assert (kind.paid, kind.retryable) == TRAITS[kind]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("how", ["pickle", "copy", "deepcopy", "anew"])
def test_every_error_copies_with_all_it_carries(error: KlingError, how: str) -> None:
    copies: dict[str, Any] = {
        "pickle": lambda: pickle.loads(pickle.dumps(error)),
        "copy": lambda: copy.copy(error),
        "deepcopy": lambda: copy.deepcopy(error),
        "anew": error.anew,
    }
    twin = copies[how]()
    assert twin is not error
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert twin.args == error.args
    assert vars(twin) == vars(error)
    assert "\n" not in str(twin)
    for name in ("paid", "retryable", "job_id", "task_id", "request_id"):
        assert getattr(twin, name) == getattr(error, name)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_anew_fills_in_what_is_given_and_leaves_the_first_one_alone(error: KlingError) -> None:
    before = dict(vars(error))
    twin = error.anew(job_id="job", task_id="task", paid="yes")
    assert (twin.job_id, twin.task_id, twin.paid) == ("job", "task", "yes")
    assert vars(error) == before


def test_anew_has_the_cause_and_no_traceback() -> None:
    cause = ValueError("bug")
    try:
        raise SchedulerCrashed("ended") from cause
    except SchedulerCrashed as caught:
        twin = caught.anew()
    assert twin.__cause__ is cause
    assert twin.__traceback__ is None


def test_a_note_on_one_copy_is_not_on_the_others() -> None:
    """One outcome is unwrapped for every waiter: what one of them notes is its own business."""
    first = TaskFailed("x")
    first.add_note("from the session")
    one, two = first.anew(), first.anew()
    one.add_note("mine")
    assert two.__notes__ == first.__notes__ == ["from the session"]
    assert one.__notes__ == ["from the session", "mine"]


def test_errors_are_caught_by_the_builtin_names_people_know() -> None:
    assert issubclass(ConfigError, ValueError)
    assert issubclass(InvalidRequest, ValueError)
    assert issubclass(DeadlineExceeded, TimeoutError)
    assert issubclass(RequestWarning, UserWarning)
    assert str(DeadlineExceeded("its time is over", paid="maybe")) == "its time is over"


def test_what_is_given_to_an_error_stands_on_it() -> None:
    error = KlingError("x", paid="yes", retryable=True, job_id="j", task_id="t", request_id="r")
    assert (error.paid, error.retryable, error.job_id, error.task_id, error.request_id) == ("yes", True, "j", "t", "r")
    bare = KlingError("x")
    assert (bare.job_id, bare.task_id, bare.request_id) == (None, None, None)
    assert vars(bare) == {}


def test_an_invalid_request_names_field_value_and_rule() -> None:
    error = InvalidRequest("pan", 11, "must be a number from -10 to 10")
    outer = error.inside("config").inside("camera_control")
    assert (outer.field, outer.value, outer.rule) == ("camera_control.config.pan", "11", error.rule)
    assert str(outer) == "camera_control.config.pan=11: must be a number from -10 to 10"
    assert error.field == "pan"
    assert type(IdempotencyMismatch("a", 1, "b").inside("c")) is IdempotencyMismatch


def test_a_session_closed_is_resumable_unless_said_otherwise() -> None:
    assert SessionClosed("a").resumable is True
    assert SessionClosed("a", resumable=False).resumable is False


def test_a_failed_task_prints_its_reason_or_that_there_is_none() -> None:
    assert str(TaskFailed("risk\ncontrol")) == r"the task failed: risk\ncontrol"
    assert TaskFailed("").reason == ""
    assert str(TaskFailed("")) == "the task failed: no reason given"


# --- foreign text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain ünïcode 任务", "plain ünïcode 任务"),
        ("a\nb\tc\rd\x00", r"a\nb\tc\rd\x00"),
        ("\x1b[2Jgone\x9b0m\x7f", r"\x1b[2Jgone\x9b0m\x7f"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("\u2066x\u2069 \u200e\u200f\u061c", r"\u2066x\u2069 \u200e\u200f\u061c"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("lone \ud800 half", r"lone \ud800 half"),
        (5, "5"),
        (None, "None"),
    ],
)
def test_foreign_text_is_safe_to_print(text: object, clean: str) -> None:
    assert clean_text(text) == clean


@given(st.text(st.characters(), max_size=600), st.integers(1, 300))
def test_clean_text_is_short_printable_and_on_one_line(text: str, cap: int) -> None:
    clean = clean_text(text, cap)
    assert len(clean) <= cap
    assert len(clean.splitlines()) <= 1
    clean.encode()
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", clean)


def test_long_text_is_cut_and_shows_that_it_was() -> None:
    assert clean_text("x" * 200) == "x" * 200
    assert clean_text("x" * 201) == "x" * 199 + "…"
    assert len(clean_text("\n" * 10_000_000, 80)) == 80


def test_nothing_a_host_says_reaches_a_terminal_unclean() -> None:
    """Code and message are the host's words, and both stand in the text of the exception."""
    error = service_error("\x1b[31m" + "x" * 500, "\x1b[2J\u202e", 400)
    assert "\x1b" not in str(error)
    assert "\u202e" not in str(error)
    assert len(str(error)) < 300
    assert "\x1b" not in "".join(traceback.format_exception_only(error))


# --- which exception a refusal becomes -------------------------------------------------------------------------------

# Source: service reference, "Error codes": code, HTTP status, class.
TABLE: list[tuple[int, int, type[ServiceError]]] = [
    (1000, 401, AuthError),
    (1001, 401, AuthError),
    (1002, 401, AuthError),
    (1003, 401, AuthError),
    (1004, 401, AuthError),
    (1100, 429, AccountError),
    (1101, 429, AccountError),
    (1102, 429, AccountError),
    (1103, 403, AccountError),
    (1200, 400, RequestRejected),
    (1201, 400, RequestRejected),
    (1202, 404, RequestRejected),
    (1203, 404, RequestRejected),
    (1300, 400, PolicyRejected),
    (1301, 400, PolicyRejected),
    (1302, 429, Throttled),
    (1303, 429, SlotsFull),
    (1304, 429, AccountError),
    (5000, 500, ServerFault),
    (5001, 503, ServerFault),
    (5002, 504, ServerFault),
]


@pytest.mark.parametrize(("code", "status", "kind"), TABLE, ids=lambda value: str(getattr(value, "__name__", value)))
def test_every_code_of_the_service_has_its_class(code: int, status: int, kind: type[ServiceError]) -> None:
    for http_status in (status, 200):  # the code decides, never the status
        error = service_error(code, "why", http_status, request_id="r")
        assert type(error) is kind
        assert (error.code, error.message, error.http_status, error.request_id) == (code, "why", http_status, "r")
        assert (error.paid, error.retryable) == TRAITS[kind]
        assert str(error).startswith(f"why (code {code})")


def test_the_table_is_the_whole_table() -> None:
    assert {code for code, _, _ in TABLE} == set(CODES)


def test_case_2_four_of_the_six_codes_under_429_are_not_tried_again() -> None:
    """Section 20, case 2: 1100, 1101, 1102 and 1304 never, 1302 and 1303 and a 429 without any code do."""
    retryable = {code: service_error(code, "", 429).retryable for code, status, _ in TABLE if status == 429}
    assert retryable == {1100: False, 1101: False, 1102: False, 1302: True, 1303: True, 1304: False}
    assert type(service_error(None, "", 429)) is Throttled


def test_case_2_a_gateway_that_repeats_the_status_as_code_says_nothing() -> None:
    """Section 20, case 2: {"code": 429} is no code of the service."""
    assert type(service_error(429, "slow", 429)) is Throttled
    assert type(service_error(500, "oops", 500)) is ServerFault
    assert type(service_error(401, "key", 401)) is AuthError
    assert service_error(404, "not found", 404).code is None
    assert type(service_error(7, "slow", 429)) is Throttled


@pytest.mark.parametrize(
    ("status", "kind", "paid", "retryable"),
    [
        (200, ServiceError, "maybe", False),
        (302, ServiceError, "maybe", False),
        (400, ServiceError, "no", False),
        (401, ServiceError, "no", False),
        (499, ServerFault, "maybe", True),
        (408, ServerFault, "maybe", True),
        (500, ServerFault, "maybe", True),
        (503, ServerFault, "maybe", True),
    ],
)
def test_an_unknown_number_proves_nothing_but_under_4xx(
    status: int, kind: type[ServiceError], paid: str, retryable: bool
) -> None:
    error = service_error(1999, "new", status)
    assert type(error) is kind
    assert (error.code, error.paid, error.retryable) == (1999, paid, retryable)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthError),
        (403, AuthError),
        (400, RequestRejected),
        (404, RequestRejected),
        (409, RequestRejected),
        (408, ServerFault),  # a proxy gave up on an exchange that had begun
        (499, ServerFault),
        (429, Throttled),
        (500, ServerFault),
        (502, ServerFault),
        (200, ServerFault),
    ],
)
@pytest.mark.parametrize("code", [None, "a_new_word", ""])
def test_without_a_code_of_the_service_the_status_decides(
    status: int, kind: type[ServiceError], code: str | None
) -> None:
    error = service_error(code, "", status)
    assert type(error) is kind
    assert (error.paid, error.retryable) == TRAITS[kind]
    if code is None:
        assert str(error).startswith(f"no message (HTTP {status})")


# Source: new-api gateway source. True: raised after the upstream call, so a task may exist.
GATEWAY_WORDS: dict[str, bool] = {
    "invalid_request": False,
    "invalid_api_platform": False,
    "model_mapping_failed": False,
    "model_price_error": False,
    "build_request_failed": False,
    "get_channel_failed": False,
    "channel_no_available_key": False,
    "quota_not_enough": False,
    "task_failed": False,
    "task_not_exist": False,
    "model_not_found": False,
    "insufficient_user_quota": False,
    "selection_refused": False,
    "invalid_api_key": False,
    "fail_to_fetch_task": True,
    "do_request_failed": True,
    "read_response_body_failed": True,
    "unmarshal_response_failed": True,
    "insert_task_failed": True,
}


@pytest.mark.parametrize("word", GATEWAY_WORDS)
@pytest.mark.parametrize("status", [200, 400, 403, 500, 503])
def test_the_words_of_gateways_tell_whether_a_task_may_exist(word: str, status: int) -> None:
    error = service_error(word, "", status)
    assert error.paid == ("maybe" if GATEWAY_WORDS[word] else "no")
    assert error.retryable is GATEWAY_WORDS[word]
    assert type(error) is WORDS[word]


def test_the_words_are_all_the_words() -> None:
    assert set(GATEWAY_WORDS) == set(WORDS)


@pytest.mark.parametrize("status", [400, 429])
@pytest.mark.parametrize(
    "message", ["parallel task over resource pack limit", "Parallel Task over resource pack limit"]
)
def test_a_full_pack_is_known_by_its_words_where_a_gateway_lost_the_code(status: int, message: str) -> None:
    assert type(service_error("task_failed", message, status)) is SlotsFull
    assert type(service_error(1201, message, 400)) is RequestRejected


def test_any_word_under_429_is_throttling() -> None:
    """Gateways replace the body of every 429, so that nothing more can be known."""
    for word in ("fail_to_fetch_task", "task_failed", "quota_not_enough", "unheard_of"):
        assert type(service_error(word, "", 429)) is Throttled


def test_the_hosts_wish_is_handed_on() -> None:
    assert service_error(1302, "", 429, retry_in_s=2.5).retry_in_s == 2.5
    assert service_error(1302, "", 429).retry_in_s is None


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (service_error(1201, "Task not found", 400), True),
        (service_error(1201, "task_ids or external_task_ids is required", 400), False),
        (service_error(1203, "whatever", 404), True),
        (service_error("task_not_exist", "task_not_exist", 400), True),
        (service_error("not_found", "no such task", 404), True),
        (service_error(None, "The task does not exist", 404), True),
        (service_error(None, "", 404), True),
        (service_error(None, "", 400), False),
        (service_error(404, "Not Found", 404), True),
        (service_error(1202, "not found", 404), False),
        (service_error(1000, "key not found", 401), False),
        (service_error("invalid_request", "bad", 400), False),
    ],
)
def test_no_such_task_is_told_from_other_refusals(error: ServiceError, *, answer: bool) -> None:
    assert is_missing(error) is answer


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (service_error(1201, "external_task_id job-7 already exists", 400), True),
        (service_error(1201, "The external task ID Already Exists", 400), True),
        (service_error(1205, "external id already exists", 400), True),  # the code is not documented
        (service_error(None, "duplicate external_task_id", 409), True),
        (service_error(1201, "duplicate task id", 400), True),
        (service_error("fail_to_fetch_task", "already exists", 500), True),
        (service_error(1201, "duplicate element_id in element_list", 400), False),
        (service_error(1201, "bad prompt", 400), False),
        (service_error(1301, "already existing brand", 400), False),
        (service_error(1000, "already exists", 401), False),
        (service_error(1102, "already exists", 429), False),
        (service_error(1302, "already exists", 429), False),
        (service_error(1303, "already exists", 429), False),
    ],
)
def test_a_taken_external_id_is_told_from_other_refusals(error: ServiceError, *, answer: bool) -> None:
    """Section 20, case 5: a duplicate is a success in disguise; other refusals are not to be taken for one."""
    assert is_duplicate(error) is answer
