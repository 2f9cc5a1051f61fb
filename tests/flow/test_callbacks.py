"""Callbacks: what is believed of them, what they are good for, and that nothing else is changed by one.

The emulator posts them to the session's own aiohttp route, over in-memory connections, on the virtual clock.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from flow_tools import assert_paid_once, client, clip, kinds, service, wall
from yarl import URL

from kling_async import (
    ConfigError,
    InvalidRequest,
    Job,
    KlingSession,
    Operation,
    Policy,
    RequestRejected,
    Status,
    SubmissionUnknown,
    TaskFailed,
    TextToSpeech,
)
from kling_async.auth import Secret
from kling_async.callbacks import MOST_BYTES
from kling_async.emulator import CallbackPlan, Emulator, Fault

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
OTHER = "whsec_" + base64.b64encode(b"another secret of another account").decode()
TOKEN = "a-secret-of-our-own-that-nobody-knows"
RECEIVER = "/virtual/receiver"
BASE = "http://localhost/hooks/kling"
# A poller that would ask much later: what is seen at once was told by a callback.
PATIENT = Policy(price_s=1e9, late_s=3000.0, ceiling_s=3000.0, sweep_s=3000.0)


@asynccontextmanager
async def receiver(session: KlingSession) -> AsyncIterator[None]:
    """The session's routes on a server in memory, under the path of `BASE`."""
    application = web.Application()
    application.add_subapp("/hooks/kling", session.callback_app())
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.UnixSite(runner, RECEIVER).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def both(dialect: str = "official", **settings: Any) -> AsyncIterator[tuple[Emulator, KlingSession]]:
    """An emulator that calls a session back; `settings` with "my_" before them are the session's."""
    mine = {name[3:]: settings.pop(name) for name in list(settings) if name.startswith("my_")}
    mine = {"callback": BASE, "policy": PATIENT, **mine}
    if "callback_token" not in mine:
        mine.setdefault("webhook_secret", SECRET)
        settings.setdefault("webhook_secret", SECRET)
    settings = {"duration_s": 100.0, "callback_unix_path": RECEIVER, **settings}
    async with service(dialect, **settings) as emulator, client(emulator, **mine) as kling, receiver(kling):
        yield emulator, kling


def signed(body: bytes, *, message_id: str = "m1", secret: str = SECRET, late_s: float = 0.0) -> dict[str, str]:
    """Headers as the service would make them, by the words of the reference and none of our code."""
    at = int(wall() - late_s)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    value = "v1," + base64.b64encode(mac).decode()
    return {"Webhook-Id": message_id, "Webhook-Timestamp": str(at), "Webhook-Signature": value}


def about(job: Job, word: str = "succeed", **fields: Any) -> bytes:
    """What the service would tell of a job's task."""
    row = {"task_id": job.task_id, "task_status": word, "task_info": {"external_task_id": job.id}, **fields}
    return json.dumps(row).encode()


def queries(emulator: Emulator) -> Counter[str]:
    """What was asked of the service, creates left out."""
    return Counter({kind: number for kind, number in kinds(emulator).items() if kind != "create"})


async def proved(kling: KlingSession, emulator: Emulator) -> None:
    """Let a first job show that the host finds by external id, so that later ones are not asked about for that."""
    await kling.generate(clip(), callback_url="http://localhost/elsewhere", timeout=10_000)
    assert emulator.tasks


def now() -> float:
    return asyncio.get_running_loop().time()


# --- one query, and at once ------------------------------------------------------------------------------------------


@pytest.mark.fault("F41")
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("dialect", ["official", "cometapi", "new-api", "crazyrouter"])
async def test_a_callback_resolves_a_job_within_one_query(dialect: str, *, wrapped: bool) -> None:
    """On every family of hosts, also where the callback bears the service's id and not the gateway's."""
    plan = CallbackPlan(wrapped=wrapped)
    async with both(dialect, callbacks=plan, gateway_timeout_s=None, cache_s=0) as (emulator, kling):
        await proved(kling, emulator)
        job = await kling.submit(clip())
        await job.accepted()
        await asyncio.sleep(50)
        before = queries(emulator)
        result = await job
        assert queries(emulator) - before == {"single": 1}
        (task,) = emulator.tasks[1:]
        assert task.ended_at is not None
        assert emulator.now() - task.ended_at < 0.1
        assert result.url.startswith("http")
        told = [(sent.status, sent.answer) for sent in emulator.posted if sent.task_id == task.task_id]
        assert told == [("submitted", 204), ("processing", 204), ("succeed", 204)]
        assert kling.stats.callbacks.taken == 3
        assert not kling.stats.callbacks.refused


