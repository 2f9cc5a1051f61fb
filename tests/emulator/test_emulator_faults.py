"""The fault plan: choosing, every action on a real socket, both stages, changes over HTTP."""

import asyncio
import contextlib
import random
from typing import Any

import aiohttp
import pytest
from emulator_tools import T2V, Caller, Reply, play

from kling_async.emulator import Emulator, Fault, FaultPlan

LUCK = random.Random(0)


def hits(plan: FaultPlan, count: int, at: float = 0.0) -> list[int]:
    return [number for number in range(1, count + 1) if plan.pick("create", "POST", "/a", at, LUCK)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"nth": 2}, [2]),
        ({"nth": (1, 5)}, [1, 5]),
        ({"every": 3}, [3, 6]),
        ({"times": 2}, [1, 2]),
        ({"every": 2, "times": 1}, [2]),
        ({"rate": 0.0}, []),
        ({"rate": 1.0}, [1, 2, 3, 4, 5, 6]),
        ({"kind": "single"}, []),
        ({"method": "get"}, []),
        ({"method": "post", "path": "/*"}, [1, 2, 3, 4, 5, 6]),
        ({"path": "/b"}, []),
        ({"from_s": 1.0}, []),
        ({"until_s": 0.0}, []),
        ({"from_s": 0.0, "until_s": 1.0}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_which_requests_are_hit(options: dict[str, Any], expected: list[int]) -> None:
    assert hits(FaultPlan([Fault(action="reset", **options)]), 6) == expected


def test_first_willing_fault_hits_and_all_count() -> None:
    first, second = Fault(action="reset", nth=1), Fault(action="close", nth=2)
    plan = FaultPlan([first, second])
    assert [plan.pick("create", "POST", "/", 0, LUCK) for _ in range(3)] == [first, second, None]
    assert plan.hits() == 2
    assert repr(plan) == "<FaultPlan [2 faults | 2 hits]>"


def test_plan_is_a_list() -> None:
    one, two = Fault(action="reset"), Fault(action="close")
    plan = FaultPlan([one])
    plan.append(two)
    plan[0] = two
    assert list(plan) == [two, two]
    plan[:] = [one]
    assert plan[:] == [one]
    del plan[0]
    assert len(plan) == 0
    with pytest.raises(TypeError, match="one fault goes to an index"):
        plan[0:1] = one  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action": "explode"}, "action must be one of"),
        ({"action": "reset", "stage": "during"}, "stage must be"),
        ({"action": "reset", "kind": "poll"}, "kind must be one of"),
        ({"action": "reset", "every": 0}, "every must be at least 1"),
        ({"action": "reset", "stage": "after", "commit_after_s": 1}, "commit_after_s belongs to stage before"),
        ({"action": "html", "stage": "accept"}, "at accept the action must be one of"),
        ({"action": "reset", "stage": "accept", "kind": "create"}, "not known at accept"),
        ({"action": "reset", "stage": "accept", "commit_after_s": 1}, "commit_after_s belongs to stage before"),
        ({"action": "truncate", "within": "tail"}, "within must be head or body"),
        ({"action": "alter", "rows": "all"}, "rows must be"),
        ({"action": "reset", "effects": 2}, "effects must be"),
        ({"action": "delay", "effects": 0}, "effects must be"),
        ({"colour": "red"}, "unknown name in a fault: colour"),
        ({}, "action"),
        (5, "a fault is an object"),
    ],
)
def test_senseless_faults(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fault.from_json(options)


async def broken(kling: Caller, **fault: Any) -> Reply | str:
    """The answer to a create under one fault, or the name of what aiohttp raised."""
    kling.emulator.faults = [Fault(kind="create", **fault)]
    try:
        return await kling.post(T2V, {"prompt": "x"})
    except (aiohttp.ClientError, OSError) as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"action": "reset"}, "ClientOSError"),
        ({"action": "close"}, "ServerDisconnectedError"),
        ({"action": "truncate"}, "ClientPayloadError"),
        ({"action": "truncate", "keep": 0, "headers": {"X": "y"}}, "ClientPayloadError"),
        ({"action": "garbage"}, "ClientResponseError"),
        ({"action": "garbage", "body": "HTTP/9"}, "ClientResponseError"),
        ({"action": "hang"}, "ServerDisconnectedError"),
        ({"action": "truncate", "within": "head"}, "ServerDisconnectedError"),
        ({"action": "truncate", "within": "head", "keep": 3}, "ServerDisconnectedError"),
        ({"action": "truncate", "chunked": True}, "ClientPayloadError"),
        ({"action": "truncate", "keep": 10_000, "headers": {"X": "y" * 20_000}}, "ClientResponseError"),
        ({"action": "truncate", "headers": {f"X-{index}": "y" for index in range(500)}}, "ClientResponseError"),
    ],
)
@pytest.mark.parametrize("stage", ["before", "after"])
def test_broken_connections(fault: dict[str, Any], error: str, stage: str) -> None:
    """Before the effect nothing is made, after it the task is there; the caller sees the same."""

    async def story(kling: Caller) -> None:
        assert await broken(kling, stage=stage, **fault) in (error, "BadHttpMessage", "ServerDisconnectedError")
        assert len(kling.emulator.tasks) == (1 if stage == "after" else 0)
        assert kling.emulator.requests[0].status is None
        assert kling.emulator.requests[0].fault == f"{fault['action']} {stage}"

    play(story, hang_s=0.05)


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ({"action": "status"}, 500, {"code": 5000, "message": "internal error"}),
        ({"action": "status", "status": 429}, 429, {"code": 1302, "message": "too many requests"}),
        ({"action": "status", "status": 429, "code": 1303, "message": "full"}, 429, {"code": 1303, "message": "full"}),
        ({"action": "status", "status": 418}, 418, {"code": 5000, "message": "internal error"}),
        ({"action": "status", "status": 200, "code": 7777}, 200, {"code": 7777, "message": "7777"}),
    ],
)
def test_error_answers(fault: dict[str, Any], status: int, body: dict[str, object]) -> None:
    async def story(kling: Caller) -> None:
        reply = await broken(kling, headers={"Retry-After": "7"}, **fault)
        assert isinstance(reply, Reply)
        assert reply.headers["Retry-After"] == "7"
        told = reply.json
        told.pop("request_id")
        assert (reply.status, told) == (status, body)
        assert kling.emulator.requests[0].status == status
        assert kling.emulator.tasks == []

    play(story)


