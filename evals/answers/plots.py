"""Figures as SVG text, without a plotting library: for a page, or for a paper as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 210, 20, 50
# Okabe and Ito's palette, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def line_plot(
    series: Mapping[str, Sequence[Point]], x_label: str, y_label: str, *, joined: bool = True
) -> str:
    """An SVG of named series on a logarithmic x axis; ``joined=False`` draws points alone.

    Empty series give an empty string.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    x_low, x_high = _decades([x for x, _ in points])
    y_high = max(1.0, max(y for _, y in points))

    def place(point: Point) -> Point:
        share = (math.log10(point[0]) - x_low) / (x_high - x_low)
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - point[1] / y_high * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="sans-serif" font-size="12">',
        *_axes(x_low, x_high, y_high, x_label, y_label, place),
    ]
    for number, (name, line) in enumerate(series.items()):
        parts += _series(number, name, [place(point) for point in sorted(line)], joined)
    return "\n".join([*parts, "</svg>"])


def _decades(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    margin = max((high - low) * 0.05, 0.05)
    return low - margin, high + margin


def _axes(
    x_low: float, x_high: float, y_high: float, x_label: str, y_label: str, place: object
) -> list[str]:
    assert callable(place)
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#444"/>',
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"{escape(x_label)}</text>",
        f'<text transform="rotate(-90)" x="{-(TOP + bottom) / 2}" y="15" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]
    for tick in _log_ticks(x_low, x_high):
        x, _ = place((tick, 0.0))
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:,.0f}</text>')
    for step in range(6):
        value = y_high * step / 5
        _, y = place((10**x_low, value))
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>'
        )
    return parts


def _log_ticks(low: float, high: float) -> list[float]:
    steps = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    return [tick for tick in steps if low <= math.log10(tick) <= high]


def _series(number: int, name: str, places: Sequence[Point], joined: bool) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    dash = ' stroke-dasharray="5 3"' if number >= len(COLOURS) else ""
    parts = []
    if joined:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
    y = TOP + 10 + 18 * number
    x = WIDTH - RIGHT + 15
    parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>')
    parts.append(f'<text x="{x + 10}" y="{y + 4}">{escape(name)}</text>')
    return parts
