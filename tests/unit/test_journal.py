"""journal.py: what an entry says, its plain data, and what every journal promises, in memory and on disk."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from kling_async.errors import (
    ConfigError,
    JournalError,
    KlingError,
    LeaseLost,
    SubmissionUnknown,
    TaskFailed,
    Throttled,
)
from kling_async.journal import (
    Entry,
    Fact,
    Insert,
    Journal,
    MemoryJournal,
    MemoryStore,
    Update,
    fingerprint,
    plain_error,
    revive_error,
    to_text,
)
from kling_async.journal_sqlite import SqliteJournal
from kling_async.models import Status

NOW = 1_790_000_000.25
HOST = "https://api.example"


class Clock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


Make = Callable[[str], Journal]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Make:
    """Give a maker of journals that share what they hold, by owner's name."""
    store = MemoryStore()

    def make(owner: str) -> Journal:
        if request.param == "memory":
            return MemoryJournal(wall=clock, owner=owner, store=store)
        return SqliteJournal(tmp_path / "journal.db", wall=clock, owner=owner)

    return make


@asynccontextmanager
async def opened(journal: Journal) -> AsyncIterator[Journal]:
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


def entry(job_id: str = "j1", **more: Any) -> Entry:
    fields: dict[str, Any] = {"endpoint": "text2video", "host": HOST, "created_at": NOW, **more}
    return Entry(job_id=job_id, **fields)


def held(job_id: str = "j1", owner: str = "one", **more: Any) -> Entry:
    return entry(job_id, owner=owner, epoch=1, **{"lease_until": NOW + 60, **more})


FULL = held(
    request={"prompt": "ünïcode 任务 \ud800", "images": [{"path": "a.png", "size": 3}], "n": 1.5, "none": None},
    fingerprint=fingerprint("text2video", {}),
    callback_url="https://me.example/hook?key=1",
    metadata={"who": ["me", 1]},
    timeout_s=30,
    state="unsure",
    attempt=2,
    sent_at=NOW - 1,
    task_id="t1",
    outcome={"error": "x"},
)


# --- entries and changes ---------------------------------------------------------------------------------------------


def test_an_entry_prints_nothing_of_what_was_asked() -> None:
    told = repr(FULL)
    assert "j1" in told
    for hidden in ("hook", "prompt", "who", "error"):
        assert hidden not in told


def test_an_entry_keeps_numbers_as_the_disk_gives_them_back() -> None:
    made = entry(created_at=1, sent_at=2, timeout_s=3, lease_until=4, updated_at=5, state="sending")
    times: list[object] = [made.created_at, made.sent_at, made.timeout_s, made.lease_until, made.updated_at]
    assert times == [1, 2, 3, 4, 5]
    assert all(type(time) is float for time in times)
    assert made.state is Status.SENDING


def test_a_change_names_who_makes_it_and_prints_no_values() -> None:
    change = held().change(state=Status.ACCEPTED, task_id="secret")
    assert change == Update("j1", "one", 1, {"state": Status.ACCEPTED, "task_id": "secret"})
    assert repr(change) == "Update(job_id='j1', owner='one', epoch=1, fields=<state, task_id>)"


def test_a_change_of_what_is_written_once_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot change epoch, request"):
        held().change(request={}, epoch=2)
    with pytest.raises(ValueError, match="nobody holds job j1"):
        entry().change(state=Status.SENDING)


# --- plain data ------------------------------------------------------------------------------------------------------


def test_a_fingerprint_depends_on_what_is_asked_and_not_on_its_order() -> None:
    one = fingerprint("text2video", {"a": 1, "b": [1, 2]})
    assert one == fingerprint("text2video", {"b": [1, 2], "a": 1})
    assert len(one) == 64
    assert int(one, 16)
    others = [("image2video", {"a": 1, "b": [1, 2]}), ("text2video", {"a": 1, "b": [2, 1]}), ("text2video", None)]
    assert one not in {fingerprint(endpoint, request) for endpoint, request in others}


