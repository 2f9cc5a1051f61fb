"""What goes wrong on the way: nothing is paid twice, nothing is lost, and HTTP trouble fails no task."""

import asyncio
import itertools
from typing import Any

import attrs
import pytest
from flow_tools import assert_paid_once, client, clip, kinds, service

from kling_async import (
    BadEnvelope,
    ConnectFailed,
    KlingSession,
    Policy,
    SlotsFull,
    Status,
    SubmissionUnknown,
)
from kling_async.emulator import Emulator, Fault


async def run_all(kling: KlingSession, count: int, **fields: Any) -> list[Any]:
    """Submit `count` clips, and give the finished jobs."""
    return [job async for job in kling.map(clip(f"scene {index}", **fields) for index in range(count))]


def assert_all_done(jobs: list[Any]) -> None:
    """Every job delivered."""
    assert [job.error for job in jobs if job.error is not None] == []


# --- the answer to a create is lost ----------------------------------------------------------------------------------

LOST = [
    Fault(action="reset", stage="after", kind="create"),
    Fault(action="close", stage="after", kind="create"),
    Fault(action="truncate", stage="after", kind="create"),
    Fault(action="html", stage="after", kind="create", status=502),
    Fault(action="html", stage="after", kind="create", status=200),
    Fault(action="status", stage="after", kind="create", status=504, code=5002),
    Fault(action="status", stage="after", kind="create", status=500, code=5000),
    Fault(action="garbage", stage="after", kind="create"),
    Fault(action="body", stage="after", kind="create", body=b""),
    Fault(action="body", stage="after", kind="create", body=b'{"code":0,"data":{"task_id":null}}'),
    Fault(action="body", stage="after", kind="create", body=b'{"code":0,"data":{"task_id":NaN}}'),
    Fault(action="body", stage="after", kind="create", body=b"[" * 100_000),
    Fault(action="hang", stage="after", kind="create"),
]


@pytest.mark.parametrize(
    "fault", LOST, ids=[f"{fault.action}-{fault.status}-{len(fault.body or b'')}" for fault in LOST]
)
@pytest.mark.parametrize("abilities", ["lists", "batch", "singles"])
async def test_no_job_is_made_twice_when_every_answer_is_lost(fault: Fault, abilities: str) -> None:
    """Case 4: the task exists and bills; each is found again by its external id, in whatever form the host has."""
    settings: dict[str, Any] = {"lists": abilities == "lists", "batch": abilities == "batch", "batch_sees_legacy": True}
    async with service(faults=[fault], **settings) as emulator, client(emulator) as kling:
        jobs = await run_all(kling, 12)
        assert_all_done(jobs)
        assert_paid_once(emulator, 12)
        assert kinds(emulator)["create"] == 12


@pytest.mark.fault("F33")
async def test_a_task_that_becomes_visible_late_is_found_and_not_sent_again() -> None:
    """The host commits twenty seconds after it lost the answer: within the settle window nothing is sent again."""
    late = Fault(action="reset", kind="create", commit_after_s=20.0)
    async with service(faults=[late]) as emulator, client(emulator) as kling:
        jobs = await run_all(kling, 8)
        assert_all_done(jobs)
        assert_paid_once(emulator, 8)
        assert kinds(emulator)["create"] == 8


async def test_a_create_that_was_lost_before_its_effect_is_sent_again_with_the_same_id() -> None:
    """On a host that has shown it finds by external id, absent after the window means absent."""
    lost = Fault(action="close", kind="create", nth=(2, 3))
    async with service(faults=[lost]) as emulator, client(emulator) as kling:
        jobs = await run_all(kling, 4)
        assert_all_done(jobs)
        assert_paid_once(emulator, 4)
        creates = [request for request in emulator.requests if request.kind == "create"]
        assert len(creates) == 6
        assert creates[-1].at - creates[0].at >= 60


async def test_without_proof_nothing_is_sent_again() -> None:
    """The only create is lost before its effect: nobody can know, so the user is told and nothing is risked."""
    lost = Fault(action="close", kind="create")
    async with service(faults=[lost]) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        with pytest.raises(SubmissionUnknown) as caught:
            await job
        assert (job.status, caught.value.paid) == (Status.UNRESOLVED, "maybe")
        assert kinds(emulator)["create"] == 1
        assert emulator.tasks == []


