"""What calls answer: one small class for each kind of answer.

Stage: registry and wire. After: models. A call makes no task; `await session.call(request)` gives one of these.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ..models import Asset


@attrs.frozen(kw_only=True)
class BalanceDeduction:
    """What was paid in money rather than in units.

    Attributes:
        quota: the price paid.
        list_price: the price before any discount.
    """

    quota: str | None = None
    list_price: str | None = None


@attrs.frozen(kw_only=True)
class Face:
    """One face of a video. Source: service reference, "Face Identification".

    Attributes:
        face_id: what `FaceChoose` names it by.
        face_image: URL of a picture of it.
        start_time: from when it can be seen, milliseconds from the video's start.
        end_time: until when.
    """

    face_id: str
    face_image: str | None = None
    start_time: int | None = None
    end_time: int | None = None


@attrs.frozen(kw_only=True)
class FaceIdentification:
    """The faces of a video, for `AdvancedLipSync`. Source: service reference, "Face Identification".

    Attributes:
        session_id: what `AdvancedLipSync` names the video by; valid for 24 hours.
        face_data: the faces; none where the video shows none.
        final_unit_deduction: units paid.
        final_balance_deduction: money paid.
        raw: the answer as received.
    """

    session_id: str
    face_data: tuple[Face, ...] = ()
    final_unit_deduction: str | None = None
    final_balance_deduction: BalanceDeduction | None = None
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class ImageRecognition:
    """What was recognised in a picture. No source describes its form, so it is given as it came.

    Attributes:
        raw: the answer as received.
    """

    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class SelectionSession:
    """A video, opened for `MultiElements`. Source: service reference, "Multi-Elements", first step.

    Attributes:
        status: 0; any other number is a refusal, and raised as one.
        session_id: what every further step names the video by; valid for 24 hours.
        fps: frames per second.
        original_duration: length of the video. The reference gives no unit; its example is 1000.
        width: pixels.
        height: pixels.
        total_frame: number of frames; `frame_index` counts them.
        normalized_video: URL of the video as the service will edit it.
        final_unit_deduction: units paid.
        final_balance_deduction: money paid.
        raw: the answer as received.
    """

    status: int = 0
    session_id: str
    fps: float | None = None
    original_duration: float | None = None
    width: int | None = None
    height: int | None = None
    total_frame: int | None = None
    normalized_video: str | None = None
    final_unit_deduction: str | None = None
    final_balance_deduction: BalanceDeduction | None = None
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class RleMask:
    """An area as run lengths.

    Attributes:
        size: height and width in pixels, as the reference's own code reads them.
        counts: the runs, compressed; that code shows how they are read.
    """

    size: tuple[int, ...] = ()
    counts: str | None = None


@attrs.frozen(kw_only=True)
class PngMask:
    """An area as a picture.

    Attributes:
        size: the picture's sides, pixels.
        base64: the PNG.
    """

    size: tuple[int, ...] = ()
    base64: str | None = None


@attrs.frozen(kw_only=True)
class ObjectMask:
    """One selected thing, in one frame.

    Attributes:
        object_id: its number in the selection.
        rle_mask: where it is, as run lengths.
        png_mask: where it is, as a picture.
    """

    object_id: int | None = None
    rle_mask: RleMask | None = None
    png_mask: PngMask | None = None


@attrs.frozen(kw_only=True)
class FrameMasks:
    """All that is selected in one frame.

    Attributes:
        frame_index: which frame.
        rle_mask_list: the selected things.
    """

    frame_index: int | None = None
    rle_mask_list: tuple[ObjectMask, ...] = ()


@attrs.frozen(kw_only=True)
class SelectionMasks:
    """What is selected after points were added or taken away. Source: service reference, "Multi-Elements".

    Attributes:
        status: 0; any other number is a refusal, and raised as one.
        session_id: the session asked about.
        res: the frame's areas.
        final_unit_deduction: units paid.
        final_balance_deduction: money paid.
        raw: the answer as received.
    """

    status: int = 0
    session_id: str | None = None
    res: FrameMasks | None = None
    final_unit_deduction: str | None = None
    final_balance_deduction: BalanceDeduction | None = None
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class SelectionCleared:
    """A session with nothing selected. Source: service reference, "Multi-Elements".

    Attributes:
        status: 0; any other number is a refusal, and raised as one.
        session_id: the session asked about.
        final_unit_deduction: units paid.
        final_balance_deduction: money paid.
        raw: the answer as received.
    """

    status: int = 0
    session_id: str | None = None
    final_unit_deduction: str | None = None
    final_balance_deduction: BalanceDeduction | None = None
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class PreviewFiles:
    """Where a preview lies.

    Attributes:
        video: URL of the video with its selection painted over.
        video_cover: URL of that video's cover.
        tracking_output: URL of the areas, frame by frame.
    """

    video: str | None = None
    video_cover: str | None = None
    tracking_output: str | None = None


@attrs.frozen(kw_only=True)
class SelectionPreview:
    """The selection, followed through the whole video. Source: service reference, "Multi-Elements".

    Attributes:
        status: 0; any other number is a refusal, and raised as one.
        session_id: the session asked about.
        res: the files.
        final_unit_deduction: units paid.
        final_balance_deduction: money paid.
        raw: the answer as received.
    """

    status: int = 0
    session_id: str | None = None
    res: PreviewFiles | None = None
    final_unit_deduction: str | None = None
    final_balance_deduction: BalanceDeduction | None = None
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Deletion:
    """What was said about a voice or an element that was to be deleted.

    Attributes:
        task_id: the service's id of the deletion, if it gave one.
        task_status: its word for how far that is, as received.
        raw: the answer as received.
    """

    task_id: str | None = None
    task_status: str = ""
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Presets:
    """Voices or elements that the service offers to everybody.

    Attributes:
        assets: one each, in the service's order.
        raw: the answer as received.
    """

    assets: tuple[Asset, ...] = ()
    raw: Mapping[str, object] = attrs.field(factory=dict, repr=False, eq=False)
