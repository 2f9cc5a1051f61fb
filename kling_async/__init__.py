"""Asyncio SDK for the Kling generation API: submit many jobs, poll as one, resolve to URLs.

The path of one job, which is also the order to read the files in:

```
request ─submit→ job_id ─POST→ task_id ─→ pending
endpoints/       submitter     transport     │ poller: one question for many tasks, as sweep plans them
                                             │
file ←download─ asset URLs ←settle─ Outcome ←decode─ Observation
download                 scheduler  lifecycle  wire
```

Words: errors, models, events. Registry and wire: endpoints, dialects, prices, wire, calls, auth. Deciders, pure:
lifecycle, reach, hazards, pace, terms, bands, lookups, queues, sweep, slots, deadlines, hints, addresses. Movers:
retry, translate, transport, journal, journal_store, journal_sqlite, media_record, owners, fetch, part_file, sinks,
transfer, download. Loop: job, recorder, sharing, poller, submitter, searcher, scheduler. Front: runtime, selection,
questions, recovery, snapshots, webhook, callbacks, session, reading. Doors: fastapi, otel, cli, emulator,
pytest_plugin. Read lifecycle, sweep and scheduler first.
"""

import importlib
import typing

from ._version import __version__

if typing.TYPE_CHECKING:
    from .dialects import Host, find_host, new_api, official
    from .download import Saved
    from .endpoints import ENDPOINTS, Advice, Call, Endpoint, Task
    from .endpoints.account import (
        AccountCosts,
        AccountUsage,
        BalanceCharges,
        Charge,
        ChargeFilter,
        ChargesPage,
        ChargesResult,
        PackageCharges,
        ResourcePack,
    )
    from .endpoints.answers import (
        BalanceDeduction,
        Deletion,
        Face,
        FaceIdentification,
        FrameMasks,
        ImageRecognition,
        ObjectMask,
        PngMask,
        Presets,
        PreviewFiles,
        RleMask,
        SelectionCleared,
        SelectionMasks,
        SelectionPreview,
        SelectionSession,
    )
    from .endpoints.clips import ClipImage, EffectInput, MotionControl, MultiImageToVideo, VideoEffects, VideoExtend
    from .endpoints.contents import (
        BaseVideo,
        Element,
        FeatureVideo,
        FirstFrame,
        LastFrame,
        MiddleFrame,
        MotionImage,
        MotionVideo,
        Options,
        OtherContent,
        Prompt,
        ReferImage,
        Settings,
        Voice,
    )
    from .endpoints.images import (
        ImageExpand,
        ImageGeneration,
        MultiImageToImage,
        OmniImage,
        OmniPicture,
        SubjectCompletion,
        SubjectImage,
        VirtualTryOn,
    )
    from .endpoints.library import (
        CustomElement,
        CustomVoice,
        DeleteElement,
        DeleteVoice,
        ElementPicture,
        ElementPictures,
        ElementTag,
        ElementVideo,
        ElementVideos,
        PresetElements,
        PresetVoices,
    )
    from .endpoints.lips import AdvancedLipSync, Avatar, FaceChoose, IdentifyFace, LipSync, LipSyncInput
    from .endpoints.operation import Operation
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
    from .endpoints.scenes import (
        AddSelection,
        ClearSelection,
        DeleteSelection,
        InitSelection,
        MultiElements,
        PreviewSelection,
        RecognizeImage,
        SelectionPoint,
    )
    from .endpoints.solutions import Solution, SolutionOptions
    from .endpoints.sound import TextToAudio, TextToSpeech, VideoToAudio
    from .endpoints.video import ImageToVideo, OmniVideo, TextToVideo
    from .errors import (
        AccountError,
        AnswerTimeout,
        AuthError,
        BadEnvelope,
        CallbackRejected,
        ConfigError,
        ConnectFailed,
        ConnectionLost,
        DeadlineExceeded,
        DownloadError,
        ForkError,
        IdempotencyMismatch,
        InvalidRequest,
        JobAbandoned,
        JobError,
        JournalCorrupt,
        JournalError,
        JournalLocked,
        KlingError,
        LeaseLost,
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
    from .events import Events, JobEvent, Missed, PauseEvent, QueryEvent, RequestEvent, SweepEvent
    from .job import Job
    from .journal import Journal, MemoryJournal, MemoryStore
    from .models import Asset, Billing, CallbackStats, Observation, Policy, Result, Stats, Status, TaskStatus
    from .prices import Estimate, estimate
    from .recovery import Finding, Found, Recovery
    from .selection import Selection
    from .session import KlingSession
    from .sinks import FolderSink, ObjectStoreSink, Sink, Stored
    from .snapshots import History, Snapshot
    from .webhook import Callback, Webhook

__all__ = [
    "ENDPOINTS",
    "AccountCosts",
    "AccountError",
    "AccountUsage",
    "AddSelection",
    "AdvancedLipSync",
    "Advice",
    "AnswerTimeout",
    "Asset",
    "AuthError",
    "Avatar",
    "BadEnvelope",
    "BalanceCharges",
    "BalanceDeduction",
    "BaseVideo",
    "Billing",
    "Call",
    "Callback",
    "CallbackRejected",
    "CallbackStats",
    "CameraConfig",
    "CameraControl",
    "Charge",
    "ChargeFilter",
    "ChargesPage",
    "ChargesResult",
    "ClearSelection",
    "ClipImage",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "CustomElement",
    "CustomVoice",
    "DeadlineExceeded",
    "DeleteElement",
    "DeleteSelection",
    "DeleteVoice",
    "Deletion",
    "DownloadError",
    "DynamicMask",
    "EffectInput",
    "Element",
    "ElementPicture",
    "ElementPictures",
    "ElementRef",
    "ElementTag",
    "ElementVideo",
    "ElementVideos",
    "Endpoint",
    "Estimate",
    "Events",
    "Face",
    "FaceChoose",
    "FaceIdentification",
    "FeatureVideo",
    "Finding",
    "FirstFrame",
    "FolderSink",
    "ForkError",
    "Found",
    "FrameMasks",
    "History",
    "Host",
    "IdempotencyMismatch",
    "IdentifyFace",
    "ImageExpand",
    "ImageGeneration",
    "ImageRecognition",
    "ImageToVideo",
    "InitSelection",
    "InvalidRequest",
    "Job",
    "JobAbandoned",
    "JobError",
    "JobEvent",
    "Journal",
    "JournalCorrupt",
    "JournalError",
    "JournalLocked",
    "KlingError",
    "KlingSession",
    "LastFrame",
    "LeaseLost",
    "LipSync",
    "LipSyncInput",
    "MemoryJournal",
    "MemoryStore",
    "MiddleFrame",
    "Missed",
    "MotionControl",
    "MotionImage",
    "MotionVideo",
    "MultiElements",
    "MultiImageToImage",
    "MultiImageToVideo",
    "NoOutputs",
    "ObjectMask",
    "ObjectStoreSink",
    "Observation",
    "OmniImage",
    "OmniPicture",
    "OmniVideo",
    "Operation",
    "Options",
    "OtherContent",
    "PackageCharges",
    "PauseEvent",
    "PngMask",
    "Point",
    "Policy",
    "PolicyRejected",
    "PresetElements",
    "PresetVoices",
    "Presets",
    "PreviewFiles",
    "PreviewSelection",
    "Prompt",
    "QueryEvent",
    "RecognizeImage",
    "Recovery",
    "ReferImage",
    "ReferenceImage",
    "ReferenceVideo",
    "RequestEvent",
    "RequestRejected",
    "RequestWarning",
    "ResourcePack",
    "Result",
    "RleMask",
    "Saved",
    "SchedulerCrashed",
    "Selection",
    "SelectionCleared",
    "SelectionMasks",
    "SelectionPoint",
    "SelectionPreview",
    "SelectionSession",
    "ServerFault",
    "ServiceError",
    "SessionClosed",
    "SessionError",
    "Settings",
    "Shot",
    "Sink",
    "SlotsFull",
    "Snapshot",
    "Solution",
    "SolutionOptions",
    "Stats",
    "Status",
    "Stored",
    "SubjectCompletion",
    "SubjectImage",
    "SubmissionUnknown",
    "SweepEvent",
    "Task",
    "TaskFailed",
    "TaskStatus",
    "TaskVanished",
    "TextToAudio",
    "TextToSpeech",
    "TextToVideo",
    "Throttled",
    "TransportError",
    "VideoEffects",
    "VideoExtend",
    "VideoToAudio",
    "VirtualTryOn",
    "Voice",
    "VoiceRef",
    "WatermarkInfo",
    "Webhook",
    "__version__",
    "estimate",
    "find_host",
    "new_api",
    "official",
]

# Module → its public names. Each is imported when it is first asked for, and stays: most programs use one kind of clip
# and a few errors, and building all the request classes takes longer than the rest.
# An import within a running loop holds it up for milliseconds, in which no job is sent and no answer read. So `session`
# imports by itself all that sending, following, looking and saving need, and a request has brought its module along
# before it can be submitted. What is left is asked for at a moment of the caller's own: the endpoint of a job that is
# adopted or attached, and what only `account`, `charges`, `select`, `recover` and `call` of a new kind need.
_NAMES: dict[str, str] = {
    "dialects": "Host find_host new_api official",
    "download": "Saved",
    "endpoints": "ENDPOINTS Advice Call Endpoint Task",
    "endpoints.account": (
        "AccountCosts AccountUsage BalanceCharges Charge ChargeFilter ChargesPage ChargesResult PackageCharges "
        "ResourcePack"
    ),
    "endpoints.answers": (
        "BalanceDeduction Deletion Face FaceIdentification FrameMasks ImageRecognition ObjectMask PngMask Presets "
        "PreviewFiles RleMask SelectionCleared SelectionMasks SelectionPreview SelectionSession"
    ),
    "endpoints.clips": "ClipImage EffectInput MotionControl MultiImageToVideo VideoEffects VideoExtend",
    "endpoints.contents": (
        "BaseVideo Element FeatureVideo FirstFrame LastFrame MiddleFrame MotionImage MotionVideo Options OtherContent "
        "Prompt ReferImage Settings Voice"
    ),
    "endpoints.images": (
        "ImageExpand ImageGeneration MultiImageToImage OmniImage OmniPicture SubjectCompletion SubjectImage "
        "VirtualTryOn"
    ),
    "endpoints.library": (
        "CustomElement CustomVoice DeleteElement DeleteVoice ElementPicture ElementPictures ElementTag ElementVideo "
        "ElementVideos PresetElements PresetVoices"
    ),
    "endpoints.lips": "AdvancedLipSync Avatar FaceChoose IdentifyFace LipSync LipSyncInput",
    "endpoints.operation": "Operation",
    "endpoints.parts": (
        "CameraConfig CameraControl DynamicMask ElementRef Point ReferenceImage ReferenceVideo Shot VoiceRef "
        "WatermarkInfo"
    ),
    "endpoints.scenes": (
        "AddSelection ClearSelection DeleteSelection InitSelection MultiElements PreviewSelection RecognizeImage "
        "SelectionPoint"
    ),
    "endpoints.solutions": "Solution SolutionOptions",
    "endpoints.sound": "TextToAudio TextToSpeech VideoToAudio",
    "endpoints.video": "ImageToVideo OmniVideo TextToVideo",
    "errors": (
        "AccountError AnswerTimeout AuthError BadEnvelope CallbackRejected ConfigError ConnectFailed ConnectionLost "
        "DeadlineExceeded DownloadError ForkError IdempotencyMismatch InvalidRequest JobAbandoned JobError "
        "JournalCorrupt JournalError JournalLocked KlingError LeaseLost NoOutputs PolicyRejected RequestRejected "
        "RequestWarning SchedulerCrashed ServerFault ServiceError SessionClosed SessionError SlotsFull "
        "SubmissionUnknown TaskFailed TaskVanished Throttled TransportError"
    ),
    "events": "Events JobEvent Missed PauseEvent QueryEvent RequestEvent SweepEvent",
    "job": "Job",
    "journal": "Journal MemoryJournal MemoryStore",
    "models": "Asset Billing CallbackStats Observation Policy Result Stats Status TaskStatus",
    "prices": "Estimate estimate",
    "recovery": "Finding Found Recovery",
    "selection": "Selection",
    "session": "KlingSession",
    "sinks": "FolderSink ObjectStoreSink Sink Stored",
    "snapshots": "History Snapshot",
    "webhook": "Callback Webhook",
}
_HOME_OF = {name: home for home, names in _NAMES.items() for name in names.split()}

if not typing.TYPE_CHECKING:  # for a type checker it would make every name a good one

    def __getattr__(name: str) -> object:
        if name in _NAMES:  # a module, as `kling_async.errors`
            return importlib.import_module(f".{name}", __name__)
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
