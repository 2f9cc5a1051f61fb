"""What people see while jobs run: a live display on a terminal, a line now and then in a pipe, nothing when told so.

Stage: door. Reads the session's snapshot and the crew's tally; changes nothing. Everything goes to stderr.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import attrs
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ..errors import clean_text
from ..models import Status
from ..session import KlingSession
from .talk import Talk
from .tally import Tally

_FRAME_S = 0.125
_LINE_EVERY_S = 5.0
_RATE_OVER_S = 60
_RATE_FROM_S = 3.0
_WIDEST_BAR = 60

# Differ also without colours; the second set is for terminals without Unicode.
_CELLS = (
    ("before", "▆", "-", "dim green"),
    ("fine", "█", "#", "green"),
    ("bad", "▚", "x", "red"),
    ("saving", "▓", "+", "cyan"),
    ("running", "▒", "=", "cyan"),
)
_WAITING = ("░", ".", "dim")


@attrs.frozen(kw_only=True)
class View:
    """One moment in numbers.

    Attributes:
        total, fine, bad, saving: jobs in all, as wished, failed, being saved.
        running: jobs that the service has.
        sending: submissions on their way.
        unsure: submissions that are looked up.
        queries: status queries made.
        slots: per model: tasks running, and the limit met.
        elapsed_s: since the start.
        before: jobs that ended in an earlier run, and those that are held back.
        rate: jobs that end per second, of late; 0 where that is not known.
        price: what it costs so far by the price list, USD; None where that is not counted.
        is_making: whether jobs are made or followed; else files of jobs are saved that have ended.
    """

    total: int
    fine: int
    bad: int
    saving: int
    running: int
    sending: int
    unsure: int
    queries: int
    slots: tuple[tuple[str, int, int], ...]
    elapsed_s: float
    before: int = 0
    rate: float = 0.0
    price: Decimal | None = None
    is_making: bool = True

    @property
    def waiting(self) -> int:
        """Jobs that were not sent yet."""
        begun = self.before + self.fine + self.bad + self.saving + self.running + self.sending + self.unsure
        return max(0, self.total - begun)

    @property
    def left_s(self) -> float | None:
        """Seconds until all have ended, if they go on to end as of late."""
        return (self.total - self.before - self.fine - self.bad) / self.rate if self.rate else None

    def counts(self, word: str) -> str:
        """Tell the counts by state; `word` is what a job as wished is called. A single job has just a state."""
        if self.total == 1:
            known = [
                (self.running, "running"),
                (self.saving, "being saved"),
                (self.sending, "being sent"),
                (self.unsure, "not known whether it was taken: looking it up"),
                (self.fine, word),
                (self.bad, "failed"),
            ]
            return next(
                (name for number, name in known if number), "waiting to be sent" if self.is_making else "waiting"
            )
        parts = [f"{self.fine:,} {word}"]
        if self.is_making or self.running:
            parts.append(f"{self.running:,} running")
        parts.append(f"{self.waiting:,} waiting")
        for number, name in ((self.saving, "being saved"), (self.sending, "being sent"), (self.unsure, "unsure")):
            if number:
                parts.append(f"{number:,} {name}")
        parts.append(f"{self.bad:,} failed")
        if self.before:
            parts.append(f"{self.before:,} {'before' if self.is_making else 'already there'}")
        return " · ".join(parts)

    def figures(self) -> str:
        """Tell time, rate, questions and slots."""
        parts = [clock(self.elapsed_s)]
        if self.fine and self.elapsed_s >= 1:
            parts.append(f"{60 * (self.rate or self.fine / self.elapsed_s):.0f} per minute")
        if self.left_s:
            parts.append(f"{clock(self.left_s)} left")
        if self.price is not None:
            parts.append(f"{self.price:.2f} USD")
        for model, used, limit in self.slots[:2]:
            parts.append(f"{used} of {limit} slots" + (f" of {model}" if model else ""))
        if self.is_making or self.queries:
            parts.append(f"{counted(self.queries, 'query', 'queries')} made")
        return " · ".join(parts)


class Progress:
    """The display of one command.

    Args:
        talk: where it appears.
        session: whose snapshot is shown.
        tally: the crew's counts.
        word: what a job as wished is called ("saved").
        recent: how many of the last ends are shown.
        price: tells what it costs so far, USD.
        is_making: whether jobs are made or followed, and not only files saved.
    """

    def __init__(
        self,
        talk: Talk,
        session: KlingSession,
        tally: Tally,
        *,
        word: str,
        recent: int = 0,
        price: Callable[[], Decimal] | None = None,
        is_making: bool = True,
    ) -> None:
        self._talk = talk
        self._session = session
        self._tally = tally
        self._word = word
        self._recent: deque[str] = deque(maxlen=recent)
        self._price = price
        self._is_making = is_making
        self._ends: deque[tuple[float, int]] = deque(maxlen=_RATE_OVER_S)
        self._began = time.monotonic()
        self._said = ""
        self._live: Live | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def note(self, words: str) -> None:
        """Show one of the last ends."""
        self._recent.append(words)

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show it while the block runs."""
        if not self._talk.has_progress:
            yield
            return
        ticking = asyncio.create_task(self._tick_live() if self._talk.is_terminal else self._tick_lines())
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.wait({ticking})
            self.hide()

    def leave(self) -> None:
        """Tell that the signal was taken; from here on the terminal is left as it was found."""
        self.hide()
        self._talk.say(
            f"Stopping: nothing more is {'sent' if self._is_making else 'fetched'}. Ctrl-C again leaves at once."
        )

    def drain(self) -> None:
        """Tell that the first Ctrl-C was taken."""
        self._talk.say("Stopping: nothing more is sent; what runs is waited for. Ctrl-C again leaves it running.")

    def hide(self) -> None:
        """Take the display off the terminal, cursor restored."""
        live, self._live = self._live, None
        self._talk.is_live = False
        if live is not None:
            live.stop()

    async def _tick_live(self) -> None:
        # Refreshed from the loop and not from rich's thread: the snapshot may only be read on the loop.
        self._live = Live(
            console=self._talk.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        self._talk.is_live = True
        while self._live is not None:
            self._live.update(self.picture(), refresh=True)
            await asyncio.sleep(_FRAME_S)

    async def _tick_lines(self) -> None:
        while True:
            await asyncio.sleep(_LINE_EVERY_S)
            view = self.view()
            counts = view.counts(self._word)
            if counts != self._said:
                self._said = counts
                self._talk.say(f"{counts} · {view.figures()}")

    def view(self) -> View:
        """Give the moment in numbers."""
        stats, tally = self._session.stats, self._tally
        jobs = stats.jobs
        return View(
            total=tally.total,
            fine=tally.fine,
            bad=tally.bad,
            saving=tally.saving,
            running=jobs.get(Status.ACCEPTED, 0) + jobs.get(Status.PROCESSING, 0),
            sending=jobs.get(Status.SENDING, 0) + tally.asking,
            unsure=jobs.get(Status.UNSURE, 0),
            queries=sum(stats.queries.values()),
            slots=tuple(
                (model, running, limit) for (_, model), (running, limit) in stats.slots.items() if limit is not None
            ),
            elapsed_s=self.elapsed_s,
            before=tally.before + tally.failed_before + tally.held,
            rate=self._rate(tally.fine + tally.bad),
            price=None if self._price is None else self._price(),
            is_making=self._is_making,
        )

    def _rate(self, ended: int) -> float:
        """Tell how many jobs end per second, over the last minute or so."""
        now = self.elapsed_s
        if not self._ends or now - self._ends[-1][0] >= 1.0:
            self._ends.append((now, ended))
        first_at, first = self._ends[0]
        return (ended - first) / (now - first_at) if now - first_at >= _RATE_FROM_S else 0.0

    def picture(self) -> Group:
        """Draw the moment."""
        view = self.view()
        words = [(clean_text(note), "dim") for note in self._recent]
        words += [(view.counts(self._word), ""), (view.figures(), "")]
        lines = [Text(self._talk.plain(line), style, no_wrap=True, overflow="ellipsis") for line, style in words]
        if view.total > 1:
            lines.insert(-2, _bar(view, self._width(), plain=self._is_plain()))
        return Group(*lines)

    def _width(self) -> int:
        return max(10, min(_WIDEST_BAR, self._talk.console.width - 16))

    def _is_plain(self) -> bool:
        return not self._talk.console.encoding.startswith("utf")


def _bar(view: View, width: int, *, plain: bool) -> Text:
    bar = Text()
    seen, drawn = 0, 0
    for name, cell, spare, style in _CELLS:
        seen += getattr(view, name)
        upto = width * min(seen, view.total) // max(1, view.total)
        bar.append((spare if plain else cell) * (upto - drawn), style)
        drawn = upto
    cell, spare, style = _WAITING
    bar.append((spare if plain else cell) * (width - drawn), style)
    ended = view.before + view.fine + view.bad
    return bar.append(f"  {ended:,} of {view.total:,}")


def clock(seconds: float) -> str:
    """Spell a time as minutes and seconds, or hours."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def counted(number: int, one: str, many: str = "") -> str:
    """Spell a count: "1 clip", "2 clips"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
