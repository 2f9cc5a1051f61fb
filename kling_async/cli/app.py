"""The commands and their options, as typer sees them; what they do is in the module of the same name.

Stage: door. Before: the shell. Imports of a command are made when it runs, so that `kling --help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .._version import __version__
from ..errors import KlingError
from ..models import Status
from .connect import Connection
from .exits import Exit, Fail, exit_of
from .talk import Talk, drop_stdout

_EPILOG = """\b
Examples:
  kling demo
  kling generate "A fox crosses a frozen lake at dawn." --out clips/
  kling generate "Waves on a pebble beach" --endpoint text-to-audio -d 5
  kling bulk shots.csv --out clips/ --dry-run
  kling bulk shots.csv --out clips/ --max-cost 20
  kling download --journal jobs.db --out clips/

\b
Exit codes:
    0  all done
    1  some jobs failed, or were not saved
    2  usage or input: an option, bad rows and nothing worse, no key, no such folder
    3  the host refused the credentials or the account
    4  not known whether a job was taken: money may have been spent
    5  the host cannot be reached
  130  interrupted; what the service still works on is told

Credentials come from KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY. Data go to stdout, words to stderr.
"""

app: typer.Typer = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)

_STATES = tuple(map(str, Status))
_MAKE, _KEEP, _TRY = "Make clips", "Jobs in a journal", "Try it without an account"
_CLIP, _OUTPUT, _HOST, _TAPE = "The request", "Output", "Host", "A real host, recorded"

BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        envvar="KLING_BASE_URL",
        metavar="HOST",
        help="cometapi, global, china, or a URL. Unset: cometapi with an API key, global with a key pair. "
        "A URL is taken for a gateway; official:URL and new-api:URL say otherwise.",
        rich_help_panel=_HOST,
    ),
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option("--api-key-file", metavar="PATH", help="File with the API key in it.", rich_help_panel=_HOST),
]
RetryFor = Annotated[
    float,
    typer.Option(
        "--retry-for",
        metavar="SECONDS",
        min=0.1,
        help="How long to try a host that cannot be reached.",
        rich_help_panel=_HOST,
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Refuse what is likely wrong for the model or host.", rich_help_panel=_HOST),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Longest time for a job.", rich_help_panel=_HOST),
]
Keep = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        metavar="FILE",
        help="Keep the jobs in this file, so that `kling adopt` goes on after a crash or Ctrl-C.",
        rich_help_panel=_OUTPUT,
    ),
]
Journal = Annotated[Path, typer.Option("--journal", metavar="FILE", help="File that keeps the jobs.")]
OneState = Annotated[
    str | None,
    typer.Option("--state", metavar="STATE", help="Only jobs in this state: " + ", ".join(_STATES) + "."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, and no progress.", rich_help_panel=_OUTPUT)]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only data, errors and what was paid.", rich_help_panel=_OUTPUT)
]


def carry_out(talk: Talk, action: Callable[[], Exit]) -> NoReturn:
    """Run what a command does, and end with its exit code; every expected trouble is one sentence on stderr."""
    try:
        with talk.listening():
            code = action()
        sys.stdout.flush()
    except Fail as error:
        talk.tell(f"Error: {error}", "red")
        code = error.code
    except KlingError as error:
        talk.tell(f"Error: {error}", "red")
        code = exit_of(error)
    except BrokenPipeError:
        drop_stdout()
        code = Exit.DONE
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    raise typer.Exit(int(code))


def _print_version(*, wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"kling_async {__version__}\n")
        raise typer.Exit


@app.callback(help="Clips, pictures and sounds from words and pictures: the Kling API, from the command line.")
def root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and leave.",
            is_eager=True,
            callback=lambda value: _print_version(wanted=value),
        ),
    ] = False,
) -> None:
    """Nothing but what all commands share."""


@app.command(rich_help_panel=_MAKE)
def generate(
    *,
    prompt: Annotated[str | None, typer.Argument(help="What to show or say; may be left out with a picture.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="As kling-v2-6.", rich_help_panel=_CLIP)
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--duration", "-d", metavar="SECONDS", help="Length.", rich_help_panel=_CLIP)
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="std, pro or 4k.", rich_help_panel=_CLIP)] = None,
    aspect_ratio: Annotated[
        str | None, typer.Option("--aspect-ratio", metavar="W:H", help="16:9, 9:16 or 1:1.", rich_help_panel=_CLIP)
    ] = None,
    negative_prompt: Annotated[
        str | None,
        typer.Option("--negative-prompt", metavar="TEXT", help="What to keep out.", rich_help_panel=_CLIP),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="PATH or URL", help="JPG or PNG: the first frame.", rich_help_panel=_CLIP),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Any other field, as `kling endpoints NAME` lists them; the value is JSON or text, and a.b=VALUE "
            "sets b within a. May be repeated.",
            rich_help_panel=_CLIP,
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="NAME",
            help="What to make: any name of `kling endpoints`. Unset: text2video, or image2video with --image.",
            rich_help_panel=_CLIP,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Save the files there. Unset: print their URLs.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    base_url: BaseUrl = None,
    api_key_file: ApiKeyFile = None,
    timeout: Timeout = None,
    retry_for: RetryFor = 20.0,
    strict: Strict = False,
    journal: Keep = None,
) -> None:
    """Make one clip, picture, sound or other thing, wait for it, and print its URLs or files.

    With --endpoint it reaches everything that `kling endpoints` lists; what
    makes no task is answered at once, and its answer is printed as JSON.
    """
    from .fields import request_from_options
    from .generate import generate as make

    talk = Talk(quiet=quiet, as_json=as_json)
    connection = Connection(
        base_url=base_url, api_key_file=api_key_file, retry_for_s=retry_for, strict=strict, journal=journal
    )
    given = {
        "prompt": prompt,
        "model_name": model,
        "duration": duration,
        "mode": mode,
        "aspect_ratio": aspect_ratio,
        "negative_prompt": negative_prompt,
        "image": image,
    }

    def action() -> Exit:
        request = request_from_options(endpoint, given, settings or [])
        return make(talk, connection, request, out=out, timeout_s=timeout)

    carry_out(talk, action)


@app.command(rich_help_panel=_MAKE)
def bulk(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV, JSON Lines, or one prompt per line; - is stdin.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Where everything is kept.", rich_help_panel=_OUTPUT),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="NAME", help="Of rows that name none.", rich_help_panel=_CLIP),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="Of rows that name none.", rich_help_panel=_CLIP),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TEMPLATE",
            help="Prompt of every row, with its columns in braces: 'A {animal} at {place}'.",
            rich_help_panel=_CLIP,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="A field of rows that do not give it. May be repeated.",
            rich_help_panel=_CLIP,
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="KIND", help="text, jsonl or csv. Unset: as the file looks."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="ROWS", help="Lines as 3,10-20, or states as failed, new, open, invalid."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell jobs and prices; send and write nothing.")] = False,
    max_cost: Annotated[
        str | None,
        typer.Option(
            "--max-cost",
            metavar="USD",
            help="Begin no job with which all of the folder, earlier runs included and unpaid failures not, would "
            "pass this by the price list.",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make again what failed or was refused, and was not paid.")
    ] = False,
    retry_unknown: Annotated[
        bool,
        typer.Option(
            "--retry-unknown",
            help="Make again also what was given up while it ran, or may have been taken: it may be paid twice.",
        ),
    ] = False,
    max_running: Annotated[
        int | None,
        typer.Option("--max-running", metavar="N", min=1, help="Most tasks at once.", rich_help_panel=_HOST),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    base_url: BaseUrl = None,
    api_key_file: ApiKeyFile = None,
    timeout: Timeout = None,
    retry_for: RetryFor = 20.0,
    strict: Strict = False,
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal", metavar="FILE", help="Keep the jobs there. Unset: DIR/.kling/jobs.db.", rich_help_panel=_OUTPUT
        ),
    ] = None,
) -> None:
    """Make a clip for each row of a file, and save each as it is done.

    Give the same command again and it goes on where it stopped: what is done
    is not made twice, and what is missing is fetched. Columns of CSV and names
    of a JSON object are fields of the request (`kling endpoints NAME` lists
    them), and {column} in a prompt is replaced. Of our own are "endpoint",
    "name" (of the files), "job_id", and what begins with _, a note. Paths are
    relative to the file. DIR/manifest.jsonl tells what became of each row.

    A row that is wrong is told and left out; with --strict nothing is sent
    then. Ctrl-C sends nothing more and waits for what runs; again, and that is
    left to go on at the service, for the next run to fetch.
    """
    from .bulk import Wishes, check_cost, check_kind
    from .bulk import bulk as make
    from .plan import Only
    from .rows import Recipe

    talk = Talk(quiet=quiet, as_json=as_json)
    connection = Connection(
        base_url=base_url, api_key_file=api_key_file, retry_for_s=retry_for, strict=strict, journal=journal
    )

    def action() -> Exit:
        wishes = Wishes(
            out=out,
            kind=check_kind(form),
            recipe=Recipe(endpoint=endpoint, prompt=prompt, settings=settings or (), model=model),
            only=Only.read(only),
            max_running=max_running,
            timeout_s=timeout,
            max_cost=check_cost(max_cost),
            retry_failed=retry_failed,
            retry_unknown=retry_unknown,
            dry_run=dry_run,
        )
        return make(talk, connection, file, wishes)

    carry_out(talk, action)


@app.command(rich_help_panel=_MAKE)
def endpoints(
    *,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show the fields of this one.")] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="As a table in Markdown.", rich_help_panel=_OUTPUT)
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List what can be made, or the fields of one of them."""
    from .listing import list_endpoints, show_endpoint

    talk = Talk(as_json=as_json)
    carry_out(talk, lambda: show_endpoint(talk, name) if name else list_endpoints(talk, as_markdown=as_markdown))


