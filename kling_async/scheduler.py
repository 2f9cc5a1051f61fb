"""The one background loop: lets jobs go when there are slots, has tasks asked about, and settles what has ended.

Stage: loop. Before: session (new jobs) and poller (rows). After: job (waiters).

Every change of a job's state happens in a plain `def` of this class, on its loop, between two awaits; so there are no
locks. What may happen is decided by lifecycle, slots and sweep, which are pure. One asyncio task runs the loop, one
each submission in flight, one the sweep under way; a pending task costs a row, and no asyncio task or timer of ours.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from typing import Any

import attrs

from .endpoints import Body, body_of, encode_files, has_files
from .errors import (
    BadEnvelope,
    DeadlineExceeded,
    InvalidRequest,
    JobAbandoned,
    KlingError,
    SessionClosed,
    SlotsFull,
    SubmissionUnknown,
    TaskVanished,
)
from .job import Job
from .lifecycle import (
    Accepted,
    GiveUp,
    Later,
    NotSent,
    Refused,
    Resend,
    Search,
    Unsure,
    Verdict,
    is_gone,
    is_stale,
    judge_search,
    judge_submission,
    may_follow,
    next_look,
    outcome_of,
    paid_so_far,
    status_of_news,
)
from .models import Failed, Observation, Outcome, Policy, Status, Succeeded, TaskStatus
from .poller import Poller
from .retry import Backoff
from .slots import Gate
from .sweep import Batch, Form, Query, Single, Watch
from .transport import Transport
from .wire import JsonObject, decode_task, ids_of

_log = logging.getLogger(__name__)

_PROOF_DELAYS_S = (2.0, 4.0, 16.0, 60.0)  # a new task may be visible late; after these a host cannot find by our id


@attrs.define(eq=False)
class _Track:
    """One open job, as the loop sees it."""

    job: Job
    order: int
    gate: tuple[str, str]
    slots: int
    callback_url: str | None
    deadline: float | None
    holds_slot: bool = False
    accepted_at: float = 0.0
    empty_answers: int = 0
    first_miss_at: float | None = None
    gone_misses: int = 0
    watch: Watch | None = None
    search: Search | None = None


@attrs.define
class _Proof:
    """Whether a host finds tasks by external id, tried on one task that surely exists."""

    job_id: str
    task_id: str
    due_at: float
    tries: int = 0


class Scheduler:
    """Owner of every open job's state."""

    def __init__(
        self,
        transport: Transport,
        *,
        policy: Policy,
        clock: Callable[[], float],
        rng: random.Random,
        max_running: int | None = None,
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._max_running = max_running
        self.poller = Poller(transport=transport, policy=policy, rng=rng, clock=clock, listener=self)
        self.gates: dict[tuple[str, str], Gate] = {}
        self.counts: Counter[Status] = Counter()
        self.submissions = 0
        self._waiting: dict[tuple[str, str], list[tuple[int, _Track]]] = {}
        self._open: dict[str, _Track] = {}
        self._by_task: dict[str, _Track] = {}
        self._searches: dict[str, _Track] = {}
        self._proofs: dict[str, _Proof] = {}
        self._deadlines: list[tuple[float, int, _Track]] = []
        self._orders = count()
        self._submit_backoff = Backoff(rng)
        self._submit_at = 0.0
        self._unreachable_since: float | None = None
        self._wake = asyncio.Event()
        self._closing = False
        self._sweeping = False
        self._sending: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        pending, queued = len(self._by_task), self.counts[Status.QUEUED]
        wait_s = self.poller.sweep_at - self._clock()
        return f"<Scheduler [{pending} pending, {queued} queued | next sweep in {max(0.0, wait_s):.1f} s]>"

    @property
    def pending(self) -> int:
        """Number of tasks being followed."""
        return len(self._by_task)

    # --- doors in --------------------------------------------------------------------------------------------------

    def admit(self, job: Job, *, callback_url: str | None, timeout_s: float | None) -> None:
        """Take a new job: it is sent when there is a slot."""
        model = getattr(job.request, "model_name", None)
        track = _Track(
            job=job,
            order=next(self._orders),
            gate=(job.row.pack, model or ""),
            slots=job.row.slots(job.request),
            callback_url=callback_url,
            deadline=None if timeout_s is None else self._clock() + timeout_s,
        )
        self._open[job.id] = track
        self.counts[Status.QUEUED] += 1
        if track.deadline is not None:
            heapq.heappush(self._deadlines, (track.deadline, track.order, track))
        self._queue(track)

    def follow(self, job: Job, *, timeout_s: float | None) -> None:
        """Take a job whose task was made elsewhere."""
        now = self._clock()
        track = _Track(
            job=job,
            order=next(self._orders),
            gate=(job.row.pack, ""),
            slots=0,
            callback_url=None,
            deadline=None if timeout_s is None else now + timeout_s,
        )
        assert job.task_id is not None
        self._open[job.id] = track
        self.counts[job.status] += 1
        if track.deadline is not None:
            heapq.heappush(self._deadlines, (track.deadline, track.order, track))
        self._watch_task(track, job.task_id, now)

    def find(self, task_id: str) -> Job | None:
        """Give the open job of a task, if it is followed here."""
        track = self._by_task.get(task_id)
        return None if track is None else track.job

    def observe(self, observation: Observation) -> bool:
        """Take news about a task, whatever its source; tell whether it was about one of ours."""
        track = self._track_of(observation.task_id, observation.external_id)
        if track is None:
            return False
        self._take_news(track, observation)
        return True

    def abandon(self, job: Job) -> None:
        """Follow a job no longer."""
        track = self._open.get(job.id)
        if track is not None:
            error = JobAbandoned(f"abandoned while {job.status}", paid=paid_so_far(job.status))
            self._settle(track, Failed(Status.ABANDONED, error))

    def stop(self) -> None:
        """Let the loop end: nothing new is sent; submissions in flight get `grace_s`."""
        self._closing = True
        self._wake.set()

    def release_all(self, error: KlingError) -> None:
        """Wake every waiter of every open job; its state stays what it was."""
        for track in list(self._open.values()):
            paid = paid_so_far(track.job.status)
            track.job.release(error.anew(job_id=track.job.id, task_id=track.job.task_id, paid=paid))
        self._open.clear()

    # --- the loop --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until `stop`; an exception is a bug, and the session hands it to every waiter."""
        async with asyncio.TaskGroup() as group:
            while not self._closing:
                now = self._clock()
                self._expire(now)
                self._dispatch(now, group)
                self._start_sweep(now, group)
                self._start_proofs(now, group)
                await self._rest(now)
            for task in self._asking:
                task.cancel()
            if self._sending:
                await asyncio.wait(self._sending, timeout=self._policy.grace_s)
            for task in self._sending:
                task.cancel()

    async def _rest(self, now: float) -> None:
        moment = self._next_moment(now)
        if moment is not None and moment <= now:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        alarm = None if moment is None else loop.call_later(moment - now, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if alarm is not None:
                alarm.cancel()
        self._wake.clear()

    def _next_moment(self, now: float) -> float | None:
        moments = []
        if self._deadlines:
            moments.append(self._deadlines[0][0])
        if any(self._waiting.values()):
            if self._submit_at > now:
                moments.append(self._submit_at)
            moments.extend(gate.shut_until for gate in self.gates.values() if gate.shut_until > now)
        if not self._sweeping:
            if self._by_task:
                moments.append(max(self.poller.sweep_at, self.poller.resume_at))
            looks = [next_look(track.search, self._policy) for track in self._searches.values() if track.search]
            if looks:
                moments.append(max(min(looks), self.poller.resume_at))
        if self._proofs:
            moments.append(max(min(proof.due_at for proof in self._proofs.values()), self.poller.resume_at))
        return min(moments, default=None)

    def _spawn(
        self, group: asyncio.TaskGroup, coroutine: Coroutine[Any, Any, None], kind: set[asyncio.Task[None]]
    ) -> None:
        task = group.create_task(coroutine)
        kind.add(task)
        task.add_done_callback(kind.discard)
        task.add_done_callback(lambda _task: self._wake.set())

    def _expire(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, track = heapq.heappop(self._deadlines)
            job = track.job
            if job.id not in self._open or track.deadline is None or track.deadline > now:
                continue
            told = "it was never accepted" if job.task_id is None else "the task goes on at the service"
            error = DeadlineExceeded(f"its time is over while {job.status}; {told}", paid=paid_so_far(job.status))
            self._settle(track, Failed(Status.ABANDONED, error))

    # --- submission ------------------------------------------------------------------------------------------------

    def _queue(self, track: _Track) -> None:
        # A heap by order of arrival: who is refused for lack of a slot keeps its place.
        heapq.heappush(self._waiting.setdefault(track.gate, []), (track.order, track))
        self._wake.set()

    def _dispatch(self, now: float, group: asyncio.TaskGroup) -> None:
        """Start as many submissions as slots, connections and trouble allow, model by model in turn."""
        if now < self._submit_at or (self._unreachable_since is not None and self._sending):
            return
        progress = True
        while progress:
            progress = False
            for key, waiting in self._waiting.items():
                while waiting and waiting[0][1].job.done():
                    heapq.heappop(waiting)
                if not waiting or len(self._sending) >= self._policy.max_submissions:
                    continue
                track = waiting[0][1]
                gate = self.gates.setdefault(key, Gate())
                if gate.admits(track.slots, now) and self._has_room(track.slots):
                    heapq.heappop(waiting)
                    gate.sent(track.slots)
                    self._set_status(track, Status.SENDING)
                    self._spawn(group, self._submit(track), self._sending)
                    progress = True
            if self._unreachable_since is not None:
                return  # one knock at a time while nobody opens

    def _has_room(self, slots: int) -> bool:
        if self._max_running is None:
            return True
        used = sum(gate.running + gate.sending for gate in self.gates.values())
        return used == 0 or used + slots <= self._max_running

    async def _submit(self, track: _Track) -> None:
        answer: Observation | KlingError
        sent_at = self._clock()
        try:
            body = await self._encode(track)
            sent_at = self._clock()
            self.submissions += 1
            envelope = await self._transport.submit(track.job.row.path, body)
            if len(envelope.rows) != 1:
                raise BadEnvelope(f"the answer to a create holds {len(envelope.rows)} tasks")  # noqa: TRY301
            answer = decode_task(envelope.rows[0], track.job.row.yields, created=True)
        except KlingError as error:
            answer = error
        self._take_verdict(track, judge_submission(answer), sent_at)

    async def _encode(self, track: _Track) -> bytes:
        job = track.job
        fields: Body = body_of(job.request, self._transport.host)
        fields["external_task_id"] = job.id
        if track.callback_url is not None:
            fields["callback_url"] = track.callback_url
        if has_files(job.request):
            return await asyncio.to_thread(lambda: _dump(encode_files(fields, job.request)))
        return _dump(fields)

    def _take_verdict(self, track: _Track, verdict: Verdict, sent_at: float) -> None:
        now = self._clock()
        gate = self.gates[track.gate]
        if not isinstance(verdict, NotSent):
            self._unreachable_since = None
        if track.job.done():  # abandoned, or out of time, while the answer was on its way
            gate.returned(track.slots)
            if isinstance(verdict, Accepted) and track.job.task_id is None and verdict.observation.task_id:
                track.job.take_task(verdict.observation.task_id)
            return
        if isinstance(verdict, Accepted):
            self._submit_backoff.success()
            gate.taken(track.slots)
            track.holds_slot = True
            self._accept(track, verdict.observation, now)
        elif isinstance(verdict, Unsure):
            gate.taken(track.slots)
            track.holds_slot = True
            self._search(track, verdict, sent_at)
        elif isinstance(verdict, Refused):
            gate.returned(track.slots)
            self._settle(track, Failed(Status.REJECTED, verdict.error.anew(paid="no")))
        elif isinstance(verdict, Later):
            self._wait_for_turn(track, gate, verdict, now)
        else:
            self._wait_for_host(track, gate, verdict, now)

    def _wait_for_turn(self, track: _Track, gate: Gate, verdict: Later, now: float) -> None:
        if isinstance(verdict.error, SlotsFull):
            gate.full(track.slots, now, self._submit_backoff.trouble())
            self._submit_backoff.success()
            since = gate.refused_since
            if since is not None and now - since >= self._policy.slots_wait_s:
                self._settle(track, Failed(Status.REJECTED, verdict.error))
                return
        else:
            gate.returned(track.slots)
            self._submit_at = now + max(1.0, self._submit_backoff.trouble(verdict.error.retry_in_s))
        self._set_status(track, Status.QUEUED)
        self._queue(track)

    def _wait_for_host(self, track: _Track, gate: Gate, verdict: NotSent, now: float) -> None:
        gate.returned(track.slots)
        if self._unreachable_since is None:
            self._unreachable_since = now
        if not verdict.error.retryable or now - self._unreachable_since >= self._policy.unreachable_s:
            self._settle(track, Failed(Status.REJECTED, verdict.error))
            return
        self._submit_at = max(self._submit_at, now + self._submit_backoff.trouble())
        _log.info("job %s not sent: %s", track.job.id, verdict.error)
        self._set_status(track, Status.QUEUED)
        self._queue(track)

    # --- unsure jobs -----------------------------------------------------------------------------------------------

    def _search(self, track: _Track, verdict: Unsure, sent_at: float) -> None:
        job = track.job
        resent = track.search.resent if track.search is not None else 0
        track.search = Search(sent_at, exists=verdict.exists, resent=resent)
        track.watch = Watch(job.endpoint, job.id, external=True, asked_at=sent_at)
        self._searches[job.id] = track
        self._limit_time(track)
        self._set_status(track, Status.UNSURE)
        _log.warning("job %s: looking up whether a task exists: %s", job.id, verdict.error)

    def absent(self, watch: Watch, form: Form) -> None:
        """Take note that an answer that would surely have held this task did not."""
        now = self._clock()
        if not watch.external:
            track = self._by_task.get(watch.id)
            if track is not None and form is Form.SINGLE:
                self._miss(track, now)
            return
        track = self._searches.get(watch.id)
        if track is None or track.search is None:
            return
        search = track.search
        if now - search.sent_at >= self._policy.settle_s:
            search.answered += 1
            search.absent += self.poller.reach.of(watch.endpoint, form).finds_external is True

    def _judge_searches(self, asked: Mapping[str, _Track]) -> None:
        now = self._clock()
        for job_id, track in asked.items():
            if self._searches.get(job_id) is not track or track.search is None:
                continue
            track.search.looks += 1
            can_find = self.poller.reach.can_find_external(track.job.endpoint)
            decision = judge_search(track.search, can_find=can_find, now=now, policy=self._policy)
            if isinstance(decision, Resend):
                self._send_again(track)
            elif isinstance(decision, GiveUp):
                self._give_up(track)

    def _send_again(self, track: _Track) -> None:
        assert track.search is not None
        track.search.resent += 1
        self._end_search(track)
        self._release_slot(track)
        self._set_status(track, Status.QUEUED)
        self._queue(track)
        _log.warning("job %s: the host has no task of it; sending it again with the same id", track.job.id)

    def _give_up(self, track: _Track) -> None:
        assert track.search is not None
        exists = track.search.exists
        told = (
            f"the host says that its id is taken, and does not find it by that id ({track.job.id})"
            if exists
            else "it was sent and not answered, and the host cannot be asked about it; sending it again may pay twice"
        )
        self._settle(track, Failed(Status.UNRESOLVED, SubmissionUnknown(told, paid="yes" if exists else "maybe")))

    def _end_search(self, track: _Track) -> None:
        self._searches.pop(track.job.id, None)
        track.watch = None

    def _start_proofs(self, now: float, group: asyncio.TaskGroup) -> None:
        """Ask once per endpoint for a task that surely exists by its external id: only then "not found" means that."""
        if now < self.poller.resume_at:
            return
        for endpoint, proof in list(self._proofs.items()):
            if self.poller.reach.can_find_external(endpoint):
                del self._proofs[endpoint]
            elif proof.due_at <= now:
                del self._proofs[endpoint]
                self._spawn(group, self._prove(endpoint, proof), self._asking)

    async def _prove(self, endpoint: str, proof: _Proof) -> None:
        reach = self.poller.reach
        queries: list[tuple[Form, Query]] = [(Form.SINGLE, Single(endpoint, proof.job_id, external=True))]
        if reach.of(endpoint, Form.BATCH).works:
            queries.insert(0, (Form.BATCH, Batch((proof.job_id,), frozenset({endpoint}), external=True)))
        last = proof.tries + 1 >= len(_PROOF_DELAYS_S)
        for form, query in queries:
            found = await self.poller.probe(query, form, {proof.job_id, proof.task_id})
            if found or (found is False and last):
                reach.found_external(endpoint, form, found=found)
            if found:
                return
        if not last:
            proof.tries += 1
            proof.due_at = self._clock() + _PROOF_DELAYS_S[proof.tries]
            self._proofs[endpoint] = proof

    # --- tasks -----------------------------------------------------------------------------------------------------

    def _accept(self, track: _Track, news: Observation, now: float) -> None:
        job = track.job
        assert news.task_id is not None
        if news.task_id in self._by_task:
            # The host gave one task id to two submissions: following it twice would report one clip as two.
            error = SubmissionUnknown(f"the host answered with the task of another job ({news.task_id})")
            self._settle(track, Failed(Status.UNRESOLVED, error))
            return
        self._end_search(track)
        self._set_status(track, Status.ACCEPTED)
        self._watch_task(track, news.task_id, now)
        job.take_task(news.task_id)
        _log.info("job %s accepted as task %s", job.id, job.task_id)
        if self.poller.reach.can_find_external(job.endpoint) is None and job.endpoint not in self._proofs:
            self._proofs[job.endpoint] = _Proof(job.id, news.task_id, now + _PROOF_DELAYS_S[0])
        self._take_news(track, news)

    def _watch_task(self, track: _Track, task_id: str, now: float) -> None:
        if not self._by_task:
            self.poller.first_pending(now)
        track.accepted_at = now
        track.watch = Watch(track.job.endpoint, task_id, external=False, asked_at=now)
        self._by_task[task_id] = track
        self._limit_time(track)
        self._wake.set()

    def _limit_time(self, track: _Track) -> None:
        """Give a job without a timeout of its own the usual limit, from the moment it may cost money."""
        if track.deadline is None:
            track.deadline = self._clock() + self._policy.task_limit_s
            heapq.heappush(self._deadlines, (track.deadline, track.order, track))

    def _start_sweep(self, now: float, group: asyncio.TaskGroup) -> None:
        if self._sweeping or now < self.poller.resume_at:
            return
        whole = bool(self._by_task) and now >= self.poller.sweep_at
        due: list[Watch] = []
        if whole:
            before = self.poller.begin_round(now)
            watches = (track.watch for track in self._by_task.values())
            due.extend(watch for watch in watches if watch is not None and watch.asked_at < before)
        asked: dict[str, _Track] = {}
        for job_id, track in self._searches.items():
            if track.search and track.watch and next_look(track.search, self._policy) <= now:
                asked[job_id] = track
                due.append(track.watch)
        if whole or due:
            self._sweeping = True
            self._spawn(group, self._sweep(due, asked, whole=whole), self._asking)

    async def _sweep(self, due: list[Watch], asked: Mapping[str, _Track], *, whole: bool) -> None:
        try:
            await self.poller.sweep(due, whole=whole)
            self._judge_searches(asked)
        finally:
            self._sweeping = False

    def row(self, row: JsonObject, form: Form, asked: Watch | None) -> bool:
        """Take one row of an answer; tell whether it was about a task of ours."""
        task_id, external_id = ids_of(row)
        if asked is not None:
            # A single query's answer is about what was asked, even where a gateway answers with an id of its own.
            if asked.external and external_id not in {None, asked.id}:
                return False
            track = self._searches.get(asked.id) if asked.external else self._by_task.get(asked.id)
        else:
            track = self._track_of(task_id, external_id)
        if track is None:
            return False
        try:
            news = decode_task(row, track.job.row.yields)
        except BadEnvelope as error:
            _log.warning("an answer about job %s cannot be read: %s", track.job.id, error)
            return True
        reach = self.poller.reach
        if external_id == track.job.id:
            reach.found_external(track.job.endpoint, form, found=True)
        elif form is Form.LIST and external_id is None and track.job.request is not None:
            reach.found_external(track.job.endpoint, form, found=False)
        if asked is not None and asked.external:
            reach.found_external(track.job.endpoint, form, found=True)
        if track.job.task_id is not None:
            news = attrs.evolve(news, task_id=track.job.task_id)
        self._take_news(track, news)
        return True

    def _track_of(self, task_id: str | None, external_id: str | None) -> _Track | None:
        track = self._by_task.get(task_id) if task_id is not None else None
        if track is None and external_id is not None:
            track = self._searches.get(external_id)
        return track

    def _take_news(self, track: _Track, news: Observation) -> None:
        job = track.job
        if job.done():
            return
        if job.id in self._searches:
            _log.info("job %s: found", job.id)
            self._accept(track, news, self._clock())
            return
        track.gone_misses = 0
        if is_stale(job.news, news):
            return
        if job.news is None or (job.news.status, job.news.updated_at) != (news.status, news.updated_at):
            job.tell(news)
        if news.status is TaskStatus.UNKNOWN:
            _log.warning("job %s: the host says %r, which is not known; asking on", job.id, news.word)
        outcome = outcome_of(news, job.endpoint, track.empty_answers)
        if outcome is not None:
            self._settle(track, outcome)
        elif news.status is TaskStatus.SUCCEEDED:
            track.empty_answers += 1
        elif may_follow(job.status, status_of_news(news)):
            self._set_status(track, status_of_news(news))

    def _miss(self, track: _Track, now: float) -> None:
        if track.gone_misses == 0 or track.first_miss_at is None:
            track.first_miss_at = now
        track.gone_misses += 1
        if is_gone(track.gone_misses, track.first_miss_at, track.accepted_at, now):
            told = f"the host no longer knows task {track.job.task_id}: expired, purged, or of another account"
            self._settle(track, Failed(Status.VANISHED, TaskVanished(told)))

    # --- the end ---------------------------------------------------------------------------------------------------

    def _set_status(self, track: _Track, status: Status) -> None:
        assert may_follow(track.job.status, status), f"{track.job.status} -> {status}"
        self.counts[track.job.status] -= 1
        self.counts[status] += 1
        track.job.status = status

    def _settle(self, track: _Track, outcome: Outcome) -> None:
        job = track.job
        status = Status.SUCCEEDED if isinstance(outcome, Succeeded) else outcome.status
        self.counts[job.status] -= 1
        self.counts[status] += 1
        del self._open[job.id]
        self._searches.pop(job.id, None)
        if job.task_id is not None and self._by_task.get(job.task_id) is track:
            del self._by_task[job.task_id]
        track.watch = None
        self._release_slot(track)
        _log.info("job %s %s", job.id, status)
        job.settle(outcome)

    def _release_slot(self, track: _Track) -> None:
        if track.holds_slot:
            track.holds_slot = False
            self.gates[track.gate].released_by_end(track.slots)
            self._wake.set()


def _dump(fields: Body) -> bytes:
    try:
        return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequest("extra", None, f"cannot be written as JSON: {error}") from None


def closed_error() -> SessionClosed:
    """Make the error that waiters get when a session closes before their job has ended."""
    return SessionClosed("the session was closed first; follow the task with session.attach(), or submit the job again")
