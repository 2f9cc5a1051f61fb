"""An event loop whose clock is virtual and whose network is memory: minutes of waiting run in milliseconds.

Theory: an asyncio program acts only when a callback is ready or a timer is due. So the loop never sleeps: when
nothing is ready, the clock jumps to the next timer; when there is no timer either, no one is left who could wake
the program, and that is an error with names instead of a hang. Everything that could depend on the outside is
taken inside: connections are pairs of in-memory transports, executors run their function on the spot, timers of
the same moment fire in the order they were set, and sets of tasks iterate in an order that does not depend on
memory addresses. What is left is the program itself, so a run repeats exactly.

The transports behave like stream sockets with a kernel between them: a write first fills the wire (`WINDOW`
bytes), the rest waits in the sender's buffer and pauses the writer; bytes arrive no earlier than the next turn of
the loop, after `latency` virtual seconds, merged or cut by `chunk`, always in order. aiohttp's `UnixSite` and
`UnixConnector` and the streams of asyncio use them without knowing.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import math
import os
import selectors
from collections import deque
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable
    from concurrent.futures import Executor
    from contextvars import Context
    from types import FrameType
    from typing import Self, TypeVarTuple, Unpack

    _Ts = TypeVarTuple("_Ts")

_T = TypeVar("_T")
_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)

# Bytes the wire of one direction holds between the sender's buffer and the receiving protocol; also the most that
# one data_received gets. A real socket pair holds some 200 KiB; less makes flow control begin earlier.
WINDOW = 65_536

# Virtual seconds after which a run that still sets timers is taken for endless; a week outlasts every deadline of
# the service, and polling every few seconds for a week takes half a real minute.
HORIZON_S = 7 * 86_400.0

# Turns of the loop without any passing of time after which a run is taken for a spin; sending 1 GB takes 50,000.
SPIN_TURNS = 1_000_000


class Stuck(RuntimeError):
    """The program can never finish: nothing is scheduled, or it goes on past every reasonable end."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A deterministic loop: virtual time, in-memory connections, inline executors.

    Args:
        start: what `time()` says at first, in seconds.
        latency: virtual seconds each way of a connection takes, or a function that draws them for each write
            (bytes never overtake each other). May be changed while running.
        chunk: most bytes one `data_received` gets; 1 feeds parsers byte by byte.
        horizon: virtual seconds from `start` after which the run is declared `Stuck`.
        patience: real seconds to wait for `call_soon_threadsafe` from a foreign thread before time jumps. 0 is
            right without foreign threads, and the only value that is deterministic.

    Raises:
        Stuck: out of `run_until_complete` or `run_forever`, when nothing is ready and nothing is scheduled, when
            virtual time passes `horizon`, or when `SPIN_TURNS` turns pass without time.
    """

    # The base class's own heap of timers and the span it takes for "now"; CPython 3.11 to 3.14 all keep them.
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(
        self,
        *,
        start: float = 0.0,
        latency: float | Callable[[], float] = 0.0,
        chunk: int = WINDOW,
        horizon: float = HORIZON_S,
        patience: float = 0.0,
    ) -> None:
        self._now = start
        self.latency = latency
        self.chunk = chunk
        self.patience = patience
        self._horizon = start + horizon
        self._turns = 0
        self._timer_numbers = itertools.count()
        self._task_numbers = itertools.count()
        self._servers: dict[str, _Server] = {}
        self._connections: dict[Connection, None] = {}
        super().__init__(_Selector(self))
        self.set_task_factory(self._make_task)
        self._set_time(start)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Open in-memory connections, oldest first; one leaves when both its ends were told it is lost."""
        return tuple(self._connections)

    def time(self) -> float:
        """Virtual seconds; stands still while anything is ready."""
        return self._now

    def close(self) -> None:
        """Close the loop and forget its network; protocols are not told."""
        super().close()
        self._servers.clear()
        self._connections.clear()

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` at virtual time `when`; timers of the same moment run in the order they were set."""
        return super().call_at(_Moment(when, next(self._timer_numbers)), callback, *args, context=context)

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[_Ts]], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Run `func` now, on this thread, whatever the executor; its result arrives in the next turn.

        As in a real thread there is no running loop inside `func`. A function that waits for another thread or
        for this loop hangs.
        """
        del executor
        future: asyncio.Future[_T] = self.create_future()
        running = asyncio._get_running_loop()  # noqa: SLF001  (made for writers of loops, says its docstring)
        asyncio._set_running_loop(None)  # noqa: SLF001
        try:
            outcome = _call_caught(func, args)
        finally:
            asyncio._set_running_loop(running)  # noqa: SLF001
        # A turn later, as no thread answers at once: code that must not be interleaved has to show it.
        self.call_soon(_settle, future, outcome)
        return future

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Refuse: names lead to real sockets.

        Raises:
            RuntimeError: always.
        """
        del options
        raise RuntimeError(f"VirtualLoop has no network: {host!r}:{port!r} was asked for; use a unix path")

    async def create_unix_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        path: str | os.PathLike[str] | None = None,
        *,
        start_serving: bool = True,
        **options: Any,
    ) -> asyncio.Server:
        """Listen on a virtual path; nothing is created on disk.

        Raises:
            OSError: (EADDRINUSE) another server listens on `path`.
            ValueError: no path was given, or `sock` or `ssl` was.
        """
        server = _Server(self, protocol_factory, _checked_path(path, options))
        if start_serving:
            await server.start_serving()
        return server

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        path: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Connect to the server listening on a virtual path; takes one round trip.

        Raises:
            ConnectionRefusedError: nobody listens on `path`.
            ConnectionResetError: the server cut the connection while it was being made.
            ValueError: no path was given, or `sock` or `ssl` was.
        """
        name = _checked_path(path, options)
        await asyncio.sleep(self._draw_latency())
        server = self._servers.get(name)
        connection = None if server is None else server._accept()  # noqa: SLF001  (same module)
        try:
            await asyncio.sleep(self._draw_latency())
        except BaseException:
            if connection is not None:
                connection.client.abort()
            raise
        if connection is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"Nobody listens on {name}")
        if connection.client.is_closing():
            raise _reset()
        protocol = protocol_factory()
        connection.client._begin(protocol)  # noqa: SLF001
        return connection.client, protocol

    def _draw_latency(self) -> float:
        return self.latency() if callable(self.latency) else self.latency

    def _make_task(
        self,
        _loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        **options: Any,
    ) -> asyncio.Task[_T]:
        return _Task(coro, loop=self, number=next(self._task_numbers), **options)

    def _set_time(self, now: float) -> None:
        self._now = now
        # The base class runs timers before now + resolution. One ulp is the least that keeps this true at any `now`.
        self._clock_resolution = math.ulp(now)

    def _pass_time(self) -> None:
        """Jump to the next timer; called when nothing is ready."""
        self._turns = 0
        if not self._scheduled:
            raise Stuck(f"nothing is scheduled: the program would wait for ever{self._describe()}")
        self._set_time(max(self._now, float(self._scheduled[0].when())))
        if self._now > self._horizon:
            # Cleaning up after this error may need timers too.
            self._horizon = self._now + 3_600.0
            raise Stuck(f"virtual time passed the horizon: the program seems endless{self._describe()}")

    def _count_turn(self) -> None:
        self._turns += 1
        if self._turns > SPIN_TURNS:
            self._turns = 0
            raise Stuck(f"{SPIN_TURNS} turns without passing of time: the program spins{self._describe()}")

    def _describe(self) -> str:
        lines = [f" (virtual time {self._now:.6g} s)"]
        tasks = sorted(asyncio.all_tasks(self), key=hash)
        lines += [f"  {describe_task(task)}" for task in tasks] or ["  no task is pending"]
        return "\n".join(lines)


def run(
    coro: Coroutine[Any, Any, _T],
    *,
    start: float = 0.0,
    latency: float | Callable[[], float] = 0.0,
    chunk: int = WINDOW,
    horizon: float = HORIZON_S,
) -> _T:
    """Run `coro` on a fresh VirtualLoop, as asyncio.run does on a real one; arguments as there.

    Leftover tasks are cancelled, asynchronous generators shut down and the loop closed. Debug mode follows
    `python -X dev` and PYTHONASYNCIODEBUG.

    Raises:
        Stuck: the program could never finish; see VirtualLoop.
    """

    def make_loop() -> VirtualLoop:
        return VirtualLoop(start=start, latency=latency, chunk=chunk, horizon=horizon)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(coro)


def describe_task(task: asyncio.Task[Any]) -> str:
    """Say what a pending task is called and where it waits, innermost await last."""
    places = []
    awaited: Any = task.get_coro()
    # Coroutines, generators and asynchronous generators name the same two things differently.
    while awaited is not None:
        frame: FrameType | None = None
        for prefix in ("cr", "gi", "ag"):
            if hasattr(awaited, f"{prefix}_frame"):
                frame = getattr(awaited, f"{prefix}_frame")
                awaited = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await")
                break
        if frame is None:
            break
        code = frame.f_code
        file = "/".join(PurePath(code.co_filename).parts[-2:])
        places.append(f"{file}:{frame.f_lineno} {code.co_name}")
    return f"{task.get_name()} waits at {' > '.join(places) or 'an unknown place'}"


@attrs.frozen(eq=False)
class Connection:
    """One in-memory connection, for tests that watch or cut it."""

    path: str
    client: MemoryTransport
    server: MemoryTransport

    def cut(self) -> None:
        """Break the line: in the next turn both ends lose the connection with ConnectionResetError."""
        for end in (self.client, self.server):
            end._later(end._on_reset)  # noqa: SLF001  (same module)


class MemoryTransport(asyncio.Transport):
    """One end of an in-memory connection, with the manners of a stream socket's transport."""

    def __init__(self, loop: VirtualLoop, extra: dict[str, Any], forget: Callable[[], None]) -> None:
        super().__init__(extra)
        self._loop = loop
        self._forget = forget
        self._peer = self
        self._protocol: asyncio.Protocol | None = None
        self._closing = False
        self._losing = False
        self._lost = False
        # Outgoing: the buffer, what the wire holds of ours, and the moment its last piece arrives.
        self._buffer: deque[memoryview] = deque()
        self._buffered = 0
        self._on_wire = 0
        self._last_arrival = -math.inf
        self._high = 65_536
        self._low = 16_384
        self._writing_paused = False
        self._eof_asked = False
        self._eof_sent = False
        self._room_noted = False
        # Incoming: pieces with their moment of arrival; None is the end.
        self._inbox: deque[tuple[float, memoryview | None]] = deque()
        self._reading_paused = False
        self._left_unread = False
        self._pump_handle: asyncio.Handle | None = None

    def __repr__(self) -> str:
        state = "lost" if self._lost else "closing" if self._closing else "open"
        return f"<MemoryTransport {state} {self.get_extra_info('sockname')!r} buffered={self._buffered}>"

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol served."""
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Serve another protocol from now on.

        Raises:
            TypeError: it is not an asyncio.Protocol (a BufferedProtocol is not supported).
        """
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError(f"an asyncio.Protocol is needed, not {type(protocol).__name__}")
        self._protocol = protocol

    def is_closing(self) -> bool:
        """Whether close or abort was called or the peer broke the connection."""
        return self._closing

    def close(self) -> None:
        """Send what is buffered, then the end; the protocol's connection_lost(None) follows."""
        if self._closing:
            return
        self._closing = True
        # What arrives from now on is thrown away, but it is taken off the wire: the peer's writer may wait for that.
        self._wake_pump()
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        """Throw away what is buffered; the peer's protocol gets connection_lost(ConnectionResetError)."""
        if self._losing:
            return
        self._closing = True
        self._drop_buffer()
        self._lose(None, aborted=True)

    # Reading.

    def is_reading(self) -> bool:
        """Whether incoming bytes reach the protocol."""
        return not self._closing and not self._reading_paused

    def pause_reading(self) -> None:
        """Leave incoming bytes on the wire; the peer's writer is paused when it is full."""
        if not self._closing:
            self._reading_paused = True

    def resume_reading(self) -> None:
        """Take incoming bytes again."""
        if not self._closing and self._reading_paused:
            self._reading_paused = False
            self._wake_pump()

    # Writing.

    def get_write_buffer_size(self) -> int:
        """Bytes written and not yet on the wire."""
        return self._buffered

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return (low, high), in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when pause_writing and resume_writing are called, in bytes; defaults as in asyncio.

        Raises:
            ValueError: not `high` ≥ `low` ≥ 0.
        """
        if high is None:
            high = 65_536 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._pause_writer_if_full()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send bytes; after close they are thrown away.

        Raises:
            RuntimeError: write_eof was called before.
            TypeError: `data` is not bytes-like.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data must be bytes-like, not {type(data).__name__}")
        if self._eof_asked:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._closing:
            return
        piece = memoryview(bytes(data))
        self._buffer.append(piece)
        self._buffered += len(piece)
        self._fill_wire()
        self._pause_writer_if_full()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send bytes from several pieces as one write."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Return True: half-closing works."""
        return True

    def write_eof(self) -> None:
        """Send the end after what is buffered, and go on reading."""
        if self._closing or self._eof_asked:
            return
        self._eof_asked = True
        self._fill_wire()

    # What follows is called by the loop, the peer and Connection, never by protocols.

    def _begin(self, protocol: asyncio.BaseProtocol) -> None:
        self.set_protocol(protocol)
        protocol.connection_made(self)
        self._wake_pump()

    def _later(self, callback: Callable[[], object], moment: float = -math.inf) -> asyncio.Handle | None:
        """Run `callback` at `moment`, at the earliest in the next turn."""
        if self._loop.is_closed():
            # Objects torn down after the loop still close their transports; nobody is left to be told.
            return None
        if moment <= self._loop.time():
            return self._loop.call_soon(callback)
        return self._loop.call_at(moment, callback)

    def _arrival(self) -> float:
        """When something sent now arrives; never before what was sent earlier."""
        self._last_arrival = max(self._last_arrival, self._loop.time() + self._loop._draw_latency())  # noqa: SLF001
        return self._last_arrival

    def _fill_wire(self) -> None:
        if self._buffer and self._on_wire < WINDOW:
            arrival = self._arrival()
            while self._buffer and self._on_wire < WINDOW:
                piece = self._buffer.popleft()
                room = WINDOW - self._on_wire
                if len(piece) > room:
                    self._buffer.appendleft(piece[room:])
                    piece = piece[:room]
                self._buffered -= len(piece)
                self._on_wire += len(piece)
                self._peer._deliver(arrival, piece)  # noqa: SLF001  (the other end)
        if not self._buffer:
            if self._closing:
                self._lose(None)
            elif self._eof_asked:
                self._send_eof()

    def _send_eof(self) -> None:
        if not self._eof_sent:
            self._eof_sent = True
            self._peer._deliver(self._arrival(), None)  # noqa: SLF001

    def _note_room(self, taken: int) -> None:
        """The peer took bytes off the wire; use the room in the next turn."""
        self._on_wire -= taken
        if self._buffer and not self._room_noted:
            self._room_noted = True
            self._later(self._use_room)

    def _use_room(self) -> None:
        self._room_noted = False
        if self._losing:
            return
        self._fill_wire()
        if self._writing_paused and self._buffered <= self._low:
            self._writing_paused = False
            self._call("resume_writing")

    def _pause_writer_if_full(self) -> None:
        if self._buffered > self._high and not self._writing_paused:
            self._writing_paused = True
            self._call("pause_writing")

    def _deliver(self, arrival: float, piece: memoryview | None) -> None:
        self._inbox.append((arrival, piece))
        self._wake_pump()

    def _wake_pump(self) -> None:
        held = self._protocol is None or (self._reading_paused and not self._closing)
        if self._inbox and self._pump_handle is None and not (held and not self._lost):
            self._pump_handle = self._later(self._pump, self._inbox[0][0])

    def _pump(self) -> None:
        """Hand over what has arrived: one data_received or one eof_received a turn."""
        self._pump_handle = None
        if self._reading_paused and not self._closing:
            return
        pieces: list[memoryview] = []
        taken = 0
        now = self._loop.time()
        while self._inbox and self._inbox[0][0] <= now and taken < self._loop.chunk:
            arrival, piece = self._inbox[0]
            if piece is None:
                break
            room = self._loop.chunk - taken
            if len(piece) > room:
                self._inbox[0] = (arrival, piece[room:])
                piece = piece[:room]
            else:
                self._inbox.popleft()
            pieces.append(piece)
            taken += len(piece)
        if taken:
            self._peer._note_room(taken)  # noqa: SLF001
            if self._lost:
                self._refuse()
            elif self._closing:
                self._left_unread = True
            else:
                self._call("data_received", b"".join(pieces))
        else:
            # The pump wakes for the first piece's arrival, so what is there without bytes is the end.
            self._inbox.popleft()
            if not self._closing and not self._call("eof_received"):
                self.close()
        self._wake_pump()

    def _refuse(self) -> None:
        """Answer bytes for a dead end as a kernel does: by a reset."""
        if not self._peer._losing:  # noqa: SLF001
            self._later(self._peer._on_reset, self._arrival())  # noqa: SLF001

    def _on_reset(self) -> None:
        if not self._losing:
            self._closing = True
            self._losing = True
            self._drop_buffer()
            self._connection_lost(_reset(), aborted=False)

    def _lose(self, error: Exception | None, *, aborted: bool = False) -> None:
        if not self._losing:
            self._losing = True
            self._later(lambda: self._connection_lost(error, aborted=aborted))

    def _connection_lost(self, error: Exception | None, *, aborted: bool) -> None:
        self._lost = True
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(error)
        finally:
            # A kernel answers bytes nobody read by a reset too, not by the end.
            if aborted or (error is None and self._left_unread):
                self._refuse()
            elif error is None:
                self._send_eof()
            # The pump throws away what still arrives, and answers it by a reset.
            self._wake_pump()
            self._forget()

    def _drop_buffer(self) -> None:
        self._buffer.clear()
        self._buffered = 0

    def _call(self, method: str, *args: object) -> object:
        """Call the protocol; its exception is reported and breaks the connection, as in asyncio."""
        protocol = self._protocol
        try:
            return getattr(protocol, method)(*args)
        except Exception as error:  # noqa: BLE001  (reported to the loop's exception handler)
            self._loop.call_exception_handler(
                {
                    "message": f"Fatal error: protocol.{method}() call failed.",
                    "exception": error,
                    "transport": self,
                    "protocol": protocol,
                }
            )
            self._closing = True
            self._drop_buffer()
            self._lose(error, aborted=True)
            return True


class _Server(asyncio.Server):
    """A listener on a virtual path; on every Python it has the manners of Python 3.13's asyncio.Server."""

    def __init__(self, loop: VirtualLoop, protocol_factory: Callable[[], asyncio.BaseProtocol], path: str) -> None:
        super().__init__(loop, (), protocol_factory, None, 0, None)
        self._memory = loop
        self._make_protocol = protocol_factory
        self._path = path
        self._open: dict[MemoryTransport, None] = {}
        self._closed = False
        self._all_gone: asyncio.Future[None] = loop.create_future()
        self._until_closed: asyncio.Future[None] | None = None

    def is_serving(self) -> bool:
        return self._memory._servers.get(self._path) is self  # noqa: SLF001  (same module)

    async def start_serving(self) -> None:
        if self._closed:
            raise RuntimeError(f"server on {self._path} is closed")
        if self._memory._servers.setdefault(self._path, self) is not self:  # noqa: SLF001
            raise OSError(errno.EADDRINUSE, f"Address {self._path!r} is already in use")
        await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        await self.start_serving()
        self._until_closed = self._memory.create_future()
        try:
            await self._until_closed
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self.is_serving():
            del self._memory._servers[self._path]  # noqa: SLF001
        if self._until_closed is not None:
            self._until_closed.cancel()
        self._check_gone()

    def close_clients(self) -> None:
        for end in tuple(self._open):
            end.close()

    def abort_clients(self) -> None:
        for end in tuple(self._open):
            end.abort()

    async def wait_closed(self) -> None:
        await asyncio.shield(self._all_gone)

    def _accept(self) -> Connection:
        loop = self._memory

        def forget() -> None:
            if connection.server._lost:  # noqa: SLF001
                self._open.pop(connection.server, None)
                self._check_gone()
                if connection.client._lost:  # noqa: SLF001
                    loop._connections.pop(connection, None)  # noqa: SLF001

        client = MemoryTransport(loop, {"peername": self._path, "sockname": ""}, forget)
        server = MemoryTransport(loop, {"peername": "", "sockname": self._path}, forget)
        client._peer, server._peer = server, client  # noqa: SLF001
        connection = Connection(self._path, client, server)
        loop._connections[connection] = None  # noqa: SLF001
        self._open[server] = None
        try:
            server._begin(self._make_protocol())  # noqa: SLF001
        except Exception as error:  # noqa: BLE001  (as in asyncio: reported, and the client sees a broken connection)
            loop.call_exception_handler({"message": f"Error on accept on {self._path}", "exception": error})
            server.abort()
        return connection

    def _check_gone(self) -> None:
        if self._closed and not self._open and not self._all_gone.done():
            self._all_gone.set_result(None)


class _Selector(selectors.DefaultSelector):
    """Never blocks: asks the loop to pass virtual time instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._owner = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        # The loop's own wake-up pipe is the first and only one: a real peer would always be too late here.
        if self.get_map():
            raise RuntimeError("VirtualLoop has no network: real sockets and pipes cannot be used on it")
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        owner = self._owner
        if timeout == 0:
            owner._count_turn()  # noqa: SLF001  (same module)
            return super().select(0)
        events = super().select(owner.patience)
        if not events:
            owner._pass_time()  # noqa: SLF001
        return events


class _Moment(float):
    """A timer's time that breaks ties by the order of setting; a heap alone does not."""

    __slots__ = ("_number",)
    _number: int

    def __new__(cls, when: float, number: int) -> Self:
        self = super().__new__(cls, when)
        self._number = number
        return self

    def __lt__(self, other: float) -> bool:
        if isinstance(other, _Moment) and self == other:
            return self._number < other._number
        return super().__lt__(other)


class _Task(asyncio.Task[_T]):
    """A task hashed by its number, so that sets of tasks (of TaskGroup, wait) iterate alike in every run."""

    def __init__(self, coro: Any, *, number: int, **options: Any) -> None:
        # First, because the base class puts itself into a set.
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


def _call_caught(func: Callable[[Unpack[_Ts]], _T], args: tuple[*_Ts]) -> tuple[_T] | BaseException:
    """Return the result in a tuple, or what was raised; a function of its own so that no frame holds a cycle."""
    try:
        return (func(*args),)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  (handed over, as executors do)
        return error


def _settle(future: asyncio.Future[_T], outcome: tuple[_T] | BaseException) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome[0])


def _checked_path(path: str | os.PathLike[str] | None, options: dict[str, Any]) -> str:
    if path is None:
        raise ValueError("a path is needed")
    if options.get("sock") is not None or options.get("ssl"):
        raise ValueError("sock and ssl are not supported in memory")
    return os.fspath(path)


def _reset() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
