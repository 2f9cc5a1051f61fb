"""`kling generate`: one clip, or whatever else an endpoint makes or answers, from the command line.

Stage: door. Before: app. After: crew.
"""

from __future__ import annotations

from pathlib import Path

from .connect import Connection, make_folder
from .crew import Crew
from .exits import Exit, Fail
from .inputs import Entry, first_advice, refusal
from .interrupt import Interrupt, run
from .progress import Progress
from .report import data_of, end, fields_of, told
from .talk import Talk
from .tally import Done


def generate(talk: Talk, connection: Connection, request: object, *, out: Path | None, timeout_s: float | None) -> Exit:
    """Send one request; its URLs, with `out` its files, or its answer go to stdout.

    Raises:
        Fail: no credentials, an endpoint the host has not, a folder that cannot be written, or advice taken strictly.
        KlingError: the credentials or the host cannot be right.
    """
    session = connection.session(timeout_s=timeout_s)
    refused = refusal(request, session.host)
    if refused is not None:
        raise Fail(f"{refused}. Nothing was sent.")
    advice = first_advice(request, session.host) if connection.strict else None
    if advice is not None:
        raise Fail(f"{advice} (--strict). Nothing was sent.")
    folder = None if out is None else make_folder(out)
    entry = Entry(label="", line=1, request=request)
    resume = None
    if connection.journal is not None:
        resume = connection.again("adopt", *(() if out is None else ("--out", str(out))))

    async def action(interrupt: Interrupt) -> Exit:
        async with session:
            crew = Crew(session, interrupt, total=1, out=folder, on_done=lambda done: _say(talk, done), resume=resume)
            progress = Progress(talk, session, crew.tally, word="done")
            interrupt.when_signalled(progress.leave)
            async with progress.shown():
                await crew.work([entry])
            interrupted = interrupt.is_asked and not crew.gave_up and not crew.tally.fine
            return end(talk, crew, interrupted=interrupted)

    return run(action)


def _say(talk: Talk, done: Done) -> None:
    error = done.error
    if talk.as_json:
        talk.record(fields_of(done))
    elif error is None:
        for line in data_of(done):
            talk.data(line)
    if error is not None and not done.is_open and done.is_sent:
        talk.tell(f"Error, {told(error)}", "red")
        if done.result is not None:
            for line in data_of(done):
                talk.tell(f"It was made all the same: {line}", whole=True)
