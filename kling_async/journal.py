"""What is recorded of a job, and the journal that keeps it: in memory here, on disk in `journal_sqlite`.

Stage: mover. Before: scheduler and submitter (changes). After: whoever adopts the jobs of a session that ended.

Theory. Write first, tell later: nothing is sent before its entry says so, and no waiter is woken before the outcome is
recorded. So `put` takes a change at once, never blocks, and calls back when the change is durable; changes become
durable in the order they were put, many in one commit.

Several sessions may share a journal. Each has an `owner` name and one lease, which covers every entry it holds: a
hundred thousand jobs are renewed by one small write. Whoever takes an entry over raises its epoch, and every update
names owner and epoch, so that one who was away too long can change nothing (`LeaseLost`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import attrs

from . import errors
from .errors import ConfigError, JournalError, KlingError, LeaseLost
from .models import Status

Then = Callable[[JournalError | None], None]

# What an update may name. The rest of an entry is written once, or belongs to claim, renew and release.
UPDATABLE = frozenset({"state", "attempt", "sent_at", "task_id", "outcome"})


def _moment(value: float) -> float:
    return float(value)  # for attrs the signature of `float` itself costs more than the rest of the class


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)


@attrs.frozen(kw_only=True)
class Entry:
    """One job as recorded. Times are wall seconds; plain data is what JSON can hold.

    Attributes:
        job_id: its key; also the external id at the service.
        endpoint: name of its row of the registry.
        host: text naming the host it was made for.
        request: plain data of what is wanted, files as path and hash (see `media_record`); None for a task that was
            made elsewhere.
        fingerprint: `fingerprint(endpoint, request)`.
        callback_url: where the service was asked to call; it may hold a secret of the caller's, so it is not printed.
        metadata: the caller's own plain data.
        created_at: when it was submitted.
        timeout_s: the time given, from `created_at`.
        state: where it stands.
        attempt: POSTs begun so far.
        sent_at: when the last of them began.
        task_id: the service's id, once there is one.
        outcome: plain data of how it ended: a result's `raw`, or `plain_error()`.
        account: tag of the credentials it was submitted with; "" where that is not known.
        owner: the session that holds it, or held it last.
        epoch: how often it was taken over.
        lease_until: until when its owner's lease runs; None where the owner has none, and it is free to be claimed.
        updated_at: when it was last changed; written by the journal.
    """

    job_id: str
    endpoint: str
    host: str
    request: object = attrs.field(default=None, repr=False)
    fingerprint: str = attrs.field(default="", repr=False)
    callback_url: str | None = attrs.field(default=None, repr=False)
    metadata: Mapping[str, object] = attrs.field(factory=dict, repr=False)
    account: str = attrs.field(default="", repr=False)
    created_at: float = attrs.field(converter=_moment)
    timeout_s: float | None = attrs.field(default=None, converter=_seconds)
    state: Status = attrs.field(default=Status.QUEUED, converter=Status)
    attempt: int = 0
    sent_at: float | None = attrs.field(default=None, converter=_seconds)
    task_id: str | None = None
    outcome: object = attrs.field(default=None, repr=False)
    owner: str | None = None
    epoch: int = 0
    lease_until: float | None = attrs.field(default=None, converter=_seconds)
    updated_at: float = attrs.field(default=0.0, converter=_moment)

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is to be done about it."""
        return is_settled(self.state, self.attempt)

    def change(self, **fields: object) -> Update:
        """Make an update of this entry, for as long as its owner holds it.

        Raises:
            ValueError: a field that no update may name, or nobody holds the entry.
        """
        if self.owner is None:
            raise ValueError(f"nobody holds job {self.job_id}")
        return Update(self.job_id, self.owner, self.epoch, fields)


_OPEN = frozenset(name for status in Status if not status.is_final for name in (status, status.value))


def is_settled(state: str, attempt: int) -> bool:
    """Tell whether nothing more is to be done about a job.

    One of which could not be found out whether it has a task is open still, if it was ever sent: it is final for the
    session that gave it up, and the next one looks for its task once more.
    """
    return state not in _OPEN and not (attempt > 0 and state == "unresolved")


def _check_fields(_update: object, _field: object, fields: Mapping[str, object]) -> None:
    if not UPDATABLE.issuperset(fields):
        raise ValueError(f"an update cannot change {', '.join(sorted(fields.keys() - UPDATABLE))}")


@attrs.frozen
class Insert:
    """Record a new job; a `JournalError` if its id is there. `lease_until` prolongs its owner's lease, if later."""

    entry: Entry


