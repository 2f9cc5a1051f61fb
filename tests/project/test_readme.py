"""README tells the truth: its code runs as it stands, and its tables match the package."""

import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import kling_async
from kling_async import ENDPOINTS, KlingSession, Policy
from kling_async.cli.listing import markdown
from kling_async.emulator import Emulator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables below a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.realtime
async def test_the_twelve_lines_run_as_they_are(tmp_path: Path) -> None:
    """The first example, unchanged, against the emulator with credentials and host from the environment."""
    script = tmp_path / "example.py"
    script.write_text(blocks("python")[0])
    (tmp_path / "prompts.txt").write_text("a red bicycle\na blue door\n")
    async with Emulator(speed=100, duration_s=(100, 300)) as emulator:
        environment = {**os.environ, "KLING_API_KEY": emulator.api_key, "KLING_BASE_URL": emulator.url}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            script,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 50)
        assert process.returncode == 0, err.decode()
        lines = out.decode().splitlines()
        assert lines[0].startswith(emulator.url)
        assert [line.split()[1] for line in lines[1:]] == ["succeeded", "succeeded"]
        assert len(emulator.tasks) == 3
    assert [file.suffix for file in (tmp_path / "clips").iterdir()] == [".mp4"]


@pytest.mark.realtime
async def test_the_other_examples_run(tmp_path: Path) -> None:
    """Every other block of Python runs by itself."""
    for index, block in enumerate(blocks("python")[1:]):
        script = tmp_path / f"block{index}.py"
        script.write_text(block)
        process = await asyncio.create_subprocess_exec(sys.executable, script, cwd=tmp_path, stderr=subprocess.PIPE)
        _, err = await asyncio.wait_for(process.communicate(), 50)
        assert process.returncode == 0, err.decode()


def test_endpoint_table_is_the_registry() -> None:
    """It is what `kling endpoints --markdown` prints."""
    table = README.split("<!-- endpoints: begin -->\n")[1].split("<!-- endpoints: end -->")[0]
    assert table.splitlines() == list(markdown())
    assert len(rows("Endpoints")[1:]) == len(ENDPOINTS)


def test_error_table_names_real_exceptions() -> None:
    """Every exception of the table exists, and its column `paid` is what the class says."""
    for names, paid, _ in rows("Errors and what to do")[1:]:
        for name in re.findall(r"`(\w+)`", names):
            kind = getattr(kling_async, name)
            assert issubclass(kind, kling_async.KlingError)
            if paid in {"no", "maybe", "yes"}:
                assert kind.paid == paid, name


def test_settings_tables_match_the_signatures() -> None:
    """Every argument and every field is there, with its default."""
    table = rows("Settings")
    split = next(index for index, row in enumerate(table) if row[0].startswith("field of"))
    arguments_told = {name for row in table[1:split] for name in re.findall(r"`(\w+)`", row[0])}
    arguments = set(inspect.signature(KlingSession.__init__).parameters) - {"self", "wall", "seed"}
    assert arguments_told == arguments
    fields = {field.name: field.default for field in attrs.fields(Policy)}
    defaults: dict[str, str] = {}
    for names, values, _ in table[split + 1 :]:
        told = re.sub(r'[`"]', "", values).split(", ")
        defaults |= dict(zip(re.findall(r"`(\w+)`", names), told, strict=True))
    assert defaults.keys() == fields.keys()
    known = {name: value for name, value in fields.items() if value is not None}
    written = {name: value if isinstance(value, str) else f"{value:g}" for name, value in known.items()}
    assert written == {name: value for name, value in defaults.items() if value != "learned"}


def test_nothing_speaks_of_the_workshop() -> None:
    """README and CHANGELOG speak of the project alone."""
    text = README + (ROOT / "CHANGELOG.md").read_text()
    assert not re.search(r"/(work|home|root|tmp)/", text)
