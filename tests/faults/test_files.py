"""F36 to F38 and F42's third: the clip is made and paid for, and its file does not come."""

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohappyeyeballs
import attrs
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from fault_tools import caught
from flow_tools import clip

from kling_async import Asset, DownloadError, KlingSession, Result, find_host, official
from kling_async.addresses import Gate, read_networks
from kling_async.download import Downloader
from kling_async.emulator import Emulator, Fault
from kling_async.fetch import Blocked, GatedConnector, open_http

pytestmark = pytest.mark.realtime


@asynccontextmanager
async def made(**settings: Any) -> AsyncIterator[tuple[Emulator, KlingSession, Result]]:
    """A finished clip on an emulator on loopback."""
    async with Emulator(dialect="official", duration_s=5.0, speed=100.0, **settings) as emulator:
        async with KlingSession(api_key=emulator.api_key, base_url=official(emulator.url)) as kling:
            job = await kling.submit(clip())
            await job.accepted()
            while not job.done():  # asked at once, and not when the poller would
                await asyncio.sleep(0.02)
                await kling.query(job)
            yield emulator, kling, job.result()


def asked(emulator: Emulator) -> list[int | None]:
    return [request.status for request in emulator.requests if request.kind == "asset"]


def assert_told(error: DownloadError, result: Result, folder: Path) -> None:
    """Of the clip it says that it is paid for, and of its URL nothing but the host; nothing is left behind."""
    assert (error.paid, error.task_id) == ("yes", result.task_id)
    assert result.url not in str(error)
    assert "token" not in str(error)
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.fault("F36")
@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_f36_an_expired_url(status: int, tmp_path: Path) -> None:
    """Asked once for a fresh one; where that does not work either, it is told."""
    async with made() as (emulator, kling, result):
        emulator.faults.append(Fault(action="html", kind="asset", status=status, times=1))
        (file,) = await kling.download(result, tmp_path / "mended")
        assert file.read_bytes()[4:8] == b"ftyp"
        assert asked(emulator) == [status, 200]
        emulator.faults[:] = [Fault(action="html", kind="asset", status=status)]
        error = await caught(kling.download(result, tmp_path / "lost"), DownloadError)
        assert_told(error, result, tmp_path / "lost")
        assert asked(emulator)[2:] == [status, status]
        assert len(emulator.tasks) == 1


@pytest.mark.fault("F37")
@pytest.mark.parametrize(
    "how",
    [
        {"action": "truncate"},
        {"action": "truncate", "chunked": True},
        {"action": "truncate", "keep": 0},
        {"action": "reset"},
        {"action": "html", "status": 200},
        {"action": "body", "body": b'{"code":1203,"message":"not found"}'},
    ],
    ids=["half", "a chunk", "nothing", "reset", "a page", "JSON"],
)
async def test_f37_half_a_file_or_none(how: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed or begun again; where it stays so, nothing lies where the clip belongs."""
    monkeypatch.setattr("kling_async.download.asyncio.sleep", _at_once)
    async with made() as (emulator, kling, result):
        emulator.faults.append(Fault(kind="asset", times=1, **how))
        (file,) = await kling.download(result, tmp_path / "mended")
        assert file.read_bytes()[4:8] == b"ftyp"
        emulator.faults[:] = [Fault(kind="asset", **how)]
        error = await caught(kling.download(result, tmp_path / "lost"), DownloadError)
        assert_told(error, result, tmp_path / "lost")
        # Four tries of ours; the HTTP client makes two of each that is reset.
        assert len(asked(emulator)) <= (3 + 8 if how["action"] == "reset" else 2 + 4)
        emulator.faults.clear()
        assert await kling.download(result, tmp_path / "lost")


_sleep = asyncio.sleep


async def _at_once(_seconds: float) -> None:
    await _sleep(0)


@attrs.define
class Answer:
    status: int
    headers: dict[str, str]

    def close(self) -> None:
        pass


@attrs.define
class Redirecting:
    """An HTTP session of which every GET is answered with one redirect."""

    target: str
    asked: list[str] = attrs.field(factory=list)

    async def get(self, url: object, **_options: object) -> Answer:
        self.asked.append(str(url))
        return Answer(302, {"Location": self.target})

    async def close(self) -> None:
        pass


@pytest.mark.fault("F38")
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "localhost",
        "x.localhost",
    ],
)
async def test_f38_a_redirect_to_a_private_address(address: str, tmp_path: Path) -> None:
    """Refused before anything is sent there, and not tried again."""
    refreshed: list[Result] = []

    async def refresh(result: Result) -> None:
        refreshed.append(result)

    downloader = Downloader(find_host("cometapi"), refresh=refresh)
    answers = Redirecting(f"https://{address}/latest/meta-data")
    downloader._http = answers  # type: ignore[assignment]
    result = Result(assets=(Asset(kind="video", url="https://clips.example/a?token=t"),), endpoint="x", task_id="1")
    error = await caught(downloader.save(result, tmp_path / "lost", name=None, max_bytes=None), DownloadError)
    assert "private" in str(error)
    assert error.retryable is False
    assert_told(error, result, tmp_path / "lost")
    assert (answers.asked, refreshed) == (["https://clips.example/a?token=t"], [])


@pytest.mark.fault("F38")
@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/x", "file:///etc/passwd", "//10.0.0.1/x", "https://[", "gopher://x"]
)
async def test_f38_a_redirect_of_the_emulators_own(target: str, tmp_path: Path) -> None:
    """The same through real answers; only the emulator's own address may be plain http."""
    async with made() as (emulator, kling, result):
        emulator.faults.append(Fault(action="html", kind="asset", status=302, headers={"Location": target}))
        error = await caught(kling.download(result, tmp_path / "lost"), DownloadError)
        assert error.retryable is False
        assert_told(error, result, tmp_path / "lost")
        assert asked(emulator) == [302]


@attrs.define
class Names(AbstractResolver):
    """A resolver that says what it is told to."""

    addresses: list[str]
    asked: list[str] = attrs.field(factory=list)
    is_closed: bool = False

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        self.is_closed = True


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on 127.0.0.1 that takes whatever comes, and answers with a picture."""
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(10_000))
        body = b"\x89PNG\r\n\x1a\n" + b"\0" * 50
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 58\r\n\r\n" + body)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], got


@pytest.mark.fault("F38")
@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.1"], ["8.8.8.8", "169.254.169.254"], ["::1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"]],
    ids=" ".join,
)
async def test_f38_a_name_that_leads_to_a_private_address(addresses: list[str], tmp_path: Path) -> None:
    """The name looks like any other; nobody is connected to, and the caller is told what he can do."""
    refreshed: list[Result] = []

    async def refresh(result: Result) -> None:
        refreshed.append(result)

    names = Names(addresses)
    async with listening() as (port, got):
        downloader = Downloader(find_host("cometapi"), refresh=refresh)
        downloader._http = open_http(downloader._gate, GatedConnector(downloader._gate, names))
        address = f"https://clips.example:{port}/a?token=t"
        result = Result(assets=(Asset(kind="video", url=address),), endpoint="x", task_id="1")
        error = await caught(downloader.save(result, tmp_path / "lost", name=None, max_bytes=None), DownloadError)
        await downloader.close()
        assert "private one (clips.example)" in str(error)
        assert "private_networks" in str(error)
        assert error.retryable is False
        assert_told(error, result, tmp_path / "lost")
        assert (names.asked, names.is_closed, refreshed, got) == (["clips.example"], True, [], [])


@pytest.mark.fault("F38")
async def test_f38_a_connection_that_ends_at_a_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name was looked up and found public; what counts is who is there, and he does not get a byte."""
    real = aiohappyeyeballs.start_connection

    async def elsewhere(*, addr_infos: Any, **options: Any) -> socket.socket:
        assert addr_infos[0][4] == ("8.8.8.8", 80)
        return await real([(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))], **options)

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", elsewhere)
    names = Names(["8.8.8.8"])
    async with listening() as (port, got):
        async with open_http(Gate(), GatedConnector(Gate(), names)) as http:
            for _ in range(2):
                with pytest.raises(Blocked):
                    await http.get("http://clips.example/a")
        await asyncio.sleep(0.05)
        assert set(got) == {b""}  # connections, of which nothing came
        opened = Gate(networks=read_networks(["127.0.0.0/8"]))
        async with open_http(opened, GatedConnector(opened, names)) as http:
            async with http.get("http://clips.example/a") as response:
                assert len(await response.read()) == 58
        assert b"GET /a HTTP/1.1" in got[-1]


