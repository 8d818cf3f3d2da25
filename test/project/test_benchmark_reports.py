"""What benchmarks keep, and the tables and the picture that they write of it."""

from hack.benchmarks import growth, report
from hack.benchmarks.failover import Lease
from hack.benchmarks.many import Shares, jain


def test_a_size_that_is_measured_again_takes_the_place_of_its_row(tmp_path):
    report.keep(
        "x", [{"n": 5, "value": 1}, {"n": 1, "value": 2}], key=("n",), command="a", folder=tmp_path
    )
    rows = report.keep("x", [{"n": 5, "value": 3}], key=("n",), command="b", folder=tmp_path)
    assert [(x["n"], x["value"], x["command"]) for x in rows] == [(1, 2, "a"), (5, 3, "b")]
    assert report.kept("x", tmp_path) == rows
    assert all(x["measured"].startswith("Measured on ") for x in rows)


def test_a_table_is_written_between_its_marks_with_every_command_once(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- /x -->\nafter\n")
    rows = [{"command": "one", "measured": "M"}, {"command": "one", "measured": "M"}]
    report.write_rows("x", "| table |", rows, page=page)
    assert page.read_text() == (
        "before\n<!-- x -->\n\n    one\n\n| table |\n\nM\n\n<!-- /x -->\nafter\n"
    )


def test_the_picture_shows_what_was_measured():
    if not growth.PICTURE.exists():
        assert "growth.svg" not in report.PAGE.read_text()
        return
    found = growth.charts(report.kept("run"), report.kept("history"))
    assert growth.PICTURE.read_text() == growth.draw(found)


def test_every_point_is_in_the_picture_with_its_value():
    row = {"tasks": 500, "by": "inline", "ours": {"created": 2.5, "final": 9.0, "cpu": 1.0}}
    row["bare"] = {"created": 2.0, "final": 8.0}
    history = [{"runs": 100, "cpu": 1.5, "rss": 80, "task": 0.004}]
    drawn = growth.draw(growth.charts([row], history))
    assert drawn.count("<circle") == 8
    for value in ("2.5 s", "9 s", "2 ms", "1.5 s", "80 MiB", "4 ms"):
        assert f"<title>{value}</title>" in drawn


def test_axes_end_at_round_numbers():
    assert [growth.round_up(x) for x in (0.3, 1, 3, 7, 12, 4100)] == [0.4, 1, 4, 8, 20, 5000]


def test_fairness_is_one_for_equal_shares_and_one_nth_for_a_single_one():
    assert jain([5, 5, 5, 5]) == 1.0
    assert jain([20, 0, 0, 0]) == 0.25


def test_shares_count_what_is_there_at_once_and_who_had_the_first_half():
    shares = Shares()
    for second, run in enumerate(("a", "b", "a", "a")):
        labels = {"kubetask.io/batch-run": run}
        shares.see(second, True, {"namespace": "team", "labels": labels})
        shares.see(second, second == 3, {"namespace": "team", "labels": labels})
    assert shares.of_runs(2) == [1.0]
    assert max(shares.most.values()) == 2
    assert shares.longest_wait() == 1


def test_a_lease_is_free_when_it_runs_out_or_when_it_is_given_up():
    held = {
        "holderIdentity": "a",
        "renewTime": "2026-01-01T00:00:00.000000Z",
        "leaseDurationSeconds": 15,
    }
    killed, left = Lease(), Lease()
    killed.see(held)
    killed.see(held | {"holderIdentity": "b"})
    assert killed.free_at == 1767225615.0
    assert killed.taken_at > killed.free_at
    left.see(held | {"renewTime": "2999-01-01T00:00:00.000000Z"})
    left.see({"holderIdentity": ""})
    assert left.free_at < 32472144000.0
    assert not left.taken_at
