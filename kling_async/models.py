"""The nouns: what is said about a task, and what a job ends with.

Stage: words. After: errors. Used by every stage from the wire to the front.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, NoReturn

import attrs

from .errors import ConfigError, KlingError


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("this mapping is shared and stays empty: give another one instead")


_WRITE: Any = _refuse


class _Nothing(dict[str, Any]):
    """An empty mapping that stays empty, since all that have nothing share it; copies and pickles are plain dicts."""

    __slots__ = ()

    __setitem__ = __ior__ = setdefault = update = _WRITE

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[()]]:
        return dict, ()

    def copy(self) -> dict[str, Any]:
        """Give an empty dict of one's own."""
        return {}


# A hundred thousand jobs need not each have an empty dict of their own.
NOTHING: Mapping[str, Any] = _Nothing()


class Status(StrEnum):
    """Where a job stands. The first five are open, the rest final: a final status never changes."""

    QUEUED = "queued"
    """Valid and waiting for a slot; nothing was sent."""
    SENDING = "sending"
    """The request is on its way."""
    UNSURE = "unsure"
    """Sent, and not known whether a task exists; it is being looked up by its external id."""
    ACCEPTED = "accepted"
    """The service made a task and gave its id."""
    PROCESSING = "processing"
    """The service works on it."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The task failed (failed tasks are not billed), or ended without a file; `error.paid` tells."""
    REJECTED = "rejected"
    """Refused; no task was made."""
    UNRESOLVED = "unresolved"
    """It could not be found out whether a task exists."""
    VANISHED = "vanished"
    """The host no longer knows the task."""
    ABANDONED = "abandoned"
    """Followed no longer: on request, or because its time was over. A task that exists goes on."""

    @property
    def is_final(self) -> bool:
        """Whether this status never changes again."""
        return self not in _OPEN


_OPEN = frozenset({Status.QUEUED, Status.SENDING, Status.UNSURE, Status.ACCEPTED, Status.PROCESSING})


class TaskStatus(StrEnum):
    """What a host says of a task, in one vocabulary for all dialects."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """A word nobody has told us about: asked again until the deadline, never taken for failed."""

    @property
    def is_final(self) -> bool:
        """Whether the task has ended."""
        return self in _ENDED


_ENDED = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED})


AssetKind = Literal["video", "image", "audio", "voice", "element", "cover", "subtitle"]


@attrs.frozen(kw_only=True)
class Asset:
    """One produced file, or a voice or an element, which live on at the service.

    Attributes:
        kind: video, image, audio, voice, element, cover or subtitle.
        url: where it can be downloaded; works without credentials, and for a limited time. Of a voice a specimen, of
            an element its picture; empty where the service gives none.
        watermark_url: the same with a watermark, if one was asked for.
        duration_s: length in seconds as the service says, which differs from what was asked ("5.041" for 5).
        id: the service's id of the file, voice or element, usable in later requests.
        name: the name a voice or an element was given.
        role: the service's own word for this output among several: "mp3", "wav", "series_images", "url_2", ...
        expires_at: until when the URL is said to work; None where nothing is known of the host's habits.
    """

    kind: AssetKind
    url: str
    watermark_url: str | None = None
    duration_s: float | None = None
    id: str | None = None
    name: str | None = None
    role: str | None = None
    expires_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Billing:
    """What a task cost, in the service's own figures; a figure it did not give is None, which is not zero.

    Attributes:
        units: resource-pack units taken.
        amount: money taken, in `currency`. Units and money are never mixed.
        currency: "CNY" or "USD" where the host says it.
        list_price: price before discounts, in `currency`.
    """

    units: Decimal | None = None
    amount: Decimal | None = None
    currency: str | None = None
    list_price: Decimal | None = None


@attrs.frozen(kw_only=True)
class Observation:
    """Dated news about one task, whatever its source.

    Attributes:
        task_id: the host's id; None only where a host answers without one.
        external_id: our job id, where the host gives it back.
        status: the host's word in our vocabulary; `word` is the word itself.
        upstream: what the service said inside a gateway's answer, if the two can differ.
        reason: the service's words about a failure, safe to print; may be empty.
        assets: every output, in the service's order.
        billing: what it cost; None while running or where the host says nothing.
        created_at, updated_at: the host's own times (UTC), if it gave them.
        request_id: the service's id of the exchange that told it.
        raw: the answer as received.
    """

    task_id: str | None
    external_id: str | None = None
    status: TaskStatus
    word: str = ""
    upstream: TaskStatus | None = None
    reason: str = ""
    assets: tuple[Asset, ...] = ()
    billing: Billing | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    request_id: str | None = attrs.field(default=None, eq=False)
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Result:
    """What a succeeded job delivers.

    Attributes:
        assets: every output, at least one.
        endpoint: name of the endpoint that made it.
        task_id, external_id: the service's id, and ours.
        billing: what it cost, if the host says so.
        created_at, updated_at: the host's own times (UTC), if it gave them.
        raw: the answer as received.
    """

    assets: tuple[Asset, ...]
    endpoint: str
    task_id: str
    external_id: str | None = None
    billing: Billing | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def url(self) -> str:
        """URL of the first asset."""
        return self.assets[0].url

    @property
    def urls(self) -> tuple[str, ...]:
        """URLs of all assets, in the service's order; watermark twins are on the assets."""
        return tuple(asset.url for asset in self.assets)


@attrs.frozen
class Succeeded:
    """Final value of a job that delivers."""

    result: Result

    @property
    def status(self) -> Status:
        """Always the same; that of a Failed tells more."""
        return Status.SUCCEEDED


@attrs.frozen
class Failed:
    """Final value of a job that does not: its status, and the exception to raise, anew for every waiter."""

    status: Status
    error: KlingError


