"""Random sessions on one journal file, against the journal in memory: what is on disk is what should be."""

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kling_async.emulator.virtual import VirtualLoop
from kling_async.errors import JournalError
from kling_async.journal import Entry, Insert, Journal, MemoryJournal, MemoryStore, Update
from kling_async.journal_sqlite import SqliteJournal
from kling_async.models import Status

HOSTS = ["https://a", "https://b"]
NAMES = [f"job-{number}" for number in range(6)]
names = st.sampled_from(NAMES)
seats = st.integers(0, 1)  # two sessions share the journal


class JournalMachine(RuleBasedStateMachine):
    """Do the same to both, by two sessions in turn, and close, open and break off in between."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 1_790_000_000.0
        self.sessions = 0
        self.store = MemoryStore()
        self.pairs: list[tuple[Journal, Journal]] = []
        self.told: tuple[list[object], list[object]] = ([], [])

    def wall(self) -> float:
        return self.now

    def make(self) -> tuple[Journal, Journal]:
        self.sessions += 1
        owner = f"session-{self.sessions}"
        model = MemoryJournal(wall=self.wall, owner=owner, store=self.store)
        real = SqliteJournal(self.folder / "journal.db", wall=self.wall, owner=owner)
        for journal in (model, real):
            self.loop.run_until_complete(journal.open())
        return model, real

    def both(self, seat: int, call: Callable[[Journal], Awaitable[Any]]) -> None:
        async def result(journal: Journal) -> object:
            try:
                return await call(journal)
            except JournalError as error:
                return type(error), error.job_id

        model, real = (self.loop.run_until_complete(result(journal)) for journal in self.pairs[seat])
        assert model == real

    @initialize()
    def start(self) -> None:
        self.pairs = [self.make(), self.make()]

    @rule(
        seat=seats,
        name=names,
        host=st.sampled_from(HOSTS),
        at=st.integers(0, 3),
        lease_s=st.sampled_from([None, 10.0, 60.0]),
        is_held=st.booleans(),
        state=st.sampled_from([Status.QUEUED, Status.QUEUED, Status.ACCEPTED, Status.FAILED]),
        plain=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=4,
        ),
        way=st.sampled_from(["add", "write", "put"]),
    )
    def insert(
        self,
        seat: int,
        name: str,
        host: str,
        at: int,
        lease_s: float | None,
        is_held: bool,
        state: Status,
        plain: object,
        way: str,
    ) -> None:
        entry = Entry(
            job_id=name,
            endpoint="text2video",
            host=host,
            request=plain,
            metadata={"plain": plain},
            outcome=plain if state.is_final else None,
            created_at=self.now + at,
            state=state,
            owner=self.pairs[seat][0].owner if is_held else None,
            epoch=int(is_held),
            lease_until=None if lease_s is None or not is_held else self.now + lease_s,
        )
        if way == "add":
            self.both(seat, lambda journal: journal.add(entry))
        elif way == "write":
            self.both(seat, lambda journal: journal.write(Insert(entry)))
        else:
            self.put(seat, Insert(entry))

    def put(self, seat: int, change: Insert | Update) -> None:
        async def work() -> None:
            for journal, told in zip(self.pairs[seat], self.told, strict=True):
                journal.put(change, lambda error, told=told: told.append(type(error)))  # type: ignore[misc]

        self.loop.run_until_complete(work())

    @rule(
        seat=seats,
        name=names,
        epoch_off=st.sampled_from([0, 0, 0, 1]),
        fields=st.fixed_dictionaries(
            {},
            optional={
                "state": st.sampled_from(list(Status)),
                "attempt": st.integers(0, 9),
                "sent_at": st.none() | st.integers(0, 9) | st.floats(0, 9),
                "task_id": st.none() | st.sampled_from(["t1", "t2"]),
                "outcome": st.none() | st.just({"url": "u"}),
            },
        ),
        waits=st.booleans(),
    )
    def update(self, seat: int, name: str, epoch_off: int, fields: dict[str, object], waits: bool) -> None:
        entry = self.store.entries.get(name)
        epoch = (entry.epoch if entry is not None else 1) + epoch_off
        change = Update(name, self.pairs[seat][0].owner, epoch, fields)
        if waits:
            self.both(seat, lambda journal: journal.write(change))
        else:
            self.put(seat, change)

    @rule(seat=seats, host=st.sampled_from(HOSTS), limit=st.integers(1, 4), lease_s=st.sampled_from([5.0, 60.0]))
    def claim(self, seat: int, host: str, limit: int, lease_s: float) -> None:
        self.both(seat, lambda journal: journal.claim(host, limit, lease_s))

    @rule(seat=seats, name=names)
    def take(self, seat: int, name: str) -> None:
        self.both(seat, lambda journal: journal.take(name, 30.0))

    @rule(seat=seats, ids=st.lists(names), lease_s=st.sampled_from([5.0, 60.0]))
    def renew(self, seat: int, ids: list[str], lease_s: float) -> None:
        self.both(seat, lambda journal: journal.renew(ids, lease_s))

    @rule(seat=seats, ids=st.none() | st.lists(names))
    def release(self, seat: int, ids: list[str] | None) -> None:
        self.both(seat, lambda journal: journal.release(ids))

    @rule(seat=seats, key=st.sampled_from(["a", "b"]), value=st.none() | st.integers() | st.text())
    def learn(self, seat: int, key: str, value: object) -> None:
        self.both(seat, lambda journal: journal.learn(key, value))
        self.both(1 - seat, lambda journal: journal.learned(key))

    @rule(by=st.sampled_from([0.0, 1.0, 10.0, 60.0, -5.0]))
    def pass_time(self, by: float) -> None:
        self.now += by

    @rule(seat=seats)
    def restart(self, seat: int) -> None:
        for journal in self.pairs[seat]:
            self.loop.run_until_complete(journal.close())
        self.pairs[seat] = self.make()

    @invariant()
    def both_hold_the_same(self) -> None:
        async def all_of(journal: Journal) -> list[Entry]:
            return [entry async for entry in journal.entries()]

        for seat in range(len(self.pairs)):
            self.both(seat, all_of)
            self.both(seat, lambda journal: journal.counts())
        assert self.told[0] == self.told[1]

    def teardown(self) -> None:
        for pair in self.pairs:
            for journal in pair:
                self.loop.run_until_complete(journal.close())
        self.loop.close()
        shutil.rmtree(self.folder)


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
