"""docs/threat-model.md names every attack, and every attack that it names is tried."""

import pytest

from support.security.attacks import HERE, ROOT, attacks, functions

FILES = sorted(f"{HERE}/{x.name}" for x in (ROOT / HERE).glob("test_*.py"))


@pytest.mark.parametrize("file", sorted({file for file, _ in attacks()}))
def test_every_attack_of_the_table_has_its_test(file: str) -> None:
    named = {test for other, test in attacks() if other == file}
    assert named - set(functions(file)) == set()


def test_every_attack_here_is_in_the_table() -> None:
    own = {(x, name) for x in FILES for name in functions(x) if name.startswith("test_")}
    beside = {x for x in own if x[0].endswith("test_threat_model.py")}
    assert own - beside - set(attacks()) == set()


def test_every_attacker_is_in_the_table() -> None:
    assert set(attacks().values()) == {
        "tenant",
        "runner",
        "repository",
        "git server",
        "agent",
        "network",
        "stolen token",
    }
