"""git's settings that init container and agent share: who commits, how git signs in, whom it trusts.

An agent's image needs nothing of ours: signing in is a few lines of shell that read the mounted Secret anew each time. For
HTTP they are bound to the hosts that the task's repositories come from, so a repository cannot make git show the
credentials to another one. Where the Secret is not mounted (an agent is not given it unless asked for) they do nothing.
"""

import shlex
from pathlib import Path
from urllib.parse import urlsplit

from kubetask_controller.api import constants as c
from kubetask_controller.api.manifest import TaskManifest

SYSTEM_BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/cert.pem"),
)
BUNDLE = Path(c.CA_COMBINED_FILE).name
SSH = ".kubetask-ssh"

_BASIC = """!f() { test "$1" = get || exit 0; d={folder}; \
if test -r "$d/password"; then p=password; elif test -r "$d/token"; then p=token; else exit 0; fi; \
if test -r "$d/username"; then echo "username=$(cat "$d/username")"; else echo username=git; fi; \
echo "password=$(cat "$d/$p")"; }; f"""

# ssh takes a key only from a file that nobody else can read, and a mounted Secret may be readable by all of the Pod. It also
# insists on a name for the user, which an arbitrary uid does not have: where libnss_wrapper is there, it gets one.
_SSH = """\
#!/bin/sh
# Signs in with the mounted Secret, which is read anew each time.
d={folder}
set -- -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4 "$@"
umask 077
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
trap 'exit 143' TERM INT HUP
if test -r "$d/ssh-privatekey"; then
    cat "$d/ssh-privatekey" > "$t/key"
    echo >> "$t/key"
    set -- -i "$t/key" -o IdentitiesOnly=yes "$@"
    if test -r "$d/known_hosts"; then
        set -- -o "UserKnownHostsFile=$d/known_hosts" -o StrictHostKeyChecking=yes "$@"
    else
        set -- -o "UserKnownHostsFile=$HOME/.kubetask-known-hosts" -o StrictHostKeyChecking=accept-new "$@"
    fi
fi
if ! id -un > /dev/null 2>&1; then
    for l in /usr/lib/*/libnss_wrapper.so /usr/lib64/libnss_wrapper.so /usr/lib/libnss_wrapper.so; do
        test -r "$l" || continue
        echo "agent:x:$(id -u):$(id -g)::$HOME:/bin/sh" > "$t/passwd"
        echo "agent:x:$(id -g):" > "$t/group"
        export LD_PRELOAD="$l" NSS_WRAPPER_PASSWD="$t/passwd" NSS_WRAPPER_GROUP="$t/group"
        break
    done
fi
ssh "$@"
"""


def gitconfig(manifest: TaskManifest, *, home: Path, bundle: Path | None) -> str:
    """The file's text."""
    author = manifest.author
    lines = [
        "[user]",
        f"\tname = {quoted(author.name)}",
        f"\temail = {quoted(author.email)}",
        # The agent may run as another user than the init container, and neither may own the volume.
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
    if manifest.credentials:
        folder = manifest.credentials
        for origin in sorted({o for x in manifest.repositories if (o := _origin(x.url))}):
            helper = _BASIC.replace("{folder}", shlex.quote(folder))
            lines += [
                f"[credential {quoted(origin)}]",
                "\thelper =",
                f"\thelper = {quoted(helper)}",
            ]
        lines += [
            *("[core]", f"\tsshCommand = {quoted(f'sh {home / SSH}')}"),
            *("[ssh]", "\tvariant = ssh"),
        ]
    return "\n".join(lines) + "\n"


def install(manifest: TaskManifest, home: Path) -> None:
    """Write the file, and the bundle of authorities where there is one.

    Raises:
        OSError: the home folder cannot be written.
    """
    bundle = None
    if manifest.ca_bundle:
        bundle = home / BUNDLE
        system = next((x.read_bytes() for x in SYSTEM_BUNDLES if x.is_file()), b"")
        bundle.write_bytes(system + b"\n" + Path(manifest.ca_bundle).read_bytes())
        bundle.chmod(0o644)
    if manifest.credentials:
        script = home / SSH
        script.write_text(_SSH.replace("{folder}", shlex.quote(manifest.credentials)))
        script.chmod(0o444)
    path = home / ".gitconfig"
    path.write_text(gitconfig(manifest, home=home, bundle=bundle))
    # Whoever the agent runs as must be able to read it, and to add to it.
    path.chmod(0o666)


def quoted(value: str) -> str:
    """A value in a git configuration file."""
    escaped = (
        value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    )
    return f'"{escaped}"'


def _origin(url: str) -> str:
    """Scheme and host of an HTTP URL, with its port; empty for other schemes."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"
