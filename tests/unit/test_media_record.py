"""media_record: what is kept of files and long texts, what is given back, and what is refused."""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import attrs
import pytest

from kling_async import ImageToVideo, InvalidRequest, JournalError, OmniVideo, TextToVideo
from kling_async.dialects import find_host
from kling_async.endpoints import body_of, encode_files, from_mapping, to_plain
from kling_async.journal import MemoryJournal
from kling_async.journal_sqlite import SqliteJournal
from kling_async.media_record import (
    is_heavy,
    needed_texts,
    prune_texts,
    record_request,
    recorded_hashes,
    restore_request,
)

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (400).to_bytes(4) * 2 + b"rest"
LONG = "QUJD" * 2_000  # Base64
HOST = find_host("cometapi")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal.db.media"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def through_json(plain: object) -> Any:
    return json.loads(json.dumps(plain))


def test_a_journal_on_disk_has_a_folder_beside_it(tmp_path: Path) -> None:
    assert SqliteJournal(tmp_path / "a.db", wall=lambda: 0.0).texts == tmp_path / "a.db.media"
    assert MemoryJournal(wall=lambda: 0.0).texts is None


def test_a_light_request_is_recorded_as_it_is(folder: Path) -> None:
    request = TextToVideo(prompt="A boat.", extra={"new": [1, None, True]})
    assert not is_heavy(request)
    assert record_request(request, folder) == to_plain(request)
    assert not folder.exists()


def test_files_are_recorded_by_path_hash_and_length(picture: Path, folder: Path) -> None:
    request = ImageToVideo(image=picture, image_tail=picture, prompt="x")
    assert is_heavy(request)
    plain = through_json(record_request(request, folder))
    mark = {"$file": str(picture), "sha256": digest(PNG), "bytes": len(PNG)}
    assert (plain["image"], plain["image_tail"]) == (mark, mark)
    assert recorded_hashes(plain) == {str(picture): digest(PNG)}
    assert needed_texts(plain) == set()
    assert from_mapping(ImageToVideo, restore_request(plain, folder)) == request
    assert not folder.exists()


@pytest.mark.parametrize("keeps", [True, False])
def test_long_texts_go_to_the_folder_once_and_come_back(keeps: bool, folder: Path) -> None:
    request = OmniVideo(prompt="x", image_list=[{"image_url": LONG}, {"image_url": LONG}])
    assert is_heavy(request)
    plain = through_json(record_request(request, folder if keeps else None))
    assert (LONG in json.dumps(plain)) is not keeps
    assert from_mapping(OmniVideo, restore_request(plain, folder if keeps else None)) == request
    assert needed_texts(plain) == ({digest(LONG.encode())} if keeps else set())
    if keeps:
        assert [each.name for each in folder.iterdir()] == [digest(LONG.encode())]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}
        (file,) = folder.iterdir()
        before = file.stat().st_ino
        os.utime(file, (1, 1))
        record_request(request, folder)
        assert file.stat().st_ino == before  # not written twice
        assert file.stat().st_mtime > 1  # and known to be needed again


def test_a_text_that_was_cut_is_written_anew(folder: Path) -> None:
    request = TextToVideo(prompt="x", extra={"more": {"deep": [LONG]}})
    plain = record_request(request, folder)
    (file,) = folder.iterdir()
    file.write_bytes(b"cut")
    with pytest.raises(JournalError, match="is not what was put there"):
        restore_request(plain, folder)
    assert record_request(request, folder) == plain
    assert from_mapping(TextToVideo, restore_request(plain, folder)) == request
    file.unlink()
    with pytest.raises(JournalError, match=r"cannot be read from .*: restore it"):
        restore_request(plain, folder)
    with pytest.raises(JournalError, match="has no folder"):
        restore_request(plain, None)


