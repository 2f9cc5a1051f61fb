"""The nouns: a task, what it looks like at one moment, and its line in the ledger.

Place: made by the service, told by the replies. A task holds only moments; its status is computed from them
whenever somebody asks, so a hundred thousand running tasks cost no timer.
"""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import attrs

from .rows import Row

# Longest text kept in the ledger, in characters: a thousand inline pictures must not fill the memory.
_KEPT_CHARACTERS = 65_536

Status = Literal["submitted", "processing", "succeed", "failed"]


@attrs.frozen(kw_only=True)
class Task:
    """One accepted create. Moments are Unix seconds of the emulator's clock; `ended_at` may be infinite.

    `count` is how many results of its kind the task makes, `slots` how many slots it takes while it runs. `facts` is
    what its row found out about the order and replies must know (`parent_video`, `session_id`, ...).
    """

    ordinal: int
    task_id: str
    public_id: str
    external_id: str
    row: Row
    model: str
    mode: str
    body: Mapping[str, Any]
    created_at: float
    processing_at: float
    ended_at: float
    reason: str
    seconds: float
    ratio: str
    watermark: bool
    callback_url: str
    count: int
    slots: int
    units: Decimal
    asset_key: int
    facts: Mapping[str, Any] = attrs.field(factory=dict)

    def status_at(self, now: float) -> Status:
        """The state of the task at a moment."""
        if now >= self.ended_at:
            return "failed" if self.reason else "succeed"
        return "processing" if now >= self.processing_at else "submitted"

    def updated_at(self, now: float) -> float:
        """When the state at that moment began."""
        if now >= self.ended_at:
            return self.ended_at
        return self.processing_at if now >= self.processing_at else self.created_at


@attrs.frozen
class AssetView:
    """One result as a reply shows it; `seconds` as the service writes it ("5.041").

    `kind` is a word of `wares.py`; the two `wav` fields are there for sounds that come in two formats.
    """

    asset_id: str
    url: str
    watermark_url: str | None
    seconds: str
    kind: str = "video"
    wav_url: str | None = None
    wav_seconds: str | None = None


@attrs.frozen(kw_only=True)
class Snapshot:
    """A task at one moment, ready to be told in any dialect.

    `is_seen` is false while a caching gateway has not yet asked the service about the task.
    """

    task: Task
    status: Status
    updated_at: float
    assets: tuple[AssetView, ...]
    units: str | None
    money: str | None
    cash: bool
    currency: str
    request_id: str
    is_seen: bool = True

    @property
    def is_ended(self) -> bool:
        """Whether the state is final."""
        return self.status in ("succeed", "failed")

    @property
    def created_ms(self) -> int:
        """Creation in Unix milliseconds."""
        return int(self.task.created_at * 1000)

    @property
    def updated_ms(self) -> int:
        """Last change in Unix milliseconds."""
        return int(self.updated_at * 1000)


@attrs.frozen(kw_only=True)
class TaskRecord:
    """One line of the ledger, as of the moment it was asked for.

    Attributes:
        task_id: the service's id.
        public_id: the id the caller was given; differs from `task_id` on gateways with ids of their own.
        external_id: the caller's id, "" when none was (validly) given.
        endpoint: row name: "text2video", "image-to-video/kling-3.0".
        model: model version the slots are counted for.
        body: the body as received; texts above 64 KiB are replaced by their length and hash.
        status: "submitted", "processing", "succeed" or "failed".
        billed: units charged so far: 0 unless succeeded.
        slots: how many slots the task holds while it runs.
        created_at: Unix seconds of the emulator's clock.
        ended_at: the same; None while running.
        reason: why it failed, "" otherwise.
        callback_url: where callbacks go.
    """

    task_id: str
    public_id: str
    external_id: str
    endpoint: str
    model: str
    body: Mapping[str, Any]
    status: Status
    billed: float
    slots: int
    created_at: float
    ended_at: float | None
    reason: str
    callback_url: str

    @classmethod
    def of(cls, task: Task, now: float) -> "TaskRecord":
        """The record of a task at a moment."""
        status = task.status_at(now)
        is_ended = status in ("succeed", "failed")
        return cls(
            task_id=task.task_id,
            public_id=task.public_id,
            external_id=task.external_id,
            endpoint=task.row.name,
            model=task.model,
            body=task.body,
            status=status,
            billed=float(task.units) if status == "succeed" else 0.0,
            slots=task.slots,
            created_at=task.created_at,
            ended_at=task.ended_at if is_ended else None,
            reason=task.reason if is_ended else "",
            callback_url=task.callback_url,
        )


@attrs.frozen(kw_only=True)
class CallRecord:
    """One synchronous call that was answered: it made no task, but may have cost something.

    Attributes:
        endpoint: row name: "identify-face".
        body: the body as received; for GET the query. Texts above 64 KiB are replaced by their length and hash.
        billed: units charged.
        pack: whose units.
        at: Unix seconds of the emulator's clock.
    """

    endpoint: str
    body: Mapping[str, Any]
    billed: float
    pack: str
    at: float


@attrs.define(kw_only=True)
class CallbackRecord:
    """One callback that was sent, or tried.

    Attributes:
        task_id: the service's id of the task it tells of.
        status: what it says.
        url: where it went; it may hold a secret of whoever asked for it.
        at: Unix seconds of the emulator's clock.
        id: of the message, the same when it is sent twice.
        answer: HTTP status of the answer; None while there is none.
        trouble: why there is none, "" otherwise.
    """

    task_id: str
    status: Status
    url: str = attrs.field(repr=False)
    at: float
    id: str
    answer: int | None = None
    trouble: str = ""


def shortened(value: Any) -> Any:
    """A body as the ledger keeps it: long texts are replaced by their length and hash."""
    if isinstance(value, str):
        if len(value) <= _KEPT_CHARACTERS:
            return value
        digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
        return f"<{len(value)} characters, sha256 {digest}>"
    if isinstance(value, Mapping):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    return value
