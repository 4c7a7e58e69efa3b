"""DC-DRL's released environment, reproduced: recorded slots, and returns of simple policies within their errors."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest

from edge_rllib.cli.main import main
from edge_rllib.config.load import load_scenario
from edge_rllib.reference.check import check_file
from edge_rllib.reference.dcdrl_check import check_dcdrl, is_dcdrl
from edge_rllib.reference.peersim_file import read_json
from envs.baselines.base import play
from envs.baselines.edge_only import EdgeOnly
from envs.baselines.local import Local
from envs.baselines.round_robin_k import RoundRobinK
from envs.baselines.top_backlog import TopBacklog
from envs.scenario import make

DATA = Path(__file__).parent / "data" / "dcdrl_transitions.json"
TRANSITIONS = read_json(DATA)
N_WORLDS, N_THEIRS, MAX_SCORE = 200, 10, 4.0


def test_every_recorded_slot_comes_out_to_rounding():
    report = check_file(DATA, 2)
    assert is_dcdrl(TRANSITIONS)
    assert len(TRANSITIONS) == 72
    assert report.is_ok
    assert {row.state for row in report.rows} == {"ok"}
    assert len(report.rows) == 30  # six quantities under three rules of interference, two of them with 4 and 10 users
    assert max(row.score for row in report.rows) < 1e-11


@pytest.mark.parametrize(
    ("key", "change", "wrong"),
    [
        ("reward", lambda value: value - 1e-8, {"reward"}),
        ("edge_backlog_s_after", lambda value: value + 1e-8, {"edge_backlog_s_after"}),
        ("backlog_s_after", lambda values: [values[0] + 1e-8, *values[1:]], {"backlog_s_after"}),
        ("channel", lambda values: [(values[0] + 1) % 5, *values[1:]], {"channel"}),
        ("offload", lambda values: [not values[0], *values[1:]], {"offload", "rate_kb_s"}),
        ("noise_w", lambda value: value * 2.0, {"reward", "rate_kb_s"}),
    ],
)
def test_a_recorded_value_that_is_off_is_found(key, change, wrong):
    contents = copy.deepcopy([each for each in TRANSITIONS if each["interference"] == "none"])
    place = next(i for i, each in enumerate(contents) if not each["offload"][0] and any(each["offload"]))
    contents[place][key] = change(contents[place][key])
    report = check_dcdrl(contents, "t")
    assert {row.metric for row in report.rows if row.state == "out"} == wrong


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda each: each.pop("data_kb"), "t, transition 0: 'data_kb' is missing"),
        (lambda each: each.update(interference="some"), "transition 0: interference 'some'; known: none, corrected"),
        (lambda each: each.update(raw_action=["a"]), "'raw_action' is not the same table of numbers"),
        (lambda each: each.update(positions_m=[[0, 0]] * 10), "places within 80 m of the server, and not in it"),
    ],
)
def test_slots_that_cannot_be_replayed_are_a_row_that_counts(change, told):
    contents = copy.deepcopy(TRANSITIONS[:3])
    change(contents[0])
    report = check_dcdrl(contents, "t")
    assert [row.state for row in report.rows] == ["refused"]
    assert told in report.rows[0].tolerance
    assert not report.is_ok


def test_the_command_line_knows_the_layout(tmp_path, capsys):
    (tmp_path / "slots.json").write_text(json.dumps(TRANSITIONS[:3]))
    assert main(["check", "reference", str(tmp_path)]) == 0
    assert "6 rows compared: all within tolerance" in capsys.readouterr().out


# Mean and standard deviation of ten episodes of the released step function, and of it with another interference.
# Where no deviation is known, ours stands for both. Who stays is on channel u mod 5 there, too.
TABLE = {
    "local": (Local(), (-462.95, 2.91), (-462.95, 2.91), (-462.95, 2.91), (-462.95, 2.91)),
    "edge": (EdgeOnly(), (-668.75, 0.75), (-532.62, 0.13), (-630.30, 0.67), (-520.19, 0.67)),
    "3 in turn": (RoundRobinK(3), (-306.54, 0.0), (-160.67, 0.0), (-43.56, 14.1), (-43.56, 14.1)),
    "4 in turn": (RoundRobinK(4), (-374.28, 0.0), (-190.05, 0.0), (-14.26, 0.65), (-14.26, 0.65)),
    "5 in turn": (RoundRobinK(5), (-338.76, 0.0), (-269.18, 0.0), (-243.67, 3.06), (-243.67, 3.06)),
    "4 of longest backlog": (TopBacklog(4), (-391.14, 0.0), (-186.34, 0.0), (-14.67, 0.94), (-14.67, 0.94)),
}
COLUMNS = [("released", 5e6), ("released", 50e6), ("others", 5e6), ("none", 5e6)]


def released(interference, bandwidth_hz):
    overrides = [f"params.semantics.interference={interference}", f"topology.bandwidth_hz={bandwidth_hz}"]
    return load_scenario("multiuser_released_10", overrides)


def assert_agrees(theirs, ours):
    """Check two means in standard errors of their difference; a deviation of ten episodes is itself uncertain."""
    mean, sd = theirs
    error = math.sqrt(max(sd, float(ours.std())) ** 2 / N_THEIRS + float(ours.var()) / len(ours))
    assert abs(float(ours.mean()) - mean) < MAX_SCORE * error + 0.01


@pytest.mark.parametrize("policy", TABLE)
@pytest.mark.parametrize("column", range(4))
def test_rules_reach_the_returns_that_they_reach_in_the_released_code(policy, column):
    rule, *row = TABLE[policy]
    world = make(released(*COLUMNS[column]), N_WORLDS)
    assert_agrees(row[column], play(world, rule, np.arange(N_WORLDS)).returns[:, 0])


@pytest.mark.parametrize("column", range(4))
def test_even_draws_of_the_box_reach_the_return_that_they_reach_in_the_released_code(column):
    theirs = [(-535.53, 36.2), (-309.58, 7.0), (-394.30, 22.1), (-269.88, 8.2)][column]
    world, rng = make(released(*COLUMNS[column]), N_WORLDS), np.random.default_rng(5)
    out, total = world.outcome(), np.zeros(N_WORLDS)
    world.reset(None, out)
    for _ in range(50):
        world.step(np.zeros((N_WORLDS, 1), np.int64), out, rng.uniform(-1.0, 1.0, (N_WORLDS, 1, 20)))
        total += world.figures.reward[:, 0]
    assert_agrees(theirs, total)
