"""The stock MultiAgentEnvRunner is the reference: same seeds, same rollouts, same advantages, same loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

from edge_rllib import compat
from edge_rllib.algorithms.ippo import IppoParams
from edge_rllib.algorithms.mappo import MappoParams
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.modules.distribution import TargetDistribution
from edge_rllib.modules.gru import GruModel
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.runners.batched import BatchedEnvRunner
from edge_rllib.runners.sampling import STREAM_DECISION, choose
from envs.matching.world import MatchingParams
from envs.rng import key_from_seed
from envs.scenario import Scenario

# RLlib registers its environment once a runner
pytestmark = pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")

SEED, N_AGENTS, HORIZON, N_STEPS = 3, 3, 8, 20  # two whole episodes and a cut one
SCENARIO = Scenario("matching", "matching", None, 0, None, MatchingParams(N_AGENTS, 4, HORIZON, 0.7, 0.6, 0, 0))
MLP = MlpModel(hidden=(16,), critic_hidden=(16,), activation="tanh", normalise_observation=True)
VALUES = {
    "fragment_steps": N_STEPS,
    "learning_rate": 0.001,
    "final_learning_rate": 0.001,
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "entropy_coeff": 0.01,
    "value_coeff": 0.5,
    "grad_clip": 0.5,
    "normalise_value": False,
    "train_on": "all",
    "minibatch_rows": 1000,
    "epochs": 1,
    "clip": 0.2,
    "value_clip": 10.0,
    "kl_coeff": 0.2,
    "kl_target": 0.01,
}


class CounterDistribution(TargetDistribution):
    """Draws the batched runner's own random numbers, one forward pass a step."""

    step = 0
    runner = None

    def sample(self, **kwargs):
        # stock RLlib keeps the agents that act in a set: its rows come in the order of their hashes
        order = [int(agent[-1]) for agent in self.runner._ongoing_episodes[0].get_agents_to_act()]
        logits = np.empty((1, N_AGENTS, self._logits.shape[-1]), np.float32)
        logits[0, order] = self._logits.reshape(N_AGENTS, -1).numpy()
        decision, logp = np.zeros((1, N_AGENTS), np.int64), np.zeros((1, N_AGENTS), np.float32)
        key, world_ids = np.uint64(key_from_seed(SEED, "decision")), np.zeros(1, np.uint64)
        stream, step = np.uint64(STREAM_DECISION), np.uint64(type(self).step)
        choose(decision, logp, logits, np.arange(N_AGENTS), key, stream, world_ids, step)
        type(self).step += 1
        return torch.from_numpy(decision[0, order]).reshape(self._logits.shape[:-1])


def both_runners(params, model):
    config = params.to_config(RunSettings(SCENARIO, seed=SEED, n_worlds=1), model)
    batched = BatchedEnvRunner(config=config, worker_index=0, num_workers=0)
    stock_config = config.copy(copy_frozen=False)
    stock_config.env_runner_cls = None
    stock = MultiAgentEnvRunner(config=stock_config, worker_index=0, num_workers=0)
    learner = config.build_learner(spaces=batched.get_spaces())
    weights = {"rl_module": learner.module.get_state(inference_only=True)}
    batched.set_state(weights)
    stock.set_state(weights)
    CounterDistribution.step, CounterDistribution.runner = 0, stock
    stock.module["shared"].action_dist_cls = CounterDistribution
    return batched, stock, learner


def test_each_environment_of_a_stock_runner_has_a_world_of_its_own():
    config = IppoParams(**VALUES).to_config(RunSettings(SCENARIO, seed=SEED, n_worlds=3), MLP).use_stock_runner()
    runner = MultiAgentEnvRunner(config=config, worker_index=2, num_workers=2)
    worlds = [environment.unwrapped.world for environment in runner.env.unwrapped.envs]
    assert [int(world.snapshot()["arrays"]["_ids"][0]) for world in worlds] == [3, 4, 5]  # the first runner has 0, 1, 2


def agent_steps(episodes, agent, column):
    """Return an agent's steps of all episodes, in the order in which they were made."""
    parts = []
    for episode in episodes:
        steps = episode.agent_episodes[agent]
        if column == "actions":
            parts.append(steps.get_actions())
        elif column == "rewards":
            parts.append(steps.get_rewards())
        else:
            parts.append(steps.get_extra_model_outputs(column))
    return np.concatenate([np.asarray(part) for part in parts])


