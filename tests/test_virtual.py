"""The virtual loop keeps the promises of asyncio's own loop, only without waiting and without a network."""

import asyncio
import contextlib
import errno
import random
import signal
import socket
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kling_async.emulator import virtual
from kling_async.emulator.virtual import Connection, MemoryTransport, Stuck, VirtualLoop, describe_task, run

PATH = "/virtual/emulator"
URL = "http://emulator"


def virtual_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def now() -> float:
    return asyncio.get_running_loop().time()


class Recorder(asyncio.Protocol):
    """Writes down, with the virtual time, all that a transport tells it."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.keep_open = keep_open
        self.told: list[tuple[float, str, Any]] = []
        self.transport: MemoryTransport

    def _note(self, what: str, detail: Any = None) -> None:
        self.told.append((round(now(), 6), what, detail))

    def words(self) -> list[str]:
        return [what for _, what, _ in self.told]

    def received(self) -> bytes:
        return b"".join(detail for _, what, detail in self.told if what == "data")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, MemoryTransport)
        self.transport = transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        self._note("data", data)

    def eof_received(self) -> bool:
        self._note("eof")
        return self.keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost", type(exc).__name__)

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")


async def pair(client: Recorder | None = None, server: Recorder | None = None) -> tuple[Recorder, Recorder, Connection]:
    """Connect two recorders; the server stops listening at once."""
    loop = virtual_loop()
    there = server or Recorder()
    listener = await loop.create_unix_server(lambda: there, PATH)
    _, here = await loop.create_unix_connection(lambda: client or Recorder(), PATH)
    listener.close()
    return here, there, loop.connections[-1]


@contextlib.asynccontextmanager
async def site(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], **options: Any
) -> AsyncIterator[web.AppRunner]:
    """Serve `handler` for every path with a real aiohttp server."""
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    try:
        await web.UnixSite(runner, PATH).start()
        yield runner
    finally:
        await runner.cleanup()


def session(**options: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(URL, connector=aiohttp.UnixConnector(PATH), **options)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# The clock.


async def test_sleeping_takes_virtual_time_only() -> None:
    """A day of sleeping ends at exactly the promised moment and takes no real time."""
    began = time.perf_counter()
    await asyncio.sleep(86_400)
    assert now() == 86_400
    assert time.perf_counter() - began < 5


async def test_time_stands_still_while_anything_is_ready() -> None:
    """Turns of the loop cost no virtual time."""
    await turns(100)
    assert now() == 0


def test_start_is_where_the_clock_begins() -> None:
    """Every start works, also one so large that floats are coarse, and one below zero."""

    async def nap() -> float:
        await asyncio.sleep(0.5)
        _, there, connection = await pair()
        connection.client.write(b"x")
        await turns(3)
        assert there.received() == b"x"
        connection.cut()
        await turns(3)
        return now()

    assert run(nap(), start=1_790_000_000.0) == 1_790_000_000.5
    assert run(nap(), start=-7.0) == -6.5


async def test_timers_of_one_moment_run_in_the_order_they_were_set() -> None:
    """Ties are broken by order of setting, other timers by time."""
    ran: list[int] = []
    loop = asyncio.get_running_loop()
    for number in range(50):
        loop.call_at(1.0, ran.append, number)
    loop.call_later(0.5, ran.append, -1)
    loop.call_at(1.0, ran.append, 50).cancel()
    await asyncio.sleep(2)
    assert ran == [-1, *range(50)]


async def test_timers_keep_their_exact_moment() -> None:
    """A timer sees the very number it was set to, and never fires early."""
    loop = asyncio.get_running_loop()
    rng = random.Random(7)
    moments = [rng.uniform(0, 1e5) for _ in range(300)]
    seen: list[float] = []
    for moment in moments:
        loop.call_at(moment, lambda: seen.append(now()))
    await asyncio.sleep(1e5)
    assert seen == sorted(moments)


async def test_a_timer_in_the_past_does_not_turn_the_clock_back() -> None:
    """Time never goes backwards."""
    await asyncio.sleep(10)
    ran = asyncio.Event()
    asyncio.get_running_loop().call_at(3, ran.set)
    await ran.wait()
    assert now() == 10


async def test_timeouts_fire_in_virtual_time() -> None:
    """asyncio.timeout and wait_for work on the virtual clock."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(100), 5)
    assert now() == 35


# Programs that never end.


def test_waiting_for_nobody_is_an_error_with_names() -> None:
    """A deadlock names each pending task and the place where it waits, and the loop still closes cleanly."""

    async def wait_for_godot(gate: asyncio.Event) -> None:
        await gate.wait()

    async def main() -> None:
        gate = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_godot(gate), name="vladimir")
            group.create_task(wait_for_godot(gate), name="estragon")

    with pytest.raises(Stuck, match="nothing is scheduled: the program would wait for ever") as caught:
        run(main())
    text = str(caught.value)
    assert "vladimir waits at tests/test_virtual.py" in text
    assert "wait_for_godot > asyncio/locks.py" in text
    assert text.index("vladimir") < text.index("estragon")


