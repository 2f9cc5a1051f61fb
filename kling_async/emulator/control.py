"""The emulator's own pages under `/_emulator`: what it is, what it did, what it shall break.

Place: beside the desk. Not authenticated and not logged: they belong to the test, not to the service.
"""

import json
from typing import TYPE_CHECKING

import attrs

from .desk import Answer, Ask, json_answer
from .faults import Fault

if TYPE_CHECKING:
    from .server import Emulator

ROOT = "/_emulator"


def control(emulator: "Emulator", ask: Ask) -> Answer:
    """Answer one request for a page of the emulator's own."""
    page = ask.path.removeprefix(ROOT).strip("/")
    if page == "faults":
        return _faults(emulator, ask)
    if ask.method != "GET" or page not in ("", "tasks", "calls", "requests"):
        return json_answer(404, {"error": f"no such page: {ask.method} {ask.path}"})
    if page == "tasks":
        return json_answer(200, [attrs.asdict(record) for record in emulator.tasks])
    if page == "calls":
        return json_answer(200, [attrs.asdict(call) for call in emulator.calls])
    if page == "requests":
        return json_answer(200, [attrs.asdict(request) for request in emulator.requests])
    return json_answer(200, summary(emulator))


def summary(emulator: "Emulator") -> dict[str, object]:
    """The emulator in a few words: dialect, counts, credentials, switches."""
    records = emulator.tasks
    statuses = ("submitted", "processing", "succeed", "failed")
    return {
        "dialect": emulator.dialect,
        "prefix": emulator.speech.prefix,
        "now": emulator.now(),
        "tasks": {status: sum(record.status == status for record in records) for status in statuses},
        "calls": len(emulator.calls),
        "requests": len(emulator.requests),
        "spent": emulator.spent,
        "leaked_credentials": emulator.leaked_credentials,
        "credentials": {
            "api_key": emulator.api_key,
            "access_key": emulator.access_key,
            "secret_key": emulator.secret_key,
        },
        "switches": {
            field.name: value
            for field in attrs.fields(type(emulator))
            if field.init
            and field.name not in ("api_key", "access_key", "secret_key", "_faults", "time", "dialect")
            and _is_plain(value := getattr(emulator, field.name))
        },
        "faults": len(emulator.faults),
    }


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _faults(emulator: "Emulator", ask: Ask) -> Answer:
    if ask.method == "DELETE":
        emulator.faults.clear()
    elif ask.method == "POST":
        try:
            value = json.loads(ask.body)
            faults = [Fault.from_json(item) for item in (value if isinstance(value, list) else [value])]
        except (ValueError, RecursionError) as error:
            return json_answer(400, {"error": str(error)})
        emulator.faults.extend(faults)
    elif ask.method != "GET":
        return json_answer(405, {"error": "GET, POST or DELETE"})
    return json_answer(200, {"faults": [_told(fault) for fault in emulator.faults], "hits": emulator.faults.hits()})


def _told(fault: Fault) -> dict[str, object]:
    told = attrs.asdict(fault, filter=lambda field, value: value != field.default)
    if isinstance(told.get("body"), bytes):
        told["body"] = told["body"].decode(errors="replace")
    return told
