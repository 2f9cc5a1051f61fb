"""Where jobs stand, to be looked at and not followed: from a handle, or from what the journal says of a job.

Stage: front. Before: session. After: recorder. Nothing here asks a host, changes a journal or waits for a job, so it
serves as well for jobs that another process holds, and for those that ended long ago.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import attrs

from .endpoints import find_endpoint
from .errors import ConfigError, KlingError
from .job import Job
from .journal import Entry
from .models import Failed, Outcome, Result, Status, Succeeded
from .recorder import is_open, outcome_from


@attrs.frozen(kw_only=True)
class Snapshot:
    """A job at one moment.

    Attributes:
        id: our id of the job.
        endpoint: short name of its endpoint.
        status: where it stood. PROCESSING is known only to the process that follows the job; to others it is ACCEPTED.
        task_id: the service's id, once there is one.
        metadata: what the caller gave to `submit`.
        created_at: when it was submitted (UTC).
        result: what it delivers, if it has succeeded.
        error: why it does not deliver, if it will not.
        place: given by `history` as `before`, it leads to the jobs submitted before this one; else None.
    """

    id: str
    endpoint: str
    status: Status
    task_id: str | None = None
    metadata: Mapping[str, object] = attrs.field(factory=dict, repr=False)
    created_at: datetime
    result: Result | None = None
    error: KlingError | None = None
    place: int | None = attrs.field(default=None, eq=False, repr=False)

    def done(self) -> bool:
        """Tell whether it had ended."""
        return self.result is not None or self.error is not None


@attrs.frozen
class History:
    """Some jobs of a journal, the last submitted first.

    Attributes:
        jobs: the jobs.
        next: what to give as `before` for those that follow; None after the last.
    """

    jobs: tuple[Snapshot, ...]
    next: int | None


def of_job(job: Job) -> Snapshot:
    """Tell where a job of this session stands."""
    return _snapshot(job.id, job.endpoint, job.status, job.task_id, job.metadata, job.created_at, job.outcome)


def of_entry(entry: Entry, retention_s: float | None) -> Snapshot | None:
    """Tell where a job stands as the journal has it; None of a submission that was taken back before it was one.

    Args:
        entry: as read now.
        retention_s: for how long the host's URLs work.
    """
    if entry.state is Status.ABANDONED and is_open(entry):
        return None
    outcome: Outcome | None = None
    if entry.state.is_final:
        try:
            outcome = outcome_from(entry, find_endpoint(entry.endpoint), retention_s)
        except ConfigError as error:  # written by a release that knows more
            outcome = Failed(entry.state, KlingError(f"its end cannot be read by this release: {error}", paid="maybe"))
    created_at = datetime.fromtimestamp(entry.created_at, UTC)
    status = entry.state if outcome is None else outcome.status
    return _snapshot(entry.job_id, entry.endpoint, status, entry.task_id, entry.metadata, created_at, outcome)


def _snapshot(
    job_id: str,
    endpoint: str,
    status: Status,
    task_id: str | None,
    metadata: Mapping[str, object],
    created_at: datetime,
    outcome: Outcome | None,
) -> Snapshot:
    return Snapshot(
        id=job_id,
        endpoint=endpoint,
        status=status,
        task_id=task_id,
        metadata=metadata,
        created_at=created_at,
        result=outcome.result if isinstance(outcome, Succeeded) else None,
        error=outcome.error.anew(job_id=job_id, task_id=task_id) if isinstance(outcome, Failed) else None,
    )
