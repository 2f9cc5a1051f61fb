"""The desk: a request's facts in, the whole answer out.

Place: between HTTP (`server.py`) and the service. Synchronous, so that nothing can come between the check and the
effect of a request; faults strike before or after it.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from . import replies, solutions
from .altered import altered
from .assets import Asset, AssetStore
from .auth import Credentials, check_bearer
from .checks import page_of, whole
from .clock import Clock
from .dialects import page, told
from .faults import Fault
from .media_results import without_index
from .refusals import Refusal, invalid
from .routes import Route
from .rows import Row
from .service import Service
from .settings import Settings
from .tasks import Snapshot, Task

JSON_TYPE = "application/json"
HTML_TYPE = "text/html"

# Source: service reference, "Cursor list".
_LIMITS, _LIMIT = (1, 500), 100
_DAY_MS = 86_400_000
_FILTERS: dict[str, frozenset[str]] = {
    "status": frozenset({"submitted", "processing", "succeeded", "failed"}),
    "product_type": frozenset({"video", "image", "try_on"}),
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@attrs.frozen(kw_only=True)
class Ask:
    """The facts of one request. `base` is the scheme and host it came to; `body` the bytes it brought."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    base: str
    body: bytes


@attrs.frozen
class Answer:
    """A whole answer. `headers` come beside type and length."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(status: int, value: object) -> Answer:
    """An answer in JSON, without spaces."""
    return Answer(status, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


@attrs.define(eq=False)
class Desk:
    """Answers what the service is asked."""

    settings: Settings
    service: Service
    clock: Clock

    @property
    def store(self) -> AssetStore:
        """The assets under the present switches."""
        return self.service.store

    def answer(self, route: Route, ask: Ask) -> Answer:
        """Do what is asked and tell how it went."""
        if route.kind == "unknown":
            return self._no_route()
        if route.kind == "asset":
            return self._asset(route.ident, ask)
        try:
            self._check_caller(route, ask)
            now = self.clock.now()
            self.service.count_request(now)
            return self._answered(route, ask, now)
        except Refusal as refusal:
            return self.refuse(route, refusal)

    def _answered(self, route: Route, ask: Ask, now: float) -> Answer:
        if route.kind == "create":
            return json_answer(200, self._create(route, ask, now))
        if route.kind == "single":
            return self._single(route, ask, now)
        if route.kind == "call" and route.row is not None:
            return self._call(route.row, ask, now)
        if route.kind == "list" and route.row is not None:
            return json_answer(200, self._list(route.row, ask, now))
        if route.kind == "batch":
            return json_answer(200, self._batch(route, ask, now))
        return json_answer(200, self._cursor(route, ask, now))

    def refuse(self, route: Route, refusal: Refusal) -> Answer:
        """A refusal in the dialect's words."""
        status, body = told(
            refusal,
            self.settings.speech,
            route.kind,
            self.service.request_id(),
            as_200=self.settings.errors_as_200,
        )
        return json_answer(status, body)

    def alter(self, route: Route, answer: Answer, fault: Fault) -> Answer:
        """The answer with its task objects changed as a fault says."""
        try:
            changed = altered(json.loads(answer.body), fault)
        except ValueError:  # a page or a file, which tells of no task
            return answer
        if changed is None:
            return self._unknown_task(route)
        return attrs.evolve(json_answer(answer.status, changed), headers=(*answer.headers, *fault.headers))

    def postpone(self, route: Route, ask: Ask, delay_s: float) -> None:
        """Let a create happen later although its answer is lost now."""
        try:
            self._check_caller(route, ask)
            body = self._body(ask)
        except Refusal:
            return
        if route.row is not None:
            self.service.postpone(route.row, body, self.clock.now() + delay_s)

    def _no_route(self) -> Answer:
        if self.settings.speech.html_404:
            return Answer(404, page(404, "Not Found"), HTML_TYPE)
        return self.refuse(Route("unknown"), Refusal.of(1202))

    def _check_caller(self, route: Route, ask: Ask) -> None:
        settings = self.settings
        is_new = route.kind in ("batch", "cursor") or (route.row is not None and route.row.standard == "new")
        check_bearer(
            ask.headers.get("Authorization"),
            Credentials(settings.api_key, settings.access_key, settings.secret_key),
            self.clock.wall(),
            pair=not settings.speech.gateway and (settings.jwt_on_new_standard or not is_new),
        )

    def _body(self, ask: Ask) -> dict[str, Any]:
        try:
            body = json.loads(ask.body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise self._malformed("the request body is not valid JSON") from None
        if not isinstance(body, dict):
            raise self._malformed("the request body must be a JSON object")
        return body

    def _malformed(self, message: str) -> Refusal:
        if self.settings.speech.errors == "new-api":
            # new-api reads the body itself, before any channel is asked.
            return Refusal("invalid_request", message, 400)
        return Refusal.of(1200, message)

    def _snapshot(self, task: Task, ask: Ask, now: float, request_id: str = "") -> Snapshot:
        return self.service.snapshot(task, now, self.store, ask.base, request_id)

    # Creating and asking

    def _create(self, route: Route, ask: Ask, now: float) -> replies.Json:
        body = self._body(ask)
        if route.row is None:
            raise Refusal.of(1203, f"model '{route.ident}' does not exist")
        speech = self.settings.speech
        # new-api reads the prompt itself on the routes that it knows by name.
        reads_prompt = speech.errors == "new-api" and route.row.name in ("text2video", "image2video")
        if reads_prompt and not body.get("prompt") and not self.settings.lenient:
            raise Refusal("invalid_request", "prompt is required", 400)
        self.service.base = ask.base
        task = self.service.create(route.row, body, now)
        form = speech.created if route.row.standard == "legacy" else speech.new_created
        if route.row.finished_at_once:
            # A gateway has nothing to wait for here, and hands the answer on as it is.
            form = replies.legacy_single
        return form(self._snapshot(task, ask, now, self.service.request_id()))

    def _call(self, row: Row, ask: Ask, now: float) -> Answer:
        """Answer a synchronous call: one that makes no task."""
        body = self._body(ask) if ask.method == "POST" else dict(ask.query)
        self.service.base = ask.base
        data = self.service.call(row, body, now)
        status = data.get("status") if isinstance(data, dict) else None
        if isinstance(status, int) and status != 0 and self.settings.speech.errors == "new-api":
            # A refusal inside of a success: this family of gateways tells it as one.
            raise Refusal("task_failed", str(data.get("message") or f"status {status}"), 400)
        return json_answer(200, replies.envelope(data, self.service.request_id()))

    def _single(self, route: Route, ask: Ask, now: float) -> Answer:
        task = self.service.find(route.row, route.ident, now)
        if task is None:
            return self._unknown_task(route)
        speech = self.settings.speech
        form = speech.single
        if route.gateway_form == "openai":
            form = replies.openai_video
        elif task.row.standard == "new" and speech.new_single is not None:
            form = speech.new_single
        elif self.settings.older_omni_form and task.row.name == "omni-video":
            form = replies.comet_older_omni
        body = form(self._snapshot(task, ask, now, self.service.request_id()))
        return json_answer(200, without_index(body) if self.settings.images_with_id else body)

    def _unknown_task(self, route: Route) -> Answer:
        kind = self.settings.unknown_task
        if kind == "empty":
            return json_answer(200, replies.envelope([], self.service.request_id()))
        if kind == "task_not_exist":
            word = "task_not_exist"
            return json_answer(400, {"code": word, "message": word, "data": None})
        code = 1203 if kind == "1203" else 1201
        return self.refuse(route, Refusal.of(code, "Task not found by id/external id"))

    def _list(self, row: Row, ask: Ask, now: float) -> replies.Json:
        number, size = page_of(ask.query, row.largest_page)
        tasks = self.service.page(row, number, size, now)
        rows = [replies.legacy_row(self._snapshot(task, ask, now)) for task in tasks]
        return replies.envelope(rows, self.service.request_id())

    def _batch(self, route: Route, ask: Ask, now: float) -> replies.Json:
        by_id, by_external = (_ids(ask.query.get(name)) for name in ("task_ids", "external_task_ids"))
        if bool(by_id) == bool(by_external):
            raise invalid("task_ids or external_task_ids is required")
        name, idents = ("task_ids", by_id) if by_id else ("external_task_ids", by_external)
        is_tasks = route.board == "tasks"
        most = self.settings.batch_max_ids if is_tasks else solutions.LARGEST_QUERY
        if len(idents) > most and (self.settings.batch_overflow == "error" or not is_tasks):
            raise invalid(f"{name} must not have more than {most} ids")
        tasks = self.service.find_many(idents[:most], now, external=bool(by_external), board=route.board)
        rows = [replies.new_row(self._snapshot(task, ask, now)) for task in tasks]
        return replies.envelope(rows, self.service.request_id())

    def _cursor(self, route: Route, ask: Ask, now: float) -> replies.Json:
        body = self._body(ask)
        if route.board == "tasks":
            limit = whole(body.get("limit"), "limit", _LIMIT, _LIMITS)
        else:
            limit = solutions.limit_of(body.get("limit"))
        filters = _filters(body.get("filters"))
        before: int | None = None
        if body.get("cursor"):
            before, start, end = _read_cursor(body["cursor"])
        else:
            numbers = route.board == "solutions"
            end = _moment(body.get("end_time"), "end_time", int(now * 1000), numbers=numbers)
            start = _moment(body.get("start_time"), "start_time", end - 30 * _DAY_MS, numbers=numbers)
        rows: list[replies.Json] = []
        last, more = None, False
        for task in self.service.scan(before, now, route.board):
            if not start <= task.created_at * 1000 <= end + 1:
                continue
            if "product_type" in filters and task.row.pack not in filters["product_type"]:
                continue
            status = {"succeed": "succeeded"}.get(task.status_at(now), task.status_at(now))
            if "status" in filters and status not in filters["status"]:
                continue
            if len(rows) == limit:
                more = True
                break
            rows.append(replies.new_row(self._snapshot(task, ask, now)))
            last = task.ordinal
        following = _write_cursor(last, start, end) if more and last is not None else ""
        return replies.cursor_page(rows, following, self.service.request_id())

    # Assets

    def _asset(self, name: str, ask: Ask) -> Answer:
        now = self.clock.now()
        if ask.method not in ("GET", "HEAD"):
            return Answer(405, b"", "text/plain", (("Allow", "GET, HEAD"),))
        made = self.store.find(name, self.service.tasks)
        held = self.service.sessions.file(name, now) if made is None else None
        if made is None and held is None:
            return Answer(404, page(404, "Not Found"), HTML_TYPE)
        if not self.store.may_fetch(name, ask.query, now):
            return Answer(403, page(403, "Forbidden"), HTML_TYPE)
        asset = self._made(made, name, now) if made is not None else held
        if asset is None:
            return Answer(404, page(404, "Not Found"), HTML_TYPE)
        common = (("ETag", asset.etag), ("Accept-Ranges", "bytes"))
        if ask.headers.get("If-None-Match") == asset.etag:
            return Answer(304, b"", asset.content_type, common)
        asked = ask.headers.get("Range")
        # A validator that no longer fits means: all of it, from the start.
        if asked is None or ask.headers.get("If-Range", asset.etag) != asset.etag:
            return Answer(200, asset.content, asset.content_type, common)
        return _part(asset.content, asset.content_type, asked, common)

    def _made(self, made: tuple[Task, str], name: str, now: float) -> Asset | None:
        """The file of a task that has ended and is kept."""
        task, asset_id = made
        is_kept = task.ordinal < 0 or now < task.created_at + self.settings.retention_s
        if now < task.ended_at or not is_kept:
            return None
        return self.store.make(task, asset_id, name.rpartition(".")[2])


def _part(content: bytes, content_type: str, asked: str, common: tuple[tuple[str, str], ...]) -> Answer:
    match = _RANGE.fullmatch(asked.strip())
    if match is None or asked.strip() == "bytes=-":
        # Several ranges or another unit: a server may ignore what it does not understand.
        return Answer(200, content, content_type, common)
    first_text, last_text = match.groups()
    size = len(content)
    if first_text:
        first, last = int(first_text), min(int(last_text or size - 1), size - 1)
    else:
        first, last = max(0, size - int(last_text)), size - 1
    if first > last or first >= size:
        return Answer(416, b"", content_type, (*common, ("Content-Range", f"bytes */{size}")))
    where = ("Content-Range", f"bytes {first}-{last}/{size}")
    return Answer(206, content[first : last + 1], content_type, (*common, where))


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _ids(value: str | None) -> list[str]:
    return [ident for ident in (value or "").split(",") if ident]


def _moment(value: object, name: str, default: int, *, numbers: bool) -> int:
    """Unix milliseconds: in a string, as the page of tasks demands; those of solutions show a number."""
    if value is None or value == "":
        return default
    if numbers and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return value
    if not isinstance(value, str) or not (value.isascii() and value.isdigit()) or len(value) > 15:
        raise invalid(f"{name} value '{str(value)[:60]}' is invalid")
    return int(value)


def _filters(value: object) -> dict[str, frozenset[str]]:
    if value is None:
        return {}
    if not isinstance(value, list):
        raise invalid("filters value is invalid")
    chosen: dict[str, frozenset[str]] = {}
    for position, item in enumerate(value):
        key = item.get("key") if isinstance(item, dict) else None
        if not isinstance(key, str) or key not in _FILTERS:
            raise invalid(f"filters[{position}].key is invalid")
        values = item.get("values")
        if not isinstance(values, list) or not values or not _are_words(values, _FILTERS[key]):
            raise invalid(f"filters[{position}].values is invalid")
        chosen[key] = frozenset(values)
    return chosen


def _are_words(values: Iterable[object], known: frozenset[str]) -> bool:
    return all(isinstance(value, str) and value in known for value in values)


def _write_cursor(last: int, start: int, end: int) -> str:
    return base64.urlsafe_b64encode(f"{last}.{start}.{end}".encode()).decode()


def _read_cursor(value: object) -> tuple[int, int, int]:
    try:
        last, start, end = base64.urlsafe_b64decode(str(value)).decode().split(".")
        return int(last), int(start), int(end)
    except (binascii.Error, ValueError):
        raise invalid(f"cursor value '{str(value)[:60]}' is invalid") from None
