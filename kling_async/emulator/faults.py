"""The fault plan: which requests go wrong, when and how, as data.

Place: asked once per request by the routes; `breakage.py` carries out what is picked here.
"""

import random
from collections.abc import Callable, Iterable, Mapping, MutableSequence
from fnmatch import fnmatchcase
from typing import Any, Literal, overload

import attrs

Action = Literal["status", "html", "reset", "close", "hang", "delay", "truncate", "garbage", "body", "slow", "alter"]
ACTIONS: tuple[Action, ...] = (
    "status",
    "html",
    "reset",
    "close",
    "hang",
    "delay",
    "truncate",
    "garbage",
    "body",
    "slow",
    "alter",
)
# What can happen to a connection before anything is read from it.
AT_ACCEPT: tuple[Action, ...] = ("reset", "close", "hang")
KINDS = ("create", "call", "single", "list", "batch", "cursor", "asset", "unknown")


def _ordinals(value: int | Iterable[int] | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, int) else tuple(value)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _headers(value: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(text)) for name, text in dict(value).items())


@attrs.frozen(kw_only=True)
class Fault:
    """One way to go wrong: what it matches, which of the matches it hits, and what then happens.

    What is not given matches everything. All of `kind`, `method`, `path`, `reused`, `from_s` and `until_s` must match;
    then `nth`, `every` and `rate` choose among the matches (all of them must agree; none given: every match), and
    `times` ends it.

    Attributes:
        action: what happens.
            `status`: an answer with `status` and an error body in the dialect's form, or `body`.
            `html`: an HTML page with `status`.
            `reset`: the connection is reset (RST). `close`: it is closed without an answer (FIN).
            `hang`: no answer until the caller goes, at most the emulator's `hang_s`.
            `delay`: everything normal, `delay_s` later.
            `truncate`: the answer breaks off after `keep` bytes (half of it when None), then FIN; `within` its head
            or its body, which is sent in one piece or `chunked`.
            `garbage`: `body`, or bytes that are no HTTP, in place of an answer; then FIN.
            `body`: `body` as `status` (200 when None) and application/json, whatever it is.
            `slow`: the normal answer, a few bytes of its head or its body (`within`) at a time, spread over `delay_s`.
            `alter`: the normal answer, but its task objects (only those about `task`, if given) get `values`, or are
            all left out or told twice (`rows`).
        stage: `before` the effect (a create makes nothing), or `after` it (the task exists, then it breaks).
            `delay`, `slow` and `alter` always let the effect happen. At `accept` it is the connection that is hit,
            before anything is read from it: by `reset`, `close` or `hang`, and what a request would be is not asked.
        kind: "create", "call" (synchronous, makes no task), "single", "list", "batch", "cursor", "asset" or "unknown".
        method: HTTP method, any case.
        path: glob over the path as received, prefix included ("*/text2video*").
        nth: ordinal or ordinals among the matches, from 1.
        every: every so-maniest match.
        rate: share of the matches, drawn from the emulator's seed.
        times: hits after which the fault is used up.
        reused: whether the request is one of the later ones on its connection; a server that closes such a one has
            just grown tired of an idle connection.
        from_s, until_s: window in emulated seconds since the start: from_s <= t < until_s.
        status: HTTP status; None is that of `code` or else 500 for `status`, 502 for `html`, 200 for `body`.
        code: the service's code, or a gateway's word ("insert_task_failed"); None is the usual one of `status`.
        message: words of the error; None is the usual ones.
        body: bytes or text to send.
        headers: added to whatever answer there is ({"Retry-After": "7"}).
        delay_s: emulated seconds, for `delay` and `slow`.
        keep: bytes of the head or the body that `truncate` sends.
        within: the part that `truncate` cuts and `slow` draws out: "head" or "body".
        chunked: whether `truncate` sends its body in chunks, and breaks off in the second.
        task: the task whose objects `alter` changes, by any of its ids; None: every one.
        values: fields and values that `alter` puts into a task object. None stands for JSON's null.
        rows: what `alter` does with a task object as a whole: "kept", "none" (the host does not know the task: left
            out of a list, and a single query for it answered so) or "twice" (of a list).
        effects: how many tasks a create makes that has its effect, each with the same external id.
        commit_after_s: with a `before` fault on a create: the task is made after all, so many emulated seconds
            later, when nobody is listening any more.
    """

    action: Action
    stage: Literal["accept", "before", "after"] = "before"
    kind: str | None = None
    method: str | None = None
    path: str | None = None
    nth: tuple[int, ...] | None = attrs.field(default=None, converter=_ordinals)
    every: int | None = None
    rate: float | None = None
    times: int | None = None
    from_s: float | None = None
    until_s: float | None = None
    status: int | None = None
    code: int | str | None = None
    message: str | None = None
    body: bytes | None = attrs.field(default=None, converter=_bytes)
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_headers)
    delay_s: float = 0.0
    keep: int | None = None
    within: Literal["head", "body"] = "body"
    chunked: bool = False
    reused: bool | None = None
    task: str | None = None
    values: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    rows: Literal["kept", "none", "twice"] = "kept"
    effects: int = 1
    commit_after_s: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"action must be one of {', '.join(ACTIONS)}, not {self.action!r}")
        if self.stage not in ("before", "after", "accept"):
            raise ValueError(f"stage must be before, after or accept, not {self.stage!r}")
        if self.kind is not None and self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.every is not None and self.every < 1:
            raise ValueError(f"every must be at least 1, not {self.every!r}")
        if self.commit_after_s is not None and self.stage != "before":
            raise ValueError("commit_after_s belongs to stage before: after it the task exists already")
        if self.stage == "accept":
            self._check_accept()
        if self.within not in ("head", "body"):
            raise ValueError(f"within must be head or body, not {self.within!r}")
        if self.rows not in ("kept", "none", "twice"):
            raise ValueError(f"rows must be kept, none or twice, not {self.rows!r}")
        if self.effects < 1 or (self.effects > 1 and not self.has_effect):
            raise ValueError("effects must be at least 1, and more only where there is one: stage after")

    def _check_accept(self) -> None:
        if self.action not in AT_ACCEPT:
            raise ValueError(f"at accept the action must be one of {', '.join(AT_ACCEPT)}, not {self.action!r}")
        if any(value is not None for value in (self.kind, self.method, self.path, self.reused)):
            raise ValueError("kind, method, path and reused are not known at accept: nothing was read yet")

    @property
    def has_effect(self) -> bool:
        """Whether what is asked for happens before the answer breaks."""
        return self.stage == "after" or self.action in ("delay", "slow", "alter")

    @classmethod
    def from_json(cls, value: object) -> "Fault":
        """The fault written as a JSON object with the attributes' names.

        Raises:
            ValueError: an unknown name, or a value that makes no sense.
        """
        if not isinstance(value, Mapping):
            raise ValueError("a fault is an object")  # noqa: TRY004 - one exception for all bad input
        names = {field.name for field in attrs.fields(cls)}
        unknown = sorted(str(name) for name in value if name not in names)
        if unknown:
            raise ValueError(f"unknown name in a fault: {', '.join(unknown)}")
        try:
            return cls(**dict(value))
        except TypeError as error:
            raise ValueError(str(error)) from None

    def matches(self, kind: str, method: str, path: str, since_start_s: float, *, reused: bool = False) -> bool:
        """Whether a request is of the sort that this fault is about."""
        return (
            self.stage != "accept"
            and (self.kind is None or self.kind == kind)
            and (self.method is None or self.method.upper() == method)
            and (self.path is None or fnmatchcase(path, self.path))
            and (self.reused is None or self.reused == reused)
            and self.is_in_force(since_start_s)
        )

    def is_in_force(self, since_start_s: float) -> bool:
        """Whether it is time for this fault."""
        return (self.from_s is None or since_start_s >= self.from_s) and (
            self.until_s is None or since_start_s < self.until_s
        )

    def __str__(self) -> str:
        """A short name for the request log: "reset after"."""
        return f"{self.action} {self.stage}"


