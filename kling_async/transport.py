"""One request out, one decoded envelope back: the only place that touches aiohttp for the API.

Stage: move. Before: submitter (bodies) and poller (queries). After: wire (envelopes).

Whatever aiohttp raises is sorted here, once, into this package's exceptions. aiohttp's own are never raised on or
chained, because their repr shows the Authorization header and their text the URL with its query.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import attrs
from yarl import URL

from ._version import __version__
from .auth import Credentials, Secret
from .dialects import Host
from .endpoints import Endpoint, find_endpoint
from .errors import (
    AuthError,
    BadEnvelope,
    ConfigError,
    ConnectFailed,
    KlingError,
    ServiceError,
    service_error,
)
from .events import JOB_SENT, Hub, RequestEvent
from .sweep import Batch, CursorPage, ListPage, Query, Single
from .translate import ended, translate
from .wire import Envelope, ids_of, open_envelope, parse_json

_log = logging.getLogger(__name__)

_MOST_BYTES: Final = 8 * 1024 * 1024  # after decompression; a page of 500 rows has about 0.2 MB
_MOST_HEADER_BYTES: Final = 8190  # of one line, and of one header; also where a borrowed session takes more
_CHUNK_BYTES: Final = 64 * 1024
_MOST_AT_ONCE: Final = 512 * 1024
# A create may carry 13 MB of Base64 over a slow line; the reading side starts to count when it is written.
_SUBMIT_TIMEOUT: Final = aiohttp.ClientTimeout(total=300, sock_connect=10, sock_read=60)
_QUERY_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=15)
# Shorter than any server keeps an idle connection: a POST on one that is just being closed has an unknown outcome.
_SUBMIT_KEEPALIVE_S: Final = 10.0
_USER_AGENT: Final = f"kling_async/{__version__}"
_SKEWED: Final = frozenset({1003, 1004})  # not yet valid, expired: a new token with a corrected clock may do


def _always() -> bool:
    return True


@attrs.define
class _Trace:
    """Whether a request has begun to leave; None where nobody can tell, since the HTTP session is the user's.

    `may_send` is asked last, before the first byte.
    """

    sent: bool | None
    may_send: Callable[[], bool] = _always


class _Body(aiohttp.BytesPayload):
    """A body that asks once more: aiohttp writes it, and the headers with it, a turn of the loop after its hook."""

    may_send: Callable[[], bool] = staticmethod(_always)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        """Write headers and body, or nothing."""
        if not self.may_send():
            raise _Refrained
        await super().write_with_length(writer, content_length)


class _Refrained(Exception):
    """A request that was not begun, because it might be somebody else's by now."""


@attrs.define
class _Raw:
    """An answer before it is opened."""

    status: int
    body: bytes
    retry_in_s: float | None
    date: str | None


