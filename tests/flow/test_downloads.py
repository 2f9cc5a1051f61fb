"""Files over in-memory connections: whole ones, broken ones that are mended, and servers that mean harm."""

import asyncio
import contextlib
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from fault_tools import caught

from kling_async import (
    Asset,
    ConfigError,
    DownloadError,
    FolderSink,
    KlingSession,
    Policy,
    Result,
    Saved,
    SessionClosed,
    Stored,
    official,
)
from kling_async.fetch import open_http

PLACE = "/virtual/files"
KEY = "a-key-that-nobody-may-see"
BASE = "http://127.0.0.1:8"
CLIP = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(256)) * 4000  # a megabyte
PICTURE = b"\x89PNG\r\n\x1a\n" + b"\7" * 500

Head = dict[str, str]
Play = Callable[["Hostile", asyncio.StreamWriter, Head], Awaitable[None]]


@attrs.define
class Hostile:
    """A server of raw bytes: each path has its own way to behave."""

    plays: dict[str, Play]
    heads: list[Head] = attrs.field(factory=list)
    running: set[asyncio.Task[Any]] = attrs.field(factory=set)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        try:
            with contextlib.suppress(ConnectionError):
                while lines := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n"):
                    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
                    head = {name.lower(): value for name, value in fields.items()}
                    target = lines[0].split(" ")[1]
                    path = target.partition("?")[0]
                    self.heads.append({**head, ":path": path, ":target": target})
                    await self.plays.get(path, nothing)(self, writer, head)
                    await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the caller has gone, or the test is over
        finally:
            writer.close()
            self.running.discard(task)

    def ranges(self) -> list[str | None]:
        return [head.get("range") for head in self.heads if head[":path"] in self.plays]


async def nothing(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
    body = b'{"code":1203,"message":"no such task"}'
    writer.write(http(404, body, {"Content-Type": "application/json"}))


def http(status: int = 200, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    fields = {"Content-Length": str(len(body)), **(headers or {})}
    return (
        f"HTTP/1.1 {status} X\r\n".encode()
        + b"".join(f"{k}: {v}\r\n".encode() for k, v in fields.items())
        + b"\r\n"
        + body
    )


def says(*answers: bytes, then_close: bool = False) -> Play:
    """One answer after the other; the last one for ever."""
    left = list(answers)

    async def play(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        if then_close:
            await writer.drain()
            writer.close()

    return play


@asynccontextmanager
async def against(plays: dict[str, Play], **settings: Any) -> AsyncIterator[tuple[Hostile, KlingSession]]:
    """An open session whose files come from such a server, over memory."""
    server = Hostile(plays)
    listening = await asyncio.start_unix_server(server.answer, PLACE)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=PLACE)) as api,
        KlingSession(api_key=KEY, base_url=official(BASE), http=api, **settings) as kling,
    ):
        downloader = kling._downloader
        downloader._http = open_http(downloader._gate, aiohttp.UnixConnector(path=PLACE))
        try:
            yield server, kling
        finally:
            await downloader._http.close()
            listening.close()
            for task in list(server.running):
                task.cancel()
            await asyncio.sleep(0.1)


def result(*paths: str, kind: Any = "video", task_id: str = "task-1") -> Result:
    urls = [path if "://" in path else f"{BASE}{path}?token=signed" for path in paths]
    assets = tuple(Asset(kind=kind, url=url) for url in urls)
    return Result(assets=assets, endpoint="text2video", task_id=task_id, external_id="job-1")


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_no_credentials(server: Hostile) -> None:
    """Neither the key nor a cookie was sent to where files come from."""
    for head in server.heads:
        if head[":path"] in server.plays:
            assert not {"authorization", "cookie", "proxy-authorization", "referer"} & head.keys()
            assert KEY not in str(head)


# --- servers that mean harm ----------------------------------------------------------------------------------------


async def endless(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + CLIP[:65536] + b"\r\n")
        await writer.drain()