def test_a_loop_without_tasks_is_stuck_too() -> None:
    """run_forever with nothing to do raises instead of hanging."""
    loop = VirtualLoop()
    try:
        with pytest.raises(Stuck, match="no task is pending"):
            loop.run_forever()
    finally:
        loop.close()


def test_cleaning_up_works_after_being_stuck() -> None:
    """Cancelled tasks may take virtual time to end."""
    ended: list[float] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(60)
            ended.append(now())

    with pytest.raises(Stuck):
        run(main())
    assert ended == [60]


def test_endless_waiting_passes_the_horizon() -> None:
    """A program that sets timers for ever ends with an error, and may still clean up."""
    ended: list[float] = []

    async def main() -> None:
        try:
            while True:
                await asyncio.sleep(5)
        finally:
            await asyncio.sleep(5)
            ended.append(now())

    with pytest.raises(Stuck, match="horizon"):
        run(main(), horizon=100)
    assert ended == [110]


def test_spinning_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is busy without any time passing ends with an error."""
    monkeypatch.setattr(virtual, "SPIN_TURNS", 1_000)

    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="1000 turns"):
        run(main())


async def test_a_task_is_described_by_its_awaits() -> None:
    """Coroutines, generators and asynchronous generators are followed to the innermost frame."""

    async def ticks() -> AsyncIterator[None]:
        await asyncio.sleep(1)
        yield

    class Wrapped:
        def __await__(self) -> Any:
            yield from asyncio.sleep(1).__await__()

    async def via_generator() -> None:
        await Wrapped()

    async def via_asyncgen() -> None:
        async for _ in ticks():
            pass

    tasks = [asyncio.create_task(via_generator(), name="g"), asyncio.create_task(via_asyncgen(), name="a")]
    await asyncio.sleep(0)
    told = [describe_task(task) for task in tasks]
    await asyncio.gather(*tasks)
    assert "via_generator > " in told[0]
    assert "__await__" in told[0]
    assert told[0].startswith("g waits at ")
    assert "via_asyncgen" in told[1]
    assert describe_task(tasks[0]).endswith("an unknown place")


# Running.


def test_run_returns_raises_and_leaves_nothing() -> None:
    """A run gives the coroutine's result or exception, cancels leftovers and closes asynchronous generators."""
    loops: list[VirtualLoop] = []
    closed: list[str] = []

    async def leftover() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            closed.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("asyncgen")

    kept: list[Any] = []

    async def main() -> str:
        loops.append(virtual_loop())
        kept.append(asyncio.create_task(leftover()))
        generator = numbers()
        kept.append(generator)
        await anext(generator)
        return "done"

    async def fail() -> None:
        raise LookupError

    assert run(main()) == "done"
    assert closed == ["task", "asyncgen"]
    assert loops[0].is_closed()
    with pytest.raises(LookupError):
        run(fail())


def test_debug_mode_follows_the_interpreter_and_never_cries_slow(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In debug mode no callback counts as slow, whatever virtual time passes."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")

    async def main() -> bool:
        await asyncio.sleep(1000)
        return asyncio.get_running_loop().get_debug()

    loop = VirtualLoop()
    loop.set_debug(True)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(main())
    assert caplog.records == []


def test_runs_outside_the_main_thread() -> None:
    """No signal handling is needed."""
    results: list[float] = []

    async def nap() -> float:
        await asyncio.sleep(3)
        return now()

    thread = threading.Thread(target=lambda: results.append(run(nap())))
    thread.start()
    thread.join()
    assert results == [3]


def test_an_interrupt_ends_a_run() -> None:
    """SIGINT cancels the main task, as under asyncio.run."""

    async def main() -> None:
        asyncio.get_running_loop().call_later(5, signal.raise_signal, signal.SIGINT)
        await asyncio.sleep(1000)

    with pytest.raises(KeyboardInterrupt):
        run(main())


