"""The sending side: keeps jobs in order, lets them go when there are slots, and sorts what comes back.

Stage: loop. Before: scheduler (new jobs). After: transport (the POST), lifecycle (what its answer means).

Each job is sent by one asyncio task of the loop's own, so that no caller's cancellation can hit a POST in flight.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any

import attrs

from .auth import Secret
from .endpoints import Body, body_of, dump, encode_files, has_files, place_ids
from .errors import (
    AuthError,
    BadEnvelope,
    KlingError,
    LeaseLost,
    ServiceError,
    SlotsFull,
    clean_text,
)
from .events import JOB_SENT, Hub, PauseEvent
from .job import Owner, Track
from .lifecycle import Accepted, Barred, Later, NotSent, Refused, Search, Unsure, Verdict, judge_submission
from .models import Failed, Observation, Policy, Status
from .recorder import Recorder
from .retry import Backoff, Quota
from .slots import Gate
from .transport import Transport
from .wire import JsonObject, decode_task

_log = logging.getLogger(__name__)

_PROOF_FRESH_S = 10.0  # a task may become visible while its job waits for a slot to be sent again
_BEHIND = 1 << 60  # beyond every place in line
_REFUSALS_ALONE = 5
_REFUSED_ALONE_S = 60.0
_FIRST_KNOCK_S = 10.0
_UNBROKEN_S = 150.0  # two tries with the longest delay lie closer together than this

Spawn = Callable[[Coroutine[Any, Any, None]], None]


@attrs.define
class Bar:
    """The account is refused as a whole: nothing goes but one knock at a time.

    Attributes:
        error: the last refusal.
        since: loop time of the first, seconds.
        knock_at: loop time of the next try, seconds.
    """

    error: ServiceError
    since: float
    knock_at: float = 0.0


@attrs.define(kw_only=True, eq=False)
class Submitter:
    """Sends jobs, at most once each, in order of arrival, as slots allow.

    Attributes:
        owner: who changes a job's state.
        unsure: who takes a job of which it is not known whether it has a task.
        look_again: who looks once more for a job that waited too long to be sent again.
        recorder: who writes down that a job is being sent, before it is.
        address: gives the callback URL that the host is told for a job, from the one that is recorded.
        quota: what trying again may cost, with what the poller spends.
        gates: slots per (pack, model).
        sent: create requests sent so far.
        in_flight: create requests not answered yet.
        bar: why nothing may be sent for now, if the account or its key was refused.
        hub: who listens to the session.
        key_worked: the host has let us in with these credentials; so a later refusal is a change, and not a mistake.
    """

    transport: Transport
    policy: Policy
    rng: random.Random
    clock: Callable[[], float]
    owner: Owner
    unsure: Callable[[Track, Unsure], None]
    look_again: Callable[[Track], None]
    recorder: Recorder
    address: Callable[[str, str | None], str | None]
    max_running: int | None = None
    quota: Quota = attrs.field(factory=Quota)
    gates: dict[tuple[str, str], Gate] = attrs.field(factory=dict)
    sent: int = 0
    in_flight: int = 0
    bar: Bar | None = None
    hub: Hub | None = None
    key_worked: bool = False
    _waiting: dict[tuple[str, str], list[tuple[int, Track]]] = attrs.field(factory=dict)
    _backoff: Backoff = attrs.field(init=False)
    _slots_backoff: Backoff = attrs.field(init=False)
    _knocks: Backoff = attrs.field(init=False)
    _resume_at: float = 0.0
    _unreachable_since: float | None = None
    _unreachable_at: float = 0.0
    _throttled_since: float | None = None

    def __attrs_post_init__(self) -> None:
        self._backoff = Backoff(self.rng, quota=self.quota)
        self._slots_backoff = Backoff(self.rng)
        self._knocks = Backoff(self.rng, first_s=_FIRST_KNOCK_S)

    def __repr__(self) -> str:
        waiting = sum(len(queue) for queue in self._waiting.values())
        return f"<Submitter [{waiting} waiting, {self.in_flight} in flight, {self.sent} sent]>"

    @property
    def has_backlog(self) -> bool:
        """Whether jobs wait for slots: a limit was met, or the session's own bound is reached."""
        limited = self.max_running is not None or any(gate.limit is not None for gate in self.gates.values())
        return limited and any(self._waiting.values())

    def queue(self, track: Track) -> None:
        """Put a job in line; one that was refused for lack of a slot gets its old place back.

        One of several slots that was refused with nothing of ours running goes to the end: what fits must not wait.
        So does one for which the account was refused: another may be allowed.
        """
        place = track.order + (_BEHIND if (track.slots > 1 and track.refused) or track.is_barred else 0)
        heapq.heappush(self._waiting.setdefault(track.gate, []), (place, track))

    def next_moment(self, now: float) -> float | None:
        """Give the loop time at which waiting jobs may go, where it is a matter of time and not of slots."""
        if not any(self._waiting.values()):
            return None
        moments = [gate.shut_until for gate in self.gates.values() if gate.shut_until > now]
        moments += [moment for moment in (self._resume_at, self.bar.knock_at if self.bar else 0.0) if moment > now]
        return min(moments, default=None)

    def dispatch(self, now: float, spawn: Spawn) -> None:
        """Start as many submissions as slots, connections and trouble allow, the longest waiting first."""
        if now < self._resume_at or (self.bar is not None and now < self.bar.knock_at):
            return
        progress = True
        while progress:
            progress = False
            # The longest waiting first, so that no model starves another of the session's own bound.
            for key, waiting in sorted(self._waiting.items(), key=lambda entry: entry[1][:1]):
                # One knock at a time while nobody opens.
                knocking = self._unreachable_since is not None or self.bar is not None
                most = 1 if knocking else self.policy.max_submissions
                if self.in_flight < most:
                    progress |= self._let_one_go(key, waiting, now, spawn)
                    if waiting and self._is_held_up(key, waiting[0][1], now):
                        break  # by the session's own bound: what came later must not take the room it waits for

    def _let_one_go(self, key: tuple[str, str], waiting: list[tuple[int, Track]], now: float, spawn: Spawn) -> bool:
        while waiting and waiting[0][1].is_over:
            heapq.heappop(waiting)
        if not waiting:
            return False
        track = waiting[0][1]
        gate = self.gates.setdefault(key, Gate())
        if not gate.admits(track.slots, now) or not self._has_room(track.slots):
            return False
        if self._throttled_since is not None and gate.sending > 0:
            return False  # while the host says to slow down, one of each model finds out whether it still does
        heapq.heappop(waiting)
        if self._is_proof_old(track):
            self.look_again(track)
            return True
        if track.search is not None:
            track.search.resent += 1
        gate.sent(track.slots)
        self.in_flight += 1
        self.owner.set_status(track, Status.SENDING)
        spawn(self._submit(track))
        return True

    def _is_held_up(self, key: tuple[str, str], track: Track, now: float) -> bool:
        """Tell whether a job could go, were there room within the bound of the session."""
        return self.gates.setdefault(key, Gate()).admits(track.slots, now) and not self._has_room(track.slots)

    def _has_room(self, slots: int) -> bool:
        if self.max_running is None:
            return True
        used = sum(gate.running + gate.sending for gate in self.gates.values())
        return used == 0 or used + slots <= self.max_running

    async def _submit(self, track: Track) -> None:
        answer: Observation | KlingError
        try:
            address = self.address(track.job.id, track.callback_url)
            hidden = () if address in {None, track.callback_url} else (Secret(str(address).rpartition("/")[2]),)
            body = await self._encode(track, address)
            await self.recorder.sending(track.job)
            # All that was known may have changed while that was written: the process may even have stood still.
            if track.is_over or track.told is not None or self._is_proof_old(track):
                self._take_back(track)
                return
            self.sent += 1
            track.account = self.transport.credentials.account
            JOB_SENT.set(track.job.id)  # for this asyncio task alone, which sends this job alone
            envelope = await self.transport.submit(
                track.job.row.path, body, lambda: self.recorder.may_send(track.job), hidden
            )
            if len(envelope.rows) != 1:
                raise BadEnvelope(f"the answer to a create holds {len(envelope.rows)} tasks")
            answer = self._read(track, envelope.rows[0])
        except KlingError as error:
            answer = error
        finally:
            self.in_flight -= 1
        self._take_verdict(track, judge_submission(answer))

    def _is_proof_old(self, track: Track) -> bool:
        """Tell whether it is too long ago that the host was seen to have no task of a job that was sent before."""
        search = track.search
        return search is not None and not track.insists and self.clock() - search.absent_at > _PROOF_FRESH_S

    def _take_back(self, track: Track) -> None:
        """Not send a job after all: nobody wants it any more, or it must be looked up once more first."""
        self.gates[track.gate].returned(track.slots)
        if not track.is_over:
            if track.search is None:  # a callback told of its task meanwhile
                track.search = Search(self.clock(), exists=True, resent=1)
            track.search.resent -= 1
            self.look_again(track)

    def _read(self, track: Track, row: JsonObject) -> Observation:
        job = track.job
        news = decode_task(
            row,
            job.row.yields,
            created=True,
            retention_s=self.transport.host.retention_s,
            nameless=job.row.kind == "finished",
        )
        if news.external_id not in {None, "", job.id} and job.row.kind == "task":
            raise BadEnvelope(f"the answer to a create is about another job ({clean_text(news.external_id, 80)})")
        return news

    async def _encode(self, track: Track, address: str | None) -> bytes:
        job = track.job
        fields: Body = body_of(job.request, self.transport.host)
        place_ids(job.row, fields, job_id=job.id, callback_url=address)
        if has_files(job.request):
            hashes = self.recorder.hashes(job)
            return await asyncio.to_thread(lambda: dump(encode_files(fields, job.request, hashes)))
        return dump(fields)

    def _take_verdict(self, track: Track, verdict: Verdict) -> None:
        gate = self.gates[track.gate]
        if track.told is not None and isinstance(verdict, NotSent | Later | Barred | Refused):
            # Whatever the answer says, the service has called back about its task.
            verdict = verdict if isinstance(verdict.error, LeaseLost) else Unsure(verdict.error, exists=True)
        if not isinstance(verdict, NotSent):
            self._unreachable_since = None
        if not isinstance(verdict, NotSent | Later):
            self._throttled_since = None
        if isinstance(verdict, Accepted | Refused) or (isinstance(verdict, Later) and _is_let_in(verdict.error)):
            self._let_in()
        if track.is_over:  # abandoned, or out of time, while the answer was on its way
            if isinstance(verdict, Accepted) and track.job.task_id is None:
                gate.taken(track.slots)
                track.holds_slot = True
                self.owner.outlive(track, verdict.observation)
            else:
                gate.returned(track.slots)
                self.recorder.late(track.job, None)
        elif isinstance(verdict, Accepted):
            self._backoff.success()
            gate.taken(track.slots)
            track.holds_slot = True
            self.owner.accept(track, verdict.observation)
        elif isinstance(verdict, Unsure):
            gate.taken(track.slots, surely=False)
            track.holds_slot = True
            self.unsure(track, verdict)
        elif isinstance(verdict, Refused):
            gate.returned(track.slots)
            self._reject(track, verdict.error)
        elif isinstance(verdict, Barred):
            self._wait_for_account(track, gate, verdict)
        elif isinstance(verdict, Later):
            self._wait_for_turn(track, gate, verdict)
        elif isinstance(verdict.error, LeaseLost):
            gate.returned(track.slots)
            self.owner.lose(track)
        else:
            self._wait_for_host(track, gate, verdict)

    def _let_in(self) -> None:
        """Take note that the host accepts the account and its key."""
        self.key_worked = True
        self._knocks.level = 0
        if self.bar is not None:
            self.bar = None
            _log.warning("the account is accepted again: sending goes on")
            self._tell_pause(None)

    def try_again(self) -> None:
        """Knock at once, if the account or its key was refused: something has changed."""
        if self.bar is not None:
            self.bar.knock_at = 0.0
            self._knocks.level = 0

    def _wait_for_account(self, track: Track, gate: Gate, verdict: Barred) -> None:
        now, error = self.clock(), verdict.error
        gate.returned(track.slots)
        is_news = self.bar is None
        if is_news and isinstance(error, AuthError) and not self.key_worked:
            self._reject(track, error)  # a wrong key from the start, to be corrected before anything else
            return
        if self.bar is None:
            self.bar = Bar(error, since=now)
            _log.warning("nothing is sent until the host accepts the account again: %s", error)
            self._tell_pause(error)
        self.bar.error = error
        if now >= self.bar.knock_at:
            self.bar.knock_at = now + self._knocks.trouble(error.retry_in_s)
        if now - self.bar.since >= self.policy.account_wait_s:
            waiting = [entry[1] for queue in self._waiting.values() for entry in queue if not entry[1].is_over]
            for other in (track, *waiting):
                self._reject(other, error)
        elif is_news and not isinstance(error, AuthError):
            self._reject(track, error)  # one job brings the news; the others wait
        else:
            track.is_barred = True
            self._requeue(track)

    def _reject(self, track: Track, error: KlingError) -> None:
        if track.search is None:
            self.owner.settle(track, Failed(Status.REJECTED, error.anew(paid="no")))
        else:  # it was sent before, and may have a task after all: a later run looks again
            self.owner.settle(track, Failed(Status.UNRESOLVED, error.anew(paid="maybe")))

    def _wait_for_turn(self, track: Track, gate: Gate, verdict: Later) -> None:
        now = self.clock()
        if not isinstance(verdict.error, SlotsFull):
            gate.returned(track.slots)
            self._throttled_since = now if self._throttled_since is None else self._throttled_since
            if now - self._throttled_since >= self.policy.slots_wait_s:
                # A gateway hides an empty pack behind the same words; nobody must wait for that without end.
                self._reject(track, verdict.error)
                return
            if now >= self._resume_at:  # several that are refused at once are one refusal
                _log.warning("the host refuses creates for now: %s", verdict.error)
                # Source: service reference, "Concurrency": at least one second.
                self._resume_at = now + max(1.0, self._backoff.trouble(verdict.error.retry_in_s))
                self._tell_pause(verdict.error, self._resume_at - now)
        else:
            alone = gate.running == 0
            # Source: service reference, "Concurrency": at least one second.
            gate.full(track.slots, now, max(1.0, self._slots_backoff.trouble()) if alone else 0.0)
            since = gate.refused_since
            if since is not None and now - since >= self.policy.slots_wait_s:
                self._reject(track, verdict.error)
                return
            if alone and self._is_too_large(track, now):
                told = f"it takes {track.slots} slots at once, which the account does not seem to have: {verdict.error}"
                self._reject(track, SlotsFull(told, code=verdict.error.code))
                return
        self._requeue(track)

    def _is_too_large(self, track: Track, now: float) -> bool:
        """Tell whether a job of several slots was refused alone so often that it can never run.

        Others may hold the slots for a while; a job of one slot waits for them as long as the policy says.
        """
        track.refused_at = track.refused_at if track.refused else now
        track.refused += 1
        return track.slots > 1 and track.refused >= _REFUSALS_ALONE and now - track.refused_at >= _REFUSED_ALONE_S

    def _wait_for_host(self, track: Track, gate: Gate, verdict: NotSent) -> None:
        now = self.clock()
        gate.returned(track.slots)
        if self._unreachable_since is None or now - self._unreachable_at > _UNBROKEN_S:
            self._unreachable_since = now  # an outage of long ago is not this one
        self._unreachable_at = now
        if not verdict.error.retryable or now - self._unreachable_since >= self.policy.unreachable_s:
            self._reject(track, verdict.error)
            return
        if now >= self._resume_at:  # several that fail at once are one knock
            self._resume_at = min(now + self._backoff.trouble(), self._unreachable_since + self.policy.unreachable_s)
            self._tell_pause(verdict.error, self._resume_at - now)
        _log.warning("job %s not sent, trying again: %s", track.job.id, verdict.error)
        self._requeue(track)

    def _tell_pause(self, error: KlingError | None, wait_s: float | None = None) -> None:
        if self.hub is not None and self.hub.is_heard:
            reason = None if error is None else str(error)
            self.hub.tell(PauseEvent(at=self.hub.now(), what="submissions", reason=reason, wait_s=wait_s))

    def _requeue(self, track: Track) -> None:
        if track.search is not None:
            track.search.resent -= 1  # nothing was made of it
        self.owner.set_status(track, Status.QUEUED, undone=True)
        self.queue(track)

    def is_counting(self, track: Track) -> bool:
        """Tell whether it matters that a job's slot stays taken: a limit was met, or the user gave one."""
        return track.holds_slot and (self.max_running is not None or self.gates[track.gate].limit is not None)

    def adopt_slot(self, track: Track) -> None:
        """Count the slot of a job of an earlier run, whose task may be running."""
        track.holds_slot = True
        self.gates.setdefault(track.gate, Gate()).adopted(track.slots)

    def release_slot(self, track: Track) -> None:
        """Give back the slot of a job whose task ended, or turned out not to exist."""
        if track.holds_slot:
            track.holds_slot = False
            self._slots_backoff.success()
            self.gates[track.gate].released_by_end(track.slots)


def _is_let_in(error: ServiceError) -> bool:
    # A refusal for lack of slots is about this account; a gateway's "too many requests" may come before it looks.
    return isinstance(error, SlotsFull)
