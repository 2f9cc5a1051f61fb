"""A picture for the demonstration, written byte by byte: a sky at dusk over dunes.

Stage: door. Needs nothing but zlib.
"""

from __future__ import annotations

import math
import struct
import zlib

WIDTH, HEIGHT = 640, 360
_HORIZON = 0.62


def dusk() -> bytes:
    """Give the bytes of a PNG of 640 x 360 pixels; the same each time."""
    rows = b"".join(
        b"\0" + bytes(part for x in range(WIDTH) for part in _pixel(x / WIDTH, y / HEIGHT)) for y in range(HEIGHT)
    )
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _pixel(x: float, y: float) -> tuple[int, int, int]:
    ridge = _HORIZON + 0.05 * math.sin(7 * x) + 0.03 * math.sin(17 * x + 1)
    if y > ridge:
        shade = 1 - (y - ridge)
        return round(120 * shade), round(70 * shade), round(60 * shade)
    if math.hypot((x - 0.7) * WIDTH / HEIGHT, y - 0.45) < 0.11:
        return 255, 226, 150
    height = y / _HORIZON
    return round(60 + 180 * height), round(60 + 80 * height), round(110 + 10 * height)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
