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
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
MAX_VALUE = 4096
"""Maximum length of a value that is masked as a whole. A longer line is cut; of a longer text, each line is masked."""
MAX_FRAGMENTED = 256 * 1024
"""Characters of all secrets together of which fragments are masked, the shortest secrets first."""
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
_VALUE_STEP = MIN_LENGTH - MIN_PIECE + 1
"""MIN_PIECE characters are compared at each such place, so that no value is missed."""
_MAX_PATHS = 4096
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|(^|_)PAT$", re.IGNORECASE)
# A password may contain "@". A quotation mark ends a string of JSON.
_USERINFO = re.compile(r"(?<=://)([^/\s\"]+)@")
_NETRC = re.compile(r"(?:(?:^|\s)login\s+(\S+)\s+|(?:^|\s))password\s+(\S+)")
# Tokens of GitHub, also of an App that renews them while the agent runs, and the base64 of "x-access-token:".
_TOKEN = re.compile(
    r"gh[opsur]_(?=[A-Za-z_-]{0,255}[0-9])[\w-]{20,}(?:\.[\w-]+)*"
    r"|github_pat_\w{20,}"
    r"|eC1hY2Nlc3MtdG9rZW46[\w+/-]{20,}=*",
    re.ASCII,
)
_TOKEN_HEADS = (*(f"gh{x}_" for x in "opsur"), "github_pat_", "eC1hY2Nlc3MtdG9rZW46")
# Such a token at the end of a text, without its last characters; or a part of its first ones, which are no secret.
_OPEN_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:(gh[opsur]_)(?:[\w-]{0,35}|[0-9]+_[\w-]+(?:\.[\w-]*){0,2})"
    r"|(github_pat_)\w{0,81}"
    r"|(eC1hY2Nlc3MtdG9rZW46)[\w+/-]{0,53}"
    rf"|{'|'.join(x[:n] for x in _TOKEN_HEADS for n in range(len(x) - 1, 0, -1))})\Z",
    re.ASCII,
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ASSIGNED = re.compile(r"^\s*(?:export\s+)?[\w./:@-]+\s*(?:=|:\s)\s*(\S.*)")
_URL_SAFE = str.maketrans("+/", "-_")
_PLAIN_BASE64 = str.maketrans("-_", "+/")
# Not between dots: the parts of a JWT are claims, such as names.
_BASE64 = re.compile(r"(?<![\w+/=.-])[\w+/-]{8,}={0,2}(?![\w+/=.-])", re.ASCII)
MAX_ENCODINGS = 2
"""How often a value inside a Secret may be encoded in base64 and is still found."""
_HEX = re.compile(r"%[0-9A-F]{2}")
_UNRESERVED = re.compile(r"[\w.~-]*", re.ASCII)
"""Characters that neither JSON nor URLs nor HTML encode."""
_LINES = re.compile(r"(?=\n)")
_JOINED = re.compile(r"[\u0590-\u200b\u2190-\U0010ffff]")
_JOINER = re.compile(r"[\u200c\u200d]")
_WORDS = re.compile(r"[A-Z]?[a-z\W_]+|[A-Z\W_]+")
_SPACE = re.compile(r"[\s\u200c\u200d]+")
"""White space, and the joiners, which nobody sees but some scripts need."""


NO_SECRETS = ("username", "email")
"""Keys of a Secret for git that are no secrets."""


class Redactor:
    """Masks known values, tokens of GitHub, and user information in URLs.

    Args:
        secrets: the values.
        renewed: returns secrets that are new since its last call; called before each text is masked.
    """

    def __init__(
        self, secrets: Iterable[str] = (), renewed: Callable[[], Collection[str]] = lambda: ()
    ) -> None:
        self._secrets = [*secrets, *renewed()]
        self._renewed = renewed
        self._build()

    def add(self, *secrets: str) -> None:
        """Mask these values too."""
        self._secrets += secrets
        self._build()

    def _build(self) -> None:
        found = _values(self._secrets)
        # Programs print encoded secrets: in JSON, in URLs, as the base64 of "user:password".
        shown = found | _encoded(found)
        self._strong = {x for x in found if _is_strong(x)}
        self._fragments = _Fragments(self._strong)
        self.index = _Index(shown)
        self._squeezed = _Index({y for x in shown if (y := _SPACE.sub("", x)) != x})

    def refresh(self) -> None:
        """Mask renewed values too."""
        if secrets := self._renewed():
            self.add(*secrets)

    def leaks(self, text: str) -> bool:
        """Whether a text that cannot be changed contains a secret that cannot occur by chance."""
        self.refresh()
        return bool(_Index(self._strong | _encoded(self._strong)).find(text))

    def contains(self, text: str) -> bool:
        """Whether a text that people read contains a secret."""
        self.refresh()
        return bool(self.index.find(clean_text(text)))

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        self.refresh()
        return self.known(text)

    def known(self, text: str) -> str:
        """The text without secrets that are known so far."""
        if self.index:
            text = clean_text(text)
            text = _masked(text, self.index.find(text))
        return self.rest(text)

    def rest(self, text: str) -> str:
        """The text without fragments of secrets, tokens and user information; whole secrets are masked already."""
        text = self._fragments(text)
        if any(map(text.__contains__, _TOKEN_HEADS)):
            text = _TOKEN.sub(MASK, text)
        return _USERINFO.sub("", text) if "://" in text else text

    def prose(self, text: str) -> str:
        """The text without secrets, also where white space was put between their characters."""
        self.refresh()
        return self(self.spaced(clean_text(text)))

    def spaced(self, text: str) -> str:
        """The text without secrets that have white space between their characters."""
        together = _SPACE.sub("", text)
        if len(together) == len(text):
            return text
        found = [y for x in (self.index, self._squeezed) for y in x.find(together, 2 * MIN_LENGTH)]
        if not found:
            return text
        places = [i for i, x in enumerate(text) if not _SPACE.match(x)]
        return _masked(text, [(places[x], places[y - 1] + 1) for x, y in _joined(found)])

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
        return StreamRedactor(self)


