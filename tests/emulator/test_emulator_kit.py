"""What a test asks of the emulator: a thread of its own, assertions, a new beginning, a page to look at."""

import asyncio
import json
import re
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from emulator_tools import EPOCH, OMNI, T2V, Caller, play

from kling_async.emulator import Emulator, Fault, TaskRecord
from kling_async.emulator.ledger import complaint, log_lines

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def post(emulator: Emulator, **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {emulator.api_key}", "Content-Type": "application/json"}
    url = emulator.url + emulator.speech.prefix + T2V
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=20) as answer:
        return json.load(answer)["data"]["task_id"]


def test_a_plain_with_serves_from_a_thread() -> None:
    """It needs no loop, and may be read from the caller's thread while it serves."""
    before = threading.active_count()
    with Emulator(duration_s=0.0) as emulator:
        ident = post(emulator, prompt="a")
        assert [task.task_id for task in emulator.tasks] == [ident]
        assert (emulator.spent, emulator.spent_usd) == (1.0, 0.14)
        assert emulator.environment == {"KLING_API_KEY": "emulator-key", "KLING_BASE_URL": emulator.url}
        with pytest.raises(RuntimeError, match="already started"):
            emulator.__enter__()
    assert threading.active_count() == before
    assert not emulator.is_started
    assert len(emulator.tasks) == 1
    emulator.__exit__(None, None, None)
    with Emulator(dialect="official", host="127.0.0.1") as emulator:
        assert emulator.base_url == f"official:{emulator.url}"


def test_a_thread_that_cannot_listen_says_why() -> None:
    with Emulator() as first:
        second = Emulator(port=int(first.url.rpartition(":")[2]))
        with pytest.raises(OSError, match="address already in use"):
            second.__enter__()
        assert not second.is_started

    async def inside() -> None:
        async with Emulator() as emulator:
            with pytest.raises(RuntimeError, match="already started"):
                emulator.__enter__()

    asyncio.run(inside())


def test_what_is_asked_in_the_thread_may_fail_there() -> None:
    with Emulator() as emulator:
        emulator._clock = None  # type: ignore[assignment]
        with pytest.raises(AttributeError):
            _ = emulator.spent
        emulator._clock = Emulator()._clock


def record(number: int, **more: Any) -> TaskRecord:
    given = {"body": {"prompt": "a beach"}, "external_id": "", "status": "succeed", "endpoint": "text2video"} | more
    return TaskRecord(
        model="m",
        billed=1.0,
        slots=1,
        created_at=5.0,
        ended_at=6.0,
        reason="",
        callback_url="",
        task_id=str(number),
        public_id=str(number),
        **given,
    )


def test_paid_once() -> None:
    """An order is an external id, or a body without one; what failed cost nothing."""

    async def story(kling: Caller) -> None:
        emulator = kling.emulator
        await kling.create(prompt="same", external_task_id="a")
        await kling.create(prompt="same", external_task_id="b")
        await kling.create(prompt="plain")
        await kling.create(OMNI, prompt="plain", model_name="kling-v3-omni", aspect_ratio="1:1")
        await kling.create(prompt="[fail] x")
        await kling.create(prompt="[fail] x")
        kling.hand.at = 20.0
        emulator.paid_once()
        emulator.paid_once(4)
        with pytest.raises(AssertionError, match="4 tasks were made and are paid, not 3"):
            emulator.paid_once(3)
        first = await kling.create(prompt="plain")
        await kling.create(prompt="same", external_task_id="b")
        with pytest.raises(AssertionError) as told:
            emulator.paid_once()
        lines = str(told.value).splitlines()
        assert lines[0] == "2 orders were made, and paid, more than once:"
        assert lines[1] == "  2 tasks of text2video with external id 'b':"
        assert lines[4] == "  2 tasks of text2video with the body 'plain':"
        assert lines[6] == f"    {first} submitted, made at {EPOCH + 20:.3f}"

    play(story, unique_external_ids=False)


def test_a_long_complaint_is_cut() -> None:
    groups = [[record(1, external_id=str(at)), record(2, external_id=str(at))] for at in range(25)]
    assert complaint(groups).splitlines()[-1] == "  and 5 more"
    long = record(1, body={"prompt": "x" * 100})
    assert f"the body '{'x' * 59}…'" in complaint([[long, long]])


