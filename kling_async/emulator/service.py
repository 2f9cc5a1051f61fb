"""The service itself: one account, its tasks, its slots, its rate.

Place: between routes (which ask) and replies (which tell). Knows nothing of HTTP, hosts or JSON. All methods take
the moment; nothing here waits, so there is one answer to every question at every moment.
"""

import hashlib
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from heapq import heappop, heappush
from typing import Any

import attrs

from . import prices
from .assets import RATIOS, AssetStore
from .chance import RISK_CONTROL, draw, early
from .checks import Body, Order
from .images import decode_base64, is_url, look, nearest_ratio
from .refusals import Refusal
from .rows import Row
from .settings import Settings
from .tasks import Snapshot, Task, TaskRecord

# Longest text kept in the ledger, in characters: a thousand inline pictures must not fill the memory.
_KEPT_CHARACTERS = 65_536


@attrs.define(eq=False)
class _Gate:
    """The slots of one (model version, pack): a heap of (freed at, count) and the sum."""

    used: int = 0
    ends: list[tuple[float, int]] = attrs.field(factory=list)

    def held(self, now: float) -> int:
        while self.ends and self.ends[0][0] <= now:
            self.used -= heappop(self.ends)[1]
        return self.used

    def take(self, freed_at: float, count: int) -> None:
        self.used += count
        heappush(self.ends, (freed_at, count))


