"""An application with a session on the emulator, all in memory on a virtual clock, and a client of it."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import httpx
from fastapi import FastAPI
from flow_tools import SOCKET, host_of, wall

from kling_async import KlingSession, MemoryJournal, MemoryStore
from kling_async.emulator import Emulator
from kling_async.fastapi import jobs_router, kling_lifespan

CLIP = {"endpoint": "text2video", "request": {"prompt": "a red bicycle", "model_name": "kling-v2-6", "duration": "5"}}


def clip(text: str) -> dict[str, Any]:
    """The body of a small valid request."""
    return {"endpoint": "text2video", "request": {"prompt": text, "model_name": "kling-v2-6", "duration": "5"}}


@asynccontextmanager
async def served(
    emulator: Emulator,
    store: MemoryStore | None = None,
    *,
    routers: Any = None,
    kind: type[KlingSession] = KlingSession,
    arguments: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """An application whose lifespan runs, with jobs as far as the store of a journal has them, and its client.

    Args:
        emulator: the service.
        store: of the journal; a fresh one if left out.
        routers: what to include; the routes for jobs if left out.
        kind: class of the session.
        arguments: further ones of the session.
        options: of kling_lifespan.
    """
    async with AsyncExitStack() as stack:
        connector = aiohttp.UnixConnector(path=SOCKET, limit=100)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

        def make() -> KlingSession:
            journal = MemoryJournal(wall=wall, store=store if store is not None else MemoryStore())
            given = {"api_key": emulator.api_key, "base_url": host_of(emulator), "seed": 7, "wall": wall}
            return kind(http=http, journal=journal, **{**given, **(arguments or {})})

        app = FastAPI(lifespan=kling_lifespan(make, **options))
        for router in routers if routers is not None else [jobs_router()]:
            app.include_router(router)
        await stack.enter_async_context(app.router.lifespan_context(app))
        yield app, await stack.enter_async_context(client_of(app))


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """A client that speaks to an application in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app")


def events_in(text: str) -> list[tuple[int, dict[str, Any]]]:
    """The events of a stream: number, and the job as it was told."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "id" in fields:
            found.append((int(fields["id"]), json.loads(fields["data"])))
    return found


def states_in(text: str) -> list[tuple[int, str]]:
    """The same, with the state alone."""
    return [(number, job["status"]) for number, job in events_in(text)]
