"""The batched runner without Ray: what a rollout is a function of, and what its columns hold."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from edge_rllib.algorithms.ippo import IppoParams
from edge_rllib.algorithms.mappo import MappoParams
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.modules.gru import GruModel
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.runners.batched import BatchedEnvRunner
from envs.errors import ConfigError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario

N_AGENTS, N_TARGETS, HORIZON, N_STEPS = 4, 5, 6, 15
SCENARIO = Scenario("matching", "matching", None, 0, None, MatchingParams(N_AGENTS, N_TARGETS, HORIZON, 0.7, 0.5, 0, 0))
MLP = MlpModel((16,), (16,), "tanh", False)
GRU = GruModel((8,), 6, (8,), (8,), 5, "tanh", False)
VALUES = {
    "fragment_steps": N_STEPS,
    "learning_rate": 0.001,
    "final_learning_rate": 0.001,
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "entropy_coeff": 0.01,
    "value_coeff": 0.5,
    "grad_clip": 0.5,
    "normalise_value": True,
    "train_on": "all",
    "minibatch_rows": 100,
    "epochs": 1,
    "clip": 0.2,
    "value_clip": 10.0,
    "kl_coeff": 0.0,
    "kl_target": 0.01,
}


def runner_of(model=MLP, params=IppoParams, worker_index=0, n_env_runners=0, **settings):
    """Return a runner whose modules have weights that differ clearly from one target to the next."""
    values = {**VALUES, **settings.pop("values", {})}
    run = RunSettings(SCENARIO, n_env_runners=n_env_runners, **{"n_worlds": 3, **settings})
    config = params(**values).to_config(run, model)
    runner = BatchedEnvRunner(config=config, worker_index=worker_index, num_workers=n_env_runners)
    for module_id in runner.groups:
        generator = torch.Generator().manual_seed(5)
        for parameter in runner.module[module_id].parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return runner


def columns_of(rollout, module_id="shared"):
    """Return the rollout's columns as copies, as a local runner lends its buffers."""
    return {name: column.copy() for name, column in rollout.columns[module_id].items()}


def test_a_rollout_is_a_function_of_world_ids_not_of_how_they_are_spread_over_runners():
    together = runner_of(n_worlds=4).sample()[0]
    apart = [runner_of(n_worlds=2, worker_index=w, n_env_runners=2).sample()[0] for w in (1, 2)]
    assert np.array_equal(np.concatenate([part.world_ids for part in apart]), together.world_ids)
    for name, column in columns_of(together).items():
        joined = np.concatenate([part.columns["shared"][name] for part in apart], 1)
        np.testing.assert_allclose(joined, column, atol=1e-5, err_msg=name)  # products of other sizes round otherwise


@pytest.mark.parametrize("model", [MLP, GRU], ids=["mlp", "gru"])
def test_a_restored_runner_continues_bit_equal(model):
    runner, other = runner_of(model), runner_of(model, seed=0)
    runner.sample()
    state = pickle.loads(pickle.dumps(runner.get_state()))
    expected = [columns_of(runner.sample()[0]) for _ in range(2)]
    other.set_state(state)
    for columns in expected:
        continued = columns_of(other.sample()[0])
        for name, column in columns.items():
            assert np.array_equal(continued[name], column), name
    assert [e.n_steps for e in other.episodes.finished[-3:]] == [HORIZON] * 3


def test_a_runner_of_other_worlds_leaves_a_foreign_world_state_alone():
    runner, other = runner_of(), runner_of(worker_index=2, n_env_runners=2)
    runner.sample()
    expected = columns_of(runner_of(worker_index=2, n_env_runners=2).sample()[0])
    other.set_state(runner.get_state())
    assert np.array_equal(other.sample()[0].columns["shared"]["obs"], expected["obs"])


