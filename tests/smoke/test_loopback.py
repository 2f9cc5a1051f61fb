"""A few journeys on real sockets: own connection pools, real files, real refusals."""

import asyncio
import hashlib
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from kling_async import (
    Asset,
    ConnectFailed,
    DownloadError,
    KlingSession,
    ObjectStoreSink,
    Policy,
    Result,
    TextToVideo,
    official,
)
from kling_async.emulator import Emulator, Fault

pytestmark = pytest.mark.realtime


def clip(text: str = "a red bicycle") -> TextToVideo:
    """A small valid request."""
    return TextToVideo(prompt=text, model_name="kling-v2-6", duration="5")


def quick(**settings: Any) -> Emulator:
    """An emulator whose tasks take a moment."""
    return Emulator(**{"dialect": "official", "speed": 50.0, "duration_s": (5, 20), **settings})


async def test_clips_on_disk_without_credentials_on_the_way(tmp_path: Path) -> None:
    """Own pools end to end; the files are whole and the asset host never sees the key."""
    async with quick() as emulator:
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url)) as kling:
            files: list[Path] = []
            async for job in kling.map(clip(f"scene {index}") for index in range(12)):
                files += await kling.download(job.result(), tmp_path / "deep" / "clips")
        assert len(emulator.tasks) == 12
        assert emulator.leaked_credentials == 0
    assert len(set(files)) == 12
    for file in files:
        assert file.read_bytes()[4:8] == b"ftyp"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path for path in (tmp_path / "deep" / "clips").iterdir()) == sorted(files)


async def finished(emulator: Emulator, kling: KlingSession) -> Result:
    """One result to download."""
    assert emulator.is_started
    return await kling.generate(clip())


@pytest.mark.fault("F37")
@pytest.mark.parametrize(
    "fault",
    [
        Fault(action="truncate", kind="asset", times=2),
        Fault(action="reset", kind="asset", times=1),
        Fault(action="status", kind="asset", status=500, times=1),
        Fault(action="html", kind="asset", status=200, times=1),
        Fault(action="status", kind="asset", status=403, times=1),
    ],
    ids=["truncated", "reset", "500", "a page", "expired"],
)
async def test_a_broken_transfer_is_mended(fault: Fault, tmp_path: Path) -> None:
    """Case 36 and 37: resumed, begun anew, or with a fresh URL; the file is whole at the end."""
    async with quick() as emulator:
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url)) as kling:
            result = await finished(emulator, kling)
            whole = await kling.download(result, tmp_path / "whole")
            emulator.faults.append(fault)
            mended = await kling.download(result, tmp_path / "mended", name="clip-1")
    assert mended == [tmp_path / "mended" / "clip-1.mp4"]
    assert mended[0].read_bytes() == whole[0].read_bytes()
    assert [path.name for path in (tmp_path / "mended").iterdir()] == ["clip-1.mp4"]