def test_a_foreign_thread_is_heard_with_patience() -> None:
    """With patience, an answer of a real thread comes before time jumps."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def answer() -> None:
            time.sleep(0.05)
            loop.call_soon_threadsafe(answered.set)

        thread = threading.Thread(target=answer)
        thread.start()
        async with asyncio.timeout(1):
            await answered.wait()
        thread.join()
        return loop.time()

    loop = VirtualLoop(patience=10)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(main()) == 0


# Executors.


async def test_threads_run_inline() -> None:
    """to_thread and executors run on this thread without virtual time; the answer takes one turn."""
    order: list[str] = []

    def work(word: str) -> int:
        order.append(word)
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return threading.get_ident()

    asyncio.get_running_loop().call_soon(order.append, "meanwhile")
    assert await asyncio.to_thread(work, "thread") == threading.get_ident()
    order.append("after")
    assert order == ["thread", "meanwhile", "after"]
    assert now() == 0


async def test_a_thread_may_have_a_loop_of_its_own() -> None:
    """asyncio.run works in to_thread, as in a real thread."""

    async def inner() -> str:
        return "inner"

    assert await asyncio.to_thread(lambda: run(inner())) == "inner"
    assert now() == 0


async def test_failures_of_threads_arrive() -> None:
    """What a function raises is raised by its future; an interrupt goes through at once."""

    def fail() -> None:
        raise LookupError("gone")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(LookupError, match="gone"):
        await asyncio.to_thread(fail)
    with pytest.raises(KeyboardInterrupt):
        asyncio.get_running_loop().run_in_executor(None, interrupt)
    assert virtual_loop().is_running()


async def test_a_cancelled_thread_is_not_heard() -> None:
    """A cancelled future stays cancelled."""
    future = asyncio.get_running_loop().run_in_executor(None, int)
    future.cancel()
    await turns(2)
    assert future.cancelled()


async def test_real_sockets_are_refused() -> None:
    """Nothing waits for the real world: names and sockets are an error that says so."""
    loop = asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="no network"):
        await loop.getaddrinfo("localhost", 80)
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        with pytest.raises(RuntimeError, match="no network"):
            await loop.sock_recv(left, 1)


# Connections.


async def test_streams_echo() -> None:
    """The streams of asyncio work on virtual paths; a closed server waits for its clients."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(echo, PATH)
    assert server.is_serving()
    assert server.sockets == ()
    reader, writer = await asyncio.open_unix_connection(PATH)
    assert writer.get_extra_info("peername") == PATH
    assert writer.get_extra_info("socket") is None
    writer.writelines([b"hello ", b"world"])
    writer.write_eof()
    assert await reader.read() == b"hello world"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    assert not server.is_serving()
    assert virtual_loop().connections == ()


async def test_nobody_listening_refuses() -> None:
    """Connecting without a server is refused, also after a server was closed or before it serves."""
    loop = virtual_loop()
    with pytest.raises(ConnectionRefusedError) as caught:
        await loop.create_unix_connection(Recorder, PATH)
    assert caught.value.errno == errno.ECONNREFUSED
    server = await loop.create_unix_server(Recorder, PATH, start_serving=False)
    with pytest.raises(ConnectionRefusedError):
        await loop.create_unix_connection(Recorder, PATH)
    await server.start_serving()
    await server.start_serving()
    server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await loop.create_unix_connection(Recorder, PATH)
    with pytest.raises(RuntimeError, match="is closed"):
        await server.start_serving()


async def test_wrong_arguments_are_refused() -> None:
    """A path is needed, once; sockets, TLS and buffered protocols are not supported."""
    loop = virtual_loop()
    with pytest.raises(ValueError, match="path"):
        await loop.create_unix_server(Recorder)
    with pytest.raises(ValueError, match="ssl"):
        await loop.create_unix_connection(Recorder, PATH, ssl=True)
    async with await loop.create_unix_server(Recorder, PATH):
        other = await loop.create_unix_server(Recorder, PATH, start_serving=False)
        with pytest.raises(OSError, match="already in use"):
            await other.start_serving()
        other.close()
    here, _, connection = await pair()
    with pytest.raises(TypeError, match="BufferedProtocol"):
        here.transport.set_protocol(asyncio.BufferedProtocol())
    with pytest.raises(TypeError, match="str"):
        here.transport.write("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be"):
        here.transport.set_write_buffer_limits(high=1, low=2)
    connection.cut()


async def test_serve_forever_ends_with_close_or_cancel() -> None:
    """serve_forever is left by CancelledError, and the server is closed then."""
    loop = virtual_loop()
    for end in ("close", "cancel"):
        server = await loop.create_unix_server(Recorder, PATH, start_serving=False)
        task = asyncio.create_task(server.serve_forever())
        await turns(3)
        assert server.is_serving()
        if end == "close":
            server.close()
        else:
            task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert not server.is_serving()


async def test_a_server_can_close_or_abort_its_clients() -> None:
    """close_clients ends connections in order, abort_clients by reset; wait_closed waits for both."""
    loop = virtual_loop()
    for method, seen in (("close_clients", ["made", "eof", "lost"]), ("abort_clients", ["made", "lost"])):
        server: Any = await loop.create_unix_server(Recorder, PATH)
        _, here = await loop.create_unix_connection(Recorder, PATH)
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        await turns(5)
        assert not waiting.done()
        getattr(server, method)()
        await waiting
        await turns(3)
        assert here.words() == seen


