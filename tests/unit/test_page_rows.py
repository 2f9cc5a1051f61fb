"""scheduler.py, rows: a page read whole tells each job just what reading every row of it with care would."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_async import Job, Observation, Policy, Status, TaskStatus, TextToVideo
from kling_async.auth import ApiKey, Secret
from kling_async.dialects import PRESETS
from kling_async.endpoints import find_endpoint
from kling_async.reach import Form
from kling_async.scheduler import Scheduler

ROW = find_endpoint("text2video")
MADE_MS = 1_790_000_000_000
CLIP = {"videos": [{"id": "v1", "url": "https://cdn.example/a.mp4", "duration": "5.1"}]}


class Place:
    """A scheduler that follows some jobs, and no loop."""

    def __init__(self, jobs: int = 3) -> None:
        transport: Any = type("Transport", (), {"host": PRESETS["global"], "credentials": ApiKey(Secret("key"))})()
        self.handles: dict[str, Job] = {}
        self.scheduler = Scheduler(
            transport,
            policy=Policy(),
            clock=lambda: 1000.0,
            rng=random.Random(7),
            handles=self.handles,
            address=lambda _job_id, url: url,
        )
        self.jobs = [
            Job(
                f"job-{number}",
                ROW,
                TextToVideo(prompt="a"),
                created_at=datetime.fromtimestamp(MADE_MS / 1000, UTC),
                status=Status.ACCEPTED,
                task_id=f"8{number}",
            )
            for number in range(jobs)
        ]
        for job in self.jobs:
            assert job.task_id is not None
            self.scheduler.follow(job, job.task_id, timeout_s=None)

    def at_once(self, rows: list[Any]) -> list[int]:
        return [index for index, _ in self.scheduler.rows(rows, Form.LIST, "r")]

    def with_care(self, rows: list[Any]) -> list[int]:
        """Read each row as if nothing had been seen before."""
        found = []
        for index, row in enumerate(rows):
            for track in self.scheduler._open.values():
                track.mark = None
            if self.scheduler.row(row, Form.LIST, None, "r"):
                found.append(index)
        return found

    def known(self) -> list[tuple[object, ...]]:
        return [(job.status, job.news, job.duplicates, repr(job.error), job.outcome is None) for job in self.jobs]


def told(job: Job) -> Observation:
    assert job.news is not None
    return job.news


def row(task_id: object = "80", word: object = "processing", at: object = MADE_MS, **more: object) -> dict[str, object]:
    return {"task_id": task_id, "task_status": word, "created_at": MADE_MS, "updated_at": at, **more}


def values(usual: list[object]) -> st.SearchStrategy[object]:
    hostile: list[object] = [None, "", 0, True, 1.5, [], {}, ["80"], "x" * 300, "a b", float(MADE_MS), str(MADE_MS), -1]
    return st.sampled_from(usual * 4 + hostile)


@st.composite
def rows_of_a_page(draw: st.DrawFn) -> list[dict[str, object]]:
    found = []
    for _ in range(draw(st.integers(1, 6))):
        entry: dict[str, object] = {}
        for name, usual in (
            ("task_id", ["80", "81", "82", "999"]),
            ("id", ["80", "999", 17]),
            ("task_status", ["submitted", "processing", "Processing", "succeed", "failed", "strange"]),
            ("status", ["processing", "succeeded"]),
            ("updated_at", [MADE_MS, MADE_MS + 1000, MADE_MS - 1000]),
            ("update_time", [MADE_MS + 2000]),
            ("created_at", [MADE_MS, MADE_MS + 5]),
            ("external_task_id", ["job-0", "job-1", "other"]),
            ("task_info", [{"external_task_id": "job-2"}, {"external_task_id": "other"}, {"external_task_id": ["x"]}]),
        ):
            is_usual = name in {"task_id", "task_status", "updated_at", "created_at"}
            if draw(st.sampled_from([True, True, is_usual, False])):
                entry[name] = draw(values(list(usual)))
        if entry.get("task_status") == "succeed":
            entry["task_result"] = CLIP
        found.append(entry)
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(rows_of_a_page(), min_size=1, max_size=4))
def test_reading_a_page_at_once_is_reading_each_of_its_rows(pages: list[list[dict[str, object]]]) -> None:
    fast, slow = Place(), Place()
    for page in pages:
        assert fast.at_once(page) == slow.with_care(page)
        assert fast.known() == slow.known()


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_row_that_repeats_itself_is_seen_and_not_read(place: Place) -> None:
    assert place.at_once([row(), row()]) == [0, 1]
    before = place.jobs[0].news
    track = place.scheduler._by_task["80"]
    track.misses = 3
    assert place.at_once([row(created_at="not read")]) == [0]
    assert place.jobs[0].news == before
    assert track.misses == 0, "it was seen"


def test_a_changed_word_is_read_though_the_time_stands_still(place: Place) -> None:
    place.at_once([row(word="submitted")])
    place.at_once([row(word="processing")])
    assert place.jobs[0].status is Status.PROCESSING
    place.at_once([row(word="succeed", task_result=CLIP)])
    assert place.jobs[0].result().url == "https://cdn.example/a.mp4"


def test_a_changed_time_is_read_though_the_word_stands_still(place: Place) -> None:
    place.at_once([row()])
    place.at_once([row(at=MADE_MS + 7000)])
    assert told(place.jobs[0]).updated_at == datetime.fromtimestamp(MADE_MS / 1000 + 7, UTC)


def test_an_end_is_read_each_time_until_its_files_are_there(place: Place) -> None:
    for _ in range(2):
        place.at_once([row(word="succeed")])
        assert place.jobs[0].outcome is None
    place.at_once([row(word="succeed", task_result=CLIP)])
    assert place.jobs[0].status is Status.SUCCEEDED
    assert place.handles == {"job-0": place.jobs[0]}, "what is not open any more is found with the session"


def test_a_row_without_a_time_is_read_each_time(place: Place) -> None:
    bare = {"task_id": "80", "task_status": "processing"}
    assert place.at_once([bare, bare]) == [0, 1]
    assert place.scheduler._by_task["80"].mark is None


def test_a_second_task_of_a_job_is_told_wherever_its_name_stands(place: Place) -> None:
    assert (
        place.at_once(
            [
                row("900", task_info={"external_task_id": "job-0"}),
                row("901", external_task_id="job-0"),
                row("902", external_id="job-1"),
                {**row("x y"), "id": "903", "external_id": "job-1"},
                row("904", task_info={"external_task_id": "another's"}),
                row("905", task_info="words"),
            ]
        )
        == []
    )
    assert place.jobs[0].duplicates == ("900", "901")
    assert place.jobs[1].duplicates == ("902", "903")


def test_a_single_answer_that_repeats_the_list_is_no_news(place: Place) -> None:
    place.at_once([row()])
    track = place.scheduler._by_task["80"]
    track.misses = 2
    assert place.scheduler.row(row(), Form.SINGLE, track.watch, "another")
    assert track.misses == 0
    assert told(place.jobs[0]).request_id == "r", "what was seen first is kept"


def test_what_is_kept_of_a_running_task_is_what_was_told(place: Place) -> None:
    place.at_once([row(task_info={"external_task_id": "job-0"}, at=MADE_MS + 1000)])
    assert told(place.jobs[0]) == Observation(
        task_id="80",
        external_id="job-0",
        status=TaskStatus.PROCESSING,
        word="processing",
        created_at=datetime.fromtimestamp(MADE_MS / 1000, UTC),
        updated_at=datetime.fromtimestamp(MADE_MS / 1000 + 1, UTC),
    )
    assert told(place.jobs[0]).raw == {}
