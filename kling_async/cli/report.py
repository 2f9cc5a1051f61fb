"""What is said at the end: what became of the jobs, which the service still has, and what was paid.

Stage: door. After: crew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ..endpoints import Endpoint, find_endpoint
from ..errors import KlingError, clean_text
from ..models import Asset, Status
from .crew import Crew
from .exits import PAID, Exit
from .progress import clock, counted
from .talk import Talk
from .tally import Done, Tally

_MOST_TOLD = 20


def fields_of(done: Done) -> Mapping[str, object]:
    """Give one end as plain data: the lines of --json."""
    job, error = done.job, done.error
    row = _row_of(done)
    plain: dict[str, object] = {
        "line": done.entry.line,
        "job_id": done.entry.job_id if job is None else job.id,
        "task_id": _task_of(done),
        "endpoint": None if row is None else row.name,
        "status": str(job.status)
        if job is not None
        else done.entry.state or ("succeeded" if done.answer or done.result else "rejected"),
        "urls": [] if done.result is None else list(done.result.urls),
        "files": [str(file) for file in done.files],
        "saved": [
            {"path": str(file.path), "kind": file.kind, "bytes": file.size_bytes, "sha256": file.sha256 or None}
            for file in done.saved
        ],
        "paid": error.paid if error is not None else "no" if row is not None and row.is_free else "yes",
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        "retryable": None if error is None else error.retryable,
    }
    if done.answer is not None:
        plain["answer"] = done.answer.raw
    living = _living(done)
    if living:
        told = ("kind", "id", "name", "url")
        plain["assets"] = [{name: getattr(asset, name) for name in told} for asset in living]
    return plain


def _row_of(done: Done) -> Endpoint | None:
    if done.job is not None:
        return done.job.row
    what = done.entry.request if done.result is None else done.result.endpoint
    return None if what is None else find_endpoint(what)


def _task_of(done: Done) -> str | None:
    if done.job is not None:
        return done.job.task_id
    if done.result is not None:
        return done.result.task_id
    return None if done.error is None else done.error.task_id


def data_of(done: Done, *, indent: int | None = 2) -> Iterator[str]:
    """Give what one end puts to stdout without --json: its files, else its URLs; ids of what lives on; an answer.

    Args:
        done: the end.
        indent: spaces before each level of an answer; None: all of it on one line.
    """
    if done.answer is not None:
        yield json.dumps(done.answer.raw, indent=indent)
    living = _living(done)
    for asset in living:
        yield "\t".join(clean_text(word) for word in (asset.id, asset.name, asset.url) if word)
    yield from (str(file) for file in done.files)
    if done.result is not None and not done.files and not living:
        yield from done.result.urls


def _living(done: Done) -> list[Asset]:
    """Give the voices and elements, whose ids are what one wants of them."""
    return [] if done.result is None else [a for a in done.result.assets if a.kind in {"voice", "element"}]


def told(error: KlingError) -> str:
    """Tell what an error cost, its task where there is one, and its words."""
    task = f", task {error.task_id}" if error.task_id else ""
    return f"{PAID[error.paid]}{task}: {error}"


def summarise(
    talk: Talk,
    tally: Tally,
    *,
    elapsed_s: float,
    word: str,
    place: str,
    everything: str = "--json tells all",
) -> None:
    """Tell what became of all jobs; failures one by one, up to a number; `everything` says where all are told."""
    made = tally.fine - tally.answered
    is_told = made or not (tally.answered or tally.before)
    parts = [f"{made:,} {word}{place if made else ''}"] if is_told else []
    for number, name in (
        (tally.answered, "answered"),
        (tally.before, "done before"),
        (tally.bad, "failed"),
        (tally.failed_before, "failed before"),
        (tally.held, "held back"),
        (tally.unsent, "not sent"),
        (len(tally.open), "still open"),
        (tally.kept, "waiting in the journal"),
        (tally.unseen, "not looked for"),
    ):
        if number:
            parts.append(f"{number:,} {name}")
    fine = tally.fine + tally.before
    style = "green" if fine == tally.total else "yellow" if fine else "red"
    talk.say(f"{counted(tally.total, 'job')} in {clock(elapsed_s)}: {', '.join(parts)}", f"bold {style}")
    if talk.as_json:
        return
    first = tally.first_told()
    for done in first:
        assert done.error is not None
        talk.tell(f"  {done.entry.label}: {_state_of(done)}, {told(done.error)}")
    if tally.bad > len(first):
        talk.tell(f"  ... and {tally.bad - len(first):,} more; {everything}")


def _state_of(done: Done) -> str:
    if done.job is not None:
        return str(done.job.status)
    if done.result is not None:
        return "not saved"
    return "refused" if done.entry.refused is None else "wrong"


def tell_open(talk: Talk, crew: Crew) -> None:
    """Tell what the service still has, and how to go on; also with --quiet, because it is paid for."""
    tally = crew.tally
    if crew.resume is not None:
        _tell_kept(talk, crew, crew.resume)
        return
    if tally.open:
        told_of = "it" if len(tally.open) == 1 else "them"
        talk.tell(f"{counted(len(tally.open), 'job')} left at the service, which goes on with {told_of}:", "bold")
    for done in tally.open:
        job, error = done.job, done.error
        assert error is not None
        if job is None:
            name = find_endpoint(done.entry.request).name
            talk.tell(f"  {name}, which is answered at once; the answer is lost, {PAID[error.paid]}")
            continue
        task = f"task {job.task_id}" if job.task_id else "no task known"
        talk.tell(f"  job {job.id}  {task}  {job.endpoint}  {job.status}  {PAID[error.paid]}", whole=True)
    followed = next((done.job for done in tally.open if done.job is not None and done.job.task_id), None)
    if followed is not None:
        talk.tell("To go on with one, in Python:")
        talk.tell(f'  result = await session.attach("{followed.task_id}", "{followed.endpoint}")', whole=True)
        talk.tell('  await session.download(result, "clips/")')
    if any(done.job is not None and done.job.task_id is None for done in tally.open):
        talk.tell(
            "Where no task is known, look for the job's id (its external id) in the account before sending it again."
        )
    if tally.unsent:
        talk.tell(f"{counted(tally.unsent, 'job')} not sent; nothing was paid for that.")


def _tell_kept(talk: Talk, crew: Crew, resume: str) -> None:
    """Tell what is left in the journal, and the command that goes on with it."""
    tally = crew.tally
    unsaved = [done for done in tally.open if done.result is not None or _is_made(done)]
    running = [done for done in tally.open if done not in unsaved]
    if running:
        told_of = "it" if len(running) == 1 else "them"
        talk.tell(f"{counted(len(running), 'job')} left at the service, which goes on with {told_of}:", "bold")
    for done in running[:_MOST_TOLD]:
        job, error = done.job, done.error
        assert error is not None
        if job is not None:
            task = f"task {job.task_id}" if job.task_id else "no task known yet"
            talk.tell(f"  job {job.id}  {task}  {job.endpoint}  {job.status}  {PAID[error.paid]}", whole=True)
    if len(running) > _MOST_TOLD:
        talk.tell(f"  ... and {len(running) - _MOST_TOLD:,} more; kling status tells all")
    if tally.kept:
        talk.tell(f"{counted(tally.kept, 'job')} waiting in the journal, to be sent or followed.")
    if unsaved:
        talk.tell(f"{counted(len(unsaved), 'job')} done, and not saved yet.")
    if tally.unsent:
        talk.tell(f"{counted(tally.unsent, 'job')} not begun, and not in the journal; nothing was paid for that.")
    if tally.unseen:
        talk.tell(f"{counted(tally.unseen, 'job')} done before, whose files were not looked for any more.")
    if running or tally.kept or unsaved or tally.unseen or (tally.unsent and resume.startswith("kling bulk ")):
        talk.tell("To go on:", "bold")
        talk.tell(f"  {_saving(resume) if unsaved or tally.unseen else resume}", whole=True)


def _saving(resume: str) -> str:
    return resume if " --missing" in resume or resume.startswith("kling bulk ") else f"{resume} --missing"


def _is_made(done: Done) -> bool:
    return done.job is not None and done.job.status is Status.SUCCEEDED


def end(talk: Talk, crew: Crew, *, interrupted: bool) -> Exit:
    """Tell what is open, and why it ended early, and choose the exit code."""
    tally = crew.tally
    if interrupted or tally.open or tally.kept or tally.unseen:
        tell_open(talk, crew)
    elif tally.unsent and not talk.is_quiet:
        talk.tell(f"{counted(tally.unsent, 'job')} not sent, because every other would have met the same.")
    if crew.resume is not None and tally.unsaved:
        talk.tell("To save what was not saved:", "bold")
        talk.tell(f"  {_saving(crew.resume)}", whole=True)
    if crew.trouble is not None:
        talk.tell(str(crew.trouble), "red")
        return crew.trouble.code
    return Exit.INTERRUPTED if interrupted else tally.exit_code()
