"""A journal that was lost, made again from the account's own lists.

Stage: front. Before: session. After: recorder, for what is written; questions, for the pages.

Theory. Every task carries its job's id as external id, and the service lists its tasks for about a month. So a journal
can be written again without a guess: a job that is not in it is added, one that is in it and has no task yet is given
the one that was found, and nothing else is touched. It can be done twice, in the middle of other work, or broken off.

What cannot come back: the request and its fingerprint (an entry without one is the same job as any request submitted
under its id), jobs that were never sent, and tasks whose endpoint has no external ids or no list.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from datetime import datetime
from enum import StrEnum

import attrs

from . import endpoints
from .dialects import Host
from .endpoints import Endpoint, find_endpoint
from .endpoints.rules import ID_PATTERN
from .errors import (
    AuthError,
    BadEnvelope,
    ConfigError,
    ConnectFailed,
    JournalError,
    KlingError,
    ServerFault,
    ServiceError,
    Throttled,
    TransportError,
)
from .journal import Entry
from .lifecycle import outcome_of
from .models import Outcome, Status
from .questions import Ask
from .recorder import Record, plain_outcome
from .retry import Backoff
from .sweep import CursorPage, ListPage, Single
from .wire import Envelope, JsonObject, decode_task

_log = logging.getLogger(__name__)

PAGE_SIZE = 500  # the largest page; source: service reference, "Query Task (List)" and "Query Task (Cursor List)"
# The list of the whole account does not tell which model made a task; any will do to ask about it by its id.
_SOME_OPERATION = "text-to-video/unknown"
_SOME_SOLUTION = "solutions/unknown"
_TRIES = 6

Pages = Callable[[Endpoint, Ask], AsyncIterator[Envelope]]


class Finding(StrEnum):
    """What a listed task means to the journal."""

    ADDED = "added"
    """Its job was not in the journal, and is now."""
    MENDED = "mended"
    """Its job was in the journal without a task, and has it now."""
    KNOWN = "known"
    """It is in the journal as it is."""
    HELD = "held"
    """Its job has no task in the journal, and a session that runs is about to find that out by itself."""
    UNRESOLVED = "unresolved"
    """Its job was given up before its task was found; the journal keeps that end, and this tells the task."""
    OTHER = "other"
    """A job of that id in the journal is of another host; one journal holds an id once."""
    SECOND = "second"
    """Its job has another task already: it was made, and perhaps paid for, twice."""


@attrs.frozen(kw_only=True)
class Found:
    """One task of ours in a list of the account.

    Attributes:
        job_id: its external id, which is its job's id.
        task_id: the host's id of it.
        endpoint: what made it; "text-to-video/unknown" where the list does not tell.
        state: where its job stands now.
        created_at: when it was made, wall seconds.
        finding: what it means to the journal.
    """

    job_id: str
    task_id: str
    endpoint: str
    state: Status
    created_at: float
    finding: Finding


@attrs.define(kw_only=True)
class Recovery:
    """What came of it.

    Attributes:
        rows: tasks seen in all lists, those of others included.
        added: jobs written into the journal.
        mended: jobs in the journal that were given their task.
        known: tasks that the journal had already.
        told: tasks that somebody should look at: held, unresolved, other, second.
        lists: lists that were read to their end.
        refused: lists that the host does not have, or refused: name → why.
        broken: lists that could not be read to their end: name → why. What was found until then is written.
    """

    rows: int = 0
    added: int = 0
    mended: int = 0
    known: int = 0
    told: list[Found] = attrs.field(factory=list)
    lists: list[str] = attrs.field(factory=list)
    refused: dict[str, str] = attrs.field(factory=dict)
    broken: dict[str, str] = attrs.field(factory=dict)

    def count(self, found: Found) -> None:
        """Count one task."""
        if found.finding is Finding.ADDED:
            self.added += 1
        elif found.finding is Finding.MENDED:
            self.mended += 1
        elif found.finding is Finding.KNOWN:
            self.known += 1
        else:
            self.told.append(found)


class Rebuild:
    """One pass over the lists of an account.

    Args:
        record: the journal; None for a dry run without one.
        host: whose lists they are.
        ask: sends one question.
        pages: gives the pages of the list that holds the tasks of an endpoint.
        now: wall seconds.
        rng: source of the jitter between tries.
        since: leave out what was made before, wall seconds.
        prefixes: beginnings of external ids that are ours; an empty one takes all.
        dry_run: write nothing.
        on_found: called for each task of ours, as it was dealt with.
    """

    def __init__(
        self,
        record: Record | None,
        host: Host,
        *,
        ask: Ask,
        pages: Pages,
        now: float,
        rng: random.Random,
        since: datetime | None,
        prefixes: Collection[str],
        dry_run: bool,
        on_found: Callable[[Found], None] | None,
    ) -> None:
        if record is None and not dry_run:
            raise ConfigError("recover() needs a journal: KlingSession(journal=...), or dry_run=True")
        if isinstance(prefixes, str):
            raise ConfigError(f"prefixes={prefixes!r} must be a list of texts: [{prefixes!r}]")
        self._record = record
        self._host = host
        self._ask = ask
        self._pages = pages
        self._now = now
        self._backoff = Backoff(rng)
        self._since = 0.0 if since is None else since.timestamp()
        self._prefixes = tuple(prefixes)
        self._dry_run = dry_run
        self._on_found = on_found
        self._has_answered = False  # the list under way, at least once
        self._seen: set[str] = set()
        self._planned: dict[str, Entry] = {}
        self.recovery: Recovery = Recovery()

    async def run(self) -> Recovery:
        """Read every list, and write what is missing.

        Raises:
            ConfigError: the host is known to have no lists.
            AuthError: it refused the credentials.
            ConnectFailed: it cannot be reached.
            JournalError: the journal could not be read or written.
        """
        rows = list(_listed(self._host))
        if not rows:
            raise ConfigError(f"{self._host.name} has no lists of tasks: a journal cannot be made again from it")
        for name, row in rows:
            self._has_answered = False
            try:
                async for envelope in self._pages(row, self._patiently):
                    await self._take_page(envelope, row)
            except (AuthError, ConnectFailed, JournalError):
                raise
            except KlingError as error:
                kind = self.recovery.broken if self._is_passing(error) else self.recovery.refused
                kind[name] = str(error)
                _log.info("the list of %s cannot be read: %s", name, error)
            else:
                self.recovery.lists.append(name)
        return self.recovery

    async def _patiently(self, query: Single | ListPage | CursorPage) -> Envelope:
        """Ask, and again after passing trouble: a page that is missed is a job that is missed."""
        left = _TRIES
        while True:
            left -= 1
            try:
                envelope = await self._ask(query)
            except (ServiceError, TransportError) as error:
                if not left or not self._is_passing(error):
                    raise
                await asyncio.sleep(self._backoff.trouble(error.retry_in_s if isinstance(error, Throttled) else None))
            else:
                self._backoff.success()
                self._has_answered = True
                return envelope

    def _is_passing(self, error: KlingError) -> bool:
        """Tell trouble that may be over soon from a host's way to say that it lacks a list."""
        if isinstance(error, BadEnvelope):  # a page of HTML
            status = error.http_status or 200
            return self._has_answered or status >= 500 or status in {408, 429}
        return isinstance(error, Throttled | ServerFault | TransportError)

    # --- one page --------------------------------------------------------------------------------------------------

    async def _take_page(self, envelope: Envelope, row: Endpoint) -> None:
        """Deal with all tasks of a page; they are added together, so that they share a commit."""
        self.recovery.rows += len(envelope.rows)
        entries = [entry for line in envelope.rows if (entry := self._entry_of(line, row)) is not None]
        there = await asyncio.gather(*map(self._add, entries))
        for entry, found in zip(entries, there, strict=True):
            finding = Finding.ADDED if found is None else await self._compare(found, entry)
            self._tell(entry, found, finding)

    def _entry_of(self, line: JsonObject, row: Endpoint) -> Entry | None:
        """Make the entry of a listed task, if it is one of ours that was not dealt with yet."""
        try:
            news = decode_task(line, row.yields, retention_s=self._host.retention_s)
        except BadEnvelope as error:  # one that cannot be read must not hide the others
            _log.warning("a row of the list of %s cannot be read: %s", row.name, error)
            return None
        job_id, task_id = news.external_id, news.task_id
        made_at = self._now if news.created_at is None else news.created_at.timestamp()
        if job_id is None or task_id is None or not ID_PATTERN.match(job_id) or not job_id.startswith(self._prefixes):
            return None
        # Pages shift while tasks are made, and two lists may tell one task: it is dealt with once.
        if task_id in self._seen or made_at < self._since:
            return None
        self._seen.add(task_id)
        outcome = outcome_of(news, row.name, 0)
        return Entry(
            job_id=job_id,
            endpoint=row.name,
            host=self._host.name,
            created_at=made_at,
            state=_state_of(outcome),
            attempt=1,
            sent_at=made_at,
            task_id=task_id,
            outcome=None if outcome is None else plain_outcome(outcome),
        )

    async def _add(self, entry: Entry) -> Entry | None:
        """Add a job; give what is there where its id is recorded already."""
        if not self._dry_run:
            assert self._record is not None
            return await self._record.journal.add(entry)
        found = None if self._record is None else await self._record.journal.find(entry.job_id)
        planned = self._planned.setdefault(entry.job_id, entry)
        return found or (None if planned is entry else planned)

    async def _compare(self, there: Entry, found: Entry) -> Finding:
        """Tell what a task means to a job of the journal; if that has none, give it."""
        if there.task_id is not None:
            return Finding.KNOWN if there.task_id == found.task_id else Finding.SECOND
        if there.host != found.host:
            return Finding.OTHER
        if there.state.is_final:
            return Finding.UNRESOLVED
        if self._dry_run:
            return Finding.HELD if (there.lease_until or 0.0) > self._now else Finding.MENDED
        assert self._record is not None
        record = self._record
        if there.job_id in record.held:  # at work here, and about to find that out by itself
            return Finding.HELD
        taken = await record.take(there.job_id)
        if taken is None:
            return Finding.HELD
        try:
            if taken.task_id is not None or taken.state.is_final:  # a second task on one page, or somebody was faster
                return await self._compare(taken, found)
            fields: dict[str, object] = {"state": found.state, "task_id": found.task_id}
            fields |= {"attempt": max(1, taken.attempt), "outcome": found.outcome}
            await record.journal.write(taken.change(**fields))
        finally:
            record.held.pop(there.job_id, None)
            await record.journal.release([there.job_id])
        return Finding.MENDED

    def _tell(self, entry: Entry, there: Entry | None, finding: Finding) -> None:
        assert entry.task_id is not None
        shown = entry if there is None else there
        found = Found(
            job_id=entry.job_id,
            task_id=entry.task_id,
            endpoint=shown.endpoint,
            state=entry.state if finding is Finding.MENDED else shown.state,
            created_at=entry.created_at,
            finding=finding,
        )
        self.recovery.count(found)
        if self._on_found is not None:
            self._on_found(found)


def _listed(host: Host) -> Iterator[tuple[str, Endpoint]]:
    """Give the lists a host may have, each with the row that stands for it; those that tell the endpoint first."""
    if "list" not in host.lacks:
        for row in endpoints.ENDPOINTS:  # imports every file of them, which only a recovery needs
            if row.standard == "legacy" and row.kind == "task" and row.has_list:
                yield row.name, row
    if "new" not in host.lacks and "batch" not in host.lacks:
        yield "POST /tasks", find_endpoint(_SOME_OPERATION)
    if "solutions" not in host.lacks:
        yield "POST /solutions", find_endpoint(_SOME_SOLUTION)


def _state_of(outcome: Outcome | None) -> Status:
    return Status.ACCEPTED if outcome is None else outcome.status
