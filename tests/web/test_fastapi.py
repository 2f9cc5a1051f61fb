"""kling_async.fastapi: the session's life, and the routes for jobs, in one process on a virtual clock."""

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra kling-async[fastapi]")
pytest.importorskip("httpx", reason="the client of these tests")

import httpx
from fastapi import APIRouter, FastAPI, Header, HTTPException
from flow_tools import assert_paid_once, client, kinds, service, wall
from web_tools import CLIP, client_of, clip, events_in, served, states_in

from kling_async import (
    ConfigError,
    JournalError,
    KlingSession,
    MemoryJournal,
    MemoryStore,
    OmniVideo,
    Operation,
    Policy,
    SessionClosed,
    Status,
    TextToVideo,
)
from kling_async.emulator import Fault
from kling_async.fastapi import KlingDep, callback_router, get_kling, jobs_router, kling_lifespan
from kling_async.fastapi.events import LAST, is_told, last_seen, rank_of, stream
from kling_async.fastapi.jobs import job_id_of
from kling_async.fastapi.lifespan import session_of
from kling_async.snapshots import Snapshot

# --- a job, from its creation to its end -----------------------------------------------------------------------------


async def test_a_job_is_created_followed_and_shown() -> None:
    """202 at once with its place; the events tell its way, and the job itself its assets."""
    async with service() as emulator, served(emulator) as (_app, http):
        made = await http.post("/jobs", json=CLIP)
        assert (made.status_code, made.json()["status"]) == (202, "queued")
        place = made.headers["location"]
        assert place == f"/jobs/{made.json()['id']}"
        told = await http.get(f"{place}/events")
        assert told.headers["content-type"].startswith("text/event-stream")
        assert told.headers["cache-control"] == "no-store"
        assert told.text.startswith("retry: 2000\n\n")
        numbers = [number for number, _ in states_in(told.text)]
        assert numbers == sorted(set(numbers))
        assert {(1, "queued"), (4, "accepted"), (5, "processing"), (7, "succeeded")} <= set(states_in(told.text))
        job = (await http.get(place)).json()
        assert events_in(told.text)[-1][1] == job
        assert (job["done"], job["error"], job["endpoint"]) == (True, None, "text2video")
        assert job["result"]["url"] == job["result"]["assets"][0]["url"]
        assert job["result"]["billing"]["amount"] is not None
        assert_paid_once(emulator, 1)


async def test_a_failure_tells_whether_it_was_paid() -> None:
    async with service() as emulator, served(emulator) as (_app, http):
        made = await http.post("/jobs", json=clip("a bicycle [fail]"))
        told = events_in((await http.get(made.headers["location"] + "/events")).text)
        assert told[-1][1]["status"] == "failed"
        error = told[-1][1]["error"]
        assert (error["type"], error["paid"], error["retryable"]) == ("TaskFailed", "no", False)
        assert error["message"].startswith("the task failed")


