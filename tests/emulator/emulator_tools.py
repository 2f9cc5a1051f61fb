"""Helpers of these tests: a clock turned by hand, a raw caller, signed tokens, small pictures."""

import asyncio
import base64
import hashlib
import hmac
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import attrs

from kling_async.emulator import Emulator

EPOCH = 1_774_805_076.0
EPOCH_MS = 1_774_805_076_000
KEY = "emulator-key"
T2V = "/v1/videos/text2video"
I2V = "/v1/videos/image2video"
OMNI = "/v1/videos/omni-video"


@attrs.define
class Hand:
    at: float = 0.0

    def __call__(self) -> float:
        return self.at


@attrs.frozen
class Reply:
    status: int
    raw: bytes
    headers: Any

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def data(self) -> Any:
        return self.json["data"]


@attrs.define
class Caller:
    emulator: Emulator
    http: aiohttp.ClientSession
    hand: Hand

    async def ask(self, method: str, path: str, *, key: str | None = KEY, bare: bool = False, **more: Any) -> Reply:
        """`bare` leaves out the dialect's prefix."""
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        headers |= more.pop("headers", {})
        prefix = "" if bare else self.emulator.speech.prefix
        url = path if path.startswith("http") else self.emulator.url + prefix + path
        async with self.http.request(method, url, headers=headers, **more) as response:
            return Reply(response.status, await response.read(), response.headers)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Reply:
        return await self.ask("POST", path, json=body, **more)

    async def create(self, path: str = T2V, **body: Any) -> str:
        reply = await self.post(path, {"prompt": "a beach"} | body)
        assert reply.status == 200, reply.raw
        data = reply.json.get("data") or reply.json
        return str(data.get("task_id") or data["id"])


def play(story: Callable[[Caller], Awaitable[None]], **settings: Any) -> None:
    """Run a story against an emulator on loopback whose clock is turned by hand."""

    async def run() -> None:
        hand = Hand()
        defaults: dict[str, Any] = {"time": hand, "epoch": EPOCH, "duration_s": 10.0}
        emulator = Emulator(**(defaults | settings))
        timeout = aiohttp.ClientTimeout(total=20)
        async with emulator, aiohttp.ClientSession(timeout=timeout) as http:
            await story(Caller(emulator, http, hand))

    asyncio.run(run())


def _part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(secret: str = "emulator-secret-key", header: Any = None, **claims: Any) -> str:
    whole = {"iss": "emulator-access-key", "exp": EPOCH + 1800, "nbf": EPOCH - 5} | claims
    whole = {name: value for name, value in whole.items() if value is not None}
    signed = f"{_part(header or {'alg': 'HS256', 'typ': 'JWT'})}.{_part(whole)}"
    return signed + "." + _part(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


def png(width: int = 640, height: int = 360) -> str:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height)
    return base64.b64encode(head + bytes(20)).decode()


def jpeg(width: int = 360, height: int = 640) -> str:
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) + bytes(20)
    return base64.b64encode(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xd8" + frame).decode()
