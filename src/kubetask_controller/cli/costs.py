"""The cost of a run so far, and its projected total.

Agents report the costs. ``status.usage`` contains the sum for the run; without it, the results of the
tasks are summed up.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from kubetask_controller.cli.runview import BatchRunView
from kubetask_controller.types import JSON

_MOST = Decimal(10) ** 12
"""Larger amounts are errors of the agent."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Money in US dollars.

    Attributes:
        spent: cost so far.
        projected: total cost of the run at the mean cost of the ended tasks; None before a task has
            reported a cost.
        limit: maxCostUSD; None for none.
        input_tokens: number of input tokens so far.
        output_tokens: number of output tokens so far.
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
        """``spent $1.20, projected $40.00 of at most $50.00``; empty without data."""
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
        # Tasks that failed before their agent started cost nothing, but count, because others may fail too.
        projected = spent / ended * view.counts["total"]
    return Costs(
        spent,
        projected,
        decimal(view.spec.get("maxCostUSD")),
        count_or_zero(usage.get("inputTokens")),
        count_or_zero(usage.get("outputTokens")),
    )


def dollars(amount: Decimal) -> str:
    """An amount with two decimal places; small amounts with four."""
    return f"${amount:,.2f}" if amount >= Decimal("0.01") or not amount else f"${amount:.4f}"


def decimal(value: object) -> Decimal | None:
    """A number of the API, which may be a string; None for invalid values."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and 0 <= number < _MOST else None


def count_or_zero(value: object) -> int:
    """A count of the API; 0 for invalid values."""
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
