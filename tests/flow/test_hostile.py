"""A network and a host that mean harm: nobody pays twice, nobody waits for ever, nothing leaks."""

import asyncio
from typing import Any

import aiohttp
import pytest
from flow_tools import SOCKET, assert_paid_once, client, clip, kinds, service, wall
from test_trouble import assert_all_done, run_all

from kling_async import (
    AuthError,
    ImageToVideo,
    KlingSession,
    Policy,
    Status,
    SubmissionUnknown,
    official,
)
from kling_async.emulator import Fault

# Uniqueness is off throughout: the host does not save us from sending twice.
CARELESS: dict[str, Any] = {"unique_external_ids": False}


@pytest.mark.parametrize("late_s", [58.0, 62.0, 66.0, 90.0])
async def test_a_request_that_hung_gets_its_window_from_its_end(late_s: float) -> None:
    """The POST times out after a minute, and the task appears even later: the window begins when it was given up."""
    hung = Fault(action="hang", kind="create", nth=2, commit_after_s=late_s)
    async with service(faults=[hung], **CARELESS) as emulator, client(emulator) as kling:
        assert_all_done(await run_all(kling, 3))
        assert_paid_once(emulator, 3)


@pytest.mark.parametrize("dialect", ["official", "cometapi"])
async def test_an_external_id_in_an_answer_is_no_proof_that_it_can_be_asked_for(dialect: str) -> None:
    """A host that tells our id and does not find by it: absence there means nothing."""
    lost = Fault(action="reset", stage="after", kind="create", nth=2)
    settings = {**CARELESS, "lists": False, "external_lookup": False}
    async with service(dialect, faults=[lost], **settings) as emulator, client(emulator) as kling:
        first = await kling.submit(clip())
        await first.accepted()
        second = await kling.submit(clip("second"))
        assert (await first).url
        with pytest.raises(SubmissionUnknown) as caught:
            await second
        assert caught.value.paid == "maybe"
        assert_paid_once(emulator, 2)


async def test_no_data_is_no_absence() -> None:
    """`data: null` to a question by our id, for longer than the window, while the task exists."""
    lost = Fault(action="reset", stage="after", kind="create", nth=2)
    async with service(faults=[lost], lists=False, batch=False, duration_s=400.0, **CARELESS) as emulator:
        async with client(emulator) as kling:
            first = await kling.submit(clip())
            await first.accepted()
            await asyncio.sleep(20)  # the host has shown that it finds by external id
            emulator.faults.append(Fault(action="body", kind="single", body=b'{"code":0,"data":null}', until_s=95))
            second = await kling.submit(clip("second"))
            assert (await second).url
            assert (await first).url
            assert_paid_once(emulator, 2)


@pytest.mark.parametrize("overflow", ["truncate", "error"])
async def test_a_batch_is_no_absence(overflow: Any) -> None:
    """A host that cuts batches short, or refuses long ones, does not make us send again what it has."""
    settings: dict[str, Any] = {
        **CARELESS,
        "lists": False,
        "batch_sees_legacy": True,
        "batch_max_ids": 5,
        "batch_overflow": overflow,
        "duration_s": 300.0,
    }
    async with service(**settings) as emulator, client(emulator) as kling:
        first = await kling.submit(clip())
        await first.accepted()
        await asyncio.sleep(20)
        emulator.faults.append(Fault(action="reset", stage="after", kind="create"))
        emulator.faults.append(Fault(action="close", kind="batch", until_s=90))
        emulator.faults.append(Fault(action="close", kind="single", until_s=90))
        jobs = await run_all(kling, 18)
        assert_all_done(jobs)
        await first
        assert_paid_once(emulator, 19)


async def test_a_job_that_waits_long_to_be_sent_again_is_looked_up_once_more() -> None:
    """Its task became visible while the gate was shut: it is found, and not made a second time."""
    late = Fault(action="reset", kind="create", nth=2, commit_after_s=80.0)
    async with service(faults=[late], duration_s=4000.0, **CARELESS) as emulator:
        async with client(emulator, max_running=2) as kling:
            first = await kling.submit(clip())
            await first.accepted()
            second = await kling.submit(clip("second"))
            await asyncio.sleep(5)
            full = Fault(action="status", kind="create", status=429, code=1303, until_s=3000)
            emulator.faults.append(full)
            assert (await second).url
            assert (await first).url
            assert_paid_once(emulator, 2)


