"""The picture of a run that documents show."""

from datetime import UTC, datetime
from xml.etree import ElementTree

from hack.runpicture import draw

from support.cli.cliobjects import failed, run, running


def test_the_picture_says_what_the_tree_says_and_fetches_nothing():
    svg = draw(run("nightly", failed(0), running(1)), datetime.now(UTC))
    text = "".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ")
    for said in ("kubectl kubetask status nightly", "Failed (1)", "Running (1)"):
        assert said in text
    assert "url(http" not in svg
