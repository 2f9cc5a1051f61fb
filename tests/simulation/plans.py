"""One seed, one plan: what the host can do, what users want, and what goes wrong when. Plain data, all of it drawn."""

from __future__ import annotations

import random
from typing import Any, Literal

import attrs

from kling_async.emulator import Fault

# A task is made no later than this after its request, and seen no later: within the settle window of 60 s.
_LATEST_COMMIT_S = 45.0
_LATEST_SIGHT_S = 8.0


@attrs.frozen(kw_only=True)
class Order:
    """One job that a user wants.

    Attributes:
        number: its place among all; also its scene.
        slot: which program wants it; a second one may want the same.
        name: given by the caller, or None: then it is wanted once, and not again after a crash.
        at: seconds after the program began.
        through_map: given to `map` with all others of its kind.
        new: of the new standard.
        timeout: of the job, seconds.
        waiters: how many wait for it.
        cancel_after: one of them is cancelled so many seconds after it began.
        abandon_after: the user gives it up.
    """

    number: int
    slot: int
    name: str | None
    at: float
    through_map: bool = False
    new: bool = False
    timeout: float | None = None
    waiters: int = 1
    cancel_after: float | None = None
    abandon_after: float | None = None


@attrs.frozen(kw_only=True)
class End:
    """How one run of a program ends before its time.

    Attributes:
        slot: which program.
        on: what brings it about: "time" (seconds since it began), "journal" (its n-th piece of work), "create" (the
            n-th create that the host receives after it began), "close" (as time, but it is closed in good order).
        at: the seconds, or n.
        ending: what its peers see.
        restart_s: until it runs again, seconds.
        is_known: whether others can tell that it ended, and need not wait for its lease.
    """

    slot: int
    on: Literal["time", "journal", "create", "close"]
    at: float
    ending: Literal["reset", "end", "silence"]
    restart_s: float
    is_known: bool


@attrs.frozen(kw_only=True)
class Plan:
    """A whole history before it happens. Moments are seconds since the start."""

    seed: int
    host: dict[str, Any]
    orders: tuple[Order, ...]
    ends: tuple[End, ...]
    faults: tuple[Fault, ...]
    faults_end: float
    cuts: tuple[float, ...]
    outages: tuple[tuple[float, float], ...]
    jumps: tuple[tuple[float, float], ...]
    pauses: tuple[tuple[int, float, float], ...]
    full_disk: tuple[float, float] | None
    latency: tuple[float, float]
    commit_s: tuple[float, float]
    has_journal: bool
    programs: int
    max_running: int | None
    lease_s: float
    adopts_first: bool

    def __str__(self) -> str:
        host = " ".join(f"{name}={value}" for name, value in self.host.items())
        head = f"seed {self.seed}: {self.programs} program(s), journal={self.has_journal}, lease {self.lease_s:g} s, "
        lines = [
            head + f"max_running={self.max_running}, latency {self.latency}, commits {self.commit_s}",
            f"host: {host}",
            *(f"order: {order}" for order in self.orders),
            *(f"end: {end}" for end in self.ends),
            *(f"fault: {_told(fault)}" for fault in self.faults),
        ]
        troubles = ("adopts_first", "cuts", "outages", "jumps", "pauses", "full_disk")
        lines += [f"{name}: {getattr(self, name)}" for name in troubles if getattr(self, name)]
        return "\n".join(lines)


def draw_plan(seed: int) -> Plan:
    """Draw the plan of a seed."""
    return _draw(random.Random(f"kling simulation {seed}"), seed)


def _draw(rng: random.Random, seed: int) -> Plan:
    programs = 2 if rng.random() < 0.2 else 1
    has_journal = programs == 2 or rng.random() < 0.8
    host = _host(rng)
    # The new standard has no other query than `/tasks`.
    new = host["dialect"] == "official" and host.get("batch", True) and rng.random() < 0.3
    orders = _orders(rng, programs, new=new)
    ends = _ends(rng, programs, len(orders)) if has_journal and rng.random() < 0.7 else ()
    faults = _faults(rng)
    faults_end = max((fault.until_s or 0.0 for fault in faults), default=0.0)
    latency = rng.choice([(0.0, 0.0), (0.01, 0.05), (0.05, 0.4), (0.0, 2.0)])
    return Plan(
        seed=seed,
        host=host,
        orders=orders,
        ends=ends,
        faults=faults,
        faults_end=faults_end,
        cuts=tuple(rng.uniform(0, 90) for _ in range(rng.choice([0, 0, 0, 2, 6]))),
        outages=tuple((at := rng.uniform(0, 60), at + rng.uniform(1, 40)) for _ in range(rng.choice([0, 0, 0, 1]))),
        jumps=tuple(
            (rng.uniform(0, 100), rng.choice([-3600.0, -30.0, 30.0, 3600.0]))
            for _ in range(rng.choice([0, 0, 0, 0, 2]))
        ),
        pauses=tuple(
            (rng.randrange(programs), rng.uniform(0, 60), rng.uniform(30, 200))
            for _ in range(rng.choice([0, 1, 2]) if programs == 2 else rng.choice([0, 0, 0, 0, 1]))
        ),
        full_disk=(at, at + rng.uniform(1, 30)) if has_journal and (at := rng.uniform(0, 400)) < 40 else None,
        latency=latency,
        commit_s=rng.choice([(0.0, 0.0), (0.001, 0.02), (0.01, 0.5), (0.0, 4.0), (1.0, 4.0)]),
        has_journal=has_journal,
        programs=programs,
        max_running=rng.choice([None, None, 1, 2, 4]),
        lease_s=60.0 if programs == 2 or rng.random() < 0.9 else 420.0,
        adopts_first=rng.random() < 0.4,
    )


