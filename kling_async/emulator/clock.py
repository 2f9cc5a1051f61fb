"""The emulator's time: one monotonic source, squeezed or stretched, with a Unix epoch.

Place: below everything. Every moment in the emulator is a float of Unix seconds read from here, so a virtual
event loop, a clock turned by hand and a fast-forwarded clock all work without a single timer.
"""

import asyncio
import time as system_time
from collections.abc import Callable

import attrs


@attrs.define(eq=False)
class Clock:
    """Emulated Unix time: `epoch + elapsed * speed`, where elapsed comes from a monotonic source."""

    speed: float
    epoch: float | None
    source: Callable[[], float] | None
    _zero: float | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Take the moment zero, once; later calls change nothing."""
        if self._zero is not None:
            return
        if self.source is None:
            # The running loop's clock, not time.monotonic(): a virtual loop then moves the emulator too.
            self.source = asyncio.get_running_loop().time
        if self.epoch is None:
            self.epoch = system_time.time()
        self._zero = self.source()

    def elapsed(self) -> float:
        """Seconds of the source since the start; not scaled by `speed`."""
        if self._zero is None or self.source is None:
            return 0.0
        return self.source() - self._zero

    def now(self) -> float:
        """The emulated moment, in Unix seconds."""
        return (self.epoch or 0.0) + self.elapsed() * self.speed

    def wall(self) -> float:
        """Unix seconds that ignore `speed`: what a caller's own clock says, for judging its tokens."""
        return (self.epoch or 0.0) + self.elapsed()

    def since_start(self) -> float:
        """Emulated seconds since the start."""
        return self.elapsed() * self.speed

    def real(self, seconds: float) -> float:
        """How many seconds of the source pass while so many emulated ones do."""
        return seconds / self.speed
