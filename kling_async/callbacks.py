"""The side that is called back: which callbacks are believed, where they are to go, and what one of them is good for.

Stage: front. Before: whoever receives the POST (the route made here, or any web framework). After: scheduler.

Theory. Whoever can reach a public address can post to it, so a callback is believed only with a proof: the service's
signature, or a token in the URL that nobody but the host was told. And even then it is a hint, and no news: it makes
its task due, and one query follows, whose answer is the truth. So the worst that a callback can do is cost a query.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from yarl import URL

from .addresses import is_public, parse
from .auth import Secret
from .dialects import Host, is_loopback
from .endpoints.rules import ID_PATTERN
from .errors import CallbackRejected, ConfigError, InvalidRequest, SchedulerCrashed, SessionClosed
from .models import CallbackStats, Observation
from .runtime import Runtime
from .webhook import MOST_BYTES, Webhook, check_body, decode_callback, hide

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["MOST_BYTES", "CalledBack", "Door", "find_webhook_secret"]

_log = logging.getLogger(__name__)

_TAKEN: Final = 204
_STATUS: Final[Mapping[str, int]] = {
    "malformed": 400,
    "unreadable": 400,
    "unsigned": 401,
    "forged": 401,
    "stale": 401,
    "slow": 408,
    "replayed": 409,
    "too large": 413,
    "closed": 503,
}
_LEAST_CHARACTERS = 16
_TOKEN_BYTES = 24  # 192 bits
_KEPT_S = 900.0  # what was signed longer ago is stale before that
_MOST_KEPT = 65_536
_READ_S = 10.0
_LONGEST_URL = 2048


class Door:
    """Owner of what callbacks are checked with, of which were seen, and of how many came.

    Args:
        host: whom the session talks to.
        base: public URL of the route; None: jobs are not told of one by the session.
        secret: hidden webhook secrets, as they were given.
        token: hidden local secrets, the first of which makes the tokens.
        private: take http and private addresses as well.

    Raises:
        ConfigError: a secret or the URL cannot be right; neither is shown.
    """

    def __init__(
        self,
        host: Host,
        *,
        base: str | None = None,
        secret: tuple[Secret, ...] | None = None,
        token: tuple[Secret, ...] | None = None,
        private: bool = False,
    ) -> None:
        self._local = private or is_loopback(host.url.host or "")
        self._webhook: Webhook | None = None
        self._tokens = token or ()
        self._base = base
        self._seen: dict[bytes, float] = {}
        self.taken = self.unknown = 0
        self.refused: Counter[str] = Counter()
        if secret is not None:
            self._webhook = Webhook(secret)
        if token is not None and not self._tokens:
            raise ConfigError("callback_token is empty: give one secret of your own, or several")
        for each in self._tokens:
            fault = each.fault()
            short = len(each.reveal()) < _LEAST_CHARACTERS
            if fault is not None or short:
                raise ConfigError(f"callback_token {fault or f'needs {_LEAST_CHARACTERS} characters'}")
        if self._tokens and base is None:
            raise ConfigError("callback_token needs callback=, the public URL that the tokens are appended to")
        if base is not None:
            self.check_url(base, "callback")
            if self._tokens and URL(base).query_string:
                raise ConfigError("callback must not hold a query: each job's id and token are appended to it")

    def __repr__(self) -> str:
        proofs = [name for name, there in (("signature", self._webhook), ("token", self._tokens)) if there]
        return f"<Door [{' or '.join(proofs) or 'shut'} | {self.taken} taken, {self.refused.total()} refused]>"

    @property
    def is_open(self) -> bool:
        """Whether there is anything to check callbacks with."""
        return self._webhook is not None or bool(self._tokens)

    @property
    def stats(self) -> CallbackStats:
        """What came so far."""
        return CallbackStats(taken=self.taken, unknown=self.unknown, refused=dict(self.refused))

    # --- going out: where a job's callbacks shall go ---------------------------------------------------------------

    def check_url(self, url: object, name: str = "callback_url") -> None:
        """Refuse a callback URL that would leak, or lead nowhere; it is not shown, as it may hold a secret.

        Raises:
            ConfigError: it holds credentials, is not https, or is a private address.
        """
        fault = self._fault_of(url)
        if fault is not None:
            raise ConfigError(f"{name} {fault}")

    def check_request(self, request: Any) -> None:
        """Refuse a request whose own callback URL is wrong in the same way.

        Raises:
            InvalidRequest: it is.
        """
        url = getattr(request, "callback_url", None) or request.extra.get("callback_url")
        fault = None if url is None else self._fault_of(url)
        if fault is not None:
            raise InvalidRequest("callback_url", "...", fault)

    def _fault_of(self, given: object) -> str | None:
        try:
            url = URL(given) if isinstance(given, str) and given.isprintable() and len(given) <= _LONGEST_URL else None
        except ValueError:
            url = None
        if url is None or url.scheme not in {"http", "https"} or not url.host:
            return "must be an http(s) URL"
        if url.user is not None or url.password is not None:
            return "must not hold credentials: whoever sees it could use them"
        if self._local:
            return None
        if url.scheme != "https":
            return "must be https: anybody on the way could read it (private_callbacks=True takes it all the same)"
        address = parse(url.host)
        if is_loopback(url.host) or (address is not None and not is_public(address)):
            return "is a private address, which the service cannot reach (private_callbacks=True takes it all the same)"
        return None

    def address(self, job_id: str, url: str | None) -> str | None:
        """Give the URL that the host is told for a job: made when it is sent, so that no token is kept anywhere."""
        if url is None or not self._tokens or url != self._base:
            return url
        return f"{url.rstrip('/')}/{job_id}/{_token_of(self._tokens[0], job_id)}"

    # --- coming in -------------------------------------------------------------------------------------------------

    def read(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        job_id: str | None,
        token: Secret | None,
        wall: float,
        now: float,
    ) -> tuple[Observation, str | None]:
        """Check a callback, and give what it says and the external id that is proved with it, if any.

        Args:
            headers: of the request.
            body: the raw body.
            job_id: of the URL.
            token: of the URL.
            wall: Unix seconds.
            now: loop time, seconds.

        Raises:
            CallbackRejected: not to be believed, or unreadable.
        """
        if job_id is None and token is None:
            if self._webhook is None:
                raise CallbackRejected("unsigned", "it came without a token")
            callback = self._webhook.read(headers, body, wall)
            self._note(f"id {callback.id}".encode(), now)
            return callback.observation, callback.observation.external_id
        check_body(body)
        if not self._fits(job_id or "", token or Secret("")):
            raise CallbackRejected("forged", "its token is none of ours")
        news = decode_callback(body)
        if news.external_id not in {None, "", job_id}:
            raise CallbackRejected("forged", "its token is that of another job")
        self._note(f"job {job_id} ".encode() + body, now)
        return news, job_id

    def _fits(self, job_id: str, token: Secret) -> bool:
        if not ID_PATTERN.match(job_id):
            job_id = ""
        given = token.reveal().encode(errors="replace")
        # All are compared, so that the time taken does not tell which of them it was nearly.
        fits = [hmac.compare_digest(given, _token_of(secret, job_id).encode()) for secret in self._tokens]
        return any(fits) and bool(job_id)

    def _note(self, message: bytes, now: float) -> None:
        """Remember a message that was proved, and refuse it when it comes again."""
        while self._seen:
            oldest = next(iter(self._seen))
            if len(self._seen) < _MOST_KEPT and now - self._seen[oldest] < _KEPT_S:
                break
            del self._seen[oldest]
        mark = hashlib.blake2s(message, digest_size=16).digest()
        if mark in self._seen:
            raise CallbackRejected("replayed", "it came before")
        self._seen[mark] = now

    def refuse(self, reason: str, detail: object = "") -> int:
        """Count a callback that is not taken, and give the HTTP status that says so."""
        self.refused[reason] += 1
        # Once in a while is enough: whoever posts rubbish must not fill a disk with it.
        level = logging.WARNING if self.refused[reason] == 1 else logging.DEBUG
        _log.log(level, "a callback was refused: %s", detail or reason)
        return _STATUS[reason]


class CalledBack:
    """The part of a session that is called back; see KlingSession."""

    _door: Door
    _runtime: Runtime
    _wall: Callable[[], float]

    @property
    def takes_callbacks(self) -> bool:
        """Whether there is a webhook secret or a callback token to check callbacks with."""
        return self._door.is_open

    def take_callback(
        self, headers: Mapping[str, str], body: bytes, *, job_id: str | None = None, token: str | None = None
    ) -> int:
        """Take a callback, in whatever web framework it arrived; answer it with the status given, and no body.

        What it says is not believed, only that something happened: if it tells of an end, its task is asked about at
        once, at most once in five seconds. Polling goes on all the same.

        Args:
            headers: of the request; the case of their names does not matter.
            body: the raw body, exactly as received; of one larger than `callbacks.MOST_BYTES` a byte more is enough.
            job_id: first part of the path behind `callback`, where the host was given a URL with a token.
            token: second part of it.

        Returns:
            204: taken, also when no open job of this session is meant. 400, 401, 409, 413: not readable, not proved,
            seen before, too large; nothing has changed but a count in `stats`. 503: the session is closed.

        Raises:
            ConfigError: neither webhook_secret nor callback_token is configured, or what was given is no request.
        """
        # First of all, so that no error raised below shows it among the locals of its traceback.
        hidden, token = None if token is None else Secret(token), None
        self._check_door()
        try:
            scheduler = self._runtime.scheduler()
        except (SessionClosed, SchedulerCrashed):
            return self._door.refuse("closed")
        now = asyncio.get_running_loop().time()
        try:
            news, external_id = self._door.read(headers, body, job_id=job_id, token=hidden, wall=self._wall(), now=now)
        except CallbackRejected as error:
            return self._door.refuse(error.reason, error)
        self._door.taken += 1
        if not scheduler.hint(news, external_id, by_task=job_id is None):
            self._door.unknown += 1
        return _TAKEN

    def callback_app(self) -> web.Application:
        """Give the routes that take callbacks, for an aiohttp server: `app.add_subapp("/kling", ...)`.

        Raises:
            ConfigError: neither webhook_secret nor callback_token is configured.
        """
        self._check_door()
        return _application(self.take_callback, self._door)

    def _check_door(self) -> None:
        if not self._door.is_open:
            raise ConfigError(
                "callbacks cannot be checked: give the session webhook_secret= (the Webhook Secret of the console), or "
                "callback_token= (a secret of your own) where the host does not sign them"
            )


def _application(take: Callable[..., int], door: Door) -> web.Application:
    # Imported here: it takes as long as a tenth of the rest, and most programs receive nothing.
    from aiohttp import ClientError, web  # noqa: PLC0415

    async def receive(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_READ_S):
                body = await _read(request)
        except TimeoutError:
            return web.Response(status=door.refuse("slow"))
        except (ClientError, OSError):  # whoever sent it has gone
            return web.Response(status=door.refuse("malformed"))
        part = request.match_info
        status = take(request.headers, body, job_id=part.get("job_id"), token=part.get("token"))
        return web.Response(status=status)

    application = web.Application()
    for path in ("", "/", "/{job_id}/{token}"):
        application.router.add_post(path, receive)
    return application


async def _read(request: web.Request) -> bytes:
    """Read a body, and no more of it than is needed to know that it is too large."""
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > MOST_BYTES:
            break
    return bytes(body)


def find_webhook_secret(
    given: tuple[Secret, ...] | None, environ: Mapping[str, str] = os.environ
) -> tuple[Secret, ...] | None:
    """Choose the webhook secrets: the argument before `KLING_WEBHOOK_SECRET`; None if there are none."""
    if given is not None:
        return given
    return hide(environ.get("KLING_WEBHOOK_SECRET", "").split()) or None


def _token_of(secret: Secret, job_id: str) -> str:
    mac = hmac.new(secret.reveal().encode(), b"kling_async callback " + job_id.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac[:_TOKEN_BYTES]).decode("ascii")
