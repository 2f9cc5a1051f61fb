"""F36 to F38 and F42's third: the clip is made and paid for, and its file does not come."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from fault_tools import caught
from flow_tools import clip

from kling_async import Asset, DownloadError, KlingSession, Result, find_host, official
from kling_async.download import Downloader
from kling_async.emulator import Emulator, Fault

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

    def release(self) -> None:
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
