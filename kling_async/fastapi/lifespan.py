"""The session of an application: opened and closed with it, and handed to whoever depends on it.

Stage: door. Before: jobs, callbacks. After: session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from ..errors import ConfigError, JournalError, SessionError
from ..session import KlingSession

_log = logging.getLogger(__name__)

_NAME = "kling"

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


def kling_lifespan(
    make: Callable[[], KlingSession] | None = None,
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[Any]] | None = None,
    drain: float = 10.0,
    adopt_every: float = 30.0,
    **arguments: Any,
) -> Lifespan:
    """Make the lifespan of an application that has a session: `FastAPI(lifespan=kling_lifespan(journal="kling.db"))`.

    Each worker process has a session of its own; give them all one journal. At the start, and then every `adopt_every`
    seconds, a session follows the open jobs that no running process holds. At the end what was sent is followed for
    `drain` seconds more; the rest waits in the journal for whoever adopts it.

    The session is in the lifespan's state and in `app.state`, as `kling`. Use `KlingDep` to depend on it.

    Args:
        make: makes the session, in the worker's own process; or leave it out, and give its arguments by name.
        lifespan: your own, entered after the session was opened, and left before it is closed.
        drain: seconds.
        adopt_every: seconds.
        arguments: of KlingSession; `journal` is needed.

    Raises:
        ConfigError: both `make` and arguments, or seconds that are none. At the start of the application: no journal,
            or whatever else KlingSession refuses.
    """
    if make is not None and arguments:
        raise ConfigError(f"kling_lifespan() takes a function that makes the session, or {', '.join(arguments)}")
    seconds: dict[str, Any] = {"drain": drain, "adopt_every": adopt_every}
    for name, value in seconds.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigError(f"{name}={value!r} must be a number of seconds above 0")

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        session = make() if make is not None else KlingSession(**arguments)
        async with session, AsyncExitStack() as stack:
            stack.push_async_callback(session.aclose, drain=drain)
            await session.adopt()
            await stack.enter_async_context(_adopting(session, adopt_every))
            setattr(app.state, _NAME, session)
            stack.callback(setattr, app.state, _NAME, None)
            own = None if lifespan is None else await stack.enter_async_context(lifespan(app))
            yield {**(own or {}), _NAME: session}

    return run


@asynccontextmanager
async def _adopting(session: KlingSession, every_s: float) -> AsyncIterator[None]:
    """Take over what other processes let go of, as the one that was replaced by this one does when it ends."""

    async def adopt() -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await session.adopt()
            except JournalError as error:
                _log.warning("what other processes left cannot be adopted, trying again: %s", error)
            except SessionError as error:
                _log.warning("nothing is adopted any more: %s", error)
                return

    task = asyncio.get_running_loop().create_task(adopt(), name="kling_async adopt")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def session_of(app: FastAPI) -> KlingSession | None:
    """Give the session that the lifespan of an application has opened, if it is open."""
    session = getattr(app.state, _NAME, None)
    return session if isinstance(session, KlingSession) else None


async def get_kling(connection: HTTPConnection) -> KlingSession:
    """Give the session of the application; what `KlingDep` depends on, and what tests override.

    Raises:
        ConfigError: the application has none.
    """
    # An application that is mounted in another has a state of its own, and shares that of the lifespan.
    shared = getattr(connection.state, _NAME, None)
    session = shared if isinstance(shared, KlingSession) else session_of(connection.app)
    if session is None:
        raise ConfigError('there is no session: use FastAPI(lifespan=kling_lifespan(journal="kling.db"))')
    return session


KlingDep = Annotated[KlingSession, Depends(get_kling)]
"""The application's session, as a parameter of a route: `async def make(kling: KlingDep): ...`."""