async def test_the_same_key_is_the_same_job() -> None:
    """Sent again, also after its end and at once beside the first: one job, one payment."""
    async with service() as emulator, served(emulator) as (_app, http):
        key = {"Idempotency-Key": "order-17"}
        answers = await asyncio.gather(*(http.post("/jobs", json=CLIP, headers=key) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {202}
        assert {answer.headers["location"] for answer in answers} == {"/jobs/order-17"}
        await http.get("/jobs/order-17/events")
        again = await http.post("/jobs", json=CLIP, headers={"Idempotency-Key": '"order-17"'})
        assert (again.status_code, again.json()["status"]) == (202, "succeeded")
        other = await http.post("/jobs", json=clip("another"), headers=key)
        assert other.status_code == 422
        assert other.headers["content-type"] == "application/problem+json"
        assert (other.json()["error"], other.json()["job_id"]) == ("IdempotencyMismatch", "order-17")
        assert_paid_once(emulator, 1)


def test_keys_that_can_be_no_id_are_hashed() -> None:
    """Whatever a key looks like, it names one job; keys of different callers name different jobs."""
    assert job_id_of("order-17") == job_id_of('"order-17"') == "order-17"
    odd = [job_id_of(key) for key in ("order 17", "order/17", "ü", "x" * 65, '"', "order,17", "\udce4")]
    owned = [job_id_of("order-17", owner) for owner in ("ann", "bob")]
    assert len({*odd, *owned}) == len(odd) + len(owned)
    assert all(job_id.startswith("key-") and len(job_id) <= 64 and job_id.isascii() for job_id in odd + owned)
    for key in ("", '""', "x" * 256):
        with pytest.raises(ValueError, match="1 to 255"):
            job_id_of(key)


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, str, Mapping[str, object]]] = [
    ("no JSON", "{", {"status": 400}),
    ("not a number of JSON", '{"endpoint": NaN}', {"status": 400}),
    ("deep", "[" * 100_000, {"status": 400}),
    ("a list", "[1]", {"status": 422, "field": "body"}),
    ("nothing", "", {"status": 422, "field": "body"}),
    ("a further field", '{"endpoint":"text2video","request":{},"job_id":"x"}', {"field": "job_id"}),
    ("no endpoint", '{"request":{}}', {"field": "endpoint"}),
    (
        "a wrong endpoint",
        '{"endpoint":"text2vide","request":{}}',
        {"rule": "is not offered here; did you mean text2video?"},
    ),
    ("a call", '{"endpoint":"account/costs","request":{}}', {"field": "endpoint"}),
    ("no path", '{"endpoint":"text-to-video/a b","request":{}}', {"field": "endpoint"}),
    ("no request", '{"endpoint":"text2video"}', {"field": "request"}),
    ("missing", '{"endpoint":"text2video","request":{}}', {"field": "request.prompt"}),
    (
        "out of bounds",
        '{"endpoint":"text2video","request":{"prompt":"x","duration":"90"}}',
        {"field": "request.duration", "value": "'90'", "rule": "must be a length from 1 to 60 seconds", "paid": "no"},
    ),
    ("misspelt", '{"endpoint":"text2video","request":{"promt":"x"}}', {"rule": "no such field; did you mean prompt?"}),
    (
        "the server's id",
        '{"endpoint":"text2video","request":{"prompt":"x","external_task_id":"y"}}',
        {"field": "request.external_task_id"},
    ),
    (
        "the server's callback, hidden",
        '{"endpoint":"text2video","request":{"prompt":"x","extra":{"a":[{"callback_url":"https://x.example"}]}}}',
        {"field": "request.extra.a[0].callback_url"},
    ),
    (
        "another model than the endpoint's",
        '{"endpoint":"text-to-video/kling-3.0","request":{"prompt":"x","model":"kling-4.0"}}',
        {"field": "request.model"},
    ),
]


async def test_a_wrong_body_is_told_where_it_is_wrong() -> None:
    """A problem as in RFC 9457, with field, value and rule; nothing was recorded or sent."""
    async with service() as emulator, served(emulator) as (_app, http):
        for name, body, told in REFUSED:
            answer = await http.post("/jobs", content=body, headers={"Content-Type": "application/json"})
            problem = answer.json()
            assert answer.headers["content-type"] == "application/problem+json", name
            assert {field: problem.get(field) for field in told} == told, name
            assert answer.status_code == problem["status"] == told.get("status", 422), name
            assert (problem["type"], len(problem["detail"]) > 5) == ("about:blank", True), name
        assert (await http.get("/jobs")).json() == {"jobs": [], "next": None}
        assert emulator.requests == []


async def test_other_refusals_are_problems_too() -> None:
    """Too large (told by length, and while it comes), not JSON by its type, a key, a parameter, an id of nothing."""
    router = jobs_router(max_bytes=100)
    async with service() as emulator, served(emulator, routers=[router]) as (_app, http):

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 64

        typed = {"Content-Type": "application/json"}
        key = {"Idempotency-Key": "x" * 300}
        for answer, status in (
            (await http.post("/jobs", content=b"[" + b" " * 100, headers=typed), 413),
            (await http.post("/jobs", content=endless(), headers=typed), 413),
            (await http.post("/jobs", content=b"{}", headers={"Content-Type": "text/plain"}), 415),
            (await http.post("/jobs", content=json.dumps(CLIP)[:90], headers=typed), 400),
            (await http.post("/jobs", json={}, headers=key), 422),
            (await http.get("/jobs?limit=0"), 422),
            (await http.get("/jobs?status=done"), 422),
            (await http.get("/jobs?before=-1"), 422),
            (await http.get("/jobs/nothing"), 404),
            (await http.get("/jobs/nothing/events"), 404),
            (await http.get("/jobs/%00%ff"), 404),
        ):
            assert answer.status_code == answer.json()["status"] == status, answer.text
            assert answer.headers["content-type"] == "application/problem+json"


