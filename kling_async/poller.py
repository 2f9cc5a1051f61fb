"""The asking side: runs a planned sweep, learns what the host can do, and hands every row of every answer on.

Stage: loop. Before: sweep (which queries). After: scheduler (what a row means for its job).

Expected trouble (network, 5xx, 429, HTML) never reaches a task: the poller as a whole slows down, and asks again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import attrs

from .dialects import Host
from .endpoints import find_endpoint
from .errors import (
    AccountError,
    AnswerTimeout,
    AuthError,
    BadEnvelope,
    ConnectFailed,
    KlingError,
    ServerFault,
    ServiceError,
    Throttled,
    is_missing,
    is_surely_missing,
)
from .models import Policy
from .retry import Backoff
from .sweep import (
    MISSES_BEFORE_SINGLE,
    Ability,
    Batch,
    Endings,
    Form,
    ListPage,
    Load,
    Pace,
    Query,
    Reach,
    Single,
    Watch,
    next_page,
    next_sweep_s,
    pace_for,
    plan,
)
from .transport import Transport
from .wire import Envelope, JsonObject, ids_of

_log = logging.getLogger(__name__)

_SILENT_BEFORE_SKIPPED = 2  # time-outs of an endpoint in one sweep
_FAILURES_BEFORE_TRYING_ONE = 3  # in a row, of one form on one endpoint


class Listener(Protocol):
    """Who is told what a sweep saw."""

    def row(self, row: JsonObject, form: Form, asked: Watch | None, request_id: str | None) -> bool:
        """Take one row of an answer; tell whether it was about a task of ours, and about `asked` if that is given."""
        ...

    def absent(self, watch: Watch, form: Form) -> None:
        """Take note that an answer that would surely have held this task did not."""
        ...


@attrs.define
class _Sweep:
    """One sweep under way."""

    watches: Mapping[tuple[str, str], Watch]
    queries: deque[Query]
    answered: int = 0
    failed: int = 0
    trouble: KlingError | None = None
    halted: bool = False
    dropped: bool = False
    silent: Counter[str] = attrs.field(factory=Counter)


@attrs.define(kw_only=True)
class Poller:
    """Asks about tasks, at a pace the host bears.

    Attributes:
        reach: what this host has shown it can do.
        counts: queries sent, by form.
        resume_at: loop time before which nothing is asked, seconds.
        sweep_at: loop time of the next sweep over everything that is pending, seconds.
        look_at: loop time before which unsure jobs are not looked up, seconds.
        pending: tasks being followed; the scheduler keeps it.
        youngest_at: loop time at which the last of them was accepted, seconds; the scheduler keeps it.
        endings: how many tasks end per second; the scheduler notes them.
        last_queries: queries of the last sweep over everything that is pending.
    """

    transport: Transport
    policy: Policy
    rng: random.Random
    clock: Callable[[], float]
    listener: Listener
    reach: Reach = attrs.field(init=False)
    counts: Counter[Form] = attrs.field(factory=Counter)
    resume_at: float = 0.0
    sweep_at: float = 0.0
    look_at: float = 0.0
    pending: int = 0
    youngest_at: float = 0.0
    endings: Endings = attrs.field(factory=Endings)
    last_queries: int = 0
    _sweeps: int = 0
    _round_at: float | None = None
    _round_began: int = 0
    _pace: Pace = attrs.field(init=False)
    _backoff: Backoff = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reach = Reach(lambda endpoint, form: documented(self.transport.host, endpoint, form))
        self._pace = pace_for(self.policy)
        self._backoff = Backoff(self.rng)

    def __repr__(self) -> str:
        return f"<Poller [{self.counts.total()} queries | backoff level {self._backoff.level}]>"

    def try_again(self) -> None:
        """Ask at once: what made the host refuse has changed."""
        self._backoff.level = 0
        self.resume_at = self.sweep_at = self.look_at = 0.0

    def first_pending(self, now: float) -> None:
        """Note that something is pending after nothing was: the first sweeps come fast."""
        self._sweeps = 0
        self._round_at = None
        self._schedule(now)

    def begin_round(self, now: float) -> float:
        """Give the moment before which a row must have been asked about to be due.

        A round asks about every row once; when the pace does not allow it in one sweep, it takes several.
        """
        if self._round_at is None:
            self._round_at = now
            self._round_began = self.counts.total()
        return self._round_at

    def _schedule(self, now: float) -> None:
        self.endings.note(0, now)
        load = Load(
            sweeps=self._sweeps,
            pending=self.pending,
            queries=self.last_queries,
            youngest_s=now - self.youngest_at,
            endings_per_s=self.endings.per_s(),
        )
        self.sweep_at = max(now + next_sweep_s(load, self.policy, self.rng), self.resume_at)

    async def sweep(self, watches: Sequence[Watch], *, whole: bool) -> None:
        """Ask about the given rows, as many as the pace allows.

        Args:
            watches: rows that are due.
            whole: everything that is pending is among them, so the next sweep is counted from here.
        """
        now = self.clock()
        wanted = plan(watches, self.reach, self.policy, now, budget=len(watches))
        tokens = self._pace.tokens(now)
        queries = wanted[:tokens]
        sweep = _Sweep({(watch.endpoint, watch.id): watch for watch in watches}, deque(queries))
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self.policy.max_queries, len(queries))):
                workers.create_task(self._work(sweep))
        self._conclude(sweep, short=len(queries) < len(wanted), whole=whole)

    async def probe(self, query: Query, form: Form, ids: set[str]) -> bool | None:
        """Ask one question of curiosity: True when one of the ids is in the answer, None when nothing was learned."""
        self.counts[form] += 1
        self._pace.spend(1)
        try:
            envelope = await self.transport.ask(query)
        except KlingError as error:
            return False if _lacks(error) else None
        return any(not ids.isdisjoint(ids_of(row)) for row in envelope.rows)

    def _conclude(self, sweep: _Sweep, *, short: bool, whole: bool) -> None:
        now = self.clock()
        asked_to_wait = isinstance(sweep.trouble, Throttled)
        if sweep.trouble is not None and (asked_to_wait or sweep.failed > sweep.answered):
            wish_s = sweep.trouble.retry_in_s if isinstance(sweep.trouble, ServiceError) else None
            delay_s = self._backoff.trouble(wish_s)
            self.resume_at = now + delay_s
            _log.info("asking again in %.1f s: %s", delay_s, sweep.trouble)
        elif sweep.answered:
            self._backoff.success()
        if asked_to_wait:
            self._pace.complaint()
        elif short:
            self._pace.wanted_more(now)
        if short:
            self.look_at = now + max(self._pace.wait_s(), 0.25)
        if not whole:
            self.sweep_at = max(self.sweep_at, self.resume_at)
        elif short or sweep.queries or sweep.dropped:
            # The rest of the round follows as soon as there are tokens, the longest unasked first.
            self.sweep_at = max(now + max(self._pace.wait_s(), 0.25), self.resume_at)
        else:
            self._round_at = None
            self.last_queries = self.counts.total() - self._round_began
            self._sweeps += 1
            self._schedule(now)

    async def _work(self, sweep: _Sweep) -> None:
        while sweep.queries and not sweep.halted:
            query = sweep.queries.popleft()
            if not isinstance(query, Batch) and sweep.silent[query.endpoint] >= _SILENT_BEFORE_SKIPPED:
                self._skip(query, sweep)
            elif isinstance(query, ListPage):
                await self._walk(query, sweep)
            else:
                await self._ask(query, sweep)

    def _skip(self, query: Single | ListPage, sweep: _Sweep) -> None:
        """Leave an endpoint that does not answer for the next round: others must not wait for its time-outs."""
        for watch in sweep.watches.values():
            if watch.endpoint == query.endpoint and (isinstance(query, ListPage) or watch.id == query.id):
                watch.asked_at = self.clock()

    async def _ask(self, query: Single | Batch, sweep: _Sweep) -> None:
        ids = (query.id,) if isinstance(query, Single) else query.ids
        form = Form.SINGLE if isinstance(query, Single) else Form.BATCH
        endpoints = (query.endpoint,) if isinstance(query, Single) else sorted(query.endpoints)
        asked = [sweep.watches[name, id_] for name in endpoints for id_ in ids if (name, id_) in sweep.watches]
        envelope = await self._send(query, form, endpoints, asked, sweep)
        if envelope is None:
            await self._try_one(form, asked, sweep)
            return
        if isinstance(query, Single):
            # A gateway's lone object answers what was asked, whatever it calls itself; else only a row that says so.
            picky = envelope.many or self.transport.host.family == "official"
            rows = [row for row in envelope.rows if query.id in ids_of(row)] if picky else envelope.rows
            mine = bool(asked) and any(self.listener.row(row, form, asked[0], envelope.request_id) for row in rows)
            seen = {query.id} if mine else set()
        else:
            seen = self._hand_on(envelope, form)
        for endpoint in endpoints:
            group = [watch for watch in asked if watch.endpoint == endpoint]
            found = sum(watch.id in seen for watch in group)
            self.reach.answered(endpoint, form, found=found, now=self.clock())
            empty = envelope.many and not envelope.rows and not envelope.is_null
            answers = empty and (not query.external or find_endpoint(endpoint).standard != "legacy")
            self._close_watches(group, seen, form, definitive=answers)

    async def _walk(self, first: ListPage, sweep: _Sweep) -> None:
        """Read a list until everything wanted was seen, it ends, or single queries are cheaper."""
        asked = [
            watch
            for watch in sweep.watches.values()
            if watch.endpoint == first.endpoint
            and watch.misses < MISSES_BEFORE_SINGLE
            and (first.external_ids if watch.external else first.task_ids)
        ]
        seen: set[str] = set()
        found = 0
        page: ListPage | None = first
        position, rows = 0, first.size
        while page is not None and not sweep.halted:
            envelope = await self._send(page, Form.LIST, (page.endpoint,), asked, sweep)
            if envelope is None:
                await self._try_one(Form.LIST, asked, sweep)
                return
            if not envelope.many:
                self.reach.refused(page.endpoint, Form.LIST, self.clock())
                return
            rows = len(envelope.rows)
            seen |= self._hand_on(envelope, Form.LIST)
            found = sum(watch.id in seen for watch in asked)
            position = (page.index - 1) * page.size + rows
            page = next_page(page, rows, len(asked) - found)
        self.reach.answered(first.endpoint, Form.LIST, found=found, now=self.clock())
        self.reach.walked(first.endpoint, position)
        # Never definitive: a short page may be a host's own bound on its size, and not the end of its list.
        self._close_watches(asked, seen, Form.LIST, definitive=False)

    async def _try_one(self, form: Form, asked: Sequence[Watch], sweep: _Sweep) -> None:
        """Find out whether a form that keeps failing is broken, or the whole host: ask singly for one of its tasks.

        If that is answered the form rests for a while, and its tasks are asked about singly meanwhile.
        """
        if form is Form.SINGLE or not asked:
            return
        endpoint = asked[0].endpoint
        if self.reach.of(endpoint, form).failures < _FAILURES_BEFORE_TRYING_ONE:
            return
        answered = sweep.answered
        await self._ask(Single(endpoint, asked[0].id, asked[0].external), sweep)
        if sweep.answered > answered:
            _log.warning("%s queries on %s keep failing: asking singly for a while", form, endpoint)
            self.reach.rests(endpoint, form, self.clock())
            for watch in asked:
                watch.asked_at = -1.0  # due at once
            sweep.dropped = True

    def _hand_on(self, envelope: Envelope, form: Form) -> set[str]:
        """Give every row to the listener; return the ids, of both kinds, that were in it."""
        seen: set[str] = set()
        for row in envelope.rows:
            if self.listener.row(row, form, None, envelope.request_id):
                seen.update(id_ for id_ in ids_of(row) if id_ is not None)
        return seen

    def _close_watches(self, asked: Iterable[Watch], seen: set[str], form: Form, *, definitive: bool) -> None:
        for watch in asked:
            if watch.id in seen:
                if form is not Form.SINGLE:
                    watch.misses = 0
                continue
            watch.misses += 1
            if definitive:
                self.listener.absent(watch, form)

    async def _send(
        self, query: Query, form: Form, endpoints: Sequence[str], asked: Sequence[Watch], sweep: _Sweep
    ) -> Envelope | None:
        """Send one query; None when it was no use, and then everything about that is already noted."""
        now = self.clock()
        for watch in asked:
            watch.asked_at = now
        self.counts[form] += 1
        self._pace.spend(1)
        _log.debug("%s query about %d tasks", form, len(asked))
        try:
            envelope = await self.transport.ask(query)
        except KlingError as error:
            _log.debug("%s query failed: %s", form, error)
            self._note_failure(error, form, endpoints, asked, sweep)
            return None
        sweep.answered += 1
        for endpoint in endpoints:
            self.reach.of(endpoint, form).failures = 0
        return envelope

    def _note_failure(
        self, error: KlingError, form: Form, endpoints: Sequence[str], asked: Sequence[Watch], sweep: _Sweep
    ) -> None:
        if form is Form.SINGLE and isinstance(error, ServiceError) and is_missing(error):
            sweep.answered += 1
            # Where a second payment hangs on it, a page that is missing is not a task that is missing.
            surely = is_surely_missing(error)
            self._close_watches(asked, set(), form, definitive=surely or not any(watch.external for watch in asked))
            return
        if form is not Form.SINGLE and _lacks(error):
            untried = [name for name in endpoints if self.reach.of(name, form).works is not True]
            for name in untried:
                _log.info("this host has no %s queries on %s: %s", form, name, error)
                self.reach.refused(name, form, self.clock())
            if untried:
                sweep.answered += 1
                self._drop_batches(sweep)
                return
            if form is Form.BATCH:
                for watch in asked:  # one bad id must not fail the others: they are asked about singly
                    watch.misses = max(watch.misses, MISSES_BEFORE_SINGLE)
        if isinstance(error, BadEnvelope) and form is Form.BATCH:
            for watch in asked:
                watch.misses += 1
        sweep.failed += 1
        sweep.trouble = sweep.trouble if isinstance(sweep.trouble, Throttled) else error
        for endpoint in endpoints:
            self.reach.of(endpoint, form).failures += 1
            sweep.silent[endpoint] += isinstance(error, AnswerTimeout)
        if isinstance(error, Throttled | ConnectFailed):
            sweep.halted = True  # more of the same would only be more of the same

    def _drop_batches(self, sweep: _Sweep) -> None:
        """Take out batches that would only be refused as well; their tasks are planned anew at once."""
        kept = [
            query
            for query in sweep.queries
            if not isinstance(query, Batch)
            or any(self.reach.of(name, Form.BATCH).works is not False for name in query.endpoints)
        ]
        sweep.dropped |= len(kept) < len(sweep.queries)
        sweep.queries = deque(kept)


def documented(host: Host, endpoint: str, form: Form) -> Ability:
    """Give what is known of a form of query before it was ever used; the rest is learned."""
    row = find_endpoint(endpoint)
    if form is Form.SINGLE:
        blind = "external" in host.lacks or row.kind == "finished" or not row.by_external_id
        return Ability(finds_external=False if blind else None)
    if form is Form.LIST:
        missing = row.standard != "legacy" or not row.has_list or "list" in host.lacks
    else:
        missing = "batch" in host.lacks
    if missing:
        return Ability(works=False, since=math.inf, finds_external=False)
    own = form is Form.BATCH and row.standard != "legacy" and host.family == "official"
    return Ability(works=True if own else None)


def _lacks(error: KlingError) -> bool:
    """Tell whether a refusal means that the host does not have this form of query, rather than passing trouble."""
    if isinstance(error, BadEnvelope):
        return error.http_status is not None and 300 <= error.http_status < 500 and error.http_status not in {408, 429}
    return isinstance(error, ServiceError) and not isinstance(error, Throttled | ServerFault | AuthError | AccountError)
