"""The protocols of similar services, as far as their SDKs need them to submit a job and wait for it.

Only `_server.py --peers` uses it. What each SDK wants of an answer was found out by running it.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from _server import KLING, Held, Table, speak_kling, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Object = dict[str, object]
DATE = "2026-01-01T00:00:00Z"
OPERATIONS = "projects/p/locations/l/publishers/google/models/veo/operations/"


def speak_all(table: Table, method: str, target: str, body: bytes) -> tuple[int, bytes]:
    """Answer a request of any of them."""
    path = target.partition("?")[0]
    if path.startswith(KLING):
        return speak_kling(table, method, target, body)
    is_create = method == "POST" and not path.endswith(":fetchPredictOperation")
    table.counts["create" if is_create else "query"] += 1
    for prefix, tell in _PEERS.items():
        if path.startswith(prefix):
            task = table.make("") if is_create else _find(table, path, body)
            if task is None:
                return 404, b"{}"
            told = tell(table, task, path, is_over=time.monotonic() >= task.ends_at)
            return 201 if is_create and prefix in _CREATED else 200, json.dumps(told).encode()
    return 404, b"{}"


def _find(table: Table, path: str, body: bytes) -> Held | None:
    if path.endswith(":fetchPredictOperation"):
        path = json.loads(body)["operationName"]
    name = next((part for part in reversed(path.split("/")) if part.startswith("t-")), "")
    number = int(name[2:]) if name else -1
    return table.tasks[number] if 0 <= number < len(table.tasks) else None


def _fal(table: Table, task: Held, path: str, *, is_over: bool) -> Object:
    base = f"{table.address}/fal/app/requests/t-{task.number}"
    if path.endswith("/status"):
        return {"status": "COMPLETED" if is_over else "IN_PROGRESS", "logs": None, "metrics": {}}
    if "/requests/" in path:
        return {"video": {"url": url_of(task.number, task.ends_at)}}
    return {
        "request_id": f"t-{task.number}",
        "status": "IN_QUEUE",
        "queue_position": 0,
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
    }


def _replicate(table: Table, task: Held, _path: str, *, is_over: bool) -> Object:
    base = f"{table.address}/v1/predictions/t-{task.number}"
    return {
        "id": f"t-{task.number}",
        "model": "acme/clip",
        "version": "v" * 64,
        "status": "succeeded" if is_over else "processing",
        "input": {},
        "output": url_of(task.number, task.ends_at) if is_over else None,
        "logs": "",
        "error": None,
        "metrics": {},
        "created_at": DATE,
        "started_at": None,
        "completed_at": None,
        "data_removed": False,
        "source": "api",
        "urls": {"get": base, "cancel": f"{base}/cancel", "web": base},
    }


def _runway(_table: Table, task: Held, path: str, *, is_over: bool) -> Object:
    if path.startswith("/v1/text_to_video"):
        return {"id": f"t-{task.number}"}
    told: Object = {"id": f"t-{task.number}", "createdAt": DATE}
    if is_over:
        return {**told, "status": "SUCCEEDED", "cost": {"credits": 5}, "output": [url_of(task.number, task.ends_at)]}
    return {**told, "status": "RUNNING", "estimatedCost": {"credits": 5}, "progress": 0.5}


def _luma(_table: Table, task: Held, _path: str, *, is_over: bool) -> Object:
    return {
        "id": f"t-{task.number}",
        "generation_type": "video",
        "state": "completed" if is_over else "dreaming",
        "failure_reason": None,
        "created_at": DATE,
        "model": "ray-2",
        "assets": {"video": url_of(task.number, task.ends_at)} if is_over else None,
        "request": None,
    }


def _openai(_table: Table, task: Held, _path: str, *, is_over: bool) -> Object:
    return {
        "id": f"t-{task.number}",
        "object": "video",
        "created_at": 1,
        "status": "completed" if is_over else "in_progress",
        "progress": 100 if is_over else 10,
        "model": "sora-2",
        "seconds": "4",
        "size": "1280x720",
        "completed_at": 2 if is_over else None,
        "expires_at": None,
        "error": None,
        "prompt": url_of(task.number, task.ends_at),  # its answers have no URL; this field is handed through
        "remixed_from_video_id": None,
    }


def _genai(_table: Table, task: Held, _path: str, *, is_over: bool) -> Object:
    told: Object = {"name": f"{OPERATIONS}t-{task.number}"}
    if is_over:
        clip = {"gcsUri": url_of(task.number, task.ends_at), "mimeType": "video/mp4"}
        return {**told, "done": True, "response": {"videos": [clip]}}
    return told


def _comfy(_table: Table, task: Held, _path: str, *, is_over: bool) -> Object:
    base = f"/api/v2/jobs/t-{task.number}"
    return {
        "id": f"t-{task.number}",
        "object": "job",
        "status": "succeeded" if is_over else "running",
        "created_at": DATE,
        "started_at": DATE,
        "completed_at": DATE if is_over else None,
        "expires_at": "2027-01-01T00:00:00Z",
        "queue_position": None,
        "progress": None,
        "outputs": [],
        "error": None,
        "metrics": {"ended_us": int(task.ends_at * 1e6)},  # its answers have no URL; metrics are handed through
        "urls": {"self": base, "cancel": f"{base}/cancel", "events": f"{base}/events"},
    }


_PEERS: Mapping[str, Callable[..., Object]] = {
    "/fal/": _fal,
    "/v1/predictions": _replicate,
    "/v1/text_to_video": _runway,
    "/v1/tasks/": _runway,
    "/luma/": _luma,
    "/openai/": _openai,
    "/v1beta1/": _genai,
    "/api/v2/jobs": _comfy,
}
_CREATED = frozenset({"/v1/predictions", "/luma/", "/api/v2/jobs"})
