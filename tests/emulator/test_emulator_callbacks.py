"""The emulator's callbacks: what is posted, when, how it is signed, and what becomes of it on the way."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import pytest
import standardwebhooks
from aiohttp import web

from kling_async.emulator import CallbackPlan, Emulator
from kling_async.emulator.callbacks import key_of, sign

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
OTHER = "whsec_" + base64.b64encode(b"the new one").decode()
EPOCH = 1_790_000_000.0
SOCKET, RECEIVER = "/virtual/emulator", "/virtual/receiver"
HERE = "http://localhost:8000/hook/secret-path"
T2V = "/v1/videos/text2video"


@attrs.define
class Place:
    """An emulator, somebody who orders, and somebody who is called back."""

    emulator: Emulator
    http: aiohttp.ClientSession
    came: list[tuple[float, web.Request, bytes]] = attrs.field(factory=list)
    pause_s: float = 0.0
    status: int = 200

    async def order(self, path: str = T2V, **body: Any) -> dict[str, Any]:
        headers = {"Authorization": "Bearer emulator-key"}
        url = self.emulator.url + self.emulator.speech.prefix + path
        async with self.http.post(
            url, json={"prompt": "a beach", "callback_url": HERE} | body, headers=headers
        ) as made:
            assert made.status == 200, await made.text()
            told: dict[str, Any] = await made.json()
            return told.get("data") or told

    async def receive(self, request: web.Request) -> web.Response:
        self.came.append((asyncio.get_running_loop().time(), request, await request.read()))
        await asyncio.sleep(self.pause_s)
        return web.Response(status=self.status)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.came]

    @property
    def words(self) -> list[str]:
        return [body.get("task_status") or body["status"] for body in self.bodies]


@asynccontextmanager
async def place(dialect: str = "official", **settings: Any) -> AsyncIterator[Place]:
    settings = {"duration_s": 100.0, "callback_unix_path": RECEIVER, **settings}
    emulator = Emulator(dialect=dialect, unix_path=SOCKET, epoch=EPOCH, **settings)
    async with emulator, aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=SOCKET)) as http:
        found = Place(emulator, http)
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", found.receive)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.UnixSite(runner, RECEIVER).start()
            yield found
        finally:
            await runner.cleanup()


async def test_each_change_of_a_legacy_task_is_told_as_its_bare_object() -> None:
    async with place() as here:
        made = await here.order(external_task_id="order-7", mode="pro")
        await asyncio.sleep(101)
        assert here.words == ["submitted", "processing", "succeed"]
        moments = [at for at, _, _ in here.came]
        task = here.emulator.tasks[0]
        assert moments[0] == 0.0
        assert 0 < moments[1] < moments[2] == pytest.approx(100.0, abs=1e-3)
        for _, request, _ in here.came:
            assert (request.method, request.path) == ("POST", "/hook/secret-path")
            assert request.headers["Content-Type"] == "application/json; charset=utf-8"
            assert "webhook-signature" not in request.headers
            assert "Authorization" not in request.headers
        first, _, last = here.bodies
        assert first["task_id"] == made["task_id"] == task.task_id
        assert first["task_info"] == {"external_task_id": "order-7"}
        assert (first["task_result"], last["task_status_msg"]) == ({}, "")
        assert last["task_result"]["videos"][0]["url"].startswith("http://localhost")
        assert last["final_unit_deduction"]
        assert first["created_at"] == last["created_at"] < last["updated_at"]
        assert [(sent.status, sent.answer, sent.trouble) for sent in here.emulator.posted] == [
            (word, 200, "") for word in here.words
        ]
        assert "secret-path" not in repr(here.emulator.posted)


async def test_the_new_standard_has_an_object_and_a_place_of_its_own() -> None:
    """`options.callback_url`; at the top of the body it is ignored, as at the service."""
    async with place() as here:
        order = {"contents": [{"type": "prompt", "text": "[fail] a beach"}], "settings": {"duration": 5}}
        fields = {"prompt": None, "callback_url": None}
        await here.order(
            "/text-to-video/kling-3.0", **order, **fields, options={"callback_url": HERE, "external_task_id": "x"}
        )
        await here.order("/text-to-video/kling-3.0", **order, prompt=None)
        await asyncio.sleep(101)
        assert here.words == ["submitted", "processing", "failed"]
        last = here.bodies[-1]
        assert (last["external_id"], last["outputs"], last["billing"]) == ("x", [], [{"amount": "0"}])
        assert "risk control" in last["message"]
        assert not {"code", "data", "request_id"} & set(last)


async def test_they_may_come_wrapped_like_an_answer() -> None:
    async with place(callbacks=CallbackPlan(wrapped=True)) as here:
        made = await here.order()
        await asyncio.sleep(1)
        (body,) = here.bodies[:1]
        assert (body["code"], body["message"]) == (0, "SUCCEED")
        assert body["data"]["task_id"] == made["task_id"]


async def test_through_a_gateway_the_task_has_the_services_own_id() -> None:
    """And its own words: the gateway hands the address on, and knows nothing of the callback."""
    async with place("new-api", cache_s=1000.0, gateway_timeout_s=10.0) as here:
        made = await here.order(external_task_id="mine")
        await asyncio.sleep(101)
        task = here.emulator.tasks[0]
        assert made["task_id"] == task.public_id != task.task_id
        assert {body["task_id"] for body in here.bodies} == {task.task_id}
        assert here.words == ["submitted", "processing", "succeed"]


async def test_signatures_are_those_of_standard_webhooks() -> None:
    """The printed vector, and the reference library on what is posted; the time is the receiver's own."""
    body = (
        b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
    )
    assert sign(SECRET, "9876543210", 1781080794, body) == "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="
    async with place(webhook_secret=[SECRET, OTHER], speed=10.0) as here:
        await here.order()
        await asyncio.sleep(11)
        assert len(here.came) == 3
        ids = set()
        for at, request, sent in here.came:
            headers = request.headers
            ids.add(headers["webhook-id"])
            stamp = int(headers["webhook-timestamp"])
            assert stamp == int(EPOCH + at)
            assert headers["webhook-signature"].split() == [
                sign(secret, headers["webhook-id"], stamp, sent) for secret in (SECRET, OTHER)
            ]
            for secret in (SECRET, OTHER):
                given = f"{headers['webhook-id']}.{stamp}.{sent.decode()}"
                mac = standardwebhooks.webhooks.hmac_data(key_of(secret), given.encode())
                assert base64.b64encode(mac).decode() in headers["webhook-signature"]
        assert len(ids) == 3
        here.emulator.renew_webhook_secret()
        await here.order()
        await asyncio.sleep(0.1)
        assert "webhook-signature" not in here.came[-1][1].headers


