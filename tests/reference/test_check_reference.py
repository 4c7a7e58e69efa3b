"""``edge-rllib check reference``: layouts known by their contents, rows that count, files that nobody has seen."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from edge_rllib.cli.main import main
from edge_rllib.reference.check import check_file, check_path
from edge_rllib.reference.peersim_check import is_per_seed, is_statistics, read_configuration
from edge_rllib.reference.peersim_file import read_json
from edge_rllib.reference.peersim_play import play_reference
from edge_rllib.reference.peersim_trace import worst_z
from envs.errors import ConfigError, UnknownName

DATA = Path(__file__).parent / "data"
REFERENCE = read_json(DATA / "reference.json")
SCENARIOS = list(REFERENCE["scenarios"])
R5 = REFERENCE["scenarios"]["R5_complete5_clientIsSelf_quirk"]
METRICS = list(REFERENCE["metrics"])


def their_figures(name, policy, n_worlds, shift=0.0):
    """Return worlds with the means and deviations of the file, shifted by so many of their standard errors."""
    cells = REFERENCE["scenarios"][name]["results"][policy]
    signs = np.where(np.arange(n_worlds) % 2 == 0, 1.0, -1.0)
    return {m: cell["mean"] + shift * cell["sem"] + cell["sd"] * signs for m, cell in cells.items()}


class Echo:
    """Plays what the file says, and remembers what it was asked for."""

    def __init__(self, shift=0.0):
        self.shift, self.asked = shift, []

    def __call__(self, scenario, policy, n_worlds, seed):
        if policy not in ("local", "random", "leastqueue"):
            raise UnknownName("reference policy", policy, ["local", "random", "leastqueue"])
        self.asked.append((scenario, policy, n_worlds, seed))
        return their_figures(scenario.name, policy, n_worlds, self.shift)


def written(tmp_path, contents, name="reference.json"):
    path = tmp_path / name
    path.write_text(json.dumps(contents))
    return path


def with_scenario(**changes):
    entry = {**REFERENCE["scenarios"]["R2_two_tier"], **changes}
    return {**REFERENCE, "scenarios": {"R2_two_tier": entry}}


def states(report):
    return {(row.policy, row.metric): row.state for row in report.rows}


def test_each_given_layout_is_known_by_its_contents():
    assert is_statistics(REFERENCE)
    assert not is_per_seed(REFERENCE)
    assert is_per_seed(read_json(DATA / "per_seed.json"))
    assert not is_statistics(read_json(DATA / "per_seed.json"))


def test_every_scenario_policy_and_metric_has_a_row():
    play = Echo()
    report = check_file(DATA / "reference.json", 40, play)
    assert report.is_ok
    compared = {(row.scenario, row.policy, row.metric) for row in report.rows if row.policy != "-"}
    expected = {
        (name, policy, metric)
        for name, entry in REFERENCE["scenarios"].items()
        for policy, cells in entry["results"].items()
        for metric in cells
    }
    assert compared == expected
    assert len(expected) == 10 * len(METRICS)
    assert {(scenario.name, policy) for scenario, policy, _, _ in play.asked} == {row[:2] for row in expected}
    assert {n_worlds for _, _, n_worlds, _ in play.asked} == {40}


def test_means_far_off_are_out_and_exact_cells_stay_equal():
    # 400 worlds: our error is a twentieth-root of theirs, so 4 of their errors are 3.9 of the difference's
    report = check_file(DATA / "reference.json", 400, Echo(shift=4.0))
    assert not report.is_ok
    out = [row for row in report.rows if row.state == "out"]
    assert len(out) == sum(
        cell["sem"] > 0.0
        for entry in REFERENCE["scenarios"].values()
        for cells in entry["results"].values()
        for cell in cells.values()
    )
    assert min(abs(row.score) for row in out) > 3.5


def test_what_follows_from_a_configuration_is_compared_without_chance(tmp_path):
    derived = {**REFERENCE["scenarios"]["R2_two_tier"]["derived"], "neighbour_lists": [[0, 3, 2], [1, 2, 3], [2], [3]]}
    report = check_file(written(tmp_path, with_scenario(derived=derived)), 4, Echo())
    row = next(row for row in report.rows if row.metric == "neighbour lists that are equal")
    assert (row.theirs, row.ours, row.state) == (4.0, 1.0, "out")


def test_unknown_metrics_and_policies_are_shown_and_not_counted(tmp_path):
    results = {
        "local": {
            "created": REFERENCE["scenarios"]["R2_two_tier"]["results"]["local"]["created"],
            "odour": {"mean": 1.0},
        },
        "psychic": {"created": {"mean": 1.0, "sd": 0.0, "sem": 0.0}},
        "LeastQueues": {"created": REFERENCE["scenarios"]["R2_two_tier"]["results"]["leastqueue"]["created"]},
    }
    report = check_file(written(tmp_path, with_scenario(results=results, derived={})), 40, Echo())
    assert states(report) == {
        ("local", "created"): "ok",
        ("local", "odour"): "unknown",
        ("psychic", "-"): "unknown",
        ("LeastQueues", "created"): "ok",
    }
    assert report.is_ok
    assert "no reference policy named 'psychic'" in report.as_text()


def test_a_configuration_that_cannot_be_played_is_a_row_that_counts(tmp_path):
    config = {**REFERENCE["scenarios"]["R2_two_tier"]["config"], "protocol.clt.minDeadline": "0"}
    report = check_file(written(tmp_path, with_scenario(config=config)), 4, Echo())
    assert [row.state for row in report.rows] == ["refused"]
    assert "key 'protocol.clt.minDeadline'" in report.rows[0].tolerance
    assert not report.is_ok


def test_a_file_of_one_scenario_is_named_by_its_file(tmp_path):
    play = Echo()
    path = written(tmp_path, REFERENCE["scenarios"]["R2_two_tier"], "R2_two_tier.json")
    assert check_file(path, 4, play).is_ok
    assert {scenario.name for scenario, *_ in play.asked} == {"R2_two_tier"}


def test_drawn_networks_are_drawn_anew_and_their_means_compared(tmp_path):
    config = {**REFERENCE["scenarios"]["R2_two_tier"]["config"], "RANDOMIZEPOSITIONS": "True"}
    play = Echo()
    report = check_file(written(tmp_path, with_scenario(config=config)), 200, play)
    assert len({scenario.topology_seed for scenario, policy, *_ in play.asked if policy == "local"}) == 100
    assert {n_worlds for _, _, n_worlds, _ in play.asked} == {2}
    assert not [row for row in report.rows if row.metric.startswith("neighbour lists")]


def test_slots_of_a_tick_scale_their_response_times(tmp_path):
    config = {**REFERENCE["scenarios"]["R2_two_tier"]["config"], "SCALE": "5"}
    report = check_file(written(tmp_path, with_scenario(config=config, derived={})), 40, Echo())
    rows = {row.metric: row for row in report.rows if row.policy == "random"}
    assert rows["mean_response_time"].ours == pytest.approx(5.0 * rows["mean_response_time"].theirs)
    assert rows["created"].ours == pytest.approx(rows["created"].theirs)


def test_rows_of_episodes_are_compared_by_the_file_beside():
    report = check_file(DATA / "per_seed.json", 40, Echo())
    assert report.is_ok
    by_metric = {row.metric: row for row in report.rows}
    # the file beside has the same episodes, as means of four decimals
    for metric, cell in REFERENCE["scenarios"][SCENARIOS[0]]["results"]["local"].items():
        assert by_metric[metric].theirs == pytest.approx(cell["mean"], abs=6e-5)
    assert by_metric["per_node_processed"].state == "unknown"
    assert {"seed", "policy", "steps"}.isdisjoint(by_metric)


@pytest.mark.parametrize("name", ["per_seed.json", "trace_R2_seed1_first60.json"])
def test_without_the_configurations_beside_it_says_what_is_missing(tmp_path, name):
    path = written(tmp_path, read_json(DATA / name), name)
    report = check_file(path, 4, Echo())
    assert {row.state for row in report.rows} == {"unknown"}
    assert "configuration" in report.notes[0]
    assert "expected a reference.json in the same folder" in report.notes[0]


def test_a_trace_of_another_network_is_not_compared(tmp_path):
    written(tmp_path, REFERENCE)
    trace = {"local": [{"t": 0, "trueQ": [0, 0], "created": [0]}]}
    assert (
        "2 nodes, but R2_two_tier in reference.json has 4"
        in check_file(written(tmp_path, trace, "R2.json"), 4).notes[0]
    )
    assert "no scenario of reference.json is named" in check_file(written(tmp_path, trace, "R9.json"), 4).notes[0]


def test_what_agents_see_is_compared_only_where_it_is_of_the_same_nodes(tmp_path):
    written(tmp_path, REFERENCE)
    empty = [[node, [0, 0, 0], [10, 10, 10]] for node in (0, 1)]  # node 1 at a wrong place in the second slot
    slots = [{"t": t, "trueQ": [0] * 4, "obs_node_Q_free": empty[: 2 - t] * (1 + t), "wind": 3} for t in (0, 1)]
    report = check_file(written(tmp_path, {"local": slots}, "R2.json"), 20)
    found = {row.metric: (row.state, row.theirs) for row in report.rows}
    assert found["wind"][0] == found["obs_node_Q_free, node 1"][0] == "unknown"
    # nothing has come before the third look: itself and the two servers in the list of node 0
    for node in (0, 2, 3):
        assert found[f"queue of node {node} as node 0 sees it, mean over slots"] == ("ok", 0.0)
        assert found[f"free of node {node} as node 0 sees it, mean over slots"] == ("ok", 10.0)
    assert len(found) == 4 + 2 + 6


def test_figures_of_nodes_add_up_to_those_of_worlds():
    figures = play_reference(read_configuration(R5, "reference", "R5"), "random", 4, 7)
    totals = {
        "per_node_processed": "worker_processed",
        "per_node_received": "worker_received",
        "per_node_drop_arrival": "worker_dropped_on_arrival",
        "per_client_created": "created",
    }
    for nodes, total in totals.items():
        assert figures[nodes].shape == (4, 5)
        assert figures[nodes].sum(axis=1).tolist() == figures[total].tolist()
        assert figures[total].sum() > 0.0


def test_lists_are_compared_node_by_node(tmp_path):
    written(tmp_path, with_scenario(derived={}))
    rows = [{"policy": "local", "seed": seed, "list": [1 + seed % 2, 5], "odd": [1] * (1 + seed)} for seed in range(20)]
    path = written(tmp_path, {"R2_two_tier": rows}, "per_seed.json")
    both = np.array([[1.0, 5.0], [2.0, 5.0]] * 20)

    def states_of(ours):
        report = check_file(path, 40, lambda *_: {"list": ours, "odd": ours})
        return [(row.metric, row.state) for row in report.rows]

    assert states_of(both) == [("list", "ok"), ("odd", "unknown")]
    assert states_of(both + [0.0, 1.0]) == [("list", "out"), ("odd", "unknown")]  # equal everywhere, but not to theirs
    assert states_of(both + [3.0, 0.0]) == [("list", "out"), ("odd", "unknown")]
    assert states_of(both[:, :1]) == [("list", "unknown"), ("odd", "unknown")]


def test_a_series_is_as_far_as_its_farthest_slot():
    ours = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])  # all equal in the first slot; mean 2, sd 1 in the second
    assert worst_z(np.array([0.0, 4.5]), ours) == 2.5
    assert worst_z(np.array([1.0, 2.0]), ours) == np.inf


def test_the_alibaba_workload_is_within_the_tolerances_of_its_fit():
    report = check_file(DATA / "alibaba_hour_params.json", 3)
    assert report.is_ok
    assert report.n_compared > 50


def test_another_fit_is_not_that_of_the_alibaba_workload(tmp_path):
    wrong = read_json(DATA / "alibaba_hour_params.json")
    wrong["arrivals_per_s"]["acf1"], wrong["icc"] = 0.0, 0.2
    report = check_file(written(tmp_path, wrong, "other.json"), 3)
    assert {row.metric for row in report.rows if row.state == "out"} == {"arrivals_per_s.acf1", "icc"}


def test_speeds_are_shown_and_not_judged():
    report = check_file(DATA / "throughput.json", 4)
    assert {row.state for row in report.rows} == {"info"}
    assert len(report.rows) == 9


@pytest.mark.parametrize(
    ("name", "text", "has"),
    [
        ("golden.json", '{"weights": 1, "updates": 2}', "weights, updates"),
        ("list.json", "[1, 2]", "list"),
        ("many.json", json.dumps({f"k{i}": 0 for i in range(12)}), "k0, k1, k2, k3, k4, k5, k6, k7, ..."),
        ("scores.csv", "policy,score\nlocal,1\n", "policy,score"),
    ],
)
def test_other_layouts_are_named_by_what_they_have(tmp_path, name, text, has, capsys):
    path = tmp_path / name
    path.write_text(text)
    assert check_file(path, 4).notes == (f"{name}: no reader for this layout yet; it has: {has}",)
    assert main(["check", "reference", str(path)]) == 2  # nothing was shown
    assert "no reader for this layout yet" in capsys.readouterr().out


def test_a_folder_is_read_with_all_below_it(tmp_path):
    (tmp_path / "workload").mkdir()
    (tmp_path / "workload" / "fit.json").write_text((DATA / "alibaba_hour_params.json").read_text())
    (tmp_path / "other.json").write_text('{"weights": 1}')
    (tmp_path / "README.md").write_text("no data")
    report = check_path(tmp_path, 3)
    assert report.n_compared > 50
    assert [note.partition(":")[0] for note in report.notes] == ["other.json"]
    assert {row.file for row in report.rows} == {"workload/fit.json"}


def test_paths_without_data_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no JSON, CSV or NPZ file in this folder"):
        check_path(tmp_path, 4)
    with pytest.raises(ConfigError, match="no such file or folder"):
        check_path(tmp_path / "nowhere", 4)
    assert main(["check", "reference", str(tmp_path), "--seeds", "1"]) == 2


def test_json_is_printed_with_the_exit_code_of_the_table(tmp_path, capsys):
    wrong = read_json(DATA / "alibaba_hour_params.json")
    wrong["icc"] = 0.2
    path = written(tmp_path, wrong, "other.json")
    assert main(["check", "reference", str(path), "--seeds", "3", "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert values["ok"] is False
    assert [row["metric"] for row in values["rows"] if row["state"] == "out"] == ["icc"]
    assert main(["check", "reference", str(DATA / "alibaba_hour_params.json"), "--seeds", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("all within tolerance")


@pytest.mark.slow
def test_the_reference_data_are_reproduced():
    report = check_path(DATA, 400)
    assert [dataclasses.asdict(row) for row in report.rows if row.state in ("out", "refused")] == []
    known = [row for row in report.rows if not row.file.startswith("explaboff")]  # those have a test of their own
    assert [row.metric for row in known if row.state == "unknown" and row.policy != "-"] == []
    # 10 cells x 14 metrics, 32 rows without chance, 14 metrics, the energy and 4 lists of R1 by seed, 2 x 21 series of
    # the trace, and the Alibaba workload
    assert sum(row.state == "ok" for row in known) == 140 + 32 + 19 + 42 + 51
