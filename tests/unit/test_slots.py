"""slots.py: the gate of one model and pack, by tables and against a model of the service."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kling_async.slots import Gate

NOW = 1000.0


def admitted(gate: Gate, most: int = 1000, slots: int = 1) -> int:
    """How many go at once."""
    count = 0
    while count < most and gate.admits(slots, NOW):
        gate.sent(slots)
        count += 1
    return count


def refused(gate: Gate, most: int) -> int:
    """Let all go that may, before a host of so many slots; give how many it refuses."""
    count = 0
    for _ in range(admitted(gate)):
        if gate.running < most:
            gate.taken(1)
        else:
            gate.full(1, NOW, 0.0)
            count += 1
    return count


def test_an_unknown_limit_is_found_in_steps_and_not_by_a_thousand_at_once() -> None:
    gate = Gate()
    assert admitted(gate) == 4
    for _ in range(4):
        gate.taken(1)
    assert admitted(gate) == 8
    for _ in range(8):
        gate.taken(1)
    assert admitted(gate) == 16
    assert (gate.running, gate.sending, gate.limit) == (12, 16, None)


def test_a_first_request_of_many_slots_goes_alone() -> None:
    gate = Gate()
    assert admitted(gate, slots=9) == 1
    gate.taken(9)
    assert gate.admits(9, NOW)


def test_full_closes_and_one_goes_per_end() -> None:
    gate = Gate()
    for _ in range(5):
        gate.sent(1)
    for _ in range(4):
        gate.taken(1)
    gate.full(1, NOW, 3.0)
    assert gate.limit == 4
    assert admitted(gate) == 0
    for _ in range(3):
        gate.released_by_end(1)
        assert admitted(gate) == 1
        gate.taken(1)
        assert admitted(gate) == 0
    assert gate.shut_until == 0.0
    assert gate.refused_since is None


def test_two_full_turns_without_a_refusal_try_one_more() -> None:
    gate = Gate(limit=2)
    for _ in range(2):
        assert admitted(gate) == 2
        gate.taken(1)
        gate.taken(1)
        gate.released_by_end(1)
        gate.released_by_end(1)
    assert gate.limit == 3
    assert gate.released == 0
    assert admitted(gate) == 3
    gate.taken(1)
    gate.taken(1)
    gate.full(1, NOW, 3.0)
    assert gate.limit == 2


def test_submissions_not_answered_yet_count_until_they_are_refused() -> None:
    """So what the service has taken is never forgotten, whatever order the answers come in."""
    gate = Gate()
    for _ in range(4):
        gate.sent(1)
    gate.taken(1)
    gate.full(1, NOW, 0.0)
    assert gate.limit == 3
    gate.released_by_end(1)
    gate.taken(1)
    gate.taken(1)
    assert (gate.limit, gate.running) == (3, 2)
    assert admitted(gate) == 1
    gate.full(1, NOW, 0.0)
    assert gate.limit == 2
    gate = Gate(limit=1, sending=1, running=1)
    gate.taken(1)
    assert gate.limit == 2, "an acceptance beyond the limit lifts it"


def test_with_nothing_of_ours_running_one_waits_for_the_clock() -> None:
    gate = Gate()
    for at in (NOW, NOW + 5.0):
        gate.sent(1)
        gate.full(1, at, 5.0)
        assert gate.refused_since == NOW
        assert not gate.admits(1, at + 4.999)
        assert gate.admits(1, at + 5.0)
    gate.sent(1)
    assert not gate.admits(1, NOW + 10.0)
    gate.taken(1)
    assert (gate.shut_until, gate.refused_since) == (0.0, None)


def test_with_something_of_ours_running_the_end_is_waited_for_and_not_the_clock() -> None:
    gate = Gate()
    gate.sent(1)
    gate.taken(1)
    gate.sent(1)
    gate.full(1, NOW, 5.0)
    assert (gate.shut_until, gate.refused_since) == (0.0, None)
    assert not gate.admits(1, NOW + 1e6)
    gate.released_by_end(1)
    assert gate.admits(1, NOW)


def test_case_31_a_request_larger_than_the_limit_goes_alone_so_that_the_service_decides() -> None:
    """Section 20, case 31: a request of n slots, with n beyond the limit."""
    gate = Gate(limit=3)
    assert gate.admits(9, NOW)
    gate.sent(1)
    assert not gate.admits(9, NOW)
    assert not gate.admits(3, NOW)
    assert gate.admits(2, NOW)


def test_a_refusal_that_says_nothing_about_slots_gives_them_back() -> None:
    gate = Gate(limit=1)
    gate.sent(1)
    assert not gate.admits(1, NOW)
    gate.returned(1)
    assert gate.admits(1, NOW)
    assert (gate.running, gate.sending, gate.limit) == (0, 0, 1)


class Pack(RuleBasedStateMachine):
    """A pack of `most` slots, some taken by other programs, behind one gate with many waiters."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.most = 1
        self.foreign = 0
        self.sent: list[int] = []
        self.running: list[int] = []
        self.now = 0.0
        self.refused_with_some_running = False

    @initialize(most=st.integers(1, 12))
    def make(self, most: int) -> None:
        self.most = most

    @rule(slots=st.integers(1, 3))
    def send(self, slots: int) -> None:
        before = sum(self.running) + sum(self.sent)
        if self.gate.admits(slots, self.now):
            if self.gate.limit is not None:
                assert before == 0 or before + slots <= self.gate.limit
            assert self.now >= self.gate.shut_until
            self.gate.sent(slots)
            self.sent.append(slots)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), odd=st.sampled_from(["", "", "", "rejected"]))
    def answer(self, data: st.DataObject, odd: str) -> None:
        slots = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        if odd:
            self.gate.returned(slots)
        elif sum(self.running) + self.foreign + slots <= self.most:
            self.gate.taken(slots)
            self.running.append(slots)
            assert self.gate.shut_until == 0.0
        else:
            self.gate.full(slots, self.now, 2.0)
            assert self.gate.limit == max(sum(self.running) + sum(self.sent), 1)
            if self.running:
                assert not self.gate.admits(1, self.now + 1e9), "full: closed until a task ends"
            else:
                assert not self.gate.admits(1, self.now), "full and nothing of ours: closed until the delay is over"

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        slots = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.gate.released_by_end(slots)

    @rule(foreign=st.integers(0, 12))
    def others(self, foreign: int) -> None:
        self.foreign = foreign

    @rule(seconds=st.floats(0.1, 10))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_are_right_and_never_negative(self) -> None:
        assert self.gate.running == sum(self.running)
        assert self.gate.sending == sum(self.sent)
        assert self.gate.released >= 0
        assert self.gate.limit is None or self.gate.limit >= max(1, self.gate.running)

    @invariant()
    def somebody_may_always_go_when_all_is_quiet(self) -> None:
        if not self.running and not self.sent:
            assert self.gate.admits(1, max(self.now, self.gate.shut_until))


