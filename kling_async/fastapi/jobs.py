"""The routes for jobs: create, get, list, and the events of one.

Stage: door. Before: the application. After: session. A route looks jobs up where they are, here or in the journal, so
that it does not matter which of several processes is asked.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Annotated, Any

import attrs
from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import WrapValidator

from ..endpoints import ENDPOINTS, Endpoint, find_endpoint, has_files, request_from
from ..endpoints.rules import ID_PATTERN
from ..errors import ConfigError, InvalidRequest
from ..models import Status
from ..session import KlingSession
from ..snapshots import Snapshot
from .events import is_told, last_seen, stream
from .lifespan import KlingDep
from .problems import Refused, documented, route_class
from .schema import LEFT_OUT, examples_of, is_in_path, union_of
from .views import JobList, JobView, view_of

_MOST_BYTES = 32 << 20
_LONGEST_KEY = 255
_OWNER = "owner"
_OURS = {
    "callback_url": "is the server's to say: leave it out",
    "external_task_id": "is the server's to say: name the job by the header Idempotency-Key",
}
_TOLD = 5
_PAGE, _PAGES = 200, 20  # looked through for the jobs of one caller
_PRIVATE = {"Cache-Control": "no-store"}  # the URLs of assets work without credentials

_KEY = "Names the job: the same key with the same request gives the same job, and nothing is made or paid twice."
_LOCATION = {"Location": {"description": "where the job can be asked about", "schema": {"type": "string"}}}
_STREAM = {
    "description": (
        "Server-sent events. The `data` of each is a job as `GET` gives it, its `id` tells how far the job has come "
        "(1 queued ... 7 ended). The stream ends after the end of the job; give the last `id` as `Last-Event-ID` to go "
        "on after a break. A comment comes every 15 s."
    ),
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "example": 'id: 4\ndata: {"id":"order-17","endpoint":"text2video","status":"accepted", ...}\n\n',
        }
    },
}


def jobs_router(
    prefix: str = "/jobs",
    *,
    requests: Iterable[str | type[Any] | Endpoint] | None = None,
    authorize: Callable[..., Any] | None = None,
    max_bytes: int = _MOST_BYTES,
    tags: Iterable[str] = ("kling",),
) -> APIRouter:
    """Make routes to create, get, list and follow jobs.

    Local files cannot be named in a request, nor can `callback_url` and `external_task_id`: these are the server's.

    Args:
        prefix: where the routes stand.
        requests: what may be asked for: request classes, or names of endpoints; every kind of task if left out.
        authorize: a dependency of every route. It refuses by raising HTTPException, and may give the caller's name, a
            text: then each caller sees only jobs of its own, and keys of different callers are different keys.
        max_bytes: longest body; pictures come in it as Base64.
        tags: of the routes in OpenAPI.

    Raises:
        ConfigError: no such endpoint, or one that makes no task.
    """
    allowed = _Allowed.of(requests)
    router = APIRouter(prefix=prefix, tags=list(tags), route_class=route_class(max_bytes))
    owner_of = _owner_of(authorize)

    async def create_job(
        request: Request,
        response: Response,
        kling: KlingDep,
        owner: str | None,
        body: Any,
        idempotency_key: Annotated[
            str | None, Header(alias="Idempotency-Key", description=_KEY, examples=["order-17"])
        ] = None,
    ) -> JobView:
        """Create a job, and answer as soon as it is recorded: it is made and followed from now on, whoever waits."""
        job_id = None if idempotency_key is None else job_id_of(idempotency_key, owner)
        wanted = allowed.request_of(body)
        metadata = None if owner is None else {_OWNER: owner}
        job = await kling.submit(wanted, job_id=job_id, metadata=metadata)
        response.headers.update({**_PRIVATE, "Location": f"{request.url.path.rstrip('/')}/{job.id}"})
        return view_of(await _find(kling, job.id, owner))

    async def get_job(response: Response, kling: KlingDep, owner: str | None, job_id: str) -> JobView:
        """Tell where a job stands; with its assets when it has succeeded."""
        response.headers.update(_PRIVATE)
        return view_of(await _find(kling, job_id, owner))

    async def list_jobs(
        response: Response,
        kling: KlingDep,
        owner: str | None,
        status: Annotated[
            Status | None, Query(description="only jobs that stand there; accepted and processing count as one")
        ] = None,
        before: Annotated[int | None, Query(ge=0, lt=1 << 63, description="`next` of the page before this one")] = None,
        limit: Annotated[int, Query(ge=1, le=200, description="how many at most")] = 50,
    ) -> JobList:
        """List jobs, the last submitted first. There may be fewer on a page than asked for: `next` tells of more."""
        response.headers.update(_PRIVATE)
        return await _list(kling, owner, status, before, limit)

    async def job_events(
        kling: KlingDep,
        owner: str | None,
        job_id: str,
        last_event_id: Annotated[
            str | None, Header(alias="Last-Event-ID", description="`id` of the last event seen")
        ] = None,
    ) -> Response:
        """Follow a job by server-sent events. Leaving changes nothing: come back, or ask for the job itself."""
        seen, last = await _find(kling, job_id, owner), last_seen(last_event_id)
        if is_told(seen, last):
            return Response(status_code=204)
        headers = {**_PRIVATE, "X-Accel-Buffering": "no"}
        return StreamingResponse(stream(kling, seen, last), media_type="text/event-stream", headers=headers)

    named = Annotated[str | None, Depends(owner_of)]
    # The body's model is made for these requests, so its name cannot stand in an annotation.
    body: Any = Annotated[
        union_of(allowed.rows),
        WrapValidator(lambda value, _handler: value),
        Body(openapi_examples=examples_of(allowed.rows)),
    ]
    for route in (create_job, get_job, list_jobs, job_events):
        route.__annotations__ |= {"owner": named} | ({"body": body} if route is create_job else {})
    missing, busy = "There is no such job.", "The session is closing, or its journal cannot be used: try again."
    router.add_api_route(
        "",
        create_job,
        methods=["POST"],
        status_code=202,
        response_description="The job is recorded, and is being made.",
        responses={
            202: {"headers": _LOCATION},
            **documented(
                _400="The body is not JSON.",
                _413=f"The body has more than {max_bytes:,} bytes.",
                _415="The body is not declared as application/json.",
                _422="The request is wrong, and says where; or the key names a job with another request.",
                _503=busy,
            ),
        },
    )
    router.add_api_route("", list_jobs, methods=["GET"], responses=documented(_422="A parameter is wrong.", _503=busy))
    router.add_api_route("/{job_id}", get_job, methods=["GET"], responses=documented(_404=missing, _503=busy))
    router.add_api_route(
        "/{job_id}/events",
        job_events,
        methods=["GET"],
        response_class=StreamingResponse,
        responses={
            200: _STREAM,
            204: {"description": "The job has ended, and its end was told: do not come back."},
            **documented(_404=missing, _503=busy),
        },
    )
    return router


def job_id_of(key: str, owner: str | None = None) -> str:
    """Give the id of the job that an idempotency key names.

    A key that can be an id is one; another, and every key of a caller with a name, is hashed into one.

    Raises:
        InvalidRequest: empty, or longer than 255 characters.
    """
    # The draft of the header's standard has it in quotes; most clients leave them out.
    bare = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if not 0 < len(bare) <= _LONGEST_KEY:
        raise InvalidRequest("Idempotency-Key", key, f"must have 1 to {_LONGEST_KEY} characters")
    if owner is None and ID_PATTERN.match(bare):
        return bare
    return "key-" + hashlib.sha256(f"{owner or ''}\n{bare}".encode("utf-8", "surrogatepass")).hexdigest()[:48]


# --- who asks --------------------------------------------------------------------------------------------------------


async def _nobody() -> str | None:
    return None


def _owner_of(authorize: Callable[..., Any] | None) -> Callable[..., Coroutine[Any, Any, str | None]]:
    if authorize is None:
        return _nobody

    async def owner_of(caller: Any) -> str | None:
        if caller is None or (isinstance(caller, str) and caller):
            return caller
        raise ConfigError(f"authorize gave a {type(caller).__name__}: give the caller's name as text, or None")

    owner_of.__annotations__["caller"] = Annotated[Any, Depends(authorize)]
    return owner_of


def _may_see(seen: Snapshot, owner: str | None) -> bool:
    return owner is None or seen.metadata.get(_OWNER) == owner


async def _find(kling: KlingSession, job_id: str, owner: str | None) -> Snapshot:
    seen = await kling.look(job_id)
    if seen is None or not _may_see(seen, owner):
        raise Refused(404, "there is no such job")
    return seen


async def _list(
    kling: KlingSession, owner: str | None, status: Status | None, before: int | None, limit: int
) -> JobList:
    found: list[Snapshot] = []
    for _page in range(_PAGES):
        page = await kling.history(status=status, before=before, limit=limit if owner is None else _PAGE)
        before = page.next
        for seen in page.jobs:
            if _may_see(seen, owner):
                found.append(seen)
                if len(found) == limit and seen is not page.jobs[-1]:
                    return JobList(jobs=[view_of(each) for each in found], next=seen.place)
        if before is None or len(found) == limit:
            break
    return JobList(jobs=[view_of(seen) for seen in found], next=before)


# --- what is asked for -----------------------------------------------------------------------------------------------


class _Allowed:
    """What may be asked for.

    Args:
        rows: the endpoints that are documented.
        classes: request classes of which every endpoint may be asked for, also one of tomorrow.
    """

    def __init__(self, rows: tuple[Endpoint, ...], classes: frozenset[type[Any]]) -> None:
        self.rows = rows
        self._names = frozenset(row.name for row in rows)
        self._classes = classes

    @classmethod
    def of(cls, requests: Iterable[str | type[Any] | Endpoint] | None) -> _Allowed:
        tasks = [row for row in ENDPOINTS if row.kind != "call"]
        if requests is None:
            return cls(tuple(tasks), frozenset(row.request for row in tasks))
        rows: dict[str, Endpoint] = {}
        classes: set[type[Any]] = set()
        for what in requests:
            found = [row for row in ENDPOINTS if row.request is what] or [find_endpoint(what)]
            if any(row.kind == "call" for row in found):
                raise ConfigError(f"{found[0].name} makes no task, so it cannot be a job")
            rows |= {row.name: row for row in found}
            classes |= {what} if isinstance(what, type) else set()
        if not rows:
            raise ConfigError("requests is empty: name what may be asked for, or leave it out")
        return cls(tuple(rows.values()), frozenset(classes))

    def request_of(self, body: Any) -> Any:
        """Build the request that a body asks for.

        Raises:
            Refused: the body is not JSON.
            InvalidRequest: it asks for something else, or wrongly.
        """
        if isinstance(body, bytes):
            raise Refused(415, "send the body as application/json")
        if not isinstance(body, Mapping):
            raise InvalidRequest("body", body, 'must be an object: {"endpoint": ..., "request": {...}}')
        for name in body:
            if name not in {"endpoint", "request"}:
                raise InvalidRequest(str(name), body[name], "no such field; known are endpoint, request")
        row, fields = self._row(body.get("endpoint")), body.get("request")
        if not isinstance(fields, Mapping):
            raise InvalidRequest("request", fields, "must be an object with the fields of the request")
        _refuse_what_is_ours(row, fields)
        # Plain data can name a file as a journal does, {"file": path}: whoever asks from afar must not read ours.
        named = [place for place, value in _objects(fields) if value.keys() == {"file"}]
        try:
            request = request_from(row, fields)
        except InvalidRequest as error:
            if "pathlib" in error.rule:  # said to a program, which has files of its own
                error.rule = "must be a URL, or Base64 without the data: prefix"
            raise error.inside("request") from None
        if named or has_files(request):
            raise InvalidRequest(next(iter(named), "request"), "...", "names a local file: give a URL or Base64")
        return request

    def _row(self, name: object) -> Endpoint:
        try:
            row = find_endpoint(name) if isinstance(name, str) else None
        except (ConfigError, InvalidRequest):
            row = None
        if row is None or (row.name not in self._names and row.request not in self._classes):
            near = difflib.get_close_matches(str(name), self._names, n=1)
            told = f"did you mean {near[0]}?" if near else f"{', '.join(sorted(self._names)[:_TOLD])}, ..."
            raise InvalidRequest("endpoint", name, f"is not offered here; {told}")
        return row


def _refuse_what_is_ours(row: Endpoint, fields: Mapping[str, object]) -> None:
    """Refuse what the endpoint's name says already, and what is the server's to say, wherever it stands."""
    for field in attrs.fields(row.request):
        if is_in_path(field) and field.name in fields:
            raise InvalidRequest(f"request.{field.name}", fields[field.name], "is part of the endpoint's name")
    for place, value in _objects(fields):
        for name in LEFT_OUT & value.keys():
            raise InvalidRequest(f"{place}.{name}", value[name], _OURS[name])


def _objects(fields: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Give every object in a request, with its place; not by calling itself, since it may be nested deeply."""
    places: list[tuple[str, object]] = [("request", fields)]
    while places:
        place, value = places.pop()
        if isinstance(value, Mapping):
            yield place, value
            places += [(f"{place}.{name}", inner) for name, inner in value.items()]
        elif isinstance(value, list):
            places += [(f"{place}[{index}]", inner) for index, inner in enumerate(value)]
