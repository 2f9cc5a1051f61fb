"""`kling emulator`: the service in a box on a port of this machine, until Ctrl-C.

Stage: door. Before: app. After: emulator.
"""

from __future__ import annotations

import errno

from ..emulator import Emulator
from .exits import Exit, Fail
from .interrupt import Interrupt, run
from .talk import Talk


def serve(talk: Talk, emulator: Emulator) -> Exit:
    """Serve until a signal; the URL goes to stdout, how to use it to stderr.

    Raises:
        Fail: it cannot listen there.
    """

    async def action(interrupt: Interrupt) -> Exit:
        try:
            await emulator.__aenter__()
        except (OSError, OverflowError) as error:
            raise Fail(_why(emulator, error)) from None
        try:
            talk.data(emulator.url)
            _tell(talk, emulator)
            await interrupt.wait()
            made = len(emulator.tasks)
            talk.say(f"Stopped after {made:,} tasks and {len(emulator.requests):,} requests; nothing is kept.")
        finally:
            await emulator.__aexit__(None, None, None)
        return Exit.DONE

    return run(action)


def client_url(emulator: Emulator) -> str:
    """Give the base URL that a client on this machine uses, with the word for hosts that a URL alone does not tell."""
    url = emulator.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    return url if emulator.speech.prefix == "/kling" else f"official:{url}{emulator.speech.prefix}"


def _tell(talk: Talk, emulator: Emulator) -> None:
    talk.say(f"An emulator of the Kling API ({emulator.dialect}): nothing is billed, nothing kept.")
    talk.say(f"  API key                {emulator.api_key}")
    talk.say(f"  or access, secret key  {emulator.access_key}, {emulator.secret_key}")
    talk.say(f"  what it did            {emulator.url}/_emulator/tasks")
    talk.say(f"                         {emulator.url}/_emulator/requests")
    talk.say("Try it in another terminal:")
    talk.say(
        f'  KLING_API_KEY={emulator.api_key} KLING_BASE_URL={client_url(emulator)} kling generate "hello"',
        "bold",
        whole=True,
    )
    talk.say("Ctrl-C stops it.")


def _why(emulator: Emulator, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return f"Port {emulator.port} of {emulator.host} is in use: choose another with --port, or 0 for a free one."
    if number == errno.EACCES:
        return f"Port {emulator.port} needs more rights: choose one above 1023 with --port."
    told = error.strerror if isinstance(error, OSError) else "no such port"
    return f"Cannot listen on {emulator.host}, port {emulator.port}: {told}."
