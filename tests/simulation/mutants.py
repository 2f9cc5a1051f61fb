"""Deliberate bugs: proof that the simulation can fail. Each is patched in for a while, and must be found soon."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from simulator import run_seed
from world import Violation

from kling_async import lifecycle, scheduler, searcher, session, submitter
from kling_async.job import Job
from kling_async.journal import Entry
from kling_async.lifecycle import Accepted, Resend, Search
from kling_async.models import Failed, Status
from kling_async.recorder import Record, plain_outcome
from kling_async.searcher import Searcher
from kling_async.slots import Gate
from kling_async.submitter import Submitter
from kling_async.sweep import Reach

Patch = tuple[Any, str, Any]


def _resend_at_once() -> list[Patch]:
    """Absent once is absent: no settle window."""

    def absent(self: Searcher, job_id: str, _endpoint: str, _form: Any) -> None:
        track = self._searches.get(job_id)
        if track is not None and track.search is not None:
            track.search.answered += 1
            track.search.absent, track.search.absent_at = track.search.absent + 1, self.clock()

    def judge(search: Search, *, can_find: bool | None, **_more: Any) -> Any:
        hopeful = can_find and search.absent and search.resent < 2
        return Resend() if hopeful else lifecycle.judge_search(search, can_find=can_find, **_more)

    return [(Searcher, "absent", absent), (searcher, "judge_search", judge)]


def _believe_the_blind() -> list[Patch]:
    """A host that cannot find is believed when it says that there is nothing."""
    return [(Reach, "can_find_external", lambda _self, _endpoint: True), (Searcher, "absent", _absent_of_anybody)]


def _absent_of_anybody(self: Searcher, job_id: str, _endpoint: str, _form: Any) -> None:
    track = self._searches.get(job_id)
    if track is not None and track.search is not None and self.clock() - track.search.since >= self.policy.settle_s:
        track.search.answered += 1
        track.search.absent, track.search.absent_at = track.search.absent + 1, self.clock()


def _send_before_recording() -> list[Patch]:
    """SENDING is written, but not waited for."""

    async def sending(self: Record, job: Job, _now: float) -> None:
        self.note(job, Status.SENDING)

    return [(Record, "sending", sending)]


def _never_record_sending() -> list[Patch]:
    """Nothing says that a job was sent."""

    async def sending(_self: Record, _job: Job, _now: float) -> None:
        return

    return [(Record, "sending", sending)]


def _keep_slots() -> list[Patch]:
    """A task that ended keeps its slot."""

    def release(_self: Submitter, track: Any) -> None:
        track.holds_slot = False

    return [(Submitter, "release_slot", release)]


def _free_slots_twice() -> list[Patch]:
    """An answer that came too late frees what was freed."""
    full: Callable[..., None] = Gate.full

    def twice(self: Gate, taken: int, now: float, delay_s: float) -> None:
        full(self, taken, now, delay_s)
        self.sending -= taken

    return [(Gate, "full", twice)]


def _settle_twice() -> list[Patch]:
    """An end is told again, as something else."""
    settle: Callable[..., None] = Job.settle

    def again(self: Job, outcome: Any) -> None:
        settle(self, outcome)
        if isinstance(outcome, Failed):
            settle(self, Failed(outcome.status, outcome.error))

    return [(Job, "settle", again), (Record, "settle", _settle_and_change)]


def _settle_and_change(self: Record, job: Job, outcome: Any, then: Any) -> None:
    state = Status.SUCCEEDED if not isinstance(outcome, Failed) else outcome.status
    self._put(job, {"state": state, "outcome": plain_outcome(outcome)}, then)
    self._put(job, {"state": Status.FAILED}, None)
    self.held.pop(job.id, None)


def _tell_before_recording() -> list[Patch]:
    """A waiter hears of the end first; a crash then leaves the job open."""

    def settle(self: Record, job: Job, outcome: Any, then: Any) -> None:
        then(None)
        self.held.pop(job.id, None)
        del outcome

    return [(Record, "settle", settle)]


def _forget_the_task() -> list[Patch]:
    """The task id is not written down, and what was sent is taken for not sent."""

    def status(entry: Entry) -> Status:
        return Status.QUEUED if entry.task_id is None else Status.ACCEPTED

    return [(module, "status_of_entry", status) for module in (scheduler, session)]


def _unsure_is_refused() -> list[Patch]:
    """A lost answer is told as a refusal that cost nothing."""
    judge = lifecycle.judge_submission

    def careless(answer: Any) -> Any:
        verdict = judge(answer)
        return lifecycle.Refused(verdict.error) if isinstance(verdict, lifecycle.Unsure) else verdict

    return [(submitter, "judge_submission", careless)]


def _new_id_for_a_resend() -> list[Patch]:
    """A lost answer is sent again at once, as if nothing had been sent."""
    judge = lifecycle.judge_submission

    def careless(answer: Any) -> Any:
        verdict = judge(answer)
        return lifecycle.NotSent(verdict.error) if isinstance(verdict, lifecycle.Unsure) else verdict

    return [(submitter, "judge_submission", careless)]


def _lose_an_answer() -> list[Patch]:
    """An accepted job is not asked about."""
    take: Callable[..., None] = Submitter._take_verdict
    count = iter(range(1_000_000))

    def forgetful(self: Submitter, track: Any, verdict: Any) -> None:
        if isinstance(verdict, Accepted) and next(count) % 3 == 2:
            self.gates[track.gate].returned(track.slots)
            return
        take(self, track, verdict)

    return [(Submitter, "_take_verdict", forgetful)]


def _ignore_the_lease() -> list[Patch]:
    """Who was away sends without a look at its lease."""

    async def sending(self: Record, job: Job, _now: float) -> None:
        return

    async def renew(self: Record) -> None:
        self._prolong(self.clock())

    return [(Record, "sending", sending), (Record, "renew", renew)]


def _too_many_at_once() -> list[Patch]:
    """The session's own bound is one too high."""

    def has_room(self: Submitter, slots: int) -> bool:
        used = sum(gate.running + gate.sending for gate in self.gates.values())
        return self.max_running is None or used + slots <= self.max_running + 1

    return [(Submitter, "_has_room", has_room)]


