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
from collections.abc import Callable, Iterable, Sequence
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
from .events import Hub, PauseEvent, QueryEvent, SweepEvent
from .hints import GAP_S, Hints
from .models import Observation, Policy, TaskStatus
from .retry import Backoff, Quota
from .sweep import (
    MISSES_BEFORE_SINGLE,
    Ability,
    Ask,
    Batch,
    Form,
    Guess,
    ListPage,
    Pace,
    Planner,
    Query,
    Reach,
    Single,
    Watch,
    next_page,
    pace_for,
    plan,
)
from .transport import Transport
from .wire import Envelope, JsonObject, ids_of

_log = logging.getLogger(__name__)

_SILENT_BEFORE_SKIPPED = 2  # time-outs of an endpoint in one sweep
_FAILURES_BEFORE_TRYING_ONE = 3  # in a row, of one form on one endpoint
_FAILURES_BEFORE_HALTED = 3  # of a sweep in which nothing was answered
_LONGEST_BACKOFF_S = 15.0  # a question costs little, and what ended in an outage waits to be seen
_LEAST_REST_S = 0.25  # between two sweeps
_SHORT_PAGE = 100  # rows


# A row of an answer that is about a task of ours: its index, and what the planner knows it by, if it does.
Seen = tuple[int, Watch | None]


class Listener(Protocol):
    """Who is told what a sweep saw."""

    def rows(self, rows: Sequence[JsonObject], form: Form, request_id: str | None) -> list[Seen]:
        """Take every row of an answer; give those that were about tasks of ours."""
        ...

    def row(self, row: JsonObject, form: Form, asked: Watch | None, request_id: str | None) -> bool:
        """Take one row of an answer; tell whether it was about a task of ours, and about `asked` if that is given."""
        ...

    def absent(self, watch: Watch, form: Form) -> None:
        """Take note that an answer that would surely have held this task did not."""
        ...


@attrs.define
class _Sweep:
    """One sweep under way.

    Attributes:
        demanded: rows that must be asked about now.
        asks: queries not sent yet.
        sent: how many were.
        seen: ids, of both kinds, that were in an answer.
    """

    demanded: Sequence[Watch]
    asks: deque[Ask]
    sent: int = 0
    answered: int = 0
    failed: int = 0
    trouble: KlingError | None = None
    halted: bool = False
    dropped: bool = False
    silent: Counter[str] = attrs.field(factory=Counter)
    seen: set[str] = attrs.field(factory=set)


