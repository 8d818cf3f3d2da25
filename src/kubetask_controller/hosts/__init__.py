"""APIs of git hosts: pull requests and lists of repositories, with one interface.

The agent images open pull requests with it, and the kubectl plugin shows and merges them; the controller never imports it. No
library covers all supported hosts (PyGithub, python-gitlab and ogr each cover some of them, with different rules for retries
and paging), so these are plain HTTP requests with one set of rules.
"""

from kubetask_controller.hosts.detect import ENTERPRISE_URLS, connect, provider_of
from kubetask_controller.hosts.http import HostError, HostSession, RequestLimits
from kubetask_controller.hosts.links import (
    PullRequestLink,
    Site,
    host_of,
    parse_link,
)
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
    "PullRequestLink",
    "PullRequestSpec",
    "PullRequestState",
    "RepositoryInfo",
    "RequestLimits",
    "Review",
    "Site",
    "connect",
    "host_of",
    "parse_link",
    "provider_of",
]
