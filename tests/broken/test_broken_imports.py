"""What the readers of other projects' files must refuse, and with which words; several of these hang PeersimGym."""

import json
from pathlib import Path

import pytest

from edge_rllib.reference.ether_json import EtherOptions, peersim_values, read_ether, write_files
from edge_rllib.reference.peersim_config import understand
from edge_rllib.reference.peersim_file import raw_from_mapping, raw_from_text, read_json
from edge_rllib.reference.peersim_import import ImportOptions, import_peersim
from edge_rllib.reference.peersim_scenario import to_scenario
from envs.errors import ConfigError
from envs.workloads.peersim_trace import SAMPLES

DATA = Path(__file__).parents[1] / "reference" / "data"
TWO_TIER = json.loads((DATA / "reference.json").read_text())["scenarios"]["R2_two_tier"]["config"]
MATRIX = "protocol.urt.channelTypesBetweenLayers"
LINKS = "init.Net1.TOPOLOGY"
CLOUD = {"CLOUD_EXISTS": "1"}
MANUAL = {
    "MANUAL_CONFIG": "True",
    "MANUAL_CORES": "1;1;1;1",
    "MANUAL_FREQS": "1e7;1e7;3e7;3e7",
    "MANUAL_QMAX": "10;10;10;10",
}
PATH = "protocol.clt.workloadPath"
UNIT = "protocol.clt.defaultCPUWorkload"
TRACED = {"simtype": "basic-workload", PATH: str(SAMPLES / "peersim_jobs.json")}
OPTIONS = EtherOptions(32e7, False, False)


