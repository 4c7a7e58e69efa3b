"""ExplabOff's released environment and update, reproduced: every layout of its reference data, and what is refused."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_rllib.cli.main import main
from edge_rllib.reference.check import check_file, check_path
from edge_rllib.reference.explaboff_check import check_json
from edge_rllib.reference.explaboff_policies import check_policies, is_policies
from edge_rllib.reference.explaboff_settings import check_parameters, is_parameters, scenario_for
from edge_rllib.reference.explaboff_transitions import check_transitions, is_transitions
from edge_rllib.reference.explaboff_update import check_update, read_arrays
from edge_rllib.reference.peersim_file import read_json
from edge_rllib.reference.rows import Sample, largest_row, z_row
from envs.errors import ConfigError

DATA = Path(__file__).parent / "data" / "explaboff"
UPDATE = Path(__file__).parent / "data" / "explaboff_update_golden.npz"
TRANSITIONS = read_json(DATA / "transitions.json")
PARAMETERS = read_json(DATA / "parameters.json")
POLICIES = read_json(DATA / "trivial_policies.json")
SETTINGS = read_json(DATA / "multi_config_policies.json")


def states(report):
    return {row.metric: row.state for row in report.rows}


def scores(report):
    return {row.metric: row.score for row in report.rows}


def written(tmp_path, contents, name):
    path = tmp_path / name
    path.write_text(json.dumps(contents))
    return path


def changed(number, key, change):
    """Return the transitions with one value of one of them changed by a function."""
    contents = copy.deepcopy(TRANSITIONS)
    contents[number][key] = change(contents[number][key])
    return contents


def test_every_recorded_slot_comes_out_to_rounding():
    report = check_file(DATA / "transitions.json", 2)
    assert report.is_ok
    recorded = {"server", "ratio", "local_s", "offload_s", "delay_s", "queue_after_s", "done_flags", "team_reward"}
    recorded |= {"per_device_shaped_reward", "reported_cost", "reported_cost_max", "obs", "next_obs_as_stored"}
    recorded |= {"deadlines", "queue_before_s of the next slot", "startup_paid_before of the next slot"}
    assert set(states(report)) == recorded
    assert set(states(report).values()) == {"ok"}
    assert max(scores(report).values()) < 1e-14


@pytest.mark.parametrize(
    ("number", "key", "change", "wrong"),
    [
        (13, "delay_s", lambda values: [values[0] + 1e-9, *values[1:]], {"delay_s"}),
        (22, "server", lambda values: [1 - values[0], *values[1:]], {"server"}),
        (11, "team_reward", lambda value: value * (1.0 + 1e-11), {"team_reward"}),
        (11, "reported_cost", lambda value: value + 1e-9, {"reported_cost"}),
        (22, "done_flags", lambda values: [not value for value in values], {"done_flags"}),
        (22, "queue_after_s", lambda values: [values[0] + 1e-9, values[1]], {"queue_after_s"}),
        (4, "obs", lambda rows: [[*rows[0][:-2], rows[0][-2] + 1e-9, rows[0][-1]], *rows[1:]], {"obs"}),
        (4, "next_obs_as_stored", lambda rows: [[0.0] * 16, *rows[1:]], {"next_obs_as_stored"}),
    ],
)
def test_a_recorded_value_that_is_off_is_found(number, key, change, wrong):
    report = check_transitions(changed(number, key, change), "t", None)
    assert {metric for metric, state in states(report).items() if state == "out"} == wrong


def test_a_slot_that_begins_with_another_backlog_is_found_where_it_is_seen_and_where_it_matters():
    # transition 22 is the eighth slot of its episode: another backlog changes what is seen, waits, and what comes after
    report = check_transitions(
        changed(22, "queue_before_s", lambda values: [value + 0.5 for value in values]), "t", None
    )
    out = {metric for metric, state in states(report).items() if state == "out"}
    assert {"obs", "offload_s", "queue_after_s", "queue_before_s of the next slot"} <= out


def test_last_slots_without_the_slots_before_are_not_judged():
    # of the full episode only the last slot is there: its reward is that of ten slots
    report = check_transitions([TRANSITIONS[0], TRANSITIONS[11]], "t", None)
    assert report.is_ok
    rows = [row for row in report.rows if row.metric == "team_reward"]
    assert [row.state for row in rows] == ["ok", "unknown"]
    assert rows[0].tolerance == "largest of 1 <= 1e-12"


def test_settings_beside_the_slots_are_those_of_the_replay(tmp_path):
    shutil.copy(DATA / "transitions.json", tmp_path)
    settings = copy.deepcopy(PARAMETERS)
    settings["parameters"]["2ES-3MD (config.py = config_3.py)"]["server_capacity"] = [6.0, 12.5]
    written(tmp_path, settings, "parameters.json")
    out = {m for m, state in states(check_file(tmp_path / "transitions.json", 2)).items() if state == "out"}
    assert {"offload_s", "obs"} <= out
    assert "local_s" not in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1].pop("sizes"), r"t, transition 1: 'sizes' is missing"),
        (lambda rows: rows[1].update(raw_action=[[0.0, 0.0]]), r"'raw_action' is not the same table of numbers"),
        (lambda rows: rows[1].update(sizes=["a", "b", "c"]), r"'sizes' is not the same table of numbers"),
        (lambda rows: rows[0].update(perm=[0, 0, 1]), r"profile: expected a permutation of 0 \.\. 2"),
        (lambda rows: rows[0].update(slot=10), r"MecStart\.slot"),
        (
            lambda rows: [row.update(queue_before_s=[0.0] * 5) for row in rows],
            r"no settings for 5 servers and 3 devices: expected them in a file of parameters in the same folder",
        ),
    ],
)
def test_broken_transitions_are_refused_in_one_line(change, message):
    contents = copy.deepcopy(TRANSITIONS[:2])
    change(contents)
    with pytest.raises(ConfigError, match=message) as error:
        check_transitions(contents, "t", None)
    assert "\n" not in str(error.value)
    report = check_json(contents, "t", lambda: None, 2)
    assert report is not None
    assert [row.state for row in report.rows] == ["refused"]
    assert not report.is_ok


def test_single_tasks_come_out_to_rounding_and_a_wrong_one_is_found(tmp_path):
    report = check_file(DATA / "unit_cases.csv", 2)
    assert states(report) == dict.fromkeys(("local_s", "offload_s", "cost_s", "queue_after_s", "miss_at_1p806"), "ok")
    assert [row.tolerance for row in report.rows][-1] == "all 144 equal"
    lines = (DATA / "unit_cases.csv").read_text().splitlines()
    # the first case: 3 Gcycles at home take 3 s, so it is a miss at 1.806 s
    wrong = tmp_path / "cases.csv"
    wrong.write_text("\n".join([lines[0], lines[1].replace("True", "False"), *lines[2:]]))
    assert states(check_file(wrong, 2))["miss_at_1p806"] == "out"
    wrong.write_text("\n".join([lines[0], lines[1].replace("3.0", "three"), *lines[2:]]))
    report = check_file(wrong, 2)
    assert report.rows[0].state == "refused"
    assert "case 0, size: 'three' is no number" in report.rows[0].tolerance


def test_every_setting_is_a_scenario_of_ours():
    assert is_parameters(PARAMETERS)
    report = check_parameters(PARAMETERS, "p")
    assert report.is_ok
    assert report.n_compared == 3 * 17
    assert {row.scenario for row in report.rows} == {"2ES-3MD", "2ES-5MD", "3ES-7MD"}


def test_other_values_are_out_other_sizes_are_unknown_and_missing_ones_refused():
    contents = copy.deepcopy(PARAMETERS)
    small, middle, large = contents["parameters"].values()
    small["deadline_s"][1] += 1e-6
    middle["num_devices"] = 4
    del large["tx_time_s"]
    contents["parameters"] = {"2ES-3MD": small, "2ES-4MD": {**small, "num_servers": 2}, "3ES-7MD": large}
    report = check_parameters(contents, "p")
    assert [(row.scenario, row.metric) for row in report.rows if row.state == "out"] == [("2ES-3MD", "deadline_s")]
    assert [row.scenario for row in report.rows if row.state == "unknown"] == ["2ES-4MD"]
    refused = [row for row in report.rows if row.state == "refused"]
    assert [row.tolerance for row in refused] == ["p, 3ES-7MD: 'tx_time_s' is missing"]


def test_rules_cost_what_the_policies_of_the_released_environment_cost():
    report = check_file(DATA / "trivial_policies.json", 300)
    assert report.is_ok
    assert report.n_compared == 7 * (2 * 9 + 1)  # nine policies with and without endings, and one search
    assert [row.policy for row in report.rows if row.state == "unknown"] == ["myopic_oracle_lambda1"]


def test_rules_cost_what_they_cost_in_the_larger_settings():
    report = check_file(DATA / "multi_config_policies.json", 300)
    assert report.is_ok
    assert report.n_compared > 85
    cost = {(row.scenario, row.policy): row for row in report.rows if row.metric == "reported_cost"}
    oracles = [cost[name, "myopic_oracle"] for name in ("2ES-3MD", "2ES-5MD", "3ES-7MD")]
    # their searches of a grid of shares found 0.907, 0.802 and 0.696; the best shares cost a little less
    np.testing.assert_allclose([row.theirs for row in oracles], [0.907, 0.802, 0.696], atol=1e-3)
    np.testing.assert_allclose([row.ours for row in oracles], [0.903, 0.799, 0.693], atol=3e-3)
    assert all(row.ours < row.theirs for row in oracles)


def test_policies_that_cost_something_else_are_out_and_unknown_ones_are_shown():
    contents = copy.deepcopy(POLICIES)
    contents = {name: contents[name] for name in ("all_local", "myopic_oracle_lambda0")}
    contents["all_local"]["terminating"]["slot_mean_delay_s"] += 0.1
    contents["myopic_oracle_lambda0"]["terminating"]["reported_cost_mean"] = 0.8  # better than any
    contents["psychic"] = contents["all_local"]
    contents["all_local"]["terminating"]["odour"] = 1.0
    assert is_policies(contents)
    report = check_policies(contents, "p", None, 100)
    rows = {(row.policy, row.metric): row.state for row in report.rows}
    out = {key for key, state in rows.items() if state == "out"}
    assert out == {("all_local", "slot_mean_delay_s"), ("myopic_oracle_lambda0", "reported_cost_mean")}
    assert rows["psychic", "-"] == rows["all_local", "odour"] == "unknown"


def test_the_recorded_update_is_made_again():
    report = check_file(UPDATE, 2)
    assert report.is_ok
    assert len(report.rows) == 11
    # an Adam step moves every weight by its rate, 1e-3 or 1e-4: agreement is far within
    steps = {row.metric: row.score for row in report.rows if "after" in row.metric}
    assert len(steps) == 5
    assert max(steps.values()) < 1e-6


def test_an_update_with_other_rewards_moves_the_weights_elsewhere(tmp_path):
    arrays = dict(read_arrays(UPDATE))
    arrays["reward"] = arrays["reward"][::-1].copy()
    np.savez(tmp_path / "other.npz", **arrays)
    out = {metric for metric, state in states(check_file(tmp_path / "other.npz", 2)).items() if state == "out"}
    assert {"td_target", "critic_mse", "critic after the step"} <= out
    assert "jsd_loss" not in out


def test_arrays_that_are_no_update_or_a_broken_one(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    assert check_file(tmp_path / "other.npz", 2).notes[0].startswith("other.npz: no reader for this layout")
    (tmp_path / "torn.npz").write_bytes(UPDATE.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"torn\.npz: no arrays can be read from it"):
        check_file(tmp_path / "torn.npz", 2)
    arrays = dict(read_arrays(UPDATE))
    with pytest.raises(ConfigError, match="u: its arrays do not fit together"):
        check_update({**arrays, "state": arrays["state"][:, :40]}, "u")
    del arrays["club"]
    with pytest.raises(ConfigError, match="u: club missing"):
        check_update(arrays, "u")


def test_measurements_of_training_are_shown_and_not_judged():
    names = ("curve_ExplabOff_s4.csv", "curves_index.json", "mi_reward_magnitude.json", "bench.json")
    for name in (*names, "train_throughput.json"):
        report = check_file(DATA / name, 2)
        assert report.rows, name
        assert {row.state for row in report.rows} == {"info"}
        assert report.notes == ()
    curve = check_file(DATA / "curve_ExplabOff_s4.csv", 2)
    assert {row.scenario for row in curve.rows} == {"ExplabOff_s4"}
    assert {row.metric for row in curve.rows} >= {"reward, last window", "success rate, best window"}
    shown = {(row.scenario, row.metric): row.theirs for row in check_file(DATA / "train_throughput.json", 2).rows}
    assert shown["ExplabOff", "env steps/s"] == pytest.approx(523.4, abs=0.1)


def test_the_folder_is_checked_as_a_whole_by_the_command(tmp_path, capsys):
    for name in ("transitions.json", "parameters.json", "unit_cases.csv", "curves_index.json"):
        shutil.copy(DATA / name, tmp_path)
    assert main(["check", "reference", str(tmp_path), "--seeds", "2"]) == 0
    assert "all within tolerance" in capsys.readouterr().out
    assert check_path(tmp_path, 2).notes == ()


def test_scenario_without_settings_is_our_own_with_released_decisions():
    scenario = scenario_for(3, 7, None, "here")
    assert scenario.params.decision.kind == "box"
    assert scenario.params.observation.layout == "released"
    assert len(scenario.topology.device_hz) == 7


def test_lists_without_the_recorded_keys_are_of_another_layout():
    assert not is_transitions([])
    assert not is_transitions([{"raw_action": []}])
    assert not is_policies({"a": {"b": {"episodes": 3}}})
    assert check_json([1, 2], "f", lambda: None, 2) is None


def test_largest_row_takes_the_pair_farthest_off_and_minds_what_is_no_number():
    row = largest_row("f", "s", "m", np.array([1.0, 100.0]), np.array([1.5, 101.0]), 0.02, is_relative=True)
    assert (row.theirs, row.ours, row.score, row.state) == (1.0, 1.5, 0.5, "out")
    row = largest_row("f", "s", "m", np.array([1.0, np.inf]), np.array([1.0, np.inf]), 0.0)
    assert (row.score, row.state) == (0.0, "ok")
    assert largest_row("f", "s", "m", np.array([1.0]), np.array([np.nan]), 1e9).state == "out"


def test_one_sided_rows_accept_what_is_better_and_refuse_what_is_worse():
    theirs, spread = Sample(1.0, 0.1, 100), 0.1 * np.where(np.arange(100) % 2 == 0, 1.0, -1.0)
    # 0.1 / 10 on either side: an error of 0.0141; 0.2 is 14 of them
    assert z_row("f", "s", "p", "m", theirs, 0.8 + spread, better="low").state == "ok"
    assert z_row("f", "s", "p", "m", theirs, 1.2 + spread, better="low").state == "out"
    assert z_row("f", "s", "p", "m", theirs, 0.8 + spread).state == "out"
    assert z_row("f", "s", "p", "m", Sample(0.9, 0.0, 9), np.ones(5), better="high").state == "ok"
    assert z_row("f", "s", "p", "m", Sample(0.9, 0.0, 9), np.full(5, 0.1), better="high").state == "out"