# --- journals ------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=_KEEP)
def status(
    *,
    journal: Journal,
    state: OneState = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Most jobs to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Tell how the jobs of a journal stand: counts, and the open ones.

    It reads the file only: no key, no network, and it may be asked while
    another process works on it. With --json one object: counts by state, and
    "jobs" with job_id, state, endpoint, host, task_id, created_at, age_s and
    held_by (null: nobody; `kling adopt` would take it).
    """
    from .status import status as tell

    talk = Talk(as_json=as_json)
    carry_out(talk, lambda: tell(talk, journal, state=state, limit=limit))


@app.command(rich_help_panel=_KEEP)
def adopt(
    *,
    journal: Journal,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Save the files there. Unset: print their URLs.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="Save also what ended before, and has no file in DIR.", rich_help_panel=_OUTPUT),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    base_url: BaseUrl = None,
    api_key_file: ApiKeyFile = None,
    retry_for: RetryFor = 20.0,
) -> None:
    """Go on with the open jobs of a journal, until they end.

    What was not sent is sent, what may have been sent is looked up first, and
    what has a task is asked about: nothing is made twice. Jobs of other hosts,
    and those that a running process holds, are left alone. Ctrl-C leaves the
    rest in the journal.
    """
    from .adopt import adopt as go_on

    talk = Talk(quiet=quiet, as_json=as_json)
    connection = Connection(base_url=base_url, api_key_file=api_key_file, retry_for_s=retry_for, journal=journal)

    def action() -> Exit:
        if missing and out is None:
            raise Fail("--missing needs --out DIR: the folder whose missing files are saved")
        return go_on(talk, connection, out=out, missing=missing)

    carry_out(talk, action)


@app.command(rich_help_panel=_KEEP)
def download(
    *,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="JOB_OR_TASK_ID", help="Which ones. Unset: all of the journal.", show_default=False),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Save the files there.", rich_help_panel=_OUTPUT)
    ],
    journal: Annotated[
        Path | None, typer.Option("--journal", metavar="FILE", help="File that knows the jobs; it is only read.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint", metavar="NAME", help="Without a journal: what made the tasks, a name of `kling endpoints`."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Without a journal: wait for tasks that still run, and save them too.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    base_url: BaseUrl = None,
    api_key_file: ApiKeyFile = None,
    retry_for: RetryFor = 20.0,
) -> None:
    """Save the files of jobs that are done, as far as DIR does not have them.

    Nothing is made and nothing is billed. Files are called as the command
    that made them called them; what is there under its name is kept. Where a
    URL has expired, the host is asked for another. With --json one object for
    each job, also for those whose files were there.

    A job that is not done is told, and left to `kling adopt`. Ctrl-C leaves
    no half file; the same command goes on.
    """
    from .download import Order
    from .download import download as save

    talk = Talk(quiet=quiet, as_json=as_json)
    connection = Connection(base_url=base_url, api_key_file=api_key_file, retry_for_s=retry_for, journal=journal)
    order = Order(ids=tuple(ids or ()), out=out, endpoint=endpoint, waits=wait)
    carry_out(talk, lambda: save(talk, connection, order))


@app.command(rich_help_panel=_KEEP)
def recover(
    *,
    journal: Journal,
    since: Annotated[
        float | None,
        typer.Option("--days", metavar="N", min=0, help="Only tasks made in the last N days. Unset: all listed."),
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(
            "--prefix",
            metavar="TEXT",
            help="Take external ids that begin so; may be repeated. Unset: ka-, of ids made up here.",
        ),
    ] = None,
    all_ids: Annotated[
        bool, typer.Option("--all", help="Take every task with an external id, as of jobs that you named.")
    ] = False,
    move_aside: Annotated[
        bool, typer.Option("--move-aside", help="If FILE is damaged, rename it and begin a new one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing, only list.", rich_help_panel=_OUTPUT)
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    base_url: BaseUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Make a lost journal again from the account's own lists of tasks.

    Each task that carries the id of one of our jobs is written down with its
    state and outcome; what FILE holds already is not changed, but for a job
    that has no task there and one at the host. What was never sent, and the
    requests themselves, cannot come back. Then go on with `kling adopt`.
    """
    from .recover import recover as make

    talk = Talk(quiet=quiet, as_json=as_json)
    connection = Connection(base_url=base_url, api_key_file=api_key_file, journal=journal)
    prefixes = [""] if all_ids else prefix

    carry_out(
        talk,
        lambda: make(talk, connection, days=since, prefixes=prefixes, move_damaged=move_aside, dry_run=dry_run),
    )


@app.command(rich_help_panel=_KEEP)
def export(
    *,
    journal: Journal,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write it there, whole or not at all. Unset: to stdout."),
    ] = None,
    state: OneState = None,
    with_callbacks: Annotated[
        bool, typer.Option("--with-callbacks", help="With callback URLs, which may hold secrets.")
    ] = False,
) -> None:
    """Write a journal as JSON Lines, in the order the jobs were recorded.

    One object per job, always with these fields: job_id, endpoint, host,
    state, task_id, attempt, created_at, sent_at, updated_at, timeout_s,
    request, fingerprint, metadata, outcome. Prompts and the URLs of results
    are in it; keys never are, and callback URLs only --with-callbacks.
    """
    from .export import export as write

    talk = Talk()
    carry_out(talk, lambda: write(talk, journal, out=out, state=state, with_callbacks=with_callbacks))


