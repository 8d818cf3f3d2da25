"""JSON Web Tokens as the API server signs them for ServiceAccounts (RFC 7519, ES256).

`Signer` signs and verifies; it is independent of ServiceAccounts. Claims are the caller's.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from .pki import private_pem, write_private

ALGORITHM = "ES256"
KEY_FILE = "sa.key"
_COORDINATE_BYTES = 32
_SIGNATURE_PARTS = 3


class Signer:
    """Signs with one P-256 key, and verifies what it signed."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._public = key.public_key()
        der = self._public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = _encode(hashlib.sha256(der).digest())
        self._header = _encode(_json({"alg": ALGORITHM, "kid": self.key_id}))

    @classmethod
    def load_or_create(cls, directory: Path) -> Signer:
        """The key in `directory` (sa.key), generated if it is missing."""
        path = directory / KEY_FILE
        if path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            return cls(key)
        key = ec.generate_private_key(ec.SECP256R1())
        directory.mkdir(parents=True, exist_ok=True)
        write_private(path, private_pem(key))
        return cls(key)

    def sign(self, claims: dict[str, Any]) -> str:
        """The compact form of `claims`, signed."""
        signed = f"{self._header}.{_encode(_json(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        raw = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"{signed}.{_encode(raw)}"

    def verify(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of ours, or None when it is not one. Expiry is the caller's to check."""
        parts = token.split(".")
        if len(parts) != _SIGNATURE_PARTS or parts[0] != self._header:
            return None
        try:
            raw = _decode(parts[2])
            if len(raw) != 2 * _COORDINATE_BYTES:
                return None
            signature = encode_dss_signature(
                int.from_bytes(raw[:_COORDINATE_BYTES], "big"),
                int.from_bytes(raw[_COORDINATE_BYTES:], "big"),
            )
            signed = f"{parts[0]}.{parts[1]}".encode()
            self._public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
            claims: dict[str, Any] = json.loads(_decode(parts[1]))
        except (InvalidSignature, ValueError):
            return None
        return claims

    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        numbers = self._public.public_numbers()
        key = {
            "use": "sig",
            "kty": "EC",
            "kid": self.key_id,
            "crv": "P-256",
            "alg": ALGORITHM,
            "x": _encode(numbers.x.to_bytes(_COORDINATE_BYTES, "big")),
            "y": _encode(numbers.y.to_bytes(_COORDINATE_BYTES, "big")),
        }
        return {"keys": [key]}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
