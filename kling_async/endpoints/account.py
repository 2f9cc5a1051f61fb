"""The account's own pages: resource packs, and what was charged for which task.

Stage: registry and wire. They make no task and cost nothing; only the official hosts have them.
Source: service reference, "Account and billing", and the pages "Account Usage" and "Billing Deduction".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import attrs

from ..dialects import Host
from ..errors import InvalidRequest
from .base import Advice, Call, Endpoint, nested_list
from .parts import Plain
from .rules import extra_fields, integer, kept, optional, text

_moment: Any = integer(0, 10**14)
# A number this small is a moment in seconds: as milliseconds it would be in 1973.
_LEAST_MS = 10**11


# --- answers -------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ResourcePack:
    """One resource pack, as the service names its fields; moments are Unix time in milliseconds.

    Attributes:
        resource_pack_name: its name.
        resource_pack_id: its id.
        resource_pack_type: decreasing_total or constant_period.
        total_quantity: units bought.
        remaining_quantity: units left, as of up to 12 hours ago.
        purchase_time: when it was bought.
        effective_time: when it begins.
        invalid_time: when it ends.
        status: toBeOnline, online, expired, runOut.
    """

    resource_pack_name: str | None = None
    resource_pack_id: str | None = None
    resource_pack_type: str | None = None
    total_quantity: Decimal | None = None
    remaining_quantity: Decimal | None = None
    purchase_time: int | None = None
    effective_time: int | None = None
    invalid_time: int | None = None
    status: str | None = None


@attrs.frozen(kw_only=True)
class AccountUsage:
    """The resource packs of an account.

    Attributes:
        code: 0, or why there are none; inside an envelope that says 0.
        msg: the words to it.
        resource_pack_subscribe_infos: the packs.
        raw: the answer as received.
    """

    code: int | None = None
    msg: str | None = None
    resource_pack_subscribe_infos: tuple[ResourcePack, ...] = ()
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def packs(self) -> tuple[ResourcePack, ...]:
        """The packs, by a shorter name."""
        return self.resource_pack_subscribe_infos


@attrs.frozen(kw_only=True)
class Charge:
    """What one task took, from the balance (money) or from a pack (units); fields as the service names them.

    Attributes:
        task_id: the service's id of the task.
        api_key_name: name of the key it was made with.
        product_function: the kind of generation, as "Image to Video".
        model_name: the model.
        resolution: 720p, 1080p, 4k.
        duration: seconds of the clip.
        refer_video_input: whether a video went in.
        video_sound: native, original, off.
        voice_control: whether a voice was chosen.
        deduction_time: Unix time in milliseconds.
        deduction_amount: money from the balance, or units from a pack.
        cash_type: balance or test_balance; of the balance only.
        balance_before_deduction: of the balance only.
        balance_after_deduction: of the balance only.
        list_price: before discounts; of the balance only.
        currency: CNY or USD; of the balance only.
        package_id: the pack; of packs only.
        product_type: video, image or try-on; of packs only.
        unit_before_deduction: of packs only.
        unit_after_deduction: of packs only.
    """

    task_id: str | None = None
    api_key_name: str | None = None
    product_function: str | None = None
    model_name: str | None = None
    resolution: str | None = None
    duration: float | None = None
    refer_video_input: bool | None = None
    video_sound: str | None = None
    voice_control: bool | None = None
    deduction_time: int | None = None
    deduction_amount: Decimal | None = None
    cash_type: str | None = None
    balance_before_deduction: Decimal | None = None
    balance_after_deduction: Decimal | None = None
    list_price: Decimal | None = None
    currency: str | None = None
    package_id: str | None = None
    product_type: str | None = None
    unit_before_deduction: Decimal | None = None
    unit_after_deduction: Decimal | None = None


@attrs.frozen(kw_only=True)
class ChargesResult:
    """The charges of one page.

    Attributes:
        detail: one for each task.
        count: how many the page has.
    """

    detail: tuple[Charge, ...] = ()
    count: int | None = None


@attrs.frozen(kw_only=True)
class ChargesPage:
    """One page of charges; the next is asked for with `attrs.evolve(request, cursor=page.next_cursor)`.

    Attributes:
        result: the charges.
        next_cursor: where the next page begins.
        has_more: whether there is one.
        raw: the answer as received.
    """

    result: ChargesResult = attrs.field(factory=ChargesResult)
    next_cursor: str | None = None
    has_more: bool = False
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def charges(self) -> tuple[Charge, ...]:
        """The charges, by a shorter way."""
        return self.result.detail


# --- requests ------------------------------------------------------------------------------------------------------


def _texts(value: object) -> Any:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else value


def _all_texts(_instance: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(field.name, value, "must be a list of strings")


@attrs.frozen(kw_only=True)
class ChargeFilter:
    """One condition on charges; several values are alternatives, several filters hold together.

    Attributes:
        key: api_key_name; for packs also product_type, package_name, package_id.
        values: what it may be.
    """

    key: str = attrs.field(validator=text())
    values: tuple[str, ...] = attrs.field(converter=_texts, validator=_all_texts)


def _filters(value: Iterable[ChargeFilter | Plain] | None) -> tuple[ChargeFilter, ...] | None:
    return nested_list(ChargeFilter, "filters", value)


def _check_span(request: AccountCosts | BalanceCharges | PackageCharges, *, unless: str = "") -> None:
    if getattr(request, "cursor", None) is None and "cursor" not in request.extra:
        for name in ("start_time", "end_time"):
            if getattr(request, name) is None and name not in request.extra:
                raise InvalidRequest(name, None, f"is required{unless}")
    start, end = request.start_time, request.end_time
    if start is not None and end is not None and start >= end:
        raise InvalidRequest("end_time", end, "must be later than start_time")


def _check_page(request: BalanceCharges | PackageCharges) -> None:
    # With a cursor the service does not look at the other fields, so they may stay: evolving is how one pages.
    _check_span(request, unless=" without a cursor")


@attrs.frozen(kw_only=True)
class AccountCosts(Call[AccountUsage]):
    """The resource packs bought within a span of time, and what is left of them. Free; ask once a second at most.

    Attributes:
        start_time: Unix time in milliseconds, required; a pack counts when it was bought, so begin early.
        end_time: Unix time in milliseconds, required.
        resource_pack_name: asks for one pack.
        extra: further parameters, by name.
    """

    start_time: int | None = attrs.field(default=None, validator=optional(_moment))
    end_time: int | None = attrs.field(default=None, validator=optional(_moment))
    resource_pack_name: str | None = attrs.field(default=None, validator=optional(text()))
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        _check_span(self)


@attrs.frozen(kw_only=True)
class BalanceCharges(Call[ChargesPage]):
    """What tasks have taken from the balance, page by page.

    Attributes:
        start_time: Unix time in milliseconds, of the tasks' making; required without a cursor.
        end_time: Unix time in milliseconds; required without a cursor.
        cursor: the last page's next_cursor; the other fields then do not count.
        limit: charges of a page; 500 is the most and the service's default.
        filters: conditions; api_key_name.
        extra: further fields, by name.
    """

    start_time: int | None = attrs.field(default=None, validator=optional(_moment))
    end_time: int | None = attrs.field(default=None, validator=optional(_moment))
    cursor: str | None = attrs.field(default=None, validator=optional(text()))
    limit: int | None = attrs.field(default=None, validator=optional(integer(1, 500)))
    filters: tuple[ChargeFilter, ...] | None = attrs.field(default=None, converter=_filters)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        _check_page(self)


@attrs.frozen(kw_only=True)
class PackageCharges(Call[ChargesPage]):
    """What tasks have taken from resource packs, page by page.

    Attributes:
        start_time: Unix time in milliseconds, of the tasks' making; required without a cursor.
        end_time: Unix time in milliseconds; required without a cursor.
        cursor: the last page's next_cursor; the other fields then do not count.
        limit: charges of a page; 500 is the most and the service's default.
        filters: conditions; api_key_name, product_type, and one of package_name and package_id.
        extra: further fields, by name.
    """

    start_time: int | None = attrs.field(default=None, validator=optional(_moment))
    end_time: int | None = attrs.field(default=None, validator=optional(_moment))
    cursor: str | None = attrs.field(default=None, validator=optional(text()))
    limit: int | None = attrs.field(default=None, validator=optional(integer(1, 500)))
    filters: tuple[ChargeFilter, ...] | None = attrs.field(default=None, converter=_filters)
    extra: Mapping[str, object] = attrs.field(factory=dict, converter=kept, validator=extra_fields, hash=False)

    def __attrs_post_init__(self) -> None:
        _check_page(self)
        if {"package_name", "package_id"} <= {condition.key for condition in self.filters or ()}:
            raise InvalidRequest("filters", "package_name, package_id", "exclude each other")


# --- rows ----------------------------------------------------------------------------------------------------------

_KEYS: Mapping[type[Any], tuple[str, ...]] = {
    BalanceCharges: ("api_key_name",),
    PackageCharges: ("api_key_name", "product_type", "package_name", "package_id"),
}


def _advise(request: AccountCosts | BalanceCharges | PackageCharges, _host: Host) -> Iterator[Advice]:
    for name in ("start_time", "end_time"):
        value = getattr(request, name)
        if value is not None and 0 < value < _LEAST_MS:
            yield Advice(name, f"{name} {value} looks like seconds; the service counts milliseconds")
    known = _KEYS.get(type(request), ())
    for condition in getattr(request, "filters", None) or ():
        if condition.key not in known:
            yield Advice("filters", f"{condition.key} is not a known filter; known are {', '.join(known)}")


ENDPOINTS = (
    Endpoint(
        name="account/costs",
        path="/account/costs",
        source="Account Usage",
        request=AccountCosts,
        kind="call",
        is_free=True,
        standard="account",
        method="GET",
        answer=AccountUsage,
        has_list=False,
        by_external_id=False,
        advice=_advise,
    ),
    Endpoint(
        name="account/billing/balance",
        path="/account/billing/balance",
        source="Billing Deduction, Balance",
        request=BalanceCharges,
        kind="call",
        is_free=True,
        standard="account",
        answer=ChargesPage,
        has_list=False,
        by_external_id=False,
        advice=_advise,
    ),
    Endpoint(
        name="account/billing/package",
        path="/account/billing/package",
        source="Billing Deduction, Package",
        request=PackageCharges,
        kind="call",
        is_free=True,
        standard="account",
        answer=ChargesPage,
        has_list=False,
        by_external_id=False,
        advice=_advise,
    ),
)
