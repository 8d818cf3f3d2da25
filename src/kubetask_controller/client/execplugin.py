"""Credential plugins of a kubeconfig: programs that print a token or a client certificate.

Implements client.authentication.k8s.io/v1 and v1beta1. A plugin has no terminal, because the
controller is no interactive program; one that requires it (interactiveMode Always) is refused.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from kubetask_controller.client.credentials import PluginCredential
from kubetask_controller.client.errors import ConfigError

TIMEOUT = 60.0
"""Seconds that a plugin may take."""
_ERROR_LIMIT = 500


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """The ``exec`` section of a kubeconfig's user.

    Attributes:
        section: the section, as in the file.
        directory: of the kubeconfig, to which a command with a slash is relative.
        cluster: passed to a plugin that sets provideClusterInfo.
    """

    section: Mapping[str, Any]
    directory: Path
    cluster: Mapping[str, Any] = field(default_factory=dict)

    async def run(self) -> PluginCredential:
        """Run the program.

        Raises:
            ConfigError: it cannot be run, failed, took too long, or printed no credential.
        """
        command = self._command()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            hint = self.section.get("installHint", "")
            raise ConfigError(f"credential plugin {command[0]}: {error}. {hint}".strip()) from error
        output = await self._finish(process, command[0])
        return parse_credential(output, api_version=str(self.section.get("apiVersion", "")))

    async def _finish(self, process: asyncio.subprocess.Process, name: str) -> bytes:
        try:
            async with asyncio.timeout(TIMEOUT):
                output, errors = await process.communicate()
        except TimeoutError as error:
            raise ConfigError(
                f"credential plugin {name} did not end within {TIMEOUT:g} s"
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            text = errors.decode(errors="replace").strip()[-_ERROR_LIMIT:]
            raise ConfigError(
                f"credential plugin {name} failed with exit code {process.returncode}: {text}"
            )
        return output

    def _command(self) -> list[str]:
        command = str(self.section.get("command") or "")
        if not command:
            raise ConfigError("credential plugin: exec.command is missing in the kubeconfig")
        if self.section.get("interactiveMode") == "Always":
            raise ConfigError(
                f"credential plugin {command} requires a terminal (interactiveMode: Always), which is not supported"
            )
        if os.sep in command:
            command = str(self.directory / command)
        return [command, *map(str, self.section.get("args") or [])]

    def _environment(self) -> dict[str, str]:
        spec: dict[str, Any] = {"interactive": False}
        if self.section.get("provideClusterInfo"):
            spec["cluster"] = dict(self.cluster)
        info = {
            "apiVersion": self.section.get("apiVersion"),
            "kind": "ExecCredential",
            "spec": spec,
        }
        extra = {str(e["name"]): str(e["value"]) for e in self.section.get("env") or []}
        return {**os.environ, **extra, "KUBERNETES_EXEC_INFO": json.dumps(info)}


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def parse_credential(output: bytes, *, api_version: str) -> PluginCredential:
    """The credential in the output of a plugin.

    Raises:
        ConfigError: the output is no ExecCredential of that version, or contains no credential.
    """
    try:
        answer = json.loads(output)
        status = answer["status"]
        expires = status.get("expirationTimestamp")
        credential = PluginCredential(
            token=status.get("token", ""),
            certificate=status.get("clientCertificateData", ""),
            key=status.get("clientKeyData", ""),
            expires=_moment(expires) if expires else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"credential plugin: its output is no ExecCredential: {error!r}"
        ) from None
    if answer.get("apiVersion") != api_version:
        raise ConfigError(
            f"credential plugin: its output has apiVersion {answer.get('apiVersion')} instead of {api_version}"
        )
    if not credential.token and not (credential.certificate and credential.key):
        raise ConfigError(
            "credential plugin: its output contains neither a token nor a client certificate"
        )
    return credential