FILES: list[tuple[str, dict[str, Any]]] = [
    ("image2video", {"image": {"file": "/etc/passwd"}}),
    ("image2video", {"image": {"file": ["/etc/passwd"]}}),
    ("image2video", {"image": "/etc/passwd"}),
    ("image2video", {"image": "file:///etc/passwd"}),
    ("image2video", {"image": "https://h.example/a.png", "static_mask": {"file": "/etc/passwd"}}),
    ("image2video", {"image": "https://h.example/a.png", "extra": {"image_tail": {"file": "/etc/passwd"}}}),
    (
        "image2video",
        {
            "image": "https://h.example/a.png",
            "dynamic_masks": [{"mask": {"file": "/etc/passwd"}, "trajectories": [{"x": 1, "y": 1}] * 2}],
        },
    ),
    ("image-to-video/kling-3.0", {"contents": [{"type": "first_frame", "url": {"file": "/etc/passwd"}}]}),
    ("image-to-video/kling-3.0", {"contents": [{"type": "new", "url": {"file": "/etc/passwd"}}]}),
    ("image-to-video/kling-3.0", {"contents": [{"type": "new", "extra": {"url": {"file": "/etc/passwd"}}}]}),
    ("avatar", {"image": "https://h.example/a.png", "sound_file": {"file": "/etc/passwd"}}),
    ("multi-image2image", {"subject_image_list": [{"subject_image": {"file": "/etc/passwd"}}]}),
]


async def test_a_file_of_the_server_cannot_be_named() -> None:
    """In no form that plain data can take: whoever asks from afar must not make the server read its own files."""
    async with service() as emulator, served(emulator) as (_app, http):
        for endpoint, fields in FILES:
            answer = await http.post("/jobs", json={"endpoint": endpoint, "request": fields})
            assert answer.status_code == 422, fields
            assert "file" in answer.json()["detail"] or "URL" in answer.json()["detail"], fields
            assert "pathlib" not in answer.text
        assert (await http.get("/jobs")).json()["jobs"] == []
        assert emulator.requests == []


async def test_only_what_is_offered_can_be_asked_for() -> None:
    """Named endpoints, or all of a class, also those of tomorrow."""
    routers = [
        jobs_router("/few", requests=["text2video", "text-to-video/kling-3.0", OmniVideo]),
        jobs_router("/new", requests=[Operation]),
        jobs_router("/one", requests=[TextToVideo]),
    ]
    later = {"endpoint": "text-to-video/kling-9.0", "request": {"prompt": "x"}}
    async with service() as emulator, served(emulator, routers=routers) as (app, http):
        assert (await http.post("/few", json=CLIP)).status_code == 202
        assert (await http.post("/one", json=CLIP)).status_code == 202
        assert (await http.post("/few", json=later)).status_code == 422
        assert (await http.post("/new", json=later)).status_code == 202
        assert (await http.post("/new", json=CLIP)).json()["field"] == "endpoint"
        app.openapi()
    for wrong in (["account/costs"], [], ["nothing"]):
        with pytest.raises(ConfigError):
            jobs_router(requests=wrong)


# --- lists, and who may see what -------------------------------------------------------------------------------------


