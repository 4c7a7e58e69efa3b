"""Parameters of the fog world that must be refused, each with what was given and what was expected."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import get_args, get_type_hints

import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from envs.errors import ConfigError, WorkloadError
from envs.fog.params import FogParams, RewardParams, ShapingParams
from envs.fog.state import TERMS
from envs.scenario import make
from envs.topologies.nodes import NodeSettings
from envs.workloads.workload import TaskTable, Workload

RING = load_scenario("fog_ring_8")
CHOICES = [name for name, hint in get_type_hints(FogParams).items() if isinstance(next(iter(get_args(hint)), 0), str)]


def test_every_field_with_named_choices_is_tried_here():
    assert set(CHOICES) == {
        *("semantics", "decide_on", "agents", "undecided", "discipline", "service", "contention", "results"),
        *("deadlines", "information"),
    }


@pytest.mark.parametrize("name", CHOICES)
def test_unknown_choice_is_refused_with_the_known_ones(name):
    expected = ", ".join(map(repr, get_args(get_type_hints(FogParams)[name])))
    with pytest.raises(ConfigError) as caught:
        replace(RING.params, **{name: "sometimes"})
    assert str(caught.value) == f"{name} = 'sometimes': expected one of {expected}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slot_s": 0.0}, r"slot_s = 0.0: expected at least 1e-09"),
        ({"slot_s": math.nan}, r"slot_s = nan: expected at least 1e-09"),
        ({"slot_s": math.inf}, r"slot_s = inf: expected a finite number"),
        ({"time_scale_s": -1.0}, r"time_scale_s = -1.0: expected at least 1e-09"),
        ({"time_scale_s": math.inf}, r"time_scale_s = inf: expected a finite number"),
        ({"slots_per_step": 0}, r"slots_per_step = 0: expected at least 1"),
        ({"horizon_slots": 0}, r"horizon_slots = 0: expected at least 1"),
        ({"decisions_per_step": 0}, r"decisions_per_step = 0: expected at least 1"),
        ({"max_alive_tasks": 0}, r"max_alive_tasks = 0: expected at least 1"),
        ({"report_every_slots": 0}, r"report_every_slots = 0: expected at least 1"),
        ({"max_hops": -1}, r"max_hops = -1: expected at least 0"),
        ({"task_log_places": -1}, r"task_log_places = -1: expected at least 0"),
        ({"report_bits": -1.0}, r"report_bits = -1.0: expected at least 0"),
        ({"report_bits": math.inf}, r"report_bits = inf: expected a finite number"),
        ({"route_bits": -1.0}, r"route_bits = -1.0: expected at least 0"),
        ({"route_bits": math.nan}, r"route_bits = nan: expected at least 0"),
        ({"route_bits": math.inf}, r"route_bits = inf: expected a finite number"),
        ({"max_targets": 0}, r"max_targets = 0: expected at least 1"),
        ({"horizon_slots": 10, "slots_per_step": 3}, r"horizon_slots = 10 is not a multiple of slots_per_step = 3"),
        (
            {"discipline": "sharing", "undecided": "run"},
            r"discipline = 'sharing' with undecided = 'run': .* expected undecided = 'hold'",
        ),
        (
            {"decide_on": "events", "slots_per_step": 5, "horizon_slots": 10},
            r"slots_per_step = 5 with decide_on = 'events': steps end at events, expected 1",
        ),
    ],
)
def test_value_out_of_range_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(RING.params, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "densse"}, r"reward.preset = 'densse': expected one of none, dense, sparse, response"),
        ({"terms": {"drop": 1.0}}, r"reward.terms: no term is named 'drop'; did you mean 'dropped'\?; known: decided"),
        ({"terms": {"wait": 1.0}}, r"no term is named 'wait'.*expected_wait_s"),
        ({"terms": {"xyzzy": 1.0}}, r"no term is named 'xyzzy'; known: decided"),
        ({"terms": {"dropped": math.nan}}, r"reward.terms.dropped = nan: expected a finite number"),
        ({"terms": {"dropped": -math.inf}}, r"reward.terms.dropped = -inf: expected a finite number"),
        ({"team_frac": 1.5}, r"reward.team_frac = 1.5: expected a number in \[0, 1\]"),
        ({"team_frac": math.nan}, r"reward.team_frac = nan: expected a number in \[0, 1\]"),
    ],
)
def test_reward_that_cannot_be_paid_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(RING.params.reward, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"potential": "queue"},
            r"shaping.potential = 'queue': expected one of none, alive_tasks, backlog, load_variance",
        ),
        ({"gamma": 1.01}, r"shaping.gamma = 1.01: expected a number in \[0, 1\]"),
        ({"gamma": -0.1}, r"shaping.gamma = -0.1: expected a number in \[0, 1\]"),
        ({"gamma": math.nan}, r"shaping.gamma = nan: expected a number in \[0, 1\]"),
        ({"weight": math.inf}, r"shaping.weight = inf: expected a finite number"),
    ],
)
def test_shaping_that_is_none_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(ShapingParams("backlog", 1.0, 0.99), **changes)


def test_every_term_may_have_a_weight():
    assert set(RewardParams("none", dict.fromkeys(TERMS, 2.0), 0.0, RING.params.reward.shaping).weights) == set(TERMS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent_nodes": ("nuc_0x",)}, r"agent_nodes: ring has no node named 'nuc_0x'; did you mean 'nuc_0'\?"),
        ({"agent_nodes": ("moon",)}, r"agent_nodes: ring has no node named 'moon'"),
        ({"agent_nodes": ("nuc_0", "nuc_0")}, r"agent_nodes: 'nuc_0' is named twice"),
        ({"max_targets": 2}, r"node \d+ has \d+ neighbours.*max_targets = 2"),
    ],
)
def test_agents_that_the_network_does_not_have_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(replace(RING, params=replace(RING.params, **changes)), 1)


@dataclass(frozen=True)
class OneTask(Workload):
    """One task with some flaw."""

    due_s: float = math.inf
    priority: tuple[int, ...] = (0,)

    def tasks(self, draws, topology, horizon_s):
        one = np.ones(1)
        return TaskTable(one, topology.device_nodes[:1], one, one, one, self.due_s * one, np.array(self.priority))

    def mean_rate_hz(self, topology):
        return 1.0


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (OneTask(due_s=0.5), r"OneTask: due_s of task 0 is 0.5, before its creation at 1.0"),
        (OneTask(due_s=math.nan), r"OneTask: due_s of task 0 is nan"),
        (OneTask(priority=(-1,)), r"OneTask: priority must hold 1 numbers >= 0"),
        (OneTask(priority=(0, 0)), r"OneTask: priority must hold 1 numbers >= 0"),
    ],
)
def test_tasks_that_cannot_be_served_in_order_are_refused(workload, message):
    world = make(replace(RING, workload=workload), 1)
    with pytest.raises(WorkloadError, match=message):
        world.reset(None, world.outcome())


@pytest.mark.parametrize("queue_bits", [0.0, -1.0, math.nan])
def test_memory_that_holds_nothing_is_refused(queue_bits):
    with pytest.raises(ConfigError, match=rf"queue_bits = {queue_bits}; expected a number > 0, or .inf for no limit"):
        NodeSettings(1, 1e9, 5, 1.0, 2.0, 0.5, queue_bits)
