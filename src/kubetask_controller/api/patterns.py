"""Patterns of user-provided names: objects, labels, branches, organisations, repositories, files, URLs.

The API server checks them at admission; the init container checks them again before it runs git.
"""

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_DNS_LABEL}([.]{_DNS_LABEL})*"
SUBDOMAIN_PATTERN = rf"^{_SUBDOMAIN}$"
"""A DNS-1123 subdomain, the form of most names of Kubernetes."""
OPTIONAL_SUBDOMAIN_PATTERN = rf"^({_SUBDOMAIN})?$"
_NAME_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
QUALIFIED_NAME = rf"({_SUBDOMAIN}/)?{_NAME_PART}"
"""Key of a label or a taint; not anchored."""
ANNOTATION_KEY = rf"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?/)?{_NAME_PART}"
"""Key of an annotation, whose prefix may have upper case; not anchored."""
RESOURCE_NAME = (
    rf"cpu|memory|ephemeral-storage|hugepages-[1-9][0-9]*([KMGTPE]i)?|{_SUBDOMAIN}/{_NAME_PART}"
)
"""A resource of a container; not anchored."""
PORT_NAME_PATTERN = r"^([a-z0-9]+-)*[a-z0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$"
"""An IANA service name."""

_BRANCH_CHARS = r"[^./\x00-\x20\x7f~^:?*{}\[\\]"
_BRANCH_FIRST = r"[^-./\x00-\x20\x7f~^:?*{}\[\\]"
BRANCH_PATTERN = (
    rf"^{_BRANCH_FIRST}{_BRANCH_CHARS}*(\.{_BRANCH_CHARS}+)*"
    rf"(/{_BRANCH_CHARS}+(\.{_BRANCH_CHARS}+)*)*$"
)
"""git's rules for a ref name (git-check-ref-format). A leading dash is not allowed, so that no name
can become an option."""
_ESCAPED = r"%(20|[89A-Fa-f][0-9A-Fa-f])"
"""A percent-encoded space or byte of UTF-8."""
_NAME_FIRST = rf"([A-Za-z0-9_]|{_ESCAPED})"
_NAME_LAST = rf"([A-Za-z0-9_.+)!'-]|{_ESCAPED})"
_NAME = rf"{_NAME_FIRST}(([A-Za-z0-9_ .+&()!',-]|{_ESCAPED})*{_NAME_LAST})?"
ORG_PATTERN = rf"^~?{_NAME}(/{_NAME})*$"
REPO_PATTERN = rf"^\.?{_NAME}$"
"""Names at Azure DevOps may contain spaces and some punctuation. URLs percent-encode them; names that
are already percent-encoded stay unchanged."""
_PART = r"\.?[^./\x00-\x1f\x7f\\]+(\.[^./\x00-\x1f\x7f\\]+)*\.?"
FILE_NAME_PATTERN = rf"^{_PART}(/{_PART})*$"
"""A relative path without ``..``, ``.`` and empty parts."""

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
"""https, http, ssh or file, or ``user@host:path``. A user is allowed, a password is not, because
everyone could read it. {org} and {repo} are allowed in the path only: an org of ``127.0.0.1/x`` in
the host would send the credentials to another host. The path of a file URL starts with a literal
folder and contains neither ``..``, empty parts nor ``%``, which could lead to a forbidden folder."""
URL_PATTERN = rf"^({_remote(f'{_URL_CHAR}+')}|file:///{_URL_CHAR}+)$"
"""A URL built from a template."""

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
"""A folder below a repository, without wildcards and without a leading dash."""
