"""Paths: which endpoint a request means, on the dialect spoken.

Place: first look at a request, before credentials. Pure: the same method and path give the same route.
"""

from urllib.parse import unquote

import attrs

from .account import ACCOUNT_ROWS
from .dialects import RequestKind
from .legacy_rows import LEGACY_ROWS
from .media_rows import MEDIA_ROWS
from .new_rows import NEW_ROWS
from .rows import Row
from .settings import Settings
from .solutions import ROOT as SOLUTIONS
from .solutions import solution_row
from .video_rows import VIDEO_ROWS

ROWS: tuple[Row, ...] = (*LEGACY_ROWS, *VIDEO_ROWS, *MEDIA_ROWS, *NEW_ROWS, *ACCOUNT_ROWS)

_BY_PATH = {row.path: row for row in ROWS if row.answer is None}
_CALLS: dict[tuple[str, str], Row] = {(row.method, row.path): row for row in ROWS if row.answer is not None}
_OPERATIONS = frozenset(row.family for row in NEW_ROWS)


@attrs.frozen
class Route:
    """What a request means.

    `ident` is the id in the path; `gateway_form` names a gateway's own query path; `board` is which of the two lists
    of the new standard is asked.
    """

    kind: RequestKind
    row: Row | None = None
    ident: str = ""
    gateway_form: str = ""
    board: str = "tasks"


UNKNOWN = Route("unknown")


def find_route(settings: Settings, method: str, raw_path: str) -> Route:
    """The route of a request; `UNKNOWN` when this host has no such path or method.

    The path is taken as received, still percent-encoded, so that an id may hold an encoded slash.
    """
    speech = settings.speech
    # The service's own client sends a doubled slash on one path; it is harmless there.
    raw_path = raw_path.replace("//", "/")
    if speech.video_routes and method == "GET":
        for form, start in (("row", "/v1/video/generations/"), ("openai", "/v1/videos/")):
            if raw_path.startswith(start) and "/" not in raw_path[len(start) :]:
                return Route("single", None, unquote(raw_path[len(start) :]), form)
    if not raw_path.startswith(speech.prefix + "/"):
        return UNKNOWN
    path = raw_path[len(speech.prefix) :]
    boards = {"/tasks": "tasks"} if speech.gateway else {"/tasks": "tasks", SOLUTIONS: "solutions"}
    if path in boards:
        kinds: dict[str, RequestKind] = {"GET": "batch", "POST": "cursor"}
        return Route(kinds[method], board=boards[path]) if method in kinds and settings.batch else UNKNOWN
    solution = solution_row(path)
    if solution is not None and method == "POST" and _is_served(settings, solution):
        return Route("create", solution)
    return _find_endpoint(settings, method, path)


def _find_endpoint(settings: Settings, method: str, path: str) -> Route:
    row = _CALLS.get((method, path))
    if row is not None and _is_served(settings, row):
        return Route("call", row)
    row = _BY_PATH.get(path)
    if row is not None and _is_served(settings, row):
        if method == "POST":
            return Route("create", row)
        has_list = row.standard == "legacy" and row.has_list and not row.finished_at_once and settings.lists
        return Route("list", row) if method == "GET" and has_list else UNKNOWN
    parent, _, ident = path.rpartition("/")
    if method == "POST" and settings.speech.standard and parent[1:] in _OPERATIONS:
        # A known operation with a model nobody knows: refused by code, not by a page.
        return Route("create", None, unquote(ident))
    row = _BY_PATH.get(parent)
    if method != "GET" or row is None or not ident or not _is_served(settings, row):
        return UNKNOWN
    if row.finished_at_once or (row.standard == "new" and settings.speech.new_single is None):
        return UNKNOWN
    return Route("single", row, unquote(ident))


def _is_served(settings: Settings, row: Row) -> bool:
    if row.official_only and (settings.speech.gateway or not settings.speech.standard):
        return False
    return settings.speech.legacy if row.standard == "legacy" else settings.speech.standard
