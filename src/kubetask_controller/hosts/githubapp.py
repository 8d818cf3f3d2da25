"""Tokens of a GitHub App: created with its key, for some repositories, valid for an hour.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from kubetask_controller.hosts.detect import api_url
from kubetask_controller.hosts.http import HostError, HostSession, RequestLimits, path_segment

_VERSION = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_LIMITS = RequestLimits(timeout=30, max_wait=300)


class TokenError(HostError, ValueError):
    """The host issued no token."""


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App: its id or client ID, its key in PEM, and the id of its installation, empty to look it up."""

    id: str
    key: str
    installation: str = ""


def installation_token(
    app: App, api: str, url: str, names: Sequence[str], *, ca_file: str = ""
) -> tuple[float, str]:
    """A token for some repositories of one owner: its expiry time in seconds since the epoch, and the token.

    Args:
        app: the App.
        api: URL of the API; empty for that of the repository's host.
        url: URL of a repository.
        names: repositories as ``org/repo``.
        ca_file: PEM file with additional authorities.

    Raises:
        ValueError: the key is not valid.
        TokenError: the host rejected the request.
    """
    try:
        return asyncio.run(_token(app, api or api_url("GitHub", url), names, ca_file))
    except HostError as error:
        message = f"the GitHub App {app.id} got no token: {error}"
        raise TokenError(message, error.status, rate_limited=error.rate_limited) from error
    except (KeyError, TypeError) as error:
        raise TokenError(
            f"the GitHub App {app.id} got an unexpected response: {error!r}"
        ) from error


def signed(app: App, now: float) -> str:
    """A JSON Web Token (RFC 7519) that authenticates the App, valid for nine minutes.

    Raises:
        ValueError: the key is not an RSA key in PEM.
    """
    try:
        key = serialization.load_pem_private_key(app.key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"githubAppPrivateKey is not a key in PEM: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("githubAppPrivateKey is not an RSA key")
    # GitHub recommends a minute of tolerance for clock drift.
    claims = {"iat": int(now) - 60, "exp": int(now) + 540, "iss": app.id}
    head = ".".join(
        _encoded(json.dumps(x).encode()) for x in ({"alg": "RS256", "typ": "JWT"}, claims)
    )
    signature = key.sign(head.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{head}.{_encoded(signature)}"


async def _token(app: App, api: str, names: Sequence[str], ca_file: str) -> tuple[float, str]:
    headers = {**_VERSION, "Authorization": f"Bearer {signed(app, time.time())}"}
    owners = {x.rpartition("/")[0] for x in names}
    async with HostSession(api, headers, limits=_LIMITS, ca_file=ca_file) as session:
        number = app.installation
        if not number:
            org, _, repo = names[0].rpartition("/")
            found = await session.get(
                f"repos/{path_segment(org)}/{path_segment(repo)}/installation"
            )
            number = str(found["id"])
        body = (
            {"repositories": sorted(x.rpartition("/")[2] for x in names)}
            if len(owners) == 1
            else {}
        )
        path = f"app/installations/{path_segment(number)}/access_tokens"
        made = (await session.send("POST", path, body, repeatable=True)).body
    until = datetime.fromisoformat(made["expires_at"]).timestamp()
    return until, str(made["token"])


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