class Transport:
    """The HTTP side of a session: two connection pools, one for submissions and one for questions."""

    def __init__(
        self,
        host: Host,
        credentials: Credentials,
        *,
        wall: Callable[[], float],
        http: aiohttp.ClientSession | None = None,
        max_submissions: int = 50,
        max_queries: int = 6,
        hub: Hub | None = None,
    ) -> None:
        if getattr(http, "auth", None) is not None:
            raise ConfigError("http= has credentials of its own (auth=): they would be sent in place of the key")
        self.host = host
        self._hub = hub
        self._credentials = credentials
        self._former: tuple[Secret, ...] = ()
        self._wall = wall
        self._borrowed = http
        self._sizes = (max_submissions, max_queries)
        self._submits: aiohttp.ClientSession | None = http
        self._reads: aiohttp.ClientSession | None = http

    def __repr__(self) -> str:
        return f"<Transport [{self.host.name} | {'open' if self._submits is not None else 'closed'}]>"

    @property
    def credentials(self) -> Credentials:
        """What the next request is signed with."""
        return self._credentials

    @credentials.setter
    def credentials(self, credentials: Credentials) -> None:
        self._former += self._credentials.secrets  # the old ones stay secret
        self._credentials = credentials

    async def open(self) -> None:
        """Make the connection pools; a session that was passed in is used as it is."""
        if self._borrowed is None:
            self._submits = _make_session(self._sizes[0], _SUBMIT_KEEPALIVE_S)
            self._reads = _make_session(self._sizes[1], 30.0)

    async def close(self) -> None:
        """Close what was made here; a borrowed session stays open."""
        if self._borrowed is None:
            for session in (self._submits, self._reads):
                if session is not None:
                    await session.close()
        self._submits = self._reads = None

    async def submit(
        self, path: str, body: bytes, may_send: Callable[[], bool] = _always, hidden: tuple[Secret, ...] = ()
    ) -> Envelope:
        """Send the one POST that turns a job into a task; never sent twice by itself, never redirected.

        Args:
            path: of the endpoint.
            body: the request as JSON.
            may_send: asked when there is a connection, just before the first byte: connecting takes its time, and the
                process may stand still in it. Not asked where the HTTP session is the user's.
            hidden: what is secret in the body, and is taken out of an answer that repeats it.

        Raises:
            ConnectFailed: nothing was sent.
            TransportError: something was, and no usable answer came.
            ServiceError: refused.
        """
        url = self.host.path(path)
        return await self._call(self._submits, "POST", url, body, _SUBMIT_TIMEOUT, may_send=may_send, hidden=hidden)

    async def call(self, row: Endpoint, fields: Mapping[str, object], body: bytes) -> Envelope:
        """Send a call that makes no task; never sent twice by itself, since some are charged.

        Args:
            row: the endpoint.
            fields: what a GET puts into its query string.
            body: what a POST sends.

        Raises:
            TransportError: no usable answer.
            ServiceError: refused.
        """
        if row.method == "GET":
            query = urlencode({name: str(value) for name, value in fields.items()})
            url = self.host.path(f"{row.path}?{query}" if query else row.path)
            return await self._call(self._reads, "GET", url, None, _QUERY_TIMEOUT, is_call=True)
        return await self._call(self._submits, "POST", self.host.path(row.path), body, _SUBMIT_TIMEOUT, is_call=True)

    async def ask(self, query: Query | CursorPage) -> Envelope:
        """Send one status query.

        Raises:
            TransportError: no usable answer.
            ServiceError: refused.
        """
        if isinstance(query, CursorPage):
            body = json.dumps(query.fields, separators=(",", ":")).encode()
            return await self._call(self._reads, "POST", self.host.path(query.path), body, _QUERY_TIMEOUT)
        envelope = await self._call(self._reads, "GET", self._url_of(query), None, _QUERY_TIMEOUT)
        if isinstance(query, Single) and len(envelope.rows) > 1:
            # Rows are matched by id, never by position. Source: service reference, "Batch by ids".
            mine = tuple(row for row in envelope.rows if query.id in ids_of(row))
            if mine or not query.external:  # an external id may be left out of a row, which is no absence
                envelope = attrs.evolve(envelope, rows=mine)
        return envelope

    def _url_of(self, query: Query) -> URL:
        if isinstance(query, ListPage):
            path = find_endpoint(query.endpoint).path
            return self.host.path(f"{path}?pageNum={query.index}&pageSize={query.size}")
        if isinstance(query, Batch):
            solutions = any(find_endpoint(name).standard == "solutions" for name in query.endpoints)
            return self._url_of_ids("/solutions" if solutions else "/tasks", query.ids, external=query.external)
        row = find_endpoint(query.endpoint)
        if row.standard == "solutions":
            return self._url_of_ids("/solutions", (query.id,), external=query.external)
        if row.standard == "new" and self.host.new_single == "tasks":
            return self._url_of_ids("/tasks", (query.id,), external=query.external)
        return self.host.path(f"{row.path}/{quote(query.id, safe='')}")

    def _url_of_ids(self, path: str, ids: Iterable[str], *, external: bool) -> URL:
        name = "external_task_ids" if external else "task_ids"
        return self.host.path(f"{path}?{name}={','.join(quote(id_, safe='') for id_ in ids)}")

    async def _call(
        self,
        session: aiohttp.ClientSession | None,
        method: str,
        url: URL,
        body: bytes | None,
        timeout: aiohttp.ClientTimeout,
        *,
        is_call: bool = False,
        may_send: Callable[[], bool] = _always,
        hidden: tuple[Secret, ...] = (),
    ) -> Envelope:
        credentials = self._credentials
        is_renewed = False
        while True:
            began = asyncio.get_running_loop().time()
            raw = await self._exchange(session, method, url, body, timeout, may_send)
            if self._hub is not None and self._hub.is_heard:
                self._hub.tell(_event(self._hub, method, url, raw, began, is_call=is_call))
            if isinstance(raw, KlingError):
                raise raw
            if hidden:
                raw = attrs.evolve(raw, body=_scrubbed(raw.body, hidden))
            try:
                return _open(raw, is_call=is_call)
            except ServiceError as error:
                again = isinstance(error, AuthError) and error.code in _SKEWED and not is_renewed
                if not again or not credentials.renew():
                    raise _without_secrets(error, (*credentials.secrets, *self._former, *hidden)) from None
                self._learn_clock(raw.date)
                _log.info("token refused as %s: signing a new one", error.code)
                is_renewed = True

    def _learn_clock(self, date: str | None) -> None:
        server = _parse_date(date)
        if server is not None:
            self._credentials.notice_server_time(server.timestamp(), self._wall())

    async def _exchange(
        self,
        session: aiohttp.ClientSession | None,
        method: str,
        url: URL,
        body: bytes | None,
        timeout: aiohttp.ClientTimeout,
        may_send: Callable[[], bool],
    ) -> _Raw | KlingError:
        """Send and read; trouble is returned, not raised, so that no frame with the token stays in a traceback."""
        if session is None or session.closed:
            return ConnectFailed("the connection pool is closed", retryable=False)
        context = _Trace(None if self._borrowed is not None else False, may_send)
        try:
            return await self._fetch(session, method, url, body, timeout, context)
        except asyncio.CancelledError:
            # Raised anew below, without the frames that hold the header, if it is a cancellation of ours; aiohttp also
            # cancels who waits for a connection when somebody closes its session.
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                return ended(self.host, sent=context.sent)
        except _Refrained:
            return ConnectFailed(f"nothing was sent to {self.host.name}: this process stood still while it connected")
        except Exception as error:  # noqa: BLE001 - the seam: nothing foreign leaves this function
            return translate(error, self.host, sent=context.sent)
        raise asyncio.CancelledError

    async def _fetch(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        body: bytes | None,
        timeout: aiohttp.ClientTimeout,
        context: _Trace,
    ) -> _Raw | KlingError:
        headers = {
            "Authorization": f"Bearer {self._credentials.bearer(self._wall()).reveal()}",
            "User-Agent": _USER_AGENT,
            "Accept": "application/json",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        data: Any = body
        if body is not None and len(body) > _MOST_AT_ONCE:
            # A stream where it is large: such bytes would be written in one go, and aiohttp warns of that.
            data = io.BytesIO(body)
        elif body is not None:
            data = _Body(body)
            data.may_send = context.may_send
        async with session.request(
            method,
            url,
            data=data,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            # What a borrowed session may have chosen otherwise: a refusal has to be read, whatever its status.
            raise_for_status=False,
            auto_decompress=True,
            max_line_size=_MOST_HEADER_BYTES,
            max_field_size=_MOST_HEADER_BYTES,
            trace_request_ctx=context,
        ) as response:
            data = await _read_capped(response)
            if data is None:
                return BadEnvelope(f"the answer has more than {_MOST_BYTES} bytes", http_status=response.status)
            data = _scrubbed(data, (*self._credentials.secrets, *self._former))
            wish_s = self._wish_s(response.headers.get("Retry-After"))
            return _Raw(response.status, data, wish_s, response.headers.get("Date"))

    def _wish_s(self, value: str | None) -> float | None:
        if value is None:
            return None
        if value.strip().isdecimal() and len(value) < 10:
            return float(value)
        moment = _parse_date(value)
        return None if moment is None else max(0.0, moment.timestamp() - self._wall())


def _event(hub: Hub, method: str, url: URL, raw: _Raw | KlingError, began: float, *, is_call: bool) -> RequestEvent:
    job_id = None if is_call else JOB_SENT.get()
    is_answer = isinstance(raw, _Raw)
    return RequestEvent(
        at=hub.now(),
        purpose="call" if is_call else "query" if job_id is None else "submit",
        method=method,
        url=str(url.with_query(None)),
        http_status=raw.status if isinstance(raw, _Raw) else getattr(raw, "http_status", None),
        duration_s=asyncio.get_running_loop().time() - began,
        error=None if is_answer else type(raw).__name__,
        job_id=job_id,
    )


def _make_session(limit: int, keepalive_s: float) -> aiohttp.ClientSession:
    trace = aiohttp.TraceConfig()

    async def on_headers_sent(_session: object, context: SimpleNamespace, _params: object) -> None:
        # Told before the first byte is written: what was not told of has surely not left.
        if not context.trace_request_ctx.may_send():
            raise _Refrained
        context.trace_request_ctx.sent = True

    trace.on_request_headers_sent.append(on_headers_sent)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, keepalive_timeout=keepalive_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace],
        trust_env=False,
    )


