"""Local pictures and sounds: checked by their own bytes and encoded at the moment they are sent.

Stage: registry and wire. After: the request's body. Before: transport. A queue of 10,000 jobs must not hold 10,000
pictures, so requests keep the Path and this is called, off the event loop, when a job has its slot.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import InvalidRequest

# Source: service reference, "Image to Video": at most 10 MB, each side at least 300 px, 1:2.5 to 2.5:1.
_MOST_BYTES = 10 * 1024 * 1024
_MOST_LARGE_BYTES = 50 * 1024 * 1024  # source: service reference, new-standard "Image to Video"
_MOST_SOUND_BYTES = 5 * 1024 * 1024  # source: service reference, "Avatar"
_LEAST_SIDE_PX = 300
_MOST_RATIO = 2.5

_PNG = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers that carry the picture's size; C4, C8 and CC are tables, not frames.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Read width and height in pixels from the bytes of a PNG or JPEG; None when they are neither."""
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte before a marker
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        elif marker in _JPEG_FRAMES:
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def encode_picture(
    path: Path, field: str, *, bounded: bool = True, most_bytes: int = _MOST_BYTES, sha256: str | None = None
) -> str:
    """Read, check and encode one local picture; blocks on the disk.

    Args:
        path: the file.
        field: name to blame in an error.
        bounded: hold it to the limits on sides and ratio (a mask follows its picture instead).
        most_bytes: largest size of the file.
        sha256: in hex, what it was when its job was recorded.

    Returns:
        Base64 without a `data:` prefix.

    Raises:
        InvalidRequest: not readable, too large, not a JPG or PNG by its own bytes, out of bounds, or changed since.
    """
    data = _read(path, field, most_bytes, sha256)
    sides = picture_size(data)
    if sides is None or not all(sides):
        raise InvalidRequest(field, str(path), "is not a JPG or PNG, whatever its name says")
    width, height = sides
    if bounded and min(sides) < _LEAST_SIDE_PX:
        raise InvalidRequest(field, str(path), f"is {width} x {height} px, each side needs at least {_LEAST_SIDE_PX}")
    if bounded and max(sides) > _MOST_RATIO * min(sides):
        raise InvalidRequest(field, str(path), f"is {width} x {height} px, sides may differ by {_MOST_RATIO} at most")
    return base64.b64encode(data).decode("ascii")


def encode_sound(path: Path, field: str, *, sha256: str | None = None) -> str:
    """Read, check and encode one local sound file; blocks on the disk.

    Returns:
        Base64 without a `data:` prefix.

    Raises:
        InvalidRequest: not readable, too large, not MP3, WAV, M4A or AAC by its own bytes, or changed since `sha256`.
    """
    data = _read(path, field, _MOST_SOUND_BYTES, sha256)
    if not _is_sound(data):
        raise InvalidRequest(field, str(path), "is not MP3, WAV, M4A or AAC, whatever its name says")
    return base64.b64encode(data).decode("ascii")


def _is_sound(data: bytes) -> bool:
    mpeg = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0  # a frame of MP3 or AAC
    wave = data.startswith(b"RIFF") and data[8:12] == b"WAVE"
    return mpeg or wave or data.startswith(b"ID3") or data[4:8] == b"ftyp"


def _read(path: Path, field: str, most_bytes: int, sha256: str | None) -> bytes:
    try:
        found = path.stat()
        # A pipe or a device may never end.
        data = path.read_bytes() if stat.S_ISREG(found.st_mode) and found.st_size <= most_bytes else None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else None
        raise InvalidRequest(field, str(path), f"cannot be read: {reason or error}") from None
    if data is None:
        large = f"has {found.st_size:,} bytes, at most {most_bytes:,} are allowed"
        raise InvalidRequest(field, str(path), large if stat.S_ISREG(found.st_mode) else "is not a file")
    # The bytes that will be sent, and not the file once more: it may be changed at any moment.
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise InvalidRequest(field, str(path), "has changed since its job was recorded: restore it, or begin a new job")
    return data


def has_files(request: object) -> bool:
    """Tell whether a request names local files, so that its body has to be made off the loop."""
    kind: Any = type(request)
    if kind in _PLAIN:
        return False
    if isinstance(request, Path):
        return True
    names = _names_of(kind)
    if names is not None:
        # Most fields hold nothing or a plain value, and are passed over without a call.
        return any(has_files(value) for name in names if type(value := getattr(request, name)) not in _PLAIN)
    if isinstance(request, Mapping):
        return any(map(has_files, request.values()))
    return isinstance(request, Sequence) and not isinstance(request, bytearray) and any(map(has_files, request))


_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})


@functools.cache
def _names_of(kind: type) -> tuple[str, ...] | None:
    return tuple(field.name for field in attrs.fields(kind)) if attrs.has(kind) else None


def encode_files(
    body: Mapping[str, object], request: Any, recorded: Mapping[str, str] | None = None
) -> dict[str, object]:
    """Replace every Path in a body by the file's content; blocks on the disk.

    Args:
        body: as `body_of` gives it.
        request: what it was made from: its fields say what a file is for.
        recorded: path → sha256 in hex, of files that must be what they were when their job was recorded.

    Raises:
        InvalidRequest: as `encode_picture`.
    """
    hashes = recorded or {}
    return {
        name: _encoded(value, name, getattr(request, name, None), _use(request, name, "image"), hashes)
        for name, value in body.items()
    }


def _use(owner: Any, name: str, otherwise: str) -> str:
    """Tell what a file at this place is for: its field says so, and for a field nobody knows its name or place."""
    field = attrs.fields_dict(type(owner)).get(name) if attrs.has(type(owner)) else None
    if field is None:
        return "mask" if name == "mask" else otherwise
    return str(field.metadata.get("media", otherwise))


def _encoded(value: object, name: str, given: Any, use: str, hashes: Mapping[str, str]) -> object:
    """Encode what a body holds; `given` is the request's own value at this place."""
    if isinstance(value, Path):
        if use == "audio":
            return encode_sound(value, name, sha256=hashes.get(str(value)))
        most_bytes = _MOST_LARGE_BYTES if use == "large image" else _MOST_BYTES
        sha256 = hashes.get(str(value))
        return encode_picture(value, name, bounded=use != "mask", most_bytes=most_bytes, sha256=sha256)
    if isinstance(value, Mapping):
        return {
            key: _encoded(item, f"{name}.{key}", getattr(given, key, None), _use(given, key, use), hashes)
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        owners = given if isinstance(given, Sequence) and len(given) == len(value) else [None] * len(value)
        return [
            _encoded(item, f"{name}[{index}]", owner, use, hashes)
            for index, (item, owner) in enumerate(zip(value, owners, strict=True))
        ]
    return value
