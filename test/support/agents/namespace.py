"""A container without an engine: namespaces, an own root, no capabilities, the user that a restricted Pod has.

What runs in it sees the system's programs read-only, the volumes that a task's Pod has, a /dev of five files, and the
loopback of this machine. It needs root, or a machine that lets a user become root in a namespace of its own with more
than one user id.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

UID = 65532
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEVICES = ("null", "zero", "full", "random", "urandom")

# $1 is the new root; what follows is the command. Binds are read from the file "binds" beside it: mode, source, target.
_ENTER = r"""
set -eu
root=$1; shift
mount -t tmpfs -o mode=0755 tmpfs "$root"
while IFS='	' read -r mode source target; do
    if test -L "$source" && test ! "${source#/}" = "$source" && test "$mode" = link; then
        ln -s "$(readlink "$source")" "$root$target"; continue
    fi
    mkdir -p "$root$(dirname "$target")"
    if test -d "$source"; then mkdir -p "$root$target"; else : > "$root$target"; fi
    mount --rbind "$source" "$root$target"
    test "$mode" = rw || mount -o remount,bind,ro "$root$target" 2>/dev/null || true
done < "$BINDS"
mkdir -p "$root/proc"
mount -t proc proc "$root/proc"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
test "$READ_ONLY" = 0 || mount -o remount,ro "$root"
exec chroot "$root" setpriv --reuid="$RUN_AS" --regid="$RUN_AS" --clear-groups --bounding-set=-all \
    --inh-caps=-all --no-new-privs -- "$@"
"""


@dataclass
class Namespace:
    """One container.

    Attributes:
        room: a folder of ours for what it needs.
        binds: (host path, path inside, writable).
        read_only: the root file system.
        uid: of what runs in it.
    """

    room: Path
    binds: Sequence[tuple[Path, str, bool]] = field(default_factory=list)
    read_only: bool = False
    uid: int = UID

    def start(
        self, command: Sequence[str], *, environ: Mapping[str, str], cwd: str = "/"
    ) -> subprocess.Popen[bytes]:
        """Start a command as process 1; SIGTERM to the returned process does not reach it: see `signal`."""
        root = self.room / "root"
        root.mkdir(exist_ok=True)
        lines = [f"link\t{x}\t{x}" for x in SYSTEM if Path(x).exists()]
        lines += [f"rw\t/dev/{x}\t/dev/{x}" for x in DEVICES]
        prefix = Path(sys.base_prefix)
        if not prefix.is_relative_to("/usr"):
            lines.append(f"ro\t{prefix}\t{prefix}")
        lines += [
            f"{'rw' if rw else 'ro'}\t{source}\t{target}" for source, target, rw in self.binds
        ]
        (self.room / "binds").write_text("\n".join(lines) + "\n")
        unshare = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        own = {"BINDS": str(self.room / "binds"), "READ_ONLY": str(int(self.read_only))}
        own |= {"RUN_AS": str(self.uid), "PATH": SYSTEM_PATH}
        inner = ["env", "-i", f"--chdir={cwd}", *(f"{k}={v}" for k, v in environ.items())]
        return subprocess.Popen(
            [
                *unshare,
                "--propagation",
                "private",
                "sh",
                "-c",
                _ENTER,
                "sh",
                str(root),
                *inner,
                *command,
            ],
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @staticmethod
    def first(process: subprocess.Popen[bytes]) -> int:
        """The id, on this machine, of the namespace's process 1; 0 while there is none."""
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        except OSError:
            return 0
        return int(children[0]) if children else 0