@attrs.frozen
class Update:
    """Change named fields of one entry, if `owner` still holds it in `epoch`; else `LeaseLost`."""

    job_id: str
    owner: str
    epoch: int
    fields: Mapping[str, object] = attrs.field(validator=_check_fields, repr=lambda fields: f"<{', '.join(fields)}>")


Change = Insert | Update


@attrs.frozen
class Fact:
    """Something learned about a host, and when (wall seconds)."""

    value: object
    at: float


class Journal(Protocol):
    """The durable record of jobs: one instance per session, used from one event loop.

    Every method raises `JournalError` when it cannot do what it says: the disk is full, the file is damaged or gone,
    the journal is not open, or the process was forked from the one that opened it. A change that failed this way may
    yet turn up after a crash, where writing was cut short; one that was acknowledged always does.
    """

    @property
    def owner(self) -> str:
        """The name under which this instance holds entries; no two instances share one."""
        ...

    @property
    def texts(self) -> Path | None:
        """The folder beside it for long texts of requests (see `media_record`); None: they are kept in the entries."""
        ...

    async def open(self) -> None:
        """Open it, and check that what is there can be trusted.

        Raises:
            JournalCorrupt: it cannot; `.line` where one record is to blame.
        """
        ...

    async def close(self) -> None:
        """Write what was put, call back, and close; nothing is released. Closing twice is allowed."""
        ...

    def put(self, change: Change, then: Then | None = None) -> None:
        """Take one change at once, and have it written soon.

        Args:
            change: what to write; its plain data must not be changed afterwards.
            then: called on the loop in the order of `put`, with None when the change is durable, else with the error.

        Raises:
            ConfigError: JSON cannot hold its data.
            JournalError: the journal is not open, or was opened by another process.
        """
        ...

    async def write(self, change: Change) -> None:
        """Write one change, and return when it is durable.

        Raises:
            LeaseLost: another session has taken the entry over.
        """
        ...

    async def add(self, entry: Entry) -> Entry | None:
        """Record a new job durably; where its id is recorded already, give that entry and change nothing."""
        ...

    async def find(self, job_id: str) -> Entry | None:
        """Give the entry of that id."""
        ...

    async def claim(self, host: str, limit: int, lease_s: float) -> list[Entry]:
        """Take over unsettled entries of a host that nobody holds, the oldest first, for `lease_s` seconds.

        An entry is free when it was released, or its owner's lease is over. Sets this owner's lease, if any is taken.
        """
        ...

    async def take(self, job_id: str, lease_s: float) -> Entry | None:
        """Take over one entry, if it is free or settled; None if it is not there, or somebody holds it."""
        ...

    async def renew(self, job_ids: Iterable[str], lease_s: float) -> frozenset[str]:
        """Let this owner's lease run `lease_s` seconds from now, and give the ids that it does not hold any more."""
        ...

    async def release(self, job_ids: Iterable[str] | None = None) -> None:
        """Let go of these entries; of all that this owner holds, in one small write, where none are named."""
        ...

    async def bury(self, has_ended: Callable[[str], bool]) -> None:
        """End the leases of owners that surely run no more, so that nobody has to wait for what they held.

        Args:
            has_ended: tells by its name whether an owner has ended; may be called in a thread.
        """
        ...

    async def counts(self) -> Mapping[Status, int]:
        """Count entries by state; states without any are left out."""
        ...

    def entries(self, state: Status | None = None) -> AsyncIterator[Entry]:
        """Give all entries, or those of a state, in the order they were recorded; read page by page."""
        ...

    async def newest(
        self, host: str, limit: int, *, before: int | None = None, state: Status | None = None
    ) -> list[tuple[int, Entry]]:
        """Give entries of a host, or those of a state, the last recorded first, each with its place in the journal.

        Args:
            host: text naming the host.
            limit: how many at most.
            before: a place; only what was recorded before it.
            state: where they stand; None: anywhere.
        """
        ...

    async def learn(self, key: str, value: object) -> None:
        """Remember a small fact, plain data, with the date; the last one of a key counts."""
        ...

    async def learned(self, key: str) -> Fact | None:
        """Give what was learned under a key."""
        ...


# --- plain data ------------------------------------------------------------------------------------------------------


