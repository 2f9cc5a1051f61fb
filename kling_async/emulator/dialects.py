"""How hosts speak: one row per family of hosts, and the error bodies of each.

Place: between routes and replies. The dialect says which paths exist, which form a reply has, what a refusal looks
like and what the host can be asked; all of it is data.
"""

import html
import json
from typing import Any, Literal

import attrs

from . import replies
from .refusals import Refusal
from .replies import Form

# The fixed sentence with which new-api hides every 429 of the service. Source: service reference, "Error bodies" E2e.
SATURATED = "当前分组上游负载已饱和，请稍后再试"  # noqa: RUF001 - the gateway's own full-width comma

RequestKind = Literal["create", "call", "single", "list", "batch", "cursor", "asset", "unknown"]


@attrs.frozen(kw_only=True)
class Dialect:
    """A family of hosts.

    Attributes:
        prefix: what stands before the service's own paths.
        legacy, standard: which of the two API generations is served.
        gateway: keys are the gateway's own (error form E3), unknown routes are HTML pages (E4).
        errors: form of a refusal: "kling" (E1), "new-api" (E2 family), "openai" (E3 for everything).
        digits: length of the service's ids here.
        own_ids: whether callers get ids of the gateway's own.
        cache_s: how old a told status may be, in seconds.
        created, single: forms of the legacy standard.
        new_created, new_single: forms of the new standard; `new_single` only where `GET {path}/{id}` exists.
        video_routes: whether `/v1/video/generations/{id}` and `/v1/videos/{id}` exist.
        lists, batch, external_lookup, unknown_task: defaults of the switches of these names.
    """

    name: str
    prefix: str = "/kling"
    legacy: bool = True
    standard: bool = False
    gateway: bool = True
    html_404: bool = True
    errors: Literal["kling", "new-api", "openai"] = "kling"
    digits: int = 18
    own_ids: bool = False
    cache_s: float = 0.0
    created: Form = replies.legacy_created
    single: Form = replies.legacy_single
    new_created: Form = replies.new_created
    new_single: Form | None = None
    video_routes: bool = False
    lists: bool = False
    batch: bool = False
    external_lookup: bool = False
    unknown_task: Literal["1201", "1203", "empty", "task_not_exist"] = "1201"

    @property
    def wraps_errors(self) -> bool:
        """Whether refusals of the service arrive inside a gateway's own form."""
        return self.errors != "kling"


# Source: service reference, "Query" (abilities of gateways) and "Response dialects".
_ROWS = (
    Dialect(
        name="official",
        prefix="",
        standard=True,
        gateway=False,
        html_404=False,
        lists=True,
        batch=True,
        external_lookup=True,
    ),
    # Serves only the /v1 tree; everything else there is an HTML page.
    Dialect(name="official-old-host", prefix="", gateway=False, lists=True, external_lookup=True),
    Dialect(
        name="cometapi",
        digits=19,
        created=replies.comet_created,
        single=replies.comet_single,
        external_lookup=True,
    ),
    Dialect(
        name="new-api",
        errors="new-api",
        own_ids=True,
        cache_s=15.0,
        created=replies.gateway_created,
        single=replies.gateway_single,
        video_routes=True,
        unknown_task="task_not_exist",
    ),
    Dialect(
        name="new-api-old",
        errors="new-api",
        cache_s=15.0,
        created=replies.gateway_created,
        single=replies.gateway_single_old,
        video_routes=True,
        unknown_task="task_not_exist",
    ),
    Dialect(
        name="crazyrouter",
        errors="new-api",
        created=replies.gateway_created,
        single=replies.flattened_single,
        unknown_task="task_not_exist",
    ),
    Dialect(
        name="flat",
        errors="openai",
        own_ids=True,
        created=replies.flat_created,
        single=replies.flat_single,
        unknown_task="task_not_exist",
    ),
    Dialect(name="mixed", standard=True, new_single=replies.mixed_single),
)

DIALECTS: dict[str, Dialect] = {row.name: row for row in _ROWS}


def told(
    refusal: Refusal, dialect: Dialect, kind: RequestKind, request_id: str, *, as_200: bool = False
) -> tuple[int, dict[str, Any]]:
    """HTTP status and body of a refusal as this dialect tells it.

    With `as_200` the service itself answers refusals with HTTP 200 and a non-zero code.
    """
    code, message, status = refusal.code, refusal.message, refusal.status
    own_key = dialect.gateway and isinstance(code, int) and 1000 <= code <= 1004
    if own_key or refusal.by_gateway or dialect.errors == "openai":
        word = "" if own_key else str(code)
        return status, gateway_error("Invalid token" if own_key else message, word, request_id)
    if isinstance(code, str):
        return status, {"code": code, "message": message, "data": None}
    own = {"code": code, "message": message, "request_id": request_id}
    if dialect.errors == "kling":
        return (200 if as_200 else status), own
    if kind not in ("create", "call"):
        # Queries never reach the service: the gateway answers them from its own table, and refuses by itself.
        return status, gateway_error(message, str(code), request_id)
    if as_200:
        return 400, {"code": "task_failed", "message": message, "data": None}
    if status == 429:
        return 429, {"code": "fail_to_fetch_task", "message": SATURATED, "data": None}
    inside = json.dumps(own, separators=(",", ":"), ensure_ascii=False)
    return status, {"code": "fail_to_fetch_task", "message": inside, "data": None}


def gateway_error(message: str, code: str, request_id: str) -> dict[str, Any]:
    """E3: what a gateway's own doors answer."""
    text = f"{message} (request id: {request_id})"
    return {"error": {"message": text, "type": "new_api_error", "code": code}}


def page(status: int, title: str) -> bytes:
    """E4: the HTML page of a proxy or of an unknown route."""
    words = html.escape(f"{status} {title}")
    return (
        f"<html>\r\n<head><title>{words}</title></head>\r\n<body>\r\n<center><h1>{words}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    ).encode()
