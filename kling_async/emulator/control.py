"""The emulator's own pages under `/_emulator`: what it is, what it did, what it shall break.

Place: beside the desk. Not authenticated and not logged: they belong to the test, not to the service. All are JSON
but `/_emulator/`, which is for people: a live list of the tasks.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from .desk import Answer, Ask, json_answer
from .faults import Fault

if TYPE_CHECKING:
    from .server import Emulator

ROOT = "/_emulator"

# What is shown there was sent by anybody: nothing but the page's own script runs, and nothing is fetched elsewhere.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GUARDS = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
_NOT_SWITCHES = ("api_key", "access_key", "secret_key", "webhook_secret", "callbacks", "_faults", "time", "dialect")


def control(emulator: "Emulator", ask: Ask) -> Answer:
    """Answer one request for a page of the emulator's own."""
    page = ask.path.removeprefix(ROOT).strip("/")
    if page == "reset" and ask.method == "POST":
        emulator.reset()
        return json_answer(200, summary(emulator))
    if page == "faults":
        return _faults(emulator, ask)
    if ask.method != "GET" or page not in ("", "tasks", "calls", "requests", "callbacks"):
        return json_answer(404, {"error": f"no such page: {ask.method} {ask.path}"})
    if ask.path == f"{ROOT}/":
        return Answer(200, _live(), "text/html", _GUARDS)
    if page == "tasks":
        return _tasks(emulator, ask)
    logs: dict[str, Sequence[Any]] = {
        "calls": emulator.calls,
        "requests": emulator.requests,
        "callbacks": emulator.posted,
    }
    if page in logs:
        return json_answer(200, [attrs.asdict(record) for record in logs[page]])
    return json_answer(200, summary(emulator))


@functools.cache
def _live() -> bytes:
    return Path(__file__).with_name("live.html").read_bytes()


def _tasks(emulator: "Emulator", ask: Ask) -> Answer:
    """The ledger with prices and files; `?last=N` gives the newest only."""
    last = ask.query.get("last", "")
    if last and not last.isdecimal():
        return json_answer(400, {"error": f"last={last!r} must be a number of tasks"})
    rows = [
        attrs.asdict(record)
        | {"price": float(price), "files": [{"kind": view.kind, "url": view.url} for view in views]}
        for record, price, views in emulator.shown(ask.base, int(last) if last else None)
    ]
    return attrs.evolve(json_answer(200, rows), headers=_GUARDS[-1:])


def summary(emulator: "Emulator") -> dict[str, object]:
    """The emulator in a few words: dialect, counts, credentials, switches."""
    counts = emulator.count_tasks()
    return {
        "dialect": emulator.dialect,
        "base_url": emulator.base_url if emulator.is_started else None,
        "prefix": emulator.speech.prefix,
        "now": emulator.now(),
        "tasks": {status: counts[status] for status in ("submitted", "processing", "succeed", "failed")},
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
            if field.init and field.name not in _NOT_SWITCHES and _is_plain(value := getattr(emulator, field.name))
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
