"""What a session is asked that makes no job, and how it asks about jobs: calls, selections, lists, the account."""

import asyncio
import json
import struct
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from flow_tools import EPOCH, assert_paid_once, client, clip, kinds, service
from test_cases import pictures, turbo
from test_trouble import assert_all_done, running_most

from kling_async import (
    ENDPOINTS,
    AccountError,
    AddSelection,
    BadEnvelope,
    ClearSelection,
    ConfigError,
    DeadlineExceeded,
    DeleteSelection,
    Endpoint,
    IdentifyFace,
    InitSelection,
    InvalidRequest,
    Job,
    JobAbandoned,
    KlingError,
    KlingSession,
    Observation,
    Operation,
    Policy,
    PreviewSelection,
    RecognizeImage,
    RequestWarning,
    ServerFault,
    ServiceError,
    SessionError,
    SlotsFull,
    Solution,
    Status,
    SubmissionUnknown,
    TaskStatus,
    TextToSpeech,
    TextToVideo,
    TransportError,
    find_host,
)
from kling_async.emulator import Emulator, Fault
from kling_async.endpoints import request_from

FILM = "https://films.example/a.mp4?seconds=5"
START = datetime.fromtimestamp(EPOCH, UTC)
DAY = timedelta(days=1)
SAMPLES = Path(__file__).parents[1] / "samples"
CALLS = [row for row in ENDPOINTS if row.kind == "call"]
FREE = {row.name for row in CALLS if row.is_free}
SPEECH = TextToSpeech(text="good morning", voice_id="genshin_vindi2", voice_language="en")


def enveloped(data: object) -> bytes:
    return json.dumps({"code": 0, "message": "SUCCEED", "request_id": "r1", "data": data}).encode()


def sample_of(row: Endpoint) -> Any:
    """A request of a row, as its sample has it."""
    text = (SAMPLES / row.name.replace("/", "--") / "minimal.json").read_text(encoding="utf-8")
    return request_from(row, json.loads(text)["request"])


def goods(text: str = "a shoe") -> Solution:
    """A small request of a solution that no page describes, so that nothing is advised about it."""
    contents = [{"type": "image", "url": "https://x.test/a.png"}, {"type": "prompt", "text": text}]
    return Solution(area="video", name="fast_cut", contents=contents)


async def all_of(observations: Any) -> list[Observation]:
    return [observation async for observation in observations]


def asked(emulator: Emulator, kind: str, path: str = "") -> list[str]:
    """The queries of one kind, path and parameters as received."""
    found = [request for request in emulator.requests if request.kind == kind and request.path.startswith(path)]
    return [f"{request.path}?{request.query}" if request.query else request.path for request in found]


# --- calls -----------------------------------------------------------------------------------------------------------


def test_only_what_costs_nothing_is_free() -> None:
    """Source: service reference, "Price": faces and recognition are charged; of selections nothing is said."""
    assert {
        "presets-voices",
        "presets-elements",
        "delete-voices",
        "delete-elements",
        "account/costs",
        "account/billing/balance",
        "account/billing/package",
    } == FREE


LOST: dict[str, dict[str, Any]] = {
    "reset": {"action": "reset"},
    "closed": {"action": "close"},
    "cut off": {"action": "truncate"},
    "a page": {"action": "html", "status": 502},
    "silence": {"action": "hang"},
    "5002": {"action": "status", "status": 504, "code": 5002},
    "5000": {"action": "status", "status": 500, "code": 5000},
}


@pytest.mark.parametrize("loss", LOST)
@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
async def test_a_call_whose_answer_is_lost_may_have_been_charged_and_is_never_sent_twice(
    row: Endpoint, loss: str
) -> None:
    """`paid` says "maybe" of what is charged and "no" of what is free, whatever the loss was."""
    fault = Fault(stage="after", kind="call", **LOST[loss])
    async with service(faults=[fault], takes_foreign_ids=True) as emulator, client(emulator) as kling:
        with pytest.raises((TransportError, ServerFault)) as caught:
            await kling.call(sample_of(row))
        assert caught.value.paid == ("no" if row.name in FREE else "maybe")
        # aiohttp itself asks a GET once more on a connection that ends; those are the free ones.
        assert kinds(emulator)["call"] == 1 or (row.method == "GET" and row.name in FREE)


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
async def test_a_call_that_is_refused_has_cost_nothing(row: Endpoint) -> None:
    """Also one that is throttled: nobody waits in its place, since nobody asked for that."""
    for code, status in ((1201, 400), (1302, 429), (1102, 429), (1000, 401)):
        fault = Fault(action="status", kind="call", status=status, code=code)
        async with service(faults=[fault]) as emulator, client(emulator) as kling:
            with pytest.raises(ServiceError) as caught:
                await kling.call(sample_of(row))
            assert (caught.value.code, caught.value.paid) == (code, "no")
            assert kinds(emulator) == {"call": 1}


async def test_a_call_that_never_left_has_cost_nothing() -> None:
    async with service() as emulator, client(emulator) as kling:
        kling._transport._submits = None  # as when somebody closed a borrowed session
        with pytest.raises(TransportError) as caught:
            await kling.call(IdentifyFace(video_url=FILM))
        assert caught.value.paid == "no"
        assert emulator.requests == []


async def test_an_answer_that_cannot_be_read_was_charged() -> None:
    """The faces were looked for and answered, and the answer is of no use: the money is gone."""
    odd = Fault(action="body", kind="call", body=enveloped({"session_id": ["s"]}))
    async with service(faults=[odd]) as emulator, client(emulator) as kling:
        with pytest.raises(BadEnvelope) as caught:
            await kling.call(IdentifyFace(video_url=FILM))
        assert caught.value.paid == "yes"
        assert kinds(emulator) == {"call": 1}


async def test_a_task_is_not_called_and_a_call_is_not_submitted() -> None:
    """Each says what to do instead, before anything is sent."""
    async with service() as emulator, client(emulator) as kling:
        tasks: list[Any] = [clip(), turbo(), goods(), SPEECH]
        for request in tasks:
            with pytest.raises(ConfigError, match="makes a task: await session"):
                await kling.call(request)
        for row in CALLS:
            request = sample_of(row)
            for refused in (kling.submit(request), kling.generate(request)):
                with pytest.raises(ConfigError, match=r"makes no task.*await session\.call"):
                    await refused
        for wrong in (IdentifyFace, "identify-face", {"video_url": FILM}, None):
            with pytest.raises(ConfigError):
                await kling.call(wrong)  # type: ignore[arg-type]
        assert emulator.requests == []
    with pytest.raises(SessionError):
        await kling.call(IdentifyFace(video_url=FILM))


