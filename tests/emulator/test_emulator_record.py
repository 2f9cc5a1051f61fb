"""A host recorded through the proxy and played back: what is kept, what is not, and what a client then meets.

The host is another emulator on loopback.
"""

import asyncio
import json
import stat
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from kling_async import KlingSession, Policy, TextToVideo
from kling_async.emulator import Emulator, Fault, Player, Recorder
from kling_async.emulator.tape import Scrubber, head_line, read

PROMPT = "a secret plan for the winter"
QUICK = Policy(sweep_s=0.05, price_s=0.01, late_s=0.1, ceiling_s=0.3, settle_s=0.5, grace_s=1.0)


def session(url: str, key: str) -> KlingSession:
    """On a host that has single queries only: what is asked is the same in every run."""
    return KlingSession(api_key=key, base_url=f"new-api:{url}", policy=QUICK, seed=1)


def clip(text: str = PROMPT) -> TextToVideo:
    return TextToVideo(prompt=text, model_name="kling-v2-6", duration="5")


async def make(url: str, key: str, *texts: str) -> list[Any]:
    async with session(url, key) as kling:
        jobs = [await kling.submit(clip(text)) for text in texts]
        return list(await asyncio.gather(*jobs, return_exceptions=True))


def ask(url: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_session_recorded_and_played_back(tmp_path: Path) -> None:
    """The same program meets the same answers, under ids of its own, without a host and without credentials."""
    file = tmp_path / "session.jsonl"
    with Emulator(dialect="new-api", duration_s=0.3, cache_s=0.0, seed=5) as host:
        with Emulator.record(file, to=host.url) as recorder:
            first = asyncio.run(make(recorder.url, host.api_key, PROMPT, "[fail] " + PROMPT))
            assert recorder.count == len(host.requests)
            assert repr(recorder).endswith(f"[{recorder.count} exchanges in session.jsonl]>")
        host.paid_once(1)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = file.read_text()
    for word in (PROMPT, host.api_key, "Bearer", "sig=", "expires="):
        assert word not in kept
    head, exchanges = read(kept.splitlines(keepends=True))
    assert head["host"].startswith("http://127.0.0.1:")
    assert head["prompts"] == "hashed"
    assert head["recorded_at"].endswith("+00:00")
    assert [exchange.method for exchange in exchanges][:2] == ["POST", "POST"]
    with Emulator.replay(file) as player:
        second = asyncio.run(make(player.url, "any-key", PROMPT, "[fail] " + PROMPT))
        assert "unmatched]" in repr(player)
    result, failure = second
    assert result.task_id == first[0].task_id
    assert result.url == first[0].url.partition("?")[0]
    assert type(failure) is type(first[1])
    assert str(failure) == str(first[1])


def test_statuses_advance_in_the_recorded_order(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    path = "/v1/videos/text2video"
    named = {"task_id": "7", "task_info": {"external_task_id": "old"}}
    lines: list[dict[str, Any]] = [
        {"method": "POST", "path": path, "body": {"prompt": "a", "external_task_id": "old"}, "answer": {"data": named}},
        {"method": "GET", "path": f"{path}/old", "answer": {"word": "submitted"}},
        {"method": "GET", "path": f"{path}/old", "answer": {"word": "succeed", "id": "old"}},
        {"method": "GET", "path": "/tasks", "query": [["external_task_ids", "x,old"]], "answer": 1},
        {"method": "POST", "path": "/tasks", "body": {"limit": 3}, "text": "<html>slow down"},
    ]
    lines = [{"at": 0, "status": 200, "content_type": "application/json"} | line for line in lines]
    lines[-1] |= {"status": 429, "retry_after": "3", "content_type": "text/html"}
    told = [head_line("https://a.example", "2026-11-21T18:00:00+00:00", keep_prompts=True)]
    file.write_text("\n".join([*told, *map(json.dumps, lines), '{"at": 9, "meth']))
    with Player(file) as player:
        status, made = ask(player.url + path, {"external_task_id": "new", "prompt": "a", "callback_url": "http://me"})
        assert (status, made["data"]["task_info"]["external_task_id"]) == (200, "new")
        answers = [ask(f"{player.url}{path}/new")[1] for _ in range(3)]
        assert answers == [{"word": "submitted"}, *[{"word": "succeed", "id": "new"}] * 2]
        assert ask(f"{player.url}/tasks?external_task_ids=x,new") == (200, 1)
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(urllib.request.Request(f"{player.url}/tasks", b'{"limit": 3}'))
            with caught.value as page:
                assert (page.code, page.headers["Retry-After"], page.read()) == (429, "3", b"<html>slow down")
        status, refused = ask(player.url + path, {"prompt": "a"})
        assert status == 404, "a create is answered as often as it was recorded"
        assert refused["message"] == f"not in the recording, or not so often: POST {path}"
        assert ask(f"{player.url}/v1/other?a=b")[0] == 404
        assert player.unmatched == [f"POST {path}", "GET /v1/other?a=b"]


def test_a_broken_connection_is_broken_again(tmp_path: Path) -> None:
    """Also an HTML page is kept as it was."""
    file = tmp_path / "r.jsonl"
    faults = [Fault(action="reset", kind="create", stage="before"), Fault(action="html", kind="single", status=502)]
    with Emulator(dialect="official", faults=faults, lists=False, batch=False) as host:
        with Recorder(file, to=host.url) as recorder:
            url = f"{recorder.url}/v1/videos/text2video"
            with pytest.raises(ConnectionError):
                urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=20)
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{url}/1", timeout=20)
            caught.value.close()
    _, (broken, page) = read(file.read_text().splitlines(keepends=True))
    assert broken.status is None
    assert page.text is not None
    assert page.text.startswith("<html>")
    with Player(file) as player:
        with pytest.raises(ConnectionError):
            urllib.request.urlopen(urllib.request.Request(f"{player.url}/v1/videos/text2video", b"{}"), timeout=20)


def test_what_is_kept_of_a_body() -> None:
    scrubber = Scrubber(secrets=("tok-123",))
    cleaned = scrubber.clean(
        {
            "prompt": PROMPT,
            "contents": [{"type": "text", "text": PROMPT}],
            "image": "A" * 5000,
            "image_tail": "https://user:word@cdn.example/a.png?X-Amz-Signature=1#f",
            "api_key": "k",
            "message": "see https://cdn.example/b?token=2 with tok-123",
            "duration": "5",
            "count": [1, None, True],
        }
    )
    assert cleaned["prompt"] == cleaned["contents"][0]["text"] == Scrubber().clean(PROMPT, "prompt")
    assert cleaned["prompt"].startswith("sha256:")
    assert cleaned["image"].startswith("<5000 characters, sha256 ")
    assert cleaned["image_tail"] == "https://cdn.example/a.png"
    assert cleaned["api_key"] == "***"
    assert cleaned["message"] == "see https://cdn.example/b with ***"
    assert (cleaned["duration"], cleaned["count"]) == ("5", [1, None, True])
    assert Scrubber(keep_prompts=True).clean({"prompt": PROMPT}) == {"prompt": PROMPT}
    assert scrubber.pairs([("pageNum", "1"), ("sig", "abc")]) == [("pageNum", "1"), ("sig", "***")]


def test_prompts_are_kept_on_request(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"

    async def story() -> None:
        async with Emulator() as host, Recorder(file, to=host.url, keep_prompts=True) as recorder:
            with pytest.raises(RuntimeError, match="already started"):
                await recorder.__aenter__()
            status, _ = await asyncio.to_thread(ask, recorder.url + "/kling/v1/videos/text2video", {"prompt": PROMPT})
            assert status == 401
            image, _ = await asyncio.to_thread(ask, recorder.url + "/_emulator", None)
            assert image == 200

    asyncio.run(story())
    assert PROMPT in file.read_text()


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("http://api.example.com", "must be https"),
        ("ftp://api.example.com", "must be scheme and host"),
        ("https://me:secret@api.example.com", "must be scheme and host"),
        ("api.example.com", "must be scheme and host"),
    ],
)
def test_an_address_that_would_be_unsafe(tmp_path: Path, to: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        Recorder(tmp_path / "r", to=to)
    assert "secret" not in str(error.value)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text("mine")
    recorder = Recorder(file, to="https://api.example.com")
    with pytest.raises(FileExistsError):
        recorder.__enter__()
    with pytest.raises(RuntimeError, match="not started"):
        _ = recorder.url
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "this is no recording"),
        ("{}", "this is no recording"),
        ('{"kling_recording": 1}\n{"at": 1}\n{"at": 2}\n', "line 2 of the recording is damaged"),
        ('{"kling_recording": 1}\n[]\n', "line 2 of the recording is damaged"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(text)
    with pytest.raises(ValueError, match=told):
        Player(file)
