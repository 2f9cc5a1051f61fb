"""selection.py: what is remembered of a selection, with a caller that answers from a table."""

from typing import Any

import pytest

from kling_async import (
    AddSelection,
    AnswerTimeout,
    ClearSelection,
    ClipImage,
    ConfigError,
    DeleteSelection,
    InitSelection,
    InvalidRequest,
    KlingError,
    MultiElements,
    PreviewSelection,
    Selection,
    SelectionCleared,
    SelectionMasks,
    SelectionPoint,
    SelectionPreview,
    SelectionSession,
)

ANSWERS: dict[type[Any], Any] = {
    InitSelection: SelectionSession(session_id="s1", width=1280, height=720),
    AddSelection: SelectionMasks(session_id="s1"),
    DeleteSelection: SelectionMasks(session_id="s1"),
    ClearSelection: SelectionCleared(session_id="s1"),
    PreviewSelection: SelectionPreview(session_id="s1"),
}
A, B, C = SelectionPoint(x=0.1, y=0.2), SelectionPoint(x=0.3, y=0.4), SelectionPoint(x=0.5, y=0.6)


class Caller:
    """Takes down every request, and answers it, or fails as it is told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.fails: KlingError | None = None
        self.submitted: list[tuple[Any, dict[str, Any]]] = []

    async def call(self, request: Any) -> Any:
        self.asked.append(request)
        if self.fails is not None:
            raise self.fails
        return ANSWERS[type(request)]

    async def submit(self, request: Any, **how: Any) -> Any:
        self.submitted.append((request, how))
        return "the job"


async def opened() -> tuple[Caller, Selection]:
    caller = Caller()
    return caller, await Selection.open(caller, video_id="v1")


async def test_a_selection_is_opened_with_one_request() -> None:
    caller, selection = await opened()
    assert caller.asked == [InitSelection(video_id="v1")]
    assert (selection.session_id, selection.opened.width, selection.points) == ("s1", 1280, {})
    assert repr(selection) == "<Selection s1 [0 points in 0 frames]>"
    for wrong in ({}, {"video_id": "v1", "video_url": "https://x.test/a.mp4"}):
        with pytest.raises(InvalidRequest):
            await Selection.open(caller, **wrong)


async def test_points_are_remembered_frame_by_frame_in_order() -> None:
    """Given as pairs, mappings or objects, and also as a generator, which can be read but once."""
    caller, selection = await opened()
    await selection.add(0, [(0.1, 0.2)])
    await selection.add(7, ({"x": 0.3, "y": 0.4} for _ in range(1)))
    assert await selection.add(0, [B, C]) is ANSWERS[AddSelection]
    assert selection.points == {0: (A, B, C), 7: (B,)}
    assert repr(selection) == "<Selection s1 [4 points in 2 frames]>"
    assert caller.asked[-1] == AddSelection(session_id="s1", frame_index=0, points=[B, C])


async def test_only_what_was_added_is_taken_back_and_then_forgotten() -> None:
    """Some of a frame, all of it, or what another program added, of which nothing is known here."""
    caller, selection = await opened()
    await selection.add(0, [A, B, C])
    assert await selection.remove(0, [(0.3, 0.4)]) is ANSWERS[DeleteSelection]
    assert selection.points == {0: (A, C)}
    await selection.remove(0)
    assert caller.asked[-1] == DeleteSelection(session_id="s1", frame_index=0, points=[A, C])
    assert selection.points == {}
    before = len(caller.asked)
    with pytest.raises(ConfigError, match="frame 0 has no points"):
        await selection.remove(0)
    assert len(caller.asked) == before
    await selection.remove(3, [A])
    assert caller.asked[-1] == DeleteSelection(session_id="s1", frame_index=3, points=[A])
    assert selection.points == {}


async def test_clear_forgets_everything_and_preview_nothing() -> None:
    caller, selection = await opened()
    await selection.add(0, [A])
    assert await selection.preview() is ANSWERS[PreviewSelection]
    assert selection.points == {0: (A,)}
    assert await selection.clear() is ANSWERS[ClearSelection]
    assert selection.points == {}
    assert [type(request) for request in caller.asked[2:]] == [PreviewSelection, ClearSelection]


async def test_what_failed_changes_nothing_here() -> None:
    """An answer that did not come leaves the memory as it was: what is in it can be tried again."""
    caller, selection = await opened()
    await selection.add(0, [A, B])
    caller.fails = AnswerTimeout("none")
    for step in (
        selection.add(0, [C]),
        selection.add(1, [C]),
        selection.remove(0, [A]),
        selection.remove(0),
        selection.clear(),
    ):
        with pytest.raises(AnswerTimeout):
            await step
    assert selection.points == {0: (A, B)}


@pytest.mark.parametrize("points", [[], [(0.5, 1.5)], [(0.5,)], "ab", [(0.5, 0.5)] * 11, None])
async def test_points_that_cannot_be_right_are_not_sent(points: Any) -> None:
    caller, selection = await opened()
    with pytest.raises(InvalidRequest):
        await selection.add(0, points)
    assert len(caller.asked) == 1
    assert selection.points == {}


async def test_the_edit_is_a_request_with_this_session_in_it() -> None:
    """As object or queued at once; the session's id cannot be another one, and a misspelt field is refused."""
    caller, selection = await opened()
    fields: dict[str, Any] = {
        "edit_mode": "swap",
        "prompt": "<<<video_1>>>, <<<image_1>>>",
        "image_list": [{"image": "https://pictures.example/a.png"}],
    }
    request = selection.request(**fields, session_id="another")
    assert type(request) is MultiElements
    assert request.session_id == "s1"
    assert request.image_list == (ClipImage(image="https://pictures.example/a.png"),)
    how: dict[str, Any] = {
        "job_id": "edit-1",
        "timeout": 60.0,
        "callback_url": "https://me.example/news",
        "metadata": {"order": 7},
    }
    job: Any = await selection.submit(**fields, **how)
    assert job == "the job"
    assert caller.submitted == [(request, how)]
    await selection.submit(**fields)
    assert caller.submitted[1:] == [(request, dict.fromkeys(how))]
    with pytest.raises(InvalidRequest, match="did you mean"):
        await selection.submit(**fields, durations="5")
    with pytest.raises(InvalidRequest, match="edit_mode"):
        selection.request(prompt="a")
    assert len(caller.submitted) == 2