@attrs.define
class _Armed:
    fault: Fault
    seen: int = 0
    hits: int = 0


class FaultPlan(MutableSequence[Fault]):
    """The faults in force, first match first; may be changed at any time like a list.

    Each entry counts on its own from the moment it is put in.
    """

    def __init__(self, faults: Iterable[Any] = ()) -> None:
        self._armed = [_Armed(fault) for fault in faults]

    def __repr__(self) -> str:
        return f"<FaultPlan [{len(self._armed)} faults | {sum(armed.hits for armed in self._armed)} hits]>"

    def __len__(self) -> int:
        return len(self._armed)

    @overload
    def __getitem__(self, index: int) -> Fault: ...
    @overload
    def __getitem__(self, index: slice) -> list[Fault]: ...
    def __getitem__(self, index: int | slice) -> Fault | list[Fault]:
        if isinstance(index, slice):
            return [armed.fault for armed in self._armed[index]]
        return self._armed[index].fault

    @overload
    def __setitem__(self, index: int, value: Fault) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[Fault]) -> None: ...
    def __setitem__(self, index: int | slice, value: Fault | Iterable[Fault]) -> None:
        if isinstance(index, slice) and not isinstance(value, Fault):
            self._armed[index] = [_Armed(fault) for fault in value]
        elif isinstance(index, int) and isinstance(value, Fault):
            self._armed[index] = _Armed(value)
        else:
            raise TypeError("one fault goes to an index, several go to a slice")

    def __delitem__(self, index: int | slice) -> None:
        del self._armed[index]

    def insert(self, index: int, value: Fault) -> None:
        """Put a fault before the one at `index`."""
        self._armed.insert(index, _Armed(value))

    def hits(self) -> int:
        """How many requests were hit by the faults now in force."""
        return sum(armed.hits for armed in self._armed)

    def pick(
        self, kind: str, method: str, path: str, since_start_s: float, rng: random.Random, *, reused: bool = False
    ) -> Fault | None:
        """The fault that hits this request, None when it stays whole.

        Every matching fault counts the request, but only the first willing one hits.
        """
        return self._first(lambda fault: fault.matches(kind, method, path, since_start_s, reused=reused), rng)

    def pick_at_accept(self, since_start_s: float, rng: random.Random) -> Fault | None:
        """The fault that hits this new connection, None when it stays whole."""
        return self._first(lambda fault: fault.stage == "accept" and fault.is_in_force(since_start_s), rng)

    def _first(self, matches: Callable[[Fault], bool], rng: random.Random) -> Fault | None:
        picked: Fault | None = None
        for armed in self._armed:
            fault = armed.fault
            if not matches(fault):
                continue
            armed.seen += 1
            # Drawn even when not needed, so that one fault's limits do not change another's luck.
            lucky = fault.rate is None or rng.random() < fault.rate
            if picked is None and lucky and _is_due(armed):
                armed.hits += 1
                picked = fault
        return picked


def _is_due(armed: _Armed) -> bool:
    fault = armed.fault
    if fault.times is not None and armed.hits >= fault.times:
        return False
    if fault.nth is not None and armed.seen not in fault.nth:
        return False
    return fault.every is None or armed.seen % fault.every == 0
