"""The public face: what can be imported, what it says of itself, and that the promised names have the promised form."""

import enum
import inspect
import json
import os
import shutil
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp.web
import attrs
import pytest

import kling_async
from kling_async import Asset, Job, KlingError, KlingSession, Result, Status

EXTRAS = (
    "typer",
    "rich",
    "click",
    "fastapi",
    "starlette",
    "orjson",
    "uvloop",
    "opentelemetry",
    "hypothesis",
    "pytest",
    "obstore",
)

# Where a public signature says Any, and why.
ANY_IS_MEANT = {
    "Endpoint.__init__": "a row holds any request class, and functions of its requests",
    "Job.__init__": "any request object",
    "Job.__await__": "what a coroutine yields to its loop is asyncio's own business",
    "KlingSession.attach": "EndpointLike: a request class is one way to name an endpoint",
    "Endpoint.model_of": "any request class",
    "KlingSession.query": "as attach",
    "KlingSession.tasks": "as attach",
}

_SESSION = (
    *("api_key", "access_key", "secret_key", "base_url", "journal"),
    *("http", "max_running", "timeout", "policy", "callback"),
)
_SUBMIT: dict[str, object] = {"job_id": None, "timeout": None, "callback_url": None, "metadata": None}
REQUIRED = inspect.Parameter.empty

# What design and README promise: positional parameters in order, then keyword-only ones, with defaults.
SIGNATURES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "__init__": (
        {},
        dict.fromkeys(_SESSION),
    ),
    "submit": ({"request": REQUIRED}, _SUBMIT),
    "generate": ({"request": REQUIRED}, _SUBMIT),
    "map": (
        {"requests": REQUIRED},
        {"max_pending": 1000, "timeout": None, "callback_url": None, "metadata": None},
    ),
    "attach": ({"task_id": REQUIRED, "endpoint": REQUIRED}, {}),
    "query": ({"task": REQUIRED, "endpoint": None}, {}),
    "tasks": ({"endpoint": REQUIRED}, {}),
    "download": ({"result": REQUIRED, "directory": REQUIRED}, {"name": None}),
    "save": ({"result": REQUIRED, "where": REQUIRED}, {"name": None}),
}
ASYNC_METHODS = ("submit", "generate", "query", "download", "save")
ASYNC_ITERATORS = ("map", "tasks")

JOB_MEMBERS = (
    *("id", "task_id", "endpoint", "request", "status", "error", "metadata", "created_at"),
    *("accepted", "result", "done", "watch", "abandon"),
)
RESULT_MEMBERS = {
    *("url", "urls", "assets", "task_id", "external_id", "billing", "created_at", "updated_at", "raw"),
}
ASSET_MEMBERS = {"kind", "url", "watermark_url", "duration_s", "id", "expires_at"}
OPEN_STATES = {"QUEUED", "SENDING", "UNSURE", "ACCEPTED", "PROCESSING"}
FINAL_STATES = {"SUCCEEDED", "FAILED", "REJECTED", "UNRESOLVED", "VANISHED", "ABANDONED"}


def public() -> Iterator[tuple[str, Any]]:
    for name in kling_async.__all__:
        yield name, getattr(kling_async, name)


