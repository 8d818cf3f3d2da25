"""Says which tests a change of the product can leave out: those of the development cluster, while it is as it was tested.

The development cluster imports nothing of the product, so only its own files and the versions of libraries can affect
its tests. `make test-devcluster` runs them and records a digest of these in `hack/devcluster/tests/passed.sha256`, which
is checked in. This prints the folder of the tests unless the digest agrees. It needs no history of git for that.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = "hack/devcluster"
RECORD = "hack/devcluster/tests/passed.sha256"
OTHERS = ("hack/requirements/dev.txt", "test/images.yaml")
"""What else the outcome depends on: versions of libraries, and the images of the node."""
MADE = {"__pycache__", ".pytest_cache", "build", "dist"}


def main() -> None:
    """Print the folder of the tests that have to run, or record that they pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="the tests pass on this checkout")
    root = Path(__file__).parents[1]
    if parser.parse_args().record:
        record(root)
    elif passed(root):
        print(f"{FOLDER} is as it passed its tests: they are left out", file=sys.stderr)
    else:
        print(f"{FOLDER}/tests")


def passed(root: Path) -> bool:
    """Whether the tests passed on the content of this checkout."""
    path = root / RECORD
    return path.exists() and path.read_text().strip() == _digest(root)


def record(root: Path) -> None:
    """Record that the tests pass on the content of this checkout."""
    (root / RECORD).write_text(f"{_digest(root)}\n")


def _digest(root: Path) -> str:
    """SHA-256 over the names and contents of all files that the outcome depends on."""
    found = hashlib.sha256()
    for path in sorted(_files(root)):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    yield from (root / x for x in OTHERS)
    for path in (root / FOLDER).rglob("*"):
        parts = path.relative_to(root).parts
        if path.is_file() and path != root / RECORD and not MADE & set(parts):
            yield path


if __name__ == "__main__":
    main()
