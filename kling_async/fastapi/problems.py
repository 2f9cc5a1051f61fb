"""How a refusal is told: as problem details (RFC 9457). And how a body is read: bounded, and as JSON only.

Stage: door. Before: jobs. After: errors, wire.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from ..errors import BadEnvelope, ConfigError, InvalidRequest, JournalError, KlingError, SessionError
from ..wire import parse_json

MEDIA_TYPE = "application/problem+json"
_RETRY_S = "2"


class Problem(BaseModel):
    """Why a request is refused (RFC 9457)."""

    type: str = "about:blank"
    title: Annotated[str, Field(description="words of the HTTP status")]
    status: Annotated[int, Field(description="the HTTP status")]
    detail: Annotated[str, Field(description="one sentence that says what to do")]
    error: Annotated[str | None, Field(description="name of the exception, as InvalidRequest")] = None
    field: Annotated[str | None, Field(description="name of the field that is refused, dotted for nested ones")] = None
    value: Annotated[str | None, Field(description="what was given, as text, shortened")] = None
    rule: Annotated[str | None, Field(description="what the field wants")] = None
    paid: Annotated[str | None, Field(description="whether money was spent: no, maybe, yes")] = None
    job_id: Annotated[str | None, Field(description="the job it is about")] = None


class Refused(HTTPException):
    """A request that is refused before there is a job."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)


def documented(**refusals: str) -> dict[int | str, dict[str, Any]]:
    """Describe refusals for OpenAPI; given as `_404="No such job."`."""
    schema = Problem.model_json_schema()
    return {
        int(status): {
            "description": told,
            "content": {MEDIA_TYPE: {"schema": schema, "example": _example(int(status), told)}},
        }
        for status, told in ((name.strip("_"), told) for name, told in refusals.items())
    } | {"4XX": {"description": "Refused, as by the application's own authorization."}}


def _example(status: int, told: str) -> dict[str, Any]:
    if status != 422:
        return _problem(status, told)
    error = InvalidRequest("request.duration", "90", "must be a length from 1 to 60 seconds")
    return _of_error(status, error)


def _problem(status: int, detail: str, **more: object) -> dict[str, Any]:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, **more)  # type: ignore[arg-type]
    return problem.model_dump(exclude_none=True)


def _of_error(status: int, error: KlingError) -> dict[str, Any]:
    more: dict[str, object] = {"error": type(error).__name__, "paid": error.paid, "job_id": error.job_id}
    if isinstance(error, InvalidRequest):
        more |= {"field": error.field, "value": error.value, "rule": error.rule}
    return _problem(status, str(error), **more)


def _answer(problem: dict[str, Any]) -> Response:
    # Written as ASCII: what was given may hold half a character.
    body = json.dumps(problem).encode("ascii")
    headers = {"Cache-Control": "no-store"}
    if problem["status"] == 503:
        headers["Retry-After"] = _RETRY_S
    return Response(body, problem["status"], headers, MEDIA_TYPE)


def _status_of(error: KlingError) -> int:
    if isinstance(error, InvalidRequest):
        return 422
    return 503 if isinstance(error, SessionError | JournalError) else 500


class _Bounded(Request):
    """A request whose body is read up to a bound, and as strict JSON."""

    most_bytes: int

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await read_bounded(self, self.most_bytes)
        return self._body

    async def json(self) -> Any:
        try:
            return parse_json(await self.body())
        except BadEnvelope as error:
            raise Refused(400, str(error).replace("the answer", "the body")) from None


async def read_bounded(request: Request, most_bytes: int) -> bytes:
    """Read a body, and stop where it is too long.

    Raises:
        Refused: with status 413.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise Refused(413, f"the body has more than {most_bytes:,} bytes")
        parts.append(part)
    return b"".join(parts)


def route_class(most_bytes: int) -> type[APIRoute]:
    """Make the class of routes whose bodies are bounded and whose refusals are problems."""

    class Route(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                bounded = _Bounded(request.scope, request.receive)
                bounded.most_bytes = most_bytes
                try:
                    return await handle(bounded)
                except Refused as error:
                    return _answer(_problem(error.status_code, str(error.detail)))
                except RequestValidationError as error:
                    return _answer(_of_error(422, _invalid(error)))
                except ConfigError:  # the application's own mistake, and nothing that a client may read
                    raise
                except KlingError as error:
                    return _answer(_of_error(_status_of(error), error))

            return answer

    return Route


def _invalid(error: RequestValidationError) -> InvalidRequest:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return InvalidRequest(place, first.get("input"), str(first["msg"]))
