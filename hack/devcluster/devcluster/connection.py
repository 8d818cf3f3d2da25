"""A synchronous connection to any Kubernetes API server, created from a kubeconfig, for fixtures and tools.

It supports client certificates, bearer tokens, basic CA settings and exec plugins. Calls block: use them for set-up, not in
the event loop of a test.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 30.0
EXEC_TIMEOUT_SECONDS = 60.0


class ApiError(Exception):
    """An answer other than success. `status` is the Status object, where there was one."""

    def __init__(self, code: int, status: dict[str, Any], text: str) -> None:
        super().__init__(status.get("message") or f"{code}: {text[:500]}")
        self.code = code
        self.status = status

    @property
    def reason(self) -> str:
        """metav1.StatusReason, '' when the answer had none."""
        return str(self.status.get("reason") or "")


@dataclass(frozen=True)
class Connection:
    """A connection to one API server as one user. Safe to share between threads: each call opens its own connection."""

    url: str
    ssl_context: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_kubeconfig(cls, path: Path, *, context: str | None = None) -> Connection:
        """The connection of a kubeconfig's current (or named) context. Raises ValueError when it is incomplete."""
        # Loading YAML costs more than all else here; a kubeconfig of ours is JSON.
        text = path.read_text()
        config = json.loads(text) if text.lstrip().startswith("{") else _load_yaml(text)
        name = context or config.get("current-context")
        chosen = _entry(config, "contexts", name)["context"]
        cluster = _entry(config, "clusters", chosen["cluster"])["cluster"]
        user = _entry(config, "users", chosen["user"])["user"] or {}
        headers: dict[str, str] = {}
        if "exec" in user:
            user = {**user, **_exec_credential(user["exec"])}
        token = user.get("token") or _file(path, user.get("tokenFile"))
        if token:
            headers["Authorization"] = f"Bearer {token.strip()}"
        if user.get("as"):
            headers["Impersonate-User"] = user["as"]
        url = cluster["server"].rstrip("/")
        return cls(
            url, _ssl_context(path, cluster, user) if url.startswith("https") else None, headers
        )

    def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> Any:
        """One request; returns the decoded JSON, or text when it is none. Raises ApiError, OSError."""
        data, headers = None, {}
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = content_type
        with self._request(method, path, data, headers, TIMEOUT_SECONDS) as response:
            return _decode(response.status, response.read())

    def watch(self, path: str, *, timeout: float) -> Iterator[dict[str, Any]]:
        """The events of a watch until the server ends it. Raises ApiError, TimeoutError after `timeout` silent seconds."""
        with self._request("GET", path, None, {}, timeout) as response:
            if response.status >= http.client.BAD_REQUEST:
                _decode(response.status, response.read())
            for line in response:
                event: dict[str, Any] = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(int(status.get("code") or 0), status, line.decode())
                yield event

    @contextmanager
    def _request(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str], timeout: float
    ) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        connection: http.client.HTTPConnection
        if self.ssl_context is not None:
            connection = http.client.HTTPSConnection(
                host, port, timeout=timeout, context=self.ssl_context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        headers |= {**self.headers, "Accept": "application/json", "User-Agent": "devcluster"}
        response = None
        try:
            connection.request(method, parts.path + path, body=data, headers=headers)
            response = connection.getresponse()
            yield response
        finally:
            # A response whose server closes the connection owns the socket.
            if response is not None:
                response.close()
            connection.close()

    def get(self, path: str) -> Any:
        """GET."""
        return self.call("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """POST."""
        return self.call("POST", path, body)

    def merge_patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON merge patch."""
        return self.call("PATCH", path, body, content_type="application/merge-patch+json")

    def delete(self, path: str, body: Any = None) -> Any:
        """DELETE; a 404 is not an error."""
        try:
            return self.call("DELETE", path, body)
        except ApiError as error:
            if error.code == http.client.NOT_FOUND:
                return None
            raise


def _decode(code: int, raw: bytes) -> Any:
    text = raw.decode(errors="replace")
    try:
        decoded = json.loads(text)
    except ValueError:
        decoded = None
    if code >= http.client.BAD_REQUEST:
        raise ApiError(code, decoded if isinstance(decoded, dict) else {}, text)
    return text if decoded is None else decoded


def _load_yaml(text: str) -> dict[str, Any]:
    import yaml

    loaded: dict[str, Any] = yaml.safe_load(text) or {}
    return loaded


def _entry(config: dict[str, Any], key: str, name: str | None) -> dict[str, Any]:
    for entry in config.get(key) or ():
        if entry["name"] == name:
            found: dict[str, Any] = entry
            return found
    raise ValueError(f"the kubeconfig has no {name!r} among its {key}")


def _file(kubeconfig: Path, name: str | None) -> str:
    """The text of a file that a kubeconfig names, relative to it."""
    return (kubeconfig.parent / name).read_text() if name else ""


def _pem(kubeconfig: Path, holder: dict[str, Any], key: str) -> str:
    data = holder.get(f"{key}-data")
    if not data:
        return _file(kubeconfig, holder.get(key))
    # What an exec plugin gives is PEM already; a kubeconfig holds it in base64.
    return str(data) if data.startswith("-----") else base64.b64decode(data).decode()


def _ssl_context(path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    ca = _pem(path, cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=ca or None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _pem(path, user, "client-certificate"), _pem(path, user, "client-key")
    if certificate and key:
        # ssl reads certificates from files only.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(f"{certificate}\n{key}")
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _exec_credential(plugin: dict[str, Any]) -> dict[str, Any]:
    """The answer of a credential plugin (client.authentication.k8s.io ExecCredential)."""
    environment = {
        **os.environ,
        **{each["name"]: each["value"] for each in plugin.get("env") or ()},
    }
    request = {
        "apiVersion": plugin["apiVersion"],
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(request)
    done = subprocess.run(
        [plugin["command"], *(plugin.get("args") or ())],
        env=environment,
        capture_output=True,
        check=True,
        timeout=EXEC_TIMEOUT_SECONDS,
    )
    status = json.loads(done.stdout).get("status") or {}
    names = {
        "token": "token",
        "clientCertificateData": "client-certificate-data",
        "clientKeyData": "client-key-data",
    }
    return {names[key]: value for key, value in status.items() if key in names}
