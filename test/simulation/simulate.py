"""Runs schedules, shrinks those that fail, and shows their history.

``python -m simulation.simulate 1000 --first 5`` runs the seeds 5 to 1004; ``--seed 7`` shows the history of one, ``--shrink``
leaves out of it what is not needed for its violation, and ``--keep NAME`` makes a test of what remains.
"""

import argparse
import gc
import hashlib
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from simulation import adapter
from simulation.schedule import Schedule, draw
from simulation.virtualloop import AstrayError, VirtualLoop
from simulation.world import World

CASES = Path(__file__).parent / "cases"
"""Schedules that once failed, shrunk."""
COLLECT = 100
"""Schedules between two collections of garbage."""

ignored: list[str] = []
"""Regular expressions of violations that are not wanted now."""
_runs = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a schedule led to; ``history`` has one line an event: the virtual second, who, what."""

    schedule: Schedule
    violations: tuple[str, ...]
    history: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The first violation without its numbers, to tell whether two are of one kind."""
        return "".join("#" if x.isdigit() else x for x in self.violations[0]) if self.violations else ""

    def report(self) -> str:
        """For people."""
        return "\n".join((str(self.schedule), "", *self.history, "", *(f"VIOLATION: {x}" for x in self.violations)))

    def digest(self) -> str:
        """Of the history: equal for runs that are equal bit by bit."""
        return hashlib.sha256("\n".join(self.history).encode()).hexdigest()


def run(schedule: Schedule, *, history: bool = False) -> Outcome:
    """Run one schedule; the same each time, whatever else runs on the machine.

    Raises:
        RuntimeError: the model of the cluster is broken.
    """
    world: World | None = None
    _tidy()
    random.seed(schedule.seed)
    adapter.prepare((lambda text: world.note("log", text) if world else None) if history else None)
    loop = VirtualLoop()

    async def main() -> None:
        nonlocal world
        world = World(schedule, loop)
        world.ignored = ignored
        await world.run()

    try:
        loop.run(main())
    except AstrayError as error:
        assert world is not None
        world.violations.append(str(error))
    for failure in loop.failures:
        if "callback" in failure["message"]:
            raise RuntimeError("a part of the world is broken") from failure["exception"]
    assert world is not None
    outcome = Outcome(schedule, tuple(world.violations), tuple(world.lines()) if history else ())
    world.close()
    return outcome


def shrink(schedule: Schedule, *, tries: int = 300) -> Outcome:
    """Leave out of a schedule whatever is not needed for the same kind of violation."""
    best = run(schedule)
    size = max(1, schedule.parts() // 2)
    while size and tries > 0:
        first = best.schedule.parts() - size
        while first >= 0 and tries > 0:
            tries -= 1
            outcome = run(best.schedule.without(first, size))
            if outcome.kind == best.kind:
                best = outcome
            first -= size
        size //= 2
    return run(best.schedule, history=True)


def run_seed(seed: int) -> tuple[int, str, tuple[str, ...]]:
    """A seed, the title of its schedule, and its violations."""
    schedule = draw(seed)
    return seed, schedule.title, run(schedule).violations


def run_many(seeds: Iterable[int], workers: int) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """What run_seed gives for each, in no order that means anything."""
    if workers <= 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=20)


def main(arguments: list[str] | None = None, write: Callable[[str], object] = sys.stdout.write) -> int:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=100_000, help="number of schedules")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="show one schedule with its history")
    parser.add_argument("--shrink", action="store_true", help="with --seed: leave out what is not needed")
    parser.add_argument("--keep", help="with --seed: write the schedule into cases/, under this name")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--most", type=int, default=10, help="stop at this number of violations")
    parser.add_argument("--brief", action="store_true", help="do not show the history of the first violation")
    parser.add_argument("--ignore", action="append", default=[], help="a regular expression of violations to pass over")
    parser.add_argument("--cases", action="store_true", help="run what lies in cases/ instead")
    parser.add_argument("--digests", type=int, help="show digests of the histories of so many seeds")
    options = parser.parse_args(arguments)
    ignored[:] = options.ignore
    if options.cases:
        return _cases(write)
    if options.digests:
        write(
            "".join(run(draw(x), history=True).digest() + "\n" for x in range(options.first, options.first + options.digests))
        )
        return 0
    if options.seed is None:
        return _many(options, write)
    outcome = shrink(draw(options.seed)) if options.shrink else run(draw(options.seed), history=True)
    write(outcome.report() + "\n")
    if options.keep:
        (CASES / f"{options.keep}.json").write_text(outcome.schedule.to_json())
    return bool(outcome.violations)


def _cases(write: Callable[[str], object]) -> int:
    bad = 0
    for path in sorted(CASES.glob("*.json")):
        outcome = run(Schedule.from_json(path.read_text()), history=True)
        bad += bool(outcome.violations)
        write(f"{path.stem}: {f'{outcome.report()}' if outcome.violations else 'ok'}\n")
    return bool(bad)


def _many(options: argparse.Namespace, write: Callable[[str], object]) -> int:
    started, done, bad = time.monotonic(), 0, []
    for seed, title, violations in run_many(range(options.first, options.first + options.count), options.workers):
        done += 1
        if violations:
            bad.append(seed)
            write(f"seed {seed} ({title}): {violations[0][:300]}\n")
            if len(bad) >= options.most:
                break
        if done % 500 == 0:
            spent = time.monotonic() - started
            left = spent / done * (options.count - done)
            sys.stderr.write(f"\r{done}/{options.count} schedules, {len(bad)} violations, {spent:.0f} s, {left:.0f} s left ")
    last = options.first + options.count - 1
    which = f"{done} schedules of the seeds {options.first} to {last}"
    write(f"\n{which}: {len(bad)} violations, {time.monotonic() - started:.1f} s\n")
    if bad and not options.brief:
        write(f"\nThe first of them, shrunk:\n\n{shrink(draw(min(bad))).report()}\n")
    return bool(bad)


def _tidy() -> None:
    """Collect garbage now and then, instead of a hundred times in each schedule."""
    global _runs
    if _runs == 0:
        gc.collect()
        gc.freeze()
    gc.disable()
    _runs += 1
    if _runs % COLLECT == 0:
        gc.collect()


if __name__ == "__main__":
    sys.exit(main())
