"""Every exception of the package, and the table from service code to exception.

Stage: words. Used by every other stage; knows nothing itself.

```
KlingError
├─ ConfigError(ValueError)         bad arguments or credentials; raised before any I/O
├─ InvalidRequest(ValueError)      a request the service would refuse or misread: .field .value .rule
│   └─ IdempotencyMismatch         a job id that already names another request
├─ TransportError                  no usable answer
│   ├─ ConnectFailed               nothing was sent: refused, DNS, TLS, proxy
│   ├─ ConnectionLost              sent, and the connection ended before the answer did
│   ├─ AnswerTimeout               sent, and no answer in time
│   └─ BadEnvelope                 an answer that is not the service's: HTML, broken JSON, wrong types
├─ ServiceError                    the service answered no: .code .message .http_status
│   ├─ AuthError                   credentials refused
│   ├─ AccountError                no money, no right, or an address that is not allowed
│   ├─ RequestRejected             the request is wrong for this host
│   ├─ PolicyRejected              content or platform policy
│   ├─ Throttled                   too many requests; .retry_in_s
│   ├─ SlotsFull                   too many tasks at once
│   └─ ServerFault                 internal trouble: whether a create took effect is unknown
├─ JobError                        this job will not deliver
│   ├─ TaskFailed                  the service says the task failed: .reason
│   ├─ TaskVanished                the host no longer knows the task
│   ├─ NoOutputs                   succeeded, and no file came with it
│   ├─ DeadlineExceeded(TimeoutError)  the time given is over
│   ├─ JobAbandoned                followed no longer, on request
│   └─ SubmissionUnknown           sent, and it could not be found out whether a task exists
├─ SessionError
│   ├─ SessionClosed               the session ended first: .resumable
│   ├─ ForkError                   the session was opened before the process was forked
│   └─ SchedulerCrashed            a bug of this package; the cause is chained
├─ JournalError                    the durable record could not be read or written
│   ├─ JournalCorrupt              its file is damaged: .line
│   ├─ JournalLocked               another process holds its file
│   └─ LeaseLost                   another session has taken the job over
├─ DownloadError                   an asset could not be saved; the generation is not affected
└─ CallbackRejected                a callback that is unsigned, forged, stale or unreadable: .reason
RequestWarning(UserWarning)        likely wrong for this model or host, sent all the same
```

Every one carries `paid` ("no", "maybe", "yes"), `retryable`, `job_id`, `task_id` and `request_id`, pickles, and copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self, TypeVar

Paid = Literal["no", "maybe", "yes"]

_TEXT_CAP = 200


def _printable(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def clean_text(text: object, cap: int = _TEXT_CAP) -> str:
    """Make foreign text safe for one line of a log or a terminal: escaped, at most `cap` characters."""
    if isinstance(text, str) and len(text) <= cap and text.isprintable():
        return text
    escaped = "".join(_printable(char) for char in str(text)[: 4 * cap])
    return escaped if len(escaped) <= cap else escaped[: cap - 1] + "…"


class KlingError(Exception):
    """Root of every exception raised by this package.

    Attributes:
        paid: whether money was spent by what failed: "no", "maybe" or "yes".
        retryable: whether the same call may succeed later without a change.
        job_id: our id of the job, also its external id at the service.
        task_id: the service's id of the task, once there is one.
        request_id: the service's id of the HTTP exchange, to quote to its support.
    """

    paid: Paid = "no"
    retryable: bool = False
    job_id: str | None = None
    task_id: str | None = None
    request_id: str | None = None

    def __init__(
        self,
        message: str,
        *,
        paid: Paid | None = None,
        retryable: bool | None = None,
        job_id: str | None = None,
        task_id: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        if paid is not None:
            self.paid = paid
        if retryable is not None:
            self.retryable = retryable
        if job_id is not None:
            self.job_id = job_id
        if task_id is not None:
            self.task_id = task_id
        if request_id is not None:
            self.request_id = request_id

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses have keyword-only arguments, which Exception's own reduction cannot replay.
        return _rebuild, (type(self), self.args, self.__dict__.copy())

    def anew(self, *, job_id: str | None = None, task_id: str | None = None, paid: Paid | None = None) -> Self:
        """Give a fresh copy without traceback, with the given attributes filled in."""
        twin: Self = _rebuild(type(self), self.args, self.__dict__.copy())
        twin.__cause__ = self.__cause__
        if job_id is not None:
            twin.job_id = job_id
        if task_id is not None:
            twin.task_id = task_id
        if paid is not None:
            twin.paid = paid
        return twin


_E = TypeVar("_E", bound=KlingError)


def _rebuild(kind: type[_E], args: tuple[object, ...], state: Mapping[str, object]) -> _E:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    if hasattr(error, "__notes__"):
        error.__notes__ = list(error.__notes__)  # a note on one waiter's copy is not the others'
    return error


class ConfigError(KlingError, ValueError):
    """Arguments, environment or credentials are wrong; raised before any I/O."""


class InvalidRequest(KlingError, ValueError):
    """A request that the service would refuse, or worse, misread and bill.

    Attributes:
        field: name of the field, dotted for nested ones ("camera_control.config.pan").
        value: what was given, as text, shortened.
        rule: what the field wants.
    """

    def __init__(self, field: str, value: object, rule: str, *, job_id: str | None = None) -> None:
        self.field = field
        try:
            self.value: str = clean_text(repr(value), 80)
        except ValueError:  # an integer of more digits than Python writes
            self.value = f"<{type(value).__name__}>"
        self.rule = rule
        super().__init__(self._told(), job_id=job_id)

    def _told(self) -> str:
        # What is missing has no value worth showing.
        missing = self.value == "None" and self.rule.startswith("is required")
        return f"{self.field}: {self.rule}" if missing else f"{self.field}={self.value}: {self.rule}"

    def inside(self, outer: str) -> InvalidRequest:
        """Give the same refusal, seen from the object that holds the field."""
        twin = self.anew()
        twin.field = f"{outer}.{self.field}"
        twin.args = (twin._told(),)  # noqa: SLF001 - of the same class
        return twin


class IdempotencyMismatch(InvalidRequest):
    """A job id that already names another request; nothing was sent. Choose another id, or send the same request."""


class RequestWarning(UserWarning):
    """A request that is likely wrong for this model or host; it is sent all the same (see `strict=True`)."""


class TransportError(KlingError):
    """No usable answer came. On a submission `paid` is "maybe" unless nothing was sent.

    Attributes:
        http_status: status line of the unusable answer, if there was one.
    """

    paid: Paid = "maybe"
    retryable = True
    http_status: int | None = None

    def __init__(self, message: str, *, http_status: int | None = None, retryable: bool | None = None) -> None:
        super().__init__(message, retryable=retryable)
        if http_status is not None:
            self.http_status = http_status


class ConnectFailed(TransportError):
    """No connection: refused, no such name, TLS, proxy. Nothing was sent, so nothing was paid."""

    paid: Paid = "no"


class ConnectionLost(TransportError):
    """The connection ended before the answer did."""


class AnswerTimeout(TransportError):
    """No complete answer in time."""


class BadEnvelope(TransportError):
    """An answer that is not the service's: HTML, broken JSON, wrong types, too large."""