Pack.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestPack: Any = Pack.TestCase


@given(st.integers(1, 30), st.integers(0, 30))
def test_a_pack_that_is_free_again_is_found_again(most: int, foreign: int) -> None:
    """After a refusal while others used the account the limit recovers to what the pack has."""
    gate = Gate()
    gate.sent(1)
    gate.full(1, 0.0, 1.0)
    running, now, refusals = 0, 2.0, 0
    for turn in range(4 * most * most + 40):
        free = most - (foreign if turn < 5 else 0)
        while gate.admits(1, now):
            gate.sent(1)
            if running < free:
                gate.taken(1)
                running += 1
            else:
                gate.full(1, now, 1.0)
                refusals += 1
                now += 0.5
        if running == most:
            break
        if running:
            gate.released_by_end(1)
            running -= 1
        now += 1.0
    assert running == most


@pytest.mark.parametrize("slots", [1, 3])
def test_its_repr_tells_its_state(slots: int) -> None:
    gate = Gate()
    gate.sent(slots)
    assert f"sending={slots}" in repr(gate)


def test_what_was_learned_while_others_held_the_slots_is_forgotten() -> None:
    """Refused with nothing of ours running says nothing about our own limit, once a request goes through."""
    gate = Gate()
    gate.sent(1)
    gate.full(1, now=10.0, delay_s=1.0)
    assert (gate.limit, gate.refused_since) == (1, 10.0)
    assert not gate.admits(1, 10.5)
    gate.sent(1)
    gate.taken(1)
    assert (gate.limit, gate.refused_since, gate.running) == (None, None, 1)
    assert gate.admits(1, 11.5)


def test_a_task_of_an_earlier_run_holds_its_slots_and_widens_no_window() -> None:
    """It tells that a slot is taken; how many are allowed at once it does not tell."""
    gate = Gate(limit=3)
    gate.adopted(2)
    assert (gate.running, gate.sending, gate.window) == (2, 0, 4)
    assert admitted(gate) == 1
    unknown = Gate()
    unknown.adopted(5)
    assert admitted(unknown) == 4


@pytest.mark.parametrize("limit", [1, 4, 20])
def test_one_more_than_the_limit_is_tried_after_two_full_turns(limit: int) -> None:
    gate = Gate(limit=limit, running=3 * limit)
    for turn in range(1, 2 * limit):
        gate.released_by_end(1)
        assert (gate.limit, gate.released) == (limit, turn)
    gate.released_by_end(1)
    assert (gate.limit, gate.released, gate.running) == (limit + 1, 0, limit)
    for _ in range(9 * limit):
        gate.adopted(1)
        gate.released_by_end(1)
    assert gate.limit == limit + 1, "until that is answered nothing more is tried"


