"""Killed and stopped at every point of a job's life: nothing is lost, and nothing is paid twice."""

import asyncio
from pathlib import Path

import pytest

from crash import crowd, histories, pair
from crash.histories import RANDOM, Setting
from crash.points import POINTS

KILLS = 200
LIMIT_S = 400.0


def live(folder: Path, made: list[histories.History], setting: Setting) -> None:
    """Live histories on real time and real sockets, with a limit."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await histories.run(folder, made, setting, at_once=200)

    asyncio.run(bounded())


def test_two_hundred_kills_at_every_point(tmp_path: Path) -> None:
    """The host takes an id twice, and makes tasks seconds after their caller died: one task a job, every file whole."""
    setting = Setting()
    made = histories.plans(KILLS, 20261121, setting)
    live(tmp_path, made, setting)
    assert [history for history in made if not history.is_good] == []
    rows = {row["killed at"]: row["kills"] for row in histories.table(made)}
    assert [label for label in (*POINTS, RANDOM) if not rows.get(label)] == []
    kills = rows["all"]
    assert isinstance(kills, int)
    assert kills > 0.8 * KILLS


def test_the_judge_sees_a_client_without_a_settle_window(tmp_path: Path) -> None:
    """The same kills, at a host that is later than the client waits, are paid twice: so passing proves something."""
    setting = Setting.careless()
    made = histories.plans(12, 1, setting, ["P4 request in flight"])
    live(tmp_path, made, setting)
    verdicts = [history.verdict for history in made if history.verdict is not None]
    assert len(verdicts) == 12
    assert sum(bool(verdict.twice) for verdict in verdicts) >= 3
    assert not any(verdict.unpaid for verdict in verdicts)


def test_many_jobs_in_a_process_that_is_killed_five_times(tmp_path: Path) -> None:
    """The ledger counts as many tasks as jobs, at every restart of the way and at its end."""
    found = asyncio.run(
        crowd.run(tmp_path, jobs=300, kills=5, seed=3, setting=Setting(settle_s=4.0, commit_s=1.5), every_s=0.25)
    )
    assert found.verdict.is_good, found
    assert found.tasks == 300
    assert found.made_at_kills[0] < 300


@pytest.mark.parametrize("stop", [stop for stop in pair.STOPS if stop not in pair.OPEN_WINDOWS])
def test_two_processes_finish_one_list_while_one_stands_still(tmp_path: Path, stop: str) -> None:
    """Stopped for longer than its lease, and woken: nothing is paid twice, and no task asked about by both for long."""
    found = asyncio.run(pair.run(tmp_path, seed=11, stop=stop))
    assert found.is_good, found
