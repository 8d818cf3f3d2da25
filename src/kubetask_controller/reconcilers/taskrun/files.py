"""Inline files of a run or Task: packed into immutable ConfigMaps, so that a prompt stands once however many tasks share it.

The key of a file is the hash of its text, and ConfigMaps are filled in the order of the work, so the same work always
gives the same ConfigMaps: making them again after a crash finds them there.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kubetask_controller.api import constants as c
from kubetask_controller.api.typed import ContextJSON
from kubetask_controller.client.errors import APIStatusError, is_already_exists
from kubetask_controller.client.resources import CONFIGMAPS
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.taskrun import names
from kubetask_controller.runtime.meta import OwnerReference
from kubetask_controller.types import JSON

_KEY_OVERHEAD = 80
"""Bytes that a key and its punctuation add."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The object that owns the ConfigMaps and Jobs: a BatchRun or a Task."""

    kind: str
    namespace: str
    name: str
    uid: str

    def reference(self) -> JSON:
        """The owner reference of what it controls."""
        return OwnerReference(c.API_VERSION, self.kind, self.name, self.uid).to_dict()


@dataclass(frozen=True, slots=True)
class InlineFiles:
    """Where each inline text is found.

    Attributes:
        config_maps: the ConfigMaps to make, as objects.
        places: map of the key of a text to the name of its ConfigMap.
    """

    config_maps: Sequence[JSON]
    places: Mapping[str, str]


def content_digest(text: str) -> str:
    """The SHA-256 of a text in hexadecimal, by which the init container verifies the file."""
    return hashlib.sha256(text.encode()).hexdigest()


def content_key(text: str) -> str:
    """The key of a text in a ConfigMap: the start of its digest."""
    return content_digest(text)[:40]


def inline_text(context: ContextJSON) -> str | None:
    """The inline text of a File context, None where the file comes from elsewhere."""
    source = (context.get("file") or {}).get("source") or {}
    return source.get("inline")


def pack(owner: Owner, contexts: Iterable[ContextJSON]) -> InlineFiles:
    """ConfigMaps for all inline texts of an owner's contexts, each at most ``MAX_CONFIG_MAP_BYTES``.

    A larger text has no ConfigMap: the template of a task that uses it raises TooLargeError.
    """
    bins: list[dict[str, str]] = []
    sizes: list[int] = []
    places: dict[str, int] = {}
    for context in contexts:
        text = inline_text(context)
        if text is None:
            continue
        key = content_key(text)
        if key in places:
            continue
        size = len(text.encode()) + _KEY_OVERHEAD
        if size > c.MAX_CONFIG_MAP_BYTES + _KEY_OVERHEAD:
            continue
        if not bins or sizes[-1] + size > c.MAX_CONFIG_MAP_BYTES + _KEY_OVERHEAD:
            bins.append({})
            sizes.append(0)
        bins[-1][key] = text
        sizes[-1] += size
        places[key] = len(bins) - 1
    map_names = [names.owned_name(owner.name, owner.uid, f"files-{i}") for i in range(len(bins))]
    return InlineFiles(
        [_config_map(owner, name, data) for name, data in zip(map_names, bins, strict=True)],
        {key: map_names[position] for key, position in places.items()},
    )


async def ensure(client: Client, files: InlineFiles) -> None:
    """Create the ConfigMaps that do not exist yet.

    One that exists is not read, because the controller has no right to read ConfigMaps: the manifest of each task carries
    the digest of each inline file, and the init container rejects a file that another user has put there.
    """
    for body in files.config_maps:
        try:
            await client.create(CONFIGMAPS, body["metadata"]["namespace"], body)
        except APIStatusError as error:
            if not is_already_exists(error):
                raise


class TooLargeError(ValueError):
    """Raised when an inline file is larger than a ConfigMap can hold."""


def _config_map(owner: Owner, name: str, data: dict[str, str]) -> JSON:
    return {
        "apiVersion": CONFIGMAPS.api_version,
        "kind": CONFIGMAPS.kind,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": {c.LABEL_MANAGED_BY: c.LABEL_MANAGED_BY_VALUE},
            "ownerReferences": [owner.reference()],
        },
        "immutable": True,
        "data": data,
    }
