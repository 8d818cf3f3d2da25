"""The common model of git hosts: pull requests, their checks and reviews, repositories."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class PullRequestState(StrEnum):
    """The state of a pull request."""

    OPEN = "Open"
    DRAFT = "Draft"
    MERGED = "Merged"
    CLOSED = "Closed"

    @property
    def is_open(self) -> bool:
        """Whether the pull request is neither merged nor closed."""
        return self in (PullRequestState.OPEN, PullRequestState.DRAFT)


class Checks(StrEnum):
    """The combined result of the checks of a pull request's newest commit; unknown if the token may not read it."""

    NONE = "None"
    PENDING = "Pending"
    PASSED = "Passed"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class Review(StrEnum):
    """The combined result of reviews."""

    NONE = "None"
    APPROVED = "Approved"
    CHANGES = "ChangesRequested"


class MergeMethod(StrEnum):
    """The method of merging a pull request."""

    MERGE = "Merge"
    SQUASH = "Squash"
    REBASE = "Rebase"


@dataclass(frozen=True, slots=True)
class PullRequestSpec:
    """The desired state of a pull request.

    Attributes:
        branch: branch to merge.
        base: branch to merge into; empty for the default branch.
        auto_merge: method of automatic merging; None for no automatic merge.
    """

    branch: str
    base: str
    title: str
    body: str = ""
    draft: bool = False
    labels: Sequence[str] = ()
    reviewers: Sequence[str] = ()
    assignees: Sequence[str] = ()
    auto_merge: MergeMethod | None = None


@dataclass(frozen=True, slots=True)
class PullRequestInfo:
    """The observed state of a pull request, or merge request.

    Attributes:
        number: number in its repository.
        url: URL for a browser.
        state: its state.
        title: its title.
        branch, base: the branch to merge, and its target.
        fork: whether the branch is not one of the repository itself, but of a fork, which may be deleted.
        head: newest commit.
        created, closed: times; `closed` is set if it is merged or closed.
        checks, review: combined results; NONE if there are none, or if they were not fetched.
        conflict: whether it has merge conflicts.
        behind: whether the base has commits that the branch lacks, if the host reports it.
        note: why fields are unknown; empty if none is.
    """

    number: int
    url: str
    state: PullRequestState
    title: str = ""
    branch: str = ""
    base: str = ""
    fork: bool = False
    head: str = ""
    author: str = ""
    created: datetime | None = None
    closed: datetime | None = None
    checks: Checks = Checks.NONE
    review: Review = Review.NONE
    conflict: bool = False
    behind: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class RepositoryInfo:
    """A repository of an organisation."""

    org: str
    repo: str
    default_branch: str = ""
    fork: bool = False
    archived: bool = False
    empty: bool = False
    topics: Sequence[str] = ()


class HostAPI(Protocol):
    """The API of one git host.

    All methods raise HostError. `org` and `repo` are those of a Repository context.
    """

    async def open(
        self, org: str, repo: str, wanted: PullRequestSpec
    ) -> tuple[PullRequestInfo, list[str]]:
        """Open a pull request, or update the open one of the same branch.

        Returns:
            The pull request, and messages about fields that could not be set (a label, a reviewer).
        """

    async def find(self, org: str, repo: str, branch: str) -> PullRequestInfo | None:
        """The newest pull request of a branch, in any state."""

    async def look(self, org: str, repo: str, number: int) -> PullRequestInfo:
        """A pull request with its checks and reviews."""

    async def merge(self, org: str, repo: str, request: PullRequestInfo, how: MergeMethod) -> None:
        """Merge it if its newest commit is still `request.head`."""

    async def close(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """Close it without merging."""

    async def comment(self, org: str, repo: str, request: PullRequestInfo, text: str) -> None:
        """Add a comment."""

    async def update_branch(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """Merge the base's newest commits into its branch."""

    def repositories(
        self, owner: str, *, search: str = "", topic: str = ""
    ) -> AsyncIterator[RepositoryInfo]:
        """Repositories of an organisation, user or group, in any order."""


def optional_time(value: str | None) -> datetime | None:
    """A timestamp in ISO 8601; None if it is missing. Python truncates fractions of seconds to six digits."""
    return datetime.fromisoformat(value) if value else None
