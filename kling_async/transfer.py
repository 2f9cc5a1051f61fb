"""One asset as a stream of bytes, however many answers it takes.

Stage: move. Before: download. After: a folder, or a sink. Opens, checks, goes on where an answer broke off, asks once
for a fresh URL, and gives up in words.

Theory: the consumer sees one stream. Behind it a broken answer is gone on with by Range where the server names what it
sends (If-Range); where it does not, the stream ends with `Again`, and the consumer begins anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final

import aiohttp
import attrs
from yarl import URL

from .errors import AuthError, DownloadError, KlingError, SessionError, clean_text
from .models import Asset, AssetKind, Result
from .part_file import HEAD_BYTES, Origin, PartFile

_log = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 256 * 1024
_TRIES: Final = 4
_SLOW_S: Final = 30.0  # waited for, before it is judged whether an answer is too slow
_STALE: Final = frozenset({401, 403, 404, 410})  # how a signed URL says that its time is over
_RANGE: Final = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)(?:/(\d{1,18}|\*))?\Z")

# First bytes of what the service makes, and the ending that fits. An expired link often answers 200 with a page.
_SIGNATURES: Final[tuple[tuple[int, bytes, str], ...]] = (
    (4, b"ftyp", ".mp4"),
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (8, b"WEBP", ".webp"),
    (0, b"GIF8", ".gif"),
    (8, b"WAVE", ".wav"),
    (0, b"ID3", ".mp3"),
    (0, b"\xff\xfb", ".mp3"),
    (0, b"\xff\xf3", ".mp3"),
    (0, b"\xff\xf2", ".mp3"),
)
_DEFAULT_ENDINGS: Final[dict[AssetKind, str]] = {
    "video": ".mp4",
    "image": ".png",
    "cover": ".png",
    "audio": ".mp3",
    "subtitle": ".srt",
}
_TEXT: Final = frozenset(bytes(range(32, 127)) + b"\t\r\n")


class Stale(Exception):
    """The URL does not work any more; a fresh one may."""


class Broken(Exception):
    """The transfer broke; going on where it stopped may help."""


class Again(Exception):
    """It cannot be gone on with: what was taken of it is to be forgotten, and taken again from its beginning."""


@attrs.define(eq=False)
class Source:
    """The URLs of one result, which its files ask to be fresh once, together."""

    result: Result
    _refresh: Callable[[Result], Awaitable[Result | None]]
    _is_asked: bool = False
    _refused: KlingError | None = None
    _turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    async def renew(self, seen: Result) -> bool:
        """Get fresh URLs in place of those of `seen`; False: there are none to be had.

        Raises:
            KlingError: why the host gave none.
        """
        async with self._turn:  # whoever comes second finds them there
            if self.result is not seen:
                return True
            if self._refused is not None:
                raise self._refused.anew()
            if self._is_asked:
                return False
            self._is_asked = True
            try:
                fresh = await self._refresh(seen)
            except KlingError as error:
                self._refused = error.anew()
                raise
            if fresh is None or len(fresh.assets) < len(seen.assets):
                return False
            self.result = fresh
            return True


class Transfer:
    """One file on its way.

    Attributes:
        position: bytes that its consumer has, or is about to get.
        whole: its length, as far as it is known.
        head: its first bytes.
        is_whole: all of it was handed over.
        failure: why it ended early.
        must_restart: it ended early because its consumer has to begin anew.
    """

    def __init__(
        self,
        ask: Callable[[str, dict[str, str]], Awaitable[aiohttp.ClientResponse]],
        source: Source,
        index: int,
        most_bytes: int,
        least_bytes_per_s: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._source = source
        self._result = source.result
        self._index = index
        self._most_bytes = most_bytes
        self._least_bytes_per_s = least_bytes_per_s
        self._clock = asyncio.get_running_loop().time
        self._left = _TRIES
        self._response: aiohttp.ClientResponse | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._ahead = b""
        self._waited_s, self._received = 0.0, 0
        self._place = ""
        self._validator: str | None = None
        self.position: int = 0
        self.whole: int | None = None
        self.head: bytes = b""
        self.is_whole: bool = False
        self.failure: BaseException | None = None
        self.must_restart: bool = False

    @property
    def asset(self) -> Asset:
        """The asset, with the URL that is used now."""
        return self._result.assets[self._index]

    @property
    def shown(self) -> str:
        """The asset in words. Signed URLs are as good as a key: only the host is told."""
        try:
            host = URL(self.asset.url).host
        except ValueError:
            host = None
        return f"{self.asset.kind} at {clean_text(host or 'nowhere', 60)}"

    @property
    def ending(self) -> str:
        """The ending that its first bytes deserve."""
        known = next((ending for at, magic, ending in _SIGNATURES if self.head[at : at + len(magic)] == magic), None)
        if known is None and self.asset.kind == "subtitle" and self.head.removeprefix(b"\xef\xbb\xbf")[:1] == b"[":
            return ".ass"
        return known or _DEFAULT_ENDINGS.get(self.asset.kind, ".bin")

    @property
    def origin(self) -> Origin | None:
        """What a later process has to know to go on; None: the server does not name what it sends."""
        if self._validator is None:
            return None
        return Origin(place=self._place, validator=self._validator, whole=self.whole)

    def go_on(self, part: PartFile) -> None:
        """Begin where an earlier process stopped."""
        if part.origin is not None:
            self.position, self.head, self.whole = part.size, part.head, part.origin.whole
            self._place, self._validator = part.origin.place, part.origin.validator

    async def begin(self) -> None:
        """Have an answer from which bytes come, and know the first ones; `position` says from where on.

        Raises:
            DownloadError: it cannot be had.
            SessionError: the session has ended.
        """
        while self._response is None and not self.is_whole:
            try:
                await self._open()
            except Broken as error:
                await self._pause(error)
            except Stale as error:
                self.close()
                try:
                    is_fresh = await self._source.renew(self._result)
                except SessionError:
                    raise
                except KlingError as why:
                    # A key that is refused is refused for all files, so the caller has to know it by its class.
                    cause = why.anew() if isinstance(why, AuthError) else None
                    raise self._given_up(f"{error}, and there is no fresh one: {why}") from cause
                if not is_fresh:
                    raise self._given_up(error) from None
                self._result = self._source.result

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Hand over the rest, in pieces of at most 256 KiB.

        Raises:
            Again: what was handed over is void.
            DownloadError: it cannot be had.
        """
        try:
            while not self.is_whole:
                before = self.position
                await self.begin()
                if self._response is None:
                    return  # the server says that there was no more
                if self.position != before:
                    self.must_restart = True
                    raise Again
                try:
                    while chunk := await self._read():
                        yield chunk
                except Broken as error:
                    await self._pause(error)
        except Exception as error:
            self.failure = error
            raise
        finally:
            if not self.must_restart:  # else its answer is open at the beginning
                self.close()

    def close(self) -> None:
        """Let go of the connection; one with bytes to come is not used again."""
        if self._response is not None:
            if self.is_whole:
                self._response.release()
            else:
                self._response.close()
            self._response, self._pieces, self._ahead = None, None, b""

    # --- one answer ------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        address = self.asset.url
        if not address:  # of a voice or an element, which lives on at the service
            told = f"the {self.asset.kind} has no file: the service gave no URL for it"
            raise DownloadError(told, retryable=False)
        headers = {"Accept-Encoding": "identity"}
        place = self._place_of(address)
        if self.position and self._validator is not None and place == self._place:
            headers |= {"Range": f"bytes={self.position}-", "If-Range": self._validator}
        self._response = await self._ask(address, headers)
        try:
            self._check(self._response, resumed="Range" in headers)
            self._place = place  # only now are the bytes up to `position` of this one
            if not self.is_whole and not self.position:
                await self._read_head()
        except BaseException:
            self.close()
            raise
        if self.is_whole:
            self.close()

    def _place_of(self, address: str) -> str:
        """Tell a file from others, also when its URL is signed anew, and without keeping the URL."""
        try:
            url = URL(address)
        except ValueError:
            return ""
        told = f"{self._result.task_id}\n{self._index}\n{url.host}{url.raw_path}"
        return hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()

    def _check(self, response: aiohttp.ClientResponse, *, resumed: bool) -> None:
        if response.status in _STALE:
            raise Stale(f"its URL does not work any more (HTTP {response.status})")
        if resumed and response.status in {206, 416}:
            self._check_rest(response)
        elif response.status == 200:
            self.position, self.whole = 0, response.content_length
            self._validator = _validator_of(response)
        elif response.status == 206:
            raise Broken("the server resumed at another place")
        else:
            raise Broken(f"HTTP {response.status}")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            told = f"{self.shown}: it came compressed ({clean_text(encoding, 20)}), which was not asked for"
            raise DownloadError(told, retryable=False)
        if self.whole is not None and self.whole > self._most_bytes:
            told = f"{self.shown}: has {self.whole:,} bytes, at most {self._most_bytes:,} are allowed"
            raise DownloadError(told, retryable=False)

    def _check_rest(self, response: aiohttp.ClientResponse) -> None:
        """See that it is the rest of the very file whose beginning is here; else it is not asked for again."""
        before, self._validator = self._validator, None
        begins, total = _range_of(response)
        if response.status == 416:
            if total is None or total != self.position:
                raise Broken("the server has another file by now")
            self.is_whole = True
        elif begins != self.position:
            raise Broken("the server resumed at another place")
        elif response.headers.get("ETag", before) != before and str(before).startswith('"'):
            raise Broken("the server resumed another version")
        length = response.content_length
        whole = total if length is None or self.is_whole else self.position + length
        if None not in (whole, self.whole) and whole != self.whole:
            self.is_whole = False
            raise Broken("the server resumed another file")
        self.whole = self.whole if whole is None else whole
        self._validator = before

    async def _read_head(self) -> None:
        self.head = b""
        ahead = b""
        while len(ahead) < HEAD_BYTES and (chunk := await self._receive()):
            ahead += chunk
        if not ahead:
            raise Broken("the file is empty")
        self._ahead, self.head = ahead, ahead[:HEAD_BYTES]
        if _is_page(self.head, self.asset.kind):
            raise Stale("a page came instead of a file")

    async def _read(self) -> bytes:
        """Give the next bytes; none: this was the whole file."""
        chunk, self._ahead = self._ahead or await self._receive(), b""
        self.position += len(chunk)
        if self.position > self._most_bytes:
            raise DownloadError(f"{self.shown}: has more than {self._most_bytes:,} bytes", retryable=False)
        if not chunk:
            if self.whole is not None and self.position != self.whole:
                raise Broken(f"{self.position} of {self.whole} bytes arrived")
            self.is_whole = True
        return chunk

    async def _receive(self) -> bytes:
        assert self._response is not None
        if self._pieces is None:
            self._pieces = aiter(self._response.content.iter_chunked(_CHUNK_BYTES))
            self._waited_s, self._received = 0.0, 0
        began = self._clock()
        try:
            chunk = await anext(self._pieces, b"")
        except TimeoutError:
            raise Broken("the transfer stood still") from None
        except aiohttp.ClientError as error:
            raise Broken(f"the transfer broke ({type(error).__name__})") from None
        # Only what the server lets us wait counts, and not what the disk or the store does.
        self._waited_s += self._clock() - began
        self._received += len(chunk)
        if self._waited_s >= _SLOW_S:
            if self._received < self._least_bytes_per_s() * self._waited_s:
                raise Broken(f"the transfer was too slow ({self._received / self._waited_s:,.0f} bytes/s)")
            self._waited_s, self._received = 0.0, 0
        return chunk

    async def _pause(self, error: Broken) -> None:
        self.close()
        self._left -= 1
        if not self._left:
            raise self._given_up(error) from None
        _log.debug("task %s, %s: %s; trying again", self._result.task_id, self.shown, error)
        await asyncio.sleep(0.5 * (_TRIES - self._left))

    def _given_up(self, error: Exception | str) -> DownloadError:
        return DownloadError(f"{self.shown}: {error}")


def _range_of(response: aiohttp.ClientResponse) -> tuple[int | None, int | None]:
    """Read from where on an answer has bytes, and of how many; None: it does not say, or not in a way we believe."""
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    begins, ends, total = match.groups()
    whole = None if total in {None, "*"} else int(total)
    if begins is not None and (int(ends) < int(begins) or (whole is not None and int(ends) != whole - 1)):
        return None, whole
    return None if begins is None else int(begins), whole


def _validator_of(response: aiohttp.ClientResponse) -> str | None:
    """Give the name of this version of the file, if it is one to hold a server to."""
    etag = response.headers.get("ETag", "")
    if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', etag):
        return etag
    dated = response.headers.get("Last-Modified", "")
    return dated if not etag and re.fullmatch(r"[A-Za-z0-9 ,:]{20,40}", dated) else None


def _is_page(head: bytes, kind: AssetKind) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf")
    if text.lstrip()[:1] in {b"<", b"{"}:
        return True
    # No picture, clip or sound begins with a line of plain text: "Link expired".
    return kind in {"video", "image", "cover", "audio"} and len(head) >= HEAD_BYTES and _TEXT.issuperset(text)
