"""Pictures of any ratio: a small PNG writer.

Place: under assets. A picture is a few dozen pixels wide, of exactly the asked ratio, in colours that depend on its
tag, so that two assets differ to the eye and to a hash.
"""

import hashlib
import re
import struct
import zlib
from fractions import Fraction

# How much larger a side is, by the class of the resolution. The true files are so many thousand pixels wide.
SCALES = {"1k": 1, "2k": 2, "4k": 4}

# Pixels of the longer side in class 1k, at most; ratios of large numbers are shown by the nearest smaller ones.
_LONG_SIDE_PX = 84
_RATIO = re.compile(r"([1-9]\d{0,5}):([1-9]\d{0,5})")
_BAND_PX = 4


def is_ratio(words: str) -> bool:
    """Whether the words are a ratio, like "16:9" or "1000:640"."""
    return _RATIO.fullmatch(words) is not None


def size_of(ratio: str, resolution: str = "1k") -> tuple[int, int]:
    """Width and height in pixels of the picture made for a ratio and a class; rubbish counts as 1:1 and 1k."""
    match = _RATIO.fullmatch(ratio)
    exact = Fraction(int(match[1]), int(match[2])) if match else Fraction(1)
    inverse = exact < 1
    shape = min((1 / exact if inverse else exact).limit_denominator(40), Fraction(_LONG_SIDE_PX))
    times = max(1, _LONG_SIDE_PX // shape.numerator) * SCALES.get(resolution, 1)
    long, short = shape.numerator * times, shape.denominator * times
    return (short, long) if inverse else (long, short)


def png(width: int, height: int, tag: str = "", *, marked: bool = False) -> bytes:
    """A valid PNG (8-bit RGB): a gradient in the colours of `tag`; `marked` paints a white band, the watermark."""
    digest = hashlib.sha256(tag.encode()).digest()
    top, bottom = digest[:3], digest[3:6]
    lines = bytearray()
    for y in range(height):
        share = y / max(1, height - 1)
        pixel = bytes(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        if marked and y >= height - _BAND_PX:
            pixel = b"\xff\xff\xff"
        # Each line begins with the number of its filter; 0 is none.
        lines += b"\x00" + pixel * width
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"tEXt", b"Comment\x00" + tag.encode("latin-1", errors="replace")),
            _chunk(b"IDAT", zlib.compress(bytes(lines), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
