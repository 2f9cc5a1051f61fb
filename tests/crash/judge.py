"""What the service saw, and whether files are whole: the judge of every history."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web

from kling_async.emulator import Emulator


@attrs.frozen
class Asked:
    """One request: when (Unix seconds of the loop's clock), by whom (User-Agent), method and path with query."""

    at: float
    agent: str
    method: str
    path: str


@attrs.define(kw_only=True, eq=False, repr=False)
class Witness(Emulator):
    """An emulator that also notes who asked. It takes an id twice, and shows a new task late: it is not kind."""

    asked: list[Asked] = attrs.field(factory=list, init=False)

    def application(self) -> web.Application:
        """The emulator behind a door that notes callers."""
        application = super().application()

        @web.middleware
        async def note(request: web.Request, handler: Any) -> web.StreamResponse:
            agent = request.headers.get("User-Agent", "")
            self.asked.append(Asked(self.now(), agent, request.method, request.raw_path))
            answer: web.StreamResponse = await handler(request)
            return answer

        application.middlewares.append(note)
        return application


@attrs.frozen
class Verdict:
    """What is wrong with a list of jobs.

    Attributes:
        twice: ids that the service has more than one task of.
        unpaid: ids that it has no task of.
        unfinished: id → what its last life told of it, where that is not success with the task of the ledger.
        broken: ids whose file is not there, or not whole.
    """

    twice: tuple[str, ...] = ()
    unpaid: tuple[str, ...] = ()
    unfinished: Mapping[str, object] = attrs.field(factory=dict)
    broken: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        return not (self.twice or self.unpaid or self.unfinished or self.broken)


def judge(tasks: Mapping[str, list[str]], names: Iterable[str], report: Mapping[str, Any], folder: Path) -> Verdict:
    """Judge jobs by the ledger (external id → task ids), by what the last life reported, and by their files."""
    names = list(names)
    unfinished = {}
    for name in names:
        status, task_id, _error = told = report.get(name) or (None, None, None)
        if status != "succeeded" or task_id not in tasks.get(name, ()):
            unfinished[name] = told
    return Verdict(
        twice=tuple(name for name in names if len(tasks.get(name, ())) > 1),
        unpaid=tuple(name for name in names if not tasks.get(name)),
        unfinished=unfinished,
        broken=tuple(name for name in names if not is_whole(folder / f"{name}.mp4")),
    )


def ledger(emulator: Emulator) -> dict[str, list[str]]:
    """External id → ids of all tasks made for it."""
    found: dict[str, list[str]] = {}
    for task in emulator.tasks:
        found.setdefault(task.external_id, []).append(task.task_id)
    return found


def polls(asked: Iterable[Asked]) -> dict[str, dict[str, list[float]]]:
    """Task id → User-Agent → when that one asked about it, singly."""
    found: dict[str, dict[str, list[float]]] = {}
    for one in asked:
        if one.method == "GET" and "?" not in one.path:
            found.setdefault(one.path.rpartition("/")[2], {}).setdefault(one.agent, []).append(one.at)
    return found


def creates(asked: Iterable[Asked]) -> Counter[str]:
    """User-Agent → creates sent."""
    return Counter(one.agent for one in asked if one.method == "POST")


def is_whole(file: Path) -> bool:
    """Tell whether an mp4 is there, with every box as long as it says. Source: ISO/IEC 14496-12, 4.2."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return False
    at, kinds = 0, set()
    while at + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        if size < 8:
            return False
        kinds.add(kind)
        at += size
    return at == len(content) and {b"ftyp", b"moov", b"mdat"} <= kinds
