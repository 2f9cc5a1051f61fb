"""The emulator on the in-memory loop: no socket, no waiting, every fault."""

import asyncio
from typing import Any

import aiohttp
import pytest

from kling_async.emulator import Emulator, Fault

T2V = "http://localhost/kling/v1/videos/text2video"
HEADERS = {"Authorization": "Bearer emulator-key"}


async def create(http: aiohttp.ClientSession, **body: Any) -> dict[str, Any]:
    async with http.post(T2V, json={"prompt": "x"} | body, headers=HEADERS) as response:
        return dict((await response.json())["data"])


async def test_whole_life_on_virtual_time() -> None:
    """A generation of minutes takes no time, and its clock is the loop's."""
    connector = aiohttp.UnixConnector("/virtual/emulator")
    async with (
        Emulator(unix_path="/virtual/emulator", duration_s=300.0) as emulator,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        assert emulator.url == "http://localhost"
        task = await create(http)
        started = emulator.now()
        await asyncio.sleep(301)
        assert emulator.now() - started == pytest.approx(301, abs=1)
        async with http.get(f"{T2V}/{task['task_id']}", headers=HEADERS) as response:
            told = (await response.json())["data"]
        assert told["task_status"] == "succeed"
        async with http.get(told["task_result"]["videos"][0]["url"]) as response:
            assert (response.status, response.content_type) == (200, "video/mp4")


@pytest.mark.parametrize("action", ["reset", "close", "truncate", "garbage", "hang"])
@pytest.mark.parametrize("stage", ["before", "after"])
async def test_broken_connections_in_memory(action: Any, stage: Any) -> None:
    connector = aiohttp.UnixConnector("/virtual/emulator")
    fault = Fault(action=action, stage=stage, times=1)
    async with (
        Emulator(unix_path="/virtual/emulator", faults=[fault]) as emulator,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        with pytest.raises((aiohttp.ClientError, OSError)):
            await create(http)
        assert len(emulator.tasks) == (stage == "after")
        await create(http)


async def test_slow_and_late_in_memory() -> None:
    connector = aiohttp.UnixConnector("/virtual/emulator")
    loop = asyncio.get_running_loop()
    async with (
        Emulator(unix_path="/virtual/emulator", speed=2.0) as emulator,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        for action in ("delay", "slow"):
            emulator.faults = [Fault(action=action, delay_s=60.0)]
            started = loop.time()
            await create(http)
            assert loop.time() - started == pytest.approx(30, abs=1)
        emulator.faults = [Fault(action="hang")]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await create(http)
