"""All switches of the emulator, with defaults per dialect filled in.

Place: the base of `Emulator`, read by service and dialects. Every answer to "the reference does not know" is a
switch here with both behaviours.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

import attrs

from .callbacks import CallbackPlan
from .chance import Durations
from .dialects import DIALECTS, Dialect
from .faults import Fault, FaultPlan
from .packs import ResourcePack

DAY_S = 86_400.0

UnknownTask = Literal["1201", "1203", "empty", "task_not_exist"]


def _plan(faults: Iterable[Fault]) -> FaultPlan:
    return faults if isinstance(faults, FaultPlan) else FaultPlan(faults)


@attrs.define(kw_only=True, eq=False, repr=False)
class Settings:
    """The switches; see `Emulator` for what each means."""

    dialect: str = "cometapi"
    seed: int = 0
    speed: float = 1.0
    host: str = "127.0.0.1"
    port: int = 0
    unix_path: str | None = None
    epoch: float | None = None
    time: Callable[[], float] | None = None
    api_key: str = "emulator-key"
    access_key: str = "emulator-access-key"
    secret_key: str = "emulator-secret-key"  # noqa: S105 - the documented default of an emulator
    jwt_on_new_standard: bool = False
    lenient: bool = False
    lists: bool | None = None
    batch: bool | None = None
    external_lookup: bool | None = None
    unique_external_ids: bool = True
    unique_legacy_ids: bool = True
    external_id_limit: int | None = None
    duplicate_code: int = 1201
    duplicate_status: int = 400
    batch_sees_legacy: bool = False
    legacy_sees_new: bool = False
    batch_max_ids: int = 20
    batch_overflow: Literal["error", "truncate"] = "error"
    list_order: Literal["newest", "oldest"] = "newest"
    visible_after_s: float = 0.0
    unknown_task: UnknownTask | None = None
    retention_s: float = 30 * DAY_S
    clears: Literal["tasks", "results"] = "tasks"
    results_after_s: float = 0.0
    gateway_timeout_s: float | None = None
    cache_s: float | None = None
    older_omni_form: bool = False
    images_with_id: bool = False
    errors_as_200: bool = False
    refused_models: Collection[str] = ()
    retired: Collection[str] = ()
    retired_code: int = 1201
    takes_foreign_ids: bool = False
    takes_m4a: bool = False
    session_ttl_s: float = DAY_S
    inner_refusals: bool = True
    weak_omni: bool = True
    video_per_shot: bool = False
    recognition: Literal["result", "flat"] = "result"
    slots: int | Mapping[str, int] | None = None
    slot_release_s: float = 0.0
    requests_per_s: float | None = None
    duration_s: Durations = None
    failure_rate: float = 0.0
    charge: Literal["unit", "cash"] = "unit"
    currency: Literal["USD", "CNY"] = "USD"
    units: float | Mapping[str, float] | None = None
    url_ttl_s: float = 30 * DAY_S
    fresh_urls: bool = True
    hang_s: float = 600.0
    known_ids_only: bool = False
    deleted_again: Literal["1201", "ok"] = "1201"
    tasks_see_solutions: bool = False
    packs: Collection[ResourcePack] | None = None
    balance: float = 1000.0
    api_key_name: str = "emulator"
    costs_lag_s: float = 12 * 3600.0
    costs_per_s: float | None = None
    inner_account_errors: bool = False
    webhook_secret: str | Collection[str] | None = None
    callbacks: CallbackPlan = attrs.field(factory=CallbackPlan)
    callback_unix_path: str | None = None
    _faults: FaultPlan = attrs.field(factory=FaultPlan, converter=_plan, alias="faults")

    def __attrs_post_init__(self) -> None:
        if self.dialect not in DIALECTS:
            raise ValueError(f"dialect must be one of {', '.join(DIALECTS)}, not {self.dialect!r}")
        if not self.speed > 0:
            raise ValueError(f"speed must be positive, not {self.speed!r}")
        speech = self.speech
        if self.lists is None:
            self.lists = speech.lists
        if self.batch is None:
            self.batch = speech.batch
        if self.external_lookup is None:
            self.external_lookup = speech.external_lookup
        if self.unknown_task is None:
            self.unknown_task = speech.unknown_task
        if self.cache_s is None:
            self.cache_s = speech.cache_s

    @property
    def faults(self) -> FaultPlan:
        """The fault plan, a list; any iterable of faults may be assigned."""
        return self._faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._faults = _plan(faults)

    @property
    def speech(self) -> Dialect:
        """The dialect as a row of the table."""
        return DIALECTS[self.dialect]
