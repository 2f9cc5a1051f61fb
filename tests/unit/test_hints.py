"""hints.py: at most one query in five seconds for each task, and nothing that was told is lost."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kling_async.hints import GAP_S, Hints


def test_the_first_word_counts_at_once_and_the_second_waits() -> None:
    hints = Hints()
    assert hints.next_moment() is None
    hints.offer("a", 10.0)
    hints.offer("a", 10.0)
    assert (hints.next_moment(), hints.due(10.0), hints.due(10.0)) == (10.0, ["a"], [])
    hints.offer("a", 11.0)
    hints.offer("a", 12.0)
    assert (hints.next_moment(), hints.due(14.9), hints.due(15.0)) == (15.0, [], ["a"])
    assert repr(hints) == "<Hints [0 waiting]>"


def test_what_could_not_be_asked_waits_for_its_turn() -> None:
    hints = Hints()
    hints.offer("a", 0.0)
    assert hints.due(0.0) == ["a"]
    hints.put_back(["a"], 0.25)
    hints.put_back(["a"], 9.0)
    assert (hints.due(0.2), hints.due(0.25), hints.due(99.0)) == ([], ["a"], [])


def test_what_was_asked_in_vain_is_tried_three_times() -> None:
    hints = Hints()
    hints.offer("a", 0.0)
    tries = 0
    while (moment := hints.next_moment()) is not None:
        assert hints.due(moment) == ["a"]
        tries += 1
        hints.try_again(["a"], moment + GAP_S)
    assert tries == 3
    assert hints.tried("a") == 0
    hints.try_again(["a"], 0.0)
    assert hints.tried("a") == 1
    hints.forget("a")
    assert hints.tried("a") == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 4)), max_size=60))
def test_no_task_is_due_twice_within_the_gap_and_none_is_forgotten(words: list[tuple[str, float]]) -> None:
    """Whoever tells what: each task that was told of is due afterwards, and at most once in five seconds."""
    hints, now = Hints(), 0.0
    asked: dict[str, list[float]] = {}
    told_at: dict[str, float] = {}

    def ask(moment: float) -> None:
        for id_ in hints.due(moment):
            asked.setdefault(id_, []).append(moment)

    for id_, pause_s in words:
        now += pause_s
        ask(now)
        hints.offer(id_, now)
        told_at[id_] = now
        ask(now)
    while (moment := hints.next_moment()) is not None:
        ask(moment)
    for id_, moments in asked.items():
        assert all(later - former >= GAP_S - 1e-6 for former, later in pairwise(moments))
        assert moments[-1] >= told_at[id_]
    assert set(asked) == set(told_at)
    assert len(hints._asked_at) <= len(set("abc"))