async def test_jobs_are_listed_newest_first_page_by_page() -> None:
    async with service() as emulator, served(emulator) as (_app, http):
        for number in range(7):
            await http.post("/jobs", json=clip(f"s{number}"), headers={"Idempotency-Key": f"s{number}"})
        await http.post("/jobs", json=clip("[fail]"), headers={"Idempotency-Key": "wrong"})
        seen: list[str] = []
        before: dict[str, int] = {}
        while True:
            page = (await http.get("/jobs", params={"limit": 3, **before})).json()
            seen += [job["id"] for job in page["jobs"]]
            if page["next"] is None:
                break
            before = {"before": page["next"]}
        assert seen == ["wrong", *(f"s{number}" for number in reversed(range(7)))]
        await http.get("/jobs/s0/events")
        await http.get("/jobs/wrong/events")
        failed = (await http.get("/jobs?status=failed")).json()["jobs"]
        assert [(job["id"], job["error"]["paid"]) for job in failed] == [("wrong", "no")]
        assert (await http.get("/jobs?status=queued")).json()["jobs"] == []


async def test_each_caller_sees_its_own_jobs_only() -> None:
    """What `authorize` refuses is refused everywhere; whom it names has jobs and keys of its own."""

    async def authorize(who: Annotated[str | None, Header()] = None) -> str | None:
        if who is None:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
        return None if who == "root" else who

    async with service() as emulator, served(emulator, routers=[jobs_router(authorize=authorize)]) as (_app, http):
        for call in (http.post("/jobs", json=CLIP), http.get("/jobs"), http.get("/jobs/x"), http.get("/jobs/x/events")):
            assert (await call).status_code == 401
        places = {}
        for who in ("ann", "bob"):
            headers = {"who": who, "Idempotency-Key": "order-1"}
            for _ in range(3):
                places[who] = (await http.post("/jobs", json=CLIP, headers=headers)).headers["location"]
        assert places["ann"] != places["bob"]
        for who in ("ann", "bob"):
            other = places["bob" if who == "ann" else "ann"]
            assert (await http.get(places[who], headers={"who": who})).status_code == 200
            assert (await http.get(other, headers={"who": who})).status_code == 404
            assert (await http.get(f"{other}/events", headers={"who": who})).status_code == 404
            listed = (await http.get("/jobs?limit=1", headers={"who": who})).json()
            assert [f"/jobs/{job['id']}" for job in listed["jobs"]] == [places[who]]
        assert len((await http.get("/jobs", headers={"who": "root"})).json()["jobs"]) == 2
        for number in range(5):
            await http.post("/jobs", json=clip(f"{number}"), headers={"who": "bob" if number % 2 else "ann"})
        first = (await http.get("/jobs?limit=2", headers={"who": "ann"})).json()
        second = (await http.get(f"/jobs?limit=2&before={first['next']}", headers={"who": "ann"})).json()
        assert (len(first["jobs"]), len(second["jobs"]), second["next"]) == (2, 2, None)
        assert len({job["id"] for job in first["jobs"] + second["jobs"]}) == 4
        await http.get(places["ann"] + "/events", headers={"who": "ann"})
        await http.get(places["bob"] + "/events", headers={"who": "bob"})
        assert_paid_once(emulator, 7)


