"""The shape of the package, read from its source: which module may import which, and who may touch clock and chance.

A new arrow is a reviewed line of `ALLOWED`; an arrow that is gone leaves it too, so that the table tells the truth.
"""

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import kling_async

PACKAGE = Path(kling_async.__file__).parent

# Module → modules of the package it imports, in reading order: nobody imports from further down.
ALLOWED: dict[str, str] = {
    # words
    "_version": "",
    "errors": "",
    "models": "errors",
    "events": "errors models",
    # registry and wire
    "dialects": "errors models",
    "endpoints.answers": "models",
    "endpoints.rules": "errors",
    "endpoints.required": "errors",
    "endpoints.base": "dialects endpoints.rules errors models",
    "endpoints.media": "errors",
    "endpoints.parts": "endpoints.base endpoints.rules errors",
    "endpoints.matrix": "endpoints.base endpoints.rules",
    "endpoints.matrix_images": "endpoints.base endpoints.matrix endpoints.required",
    "endpoints.matrix_new": "endpoints.matrix",
    "endpoints.video": "dialects endpoints.base endpoints.matrix endpoints.parts endpoints.rules errors",
    "endpoints.clips": (
        "dialects endpoints.base endpoints.matrix endpoints.parts endpoints.required endpoints.rules errors"
    ),
    "endpoints.lips": (
        "dialects endpoints.answers endpoints.base endpoints.parts endpoints.required endpoints.rules errors"
    ),
    "endpoints.scenes": (
        "dialects endpoints.answers endpoints.base endpoints.clips endpoints.parts "
        "endpoints.required endpoints.rules errors"
    ),
    "endpoints.sound": "dialects endpoints.base endpoints.required endpoints.rules",
    "endpoints.images": (
        "dialects endpoints.base endpoints.matrix_images endpoints.parts endpoints.required endpoints.rules errors"
    ),
    "endpoints.library": (
        "dialects endpoints.answers endpoints.base endpoints.parts endpoints.required endpoints.rules errors"
    ),
    "endpoints.contents": "endpoints.base endpoints.parts endpoints.rules errors",
    "endpoints.operation": "dialects endpoints.base endpoints.contents endpoints.matrix_new endpoints.rules errors",
    "endpoints.solutions": (
        "dialects endpoints.base endpoints.contents endpoints.operation endpoints.parts endpoints.rules errors"
    ),
    "endpoints.account": "dialects endpoints.base endpoints.parts endpoints.rules errors",
    "endpoints": (
        "endpoints.account endpoints.base endpoints.clips endpoints.images endpoints.library "
        "endpoints.lips endpoints.media endpoints.operation endpoints.rules endpoints.scenes "
        "endpoints.solutions endpoints.sound endpoints.video errors"
    ),
    "prices": "endpoints endpoints.rules errors",
    "wire": "dialects errors models",
    "calls": "endpoints errors models wire",
    "auth": "errors",
    # deciders
    "lifecycle": "errors models",
    "reach": "",
    "hazards": "",
    "hints": "",
    "pace": "models",
    "terms": "hazards models reach",
    "bands": "hazards",
    "lookups": "bands models reach",
    "queues": "bands reach",
    "sweep": "bands hazards lookups models pace queues reach terms",
    "slots": "",
    "deadlines": "",
    "addresses": "errors",
    # movers
    "retry": "",
    "translate": "dialects errors",
    "transport": "_version auth dialects endpoints errors events sweep translate wire",
    "journal": "errors models",
    "owners": "",
    "journal_store": "errors journal models",
    "journal_sqlite": "errors journal journal_store models",
    "media_record": "endpoints errors",
    "fetch": "addresses dialects errors",
    "part_file": "",
    "sinks": "errors part_file",
    "transfer": "errors models part_file",
    "download": "addresses dialects errors fetch models part_file sinks transfer",
    # loop
    "job": "endpoints errors lifecycle models sweep wire",
    "recorder": "endpoints errors job journal lifecycle media_record models owners wire",
    "sharing": "errors job journal models recorder sweep",
    "poller": "dialects endpoints errors events hints models retry sweep transport wire",
    "searcher": "errors hints job lifecycle models poller sweep",
    "submitter": "auth endpoints errors events job lifecycle models recorder retry slots transport wire",
    "scheduler": (
        "deadlines errors events job journal lifecycle models poller recorder retry searcher sharing submitter sweep "
        "transport wire"
    ),
    # front
    "runtime": "download errors events job journal models recorder scheduler transport",
    "selection": "endpoints endpoints.answers endpoints.scenes errors job",
    "questions": "calls dialects endpoints endpoints.account errors job models runtime sweep transport wire",
    "recovery": (
        "dialects endpoints endpoints.rules errors journal lifecycle models questions recorder retry sweep wire"
    ),
    "snapshots": "endpoints errors job journal models recorder",
    "webhook": "auth errors models wire",
    "callbacks": "addresses auth dialects endpoints.rules errors models runtime webhook",
    "session": (
        "addresses auth callbacks dialects download endpoints endpoints.rules errors events job journal journal_sqlite "
        "models owners questions recorder recovery runtime selection sinks snapshots transport webhook"
    ),
    "reading": "dialects endpoints errors journal journal_sqlite models owners recorder",
    "": (
        "_version dialects download endpoints endpoints.account endpoints.answers endpoints.clips "
        "endpoints.contents endpoints.images endpoints.library endpoints.lips endpoints.operation "
        "endpoints.parts endpoints.scenes endpoints.solutions endpoints.sound endpoints.video "
        "errors events job journal models prices recovery selection session sinks snapshots webhook"
    ),
    "otel": "_version endpoints events models session",
    # doors; what the command's own modules import is in CLI_ALLOWED
    "__main__": "cli.app",
    "fastapi.examples": "endpoints",
    "fastapi.schema": "endpoints endpoints.rules fastapi.examples",
    "fastapi.views": "errors models snapshots",
    "fastapi.problems": "errors wire",
    "fastapi.events": "errors fastapi.views models snapshots",
    "fastapi.lifespan": "errors session",
    "fastapi.callbacks": "errors fastapi.lifespan session webhook",
    "fastapi.jobs": (
        "endpoints endpoints.rules errors fastapi.events fastapi.lifespan fastapi.problems fastapi.schema "
        "fastapi.views models session snapshots"
    ),
    "fastapi": "fastapi.callbacks fastapi.jobs fastapi.lifespan",
}