async def test_a_failure_is_told_as_well_and_of_the_new_standard() -> None:
    async with both() as (emulator, kling):
        request = Operation(operation="text-to-video", model="kling-3.0", prompt="[fail]", settings={"duration": 3})
        job = await kling.submit(request)
        await job.accepted()
        await asyncio.sleep(99)
        before = queries(emulator)
        with pytest.raises(TaskFailed, match="risk control"):
            await job
        assert queries(emulator) - before in ({"single": 1}, {"batch": 1})
        assert [sent.status for sent in emulator.posted] == ["submitted", "processing", "failed"]
        assert emulator.posted[-1].at == pytest.approx(emulator.now(), abs=0.1)


async def test_with_a_token_in_the_url_nothing_needs_to_be_signed() -> None:
    """Each job has a URL of its own, that nobody can guess."""
    async with both("cometapi", my_callback_token=TOKEN) as (emulator, kling):
        jobs = [await kling.submit(clip(), job_id=name) for name in ("one", "two")]
        await asyncio.gather(*(job.accepted() for job in jobs))
        urls = [URL(task.callback_url) for task in emulator.tasks]
        assert [url.parts[:-1] for url in urls] == [("/", "hooks", "kling", name) for name in ("one", "two")]
        tokens = [url.name for url in urls]
        assert len(set(tokens)) == 2
        assert all(len(base64.urlsafe_b64decode(token)) * 8 >= 128 for token in tokens)
        await asyncio.sleep(99)
        before = queries(emulator)
        await asyncio.gather(*jobs)
        assert queries(emulator) - before == {"single": 2}
        assert kling.stats.callbacks.taken == 6
        assert all(sent.answer == 204 for sent in emulator.posted)


async def test_many_that_end_together_share_a_query() -> None:
    """Sixty callbacks in one moment are a page or a few, not sixty queries."""
    async with both(my_policy=attrs.evolve(PATIENT, price_s=4.0, late_s=10.0), duration_s=600.0) as (emulator, kling):
        jobs = [await kling.submit(clip()) for _ in range(60)]
        await asyncio.gather(*(job.accepted() for job in jobs))
        await asyncio.sleep(590 - now())
        before = queries(emulator)
        await asyncio.gather(*jobs)
        assert (queries(emulator) - before).total() < 10
        assert_paid_once(emulator, 60)


async def test_news_of_a_task_under_way_costs_nothing() -> None:
    async with both() as (emulator, kling):
        await proved(kling, emulator)
        job = await kling.submit(clip(), callback_url="http://localhost/elsewhere")
        await job.accepted()
        await asyncio.sleep(5)
        before = queries(emulator)
        for number, word in enumerate(("submitted", "processing", "processing")):
            body = about(job, word)
            assert kling.take_callback(signed(body, message_id=f"m{number}"), body) == 204
        await asyncio.sleep(20)
        assert queries(emulator) == before
        body = about(job, "a word of tomorrow")
        assert kling.take_callback(signed(body, message_id="m9"), body) == 204
        await asyncio.sleep(0.1)
        assert queries(emulator) - before == {"single": 1}


# --- lost, late, double, overtaken, forged ---------------------------------------------------------------------------


@pytest.mark.fault("F41")
@pytest.mark.parametrize(
    "plan",
    [
        CallbackPlan(dropped=1.0),
        CallbackPlan(delay_s=500.0),
        CallbackPlan(doubled=1.0),
        CallbackPlan(reordered=0.5, held_s=30.0),
        CallbackPlan(dropped=0.3, doubled=0.5, reordered=0.5, delay_s=2.0),
        CallbackPlan(unsigned=True),
    ],
    ids=["lost", "late", "double", "overtaken", "all at once", "unsigned"],
)
async def test_whatever_becomes_of_callbacks_only_time_is_lost(plan: CallbackPlan) -> None:
    """Polling goes on all the same, and every job ends as the service says."""
    async with both(callbacks=plan, my_policy=Policy()) as (emulator, kling):
        jobs = [await kling.submit(clip("[fail]" if number == 3 else "a boat")) for number in range(8)]
        await asyncio.gather(*jobs, return_exceptions=True)
        ends = [Status.FAILED if number == 3 else Status.SUCCEEDED for number in range(8)]
        assert [job.status for job in jobs] == ends
        assert now() < 115
        await asyncio.sleep(600)
        assert_paid_once(emulator, 8)
        stats = kling.stats.callbacks
        refused = {"unsigned": 24} if plan.unsigned else {"replayed": stats.refused.get("replayed", 0)}
        assert {reason: number for reason, number in refused.items() if number} == stats.refused
        assert bool(stats.refused.get("replayed")) is (plan.doubled > 0)


