"""The burn-down chart of a run's pull requests (open, merged and closed over time) as SVG."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape

from kubetask_controller.hosts import PullRequestInfo, PullRequestState

WIDTH, HEIGHT = 860, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 130, 44, 40
_COLOURS = {"open": "#d29922", "merged": "#8250df", "closed": "#8c959f"}


def counts_at(requests: Sequence[PullRequestInfo], moment: datetime) -> dict[str, int]:
    """Number of open, merged and closed pull requests at a time."""
    counts = dict.fromkeys(_COLOURS, 0)
    for each in requests:
        if each.created is None or each.created > moment:
            continue
        if each.closed is None or each.closed > moment:
            counts["open"] += 1
        else:
            counts["merged" if each.state is PullRequestState.MERGED else "closed"] += 1
    return counts


def burn_down(
    requests: Sequence[PullRequestInfo], *, title: str, now: datetime | None = None
) -> str:
    """The chart.

    Args:
        requests: the pull requests of a run.
        title: title of the chart.
        now: the end of the time axis.
    """
    end = now or datetime.now(UTC)
    known = [x for x in requests if x.created is not None]
    start = min((x.created for x in known if x.created), default=end)
    end = max(end, start + timedelta(minutes=1))
    moments = sorted(
        {start, end, *(y for x in known for y in (x.created, x.closed) if y and start <= y <= end)}
    )
    top = max(len(known), 1)
    width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def x(moment: datetime) -> float:
        return _LEFT + width * ((moment - start) / (end - start))

    def y(count: float) -> float:
        return _TOP + height * (1 - count / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="600" fill="#1f2328">{escape(title)}</text>',
    ]
    parts += [
        f'<path d="M{_LEFT} {y(step):.1f}H{_LEFT + width}" stroke="#d1d9e0"/>'
        f'<text x="{_LEFT - 8}" y="{y(step) + 4:.1f}" text-anchor="end" fill="#59636e">{step}</text>'
        for step in sorted({0, top // 4, top // 2, 3 * top // 4, top})
    ]
    below = dict.fromkeys(moments, 0)
    last = counts_at(known, end)
    for name, colour in _COLOURS.items():
        upper = {m: below[m] + counts_at(known, m)[name] for m in moments}
        path = _steps(moments, upper, x, y)
        back = _steps(moments, below, x, y, reverse=True)
        parts.append(f'<path d="M{path}L{back}Z" fill="{colour}" fill-opacity="0.75"/>')
        if last[name]:
            middle = y((below[end] + upper[end]) / 2)
            parts.append(
                f'<text x="{_LEFT + width + 10}" y="{middle + 4:.1f}" fill="{colour}" font-weight="600">'
                f"{last[name]} {name}</text>"
            )
        below = upper
    form = "%H:%M" if end - start < timedelta(days=2) else "%d %b"
    for quarter in range(5):
        moment = start + (end - start) * quarter / 4
        parts.append(
            f'<text x="{x(moment):.1f}" y="{HEIGHT - 16}" text-anchor="middle" fill="#59636e">'
            f"{moment.astimezone(UTC).strftime(form)}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _steps(
    moments: Sequence[datetime],
    values: Mapping[datetime, int],
    x: Callable[[datetime], float],
    y: Callable[[float], float],
    *,
    reverse: bool = False,
) -> str:
    """Points of a step function."""
    corners: list[tuple[float, float]] = []
    for position, moment in enumerate(moments):
        if position:
            corners.append((x(moment), y(values[moments[position - 1]])))
        corners.append((x(moment), y(values[moment])))
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in (reversed(corners) if reverse else corners))