# Who imports modules by their names, when they are asked for: the dict of which they are the keys.
BY_NAME = {"": "_NAMES", "endpoints": "_FILES"}

# What the command may use of the package, besides its own modules: the public face and what it shows.
CLI_ALLOWED = {
    *("_version", "dialects", "download", "emulator", "errors", "job", "models", "prices", "session"),
    *("journal", "reading", "recovery"),  # what a journal tells without a session, and what was found of a lost one
    *("endpoints", "endpoints.media", "endpoints.parts", "endpoints.rules", "endpoints.video"),
}

# These decide and translate: the same arguments give the same answer. `now` and `rng` are arguments.
PURE = (
    *("", "errors", "models", "dialects", "prices", "wire", "calls", "auth", "lifecycle", "slots", "deadlines"),
    *("reach", "hazards", "hints", "pace", "terms", "bands", "lookups", "queues", "sweep", "addresses", "webhook"),
    *(name for name in ALLOWED if name.partition(".")[0] == "endpoints"),
)
IMPURE_LIBRARIES = frozenset({"aiohttp", "asyncio", "secrets", "socket", "threading", "time", "uuid"})

# Foreign library → modules that may import it ("x.*": every module of the folder x).
DOORS: dict[str, tuple[str, ...]] = {
    "aiohttp": (
        *("translate", "transport", "fetch", "transfer", "download", "runtime", "session", "callbacks"),
        *("emulator.*", "cli.*"),
    ),
    "backoff": ("retry",),
    "cattrs": ("endpoints.base", "wire", "calls"),
    "fastapi": ("fastapi.*",),
    "obstore": ("sinks",),
    "opentelemetry": ("otel",),
    "orjson": ("wire",),
    "pydantic": ("fastapi.*",),
    "rich": ("cli.*",),
    "sqlite3": ("journal_store", "cli.ledger", "cli.folder"),  # a table too long for memory, and a lock
    "starlette": ("fastapi.*",),
    "typer": ("cli.*",),
    "uvloop": (),
}