@pytest.mark.fault("F42")
async def test_f42_a_full_disk_under_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with made() as (_emulator, kling, result):

        def full(_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            error = await caught(kling.download(result, tmp_path / "lost"), DownloadError)
        assert "No space left" in str(error)
        assert_told(error, result, tmp_path / "lost")
        assert await kling.download(result, tmp_path / "lost")


SAVING = """
import asyncio, sys
from kling_async import Asset, KlingSession, Result, official

async def main(base, folder):
    async with KlingSession(api_key="k", base_url=official(base)) as kling:
        result = Result(assets=(Asset(kind="video", url=f"{base}/x?token=1"),), endpoint="text2video", task_id="1")
        await kling.download(result, folder, name="clip")

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.fault("F37")
async def test_f37_a_process_that_is_killed_over_a_file(tmp_path: Path) -> None:
    """The next one goes on where it was, under a URL that is signed anew; nothing else is left in the folder."""
    content = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + os.urandom(6_000_000)
    ranges: list[str | None] = []

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        ranges.append(next((line[7:] for line in lines if line.startswith("Range: ")), None))
        begins = int(ranges[-1][6:-1]) if ranges[-1] else 0
        told = f'ETag: "v1"\r\nContent-Length: {len(content) - begins}\r\n'
        if begins:
            told += f"Content-Range: bytes {begins}-{len(content) - 1}/{len(content)}\r\n"
        writer.write(f"HTTP/1.1 {206 if begins else 200} X\r\n{told}\r\n".encode())
        writer.write(content[begins:] if begins else content[:5_000_000])
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(send, "127.0.0.1", 0)
    async with server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", SAVING, base, str(tmp_path))
        while not (tmp_path / ".clip.part.json").exists() or not (tmp_path / ".clip.part.json").stat().st_size:
            await asyncio.sleep(0.01)
        child.kill()
        await child.wait()
        assert sorted(path.name for path in tmp_path.iterdir()) == [".clip.part", ".clip.part.json"]
        async with KlingSession(api_key="k", base_url=official(base)) as kling:
            asset = Asset(kind="video", url=f"{base}/x?token=2")
            result = Result(assets=(asset,), endpoint="text2video", task_id="1")
            (saved,) = await kling.save(result, tmp_path, name="clip")
    begins = int(str(ranges[1])[6:-1])
    assert ranges == [None, f"bytes={begins}-"]
    assert 4_000_000 <= begins <= 5_000_000
    assert saved.sha256 == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "clip.mp4").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
