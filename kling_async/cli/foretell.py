"""`kling bulk --dry-run`: what would be done, and what it would cost.

Stage: door. Before: bulk. After: plan. Nothing is sent, and nothing written.
"""

from __future__ import annotations

from pathlib import Path

from .exits import Exit
from .inputs import Input
from .manifest import plain_line
from .plan import Plan
from .progress import counted
from .rows import Origin
from .talk import Talk
from .tally import Done

_LONGEST_PROMPT = 60


def foretell(talk: Talk, plan: Plan, given: Input) -> Exit:
    """Tell what would be done, and what it would cost; jobs go to stdout."""
    plan.begin()
    before, new, others, wrong, left_out = plan.price, 0, 0, 0, 0
    for entry in plan.entries():
        origin: Origin = entry.row
        if entry.passed == "out":
            left_out += 1
            continue
        if entry.refused is not None:
            wrong += 1
            talk.tell(f"  {entry.label}: wrong: {entry.refused}", "red")
            continue
        if entry.passed is not None:
            others += 1
            continue
        is_new = plan.is_new(entry)
        new, others = new + is_new, others + (not is_new)
        line = plain_line(Done(entry=entry), Path())
        line |= {"status": "new" if is_new else "open", "paid": "no"}
        if talk.as_json:
            talk.record(line)
        else:
            price = "price not known" if origin.price is None or not origin.price.is_known else _usd(origin)
            prompt = str(origin.fields.get("prompt") or origin.fields.get("text") or "")
            words = [f"line {entry.line}", str(line["endpoint"]), str(line["model"] or "default model"), price]
            talk.data(talk.plain("  ".join([*words, _one_line(prompt)])))
    talk.tell(
        f"{counted(given.count - left_out, 'row')} of {given.name} ({given.told_kind}): "
        f"{new:,} to make, {others:,} made or begun before, or held back, {wrong:,} wrong. Nothing was sent.",
        "bold",
    )
    unknown = f"; {counted(plan.unpriced, 'job')} without a known price not counted" if plan.unpriced else ""
    talk.tell(f"By the price list {plan.price - before:.2f} USD at most for what is to make{unknown}.")
    if before:
        talk.tell(f"With what was made or begun before {plan.price:.2f} USD.")
    if plan.is_full:
        talk.tell(f"--max-cost {plan.max_cost} is reached: the rest would not be sent.", "bold")
    return Exit.USAGE if wrong else Exit.DONE


def _usd(origin: Origin) -> str:
    price = origin.price
    assert price is not None
    return f"{price.list_price} USD" if not price.is_range else f"{price.list_price_low} to {price.list_price} USD"


def _one_line(prompt: str) -> str:
    words = " ".join(prompt.split())
    return words if len(words) <= _LONGEST_PROMPT else f"{words[: _LONGEST_PROMPT - 3]}..."
