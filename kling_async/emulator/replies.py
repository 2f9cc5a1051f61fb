"""Success bodies: one function per form in which hosts tell a task.

Place: after the service; chosen by the dialect table. Each takes a snapshot and gives the whole body. The keys D1 to
D12 are those of the service reference, "Response dialects".
"""

from collections.abc import Callable, Iterable
from typing import Any

from .tasks import AssetView, Snapshot, Status

Json = dict[str, Any]
Form = Callable[[Snapshot], Json]

SUCCEED = "SUCCEED"

_NEW_STATUS = {"succeed": "succeeded"}
_GATEWAY_STATUS: dict[Status, str] = {
    "submitted": "SUBMITTED",
    "processing": "IN_PROGRESS",
    "succeed": "SUCCESS",
    "failed": "FAILURE",
}
# Synthetic percentages of new-api. Source: service reference, "Status map".
_PROGRESS: dict[Status, int] = {"submitted": 10, "processing": 30, "succeed": 100, "failed": 100}
_OPENAI_STATUS: dict[Status, str] = {
    "submitted": "queued",
    "processing": "in_progress",
    "succeed": "completed",
    "failed": "failed",
}
_FLATTENED_STATUS: dict[Status, str] = {
    "submitted": "queued",
    "processing": "processing",
    "succeed": "succeeded",
    "failed": "failed",
}


def envelope(data: object, request_id: str) -> Json:
    """The service's wrapping of everything that went well."""
    return {"code": 0, "message": SUCCEED, "request_id": request_id, "data": data}


# The service itself


def legacy_created(snapshot: Snapshot) -> Json:
    """D1 right after a create."""
    task = snapshot.task
    data = {
        "task_id": task.task_id,
        "task_status": snapshot.status,
        "task_info": _task_info(snapshot),
        "created_at": snapshot.created_ms,
        "updated_at": snapshot.updated_ms,
    }
    if "session_id" in task.facts:
        data["session_id"] = task.facts["session_id"]
    return envelope(data, snapshot.request_id)


def legacy_row(snapshot: Snapshot) -> Json:
    """The data of D1, and one row of the D2 list."""
    task = snapshot.task
    row: Json = {
        "task_id": task.task_id,
        "task_status": snapshot.status,
        "task_status_msg": task.reason if snapshot.status == "failed" else "",
        "task_info": _task_info(snapshot),
        "watermark_info": {"enabled": task.watermark},
    }
    if snapshot.units is not None:
        row["final_unit_deduction"] = snapshot.units
        row["final_balance_deduction"] = {"quota": snapshot.money, "list_price": snapshot.money}
    row["created_at"] = snapshot.created_ms
    row["updated_at"] = snapshot.updated_ms
    row["task_result"] = _legacy_result(snapshot)
    return row


def legacy_single(snapshot: Snapshot) -> Json:
    """D1 of a query."""
    return envelope(legacy_row(snapshot), snapshot.request_id)


def new_row(snapshot: Snapshot) -> Json:
    """One row of D4 and D5, and the data of D3."""
    task = snapshot.task
    row: Json = {
        "id": task.task_id,
        "status": _NEW_STATUS.get(snapshot.status, snapshot.status),
        "message": task.reason if snapshot.status == "failed" else "",
    }
    if task.external_id:
        row["external_id"] = task.external_id
    row["create_time"] = snapshot.created_ms
    row["update_time"] = snapshot.updated_ms
    if snapshot.is_ended:
        row["outputs"] = _outputs(snapshot)
        row["billing"] = _billing(snapshot)
    return row


def new_created(snapshot: Snapshot) -> Json:
    """D3."""
    return envelope(new_row(snapshot), snapshot.request_id)


def cursor_page(rows: Iterable[Json], next_cursor: str, request_id: str) -> Json:
    """D5; an empty cursor says that there is no more."""
    result = list(rows)
    data = {"result": result, "count": len(result), "next_cursor": next_cursor, "has_more": bool(next_cursor)}
    return envelope(data, request_id)


def _task_info(snapshot: Snapshot) -> Json:
    task = snapshot.task
    info: Json = {"external_task_id": task.external_id} if task.external_id else {}
    if "parent_video" in task.facts:
        info["parent_video"] = task.facts["parent_video"]
    return info


