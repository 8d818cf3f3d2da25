"""What of an agent's result reaches a status: what is fit, field by field."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetask_controller.api.result import clean_result, http_link, parse_result
from kubetask_controller.api.status import TaskResult
from kubetask_controller.api.text import clean_line, clean_text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)
fields = st.sampled_from(
    ["summary", "outcome", "pullRequest", "branch", "commits", "usage", "reason", "notes"]
)


def test_a_result_that_is_fit_is_left_as_it_is() -> None:
    result = {
        "summary": "Updated 3 files.\n\n\tSee CHANGES.",
        "outcome": "Changed",
        "pullRequest": "https://git.example:8443/acme/billing/-/merge_requests/12?tab=1#note_3",
        "branch": "kubetask/run-0",
        "commits": ["a" * 40],
        "usage": {"inputTokens": 12, "outputTokens": 0, "costUSD": "0.125"},
        "reason": "RateLimited",
        "notes": {"files": [1, 2.5, None, True], "author": "Zoë 👩‍💻 می‌خواهم"},
    }
    assert parse_result(json.dumps(result)) == result


@settings(max_examples=40)
@given(st.dictionaries(fields | st.text(), json_values))
def test_whatever_is_left_a_status_takes(value: dict[str, Any]) -> None:
    cleaned = clean_result(value)
    TaskResult.model_validate(cleaned, strict=True)
    assert json.loads(json.dumps(cleaned, allow_nan=False).encode()) == cleaned
    assert clean_result(cleaned) == cleaned


@given(st.text())
def test_text_that_is_clean_stays_as_it_is(text: str) -> None:
    assert clean_text(clean_text(text)) == clean_text(text)
    assert "\n" not in clean_line(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x1b\x1b[0m[31mb", "a[31mb"),
        ("pro\u202egpj.exe", "progpj.exe"),
        ("in\u200bvisible\U000e0041", "invisible"),
        ("old\rnew", "old\nnew"),
        ("one\u2028two", "one\ntwo"),
        ("\ud800x", "x"),
    ],
)
def test_what_could_move_a_cursor_or_reorder_text_is_removed(text: str, shown: str) -> None:
    assert clean_text(text) == shown


@pytest.mark.parametrize("size", [1, 100_000])
def test_cleaning_takes_time_that_grows_with_the_text_alone(size: int) -> None:
    for attack in ("\x1b]", "\x1b[", "\x1b ", "\x9d"):
        assert "\x1b" not in clean_text(attack * size)


@pytest.mark.parametrize(
    ("cost", "kept"),
    [
        (0.5, "0.5"),
        ("12.25", "12.25"),
        (3, "3"),
        (1e-7, "0"),
        (0.1234567, "0.123457"),
        ("1e2", "100"),
        ("1000000", "1000000"),
    ],
)
def test_a_cost_is_a_plain_decimal_number(cost: object, kept: str) -> None:
    assert clean_result({"usage": {"costUSD": cost}}) == {"usage": {"costUSD": kept}}


def test_a_link_is_an_http_url() -> None:
    assert http_link("HTTPS://git.example/a") == "HTTPS://git.example/a"
    assert http_link("http://[2001:db8::1]:8080/a") == "http://[2001:db8::1]:8080/a"


def test_a_message_that_is_no_object_is_no_result() -> None:
    for text in ("", "done", "[1]", '{"a": 1', "null", "[" * 4000):
        assert parse_result(text) is None
