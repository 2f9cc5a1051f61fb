"""Many jobs in one process, which is killed again and again and started again each time."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path
from typing import Any

import attrs

from crash.histories import Setting
from crash.judge import Verdict, Witness, judge, ledger
from crash.nursery import Nursery
from kling_async.emulator import Fault

_LIMIT_S = 1800.0


@attrs.define
class Crowd:
    """What came of it: figures, and the verdict. Times in seconds."""

    jobs: int
    kills: int
    tasks: int
    requests: int
    creates: int
    seconds: float
    last_life_s: float
    made_at_kills: list[int]
    verdict: Verdict


async def run(
    folder: Path,
    home: Nursery,
    *,
    jobs: int,
    kills: int,
    seed: int,
    setting: Setting,
    every_s: float,
    save: bool = True,
) -> Crowd:
    """Give a list of jobs to one process after the other, each killed at a random instant, and let the last one end.

    Args:
        folder: for journal and files.
        home: where lives begin.
        jobs: how many.
        kills: at most; fewer if the list is done before.
        seed: of the instants.
        setting: of client and host.
        every_s: seconds from the adoption of what was left to the next kill, in the mean.
        save: whether files are fetched, too.
    """
    rng = random.Random(seed)
    names = [f"job-{index}" for index in range(jobs)]
    faults = [
        Fault(action="close", kind="create", rate=0.01, commit_after_s=setting.commit_s),
        Fault(action="reset", kind="create", rate=0.01, stage="after"),
    ]
    emulator = Witness(
        dialect="official",
        duration_s=(0.5, 5.0),
        unique_external_ids=False,
        visible_after_s=setting.visible_s,
        faults=faults,
        seed=seed,
    )
    made: list[int] = []
    began = time.monotonic()
    async with asyncio.timeout(_LIMIT_S), emulator:
        spec: dict[str, Any] = {
            "url": emulator.url,
            "key": emulator.api_key,
            "journal": str(folder / "jobs.db"),
            "folder": str(folder),
            "jobs": names,
            "save": save,
            "policy": {"settle_s": setting.settle_s, "sweep_s": 0.5, "price_s": 0.05, "grace_s": 0.3},
        }
        for _ in range(kills):
            child = home.start(spec)
            # The first jobs are recorded, or what was left is adopted: from there on every instant is as good.
            while not child.ended.done() and not any("adopted" in line for line in child.told):
                await asyncio.sleep(0.01)
            await asyncio.wait({child.ended}, timeout=rng.uniform(0, 2 * every_s))
            await child.send(signal.SIGKILL)
            ended = await child.ended
            if not ended.was_killed:
                assert ended.status == 0, (folder / "stderr").read_text()[-1000:]
                break
            made.append(len(emulator.tasks))
        last = time.monotonic()
        ended = await home.start(spec).ended
        seconds = time.monotonic()
        await asyncio.sleep(setting.commit_s + 0.5)
        report = ended.word("report") or {}
        verdict = judge(ledger(emulator), names, report, folder)
        return Crowd(
            jobs=jobs,
            kills=len(made),
            tasks=len(emulator.tasks),
            requests=len(emulator.requests),
            creates=sum(request.kind == "create" for request in emulator.requests),
            seconds=seconds - began,
            last_life_s=seconds - last,
            made_at_kills=made,
            verdict=verdict if save else attrs.evolve(verdict, broken=()),
        )
