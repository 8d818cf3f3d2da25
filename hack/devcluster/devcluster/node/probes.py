"""Startup probes of containers: tcpSocket and httpGet. Other probes are left out, and an exec probe succeeds at once.

Pods share the machine's network, each with an address of its own on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

Object = dict[str, Any]

DEFAULT_PERIOD_SECONDS = 10.0
DEFAULT_TIMEOUT_SECONDS = 1.0


async def await_startup(container: Object, address: str) -> None:
    """Return as soon as the container's startupProbe succeeds; at once where it has none."""
    probe = container.get("startupProbe") or {}
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    while not await _succeeds(probe, container, address):  # noqa: ASYNC110 (that is what a probe is)
        await asyncio.sleep(probe.get("periodSeconds") or DEFAULT_PERIOD_SECONDS)


async def _succeeds(probe: Object, container: Object, address: str) -> bool:
    action = probe.get("tcpSocket") or probe.get("httpGet")
    if not action:
        return True
    with contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(probe.get("timeoutSeconds") or DEFAULT_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(
                action.get("host") or address, _number(action["port"], container)
            )
            try:
                return "httpGet" not in probe or await _answers(reader, writer, action)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    return False


async def _answers(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, action: Object
) -> bool:
    path = action.get("path") or "/"
    writer.write(f"GET {path} HTTP/1.0\r\nUser-Agent: kube-probe/1.36\r\n\r\n".encode())
    status = (await reader.readline()).split(b" ")
    return 200 <= int(status[1]) < 400 if len(status) > 1 else False


def _number(port: int | str, container: Object) -> int:
    """A port by number, or by its name in the container's ports."""
    for each in container.get("ports") or ():
        if each.get("name") == port:
            return int(each["containerPort"])
    return int(port)
