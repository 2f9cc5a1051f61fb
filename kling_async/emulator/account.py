"""Account pages: what is left of the packs, and what was deducted for what.

Place: part of the endpoint table, official host only; fed from the service's own ledger. Source: service reference,
"Account and billing".
"""

import base64
import binascii
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from . import prices
from .checks import Body, items, kept, kept_items, text, wrong
from .packs import ResourcePack, shares
from .refusals import Refusal, invalid
from .rows import Row
from .tasks import CallRecord, Task

if TYPE_CHECKING:
    from .service import Service

Json = dict[str, Any]

LIMIT = 500

_DAY_S = 86_400.0

# The pack that every emulated account has: bought so long ago that a window of 30 days hides it, good for a year.
_BOUGHT_BEFORE_S, _VALID_S = 60 * _DAY_S, 365 * _DAY_S

_RESOLUTIONS = {"std": "720p", "pro": "1080p", "4k": "4k"}
_IMAGE_RESOLUTIONS = {"std": "1k", "pro": "2k", "4k": "4k"}


@attrs.frozen(kw_only=True, order=False)
class Deduction:
    """One charge: a finished task or a synchronous call. `number` keeps those of one moment apart."""

    at: float
    number: int
    endpoint: str
    task_id: str
    model: str
    resolution: str
    seconds: str
    body: Body
    pack: str
    units: Decimal

    @property
    def key(self) -> tuple[int, int]:
        """Place in the order of time, in milliseconds."""
        return int(self.at * 1000), self.number


# What is left


def costs(service: "Service", query: Body, now: float) -> Json:
    """`GET /account/costs`: the packs bought within a window."""
    try:
        start, end = (_moment(query.get(name), name) for name in ("start_time", "end_time"))
        if start > end:
            raise wrong("start_time", start)
    except Refusal as refusal:
        if not service.settings.inner_account_errors:
            raise
        return {"code": refusal.code, "msg": refusal.message, "resource_pack_subscribe_infos": []}
    _count_call(service, now)
    name = query.get("resource_pack_name")
    # What is left is told as of twelve hours ago.
    billed = _billed(service, now - service.settings.costs_lag_s)
    rows = [
        _pack_row(pack, share, now)
        for pack, share in shares(packs_of(service), billed)
        if start <= pack.purchased_at * 1000 <= end and name in (None, "", pack.name)
    ]
    return {"code": 0, "msg": "success", "resource_pack_subscribe_infos": rows}


def packs_of(service: "Service") -> list[ResourcePack]:
    """The packs of the account: those of the switch, else one of each kind."""
    if service.settings.packs is not None:
        return list(service.settings.packs)
    bought = service.opened_at - _BOUGHT_BEFORE_S
    limit = service.settings.units
    totals = limit if isinstance(limit, Mapping) else {} if limit is None else {"video": limit}
    kinds = tuple(totals) or ("video", "image", "try_on")
    return [
        ResourcePack(
            name=f"Emulator pack ({kind})",
            pack_id=f"pack-{kind}",
            pack=kind,
            total=float(totals.get(kind, 100_000.0)),
            purchased_at=bought,
            effective_at=bought,
            invalid_at=bought + _VALID_S,
        )
        for kind in kinds
    ]


def _pack_row(pack: ResourcePack, used: Decimal, now: float) -> Json:
    remaining = Decimal(str(pack.total)) - used
    return {
        "resource_pack_name": pack.name,
        "resource_pack_id": pack.pack_id,
        "resource_pack_type": pack.kind,
        "total_quantity": pack.total,
        "remaining_quantity": float(remaining),
        "purchase_time": int(pack.purchased_at * 1000),
        "effective_time": int(pack.effective_at * 1000),
        "invalid_time": int(pack.invalid_at * 1000),
        "status": pack.status(remaining, now),
    }


def _count_call(service: "Service", now: float) -> None:
    rate = service.settings.costs_per_s
    if rate is None:
        return
    if now - service.costs_asked_at < 1 / rate:
        raise Refusal.of(1302)
    service.costs_asked_at = now


def _billed(service: "Service", now: float) -> dict[str, Decimal]:
    """Units charged until a moment, per kind of pack; kinds without a pack of their own use the video pack."""
    kinds = {pack.pack for pack in packs_of(service)}
    sums: dict[str, Decimal] = {}
    for deduction in deductions(service, now):
        kind = deduction.pack if deduction.pack in kinds else "video"
        sums[kind] = sums.get(kind, Decimal(0)) + deduction.units
    return sums


# What was deducted


def deductions(service: "Service", now: float) -> list[Deduction]:
    """Every charge until a moment, oldest first."""
    found = [_of_task(task) for task in service.tasks if task.units and task.status_at(now) == "succeed"]
    found += [
        _of_call(call, len(service.tasks) + at)
        for at, call in enumerate(service.calls)
        if call.billed and call.at <= now
    ]
    return sorted(found, key=lambda deduction: deduction.key)


def _of_task(task: Task) -> Deduction:
    is_image = task.row.pack == "image"
    return Deduction(
        at=task.ended_at,
        number=task.ordinal,
        endpoint=task.row.family,
        task_id=task.task_id,
        model=task.model,
        resolution=(_IMAGE_RESOLUTIONS if is_image else _RESOLUTIONS)[task.mode],
        seconds="" if is_image else f"{task.seconds:g}",
        body=task.body,
        pack=task.row.pack,
        units=task.units,
    )


