"""Two processes finish one list on one journal, and one of them is stopped for longer than its lease.

Each submits the whole list, one from the front and one from the back: whoever records a job first holds it, and the
other follows it in the journal. One that is to be stopped at a point holds all of them. The host takes an id twice, and
has no lists, so that every question names its task.
"""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path
from typing import Any

import attrs

from crash.histories import LIFE_LIMIT_S, Setting
from crash.judge import Verdict, Witness, judge, ledger, polls
from crash.nursery import Child, Nursery

JOBS = 14
LEASE_S = 1.2
SLACK_S = 0.75  # of a noisy machine: a question that was on its way, a loop that was late

# Where the first process is stopped.
STOPS = {
    "at random": None,
    "before it records that it sends": "P2 intent committed",
    "the record that it sends not yet committed": "J2 sending not committed",
    "recorded that it sends, not told": "J2 sending recorded, not told",
    "between the last look and the first byte": "P3 just before the POST",
    "answer read, not recorded": "P6 answer read, not journaled",
    "its lease being renewed": "lease: before renewal",
}
SENDING = (
    "the record that it sends not yet committed",
    "recorded that it sends, not told",
    "between the last look and the first byte",
)
READ_GAP_S = 6.0  # between two reads after the settle window, and a little more


@attrs.define
class Pair:
    """What came of it.

    Attributes:
        stop: where the first one was stopped.
        paused_s: for how long, seconds.
        polled_by_both_s: longest time for which both asked about one task, seconds.
        shared: tasks that both asked about at some time.
        creates: who sent how many.
        verdicts: what each of them reported, judged.
    """

    stop: str
    paused_s: float
    polled_by_both_s: float
    shared: int
    creates: dict[str, int]
    verdicts: dict[str, Verdict]
    trouble: str = ""

    @property
    def is_good(self) -> bool:
        return (
            all(verdict.is_good for verdict in self.verdicts.values())
            and self.polled_by_both_s <= LEASE_S + SLACK_S
            and not self.trouble
        )

    def row(self) -> dict[str, str | int | float | None]:
        """One row of a table."""
        verdict = next(iter(self.verdicts.values()))
        return {
            "stopped": self.stop,
            "for s": self.paused_s,
            "paid twice": len(verdict.twice),
            "unpaid": len(verdict.unpaid),
            "unfinished": sum(len(one.unfinished) for one in self.verdicts.values()),
            "polled by both, tasks": self.shared,
            "for at most s": self.polled_by_both_s,
            "creates": " + ".join(f"{who} {number}" for who, number in sorted(self.creates.items())),
            "trouble": self.trouble,
        }


async def run(folder: Path, home: Nursery, *, seed: int, stop: str | None = None) -> Pair:
    """Let two processes finish a list, and stop one.

    Args:
        folder: for the journal; one of its own is made in it.
        home: where lives begin.
        seed: of everything random.
        stop: a key of STOPS; at a random instant if left out.
    """
    rng = random.Random(seed)
    stop = stop or "at random"
    folder = folder / f"pair-{seed}-{len(list(folder.iterdir()))}"
    folder.mkdir()
    names = [f"job-{index}" for index in range(JOBS)]
    setting = Setting(settle_s=4.0)  # long enough for a process to see first what the host can find
    emulator = Witness(
        dialect="official",
        duration_s=(1.0, 6.0),
        unique_external_ids=False,
        visible_after_s=setting.visible_s,
        lists=False,
        slots=10,
        seed=seed,
    )
    paused_s = rng.uniform(3.0, 5.0) * LEASE_S
    if stop in SENDING:  # until the other one has looked long enough, and sends the same job itself
        paused_s += setting.settle_s + READ_GAP_S
    trouble = ""
    async with asyncio.timeout(2 * LIFE_LIMIT_S), emulator:
        policy = {"settle_s": setting.settle_s, "sweep_s": 0.4, "late_s": 0.6, "price_s": 0.05, "ceiling_s": 1.0}
        policy["lease_s"] = LEASE_S
        spec: dict[str, Any] = {
            "url": emulator.url,
            "key": emulator.api_key,
            "journal": str(folder / "jobs.db"),
            "folder": str(folder),
            "save": False,
            "policy": {**policy, "grace_s": 0.3, "queries_per_s": 200.0},
        }
        point = STOPS[stop]
        struck = {"point": point, "nth": rng.randint(1, 6), "signal": signal.SIGSTOP} if point else {}
        first = home.start({**spec, "jobs": names, "agent": "first", **struck})
        await first.has_begun.wait()
        if point is None:
            await asyncio.sleep(rng.uniform(0.0, 0.1))
        elif not await _is_struck(first):
            trouble = "it was not stopped"
        # Where the first one stops by itself it has the whole list: the second one must not be quicker.
        second = home.start({**spec, "jobs": names[::-1], "agent": "second"})
        if point is None:
            await _stop(first, rng)
        await asyncio.sleep(paused_s)
        await first.send(signal.SIGCONT)
        ended = {"first": await first.ended, "second": await second.ended}
        await asyncio.sleep(0.5)
        tasks = ledger(emulator)
        verdicts = {}
        for who, one in ended.items():
            if one.word("report") is None:
                trouble = f"{who} ended with {one.status}: {(folder / 'stderr').read_text()[-300:]}"
            verdict = judge(tasks, names, one.word("report") or {}, folder)
            verdicts[who] = attrs.evolve(verdict, broken=())
        both = [times for times in polls(emulator.asked).values() if len(times) == 2]
        creates = {who: sum(a.agent == who and a.method == "POST" for a in emulator.asked) for who in ended}
        return Pair(stop, paused_s, max(map(_overlap_s, both), default=0.0), len(both), creates, verdicts, trouble)


async def _is_struck(child: Child) -> bool:
    while not any("struck" in line for line in child.told):
        if child.ended.done():
            return False
        await asyncio.sleep(0.005)
    return True


async def _stop(child: Child, rng: random.Random) -> None:
    while not any("adopted" in line for line in child.told):
        await asyncio.sleep(0.005)
    await asyncio.sleep(rng.uniform(0.0, 3.0))
    await child.send(signal.SIGSTOP)


def _overlap_s(times: dict[str, list[float]]) -> float:
    """For how long two asked about one task: from the later beginning to the earlier end."""
    begins, ends = zip(*((min(moments), max(moments)) for moments in times.values()), strict=True)
    return max(0.0, float(min(ends) - max(begins)))