@pytest.mark.fault("F41")
async def test_a_forged_end_is_no_end() -> None:
    """Neither its answer nor anything else tells whoever posted it whether the task is known."""
    async with both() as (emulator, kling):
        await proved(kling, emulator)
        job = await kling.submit(clip())
        await job.accepted()
        await asyncio.sleep(10)
        before = queries(emulator)
        emulator.forge_callback(emulator.tasks[1], "failed")
        await asyncio.sleep(10)
        assert queries(emulator) == before
        assert [sent.answer for sent in emulator.posted][-1] == 401
        assert kling.stats.callbacks.refused == {"forged": 1}
        assert (await job).url


async def test_a_true_signature_under_a_lie_costs_one_query() -> None:
    """Even what is signed is not believed: the service's own answer is."""
    async with both() as (emulator, kling):
        await proved(kling, emulator)
        job = await kling.submit(clip())
        await job.accepted()
        await asyncio.sleep(20)
        before = queries(emulator)
        body = about(job, "failed", task_status_msg="risk control")
        assert kling.take_callback(signed(body), body) == 204
        await asyncio.sleep(20)
        assert not job.done()
        assert job.status is Status.PROCESSING
        assert queries(emulator) - before == {"single": 1}


async def test_one_task_is_asked_about_once_in_five_seconds() -> None:
    """However many messages come; and what comes too early is not lost, but waits."""
    async with both() as (emulator, kling):
        await proved(kling, emulator)
        job = await kling.submit(clip())
        await job.accepted()
        await asyncio.sleep(20)
        before = queries(emulator)["single"]
        asked = []
        for number in range(40):
            body = about(job, "succeed", updated_at=number)
            assert kling.take_callback(signed(body, message_id=f"m{number}"), body) == 204
            await asyncio.sleep(0.5)
            asked.append(queries(emulator)["single"] - before)
        assert asked[0] == 1
        assert asked[8] == 1
        assert asked[-1] == 4
        await asyncio.sleep(10)
        assert queries(emulator)["single"] - before == 5


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F41")
async def test_what_is_not_proved_or_not_readable_changes_nothing_but_a_count() -> None:
    async with both() as (emulator, kling):
        await proved(kling, emulator)
        job = await kling.submit(clip())
        await job.accepted()
        await asyncio.sleep(10)
        before, state = queries(emulator), (job.status, repr(job))
        body = about(job)
        good = signed(body)
        large = b'{"x":"' + b"x" * MOST_BYTES + b'"}'
        attempts = [
            ({}, body, 401, "unsigned"),
            ({"Webhook-Id": "m1"}, body, 401, "unsigned"),
            (signed(body, secret=OTHER), body, 401, "forged"),
            (good, body + b" ", 401, "forged"),
            (signed(body, late_s=301), body, 401, "stale"),
            (signed(body, late_s=-302), body, 401, "stale"),
            ({**good, "Webhook-Timestamp": "now"}, body, 400, "malformed"),
            ({**good, "webhook-id": "m2"}, body, 400, "malformed"),
            (signed(b"<html>"), b"<html>", 400, "unreadable"),
            (signed(b"{}"), b"{}", 400, "unreadable"),
            (signed(large), large, 413, "too large"),
        ]
        for headers, sent, _, _ in attempts:
            assert 400 <= kling.take_callback(headers, sent) < 500
        assert [kling.take_callback(headers, sent) for headers, sent, _, _ in attempts] == [
            status for _, _, status, _ in attempts
        ]
        for path in (("one", "token"), (job.id, "A" * 32), (job.id, ""), ("", ""), ("../x", "t\udc80")):
            assert kling.take_callback({}, body, job_id=path[0], token=path[1]) == 401
        counted = Counter(reason for _, _, _, reason in attempts for _ in range(2)) + Counter(forged=5)
        assert kling.stats.callbacks.refused == counted
        await asyncio.sleep(30)
        assert (job.status, repr(job)) == state
        assert queries(emulator) == before
        # And the good one is taken once.
        good = signed(body)
        assert [kling.take_callback(good, body) for _ in range(3)] == [204, 409, 409]
        await asyncio.sleep(30)
        assert queries(emulator) - before == {"single": 1}


