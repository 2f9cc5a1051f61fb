"""Masks of a selection: which part of a frame the clicked points mean, as run lengths and as a picture.

Place: under sessions. A mask is the union of a square around each point; both forms of it are valid.
"""

import base64
import itertools
import struct
import zlib
from collections.abc import Sequence
from typing import Any

# Half a side of a point's square, as a share of the frame's shorter side.
_REACH = 0.08


def mask(points: Sequence[tuple[float, float]], width: int, height: int) -> dict[str, Any]:
    """One object's masks for points in [0, 1], as the service tells them.

    The sizes are [height, width]. The run lengths go down the columns, beginning with the background, and are packed
    into text as the COCO tools do.
    """
    reach = max(1, round(min(width, height) * _REACH))
    boxes = []
    for x, y in points:
        left, top = round(x * (width - 1)), round(y * (height - 1))
        boxes.append(
            (max(0, left - reach), min(width, left + reach + 1), max(0, top - reach), min(height, top + reach + 1))
        )
    size = [height, width]
    return {
        "object_id": 0,
        "rle_mask": {"size": size, "counts": packed(runs(boxes, width, height))},
        "png_mask": {"size": size, "base64": base64.b64encode(_png(boxes, width, height)).decode()},
    }


def runs(boxes: Sequence[tuple[int, int, int, int]], width: int, height: int) -> list[int]:
    """Lengths of the runs of a union of boxes (left, right, top, bottom; half open), background first."""
    ends: list[int] = [0]
    for column in range(width):
        covered = sorted((top, bottom) for left, right, top, bottom in boxes if left <= column < right)
        for top, bottom in covered:
            start, stop = column * height + top, column * height + bottom
            if start <= ends[-1] and len(ends) > 1:
                ends[-1] = max(ends[-1], stop)
            else:
                ends += [start, stop]
    ends.append(width * height)
    return [after - before for before, after in itertools.pairwise(ends)]


def packed(lengths: Sequence[int]) -> str:
    """Run lengths as text: from the third on as differences to the last but one, six bits a character."""
    words = bytearray()
    for at, length in enumerate(lengths):
        left = length - lengths[at - 2] if at > 2 else length
        more = True
        while more:
            bits = left & 0x1F
            left >>= 5
            more = left != (-1 if bits & 0x10 else 0)
            words.append((bits | (0x20 if more else 0)) + 48)
    return words.decode()


def _png(boxes: Sequence[tuple[int, int, int, int]], width: int, height: int) -> bytes:
    """A picture of one bit a pixel: white where the mask is."""
    lines: list[bytes] = []
    for row in range(height):
        bits = 0
        for left, right, top, bottom in boxes:
            if top <= row < bottom:
                # The first pixel of a line is its highest bit.
                bits |= ((1 << (right - left)) - 1) << (width - right)
        spare = -width % 8
        lines.append(b"\x00" + (bits << spare).to_bytes((width + spare) // 8, "big"))
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
