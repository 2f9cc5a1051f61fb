"""The seam to aiohttp: each of its exceptions becomes one of ours, says truly whether anything left, and shows nothing.

The classes are found by walking what aiohttp exports, so that one it adds tomorrow is here tomorrow.
"""

import asyncio
import http.cookies
import pickle
import ssl
import traceback
import zlib
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import http_exceptions
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from kling_async import (
    AnswerTimeout,
    BadEnvelope,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    KlingError,
    TransportError,
    official,
)
from kling_async.auth import ApiKey, Secret
from kling_async.translate import ended, translate
from kling_async.transport import Transport

KEY = "sk-hidden-key-0123456789"
QUERY = "signature=hidden-query"
HOST = official("https://api.example.com")
ADDRESS = URL(f"https://api.example.com/v1/videos?{QUERY}")
HEADERS = CIMultiDictProxy(CIMultiDict({"Authorization": f"Bearer {KEY}"}))
INFO = aiohttp.RequestInfo(ADDRESS, "POST", HEADERS, ADDRESS)
PLACE = ConnectionKey("api.example.com", 443, True, True, None, None, None)


def classes() -> Iterator[type[BaseException]]:
    """Every exception class of aiohttp's client side, its parsers' included."""
    open_: list[type[BaseException]] = [aiohttp.ClientError, http_exceptions.HttpProcessingError]
    seen: set[type[BaseException]] = set()
    while open_:
        kind = open_.pop()
        if kind not in seen:
            seen.add(kind)
            open_ += kind.__subclasses__()
            yield kind


def made(kind: type[BaseException]) -> BaseException:
    """One of that class, full of what must not be shown."""
    arguments_of: list[tuple[Any, ...]]
    if issubclass(kind, aiohttp.ClientConnectorCertificateError):
        arguments_of = [(PLACE, ssl.SSLCertVerificationError(1, f"certificate verify failed {QUERY}"))]
    elif issubclass(kind, UnixClientConnectorError):
        arguments_of = [(f"/run/{KEY}", PLACE, OSError(111, f"refused {KEY}"))]
    elif issubclass(kind, aiohttp.ClientConnectorError):
        arguments_of = [(PLACE, OSError(111, f"refused {KEY}"))]
    elif issubclass(kind, aiohttp.ClientResponseError):
        arguments_of = [(INFO, ())]
    else:
        arguments_of = [
            (b"expected", b"got", "api.example.com", 443),
            (ADDRESS, KEY),
            (f"{KEY} {QUERY}",),
            (KEY.encode(), 1, 2),
            (f"{KEY} {QUERY}", 1, 2),
            (),
        ]
    for arguments in arguments_of:
        try:
            error = kind(*arguments)
        except TypeError:
            continue
        if isinstance(error, aiohttp.ClientResponseError):
            error.message, error.status, error.headers = KEY, 502, HEADERS
        return error
    raise AssertionError(f"{kind.__name__} cannot be made: teach this test how")


ALL = sorted(classes(), key=lambda kind: kind.__qualname__)
# Raised before a request is written, and only then (reliability: measured); everything else proves nothing.
BEFORE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
)
NEVER_AGAIN = (
    aiohttp.ClientSSLError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ServerFingerprintMismatch,
)


def test_the_walk_finds_what_there_is() -> None:
    names = {kind.__name__ for kind in ALL}
    assert names >= {"ClientConnectorDNSError", "ServerDisconnectedError", "ClientPayloadError", "LineTooLong"}
    assert names >= {name for name in dir(aiohttp) if name.startswith(("Client", "Server")) and name.endswith("Error")}


@pytest.mark.parametrize("sent", [True, False, None])
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_class_is_sorted(kind: type[BaseException], sent: bool | None) -> None:
    foreign = made(kind)
    assert isinstance(foreign, Exception)
    ours = translate(foreign, HOST, sent=sent)
    surely_not = isinstance(foreign, BEFORE) or (isinstance(foreign, TimeoutError) and sent is False)
    if surely_not and not sent:
        assert type(ours) is ConnectFailed
        plain_ssl = type(foreign) is aiohttp.ClientSSLError  # the base class says too little to give up on
        assert (ours.paid, ours.retryable) == ("no", plain_ssl or not isinstance(foreign, NEVER_AGAIN))
    else:
        assert isinstance(ours, ConnectionLost | AnswerTimeout | BadEnvelope)
        assert (ours.paid, ours.retryable) == ("maybe", True)
    assert_shows_nothing(ours)


def assert_shows_nothing(error: BaseException) -> None:
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    text = "\n".join((str(error), repr(error), repr(error.__dict__), told, repr(pickle.dumps(error))))
    for hidden in (KEY, QUERY, "Bearer"):
        assert hidden not in text
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("cause", "retryable"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), True),
        (ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed"), True),
        (ssl.SSLSyscallError(5, "some I/O error"), True),
        (ssl.SSLError(1, "wrong version number"), False),
    ],
)
def test_a_handshake_that_broke_off_may_do_next_time(cause: ssl.SSLError, retryable: bool) -> None:
    ours = translate(aiohttp.ClientConnectorSSLError(PLACE, cause), HOST, sent=False)
    assert (type(ours), ours.retryable) == (ConnectFailed, retryable)


