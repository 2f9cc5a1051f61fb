"""F39, F40 and F52: clocks that jump, a machine that slept, and more waiters than anybody can ask about at once."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from fault_tools import client, finished
from flow_tools import EPOCH, assert_paid_once, clip, kinds, service, wall

from kling_async import Policy, Status
from kling_async.emulator import Emulator, Fault
from kling_async.emulator.virtual import VirtualLoop
from kling_async.endpoints import to_plain
from kling_async.journal import Entry, MemoryJournal, MemoryStore, fingerprint

HOUR_S = 3600.0
CAREFUL: dict[str, Any] = {"unique_external_ids": False}


class Wall:
    """A wall clock that can be set."""

    off_s = 0.0

    def __call__(self) -> float:
        return wall() + self.off_s


def leap(seconds: float) -> None:
    """Let the loop's own clock jump, as one that goes on while the machine sleeps."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop._set_time(loop.time() + seconds)


def pair_of(emulator: Emulator) -> dict[str, Any]:
    return {"access_key": emulator.access_key, "secret_key": emulator.secret_key}


@pytest.mark.fault("F39")
@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
async def test_f39_a_clock_that_is_set_in_mid_run_costs_one_refusal(jump_s: float) -> None:
    """The next token is refused, the service's own Date says by how much, and nobody who waits is told."""
    clock = Wall()
    async with service(duration_s=120.0) as emulator:
        async with client(emulator, wall=clock, **pair_of(emulator)) as kling:
            job = await kling.submit(clip())
            await job.accepted()
            clock.off_s = jump_s
            kling._transport._credentials.renew()  # as if its time had come
            for kind in ("single", "list", "batch", "create"):
                # The emulator refuses such tokens by itself; only its Date header has to tell its own time.
                emulator.faults.append(
                    Fault(action="status", kind=kind, status=401, code=1004, headers=dated(), times=1)
                )
            second = await kling.submit(clip("second"))
            await finished([job, second])
            assert_paid_once(emulator, 2)


def dated() -> dict[str, str]:
    from email.utils import formatdate

    return {"Date": formatdate(wall(), usegmt=True)}


@pytest.mark.fault("F39")
@pytest.mark.parametrize(("sent_s", "least_s"), [(HOUR_S, 60.0), (-5.0, 55.0), (-HOUR_S, 0.0)])
async def test_f39_the_settle_window_restarts_when_the_clock_went_backwards(sent_s: float, least_s: float) -> None:
    """Sent "in an hour", says the journal: how long ago that was nobody knows, so the window begins anew."""
    store = MemoryStore()
    async with service(**CAREFUL, duration_s=2000.0) as emulator:
        journal = MemoryJournal(wall=wall, owner="second", store=store)
        async with client(emulator, journal=journal) as kling:
            await (await kling.submit(clip("shows that the host finds by external id"))).accepted()
            await asyncio.sleep(20)
            plain = to_plain(clip("left"))
            store.entries["left"] = Entry(
                job_id="left",
                endpoint="text2video",
                host=kling.host.name,
                request=plain,
                fingerprint=fingerprint("text2video", plain),
                created_at=EPOCH,
                owner="killed",
                state=Status.SENDING,
                attempt=1,
                sent_at=wall() + sent_s,
            )
            store.unsettled["left"] = None
            began = emulator.now()
            (job,) = await kling.adopt()
            await job.accepted()
            assert emulator.now() - began >= least_s
            assert_paid_once(emulator, 2)


@pytest.mark.fault("F40")
@pytest.mark.parametrize("monotonic", [True, False], ids=["both clocks ran on", "the loop's clock stood still"])
async def test_f40_a_laptop_that_slept_for_eight_hours(monotonic: bool) -> None:
    """Its leases are over and are taken again; what is overdue is asked about in few questions, and no burst."""
    clock, store = Wall(), MemoryStore()
    policy = Policy(task_limit_s=20 * HOUR_S, lease_s=60)
    async with service("cometapi", duration_s=200.0) as emulator:
        journal = MemoryJournal(wall=clock, owner="first", store=store)
        async with client(emulator, wall=clock, journal=journal, policy=policy) as kling:
            jobs = [await kling.submit(clip(f"scene {index}")) for index in range(100)]
            for job in jobs:
                await job.accepted()
            await asyncio.sleep(10)
            clock.off_s = 0.0 if monotonic else 8 * HOUR_S
            if monotonic:
                leap(8 * HOUR_S)
            woken = emulator.now()
            await finished(jobs)
            asked = [request.at for request in emulator.requests if request.kind == "single" and request.at >= woken]
            # Twenty at once is what the pace saves up; then ten a second.
            assert sum(moment < woken + 0.2 for moment in asked) <= 25
            assert sum(moment < woken + 1.0 for moment in asked) <= 40
            assert_paid_once(emulator, 100)
    assert {entry.state for entry in store.entries.values()} == {Status.SUCCEEDED}


@pytest.mark.fault("F40", "F45")
async def test_f40_another_process_took_over_meanwhile() -> None:
    """Both slept or only one: each job has one owner, who alone sends it, and both know how it ended."""
    clock, store = Wall(), MemoryStore()
    policy = Policy(lease_s=60)
    async with service(slots=1, duration_s=100.0) as emulator:
        async with (
            client(
                emulator, wall=clock, journal=MemoryJournal(wall=clock, owner="1", store=store), policy=policy
            ) as one,
            client(
                emulator, wall=clock, journal=MemoryJournal(wall=clock, owner="2", store=store), policy=policy
            ) as other,
        ):
            jobs = [await one.submit(clip(f"scene {index}"), job_id=f"job-{index}") for index in range(3)]
            await jobs[0].accepted()
            clock.off_s = 8 * HOUR_S  # the loop's clock stood still, so nothing was renewed
            taken = await other.adopt()
            assert {job.id for job in taken} == {"job-0", "job-1", "job-2"}
            await finished([*jobs, *taken])
            assert {job.result().url for job in jobs} == {job.result().url for job in taken}
            assert_paid_once(emulator, 3)


@pytest.mark.fault("F52")
async def test_f52_more_waiters_than_can_be_asked_about_at_once() -> None:
    """Six hundred tasks, twenty ids a call, a call a second: a round takes thirty seconds, and all get their turn."""
    policy = Policy(queries_per_s=1.0, batch_size=20)
    settings: dict[str, Any] = {"lists": False, "batch_sees_legacy": True, "duration_s": 300.0}
    async with service(**settings) as emulator, client(emulator, policy=policy) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(600)]
        for job in jobs:
            await job.accepted()
        await asyncio.sleep(200)
        seen: dict[str, list[float]] = {}
        for request in emulator.requests:
            for ident in request.query.partition("=")[2].split(",") if request.kind == "batch" else ():
                seen.setdefault(ident, []).append(request.at)
        assert len(seen) == 600  # nobody starves
        gaps = [later - earlier for moments in seen.values() for earlier, later in pairwise(moments)]
        assert gaps
        assert max(gaps) <= 75
        assert kinds(emulator)["batch"] <= 200 + 20  # what the policy allows, and what it had saved up
        await finished(jobs)
        assert kinds(emulator)["create"] == 600
        assert_paid_once(emulator, 600)
