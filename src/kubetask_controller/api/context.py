"""Contexts: the files and repositories that a task works with.

``type`` determines which of ``file`` and ``repository`` is set. The rules in this module apply
wherever a context is used.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints

from kubetask_controller.api import constants as c
from kubetask_controller.api.common import DataKey, KubeModel, ObjectName
from kubetask_controller.api.patterns import (
    BRANCH_PATTERN,
    FILE_NAME_PATTERN,
    ORG_PATTERN,
    REPO_PATTERN,
)
from kubetask_controller.api.rules import ATOMIC, Rule, unique_file_names, validations


class ContextType(StrEnum):
    """The type of a context."""

    FILE = "File"
    REPOSITORY = "Repository"


class KeyRef(KubeModel):
    """A key of a ConfigMap or Secret of the same namespace."""

    name: ObjectName
    """Name of the object, in the namespace of the task."""
    key: DataKey
    """Key within the object."""


class FileSource(KubeModel):
    """Where a file's content comes from. Exactly one field must be set."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "(has(self.inline) ? 1 : 0) + (has(self.configMapKeyRef) ? 1 : 0)"
                " + (has(self.secretKeyRef) ? 1 : 0) == 1",
                "exactly one of inline, configMapKeyRef and secretKeyRef must be set in source",
            )
        )
    )

    inline: Annotated[str, StringConstraints(max_length=c.MAX_INLINE_LENGTH)] | None = None
    """The content itself. Everyone who can read this object can read it: put secrets into a
    Secret."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap. Until ConfigMap and key exist, the task is Pending with reason
    ContextNotFound."""
    secret_key_ref: KeyRef | None = None
    """A key of a Secret. Only the task's Pod receives the content. Until Secret and key exist, the
    task is Pending with reason ContextNotFound."""


FileName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253, pattern=FILE_NAME_PATTERN),
    Field(
        json_schema_extra=validations(
            Rule(
                "!self.startsWith('/') && !self.startsWith('..') && !self.endsWith('/')",
                "file.name must stay inside the task's folder: remove the leading '/' or '..'"
                " and the trailing '/'",
            ),
            Rule(
                "self != '.kubetask' && !self.startsWith('.kubetask/')",
                "file.name must not be below .kubetask/, which is reserved: choose another name",
            ),
        )
    ),
]
"""The pattern rejects every path outside of the task's folder; the first rule repeats part of it
with a readable message."""


class File(KubeModel):
    """A file in the task's working directory."""

    name: FileName
    """Path of the file below the task's working directory, such as task.md or docs/guide.md. A
    file of variableContexts replaces a file of commonContext that has the same name."""
    source: FileSource
    """Where the content comes from."""


HostName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
]
"""Name of an entry of a WorkspaceConfig's ``git.hosts``."""


class Repository(KubeModel):
    """A git repository, cloned into the task's working directory."""

    org: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=ORG_PATTERN)]
    """Organisation, user or group that owns the repository. Groups may be nested:
    group/subgroup."""
    repo: Annotated[
        str,
        StringConstraints(min_length=1, max_length=100, pattern=REPO_PATTERN),
        Field(
            json_schema_extra=validations(
                Rule(
                    "self != '.git' && self != '.kubetask'",
                    "repository.repo must not be .git or .kubetask, which are reserved",
                )
            )
        ),
    ]
    """Name of the repository, without the organisation."""
    branch: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=244, pattern=BRANCH_PATTERN),
            Field(
                json_schema_extra=validations(
                    Rule(
                        "!self.startsWith('-') && !self.endsWith('.lock')",
                        "repository.branch must not start with '-' or end in '.lock':"
                        " git does not allow it",
                    )
                )
            ),
        ]
        | None
    ) = None
    """Branch, tag or commit to start from. The agent works on a new branch. Default: the
    repository's default branch."""
    host: HostName | None = None
    """Entry of git.hosts in the WorkspaceConfig that the repository comes from. Default: the host
    of git.urlTemplate."""


class Context(KubeModel):
    """A file or a repository that a task works with."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "(self.type == 'File') == has(self.file)",
                "file must be set when type is File, and only then",
            ),
            Rule(
                "(self.type == 'Repository') == has(self.repository)",
                "repository must be set when type is Repository, and only then",
            ),
        )
    )

    type: ContextType
    """File or Repository. The field of that name must be set, and no other."""
    file: File | None = None
    """The file, when type is File."""
    repository: Repository | None = None
    """The repository, when type is Repository."""


Contexts = Annotated[
    list[Context],
    Field(
        max_length=c.MAX_CONTEXTS,
        json_schema_extra={**ATOMIC, **validations(unique_file_names(c.MAX_CONTEXTS))},
    ),
]
"""A list of contexts; a run may have ten thousand lists."""


def secret_refusal(
    contexts: Iterable[Mapping[str, Any]], config: Mapping[str, Any], *, config_name: str
) -> str | None:
    """The message for reason ``SecretNotAllowed``, or None if the WorkspaceConfig allows all Secrets of the files.

    The API server cannot compare a Task with a WorkspaceConfig at admission, so the controller checks this before it
    creates a Job.

    Args:
        contexts: the contexts of the task, as in its owner's spec.
        config: the spec of the WorkspaceConfig, empty where there is none.
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
                f"file {file.get('name')} uses Secret {secret}, which is not in allowedSecrets of"
                f" WorkspaceConfig {config_name}: add it there, or use another Secret"
            )
    return None
