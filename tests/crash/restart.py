"""A session opens a journal with a million settled entries and ten thousand open ones."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crash.judge import Witness
from crash.nursery import Nursery
from kling_async import TextToVideo, official
from kling_async.endpoints import endpoint_of, to_plain
from kling_async.journal import fingerprint
from kling_async.journal_sqlite import SqliteJournal
from kling_async.journal_store import _seal

_PART = 20_000


async def run(folder: Path, home: Nursery, *, settled: int, open_count: int) -> dict[str, str | int | float | None]:
    """Give how long it took, seconds: to open, to the first question, and until every task was asked about."""
    emulator = Witness(dialect="official", duration_s=3600.0)
    async with emulator:
        from kling_async.emulator.routes import find_route

        row = find_route(emulator, "POST", "/v1/videos/text2video").row
        assert row is not None
        now = emulator.now()
        tasks = []
        for index in range(open_count):
            body = {"model_name": "kling-v1", "prompt": f"scene {index}", "external_task_id": f"open-{index}"}
            tasks.append(emulator._service.create(row, body, now).public_id)
        journal = folder / "jobs.db"
        built = time.monotonic()
        await _create(journal)
        await asyncio.to_thread(_fill, journal, official(emulator.url).name, settled, tasks)
        built_s = time.monotonic() - built
        spec: dict[str, Any] = {
            "url": emulator.url,
            "key": emulator.api_key,
            "journal": str(journal),
            "folder": str(folder),
            "jobs": [],
            "adopt_only": True,
            "policy": {},
        }
        offset = time.time() - emulator.now()
        ended = await home.start(spec).ended
        assert ended.status == 0, (folder / "stderr").read_text()
        at = {key: line["at"] for line in ended.told for key in line}
        cpu = {key: line["cpu"] for line in ended.told for key in line}
        kinds = Counter(request.kind for request in emulator.requests)
        first = next(request for request in emulator.requests if request.kind in {"list", "single", "batch"})
        return {
            "settled": f"{settled:,}",
            "open": open_count,
            "file MB": journal.stat().st_size / 1e6,
            "built in s": built_s,
            "opened after s": at["open"] - at["begun"],
            "adopted after s": at["adopted"] - at["begun"],
            "first poll after s": first.at + offset - at["begun"],
            "all asked about after s": at["followed"] - at["begun"],
            "of CPU until adopted s": cpu["adopted"] - cpu["begun"],
            "until all asked": cpu["followed"] - cpu["begun"],
            "queries": ", ".join(f"{number} {kind}" for kind, number in kinds.items()),
        }


async def _create(path: Path) -> None:
    journal = SqliteJournal(path, wall=time.time)
    await journal.open()
    await journal.close()


def _fill(path: Path, host: str, settled: int, tasks: list[str]) -> None:
    request = TextToVideo(prompt="a red bicycle on a wet street at night", duration="5")
    row, plain = endpoint_of(request).name, to_plain(request)
    body = {"endpoint": row, "request": plain, "fingerprint": fingerprint(row, plain)}
    text = json.dumps({**body, "callback_url": None, "metadata": {}, "timeout_s": None})
    outcome = json.dumps({"raw": {"task_id": "8670000", "task_status": "succeed", "task_result": {"videos": []}}})
    now, crc, outcome_crc = time.time(), zlib.crc32(text.encode()), zlib.crc32(outcome.encode())

    def records() -> Iterator[tuple[Any, ...]]:
        for index in range(settled):
            at = now - 86_400 + index * 0.05
            yield f"done-{index}", host, at, crc, 1, "succeeded", 1, at, f"t{index}", outcome_crc, "gone", 0, at
        for index, task in enumerate(tasks):
            at = now - 60 + index * 0.001
            yield f"open-{index}", host, at, crc, 0, "accepted", 1, at, task, None, "gone", 0, at

    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("BEGIN")
    marks = ", ".join("?" * 15)
    sealed = ((line, *record, _seal(record)) for line, record in enumerate(records(), 1))
    db.executemany(f"INSERT INTO entries VALUES ({marks})", sealed)
    count = settled + len(tasks)
    db.executemany("INSERT INTO bodies VALUES (?, ?)", ((line, text) for line in range(1, count + 1)))
    db.executemany("INSERT INTO outcomes VALUES (?, ?)", ((line, outcome) for line in range(1, settled + 1)))
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()
    os.sync()
