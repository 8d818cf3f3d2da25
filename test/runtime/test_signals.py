"""A process of its own, for signals are the process's."""

import asyncio
import signal
import sys
from contextlib import asynccontextmanager

import pytest

pytestmark = pytest.mark.processes

PROGRAM = """
import asyncio, sys, time
from kubetask_controller.runtime.eventloop import stop_on_signals

async def main(mood):
    stop = stop_on_signals()
    print("up", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    if mood == "slow":
        await asyncio.sleep(60)
    while mood == "stuck":
        time.sleep(0.01)

asyncio.run(main(sys.argv[1]))
"""


@asynccontextmanager
async def program(mood):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, mood, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await process.stdout.readline() == b"up\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()


async def said(process, text):
    while text not in await process.stdout.readline():
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_asks_for_an_orderly_end(number):
    async with program("quick") as process:
        process.send_signal(number)
        await said(process, b"stopping")
        assert await process.wait() == 0


@pytest.mark.parametrize("mood", ["slow", "stuck"])
async def test_the_second_signal_ends_the_process_at_once_even_when_its_event_loop_is_stuck(mood):
    async with program(mood) as process:
        process.send_signal(signal.SIGTERM)
        await said(process, b"stopping")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            assert await process.wait() == 128 + signal.SIGINT
