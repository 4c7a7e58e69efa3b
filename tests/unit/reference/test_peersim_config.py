"""Configurations of PeersimGym as numbers: each key as its simulator reads it, in JSON, as arguments and as text."""

import json
from pathlib import Path

from edge_rllib.reference.peersim_config import understand
from edge_rllib.reference.peersim_file import raw_from_mapping, raw_from_text

DATA = Path(__file__).parents[2] / "reference" / "data"
# two edge nodes, 0 and 1, which get tasks of their own clients, and two servers, 2 and 3
TWO_TIER = json.loads((DATA / "reference.json").read_text())["scenarios"]["R2_two_tier"]["config"]
CLOUDY = {"CLOUD_EXISTS": "1", "CLOUD_ACCESS": "0,1", "CLOUD_POS": "20,60"}


def read(semantics="peersim", **changes):
    return understand(raw_from_mapping({**TWO_TIER, **changes}, "test"), semantics)


def test_a_configuration_in_seconds_hertz_and_metres():
    config = read()
    edge, server = config.layers
    assert (edge.n_nodes, edge.n_cores, edge.core_hz, edge.queue_places) == (2, 1, 1e7, 10)
    assert (edge.has_clients, edge.takes_tasks, edge.pieces) == (True, True, ((500.0, 0.4),))
    assert (server.core_hz, server.has_clients, server.takes_tasks, server.pieces) == (3e7, False, False, ())
    assert config.cloud is None
    assert config.positions_m == ((0.0, 0.0), (40.0, 0.0), (10.0, 30.0), (30.0, 30.0))
    assert config.links == ((0, 2), (0, 3), (1, 2), (1, 3))
    (task,) = config.types
    assert (task.size_mb, task.work_cycles, task.deadline_s) == (1.0, 3e7, 10000.0)
    assert (config.horizon_slots, config.slots_per_step, config.scale) == (500, 1, 1)
    assert (config.bandwidth_hz, config.transmit_dbm, config.grace_slots) == (2e6, 20.0, 5)
    assert (config.controllers, config.client_is_self, config.belief_hz) == ((0, 1), True, 0.4)
    assert config.channel_types == (("wireless",) * 2,) * 2


def test_values_may_be_numbers_lists_and_texts_alike():
    written = read(SIZE=4, NO_NODES_PER_LAYERS=[2, 2], FREQS=[1e7, "3e7"], CONTROLLERS=[0, 1], CLOUD_EXISTS=False)
    assert (written.layers, written.controllers) == (read().layers, read().controllers)
    assert read(CONTROLLERS="[0]").controllers == (0,)  # crashes PeersimGym, means one thing


def test_scale_multiplies_slots_and_leaves_seconds():
    config = read(SCALE="10", **CLOUDY)
    assert (config.horizon_slots, config.scale) == (5000, 10)
    assert config.layers[0].core_hz == 1e7  # a tenth in each of ten slots
    assert config.cloud.vm_hz == 6e7
    assert config.layers[0].pieces == ((500.0, 0.4),)
    # instructions of a slot are cut to whole ones: 10_000_005 / 10 = 1_000_000.5
    assert read(SCALE="10", FREQS="10000005,30000000").layers[0].core_hz == 1e7


def manual(**changes):
    lists = {"MANUAL_CORES": "1;1;1;1", "MANUAL_FREQS": "1e7;2e7;3e7;4e7", "MANUAL_QMAX": "1;2;3;4"}
    layers = {"NO_LAYERS": "4", "NO_NODES_PER_LAYERS": "1,1,1,1", "clientLayers": "0,3", "layersThatGetTasks": "0,3"}
    rates = {
        "schedules": "0.1-500;0.2-100,0.3-400",
        "protocol.urt.channelTypesBetweenLayers": ";".join(["0,0,0,0"] * 4),
    }
    return read(MANUAL_CONFIG="True", **{**lists, **layers, **rates, **changes})


def test_a_manual_configuration_has_one_layer_for_each_node():
    config = manual()
    assert [layer.core_hz for layer in config.layers] == [1e7, 2e7, 3e7, 4e7]
    assert [layer.queue_places for layer in config.layers] == [1, 2, 3, 4]
    assert [layer.pieces for layer in config.layers] == [((500.0, 0.1),), (), (), ((100.0, 0.2), (400.0, 0.3))]


def test_manual_clocks_are_per_slot_whatever_the_scale():
    assert [layer.core_hz for layer in manual(SCALE="2").layers] == [2e7, 4e7, 6e7, 8e7]


def test_clients_are_those_of_client_layers_that_get_tasks_unless_they_may_send_to_others():
    both = {"clientLayers": "0,1", "schedules": "0.4-500"}
    assert [layer.has_clients for layer in read(**both).layers] == [True, False]
    with_others = {**both, "clientIsSelf": "0", "layersThatGetTasks": "0,1", "schedules": "0.4-500;0.5-500"}
    assert [layer.has_clients for layer in read(**with_others).layers] == [True, True]