def test_weights_of_an_earlier_iteration_are_taken_after_a_restore():
    runner = runner_of()
    weights = runner.module.get_state()
    zeros = {"shared": {name: np.zeros_like(value) for name, value in weights["shared"].items()}}
    runner.set_state({"rl_module": weights, "weights_seq_no": 7})
    runner.set_state({"rl_module": zeros, "weights_seq_no": 3})
    assert not any(parameter.any() for parameter in runner.module["shared"].parameters())
    assert runner.sample()[0].weights_seq == 3


@pytest.mark.parametrize("how", [{}, {"explore": False}, {"random_actions": True}], ids=["explore", "greedy", "random"])
def test_no_masked_target_is_ever_chosen(how):
    columns = columns_of(runner_of().sample(**how)[0])
    chosen = np.take_along_axis(columns["action_mask"][:-1], columns["actions"][..., None], -1)
    assert chosen.all()
    assert not columns["action_mask"].all()
    assert len(np.unique(columns["actions"])) > 1


def test_random_actions_are_uniform_over_allowed_targets():
    runner = runner_of(n_worlds=400)
    columns = columns_of(runner.sample(random_actions=True)[0])
    mask, actions = columns["action_mask"][:-1].reshape(-1, N_TARGETS), columns["actions"].reshape(-1)
    all_allowed = actions[mask.all(1)]
    shares = np.bincount(all_allowed, minlength=N_TARGETS) / len(all_allowed)
    # five standard errors of a share
    np.testing.assert_allclose(shares, 1 / N_TARGETS, atol=5 * np.sqrt(0.2 * 0.8 / len(all_allowed)))


def test_log_probabilities_are_those_of_the_modules_distribution():
    runner = runner_of()
    columns = columns_of(runner.sample()[0])
    batch = {name: torch.from_numpy(columns[name][:-1]) for name in ("obs", "action_mask")}
    logits = runner.module["shared"].forward_exploration(batch)["action_dist_inputs"]
    expected = torch.distributions.Categorical(logits=logits).log_prob(torch.from_numpy(columns["actions"]))
    np.testing.assert_allclose(columns["action_logp"], expected, atol=1e-5)


def test_a_truncation_keeps_its_final_observation_and_the_next_row_starts_an_episode():
    rollout = runner_of().sample()[0]
    # 15 steps, horizon 6: each of 3 worlds is truncated after steps 5 and 11
    assert rollout.finals.t.tolist() == [5, 5, 5, 11, 11, 11]
    assert rollout.truncated.sum() == 6
    assert not rollout.terminated.any()
    step_frac = 1  # index of the feature
    assert (rollout.finals.observation[..., step_frac] == 1.0).all()
    following = rollout.next_observation("shared")[..., step_frac]
    assert (following[5] == 1.0).all()
    assert (rollout.columns["shared"]["obs"][6, ..., step_frac] == 0.0).all()


def test_returns_and_figures_of_finished_episodes_are_reported():
    runner = runner_of()
    rollout = runner.sample()[0]
    rewards = rollout.columns["shared"]["rewards"]
    expected = [rewards[begin : begin + 6, b].sum() for begin in (0, 6) for b in range(3)]
    totals = [episode.returns.sum() for episode in runner.episodes.finished]
    np.testing.assert_allclose(totals, expected)
    paid = rewards[:12].sum() / rollout.columns["shared"]["action_mask"][:12, ..., 1:].any(-1).sum()
    metrics = runner.get_metrics()
    assert metrics["episode_return_mean"].peek() == pytest.approx(np.mean(expected))
    assert metrics["world"]["paid_frac"].peek() == pytest.approx(paid)
    assert metrics["num_env_steps_sampled"].peek() == 45
    assert metrics["num_agent_steps_sampled"]["all"].peek() == 180


def test_episodes_run_over_the_ends_of_fragments():
    runner = runner_of()
    fragments = [runner.sample()[0].columns["shared"]["rewards"].copy() for _ in range(2)]
    rewards = np.concatenate(fragments)
    third = [episode.returns.sum() for episode in runner.episodes.finished][6:9]
    np.testing.assert_allclose(third, rewards[12:18].sum((0, 2)))


