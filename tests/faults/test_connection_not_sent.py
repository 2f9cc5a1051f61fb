"""F01 to F06: nothing left this machine, so nothing was made; on real sockets, with connection pools of our own.

What the HTTP client raises in each case is its own affair; that nothing was sent is known from the trace of it.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from fault_tools import caught, finished
from fault_tools import client as virtual_client
from flow_tools import assert_paid_once, clip, service

from kling_async import (
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    Host,
    Job,
    KlingSession,
    Policy,
    Status,
    TransportError,
    official,
    transport,
)
from kling_async.auth import ApiKey, Secret
from kling_async.emulator import Emulator
from kling_async.transport import Transport

CERTIFICATES = Path(__file__).parent / "certificates"
SOON = Policy(unreachable_s=0.05)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def listening(handler: Handler, **options: Any) -> AsyncIterator[int]:
    """A server on loopback; gives its port."""
    # In development mode asyncio reports a handshake that the other side breaks off, which is what is played here.
    asyncio.get_running_loop().set_debug(False)
    server = await asyncio.start_server(handler, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def submit_gets(host: Host, *, retryable: bool, http: aiohttp.ClientSession | None = None) -> ConnectFailed:
    """What a create gets: from one POST, and from a job; both unpaid."""
    connection = Transport(host, ApiKey(Secret("some-key")), wall=lambda: 0.0, http=http)
    await connection.open()
    try:
        error = await caught(connection.submit("/v1/videos/text2video", b"{}"), ConnectFailed)
    finally:
        await connection.close()
    assert (error.paid, error.retryable, error.http_status) == ("no", retryable, None)
    async with KlingSession(api_key="some-key", base_url=host, http=http, policy=SOON) as kling:
        job = await kling.submit(clip())
        final = await caught(_wait(job), ConnectFailed)
        assert (job.status, final.paid, final.retryable) == (Status.REJECTED, "no", retryable)
        # Where it may mend itself it was tried again, for as long as the policy says.
        assert (kling.stats.submissions > 1) is retryable
        told = await caught(kling.query("867000000000000001", "text2video"), ConnectFailed)
        assert (told.paid, told.retryable) == ("no", retryable)
    return error


async def _wait(job: Job) -> Any:
    return await job


@pytest.mark.realtime
@pytest.mark.fault("F01")
async def test_f01_connection_refused() -> None:
    error = await submit_gets(official(f"http://127.0.0.1:{free_port()}"), retryable=True)
    assert "Connection refused" in str(error)


@pytest.mark.realtime
@pytest.mark.fault("F02")
async def test_f02_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_options: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = await submit_gets(official("https://api.kling.test"), retryable=True)
    assert "no such address" in str(error)


@pytest.mark.realtime
@pytest.mark.fault("F03")
async def test_f03_nobody_answers_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full: the kernel drops what comes, as a firewall does."""
    brief = aiohttp.ClientTimeout(total=5, sock_connect=0.03, sock_read=5)
    monkeypatch.setattr(transport, "_SUBMIT_TIMEOUT", brief)
    monkeypatch.setattr(transport, "_QUERY_TIMEOUT", brief)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        error = await submit_gets(official(f"http://127.0.0.1:{listener.getsockname()[1]}"), retryable=True)
    assert "timed out" in str(error)


@pytest.mark.fault("F01", "F02", "F03", "F05")
async def test_f01_f02_f03_who_waits_notices_nothing() -> None:
    """Ten minutes without any connection, in the middle: running jobs deliver; their own deadline is what decides."""
    async with service(duration_s=300.0) as emulator, virtual_client(emulator, fresh=True) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
        hasty = await kling.submit(clip("hasty"), timeout=400)
        for job in (*jobs, hasty):
            await job.accepted()
        await emulator.__aexit__(None, None, None)
        await asyncio.sleep(600)
        assert {job.status for job in jobs} == {Status.ACCEPTED}
        error = await caught(_wait(hasty), DeadlineExceeded)
        assert (error.paid, error.task_id) == ("yes", hasty.task_id)
        await emulator.__aenter__()
        await finished(jobs)
        assert_paid_once(emulator, 4)


