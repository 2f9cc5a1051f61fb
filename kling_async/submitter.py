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

from .endpoints import Body, body_of, dump, encode_files, has_files, place_ids
from .errors import BadEnvelope, InvalidRequest, KlingError, LeaseLost, Paid, SlotsFull, clean_text
from .job import Owner, Track
from .lifecycle import Accepted, Later, NotSent, Refused, Unsure, Verdict, judge_submission
from .models import Failed, Observation, Policy, Status
from .recorder import Recorder
from .retry import Backoff
from .slots import Gate
from .transport import Transport
from .wire import JsonObject, decode_task

_log = logging.getLogger(__name__)

_PROOF_FRESH_S = 10.0  # a task may become visible while its job waits for a slot to be sent again
_BEHIND = 1 << 60  # beyond every place in line
_REFUSALS_ALONE = 5
_REFUSED_ALONE_S = 60.0
_UNBROKEN_S = 150.0  # two tries with the longest delay lie closer together than this

Spawn = Callable[[Coroutine[Any, Any, None]], None]


@attrs.define(kw_only=True, eq=False)
class Submitter:
    """Sends jobs, at most once each, in order of arrival, as slots allow.

    Attributes:
        owner: who changes a job's state.
        unsure: who takes a job of which it is not known whether it has a task.
        look_again: who looks once more for a job that waited too long to be sent again.
        recorder: who writes down that a job is being sent, before it is.
        gates: slots per (pack, model).
        sent: create requests sent so far.
        in_flight: create requests not answered yet.
    """

    transport: Transport
    policy: Policy
    rng: random.Random
    clock: Callable[[], float]
    owner: Owner
    unsure: Callable[[Track, Unsure], None]
    look_again: Callable[[Track], None]
    recorder: Recorder
    max_running: int | None = None
    gates: dict[tuple[str, str], Gate] = attrs.field(factory=dict)
    sent: int = 0
    in_flight: int = 0
    _waiting: dict[tuple[str, str], list[tuple[int, Track]]] = attrs.field(factory=dict)
    _backoff: Backoff = attrs.field(init=False)
    _slots_backoff: Backoff = attrs.field(init=False)
    _resume_at: float = 0.0
    _unreachable_since: float | None = None
    _unreachable_at: float = 0.0
    _throttled_since: float | None = None

    def __attrs_post_init__(self) -> None:
        self._backoff = Backoff(self.rng)
        self._slots_backoff = Backoff(self.rng)

    def __repr__(self) -> str:
        waiting = sum(len(queue) for queue in self._waiting.values())
        return f"<Submitter [{waiting} waiting, {self.in_flight} in flight, {self.sent} sent]>"

    def queue(self, track: Track) -> None:
        """Put a job in line; one that was refused for lack of a slot gets its old place back.

        One of several slots that was refused with nothing of ours running goes to the end: what fits must not wait.
        """
        place = track.order + (_BEHIND if track.slots > 1 and track.refused else 0)
        heapq.heappush(self._waiting.setdefault(track.gate, []), (place, track))

    def next_moment(self, now: float) -> float | None:
        """Give the loop time at which waiting jobs may go, where it is a matter of time and not of slots."""
        if not any(self._waiting.values()):
            return None
        moments = [gate.shut_until for gate in self.gates.values() if gate.shut_until > now]
        if self._resume_at > now:
            moments.append(self._resume_at)
        return min(moments, default=None)

    def dispatch(self, now: float, spawn: Spawn) -> None:
        """Start as many submissions as slots, connections and trouble allow, the longest waiting first."""
        if now < self._resume_at:
            return
        progress = True
        while progress:
            progress = False
            # The longest waiting first, so that no model starves another of the session's own bound.
            for key, waiting in sorted(self._waiting.items(), key=lambda entry: entry[1][:1]):
                # One knock at a time while nobody opens.
                most = 1 if self._unreachable_since is not None else self.policy.max_submissions
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
        heapq.heappop(waiting)
        if track.search is not None:
            if now - track.search.absent_at > _PROOF_FRESH_S:
                self.look_again(track)
                return True
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
            body = await self._encode(track)
            await self.recorder.sending(track.job, self.clock())
            self.sent += 1
            envelope = await self.transport.submit(track.job.row.path, body)
            if len(envelope.rows) != 1:
                raise BadEnvelope(f"the answer to a create holds {len(envelope.rows)} tasks")
            answer = self._read(track, envelope.rows[0])
        except KlingError as error:
            answer = error
        finally:
            self.in_flight -= 1
        self._take_verdict(track, judge_submission(answer))

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

    async def _encode(self, track: Track) -> bytes:
        job = track.job
        try:
            fields: Body = body_of(job.request, self.transport.host)
            place_ids(job.row, fields, job_id=job.id, callback_url=track.callback_url)
            if has_files(job.request):
                return await asyncio.to_thread(lambda: dump(encode_files(fields, job.request)))
            return dump(fields)
        except RecursionError:  # one caller's request must not end everybody's session
            raise InvalidRequest("request", type(job.request).__name__, "is nested too deeply") from None

    def _take_verdict(self, track: Track, verdict: Verdict) -> None:
        gate = self.gates[track.gate]
        if not isinstance(verdict, NotSent):
            self._unreachable_since = None
        if not isinstance(verdict, NotSent | Later):
            self._throttled_since = None
        if track.is_over:  # abandoned, or out of time, while the answer was on its way
            if isinstance(verdict, Accepted) and track.job.task_id is None:
                gate.taken(track.slots)
                track.holds_slot = True
                self.owner.outlive(track, verdict.observation)
            else:
                gate.returned(track.slots)
        elif isinstance(verdict, Accepted):
            self._backoff.success()
            gate.taken(track.slots)
            track.holds_slot = True
            self.owner.accept(track, verdict.observation)
        elif isinstance(verdict, Unsure):
            gate.taken(track.slots)
            track.holds_slot = True
            self.unsure(track, verdict)
        elif isinstance(verdict, Refused):
            gate.returned(track.slots)
            # One that was sent before may have a task after all, however surely it was not found.
            paid: Paid = "no" if track.search is None else "maybe"
            self.owner.settle(track, Failed(Status.REJECTED, verdict.error.anew(paid=paid)))
        elif isinstance(verdict, Later):
            self._wait_for_turn(track, gate, verdict)
        elif isinstance(verdict.error, LeaseLost):
            gate.returned(track.slots)
            self.owner.lose(track)
        else:
            self._wait_for_host(track, gate, verdict)

    def _wait_for_turn(self, track: Track, gate: Gate, verdict: Later) -> None:
        now = self.clock()
        if not isinstance(verdict.error, SlotsFull):
            gate.returned(track.slots)
            self._throttled_since = now if self._throttled_since is None else self._throttled_since
            if now - self._throttled_since >= self.policy.slots_wait_s:
                # A gateway hides an empty pack behind the same words; nobody must wait for that without end.
                self.owner.settle(track, Failed(Status.REJECTED, verdict.error))
                return
            if now >= self._resume_at:  # several that are refused at once are one refusal
                _log.warning("the host refuses creates for now: %s", verdict.error)
                # Source: service reference, "Concurrency": at least one second.
                self._resume_at = now + max(1.0, self._backoff.trouble(verdict.error.retry_in_s))
        else:
            alone = gate.running == 0
            # Source: service reference, "Concurrency": at least one second.
            gate.full(track.slots, now, max(1.0, self._slots_backoff.trouble()) if alone else 0.0)
            since = gate.refused_since
            if since is not None and now - since >= self.policy.slots_wait_s:
                self.owner.settle(track, Failed(Status.REJECTED, verdict.error))
                return
            if alone and self._is_too_large(track, now):
                told = f"it takes {track.slots} slots at once, which the account does not seem to have: {verdict.error}"
                self.owner.settle(track, Failed(Status.REJECTED, SlotsFull(told, code=verdict.error.code)))
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
            self.owner.settle(track, Failed(Status.REJECTED, verdict.error))
            return
        if now >= self._resume_at:  # several that fail at once are one knock
            self._resume_at = min(now + self._backoff.trouble(), self._unreachable_since + self.policy.unreachable_s)
        _log.warning("job %s not sent, trying again: %s", track.job.id, verdict.error)
        self._requeue(track)

    def _requeue(self, track: Track) -> None:
        self.owner.set_status(track, Status.QUEUED)
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