@attrs.define(eq=False)
class Service:
    """State of the emulated account."""

    settings: Settings
    tasks: list[Task] = attrs.field(factory=list, init=False)
    _by_id: dict[str, Task] = attrs.field(factory=dict, init=False)
    _by_external: dict[str, list[Task]] = attrs.field(factory=lambda: defaultdict(list), init=False)
    _by_row: dict[str, list[Task]] = attrs.field(factory=lambda: defaultdict(list), init=False)
    _gates: dict[tuple[str, str], _Gate] = attrs.field(factory=lambda: defaultdict(_Gate), init=False)
    _late: list[tuple[float, int, Row, Body]] = attrs.field(factory=list, init=False)
    _late_count: int = attrs.field(default=0, init=False)
    _promised: Decimal = attrs.field(default=Decimal(0), init=False)
    _tokens: float | None = attrs.field(default=None, init=False)
    _refilled_at: float = attrs.field(default=0.0, init=False)
    _answers: int = attrs.field(default=0, init=False)

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
        order = row.accept(body, lenient=self.settings.lenient)
        self._refuse(order)
        if self.settings.unique_external_ids and order.external_id in self._by_external:
            raise Refusal.of(
                self.settings.duplicate_code,
                f"external_task_id '{order.external_id}' already exists",
                self.settings.duplicate_status,
            )
        units = prices.units_of(row, order)
        if self.settings.units is not None and self._promised + units > Decimal(str(self.settings.units)):
            raise Refusal.of(1102)
        gate = self._gates[order.model, row.pack]
        limit = self.slot_limit(order.model, row.pack)
        if limit is not None and gate.held(now) + order.count > limit:
            raise Refusal.of(1303)
        task = self._make(row, order, body, units, now)
        gate.take(task.ended_at + self.settings.slot_release_s, order.count)
        return task

    def postpone(self, row: Row, body: Body, at: float) -> None:
        """Let a create take effect at a later moment; whether it is then accepted nobody is told."""
        self._late_count += 1
        heappush(self._late, (at, self._late_count, row, body))

    def settle(self, now: float) -> None:
        """Carry out what was postponed until now, in order of time."""
        while self._late and self._late[0][0] <= now:
            at, _, row, body = heappop(self._late)
            try:
                self.create(row, body, at)
            except Refusal:
                continue

    def slot_limit(self, model: str, pack: str) -> int | None:
        """How many slots the account has for a model version and a pack; None without limit."""
        slots = self.settings.slots
        if isinstance(slots, Mapping):
            return slots.get(model, slots.get(pack))
        return slots

    def _refuse(self, order: Order) -> None:
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
            body=_shortened(body),
            created_at=now,
            processing_at=now + fate.processing_s,
            ended_at=now + fate.ended_s,
            reason=fate.reason,
            seconds=order.seconds + fate.extra_s,
            ratio=ratio,
            watermark=order.watermark,
            callback_url=order.callback_url,
            count=order.count,
            units=units,
            asset_key=fate.asset_key,
        )
        self.tasks.append(task)
        self._by_id[task.public_id] = task
        self._by_row[row.name].append(task)
        if task.external_id:
            self._by_external[task.external_id].append(task)
        if not task.reason:
            self._promised += units
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
        return task.created_at + self.settings.visible_after_s <= now < task.created_at + self.settings.retention_s

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

    def find_many(self, idents: Iterable[str], now: float, *, external: bool) -> list[Task]:
        """The new-standard tasks among these ids, each once, in the order asked; what is not found is left out."""
        self.settle(now)
        found: dict[int, Task] = {}
        for ident in idents:
            own = self._by_id.get(ident)
            candidates = self._by_external.get(ident, []) if external else [own] if own else []
            for task in candidates:
                if self._in_new_queries(task) and self.is_visible(task, now):
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

    def scan(self, before: int | None, now: float) -> Iterator[Task]:
        """All tasks of the account that the cursor list sees, in list order, beyond ordinal `before`."""
        self.settle(now)
        first, last = self._visible_range(self.tasks, now)
        if self.settings.list_order == "oldest":
            order = range(first if before is None else max(first, before + 1), last)
        else:
            order = range((last if before is None else min(last, before)) - 1, first - 1, -1)
        return (self.tasks[at] for at in order if self._in_new_queries(self.tasks[at]))

    def _visible_range(self, tasks: list[Task], now: float) -> tuple[int, int]:
        # Tasks are in order of creation, so the visible ones are one stretch.
        first = bisect_right(tasks, now - self.settings.retention_s, key=_created_at)
        last = bisect_right(tasks, now - self.settings.visible_after_s, key=_created_at)
        return first, max(first, last)

    def _belongs(self, task: Task, row: Row | None) -> bool:
        if row is None or task.row is row:
            return True
        twin = _LEGACY_TWIN.get(task.row.family)
        return self.settings.legacy_sees_new and task.row.standard == "new" and twin == row.name

    def _in_new_queries(self, task: Task) -> bool:
        return task.row.standard == "new" or self.settings.batch_sees_legacy

    # Telling

    def snapshot(self, task: Task, now: float, store: AssetStore, base: str, request_id: str) -> Snapshot:
        """How the task looks at a moment.

        `base` is the scheme and host under which the caller reached the emulator; asset URLs start with it.
        """
        seen_at, is_seen = now, True
        if self.settings.cache_s:
            # A caching gateway asks about all tasks at fixed intervals and tells what it last heard.
            seen_at = math.floor(now / self.settings.cache_s) * self.settings.cache_s
            is_seen = seen_at >= task.created_at
        seen_at = max(seen_at, task.created_at)
        status = task.status_at(seen_at)
        is_ended = status in ("succeed", "failed")
        units = task.units if status == "succeed" else Decimal(0)
        return Snapshot(
            task=task,
            status=status,
            updated_at=task.updated_at(seen_at),
            assets=store.views(task, now, base, wm=task.watermark) if status == "succeed" else (),
            units=prices.plain(units) if is_ended else None,
            money=prices.plain(units * prices.UNIT_USD) if is_ended else None,
            cash=self.settings.charge == "cash",
            currency=self.settings.currency,
            request_id=request_id,
            is_seen=is_seen,
        )

    def ledger(self, now: float) -> list[TaskRecord]:
        """All tasks ever made, oldest first, as records."""
        self.settle(now)
        return [TaskRecord.of(task, now) for task in self.tasks]

    def billed(self, now: float) -> Decimal:
        """Units charged until now."""
        return sum((task.units for task in self.tasks if task.status_at(now) == "succeed"), Decimal(0))

    # Rate

    def count_request(self, now: float) -> None:
        """Take one request out of the rate, or refuse it with 1302."""
        rate = self.settings.requests_per_s
        if rate is None:
            return
        burst = max(1.0, rate)
        if self._tokens is None:
            self._tokens, self._refilled_at = burst, now
        self._tokens = min(burst, self._tokens + max(0.0, now - self._refilled_at) * rate)
        self._refilled_at = now
        if self._tokens < 1.0:
            raise Refusal.of(1302)
        self._tokens -= 1.0


# Which legacy endpoint would list the tasks of a new-standard operation.
_LEGACY_TWIN = {"text-to-video": "text2video", "image-to-video": "image2video", "omni-video": "omni-video"}


def _created_at(task: Task) -> float:
    return task.created_at


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        if len(value) <= _KEPT_CHARACTERS:
            return value
        digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
        return f"<{len(value)} characters, sha256 {digest}>"
    if isinstance(value, Mapping):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return value