def test_names_of_the_callers_are_not_taken_for_ours(folder: Path) -> None:
    mine = {"$file": "a", "sha256": "b", "bytes": 1}
    request = TextToVideo(prompt="x", extra={"a": mine, "b": {"$mapping": {"$text": LONG}}, "c": {"file": "d"}})
    plain = through_json(record_request(request, folder))
    assert recorded_hashes(plain) == {}
    assert needed_texts(plain) == {digest(LONG.encode())}
    assert from_mapping(TextToVideo, restore_request(plain, folder)) == request


def test_half_a_character_survives(folder: Path) -> None:
    request = TextToVideo(prompt="x", extra={"odd": "\ud800" * 5_000})
    assert from_mapping(TextToVideo, restore_request(record_request(request, folder), folder)) == request


def test_what_an_earlier_release_recorded_is_read(picture: Path) -> None:
    request = ImageToVideo(image=picture)
    plain = through_json(to_plain(request))
    assert recorded_hashes(plain) == {}
    assert from_mapping(ImageToVideo, restore_request(plain, None)) == request


def test_a_file_that_cannot_be_read_is_refused_by_its_field(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "no.png", "cannot be read: No such file"), (tmp_path, "is not a file")):
        with pytest.raises(InvalidRequest, match=words) as caught:
            record_request(ImageToVideo(image=path), None)
        assert caught.value.field == "image"
    with pytest.raises(InvalidRequest, match="null") as caught:
        record_request(OmniVideo(prompt="x", image_list=[{"image_url": Path("a\0b")}]), None)
    assert caught.value.field == "image_list[0].image_url"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = TextToVideo(prompt="x", extra={"more": LONG})
    with pytest.raises(JournalError, match=r"cannot be kept in .*no/media: No such file") as caught:
        record_request(request, tmp_path / "no" / "media")
    assert caught.value.retryable

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(JournalError, match="No space left"):
            record_request(request, tmp_path / "media")
    assert list((tmp_path / "media").iterdir()) == []


def test_folders_are_not_synced_where_they_cannot_be_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    record_request(TextToVideo(prompt="x", extra={"a": LONG}), folder)
    assert len(synced) == 3  # the file, its folder, and the folder of that
    with monkeypatch.context() as windows:
        windows.setattr("kling_async.media_record._FOLDERS_SYNC", False)
        record_request(TextToVideo(prompt="x", extra={"a": LONG + "x"}), folder)
    assert len(synced) == 4


def test_a_changed_file_is_refused_before_it_is_sent(picture: Path, tmp_path: Path) -> None:
    """It is the very bytes to be sent that are looked at."""
    request = ImageToVideo(image=picture)
    hashes = recorded_hashes(record_request(request, None))
    assert encode_files(body_of(request, HOST), request, hashes) == encode_files(body_of(request, HOST), request)
    picture.write_bytes(PNG + b"!")
    assert encode_files(body_of(request, HOST), request)
    with pytest.raises(InvalidRequest, match="has changed since its job was recorded") as caught:
        encode_files(body_of(request, HOST), request, hashes)
    assert caught.value.field == "image"


def test_texts_that_nobody_needs_are_removed_unless_they_are_new(folder: Path) -> None:
    assert prune_texts(folder, (), 2.0) == 0
    plains = [record_request(TextToVideo(prompt="x", extra={"a": LONG + str(n)}), folder) for n in range(3)]
    names = [next(iter(needed_texts(plain))) for plain in plains]
    for name in names[:2]:
        os.utime(folder / name, (1, 1))
    assert prune_texts(folder, needed_texts(plains[0]), 2.0) == 1
    assert {each.name for each in folder.iterdir()} == {names[0], names[2]}


def test_every_kind_of_value_is_walked(folder: Path) -> None:
    request = TextToVideo(prompt="x", camera_control={"type": "simple", "config": {"pan": 1}}, extra={"b": (1, [2.5])})
    plain = record_request(request, folder)
    assert plain == to_plain(request)
    assert from_mapping(TextToVideo, restore_request(through_json(plain), folder)) == attrs.evolve(
        request, extra={"b": [1, [2.5]]}
    )
