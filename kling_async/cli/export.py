"""`kling export`: a whole journal as JSON Lines.

Stage: door. Before: app. After: reading. Read and written page by page, so that its length does not matter.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

from ..models import Status
from ..reading import reading, to_line
from .connect import existing
from .exits import Exit, Fail
from .progress import counted
from .status import state_of
from .talk import Talk


def export(talk: Talk, journal: Path, *, out: Path | None, state: str | None, with_callbacks: bool) -> Exit:
    """Write every entry, or those in one state, to stdout or into a file, which is there whole or not at all.

    Raises:
        Fail: no journal, no such state, or a file that cannot be written.
        JournalError: the journal cannot be read.
        BrokenPipeError: nobody reads the output any more.
    """
    file, chosen = existing(journal), state_of(state)
    if out is None:
        asyncio.run(_write(file, sys.stdout, chosen, with_callbacks=with_callbacks))
        return Exit.DONE
    if out.exists() and (out.samefile(file) or not out.is_file()):
        raise Fail(f"{out} is {'the journal itself' if out.samefile(file) else 'not a file'}")
    try:
        number = _write_whole(file, out, chosen, with_callbacks=with_callbacks)
    except OSError as error:
        raise Fail(f"{out} cannot be written: {error.strerror}") from None
    talk.say(f"{counted(number, 'job')} written to {out}")
    return Exit.DONE


def _write_whole(file: Path, out: Path, state: Status | None, *, with_callbacks: bool) -> int:
    # For its owner only, as the journal is: prompts are in it, and links to what was made.
    descriptor, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            number = asyncio.run(_write(file, stream, state, with_callbacks=with_callbacks))
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return number


async def _write(file: Path, stream: TextIO, state: Status | None, *, with_callbacks: bool) -> int:
    number = 0
    async with reading(file, wall=time.time) as journal:
        async for entry in journal.entries(state):
            stream.write(to_line(entry, with_callbacks=with_callbacks) + "\n")
            number += 1
    return number
