"""The git settings of a WorkspaceConfig: where repositories come from, how git signs in, what is
checked out, who commits, and the pull requests that follow."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from kubetask_controller.api.common import KubeModel, PositiveCount
from kubetask_controller.api.context import HostName, KeyRef
from kubetask_controller.api.patterns import (
    API_URL_PATTERN,
    BRANCH_PATTERN,
    BRANCH_TEMPLATE_PATTERN,
    SPARSE_PATTERN,
    URL_TEMPLATE_PATTERN,
)
from kubetask_controller.api.pod import LocalObjectReference, choice
from kubetask_controller.api.rules import (
    ATOMIC,
    URL_TEMPLATE_RULES,
    Rule,
    list_map,
    validations,
)

Provider = Annotated[
    str,
    choice(
        "GitHub", "GitLab", "Gitea", "Forgejo", "Bitbucket", "BitbucketDataCenter", "AzureDevOps"
    ),
]
ApiURL = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=API_URL_PATTERN)]
UrlTemplate = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048, pattern=URL_TEMPLATE_PATTERN),
    Field(json_schema_extra=validations(*URL_TEMPLATE_RULES)),
]
Login = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^\s\x00-\x1f,]+$")
]
"""A user or team of a git host, as the host spells it."""


class GitCredentials(KubeModel):
    """How git signs in."""

    secret_ref: LocalObjectReference
    """A Secret with the keys username and password or token for HTTPS, ssh-privatekey and
    known_hosts for SSH, or githubAppID, githubAppInstallationID and githubAppPrivateKey for a
    GitHub App. It is read anew each time git signs in."""
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


class GitSigning(KubeModel):
    """How commits are signed."""

    secret_ref: LocalObjectReference
    """A Secret with the key ssh-privatekey or gpg-privatekey, and passphrase where a GPG key has
    one. The agent's container can read it."""


class GitHost(KubeModel):
    """A git host beside the one of git.urlTemplate. Repositories name it in repository.host."""

    name: HostName
    """Name of this entry, unique in the list."""
    url_template: UrlTemplate
    """URL of a repository of this host, as in git.urlTemplate."""
    credentials: GitCredentials | None = None
    """How git signs in there. Default: not at all."""
    provider: Provider | None = None
    """Kind of the host, as in git.provider."""
    api_url: Annotated[ApiURL | None, Field(alias="apiURL")] = None
    """URL of the host's API, as in git.apiURL."""


class GitSettings(KubeModel):
    """Where repositories come from, what is checked out and who commits."""

    url_template: UrlTemplate | None = None
    """URL of a repository, with {org} and {repo} in place of its organisation and name, in the path
    alone. Schemes: https, http, ssh, file, and user@host:path. Default:
    https://github.com/{org}/{repo}.git"""
    credentials: GitCredentials | None = None
    """How git signs in. Default: not at all, which is enough for public repositories."""
    ca_bundle: CABundle | None = None
    """Certificate authorities that git and the agent trust in addition to the image's own."""
    hosts: (
        Annotated[list[GitHost], Field(max_length=16, json_schema_extra=list_map("name"))] | None
    ) = None
    """Further git hosts, which repositories name in repository.host."""
    provider: Provider | None = None
    """Kind of the git host, for pull requests: GitHub, GitLab, Gitea, Forgejo, Bitbucket,
    BitbucketDataCenter or AzureDevOps. Default: by the name of the host, where that tells."""
    api_url: Annotated[ApiURL | None, Field(alias="apiURL")] = None
    """URL of the host's API, such as https://github.example.com/api/v3. Default: by the provider
    and the name of the host."""
    partial_clone: bool | None = None
    """Leave out the contents of files as they were in earlier commits, where the server can do
    that: a large history is cloned in a fraction of the time. git fetches such a content when it
    is asked for it, for which the agent needs to reach the server. Default: true where the agent's
    git can sign in (no credentials are needed, or they are shared with it), else false"""
    depth: PositiveCount | None = None
    """Fetch only so many of the newest commits. Default: all of them."""
    sparse_paths: (
        Annotated[
            list[
                Annotated[
                    str, StringConstraints(min_length=1, max_length=1024, pattern=SPARSE_PATTERN)
                ]
            ],
            Field(max_length=64, json_schema_extra=ATOMIC),
        ]
        | None
    ) = None
    """Folders that are checked out, beside the files at the top of the repository. Default: all of
    them."""
    submodules: bool | None = None
    """Check out submodules too. Default: false"""
    lfs: bool | None = None
    """Fetch the contents of files that Git LFS keeps, and push new ones. Needs git-lfs in the
    agent's image. Default: false, which leaves pointers."""
    branch_template: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=200, pattern=BRANCH_TEMPLATE_PATTERN),
        ]
        | None
    ) = None
    """Name of the branch that the agent works on. {run}, {index}, {task}, {namespace} and {id} are
    replaced; {id} is unique for the task. Default: kubetask/{run}-{index}-{id} in a BatchRun,
    kubetask/{task}-{id} for a Task."""
    on_branch_exists: Annotated[str, choice("Fail", "Replace", "Continue")] | None = None
    """What to do where the server has the branch already. Fail ends the task with reason
    BranchExists before its agent starts, Replace overwrites the branch, Continue starts from it.
    Default: Continue where the branch is one of an earlier attempt of the same task, else Fail."""
    author: GitAuthor | None = None
    """Author of commits. Default: KubeTask <kubetask@localhost>"""
    commit_message: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    """Message of the commits that kubetask-agent makes. {summary}, {description}, {task}, {run},
    {index}, {namespace}, {org}, {repo} and {branch} are replaced. Default: {summary}"""
    sign_off: bool | None = None
    """Add a Signed-off-by line to the commits that kubetask-agent makes. Default: false"""
    signing: GitSigning | None = None
    """Sign commits, those of the agent's own git too. Default: they are not signed."""
    run_hooks: bool | None = None
    """Let hooks of the repository run when kubetask-agent commits and pushes. Default: false"""
    timeout_seconds: Annotated[int, Field(ge=10, le=86400)] | None = None
    """How long a single git command may take. Default: 1800"""


class PullRequest(KubeModel):
    """The pull request that kubetask-agent opens after it has pushed commits. Where one of the
    same branch is open, that one is updated."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """Title. {summary}, {task}, {run}, {index}, {namespace}, {org}, {repo}, {branch} and {base}
    are replaced; {summary} is the first line of what the agent says at its end. Default: {summary}"""
    body: Annotated[str, StringConstraints(max_length=32768)] | None = None
    """Description, in Markdown. {description} is all of what the agent says at its end; the rest
    as in title. Default: {description}, and a line that names the task."""
    base: Annotated[str, StringConstraints(max_length=244, pattern=BRANCH_PATTERN)] | None = None
    """Branch to merge into. Default: the branch that the task started from."""
    draft: bool | None = None
    """Open it as a draft. Default: false"""
    labels: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
            Field(max_length=32, json_schema_extra=ATOMIC),
        ]
        | None
    ) = None
    """Labels to add, where the host has them."""
    reviewers: Annotated[list[Login], Field(max_length=32, json_schema_extra=ATOMIC)] | None = None
    """Users who are asked for a review. At GitHub and Gitea, org/team is a team."""
    assignees: Annotated[list[Login], Field(max_length=32, json_schema_extra=ATOMIC)] | None = None
    """Users whom it is assigned to, where the host has that."""
    auto_merge: Annotated[str, choice("Merge", "Squash", "Rebase")] | None = None
    """Merge by itself once reviews and checks allow it, in this way. Default: a person merges."""
