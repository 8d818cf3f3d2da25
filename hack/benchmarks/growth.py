"""Draws docs/images/growth.svg: what grows with the tasks of a run, and with the finished Jobs of a cluster.

    python -m hack.benchmarks.growth

It measures nothing: the values are those that ``hack.benchmarks.controller`` and ``hack.benchmarks.history`` have kept, and
both draw the picture when they write their tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from hack.benchmarks import report
from hack.picture import COLOURS, MARGIN, WIDTH, Series

PICTURE = report.IMAGES / "growth.svg"
TASKS_A_RUN = 5
"""Finished Jobs of each ended run of ``hack.benchmarks.history``."""
_HEIGHT, _COLUMNS, _STEPS = 200, 3, 4


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over one axis; every axis begins at 0.

    Attributes:
        title: the heading.
        unit: of the values.
        across: what the horizontal axis counts.
        lines: the points of each line, in the order of the axis.
    """

    title: str
    unit: str
    across: str
    lines: Sequence[Series]


def write(picture: Path = PICTURE) -> None:
    """Draw the picture from the stored rows."""
    picture.write_text(draw(charts(report.kept("run"), report.kept("history"))))


def charts(runs: Sequence[report.Row], history: Sequence[report.Row]) -> list[Chart]:
    """The charts of the picture, from the rows of both benchmarks."""
    inline = [x for x in runs if x["by"] == "inline"]

    def of_run(who: str, field: str) -> Series:
        points = [(x["tasks"], x[who][field]) for x in inline if x[who]]
        return Series("KubeTask" if who == "ours" else "bare client", points)

    def of_history(field: str, factor: float) -> list[Series]:
        points = [(x["runs"] * TASKS_A_RUN, factor * x[field]) for x in history]
        return [Series("KubeTask", points)]

    a_task = [(x["tasks"], 1000 * x["ours"]["cpu"] / x["tasks"]) for x in inline]
    tasks, jobs = "tasks of a run", "finished Jobs in the cluster"
    return [
        Chart(
            "Last Job created", "s", tasks, [of_run("ours", "created"), of_run("bare", "created")]
        ),
        Chart(
            "Run final, all succeeded",
            "s",
            tasks,
            [of_run("ours", "final"), of_run("bare", "final")],
        ),
        Chart("CPU of the controller, a task", "ms", tasks, [Series("KubeTask", a_task)]),
        Chart("CPU from the start until it acts", "s", jobs, of_history("cpu", 1)),
        Chart("Peak memory", "MiB", jobs, of_history("rss", 1)),
        Chart("CPU of a later task", "ms", jobs, of_history("task", 1000)),
    ]


def draw(found: Sequence[Chart]) -> str:
    """The picture as SVG."""
    width = (WIDTH - MARGIN * (_COLUMNS + 1)) / _COLUMNS
    height = MARGIN + -(-len(found) // _COLUMNS) * (_HEIGHT + MARGIN)
    parts = []
    for number, chart in enumerate(found):
        row, column = divmod(number, _COLUMNS)
        x, y = MARGIN + column * (width + MARGIN), MARGIN + row * (_HEIGHT + MARGIN)
        parts.append(_chart(chart, x, y, width))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#f4f5f5"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _chart(chart: Chart, x: float, y: float, width: float) -> str:
    left, right, top, bottom = x + 46, x + width - 14, y + 48, y + _HEIGHT - 38
    points = [p for line in chart.lines for p in line.points]
    wide = round_up(max((p[0] for p in points), default=0))
    high = round_up(max((p[1] for p in points), default=0))
    parts = [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_HEIGHT}" fill="#fff" stroke="#ddd" rx="3"/>',
        f'<text x="{x + 8:.1f}" y="{y + 17:.1f}" font-weight="bold">{escape(chart.title)}</text>',
        f'<text x="{right:.1f}" y="{y + _HEIGHT - 8:.1f}" text-anchor="end" fill="#777">{escape(chart.across)}</text>',
    ]
    for step in range(_STEPS + 1):
        share = step / _STEPS
        at = bottom - share * (bottom - top)
        parts.append(
            f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e5e5e5"/>'
            f'<text x="{left - 5:.1f}" y="{at + 4:.1f}" text-anchor="end" fill="#777">{shown(share * high)}</text>'
        )
        at = left + share * (right - left)
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 14:.1f}" text-anchor="middle" fill="#777">{shown(share * wide)}</text>'
        )
    legend = x + 8
    for number, line in enumerate(chart.lines):
        colour = COLOURS[(0, 5)[number % 2]]
        placed = [
            (left + p[0] / wide * (right - left), bottom - p[1] / high * (bottom - top), p[1])
            for p in line.points
        ]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in placed)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" fill="{colour}">'
            f"<title>{shown(value)} {chart.unit}</title></circle>"
            for px, py, value in placed
        ]
        name = f"{line.name}, {chart.unit}"
        parts.append(
            f'<text x="{legend:.1f}" y="{y + 34:.1f}" fill="{colour}">{escape(name)}</text>'
        )
        legend += 18 + 6.0 * len(name)
    return "\n".join(parts)


def round_up(value: float) -> float:
    """The end of an axis: 1, 2, 4, 5 or 8 times a power of ten, not below the value."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value > 0:
        power /= 10
    return next((n * power for n in (1, 2, 4, 5, 8, 10) if n * power >= value), 10 * power)


def shown(value: float) -> str:
    """A value in three digits at most, without a unit."""
    if value >= 10 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


if __name__ == "__main__":
    write()
