"""Names of the objects a run or a Task owns: pure functions of the owner.

A name is deterministic, so a repeated create fails with ``AlreadyExists`` instead of creating a
second Job. A Job's name becomes a label value of its Pods, hence at most 63 bytes; longer names are shortened and get a
hash of the full name and the owner's uid.
"""

import base64
import hashlib

MAX_JOB_NAME = 63
"""A Job's name is the value of the label ``batch.kubernetes.io/job-name``, which the API server holds to 63 bytes."""

MAX_OBJECT_NAME = 253
MAX_BRANCH = 200
"""A branch is a file in a repository, and a file's name has at most 255 bytes."""

_HASH_LENGTH = 10
_SUFFIX_LENGTH = 6


def digest(*parts: str, length: int = _HASH_LENGTH) -> str:
    """A short lower-case hash of the parts, made of characters that a DNS label allows."""
    sha = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b32encode(sha).decode().lower()[:length]


def shortened(name: str, salt: str, *, limit: int) -> str:
    """``name`` itself where it fits into ``limit`` characters, else its beginning and a hash of all of it."""
    if len(name) <= limit:
        return name
    head = name[: limit - _HASH_LENGTH - 1].rstrip("-.")
    return f"{head}-{digest(name, salt)}"


def label_value(name: str) -> str:
    """``name`` as a label value: at most 63 characters, ending in a letter or digit, stable for the name."""
    return shortened(name, "", limit=MAX_JOB_NAME)


def run_task_name(run: str, index: int) -> str:
    """The full name of a run's task, as in ``TASK_NAME`` and the annotation."""
    return f"{run}-task-{index}"


def run_job_name(run: str, uid: str, index: int) -> str:
    """The Job of task ``index`` of a run: ``<run>-task-<index>``.

    A dot is legal in a run's name and not in a Pod's hostname, which Kubernetes derives by itself; it stays.
    """
    return shortened(run_task_name(run, index), uid, limit=MAX_JOB_NAME)


def is_run_job_name(name: str, run: str, uid: str, index_label: str) -> bool:
    """Whether a Job of that name, with that label ``kubetask.io/task-index``, may belong to a run.

    Names that were not shortened end in the index; for others, the label contains the index.
    """
    suffix = name.removeprefix(f"{run}-task-")
    indexes = (x for x in (suffix, index_label) if x.isascii() and x.isdigit() and len(x) < 6)
    return any(run_job_name(run, uid, int(digits)) == name for digits in indexes)


def task_suffix(uid: str) -> str:
    """A suffix that distinguishes two Tasks of the same name: derived from the uid, and constant for the object."""
    return digest(uid, length=_SUFFIX_LENGTH)


def task_job_name(task: str, uid: str) -> str:
    """The Job of a Task: ``<task>-<suffix>``."""
    return shortened(f"{task}-{task_suffix(uid)}", uid, limit=MAX_JOB_NAME)


def task_id(uid: str, index: int | None) -> str:
    """The name of a task's folder in the workspace: unique for the owner object, whatever it is called."""
    return digest(uid, "" if index is None else str(index), length=16)


def owned_name(owner: str, uid: str, what: str) -> str:
    """The name of a helper object (a snapshot, a ConfigMap of files) that belongs to one owner object."""
    tail = f"-{what}-{digest(uid, length=_SUFFIX_LENGTH)}"
    return shortened(owner, uid, limit=MAX_OBJECT_NAME - len(tail)) + tail