def own_functions(kind: type[Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public functions, methods and properties that a class of ours defines itself, or has from a base of ours."""
    ours = [base for base in kind.__mro__ if base.__module__.startswith("kling_async")]
    members = {name: member for base in reversed(ours) for name, member in vars(base).items()}
    for name, member in members.items():
        if name.startswith("_") and name not in {"__init__", "__await__"}:
            continue
        found = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(found):
            yield name, found


# --- names ---------------------------------------------------------------------------------------------------------


def test_all_is_sorted_and_without_repeats() -> None:
    """Constants, then classes, then the rest: the order that ruff keeps."""
    names = kling_async.__all__
    constants = [name for name in names if name.isupper()]
    classes = [name for name in names if not name.isupper() and name[0].isupper()]
    rest = [name for name in names if not name[0].isupper()]
    assert names == sorted(constants) + sorted(classes) + sorted(rest)
    assert len(set(names)) == len(names)


def test_all_is_complete() -> None:
    """Every public name of the top module is exported, and every exported one is there, once it was asked for."""
    assert all(hasattr(kling_async, name) for name in kling_async.__all__)
    there = {
        name
        for name, value in vars(kling_async).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert there == set(kling_async.__all__) - {"__version__"}
    star: dict[str, object] = {}
    exec("from kling_async import *", star)
    assert set(kling_async.__all__) <= set(star)


def test_every_error_is_exported() -> None:
    def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
        for child in kind.__subclasses__():
            yield child
            yield from subclasses(child)

    ours = {kind for kind in subclasses(KlingError) if kind.__module__.split(".")[:2] != ["kling_async", "cli"]}
    ours = {kind for kind in ours if kind.__module__.startswith("kling_async.")}
    assert {kind.__name__ for kind in ours} <= set(kling_async.__all__)


@pytest.mark.parametrize(("name", "value"), [pytest.param(*pair, id=pair[0]) for pair in public()])
def test_everything_public_is_explained(name: str, value: object) -> None:
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    docstring = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert docstring, f"{name} has no docstring"
    assert not docstring.startswith("Method generated by attrs"), name
    if inspect.isclass(value):
        for member, function in own_functions(value):
            if member not in {"__init__", "__await__"}:
                assert function.__doc__, f"{name}.{member} has no docstring"


def test_importing_it_pulls_in_no_extra() -> None:
    code = (
        "import sys, kling_async; "
        f"print([name for name in {EXTRAS!r} if name in sys.modules], 'kling_async.emulator' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"


# --- types ---------------------------------------------------------------------------------------------------------


def test_any_stays_out_of_public_signatures() -> None:
    found = set()
    for name, value in public():
        functions: Iterator[tuple[str, Callable[..., Any]]] = iter(())
        if inspect.isclass(value) and not issubclass(value, enum.Enum):
            functions = ((f"{name}.{member}", function) for member, function in own_functions(value))
        elif inspect.isfunction(value):
            functions = iter([(name, value)])
        found |= {place for place, function in functions if "typing.Any" in " ".join(_hints(value, function))}
    assert found == set(ANY_IS_MEANT)


def _hints(owner: object, function: Callable[..., Any]) -> list[str]:
    if inspect.isclass(owner) and attrs.has(owner) and function.__name__ == "__init__":
        # The parameters of a generated __init__ are the fields; a converter's own are those of its function.
        return [repr(hint) for hint in typing.get_type_hints(owner).values()]
    # What the package imports only where it is used is public, or named in full.
    names = {"web": aiohttp.web, **{name: getattr(kling_async, name) for name in kling_async.__all__}}
    return [repr(hint) for hint in typing.get_type_hints(function, localns=names).values()]


def test_types_are_complete_for_users(tmp_path: Path) -> None:
    """What `pyright --verifytypes` counts: every symbol's type is written down or the same for every type checker."""
    pyright = _tool("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    # It looks for the package with the first `python` of PATH, whatever else it is told.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [pyright, "--verifytypes", "kling_async", "--ignoreexternal", "--outputjson"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
    )
    told = json.loads(done.stdout)
    errors = [entry["message"] for entry in told["generalDiagnostics"] if entry["severity"] == "error"]
    report = told["typeCompleteness"]
    # A class with one incomplete attribute makes everything incomplete that mentions it: the roots are enough.
    roots = [
        f"{symbol['name']}: {entry['message'].splitlines()[0]}"
        for symbol in report["symbols"]
        for entry in symbol["diagnostics"]
        if entry["severity"] == "error" and "partially unknown" not in entry["message"]
    ]
    assert report["pyTypedPath"], errors
    assert report["completenessScore"] == 1, "\n".join(["incomplete:", *roots])


def _tool(name: str) -> str | None:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


# --- the promised interface ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIGNATURES)
def test_session_methods_have_the_promised_parameters(name: str) -> None:
    positional, keywords = SIGNATURES[name]
    parameters = list(inspect.signature(getattr(KlingSession, name)).parameters.values())[1:]
    by_position = {
        each.name: each.default for each in parameters if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    }
    by_name = {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
    assert by_position == positional
    assert list(by_position) == list(positional)
    assert by_name.items() >= keywords.items()
    assert REQUIRED not in by_name.values(), "what is by name is optional"


def test_session_methods_are_async_where_promised() -> None:
    for name in ASYNC_METHODS:
        assert inspect.iscoroutinefunction(getattr(KlingSession, name)), name
    for name in ASYNC_ITERATORS:
        assert inspect.isasyncgenfunction(getattr(KlingSession, name)), name
    assert not inspect.iscoroutinefunction(KlingSession.attach)
    assert isinstance(KlingSession.stats, property)


def test_job_has_the_promised_members() -> None:
    missing = [name for name in JOB_MEMBERS if not hasattr(Job, name) and name not in Job.__slots__]
    assert not missing
    assert hasattr(Job, "__await__")
    assert inspect.iscoroutinefunction(Job.accepted)
    assert inspect.isasyncgenfunction(Job.watch)
    for name in ("result", "done", "abandon"):
        assert not inspect.iscoroutinefunction(getattr(Job, name))
        assert list(inspect.signature(getattr(Job, name)).parameters) == ["self"]


def test_results_have_the_promised_members() -> None:
    for kind, members in ((Result, RESULT_MEMBERS), (Asset, ASSET_MEMBERS)):
        fields = {field.name for field in attrs.fields(kind)}
        properties = {name for name, value in vars(kind).items() if isinstance(value, property)}
        assert members <= fields | properties, kind


def test_states_are_the_promised_ones() -> None:
    assert {state.name for state in Status if not state.is_final} == OPEN_STATES
    assert {state.name for state in Status if state.is_final} == FINAL_STATES


def test_every_error_says_what_was_paid() -> None:
    for name, value in public():
        if inspect.isclass(value) and issubclass(value, KlingError):
            assert value.paid in {"no", "maybe", "yes"}, name
            for member in ("retryable", "job_id", "task_id", "request_id"):
                assert hasattr(value, member), f"{name}.{member}"
