"""The metrics endpoint: plain, or over TLS with RBAC (see ``auth``).

A certificate in a folder is read again when it changes, so cert-manager can rotate it; without one a self-signed certificate
is generated at the start.
"""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import tempfile
from pathlib import Path
from typing import NoReturn

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from kubetask_controller.runtime.eventloop import run_until
from kubetask_controller.runtime.metrics import Metrics, render

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RELOAD_SECONDS = 10.0
SELF_SIGNED_DAYS = 365

logger = structlog.get_logger("metrics")


def routes(registry: CollectorRegistry) -> list[web.RouteDef]:
    """``GET /metrics``."""

    async def scrape(request: web.Request) -> web.Response:
        return web.Response(body=render(registry), headers={"Content-Type": CONTENT_TYPE})

    return [web.get(PATH, scrape)]


def new_context() -> ssl.SSLContext:
    """A server's TLS context, still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def load_self_signed(context: ssl.SSLContext) -> None:
    """Load a self-signed certificate for this host into the context."""
    # Imported here: the package takes a tenth of the start, and most installations do without.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName(host),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # The ssl module reads certificates from files only.
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(secret + certificate.public_bytes(pem))
        file.flush()
        context.load_cert_chain(file.name)


class CertificateWatcher:
    """Reloads a context's certificate when its files change; a runnable."""

    name = "certificate watcher"

    def __init__(
        self, context: ssl.SSLContext, directory: Path, *, metrics: Metrics | None = None
    ) -> None:
        """`directory` holds ``tls.crt`` and ``tls.key``; `metrics` counts the reads.

        Raises:
            OSError: a file is missing, or is no certificate (ssl.SSLError).
        """
        self._context = context
        self._files = (directory / "tls.crt", directory / "tls.key")
        self._metrics = metrics or Metrics()
        self._state = self._stat()
        self._load()

    async def run(self, stop: asyncio.Event) -> None:
        """Check the files every ten seconds."""
        await run_until(stop, self._watch())

    async def _watch(self) -> NoReturn:
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                state = await asyncio.to_thread(self._stat)
                if state != self._state:
                    self._load()
                    self._state = state
                    logger.info("Certificate was reloaded", file=str(self._files[0]))
            except OSError as error:
                self._metrics.certificate_read_errors.inc()
                # A rotation may be half done; the next check finds out.
                logger.warning("Certificate cannot be read", error=str(error))

    def _load(self) -> None:
        # Checked first: a certificate that does not match its key would leave the context without either.
        self._metrics.certificate_reads.inc()
        new_context().load_cert_chain(*self._files)
        self._context.load_cert_chain(*self._files)

    def _stat(self) -> list[tuple[int, int]]:
        return [(x.stat().st_mtime_ns, x.stat().st_ino) for x in self._files]
