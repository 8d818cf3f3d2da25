"""TLS certificates: their sources, their content, and the context that is made of them.

Guarantees: load() reads files again, so that a rotated certificate or CA takes effect without a restart;
private keys are on disk only while the ssl module reads them.
"""

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetask_controller.client.errors import ConfigError

PEMSource = bytes | Path | None
"""PEM, or the file that contains it."""


@dataclass(frozen=True, slots=True)
class TLSMaterial:
    """The content of the sources at one moment, as PEM; empty for none."""

    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class TLSConfig:
    """How client and server authenticate each other.

    Attributes:
        ca: trusted certificates; None for the system's.
        certificate: of the client, with intermediate certificates.
        key: of the certificate.
        server_name: expected in the server's certificate, if not the URL's host.
        insecure: do not verify the server.
    """

    ca: PEMSource = None
    certificate: PEMSource = None
    key: PEMSource = None
    server_name: str | None = None
    insecure: bool = False

    @property
    def from_files(self) -> bool:
        """Whether a source is a file, whose content may change while the process runs."""
        return any(isinstance(source, Path) for source in (self.ca, self.certificate, self.key))

    def load(self) -> TLSMaterial:
        """Read the sources; blocks.

        Raises:
            ConfigError: a file cannot be read.
        """
        return TLSMaterial(_read(self.ca), _read(self.certificate), _read(self.key))

    def context(self, material: TLSMaterial) -> ssl.SSLContext:
        """A TLS context for connections; blocks for some milliseconds.

        Raises:
            ConfigError: the material is no PEM, or the key does not match the certificate.
        """
        if bool(material.certificate) != bool(material.key):
            raise ConfigError("a client certificate needs its key, and a key its certificate")
        try:
            # "" would mean no trusted certificates, None means the system's.
            context = ssl.create_default_context(cadata=material.ca.decode() or None)
            # Python 3.13 checks RFC 5280 strictly, and the CAs of clusters often lack an extension.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if material.certificate:
                _load_pair(context, material)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"TLS certificates cannot be used: {error}") from error
        return context


def source(section: Mapping[str, Any], field: str, directory: Path) -> PEMSource:
    """A field of a kubeconfig; its ``-data`` variant takes precedence.

    Raises:
        ConfigError: the data is not base64.
    """
    data = section.get(f"{field}-data")
    if data:
        try:
            return base64.b64decode(data, validate=False)
        except (binascii.Error, ValueError, TypeError) as error:
            raise ConfigError(f"{field}-data is not base64: {error}") from error
    path = section.get(field)
    return directory / str(path) if path else None


def _read(origin: PEMSource) -> bytes:
    if origin is None or isinstance(origin, bytes):
        return origin or b""
    try:
        return origin.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read a certificate: {error}") from error


def _load_pair(context: ssl.SSLContext, material: TLSMaterial) -> None:
    # The ssl module reads certificates from files only.
    with tempfile.TemporaryDirectory() as directory:
        pem = Path(directory, "client.pem")
        pem.touch(mode=0o600)
        pem.write_bytes(material.certificate.strip() + b"\n" + material.key.strip() + b"\n")
        context.load_cert_chain(pem)
