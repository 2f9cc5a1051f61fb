"""A callback's bytes in, an observation out, and the signature checked on the way.

Stage: door. Before: whoever receives the POST. After: wire. Pure: the moment is an argument, and nothing is kept.

Theory. A callback is a hint: it may come late, twice, out of order, from anybody, or never. So the most that reading
one may change is when its task is asked about next. A signature tells who sent it, not that it is the newest news.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from .auth import Secret
from .errors import BadEnvelope, CallbackRejected, ConfigError, ServiceError
from .models import AssetKind, Observation
from .wire import decode_task, open_envelope, parse_json

MOST_BYTES: Final = 256 * 1024  # a task object has about 2 KB
_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"
# Source: service reference, "Callbacks": reject a clock difference of more than five minutes.
_TOLERANCE_S: Final = 300.0
_LONGEST_ID: Final = 256

Secrets = str | Secret | Iterable[str | Secret]


def decode_callback(body: bytes, *, yields: AssetKind = "video") -> Observation:
    """Read what a callback says of its task: bare or wrapped like an answer, legacy or new standard.

    Through a gateway the task id may be the service's own and not the one the gateway gave: the external id is the
    one to know the job by.

    Args:
        body: the raw body.
        yields: kind of the endpoint's first output, for URLs that come without a name.

    Raises:
        CallbackRejected: no task can be read from it.
        ConfigError: not bytes.

    Source: service reference, "Callbacks".
    """
    check_body(body)
    try:
        envelope = open_envelope(parse_json(body))
        if len(envelope.rows) != 1:
            raise BadEnvelope(f"it holds {len(envelope.rows)} tasks")
        observation = decode_task(envelope.rows[0], yields)
    except (BadEnvelope, ServiceError) as error:
        raise CallbackRejected("unreadable", f"no task can be read from it: {error}") from None
    return attrs.evolve(observation, request_id=envelope.request_id)


def verify_callback(
    body: bytes, headers: Mapping[str, str], secrets: Secrets, now: float, *, tolerance_s: float = _TOLERANCE_S
) -> None:
    """Make sure that a callback was signed with one of the secrets, lately (Standard Webhooks).

    Args:
        body: the raw body, exactly as received: JSON written anew has another signature.
        headers: of the request; the case of their names does not matter.
        secrets: the Webhook Secret of the console, with or without "whsec_"; several while it is being changed.
        now: Unix seconds.
        tolerance_s: largest difference of the two clocks, seconds.

    Raises:
        CallbackRejected: unsigned, signed by somebody else, or long ago.
        ConfigError: a secret is none, or body is not bytes.

    Source: service reference, "Callbacks".
    """
    secrets = hide(secrets)
    _check(secrets)
    _verify(body, headers, secrets, now, tolerance_s)


@attrs.frozen(kw_only=True)
class Callback:
    """A callback that was read.

    Attributes:
        observation: what it says of its task.
        signed: its signature was checked and is good. Otherwise anybody may have sent it: ask the host.
        id: unique per message, the same when it comes again; None of unsigned ones, since it proves nothing there.
    """

    observation: Observation
    signed: bool
    id: str | None = None


class Webhook:
    """Reads callbacks, and with a secret takes only those that the service signed.

    Args:
        secret: the Webhook Secret of the console, or several while it is being changed; None: nothing is checked.
        tolerance_s: largest difference of the two clocks, seconds.

    Raises:
        ConfigError: a secret is none, or the tolerance is not a number of seconds above 0.
    """

    def __init__(self, secret: Secrets | None = None, *, tolerance_s: float = _TOLERANCE_S) -> None:
        self._secrets = () if secret is None else hide(secret)
        self._tolerance_s = tolerance_s
        is_checked, secret = secret is not None, None  # the frame of an error raised below must not show it
        if is_checked:
            _check(self._secrets)
        given: Any = tolerance_s
        if not isinstance(given, int | float) or not 0 < given < math.inf:
            raise ConfigError(f"tolerance_s={tolerance_s!r} must be a number of seconds above 0")

    def __repr__(self) -> str:
        checked = f"{len(self._secrets)} secrets, {self._tolerance_s:g} s" if self._secrets else "signatures unchecked"
        return f"<Webhook [{checked}]>"

    def read(self, headers: Mapping[str, str], body: bytes, now: float, *, yields: AssetKind = "video") -> Callback:
        """Check a callback, and read it.

        With a secret, an unsigned one is refused: the service goes on unsigned when the secret is deleted in the
        console, and polling goes on then too.

        Args:
            headers: of the request.
            body: the raw body, exactly as received.
            now: Unix seconds.
            yields: kind of the endpoint's first output.

        Raises:
            CallbackRejected: not to be believed, or unreadable: answer with HTTP 4xx.
            ConfigError: not bytes.
        """
        if not self._secrets:
            return Callback(observation=decode_callback(body, yields=yields), signed=False)
        message_id = _verify(body, headers, self._secrets, now, self._tolerance_s)
        return Callback(observation=decode_callback(body, yields=yields), signed=True, id=message_id)


# --- signatures ----------------------------------------------------------------------------------------------------


def _verify(
    body: bytes, headers: Mapping[str, str], secrets: tuple[Secret, ...], now: float, tolerance_s: float
) -> str:
    """Give the message's id, if the message is good."""
    check_body(body)
    message_id, sent_at, signatures = (_header(headers, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if not sent_at.isdecimal() or len(sent_at) > 12:
        raise CallbackRejected("malformed", "its webhook-timestamp is not a number of seconds")
    if len(message_id) > _LONGEST_ID:
        raise CallbackRejected("malformed", f"its webhook-id has more than {_LONGEST_ID} characters")
    text = f"{message_id}.{sent_at}.".encode() + body
    wanted = [_sign(secret, text) for secret in secrets]
    given = [value for version, _, value in (word.partition(",") for word in signatures.split()) if version == _VERSION]
    # All are compared: how many comparisons are made must not tell which of them fitted.
    fits = [hmac.compare_digest(one.encode(), other) for one in given for other in wanted]
    if not any(fits):
        raise CallbackRejected("forged", "none of its signatures was made with our secret")
    # Only now, so that "stale" is said of the service's own messages: a replay, or one of the clocks is wrong.
    if not abs(now - int(sent_at)) <= tolerance_s:
        raise CallbackRejected("stale", f"it was signed {now - int(sent_at):+.0f} s ago, at most {tolerance_s:g} count")
    return message_id


def _header(headers: Mapping[str, str], name: str) -> str:
    # Several of one name, in whatever case, are ambiguous: the sender and we might read different ones.
    given: Any = headers  # of the user's framework, whatever that is
    if not isinstance(given, Mapping):
        raise ConfigError(f"headers are a {type(given).__name__}: give a mapping from names to texts")
    values = [value for key, value in given.items() if isinstance(key, str) and key.lower() == name]
    if not values or not values[0]:
        raise CallbackRejected("unsigned", f"it has no {name}")
    if len(values) > 1 or not isinstance(values[0], str) or not values[0].isascii() or not values[0].isprintable():
        raise CallbackRejected("malformed", f"its {name} cannot be read")
    return str(values[0])


def _sign(secret: Secret, text: bytes) -> bytes:
    return base64.b64encode(hmac.new(_key(secret) or b"", text, hashlib.sha256).digest())


def _key(secret: Secret) -> bytes | None:
    """Give the key that a secret stands for; None if it stands for none."""
    encoded = secret.reveal().removeprefix(_PREFIX)
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def hide(secrets: Secrets) -> tuple[Secret, ...]:
    """Hide secrets, of whatever form they come in. Never raises: a traceback could show them."""
    listed = secrets if isinstance(secrets, list | tuple | set | frozenset) else (secrets,)
    # What is neither text nor hidden is hidden as one that cannot be right.
    return tuple(each if isinstance(each, Secret) else Secret(each if isinstance(each, str) else "") for each in listed)


def _check(secrets: tuple[Secret, ...]) -> None:
    """Refuse what can only be a mistake, without showing it."""
    if not secrets:
        raise ConfigError("a webhook secret is needed to check signatures")
    if any(_key(secret) is None for secret in secrets):
        raise ConfigError('the webhook secret is not Base64 (after "whsec_"): was it copied whole, and only it?')


def check_body(body: bytes) -> None:
    """Refuse what is not the bytes of a callback, or too many of them."""
    if not isinstance(body, bytes):
        raise ConfigError(f"body is a {type(body).__name__}: give the bytes as they were received, not parsed")
    if len(body) > MOST_BYTES:
        raise CallbackRejected("too large", f"it has {len(body):,} bytes, at most {MOST_BYTES:,} are read")