@pytest.mark.fault("F41")
@pytest.mark.parametrize("token", [False, True])
async def test_a_flood_of_forged_ones_costs_no_query(caplog: pytest.LogCaptureFixture, *, token: bool) -> None:
    caplog.set_level(logging.INFO, logger="kling_async")
    arguments = {"my_callback_token": TOKEN} if token else {}
    async with both(**arguments) as (emulator, kling):
        await proved(kling, emulator)
        job = await kling.submit(clip())
        await job.accepted()
        await asyncio.sleep(10)
        before, said = queries(emulator), len(caplog.records)
        body = about(job)
        forged = signed(body, secret=OTHER)
        for number in range(10_000):
            parts = {"job_id": job.id, "token": f"{number:032}"} if token else {}
            assert kling.take_callback(forged, body, **parts) == 401
        await asyncio.sleep(30)
        assert queries(emulator) == before
        assert kling.stats.callbacks.refused == {"forged": 10_000}
        assert len(caplog.records) - said <= 2
        assert len(kling._door._seen) <= 3


async def test_a_message_is_remembered_for_a_quarter_of_an_hour() -> None:
    """With a token nothing says when a message was made, so the same bytes are a replay until then."""
    async with both(my_callback_token=TOKEN, duration_s=5_000.0) as (emulator, kling):
        job = await kling.submit(clip())
        await job.accepted()
        *_, job_id, token = URL(emulator.tasks[0].callback_url).parts
        body = about(job)

        def take(sent: bytes = body) -> int:
            return kling.take_callback({}, sent, job_id=job_id, token=token)

        assert [take(), take()] == [204, 409]
        assert kling.take_callback(signed(body), body) == 401  # a signature proves nothing where there is no secret
        assert kling.stats.callbacks.refused == {"replayed": 1, "unsigned": 1}
        assert repr(kling._door) == "<Door [token | 1 taken, 2 refused]>"
        await asyncio.sleep(890)
        assert take() == 409
        await asyncio.sleep(20)
        assert take() == 204
        nameless = json.dumps({"task_id": job.task_id, "task_status": "succeed"}).encode()
        assert take(nameless) == 204
        foreign = about(job).replace(job.id.encode(), b"another-job")
        assert take(foreign) == 401
        # Nothing that was remembered stays for ever.
        assert len(kling._door._seen) < 8


@pytest.mark.parametrize(
    "mine", [SECRET, OTHER, [OTHER, SECRET], [Secret(SECRET)]], ids=["old", "new", "both", "hidden"]
)
async def test_the_secret_is_changed_without_losing_a_callback(mine: Any) -> None:
    """For seven days each is signed with both: old and new receivers take it, and one that knows both as well."""
    async with both(my_webhook_secret=mine, webhook_secret=[OTHER, SECRET]) as (emulator, kling):
        job = await kling.submit(clip())
        assert (await job).url
        assert [sent.answer for sent in emulator.posted] == [204, 204, 204]
        emulator.renew_webhook_secret("whsec_" + base64.b64encode(b"the third").decode())
        job = await kling.submit(clip())
        await job.accepted()
        await asyncio.sleep(0.1)
        assert emulator.posted[-1].answer == 401


async def test_a_task_that_is_not_followed_is_told_no_other_way() -> None:
    """Who has the secret is told nothing about what we know; a callback after the end costs nothing."""
    async with both() as (emulator, kling):
        job = await kling.submit(clip())
        await job
        before = queries(emulator)
        ended, nobody = about(job, "failed"), b'{"id":"999","status":"succeeded"}'
        assert kling.take_callback(signed(ended, message_id="late"), ended) == 204
        assert kling.take_callback(signed(nobody, message_id="nobody"), nobody) == 204
        await asyncio.sleep(10)
        assert queries(emulator) == before
        assert job.status is Status.SUCCEEDED
        assert kling.stats.callbacks.unknown == 2


# --- before the answer to the create ---------------------------------------------------------------------------------