async def test_a_search_for_ones_own_jobs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among very many of others: the page is empty then, and says where to go on."""
    monkeypatch.setattr("kling_async.fastapi.jobs._PAGE", 2)
    monkeypatch.setattr("kling_async.fastapi.jobs._PAGES", 2)

    async def authorize(who: Annotated[str, Header()]) -> str:
        return who

    async with service() as emulator, served(emulator, routers=[jobs_router(authorize=authorize)]) as (_app, http):
        await http.post("/jobs", json=CLIP, headers={"who": "ann"})
        for number in range(6):
            await http.post("/jobs", json=clip(f"{number}"), headers={"who": "bob"})
        found: list[str] = []
        before: dict[str, int | None] = {}
        for _ in range(2):
            page = (await http.get("/jobs", params=before, headers={"who": "ann"})).json()
            found += [str(len(page["jobs"]))]
            before = {"before": page["next"]}
        assert (found, before) == (["0", "1"], {"before": None})


async def test_a_caller_without_a_name_is_a_mistake_of_the_application() -> None:
    """Rather an error than jobs shown to everybody."""
    for wrong in (17, ""):
        routers = [jobs_router(authorize=async_giving(wrong))]
        async with service() as emulator, served(emulator, routers=routers) as (_app, http):
            with pytest.raises(ConfigError, match="authorize gave"):
                await http.get("/jobs")


# --- events ----------------------------------------------------------------------------------------------------------


async def test_a_stream_goes_on_after_the_last_event_seen() -> None:
    """Whatever was seen, what is later comes; when the end was seen, the client is told not to come back."""
    async with service() as emulator, served(emulator) as (_app, http):
        place = (await http.post("/jobs", json=CLIP)).headers["location"]
        await http.get(f"{place}/events")
        for last, states in (
            ("", [(1, "queued"), (4, "accepted"), (7, "succeeded")]),
            ("nonsense", [(1, "queued"), (4, "accepted"), (7, "succeeded")]),
            ("1", [(4, "accepted"), (7, "succeeded")]),
            ("4", [(7, "succeeded")]),
            ("6", [(7, "succeeded")]),
        ):
            told = await http.get(f"{place}/events", headers={"Last-Event-ID": last})
            assert states_in(told.text) == states
        assert [job["task_id"] is None for _, job in events_in((await http.get(f"{place}/events")).text)] == [1, 0, 0]
        ended = await http.get(f"{place}/events", headers={"Last-Event-ID": "7"})
        assert (ended.status_code, ended.content) == (204, b"")


async def test_a_silent_stream_is_kept_alive() -> None:
    """A comment every 15 s while nothing happens, so that no proxy ends it."""
    async with service(duration_s=100) as emulator, served(emulator) as (_app, http):
        place = (await http.post("/jobs", json=CLIP)).headers["location"]
        told = (await http.get(f"{place}/events")).text
        assert 4 <= told.count(": ping\n\n") <= 8
        assert states_in(told)[-1] == (7, "succeeded")


async def test_a_client_that_leaves_cancels_nothing() -> None:
    """Neither while its job is made, nor while it is followed: the stream ends, the job goes on and is paid once."""
    async with service() as emulator, served(emulator) as (app, http):
        place = (await http.post("/jobs", json=CLIP)).headers["location"]
        sent: list[dict[str, Any]] = []
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if b"accepted" in message.get("body", b""):
                left.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"{place}/events",
            "raw_path": f"{place}/events".encode(),
            "query_string": b"",
            "headers": [],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await app(scope, receive, send)
        assert not any(b"succeeded" in message.get("body", b"") for message in sent)
        assert (await http.get(place)).json()["done"] is False
        told = (await http.get(f"{place}/events", headers={"Last-Event-ID": "4"})).text
        assert states_in(told)[-1] == (7, "succeeded")
        assert_paid_once(emulator, 1)


async def test_a_creator_that_leaves_cancels_nothing() -> None:
    """Its request is cancelled when it is answered already: the job is recorded, and goes on."""
    async with service() as emulator, served(emulator) as (_app, http):
        task = asyncio.ensure_future(http.post("/jobs", json=CLIP, headers={"Idempotency-Key": "order-1"}))
        while (await http.get("/jobs/order-1")).status_code == 404:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert states_in((await http.get("/jobs/order-1/events")).text)[-1] == (7, "succeeded")
        assert_paid_once(emulator, 1)


def seen(status: Status, **more: Any) -> Snapshot:
    return Snapshot(id="j", endpoint="text2video", status=status, created_at=datetime(2026, 11, 21, tzinfo=UTC), **more)


class Told:
    """Tells a job's states one after the other."""

    def __init__(self, *states: Snapshot | Exception | None) -> None:
        self.states = list(states)

    async def look(self, job_id: str) -> Snapshot | None:
        state = self.states.pop(0)
        if isinstance(state, Exception):
            raise state
        return state


async def told_by(last: int, first: Snapshot, *states: Snapshot | Exception | None) -> list[tuple[int, str]]:
    looker = Told(*states)
    text = b"".join([part async for part in stream(looker, first, last)]).decode()
    assert looker.states == []
    return states_in(text)