async def test_a_job_queued_to_be_sent_again_does_not_claim_that_nothing_was_paid() -> None:
    """It was sent before: abandoning it says "maybe"."""
    lost = Fault(action="close", kind="create", nth=2)
    async with service(faults=[lost], duration_s=4000.0) as emulator, client(emulator) as kling:
        first = await kling.submit(clip())
        await first.accepted()
        second = await kling.submit(clip("second"))
        emulator.faults.append(Fault(action="status", kind="create", status=429, code=1303))
        await asyncio.sleep(10)
        while second.status is not Status.QUEUED:
            await asyncio.sleep(1)
        second.abandon()
        assert second.error is not None
        assert second.error.paid == "maybe"


@pytest.mark.parametrize("form", ["list", "batch"])
@pytest.mark.parametrize(
    "how",
    [
        {"action": "html", "status": 200},
        {"action": "status", "status": 500, "code": 5000},
        {"action": "hang"},
        {"action": "close"},
    ],
    ids=["html", "500", "hang", "close"],
)
async def test_a_broken_list_or_batch_starves_nobody(form: str, how: dict[str, Any]) -> None:
    """Single queries answer: after a few failures they take over."""
    settings: dict[str, Any] = {
        "lists": form == "list",
        "batch": form == "batch",
        "batch_sees_legacy": True,
        "duration_s": (60, 200),
    }
    async with service(**settings) as emulator, client(emulator) as kling:
        emulator.faults.append(Fault(kind=form, **how))
        assert_all_done(await run_all(kling, 8))
        assert asyncio.get_running_loop().time() < 900
        assert kinds(emulator)["single"] > 0


async def test_one_endpoint_that_hangs_does_not_hold_up_the_others() -> None:
    """A hundred silent tasks of one kind; a clip of another kind is seen in time all the same."""
    async with service("cometapi", duration_s=30.0) as emulator, client(emulator) as kling:
        silent = [await kling.submit(clip(f"scene {index}")) for index in range(100)]
        for job in silent:
            await job.accepted()
        emulator.faults.append(Fault(action="hang", kind="single", path="*/text2video/*", until_s=600))
        began = asyncio.get_running_loop().time()
        picture = ImageToVideo(image="https://pictures.example/a.png", prompt="x", model_name="kling-v2-6")
        assert (await kling.generate(picture)).url
        assert asyncio.get_running_loop().time() - began < 250  # each round waits for two time-outs, not for a hundred
        assert all([(await job).url for job in silent])


async def test_headers_that_cannot_be_dates_are_no_bug() -> None:
    """A year of eleven digits in Date and Retry-After."""
    year = "Mon, 01 Jan 99999999999 00:00:00 GMT"
    odd = Fault(action="status", kind="create", status=401, code=1004, headers={"Date": year, "Retry-After": year})
    async with service(faults=[odd]) as emulator:
        pair = {"access_key": emulator.access_key, "secret_key": emulator.secret_key}
        async with client(emulator, **pair) as kling:
            with pytest.raises(AuthError):
                await kling.generate(clip())
            emulator.faults.clear()
            assert (await kling.generate(clip())).url


