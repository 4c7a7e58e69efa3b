"""MEC worlds behind PettingZoo and Gymnasium: decisions with a continuous part."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test

from edge_rllib.config.load import load_scenario
from envs.adapters.joint_env import JointWorld
from envs.adapters.parallel_env import ParallelWorld
from envs.adapters.vector_env import VectorWorlds

KINDS = pytest.mark.parametrize("kind", ["hybrid", "box", "discrete"])


def scenario(kind, name="mec_2es_3md_v1"):
    return load_scenario(name, [f"params.decision.kind={kind}", "params.on_miss=go_on"])


@KINDS
def test_parallel_world_passes_the_tests_of_pettingzoo(kind, capsys):
    parallel_api_test(ParallelWorld(scenario(kind)), num_cycles=50)
    parallel_seed_test(lambda: ParallelWorld(scenario(kind)), num_cycles=50)
    assert "Passed Parallel API test" in capsys.readouterr().out


@KINDS
def test_parallel_world_plays_what_the_spaces_of_its_agents_draw(kind):
    world = ParallelWorld(scenario(kind), seed=3)
    observations, _ = world.reset(seed=4)
    n_steps = 0
    while world.agents:
        for n, agent in enumerate(world.agents):
            assert world.observation_space(agent).contains(observations[agent])
            world.action_space(agent).seed(100 * n_steps + n)
        observations, rewards, *_ = world.step({agent: world.action_space(agent).sample() for agent in world.agents})
        assert np.isfinite(list(rewards.values())).all()
        n_steps += 1
    assert n_steps == 10


@KINDS
def test_joint_world_passes_the_test_of_gymnasium(kind):
    check_env(JointWorld(scenario(kind)), skip_render_check=True)


@KINDS
@pytest.mark.parametrize("name", ["mec_2es_3md_v1", "mec_paper_3es_7md_v1"])
def test_vector_of_worlds_plays_what_its_space_draws(kind, name):
    worlds = VectorWorlds(scenario(kind, name), 4)
    worlds.action_space.seed(0)
    worlds.reset(seed=1)
    n_ended = 0
    for _ in range(30):
        seen, rewards, terminated, _, _ = worlds.step(worlds.action_space.sample())
        assert worlds.observation_space.contains(seen)
        assert np.isfinite(rewards).all()
        n_ended += int(terminated.sum())
    assert n_ended > 0
