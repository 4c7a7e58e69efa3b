"""Comparisons of means: standard errors by hand, cells without variance, and what counts."""

import json

import numpy as np
import pytest

from edge_rllib.reference.rows import (
    Report,
    Sample,
    equal_row,
    info_row,
    join,
    refused_row,
    unknown_row,
    worst_row,
    z_row,
)


def test_z_is_the_difference_in_standard_errors():
    # theirs 10 +- 2 of 16: error 0.5; ours 12, 14, 16: mean 14, sd 2, error 2 / sqrt(3)
    row = z_row("f", "s", "p", "m", Sample(10.0, 2.0, 16), np.array([12.0, 14.0, 16.0]))
    assert row.score == pytest.approx(4.0 / np.hypot(0.5, 2.0 / np.sqrt(3.0)))
    assert (row.ours, row.state) == (14.0, "out")
    assert z_row("f", "s", "p", "m", Sample(12.0, 2.0, 16), np.array([12.0, 14.0, 16.0])).state == "ok"


def test_worlds_without_a_value_are_left_out():
    row = z_row("f", "s", "p", "m", Sample(3.0, 1.0, 4), np.array([2.0, np.nan, 4.0]))
    assert (row.ours, row.score) == (3.0, 0.0)
    assert z_row("f", "s", "p", "m", Sample(3.0, 1.0, 4), np.array([np.nan])).state == "out"


@pytest.mark.parametrize(("ours", "state"), [(0.0, "ok"), (1.0, "out")])
def test_cells_without_variance_must_be_equal(ours, state):
    row = z_row("f", "s", "p", "m", Sample(0.0, 0.0, 20), np.full(50, ours))
    assert (row.tolerance, row.state) == ("equal", state)


def test_an_event_too_rare_for_their_few_episodes_is_no_difference():
    # ours: 1 in 50 worlds, sd 0.1414; theirs: none of 20, to which the same sd is lent: 0.02 / 0.0374
    ours = np.zeros(50)
    ours[0] = 1.0
    row = z_row("f", "s", "p", "m", Sample(0.0, 0.0, 20), ours)
    assert row.score == pytest.approx(0.02 / (np.sqrt(0.02) * np.sqrt(1 / 20 + 1 / 50)), rel=1e-6)
    assert row.state == "ok"


def test_a_list_is_as_far_as_its_farthest_mean_and_may_be_a_little_farther_than_one():
    # ours: 40 worlds of mean 0, sd 1; theirs 20 of sd 1: errors of sqrt(1 / 40 + 1 / 20)
    ours = np.tile([[-1.0], [1.0]], (20, 4)) / np.sqrt(40 / 39)
    error = np.sqrt(1 / 40 + 1 / 20)

    def row_of(z, n):
        cells = [Sample(z * error, 1.0, 20)] + [Sample(0.0, 1.0, 20)] * (n - 1)
        return worst_row("f", "s", "p", "m", cells, ours[:, :n])

    assert row_of(2.0, 4).score == pytest.approx(2.0)
    assert [row_of(z, 1).state for z in (2.99, 3.01)] == ["ok", "out"]
    # 3.4 is the normal law's quantile for a quarter of 0.135 %
    assert [row_of(z, 4).state for z in (3.39, 3.41)] == ["ok", "out"]
    assert row_of(3.0, 4).tolerance == "worst |z| of 4 < 3.4"


def test_a_list_with_a_cell_without_variance_must_have_it_equal():
    flat = np.zeros((40, 2))
    assert worst_row("f", "s", "p", "m", [Sample(0.0, 0.0, 20)] * 2, flat).state == "ok"
    far = worst_row("f", "s", "p", "m", [Sample(0.0, 0.0, 20), Sample(1.0, 0.0, 20)], flat)
    assert (far.state, far.theirs, far.ours) == ("out", 0.5, 0.0)
    assert worst_row("f", "s", "p", "m", [Sample(0.0, 0.0, 20)] * 2, flat * np.nan).state == "out"


def test_only_compared_and_refused_rows_count():
    ok = equal_row("f", "s", "m", 1.0, 1.0)
    shown = Report((ok, info_row("f", "s", "m", 1.0, None, "why"), unknown_row("f", "s", "p", "m", 1.0, "why")), ())
    assert shown.is_ok
    assert shown.n_compared == 1
    assert not join([shown, Report((refused_row("f", "s", "p", "why"),), ("note",))]).is_ok
    assert not Report((equal_row("f", "s", "m", 1.0, 1.5, 0.4),), ()).is_ok
    assert Report((equal_row("f", "s", "m", 1.0, 1.5, 0.5),), ()).is_ok


def test_reports_are_plain_json_and_a_table():
    far = z_row("f", "scene", "local", "created", Sample(1.0, 0.1, 9), np.array([np.inf, 5.0, 5.1]))
    report = Report(
        (far, unknown_row("f", "scene", "local", "odd", float("nan"), "no such metric here")), ("f: a note",)
    )
    values = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert (values["ok"], values["compared"], values["notes"]) == (False, 1, ["f: a note"])
    assert [row["state"] for row in values["rows"]] == ["out", "unknown"]
    assert values["rows"][1]["theirs"] is None
    lines = report.as_text().splitlines()
    assert lines[0].split() == ["scenario", "policy", "metric", "theirs", "ours", "score", "tolerance"]
    assert lines[1].split()[:3] == ["scene", "local", "created"]
    assert lines[-1] == "1 rows compared; 1 out, 1 unknown: NOT within tolerance"