async def test_close_flushes_then_ends() -> None:
    """After close the peer gets all bytes, the end, and connection_lost(None); so does the closer."""
    here, there, connection = await pair()
    here.transport.write(b"x" * 200_000)
    here.transport.close()
    here.transport.close()
    here.transport.pause_reading()
    here.transport.write_eof()
    assert here.transport.is_closing()
    assert virtual_loop().connections == (connection,)
    here.transport.write(b"too late")
    await turns(20)
    assert len(there.received()) == 200_000
    assert there.words()[-2:] == ["eof", "lost"]
    assert there.told[-1][2] == here.told[-1][2] == "NoneType"
    assert virtual_loop().connections == ()


async def test_abort_resets_the_peer() -> None:
    """After abort the peer gets connection_lost(ConnectionResetError), the aborter connection_lost(None)."""
    here, there, _ = await pair()
    here.transport.write(b"x" * 200_000)
    here.transport.abort()
    here.transport.abort()
    assert here.transport.get_write_buffer_size() == 0
    await turns(10)
    assert here.told[-1][1:] == ("lost", "NoneType")
    assert there.told[-1][1:] == ("lost", "ConnectionResetError")
    assert "eof" not in there.words()


async def test_abort_overtakes_a_slow_close() -> None:
    """Abort ends a close that waits for the peer to read."""
    here, there, _ = await pair()
    there.transport.pause_reading()
    here.transport.write(b"x" * 200_000)
    here.transport.close()
    await turns(10)
    assert "lost" not in here.words()
    here.transport.abort()
    await turns(5)
    assert here.told[-1][1:] == ("lost", "NoneType")
    assert there.told[-1][1:] == ("lost", "ConnectionResetError")


async def test_half_close_leaves_the_other_way_open() -> None:
    """After write_eof the other side may go on writing, if its protocol asks to keep the transport."""
    here, there, _ = await pair(server=Recorder(keep_open=True))
    assert here.transport.can_write_eof()
    here.transport.write(b"question" * 20_000)
    here.transport.write_eof()
    here.transport.write_eof()
    with pytest.raises(RuntimeError, match="write_eof"):
        here.transport.write(b"more")
    await turns(10)
    assert there.words()[-1] == "eof"
    there.transport.write(b"answer")
    await turns(3)
    assert here.received() == b"answer"
    there.transport.close()
    await turns(5)
    assert here.words()[-2:] == ["eof", "lost"]
    assert virtual_loop().connections == ()


async def test_writing_to_a_dead_end_is_answered_by_a_reset() -> None:
    """A peer that keeps its half open learns by writing that nobody reads any more."""
    here, there, _ = await pair(server=Recorder(keep_open=True))
    here.transport.close()
    await turns(5)
    assert there.words()[-1] == "eof"
    there.transport.write(b"anybody?")
    await turns(5)
    assert there.told[-1][1:] == ("lost", "ConnectionResetError")


async def test_closing_with_unread_bytes_does_not_block_the_peer() -> None:
    """A peer blocked on a full wire is reset when the reader goes away, instead of waiting for ever."""
    here, there, _ = await pair()
    here.transport.pause_reading()
    here.transport.pause_reading()
    there.transport.write(b"x" * 500_000)
    await turns(3)
    assert there.words()[-1] == "pause"
    here.transport.close()
    await turns(10)
    assert here.words() == ["made", "lost"]
    assert there.words() == ["made", "pause", "lost"]
    assert there.told[-1][1:] == ("lost", "ConnectionResetError")


async def test_both_ends_closing_meet() -> None:
    """Crossing closes end cleanly on both sides."""
    here, there, _ = await pair()
    here.transport.close()
    there.transport.close()
    await turns(5)
    assert here.words() == there.words() == ["made", "lost"]
    assert virtual_loop().connections == ()


async def test_cut_breaks_both_ends() -> None:
    """A cut connection is lost with ConnectionResetError on both sides and leaves the list."""
    here, there, connection = await pair()
    here.transport.write(b"x" * 1_000_000)
    assert virtual_loop().connections == (connection,)
    assert "open" in repr(connection.client)
    connection.cut()
    await turns(3)
    assert here.told[-1][1:] == there.told[-1][1:] == ("lost", "ConnectionResetError")
    assert virtual_loop().connections == ()
    assert "lost" in repr(connection.client)
    connection.cut()
    await turns(3)
    assert here.words().count("lost") == 1