async def endless_head(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(10**6):
        if writer.is_closing():
            return
        writer.write(f"X-{number}: {number}\r\n".encode())
        await writer.drain()


async def endlessly_promising(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(10)


async def trickling(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
    writer.write(http(200, CLIP[:1000], {"Content-Length": str(len(CLIP))}))
    for at in range(1000, len(CLIP), 1000):
        if writer.is_closing():
            return
        await asyncio.sleep(1)
        writer.write(CLIP[at : at + 1000])


async def standing_still(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
    writer.write(http(200, CLIP[:1000], {"Content-Length": str(len(CLIP))}))
    await writer.drain()
    await asyncio.sleep(10_000)


async def silent(_server: Hostile, _writer: asyncio.StreamWriter, _head: Head) -> None:
    await asyncio.sleep(10_000)


def leads_to(target: str) -> Play:
    return says(http(302, b"", {"Location": target, "Set-Cookie": "who=you; Path=/"}))


LONG = {"Content-Length": str(len(CLIP) * 2)}

# name → the server, what the error says, whether trying again may help, and how often it was asked
HOSTILE: dict[str, tuple[Play, str, bool, int]] = {
    "a body without end": (endless, "has more than 3,000,000 bytes", False, 1),
    "a body that is too long": (says(http(200, CLIP, {"Content-Length": "3000001"})), "at most 3,000,000", False, 1),
    "a head without end": (endless_head, "transfer broke", True, 4),
    "a giant header": (says(http(200, CLIP, {"X-Big": "x" * 100_000})), "transfer broke", True, 4),
    "promises without end": (endlessly_promising, "stood still", True, 4),
    "a slow body": (trickling, "too slow", True, 4),
    "a body that stands still": (standing_still, "stood still", True, 4),
    "no answer": (silent, "stood still", True, 4),
    "no HTTP": (says(b"\x16\x03\x01 what?\r\n\r\n"), "transfer broke", True, 4),
    "a page": (says(http(200, b"<!doctype html><title>expired</title>")), "page came", True, 1),
    "a page with a mark before it": (says(http(200, b"\xef\xbb\xbf\n <html>expired</html>")), "page came", True, 1),
    "JSON": (says(http(200, b'{"code":1203,"message":"expired"}')), "page came", True, 1),
    "a sentence": (says(http(200, b"This link has expired, sorry.\n")), "page came", True, 1),
    "nothing": (says(http(200, b"")), "empty", True, 4),
    "fewer bytes than promised": (
        says(http(200, CLIP, LONG), then_close=True),
        "transfer broke|bytes arrived",
        True,
        4,
    ),
    "two lengths": (says(http(200, CLIP, {"content-length": "17"})), "transfer broke", True, 4),
    "a length and pieces": (says(http(200, CLIP, {"Transfer-Encoding": "chunked"})), "transfer broke", True, 4),
    "compressed": (
        says(http(200, gzip.compress(CLIP), {"Content-Encoding": "gzip"})),
        r"compressed \(gzip\)",
        False,
        1,
    ),
    "unasked parts": (
        says(http(206, CLIP, {"Content-Range": "bytes 5-1024028/1024029"})),
        "resumed at another place",
        True,
        4,
    ),
    "redirected to metadata": (leads_to("https://169.254.169.254/latest"), "private", False, 1),
    "redirected to a neighbour": (leads_to("https://192.168.0.1/a"), "private", False, 1),
    "redirected to a neighbour, plainly": (leads_to("http://10.0.0.1/a"), "private", False, 1),
    "redirected to a mapped address": (leads_to("https://[::ffff:10.0.0.1]/a"), "private", False, 1),
    "redirected to a file": (leads_to("file:///etc/passwd"), "not https", False, 1),
    "redirected to plain http": (leads_to("http://clips.example/a"), "not https", False, 1),
    "redirected with a password": (leads_to("https://me:secret@clips.example/a"), "password", False, 1),
    "redirected to nowhere": (leads_to("https://["), "not a URL", False, 1),
    "redirected round and round": (leads_to("/x"), "too many redirects", False, 6),
}


@pytest.mark.fault("F37", "F38")
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_server_that_means_harm(name: str, tmp_path: Path) -> None:
    """A clear error, nothing written anywhere, no key and no cookie sent, and the end comes in bounded time."""
    play, words, retryable, times = HOSTILE[name]
    async with against({"/x": play}, policy=Policy(download_limit_s=600)) as (server, kling):
        began = asyncio.get_running_loop().time()
        made = result("/x")
        error = await caught(kling.download(made, tmp_path / "clips", max_bytes=3_000_000), DownloadError)
        with pytest.raises(DownloadError, match=words):
            raise error
        assert (error.paid, error.retryable) == ("yes", retryable)
        assert (error.task_id, error.job_id) == ("task-1", "job-1")
        assert "token" not in str(error)
        assert "secret" not in str(error)
        assert tree(tmp_path) == ["clips"]
        assert asyncio.get_running_loop().time() - began <= 601
        assert len(server.ranges()) == times
        assert_no_credentials(server)


@pytest.mark.parametrize(
    "address", ["https://me@clips.example/a", "https://:word@clips.example/a", "http://u:p@127.0.0.1:8/x"]
)
async def test_an_address_with_a_password_in_it_is_not_used(address: str, tmp_path: Path) -> None:
    async with against({"/x": says(http(200, CLIP))}) as (server, kling):
        error = await caught(kling.download(result(address), tmp_path), DownloadError)
        assert "a user name or a password" in str(error)
        assert not error.retryable
        assert server.heads == []


async def test_names_come_from_nobody_else(tmp_path: Path) -> None:
    """Neither from the URL, nor from a header, nor unwashed from the task's id."""
    named = {"Content-Disposition": 'attachment; filename="../../evil.sh"', "Content-Type": "text/x-sh"}
    async with against({"/a/../../evil.sh": says(http(200, CLIP, named))}) as (server, kling):
        server.plays["/evil.sh"] = server.plays["/a/../../evil.sh"]
        made = result("/%2e%2e/evil.sh", task_id="../../../tmp/x\0")
        server.plays["/%2e%2e/evil.sh"] = server.plays["/evil.sh"]
        (file,) = await kling.download(made, tmp_path / "clips")
        assert file == tmp_path / "clips" / "_________tmp_x_.mp4"
        assert tree(tmp_path) == ["clips", f"clips/{file.name}"]
        for name in ("../x", "a/b", "", ".x", "/etc/x", "a\0b", "con:", "x" * 101):
            error = await caught(kling.download(made, tmp_path / "clips", name=name), DownloadError)
            assert "cannot be a file name" in str(error)
        assert tree(tmp_path) == ["clips", f"clips/{file.name}"]


async def test_an_address_is_sent_as_it_is_written(tmp_path: Path) -> None:
    """Its signature may be over just these letters."""
    path = "/a%7eb%20c/d~e"
    async with against({path: says(http(302, b"", {"Location": "/f?s=a%2Fb%3d"})), "/f": says(http(200, CLIP))}) as (
        server,
        kling,
    ):
        await kling.download(result(f"{BASE}{path}?sig=x%2Fy%3d%7E+z"), tmp_path)
        assert [head[":target"] for head in server.heads] == [f"{path}?sig=x%2Fy%3d%7E+z", "/f?s=a%2Fb%3d"]


async def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """However steadily it comes: the limit is for all tries together."""

    async def steady(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"10000\r\n" + CLIP[:65536] + b"\r\n")
            await asyncio.sleep(1)

    async with against({"/x": steady}, policy=Policy(download_limit_s=100)) as (server, kling):
        error = await caught(kling.download(result("/x"), tmp_path), DownloadError)
        assert "it was not there within 100 s" in str(error)
        assert asyncio.get_running_loop().time() == pytest.approx(100, abs=1)
        assert (error.paid, error.retryable, tree(tmp_path)) == ("yes", True, [])
        assert len(server.heads) == 1


async def test_cookies_are_not_kept(tmp_path: Path) -> None:
    cookies = {"Set-Cookie": "session=mine; Path=/", "Location": "/y"}
    async with against({"/x": says(http(302, b"", cookies)), "/y": says(http(200, CLIP, cookies))}) as (server, kling):
        for name in ("a", "b"):
            await kling.download(result("/x"), tmp_path, name=name)
        assert [head[":path"] for head in server.heads] == ["/x", "/y", "/x", "/y"]
        assert_no_credentials(server)


# --- what is saved ---------------------------------------------------------------------------------------------------


async def test_what_is_told_of_a_saved_file(tmp_path: Path) -> None:
    plays = {
        "/clip": says(http(200, CLIP)),
        "/picture": says(http(200, PICTURE)),
        "/words": says(http(200, b"[Script Info]\nTitle: x\n")),
    }
    async with against(plays) as (_server, kling):
        made = result("/clip", "/picture", "/words")
        *files, words = made.assets
        made = attrs.evolve(made, assets=(*files, attrs.evolve(words, kind="subtitle")))
        saved = await kling.save(made, tmp_path, name="s")
        assert saved == [
            Saved(tmp_path / "s-1.mp4", "video", len(CLIP), hashlib.sha256(CLIP).hexdigest(), "s-1.mp4", "video/mp4"),
            Saved(tmp_path / "s-2.png", "video", 508, hashlib.sha256(PICTURE).hexdigest(), "s-2.png", "image/png"),
            Saved(tmp_path / "s-3.ass", "subtitle", 23, saved[2].sha256, "s-3.ass", "text/x-ssa"),
        ]
        assert saved[0].path is not None
        assert saved[0].path.read_bytes() == CLIP
        assert await kling.download(made, str(tmp_path), name="s") == [file.path for file in saved]


async def test_several_at_a_time_and_no_more(tmp_path: Path) -> None:
    """Files of one result and of several share the session's room."""
    now = most = 0

    async def slow(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(1)
        now -= 1
        writer.write(http(200, PICTURE))

    async with against({"/x": slow}, policy=Policy(max_downloads=3)) as (_server, kling):
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(kling.download(result("/x", "/x", "/x", "/x"), tmp_path, name=f"r{number}"))
        assert most == 3
        assert asyncio.get_running_loop().time() - began == pytest.approx(4, abs=0.1)
        assert len(tree(tmp_path)) == 12


async def test_one_bad_file_does_not_keep_the_others_back(tmp_path: Path) -> None:
    plays = {"/good": says(http(200, PICTURE)), "/bad": says(http(200, b"<html>"))}
    async with against(plays) as (_server, kling):
        error = await caught(kling.download(result("/good", "/bad", "/good", kind="image"), tmp_path), DownloadError)
        assert "page came" in str(error)
        assert tree(tmp_path) == ["task-1-1.png", "task-1-3.png"]


async def test_what_has_no_file_is_told(tmp_path: Path) -> None:
    """A voice lives on at the service, and may come without a specimen."""
    async with against({}) as (server, kling):
        voice = Result(assets=(Asset(kind="voice", url="", id="v"),), endpoint="custom-voices", task_id="1")
        error = await caught(kling.download(voice, tmp_path), DownloadError)
        assert "the voice has no file" in str(error)
        assert not error.retryable
        assert server.heads == []


async def test_files_of_one_result_ask_for_fresh_urls_together(tmp_path: Path) -> None:
    """Whoever finds its URL expired first asks, once, for all."""
    plays = {"/old": says(http(403)), "/new": says(http(200, PICTURE))}
    asked: list[Result] = []
    async with against(plays) as (server, kling):

        async def refresh(old: Result) -> Result:
            asked.append(old)
            await asyncio.sleep(1)
            return result("/new", "/new", "/new")

        kling._downloader._refresh = refresh
        assert len(await kling.download(result("/old", "/old", "/old"), tmp_path)) == 3
        assert len(asked) == 1
        assert [head[":path"] for head in server.heads] == ["/old"] * 3 + ["/new"] * 3


async def test_a_slow_line_that_several_files_share_is_not_held_against_them(tmp_path: Path) -> None:
    """Eight at a time get an eighth of the rate each; alone, the same rate is too slow."""

    async def modest(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
        writer.write(http(200, b"", {"Content-Length": str(len(CLIP))}))
        for at in range(0, len(CLIP), 10_000):
            if writer.is_closing():
                return
            writer.write(CLIP[at : at + 10_000])
            await asyncio.sleep(1)

    async with against({"/x": modest}) as (_server, kling):
        assert len(await kling.download(result(*["/x"] * 8), tmp_path / "shared")) == 8
        error = await caught(kling.download(result("/x"), tmp_path / "alone"), DownloadError)
        assert "too slow (10," in str(error)


async def test_closing_the_session_ends_its_downloads(tmp_path: Path) -> None:
    """Also the one that waits for room."""
    async with against({"/x": standing_still}, policy=Policy(max_downloads=1)) as (server, kling):
        saving = [asyncio.ensure_future(kling.download(result("/x"), tmp_path, name=name)) for name in "ab"]
        await asyncio.sleep(1)
        assert repr(kling._downloader) == "<Downloader [1 under way]>"
        await kling.aclose()
        for each in saving:
            error = await caught(each, SessionClosed)
            assert (error.paid, error.task_id) == ("yes", "task-1")
        assert asyncio.get_running_loop().time() < 2
        assert len(server.heads) == 1
        assert tree(tmp_path) == []


async def test_arguments(tmp_path: Path) -> None:
    async with against({}) as (_server, kling):
        for arguments, words in (
            ({"where": 3}, "a folder or a Sink"),
            ({"where": tmp_path, "max_bytes": 0}, "max_bytes=0"),
            ({"where": tmp_path, "max_bytes": True}, "max_bytes=True"),
        ):
            with pytest.raises(ConfigError, match=words):
                await kling.save(result("/x"), **arguments)
    for networks in ("10.0.0.0/8", ["10.0.0.1/8"], ["nowhere"], 3):
        with pytest.raises(ConfigError, match="private_networks"):
            KlingSession(api_key=KEY, private_networks=networks)  # type: ignore[arg-type]


# --- going on --------------------------------------------------------------------------------------------------------


def broken_then(*later: bytes, tag: str = 'ETag: "v1"', at: int = 500_000) -> Play:
    """Half a file, and then the connection ends; later answers follow."""
    first = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CLIP)}\r\n{tag}\r\n\r\n".encode() + CLIP[:at]
    left = [first, *later]

    async def play(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
        is_first = left[0] is first
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        if is_first:
            await writer.drain()
            await asyncio.sleep(1)
            writer.close()

    return play


def rest(at: int, content: bytes = CLIP, **headers: str) -> bytes:
    fields = {"Content-Range": f"bytes {at}-{len(content) - 1}/{len(content)}", "ETag": '"v1"', **headers}
    return http(206, content[at:], fields)


@pytest.mark.parametrize(
    ("tag", "later", "asked"),
    [
        ('ETag: "v1"', rest(500_000), "bytes=500000-"),
        ("Last-Modified: Sat, 21 Nov 2026 18:00:00 GMT", rest(500_000), "bytes=500000-"),
        ('ETag: "v1"', http(200, CLIP, {"ETag": '"v2"'}), "bytes=500000-"),
        ('ETag: W/"v1"', http(200, CLIP), None),
        ("X-Nothing: 1", http(200, CLIP), None),
        ("ETag: unquoted", http(200, CLIP), None),
    ],
    ids=["tag", "date", "changed", "weak tag", "none", "no tag at all"],
)
async def test_a_broken_file_is_gone_on_with_or_begun_anew(
    tag: str, later: bytes, asked: str | None, tmp_path: Path
) -> None:
    async with against({"/x": broken_then(later, tag=tag)}) as (server, kling):
        (saved,) = await kling.save(result("/x"), tmp_path)
        assert server.ranges() == [None, asked]
        assert saved.sha256 == hashlib.sha256(CLIP).hexdigest()
        assert saved.size_bytes == len(CLIP)
        assert (tmp_path / "task-1.mp4").read_bytes() == CLIP
        assert tree(tmp_path) == ["task-1.mp4"]


OTHER = CLIP[:600_000] + b"!" * 600_000


@pytest.mark.parametrize(
    "lie",
    [
        rest(400_000),
        rest(500_000, OTHER),
        rest(500_000, ETag='"v2"'),
        http(206, CLIP[500_000:]),
        http(206, CLIP[500_000:], {"Content-Range": "bytes 500000-500001/1024024"}),
        http(416, b"", {"Content-Range": "bytes */1024024"}),
        http(416, b"", {"Content-Range": "bytes */99"}),
    ],
    ids=[
        "from another place",
        "of another file",
        "of another version",
        "from nowhere",
        "of another length",
        "too far",
        "shorter",
    ],
)
async def test_a_server_that_goes_on_wrongly_is_asked_for_the_whole(lie: bytes, tmp_path: Path) -> None:
    """No file is ever put together of two."""
    async with against({"/x": broken_then(lie, http(200, CLIP))}) as (server, kling):
        (saved,) = await kling.save(result("/x"), tmp_path)
        assert server.ranges() == [None, "bytes=500000-", None]
        assert saved.sha256 == hashlib.sha256(CLIP).hexdigest()
        assert tree(tmp_path) == ["task-1.mp4"]


async def test_everything_was_there_already(tmp_path: Path) -> None:
    """Asked from its very end on, the server says 416 and the same length: that is done."""
    unknown = (
        b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nTransfer-Encoding: chunked\r\n\r\n'
        + f"{len(CLIP):x}\r\n".encode()
        + CLIP
        + b"\r\n"
    )
    left = [unknown, http(416, b"", {"Content-Range": f"bytes */{len(CLIP)}"})]

    async def play(_server: Hostile, writer: asyncio.StreamWriter, _head: Head) -> None:
        writer.write(left.pop(0))
        if left:
            await writer.drain()
            await asyncio.sleep(1)
            writer.close()

    async with against({"/x": play}) as (server, kling):
        (saved,) = await kling.save(result("/x"), tmp_path)
        assert server.ranges() == [None, f"bytes={len(CLIP)}-"]
        assert saved.sha256 == hashlib.sha256(CLIP).hexdigest()


async def test_a_fresh_url_of_the_same_file_is_gone_on_with(tmp_path: Path) -> None:
    """The signature changed and the file did not; of another path it is begun anew."""
    for path, asked in (("/x", "bytes=500000-"), ("/y", None)):
        last = rest(500_000) if path == "/x" else http(200, CLIP)
        plays = {"/x": broken_then(http(403), last), "/y": says(last)}
        async with against(plays) as (server, kling):

            async def refresh(_old: Result, path: str = path) -> Result:
                return result(path)

            kling._downloader._refresh = refresh
            (saved,) = await kling.save(result("/x"), tmp_path)
            assert server.ranges() == [None, "bytes=500000-", asked]
            assert saved.sha256 == hashlib.sha256(CLIP).hexdigest()


async def test_two_files_of_the_same_tag_are_not_put_together(tmp_path: Path) -> None:
    """The fresh URL is of another path, and fails at first: what is here already is not of that one."""
    plays = {
        "/x": broken_then(http(403)),
        "/y": says(http(500), http(200, OTHER, {"ETag": '"v1"'})),
    }
    async with against(plays) as (server, kling):

        async def refresh(_old: Result) -> Result:
            return result("/y")

        kling._downloader._refresh = refresh
        (saved,) = await kling.save(result("/x"), tmp_path)
        assert server.ranges() == [None, "bytes=500000-", None, None]
        assert saved.sha256 == hashlib.sha256(OTHER).hexdigest()
        assert tree(tmp_path) == ["task-1.mp4"]


# --- sinks -----------------------------------------------------------------------------------------------------------


@attrs.define
class Shelf:
    """A sink of the user's own: keeps what it took, when it took all."""

    files: dict[str, bytes] = attrs.field(factory=dict)
    sizes: list[int | None] = attrs.field(factory=list)
    fails: BaseException | None = None
    hides: bool = False
    least: int = 10**9

    async def put(self, key: str, chunks: AsyncIterator[bytes], size_bytes: int | None) -> Stored:
        self.sizes.append(size_bytes)
        content = b""
        try:
            async for chunk in chunks:
                content += chunk
                if self.fails is not None:
                    raise self.fails
                if len(content) >= self.least:
                    break
        except DownloadError as error:
            if self.hides:
                raise ValueError("something happened") from error
            raise
        self.files[key] = content
        return Stored(f"shelf/{key}")


async def test_a_sink_takes_what_a_folder_would(tmp_path: Path) -> None:
    """Gone on with inside one put, or put again."""
    shelf = Shelf()
    plays = {"/on": broken_then(rest(500_000)), "/anew": broken_then(http(200, CLIP), tag="X: 1")}
    async with against(plays) as (_server, kling):
        (saved,) = await kling.save(result("/on"), shelf, name="on")
        assert saved == Saved(None, "video", len(CLIP), hashlib.sha256(CLIP).hexdigest(), "shelf/on.mp4", "video/mp4")
        assert shelf.sizes == [len(CLIP)]
        (saved,) = await kling.save(result("/anew"), shelf, name="anew")
        assert saved.sha256 == hashlib.sha256(CLIP).hexdigest()
        assert shelf.sizes == [len(CLIP)] * 3
        assert shelf.files == {"on.mp4": CLIP, "anew.mp4": CLIP}
    assert tree(tmp_path) == []


async def test_a_sink_that_fails_is_told_of(tmp_path: Path) -> None:
    broken = broken_then(http(500))
    async with against({"/x": says(http(200, CLIP)), "/broken": broken}) as (_server, kling):
        with pytest.raises(DownloadError, match=r"did not keep task-1 \(KeyError: 'no'\)") as found:
            await kling.save(result("/x"), Shelf(fails=KeyError("no")))
        assert isinstance(found.value.__cause__, KeyError)
        own = DownloadError("full", retryable=False)
        error = await caught(kling.save(result("/x"), Shelf(fails=own)), DownloadError)
        assert (str(error), error.retryable, error.task_id) == ("full", False, "task-1")
        error = await caught(kling.save(result("/broken"), Shelf(hides=True)), DownloadError)
        assert "HTTP 500" in str(error)
        error = await caught(kling.save(result("/x"), Shelf(least=300_000)), DownloadError)
        assert "did not take all" in str(error)


async def test_a_folder_may_be_given_as_a_sink(tmp_path: Path) -> None:
    async with against({"/x": says(http(200, CLIP))}) as (_server, kling):
        (saved,) = await kling.save(result("/x"), FolderSink(tmp_path / "a"))
        assert saved.path == tmp_path / "a" / "task-1.mp4"


# --- what a killed process left --------------------------------------------------------------------------------------


LARGE = CLIP * 6


def left_behind(folder: Path, task: Result, *, size: int = 5_000_000, **changes: Any) -> None:
    """Lay a part and its note as a process leaves them that was killed."""
    folder.mkdir(exist_ok=True)
    content = LARGE[:size]
    place = hashlib.sha256(f"{task.task_id}\n0\n127.0.0.1/x".encode()).hexdigest()
    note = {
        "place": place,
        "validator": '"v1"',
        "whole": len(LARGE),
        "size": size,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / ".task-1.part").write_bytes(content + b"written after the note")
    (folder / ".task-1.part.json").write_text(json.dumps({**note, **changes}))


async def test_what_a_killed_process_left_is_gone_on_with(tmp_path: Path) -> None:
    left_behind(tmp_path, result("/x"))
    async with against({"/x": says(rest(5_000_000, LARGE))}) as (server, kling):
        (saved,) = await kling.save(result("/x"), tmp_path)
        assert server.ranges() == ["bytes=5000000-"]
        assert server.heads[0]["if-range"] == '"v1"'
        assert saved.sha256 == hashlib.sha256(LARGE).hexdigest()
        assert saved.size_bytes == len(LARGE)
        assert tree(tmp_path) == ["task-1.mp4"]


async def test_a_whole_part_needs_no_more_than_its_name(tmp_path: Path) -> None:
    left_behind(tmp_path, result("/x"), size=len(LARGE))
    done = http(416, b"", {"Content-Range": f"bytes */{len(LARGE)}"})
    async with against({"/x": says(done)}) as (_server, kling):
        (saved,) = await kling.save(result("/x"), tmp_path)
        assert saved.sha256 == hashlib.sha256(LARGE).hexdigest()
        assert (tmp_path / "task-1.mp4").read_bytes() == LARGE
        assert tree(tmp_path) == ["task-1.mp4"]


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "0" * 64},
        {"size": 10**9},
        {"place": "another file"},
        {"validator": None},
        {"size": True},
        {"whole": "x"},
    ],
    ids=str,
)
async def test_what_is_not_proved_to_be_the_same_file_is_begun_anew(changes: dict[str, Any], tmp_path: Path) -> None:
    left_behind(tmp_path, result("/x"), **changes)
    async with against({"/x": says(http(200, LARGE, {"ETag": '"v1"'}))}) as (server, kling):
        (saved,) = await kling.save(result("/x"), tmp_path)
        assert server.ranges() == [None]
        assert saved.sha256 == hashlib.sha256(LARGE).hexdigest()
        assert tree(tmp_path) == ["task-1.mp4"]