def png(side: int = 320) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x7f" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


async def test_a_local_file_goes_with_a_call(tmp_path: Path) -> None:
    """As with tasks: read and encoded when it is sent; one that is missing or none is told before."""
    (tmp_path / "cat.png").write_bytes(png())
    (tmp_path / "note.png").write_bytes(b"no picture")
    async with service() as emulator, client(emulator) as kling:
        answer = await kling.call(RecognizeImage(image=tmp_path / "cat.png"))
        assert "task_result" in answer.raw
        assert kinds(emulator) == {"call": 1}
        for name in ("note.png", "missing.png"):
            with pytest.raises(InvalidRequest) as caught:
                await kling.call(RecognizeImage(image=tmp_path / name))
            assert caught.value.paid == "no"
        assert kinds(emulator) == {"call": 1}


async def test_advice_about_a_call_is_shown_where_it_was_written() -> None:
    """A warning, or a refusal with strict=True; and a host that lacks a part refuses before."""
    seconds = {"start_time": 1_700_000_000, "end_time": 1_700_000_100}
    (costs,) = (row for row in CALLS if row.name == "account/costs")
    request = request_from(costs, seconds)
    async with service() as emulator, client(emulator) as kling:
        with pytest.warns(RequestWarning, match="looks like seconds") as shown:
            await kling.call(request)
        assert {Path(warning.filename).name for warning in shown} == {Path(__file__).name}
        async with client(emulator, strict=True) as strict:
            with pytest.raises(InvalidRequest, match="looks like seconds"):
                await strict.call(request)
        assert kinds(emulator) == {"call": 1}


# --- selections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["official", "cometapi", "new-api"])
async def test_a_selection_from_the_video_to_the_edit(dialect: str) -> None:
    """Opened, pointed at, corrected, looked at, and edited: one object, and one paid task at the end."""
    async with service(dialect, duration_s=20.0) as emulator, client(emulator) as kling:
        selection = await kling.select(video_url=FILM)
        assert (selection.opened.status, selection.opened.total_frame) == (0, 120)
        masks = await selection.add(0, [(0.5, 0.5), (0.25, 0.75)])
        assert masks.res is not None
        assert len(masks.res.rle_mask_list) == 1
        await selection.add(30, [(0.1, 0.1)])
        assert (await selection.remove(0, [(0.25, 0.75)])).status == 0
        emptied = await selection.remove(30)
        assert emptied.res is not None
        assert emptied.res.rle_mask_list == ()
        assert list(selection.points) == [0]
        preview = await selection.preview()
        assert preview.res is not None
        assert preview.res.video is not None
        await selection.clear()
        assert selection.points == {}
        await selection.add(60, [(0.5, 0.5)])
        job = await selection.submit(edit_mode="removal", prompt="take <<<video_1>>> away", job_id="edit-1")
        result = await job
        assert (job.id, job.endpoint, len(result.assets)) == ("edit-1", "multi-elements", 1)
        assert_paid_once(emulator, 1)
        assert kinds(emulator)["call"] == 8


async def test_a_video_that_was_made_here_is_selected_by_its_id() -> None:
    async with service(duration_s=20.0) as emulator, client(emulator) as kling:
        made = await kling.generate(clip(model_name="kling-v1-6"))
        selection = await kling.select(video_id=made.assets[0].id)
        assert selection.session_id
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("inner", [True, False], ids=["inside a success", "as a refusal"])
async def test_a_selection_expires(inner: bool) -> None:
    """After 24 hours every step is refused, nothing is paid, and what is remembered stays."""
    async with service(inner_refusals=inner, session_ttl_s=86_400.0) as emulator, client(emulator) as kling:
        selection = await kling.select(video_url=FILM)
        await selection.add(0, [(0.5, 0.5)])
        await asyncio.sleep(86_401)
        steps = (
            selection.add(1, [(0.5, 0.5)]),
            selection.remove(0),
            selection.clear(),
            selection.preview(),
        )
        for step in steps:
            with pytest.raises(ServiceError) as caught:
                await step
            assert (caught.value.paid, caught.value.retryable) == ("no", False)
        assert list(selection.points) == [0]
        job = await selection.submit(edit_mode="removal", prompt="take it away")
        with pytest.raises(ServiceError):
            await job
        assert (job.status, emulator.tasks) == (Status.REJECTED, [])


async def test_what_cannot_be_selected_is_refused() -> None:
    """Points that were never added, too many frames, and a video that is none of the two lengths."""
    async with service() as emulator, client(emulator) as kling:
        selection = await kling.select(video_url=FILM)
        with pytest.raises(ServiceError):
            await selection.remove(0, [(0.5, 0.5)])
        for frame in range(10):
            await selection.add(frame, [(0.5, 0.5)])
        with pytest.raises(ServiceError):
            await selection.add(10, [(0.5, 0.5)])
        assert len(selection.points) == 10
        with pytest.raises(ServiceError):
            await kling.select(video_url="https://films.example/a.mp4?seconds=6")
        with pytest.raises(InvalidRequest):
            await kling.select()


async def test_the_steps_are_requests_of_their_own_too() -> None:
    async with service() as emulator, client(emulator) as kling:
        opened = await kling.call(InitSelection(video_url=FILM))
        session: Any = {"session_id": opened.session_id}
        await kling.call(AddSelection(**session, frame_index=0, points=[(0.5, 0.5)]))
        await kling.call(PreviewSelection(**session))
        await kling.call(DeleteSelection(**session, frame_index=0, points=[(0.5, 0.5)]))
        await kling.call(ClearSelection(**session))
        assert kinds(emulator) == {"call": 5}


# --- lists -----------------------------------------------------------------------------------------------------------


async def test_the_new_standard_has_one_list_for_every_operation() -> None:
    """Asked for by class or by any endpoint's name; cursors are followed to the end, and every task is told once."""
    async with service(duration_s=30.0) as emulator, client(emulator) as kling:
        jobs = [job async for job in kling.map(turbo(f"scene {index}") for index in range(25))]
        assert_all_done(jobs)
        wanted = {job.task_id for job in jobs}
        for endpoint in (Operation, "text-to-video/kling-3.0", "omni-video/kling-o1", "image-to-video/kling-9.9"):
            listed = await all_of(kling.tasks(endpoint, page_size=10))
            assert len(listed) == 25
            assert {observation.task_id for observation in listed} == wanted
            assert all(observation.status is TaskStatus.SUCCEEDED and observation.assets for observation in listed)
        assert kinds(emulator)["cursor"] == 4 * 3
        assert await all_of(kling.tasks(Solution)) == []
        assert len(await all_of(kling.tasks(Operation, page_size=25))) == 25
        assert kling.stats.queries["list"] == 12 + 1 + 1


