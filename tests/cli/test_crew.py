"""The crew on a session that does as it is told: every entry ends once, whatever the session does."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from kling_async import (
    Asset,
    IdentifyFace,
    Job,
    JournalCorrupt,
    KlingSession,
    Result,
    Saved,
    SchedulerCrashed,
    SessionClosed,
    Status,
    TextToVideo,
)
from kling_async.cli.crew import Crew
from kling_async.cli.exits import Exit, Fail
from kling_async.cli.inputs import Entry
from kling_async.cli.interrupt import Interrupt
from kling_async.cli.report import tell_open
from kling_async.cli.talk import Talk
from kling_async.cli.tally import Done
from kling_async.endpoints import find_endpoint
from kling_async.models import Succeeded

RESULT = Result(assets=(Asset(kind="video", url="https://example.com/a.mp4"),), endpoint="text2video", task_id="-1/x")


@attrs.define
class Fake:
    """Gives a job that has succeeded for each request, until `crash_at`; saves nothing but the names."""

    crash_at: int = 1_000_000
    is_closed: bool = False
    names: list[str | None] = attrs.field(factory=list)
    submitted: int = 0
    asking: int = 0
    most_asking: int = 0

    async def call(self, request: object) -> object:
        if self.submitted >= self.crash_at:
            raise SchedulerCrashed("a bug", paid="maybe")
        self.submitted += 1
        self.asking += 1
        self.most_asking = max(self.asking, self.most_asking)
        await asyncio.sleep(0)
        self.asking -= 1
        return request

    async def submit(self, request: object, *, job_id: str | None = None, metadata: object = None) -> Job:
        assert metadata is None, "without a journal nothing is noted"
        self.submitted += 1
        if self.submitted >= self.crash_at:
            raise SchedulerCrashed("a bug", paid="no")
        job = Job(
            job_id or f"job-{self.submitted}",
            find_endpoint(request),
            request,
            created_at=datetime.now(UTC),
            status=Status.PROCESSING,
            task_id="-1/x",
        )
        job.settle(Succeeded(RESULT))
        return job

    async def save(self, _result: Result, _out: Path, *, name: str | None = None) -> list[Saved]:
        if self.is_closed:
            raise SessionClosed("the session is closed", paid="no")
        self.names.append(name)
        return [Saved(Path(f"{name}.mp4"), "video", 4, "")]

    async def aclose(self) -> None:
        self.is_closed = True


def entries(number: int, **more: Any) -> Iterator[Entry]:
    for line in range(1, number + 1):
        yield Entry(label=f"line {line}", line=line, request=TextToVideo(prompt="a"), **more)


def work(session: Fake, given: Iterator[Entry], total: int, *, out: Path | None = Path()) -> tuple[Crew, list[Done]]:
    ends: list[Done] = []

    async def run() -> Crew:
        crew = Crew(cast(KlingSession, session), Interrupt(), total=total, out=out, on_done=ends.append)
        await crew.work(given)
        return crew

    return asyncio.run(run()), ends


def test_every_entry_ends_once() -> None:
    crew, ends = work(Fake(), entries(2500), 2500)
    assert crew.tally.fine == len(ends) == 2500
    assert crew.tally.exit_code() is Exit.DONE


def test_entries_beyond_the_total_are_left_alone() -> None:
    """A file that grew after it was checked: what was not checked is not sent."""
    session = Fake()
    work(session, entries(5), 3)
    assert session.submitted == 3


@pytest.mark.parametrize(
    ("more", "name"),
    [({}, "_1_x"), ({"stem": "00001"}, "00001--1_x"), ({"stem": "00001", "job_id": "_mine"}, "xmine")],
)
def test_names_of_files(more: dict[str, str], name: str) -> None:
    session = Fake()
    work(session, entries(1, **more), 1)
    assert session.names == [name]


def test_a_crash_is_told_once_for_each_job_it_left() -> None:
    crew, ends = work(Fake(crash_at=3), entries(5), 5)
    assert crew.tally.fine == 2
    assert crew.tally.unsent == 3
    assert len(ends) == 5
    assert crew.tally.exit_code() is Exit.FAILED


def test_a_clip_of_a_session_that_ended_first_was_paid_for() -> None:
    crew, (done,) = work(Fake(is_closed=True), entries(1), 1)
    assert done.is_open
    assert done.error is not None
    assert done.error.paid == "yes"
    assert crew.tally.open == [done]


def test_a_line_that_went_bad_stops_the_rest() -> None:
    def spoilt() -> Iterator[Entry]:
        yield from entries(2)
        raise Fail("line 3 is gone")

    crew, _ = work(Fake(), spoilt(), 5)
    assert str(crew.trouble) == "line 3 is gone"
    assert (crew.tally.fine, crew.tally.unsent) == (2, 3)


def test_a_journal_that_breaks_ends_the_rest() -> None:
    """What was read before is saved; the others are counted as not looked for."""

    async def stored() -> AsyncIterator[Entry]:
        for entry in entries(2):
            yield attrs.evolve(entry, result=RESULT)
        raise JournalCorrupt("line 3 is damaged")

    async def run() -> Crew:
        session = cast(KlingSession, Fake())
        crew = Crew(session, Interrupt(), total=5, out=Path(), on_done=lambda _done: None, resume="kling x", ended=5)
        await crew.work(stored())
        return crew

    crew = asyncio.run(run())
    assert (str(crew.trouble), crew.trouble and crew.trouble.code) == ("line 3 is damaged", Exit.FAILED)
    assert (crew.tally.fine, crew.tally.unseen, crew.tally.unsent) == (2, 3, 0)
    assert crew.tally.exit_code() is Exit.FAILED


def test_a_source_that_grows_is_taken_to_its_end() -> None:
    """Other processes may end jobs while a journal is read."""

    async def stored() -> AsyncIterator[Entry]:
        for entry in entries(3):
            yield attrs.evolve(entry, result=RESULT)

    async def run() -> Crew:
        crew = Crew(cast(KlingSession, Fake()), Interrupt(), total=1, out=Path(), on_done=lambda _done: None, ended=1)
        await crew.work(stored())
        return crew

    tally = asyncio.run(run()).tally
    assert (tally.fine, tally.total, tally.unseen) == (3, 3, 0)


def calls(number: int) -> list[Entry]:
    return [Entry(label="", line=line, request=IdentifyFace(video_id="1")) for line in range(number)]


def test_few_calls_are_under_way_at_once() -> None:
    session = Fake()
    crew, ends = work(session, iter(calls(50)), 50)
    assert session.most_asking == 4
    assert crew.tally.fine == crew.tally.answered == len(ends) == 50
    assert crew.tally.asking == 0


def test_calls_after_a_stop_are_not_sent() -> None:
    session = Fake()
    crew = Crew(cast(KlingSession, session), Interrupt(), total=20, out=None, on_done=lambda _done: crew.stop())
    asyncio.run(crew.work(calls(20)))
    assert crew.tally.fine == session.submitted < 20
    assert crew.tally.unsent == 20 - session.submitted


def test_a_call_that_may_have_cost_something_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    crew, _ = work(Fake(crash_at=0), iter(calls(1)), 1)
    assert len(crew.tally.open) == 1
    tell_open(Talk(), crew)
    assert "identify-face, which is answered at once; the answer is lost, perhaps paid" in capsys.readouterr().err
