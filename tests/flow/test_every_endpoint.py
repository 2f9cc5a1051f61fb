"""Every endpoint of the registry, from the request to its result, on three families of hosts."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from flow_tools import client, service

from kling_async import (
    ENDPOINTS,
    AddSelection,
    CustomVoice,
    Endpoint,
    IdentifyFace,
    InitSelection,
    InvalidRequest,
    KlingSession,
    RequestWarning,
    Status,
    TextToVideo,
)
from kling_async.endpoints import request_from

SAMPLES = Path(__file__).parents[1] / "samples"
VIDEO = "https://videos.example/in.mp4"
PICTURE = "https://pictures.example/cat.png"
DIALECTS = ("official", "cometapi", "new-api", "mixed")
# What the service reference says that only the official hosts have, or that this host's source has no route for.
MISSING = {
    "official": set(),
    "cometapi": {"solutions", "account"},
    "new-api": {"solutions", "account", "new"},
    "mixed": {"solutions", "account"},
}
# The reference tells of no route of this host for the new standard, nor that it lacks them: it is tried, with advice.
NOT_SERVED = {"cometapi": {"new"}}


def plain_of(row: Endpoint) -> dict[str, Any]:
    sample = json.loads((SAMPLES / row.name.replace("/", "--") / "minimal.json").read_text(encoding="utf-8"))
    plain: dict[str, Any] = sample["request"]
    return plain


async def prepared(kling: KlingSession, row: Endpoint) -> dict[str, Any]:
    """The sample's request, with ids of things that are really there."""
    plain = plain_of(row)
    if row.name == "advanced-lip-sync":
        faces = await kling.call(IdentifyFace(video_url=VIDEO))
        plain["session_id"] = faces.session_id
        plain["face_choose"] = [{**plain["face_choose"][0], "face_id": faces.face_data[0].face_id}]
    elif row.name in {"multi-elements", *(f"{step}-selection" for step in ("add", "delete", "clear", "preview"))}:
        opened = await kling.call(InitSelection(video_url=VIDEO))
        plain["session_id"] = opened.session_id
        if row.name != "add-selection":
            added = {"frame_index": plain.get("frame_index", 0), "points": plain.get("points", [(0.5, 0.5)])}
            await kling.call(AddSelection(session_id=opened.session_id, **added))
    elif row.name == "delete-voices":
        plain["voice_id"] = (await kling.generate(CustomVoice(voice_name="Ann", voice_url=VIDEO))).assets[0].id
    elif row.name == "delete-elements":
        made = await kling.generate(request_from(ROWS["custom-elements"], plain_of(ROWS["custom-elements"])))
        plain["element_id"] = made.assets[0].id
    elif row.name == "omni-video":
        plain["aspect_ratio"] = "16:9"
    elif row.name == "image2video":
        plain["prompt"] = "it moves"
    place = plain.get("input", plain)
    if "video_id" in place:
        made = await kling.generate(TextToVideo(prompt="first", model_name="kling-v1-6"))
        place["video_id"] = made.assets[0].id
    return plain


ROWS = {row.name: row for row in ENDPOINTS}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)
async def test_every_endpoint_from_request_to_result(row: Endpoint, dialect: str) -> None:
    """The same program, with another host in one argument, gets its result; what a host lacks is refused before."""
    async with service(dialect, duration_s=(20, 90)) as emulator, client(emulator) as kling:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RequestWarning)
            if row.standard in MISSING[dialect]:
                with pytest.raises(InvalidRequest, match="does not have"):
                    await do(kling, row, plain_of(row))
                assert emulator.requests == []
                return
            if row.standard in NOT_SERVED.get(dialect, ()):
                with pytest.warns(RequestWarning, match="no page of"):
                    await kling.submit(request_from(row, plain_of(row)))
                return
            plain = await prepared(kling, row)
            before = len(emulator.tasks)
            answer = await do(kling, row, plain)
        if row.kind == "call":
            assert type(answer) is row.answer
            assert len(emulator.tasks) == before, "a call makes no task"
            return
        assert len(emulator.tasks) == before + 1
        assert emulator.tasks[-1].endpoint == row.name
        assert answer.endpoint == row.name
        assert row.yields in {asset.kind for asset in answer.assets}
        assert kling.stats.jobs[Status.SUCCEEDED] >= 1


async def do(kling: KlingSession, row: Endpoint, plain: dict[str, Any]) -> Any:
    request = request_from(row, plain)
    return await (kling.call(request) if row.kind == "call" else kling.generate(request))
