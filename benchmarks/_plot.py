"""Plots as SVG, by a hundred lines instead of a library: panels with logarithmic axes, lines, marks and a legend.

Colours are told apart by most colour-blind readers, marks repeat what they say, and both a light and a dark page get
a background of their own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIGHT = ("#d1242f", "#0969da", "#bc6c00", "#1a7f37", "#8250df", "#59636e")
_DARK = ("#ff7b72", "#58a6ff", "#e3a63c", "#56d364", "#bc8cff", "#9198a1")


def _colors(colors: Sequence[str]) -> str:
    return " ".join(f".l{n} {{ stroke: {color}; }} .m{n} {{ fill: {color}; }}" for n, color in enumerate(colors))


_STYLE = f"""
  text {{ font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }} .head {{ font-weight: 600; }}
  .page {{ fill: #ffffff; }} .ink {{ fill: #1f2328; }} .soft {{ fill: #59636e; }}
  .grid {{ stroke: #d1d9e0; stroke-width: 1; }} .axis {{ stroke: #59636e; stroke-width: 1; fill: none; }}
  .line {{ fill: none; stroke-width: 1.8; }} .bound {{ stroke-dasharray: 5 4; }}
  {_colors(_LIGHT)}
  @media (prefers-color-scheme: dark) {{
    .page {{ fill: #0d1117; }} .ink {{ fill: #f0f6fc; }} .soft {{ fill: #9198a1; }}
    .grid {{ stroke: #2f353d; }} .axis {{ stroke: #9198a1; }}
    {_colors(_DARK)}
  }}
"""
_WIDE, _HIGH = 400, 300  # of the drawing area of one panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 34, 58, 52
_LEGEND_LINE = 18


@attrs.frozen
class Series:
    """Points of one sort: (x, y), both above zero.

    Attributes:
        color: 0 to 5.
        mark: 0 circle, 1 square, 2 triangle; None: no marks.
        is_bound: a bound and not something measured; drawn dashed.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: int
    mark: int | None = 0
    is_bound: bool = False


@attrs.frozen
class Panel:
    """One pair of axes, both logarithmic."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


@attrs.frozen
class _Axis:
    low: float
    high: float
    length: float

    def at(self, value: float) -> float:
        """Give the distance from its begin."""
        return self.length * math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """Give the values that are written beside it: powers of ten, and 2 and 5 between if there are few."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        steps = (1, 2, 5) if last - first <= 2 else (1,)
        all_ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        return [tick for tick in all_ticks if self.low * 0.999 <= tick <= self.high * 1.001]


def _axis(values: Sequence[float], length: float) -> _Axis:
    low, high = min(values), max(values)
    margin = 1.25
    decade_low, decade_high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
    return _Axis(max(decade_low, low / margin), min(max(decade_high, decade_low * 10), high * margin), length)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _mark(kind: int, x: float, y: float, style: str) -> str:
    if kind == 0:
        return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    if kind == 1:
        return f'<rect class="{style}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    return f'<path class="{style}" d="M{x:.1f} {y - 5:.1f} l5 9 h-10 z"/>'


def _draw_series(series: Series, across: _Axis, up: _Axis, left: float, bottom: float) -> list[str]:
    places = [(left + across.at(x), bottom - up.at(y)) for x, y in sorted(series.points)]
    drawn: list[str] = []
    if len(places) > 1:
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        dashed = " bound" if series.is_bound else ""
        drawn.append(f'<path class="line l{series.color}{dashed}" d="M{path}"/>')
    if series.mark is not None:
        drawn += [_mark(series.mark, x, y, f"m{series.color}") for x, y in places]
    return drawn


def _draw_panel(panel: Panel, left: float, top: float) -> list[str]:
    points = [point for series in panel.series for point in series.points]
    across, up = _axis([x for x, _ in points], _WIDE), _axis([y for _, y in points], _HIGH)
    bottom = top + _HIGH
    drawn = [f'<text class="ink head" x="{left}" y="{top - 12}">{escape(panel.title)}</text>']
    for tick in across.ticks():
        x = left + across.at(tick)
        drawn.append(f'<path class="grid" d="M{x:.1f} {top} V{bottom}"/>')
        drawn.append(f'<text class="soft" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_number(tick)}</text>')
    for tick in up.ticks():
        y = bottom - up.at(tick)
        drawn.append(f'<path class="grid" d="M{left} {y:.1f} H{left + _WIDE}"/>')
        drawn.append(f'<text class="soft" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    drawn.append(f'<path class="axis" d="M{left} {top} V{bottom} H{left + _WIDE}"/>')
    middle_x, middle_y = left + _WIDE / 2, top + _HIGH / 2
    drawn.append(
        f'<text class="ink" x="{middle_x}" y="{bottom + 38}" text-anchor="middle">{escape(panel.x_label)}</text>'
    )
    turned = f'transform="rotate(-90 {left - 52} {middle_y})"'
    drawn.append(
        f'<text class="ink" x="{left - 52}" y="{middle_y}" text-anchor="middle" {turned}>{escape(panel.y_label)}</text>'
    )
    for series in panel.series:
        drawn += _draw_series(series, across, up, left, bottom)
    return drawn


def draw(title: str, panels: Sequence[Panel], notes: Sequence[str]) -> str:
    """Draw panels side by side, with one legend for all and notes below; gives the SVG."""
    one = _LEFT + _WIDE + _RIGHT
    width = one * len(panels)
    named = {series.name: series for panel in panels for series in panel.series}
    columns = 2
    lines = math.ceil(len(named) / columns)
    legend_top = _TOP + _HIGH + _BOTTOM + 12
    notes_top = legend_top + lines * _LEGEND_LINE + 8
    height = notes_top + len(notes) * 16 + 8
    drawn = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="{escape(title)}">'
        ),
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text class="ink head" x="{_LEFT - 52}" y="22">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        drawn += _draw_panel(panel, one * number + _LEFT, _TOP)
    for number, series in enumerate(named.values()):
        column, line = divmod(number, lines)
        x, y = _LEFT + column * width / columns, legend_top + line * _LEGEND_LINE
        if len(series.points) > 1:
            dashed = " bound" if series.is_bound else ""
            drawn.append(f'<path class="line l{series.color}{dashed}" d="M{x} {y} h26"/>')
        if series.mark is not None:
            drawn.append(_mark(series.mark, x + 13, y, f"m{series.color}"))
        drawn.append(f'<text class="ink" x="{x + 34}" y="{y + 4}">{escape(series.name)}</text>')
    for number, note in enumerate(notes):
        drawn.append(f'<text class="soft" x="{_LEFT}" y="{notes_top + 12 + number * 16}">{escape(note)}</text>')
    return "\n".join([*drawn, "</svg>", ""])
