"""An event loop in a thread of its own, in which one async context manager stays open.

Place: under the `with` form of the emulator, for programs and tests that have no loop, or another one.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

T = TypeVar("T")


class OwnLoop:
    """Opens a context manager in a thread, and closes it there."""

    def __init__(self, opened: AbstractAsyncContextManager[Any], name: str) -> None:
        self._opened = opened
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None
        self._error: BaseException | None = None

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Return when it is open; raise what opening raised."""
        self._thread.start()
        self._ready.wait()
        self._raise()

    def call(self, ask: Callable[[], T]) -> T:
        """The answer of a function that is called in the thread, between two steps of its loop."""
        assert self._loop is not None
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(ask())
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                answer.set_exception(error)

        self._loop.call_soon_threadsafe(work)
        return answer.result()

    def stop(self) -> None:
        """Return when it is closed; raise what closing raised."""
        assert self._loop is not None
        assert self._leave is not None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            self._thread.join()
            raise error

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever started or stops it
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        async with self._opened:
            self._ready.set()
            await self._leave.wait()
