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
_ESCAPED = r"%(20|[89A-Fa-f][0-9A-Fa-f])"
"""A space or a byte of UTF-8, as a browser's address line shows it."""
_NAME_FIRST = rf"([A-Za-z0-9_]|{_ESCAPED})"
_NAME_LAST = rf"([A-Za-z0-9_.+)!'-]|{_ESCAPED})"
_NAME = rf"{_NAME_FIRST}(([A-Za-z0-9_ .+&()!',-]|{_ESCAPED})*{_NAME_LAST})?"
ORG_PATTERN = rf"^~?{_NAME}(/{_NAME})*$"
REPO_PATTERN = rf"^\.?{_NAME}$"
"""Spaces and some marks are in names at Azure DevOps. A URL gets them percent-encoded, and what is
percent-encoded already stays as it is."""
_PART = r"\.?[^./\x00-\x1f\x7f\\]+(\.[^./\x00-\x1f\x7f\\]+)*\.?"
FILE_NAME_PATTERN = rf"^{_PART}(/{_PART})*$"
"""A relative path without ``..``, of which no part is empty or ``.``."""

_HOST = r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_USER = r"[A-Za-z0-9_][A-Za-z0-9._~-]*@"
PORT_PATTERN = (
    r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
"""1 to 65535; not anchored."""
_URL_CHAR = r"[A-Za-z0-9._~!$&'()*+,;=:%/-]"
_NAMED = r"\{(org|repo)\}"
_FILE_FIRST = r"[A-Za-z0-9_][A-Za-z0-9._~+,=-]*"
_FILE_PART = rf"(\.?[A-Za-z0-9_]|{_NAMED})([A-Za-z0-9._~+,=-]|{_NAMED})*"


def _remote(path: str) -> str:
    """An http, https or ssh URL, or ``user@host:path``, with this path."""
    return rf"(https?|ssh)://({_USER})?{_HOST}(:{PORT_PATTERN})?/{path}|{_USER}{_HOST}:{path}"


URL_TEMPLATE_PATTERN = (
    rf"^({_remote(f'({_URL_CHAR}|{_NAMED})+')}|file:///{_FILE_FIRST}(/{_FILE_PART})+)$"
)
"""https, http, ssh or file, or ``user@host:path``; a user but no password, which would be readable
by everybody. {org} and {repo} stand in the path alone: an org of ``127.0.0.1/x`` in the host would
send the credentials elsewhere. A file's path begins with a literal folder and has neither ``..``,
an empty part nor ``%``, by which it would come to lie in a folder that is refused."""
URL_PATTERN = rf"^({_remote(f'{_URL_CHAR}+')}|file:///{_URL_CHAR}+)$"
"""What a template becomes."""

API_URL_PATTERN = rf"^https?://[A-Za-z0-9.-]+(:{PORT_PATTERN})?(/[A-Za-z0-9._~%/-]*)?$"
"""A URL without user, query and fragment."""
_PLACEHOLDER = r"\{(run|index|task|namespace|id)\}"
_TEMPLATE_CHARS = rf"({_BRANCH_CHARS}|{_PLACEHOLDER})"
BRANCH_TEMPLATE_PATTERN = (
    rf"^({_BRANCH_FIRST}|{_PLACEHOLDER}){_TEMPLATE_CHARS}*(\.{_TEMPLATE_CHARS}+)*"
    rf"(/{_TEMPLATE_CHARS}+(\.{_TEMPLATE_CHARS}+)*)*$"
)
"""A branch with placeholders."""
SPARSE_PATTERN = r"^[^/\x00-\x1f\x7f\\!*?\[\]-][^\x00-\x1f\x7f\\*?\[\]]*$"
"""A folder below a repository; no pattern, and nothing that could be an option."""
