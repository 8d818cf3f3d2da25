"""The small rules of other built-in resources."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from ..errors import FieldError, field_forbidden, invalid_value, required
from ..strategy import Strategy, keep

Object = dict[str, Any]

MAX_DATA = 1048576
TLS = "kubernetes.io/tls"
SERVICE_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_SECRET_KEYS = {
    TLS: ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/basic-auth": ("username", "password"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}
_KEY = re.compile(r"^[-._a-zA-Z0-9]+\Z")
_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


class Namespaces(Strategy):
    """Namespaces are finalized before they go, and are known by a label."""

    def prepare_create(self, obj: Object) -> None:
        """Active, with the finalizer of the namespace controller."""
        obj["status"] = {"phase": "Active"}
        obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]

    def default(self, obj: Object) -> None:
        """The label kubernetes.io/metadata.name is always there."""
        metadata = obj["metadata"]
        labels = metadata.get("labels") or {}
        if metadata.get("name") and labels.get("kubernetes.io/metadata.name") != metadata["name"]:
            metadata["labels"] = {**labels, "kubernetes.io/metadata.name": metadata["name"]}

    def prepare_update(self, new: Object, old: Object) -> None:
        """Finalizers change through the subresource alone."""
        super().prepare_update(new, old)
        new.setdefault("spec", {})
        keep(new["spec"], old.get("spec") or {}, "finalizers")


class Data(Strategy):
    """ConfigMaps and Secrets: keys, size, immutability."""

    status_fields = ()

    def __init__(self, *fields: str) -> None:
        self._fields = fields

    def validate(self, obj: Object) -> list[FieldError]:
        """Keys and size."""
        errors, size = [], 0
        for field in self._fields:
            for key, value in (obj.get(field) or {}).items():
                size += len(str(value).encode())
                if not _KEY.match(key) or key in (".", ".."):
                    errors.append(invalid_value(f"{field}[{key}]", key, _KEY_TEXT))
        if size > MAX_DATA:
            text = f"Too long: may not be more than {MAX_DATA} bytes"
            errors.append(FieldError("FieldValueTooLong", "[]", text))
        return errors

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """An immutable one stays as it is."""
        errors = self.validate(new)
        if old.get("immutable"):
            if not new.get("immutable"):
                errors.append(
                    field_forbidden("immutable", "field is immutable when `immutable` is set")
                )
            for field in self._fields:
                if (new.get(field) or {}) != (old.get(field) or {}):
                    errors.append(
                        field_forbidden(field, "field is immutable when `immutable` is set")
                    )
        return errors


class Secrets(Data):
    """Secrets have a type, and stringData that is taken into data."""

    def default(self, obj: Object) -> None:
        """Opaque by default; stringData is write-only."""
        obj.setdefault("type", "Opaque")
        texts = obj.pop("stringData", None)
        for key, text in (texts or {}).items():
            obj.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()

    def validate(self, obj: Object) -> list[FieldError]:
        """Required keys of the Secret's type."""
        return [*super().validate(obj), *_type_problems(obj)]

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """The type stays."""
        errors = super().validate_update(new, old)
        if new.get("type") != old.get("type"):
            errors.insert(0, invalid_value("type", new.get("type"), "field is immutable"))
        return errors


def _type_problems(secret: Object) -> Iterator[FieldError]:
    kind, data = secret.get("type", ""), secret.get("data") or {}
    found = [key for key in _SECRET_KEYS.get(kind, ()) if key in data]
    if not found or (kind == TLS and len(found) < 2):
        missing = [key for key in _SECRET_KEYS.get(kind, ()) if key not in found]
        yield from (required(f"data[{key}]") for key in missing)
    if kind == SERVICE_ACCOUNT_TOKEN:
        annotations = secret["metadata"].get("annotations") or {}
        if not annotations.get(SERVICE_ACCOUNT_NAME):
            yield required(f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]")


class Revisions(Strategy):
    """ControllerRevisions: their data never changes."""

    status_fields = ()

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """Only labels and the revision may change."""
        if new.get("data") != old.get("data"):
            return [invalid_value("data", new.get("data"), "field is immutable")]
        return []
