"""The emulator as one object: a server to start, a ledger to count, a plan of faults to change.

Place: the front of the package. Owns clock, service and log; turns HTTP into questions for the desk.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

import attrs
from aiohttp import web

from .assets import PREFIX as ASSETS
from .breakage import Rude, break_off, idle, replacement, respond
from .callbacks import Postman, secrets_of
from .clock import Clock
from .control import ROOT, control
from .desk import Answer, Ask, Desk
from .dialects import RequestKind, page
from .faults import Fault
from .ledger import complaint, paid_twice
from .prices import UNIT_USD
from .record import Player, Recorder
from .routes import Route, find_route
from .service import Service
from .settings import Settings
from .tasks import AssetView, CallbackRecord, CallRecord, Snapshot, Status, Task, TaskRecord
from .telling import as_it_is
from .thread import OwnLoop

T = TypeVar("T")

# Largest body taken, in bytes: an inline picture of 50 MB is 67 MB of Base64.
_MAX_BODY_BYTES = 96 * 1024 * 1024

# Requests kept in the log; then the older half is dropped, so that a long-running emulator stays small.
_LOG_LIMIT = 1_000_000

# Seconds that requests in flight get when the emulator closes.
_GRACE_S = 2.0


@attrs.define
class LoggedRequest:
    """One request as the emulator saw it.

    Attributes:
        at: Unix seconds of the emulator's clock.
        method, path, query: as received, still percent-encoded.
        kind: what was asked: "create", "call" (synchronous, makes no task), "single", "list", "batch", "cursor",
            "asset" or "unknown".
        endpoint: row name, "" where the path names none.
        status: HTTP status sent; None when no whole answer was (broken off, or still waiting).
        fault: the planned fault that hit it ("reset after"), "" when none did.
        leaked: an Authorization header came to an asset URL: credentials sent to a foreign host.
    """

    at: float
    method: str
    path: str
    query: str
    kind: RequestKind
    endpoint: str
    status: int | None = None
    fault: str = ""
    leaked: bool = False


class _Runner(web.AppRunner):
    """A runner whose connections are looked at as they are accepted, before anything is read from them."""

    def __init__(self, app: web.Application, greet: Callable[[], asyncio.BaseProtocol | None]) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=_GRACE_S)
        self._greet = greet

    @property
    def server(self) -> Any:
        """What makes the protocol of a new connection; sites hand it to the loop, and call nothing else of it."""
        usual = super().server
        return None if usual is None else lambda: self._greet() or usual()


@attrs.define(kw_only=True, eq=False, repr=False)
class Emulator(Settings):
    """The Kling service in a box: tasks, slots, prices, files and faults, without an account or a bill.

    Use it as an async context manager; it then listens until the block ends. Nothing is kept afterwards. Switches
    may be changed while it runs. A plain `with` does the same from a thread with a loop of its own: for programs and
    tests without a loop, or with another one; what is read here is then read in that thread.

    Times are emulated seconds (they pass `speed` times as fast as the loop's own) unless said otherwise. The clock is
    the running loop's, so a virtual loop moves the emulator as well.

    Args:
        dialect: how the host speaks: "official", "official-old-host", "cometapi", "new-api", "new-api-old",
            "crazyrouter", "flat", "mixed".
        seed: decides ids, durations, failures and lots of faults; together with the order of the creates.
        speed: emulated seconds per second of the loop.
        host, port: where to listen; port 0 takes a free one.
        unix_path: listen on this Unix socket instead; `url` is then "http://localhost".
        epoch: Unix seconds at the start; None takes the computer's clock.
        time: monotonic seconds, in place of the loop's clock: turn it by hand in tests.
        api_key, access_key, secret_key: what callers must present. Tokens of the pair are judged by a clock that
            ignores `speed`, because the caller's does.
        jwt_on_new_standard: whether tokens of the pair are taken on new-standard paths (documented for the legacy
            standard only).
        lenient: skip validation of bodies and pictures.
        lists: whether legacy lists exist; None is the dialect's default, as below.
        batch: whether `GET /tasks` and `POST /tasks` exist.
        external_lookup: whether a legacy single query takes an external id.
        unique_external_ids: whether a create with a known external id is refused, with `duplicate_code` and HTTP
            `duplicate_status` and the words "already exists"; an id is burnt for good.
        unique_legacy_ids: whether creates of the legacy standard refuse a known external id too (not proven by any
            source); without effect when `unique_external_ids` is off.
        external_id_limit: longest external id in characters, above it a 1201; None: without limit (none is documented).
        batch_sees_legacy: whether `/tasks` tells tasks made on legacy paths (not known of the service).
        legacy_sees_new: whether legacy lists and single queries tell new-standard tasks (not known either).
        batch_max_ids: most ids in one `GET /tasks`; above it `batch_overflow`: "error" is a 1201, "truncate" drops
            the rest silently.
        list_order: order of legacy lists and of `POST /tasks`, by creation: "newest" or "oldest" first.
        visible_after_s: how long after its creation queries do not see a task yet.
        unknown_task: answer of a single query for nobody's id: "1201" (HTTP 400), "1203" (HTTP 404), "empty"
            (`data: []`), "task_not_exist" (a gateway's word, HTTP 400).
        retention_s: how long tasks and files are kept, from the creation.
        clears: what goes at the end of that time: whole "tasks", or only their "results", so that lists grow for ever.
        results_after_s: how long a succeeded task is told without any result.
        gateway_timeout_s: a gateway of the new-api family tells tasks that run longer as failed, although the service
            may still finish them. None: never.
        cache_s: a gateway tells statuses as of its last round; rounds are so many seconds apart. 0: always fresh.
        older_omni_form: omni-video queries in the older form of CometAPI (D8).
        images_with_id: single queries tell pictures with an empty `id` and without `index`, as v98store does (D13).
        errors_as_200: the service tells refusals with HTTP 200 and a non-zero code.
        refused_models: models that this account or gateway does not have.
        retired: endpoints ("multi-image2video") and models that are answered "This API is no longer available" with
            `retired_code` (only the words are reported).
        takes_foreign_ids: whether ids that this emulator did not give are taken: videos, sounds, sessions.
        takes_m4a: whether m4a and aac are taken as sounds, as documented; else "Audio format is invalid", as observed.
        session_ttl_s: how long sessions of faces and of selections live.
        inner_refusals: whether selections tell what is wrong with a session or its points as `code: 0` with a
            `status` that is not 0; else as 1201.
        weak_omni: whether new-standard omni takes impossible durations and 480p at create, as observed; else it refuses
            them as documented.
        video_per_shot: whether a legacy order with `multi_prompt` gives one video for each shot, as one gateway counts
            on; else one in all.
        recognition: reply of image-recognize, which no source shows: "result" like a finished task's, "flat" without
            the wrapping.
        slots: tasks in flight per (model version, pack): a number for each, or a mapping by model version or pack
            ("video", "image"), the model first. None: without limit. Above it: 1303.
        slot_release_s: how long a slot stays taken after its task ended.
        requests_per_s: authenticated requests per emulated second, bursts of one second; above it: 1302.
        duration_s: how long generations take: None for realistic times, a number, a (low, high) range, or a mapping
            from endpoint ("text2video", "text-to-video", "image-to-video/kling-3.0", "*") to one of these.
        failure_rate: share of tasks that fail at their end, 0 to 1; they are not billed.
        charge: new-standard `billing` in units ("unit") or in money ("cash", in `currency`).
        units: units left; a create or a call that needs more is refused with 1102. A number for the whole account, or a
            mapping by pack ("video", "image", "audio", "try_on", "general"). None: without end.
        url_ttl_s: how long an asset URL is good; then HTTP 403.
        fresh_urls: whether a query after that tells a new URL.
        hang_s: longest time a hanging request is held.
        known_ids_only: whether element and voice ids in a body must be those of the library ("Element id not found").
        deleted_again: deleting an element or a voice that is deleted already: "1201", or "ok" as the first time.
        tasks_see_solutions: whether `/tasks` tells the tasks of solutions too (not known of the service).
        packs: the packs that the account bought (`packs.ResourcePack`), told by `/account/costs`; what they do not
            hold is refused with 1102. None: one of each kind, which refuses nothing.
        balance: money on the account at first, told by `/account/billing/balance` while `charge` is "cash"; it may
            fall below zero.
        api_key_name: name of the key, as the account pages tell it.
        costs_lag_s: by how much `/account/costs` lags in telling what is left.
        costs_per_s: how often `/account/costs` may be asked; above it: 1302. None: as often as one likes.
        inner_account_errors: whether `/account/costs` tells wrong times by its inner code, in a success; else as 1201.
        webhook_secret: what callbacks are signed with ("whsec_" and Base64); several while it is being changed: then
            each has as many signatures. None: they are unsigned, as at the service without a secret in the console.
        callbacks: what becomes of callbacks on their way (`CallbackPlan`): late, lost, doubled, overtaken. They are
            posted on each change of a task whose create named a `callback_url`, to this machine only unless the plan
            says otherwise.
        callback_unix_path: post them through this Unix socket, whatever their address.
        faults: the plan; a list to change at any time.

    A prompt with "[fail]" makes a task that fails moderation, "[refuse]" is refused at once with 1301, "[stuck]"
    never ends.

    Nothing is fetched. What is to be known about a linked video or sound its address may say: "?seconds=7.5",
    "width=1280", "height=720", "fps=30", "mb=20", "faces=2"; what it does not say breaks no limit.

    Raises:
        ValueError: an unknown dialect, a speed that is not positive, or a webhook secret that is none.
    """

    _clock: Clock = attrs.field(init=False)
    _service: Service = attrs.field(init=False)
    _desk: Desk = attrs.field(init=False)
    _postman: Postman = attrs.field(init=False)
    _log: list[LoggedRequest] = attrs.field(factory=list, init=False)
    _luck: random.Random = attrs.field(init=False)
    _leaked: int = attrs.field(default=0, init=False)
    _connections: int = attrs.field(default=0, init=False)
    # Connections that are kept in silence, and those that have brought a request already.
    _held: set[asyncio.Transport] = attrs.field(factory=set, init=False)
    _used: "WeakSet[asyncio.BaseTransport]" = attrs.field(factory=WeakSet, init=False)
    _runner: web.AppRunner | None = attrs.field(default=None, init=False)
    _closing: asyncio.Event | None = attrs.field(default=None, init=False)
    _url: str = attrs.field(default="", init=False)
    _thread: OwnLoop | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._clock = Clock(self.speed, self.epoch, self.time)
        self._service = Service(self)
        self._desk = Desk(self, self._service, self._clock)
        self._luck = random.Random(f"faults/{self.seed}")
        self._postman = Postman(
            plan=self.callbacks,
            clock=self._clock,
            seed=self.seed,
            secrets=secrets_of(self.webhook_secret),
            unix_path=self.callback_unix_path,
            look=self._look,
            settle=self._service.settle,
        )
        self._service.on_made = self._postman.follow
        self._service.on_postponed = self._postman.expect

    def __repr__(self) -> str:
        where = self._url or "not started"
        counts = f"{len(self._service.tasks)} tasks, {len(self._log)} requests"
        return f"<Emulator {self.dialect} at {where} [{counts}]>"

    # What it did

    @property
    def url(self) -> str:
        """Scheme, host and port, without the dialect's prefix.

        Raises:
            RuntimeError: the emulator is not listening.
        """
        if not self._url:
            raise RuntimeError("The emulator is not started: use `async with Emulator() as emulator`.")
        return self._url

    @property
    def tasks(self) -> list[TaskRecord]:
        """The ledger: every task ever made, oldest first, as of now."""
        return self._there(lambda: self._service.ledger(self._clock.now()))

    @property
    def calls(self) -> list[CallRecord]:
        """Every synchronous call that was answered, oldest first, with what it cost."""
        return self._service.calls

    @property
    def requests(self) -> list[LoggedRequest]:
        """The request log, oldest first; the emulator's own pages are not in it."""
        return self._log

    @property
    def posted(self) -> list[CallbackRecord]:
        """Every callback that was sent, or could not be, oldest first."""
        return self._postman.sent

    def renew_webhook_secret(self, *secrets: str) -> None:
        """Sign with other secrets from now on; with none of them, not at all.

        Raises:
            ValueError: one is not Base64.
        """
        self._postman.secrets = secrets_of(secrets)

    def forge_callback(self, task: TaskRecord, status: Status = "succeed") -> None:
        """Send a callback about a task at once, as somebody would who knows everything but the secret."""
        made = next(each for each in self._service.tasks if each.task_id == task.task_id)
        self._postman.forge(made, status)

    def _look(self, task: Task, now: float) -> Snapshot:
        request_id = self._service.request_id()
        return as_it_is(self, task, now, self._service.store, self._url, request_id)

    @property
    def spent(self) -> float:
        """Units billed until now."""
        return float(self._there(lambda: self._service.billed(self._clock.now())))

    @property
    def spent_usd(self) -> float:
        """The same in USD, by the printed list price of each pack's unit."""

        def count() -> Decimal:
            now = self._clock.now()
            done = [task for task in self._service.tasks if task.status_at(now) == "succeed"]
            calls = [Decimal(str(call.billed)) * UNIT_USD[call.pack] for call in self._service.calls if call.billed]
            return sum([task.units * UNIT_USD[task.row.pack] for task in done] + calls, Decimal(0))

        return float(self._there(count))

    @property
    def leaked_credentials(self) -> int:
        """How many asset requests brought an Authorization header."""
        return self._leaked

    @property
    def connections(self) -> int:
        """How many connections were accepted, also those that were hit at once."""
        return self._connections

    @property
    def is_started(self) -> bool:
        """Whether it listens."""
        return self._runner is not None

    def now(self) -> float:
        """The emulated moment in Unix seconds."""
        return self._clock.now()

    def count_tasks(self) -> Counter[Status]:
        """How many tasks are in each state."""
        now = self._clock.now()
        return self._there(lambda: Counter(task.status_at(now) for task in self._service.tasks))

    def shown(self, base: str, last: int | None = None) -> list[tuple[TaskRecord, Decimal, tuple[AssetView, ...]]]:
        """The ledger, or the newest of it, with what each task costs in units, and its files once they are there.

        `base` begins the addresses of the files.
        """
        now, service = self._clock.now(), self._service
        service.settle(now)
        tasks = service.tasks[-last:] if last else service.tasks
        looks = [service.snapshot(task, now, service.store, base, "") for task in tasks]
        return [(TaskRecord.of(task, now), task.units, look.assets) for task, look in zip(tasks, looks, strict=True)]

    # What a test asks

    @property
    def base_url(self) -> str:
        """What a client of this package is given as `base_url`, or as KLING_BASE_URL.

        Raises:
            RuntimeError: the emulator is not listening.
        """
        url = self.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        return url if self.speech.prefix == "/kling" else f"official:{url}{self.speech.prefix}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client in another process finds it by: KLING_API_KEY and KLING_BASE_URL.

        Raises:
            RuntimeError: the emulator is not listening.
        """
        return {"KLING_API_KEY": self.api_key, "KLING_BASE_URL": self.base_url}

    def requests_of(
        self, kind: RequestKind | None = None, *, path: str | None = None, status: int | None = None
    ) -> list[LoggedRequest]:
        """The requests of the log of a kind ("create", "single", ...), a path (a glob) and an HTTP status."""
        return [
            request
            for request in self._log
            if (kind is None or request.kind == kind)
            and (path is None or fnmatchcase(request.path, path))
            and (status is None or request.status == status)
        ]

    def paid_once(self, orders: int | None = None) -> None:
        """Assert that nothing was paid twice: no external id, and no body without one, has two tasks that cost.

        Args:
            orders: assert also that so many tasks were made that cost something; failed ones do not.

        Raises:
            AssertionError: something was; the message lists it.
        """
        tasks = self.tasks
        twice = paid_twice(tasks)
        if twice:
            raise AssertionError(complaint(twice))
        made = sum(task.status != "failed" for task in tasks)
        if orders is not None and made != orders:
            raise AssertionError(f"{made} tasks were made and are paid, not {orders}")

    def no_leaks(self) -> None:
        """Assert that no request for a file brought credentials.

        Raises:
            AssertionError: one did; the message lists them.
        """
        leaks = [f"{request.method} {request.path}" for request in self._log if request.leaked]
        if leaks:
            raise AssertionError("credentials were sent along with requests for files:\n  " + "\n  ".join(leaks))

    def reset(self) -> None:
        """Begin anew: no tasks, no log, no faults, nothing spent. Switches and address stay, and so does the time."""

        def clear() -> None:
            self._service = Service(self)
            self._desk = Desk(self, self._service, self._clock)
            self._luck = random.Random(f"faults/{self.seed}")
            self._log.clear()
            self.faults.clear()
            self._leaked = self._connections = 0

        self._there(clear)

    def _there(self, ask: Callable[[], T]) -> T:
        """Ask in the thread that serves, if there is one: so nothing comes between the steps of a request."""
        thread = self._thread
        return ask() if thread is None or thread.is_current else thread.call(ask)

    @staticmethod
    def record(file: str | Path, *, to: str, keep_prompts: bool = False, client: str = "{url}") -> Recorder:
        """A proxy that hands on to a real host, and writes what passes to a file; see `Recorder`."""
        return Recorder(file, to=to, keep_prompts=keep_prompts, client=client)

    @staticmethod
    def replay(file: str | Path) -> Player:
        """A server that answers from such a file; see `Player`."""
        return Player(file)

    # Starting and stopping

    def __enter__(self) -> Self:
        if self._thread is not None or self._runner is not None:
            raise RuntimeError("The emulator is already started.")
        self._thread = OwnLoop(self, "kling emulator")
        try:
            self._thread.start()
        except BaseException:
            self._thread = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread = self._thread
        if thread is not None:
            thread.stop()
            self._thread = None

    async def __aenter__(self) -> Self:
        if self._runner is not None:
            raise RuntimeError("The emulator is already started.")
        runner = _Runner(self.application(), self._greet)
        await runner.setup()
        try:
            site: web.BaseSite
            if self.unix_path is not None:
                site = web.UnixSite(runner, self.unix_path)
            else:
                site = web.TCPSite(runner, self.host, self.port)
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        if self.unix_path is not None:
            self._url = "http://localhost"
        else:
            host = f"[{self.host}]" if ":" in self.host else self.host
            self._url = f"http://{host}:{runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runner, self._runner, self._url = self._runner, None, ""
        if runner is not None:
            for transport in list(self._held):
                transport.abort()
            await runner.cleanup()

    def application(self) -> web.Application:
        """The emulator as an aiohttp application, to be served at the root of a host."""
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        application.on_startup.append(self._start)
        application.on_shutdown.append(self._stop)
        application.on_cleanup.append(self._end_callbacks)
        return application

    async def _start(self, _: web.Application) -> None:
        self._clock.start()
        self._closing = asyncio.Event()
        self._postman.open()

    async def _end_callbacks(self, _: web.Application) -> None:
        await self._postman.close()

    async def _stop(self, _: web.Application) -> None:
        # Hanging and delayed requests end now instead of at the end of the grace time.
        if self._closing is not None:
            self._closing.set()

    def _greet(self) -> asyncio.BaseProtocol | None:
        """Count a new connection; the protocol that breaks it, if the plan says so."""
        self._connections += 1
        fault = self.faults.pick_at_accept(self._clock.since_start(), self._luck)
        return None if fault is None else Rude(fault, self._held)

    # One request

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        try:
            body = await request.read()
        except (ConnectionError, web.HTTPRequestEntityTooLarge) as error:
            is_gone = isinstance(error, ConnectionError)
            return respond(Answer(400 if is_gone else 413, page(413, "Request Entity Too Large"), "text/html"))
        ask = Ask(
            method=request.method,
            path=path,
            query=request.query,
            headers=request.headers,
            base=f"{request.scheme}://{request.host}",
            body=body,
        )
        is_asset = path.startswith(ASSETS)
        if not is_asset and (path == ROOT or path.startswith(ROOT + "/")):
            return respond(control(self, ask))
        route = Route("asset", None, path[len(ASSETS) :]) if is_asset else find_route(self, ask.method, path)
        entry = self._record(route, ask, query)
        reused = request.transport in self._used
        if request.transport is not None:
            self._used.add(request.transport)
        since_s = self._clock.since_start()
        fault = self.faults.pick(route.kind, ask.method, path, since_s, self._luck, reused=reused)
        if fault is None:
            answer = self._desk.answer(route, ask)
            entry.status = answer.status
            return respond(answer)
        entry.fault = str(fault)
        return await self._answer_broken(request, route, ask, fault, entry)

    def _record(self, route: Route, ask: Ask, query: str) -> LoggedRequest:
        leaked = route.kind == "asset" and "Authorization" in ask.headers
        self._leaked += leaked
        entry = LoggedRequest(
            at=self._clock.now(),
            method=ask.method,
            path=ask.path,
            query=query,
            kind=route.kind,
            endpoint=route.row.name if route.row is not None else "",
            leaked=leaked,
        )
        if len(self._log) >= _LOG_LIMIT:
            del self._log[: _LOG_LIMIT // 2]
        self._log.append(entry)
        return entry

    async def _answer_broken(
        self, request: web.Request, route: Route, ask: Ask, fault: Fault, entry: LoggedRequest
    ) -> web.StreamResponse:
        closing = self._closing or asyncio.Event()
        if fault.action == "delay" and fault.stage == "before":
            await idle(self._clock.real(fault.delay_s), closing)
        if fault.has_effect:
            answer = self._desk.answer(route, ask)
            for _ in range(fault.effects - 1 if route.kind == "create" else 0):
                self._desk.answer(route, ask)
        else:
            if fault.commit_after_s is not None and route.kind == "create":
                self._desk.postpone(route, ask, fault.commit_after_s)
            answer = self._stand_in(route, ask)
        if fault.action == "delay":
            if fault.stage == "after":
                await idle(self._clock.real(fault.delay_s), closing)
            entry.status = answer.status
            return respond(attrs.evolve(answer, headers=(*answer.headers, *fault.headers)))
        if fault.action == "alter":
            altered = self._desk.alter(route, answer, fault)
            entry.status = altered.status
            return respond(altered)
        replaced = replacement(fault, self._desk, route)
        if replaced is not None:
            entry.status = replaced.status
            return respond(replaced)
        return await break_off(request, fault, answer, clock=self._clock, closing=closing, hang_s=self.hang_s)

    def _stand_in(self, route: Route, ask: Ask) -> Answer:
        """What a broken answer would have begun with when the request had no effect."""
        if route.kind in ("create", "call"):
            return Answer(200, b'{"code":0,"message":"SUCCEED","request_id":"0","data":{"task_id":"0"}}')
        return self._desk.answer(route, ask)


async def serve(emulator: Emulator, *, ready: Callable[[Emulator], None] | None = None) -> None:
    """Run an emulator until cancelled: the body of a command line.

    Args:
        emulator: started already, or started here and then stopped here too.
        ready: called once it listens, to print its address.
    """
    if emulator.is_started:
        await _wait(emulator, ready)
        return
    async with emulator:
        await _wait(emulator, ready)


async def _wait(emulator: Emulator, ready: Callable[[Emulator], None] | None) -> None:
    if ready is not None:
        ready(emulator)
    await asyncio.Event().wait()
