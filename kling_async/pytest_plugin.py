"""The pytest plugin: the service in a box as fixtures.

Stage: door. The wheel has it beside the package, as `_kling_async_pytest`, so that pytest, which loads every plugin
that is installed, does not import the client and its HTTP library for tests that use neither. Imports what is heavy in
the fixtures only, and by absolute names.

- `kling_emulator`: an emulator for one test, on a free port, served from a thread of its own. So it needs no event
  loop, and none of the plugins that bring one: it serves plain tests, pytest-asyncio, anyio and other processes alike.
- `kling_session`: a KlingSession that knows it, not opened yet, because a session belongs to the loop it is opened in:
  `async with kling_session as kling: ...`. It is patient for a test: it looks often, and settles what is unsure in a
  second.
- `kling_environment`: points KLING_API_KEY and KLING_BASE_URL at it, for code that makes its own KlingSession().
- `kling_server`: one emulator for the whole run, for what is started once; `kling_server.reset()` begins anew.
- `@pytest.mark.kling(faults=[...], seed=..., speed=..., ...)`: the emulator's settings, of which faults may be written
  as plain mappings. The mark of a function is added to that of its class and module, and has the last word.
- `--kling-seed N` (or `random`) seeds what has no seed of its own. A test that fails shows seed and requests.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kling_async import KlingSession
    from kling_async.emulator import Emulator

# The host with the most forms of query, and real seconds that a generation takes. Not a faster clock: a client learns
# how long tasks take from the times it is told, and would wait for what is long over.
_DEFAULTS: dict[str, Any] = {"dialect": "official", "duration_s": (0.05, 0.2)}

_EMULATOR = pytest.StashKey["Emulator"]()
_MARK = "kling(faults=..., seed=..., speed=..., **settings): settings of this test's emulator, see kling_emulator"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--kling-seed`."""
    group = parser.getgroup("kling", "Kling emulator")
    group.addoption(
        "--kling-seed",
        metavar="N",
        type=_seed,
        default=0,
        help="Seed of the emulators whose test gives none: a number, or `random`; a test that fails tells it.",
    )


def _seed(text: str) -> int:
    return secrets.randbelow(2**31) if text == "random" else int(text)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", _MARK)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Tell a seed that was chosen."""
    seed = config.getoption("--kling-seed")
    return f"kling: seed {seed}" if seed else None


@pytest.fixture
def kling_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A Kling emulator for this test, on a free port of this machine; see `@pytest.mark.kling`."""
    settings = _settings(request.node)
    settings.setdefault("seed", request.config.getoption("--kling-seed"))
    with _make(settings) as emulator:
        request.node.stash[_EMULATOR] = emulator
        yield emulator


@pytest.fixture
def kling_session(kling_emulator: Emulator) -> KlingSession:
    """A session on `kling_emulator`, to be opened in the test's own loop: `async with kling_session as kling: ...`."""
    from kling_async import KlingSession, Policy

    return KlingSession(
        api_key=kling_emulator.api_key,
        base_url=kling_emulator.base_url,
        policy=Policy(sweep_s=0.05, price_s=0.01, late_s=0.1, ceiling_s=0.3, settle_s=1.0, grace_s=1.0),
        seed=kling_emulator.seed,
    )


@pytest.fixture
def kling_environment(kling_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Credentials and address of `kling_emulator` in the environment, where `KlingSession()` finds them."""
    for name in ("KLING_ACCESS_KEY", "KLING_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in kling_emulator.environment.items():
        monkeypatch.setenv(name, value)
    return kling_emulator.environment


@pytest.fixture(scope="session")
def kling_server(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """One emulator for the whole run; its settings may be changed at any time, and `reset()` begins anew."""
    with _make({"seed": request.config.getoption("--kling-seed")}) as emulator:
        yield emulator


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what a failed test's emulator was asked, and how to have the same again."""
    report = yield
    emulator = item.stash.get(_EMULATOR, None)
    if report.failed and emulator is not None:
        report.sections.append(("Kling emulator", "\n".join(_told(emulator))))
    return report


def _settings(node: pytest.Item) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("kling"))):  # the closest comes first
        if mark.args:
            pytest.fail(f"@pytest.mark.kling takes settings by name, not {mark.args!r}", pytrace=False)
        settings.update(mark.kwargs)
    return settings


def _make(settings: dict[str, Any]) -> Emulator:
    from kling_async.emulator import Emulator, Fault

    given = _DEFAULTS | settings
    try:
        faults = [fault if isinstance(fault, Fault) else Fault.from_json(fault) for fault in given.pop("faults", ())]
        return Emulator(faults=faults, **given)
    except (TypeError, ValueError) as error:
        pytest.fail(f"the settings of the Kling emulator are wrong: {error}", pytrace=False)


def _told(emulator: Emulator) -> Iterator[str]:
    from kling_async.emulator.ledger import log_lines

    tasks = emulator.tasks
    yield f"seed {emulator.seed} (have it again: --kling-seed {emulator.seed}), dialect {emulator.dialect}"
    yield f"{len(emulator.faults)} faults with {emulator.faults.hits()} hits, {emulator.spent:g} units spent"
    yield f"{len(tasks)} tasks, the last of them:"
    for task in tasks[-10:]:
        yield f"  {task.task_id} {task.status} {task.endpoint} {task.external_id}"
    yield f"{len(emulator.requests)} requests:"
    for line in log_lines(emulator.requests):
        yield f"  {line}"
