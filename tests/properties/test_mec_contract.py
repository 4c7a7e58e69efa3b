"""The contract of worlds over random MEC worlds: any sizes, semantics and options."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rllib.config.load import load_scenario
from edge_rllib.config.paths import config_names
from envs.scenario import make
from envs.testing import check_world

SCENARIOS = [name for name in config_names("scenario") if name.startswith("mec_")]


@st.composite
def cells(draw):
    """Return overrides that make a cell of any size, without the checks of what is possible in the way."""
    n_devices, n_servers = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    values = {
        "topology.device_hz": rng.choice([1e9, 2e9], n_devices),
        "topology.server_hz": rng.choice([5e9, 10e9, 20e9], n_servers),
        "topology.transfer_s": rng.choice([0.0, 0.1, 0.3], (n_devices, n_servers)),
        "topology.startup_s": rng.choice([0.0, 0.1], (n_devices, n_servers)),
        "topology.server_position_m": rng.uniform(0.0, 500.0, (n_servers, 2)),
        "workload.mean_work_cycles": rng.choice([2e9, 7e9], n_devices),
        "workload.deadline_s": np.full(n_devices, 7.5),
    }
    return [f"{key}={value.tolist()}" for key, value in values.items()]


CHOICES = st.fixed_dictionaries(
    {
        "workload.permute": st.booleans(),
        "params.horizon_slots": st.sampled_from([1, 2, 7]),
        "params.transfer": st.sampled_from(["constant", "radio"]),
        "params.overlap": st.booleans(),
        "params.local_carry_over": st.booleans(),
        "params.on_miss": st.sampled_from(["end", "go_on"]),
        "params.last_slot": st.sampled_from(["terminates", "truncates"]),
        "params.energy.budget_j": st.sampled_from([30.0, float("inf")]),
        "params.cost.time_weight": st.sampled_from([1.0, 0.5]),
        "params.decision.kind": st.sampled_from(["hybrid", "discrete", "box"]),
        "params.observation.scope": st.sampled_from(["local", "near_global", "full"]),
        "params.observation.server_queues": st.sampled_from(["now", "at_last_result"]),
        "params.observation.slot_index": st.booleans(),
        "params.observation.running_cost": st.booleans(),
        "params.reward.form": st.sampled_from(["terminal", "shaped", "cost"]),
        "params.reward.team": st.booleans(),
        "params.radio.speed_m_per_s": st.sampled_from([0.0, 30.0]),
    }
)


def overrides_of(choices, explicit_local):
    local = explicit_local and choices["params.decision.kind"] != "box"
    return [f"{key}={value}" for key, value in {**choices, "params.decision.explicit_local": local}.items()]


@settings(max_examples=25)
@given(cells(), CHOICES, st.booleans(), st.integers(1, 3), st.integers(0, 1000))
def test_any_mec_world_keeps_the_contract(cell, choices, explicit_local, n_worlds, seed):
    # determinism, a world alone as in a batch, snapshot and restore, ranges, autoreset
    scenario = load_scenario("mec_2es_3md_v1", [*cell, *overrides_of(choices, explicit_local)])
    report = check_world(scenario, n_worlds, seed=seed)
    assert report.n_episodes >= 2 * n_worlds


@pytest.mark.parametrize("name", SCENARIOS)
def test_snapshot_carries_seed_and_episode_into_a_world_of_another_seed(name):
    scenario = load_scenario(name)
    world, other = make(scenario, 3, seed=1), make(scenario, 3, seed=2, first_world_id=70)
    outs = [world.outcome(), other.outcome()]
    world.reset(None, outs[0])
    rng, shape = np.random.default_rng(0), (3, world.spec.n_agents)
    decision, shares = rng.integers(0, world.spec.n_targets, shape), rng.random((*shape, 1))
    for _ in range(5):
        world.step(decision, outs[0], shares)
    other.restore(pickle.loads(pickle.dumps(world.snapshot())))
    for _ in range(25):
        world.step(decision, outs[0], shares)
        other.step(decision, outs[1], shares)
        for field in ("observation", "state", "reward", "terminated", "truncated"):
            assert getattr(outs[0], field).tobytes() == getattr(outs[1], field).tobytes(), field


def test_kernels_are_compiled_once():
    from envs.mec import observe, step

    for kernel in (step.step_worlds, step.observe_worlds, step.begin_worlds, observe.view_worlds):
        if hasattr(kernel, "signatures"):  # not where numba is switched off
            assert len(kernel.signatures) <= 1
