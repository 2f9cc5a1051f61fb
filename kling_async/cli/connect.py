"""From options to an open session, and to a folder that can be written.

Stage: door. After: session. Before: crew.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ..models import Policy
from .exits import Fail

if TYPE_CHECKING:
    from ..dialects import Host
    from ..session import KlingSession

_NO_KEY = (
    "No credentials. Set KLING_API_KEY (or KLING_ACCESS_KEY and KLING_SECRET_KEY) in the environment, "
    "or give --api-key-file PATH.\nNo account? `kling demo` shows everything without one."
)
_GRACE_S = 5.0
_TRIAL_BYTES = 256 * 1024  # as much as a file gets at once


@attrs.frozen(kw_only=True)
class Connection:
    """What the options of the group "Host" say.

    Attributes:
        base_url: preset, URL, or a URL after "official:" or "new-api:", for a host that speaks so; None: the default.
        api_key_file: file that holds the key and nothing else.
        retry_for_s: seconds to try a host that cannot be reached.
        strict: make errors of warnings.
        journal: file that keeps the jobs; None: they end with the command.
    """

    base_url: str | None = None
    api_key_file: Path | None = None
    retry_for_s: float = 20.0
    strict: bool = False
    journal: Path | None = None

    def session(self, *, max_running: int | None = None, timeout_s: float | None = None) -> KlingSession:
        """Make the session, not opened yet.

        Raises:
            Fail: there are no credentials.
            ConfigError: they, or the host, cannot be right.
        """
        from ..session import KlingSession  # `kling --help` has no use for it

        key = self._key()
        if key is None and not any(os.environ.get(f"KLING_{kind}_KEY") for kind in ("API", "ACCESS", "SECRET")):
            raise Fail(_NO_KEY)
        return KlingSession(
            api_key=key,
            base_url=self.base_url or None,
            max_running=max_running,
            timeout=timeout_s,
            strict=self.strict,
            journal=self.journal,
            policy=Policy(unreachable_s=self.retry_for_s, grace_s=_GRACE_S),
        )

    def host(self) -> Host:
        """Tell the host without a key, as far as that is possible.

        Raises:
            ConfigError: there is none of that name.
        """
        from ..dialects import find_host

        has_pair = not os.environ.get("KLING_API_KEY") and os.environ.get("KLING_ACCESS_KEY")
        return find_host(self.base_url or os.environ.get("KLING_BASE_URL") or ("global" if has_pair else "cometapi"))

    def again(self, command: str, *options: str, journal: Path | None = None) -> str:
        """Spell a command that goes on with the journal, with the options that say where and with which key."""
        journal = journal or (self.journal if command != "bulk" else None)
        words = ["kling", command, *(() if journal is None else ("--journal", str(journal))), *options]
        if self.base_url and self.base_url != os.environ.get("KLING_BASE_URL"):
            words += ["--base-url", self.base_url]
        if self.api_key_file is not None:
            words += ["--api-key-file", str(self.api_key_file)]
        return shlex.join(words)

    def _key(self) -> str | None:
        if self.api_key_file is None:
            return None
        try:
            key = self.api_key_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Fail(f"--api-key-file {self.api_key_file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Fail(f"--api-key-file {self.api_key_file} is not a text file") from None
        if not key:
            raise Fail(f"--api-key-file {self.api_key_file} is empty")
        return key


def existing(journal: Path) -> Path:
    """Give a journal's file if it is there: a misspelt name must not become an empty journal.

    Raises:
        Fail: it is not.
    """
    if not journal.is_file():
        raise Fail(f"There is no journal at {journal}")
    return journal


def make_folder(path: Path) -> Path:
    """Make the output folder and try to write in it: better now than after the clips were paid for.

    Raises:
        Fail: it cannot be made, or not be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise Fail(f"{path} is not a folder") from None
    except OSError as error:
        raise Fail(f"cannot write to the folder {path}: {error.strerror}") from None
    try_folder(path)
    return path


def try_folder(path: Path) -> None:
    """Write a little into a folder.

    Raises:
        Fail: that is not possible.
    """
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(_TRIAL_BYTES))
    except OSError as error:
        raise Fail(f"cannot write to the folder {path}: {error.strerror}") from None
