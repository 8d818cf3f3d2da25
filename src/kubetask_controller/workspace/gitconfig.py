"""The git configuration that init container and agent share: author, credentials, signing, certificate authorities.

An agent's image needs no program of KubeTask: the credential helper is a few lines of shell that read the mounted Secret each
time. For HTTP, it is limited to the hosts of the task's repositories, so that a repository cannot make git send the
credentials to another host. If the Secret is not mounted (the agent gets it only with shareWithAgent), the helper does
nothing.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kubetask_controller.api import constants as c
from kubetask_controller.api.manifest import ManifestHost, ManifestRepository, TaskManifest

if TYPE_CHECKING:
    from kubetask_controller.hosts import Site

SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)
BUNDLE = Path(c.CA_COMBINED_FILE).name
SSH = ".kubetask-ssh"
SIGN = ".kubetask-sign"
APP_TOKEN = ".kubetask-app-token"
"""In HOME, followed by the host's name: the expiry time of an App's token in seconds, and the token."""
ENV_APP_TOKEN = "KUBETASK_APP_TOKEN_"
"""Variable of the init container's git, followed by the position of the host: an App's token."""
APP_KEY = "githubAppPrivateKey"
SSH_KEY = "ssh-privatekey"
GPG_KEY = "gpg-privatekey"

_BASIC = """!f() { test "$1" = get || exit 0; d={folder}; \
if test -r "$d/password"; then p=password; elif test -r "$d/token"; then p=token; else exit 0; fi; \
if test -r "$d/username"; then echo "username=$(cat "$d/username")"; else echo username=git; fi; \
echo "password=$(cat "$d/$p")"; }; f"""

# The token of a GitHub App is valid for an hour: the init container creates the first one, our agent image the next ones.
_APP = """!f() { test "$1" = get || exit 0; t=${variable}; \
if test -z "$t" && test -r {cache}; then { read -r e && read -r x; } < {cache}; \
test "${e:-0}" -gt "$(($(date +%s) + 120))" && t=$x; fi; \
if test -z "$t" && test -r {folder}/githubAppPrivateKey && command -v kubetask-workspace > /dev/null; then \
t=$(kubetask-workspace app-token {folder} {cache} {api} {url} {names}) || exit 0; fi; \
test -n "$t" || exit 0; echo username=x-access-token; echo "password=$t"; }; f"""

# ssh and ssh-keygen require a user name, which an arbitrary uid does not have. libnss_wrapper provides one, if it is
# installed.
_USER_NAME = """\
if ! id -un > /dev/null 2>&1; then
    for l in /usr/lib/*/libnss_wrapper.so /usr/lib64/libnss_wrapper.so /usr/lib/libnss_wrapper.so; do
        test -r "$l" || continue
        echo "agent:x:$(id -u):$(id -g)::$HOME:/bin/sh" > "$t/passwd"
        echo "agent:x:$(id -g):" > "$t/group"
        export LD_PRELOAD="$l" NSS_WRAPPER_PASSWD="$t/passwd" NSS_WRAPPER_GROUP="$t/group"
        break
    done
fi
"""

# ssh accepts a key only from a file that no other user can read, and a mounted Secret may be readable by the whole Pod. An
# ssh-agent keeps the key in memory instead of in a folder that containers share; without ssh-agent, a file is used.
_SSH = """\
#!/bin/sh
# Signs in with the mounted Secret, which it reads each time.
d=
# The host, and the path in the command, which git quotes.
case "$(printf %s " $* " | tr "'" ' ')" in
{cases}
esac
set -- -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4 "$@"
umask 077
t=$(mktemp -d) || exit 1
trap 'test -z "$SSH_AGENT_PID" || kill "$SSH_AGENT_PID"; rm -rf "$t"' EXIT
trap 'exit 143' TERM INT HUP
{user}
if test -n "$d" && test -r "$d/ssh-privatekey"; then
    unset SSH_AGENT_PID SSH_AUTH_SOCK
    eval "$(ssh-agent -s -a "$t/agent" 2> /dev/null)" > /dev/null
    if test -n "$SSH_AGENT_PID" && { cat "$d/ssh-privatekey"; echo; } | ssh-add -q - 2> /dev/null; then
        set -- -o "IdentityAgent=$t/agent" -o IdentityFile=none "$@"
    else
        { cat "$d/ssh-privatekey"; echo; } > "$t/key"
        set -- -i "$t/key" -o IdentitiesOnly=yes "$@"
    fi
    if test -r "$d/known_hosts"; then
        set -- -o "UserKnownHostsFile=$d/known_hosts" -o StrictHostKeyChecking=yes "$@"
    else
        set -- -o "UserKnownHostsFile=$HOME/.kubetask-known-hosts" -o StrictHostKeyChecking=accept-new "$@"
    fi
fi
ssh "$@"
"""

_SIGN_SSH = """\
#!/bin/sh
# ssh-keygen, as git runs it to sign a commit, with a copy of the mounted key that no other user can read.
umask 077
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
trap 'exit 143' TERM INT HUP
{user}
{ cat {folder}/ssh-privatekey; echo; } > "$t/key"
for a do
    shift
    test "$a" = {folder}/ssh-privatekey && a=$t/key
    set -- "$@" "$a"
done
ssh-keygen "$@"
"""

_SIGN_GPG = """\
#!/bin/sh
# gpg, as git runs it to sign a commit, with only the mounted key.
umask 077
t=$(mktemp -d) || exit 1
export GNUPGHOME="$t"
trap 'gpgconf --kill all > /dev/null 2>&1; rm -rf "$t"' EXIT
trap 'exit 143' TERM INT HUP
gpg --batch --quiet --import {folder}/gpg-privatekey 2> "$t/import" < /dev/null || { cat "$t/import" >&2; exit 1; }
k=$(gpg --batch --list-secret-keys --with-colons 2> /dev/null | awk -F: '$1 == "fpr" { print $10; exit }')
for a do
    shift
    test "$a" = kubetask && a=$k
    set -- "$@" "$a"
done
if test -r {folder}/passphrase; then
    set -- --pinentry-mode loopback --passphrase-file {folder}/passphrase "$@"
fi
gpg --batch "$@"
"""


@dataclass(frozen=True, slots=True)
class TaskHost:
    """A git host of a task, and the repositories that the task uses from it.

    Attributes:
        position: index in the manifest.
        host: the host in the manifest.
        folder: folder of its credentials in this container; empty if there are none.
        repositories: the task's repositories on this host.
    """

    position: int
    host: ManifestHost
    folder: str
    repositories: Sequence[ManifestRepository]

    @property
    def is_app(self) -> bool:
        """Whether a GitHub App signs in."""
        return bool(self.folder) and (Path(self.folder) / APP_KEY).exists()

    @property
    def site(self) -> "Site":
        """The settings by which the host's API is found."""
        # Importing takes time, and few tasks need it.
        from kubetask_controller.hosts import Site

        return Site(self.host.url_template, self.host.provider, self.host.api_url)

    @property
    def app_names(self) -> list[str]:
        """The repositories for which an App needs a token, as ``org/repo`` of the host's API."""
        site = self.site
        return ["/".join(site.project(x.org, x.repo, kind="GitHub")) for x in self.repositories]


def task_hosts(manifest: TaskManifest) -> list[TaskHost]:
    """The hosts of a task, including hosts without repositories of the task."""
    hosts = manifest.hosts or (ManifestHost(url_template=""),)
    return [
        TaskHost(
            position,
            host,
            (host.credentials if host.name else manifest.credentials) or "",
            [x for x in manifest.repositories if x.host == host.name],
        )
        for position, host in enumerate(hosts)
    ]


def gitconfig(manifest: TaskManifest, *, home: Path, bundle: Path | None) -> str:
    """The text of the git configuration file."""
    author = manifest.author
    lines = [
        "[user]",
        f"\tname = {quoted(author.name)}",
        f"\temail = {quoted(author.email)}",
        # The agent may run as another user than the init container, and neither needs to own the volume.
        "[safe]",
        "\tdirectory = *",
        "[push]",
        "\tdefault = current",
        "[gc]",
        "\tauto = 0",
        "[advice]",
        "\tdetachedHead = false",
    ]
    if bundle is not None:
        lines += ["[http]", f"\tsslCAInfo = {quoted(str(bundle))}"]
    hosts = [x for x in task_hosts(manifest) if x.folder]
    lines += _credentials(hosts, home)
    if hosts:
        lines += [
            *("[core]", f"\tsshCommand = {quoted(f'sh {shlex.quote(str(home / SSH))}')}"),
            *("[ssh]", "\tvariant = ssh"),
        ]
    if manifest.checkout.signing:
        lines += _signing(Path(manifest.checkout.signing), home)
    return "\n".join(lines) + "\n"


def install(manifest: TaskManifest, home: Path) -> None:
    """Write the file, the programs that it uses, and the bundle of certificate authorities if there is one.

    Raises:
        OSError: the home folder is not writable.
    """
    bundle = None
    if manifest.ca_bundle:
        bundle = home / BUNDLE
        system = next((x.read_bytes() for x in SYSTEM_BUNDLES if x.is_file()), b"")
        bundle.write_bytes(system + b"\n" + Path(manifest.ca_bundle).read_bytes())
        bundle.chmod(0o644)
    hosts = [x for x in task_hosts(manifest) if x.folder]
    if hosts:
        _write(home / SSH, _SSH.replace("{cases}", _cases(hosts)).replace("{user}", _USER_NAME))
    if folder := manifest.checkout.signing:
        text = _SIGN_GPG if (Path(folder) / GPG_KEY).exists() else _SIGN_SSH
        text = text.replace("{folder}", shlex.quote(folder)).replace("{user}", _USER_NAME)
        _write(home / SIGN, text)
    path = home / ".gitconfig"
    path.write_text(gitconfig(manifest, home=home, bundle=bundle))
    # The agent may run as any user, which must be able to read and extend the file.
    path.chmod(0o666)


def quoted(value: str) -> str:
    """A quoted value for a git configuration file."""
    escaped = (
        value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    )
    return f'"{escaped}"'


def origin(url: str) -> str:
    """Scheme and host of an HTTP URL, with its port; empty for other schemes.

    Raises:
        ValueError: the port is not valid.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    port = f":{parts.port}" if parts.port else ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def ssh_host(url: str) -> str:
    """The host of an SSH URL, as git passes it to ssh; empty for other schemes."""
    parts = urlsplit(url)
    if parts.scheme == "ssh":
        host = parts.netloc.rpartition("@")[2]
    else:
        found = re.match(r"^[^/:@]+@(\[[^/\]]+\]|[^/:]+):", url)
        host = found[1] if found and not parts.netloc else ""
    # git passes an IPv6 address without its brackets.
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _ssh_path(url: str) -> str:
    """The path of an SSH URL, without the slash before it, which not every program passes to ssh."""
    parts = urlsplit(url)
    path = unquote(parts.path) if parts.scheme == "ssh" else url.partition(":")[2]
    return path.lstrip("/")


def _write(path: Path, text: str) -> None:
    # A container that is restarted writes it again.
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o555)


def _credentials(hosts: Sequence[TaskHost], home: Path) -> list[str]:
    """Credential helpers: one per host, or one per repository if two entries have the same host."""
    lines: list[str] = []
    taken: dict[str, int] = {}
    for host in hosts:
        for url in sorted({o for x in host.repositories if (o := origin(x.url))}):
            first = taken.setdefault(url, host.position)
            places = [url] if first == host.position else [x.url for x in host.repositories]
            for place in places:
                lines += [
                    f"[credential {quoted(place)}]",
                    "\thelper =",
                    f"\thelper = {quoted(_helper(host, home))}",
                ]
    return lines


def _helper(host: TaskHost, home: Path) -> str:
    if not host.is_app:
        return _BASIC.replace("{folder}", shlex.quote(host.folder))
    values = {
        "{variable}": f"{ENV_APP_TOKEN}{host.position}",
        "{cache}": shlex.quote(str(home / f"{APP_TOKEN}-{host.host.name or 'default'}")),
        "{folder}": shlex.quote(host.folder),
        "{api}": shlex.quote(host.host.api_url),
        "{url}": shlex.quote(host.repositories[0].url),
        "{names}": shlex.join(host.app_names),
    }
    text = _APP
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _cases(hosts: Sequence[TaskHost]) -> str:
    """Lines that select the credentials folder of the host to which ssh connects."""
    used: dict[str, list[TaskHost]] = {}
    for host in hosts:
        for name in sorted({x for y in host.repositories if (x := ssh_host(y.url))}):
            used.setdefault(name, []).append(host)
    lines = []
    for name, entries in used.items():
        # Deploy keys: two entries for one host, each with the key of its own repositories.
        for host in entries if len(entries) > 1 else ():
            for path in sorted(
                {_ssh_path(x.url) for x in host.repositories if ssh_host(x.url) == name}
            ):
                lines += [_case(name, host, f"{x}{path}") for x in ("", "/")]
        lines.append(_case(name, entries[0]))
    # Submodules and remotes of the agent at other hosts use the first entry.
    lines.append(f"*) d={shlex.quote(hosts[0].folder)};;")
    return "\n".join(lines)


def _case(name: str, host: TaskHost, path: str = "") -> str:
    command = f"*{shlex.quote(f' {path} ')}*" if path else "*"
    before = f"{shlex.quote(name)}' '"
    return f"*@{before}{command}|*' '{before}{command}) d={shlex.quote(host.folder)};;"


def _signing(folder: Path, home: Path) -> list[str]:
    if (folder / GPG_KEY).exists():
        key = "kubetask"
        how = ["[gpg]", "\tformat = openpgp", f"\tprogram = {quoted(str(home / SIGN))}"]
    else:
        key = str(folder / SSH_KEY)
        how = [
            *("[gpg]", "\tformat = ssh"),
            *('[gpg "ssh"]', f"\tprogram = {quoted(str(home / SIGN))}"),
        ]
    return ["[user]", f"\tsigningKey = {quoted(key)}", *how, "[commit]", "\tgpgSign = true"]