# Wall and process clocks: who in the library reads one itself, and why. Everybody else is given the time.
CLOCKS: dict[str, str] = {
    "session": "the injected default of `wall`",
    "emulator.clock": "the injected default of `epoch`",
}

# The library's asyncio.Tasks outside a TaskGroup: the scheduler's root, the one that closes everything however often
# its caller is cancelled, the one in which `map` takes from the caller's source, which it ends itself, the one that
# adopts now and then while an application runs, which its lifespan ends, and the emulator's round of callbacks, which
# ends when it closes. The command is a program of its own.
ROOT_TASKS: dict[str, int] = {"runtime": 2, "session": 1, "fastapi.lifespan": 1, "emulator.callbacks": 1}

LONGEST = 400
LONG: dict[str, str] = {
    "": "every public name in the three forms in which it is looked for: by type checkers, by `import *`, by a program",
    "errors": "one class per kind of trouble, most of it docstrings; a user looks in one place",
    "wire": "one normaliser for all dialects, in one place (design.md 3)",
    "session": "the public face; half of it is docstrings",
    "prices": "the printed list and how it is read, in one place; a third of it is tables",
    "poller": "one sweep from its plan to its rows; what was learned stands beside it",
    "endpoints.contents": "one class for each kind of content, all in the same few lines",
    "endpoints.images": "six requests, much of it docstrings",
    "journal": "the protocol and its smallest keeper in one place, half of it docstrings",
    "journal_store": "what is done to the file and what it may be found to be; a third of it is SQL and docstrings",
    "transport": "one request from its fields to its envelope, whatever comes between; a quarter of it is docstrings",
    "submitter": "every verdict about a submission and what it does to slots, pauses and order, in one place",
    "sweep": "the whole planner in one file, so that another can take its place",
    "scheduler": "the one owner of a job's state; what could leave it has left (poller, submitter, searcher)",
    "recorder": "what is written of a job, by whom, and again where it failed: one owner of what is held and owed",
    "cli.app": "every command and every option, as `--help` tells them, in one place",
    "emulator.server": "the public face; half of it says what each switch does",
    "emulator.virtual": "a whole event loop; its parts know each other's insides",
}

# Modules whose docstring tells their place in other words than "Stage:" or "Place:".
WITHOUT_PLACE: dict[str, str] = {
    "": "it is the map itself",
    "_version": "one line",
    "emulator.virtual": "opens with its theory",
}


@attrs.frozen
class Module:
    """One source file; `name` is relative to the package, "" for its own `__init__`."""

    name: str
    tree: ast.Module
    lines: int
    is_folder: bool

    @property
    def folder(self) -> str:
        """The name that its relative imports start from."""
        return self.name if self.is_folder else self.name.rpartition(".")[0]


@attrs.frozen
class Import:
    """One imported module: of the package (name relative to it), or the top name of a foreign one."""

    name: str
    is_ours: bool
    is_for_types: bool
    line: int


@functools.cache
def modules() -> dict[str, Module]:
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        is_folder = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_folder else parts)
        source = file.read_text(encoding="utf-8")
        found[name] = Module(name, ast.parse(source), len(source.splitlines()), is_folder)
    if "pytest_plugin" not in found:  # a wheel has it beside the package
        spec = importlib.util.find_spec("_kling_async_pytest")
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).read_text(encoding="utf-8")
        found["pytest_plugin"] = Module("pytest_plugin", ast.parse(source), len(source.splitlines()), is_folder=False)
    return found


@functools.cache
def imports_of(name: str) -> tuple[Import, ...]:
    module = modules()[name]
    types = {
        id(inner)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for inner in ast.walk(node)
    }
    written = tuple(
        Import(target, is_ours, id(node) in types, node.lineno)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target, is_ours in _targets(node, module)
    )
    return written + tuple(_by_name(module))


def _by_name(module: Module) -> Iterator[Import]:
    """The modules of a table from which they are imported by their names, when they are asked for."""
    for node in module.tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == BY_NAME.get(module.name):
            assert isinstance(node.value, ast.Dict)
            for key in node.value.keys:
                assert isinstance(key, ast.Constant)
                assert isinstance(key.value, str)
                yield Import(f"{module.folder}.{key.value}".lstrip("."), True, False, key.lineno)


