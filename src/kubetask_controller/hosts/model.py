"""What all git hosts have in common: pull requests, their checks and reviews, repositories."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class PullRequestState(StrEnum):
    """Where a pull request is."""

    OPEN = "Open"
    DRAFT = "Draft"
    MERGED = "Merged"
    CLOSED = "Closed"

    @property
    def is_open(self) -> bool:
        """Somebody has still to act."""
        return self in (PullRequestState.OPEN, PullRequestState.DRAFT)


class Checks(StrEnum):
    """What the checks of a pull request's newest commit say."""

    NONE = "None"
    PENDING = "Pending"
    PASSED = "Passed"
    FAILED = "Failed"


class Review(StrEnum):
    """What reviewers say."""

    NONE = "None"
    APPROVED = "Approved"
    CHANGES = "ChangesRequested"


class MergeMethod(StrEnum):
    """How a pull request is merged."""

    MERGE = "Merge"
    SQUASH = "Squash"
    REBASE = "Rebase"


@dataclass(frozen=True, slots=True)
class PullRequestSpec:
    """The pull request that somebody wants.

    Attributes:
        branch: to merge.
        base: to merge into; empty for the default branch.
        auto_merge: how the host merges it by itself; None where a person does.
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
    """A pull request, or merge request.

    Attributes:
        number: in its repository, as the host shows it.
        url: for a browser.
        state: where it is.
        title: of it.
        branch, base: what is merged into what.
        head: newest commit.
        created, closed: times; `closed` where it is merged or closed.
        checks, review: what is known; NONE where nothing is, or where it was not asked for.
        conflict: it cannot be merged as it is.
        behind: the base has commits that the branch lacks, as far as the host says so.
    """

    number: int
    url: str
    state: PullRequestState
    title: str = ""
    branch: str = ""
    base: str = ""
    head: str = ""
    author: str = ""
    created: datetime | None = None
    closed: datetime | None = None
    checks: Checks = Checks.NONE
    review: Review = Review.NONE
    conflict: bool = False
    behind: bool = False


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

    Every method raises HostError. `org` and `repo` are those of a Repository context.
    """

    async def open(
        self, org: str, repo: str, wanted: PullRequestSpec
    ) -> tuple[PullRequestInfo, list[str]]:
        """Open a pull request, or update the open one of the same branch.

        Returns:
            It, and what of the wish could not be had (a label, a reviewer), as sentences.
        """

    async def find(self, org: str, repo: str, branch: str) -> PullRequestInfo | None:
        """The newest pull request of a branch, whatever its state."""

    async def look(self, org: str, repo: str, number: int) -> PullRequestInfo:
        """A pull request with its checks and reviews."""

    async def merge(self, org: str, repo: str, request: PullRequestInfo, how: MergeMethod) -> None:
        """Merge it, if its newest commit is still the one that was looked at."""

    async def close(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """Close it without merging."""

    async def comment(self, org: str, repo: str, request: PullRequestInfo, text: str) -> None:
        """Say something."""

    async def update_branch(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """Bring the base's newest commits into its branch."""

    def repositories(
        self, owner: str, *, search: str = "", topic: str = ""
    ) -> AsyncIterator[RepositoryInfo]:
        """Repositories of an organisation, user or group, in any order."""