def deep() -> object:
    value: object = 0
    for _ in range(100_000):
        value = [value]
    return value


NOT_PLAIN = {
    "set": {1, 2},
    "bytes": b"x",
    "nan": float("nan"),
    "infinity": float("inf"),
    "object": {"a": object()},
    "deep": deep(),
}


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in NOT_PLAIN.items()])
def test_what_json_cannot_hold_is_refused_by_name(value: object) -> None:
    with pytest.raises(ConfigError, match="metadata cannot be recorded"):
        to_text(value, "metadata")
    with pytest.raises(ConfigError, match="cannot be fingerprinted"):
        fingerprint("text2video", value)


@pytest.mark.parametrize(
    "error",
    [
        TaskFailed("bad words", task_id="t"),
        Throttled("slow", code=1302, http_status=429, retry_in_s=1.5, request_id="r"),
        SubmissionUnknown("sent", job_id="j"),
        KlingError("plain"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_being_recorded(error: KlingError) -> None:
    error.add_note("of one waiter")
    twin = revive_error(json.loads(to_text(plain_error(error))))
    assert type(twin) is type(error)
    assert (str(twin), twin.args) == (str(error), error.args)
    assert vars(twin) == {name: value for name, value in vars(error).items() if name != "__notes__"}


@pytest.mark.parametrize("kind", ["NoSuchError", "clean_text", "RequestWarning", "Mapping", None])
def test_an_error_of_unknown_kind_is_a_plain_one(kind: object) -> None:
    twin = revive_error({"error": kind, "args": ["told"], "with": {"paid": "maybe"}})
    assert type(twin) is KlingError
    assert (str(twin), twin.paid) == ("told", "maybe")
    assert revive_error({"error": "JobError"}).args == ()


# --- what every journal promises -------------------------------------------------------------------------------------


async def test_what_is_recorded_is_given_back_whole(make: Make, clock: Clock) -> None:
    async with opened(make("one")) as journal:
        assert journal.owner == "one"
        await journal.write(Insert(FULL))
        bare = entry("j2")
        assert await journal.add(bare) is None
        assert await journal.find("j1") == attrs.evolve(FULL, updated_at=NOW)
        assert await journal.find("j2") == attrs.evolve(bare, updated_at=NOW)
        assert await journal.find("j3") is None
    async with opened(make("two")) as journal:
        assert [each.job_id async for each in journal.entries()] == ["j1", "j2"]
        assert await journal.find("j1") == attrs.evolve(FULL, updated_at=NOW)


async def test_adding_an_id_twice_gives_the_first_and_changes_nothing(make: Make) -> None:
    async with opened(make("one")) as journal:
        assert await journal.add(held(metadata={"n": 1})) is None
        first = await journal.find("j1")
        assert await journal.add(held(metadata={"n": 2})) == first
        with pytest.raises(JournalError, match="recorded already") as caught:
            await journal.write(Insert(held(metadata={"n": 3})))
        assert caught.value.job_id == "j1"
        assert await journal.find("j1") == first


async def test_updates_change_the_named_fields_and_the_date(make: Make, clock: Clock) -> None:
    async with opened(make("one")) as journal:
        await journal.write(Insert(held()))
        clock.now += 1
        await journal.write(held().change(state="sending", attempt=1, sent_at=int(NOW)))
        await journal.write(held().change(task_id="t1", state=Status.ACCEPTED))
        await journal.write(held().change(outcome={"videos": [1]}, state=Status.SUCCEEDED))
        expected = held(
            state=Status.SUCCEEDED,
            attempt=1,
            sent_at=int(NOW),
            task_id="t1",
            outcome={"videos": [1]},
            updated_at=NOW + 1,
        )
        assert await journal.find("j1") == expected
        await journal.write(held().change(outcome=None, state=Status.QUEUED, sent_at=None))
        found = await journal.find("j1")
        assert found is not None
        assert (found.outcome, found.state, found.sent_at) == (None, Status.QUEUED, None)


@pytest.mark.parametrize(
    "stale",
    [Update("j1", "two", 1, {"attempt": 9}), Update("j1", "one", 0, {"attempt": 9}), Update("j2", "one", 1, {})],
    ids=["other owner", "other epoch", "no such job"],
)
async def test_only_the_holder_changes_an_entry(make: Make, stale: Update) -> None:
    async with opened(make("one")) as journal:
        await journal.write(Insert(held()))
        with pytest.raises(LeaseLost) as caught:
            await journal.write(stale)
        assert caught.value.job_id == stale.job_id
        found = await journal.find("j1")
        assert found is not None
        assert found.attempt == 0


async def test_callbacks_come_in_order_and_never_inside_put(make: Make) -> None:
    told: list[tuple[int, str | None]] = []

    def note(number: int) -> Callable[[JournalError | None], None]:
        return lambda error: told.append((number, None if error is None else type(error).__name__))

    journal = make("one")
    await journal.open()
    journal.put(Insert(held()), note(0))
    journal.put(Insert(held()), note(1))
    journal.put(Update("j1", "two", 1, {}), note(2))
    journal.put(held().change(attempt=1))
    for number in range(3, 1000):
        journal.put(held().change(attempt=number), note(number))
    assert told == []
    await journal.close()
    expected = [(0, None), (1, "JournalError"), (2, "LeaseLost"), *((number, None) for number in range(3, 1000))]
    assert told == expected


async def test_claims_take_what_is_free_oldest_first(make: Make, clock: Clock) -> None:
    async with opened(make("one")) as one, opened(make("two")) as two:
        for number, at in enumerate([5, 3, 4, 3]):
            await one.add(entry(f"j{number}", created_at=NOW + at))
        await one.add(entry("done", state="failed"))
        await one.add(entry("elsewhere", host="https://other"))
        await one.add(held("mine", lease_until=NOW + 60))
        got = await two.claim(HOST, 3, 30)
        assert [each.job_id for each in got] == ["j1", "j3", "j2"]
        assert {(each.owner, each.epoch, each.lease_until) for each in got} == {("two", 1, NOW + 30)}
        assert await two.find("j1") == got[0]
        assert [each.job_id for each in await one.claim(HOST, 9, 60)] == ["j0"]
        assert await one.claim(HOST, 9, 60) == await two.claim(HOST, 9, 60) == []
        clock.now += 30
        assert [(each.job_id, each.epoch) for each in await one.claim(HOST, 9, 60)] == [("j1", 2), ("j3", 2), ("j2", 2)]
        with pytest.raises(LeaseLost):
            await two.write(got[0].change(state="sending"))


async def test_a_claim_leaves_alone_what_is_its_own(make: Make, clock: Clock) -> None:
    """Also when its own lease seems to be over: a clock may have jumped, and the job is at work."""
    async with opened(make("one")) as one, opened(make("two")) as two:
        await one.add(held("mine", lease_until=NOW + 60))
        clock.now += 61
        assert await one.claim(HOST, 9, 60) == []
        assert [each.job_id for each in await two.claim(HOST, 9, 60)] == ["mine"]


async def test_one_entry_is_taken_when_it_is_free_or_settled(make: Make, clock: Clock) -> None:
    async with opened(make("one")) as one, opened(make("two")) as two:
        await one.add(held("open"))
        await one.add(held("done", state="unresolved"))
        assert await two.take("open", 60) is None
        again = await one.take("open", 60)  # its own, whoever asks for it there
        assert again is not None
        assert (again.owner, again.epoch) == ("one", 2)
        assert await two.take("nowhere", 60) is None
        done = await two.take("done", 60)
        assert done is not None
        assert (done.owner, done.epoch, done.lease_until) == ("two", 2, NOW + 60)
        await two.write(done.change(state="queued"))
        assert await one.take("done", 60) is None
        clock.now += 61
        free = await two.take("open", 60)
        assert free is not None
        assert free.epoch == 3


async def test_what_could_not_be_found_out_is_looked_up_by_the_next_session(make: Make, clock: Clock) -> None:
    """It was sent, so a task may exist; what was never sent, or was abandoned, is over for good."""
    async with opened(make("one")) as one, opened(make("two")) as two:
        for number, (name, state, attempt) in enumerate(
            [("lost", "unresolved", 1), ("unsent", "unresolved", 0), ("left", "abandoned", 1), ("gone", "vanished", 1)]
        ):
            await one.add(held(name, created_at=NOW + number))
            await one.write(held(name).change(attempt=1, state="unsure"))
            await one.write(held(name).change(attempt=attempt, state=state, outcome={"error": "JobError"}))
        found = {each.job_id: each.is_settled async for each in one.entries()}
        assert found == {"lost": False, "unsent": True, "left": True, "gone": True}
        assert await two.claim(HOST, 9, 60) == []  # whoever gave it up may still take it up again
        assert await two.take("lost", 60) is None
        again = await one.take("lost", 60)
        assert again is not None
        assert (again.epoch, again.state, again.attempt) == (2, Status.UNRESOLVED, 1)
        await one.write(again.change(state="unsure", outcome=None))
        assert await two.take("lost", 60) is None
        await one.write(again.change(state="unresolved"))
        await one.release()
        claimed = await two.claim(HOST, 9, 60)
        assert [(each.job_id, each.epoch, each.state, each.outcome) for each in claimed] == [
            ("lost", 3, Status.UNRESOLVED, None)
        ]
        await two.write(claimed[0].change(state="succeeded", outcome={"raw": {}}))
        await two.release()
        assert await one.claim(HOST, 9, 60) == []


async def test_renewal_prolongs_everything_and_names_what_is_lost(make: Make, clock: Clock) -> None:
    async with opened(make("one")) as one, opened(make("two")) as two:
        for name in ("a", "b", "c"):
            await one.add(held(name))
        await one.write(held("c").change(state="failed"))
        clock.now += 59
        assert await one.renew(["a", "b", "c"], 60) == frozenset()
        clock.now += 59
        assert await two.claim(HOST, 1, 60) == []
        clock.now += 1
        assert [each.job_id for each in await two.claim(HOST, 1, 60)] == ["a"]
        assert await one.renew(["a", "b", "c", "d"], 60) == {"a", "d"}
        found = await one.find("b")
        assert found is not None
        assert found.lease_until == clock.now + 60


async def test_a_new_job_prolongs_the_lease_and_never_shortens_it(make: Make, clock: Clock) -> None:
    async with opened(make("one")) as one:
        one.put(Insert(held("a", lease_until=NOW + 60)))
        one.put(Insert(held("b", lease_until=NOW + 90)))
        one.put(Insert(held("c", lease_until=NOW + 70)))
        assert await one.claim(HOST, 9, 60) == []
        one.put(Insert(held("d", lease_until=NOW + 80)))
        one.put(Insert(held("e", lease_until=None)))
        one.put(Insert(held("f", owner="two", lease_until=None)))
        found = [(each.job_id, each.lease_until) async for each in one.entries()]
        assert found == [*((name, NOW + 90) for name in "abcde"), ("f", None)]


async def test_the_newest_come_first_page_by_page(make: Make) -> None:
    """In the order they were recorded, whatever became of them since; of one host, and of one state if asked."""
    async with opened(make("one")) as one, opened(make("two")) as two:
        for name in ("a", "b", "c", "d"):
            await one.add(held(name, created_at=NOW - ord(name)))
        await one.add(held("e", host="https://other.example"))
        await one.write(held("b").change(state="failed"))
        await two.take("b", 60)
        everything = await two.newest(HOST, 9)
        assert [each.job_id for _, each in everything] == ["d", "c", "b", "a"]
        assert everything[0][1] == await one.find("d")
        first = await two.newest(HOST, 3)
        assert first == everything[:3]
        await one.add(held("f"))
        assert await two.newest(HOST, 3, before=first[-1][0]) == everything[3:]
        assert await two.newest(HOST, 3, before=everything[-1][0]) == []
        assert [each.job_id for _, each in await one.newest(HOST, 9, state=Status.FAILED)] == ["b"]
        assert [each.job_id for _, each in await one.newest(HOST, 1, state=Status.QUEUED)] == ["f"]


async def test_released_entries_are_free_at_once(make: Make) -> None:
    async with opened(make("one")) as one, opened(make("two")) as two:
        for name in ("a", "b", "c"):
            await one.add(held(name))
        await two.release(["a"])
        await one.release(["a", "nowhere"])
        assert [(each.job_id, each.epoch) for each in await two.claim(HOST, 9, 60)] == [("a", 2)]
        one.put(Insert(held("d", created_at=NOW + 1)))
        await one.release()
        assert [each.job_id for each in await two.claim(HOST, 9, 60)] == ["b", "c", "d"]


async def test_nobody_waits_for_the_lease_of_one_that_runs_no_more(make: Make) -> None:
    """Its own lease is never ended, whatever is said of it."""
    async with opened(make("one")) as one, opened(make("two")) as two:
        await one.add(held())
        await two.add(held("j2", "two"))
        await two.bury(lambda owner: owner == "three")
        assert await two.claim(HOST, 10, 60) == []
        await two.bury(lambda _owner: True)
        assert [entry.job_id for entry in await two.claim(HOST, 10, 60)] == ["j1"]
        assert (await two.renew(["j1", "j2"], 60)) == frozenset()


async def test_counts_and_pages(make: Make) -> None:
    async with opened(make("one")) as journal:
        assert await journal.counts() == {}
        assert [each async for each in journal.entries()] == []
        for number in range(1100):
            journal.put(Insert(entry(f"j{number}", state="failed" if number % 3 else "queued")))
        assert await journal.counts() == {Status.QUEUED: 367, Status.FAILED: 733}
        assert [each.job_id async for each in journal.entries()] == [f"j{number}" for number in range(1100)]
        queued = [each.job_id async for each in journal.entries(Status.QUEUED)]
        assert queued == [f"j{number}" for number in range(0, 1100, 3)]


async def test_facts_are_dated_and_the_last_one_counts(make: Make, clock: Clock) -> None:
    async with opened(make("one")) as journal:
        assert await journal.learned("reach") is None
        await journal.learn("reach", {"batch": True})
        clock.now += 5
        await journal.learn("reach", {"batch": False})
        assert await journal.learned("reach") == Fact({"batch": False}, NOW + 5)


async def test_a_journal_that_is_not_open_says_so(make: Make) -> None:
    journal = make("one")
    await journal.close()
    assert "closed" in repr(journal)
    for phase in ("before", "after"):
        with pytest.raises(JournalError, match="not open"):
            journal.put(Insert(entry()))
        for call in (journal.write(Insert(entry())), journal.add(entry()), journal.find("j"), journal.counts()):
            with pytest.raises(JournalError, match="not open"):
                await call
        if phase == "before":
            await journal.open()
            assert "open" in repr(journal)
            await journal.close()
    await journal.open()  # again
    assert await journal.add(entry()) is None
    await journal.close()


async def test_a_name_is_made_up_where_none_is_given(tmp_path: Path, clock: Clock) -> None:
    names = {MemoryJournal(wall=clock).owner, MemoryJournal(wall=clock).owner}
    names |= {SqliteJournal(tmp_path / "a", wall=clock).owner for _ in range(2)}
    assert {len(name) for name in names} == {32}
    assert len(names) == 4


async def test_waiting_for_a_change_lets_others_run(make: Make) -> None:
    async with opened(make("one")) as journal:
        await asyncio.gather(*(journal.write(Insert(entry(f"j{number}"))) for number in range(300)))
        assert await journal.counts() == {Status.QUEUED: 300}
