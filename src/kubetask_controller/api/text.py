"""Removes unsafe characters from untrusted text, for terminals, the status, tables and pages.

Unsafe characters can move the cursor, change colours, reorder the text or hide parts of it: C0 and C1
controls, the escape sequences of ECMA-48, line separators, bidirectional controls (UAX #9), invisible format
characters, tags and lone surrogates. The joiners U+200C and U+200D stay: several scripts and many emoji need
them.
"""

import json
import re

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_UNSAFE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)


def clean_text(text: str) -> str:
    """The text without control characters; line feeds and tabs remain."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub("", _LINE_END.sub("\n", _SEQUENCE.sub("", text)))


def clean_line(text: str) -> str:
    """The text as one line without control characters; each run of white space becomes one space."""
    return " ".join(clean_text(text).split())


def escaped_json(text: str) -> str:
    """Equivalent JSON with ``\\u`` escapes for the characters that ``clean_text`` removes."""
    return _UNSAFE.sub(lambda x: json.dumps(x[0])[1:-1], text)
