"""Killed and stopped at every point of a job's life: nothing is lost, and nothing is paid twice.

Most of the time these lives wait, so they are lived together: first what keeps the machine busy, then what needs room.
"""

import asyncio
from pathlib import Path

import attrs
import pytest

from crash import crowd, histories, pair, restart
from crash.histories import RANDOM, Setting
from crash.nursery import nursery
from crash.points import POINTS

KILLS = 200
PLANNED = 224  # a random instant may lie behind the end
AT_ONCE = 80
LIMIT_S = 400.0


@attrs.frozen(kw_only=True)
class Busy:
    """What came of histories and of the crowd."""

    kind: list[histories.History]
    crowd: crowd.Crowd


@attrs.frozen(kw_only=True)
class Roomy:
    """What came of what would pass, or fail, for being late: a client that asks too early, and the pairs."""

    careless: list[histories.History]
    pairs: list[pair.Pair]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Busy:
    """Live at once, on real time, real sockets and a real disk."""
    setting = Setting()
    kind = histories.plans(PLANNED, 20261121, setting)

    async def lived() -> crowd.Crowd:
        one, other = tmp_path_factory.mktemp("kind"), tmp_path_factory.mktemp("crowd")
        patient = Setting(settle_s=4.0, commit_s=1.5)
        async with asyncio.timeout(LIMIT_S), nursery() as home, asyncio.TaskGroup() as group:
            many = crowd.run(other, home, jobs=300, kills=5, seed=3, setting=patient, every_s=0.25)
            found = group.create_task(many)
            group.create_task(histories.run(one, home, kind, setting, at_once=AT_ONCE))
        return found.result()

    return Busy(kind=kind, crowd=asyncio.run(lived()))


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Roomy:
    """Live at once, after the others."""
    setting = Setting.careless()
    careless = histories.plans(12, 1, setting, ["P4 request in flight"])
    stops = list(pair.STOPS)

    async def lived() -> list[pair.Pair]:
        one, other = tmp_path_factory.mktemp("careless"), tmp_path_factory.mktemp("pairs")
        async with asyncio.timeout(LIMIT_S), nursery() as home, asyncio.TaskGroup() as group:
            group.create_task(histories.run(one, home, careless, setting, at_once=AT_ONCE))
            found = [group.create_task(pair.run(other, home, seed=11, stop=stop)) for stop in stops]
        return [task.result() for task in found]

    return Roomy(careless=careless, pairs=asyncio.run(lived()))


def test_two_hundred_kills_at_every_point(busy: Busy) -> None:
    """The host takes an id twice, and makes tasks seconds after their caller died: one task a job, every file whole."""
    assert [history for history in busy.kind if not history.is_good] == []
    rows = {row["killed at"]: row["kills"] for row in histories.table(busy.kind)}
    assert [label for label in (*POINTS, RANDOM) if not rows.get(label)] == []
    kills = rows["all"]
    assert isinstance(kills, int)
    assert kills >= KILLS


def test_the_judge_sees_a_client_without_a_settle_window(roomy: Roomy) -> None:
    """The same kills, at a host that is later than the client waits, are paid twice: so passing proves something."""
    verdicts = [history.verdict for history in roomy.careless if history.verdict is not None]
    assert len(verdicts) == 12
    assert sum(bool(verdict.twice) for verdict in verdicts) >= 3
    assert not any(verdict.unpaid for verdict in verdicts)


def test_many_jobs_in_a_process_that_is_killed_five_times(busy: Busy) -> None:
    """The ledger counts as many tasks as jobs, at every restart of the way and at its end."""
    found = busy.crowd
    assert found.verdict.is_good, found
    assert found.tasks == 300
    assert found.kills == 5
    assert found.made_at_kills[0] < 300


def test_two_processes_finish_one_list_while_one_stands_still(roomy: Roomy) -> None:
    """Stopped for longer than its lease, and woken: nothing is paid twice, and no task asked about by both for long."""
    assert [found for found in roomy.pairs if not found.is_good] == []


def test_a_large_journal_is_opened_and_followed(tmp_path: Path) -> None:
    """Of ten thousand settled entries and a thousand open ones, every open one is asked about soon after the start."""

    async def lived() -> dict[str, str | int | float | None]:
        async with asyncio.timeout(LIMIT_S), nursery() as home:
            return await restart.run(tmp_path, home, settled=10_000, open_count=1_000)

    found = asyncio.run(lived())
    adopted_s, polled_s = found["adopted after s"], found["first poll after s"]
    assert isinstance(adopted_s, float)
    assert isinstance(polled_s, float)
    assert 0 < adopted_s < 5.0
    assert 0 < polled_s < 5.0
