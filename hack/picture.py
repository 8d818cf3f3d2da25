"""A picture of the dashboard as SVG, drawn from what a Prometheus answered to its queries.

It shows the panels and their series in the documentation, from the data of a test, and does not emulate Grafana.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hack.dashboard import PANELS, Panel

WIDTH, MARGIN = 960, 12
SINGLE_HEIGHT, SERIES_HEIGHT = 84, 190
COLOURS = ("#3274d9", "#e0b400", "#56a64b", "#e02f44", "#8f3bb8", "#ff780a", "#37872d", "#1f60c4")
PHASES = {"Failed": "#e02f44", "Pending": "#e0b400", "Running": "#3274d9", "Succeeded": "#56a64b"}
_UNITS = {"currencyUSD": "$", "percentunit": "%", "s": " s", "bytes": " MiB", "ops": "/s"}


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its legend, and (seconds since the start, value) in the order of time."""

    name: str
    points: Sequence[tuple[float, float]]


def draw(found: Mapping[str, Sequence[Series]], *, seconds: float) -> str:
    """The picture.

    Args:
        found: the series of each panel, by its title.
        seconds: how long a time the values are of.
    """
    parts: list[str] = []
    y = MARGIN
    singles = [x for x in PANELS if x.single]
    width = (WIDTH - MARGIN * (len(singles) + 1)) / len(singles)
    for number, panel in enumerate(singles):
        x = MARGIN + number * (width + MARGIN)
        parts.append(_single(panel, found[panel.title], x, y, width))
    y += SINGLE_HEIGHT + MARGIN
    half = (WIDTH - 3 * MARGIN) / 2
    rest = [x for x in PANELS if not x.single]
    for number, panel in enumerate(rest):
        x = MARGIN + number % 2 * (half + MARGIN)
        parts.append(_chart(panel, found[panel.title], x, y, half, seconds))
        if number % 2 or number == len(rest) - 1:
            y += SERIES_HEIGHT + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}"'
        ' font-family="sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{y}" fill="#f4f5f5"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _box(title: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="#fff" stroke="#ddd" rx="3"/>\n'
        f'<text x="{x + 8:.1f}" y="{y + 17:.1f}" font-weight="bold">{escape(title)}</text>'
    )


def _single(panel: Panel, series: Sequence[Series], x: float, y: float, width: float) -> str:
    value = series[0].points[-1][1] if series else 0.0
    return (
        _box(panel.title, x, y, width, SINGLE_HEIGHT)
        + f'\n<text x="{x + width / 2:.1f}" y="{y + 58:.1f}" font-size="28" text-anchor="middle">'
        f"{escape(shown(value, panel.unit))}</text>"
    )


def _chart(
    panel: Panel, series: Sequence[Series], x: float, y: float, width: float, seconds: float
) -> str:
    left, top, bottom = x + 52, y + 28, y + SERIES_HEIGHT - 46
    right = x + width - 10
    highest = max((v for s in series for _, v in s.points if v == v), default=0.0) or 1.0
    lines = [_box(panel.title, x, y, width, SERIES_HEIGHT)]
    for share in (0.0, 0.5, 1.0):
        at = bottom - share * (bottom - top)
        label = escape(shown(share * highest, panel.unit))
        lines.append(
            f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e5e5"/>'
            f'<text x="{left - 4:.1f}" y="{at + 4:.1f}" text-anchor="end" fill="#777">{label}</text>'
        )
    legend = left
    for number, each in enumerate(series):
        colour = PHASES.get(each.name, COLOURS[number % len(COLOURS)])
        scale = (right - left) / seconds, (bottom - top) / highest
        lines.append(_line(each, colour, (left, bottom), scale))
        if legend < right - 40:
            lines.append(
                f'<text x="{legend:.1f}" y="{y + SERIES_HEIGHT - 10:.1f}" fill="{colour}">{escape(each.name)}</text>'
            )
        legend += 14 + 6.2 * len(each.name)
    lines.append(
        f'<text x="{right:.1f}" y="{bottom + 15:.1f}" text-anchor="end" fill="#777">{_span(seconds)}</text>'
    )
    return "\n".join(lines)


def _line(
    series: Series, colour: str, origin: tuple[float, float], scale: tuple[float, float]
) -> str:
    points = [
        f"{origin[0] + second * scale[0]:.1f},{origin[1] - value * scale[1]:.1f}"
        for second, value in series.points
        if value == value
    ]
    return (
        f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    )


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def shown(value: float, unit: str) -> str:
    """A value with its unit, short."""
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "bytes":
        value /= 2**20
    text = f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
    return f"${value:.2f}" if unit == "currencyUSD" else text + _UNITS.get(unit, "")
