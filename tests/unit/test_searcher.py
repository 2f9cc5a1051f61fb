"""searcher.py: what counts as evidence that a job has no task, and what does not."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from kling_async import ConnectionLost, Job, Policy, Status, SubmissionUnknown, TextToVideo
from kling_async.auth import ApiKey, Secret
from kling_async.dialects import PRESETS
from kling_async.endpoints import find_endpoint
from kling_async.job import Track
from kling_async.lifecycle import Search, Unsure
from kling_async.models import Failed
from kling_async.poller import Poller
from kling_async.searcher import Searcher
from kling_async.sweep import Form

ROW = find_endpoint("text2video")
DOUBT = Unsure(ConnectionLost("reset"))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Loop:
    """The scheduler's side: what it was told."""

    def __init__(self) -> None:
        self.settled: list[Failed] = []
        self.sent: list[str] = []
        self.learned: list[tuple[str, object]] = []

    def settle(self, track: Track, outcome: Any) -> None:
        self.settled.append(outcome)

    def send_again(self, track: Track) -> None:
        self.sent.append(track.job.id)

    async def learn(self, key: str, value: object) -> None:
        self.learned.append((key, value))


class Place:
    def __init__(self, policy: Policy | None = None) -> None:
        self.clock, self.loop = Clock(), Loop()
        key = ApiKey(Secret("key"))
        host: Any = type("Transport", (), {"host": PRESETS["global"], "credentials": key})()
        listener: Any = self.loop
        policy = policy or Policy()
        self.poller = Poller(transport=host, policy=policy, rng=random.Random(7), clock=self.clock, listener=listener)
        owner: Any = self.loop
        self.searcher = Searcher(
            policy=policy,
            clock=self.clock,
            poller=self.poller,
            owner=owner,
            send_again=self.loop.send_again,
            learn=self.loop.learn,
            hints=self.poller.hints,
        )
        job = Job("j1", ROW, TextToVideo(prompt="a boat"), created_at=datetime.fromtimestamp(5, UTC))
        self.track = Track(job, 1, (ROW.pack, ""))

    @property
    def search(self) -> Search:
        assert self.track.search is not None
        return self.track.search

    def knows(self, *, finds: bool | None) -> None:
        """Let the host have shown whether it finds single tasks by our id."""
        self.poller.reach.of("text2video", Form.SINGLE).finds_external = finds

    def absent(self, form: Form = Form.SINGLE) -> None:
        self.searcher.absent("j1", "text2video", form)


def counts(search: Search) -> tuple[int, int]:
    return search.answered, search.absent


def test_only_single_answers_after_the_window_of_a_host_that_finds_say_that_a_job_has_no_task() -> None:
    here = Place()
    here.knows(finds=True)
    here.searcher.begin(here.track, DOUBT)
    here.clock.now += 59.9
    here.absent()
    assert counts(here.search) == (0, 0), "it may become visible yet"
    here.clock.now += 0.1
    for form in (Form.BATCH, Form.LIST):
        here.absent(form)
    assert counts(here.search) == (0, 0), "a batch may be cut short, and a list have a bound of its own"
    here.absent()
    assert counts(here.search) == (1, 1)
    assert here.search.absent_at == here.clock.now
    here.knows(finds=False)
    here.clock.now += 5
    here.absent()
    assert counts(here.search) == (2, 1), "who cannot find has said nothing"
    assert here.search.absent_at == here.clock.now - 5


def test_news_that_a_job_is_absent_which_nobody_looks_up_any_more_is_nothing() -> None:
    """The answer to the last look may come after the one that found it."""
    here = Place()
    here.absent()
    here.searcher.begin(here.track, DOUBT)
    here.searcher.end(here.track)
    here.clock.now += 100
    here.absent()
    assert counts(here.search) == (0, 0)
    assert here.track.watch is None
    here.searcher.judge({"j1": here.track})
    assert here.search.looks == 0


def looked_up(here: Place, times: int = 40) -> None:
    """Look it up, in vain, until something is decided."""
    for _ in range(times):
        moment = here.searcher.next_moment()
        if moment is None or here.loop.settled or here.loop.sent:
            return
        here.clock.now = max(here.clock.now, moment)
        due = here.searcher.due(here.clock.now)
        assert set(due) == {"j1"}
        here.absent()
        here.searcher.judge(due)


def test_proven_absent_it_is_sent_again_and_looked_up_no_longer() -> None:
    here = Place()
    here.knows(finds=True)
    here.searcher.begin(here.track, DOUBT)
    looked_up(here)
    assert (here.loop.sent, here.loop.settled) == (["j1"], [])
    assert here.clock.now == 1000.0 + 65
    assert here.track.insists is False
    assert (here.searcher.next_moment(), here.searcher.find("j1")) == (None, None)


@pytest.mark.parametrize(("exists", "paid", "words"), [(True, "yes", "is taken"), (False, "maybe", "may pay twice")])
def test_what_cannot_be_found_out_is_given_up_in_words_that_say_what_it_cost(
    exists: bool, paid: str, words: str
) -> None:
    here = Place()
    here.knows(finds=False)
    here.searcher.begin(here.track, Unsure(ConnectionLost("reset"), exists=exists))
    looked_up(here)
    (end,) = here.loop.settled
    assert here.loop.sent == []
    assert end.status is Status.UNRESOLVED
    assert isinstance(end.error, SubmissionUnknown)
    assert end.error.paid == paid
    assert words in str(end.error)


def test_who_said_so_beforehand_insists_and_the_job_remembers_that() -> None:
    here = Place(Policy(on_unknown="resend"))
    here.knows(finds=False)
    here.searcher.begin(here.track, DOUBT)
    looked_up(here)
    assert (here.loop.sent, here.track.insists) == (["j1"], True)


def test_how_often_it_was_sent_is_not_forgotten_by_a_second_doubt() -> None:
    """Else a host that loses every answer would be sent it without end."""
    here = Place()
    here.searcher.begin(here.track, DOUBT)
    here.search.resent = 2
    here.searcher.begin(here.track, DOUBT)
    assert (here.search.resent, here.search.looks, here.search.since) == (2, 0, here.clock.now)


def test_one_proof_at_a_time_and_none_where_it_is_known() -> None:
    here = Place()
    here.knows(finds=None)
    assert here.searcher.next_proof_at() is None
    here.searcher.offer_proof(here.track, "t1")
    here.searcher.offer_proof(here.track, "t2")
    assert here.searcher.next_proof_at() == 1000.95
    assert here.searcher.due_proofs(1000.9) == []
    (proof,) = here.searcher.due_proofs(1000.95)
    assert (proof.job_id, proof.task_id, proof.tries) == ("j1", "t1", 0)
    assert here.searcher.next_proof_at() is None
    here.searcher.offer_proof(here.track, "t1")
    here.knows(finds=True)
    assert here.searcher.due_proofs(2000.0) == [], "an answer that came meanwhile has shown it"
    assert here.searcher.next_proof_at() is None
    here.searcher.offer_proof(here.track, "t1")
    assert here.searcher.next_proof_at() is None