@pytest.mark.fault("F41")
@pytest.mark.parametrize("dialect", ["official", "cometapi", "crazyrouter"])
async def test_a_callback_finds_the_job_whose_answer_was_lost(dialect: str) -> None:
    """Where the host does not find by external id: by the id that is told, in one query, and never sent again.

    A gateway that knows neither id cannot be asked; but then the money is known to be spent.
    """
    lost = Fault(action="reset", stage="after", kind="create")
    plan = CallbackPlan(delay_s=3.0)
    arguments: dict[str, Any] = {"my_policy": attrs.evolve(PATIENT, on_unknown="resend"), "unique_external_ids": False}
    async with both(dialect, faults=[lost], callbacks=plan, external_lookup=False, **arguments) as (emulator, kling):
        job = await kling.submit(clip(), job_id="mine")
        await asyncio.sleep(2.99)
        before = queries(emulator)
        assert job.status is Status.UNSURE
        await asyncio.sleep(0.1)
        assert queries(emulator) - before == {"single": 1}
        if dialect == "crazyrouter":
            with pytest.raises(SubmissionUnknown) as caught:
                await job
            assert caught.value.paid == "yes"
        else:
            assert job.task_id == emulator.tasks[0].task_id
            assert (await job).url
        assert_paid_once(emulator, 1)


async def test_a_callback_makes_the_next_look_due() -> None:
    """Where the host finds by external id: at once, though the next look was half a minute away."""
    lost = Fault(action="reset", stage="after", kind="create", nth=2)
    async with both(faults=[lost], callbacks=CallbackPlan(delay_s=40.0)) as (emulator, kling):
        await proved(kling, emulator)
        emulator.visible_after_s = 39.0
        job = await kling.submit(clip())
        await asyncio.sleep(39.9)
        assert job.status is Status.UNSURE
        before = queries(emulator)
        await asyncio.sleep(0.2)
        assert job.task_id == emulator.tasks[1].task_id
        assert queries(emulator) - before == {"single": 1}


@pytest.mark.parametrize("answer", ["slow", "lost", "put off"])
async def test_a_callback_before_the_answer_to_the_create(answer: str) -> None:
    """Whatever the answer says then: there is a task, so no other is made, and it is found in one query."""
    fault = {
        "slow": Fault(action="delay", stage="after", kind="create", delay_s=200.0),
        "lost": Fault(action="reset", stage="after", kind="create"),
        "put off": Fault(action="status", stage="after", kind="create", code=1302, status=429),
    }[answer]
    delayed = attrs.evolve(fault, times=1)
    async with both(faults=[delayed], my_policy=Policy()) as (emulator, kling):
        job = await kling.submit(clip(), job_id="mine")
        assert (await job).url
        assert kinds(emulator)["create"] == 1
        assert_paid_once(emulator, 1)
        assert now() < 110


@pytest.mark.parametrize("told", [False, True], ids=["without", "with"])
async def test_a_job_that_is_to_be_sent_again_is_not_once_the_service_calls_back(*, told: bool) -> None:
    """Looked for in vain, it waits to be sent with its old id; then news of its task arrives.

    Without that it is sent, and paid twice where ids are not unique: nothing else could tell.
    """
    lost = Fault(action="reset", stage="after", kind="create", nth=2)
    plan = CallbackPlan(delay_s=66.0, dropped=0.0 if told else 1.0)
    async with both(faults=[lost], callbacks=plan, unique_external_ids=False, my_policy=Policy()) as (emulator, kling):
        await proved(kling, emulator)
        emulator.visible_after_s = 68.0
        began = now()
        job = await kling.submit(clip())
        await asyncio.sleep(30)
        kling._runtime.scheduler().submitter._resume_at = began + 70.0  # as after a 429
        await asyncio.sleep(began + 65.5 - now())
        assert job.status is Status.QUEUED
        await asyncio.sleep(10)
        assert job.task_id is not None
        assert kinds(emulator)["create"] == (2 if told else 3)


async def test_an_end_that_is_called_back_before_the_answer_to_the_create_is_not_missed() -> None:
    """The answer says "submitted", and no other callback will come: so the task is asked about at once."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=50.0, nth=2)
    async with both(faults=[slow], duration_s=20.0) as (emulator, kling):
        await proved(kling, emulator)
        job, began = await kling.submit(clip()), now()
        await asyncio.sleep(40)
        assert (job.status, kling.stats.callbacks.taken) == (Status.SENDING, 3)
        before = queries(emulator)
        assert (await job).url
        assert queries(emulator) - before == {"single": 1}
        assert now() - began < 51, "not with the next sweep, which is an hour away"
        assert_paid_once(emulator, 2)


@pytest.mark.virtual(latency=0.1)
@pytest.mark.parametrize("refused", [False, True])
async def test_a_callback_about_what_ends_with_its_answer_says_nothing(*, refused: bool) -> None:
    """Speech is finished in the answer to its create, so that is what counts: there is no task to be looked for."""
    refusal = Fault(action="status", stage="before", kind="create", code=1201, status=400)
    plan = CallbackPlan(dropped=1.0)
    async with both(callbacks=plan, faults=[refusal] if refused else []) as (emulator, kling):
        job = await kling.submit(TextToSpeech(text="hello", voice_id="genshin_vindi2", voice_language="en"))
        await called_back_while_sending(kling, job)
        if refused:
            with pytest.raises(RequestRejected) as caught:
                await job
            assert (job.status, caught.value.paid) == (Status.REJECTED, "no")
        else:
            assert (await job).url
        assert queries(emulator) == {}
        assert_paid_once(emulator, 0 if refused else 1)


async def called_back_while_sending(kling: KlingSession, job: Job) -> None:
    """Let news of a job's task arrive when its create has left and is not answered."""
    while not kling.stats.submissions:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert job.status is Status.SENDING
    body = json.dumps({"task_id": "9", "task_status": "submitted", "external_id": job.id}).encode()
    body = body.replace(b'"external_id"', b'"task_info": {"external_task_id"').replace(b"}", b"}}")
    assert kling.take_callback(signed(body), body) == 204


