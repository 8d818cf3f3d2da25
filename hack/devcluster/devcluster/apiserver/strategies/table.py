"""Which built-in resource has which strategy."""

from __future__ import annotations

from ..strategy import Strategy

STRATEGIES: dict[str, Strategy] = {}