async def test_water_marks_are_honest() -> None:
    """A writer is paused above the high mark and resumed at the low one, while the reader is slow."""
    here, there, connection = await pair()
    here.transport.set_write_buffer_limits(high=1000)
    assert here.transport.get_write_buffer_limits() == (250, 1000)
    here.transport.set_write_buffer_limits(low=100)
    assert here.transport.get_write_buffer_limits() == (100, 400)
    here.transport.set_write_buffer_limits()
    assert here.transport.get_write_buffer_limits() == (16_384, 65_536)
    there.transport.pause_reading()
    assert not there.transport.is_reading()
    here.transport.write(b"a" * virtual.WINDOW)
    assert here.transport.get_write_buffer_size() == 0
    here.transport.write(b"b" * 65_536)
    assert here.words() == ["made"]
    here.transport.write(b"c")
    assert here.words() == ["made", "pause"]
    assert here.transport.get_write_buffer_size() == 65_537
    await turns(10)
    assert there.words() == ["made"]
    there.transport.resume_reading()
    there.transport.resume_reading()
    await turns(10)
    assert here.words() == ["made", "pause", "resume"]
    assert there.received() == b"a" * virtual.WINDOW + b"b" * 65_536 + b"c"
    connection.cut()


async def test_bytes_never_arrive_in_the_turn_they_are_sent() -> None:
    """A write is seen by the peer one turn later, as one piece with what else was written in this turn."""
    here, there, connection = await pair()
    here.transport.write(b"one ")
    here.transport.write(b"")
    here.transport.write(bytearray(b"two"))
    assert there.received() == b""
    await turns(2)
    assert [detail for _, what, detail in there.told if what == "data"] == [b"one two"]
    connection.cut()


@pytest.mark.virtual(latency=0.25)
async def test_latency_delays_each_direction() -> None:
    """Connecting takes a round trip, bytes, the end and a reset half of one."""
    here, there, _ = await pair()
    assert now() == 0.5
    here.transport.write(b"ping")
    await asyncio.sleep(1)
    there.transport.write(b"pong")
    there.transport.close()
    await asyncio.sleep(1)
    assert there.told[:2] == [(0.25, "made", None), (0.75, "data", b"ping")]
    assert here.told[1:4] == [(1.75, "data", b"pong"), (1.75, "eof", None), (1.75, "lost", "NoneType")]


async def test_random_latency_keeps_the_order() -> None:
    """Bytes never overtake each other, however the latency is drawn."""
    loop = virtual_loop()
    rng = random.Random(11)
    loop.latency = lambda: rng.uniform(0, 5)
    loop.chunk = 7
    here, there, connection = await pair()
    sent = b""
    for number in range(200):
        piece = f"{number},".encode()
        here.transport.write(piece)
        sent += piece
        await asyncio.sleep(rng.choice([0, 0.1, 1]))
    await asyncio.sleep(10)
    assert there.received() == sent
    assert max(len(detail) for _, what, detail in there.told if what == "data") == 7
    connection.cut()


async def test_a_cancelled_connect_leaves_nothing() -> None:
    """Giving up while connecting resets the server's half."""
    loop = virtual_loop()
    loop.latency = 1.0
    there = Recorder()
    server = await loop.create_unix_server(lambda: there, PATH)
    for limit in (0.5, 1.5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(limit):
                await loop.create_unix_connection(Recorder, PATH)
    await asyncio.sleep(5)
    assert there.words() == ["made", "lost"]
    assert loop.connections == ()
    server.close()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await loop.create_unix_connection(Recorder, PATH)


@pytest.mark.virtual(latency=1.0)
async def test_a_connection_cut_while_it_is_made_is_no_connection() -> None:
    """A cut between the server's acceptance and its news raises ConnectionResetError."""
    loop = virtual_loop()
    server = await loop.create_unix_server(Recorder, PATH)
    connecting = asyncio.create_task(loop.create_unix_connection(Recorder, PATH))
    await asyncio.sleep(1.5)
    loop.connections[0].cut()
    with pytest.raises(ConnectionResetError):
        await connecting
    server.close()
    await server.wait_closed()


async def test_a_server_may_abort_at_once() -> None:
    """An abort in connection_made reaches the client as a reset."""

    class Rude(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.abort()

    loop = virtual_loop()
    async with await loop.create_unix_server(Rude, PATH):
        _, here = await loop.create_unix_connection(Recorder, PATH)
        await turns(3)
    assert [(what, detail) for _, what, detail in here.told] == [
        ("made", None),
        ("lost", "ConnectionResetError"),
    ]


async def test_a_server_that_cannot_make_a_protocol_drops_the_client() -> None:
    """The failure is reported, and the client's connection breaks."""
    loop = virtual_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))

    def fail() -> asyncio.Protocol:
        raise LookupError

    server = await loop.create_unix_server(fail, PATH)
    with contextlib.suppress(ConnectionResetError):
        await loop.create_unix_connection(Recorder, PATH)
    await turns(5)
    assert reports == [f"Error on accept on {PATH}"]
    assert loop.connections == ()
    server.close()


