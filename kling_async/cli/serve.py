"""`kling emulator`: the service in a box on a port of this machine, until Ctrl-C; or a host recorded, or played back.

Stage: door. Before: app. After: emulator.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from ..dialects import find_host
from ..emulator import Emulator, Player, Recorder
from .exits import Exit, Fail
from .interrupt import Interrupt, run
from .talk import Talk


def serve(talk: Talk, emulator: Emulator) -> Exit:
    """Serve until a signal; the URL goes to stdout, how to use it to stderr.

    Raises:
        Fail: it cannot listen there.
    """

    def done() -> str:
        return f"Stopped after {len(emulator.tasks):,} tasks and {len(emulator.requests):,} requests; nothing is kept."

    return _stay(talk, emulator, (emulator.host, emulator.port), lambda: _tell(talk, emulator), done)


def record(talk: Talk, file: Path, to: str, *, host: str, port: int, keep_prompts: bool) -> Exit:
    """Hand on to a host what is asked here, and write it down, until a signal.

    Raises:
        Fail: there is such a file already, or it cannot listen there.
        ConfigError: `to` is no host.
    """
    target = find_host(to)
    word = "" if target.family == "gateway" else f"{target.family}:"
    recorder = Recorder(
        file,
        to=str(target.url.origin()),
        keep_prompts=keep_prompts,
        client=f"{word}{{url}}{target.prefix}",
        host=host,
        port=port,
    )

    def tell() -> None:
        talk.say(f"A proxy to {target.name}: what passes costs there what it costs, and is written to {file}.")
        talk.say(f"Keys and signatures are never written; prompts are {'kept' if keep_prompts else 'hashed'}.")
        _tell_use(talk, f"KLING_BASE_URL={recorder.base_url}", "with your key:")

    return _stay(talk, recorder, (host, port), tell, lambda: f"Recorded {recorder.count:,} exchanges in {file}.")


def replay(talk: Talk, file: Path, *, host: str, port: int) -> Exit:
    """Answer from a recording, until a signal.

    Raises:
        Fail: it cannot be read, is no recording, or it cannot listen there.
    """
    try:
        player = Player(file, host=host, port=port)
    except OSError as error:
        raise Fail(f"Cannot read {file}: {error.strerror}.") from None
    except ValueError as error:
        raise Fail(f"Cannot play {file}: {error}.") from None

    def tell() -> None:
        head = player.head
        talk.say(f"What {head.get('host')} answered, recorded {head.get('recorded_at')}: nothing is billed.")
        _tell_use(talk, f"KLING_API_KEY=any KLING_BASE_URL={player.base_url}", "in another terminal:")

    def done() -> str:
        return f"Stopped; {len(player.unmatched):,} requests were not in the recording."

    return _stay(talk, player, (host, port), tell, done)


def _stay(
    talk: Talk,
    served: Emulator | Recorder | Player,
    at: tuple[str, int],
    tell: Callable[[], None],
    done: Callable[[], str],
) -> Exit:
    async def action(interrupt: Interrupt) -> Exit:
        try:
            await served.__aenter__()
        except FileExistsError as error:
            raise Fail(f"{error.filename} is there already: choose another name, or remove it.") from None
        except (OSError, OverflowError) as error:
            raise Fail(_why(at, error)) from None
        try:
            talk.data(served.url)
            tell()
            await interrupt.wait()
            talk.say(done())
        finally:
            await served.__aexit__(None, None, None)
        return Exit.DONE

    return run(action)


def client_url(emulator: Emulator) -> str:
    """Give the base URL that a client on this machine uses, with the word for hosts that a URL alone does not tell."""
    return emulator.base_url


def _tell(talk: Talk, emulator: Emulator) -> None:
    talk.say(f"An emulator of the Kling API ({emulator.dialect}): nothing is billed, nothing kept.")
    talk.say(f"  API key                {emulator.api_key}")
    talk.say(f"  or access, secret key  {emulator.access_key}, {emulator.secret_key}")
    talk.say(f"  what it does           {emulator.url}/_emulator/")
    talk.say(f"                         {emulator.url}/_emulator/requests")
    _tell_use(talk, f"KLING_API_KEY={emulator.api_key} KLING_BASE_URL={client_url(emulator)}", "in another terminal:")


def _tell_use(talk: Talk, environment: str, where: str) -> None:
    talk.say(f"Try it {where}")
    talk.say(f'  {environment} kling generate "hello"', "bold", whole=True)
    talk.say("Ctrl-C stops it.")


def _why(at: tuple[str, int], error: Exception) -> str:
    host, port = at
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use: choose another with --port, or 0 for a free one."
    if number == errno.EACCES:
        return f"Port {port} needs more rights: choose one above 1023 with --port."
    told = error.strerror if isinstance(error, OSError) else "no such port"
    return f"Cannot listen on {host}, port {port}: {told}."
