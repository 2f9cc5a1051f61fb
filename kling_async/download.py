"""Asset URL in, file out: streamed, resumed, checked, and renamed only when it is whole.

Stage: move. Before: a Result. After: a file. Its own HTTP session, which has no credentials to leak; names come from
ids and a fixed table of endings, never from a URL or a header; a failed download never touches the generation.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import aiohttp
import attrs
from yarl import URL

from .dialects import Host, is_loopback
from .errors import DownloadError, clean_text
from .models import Asset, AssetKind, Result

_log = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 256 * 1024
_MOST_BYTES: Final = 2 * 1024**3
_TRIES: Final = 4
_AT_ONCE: Final = 8
_REDIRECTS: Final = 5
_TIMEOUT: Final = aiohttp.ClientTimeout(total=3600, sock_connect=10, sock_read=30)
_STALE: Final = frozenset({401, 403, 404, 410})  # how a signed URL says that its time is over
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z")

# First bytes of what the service makes, and the ending that fits. An expired link often answers 200 with a page.
_SIGNATURES: Final[tuple[tuple[int, bytes, str], ...]] = (
    (4, b"ftyp", ".mp4"),
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (8, b"WEBP", ".webp"),
    (8, b"WAVE", ".wav"),
    (0, b"ID3", ".mp3"),
    (0, b"\xff\xfb", ".mp3"),
    (0, b"\xff\xf3", ".mp3"),
    (0, b"\xff\xf2", ".mp3"),
)
_HEAD_BYTES: Final = 16


class _Stale(Exception):
    """The URL does not work any more; a fresh one may."""


class _Broken(Exception):
    """The transfer broke; going on where it stopped may help."""


@attrs.define
class _Part:
    """What is known about a file under way."""

    path: Path
    size: int = 0
    whole: int | None = None
    etag: str | None = None


class Downloader:
    """Saves the assets of results; several at a time."""

    def __init__(self, host: Host, *, refresh: Callable[[Result], Awaitable[Result | None]]) -> None:
        # The emulator serves its clips over plain http on loopback; nobody else may.
        self._plain_allowed = is_loopback(host.url.host or "")
        self._refresh = refresh
        self._http: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def close(self) -> None:
        """Close the HTTP session, if one was needed."""
        if self._http is not None:
            await self._http.close()

    async def save(self, result: Result, directory: Path, *, name: str | None, max_bytes: int | None) -> list[Path]:
        """Save every asset; see `KlingSession.download`."""
        stem = name if name is not None else re.sub(r"^-|[^A-Za-z0-9_-]", "_", result.task_id)[:100]
        if not _SAFE_NAME.match(stem):
            told = f"{stem!r} cannot be a file name: use letters, digits, dots, hyphens, underscores"
            raise DownloadError(told, retryable=False, task_id=result.task_id)
        try:
            await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise DownloadError(f"cannot make the folder {directory}: {error.strerror}", retryable=False) from None
        files: list[Path] = []
        for index in range(len(result.assets)):
            suffix = "" if len(result.assets) == 1 else f"-{index + 1}"
            async with self._room:
                file, result = await self._save_asset(result, index, directory / f"{stem}{suffix}", max_bytes)
            files.append(file)
        return files

    async def _save_asset(self, result: Result, index: int, stem: Path, max_bytes: int | None) -> tuple[Path, Result]:
        part = _Part(stem.with_name(f".{stem.name}.{secrets.token_hex(4)}.part"))
        refreshed = False
        try:
            for left in reversed(range(_TRIES)):
                asset = result.assets[index]
                try:
                    await self._fetch(asset.url, part, _MOST_BYTES if max_bytes is None else max_bytes)
                    return await asyncio.to_thread(_finish, part, stem, asset.kind), result
                except _Broken as error:
                    if not left:
                        raise DownloadError(f"{_shown(asset)}: {error}", task_id=result.task_id) from None
                    await asyncio.sleep(0.5 * (_TRIES - left))
                except _Stale as error:
                    fresh = None if refreshed else await self._refresh(result)
                    if fresh is None or len(fresh.assets) <= index:
                        raise DownloadError(f"{_shown(asset)}: {error}", task_id=result.task_id) from None
                    result, refreshed, part.size = fresh, True, 0
                except DownloadError as error:
                    raise error.anew(task_id=result.task_id, job_id=result.external_id) from None
                except OSError as error:
                    told = f"cannot write {stem.name}: {error.strerror}"
                    raise DownloadError(told, task_id=result.task_id, retryable=False) from None
            raise DownloadError(f"{stem.name}: given up", task_id=result.task_id)
        finally:
            with contextlib.suppress(OSError):
                part.path.unlink(missing_ok=True)

    async def _fetch(self, address: str, part: _Part, max_bytes: int) -> None:
        """Get the rest of a file, from where it stopped if the server can do that."""
        headers = {"Accept-Encoding": "identity"}
        if part.size and part.etag:
            headers |= {"Range": f"bytes={part.size}-", "If-Range": part.etag}
        try:
            async with await self._follow(address, headers) as response:
                self._check(response, part, max_bytes)
                await self._stream(response, part, max_bytes)
        except ValueError:  # what looks like an address and cannot be looked up
            raise DownloadError("the asset has an address that is not a URL", retryable=False) from None
        except aiohttp.ClientError as error:
            raise _Broken(f"the transfer broke ({type(error).__name__})") from None
        except TimeoutError:
            raise _Broken("the transfer stood still") from None
        if part.whole is not None and part.size != part.whole:
            raise _Broken(f"{part.size} of {part.whole} bytes arrived")

    async def _follow(self, address: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        """Open a URL, following redirects by hand so that each is checked."""
        url = self._allowed(address, None)
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
            )
        for _ in range(_REDIRECTS + 1):
            response = await self._http.get(url, headers=headers, allow_redirects=False)
            if response.status not in {301, 302, 303, 307, 308}:
                return response
            target = response.headers.get("Location", "")
            response.release()
            url = self._allowed(target, url)
        raise DownloadError("too many redirects", retryable=False)

    def _allowed(self, address: str, base: URL | None) -> URL:
        try:
            url = URL(address) if base is None else base.join(URL(address))
        except ValueError:
            raise DownloadError("the asset has an address that is not a URL", retryable=False) from None
        if not self._plain_allowed and _is_private(url.host or ""):
            raise DownloadError(f"the asset's address is a private one ({url.host})", retryable=False)
        plain = url.scheme == "http" and self._plain_allowed and is_loopback(url.host or "")
        if not url.host or not (url.scheme == "https" or plain):
            raise DownloadError(f"the asset's address is not https ({url.scheme}://{url.host})", retryable=False)
        return url

    def _check(self, response: aiohttp.ClientResponse, part: _Part, max_bytes: int) -> None:
        if response.status in _STALE:
            raise _Stale(f"its URL does not work any more (HTTP {response.status})")
        if response.status == 206 and part.size:
            # Trusted only as far as it names the very place where we stopped.
            begins = response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-")
            if not begins:
                part.size = 0
                raise _Broken("the server resumed at another place")
        elif response.status == 200:
            part.size = 0
        else:
            part.size = 0
            raise _Broken(f"HTTP {response.status}")
        length = response.content_length
        part.whole = None if length is None else part.size + length
        part.etag = response.headers.get("ETag")
        if part.whole is not None and part.whole > max_bytes:
            raise DownloadError(f"has {part.whole:,} bytes, at most {max_bytes:,} are allowed", retryable=False)

    async def _stream(self, response: aiohttp.ClientResponse, part: _Part, max_bytes: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | (0 if part.size else os.O_TRUNC) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(part.path, flags, 0o600)  # not in a thread: a cancelled await could not take it back
        with os.fdopen(descriptor, "r+b" if part.size else "wb") as file:
            file.seek(part.size)
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                if part.size < _HEAD_BYTES <= part.size + len(chunk) and not part.size:
                    _ending(chunk[:_HEAD_BYTES])
                part.size += len(chunk)
                if part.size > max_bytes:
                    raise DownloadError(f"has more than {max_bytes:,} bytes", retryable=False)
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(_sync, file)


def _is_private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return is_loopback(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


def _sync(file: object) -> None:
    file.flush()  # type: ignore[attr-defined]
    os.fsync(file.fileno())  # type: ignore[attr-defined]


def _ending(head: bytes) -> str:
    for offset, magic, ending in _SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return ending
    if head.lstrip()[:1] in {b"<", b"{"}:
        raise _Stale("a page came instead of a file")
    return ""


_DEFAULT_ENDINGS: Final[dict[AssetKind, str]] = {"video": ".mp4", "image": ".png", "cover": ".png", "audio": ".mp3"}


def _finish(part: _Part, stem: Path, kind: AssetKind) -> Path:
    """Give a whole file its name; blocks on the disk."""
    with part.path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise _Broken("the file is empty")
    ending = _ending(head) or _DEFAULT_ENDINGS.get(kind, ".bin")
    target = stem.with_name(stem.name + ending)
    part.path.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return target


def _shown(asset: Asset) -> str:
    # Signed URLs are as good as a key: only the host is told.
    return f"{asset.kind} at {clean_text(URL(asset.url).host or 'nowhere', 60)}"