OTHERS = [
    OSError(5, f"Input/output error {KEY}"),
    ConnectionResetError(104, KEY),
    BrokenPipeError(32, KEY),
    ssl.SSLError(1, KEY),
    ValueError(KEY),
    RuntimeError(f"Session is closed {KEY}"),
    LookupError(f"unknown encoding: {KEY}"),
    UnicodeError(KEY),
    zlib.error(KEY),
    http.cookies.CookieError(f"Illegal key {KEY}"),
    RecursionError(KEY),
    MemoryError(KEY),
    asyncio.InvalidStateError(KEY),
    AssertionError(KEY),
    EOFError(KEY),
    ExceptionGroup(KEY, [OSError(KEY)]),
]


@pytest.mark.parametrize("sent", [True, False, None])
@pytest.mark.parametrize("foreign", OTHERS, ids=lambda error: type(error).__name__)
def test_whatever_else_comes_out_proves_nothing(foreign: Exception, sent: bool | None) -> None:
    ours = translate(foreign, HOST, sent=sent)
    assert (type(ours), ours.paid) == (ConnectionLost, "maybe")
    assert_shows_nothing(ours)


@pytest.mark.parametrize(("sent", "kind"), [(True, ConnectionLost), (None, ConnectionLost), (False, ConnectFailed)])
def test_a_connection_closed_on_our_side(sent: bool | None, kind: type[TransportError]) -> None:
    assert type(ended(HOST, sent=sent)) is kind


class Raising:
    """An HTTP session whose every request raises, with everything that must not be shown in its frames."""

    closed = False
    auth = None

    def __init__(self, error: BaseException, trace_says: bool | None) -> None:
        self._error = error
        self._trace_says = trace_says

    def request(self, _method: str, _url: URL, **options: Any) -> Any:
        authorization = options["headers"]["Authorization"]
        assert KEY in authorization
        assert options["allow_redirects"] is False
        if self._trace_says is not None:
            options["trace_request_ctx"].sent = self._trace_says
        return self

    async def __aenter__(self) -> Any:
        raise self._error

    async def __aexit__(self, *_what: object) -> None:
        raise AssertionError("never entered")


@pytest.mark.parametrize("trace_says", [True, False, None])
@pytest.mark.parametrize("kind", [*ALL, *OTHERS], ids=lambda k: k.__name__ if isinstance(k, type) else type(k).__name__)
async def test_nothing_foreign_leaves_the_transport(kind: Any, trace_says: bool | None) -> None:
    """Through the real call: our class, no chain, and no frame with a header in it."""
    error = made(kind) if isinstance(kind, type) else kind
    http_session: Any = Raising(error, trace_says)
    transport = Transport(HOST, ApiKey(Secret(KEY)), wall=lambda: 0.0, http=http_session)
    with pytest.raises(KlingError) as caught:
        await transport.submit("/v1/videos/text2video", b'{"prompt":"a secret plan"}')
    ours = caught.value
    assert isinstance(ours, TransportError)
    assert ours.__cause__ is None
    assert ours.__context__ is None
    frames = traceback.TracebackException.from_exception(ours, capture_locals=True).stack
    told = repr([frame.locals for frame in frames if frame.filename != __file__]) + str(ours) + repr(ours)
    for hidden in (KEY, QUERY, "Bearer"):
        assert hidden not in told
    assert (ours.paid == "no") is (type(ours) is ConnectFailed)
    if ours.paid == "no":
        assert trace_says is not True


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning", "ignore:The 'auth' parameter")
async def test_a_session_with_credentials_of_its_own_is_refused() -> None:
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "hidden")) as borrowed:
        with pytest.raises(ConfigError, match="credentials") as caught:
            Transport(HOST, ApiKey(Secret(KEY)), wall=lambda: 0.0, http=borrowed)
    assert "hidden" not in str(caught.value)


async def test_the_next_request_is_signed_with_what_was_given_last() -> None:
    transport = Transport(HOST, ApiKey(Secret(KEY)), wall=lambda: 0.0)
    transport.credentials = ApiKey(Secret("another-key"))
    assert transport.credentials == ApiKey(Secret("another-key"))
    assert "another-key" not in repr(transport.credentials)


async def test_closing_what_was_never_opened_or_is_closed_already_is_nothing() -> None:
    """A session whose journal could not be opened closes what it has: that must not hide why."""
    transport = Transport(HOST, ApiKey(Secret(KEY)), wall=lambda: 0.0)
    await transport.close()
    await transport.open()
    assert "open" in repr(transport)
    for _ in range(2):
        await transport.close()
        assert "closed" in repr(transport)
