"""URLs of pull requests, as browsers show them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_FORMS = (
    (r"/(?P<org>[^/]+)/(?P<repo>[^/]+)/pull/(?P<number>\d+)", "GitHub"),
    (r"/(?P<org>.+)/(?P<repo>[^/]+)/-/merge_requests/(?P<number>\d+)", "GitLab"),
    (r"/(?P<org>[^/]+)/(?P<repo>[^/]+)/pulls/(?P<number>\d+)", "Gitea"),
    (
        r"(/.*)?/(projects|(?P<user>users))/(?P<org>[^/]+)/repos/(?P<repo>[^/]+)/pull-requests/(?P<number>\d+)(/overview)?",
        "BitbucketDataCenter",
    ),
    (r"/(?P<org>[^/]+)/(?P<repo>[^/]+)/pull-requests/(?P<number>\d+)", "Bitbucket"),
    # dev.azure.com/ORG/PROJECT, ORG.visualstudio.com/PROJECT, and HOST/tfs/COLLECTION/PROJECT.
    (
        r"/(?P<org>[^/]+(/[^/]+){0,2})/_git/(?P<repo>[^/]+)/pullrequest/(?P<number>\d+)",
        "AzureDevOps",
    ),
)
_API_PATHS = re.compile(r"(/api(/v\d+)?|/rest/api/[\w.]+|/2\.0)?/*$")


@dataclass(frozen=True, slots=True)
class PullRequestLink:
    """The location of a pull request.

    Attributes:
        provider: kind of host that has such URLs; Gitea for Forgejo too.
        host: host and optional port.
        org, repo: the repository, without percent-encoding.
    """

    url: str
    provider: str
    host: str
    org: str
    repo: str
    number: int

    def is_of(self, org: str, repo: str) -> bool:
        """Whether it is a pull request of a repository, whose names may be percent-encoded."""
        wanted = f"{unquote(org)}/{unquote(repo)}".lower()
        return f"{self.org}/{self.repo}".lower() == wanted


def parse_link(url: str, prefix: str = "") -> PullRequestLink | None:
    """Parse the URL of a pull request; None for other URLs.

    Args:
        url: the URL.
        prefix: path of the host's site, such as ``/gitlab``; empty for the root.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        return None
    path = parts.path.rstrip("/")
    if not known or (prefix and not path.startswith(f"{prefix}/")):
        return None
    for pattern, provider in _FORMS:
        if found := re.fullmatch(pattern, path.removeprefix(prefix)):
            fields = found.groupdict()
            org = unquote(fields["org"])
            return PullRequestLink(
                url,
                provider,
                host_of(url),
                # The project of a user's own repositories.
                f"~{org}" if fields.get("user") else org,
                unquote(fields["repo"]),
                int(fields["number"]),
            )
    return None


def site_prefixes(url_template: str, api_url: str) -> Sequence[str]:
    """Paths below which a host's site may be, most certain first; the last one is empty, the root.

    Args:
        url_template: template of the URLs of repositories.
        api_url: URL of the API; empty for the default.
    """
    api, template = urlsplit(api_url), urlsplit(url_template.partition("{")[0])
    found = [_API_PATHS.sub("", api.path)]
    if template.scheme in ("http", "https"):
        found.append(template.path.rpartition("/")[0])
    return list(dict.fromkeys([*(x for x in found if x), ""]))


def host_of(url: str) -> str:
    """Host and optional port of a URL."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return parts.netloc.rpartition("@")[2].lower()
    if parts.scheme == "ssh":
        return (parts.hostname or "").lower()
    found = re.match(r"^[^/@:]+@([^/:]+):", url)
    return found[1].lower() if found else ""