@pytest.mark.realtime
@pytest.mark.parametrize("stands_still", ["while it connects", "a turn later"])
async def test_whoever_stood_still_before_the_first_byte_sends_none(stands_still: str) -> None:
    """Its lease may be over, and another process at it: so leave is asked for last, before and with the first byte."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    leave = iter([False] if stands_still == "while it connects" else [True, False])
    async with listening(hear) as port:
        connection = Transport(official(f"http://127.0.0.1:{port}"), ApiKey(Secret("some-key")), wall=lambda: 0.0)
        await connection.open()
        try:
            with pytest.raises(TransportError) as found:
                await connection.submit("/v1/videos/text2video", b"{}", lambda: next(leave))
        finally:
            await connection.close()
        while not heard:
            await asyncio.sleep(0.001)
    assert heard == [b""]
    assert next(leave, None) is None, "asked as often as that"
    if stands_still == "while it connects":  # known for sure, so the job is queued again and not looked for
        assert (type(found.value), found.value.paid, found.value.retryable) == (ConnectFailed, "no", True)
    else:
        assert (type(found.value), found.value.paid) == (ConnectionLost, "maybe")


# --- TLS -----------------------------------------------------------------------------------------------------------


def server_side(name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem")
    return context


def trusting() -> aiohttp.ClientSession:
    """An HTTP session that trusts the tests' own authority, and so can tell one bad certificate from another."""
    context = ssl.create_default_context(cafile=str(CERTIFICATES / "ca.pem"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # from Python 3.13 on by default; the test's own CA is a plain one
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


async def _ignore(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.realtime
@pytest.mark.fault("F04")
@pytest.mark.parametrize("name", ["good", "expired", "wrong_name"])
async def test_f04_a_certificate_that_cannot_be_trusted(name: str) -> None:
    """Told at once and never tried again, since no certificate mends itself; "good" is one nobody vouches for."""
    async with listening(_ignore, ssl=server_side(name)) as port:
        host = official(f"https://127.0.0.1:{port}")
        if name == "good":
            error = await submit_gets(host, retryable=False)
        else:
            async with trusting() as http:
                error = await submit_gets(host, retryable=False, http=http)
    assert "certificate" in str(error)


@pytest.mark.realtime
@pytest.mark.fault("F04")
async def test_f04_a_server_that_speaks_no_tls() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with listening(plain) as port:
        error = await submit_gets(official(f"https://127.0.0.1:{port}"), retryable=False)
    assert "TLS" in str(error)


def reset(writer: asyncio.StreamWriter) -> None:
    opened = writer.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.realtime
@pytest.mark.fault("F05")
@pytest.mark.parametrize("how", ["FIN", "half a record", "RST"])
async def test_f05_a_tls_handshake_that_is_cut(how: str) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        if how == "RST":
            reset(writer)
        else:
            writer.write(b"\x16\x03\x03\x00\x50\x02\x00" if how == "half a record" else b"")
            writer.close()

    async with listening(cut) as port:
        await submit_gets(official(f"https://127.0.0.1:{port}"), retryable=True)


@pytest.mark.realtime
@pytest.mark.fault("F05")
async def test_f05_the_next_handshake_may_do() -> None:
    """A front that cuts the first two of them, before a service that speaks TLS: the job is made, once."""
    emulator = Emulator(dialect="official", duration_s=1.0, speed=50.0)
    runner = web.AppRunner(emulator.application(), access_log=None)
    await runner.setup()
    behind = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_side("good"))
    await behind.start()
    cuts = iter((True, True))

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(cuts, False):
            await reader.read(10)
            reset(writer)
            return
        there, back = await asyncio.open_connection("127.0.0.1", behind.port)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    try:
        async with (
            listening(front) as port,
            trusting() as http,
            KlingSession(
                api_key=emulator.api_key, base_url=official(f"https://127.0.0.1:{port}"), http=http, seed=1
            ) as kling,
        ):
            assert (await kling.generate(clip())).url
        assert_paid_once(emulator, 1)
    finally:
        await runner.cleanup()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


# --- proxies -------------------------------------------------------------------------------------------------------


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.realtime
@pytest.mark.fault("F06")
@pytest.mark.parametrize("how", ["407", "down"])
async def test_f06_a_proxy_that_refuses_or_is_down(how: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(_refuse)) if how == "407" else free_port()
        http = await stack.enter_async_context(aiohttp.ClientSession(proxy=f"http://user:hidden@127.0.0.1:{port}"))
        error = await submit_gets(official("https://api.kling.test"), retryable=False, http=http)
    assert "proxy" in str(error)
    assert "hidden" not in str(error)


@pytest.mark.realtime
@pytest.mark.fault("F04", "F06")
@pytest.mark.parametrize("how", ["certificate", "proxy"])
async def test_f04_f06_a_running_job_outlives_what_only_people_can_mend(how: str) -> None:
    """It is paid for, so it is not failed over this: a question says what is wrong, and its own deadline decides."""
    async with contextlib.AsyncExitStack() as stack:
        if how == "proxy":
            port = await stack.enter_async_context(listening(_refuse))
            http = await stack.enter_async_context(aiohttp.ClientSession(proxy=f"http://127.0.0.1:{port}"))
            host = official("https://api.kling.test")
        else:
            port = await stack.enter_async_context(listening(_ignore, ssl=server_side("expired")))
            http = await stack.enter_async_context(trusting())
            host = official(f"https://127.0.0.1:{port}")
        kling = await stack.enter_async_context(KlingSession(api_key="some-key", base_url=host, http=http))
        job = kling.attach("867000000000000001", "text2video", timeout=0.2)
        told = await caught(kling.query(job), ConnectFailed)
        assert (told.paid, told.retryable, job.status) == ("no", False, Status.ACCEPTED)
        error = await caught(_wait(job), DeadlineExceeded)
        assert (error.paid, error.task_id) == ("yes", "867000000000000001")
