"""What layered networks and task types must refuse, and with which words."""

import math
from dataclasses import replace

import numpy as np
import pytest

from envs.errors import ConfigError, TopologyError
from envs.topologies.layered import Layer, Layered, LayeredCloud
from envs.workloads.task_types import NodeSchedule, RatePattern, TaskType, TaskTypes

LAYER = Layer("edge", 3, "device", 1, 1e7, 0.0, 10, math.inf, True, True, True, 1.0, 2.0, 0.5)
CLOUD = LayeredCloud(3, 1e8, 300.0, 300.0, 50, 0.0, 0.0, 0.0)
PLACES = ((0.0, 0.0), (20.0, 0.0), (90.0, 0.0))
TYPE = TaskType("short", 1.0, 10.0, 1.0, 100.0, 0.0, 0.0, 0)
SCHEDULE = NodeSchedule("", ((10.0, 1.0),))
PATTERN = RatePattern("linear", 1.0, 10.0, 1.0, 100.0)
GOOD = {
    "layer": LAYER,
    "vms": CLOUD,
    "net": Layered((LAYER,), None, (), PLACES, 100.0, None, 50.0, 2e6, 20.0, (), 45.0, (0.0, 0.0)),
    "type": TYPE,
    "schedule": SCHEDULE,
    "pattern": PATTERN,
    "work": TaskTypes((TYPE,), (SCHEDULE,), None),
}


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("layer", {"name": ""}, "Layer.name = ''; expected a name that is not empty"),
        ("layer", {"n_nodes": 0}, "Layer.n_nodes = 0; expected an integer >= 1"),
        ("layer", {"tier": "fog"}, "Layer.tier = 'fog'; expected 'device' or 'edge' or 'cloud'"),
        ("layer", {"core_hz": 0.0}, "Layer.core_hz = 0.0; expected a finite number > 0"),
        ("layer", {"core_hz_spread": 1e7}, "Layer.core_hz_spread = 10000000.0; expected less than core_hz"),
        ("layer", {"n_cores": 11}, "NodeSettings.queue_places = 10; expected at least n_cores = 11"),
        ("layer", {"queue_bits": 0.0}, "NodeSettings.queue_bits = 0.0; expected a number > 0, or .inf for no limit"),
        ("vms", {"n_vms": 0}, "LayeredCloud.n_vms = 0; expected an integer >= 1"),
        ("vms", {"x_m": math.nan}, "LayeredCloud.x_m = nan; expected a finite number"),
        ("vms", {"queue_places": 2}, "NodeSettings.queue_places = 2; expected at least n_cores = 3"),
        ("net", {"layers": ()}, "Layered.layers = (); expected at least one layer"),
        ("net", {"layers": (replace(LAYER, has_clients=False),)}, "expected a layer with has_clients: true"),
        ("net", {"positions_m": PLACES[:2]}, "expected an entry for each of the 3 nodes, or none"),
        ("net", {"node_name": ("a",)}, "Layered.node_name = ('a',); expected an entry for each of the 3 nodes"),
        ("net", {"links": ((0, 3),)}, "expected pairs of different nodes from 0 to 2, not (0, 3)"),
        ("net", {"links": ((1, 1),)}, "expected pairs of different nodes from 0 to 2, not (1, 1)"),
        ("net", {"radius_m": 0.0}, "Layered.radius_m = 0.0; expected a finite number > 0"),
        ("net", {"transmit_dbm": math.nan}, "Layered.transmit_dbm = nan; expected finite numbers"),
        ("net", {"extra_delay_s": (0.2, 0.1)}, "expected two numbers, 0 <= smallest <= largest"),
        ("net", {"channel_types": (("wireless",) * 2,) * 2}, "expected 1 rows of 1, one for each layer, or none"),
        ("net", {"channel_types": (("radio",),)}, "expected wireless or fiber or none, none both ways or not at all"),
        ("type", {"share": 0.0}, "TaskType.share = 0.0; expected a finite number > 0"),
        ("type", {"work_cycles": 0.0}, "TaskType.work_cycles = 0.0; expected a finite number > 0"),
        (
            "type",
            {"deadline_low_s": 2.0},
            "TaskType.deadline_low_s = 2.0; expected a number > 0 and <= deadline_high_s",
        ),
        ("type", {"deadline_high_s": 2.0}, "TaskType.deadline_low_s = 0.0; expected a number > 0 and <="),
        ("type", {"priority": -1}, "TaskType.priority = -1; expected an integer >= 0"),
        ("schedule", {"pieces": ((0.0, 1.0),)}, "expected a list of pairs: duration in seconds > 0"),
        ("schedule", {"pieces": ((1.0,),)}, "expected a list of pairs"),
        ("schedule", {"pieces": ((1.0, -1.0),)}, "tasks per second >= 0"),
        ("pattern", {"name": "linea"}, "RatePattern.name = 'linea'; expected linear or zigzag"),
        ("pattern", {"high_hz": 1.0}, "RatePattern.high_hz = 1.0; expected more than low_hz = 1.0"),
        ("pattern", {"piece_s": 0.0}, "RatePattern.piece_s = 0.0; expected a finite number > 0"),
        ("work", {"types": ()}, "TaskTypes.types = (); expected at least one type"),
        ("work", {"schedules": ()}, "TaskTypes.schedules = (); expected at least one schedule"),
        ("work", {"schedules": (SCHEDULE, SCHEDULE)}, "expected at least one schedule, and one for a node type"),
        ("work", {"schedules": (NodeSchedule("", ((1.0, 0.0),)),)}, "expected a rate > 0"),
        ("work", {"pattern": PATTERN}, "expected a pattern or the pieces of schedule '', not both"),
        ("work", {"schedules": (NodeSchedule("", ()),)}, "expected a pattern or the pieces of schedule '', not both"),
    ],
)
def test_values_out_of_range_are_refused_by_field_value_and_range(part, changes, message):
    with pytest.raises(ConfigError) as refusal:
        replace(GOOD[part], **changes)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "layered: the network is disconnected (2 parts"),  # the third node is 70 m from the others
        ({"positions_m": (), "radius_m": 0.1}, "layered: radius_m = 0.1; expected more for 3 nodes in a square of"),
        ({"links": ((0, 1), (1, 2)), "channel_types": (("none",),)}, "link 0 - 1, but channel_types has none between"),
    ],
)
def test_networks_that_cannot_be_are_refused_when_built(changes, message):
    with pytest.raises(TopologyError) as refusal:
        replace(GOOD["net"], **changes).build(np.random.default_rng(0))
    assert message in str(refusal.value)
