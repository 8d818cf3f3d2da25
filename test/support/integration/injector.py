"""A mesh's injector: a webhook over HTTPS, in the tests' process, that gives Pods of one namespace a proxy."""

import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from devcluster.apiserver.auth.pki import CertificateAuthority

from support.integration.kubectl import Kubectl

JSON = dict[str, Any]
NAME = "injector.mesh.example.com"


class Injector(ThreadingHTTPServer):
    """Answers each AdmissionReview with `patch`. `seen` has what was asked."""

    daemon_threads = True

    def __init__(self, host: str, directory: Path, patch: list[JSON]) -> None:
        self.patch = patch
        self.seen: list[JSON] = []
        authority = CertificateAuthority.create("injector-ca")
        self.ca = base64.b64encode(authority.pem).decode()
        certificate, key = authority.server([host]).write(directory, "injector")
        super().__init__((host, 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://{host}:{self.server_port}/inject"


class _Handler(BaseHTTPRequestHandler):
    server: Injector

    def do_POST(self) -> None:
        """Answer a review."""
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(review["request"])
        patch = base64.b64encode(json.dumps(self.server.patch).encode()).decode()
        answer = {
            "apiVersion": review["apiVersion"],
            "kind": review["kind"],
            "response": {
                "uid": review["request"]["uid"],
                "allowed": True,
                "patchType": "JSONPatch",
                "patch": patch,
            },
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of tests clean."""


@contextmanager
def injector(
    kubectl: Kubectl, host: str, directory: Path, patch: list[JSON], **fields: Any
) -> Iterator[Injector]:
    """An injector at work for the Pods of the test's namespace; `fields` are further ones of its webhook."""
    with Injector(host, directory, patch) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        name = f"mesh-{kubectl.namespace}"
        webhook = {
            "name": NAME,
            "clientConfig": {"url": server.url, "caBundle": server.ca},
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                }
            ],
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}
            },
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            **fields,
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [webhook],
        }
        try:
            kubectl.apply(configuration)
            yield server
        finally:
            kubectl("delete", "mutatingwebhookconfiguration", name, "--ignore-not-found")
            server.shutdown()
            thread.join()
