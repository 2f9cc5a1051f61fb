"""Cuts, flipped bits and lost pages: what may become of a journal's files, and what is opened then.

    python tests/unit/journal_torture.py [--all] [--seed N]

Whatever was cut, flipped or never reached the disk, a journal is opened in a state that it once had, at least the one
that was acknowledged last where the disk kept its word, or it is refused. The tests do a part of it, spread
evenly; `--all` does every cut of a log of 64 KiB and 10,000 flips, in some minutes, and prints what came of it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from kling_async.emulator.virtual import VirtualLoop
from kling_async.errors import JournalError, JournalLocked
from kling_async.journal import Change, Entry, Insert
from kling_async.journal_sqlite import SqliteJournal
from kling_async.journal_store import Store

NOW = 1_790_000_000.25
HOST = "https://api.example"
_SECTOR_BYTES = 512
_PAGE_BYTES = 4096
_JOBS = 1  # whose changes make a log of more than 64 KiB

State = tuple[Any, ...]


@attrs.frozen
class Made:
    """A journal that was written change by change.

    Attributes:
        empty: its file before the log was brought into it; nothing is in it but the tables.
        log: the log with all the changes.
        whole: the file after that.
        states: what it held after each change, beginning with nothing.
        lengths: how long the log was then.
    """

    empty: bytes
    log: bytes
    whole: bytes
    states: list[State]
    lengths: list[int]


def state_of(store: Store) -> State:
    """Give all that a journal holds, to be compared."""
    _, entries = store.page(0, None)
    return (*entries, *store._db.execute("SELECT * FROM leases"), *store._db.execute("SELECT * FROM facts"))


def changes() -> Iterator[Change]:
    """Give what happens to some jobs, two at a time."""
    for number in range(_JOBS):
        name = f"job-{number}"
        entry = Entry(
            job_id=name,
            endpoint="text2video",
            host=HOST,
            created_at=NOW,
            owner="one",
            epoch=1,
            request={"prompt": name * 50},
            metadata={"n": number},
            lease_until=NOW + number,
        )
        yield Insert(entry)
        yield entry.change(state="sending", attempt=1, sent_at=NOW)
        yield entry.change(state="accepted", task_id=f"t-{number}")
        if number % 2 == 0:
            yield entry.change(state="succeeded", outcome={"url": "https://x"})


def make(folder: Path) -> Made:
    """Write a journal, and keep what it was at each step."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:  # does the thread's work itself
        return runner.run(_make(folder))


async def _make(folder: Path) -> Made:
    file = folder / "made.db"
    log = folder / "made.db-wal"
    states: list[State] = [()]
    journal = SqliteJournal(file, wall=lambda: NOW, owner="one")
    await journal.open()
    store = journal._store
    assert store is not None
    lengths = [log.stat().st_size]
    for change in changes():
        await journal.write(change)
        states.append(state_of(store))
        lengths.append(log.stat().st_size)
    await journal.learn("reach", {"batch": True})
    states.append(state_of(store))
    lengths.append(log.stat().st_size)
    logged, empty = log.read_bytes(), file.read_bytes()
    await journal.close()
    return Made(empty, logged, file.read_bytes(), states, lengths)


def reopened(folder: Path, main: bytes, log: bytes | None) -> State | None:
    """Give the state in which these files are opened; None when they are refused. Any other error is a bug."""
    file = folder / "cut.db"
    for end in ("", "-wal", "-shm"):
        file.with_name(f"cut.db{end}").unlink(missing_ok=True)
    file.write_bytes(main)
    if log is not None:
        file.with_name("cut.db-wal").write_bytes(log)
    try:
        store = Store(file, mounts=str)
    except JournalError as error:  # a flipped bit of the head may also look like a newer release, or be read-only
        if isinstance(error, JournalLocked) or "bug" in str(error):
            raise
        return None
    try:
        return state_of(store)
    finally:
        store.close()


# --- what can happen -------------------------------------------------------------------------------------------------


def cut_logs(folder: Path, made: Made, lengths: Iterable[int]) -> Counter[int]:
    """Cut the log at these lengths, in rising order; give how often each state was found.

    Raises:
        AssertionError: a state that never was, one older than that of a shorter log, or a lost change.
    """
    seen: Counter[int] = Counter()
    least = 0
    for length in lengths:
        state = reopened(folder, made.empty, made.log[:length])
        assert state is not None, f"a log cut at {length} is refused"
        number = made.states.index(state)
        whole = sum(1 for each in made.lengths if each <= length) - 1
        assert number >= max(least, whole), f"a log cut at {length} gives state {number}, not {max(least, whole)}"
        least = number
        seen[number] += 1
    return seen


def cut_files(folder: Path, made: Made, lengths: Iterable[int]) -> int:
    """Cut the file at these lengths, above 0; give how many there were.

    Raises:
        AssertionError: one was opened.
    """
    count = 0
    for length in lengths:
        assert reopened(folder, made.whole[:length], None) is None, f"a file cut at {length} is opened"
        count += 1
    return count