def test_any_bytes() -> None:
    async def story(kling: Caller) -> None:
        for body in (b"", b'\xef\xbb\xbf{"code":0}', b'{"code":NaN}', b"[" * 100_000):
            reply = await broken(kling, action="body", body=body)
            assert isinstance(reply, Reply)
            assert (reply.status, reply.raw) == (200, body)
            assert reply.headers["Content-Type"].startswith("application/json")
        reply = await broken(kling, action="status", status=429, body="{}")
        assert isinstance(reply, Reply)
        assert (reply.status, reply.raw) == (429, b"{}")
        reply = await broken(kling, action="html")
        assert isinstance(reply, Reply)
        assert (reply.status, reply.raw[:6]) == (502, b"<html>")
        assert reply.headers["Content-Type"].startswith("text/html")
        reply = await broken(kling, action="html", status=200, body="<p>hello")
        assert isinstance(reply, Reply)
        assert (reply.status, reply.raw) == (200, b"<p>hello")
        reply = await broken(kling, action="html", status=201, stage="after")
        assert isinstance(reply, Reply)
        assert b"201 Error" in reply.raw
        assert len(kling.emulator.tasks) == 1

    play(story)


def test_delay_and_slow() -> None:
    """Both give the whole normal answer, later."""

    async def story(kling: Caller) -> None:
        for number, fault in enumerate(
            ({"action": "delay"}, {"action": "delay", "stage": "after"}, {"action": "slow"}), start=1
        ):
            reply = await broken(kling, delay_s=0.02, headers={"X-A": "b"}, **fault)
            assert isinstance(reply, Reply)
            assert reply.data["task_status"] == "submitted"
            assert len(kling.emulator.tasks) == number
        kling.emulator.faults = [Fault(action="slow", kind="single")]
        assert (await kling.get(f"{T2V}/{kling.emulator.tasks[0].task_id}")).status == 200

    play(story)


def test_queries_break_too() -> None:
    async def story(kling: Caller) -> None:
        ident = await kling.create()
        kling.emulator.faults.append(Fault(action="truncate", kind="single", times=1))
        with pytest.raises(aiohttp.ClientPayloadError):
            await kling.get(f"{T2V}/{ident}")
        assert (await kling.get(f"{T2V}/{ident}")).status == 200

    play(story)


