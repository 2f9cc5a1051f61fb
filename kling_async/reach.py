"""What can be asked, and what a host has shown it can do: learned per endpoint and form, no clock, no I/O.

Stage: decide. Before: poller (answers and refusals). After: sweep, which asks only in forms that may work.

Theory. A form nobody has tried is tried once, when it would save something; what a host refuses is not asked again for
a day, and never hurts a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import attrs


class Form(StrEnum):
    """How a host can be asked about tasks."""

    SINGLE = "single"
    BATCH = "batch"
    LIST = "list"


@attrs.frozen
class Single:
    """One task, by its task id or (`external`) by its external id."""

    endpoint: str
    id: str
    external: bool = False


@attrs.frozen
class Batch:
    """Several tasks of any endpoints, all by task id or all by external id."""

    ids: tuple[str, ...]
    endpoints: frozenset[str]
    external: bool = False


@attrs.frozen
class ListPage:
    """One page of an endpoint's own list; `index` counts from 1.

    `task_ids` and `external_ids` tell which rows it is asked for: those known by their task id, or by ours.
    """

    endpoint: str
    index: int
    size: int
    task_ids: bool = True
    external_ids: bool = False


Query = Single | Batch | ListPage


@attrs.frozen
class CursorPage:
    """One page of the new standard's list of the whole account; asked for by users only, never by a sweep."""

    path: str
    fields: Mapping[str, object]


# --- what a host has shown it can do -------------------------------------------------------------------------------

_FORGET_AFTER_S = 86_400.0  # abilities are tried again daily
_FRUITLESS_TRIES = 2
_REST_S = 300.0


@attrs.define
class Ability:
    """What is known about one form of query on one endpoint of one host.

    Attributes:
        works: True, False, or None: not tried yet.
        since: loop time of that knowledge, seconds; infinite for what is documented, which is not tried again.
        fruitless: tries that were answered and held none of the tasks asked about.
        finds_external: whether rows were found by, or carried, external ids.
        failures: queries in a row that got no usable answer.
        rests_until: loop time until which it is not used, because it kept failing while others did not, seconds.
    """

    works: bool | None = None
    since: float = 0.0
    fruitless: int = 0
    finds_external: bool | None = None
    failures: int = 0
    rests_until: float = 0.0


@attrs.define
class Reach:
    """What a host has shown it can do, per endpoint and form; learned, beginning with what is documented.

    Attributes:
        prior: gives what is documented of a form before it was ever used.
    """

    prior: Callable[[str, Form], Ability] = attrs.field(default=lambda _endpoint, _form: Ability(), repr=False)
    _abilities: dict[tuple[str, Form], Ability] = attrs.field(factory=dict)
    _rows: dict[str, int] = attrs.field(factory=dict)

    def of(self, endpoint: str, form: Form) -> Ability:
        """Give what is known, to read or to change."""
        key = (endpoint, form)
        ability = self._abilities.get(key)
        if ability is None:
            ability = self._abilities[key] = self.prior(endpoint, form)
        return ability

    def usable(self, endpoint: str, form: Form, now: float) -> bool | None:
        """Tell whether a form works; None: not known, or not known any more."""
        if form is Form.SINGLE:
            return True
        ability = self.of(endpoint, form)
        if ability.works is False and now - ability.since >= _FORGET_AFTER_S:
            self._abilities[endpoint, form] = Ability(finds_external=ability.finds_external or None)
            return None
        return False if now < ability.rests_until else ability.works

    def answered(self, endpoint: str, form: Form, *, found: int, now: float) -> None:
        """Note an answer that held `found` of the tasks asked about."""
        ability = self.of(endpoint, form)
        if found:
            ability.works, ability.since, ability.fruitless = True, now, 0
        elif ability.works is None:
            ability.fruitless += 1
            if ability.fruitless >= _FRUITLESS_TRIES:
                ability.works, ability.since = False, now

    def rests(self, endpoint: str, form: Form, now: float) -> None:
        """Note that a form keeps failing on a host that answers otherwise: it is not used for a while."""
        ability = self.of(endpoint, form)
        ability.rests_until, ability.failures = now + _REST_S, 0

    def refused(self, endpoint: str, form: Form, now: float) -> None:
        """Note that the host does not have this form."""
        ability = self.of(endpoint, form)
        ability.works, ability.since = False, now

    def found_external(self, endpoint: str, form: Form, *, found: bool) -> None:
        """Note whether a task that surely exists was found by its external id; found once counts for ever."""
        ability = self.of(endpoint, form)
        ability.finds_external = True if found else ability.finds_external or False

    def can_find_external(self, endpoint: str) -> bool | None:
        """Tell whether any form finds tasks by external id; None: not shown either way."""
        known = [self.of(endpoint, form).finds_external for form in Form]
        if any(known):
            return True
        return False if False in known else None

    def walked(self, endpoint: str, rows: int) -> None:
        """Remember how many rows from the top of its list the last sweep of this endpoint had to read."""
        self._rows[endpoint] = rows

    def rows(self, endpoint: str) -> int:
        """Give the number of rows from the top of its list that a sweep of this endpoint is expected to read."""
        return self._rows.get(endpoint, 0)
