"""The controller with a watch on its event loop: the most processor time of one turn, in which nothing else could run.

    python -m hack.benchmarks.stalls FILE [flags of the controller]

The file has one JSON object, written at the end: the longest turn, the longest garbage collection, both in seconds, and what
ran in long turns, according to samples. Times are processor time, so that other load of the machine does not count.
"""

import asyncio
import collections
import gc
import json
import sys
import threading
import time
from pathlib import Path

from kubetask_controller.app.main import main

LONG = 0.05
_SAMPLE = 0.01
_DEPTH = 6


class _Turns:
    def __init__(self) -> None:
        self.longest = self.longest_collection = 0.0
        self.long = 0
        self.where: collections.Counter[str] = collections.Counter()
        self._began: float | None = None
        self._collecting = 0.0

    def watch(self) -> None:
        original = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]

        def turn(loop: asyncio.BaseEventLoop) -> None:
            before, self._began = time.thread_time(), time.monotonic()
            original(loop)
            self._began = None
            used = time.thread_time() - before
            self.longest = max(self.longest, used)
            self.long += used > LONG

        asyncio.BaseEventLoop._run_once = turn  # type: ignore[attr-defined]
        gc.callbacks.append(self._collection)
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        threading.Thread(target=self._sample, args=(main_thread,), daemon=True).start()

    def _collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            used = time.thread_time() - self._collecting
            self.longest_collection = max(self.longest_collection, used)

    def _sample(self, thread: int) -> None:
        while True:
            time.sleep(_SAMPLE)
            began = self._began
            if began is None or time.monotonic() - began < LONG:
                continue
            names: list[str] = []
            frame = sys._current_frames().get(thread)
            while frame is not None and len(names) < _DEPTH:
                names.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}")
                frame = frame.f_back
            if "select" not in names[0]:
                self.where[" < ".join(names)] += 1


if __name__ == "__main__":
    file, sys.argv = Path(sys.argv[1]), [sys.argv[0], *sys.argv[2:]]
    turns = _Turns()
    turns.watch()
    try:
        main()
    finally:
        found = {
            "longest": turns.longest,
            "longest_collection": turns.longest_collection,
            "long": turns.long,
            "where": turns.where.most_common(12),
        }
        file.write_text(json.dumps(found, indent=1))
