"""Whatever goes wrong, no key, token or signed URL is in an error, a traceback with locals, a log or a repr."""

import asyncio
import contextlib
import json
import logging
import pickle
import re
import traceback
from pathlib import Path
from typing import Any

import attrs
import pytest
from fault_plan import echoes, every_fault
from flow_tools import EPOCH, client, clip, service, wall
from test_trouble import LOST, OUTAGES

from kling_async import AuthError, ConfigError, KlingError, KlingSession, Policy, Status, official
from kling_async.auth import Secret, sign
from kling_async.emulator import Emulator, Fault
from kling_async.emulator.virtual import VirtualLoop
from kling_async.journal import MemoryJournal, MemoryStore
from kling_async.journal_sqlite import SqliteJournal

KEY = "emulator-key"
PAIR = ("emulator-access-key", "emulator-secret-key")
EVERYTHING = [*LOST, *(fault for name in OUTAGES for fault in OUTAGES[name])]

TESTS = Path(__file__).parents[1]  # whose locals hold the secrets they are about


def assert_hidden(text: str, where: str) -> None:
    """None of the credentials, and no JWT, is in the text."""
    for secret in (KEY, *PAIR, "Bearer ", "eyJhbGciOi"):
        assert secret not in text, where


def shown(error: BaseException, kling: KlingSession) -> str:
    """All that a crash reporter would collect of an error, our own frames with their locals."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames: list[Any] = []
    seen: list[traceback.TracebackException | None] = [told]
    while seen:
        part = seen.pop()
        if part is not None:
            frames += [frame for frame in part.stack if TESTS not in Path(frame.filename).parents]
            seen += [part.__cause__, part.__context__]
    details = [(frame.filename, frame.line, frame.locals) for frame in frames]
    return "\n".join(
        [str(error), repr(error), repr(error.__dict__), repr(details), repr(kling), repr(kling._transport)]
    )


def token_of(now_s: float) -> str:
    """The JWT that the key pair's owner signs at that moment."""
    return sign(Secret(PAIR[0]), Secret(PAIR[1]), now_s).reveal()


