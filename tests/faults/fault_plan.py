"""Faults of every row that an emulator can play, as data: for sweeps that go over all of them."""

import gzip
import json
from typing import Any

from kling_async.emulator import Fault

_GZIPPED = {"Content-Encoding": "gzip"}

# Row → what happens to whatever is asked. Those that cannot be played over HTTP (F01 to F06) have tests of their own.
PLAN: dict[str, list[dict[str, Any]]] = {
    "F07": [{"stage": "accept", "action": "reset"}, {"stage": "accept", "action": "close"}],
    "F08": [{"action": "reset"}, {"action": "reset", "stage": "after"}],
    "F09": [{"action": "close"}, {"action": "truncate", "within": "head", "keep": 20}],
    "F10": [{"action": "close", "reused": True}],
    "F11": [
        {"action": "truncate", "stage": "after"},
        {"action": "truncate", "chunked": True},
        {"action": "body", "body": b"no gzip" * 20, "headers": _GZIPPED},
    ],
    "F12": [{"action": "hang"}, {"stage": "accept", "action": "hang"}],
    "F13": [
        {"action": "slow", "within": "head", "delay_s": 900.0},
        {"action": "slow", "within": "body", "delay_s": 900.0},
    ],
    "F14": [
        {"action": "garbage"},
        {"action": "truncate", "keep": 10**6, "headers": {"X-Huge": "x" * 20_000}},
        {"action": "truncate", "keep": 10**6, "headers": {f"X-{index}": "y" for index in range(500)}},
    ],
    "F15": [{"action": "status", "status": 429, "code": 1302, "headers": {"Retry-After": "3"}}],
    "F16": [{"action": "status", "status": 429, "code": 1303}],
    "F17": [{"action": "status", "status": 429, "code": code} for code in (1100, 1101, 1102, 1304)],
    "F18": [{"action": "html", "status": 429}],
    "F19": [
        {"action": "status", "status": 500, "code": 5000, "stage": "after"},
        {"action": "html", "status": 502},
    ],
    "F20": [{"action": "status", "status": 401, "code": code} for code in (1003, 1004)],
    "F21": [{"action": "status", "status": 401, "code": code} for code in (1000, 1001, 1002)],
    "F22": [{"action": "status", "status": 200, "code": 1201}],
    "F23": [{"action": "html", "status": 200}, {"action": "body", "status": 204, "body": b""}],
    "F24": [
        {"action": "body", "body": b'{"code":0,"data":{"n":NaN}}'},
        {"action": "body", "body": b"[" * 100_000},
        {"action": "body", "body": b'{"n":' + b"9" * 5000 + b"}"},
    ],
    "F25": [{"action": "body", "body": gzip.compress(b"x" * (16 * 1024 * 1024)), "headers": _GZIPPED}],
    "F26": [{"action": "alter", "values": {"task_id": None}}, {"action": "alter", "values": {"task_id": [1]}}],
    "F27": [{"action": "alter", "values": {"task_status": "rendering_v2"}}],
    "F28": [{"action": "alter", "values": {"task_status": "submitted"}}],
    "F29": [{"action": "alter", "values": {"task_status": "succeed", "task_result": {}}}],
    "F30": [{"action": "alter", "rows": "none"}, {"action": "alter", "rows": "twice"}],
    "F31": [{"action": "alter", "values": {"task_id": "867000000000000001"}}],
    "F32": [{"action": "reset", "stage": "after", "effects": 2, "kind": "create"}],
    "F33": [{"action": "reset", "commit_after_s": 1.0}],
    "F35": [{"action": "status", "status": 400, "code": 1301}],
    "F54": [{"action": "status", "status": 400, "code": 1999}],
}


def every_fault() -> list[Fault]:
    """All of the plan."""
    return [Fault(**how) for hows in PLAN.values() for how in hows]


def echoes(*secrets: str) -> list[Fault]:
    """A host that repeats what it was sent: in refusals, in pages, in headers, and inside of a good answer."""
    quoted = " ".join(secrets)
    told = {"error": {"message": f"invalid token {quoted}", "type": quoted, "code": quoted}}
    escaped = "".join(f"\\u{ord(char):04x}" for char in quoted)
    return [
        Fault(action="body", status=401, body=json.dumps(told)),
        Fault(action="body", status=401, body=f'{{"code":1000,"message":"{escaped}"}}'),
        Fault(action="status", status=400, code=1201, message=f"bad header {quoted}"),
        Fault(action="html", status=502, body=f"<pre>Authorization: {quoted}</pre>"),
        Fault(action="html", status=200, body=f"{quoted} is no JSON"),
        Fault(action="alter", values={"debug": quoted, "task_status_msg": quoted}),
        Fault(action="alter", values={"task_status": "failed", "task_status_msg": quoted}),
        Fault(action="status", status=429, code=1302, headers={"X-Echo": quoted, "Retry-After": quoted}),
    ]
