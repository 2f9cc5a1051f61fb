"""Sounds of any length: a tone as WAV, silence as MP3.

Place: under assets.

Theory: an MP3 file is a row of frames of 24 ms, each of which may stand alone, and a frame whose side information
is all zero decodes to silence. So silence of any length is one frame many times over, and no encoder is needed.
The length of an MP3 is therefore a multiple of 24 ms while a WAV ends at a sample, and the service, too, tells two
lengths.
"""

import hashlib
import io
import math
import struct
import wave

# Samples per second of the WAV; one byte each.
WAV_RATE = 8_000

# MPEG-1 Layer III without checksum, 32 kbit/s at 48 kHz, one channel: 96 bytes for 1152 samples.
_MP3_FRAME = b"\xff\xfb\x14\xc0" + bytes(92)
MP3_FRAME_S = 1152 / 48_000

# Pitches in Hz whose periods are whole numbers of samples, so that one period repeated has no seam.
_PITCHES = (200, 250, 320, 400, 500, 800)


def mp3_seconds(seconds: float) -> float:
    """The true length of the MP3 made for a length: rounded up to whole frames."""
    return _frames(seconds) * MP3_FRAME_S


def mp3(seconds: float, tag: str = "") -> bytes:
    """A playable, silent MP3 file; `tag` is its title, so that two assets differ in their bytes."""
    return _id3(tag) + _MP3_FRAME * _frames(seconds)


def wav(seconds: float, tag: str = "") -> bytes:
    """A playable WAV file: one tone, whose pitch depends on `tag`."""
    digest = hashlib.sha256(tag.encode()).digest()
    period = WAV_RATE // _PITCHES[digest[0] % len(_PITCHES)]
    phase, loudness = digest[1] / 256, 60 + digest[2] / 8
    turn = bytes(128 + round(loudness * math.sin(2 * math.pi * (at / period + phase))) for at in range(period))
    count = max(1, round(seconds * WAV_RATE))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(WAV_RATE)
        sound.writeframes((turn * (count // period + 1))[:count])
    return file.getvalue()


def _frames(seconds: float) -> int:
    # Rounded first: 3.0 / 0.024 is a little more than 125 in floats.
    return max(1, math.ceil(round(seconds / MP3_FRAME_S, 6)))


def _id3(title: str) -> bytes:
    """An ID3v2.3 tag with a title (frame TIT2); sizes are written in seven-bit bytes."""
    words = b"\x00" + title.encode("latin-1", errors="replace")
    frame = b"TIT2" + struct.pack(">I", len(words)) + b"\x00\x00" + words
    size = len(frame)
    seven = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + seven + frame
