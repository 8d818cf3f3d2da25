"""URLs of pull requests, as browsers show them, and of repositories, as ``git.urlTemplate`` makes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from kubetask_controller.hosts.detect import api_url as default_api
from kubetask_controller.hosts.detect import provider_of

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
        r"(/(?P<org>[^/]+(/[^/]+){0,2}))?/_git/(?P<repo>[^/]+)/pullrequest/(?P<number>\d+)",
        "AzureDevOps",
    ),
)
_SSH_HOSTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "ssh.dev.azure.com": "dev.azure.com",
    "vs-ssh.visualstudio.com": "dev.azure.com",
}
"""Hosts for SSH alone, and the host of their web pages."""
_COLLECTION = "DefaultCollection"
"""Part of old URLs at visualstudio.com, which may be omitted."""
_AZURE = "AzureDevOps"
_NESTED = ("GitLab", _AZURE)
"""Kinds of hosts whose organisations have several parts."""
_PLACEHOLDER = re.compile(r"\{(org|repo)\}")
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


@dataclass(frozen=True, slots=True)
class Site:
    """A git host, as the settings of a WorkspaceConfig describe it.

    Organisation and name of a repository in a context are not always those of the host's API: a template such as
    ``https://gitlab.example.com/group/{org}/{repo}.git`` has a part of the group.

    Attributes:
        template: template of the URLs of repositories, or the URL of one; empty for names that are those of the API.
        provider: kind of the host; empty to derive it from the host names.
        api_url: URL of the API; empty for the default of the kind.
    """

    template: str = ""
    provider: str = ""
    api_url: str = ""

    @property
    def kind(self) -> str:
        """Kind of the host; empty if it is unknown."""
        return self.provider or provider_of(self.api_url) or provider_of(self.template)

    @property
    def hosts(self) -> Sequence[str]:
        """Hosts of the site: that of its web pages first, then that of its API."""
        found = (host_of(self.template), host_of(self.api_url))
        return list(dict.fromkeys(_SSH_HOSTS.get(x, x) for x in found if x))

    @property
    def url(self) -> str:
        """URL of the host, for a browser; empty for a template without a host."""
        host = next(iter(self.hosts), "")
        scheme = "http" if self.template.startswith("http://") else "https"
        return f"{scheme}://{host}" if host else ""

    @property
    def api(self) -> str:
        """URL of the API; empty for the default of the kind and the host."""
        url = self.api_url
        if not url and self.kind == "BitbucketDataCenter" and _is_http(self.template):
            return default_api(self.kind, self.template)
        return url

    def project(self, org: str, repo: str, *, kind: str = "") -> tuple[str, str]:
        """Organisation and name in the host's API, without percent-encoding, of a repository of a context.

        Args:
            org: organisation, as in the context.
            repo: name, as in the context.
            kind: kind of the host, if the settings do not imply it.
        """
        kind = self.kind or kind
        values = {"org": unquote(org), "repo": unquote(repo)}
        org, repo = (_PLACEHOLDER.sub(lambda x: values[x[1]], x) for x in self._form(kind))
        return (_azure_org(self.hosts, org, repo) if kind == _AZURE else org), repo

    def names(self, org: str, repo: str) -> tuple[str, str] | None:
        """The reverse of `project`; None for a repository that no context can name."""
        seen: set[str] = set()

        def group(found: re.Match[str]) -> str:
            name = found[1]
            if name in seen:
                return f"(?P={name})"
            seen.add(name)
            return f"(?P<{name}>{'.+' if name == 'org' else '[^/]+'})"

        pattern = re.sub(r"\\\{(org|repo)\\\}", group, re.escape("/".join(self._form(self.kind))))
        found = re.fullmatch(pattern, f"{org}/{repo}", re.IGNORECASE)
        if found is None:
            return None
        return ({"org": org} | found.groupdict())["org"], found["repo"]

    def find(self, url: str, org: str, repo: str) -> PullRequestLink | None:
        """The pull request at a URL if its names are those of a repository of a context, on whatever host."""
        for prefix in site_prefixes(self.template, self.api_url):
            link = parse_link(url, prefix)
            if link is None:
                continue
            wanted = self.project(org, repo, kind=link.provider)
            if _same(_place(link.host, link.org, link.repo)[1:], wanted):
                return link
            for host in self.hosts:
                if _same(_place(link.host, link.org, link.repo)[1:], _place(host, *wanted)[1:]):
                    return link
            # A project's repository of the same name.
            if link.provider == _AZURE and _same((f"{link.org}/{link.repo}", link.repo), wanted):
                return replace(link, org=wanted[0])
        return None

    def is_host_of(self, link: PullRequestLink) -> bool:
        """Whether a pull request is on a host of the site."""
        return _place(link.host, "", "")[0] in {_place(x, "", "")[0] for x in self.hosts}

    def _form(self, kind: str) -> tuple[str, str]:
        """Organisation and name in the host's API, with the placeholders of the template."""
        plain = ("{org}", "{repo}")
        if not host_of(self.template):
            return plain
        http = _is_http(self.template)
        path = urlsplit(self.template).path if "://" in self.template else ""
        path = path or re.sub(r"^[^/:\[]*(\[[^]]*\])?:", "", self.template)
        path = f"/{unquote(path).strip('/').removesuffix('.git')}"
        if kind in _NESTED:
            above = [_API_PATHS.sub("", urlsplit(self.api_url).path)] if http else []
            # A mirror has the host's name in its path.
            above += [f"/{x}" for x in self.hosts[1:]]
            if kind == _AZURE and not http:
                above.append("/v3")
            for each in above:
                path = path.removeprefix(each) if path.startswith(f"{each}/") else path
        if kind == _AZURE and "/_git/" in path:
            org, _, repo = path.rpartition("/_git/")
        else:
            org, _, repo = path.rpartition("/")
            if kind not in _NESTED:
                org = org.rpartition("/")[2]
        org = org.strip("/")
        return (org, repo) if org or kind == _AZURE else plain


def _azure_org(hosts: Sequence[str], org: str, repo: str) -> str:
    """The organisation with its project, which URLs omit if the repository has the project's name."""
    host = hosts[0] if hosts else ""
    if host == "dev.azure.com" and "/" not in org:
        return f"{org}/{repo}"
    if host.endswith(".visualstudio.com") and org in ("", _COLLECTION):
        return f"{org}/{repo}".lstrip("/")
    return org


def _place(host: str, org: str, repo: str) -> tuple[str, str, str]:
    """Host and names of a repository, the same for both hosts of an organisation at Azure DevOps."""
    name = host.removesuffix(".visualstudio.com")
    if name == host:
        return host, org, repo
    return "dev.azure.com", f"{name}/{org.removeprefix(f'{_COLLECTION}/')}", repo


def _same(names: tuple[str, str], others: tuple[str, str]) -> bool:
    return "/".join(names).lower() == "/".join(others).lower()


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


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
            org, repo, host = unquote(fields["org"] or ""), unquote(fields["repo"]), host_of(url)
            if fields.get("user"):
                # The project of a user's own repositories.
                org = f"~{org}"
            if provider == _AZURE and not prefix:
                org = _azure_org([host], org, repo)
            if not org:
                return None
            return PullRequestLink(url, provider, host, org, repo, int(fields["number"]))
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