async def test_filters_of_the_list_choose_tasks() -> None:
    """By status, by product, and by the moment of creation; several values are alternatives, filters hold together."""
    async with service(duration_s=40.0) as emulator, client(emulator) as kling:
        old = await kling.generate(turbo("old"))
        await asyncio.sleep(1000)
        young = await kling.submit(turbo("young"))
        task_id = await young.accepted()
        await asyncio.sleep(20)

        async def listed(**filters: Any) -> set[str]:
            return {str(observation.task_id) for observation in await all_of(kling.tasks(Operation, **filters))}

        assert await listed() == {old.task_id, task_id}
        assert await listed(status=["succeeded"]) == {old.task_id}
        assert await listed(status=("submitted", "processing")) == {task_id}
        assert await listed(status={"succeeded", "processing", "submitted"}) == {old.task_id, task_id}
        assert await listed(product_type=["video"]) == {old.task_id, task_id}
        assert await listed(product_type=["image", "try_on"]) == set()
        assert await listed(status=["succeeded"], product_type=["image"]) == set()
        assert await listed(since=START + timedelta(seconds=500)) == {task_id}
        assert await listed(until=START + timedelta(seconds=500)) == {old.task_id}
        assert await listed(since=START - DAY, until=START + DAY) == {old.task_id, task_id}
        assert await listed(since=START - 2 * DAY, until=START - DAY) == set()
        with pytest.raises(ServiceError):
            await listed(status=["finished"])
        assert emulator.tasks


class Tape(list[dict[str, Any]]):
    """Bodies that a session sent in questions, in order."""


def recorded(kling: KlingSession, monkeypatch: pytest.MonkeyPatch) -> Tape:
    """Take down the bodies of cursor questions, which the emulator's log does not hold."""
    tape, ask = Tape(), kling._transport.ask

    async def note(query: Any) -> Any:
        if hasattr(query, "fields"):
            tape.append(dict(query.fields))
        return await ask(query)

    monkeypatch.setattr(kling._transport, "ask", note)
    return tape


async def test_moments_are_texts_of_milliseconds_and_void_with_a_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Source: service reference, "Cursor list": strings of Unix ms; limit and filters still count with a cursor."""
    async with service(duration_s=30.0) as emulator, client(emulator) as kling:
        assert_all_done([job async for job in kling.map(turbo(f"scene {index}") for index in range(3))])
        tape = recorded(kling, monkeypatch)
        found = await all_of(
            kling.tasks(
                Operation,
                page_size=2,
                status=["succeeded"],
                product_type=["video"],
                since=START - DAY,
                until=START + timedelta(milliseconds=86_400_000.4),
            )
        )
        assert len(found) == 3
        filters = [{"key": "status", "values": ["succeeded"]}, {"key": "product_type", "values": ["video"]}]
        first, second = tape
        assert first == {
            "limit": 2,
            "start_time": "1789913600000",
            "end_time": "1790086400000",
            "filters": filters,
        }
        assert second == {"limit": 2, "filters": filters, "cursor": second["cursor"]}
        tape.clear()
        await all_of(kling.tasks(Operation))
        assert tape == [{"limit": 100}]
        assert emulator.tasks


async def test_a_cursor_that_comes_twice_ends_the_list() -> None:
    """A host that goes in circles is not followed for ever, and no task is told twice."""
    rows = [{"id": f"90000000000000000{index}", "status": "succeeded"} for index in range(3)]
    pages = [
        {"result": rows[:2], "next_cursor": "c1", "has_more": True},
        {"result": rows[1:], "next_cursor": "c2", "has_more": True},
        {"result": rows[:1], "next_cursor": "c1", "has_more": True},
    ]
    faults = [Fault(action="body", kind="cursor", body=enveloped(page), times=1) for page in pages]
    async with service(faults=faults) as emulator, client(emulator) as kling:
        found = [observation.task_id for observation in await all_of(kling.tasks(Operation))]
        assert found == [row["id"] for row in rows]
        assert kinds(emulator) == {"cursor": 3}


async def test_cursors_to_nothing_are_not_followed_for_ever() -> None:
    """An empty page may stand between full ones; a host that gives nothing but new cursors has no more."""
    empty = [{"result": [], "next_cursor": f"c{index}", "has_more": True} for index in range(300)]
    faults = [Fault(action="body", kind="cursor", body=enveloped(page), times=1) for page in empty]
    row = {"id": "900000000000000001", "status": "succeeded"}
    faults[1] = attrs.evolve(faults[1], body=enveloped({**empty[1], "result": [row]}))
    async with service(faults=faults) as emulator, client(emulator) as kling:
        assert [observation.task_id for observation in await all_of(kling.tasks(Operation))] == [row["id"]]
        assert 3 <= kinds(emulator)["cursor"] < 200


@pytest.mark.parametrize(
    "page",
    [
        {"result": [], "next_cursor": "", "has_more": True},
        {"result": [], "next_cursor": "c1", "has_more": False},
        {"result": [], "next_cursor": None},
        {"result": []},
        [],
        None,
    ],
)
async def test_a_list_ends_when_the_host_has_no_more(page: object) -> None:
    fault = Fault(action="body", kind="cursor", body=enveloped(page))
    async with service(faults=[fault]) as emulator, client(emulator) as kling:
        assert await all_of(kling.tasks(Operation)) == []
        assert kinds(emulator) == {"cursor": 1}


async def test_solutions_have_a_list_of_their_own() -> None:
    async with service(duration_s=30.0) as emulator, client(emulator) as kling:
        await kling.generate(turbo())
        jobs = [job async for job in kling.map(goods(f"shoe {index}") for index in range(5))]
        assert_all_done(jobs)
        for endpoint in (Solution, "solutions/video/fast_cut", "solutions/e-commerce/goods_studio"):
            found = await all_of(kling.tasks(endpoint, page_size=2))
            assert {observation.task_id for observation in found} == {job.task_id for job in jobs}
        assert set(asked(emulator, "cursor")) == {"/solutions"}
        assert len(await all_of(kling.tasks(Solution, status=["failed"]))) == 0


async def test_the_list_of_solutions_counts_in_numbers_and_has_no_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Source: "Goods Studio": the times are numbers there, and product_type is no filter."""
    empty = Fault(action="body", kind="cursor", body=enveloped({"result": [], "count": 0, "has_more": False}))
    async with service(faults=[empty]) as emulator, client(emulator) as kling:
        with pytest.raises(ConfigError, match="no filter by product_type"):
            await all_of(kling.tasks(Solution, product_type=["video"]))
        assert emulator.requests == []
        tape = recorded(kling, monkeypatch)
        assert await all_of(kling.tasks(Solution, since=START, until=START + DAY, status=["failed"])) == []
        assert tape == [
            {
                "limit": 100,
                "start_time": 1_790_000_000_000,
                "end_time": 1_790_086_400_000,
                "filters": [{"key": "status", "values": ["failed"]}],
            }
        ]


