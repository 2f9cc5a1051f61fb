"""What was made before: the elements and voices that a new body may name.

Place: beside the service, under the rows of the library. The ids hold the ordinal of the task that made the thing, so
nothing is kept but the one fact that cannot be computed: whether it was deleted.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from .checks import Body, dig, items
from .refusals import invalid
from .tasks import Task

if TYPE_CHECKING:
    from .service import Service

# First id of each kind: 18 digits, above 2^53 (a float cannot hold them). Source: service reference, "Rules shared by
# many endpoints". Presets have negative ordinals and lie below.
_FIRST_ID = {"elements": 860_000_000_000_000_000, "voices": 830_000_000_000_000_000}
_ID_STEP = 1_000_000


@attrs.define
class Shelf:
    """The fate of one element or voice after it was made."""

    deleted: bool = False


def made_id(task: Task) -> int:
    """The id of the element or voice that a task makes."""
    return _FIRST_ID[task.row.result[0]] + task.ordinal * _ID_STEP + task.asset_key % _ID_STEP


def is_deleted(task: Task) -> bool:
    """Whether the element or voice that the task made is gone."""
    shelf = task.facts.get("shelf")
    return isinstance(shelf, Shelf) and shelf.deleted


def find_made(service: "Service", kind: str, ident: object, now: float) -> Task | None:
    """The task that made an element ("elements") or a voice ("voices"); deleted ones are found too."""
    words = str(ident)
    if not (words.isascii() and words.isdigit()) or len(words) > 20:
        return None
    ordinal = (int(words) - _FIRST_ID[kind]) // _ID_STEP
    if not 0 <= ordinal < len(service.tasks):
        return None
    task = service.tasks[ordinal]
    is_it = task.row.result == (kind,) and str(made_id(task)) == words and task.status_at(now) == "succeed"
    return task if is_it else None


def refuse_unknown(service: "Service", presets: Iterable[Task], body: Body, now: float) -> None:
    """Refuse a body that names elements or voices which are not there, where the switch says so.

    Raises:
        Refusal: 1201, "Element id not found" as the service says.
    """
    if not service.settings.known_ids_only or service.settings.lenient:
        return
    known = {(task.row.result[0], str(made_id(task))) for task in presets}
    for kind, ident in _named(body):
        task = find_made(service, kind, ident, now)
        is_there = task is not None and not is_deleted(task)
        if not is_there and (kind, str(ident)) not in known:
            raise invalid("Element id not found" if kind == "elements" else "Voice id not found")


def _named(body: Body) -> list[tuple[str, object]]:
    """Kind and id of every element and voice in a body of either standard."""
    named: list[tuple[str, object]] = [("elements", item.get("element_id")) for item in items(body, "element_list")]
    named += [("voices", item.get("voice_id")) for item in items(body, "voice_list")]
    for item in items(body, "contents"):
        if item.get("type") in ("element", "voice"):
            kind = str(item["type"])
            named.append((f"{kind}s", item.get(f"{kind}_id")))
    if dig(body, "element_voice_id"):
        named.append(("voices", dig(body, "element_voice_id")))
    return named
