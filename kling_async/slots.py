"""How many tasks may run at once: one gate per model and pack. Pure decisions, no clock, no I/O.

Stage: decide. Before: submitter, which asks it before each POST and tells it every answer.

Theory. The service counts tasks in flight per account, model and pack, and answers 1303 over the limit; it does not
queue. A backoff per job would make every waiter knock again and again. So a 1303 closes the gate, and the moment one
of our tasks is seen to end one waiter goes: that is when a slot is really free. With nothing of ours in flight the
slots are taken by other programs, and one waiter at a time tries again after a jittered delay.
"""

from __future__ import annotations

import attrs

_FIRST_WINDOW = 4
_PROBE_EVERY = 2.0  # full turns without a refusal, after which one more is tried
_ENDS_PER_PROBE = 32.0  # of a small limit, up to so many ends: twice as many turns after each try in vain


@attrs.define
class Gate:
    """The slots of one model and pack.

    Attributes:
        limit: most tasks at once, as learned; None: not met yet.
        running: slots held by tasks that were accepted and have not been seen to end.
        sending: slots held by submissions that were not answered yet.
        window: most submissions unanswered while no limit is known; it grows by each that is accepted, so that a
            thousand waiters do not find out about a limit of 20 all at once.
        released: slots given back since the limit was last touched.
        tried: the limit before one more was tried, until that is answered.
        patience: turns until one more is tried.
        step: how many more.
        shut_until: loop time before which nothing goes, seconds; used with nothing of ours in flight.
        refused_since: loop time of the first of an unbroken row of refusals with nothing of ours in flight.
    """

    limit: int | None = None
    running: int = 0
    sending: int = 0
    window: int = _FIRST_WINDOW
    released: int = 0
    tried: int | None = None
    patience: float = _PROBE_EVERY
    step: int = 1
    shut_until: float = 0.0
    refused_since: float | None = None

    def admits(self, slots: int, now: float) -> bool:
        """Tell whether a request that takes `slots` may be sent now."""
        if now < self.shut_until:
            return False
        if self.limit is None:
            return self.sending == 0 or self.sending + slots <= self.window
        if self.running + self.sending == 0:
            return True  # one larger than the limit is let through alone: the service decides
        return self.running + self.sending + slots <= self.limit

    def sent(self, slots: int) -> None:
        """A submission leaves."""
        self.sending += slots

    def taken(self, slots: int, *, surely: bool = True) -> None:
        """It was accepted, or (not surely) it may have been."""
        self.sending -= slots
        self.running += slots
        self.window += slots
        if self.refused_since is not None:
            # Others held the slots and have let go: what was learned meanwhile was about them.
            self.limit, self.tried, self.window = None, None, 1 + slots
            self.patience, self.step = _PROBE_EVERY, 1
        elif self.limit is not None:
            self.limit = max(self.limit, self.running)
            if self.tried is not None and self.running > self.tried and surely:
                # There is more room than was known: the next end tries again, twice as many up to a quarter more.
                self.tried, self.patience = None, 0.0
                self.step = min(2 * self.step, max(1, self.limit // 4))
        self.shut_until, self.refused_since = 0.0, None

    def adopted(self, slots: int) -> None:
        """A task of an earlier run holds its slots still."""
        self.running += slots

    def returned(self, slots: int) -> None:
        """It was not accepted, for a reason that says nothing about slots."""
        self.sending -= slots

    def full(self, slots: int, now: float, delay_s: float) -> None:
        """It was refused for lack of a slot.

        Args:
            slots: what it asked for.
            now: loop time, seconds.
            delay_s: jittered seconds to wait if nothing of ours is in flight.
        """
        self.sending -= slots
        # Submissions still unanswered may be accepted; each that is not comes here, and takes its own off again.
        self.limit = max(self.running + self.sending, 1)
        self.released = 0
        if self.tried is not None or self.patience == 0.0:  # tried in vain, or found as much as there is
            longest = max(_PROBE_EVERY, _ENDS_PER_PROBE / self.limit)
            self.patience = min(max(2 * self.patience, _PROBE_EVERY), longest)
            self.tried, self.step = None, 1
        if self.running == 0:
            self.shut_until = now + delay_s
            if self.refused_since is None:
                self.refused_since = now

    def released_by_end(self, slots: int) -> None:
        """A task ended: its slots are free, and a waiter may go."""
        self.running -= slots
        self.released += slots
        if self.limit is not None and self.tried is None and self.released >= self.patience * self.limit:
            # Some full turns without a refusal: the limit may have grown. Refused requests find out, and cost nothing.
            self.tried, self.released = self.limit, 0
            self.limit += max(self.step, slots)
        elif self.limit is not None and self.tried is not None:
            # Those that wait may be larger than what ended first: what ends next makes room for one of its own size.
            self.limit = max(self.limit, self.tried + slots)
