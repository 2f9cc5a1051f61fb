"""A real host, recorded and played back: a proxy that writes down what passes, and a server that answers from it.

Place: beside the emulator, and independent of it. Both are used like it: `async with` in the caller's loop, or a plain
`with` from a thread.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from .breakage import reset
from .clock import Clock
from .tape import Exchange, Scrubber, head_line, name_in, nameless, parse, read, renamed
from .thread import OwnLoop

_MOST_BYTES = 96 * 1024 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=300.0, sock_connect=10.0)
# What belongs to one connection, or is the proxy's own business.
_OWN_HEADERS = frozenset(
    {
        *("host", "connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade"),
        *("transfer-encoding", "content-length", "content-encoding", "accept-encoding", "expect"),
    }
)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Lists of tasks are asked for by POST as well; every other POST makes something, once.
_ASKED_BY_POST = ("/tasks", "/solutions")


class _Served:
    """A server on a port of this machine, open within `async with` or `with`."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self._thread: OwnLoop | None = None
        self._url = ""
        self._client = "{url}"

    @property
    def base_url(self) -> str:
        """What a client of this package is given as `base_url`.

        Raises:
            RuntimeError: it is not listening.
        """
        return self._client.replace("{url}", self.url)

    @property
    def url(self) -> str:
        """Scheme, host and port.

        Raises:
            RuntimeError: it is not listening.
        """
        if not self._url:
            raise RuntimeError("It is not started: use `with` or `async with`.")
        return self._url

    async def __aenter__(self) -> Self:
        if self._runner is not None:
            raise RuntimeError("It is already started.")
        application = web.Application(client_max_size=_MOST_BYTES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=2.0)
        try:
            await self._open()
            await self._runner.setup()
            await web.TCPSite(self._runner, self._host, self._port).start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{host}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runner, self._runner, self._url = self._runner, None, ""
        if runner is not None:
            await runner.cleanup()
        await self._close()

    def __enter__(self) -> Self:
        self._thread = OwnLoop(self, "kling recording")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.stop()

    async def _open(self) -> None:
        """Open what it needs beside the port."""

    async def _close(self) -> None:
        """Close that."""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError


class Recorder(_Served):
    """A proxy that hands every request on to a host, and writes down what passed, scrubbed as `tape` says.

    Point a client at `url` in place of the host, with credentials that are good there. It is meant for this machine.

    Args:
        file: JSON Lines, readable by its owner alone; must not be there yet.
        to: scheme and host to hand on to; paths are kept. https, but for this machine itself.
        keep_prompts: write prompts down as they are.
        client: how a client writes the address of such a host: "official:{url}", "{url}/kling".
        host, port: where to listen; port 0 takes a free one.

    Raises:
        ValueError: `to` is not such an address.
        FileExistsError: there is such a file (on opening).
    """

    def __init__(
        self,
        file: str | Path,
        *,
        to: str,
        keep_prompts: bool = False,
        client: str = "{url}",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(host, port)
        self._client = client
        parts = urlsplit(to)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError(f"to={to.partition('?')[0].rpartition('@')[2]!r} must be scheme and host: https://name")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError(f"to={parts.hostname!r} must be https: keys would travel in the clear")
        self._to = f"{parts.scheme}://{parts.netloc}"
        self._file = Path(file)
        self._keep_prompts = keep_prompts
        self._clock = Clock(1.0, None, None)
        self._out: TextIO | None = None
        self._http: aiohttp.ClientSession | None = None
        self.count: int = 0

    def __repr__(self) -> str:
        return f"<Recorder of {self._to} at {self._url or 'not started'} [{self.count} exchanges in {self._file.name}]>"

    async def _open(self) -> None:
        self._clock.start()
        self._out = _create(self._file)
        began = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="seconds")
        head = head_line(self._to, began, keep_prompts=self._keep_prompts, client=self._client)
        self._out.write(head + "\n")
        self._http = aiohttp.ClientSession(
            timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=0)
        )

    async def _close(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()
        out, self._out = self._out, None
        if out is not None:
            out.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert self._http is not None
        at, body = self._clock.elapsed(), await request.read()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _OWN_HEADERS]
        url = URL(self._to + request.raw_path, encoded=True)
        try:
            async with self._http.request(
                request.method, url, headers=headers, data=body or None, allow_redirects=False
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError):
            self._write(request, body, at, None, b"")
            if request.transport is not None:
                reset(request.transport)  # as it was with the host
            return web.Response(status=502)
        self._write(request, body, at, response, answer)
        kept = [(name, value) for name, value in response.headers.items() if name.lower() not in _OWN_HEADERS]
        return web.Response(status=response.status, body=answer, headers=kept)

    def _write(
        self, request: web.Request, body: bytes, at: float, response: aiohttp.ClientResponse | None, answer: bytes
    ) -> None:
        assert self._out is not None
        token = request.headers.get("Authorization", "").partition(" ")[2].strip()
        scrubber = Scrubber(self._keep_prompts, (token,) if token else ())
        content = parse(answer)
        exchange = Exchange(
            at=round(at, 3),
            method=request.method,
            path=scrubber.clean(request.raw_path.partition("?")[0]),
            query=scrubber.pairs(request.query.items()),
            body=scrubber.clean(parse(body)),
            status=None if response is None else response.status,
            content_type="" if response is None else response.content_type,
            retry_after="" if response is None else response.headers.get("Retry-After", ""),
            answer=scrubber.clean(content),
            text=None if content is not None or response is None else _told(scrubber, answer),
        )
        self._out.write(exchange.to_line() + "\n")
        self._out.flush()
        self.count += 1