async def test_a_job_that_was_called_back_about_is_never_resent_blindly() -> None:
    """While its create hangs the service calls back; then the host cannot be asked, and the policy would send again."""
    hangs = Fault(action="hang", stage="after", kind="create")
    policy = attrs.evolve(PATIENT, on_unknown="resend")
    plan = CallbackPlan(dropped=1.0)
    arguments: dict[str, Any] = {"faults": [hangs], "callbacks": plan, "unique_external_ids": False}
    async with both("crazyrouter", my_policy=policy, **arguments) as (emulator, kling):
        job = await kling.submit(clip())
        await called_back_while_sending(kling, job)
        with pytest.raises(SubmissionUnknown) as caught:
            await job
        assert caught.value.paid == "yes"
        assert_paid_once(emulator, 1)


@pytest.mark.virtual(latency=0.1)
async def test_a_refusal_is_not_believed_of_a_job_that_was_called_back_about() -> None:
    """A gateway says no to what the service has taken: the task is there, and is found."""
    refusal = Fault(action="status", stage="after", kind="create", code=1201, status=400)
    async with both(faults=[refusal], callbacks=CallbackPlan(dropped=1.0), my_policy=Policy()) as (emulator, kling):
        job = await kling.submit(clip())
        await called_back_while_sending(kling, job)
        assert (await job).url
        assert_paid_once(emulator, 1)


async def test_a_token_is_good_for_its_own_job_only() -> None:
    """Whatever task the body names: who was told one job's URL can make no other one due."""
    async with both(my_callback_token=TOKEN, callbacks=CallbackPlan(dropped=1.0)) as (emulator, kling):
        await proved(kling, emulator)
        mine, other = [await kling.submit(clip()) for _ in range(2)]
        await asyncio.gather(mine.accepted(), other.accepted())
        await asyncio.sleep(30)
        before = len(emulator.requests)
        body = json.dumps({"task_id": other.task_id, "task_status": "succeed"}).encode()
        token = URL(emulator.tasks[1].callback_url).name
        assert kling.take_callback({}, body, job_id=mine.id, token=token) == 204
        await asyncio.sleep(1)
        assert [request.path.rpartition("/")[2] for request in emulator.requests[before:]] == [mine.task_id]


async def test_a_job_sent_by_an_earlier_run_is_not_sent_again() -> None:
    """Without a journal the next run knows nothing of it; the service calls back while its job waits for a slot."""
    async with both(callbacks=CallbackPlan(delay_s=30.0), unique_external_ids=False) as (emulator, kling):
        async with client(emulator, callback=BASE) as first:
            await (await first.submit(clip(), job_id="mine")).accepted()
        kling._runtime.scheduler().submitter._resume_at = now() + 40.0
        job = await kling.submit(clip(), job_id="mine")
        await asyncio.sleep(39)
        assert job.status is Status.QUEUED
        await asyncio.sleep(2)
        assert job.task_id == emulator.tasks[0].task_id
        assert (await job).url
        assert_paid_once(emulator, 1)


async def test_news_in_the_very_moment_of_sending_stops_it() -> None:
    """Its slot is taken and its body made, but no byte has left: it is looked up instead."""
    async with both(callbacks=CallbackPlan(dropped=1.0), unique_external_ids=False) as (emulator, kling):
        async with client(emulator, callback=BASE) as first:
            await (await first.submit(clip(), job_id="mine")).accepted()
        job = await kling.submit(clip(), job_id="mine")
        while job.status is Status.QUEUED:
            await asyncio.sleep(0)
        assert (job.status, kling.stats.submissions) == (Status.SENDING, 0)
        body = json.dumps(
            {"task_status": "submitted", "task_info": {"external_task_id": "mine"}, "task_id": "9"}
        ).encode()
        assert kling.take_callback(signed(body), body) == 204
        assert (await job).url
        assert_paid_once(emulator, 1)