@pytest.mark.fault("F37")
async def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The rest is asked for by Range, not the whole again."""
    whole = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1000
    half = len(whole) // 2
    ranges: list[str | None] = []

    async def picture(request: web.Request) -> web.StreamResponse:
        ranges.append(request.headers.get("Range"))
        headers = {"ETag": '"v1"', "Content-Length": str(len(whole))}
        if len(ranges) > 1:
            headers |= {"Content-Length": str(len(whole) - half), "Content-Range": f"bytes {half}-{len(whole) - 1}"}
            return web.Response(status=206, body=whole[half:], headers=headers)
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(whole[:half])
        while not any(part.stat().st_size == half for part in tmp_path.glob(".*.part")):
            await asyncio.sleep(0)
        assert request.transport is not None
        request.transport.abort()
        return response

    async with served({"/picture": picture}) as base:
        async with KlingSession(api_key="k", base_url=base) as kling:
            result = Result(assets=(Asset(kind="image", url=f"{base}/picture"),), endpoint="text2video", task_id="1")
            (file,) = await kling.download(result, tmp_path)
    assert ranges == [None, f"bytes={half}-"]
    assert file.read_bytes() == whole


async def test_a_file_goes_to_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put again when the server cannot go on where it broke off; no half object is seen, and no file is written."""
    stores = pytest.importorskip("obstore.store")
    pause = asyncio.sleep
    monkeypatch.setattr("kling_async.transfer.asyncio.sleep", lambda _seconds: pause(0))
    whole = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 30_000
    answers = 0

    async def clip(request: web.Request) -> web.StreamResponse:
        nonlocal answers
        answers += 1
        response = web.StreamResponse(headers={"Content-Length": str(len(whole))})
        await response.prepare(request)
        await response.write(whole if answers == 2 else whole[:6_000_000])
        assert request.transport is not None
        if answers != 2:
            request.transport.close()
        return response

    store = stores.MemoryStore()
    async with served({"/clip": clip}) as base:
        async with KlingSession(api_key="k", base_url=base) as kling:
            result = Result(assets=(Asset(kind="video", url=f"{base}/clip"),), endpoint="text2video", task_id="1")
            (saved,) = await kling.save(result, ObjectStoreSink(store, "2026"))
            assert (saved.path, saved.key, saved.size_bytes) == (None, "2026/1.mp4", len(whole))
            assert saved.sha256 == hashlib.sha256(whole).hexdigest()
            found = await store.get_async("2026/1.mp4")
            assert bytes(await found.bytes_async()) == whole
            assert answers == 2
            with pytest.raises(DownloadError, match=r"bytes arrived|transfer broke"):
                await kling.save(result, ObjectStoreSink(store, "again"))
            assert [row["path"] for row in store.list().collect()] == ["2026/1.mp4"]
    assert list(tmp_path.iterdir()) == []


@asynccontextmanager
async def served(handlers: dict[str, Any]) -> AsyncIterator[str]:
    """A small server of our own; gives its address."""
    application = web.Application()
    for path, handler in handlers.items():
        application.router.add_get(path, handler)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(action="html", kind="asset", status=200), "page came instead"),
        (Fault(action="status", kind="asset", status=404), "does not work any more"),
        (Fault(action="truncate", kind="asset", keep=0), "bytes arrived|transfer broke"),
        (Fault(action="body", kind="asset", body=b""), "empty|page"),
    ],
)
async def test_a_transfer_that_stays_broken_is_told_and_leaves_nothing(
    fault: Fault, words: str, tmp_path: Path
) -> None:
    """A clear error, no file, no part of one; the result is as good as before."""
    async with quick() as emulator:
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url)) as kling:
            result = await finished(emulator, kling)
            emulator.faults.append(fault)
            with pytest.raises(DownloadError, match=words) as caught:
                await kling.download(result, tmp_path)
            assert (caught.value.paid, caught.value.task_id) == ("yes", result.task_id)
            assert result.url not in str(caught.value)
            assert list(tmp_path.iterdir()) == []
            emulator.faults.clear()
            assert await kling.download(result, tmp_path)


