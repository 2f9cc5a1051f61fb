"""Callbacks: what the service posts to the address that a create named, on each change of its task.

Place: beside the server, after the service. Has a clock and connections of its own; no task waits for it, and none
fails because its receiver is away.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import ipaddress
import json
import math
import random
from collections.abc import Callable, Collection
from heapq import heappop, heappush
from typing import Any

import aiohttp
import attrs
from yarl import URL

from . import replies
from .clock import Clock
from .tasks import CallbackRecord, Snapshot, Status, Task

# Posts under way at once; one that is not answered for so many seconds of the loop is given up. Neither is documented.
_AT_ONCE = 20
_TIMEOUT_S = 10.0

# Callbacks kept in the list; then the older half is dropped.
_KEPT = 100_000

_PREFIX = "whsec_"


@attrs.define(kw_only=True)
class CallbackPlan:
    """What becomes of callbacks on their way; may be changed while the emulator runs.

    Shares are from 0 to 1, drawn for each callback from the emulator's seed.

    Attributes:
        delay_s: emulated seconds from a change to its callback.
        dropped: share that is never sent.
        doubled: share that is sent twice, with the same id.
        reordered: share that is held back for `held_s` more, so that later ones overtake it.
        held_s: see reordered; emulated seconds.
        unsigned: send them unsigned although there is a secret, as the service does once it is deleted.
        wrapped: send them wrapped like an answer, as third parties show them; else the bare task, as documented.
        anywhere: post to any address; else to this machine only.
    """

    delay_s: float = 0.0
    dropped: float = 0.0
    doubled: float = 0.0
    reordered: float = 0.0
    held_s: float = 5.0
    unsigned: bool = False
    wrapped: bool = False
    anywhere: bool = False


@attrs.frozen(order=True)
class _Message:
    """One callback to be sent at an emulated moment; `number` keeps those of the same moment in order."""

    at: float
    number: int
    task: Task | None = attrs.field(default=None, order=False)
    status: Status = attrs.field(default="submitted", order=False)
    id: str = attrs.field(default="", order=False)
    is_forged: bool = attrs.field(default=False, order=False)


@attrs.define(kw_only=True, eq=False)
class Postman:
    """Sends the callbacks of one emulator.

    Attributes:
        plan: what becomes of them on their way.
        clock: the emulator's.
        seed: of everything drawn.
        secrets: the Webhook Secrets; several while they are being changed: then each callback has as many signatures.
        unix_path: post through this Unix socket, whatever the address.
        look: shows a task at a moment, as the service itself sees it.
        settle: carries out what was postponed.
        sent: what was sent, oldest first.
    """

    plan: CallbackPlan
    clock: Clock
    seed: int
    secrets: Collection[str]
    unix_path: str | None
    look: Callable[[Task, float], Snapshot]
    settle: Callable[[float], None]
    sent: list[CallbackRecord] = attrs.field(factory=list)
    _messages: list[_Message] = attrs.field(factory=list)
    _numbers: int = 0
    _news: asyncio.Event | None = None
    _round: asyncio.Task[None] | None = None
    _is_open: bool = False

    def open(self) -> None:
        """Begin; nothing runs until there is something to send."""
        self._is_open, self._news = True, asyncio.Event()
        if self._messages:
            self._begin()

    async def close(self) -> None:
        """End now, and forget what was not sent."""
        self._is_open = False
        self._messages.clear()
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait({self._round})
            self._round = None

    def follow(self, task: Task) -> None:
        """Take a new task: its callbacks are sent when it changes."""
        if not task.callback_url or task.row.finished_at_once:
            return
        if not (self.plan.anywhere or _is_here(task.callback_url)):
            record = self._record(task, "submitted", task.created_at, "")
            record.trouble = "not an address of this machine: CallbackPlan(anywhere=True) posts to any"
            return
        moments = sorted({task.created_at, task.processing_at, task.ended_at})
        for moment in (moment for moment in moments if moment < math.inf):
            self._plan(task, task.status_at(moment), moment)

    def expect(self, at: float, body: Any) -> None:
        """Take note that a task with callbacks may be made at that moment, though nobody asks then."""
        options = body.get("options")
        if not body.get("callback_url") and not (isinstance(options, dict) and options.get("callback_url")):
            return
        self._put(_Message(at, self._number()))

    def forge(self, task: Task, status: Status) -> None:
        """Send at once what somebody sends who knows everything but the secret."""
        self._put(_Message(self.clock.now(), self._number(), task, status, self._id(task, "forged"), is_forged=True))

    def _plan(self, task: Task, status: Status, moment: float) -> None:
        # Of its own generator, so that what is drawn for one does not depend on the others.
        luck = random.Random(f"callbacks/{self.seed}/{task.ordinal}/{status}")
        drops, doubles, holds = (luck.random() for _ in range(3))
        plan = self.plan
        if drops < plan.dropped:
            return
        at = moment + plan.delay_s + (plan.held_s if holds < plan.reordered else 0.0)
        for _ in range(2 if doubles < plan.doubled else 1):
            self._put(_Message(at, self._number(), task, status, self._id(task, status)))

    def _put(self, message: _Message) -> None:
        heappush(self._messages, message)
        if self._is_open:
            self._begin()

    def _begin(self) -> None:
        assert self._news is not None
        self._news.set()
        if self._round is None or self._round.done():
            self._round = asyncio.get_running_loop().create_task(self._go(), name="emulator callbacks")

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _id(self, task: Task, word: str) -> str:
        return "msg_" + hashlib.blake2s(f"{self.seed}/{task.ordinal}/{word}".encode(), digest_size=12).hexdigest()

    # On the way

    async def _go(self) -> None:
        """Send what is due, until the emulator closes."""
        connector = None if self.unix_path is None else aiohttp.UnixConnector(path=self.unix_path, limit=_AT_ONCE)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        free = asyncio.Semaphore(_AT_ONCE)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http,
            asyncio.TaskGroup() as group,
        ):
            while True:
                await self._rest()
                now = self.clock.now()
                while self._messages and self._messages[0].at <= now:
                    message = heappop(self._messages)
                    if message.task is None:
                        self.settle(now)
                        continue
                    await free.acquire()
                    sending = group.create_task(self._send(http, message, message.task))
                    sending.add_done_callback(lambda _sending: free.release())

    async def _rest(self) -> None:
        assert self._news is not None
        self._news.clear()
        wait_s = self.clock.real(self._messages[0].at - self.clock.now()) if self._messages else None
        if wait_s is None or wait_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    async def _send(self, http: aiohttp.ClientSession, message: _Message, task: Task) -> None:
        record = self._record(task, message.status, self.clock.now(), message.id)
        body = self._body(message, task)
        headers = {"Content-Type": "application/json; charset=utf-8", **self._signature(message, body)}
        try:
            async with http.post(task.callback_url, data=body, headers=headers, allow_redirects=False) as answer:
                record.answer = answer.status
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            record.trouble = type(error).__name__

    def _record(self, task: Task, status: Status, at: float, message_id: str) -> CallbackRecord:
        if len(self.sent) >= _KEPT:
            del self.sent[: _KEPT // 2]
        record = CallbackRecord(task_id=task.task_id, status=status, url=task.callback_url, at=at, id=message_id)
        self.sent.append(record)
        return record

    def _body(self, message: _Message, task: Task) -> bytes:
        """The task as the service tells it: the object alone, or wrapped like an answer."""
        moment = {"submitted": task.created_at, "processing": task.processing_at}.get(message.status, task.ended_at)
        if message.is_forged:
            moment = self.clock.now()
        view = self.look(task, moment)
        if message.is_forged:
            view = attrs.evolve(view, status=message.status)
        row = replies.legacy_row(view) if task.row.standard == "legacy" else replies.new_row(view)
        told = replies.envelope(row, view.request_id) if self.plan.wrapped else row
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()

    def _signature(self, message: _Message, body: bytes) -> dict[str, str]:
        secrets = [_PREFIX + base64.b64encode(b"somebody else's").decode()] if message.is_forged else self.secrets
        if not secrets or self.plan.unsigned:
            return {}
        # The receiver's clock does not run faster, so the time of signing does not either.
        at = int(self.clock.wall())
        signatures = [sign(secret, message.id, at, body) for secret in secrets]
        return {"webhook-id": message.id, "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


def sign(secret: str, message_id: str, at: int, body: bytes) -> str:
    """One signature of Standard Webhooks: HMAC-SHA256 over id, time and body, in Base64."""
    mac = hmac.new(key_of(secret), f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()


def key_of(secret: str) -> bytes:
    """The key that a Webhook Secret stands for.

    Raises:
        ValueError: it is not Base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError('A webhook secret is "whsec_" and Base64.')
    return key


def secrets_of(given: Any) -> tuple[str, ...]:
    """The Webhook Secrets in a switch: none, one or several.

    Raises:
        ValueError: one is not Base64.
    """
    found = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    for secret in found:
        key_of(secret)
    return found


def _is_here(address: str) -> bool:
    try:
        host = URL(address).host or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