@pytest.mark.parametrize(("limit", "tries"), [(1, [2, 4, 8, 16, 32, 32]), (5, [10, 20, 32, 32]), (20, [40, 40, 40])])
def test_a_small_limit_is_tried_less_often_after_each_try_in_vain(limit: int, tries: list[int]) -> None:
    """At most one create in thirty is refused so, and one in eight of the first."""
    gate = Gate(limit=limit, running=limit)
    ends: list[int] = []
    since = 0
    while len(ends) < len(tries):
        gate.released_by_end(1)
        since += 1
        for _ in range(refused(gate, limit)):
            ends.append(since)
            since = 0
    assert ends == pytest.approx(tries, abs=limit / 2)


def test_a_limit_that_has_grown_is_found_within_a_few_ends() -> None:
    gate, most = Gate(limit=20, running=20), 100
    ends = in_vain = 0
    while gate.running < most:
        gate.released_by_end(1)
        ends += 1
        in_vain += refused(gate, most)
    assert ends <= 40 + 20, "forty until the first try, and then each end tries more"
    assert in_vain <= 25


def test_a_refusal_begins_the_turns_anew() -> None:
    gate = Gate(limit=3, running=2, sending=1, released=5)
    gate.full(1, NOW, 0.0)
    assert (gate.limit, gate.released, gate.running, gate.sending) == (2, 0, 2, 0)


def test_slots_are_counted_by_what_a_request_takes() -> None:
    gate = Gate(limit=9)
    gate.sent(3)
    gate.sent(3)
    assert gate.admits(3, NOW)
    assert not gate.admits(4, NOW)
    gate.taken(3)
    assert (gate.running, gate.sending, gate.window) == (3, 3, 7)
    gate.released_by_end(3)
    assert (gate.running, gate.released) == (0, 3)
    gate.full(3, NOW, 2.0)
    assert (gate.running, gate.sending, gate.shut_until) == (0, 0, NOW + 2.0)


def test_when_others_have_let_go_the_window_begins_anew() -> None:
    """What many acceptances of yesterday allowed at once is not known of the slots that others leave today."""
    gate = Gate(window=500, sending=1)
    gate.full(1, NOW, 1.0)
    gate.sent(2)
    gate.taken(2)
    assert (gate.limit, gate.window) == (None, 3)
    assert admitted(gate) == 3


def test_nothing_of_ours_is_sending_where_the_limit_is_not_known_so_one_may_always_go() -> None:
    gate = Gate(running=40)
    assert gate.admits(100, NOW)
    gate.sent(1)
    assert not gate.admits(100, NOW)
    assert gate.admits(3, NOW)
    assert not gate.admits(4, NOW)
    large = Gate()
    large.sent(3)
    assert not large.admits(3, NOW)


def test_a_new_gate_is_open_from_the_first_moment_of_the_loops_clock() -> None:
    assert Gate().shut_until == 0.0
    assert Gate().admits(1, 0.0) is True
    shut = Gate(sending=1)
    shut.full(1, 0.0, 1.0)
    assert shut.admits(1, 0.5) is False


def test_a_task_of_many_slots_that_ends_is_more_than_one_turn() -> None:
    gate = Gate(limit=2, running=7)
    gate.released_by_end(7)
    assert (gate.limit, gate.released) == (9, 0), "room for one more of its size is tried"


def test_larger_requests_are_not_shut_out_by_a_try_that_a_small_one_began() -> None:
    gate = Gate(limit=5, running=5)
    for _ in range(10):
        gate.released_by_end(1)
        gate.adopted(1)
    assert (gate.limit, gate.tried) == (6, 5)
    running = [1] * 5
    for _ in range(40):
        gate.released_by_end(running.pop(0))
        while gate.admits(4, NOW):
            gate.sent(4)
            gate.taken(4)
            running.append(4)
    assert gate.running >= 12, "the host takes everything"


def test_what_was_tried_in_vain_under_another_limit_does_not_count() -> None:
    gate = Gate(limit=1, running=1, patience=32.0, step=1)
    gate.released_by_end(1)
    gate.sent(1)
    gate.full(1, NOW, 1.0)
    gate.sent(1)
    gate.taken(1)
    assert (gate.limit, gate.patience, gate.step) == (None, 2.0, 1)


def test_a_limit_that_was_found_is_not_tried_at_every_end() -> None:
    """The limit is 101: of the many that go after a success most are refused, and then it is quiet."""
    gate, most = Gate(limit=100, running=100, tried=None, patience=0.0, step=24), 101
    in_vain = 0
    for _ in range(100):
        gate.released_by_end(1)
        in_vain += refused(gate, most)
    assert (gate.running, in_vain <= 25) == (most, True)


def test_what_may_have_been_accepted_proves_no_room() -> None:
    gate = Gate(limit=4, running=3, tried=3)
    gate.sent(1)
    gate.taken(1, surely=False)
    assert (gate.tried, gate.patience, gate.step) == (3, 2.0, 1)
    gate = Gate(limit=4, running=3, tried=3)
    gate.sent(1)
    gate.taken(1)
    assert (gate.tried, gate.patience) == (None, 0.0)
