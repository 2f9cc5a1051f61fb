"""Breaking an answer: what a planned fault does to the connection.

Place: after the plan has picked a fault. Works on plain TCP, on Unix sockets and on in-memory transports; faults
act on the transport itself, so that the client meets what a broken network would give it.
"""

import asyncio
import contextlib
import socket
import struct

import attrs
from aiohttp import web

from .clock import Clock
from .desk import Answer, Desk
from .dialects import page
from .faults import Fault
from .refusals import CODE_OF_STATUS, CODES, Refusal
from .routes import Route

GARBAGE = b"\x16\x03\x01 this is not HTTP\r\n\xff\xfe\x00\r\n\r\n"

# Seconds of the loop between two looks whether a hanging caller has gone.
_LOOK_S = 0.25

# Pieces into which a slow answer is cut.
_PIECES = 10

_TITLES = {
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
    524: "A Timeout Occurred",
}


def told_status(fault: Fault) -> int | None:
    """The HTTP status that the caller gets to see; None when it gets no whole answer, or the normal one."""
    usual = CODES[fault.code][0] if isinstance(fault.code, int) and fault.code in CODES else 500
    defaults = {"status": usual, "html": 502, "body": 200}
    return fault.status or defaults[fault.action] if fault.action in defaults else None


def replacement(fault: Fault, desk: Desk, route: Route) -> Answer | None:
    """The answer that a fault puts in place of the normal one, None when it replaces none."""
    status = told_status(fault)
    if status is None:
        return None
    if fault.action == "html":
        return Answer(status, fault.body or page(status, _TITLES.get(status, "Error")), "text/html", fault.headers)
    if fault.body is not None or fault.action == "body":
        return Answer(status, fault.body or b"", "application/json", fault.headers)
    code = fault.code if fault.code is not None else CODE_OF_STATUS.get(status, 5000)
    message = fault.message or (CODES[code][1] if isinstance(code, int) and code in CODES else str(code))
    refused = desk.refuse(route, Refusal(code, message, status))
    return Answer(refused.status, refused.body, refused.content_type, fault.headers)


def respond(answer: Answer) -> web.Response:
    """The aiohttp form of a whole answer."""
    response = web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)
    for name, value in answer.headers:
        response.headers[name] = value
    if answer.content_type.startswith(("text/", "application/json")):
        response.charset = "utf-8"
    return response


async def break_off(
    request: web.Request, fault: Fault, answer: Answer, *, clock: Clock, closing: asyncio.Event, hang_s: float
) -> web.StreamResponse:
    """Carry out a fault that spoils the connection; the returned response usually reaches nobody."""
    transport = request.transport
    answer = attrs.evolve(answer, headers=(*answer.headers, *fault.headers))
    if fault.action == "slow" and fault.within == "body":
        return await _trickle(request, answer, clock.real(fault.delay_s), closing)
    if fault.action == "hang":
        await idle(clock.real(hang_s), closing, request)
    if transport is None or transport.is_closing():
        return web.Response()
    if fault.action == "reset":
        reset(transport)
    elif fault.action == "slow":
        await _write_slowly(transport, _head(answer), clock.real(fault.delay_s), closing)
        transport.write(answer.body)
        transport.close()
    elif fault.action == "truncate":
        transport.write(_cut(fault, answer))
        transport.close()
    elif fault.action == "garbage":
        transport.write(GARBAGE if fault.body is None else fault.body)
        transport.close()
    else:
        transport.close()
    return web.Response()


async def idle(seconds: float, closing: asyncio.Event, request: web.Request | None = None) -> None:
    """Wait so many seconds of the loop, or until the emulator closes or the caller of `request` has gone."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not closing.is_set():
        left = deadline - loop.time()
        if left <= 0 or (request is not None and (request.transport is None or request.transport.is_closing())):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left if request is None else min(left, _LOOK_S)):
                await closing.wait()


def reset(transport: asyncio.Transport) -> None:
    """Break a connection so that the other side meets a reset."""
    opened = transport.get_extra_info("socket")
    if opened is not None:
        # Without lingering the kernel answers with RST instead of FIN. In-memory transports have no socket.
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Rude(asyncio.Protocol):
    """The server's side of a connection that is hit as soon as it is accepted: nothing is ever read from it."""

    def __init__(self, fault: Fault, held: set[asyncio.Transport]) -> None:
        self._fault = fault
        self._held = held
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Reset it, close it, or keep it in silence until the caller or the emulator goes."""
        assert isinstance(transport, asyncio.Transport)
        if self._fault.action == "reset":
            reset(transport)
        elif self._fault.action == "close":
            transport.close()
        else:
            self._transport = transport
            self._held.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ends
        """Forget it."""
        if self._transport is not None:
            self._held.discard(self._transport)


def _cut(fault: Fault, answer: Answer) -> bytes:
    """The bytes of an answer that arrive before it breaks off."""
    head = _head(answer, chunked=fault.chunked)
    if fault.within == "head":
        return head[: len(head) // 2 if fault.keep is None else fault.keep]
    keep = len(answer.body) // 2 if fault.keep is None else fault.keep
    if not fault.chunked:
        return head + answer.body[:keep]
    rest = len(answer.body) - keep
    # A whole chunk, and then the size of one that never comes whole.
    return head + b"%x\r\n" % keep + answer.body[:keep] + b"\r\n%x\r\n" % (rest + 1) + answer.body[keep : keep + 1]


def _head(answer: Answer, *, chunked: bool = False) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} OK",
        f"Content-Type: {answer.content_type}",
        "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(answer.body)}",
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _write_slowly(transport: asyncio.Transport, data: bytes, seconds: float, closing: asyncio.Event) -> None:
    step = max(1, -(-len(data) // _PIECES))
    for at in range(0, len(data), step):
        await idle(seconds / _PIECES, closing)
        if transport.is_closing():
            return
        transport.write(data[at : at + step])


async def _trickle(request: web.Request, answer: Answer, seconds: float, closing: asyncio.Event) -> web.StreamResponse:
    whole = respond(answer)
    response = web.StreamResponse(status=answer.status, headers=whole.headers)
    response.content_length = len(answer.body)
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        step = max(1, -(-len(answer.body) // _PIECES))
        for at in range(0, len(answer.body), step):
            await idle(seconds / _PIECES, closing)
            await response.write(answer.body[at : at + step])
        await response.write_eof()
    return response
