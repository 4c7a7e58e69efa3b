"""``edge-rllib import peersim``: what is written loads again, plays, and is what the file said."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from edge_rllib.cli.main import main
from edge_rllib.config.load import load_scenario
from edge_rllib.reference.peersim_import import scenario_of
from envs.scenario import make
from envs.testing import check_world
from envs.topologies.edge_list import EdgeList
from envs.topologies.layered import Layered
from envs.workloads.peersim_trace import PeersimTrace
from envs.workloads.task_types import TaskTypes

DATA = Path(__file__).parents[2] / "reference" / "data"
REFERENCE = json.loads((DATA / "reference.json").read_text())
TWO_TIER = REFERENCE["scenarios"]["R2_two_tier"]["config"]
CLOUDY = {"CLOUD_EXISTS": "1", "CLOUD_ACCESS": "0,1", "CLOUD_POS": "20,60", "CYCLES": "40"}


def imported(tmp_path, contents, *arguments):
    source, out = tmp_path / "theirs.json", tmp_path / "ours.yaml"
    source.write_text(json.dumps(contents))
    assert main(["import", "peersim", str(source), "--out", str(out), *arguments]) == 0
    return load_scenario(str(out))


def test_a_configuration_becomes_a_scenario_of_the_fog_world(tmp_path, capsys):
    scenario = imported(tmp_path, TWO_TIER)
    assert dataclasses.replace(scenario, name="x") == scenario_of(TWO_TIER, "theirs", "x")
    assert isinstance(scenario.topology, Layered)
    assert isinstance(scenario.workload, TaskTypes)
    params = scenario.params
    assert (params.semantics, params.slot_s, params.horizon_slots) == ("peersim", 1.0, 500)
    assert params.agent_nodes == ("node_0", "node_1")
    assert params.peersim.client_targets == "own_first"
    assert params.peersim.reward.tasks_per_s == 0.4
    (task,) = scenario.workload.types
    # 1 MB of 8e6 bits; U{10000, ..., 19999} slots
    assert (task.size_bits, task.result_bits, task.work_cycles) == (8e6, 8e6, 3e7)
    assert (task.deadline_low_s, task.deadline_high_s) == (10000.0, 19999.0)
    captured = capsys.readouterr()
    assert captured.out.startswith("written: ")
    assert "edge-rllib: warning: " in captured.err
    assert "DROP (no transport loses messages)" in captured.err


def test_neighbour_lists_are_those_of_the_simulator():
    n_checked = 0
    for name, entry in REFERENCE["scenarios"].items():
        network = scenario_of(entry["config"], "reference", name).topology
        layout = network.lay_out(np.random.default_rng(0))
        assert [list(each) for each in layout.neighbours] == entry["derived"]["neighbour_lists"]
        n_checked += len(layout.neighbours)
    assert n_checked == 1 + 4 + 4 + 5


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"SCALE": "3", "CYCLES": "20"},
        {"clientIsSelf": "0", "schedules": "Zigzag"},
        {"RANDOMIZEPOSITIONS": "True", "RANDOMIZETOPOLOGY": "True", "init.Net1.r": "90", "VARIATIONS": "1000,1000"},
        {"reward_type": "dense", "state_info": "queue_next"},
        {"NO_CORES": "20,1"},  # more cores than places
    ],
    ids=str,
)
@pytest.mark.parametrize("semantics", ["peersim", "correct"])
def test_imported_scenarios_load_again_and_play(tmp_path, changes, semantics):
    scenario = imported(tmp_path, {**TWO_TIER, **CLOUDY, **changes}, "--semantics", semantics)
    world = make(scenario, 3)
    out = world.outcome()
    world.reset(None, out)
    decision = np.zeros((3, world.spec.n_agents), np.int64)
    for _ in range(world.spec.horizon_steps):
        world.step(decision, out)
    assert out.truncated.all()
    assert out.final_sums[:, world.spec.sum_names.index("created")].min() > 0


def test_an_imported_scenario_keeps_the_contract_of_worlds(tmp_path):
    scenario = imported(tmp_path, {**TWO_TIER, **CLOUDY}, "--semantics", "correct")
    assert check_world(scenario).n_episodes == 6


JOBS = {
    "j_1": {"max_cpu": 100.0, "total_resources_duration": 300.0, "max_mem": 0.01},
    "j_2": {"max_cpu": 50.0, "total_resources_duration": 400.0, "max_mem": 0.02},
    "j_3": {"max_cpu": 200.0, "total_resources_duration": 100.0, "max_mem": 0.005},
}


@pytest.mark.parametrize("semantics", ["peersim", "correct"])
def test_a_trace_of_jobs_plays_under_either_semantics(tmp_path, semantics, capsys):
    path = tmp_path / "jobs.json"
    path.write_text(json.dumps(JOBS))
    units = {"protocol.clt.defaultCPUWorkload": "1e8", "protocol.clt.defaultMemoryWorkload": "100"}
    mode = {"simtype": "basic-workload", "protocol.clt.workloadPath": str(path), **units}
    scenario = imported(tmp_path, {**TWO_TIER, **CLOUDY, **mode, "SCALE": "2"}, "--semantics", semantics)
    workload = scenario.workload
    assert isinstance(workload, PeersimTrace)
    assert workload.path == str(path)
    types = workload.as_types().types
    # 1 * 0.3 s, 0.5 * 0.4 s and 2 * 0.1 s of 1e8 Hz; 1, 2 and 0.5 MB of 8e6 bits
    assert [each.work_cycles for each in types] == pytest.approx([3e7, 2e7, 2e7])
    assert [each.size_bits for each in types] == pytest.approx([8e6, 16e6, 4e6])
    # U{20000, ..., 39999} slots of half a second
    assert (workload.deadline_low_s, workload.deadline_high_s) == (10000.0, 19999.5)
    warnings = capsys.readouterr().err
    assert "protocol.clt.workloadPath without a seed, so that no run of it repeats; here they follow" in warnings
    assert "left out: protocol.clt.numberOfTasks, protocol.clt.weight, protocol.clt.CPI, protocol.clt.T" in warnings
    if semantics == "peersim":
        assert scenario.params.peersim.type_sampler == "exact"
    assert check_world(scenario).n_episodes == 6


def test_a_trace_without_its_mode_is_said_to_be_without_effect(tmp_path, capsys):
    imported(tmp_path, {**TWO_TIER, "protocol.clt.workloadPath": "gone.json"})
    assert "protocol.clt.workloadPath is without effect with simtype = basic" in capsys.readouterr().err


def test_batches_are_as_many_decisions_as_an_agent_has_places(tmp_path, capsys):
    contents = {**TWO_TIER, "simtype": "batch", "Q_MAX": "7,50", "CYCLES": "40"}
    scenario = imported(tmp_path, contents, "--semantics", "correct")
    assert scenario.params.decisions_per_step == 7  # the agents are nodes 0 and 1, of the first layer
    assert "simtype = batch is read as decisions_per_step" in capsys.readouterr().err
    assert check_world(scenario).n_episodes == 6


def test_correct_semantics_leave_the_simulators_slips_out(tmp_path, capsys):
    scenario = imported(tmp_path, {**TWO_TIER, "clientIsSelf": "0"}, "--semantics", "correct")
    assert scenario.params.semantics == "correct"
    assert scenario.params.deadlines == "waiting"
    assert "clients feed their neighbours, too; with --semantics correct" in capsys.readouterr().err


def test_keys_can_be_set_and_a_scenario_chosen(tmp_path):
    arguments = ["--scenario", "R5_complete5_clientIsSelf_quirk", "--set", "CYCLES=50", "--set", "protocol.clt.T=2"]
    scenario = imported(tmp_path, REFERENCE, *arguments)
    assert scenario.topology.n_nodes == 5
    assert scenario.params.horizon_slots == 50
    assert scenario.workload.types[0].size_bits == 1.6e7


def test_without_a_file_to_write_the_yaml_is_printed(tmp_path, capsys):
    source = tmp_path / "theirs.json"
    source.write_text(json.dumps(TWO_TIER))
    assert main(["import", "peersim", str(source)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# theirs, imported from theirs.json\n")
    assert str(tmp_path) not in text
    (tmp_path / "again.yaml").write_text(text)
    assert load_scenario(str(tmp_path / "again.yaml")).topology == scenario_of(TWO_TIER, "t", "t").topology


def machine(key, name, x):
    capacity = {"cpu_milis": 4000 if name.startswith("rpi") else 32000, "memory": 6.4e9}
    return name, {"id": key, "name": name, "coordinates": [x, 0.0], "capacity": capacity}


def path(a, b):
    return {"source": a, "target": b, "path_bandwidths": [50], "min_bandwidth": 50, "expected_rtt": 4.0}


ETHER = {
    "nodes": dict([machine(1, "rpi3_0", 0.0), machine(2, "rpi3_1", 10.0), machine(3, "nuc_0", 20.0)]),
    "links": {"path_info": [path(1, 3), path(2, 3)], "neighbours": {"1": [3], "2": [3], "3": [1, 2]}},
}


@pytest.mark.parametrize("links", ["shannon", "ether"])
def test_a_network_of_ether_plays_with_either_model_of_its_links(tmp_path, links):
    short = ["--set", "CYCLES=40", "--set", "protocol.clt.I=8e6", "--set", "protocol.clt.T=1"]
    scenario = imported(tmp_path, ETHER, "--links", links, *short)
    assert type(scenario.topology) is {"shannon": Layered, "ether": EdgeList}[links]
    topology = scenario.network()
    assert topology.node_name == ("rpi3_0", "rpi3_1", "nuc_0")
    assert scenario.params.agent_nodes == ("rpi3_0", "rpi3_1", "nuc_0")
    assert topology.queue_places.tolist() == [20, 20, 20]
    if links == "ether":
        assert set(topology.link_rate_bps) == {5e7}
        assert topology.link_delay_s == pytest.approx(0.002)
    world = make(scenario, 2)
    out = world.outcome()
    world.reset(None, out)
    decision = np.zeros((2, 3), np.int64)
    for _ in range(world.spec.horizon_steps):
        world.step(decision, out)
    created = out.final_sums[:, world.spec.sum_names.index("created")]
    assert (created > 10).all()  # two clients of 0.454 tasks a slot for 40 slots: 36


def test_ether_links_need_a_place_for_their_files(tmp_path, capsys):
    source = tmp_path / "net.json"
    source.write_text(json.dumps(ETHER))
    assert main(["import", "peersim", str(source), "--links", "ether"]) == 2
    assert "writes files of nodes and links beside the scenario; give --out" in capsys.readouterr().err
    assert main(["import", "peersim", str(source), "--out", "x.txt"]) == 2
    assert main(["import", "peersim", str(source), "--expected-task-size", "0"]) == 2
