"""The built-in sinks: a folder, and object stores through obstore."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kling_async import ConfigError, DownloadError, FolderSink, ObjectStoreSink, Sink, Stored
from kling_async.sinks import in_thread

MEGABYTE = bytes(range(256)) * 4096


async def pieces(count: int, error: BaseException | None = None) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield MEGABYTE
        await asyncio.sleep(0)
    if error is not None:
        raise error


async def endless() -> AsyncIterator[bytes]:
    yield MEGABYTE * 6
    await asyncio.Event().wait()


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- a folder --------------------------------------------------------------------------------------------------------


async def test_a_folder_keeps_what_it_is_given(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "clips")
    assert isinstance(sink, Sink)
    assert repr(sink) == f"FolderSink({str(tmp_path / 'clips')!r})"
    for size_bytes in (None, 3 * len(MEGABYTE)):
        stored = await sink.put("2026/june/clip.mp4", pieces(3), size_bytes)
        assert stored == Stored("2026/june/clip.mp4", tmp_path / "clips/2026/june/clip.mp4")
        assert (tmp_path / "clips/2026/june/clip.mp4").read_bytes() == MEGABYTE * 3
    assert len([path for path in tree(tmp_path) if path.endswith(".mp4")]) == len(tree(tmp_path)) - 3


@pytest.mark.parametrize(
    "key", ["", "../x", "a/../../x", "/etc/x", "a//b", ".x", "a/.x", "a\\b", "a\0", "a/", "x" * 121]
)
async def test_a_key_that_leads_elsewhere_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="cannot be a file name") as caught:
        await FolderSink(tmp_path / "clips").put(key, pieces(1), None)
    assert not caught.value.retryable
    assert tree(tmp_path) == []


async def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "clips" / "out").symlink_to(tmp_path / "elsewhere")
    for key in ("out/x.mp4", "out/deep/x.mp4"):
        with pytest.raises(DownloadError, match="leads out of the folder"):
            await FolderSink(tmp_path / "clips").put(key, pieces(1), None)
    assert list((tmp_path / "elsewhere").rglob("*.mp4")) == []
    # The folder itself may be a link: that is the caller's own choice.
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert (await FolderSink(tmp_path / "link").put("x.mp4", pieces(1), None)).path == tmp_path / "link" / "x.mp4"


async def test_a_put_that_fails_leaves_nothing_in_a_folder(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path)
    with pytest.raises(KeyError):
        await sink.put("x.mp4", pieces(2, KeyError("what the source says comes through")), None)
    with pytest.raises(DownloadError, match="2097152 of 5 bytes"):
        await sink.put("x.mp4", pieces(2), 5)
    putting = asyncio.ensure_future(sink.put("x.mp4", endless(), None))
    await asyncio.sleep(0.1)
    putting.cancel()
    await asyncio.wait({putting})
    assert putting.cancelled()
    assert tree(tmp_path) == []
    (tmp_path / "x.mp4").mkdir()
    with pytest.raises(DownloadError, match=r"cannot write x\.mp4"):
        await sink.put("x.mp4", pieces(2), None)
    assert tree(tmp_path) == ["x.mp4"]


@pytest.mark.realtime
async def test_a_cancelled_caller_waits_for_its_thread() -> None:
    """What the thread works on is closed next."""
    import threading

    go_on, ended = threading.Event(), []

    def work() -> None:
        go_on.wait(5)
        ended.append(True)

    waiting = asyncio.ensure_future(in_thread(work))
    for _ in range(3):
        await asyncio.sleep(0.01)
        waiting.cancel()
    assert not waiting.done()
    go_on.set()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert ended


# --- object stores ---------------------------------------------------------------------------------------------------


def store(name: str, folder: Path) -> Any:
    obstore_store = pytest.importorskip("obstore.store")
    return obstore_store.MemoryStore() if name == "MemoryStore" else obstore_store.LocalStore(folder)


def keys(kept: Any) -> list[str]:
    return sorted(found["path"] for found in kept.list().collect())


STORES = pytest.mark.parametrize("name", ["MemoryStore", "LocalStore"])


@STORES
@pytest.mark.realtime
async def test_a_store_keeps_what_it_is_given(name: str, tmp_path: Path) -> None:
    """In one request up to 5 MiB, in pieces above, and when the length is not known."""
    kept = store(name, tmp_path)
    sink = ObjectStoreSink(kept, "/clips/2026/")
    assert isinstance(sink, Sink)
    assert repr(sink) == f"ObjectStoreSink({name}, 'clips/2026')"
    for key, count, size_bytes in (("small", 1, len(MEGABYTE)), ("large", 7, 7 * len(MEGABYTE)), ("some", 2, None)):
        assert await sink.put(f"{key}.mp4", pieces(count), size_bytes) == Stored(f"clips/2026/{key}.mp4")
        found = await kept.get_async(f"clips/2026/{key}.mp4")
        assert bytes(await found.bytes_async()) == MEGABYTE * count
        if name == "MemoryStore":
            assert {field.lower(): value for field, value in found.attributes.items()} == {"content-type": "video/mp4"}
    assert await ObjectStoreSink(kept).put("plain.bin", pieces(1), None) == Stored("plain.bin")
    assert len(keys(kept)) == 4


@STORES
@pytest.mark.realtime
@pytest.mark.parametrize("size_bytes", [None, 2 * len(MEGABYTE), 9 * len(MEGABYTE)])
async def test_a_put_that_fails_leaves_nothing_in_a_store(name: str, size_bytes: int | None, tmp_path: Path) -> None:
    kept = store(name, tmp_path)
    with pytest.raises(KeyError):
        await ObjectStoreSink(kept).put("x.mp4", pieces(7, KeyError("what the source says")), size_bytes)
    assert keys(kept) == []
    assert [path for path in tree(tmp_path) if (tmp_path / path).is_file()] == []


@STORES
@pytest.mark.realtime
async def test_a_put_that_is_cancelled_leaves_nothing(name: str, tmp_path: Path) -> None:
    """Neither in the store, nor a task that waits for bytes for ever."""
    kept = store(name, tmp_path)
    before = asyncio.all_tasks()
    putting = asyncio.ensure_future(ObjectStoreSink(kept).put("x.mp4", endless(), None))
    await asyncio.sleep(0.2)
    putting.cancel()
    await asyncio.wait({putting}, timeout=5)
    assert putting.cancelled()
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() == before
    assert keys(kept) == []
    assert [path for path in tree(tmp_path) if (tmp_path / path).is_file()] == []


@pytest.mark.realtime
async def test_what_a_store_says_is_told_without_its_address(tmp_path: Path) -> None:
    kept = store("LocalStore", tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"the store did not take file/x\.mp4 \(") as caught:
        await ObjectStoreSink(kept, "file").put("x.mp4", pieces(1), len(MEGABYTE))
    assert caught.value.__cause__ is None
    assert "Debug source" not in str(caught.value)


def test_a_store_is_one_of_obstores() -> None:
    stores = pytest.importorskip("obstore.store")
    for kind in (stores.S3Store, type("Mine", (stores.S3Store,), {})):
        sink = ObjectStoreSink(kind("bucket", access_key_id="me", secret_access_key="s3cr3t", region="eu-central-1"))
        assert repr(sink) == f"ObjectStoreSink({kind.__name__}, '')"
    with pytest.raises(ConfigError, match=r"obstore\.store, not a str"):
        ObjectStoreSink("s3://bucket")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ConfigError, match=r"pip install 'kling-async\[store\]'"):
        ObjectStoreSink(object())