def test_requests_of_the_log_and_its_lines() -> None:
    async def story(kling: Caller) -> None:
        emulator = kling.emulator
        ident = await kling.create()
        kling.hand.at = 12.0
        reply = await kling.get(f"{T2V}/{ident}")
        await kling.get(f"{T2V}?pageNum=1&pageSize=30")
        await kling.get(reply.data["task_result"]["videos"][0]["url"], headers={"Authorization": "Bearer x"})
        assert [request.kind for request in emulator.requests_of(path="*text2video*")] == ["create", "single", "list"]
        assert len(emulator.requests_of("single", status=200)) == 1
        assert emulator.requests_of("single", status=404) == []
        lines = log_lines(emulator.requests, most=3)
        assert lines[0] == "... 1 requests before"
        assert lines[1] == f"  +12.000 s  200  GET /kling{T2V}/{ident}"
        assert lines[2].endswith("?pageNum=1&pageSize=30")
        assert "sig=" not in lines[3]
        assert log_lines([]) == []
        with pytest.raises(AssertionError, match=r"credentials were sent .*\n  GET /_emulator/assets/"):
            emulator.no_leaks()

    play(story, lists=True)


@pytest.mark.parametrize("door", ["method", "page"])
def test_reset(door: str) -> None:
    """No tasks, log, faults, or spending; the same ids come again, and the slots are free."""

    async def story(kling: Caller) -> None:
        emulator = kling.emulator
        first = await kling.create()
        emulator.faults.append(Fault(action="html"))
        if door == "method":
            emulator.reset()
        else:
            assert (await kling.ask("POST", "/_emulator/reset", bare=True, key=None)).json["tasks"]["submitted"] == 0
        assert not emulator.tasks
        assert not emulator.requests
        assert not emulator.faults
        assert emulator.connections == 0
        assert await kling.create() == first

    play(story, slots=1)


def test_the_page_is_whole_and_tells_nothing_of_itself() -> None:
    """One file with no address of anybody else in it; what callers sent comes as data, under a strict policy."""

    async def story(kling: Caller) -> None:
        await kling.create(prompt=HOSTILE)
        page = await kling.ask("GET", "/_emulator/", bare=True, key=None)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        text = page.raw.decode()
        assert not re.search(r"https?://|//\w+\.|@import|innerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert HOSTILE not in text
        tasks = await kling.ask("GET", "/_emulator/tasks", bare=True, key=None)
        assert tasks.headers["Content-Type"].startswith("application/json")
        assert tasks.headers["X-Content-Type-Options"] == "nosniff"
        assert tasks.json[0]["body"]["prompt"] == HOSTILE
        assert kling.emulator.requests[-1].path == f"/kling{T2V}", "its own pages are not in the log"

    play(story)


def test_the_page_asks_for_the_newest_tasks() -> None:
    """With what each costs, and its files as soon as they are there."""

    async def story(kling: Caller) -> None:
        idents = [await kling.create(prompt=str(number)) for number in range(3)]

        async def page(query: str) -> Any:
            return await kling.ask("GET", f"/_emulator/tasks{query}", bare=True, key=None)

        newest = (await page("?last=2")).json
        assert [task["task_id"] for task in newest] == idents[1:]
        assert [(task["price"], task["billed"], task["files"]) for task in newest] == [(1.0, 0.0, [])] * 2
        kling.hand.at = 11.0
        (task,) = (await page("?last=1")).json
        assert (task["price"], task["billed"]) == (1.0, 1.0)
        assert [file["kind"] for file in task["files"]] == ["video"]
        assert (await kling.ask("GET", task["files"][0]["url"], key=None)).status == 200
        assert len((await page("")).json) == len((await page("?last=9")).json) == 3
        assert (await page("?last=many")).status == 400

    play(story)


def test_the_page_is_in_the_package() -> None:
    import kling_async.emulator

    assert (
        (Path(kling_async.emulator.__file__).with_name("live.html")).read_text(encoding="utf-8").startswith("<!doctype")
    )