def _host(rng: random.Random) -> dict[str, Any]:
    host: dict[str, Any] = {
        "dialect": rng.choice(["official", "official", "official", "cometapi", "new-api"]),
        "unique_external_ids": rng.random() < 0.3,
        "slots": rng.choice([None, None, 1, 2, 5]),
        "duration_s": (2.0, rng.choice([10.0, 30.0, 60.0])),
        "failure_rate": rng.choice([0.0, 0.0, 0.2]),
        "visible_after_s": rng.choice([0.0, 0.0, 2.0, _LATEST_SIGHT_S]),
    }
    if rng.random() < 0.15:
        host["external_lookup"] = False
    if rng.random() < 0.2:
        host["lists"] = False
    if rng.random() < 0.15:
        host["batch"] = False
    if rng.random() < 0.1:
        host["requests_per_s"] = 3.0
    return host


def _orders(rng: random.Random, programs: int, *, new: bool) -> tuple[Order, ...]:
    count = rng.choice([3, 3, 4, 5, 6, 8, 12, 25] if rng.random() < 0.5 else [3, 4, 5])
    spread = rng.choice([0.0, 5.0, 60.0])
    orders = []
    for number in range(count):
        slot = rng.randrange(programs)
        kind = rng.choice(["named", "named", "unnamed", "map"])
        order = Order(
            number=number,
            slot=slot,
            name=f"order-{number}" if kind == "named" else None,
            at=0.0 if kind == "map" else rng.uniform(0, spread),
            through_map=kind == "map",
            new=new and rng.random() < 0.7,
            timeout=rng.uniform(5, 200) if rng.random() < 0.15 else None,
            waiters=0 if kind == "map" else rng.choice([0, 1, 1, 2]),
            cancel_after=rng.uniform(0, 60) if rng.random() < 0.15 else None,
            abandon_after=rng.uniform(0, 90) if rng.random() < 0.1 and kind != "map" else None,
        )
        orders.append(order)
        if programs == 2 and order.name is not None and rng.random() < 0.4:
            orders.append(attrs.evolve(order, slot=1 - slot, at=rng.uniform(0, spread)))
    return tuple(orders)


def _ends(rng: random.Random, programs: int, orders: int) -> tuple[End, ...]:
    ends = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        on: Any = rng.choice(["time", "journal", "journal", "create", "create", "close"])
        at = {
            "time": rng.uniform(0, 90),
            "close": rng.uniform(0, 90),
            "journal": float(rng.randint(1, 6 * orders)),
            "create": float(rng.randint(1, orders)),
        }[on]
        ends.append(
            End(
                slot=rng.randrange(programs),
                on=on,
                at=at,
                ending=rng.choice(["reset", "end", "silence"]),
                restart_s=rng.choice([0.01, 1.0, 20.0, 100.0]),
                is_known=rng.random() < 0.7,
            )
        )
    return tuple(ends)


def _faults(rng: random.Random) -> tuple[Fault, ...]:
    return tuple(_fault(rng) for _ in range(rng.choice([0, 1, 2, 3, 4])))


def _fault(rng: random.Random) -> Fault:
    from_s = rng.choice([0.0, 0.0, rng.uniform(0, 60)])
    where: dict[str, Any] = {
        "kind": rng.choice(["create", "create", "create", "single", "list", "batch", None]),
        "rate": rng.choice([0.2, 0.5, 1.0]),
        "from_s": from_s,
        "until_s": from_s + rng.choice([3.0, 20.0, 70.0]),
    }
    if rng.random() < 0.3:
        where["times"] = rng.randint(1, 3)
    action: Any = rng.choice(
        ["reset", "reset", "close", "close", "hang", "truncate", "html", "status", "status", "garbage", "slow", "delay"]
    )
    stage: Any = rng.choice(["before", "after", "after"])
    more: dict[str, Any] = {}
    if action == "html":
        more["status"] = rng.choice([200, 502])
    elif action == "status":
        code = rng.choice([1302, 1303, 5000, 5001, 5002])
        more["code"] = code
        if code in {1302, 1303}:
            stage = "before"  # the service's word that nothing was made is true
            if rng.random() < 0.3:
                more["headers"] = {"Retry-After": "7"}
    elif action in {"slow", "delay"}:
        more["delay_s"] = rng.choice([1.0, 10.0, 30.0])
    if stage == "before" and where["kind"] in {"create", None} and action not in {"slow", "delay"}:
        refused = action == "status" and more["code"] in {1302, 1303}
        if not refused and rng.random() < 0.6:
            more["commit_after_s"] = rng.uniform(0, _LATEST_COMMIT_S)
    return Fault(action=action, stage=stage, **where, **more)


def _told(fault: Fault) -> str:
    fields = attrs.asdict(fault, filter=lambda field, value: value != field.default)
    return " ".join(f"{name}={value}" for name, value in fields.items())
