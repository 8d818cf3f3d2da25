"""Evaluation on the visible part of an object gives the result of the whole."""

import itertools
from typing import Any

import cel
import pytest
from devcluster.apiserver.cel_slim import MISSING, Reads, Sight

VALUES_A = {"x": "one", "y": 1}
RULES = {
    "self.a == oldSelf.a": {"a": 0},
    "has(self.a) == has(oldSelf.a) && (!has(self.a) || self.a == oldSelf.a)": {"a": 0},
    "!has(self.b) || has(self.a)": {"a": 0, "b": 0},
    "!has(self.a) || self.a.x.size() < 3": {"a": VALUES_A},
    "!has(self.a) || self.a.x != 'self.b'": {"a": VALUES_A},
    "!has(self.a.y) || self.a.y != oldSelf.a.y": {"a": {"y": 0}},
    "has(self.b) && self.b == oldSelf.b + 1": {"b": 2},
    "self.size() > 1": None,
    "self == oldSelf": None,
    "!('b' in self) || self.b > 1": None,
}
VALUES: list[dict[str, Any]] = [
    {"a": {"x": "one", "y": 1}, "b": 2, "c": ["big"]},
    {"a": {"x": "three", "y": 2}, "b": 1, "c": ["big"]},
    {"a": {"x": "one", "y": 1}, "c": []},
    {"b": 2, "c": ["big"]},
]


def _verdict(rule: str, value: Any, old: Any) -> bool | str:
    try:
        return bool(cel.evaluate(rule, {"self": value, "oldSelf": old}))
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        return type(error).__name__


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_judges_what_it_sees_as_it_judges_the_whole(rule: str) -> None:
    sight = Sight(rule)
    for value, old in itertools.product(VALUES, repeat=2):
        seen = sight.of(value, old)
        assert _verdict(rule, *seen) == _verdict(rule, value, old), (value, old, seen)


@pytest.mark.parametrize("rule", RULES)
def test_it_sees_no_more_than_it_names(rule: str) -> None:
    seen, _ = Sight(rule).of(VALUES[0], VALUES[0])
    assert seen == (RULES[rule] if RULES[rule] is not None else VALUES[0])


def test_what_was_not_there_before_stays_away() -> None:
    assert Sight("self.a == oldSelf.a").of({"a": 1}, MISSING) == ({"a": 0}, MISSING)
    assert Sight("self.a == oldSelf.a").of({"a": 1}, {"b": 1}) == ({"a": 0}, {})


@pytest.mark.parametrize(
    ("expression", "seen"),
    [
        ("object.a.b == 1", {"object": {"a": {"b": 1}}}),
        ("object.a == oldObject.a", {"object": {"a": {"b": 1, "c": 2}}, "oldObject": None}),
        ("has(object.a.x) || object.d.exists(i, i == 4)", {"object": {"a": {}, "d": [3, 4]}}),
        ("object.a.b == 1 && object.a.size() == 2", {"object": {"a": {"b": 1, "c": 2}}}),
        ("object == null", {"object": {"a": {"b": 1, "c": 2}, "d": [3, 4]}}),
        ("variables.labels['object.d'] == ''", {"variables": {"labels": {"x": "y"}}}),
        ("request.userInfo.name.matches('^a')", {"request": {"userInfo": {"name": "a"}}}),
        ("true", {}),
    ],
)
def test_an_expression_gets_the_parts_of_its_variables_that_it_reads(expression, seen):
    variables = {
        "object": {"a": {"b": 1, "c": 2}, "d": [3, 4]},
        "oldObject": None,
        "request": {"userInfo": {"name": "a", "groups": []}, "kind": {}},
        "variables": {"labels": {"x": "y"}, "pod": {"containers": []}},
    }
    assert Reads(expression, variables).of(variables) == seen