def test_whole_episodes_count_equally_often_in_each_world():
    runner = runner_of()
    rollouts = runner.sample(num_episodes=6, explore=False)
    assert len(runner.episodes.finished) == 6
    assert {episode.n_steps for episode in runner.episodes.finished} == {HORIZON}
    assert sum(rollout.env_steps() for rollout in rollouts) == 6 * HORIZON
    assert sum(rollout.agent_steps() for rollout in rollouts) == 6 * HORIZON * N_AGENTS


def test_modules_by_tier_decide_as_one_shared_module_with_the_same_weights():
    shared = runner_of().sample()[0]
    tiers = runner_of(module_sharing="per_tier").sample()[0]
    assert {module_id: agents.tolist() for module_id, agents in tiers.agents.items()} == {
        "device": [0, 2],
        "edge": [1, 3],
    }
    for module_id, agents in tiers.agents.items():
        for name, column in columns_of(tiers, module_id).items():
            expected = shared.columns["shared"][name][:, :, agents]
            np.testing.assert_allclose(column, expected, atol=1e-5, err_msg=name)


def test_a_split_keeps_time_whole_and_every_world_once():
    rollout = runner_of(params=MappoParams, model=GRU).sample()[0]
    parts = pickle.loads(pickle.dumps(rollout)).split(2)
    assert [part.n_worlds for part in parts] == [1, 2]
    assert sum(part.agent_steps() for part in parts) == rollout.agent_steps()
    for name, column in rollout.columns["shared"].items():
        np.testing.assert_array_equal(np.concatenate([part.columns["shared"][name] for part in parts], 1), column)
    np.testing.assert_array_equal(np.concatenate([part.state for part in parts], 1), rollout.state)
    assert [len(part.finals.t) for part in parts] == [2, 4]
    for part in parts:
        b = np.flatnonzero(np.isin(rollout.world_ids, part.world_ids))
        np.testing.assert_array_equal(part.finals.observation[0], rollout.finals.observation[b[0]])
    with pytest.raises(ValueError, match="3 worlds cannot be split over 4"):
        rollout.split(4)


def test_the_memory_of_a_finished_episode_is_forgotten_and_kept_at_each_sequence():
    rollout = runner_of(GRU).sample()[0]
    memory = rollout.columns["shared"]["memory"]
    assert memory.shape == (3, 3, N_AGENTS, 6)  # 15 steps in sequences of 5
    assert not memory[0].any()
    assert memory[1].any()
    aligned = runner_of(GRU, values={"fragment_steps": 30}).sample()[0].columns["shared"]["memory"]
    # the horizon of 6 and the sequences of 5 meet again at step 30; step 30 of a second fragment starts an episode
    assert aligned[1:].any((1, 2, 3)).all()


def test_logits_are_kept_only_for_losses_that_compare_distributions():
    assert "action_dist_inputs" not in runner_of().sample()[0].columns["shared"]
    kept = runner_of(values={"kl_coeff": 0.1}).sample()[0].columns["shared"]["action_dist_inputs"]
    assert kept.shape == (N_STEPS, 3, N_AGENTS, N_TARGETS)


@pytest.mark.parametrize(
    ("values", "model", "settings", "message"),
    [
        ({"train_on": "decisions"}, GRU, {}, "needs a model without memory"),
        ({"fragment_steps": 12}, GRU, {}, "not a multiple of sequence_steps"),
        ({"train_on": "some"}, MLP, {}, "expected one of all, decisions"),
        ({"gamma": 1.5}, MLP, {}, "gamma"),
        ({}, MLP, {"module_sharing": "by_colour"}, "expected one of shared, per_tier, per_agent"),
        ({}, MLP, {"n_learners": 4}, "cannot be split over n_learners = 4"),
        ({}, MLP, {"sample_ahead": True}, "needs remote env runners"),
    ],
)
def test_configs_that_do_not_fit_are_refused_in_one_line(values, model, settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        runner_of(model, values=values, **settings)
    assert "\n" not in str(error.value)
