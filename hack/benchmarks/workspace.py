"""How long the workspace of a task takes to prepare: from a warm cache, from nothing, and against a plain clone.

    python -m hack.benchmarks.workspace [--megabytes 100] [--rounds 3]

The repository is made for it and is like one of source code: commits that change a few files each, of which the newest holds
a twenty-fifth of what a clone transfers, as in the repositories of Linux, CPython or git. It is cloned over HTTP from a
server on this machine: the network is as fast as it gets, and a plain clone looks its best. Each figure is the median of
the rounds, as a whole process from its start to its end, on a disk that has nothing left to write. Ends with 1 where a warm
preparation takes a fifth of a plain clone or more.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = 550
FILE_BYTES = 12_000
COMMIT_BYTES = 15_500
"""What a commit takes in a pack."""
CHANGED_FILES = 3
CHANGED_LINES = 60
"""Of each of them."""
BRANCH = "main"
WANTED = 0.2
PREPARE = "from kubetask_controller.workspace.main import main; main(['prepare'])"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m hack.benchmarks.workspace", description=__doc__
    )
    parser.add_argument("--megabytes", type=int, default=100, help="size of the repository")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kubetask-benchmark-") as name:
        folder = Path(name)
        origin = folder / "origins/acme/large.git"
        _make(origin, options.megabytes)
        size = sum(x.stat().st_size for x in origin.rglob("*.pack")) / 1e6
        present = FILES * FILE_BYTES / 1e6
        print(f"repository: {size:.0f} MB packed; newest commit: {FILES} files, {present:.0f} MB")
        with _served(folder / "origins") as url:
            plain, warm, cold = _measure(folder, url, options.rounds)
    print(f"plain clone                  {plain:6.2f} s")
    print(f"preparation, nothing cached  {cold:6.2f} s   ratio {cold / plain:.2f}")
    print(f"preparation, warm cache      {warm:6.2f} s   ratio {warm / plain:.2f}")
    if warm / plain >= WANTED:
        sys.exit(f"a warm preparation was to take less than {WANTED:g} of a plain clone")


def _measure(folder: Path, url: str, rounds: int) -> tuple[float, float, float]:
    """Seconds of a plain clone, a warm preparation and a cold one, taken in turns."""
    address = f"{url}/acme/large.git"
    shared = folder / "shared"
    _prepare(folder, shared, address, 0)
    plain, warm, cold = [], [], []
    for number in range(1, rounds + 1):
        target = folder / "clone"
        plain.append(_timed(["git", "clone", "--quiet", address, str(target)], {}))
        shutil.rmtree(target)
        warm.append(_prepare(folder, shared, address, number))
        fresh = folder / "fresh"
        cold.append(_prepare(folder, fresh, address, number))
        shutil.rmtree(fresh)
    return statistics.median(plain), statistics.median(warm), statistics.median(cold)


def _prepare(folder: Path, volume: Path, url: str, number: int) -> float:
    """Seconds of the init container, as a process."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    volume.mkdir(exist_ok=True)
    task = f"benchmark{number}"
    repository = {"org": "acme", "repo": "large", "branch": BRANCH, "url": url, "path": "large"}
    spec = {
        "version": 1,
        "taskID": task,
        "task": task,
        "namespace": "default",
        "branch": f"kubetask/{task}",
        "repositories": [repository],
        "partial": True,
    }
    environ = {
        "HOME": str(home),
        "KUBETASK_WORKSPACE": str(volume),
        "KUBETASK_TASK_DIR": str(volume / "tasks" / task),
        "KUBETASK_TASK_SPEC": json.dumps(spec),
        "TERMINATION_LOG": str(folder / "termination-log"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    seconds = _timed([sys.executable, "-c", PREPARE], environ)
    if len(list((volume / "tasks" / task / "large").glob("*/*.txt"))) != FILES:
        raise RuntimeError("the preparation is not whole")
    shutil.rmtree(volume / "tasks" / task)
    return seconds


def _timed(command: list[str], environ: dict[str, str]) -> float:
    os.sync()
    started = time.monotonic()
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")
    return time.monotonic() - started


def _make(path: Path, megabytes: int) -> None:
    """A bare repository with a past, in one pack."""
    path.mkdir(parents=True)
    git = ["git", "-C", str(path)]
    subprocess.run([*git, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}"], check=True)
    chance = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz_().=,   "
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(20_000)]
    lines = [" ".join(chance.choices(words, k=8)) + "\n" for _ in range(50_000)]
    each = FILE_BYTES * len(lines) // sum(map(len, lines))
    files = [chance.choices(lines, k=each) for _ in range(FILES)]
    with subprocess.Popen([*git, "fast-import", "--quiet"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for number in range(megabytes * 1_000_000 // COMMIT_BYTES):
            who = f"Ada <ada@acme.example> {1_700_000_000 + number} +0000"
            head = f"commit refs/heads/{BRANCH}\ncommitter {who}\ndata 4\nMore\n"
            process.stdin.write(head.encode())
            for index in chance.sample(range(FILES), CHANGED_FILES) if number else range(FILES):
                at = chance.randrange(each - CHANGED_LINES)
                files[index][at : at + CHANGED_LINES] = chance.choices(lines, k=CHANGED_LINES)
                text = "".join(files[index]).encode()
                name = f"{index % 40:02}/{index:04}.txt"
                process.stdin.write(f"M 100644 inline {name}\ndata {len(text)}\n".encode())
                process.stdin.write(text + b"\n")
    if process.returncode:
        raise RuntimeError("git fast-import failed")
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        subprocess.run([*git, "config", key, "true"], check=True)
    subprocess.run([*git, "repack", "--quiet", "-adfb", "--window=3"], check=True)


@contextmanager
def _served(directory: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "hack.gitserver", str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
