"""Pictures as the service sees them: URL or Base64, JPEG or PNG, large enough, of some ratio.

Place: beside checks. Reads only headers; no picture is ever decoded.
"""

import base64
import binascii
import math
import struct
from typing import Literal

import attrs

from .refusals import invalid

# Shortest allowed side in pixels and widest allowed ratio. Source: service reference, "Rules shared by many endpoints".
MIN_SIDE_PX = 300
WIDEST_RATIO = 2.5

# Largest picture in bytes, per standard. Source: the same.
MAX_BYTES = {"legacy": 10 * 1024 * 1024, "new": 50 * 1024 * 1024}

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Start-of-frame markers: every 0xC0-0xCF but the tables (C4), the extension (C8) and arithmetic conditioning (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@attrs.frozen
class Picture:
    """What could be read: `kind` by magic bytes; width and height in pixels, 0 when unreadable."""

    kind: Literal["png", "jpeg", "unknown"]
    width: int = 0
    height: int = 0

    @property
    def is_usable(self) -> bool:
        """Whether a task made from it gets past the first look.

        Unreadable sizes pass: the emulator knows less than a decoder, and must not fail what the service takes.
        """
        if self.kind == "unknown":
            return False
        if not self.width or not self.height:
            return True
        ratio = self.width / self.height
        return min(self.width, self.height) >= MIN_SIDE_PX and 1 / WIDEST_RATIO <= ratio <= WIDEST_RATIO


def is_url(value: str) -> bool:
    """Whether the value is an address rather than Base64."""
    return value.startswith(("http://", "https://"))


def decode_base64(name: str, value: str, standard: Literal["legacy", "new"]) -> bytes:
    """The bytes of an inline picture.

    Raises:
        Refusal: 1201 for a `data:` prefix on the legacy standard, for text that is not Base64, for too many bytes.
    """
    if value.startswith("data:"):
        # The legacy pages forbid the prefix everywhere; clients of the new standard are seen to send it.
        if standard == "legacy":
            raise invalid(f"{name} is invalid: Base64 must not have a data: prefix")
        value = value.partition(",")[2]
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"{name} is invalid: neither a URL nor Base64") from None
    if not content:
        raise invalid(f"{name} is invalid: empty")
    if len(content) > MAX_BYTES[standard]:
        raise invalid(f"{name} is larger than {MAX_BYTES[standard] >> 20} MB")
    return content


def look(content: bytes) -> Picture:
    """Kind and size of a picture, from its first bytes."""
    if content.startswith(_PNG):
        if len(content) >= 24 and content[12:16] == b"IHDR":
            return Picture("png", *struct.unpack(">II", content[16:24]))
        return Picture("png")
    if content.startswith(_JPEG):
        return Picture("jpeg", *_jpeg_size(content))
    return Picture("unknown")


def _jpeg_size(content: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(content):
        if content[at] != 0xFF:
            break
        marker = content[at + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:
            # A fill byte, or a marker without a body.
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack(">H", content[at + 2 : at + 4])
        at += 2 + length
    return 0, 0


def nearest_ratio(picture: Picture, ratios: tuple[str, ...]) -> str | None:
    """The name among `ratios` ("16:9", ...) nearest to the picture's own, None when its size is unknown."""
    if not picture.width or not picture.height:
        return None
    own = math.log(picture.width / picture.height)

    def distance(name: str) -> float:
        width, _, height = name.partition(":")
        return abs(math.log(int(width) / int(height)) - own)

    return min(ratios, key=distance)
