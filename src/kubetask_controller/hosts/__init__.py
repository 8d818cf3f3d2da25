"""APIs of git hosts: pull requests and lists of repositories, alike for all of them.

Our agent image opens pull requests with it, the kubectl plugin follows them; the controller never loads it. No library
covers the hosts that people use (PyGithub, python-gitlab and ogr have some of them each, with other rules for retries and
paging), so this is plain HTTP, with one set of rules.
"""

from kubetask_controller.hosts.detect import ENTERPRISE_URLS, connect, provider_of
from kubetask_controller.hosts.http import HostError, HostSession, RequestLimits
from kubetask_controller.hosts.model import (
    Checks,
    HostAPI,
    MergeMethod,
    PullRequestInfo,
    PullRequestSpec,
    PullRequestState,
    RepositoryInfo,
    Review,
)

__all__ = [
    "ENTERPRISE_URLS",
    "Checks",
    "HostAPI",
    "HostError",
    "HostSession",
    "MergeMethod",
    "PullRequestInfo",
    "PullRequestSpec",
    "PullRequestState",
    "RepositoryInfo",
    "RequestLimits",
    "Review",
    "connect",
    "provider_of",
]
