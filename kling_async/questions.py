"""What a session is asked that makes no job: one task, lists, the account, and calls that are answered at once.

Stage: front. Before: session, which is one of these. After: transport, and scheduler for what an answer tells of a job.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from .calls import decode_answer
from .dialects import Host
from .endpoints import (
    Advice,
    Call,
    Endpoint,
    body_of,
    dump,
    encode_files,
    endpoint_of,
    find_endpoint,
    has_files,
    list_row,
)
from .errors import (
    BadEnvelope,
    ConfigError,
    InvalidRequest,
    KlingError,
    RequestWarning,
    ServiceError,
    TaskVanished,
    is_missing,
)
from .job import Job
from .models import Observation, Result
from .runtime import Runtime
from .sweep import CursorPage, Form, ListPage, Single
from .transport import Transport
from .wire import Envelope, decode_task, ids_of, is_id

if TYPE_CHECKING:
    from .endpoints.account import AccountUsage, Charge

_log = logging.getLogger(__name__)

EndpointLike = str | type[Any] | Endpoint
Ask = Callable[[Single | ListPage | CursorPage], Awaitable[Envelope]]
_R = TypeVar("_R")
# The standards of requests that are parts of the service a host may lack, as `Host.lacks` names them.
_SPELT: Mapping[str, str] = {
    "new": "the new standard of the service (use the classes of the legacy one, as TextToVideo)",
    "solutions": "the Solutions API, which only the official hosts have",
    "account": "pages of the account, which only the official hosts have",
}
_PACKS_DAYS = 400  # source: service reference, "Account and billing"
_CHARGES_DAYS = 30
_EMPTY_PAGES = 3


class Questions:
    """The part of a session that asks; see KlingSession."""

    _host: Host
    _strict: bool
    _wall: Callable[[], float]
    _transport: Transport
    _runtime: Runtime

    # --- what a host has, and what is likely wrong ------------------------------------------------------------------

    def _require(self, row: Endpoint) -> None:
        """Refuse before anything is sent what this host is known not to have."""
        if row.standard in self._host.lacks:
            raise InvalidRequest("endpoint", row.name, f"{self._host.name} does not have {_SPELT[row.standard]}")

    def _advise(self, endpoint: Endpoint, request: Any, stacklevel: int) -> None:
        self._require(endpoint)
        advices = list(endpoint.advice(request, self._host))
        if endpoint.standard in self._host.undocumented:
            told = f"no page of {self._host.name} speaks of {_SPELT[endpoint.standard]}"
            advices.append(Advice("endpoint", told))
        for advice in advices:
            if self._strict:
                given = getattr(request, advice.field.partition(".")[0], None)
                raise InvalidRequest(advice.field, given, f"{advice} (strict=True)")
            warnings.warn(str(advice), RequestWarning, stacklevel=stacklevel)

    # --- answers at once -------------------------------------------------------------------------------------------

    async def call(self, request: Call[_R]) -> _R:
        """Send a request that makes no task, as IdentifyFace, and give its answer.

        Raises:
            ConfigError: the request makes a task: submit it.
            InvalidRequest: it is wrong for this host; nothing was sent.
            ServiceError: refused, also within an answer that says "succeed" around it.
            TransportError: no usable answer. A call that is charged may have been; it is never sent twice by itself.
            SessionError: the session is closed, or has crashed.
        """
        self._runtime.scheduler()
        row = endpoint_of(request)
        if row.kind != "call":
            raise ConfigError(f"{type(request).__name__} makes a task: await session.generate(...), or submit it")
        self._advise(row, request, stacklevel=3)
        fields = body_of(request, self._host)
        if has_files(request):
            fields = await asyncio.to_thread(encode_files, fields, request)
        try:
            envelope = await self._transport.call(row, fields, dump(fields))
        except KlingError as error:
            raise error.anew(paid="no" if row.is_free else error.paid) from None
        try:
            answer: _R = decode_answer(row, envelope)
        except BadEnvelope as error:  # the host said yes, in words that cannot be read
            raise error.anew(paid="no" if row.is_free else "yes") from None
        return answer

    # --- questions -------------------------------------------------------------------------------------------------

    async def query(self, task: Job | str, endpoint: EndpointLike | None = None) -> Observation:
        """Ask the host about one task now.

        Args:
            task: a job that was accepted, or a task id.
            endpoint: short name or request class; needed with a task id.

        Raises:
            ConfigError: no task yet, no endpoint, or no possible task id.
            TaskVanished: the host does not know it.
            ServiceError: it refused to say.
            TransportError: no usable answer.
            SessionError: the session is closed, or has crashed.
        """
        scheduler = self._runtime.scheduler()
        if isinstance(task, Job):
            row, task_id = task.row, task.task_id
            if task_id is None:
                raise ConfigError(f"job {task.id} has no task yet; it is {task.status}")
        elif endpoint is None:
            raise ConfigError("query() needs the endpoint of a task id")
        else:
            row, task_id = find_endpoint(endpoint), task
        check_task_id(task_id)
        try:
            envelope = await self._ask(Single(row.name, task_id))
        except ServiceError as error:
            if not is_missing(error):
                raise
            envelope = Envelope((), many=False, request_id=error.request_id)
        # A lone object answers what was asked, whatever it calls itself; of a list only a row that says so does.
        rows = [entry for entry in envelope.rows if not envelope.many or task_id in ids_of(entry)]
        if not rows:
            told = f"the host does not know task {task_id}"
            raise TaskVanished(told, task_id=task_id, request_id=envelope.request_id)
        observation = decode_task(rows[0], row.yields, retention_s=self._host.retention_s)
        # A gateway may answer with the service's own id of a task; one asked for by our id must not be named so.
        followed = task_id if scheduler.find(task_id) is not None else observation.task_id
        observation = attrs.evolve(observation, task_id=followed, request_id=envelope.request_id)
        scheduler.observe(observation)
        return observation

    async def tasks(
        self,
        endpoint: EndpointLike,
        *,
        page_size: int = 100,
        status: Collection[str] = (),
        product_type: Collection[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[Observation]:
        """Page through the host's own list of tasks, in the host's order.

        A legacy endpoint has a list of its own, without filters. The new standard (`Operation`, or one of its
        endpoints) has one for the whole account, whatever the operation, as have Solutions.

        Rows shift between pages while tasks are created: none is given twice, but one may be left out.

        Args:
            endpoint: short name, request class, or row.
            page_size: rows per query, 1 to 500.
            status: only tasks in these: submitted, processing, succeeded, failed. New standard only, as the rest.
            product_type: only these: video, image, try_on. Not of solutions.
            since: only tasks made from here on; 30 days before `until` if left out. A moment without a zone is local.
            until: only tasks made before; now if left out.

        Raises:
            ConfigError: no such endpoint, or one without a list; page_size is not from 1 to 500; or a filter that its
                list does not have.
            InvalidRequest: the host is known not to have that list; nothing was sent.
            ServiceError: the host has no list, or refused.
            TransportError: no usable answer.
            SessionError: the session is closed, or has crashed.
        """
        self._runtime.scheduler()
        if not 1 <= page_size <= 500:
            raise ConfigError(f"page_size={page_size!r} must be from 1 to 500")
        row = list_row(endpoint)
        pages = self._pages(row, page_size, status, product_type, since, until, self._ask)
        seen: set[str | None] = set()
        async for envelope in pages:
            for entry in envelope.rows:
                try:
                    observation = decode_task(entry, row.yields, retention_s=self._host.retention_s)
                except BadEnvelope as error:  # one that cannot be read must not hide the others
                    _log.warning("a row of the list cannot be read: %s", error)
                    continue
                if observation.task_id not in seen:
                    seen.add(observation.task_id)
                    yield observation

    def _pages(
        self,
        row: Endpoint,
        page_size: int,
        status: Collection[str],
        product_type: Collection[str],
        since: datetime | None,
        until: datetime | None,
        ask: Ask,
    ) -> AsyncIterator[Envelope]:
        """Choose the list that holds the tasks of a row, and check the filters against what it has."""
        if row.kind == "call" or (row.standard == "legacy" and not row.has_list):
            raise ConfigError(f"{row.name} makes no tasks that are listed")
        for name, given in (("status", status), ("product_type", product_type)):
            if isinstance(given, str):
                raise ConfigError(f"{name}={given!r} must be a list of words: [{given!r}]")
        filters = {"status": list(status), "product_type": list(product_type)}
        if row.standard == "legacy":
            if any(filters.values()) or since is not None or until is not None:
                raise ConfigError(f"the list of {row.name} has no filters; only the new standard's has")
            if "list" in self._host.lacks:
                raise InvalidRequest("endpoint", row.name, f"{self._host.name} has no lists of tasks")
            return self._list_pages(row, page_size, ask)
        self._require(row)
        solutions = row.standard == "solutions"
        if solutions and product_type:
            raise ConfigError("the list of solutions has no filter by product_type")
        fields: dict[str, object] = {"limit": page_size}
        for name, moment in (("start_time", since), ("end_time", until)):
            if moment is not None:
                # The one list wants text, the other a number. Source: "Query Task (Cursor List)", "Goods Studio".
                fields[name] = _milliseconds(moment) if solutions else str(_milliseconds(moment))
        chosen = [{"key": key, "values": values} for key, values in filters.items() if values]
        if chosen:
            fields["filters"] = chosen
        return self._cursor_pages("/solutions" if solutions else "/tasks", fields, ask)

    async def _list_pages(self, row: Endpoint, size: int, ask: Ask) -> AsyncIterator[Envelope]:
        for index in range(1, 1001):  # source: service reference, "Query Task (List)": pageNum 1 to 1000
            envelope = await ask(ListPage(row.name, index, size))
            yield envelope
            if len(envelope.rows) < size:
                return

    async def _cursor_pages(self, path: str, fields: Mapping[str, object], ask: Ask) -> AsyncIterator[Envelope]:
        cursors: set[str] = set()
        empty = 0
        while True:
            envelope = await ask(CursorPage(path, fields))
            yield envelope
            cursor = envelope.next_cursor
            empty = 0 if envelope.rows else empty + 1
            # A host that gives one cursor twice, or cursors to nothing, would never end.
            if cursor is None or cursor in cursors or empty > _EMPTY_PAGES:
                return
            cursors.add(cursor)
            # With a cursor the times are void; limit and filters still count. Source: "Query Task (Cursor List)".
            fields = {**{k: v for k, v in fields.items() if not k.endswith("_time")}, "cursor": cursor}

    async def _ask(self, query: Single | ListPage | CursorPage) -> Envelope:
        """Ask a question of the user's own; whatever comes of it, a question costs nothing."""
        scheduler = self._runtime.scheduler()
        scheduler.poller.counts[Form.SINGLE if isinstance(query, Single) else Form.LIST] += 1
        try:
            return await self._transport.ask(query)
        except KlingError as error:
            raise error.anew(paid="no") from None

    async def _refresh(self, result: Result) -> Result | None:
        """Ask once for fresh URLs of a result whose old ones do not work any more; raises as `query`."""
        observation = await self.query(result.task_id, result.endpoint)
        return attrs.evolve(result, assets=observation.assets) if observation.assets else None

    # --- the account -----------------------------------------------------------------------------------------------

    async def account(
        self, *, since: datetime | None = None, until: datetime | None = None, pack: str | None = None
    ) -> AccountUsage:
        """Ask which resource packs the account has, and what is left of them; free, at most once a second.

        Args:
            since: only packs bought from here on; 400 days ago if left out, because a shorter window hides packs that
                are still in use.
            until: only packs bought before; now if left out.
            pack: only packs of this name.

        Raises:
            InvalidRequest: this host tells nothing of the account; nothing was sent.
            ServiceError: refused.
            TransportError: no usable answer.
            SessionError: the session is closed, or has crashed.
        """
        from .endpoints.account import AccountCosts  # noqa: PLC0415 - as every endpoint, when it is asked for

        end = until or self._now()
        start = since or end - timedelta(days=_PACKS_DAYS)
        request = AccountCosts(start_time=_milliseconds(start), end_time=_milliseconds(end), resource_pack_name=pack)
        return await self.call(request)

    async def charges(
        self,
        kind: Literal["money", "units"],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        api_key_names: Collection[str] = (),
    ) -> AsyncIterator[Charge]:
        """Yield what was charged for which task: money from the balance, or units from packs; never both at once.

        Args:
            kind: which of the two.
            since: charges from here on; 30 days before `until` if left out.
            until: charges before; now if left out.
            api_key_names: only of tasks made with these keys.

        Raises:
            InvalidRequest: this host tells nothing of the account; nothing was sent.
            ServiceError: refused.
            TransportError: no usable answer.
            SessionError: the session is closed, or has crashed.
        """
        from .endpoints.account import BalanceCharges, PackageCharges  # noqa: PLC0415 - as every endpoint

        end = until or self._now()
        start = since or end - timedelta(days=_CHARGES_DAYS)
        filters = [{"key": "api_key_name", "values": list(api_key_names)}] if api_key_names else None
        ask = BalanceCharges if kind == "money" else PackageCharges
        request = ask(start_time=_milliseconds(start), end_time=_milliseconds(end), filters=filters)
        cursors: set[str] = set()
        empty = 0
        while True:
            page = await self.call(request)
            for charge in page.charges:
                yield charge
            empty = 0 if page.charges else empty + 1
            if not page.has_more or not page.next_cursor or page.next_cursor in cursors or empty > _EMPTY_PAGES:
                return
            cursors.add(page.next_cursor)
            request = ask(cursor=page.next_cursor)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)


def check_task_id(task_id: str) -> None:
    """Refuse what cannot be a host's id of a task.

    Raises:
        ConfigError: says so.
    """
    if not is_id(task_id):
        raise ConfigError(f"task_id={task_id!r} cannot be a host's id of a task")


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
