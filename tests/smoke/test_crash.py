"""A process that is killed, again and again, on a real disk: nothing is lost, and nothing is paid twice."""

import asyncio
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from kling_async import Job, KlingSession, Policy, Status, TextToVideo
from kling_async.emulator import Emulator

JOBS = 60
KILLS = 5
CHILD = """
import asyncio, sys
from kling_async import KlingSession, Policy, TextToVideo

async def main(url, key, path, jobs):
    policy = Policy(settle_s=4, sweep_s=0.2)
    async with KlingSession(api_key=key, base_url=f"official:{url}", journal=path, policy=policy) as kling:
        await kling.adopt()
        mine = [await kling.submit(TextToVideo(prompt=f"scene {i}"), job_id=f"job-{i}") for i in range(jobs)]
        print("submitted", flush=True)
        await asyncio.gather(*mine)

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
"""


@pytest.mark.realtime
async def test_a_run_that_is_killed_makes_each_job_once(tmp_path: Path) -> None:
    """SIGKILL at random moments of a burst; a create becomes visible late, and the host would take an id twice."""
    rng = random.Random(20261121)
    journal = tmp_path / "jobs.db"
    async with Emulator(
        dialect="official", duration_s=(0.5, 1.5), visible_after_s=0.5, unique_external_ids=False
    ) as emulator:
        arguments = [sys.executable, "-c", CHILD, emulator.url, emulator.api_key, str(journal), str(JOBS)]
        for _ in range(KILLS):
            child = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
            assert child.stdout is not None
            # Killed at some moment between the first record and the last answer.
            await asyncio.wait_for(child.stdout.readline(), 60)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(child.wait(), rng.uniform(0.0, 0.25))
            child.kill()
            assert await child.wait() == -signal.SIGKILL
        async with KlingSession(
            api_key=emulator.api_key,
            base_url=f"official:{emulator.url}",
            journal=journal,
            policy=Policy(settle_s=4, sweep_s=0.2),
        ) as kling:
            await kling.adopt()
            jobs: list[Job] = [
                await kling.submit(TextToVideo(prompt=f"scene {index}"), job_id=f"job-{index}") for index in range(JOBS)
            ]
            results = await asyncio.wait_for(asyncio.gather(*jobs), 60)
        assert {job.status for job in jobs} == {Status.SUCCEEDED}
        assert len({result.task_id for result in results}) == JOBS
        assert Counter(task.external_id for task in emulator.tasks) == Counter(f"job-{index}" for index in range(JOBS))
