"""`kling demo`: the whole path on this machine, against an emulator of the service, without an account.

Stage: door. Before: app. After: crew. The figures of the summary are counted by the emulator, not by the client.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from ..dialects import official
from ..emulator import Emulator, TaskRecord
from ..endpoints import find_endpoint
from ..endpoints.parts import CameraConfig, CameraControl, ReferenceImage
from ..endpoints.video import ImageToVideo, OmniVideo, TextToVideo
from ..models import Policy
from ..session import KlingSession
from .connect import make_folder
from .crew import Crew
from .exits import Exit
from .inputs import Entry
from .interrupt import Interrupt, run
from .picture import dusk
from .progress import Progress, clock, counted
from .report import end, summarise
from .talk import Talk
from .tally import Done, Tally

RUNNING_S = (6.0, 24.0)
"""How long the emulator's generations take, in its seconds; real ones take minutes."""
LOOP_EVERY_S = 5.0
"""Interval of the loop per task that the summary compares with: the session's own usual interval."""

_RECENT = 4
_PROMPTS = (
    "A happy scene of a vacation on the beach.",
    "Paper boats on a rain puddle, seen from very near.",
    "A fox crosses a frozen lake at dawn.",
    "Steam over a bowl of noodles in a night market.",
    "A lighthouse in a storm, waves over the rocks.",
    "An old tram climbs a steep street, oranges roll downhill.",
    "Dandelion seeds take off in slow motion.",
    "A potter's hands shape a vase, dust in the light.",
    "Hot-air balloons rise over a valley in the fog.",
    "A koi pond in the rain, rings on the water.",
)
_MOVES = (
    CameraControl(type="simple", config=CameraConfig(zoom=5)),
    CameraControl(type="simple", config=CameraConfig(horizontal=-4)),
    CameraControl(type="forward_up"),
    CameraControl(type="down_back"),
)
_RATIOS = ("16:9", "9:16", "1:1")
_SWEEP_S = 3.0  # shorter than usual: tasks end within seconds here, and somebody is watching


def demo(talk: Talk, *, out: Path, jobs: int, seed: int, speed: float) -> Exit:
    """Make some clips on this machine and tell what it took; the summary goes to stdout.

    Raises:
        Fail: the folder cannot be written.
    """
    folder = make_folder(out)
    picture = folder / "picture.png"
    picture.write_bytes(dusk())
    entries = make_entries(jobs, seed, picture)
    emulator = Emulator(dialect="official", seed=seed, speed=speed, duration_s=RUNNING_S)

    async def action(interrupt: Interrupt) -> Exit:
        async with emulator:
            talk.say(
                f"An emulator of the service listens on {emulator.url}: nothing leaves this machine, nothing is billed."
            )
            session = KlingSession(
                api_key=emulator.api_key,
                base_url=official(emulator.url),
                policy=Policy(sweep_s=_SWEEP_S, late_s=_SWEEP_S),
                seed=seed,
            )
            async with session:
                return await _work(talk, session, emulator, interrupt, out=folder, entries=entries)

    return run(action)


async def _work(
    talk: Talk, session: KlingSession, emulator: Emulator, interrupt: Interrupt, *, out: Path, entries: list[Entry]
) -> Exit:
    crew = Crew(session, interrupt, total=len(entries), out=out, on_done=lambda done: _say(progress, done))
    progress = Progress(talk, session, crew.tally, word="saved", recent=_RECENT)
    interrupt.when_signalled(progress.leave)
    async with progress.shown():
        await crew.work(entries)
    tally = crew.tally
    if interrupt.is_asked:
        talk.tell("Stopped. The emulator is gone with its tasks; nothing was billed.")
        return Exit.INTERRUPTED
    if tally.fine < tally.total:
        summarise(talk, tally, elapsed_s=progress.elapsed_s, word="saved", place=f" in {out}")
        return end(talk, crew, interrupted=False)
    for line in closing_words(tally, Figures.of(emulator), elapsed_s=progress.elapsed_s, out=out):
        talk.data(talk.plain(line))
    return Exit.DONE


def _say(progress: Progress, done: Done) -> None:
    for file in done.files:
        progress.note(f"{file.name}  {done.entry.note}")


# --- what is asked for ---------------------------------------------------------------------------------------------


