"""How jobs ended, and the counts of it.

Stage: door. Before: crew. After: exits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..download import Saved
from ..errors import DownloadError, JobAbandoned, KlingError, SessionError
from ..job import Job
from ..models import Result
from .exits import Exit, exit_of
from .inputs import Entry, Passed

_MOST_TOLD = 20


@attrs.frozen(kw_only=True)
class Done:
    """What became of one entry.

    Attributes:
        entry: what was to be done.
        job: its job, if there was one.
        result: what the service made.
        saved: its files.
        answer: what the service answered, where it makes no task.
        error: why it is not as wished.
        accepted_at: when the service took it, Unix seconds, where this process saw it.
        ended_at: when it ended, likewise.
        plain: what was written down of it.
    """

    entry: Entry
    job: Job | None = None
    result: Result | None = None
    saved: tuple[Saved, ...] = ()
    answer: Any = None
    error: KlingError | None = None
    accepted_at: float | None = None
    ended_at: float | None = None
    plain: Mapping[str, object] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Where its files lie."""
        return tuple(file.path for file in self.saved if file.path is not None)

    @property
    def is_sent(self) -> bool:
        """Whether anything of it reached the service."""
        return not isinstance(self.error, JobAbandoned | SessionError) or self.error.paid != "no"

    @property
    def is_open(self) -> bool:
        """Whether the service goes on with it, or holds a clip that was not saved, because the session has ended."""
        return isinstance(self.error, SessionError) and self.error.paid != "no"


@attrs.define
class Tally:
    """Counts of what is done; only what needs to be told by name is kept.

    Attributes:
        total: jobs there are.
        submitted: jobs handed to the session.
        fine: jobs as wished.
        answered: those of them that were answered at once, so that there was nothing to save.
        asking: calls whose answer is waited for.
        saving: jobs being saved now.
        bad: number of jobs that failed.
        told: the first of them by their lines, as many as can be told one by one.
        codes: exit codes that their errors ask for.
        unsaved: whether any was made and could not be saved.
        open: jobs the service goes on with.
        unsent: jobs that were given up before they were sent.
        kept: jobs that were not sent, or not followed yet, and that wait in the journal.
        before: jobs that were as wished in an earlier run.
        failed_before: jobs that failed in an earlier run, and were left so.
        held: jobs that were not begun, because a bound of the user's was reached.
        unseen: jobs done before, whose files were not looked for any more.
    """

    total: int
    submitted: int = 0
    fine: int = 0
    answered: int = 0
    asking: int = 0
    saving: int = 0
    bad: int = 0
    told: list[Done] = attrs.field(factory=list)
    codes: set[Exit] = attrs.field(factory=set)
    unsaved: bool = False
    open: list[Done] = attrs.field(factory=list)
    unsent: int = 0
    kept: int = 0
    before: int = 0
    failed_before: int = 0
    held: int = 0
    unseen: int = 0

    def pass_over(self, why: Passed) -> None:
        """Count a job about which nothing is done."""
        if why == "out":
            self.total -= 1
            return
        self.submitted += 1
        self.before += why == "done"
        self.failed_before += why == "failed"
        self.held += why == "held"

    def add(self, done: Done, *, is_kept: bool = False) -> None:
        """Count one end; `is_kept`: what was not sent waits in a journal."""
        if done.error is None:
            self.fine += 1
            self.answered += done.answer is not None
        elif done.is_open:
            self.open.append(done)
        elif not done.is_sent and is_kept and done.job is not None:
            self.kept += 1
        elif not done.is_sent:
            self.unsent += 1
        else:
            self.bad += 1
            self.codes.add(exit_of(done.error))
            self.unsaved |= isinstance(done.error, DownloadError)
            self.told.append(done)
            if len(self.told) > 2 * _MOST_TOLD:
                self.told = self.first_told()

    def first_told(self) -> list[Done]:
        """Give the first failures by their lines, up to a number."""
        return sorted(self.told, key=lambda done: done.entry.line or 0)[:_MOST_TOLD]

    def exit_code(self) -> Exit:
        """Give the exit code: money that may be lost weighs more than a refusal, and that more than a failure."""
        codes = self.codes | {exit_of(done.error) for done in self.open if done.error is not None}
        for code in (Exit.UNRESOLVED, Exit.REFUSED, Exit.UNREACHABLE):
            if code in codes:
                return code
        left = self.open or self.unsent or self.kept or self.failed_before or self.held or self.unseen
        if codes == {Exit.USAGE} and not left:
            return Exit.USAGE
        return Exit.FAILED if self.bad or left else Exit.DONE
