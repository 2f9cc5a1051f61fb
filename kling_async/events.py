"""What happens in a session, as a stream of small frozen values: for dashboards, logs, metrics and live pages.

Stage: words. Before: scheduler, poller, submitter and transport, which tell. After: whoever listens.

Nobody who listens can slow the session down: each reader has a buffer of its own, which drops the oldest when it is
full and says so with `Missed`. While nobody listens no event is made.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal
from weakref import ref

import attrs

from .errors import ConfigError, Paid
from .models import Billing, Status

_log = logging.getLogger(__name__)

# The job whose submission the running asyncio task is: what passes on the wire is told with it.
JOB_SENT: ContextVar[str | None] = ContextVar("the job that is being sent", default=None)

BUFFER = 10_000  # events; about 5 MB when they are all about jobs


@attrs.frozen(kw_only=True)
class JobEvent:
    """A job has another status than before.

    Attributes:
        job_id, endpoint: whose, and of which kind.
        model: the model it asks for; "" where that is not known.
        status: where it stands now; a final one is told when it is on disk, if there is a journal.
        previous: where it stood; None: it is new in this session.
        at: when (UTC, the session's clock).
        created_at: when it was submitted (UTC).
        task_id: the service's id, once there is one.
        error: name of the exception that ended it ("TaskFailed"); None while it may deliver.
        message: its sentence.
        paid: whether money was spent on it; "maybe" as long as that is not known.
        billing: what it cost, in the host's own figures, if the host said so.
        lag_s: seconds since its task ended, by the host's own clock, where the host tells that.
        metadata: what the caller gave to `submit`.
    """

    job_id: str
    endpoint: str
    model: str
    status: Status
    previous: Status | None
    at: datetime
    created_at: datetime
    task_id: str | None = None
    error: str | None = None
    message: str | None = None
    paid: Paid = "maybe"
    billing: Billing | None = None
    lag_s: float | None = None
    metadata: Mapping[str, object] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class QueryEvent:
    """A status query was answered, or failed.

    Attributes:
        at: when (UTC).
        form: "single", "batch" or "list".
        endpoints: what it asked about.
        tasks: how many tasks it asked about.
        duration_s: seconds it took.
        error: name of the exception, None when it was answered.
    """

    at: datetime
    form: str
    endpoints: tuple[str, ...]
    tasks: int
    duration_s: float
    error: str | None = None


@attrs.frozen(kw_only=True)
class SweepEvent:
    """A sweep, all queries of one wake-up, is over.

    Attributes:
        at: when (UTC).
        queries: how many it sent.
        answered, failed: how many were answered, and were not.
        pending: tasks that are followed now.
    """

    at: datetime
    queries: int
    answered: int
    failed: int
    pending: int


@attrs.frozen(kw_only=True)
class RequestEvent:
    """An HTTP request of the API was answered, or failed.

    Attributes:
        at: when it ended (UTC).
        purpose: "submit" (makes a task), "call" (answered at once) or "query".
        method: GET or POST.
        url: without its query.
        http_status: of the answer; None when there was no usable one.
        duration_s: seconds it took.
        error: name of the exception when there was no usable answer; what the service refuses has an answer.
        job_id: of the job that was sent.
    """

    at: datetime
    purpose: Literal["submit", "call", "query"]
    method: str
    url: str
    http_status: int | None
    duration_s: float
    error: str | None = None
    job_id: str | None = None


@attrs.frozen(kw_only=True)
class PauseEvent:
    """Nothing is sent, or asked, for a while; or that is over.

    Attributes:
        at: when (UTC).
        what: "submissions" or "queries".
        reason: why, in a sentence; None: it goes on.
        wait_s: seconds until the next try; None where that is not known.
    """

    at: datetime
    what: Literal["submissions", "queries"]
    reason: str | None
    wait_s: float | None = None


@attrs.frozen
class Missed:
    """The reader was too slow: so many events, the oldest, were dropped here."""

    count: int


Event = JobEvent | QueryEvent | SweepEvent | RequestEvent | PauseEvent | Missed


class Hub:
    """Whoever listens to a session.

    Args:
        wall: gives Unix seconds.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        # Weakly: a reader that was dropped in the middle of its loop must not be fed for ever.
        self._readers: dict[ref[Events], None] = {}
        self._taps: dict[Callable[[Event], None], Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<Hub [{len(self._readers)} readers, {len(self._taps)} taps]>"

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens: only then is an event worth making."""
        return bool(self._readers or self._taps)

    def now(self) -> datetime:
        """Give the moment for an event."""
        return datetime.fromtimestamp(self._wall(), UTC)

    def tell(self, event: Event) -> None:
        """Hand an event to everybody; returns at once."""
        for reader in self._live():
            reader.put(event)
        for tap in tuple(self._taps):
            try:
                tap(event)
            except Exception:  # noqa: BLE001 - the listener's own, and nobody else's trouble
                _log.exception("a listener to the session's events raised")

    def read(self, size: int = BUFFER) -> Events:
        """Make a reader, which gets everything from now on."""
        reader = Events(lambda reader: self._leave(ref(reader)), size)
        self._readers[ref(reader, self._leave)] = None
        return reader

    def _leave(self, reader: ref[Events]) -> None:
        self._readers.pop(reader, None)

    def _live(self) -> list[Events]:
        return [reader for reader in [handle() for handle in tuple(self._readers)] if reader is not None]

    def tap(self, call: Callable[[Event], None], ended: Callable[[], None]) -> Callable[[], None]:
        """Have every event handed to a function, at once and within what causes it.

        Args:
            call: must return at once.
            ended: called when there is nothing more.

        Returns:
            What ends that.
        """
        self._taps[call] = ended

        def leave() -> None:
            if self._taps.pop(call, None) is not None:
                ended()

        return leave

    def close(self) -> None:
        """Tell everybody that there is nothing more."""
        for reader in self._live():
            reader.close()
        taps, self._taps = self._taps, {}
        for ended in taps.values():
            ended()


class Events:
    """An async iterator over what happens in a session, from the moment it was made; ends when the session closes."""

    def __init__(self, leave: Callable[[Events], None], size: int = BUFFER) -> None:
        if type(size) is not int or size < 1:
            raise ConfigError(f"buffer={size!r} must be an integer of at least 1")
        self._leave = leave
        self._kept: deque[Event] = deque()
        self._size = size
        self._missed = 0
        self._is_over = False
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Events [{len(self._kept)} waiting, {self._missed} missed{' | over' if self._is_over else ''}]>"

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._missed:
                event, self._missed = Missed(self._missed), 0
                return event
            if self._kept:
                return self._kept.popleft()
            if self._is_over:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()

    def put(self, event: Event) -> None:
        """Keep an event until it is read; drop the oldest when there are too many."""
        if len(self._kept) >= self._size:
            self._kept.popleft()
            self._missed += 1
        self._kept.append(event)
        self._news.set()

    def close(self) -> None:
        """Listen no longer: what is kept can still be read, then the iteration ends."""
        self._is_over = True
        self._leave(self)
        self._news.set()
