"""The object around it all: starting, stopping, mounting, the emulator's own pages."""

import asyncio
import functools
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from emulator_tools import EPOCH, KEY, T2V, Caller, play

from kling_async.emulator import Emulator, serve, server


def test_own_pages() -> None:
    """Summary, ledger and log are there without credentials, and are not in the log themselves."""

    async def story(kling: Caller) -> None:
        ident = await kling.create(external_task_id="e")

        async def page(path: str) -> object:
            return (await kling.ask("GET", path, bare=True, key=None)).json

        assert await page("/_emulator/tasks") == [
            {
                "task_id": ident,
                "public_id": ident,
                "external_id": "e",
                "endpoint": "text2video",
                "model": "kling-v1",
                "body": {"prompt": "a beach", "external_task_id": "e"},
                "status": "submitted",
                "billed": 0.0,
                "slots": 1,
                "created_at": EPOCH,
                "ended_at": None,
                "reason": "",
                "callback_url": "",
                "price": 1.0,
                "files": [],
            }
        ]
        assert await page("/_emulator/requests") == [
            {
                "at": EPOCH,
                "method": "POST",
                "path": "/kling" + T2V,
                "query": "",
                "kind": "create",
                "endpoint": "text2video",
                "status": 200,
                "fault": "",
                "leaked": False,
            }
        ]
        told = await page("/_emulator")
        assert isinstance(told, dict)
        assert told["dialect"] == "cometapi"
        assert told["tasks"] == {"submitted": 1, "processing": 0, "succeed": 0, "failed": 0}
        assert told["credentials"]["api_key"] == KEY
        assert told["switches"]["external_lookup"] is True
        assert "refused_models" not in told["switches"]
        assert (await kling.ask("POST", "/_emulator/tasks", bare=True)).status == 404
        assert (await kling.ask("GET", "/_emulator/nothing", bare=True)).status == 404
        assert len(kling.emulator.requests) == 1

    play(story, refused_models={"a"})


def test_life_of_an_emulator() -> None:
    """It listens inside its block only, and keeps its ledger afterwards."""

    async def run() -> None:
        emulator = Emulator()
        assert repr(emulator) == "<Emulator cometapi at not started [0 tasks, 0 requests]>"
        assert emulator.now() == 0.0
        with pytest.raises(RuntimeError, match="not started"):
            _ = emulator.url
        async with emulator:
            assert emulator.url.startswith("http://127.0.0.1:")
            with pytest.raises(RuntimeError, match="already started"):
                await emulator.__aenter__()
            assert abs(emulator.now() - time.time()) < 5
        assert not emulator.is_started
        await emulator.__aexit__(None, None, None)
        await emulator._stop(web.Application())

    asyncio.run(run())


def test_port_in_use() -> None:
    async def run() -> None:
        async with Emulator() as first:
            port = int(first.url.rpartition(":")[2])
            with pytest.raises(OSError, match="address already in use"):
                await Emulator(port=port).__aenter__()

    asyncio.run(run())


def test_unix_socket_and_ipv6(tmp_path: Path) -> None:
    async def run() -> None:
        path = str(tmp_path / "socket")
        async with (
            Emulator(unix_path=path) as emulator,
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as http,
            http.get(emulator.url + "/_emulator") as response,
        ):
            assert emulator.url == "http://localhost"
            assert response.status == 200

    asyncio.run(run())


def test_ipv6() -> None:
    async def run() -> None:
        try:
            async with Emulator(host="::1") as emulator:
                assert emulator.url.startswith("http://[::1]:")
        except OSError:
            pytest.skip("this machine has no IPv6")

    asyncio.run(run())


def test_mounted_in_process() -> None:
    """The application can be served by somebody else."""

    async def run() -> None:
        emulator = Emulator(speed=1000)
        runner = web.AppRunner(emulator.application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/kling{T2V}"
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, json={"prompt": "x"}, headers=headers) as response,
        ):
            assert response.status == 200
        await runner.cleanup()
        assert len(emulator.tasks) == 1

    asyncio.run(run())


def tell(event: asyncio.Event, _: Emulator) -> None:
    event.set()


def test_serve_runs_until_cancelled() -> None:
    async def run() -> None:
        for started in (False, True):
            emulator = Emulator()
            if started:
                await emulator.__aenter__()
            is_ready = asyncio.Event()
            running = asyncio.ensure_future(serve(emulator, ready=functools.partial(tell, is_ready)))
            await is_ready.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert emulator.is_started is started
            await emulator.__aexit__(None, None, None)
        quiet = asyncio.ensure_future(serve(Emulator()))
        await asyncio.sleep(0.05)
        quiet.cancel()
        with pytest.raises(asyncio.CancelledError):
            await quiet

    asyncio.run(run())


def test_starts_at_once() -> None:
    async def run() -> float:
        before = time.perf_counter()
        async with Emulator():
            return time.perf_counter() - before

    assert asyncio.run(run()) < 0.5


def test_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LOG_LIMIT", 4)

    async def story(kling: Caller) -> None:
        for number in range(6):
            await kling.get(f"{T2V}/{number}")
        assert [request.path[-1] for request in kling.emulator.requests] == ["2", "3", "4", "5"]

    play(story)


def test_too_large_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MAX_BODY_BYTES", 1000)

    async def story(kling: Caller) -> None:
        assert (await kling.ask("POST", T2V, data=b"x" * 2000)).status == 413

    play(story)


def test_caller_that_leaves_in_the_middle_of_a_body() -> None:
    async def story(kling: Caller) -> None:
        host, port = kling.emulator.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /kling/v1/videos/text2video HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)
        assert kling.emulator.requests == []

    play(story)