# Without a check for circles, which end by their depth: a third of the time.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def to_text(value: object, what: str = "this") -> str:
    """Write plain data as JSON, in ASCII.

    Raises:
        ConfigError: JSON cannot hold it.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{what} cannot be recorded, since JSON cannot hold it: {type(error).__name__}") from None


def fingerprint(endpoint: str, request: object) -> str:
    """Name what is asked for: sha256 in hex of the canonical JSON of endpoint and request.

    Raises:
        ConfigError: JSON cannot hold the request.
    """
    try:
        text = json.dumps([endpoint, request], sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the request cannot be fingerprinted: {type(error).__name__}") from None
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def plain_error(error: KlingError) -> dict[str, object]:
    """Give an error as plain data, without cause and traceback: what `revive_error` takes."""
    carried = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    return {"error": type(error).__name__, "args": list(error.args), **({"with": carried} if carried else {})}


def revive_error(plain: Mapping[str, object]) -> KlingError:
    """Make the error again; one of a kind that this release does not know is a plain KlingError."""
    kind = getattr(errors, str(plain.get("error")), None)
    if not (isinstance(kind, type) and issubclass(kind, KlingError)):
        kind = KlingError
    error = kind.__new__(kind)
    args, carried = plain.get("args"), plain.get("with")
    error.args = tuple(args) if isinstance(args, list) else ()
    error.__dict__.update(carried if isinstance(carried, dict) else {})
    return error


# --- in memory -------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class MemoryStore:
    """What memory journals hold; share one among several to play sessions that share a file, or one that restarts."""

    entries: dict[str, Entry] = attrs.field(factory=dict)
    unsettled: dict[str, None] = attrs.field(factory=dict)
    leases: dict[str, float] = attrs.field(factory=dict)
    facts: dict[str, Fact] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"<MemoryStore [{len(self.entries)} entries, {len(self.unsettled)} unsettled]>"


class MemoryJournal:
    """A journal that lives and dies with the process: the same promises, but for the one about crashes.

    Plain data is kept, not copied.
    """

    def __init__(
        self, *, wall: Callable[[], float], owner: str | None = None, store: MemoryStore | None = None
    ) -> None:
        self._owner = owner if owner is not None else uuid.uuid4().hex
        self._wall = wall
        self._store = store if store is not None else MemoryStore()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<MemoryJournal [{'closed' if self._loop is None else 'open'} | {self._store!r}]>"

    @property
    def owner(self) -> str:
        """The name under which this instance holds entries."""
        return self._owner

    @property
    def texts(self) -> Path | None:
        """None: what is in memory needs no folder."""
        return None

    async def open(self) -> None:
        """Take note of the loop."""
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """Call back for what was put, and close."""
        if self._loop is not None:
            self._loop = None
            await asyncio.sleep(0)  # callbacks are called in order: those of earlier changes have run after this

    def _opened(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise JournalError("the journal is not open")
        return self._loop

    def put(self, change: Change, then: Then | None = None) -> None:
        """Make the change; `then` is called in the loop's next turn."""
        loop = self._opened()
        error = self._insert(change.entry) if isinstance(change, Insert) else self._update(change)
        if then is not None:
            loop.call_soon(then, error)

    async def write(self, change: Change) -> None:
        """Make the change."""
        self._opened()
        error = self._insert(change.entry) if isinstance(change, Insert) else self._update(change)
        if error is not None:
            raise error

    async def add(self, entry: Entry) -> Entry | None:
        """Record a new job, or give the entry of that id."""
        self._opened()
        found = await self.find(entry.job_id)
        if found is None:
            self._insert(entry)
        return found

    async def find(self, job_id: str) -> Entry | None:
        """Give the entry of that id."""
        self._opened()
        entry = self._store.entries.get(job_id)
        return None if entry is None else self._dated(entry)

    async def claim(self, host: str, limit: int, lease_s: float) -> list[Entry]:
        """Take over unsettled entries of a host that nobody holds, the oldest first."""
        self._opened()
        self._forget_old_leases()
        free = [
            entry
            for entry in map(self._store.entries.__getitem__, self._store.unsettled)
            if entry.host == host and entry.owner not in {self._owner, *self._store.leases}
        ]
        free.sort(key=lambda entry: (entry.created_at, entry.job_id))
        return [self._taken(entry, lease_s) for entry in free[:limit]]

    async def take(self, job_id: str, lease_s: float) -> Entry | None:
        """Take over one entry, if it is free or settled."""
        self._opened()
        self._forget_old_leases()
        entry = self._store.entries.get(job_id)
        if entry is None or not self._may_be_taken(entry):
            return None
        return self._taken(entry, lease_s)

    async def renew(self, job_ids: Iterable[str], lease_s: float) -> frozenset[str]:
        """Prolong the lease, and give the ids that this owner does not hold any more."""
        self._opened()
        self._store.leases[self._owner] = self._wall() + lease_s
        entries = self._store.entries
        return frozenset(job_id for job_id in job_ids if job_id not in entries or entries[job_id].owner != self._owner)

    async def release(self, job_ids: Iterable[str] | None = None) -> None:
        """Let go of these entries, or of all that this owner holds."""
        self._opened()
        if job_ids is None:
            self._store.leases.pop(self._owner, None)
            return
        for job_id in job_ids:
            entry = self._store.entries.get(job_id)
            if entry is not None and entry.owner == self._owner:
                self._keep(attrs.evolve(entry, owner=None, updated_at=self._wall()))

    async def bury(self, has_ended: Callable[[str], bool]) -> None:
        """End the leases of owners that run no more."""
        self._opened()
        for owner in [owner for owner in self._store.leases if owner != self._owner and has_ended(owner)]:
            del self._store.leases[owner]

    async def counts(self) -> Mapping[Status, int]:
        """Count entries by state."""
        self._opened()
        return Counter(entry.state for entry in self._store.entries.values())

    async def entries(self, state: Status | None = None) -> AsyncIterator[Entry]:
        """Give all entries, or those of a state, in the order they were recorded."""
        self._opened()
        for entry in list(self._store.entries.values()):
            if state is None or entry.state is state:
                yield self._dated(entry)

    async def newest(
        self, host: str, limit: int, *, before: int | None = None, state: Status | None = None
    ) -> list[tuple[int, Entry]]:
        """Give entries of a host, or those of a state, the last recorded first, each with its place."""
        self._opened()
        found = (
            (place, self._dated(entry))
            for place, entry in reversed(list(enumerate(self._store.entries.values(), 1)))
            if entry.host == host and (before is None or place < before) and state in {None, entry.state}
        )
        return list(islice(found, limit))

    async def learn(self, key: str, value: object) -> None:
        """Remember a fact, with the date."""
        self._opened()
        self._store.facts[key] = Fact(value, float(self._wall()))

    async def learned(self, key: str) -> Fact | None:
        """Give what was learned under a key."""
        self._opened()
        return self._store.facts.get(key)

    def _insert(self, entry: Entry) -> JournalError | None:
        if entry.job_id in self._store.entries:
            return id_taken(entry.job_id)
        if entry.owner is not None and entry.lease_until is not None:
            leases = self._store.leases
            leases[entry.owner] = max(entry.lease_until, leases.get(entry.owner, entry.lease_until))
        self._keep(attrs.evolve(entry, updated_at=self._wall()))
        return None

    def _update(self, update: Update) -> JournalError | None:
        entry = self._store.entries.get(update.job_id)
        if entry is None or entry.owner != update.owner or entry.epoch != update.epoch:
            return lease_lost(update.job_id)
        fields: dict[str, Any] = {**update.fields}
        self._keep(attrs.evolve(entry, updated_at=self._wall(), **fields))
        return None

    def _taken(self, entry: Entry, lease_s: float) -> Entry:
        now = self._wall()
        self._store.leases[self._owner] = now + lease_s
        taken = attrs.evolve(entry, owner=self._owner, epoch=entry.epoch + 1, updated_at=now)
        self._keep(taken)
        return self._dated(taken)

    def _may_be_taken(self, entry: Entry) -> bool:
        return entry.is_settled or entry.owner == self._owner or entry.owner not in self._store.leases

    def _keep(self, entry: Entry) -> None:
        self._store.entries[entry.job_id] = entry
        if entry.is_settled:
            self._store.unsettled.pop(entry.job_id, None)
        else:
            self._store.unsettled[entry.job_id] = None

    def _dated(self, entry: Entry) -> Entry:
        lease_until = None if entry.owner is None else self._store.leases.get(entry.owner)
        return entry if lease_until == entry.lease_until else attrs.evolve(entry, lease_until=lease_until)

    def _forget_old_leases(self) -> None:
        now = self._wall()
        for owner in [owner for owner, until in self._store.leases.items() if until <= now]:
            del self._store.leases[owner]


def id_taken(job_id: str) -> JournalError:
    """Make the error for a new job whose id is recorded already."""
    return JournalError("a job of that id is recorded already", job_id=job_id)


def lease_lost(job_id: str) -> LeaseLost:
    """Make the error for a change by a session that does not hold the job."""
    return LeaseLost("this session does not hold the job any more; another one may follow it now", job_id=job_id)
