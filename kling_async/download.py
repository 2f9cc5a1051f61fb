"""Asset URL in, file out: streamed, resumed, checked, and named only when it is whole.

Stage: move. Before: a Result. After: a file, or a sink's object. Names come from ids and a fixed table of endings,
never from a URL or a header; a failed download never touches the generation.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Final

import aiohttp
import attrs

from .addresses import Gate, Network
from .dialects import Host, is_loopback
from .errors import DownloadError, KlingError, SessionClosed, clean_text
from .fetch import follow, open_http
from .models import AssetKind, Result
from .part_file import PartFile
from .sinks import CONTENT_TYPES, FolderSink, Sink, cannot_write, in_thread, is_safe_name
from .transfer import Again, Broken, Source, Transfer

_MOST_BYTES: Final = 2 * 1024**3
_AT_ONCE: Final = 8
_LIMIT_S: Final = 3600.0
_HEAD_S: Final = 60.0  # until an answer begins, redirects and all
# Slower than this is taken for a server that means to hold us; several at once share one line.
_LEAST_BYTES_PER_S: Final = 32 * 1024
_ENDINGS: Final = (*CONTENT_TYPES, ".bin")  # every one that a saved file may have


@attrs.frozen
class Saved:
    """One saved file.

    Attributes:
        path: where it lies; None where a sink keeps it elsewhere than on this machine.
        kind: of the asset: video, image, audio, ...
        size_bytes: its length.
        sha256: hash of its bytes, in hexadecimal, taken on their way.
        key: its name in the folder, or what the sink calls it.
        content_type: what its first bytes say that it is.
    """

    path: Path | None
    kind: AssetKind
    size_bytes: int
    sha256: str
    key: str = ""
    content_type: str = "application/octet-stream"


def stems_of(stem: str, number: int) -> list[str]:
    """Give the names, without their endings, of so many files of one result."""
    return [stem] if number == 1 else [f"{stem}-{index + 1}" for index in range(number)]


def find_saved(folder: Path, stem: str) -> tuple[Path, int] | None:
    """Give the file that was saved there under a name, whatever its ending, and its length in bytes; None: nothing.

    What is empty or no plain file does not count.
    """
    for ending in _ENDINGS if is_safe_name(stem) else ():
        path = folder / f"{stem}{ending}"
        try:
            found = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_size:
            return path, found.st_size
    return None


class Downloader:
    """Saves the assets of results; several at a time.

    Args:
        host: whose results they are; one on loopback, as the emulator, may keep its files there.
        refresh: asks once for a result with fresh URLs; None: there are none. A KlingError tells why.
        at_once: most files on their way at once.
        limit_s: seconds one file may take, all tries together.
        networks: private networks from which files may be fetched.
    """

    def __init__(
        self,
        host: Host,
        *,
        refresh: Callable[[Result], Awaitable[Result | None]],
        at_once: int = _AT_ONCE,
        limit_s: float = _LIMIT_S,
        networks: Collection[Network] = (),
    ) -> None:
        self._gate = Gate(networks=tuple(networks), loopback=is_loopback(host.url.host or ""))
        self._refresh = refresh
        self._http: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(at_once)
        self._limit_s = limit_s
        self._under_way: set[asyncio.Timeout] = set()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Downloader [{len(self._under_way)} under way]>"

    async def close(self) -> None:
        """Close the HTTP session, if one was needed, and end what is under way with SessionClosed."""
        self._is_closed = True
        for limit in self._under_way:  # aiohttp wakes nobody who reads from a connection that it closes
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())
        if self._http is not None:
            await self._http.close()

    async def save(self, result: Result, where: Path | Sink, *, name: str | None, max_bytes: int | None) -> list[Saved]:
        """Save every asset; see `KlingSession.save`. All are tried; then the first failure is raised."""
        stem = name if name is not None else re.sub(r"^-|[^A-Za-z0-9_-]", "_", result.task_id)[:100]
        if not is_safe_name(stem) or len(stem) > 100:
            told = (
                f"{clean_text(repr(stem), 120)} cannot be a file name: use letters, digits, dots, hyphens, underscores"
            )
            raise DownloadError(told, retryable=False, task_id=result.task_id)
        sink = FolderSink(where) if isinstance(where, Path) else where
        source = Source(result, self._refresh)
        number = len(result.assets)
        stems = stems_of(stem, number)
        most_bytes = _MOST_BYTES if max_bytes is None else max_bytes
        if isinstance(sink, FolderSink):
            await sink.place(stem)  # a folder that cannot be made is told before anything is asked for
        if number == 1:
            outcomes = [await self._try_asset(source, 0, sink, stem, most_bytes)]
        else:
            async with asyncio.TaskGroup() as group:
                files = [
                    group.create_task(self._try_asset(source, index, sink, stem, most_bytes))
                    for index, stem in enumerate(stems)
                ]
            outcomes = [file.result() for file in files]
        for outcome in outcomes:
            if isinstance(outcome, KlingError):
                raise outcome.anew(task_id=result.task_id, job_id=result.external_id) from outcome.__cause__
        return [outcome for outcome in outcomes if isinstance(outcome, Saved)]

    async def _try_asset(
        self, source: Source, index: int, sink: Sink, stem: str, most_bytes: int
    ) -> Saved | KlingError:
        async with self._room:
            transfer = Transfer(self._ask, source, index, most_bytes, self._least_bytes_per_s)
            limit = asyncio.timeout(self._limit_s)
            try:
                async with limit:
                    self._under_way.add(limit)
                    if isinstance(sink, FolderSink):
                        return await _to_folder(transfer, sink, stem)
                    return await _to_sink(transfer, sink, stem)
            except KlingError as error:
                return error
            except TimeoutError:
                if self._is_closed:
                    return _closed()
                return DownloadError(f"{transfer.shown}: it was not there within {self._limit_s:g} s")
            finally:
                self._under_way.discard(limit)
                transfer.close()

    def _least_bytes_per_s(self) -> float:
        return _LEAST_BYTES_PER_S / max(1, len(self._under_way))

    async def _ask(self, address: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        if self._is_closed:
            raise _closed()
        if self._http is None:
            self._http = open_http(self._gate)
        try:
            async with asyncio.timeout(_HEAD_S):
                return await follow(self._http, self._gate, address, headers)
        except TimeoutError:
            raise Broken("the transfer stood still") from None
        except aiohttp.ClientError as error:
            raise Broken(f"the transfer broke ({type(error).__name__})") from None


def _closed() -> SessionClosed:
    return SessionClosed("the session was closed before the file was saved: save it with another", paid="yes")


async def _to_folder(transfer: Transfer, folder: FolderSink, stem: str) -> Saved:
    part = PartFile((await folder.place(stem)).parent, stem)
    try:
        await in_thread(part.open)
        transfer.go_on(part)
        while True:
            await transfer.begin()
            if transfer.position != part.size:
                await in_thread(part.reset)
            part.origin, transfer.must_restart = transfer.origin, False
            async with contextlib.aclosing(transfer.chunks()) as chunks:
                try:
                    async for chunk in chunks:
                        await in_thread(part.write, chunk)
                except Again:
                    continue
            target = part.folder / f"{stem}{transfer.ending}"
            await in_thread(_finish, part, target)
            return _saved(transfer, part.size, part.sha256, target.name, target)
    except OSError as error:
        raise cannot_write(stem, error) from None
    finally:
        part.drop()


def _finish(part: PartFile, target: Path) -> None:
    """Give a whole file its name; blocks on the disk."""
    part.finish(target)


async def _to_sink(transfer: Transfer, sink: Sink, stem: str) -> Saved:
    while True:
        await transfer.begin()
        transfer.must_restart = False
        meter = _Meter()
        async with contextlib.aclosing(transfer.chunks()) as chunks:
            try:
                stored = await sink.put(f"{stem}{transfer.ending}", meter.over(chunks), transfer.whole)
            except Exception as error:
                # What the file itself ran into may come back in other words.
                if transfer.must_restart:
                    continue
                if isinstance(transfer.failure, KlingError):
                    raise transfer.failure from None
                if isinstance(error, KlingError):
                    raise
                told = f"the sink did not keep {stem} ({type(error).__name__}: {clean_text(error)})"
                raise DownloadError(told) from error
        if not transfer.is_whole:
            raise DownloadError(f"the sink did not take all of {stem}", retryable=False)
        return _saved(transfer, meter.size_bytes, meter.sha256, stored.key, stored.path)


class _Meter:
    """Counts and hashes what passes."""

    def __init__(self) -> None:
        self.size_bytes: int = 0
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def over(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            await in_thread(self._hash.update, chunk)
            self.size_bytes += len(chunk)
            yield chunk


def _saved(transfer: Transfer, size_bytes: int, sha256: str, key: str, path: Path | None) -> Saved:
    kind = CONTENT_TYPES.get(transfer.ending, "application/octet-stream")
    return Saved(path, transfer.asset.kind, size_bytes, sha256, key, kind)