def test_late_commit() -> None:
    """The answer is lost now, the task appears later; a second create in between wins the external id."""

    async def story(kling: Caller) -> None:
        kling.emulator.faults = [Fault(action="reset", commit_after_s=8, times=1)]
        with pytest.raises(aiohttp.ClientError):
            await kling.post(T2V, {"prompt": "x", "external_task_id": "e"})
        assert (await kling.get(f"{T2V}/e")).status == 400
        kling.hand.at = 9
        assert (await kling.get(f"{T2V}/e")).status == 200
        (task,) = kling.emulator.tasks
        assert task.created_at - kling.emulator.now() == -1
        for body in ({"prompt": "x", "external_task_id": "e"}, {}):
            kling.emulator.faults = [Fault(action="close", commit_after_s=1)]
            with pytest.raises(aiohttp.ClientError):
                await kling.post(T2V, body)
        kling.emulator.faults.clear()
        kling.hand.at = 20
        assert len(kling.emulator.tasks) == 1

    play(story)


def test_late_commit_of_what_never_would() -> None:
    """A postponed request without credentials, body or model makes nothing."""

    async def story(kling: Caller) -> None:
        kling.emulator.faults = [Fault(action="html", commit_after_s=1)]
        await kling.post(T2V, {"prompt": "x"}, key="bad")
        await kling.ask("POST", T2V, data=b"{")
        await kling.post("/text-to-video/kling-99", {"prompt": "x"})
        await kling.get(f"{T2V}/1")
        kling.hand.at = 5
        assert kling.emulator.tasks == []

    play(story, dialect="official")


def test_caller_that_gives_up_during_a_delay_has_paid() -> None:
    """The service goes on when the caller has gone."""

    async def story(kling: Caller) -> None:
        kling.emulator.faults = [Fault(action="delay", delay_s=0.2)]
        with pytest.raises(TimeoutError):
            await kling.post(T2V, {"prompt": "x"}, timeout=aiohttp.ClientTimeout(total=0.05))
        await asyncio.sleep(0.3)
        assert len(kling.emulator.tasks) == 1

    play(story)


@pytest.mark.parametrize("action", ["hang", "slow"])
def test_caller_that_leaves(action: Any) -> None:
    async def story(kling: Caller) -> None:
        kling.emulator.faults = [Fault(action=action, delay_s=1.0)]
        with pytest.raises(TimeoutError):
            await kling.post(T2V, {"prompt": "x"}, timeout=aiohttp.ClientTimeout(total=0.05))
        await asyncio.sleep(0.4)

    play(story)


