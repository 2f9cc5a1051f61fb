"""What is imported when: a name brings its own module and no more, and a session that is open imports nothing."""

import ast
import importlib
import json
import os
import pickle
import pydoc
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import kling_async
from kling_async import ENDPOINTS, endpoints, errors

SOURCE = ast.parse(Path(kling_async.__file__).read_text(encoding="utf-8"))
_BASE = ["endpoints.base", "endpoints.media", "endpoints.rules"]  # what every endpoint is made of

# Everything a session does by itself, with a journal, on real sockets; what is imported meanwhile is printed.
_JOURNEY = """
import asyncio, json, sys
from kling_async.emulator import Emulator
from kling_async import KlingSession, TextToVideo, official

async def main():
    async with Emulator(dialect="official", speed=50.0, duration_s=(5, 10)) as emulator:
        session = KlingSession(api_key=emulator.api_key, base_url=official(emulator.url), journal="jobs.journal")
        before = set(sys.modules)
        async with session as kling:
            job = await kling.submit(TextToVideo(prompt="a red bicycle"), job_id="one")
            files = await kling.download(await job, "clips")
            assert files and (await kling.look("one")).result.url
            assert (await kling.history()).jobs and kling.stats.submissions == 1
        return [name for name in set(sys.modules) - before if name.startswith("kling_async")]

print(json.dumps(asyncio.run(main())))
"""

_STEPS = """
import json, sys
seen, told = set(), []
for step in %r:
    exec(step)
    now = {name[12:] for name in sys.modules if name.startswith("kling_async.")}
    told.append(sorted(now - seen))
    seen |= now
print(json.dumps(told))
"""

_THREADS = """
import json, sys, threading
import kling_async
sys.setswitchinterval(1e-6)
found, start = [], threading.Barrier(8)
def look():
    start.wait()
    found.append((kling_async.TextToVideo, kling_async.endpoints.find_endpoint("tts"), kling_async.ENDPOINTS))
threads = [threading.Thread(target=look) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
kinds, rows, registries = ({id(thing) for thing in things} for things in zip(*found))
print(json.dumps([len(found), len(kinds), len(rows), len(registries)]))
"""


def fresh(code: str, cwd: Path | None = None) -> Any:
    """Run lines in a new interpreter; give what they print as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=_environment(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def imported_by(*steps: str) -> list[list[str]]:
    """The modules of the package that each of some lines imports, one after the other in one interpreter."""
    told = fresh(_STEPS % (steps,))
    assert isinstance(told, list)
    return told


# --- the table -----------------------------------------------------------------------------------------------------


def test_type_checkers_and_programs_are_told_the_same() -> None:
    """What is imported for type checkers is what the table says, name by name."""
    (guard,) = [node for node in SOURCE.body if isinstance(node, ast.If) and _is(node.test, "typing.TYPE_CHECKING")]
    told: dict[str, list[str]] = {}
    for node in guard.body:
        assert isinstance(node, ast.ImportFrom)
        assert node.level == 1
        assert node.module is not None
        assert all(alias.asname is None for alias in node.names)
        told[node.module] = [alias.name for alias in node.names]
    assert told == {home: names.split() for home, names in kling_async._NAMES.items()}


def test_the_table_has_every_public_name_once() -> None:
    listed = [name for names in kling_async._NAMES.values() for name in names.split()]
    assert sorted([*listed, "__version__"]) == sorted(kling_async.__all__)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("home", kling_async._NAMES)
def test_names_are_where_the_table_says(home: str) -> None:
    module = importlib.import_module(f"kling_async.{home}")
    for name in kling_async._NAMES[home].split():
        assert getattr(kling_async, name) is getattr(module, name)
        assert vars(kling_async)[name] is getattr(module, name), "it is asked for a second time"


def test_rows_are_where_the_registry_says() -> None:
    for file, names in endpoints._FILES.items():
        for row in importlib.import_module(f"kling_async.endpoints.{file}").ENDPOINTS:
            assert any(row.name == name or (name[-1] == "/" and row.name.startswith(name)) for name in names), row.name
            assert endpoints.find_endpoint(row.name) is row
        first = {row.name.partition("/")[0] for row in ENDPOINTS if "/" in row.name}
        assert all(name[:-1] in first if name[-1] == "/" else endpoints.find_endpoint(name) for name in names)


@pytest.mark.parametrize("module", [kling_async, endpoints], ids=lambda module: module.__name__)
def test_type_checkers_do_not_see_the_door_for_any_name(module: types.ModuleType) -> None:
    """With a `__getattr__` in sight they would take every misspelt name for a good one."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    hidden = [
        inner
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"not typing.TYPE_CHECKING", "not TYPE_CHECKING"}
        for inner in node.body
    ]
    doors = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"]
    assert len(doors) == 1
    assert doors[0] in hidden


