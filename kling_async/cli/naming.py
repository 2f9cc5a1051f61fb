"""How files are called: after their jobs, as whichever command saves them would call them.

Stage: door. Before: crew, missing. After: inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..models import Asset, Result
from ..session import ID_PREFIX
from .inputs import Entry

_LONGEST_NAME = 90  # of a file, without the number of the file and its ending


def entry_of(job_id: str, metadata: Mapping[str, object]) -> Entry:
    """Name an entry, and thereby its files, as the command did that submitted it."""
    line = metadata.get("line")
    line = line if isinstance(line, int) and not isinstance(line, bool) and line > 0 else None
    name = metadata.get("name")
    return Entry(
        label=f"job {job_id}",
        line=line,
        request=None,
        job_id=job_id,
        stem=None if line is None else f"{line:05d}",
        name=name if isinstance(name, str) else None if job_id.startswith(ID_PREFIX) else job_id,
        row=metadata,
    )


def name_of(entry: Entry, result: Result) -> str:
    """Name its files after its job where the user named it, else after line and task: nothing is overwritten."""
    named = entry.name if entry.row is not None else entry.job_id
    task = re.sub(r"[^A-Za-z0-9_-]", "_", result.task_id)[:80]
    if named is not None:
        stem = re.sub(r"\A[^A-Za-z0-9]", "x", named)
        return f"{stem[: _LONGEST_NAME - 1 - len(task)]}-{task}" if entry.is_shared else stem
    return re.sub(r"\A-", "_", task) if entry.stem is None else f"{entry.stem}-{task}"


def files_of(result: Result) -> tuple[Asset, ...]:
    """Give what of a result is to be saved."""
    # The picture of an element is one of those it was made of, and a voice need not have a specimen.
    return tuple(asset for asset in result.assets if asset.kind != "element" and (asset.url or asset.kind != "voice"))
