import json
import logging

import pytest
import structlog

from kubetask_controller.runtime.log import configure_logging


@pytest.fixture(autouse=True)
def _logging_as_before():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("asyncio", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def lines(capsys):
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_what_machines_sort_by(lines):
    configure_logging()
    structlog.get_logger("controller").info("Starting workers", worker_count=4)
    (line,) = lines()
    assert line.pop("ts").endswith("Z")
    assert line == {
        "msg": "Starting workers",
        "level": "info",
        "logger": "controller",
        "worker_count": 4,
    }


def test_what_is_bound_around_a_reconcile_stands_in_every_line(lines):
    configure_logging()
    with structlog.contextvars.bound_contextvars(controller="batchrun", name="r"):
        structlog.get_logger("jobs").info("Job created")
        logging.getLogger("library").warning("something %s", "odd")
    ours, theirs = lines()
    for line in (ours, theirs):
        assert (line["controller"], line["name"]) == ("batchrun", "r")
    assert (theirs["msg"], theirs["logger"], theirs["level"]) == (
        "something odd",
        "library",
        "warning",
    )


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_says_where_and_keeps_secrets(capsys, form):
    configure_logging(format=form)

    def fail(token):
        raise KeyError("spec")

    secret = "hunter2"
    try:
        fail(secret)
    except KeyError as error:
        structlog.get_logger().error("Reconciler error", exc_info=error)
        logging.getLogger("asyncio").error("Task failed", exc_info=error)
    text = capsys.readouterr().err
    assert "KeyError" in text
    assert "test_log.py" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_lines_below_the_level_are_not_written(lines, level, expected):
    configure_logging(level=level)
    log = structlog.get_logger()
    for write in (log.debug, log.info, log.warning, log.error):
        write("line")
    assert len(lines()) == expected


def test_the_console_format_is_for_people(capsys):
    configure_logging(format="console")
    structlog.get_logger("setup").info("Serving", address=":8080")
    line = capsys.readouterr().err
    assert "Serving" in line
    assert "address=:8080" in line
    assert not line.startswith("{")


@pytest.mark.parametrize("wrong", [{"level": "loud"}, {"format": "xml"}])
def test_a_level_or_format_that_does_not_exist_is_refused(wrong):
    with pytest.raises(ValueError, match=r"loud|xml"):
        configure_logging(**wrong)


def test_configuring_again_does_not_double_the_lines(lines):
    configure_logging()
    configure_logging()
    structlog.get_logger().info("once")
    assert len(lines()) == 1
