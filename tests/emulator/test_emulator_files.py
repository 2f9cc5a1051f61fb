"""Results: playable clips, ranges, expiry, watermarks; pictures and their ratios."""

import base64
import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from emulator_tools import I2V, T2V, Caller, jpeg, play, png

from kling_async.emulator.clips import RATIOS, TIMESCALE, boxes, clip, find_box, record
from kling_async.emulator.images import Picture, look, nearest_ratio

STBL = ("moov", "trak", "mdia", "minf", "stbl")


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seconds", [0.01, 0.5, 1, 3, 5.041, 5.1, 30])
def test_clip_tables(ratio: str, seconds: float) -> None:
    """The tables name every frame, once, for exactly the asked time, in bytes that are there."""
    content = clip(ratio, seconds, "tag")
    assert [name for name, _ in boxes(content)] == ["ftyp", "moov", "free", "mdat"]
    (count,) = struct.unpack(">I", find_box(content, *STBL, "stsz")[8:12])
    stts = find_box(content, *STBL, "stts")
    entries = [struct.unpack(">II", stts[at : at + 8]) for at in range(8, len(stts), 8)]
    assert sum(frames for frames, _ in entries) == count
    assert all(ticks > 0 for _, ticks in entries)
    assert sum(frames * ticks for frames, ticks in entries) == round(seconds * TIMESCALE)
    offset = content.index(b"mdat") + 4
    stco = find_box(content, *STBL, "stco")
    assert set(struct.unpack(f">{(len(stco) - 8) // 4}I", stco[8:])) == {offset}
    assert content[offset:] == record(ratio).content
    width, height = map(int, ratio.split(":"))
    assert abs(record(ratio).width / record(ratio).height - width / height) < 0.02


def test_boxes_of_rubbish() -> None:
    assert list(boxes(bytes(20))) == []
    with pytest.raises(KeyError, match="moov/trak"):
        find_box(b"", "moov", "trak")
    assert clip("7:1", 1) == clip("16:9", 1)


