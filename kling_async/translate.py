"""Foreign exceptions in, this package's out: what aiohttp raises, sorted once.

Stage: move. Before: transport, which alone calls it. After: whoever asked.

Theory. What decides is whether anything left. A request that was never sent may be sent again; of one that was, nobody
knows what it did. So only what can come up before a request is written counts as not sent, and only while nothing
says otherwise; all else is unknown. aiohttp's exceptions end here and are never chained, because their repr shows the
Authorization header and their text the URL with its query.
"""

from __future__ import annotations

import os
import ssl
from typing import Final

import aiohttp

from .dialects import Host
from .errors import AnswerTimeout, BadEnvelope, ConnectFailed, ConnectionLost, TransportError, clean_text

# These come up before a request is written, and only then: a refused, unresolved or untrusted address, or a proxy.
_NEVER_CONNECTED: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
)


def translate(error: Exception, host: Host, *, sent: bool | None) -> TransportError:
    """Sort a foreign exception; the order matters, since the harmless classes are children of the others.

    Args:
        error: whatever came out of aiohttp.
        host: to be named.
        sent: whether the request had begun to leave. aiohttp tries a GET twice, so that even a refused connection may
            come after bytes that left; None where it is not known.
    """
    kind = type(error).__name__
    number = getattr(error, "errno", None)
    detail = kind if not isinstance(number, int) else f"{kind}, errno {number}"
    if isinstance(error, _NEVER_CONNECTED) and not sent:
        return _not_connected(error, host, detail)
    if isinstance(error, TimeoutError):
        if sent is False:
            return ConnectFailed(f"cannot connect to {host.name}: timed out ({detail})")
        return AnswerTimeout(f"no answer from {host.name} in time ({detail})")
    if isinstance(error, aiohttp.ClientResponseError):
        return BadEnvelope(f"{host.name} answered something that is not HTTP ({detail})")
    return ConnectionLost(f"the connection to {host.name} ended before the answer did ({detail})")


def _not_connected(error: Exception, host: Host, detail: str) -> ConnectFailed:
    """Tell why there is no connection, and whether there may be one later: nobody's certificate mends itself."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return ConnectFailed(f"the proxy refused the connection to {host.name} (HTTP {error.status})", retryable=False)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        told = clean_text(_reason(error), 80)
        return ConnectFailed(f"the proxy to {host.name} cannot be reached: {told} ({detail})", retryable=False)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ServerFingerprintMismatch):
        return ConnectFailed(f"{host.name} has a certificate that cannot be trusted", retryable=False)
    if isinstance(error, aiohttp.ClientConnectorSSLError) and not _is_cut(error):
        return ConnectFailed(f"{host.name} does not speak TLS as it should ({detail})", retryable=False)
    return ConnectFailed(f"cannot connect to {host.name}: {clean_text(_reason(error), 80)} ({detail})")


def _is_cut(error: aiohttp.ClientConnectorSSLError) -> bool:
    """Tell whether a TLS handshake broke off, which says nothing of the next one, rather than went wrong."""
    return isinstance(error.os_error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)


def _reason(error: Exception) -> str:
    # A ClientConnectorError's own text holds the address only; its os_error's number says what the system said.
    number = getattr(getattr(error, "os_error", None), "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return "timed out" if isinstance(error, TimeoutError) else "no such address, or no network"


def ended(host: Host, *, sent: bool | None) -> TransportError:
    """Tell of a request that was given up because somebody closed its connection on our side."""
    if sent is not False:
        return ConnectionLost(f"the connection to {host.name} was closed here before the answer came")
    return ConnectFailed(f"the connection to {host.name} was closed here before anything was sent")
