"""A session and an emulator that talk over in-memory transports on a virtual clock, both with the real aiohttp."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from kling_async import Host, KlingSession, TextToVideo, find_host, new_api, official
from kling_async.emulator import Emulator

SOCKET = "/virtual/emulator"
EPOCH = 1_790_000_000.0  # some moment of 2026, so that nothing depends on today


def clip(text: str = "a red bicycle", **fields: Any) -> TextToVideo:
    """A small valid request that no rule of model or host objects to."""
    return TextToVideo(prompt=text, **{"model_name": "kling-v2-6", "duration": "5", **fields})


def wall() -> float:
    """The emulator's wall clock on the virtual loop, for tokens and records."""
    return EPOCH + asyncio.get_running_loop().time()


@asynccontextmanager
async def service(dialect: str = "official", **settings: Any) -> AsyncIterator[Emulator]:
    """A running emulator; `settings` are Emulator's own."""
    async with Emulator(dialect=dialect, unix_path=SOCKET, epoch=EPOCH, **settings) as emulator:
        yield emulator


def host_of(emulator: Emulator) -> Host:
    """The host as a user would name it."""
    if emulator.dialect.startswith("official"):
        return official(emulator.url)
    return new_api(emulator.url) if emulator.dialect.startswith("new-api") else find_host(emulator.url)


@asynccontextmanager
async def client(emulator: Emulator, **arguments: Any) -> AsyncIterator[KlingSession]:
    """An open session on the emulator, with a borrowed HTTP session over memory."""
    if "access_key" not in arguments:
        arguments.setdefault("api_key", emulator.api_key)
    connector = aiohttp.UnixConnector(path=SOCKET, limit=100)
    arguments = {"base_url": host_of(emulator), "seed": 7, "wall": wall, **arguments}
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        KlingSession(http=http, **arguments) as session,
    ):
        yield session


def kinds(emulator: Emulator) -> Counter[str]:
    """How many requests of each kind the emulator saw."""
    return Counter(request.kind for request in emulator.requests)


def assert_paid_once(emulator: Emulator, jobs: int) -> None:
    """The ledger holds exactly one task for each of `jobs` jobs."""
    ids = [task.external_id for task in emulator.tasks]
    assert len(ids) == jobs
    assert len(set(ids)) == jobs