async def test_bounds_names_and_folders(tmp_path: Path) -> None:
    """Too large, a name that leaves the folder, a folder that cannot be made."""
    async with quick() as emulator:
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url)) as kling:
            result = await finished(emulator, kling)
            with pytest.raises(DownloadError, match="at most 100"):
                await kling.download(result, tmp_path, max_bytes=100)
            for name in ("../out", "a/b", "", ".hidden", "x" * 200):
                with pytest.raises(DownloadError, match="file name"):
                    await kling.download(result, tmp_path, name=name)
            (tmp_path / "file").write_text("in the way")
            with pytest.raises(DownloadError, match="folder"):
                await kling.download(result, tmp_path / "file")
            assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_every_asset_is_saved_and_odd_addresses_are_refused(tmp_path: Path) -> None:
    """Several files get numbers; plain http beyond this machine, other schemes and endless redirects are refused."""

    async def endless(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.path)

    async def away(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://clips.example/x.mp4")

    async def moved(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/picture")

    async def picture(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x89PNG\r\n\x1a\n" + b"\0" * 600)

    async def unknown(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x01\x02\x03\x04" * 100)

    handlers = {
        "/endless": endless,
        "/away": away,
        "/moved": moved,
        "/picture": picture,
        "/unknown": unknown,
    }

    def result(*urls: str) -> Result:
        return Result(assets=tuple(Asset(kind="image", url=url) for url in urls), endpoint="text2video", task_id="../1")

    async with served(handlers) as base:
        async with KlingSession(api_key="k", base_url=base) as kling:
            files = await kling.download(result(f"{base}/picture", f"{base}/moved", f"{base}/unknown"), tmp_path)
            assert [file.name for file in files] == ["___1-1.png", "___1-2.png", "___1-3.png"]
            for url, words in (
                (f"{base}/endless", "too many redirects"),
                (f"{base}/away", "not https"),
                ("http://clips.example/x.mp4", "not https"),
                ("file:///etc/passwd", "not https"),
                ("https://[", "not a URL"),
            ):
                with pytest.raises(DownloadError, match=words):
                    await kling.download(result(url), tmp_path)
        async with KlingSession(api_key="k", base_url="https://gateway.example") as kling:
            for url in (
                f"{base}/picture",
                "https://localhost/x",
                "https://[::ffff:127.0.0.1]/x",
                "https://169.254.1.1/x",
            ):
                with pytest.raises(DownloadError, match="private"):
                    await kling.download(result(url), tmp_path)
            with pytest.raises(DownloadError, match="not https"):
                await kling.download(result("http://clips.example/x.mp4"), tmp_path)


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs a place nobody can write")
async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """What the system says is told in one sentence."""
    async with quick() as emulator:
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url)) as kling:
            result = await finished(emulator, kling)
            place = Path("/proc/self") if os.geteuid() == 0 else tmp_path / "locked"
            if place.name == "locked":
                place.mkdir(mode=0o500)
            with pytest.raises(DownloadError, match="cannot"):
                await kling.download(result, place)


@pytest.mark.fault("F01")
async def test_nobody_listens() -> None:
    """Connection refused, on a real socket: nothing sent, nothing paid, and the address is told."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with KlingSession(
            api_key="k", base_url=f"http://127.0.0.1:{port}", policy=Policy(unreachable_s=0.1)
        ) as kling:
            with pytest.raises(ConnectFailed, match=f"127.0.0.1:{port}.*refused") as caught:
                await kling.generate(clip())
            assert caught.value.paid == "no"


@pytest.mark.fault("F08")
async def test_a_lost_answer_on_a_real_socket_is_found() -> None:
    """A real RST after the effect: the trace says it was sent, and the task is found."""
    async with quick(faults=[Fault(action="reset", stage="after", kind="create")]) as emulator:
        policy = Policy(settle_s=2.0)
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url), policy=policy) as kling:
            jobs = [job async for job in kling.map(clip(f"scene {index}") for index in range(5))]
        assert all(job.error is None for job in jobs)
        assert len(emulator.tasks) == 5
        assert "closed" in repr(kling._transport)


async def test_a_session_passed_in_stays_open() -> None:
    """A borrowed aiohttp session is used as it is, and not closed."""
    async with quick() as emulator, aiohttp.ClientSession() as http:
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url), http=http) as kling:
            await kling.generate(clip())
        assert not http.closed


async def test_a_waiting_close_that_is_cancelled_leaves_nothing() -> None:
    """Cancelled while it waits for a submission in flight, closing still releases and closes everything."""
    slow = Fault(action="hang", kind="create")
    async with quick(faults=[slow], speed=1.0) as emulator:
        kling = KlingSession(api_key=emulator.api_key, base_url=official(emulator.url))
        await kling.__aenter__()
        job = await kling.submit(clip())
        while not emulator.requests:
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kling.aclose(), 0.1)
        assert job.done()
        root = kling._runtime._root
        assert root is not None
        await asyncio.wait({root})
