"""How the command ends: its exit codes, and which error means which.

Stage: door. After: errors.
"""

from __future__ import annotations

from enum import IntEnum

from ..errors import AccountError, AuthError, ConfigError, ConnectFailed, InvalidRequest, KlingError


class Exit(IntEnum):
    """Exit codes of every command; `kling --help` prints them."""

    DONE = 0
    FAILED = 1
    """Some jobs failed, or were not saved."""
    USAGE = 2
    """Options, input, credentials that are missing, a folder that cannot be written."""
    REFUSED = 3
    """The host refused the credentials or the account."""
    UNRESOLVED = 4
    """It could not be found out whether a submission made a task: money may have been spent."""
    UNREACHABLE = 5
    """The host cannot be reached."""
    INTERRUPTED = 130


class Fail(Exception):
    """Ends the command with one sentence for people and an exit code."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


def exit_of(error: KlingError) -> Exit:
    """Choose the exit code for one error.

    Args:
        error: of a job, or of the session.
    """
    if isinstance(error, AuthError | AccountError):
        return Exit.REFUSED
    if isinstance(error, ConnectFailed):
        return Exit.UNREACHABLE
    if isinstance(error, ConfigError | InvalidRequest):
        return Exit.USAGE
    if error.paid == "maybe" and error.task_id is None:
        return Exit.UNRESOLVED
    return Exit.FAILED


PAID = {"no": "not paid", "maybe": "perhaps paid", "yes": "paid"}
"""What `error.paid` is called in sentences."""