def test_closing_ends_what_hangs() -> None:
    """Closing an emulator does not wait for its hanging requests."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession() as http:
            async with Emulator(faults=[Fault(action="hang")]) as emulator:
                hanging = asyncio.ensure_future(http.get(emulator.url + "/x"))
                await asyncio.sleep(0.2)
                assert len(emulator.requests) == 1
                started = loop.time()
            assert loop.time() - started < 1.5
            with pytest.raises(aiohttp.ClientError):
                await hanging

    asyncio.run(run())


def test_faults_over_http() -> None:
    """The plan can be read, extended and cleared over HTTP, from any language."""

    async def story(kling: Caller) -> None:
        page = "/_emulator/faults"
        fault = {"action": "status", "status": 503, "kind": "create", "times": 1, "body": "{}"}
        told = await kling.ask("POST", page, bare=True, key=None, json=fault)
        assert told.json == {"faults": [fault], "hits": 0}
        await kling.ask("POST", page, bare=True, json=[{"action": "html"}])
        assert (await kling.post(T2V, {"prompt": "x"})).status == 503
        assert (await kling.ask("GET", page, bare=True)).json["hits"] == 1
        assert (await kling.post(T2V, {"prompt": "x"})).status == 502
        for bad in (b"{", b'{"action":"x"}', b'{"action":"reset","headers":5}', b'{"nth":1}'):
            assert (await kling.ask("POST", page, bare=True, data=bad)).status == 400
        assert (await kling.ask("PATCH", page, bare=True)).status == 405
        assert (await kling.ask("DELETE", page, bare=True)).json == {"faults": [], "hits": 0}
        await kling.create()

    play(story)


@pytest.mark.parametrize("action", ["reset", "close", "hang"])
def test_connections_that_are_hit_when_they_are_accepted(action: Any) -> None:
    """Nothing is read of them, so nothing is logged and nothing is made; they are counted like the others."""

    async def story(kling: Caller) -> None:
        kling.emulator.faults = [Fault(action=action, stage="accept", nth=(1, 2))]
        for number in (1, 2):
            with pytest.raises((aiohttp.ClientError, OSError, TimeoutError)):
                await kling.post(T2V, {"prompt": "x"}, timeout=aiohttp.ClientTimeout(total=0.3))
            assert (kling.emulator.connections, kling.emulator.faults.hits()) == (number, number)
        assert kling.emulator.requests == []
        assert (await kling.post(T2V, {"prompt": "x"})).status == 200
        assert kling.emulator.connections == 3
        assert len(kling.emulator.tasks) == 1

    play(story)


def test_closing_lets_go_of_what_is_kept_in_silence() -> None:
    async def run() -> None:
        async with Emulator(faults=[Fault(action="hang", stage="accept")]) as emulator:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.rpartition(":")[2]))
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(1), 5) == b""
        writer.close()

    asyncio.run(run())


def test_later_requests_of_a_connection() -> None:
    """`reused` tells the first request of a connection from those that come on it when it was kept."""

    async def story(kling: Caller) -> None:
        kling.emulator.faults = [Fault(action="html", status=503, reused=True, times=1)]
        statuses = [(await kling.post(T2V, {"prompt": "x"})).status for _ in range(3)]
        assert statuses == [200, 503, 200]
        kling.emulator.faults = [Fault(action="html", status=503, reused=False)]
        assert (await kling.post(T2V, {"prompt": "x"})).status == 200
        assert kling.emulator.connections == 1

    play(story)


def test_a_head_that_comes_slowly_is_whole_in_the_end() -> None:
    async def story(kling: Caller) -> None:
        reply = await broken(kling, action="slow", within="head", delay_s=0.05, headers={"X-A": "b"})
        assert isinstance(reply, Reply)
        assert reply.data["task_status"] == "submitted"
        assert reply.headers["X-A"] == "b"

    play(story)


@pytest.mark.parametrize("place", ["single", "list", "batch"])
def test_altered_task_objects(place: str) -> None:
    """In every kind of answer, of all tasks or of one; what is not about a task stays."""

    async def story(kling: Caller) -> None:
        idents = [await kling.create(external_task_id=f"e{index}") for index in range(3)]
        paths = {"single": f"{T2V}/{idents[1]}", "list": f"{T2V}?pageNum=1&pageSize=10"}
        path = paths.get(place, f"/tasks?task_ids={','.join(idents)}")

        async def told(**fault: Any) -> list[dict[str, Any]]:
            kling.emulator.faults = [Fault(action="alter", kind=place, **fault)]
            reply = await kling.get(path)
            data = reply.json.get("data")
            return data if isinstance(data, list) else [data] if reply.status == 200 else []

        count = 1 if place == "single" else 3
        values = {"task_status": "odd", "status": "odd", "extra": None}
        rows = await told(values=values)
        assert [row["extra"] for row in rows] == [None] * count
        assert {row.get("task_status") for row in rows} == {"odd"}
        rows = await told(values=values, task=idents[1])
        assert sum("extra" in row for row in rows) == 1
        rows = await told(values=values, task="e1")
        assert sum("extra" in row for row in rows) == 1
        assert len(await told(rows="none", task=idents[1])) == count - 1
        assert await told(rows="none") == []
        assert len(await told(rows="twice", task=idents[1])) == (1 if place == "single" else 4)
        assert len(await told(rows="twice")) == (1 if place == "single" else 6)
        assert len(kling.emulator.tasks) == 3

    play(story, dialect="official", lists=True, batch_sees_legacy=True)


def test_altering_what_tells_of_no_task() -> None:
    """A page, a file or a refusal goes through as it is."""

    async def story(kling: Caller) -> None:
        kling.emulator.faults = [Fault(action="alter", values={"x": 1})]
        assert (await kling.get("/nowhere")).raw[:1] in (b"<", b"{")
        reply = await kling.get(f"{T2V}/867")
        assert (reply.status, reply.json["code"]) == (400, 1201)
        assert "x" not in reply.json

    play(story)


def test_a_create_with_two_effects() -> None:
    """One request, two tasks of one external id; the answer tells of the first."""

    async def story(kling: Caller) -> None:
        kling.emulator.faults = [Fault(action="delay", kind="create", effects=2)]
        ident = await kling.create(external_task_id="e")
        assert [task.external_id for task in kling.emulator.tasks] == ["e", "e"]
        assert kling.emulator.tasks[0].public_id == ident
        kling.emulator.faults = [Fault(action="reset", stage="after", kind="create", effects=3)]
        with pytest.raises(aiohttp.ClientError):
            await kling.create(external_task_id="f")
        assert len(kling.emulator.tasks) == 5

    play(story, unique_external_ids=False)


def test_altered_answers_over_http() -> None:
    async def story(kling: Caller) -> None:
        fault = {"action": "alter", "kind": "single", "values": {"task_result": {"videos": [None]}}, "rows": "twice"}
        told = await kling.ask("POST", "/_emulator/faults", bare=True, json=fault)
        assert told.json["faults"] == [fault]

    play(story)
