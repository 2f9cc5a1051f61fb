"""Asyncio SDK for the Kling generation API: submit many jobs, poll as one, resolve to URLs.

The path of one job, which is also the order to read the files in:

```
request ─submit→ job_id ─POST→ task_id ─→ pending
endpoints/       submitter     transport     │ poller: one question for many tasks, as sweep plans them
                                             │
file ←download─ asset URLs ←settle─ Outcome ←decode─ Observation
download                 scheduler  lifecycle  wire
```

Words: errors, models. Registry and wire: endpoints, dialects, wire, auth. Deciders, pure: lifecycle, sweep, slots.
Movers: retry, transport, download. Loop: job, poller, submitter, searcher, scheduler. Front: runtime, session.
Doors: cli, emulator. Read lifecycle, sweep and scheduler first.
"""

from ._version import __version__
from .dialects import Host, find_host, new_api, official
from .endpoints import ENDPOINTS, Endpoint
from .endpoints.parts import (
    CameraConfig,
    CameraControl,
    DynamicMask,
    ElementRef,
    Point,
    ReferenceImage,
    ReferenceVideo,
    Shot,
    VoiceRef,
    WatermarkInfo,
)
from .endpoints.video import ImageToVideo, OmniVideo, TextToVideo
from .errors import (
    AccountError,
    AnswerTimeout,
    AuthError,
    BadEnvelope,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    DownloadError,
    IdempotencyMismatch,
    InvalidRequest,
    JobAbandoned,
    JobError,
    KlingError,
    NoOutputs,
    PolicyRejected,
    RequestRejected,
    RequestWarning,
    SchedulerCrashed,
    ServerFault,
    ServiceError,
    SessionClosed,
    SessionError,
    SlotsFull,
    SubmissionUnknown,
    TaskFailed,
    TaskVanished,
    Throttled,
    TransportError,
)
from .job import Job
from .models import Asset, Billing, Observation, Policy, Result, Stats, Status, TaskStatus
from .session import KlingSession

__all__ = [
    "ENDPOINTS",
    "AccountError",
    "AnswerTimeout",
    "Asset",
    "AuthError",
    "BadEnvelope",
    "Billing",
    "CameraConfig",
    "CameraControl",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "DeadlineExceeded",
    "DownloadError",
    "DynamicMask",
    "ElementRef",
    "Endpoint",
    "Host",
    "IdempotencyMismatch",
    "ImageToVideo",
    "InvalidRequest",
    "Job",
    "JobAbandoned",
    "JobError",
    "KlingError",
    "KlingSession",
    "NoOutputs",
    "Observation",
    "OmniVideo",
    "Point",
    "Policy",
    "PolicyRejected",
    "ReferenceImage",
    "ReferenceVideo",
    "RequestRejected",
    "RequestWarning",
    "Result",
    "SchedulerCrashed",
    "ServerFault",
    "ServiceError",
    "SessionClosed",
    "SessionError",
    "Shot",
    "SlotsFull",
    "Stats",
    "Status",
    "SubmissionUnknown",
    "TaskFailed",
    "TaskStatus",
    "TaskVanished",
    "TextToVideo",
    "Throttled",
    "TransportError",
    "VoiceRef",
    "WatermarkInfo",
    "__version__",
    "find_host",
    "new_api",
    "official",
]
