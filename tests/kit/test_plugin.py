"""The pytest plugin, in test files of its own: with and without an event loop's plugin, and when a test fails."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Whether the package is installed with its entry point or only on the path: the plugin is loaded once.
PLUGIN = ("-p", "no:kling", "-p", "_kling_async_pytest", "-p", "no:cacheprovider")
ROOT = Path(__file__).parents[2]


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    """Run a test file; the plugins for loops are only asked for where they matter."""
    pytester.makepyfile(source)
    options = options or ("-p", "no:asyncio", "-p", "no:anyio")
    return pytester.runpytest_inprocess(*PLUGIN, "--strict-markers", "-W", "error", *options)


def test_a_plain_test_has_an_emulator_and_a_session(pytester: pytest.Pytester) -> None:
    """No plugin for event loops is needed: a test may bring its own loop, or another process."""
    run(
        pytester,
        """
        import asyncio
        import urllib.request

        import pytest
        from kling_async import KlingSession, TextToVideo

        @pytest.mark.kling(faults=[{"action": "reset", "stage": "after", "kind": "create", "times": 1}])
        def test_paid_once(kling_emulator, kling_session):
            async def story():
                async with kling_session as kling:
                    return await kling.generate(TextToVideo(prompt="a fox", model_name="kling-v2-6", duration="5"))

            result = asyncio.run(story())
            assert urllib.request.urlopen(result.url).read(8)[4:] == b"ftyp"
            kling_emulator.paid_once(1)
            kling_emulator.no_leaks()
            assert kling_emulator.spent == 1.5
            assert kling_emulator.faults.hits() == 1

        def test_environment(kling_environment, kling_emulator):
            kling = KlingSession()
            assert str(kling.host.url).rstrip("/") == kling_emulator.url
            assert sorted(kling_environment) == ["KLING_API_KEY", "KLING_BASE_URL"]
        """,
    ).assert_outcomes(passed=2)


@pytest.mark.parametrize("plugin", ["anyio", "asyncio"])
def test_beside_the_plugins_for_loops(pytester: pytest.Pytester, plugin: str) -> None:
    options: tuple[str, ...] = ("-p", "no:asyncio")
    if plugin == "asyncio":
        pytest.importorskip("pytest_asyncio")
        options = ("-o", "asyncio_default_fixture_loop_scope=function")
    run(
        pytester,
        f"""
        import pytest
        from kling_async import TextToVideo

        pytestmark = pytest.mark.{plugin}

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_loop(kling_emulator, kling_session):
            async with kling_session as kling:
                jobs = [job async for job in kling.map(TextToVideo(prompt=f"fox {{n}}") for n in range(3))]
            assert [job.error for job in jobs] == [None] * 3
            kling_emulator.paid_once(3)
        """,
        *options,
    ).assert_outcomes(passed=1)


def test_marks_add_up(pytester: pytest.Pytester) -> None:
    """A function's mark has the last word, after those of its class and module; the option is for the rest."""
    run(
        pytester,
        """
        import pytest
        from kling_async.emulator import Fault

        pytestmark = pytest.mark.kling(dialect="new-api", seed=3)

        @pytest.mark.kling(seed=4, faults=[Fault(action="html")])
        class TestMarks:
            @pytest.mark.kling(seed=5, speed=7)
            def test_all(self, kling_emulator):
                assert (kling_emulator.seed, kling_emulator.speed, kling_emulator.dialect) == (5, 7, "new-api")
                assert [fault.action for fault in kling_emulator.faults] == ["html"]

        def test_module(kling_emulator):
            assert (kling_emulator.seed, kling_emulator.speed) == (3, 1)

        def test_server(kling_server):
            assert (kling_server.seed, kling_server.dialect) == (11, "official")
        """,
        *("--kling-seed=11", "-p", "no:asyncio"),
    ).assert_outcomes(passed=3)


