"""What the planner's queries cost and how late it sees the ends, at any number of pending tasks, on a simulated host.

    python benchmarks/planner.py [--quick] [--seed N] [--case WORDS] [--json FILE]

The planner of the package (`kling_async.sweep.Planner`) is driven directly, in virtual time and without HTTP: hours of
the service with ten thousand pending tasks take seconds. The host is a model of its lists, batches and single queries
and of eight classes of tasks; its durations are assumed, not recorded. The baselines are a loop per task that asks
every 5 or 10 s, and one that backs off with full jitter up to 30 s, followed on the very same tasks. Lag is the time
from the end of a task to the answer that tells it. No round trips: add one to each lag.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from _report import Cell, print_report, write_json

from kling_async import Policy
from kling_async.bands import Watch
from kling_async.pace import pace_for
from kling_async.reach import Batch, Form, ListPage, Reach, Single
from kling_async.sweep import Ask, Planner

if TYPE_CHECKING:
    from collections.abc import Sequence

# (class, endpoint, median s, sigma of the logarithm, share). Source: means that users of the service have published.
CLASSES = (
    ("turbo std 5", "text2video", 75.0, 0.30, 0.20),
    ("1.6 std 5", "text2video", 140.0, 0.35, 0.20),
    ("1.6 pro 10", "text2video", 290.0, 0.35, 0.10),
    ("master 5", "text2video", 330.0, 0.40, 0.10),
    ("2.1 std 5", "image2video", 90.0, 0.30, 0.20),
    ("2.1 pro 10", "image2video", 200.0, 0.35, 0.10),
    ("3 pro 5", "image2video", 150.0, 0.45, 0.05),
    ("lip sync", "image2video", 420.0, 0.50, 0.05),
)
MEAN_S = 175.0
DEADLINE_S = 1800.0  # after which a task is given up
TAIL_ONLY = 1e9  # a price at which only late_s and ceiling_s count


@attrs.define
class Case:
    """A workload, what the host can do, and the policy.

    Attributes:
        pending: tasks under way on average.
        kinds: endpoints they belong to, 1 or 2.
        foreign: other users' tasks in the same lists, per own task.
        lists, batch: what the host can do.
        price_s, late_s: of the policy.
        slower: factor on all durations from a third of the measured time on.
        stuck: share of tasks that never end.
        is_burst: all tasks are made at once, at 50 a second, instead of steadily.
        is_script: `pending` tasks one after another each, as a script makes them: never more at a time.
        queries_per_s: bound of the rate; None: unlimited here.
    """

    name: str
    pending: int
    kinds: int = 2
    foreign: float = 0.0
    lists: bool = True
    batch: bool = False
    price_s: float = 4.0
    late_s: float = 10.0
    slower: float = 1.0
    stuck: float = 0.0
    is_burst: bool = False
    is_script: bool = False
    queries_per_s: float | None = None


@attrs.define(eq=False)
class Task:
    """One task of the model."""

    id: str
    kind: str
    endpoint: str
    made_at: float
    duration_s: float
    fails: bool
    watch: Watch | None = None
    place: int = 0


@attrs.define
class Host:
    """The model: lists in order of creation, per endpoint; None stands for a task of others."""

    lists: dict[str, list[Task | None]] = attrs.field(factory=dict)

    def take(self, task: Task | None, endpoint: str) -> None:
        """Make a task."""
        rows = self.lists.setdefault(endpoint, [])
        if task is not None:
            task.place = len(rows)
        rows.append(task)

    def page(self, query: ListPage) -> list[Task | None]:
        """Give one page, newest first."""
        rows = self.lists.get(query.endpoint, [])
        high = len(rows) - (query.index - 1) * query.size
        return rows[max(0, high - query.size) : max(0, high)][::-1]


@attrs.define
class Story:
    """All tasks of a case, in order of creation; those made before `measured_from` warm the planner up."""

    tasks: list[Task]
    strangers: list[tuple[float, str]]
    measured_from: float
    ends_at: float
    by_id: dict[str, Task] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.by_id = {task.id: task for task in self.tasks}


def draw(rows: Sequence[tuple[str, str, float, float, float]], rng: random.Random) -> tuple[str, str, float, bool]:
    """Draw one task: (class, endpoint, seconds, fails). One in seven waits in a queue, three in a hundred fail soon."""
    kind, endpoint, median, sigma, _ = rng.choices(rows, [row[4] for row in rows])[0]
    duration = rng.lognormvariate(math.log(median), sigma)
    duration += rng.expovariate(1 / 60) if rng.random() < 0.15 else 0.0
    fails = rng.random() < 0.03
    duration = 2 + rng.expovariate(1 / 8) if fails else duration
    return kind, endpoint, min(max(duration, 2.0), 3600.0), fails


def tell(case: Case, seed: int, spans: float) -> Story:
    """Draw the tasks of a case."""
    rng = random.Random(f"{seed} {case.name}")
    usable = [row for row in CLASSES if case.kinds == 2 or row[1] == "text2video"]
    warm = 0.0 if case.is_burst else 900.0
    end = warm + max(spans * MEAN_S, min(20_000.0, 400 * MEAN_S / case.pending))
    count = case.pending if case.is_burst else None
    rate = 50.0 if case.is_burst else case.pending / MEAN_S
    change = warm + (end - warm) / 3
    tasks: list[Task] = []
    if case.is_script:
        for _ in range(case.pending):
            now = rng.uniform(0.0, MEAN_S)
            while now < end:
                kind, endpoint, duration, fails = draw(usable, rng)
                tasks.append(Task("", kind, endpoint, now, duration, fails))
                now += duration + 15.0
        tasks.sort(key=lambda task: task.made_at)
        for number, task in enumerate(tasks):
            task.id = f"t{number}"
        return Story(tasks, [], warm, end)
    now = 0.0
    while (count is None and now < end) or (count is not None and len(tasks) < count):
        now += rng.expovariate(rate)
        kind, endpoint, duration, fails = draw(usable, rng)
        duration *= case.slower if now >= change else 1.0
        duration = math.inf if rng.random() < case.stuck else duration
        tasks.append(Task(f"t{len(tasks)}", kind, endpoint, now, duration, fails))
    strangers = []
    if case.foreign:
        for endpoint in sorted({task.endpoint for task in tasks}):
            own = sum(task.endpoint == endpoint for task in tasks)
            strangers += [(rng.uniform(0, now), endpoint) for _ in range(int(case.foreign * own))]
    return Story(tasks, sorted(strangers), warm, math.inf if case.is_burst else end)


@attrs.define
class Run:
    """What became of one case."""

    case: Case
    queries: int = 0
    late: list[float] = attrs.field(factory=list)
    followed: list[Task] = attrs.field(factory=list)
    rows: int = 0
    longest_unseen_s: float = 0.0
    plan_s: list[float] = attrs.field(factory=list)
    span_s: float = 0.0

    def add_lag(self, task: Task, lag_s: float) -> None:
        """Note a task that was seen to end."""
        self.late.append(lag_s)
        self.followed.append(task)


def simulate(case: Case, seed: int, spans: float = 12.0) -> Run:
    """Follow a story with the planner."""
    story = tell(case, seed, spans)
    policy = Policy(price_s=case.price_s, late_s=case.late_s, queries_per_s=case.queries_per_s)
    reach = Reach()
    for endpoint in ("text2video", "image2video"):
        reach.of(endpoint, Form.LIST).works = case.lists
        reach.of(endpoint, Form.BATCH).works = case.batch
    planner = Planner(policy=policy, reach=reach, rng=random.Random(seed))
    pace = pace_for(policy) if case.queries_per_s is not None else None
    host, run = Host(), Run(case)
    made = strange = 0
    now, moment = 0.0, math.inf
    while True:
        next_made = story.tasks[made].made_at if made < len(story.tasks) else math.inf
        now = min(next_made, moment)
        if now > story.ends_at or now == math.inf or (next_made == math.inf and not planner.rows):
            break
        while strange < len(story.strangers) and story.strangers[strange][0] <= now:
            host.take(None, story.strangers[strange][1])
            strange += 1
        if next_made <= moment:
            task = story.tasks[made]
            made += 1
            host.take(task, task.endpoint)
            task.watch = Watch(task.endpoint, task.id, external=False, asked_at=now)
            moment = min(moment, planner.add(task.watch, task.kind, now))
            continue
        began = time.process_time()
        asks, short = planner.plan(now, 10_000 if pace is None else pace.tokens(now))
        run.plan_s.append(time.process_time() - began)
        for ask in asks:
            if pace is not None:
                pace.spend(1)
            if now >= story.measured_from:
                run.queries += 1
            _answer(ask, host, planner, story, run, now)
        began = time.process_time()
        moment = max(planner.next_moment(now), now + 0.05)
        run.plan_s[-1] += time.process_time() - began
        if short and pace is not None:
            pace.wanted_more(now)
            moment = min(max(moment, now + max(pace.wait_s(), 0.25)), now + 2.0)
    run.span_s = now
    return run


def _answer(ask: Ask, host: Host, planner: Planner, story: Story, run: Run, now: float) -> None:
    if isinstance(ask.query, ListPage):
        page = host.page(ask.query)
        run.rows += len(page)
        found = []
        for index, row in enumerate(page):
            if row is not None and (watch := planner.rows.get(row.id)) is not None:
                found.append((index, watch))
    else:
        assert isinstance(ask.query, Single | Batch)
        run.rows += len(ask.watches)
        found = list(enumerate(ask.watches))
    for _, watch in found:
        task = story.by_id[watch.id]
        ended_at = task.made_at + task.duration_s
        if ended_at <= now:
            planner.remove(watch, now, task.duration_s, ended=True, failed=task.fails)
            if now >= story.measured_from:
                run.add_lag(task, now - ended_at)
        elif now - task.made_at >= DEADLINE_S * max(1.0, run.case.slower):
            planner.remove(watch, now, ended=False)
        elif not isinstance(ask.query, ListPage):
            planner.seen(watch, now)
    if isinstance(ask.query, ListPage):
        for watch in planner.page_seen(ask, found, now):
            watch.misses += 1
            planner.demote(watch, now)
        for _, watch in found:
            if watch.misses and watch.band is None:
                planner.forgive(watch)
            watch.misses = 0
    planner.close(ask, now)


# --- baselines -----------------------------------------------------------------------------------------------------


def loop(durations: Sequence[float], every_s: float) -> tuple[float, list[float]]:
    """Give queries per task and lags of a loop per task."""
    asked = [max(1, math.ceil(duration / every_s)) for duration in durations]
    lags = [number * every_s - duration for number, duration in zip(asked, durations, strict=True)]
    return statistics.fmean(asked), sorted(lags)


def usual(durations: Sequence[float], seed: int) -> tuple[float, list[float]]:
    """Give queries per task and lags of a loop with exponential backoff and full jitter up to 30 s."""
    rng = random.Random(seed)
    asked, lags = 0, []
    for duration in durations:
        now, longest = 0.0, 1.0
        while True:
            asked += 1
            if now >= duration:
                lags.append(now - duration)
                break
            now += rng.uniform(0, longest)
            longest = min(30.0, longest * 2)
    return asked / len(durations), sorted(lags)


def quantile(lags: Sequence[float], share: float) -> float:
    """Give a quantile of sorted values."""
    return lags[min(len(lags) - 1, int(share * len(lags)))] if lags else math.nan


CASES = (
    Case("1 at a time", 1, is_script=True),
    Case("2 at a time", 2, is_script=True),
    Case("3 at a time", 3, is_script=True),
    Case("3 at a time, singles", 3, lists=False, is_script=True),
    Case("3 at a time, batches", 3, lists=False, batch=True, is_script=True),
    Case("10 pending, one kind", 10, kinds=1),
    Case("10 pending, one kind, tail", 10, kinds=1, price_s=TAIL_ONLY),
    Case("10 pending", 10),
    Case("30 pending", 30),
    Case("100 pending", 100),
    Case("100 pending, tail", 100, price_s=TAIL_ONLY),
    Case("1,000 pending", 1000),
    Case("1,000 pending, tail", 1000, price_s=TAIL_ONLY),
    Case("1,000 pending, 1 foreign, tail", 1000, foreign=1.0, price_s=TAIL_ONLY),
    Case("1,000 pending, 10 foreign, tail", 1000, foreign=10.0, price_s=TAIL_ONLY),
    Case("10,000 pending, tail", 10_000, price_s=TAIL_ONLY),
    Case("1,000 pending, 3x slower", 1000, slower=3.0),
    Case("1,000 pending, 1% stuck", 1000, stuck=0.01),
    Case("burst of 1,000", 1000, is_burst=True),
    Case("batches, 100 pending", 100, lists=False, batch=True),
    Case("batches, 1,000 pending", 1000, lists=False, batch=True),
    Case("singles, 30 pending", 30, lists=False),
    Case("singles, 30 pending, tail", 30, lists=False, price_s=TAIL_ONLY),
    Case("singles, price 0.5, no tail", 30, lists=False, price_s=0.5, late_s=60.0),
    Case("1,000 pending, 1 query/s", 1000, queries_per_s=1.0),
)


def row_of(run: Run, seed: int) -> dict[str, Cell]:
    """One line of the table."""
    durations = [task.duration_s for task in run.followed]
    lags = sorted(run.late)
    per_task = run.queries / max(1, len(lags))
    ten, _ = loop(durations, 10.0)
    five, five_lags = loop(durations, 5.0)
    backed_off, backed_off_lags = usual(durations, seed)
    mean_s = statistics.fmean(lags)
    same_mean, _ = loop(durations, 2 * mean_s)
    return {
        "case": run.case.name,
        "tasks": len(lags),
        "queries/task": per_task,
        "lag mean s": mean_s,
        "lag p99 s": quantile(lags, 0.99),
        "lag max s": lags[-1],
        "rows/task": run.rows / len(lags),
        "1/ of 10 s loop": ten / per_task,
        "1/ of 5 s loop": five / per_task,
        "5 s loop mean": statistics.fmean(five_lags),
        "x of loop, same mean": per_task / same_mean,
        "1/ of usual": backed_off / per_task,
        "usual mean x": mean_s / statistics.fmean(backed_off_lags),
        "usual p99 x": quantile(lags, 0.99) / quantile(backed_off_lags, 0.99),
        "plan max ms": 1000 * max(run.plan_s),
        "plan % of a core": 100 * sum(run.plan_s) / run.span_s,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Give 0 when every task was seen to end."""
    parser = argparse.ArgumentParser(description="What the planner's queries cost, on a simulated host.")
    parser.add_argument("--quick", action="store_true", help="shorter stories: does it still work?")
    parser.add_argument("--seed", type=int, default=101, help="of the stories and the jitter (101)")
    parser.add_argument("--case", default="", help="only cases whose name begins so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(arguments)
    most, spans = (100, 2.0) if options.quick else (10_000, 12.0)
    cases = [case for case in CASES if case.name.startswith(options.case) and case.pending <= most]
    rows = [row_of(simulate(case, options.seed, spans), options.seed) for case in cases]
    notes = [
        f"seed {options.seed}; queries sent and ends seen after a warm-up of 900 s (a burst: all)",
        "tail: price so high that only late_s counts",
    ]
    print_report("The planner on a simulated host", rows, notes)
    if options.json is not None:
        write_json(options.json, "planner", rows, seed=options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