async def test_numbers_grow_whatever_a_job_goes_through() -> None:
    """Put back and sent again, not found out and found at last; a journal in trouble is asked again."""
    ended = seen(Status.SUCCEEDED, task_id="t", error=JournalError("stands for an end"))
    unknown = seen(Status.UNRESOLVED, error=JournalError("stands for an end"))
    assert await told_by(
        0,
        seen(Status.SENDING),
        seen(Status.QUEUED),
        JournalError("disk"),
        seen(Status.SENDING),
        seen(Status.UNSURE),
        seen(Status.QUEUED),
        seen(Status.PROCESSING, task_id="t"),
        ended,
    ) == [(1, "queued"), (2, "sending"), (3, "unsure"), (4, "accepted"), (5, "processing"), (7, "succeeded")]
    assert await told_by(0, seen(Status.UNSURE), unknown) == [(1, "queued"), (3, "unsure"), (6, "unresolved")]
    assert await told_by(6, seen(Status.UNSURE), unknown) == []
    assert await told_by(6, seen(Status.UNSURE), ended) == [(7, "succeeded")]
    assert await told_by(0, seen(Status.QUEUED), SessionClosed("closed")) == [(1, "queued")]
    assert await told_by(0, seen(Status.QUEUED), None) == [(1, "queued")]
    assert is_told(unknown, 6)
    assert not is_told(ended, 6)
    assert not is_told(seen(Status.UNSURE), 6)


def test_every_state_has_a_number() -> None:
    """Final ones the last, but for what may still be found out."""
    numbers = {status: rank_of(status) for status in Status}
    assert [numbers[status] for status in list(Status)[:5]] == [1, 2, 3, 4, 5]
    assert {status for status in Status if numbers[status] == LAST} == {
        status for status in Status if status.is_final and status is not Status.UNRESOLVED
    }
    assert [last_seen(text) for text in (None, "", "5", "-1", "99999", "\u0665", "5\n")] == [0, 0, 5, 0, 0, 0, 0]


# --- several processes, and restarts ---------------------------------------------------------------------------------


async def test_any_worker_tells_of_every_job() -> None:
    """Made by one, followed through another, which asks the host nothing about it."""
    store = MemoryStore()
    async with (
        service() as emulator,
        served(emulator, store) as (_one, first),
        served(emulator, store) as (_two, second),
    ):
        key = {"Idempotency-Key": "order-1"}
        place = (await first.post("/jobs", json=CLIP, headers=key)).headers["location"]
        again = await second.post("/jobs", json=CLIP, headers=key)
        assert (again.status_code, again.headers["location"]) == (202, place)
        told = states_in((await second.get(f"{place}/events")).text)
        assert (told[0], told[-1]) == ((1, "queued"), (7, "succeeded"))
        assert (4, "accepted") in told
        assert (await first.get(place)).json() == (await second.get(place)).json()
        assert (await second.get("/jobs")).json() == (await first.get("/jobs")).json()
        other = await second.post("/jobs", json=clip("another"), headers=key)
        assert (other.status_code, other.json()["error"]) == (422, "IdempotencyMismatch")
        assert_paid_once(emulator, 1)
        assert kinds(emulator)["create"] == 1


async def test_a_restart_adopts_what_was_open() -> None:
    """What runs is followed on, what was queued is sent; streams go on where they were."""
    store = MemoryStore()
    async with service(slots=2, duration_s=(60, 90)) as emulator:
        async with served(emulator, store, drain=0.5) as (_app, http):
            for number in range(4):
                await http.post("/jobs", json=clip(f"s{number}"), headers={"Idempotency-Key": f"s{number}"})
            while len(emulator.tasks) < 2:
                await asyncio.sleep(0.1)
        async with served(emulator, store) as (_app, http):
            for number in range(4):
                told = await http.get(f"/jobs/s{number}/events", headers={"Last-Event-ID": "1"})
                assert states_in(told.text)[-1] == (7, "succeeded")
        assert_paid_once(emulator, 4)


async def test_what_an_ending_process_leaves_is_adopted_by_one_that_runs() -> None:
    """As in a rolling update: the old one ends when the new one has long started."""
    store = MemoryStore()
    async with service(duration_s=200) as emulator:
        async with served(emulator, store, adopt_every=5.0) as (_new, http):
            async with served(emulator, store, drain=0.5) as (_old, other):
                place = (await other.post("/jobs", json=CLIP)).headers["location"]
                while not emulator.tasks:
                    await asyncio.sleep(0.1)
            assert states_in((await http.get(f"{place}/events")).text)[-1] == (7, "succeeded")
        assert_paid_once(emulator, 1)