def _targets(node: ast.Import | ast.ImportFrom, module: Module) -> Iterator[tuple[str, bool]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _absolute(alias.name)
    elif node.level == 0:
        for alias in node.names:
            yield from _absolute(node.module or "", alias.name)
    else:
        base = module.folder.split(".") if module.folder else []
        base = base[: len(base) - node.level + 1]
        for alias in node.names:
            yield _ours([*base, *(node.module or "").split(".")], alias.name), True


def _absolute(name: str, inner: str = "") -> Iterator[tuple[str, bool]]:
    first, *rest = name.split(".")
    yield (_ours(rest, inner), True) if first == PACKAGE.name else (first, False)


def _ours(parts: list[str], inner: str) -> str:
    """The module that `from parts import inner` imports: inner itself if it is a module."""
    name = ".".join(part for part in parts if part)
    longer = f"{name}.{inner}".lstrip(".")
    return longer if inner and longer in modules() else name


def ours(name: str, *, with_types: bool = True) -> set[str]:
    return {found.name for found in imports_of(name) if found.is_ours and (with_types or not found.is_for_types)}


def foreign(name: str) -> set[str]:
    return {found.name for found in imports_of(name) if not found.is_ours}


def is_under(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}.")


def core() -> list[str]:
    return [name for name in modules() if name.partition(".")[0] not in {"cli", "emulator", "pytest_plugin"}]


def door(folder: str) -> list[str]:
    return [name for name in modules() if is_under(name, folder)]


# --- arrows --------------------------------------------------------------------------------------------------------


def test_every_module_is_in_the_table() -> None:
    assert set(core()) == set(ALLOWED)


@pytest.mark.parametrize("name", ALLOWED)
def test_modules_import_what_the_table_says(name: str) -> None:
    assert name in modules(), f"{name} is in the table, but not in the package"
    allowed, actual = set(ALLOWED[name].split()), ours(name)
    assert not actual - allowed, f"new arrows of {name!r}, to be reviewed"
    assert not allowed - actual, f"arrows of {name!r} in the table that are gone"


def test_imports_go_down_and_never_round() -> None:
    """The table is in reading order: each module imports only from above it."""
    above: set[str] = set()
    for name, allowed in ALLOWED.items():
        upward = set(allowed.split()) - above - set(door("cli"))
        assert not upward, f"{name!r} imports from further down the table"
        above.add(name)


@pytest.mark.parametrize("folder", ["cli", "emulator"])
def test_no_round_trips_within_a_door(folder: str) -> None:
    """Imports for annotations only are let through: two halves of one thing may name each other's types."""
    left = {name: {other for other in ours(name, with_types=False) if is_under(other, folder)} for name in door(folder)}
    left = {name: targets - {folder} for name, targets in left.items() if name != folder}
    while ready := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in ready:
            del left[name]
    assert not left, f"these import each other: {', '.join(left)}"


def test_the_command_reaches_for_no_machinery() -> None:
    for name in door("cli"):
        behind = {other for other in ours(name) if not is_under(other, "cli")} - CLI_ALLOWED
        assert not behind, f"{name} reaches behind the session"


def test_the_emulator_is_an_independent_witness() -> None:
    """It imports nothing of the client, so that the two cannot be wrong together."""
    for name in door("emulator"):
        shared = {other for other in ours(name) if not is_under(other, "emulator")}
        assert not shared, f"{name} shares {shared} with the client"


def test_only_the_command_and_the_plugin_start_the_emulator() -> None:
    users = {name for name in modules() if any(is_under(other, "emulator") for other in ours(name))}
    assert users & set(core()) == set()


def test_the_plugin_uses_what_users_may_use() -> None:
    """It is loaded beside the package, under a name of its own, so it imports it as anybody would."""
    assert {name.partition(".")[0] for name in ours("pytest_plugin")} <= {"", "emulator"}
    assert "pytest" not in {library for name in set(modules()) - {"pytest_plugin"} for library in foreign(name)}


@pytest.mark.parametrize("library", DOORS)
def test_libraries_are_imported_by_their_own_doors(library: str) -> None:
    allowed = DOORS[library]
    folders = [door_name.removesuffix(".*") for door_name in allowed if door_name.endswith(".*")]
    users = {name for name in modules() if library in foreign(name)}
    assert {name for name in users if name not in allowed and not any(is_under(name, f) for f in folders)} == set()


def test_modules_are_imported_by_name_only_from_a_table() -> None:
    word = re.compile(r"(?:^|\.)(?:import_module|__import__)$")
    users = {
        name
        for name, module in modules().items()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute) and word.search(ast.unparse(node))
    }
    assert users == set(BY_NAME)
    for name, table in BY_NAME.items():
        assert list(_by_name(modules()[name])), f"{name!r} has no table {table}"


