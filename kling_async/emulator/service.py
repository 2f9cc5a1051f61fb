"""The service itself: one account, its tasks, its slots, its rate.

Place: between routes (which ask) and replies (which tell). Knows nothing of HTTP, hosts or JSON. All methods take
the moment; nothing here waits, so there is one answer to every question at every moment.
"""

import hashlib
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from heapq import heappop, heappush
from typing import Any

import attrs

from . import prices
from .allowance import Allowance
from .assets import RATIOS, AssetStore
from .chance import RISK_CONTROL, draw, early, how_many
from .checks import Body, Order
from .images import decode_base64, is_url, look, nearest_ratio
from .library_rows import PRESETS
from .made import refuse_unknown
from .refusals import Refusal, invalid
from .rows import Row
from .sessions import Sessions
from .settings import Settings
from .tasks import AssetView, CallRecord, Snapshot, Task, TaskRecord, shortened
from .telling import look_at


def _nobody(*_: object) -> None:
    """Nobody is told."""


@attrs.define(eq=False)
class Service:
    """State of the emulated account."""

    settings: Settings
    tasks: list[Task] = attrs.field(factory=list, init=False)
    calls: list[CallRecord] = attrs.field(factory=list, init=False)
    # Scheme and host of the request being answered, for addresses that calls tell; the desk sets it.
    base: str = attrs.field(default="", init=False)
    sessions: Sessions = attrs.field(factory=Sessions, init=False)
    # When the first caller came, and when the packs were last asked about.
    opened_at: float = attrs.field(default=-1.0, init=False)
    costs_asked_at: float = attrs.field(default=-1.0, init=False)
    # Who is told of each new task, and of each create that is put off.
    on_made: Callable[[Task], None] = attrs.field(default=_nobody, init=False)
    on_postponed: Callable[[float, Body], None] = attrs.field(default=_nobody, init=False)
    _by_id: dict[str, Task] = attrs.field(factory=dict, init=False)
    _by_external: dict[str, list[Task]] = attrs.field(factory=lambda: defaultdict(list), init=False)
    _by_row: dict[str, list[Task]] = attrs.field(factory=lambda: defaultdict(list), init=False)
    allowance: Allowance = attrs.field(
        default=attrs.Factory(lambda service: Allowance(service.settings), takes_self=True), init=False
    )
    _late: list[tuple[float, int, Row, Body]] = attrs.field(factory=list, init=False)
    _late_count: int = attrs.field(default=0, init=False)
    _answers: int = attrs.field(default=0, init=False)

    @property
    def store(self) -> AssetStore:
        """The assets under the present switches."""
        return AssetStore(self.settings.seed, self.settings.url_ttl_s, self.settings.fresh_urls, PRESETS)

    def maker_of(self, name: str) -> Task | None:
        """The task that made the file of this name, None when none did."""
        found = self.store.find(name, self.tasks)
        return found[0] if found is not None else None

    def views(self, task: Task, now: float) -> tuple[AssetView, ...]:
        """The results of a succeeded task, under the address of the request being answered."""
        return self.store.views(task, now, self.base, wm=task.watermark)

    def request_id(self) -> str:
        """The next request id: the same sequence for the same seed."""
        self._answers += 1
        return hashlib.blake2s(f"{self.settings.seed}/{self._answers}".encode(), digest_size=16).hexdigest()

    # Creating

    def create(self, row: Row, body: Body, now: float) -> Task:
        """Accept a create, or refuse it.

        Raises:
            Refusal: in this order: 1201 for the body, 1203 or a gateway's own for the model, 1301 for the prompt,
                the duplicate answer, 1102 when the pack is used up, 1303 when the slots are.
        """
        self.settle(now)
        self._refuse_retired(row.name)
        order = row.accept(body, lenient=self.settings.lenient)
        refuse_unknown(self, PRESETS, body, now)
        self._refuse(order)
        self._refuse_external_id(row, order.external_id)
        order = self._bound(row, order, body, now)
        if order.counts is not None:
            order = attrs.evolve(order, count=how_many(self.settings.seed, len(self.tasks), order.counts))
        units = prices.units_of(row, order)
        self.allowance.check_units(row.pack, units, now)
        slots = row.slots_of(order)
        self.allowance.check_slots(order.model, row.pack, slots, now)
        task = self._make(row, order, body, units, now)
        self.allowance.take_slots(order.model, row.pack, slots, task.ended_at)
        return task

    def call(self, row: Row, body: Body, now: float) -> Any:
        """Answer a synchronous call, and note it and its cost.

        Raises:
            Refusal: as the row's handler says; nothing is charged then.
        """
        self.settle(now)
        if row.answer is None:
            raise Refusal.of(1202)
        self._refuse_retired(row.name)
        row.check(body, lenient=self.settings.lenient)
        self.allowance.check_units(row.pack, row.cost, now)
        data = row.answer(self, body, now)
        # A refusal inside of a success costs nothing either.
        cost = Decimal(0) if isinstance(data, dict) and data.get("status", 0) not in (0, "0") else row.cost
        self.allowance.promise(row.pack, cost)
        record = CallRecord(endpoint=row.name, body=shortened(body), billed=float(cost), pack=row.pack, at=now)
        self.calls.append(record)
        return data

    def _bound(self, row: Row, order: Order, body: Body, now: float) -> Order:
        if row.bind is None:
            return order
        try:
            return row.bind(self, order, body, now)
        except (Refusal, TypeError, ValueError, AttributeError):
            if not self.settings.lenient:
                raise
            return order

    def postpone(self, row: Row, body: Body, at: float) -> None:
        """Let a create take effect at a later moment; whether it is then accepted nobody is told."""
        self._late_count += 1
        heappush(self._late, (at, self._late_count, row, body))
        self.on_postponed(at, body)

    def settle(self, now: float) -> None:
        """Carry out what was postponed until now, in order of time."""
        while self._late and self._late[0][0] <= now:
            at, _, row, body = heappop(self._late)
            try:
                self.create(row, body, at)
            except Refusal:
                continue

    def _refuse_retired(self, name: str) -> None:
        if name in self.settings.retired:
            raise Refusal.of(self.settings.retired_code, "This API is no longer available")

    def _refuse_external_id(self, row: Row, ident: str) -> None:
        settings = self.settings
        if settings.external_id_limit is not None and len(ident) > settings.external_id_limit:
            raise invalid(f"external_task_id must not be longer than {settings.external_id_limit} characters")
        is_unique = settings.unique_external_ids and (row.standard == "new" or settings.unique_legacy_ids)
        if is_unique and ident in self._by_external:
            words = f"external_task_id '{ident}' already exists"
            raise Refusal.of(settings.duplicate_code, words, settings.duplicate_status)

    def _refuse(self, order: Order) -> None:
        self._refuse_retired(order.model)
        if order.model in self.settings.refused_models:
            if self.settings.speech.wraps_errors:
                raise Refusal("model_not_found", f"No available channel for model {order.model}", 503, by_gateway=True)
            raise Refusal.of(1203, f"model '{order.model}' is not supported")
        if "[refuse]" in order.prompt:
            raise Refusal.of(1301)

    def _make(self, row: Row, order: Order, body: Body, units: Decimal, now: float) -> Task:
        ordinal = len(self.tasks)
        settings = self.settings
        fate = draw(
            row,
            order.model,
            ordinal,
            seed=settings.seed,
            digits=settings.speech.digits,
            durations=settings.duration_s,
            failure_rate=settings.failure_rate,
        )
        ratio, defect = self._look_at_pictures(row, order)
        if defect:
            fate = early(fate, defect)
        elif "[fail]" in order.prompt:
            fate = attrs.evolve(fate, reason=RISK_CONTROL)
        elif "[stuck]" in order.prompt:
            fate = attrs.evolve(fate, ended_s=math.inf)
        task = Task(
            ordinal=ordinal,
            task_id=fate.task_id,
            public_id=fate.public_id if settings.speech.own_ids else fate.task_id,
            external_id=order.external_id,
            row=row,
            model=order.model,
            mode=order.mode,
            body=shortened(body),
            created_at=now,
            processing_at=now if row.finished_at_once else now + fate.processing_s,
            ended_at=now if row.finished_at_once else now + fate.ended_s,
            reason=fate.reason,
            seconds=order.seconds + fate.extra_s,
            ratio=ratio,
            watermark=order.watermark,
            callback_url=order.callback_url,
            count=order.count,
            slots=row.slots_of(order),
            units=units,
            asset_key=fate.asset_key,
            facts=order.facts,
        )
        self.tasks.append(task)
        self._by_id[task.public_id] = task
        self._by_row[row.name].append(task)
        if task.external_id:
            self._by_external[task.external_id].append(task)
        if not task.reason:
            self.allowance.promise(row.pack, units)
        self.on_made(task)
        return task

    def _look_at_pictures(self, row: Row, order: Order) -> tuple[str, str]:
        """The ratio of the clip, and why it will fail at once ("" when it will not)."""
        ratio = order.ratio
        for position, value in enumerate(order.pictures):
            if is_url(value):
                continue
            try:
                picture = look(decode_base64("image", value, row.standard))
            except Refusal:  # only reached when validation is lenient
                continue
            if not picture.is_usable and not self.settings.lenient:
                return "16:9", "Image pixel is invalid"
            if position == 0 and ratio is None:
                ratio = nearest_ratio(picture, RATIOS)
        return ratio if ratio in RATIOS else "16:9", order.defect if not self.settings.lenient else ""

    # Asking

    def is_visible(self, task: Task, now: float) -> bool:
        """Whether queries see the task: not too young, not cleared."""
        is_cleared = self.settings.clears == "tasks" and now >= task.created_at + self.settings.retention_s
        return task.created_at + self.settings.visible_after_s <= now and not is_cleared

    def find(self, row: Row | None, ident: str, now: float) -> Task | None:
        """One task of an endpoint (of any when None) by its id or, where the host can, by its external id."""
        self.settle(now)
        task = self._by_id.get(ident)
        if task is not None and self._belongs(task, row) and self.is_visible(task, now):
            return task
        if self.settings.external_lookup and (row is None or row.has_external_lookup):
            # The newest of several: which one the service would pick is not known.
            for task in reversed(self._by_external.get(ident, ())):
                if self._belongs(task, row) and self.is_visible(task, now):
                    return task
        return None

    def find_many(self, idents: Iterable[str], now: float, *, external: bool, board: str = "tasks") -> list[Task]:
        """The new-standard tasks among these ids, each once, in the order asked; what is not found is left out."""
        self.settle(now)
        found: dict[int, Task] = {}
        for ident in idents:
            own = self._by_id.get(ident)
            candidates = self._by_external.get(ident, []) if external else [own] if own else []
            for task in candidates:
                if self._in_new_queries(task, board) and self.is_visible(task, now):
                    found[task.ordinal] = task
        return list(found.values())

    def page(self, row: Row, number: int, size: int, now: float) -> list[Task]:
        """One page of an endpoint's tasks; `number` counts from 1."""
        self.settle(now)
        if self.settings.legacy_sees_new:
            tasks = [task for task in self.tasks if self._belongs(task, row)]
        else:
            tasks = self._by_row.get(row.name, [])
        first, last = self._visible_range(tasks, now)
        start = (number - 1) * size
        if self.settings.list_order == "oldest":
            return tasks[first + start : min(last, first + start + size)]
        stop = last - start
        return tasks[max(first, stop - size) : stop][::-1] if stop > first else []

    def scan(self, before: int | None, now: float, board: str = "tasks") -> Iterator[Task]:
        """All tasks of the account that the cursor list sees, in list order, beyond ordinal `before`."""
        self.settle(now)
        first, last = self._visible_range(self.tasks, now)
        if self.settings.list_order == "oldest":
            order = range(first if before is None else max(first, before + 1), last)
        else:
            order = range((last if before is None else min(last, before)) - 1, first - 1, -1)
        return (self.tasks[at] for at in order if self._in_new_queries(self.tasks[at], board))

    def _visible_range(self, tasks: list[Task], now: float) -> tuple[int, int]:
        # Tasks are in order of creation, so the visible ones are one stretch.
        is_clearing = self.settings.clears == "tasks"
        first = bisect_right(tasks, now - self.settings.retention_s, key=_created_at) if is_clearing else 0
        last = bisect_right(tasks, now - self.settings.visible_after_s, key=_created_at)
        return first, max(first, last)

    def _belongs(self, task: Task, row: Row | None) -> bool:
        if row is None or task.row is row:
            return True
        twin = _LEGACY_TWIN.get(task.row.family)
        return self.settings.legacy_sees_new and task.row.standard == "new" and twin == row.name

    def _in_new_queries(self, task: Task, board: str) -> bool:
        is_shown = task.row.board == board or (board == "tasks" and self.settings.tasks_see_solutions)
        if task.row.finished_at_once or not is_shown:
            return False
        return task.row.standard == "new" or self.settings.batch_sees_legacy

    # Telling

    def snapshot(self, task: Task, now: float, store: AssetStore, base: str, request_id: str) -> Snapshot:
        """How the task looks at a moment.

        `base` is the scheme and host under which the caller reached the emulator; asset URLs start with it.
        """
        return look_at(self.settings, task, now, store, base, request_id)

    def ledger(self, now: float) -> list[TaskRecord]:
        """All tasks ever made, oldest first, as records."""
        self.settle(now)
        return [TaskRecord.of(task, now) for task in self.tasks]

    def billed(self, now: float) -> Decimal:
        """Units charged until now."""
        tasks = sum((task.units for task in self.tasks if task.status_at(now) == "succeed"), Decimal(0))
        return tasks + sum((Decimal(str(call.billed)) for call in self.calls), Decimal(0))

    # Rate

    def count_request(self, now: float) -> None:
        """Take one request out of the rate, or refuse it with 1302."""
        if self.opened_at < 0:
            self.opened_at = now
        self.allowance.take_request(now)


# Which legacy endpoint would list the tasks of a new-standard operation.
_LEGACY_TWIN = {
    "text-to-video": "text2video",
    "image-to-video": "image2video",
    "omni-video": "omni-video",
    "motion-control": "motion-control",
}


def _created_at(task: Task) -> float:
    return task.created_at