@pytest.mark.parametrize("secret", ["whsec_", "not Base64!", "", ["whsec_"], [SECRET, "x"]])
def test_a_secret_that_is_none_is_refused(secret: Any) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        Emulator(webhook_secret=secret)


async def test_what_becomes_of_them_on_the_way_is_decided_by_the_seed() -> None:
    async def story(seed: int, **plan: Any) -> list[tuple[str, str]]:
        async with place(seed=seed, webhook_secret=SECRET, callbacks=CallbackPlan(**plan)) as here:
            for _ in range(12):
                await here.order()
            await asyncio.sleep(200)
            return [(sent.id, sent.status) for sent in here.emulator.posted]

    usual = await story(1)
    assert len(usual) == len(set(usual)) == 36
    dropped = await story(1, dropped=0.5)
    assert 8 < len(dropped) < 28
    assert dropped == await story(1, dropped=0.5) != await story(2, dropped=0.5)
    assert set(dropped) < set(usual)
    doubled = await story(1, doubled=0.5)
    assert set(doubled) == set(usual)
    assert 40 < len(doubled) < 68
    held = await story(1, reordered=0.3, held_s=60.0)
    assert held != usual
    assert sorted(held) == sorted(usual)


async def test_a_late_callback_tells_what_it_was_made_for() -> None:
    async with place(callbacks=CallbackPlan(delay_s=30.0)) as here:
        await here.order()
        await asyncio.sleep(129)
        assert here.words == ["submitted", "processing"]
        await asyncio.sleep(2)
        assert here.words == ["submitted", "processing", "succeed"]
        assert here.bodies[0]["updated_at"] == here.bodies[0]["created_at"] == int(EPOCH * 1000)


