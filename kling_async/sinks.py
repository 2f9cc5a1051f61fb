"""Where files go: a folder of this machine, an object store, or whatever the user makes.

Stage: move. Before: download. After: the disk, or a store's own client.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable

import attrs

from .errors import ConfigError, DownloadError, clean_text
from .part_file import PartFile

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_T = TypeVar("_T")

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}\Z")
# Up to here one request carries the whole object; above it goes up in pieces of this size, so many at a time.
_PIECE_BYTES: Final = 5 * 1024 * 1024
_PIECES_AT_ONCE: Final = 3

CONTENT_TYPES: Final = {
    ".mp4": "video/mp4",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".srt": "application/x-subrip",
    ".ass": "text/x-ssa",
}


@attrs.frozen
class Stored:
    """What a sink tells of a file that it has.

    Attributes:
        key: its name there.
        path: the same on this machine; None where it lies elsewhere.
    """

    key: str
    path: Path | None = None


@runtime_checkable
class Sink(Protocol):
    """A place for files: anything with this one method."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], size_bytes: int | None) -> Stored:
        """Take one file; what was there under that name is replaced, and half a file is never seen.

        What `chunks` raises must come through, and then nothing of the file may be left; it may be put again.

        Args:
            key: its name, one or several parts of letters, digits, dots, hyphens and underscores with "/" between.
            chunks: its bytes in order, in pieces of at most 256 KiB, to be taken to their end.
            size_bytes: how many; None: not known before the end.

        Raises:
            DownloadError: it could not be kept. Any other exception becomes one.
        """
        ...


def is_safe_name(name: str) -> bool:
    """Tell whether it may be the name of a file: no folder, no hidden one, nothing that a shell or a URL minds."""
    return _SAFE_NAME.match(name) is not None


async def in_thread(function: Callable[..., _T], *arguments: object) -> _T:
    """Run in a thread. A caller that is cancelled waits for its end: what it works on is closed next."""
    work = asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *arguments))
    is_cancelled = False
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        work.exception()
        raise asyncio.CancelledError
    return work.result()