@app.command(rich_help_panel=_TRY)
def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where clips are saved.")] = Path(
        "kling-demo"
    ),
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, max=1000, help="How many clips.")] = 50,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed, the same show.")] = 1,
    speed: Annotated[float, typer.Option("--speed", metavar="X", min=0.1, help="Times as fast.")] = 1.0,
    quiet: Quiet = False,
) -> None:
    """Watch fifty jobs become clips, on this machine: about half a minute, nothing billed."""
    from .demo import demo as show

    talk = Talk(quiet=quiet)
    carry_out(talk, lambda: show(talk, out=out, jobs=jobs, seed=seed, speed=speed))


@app.command(rich_help_panel=_TRY)
def emulator(
    *,
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="N", min=0, max=65535, help="0 takes a free one.")
    ] = 8123,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    dialect: Annotated[
        str, typer.Option("--dialect", metavar="NAME", help="How it speaks: cometapi, official, new-api, ...")
    ] = "cometapi",
    speed: Annotated[
        float, typer.Option("--speed", metavar="X", help="Times as fast as real, where a clip takes minutes.")
    ] = 20.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of ids, times and failures.")] = 0,
    slots: Annotated[int | None, typer.Option("--slots", metavar="N", min=1, help="Tasks at once per model.")] = None,
    failure_rate: Annotated[
        float, typer.Option("--failure-rate", metavar="SHARE", min=0, max=1, help="Share of tasks that fail.")
    ] = 0.0,
    requests_per_s: Annotated[
        float | None, typer.Option("--requests-per-s", metavar="N", min=0.1, help="Above it: 1302.")
    ] = None,
    record_to: Annotated[
        Path | None,
        typer.Option(
            "--record", metavar="FILE", help="Hand on to the host of --to, and write it down.", rich_help_panel=_TAPE
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="HOST", help="The host to record; as KLING_BASE_URL.", rich_help_panel=_TAPE),
    ] = None,
    keep_prompts: Annotated[
        bool, typer.Option("--keep-prompts", help="Write prompts down as they are.", rich_help_panel=_TAPE)
    ] = False,
    replay_from: Annotated[
        Path | None,
        typer.Option("--replay", metavar="FILE", help="Answer from what was recorded.", rich_help_panel=_TAPE),
    ] = None,
    webhook_secret: Annotated[
        str | None,
        typer.Option(
            "--webhook-secret",
            metavar="WHSEC",
            help="Sign callbacks with it; they are posted to this machine only.",
            envvar="KLING_WEBHOOK_SECRET",
            show_envvar=True,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run the service in a box, for programs and tests, until Ctrl-C.

    /_emulator/ on it is a page that lists its tasks as they go. With --record
    or --replay it is a real host instead, through a proxy or from a file; of
    the other options only --port and --host count then.
    """
    from ..emulator import Emulator
    from .serve import record, replay, serve

    talk = Talk(quiet=quiet)

    def action() -> Exit:
        if record_to is not None and replay_from is not None:
            raise Fail("--record and --replay exclude each other")
        if (record_to is None) != (to is None):
            raise Fail("--record FILE needs --to HOST, and --to needs --record")
        if record_to is not None and to is not None:
            return record(talk, record_to, to, host=host, port=port, keep_prompts=keep_prompts)
        if replay_from is not None:
            return replay(talk, replay_from, host=host, port=port)
        try:
            box = Emulator(
                port=port,
                host=host,
                dialect=dialect,
                speed=speed,
                seed=seed,
                slots=slots,
                failure_rate=failure_rate,
                requests_per_s=requests_per_s,
                webhook_secret=webhook_secret.split() if webhook_secret else None,
            )
        except ValueError as error:
            raise Fail(str(error)) from None
        return serve(talk, box)

    carry_out(talk, action)
