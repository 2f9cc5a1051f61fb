"""A journal that was lost is made again from the account's own lists, and nothing is paid twice for it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flow_tools import EPOCH, assert_paid_once, client, clip, kinds, service, wall

from kling_async import (
    AuthError,
    ConfigError,
    Finding,
    Found,
    ImageGeneration,
    Job,
    KlingSession,
    Operation,
    SessionClosed,
    Status,
    find_host,
)
from kling_async.emulator import Emulator, Fault
from kling_async.journal import Entry, MemoryJournal, MemoryStore
from kling_async.recorder import outcome_from
from kling_async.recovery import PAGE_SIZE


def journal(store: MemoryStore, owner: str = "later") -> MemoryJournal:
    return MemoryJournal(wall=wall, owner=owner, store=store)


def boat(text: str) -> Operation:
    return Operation(operation="text-to-video", model="kling-3.0", prompt=text, settings={"duration": 3})


def request_of(index: int, standard: str) -> Any:
    if standard == "new":
        return boat(f"boat {index}")
    return ImageGeneration(prompt=f"picture {index}") if index % 3 == 0 else clip(f"scene {index}")


async def made_and_lost(emulator: Emulator, requests: list[Any], **names: Any) -> list[Job]:
    """Submit them under a journal that nobody will have any more."""
    async with client(emulator, journal=journal(MemoryStore(), "lost")) as kling:
        jobs = [await kling.submit(request, **names) for request in requests]
        await asyncio.gather(*(job.accepted() for job in jobs))
        return jobs


@pytest.mark.parametrize("standard", ["legacy", "new", "mixed"])
async def test_a_journal_lost_in_the_middle_is_made_again(standard: str) -> None:
    """Thirty jobs, done, failed and running: after recover and adopt each has its end, and was paid once."""
    store = MemoryStore()
    async with service(duration_s=(20.0, 400.0), failure_rate=0.2) as emulator:
        lost = MemoryStore()
        async with client(emulator, journal=journal(lost, "lost")) as kling:
            wanted = [standard if standard != "mixed" else ("legacy", "new")[index % 2] for index in range(30)]
            jobs = [await kling.submit(request_of(index, kind)) for index, kind in enumerate(wanted)]
            await asyncio.gather(*(job.accepted() for job in jobs))
            await asyncio.sleep(150)
            ended = {job.id for job in jobs if job.done()}
            assert 0 < len(ended) < 30
        async with client(emulator, journal=journal(store)) as kling:
            recovery = await kling.recover()
            assert (recovery.added, recovery.mended, recovery.told) == (30, 0, [])
            assert not recovery.broken
            assert set(store.entries) == {job.id for job in jobs}
            for job in jobs:
                entry = store.entries[job.id]
                assert entry.task_id == job.task_id
                assert entry.created_at == pytest.approx(job.created_at.timestamp(), abs=1)
                if standard == "legacy":
                    assert entry.endpoint == job.endpoint
                if job.id in ended:
                    assert entry.state is job.status
            adopted = await kling.adopt()
            assert 0 < len(adopted) <= 30 - len(ended)
            await asyncio.gather(*adopted, return_exceptions=True)
        assert_paid_once(emulator, 30)
        assert kinds(emulator)["create"] == 30
        states = {task.external_id: task.status for task in emulator.tasks}
    ends = {"succeed": Status.SUCCEEDED, "failed": Status.FAILED}
    assert {job_id: entry.state for job_id, entry in store.entries.items()} == {
        job_id: ends[word] for job_id, word in states.items()
    }


async def test_doing_it_twice_changes_nothing() -> None:
    store = MemoryStore()
    async with service(duration_s=50.0) as emulator:
        await made_and_lost(emulator, [clip(f"scene {index}") for index in range(5)])
        await asyncio.sleep(100)
        async with client(emulator, journal=journal(store)) as kling:
            await kling.recover()
            before = dict(store.entries)
            again = await kling.recover()
        assert (again.added, again.mended, again.known) == (0, 0, 5)
        assert store.entries == before


async def test_a_recovered_job_is_the_same_job() -> None:
    """Submitted again under its name: the result that is there, or the task that runs; the request may be any."""
    store = MemoryStore()
    async with service(duration_s=200.0) as emulator:
        await made_and_lost(emulator, [clip("one")], job_id="order-1")
        await asyncio.sleep(300)
        await made_and_lost(emulator, [boat("two")], job_id="order-2")
        async with client(emulator, journal=journal(store)) as kling:
            assert (await kling.recover()).added == 0  # they bear names of the caller
            assert (await kling.recover(prefixes=["order-"])).added == 2
            asked = len(emulator.requests)
            done = await kling.submit(clip("one"), job_id="order-1")
            assert (await done).url.endswith(".mp4") or (await done).url
            assert len(emulator.requests) == asked
            running = await kling.submit(boat("two"), job_id="order-2")
            assert (running.status, running.endpoint) == (Status.ACCEPTED, "text-to-video/kling-3.0")
            assert (await running).task_id == emulator.tasks[1].task_id
        assert_paid_once(emulator, 2)
        assert outcome_from(store.entries["order-2"], running.row, None).__class__.__name__ == "Succeeded"


def entry_of(kling: KlingSession, **fields: Any) -> Entry:
    kept = {"job_id": "ka-1", "endpoint": "text2video", "host": kling.host.name, "created_at": EPOCH}
    return Entry(**{**kept, **fields})


@pytest.mark.parametrize("state", [Status.QUEUED, Status.SENDING, Status.UNSURE])
async def test_a_job_without_a_task_is_given_its_task(state: Status) -> None:
    """Also one that an old copy of the journal holds for not sent: adopting it would send it a second time."""
    store = MemoryStore()
    async with service(duration_s=500.0) as emulator:
        (job,) = await made_and_lost(emulator, [clip("one")], job_id="ka-1")
        async with client(emulator, journal=journal(store)) as kling:
            old = entry_of(kling, state=state, attempt=int(state is not Status.QUEUED), request={"prompt": "one"})
            store.entries["ka-1"] = old
            store.unsettled["ka-1"] = None
            seen: list[Found] = []
            planned = await kling.recover(dry_run=True, on_found=seen.append)
            assert (planned.mended, store.entries["ka-1"]) == (1, old)
            assert (await kling.recover(on_found=seen.append)).mended == 1
            assert [(found.finding, found.state) for found in seen] == [(Finding.MENDED, Status.ACCEPTED)] * 2
            entry = store.entries["ka-1"]
            assert (entry.task_id, entry.state, entry.attempt) == (job.task_id, Status.ACCEPTED, 1)
            assert entry.request == {"prompt": "one"}
            (adopted,) = await kling.adopt()
            assert (await adopted).task_id == job.task_id
        assert_paid_once(emulator, 1)


async def test_what_is_there_is_never_changed() -> None:
    """An end, another host's job, a job that somebody holds, a job with another task: told, and left as it is."""
    store = MemoryStore()
    async with service(duration_s=500.0, unique_external_ids=False) as emulator:
        for name in ("ka-ended", "ka-elsewhere", "ka-held", "ka-twice", "ka-fine"):
            await made_and_lost(emulator, [clip(name)], job_id=name)
        (second,) = await made_and_lost(emulator, [clip("ka-fine")], job_id="ka-fine")
        async with client(emulator, journal=journal(store)) as kling:
            holder = journal(store, "holder")
            await holder.open()
            for entry in (
                entry_of(kling, job_id="ka-ended", state=Status.UNRESOLVED, attempt=1),
                entry_of(
                    kling, job_id="ka-elsewhere", host="https://elsewhere.example", state=Status.UNSURE, attempt=1
                ),
                entry_of(
                    kling, job_id="ka-held", state=Status.UNSURE, attempt=1, owner="holder", lease_until=wall() + 99
                ),
                entry_of(kling, job_id="ka-twice", state=Status.ACCEPTED, task_id="another"),
            ):
                await holder.add(entry)
            before = dict(store.entries)
            recovery = await kling.recover()
            assert {name: store.entries[name] for name in before} == before
            assert recovery.added == 1
            assert sorted((found.job_id, str(found.finding)) for found in recovery.told) == [
                ("ka-elsewhere", "other"),
                ("ka-ended", "unresolved"),
                ("ka-fine", "second"),
                ("ka-held", "held"),
                ("ka-twice", "second"),
            ]
            assert store.entries["ka-fine"].task_id == second.task_id  # lists are newest first
            planned = await kling.recover(dry_run=True)
            assert (planned.added, planned.known, len(planned.told)) == (0, 1, 5)


