"""`kling emulator --record` and `--replay`: a host, here another emulator, written down and played back."""

import io
import json
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cli_tools import box, here
from test_inside import signalled_when, talk_to

from kling_async.cli.exits import Exit, Fail
from kling_async.cli.serve import record, replay

PATH = "/v1/videos/text2video/unknown"


def ask(stream: io.StringIO) -> bool:
    """Ask the address that is on the stream, once it is there; tell whether that was done."""
    found = re.search(r"KLING_BASE_URL=official:(\S+)[^$]*Ctrl-C", stream.getvalue())
    if found is None:
        return False
    request = urllib.request.Request(found[1] + PATH, headers={"Authorization": "Bearer emulator-key"})
    try:
        urllib.request.urlopen(request, timeout=20).close()
    except urllib.error.HTTPError as error:
        with error:
            stream.write(f"answered: {json.load(error)['message']}\n")
    return True


def test_recorded_and_played_back(tmp_path: Path) -> None:
    """Both tell an address, how to use it, and at the end what came of it."""
    file = tmp_path / "host.jsonl"
    first, second = io.StringIO(), io.StringIO()
    with box(dialect="official") as emulator:
        with signalled_when(lambda: ask(first), signal.SIGTERM):
            done = record(
                talk_to(first), file, f"official:{emulator.url}", host="127.0.0.1", port=0, keep_prompts=False
            )
    assert done is Exit.DONE
    assert "prompts are hashed" in first.getvalue()
    assert "KLING_BASE_URL=official:http://127.0.0.1:" in first.getvalue()
    assert f"Recorded 1 exchanges in {file}." in first.getvalue().replace("\n", " ").replace("  ", " ")
    with signalled_when(lambda: ask(second), signal.SIGTERM):
        assert replay(talk_to(second), file, host="127.0.0.1", port=0) is Exit.DONE
    assert "0 requests were not in the recording." in second.getvalue()
    answers = [re.findall("answered: .*", stream.getvalue()) for stream in (first, second)]
    assert answers[0] == answers[1] != []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--record", "a"], "--record FILE needs --to HOST"),
        (["--to", "global"], "--record FILE needs --to HOST"),
        (["--record", "a", "--to", "global", "--replay", "b"], "--record and --replay exclude each other"),
        (["--record", "a", "--to", "somewhere"], "is neither an https URL nor one of"),
        (["--replay", "nowhere.jsonl"], "Cannot read nowhere.jsonl: No such file"),
    ],
)
def test_wrong_use(words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = here("emulator", "--port", "0", *words)
    assert done.code == Exit.USAGE
    assert told in " ".join(done.err.split())
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over_and_no_other_file_played(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text("mine\n")
    done = here("emulator", "--port", "0", "--record", str(file), "--to", "global")
    assert done.code == Exit.USAGE
    assert "is there already" in " ".join(done.err.split())
    assert file.read_text() == "mine\n"
    with pytest.raises(Fail, match="this is no recording"):
        replay(talk_to(io.StringIO()), file, host="127.0.0.1", port=0)
