"""A recording: what was asked of a host and what it answered, one exchange a line, without secrets or prompts.

Place: under record. Pure: bodies in, lines out, and back.

What is never kept: headers but the kind of an answer and its Retry-After, query strings and names in addresses, values
whose names speak of keys or tokens, the caller's own token wherever it stands, and inline files, of which length and
hash remain. Prompts become a hash, unless they are wanted: the same words the same hash, so that a replay knows them
again. A hash hides words from a reader, and not from somebody who guesses them.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

VERSION = 1

PROMPTS = frozenset({"prompt", "negative_prompt", "text"})
_NAMES = frozenset({"external_task_id", "external_id"})
_SECRET = re.compile(
    r"(?:^|[_-])(?:key|token|secret|password|signature|sign|sig|authorization|credential)s?$", re.IGNORECASE
)
_QUERY = re.compile(r"(https?://[^\s\"'<>?#]*)[?#][^\s\"'<>]*", re.IGNORECASE)
_USER = re.compile(r"(https?://)[^/@\s]*@", re.IGNORECASE)
_HIDDEN = "***"
_LONGEST = 4096  # characters of a text; what is longer is an inline file


def _pairs(pairs: Iterable[Iterable[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in pairs)


@attrs.frozen(kw_only=True)
class Exchange:
    """One request and its answer, as they are kept.

    Attributes:
        at: seconds since the recording began.
        method, path: as received.
        query: names and values.
        body: of the request, JSON; None where there was none.
        status: HTTP status; None where the host broke the connection.
        content_type: of the answer.
        retry_after: its header of that name, "" where there was none.
        answer: what was told, JSON; None where it was something else.
        text: the answer where it was no JSON.
    """

    at: float
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_pairs)
    body: Any = None
    status: int | None
    content_type: str = ""
    retry_after: str = ""
    answer: Any = None
    text: str | None = None

    def to_line(self) -> str:
        """The exchange as one line of JSON; what is empty is left out."""
        fields = {name: value for name, value in attrs.asdict(self).items() if value not in ("", None, ())}
        return json.dumps({"status": None, **fields}, ensure_ascii=False)


@attrs.frozen
class Scrubber:
    """Takes out of what was said whatever should not be kept.

    Attributes:
        keep_prompts: prompts stay as they are.
        secrets: texts that are hidden wherever they stand.
    """

    keep_prompts: bool = False
    secrets: tuple[str, ...] = ()

    def clean(self, value: Any, name: str = "") -> Any:
        """A value of JSON without what should not be kept; `name` is the field it stands in."""
        if isinstance(value, Mapping):
            return {self._plain(str(key)): self.clean(item, str(key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.clean(item, name) for item in value]
        if isinstance(value, str):
            return self._text(value, name)
        return value

    def pairs(self, query: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Names and values of a query string, cleaned."""
        return [(self._plain(name), self._text(value, name)) for name, value in query]

    def _text(self, text: str, name: str) -> str:
        if _SECRET.search(name):
            return _HIDDEN
        if name in PROMPTS and not self.keep_prompts:
            return f"sha256:{_hash(text)}"
        if len(text) > _LONGEST:
            return f"<{len(text)} characters, sha256 {_hash(text)}>"
        return self._plain(text)

    def _plain(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, _HIDDEN)
        return _USER.sub(r"\1", _QUERY.sub(r"\1", text))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def parse(body: bytes) -> Any:
    """The JSON of a body; None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def name_in(body: Any) -> str | None:
    """The external id that a request gives its task."""
    if isinstance(body, Mapping):
        for key, value in body.items():
            if key in _NAMES and isinstance(value, str):
                return value
            found = name_in(value)
            if found is not None:
                return found
    return None


def nameless(body: Any) -> Any:
    """A body without what differs from run to run: the external id, and where to call back."""
    if isinstance(body, Mapping):
        return {key: nameless(value) for key, value in body.items() if key not in _NAMES and key != "callback_url"}
    return [nameless(item) for item in body] if isinstance(body, list) else body


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A value of JSON in which every text that is one of the names is another."""
    if isinstance(value, Mapping):
        return {key: renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def head_line(host: str, recorded_at: str, *, keep_prompts: bool, client: str = "{url}") -> str:
    """The first line of a recording: what it is, of whom, and of when; and how a client writes such an address."""
    head = {"kling_recording": VERSION, "host": host, "recorded_at": recorded_at, "client": client}
    return json.dumps(head | {"prompts": "kept" if keep_prompts else "hashed"})


def read(lines: Iterable[str]) -> tuple[dict[str, Any], list[Exchange]]:
    """The head of a recording, and its exchanges.

    Raises:
        ValueError: it is no recording, or a line of it is damaged. A last line that was cut off is left out.
    """
    rows = list(lines)
    head = parse(rows[0].encode()) if rows else None
    if not isinstance(head, dict) or head.get("kling_recording") != VERSION:
        raise ValueError("this is no recording: its first line does not say so")
    exchanges = []
    for number, row in enumerate(rows[1:], start=2):
        fields = parse(row.encode())
        try:
            exchanges.append(Exchange(**fields))
        except TypeError:
            if number == len(rows) and not row.endswith("\n"):
                break
            raise ValueError(f"line {number} of the recording is damaged") from None
    return head, exchanges
