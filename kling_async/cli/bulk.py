"""`kling bulk`: a table of prompts or requests into a folder of clips, again and again until all are there.

Stage: door. Before: app. After: folder, plan, crew. The folder holds all that is needed to go on: the jobs' journal and
the manifest.
"""

from __future__ import annotations

import asyncio
import time
import typing
from contextlib import ExitStack, closing, suppress
from decimal import Decimal
from pathlib import Path

import attrs

from ..dialects import Host
from ..errors import JournalError, SessionError
from ..reading import reading
from ..session import KlingSession
from .connect import Connection, make_folder
from .crew import Crew
from .exits import Exit, Fail
from .folder import Folder
from .foretell import foretell
from .inputs import KINDS, Input, Kind, first_advice
from .interrupt import Interrupt, run
from .ledger import Ledger
from .manifest import NAME, Manifest, key_of, plain_line
from .page import write_page
from .plan import Only, Plan
from .progress import Progress, counted
from .report import data_of, end, fields_of, summarise, told
from .rows import Maker, Recipe, check_columns
from .talk import Talk
from .tally import Done

_RECENT = 3
_PAGE_EVERY_S = 10.0
_PAGE_SHARE = 20.0  # of the time that one writing took


@attrs.frozen(kw_only=True)
class Wishes:
    """What the options of the command say.

    Attributes:
        out: the folder.
        kind: how the file is written; None: as it looks.
        recipe: what holds for all rows.
        only: which rows.
        max_running: most tasks at once.
        timeout_s: longest time for a job, seconds.
        max_cost: most that all jobs of the folder may cost by the price list, USD.
        retry_failed: make jobs again that failed or were refused, and cost nothing.
        retry_unknown: also those of which nobody knows whether they were paid for.
        dry_run: only tell what would be done.
    """

    out: Path
    kind: Kind | None = None
    recipe: Recipe = attrs.field(factory=Recipe)
    only: Only = attrs.field(factory=Only)
    max_running: int | None = None
    timeout_s: float | None = None
    max_cost: Decimal | None = None
    retry_failed: bool = False
    retry_unknown: bool = False
    dry_run: bool = False


def bulk(talk: Talk, connection: Connection, source: str, wishes: Wishes) -> Exit:
    """Make all that a file asks for and that is not there yet; paths of files, ids and answers go to stdout.

    Raises:
        Fail: the file, the folder or the credentials are no good, or with --strict a row; nothing was sent.
        KlingError: the credentials, the host or the journal cannot be right; nothing was sent.
    """
    folder = Folder(wishes.out)
    journal = connection.journal or folder.journal
    connection = attrs.evolve(connection, journal=journal)
    with closing(Input(source, wishes.kind)) as given, ExitStack() as stack:
        check_columns(given, wishes.recipe)
        session = (
            None if wishes.dry_run else connection.session(max_running=wishes.max_running, timeout_s=wishes.timeout_s)
        )
        host = connection.host() if session is None else session.host
        key = folder.known_key() or "00000000"
        if connection.strict:
            _check(given, wishes, host)
        if session is not None:
            make_folder(wishes.out)
            stack.enter_context(folder.locked())
            key = folder.key()
        ledger = stack.enter_context(Ledger(key))
        ledger.read_manifest(folder.path / NAME)
        maker = Maker(given, wishes.recipe, prefix=f"ka-bulk-{key}-", count=ledger.count)
        plan = Plan(given, maker, ledger, folder, host, wishes=wishes, key=key)
        if session is None:
            asyncio.run(_read_journal(ledger, journal, host))
            return foretell(talk, plan, given)
        resume = _resume(connection, source, wishes, None if journal == folder.journal else journal)
        work = _Work(talk, session, given, wishes, plan, ledger, folder, journal, resume)
        return run(work.run, drains=True)


def _check(given: Input, wishes: Wishes, host: Host) -> None:
    """Look at every row before anything is sent.

    Raises:
        Fail: one is wrong.
    """
    with Ledger("") as ledger:
        maker = Maker(given, wishes.recipe, prefix="", count=ledger.count)
        for row in given.rows():
            entry = maker.entry(row)
            told_of = entry.refused or first_advice(entry.request, host)
            if told_of is not None:
                raise Fail(f"{given.name}, {entry.label}: {told_of} (--strict). Nothing was sent.")


async def _read_journal(ledger: Ledger, journal: Path, host: Host) -> None:
    """Take what the journal tells of the folder's jobs.

    Raises:
        Fail: they were sent to another host.
        JournalError: it cannot be read.
    """
    if not journal.is_file() or not journal.stat().st_size:  # noqa: ASYNC240 - nothing else runs yet
        return
    async with reading(journal, wall=time.time) as file:
        number = 0
        async for entry in file.entries():
            is_ours = ledger.read_entry(entry)
            if is_ours and entry.host != host.name:
                raise Fail(
                    f"The jobs of this folder were sent to {entry.host}, and not to {host.name}: "
                    "go on there (--base-url), or choose another folder."
                )
            number += 1
            if number % 256 == 0:
                await asyncio.sleep(0)


def _resume(connection: Connection, source: str, wishes: Wishes, journal: Path | None) -> str:
    """Spell the command that goes on."""
    words = [source, "--out", str(wishes.out)]
    recipe = wishes.recipe
    for option, value in (
        ("--format", wishes.kind),
        ("--endpoint", recipe.endpoint),
        ("--model", recipe.model),
        ("--prompt", recipe.prompt),
        ("--max-running", wishes.max_running),
        ("--max-cost", wishes.max_cost),
        ("--only", wishes.only.text or None),
    ):
        words += [] if value is None else [option, str(value)]
    for pair in recipe.settings:
        words += ["--set", pair]
    return connection.again("bulk", *words, journal=journal)