async def test_two_tasks_of_an_unsure_job_on_one_page() -> None:
    store = MemoryStore()
    async with service(duration_s=500.0, unique_external_ids=False) as emulator:
        for _ in range(2):
            await made_and_lost(emulator, [clip("x")], job_id="ka-1")
        async with client(emulator, journal=journal(store)) as kling:
            store.entries["ka-1"] = entry_of(kling, state=Status.UNSURE, attempt=1)
            store.unsettled["ka-1"] = None
            recovery = await kling.recover()
            assert (recovery.mended, [found.finding for found in recovery.told]) == (1, [Finding.SECOND])
            assert store.entries["ka-1"].owner is None


async def test_a_dry_run_needs_no_journal_and_writes_nothing() -> None:
    async with service(duration_s=500.0, unique_external_ids=False) as emulator:
        for name in ("ka-1", "ka-1", "mine"):
            await made_and_lost(emulator, [clip("x")], job_id=name)
        async with client(emulator) as kling:
            seen: list[Found] = []
            recovery = await kling.recover(dry_run=True, prefixes=[""], on_found=seen.append)
            assert (recovery.added, recovery.rows) == (2, 3)
            assert [found.finding for found in recovery.told] == [Finding.SECOND]
            assert len(seen) == 3
            with pytest.raises(ConfigError, match="journal"):
                await kling.recover()
            with pytest.raises(ConfigError, match="list of texts"):
                await kling.recover(dry_run=True, prefixes="ka-")


