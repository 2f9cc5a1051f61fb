"""The one background loop: has jobs sent, has tasks asked about, and settles what has ended.

Stage: loop. Before: session (new jobs), poller (rows), submitter (answers). After: job (waiters).

Every change of a job's state happens in a plain `def` of this class, on its loop, between two awaits; so there are no
locks. What may happen is decided by lifecycle, slots and sweep, which are pure. One asyncio task runs the loop, one
each submission in flight, one the sweep under way; a pending task costs a row, and no asyncio task or timer of ours.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from .deadlines import Deadlines
from .errors import (
    BadEnvelope,
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    JobAbandoned,
    JournalError,
    KlingError,
    LeaseLost,
    Paid,
    SessionClosed,
    SubmissionUnknown,
    TaskVanished,
)
from .events import Hub, JobEvent
from .job import Job, Track
from .journal import Entry
from .lifecycle import (
    Search,
    Unsure,
    is_gone,
    is_new,
    is_stale,
    may_follow,
    may_insist,
    outcome_of,
    paid_so_far,
    status_of_news,
)
from .models import Failed, Observation, Outcome, Policy, Status, TaskStatus
from .poller import Poller, Seen
from .recorder import NoRecord, Record, Recorder, is_open, outcome_from, status_of_entry
from .retry import Quota
from .searcher import Searcher
from .sharing import Sharing
from .submitter import Submitter
from .sweep import CLIPS, OTHERS, Form, Guess, Watch
from .transport import Transport
from .wire import JsonObject, decode_task, external_id_of, ids_of, mark_of

_log = logging.getLogger(__name__)

_NO_MORE_ANSWERS = 1 << 30
_CATCH_UP_S = 30.0  # for a job of an earlier run whose time was over before anybody looked
_CLOCKS_APART_S = 300.0  # by how much a host's clock may be behind ours
DURATIONS = "durations"  # name of what is remembered of how long tasks take
_NOTED = frozenset({Status.QUEUED, Status.UNSURE})  # the others are recorded where they come to be
_UNDER_WAY = frozenset({TaskStatus.SUBMITTED, TaskStatus.PROCESSING})
_TOLD = 10  # tasks named in the line that tells what is left when a session closes


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
        handles: MutableMapping[str, Job],
        record: Record | None = None,
        hub: Hub | None = None,
        address: Callable[[str, str | None], str | None],
    ) -> None:
        self._hub = hub
        self._record = record
        # Of jobs that are not open, held weakly by the session: an open one is found here, and needs no entry there.
        self._handles = handles
        self._sharing = None if record is None else Sharing(record=record, family=self, clock=clock)
        self._recorder: Recorder = record or NoRecord()
        self._policy = policy
        self._clock = clock
        self._retention_s = transport.host.retention_s
        quota = Quota()
        self.poller: Poller = Poller(
            transport=transport, policy=policy, rng=rng, clock=clock, listener=self, quota=quota, hub=hub
        )
        self._hints = self.poller.hints
        self.searcher: Searcher = Searcher(
            policy=policy,
            clock=clock,
            poller=self.poller,
            owner=self,
            send_again=self._send_again,
            learn=self._recorder.learn,
            hints=self._hints,
        )
        self.submitter: Submitter = Submitter(
            transport=transport,
            policy=policy,
            rng=rng,
            clock=clock,
            owner=self,
            unsure=self._take_unsure,
            look_again=self._look_again,
            recorder=self._recorder,
            address=address,
            max_running=max_running,
            quota=quota,
            hub=hub,
        )
        self.counts: Counter[Status] = Counter()
        self._open: dict[str, Track] = {}
        self._ending: dict[str, Job] = {}
        self._by_task: dict[str, Track] = {}
        # Tasks of abandoned jobs that still take a slot: asked about until they end, for the slot's sake alone.
        self._ghosts: dict[str, float] = {}
        self._deadlines = Deadlines()
        self._orders = count()
        self._gates: dict[tuple[str, str], tuple[str, str]] = {}
        self._wake = asyncio.Event()
        if record is not None:
            record.wake = self._wake.set
        # Where unresolved jobs wanted to be called back: all of them that their handle does not know.
        self._callbacks: WeakKeyDictionary[Job, str] = WeakKeyDictionary()
        self._awake_at: float | None = None
        self._closing = False
        self._draining = False
        self._sweeping = False
        self._sending: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        pending, queued = len(self._by_task), self.counts[Status.QUEUED]
        wait_s = max(0.0, self.poller.sweep_at - self._clock()) if pending else 0.0
        return f"<Scheduler [{pending} pending, {queued} queued | next sweep in {wait_s:.1f} s]>"

    @property
    def pending(self) -> int:
        """Number of tasks being followed."""
        return len(self._by_task) - len(self._ghosts)

    # --- doors in --------------------------------------------------------------------------------------------------

    def admit(self, job: Job, *, callback_url: str | None, timeout_s: float | None) -> None:
        """Take a new job: it is sent when there is a slot."""
        track = self._track(job, callback_url)
        self._take(track, timeout_s)
        self.submitter.queue(track)
        self._wake.set()

    def follow(self, job: Job, task_id: str, *, timeout_s: float | None) -> None:
        """Take a job whose task was made elsewhere."""
        track = self._track(job, None)
        ghost = self._by_task.get(task_id) if self._ghosts.pop(task_id, None) is not None else None
        if ghost is not None:  # followed again: its slot goes with it
            track.gate, track.slots, track.holds_slot, ghost.holds_slot = ghost.gate, ghost.slots, True, False
        self._take(track, timeout_s)
        self._watch_task(track, task_id)

    def resume(self, job: Job, entry: Entry) -> None:
        """Take a job of an earlier run, where its journal entry says it stood."""
        track = self._track(job, entry.callback_url)
        track.account = entry.account
        assert self._record is not None
        timeout_s = None
        if entry.timeout_s is not None:
            timeout_s = max(0.0, entry.created_at + entry.timeout_s - self._record.wall())
            if entry.attempt or entry.task_id is not None:  # it may have ended in time, and nobody could look
                timeout_s = max(timeout_s, _CATCH_UP_S + (0.0 if entry.task_id else 2 * self._policy.settle_s))
        self._take(track, timeout_s)
        if job.status is Status.QUEUED:
            self.submitter.queue(track)
        elif job.status is Status.UNSURE:
            self.submitter.adopt_slot(track)
            unsure = Unsure(ConnectionLost("sent in an earlier run, and its answer was not recorded"))
            track.search = Search(self._clock(), resent=max(0, entry.attempt - 1))
            if job.row.kind == "finished":
                self._take_unsure(track, unsure)
            else:
                # The window begins anew: nobody knows when its answer was lost, and wall clocks are set.
                self.searcher.begin(track, unsure)
                self._limit_time(track)
        else:
            assert job.task_id is not None
            self.submitter.adopt_slot(track)
            age_s = self._record.wall() - entry.sent_at if entry.sent_at is not None else 0.0
            self._watch_task(track, job.task_id, age_s=max(0.0, age_s))
            if entry.attempt:  # its external id is ours: others that are not sure can be proved by it
                self.searcher.offer_proof(track, job.task_id)
        self._wake.set()

    def _track(self, job: Job, callback_url: str | None) -> Track:
        row, request = job.row, job.request  # None: made elsewhere, so its model and its slots are not known
        gate = (row.pack, "" if request is None else row.model_of(request))
        return Track(
            job=job,
            order=next(self._orders),
            gate=self._gates.setdefault(gate, gate),  # one name for all that share it
            slots=0 if request is None else row.slots(request),
            callback_url=callback_url,
        )

    def _take(self, track: Track, timeout_s: float | None, previous: Status | None = None) -> None:
        if track.job.id in self._open:
            raise AssertionError(f"job {track.job.id} is open already")
        self._open[track.job.id] = track
        self._handles.pop(track.job.id, None)
        self.counts[track.job.status] += 1
        self._tell_change(track.job, previous)
        if timeout_s is not None:
            self._set_deadline(track, self._clock() + timeout_s)

    def open_job(self, job_id: str) -> Job | None:
        """Give the open job of that id, also while its end is being written."""
        track = self._open.get(job_id)
        return self._ending.get(job_id) if track is None else track.job

    def find(self, task_id: str) -> Job | None:
        """Give the open job of a task, if it is followed here."""
        track = self._by_task.get(task_id) if task_id not in self._ghosts else None
        return None if track is None else track.job

    def observe(self, observation: Observation) -> bool:
        """Take news about a task, whatever its source; tell whether it was about one of ours."""
        track = self._track_of(observation.task_id, observation.external_id)
        if track is None:
            return False
        self._take_news(track, observation)
        return True

    def hint(self, news: Observation, external_id: str | None, *, by_task: bool) -> bool:
        """Take a callback's word that something has become of a task; tell whether it is one of ours.

        Args:
            news: what it says, of which nothing is believed.
            external_id: of the job, if it is told.
            by_task: whether the task id may say which job is meant.
        """
        track = self._by_task.get(news.task_id) if by_task and news.task_id is not None else None
        if track is None and external_id is not None:
            track = self._open.get(external_id)
        if track is None:
            return False
        if track.watch is not None and not track.watch.external:
            if news.status not in _UNDER_WAY:  # only an end is worth a query
                self._hints.offer(track.watch.id, self._clock())
        elif track.job.row.kind == "task":
            self.searcher.told(track, news)
        self._wake.set()
        return True

    def abandon(self, job: Job) -> None:
        """Follow a job no longer."""
        track = self._open.get(job.id)
        if track is None and self._sharing is not None:
            self._sharing.abandon(job)
        if track is not None:
            error = JobAbandoned(f"abandoned while {job.status}", paid=paid_so_far(job.status, track.search))
            self.settle(track, Failed(Status.ABANDONED, error))

    async def resend(self, job: Job) -> None:
        """Send an unresolved job once more, on its owner's word."""
        if job.request is None:
            raise ConfigError(f"what job {job.id} asked for is not known here, so it cannot be sent again")
        track = self._reopen(job, Status.QUEUED)
        track.search, track.insists = Search(self._clock()), True
        if self._record is not None:
            try:
                await self._record.reopen(job)
            except BaseException as error:
                self._close_again(track, SubmissionUnknown(f"it was not sent again: {type(error).__name__}"))
                raise
        if self._open.get(job.id) is not track:
            raise SessionClosed("the session was closed, or the job abandoned, before it was sent again", paid="maybe")
        self._limit_time(track)
        self.submitter.queue(track)
        self._wake.set()

    async def forget(self, job: Job) -> None:
        """Give an unresolved job up, on its owner's word."""
        track = self._reopen(job, Status.UNSURE)
        error = JobAbandoned("forgotten while it was not known whether it has a task", paid="maybe")
        if self._record is not None:
            try:
                await self._record.reopen(job, Failed(Status.ABANDONED, error))
            except BaseException as trouble:
                self._close_again(track, SubmissionUnknown(f"it was not forgotten: {type(trouble).__name__}"))
                raise
        self._close_again(track, error, Status.ABANDONED)

    def _reopen(self, job: Job, status: Status) -> Track:
        """Take an unresolved job again: final for whoever waits, and still its owner's to decide about."""
        if self._closing or self._draining:
            raise SessionClosed("the session is closed; nothing was sent", paid="no")
        assert job.status is Status.UNRESOLVED
        self.counts[job.status] -= 1
        job.reopen(status)
        track = self._track(job, self._callbacks.get(job))
        self._take(track, None, Status.UNRESOLVED)
        return track

    def _close_again(self, track: Track, error: KlingError, status: Status = Status.UNRESOLVED) -> None:
        """End a job that was reopened for a moment; its end is on disk already, or still."""
        if self._open.get(track.job.id) is not track:  # closed, or abandoned, meanwhile
            return
        track.is_over = True
        self.counts[track.job.status] -= 1
        self.counts[status] += 1
        del self._open[track.job.id]
        self._handles[track.job.id] = track.job
        self.end(track.job, Failed(status, error))

    def credentials_changed(self) -> None:
        """Try again at once what waits because the account or its key was refused."""
        self.submitter.try_again()
        self.poller.try_again()
        self._wake.set()

    def drain(self) -> None:
        """Send nothing that is queued any more; what was sent is followed as before."""
        self._draining = True
        self._wake.set()

    @property
    def is_drained(self) -> bool:
        """Nothing that was sent is open, and every end is written."""
        return not self._ending and len(self._open) == self.counts[Status.QUEUED]

    def stop(self) -> None:
        """Let the loop end: nothing new is sent; submissions in flight get `grace_s`."""
        self._closing = True
        self._wake.set()

    def release_all(self, error: KlingError) -> None:
        """Wake every waiter of every open job; its state stays what it was."""
        for track in list(self._open.values()):
            job = track.job
            own = error.anew(job_id=job.id, task_id=job.task_id, paid=paid_so_far(job.status, track.search))
            if job.status in {Status.SENDING, Status.UNSURE}:
                own.retryable = False  # under another id it could be made, and paid, a second time
            job.release(own)
        for job in self._recorder.let_go():
            job.release(error.anew(job_id=job.id, task_id=job.task_id, paid="maybe"))
        left = [f"{track.job.task_id} ({track.job.endpoint})" for track in self._by_task.values()]
        if left:
            more = f" and {len(left) - _TOLD} more" if len(left) > _TOLD else ""
            _log.warning("tasks go on at the service, followed no longer: %s%s", ", ".join(left[:_TOLD]), more)
        self._open.clear()
        self._by_task.clear()
        self._ghosts.clear()

    # --- the loop --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until `stop`; an exception is a bug, and the session hands it to every waiter."""
        try:
            await self._run()
        except BaseExceptionGroup as group:
            # Its event loop was closed first, and it is collected as garbage: the group must not hide that.
            if group.subgroup(GeneratorExit) is None:
                raise
            raise GeneratorExit from None
        await self.renewed()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not self._closing:
                now = self._clock()
                self._notice_gap(now)
                self._expire(now)
                if not self._draining:
                    self.submitter.dispatch(now, lambda send: self._spawn(group, send, self._sending))
                elif self.is_drained:
                    break
                self._start_sweep(now, group)
                self._start_sharing(now, group)
                await self._rest(now)
            # Questions can be asked again, so they end at once; a submission cut off would leave its job unsure.
            for task in self._asking:
                task.cancel()
            if self._sending:
                await asyncio.wait(self._sending, timeout=self._policy.grace_s)
            for task in self._sending:
                task.cancel()

    async def remember(self) -> None:
        """Begin with what was learned in earlier runs of how long tasks take."""
        if self._record is not None:
            self.poller.planner.hazards.take_plain(await self._record.learned(DURATIONS))

    async def renewed(self) -> None:
        """Keep how long tasks take, so that the next run starts wise."""
        known = self.poller.planner.hazards.to_plain()
        if known:
            await self._recorder.learn(DURATIONS, known)

    def _start_sharing(self, now: float, group: asyncio.TaskGroup) -> None:
        moment = None if self._sharing is None else self._sharing.next_moment()
        if self._sharing is not None and moment is not None and moment <= now:
            self._sharing.is_busy = True
            self._spawn(group, self._sharing.keep(), self._asking)

    async def _rest(self, now: float) -> None:
        """Sleep until the next moment that is known, or until something happens."""
        moment = self._next_moment(now)
        self._awake_at = None if moment is None else max(moment, now)
        delay_s = None if moment is None else max(0.0, moment - now)
        alarm = None if delay_s is None else asyncio.get_running_loop().call_later(delay_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if alarm is not None:
                alarm.cancel()
        self._wake.clear()

    def _next_moment(self, now: float) -> float | None:
        questions: list[float | None] = [self.searcher.next_proof_at()]
        if not self._sweeping:
            look_at = self.searcher.next_moment()
            questions += [
                None if look_at is None else max(look_at, self.poller.look_at),
                self.poller.sweep_at if self._by_task else None,
                self._hints.next_moment(),
            ]
        moments = [max(moment, self.poller.resume_at) for moment in questions if moment is not None]
        submit_at = None if self._draining else self.submitter.next_moment(now)
        moments += [] if submit_at is None else [submit_at]
        sharing_at = None if self._sharing is None else self._sharing.next_moment()
        moments += [moment for moment in (self._deadlines.next_moment, sharing_at) if moment is not None]
        return min(moments, default=None)

    def _spawn(
        self, group: asyncio.TaskGroup, coroutine: Coroutine[Any, Any, None], kind: set[asyncio.Task[None]]
    ) -> None:
        task = group.create_task(coroutine)
        kind.add(task)
        task.add_done_callback(kind.discard)
        task.add_done_callback(lambda _task: self._wake.set())

    # --- deadlines -------------------------------------------------------------------------------------------------

    def _set_deadline(self, track: Track, moment: float) -> None:
        track.deadline = moment
        self._deadlines.set(moment, track.order, track.job.id)

    def _limit_time(self, track: Track) -> None:
        """Give a job without a timeout of its own the usual limit, from the moment it may cost money."""
        if track.deadline is None:
            self._set_deadline(track, self._clock() + self._policy.task_limit_s)

    def _notice_gap(self, now: float) -> None:
        expected, self._awake_at = self._awake_at, None
        if expected is not None and self._deadlines.put_off(expected, now):
            _log.warning("the event loop stood still for %.0f s: something in this process blocked it", now - expected)
            self.poller.sweep_at = min(self.poller.sweep_at, now)

    def _expire(self, now: float) -> None:
        for order, job_id in self._deadlines.due(now):
            track = self._open.get(job_id)
            if track is not None and track.order == order:
                job = track.job
                paid = paid_so_far(job.status, track.search)
                told = "it may have been accepted" if paid == "maybe" else "it was never accepted"
                told = told if job.task_id is None else "the task goes on at the service"
                error = DeadlineExceeded(f"its time is over while {job.status}; {told}", paid=paid)
                error.retryable = paid == "no"  # under another id it could be made, and paid, a second time
                # Where it is not known whether it has a task, a later run looks once more.
                unknown = paid == "maybe" and job.task_id is None
                self.settle(track, Failed(Status.UNRESOLVED if unknown else Status.ABANDONED, error))

    # --- unsure jobs -----------------------------------------------------------------------------------------------

    def _take_unsure(self, track: Track, verdict: Unsure) -> None:
        track.insists = False
        if track.job.row.kind == "finished":
            if may_insist(track.search, self._policy):
                track.search, track.insists = track.search or Search(self._clock()), True
                self._send_again(track)
                return
            told = f"the answer was lost, and the service cannot be asked about {track.job.endpoint}: {verdict.error}"
            self.settle(track, Failed(Status.UNRESOLVED, SubmissionUnknown(told)))
            return
        self.searcher.begin(track, verdict)
        self.set_status(track, Status.UNSURE)
        self._limit_time(track)

    def _look_again(self, track: Track) -> None:
        self.searcher.look_again(track)
        self.set_status(track, Status.UNSURE)
        self._limit_time(track)

    def _send_again(self, track: Track) -> None:
        self.submitter.release_slot(track)
        self.set_status(track, Status.QUEUED)
        self.submitter.queue(track)

    # --- questions -------------------------------------------------------------------------------------------------

    def _start_sweep(self, now: float, group: asyncio.TaskGroup) -> None:
        if now < self.poller.resume_at:
            return
        for proof in self.searcher.due_proofs(now):
            self._spawn(group, self.searcher.prove(proof), self._asking)
        if self._sweeping:
            return
        told = self._told(now, group)
        asked = self.searcher.due(now) if now >= self.poller.look_at else {}
        due = [track.watch for track in asked.values() if track.watch is not None]
        whole = bool(self._by_task) and now >= self.poller.sweep_at
        if whole:
            for task_id in [task_id for task_id, until in self._ghosts.items() if until <= now]:
                self._lay(task_id)
            self.poller.planner.prices.has_backlog = self.submitter.has_backlog
        if whole or due or told:
            self._sweeping = True
            self._spawn(group, self._sweep(due, asked, told, whole=whole), self._asking)

    def _told(self, now: float, group: asyncio.TaskGroup) -> list[Watch]:
        """Give the rows of the tasks that are due on the word of a callback, and look up the unsure jobs among them."""
        rows = []
        for id_ in self._hints.due(now):
            track = self._by_task.get(id_)
            if track is not None and track.watch is not None:
                rows.append(track.watch)
            elif (unsure := self.searcher.find(id_)) is not None:
                task_id = self.searcher.due_on_hint(id_)
                if task_id is not None:
                    self._spawn(group, self.poller.confirm(unsure.job.endpoint, task_id), self._asking)
        return rows

    async def _sweep(self, due: list[Watch], asked: Mapping[str, Track], told: Sequence[Watch], *, whole: bool) -> None:
        try:
            began = self._clock()
            await self.poller.sweep(due, told=told, whole=whole)
            # What the pace did not allow was not looked up, and is due as before.
            self.searcher.judge({id_: t for id_, t in asked.items() if t.watch and t.watch.asked_at >= began})
        finally:
            self._sweeping = False

    def rows(self, rows: Sequence[JsonObject], form: Form, request_id: str | None) -> list[Seen]:
        """Take every row of an answer; give those about tasks of ours.

        Most rows of a page repeat what the page before said, or are other users': each costs a look-up or two here,
        and no call.
        """
        self.submitter.key_worked |= bool(rows)
        by_task, named = self._by_task.get, self._open
        seen: list[Seen] = []
        for index, row in enumerate(rows):
            has_id = "id" in row
            task_id = row["id"] if has_id else row.get("task_id")
            track = by_task(task_id) if type(task_id) is str else None
            if track is not None:
                mark = track.mark
                if mark is not None and row.get("updated_at") == mark[1] and row.get("task_status") == mark[0]:
                    track.misses = 0
                    seen.append((index, track.watch))
                    continue
            elif not has_id and "external_id" not in row and "external_task_id" not in row:
                info = row.get("task_info")
                external_id = info.get("external_task_id") if type(info) is dict else None
                if type(external_id) is not str or external_id not in named:
                    continue
            if track is None:
                if self.row(row, form, None, request_id):
                    seen.append((index, None))
                continue
            watch = track.watch  # it has none any more once its end is taken in
            self._take_row(track, row, form, None, external_id_of(row), request_id)
            seen.append((index, watch))
        return seen

    def row(self, row: JsonObject, form: Form, asked: Watch | None, request_id: str | None) -> bool:
        """Take one row of an answer; tell whether it was about a task of ours."""
        task_id, external_id = ids_of(row)
        self.submitter.key_worked = True
        if asked is None:
            track = self._track_of(task_id, external_id)
            if track is None and task_id is not None and external_id is not None:
                self._note_duplicate(task_id, external_id)
        elif not asked.external:
            # A single query's answer is about what was asked, even where a gateway answers with an id of its own.
            track = self._by_task.get(asked.id)
        else:
            track = self.searcher.find(asked.id) if external_id in {None, asked.id} else None
        return track is not None and self._take_row(track, row, form, asked, external_id, request_id)

    def _take_row(
        self,
        track: Track,
        row: JsonObject,
        form: Form,
        asked: Watch | None,
        external_id: str | None,
        request_id: str | None,
    ) -> bool:
        job = track.job
        last = track.mark
        # Only a row with the same word can repeat what was seen: an end need not be looked at twice.
        may_repeat = last is not None and last[0] in (row.get("task_status"), row.get("status"))
        if last is not None and may_repeat and (mark := mark_of(row)) is not None and mark[:2] == last[:2]:
            track.misses = 0
            self._learn_finding(track, form, external_id, asked)
            return True
        try:
            news = decode_task(
                row,
                job.row.yields,
                retention_s=self._retention_s,
                known_id=job.task_id,
                request_id=request_id,
            )
        except BadEnvelope as error:
            _log.warning("an answer about job %s cannot be read: %s", job.id, error)
            return True
        if asked is not None and asked.external and external_id is None and self._is_older(track, news):
            _log.warning("job %s: the host answered with an older task, which is not it", job.id)
            return False
        self._learn_finding(track, form, external_id, asked)
        self._take_news(track, news)
        return True

    def _is_older(self, track: Track, news: Observation) -> bool:
        """Tell whether a task is surely not the one of an unsure job: it was there before the job was."""
        if news.created_at is None:
            return False
        return (track.job.created_at - news.created_at).total_seconds() > _CLOCKS_APART_S

    def _note_duplicate(self, task_id: str, external_id: str) -> None:
        track = self._open.get(external_id)
        if track is not None and track.job.task_id is not None and track.job.add_duplicate(task_id):
            _log.warning("job %s: the host has task %s of it as well as %s", external_id, task_id, track.job.task_id)

    def _learn_finding(self, track: Track, form: Form, external_id: str | None, asked: Watch | None) -> None:
        """Learn from a row whether this form of query finds tasks by external id."""
        # An answer to a question by task id says nothing about questions by external id; a list can be read by both.
        if (asked is not None and asked.external) or (form is Form.LIST and external_id == track.job.id):
            self.poller.reach.found_external(track.job.endpoint, form, found=True)
        elif form is Form.LIST and external_id is None and track.job.request is not None:
            self.poller.reach.found_external(track.job.endpoint, form, found=False)

    def absent(self, watch: Watch, form: Form) -> None:
        """Take note that an answer that would surely have held this task did not."""
        if watch.external:
            self.searcher.absent(watch.id, watch.endpoint, form)
            return
        track = self._by_task.get(watch.id)
        if track is None or form is not Form.SINGLE:
            return
        now = self._clock()
        track.first_miss_at = track.first_miss_at if track.misses else now
        track.misses += 1
        known = track.job.request is not None or track.job.news is not None
        if not is_gone(track.misses, track.first_miss_at, track.accepted_at, now, known=known):
            return
        if watch.id in self._ghosts:
            self._lay(watch.id)
        else:
            told = f"the host no longer knows task {watch.id}: expired, purged, or of another account"
            self.settle(track, Failed(Status.VANISHED, TaskVanished(told)))

    def _track_of(self, task_id: str | None, external_id: str | None) -> Track | None:
        track = self._by_task.get(task_id) if task_id is not None else None
        if track is None and external_id is not None:
            track = self.searcher.find(external_id)
        return track

    # --- a job's state ---------------------------------------------------------------------------------------------

    def accept(self, track: Track, news: Observation) -> None:
        """Take note that a job has a task."""
        job, task_id = track.job, news.task_id
        self.searcher.end(track)
        if job.row.kind == "finished":
            self._finish(track, news)
            return
        assert task_id is not None
        if task_id in self._by_task and not self._relay(task_id, job):
            # Following one task for two jobs would report one clip as two.
            error = SubmissionUnknown(f"the host answered with the task of another job ({task_id})")
            self.settle(track, Failed(Status.UNRESOLVED, error))
            return
        job.task_id = task_id
        self.set_status(track, Status.ACCEPTED)
        self._watch_task(track, task_id)
        if track.told is not None and track.told.status not in _UNDER_WAY:
            self._hints.offer(task_id, self._clock())
        track.told = None
        self._recorder.note(job, Status.ACCEPTED, lambda _error: job.take_task(task_id), task_id=task_id)
        _log.info("job %s has task %s", job.id, task_id)
        self.searcher.offer_proof(track, task_id)
        self._take_news(track, news)

    def _finish(self, track: Track, news: Observation) -> None:
        """End a job whose task is finished in the reply: nothing can be asked about it later."""
        job = track.job
        if news.task_id is not None:
            job.take_task(news.task_id)
        job.tell(news)
        outcome = outcome_of(news, job.endpoint, _NO_MORE_ANSWERS)
        if outcome is None:
            told = f"the service answered {news.word!r} where it finishes at once, and cannot be asked again"
            outcome = Failed(Status.UNRESOLVED, SubmissionUnknown(told))
        self.settle(track, outcome)

    def _watch_task(self, track: Track, task_id: str, *, age_s: float = 0.0) -> None:
        now = self._clock()
        self._relay(task_id, track.job)
        track.accepted_at = now
        track.watch = Watch(track.job.endpoint, task_id, external=False, asked_at=now)
        self._by_task[task_id] = track
        self.poller.follow(track.watch, kind_of(track.job), guess=guess_of(track.job), age_s=age_s)
        self._limit_time(track)
        self._wake.set()

    def _relay(self, task_id: str, job: Job) -> bool:
        """Let whoever follows this task without a record of it learn its end from `job`; tell whether the way is free.

        A task may be attached by its id, and then turn out to be that of a job which was sent and not answered.
        """
        if task_id in self._ghosts:
            self._lay(task_id)
        other = self._by_task.get(task_id)
        if other is None or other.job is job or other.is_over:
            return True
        if other.job.request is not None:
            return False
        other.is_over = True
        self.counts[other.job.status] -= 1
        del self._open[other.job.id]
        self._handles[other.job.id] = other.job
        self._forget(task_id)
        job.when_done(lambda done: self._end_like(other.job, done))
        return True

    def _end_like(self, job: Job, done: Job) -> None:
        previous = job.status
        job.end_like(done)
        if job.outcome is not None:
            self._tell_change(job, previous)

    def _take_news(self, track: Track, news: Observation) -> None:
        job = track.job
        if job.task_id in self._ghosts:
            if news.status.is_final:
                self._lay(job.task_id)
            return
        if track.search is not None and self.searcher.find(job.id) is track:
            _log.info("job %s: found", job.id)
            self.accept(track, news)
            return
        track.misses = 0
        # What ran and has ended is surely news, and never stale.
        last = None if track.mark is not None and news.status.is_final else job.news
        if is_stale(last, news):
            return
        if is_new(last, news):
            if news.status is TaskStatus.UNKNOWN and (last is None or last.word != news.word):
                _log.warning("job %s: the host says %r, which is not known; asking on", job.id, news.word)
            job.tell(news)
            track.mark = job.mark
        outcome = outcome_of(news, job.endpoint, track.empty_answers)
        if outcome is not None:
            self.settle(track, outcome)
        elif news.status is TaskStatus.SUCCEEDED:
            track.empty_answers += 1
        elif may_follow(job.status, status_of_news(news)):
            self.set_status(track, status_of_news(news))

    def set_status(self, track: Track, status: Status, *, undone: bool = False) -> None:
        """Move an open job to another open status; `undone`: surely nothing was made by the last attempt."""
        if not may_follow(track.job.status, status):
            raise AssertionError(f"job {track.job.id} cannot go from {track.job.status} to {status}")
        previous = track.job.status
        self.counts[previous] -= 1
        self.counts[status] += 1
        track.job.status = status
        self._tell_change(track.job, previous)
        if status in _NOTED:
            self._recorder.note(track.job, status, undone=undone)
        _log.info("job %s %s", track.job.id, status)

    def settle(self, track: Track, outcome: Outcome) -> None:
        """End a job: forget it here, free its slot, wake its waiters."""
        job = track.job
        status = outcome.status
        if not may_follow(job.status, status):
            raise AssertionError(f"job {job.id} cannot end as {status} from {job.status}")
        track.is_over = True
        self.counts[job.status] -= 1
        self.counts[status] += 1
        del self._open[job.id]
        self.searcher.end(track)
        if status is Status.UNRESOLVED and track.callback_url is not None:
            self._callbacks[job] = track.callback_url
        followed = job.task_id is not None and self._by_task.get(job.task_id) is track
        if followed and status is Status.ABANDONED and self.submitter.is_counting(track):
            assert job.task_id is not None
            self._haunt(job.task_id)
        else:
            self._leave(track)
        self._wake.set()
        if isinstance(outcome, Failed):
            _log.info("job %s %s (%s, paid: %s)", job.id, status, type(outcome.error).__name__, outcome.error.paid)
        else:
            _log.info("job %s %s", job.id, status)
        # Nobody is told before it is on disk; if it cannot be, the end is known all the same, and written later.
        self._ending[job.id] = job
        self._recorder.settle(job, outcome, lambda error: self._tell(job, outcome, error))

    def _tell(self, job: Job, outcome: Outcome, error: JournalError | None) -> None:
        self._ending.pop(job.id, None)
        self._handles[job.id] = job
        self._wake.set()
        if not isinstance(error, LeaseLost):
            if error is not None and isinstance(outcome, Failed) and outcome.error.paid == "no":
                # Where its end is not on disk, a run after a crash would find it open, and send it.
                outcome = Failed(outcome.status, outcome.error.anew(paid="maybe"))
            self.end(job, outcome)
            return
        # It was another process's to end: what we saw may be less than what became of it.
        self.counts[outcome.status] -= 1
        if self._closing:
            job.release(SessionClosed("another process holds the job, and follows it", paid="maybe"))
        else:
            self.watch_foreign(job)

    def lose(self, track: Track) -> None:
        """Leave a job to another process, and follow it in the journal."""
        job = track.job
        assert self._record is not None
        _log.warning("job %s: another process holds it now", job.id)
        track.is_over = True
        self.counts[job.status] -= 1
        del self._open[job.id]
        self._handles[job.id] = job
        self.searcher.end(track)
        self._leave(track)
        self.watch_foreign(job)  # its time is kept by whoever holds it

    def lost(self, job_id: str) -> None:
        """Leave a job to the process that holds it now, if it is open here."""
        track = self._open.get(job_id)
        if track is not None:
            self.lose(track)

    def watch_foreign(self, job: Job, timeout_s: float | None = None) -> None:
        """Follow a job that another process holds, in the journal."""
        assert self._sharing is not None
        self._sharing.follow(job, timeout_s)
        self._wake.set()

    def go_on(self, job: Job, entry: Entry) -> None:
        """Let a job go on from where the entry that was just taken over says it stands, or end as it says."""
        assert self._record is not None
        self._record.foreign.pop(job.id, None)
        if not is_open(entry):
            self.end_as(job, entry)
            return
        if entry.task_id is not None:
            job.take_task(entry.task_id)
        job.status = status_of_entry(entry)
        if entry.state.is_final:  # it goes on after all
            self._record.note(job, job.status)
        self.resume(job, entry)

    async def recall(self, endpoint: str) -> None:
        """Begin with what the host has shown in earlier runs."""
        if self._sharing is not None:
            await self._sharing.recall(endpoint)

    def recalled(self, endpoint: str, form: Form, *, found: bool) -> None:
        """Take note of what the host has shown in an earlier run."""
        self.poller.reach.found_external(endpoint, form, found=found)

    def end_as(self, job: Job, entry: Entry) -> None:
        """End a job as its entry says."""
        assert self._record is not None
        self._record.foreign.pop(job.id, None)
        if entry.task_id is not None:
            job.take_task(entry.task_id)
        self.end(job, outcome_from(entry, job.row, self._retention_s))

    def end(self, job: Job, outcome: Outcome) -> None:
        """Tell the end of a job to whoever waits for it, and to whoever listens."""
        previous = job.status
        job.settle(outcome)
        self._tell_change(job, previous)

    def _tell_change(self, job: Job, previous: Status | None) -> None:
        hub = self._hub
        if hub is None or not hub.is_heard:
            return
        outcome, now = job.outcome, hub.now()
        ended_at = job.news.updated_at if job.news is not None and job.news.status.is_final else None
        error = outcome.error if isinstance(outcome, Failed) else None
        paid: Paid = "no" if job.status is Status.QUEUED else "maybe"
        if outcome is not None:
            paid = "yes" if error is None else error.paid
        hub.tell(
            JobEvent(
                job_id=job.id,
                endpoint=job.endpoint,
                model="" if job.request is None else job.row.model_of(job.request),
                status=job.status,
                previous=previous,
                at=now,
                created_at=job.created_at,
                task_id=job.task_id,
                error=None if error is None else type(error).__name__,
                message=None if error is None else str(error),
                paid=paid,
                billing=None if job.news is None else job.news.billing,
                lag_s=None if ended_at is None else (now - ended_at).total_seconds(),
                metadata=job.metadata,
            )
        )

    def outlive(self, track: Track, news: Observation) -> None:
        """Take note that a job that is over has a task after all: while that runs, it takes a slot."""
        job, task_id = track.job, news.task_id
        assert task_id is not None
        job.take_task(task_id)
        self._recorder.late(job, task_id)
        askable = job.row.kind == "task" and not news.status.is_final and task_id not in self._by_task
        if askable and not self._closing and self.submitter.is_counting(track):
            self._watch_task(track, task_id)
            self._haunt(task_id)
        else:
            self.submitter.release_slot(track)

    def _haunt(self, task_id: str) -> None:
        self._ghosts[task_id] = self._clock() + self._policy.task_limit_s

    def _lay(self, task_id: str) -> None:
        """Ask about the task of an abandoned job no longer: it has ended, or was given its time."""
        del self._ghosts[task_id]
        self._forget(task_id)
        self._wake.set()

    def _leave(self, track: Track) -> None:
        """Ask about a job's task no longer, if it is followed, and free its slot."""
        task_id = track.job.task_id
        if task_id is not None and self._by_task.get(task_id) is track:
            self._forget(task_id)
        else:
            self._let_go(track)

    def _forget(self, task_id: str) -> None:
        track = self._by_task.pop(task_id)
        self._hints.forget(task_id)
        if track.watch is not None:
            self.poller.leave(track.watch, track.job.news)
        self._let_go(track)

    def _let_go(self, track: Track) -> None:
        track.watch = None
        self.submitter.release_slot(track)


def kind_of(job: Job) -> str:
    """Name the class of a job: tasks that take about as long."""
    request = job.request
    if request is None:
        return job.endpoint
    settings = getattr(request, "settings", None)
    parts = [job.endpoint, job.row.model_of(request)]
    parts += [str(getattr(request, name, None) or getattr(settings, name, None) or "") for name in ("mode", "duration")]
    return " ".join(parts)


def guess_of(job: Job) -> Guess:
    """Tell how long tasks like this job take, as far as nothing is known of them."""
    return OTHERS if job.row.path.startswith(("/v1/images/", "/v1/audio/", "/v1/general/")) else CLIPS
