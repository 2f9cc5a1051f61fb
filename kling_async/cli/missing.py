"""What the jobs of a journal have made, and which files of it a folder does not have yet.

Stage: door. Before: adopt, download. After: naming, reading. A journal is read page by page, and never held in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection
from pathlib import Path

import attrs

from ..dialects import Host
from ..download import Saved, find_saved, stems_of
from ..endpoints import find_endpoint
from ..errors import JobError
from ..journal import Entry as Recorded
from ..journal import Journal
from ..models import Result, Status
from ..reading import result_of
from .inputs import Entry
from .naming import entry_of, files_of, name_of
from .progress import counted
from .talk import Talk

_MANY = 20_000


def with_files(entry: Entry, result: Result, folder: Path) -> Entry:
    """Say of an entry what it is to save, or that its files are there."""
    row, files = find_endpoint(result.endpoint), files_of(result)
    saved = [
        Saved(there[0], asset.kind, there[1], "", there[0].name)
        for asset, stem in zip(files, stems_of(name_of(entry, result), len(files)), strict=True)
        if (there := find_saved(folder, stem)) is not None
    ]
    if not files or len(saved) < len(files):
        return attrs.evolve(entry, request=row, result=result)
    return attrs.evolve(entry, request=row, result=result, passed="done", saved=tuple(saved))


class Stock:
    """The jobs of a journal that have succeeded at one host, and their files in a folder.

    Theory. Files are named after jobs where the user named them. Two bulk runs on one journal may both have a row
    "lake": then neither file is called so, but each by its task as well, whichever of them is saved first. Otherwise
    the second would be taken for saved, or lie over the first.

    Args:
        journal: open.
        host: whose jobs count.
        folder: where files are looked for; it need not be there.

    Attributes:
        count: how many there are, once they were looked through.
        elsewhere: how many have succeeded at other hosts.
        tasks: job ids by those task ids that were looked for.
    """

    def __init__(self, journal: Journal, host: Host, folder: Path) -> None:
        self.count: int = 0
        self.elsewhere: Counter[str] = Counter()
        self.tasks: dict[str, str] = {}
        self._journal = journal
        self._host = host
        self._folder = folder
        self._names: set[int] = set()  # hashes: a hundred thousand names in a few megabytes
        self._shared: set[int] = set()

    async def look_through(self, talk: Talk, is_over: Callable[[], bool], *, tasks: Collection[str] = ()) -> None:
        """Count, and learn which names are shared.

        Args:
            talk: told where it takes long.
            is_over: tells whether nobody wants it any more.
            tasks: task ids to look for, whatever became of them.

        Raises:
            JournalError: it cannot be read.
        """
        number = sum((await self._journal.counts()).values())
        if number >= _MANY:
            talk.say(f"Reading the journal: {counted(number, 'job')}")
        async for recorded in self._journal.entries(None if tasks else Status.SUCCEEDED):
            if is_over():
                return
            has_succeeded = recorded.state is Status.SUCCEEDED
            task_id = recorded.task_id
            if task_id is not None and task_id in tasks and (has_succeeded or task_id not in self.tasks):
                self.tasks[task_id] = recorded.job_id
            if has_succeeded and recorded.host == self._host.name:
                self.count += 1
                self._learn_name(entry_of(recorded.job_id, recorded.metadata))
            elif has_succeeded:
                self.elsewhere[recorded.host] += 1

    async def entries(self, *, without: Collection[str] = ()) -> AsyncGenerator[Entry, None]:
        """Give an entry for each that has succeeded at the host; of most there is nothing to do.

        Args:
            without: ids of jobs to leave out.

        Raises:
            JournalError: it cannot be read.
        """
        async for recorded in self._journal.entries(Status.SUCCEEDED):
            if recorded.host == self._host.name and recorded.job_id not in without:
                entry = self.entry(recorded)
                is_empty = entry.result is not None and not files_of(entry.result)
                yield attrs.evolve(entry, passed="out") if is_empty else entry

    def entry(self, recorded: Recorded) -> Entry:
        """Say what there is to save of a job that has succeeded."""
        entry, result = entry_of(recorded.job_id, recorded.metadata), result_of(recorded, self._host)
        if result is None:
            told = "its result cannot be read from the journal: ask the host, with its task's id and --endpoint"
            return attrs.evolve(entry, refused=JobError(told, paid="yes", task_id=recorded.task_id))
        stem = name_of(entry, result)
        if entry.name is not None and self._is_shared(stem, len(files_of(result))):
            entry = attrs.evolve(entry, is_shared=True)
        return with_files(entry, result, self._folder)

    def _learn_name(self, entry: Entry) -> None:
        if entry.name is None:
            return
        name = _hash(name_of(entry, _NO_RESULT))
        (self._shared if name in self._names else self._names).add(name)

    def _is_shared(self, stem: str, number: int) -> bool:
        numbered = stems_of(stem, number) if number > 1 else ()
        return _hash(stem) in self._shared or any(_hash(other) in self._names for other in numbered)


_NO_RESULT = Result(assets=(), endpoint="", task_id="")


def _hash(stem: str) -> int:
    return hash(stem.casefold())  # some file systems tell no "Lake" from "lake"
