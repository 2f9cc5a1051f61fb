"""Clips of any length: a small MP4 writer around one recorded second per ratio.

Place: under assets. Ships eight one-second recordings (H.264, 24 frames, each starting with a key frame).

Theory: an MP4 file is a table of samples (`moov`) beside the bytes (`mdat`), and nothing forbids the table to name
the same bytes again. A clip of s seconds is the recorded second once in `mdat`, and a table that plays it
round and round: one chunk per round, all at the same offset, the last one shorter. So every length costs the same
two kilobytes, and no encoder is needed.
"""

import functools
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import attrs

# Ratios with a recording of their own; others are shown as 16:9.
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")

# Ticks per second in the media table; divisible by the 24 frames per second of the recordings and of the service.
TIMESCALE = 24_000
_TICK = 1000
_MOVIE_TIMESCALE = 1000

_IDENTITY = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


@attrs.frozen
class Recording:
    """One recorded second: its codec description, its sample sizes and bytes, its size in pixels."""

    stsd: bytes
    sizes: tuple[int, ...]
    content: bytes
    width: int
    height: int


def clip(ratio: str, seconds: float, tag: str = "") -> bytes:
    """A playable MP4 file.

    Args:
        ratio: one of `RATIOS`; anything else gives 16:9.
        seconds: length of the clip, above 0.
        tag: words put into a `free` box, so that two assets differ in their bytes.
    """
    recording = record(ratio if ratio in RATIOS else "16:9")
    frames = max(1, math.ceil(round(seconds * TIMESCALE) / _TICK))
    ticks = max(1, round(seconds * TIMESCALE))
    free = _box(b"free", tag.encode())
    head = _box(b"ftyp", b"isom\x00\x00\x02\x00isomiso2avc1mp41")
    # The offset does not change the size of the table, so the first pass only measures.
    moov = _movie(recording, frames, ticks, 0)
    offset = len(head) + len(moov) + len(free) + 8
    return head + _movie(recording, frames, ticks, offset) + free + _box(b"mdat", recording.content)


@functools.cache
def record(ratio: str) -> Recording:
    """The recorded second of a ratio, read from the package."""
    name = ratio.replace(":", "x") + ".mp4"
    content = Path(__file__).with_name("media").joinpath(name).read_bytes()
    track = ("moov", "trak", "mdia", "minf", "stbl")
    stsz = find_box(content, *track, "stsz")
    (count,) = struct.unpack(">I", stsz[8:12])
    width, height = struct.unpack(">II", find_box(content, "moov", "trak", "tkhd")[76:84])
    return Recording(
        stsd=find_box(content, *track, "stsd"),
        sizes=struct.unpack(f">{count}I", stsz[12 : 12 + 4 * count]),
        content=find_box(content, "mdat"),
        width=width >> 16,
        height=height >> 16,
    )


def boxes(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and payload of each box on one level."""
    at = 0
    while at + 8 <= len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        if size < 8:
            return
        yield name.decode("latin-1"), content[at + 8 : at + size]
        at += size


def find_box(content: bytes, *path: str) -> bytes:
    """The payload of the first box at a path.

    Raises:
        KeyError: there is none.
    """
    for step in path:
        for name, payload in boxes(content):
            if name == step:
                content = payload
                break
        else:
            raise KeyError("/".join(path))
    return content


def _box(name: bytes, *payloads: bytes) -> bytes:
    payload = b"".join(payloads)
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def _full_box(name: bytes, flags: int, *payloads: bytes) -> bytes:
    return _box(name, struct.pack(">I", flags), *payloads)


def _movie(recording: Recording, frames: int, ticks: int, offset: int) -> bytes:
    duration = round(ticks * _MOVIE_TIMESCALE / TIMESCALE)
    mvhd = _full_box(
        b"mvhd",
        0,
        struct.pack(">4IIH10x", 0, 0, _MOVIE_TIMESCALE, duration, 0x10000, 0x100),
        _IDENTITY,
        struct.pack(">24xI", 2),
    )
    tkhd = _full_box(
        b"tkhd",
        3,
        struct.pack(">5I8x4H", 0, 0, 1, 0, duration, 0, 0, 0, 0),
        _IDENTITY,
        struct.pack(">II", recording.width << 16, recording.height << 16),
    )
    mdhd = _full_box(b"mdhd", 0, struct.pack(">4IHH", 0, 0, TIMESCALE, ticks, 0x55C4, 0))
    hdlr = _full_box(b"hdlr", 0, struct.pack(">I4s12x", 0, b"vide"), b"VideoHandler\x00")
    dinf = _box(b"dinf", _full_box(b"dref", 0, struct.pack(">I", 1), _full_box(b"url ", 1)))
    minf = _box(b"minf", _full_box(b"vmhd", 1, bytes(8)), dinf, _samples(recording, frames, ticks, offset))
    return _box(b"moov", mvhd, _box(b"trak", tkhd, _box(b"mdia", mdhd, hdlr, minf)))


def _samples(recording: Recording, frames: int, ticks: int, offset: int) -> bytes:
    per_round = len(recording.sizes)
    rounds, rest = divmod(frames, per_round)
    chunks = rounds + (1 if rest else 0)
    runs = [(1, per_round)] if rounds else []
    if rest:
        runs.append((chunks, rest))
    sizes = (recording.sizes * chunks)[:frames]
    # The last frame takes what is left, so that the length is exact to a tick and not to a frame.
    times = [(frames - 1, _TICK), (1, ticks - (frames - 1) * _TICK)]
    times = [entry for entry in times if entry[0]]
    return _box(
        b"stbl",
        _box(b"stsd", recording.stsd),
        _full_box(b"stts", 0, struct.pack(">I", len(times)), *(struct.pack(">II", *entry) for entry in times)),
        _full_box(
            b"stss", 0, struct.pack(f">I{chunks}I", chunks, *(1 + number * per_round for number in range(chunks)))
        ),
        _full_box(b"stsc", 0, struct.pack(">I", len(runs)), *(struct.pack(">3I", *run, 1) for run in runs)),
        _full_box(b"stsz", 0, struct.pack(f">II{frames}I", 0, frames, *sizes)),
        _full_box(b"stco", 0, struct.pack(f">I{chunks}I", chunks, *(offset for _ in range(chunks)))),
    )
