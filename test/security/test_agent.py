"""What a hostile agent may leave as its result and write into its log."""

import csv
import io
import json
import re
from typing import Any

import pytest

from kubetask_controller.api.result import parse_result
from kubetask_controller.api.text import escaped_json
from kubetask_controller.cli.commands.results import as_csv
from kubetask_controller.cli.logs.output import LogOutput
from kubetask_controller.cli.podresults import _with
from kubetask_controller.cli.runview import TaskRow
from kubetask_controller.cli.terminal import Terminal

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
    good = "https://git.example/acme/billing/pull/1"
    assert _kept({"pullRequests": [link, good, {"url": link}]}) == {"pullRequests": [good]}


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


ESCAPES = {
    "clears the screen": "\x1b[2Jdone",
    "sets the title of the window": "\x1b]0;root@prod\x07done",
    "writes into the clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07done",
    "names a link otherwise": "\x1b]8;;http://evil.example\x1b\\done\x1b]8;;\x1b\\",
    "asks the terminal for an answer": '\x1bP$q"p\x1b\\done',
    "an escape in one character": "\x9b2Jdone",
    "hides what follows": "\x1b[8mdone\x1b[0m",
    "writes over the start of the line": "[0 other/repo] fine\rdone",
    "rings and deletes": "done\x07\x08\x08",
    "reorders what is read": "\u202edone",
}


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("line", ESCAPES.values(), ids=ESCAPES)
def test_a_log_cannot_steer_a_terminal(line: str) -> None:
    screen = Screen()
    output = LogOutput(Terminal(screen), {0: "acme/billing"})
    output.write(0, line.encode())
    shown = re.sub(r"\x1b\[[0-9]*m", "", screen.getvalue(), count=2)  # the prefix has a colour
    assert shown.startswith("[0 acme/billing] ")
    assert shown.endswith("done\n")
    assert shown.isprintable() or shown.count("\n") == 1
    assert shown[:-1].isprintable()


def test_a_log_in_a_pipe_is_what_the_agent_wrote() -> None:
    pipe = io.TextIOWrapper(io.BytesIO())
    output = LogOutput(Terminal(pipe), None)
    output.write(0, b"\x1b[31mred\x1b[0m \xff")
    output.flush()
    assert pipe.buffer.getvalue() == b"\x1b[31mred\x1b[0m \xff\n"  # type: ignore[attr-defined]


CELLS = {
    "a formula": '=HYPERLINK("http://evil.example")',
    "a formula by plus": "+1+1",
    "a formula by minus": "-1+1",
    "a call by at": "@SUM(1)",
    "a formula behind spaces": "  =1+1",
    "a formula behind a tab": "\t=1+1",
    "a formula behind a line feed": "\n=1+1",
    "a formula behind what cannot be seen": "\u200b=1+1",
    "a formula in full width": "\uff1d1+1",
    "a call of a program": "|calc",
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_cell_is_no_formula(cell: str) -> None:
    assert _read_back(cell).startswith("'")


@pytest.mark.parametrize(
    "cell", ["a\nb", "a\r\nb", "a\rb", "a;b", "a,b", 'a"b', "a\n=1+1", "a;=1+1", 'a";=1+1;"']
)
def test_a_cell_stays_one_cell(cell: str) -> None:
    assert _read_back(cell) == cell.replace("\r\n", "\n").replace("\r", "\n")
    text = as_csv([_row(cell)])
    assert all(line.startswith('"') for line in text.splitlines()[:1])
    for delimiter in (",", ";"):
        rows = list(
            csv.reader(io.StringIO(text.replace('","', f'"{delimiter}"')), delimiter=delimiter)
        )
        assert len(rows) == 2


def test_json_for_a_person_holds_no_control_characters() -> None:
    text = "\x9b2J\u202e\x7f\U000e0041"
    shown = escaped_json(json.dumps({"a": text}, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == {"a": text}


def test_what_the_plugin_reads_of_a_pod_itself_is_cleaned_too() -> None:
    said = '{"pullRequest": "javascript:alert(1)", "summary": "\\u001b[2Jdone", "score": NaN}'
    row = _with(TaskRow(0, "Failed"), {"message": said})
    assert row.result == {"summary": "done"}


def _row(summary: str) -> TaskRow:
    return TaskRow(0, "Succeeded", entry={"result": {"summary": summary}})


def _read_back(summary: str) -> str:
    (row,) = csv.DictReader(io.StringIO(as_csv([_row(summary)])))
    return row["summary"]
