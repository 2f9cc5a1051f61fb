"""The finding side: looks up jobs that were sent and not answered, by their external id.

Stage: loop. Before: submitter (unsure jobs). After: poller (the look-ups ride on its sweeps), lifecycle (decisions).

Theory. "Not found" means something only on a host that has shown that it can find: so one task that surely exists is
asked for by its external id, once per endpoint. A positive answer proves itself, on any form of query.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping

import attrs

from .errors import SubmissionUnknown
from .hints import Hints
from .job import Owner, Track
from .lifecycle import Look, Resend, Search, Unsure, judge_search, look_again, next_look
from .models import Failed, Observation, Policy, Status
from .poller import Poller
from .sweep import MISSES_BEFORE_SINGLE, Batch, Form, Query, Single, Watch

_log = logging.getLogger(__name__)

# The first serves as the first look at a lone task. A new task may be visible late; after the last a host cannot find
# by our id.
_PROOF_DELAYS_S = (0.95, 4.0, 16.0, 60.0)


@attrs.define
class Proof:
    """Whether a host finds tasks by external id, tried on one task that surely exists."""

    endpoint: str
    job_id: str
    task_id: str
    due_at: float
    tries: int = 0


@attrs.define(kw_only=True, eq=False)
class Searcher:
    """Owner of what is known about unsure jobs.

    Attributes:
        owner: who changes a job's state.
        send_again: who queues a job that has no task, with its old id.
        learn: who remembers for later runs what the host has shown.
        hints: what callbacks told.
    """

    policy: Policy
    clock: Callable[[], float]
    poller: Poller
    owner: Owner
    send_again: Callable[[Track], None]
    learn: Callable[[str, object], Awaitable[None]]
    hints: Hints
    _searches: dict[str, Track] = attrs.field(factory=dict)
    _proofs: dict[str, Proof] = attrs.field(factory=dict)

    def __repr__(self) -> str:
        return f"<Searcher [{len(self._searches)} unsure, {len(self._proofs)} proofs open]>"

    def begin(self, track: Track, verdict: Unsure) -> None:
        """Look a job up from now on."""
        job = track.job
        resent = track.search.resent if track.search is not None else 0
        now = self.clock()
        track.search = Search(now, exists=verdict.exists or track.told is not None, resent=resent)
        track.watch = Watch(job.endpoint, job.id, external=True, asked_at=now)
        self._searches[job.id] = track
        if track.told is not None:
            self.hints.offer(job.id, now)
        _log.warning("job %s: looking up whether a task exists: %s", job.id, verdict.error)

    def told(self, track: Track, news: Observation) -> None:
        """Take a callback's word that a job has a task of which that is not known: it is looked up, not sent again.

        Whatever it says of the task comes from our own question; but that it was sent by the service, in answer to
        a request of ours, is reason enough not to pay for another one.
        """
        job, now = track.job, self.clock()
        track.told = news
        if job.status is Status.QUEUED:
            track.search = track.search or Search(now)
            track.search.absent_at, track.insists = -math.inf, False
        if track.search is not None:
            track.search.exists = True
        if self._searches.get(job.id) is track:
            self.hints.offer(job.id, now)

    def due_on_hint(self, job_id: str) -> str | None:
        """Make the next look for a job due at once, or give the task id to ask about instead.

        Where the host has not shown that it finds by external id, the id that the callback told is the shorter way;
        only an answer that bears our external id is taken for it.
        """
        track = self._searches[job_id]
        assert track.search is not None
        task_id = None if track.told is None else track.told.task_id
        if task_id is not None and not self.poller.reach.of(track.job.endpoint, Form.SINGLE).finds_external:
            return task_id
        track.search.is_told = True
        return None

    def look_again(self, track: Track) -> None:
        """Look once more for a job that waited too long to be sent again on what was known of it."""
        assert track.search is not None
        now = self.clock()
        look_again(track.search, now)
        if track.told is not None:
            self.hints.offer(track.job.id, now)
        # Asked singly, since only that can say that it is absent.
        track.watch = Watch(track.job.endpoint, track.job.id, external=True, asked_at=now, misses=MISSES_BEFORE_SINGLE)
        self._searches[track.job.id] = track

    def end(self, track: Track) -> None:
        """Look it up no longer: it was found, sent again, or has ended."""
        if self._searches.pop(track.job.id, None) is not None:
            track.watch = None

    def find(self, external_id: str) -> Track | None:
        """Give the unsure job of that id."""
        return self._searches.get(external_id)

    def next_moment(self) -> float | None:
        """Give the loop time of the next look."""
        return min(
            (next_look(track.search, self.policy) for track in self._searches.values() if track.search), default=None
        )

    def due(self, now: float) -> dict[str, Track]:
        """Give the jobs to be looked up now."""
        return {
            job_id: track
            for job_id, track in self._searches.items()
            if track.search is not None and next_look(track.search, self.policy) <= now
        }

    def absent(self, job_id: str, endpoint: str, form: Form) -> None:
        """Take note that an answer that would surely have held this job's task did not.

        Only a single query can say that: a batch may be cut short, and a list have a bound of its own.
        """
        track = self._searches.get(job_id)
        if track is None or track.search is None or form is not Form.SINGLE:
            return
        search, now = track.search, self.clock()
        if now - search.since >= self.policy.settle_s:
            search.answered += 1
            if self.poller.reach.of(endpoint, form).finds_external:
                search.absent, search.absent_at = search.absent + 1, now

    def judge(self, asked: Mapping[str, Track]) -> None:
        """Decide about the jobs that were just looked up and not found."""
        for job_id, track in asked.items():
            if self._searches.get(job_id) is not track or track.search is None:
                continue
            track.search.looks += 1
            track.search.is_told = False
            track.search.looked_at = self.clock()
            can_find = self.poller.reach.can_find_external(track.job.endpoint)
            if track.account not in {"", self.poller.transport.credentials.account}:
                can_find = False  # another account is not told of this one's tasks
            decision = judge_search(track.search, can_find=can_find, now=self.clock(), policy=self.policy)
            if isinstance(decision, Resend) and track.job.request is not None:
                self.end(track)
                told = "the host has no task of it" if decision.proved else "the host cannot be asked about it"
                _log.warning("job %s: %s; sending it again with the same id", job_id, told)
                track.insists = not decision.proved
                self.send_again(track)
            elif not isinstance(decision, Look):
                self._give_up(track, exists=track.search.exists)

    def _give_up(self, track: Track, *, exists: bool) -> None:
        told = (
            f"the host says that the id {track.job.id} is taken, and does not find its task"
            if exists
            else "it was sent and not answered, and the host cannot be asked about it; sending it again may pay twice"
        )
        self.owner.settle(track, Failed(Status.UNRESOLVED, SubmissionUnknown(told, paid="yes" if exists else "maybe")))

    # --- proofs ----------------------------------------------------------------------------------------------------

    def offer_proof(self, track: Track, task_id: str) -> None:
        """Take a job that surely has a task, if this endpoint has not shown yet that it finds by external id.

        A list that tells external ids is not enough: only a question for one id can say that it is absent.
        """
        endpoint = track.job.endpoint
        if endpoint not in self._proofs and self.poller.reach.of(endpoint, Form.SINGLE).finds_external is None:
            due_at = self.clock() + _PROOF_DELAYS_S[0]
            self._proofs[endpoint] = Proof(endpoint, track.job.id, task_id, due_at)

    def next_proof_at(self) -> float | None:
        """Give the loop time of the next proof."""
        return min((proof.due_at for proof in self._proofs.values()), default=None)

    def due_proofs(self, now: float) -> list[Proof]:
        """Take out the proofs to be tried now."""
        due = []
        for endpoint, proof in list(self._proofs.items()):
            if self.poller.reach.of(endpoint, Form.SINGLE).finds_external:
                del self._proofs[endpoint]  # shown by an answer that came meanwhile
            elif proof.due_at <= now:
                del self._proofs[endpoint]
                due.append(proof)
        return due

    async def prove(self, proof: Proof) -> None:
        """Ask for a task that surely exists by its external id, in each form that may serve."""
        reach = self.poller.reach
        queries: list[tuple[Form, Query]] = [(Form.SINGLE, Single(proof.endpoint, proof.job_id, external=True))]
        if reach.of(proof.endpoint, Form.BATCH).works:
            batch = Batch((proof.job_id,), frozenset({proof.endpoint}), external=True)
            queries.insert(0, (Form.BATCH, batch))
        last = proof.tries + 1 >= len(_PROOF_DELAYS_S)
        for form, query in queries:
            found = await self.poller.probe(query, form, {proof.job_id, proof.task_id})
            if found or (found is False and last):
                reach.found_external(proof.endpoint, form, found=found)
                await self.learn(f"finds {proof.endpoint} {form}", found)
            # A batch that finds it says nothing of single queries, and only those can say that a task is absent.
            if found and form is Form.SINGLE:
                return
        if not last:
            proof.tries += 1
            proof.due_at = self.clock() + _PROOF_DELAYS_S[proof.tries]
            self._proofs[proof.endpoint] = proof
