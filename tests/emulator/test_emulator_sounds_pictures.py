"""Files that are no clips: pictures, sounds, subtitles."""

import io
import json
import shutil
import struct
import subprocess
import wave
import zlib
from pathlib import Path
from typing import Any

import pytest

from kling_async.emulator.images import look
from kling_async.emulator.pictures import is_ratio, png, size_of
from kling_async.emulator.sounds import MP3_FRAME_S, WAV_RATE, mp3, mp3_seconds, wav
from kling_async.emulator.subtitles import ass, srt

RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffprobe") or not shutil.which("ffmpeg"), reason="no ffmpeg")


def probe(path: Path) -> dict[str, dict[str, Any]]:
    entries = "format=duration:stream=width,height"
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", str(path)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    played = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"], capture_output=True, check=True
    )
    assert played.stderr == b""
    return {"format": told["format"], "stream": told["streams"][0]}


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("resolution", ["1k", "2k", "4k", ""])
def test_pictures_have_exactly_the_asked_ratio(ratio: str, resolution: str) -> None:
    width, height = size_of(ratio, resolution)
    wide, _, high = ratio.partition(":")
    assert width * int(high) == height * int(wide)
    assert max(width, height) <= 84 * {"2k": 2, "4k": 4}.get(resolution, 1)
    picture = look(png(width, height, "tag"))
    assert (picture.kind, picture.width, picture.height) == ("png", width, height)


def test_odd_ratios_are_met_nearly() -> None:
    assert size_of("1000:640") == (75, 48)
    assert size_of("1:999999") == (1, 84)
    assert size_of("rubbish") == (84, 84)
    assert is_ratio("3:2")
    assert not is_ratio("auto")


def test_png_is_whole() -> None:
    """Every chunk has its checksum, and the data are as long as the header says; twins differ, repeats do not."""
    content = png(16, 9, "tag")
    at, names, data = 8, [], b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        name, payload = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length]) == (zlib.crc32(name + payload),)
        names.append(name)
        data += payload if name == b"IDAT" else b""
        at += 12 + length
    assert names == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]
    assert len(zlib.decompress(data)) == 9 * (1 + 3 * 16)
    assert content == png(16, 9, "tag")
    assert len({content, png(16, 9, "tag", marked=True), png(16, 9, "other")}) == 3
    assert look(png(1, 1)).width == 1


@pytest.mark.parametrize("seconds", [0.001, 3.0, 3.041, 10.1])
def test_sounds_have_the_told_length(seconds: float) -> None:
    """A WAV ends at the sample, an MP3 at the frame that completes the length."""
    with wave.open(io.BytesIO(wav(seconds, "tag"))) as sound:
        assert sound.getnframes() == max(1, round(seconds * WAV_RATE))
        assert len(set(sound.readframes(1000))) >= min(5, sound.getnframes())
    assert seconds <= mp3_seconds(seconds) < seconds + MP3_FRAME_S + 1e-9
    content = mp3(seconds, "tag")
    assert content.startswith(b"ID3")
    assert content.count(b"\xff\xfb\x14\xc0") * MP3_FRAME_S == pytest.approx(mp3_seconds(seconds))
    assert mp3(seconds, "tag") == content != mp3(seconds, "other")
    assert wav(seconds, "tag") == wav(seconds, "tag")
    assert mp3_seconds(3.0) == 3.0


@needs_ffmpeg
def test_players_take_sounds_and_pictures(tmp_path: Path) -> None:
    """A player finds the told lengths and sizes, and decodes everything without a complaint."""
    for name, content, seconds in (
        ("a.mp3", mp3(5.041, "tag"), mp3_seconds(5.041)),
        ("a.wav", wav(5.041, "tag"), 5.041),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert float(probe(path)["format"]["duration"]) == pytest.approx(seconds, abs=0.002)
    path = tmp_path / "a.png"
    path.write_bytes(png(80, 45, "tag", marked=True))
    assert probe(path)["stream"] == {"width": 80, "height": 45}
    for name, content in (("a.srt", srt(5.0, "tag")), ("a.ass", ass(5.0, "tag"))):
        path = tmp_path / name
        path.write_bytes(content)
        subprocess.run(["ffprobe", "-v", "error", "-show_streams", str(path)], capture_output=True, check=True)


def test_subtitles_cover_the_length() -> None:
    lines = srt(3661.5, "a").decode().strip().splitlines()
    assert lines[:3] == ["1", "00:00:00,000 --> 00:00:02,000", "a 1"]
    assert lines[-2] == "01:01:00,000 --> 01:01:01,500"
    assert "Dialogue: 0,0:00:02.00,0:00:02.50,Default,,0,0,0,,a 2" in ass(2.5, "a").decode()
    assert srt(0.0).startswith(b"1\n")