def _legacy_result(snapshot: Snapshot) -> Json:
    if snapshot.status != "succeed":
        return {}
    row = snapshot.task.row
    if not snapshot.assets:
        # Cleared, or not there yet.
        return {kind: [] for kind in row.result}
    if row.tell is not None:
        return row.tell(snapshot)
    return {kind: [_legacy_item(asset, at) for at, asset in enumerate(_of(snapshot, kind))] for kind in row.result}


def _of(snapshot: Snapshot, kind: str) -> list[AssetView]:
    return [asset for asset in snapshot.assets if asset.kind + "s" == kind]


def _legacy_item(asset: AssetView, at: int) -> Json:
    if asset.kind == "image":
        return _with_watermark({"index": at, "url": asset.url}, asset)
    if asset.kind == "audio":
        return {
            "id": asset.asset_id,
            "url_mp3": asset.url,
            "url_wav": asset.wav_url,
            "duration_mp3": asset.seconds,
            "duration_wav": asset.wav_seconds,
        }
    return _with_watermark({"id": asset.asset_id, "url": asset.url, "duration": asset.seconds}, asset)


def _outputs(snapshot: Snapshot) -> list[Json]:
    if snapshot.status != "succeed" or not snapshot.assets:
        return []
    row = snapshot.task.row
    if row.tell_new is not None:
        return row.tell_new(snapshot)
    return [_new_item(asset) for kind in row.result for asset in _of(snapshot, kind)]


def _new_item(asset: AssetView) -> Json:
    if asset.kind == "image":
        return _with_watermark({"type": "image", "url": asset.url}, asset)
    if asset.kind == "audio":
        return {
            "type": "audio",
            "id": asset.asset_id,
            "mp3_url": asset.url,
            "wav_url": asset.wav_url,
            "mp3_duration": asset.seconds,
            "wav_duration": asset.wav_seconds,
        }
    return _with_watermark({"type": "video", "id": asset.asset_id, "url": asset.url, "duration": asset.seconds}, asset)


def _with_watermark(row: Json, asset: Any) -> Json:
    # Without the option no such key comes back at all.
    return {**row, "watermark_url": asset.watermark_url} if asset.watermark_url else row


def _billing(snapshot: Snapshot) -> list[Json]:
    if snapshot.status == "failed":
        return [{"amount": "0"}]
    if snapshot.cash:
        return [
            {
                "charge_type": "cash",
                "cash_type": "balance",
                "amount": snapshot.money,
                "currency": snapshot.currency,
                "list_price": snapshot.money,
            }
        ]
    return [{"charge_type": "unit", "amount": snapshot.units, "package_type": snapshot.task.row.pack}]


# CometAPI


def comet_created(snapshot: Snapshot) -> Json:
    """D1 as CometAPI answers a create: no request id, nothing in `task_info`."""
    body = legacy_created(snapshot)
    del body["request_id"]
    body["data"]["task_info"] = {}
    return body


def comet_single(snapshot: Snapshot) -> Json:
    """D1 as CometAPI answers a query: the request id is the task's."""
    return envelope(legacy_row(snapshot), snapshot.task.task_id)


def comet_older_omni(snapshot: Snapshot) -> Json:
    """D8: a gateway's wrapping whose `data.data` is the service's own object."""
    body = gateway_single(snapshot)
    inner = body["data"]["data"]
    if inner is not None:
        body["data"]["data"] = inner["data"]
    return body


# new-api and its relatives


def gateway_created(snapshot: Snapshot) -> Json:
    """D6; the status is empty and the time in seconds."""
    task = snapshot.task
    return {
        "id": task.public_id,
        "task_id": task.public_id,
        "object": "video",
        "model": task.model,
        "status": "",
        "progress": 0,
        "created_at": int(task.created_at),
    }


def gateway_single(snapshot: Snapshot) -> Json:
    """D7: the gateway's own row around the service's whole answer as last heard."""
    task = snapshot.task
    url = snapshot.assets[0].url if snapshot.assets else ""
    row = _gateway_row(snapshot)
    row["fail_reason"] = task.reason if snapshot.status == "failed" else ""
    row["result_url"] = url
    return {"code": "success", "message": "", "data": row}


