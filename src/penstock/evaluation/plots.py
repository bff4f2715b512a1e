"""The curve of leak against false alarms as an SVG drawing, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from xml.sax.saxutils import escape

from penstock.evaluation.accounts import AccountsReport

WIDTH, HEIGHT, MARGIN = 640, 400, 50
COLOURS = ("#1b6ca8", "#c0392b", "#27864b", "#8e44ad", "#d68910", "#16807a", "#7f3f1d", "#5d6d7e", "#b03a7a", "#2c3e50")
FEWEST_ALARMS = 1e-3


def amoc_svg(report: AccountsReport) -> str:
    """Median leaked messages (log scale) against false alarms per account-year (log scale), one line per attack model.

    A curve that has no false alarm at some threshold is drawn at the left edge, 0.001 a year.
    """
    most = max([leak for point in report.curve for leak in point.leaked_messages.values()] + [10.0])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        'font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_axes(most),
    ]
    for number, model in enumerate(report.attacks):
        spots = [
            (_x(point.false_alarms_per_account_year), _y(point.leaked_messages[model], most)) for point in report.curve
        ]
        lines += _line(spots, COLOURS[number % len(COLOURS)], model, number)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _x(alarms: float) -> float:
    share = (log10(max(alarms, FEWEST_ALARMS)) - log10(FEWEST_ALARMS)) / (2 - log10(FEWEST_ALARMS))
    return MARGIN + min(1.0, share) * (WIDTH - 3 * MARGIN)


def _y(leak: float, most: float) -> float:
    return HEIGHT - MARGIN - log10(1 + leak) / log10(1 + most) * (HEIGHT - 2 * MARGIN)


def _axes(most: float) -> list[str]:
    bottom, right = HEIGHT - MARGIN, WIDTH - 2 * MARGIN
    drawn = [f'<path d="M{MARGIN} {MARGIN}V{bottom}H{right}" fill="none" stroke="black"/>']
    for power in range(-3, 3):
        drawn.append(f'<text x="{_x(10.0**power):.0f}" y="{bottom + 15}" text-anchor="middle">{10.0**power:g}</text>')
    for leak in (0, 1, 3, 10, 30, 100, 300, 1000):
        if leak <= most:
            drawn.append(f'<text x="{MARGIN - 5}" y="{_y(leak, most) + 4:.0f}" text-anchor="end">{leak}</text>')
    middle = (MARGIN + right) // 2
    drawn.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">false alarms per account-year</text>')
    drawn.append(f'<text x="{MARGIN}" y="{MARGIN - 15}">leaked messages per campaign, median</text>')
    return drawn


def _line(spots: Sequence[tuple[float, float]], colour: str, name: str, number: int) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    at = MARGIN + 10 + number * 16
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in spots),
        f'<text x="{WIDTH - 1.5 * MARGIN:.0f}" y="{at}" fill="{colour}">{escape(name)}</text>',
    ]