class ServiceError(KlingError):
    """The service answered no.

    Attributes:
        code: the service's code (int), a gateway's word (str), or None when only the HTTP status speaks.
        message: the service's own words, made safe to print.
        http_status: status of the answer.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        paid: Paid | None = None,
        retryable: bool | None = None,
        retry_in_s: float | None = None,
    ) -> None:
        self.code: int | str | None = clean_text(code, 40) if isinstance(code, str) else code
        self.message: str = clean_text(message)
        self.http_status = http_status
        self.retry_in_s = retry_in_s
        label = f"code {self.code}" if code is not None else f"HTTP {http_status}"
        advice = _ADVICE.get(type(self), "")
        super().__init__(
            f"{self.message or 'no message'} ({label}){advice}",
            request_id=request_id,
            paid=paid,
            retryable=retryable,
        )


class AuthError(ServiceError):
    """The credentials were refused."""


class AccountError(ServiceError):
    """The account cannot pay, may not use this, or may not call from here."""


class RequestRejected(ServiceError):
    """The request is wrong for this host; sending it again unchanged is useless."""


class PolicyRejected(ServiceError):
    """Refused by content or platform policy."""


class Throttled(ServiceError):
    """Too many requests; `retry_in_s` is the host's wish, if it said one."""

    retryable = True


class SlotsFull(ServiceError):
    """Too many tasks at once for the account's pack; nothing was made."""

    retryable = True


class ServerFault(ServiceError):
    """Trouble inside the service: a create may or may not have taken effect."""

    paid: Paid = "maybe"
    retryable = True


_ADVICE: dict[type[ServiceError], str] = {
    AuthError: "; check the key and that it belongs to this host",
    AccountError: "; see the account's balance, packs, rights and allowed addresses",
    RequestRejected: "; change the request",
    PolicyRejected: "; change the prompt or the media",
    Throttled: "; slow down",
    SlotsFull: "; wait for a running task to end",
}