def make_entries(jobs: int, seed: int, picture: Path) -> list[Entry]:
    """Make requests of three kinds, of several models, lengths and ratios; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - a show, no secret
    entries = []
    for number, request in enumerate(_requests(jobs, rng, picture), start=1):
        name = f"{number:02d}-{find_endpoint(request).name}"
        note = f"{request.model_name}, {request.duration} s"
        entries.append(Entry(label=f"job {number}", line=number, request=request, stem=name, note=note))
    return entries


def _requests(jobs: int, rng: random.Random, picture: Path) -> Iterator[Any]:
    kinds = (_from_words, _from_words, _from_picture, _from_words, _from_everything)
    for number in range(jobs):
        yield kinds[number % len(kinds)](number, rng, picture)


def _from_words(number: int, rng: random.Random, _picture: Path) -> TextToVideo:
    if number % 10 == 0:
        # The camera moves only where the service lets it: on this endpoint with kling-v1, std, 5 s.
        return TextToVideo(
            prompt=_PROMPTS[number % len(_PROMPTS)],
            model_name="kling-v1",
            duration="5",
            mode="std",
            aspect_ratio=_RATIOS[number % 3],
            camera_control=rng.choice(_MOVES),
        )
    model = rng.choice(("kling-v1-6", "kling-v2-5-turbo", "kling-v2-6", "kling-v3"))
    return TextToVideo(
        prompt=_PROMPTS[number % len(_PROMPTS)],
        model_name=model,
        duration=str(rng.randint(3, 15)) if model == "kling-v3" else rng.choice(("5", "10")),
        mode=rng.choice(("std", "pro")),
        aspect_ratio=_RATIOS[number % 3],
    )


def _from_picture(_number: int, rng: random.Random, picture: Path) -> ImageToVideo:
    model = rng.choice(("kling-v2-1", "kling-v2-6", "kling-v3"))
    return ImageToVideo(
        image=picture,
        prompt="The sun sets behind the dunes, sand drifts in the wind.",
        model_name=model,
        duration=str(rng.randint(3, 15)) if model == "kling-v3" else rng.choice(("5", "10")),
        mode=rng.choice(("std", "pro")),
    )


def _from_everything(number: int, rng: random.Random, picture: Path) -> OmniVideo:
    return OmniVideo(
        prompt="A caravan walks through the landscape of <<<image_1>>>.",
        image_list=(ReferenceImage(image_url=picture),),
        model_name=rng.choice(("kling-video-o1", "kling-v3-omni")),
        duration=str(rng.randint(3, 10)),
        aspect_ratio=_RATIOS[number % 3],
    )


# --- what it took --------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Figures:
    """What the emulator counted.

    Attributes:
        creates: create requests.
        queries: status queries of any form.
        downloads: files fetched.
        loop_queries: status queries that a loop per task would have made for the same tasks.
        clips_s: length of all clips, in seconds.
    """

    creates: int
    queries: int
    downloads: int
    loop_queries: int
    clips_s: float

    @classmethod
    def of(cls, emulator: Emulator) -> Figures:
        """Read the emulator's ledger and its log of requests."""
        kinds = Counter(request.kind for request in emulator.requests)
        return cls(
            creates=kinds["create"],
            queries=kinds["single"] + kinds["list"] + kinds["batch"] + kinds["cursor"],
            downloads=kinds["asset"],
            loop_queries=sum(loop_queries(record, emulator.speed) for record in emulator.tasks),
            clips_s=sum(float(record.body.get("duration", 5)) for record in emulator.tasks),
        )


def loop_queries(record: TaskRecord, speed: float) -> int:
    """Count the queries of a loop that asks about one task every 5 s until it sees the end: so many real seconds."""
    assert record.ended_at is not None
    running_s = (record.ended_at - record.created_at) / speed
    return int(running_s // LOOP_EVERY_S) + 1


def closing_words(tally: Tally, figures: Figures, *, elapsed_s: float, out: Path) -> list[str]:
    """Tell what was made, and at the price of how many requests."""
    loop, made = figures.loop_queries, figures.queries
    return [
        "",
        f"{counted(tally.fine, 'clip')}, {clock(figures.clips_s)} of video, made in {elapsed_s:.0f} s: {out}/",
        "",
        "  requests, as the emulator counted them    made   by a loop per task",
        f"    to create tasks                       {figures.creates:>6,}   {figures.creates:>6,}",
        f"    to ask how they stand                 {made:>6,}   {loop:>6,}   {loop / max(1, made):.1f} times as many",
        f"    to download clips                     {figures.downloads:>6,}   {figures.downloads:>6,}",
        "",
        f"  The loop asks about each task every {LOOP_EVERY_S:g} s of its running time, plus once.",
        "  Here one question is for all tasks of a kind: the difference grows with them.",
        "",
        f"  Look at one:      {out}/01-text2video-*.mp4",
        "  Your own, here:   kling emulator",
        '  With an account:  KLING_API_KEY=... kling generate "A fox on a frozen lake"',
    ]