class FolderSink:
    """A folder of this machine, made if it is not there: a file has its name only when it is whole and on the disk.

    Args:
        directory: where to. Files are readable by their owner only.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory: Path = Path(directory)

    def __repr__(self) -> str:
        return f"FolderSink({str(self.directory)!r})"

    async def put(self, key: str, chunks: AsyncIterator[bytes], size_bytes: int | None) -> Stored:
        """Take one file; see Sink.

        Raises:
            DownloadError: the key leads out of the folder, the folder cannot be written, or bytes are missing.
        """
        target = await self.place(key)
        part = PartFile(target.parent, target.name)
        try:
            await in_thread(part.open)
            await in_thread(part.reset)
            async for chunk in chunks:
                await in_thread(part.write, chunk)
            if size_bytes is not None and part.size != size_bytes:
                raise DownloadError(f"{part.size} of {size_bytes} bytes came for {target.name}")
            await in_thread(part.finish, target)
        except OSError as error:
            raise cannot_write(target.name, error) from None
        finally:
            part.drop()
        return Stored(key, target)

    async def place(self, key: str) -> Path:
        """Give where a key belongs, with its folder made.

        Raises:
            DownloadError: it leads out of the folder, or the folder cannot be made; not retryable.
        """
        *folders, name = key.split("/")
        if not all(is_safe_name(part) for part in (*folders, name)):
            told = f"{clean_text(key, 80)!r} cannot be a file name: use letters, digits, dots, hyphens, underscores"
            raise DownloadError(told, retryable=False)
        try:
            parent = await in_thread(self._make, folders)
        except OSError as error:
            raise DownloadError(f"cannot make the folder {self.directory}: {error.strerror}", retryable=False) from None
        if parent is None:
            told = f"{clean_text(key, 80)!r} leads out of the folder {self.directory}"
            raise DownloadError(told, retryable=False)
        return parent / name

    def _make(self, folders: list[str]) -> Path | None:
        # Its own path as the caller wrote it: only what is below may not lead elsewhere.
        self.directory.mkdir(parents=True, exist_ok=True)
        parent = self.directory
        for folder in folders:
            parent /= folder
            if not parent.is_dir():
                parent.mkdir(exist_ok=True)
            if not parent.resolve().is_relative_to(self.directory.resolve()):
                return None
        return parent


def cannot_write(name: str, error: OSError) -> DownloadError:
    """Make the error for what the system says of a file."""
    return DownloadError(f"cannot write {name}: {error.strerror or type(error).__name__}", retryable=False)


class ObjectStoreSink:
    """An object store (S3 and what speaks like it, Google Cloud Storage, Azure) through the package obstore.

    Half an object is never seen there. Of an upload that broke off, the store may keep pieces that nobody sees until
    its rule for incomplete uploads clears them away; files of up to 5 MiB go up in one request and leave none.

    Args:
        store: any store of `obstore.store`, with the credentials it needs.
        prefix: put before every key, with "/" between.

    Raises:
        ConfigError: obstore is not installed, or this is not one of its stores.
    """

    def __init__(self, store: object, prefix: str = "") -> None:
        try:
            import obstore.store  # noqa: PLC0415 - an extra
        except ImportError:
            told = "ObjectStoreSink needs the package obstore: pip install 'kling-async[store]'"
            raise ConfigError(told) from None
        if not isinstance(store, obstore.store.ObjectStore):
            raise ConfigError(f"store must be a store of obstore.store, not a {type(store).__name__}")
        self._store: ObjectStore = store
        self._prefix = prefix.strip("/")
        # A folder keeps no such thing beside a file, and says so with an error.
        self._keeps_type = not isinstance(store, obstore.store.LocalStore)

    def __repr__(self) -> str:
        return f"ObjectStoreSink({type(self._store).__name__}, {self._prefix!r})"  # the store's own may tell its keys

    async def put(self, key: str, chunks: AsyncIterator[bytes], size_bytes: int | None) -> Stored:
        """Take one file; see Sink.

        Raises:
            DownloadError: the store refused it, or could not be reached.
        """
        import obstore  # noqa: PLC0415 - an extra
        from obstore.exceptions import BaseError  # noqa: PLC0415

        where = f"{self._prefix}/{key}" if self._prefix else key
        kind = CONTENT_TYPES.get(Path(key).suffix)
        attributes = {"Content-Type": kind} if kind and self._keeps_type else None
        feed = _Feed(chunks)
        try:
            if size_bytes is not None and size_bytes <= _PIECE_BYTES:
                content = b"".join([chunk async for chunk in feed])
                await obstore.put_async(self._store, where, content, attributes=attributes, use_multipart=False)
            else:
                await obstore.put_async(
                    self._store,
                    where,
                    feed,
                    attributes=attributes,
                    chunk_size=_PIECE_BYTES,
                    max_concurrency=_PIECES_AT_ONCE,
                )
        except (BaseError, NotImplementedError) as error:
            raise _refused(error, where) from None
        finally:
            await feed.stop()
        return Stored(where)


class _Feed:
    """An iterator whose last question can be taken back: obstore lets it wait on when its upload has ended."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._asking: asyncio.Task[object] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._asking = asyncio.current_task()
        try:
            return await anext(self._chunks)
        finally:
            self._asking = None

    async def stop(self) -> None:
        asking = self._asking
        if asking is not None and asking is not asyncio.current_task():
            asking.cancel()
            await asyncio.wait({asking})


_FOR_GOOD = frozenset({"PermissionDeniedError", "UnauthenticatedError", "NotFoundError", "InvalidPathError"})


def _refused(error: Exception, where: str) -> DownloadError:
    name = type(error).__name__
    # Its address may carry a key in its query, and the rest of the lines is for the store's own developers.
    said = re.sub(r"\?\S*", "?…", str(error).partition("\n")[0])
    is_final = name in _FOR_GOOD or isinstance(error, NotImplementedError)
    return DownloadError(f"the store did not take {where} ({name}: {clean_text(said)})", retryable=not is_final)