async def test_a_row_that_cannot_be_read_hides_no_other() -> None:
    """A gateway's row without an id, between two that are whole."""
    rows = [{"task_id": "1", "task_status": "processing"}, {"task_id": None}, {"task_id": "2", "task_status": "failed"}]
    odd = Fault(action="body", kind="list", body=enveloped(rows))
    async with service(faults=[odd]) as emulator, client(emulator) as kling:
        assert [observation.task_id for observation in await all_of(kling.tasks("text2video"))] == ["1", "2"]
        assert kinds(emulator) == {"list": 1}


async def test_a_list_has_a_thousand_pages_at_most() -> None:
    """Source: service reference, "Query Task (List)": a host that never gives a short page is not asked for ever."""
    row = {"task_id": "867000000000000001", "task_status": "processing"}
    full = Fault(action="body", kind="list", body=enveloped([row]))
    async with service(faults=[full]) as emulator, client(emulator) as kling:
        assert len(await all_of(kling.tasks("text2video", page_size=1))) == 1
        assert kinds(emulator) == {"list": 1000}
        assert emulator.requests[-1].query == "pageNum=1000&pageSize=1"


async def test_a_list_that_cannot_be_is_refused_before_anything_is_asked() -> None:
    """Filters where there are none, endpoints that make no tasks, and sizes out of bounds."""
    async with service() as emulator, client(emulator) as kling:
        some: list[dict[str, Any]] = [
            {"status": ["succeeded"]},
            {"product_type": ["video"]},
            {"since": START},
            {"until": START},
        ]
        for filters in some:
            with pytest.raises(ConfigError, match="text2video has no filters"):
                await all_of(kling.tasks("text2video", **filters))
        for row in (*CALLS, next(row for row in ENDPOINTS if row.kind == "finished")):
            with pytest.raises(ConfigError, match=f"{row.name} makes no tasks that are listed"):
                await all_of(kling.tasks(row.name))
        for question in (kling.tasks(Operation, status="failed"), kling.tasks(Operation, product_type="video")):
            with pytest.raises(ConfigError, match="must be a list of words"):
                await all_of(question)
        for size in (0, 501, -1):
            with pytest.raises(ConfigError, match="from 1 to 500"):
                await all_of(kling.tasks(Operation, page_size=size))
        with pytest.raises(ConfigError, match="no endpoint is called"):
            await all_of(kling.tasks("nonsense"))
        assert emulator.requests == []
        assert await all_of(kling.tasks("text2video", status=[], product_type=())) == []
    with pytest.raises(SessionError):
        await all_of(kling.tasks(Operation))


async def test_a_question_of_the_users_own_costs_nothing() -> None:
    """Whatever comes of it: also after a lost answer `paid` says so."""
    for loss in LOST.values():
        async with service(faults=[Fault(**loss)]) as emulator, client(emulator) as kling:
            for question in (
                all_of(kling.tasks(Operation)),
                all_of(kling.tasks("text2video")),
                kling.query("867000000000000001", TextToVideo),
            ):
                with pytest.raises(KlingError) as caught:
                    await question
                assert caught.value.paid == "no"
            assert set(kinds(emulator)) == {"cursor", "list", "single"}


# --- the account -----------------------------------------------------------------------------------------------------


async def test_the_account_tells_its_packs_bought_in_the_last_400_days() -> None:
    """A pack bought 60 days ago is among them; a shorter window hides it, and a name chooses one."""
    async with service() as emulator, client(emulator) as kling:
        usage = await kling.account()
        assert {pack.resource_pack_id for pack in usage.packs} == {"pack-video", "pack-image", "pack-try_on"}
        assert usage.packs[0].total_quantity == Decimal(100_000)
        (request,) = emulator.requests
        window = dict(part.split("=") for part in request.query.split("&"))
        assert int(window["end_time"]) - int(window["start_time"]) == 400 * 86_400_000
        assert abs(int(window["end_time"]) - EPOCH * 1000) < 1000
        assert (await kling.account(since=START - 30 * DAY)).packs == ()
        assert (await kling.account(until=START - 61 * DAY)).packs == ()
        (only,) = (await kling.account(pack="Emulator pack (image)")).packs
        assert only.resource_pack_id == "pack-image"
        with pytest.raises(InvalidRequest):
            await kling.account(since=START, until=START - DAY)


async def test_a_refusal_of_the_account_is_raised_outside_and_inside() -> None:
    async with service(costs_per_s=1.0, inner_account_errors=True) as emulator, client(emulator) as kling:
        await kling.account()
        with pytest.raises(ServiceError) as throttled:
            await kling.account()
        assert (throttled.value.code, throttled.value.paid) == (1302, "no")
        inner = {"code": 1102, "msg": "run out", "resource_pack_subscribe_infos": []}
        emulator.faults.append(Fault(action="body", kind="call", body=enveloped(inner)))
        with pytest.raises(AccountError, match="run out"):
            await kling.account()


def charged(*ids: str, cursor: str = "", more: bool = False, **fields: object) -> Fault:
    """A page of charges, once."""
    detail = [{"task_id": ident, "deduction_amount": 5.0, "duration": "5.04", **fields} for ident in ids]
    data = {"result": {"detail": detail, "count": len(ids)}, "next_cursor": cursor, "has_more": more}
    return Fault(action="body", kind="call", body=enveloped(data), times=1)


