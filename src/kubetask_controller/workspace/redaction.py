"""Masks secrets in the output of a task: log, transcript, messages, results, commits.

A secret is masked whole and in pieces. Agents stream an answer as events of a few characters each, so no single line may
hold the secret: ``StreamRedactor`` follows a text over the lines that carry it. Of a secret that is cut into pieces at most
``MIN_PIECE - 1`` characters at its start remain. Where something else stands between its pieces, fragments of
``MIN_FRAGMENT`` characters and more are masked, each by itself.

Characters that nobody sees (colours, controls, zero-width spaces) are removed before anything is compared: what shows the
text later removes them too, and the secret would appear again.
"""

import base64
import contextlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from kubetask_controller.api.text import clean_text

MASK = "***"
MIN_LENGTH = 6
"""Shorter values are not masked: they match in too many places, and are too short for secrets."""
MIN_PIECE = 4
"""Minimum length of a secret's prefix at the end of a text that is masked before the rest is known."""
MAX_ENCODED = 4096
"""Maximum length of a secret whose encodings are masked too."""
MAX_FILE_BYTES = 1 << 20
"""Maximum size of a Secret."""
MAX_FILES = 1000
"""Maximum number of files in a folder of Secrets. A folder with more of them contains data."""
MAX_FOLDER_BYTES = 4 << 20
"""Maximum size of a folder of Secrets: several Secrets may be projected into one folder."""
STRONG_LENGTH = 16
"""Characters of a value that stands in a text for no other reason than that it was copied there."""
MIN_FRAGMENT = 8
"""Characters of a piece of a secret that are masked wherever they stand, of secrets of STRONG_LENGTH and more."""
_PROBE = 5
_STEP = MIN_FRAGMENT - _PROBE + 1
"""So many characters are compared at each such place, so that no fragment is missed."""
_MAX_PATHS = 4096
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|(^|_)PAT$", re.IGNORECASE)
# A password may contain "@". A quotation mark ends a string of JSON.
_USERINFO = re.compile(r"(?<=://)([^/\s\"]+)@")
_NETRC = re.compile(r"(?:(?:^|\s)login\s+(\S+))?(?:^|\s)+password\s+(\S+)")
# Tokens of GitHub, also of an App that renews them while the agent runs, and the base64 of "x-access-token:".
_TOKEN = re.compile(
    r"gh[opsur]_(?=[A-Za-z_-]*[0-9])[\w-]{20,}(?:\.[\w-]+)*"
    r"|github_pat_\w{20,}"
    r"|eC1hY2Nlc3MtdG9rZW46[\w+/-]{20,}=*",
    re.ASCII,
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ASSIGNED = re.compile(r"^\s*(?:export\s+)?[\w./:@-]+\s*(?:=|:\s)\s*(\S.*?)\s*$")
_URL_SAFE = str.maketrans("+/", "-_")
_HEX = re.compile(r"%[0-9A-F]{2}")
_LINES = re.compile(r"(?=\n)")
_JOINED = re.compile(r"[\u0590-\u200b\u2190-\U0010ffff]")
_JOINER = re.compile(r"[\u200c\u200d]")
_WORDS = re.compile(r"[A-Z]?[a-z\W_]+|[A-Z\W_]+")
_SPACE = re.compile(r"[\s\u200c\u200d]+")
"""White space, and the joiners, which nobody sees but some scripts need."""


NO_SECRETS = ("username", "email")
"""Keys of a Secret for git that are no secrets."""


class Redactor:
    """Masks known values, tokens of GitHub, and user information in URLs."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        whole = {clean_text(x).strip() for x in secrets}
        lines = {y.strip() for x in whole for y in x.splitlines()}
        found = {x for x in whole | lines if len(x) >= MIN_LENGTH}
        # Programs print encoded secrets: in JSON, in URLs, as the base64 of "user:password".
        encoded = _encoded(found)
        self._values = sorted(found | encoded, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._values))) if self._values else None
        squeezed = {_SPACE.sub("", x) for x in found | encoded}
        wanted = sorted((x for x in squeezed if len(x) >= 2 * MIN_LENGTH), key=len, reverse=True)
        self._squeezed = re.compile("|".join(map(re.escape, wanted))) if wanted else None
        strong = sorted((x for x in found if _is_strong(x)), key=len, reverse=True)
        certain = sorted({*strong, *_encoded(strong)}, key=len, reverse=True)
        self._strong = re.compile("|".join(map(re.escape, certain))) if certain else None
        self._fragments = _Fragments(strong) if strong else None

    def leaks(self, text: str) -> bool:
        """Whether a text that cannot be changed contains a secret that cannot occur by chance."""
        return self._strong is not None and self._strong.search(text) is not None

    def contains(self, text: str) -> bool:
        """Whether a text that people read contains a secret."""
        return self._pattern is not None and self._pattern.search(clean_text(text)) is not None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, clean_text(text))
        return self.rest(text)

    def rest(self, text: str) -> str:
        """The text without fragments of secrets, tokens and user information; whole secrets are masked already."""
        if self._fragments is not None:
            text = self._fragments(text)
        text = _TOKEN.sub(MASK, text)
        return _USERINFO.sub("", text) if "://" in text else text

    def prose(self, text: str) -> str:
        """The text without secrets, also where white space was put between their characters."""
        return self(self.spaced(clean_text(text)))

    def spaced(self, text: str) -> str:
        """The text without secrets that have white space between their characters."""
        if self._squeezed is None or not self._squeezed.search(_SPACE.sub("", text)):
            return text
        places = [i for i, x in enumerate(text) if not _SPACE.match(x)]
        together = "".join(text[i] for i in places)
        for match in reversed(list(self._squeezed.finditer(together))):
            text = text[: places[match.start()]] + MASK + text[places[match.end() - 1] + 1 :]
        return text

    def tree(self, value: Any) -> Any:
        """A JSON value without secrets in its strings and keys."""
        if isinstance(value, str):
            return self.prose(value)
        if isinstance(value, Mapping):
            return {self(str(k)): self.tree(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(x) for x in value]
        return value

    def pieces(self) -> "StreamRedactor":
        """A redactor for one stream of lines."""
        return StreamRedactor(self, self._values, self._pattern)


class StreamRedactor:
    """Masks secrets in a stream of lines, including secrets that are spread over several lines.

    In lines that are JSON objects, the strings with the same path (``message.content[].text``) form one continuous text.
    The lines that are not JSON form another one.
    """

    def __init__(
        self, redact: Redactor, values: Sequence[str], pattern: re.Pattern[str] | None
    ) -> None:
        self._redact = redact
        self._pattern = pattern
        self._all = values
        self._longest = max(map(len, values), default=0)
        self._short = {x[:n] for x in values for n in range(1, MIN_PIECE)}
        self._by_head: dict[str, list[str]] = {}
        for value in values:
            self._by_head.setdefault(value[:MIN_PIECE], []).append(value)
        heads = "|".join(map(re.escape, self._by_head))
        self._heads = re.compile(f"(?=({heads}))")
        self._tails: dict[tuple[str, ...], str] = {}

    def __call__(self, line: str) -> str:
        """A line, with or without its line feed, without secrets."""
        if self._pattern is None:
            return self._redact(line)
        body, end = (line[:-1], "\n") if line.endswith("\n") else (line, "")
        body = _visible(body)
        value = _object(body)
        if value is None:
            return self._redact.rest(self._mask((), self._redact.spaced(body))) + end
        masked = self._walk((), value)
        if masked != value:
            body = json.dumps(masked, ensure_ascii=False, separators=(",", ":"))
        return self._redact.rest(self._pattern.sub(MASK, body)) + end

    def _walk(self, path: tuple[str, ...], value: Any) -> Any:
        if isinstance(value, str):
            return self._mask((*path, ""), self._redact.spaced(_visible(value)))
        if isinstance(value, dict):
            return {self._redact(k): self._walk((*path, k), v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._walk((*path, "[]"), x) for x in value]
        return value

    def _mask(self, path: tuple[str, ...], text: str) -> str:
        assert self._pattern is not None
        if "\n" in text[1:] and len(text) <= MAX_ENCODED:
            # A piece of an answer: a secret may continue in the next line.
            return "".join(self._mask(path, x) for x in _LINES.split(text) if x)
        before, lead = self._tails.pop(path, ""), ""
        if before and (space := _SPACE.match(text)):
            if space.end() == len(text):
                self._tails[path] = before
                return text
            if self._goes_on(before + text[space.end() :]):
                lead, text = space[0], text[space.end() :]
        whole = before + text
        spans = [x.span() for x in self._pattern.finditer(whole)]
        start = self._open_end(whole, spans[-1][1] if spans else 0)
        if start < len(whole):
            if len(self._tails) >= _MAX_PATHS:
                self._tails.clear()
            self._tails[path] = whole[start:]
            if len(whole) - start >= MIN_PIECE:
                spans.append((start, len(whole)))
        shown, at = [], len(before)
        for first, last in spans:
            if last > at:
                shown += [whole[at : max(first, at)], MASK]
                at = last
        return "".join([lead, *shown, whole[at:]])

    def _goes_on(self, text: str) -> bool:
        """Whether a text begins with a secret, or is the beginning of one."""
        values = self._by_head.get(text[:MIN_PIECE], ()) if len(text) >= MIN_PIECE else self._all
        return any(x.startswith(text) or text.startswith(x) for x in values)

    def _open_end(self, text: str, after: int) -> int:
        """Position of the longest suffix of the text that is a prefix of a secret; the text's length if there is none."""
        low = max(after, len(text) - self._longest + 1)
        for match in self._heads.finditer(text, low):
            rest = text[match.start() :]
            if any(x.startswith(rest) for x in self._by_head[match.group(1)]):
                return match.start()
        for length in range(min(MIN_PIECE - 1, len(text) - low), 0, -1):
            if text[-length:] in self._short:
                return len(text) - length
        return len(text)


class _Fragments:
    """Masks pieces of secrets, each by itself."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._probes: dict[str, list[tuple[str, int]]] = {}
        for secret in secrets:
            for at in range(len(secret) - _PROBE + 1):
                self._probes.setdefault(secret[at : at + _PROBE], []).append((secret, at))

    def __call__(self, text: str) -> str:
        """The text with each piece of MIN_FRAGMENT characters and more masked."""
        places = range(0, len(text) - _PROBE + 1, _STEP)
        ends = range(_PROBE, len(text) + 1, _STEP)
        if self._probes.keys().isdisjoint(map(text.__getitem__, map(slice, places, ends))):
            return text
        shown, done = [], 0
        for at in places:
            if at < done or (found := self._probes.get(text[at : at + _PROBE])) is None:
                continue
            first, last = max(
                (_common(text, at, *x, after=done) for x in found), key=lambda x: x[1] - x[0]
            )
            if last - first >= MIN_FRAGMENT and not _is_words(text[first:last]):
                shown += [text[done:first], MASK]
                done = last
        return "".join([*shown, text[done:]]) if shown else text


def _visible(text: str) -> str:
    """The text without what nobody sees; joiners stay where there is a script or an emoji that they have a use in."""
    text = clean_text(text)
    return text if text.isascii() or _JOINED.search(text) else _JOINER.sub("", text)


def _is_words(fragment: str) -> bool:
    """Whether a short fragment may stand in a text for another reason."""
    return len(fragment) < 2 * MIN_LENGTH and _WORDS.fullmatch(fragment) is not None


def _common(text: str, at: int, secret: str, place: int, *, after: int) -> tuple[int, int]:
    """The span of the text around `at` that is the secret's around `place`."""
    first, last = at, at + _PROBE
    before, behind = place, place + _PROBE
    while first > after and before > 0 and text[first - 1] == secret[before - 1]:
        first, before = first - 1, before - 1
    while last < len(text) and behind < len(secret) and text[last] == secret[behind]:
        last, behind = last + 1, behind + 1
    return first, last


def secrets_in(
    places: Sequence[Path], too_large: Callable[[Path], None] | None = None
) -> list[str]:
    """The contents of these files, and of the files in these folders, if they are readable text.

    The values in a file of assignments, of JSON or of URLs are included, because a program may print a single value.

    Args:
        places: files and folders.
        too_large: called with each folder that contains more than Secrets can; its files are not included.
    """
    found: list[str] = []
    for place in places:
        files = _files(place)
        if len(files) > MAX_FILES or sum(_size(x) for x in files) > MAX_FOLDER_BYTES:
            if too_large is not None:
                too_large(place)
            continue
        for path in files:
            if path.name in NO_SECRETS:
                # The name of an account is part of URLs and branches, its address of commits.
                continue
            with contextlib.suppress(OSError, UnicodeDecodeError):
                with path.open("rb") as file:
                    text = file.read(MAX_FILE_BYTES).decode()
                found += [text, *_values_in(text)]
    return found


def _files(place: Path) -> list[Path]:
    """The file, or the files in the folder; at most one more than a folder of Secrets has."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        if place.is_file():
            return [place]
        for path in place.rglob("*"):
            # The ..data folders of Kubernetes contain the same files again.
            if not any(x.startswith("..") for x in path.relative_to(place).parts):
                found += [path] if path.is_file() else []
            if len(found) > MAX_FILES:
                break
    return sorted(found)


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def proxy_secrets(environ: Mapping[str, str]) -> list[str]:
    """User and password of the proxies that these variables name."""
    return [y for k, v in environ.items() if k.upper() in _PROXIES for y in _logins(v)]


def secret_variables(environ: Mapping[str, str]) -> list[str]:
    """The values of variables whose names indicate a secret, without paths and numbers."""
    named = {k: v for k, v in environ.items() if _SECRET_NAME.search(k) and not v.isdigit()}
    return variable_values(named)


def variable_values(environ: Mapping[str, str]) -> list[str]:
    """The values of variables that contain secrets, without paths of existing files."""
    values = [x for x in environ.values() if not _is_path(x)]
    return [y for x in values for y in (x, *_values_in(x))]


def _values_in(text: str) -> list[str]:
    value = _object(text)
    if value is not None:
        leaves = _leaves(value)
        return [x for x in leaves if _may_be_secret(x)] + [y for x in leaves for y in _logins(x)]
    assigned = (_ASSIGNED.match(x) for x in text.splitlines())
    values = [x for m in assigned if m and _may_be_secret(x := m[1].strip("\"',;"))]
    for user, password in _NETRC.findall(text):
        values += [password, f"{user}:{password}"]
    return values + _logins(text)


def _logins(text: str) -> list[str]:
    """The passwords of the URLs in a text, and each with its user, as URLs and headers contain them."""
    found: list[str] = []
    for login in _USERINFO.findall(text):
        user, colon, password = login.partition(":")
        for name, value in {(user, password), (unquote(user), unquote(password))}:
            if colon:
                found.append(f"{name}:{value}")
            # Equal ones are a default, such as postgres:postgres, and a word that logs contain.
            if value != name:
                found.append(value)
            if _is_strong(name):
                found.append(name)
    return found


def _leaves(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [y for x in inner for y in _leaves(x)]


def _may_be_secret(value: str) -> bool:
    """Whether to mask a value inside a secret file on its own: not a link, a path or a word."""
    if len(value) < MIN_LENGTH + 2 or "://" in value or value.startswith("/"):
        return False
    return len(value) >= 2 * MIN_LENGTH or not value.isalpha()


def _is_strong(value: str) -> bool:
    if len(value) < STRONG_LENGTH or re.search(r"\s|://", value):
        return False
    return any(x.isdigit() for x in value) and any(x.isalpha() for x in value)


def _object(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _encoded(values: Collection[str]) -> set[str]:
    """The forms in which programs print these values."""
    escaped = {y for x in values for y in _escaped(x)}
    short = (x for x in values if "\n" not in x and len(x) <= MAX_ENCODED)
    return escaped | {y for x in short for y in _base64(x)}


def _escaped(value: str) -> set[str]:
    plain, ascii = json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]
    go = plain.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    slashed = plain.replace("/", "\\/")
    once = {plain, ascii, go, slashed}
    twice = {json.dumps(x, ensure_ascii=False)[1:-1] for x in once}
    links = {quote(value, x) for x in ("", "/", "!'()*", "/:@!$&'()*+,;=")} | {quote_plus(value)}
    links |= {_HEX.sub(lambda m: m[0].lower(), x) for x in links}
    pages = {escape(value), escape(value, quote=False), escape(value).replace("&#x27;", "&#39;")}
    found = once | twice | links | pages
    if len(value) <= MAX_ENCODED:
        digits = value.encode(errors="surrogatepass").hex()
        found |= {digits, digits.upper()}
    return found


def _base64(value: str) -> set[str]:
    """What of the value's base64 is the same whatever stands around the value, for each of the three alignments; the
    whole too, whose last character has bits of the padding."""
    data = value.encode(errors="surrogatepass")
    whole = base64.b64encode(data).decode().rstrip("=")
    found = {whole, whole.translate(_URL_SAFE)}
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        # A character encodes six bits: skip those that share bits with a neighbour.
        first, last = -(-offset * 8 // 6), (offset + len(data)) * 8 // 6
        stable = text[first:last]
        if len(stable) > MIN_LENGTH:
            found |= {stable, stable.translate(_URL_SAFE)}
    return found


def _is_path(value: str) -> bool:
    try:
        return value.startswith("/") and Path(value).exists()
    except (OSError, ValueError):
        return False
