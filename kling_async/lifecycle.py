"""What may happen to one job: pure decisions, no clock, no I/O.

Stage: decide. Before: wire (what was answered). After: submitter, searcher, scheduler (what is done about it).

Theory. A submission ends in one of four ways, and only the first three are knowledge. *Not sent*: no byte left, so it
may be sent again. *Refused*: the service's own code proves that nothing was made. *Accepted*: there is a task id.
Everything else (time-out, reset, HTML, 5xx, a body that cannot be read) is *unsure*: a task may exist and bill. An
unsure job is looked up by its external id and sent again, with the same id, only when the host has shown that it can
find tasks by external id, has been asked at least twice after the settle window, and found nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from .errors import (
    AccountError,
    AuthError,
    BadEnvelope,
    ConnectFailed,
    JournalError,
    KlingError,
    NoOutputs,
    Paid,
    ServerFault,
    ServiceError,
    SlotsFull,
    TaskFailed,
    Throttled,
    TransportError,
    is_duplicate,
)
from .models import Failed, Observation, Outcome, Policy, Result, Status, Succeeded, TaskStatus

# What may follow what. Terminal states absorb: late, repeated or contradicting news changes nothing.
_NEXT: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset(
        {
            Status.SENDING,
            Status.UNSURE,
            Status.REJECTED,
            Status.UNRESOLVED,  # it was sent before, and will not be again
            Status.ABANDONED,
        }
    ),
    Status.SENDING: frozenset(
        {
            Status.QUEUED,
            Status.UNSURE,
            Status.ACCEPTED,
            Status.PROCESSING,
            Status.SUCCEEDED,
            Status.FAILED,
            Status.REJECTED,
            Status.UNRESOLVED,  # the host answered with the task of another job
            Status.ABANDONED,
        }
    ),
    Status.UNSURE: frozenset(
        {
            Status.QUEUED,
            Status.ACCEPTED,
            Status.PROCESSING,
            Status.SUCCEEDED,
            Status.FAILED,
            Status.UNRESOLVED,
            Status.ABANDONED,
        }
    ),
    Status.ACCEPTED: frozenset({Status.PROCESSING, Status.SUCCEEDED, Status.FAILED, Status.VANISHED, Status.ABANDONED}),
    Status.PROCESSING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.VANISHED, Status.ABANDONED}),
}


def may_follow(now: Status, then: Status) -> bool:
    """Tell whether a job in status `now` may go to `then`."""
    return then in _NEXT.get(now, frozenset())


def paid_so_far(status: Status, search: Search | None = None) -> Paid:
    """Tell what an open job has cost: nothing before it was sent, perhaps after, surely once there is a task.

    A job that waits to be sent again was sent before, so `search` is known of it, and it may have a task after all.
    """
    if search is not None and status is Status.QUEUED:
        return "maybe"
    if status in {Status.QUEUED, Status.REJECTED}:
        return "no"
    return "yes" if status in {Status.ACCEPTED, Status.PROCESSING, Status.SUCCEEDED} else "maybe"


# --- the answer to a submission ------------------------------------------------------------------------------------


@attrs.frozen
class NotSent:
    """No byte left: to be queued again, unless the reason is one that stays (`error.retryable` is False)."""

    error: KlingError


@attrs.frozen
class Refused:
    """Nothing was made, and sending it again is useless."""

    error: KlingError


@attrs.frozen
class Barred:
    """Nothing was made, and nothing of this account will be before somebody has paid, or given another key."""

    error: AccountError | AuthError


@attrs.frozen
class Later:
    """Nothing was made, and it may go later: too many requests, or no slot."""

    error: ServiceError


@attrs.frozen
class Accepted:
    """There is a task."""

    observation: Observation


@attrs.frozen
class Unsure:
    """A task may exist.

    Attributes:
        error: what came instead of an answer.
        exists: the service said so itself: the external id is taken.
    """

    error: KlingError
    exists: bool = False


Verdict = NotSent | Refused | Barred | Later | Accepted | Unsure


# The codes of the account and of the token. What only the status says (a gateway's 403) may be about one request.
_OF_THE_TOKEN = frozenset({1000, 1001, 1002, 1003, 1004, "invalid_api_key"})
_NO_SUCH_PAGE = frozenset({404, 405})  # whatever page it is: there is nothing behind it that could make a task


def judge_submission(answer: Observation | KlingError) -> Verdict:
    """Classify what came back from the one POST that turns a job into a task.

    Args:
        answer: the decoded reply, or the exception that stands for it.
    """
    if isinstance(answer, Observation):
        return Accepted(answer)
    if isinstance(answer, ConnectFailed | JournalError):
        return NotSent(answer)
    if isinstance(answer, Throttled | SlotsFull):
        return Later(answer)
    if isinstance(answer, AccountError) or (isinstance(answer, AuthError) and _is_of_the_token(answer)):
        return Barred(answer)
    if isinstance(answer, ServiceError) and is_duplicate(answer):
        return Unsure(answer, exists=True)
    if isinstance(answer, BadEnvelope) and answer.http_status in _NO_SUCH_PAGE:
        return Refused(answer)
    if isinstance(answer, ServerFault | TransportError) or answer.paid != "no":
        return Unsure(answer)
    return Refused(answer)


def _is_of_the_token(error: AuthError) -> bool:
    return error.code in _OF_THE_TOKEN or (error.code is None and error.http_status == 401)


# --- looking up an unsure job --------------------------------------------------------------------------------------

# Seconds after the submission at which an unsure job is looked up. A task may become visible late, so the last look
# lies at the end of the settle window. Source: measured; one look and a resend paid 553 of 571 such jobs twice, a
# window of 20 s none.
_LOOKS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_LATER_LOOKS_S = 30.0
_READ_GAP_S = 5.0
_RESENDS = 2
_READS_BEFORE_RESEND = 2
_WINDOWS_BEFORE_GIVING_UP = 2.0


@attrs.define
class Search:
    """What is known about an unsure job.

    Attributes:
        since: loop time at which its submission was given up, seconds: a request that hung may take effect later than
            it was sent, and the window must not have passed before it begins.
        exists: the service said that the external id is taken, or called back about its task.
        looks: how often it was asked about.
        answered: reads after the settle window that did not find it.
        absent: those of them by a single query, on an endpoint that has shown to find tasks so.
        absent_at: loop time of the last of them, seconds.
        looked_at: loop time of the last look, seconds.
        resent: how often it was sent again.
        is_told: somebody says that it is there now, so the next look is due at once.
    """

    since: float
    exists: bool = False
    looks: int = 0
    answered: int = 0
    absent: int = 0
    absent_at: float = 0.0
    looked_at: float = -math.inf
    resent: int = 0
    is_told: bool = False


def next_look(search: Search, policy: Policy) -> float:
    """Give the loop time of the next look at an unsure job.

    However late it is, looks keep their distance: two reads in one instant are one read.
    """
    scale = min(1.0, policy.settle_s / _LOOKS_S[-1])
    if search.is_told:
        return search.looked_at + _LOOKS_S[0] * scale
    if search.looks < len(_LOOKS_S):
        return max(search.since + _LOOKS_S[search.looks] * scale, search.looked_at + _LOOKS_S[0] * scale)
    beyond = search.looks - len(_LOOKS_S) + 1
    # Two reads soon after the window, then patience.
    delay_s = _READ_GAP_S * beyond if beyond <= _READS_BEFORE_RESEND else _LATER_LOOKS_S * (beyond - 1)
    return max(search.since + policy.settle_s + delay_s, search.looked_at + _READ_GAP_S)


def look_again(search: Search, now: float) -> None:
    """Make one more look due at once, and one more absent read necessary before the job is sent again."""
    search.looked_at = now - _READ_GAP_S
    search.absent = search.answered = _READS_BEFORE_RESEND - 1


@attrs.frozen
class Look:
    """Ask again later."""


@attrs.frozen
class Resend:
    """Send the same request with the same external id.

    Attributes:
        proved: the host has shown that there is no task; else its owner takes the risk.
    """

    proved: bool = True


@attrs.frozen
class GiveUp:
    """It cannot be found out."""


def judge_search(search: Search, *, can_find: bool | None, now: float, policy: Policy) -> Look | Resend | GiveUp:
    """Decide about an unsure job that the last look did not find.

    Args:
        search: what is known about it.
        can_find: whether this host has shown that it finds tasks by external id; None: not known yet.
        now: loop time, seconds.
        policy: the settle window.
    """
    age_s = now - search.since
    if age_s < policy.settle_s or search.looks < len(_LOOKS_S):
        return Look()
    if can_find and not search.exists and search.absent >= _READS_BEFORE_RESEND:
        return Resend() if search.resent < _RESENDS else GiveUp()
    if can_find and not search.exists and search.absent:
        return Look()  # one more read, and it is known
    # A host that answered none of the looks (an outage) deserves patience; one that answered has had its chance.
    patient = can_find is not False and age_s < _WINDOWS_BEFORE_GIVING_UP * policy.settle_s
    if patient or search.answered < _READS_BEFORE_RESEND:
        return Look()
    return Resend(proved=False) if may_insist(search, policy) else GiveUp()


def may_insist(search: Search | None, policy: Policy) -> bool:
    """Tell whether a job is sent again though it may have a task, because its owner said so beforehand."""
    if policy.on_unknown != "resend":
        return False
    return search is None or (not search.exists and search.resent < _RESENDS)


# --- news about a task ---------------------------------------------------------------------------------------------

_EMPTY_ANSWERS = 4  # the first one, and three more: the files may come a moment after the word


def is_stale(seen: Observation | None, news: Observation) -> bool:
    """Tell whether news is older than what was seen: caches and replicas answer out of order.

    A final word is never stale: it cannot become untrue.
    """
    if seen is None or news.status.is_final or seen.updated_at is None or news.updated_at is None:
        return False
    return news.updated_at < seen.updated_at


def is_new(seen: Observation | None, news: Observation) -> bool:
    """Tell whether news says something that was not seen yet; files may come without a new time stamp."""
    return seen is None or _gist(seen) != _gist(news)


def _gist(news: Observation) -> tuple[object, ...]:
    return news.status, news.word, news.updated_at, len(news.assets)


def outcome_of(news: Observation, endpoint: str, empty_answers: int) -> Outcome | None:
    """Give the final value that news amounts to, or None while the task goes on.

    Args:
        news: what was seen.
        endpoint: name of the endpoint, for the result.
        empty_answers: how often the task was already seen succeeded without a file.
    """
    if news.status is TaskStatus.FAILED:
        failure = TaskFailed(news.reason, paid=_paid_failure(news), task_id=news.task_id)
        failure.request_id = news.request_id
        return Failed(Status.FAILED, failure)
    if news.status is not TaskStatus.SUCCEEDED:
        return None
    if news.assets:
        return Succeeded(
            Result(
                assets=news.assets,
                endpoint=endpoint,
                task_id=news.task_id or "",
                external_id=news.external_id,
                billing=news.billing,
                created_at=news.created_at,
                updated_at=news.updated_at,
                raw=news.raw,
            )
        )
    if empty_answers + 1 < _EMPTY_ANSWERS:
        return None
    error = NoOutputs("the task succeeded without any file", task_id=news.task_id, request_id=news.request_id)
    return Failed(Status.FAILED, error)


def _paid_failure(news: Observation) -> Paid:
    if news.billing is not None and ((news.billing.units or 0) > 0 or (news.billing.amount or 0) > 0):
        return "yes"
    # A gateway gives up on its own clock and refunds, while the service may still finish and bill the gateway.
    return "maybe" if news.upstream is not None and news.upstream is not TaskStatus.FAILED else "no"


def status_of_news(news: Observation) -> Status:
    """Translate what a host says of a task into where the job stands, while it is open."""
    return Status.PROCESSING if news.status is TaskStatus.PROCESSING else Status.ACCEPTED


_MISSES_BEFORE_GONE = 5
_MISSES_OF_A_STRANGER = 3
_SILENCE_BEFORE_GONE_S = 120.0
_GRACE_S = 60.0


def is_gone(misses: int, first_miss_at: float, accepted_at: float, now: float, *, known: bool) -> bool:
    """Tell whether a task that is not found is lost: right after its creation that is lag, not loss.

    Args:
        misses: single queries in a row that did not find it.
        first_miss_at: loop time of the first of them, seconds.
        accepted_at: loop time at which it was accepted, seconds.
        now: loop time, seconds.
        known: the host has told of it, by accepting it or since; a task that only the caller speaks of may be a
            mistake, and patience is short.
    """
    if not known:
        return misses >= _MISSES_OF_A_STRANGER
    return (
        misses >= _MISSES_BEFORE_GONE
        and now - first_miss_at >= _SILENCE_BEFORE_GONE_S
        and now - accepted_at >= _GRACE_S + _SILENCE_BEFORE_GONE_S
    )
