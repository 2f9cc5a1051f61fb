"""Chains of lives on one journal, all killed but the last; and what the ledger says of them.

The host is not kind: it takes an id twice, shows a task only a while after it was made, breaks connections, and makes
tasks seconds after their caller died. All of that stays below the settle window, so that a right client pays once, and
one that asks too early pays twice: `Setting.careless` shows that the judge would see it.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from crash.judge import Verdict, Witness, judge, ledger
from crash.nursery import Ended, Nursery
from crash.points import POINTS
from kling_async.emulator import Fault

JOBS = 3
RANDOM = "at a random instant"
LIFE_LIMIT_S = 150.0
_TRIES_OF_LAST_LIFE = 3

# Every create is made late, and its answer lost; or the usual mixture of trouble.
_LATE, _ROUGH = "late", "rough"


@attrs.frozen(kw_only=True)
class Setting:
    """How long things take, in real seconds.

    Attributes:
        settle_s: the client's window.
        commit_s: how long after its caller died the host makes a task.
        visible_s: how long after that it shows it.
    """

    settle_s: float = 2.5
    commit_s: float = 1.2
    visible_s: float = 0.4

    @classmethod
    def careless(cls) -> Setting:
        """A client without a window, at a host that is late."""
        return cls(settle_s=0.05, commit_s=6.0)

    def faults(self, kind: str) -> list[Fault]:
        """What goes wrong at the host."""
        if kind == _LATE:
            return [Fault(action="close", kind="create", commit_after_s=self.commit_s)]
        return [
            Fault(action="close", kind="create", rate=0.2, commit_after_s=self.commit_s),
            Fault(action="reset", kind="create", rate=0.1, stage="after"),
            Fault(action="delay", kind="create", rate=0.3, stage="after", delay_s=0.1),
            Fault(action="truncate", kind="create", rate=0.05, stage="after"),
            Fault(action="reset", kind="single", rate=0.03),
            Fault(action="truncate", kind="asset", rate=0.05),
        ]


@attrs.frozen(kw_only=True)
class Blow:
    """What ends one life: a point and the time it is reached, or a moment in seconds after the life began."""

    point: str
    nth: int = 1
    after_s: float = 0.0
    leave_s: float | None = None


@attrs.define
class History:
    """One chain: what ends its lives, and at which host; then what came of it.

    Attributes:
        label: the blow that it is about, for the table.
        hits: blows that ended a life; a point that was not reached lets the life end by itself.
        pauses: seconds between a death and the next life.
    """

    number: int
    label: str
    blows: tuple[Blow, ...]
    host: str
    fresh: bool = False
    pauses: tuple[float, ...] = ()
    hits: int = 0
    lives: int = 0
    seconds: float = 0.0
    verdict: Verdict | None = None
    trouble: str = ""

    @property
    def names(self) -> list[str]:
        return [f"h{self.number}-{index}" for index in range(JOBS)]

    @property
    def is_good(self) -> bool:
        return self.verdict is not None and self.verdict.is_good and not self.trouble


# Points that are reached once or a few times in a life with three jobs; the others n times, n up to JOBS.
_MOST = {
    "creation: a statement of the schema": 34,
    "P1 insert not committed": JOBS,
    "P5 headers got, body unread": 2,
    "J4 looked up, not settled": 2,
    "P6 answer read, not journaled": 2,
    "P8 polling, before the question": 3,
    "P8 polling, answer read": 3,
    "lease: before renewal": 3,
    "lease: renewal not committed": 3,
    "lease: renewed": 3,
    "checkpoint of the log": 3,
    "again: just before the second POST": 1,
    "again: second POST in flight": 1,
}
_ONCE = ("adopt", "close")
# Killed here, the life that follows has to find out that nothing was made, and sends again.
_SENT_AGAIN = (
    "J2 sending recorded, not told",
    "P3 just before the POST",
    "P4 request half sent",
    "P4 request in flight",
    RANDOM,
)
_TO_BE_ADOPTED = (
    "P2 intent committed",
    "P3 just before the POST",
    "P4 request in flight",
    "P7 task id journaled",
    "J5 end journaled, nobody told",
)


def plan(number: int, label: str, rng: random.Random, setting: Setting) -> History:
    """Make a history about a label."""
    if label == RANDOM:
        blows = tuple(Blow(point=RANDOM, after_s=rng.expovariate(1 / 0.5)) for _ in range(3))
        pauses = tuple(rng.choice((0.0, 0.0, rng.uniform(0, setting.settle_s))) for _ in blows)
        return History(number, label, blows, rng.choice((_LATE, _ROUGH)), rng.random() < 0.2, pauses)
    most = 1 if label.startswith(_ONCE) else _MOST.get(label, JOBS)
    blow = Blow(point=label, nth=rng.randint(1, most))
    host = _LATE if label.startswith(("P4", "J4", "again")) else _ROUGH
    first: tuple[Blow, ...] = ()
    if label.startswith("adopt"):
        first = (Blow(point=rng.choice(_TO_BE_ADOPTED)),)
    elif label.startswith("again"):
        first = (Blow(point="P3 just before the POST"),)
    elif label.startswith("close"):
        blow = attrs.evolve(blow, leave_s=rng.uniform(0.02, 0.6))
    pauses = tuple(rng.choice((0.0, 0.0, rng.uniform(0, 1.5 * setting.settle_s))) for _ in (*first, blow))
    return History(number, label, (*first, blow), host, label.startswith("creation"), pauses)


def plans(kills: int, seed: int, setting: Setting, labels: Iterable[str] = (*POINTS, RANDOM)) -> list[History]:
    """Make histories about all labels in turn, until their blows are at least so many."""
    rng = random.Random(seed)
    chosen = list(labels)
    made: list[History] = []
    while kills > 0:
        made.append(plan(len(made), chosen[len(made) % len(chosen)], rng, setting))
        kills -= len(made[-1].blows)
    return made


@attrs.define
class Place:
    """Where histories happen."""

    folder: Path
    home: Nursery
    setting: Setting
    hosts: dict[str, Witness]
    templates: dict[str, Path] = attrs.field(factory=dict)

    def spec(self, host: str, journal: Path, names: list[str], **more: Any) -> dict[str, Any]:
        """What a life is told."""
        emulator = self.hosts[host]
        policy = {"settle_s": self.setting.settle_s, "sweep_s": 0.5, "price_s": 0.05, "grace_s": 0.3}
        return {
            "url": emulator.url,
            "key": emulator.api_key,
            "journal": str(journal),
            "folder": str(journal.parent),
            "jobs": names,
            **more,
            "policy": {**policy, **more.get("policy", {})},
        }

    async def prepare(self) -> None:
        """Write the journals that histories begin with.

        An earlier run has ended a job, and shown that the host finds tasks by external id: without that "not found"
        means nothing, and a job that was never sent would wait for a proof that only another one can give.
        """
        await asyncio.gather(*map(self._prepare, self.hosts))

    async def _prepare(self, host: str) -> None:
        folder, emulator = self.folder / f"earlier-{host}", self.hosts[host]
        folder.mkdir()
        faults = list(emulator.faults)
        emulator.faults.clear()
        child = self.home.start(self.spec(host, folder / "jobs.db", [f"earlier-{host}"], prove=True))
        ended = await asyncio.wait_for(child.ended, LIFE_LIMIT_S)
        assert ended.status == 0, (folder / "stderr").read_text()
        emulator.faults.extend(faults)
        self.templates[host] = folder / "jobs.db"

    async def run(self, history: History) -> None:
        """Live a history, to its end."""
        began = time.monotonic()
        folder = self.folder / f"h{history.number}"
        folder.mkdir()
        journal = folder / "jobs.db"
        if not history.fresh:
            shutil.copyfile(self.templates[history.host], journal)
        lease = {"policy": {"lease_s": 0.9}} if history.label.startswith("lease") else {}
        for blow, pause_s in zip(history.blows, history.pauses, strict=True):
            spec = self.spec(history.host, journal, history.names, **lease)
            ended = await self._live({**spec, **attrs.asdict(blow)}, blow)
            history.lives += 1
            history.hits += ended.was_killed
            if not ended.was_killed and ended.status != 0:
                history.trouble = f"a life ended by itself with {ended.status}: {_last_line(folder)}"
            await asyncio.sleep(pause_s)
        for _ in range(_TRIES_OF_LAST_LIFE):
            ended = await self._live(self.spec(history.host, journal, history.names), None)
            history.lives += 1
            self._told[history.number] = ended.word("report") or {}
            if ended.word("report") is not None:
                break
            told = _last_line(folder)
            if ".DownloadError: " not in told:  # hosts are told to break transfers off: it is saved by the next run
                history.trouble = f"its last life ended with {ended.status}: {told}"
        history.seconds = time.monotonic() - began

    _told: dict[int, dict[str, Any]] = attrs.field(factory=dict)

    async def _live(self, spec: dict[str, Any], blow: Blow | None) -> Ended:
        child = self.home.start(spec)
        limit_s = LIFE_LIMIT_S
        if blow is not None and blow.point == RANDOM:
            limit_s = blow.after_s
            await child.has_begun.wait()
        ended, _ = await asyncio.wait({child.ended}, timeout=limit_s)
        if not ended:
            await child.send(signal.SIGKILL)
            if blow is None or blow.point != RANDOM:
                await child.ended
                return Ended(-signal.SIGALRM, [{"hung": True}])
        return await child.ended

    def judge(self, histories: Iterable[History]) -> None:
        """Judge histories that are over, by what the hosts' ledgers say now."""
        ledgers = {name: ledger(host) for name, host in self.hosts.items()}
        for history in histories:
            folder = self.folder / f"h{history.number}"
            history.verdict = judge(ledgers[history.host], history.names, self._told[history.number], folder)


