"""The form of an endpoint row, and the table of all of them.

Place: what the emulator serves. `legacy_rows.py`, `video_rows.py`, `media_rows.py` and `new_rows.py` fill the table;
service and routes read it. A new endpoint is one row more there.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import attrs

from .checks import Body, Field, Order, Rule, Standard
from .refusals import Refusal

if TYPE_CHECKING:
    from .service import Service
    from .tasks import Snapshot

Pack = Literal["video", "image", "try_on", "audio", "general"]
ResultKind = Literal["videos", "images", "audios", "voices", "elements"]

# A synchronous call: (service, body or query, now) -> the `data` of the envelope; raises Refusal. Addresses that it
# tells start with `service.base`.
Handler = Callable[["Service", Body, float], Any]
# Last look at a checked order, with the account at hand: (service, order, body, now) -> the order, with its facts.
Binder = Callable[["Service", Order, Body, float], Order]


def _kinds(value: ResultKind | Iterable[ResultKind]) -> tuple[ResultKind, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def read_nothing(row: "Row", _: Body) -> Order:
    """The order of a row that makes no task."""
    return Order(model=row.model, seconds=0)


@attrs.frozen(kw_only=True)
class Row:
    """One endpoint and everything the emulator must know about it.

    Attributes:
        name, path: what it is called and where it is.
        fields, rules: what one value may be, and what values may be together.
        read: the order in a checked body.
        bind: looks at the order with the account at hand (sessions, earlier videos) and may add facts or refuse.
        model: default version of the legacy standard; the only one of a new-standard path; else a name for slots.
        pack: whose units and slots it takes.
        result: which lists its results come in, one or several; a text counts as one.
        tell, tell_new: its own form of `task_result` and of `outputs`, where the common ones do not fit.
        price: units of an order, where the table of rates does not fit.
        cost: units of a synchronous call.
        mean_s, mean_s_of_model: mean time of a generation in seconds, and the exceptions.
        count_field: the body field that says how many results (and slots) one task takes (images: `n`).
        slots: how many slots an order takes; None: as many as it makes results.
        has_list, has_external_lookup: what the service documents for this endpoint.
        largest_page: most rows on a page of its list.
        finished_at_once: the create reply already tells the end; no external id, no callback, no query.
        answer, method: a synchronous call: it makes no task, and is asked for with this method.
        official_only: not behind gateways.
        board: where its tasks are queried in the new standard: "tasks" or another ("solutions").
    """

    name: str
    path: str
    standard: Standard = "legacy"
    fields: tuple[Field, ...] = ()
    read: Callable[["Row", Body], Order] = read_nothing
    rules: tuple[Rule, ...] = ()
    bind: Binder | None = None
    model: str = ""
    pack: Pack = "video"
    result: tuple[ResultKind, ...] = attrs.field(default=("videos",), converter=_kinds)
    tell: Callable[["Snapshot"], dict[str, Any]] | None = None
    tell_new: Callable[["Snapshot"], list[dict[str, Any]]] | None = None
    price: Callable[[Order], Decimal] | None = None
    cost: Decimal = Decimal(0)
    action: str = "generate"  # a new-api gateway's word for it
    mean_s: float = 300.0
    mean_s_of_model: dict[str, float] = attrs.field(factory=dict)
    count_field: str | None = None
    slots: Callable[[Order], int] | None = None
    has_list: bool = True
    has_external_lookup: bool = True
    largest_page: int = 500
    finished_at_once: bool = False
    answer: Handler | None = None
    method: Literal["POST", "GET"] = "POST"
    official_only: bool = False
    board: str = "tasks"

    @property
    def family(self) -> str:
        """The name without a model: "text2video", "image-to-video"."""
        return self.name.partition("/")[0]

    def slots_of(self, order: Order) -> int:
        """Slots that the order takes while it runs."""
        if self.finished_at_once:
            return 0
        return order.count if self.slots is None else self.slots(order)

    def check(self, body: Body, *, lenient: bool) -> None:
        """Check a body; with `lenient` nothing is checked.

        Raises:
            Refusal: 1201 with a sentence.
        """
        if lenient:
            return
        for field in self.fields:
            field.check(body, self.standard)
        for rule in self.rules:
            rule(body)

    def accept(self, body: Body, *, lenient: bool) -> Order:
        """Check a body and read the order out of it.

        With `lenient` nothing is checked; what cannot be read then counts as not given.

        Raises:
            Refusal: 1201 with a sentence.
        """
        if lenient:
            try:
                return self._ordered(body)
            except (Refusal, TypeError, ValueError):
                return self.read(self, {})
        self.check(body, lenient=False)
        return self._ordered(body)

    def _ordered(self, body: Body) -> Order:
        order = self.read(self, body)
        if self.count_field is None:
            return order
        return attrs.evolve(order, count=int(body.get(self.count_field) or 1))