def gateway_single_old(snapshot: Snapshot) -> Json:
    """D7 of older versions: the URL of a success stands in `fail_reason`, and the create reply in `data`."""
    body = gateway_single(snapshot)
    row = body["data"]
    url = row.pop("result_url")
    row["fail_reason"] = url or row["fail_reason"]
    if row["data"] is None:
        row["data"] = legacy_created(snapshot)
    return body


def _gateway_row(snapshot: Snapshot) -> Json:
    task = snapshot.task
    seconds = int(snapshot.updated_at)
    progress = _PROGRESS[snapshot.status] if snapshot.is_seen else 0
    return {
        "id": task.ordinal + 1,
        "created_at": int(task.created_at),
        "updated_at": seconds,
        "task_id": task.public_id,
        "platform": "50",
        "user_id": 1,
        "group": "default",
        "channel_id": 3,
        "quota": 0,
        "action": task.row.action,
        "status": _GATEWAY_STATUS[snapshot.status] if snapshot.is_seen else "NOT_START",
        "fail_reason": "",
        "result_url": "",
        "submit_time": int(task.created_at),
        "start_time": 0 if snapshot.status == "submitted" else int(task.processing_at),
        "finish_time": seconds if snapshot.is_ended else 0,
        "progress": f"{progress}%",
        "properties": {},
        "data": legacy_single(snapshot) if snapshot.is_seen else None,
    }


def openai_video(snapshot: Snapshot) -> Json:
    """D11; times here are the service's milliseconds."""
    task = snapshot.task
    body: Json = {
        "id": task.public_id,
        "task_id": task.public_id,
        "object": "video",
        "model": task.model,
        "status": _OPENAI_STATUS[snapshot.status],
        "progress": _PROGRESS[snapshot.status] if snapshot.is_seen else 0,
        "created_at": snapshot.created_ms,
    }
    if snapshot.is_ended:
        body["completed_at"] = snapshot.updated_ms
    if snapshot.assets:
        body["seconds"] = snapshot.assets[0].seconds
        body["metadata"] = {"url": snapshot.assets[0].url}
    if snapshot.status == "failed":
        body["error"] = {"message": task.reason, "code": "task_failed"}
    return body


def flattened_single(snapshot: Snapshot) -> Json:
    """D9: everything flat under a success wrapper, failures too."""
    task = snapshot.task
    failed = snapshot.status == "failed"
    data = {
        "task_id": task.public_id,
        "status": _FLATTENED_STATUS[snapshot.status],
        "url": snapshot.assets[0].url if snapshot.assets else "",
        "format": _format(snapshot),
        "metadata": None,
        "error": {"message": task.reason, "code": "task_failed"} if failed else None,
    }
    return {"code": "success", "message": "", "data": data}


def _format(snapshot: Snapshot) -> str:
    """The ending of the result's file; before there is one, that of a clip."""
    url = snapshot.assets[0].url if snapshot.assets else "result.mp4"
    return url.partition("?")[0].rpartition(".")[2]


def flat_created(snapshot: Snapshot) -> Json:
    """The create reply that belongs to D10 (assumed: no page shows it)."""
    return {"task_id": snapshot.task.public_id, "status": "queued"}


def flat_single(snapshot: Snapshot) -> Json:
    """D10: flat without a wrapper; `error` is there even when nothing went wrong."""
    task = snapshot.task
    status = "completed" if snapshot.status == "succeed" else _FLATTENED_STATUS[snapshot.status]
    failed = snapshot.status == "failed"
    body: Json = {
        "task_id": task.public_id,
        "status": status,
        "url": snapshot.assets[0].url if snapshot.assets else "",
        "format": _format(snapshot),
        "error": {"code": 1 if failed else 0, "message": task.reason if failed else ""},
    }
    if snapshot.assets:
        body["metadata"] = {"duration": task.seconds, "fps": 24, "width": 1280, "height": 720, "seed": 1}
    return body


def mixed_single(snapshot: Snapshot) -> Json:
    """D12: new field names, the old success word, the old result."""
    task = snapshot.task
    data: Json = {"id": task.task_id, "status": snapshot.status}
    if snapshot.status == "failed":
        data["message"] = task.reason
    data["task_result"] = _legacy_result(snapshot)
    return {"code": 0, "data": data}