def flip_bits(folder: Path, made: Made, flips: int, rng: random.Random) -> Counter[str]:
    """Flip one bit, so often: in the log, in the file, or in the file below a whole log; give what came of it.

    Raises:
        AssertionError: a state that never was, or an earlier one where the log is whole.
    """
    seen: Counter[str] = Counter()
    for number in range(flips):
        where = ("log", "file", "log", "file", "file below log")[number % 5]
        damaged = bytearray({"log": made.log, "file": made.whole}.get(where, made.empty))
        place = rng.randrange(len(damaged) * 8)
        damaged[place // 8] ^= 1 << place % 8
        if where == "log":
            state = reopened(folder, made.empty, bytes(damaged))
        else:
            state = reopened(folder, bytes(damaged), None if where == "file" else made.log)
        last = made.states[-1]
        assert state is None or state == last or (where == "log" and state in made.states), f"{where}, bit {place}"
        seen[f"{where}: {'refused' if state is None else 'whole' if state == last else 'an earlier state'}"] += 1
    return seen


def lose_pages(folder: Path, made: Made, times: int, rng: random.Random) -> Counter[str]:
    """Cut the power: of what was written after the last sync any sector may be missing; give what was tried.

    Either in the middle of a commit, whose part of the log has not been synced, or while the log is brought into the
    file: of the file any page may be old or new, and the log is still whole.

    Raises:
        AssertionError: what was acknowledged is not there.
    """
    seen: Counter[str] = Counter()
    pages = range(0, len(made.whole), _PAGE_BYTES)
    for number in range(times):
        if number % 2:
            step = rng.randrange(len(made.states) - 1)
            log = bytearray(made.log[: made.lengths[step + 1]])
            for at in range(made.lengths[step], len(log), _SECTOR_BYTES):
                if rng.random() < rng.choice((0.02, 0.5, 0.98)):
                    end = min(at + _SECTOR_BYTES, len(log))
                    log[at:end] = bytes(end - at)
            state = reopened(folder, made.empty, bytes(log))
            assert state in made.states[step : step + 2], f"power lost in commit {step}: what came before is not there"
            seen["in a commit"] += 1
        else:
            main = b"".join(
                (made.whole if at >= len(made.empty) or rng.random() < 0.5 else made.empty)[at : at + _PAGE_BYTES]
                for at in pages[: rng.randrange(len(made.empty) // _PAGE_BYTES, len(pages) + 1)]
            )
            state = reopened(folder, main, made.log)
            assert state == made.states[-1], "power lost in a checkpoint: what was acknowledged is not there"
            seen["in a checkpoint"] += 1
    return seen


async def copy_after_each_commit(folder: Path, steps: int) -> int:
    """Copy the files after each acknowledged commit, and open the copy: it holds what was acknowledged.

    Returns:
        How many copies were opened.
    """
    file, log = folder / "live.db", folder / "live.db-wal"
    journal = SqliteJournal(file, wall=lambda: NOW, owner="one")
    await journal.open()
    store = journal._store
    assert store is not None
    try:
        for number in range(steps):
            entry = Entry(
                job_id=f"j{number}",
                endpoint="e",
                host=HOST,
                created_at=NOW,
                owner="one",
                epoch=1,
                request={"prompt": "x" * 3000},
            )
            journal.put(Insert(entry))
            await journal.write(entry.change(state="sending", attempt=1))
            state = reopened(folder, file.read_bytes(), log.read_bytes())
            assert state == state_of(store), f"what was acknowledged in commit {number} is not in the copy"
    finally:
        await journal.close()
    return steps


def main() -> int:
    """Give 0; whatever is wrong is raised."""
    parser = argparse.ArgumentParser(description="Cuts, flipped bits and lost pages.")
    parser.add_argument("--all", action="store_true", help="every cut of a log of 64 KiB, 10,000 flips")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        made = make(folder)
        step = 1 if options.all else 101
        began = time.perf_counter()

        def tell(what: str, count: int, more: object = "") -> None:
            nonlocal began
            now = time.perf_counter()
            sys.stdout.write(f"{what:<28}{count:>8,}  {now - began:7.1f} s  {more}\n")
            sys.stdout.flush()
            began = time.perf_counter()

        tell(f"log of {len(made.log):,} bytes", len(made.states), "states")
        seen = cut_logs(folder, made, range(0, len(made.log) + 1, step))
        tell("cuts of the log", seen.total(), f"{len(seen)} of {len(made.states)} states seen")
        tell("cuts of the file", cut_files(folder, made, range(1, len(made.whole), step)), "all refused")
        flips = flip_bits(folder, made, 10_000 if options.all else 500, rng)
        tell("flipped bits", flips.total(), dict(sorted(flips.items())))
        lost = lose_pages(folder, made, 5_000 if options.all else 200, rng)
        tell("losses of power", lost.total(), dict(lost))
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            copies = runner.run(copy_after_each_commit(folder, 500 if options.all else 50))
        tell("copies after a commit", copies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
