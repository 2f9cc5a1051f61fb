"""Credentials: who may ask, judged by the emulator itself.

Place: first step of every answered request. Checks an API key, or a JSON Web Token signed with the pair.
"""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

import attrs

from .refusals import Refusal


@attrs.frozen
class Credentials:
    """What the one account of the emulator may present."""

    api_key: str
    access_key: str
    secret_key: str


def check_bearer(header: str | None, credentials: Credentials, wall: float, *, pair: bool) -> None:
    """Let the holder of the key or of a valid token pass.

    Args:
        header: the Authorization header, None when absent.
        credentials: what is right.
        wall: Unix seconds, to judge `nbf` and `exp`; compared without leeway.
        pair: whether tokens of the pair are taken here at all.

    Raises:
        Refusal: 1001 empty, 1002 malformed, unknown or badly signed, 1003 not yet valid, 1004 expired,
            1000 an opaque key that nobody has.

    Source: service reference, "Hosts and authentication" and "Error codes".
    """
    if not header or not header.strip():
        raise Refusal.of(1001)
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Refusal.of(1002)
    if hmac.compare_digest(token.encode(errors="surrogateescape"), credentials.api_key.encode()):
        return
    if token.count(".") != 2:
        raise Refusal.of(1000)
    if not pair:
        raise Refusal.of(1002, "Authorization is invalid: this endpoint takes an API key")
    _check_token(token, credentials, wall)


def _check_token(token: str, credentials: Credentials, wall: float) -> None:
    signed, _, signature = token.rpartition(".")
    head, _, claims = signed.partition(".")
    header = _decode_part(head)
    payload = _decode_part(claims)
    if header.get("alg") != "HS256" or payload.get("iss") != credentials.access_key:
        raise Refusal.of(1002)
    expected = hmac.new(credentials.secret_key.encode(), signed.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(_decode_bytes(signature), expected):
        raise Refusal.of(1002, "Authorization signature is invalid")
    if _moment(payload.get("nbf", 0)) > wall:
        raise Refusal.of(1003)
    if _moment(payload.get("exp")) <= wall:
        raise Refusal.of(1004)


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refusal.of(1002)
    return value


def _decode_bytes(part: str) -> bytes:
    try:
        return base64.b64decode(part.encode() + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Refusal.of(1002) from None


def _decode_part(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode_bytes(part))
    except (ValueError, RecursionError):
        raise Refusal.of(1002) from None
    if not isinstance(value, dict):
        raise Refusal.of(1002)
    return value