Outcome = Succeeded | Failed


def _above_zero(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{field.name}={value!r} must be a number above 0")


def _from(low: float, high: float = math.inf) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
        good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if not good or value == math.inf:
            bounds = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
            raise ConfigError(f"{field.name}={value!r} must be a number, {bounds}")

    return check


def _one_of(*words: str) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in words:
            raise ConfigError(f"{field.name}={value!r} must be one of {', '.join(words)}")

    return check


@attrs.frozen(kw_only=True)
class Policy:
    """How patient the session is; every field has a default that needs no thought.

    Attributes:
        settle_s: seconds after an unanswered submission in which nothing is sent again, only looked up.
        task_limit_s: seconds an accepted task may take when the caller gave no timeout.
        unreachable_s: seconds of unbroken connection failures after which queued jobs are rejected, unpaid.
        slots_wait_s: seconds of refusals for lack of slots, with nothing of ours running, after which jobs are
            rejected, unpaid.
        account_wait_s: seconds for which jobs wait, unsent, while the host refuses the account (no balance, no rights)
            or a key that worked before; then they are rejected, unpaid. One knock at a time finds out, up to a minute
            apart.
        on_unknown: what becomes of a job that was sent and not answered where the host cannot be asked whether it made
            a task. "raise" ends it with SubmissionUnknown, and its owner decides. "resend" sends it again under the
            same id, at most twice: a host that does not refuse an id it knows then makes, and bills, a second task.
        grace_s: seconds that submissions in flight get when the session closes.
        lease_s: seconds for which a session's jobs in a shared journal stay its own without renewal.
        price_s: seconds of waiting that one query is worth: what a look probably finds late is weighed against it. A
            quarter of it while jobs wait for slots, a fortieth or less while at most three tasks are pending.
        late_s: one lag in a hundred may be longer, seconds.
        sweep_s: about how often one task is asked about while at most three are pending, seconds: more often when it
            is likely to end, after up to half as long again (at most `late_s`) when it is not. No task is asked about
            more often than once a second, or once in this time if it is shorter.
        ceiling_s: longest time for which no task goes unseen, however unlikely it is to have ended, seconds.
        jitter: random share of a sweep's interval, by which it comes early, 0 to 0.5; of at most three tasks half of it
            early and half of it late.
        queries_per_s: upper bound of the query rate; None lets the session learn it.
        batch_size: ids in one batch query. Source: service reference ("Query Task" prints no bound; its sibling 20).
        page_size: rows in one list page, at most 500. Source: service reference, "Query Task (List)".
        max_queries: queries in flight at once.
        max_submissions: submissions in flight at once.
        max_downloads: files on their way at once.
        download_limit_s: seconds one file may take to come, all tries together.
    """

    settle_s: float = attrs.field(default=60.0, validator=_above_zero)
    task_limit_s: float = attrs.field(default=7200.0, validator=_above_zero)
    unreachable_s: float = attrs.field(default=300.0, validator=_above_zero)
    slots_wait_s: float = attrs.field(default=3600.0, validator=_above_zero)
    account_wait_s: float = attrs.field(default=3600.0, validator=_above_zero)
    on_unknown: Literal["raise", "resend"] = attrs.field(default="raise", validator=_one_of("raise", "resend"))
    grace_s: float = attrs.field(default=10.0, validator=_from(0))
    lease_s: float = attrs.field(default=420.0, validator=_above_zero)
    sweep_s: float = attrs.field(default=5.0, validator=_above_zero)
    price_s: float = attrs.field(default=4.0, validator=_from(0))
    late_s: float = attrs.field(default=10.0, validator=_above_zero)
    ceiling_s: float = attrs.field(default=60.0, validator=_above_zero)
    jitter: float = attrs.field(default=0.1, validator=_from(0, 0.5))
    queries_per_s: float | None = attrs.field(default=None, validator=attrs.validators.optional(_above_zero))
    batch_size: int = attrs.field(default=20, validator=_from(1))
    page_size: int = attrs.field(default=500, validator=_from(1, 500))
    max_queries: int = attrs.field(default=6, validator=_from(1))
    max_submissions: int = attrs.field(default=50, validator=_from(1))
    max_downloads: int = attrs.field(default=8, validator=_from(1))
    download_limit_s: float = attrs.field(default=3600.0, validator=_above_zero)


@attrs.frozen(kw_only=True)
class CallbackStats:
    """Callbacks that came so far.

    Attributes:
        taken: believed: the service's signature, or the job's token, was good.
        unknown: those of them that were about no open job of this session.
        refused: by reason: "unsigned", "forged", "stale", "malformed", "unreadable", "too large", "replayed" (seen
            within a quarter of an hour), "slow" (its body did not come), "closed" (the session is).
    """

    taken: int = 0
    unknown: int = 0
    refused: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Stats:
    """A session at one moment: what a dashboard shows.

    Attributes:
        jobs: number of jobs by status, ended ones included.
        pending: tasks being followed now.
        submissions: create requests sent.
        queries: status queries sent, by form ("single", "batch", "list").
        slots: per (pack, model): tasks running, and the limit learned so far (None: not met).
        last_sweep_queries: queries of the last sweep.
        paused: why nothing is sent, if the account or its key was refused; in words.
        paused_code: the service's code of that refusal, as 1102; None where it gave none, and where nothing is paused.
        callbacks: those that came so far.
    """

    jobs: Mapping[Status, int]
    pending: int
    submissions: int
    queries: Mapping[str, int]
    slots: Mapping[tuple[str, str], tuple[int, int | None]]
    last_sweep_queries: int
    paused: str | None = None
    paused_code: int | str | None = None
    callbacks: CallbackStats = attrs.field(factory=CallbackStats)
