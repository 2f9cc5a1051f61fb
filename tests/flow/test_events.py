"""The stream of what happens in a session: complete, in order, bounded, and free while nobody listens."""

import asyncio
import contextlib
import gc
from pathlib import Path

import attrs
import pytest
from flow_tools import EPOCH, client, clip, service

from kling_async import (
    ConfigError,
    Events,
    Job,
    JobEvent,
    KlingError,
    Missed,
    PauseEvent,
    Policy,
    QueryEvent,
    RequestEvent,
    SessionClosed,
    Status,
    SweepEvent,
    events,
)
from kling_async.emulator import Fault
from kling_async.events import Event, Hub


async def read(reader: Events) -> list[Event]:
    return [event async for event in reader]


def told_of(told: list[Event]) -> list[JobEvent]:
    return [event for event in told if isinstance(event, JobEvent)]


async def test_one_job_from_its_submission_to_its_end() -> None:
    async with service(duration_s=60.0) as emulator:
        async with client(emulator) as kling:
            reader = kling.events()
            job = await kling.submit(clip(), metadata={"order": 7})
            result = await job
        told = await read(reader)
    jobs = told_of(told)
    assert [(event.previous, event.status) for event in jobs] == [
        (None, "queued"),
        ("queued", "sending"),
        ("sending", "accepted"),
        ("accepted", "processing"),
        ("processing", "succeeded"),
    ]
    assert {(event.job_id, event.endpoint, event.model, event.metadata["order"]) for event in jobs} == {
        (job.id, "text2video", "kling-v2-6", 7)
    }
    assert [event.task_id for event in jobs] == [None, None] + [result.task_id] * 3
    assert [event.paid for event in jobs] == ["no", "maybe", "maybe", "maybe", "yes"]
    end = jobs[-1]
    assert end.created_at.timestamp() == EPOCH
    assert (end.error, end.message, end.billing) == (None, None, result.billing)
    assert end.lag_s is not None
    assert 0 <= end.lag_s < 10
    assert end.at.timestamp() == pytest.approx(EPOCH + 60 + end.lag_s, abs=1)
    submits = [event for event in told if isinstance(event, RequestEvent) and event.purpose == "submit"]
    assert [(event.method, event.http_status, event.job_id, event.error) for event in submits] == [
        ("POST", 200, job.id, None)
    ]
    assert submits[0].url == "http://localhost/v1/videos/text2video"
    queries = [event for event in told if isinstance(event, QueryEvent)]
    assert {(event.endpoints, event.tasks, event.error) for event in queries} == {(("text2video",), 1, None)}
    sweeps = [event for event in told if isinstance(event, SweepEvent)]
    assert len(queries) - sum(sweep.queries for sweep in sweeps) in {0, 1}, "the session closed in the last"
    assert (sweeps[0].answered, sweeps[0].failed, sweeps[0].pending) == (1, 0, 1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        end.status = Status.FAILED  # type: ignore[misc]


async def test_why_a_job_failed_and_what_was_spent() -> None:
    async with service(duration_s=5.0) as emulator:
        async with client(emulator) as kling:
            reader = kling.events()
            jobs = [job async for job in kling.map([clip("[fail] a"), clip("[refuse] b")])]
        ends = {event.job_id: event for event in told_of(await read(reader)) if event.status.is_final}
    for job in jobs:
        assert job.error is not None
        end = ends[job.id]
        assert (end.error, end.message, end.paid) == (type(job.error).__name__, str(job.error), job.error.paid)
    assert {end.status for end in ends.values()} == {Status.FAILED, Status.REJECTED}


async def test_an_answer_that_was_lost() -> None:
    fault = Fault(action="reset", stage="after", kind="create", times=1)
    async with service(faults=[fault], duration_s=20.0) as emulator:
        async with client(emulator) as kling:
            reader = kling.events()
            await kling.generate(clip())
        told = await read(reader)
    statuses = [event.status for event in told_of(told)]
    assert statuses[:4] == ["queued", "sending", "unsure", "accepted"]
    lost = next(event for event in told if isinstance(event, RequestEvent))
    assert (lost.http_status, lost.error) == (None, "ConnectionLost")


async def test_a_pause_and_its_end() -> None:
    """An account without money: nothing goes, and the reason is told; then it goes on."""
    fault = Fault(action="status", kind="create", code=1102, until_s=100.0)
    async with service(faults=[fault], duration_s=5.0) as emulator:
        async with client(emulator) as kling:
            reader = kling.events()
            jobs = [await kling.submit(clip(str(number))) for number in range(3)]
            await asyncio.gather(*map(_wait, jobs))
        pauses = [event for event in await read(reader) if isinstance(event, PauseEvent)]
    assert [pause.what for pause in pauses] == ["submissions"] * 2
    assert pauses[0].reason is not None
    assert "1102" in pauses[0].reason
    assert pauses[1].reason is None


async def _wait(job: Job) -> None:
    with contextlib.suppress(KlingError):
        await job


async def test_trouble_with_questions() -> None:
    fault = Fault(action="html", kind="single", status=502, until_s=30.0)
    others = [attrs.evolve(fault, kind=kind) for kind in ("list", "batch")]
    async with service(faults=[fault, *others], duration_s=10.0) as emulator:
        async with client(emulator) as kling:
            reader = kling.events()
            await kling.generate(clip())
            await kling.generate(clip())
        told = await read(reader)
    pauses = [event for event in told if isinstance(event, PauseEvent)]
    assert pauses[0].reason is not None
    assert pauses[0].wait_s is not None
    assert (pauses[-1].reason, pauses[-1].what) == (None, "queries")
    failed = [event for event in told if isinstance(event, QueryEvent) and event.error]
    assert {event.error for event in failed} == {"BadEnvelope"}
    assert {event.http_status for event in told if isinstance(event, RequestEvent)} >= {200, 502}


async def test_several_readers_and_a_slow_one() -> None:
    """A reader that does not read loses the oldest, and is told how many; the other loses nothing."""
    async with service(duration_s=1.0) as emulator:
        async with client(emulator) as kling:
            quick, slow = kling.events(), kling.events(buffer=3)
            background = asyncio.ensure_future(read(quick))
            assert len([job async for job in kling.map(clip(str(number)) for number in range(10))]) == 10
            assert "3 waiting" in repr(slow)
        whole, rest = await background, await read(slow)
    assert rest[0] == Missed(len(whole) - 3)
    assert rest[1:] == whole[-3:]
    assert len([event for event in told_of(whole) if event.status is Status.SUCCEEDED]) == 10


async def test_a_reader_waits_and_ends_with_the_session() -> None:
    async with service() as emulator:
        async with client(emulator) as kling:
            reader = kling.events()
            waiting = [asyncio.ensure_future(anext(reader, None)) for _ in range(2)]
            await asyncio.sleep(5)
            assert not any(each.done() for each in waiting)
        assert await asyncio.gather(*waiting) == [None, None]
        assert await read(reader) == []
        with pytest.raises(SessionClosed):
            kling.events()


async def test_a_reader_that_leaves_is_fed_no_more() -> None:
    async with service(duration_s=1.0) as emulator, client(emulator) as kling:
        hub = kling._runtime.hub
        reader = kling.events()
        reader.close()
        assert "0 readers" in repr(hub)
        reader = kling.events()
        await kling.submit(clip())
        async for _ in reader:
            break
        del reader
        gc.collect()
        assert not hub.is_heard
        with pytest.raises(ConfigError, match="buffer=0"):
            kling.events(buffer=0)


async def test_nothing_is_made_while_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an event was made for nobody")

    for module in ("transport", "poller", "scheduler", "submitter"):
        for name in ("JobEvent", "QueryEvent", "RequestEvent", "SweepEvent", "PauseEvent"):
            monkeypatch.setattr(f"kling_async.{module}.{name}", refuse, raising=False)
    async with service(duration_s=5.0) as emulator, client(emulator) as kling:
        assert (await kling.generate(clip())).url


async def test_the_end_is_told_when_it_is_on_disk(tmp_path: Path) -> None:
    """And jobs of an earlier run are new to the session that goes on with them."""
    async with service(duration_s=30.0) as emulator:
        async with client(emulator, journal=tmp_path / "j.db") as kling:
            job = await kling.submit(clip(), job_id="a")
            await job.accepted()
        async with client(emulator, journal=tmp_path / "j.db") as kling:
            reader = kling.events()
            (again,) = await kling.adopt()
            await again
            assert kling._runtime.record is not None
        jobs = told_of(await read(reader))
    assert (jobs[0].previous, jobs[0].status) == (None, "accepted")
    assert jobs[0].task_id == job.task_id
    assert jobs[-1].status is Status.SUCCEEDED


async def test_an_owner_s_decision_is_told() -> None:
    fault = Fault(action="reset", stage="before", kind="create", times=1)
    async with service("cometapi", faults=[fault], duration_s=5.0) as emulator:
        async with client(emulator, policy=Policy(settle_s=1.0)) as kling:
            reader = kling.events()
            job = await kling.submit(clip())
            await _wait(job)
            assert job.status is Status.UNRESOLVED
            await job.resend()
            await job
        steps = [(event.previous, event.status) for event in told_of(await read(reader))]
    assert ("unsure", "unresolved") in steps
    assert ("unresolved", "queued") in steps
    assert steps[-1][1] == "succeeded"


async def test_a_tap_that_raises_is_its_own_trouble(caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub(lambda: 0.0)
    reader = hub.read()

    def tap(event: Event) -> None:
        raise RuntimeError("mine")

    ends: list[int] = []
    leave = hub.tap(tap, lambda: ends.append(1))
    hub.tell(Missed(1))
    leave()
    leave()
    assert "mine" in caplog.text
    assert ends == [1]
    assert await anext(reader) == Missed(1)
    assert repr(hub) == "<Hub [1 readers, 0 taps]>"
    assert events.BUFFER >= 1000
