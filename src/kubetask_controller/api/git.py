"""The git settings of a WorkspaceConfig: where repositories come from, how git signs in, who
commits."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from kubetask_controller.api.common import KubeModel
from kubetask_controller.api.context import KeyRef
from kubetask_controller.api.patterns import URL_TEMPLATE_PATTERN
from kubetask_controller.api.pod import LocalObjectReference
from kubetask_controller.api.rules import URL_TEMPLATE_RULES, Rule, validations


class GitCredentials(KubeModel):
    """How git signs in."""

    secret_ref: LocalObjectReference
    """A Secret of type kubernetes.io/basic-auth (username, password or token) for HTTPS, or
    kubernetes.io/ssh-auth (ssh-privatekey, and known_hosts) for SSH. It is read anew each time git
    signs in."""
    share_with_agent: bool | None = None
    """Let the agent's own git use the credentials too, so that it can push. Default: false."""


class CABundle(KubeModel):
    """Certificate authorities in PEM. Exactly one field must be set."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.configMapKeyRef) != has(self.secretKeyRef)",
                "exactly one of configMapKeyRef and secretKeyRef must be set in caBundle",
            )
        )
    )

    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""
    secret_key_ref: KeyRef | None = None
    """A key of a Secret."""


class GitAuthor(KubeModel):
    """Who commits."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^<>\x00-\x1f]+$")
    ]
    """Name of the author and committer."""
    email: Annotated[
        str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^<>\s\x00-\x1f]+$")
    ]
    """E-mail address of the author and committer."""


class GitSettings(KubeModel):
    """Where repositories come from and who commits."""

    url_template: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=2048, pattern=URL_TEMPLATE_PATTERN),
            Field(json_schema_extra=validations(*URL_TEMPLATE_RULES)),
        ]
        | None
    ) = None
    """URL of a repository, with {org} and {repo} in place of its organisation and name, in the path
    alone. Schemes: https, http, ssh, file, and user@host:path. Default:
    https://github.com/{org}/{repo}.git"""
    credentials: GitCredentials | None = None
    """How git signs in. Default: not at all, which is enough for public repositories."""
    ca_bundle: CABundle | None = None
    """Certificate authorities that git and the agent trust in addition to the image's own."""
    partial_clone: bool | None = None
    """Leave out the contents of files as they were in earlier commits, where the server can do
    that: a large history is cloned in a fraction of the time. git fetches such a content when it
    is asked for it, for which the agent needs to reach the server. Default: true where the agent's
    git can sign in (no credentials are needed, or they are shared with it), else false"""
    author: GitAuthor | None = None
    """Author of commits. Default: KubeTask <kubetask@localhost>"""
