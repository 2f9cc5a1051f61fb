"""Changing what an answer tells of its tasks, for the fault action "alter".

Place: beside the desk, which alone uses it. Knows a task object by its id and its status, whatever is around it.
"""

from typing import Any

from .faults import Fault

_IDS = ("task_id", "id")
_STATUSES = ("task_status", "status")


class _Left:
    """Marks a place whose task object is left out."""


_LEFT = _Left()


def altered(told: Any, fault: Fault) -> Any:
    """An answer's JSON with its task objects changed; None when the one task that it tells of is left out."""
    changed = _altered(told, fault)
    alone = changed["data"] if isinstance(changed, dict) and "data" in changed else changed
    return None if alone is _LEFT else changed


def _altered(value: Any, fault: Fault) -> Any:
    if isinstance(value, list):
        changed = [_altered(item, fault) for item in value]
        copies = 2 if fault.rows == "twice" else 1
        return [
            item
            for item, before in zip(changed, value, strict=True)
            if item is not _LEFT
            for _ in range(copies if _is_meant(before, fault) else 1)
        ]
    if not isinstance(value, dict):
        return value
    if not _is_meant(value, fault):
        return {name: _altered(inner, fault) for name, inner in value.items()}
    return _LEFT if fault.rows == "none" else {**value, **(fault.values or {})}


def _is_meant(value: Any, fault: Fault) -> bool:
    """Whether this is a task object that the fault is about."""
    if not isinstance(value, dict) or not any(isinstance(value.get(name), str) for name in _STATUSES):
        return False
    info = value.get("task_info")
    external = info.get("external_task_id") if isinstance(info, dict) else value.get("external_id")
    idents = {value[name] for name in _IDS if isinstance(value.get(name), str)}
    return bool(idents) and (fault.task is None or fault.task in idents or fault.task == external)