@pytest.mark.parametrize(("kind", "page"), [("money", "balance"), ("units", "package")])
async def test_charges_are_followed_from_page_to_page(kind: Any, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Money and units have a page each; after the first one only the cursor is sent."""
    faults = [charged("a", "b", cursor="c1", more=True), charged("c", cursor="c2", more=True), charged("d")]
    async with service(faults=faults) as emulator, client(emulator) as kling:
        sent: list[Any] = []
        call = kling._transport.call

        async def note(row: Any, fields: Any, body: bytes) -> Any:
            sent.append(json.loads(body))
            return await call(row, fields, body)

        monkeypatch.setattr(kling._transport, "call", note)
        charges = [charge async for charge in kling.charges(kind, api_key_names=["mine", "other"])]
        assert [charge.task_id for charge in charges] == ["a", "b", "c", "d"]
        assert charges[0].deduction_amount == Decimal("5.0")
        assert {request.path for request in emulator.requests} == {f"/account/billing/{page}"}
        first, *others = sent
        assert first["end_time"] - first["start_time"] == 30 * 86_400_000
        assert abs(first["end_time"] - EPOCH * 1000) < 1000
        assert first["filters"] == [{"key": "api_key_name", "values": ["mine", "other"]}]
        assert others == [{"cursor": "c1"}, {"cursor": "c2"}]


@pytest.mark.parametrize(
    "faults",
    [
        [charged("a", cursor="c1", more=False)],
        [charged("a", cursor="", more=True)],
        [charged("a", cursor="c1", more=True), charged(cursor="c1", more=True)],
    ],
    ids=["no more", "no cursor", "a circle"],
)
async def test_charges_end(faults: list[Fault]) -> None:
    async with service(faults=faults) as emulator, client(emulator) as kling:
        found = [charge.task_id async for charge in kling.charges("money", since=START - DAY, until=START)]
        assert found == ["a"]
        assert len(emulator.requests) == len(faults)


async def test_charges_of_nothing_are_none_and_lost_ones_cost_nothing() -> None:
    async with service() as emulator, client(emulator) as kling:
        assert [charge async for charge in kling.charges("money")] == []
        assert [charge async for charge in kling.charges("units", since=START - DAY)] == []
        emulator.faults.append(Fault(action="reset"))
        with pytest.raises(TransportError) as caught:
            [charge async for charge in kling.charges("units")]
        assert caught.value.paid == "no"


@pytest.mark.parametrize("dialect", ["cometapi", "new-api", "crazyrouter", "flat", "mixed", "official-old-host"])
async def test_no_gateway_is_asked_for_what_only_the_service_has(dialect: str) -> None:
    """The account, its charges and Solutions: refused with the host's name, and nothing is sent."""
    host = host_of_dialect(dialect)
    async with service(dialect) as emulator, client(emulator, base_url=host) as kling:
        questions = (
            kling.account(),
            anext(kling.charges("money")),
            anext(kling.charges("units")),
            anext(kling.tasks(Solution)),
            kling.submit(goods()),
            kling.call(request_from(CALLS[-1], {"start_time": 1, "end_time": 2})),
        )
        for question in questions:
            with pytest.raises(InvalidRequest, match="does not have"):
                await question
        assert emulator.requests == []


def host_of_dialect(dialect: str) -> Any:
    """The host as a user would name it, where the dialect's name is that of no family too."""
    if dialect == "official-old-host":
        return attrs.evolve(find_host("https://api.klingai.com"), url="http://localhost")
    return f"{dialect}:http://localhost" if dialect in {"crazyrouter", "new-api"} else "http://localhost"


# --- when files go ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [clip(), turbo(), goods(), SPEECH, pictures(2)], ids=lambda value: type(value).__name__
)
async def test_the_service_keeps_files_for_thirty_days_after_the_end(request_: Any) -> None:
    """Every asset says until when, by the service's own clock; also when it is asked about later."""
    async with service(duration_s=30.0) as emulator, client(emulator) as kling:
        job = await kling.submit(request_)
        result = await job
        assert result.updated_at is not None
        assert result.assets
        assert {asset.expires_at for asset in result.assets} == {result.updated_at + 30 * DAY}
        if not isinstance(request_, TextToSpeech):
            again = await kling.query(job)
            assert {asset.expires_at for asset in again.assets} == {result.updated_at + 30 * DAY}
        assert emulator.tasks


@pytest.mark.parametrize("dialect", ["cometapi", "new-api", "new-api-old", "crazyrouter", "flat"])
async def test_of_a_gateways_files_nothing_is_known(dialect: str) -> None:
    """They may be kept for a day or a month: no moment is made up."""
    async with service(dialect, duration_s=30.0) as emulator, client(emulator) as kling:
        result = await kling.generate(clip())
        assert [asset.expires_at for asset in result.assets] == [None]
        assert emulator.tasks


async def test_a_task_that_is_not_finished_has_no_files_to_go() -> None:
    async with service(duration_s=30.0) as emulator, client(emulator) as kling:
        job = await kling.submit(turbo())
        await job.accepted()
        assert (await kling.query(job)).assets == ()
        listed = await all_of(kling.tasks(Operation))
        assert listed[0].assets == ()
        await job
        listed = await all_of(kling.tasks(Operation))
        assert listed[0].updated_at is not None
        assert listed[0].assets[0].expires_at == listed[0].updated_at + 30 * DAY
        assert emulator.tasks


async def test_a_result_is_asked_for_anew_where_the_host_answers() -> None:
    """What a download does with an expired URL: fresh ones, or why there are none."""
    async with service(duration_s=30.0, url_ttl_s=60.0) as emulator, client(emulator) as kling:
        result = await kling.generate(clip())
        await asyncio.sleep(120)
        fresh = await kling._refresh(result)
        assert fresh is not None
        assert fresh.url != result.url
        emulator.faults.append(Fault(action="status", kind="single", status=500, code=5000))
        with pytest.raises(ServerFault):
            await kling._refresh(result)


# --- how jobs of the new standard are asked about --------------------------------------------------------------------


async def test_the_service_is_asked_about_the_new_standard_in_batches_from_the_first_question() -> None:
    """Nothing has to be found out: twenty ids a query at once, whatever the operation, and never by path."""
    async with service(duration_s=(60, 90)) as emulator, client(emulator) as kling:
        others = [Operation(operation="text-to-video", model="kling-2.6", prompt=f"a {index}") for index in range(20)]
        jobs = [job async for job in kling.map([*others, *(turbo(f"b {index}") for index in range(20))])]
        assert_all_done(jobs)
        assert kinds(emulator)["list"] == kinds(emulator)["single"] == kinds(emulator)["unknown"] == 0
        batches = [query for query in asked(emulator, "batch", "/tasks") if "?task_ids=" in query]
        sizes = [query.count(",") + 1 for query in batches if "?task_ids=" in query]
        assert sizes[:2] == [20, 20]
        ids = batches[0].partition("=")[2].split(",")
        assert len(set(ids)) == 20
        # Two questions of a proof: whether it finds by external id, once for each endpoint.
        assert sum("?external_task_ids=ka-" in query for query in batches) <= 4


async def test_one_task_of_the_new_standard_is_asked_for_as_a_batch_of_one() -> None:
    """`GET /tasks?task_ids=<id>`: the service has no path for a single one."""
    async with service(duration_s=30.0) as emulator, client(emulator) as kling:
        job = await kling.submit(turbo())
        task_id = await job.accepted()
        assert (await kling.query(job)).task_id == task_id
        assert asked(emulator, "batch") == [f"/tasks?task_ids={task_id}"]
        assert (await kling.query(task_id, "text-to-video/kling-3.0")).task_id == task_id
        followed = kling.attach(task_id, "text-to-video/kling-3.0")
        assert followed is job
        await job
        assert (await kling.attach(task_id, "text-to-video/kling-3.0")).task_id == task_id


