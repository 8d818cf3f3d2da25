"""Which Secrets the files of a task may come from.

The API server cannot compare a Task with a WorkspaceConfig at admission, so the controller does it, before it makes a Job.
"""

from collections.abc import Iterable, Mapping
from typing import Any

JSON = Mapping[str, Any]


def secret_refusal(contexts: Iterable[JSON], config: JSON, *, config_name: str) -> str | None:
    """Why a task may not run: the sentence for reason ``SecretNotAllowed``; None where it may.

    Args:
        contexts: the contexts of the task, as in its owner's spec.
        config: the spec of the WorkspaceConfig in force, empty where there is none.
        config_name: its name.
    """
    allowed = config.get("allowedSecrets")
    if allowed is None:
        return None
    for context in contexts:
        file = context.get("file") or {}
        secret = ((file.get("source") or {}).get("secretKeyRef") or {}).get("name")
        if secret is not None and secret not in allowed:
            return (
                f"file {file.get('name')} comes from Secret {secret}, which allowedSecrets of"
                f" WorkspaceConfig {config_name} does not list: add it there, or use another Secret"
            )
    return None