# --- the URL, the route, the session ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://me.example/kling",
        "https://user:password@me.example/kling",
        "https://user@me.example/kling",
        "https://127.0.0.1/kling",
        "https://10.1.2.3/kling",
        "https://192.168.0.1:8443/kling",
        "https://[::1]/kling",
        "https://[::ffff:10.0.0.1]/kling",
        "https://[fd00::1]/kling",
        "https://169.254.169.254/latest",
        "https://localhost/kling",
        "ftp://me.example/kling",
        "https://[::1/kling",
        "https:///kling",
        "https://me.example/\nkling",
        "https://me.example/" + "k" * 3000,
        "me.example",
        7,
    ],
)
def test_a_callback_url_must_be_one_that_leaks_nothing_and_leads_somewhere(url: Any) -> None:
    with pytest.raises(ConfigError, match="callback") as caught:
        KlingSession(api_key="k", base_url="global", callback=url)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://10.1.2.3/kling", "https://localhost/kling", "http://me.example/kling"])
def test_a_private_callback_url_is_taken_when_that_is_said(url: str) -> None:
    session = KlingSession(api_key="k", base_url="global", callback=url, private_callbacks=True)
    assert not session.takes_callbacks
    with pytest.raises(ConfigError, match="credentials"):
        KlingSession(api_key="k", base_url="global", callback="http://a:b@10.1.2.3/", private_callbacks=True)


async def test_the_callback_url_of_one_job_is_looked_at_as_well() -> None:
    async with service() as emulator, client(emulator) as kling:
        door = kling._door
        door._local = False  # as on a host that is not this machine
        with pytest.raises(ConfigError, match="https"):
            await kling.submit(clip(), callback_url="http://me.example/")
        with pytest.raises(InvalidRequest, match="private") as caught:
            await kling.submit(clip(callback_url="https://10.0.0.1/secret-path"))
        assert "secret-path" not in str(caught.value)
        with pytest.raises(InvalidRequest, match="credentials"):
            await kling.submit(clip(extra={"callback_url": "https://a:b@me.example/"}))
        assert not emulator.requests


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"webhook_secret": "whsec_***"}, "Base64"),
        ({"webhook_secret": []}, "needed"),
        ({"webhook_secret": ""}, "Base64"),
        ({"callback_token": "too-short", "callback": "https://me.example/"}, "16 characters"),
        ({"callback_token": " " * 20, "callback": "https://me.example/"}, "empty"),
        ({"callback_token": [], "callback": "https://me.example/"}, "empty"),
        ({"callback_token": TOKEN}, "callback="),
        ({"callback_token": TOKEN, "callback": "https://me.example/?a=b"}, "query"),
    ],
)
def test_secrets_that_cannot_be_right_are_said_at_once(arguments: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        KlingSession(api_key="k", base_url="global", **arguments)
    assert TOKEN not in repr(caught.value)


async def test_without_anything_to_check_by_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service() as emulator, client(emulator, callback=BASE) as kling:
        assert not kling.takes_callbacks
        for ask in (kling.callback_app, lambda: kling.take_callback({}, b"{}")):
            with pytest.raises(ConfigError, match="webhook_secret="):
                ask()
    monkeypatch.setenv("KLING_WEBHOOK_SECRET", f" {OTHER}\n{SECRET} ")
    async with service() as emulator, client(emulator) as kling:
        assert kling.takes_callbacks
        body = b'{"id":"9","status":"succeeded"}'
        assert [kling.take_callback(signed(body, message_id=s, secret=s), body) for s in (SECRET, OTHER)] == [204, 204]
        assert kling.take_callback({}, body, job_id="a", token="b") == 401


async def test_a_closed_session_asks_to_come_again() -> None:
    async with service() as emulator:
        async with client(emulator, webhook_secret=SECRET) as kling:
            pass
        body = b'{"id":"9","status":"succeeded"}'
        assert kling.take_callback(signed(body), body) == 503
        assert kling.stats.callbacks.refused == {"closed": 1}
        unopened = KlingSession(api_key="k", base_url="global", webhook_secret=SECRET)
        assert unopened.stats.callbacks == kling.stats.callbacks.__class__()
        with pytest.raises(ConfigError, match="not open"):
            unopened.take_callback(signed(body), body)


async def test_the_route_takes_posts_and_says_nothing() -> None:
    """Only POST; the size is looked at while reading; a body that does not come is given up."""
    async with both(my_callback_token=TOKEN, my_webhook_secret=SECRET) as (_, kling):
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=RECEIVER)) as http:

            async def post(path: str, **fields: Any) -> tuple[int, bytes]:
                async with http.post("http://localhost/hooks/kling" + path, **fields) as answer:
                    return answer.status, await answer.read()

            body = b'{"id":"9","status":"succeeded"}'
            assert await post("", data=body, headers=signed(body, message_id="1")) == (204, b"")
            assert await post("/", data=body, headers=signed(body, message_id="2")) == (204, b"")
            assert await post("/", data=body) == (401, b"")
            assert await post("/job/token", data=body, headers=signed(body)) == (401, b"")
            for method in ("GET", "PUT", "DELETE"):
                async with http.request(method, "http://localhost/hooks/kling/") as answer:
                    assert answer.status == 405
            assert await post("/", data=b"x" * (MOST_BYTES + 1)) == (413, b"")

            async def endless() -> AsyncIterator[bytes]:
                while True:
                    yield b"x" * 10_000
                    await asyncio.sleep(0.01)

            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                assert await post("/", data=endless()) == (413, b"")

            async def stalling() -> AsyncIterator[bytes]:
                yield b"{"
                await asyncio.sleep(1000)
                yield b"}"

            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                assert await post("/", data=stalling()) == (408, b"")
        refused = dict(kling.stats.callbacks.refused)
        assert refused == {"unsigned": 1, "forged": 1, "too large": 2, "slow": 1}
        await asyncio.sleep(15)  # for so long aiohttp reads what it was not asked to read


