"""Refusals: the service's codes, their HTTP statuses and their words.

Place: raised by auth, checks and service; turned into bytes by the dialect that speaks.
"""

import attrs

# code: (HTTP status, message). Source: service reference, "Error codes".
CODES: dict[int, tuple[int, str]] = {
    1000: (401, "authentication failed"),
    1001: (401, "Authorization is empty"),
    1002: (401, "Authorization is invalid"),
    1003: (401, "Authorization is not yet valid"),
    1004: (401, "Authorization has expired"),
    1100: (429, "account exception"),
    1101: (429, "account in arrears"),
    1102: (429, "resource pack used up or expired"),
    1103: (403, "unauthorized access to the requested resource"),
    1200: (400, "invalid request parameters"),
    1201: (400, "invalid parameter"),
    1202: (404, "the requested method is invalid"),
    1203: (404, "the requested resource does not exist"),
    1300: (400, "the platform policy was triggered"),
    1301: (400, "the content security policy was triggered"),
    1302: (429, "too many requests"),
    1303: (429, "parallel task over resource pack limit"),
    1304: (429, "the IP whitelist policy was triggered"),
    5000: (500, "internal error"),
    5001: (503, "service temporarily unavailable"),
    5002: (504, "internal timeout"),
}

# The code a bare HTTP status most likely carries; used for planned faults that name only a status.
CODE_OF_STATUS: dict[int, int] = {
    400: 1200,
    401: 1000,
    403: 1103,
    404: 1203,
    429: 1302,
    500: 5000,
    503: 5001,
    504: 5002,
}


@attrs.define(eq=False)
class Refusal(Exception):
    """The service says no: nothing was made.

    `code` is an int for the service itself and a word for a gateway's own refusals; `by_gateway` marks refusals
    that a gateway makes before the service is asked (credentials, channels).
    """

    code: int | str
    message: str
    status: int
    by_gateway: bool = False

    @classmethod
    def of(cls, code: int, message: str | None = None, status: int | None = None) -> "Refusal":
        """A refusal by a code of the table; words and HTTP status default to the table's."""
        known_status, known_message = CODES.get(code, (400, "error"))
        return cls(code, message or known_message, status or known_status)


def invalid(message: str) -> Refusal:
    """A 1201: some value is wrong; `message` says which."""
    return Refusal.of(1201, message)
