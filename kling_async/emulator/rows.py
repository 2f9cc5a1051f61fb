"""The form of an endpoint row, and the table of all of them.

Place: what the emulator serves. `legacy_rows.py` and `new_rows.py` fill the table; service and routes read it.
A new endpoint is one row more there.
"""

from collections.abc import Callable
from typing import Literal

import attrs

from .checks import Body, Field, Order, Rule, Standard
from .refusals import Refusal

Pack = Literal["video", "image", "try_on"]


@attrs.frozen(kw_only=True)
class Row:
    """One create endpoint and everything the emulator must know about it.

    `mean_s` is the mean time of a generation in seconds, `mean_s_of_model` the exceptions. `count_field` names the
    body field that says how many slots and results one task takes (images: `n`). `has_list` and
    `has_external_lookup` say what the service documents for this endpoint.
    """

    name: str
    path: str
    standard: Standard
    fields: tuple[Field, ...]
    read: Callable[["Row", Body], Order]
    rules: tuple[Rule, ...] = ()
    model: str = ""  # default version of the legacy standard; the only one of a new-standard path
    pack: Pack = "video"
    result: Literal["videos", "images"] = "videos"
    action: str = "generate"  # a new-api gateway's word for it
    mean_s: float = 300.0
    mean_s_of_model: dict[str, float] = attrs.field(factory=dict)
    count_field: str | None = None
    has_list: bool = True
    has_external_lookup: bool = True

    @property
    def family(self) -> str:
        """The name without a model: "text2video", "image-to-video"."""
        return self.name.partition("/")[0]

    def accept(self, body: Body, *, lenient: bool) -> Order:
        """Check a body and read the order out of it.

        With `lenient` nothing is checked; what cannot be read then counts as not given.

        Raises:
            Refusal: 1201 with a sentence.
        """
        if lenient:
            try:
                return self._ordered(body)
            except (Refusal, TypeError, ValueError):
                return self.read(self, {})
        for field in self.fields:
            field.check(body, self.standard)
        for rule in self.rules:
            rule(body)
        return self._ordered(body)

    def _ordered(self, body: Body) -> Order:
        order = self.read(self, body)
        if self.count_field is None:
            return order
        return attrs.evolve(order, count=int(body.get(self.count_field) or 1))
