"""What a test asks of the ledger and the log: was anything paid twice, what was asked, and how to print both.

Place: beside the server. Pure: records in, words out.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .tasks import TaskRecord

if TYPE_CHECKING:
    from .server import LoggedRequest

_SHOWN = 20  # groups in one message
_TEXT = 60  # characters of a prompt


def paid_twice(records: Iterable[TaskRecord]) -> list[list[TaskRecord]]:
    """The tasks that are one order made several times, together; failed ones cost nothing and are left out.

    One order: the same external id or, where none was given, the same body on the same endpoint.
    """
    orders: dict[tuple[str, str], list[TaskRecord]] = defaultdict(list)
    for record in records:
        if record.status == "failed":
            continue
        if record.external_id:
            orders["", record.external_id].append(record)
        else:
            orders[record.endpoint, json.dumps(record.body, sort_keys=True, default=str)].append(record)
    return [group for group in orders.values() if len(group) > 1]


def complaint(groups: Sequence[Sequence[TaskRecord]]) -> str:
    """What was paid twice, in words: one order a line, with its tasks under it."""
    lines = [f"{len(groups)} {'order was' if len(groups) == 1 else 'orders were'} made, and paid, more than once:"]
    for group in groups[:_SHOWN]:
        first = group[0]
        what = f"external id {first.external_id!r}" if first.external_id else f"the body {_prompt(first)}"
        lines.append(f"  {len(group)} tasks of {first.endpoint} with {what}:")
        lines += [f"    {task.task_id} {task.status}, made at {task.created_at:.3f}" for task in group]
    if len(groups) > _SHOWN:
        lines.append(f"  and {len(groups) - _SHOWN} more")
    return "\n".join(lines)


def log_lines(requests: Sequence["LoggedRequest"], most: int = 40) -> list[str]:
    """The last requests, one a line, times counted from the first; signatures of file addresses are left out."""
    began = requests[0].at if requests else 0.0
    lines = [f"... {len(requests) - most} requests before"] if len(requests) > most else []
    for request in requests[-most:]:
        query = f"?{request.query}" if request.query and request.kind != "asset" else ""
        told = "-" if request.status is None else str(request.status)
        fault = f"  [{request.fault}]" if request.fault else ""
        lines.append(f"{request.at - began:+9.3f} s  {told:>3}  {request.method} {request.path}{query}{fault}")
    return lines


def _prompt(record: TaskRecord) -> str:
    text = str(record.body.get("prompt") or json.dumps(record.body, default=str))
    return repr(text if len(text) <= _TEXT else text[: _TEXT - 1] + "…")
