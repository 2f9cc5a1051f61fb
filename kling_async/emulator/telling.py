"""How a task looks at a moment, through the eyes of the host that tells it.

Place: between service and replies. A gateway tells what it last heard, loses patience with slow tasks, and any host
may be late with results or have cleared them; the ledger knows better.
"""

import math
from decimal import Decimal

import attrs

from . import prices
from .assets import AssetStore
from .settings import Settings
from .tasks import AssetView, Snapshot, Task


def look_at(settings: Settings, task: Task, now: float, store: AssetStore, base: str, request_id: str) -> Snapshot:
    """The task at a moment; `base` begins the addresses of its results."""
    seen_at, is_seen = now, True
    if settings.cache_s:
        # A caching gateway asks about all tasks at fixed intervals and tells what it last heard.
        seen_at = math.floor(now / settings.cache_s) * settings.cache_s
        is_seen = seen_at >= task.created_at
    seen_at = max(seen_at, task.created_at)
    task = _timed_out(settings, task, seen_at)
    view = as_it_is(settings, task, seen_at, store, base, request_id)
    # Its results are told, or cleared, by the true time.
    assets = _results(settings, task, now, store, base) if view.status == "succeed" else ()
    return attrs.evolve(view, assets=assets, is_seen=is_seen)


def as_it_is(settings: Settings, task: Task, seen_at: float, store: AssetStore, base: str, request_id: str) -> Snapshot:
    """The task at a moment, as the service itself sees it."""
    status = task.status_at(seen_at)
    is_ended = status in ("succeed", "failed")
    units = task.units if status == "succeed" else Decimal(0)
    return Snapshot(
        task=task,
        status=status,
        updated_at=task.updated_at(seen_at),
        assets=_results(settings, task, seen_at, store, base) if status == "succeed" else (),
        units=prices.plain(units) if is_ended else None,
        money=prices.plain(units * prices.UNIT_USD[task.row.pack]) if is_ended else None,
        cash=settings.charge == "cash",
        currency=settings.currency,
        request_id=request_id,
    )


def _results(settings: Settings, task: Task, now: float, store: AssetStore, base: str) -> tuple[AssetView, ...]:
    is_late = not task.row.finished_at_once and now < task.ended_at + settings.results_after_s
    is_cleared = now >= task.created_at + settings.retention_s
    # What was there before any task (negative ordinals) stays.
    return () if task.ordinal >= 0 and (is_late or is_cleared) else store.views(task, now, base, wm=task.watermark)


def _timed_out(settings: Settings, task: Task, now: float) -> Task:
    """The task as a gateway tells it that has lost patience, else as it is."""
    limit = settings.gateway_timeout_s
    if limit is None or settings.speech.errors != "new-api":
        return task
    gone_at = task.created_at + limit
    if now < gone_at or task.ended_at <= gone_at:
        return task
    # The words of new-api. Source: service reference, "Transitions".
    reason = f"任务超时（{limit / 60:g}分钟）"  # noqa: RUF001 - the gateway's own brackets
    return attrs.evolve(task, ended_at=gone_at, reason=reason)