async def test_a_host_that_cannot_be_asked_leaves_the_decision_to_the_user() -> None:
    """new-api finds nothing by external id: after the window the job says so, though others went well."""
    lost = Fault(action="reset", stage="after", kind="create", nth=2)
    async with service("new-api", faults=[lost]) as emulator, client(emulator) as kling:
        jobs = await run_all(kling, 3)
        errors = [job.error for job in jobs if job.error is not None]
        assert [type(error) for error in errors] == [SubmissionUnknown]
        assert errors[0].paid == "maybe"
        assert kinds(emulator)["create"] == 3


async def test_resends_end() -> None:
    """A host that loses every create of one job, and finds others, is tried three times in all."""
    async with service(duration_s=5000.0) as emulator, client(emulator) as kling:
        other = await kling.submit(clip())
        await other.accepted()
        emulator.faults.append(Fault(action="close", kind="create"))
        job = await kling.submit(clip("lost"))
        with pytest.raises(SubmissionUnknown):
            await job
        assert kinds(emulator)["create"] == 4
        assert_paid_once(emulator, 1)


@pytest.mark.fault("F31")
async def test_one_task_id_for_two_jobs_is_told() -> None:
    """A host that answers two creates with one task: one job has it, the other says what happened."""
    same = b'{"code":0,"message":"SUCCEED","data":{"task_id":"867000000000000042","task_status":"submitted"}}'
    async with service(faults=[Fault(action="body", kind="create", body=same)]) as emulator, client(emulator) as kling:
        first, second = await kling.submit(clip()), await kling.submit(clip("second"))
        with pytest.raises(SubmissionUnknown, match="another job"):
            await second
        assert first.task_id == "867000000000000042"
        assert second.status is Status.UNRESOLVED
        assert emulator.tasks == []


async def test_an_answer_with_two_tasks_is_no_answer() -> None:
    """What cannot be is unsure, and looked up."""
    two = b'{"code":0,"data":[{"task_id":"1"},{"task_id":"2"}]}'
    fault = Fault(action="body", stage="after", kind="create", body=two, times=1)
    async with service(faults=[fault]) as emulator, client(emulator) as kling:
        assert (await kling.generate(clip())).url
        assert_paid_once(emulator, 1)


# --- nothing was sent ------------------------------------------------------------------------------------------------


@pytest.mark.fault("F01")
async def test_a_host_that_is_down_is_waited_for_and_then_told() -> None:
    """Nothing was sent, so nothing was paid; queued jobs wait, one knock at a time."""
    async with service() as emulator, client(emulator, policy=Policy(unreachable_s=60)) as kling:
        await emulator.__aexit__(None, None, None)
        jobs = await run_all(kling, 5)
        errors = [job.error for job in jobs]
        assert {type(error) for error in errors} == {ConnectFailed}
        assert {error.paid for error in errors} == {"no"}
        assert "cannot connect" in str(errors[0])
        assert 60 <= asyncio.get_running_loop().time() < 400
        await emulator.__aenter__()


@pytest.mark.fault("F01")
async def test_a_host_that_comes_back_gets_every_job_once() -> None:
    """A minute without a connection is nobody's failure."""
    async with service() as emulator, client(emulator) as kling:
        await emulator.__aexit__(None, None, None)
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(5)]
        await asyncio.sleep(60)
        assert {job.status for job in jobs} <= {Status.QUEUED, Status.SENDING}
        await emulator.__aenter__()
        assert all([(await job).url for job in jobs])
        assert_paid_once(emulator, 5)


# --- questions go wrong ----------------------------------------------------------------------------------------------

QUESTIONS = ("single", "list", "batch")


def everywhere(**fault: Any) -> list[Fault]:
    """The same fault on every kind of question."""
    return [Fault(kind=kind, **fault) for kind in QUESTIONS]