class JobError(KlingError):
    """This job will not deliver."""


class TaskFailed(JobError):
    """The service says the task failed. Failed tasks are not billed (source: service reference, "Billing").

    Attributes:
        reason: the service's own words; free text, its language varies; may be empty.
    """

    def __init__(self, reason: str, *, paid: Paid = "no", task_id: str | None = None) -> None:
        self.reason: str = clean_text(reason)
        super().__init__(f"the task failed: {self.reason or 'no reason given'}", paid=paid, task_id=task_id)


class TaskVanished(JobError):
    """The host no longer knows the task: expired, purged, or of another account."""

    paid: Paid = "maybe"


class NoOutputs(JobError):
    """The task succeeded and no file came with it, also after asking again."""

    paid: Paid = "yes"


class DeadlineExceeded(JobError, TimeoutError):
    """The time given is over. A task that exists goes on at the service: follow it with `session.attach()`."""

    retryable = True


class JobAbandoned(JobError):
    """Followed no longer, because `job.abandon()` was called. The service knows no cancel: a task goes on."""


class SubmissionUnknown(JobError):
    """The request was sent and it could not be found out whether a task exists: sending again may pay twice."""

    paid: Paid = "maybe"


class SessionError(KlingError):
    """The session cannot serve this any more."""


class SessionClosed(SessionError):
    """The session was closed before the job ended.

    Attributes:
        resumable: the job can be followed again: by its task id, or by submitting the same `job_id`.
    """

    retryable = True

    def __init__(self, message: str, *, resumable: bool = True, paid: Paid | None = None) -> None:
        self.resumable = resumable
        super().__init__(message, paid=paid)


class ForkError(SessionError):
    """The session was opened before this process was forked off: open one of its own here. Nothing was sent."""


class SchedulerCrashed(SessionError):
    """A bug of this package ended the background loop; the cause is chained. Please report it."""

    paid: Paid = "maybe"


class JournalError(KlingError):
    """The durable record could not be read or written. Of a change it means: do not count on it being recorded."""


class JournalCorrupt(JournalError):
    """The journal's file is damaged, or not a journal; nothing of it is used. Restore it, or move it aside.

    Attributes:
        line: number of the damaged record, where it is one record and not the file.
    """

    line: int | None = None

    def __init__(self, message: str, *, line: int | None = None) -> None:
        if line is not None:
            self.line = line
        super().__init__(message)


class JournalLocked(JournalError):
    """Another process holds the journal's file longer than is waited for."""

    retryable = True


class LeaseLost(JournalError):
    """Another session has taken the job over and follows it now: leave it alone here, and send nothing for it."""

    paid: Paid = "maybe"


class DownloadError(KlingError):
    """An asset could not be saved. The generation itself succeeded and stays so."""

    paid: Paid = "yes"
    retryable = True


