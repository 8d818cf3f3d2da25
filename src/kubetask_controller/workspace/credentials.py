"""Credentials of a task: validates mounted Secrets, lists the values to mask, creates tokens of GitHub Apps."""

import base64
import contextlib
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import ManifestHost
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.gitconfig import (
    APP_KEY,
    APP_TOKEN,
    ENV_APP_TOKEN,
    GPG_KEY,
    SSH_KEY,
    TaskHost,
    origin,
    ssh_host,
)
from kubetask_controller.workspace.redaction import secrets_in

APP_ID = "githubAppID"
APP_INSTALLATION = "githubAppInstallationID"
RENEW_SECONDS = 600.0
"""Seconds before its expiry at which a token is renewed."""
MAX_TOKEN_FILE = 8192
"""Maximum characters of the file with a token, which an agent can write too."""
_HTTPS_KEYS = f"password or token (and username), or {APP_ID}, {APP_INSTALLATION} and {APP_KEY}"


def check_hosts(hosts: Sequence[TaskHost], workspace: Path) -> None:
    """Reject repositories whose host differs from the template, and Secrets without the required keys.

    Raises:
        PreparationError: the message names the field to change.
    """
    for host in hosts:
        for repository in host.repositories:
            _check_url(repository.url, host.host.url_template, workspace)
        _check_keys(host)


def check_signing(folder: str | None) -> None:
    """Reject a Secret of ``git.signing`` without a key.

    Raises:
        PreparationError: the message lists the keys of the Secret.
    """
    path = Path(folder or "")
    if not folder or not path.is_dir() or any((path / x).exists() for x in (SSH_KEY, GPG_KEY)):
        return
    keys = (
        ", ".join(sorted(x.name for x in path.iterdir() if not x.name.startswith(".."))) or "none"
    )
    raise PreparationError(
        Reason.INVALID_SPEC,
        f"the Secret of git.signing has the keys {keys}: add {SSH_KEY} or {GPG_KEY}",
    )


def secrets_to_mask(folder: Path) -> list[str]:
    """The values of a Secret to mask, including the HTTP encoding of user and password."""
    values = secrets_in([folder])
    users = {_read(folder / "username") or "git", _read(folder / "email")}
    for key in ("password", "token"):
        if secret := _read(folder / key):
            values += [y for x in sorted(filter(None, users)) for y in _encoded(x, secret)]
    return values


class AppTokenFiles:
    """The tokens of GitHub Apps that the home folder contains, to mask, with their HTTP encoding.

    The credential helper renews a token while the agent runs, and writes it there before git gets it.
    """

    def __init__(self, home: Path, hosts: Sequence[ManifestHost]) -> None:
        names = {x.name or "default" for x in hosts} | {"default"}
        self._seen = {str(home / f"{APP_TOKEN}-{x}"): (0, 0) for x in sorted(names)}

    def __call__(self) -> list[str]:
        """The tokens that were written since the last call."""
        found: list[str] = []
        for path, seen in self._seen.items():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                status = os.stat(path)
                if (
                    not stat.S_ISREG(status.st_mode)
                    or (now := (status.st_mtime_ns, status.st_size)) == seen
                ):
                    continue
                self._seen[path] = now
                with open(path) as file:
                    for token in file.read(MAX_TOKEN_FILE).split()[1:]:
                        found += [token, *_encoded("x-access-token", token)]
        return found


