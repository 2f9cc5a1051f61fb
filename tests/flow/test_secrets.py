"""Whatever goes wrong, no key, token or signed URL is in an error, a traceback with locals, a log or a repr."""

import asyncio
import logging
import pickle
import traceback
from typing import Any

import pytest
from flow_tools import client, clip, service
from test_trouble import LOST, OUTAGES

from kling_async import AuthError, KlingError, KlingSession, Policy
from kling_async.emulator import Emulator, Fault

KEY = "emulator-key"
PAIR = ("emulator-access-key", "emulator-secret-key")
EVERYTHING = [*LOST, *(fault for name in OUTAGES for fault in OUTAGES[name])]


def assert_hidden(text: str, where: str) -> None:
    """None of the credentials, and no JWT, is in the text."""
    for secret in (KEY, *PAIR, "Bearer ", "eyJhbGciOi"):
        assert secret not in text, where


def shown(error: BaseException, kling: KlingSession) -> str:
    """All that a crash reporter would collect of an error, our own frames with their locals."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames: list[Any] = []
    seen: list[traceback.TracebackException | None] = [told]
    while seen:
        part = seen.pop()
        if part is not None:
            frames += [frame for frame in part.stack if "tests" not in frame.filename]
            seen += [part.__cause__, part.__context__]
    details = [(frame.filename, frame.line, frame.locals) for frame in frames]
    return "\n".join(
        [str(error), repr(error), repr(error.__dict__), repr(details), repr(kling), repr(kling._transport)]
    )


@pytest.mark.parametrize("pair", [False, True], ids=["key", "pair"])
@pytest.mark.parametrize("dialect", ["official", "cometapi", "new-api"])
async def test_no_fault_shows_a_secret(dialect: str, pair: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Every fault of the other tests, one after the other, at the loudest level of the log."""
    caplog.set_level(logging.DEBUG, logger="kling_async")
    async with service(dialect) as emulator:
        for fault in EVERYTHING:
            emulator.faults[:] = [fault]
            await one_job(emulator, pair=pair)
    text = "\n".join(record.getMessage() + repr(record.args) + (record.exc_text or "") for record in caplog.records)
    assert "ka-" in text
    assert_hidden(text, "log")
    assert "a red bicycle" not in text


async def one_job(emulator: Emulator, *, pair: bool) -> None:
    """Submit, ask, be cancelled, and look at every error."""
    credentials: dict[str, Any] = {"access_key": PAIR[0], "secret_key": PAIR[1]} if pair else {}
    policy = Policy(settle_s=2.0, unreachable_s=5.0, task_limit_s=30.0, grace_s=1.0)
    async with client(emulator, policy=policy, **credentials) as kling:
        job = await kling.submit(clip())
        waiting = asyncio.ensure_future(job.accepted())
        await asyncio.sleep(0.001)
        waiting.cancel()
        errors: list[BaseException] = []
        for work in (job.accepted(), _wait(job), kling.query("867000000000000001", "text2video")):
            try:
                await work
            except (KlingError, asyncio.CancelledError) as error:
                errors.append(error)
        for caught in errors:
            assert_hidden(shown(caught, kling), repr(caught))
            assert_hidden(repr(pickle.dumps(caught)), "pickle")


async def _wait(job: Any) -> Any:
    return await job


async def test_a_secret_that_the_host_repeats_is_scrubbed() -> None:
    """A gateway that quotes the key in its refusal does not get it into our error."""
    echo = b'{"error":{"message":"invalid token emulator-key (request id: 1)","type":"new_api_error","code":""}}'
    async with service(faults=[Fault(action="body", kind="create", status=401, body=echo)]) as emulator:
        async with client(emulator) as kling:
            with pytest.raises(AuthError, match="invalid token") as caught:
                await kling.generate(clip())
            assert_hidden(shown(caught.value, kling), "echo")


async def test_cancelling_a_question_in_flight_shows_nothing() -> None:
    """The frames of the HTTP client hold the header: a cancellation does not carry them out."""
    slow = Fault(action="hang", kind="single")
    async with service(faults=[slow]) as emulator, client(emulator) as kling:
        asking = asyncio.ensure_future(kling.query("867000000000000001", "text2video"))
        await asyncio.sleep(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await asking
        assert_hidden(shown(caught.value, kling), "cancelled")
