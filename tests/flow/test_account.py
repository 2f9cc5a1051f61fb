"""An account that is refused as a whole: one job brings the news, the others wait, and what runs goes on."""

import asyncio
import logging

import aiohttp
import attrs
import pytest
from flow_tools import EPOCH, SOCKET, assert_paid_once, client, clip, host_of, kinds, service, wall

from kling_async import AccountError, AuthError, ConfigError, KlingSession, Policy, Status, Throttled
from kling_async.emulator import Fault

BROKE = [(429, 1100), (429, 1101), (429, 1102), (403, 1103), (429, 1304)]


@pytest.mark.fault("F17")
@pytest.mark.parametrize(("status", "code"), BROKE)
async def test_f17_an_account_that_is_refused_pauses_all_sending_and_no_polling(
    status: int, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One job is rejected, unpaid; the others are sent when the account is good again, and hardly knock till then."""
    caplog.set_level(logging.WARNING, logger="kling_async")
    async with service(duration_s=40.0) as emulator, client(emulator) as kling:
        running = await kling.submit(clip("runs"))
        await running.accepted()
        emulator.faults.append(Fault(action="status", kind="create", status=status, code=code, until_s=600))
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(30)]
        assert (await running).url  # polled on
        await asyncio.sleep(500)
        assert str(code) in (kling.stats.paused or "")
        assert kling.stats.paused_code == code
        creates = kinds(emulator)["create"]
        assert creates < 30, "one knock at a time, up to a minute apart, after the first burst"
        (rejected,) = [job for job in jobs if job.done()]
        with pytest.raises(AccountError) as caught:
            await rejected
        assert (caught.value.paid, caught.value.code, rejected.status) == ("no", code, Status.REJECTED)
        others = [job for job in jobs if job is not rejected]
        assert {job.status for job in others} == {Status.QUEUED}
        assert all([(await job).url for job in others])
        assert kling.stats == attrs.evolve(kling.stats, paused=None, paused_code=None)
        assert_paid_once(emulator, 30)
    assert "account" in caplog.text


async def test_nobody_waits_for_ever_for_an_account() -> None:
    """After `account_wait_s` all that is queued is rejected, unpaid; what comes later finds out at the next knock."""
    broke = Fault(action="status", kind="create", status=429, code=1102)
    async with service(faults=[broke]) as emulator, client(emulator, policy=Policy(account_wait_s=300)) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(5)]
        done, open_ = await asyncio.wait([asyncio.ensure_future(job.accepted()) for job in jobs], timeout=400)
        assert (len(done), len(open_)) == (5, 0)
        for work in done:
            error = work.exception()
            assert isinstance(error, AccountError)
            assert error.paid == "no"
        late = await kling.submit(clip("late"))
        began = asyncio.get_running_loop().time()
        with pytest.raises(AccountError):
            await late
        assert asyncio.get_running_loop().time() - began <= 61
        assert emulator.tasks == []


async def test_what_only_one_job_may_not_do_does_not_hold_up_the_others() -> None:
    """1103 for one endpoint alone: its jobs are rejected one by one, and those of others go."""
    barred = Fault(action="status", kind="create", status=403, code=1103, path="*/omni-video*")
    from kling_async import OmniVideo

    async with service(faults=[barred], duration_s=20.0) as emulator, client(emulator) as kling:
        omni = OmniVideo(prompt="a boat", duration="5", aspect_ratio="1:1")
        refused = [await kling.submit(omni) for _ in range(3)]
        good = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
        assert all([(await job).url for job in good])
        for job in refused:
            with pytest.raises(AccountError):
                await job
        assert_paid_once(emulator, 3)


@pytest.mark.fault("F21")
@pytest.mark.parametrize("code", [1000, 1001, 1002])
async def test_f21_a_key_that_is_lost_in_the_middle_fails_nobody(code: int) -> None:
    """Refused creates and refused questions: everything waits, and goes on at once with a new key."""
    async with service(duration_s=100.0) as emulator, client(emulator) as kling:
        running = await kling.submit(clip("runs"))
        await running.accepted()
        old = emulator.api_key
        emulator.faults.append(Fault(action="status", status=401, code=code, until_s=1000))
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(5)]
        await asyncio.sleep(900)
        assert not any(job.done() for job in (running, *jobs))
        assert kling.stats.paused is not None
        assert len([request for request in emulator.requests if request.at > EPOCH + 200]) < 100, (
            "a question or two in half a minute"
        )
        emulator.faults.clear()
        before = asyncio.get_running_loop().time()
        kling.renew_credentials(api_key=old)
        assert (await running).url
        assert asyncio.get_running_loop().time() - before < 5
        assert all([(await job).url for job in jobs])
        assert_paid_once(emulator, 6)


async def test_another_key_is_used_from_then_on() -> None:
    async with service(duration_s=20.0) as emulator, client(emulator, api_key="wrong-key") as kling:
        with pytest.raises(AuthError):
            await kling.generate(clip())
        with pytest.raises(ConfigError, match="half a key pair"):
            kling.renew_credentials(access_key="a")
        kling.renew_credentials(api_key=emulator.api_key)
        assert (await kling.generate(clip())).url
        kling.renew_credentials(access_key="emulator-access-key", secret_key="emulator-secret-key")
        assert (await kling.generate(clip())).url
        assert_paid_once(emulator, 2)


async def test_a_key_that_was_answered_for_want_of_a_slot_is_no_wrong_key_from_the_start() -> None:
    """Only an account that was let in is told that its slots are taken: what is refused then waits, and is sent."""
    faults = [
        Fault(action="status", stage="before", kind="create", code=1303, status=429, nth=1),
        Fault(action="status", stage="before", kind="create", code=1002, status=401, nth=2),
    ]
    async with service(faults=faults, duration_s=20.0) as emulator, client(emulator) as kling:
        assert (await kling.generate(clip())).url
        assert kinds(emulator)["create"] == 3
        assert_paid_once(emulator, 1)


async def test_a_wrong_key_from_the_start_is_told_at_once() -> None:
    async with service() as emulator, client(emulator, api_key="wrong-key") as kling:
        for index in range(3):
            with pytest.raises(AuthError) as caught:
                await (await kling.submit(clip(f"scene {index}")))
            assert caught.value.paid == "no"
        assert asyncio.get_running_loop().time() < 5
        assert kling.stats.paused is None


async def test_a_host_that_only_ever_says_too_many_requests_is_not_waited_for_without_end() -> None:
    """A gateway hides an empty pack behind these words; it is given the time that the policy says."""
    busy = Fault(action="status", stage="before", kind="create", code=1302, status=429)
    policy = Policy(slots_wait_s=600)
    async with service(faults=[busy]) as emulator, client(emulator, policy=policy) as kling:
        async with asyncio.timeout(2000):
            with pytest.raises(Throttled) as caught:
                await kling.generate(clip())
        assert caught.value.paid == "no"
        assert asyncio.get_running_loop().time() >= 600
        assert not emulator.tasks


async def test_a_page_that_is_forbidden_is_about_that_page() -> None:
    """403 without a code of the service: other jobs go on."""
    page = b'{"error":{"message":"this model is not for you"}}'
    forbidden = Fault(action="body", kind="create", status=403, body=page, nth=2)
    async with service(faults=[forbidden], duration_s=20.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
        ends = await asyncio.gather(*(job.accepted() for job in jobs), return_exceptions=True)
        assert sum(isinstance(end, str) for end in ends) == 2
        assert kling.stats.paused is None


async def test_who_adopts_with_a_wrong_key_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Questions that are refused for their key, or not answered for long, are a line in the log, once each time."""
    caplog.set_level(logging.WARNING, logger="kling_async")
    async with service(duration_s=400.0) as emulator, client(emulator) as kling:
        await (await kling.submit(clip())).accepted()
        emulator.faults.append(Fault(action="status", status=401, code=1000, until_s=200))
        await asyncio.sleep(190)
        assert caplog.text.count("no answer about 1 tasks") == 1
        emulator.faults.clear()
        await asyncio.sleep(60)
        emulator.faults.append(Fault(action="reset"))
        await asyncio.sleep(400)
        assert caplog.text.count("no answer about 1 tasks") == 2


async def test_what_a_curious_question_is_told_counts_too() -> None:
    """The host's wish to be left alone is honoured, whichever question it was told to."""
    async with service("cometapi", duration_s=300.0) as emulator, client(emulator) as kling:
        emulator.faults.append(
            Fault(action="status", kind="single", status=429, code=1302, times=1, headers={"Retry-After": "40"})
        )
        for index in range(4):
            await (await kling.submit(clip(f"scene {index}"))).accepted()
        while not (hit := [request for request in emulator.requests if request.fault]):
            await asyncio.sleep(0.1)
        await asyncio.sleep(39)
        later = [request for request in emulator.requests if request.at > hit[0].at and request.kind != "create"]
        assert len(later) <= 6, "what was on its way already, and nothing more"


async def test_a_key_can_be_changed_before_the_session_is_open() -> None:
    """Whoever fetches it late: nothing runs yet that would have to be told."""
    async with service(duration_s=20.0) as emulator:
        connector = aiohttp.UnixConnector(path=SOCKET)
        async with aiohttp.ClientSession(connector=connector) as http:
            kling = KlingSession(api_key="wrong-key", base_url=host_of(emulator), http=http, wall=wall, seed=7)
            kling.renew_credentials(api_key=emulator.api_key)
            async with kling:
                assert (await kling.generate(clip())).url
        assert_paid_once(emulator, 1)