def refusal_of(changes):
    with pytest.raises(ConfigError) as refusal:
        config = understand(raw_from_mapping({**TWO_TIER, **changes}, "their.json"), "peersim")
        to_scenario(config, "test", "peersim")
    message = str(refusal.value)
    assert message.startswith("their.json")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        # these hang or stop PeersimGym
        ({LINKS: "0,1;1,0;2,3;3,2"}, LINKS, "falls apart: nodes [0, 1] reach no other; with two controllers or more"),
        ({LINKS: "0,1;1,0;2,3;3,2", "CONTROLLERS": "0"}, LINKS, "the network falls apart: nodes [0, 1] reach no other"),
        ({"RANDOMIZETOPOLOGY": "True", "init.Net1.r": "25"}, "init.Net1.r", "falls apart: nodes [0] reach no other"),
        ({MATRIX: "0,0;0,0;0,0"}, MATRIX, "3 rows for 2 layers; the simulator does not start"),
        ({MATRIX: "0,0;0"}, MATRIX, "row 1 has 1 entries; expected 2"),
        ({MATRIX: "0,1;0,0"}, MATRIX, "row 0: expected -1 (none) or the place of one of 1 channelTypes"),
        ({MATRIX: "0,-1;-1,0"}, MATRIX, "none between layers 0 and 1, but node 0 has a link to node 2"),
        (
            {**CLOUD, "CLOUD_ACCESS": "1,0", MATRIX: "-1,0;0,0"},
            MATRIX,
            "has a link to the cloud (which counts as layer",
        ),
        ({"protocol.clt.minDeadline": "0"}, "protocol.clt.minDeadline", "stops at the first task; expected > 0"),
        ({"protocol.clt.minDeadline": "-1"}, "protocol.clt.minDeadline", "stops at the first task; expected > 0"),
        ({"protocol.clt.minDeadline": "5,6"}, "protocol.clt.minDeadline", "parser stops at a list"),
        (
            {"delay_weight": 1, "reward_type": "dense"},
            "delay_weight",
            "dense reward stops at a number; expected {'queue'",
        ),
        ({"delay_weight": {"queue": 1, "exec": 1}}, "delay_weight", "expected numbers for queue, exec, comm"),
        ({**MANUAL, "MANUAL_CORES": "4;4;8;8"}, "MANUAL_CORES", "it for the nodes of each layer, too, and stops"),
        ({**MANUAL, "MANUAL_QMAX": "10"}, "MANUAL_QMAX", "1 entries; expected 4, one for each node"),
        ({**MANUAL, "RANDOMIZETOPOLOGY": "True"}, "RANDOMIZETOPOLOGY", "no random places or links with MANUAL_CONFIG"),
        ({"schedules": "0.4-500;0.4-500"}, "schedules", "2 schedules for 1 of layersThatGetTasks"),
        ({"schedules": "0.4-0"}, "schedules", "a piece of no length"),
        ({"schedules": "0.4"}, "schedules", "expected rate-duration,rate-duration,..."),
        ({"schedules": "Lineer"}, "schedules", "expected rate-duration,... or one of linear, zigzag"),
        ({"CONTROLLERS": "0;4"}, "CONTROLLERS", "no node 4; there are 0 to 3, and the cloud has no agent"),
        ({"CONTROLLERS": ""}, "CONTROLLERS", "expected at least one node, each once"),
        ({"CONTROLLERS": "0;0"}, "CONTROLLERS", "expected at least one node, each once"),
        ({"CONTROLLERS": "first"}, "CONTROLLERS", "'first' is not a number"),
        ({"simtype": "dag"}, "simtype", "PeersimGym rejects it ('not yet supported')"),
        ({"simtype": "batch"}, "simtype", "a number where a list is required; --semantics correct reads it"),
        ({"simtype": "fast"}, "simtype", "expected basic or basic-workload or batch or dag"),
        ({**TRACED, PATH: "none"}, PATH, "default is a file of its author's; expected the path of a JSON file of jobs"),
        ({**TRACED, PATH: None}, PATH, "default is a file of its author's; expected the path of a JSON file of jobs"),
        ({**TRACED, PATH: "gone.json"}, PATH, "/gone.json; expected the path of a JSON file of jobs with max_cpu"),
        ({**TRACED, PATH: str(DATA / "reference.json")}, PATH, "reference.json: expected a JSON object of jobs"),
        ({**TRACED, UNIT: "0"}, UNIT, "'0' is not a number >= 1e-09"),
        ({**TRACED, "protocol.clt.minDeadline": "5,6"}, "protocol.clt.minDeadline", "parser stops at a list"),
        ({"NO_NODES_PER_LAYERS": "2,3"}, "NO_NODES_PER_LAYERS", "5 nodes in all; expected SIZE = 4"),
        ({"NO_LAYERS": "3"}, "NO_NODES_PER_LAYERS", "2 entries; expected 3, NO_LAYERS"),
        ({"FREQS": "1e7"}, "FREQS", "1 entries; expected 2, one for each of NO_LAYERS"),
        ({"VARIATIONS": "1e7,0"}, "FREQS", "a node would have 10000000 - 1e+07 instructions a slot"),
        ({"clientLayers": "2"}, "clientLayers", "no layer 2; there are 0 to 1"),
        (
            {"clientLayers": "1"},
            "clientLayers",
            "no layer creates tasks: with clientIsSelf it must be in layersThatGetTasks",
        ),
        ({"clientLayers": "0,1", "clientIsSelf": "0"}, "schedules", "1 schedules for 2 layers with clients"),
        ({**CLOUD, "CLOUD_ACCESS": "1"}, "CLOUD_ACCESS", "1 entries for 2 layers; the simulator stops at the next one"),
        ({**CLOUD, "CLOUD_ACCESS": "0,0"}, "CLOUD_ACCESS", "no layer reaches the cloud"),
        ({**CLOUD, "CLOUD_POS": "300"}, "CLOUD_POS", "expected two whole numbers, metres"),
        ({"init.Net0.POSITIONS": "0,0;40,0"}, "init.Net0.POSITIONS", "2 entries; expected 4, one for each node"),
        ({"init.Net0.POSITIONS": "0;1;2;3"}, "init.Net0.POSITIONS", "expected x,y;x,y;... in metres"),
        ({LINKS: "0,2;1,3"}, LINKS, "2 entries; expected 4, one for each node"),
        ({LINKS: "2,0;1,2;2,0;3,1"}, LINKS, "row 0 begins with [2]; the simulator stops unless it is 0"),
        ({LINKS: "0,4;1,2;2,0;3,1"}, LINKS, "row 0 names node 4; there are 0 to 3"),
        ({"protocol.clt.T": "1,2"}, "protocol.clt.T", "2 entries; expected 1, protocol.clt.numberOfTasks"),
        ({"protocol.clt.weight": "0"}, "protocol.clt.weight", "expected a weight > 0"),
        ({"protocol.clt.I": "0"}, "protocol.clt.I", "is not a number >= 1e-09"),
        ({"MINDELAY": "300", "MAXDELAY": "200"}, "MAXDELAY", "less than MINDELAY; the simulator does not start"),
        ({"protocol.urt.channelTypes": "a.SlowSNR"}, "protocol.urt.channelTypes", "SlowSNR: expected WirelessSNR or"),
        ({"CYCLE": "3"}, "CYCLES", "times SCALE is 500, not a multiple of CYCLE = 3"),
        ({"SCALE": "0"}, "SCALE", "'0' is not a number >= 1"),
        ({"SIZE": "4.5"}, "SIZE", "'4.5' is not a whole number"),
        ({"SIZE": True}, "SIZE", "True is not a number >= 1"),
        ({"CLOUD_EXISTS": "perhaps"}, "CLOUD_EXISTS", "expected true or false"),
        ({"reward_type": "both"}, "reward_type", "expected sparse or dense"),
        ({"state_info": "all"}, "state_info", "expected none or next or queue"),
    ],
)
def test_configurations_are_refused_by_file_key_and_reason(changes, key, reason):
    message = refusal_of(changes)
    assert f"key {key!r}" in message
    assert reason in message


