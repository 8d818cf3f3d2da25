"""Comparing resourceVersions.

Since Kubernetes 1.35 (KEP-5504) resourceVersions of one resource may be compared: both must be
strings of digits without a leading zero; the longer one is newer, and of two equally long ones the
one that sorts later.
"""

from collections.abc import Iterable
from functools import cmp_to_key


class MalformedResourceVersionError(ValueError):
    """A resourceVersion is not a decimal number without a leading zero."""


def compare(a: str, b: str) -> int:
    """-1, 0 or 1 as `a` is older than, the same as, or newer than `b`.

    Raises:
        MalformedResourceVersionError: one of the two cannot be compared.
    """
    for version in (a, b):
        # isdigit() alone would let other scripts' digits pass.
        if not version.isascii() or not version.isdigit() or version[0] == "0":
            raise MalformedResourceVersionError(f"{version!r} is not a comparable resourceVersion")
    left, right = (len(a), a), (len(b), b)
    return (left > right) - (left < right)


def oldest(versions: Iterable[str]) -> str:
    """The oldest of one or more; "" when they cannot be compared."""
    try:
        return min(versions, key=cmp_to_key(compare))
    except MalformedResourceVersionError:
        return ""
