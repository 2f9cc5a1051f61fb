"""The rows of the planner, and where they stand in a host's list: pure, no clock, no I/O.

Stage: decide. Before: sweep (rows that come and go). After: sweep (pages and what they hold).

Theory. Lists are newest first, so age is position: a task stands behind as many rows as were made after it. Tasks made
within two seconds of one another are one band: one age, one place, one moment at which they were last seen; so a plan
costs the number of bands and not of tasks. Where a band stands now is where it was seen last, plus our own tasks made
since, plus other users' at the rate at which bands were seen to sink. What an answer shows corrects all of that;
nothing that matters depends on it, because a task that two answers did not show is asked about singly.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from .hazards import Hazard

BAND_ROWS = 250
BAND_S = 2.0
_FORGET_S = 120.0  # how fast the rate of other users' tasks is forgotten
_TIDY_EVERY = 64


@attrs.define
class Watch:
    """One row of the planner: a task to ask about.

    Attributes:
        endpoint: name of its endpoint.
        id: its task id, or its external id while no task id is known.
        external: which of the two `id` is.
        asked_at: loop time at which it was last asked about, seconds; of a row in a band, nobody wants to know.
        misses: answers in a row that should have held it and did not.
        born_at: loop time at which it was made, seconds.
        seen_at: loop time at which it was last seen alive, seconds; of a row in a band, the band says it.
        due_at: loop time at which asking about it alone, or in a batch, begins to be worth it, seconds.
        order: its place among our own tasks of its endpoint, by creation.
        hazard: its class; None for what is looked up on demand only.
        band: where it stands in a list; None where it is asked about otherwise.
    """

    endpoint: str
    id: str
    external: bool
    asked_at: float
    misses: int = 0
    born_at: float = attrs.field(default=0.0, eq=False)
    seen_at: float = attrs.field(default=0.0, eq=False)
    due_at: float = attrs.field(default=math.inf, eq=False)
    order: int = attrs.field(default=0, eq=False)
    hazard: Hazard | None = attrs.field(default=None, eq=False, repr=False)
    band: Band | None = attrs.field(default=None, eq=False, repr=False)


@attrs.define(eq=False)
class Band:
    """Tasks of one list made at about the same time, and last seen at the same time.

    Attributes:
        born_at: loop time at which the first of them was made, seconds.
        seen_at: loop time at which they were last seen alive, seconds.
        first, last: their places among our own tasks of this list, by creation; some between may have ended.
        rows: task id → row.
        kinds: how many of them are of each class.
        others: how many tasks of other users stood above them in the list.
        others_at: loop time of that, seconds.
        spread: by how much that differs within the band.
        worth: what asking about them was worth when it was last weighed, in prices.
        weigh_at: loop time from which it is weighed anew, seconds.
    """

    born_at: float
    seen_at: float
    first: int
    last: int
    rows: dict[str, Watch] = attrs.field(factory=dict, repr=False)
    kinds: dict[Hazard, int] = attrs.field(factory=dict, repr=False)
    others: float = 0.0
    others_at: float = 0.0
    spread: float = 0.0
    worth: float = 0.0
    weigh_at: float = -math.inf

    def put(self, watch: Watch) -> None:
        """Take a row in."""
        assert watch.hazard is not None
        self.rows[watch.id] = watch
        self.kinds[watch.hazard] = self.kinds.get(watch.hazard, 0) + 1
        watch.band = self

    def take(self, watch: Watch) -> None:
        """Let a row go."""
        assert watch.hazard is not None
        del self.rows[watch.id]
        left = self.kinds[watch.hazard] - 1
        if left:
            self.kinds[watch.hazard] = left
        else:
            del self.kinds[watch.hazard]
        watch.seen_at = self.seen_at
        watch.band = None

    def hidden(self, now: float) -> tuple[float, float]:
        """Give how many of them have probably ended unseen, and the waiting that has probably hidden, seconds."""
        ended = waiting_s = 0.0
        seen_s, age_s = self.seen_at - self.born_at, now - self.born_at
        for hazard, tasks in self.kinds.items():
            risk, each_s = hazard.hidden(seen_s, age_s)
            ended += tasks * risk
            waiting_s += tasks * each_s
        return ended, waiting_s

    def alive(self, now: float) -> None:
        """Note that all of them were seen alive."""
        for hazard, tasks in self.kinds.items():
            hazard.alive(self.seen_at - self.born_at, now - self.born_at, tasks)
            hazard.explored_s = max(hazard.explored_s, now - self.born_at)
        self.seen_at, self.worth, self.weigh_at = now, 0.0, -math.inf


@attrs.define(eq=False)
class Lane:
    """The list of one endpoint: our own pending tasks in it, by age.

    Attributes:
        endpoint: name of the endpoint.
        bands: from the oldest to the newest.
        made: how many tasks of ours this list has got.
        listed: how many rows stand in bands.
        members: how many tasks of this endpoint are followed, in bands or not.
        is_listed: whether new rows go into bands.
        foreign_per_s: other users' tasks made per second, as seen lately.
        held_until: loop time before which it is not asked about, because that was of no use, seconds.
        held_s: for how long that was, seconds.
        fails: queries in a row that were of no use.
        pages: how many pages deep the pending ones stood when they stood in bands.
        formed_at: loop time at which it was last chosen how it is asked, seconds.
        shown_at: loop time of the last answer that showed rows of it, seconds.
    """

    endpoint: str
    bands: list[Band] = attrs.field(factory=list, repr=False)
    made: int = 0
    listed: int = 0
    members: int = 0
    is_listed: bool = True
    foreign_per_s: float = 0.0
    held_until: float = -math.inf
    held_s: float = 0.0
    fails: int = 0
    pages: float = 1.0
    formed_at: float = -math.inf
    shown_at: float = -math.inf
    _foreign_rows: float = 0.0
    _foreign_s: float = 0.0
    _tidy_at: int = _TIDY_EVERY

    def enlist(self, watch: Watch) -> None:
        """Put a row where tasks made now stand: at the top; or, of an older one, where its age says."""
        band = self.bands[-1] if self.bands else None
        if band is None or not self._fits(band, watch):
            band = Band(watch.born_at, watch.seen_at, watch.order, watch.order)
            self.bands.append(band)
        band.put(watch)
        band.last = max(band.last, watch.order)
        band.first = min(band.first, watch.order)
        band.others, band.others_at = 0.0, watch.born_at
        self.listed += 1

    def restore(self, watch: Watch) -> None:
        """Put a row that the last answer showed back among its neighbours, where it stood before it was missed."""
        assert watch.hazard is not None
        at = bisect_right(self.bands, watch.order, key=lambda band: band.first)
        for band in self.bands[max(0, at - 1) : at + 1]:
            if (
                band.seen_at == self.shown_at
                and 0 <= watch.born_at - band.born_at <= BAND_S
                and len(band.rows) < BAND_ROWS
            ):
                # Seen alive with them: from now on they have one age and one moment.
                watch.hazard.alive(watch.seen_at - watch.born_at, self.shown_at - watch.born_at)
                band.put(watch)
                band.first, band.last = min(band.first, watch.order), max(band.last, watch.order)
                break
        else:
            band = Band(watch.born_at, watch.seen_at, watch.order, watch.order, others_at=watch.born_at)
            band.put(watch)
            self.bands.insert(at, band)
        self.listed += 1

    def _fits(self, band: Band, watch: Watch) -> bool:
        return (
            len(band.rows) < BAND_ROWS
            and 0 <= watch.born_at - band.born_at <= BAND_S
            and 0 <= watch.order - band.last <= BAND_ROWS
            # Not seen since it was begun, as the new row was not.
            and band.seen_at == band.born_at
            and watch.seen_at == watch.born_at
        )

    def delist(self, watch: Watch) -> None:
        """Take a row out of its band."""
        band = watch.band
        assert band is not None
        band.take(watch)
        self.listed -= 1
        if not band.rows:
            self.bands.remove(band)

    def place(self, band: Band, order: float, now: float) -> float:
        """Give the row of the list, counted from 0 at the newest, at which a task of a band is expected."""
        foreign = band.others + self.foreign_per_s * (now - band.others_at)
        return max(0.0, self.made - 1 - order + foreign)

    def places(self, now: float) -> list[tuple[float, float, Band]]:
        """Give the row of the list at which the middle of each band is expected, and how far from it its rows may be.

        Other users' tasks come by chance, so the place is the less sure the more of them may have come.
        """
        newest, foreign = self.made - 1, self.foreign_per_s
        found = []
        for band in self.bands:
            half = (band.last - band.first) / 2 + band.spread
            place = newest - (band.first + band.last) / 2 + band.others
            if foreign:
                come = foreign * max(0.0, now - band.others_at)
                place, half = place + come, half + 2 * math.sqrt(come)
            found.append((max(0.0, place), half, band))
        return found

    def depth(self, now: float) -> float:
        """Give how many rows from the top hold all that is pending."""
        return max((place + doubt for place, doubt, _ in self.places(now)), default=-1.0) + 1

    # --- what an answer showed -------------------------------------------------------------------------------------

    def shown(self, found: Sequence[tuple[int, Watch]], now: float, *, low: int = 0) -> None:
        """Note at which rows of the list our tasks were seen; those that were found and are still open are alive.

        A band of which only a part was found is divided: the rest has not been seen.

        Args:
            found: row of the list, counted from `low`, and our row, of each.
            now: loop time, seconds.
            low: row of the list at which the page begins.
        """
        groups: dict[Band, list[int]] = {}
        last: Band | None = None
        put: Callable[[int], None] = list[int]().append
        for index, watch in found:
            band = watch.band
            if band is not last:  # neighbours nearly always stand in one band
                if band is None:  # it has ended
                    continue
                put = groups.setdefault(band, []).append
                last = band
            put(index + watch.order)
        self.shown_at = now
        newest = self.made - 1 - low
        ids: set[str] = set()
        for band, sums in groups.items():
            least, most = min(sums) - newest, max(sums) - newest
            self._note_foreign(band, (least + most) / 2, now)
            part = band
            if len(sums) < len(band.rows):
                ids = ids or {watch.id for _, watch in found}
                part = self._divide(band, [watch for watch in band.rows.values() if watch.id in ids])
            part.others, part.others_at, part.spread = (least + most) / 2, now, (most - least) / 2
            part.alive(now)
        if len(self.bands) >= self._tidy_at:
            self.tidy()

    def _divide(self, band: Band, watches: Iterable[Watch]) -> Band:
        part = Band(band.born_at, band.seen_at, band.first, band.last, others=band.others, others_at=band.others_at)
        for watch in watches:
            band.take(watch)
            part.put(watch)
        # The newer rows stand nearer to the top, and later among the bands.
        newer = max(watch.order for watch in part.rows.values()) > max(watch.order for watch in band.rows.values())
        self.bands.insert(self.bands.index(band) + newer, part)
        for half in (band, part):
            orders = [watch.order for watch in half.rows.values()]
            half.first, half.last = min(orders), max(orders)
        return part

    def _note_foreign(self, band: Band, others: float, now: float) -> None:
        passed_s = now - band.others_at
        if passed_s < 1.0:
            return
        kept = 0.5 ** (passed_s / _FORGET_S)
        self._foreign_rows = self._foreign_rows * kept + others - band.others
        self._foreign_s = self._foreign_s * kept + passed_s
        self.foreign_per_s = max(0.0, self._foreign_rows / self._foreign_s)

    def missed(self, band: Band, low: float, high: float, now: float) -> None:
        """Note that a band did not stand in rows `low` to `high` of the list: it is expected just beyond the nearer."""
        place = self.place(band, (band.first + band.last) / 2, now)
        nearer_top = place - low < high - place and low > 0
        expected = low - 1 if nearer_top else high + 1
        band.others = expected - (self.made - 1 - (band.first + band.last) / 2)
        band.others_at = now

    def tidy(self) -> None:
        """Join neighbours that have become one again."""
        joined: list[Band] = []
        for band in self.bands:
            before = joined[-1] if joined else None
            if before is not None and _is_one(before, band):
                for watch in band.rows.values():
                    before.put(watch)
                band.rows = {}  # a plan under way may still hold it
                before.first, before.last = min(before.first, band.first), max(before.last, band.last)
                least = min(band.others - band.spread, before.others - before.spread)
                most = max(band.others + band.spread, before.others + before.spread)
                before.others, before.spread = (least + most) / 2, (most - least) / 2
            else:
                joined.append(band)
        self.bands = joined
        self._tidy_at = 2 * len(joined) + _TIDY_EVERY

    def rows(self) -> Iterator[Watch]:
        """Give every row that stands in a band."""
        for band in self.bands:
            yield from band.rows.values()


def _is_one(one: Band, other: Band) -> bool:
    return (
        abs(one.born_at - other.born_at) <= BAND_S
        and one.seen_at == other.seen_at
        and one.others_at == other.others_at
        and len(one.rows) + len(other.rows) <= BAND_ROWS
    )