def segments(ours, stock):
    """Yield (agent, times, stock rows) of each agent's part of each episode, found by its observations.

    Stock rows are ordered by episode, agent (in the order of a set) and time, with an artificial one behind each part.
    """
    row, found = 0, 0
    for begin, length in ((0, HORIZON), (HORIZON, HORIZON), (2 * HORIZON, N_STEPS - 2 * HORIZON)):
        for _ in range(N_AGENTS):
            times, rows = slice(begin, begin + length), slice(row, row + length)
            (agent,) = (n for n in range(N_AGENTS) if np.array_equal(ours[times, n], stock[rows]))
            yield agent, times, rows
            row, found = row + length + 1, found + 1
    assert (row, found) == (len(stock), 3 * N_AGENTS)


@pytest.mark.parametrize("params", [IppoParams(**VALUES), MappoParams(**VALUES)], ids=["ippo", "mappo"])
def test_same_seed_gives_the_rollouts_and_advantages_of_the_stock_path(params):
    batched, stock, learner = both_runners(params, MLP)
    rollout = batched.sample()[0]
    episodes = stock.sample(num_timesteps=N_STEPS)
    assert [len(episode) for episode in episodes] == [8, 8, 4]
    columns = rollout.columns["shared"]
    for index in range(N_AGENTS):
        agent = f"agent_{index}"
        np.testing.assert_array_equal(columns["actions"][:, 0, index], agent_steps(episodes, agent, "actions"))
        np.testing.assert_array_equal(columns["rewards"][:, 0, index], agent_steps(episodes, agent, "rewards"))
        stock_logp = agent_steps(episodes, agent, Columns.ACTION_LOGP)
        np.testing.assert_allclose(columns["action_logp"][:, 0, index], stock_logp, atol=1e-6)

    table = learner.tables([rollout])["shared"]
    stock_batch = learner._make_batch_if_necessary(TrainingData(episodes=episodes)).policy_batches["shared"]
    ours = table.columns[compat.ADVANTAGES].reshape(N_STEPS, N_AGENTS).numpy()
    targets = table.columns[compat.VALUE_TARGETS].reshape(N_STEPS, N_AGENTS).numpy()
    raw = np.zeros_like(ours)
    for agent, times, rows in segments(columns["obs"][:-1, 0], stock_batch["obs"]["obs"].numpy()):
        raw[times, agent] = stock_batch[compat.ADVANTAGES][rows]
        np.testing.assert_allclose(targets[times, agent], stock_batch[compat.VALUE_TARGETS][rows], atol=1e-6)
    # stock RLlib standardises over the artificial steps too; the scale differs, the shape does not
    restandardised = (raw - raw.mean()) / raw.std()
    np.testing.assert_allclose(ours, restandardised, atol=2e-6)


@pytest.mark.parametrize("normalise_value", [False, True])
def test_stock_episodes_train_the_same_modules_with_the_same_learner(normalise_value):
    params = IppoParams(**{**VALUES, "normalise_value": normalise_value})
    _, stock, learner = both_runners(params, MLP)
    before = {name: value.clone() for name, value in learner.module["shared"].state_dict().items()}
    learner.update(
        episodes=stock.sample(num_timesteps=200),
        timesteps={"num_env_steps_sampled_lifetime": 200},
        num_epochs=2,
        minibatch_size=64,
    )
    after = learner.module["shared"].state_dict()
    assert not torch.equal(before["actor.0.weight"], after["actor.0.weight"])
    assert int(after["observation_scale.count"]) > 0


def test_stock_runner_carries_the_memory_of_a_recurrent_module():
    gru = GruModel((8,), 6, (8,), (8,), 5, "tanh", False)
    batched, stock, learner = both_runners(IppoParams(**VALUES), gru)
    rollout = batched.sample()[0]
    episodes = stock.sample(num_timesteps=N_STEPS)
    for index in range(N_AGENTS):
        stock_actions = agent_steps(episodes, f"agent_{index}", "actions")
        np.testing.assert_array_equal(rollout.columns["shared"]["actions"][:, 0, index], stock_actions)
    learner.update(episodes=episodes, timesteps={"num_env_steps_sampled_lifetime": 20}, num_epochs=1, minibatch_size=20)
