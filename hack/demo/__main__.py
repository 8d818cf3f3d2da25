"""python -m hack.demo [--keep]: the main job on the embedded development cluster."""

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

from hack.demo import console, scenes
from hack.demo.environment import ROOT, environment
from hack.demo.kubectl import KubectlError
from hack.demo.processes import ProgramEndedError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, until Ctrl-C")
    parser.add_argument("--ui", action="store_true", help="end with the page open, until Ctrl-C")
    parser.add_argument("--dir", type=Path, default=ROOT / ".demo", help="where everything lies")
    options = parser.parse_args()
    try:
        asyncio.run(play(options.dir.resolve(), keep=options.keep, ui=options.ui))
    except (scenes.DemoError, KubectlError, ProgramEndedError) as error:
        print(f"the demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def play(directory: Path, *, keep: bool, ui: bool = False) -> None:
    """Everything, from an empty folder to the end."""
    started = time.monotonic()
    console.scene("A cluster, from nothing")
    async with environment(directory) as env:
        await scenes.update_dependencies(env)
        await scenes.a_task_that_fails(env)
        await scenes.a_canary(env)
        await scenes.pull_requests(env)
        scenes.look_around(env)
        console.console.print()
        console.step("done", seconds=time.monotonic() - started)
        if not keep and not ui:
            console.output(
                "\nmake demo KEEP=1 leaves the cluster up, so that you can look around; UI=1 opens the page."
            )
            return
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if ui:
            await scenes.open_page(env, stop)
        else:
            console.output("\nThe cluster stays up. Ctrl-C ends it.")
            await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
