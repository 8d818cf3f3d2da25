"""The program as a process: Ctrl-C, a reader that goes away, a terminal."""

import asyncio
import contextlib
import os
import pty
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.cli.cliobjects import ended_pod, failed, run, run_status, running, succeeded
from support.cli.fakeapi import Log

CODE = "from kubetask_controller.cli.main import main; main()"

pytestmark = [pytest.mark.usefixtures("kubeconfig"), pytest.mark.slow, pytest.mark.processes]


@asynccontextmanager
async def process(*arguments: str, **options) -> AsyncIterator[Process]:
    # A shell that starts tests in the background has them ignore Ctrl-C, and that is inherited.
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CODE,
        *arguments,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **{"stdout": PIPE, "stderr": PIPE} | options,
    )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.communicate()


async def test_ctrl_c_ends_it_without_a_word_and_leaves_the_run_alone(api):
    await api.put("batchruns", run("nightly", running(0)))
    async with process("status", "nightly", "-w") as program:
        await api.watched()
        program.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(program.communicate(), 50)
    assert program.returncode == 130
    assert (b"Running" in out, err) == (True, b"")
    assert all(method == "GET" for method, _ in api.requests)


@pytest.mark.parametrize("flags", [(), ("-f",)])
async def test_a_reader_that_goes_away_is_no_error(api, flags: tuple[str, ...]):
    await api.put("batchruns", run("nightly", succeeded(0)))
    await api.put("pods", ended_pod(0))
    lines = [(0, "x" * 1000) for _ in range(5000)]
    api.logs["nightly-task-0-abcde/agent"] = Log(lines, open=False)
    read, write = os.pipe()
    async with process("logs", "nightly", *flags, stdout=write) as program:
        os.close(write)
        await asyncio.to_thread(os.read, read, 10)
        os.close(read)
        _, err = await asyncio.wait_for(program.communicate(), 50)
    assert (program.returncode, err) == (141, b"")


async def test_a_reader_of_a_tree_that_goes_away_is_no_error_either(api):
    await api.put("batchruns", run("nightly", *(failed(i) for i in range(3000))))
    read, write = os.pipe()
    async with process("status", "nightly", stdout=write) as program:
        os.close(write)
        os.close(read)
        _, err = await asyncio.wait_for(program.communicate(), 50)
    assert (program.returncode, err) == (141, b"")


async def test_a_terminal_gets_a_moving_picture_that_is_left_in_order(api):
    await api.put("batchruns", run("nightly", running(0), running(1)))
    master, slave = pty.openpty()
    seen = bytearray()
    finished = asyncio.Event()

    def read() -> None:
        try:
            seen.extend(os.read(master, 65536))
        except OSError:
            asyncio.get_running_loop().remove_reader(master)
            finished.set()

    asyncio.get_running_loop().add_reader(master, read)
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    async with process(
        "status", "nightly", "-w", stdout=slave, stderr=slave, env=environment
    ) as program:
        os.close(slave)
        await api.watched()
        await api.status("batchruns", "nightly", run_status(succeeded(0), failed(1)))
        await asyncio.wait_for(program.wait(), 50)
    await finished.wait()
    os.close(master)
    assert program.returncode == 1
    text = seen.decode()
    assert "Failed (1)" in text
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


async def test_without_what_it_draws_with_it_says_what_to_install():
    code = f"import sys; sys.modules['rich'] = None; {CODE}"
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=PIPE)
    _, err = await program.communicate()
    assert program.returncode == 1
    assert err.decode() == (
        "kubectl-kubetask needs additional packages: pip install 'kubetask-controller[cli]'\n"
    )
