"""What a run has cost, and what it will probably cost in the end.

The figures are those that agents report. ``status.usage`` has them for the whole run; where it is
missing, the results of the tasks are added up.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from kubetask_controller.cli.runview import BatchRunView
from kubetask_controller.jsontypes import JSON

_MOST = Decimal(10) ** 12
"""An amount from which on it is a mistake of whoever reported it."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Money in US dollars.

    Attributes:
        spent: so far.
        projected: of the whole run, at the mean cost of the tasks that ended; None before one has
            reported a cost.
        limit: maxCostUSD; None for none.
        input_tokens: read so far.
        output_tokens: written so far.
    """

    spent: Decimal
    projected: Decimal | None
    limit: Decimal | None
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def known(self) -> bool:
        """Whether there is anything to show."""
        tokens = self.input_tokens or self.output_tokens
        return bool(self.spent or tokens or self.limit is not None)

    def text(self) -> str:
        """``spent $1.20, projected $40.00 of at most $50.00``; empty where nothing is known."""
        if not self.known:
            return ""
        parts = [f"spent {dollars(self.spent)}"]
        if self.projected is not None:
            parts.append(f"projected {dollars(self.projected)}")
        text = ", ".join(parts)
        return text if self.limit is None else f"{text} of at most {dollars(self.limit)}"


def costs(view: BatchRunView) -> Costs:
    """The costs of a run."""
    usage = view.status.get("usage")
    if not isinstance(usage, dict):
        usage = _added(view)
    spent = decimal(usage.get("costUSD")) or Decimal(0)
    ended = view.counts["completed"] + view.counts["failed"]
    projected = None
    if view.ended:
        projected = spent if spent else None
    elif ended and spent:
        # Tasks that failed before their agent started cost nothing; they count, as others may too.
        projected = spent / ended * view.counts["total"]
    return Costs(
        spent,
        projected,
        decimal(view.spec.get("maxCostUSD")),
        count_or_zero(usage.get("inputTokens")),
        count_or_zero(usage.get("outputTokens")),
    )


def dollars(amount: Decimal) -> str:
    """With two digits after the point, small amounts with more."""
    return f"${amount:,.2f}" if amount >= Decimal("0.01") or not amount else f"${amount:.4f}"


def decimal(value: object) -> Decimal | None:
    """A number as the API writes it, in a string or not; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and 0 <= number < _MOST else None


def count_or_zero(value: object) -> int:
    """A count as the API writes it; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _added(view: BatchRunView) -> JSON:
    cost, tokens = Decimal(0), {"inputTokens": 0, "outputTokens": 0}
    for row in view.rows:
        usage = row.result.get("usage")
        if isinstance(usage, dict):
            cost += decimal(usage.get("costUSD")) or Decimal(0)
            for key in tokens:
                tokens[key] += count_or_zero(usage.get(key))
    return {"costUSD": str(cost), **tokens}