# --- clock, chance and tasks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PURE)
def test_deciders_know_no_loop_and_no_clock(name: str) -> None:
    assert not foreign(name) & IMPURE_LIBRARIES
    assert not _uses(name, re.compile(r"\bos\.urandom|\.open\(|\bopen\(")) or name == "endpoints.media"


@pytest.mark.parametrize("name", sorted(set(ALLOWED) - {""}))
def test_chance_is_an_argument(name: str) -> None:
    """Nobody draws from the global generator: `random.Random` is the only name used of the module."""
    drawn = _uses(name, re.compile(r"^random\.(?!Random$)\w+$"))
    assert not drawn, f"the global random is used in {name}: {drawn}"
    for node in ast.walk(modules()[name].tree):
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            assert {alias.name for alias in node.names} <= {"Random"}


def test_the_time_is_given_not_read() -> None:
    clock = re.compile(
        r"^(?:time|system_time|_time)\.(?:time|monotonic|perf_counter|process_time|sleep)(?:_ns)?$"
        r"|^(?:datetime\.)?(?:datetime|date)\.(?:now|utcnow|today)$"
    )
    readers = {name: uses for name in modules() if not is_under(name, "cli") and (uses := _uses(name, clock))}
    assert set(readers) == set(CLOCKS), f"clocks are read by {readers}"
    assert len(readers["session"]) == 1
    for name in modules():
        for node in ast.walk(modules()[name].tree):
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                raise AssertionError(f"{name} imports names of time; write `time.x`, which this test can see")


def test_one_task_outside_task_groups() -> None:
    """Only the session's root task belongs to nobody above it; every other one to a TaskGroup."""
    library = [name for name in modules() if not is_under(name, "cli")]
    loose = {name: count for name in library if (count := _loose_tasks(modules()[name].tree))}
    assert loose == ROOT_TASKS


def _uses(name: str, pattern: re.Pattern[str]) -> list[str]:
    found = []
    for node in ast.walk(modules()[name].tree):
        if isinstance(node, ast.Attribute | ast.Call):
            text = ast.unparse(node.func if isinstance(node, ast.Call) else node)
            if pattern.search(text if isinstance(node, ast.Attribute) else f"{text}("):
                found.append(f"{text}, line {node.lineno}")
    return found


def _loose_tasks(tree: ast.Module) -> int:
    groups = {
        ast.unparse(item.optional_vars)
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if item.optional_vars is not None and ast.unparse(item.context_expr) == "asyncio.TaskGroup()"
    } | {
        node.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) and node.annotation is not None
        if ast.unparse(node.annotation).strip("'\"") == "asyncio.TaskGroup"
    }
    count = 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = ast.unparse(node.func.value)
        is_loose = node.func.attr == "create_task" and owner not in groups
        count += is_loose or node.func.attr in {"ensure_future", "run_coroutine_threadsafe"}
    return count


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", modules())
def test_every_module_says_its_place(name: str) -> None:
    docstring = ast.get_docstring(modules()[name].tree) or ""
    assert docstring.strip(), f"{name} has no docstring"
    assert name in WITHOUT_PLACE or re.search(r"\b(?:Stage|Place): \w", docstring), f"{name} does not say its place"


@pytest.mark.parametrize("name", [name for name in ALLOWED if name and name[0] != "_" and "." not in name])
def test_the_map_names_every_module(name: str) -> None:
    assert re.search(rf"\b{name}\b", kling_async.__doc__ or ""), f"{name} is not on the map"


def test_long_modules_have_a_reason() -> None:
    long = {name for name, module in modules().items() if module.lines > LONGEST}
    assert long == set(LONG)
