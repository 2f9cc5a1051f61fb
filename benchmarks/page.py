"""A list page of 500 rows: from its bytes to resolved jobs, against `json.loads` of the same bytes.

    python benchmarks/page.py [--quick] [--json FILE]

A session with 260 jobs pending on virtual time; instead of aiohttp it is given an object that answers from memory. The
page holds its 260 rows, of which ten have newly ended, among 240 that ended long ago. Counted is the CPU from the
moment the bytes are there until the ten who wait have been woken: everything but the socket. The same bytes go through
bare `json.loads` right afterwards, and through orjson if that is installed; the median of the ratios is told.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs
from _report import Cell, Figure, add_options, at_most, publish, version_of
from _service import EPOCH, policy_of, run_virtual

from kling_async import Host, KlingSession, TextToVideo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from typing import Self

ROWS, PENDING, NEW = 500, 260, 10
PATH = "/v1/videos/text2video"


@attrs.define(eq=False)
class Content:
    """The body of an answer; notes when it was handed over."""

    body: bytes
    handed: Callable[[], None]

    async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
        """Give it in one piece, as a fast line does."""
        self.handed()
        yield self.body

    async def read(self) -> bytes:
        """Give it whole."""
        self.handed()
        return self.body


@attrs.define(eq=False)
class Response:
    """What a session of aiohttp gives, as far as it is read."""

    status: int
    content: Content
    headers: dict[str, str] = attrs.field(factory=dict)

    async def read(self) -> bytes:
        """Give the body whole."""
        return await self.content.read()

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0.05)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""


@attrs.define(eq=False)
class Memory:
    """Stands in for aiohttp.ClientSession.

    Attributes:
        names: external id of each task, in the order they were made.
        ended: number of tasks that have ended, oldest first.
        page: the last list page, as bytes; `handed_s` is the CPU time when it was handed over.
    """

    closed: bool = False
    names: list[str] = attrs.field(factory=list)
    ended: int = 0
    page: bytes = b""
    handed_s: float = 0.0
    pages: int = 0

    def request(self, method: str, url: object, *, data: Any = None, **_: object) -> Response:
        """Answer one request."""
        parts = urlsplit(str(url))
        if method == "POST":
            self.names.append(json.loads(data.decode())["external_task_id"])
            return self._answer(self._row(len(self.names) - 1))
        if not parts.path.endswith("text2video"):
            number = int(parts.path.rpartition("/")[2][1:])
            return self._answer(self._row(number))
        asked = parse_qs(parts.query)
        if asked["pageNum"] != ["1"]:
            return self._answer([])
        newest = len(self.names) - 1
        rows = [self._row(number) for number in range(newest, newest - ROWS, -1)]
        return self._answer(rows, is_page=True)

    def _row(self, number: int) -> dict[str, object]:
        made_at = round(EPOCH * 1000) + number
        row: dict[str, object] = {
            "task_id": f"8{number + ROWS:017d}",
            "task_status": "processing",
            "task_status_msg": "",
            "task_info": {"external_task_id": self.names[number] if number >= 0 else f"old{number}"},
            "created_at": made_at,
            "updated_at": made_at,
        }
        if number >= self.ended:
            return row
        clip = {
            "id": f"{number + ROWS:032x}",
            "url": f"https://cdn.example/{number + ROWS:064x}/video.mp4",
            "duration": "5.1",
        }
        return {**row, "task_status": "succeed", "updated_at": made_at + 100_000, "task_result": {"videos": [clip]}}

    def _answer(self, data: object, *, is_page: bool = False) -> Response:
        body = json.dumps({"code": 0, "message": "SUCCEED", "request_id": "0", "data": data}).encode()

        def handed() -> None:
            if is_page:
                self.page, self.pages = body, self.pages + 1
                self.handed_s = time.thread_time()

        return Response(200, Content(body, handed), {"Content-Type": "application/json"})


def parsing_s(parse: Callable[[bytes], object], page: bytes) -> float:
    """Give the CPU seconds of bare parsing."""
    began = time.thread_time()
    parse(page)
    return time.thread_time() - began


async def measure(rounds: int, parsers: dict[str, Callable[[bytes], object]]) -> dict[str, list[float]]:
    """Give CPU seconds of each round, of the session and of every parser."""
    memory = Memory()
    http: Any = memory
    spent: dict[str, list[float]] = {"kling_async": [], **{name: [] for name in parsers}}
    host = Host(
        url="http://127.0.0.1:9", prefix="", family="official", lacks=frozenset({"batch", "solutions", "account"})
    )
    policy = policy_of(late_s=10.0, max_submissions=300)
    async with KlingSession(api_key="x" * 40, base_url=host, http=http, policy=policy, wall=lambda: EPOCH) as kling:
        waiting: set[asyncio.Task[None]] = set()
        woken_s = 0.0

        async def submit() -> None:
            request = TextToVideo(prompt="A happy scene.", model_name="kling-v2-6", mode="pro", duration="5")
            job = await kling.submit(request)

            async def wait() -> None:
                nonlocal woken_s
                await job
                woken_s = time.thread_time()

            task = asyncio.ensure_future(wait())
            waiting.add(task)
            task.add_done_callback(waiting.discard)

        for _ in range(PENDING):
            await submit()
        await asyncio.sleep(120.0)
        for _ in range(rounds):
            gc.collect()
            memory.ended += NEW
            before = memory.pages
            some = asyncio.FIRST_COMPLETED
            while len(waiting) > PENDING - NEW:
                await asyncio.wait(waiting, return_when=some)
            assert memory.pages > before
            spent["kling_async"].append(woken_s - memory.handed_s)
            for name, parse in parsers.items():
                spent[name].append(min(parsing_s(parse, memory.page) for _ in range(3)))
            for _ in range(NEW):
                await submit()
            await asyncio.sleep(60.0)
        for task in waiting:
            task.cancel()
    return spent


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0; the figures are printed, and judged by whoever reads them."""
    parser = argparse.ArgumentParser(description="A list page, from bytes to resolved jobs.")
    add_options(parser, "few pages")
    options = parser.parse_args(arguments)
    logging.getLogger("kling_async").addHandler(logging.NullHandler())
    parsers: dict[str, Callable[[bytes], object]] = {"json.loads": json.loads}
    if version_of("orjson"):
        import orjson  # noqa: PLC0415 - an extra, which may be missing

        parsers["orjson.loads"] = orjson.loads
    rounds = 5 if options.quick else 60
    spent: dict[str, list[float]] = {}

    async def run() -> None:
        spent.update(await measure(rounds, parsers))

    run_virtual(run())
    ours = spent["kling_async"]
    rows: list[dict[str, Cell]] = []
    figures: list[Figure] = []
    for name, found in spent.items():
        ratios = sorted(mine / theirs for mine, theirs in zip(ours, found, strict=True))
        rows.append(
            {
                "way": name,
                "pages": len(found),
                "us": statistics.median(found) * 1e6,
                "lowest us": min(found) * 1e6,
                "session x": statistics.median(ratios),
            }
        )
        if name == "json.loads":
            what = "500-row page, bytes to resolved jobs"
            figures.append(at_most(what, statistics.median(ratios), 1.15, against="json.loads of the same bytes"))
    notes = [f"{PENDING} of {ROWS} rows are pending jobs, {NEW} newly ended; session x: times this line, median"]
    publish(options, "page", "A list page", rows, notes=notes, figures=figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