def _is(node: ast.expr, source: str) -> bool:
    return ast.unparse(node) == source


# --- what is imported ----------------------------------------------------------------------------------------------


def test_a_name_brings_what_it_needs() -> None:
    package, error, session, clip = imported_by(
        "import kling_async",
        "from kling_async import KlingError",
        "from kling_async import KlingSession",
        "from kling_async import TextToVideo",
    )
    assert package == ["_version"]
    assert error == ["errors"]
    assert [name for name in session if name.startswith("endpoints.")] == _BASE
    assert not {"journal_sqlite", "prices", "recovery", "selection"} & set(session)
    assert clip == ["endpoints.matrix", "endpoints.parts", "endpoints.video"]


def test_a_row_brings_its_own_file() -> None:
    none, speech, tomorrow, misspelt = imported_by(
        "from kling_async.endpoints import find_endpoint",
        "find_endpoint('tts')",
        "find_endpoint('image-to-video/kling-9.0')",
        "import contextlib\nwith contextlib.suppress(ValueError): find_endpoint('tss')",
    )
    assert [name for name in none if name.startswith("endpoints.")] == _BASE
    assert speech == ["endpoints.required", "endpoints.sound"]
    assert "endpoints.operation" in tomorrow
    assert "endpoints.solutions" not in tomorrow
    # A misspelt name is compared with all of them.
    assert {f"endpoints.{file}" for file in endpoints._FILES} <= {*speech, *tomorrow, *misspelt}


def test_an_open_session_imports_nothing(tmp_path: Path) -> None:
    """An import takes milliseconds, in which no job is sent and no answer read."""
    assert fresh(_JOURNEY, tmp_path) == []


def test_threads_that_look_at_once_find_the_same() -> None:
    assert fresh(_THREADS) == [8, 1, 1, 1]


# --- as an ordinary package ----------------------------------------------------------------------------------------


def test_modules_are_attributes_at_once() -> None:
    (found,) = imported_by(
        "import kling_async; kling_async.errors.KlingError; kling_async.endpoints.sound.TextToSpeech"
    )
    assert {"errors", "endpoints.sound"} <= set(found)


def test_a_wrong_name_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'kling_async' has no attribute 'TextToVido'$"):
        _ = kling_async.TextToVido  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match=r"^cannot import name 'TextToVido' from 'kling_async'"):
        exec("from kling_async import TextToVido")
    with pytest.raises(AttributeError, match=r"^module 'kling_async\.endpoints' has no attribute 'ENDPOINT'$"):
        _ = endpoints.ENDPOINT  # type: ignore[attr-defined]
    code = "import kling_async; kling_async.TextToVido"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=_environment())
    assert "Did you mean: 'TextToVideo'?" in done.stderr


def test_it_is_described_pickled_and_listed_as_ever() -> None:
    assert set(kling_async.__all__) <= set(dir(kling_async))
    told = pydoc.plain(pydoc.render_doc(kling_async))
    assert all(f"class {name}(" in told for name in ("KlingSession", "TextToVideo", "Throttled"))
    code = """
import json, pickle
asked = pickle.loads(%r)
print(json.dumps([repr(asked), isinstance(asked, __import__("kling_async").TextToVideo)]))
"""
    request = kling_async.TextToVideo(prompt="a red bicycle")
    assert fresh(code % pickle.dumps(request)) == [repr(request), True]
    assert pickle.loads(pickle.dumps(kling_async.Throttled)) is errors.Throttled


def test_all_names_come_with_a_star() -> None:
    code = "import json\nfrom kling_async import *\nprint(json.dumps(sorted(name for name in globals() if name in %r)))"
    assert fresh(code % kling_async.__all__) == sorted(kling_async.__all__)
