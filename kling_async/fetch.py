"""Asset URL in, open answer out: the connections that files come over.

Stage: move. Before: transfer. After: nothing of ours. Has no credentials to leak, and keeps no cookies. An address is
looked at three times: as it is written, as its name resolves, and as the connection was really made.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from .addresses import Gate, parse
from .dialects import is_loopback
from .errors import DownloadError, clean_text

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

_REDIRECTS: Final = 5
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
_BUFFER_BYTES: Final = 256 * 1024
# Every character that may stand in a URL as it is, or is quoted. Source: RFC 3986, 2.
_QUOTED: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#@!$&'()*+,;=\[\]-]|%[0-9A-Fa-f]{2})+")
_MOVED: Final = frozenset({301, 302, 303, 307, 308})


class Blocked(Exception):
    """A name resolved to, or a connection was made to, an address that is not admitted."""


class GatedResolver(AbstractResolver):
    """Resolves names, and refuses one that has any address that is not admitted."""

    def __init__(self, gate: Gate, inner: AbstractResolver) -> None:
        self._gate = gate
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Give the addresses of a name.

        Raises:
            Blocked: one of them is not admitted; a name that has both kinds is up to something.
            OSError: it has none.
        """
        found = await self._inner.resolve(host, port, family)
        if not all(self._gate.admits(address["host"]) for address in found):
            raise Blocked(host)
        return found

    async def close(self) -> None:
        """Close the resolver it stands before."""
        await self._inner.close()


class GatedConnector(aiohttp.TCPConnector):
    """Hands out connections only to peers that are admitted, whatever their names resolved to a moment before."""

    def __init__(self, gate: Gate, resolver: AbstractResolver | None = None) -> None:
        super().__init__(resolver=GatedResolver(gate, resolver or aiohttp.DefaultResolver()))
        self._gate = gate

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        """Give a connection; nothing of the request was sent over it yet.

        Raises:
            Blocked: its peer is not admitted.
            aiohttp.ClientError: there is none.
        """
        connection = await super().connect(req, traces, timeout)
        peer = None if connection.transport is None else connection.transport.get_extra_info("peername")
        if not peer or not self._gate.admits(str(peer[0])):
            connection.close()
            if not peer:
                raise aiohttp.ClientConnectionError("the connection was lost as soon as it was made")
            raise Blocked(req.url.host or "")
        return connection

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close the connections, and the resolver, which aiohttp takes for somebody else's."""
        await super().close(abort_ssl=abort_ssl)
        await self._resolver.close()


def open_http(gate: Gate, connector: aiohttp.BaseConnector | None = None) -> aiohttp.ClientSession:
    """Make the HTTP session that files come over; whoever asks for it closes it.

    Args:
        gate: which peers are admitted.
        connector: in place of one that asks the gate; for tests without a network.
    """
    return aiohttp.ClientSession(
        connector=connector or GatedConnector(gate),
        timeout=_TIMEOUT,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        read_bufsize=_BUFFER_BYTES,
    )


async def follow(
    http: aiohttp.ClientSession, gate: Gate, address: str, headers: dict[str, str]
) -> aiohttp.ClientResponse:
    """Ask for a file, following redirects by hand so that each is checked before anything is sent there.

    Raises:
        DownloadError: an address that is not allowed, or too many redirects; not retryable.
        aiohttp.ClientError: no answer.
        TimeoutError: none in time.
    """
    url = allowed(gate, address)
    for _ in range(_REDIRECTS + 1):
        try:
            response = await http.get(url, headers=headers, allow_redirects=False)
        except Blocked:
            raise _private(url) from None
        except ValueError:  # what looks like an address and cannot be looked up
            raise DownloadError("the asset has an address that is not a URL", retryable=False) from None
        if response.status not in _MOVED:
            return response
        target = response.headers.get("Location", "")
        response.close()  # its body is nobody's, and may have no end
        url = allowed(gate, target, url)
    raise DownloadError(f"too many redirects: more than {_REDIRECTS}", retryable=False)


def allowed(gate: Gate, address: str, base: URL | None = None) -> URL:
    """Check an address as it is written, before its name is looked up.

    Raises:
        DownloadError: not https, or private, or with a password in it; not retryable.
    """
    try:
        url = _as_written(address) if base is None else base.join(_as_written(address))
        host = url.host or ""
    except ValueError:
        raise DownloadError("the asset has an address that is not a URL", retryable=False) from None
    # Only the emulator serves its clips over plain http, on loopback.
    plain = url.scheme == "http" and gate.loopback and is_loopback(host)
    if host and url.scheme in {"http", "https"} and _is_closed(gate, host):
        raise _private(url)
    if not host or not (url.scheme == "https" or plain):
        shown = clean_text(f"{url.scheme}://{host}", 80)
        raise DownloadError(f"the asset's address is not https ({shown})", retryable=False)
    if url.raw_user is not None or url.raw_password is not None:
        raise DownloadError("the asset's address holds a user name or a password: it is not used", retryable=False)
    return url


def _as_written(address: str) -> URL:
    """Read an address without changing how it is quoted: its signature may be over just these letters."""
    return URL(address, encoded=_QUOTED.fullmatch(address) is not None)


def _is_closed(gate: Gate, host: str) -> bool:
    if parse(host) is not None:
        return not gate.admits(host)
    return not gate.loopback and is_loopback(host.rstrip("."))


def _private(url: URL) -> DownloadError:
    return DownloadError(
        f"the asset's address is a private one ({clean_text(url.host, 60)}): nothing was sent there; if you keep files "
        "there yourself, open its network with KlingSession(private_networks=[...])",
        retryable=False,
    )