MUTANTS: dict[str, Callable[[], list[Patch]]] = {
    "resend at once": _resend_at_once,
    "believe a host that cannot find": _believe_the_blind,
    "send before SENDING is durable": _send_before_recording,
    "never record SENDING": _never_record_sending,
    "keep the slots of what ended": _keep_slots,
    "free slots twice": _free_slots_twice,
    "settle twice": _settle_twice,
    "tell before recording": _tell_before_recording,
    "take SENDING for QUEUED after a crash": _forget_the_task,
    "take a lost answer for a refusal": _unsure_is_refused,
    "send again at once after a lost answer": _new_id_for_a_resend,
    "lose an accepted job": _lose_an_answer,
    "ignore the lease": _ignore_the_lease,
    "one more than max_running": _too_many_at_once,
}


# Where each that is not found at once was found last: tried first, so that the tests are quick.
LIKELY: dict[str, int] = {
    "resend at once": 137,
    "believe a host that cannot find": 19,
    "send before SENDING is durable": 31,
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Patch a deliberate bug in."""
    patches = MUTANTS[name]()
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    for owner, attribute, value in patches:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)


def first_seed_that_finds(name: str, seeds: Iterable[int]) -> tuple[int | None, str]:
    """Give the first seed that fails with this bug, and what it says; the likely one comes before the others."""
    with mutated(name):
        for seed in (*([LIKELY[name]] if name in LIKELY else []), *seeds):
            try:
                run_seed(seed)
            except Violation as error:
                return seed, str(error)
    return None, ""