async def test_trouble_with_adopting_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """A journal that cannot be read for a while ends nothing; a session that was closed is left alone."""
    asked: list[int] = []

    class Troubled(KlingSession):
        async def adopt(self) -> Any:
            asked.append(1)
            if len(asked) == 2:
                raise JournalError("the disk is full")
            return await super().adopt()

    async with service() as emulator, served(emulator, kind=Troubled, adopt_every=1.0) as (app, http):
        await asyncio.sleep(3.5)
        assert len(asked) == 4
        await app.state.kling.aclose()
        await asyncio.sleep(5)
        assert len(asked) == 5
        closed = await http.get("/jobs")
        assert (closed.status_code, closed.headers["retry-after"]) == (503, "2")
        assert (await http.post("/jobs", json=CLIP)).json()["error"] == "SessionClosed"
    assert "trying again: the disk is full" in caplog.text
    assert "adopted any more" in caplog.text


# --- the session's life ----------------------------------------------------------------------------------------------


async def test_the_session_lives_as_long_as_the_application() -> None:
    """Open between one's own start and end, in the state of both kinds; gone afterwards."""
    steps: list[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        steps.append(f"open {app.state.kling.stats.pending}")
        yield {"mine": 1}
        steps.append(f"still open {app.state.kling.stats.pending}")

    async with service() as emulator:
        journal = MemoryJournal(wall=wall)
        lifespan = kling_lifespan(journal=journal, api_key=emulator.api_key, base_url="global", lifespan=own, drain=1)
        app = FastAPI(lifespan=lifespan)
        async with lifespan(app) as state:
            session = app.state.kling
            assert state == {"mine": 1, "kling": session}
        assert steps == ["open 0", "still open 0"]
        assert session_of(app) is None
        with pytest.raises(SessionClosed):
            await session.adopt()


async def test_what_a_start_needs() -> None:
    """No journal, or arguments that cannot be: the application does not start, and says why."""
    for wrong in ({"drain": 0}, {"adopt_every": -1}, {"drain": True}, {"make": KlingSession, "api_key": "x"}):
        with pytest.raises(ConfigError):
            kling_lifespan(**wrong)
    app = FastAPI()
    with pytest.raises(ConfigError, match="journal"):
        async with kling_lifespan(api_key="x")(app):
            pass
    assert session_of(app) is None


async def test_the_dependency_can_be_overridden_and_mounted() -> None:
    """A session of one's own in tests; an application mounted in another finds the outer one's session."""
    app, inner = FastAPI(), FastAPI()

    @app.get("/host")
    @inner.get("/host")
    async def host(kling: KlingDep) -> str:
        return kling.host.name

    app.mount("/inner", inner)
    async with client_of(app) as http:
        with pytest.raises(ConfigError, match="kling_lifespan"):
            await http.get("/host")
        async with service() as emulator, client(emulator) as session:
            app.dependency_overrides[get_kling] = async_giving(session)
            assert (await http.get("/host")).json() == session.host.name
            with_state = httpx.ASGITransport(stated(app, {"kling": session}))
            async with httpx.AsyncClient(transport=with_state, base_url="http://app") as other:
                assert (await other.get("/inner/host")).json() == session.host.name


def async_giving(value: Any) -> Any:
    async def give() -> Any:
        return value

    return give


def stated(app: Any, state: dict[str, Any]) -> Any:
    """Serve as a server does that hands the lifespan's state to every request."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return serve


def test_what_fastapi_itself_lacks_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "fastapi":
                raise ImportError("no starlette", name="starlette")

    for name in [name for name in sys.modules if name.startswith("kling_async.fastapi") or name == "fastapi"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ImportError, match="no starlette"):
        importlib.import_module("kling_async.fastapi")


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("kling_async.fastapi")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ImportError, match=r"pip install 'kling-async\[fastapi\]'"):
        importlib.import_module("kling_async.fastapi")


# --- callbacks -------------------------------------------------------------------------------------------------------


class Called(KlingSession):
    """A session that takes callbacks, as far as the route is concerned."""

    taken: list[tuple[str | None, bytes, str | None, str | None]]
    takes_callbacks = True

    def take_callback(
        self, headers: Mapping[str, str], body: bytes, *, job_id: str | None = None, token: str | None = None
    ) -> int:
        self.taken = [*getattr(self, "taken", []), (headers.get("Webhook-Id"), body, job_id, token)]
        return 413 if len(body) > 256 * 1024 else 204


class Shut(Called):
    takes_callbacks = False


async def test_callbacks_are_handed_to_the_session() -> None:
    """As they came, with what the path says; too much is not read to its end."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65_536
            yield b"x" * 65_536

    async with service() as emulator, served(emulator, kind=Called, routers=[callback_router("/hook")]) as (app, http):
        assert (await http.post("/hook", content=b"{}", headers={"webhook-id": "m1"})).status_code == 204
        assert (await http.post("/hook/order-1/a.b~c", content=b"{}")).status_code == 204
        assert (await http.post("/hook", content=endless())).status_code == 413
        assert read <= 6 * 65_536
        assert app.state.kling.taken[:2] == [("m1", b"{}", None, None), (None, b"{}", "order-1", "a.b~c")]
        assert (await http.get("/hook")).status_code == 405
        assert app.openapi()["paths"] == {}


async def test_a_callback_with_the_token_of_its_job_is_taken() -> None:
    """By the session itself: at the address that the service was told, and at no other."""
    arguments = {"callback": "https://me.example/kling/callback", "callback_token": "a secret of our own"}
    routers = [callback_router(), jobs_router()]
    async with service() as emulator, served(emulator, routers=routers, arguments=arguments) as (_app, http):
        place = (await http.post("/jobs", json=CLIP)).headers["location"]
        while not emulator.tasks:
            await asyncio.sleep(0.1)
        task = emulator.tasks[0]
        address = str(task.callback_url).removeprefix("https://me.example")
        body = json.dumps({"task_id": task.task_id, "task_status": "processing"}).encode()
        assert (await http.post(address, content=body)).status_code == 204
        assert (await http.post(f"{address}x", content=body)).status_code == 401
        assert (await http.post("/kling/callback", content=body)).status_code == 401
        assert states_in((await http.get(f"{place}/events")).text)[-1] == (7, "succeeded")


async def test_a_callback_that_never_ends_is_given_up() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)
        yield b"}"

    async with service() as emulator, served(emulator, kind=Called, routers=[callback_router()]) as (_app, http):
        assert (await http.post("/kling/callback", content=slow())).status_code == 408