async def test_a_failing_protocol_is_reported_and_cut() -> None:
    """An exception in data_received or eof_received goes to the exception handler and breaks the connection."""
    loop = virtual_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))

    class Faulty(Recorder):
        def data_received(self, data: bytes) -> None:
            if data == b"abort first":
                self.transport.abort()
            raise LookupError

        def eof_received(self) -> bool:
            raise LookupError

    for sent, lost_by in ((b"x", "LookupError"), (b"", "LookupError"), (b"abort first", "NoneType")):
        here, there, _ = await pair(server=Faulty())
        here.transport.write(sent)
        if not sent:
            here.transport.write_eof()
        await turns(8)
        assert there.told[-1][1:] == ("lost", lost_by)
        assert here.told[-1][1:] == ("lost", "ConnectionResetError")
    assert reports == [
        "Fatal error: protocol.data_received() call failed.",
        "Fatal error: protocol.eof_received() call failed.",
        "Fatal error: protocol.data_received() call failed.",
    ]


async def test_protocols_can_be_exchanged() -> None:
    """Bytes go to the protocol set last."""
    here, there, connection = await pair()
    other = Recorder()
    there.transport.set_protocol(other)
    assert there.transport.get_protocol() is other
    here.transport.write(b"for the other")
    await turns(3)
    assert (there.received(), other.received()) == (b"", b"for the other")
    connection.cut()


def test_transports_outlive_their_loop_quietly() -> None:
    """Closing a transport after the loop was closed does nothing, so destructors stay silent."""

    async def main() -> tuple[Recorder, Recorder, Connection]:
        return await pair()

    here, there, connection = run(main())
    here.transport.close()
    there.transport.abort()
    connection.cut()
    assert here.words() == there.words() == ["made"]


