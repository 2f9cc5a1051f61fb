"""The two outputs: data to stdout, words for people to stderr.

Stage: door. Foreign text (prompts, the service's words) is printed as text: never as markup, never as an escape.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from ..errors import BadEnvelope, RequestWarning, TransportError, clean_text

_LONGEST = 600
_MOST_WARNINGS = 10
_AGAIN_AFTER_S = 30.0
_BY_ENCODING = str.maketrans({"·": ",", "…": "...", "─": "-"})


class Talk:
    """What a command says, and where.

    Args:
        quiet: only errors, what was paid for, and data; no progress.
        as_json: data are JSON objects; no progress.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.as_json = as_json
        self.is_quiet = quiet
        self.is_live = False  # set while a display occupies the terminal that stderr is
        self.console: Console = Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def has_progress(self) -> bool:
        """Whether progress is wanted."""
        return not (self.is_quiet or self.as_json)

    @property
    def is_terminal(self) -> bool:
        """Whether people watch a terminal that can redraw lines."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def say(self, words: str, style: str = "", *, whole: bool = False) -> None:
        """Tell people something they can do without; not with --quiet."""
        if not self.is_quiet:
            self.tell(words, style, whole=whole)

    def tell(self, words: str, style: str = "", *, whole: bool = False) -> None:
        """Tell people something they must know; a `whole` line is to be copied, so it gets no line breaks of ours."""
        text = self.plain("\n".join(clean_text(line, _LONGEST) for line in words.split("\n")))
        self.console.print(Text(text, style=style), soft_wrap=whole or not self.is_terminal)

    def plain(self, words: str) -> str:
        """Spell words so that the terminal's encoding has them."""
        encoding = self.console.encoding
        if encoding.startswith("utf"):
            return words
        return words.translate(_BY_ENCODING).encode(encoding, "backslashreplace").decode(encoding)

    def data(self, line: str) -> None:
        """Write one line of data to stdout.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        if self.is_live and sys.stdout.isatty():
            self.console.print(Text(line), soft_wrap=True)  # above the display, instead of into it
            return
        try:
            sys.stdout.write(line + "\n")
        except UnicodeEncodeError:  # a folder whose name is no text, or a terminal that lacks a letter of it
            encoding = sys.stdout.encoding
            sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()

    def record(self, fields: Mapping[str, object]) -> None:
        """Write one JSON object to stdout; ASCII, so that it survives every encoding and holds no escapes."""
        self.data(json.dumps(fields, default=str))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Say the package's warnings and its log's troubles in plain sentences while the block runs."""
        handler = _Troubles(self)
        log = logging.getLogger("kling_async")
        level = log.level
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        shown: set[str] = set()

        def show(message: Warning | str, category: type[Warning], *_where: object, **_more: object) -> None:
            if not issubclass(category, RequestWarning):
                return
            words = str(message)
            if words not in shown and len(shown) <= _MOST_WARNINGS:
                shown.add(words)
                last = len(shown) > _MOST_WARNINGS
                self.say("Further warnings are not shown." if last else f"Warning: {words}", "yellow")

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", RequestWarning)
                warnings.showwarning = show
                yield
        finally:
            log.removeHandler(handler)
            log.setLevel(level)


class _Troubles(logging.Handler):
    """Says what the log tells of passing trouble, each kind at most twice a minute.

    The log is where the package tells of trouble that it deals with itself: records that carry a TransportError, and
    everything from WARNING on.
    """

    def __init__(self, talk: Talk) -> None:
        super().__init__(logging.INFO)
        self._talk = talk
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        trouble = next((argument for argument in arguments if _is_trouble(argument)), None)
        if record.levelno < logging.WARNING and trouble is None:
            return
        kind = record.msg if trouble is None else str(trouble)
        now = time.monotonic()
        if now - self._said.get(kind, -_AGAIN_AFTER_S) >= _AGAIN_AFTER_S:
            self._said[kind] = now
            words = record.getMessage() if record.levelno >= logging.WARNING else f"{trouble}; trying again"
            self._talk.say(words[:1].upper() + words[1:], "yellow")


def _is_trouble(argument: object) -> bool:
    """Tell passing trouble from the pages with which a host says that it lacks a form of query."""
    if isinstance(argument, BadEnvelope):
        return argument.http_status is None or argument.http_status >= 500
    return isinstance(argument, TransportError)


def drop_stdout() -> None:
    """Point stdout nowhere after its reader has left, so that the interpreter's last flush is silent."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # a stand-in of a test has none
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
