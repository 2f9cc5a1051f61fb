"""What is to be done about each row: make it, go on with it, save it, or nothing.

Stage: door. Before: bulk. After: rows, ledger. One pass over the file; a row at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Protocol

import attrs

from ..dialects import Host
from ..endpoints import find_endpoint
from ..errors import ConfigError
from ..job import Job
from ..models import Status
from .exits import Fail
from .folder import Folder
from .inputs import Entry, Input, refusal
from .ledger import Known, Ledger
from .manifest import NAME, Line, line_at
from .rows import Maker, next_id, price_of

_UNKNOWN = frozenset({Status.UNRESOLVED, Status.VANISHED, Status.ABANDONED})
_STATES = frozenset({*map(str, Status), "new", "open", "invalid"})
_RANGE = re.compile(r"(\d+)(?:-(\d*))?\Z")


@attrs.frozen
class Only:
    """Which rows are wanted: by their lines, and by what is known of their jobs; all of them if nothing is said.

    Attributes:
        text: as it was given.
        ranges: first and last line of each.
        states: words of Status, "new", "open" or "invalid".
    """

    text: str = ""
    ranges: tuple[tuple[int, float], ...] = ()
    states: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str | None) -> Only:
        """Read --only: "3,10-20,failed".

        Raises:
            Fail: a part of it is neither a line, nor a range, nor a state.
        """
        ranges: list[tuple[int, float]] = []
        states: set[str] = set()
        for part in filter(None, map(str.strip, (text or "").split(","))):
            found = _RANGE.match(part)
            if found:
                last = found[1] if found[2] is None else found[2] or "inf"
                ranges.append((int(found[1]), float(last)))
            elif part.lower() in _STATES:
                states.add(part.lower())
            else:
                raise Fail(f"--only {part}: write lines as 3 or 10-20, or a state: {', '.join(sorted(_STATES))}")
        if text is not None and not ranges and not states:
            raise Fail("--only: write lines as 3 or 10-20, or a state")
        return cls(text or "", tuple(ranges), frozenset(states))

    def has(self, line: int | None, state: str, *, is_open: bool) -> bool:
        """Tell whether a row is wanted."""
        if self.ranges and not any(first <= (line or 0) <= last for first, last in self.ranges):
            return False
        return not self.states or state in self.states or (is_open and "open" in self.states)


class Choices(Protocol):
    """What the user wishes, as far as it matters here."""

    @property
    def only(self) -> Only:
        """Which rows."""
        ...

    @property
    def max_cost(self) -> Decimal | None:
        """Most that all jobs of the folder may cost, USD."""
        ...

    @property
    def retry_failed(self) -> bool:
        """Whether what failed is made again."""
        ...

    @property
    def retry_unknown(self) -> bool:
        """Whether that is so, too, where money may have been spent."""
        ...


class Plan:
    """Decides row by row.

    Attributes:
        price: what the folder's jobs cost by the price list, USD, those of earlier runs included; without those that
            ended unpaid, and without those whose price is not known.
        unpriced: jobs begun in this run whose price is not known.
        is_full: with the next job the price would have passed the bound; nothing new is begun since.
        attach: follows a task that only the manifest knows.
    """

    def __init__(
        self, given: Input, maker: Maker, ledger: Ledger, folder: Folder, host: Host, *, wishes: Choices, key: str
    ) -> None:
        self._given = given
        self._maker = maker
        self._ledger = ledger
        self._folder = folder
        self._host = host
        self._wishes = wishes
        self._key = key
        self.price: Decimal = Decimal(0)
        self.unpriced: int = 0
        self.is_full: bool = False
        self.attach: Callable[..., Job] | None = None
        self._uncounted: set[str | None] = set()

    @property
    def max_cost(self) -> Decimal | None:
        """Most that all jobs of the folder may cost, USD."""
        return self._wishes.max_cost

    def begin(self) -> None:
        """Add up what was made and begun in earlier runs."""
        self.price = self._ledger.price()

    def entries(self) -> Iterator[Entry]:
        """Yield an entry for each row, also for those about which nothing is to be done."""
        for row in self._given.rows():
            entry = self._maker.entry(row)
            if entry.refused is None and (told := refusal(entry.request, self._host)) is not None:
                entry = attrs.evolve(entry, refused=ConfigError(told))
            if entry.refused is not None:
                is_wanted = self._wishes.only.has(entry.line, "invalid", is_open=False)
                yield entry if is_wanted else attrs.evolve(entry, passed="out")
                continue
            yield self._planned(entry)

    def is_new(self, entry: Entry) -> bool:
        """Tell whether nothing is known of the job of an entry."""
        assert entry.job_id is not None
        return self._ledger.find(entry.job_id) is None

    def give_back(self, entry: Entry) -> None:
        """Take note that a job ended unpaid."""
        if entry.job_id not in self._uncounted:
            self.price -= price_of(entry) or Decimal(0)

    def _planned(self, entry: Entry) -> Entry:
        assert entry.job_id is not None
        first, number = entry.job_id, 1
        known = self._ledger.find(first)
        while (later := self._ledger.find(next_id(first, number + 1))) is not None:
            known, number = later, number + 1
        state = "new" if known is None else known.state
        if not self._wishes.only.has(entry.line, state, is_open=known is not None and known.is_open):
            return attrs.evolve(entry, passed="out")
        if known is None:
            return self._begun(entry, first)
        if self._is_to_retry(known):
            return self._begun(entry, next_id(first, number + 1))
        return self._known(entry, first if number == 1 else next_id(first, number), known)

    def _is_to_retry(self, known: Known) -> bool:
        if known.is_unpaid:
            return self._wishes.retry_failed or known.is_barred
        return self._wishes.retry_unknown and (known.state in _UNKNOWN or known.state == Status.FAILED)

    def _begun(self, entry: Entry, job_id: str) -> Entry:
        """Plan a job that was never begun."""
        price, most = price_of(entry), self._wishes.max_cost
        if self.is_full or (price is not None and most is not None and self.price + price > most):
            self.is_full = True
            return attrs.evolve(entry, passed="held")
        if price is None:
            self.unpriced += 1
        else:
            self.price += price
        return self._noted(entry, job_id)

    def _known(self, entry: Entry, job_id: str, known: Known) -> Entry:
        """Plan a job that was begun, or has ended, in an earlier run."""
        line = None if known.at is None else line_at(self._folder.path / NAME, known.at)
        is_call = find_endpoint(entry.request).kind == "call"
        if known.state == Status.SUCCEEDED:
            if line is not None and (is_call or self._is_there(line)):
                return attrs.evolve(entry, passed="done")
        elif not known.is_open and (line is not None or not known.is_recorded):
            is_looked_for = known.state == Status.UNRESOLVED and known.is_recorded
            if not is_looked_for:
                return attrs.evolve(entry, passed="failed")
        elif not known.is_open:  # it ended, and the process did before it could write that down
            self._uncounted.add(job_id)
        entry = self._noted(entry, job_id)
        if known.is_recorded or is_call or line is None or line.task_id is None or self.attach is None:
            return entry
        # The journal was lost: what the manifest knows is enough to find the task.
        return attrs.evolve(entry, job=self.attach(line.task_id, find_endpoint(entry.request).name))

    def _is_there(self, line: Line) -> bool:
        if line.error_type is not None:
            return False
        try:
            return all((self._folder.path / path).stat().st_size == size for path, size in line.files)
        except OSError:
            return False

    def _noted(self, entry: Entry, job_id: str) -> Entry:
        price: Any = price_of(entry)
        metadata: dict[str, object] = {"bulk": self._key, "line": entry.line}
        if price is not None:
            metadata["usd"] = str(price)
        if entry.name is not None:
            metadata["name"] = entry.name
        return attrs.evolve(entry, job_id=job_id, metadata=metadata)
