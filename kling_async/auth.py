"""Credentials in, bearer tokens out: an API key as it is, a key pair as a short-lived JWT renewed before it expires.

Stage: registry and wire. After: errors. Before: transport, which alone puts a token into a header.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping

import attrs

from .errors import ConfigError

# Source: service reference, "Authentication": exp = now + 1800 s, nbf = now - 5 s.
_LIFE_S = 1800
_NOT_BEFORE_S = 5
# A request may leave with the token and arrive a while later; the official client renews only after the full life.
_RENEW_AT = 0.8
_MOST_SKEW_S = 86_400.0
_SKEW_KEPT_S = 3.0


class Secret:
    """A string that does not show: `***` in repr, str, format and tracebacks; it refuses to be pickled."""

    __slots__ = ("_tag", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._tag: str | None = None

    def reveal(self) -> str:
        """Give the string itself; call this only where it is put into a header or a signature."""
        return self._value

    @property
    def tag(self) -> str:
        """A text that tells this secret from others, and from which it cannot be found out; made once."""
        if self._tag is None:
            self._tag = hashlib.sha256(b"kling_async account " + self._value.encode()).hexdigest()[:16]
        return self._tag

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not pickled")

    def fault(self) -> str | None:
        """Say what makes it no key, if anything does; a frame that raises must not hold the string itself."""
        if not self._value.strip():
            return "is empty"
        if self._value != self._value.strip() or not self._value.isascii() or not self._value.isprintable():
            return "has white space or characters no key has: was it copied whole, and only it?"
        return None

    def scrub(self, data: bytes) -> bytes:
        """Replace the secret wherever it stands in `data`."""
        value = self._value.encode()
        return data.replace(value, b"***") if value and value in data else data


def _check(name: str, secret: Secret) -> Secret:
    """Refuse what can only be a mistake, without showing it."""
    fault = secret.fault()
    if fault is not None:
        raise ConfigError(f"{name} {fault}")
    return secret


@attrs.frozen
class ApiKey:
    """One string made in the console, valid for every model. Source: service reference, "Authentication"."""

    key: Secret

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must never be seen."""
        return (self.key,)

    @property
    def account(self) -> str:
        """A text that tells these credentials from others, and from which they cannot be found out."""
        return self.key.tag

    def bearer(self, wall_s: float) -> Secret:  # noqa: ARG002 - a key pair needs the moment
        """Give the token for a request that leaves now."""
        return self.key

    def renew(self) -> bool:
        """Tell whether a refused token can be made anew: an API key cannot."""
        return False

    def notice_server_time(self, server_s: float, wall_s: float) -> None:
        """An API key does not depend on clocks."""


@attrs.define
class KeyPair:
    """Access key and secret key: JWT HS256 with iss, exp, nbf. Source: service reference, "Authentication"."""

    access_key: Secret
    secret_key: Secret
    _token: Secret | None = None
    _former: Secret | None = None
    _renew_at_s: float = 0.0
    _skew_s: float = 0.0

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must never be seen."""
        # The token before this one may be good for some minutes more, and an answer to it may still come.
        tokens = (token for token in (self._token, self._former) if token is not None)
        return (self.access_key, self.secret_key, *tokens)

    @property
    def account(self) -> str:
        """A text that tells these credentials from others, and from which they cannot be found out."""
        return self.access_key.tag

    def bearer(self, wall_s: float) -> Secret:
        """Give the token for a request that leaves at `wall_s` (Unix seconds), renewed at 80 % of its life."""
        # A wall clock set back would keep an expired token alive; more than a whole life ahead cannot be right.
        if self._token is None or not self._renew_at_s - _LIFE_S <= wall_s < self._renew_at_s:
            self._drop()
            self._token = sign(self.access_key, self.secret_key, wall_s + self._skew_s)
            self._renew_at_s = wall_s + _RENEW_AT * _LIFE_S
        return self._token

    def renew(self) -> bool:
        """Drop the token, so that the next request gets a fresh one."""
        self._drop()
        return True

    def _drop(self) -> None:
        if self._token is not None:
            self._token, self._former = None, self._token

    def notice_server_time(self, server_s: float, wall_s: float) -> None:
        """Learn by how much our clock is wrong: more than 5 s is refused as 1003 or 1004."""
        skew_s = server_s - wall_s
        if abs(skew_s) > _MOST_SKEW_S:
            return  # nobody's clock is wrong by so much: a token for another year is for somebody else's use
        if abs(skew_s - self._skew_s) > _SKEW_KEPT_S:  # the Date header has whole seconds and has travelled
            self._skew_s = skew_s if abs(skew_s) > _SKEW_KEPT_S else 0.0
            self._drop()


Credentials = ApiKey | KeyPair


def sign(access_key: Secret, secret_key: Secret, now_s: float) -> Secret:
    """Make a JWT (HS256) that is valid from 5 s ago for 30 minutes."""
    header = _part({"alg": "HS256", "typ": "JWT"})
    now = int(now_s)
    claims = _part({"iss": access_key.reveal(), "exp": now + _LIFE_S, "nbf": now - _NOT_BEFORE_S})
    mac = hmac.new(secret_key.reveal().encode(), header + b"." + claims, hashlib.sha256).digest()
    return Secret(b".".join((header, claims, _base64url(mac))).decode("ascii"))


def _part(value: Mapping[str, object]) -> bytes:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def find_credentials(
    api_key: Secret | None,
    access_key: Secret | None,
    secret_key: Secret | None,
    environ: Mapping[str, str] = os.environ,
) -> Credentials:
    """Choose the credentials: arguments before environment, and within each one kind only.

    Args:
        api_key: or `KLING_API_KEY`.
        access_key: with secret_key, or `KLING_ACCESS_KEY` with `KLING_SECRET_KEY`.
        secret_key: see access_key.
        environ: read once, here.

    Raises:
        ConfigError: none, both kinds, or half a pair; names the variable, never its value.
    """
    if api_key is access_key is secret_key is None:
        api_key, access_key, secret_key = (
            Secret(environ[name]) if environ.get(name) else None
            for name in ("KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY")
        )
        del environ  # a traceback that shows the locals of this frame must not show what is in it
        if api_key is access_key is secret_key is None:
            raise ConfigError(
                "no credentials: set KLING_API_KEY (or KLING_ACCESS_KEY and KLING_SECRET_KEY), or pass api_key="
            )
    if api_key is not None and (access_key is not None or secret_key is not None):
        raise ConfigError("both an API key and a key pair are given: choose one")
    if api_key is not None:
        return ApiKey(_check("api_key", api_key))
    if access_key is None or secret_key is None:
        missing = "access_key (KLING_ACCESS_KEY)" if access_key is None else "secret_key (KLING_SECRET_KEY)"
        raise ConfigError(f"half a key pair: {missing} is missing")
    return KeyPair(_check("access_key", access_key), _check("secret_key", secret_key))