def test_one_server_for_the_run(pytester: pytest.Pytester) -> None:
    """It is there for other processes, and begins anew when asked to."""
    run(
        pytester,
        """
        import json
        import subprocess
        import sys

        POST = '''
        import json, sys, urllib.request
        url, key = sys.argv[1:]
        head = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
        ask = urllib.request.Request(url + "/v1/videos/text2video", b'{"prompt": "a"}', head)
        print(json.load(urllib.request.urlopen(ask))["data"]["task_id"])
        '''

        def test_made(kling_server):
            done = subprocess.run([sys.executable, "-IS", "-c", POST.replace("\\n        ", "\\n"), kling_server.url,
                                   kling_server.api_key], capture_output=True, text=True, check=True)
            assert [task.task_id for task in kling_server.tasks] == [done.stdout.strip()]

        def test_again(kling_server):
            assert len(kling_server.tasks) == len(kling_server.requests) == 1
            kling_server.reset()
            assert kling_server.tasks == kling_server.requests == []
        """,
    ).assert_outcomes(passed=2)


def test_a_failure_shows_seed_and_requests(pytester: pytest.Pytester) -> None:
    """Also what was paid twice; what passes shows nothing."""
    result = run(
        pytester,
        """
        import json
        import urllib.request

        def make(emulator, body):
            headers = {"Authorization": f"Bearer {emulator.api_key}", "Content-Type": "application/json"}
            ask = urllib.request.Request(emulator.url + "/v1/videos/text2video", json.dumps(body).encode(), headers)
            return json.load(urllib.request.urlopen(ask))

        def test_twice(kling_emulator):
            make(kling_emulator, {"prompt": "a naive loop"})
            make(kling_emulator, {"prompt": "a naive loop"})
            kling_emulator.paid_once()

        def test_once(kling_emulator):
            make(kling_emulator, {"prompt": "one"})
            kling_emulator.paid_once(1)
        """,
        *("--kling-seed=23", "-p", "no:asyncio"),
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "kling: seed 23",
            "E * AssertionError: 1 order was made, and paid, more than once:",
            "E * 2 tasks of text2video with the body 'a naive loop':",
            "*- Kling emulator -*",
            "seed 23 (have it again: --kling-seed 23), dialect official",
            "2 tasks, the last of them:",
            "2 requests:",
            "*+0.0* s  200  POST /v1/videos/text2video",
        ]
    )
    assert str(result.stdout).count("- Kling emulator -") == 1
    assert "emulator-key" not in str(result.stdout)


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ("colour=3", "the settings of the Kling emulator are wrong: *colour*"),
        ("dialect='latin'", "the settings of the Kling emulator are wrong: dialect must be one of *"),
        ("faults=[{'action': 'sing'}]", "the settings of the Kling emulator are wrong: action must be one of *"),
        ("3", "@pytest.mark.kling takes settings by name, not (3,)"),
    ],
)
def test_a_wrong_mark_is_told_in_a_sentence(pytester: pytest.Pytester, mark: str, told: str) -> None:
    result = run(
        pytester, f"import pytest\n@pytest.mark.kling({mark})\ndef test_it(kling_emulator): raise AssertionError"
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])


def test_a_random_seed_is_told(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "def test_it(kling_emulator): assert kling_emulator.seed > 0",
        "--kling-seed=random",
        "-p",
        "no:asyncio",
    )
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"kling: seed \d+"])


def test_nothing_heavy_at_collection(pytester: pytest.Pytester) -> None:
    """Loaded by its entry point, as pytest loads every plugin, it brings neither the client nor its HTTP library."""
    folder = pytester.mkdir("kling_async_entry-0.dist-info")
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: kling-async-entry\nVersion: 0\n")
    (folder / "entry_points.txt").write_text("[pytest11]\nkling = _kling_async_pytest\n")
    pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure(config):
            loaded = config.pluginmanager.get_plugin("kling").__name__
            print("loaded:", loaded, *[name for name in ("aiohttp", "attrs", "kling_async") if name in sys.modules])
        """
    )
    pytester.makepyfile("def test_nothing(): pass")
    paths = [str(pytester.path), *(path for path in sys.path if path), str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *PLUGIN[4:], "-p", "no:asyncio"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "loaded: _kling_async_pytest\n" in done.stdout


def test_the_entry_point_is_declared() -> None:
    """Where the package is installed pytest finds the plugin; in a source tree its project file says so."""
    project = ROOT / "pyproject.toml"
    if project.exists():
        assert '[project.entry-points.pytest11]\nkling = "_kling_async_pytest"' in project.read_text()
    else:
        found = importlib.metadata.entry_points(group="pytest11", name="kling")
        assert {entry.value for entry in found} == {"_kling_async_pytest"}
