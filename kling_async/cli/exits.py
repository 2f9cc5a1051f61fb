"""How the command ends: its exit codes, and which error means which.

Stage: door. After: errors.
"""

from __future__ import annotations

from enum import IntEnum

from ..errors import (
    AccountError,
    AuthError,
    ConfigError,
    ConnectFailed,
    DownloadError,
    InvalidRequest,
    JournalError,
    KlingError,
)

NO_RIGHT = 1103  # no right to this model: says nothing about jobs with another one


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
    if isinstance(error, DownloadError) and isinstance(error.__cause__, AuthError):
        return Exit.REFUSED  # the file's URL had expired, and the host gave no other
    if isinstance(error, ConnectFailed):
        return Exit.UNREACHABLE
    if isinstance(error, ConfigError | InvalidRequest):
        return Exit.USAGE
    if error.paid == "maybe" and error.task_id is None:
        return Exit.UNRESOLVED
    return Exit.FAILED


def is_hopeless(error: KlingError) -> bool:
    """Tell whether every other job would meet the same: sending on would only repeat it, or hammer the host."""
    if isinstance(error, DownloadError):  # its URL had expired, and the host was asked for another
        return isinstance(error.__cause__, AuthError)
    if isinstance(error, AccountError):
        return error.code != NO_RIGHT
    return isinstance(error, AuthError | ConnectFailed | JournalError)


PAID = {"no": "not paid", "maybe": "perhaps paid", "yes": "paid"}
"""What `error.paid` is called in sentences."""