OUTAGES = {
    "html with 200": everywhere(action="html", status=200, until_s=60),
    "html 502": everywhere(action="html", status=502, from_s=5, until_s=15),
    "500": everywhere(action="status", status=500, code=5000, until_s=30),
    "503 without a code": everywhere(action="html", status=503, until_s=30),
    "429 without a code": everywhere(action="html", status=429, until_s=30),
    "1302": everywhere(action="status", status=429, code=1302, until_s=30),
    "401": everywhere(action="status", status=401, code=1002, until_s=30),
    "reset": everywhere(action="reset", from_s=5, until_s=15),
    "close": everywhere(action="close", from_s=5, until_s=15),
    "hang": everywhere(action="hang", until_s=60),
    "truncated": everywhere(action="truncate", until_s=30),
    "garbage": everywhere(action="garbage", until_s=30),
    "empty": everywhere(action="body", body=b"", until_s=30),
    "not an object": everywhere(action="body", body=b"[1,2]", until_s=30),
    "data null": everywhere(action="body", body=b'{"code":0,"data":null}', until_s=30),
    "nan": everywhere(action="body", body=b'{"code":0,"data":[{"task_id":"1","n":NaN}]}', until_s=30),
    "every third": everywhere(action="html", status=200, every=3),
    "slow": everywhere(action="slow", delay_s=4.0, until_s=60),
}


@pytest.mark.parametrize("name", OUTAGES)
@pytest.mark.parametrize("dialect", ["official", "cometapi"])
async def test_trouble_with_questions_fails_no_task(name: str, dialect: str) -> None:
    """Case 26 and 27: the poller slows down as a whole, tasks are unaffected, and afterwards all resolve."""
    faults = [*OUTAGES[name]]
    async with service(dialect, faults=faults, duration_s=(10, 60)) as emulator, client(emulator) as kling:
        jobs = await run_all(kling, 25)
        assert_all_done(jobs)
        assert_paid_once(emulator, 25)


async def test_an_outage_of_everything_for_ten_seconds_loses_nothing() -> None:
    """Creates and questions alike are cut off for ten seconds; the jobs come out all the same, each paid once."""
    outage = Fault(action="reset", from_s=3, until_s=13)
    async with service(faults=[outage], duration_s=(10, 60)) as emulator, client(emulator) as kling:

        async def requests() -> Any:
            for index in range(30):
                yield clip(f"scene {index}")
                await asyncio.sleep(0.7)

        jobs = [job async for job in kling.map(requests())]
        assert_all_done(jobs)
        assert_paid_once(emulator, 30)