@pytest.mark.parametrize("form", ["refused", "truncated"])
async def test_where_batches_fail_each_task_is_asked_for_alone(form: str) -> None:
    """A service that takes fewer ids than we think: nobody is lost, and nobody waits for ever."""
    overflow: Any = "error" if form == "refused" else "truncate"
    settings: dict[str, Any] = {"batch_max_ids": 3, "batch_overflow": overflow, "duration_s": (30, 60)}
    async with service(**settings) as emulator, client(emulator) as kling:
        jobs = [job async for job in kling.map(turbo(f"scene {index}") for index in range(12))]
        assert_all_done(jobs)
        assert_paid_once(emulator, 12)
        assert kinds(emulator)["single"] == 0


async def test_a_gateway_is_asked_about_the_new_standard_below_the_create_path() -> None:
    """Source: service reference, "Query, Gateways" (aimanyi): `GET {create path}/{id}`, one by one."""
    async with service("mixed", duration_s=(20, 40)) as emulator:
        async with client(emulator, base_url="aimanyi:http://localhost") as kling:
            jobs = [job async for job in kling.map(turbo(f"scene {index}") for index in range(3))]
            assert_all_done(jobs)
            assert (await kling.query(jobs[0])).status is TaskStatus.SUCCEEDED
        path = "/kling/text-to-video/kling-3.0"
        singles = {query.rpartition("/") for query in asked(emulator, "single")}
        assert {parent for parent, _, _ in singles} == {path}
        assert {job.task_id for job in jobs} <= {ident for _, _, ident in singles}
        assert_paid_once(emulator, 3)


async def test_a_gateway_without_a_page_about_the_new_standard_is_tried_with_advice() -> None:
    async with service("mixed", duration_s=20.0) as emulator, client(emulator) as kling:
        with pytest.warns(RequestWarning, match="no page of"):
            job = await kling.submit(turbo())
        assert (await job).url
        async with client(emulator, strict=True) as strict:
            with pytest.raises(InvalidRequest, match="no page of"):
                await strict.submit(turbo())
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("extra", ["before", "after"])
async def test_rows_that_were_not_asked_for_are_nobodys(extra: str) -> None:
    """Section 20, case 14, of a question for one task: the answer may hold others, and is matched by id."""
    async with service(duration_s=400.0) as emulator, client(emulator) as kling:
        job = await kling.submit(turbo())
        task_id = await job.accepted()
        mine = {"id": task_id, "status": "processing"}
        other = {"id": "900000000000000009", "status": "failed", "message": "somebody else's"}
        rows = [other, mine] if extra == "before" else [mine, other]
        emulator.faults.append(Fault(action="body", kind="batch", body=enveloped(rows), times=1))
        assert (await kling.query(job)).status is TaskStatus.PROCESSING
        assert (await job).url
        assert job.status is Status.SUCCEEDED


async def test_solutions_are_asked_about_where_they_are() -> None:
    """`GET /solutions?task_ids=...`, at most twenty at once, whatever the policy says: they are on no other list."""
    policy = Policy(batch_size=100)
    async with service(duration_s=(60, 90)) as emulator, client(emulator, policy=policy) as kling:
        jobs = [job async for job in kling.map(goods(f"shoe {index}") for index in range(25))]
        assert_all_done(jobs)
        queries = asked(emulator, "batch")
        assert all(query.startswith("/solutions?") for query in queries)
        ids = [query.partition("?task_ids=")[2].split(",") for query in queries if "?task_ids=" in query]
        assert [len(some) for some in ids[:2]] == [20, 5]
        assert {*ids[0], *ids[1]} == {job.task_id for job in jobs}
        assert {asset.kind for job in jobs for asset in job.result().assets} == {"video"}
        assert (await kling.query(jobs[0])).status is TaskStatus.SUCCEEDED
        assert asked(emulator, "batch")[-1] == f"/solutions?task_ids={jobs[0].task_id}"
        assert_paid_once(emulator, 25)
        assert set(kinds(emulator)) == {"create", "batch"}


async def test_operations_and_solutions_are_never_asked_about_in_one_question() -> None:
    """Each has a place of its own, and neither is absent from the other's."""
    async with service(duration_s=(60, 90)) as emulator, client(emulator) as kling:
        jobs = [job async for job in kling.map([turbo("a"), goods("b"), turbo("c"), goods("d")])]
        assert_all_done(jobs)
        for query in asked(emulator, "batch"):
            solutions = query.startswith("/solutions?")
            wanted = {job.endpoint.startswith("solutions/") for job in jobs if job.task_id and job.task_id in query}
            assert wanted <= {solutions}
        assert_paid_once(emulator, 4)


NOBODYS = [{"id": f"90000000000000000{index}", "external_id": f"x{index}", "status": "submitted"} for index in (1, 2)]

# --- lost creates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [turbo, goods])
async def test_a_lost_create_is_found_by_the_external_id_in_its_options(make: Any) -> None:
    """The id is where the service reads it, so the task is found, followed and paid once."""
    lost = Fault(action="reset", stage="after", kind="create", nth=1)
    async with service(faults=[lost], duration_s=200.0) as emulator, client(emulator) as kling:
        job = await kling.submit(make(), job_id="order-7")
        assert (await job).task_id == emulator.tasks[0].task_id
        assert emulator.tasks[0].external_id == "order-7"
        assert any("?external_task_ids=order-7" in query for query in asked(emulator, "batch"))
        assert kinds(emulator)["create"] == 1


@pytest.mark.parametrize("make", [turbo, goods])
async def test_an_empty_list_says_that_there_is_no_task_and_it_is_sent_again(make: Any) -> None:
    """On a host that has shown that it finds others by external id, after the window, and with the same id."""
    async with service(duration_s=1000.0) as emulator, client(emulator) as kling:
        await (await kling.submit(make("shows that the host finds by external id"))).accepted()
        await asyncio.sleep(20)
        emulator.faults.append(Fault(action="close", kind="create", times=1))
        job = await kling.submit(make("lost"))
        await job.accepted()
        creates = [request.at for request in emulator.requests if request.kind == "create"]
        assert len(creates) == 3
        assert creates[2] - creates[1] >= Policy().settle_s
        assert_paid_once(emulator, 2)


