"""Fault injection between the API server and its clients, reproducible from a seed.

`Faults` is the server's side; `devcluster.faultcontrol` has the blocking calls for tests. They communicate through
`POST /devcluster/faults`. The README's section "Faults" has the kinds and their fields.
"""

from __future__ import annotations

from .engine import FAULTS_PATH, Faults
from .gates import WatchGate
from .rules import FaultKind, FaultRule

__all__ = ["FAULTS_PATH", "FaultKind", "FaultRule", "Faults", "WatchGate"]