class AppTokens:
    """Tokens of GitHub Apps for the git of this process, renewed before they expire.

    Args:
        hosts: the hosts of the task.
        seen: called with every token and its HTTP encoding, to mask them.
        ca_file: file with additional authorities, which may not exist.
    """

    def __init__(
        self, hosts: Sequence[TaskHost], seen: Callable[..., None], *, ca_file: Path
    ) -> None:
        self._ca_file = ca_file
        self._hosts = [x for x in hosts if x.is_app and x.repositories]
        self._seen = seen
        self._tokens: dict[int, tuple[float, str]] = {}

    def __call__(self) -> Mapping[str, str]:
        """Variables for git.

        Raises:
            PreparationError: the host rejects the request.
        """
        return {f"{ENV_APP_TOKEN}{x.position}": self.get(x)[1] for x in self._hosts}

    def get(self, host: TaskHost) -> tuple[float, str]:
        """The expiry time of the token, and the token.

        Raises:
            PreparationError: the host rejects the request.
        """
        until, token = self._tokens.get(host.position, (0.0, ""))
        if until - time.time() < RENEW_SECONDS:
            try:
                until, token = make_app_token(
                    Path(host.folder),
                    host.host.api_url,
                    host.repositories[0].url,
                    host.app_names,
                    ca_file=self._ca_file,
                )
            except ValueError as error:
                limited = getattr(error, "rate_limited", False)
                reason = Reason.RATE_LIMITED if limited else Reason.CLONE_FAILED
                raise PreparationError(reason, str(error)) from error
            self._tokens[host.position] = until, token
            self._seen(token, *_encoded("x-access-token", token))
        return until, token


def make_app_token(
    folder: Path, api: str, url: str, names: Sequence[str], *, ca_file: Path | None = None
) -> tuple[float, str]:
    """A token of a GitHub App for some repositories: its expiry time, and the token.

    Args:
        folder: contains the App's key and ids.
        api: URL of the host's API; empty for that of the repository's host.
        url: URL of a repository.
        names: repositories as ``org/repo``.
        ca_file: file with additional authorities, which may not exist.

    Raises:
        ValueError: the host did not issue a token.
    """
    # Importing takes time, and few tasks need it.
    from kubetask_controller.hosts.githubapp import App, installation_token

    app = App(_read(folder / APP_ID), _read(folder / APP_KEY), _read(folder / APP_INSTALLATION))
    trusted = str(ca_file) if ca_file is not None and ca_file.is_file() else ""
    return installation_token(app, api, url, names, ca_file=trusted)


def _check_url(url: str, template: str, workspace: Path) -> None:
    try:
        origin(url)
        if urlsplit(url).scheme == "ssh":
            _ = urlsplit(url).port
    except ValueError as error:
        raise PreparationError(
            Reason.INVALID_SPEC,
            f"git.urlTemplate results in the URL {url}, which is not valid: {error}",
        ) from None
    if template:
        named = _authority(template)
        if "{" in named or named != _authority(url):
            raise PreparationError(
                Reason.INVALID_SPEC,
                f"git.urlTemplate results in the URL {url}, whose host differs from the template:"
                " use {org} and {repo} in the path only",
            )
    if urlsplit(url).scheme == "file":
        path = Path(unquote(urlsplit(url).path))
        if _within(path, workspace):
            raise PreparationError(
                Reason.INVALID_SPEC,
                f"git.urlTemplate results in the URL {url}, which is inside the workspace:"
                " choose a folder outside the workspace",
            )


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve()) or ".." in path.parts


def _authority(url: str) -> str:
    """Scheme, user, host and port."""
    if "://" in url:
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"
    return url.partition(":")[0]


def _check_keys(host: TaskHost) -> None:
    folder = Path(host.folder)
    if not host.folder or not folder.is_dir():
        return
    keys = sorted(x.name for x in folder.iterdir() if not x.name.startswith(".."))
    urls = [x.url for x in host.repositories]
    wanted = []
    if any(origin(x) for x in urls) and not (
        {"password", "token"} & set(keys) or {APP_ID, APP_KEY} <= set(keys)
    ):
        wanted.append(f"HTTPS needs {_HTTPS_KEYS}")
    if any(ssh_host(x) for x in urls) and SSH_KEY not in keys:
        wanted.append(f"SSH needs {SSH_KEY} (and known_hosts)")
    if wanted:
        which = f"git.hosts[{host.host.name}].credentials" if host.host.name else "git.credentials"
        have = ", ".join(keys) or "none"
        raise PreparationError(
            Reason.CLONE_FAILED,
            f"the Secret of {which} has the keys {have}: {'; '.join(wanted)}",
        )


def _encoded(user: str, secret: str) -> list[str]:
    """The value of the Authorization header, with and without padding."""
    value = base64.b64encode(f"{user}:{secret}".encode()).decode()
    return [value, value.rstrip("=")]


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""
