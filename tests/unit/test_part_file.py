"""A file under way: whose it is, what an earlier process left of it, and what somebody laid in its place."""

import hashlib
import json
import os
import stat
from pathlib import Path

import attrs
import pytest

from kling_async import part_file
from kling_async.part_file import Origin, PartFile

ORIGIN = Origin(place="here", validator='"v1"', whole=9_000_000)
BLOCK = bytes(range(256)) * 4096  # a megabyte

pytestmark = pytest.mark.skipif(os.name != "posix", reason="parts are not gone on with where files cannot be locked")


def opened(folder: Path, stem: str = "clip") -> PartFile:
    part = PartFile(folder, stem)
    part.open()
    return part


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(part: PartFile) -> None:
    """What the end of a process does to it."""
    os.close(part._descriptor)


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    part = opened(tmp_path)
    part.write(b"half")
    assert names(tmp_path) == [".clip.part"]
    part.write(b" and half")
    part.finish(tmp_path / "clip.mp4")
    part.drop()
    assert names(tmp_path) == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"half and half"
    assert part.sha256 == hashlib.sha256(b"half and half").hexdigest()
    assert (part.size, part.head) == (13, b"half and half")
    assert stat.S_IMODE((tmp_path / "clip.mp4").stat().st_mode) == 0o600


def test_what_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    part = opened(tmp_path)
    part.origin = ORIGIN
    for _ in range(5):
        part.write(BLOCK)
    assert names(tmp_path) == [".clip.part", ".clip.part.json"]
    part.drop()
    part.drop()
    PartFile(tmp_path, "never opened").drop()
    assert names(tmp_path) == []


def test_a_killed_process_left_a_beginning(tmp_path: Path) -> None:
    """As far as it was noted, and its hash goes on where it stopped."""
    first = opened(tmp_path)
    first.origin = ORIGIN
    for _ in range(5):
        first.write(BLOCK)
    killed(first)
    second = opened(tmp_path)
    assert (second.size, second.origin) == (4 * len(BLOCK), ORIGIN)
    assert second.head == BLOCK[:16]
    second.write(BLOCK * 2)
    assert second.sha256 == hashlib.sha256(BLOCK * 6).hexdigest()
    second.finish(tmp_path / "clip.mp4")
    assert names(tmp_path) == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == BLOCK * 6


def test_a_beginning_that_was_not_noted_is_not_believed(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.write(BLOCK)
    killed(first)
    second = opened(tmp_path)
    assert (second.size, second.origin, second.head) == (0, None, b"")
    second.write(b"anew")
    second.finish(tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == b"anew"


@pytest.mark.parametrize(
    "note",
    [b"", b"{", b"[]", b"null", b"[" * 4000, b'{"place": 1}', b"\xff\xfe", b"x" * 10_000],
    ids=["empty", "torn", "list", "null", "deep", "types", "bytes", "long"],
)
def test_a_torn_note_is_not_believed(note: bytes, tmp_path: Path) -> None:
    (tmp_path / ".clip.part").write_bytes(BLOCK)
    (tmp_path / ".clip.part.json").write_bytes(note)
    part = opened(tmp_path)
    assert (part.size, part.origin) == (0, None)
    part.drop()
    assert names(tmp_path) == []


def test_a_hole_in_a_beginning_is_found(tmp_path: Path) -> None:
    """A machine that lost its power may have the length and not the bytes."""
    first = opened(tmp_path)
    first.origin = ORIGIN
    first.write(BLOCK * 4)
    killed(first)
    with (tmp_path / ".clip.part").open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"\0" * 4096)
    assert opened(tmp_path).size == 0


def test_two_at_one_file_do_not_meet(tmp_path: Path) -> None:
    """The second has a part of its own; the last one to finish gives the file."""
    first, second = opened(tmp_path), opened(tmp_path)
    second.origin = ORIGIN
    first.write(b"first")
    second.write(BLOCK * 5)
    assert len(names(tmp_path)) == 2
    first.finish(tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == b"first"
    second.drop()
    assert names(tmp_path) == ["clip.mp4"]


def test_a_part_that_is_given_its_name_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening it and locking it, its owner finishes: writing to it now would spoil a whole file."""
    first = opened(tmp_path)
    first.write(b"whole")
    lock = part_file._lock

    def finish_first(descriptor: int) -> bool:
        monkeypatch.setattr(part_file, "_lock", lock)
        first.finish(tmp_path / "clip.mp4")
        return lock(descriptor)

    monkeypatch.setattr(part_file, "_lock", finish_first)
    second = opened(tmp_path)
    second.write(b"other")
    assert (tmp_path / "clip.mp4").read_bytes() == b"whole"
    assert names(tmp_path) == [".clip.part", "clip.mp4"]
    second.drop()


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_what_somebody_laid_there_is_not_written_to(kind: str, tmp_path: Path) -> None:
    """Neither through the part's name nor through its note's."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in (".clip.part", ".clip.part.json"):
        if kind == "link":
            (folder / name).symlink_to(precious)
        elif kind == "hard link":
            (folder / name).hardlink_to(precious)
        elif kind == "pipe":
            os.mkfifo(folder / name)
        else:
            (folder / name).mkdir()
    part = opened(folder)
    part.origin = ORIGIN
    part.write(BLOCK * 5)
    part.finish(folder / "clip.mp4")
    assert precious.read_bytes() == b"mine"
    assert (folder / "clip.mp4").read_bytes() == BLOCK * 5
    assert not (folder / "clip.mp4").is_symlink()
    assert names(folder) == [".clip.part", ".clip.part.json", "clip.mp4"]


def test_a_link_where_the_file_belongs_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    (tmp_path / "clip.mp4").symlink_to(precious)
    part = opened(tmp_path)
    part.write(b"clip")
    part.finish(tmp_path / "clip.mp4")
    assert precious.read_bytes() == b"mine"
    assert (tmp_path / "clip.mp4").read_bytes() == b"clip"


def test_a_note_that_cannot_be_written_keeps_nothing_back(tmp_path: Path) -> None:
    (tmp_path / ".clip.part.json").mkdir()
    part = opened(tmp_path)
    part.origin = ORIGIN
    part.write(BLOCK * 5)
    part.finish(tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").stat().st_size == 5 * len(BLOCK)


def test_where_files_cannot_be_locked_each_part_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_file, "_CAN_LOCK", False)
    first, second = opened(tmp_path), opened(tmp_path)
    assert ".clip.part" not in names(tmp_path)
    first.write(b"first")
    first.finish(tmp_path / "clip.mp4")
    second.drop()
    assert names(tmp_path) == ["clip.mp4"]


def test_a_note_tells_nothing_of_the_url(tmp_path: Path) -> None:
    part = opened(tmp_path)
    part.origin = ORIGIN
    part.write(BLOCK * 4)
    told = json.loads((tmp_path / ".clip.part.json").read_text())
    assert told == {**attrs.asdict(ORIGIN), "size": 4 * len(BLOCK), "sha256": part.sha256}
    assert stat.S_IMODE((tmp_path / ".clip.part.json").stat().st_mode) == 0o600
    part.drop()