def _last_line(folder: Path) -> str:
    return (folder / "stderr").read_text().strip().rpartition("\n")[2][-300:]


@asynccontextmanager
async def place(folder: Path, home: Nursery, setting: Setting) -> AsyncIterator[Place]:
    """Open hosts."""
    common: dict[str, Any] = {
        "dialect": "official",
        "duration_s": (0.2, 0.8),
        "unique_external_ids": False,
        "visible_after_s": setting.visible_s,
    }
    async with (
        Witness(**common, faults=setting.faults(_LATE), seed=1) as late,
        Witness(**common, faults=setting.faults(_ROUGH), seed=2) as rough,
    ):
        found = Place(folder, home, setting, {_LATE: late, _ROUGH: rough})
        await found.prepare()
        yield found


async def run(folder: Path, home: Nursery, histories: list[History], setting: Setting, *, at_once: int) -> None:
    """Live histories, many at a time, and judge them when the last task that may come has come."""
    async with place(folder, home, setting) as found:
        room = asyncio.Semaphore(at_once)

        async def one(history: History) -> None:
            async with room:
                await found.run(history)

        # The longest first, so that the short ones fill the time in which they wait.
        await asyncio.gather(*map(one, sorted(histories, key=_haste)))
        await asyncio.sleep(setting.commit_s + 0.5)
        found.judge(histories)


