"""Patterns of the names that come from users: branches, organisations, repositories, files, URLs.

The API server checks them at admission, and the init container once more before git sees one.
"""

_BRANCH_CHARS = r"[^./\x00-\x20\x7f~^:?*{}\[\\]"
_BRANCH_FIRST = r"[^-./\x00-\x20\x7f~^:?*{}\[\\]"
BRANCH_PATTERN = (
    rf"^{_BRANCH_FIRST}{_BRANCH_CHARS}*(\.{_BRANCH_CHARS}+)*"
    rf"(/{_BRANCH_CHARS}+(\.{_BRANCH_CHARS}+)*)*$"
)
"""git's rules for a ref name (git-check-ref-format), and no leading dash, so that none is an
option."""
ORG_PATTERN = r"^~?[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"
REPO_PATTERN = r"^\.?[A-Za-z0-9_][A-Za-z0-9_.-]*$"
_PART = r"\.?[^./\x00-\x1f\x7f\\]+(\.[^./\x00-\x1f\x7f\\]+)*\.?"
FILE_NAME_PATTERN = rf"^{_PART}(/{_PART})*$"
"""A relative path without ``..``, of which no part is empty or ``.``."""

URL_TEMPLATE_PATTERN = (
    r"^((https?|ssh|file)://([A-Za-z0-9._~-]+@)?[^@\s\x00-\x1f]+"
    r"|[A-Za-z0-9._~-]+@[A-Za-z0-9.-]+:[^@\s\x00-\x1f]+)$"
)
"""https, http, ssh or file, or ``user@host:path``; a user but no password, which would be readable
by everybody."""