@pytest.mark.parametrize("make", [turbo, goods])
@pytest.mark.parametrize("answer", [None, NOBODYS[:1], NOBODYS], ids=["null", "another's", "others'"])
async def test_no_data_is_no_absence_and_nothing_is_sent_again(make: Any, answer: object) -> None:
    """A second payment hangs on it: `data: null`, or rows about somebody else's tasks, leave it to the user."""
    async with service(duration_s=5000.0) as emulator, client(emulator) as kling:
        await (await kling.submit(make("shows that the host finds by external id"))).accepted()
        await asyncio.sleep(20)
        emulator.faults.append(Fault(action="body", kind="batch", body=enveloped(answer)))
        emulator.faults.append(Fault(action="close", kind="create", times=1))
        job = await kling.submit(make("lost"), timeout=4000.0)
        with pytest.raises((SubmissionUnknown, DeadlineExceeded)) as caught:
            await job
        assert caught.value.paid == "maybe"
        assert kinds(emulator)["create"] == 2
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize("loss", LOST)
@pytest.mark.parametrize("stage", ["before", "after"])
async def test_speech_whose_answer_is_lost_is_left_to_the_user_at_once(loss: str, stage: Any) -> None:
    """It is finished in its reply and has no id of ours: nothing can be asked, and nothing is sent again."""
    fault = Fault(stage=stage, kind="create", **LOST[loss])
    async with service(faults=[fault]) as emulator, client(emulator) as kling:
        job = await kling.submit(SPEECH)
        with pytest.raises(SubmissionUnknown, match="cannot be asked about tts") as caught:
            await job
        assert (job.status, caught.value.paid, caught.value.retryable) == (Status.UNRESOLVED, "maybe", False)
        await asyncio.sleep(600)
        assert kinds(emulator) == {"create": 1}
        assert kling.stats.slots == {("audio", "tts"): (0, None)}


# --- slots -----------------------------------------------------------------------------------------------------------


async def test_a_job_of_several_slots_that_never_fits_is_refused_alone() -> None:
    """Nine pictures on four slots: told unpaid and in minutes, with the slots named, while what fits goes on."""
    async with service(slots={"image": 4}, duration_s=20.0) as emulator, client(emulator) as kling:
        large = await kling.submit(pictures(9))
        small = [await kling.submit(pictures(2, f"small {index}")) for index in range(6)]
        with pytest.raises(SlotsFull, match="takes 9 slots at once") as caught:
            await large
        assert (large.status, caught.value.paid, caught.value.code) == (Status.REJECTED, "no", 1303)
        for job in small:
            assert (await job).url
        assert_paid_once(emulator, 6)


async def test_a_job_of_one_slot_is_never_too_large() -> None:
    """Others hold the only slot for an hour: it waits as long as the policy says."""
    async with service(slots=1, duration_s=2000.0) as emulator, client(emulator) as other:
        await (await other.submit(clip("the other program"))).accepted()
        async with client(emulator) as kling:
            assert (await kling.generate(clip())).url
        assert sum(request.status == 429 for request in emulator.requests) > 5
        assert_paid_once(emulator, 2)


async def abandoned(kling: KlingSession, emulator: Emulator, text: str = "given up") -> Job:
    """A job that was given up when its task was under way."""
    job = await kling.submit(clip(text))
    await job.accepted()
    job.abandon()
    with pytest.raises(JobAbandoned):
        await job
    assert (job.status, kling.stats.pending) == (Status.ABANDONED, 0)
    assert emulator.tasks
    return job


async def test_an_abandoned_job_keeps_its_slot_until_its_task_ends() -> None:
    """With one place in all the next job waits for the end of the task, which is asked about for the slot alone."""
    async with service(duration_s=300.0) as emulator, client(emulator, max_running=1) as kling:
        given_up = await abandoned(kling, emulator)
        assert kling.stats.slots == {("video", "kling-v2-6"): (1, None)}
        assert (await kling.generate(clip("next"))).url
        assert running_most(emulator) == 1
        assert given_up.status is Status.ABANDONED
        assert kling.stats.slots == {("video", "kling-v2-6"): (0, None)}
        assert_paid_once(emulator, 2)


async def test_without_a_bound_or_a_limit_nobody_asks_about_abandoned_tasks() -> None:
    """The slot does not matter then, and a question that nobody needs is not asked."""
    async with service(duration_s=300.0) as emulator, client(emulator) as kling:
        await abandoned(kling, emulator)
        await asyncio.sleep(20)  # the host is asked once whether it finds by external id
        before = len(emulator.requests)
        await asyncio.sleep(1000)
        assert len(emulator.requests) == before
        assert kling.stats.slots == {("video", "kling-v2-6"): (0, None)}


async def test_a_limit_that_was_met_counts_abandoned_tasks_too() -> None:
    """The account has two slots, and that is known: the slot of an abandoned task is not knocked for in vain."""
    async with service(slots=2, duration_s=300.0) as emulator, client(emulator) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
        await jobs[0].accepted()
        await jobs[1].accepted()
        await asyncio.sleep(5)
        knocks = kinds(emulator)["create"]
        jobs[0].abandon()
        await asyncio.sleep(200)
        assert kinds(emulator)["create"] == knocks
        assert (await jobs[2]).url
        assert running_most(emulator) == 2


async def test_attach_takes_over_the_task_and_the_slot_of_an_abandoned_job() -> None:
    """It is followed again, under a new job; its slot goes with it, and is given back once."""
    async with service(duration_s=300.0) as emulator, client(emulator, max_running=1) as kling:
        given_up = await abandoned(kling, emulator)
        waiting = await kling.submit(clip("next"))
        again = kling.attach(str(given_up.task_id), "text2video")
        assert again is not given_up
        assert kling.attach(str(given_up.task_id), "text2video") is again
        assert (kling.stats.pending, waiting.status) == (1, Status.QUEUED)
        assert kling.stats.slots == {("video", "kling-v2-6"): (1, None)}
        again.abandon()  # given up once more: the slot stays where it is
        assert kling.stats.slots == {("video", "kling-v2-6"): (1, None)}
        third = kling.attach(str(given_up.task_id), "text2video")
        assert (await third).task_id == given_up.task_id
        assert (await waiting).url
        assert running_most(emulator) == 1
        assert kling.stats.slots == {("video", "kling-v2-6"): (0, None)}
        assert_paid_once(emulator, 2)