async def test_an_unknown_status_word_is_asked_on() -> None:
    """Case 19: a word nobody told us about is not a failure."""
    word = b'{"code":0,"data":{"task_id":"%s","task_status":"rendering_v2"}}'
    async with service("cometapi", duration_s=20.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        task_id = await job.accepted()
        emulator.faults.append(Fault(action="body", kind="single", body=word % task_id.encode(), until_s=40))
        words = [observation.word async for observation in job.watch()]
        assert "rendering_v2" in words
        assert (await job).url


async def test_a_row_that_cannot_be_read_is_one_jobs_trouble() -> None:
    """A null url in one row does not hurt the others on its page; the row is asked again."""
    async with service("cometapi", duration_s=15.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
        ids = [await job.accepted() for job in jobs]
        bad = b'{"code":0,"data":{"task_id":"%s","task_status":"succeed","task_result":{"videos":[{"url":7}]}}}'
        path = f"*/{ids[0]}"
        emulator.faults.append(Fault(action="body", kind="single", path=path, body=bad % ids[0].encode(), until_s=60))
        assert all([(await job).url for job in jobs])


@pytest.mark.fault("F15")
async def test_retry_after_is_honoured_by_the_whole_poller() -> None:
    """A host that says "in 40 seconds" is not asked before."""
    wish = Fault(action="status", kind="single", status=429, code=1302, headers={"Retry-After": "40"}, times=1)
    async with service("cometapi", faults=[wish], duration_s=100.0) as emulator, client(emulator) as kling:
        await kling.generate(clip())
        asked = [request.at for request in emulator.requests if request.kind == "single"]
        assert asked[1] - asked[0] >= 40


async def test_one_of_each_model_finds_out_whether_a_host_still_says_to_slow_down() -> None:
    """A hundred waiting jobs are not a hundred refusals each time; and no model hides another that is let in."""
    refuses = Fault(action="status", kind="create", status=429, code=1302, until_s=30)
    async with service(faults=[refuses], duration_s=5) as emulator, client(emulator) as kling:
        models = ("kling-v1-6", "kling-v2-6")
        requests = [attrs.evolve(clip(f"take {index}"), model_name=models[index % 2]) for index in range(100)]
        assert_all_done([job async for job in kling.map(requests)])
        creates = [request for request in emulator.requests if request.kind == "create"]
        refused = [request for request in creates if request.status == 429]
        assert len(refused) <= 30, "the first burst, and then two at a time"
        assert len(creates) == 100 + len(refused)
        assert len({request.at for request in refused}) > 3
        assert_paid_once(emulator, 100)


async def test_throttled_creates_wait_and_go_once() -> None:
    """Case 2: 1302 and a 429 without any code are worth another try, later; nothing was made."""
    faults = [
        Fault(action="status", kind="create", status=429, code=1302, times=3),
        Fault(action="html", kind="create", status=429, times=2),
    ]
    async with service(faults=faults) as emulator, client(emulator) as kling:
        jobs = await run_all(kling, 6)
        assert_all_done(jobs)
        assert_paid_once(emulator, 6)


# --- what a host can do ----------------------------------------------------------------------------------------------


async def test_a_refused_probe_fails_no_job_and_is_not_repeated() -> None:
    """CometAPI answers 404 to lists and batches: each is tried once, and singles do the work."""
    async with service("cometapi", duration_s=(60, 200)) as emulator, client(emulator) as kling:
        jobs = await run_all(kling, 40)
        assert_all_done(jobs)
        refused = [request.path for request in emulator.requests if request.status == 404]
        assert len(refused) <= 1 + 2  # one list, and the two batches that forty tasks need
        assert kinds(emulator)["single"] > 40


@pytest.mark.parametrize("settings", [{"lists": False, "batch_sees_legacy": True}, {"lists": True}])
async def test_many_tasks_are_asked_about_in_few_queries(settings: dict[str, Any]) -> None:
    """Case 28: a hundred tasks cost a handful of queries a sweep, by batch or by list."""
    async with service(**settings, duration_s=(60, 200)) as emulator, client(emulator) as kling:
        jobs = await run_all(kling, 100)
        assert_all_done(jobs)
        counts = kinds(emulator)
        assert counts["create"] == 100
        assert counts["single"] < 60
        assert counts["list"] + counts["batch"] < 300


async def test_a_batch_that_does_not_see_legacy_tasks_is_given_up() -> None:
    """Nobody knows whether `/tasks` tells tasks made on legacy paths: two empty answers and it is not asked again."""
    async with (
        service(lists=False, batch_sees_legacy=False, duration_s=(60, 120)) as emulator,
        client(emulator) as kling,
    ):
        jobs = await run_all(kling, 10)
        assert_all_done(jobs)
        assert kinds(emulator)["batch"] <= 4


async def test_a_batch_larger_than_the_host_takes_falls_back() -> None:
    """Case 14: one refused batch is not the end: its tasks are asked about singly."""
    settings: dict[str, Any] = {"lists": False, "batch_sees_legacy": True, "duration_s": (60, 120)}
    async with service(**settings) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(30)]
        for job in jobs:
            await job.accepted()
        await asyncio.sleep(12)
        emulator.batch_max_ids = 5
        assert all([(await job).url for job in jobs])


async def test_lists_in_the_other_order_still_resolve() -> None:
    """Case 15: nothing assumes newest first; what the page did not show is asked singly."""
    async with service(list_order="oldest", duration_s=(30, 90)) as emulator:
        async with client(emulator) as kling:
            assert_all_done(await run_all(kling, 40))
        async with client(emulator) as kling:
            assert_all_done(await run_all(kling, 40))
        assert_paid_once(emulator, 80)


# --- slots -----------------------------------------------------------------------------------------------------------


def running_most(emulator: Emulator) -> int:
    """The most tasks that ran at one moment, from the ledger."""
    moments = [(task.created_at, 1) for task in emulator.tasks]
    moments += [(task.ended_at, -1) for task in emulator.tasks if task.ended_at is not None]
    return max(itertools.accumulate(change for _, change in sorted(moments, key=lambda moment: (moment[0], moment[1]))))


@pytest.mark.fault("F16")
async def test_a_full_account_is_found_out_and_waited_for() -> None:
    """Case 30: 1303 fails nobody, and the waiters do not storm."""
    async with service(slots=5, duration_s=(20, 40)) as emulator, client(emulator) as kling:
        jobs = await run_all(kling, 60)
        assert_all_done(jobs)
        assert_paid_once(emulator, 60)
        assert running_most(emulator) == 5
        refused = [request for request in emulator.requests if request.status == 429]
        assert len(refused) <= 30
        assert kling.stats.slots["video", "kling-v2-6"][0] == 0


async def test_max_running_is_never_exceeded() -> None:
    """A number given by the user is an upper bound over all models."""
    async with service(duration_s=(20, 40)) as emulator, client(emulator, max_running=3) as kling:
        requests = [clip(f"scene {index}", model_name=("kling-v2-6", "kling-v3")[index % 2]) for index in range(24)]
        assert_all_done([job async for job in kling.map(requests)])
        assert running_most(emulator) == 3
        assert not [request for request in emulator.requests if request.status == 429]


async def test_waiters_keep_their_order() -> None:
    """Who is refused for lack of a slot keeps its place."""
    async with service(slots=2, duration_s=10.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(12)]
        for job in jobs:
            await job
        order = [task.external_id for task in emulator.tasks]
        places = [order.index(job.id) for job in jobs]
        assert all(abs(place - index) <= 3 for index, place in enumerate(places))


async def test_slots_taken_by_others_are_waited_for_with_an_end() -> None:
    """Case 32: another program holds the account; our job waits, and says at the end that nothing was sent."""
    async with service(slots=1, duration_s=10_000.0) as emulator, client(emulator) as other:
        await (await other.submit(clip("the other program"))).accepted()
        async with client(emulator, policy=Policy(slots_wait_s=600)) as kling:
            job = await kling.submit(clip("ours"))
            with pytest.raises(SlotsFull) as caught:
                await job
            assert (job.status, caught.value.paid) == (Status.REJECTED, "no")
        refused = [request.at for request in emulator.requests if request.status == 429]
        assert len(refused) < 40
        assert_paid_once(emulator, 1)


async def test_a_gateways_full_answer_is_waited_for_too() -> None:
    """new-api replaces every 429: the real code is lost, and the jobs go later all the same."""
    async with service("new-api", slots=4, duration_s=(10, 20)) as emulator, client(emulator) as kling:
        assert_all_done(await run_all(kling, 16))
        assert_paid_once(emulator, 16)


# --- pace ------------------------------------------------------------------------------------------------------------


async def test_queries_per_s_is_an_upper_bound_and_nothing_starves() -> None:
    """Singles only, at half a query a second: slow, and all come out."""
    policy = Policy(queries_per_s=0.5)
    async with service("cometapi", duration_s=(20, 60)) as emulator, client(emulator, policy=policy) as kling:
        jobs = await run_all(kling, 30)
        assert_all_done(jobs)
        asked = [request.at for request in emulator.requests if request.kind in QUESTIONS]
        for start, end in zip(asked, asked[20:], strict=False):
            assert end - start >= 20 / 0.5 * 0.7


async def test_a_single_clip_is_asked_about_early() -> None:
    """The first questions come after about one, three and seven seconds."""
    async with service("cometapi", duration_s=2.0) as emulator, client(emulator) as kling:
        await kling.generate(clip())
        assert asyncio.get_running_loop().time() < 4


async def test_closed_connection_pool_is_no_bug() -> None:
    """A borrowed HTTP session that its owner closed: nothing is sent, and the job says so."""
    async with service() as emulator, client(emulator) as kling:
        http = kling._transport._borrowed
        assert http is not None
        await http.close()
        with pytest.raises(ConnectFailed, match="closed"):
            await kling.generate(clip())
        assert emulator.requests == []


async def test_redirects_are_not_followed() -> None:
    """A redirect of a create would hand prompt and key to another host; it is an error of unknown outcome."""
    away = Fault(action="body", kind="create", status=307, body=b"{}", headers={"Location": "http://other.example/"})
    async with service(faults=[away]) as emulator, client(emulator) as kling:
        with pytest.raises(SubmissionUnknown):
            await kling.generate(clip())
        assert kinds(emulator)["create"] == 1


async def test_an_answer_beyond_all_bounds_is_not_read() -> None:
    """Case 29: more than eight megabytes of answer are not taken into memory."""
    huge = Fault(action="body", kind="single", body=b'{"code":0,"x":"' + b"x" * (9 * 1024 * 1024) + b'"}', times=1)
    async with service("cometapi", duration_s=5.0) as emulator, client(emulator) as kling:
        job = await kling.submit(clip())
        await job.accepted()
        emulator.faults.append(huge)
        with pytest.raises(BadEnvelope, match="bytes"):
            await kling.query(job)
        assert (await job).url
