"""Runs `async def` tests on a virtual clock, and fails them for what they leave behind.

An async test runs on a fresh `VirtualLoop`; `@pytest.mark.virtual(latency=0.05)` hands arguments to it, and
`@pytest.mark.realtime` asks for an ordinary loop, at most 60 s. Under Hypothesis each example gets a loop.
"""

import asyncio
import functools
import gc
import inspect
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import settings

from kling_async.emulator.virtual import VirtualLoop, describe_task

pytest_plugins = ["pytester"]

REALTIME_LIMIT_S = 60.0

# Turns a finished test leaves to what is just ending (a closed connection's handler); no virtual time passes.
SETTLING_TURNS = 50

settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

_LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "realtime: run this async test on an ordinary loop, at most 60 s")
    config.addinivalue_line("markers", "fault(number): the row of tests/FAULTS.md that this test proves")
    config.addinivalue_line("markers", "virtual(**options): arguments for this async test's VirtualLoop")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    loop_factory = _loop_factory(pyfuncitem)
    test = pyfuncitem.obj
    under_hypothesis = getattr(test, "hypothesis", None)
    if under_hypothesis is not None:
        # Hypothesis calls the inner test once an example; parametrised items share it, so it is wrapped once.
        if inspect.iscoroutinefunction(under_hypothesis.inner_test):
            under_hypothesis.inner_test = _as_function(under_hypothesis.inner_test, loop_factory)
        return None
    if not inspect.iscoroutinefunction(test):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    _drive(test(**{name: pyfuncitem.funcargs[name] for name in names}), loop_factory)
    return True


def _loop_factory(item: pytest.Function) -> _LoopFactory | None:
    """Return the maker of a test's loop; None means asyncio's own."""
    if item.get_closest_marker("realtime"):
        return None
    options: dict[str, Any] = {}
    # The closest mark comes first and has the last word.
    for mark in reversed(list(item.iter_markers("virtual"))):
        options.update(mark.kwargs)
    return functools.partial(VirtualLoop, **options)


def _as_function(
    test: Callable[..., Coroutine[Any, Any, None]], loop_factory: _LoopFactory | None
) -> Callable[..., None]:
    @functools.wraps(test)
    def run_example(*args: Any, **kwargs: Any) -> None:
        _drive(test(*args, **kwargs), loop_factory)

    return run_example


def _drive(coro: Coroutine[Any, Any, None], loop_factory: _LoopFactory | None) -> None:
    """Run one test to its end; raise what it raised, or else an AssertionError about what it left behind."""
    reports: list[dict[str, Any]] = []
    left: list[str] = []
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.get_loop().set_exception_handler(lambda _loop, context: reports.append(context))
            if loop_factory is not None:
                # Development mode turns asyncio's own bookkeeping on, which makes a journey six times slower; the
                # virtual loop finds what is left behind by itself. Tests on real loops keep it.
                runner.get_loop().set_debug(bool(os.environ.get("PYTHONASYNCIODEBUG")))
            runner.run(_bounded(coro) if loop_factory is None else coro)
            left = runner.run(_settle())
    except BaseException as error:
        for line in _told(reports):
            error.add_note(line)
        raise
    finally:
        # A task's unread failure is reported when the task is collected; the young generations are cheap.
        gc.collect(1)
    problems = [f"task still pending: {place}" for place in left] + _told(reports)
    if problems:
        cause = next((report["exception"] for report in reports if report.get("exception")), None)
        raise AssertionError("the test left behind:\n  " + "\n  ".join(problems)) from cause


def _told(reports: list[dict[str, Any]]) -> list[str]:
    return [f"unhandled: {report.get('message')} {report.get('exception')!r}" for report in reports]


async def _bounded(coro: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(REALTIME_LIMIT_S):
        await coro


async def _settle() -> list[str]:
    """Name the tasks that do not end by themselves at once."""
    mine = asyncio.current_task()
    others: list[asyncio.Task[Any]] = []
    for _ in range(SETTLING_TURNS):
        others = [task for task in asyncio.all_tasks() if task is not mine]
        if not others:
            break
        await asyncio.sleep(0)
    return sorted(describe_task(task) for task in others)