class StreamRedactor:
    """Masks secrets in a stream of lines, including secrets that are spread over several lines.

    In lines that are JSON objects, the strings with the same path (``message.content[].text``) form one continuous text.
    The lines that are not JSON form another one.
    """

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._tails: dict[tuple[str, ...], str] = {}

    def __call__(self, line: str) -> str:
        """A line, with or without its line feed, without secrets."""
        self._redact.refresh()
        body, end = (line[:-1], "\n") if line.endswith("\n") else (line, "")
        body = _visible(body)
        value = _object(body)
        # JSON that is nested too deeply is text.
        with contextlib.suppress(RecursionError):
            if value is not None and (masked := self._walk((), value)) != value:
                body = json.dumps(masked, ensure_ascii=False, separators=(",", ":"))
            if value is not None:
                return self._redact.rest(_masked(body, self._redact.index.find(body))) + end
        return self._redact.rest(self._mask((), self._redact.spaced(body))) + end

    def _walk(self, path: tuple[str, ...], value: Any) -> Any:
        if isinstance(value, str):
            return self._mask((*path, ""), self._redact.spaced(_visible(value)))
        if isinstance(value, dict):
            return {self._redact.known(k): self._walk((*path, k), v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._walk((*path, "[]"), x) for x in value]
        return value

    def _mask(self, path: tuple[str, ...], text: str) -> str:
        if "\n" in text[1:] and len(text) <= MAX_VALUE:
            # A piece of an answer: a secret may continue in the next line.
            return "".join(self._mask(path, x) for x in _LINES.split(text) if x)
        index = self._redact.index
        before, lead = self._tails.pop(path, ""), ""
        if before and (space := _SPACE.match(text)):
            if space.end() == len(text):
                self._tails[path] = before
                return text
            if index.begins(before + text[space.end() :]):
                lead, text = space[0], text[space.end() :]
        whole = before + text
        spans, start = index.follow(whole)
        shown_from = start if len(whole) - start >= MIN_PIECE else len(whole)
        if any(map(whole.__contains__, _TOKEN_HEADS)):
            spans = _joined([*spans, *(x.span() for x in _TOKEN.finditer(whole))])
        word = whole[-MAX_VALUE:].rsplit(None, 1)[-1] if whole[-1:].strip() else ""
        if token := _OPEN_TOKEN.search(whole, len(whole) - len(word)):
            start = min(start, token.start())
            # The first characters of a token are no secret, and may be a word.
            shown_from = min(shown_from, token.end(token.lastindex or 0))
        if start < len(whole):
            if len(self._tails) >= _MAX_PATHS:
                self._tails.clear()
            self._tails[path] = whole[start:]
            if shown_from < len(whole):
                spans = _joined([*spans, (shown_from, len(whole))])
        spans = [(max(x, len(before)), y) for x, y in spans if y > len(before)]
        return lead + _masked(whole, spans)[len(before) :]


class _Index:
    """Finds values in a text. The time depends on the text's length, hardly on the number of values."""

    def __init__(self, values: Collection[str]) -> None:
        self._values = sorted(x for x in values if len(x) >= MIN_LENGTH)
        self._longest = max(map(len, self._values), default=0)
        self._heads = {x[:n] for x in self._values for n in range(1, MIN_PIECE + 1)}
        self._inner: dict[str, str] = {}
        """For a value, the longest other one with which it begins."""
        self._probes: dict[str, int] = {}
        """A bit for each offset at which these characters are in a value."""
        open_values: list[str] = []
        for value in self._values:
            while open_values and not value.startswith(open_values[-1]):
                open_values.pop()
            if open_values:
                self._inner[value] = open_values[-1]
            open_values.append(value)
            for at in range(_VALUE_STEP):
                probe = value[at : at + MIN_PIECE]
                self._probes[probe] = self._probes.get(probe, 0) | 1 << at

    def __bool__(self) -> bool:
        return bool(self._values)

    def find(self, text: str, shortest: int = 0) -> list[tuple[int, int]]:
        """The spans of all values of at least this length. Values that overlap have one span."""
        starts = self._starts(text)
        return self._spans(text, starts, shortest) if starts else []

    def follow(self, text: str) -> tuple[list[tuple[int, int]], int]:
        """The spans of all values, and the position of the longest suffix of the text that is the start of a longer value;
        the text's length if there is none."""
        starts = self._starts(text)
        spans = self._spans(text, starts) if starts else []
        end = len(text)
        low = max(spans[-1][0] if spans else 0, end - self._longest + 1)
        # The last characters may be too few for a probe.
        late = range(max(low, end - MIN_LENGTH + 1), end)
        for at in [*starts, *late]:
            if at >= low and text[at : at + MIN_PIECE] in self._heads and self._is_prefix(text, at):
                return spans, at
        return spans, end

    def begins(self, text: str) -> bool:
        """Whether a text begins with a value, or is the beginning of one."""
        return self._is_prefix(text) or self._length(text, 0) > 0

    def _starts(self, text: str) -> list[int]:
        """Positions at which values may start, in their order."""
        probes = self._probes
        if not probes or len(text) < MIN_LENGTH:
            return []
        # MIN_LENGTH characters contain a probe that starts at one of these places.
        places = range(0, len(text) - MIN_PIECE + 1, _VALUE_STEP)
        ends = range(MIN_PIECE, len(text) + 1, _VALUE_STEP)
        if probes.keys().isdisjoint(map(text.__getitem__, map(slice, places, ends))):
            return []
        return [
            place - offset
            for place in places
            if (offsets := probes.get(text[place : place + MIN_PIECE]))
            for offset in reversed(range(_VALUE_STEP))
            if offsets >> offset & 1 and place >= offset
        ]

    def _spans(self, text: str, starts: Iterable[int], shortest: int = 0) -> list[tuple[int, int]]:
        found = ((x, x + self._length(text, x)) for x in starts)
        return _joined(x for x in found if x[1] - x[0] >= max(shortest, 1))

    def _length(self, text: str, start: int) -> int:
        """The length of the longest value that starts here; 0 for none."""
        if text[start : start + MIN_PIECE] not in self._heads:
            return 0
        rest = text[start : start + self._longest]
        at = bisect_right(self._values, rest) - 1
        value = self._values[at] if at >= 0 else ""
        while value and not rest.startswith(value):
            value = self._inner.get(value, "")
        return len(value)

    def _is_prefix(self, text: str, start: int = 0) -> bool:
        """Whether the rest of the text is the start of a longer value."""
        # Most texts differ early: do not copy each to its end.
        for end in (start + 4 * MIN_PIECE, len(text)):
            rest = text[start:end]
            at = bisect_right(self._values, rest)
            if at == len(self._values) or not self._values[at].startswith(rest):
                return False
        return True


class _Fragments:
    """Masks pieces of secrets, each by itself."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._probes: dict[str, list[tuple[str, int]]] = {}
        left = MAX_FRAGMENTED
        for secret in sorted(secrets, key=len):
            left -= len(secret)
            if left < 0:
                break
            for at in range(len(secret) - _PROBE + 1):
                self._probes.setdefault(secret[at : at + _PROBE], []).append((secret, at))

    def __call__(self, text: str) -> str:
        """The text with each piece of MIN_FRAGMENT characters and more masked."""
        places = range(0, len(text) - _PROBE + 1, _STEP)
        ends = range(_PROBE, len(text) + 1, _STEP)
        if self._probes.keys().isdisjoint(map(text.__getitem__, map(slice, places, ends))):
            return text
        spans: list[tuple[int, int]] = []
        done = 0
        for at in places:
            if at < done or (found := self._probes.get(text[at : at + _PROBE])) is None:
                continue
            first, last = max(
                (_common(text, at, *x, after=done) for x in found), key=lambda x: x[1] - x[0]
            )
            if last - first >= MIN_FRAGMENT and not _is_words(text[first:last]):
                spans.append((first, last))
                done = last
        return _masked(text, spans)


def _values(secrets: Iterable[str]) -> set[str]:
    """What to mask of these texts: each as a whole, and its lines. Long ones are cut."""
    whole = {clean_text(x).strip() for x in secrets}
    lines = {y.strip() for x in whole for y in x.splitlines()}
    # The lines of a long text are enough.
    whole = {x for x in whole if len(x) <= MAX_VALUE or x in lines}
    return {z for y in whole | lines for z in _cut(y) if len(z) >= MIN_LENGTH}


def _cut(value: str) -> Iterator[str]:
    count = -(-len(value) // MAX_VALUE)
    for number in range(count):
        yield value[len(value) * number // count : len(value) * (number + 1) // count]


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in their order; those that overlap are one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first < joined[-1][1]:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined


def _masked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    shown, done = [], 0
    for first, last in spans:
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


def _values_in(text: str, encoded: int = MAX_ENCODINGS) -> list[str]:
    """The values inside the content of a Secret, also of what it contains in base64, `encoded` times."""
    inner = _decoded(text) if encoded else []
    values = [y for x in inner for y in _values_in(x, encoded - 1)]
    # A word, a path or a link is no secret because it is encoded.
    values += [y for x in inner if _is_file(x) or _may_be_secret(x) for y in (x, *_basic(x))]
    parsed = _object(text, "{[")
    if parsed is not None:
        leaves = _leaves(parsed)
        values += [x for x in leaves if _may_be_secret(x)]
        return values + [y for x in leaves for y in _logins(x)]
    assigned = (_ASSIGNED.match(x) for x in text.splitlines())
    values += [x for m in assigned if m and _may_be_secret(x := m[1].rstrip().strip("\"',;"))]
    for user, password in _NETRC.findall(text):
        values += [password, f"{user}:{password}"]
    return values + _logins(text)


def _decoded(text: str) -> list[str]:
    """The readable texts that a text contains in base64, such as keys of a kubeconfig."""
    runs = _BASE64.findall(text.replace("\\/", "/"))
    together = "".join(text.split())
    if "\n" in text and _BASE64.fullmatch(together):
        runs.append(together)
    found: list[str] = []
    for run in runs:
        digits = run.rstrip("=").translate(_PLAIN_BASE64)
        with contextlib.suppress(ValueError):
            value = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True).decode()
            if value.isprintable() or _is_file(value):
                found.append(value)
    return found


def _is_file(value: str) -> bool:
    """Whether a text is readable and has several lines."""
    lines = value.replace("\t", "").splitlines()
    return len(lines) > 1 and all(map(str.isprintable, lines))


def _basic(value: str) -> list[str]:
    """The password of ``user:password``, as the header of HTTP and Docker's ``auth`` contain it."""
    user, _, password = value.partition(":")
    return [] if password in ("", user) or any(map(str.isspace, value)) else [password]


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
    found: list[str] = []
    left = [value]
    while left:
        inner = left.pop()
        if isinstance(inner, str):
            found.append(inner)
        elif isinstance(inner, dict):
            left += inner.values()
        elif isinstance(inner, list):
            left += inner
    return found


def _may_be_secret(value: str) -> bool:
    """Whether to mask a value inside a secret file on its own: not a link, a path or a word."""
    if len(value) < MIN_LENGTH + 2 or "://" in value or value.startswith("/"):
        return False
    return len(value) >= 2 * MIN_LENGTH or not value.isalpha()


def _is_strong(value: str) -> bool:
    if len(value) < STRONG_LENGTH or re.search(r"\s|://", value):
        return False
    return any(x.isdigit() for x in value) and any(x.isalpha() for x in value)


def _object(text: str, starts: str = "{") -> Any:
    """The object, or what else JSON starts with these characters; None if the text is not that."""
    if not text.lstrip().startswith(tuple(starts)):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _encoded(values: Collection[str]) -> set[str]:
    """The forms in which programs print these values."""
    found: set[str] = set()
    for value in values:
        if not _UNRESERVED.fullmatch(value):
            found |= _escaped(value)
        digits = value.encode(errors="surrogatepass").hex()
        found |= {digits, digits.upper()}
        if "\n" not in value:
            found |= _base64(value)
    return found


def _escaped(value: str) -> set[str]:
    plain, ascii = json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]
    go = plain.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    slashed = plain.replace("/", "\\/")
    once = {plain, ascii, go, slashed}
    twice = {json.dumps(x, ensure_ascii=False)[1:-1] for x in once}
    links = {quote(value, x) for x in ("", "/", "!'()*", "/:@!$&'()*+,;=")} | {quote_plus(value)}
    links |= {_HEX.sub(lambda m: m[0].lower(), x) for x in links}
    pages = {escape(value), escape(value, quote=False), escape(value).replace("&#x27;", "&#39;")}
    return once | twice | links | pages


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
