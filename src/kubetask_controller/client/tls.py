"""TLS material: where it lies, what it is now, and the context that is made of it.

Guarantees: files are read again when asked, so that a rotated certificate or CA takes effect without
a restart; private keys touch the disk only for the moment in which the ssl module reads them.
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

Source = bytes | Path | None
"""PEM itself, or the file that holds it."""


@dataclass(frozen=True, slots=True)
class TLSMaterial:
    """PEM as it is now; empty for none."""

    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class TLSConfig:
    """How to know the server, and how to be known to it.

    Attributes:
        ca: whom to trust; None for the system's authorities.
        certificate: of the client, with what lies between it and the server's CA.
        key: of the certificate.
        server_name: that the server's certificate must bear, if not the URL's host.
        insecure: believe any server.
    """

    ca: Source = None
    certificate: Source = None
    key: Source = None
    server_name: str | None = None
    insecure: bool = False

    @property
    def from_files(self) -> bool:
        """The material may change while the process runs."""
        return any(isinstance(source, Path) for source in (self.ca, self.certificate, self.key))

    def load(self) -> TLSMaterial:
        """Read what is in files; blocks.

        Raises:
            ConfigError: a file cannot be read.
        """
        return TLSMaterial(_read(self.ca), _read(self.certificate), _read(self.key))

    def context(self, material: TLSMaterial) -> ssl.SSLContext:
        """For connections; blocks for some milliseconds.

        Raises:
            ConfigError: the material is no PEM, or the key does not fit the certificate.
        """
        if bool(material.certificate) != bool(material.key):
            raise ConfigError("a client certificate needs its key, and a key its certificate")
        try:
            # "" would mean no authority at all, None means the system's.
            context = ssl.create_default_context(cadata=material.ca.decode() or None)
            # Python 3.13 made the check for RFC 5280 strict; clusters' own CAs often miss an extension.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if material.certificate:
                _load_pair(context, material)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"TLS certificates cannot be used: {error}") from error
        return context


def source(section: Mapping[str, Any], field: str, directory: Path) -> Source:
    """A field of a kubeconfig, or its ``-data`` twin, which goes first.

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


def _read(origin: Source) -> bytes:
    if origin is None or isinstance(origin, bytes):
        return origin or b""
    try:
        return origin.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read a certificate: {error}") from error


def _load_pair(context: ssl.SSLContext, material: TLSMaterial) -> None:
    # The ssl module takes it from files only.
    with tempfile.TemporaryDirectory() as directory:
        pem = Path(directory, "client.pem")
        pem.touch(mode=0o600)
        pem.write_bytes(material.certificate.strip() + b"\n" + material.key.strip() + b"\n")
        context.load_cert_chain(pem)
