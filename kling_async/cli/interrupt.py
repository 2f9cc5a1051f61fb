"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process at once.

Where a command drains, the first Ctrl-C comes before these two: nothing more is sent, and what runs is waited for.

Stage: door. The only place of the package with signal handlers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .exits import Exit

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether the user wants to leave.

    Args:
        drains: whether the first Ctrl-C only asks to begin nothing more.
    """

    def __init__(self, *, drains: bool = False) -> None:
        self._asked = asyncio.Event()
        self._draining = asyncio.Event()
        self._drains = drains
        self._on_drain: Callable[[], None] | None = None
        self._signals = 0
        self._on_signal: Callable[[], None] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether an orderly end was asked for."""
        return self._asked.is_set()

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._draining.is_set()

    def ask(self) -> None:
        """Ask for an orderly end, for another reason than a signal."""
        self._asked.set()

    def when_signalled(self, callback: Callable[[], None]) -> None:
        """Call back at once when the first signal comes, to tell the user."""
        self._on_signal = callback

    async def wait(self) -> None:
        """Wait until an orderly end is asked for."""
        await self._asked.wait()

    def when_draining(self, callback: Callable[[], None]) -> None:
        """Call back at once when nothing more is to be begun, to tell the user."""
        self._on_drain = callback

    async def wait_to_drain(self) -> None:
        """Wait until nothing more is to be begun."""
        await self._draining.wait()

    def signalled(self, number: int = signal.SIGINT) -> None:
        """Take one signal."""
        # Who sends SIGTERM gives a few seconds, so only Ctrl-C waits for what runs.
        if self._drains and number == signal.SIGINT and not self._draining.is_set() and not self._signals:
            self._draining.set()
            if self._on_drain is not None:
                self._on_drain()
            return
        self._signals += 1
        if self._signals > 1:
            sys.stderr.flush()
            os._exit(Exit.INTERRUPTED)  # at once: no cleaning up that could hang
        self._asked.set()
        if self._on_signal is not None:
            self._on_signal()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals while the block runs; inside a running loop."""
        loop = asyncio.get_running_loop()
        before: dict[signal.Signals, Any] = {}
        added: list[signal.Signals] = []
        for number in _SIGNALS:
            try:
                loop.add_signal_handler(number, self.signalled, number)
                added.append(number)
            except NotImplementedError:  # Windows
                before[number] = signal.signal(number, self._in_loop(loop))
            except (RuntimeError, ValueError):  # not the main thread: nobody sends it signals
                break
        try:
            yield
        finally:
            for number in added:
                loop.remove_signal_handler(number)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _in_loop(self, loop: asyncio.AbstractEventLoop) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.signalled, number)

        return handle


def run(action: Callable[[Interrupt], Coroutine[Any, Any, Exit]], *, drains: bool = False) -> Exit:
    """Run a command's coroutine on a loop of its own, with the signals handled."""

    async def listening() -> Exit:
        interrupt = Interrupt(drains=drains)
        with interrupt.listening():
            return await action(interrupt)

    return asyncio.run(listening())
