"""The route that the service calls.

Stage: door. Before: the application. After: session, which checks what came and wakes whoever waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol, cast

from fastapi import APIRouter, FastAPI, Request, Response

from ..errors import ConfigError
from .lifespan import KlingDep, session_of

_MOST_BYTES = 256 * 1024  # a task object has about 2 KB
_READ_S = 10.0


class Door(Protocol):
    """Who takes callbacks: the session, as this route sees it."""

    @property
    def takes_callbacks(self) -> bool:
        """Whether there is anything to check callbacks with."""
        ...

    def take_callback(
        self, headers: Mapping[str, str], body: bytes, *, job_id: str | None = None, token: str | None = None
    ) -> int:
        """Take a callback; give the HTTP status to answer with."""
        ...


def callback_router(prefix: str = "/kling/callback") -> APIRouter:
    """Make the route that the service calls when a task changes: its URL is the session's `callback`.

    What comes is believed with the service's signature (`webhook_secret`), or with the token in the path
    (`callback_token`); the application does not start where the session has neither. Keep the paths below out of
    access logs: they hold tokens. With several workers the one that is called may not be the one that follows the
    job: then the callback is taken, and helps nobody; polling goes on all the same.
    """

    @asynccontextmanager
    async def checked(app: FastAPI) -> AsyncIterator[None]:
        session = session_of(app)
        if session is not None and not cast("Door", session).takes_callbacks:
            raise ConfigError("callbacks need webhook_secret= or callback_token= of the session")
        yield

    router = APIRouter(prefix=prefix, lifespan=checked)

    @router.post("", include_in_schema=False)
    async def signed(request: Request, kling: KlingDep) -> Response:
        return await _take(request, cast("Door", kling), None, None)

    @router.post("/{job_id}/{token}", include_in_schema=False)
    async def with_token(request: Request, kling: KlingDep, job_id: str, token: str) -> Response:
        return await _take(request, cast("Door", kling), job_id, token)

    return router


async def _take(request: Request, door: Door, job_id: str | None, token: str | None) -> Response:
    body = b""
    try:
        async with asyncio.timeout(_READ_S):
            async for part in request.stream():
                body += part
                if len(body) > _MOST_BYTES:
                    break  # the session refuses it, and counts that
    except TimeoutError:
        return Response(status_code=408)
    return Response(status_code=door.take_callback(request.headers, body, job_id=job_id, token=token))