def test_a_default_that_is_refused_is_called_one():
    without = {key: value for key, value in TWO_TIER.items() if key != "Q_MAX"}  # two defaults, but 1 layer here
    with pytest.raises(ConfigError, match=r"^their.json, key 'Q_MAX' = '10,50' \(default\): 2 entries; expected 1"):
        understand(
            raw_from_mapping({**without, "NO_LAYERS": 1, "NO_NODES_PER_LAYERS": [4], "FREQS": "1e7", "NO_CORES": 1,
                              "VARIATIONS": "0"}, "their.json"), "peersim",
        )  # fmt: skip


def test_one_setting_under_two_names_is_refused():
    with pytest.raises(ConfigError, match=r"their.json: 'SIZE' and 'size' are one setting; give one of them"):
        raw_from_mapping({"SIZE": 4, "size": 5}, "their.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello world\n", "f.txt: no key of a PeersimGym configuration in it; expected lines such as 'SIZE 10'"),
        ("SIZE 4\nSIZE 5\n", "f.txt, line 2: key 'SIZE' is given twice, '4' and '5'"),
    ],
)
def test_texts_that_are_no_configuration_are_refused(text, message):
    with pytest.raises(ConfigError) as refusal:
        raw_from_text(text, "f.txt")
    assert str(refusal.value) == message


def test_a_text_of_another_client_is_refused():
    text = "SIZE 4\nprotocol.clt PeersimSimulator.peersim.env.Nodes.Clients.DAGClient\n"
    with pytest.raises(ConfigError, match="key 'simtype' = 'dag'"):
        understand(raw_from_text(text, "f.txt"), "peersim")


def machine(key, name, x=0.0):
    capacity = {"cpu_milis": 4000, "memory": 1e9}
    return name, {"id": key, "name": name, "coordinates": [x, 0.0], "capacity": capacity}


def ether(*machines, neighbours=None):
    return {"nodes": dict(machines), "links": {"path_info": [], "neighbours": neighbours or {}}}


def test_networks_of_ether_are_refused_by_file_and_entry(tmp_path):
    with pytest.raises(ConfigError, match=r"^e.json: not a network of Ether .*: KeyError: 'capacity'; expected nodes"):
        read_ether({"nodes": {"a": {"id": 1, "coordinates": [0, 0]}}, "links": {}}, "e.json", OPTIONS)
    with pytest.raises(ConfigError, match="KeyError: 7"):
        read_ether(ether(machine(1, "rpi3_0"), neighbours={"1": [7]}), "e.json", OPTIONS)
    alone = read_ether(ether(machine(1, "nuc_0")), "e.json", OPTIONS)
    with pytest.raises(ConfigError, match=r"e.json: no machine is named rpi, so that PeersimGym has no clients"):
        peersim_values(alone, OPTIONS, "e.json", {})
    pair = read_ether(ether(machine(1, "rpi3_0"), machine(2, "nuc_0"), neighbours={"1": [2]}), "e.json", OPTIONS)
    with pytest.raises(ConfigError, match=r"no task of 1e.10 bytes fits in rpi3_0"):
        peersim_values(pair, EtherOptions(1e10, False, False), "e.json", {})
    with pytest.raises(
        ConfigError, match=r"e.json: links.path_info has nothing of rpi3_0 and nuc_0, which are neighbours"
    ):
        write_files(pair, OPTIONS, "e.json", tmp_path / "nodes.csv", tmp_path / "links.csv")


def options(**changes):
    values = {"name": "test", "semantics": "peersim", "overrides": {}, "scenario": None, "links": "shannon"}
    return ImportOptions(**{**values, "ether": OPTIONS, "folder": None, **changes})


def test_files_are_refused_that_hold_something_else(tmp_path):
    path = tmp_path / "list.json"
    path.write_text("[1, 2]")
    with pytest.raises(ConfigError, match=r"list.json: expected keys with values, got list"):
        import_peersim(path, options())
    path.write_text("{1}")
    with pytest.raises(ConfigError, match=r"list.json, line 1: not valid JSON"):
        read_json(path)
    with pytest.raises(ConfigError, match=r"nowhere.txt: cannot be read"):
        import_peersim(tmp_path / "nowhere.txt", options())
    with pytest.raises(
        ConfigError, match=r"has the scenarios R1_single_node, R2_two_tier, .*; choose one with --scenario"
    ):
        import_peersim(DATA / "reference.json", options())
    path.write_text(json.dumps(TWO_TIER))
    with pytest.raises(ConfigError, match=r"has no list of scenarios to choose 'R2' from"):
        import_peersim(path, options(scenario="R2"))
    with pytest.raises(ConfigError, match=r"--links ether is for networks of Ether"):
        import_peersim(path, options(links="ether"))