@pytest.mark.skipif(not shutil.which("ffprobe") or not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seconds", [3, 5.041, 15.1])
def test_clips_play(tmp_path: Path, ratio: str, seconds: float) -> None:
    """A player finds the asked length and ratio, and decodes every frame without a complaint."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip(ratio, seconds))
    entries = "format=duration:stream=width,height"
    probe = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", str(path)]
    told = json.loads(subprocess.run(probe, capture_output=True, check=True).stdout)
    assert abs(float(told["format"]["duration"]) - seconds) < 0.1
    stream = told["streams"][0]
    width, height = map(int, ratio.split(":"))
    assert abs(stream["width"] / stream["height"] - width / height) < 0.02
    played = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"], capture_output=True, check=True
    )
    assert played.stderr == b""


def test_media_are_small() -> None:
    folder = Path(clip.__globals__["__file__"]).with_name("media")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 150_000


async def made(kling: Caller, path: str = T2V, **body: object) -> dict[str, str]:
    ident = await kling.create(path, **body)
    kling.hand.at += 11
    return dict((await kling.get(f"{path}/{ident}")).data["task_result"]["videos"][0])


def test_files_are_served() -> None:
    """Whole, in parts, by HEAD and by validator; all of it without credentials."""

    async def story(kling: Caller) -> None:
        video = await made(kling, duration="7", aspect_ratio="9:16")
        whole = await kling.get(video["url"], key=None)
        size = len(whole.raw)
        assert whole.status == 200
        assert whole.headers["Content-Type"] == "video/mp4"
        assert whole.headers["Content-Length"] == str(size)
        assert whole.headers["Accept-Ranges"] == "bytes"
        assert find_box(whole.raw, "moov", "trak", "mdia", "mdhd")[16:20] == struct.pack(
            ">I", round(float(video["duration"]) * TIMESCALE)
        )
        etag = whole.headers["ETag"]
        head = await kling.ask("HEAD", video["url"], key=None)
        assert (head.status, head.raw, head.headers["Content-Length"]) == (200, b"", str(size))
        for asked, first, last in (
            ("bytes=0-99", 0, 99),
            ("bytes=100-", 100, size - 1),
            ("bytes=-10", size - 10, size - 1),
            ("bytes=5-999999", 5, size - 1),
        ):
            part = await kling.get(video["url"], key=None, headers={"Range": asked})
            assert part.status == 206
            assert part.raw == whole.raw[first : last + 1]
            assert part.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        for asked in (f"bytes={size}-", "bytes=9-3", "bytes=-0"):
            none = await kling.get(video["url"], key=None, headers={"Range": asked})
            assert (none.status, none.headers["Content-Range"]) == (416, f"bytes */{size}")
        for headers in ({"Range": "bytes=0-1,3-4"}, {"Range": "bytes=-"}, {"Range": "bytes=0-1", "If-Range": '"x"'}):
            assert (await kling.get(video["url"], key=None, headers=headers)).status == 200
        assert (await kling.get(video["url"], headers={"Range": "bytes=0-1", "If-Range": etag})).status == 206
        assert (await kling.get(video["url"], key=None, headers={"If-None-Match": etag})).status == 304
        assert (await kling.ask("POST", video["url"], key=None)).status == 405

    play(story)


def test_leaked_credentials_are_counted() -> None:
    async def story(kling: Caller) -> None:
        video = await made(kling)
        await kling.get(video["url"], key=None)
        assert kling.emulator.leaked_credentials == 0
        assert (await kling.get(video["url"])).status == 200
        assert kling.emulator.leaked_credentials == 1
        assert [request.leaked for request in kling.emulator.requests if request.kind == "asset"] == [False, True]

    play(story)


def test_urls_expire() -> None:
    """After its time a URL answers 403; a query then tells a new one, or does not."""

    async def story(kling: Caller) -> None:
        video = await made(kling)
        again = (await kling.get(f"{T2V}/{kling.emulator.tasks[0].task_id}")).data
        assert again["task_result"]["videos"][0]["url"] == video["url"]
        kling.hand.at = 80
        assert (await kling.get(video["url"], key=None)).status == 403
        fresh = (await kling.get(f"{T2V}/{kling.emulator.tasks[0].task_id}")).data["task_result"]["videos"][0]
        assert (await kling.get(fresh["url"], key=None)).status == 200
        kling.emulator.fresh_urls = False
        stale = (await kling.get(f"{T2V}/{kling.emulator.tasks[0].task_id}")).data["task_result"]["videos"][0]
        assert stale["url"] == video["url"]

    play(story, url_ttl_s=60)


def test_foreign_urls() -> None:
    async def story(kling: Caller) -> None:
        video = await made(kling)
        base = video["url"].partition("?")[0]
        for query in ("", "?expires=x&sig=y", "?expires=9999999999&sig=abc"):
            assert (await kling.get(base + query, key=None)).status == 403
        for name in ("x.mp4", "ff-1-0.mp4", "0-1-0.mp4", ""):
            assert (await kling.get(f"/_emulator/assets/{name}", bare=True)).status == 404
        kling.hand.at = 30 * 86_400
        kling.emulator.url_ttl_s = 1e9
        late = kling.emulator._desk.store.views(kling.emulator._service.tasks[0], 0.0, "", wm=False)[0].url
        assert (await kling.get(late, bare=True)).status == 404

    play(story)


def test_watermark_twin() -> None:
    """The twin exists only when asked for, and is another file."""

    async def story(kling: Caller) -> None:
        plain = await made(kling)
        assert "watermark_url" not in plain
        marked = await made(kling, watermark_info={"enabled": True})
        one = await kling.get(marked["url"], key=None)
        two = await kling.get(marked["watermark_url"], key=None)
        assert (one.status, two.status) == (200, 200)
        assert one.headers["ETag"] != two.headers["ETag"]

    play(story)


@pytest.mark.parametrize(
    ("image", "ratio"),
    [(png(640, 360), "16:9"), (jpeg(360, 640), "9:16"), (png(800, 600), "4:3"), ("https://h/a.png", "16:9")],
)
def test_ratio_follows_the_picture(image: str, ratio: str) -> None:
    async def story(kling: Caller) -> None:
        video = await made(kling, I2V, image=image)
        content = (await kling.get(video["url"], key=None)).raw
        width, height = struct.unpack(">II", find_box(content, "moov", "trak", "tkhd")[76:84])
        assert (width >> 16, height >> 16) == (record(ratio).width, record(ratio).height)

    play(story)


def test_looking_at_pictures() -> None:
    """Sizes are read from headers; what cannot be read is not held against the picture."""
    assert look(base64.b64decode(png(640, 360))) == Picture("png", 640, 360)
    assert look(base64.b64decode(jpeg(360, 640))) == Picture("jpeg", 360, 640)
    assert look(b"\x89PNG\r\n\x1a\nrest") == Picture("png")
    assert look(b"\xff\xd8\xff") == Picture("jpeg")
    assert look(b"\xff\xd8\xff\xe0\x00\x02zz" + bytes(20)) == Picture("jpeg")
    assert look(b"GIF89a") == Picture("unknown")
    assert Picture("png").is_usable
    assert nearest_ratio(Picture("png"), RATIOS) is None