async def test_callbacks_that_cannot_be_checked_stop_the_start() -> None:
    async with service() as emulator:
        with pytest.raises(ConfigError, match="webhook_secret= or callback_token="):
            async with served(emulator, kind=Shut, routers=[callback_router()]):
                pass
    app = FastAPI()  # without a session of its own: the dependency is overridden, or it stands in another one
    app.include_router(callback_router())
    async with app.router.lifespan_context(app):
        pass
    assert isinstance(callback_router(), APIRouter)


async def test_jobs_whose_answer_was_lost_are_told_as_unresolved_and_later_found() -> None:
    """Through restarts: the event of not knowing is not the last one."""
    store = MemoryStore()
    lost = Fault(action="reset", stage="after", kind="create")
    blind = [Fault(action="status", status=500, kind=kind, times=10_000) for kind in ("list", "single", "batch")]
    policy = Policy(settle_s=5, task_limit_s=30)
    async with service(faults=[lost, *blind]) as emulator:
        async with served(emulator, store, arguments={"policy": policy}) as (_app, http):
            place = (await http.post("/jobs", json=CLIP)).headers["location"]
            told = states_in((await http.get(f"{place}/events")).text)
            assert told[-1] == (6, "unresolved")
            job = (await http.get(place)).json()
            assert (job["done"], job["error"]["paid"]) == (True, "maybe")
            assert (await http.get(f"{place}/events", headers={"Last-Event-ID": "6"})).status_code == 204
        emulator.faults.clear()
        async with served(emulator, store) as (_app, http):
            told = states_in((await http.get(f"{place}/events", headers={"Last-Event-ID": "6"})).text)
            assert told == [(7, "succeeded")]
        assert_paid_once(emulator, 1)
