"""`kling bulk`: a file of prompts, or of requests as JSON Lines, into a folder of clips.

Stage: door. Before: app. After: crew. The whole file is checked before the first job is sent.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ..session import KlingSession
from .connect import Connection, make_folder
from .crew import Crew, Done
from .exits import Exit, Fail
from .inputs import Input, first_advice, refusal
from .interrupt import Interrupt, run
from .progress import Progress, counted
from .report import data_of, end, fields_of, summarise, told
from .talk import Talk

_RECENT = 3


def bulk(
    talk: Talk,
    connection: Connection,
    source: str,
    *,
    out: Path,
    max_running: int | None,
    timeout_s: float | None,
) -> Exit:
    """Make all that a file asks for; paths of files, ids and answers go to stdout as they come.

    Raises:
        Fail: the file, a line of it, the folder or the credentials are no good; nothing was sent.
        KlingError: the credentials or the host cannot be right; nothing was sent.
    """
    with closing(Input(source)) as given:
        session = connection.session(max_running=max_running, timeout_s=timeout_s)
        resume = None if connection.journal is None else connection.again("adopt", "--out", str(out))
        _check(given, session, strict=connection.strict)
        make_folder(out)
        talk.say(f"{counted(given.count, 'job')} from {given.name} ({given.kind}), to {session.host.name}")

        async def action(interrupt: Interrupt) -> Exit:
            async with session:
                return await _work(talk, session, given, interrupt, out, resume)

        return run(action)


def _check(given: Input, session: KlingSession, *, strict: bool) -> None:
    """Look at every line before anything is sent."""
    for entry in given.entries():
        refused = refusal(entry.request, session.host)
        if refused is not None:
            raise Fail(f"{given.name}, {entry.label}: {refused}. Nothing was sent.")
        advice = first_advice(entry.request, session.host) if strict else None
        if advice is not None:
            raise Fail(f"{given.name}, {entry.label}: {advice} (--strict). Nothing was sent.")


async def _work(
    talk: Talk, session: KlingSession, given: Input, interrupt: Interrupt, out: Path, resume: str | None
) -> Exit:
    crew = Crew(
        session,
        interrupt,
        total=given.count,
        out=out,
        on_done=lambda done: say(talk, progress, done),
        resume=resume,
    )
    progress = Progress(talk, session, crew.tally, word="saved", recent=_RECENT)
    interrupt.when_signalled(progress.leave)
    async with progress.shown():
        await crew.work(given.entries())
    interrupted = was_interrupted(crew, interrupt)
    summarise(talk, crew.tally, elapsed_s=progress.elapsed_s, word="saved", place=f" in {out}")
    return end(talk, crew, interrupted=interrupted)


def was_interrupted(crew: Crew, interrupt: Interrupt) -> bool:
    """Tell whether the user ended it early, and something was left."""
    left = crew.tally.open or crew.tally.unsent or crew.tally.kept
    return interrupt.is_asked and not crew.gave_up and bool(left)


def say(talk: Talk, progress: Progress, done: Done) -> None:
    """Put one end to stdout, or among the last ends of the display."""
    if talk.as_json:
        if done.is_sent and not done.is_open:
            talk.record(fields_of(done))
    elif done.error is None:
        for line in data_of(done, indent=None):
            talk.data(line)
    elif done.is_sent and not done.is_open:
        progress.note(f"{done.entry.label}: {told(done.error)}")