@pytest.mark.parametrize(
    ("dialect", "pair"), [("official", True), ("new-api", False)], ids=["official-pair", "new-api-key"]
)
def test_no_fault_shows_a_secret(dialect: str, pair: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Every fault there is, one after the other, at the loudest level of the log, with a journal.

    Looked at: the errors of every waiter (text, repr, traceback with locals, attributes, pickle), the log, and the
    bytes of the journal's file after everything that was recorded has been written into it.
    """
    caplog.set_level(logging.DEBUG, logger="kling_async")
    store = MemoryStore()
    secrets = PAIR if pair else (KEY,)

    async def sweep() -> None:
        async with service(dialect) as emulator:
            for fault in (*EVERYTHING, *every_fault()):
                emulator.faults[:] = [fault]
                await one_job(emulator, MemoryJournal(wall=wall, owner="me", store=store), pair=pair)
            for number in range(len(echoes())):
                repeated = (*secrets, token_of(wall())) if pair else secrets
                emulator.faults[:] = [echoes(*repeated)[number]]
                await one_job(emulator, MemoryJournal(wall=wall, owner="me", store=store), pair=pair)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(sweep())
    text = "\n".join(record.getMessage() + repr(record.args) + (record.exc_text or "") for record in caplog.records)
    assert "ka-" in text
    assert_hidden(text, "log")
    assert "a red bicycle" not in text
    assert len(store.entries) >= len(every_fault())
    data = asyncio.run(written(tmp_path / "jobs.db", store))
    assert b"a red bicycle" in data
    for secret in (KEY, *PAIR, "eyJhbGciOi", "Bearer"):
        assert secret.encode() not in data, secret


WEBHOOK = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
OWN = "a-secret-of-our-own-that-nobody-knows"
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


def tokens_in(emulator: Emulator) -> set[str]:
    """The tokens of every job the emulator was told of."""
    found = {task.callback_url.rpartition("/")[2] for task in emulator.tasks}
    assert all(TOKEN.fullmatch(token) for token in found)
    return found


def test_no_fault_shows_what_callbacks_are_checked_with(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Neither the webhook secret nor the local one nor any job's token: not in errors, logs, reprs or the journal.

    Faults of every kind; a host that repeats the token it was given; callbacks, good and bad.
    """
    caplog.set_level(logging.DEBUG, logger="kling_async")
    store = MemoryStore()
    known: set[str] = set()
    arguments: dict[str, Any] = {
        "callback": "http://localhost/hooks",
        "callback_token": OWN,
        "webhook_secret": [WEBHOOK, Secret(WEBHOOK)],
    }
    texts: list[str] = []

    def called_back(kling: KlingSession, job_id: str, token: str) -> None:
        body = b'{"task_id":"9","task_status":"succeed"}'
        for at in (job_id, "other", "../x"):
            kling.take_callback({"webhook-signature": WEBHOOK}, body, job_id=at, token=token)
            kling.take_callback({"webhook-signature": f"v1,{token}"}, b"<html>" + token.encode())
        with pytest.raises(ConfigError) as caught:
            kling.take_callback({}, body.decode(), job_id=job_id, token=token)  # type: ignore[arg-type]
        texts.append(shown(caught.value, kling))
        texts.append(repr(kling._door) + repr(kling.stats))

    async def sweep() -> None:
        async with service() as emulator:
            journal = MemoryJournal(wall=wall, owner="me", store=store)
            for fault in (*LOST, *every_fault()[::9]):
                emulator.faults[:] = [fault]
                await one_job(emulator, journal, pair=False, **arguments)
                journal = MemoryJournal(wall=wall, owner="me", store=store)
            for number in range(len(echoes())):
                name = f"echo-{number}"
                token = str(
                    KlingSession(api_key=KEY, base_url=official(emulator.url), **arguments)._door.address(
                        name, arguments["callback"]
                    )
                ).rpartition("/")[2]
                known.add(token)
                emulator.faults[:] = [attrs.evolve(echoes(token)[number], kind="create")]
                async with client(emulator, **arguments, policy=Policy(settle_s=2.0, task_limit_s=9.0)) as kling:
                    job = await kling.submit(clip(), job_id=name)
                    try:
                        await job.accepted()
                    except KlingError as error:
                        texts.append(shown(error, kling) + repr(pickle.dumps(error)))
                    called_back(kling, name, token)
            known.update(tokens_in(emulator))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(sweep())
    texts += [record.getMessage() + repr(record.args) + (record.exc_text or "") for record in caplog.records]
    texts.append(repr(store.entries))
    data = asyncio.run(written(tmp_path / "jobs.db", store))
    assert b"http://localhost/hooks" in data
    assert len(known) > 10
    for secret in (WEBHOOK, WEBHOOK.removeprefix("whsec_"), OWN, *known):
        assert secret not in "\n".join(texts)
        assert secret.encode() not in data


def test_what_is_wrong_with_a_secret_is_said_without_it() -> None:
    """Also in the locals of every frame of the traceback, however it was given."""
    for given in ("not-Base64!", ["not-Base64!"], ("not-Base64!",)):
        for name in ("webhook_secret", "callback_token"):
            arguments: dict[str, Any] = {name: given}
            with pytest.raises(ConfigError) as caught:
                KlingSession(api_key=KEY, base_url="global", **arguments)
            told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
            frames = [frame for frame in told.stack if TESTS not in Path(frame.filename).parents]
            assert frames
            assert "not-Base64!" not in repr([frame.locals for frame in frames]) + str(caught.value)


async def written(file: Path, store: MemoryStore) -> bytes:
    """The bytes of a journal's file that holds these entries, its log included."""
    journal = SqliteJournal(file, wall=lambda: EPOCH, owner="me")
    await journal.open()
    for entry in store.entries.values():
        fresh = attrs.evolve(entry, owner="me", state=Status.QUEUED, task_id=None, outcome=None)
        assert await journal.add(fresh) is None
        fields = {"state": entry.state, "task_id": entry.task_id, "outcome": entry.outcome}
        await journal.write(fresh.change(**{name: value for name, value in fields.items() if value is not None}))
    for key, value in store.facts.items():
        await journal.learn(key, value.value)
    data = b"".join(path.read_bytes() for path in file.parent.glob(f"{file.name}*"))
    await journal.close()
    return data + file.read_bytes()


async def one_job(emulator: Emulator, journal: MemoryJournal, *, pair: bool, **arguments: Any) -> None:
    """Submit, ask, be cancelled, and look at every error."""
    credentials: dict[str, Any] = {"access_key": PAIR[0], "secret_key": PAIR[1]} if pair else {}
    credentials |= arguments
    policy = Policy(settle_s=2.0, unreachable_s=5.0, slots_wait_s=5.0, task_limit_s=30.0, grace_s=1.0)
    async with client(emulator, policy=policy, journal=journal, **credentials) as kling:
        job = await kling.submit(clip())
        waiting = asyncio.ensure_future(job.accepted())
        await asyncio.sleep(0.001)
        waiting.cancel()
        errors: list[BaseException] = []
        for work in (job.accepted(), _wait(job), kling.query("867000000000000001", "text2video")):
            try:
                await work
            except (KlingError, asyncio.CancelledError) as error:
                errors.append(error)
        for caught in errors:
            assert_hidden(shown(caught, kling), repr(caught))
            assert_hidden(repr(pickle.dumps(caught)), "pickle")


async def _wait(job: Any) -> Any:
    return await job


@pytest.mark.realtime
@pytest.mark.parametrize("pair", [False, True], ids=["key", "pair"])
async def test_the_journals_file_holds_no_secret(pair: bool, tmp_path: Path) -> None:
    """The same through a real file, written by the session itself, with a host that repeats the credentials."""
    file = tmp_path / "jobs.db"
    async with Emulator(dialect="official", speed=100.0, duration_s=5.0) as emulator:
        credentials: dict[str, Any] = {"access_key": PAIR[0], "secret_key": PAIR[1]} if pair else {"api_key": KEY}
        async with KlingSession(**credentials, base_url=official(emulator.url), journal=file) as kling:
            for fault in echoes(*(PAIR if pair else (KEY,))):
                emulator.faults[:] = [attrs.evolve(fault, times=2)]
                job = await kling.submit(clip(), timeout=0.3)
                with contextlib.suppress(KlingError):
                    await job
            data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"a red bicycle" in data
    for secret in (KEY, *PAIR, "eyJhbGciOi", "Bearer"):
        assert secret.encode() not in data + file.read_bytes(), secret


async def test_a_secret_that_the_host_repeats_is_scrubbed() -> None:
    """A gateway that quotes the key in its refusal does not get it into our error."""
    echo = b'{"error":{"message":"invalid token emulator-key (request id: 1)","type":"new_api_error","code":""}}'
    async with service(faults=[Fault(action="body", kind="create", status=401, body=echo)]) as emulator:
        async with client(emulator) as kling:
            with pytest.raises(AuthError, match="invalid token") as caught:
                await kling.generate(clip())
            assert_hidden(shown(caught.value, kling), "echo")


async def test_cancelling_a_question_in_flight_shows_nothing() -> None:
    """The frames of the HTTP client hold the header: a cancellation does not carry them out."""
    slow = Fault(action="hang", kind="single")
    async with service(faults=[slow]) as emulator, client(emulator) as kling:
        asking = asyncio.ensure_future(kling.query("867000000000000001", "text2video"))
        await asyncio.sleep(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await asking
        assert_hidden(shown(caught.value, kling), "cancelled")


@pytest.mark.parametrize("renewed", [False, True])
async def test_a_secret_within_a_quoted_answer_is_scrubbed(renewed: bool) -> None:
    """A gateway puts the service's whole answer, as a text, into its own: the key is written with two escapes there."""
    inner = json.dumps({"code": 1002, "message": f"invalid token {KEY}"}).replace("-", "\\u002d")
    echo = json.dumps({"error": {"message": inner, "type": "upstream_error", "code": ""}}).encode()
    assert KEY.encode() not in echo
    async with service(faults=[Fault(action="body", kind="create", status=401, body=echo)]) as emulator:
        async with client(emulator) as kling:
            if renewed:
                kling.renew_credentials(api_key="another-key")  # the one before stays secret
                emulator.api_key = "another-key"
            with pytest.raises(AuthError, match="invalid token") as caught:
                await kling.generate(clip())
            assert caught.value.code == 1002
            assert_hidden(shown(caught.value, kling), "quoted")
