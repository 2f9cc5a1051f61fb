"""FastAPI: a session for the life of an application, and routes for jobs and callbacks.

Stage: door. Before: the user's application. After: session.

```
app = FastAPI(lifespan=kling_lifespan(journal="kling.db"))
app.include_router(jobs_router())
```

| file | what is in it |
|---|---|
| lifespan | the session: opened with the application, adopting what is open, closed with it |
| jobs | the routes: create, get, list, events |
| events | the stream of one job's states, which may be broken off anywhere and goes on |
| callbacks | the route that the service calls |
| schema, examples | request classes as JSON Schema, and a valid request of each endpoint |
| views | what is shown of a job |
| problems | how a refusal is told (RFC 9457), and how a body is read |

A job belongs to the session and not to the HTTP request that made it: a client that leaves cancels nothing.
"""

try:
    import fastapi  # noqa: F401 - asked for here, so that one sentence says what is missing
except ImportError as _error:
    if _error.name != "fastapi":
        raise
    raise ImportError("kling_async.fastapi needs FastAPI: pip install 'kling-async[fastapi]'", name="fastapi") from None

from .callbacks import callback_router
from .jobs import jobs_router
from .lifespan import KlingDep, get_kling, kling_lifespan

__all__ = ["KlingDep", "callback_router", "get_kling", "jobs_router", "kling_lifespan"]