async def test_a_question_of_the_users_own_tells_of_an_abandoned_task_too() -> None:
    """What it says frees the slot at once; the job itself stays abandoned."""
    async with service(duration_s=100.0) as emulator, client(emulator, max_running=1) as kling:
        given_up = await abandoned(kling, emulator)
        news = await kling.query(str(given_up.task_id), "text2video")
        assert not news.status.is_final
        assert kling.stats.slots[("video", "kling-v2-6")][0] == 1
        emulator.faults.append(Fault(action="reset", kind="single", times=10))
        await asyncio.sleep(101)
        emulator.faults.clear()
        assert (await kling.query(str(given_up.task_id), "text2video")).status is TaskStatus.SUCCEEDED
        assert kling.stats.slots[("video", "kling-v2-6")][0] == 0
        assert given_up.status is Status.ABANDONED


async def test_an_abandoned_task_that_vanishes_frees_its_slot() -> None:
    """The host no longer knows it: that is its end."""
    settings: dict[str, Any] = {"lists": False, "batch": False, "retention_s": 200.0}
    async with service(**settings) as emulator, client(emulator, max_running=1) as kling:
        given_up = await abandoned(kling, emulator, "[stuck]")
        emulator.duration_s = 20.0
        assert (await kling.generate(clip("next"))).url
        assert emulator.tasks[1].created_at - emulator.tasks[0].created_at > 200
        assert given_up.status is Status.ABANDONED


async def test_an_abandoned_task_that_never_ends_frees_its_slot_in_time() -> None:
    """At the usual limit of a task: the next job goes then, and not before."""
    policy = Policy(task_limit_s=1800.0)
    async with service() as emulator, client(emulator, max_running=1, policy=policy) as kling:
        await abandoned(kling, emulator, "[stuck]")
        emulator.duration_s = 20.0
        assert (await kling.generate(clip("next"), timeout=4000.0)).url
        waited_s = emulator.tasks[1].created_at - emulator.tasks[0].created_at
        assert 1800 <= waited_s <= 1900


async def test_a_session_that_closes_forgets_abandoned_tasks() -> None:
    async with service(duration_s=300.0) as emulator:
        async with client(emulator, max_running=1) as kling:
            await abandoned(kling, emulator)
            waiting = await kling.submit(clip("next"))
        with pytest.raises(SessionError):
            await waiting
        assert_paid_once(emulator, 1)


async def test_a_job_that_is_given_up_while_it_is_sent_keeps_its_slot_too() -> None:
    """Section 20, case 12: the task is made all the same, and takes the only place until it ends."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0, nth=1)
    async with service(faults=[slow], duration_s=300.0) as emulator, client(emulator, max_running=1) as kling:
        with pytest.raises(DeadlineExceeded):
            await kling.generate(clip("given up"), timeout=2.0)
        assert (await kling.generate(clip("next"))).url
        assert running_most(emulator) == 1
        assert_paid_once(emulator, 2)


async def test_a_task_of_a_job_that_was_given_up_while_it_was_sent_can_be_followed() -> None:
    """The job knows its task afterwards; following it takes the slot over."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0, nth=1)
    async with service(faults=[slow], duration_s=100.0) as emulator, client(emulator, max_running=1) as kling:
        job = await kling.submit(clip("given up"))
        await asyncio.sleep(2)
        job.abandon()
        await asyncio.sleep(10)
        assert (job.status, job.task_id) == (Status.ABANDONED, emulator.tasks[0].task_id)
        assert (kling.stats.pending, kling.stats.slots) == (0, {("video", "kling-v2-6"): (1, None)})
        assert (await kling.attach(str(job.task_id), "text2video")).url
        assert kling.stats.slots == {("video", "kling-v2-6"): (0, None)}
        assert_paid_once(emulator, 1)


@pytest.mark.parametrize(("request_", "bound"), [(clip(), None), (SPEECH, 1)], ids=["no bound", "finished at once"])
async def test_a_job_given_up_while_it_was_sent_is_not_asked_about_in_vain(request_: Any, bound: int | None) -> None:
    """Where the slot does not matter, or is free already, its task is known and left alone."""
    slow = Fault(action="delay", stage="after", kind="create", delay_s=5.0, nth=1)
    async with service(faults=[slow], duration_s=100.0) as emulator, client(emulator, max_running=bound) as kling:
        job = await kling.submit(request_)
        await asyncio.sleep(2)
        job.abandon()
        await asyncio.sleep(300)
        assert (job.status, job.task_id) == (Status.ABANDONED, emulator.tasks[0].task_id)
        assert kinds(emulator) == {"create": 1}
        assert [running for running, _ in kling.stats.slots.values()] == [0]


async def test_a_refusal_after_a_job_was_given_up_takes_no_slot() -> None:
    slow = Fault(action="delay", kind="create", delay_s=5.0)
    async with service(faults=[slow], duration_s=100.0) as emulator, client(emulator, max_running=1) as kling:
        emulator.refused_models = ["kling-v2-6"]
        job = await kling.submit(clip("given up"))
        await asyncio.sleep(2)
        job.abandon()
        await asyncio.sleep(10)
        assert (job.status, job.task_id, emulator.tasks) == (Status.ABANDONED, None, [])
        assert kling.stats.slots == {("video", "kling-v2-6"): (0, None)}


async def test_every_part_tells_how_it_stands() -> None:
    """What a debugger shows is enough to see where the jobs are."""
    lost = Fault(action="reset", stage="after", kind="create", nth=2)
    async with service(faults=[lost], duration_s=300.0) as emulator, client(emulator, max_running=2) as kling:
        jobs = [await kling.submit(clip(f"scene {index}")) for index in range(3)]
        await jobs[0].accepted()
        await asyncio.sleep(0.1)
        scheduler = kling._runtime.scheduler()
        assert repr(scheduler).startswith("<Scheduler [1 pending, 1 queued | next sweep in ")
        assert repr(scheduler.submitter) == "<Submitter [1 waiting, 0 in flight, 2 sent]>"
        assert repr(scheduler.searcher) == "<Searcher [1 unsure, 1 proofs open]>"
        assert repr(scheduler.poller).startswith("<Poller [")
        assert scheduler.open_job(jobs[1].id) is jobs[1]
        assert scheduler.open_job("nobodys") is None
        assert_paid_once(emulator, 2)


@pytest.mark.parametrize(("failure_rate", "fitted"), [(0.0, True), (1.0, False)])
async def test_only_tasks_that_succeed_tell_how_long_the_others_take(failure_rate: float, fitted: bool) -> None:
    async with service(duration_s=(5, 9), failure_rate=failure_rate) as emulator, client(emulator) as kling:
        jobs = [job async for job in kling.map(clip(f"take {index}") for index in range(12))]
        assert {job.status for job in jobs} == {Status.SUCCEEDED if fitted else Status.FAILED}
        known = kling._runtime.scheduler().poller.planner.hazards.to_plain()
        assert bool(known) is fitted