def _of_call(call: CallRecord, number: int) -> Deduction:
    return Deduction(
        at=call.at,
        number=number,
        endpoint=call.endpoint,
        task_id="",
        model="",
        resolution="",
        seconds="",
        body=call.body,
        pack=call.pack,
        units=Decimal(str(call.billed)),
    )


def balance(service: "Service", body: Body, now: float) -> Json:
    """`POST /account/billing/balance`: what was paid in money; nothing while the switch charges units."""
    left = Decimal(str(service.settings.balance))
    rows: dict[tuple[int, int], Json] = {}
    for deduction in deductions(service, now) if service.settings.charge == "cash" else ():
        money = deduction.units * prices.UNIT_USD[deduction.pack]
        rows[deduction.key] = _common(service, deduction) | {
            "cash_type": "balance",
            "balance_before_deduction": prices.plain(left),
            "deduction_amount": prices.plain(money),
            "balance_after_deduction": prices.plain(left - money),
            "list_price": prices.plain(money),
            "currency": service.settings.currency,
        }
        left -= money
    return _page(service, rows, body)


def package(service: "Service", body: Body, now: float) -> Json:
    """`POST /account/billing/package`: what was taken from packs; nothing while the switch charges money."""
    packs = {pack.pack: pack for pack in reversed(packs_of(service))}
    rows: dict[tuple[int, int], Json] = {}
    for deduction in deductions(service, now) if service.settings.charge == "unit" else ():
        pack = packs.get(deduction.pack, packs.get("video"))
        rows[deduction.key] = _common(service, deduction) | {
            "package_type": deduction.pack,
            "resource_pack_name": pack.name if pack is not None else "",
            "deduction_amount": prices.plain(deduction.units),
        }
    return _page(service, rows, body)


def _common(service: "Service", deduction: Deduction) -> Json:
    body = deduction.body
    kinds = {item.get("type") for item in kept_items(body, "contents")}
    return {
        "task_id": deduction.task_id,
        "api_key_name": service.settings.api_key_name,
        "product_function": deduction.endpoint,
        "model_name": deduction.model,
        "resolution": deduction.resolution,
        "duration": deduction.seconds,
        "refer_video_input": bool(kept_items(body, "video_list")) or bool(kinds & {"feature_video", "base_video"}),
        "video_sound": "native" if kept(body, "sound") == "on" else kept(body, "settings.audio") or "off",
        "voice_control": bool(kept_items(body, "voice_list")) or "voice" in kinds,
        "deduction_time": int(deduction.at * 1000),
    }


# Pages


@attrs.frozen(kw_only=True)
class _Window:
    """What a first call asked for, and where the last page ended; a cursor holds all of it."""

    start: int
    end: int
    limit: int
    names: tuple[str, ...] | None
    after: tuple[int, int] | None = None

    def told(self) -> str:
        whole = [self.start, self.end, self.limit, self.names, self.after]
        return base64.urlsafe_b64encode(json.dumps(whole).encode()).decode()

    @classmethod
    def read(cls, value: object) -> "_Window":
        try:
            start, end, limit, names, after = json.loads(base64.urlsafe_b64decode(str(value)))
            first, number = after
            return cls(
                start=int(start),
                end=int(end),
                limit=int(limit),
                names=None if names is None else tuple(map(str, names)),
                after=(int(first), int(number)),
            )
        except (binascii.Error, TypeError, ValueError):
            raise wrong("cursor", value) from None


def _page(service: "Service", rows: dict[tuple[int, int], Json], body: Body) -> Json:
    # With a cursor the times, the limit and the filters are void.
    window = _Window.read(body["cursor"]) if body.get("cursor") else _asked(body)
    if window.names is not None and service.settings.api_key_name not in window.names:
        rows = {}
    newest_first = service.settings.list_order == "newest"
    keys = [key for key in sorted(rows, reverse=newest_first) if window.start <= key[0] <= window.end]
    if window.after is not None:
        last = window.after
        keys = [key for key in keys if (key < last if newest_first else key > last)]
    shown = keys[: window.limit]
    has_more = len(keys) > len(shown)
    return {
        "result": {"detail": [rows[key] for key in shown], "count": len(shown)},
        "next_cursor": attrs.evolve(window, after=shown[-1]).told() if has_more else "",
        "has_more": has_more,
    }


def _asked(body: Body) -> _Window:
    limit = body.get("limit")
    if limit is None or limit == "":
        limit = LIMIT
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LIMIT:
        raise wrong("limit", limit)
    names: tuple[str, ...] | None = None
    for position, item in enumerate(items(body, "filters")):
        values = item.get("values")
        if text(item, "key") != "api_key_name" or not isinstance(values, list):
            raise invalid(f"filters[{position}] is invalid")
        names = tuple(str(value) for value in values)
    start, end = (_moment(body.get(name), name) for name in ("start_time", "end_time"))
    return _Window(start=start, end=end, limit=limit, names=names)


def _moment(value: object, name: str) -> int:
    """Unix milliseconds, a number in a body and digits in a query; required."""
    words = str(value)
    if value is None or value == "":
        raise invalid(f"{name} is required")
    if isinstance(value, bool) or not (words.isascii() and words.isdigit()) or len(words) > 15:
        raise wrong(name, value)
    return int(words)


ACCOUNT_ROWS: tuple[Row, ...] = (
    Row(name="account-costs", path="/account/costs", method="GET", answer=costs, official_only=True),
    Row(name="billing-balance", path="/account/billing/balance", answer=balance, official_only=True),
    Row(name="billing-package", path="/account/billing/package", answer=package, official_only=True),
)