def test_channel_types_stand_by_name_and_minus_one_is_none():
    types = "a.OpticalFiberSNR;a.WirelessSNR"
    config = read(**{"protocol.urt.channelTypes": types, "protocol.urt.channelTypesBetweenLayers": "-1,1;0,-1"})
    assert config.channel_types == (("none", "wireless"), ("fiber", "none"))
    drawn = {"RANDOMIZETOPOLOGY": "True", "RANDOMIZEPOSITIONS": "True"}
    config = read(**drawn, **{"protocol.urt.channelTypes": types, "protocol.urt.channelTypesBetweenLayers": "1,1;1,1"})
    assert config.channel_types == (("fiber",) * 2,) * 2  # random links are all of the first type
    assert (config.positions_m, config.links) == ((), None)


def test_extra_delay_is_a_hundredth_without_fractions():
    assert read(MINDELAY="99", MAXDELAY="250").extra_delay_s == (0.0, 2.0)
    assert any("MINDELAY = 99 is without effect" in note for note in read(MINDELAY="99", MAXDELAY="250").notes)


def test_a_pattern_of_rates_goes_by_its_name():
    config = read(schedules="HeteroZigzag")
    assert (config.pattern, config.layers[0].pieces) == ("hetero_zigzag", ())


def test_correct_semantics_take_the_documentation_at_its_word():
    assert read("correct", **{"protocol.clt.minDeadline": "0"}).types[0].deadline_s == 0.0
    two = {
        "protocol.clt.numberOfTasks": "2",
        **{f"protocol.clt.{key}": "1,1" for key in ("weight", "T", "CPI")},
        "protocol.clt.I": "1e7,2e7",
        "protocol.clt.minDeadline": "10,20",
    }
    assert [each.deadline_s for each in read("correct", **two).types] == [10.0, 20.0]


def test_the_helpers_arguments_are_the_same_configuration():
    arguments = {
        "controllers": [0, 1],
        "size": 4,
        "simulation_time": 500,
        "nodes_per_layer": [2, 2],
        "has_cloud": 0,
        "cloud_access": [0, 0],
        "freqs_per_layer": [1e7, 3e7],
        "no_cores_per_layer": [1, 1],
        "q_max_per_layer": [10, 10],
        "variations_per_layer": [0, 0],
        "task_sizes": [1],
        "task_instr": [3e7],
        "task_deadlines": [10000],
        "lambda_task_arrival_rate": 0.4,
        "comm_B": 2,
        "RANDOMIZETOPOLOGY": False,
        "RANDOMIZEPOSITIONS": False,
        "POSITIONS": TWO_TIER["init.Net0.POSITIONS"],
        "TOPOLOGY": TWO_TIER["init.Net1.TOPOLOGY"],
        "channelTypes": "a.WirelessSNR",
        "channelTypesBetweenLayers": [[0, 0], [0, 0]],
    }
    config, expected = understand(raw_from_mapping(arguments, "test"), "peersim"), read()
    for field in (
        "layers",
        "links",
        "positions_m",
        "types",
        "controllers",
        "horizon_slots",
        "bandwidth_hz",
        "belief_hz",
    ):
        assert getattr(config, field) == getattr(expected, field), field


def test_defaults_of_the_helper_and_of_the_file_differ():
    assert raw_from_mapping({"radius": 60}, "test").values["protocol.props.B"] == 4
    assert raw_from_mapping({"init.Net1.r": 60}, "test").values["protocol.props.B"] == "2"


TEXT = """random.seed 566680410363660347761810011480393824972678070211512
# =============Define Simulation Globals
network.size SIZE+CLOUD_EXISTS
protocol.clt PeersimSimulator.peersim.env.Nodes.Clients.BasicClient
protocol.clt.step CYCLE
protocol.clt.layersThatGetTasks layersThatGetTasks
protocol.urt.mindelay (CYCLE*MINDELAY)/100
init.InitWrk.protocol wrk
include.init sch Net0 Net1
protocol.wrk.maxTimeAfterDeadline 7
"""


def as_text(**changes):
    lines = [f"{key} {value}" for key, value in {**TWO_TIER, **changes}.items() if key.count("_") < 1 or key.isupper()]
    lines = [line for line in lines if not line.startswith("random.seed") and not line.startswith("delay_weight")]
    return TEXT + "\n".join(lines)


def test_a_text_file_holds_what_was_divided_by_scale():
    config = understand(raw_from_text(as_text(SCALE="10", FREQS="1000000,3000000"), "config_8080.txt"), "peersim")
    assert [layer.core_hz for layer in config.layers] == [1e7, 3e7]
    assert config.grace_slots == 7  # only a text file can set it
    assert config.seed == 566680410363660347761810011480393824972678070211512
    assert not any("unknown" in note for note in config.notes)


def test_text_and_json_are_the_same_configuration():
    config, expected = understand(raw_from_text(as_text(), "config_8080.txt"), "peersim"), read()
    for field in ("layers", "links", "positions_m", "types", "controllers", "horizon_slots", "channel_types"):
        assert getattr(config, field) == getattr(expected, field), field


def test_dead_and_unknown_keys_are_named():
    given = {**TWO_TIER, "target_time_for_occupancy": 0.5, "Q_MAXX": 3}
    notes = "\n".join(raw_from_mapping(given, "file.json").notes)
    assert "file.json: unknown key 'Q_MAXX'; did you mean 'Q_MAX'?" in notes
    for key in (
        "DROP",
        "protocol.props.Beta1",
        "protocol.props.Beta2",
        "protocol.mng.cycle",
        "target_time_for_occupancy",
    ):
        assert f"{key} (" in notes
    assert "protocol.wrk.energyCostComp (cycles are charged at energyCostComm)" in notes