@attrs.define(kw_only=True)
class Poller:
    """Asks about tasks, at a pace the host bears.

    Attributes:
        quota: what trying again may cost, with what the submitter spends.
        hints: what callbacks told, and is asked about first.
        reach: what this host has shown it can do.
        planner: the rows of all pending tasks.
        counts: queries sent, by form.
        resume_at: loop time before which nothing is asked, seconds.
        sweep_at: loop time of the next sweep over what is pending, seconds.
        look_at: loop time before which unsure jobs are not looked up, seconds.
        last_queries: queries of the last sweep that sent any.
        hub: who listens to the session.
    """

    transport: Transport
    policy: Policy
    rng: random.Random
    clock: Callable[[], float]
    listener: Listener
    quota: Quota = attrs.field(factory=Quota)
    hints: Hints = attrs.field(factory=Hints)
    reach: Reach = attrs.field(init=False)
    planner: Planner = attrs.field(init=False)
    counts: Counter[Form] = attrs.field(factory=Counter)
    resume_at: float = 0.0
    sweep_at: float = math.inf
    look_at: float = 0.0
    last_queries: int = 0
    hub: Hub | None = None
    _silent_since: float | None = None
    _told: bool = False
    _reading: asyncio.Lock = attrs.field(factory=asyncio.Lock, repr=False)
    _pace: Pace = attrs.field(init=False)
    _backoff: Backoff = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reach = Reach(lambda endpoint, form: documented(self.transport.host, endpoint, form))
        self.planner = Planner(policy=self.policy, reach=self.reach, rng=self.rng)
        self._pace = pace_for(self.policy)
        self._backoff = Backoff(self.rng, cap_s=_LONGEST_BACKOFF_S, quota=self.quota)

    def __repr__(self) -> str:
        return f"<Poller [{self.counts.total()} queries | backoff level {self._backoff.level}]>"

    def try_again(self) -> None:
        """Ask at once: what made the host refuse has changed."""
        self._backoff.level = 0
        self.resume_at = self.sweep_at = self.look_at = 0.0

    def follow(self, watch: Watch, kind: str, *, guess: Guess, age_s: float = 0.0) -> None:
        """Ask about a task from now on.

        Args:
            watch: its row.
            kind: name of its class: of tasks that take about as long.
            guess: how long those take, if nothing is known of them.
            age_s: how long ago it was made, seconds.
        """
        self.sweep_at = min(self.sweep_at, self.planner.add(watch, kind, self.clock(), guess=guess, age_s=age_s))

    def leave(self, watch: Watch, news: Observation | None) -> None:
        """Ask about a task no longer; what was last seen of it tells how long it took."""
        ended = news is not None and news.status.is_final
        took_s = None
        if news is not None and news.created_at is not None and news.updated_at is not None:
            took_s = (news.updated_at - news.created_at).total_seconds()
        failed = news is not None and news.status is TaskStatus.FAILED
        self.planner.remove(watch, self.clock(), took_s, ended=ended, failed=failed)
        if not self.planner.rows:
            self.sweep_at = math.inf

    async def sweep(self, demanded: Sequence[Watch], *, told: Sequence[Watch] = (), whole: bool) -> None:
        """Ask about what must be asked about now, and about what is worth it, as much as the pace allows.

        Args:
            demanded: rows that must be asked about now.
            told: rows that somebody says have ended.
            whole: whether what is pending is weighed as well.
        """
        if whole:
            for _ in self.planner.weigh(self.clock()):
                await asyncio.sleep(0)
        now = self.clock()
        tokens = self._tokens(now)
        wanted = plan(demanded, self.reach, self.policy, now, budget=len(demanded))
        asks = [self._ask_of(query, demanded) for query in wanted[:tokens]]
        short = len(asks) < len(wanted)
        hinted = self.planner.told(told, now, singly=self.hints.tried)
        room = max(0, tokens - len(asks))
        for ask in hinted[room:]:
            self.planner.close(ask, now)
            self.hints.put_back((watch.id for watch in ask.told), now + _LEAST_REST_S)
        short |= len(hinted) > room
        asks += hinted[:room]
        if whole:
            worth, scarce = self.planner.plan(now, tokens - len(asks))
            asks += worth
            short |= scarce
        sweep = _Sweep(demanded, deque(asks))
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self.policy.max_queries, len(asks))):
                workers.create_task(self._work(sweep))
        self._note_told(hinted[:room], sweep)
        self._conclude(sweep, short=short, whole=whole)

    def _note_told(self, asks: Iterable[Ask], sweep: _Sweep) -> None:
        """Ask once more about what was told of and not found: on its own at once, if a list should have shown it."""
        now = self.clock()
        for ask in asks:
            moment = now if isinstance(ask.query, ListPage) else now + GAP_S
            for watch in ask.told:
                if self.planner.rows.get(watch.id) is watch and watch.id not in sweep.seen:
                    self.hints.try_again([watch.id], moment)
                else:
                    self.hints.forget(watch.id)

    async def confirm(self, endpoint: str, task_id: str) -> None:
        """Ask about one task that is said to be ours, and hand on what the host tells of it."""
        answer = await self._ask_aside(Single(endpoint, task_id), Form.SINGLE)
        if isinstance(answer, KlingError):
            _log.debug("no answer about task %s: %s", task_id, answer)
        else:
            self._hand_on(answer, Form.SINGLE)

    def _tokens(self, now: float) -> int:
        tokens = self._pace.tokens(now)
        # After trouble one question tries whether it is over; the others follow step by step.
        return (
            tokens if self._backoff.level == 0 else min(tokens, max(1, self.policy.max_queries // self._backoff.level))
        )

    def _ask_of(self, query: Query, demanded: Sequence[Watch]) -> Ask:
        if isinstance(query, ListPage):
            return Ask(query, math.inf)
        ids = {query.id} if isinstance(query, Single) else set(query.ids)
        names = {query.endpoint} if isinstance(query, Single) else query.endpoints
        return Ask(query, math.inf, [watch for watch in demanded if watch.id in ids and watch.endpoint in names])

    async def probe(self, query: Query, form: Form, ids: set[str]) -> bool | None:
        """Ask one question of curiosity: True when one of the ids is in the answer, None when nothing was learned."""
        for id_ in ids & self.planner.rows.keys():
            self.planner.awaits(self.planner.rows[id_], self.clock())
        answer = await self._ask_aside(query, form)
        if isinstance(answer, KlingError):
            return False if _lacks(answer) else None
        if all(ids.isdisjoint(ids_of(row)) for row in answer.rows):
            return False
        for _, watch in self.listener.rows(answer.rows, form, answer.request_id):
            if watch is not None:  # a look at a task as good as any other
                self.planner.seen(watch, self.clock())
        return True

    async def _ask_aside(self, query: Query, form: Form) -> Envelope | KlingError:
        """Ask one question that is part of no sweep."""
        self.counts[form] += 1
        self._pace.spend(1)
        try:
            return await self.transport.ask(query)
        except KlingError as error:
            if isinstance(error, Throttled):
                self._pace.complaint()
                self.resume_at = max(self.resume_at, self.clock() + self._backoff.trouble(error.retry_in_s))
            return error

    def _conclude(self, sweep: _Sweep, *, short: bool, whole: bool) -> None:
        now = self.clock()
        for ask in sweep.asks:
            self.planner.close(ask, now)
        asked_to_wait = isinstance(sweep.trouble, Throttled)
        if sweep.trouble is not None and (asked_to_wait or sweep.failed > sweep.answered):
            wish_s = sweep.trouble.retry_in_s if isinstance(sweep.trouble, ServiceError) else None
            delay_s = self._backoff.trouble(wish_s)
            self.resume_at = now + delay_s
            self._note_silence(sweep.trouble, now, delay_s)
            self._tell_pause(sweep.trouble, delay_s)
        elif sweep.answered:
            if self._silent_since is not None:
                self._tell_pause(None, None)
            self._backoff.success()
            self._silent_since, self._told = None, False
        if asked_to_wait:
            self._pace.complaint()
        elif short and self._backoff.level == 0:
            self._pace.wanted_more(now)
        if sweep.sent:
            self.last_queries = sweep.sent
            if self.hub is not None and self.hub.is_heard:
                figures = {"queries": sweep.sent, "answered": sweep.answered, "failed": sweep.failed}
                self.hub.tell(SweepEvent(at=self.hub.now(), pending=len(self.planner.rows), **figures))
        soon = now + max(self._pace.wait_s(), _LEAST_REST_S)
        if short:
            self.look_at = soon
        if whole:
            # What did not fit follows as soon as there are tokens, the dearest first.
            again = short or bool(sweep.asks) or sweep.dropped
            self.sweep_at = soon if again else max(self.planner.next_moment(now), now + _LEAST_REST_S / 5)
            if not self.planner.rows:
                self.sweep_at = math.inf
        self.sweep_at = max(self.sweep_at, self.resume_at)

    def _tell_pause(self, trouble: KlingError | None, wait_s: float | None) -> None:
        if self.hub is not None and self.hub.is_heard:
            reason = None if trouble is None else str(trouble)
            self.hub.tell(PauseEvent(at=self.hub.now(), what="queries", reason=reason, wait_s=wait_s))

    def _note_silence(self, trouble: KlingError, now: float, delay_s: float) -> None:
        """Say loudly, once, what only somebody outside can mend: a key that is refused, or a host that is gone."""
        self._silent_since = now if self._silent_since is None else self._silent_since
        lasting = isinstance(trouble, AuthError) or now - self._silent_since >= self.policy.unreachable_s
        level = logging.WARNING if lasting and not self._told else logging.INFO
        self._told |= lasting
        _log.log(
            level, "no answer about %d tasks; asking again in %.1f s: %s", len(self.planner.rows), delay_s, trouble
        )

    async def _work(self, sweep: _Sweep) -> None:
        while sweep.asks and not sweep.halted:
            ask = sweep.asks.popleft()
            query = ask.query
            if not isinstance(query, Batch) and sweep.silent[query.endpoint] >= _SILENT_BEFORE_SKIPPED:
                # Left for later: others must not wait for the time-outs of one endpoint.
                self.planner.failed(ask, self.clock())
                skipped = ask.watches or [watch for watch in sweep.demanded if watch.endpoint == query.endpoint]
                for watch in skipped:
                    watch.asked_at = self.clock()
            elif isinstance(query, ListPage):
                await (self._look(ask, sweep) if ask.bands else self._walk(query, sweep))
            else:
                await self._ask(ask, sweep)
            self.planner.close(ask, self.clock())

    async def _ask(self, ask: Ask, sweep: _Sweep) -> None:
        query, asked = ask.query, ask.watches
        assert isinstance(query, Single | Batch)
        form = Form.SINGLE if isinstance(query, Single) else Form.BATCH
        endpoints = (query.endpoint,) if isinstance(query, Single) else sorted(query.endpoints)
        self._note_asked(asked)
        envelope = await self._send(query, form, endpoints, asked, sweep)
        if envelope is None:
            self.planner.failed(ask, self.clock())
            await self._try_one(form, asked, sweep)
            return
        self.planner.answered(ask)
        if isinstance(query, Single):
            # A gateway's lone object answers what was asked, whatever it calls itself; else only a row that says so.
            picky = envelope.many or self.transport.host.family == "official"
            rows = [row for row in envelope.rows if query.id in ids_of(row)] if picky else envelope.rows
            mine = bool(asked) and any(self.listener.row(row, form, asked[0], envelope.request_id) for row in rows)
            seen = {query.id} if mine else set()
        else:
            seen = self._hand_on(envelope, form)
        sweep.seen |= seen
        for watch in asked:
            if watch.id in seen:
                self.planner.seen(watch, self.clock())
            else:
                self.planner.absent(watch, self.clock())
        for endpoint in endpoints:
            group = [watch for watch in asked if watch.endpoint == endpoint]
            found = sum(watch.id in seen for watch in group)
            self.reach.answered(endpoint, form, found=found, now=self.clock())
            empty = envelope.many and not envelope.rows and not envelope.is_null
            answers = empty and (not query.external or find_endpoint(endpoint).standard != "legacy")
            self._close_watches(group, seen, form, definitive=answers)

    async def _look(self, ask: Ask, sweep: _Sweep) -> None:
        """Read the one page of a list on which tasks of a certain age are expected."""
        self.planner.aim(ask, self.clock())
        page = ask.query
        assert isinstance(page, ListPage)
        asked = [watch for band in ask.bands for watch in band.rows.values()]
        envelope = await self._send(page, Form.LIST, (page.endpoint,), asked, sweep)
        if envelope is None:
            self.planner.failed(ask, self.clock())
            await self._try_one(Form.LIST, asked, sweep)
            return
        if not envelope.many:
            self.reach.refused(page.endpoint, Form.LIST, self.clock())
            sweep.dropped = True
            return
        self.planner.answered(ask)
        async with self._reading:  # pages that come together are read one a turn: six at once would hold the loop up
            self._read(ask, page, asked, envelope, sweep)
            if len(envelope.rows) > _SHORT_PAGE:
                await asyncio.sleep(0)

    def _read(self, ask: Ask, page: ListPage, asked: Sequence[Watch], envelope: Envelope, sweep: _Sweep) -> None:
        seen = self.listener.rows(envelope.rows, Form.LIST, envelope.request_id)
        found = [(index, watch) for index, watch in seen if watch is not None and watch.endpoint == page.endpoint]
        now = self.clock()
        for watch in self.planner.page_seen(ask, found, now):
            watch.misses += 1
            self.planner.demote(watch, now)
        for watch in [watch for _, watch in found if watch.misses]:
            self.planner.forgive(watch)
        if found or any(watch.misses for watch in asked):
            self.reach.answered(page.endpoint, Form.LIST, found=len(found), now=now)
            sweep.dropped |= self.reach.usable(page.endpoint, Form.LIST, now) is False

    async def _walk(self, first: ListPage, sweep: _Sweep) -> None:
        """Read a list until everything wanted was seen, it ends, or single queries are cheaper."""
        asked = [
            watch
            for watch in sweep.demanded
            if watch.endpoint == first.endpoint
            and watch.misses < MISSES_BEFORE_SINGLE
            and (first.external_ids if watch.external else first.task_ids)
        ]
        seen: set[str] = set()
        found = 0
        page: ListPage | None = first
        position, rows = 0, first.size
        while page is not None and not sweep.halted:
            self._note_asked(asked)
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

    def _note_asked(self, asked: Iterable[Watch]) -> None:
        now = self.clock()
        for watch in asked:
            watch.asked_at = now

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
        await self._ask(Ask(Single(endpoint, asked[0].id, asked[0].external), 0.0, [asked[0]]), sweep)
        if sweep.answered > answered:
            _log.warning("%s queries on %s keep failing: asking singly for a while", form, endpoint)
            self.reach.rests(endpoint, form, self.clock())
            sweep.dropped = True

    def _hand_on(self, envelope: Envelope, form: Form) -> set[str]:
        """Give every row to the listener; return the ids, of both kinds, that were in it."""
        rows = envelope.rows
        ours = self.listener.rows(rows, form, envelope.request_id)
        return {id_ for index, _ in ours for id_ in ids_of(rows[index]) if id_ is not None}

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
        self.counts[form] += 1
        sweep.sent += 1
        self._pace.spend(1)
        _log.debug("%s query about %d tasks", form, len(asked))
        try:
            envelope = await self.transport.ask(query)
        except KlingError as error:
            _log.debug("%s query failed: %s", form, error)
            self._tell_query(form, endpoints, asked, now, error)
            self._note_failure(error, form, endpoints, asked, sweep)
            return None
        self._tell_query(form, endpoints, asked, now, None)
        sweep.answered += 1
        for endpoint in endpoints:
            self.reach.of(endpoint, form).failures = 0
        return envelope

    def _tell_query(
        self, form: Form, endpoints: Sequence[str], asked: Sequence[Watch], began: float, error: KlingError | None
    ) -> None:
        if self.hub is not None and self.hub.is_heard:
            self.hub.tell(
                QueryEvent(
                    at=self.hub.now(),
                    form=str(form),
                    endpoints=tuple(endpoints),
                    tasks=len(asked),
                    duration_s=self.clock() - began,
                    error=None if error is None else type(error).__name__,
                )
            )

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
            # "Too many requests" says nothing against this form of them.
            self.reach.of(endpoint, form).failures += not isinstance(error, Throttled)
            sweep.silent[endpoint] += isinstance(error, AnswerTimeout)
        silent = sweep.answered == 0 and sweep.failed >= _FAILURES_BEFORE_HALTED
        if silent or isinstance(error, Throttled | ConnectFailed):
            sweep.halted = True  # more of the same would only be more of the same

    def _drop_batches(self, sweep: _Sweep) -> None:
        """Take out batches that would only be refused as well; their tasks are planned anew at once."""
        sweep.dropped = True
        kept: deque[Ask] = deque()
        for ask in sweep.asks:
            if isinstance(ask.query, Batch) and all(
                self.reach.of(name, Form.BATCH).works is False for name in ask.query.endpoints
            ):
                self.planner.close(ask, self.clock())
            else:
                kept.append(ask)
        sweep.asks = kept


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
