"""The crew on a session that does as it is told: every entry ends once, whatever the session does."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from kling_async import Asset, Job, KlingSession, Result, SchedulerCrashed, SessionClosed, Status, TextToVideo
from kling_async.cli.crew import Crew, Done
from kling_async.cli.exits import Exit, Fail
from kling_async.cli.inputs import Entry
from kling_async.cli.interrupt import Interrupt
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

    async def submit(self, request: object, *, job_id: str | None = None) -> Job:
        self.submitted += 1
        if self.submitted >= self.crash_at:
            raise SchedulerCrashed("a bug", paid="no")
        job = Job(
            job_id or f"job-{self.submitted}",
            find_endpoint(request),
            request,
            created_at=datetime.now(UTC),
            abandon=lambda _job: None,
            status=Status.PROCESSING,
            task_id="-1/x",
        )
        job.settle(Succeeded(RESULT))
        return job

    async def download(self, _result: Result, _out: Path, *, name: str | None = None) -> list[Path]:
        if self.is_closed:
            raise SessionClosed("the session is closed", paid="no")
        self.names.append(name)
        return [Path(f"{name}.mp4")]

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
    [({}, None), ({"stem": "00001"}, "00001--1_x"), ({"stem": "00001", "job_id": "_mine"}, "xmine")],
)
def test_names_of_files(more: dict[str, str], name: str | None) -> None:
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
