"""kubectl as a person would use it: every command is shown before it runs."""

import asyncio
import json
import os
import shlex
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hack.demo import console

KUBECTL = Path(sys.executable).with_name("kubectl")
PLUGIN = Path(sys.executable).with_name("kubectl-kubetask")


class KubectlError(Exception):
    """kubectl failed; the message is what it said."""


class Kubectl:
    """kubectl with one kubeconfig and one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self._namespace = namespace

    async def run(self, *arguments: str | Path, stdin: str = "") -> str:
        """What kubectl printed; nothing is shown.

        Raises:
            KubectlError: it failed.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command(*arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environ,
        )
        out, err = await process.communicate(stdin.encode())
        if process.returncode:
            raise KubectlError(f"kubectl {shlex.join(map(str, arguments))}: {err.decode().strip()}")
        return out.decode()

    async def show(self, *arguments: str) -> str:
        """Show a command and what it prints."""
        console.command(f"kubectl {shlex.join(arguments)}")
        text = await self.run(*arguments)
        console.output(text)
        return text

    async def plugin(self, *arguments: str, **environ: str) -> str:
        """Show a command of the plugin and what it prints, on whichever stream.

        Raises:
            KubectlError: it failed.
        """
        console.command(f"kubectl kubetask {shlex.join(arguments)}")
        process = await self.attached(*arguments, stdout=asyncio.subprocess.PIPE, **environ)
        out, _ = await process.communicate()
        console.output(out.decode())
        if process.returncode:
            raise KubectlError(f"kubectl kubetask {shlex.join(arguments)}: {out.decode().strip()}")
        return out.decode()

    async def attached(
        self, *arguments: str, stdout: int | None = None, **environ: str
    ) -> asyncio.subprocess.Process:
        """The plugin as a process; without `stdout` it prints where the demo does."""
        return await asyncio.create_subprocess_exec(
            *(str(PLUGIN), "--namespace", self._namespace, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=None if stdout is None else asyncio.subprocess.STDOUT,
            env={**self._environ, **environ},
        )

    async def watch(self, resource: str, name: str) -> AsyncGenerator[dict[str, Any], None]:
        """An object as it is now and at every change, until the caller has seen enough."""
        process = await asyncio.create_subprocess_exec(
            *self._command("get", resource, name, "--watch", "-o", "json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._environ,
        )
        assert process.stdout is not None
        decoder, text = json.JSONDecoder(), ""
        try:
            while chunk := await process.stdout.read(65536):
                text = (text + chunk.decode()).lstrip()
                while text:
                    try:
                        found, end = decoder.raw_decode(text)
                    except json.JSONDecodeError:
                        break  # the rest of the object is still to come
                    text = text[end:].lstrip()
                    yield found
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _command(self, *arguments: str | Path) -> list[str]:
        return [str(KUBECTL), "--namespace", self._namespace, *map(str, arguments)]
