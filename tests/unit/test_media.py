"""media.py: local pictures, read and checked by their own bytes at the moment they are sent."""

import base64
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_tools import HOSTS, refused

from kling_async import ImageToVideo, InvalidRequest, OmniVideo, TextToVideo
from kling_async.endpoints import body_of, encode_files, has_files
from kling_async.endpoints.media import encode_picture, picture_size

MOST = 10 * 1024 * 1024


def png(width: int, height: int, pad: int = 0) -> bytes:
    """A whole grey PNG, and `pad` bytes in a private chunk."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\x00" + bytes(width) for _ in range(height)), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    padding = chunk(b"paDd", bytes(pad)) if pad else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + padding + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def jpeg(width: int, height: int, *, frame: int = 0xC0, before: bytes = b"") -> bytes:
    """The head of a JPEG as a decoder reads it, from ITU T.81: SOI, tables, the frame header, and a scan."""
    jfif = segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
    table = segment(0xDB, b"\x00" + bytes(range(1, 65)))
    sof = segment(frame, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00")
    return b"\xff\xd8" + jfif + before + table + sof + segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x00\xff\xd9"


# A thumbnail inside EXIF has a frame header of its own, which is not the picture's.
EXIF = segment(0xE1, b"Exif\x00\x00" + jpeg(160, 120))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(300, 400), (300, 400)),
        (png(1, 1), (1, 1)),
        (jpeg(640, 480), (640, 480)),
        (jpeg(640, 480, frame=0xC2), (640, 480)),  # progressive
        (jpeg(65535, 1, frame=0xC1), (65535, 1)),
        (jpeg(640, 480, frame=0xCF), (640, 480)),
        (jpeg(640, 480, before=EXIF), (640, 480)),
        (jpeg(640, 480, before=segment(0xED, b"Photoshop") + segment(0xFE, b"hi")), (640, 480)),
        (jpeg(640, 480, before=b"\xff\xff\xff" + segment(0xFE, b"fill bytes")), (640, 480)),
        (jpeg(640, 480, before=b"\xff\x01\xff\xd0\xff\xd7"), (640, 480)),
        (jpeg(640, 480, before=segment(0xC4, bytes(20)) + segment(0xCC, bytes(9))), (640, 480)),
        (jpeg(640, 480, before=segment(0xC8, bytes(9))), (640, 480)),
        (jpeg(640, 480)[: jpeg(640, 480).index(b"\xff\xc0") + 9], (640, 480)),
        (jpeg(640, 480)[: jpeg(640, 480).index(b"\xff\xc0") + 8], None),
        (jpeg(640, 480)[:10], None),
        (b"\xff\xd8\xff", None),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100), None),
        (b"\xff\xd8\xff\xe0\x00\x00" + bytes(100), None),
        (b"\xff\xd8" + segment(0xE0, b"x") + b"no marker here", None),
        (png(300, 400)[:24], (300, 400)),
        (png(300, 400)[:23], None),
        (b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x04gAMA" + bytes(20), None),
        (b"GIF89a" + bytes(100), None),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(100), None),
        (b"<svg width='300' height='300'/>", None),
        (b"", None),
    ],
    ids=range(26),
)  # fmt: skip
def test_width_and_height_are_read_from_the_bytes(data: bytes, size: tuple[int, int] | None) -> None:
    assert picture_size(data) == size


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"]))
def test_any_bytes_are_read_or_not_and_nothing_else(data: bytes, head: bytes) -> None:
    size = picture_size(head + data)
    assert size is None or all(0 <= side < 2**32 for side in size)


@given(st.integers(1, 65535), st.integers(1, 65535), st.sampled_from([0xC0, 0xC1, 0xC2]))
def test_every_size_is_read_right(width: int, height: int, frame: int) -> None:
    assert picture_size(jpeg(width, height, frame=frame, before=EXIF)) == (width, height)


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def write(data: bytes, name: str = "a.png") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (png(300, 300), "a.png"),
        (jpeg(300, 300), "a.jpg"),
        (png(300, 750), "a.png"),
        (png(750, 300), "a.png"),
        (jpeg(300, 300), "actually-a-jpeg.png"),  # the service looks at the bytes as well
        (png(300, 300), "no-extension"),
        (png(300, 300, pad=MOST - len(png(300, 300)) - 12), "just-ten-megabytes.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_good_picture_becomes_base64_without_prefix(put: Any, data: bytes, name: str) -> None:
    encoded = encode_picture(put(data, name), "image")
    assert base64.b64decode(encoded, validate=True) == data
    assert not encoded.startswith("data:")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(299, 300), "is 299 x 300 px, each side needs at least 300"),
        (jpeg(300, 299), "is 300 x 299 px, each side needs at least 300"),
        (png(300, 751), "is 300 x 751 px, sides may differ by 2.5 at most"),
        (jpeg(751, 300), "is 751 x 300 px, sides may differ by 2.5 at most"),
        (png(300, 300, pad=MOST - len(png(300, 300)) - 11), "has 10,485,761 bytes, at most 10,485,760 are allowed"),
        (jpeg(0, 300), "is not a JPG or PNG, whatever its name says"),
        (b"GIF89a", "is not a JPG or PNG, whatever its name says"),
        (b"", "is not a JPG or PNG, whatever its name says"),
        (jpeg(640, 480)[:30], "is not a JPG or PNG, whatever its name says"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_picture_is_refused_before_it_is_sent(put: Any, data: bytes, words: str) -> None:
    path = put(data)
    error = refused(lambda: encode_picture(path, "image_list[2].image_url"), "image_list[2].image_url", words)
    assert str(path)[:40] in error.value


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    refused(lambda: encode_picture(tmp_path / "missing.png", "image"), "image", "cannot be read: No such file")
    refused(lambda: encode_picture(tmp_path, "image"), "image", "is not a file")
    refused(lambda: encode_picture(Path("nul\x00l.png"), "image"), "image", "embedded null")
    refused(lambda: encode_picture(tmp_path / ("x" * 300), "image"), "image", "cannot be read: File name too long")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(lambda: encode_picture(tmp_path / "loop", "image"), "image", "cannot be read:")
    with pytest.raises(InvalidRequest) as caught:
        encode_picture(tmp_path / "missing.png", "image")
    assert caught.value.__cause__ is None


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: encode_picture(tmp_path / "pipe", "image"), "image", "is not a file")
    refused(lambda: encode_picture(Path("/dev/zero"), "image"), "image", "is not a file")


def test_a_mask_follows_its_picture_and_has_no_limits_of_its_own(put: Any) -> None:
    path = put(png(16, 900))
    assert encode_picture(path, "static_mask", bounded=False)
    refused(lambda: encode_picture(path, "static_mask"), "static_mask", "each side")
    refused(lambda: encode_picture(put(b"GIF89a", "b"), "static_mask", bounded=False), "static_mask", "JPG or PNG")


def test_a_mask_of_a_field_of_tomorrow_is_a_mask_too(put: Any) -> None:
    small = put(png(16, 16))
    request = TextToVideo(prompt="x", extra={"brushes": [{"mask": small, "speed": 3}]})
    encoded = encode_files(body_of(request, HOSTS["official"]), request)
    assert encoded["brushes"] == [{"mask": plain(small), "speed": 3}]


# --- whole bodies ----------------------------------------------------------------------------------------------------


def plain(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_every_path_in_a_picture_clip_is_encoded_in_its_place(put: Any) -> None:
    image: Path
    mask: Path
    other: Path
    image, mask, other = put(png(300, 400), "i.png"), put(png(16, 16), "m.png"), put(jpeg(20, 20), "n.jpg")
    points = [{"x": 0, "y": 0}, {"x": 5, "y": 5}]
    request = ImageToVideo(
        image=image,
        prompt="x",
        static_mask=mask,
        dynamic_masks=[
            {"mask": mask, "trajectories": points},
            {"mask": "https://host.example/m.png", "trajectories": points},
            {"mask": other, "trajectories": points},
        ],
        extra={"depth_map": {"front": image}, "list": [image, 5, None]},
    )
    assert has_files(request)
    body = body_of(request, HOSTS["official"])
    assert body["image"] == image
    encoded = encode_files(body, request)
    assert json.loads(json.dumps(encoded)) == {
        "image": plain(image),
        "prompt": "x",
        "static_mask": plain(mask),
        "dynamic_masks": [
            {"mask": plain(mask), "trajectories": points},
            {"mask": "https://host.example/m.png", "trajectories": points},
            {"mask": plain(other), "trajectories": points},
        ],
        "depth_map": {"front": plain(image)},
        "list": [plain(image), 5, None],
    }
    assert body["image"] == image


def test_every_path_in_an_omni_clip_is_encoded_in_its_place(put: Any) -> None:
    first = put(png(300, 300), "1.png")
    request = OmniVideo(
        prompt="x",
        image_list=[{"image_url": first, "type": "first_frame"}, {"image_url": "https://host.example/b.png"}],
    )
    assert has_files(request)
    assert encode_files(body_of(request, HOSTS["official"]), request) == {
        "prompt": "x",
        "image_list": [{"image_url": plain(first), "type": "first_frame"}, {"image_url": "https://host.example/b.png"}],
    }


@pytest.mark.parametrize(
    ("fields", "blamed"),
    [
        ({"image": "small"}, "image"),
        ({"image_tail": "small"}, "image_tail"),
        ({"image": "https://h/a.png", "static_mask": "broken"}, "static_mask"),
        ({"image": "https://h/a.png", "dynamic_masks": "broken"}, "dynamic_masks[0].mask"),
    ],
)
def test_a_bad_file_is_blamed_by_its_dotted_path(put: Any, fields: dict[str, Any], blamed: str) -> None:
    files = {"small": put(png(16, 16), "small"), "broken": put(b"x", "broken")}
    points = [{"x": 0, "y": 0}, {"x": 5, "y": 5}]
    fields = {name: files.get(value, value) for name, value in fields.items()}
    if "dynamic_masks" in fields:
        fields["dynamic_masks"] = [{"mask": fields["dynamic_masks"], "trajectories": points}]
    request = ImageToVideo(**fields)
    refused(lambda: encode_files(body_of(request, HOSTS["official"]), request), blamed)


def test_a_bad_file_in_a_list_is_blamed_by_its_dotted_path(put: Any) -> None:
    request = OmniVideo(prompt="x", image_list=[{"image_url": "https://h/a"}, {"image_url": put(png(16, 16))}])
    refused(lambda: encode_files(body_of(request, HOSTS["official"]), request), "image_list[1].image_url", "each side")
    extra = TextToVideo(prompt="x", extra={"new": {"deep": [put(png(16, 16))]}})
    assert has_files(extra)
    refused(lambda: encode_files(body_of(extra, HOSTS["official"]), extra), "new.deep[0]", "each side")


def test_files_are_read_when_sent_and_not_before(put: Any) -> None:
    """A queue of 10,000 jobs must not hold 10,000 pictures."""
    path = put(b"not yet a picture")
    request = ImageToVideo(image=path, prompt="x")
    body = body_of(request, HOSTS["official"])
    path.write_bytes(png(300, 300))
    assert encode_files(body, request)["image"] == plain(path)


@pytest.mark.parametrize(
    "request_",
    [
        TextToVideo(prompt="x", extra={"a": "b", "c": [1, {"d": b"e"}]}),
        ImageToVideo(image="https://h/a.png", prompt="x"),
        OmniVideo(prompt="x", image_list=[{"image_url": "https://h/a.png"}]),
    ],
    ids=lambda request_: type(request_).__name__,
)
def test_a_request_without_files_says_so(request_: Any) -> None:
    assert not has_files(request_)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (None, False),
        ("clip.png", False),
        (b"bytes", False),
        (bytearray(b"bytes"), False),
        (Path("a.png"), True),
        ({"a": [{"b": Path("a.png")}]}, True),
        ([1, (2, "x")], False),
        (TextToVideo(prompt="a"), False),
        (TextToVideo(prompt="a", extra={"mask": Path("m.png")}), True),
        (ImageToVideo(image=Path("a.png")), True),
        (ImageToVideo(image="https://a.example/b.png"), False),
        (object(), False),
    ],
)
def test_a_file_is_found_wherever_a_request_holds_it(value: object, named: object) -> None:
    assert has_files(value) is named
