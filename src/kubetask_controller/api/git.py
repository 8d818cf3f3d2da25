"""The git settings of a WorkspaceConfig: repository URLs, credentials, checkout, author, and pull
requests."""

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
"""A user or team of a git host, in the spelling of the host."""


class GitCredentials(KubeModel):
    """Credentials of git."""

    secret_ref: LocalObjectReference
    """A Secret with the keys username and password or token for HTTPS, ssh-privatekey and
    known_hosts for SSH, or githubAppID, githubAppInstallationID and githubAppPrivateKey for a
    GitHub App; email is the user of Bitbucket Cloud's API. git reads it each time it signs in."""
    share_with_agent: bool | None = None
    """Whether the agent's git can use the credentials too, so that it can push. Default: false"""


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
    """Author and committer of commits."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^<>\x00-\x1f]+$")
    ]
    """Name of the author and committer."""
    email: Annotated[
        str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^<>\s\x00-\x1f]+$")
    ]
    """E-mail address of the author and committer."""


class GitSigning(KubeModel):
    """Signing of commits."""

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
    """Credentials for this host. Default: none."""
    provider: Provider | None = None
    """Kind of the host, as in git.provider."""
    api_url: Annotated[ApiURL | None, Field(alias="apiURL")] = None
    """URL of the host's API, as in git.apiURL."""


class GitSettings(KubeModel):
    """Repository URLs, credentials, checkout and author of commits."""

    url_template: UrlTemplate | None = None
    """URL of a repository. {org} and {repo} stand for its organisation and name, and can be used in
    the path only. Schemes: https, http, ssh, file, and user@host:path. Default:
    https://github.com/{org}/{repo}.git"""
    credentials: GitCredentials | None = None
    """Credentials of git. Default: none, which is enough for public repositories."""
    ca_bundle: CABundle | None = None
    """Certificate authorities that git and the agent trust, in addition to those of the image."""
    hosts: (
        Annotated[list[GitHost], Field(max_length=16, json_schema_extra=list_map("name"))] | None
    ) = None
    """Further git hosts. Repositories refer to them in repository.host."""
    provider: Provider | None = None
    """Kind of the git host, for pull requests: GitHub, GitLab, Gitea, Forgejo, Bitbucket,
    BitbucketDataCenter or AzureDevOps. Default: derived from the host name where possible."""
    api_url: Annotated[ApiURL | None, Field(alias="apiURL")] = None
    """URL of the host's API, such as https://github.example.com/api/v3. Default: derived from the
    provider and the host name."""
    partial_clone: bool | None = None
    """Clone without the file contents of earlier commits, where the server supports it. This clones a
    large history in a fraction of the time. git fetches missing contents on demand, so the agent
    needs access to the server. Default: true where the agent's git can sign in (no credentials
    are needed, or they are shared with it), else false"""
    depth: PositiveCount | None = None
    """Number of newest commits to fetch. Default: all commits."""
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
    """Folders to check out, in addition to the files at the root of the repository. Default: all
    folders."""
    submodules: bool | None = None
    """Whether to check out submodules. Default: false"""
    lfs: bool | None = None
    """Whether to fetch and push files that Git LFS stores. Needs git-lfs in the agent's image.
    Default: false, which checks out pointers."""
    branch_template: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=200, pattern=BRANCH_TEMPLATE_PATTERN),
        ]
        | None
    ) = None
    """Name of the branch that the agent works on. Placeholders: {run}, {index}, {task}, {namespace}
    and {id}, which is unique for the task. Default: kubetask/{run}-{index}-{id} in a BatchRun,
    kubetask/{task}-{id} for a Task."""
    on_branch_exists: Annotated[str, choice("Fail", "Replace", "Continue")] | None = None
    """What to do if the server already has the branch. Fail fails the task with reason BranchExists
    before its agent starts, Replace overwrites the branch, Continue starts from it. Default:
    Continue if an earlier attempt of the same task pushed the branch, else Fail."""
    author: GitAuthor | None = None
    """Author of commits. Default: KubeTask <kubetask@localhost>"""
    commit_message: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    """Message of the commits that kubetask-agent creates. Placeholders: {summary}, {description},
    {task}, {run}, {index}, {namespace}, {org}, {repo} and {branch}. Default: {summary}"""
    sign_off: bool | None = None
    """Whether to add a Signed-off-by line to the commits that kubetask-agent creates. Default: false"""
    signing: GitSigning | None = None
    """Signs commits, including those of the agent's own git. Default: unsigned."""
    run_hooks: bool | None = None
    """Whether hooks of the repository run when kubetask-agent commits and pushes. Default: false"""
    timeout_seconds: Annotated[int, Field(ge=10, le=86400)] | None = None
    """Timeout of a single git command. Default: 1800"""


class PullRequest(KubeModel):
    """The pull request that kubetask-agent opens after it has pushed commits. If a pull request of
    the same branch is open, kubetask-agent updates it."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """Title. Placeholders: {summary}, {task}, {run}, {index}, {namespace}, {org}, {repo}, {branch}
    and {base}; {summary} is the first line of the agent's final message. Default: {summary}"""
    body: Annotated[str, StringConstraints(max_length=32768)] | None = None
    """Description, in Markdown. {description} is the agent's final message; the other placeholders
    are those of title. Default: {description}, and a line with the name of the task."""
    base: Annotated[str, StringConstraints(max_length=244, pattern=BRANCH_PATTERN)] | None = None
    """Branch to merge into. Default: the branch from which the task started."""
    draft: bool | None = None
    """Whether to open it as a draft. Default: false"""
    labels: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=253)]],
            Field(max_length=32, json_schema_extra=ATOMIC),
        ]
        | None
    ) = None
    """Labels to add, where the host supports them."""
    reviewers: Annotated[list[Login], Field(max_length=32, json_schema_extra=ATOMIC)] | None = None
    """Users to request a review from. At GitHub and Gitea, org/team is a team."""
    assignees: Annotated[list[Login], Field(max_length=32, json_schema_extra=ATOMIC)] | None = None
    """Users to assign, where the host supports it."""
    auto_merge: Annotated[str, choice("Merge", "Squash", "Rebase")] | None = None
    """Method with which the host merges automatically when reviews and checks pass. Default: no
    automatic merge."""