def _haste(history: History) -> int:
    """Order histories: those that send again wait for a settle window and a second read, once or twice."""
    return 0 if history.label.startswith("again") else 1 if history.label in _SENT_AGAIN else 2


def table(histories: Iterable[History]) -> list[dict[str, str | int | float | None]]:
    """One row for each label, and one for all."""
    rows: dict[str, dict[str, Any]] = {}
    for history in histories:
        for label in (history.label, "all"):
            row = rows.setdefault(
                label,
                {
                    "killed at": label,
                    **dict.fromkeys(("histories", "kills", "jobs", "paid twice", "unpaid"), 0),
                    **dict.fromkeys(("unfinished", "files broken", "trouble"), 0),
                },
            )
            verdict = history.verdict
            assert verdict is not None
            row["histories"] += 1
            row["kills"] += history.hits
            row["jobs"] += len(history.names)
            row["paid twice"] += len(verdict.twice)
            row["unpaid"] += len(verdict.unpaid)
            row["unfinished"] += len(verdict.unfinished)
            row["files broken"] += len(verdict.broken)
            row["trouble"] += bool(history.trouble)
    total = rows.pop("all", None)
    order = {label: place for place, label in enumerate((*POINTS, RANDOM))}
    sorted_rows = sorted(rows.values(), key=lambda row: order[row["killed at"]])
    return [*sorted_rows, *([total] if total else [])]
