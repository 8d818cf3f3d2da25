"""What a hostile agent may leave as its result."""

import json
from typing import Any

import pytest

from kubetask_controller.api.result import parse_result

LINKS = [
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "java\tscript:alert(1)",
    " https://git.example/a",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "file:///etc/passwd",
    "ftp://git.example/a",
    "//git.example/a",
    "git.example/pull/1",
    "https:///pull/1",
    "https://github.com@evil.example/pull/1",
    "https://user:secret@git.example/pull/1",
    "https://git.example:99999/a",
    "https://git.example:0/a",
    "https://[::1/a",
    "https://git.example/\u202egpj",
    "https://git.example/a b",
    'https://git.example/"><script>',
    "https://git.example/\x1b]8;;",
    "https://git.example\\@evil.example/",
    "https://gіt.example/a",  # a Cyrillic letter
    "https://git.example/" + "a" * 2048,
]
NUMBERS = [
    '{"usage": {"costUSD": 1e32}}',
    '{"usage": {"costUSD": "100000000000000000000000000000000"}}',
    '{"usage": {"costUSD": "1e1000000000"}}',
    '{"usage": {"costUSD": -1}}',
    '{"usage": {"costUSD": NaN}}',
    '{"usage": {"costUSD": Infinity}}',
    '{"usage": {"costUSD": 1e400}}',
    '{"usage": {"costUSD": "NaN"}}',
    '{"usage": {"costUSD": true}}',
    '{"usage": {"inputTokens": 9223372036854775807}}',
    '{"usage": {"inputTokens": -1}}',
    '{"usage": {"outputTokens": 1e400}}',
    '{"score": NaN}',
    '{"score": -Infinity}',
    '{"score": 1e400}',
    '{"score": ' + "9" * 3000 + "}",
]


@pytest.mark.parametrize("link", LINKS)
def test_a_link_that_is_not_http_is_dropped_alone(link: str) -> None:
    assert _kept({"pullRequest": link}) == {}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_without_bounds_is_dropped_alone(text: str) -> None:
    found = parse_result(text[:-1] + ', "summary": "done"}')
    assert found == {"summary": "done"}


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b[2J", "\x07", "\x9b31m", "\u202e", "\u2066", "\ufeff"]
)
def test_characters_that_steer_a_terminal_or_hide_are_dropped(character: str) -> None:
    text = f"do{character}ne"
    found = _kept({"summary": text, "outcome": text, "commits": [text], "more": {"deep": [text]}})
    assert found == {
        "summary": "done",
        "outcome": "done",
        "commits": ["done"],
        "more": {"deep": ["done"]},
    }


@pytest.mark.parametrize(
    "field",
    [
        {"reason": ["RateLimited"]},
        {"reason": {}},
        {"branch": "a b"},
        {"branch": "--upload-pack=x"},
        {"branch": "a\x1b[2J"},
        {"summary": 1},
        {"summary": {"a": 1}},
        {"outcome": "x" * 300},
        {"commits": "abc"},
        {"usage": []},
        {"usage": "free"},
        {"kind": "Secret"},
        {"metadata": {"name": "x"}},
        {"apiVersion": "v1"},
        {"": 1},
        {"a\nb": 1},
        {"\u202eeman": 1},
        {"preview": "javascript:alert(1)"},
        {"preview": "JAVA\nSCRIPT:alert(1)"},
        {"preview": "data:text/html;base64,x"},
        {"preview": "file:///etc/passwd"},
    ],
)
def test_a_field_that_does_not_fit_is_dropped_alone(field: dict[str, Any]) -> None:
    assert _kept(field) == {}


def test_a_result_cannot_be_nested_without_end() -> None:
    deep = parse_result('{"summary": "done", "a": ' + '{"a":' * 600 + "1" + "}" * 601)
    assert deep is not None
    assert deep["summary"] == "done"
    levels = 0
    while deep:
        deep, levels = deep.get("a"), levels + 1
    assert levels < 12


def _kept(fields: dict[str, Any]) -> dict[str, Any]:
    """What is left of these fields; another one beside them is always left."""
    found = parse_result(json.dumps({"beside": 1} | fields))
    assert found is not None
    assert found.pop("beside") == 1
    return found