async def test_a_borrowed_pool_closed_by_its_owner_leaves_nobody_sending() -> None:
    """Its waiters are cancelled by the pool, not by us: each job gets a verdict."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0)
    async with service(faults=[slow]) as emulator:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=SOCKET, limit=1)) as http:
            async with KlingSession(
                api_key="emulator-key", base_url=official(emulator.url), http=http, wall=wall
            ) as kling:
                jobs = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
                await asyncio.sleep(1)
                await http.close()
                await asyncio.sleep(1000)
                assert not [job for job in jobs if job.status is Status.SENDING]


async def test_an_outage_of_long_ago_does_not_count() -> None:
    """An hour later the host is away for a moment: the queue waits, and is not rejected at once."""
    async with service() as emulator, client(emulator, policy=Policy(unreachable_s=60)) as kling:
        await emulator.__aexit__(None, None, None)
        first = await kling.submit(clip())
        with pytest.raises(Exception, match="cannot connect"):
            await first
        await asyncio.sleep(3600)
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(10)]
        await asyncio.sleep(1)
        await emulator.__aenter__()
        assert all([(await job).url for job in jobs])
        assert_paid_once(emulator, 10)


@pytest.mark.parametrize("dialect", ["official", "cometapi", "new-api"])
async def test_a_page_with_429_is_throttling(dialect: str) -> None:
    """Nothing was made, and it may go later: five seconds of it fail nobody."""
    page = Fault(action="html", kind="create", status=429, until_s=5, headers={"Retry-After": "7"})
    async with service(dialect, faults=[page]) as emulator, client(emulator) as kling:
        assert_all_done(await run_all(kling, 3))
        creates = [request.at for request in emulator.requests if request.kind == "create"]
        assert creates[-1] - creates[0] >= 7
        assert_paid_once(emulator, 3)


async def test_many_unsure_jobs_are_looked_up_as_fast_as_the_pace_allows() -> None:
    """Three hundred lost answers on a host with single queries only."""
    lost = Fault(action="reset", stage="after", kind="create")
    async with service("cometapi", faults=[lost], **CARELESS) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(300)]
        for job in jobs:
            await job.accepted()
        assert asyncio.get_running_loop().time() < 60
        assert_paid_once(emulator, 300)


async def test_no_model_starves_another_of_the_sessions_own_bound() -> None:
    """With one place in all, jobs go in order of arrival, whatever their model."""
    async with service(duration_s=10.0) as emulator, client(emulator, max_running=1) as kling:
        models = ["kling-v2-6", "kling-v3", *["kling-v2-6"] * 10]
        jobs = [await kling.submit(clip(f"scene {i}", model_name=model)) for i, model in enumerate(models)]
        for job in jobs:
            await job
        assert [task.external_id for task in emulator.tasks] == [job.id for job in jobs]


@pytest.mark.parametrize("count", [3, 60, 200])
@pytest.mark.parametrize("most", [1, 10])
async def test_map_ends_however_many_requests_there_are(count: int, most: int) -> None:
    """More requests than may be open at once."""
    async with service(duration_s=2.0) as emulator, client(emulator) as kling:
        jobs = [job async for job in kling.map((clip(f"scene {i}") for i in range(count)), max_pending=most)]
        assert_all_done(jobs)
        assert_paid_once(emulator, count)


async def test_map_with_a_source_that_waits_for_its_own_results() -> None:
    """The next request may depend on the last result."""
    seen = asyncio.Event()

    async def requests() -> Any:
        for index in range(3):
            seen.clear()
            yield clip(f"scene {index}")
            await seen.wait()

    async with service(duration_s=5.0) as emulator, client(emulator) as kling:
        async for job in kling.map(requests()):
            assert job.error is None
            seen.set()
        assert_paid_once(emulator, 3)


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":1000,"message":"bad key \\u0065mulator-key"}',
        '{"code":1000,"message":"bad key emulator-key"}'.encode("utf-16"),
    ],
    ids=["escaped", "utf-16"],
)
async def test_a_key_in_disguise_is_not_shown(body: bytes) -> None:
    """JSON's escapes and other encodings do not carry the key into an error."""
    odd = Fault(action="body", kind="create", status=401, body=body)
    policy = Policy(settle_s=1.0)
    async with service(faults=[odd]) as emulator, client(emulator, policy=policy) as kling:
        job = await kling.submit(clip())
        with pytest.raises(Exception, match=r".") as caught:
            await job
        assert "emulator-key" not in str(caught.value)


@pytest.mark.fault("F53")
async def test_a_callback_of_the_caller_that_raises_is_the_callers() -> None:
    """It is logged, and ends nothing else."""
    async with service() as emulator, client(emulator) as kling:
        job = await kling.submit(clip())

        def bad(_job: object) -> None:
            raise RuntimeError("mine")

        job.when_done(bad)
        assert (await job).url
        assert (await kling.generate(clip("second"))).url
        assert_paid_once(emulator, 2)


async def test_an_unsure_job_is_not_named_by_its_own_id() -> None:
    """Asking by our id while it is looked up finds the task under the host's id."""
    lost = Fault(action="reset", stage="after", kind="create")
    async with service("cometapi", faults=[lost]) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        while job.status is not Status.UNSURE:
            await asyncio.sleep(0.01)
        observation = await kling.query(job.id, "text2video")
        assert observation.task_id == emulator.tasks[0].task_id == job.task_id
        assert (await job).url
