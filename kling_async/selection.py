"""A video whose parts are being selected, for an edit of it: one object for all steps.

Stage: front. Before: the user. After: session, which sends each step. The steps are requests of their own too
(`InitSelection`, `AddSelection`, ...); this one remembers the session they belong to, and the points that were added,
because only those can be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from .endpoints import Call, Task, from_mapping
from .endpoints.answers import SelectionCleared, SelectionMasks, SelectionPreview, SelectionSession
from .endpoints.scenes import (
    AddSelection,
    ClearSelection,
    DeleteSelection,
    InitSelection,
    MultiElements,
    Points,
    PreviewSelection,
    SelectionPoint,
)
from .errors import ConfigError
from .job import Job

_R = TypeVar("_R")


class Caller(Protocol):
    """Who sends the steps: a KlingSession."""

    async def call(self, request: Call[_R]) -> _R:
        """Send one step."""
        ...

    async def submit(
        self,
        request: Task,
        *,
        job_id: str | None = None,
        timeout: float | None = None,
        callback_url: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Job:
        """Queue the edit itself."""
        ...


class Selection:
    """A video opened for an edit, and what is selected in it. Valid for 24 hours.

    Attributes:
        opened: what the service told of the video: `session_id`, width, height, fps, total_frame, ...
        points: frame index → the points added to it and not taken back, in order.
    """

    def __init__(self, caller: Caller, opened: SelectionSession) -> None:
        self.opened = opened
        self.points: dict[int, tuple[SelectionPoint, ...]] = {}
        self._caller = caller

    def __repr__(self) -> str:
        count = sum(map(len, self.points.values()))
        return f"<Selection {self.session_id} [{count} points in {len(self.points)} frames]>"

    @classmethod
    async def open(cls, caller: Caller, *, video_id: str | None = None, video_url: str | None = None) -> Selection:
        """Open a video; see `KlingSession.select`."""
        return cls(caller, await caller.call(InitSelection(video_id=video_id, video_url=video_url)))

    @property
    def session_id(self) -> str:
        """The service's id of it."""
        return self.opened.session_id

    async def add(self, frame_index: int, points: Points) -> SelectionMasks:
        """Select what is at some points of one frame, and give the areas that are selected there now.

        Args:
            frame_index: which frame, counted from 0; at most 10 frames can have points.
            points: pairs of x and y from 0 to 1; at most 10 in a frame.

        Raises:
            InvalidRequest: points that cannot be right; nothing was sent.
            ServiceError: refused: too many, out of the video, or the session has expired.
            TransportError: no usable answer; it is not known whether they were added.
        """
        request = AddSelection(session_id=self.session_id, frame_index=frame_index, points=points)
        answer = await self._caller.call(request)
        self.points[frame_index] = self.points.get(frame_index, ()) + (request.points or ())
        return answer

    async def remove(self, frame_index: int, points: Points | None = None) -> SelectionMasks:
        """Take points of one frame back.

        Args:
            frame_index: which frame.
            points: each as it was added; all of that frame if left out.

        Raises:
            ConfigError: no points were added to that frame here.
            ServiceError: refused.
            TransportError: no usable answer; it is not known whether they were taken back.
        """
        added = self.points.get(frame_index, ())
        if points is None and not added:
            raise ConfigError(f"frame {frame_index} has no points to be taken back")
        gone = added if points is None else points
        request = DeleteSelection(session_id=self.session_id, frame_index=frame_index, points=gone)
        answer = await self._caller.call(request)
        left = tuple(point for point in added if point not in (request.points or ()))
        if left:
            self.points[frame_index] = left
        else:
            self.points.pop(frame_index, None)
        return answer

    async def clear(self) -> SelectionCleared:
        """Take all points of all frames back.

        Raises:
            ServiceError: refused.
            TransportError: no usable answer; it is not known whether they were taken back.
        """
        answer = await self._caller.call(ClearSelection(session_id=self.session_id))
        self.points.clear()
        return answer

    async def preview(self) -> SelectionPreview:
        """See the selection followed through the whole video.

        Raises:
            ServiceError: refused.
            TransportError: no usable answer.
        """
        return await self._caller.call(PreviewSelection(session_id=self.session_id))

    def request(self, **fields: object) -> MultiElements:
        """Make the request of the edit: `MultiElements` with this session in it.

        Args:
            fields: of MultiElements: edit_mode, prompt, image_list, ...

        Raises:
            InvalidRequest: as MultiElements does.
        """
        return from_mapping(MultiElements, {**fields, "session_id": self.session_id})

    async def submit(
        self,
        *,
        job_id: str | None = None,
        timeout: float | None = None,
        callback_url: str | None = None,
        metadata: Mapping[str, object] | None = None,
        **fields: object,
    ) -> Job:
        """Queue the edit, as `KlingSession.submit` does.

        Args:
            job_id: names the job.
            timeout: seconds from now until the job ends with DeadlineExceeded.
            callback_url: where the service reports changes.
            metadata: kept on the job, never sent.
            fields: of MultiElements: edit_mode, prompt, image_list, ...

        Raises:
            InvalidRequest: the request is wrong; nothing was recorded or sent.
            SessionError: the session is closed, or has crashed.
        """
        return await self._caller.submit(
            self.request(**fields), job_id=job_id, timeout=timeout, callback_url=callback_url, metadata=metadata
        )
