"""The transport's promises, sentence by sentence: what is sent, to whom, what is believed, and what is shown of it.

The decoder's are in tests/unit/test_wire.py, the secrets' in tests/flow/test_secrets.py, the seam's to the HTTP client
in tests/unit/test_translate.py.
"""

import asyncio
import gzip
import inspect
import logging
import pickle
import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from fault_tools import QUESTIONS, caught, client, finished
from flow_tools import SOCKET, clip, host_of, kinds, service, wall

from kling_async import (
    AuthError,
    BadEnvelope,
    Job,
    KlingError,
    KlingSession,
    PolicyRejected,
    RequestRejected,
    SubmissionUnknown,
    TaskFailed,
    official,
)
from kling_async.auth import ApiKey, KeyPair, Secret
from kling_async.emulator import Emulator, Fault

ANSWER = b'{"code":0,"data":{"task_id":"867000000000000001","task_status":"processing"}}'


@attrs.define
class Seen:
    """What a server of ours was sent."""

    url: str = ""
    requests: list[web.BaseRequest] = attrs.field(factory=list)
    answer_headers: dict[str, str] = attrs.field(factory=dict)
    answer: bytes = ANSWER


@asynccontextmanager
async def listener() -> AsyncIterator[Seen]:
    """A server on loopback that keeps what it is sent, and answers as told."""
    seen = Seen()

    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
        seen.requests.append(request)
        return web.Response(body=seen.answer, headers=seen.answer_headers, content_type="application/json")

    server = web.Server(handle)
    runner = web.ServerRunner(server, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    seen.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield seen
    finally:
        await runner.cleanup()


async def ask_twice(seen: Seen, **session: Any) -> None:
    """A question and a create, through pools of our own unless another is given."""
    async with KlingSession(api_key="some-key", base_url=official(seen.url), **session) as kling:
        await kling.query("867000000000000001", "text2video")
        await kling.query("867000000000000001", "text2video")
        job = await kling.submit(clip())
        await job.accepted()


# --- transport -----------------------------------------------------------------------------------------------------


def test_nobody_can_switch_verification_off_in_passing() -> None:
    """A session that trusts other certificates is given as a whole (`http=`); there is no word for trusting none."""
    words = " ".join(inspect.signature(KlingSession).parameters)
    assert not re.search(r"ssl|tls|verify|insecure|cert", words)
    package = Path(inspect.getfile(KlingSession)).parent
    for path in package.glob("*.py"):
        assert not re.search(r"ssl\s*=\s*False|verify_ssl|CERT_NONE|check_hostname", path.read_text()), path.name


@pytest.mark.realtime
async def test_only_what_is_needed_is_sent() -> None:
    """No header of our own that might hold a secret, and no cookie that was set on us before."""
    async with listener() as seen:
        seen.answer_headers = {"Set-Cookie": "session=abc; Path=/"}
        await ask_twice(seen)
        usual = {"Host", "Authorization", "User-Agent", "Accept", "Accept-Encoding"}
        for request in seen.requests:
            with_body = {"Content-Type", "Content-Length"} if request.method == "POST" else set()
            assert set(request.headers) == usual | with_body
            assert request.headers["Authorization"] == "Bearer some-key"
            assert "some-key" not in str(request.url)
        assert {request.method for request in seen.requests} == {"GET", "POST"}


@pytest.mark.realtime
async def test_the_environment_chooses_no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a proxy nor a password from ~/.netrc: both would be somebody else's choice of who sees the key."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password hidden\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with listener() as seen:
        await ask_twice(seen)
        assert len(seen.requests) >= 3


REDIRECTS = [301, 302, 303, 307, 308, 300]


@pytest.mark.parametrize("status", REDIRECTS)
async def test_no_redirect_is_followed(status: int) -> None:
    """It would hand key and prompt to whoever is named there: an error, and for a create one of unknown outcome."""
    away = Fault(action="body", status=status, body=b"{}", headers={"Location": "/v1/elsewhere"})
    async with service(faults=[away]) as emulator, client(emulator) as kling:
        error = await caught(kling.query("867000000000000001", "text2video"), BadEnvelope)
        assert (error.http_status, error.paid) == (status, "no")
        emulator.faults[:] = [attrs.evolve(away, kind="create")]
        job = await kling.submit(clip())
        assert (await caught(_wait(job), SubmissionUnknown)).paid == "maybe"
        assert kinds(emulator)["create"] == 1
        assert not [request for request in emulator.requests if "elsewhere" in request.path]


async def _wait(job: Job) -> Any:
    return await job


@pytest.mark.parametrize(
    "choice",
    [
        {"raise_for_status": True},
        {"auto_decompress": False},
        {"read_bufsize": 1},
        {"max_line_size": 10**6, "max_field_size": 10**6},
        {"timeout": aiohttp.ClientTimeout(total=0.000001)},
        {"headers": {"Authorization": "Bearer somebody-elses", "User-Agent": "x"}},
        {"cookies": {"a": "b"}},
        {"requote_redirect_url": False},
    ],
    ids=lambda choice: next(iter(choice)),
)
async def test_what_a_borrowed_session_chose_otherwise(choice: dict[str, Any]) -> None:
    """Whatever the user's HTTP session is set to, answers are read and bounded as with our own."""
    async with service(duration_s=20.0) as emulator:
        connector = aiohttp.UnixConnector(path=SOCKET)
        async with aiohttp.ClientSession(connector=connector, **choice) as http:
            async with KlingSession(
                api_key=emulator.api_key, base_url=host_of(emulator), http=http, wall=wall
            ) as kling:
                # Compressed, though small: whoever does not unfold it reads nothing.
                zipped = gzip.compress(ANSWER)
                emulator.faults.append(
                    Fault(action="body", kind="single", body=zipped, headers={"Content-Encoding": "gzip"}, times=1)
                )
                assert (await kling.query("867000000000000001", "text2video")).word == "processing"
                emulator.faults[:] = [Fault(action="status", kind="create", status=400, code=1201, times=1)]
                assert (await caught(kling.generate(clip()), RequestRejected)).code == 1201
                emulator.faults[:] = [Fault(action="status", kind="create", status=400, code=1301, times=1)]
                assert (await caught(kling.generate(clip()), PolicyRejected)).code == 1301
                long = {"X-Long": "x" * 20_000}
                emulator.faults[:] = [Fault(action="delay", kind="single", headers=long, times=1)]
                await caught(kling.query("867000000000000001", "text2video"), BadEnvelope)
                await finished([await kling.submit(clip())])


def test_releases_with_known_holes_are_not_accepted() -> None:
    """Trailers without end (CVE-2026-22815) are fixed in 3.13.4."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (aiohttp_,) = [line for line in project["project"]["dependencies"] if line.startswith("aiohttp")]
    found = re.fullmatch(r"aiohttp>=(\d+)\.(\d+)\.(\d+)", aiohttp_)
    assert found is not None
    assert tuple(map(int, found.groups())) >= (3, 13, 4)


# --- secrets -------------------------------------------------------------------------------------------------------


def test_a_secret_does_not_show() -> None:
    secret = Secret("hidden-key")
    key, pair = ApiKey(secret), KeyPair(Secret("hidden-access"), Secret("hidden-secret"))
    token = pair.bearer(1_790_000_000.0)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", "%s %r" % (secret, secret)]  # noqa: UP031
    shown += [repr(key), repr(pair), str(token), repr(attrs.asdict(key)), repr(attrs.asdict(pair)), repr([secret])]
    for text in shown:
        assert "hidden" not in text
        assert token.reveal() not in text
        assert "*" in text
    for value in (secret, key, pair):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(value)


@pytest.mark.parametrize("life_s", [0.0, 1439.0, 1441.0, 1799.0, 3600.0])
def test_a_token_is_renewed_well_before_it_expires(life_s: float) -> None:
    """Half an hour, with more than a minute left whenever one leaves."""
    pair = KeyPair(Secret("access"), Secret("secret"))
    first = pair.bearer(1_790_000_000.0)
    assert (pair.bearer(1_790_000_000.0 + life_s) == first) is (life_s < 1800 - 60 - 300)


# --- what is shown of foreign words --------------------------------------------------------------------------------

HOSTILE = "\x1b[2Jhello\r\nERROR forged line\x00\u202e\x9b31m" + "A" * 5000


def assert_printable(text: str, most: int = 1000) -> None:
    """One line that a terminal shows as it is."""
    assert text.isprintable(), repr(text[:200])
    assert len(text) <= most


@pytest.mark.parametrize("place", ["refusal", "gateway's error", "failure", "status word", "request id", "page"])
async def test_foreign_words_are_made_safe(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """No forged log line, no terminal escape, no flood; in the error, its attributes and every line of the log."""
    caplog.set_level(logging.DEBUG, logger="kling_async")
    dialect = "new-api" if place == "gateway's error" else "official"
    async with service(dialect, duration_s=20.0) as emulator, client(emulator) as kling:
        error = await provoke(place, emulator, kling)
        if error is not None:
            for text in (str(error), repr(error), *_texts(vars(error))):
                assert_printable(text)
    assert caplog.records or place == "page"
    for record in caplog.records:
        assert_printable(record.getMessage())


def _texts(values: dict[str, Any]) -> list[str]:
    return [value for value in values.values() if isinstance(value, str)]


async def provoke(place: str, emulator: Emulator, kling: KlingSession) -> KlingError | None:
    """Have these words told in one place, and give the error that they end in, if any."""
    if place == "refusal":
        emulator.faults.append(Fault(action="status", kind="create", status=400, code=1201, message=HOSTILE))
        return await caught(kling.generate(clip()), RequestRejected)
    if place == "gateway's error":
        told: dict[str, Any] = {"error": {"message": HOSTILE, "type": HOSTILE, "code": HOSTILE}}
        emulator.faults.append(Fault(action="body", kind="create", status=401, body=_json(told)))
        return await caught(kling.generate(clip()), AuthError)
    if place == "page":
        emulator.faults.append(Fault(action="html", kind="single", status=200, body=f"<{HOSTILE}"))
        return await caught(kling.query("867000000000000001", "text2video"), BadEnvelope)
    if place == "request id":
        told = {"code": 1301, "message": "no", "request_id": HOSTILE}
        emulator.faults.append(Fault(action="body", kind="create", status=400, body=_json(told)))
        with pytest.raises(KlingError) as found:
            await kling.generate(clip())
        return found.value
    job = await kling.submit(clip())
    await job.accepted()
    failed = {"task_status": "failed", "task_status_msg": HOSTILE}
    values = failed if place == "failure" else {"task_status": HOSTILE}
    until_s = None if place == "failure" else 30.0
    emulator.faults.extend(Fault(action="alter", kind=kind, values=values, until_s=until_s) for kind in QUESTIONS)
    if place == "failure":
        return await caught(_wait(job), TaskFailed)
    words = [news.word async for news in job.watch()]
    for word in words:
        assert_printable(word, 40)
    assert len(words) >= 2
    return None


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()


async def test_prompts_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with service(duration_s=20.0) as emulator, client(emulator) as kling:
        await asyncio.gather(finished([await kling.submit(clip("the plans of the fortress"))]))
    assert [record for record in caplog.records if record.name.startswith("kling_async")]
    assert "fortress" not in caplog.text