async def test_many_pages_and_no_more_than_asked_for() -> None:
    """Over a thousand tasks, on three pages of both kinds of list; those made before a day are left out."""
    store = MemoryStore()
    async with service(duration_s=10.0) as emulator:
        await made_and_lost(emulator, [clip(f"old {index}") for index in range(20)])
        await asyncio.sleep(86_400)
        await made_and_lost(emulator, [clip(f"scene {index}") for index in range(PAGE_SIZE + 10)])
        await made_and_lost(emulator, [boat(f"boat {index}") for index in range(PAGE_SIZE + 10)])
        since = datetime.fromtimestamp(wall(), UTC) - timedelta(hours=1)
        async with client(emulator, journal=journal(store)) as kling:
            recovery = await kling.recover(since=since)
        assert recovery.added == len(store.entries) == 2 * PAGE_SIZE + 20
        assert kinds(emulator)["cursor"] == 3  # two pages of tasks, one of solutions


async def test_passing_trouble_is_waited_out_and_what_is_lacking_is_told() -> None:
    """Faults in the middle of a list cost time; a list that the host refuses is named, and the others are read."""
    store = MemoryStore()
    async with service(duration_s=10.0) as emulator:
        jobs = await made_and_lost(emulator, [clip(f"scene {index}") for index in range(PAGE_SIZE + 5)])
        emulator.faults = [
            Fault(action="status", status=429, code=1302, kind="list", times=2),
            Fault(action="reset", kind="list", times=2),
            Fault(action="html", status=404, path="/v1/images/generations"),
            Fault(action="html", status=502, path="/v1/videos/image2video"),
        ]
        async with client(emulator, journal=journal(store)) as kling:
            recovery = await kling.recover()
        assert set(store.entries) == {job.id for job in jobs}
        assert set(recovery.refused) == {"generations"}
        assert set(recovery.broken) == {"image2video"}
        assert "text2video" in recovery.lists


async def test_a_page_of_html_in_the_middle_is_trouble_and_not_a_refusal() -> None:
    store = MemoryStore()
    async with service(duration_s=10.0) as emulator:
        jobs = await made_and_lost(emulator, [clip(f"scene {index}") for index in range(PAGE_SIZE + 5)])
        emulator.faults = [Fault(action="html", status=200, path="/v1/videos/text2video", kind="list", nth=(2, 3, 4))]
        async with client(emulator, journal=journal(store)) as kling:
            recovery = await kling.recover()
        assert (recovery.added, recovery.refused, recovery.broken) == (len(jobs), {}, {})


async def test_a_host_that_cannot_tell() -> None:
    """Known to have no lists; refusing the key; refusing every list."""
    async with service("new-api") as emulator, client(emulator, journal=journal(MemoryStore())) as kling:
        with pytest.raises(ConfigError, match="no lists"):
            await kling.recover()
    async with service() as emulator, client(emulator, api_key="wrong", journal=journal(MemoryStore())) as kling:
        with pytest.raises(AuthError):
            await kling.recover()
    async with service("cometapi") as emulator:
        async with client(emulator, journal=journal(MemoryStore())) as kling:
            recovery = await kling.recover()
            assert (recovery.lists, recovery.rows) == ([], 0)
            assert {"text2video", "POST /tasks"} <= set(recovery.refused)
        with pytest.raises(SessionClosed):
            await kling.recover()
    assert "list" not in find_host("cometapi").lacks


async def test_a_row_that_cannot_be_read_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    async with service(duration_s=50.0) as emulator:
        jobs = await made_and_lost(emulator, [clip(f"scene {index}") for index in range(3)])
        good = [
            {"task_id": job.task_id, "task_status": "processing", "task_info": {"external_task_id": job.id}}
            for job in jobs
        ]
        broken = {"task_id": ["no id"], "task_status": "processing"}
        page = json.dumps({"code": 0, "data": [good[0], broken, *good[1:]]}).encode()
        emulator.faults.append(Fault(action="body", kind="list", status=200, body=page, nth=1))
        async with client(emulator, journal=journal(store)) as kling:
            recovery = await kling.recover()
    assert (recovery.added, set(store.entries)) == (3, {job.id for job in jobs})
    assert "cannot be read" in caplog.text
