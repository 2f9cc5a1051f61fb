"""How many queries may be sent, learned from what the host bears: no clock, no I/O.

Stage: decide. Before: poller (queries sent, complaints). After: poller (how many may go now).
"""

from __future__ import annotations

import attrs

from .models import Policy


@attrs.define
class Pace:
    """How many queries may be sent: a token bucket whose rate is learned.

    Attributes:
        rate: queries per second; starts at 10, grows by a tenth a second while more is wanted and nobody complains,
            halves on a complaint.
        most: upper bound of the rate: the user's, or 100.
        burst: tokens kept while nothing is asked, so that a sweep need not be spread.
        left: tokens left; below zero when pages were read on.
    """

    rate: float = 10.0
    most: float = 100.0
    burst: float = 20.0
    left: float = 20.0
    _at: float = 0.0
    _grown_at: float = 0.0

    def tokens(self, now: float) -> int:
        """Give the number of queries that may be sent now."""
        self.left = min(max(self.burst, self.rate), self.left + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        return max(0, int(self.left))

    def spend(self, queries: int) -> None:
        """Take tokens for queries that were sent; pages read on may overdraw a little."""
        self.left -= queries

    def wanted_more(self, now: float) -> None:
        """Note that a sweep did not get all the queries it wanted."""
        if now - self._grown_at >= 1.0:
            self.rate, self._grown_at = min(self.most, self.rate * 1.1), now

    def complaint(self) -> None:
        """Note that the host asked for less."""
        self.rate = max(min(0.5, self.most), self.rate / 2)

    def wait_s(self) -> float:
        """Give the seconds until the next token."""
        return max(0.0, (1 - self.left) / self.rate)


def pace_for(policy: Policy) -> Pace:
    """Make the pace that a policy asks for."""
    if policy.queries_per_s is None:
        return Pace()
    rate = policy.queries_per_s
    return Pace(rate=min(10.0, rate), most=rate, burst=max(1.0, min(20.0, rate)), left=max(1.0, min(20.0, rate)))