# --- the work ------------------------------------------------------------------------------------------------------


class _Work:
    """One run over the file."""

    def __init__(
        self,
        talk: Talk,
        session: KlingSession,
        given: Input,
        wishes: Wishes,
        plan: Plan,
        ledger: Ledger,
        folder: Folder,
        journal: Path,
        resume: str,
    ) -> None:
        self._talk = talk
        self._session = session
        self._given = given
        self._wishes = wishes
        self._plan = plan
        self._ledger = ledger
        self._folder = folder
        self._journal = journal
        self._resume = resume

    async def run(self, interrupt: Interrupt) -> Exit:
        """Do it."""
        talk, given, out = self._talk, self._given, self._wishes.out
        with closing(Manifest(self._folder.path)) as manifest:
            async with self._session as session:
                await _read_journal(self._ledger, self._journal, session.host)
                self._plan.begin()
                self._plan.attach = session.attach
                talk.say(f"{counted(given.count, 'job')} from {given.name} ({given.told_kind}), to {session.host.name}")
                crew = Crew(
                    session,
                    interrupt,
                    total=given.count,
                    out=out,
                    on_done=lambda done: _say(talk, progress, done),
                    resume=self._resume,
                    keep=lambda done: self._keep(manifest, done),
                )
                progress = Progress(
                    talk, session, crew.tally, word="saved", recent=_RECENT, price=lambda: self._plan.price
                )
                interrupt.when_signalled(progress.leave)
                interrupt.when_draining(progress.drain)
                beside = [asyncio.create_task(manifest.keep_synced()), asyncio.create_task(self._keep_page())]
                try:
                    async with progress.shown():
                        await crew.work(self._plan.entries())
                finally:
                    for task in beside:
                        task.cancel()
                    await asyncio.wait(beside)
                with suppress(OSError):  # what goes on is in the journal
                    for done in crew.tally.open:
                        manifest.add(plain_line(attrs.evolve(done, saved=()), self._folder.path))
                interrupted = was_interrupted(crew, interrupt)
        self._write_page(is_over=True)
        everything = f"{self._folder.path / NAME} tells all"
        summarise(
            talk, crew.tally, elapsed_s=progress.elapsed_s, word="saved", place=f" in {out}", everything=everything
        )
        self._tell_money(crew)
        return end(talk, crew, interrupted=interrupted)

    async def _keep(self, manifest: Manifest, done: Done) -> Done:
        """Write an end into the manifest; what was not sent, or goes on, has not ended."""
        error = done.error
        is_kept = isinstance(error, SessionError) and done.job is not None
        if error is not None and error.paid == "no" and done.entry.refused is None and not is_kept:
            self._plan.give_back(done.entry)
        if isinstance(error, SessionError | JournalError) or not done.is_sent:
            return done
        plain = plain_line(done, self._folder.path)
        if plain["id"] is not None or not self._ledger.is_told(key_of(done.entry.line, _message_of(plain))):
            manifest.add(plain)
        return attrs.evolve(done, plain=plain)

    def _tell_money(self, crew: Crew) -> None:
        talk, plan, tally = self._talk, self._plan, crew.tally
        if tally.failed_before:
            talk.say(
                f"{counted(tally.failed_before, 'job')} failed in an earlier run; --retry-failed makes them again."
            )
        if tally.held:
            bound = f"--max-cost {self._wishes.max_cost}"
            talk.tell(
                f"{counted(tally.held, 'job')} not sent: with the next one the price of all would pass {bound}.", "bold"
            )
        unknown = f"; {counted(plan.unpriced, 'job')} without a known price not counted" if plan.unpriced else ""
        if plan.price or plan.unpriced:
            talk.say(f"By the price list {plan.price:.2f} USD at most for the jobs of this folder{unknown}.")

    async def _keep_page(self) -> None:
        pause_s = _PAGE_EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            began = time.monotonic()
            await asyncio.to_thread(self._write_page, is_over=False)
            pause_s = max(_PAGE_EVERY_S, _PAGE_SHARE * (time.monotonic() - began))  # it grows with the run

    def _write_page(self, *, is_over: bool) -> None:
        with suppress(OSError):  # a page that cannot be written is no reason to end a run
            write_page(self._folder.path, is_over=is_over, now=time.time(), total=self._given.count)


def _message_of(plain: dict[str, object]) -> str:
    error = plain["error"]
    return str(error.get("message", "")) if isinstance(error, dict) else ""


def was_interrupted(crew: Crew, interrupt: Interrupt) -> bool:
    """Tell whether the user ended it early, and something was left."""
    tally = crew.tally
    left = tally.open or tally.unsent or tally.kept or tally.unseen
    return (interrupt.is_asked or interrupt.is_draining) and not crew.gave_up and bool(left)


def _say(talk: Talk, progress: Progress, done: Done) -> None:
    if talk.as_json and done.plain is not None:
        talk.record(done.plain)
    elif not talk.as_json:
        say(talk, progress, done)


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


# --- options ---------------------------------------------------------------------------------------------------------


def check_cost(text: str | None) -> Decimal | None:
    """Read --max-cost.

    Raises:
        Fail: it is no amount.
    """
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except ArithmeticError:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise Fail(f"--max-cost {text}: write an amount in USD, as 12.50")
    return amount


def check_kind(text: str | None) -> Kind | None:
    """Read --format.

    Raises:
        Fail: there is none of that name.
    """
    if text is None or text in KINDS:
        return typing.cast("Kind | None", text)
    raise Fail(f"--format {text}: it must be one of {', '.join(KINDS)}")