def _scrubbed(data: bytes, secrets: Iterable[Secret]) -> bytes:
    """Take the credentials out of an answer, also where they are written with JSON's escapes."""
    if b"\\" in data:
        with contextlib.suppress(BadEnvelope, ValueError, RecursionError):
            data = json.dumps(parse_json(data), ensure_ascii=False).encode("utf-8", "replace")
    for secret in secrets:
        data = secret.scrub(data)
    return data


def _without_secrets(error: ServiceError, secrets: Iterable[Secret]) -> ServiceError:
    """Take the credentials out of a refusal's words: a gateway may quote an answer within a text of its own."""
    for secret in secrets:
        value = secret.reveal()
        if value and value in str(error):
            error.message = error.message.replace(value, "***")
            error.args = tuple(part.replace(value, "***") if isinstance(part, str) else part for part in error.args)
    return error


async def _read_capped(response: aiohttp.ClientResponse) -> bytes | None:
    # Counted after decompression, chunk by chunk: a small compressed answer can unfold to gigabytes.
    chunks, size = [], 0
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > _MOST_BYTES:
            return None
    return b"".join(chunks)


def _open(raw: _Raw, *, is_call: bool) -> Envelope:
    if 300 <= raw.status < 400:
        raise BadEnvelope(f"a redirect (HTTP {raw.status}), which is never followed", http_status=raw.status)
    try:
        payload = parse_json(raw.body)
    except BadEnvelope as error:
        if raw.status == 429 and raw.body.lstrip()[:1] not in {b"{", b"["}:  # whatever page comes with it
            raise service_error(None, "too many requests", 429, retry_in_s=raw.retry_in_s) from None
        error.http_status = raw.status
        raise
    return open_envelope(payload, raw.status, raw.retry_in_s, is_call=is_call)


def _parse_date(value: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError, TypeError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