def _told(scrubber: Scrubber, answer: bytes) -> str:
    """A page as it is kept; of a file only what it was."""
    try:
        return str(scrubber.clean(answer.decode()))
    except UnicodeDecodeError:
        return f"<{len(answer)} bytes, not kept>"


def _create(file: Path) -> TextIO:
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")


class Player(_Served):
    """A server that answers from a recording: by method, path, query and body, each time what came next.

    External ids and callback URLs may differ from the recorded ones: a caller is told its own. The last answer to a
    question is repeated; what makes something is answered as often as it was recorded. Whatever else is asked gets a
    404, and is noted in `unmatched`. No credentials are asked for, and no time passes between two answers.

    Args:
        file: as a Recorder wrote it.
        host, port: where to listen; port 0 takes a free one.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no recording, or damaged.
    """

    def __init__(self, file: str | Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host, port)
        with Path(file).open(encoding="utf-8") as lines:
            head, exchanges = read(lines)
        self.head: dict[str, Any] = head
        self._client = str(self.head.get("client", self._client))
        self._scrubber = Scrubber(keep_prompts=self.head.get("prompts") == "kept")
        self._exchanges: dict[str, list[Exchange]] = defaultdict(list)
        for exchange in exchanges:
            self._exchanges[_key(exchange.method, exchange.path, exchange.query, exchange.body)].append(exchange)
        self._answered: Counter[str] = Counter()
        # External ids: of the caller's to the recorded one, and back.
        self._recorded: dict[str, str] = {}
        self._given: dict[str, str] = {}
        self.unmatched: list[str] = []

    def __repr__(self) -> str:
        counts = f"{self._answered.total()} answers, {len(self.unmatched)} unmatched"
        return f"<Player of {self.head.get('host')} at {self._url or 'not started'} [{counts}]>"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path, body = request.raw_path.partition("?")[0], parse(await request.read())
        names = self._recorded
        key = _key(
            request.method,
            "/".join(names.get(part, part) for part in unquote(path).split("/")),
            [
                (name, ",".join(names.get(part, part) for part in value.split(",")))
                for name, value in self._scrubber.pairs(request.query.items())
            ],
            renamed(self._scrubber.clean(body), names),
        )
        exchange = self._next(key, request.method, path)
        if exchange is None:
            self.unmatched.append(f"{request.method} {request.raw_path}")
            told = f"not in the recording, or not so often: {request.method} {path}"
            return web.json_response({"code": 1203, "message": told, "request_id": "", "data": None}, status=404)
        given, recorded = name_in(body), name_in(exchange.body)
        if given is not None and recorded is not None:
            self._recorded[given], self._given[recorded] = recorded, given
        if exchange.status is None:
            if request.transport is not None:
                reset(request.transport)
            return web.Response(status=502)
        content = exchange.text
        if content is None:
            content = json.dumps(renamed(exchange.answer, self._given), ensure_ascii=False)
        headers = {"Retry-After": exchange.retry_after} if exchange.retry_after else {}
        return web.Response(
            status=exchange.status,
            body=content.encode(),
            content_type=exchange.content_type or "application/octet-stream",
            charset="utf-8",
            headers=headers,
        )

    def _next(self, key: str, method: str, path: str) -> Exchange | None:
        exchanges, number = self._exchanges.get(key, []), self._answered[key]
        is_question = method == "GET" or path.endswith(_ASKED_BY_POST)
        if not exchanges or (number >= len(exchanges) and not is_question):
            return None
        self._answered[key] += 1
        return exchanges[min(number, len(exchanges) - 1)]


def _key(method: str, path: str, query: Iterable[tuple[str, str]], body: Any) -> str:
    return json.dumps([method, unquote(path), sorted(query), nameless(body)], sort_keys=True)
