"""The fault model and its tests: every row of tests/FAULTS.md names tests, each of which bears the row's mark.

`python tests/project/test_faults.py` writes the last column anew from the marks.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TABLE = TESTS / "FAULTS.md"
NUMBERS = [f"F{number:02}" for number in range(1, 55)]
_ROW = re.compile(r"\| (F\d\d) \| (.+?) \| (.+?) \| (.+?) \| (.*?) ?\|")


@functools.cache
def functions() -> list[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function at the top of a test module."""
    return [
        (path, node)
        for path in sorted(TESTS.rglob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@functools.cache
def marked() -> dict[str, list[str]]:
    """Row → tests that bear its mark, as "folder/file.py::name", read from the source."""
    found: dict[str, list[str]] = {number: [] for number in NUMBERS}
    for path, node in functions():
        for number in _marks(node):
            found.setdefault(number, []).append(f"{path.relative_to(TESTS).as_posix()}::{node.name}")
    return {number: sorted(set(names)) for number, names in found.items()}


def _marks(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
            for argument in decorator.args:
                assert isinstance(argument, ast.Constant), f"{node.name}: the mark's row must be written out"
                yield str(argument.value)


@functools.cache
def rows() -> dict[str, tuple[str, ...]]:
    """Row → its cells, as the table has them."""
    found = [_ROW.fullmatch(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]
    return {row[1]: row.groups()[1:] for row in found if row is not None}


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_has_every_row_once_and_in_order() -> None:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    numbers = [line.split("|")[1].strip() for line in lines if re.match(r"\| F\d", line)]
    assert numbers == NUMBERS
    assert list(rows()) == NUMBERS, "a row that cannot be read"


@pytest.mark.parametrize("number", NUMBERS)
def test_every_row_is_proved_by_the_tests_it_names(number: str) -> None:
    """Both ways: what is named is marked, and what is marked is named."""
    assert _names(rows()[number][3]) == marked()[number], "run `python tests/project/test_faults.py`"
    assert marked()[number], f"{number} has no test"


def test_no_mark_names_a_row_that_is_not_there() -> None:
    assert set(marked()) == set(NUMBERS)


def test_a_test_that_is_named_after_a_row_bears_its_mark() -> None:
    for path, node in functions():
        named = {f"F{number}" for number in re.findall(r"(?<=_)f(\d\d)(?=_)", node.name)}
        assert named <= set(_marks(node)), f"{path.name}::{node.name}"


def rewrite() -> None:
    """Write the last column anew."""
    tests = marked()
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        row = _ROW.fullmatch(line)
        if row is not None:
            names = "<br>".join(f"`{name}`" for name in tests[row[1]])
            lines[at] = f"| {' | '.join(row.groups()[:4])} | {names} |"
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    rewrite()