async def test_whoever_hangs_up_leaves_nothing_behind() -> None:
    async with both() as (_, kling):
        loop = asyncio.get_running_loop()
        transport, _protocol = await loop.create_unix_connection(asyncio.Protocol, RECEIVER)
        transport.write(b"POST /hooks/kling HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        await asyncio.sleep(1)
        transport.abort()
        await asyncio.sleep(30)
        assert kling.stats.callbacks.taken == 0
        assert kling.stats.callbacks.refused in ({}, {"malformed": 1}, {"slow": 1})


# --- the emulator's side ---------------------------------------------------------------------------------------------


async def test_a_receiver_that_is_away_or_hangs_hurts_no_task() -> None:
    """Nobody listens, or nobody answers: tasks go on, and the emulator closes at once."""
    async with both(callback_unix_path="/virtual/nobody", my_policy=Policy()) as (emulator, kling):
        assert (await kling.generate(clip())).url
        assert [sent.trouble for sent in emulator.posted] == ["UnixClientConnectorError"] * 3
    server = await asyncio.get_running_loop().create_unix_server(asyncio.Protocol, "/virtual/silent")
    async with both(callback_unix_path="/virtual/silent", my_policy=Policy()) as (emulator, kling):
        assert (await kling.generate(clip())).url
        assert [sent.answer for sent in emulator.posted] == [None, None, None]
        began = now()
    assert now() - began < 5
    server.close()


async def test_callbacks_leave_this_machine_only_when_that_is_said() -> None:
    plan = CallbackPlan()
    async with both(callbacks=plan) as (emulator, kling):
        for url in ("https://me.example/kling", "http://10.0.0.1/", "http://localhost.example/", "http://[::2]/"):
            await (await kling.submit(clip(), callback_url=url)).accepted()
        assert len(emulator.posted) == 4
        assert all("anywhere" in sent.trouble for sent in emulator.posted)
        plan.anywhere = True
        await (await kling.submit(clip(), callback_url="http://me.example/hooks/kling")).accepted()
        await asyncio.sleep(0.1)
        assert emulator.posted[-1].answer == 204


async def test_a_create_that_takes_effect_late_is_called_back_too() -> None:
    """The one way to hear of it while nobody asks."""
    late = Fault(action="reset", stage="before", kind="create", commit_after_s=20.0)
    async with both(faults=[late]) as (emulator, kling):
        job = await kling.submit(clip(), job_id="mine")
        await asyncio.sleep(20.5)
        assert (emulator.posted[0].status, emulator.posted[0].answer) == ("submitted", 204)
        assert job.task_id == emulator.tasks[0].task_id
        assert_paid_once(emulator, 1)
