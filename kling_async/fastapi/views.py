"""What is shown of a job, and of many.

Stage: door. Before: jobs, events. After: snapshots, models.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import KlingError
from ..models import Asset, Billing, Result, Status
from ..snapshots import Snapshot

_URL = "https://cdn.example/clip.mp4?signature=..."


class AssetView(BaseModel):
    """One produced file. Its URL works without credentials, and for a limited time: treat it as a secret."""

    kind: Annotated[str, Field(description="video, image, audio, voice, element, cover or subtitle")]
    url: str
    watermark_url: str | None = None
    duration_s: Annotated[float | None, Field(description="length in seconds")] = None
    id: Annotated[str | None, Field(description="the service's id, usable in later requests")] = None
    name: str | None = None
    role: Annotated[str | None, Field(description="the service's word for this output among several")] = None
    expires_at: Annotated[datetime | None, Field(description="until when the URL is said to work")] = None


class BillingView(BaseModel):
    """What a task cost, in the service's own figures, as decimal text."""

    units: str | None = None
    amount: str | None = None
    currency: str | None = None
    list_price: str | None = None


class ResultView(BaseModel):
    """What a succeeded job delivers."""

    url: Annotated[str, Field(description="URL of the first asset")]
    assets: list[AssetView]
    billing: BillingView | None = None


class ErrorView(BaseModel):
    """Why a job does not deliver."""

    type: Annotated[str, Field(description="name of the exception, as TaskFailed", examples=["TaskFailed"])]
    message: str
    paid: Annotated[Literal["no", "maybe", "yes"], Field(description="whether money was spent")]
    retryable: Annotated[bool, Field(description="whether the same request may succeed later")]
    request_id: Annotated[str | None, Field(description="to quote to the service's support")] = None


class JobView(BaseModel):
    """Where a job stands."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "order-17",
                    "endpoint": "text2video",
                    "status": "succeeded",
                    "done": True,
                    "task_id": "827964097668337738",
                    "created_at": "2026-11-21T09:30:00Z",
                    "result": {
                        "url": _URL,
                        "assets": [{"kind": "video", "url": _URL, "duration_s": 5.041, "id": "827964097668337739"}],
                        "billing": {"units": "1"},
                    },
                    "error": None,
                }
            ]
        }
    )

    id: Annotated[str, Field(description="our id of the job")]
    endpoint: Annotated[str, Field(description="the kind of generation")]
    status: Annotated[Status, Field(description="queued, sending, unsure, accepted and processing are open")]
    done: Annotated[bool, Field(description="whether it has ended")]
    task_id: Annotated[str | None, Field(description="the service's id, once there is one")] = None
    created_at: datetime
    result: ResultView | None = None
    error: ErrorView | None = None


class JobList(BaseModel):
    """Some jobs, the last submitted first."""

    jobs: list[JobView]
    next: Annotated[int | None, Field(description="give it as `before` for the jobs that follow")] = None


def view_of(seen: Snapshot) -> JobView:
    """Show a job."""
    return JobView(
        id=seen.id,
        endpoint=seen.endpoint,
        status=seen.status,
        done=seen.done(),
        task_id=seen.task_id,
        created_at=seen.created_at,
        result=None if seen.result is None else _result(seen.result),
        error=None if seen.error is None else _error(seen.error),
    )


def _result(result: Result) -> ResultView:
    return ResultView(
        url=result.url, assets=[_asset(asset) for asset in result.assets], billing=_billing(result.billing)
    )


def _asset(asset: Asset) -> AssetView:
    return AssetView(
        kind=asset.kind,
        url=asset.url,
        watermark_url=asset.watermark_url,
        duration_s=asset.duration_s,
        id=asset.id,
        name=asset.name,
        role=asset.role,
        expires_at=asset.expires_at,
    )


def _billing(billing: Billing | None) -> BillingView | None:
    return None if billing is None else BillingView(**{name: _text(value) for name, value in _figures(billing)})


def _figures(billing: Billing) -> list[tuple[str, Any]]:
    return [(name, getattr(billing, name)) for name in ("units", "amount", "currency", "list_price")]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _error(error: KlingError) -> ErrorView:
    return ErrorView(
        type=type(error).__name__,
        message=str(error),
        paid=error.paid,
        retryable=error.retryable,
        request_id=error.request_id,
    )
