"""The development cluster answers as the recordings of a real control plane do, call by call, in order.

What may differ is listed in conformance/left_out.yaml. `python -m conformance` in this folder shows the score; with
`--kubeconfig` it plays against any cluster.
"""

import pytest
from conformance.score import Comparison, judge, left_out
from conformance.target import play_here
from conformance.transcript import FILES, load


@pytest.fixture(scope="module")
def verdicts() -> list[Comparison]:
    exchanges = [each for file in FILES for each in load(file)]
    return judge(exchanges, play_here(exchanges))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_answer_agrees_with_the_recording(verdicts: list[Comparison], file: str) -> None:
    mine = [each for each in verdicts if each.exchange.file == file]
    assert mine
    found = [
        f"{each.exchange.title}\n" + "\n".join(f"    {x}" for x in each.differences[:5])
        for each in mine
        if each.differences
    ]
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_nothing_is_listed_that_agrees(verdicts: list[Comparison]) -> None:
    excused = {each.exchange.key for each in verdicts if each.excused}
    stale = [each for each in left_out() if (each.file, each.call) not in excused]
    assert not stale