async def test_a_forged_one_has_a_signature_and_it_is_wrong() -> None:
    async with place(webhook_secret=SECRET) as here:
        await here.order()
        await asyncio.sleep(1)
        here.emulator.forge_callback(here.emulator.tasks[0], "failed")
        await asyncio.sleep(0.1)
        _, request, body = here.came[-1]
        assert json.loads(body)["task_status"] == "failed"
        stamp = int(request.headers["webhook-timestamp"])
        assert request.headers["webhook-signature"] != sign(SECRET, request.headers["webhook-id"], stamp, body)


async def test_nothing_is_told_where_nothing_was_asked_for() -> None:
    async with place() as here:
        await here.order(callback_url="")
        await here.order("/v1/audio/tts", text="hello", voice_id="genshin_vindi2", voice_language="zh", prompt=None)
        await asyncio.sleep(200)
        assert (here.came, here.emulator.posted) == ([], [])


async def test_a_slow_receiver_keeps_nobody_waiting_and_closing_is_quick() -> None:
    """Many posts under way at once, each bounded in time; an emulator that closes drops them."""
    async with place() as here:
        here.pause_s = 8.0
        for _ in range(30):
            await here.order()
        before = asyncio.get_running_loop().time()
        assert before < 1
        await asyncio.sleep(9)
        assert len(here.came) > 20
        here.pause_s = 300.0
        await here.order()
        await asyncio.sleep(20)
        assert any("Timeout" in sent.trouble for sent in here.emulator.posted)
        began = asyncio.get_running_loop().time()
        await here.emulator.__aexit__(None, None, None)
        assert asyncio.get_running_loop().time() - began < 1
        posted = len(here.emulator.posted)
        await asyncio.sleep(500)
        assert len(here.emulator.posted) == posted


async def test_a_redirect_is_not_followed() -> None:
    async with place() as here:
        here.status = 302
        await here.order()
        await asyncio.sleep(1)
        assert [sent.answer for sent in here.emulator.posted[:1]] == [302]


@pytest.mark.parametrize(
    "url",
    ["https://me.example/", "http://10.0.0.1/", "http://[::2]/", "http://localhost.example/", "http://[x/", "nonsense"],
)
async def test_only_this_machine_is_posted_to(url: str) -> None:
    async with place() as here:
        await here.order(callback_url=url)
        await asyncio.sleep(1)
        assert here.came == []
        (sent,) = here.emulator.posted
        assert "anywhere=True" in sent.trouble


async def test_the_page_of_callbacks_and_what_the_summary_does_not_show() -> None:
    async with place(webhook_secret=SECRET) as here:
        await here.order()
        await asyncio.sleep(1)
        async with here.http.get(here.emulator.url + "/_emulator/callbacks") as answer:
            (first, *_) = await answer.json()
        assert (first["status"], first["answer"], first["url"]) == ("submitted", 200, HERE)
        async with here.http.get(here.emulator.url + "/_emulator") as answer:
            assert SECRET not in await answer.text()


@pytest.mark.realtime
async def test_over_a_real_socket() -> None:
    came: list[bytes] = []

    async def receive(request: web.Request) -> web.Response:
        came.append(await request.read())
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/hook", receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        port = runner.addresses[0][1]
        async with Emulator(speed=1000.0, duration_s=100.0) as emulator, aiohttp.ClientSession() as http:
            body = {"prompt": "a beach", "callback_url": f"http://127.0.0.1:{port}/hook"}
            headers = {"Authorization": "Bearer emulator-key"}
            async with http.post(f"{emulator.url}/kling{T2V}", json=body, headers=headers) as made:
                assert made.status == 200
            async with asyncio.timeout(20):
                while len(came) < 3:
                    await asyncio.sleep(0.01)
            assert [sent.answer for sent in emulator.posted] == [204, 204, 204]
    finally:
        await runner.cleanup()
