"""The route that the service calls.

Stage: door. Before: the application. After: session, which checks what came and wakes whoever waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response

from ..errors import ConfigError
from ..session import KlingSession
from ..webhook import MOST_BYTES
from .lifespan import KlingDep, session_of

_READ_S = 10.0


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
        if session is not None and not session.takes_callbacks:
            raise ConfigError("callbacks need webhook_secret= or callback_token= of the session")
        yield

    router = APIRouter(prefix=prefix, lifespan=checked)

    @router.post("", include_in_schema=False)
    async def signed(request: Request, kling: KlingDep) -> Response:
        return await _take(request, kling, None, None)

    @router.post("/{job_id}/{token}", include_in_schema=False)
    async def with_token(request: Request, kling: KlingDep, job_id: str, token: str) -> Response:
        return await _take(request, kling, job_id, token)

    return router


async def _take(request: Request, session: KlingSession, job_id: str | None, token: str | None) -> Response:
    body = b""
    try:
        async with asyncio.timeout(_READ_S):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    break  # the session refuses it, and counts that
    except TimeoutError:
        return Response(status_code=408)
    return Response(status_code=session.take_callback(request.headers, body, job_id=job_id, token=token))