@given(st.data())
async def test_what_is_written_arrives(data: st.DataObject) -> None:
    """For all pieces, chunks, latencies and reading pauses: the same bytes in the same order, then the end."""
    loop = virtual_loop()
    loop.chunk = data.draw(st.integers(500, 100_000))
    loop.latency = data.draw(st.sampled_from([0.0, 0.1, 3.0]))
    here, there, _ = await pair()
    here.transport.set_write_buffer_limits(high=data.draw(st.integers(0, 200_000)))
    sent = bytearray()
    for size in data.draw(st.lists(st.integers(0, 100_000), max_size=6)):
        piece = len(sent).to_bytes(4, "big") * (size // 4)
        here.transport.write(piece)
        sent += piece
        if data.draw(st.booleans()):
            there.transport.pause_reading()
        await asyncio.sleep(data.draw(st.sampled_from([0.0, 0.05, 5.0])))
        there.transport.resume_reading()
    here.transport.close()
    await asyncio.sleep(100)
    assert there.received() == bytes(sent)
    assert there.words()[-2:] == ["eof", "lost"]
    paused = [word for word in here.words() if word in ("pause", "resume")]
    assert paused == (["pause", "resume"] * len(paused))[: len(paused)]


# The real aiohttp on top.


async def test_fifty_clients_poll_for_five_minutes_in_seconds() -> None:
    """3,000 polls over 300 virtual seconds need few real ones, also in dev mode."""
    served = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal served
        served += 1
        await asyncio.sleep(0.05)
        return web.json_response({"task": request.path})

    async def poll(client: aiohttp.ClientSession, number: int) -> None:
        for turn in range(60):
            async with client.get(f"/{number}/{turn}") as response:
                assert await response.json() == {"task": f"/{number}/{turn}"}
            await asyncio.sleep(4.95)

    async with site(handler), session() as client:
        await asyncio.gather(*(poll(client, number) for number in range(50)))
        assert len(virtual_loop().connections) <= 50
    assert served == 3_000
    assert now() == pytest.approx(300)
    assert virtual_loop().connections == ()


async def test_connections_are_kept_alive_and_time_out_when_idle() -> None:
    """Requests share a connection; the server closes it after its keep-alive time, and the next one is new."""
    peers: list[int] = []

    async def handler(request: web.Request) -> web.Response:
        peers.append(id(request.transport))
        return web.Response(text=str(request.remote))

    client_connector = aiohttp.UnixConnector(PATH, keepalive_timeout=1000)
    clients = aiohttp.ClientSession(URL, connector=client_connector)
    async with site(handler, keepalive_timeout=60), clients as client:
        for _ in range(5):
            await client.get("/")
        first = virtual_loop().connections
        assert len(first) == 1
        await asyncio.sleep(100)
        assert virtual_loop().connections == ()
        await client.get("/")
        assert len(virtual_loop().connections) == 1
        assert virtual_loop().connections != first


async def test_client_timeouts_fire_in_virtual_time() -> None:
    """sock_read and total are measured on the virtual clock."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b".")
                await asyncio.sleep(float(request.query["gap"]))
        return response

    async with site(handler, shutdown_timeout=0.0), session() as client:
        with pytest.raises(aiohttp.SocketTimeoutError):
            async with client.get("/?gap=100", timeout=aiohttp.ClientTimeout(sock_read=15)) as response:
                await response.read()
        assert now() == 15
        with pytest.raises(TimeoutError):
            async with client.get("/?gap=1", timeout=aiohttp.ClientTimeout(total=30, sock_read=15)) as response:
                await response.read()
        # aiohttp rounds long timeouts up to whole seconds.
        assert 45 <= now() <= 46


async def test_large_bodies_flow_both_ways_in_bounded_memory() -> None:
    """20 MB up and 20 MB down arrive intact, and neither side buffers more than its water marks."""
    size = 20_000_000
    block = bytes(range(256)) * 256
    most = 0

    def watch() -> None:
        nonlocal most
        for connection in virtual_loop().connections:
            for end in (connection.client, connection.server):
                most = max(most, end.get_write_buffer_size())

    async def upload() -> AsyncIterator[bytes]:
        for at in range(0, size, len(block)):
            watch()
            yield block[: size - at]

    async def handler(request: web.Request) -> web.StreamResponse:
        count = 0
        async for piece in request.content.iter_any():
            count += len(piece)
            await asyncio.sleep(0.001)
        response = web.StreamResponse(headers={"X-Got": str(count)})
        await response.prepare(request)
        async for piece in upload():
            await response.write(piece)
        await response.write_eof()
        return response

    async with site(handler), session() as client, client.post("/", data=upload()) as response:
        assert response.headers["X-Got"] == str(size)
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            await asyncio.sleep(0.001)
    assert len(body) == size
    assert body[:65_536] == block
    assert body[-10:] == block[: size % len(block)][-10:]
    assert most < 4 * 65_536


async def test_a_cut_in_the_middle_of_an_answer_is_an_error() -> None:
    """A connection cut under a request raises a client error; a later request works."""

    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(10)
        return web.Response(text="late")

    def cut_first() -> None:
        virtual_loop().connections[0].cut()

    async with site(handler), session() as client:
        asyncio.get_running_loop().call_later(5, cut_first)
        with pytest.raises(aiohttp.ClientOSError):
            await client.post("/")
        assert now() == 5
        async with client.post("/") as response:
            assert await response.text() == "late"


async def test_a_server_that_goes_away_is_seen() -> None:
    """After the server closed while idle, the next request is refused, not lost."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    async with session() as client:
        async with site(handler):
            await client.get("/")
            assert len(virtual_loop().connections) == 1
        await turns(3)
        assert virtual_loop().connections == ()
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await client.get("/")
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_websockets_work() -> None:
    """Upgraded connections carry messages both ways."""

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket_ = web.WebSocketResponse()
        await socket_.prepare(request)
        async for message in socket_:
            await socket_.send_str(message.data + "!")
        return socket_

    async with site(handler), session() as client, client.ws_connect("/") as ws:
        await ws.send_str("hello")
        assert await ws.receive_str() == "hello!"
        await asyncio.sleep(100)
        await ws.send_str("again")
        assert await ws.receive_str() == "again!"


async def eventful(events: list[Any], rng: random.Random) -> None:
    """Poll through random latencies and cuts while a group of tasks is cancelled; write all down."""

    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(rng.random())
        if rng.random() < 0.1:
            rng.choice(virtual_loop().connections).cut()
        events.append((now(), "served", request.path))
        return web.Response(text="x" * rng.randrange(100))

    async def poll(client: aiohttp.ClientSession, number: int) -> None:
        for turn in range(10):
            try:
                async with client.get(f"/{number}/{turn}") as response:
                    events.append((now(), number, turn, await response.text()))
            except aiohttp.ClientError as error:
                events.append((now(), number, turn, type(error).__name__))
            await asyncio.sleep(1)

    async def wait(number: int) -> None:
        try:
            await asyncio.sleep(50)
        finally:
            events.append((now(), "cancelled", number))

    async def group() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
                for number in range(20):
                    tasks.create_task(wait(number))

    async with site(handler), session() as client:
        await asyncio.gather(group(), *(poll(client, number) for number in range(8)))


@pytest.mark.parametrize("chunk", [5, 100, virtual.WINDOW])
def test_the_same_program_leaves_the_same_trace(chunk: int) -> None:
    """Two runs agree in every event and moment: latencies, cuts, cancelled groups and answers."""

    def trace() -> list[Any]:
        events: list[Any] = []
        rng = random.Random(3)
        run(eventful(events, rng), latency=lambda: rng.expovariate(20), chunk=chunk)
        return events

    first = trace()
    # Other addresses in memory, and so other hashes, for everything made in the second run.
    ballast = [object() for _ in range(12_345)]
    assert trace() == first
    assert len(first) > 100
    assert [number for _, what, number, *_ in first if what == "cancelled"] == list(range(20))
    del ballast


# The plumbing of the tests.


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A test suite that uses this suite's conftest."""
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:cacheprovider\nfilterwarnings = error\n")
    return pytester


def outcomes(suite: pytest.Pytester, source: str, **expected: int) -> str:
    """Run `source` as a test module; return the report."""
    suite.makepyfile("import asyncio, pytest\n" + textwrap.dedent(source))
    result = suite.runpytest_inprocess()
    result.assert_outcomes(**expected)
    return str(result.stdout)


def test_async_tests_run_on_the_virtual_clock(suite: pytest.Pytester) -> None:
    """Fixtures, parameters, classes, failures and skips work as for ordinary tests."""
    report = outcomes(
        suite,
        """
        @pytest.fixture
        def seven():
            return 7

        @pytest.mark.parametrize("count", [1, 2])
        async def test_sleeps(seven, count):
            await asyncio.sleep(seven * count * 1000)
            assert asyncio.get_running_loop().time() == seven * count * 1000

        @pytest.mark.virtual(start=5.0)
        class TestOptions:
            async def test_of_the_class(self):
                assert asyncio.get_running_loop().time() == 5

            @pytest.mark.virtual(start=6.0)
            async def test_of_the_test(self):
                assert asyncio.get_running_loop().time() == 6

        async def test_fails():
            asyncio.get_running_loop().call_exception_handler({"message": "an omen"})
            raise LookupError("a plain failure")

        async def test_skips():
            pytest.skip("not today")

        def test_plain():
            pass
        """,
        passed=5,
        failed=1,
        skipped=1,
    )
    assert "LookupError: a plain failure" in report
    assert "unhandled: an omen" in report


def test_realtime_tests_run_on_an_ordinary_loop(suite: pytest.Pytester) -> None:
    """The mark asks for asyncio's own loop, with a limit in real time."""
    report = outcomes(
        suite,
        """
        import time, conftest
        from kling_async.emulator.virtual import VirtualLoop

        @pytest.mark.realtime
        async def test_real():
            assert not isinstance(asyncio.get_running_loop(), VirtualLoop)
            began = time.monotonic()
            await asyncio.sleep(0.01)
            assert time.monotonic() - began >= 0.009

        @pytest.mark.realtime
        async def test_hangs(monkeypatch):
            await asyncio.Event().wait()

        @pytest.fixture(autouse=True)
        def short(monkeypatch):
            monkeypatch.setattr(conftest, "REALTIME_LIMIT_S", 0.05)
        """,
        passed=1,
        failed=1,
    )
    assert "TimeoutError" in report


def test_what_a_test_leaves_behind_fails_it(suite: pytest.Pytester) -> None:
    """Pending tasks, unread failures and errors in callbacks fail a test that passed otherwise."""
    report = outcomes(
        suite,
        """
        async def forget():
            await asyncio.sleep(1000)

        async def fail():
            raise LookupError("unread")

        async def test_task():
            test_task.kept = asyncio.create_task(forget(), name="forgotten")

        async def test_unread():
            asyncio.create_task(fail())
            await asyncio.sleep(1)

        async def test_callback():
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(1)

        async def test_stuck():
            await asyncio.Event().wait()

        async def test_ending_is_fine():
            test_ending_is_fine.kept = asyncio.create_task(asyncio.sleep(0))
        """,
        passed=1,
        failed=4,
    )
    assert "task still pending: forgotten waits at " in report
    assert "Task exception was never retrieved LookupError('unread')" in report
    assert "ZeroDivisionError" in report
    assert "nothing is scheduled" in report


def test_hypothesis_drives_async_tests(suite: pytest.Pytester) -> None:
    """Every example gets a fresh loop; failures shrink; assumptions and leftovers count."""
    report = outcomes(
        suite,
        """
        from hypothesis import assume, given, settings, strategies as st

        loops = []

        @given(st.integers())
        async def test_fresh(number):
            loops.append(asyncio.get_running_loop())
            assert loops[-1].time() == 0
            await asyncio.sleep(abs(number) % 1000)
            assume(number % 3)

        def test_there_were_many():
            assert len(set(map(id, loops))) > 10 and all(loop.is_closed() for loop in loops)

        @pytest.mark.parametrize("low", [0, 5])
        @given(number=st.integers(0, 1000))
        async def test_parametrised(low, number):
            await asyncio.sleep(low)
            assert number >= 0

        @given(st.integers(0, 1000))
        async def test_shrinks(number):
            await asyncio.sleep(1)
            assert number < 17

        @settings(database=None)
        @given(st.booleans())
        async def test_leaves(flag):
            if flag:
                asyncio.create_task(asyncio.sleep(1000), name="left")

        class TestMethods:
            @given(st.booleans())
            async def test_method(self, flag):
                await asyncio.sleep(1)
        """,
        passed=5,
        failed=2,
    )
    assert "number=17" in report
    assert "task still pending: left" in report
