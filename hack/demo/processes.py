"""The programs that the demo starts: each writes a log of its own, and none outlives the demo."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
TAIL = 15
"""Lines of its log that are shown of a program that ended too early."""


class ProgramEndedError(Exception):
    """A program ended that should be running; the message has the end of its log."""


class Program:
    """A program in the background."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    async def wait_for(self, text: str, *, timeout: float = 30.0) -> str:
        """The first line of its log with `text`.

        Raises:
            ProgramEndedError: it ended first, or `timeout` seconds went by.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            for line in self.lines():
                if text in line:
                    return line
            late = asyncio.get_running_loop().time() > deadline
            if self.process.returncode is not None or late:
                state = "said nothing of" if late else "ended before it said"
                tail = "\n".join(self.lines()[-TAIL:])
                raise ProgramEndedError(f"{self.name} {state} {text!r}; {self.log}:\n{tail}")
            await asyncio.sleep(0.05)

    def lines(self) -> list[str]:
        """Its log so far."""
        return self.log.read_text(errors="replace").splitlines()

    async def kill(self) -> None:
        """End it as a lost node would: SIGKILL."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """End it in peace: SIGTERM, and SIGKILL if that does not help."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), GRACE)
        except TimeoutError:
            await self.kill()


async def launch(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    environ: Mapping[str, str] | None = None,
) -> Program:
    """Start a program; what it prints goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environ) if environ is not None else None,
            # Ctrl-C is for the demo, which ends its programs in order.
            start_new_session=True,
        )
    return Program(name, process, log)


@contextlib.asynccontextmanager
async def running(program: Program) -> AsyncIterator[Program]:
    """Stop the program at the end of the block."""
    try:
        yield program
    finally:
        await program.stop()
