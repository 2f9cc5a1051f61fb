"""F07 to F14: the request left, or may have left, and the connection broke."""

import asyncio
from typing import Any

import pytest
from fault_tools import CARELESS, QUESTIONS, check_unknown, client, finished, found_after, left, query_gets
from flow_tools import assert_paid_once, clip, kinds, service

from kling_async import AnswerTimeout, BadEnvelope, ConnectionLost, KlingError, Status
from kling_async.emulator import Fault


@pytest.mark.fault("F07")
@pytest.mark.parametrize("action", ["reset", "close"])
async def test_f07_reset_or_fin_at_accept(action: str) -> None:
    """Nothing was read, and nobody here can know that: looked up, and sent again under the same id."""
    await check_unknown(ConnectionLost, effect=False, stage="accept", action=action)


@pytest.mark.fault("F08")
async def test_f08_reset_after_the_request() -> None:
    await check_unknown(ConnectionLost, action="reset")


@pytest.mark.fault("F09")
@pytest.mark.parametrize(
    "how",
    [{"action": "close"}, *({"action": "truncate", "within": "head", "keep": keep} for keep in (1, 12, 40))],
    ids=["before", "first byte", "status line", "inside"],
)
async def test_f09_fin_before_or_inside_the_headers(how: dict[str, Any]) -> None:
    await check_unknown(ConnectionLost, **how)


@pytest.mark.fault("F10")
@pytest.mark.parametrize("action", ["close", "reset"])
async def test_f10_stale_keep_alive_of_a_create(action: Any) -> None:
    """The second create goes on the first one's connection, which the server has just grown tired of: unknown."""
    for stage in ("after", "before"):
        async with service(**{**CARELESS, "duration_s": 400.0}) as emulator, client(emulator) as kling:
            first = await kling.submit(clip())
            await first.accepted()
            await asyncio.sleep(9)
            emulator.faults.append(Fault(action=action, stage=stage, kind="create", reused=True, times=1))
            second = await kling.submit(clip("second"))
            assert await left(second, Status.QUEUED, Status.SENDING) is Status.UNSURE
            await finished([first, second])
            assert emulator.faults.hits() == 1
            assert kinds(emulator)["create"] == (2 if stage == "after" else 3)
            assert_paid_once(emulator, 2)


@pytest.mark.fault("F10")
@pytest.mark.parametrize("action", ["close", "reset"])
async def test_f10_stale_keep_alive_of_a_question(action: Any) -> None:
    """A GET is tried once more by the HTTP client itself, on a fresh connection: nobody notices anything."""
    stale = [Fault(action=action, kind=kind, reused=True) for kind in QUESTIONS]
    async with service(faults=stale, **CARELESS) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
        await finished(jobs)
        assert emulator.faults.hits() > 0
        assert kinds(emulator)["create"] == 3
        assert_paid_once(emulator, 3)


@pytest.mark.fault("F11")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunk"])
async def test_f11_truncated_body_or_chunk(chunked: bool) -> None:
    await check_unknown(ConnectionLost, action="truncate", chunked=chunked)


@pytest.mark.fault("F12")
async def test_f12_no_answer() -> None:
    """After a minute of silence a submit is unknown; a question is given up after fifteen seconds."""
    await check_unknown(AnswerTimeout, action="hang")


@pytest.mark.fault("F13")
@pytest.mark.parametrize(("within", "delay_s"), [("head", 900.0), ("body", 900.0)])
async def test_f13_slow_loris(within: str, delay_s: float) -> None:
    """A byte now and then keeps nobody for ever: the whole exchange has an end."""
    await found_after(action="slow", within=within, delay_s=delay_s)
    error = await query_gets(AnswerTimeout, action="slow", within=within, delay_s=delay_s)
    assert error.retryable


@pytest.mark.fault("F12", "F13")
@pytest.mark.parametrize(
    "how", [{"action": "hang"}, {"action": "slow", "within": "head", "delay_s": 900.0}], ids=["hang", "slow"]
)
async def test_f12_f13_what_hangs_gives_its_place_in_the_pool_back(how: dict[str, Any]) -> None:
    """Six questions hang at once, which is all that may be asked: others are answered as soon as these are given up."""
    async with service("cometapi", duration_s=30.0) as emulator, client(emulator) as kling:
        silent = [await kling.submit(clip(f"scene {index}")) for index in range(12)]
        for job in silent:
            await job.accepted()
        emulator.faults.append(Fault(kind="single", until_s=100, **how))
        await finished(silent)
        assert_paid_once(emulator, 12)


HUGE = {"X-Huge": "x" * 20_000}
MANY = {f"X-{index}": "y" for index in range(500)}


@pytest.mark.fault("F14")
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (BadEnvelope, {"action": "garbage"}),
        (BadEnvelope, {"action": "garbage", "body": b"\x00" * 4096}),
        (BadEnvelope, {"action": "truncate", "keep": 10**6, "headers": HUGE}),
        (BadEnvelope, {"action": "truncate", "keep": 10**6, "headers": MANY}),
    ],
    ids=["not HTTP", "zeros", "a header of 20 kB", "500 headers"],
)
async def test_f14_garbage_and_headers_beyond_bounds(kind: type[KlingError], how: dict[str, Any]) -> None:
    await check_unknown(kind, **how)