class CallbackRejected(KlingError):
    """A callback that is not to be believed, or not to be read: answer it with HTTP 4xx. Jobs are not affected.

    Attributes:
        reason: "unsigned", "forged", "stale" (signed too long ago, or a clock is wrong), "malformed" (its headers),
            "unreadable" or "too large" (its body); to count by.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(f"the callback is {reason}: {detail}")


# Source: service reference, "Error codes". The code decides, never the HTTP status: four of the six codes under
# HTTP 429 (1100, 1101, 1102, 1304) must not be tried again.
CODES: Mapping[int, type[ServiceError]] = {
    1000: AuthError,
    1001: AuthError,
    1002: AuthError,
    1003: AuthError,
    1004: AuthError,
    1100: AccountError,
    1101: AccountError,
    1102: AccountError,
    1103: AccountError,
    1200: RequestRejected,
    1201: RequestRejected,
    1202: RequestRejected,
    1203: RequestRejected,
    1300: PolicyRejected,
    1301: PolicyRejected,
    1302: Throttled,
    1303: SlotsFull,
    1304: AccountError,
    5000: ServerFault,
    5001: ServerFault,
    5002: ServerFault,
}

# The words of new-api gateways. Those raised before the upstream call prove that nothing was made; the others were
# raised after it, so the task may exist. Source: new-api source, relay and service error codes.
WORDS: Mapping[str, type[ServiceError]] = {
    "invalid_request": RequestRejected,
    "invalid_api_platform": RequestRejected,
    "model_mapping_failed": RequestRejected,
    "model_price_error": RequestRejected,
    "model_not_found": RequestRejected,
    "build_request_failed": RequestRejected,
    "get_channel_failed": RequestRejected,
    "channel_no_available_key": RequestRejected,
    "task_failed": RequestRejected,  # upstream answered 200 with a code of its own, which is lost on the way
    "task_not_exist": RequestRejected,
    "selection_refused": RequestRejected,  # ours, for a refusal inside `data`; source: "Multi-elements"
    "quota_not_enough": AccountError,
    "insufficient_user_quota": AccountError,
    "invalid_api_key": AuthError,
    "do_request_failed": ServerFault,
    "read_response_body_failed": ServerFault,
    "unmarshal_response_failed": ServerFault,
    "insert_task_failed": ServerFault,
    "fail_to_fetch_task": ServerFault,
}

_MISSING = ("not found", "task_not_exist", "not exist", "no such task")
_OUR_ID = ("external", "task_id", "task id")
_FULL = ("parallel task over resource pack limit",)
# What proxies say when they gave up on an exchange that had begun: it proves nothing about what was made.
_GAVE_UP = frozenset({408, 499})


def service_error(
    code: int | str | None,
    message: str,
    http_status: int,
    *,
    request_id: str | None = None,
    retry_in_s: float | None = None,
) -> ServiceError:
    """Choose the exception for a refusal.

    Args:
        code: the service's number, a gateway's word, or None. A number that only repeats the status says nothing.
        message: the service's words.
        http_status: decides only where code says nothing.
        request_id: to quote to the service's support.
        retry_in_s: from Retry-After, seconds.

    Returns:
        The exception, not raised. An unknown number is Throttled under 429 and a ServerFault under 5xx; under another
        4xx it is a plain ServiceError with `paid` "no", and under any other status nothing is proved, and `paid` is
        "maybe".

    Source: service reference, "Error codes"; new-api gateway source.
    """
    code = None if code == http_status else code
    kind = CODES.get(code) if isinstance(code, int) else WORDS.get(code or "")
    if kind is RequestRejected and isinstance(code, str) and any(words in message.lower() for words in _FULL):
        kind = SlotsFull
    elif http_status == 429 and (kind is None or isinstance(code, str)):
        kind = Throttled  # gateways replace the body of every 429: the real code is lost, so the mildest meaning
    if kind is None:
        kind = _by_status(http_status)
        if isinstance(code, int) and (kind is not ServerFault or http_status < 400):
            kind = ServiceError
    paid: Paid | None = "maybe" if kind is ServiceError and not 400 <= http_status < 500 else None
    return kind(
        message,
        code=code,
        http_status=http_status,
        request_id=request_id,
        paid=paid,
        retry_in_s=retry_in_s,
    )


def _by_status(http_status: int) -> type[ServiceError]:
    if http_status in {401, 403}:
        return AuthError
    if 400 <= http_status < 500 and http_status not in _GAVE_UP:
        return RequestRejected
    return ServerFault


def is_missing(error: ServiceError) -> bool:
    """Tell whether the refusal of a query means "no such task": 1203, a gateway's word, a bare 404, or 1201 with words.

    Whatever else has "not found" in it (a token, a channel, an upstream) says nothing about a task, and a second
    payment may hang on it.

    Source: service reference, "Query Task"; new-api source.
    """
    status = error.http_status or 0
    if isinstance(error, AuthError | AccountError | Throttled | SlotsFull | ServerFault) or status >= 500:
        return False
    if error.code in {"task_not_exist", 1203} or (error.code is None and error.http_status == 404):
        return True
    message = error.message.lower()
    told = any(words in message for words in _MISSING)
    known = error.code == 1201 or "task" in message or (status == 404 and not isinstance(error.code, int))
    return told and known and status not in {401, 403, 429}


def is_surely_missing(error: ServiceError) -> bool:
    """Tell the same, where money hangs on it: a bare 404 may be a page that is missing, and not a task."""
    return is_missing(error) and (error.code in {"task_not_exist", 1203, 1201} or "task" in error.message.lower())


def is_duplicate(error: ServiceError) -> bool:
    """Tell whether a create was refused because its external id already exists: a success in disguise.

    Source: service reference, "external_task_id": only the words "already exists" are known, not the code.
    """
    if isinstance(error, AuthError | AccountError | PolicyRejected | Throttled | SlotsFull):
        return False
    message = error.message.lower()
    # A request may hold other things twice ("duplicate element_id"): then nothing exists.
    return "already exist" in message or ("duplicate" in message and any(words in message for words in _OUR_ID))
