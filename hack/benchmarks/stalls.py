"""The controller with a watch on its event loop: the most processor time of one turn, in which nothing else could run.

    python -m hack.benchmarks.stalls FILE [flags of the controller]

The file has one JSON object, written at the end. Processor time and not time: how busy the machine is does not count.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from kubetask_controller.app.main import main


class _Turns:
    def __init__(self) -> None:
        self.longest = 0.0
        self.over_50_ms = 0

    def watch(self) -> None:
        original = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]

        def turn(loop: asyncio.BaseEventLoop) -> None:
            before = time.thread_time()
            original(loop)
            used = time.thread_time() - before
            self.longest = max(self.longest, used)
            self.over_50_ms += used > 0.05

        asyncio.BaseEventLoop._run_once = turn  # type: ignore[attr-defined]


if __name__ == "__main__":
    file, sys.argv = Path(sys.argv[1]), [sys.argv[0], *sys.argv[2:]]
    turns = _Turns()
    turns.watch()
    try:
        main()
    finally:
        file.write_text(json.dumps({"longest": turns.longest, "over_50_ms": turns.over_50_ms}))
