"""Strategies of the built-in resources that have rules of their own."""

from __future__ import annotations

from ..strategy import Strategy

_PLAIN = Strategy()


def strategy_for(storage_key: str) -> Strategy:
    """The strategy of a built-in resource."""
    from .table import STRATEGIES

    return STRATEGIES.get(storage_key, _PLAIN)
