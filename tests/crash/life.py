"""What one life does: follow what an earlier one left, submit what is missing, save every file, and leave.

This is how the README tells users to survive a crash: the same program again, with the same ids.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from crash.points import POINTS, Bomb, put
from kling_async import Job, JournalLocked, KlingError, KlingSession, Policy, TextToVideo, official, transport
from kling_async.endpoints import body_of, from_mapping, to_plain
from kling_async.journal_sqlite import SqliteJournal
from kling_async.owners import name_owner

T = TypeVar("T")
_AT_ONCE = 500  # jobs submitted together: their records share a commit
_TRIES = 12  # of what a locked journal refuses, after 5 s each: a process that stands still may hold it so long


def warm_up() -> None:
    """Let the codec make once, for all lives, what it makes when a request is first written or read."""
    request = TextToVideo(prompt="a scene", duration="5")
    from_mapping(TextToVideo, to_plain(request))
    body_of(request, official("http://127.0.0.1"))


def live(spec: dict[str, Any], pipe: int) -> None:
    """Run one life in this process.

    Args:
        spec: `url`, `key`, `journal`, `folder` (for files), `jobs` (ids), `policy` (fields); `point` with `nth` and
            `signal` if it is to be struck; `leave_s` to close so early; `agent` as its User-Agent; `save` files or not;
            `prove` to stay until the host has shown that it finds tasks by external id; `adopt_only` to submit nothing.
        pipe: where to tell, one JSON object a line: "begun", "open", "adopted", "submitted", "report".
    """
    point = spec.get("point")
    bomb = Bomb(spec.get("nth", 1), pipe, spec.get("signal", signal.SIGKILL), random.Random(str(spec)))
    if point in POINTS:
        POINTS[point](bomb)
    if "agent" in spec:
        put(transport, "_USER_AGENT", spec["agent"])

    def tell(**news: Any) -> None:
        os.write(pipe, json.dumps({**news, "at": time.time(), "cpu": time.process_time()}).encode() + b"\n")

    asyncio.run(_live(spec, tell))


async def _live(spec: dict[str, Any], tell: Any) -> None:
    tell(begun=True)
    folder = Path(spec["folder"])
    journal = SqliteJournal(spec["journal"], wall=time.time, owner=name_owner())
    policy = Policy(**spec["policy"])
    host = official(spec["url"])
    async with KlingSession(api_key=spec["key"], base_url=host, journal=journal, policy=policy) as kling:
        tell(open=True)
        adopted = await _patiently(kling.adopt)
        tell(adopted=len(adopted))
        if spec.get("adopt_only"):
            await _followed(adopted, tell)
            return
        jobs: list[Job] = []
        names: list[str] = spec["jobs"]
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            jobs += await asyncio.gather(*(_submit(kling, name) for name in some))
        tell(submitted=len(jobs))
        try:
            async with asyncio.timeout(spec.get("leave_s")):
                report = dict(await asyncio.gather(*(_finish(kling, job, folder, spec) for job in jobs)))
        except TimeoutError:
            return  # left early, as the spec says
        tell(report=report)
        while spec.get("prove") and await journal.learned(f"{host.name} finds text2video single") is None:
            await asyncio.sleep(0.1)


async def _submit(kling: KlingSession, name: str) -> Job:
    return await _patiently(lambda: kling.submit(TextToVideo(prompt=f"scene {name}", duration="5"), job_id=name))


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try again while another process holds the journal: nothing was sent then, as the error says."""
    for _ in range(_TRIES - 1):
        try:
            return await attempt()
        except JournalLocked as error:
            if not error.retryable or error.paid != "no":
                raise
        await asyncio.sleep(0.1)
    return await attempt()


async def _finish(kling: KlingSession, job: Job, folder: Path, spec: dict[str, Any]) -> tuple[str, list[Any]]:
    with suppress(KlingError):
        await job
    if job.error is not None:
        return job.id, [job.status, job.task_id, repr(job.error)]
    file = folder / f"{job.id}.mp4"
    if spec.get("save", True) and not file.exists():
        await kling.download(job.result(), folder, name=job.id)
    return job.id, [job.status, job.task_id, None]


async def _followed(jobs: list[Job], tell: Any) -> None:
    """Tell when every job has been asked about once."""
    while not all(job.news is not None for job in jobs):
        await asyncio.sleep(0.02)
    tell(followed=len(jobs))
