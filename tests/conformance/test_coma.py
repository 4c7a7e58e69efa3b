"""COMA on the batched path: it learns targets and amounts, resumes, and does not care how many learners there are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from edge_rllib.algorithms.coma import ComaParams
from edge_rllib.algorithms.coma_learner import ADVANTAGES, CHOICE, DECISIONS, MASK, VALUE_TARGETS
from edge_rllib.algorithms.reward_terms import RewardTerm
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.modules.gru import GruModel
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.runners.batched import BatchedEnvRunner
from edge_rllib.runners.joint import joint_rows
from envs.errors import ConfigError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario

pytestmark = [
    pytest.mark.usefixtures("ray_session"),
    # Ray leaves pipes and sockets of its processes to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PARAMS = ComaParams(
    fragment_steps=20,
    policy_learning_rate=0.005,
    critic_learning_rate=0.005,
    final_rate_frac=1.0,
    gamma=0.5,
    td_lambda=0.8,
    entropy_coeff=0.02,
    grad_clip=1.0,
    normalise_value=True,
    critic="attention",
    critic_sees="observations",
    critic_epochs=4,
    critic_minibatch_steps=80,
    target_rate=0.05,
    epochs=2,
    minibatch_steps=80,
    clip=0.2,
    amount_nodes=5,
)
MLP = MlpModel((32, 32), (32, 32), "relu", True)


def but(**values):
    return dataclasses.replace(PARAMS, **values)


def config_of(params=PARAMS, model=MLP, n_amounts=0, n_agents=4, **settings):
    matching = MatchingParams(n_agents, 5, 20, 0.5, 0.6, 0, n_amounts)
    scenario = Scenario("matching", "matching", None, 0, None, matching)
    return params.to_config(RunSettings(scenario, **{"n_worlds": 16, "seed": 0, **settings}), model)


def build(params=PARAMS, **settings):
    return config_of(params, **settings).build_algo()


def learner_of(params=PARAMS, **settings):
    """Return a runner and a learner without an Algorithm around them."""
    config = config_of(params, **settings)
    runner = BatchedEnvRunner(config=config, worker_index=0, num_workers=0)
    return runner, config.build_learner(spaces=runner.get_spaces())


def train(algorithm, iterations):
    return [algorithm.train() for _ in range(iterations)][-1]


def weights(algorithm):
    state = algorithm.learner_group.get_state(components="learner/rl_module")
    return {name: np.asarray(value) for name, value in state["learner"]["rl_module"]["joint"].items()}


def assert_equal(first, second, atol=0.0):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize(
    ("params", "iterations", "settings"),
    [
        (PARAMS, 40, {}),
        pytest.param(
            but(epochs=1, minibatch_steps=0, fragment_steps=5, entropy_coeff=0.1), 200, {}, marks=pytest.mark.slow
        ),
        (but(critic="per_agent"), 40, {"module_sharing": "per_agent", "n_agents": 2}),
        pytest.param(but(critic="shared"), 40, {"n_agents": 2}, marks=pytest.mark.slow),
        pytest.param(but(critic_sees="state"), 40, {}, marks=pytest.mark.slow),
    ],
    ids=["attention", "as published", "per_agent", "shared", "state"],
)
def test_what_the_observation_shows_is_learnt(params, iterations, settings):
    algorithm = build(params, n_evaluation_worlds=16, **settings)
    result = train(algorithm, iterations)
    assert algorithm.evaluate()["env_runners"]["world"]["paid_frac"] > 0.9
    logged = result["learners"]["joint"]
    assert {"policy_loss", "critic_loss", "entropy", "advantage_std", "vf_explained_var", "q_mean"} <= logged.keys()
    algorithm.stop()


def test_amounts_are_learnt_beside_targets():
    algorithm = build(but(entropy_coeff=0.005), n_amounts=1, n_agents=2, n_evaluation_worlds=16)
    train(algorithm, 80)
    # the right target with a number at random pays about 0.67
    assert algorithm.evaluate()["env_runners"]["world"]["paid_frac"] > 0.85
    algorithm.stop()


def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path):
    algorithm, resumed = build(n_amounts=1), build(n_amounts=1)
    train(algorithm, 2)
    algorithm.save_to_path(str(tmp_path))
    expected_result = train(algorithm, 2)
    resumed.restore_from_path(str(tmp_path))
    result = train(resumed, 2)
    assert_equal(weights(resumed), weights(algorithm))
    assert result["env_runners"]["world"] == expected_result["env_runners"]["world"]
    algorithm.stop()
    resumed.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated")  # Ray's learner actors copy Ray Data's context, old fields and all
def test_two_learners_give_the_result_of_one():
    one, two = build(n_amounts=1), build(n_amounts=1, n_learners=2)
    train(one, 3)
    train(two, 3)
    assert_equal(weights(two), weights(one), atol=1e-5)
    one.stop()
    two.stop()


@pytest.mark.slow
def test_remote_runners_feed_it():
    algorithm = build(n_env_runners=2, n_worlds=8)
    assert train(algorithm, 20)["env_runners"]["world"]["paid_frac"] > 0.6
    algorithm.stop()


def test_without_a_future_the_critic_is_moved_to_the_rewards():
    runner, learner = learner_of(but(gamma=0.0))
    rollouts = runner.sample()
    rows = joint_rows(rollouts[0])
    table = learner._table(rollouts)
    np.testing.assert_allclose(table.columns[VALUE_TARGETS].numpy(), rows.reward.reshape(-1, 4), atol=1e-6)


def test_a_team_is_moved_to_the_mean_reward():
    runner, learner = learner_of(but(gamma=0.0, critic="shared"))
    rollouts = runner.sample()
    expected = joint_rows(rollouts[0]).reward.mean(-1).reshape(-1, 1)
    np.testing.assert_allclose(learner._table(rollouts).columns[VALUE_TARGETS].numpy(), expected, atol=1e-6)


def constant_critic(learner, value):
    """Let the critic and its copy say one value, whatever they see."""
    with torch.no_grad():
        for critic in (learner.joint.critic, learner.joint.critic_copy):
            critic.head.weight.zero_()
            critic.head.bias.fill_(value)


def test_returns_go_on_behind_a_truncation_and_behind_the_fragment():
    # every step of every episode is cut: the value behind each is 4, also behind the horizon's truncation
    runner, learner = learner_of(but(gamma=0.5, td_lambda=0.0, normalise_value=False, fragment_steps=25))
    constant_critic(learner, 4.0)
    rollouts = runner.sample()
    rows = joint_rows(rollouts[0])
    assert rows.truncated.any()
    targets = learner._table(rollouts).columns[VALUE_TARGETS].numpy()
    np.testing.assert_allclose(targets, rows.reward.reshape(-1, 4) + 0.5 * 4.0, atol=1e-6)


def test_a_new_scale_of_values_changes_no_value():
    runner, learner = learner_of()
    rollouts = runner.sample()
    table = learner._table(rollouts)
    assert float(learner.joint.value_scale.count) > 0
    situation = learner._seen_in(*joint_rows(rollouts[0])[:3])
    rows = situation.observation[:-1].flatten(0, 1)

    def values():
        return learner.joint.values(situation._replace(observation=rows, state=None), table.columns[DECISIONS])

    before = values().detach()
    learner._table(rollouts)  # the same targets again, with more weight
    torch.testing.assert_close(values().detach(), before, rtol=1e-5, atol=1e-5)


def test_an_agent_without_a_choice_has_no_advantage_and_does_not_count():
    runner, learner = learner_of()
    table = learner._table(runner.sample())
    learner._judge(table)
    alone = table.columns[MASK].sum(-1) == 1
    assert alone.any()
    assert table.columns[ADVANTAGES][alone].abs().max() < 1e-5
    assert not table.columns[CHOICE][alone].any()
    # the weights of the others make a mean over all rows one over the choices
    assert float(table.columns[CHOICE].mean()) == pytest.approx(1.0, abs=1e-5)


class OneMore(RewardTerm):
    """Adds 1 to every reward."""

    name = "one_more"

    def __init__(self):
        self.n_seen = 0

    def observe(self, rows, world_ids):
        self.n_seen += rows.reward.shape[0] * len(world_ids)

    def bonus(self, batch, reward):
        return torch.ones_like(reward)

    def figures(self):
        return {"seen": float(self.n_seen)}

    def get_state(self):
        return {"n_seen": self.n_seen}

    def set_state(self, state):
        self.n_seen = state["n_seen"]


def test_reward_terms_are_added_to_what_the_critic_learns():
    runner, learner = learner_of(but(gamma=0.0, normalise_value=False))
    learner.reward_terms = [OneMore()]
    rollouts = runner.sample()
    shaped = learner._table(learner.with_terms(rollouts)).columns[VALUE_TARGETS].numpy()
    np.testing.assert_allclose(shaped, joint_rows(rollouts[0]).reward.reshape(-1, 4) + 1.0, atol=1e-6)
    assert learner.reward_terms[0].n_seen == 20 * 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.5}, r"gamma = 1.5: expected a value in \[0, 1\]"),
        ({"critic_epochs": 0}, "critic_epochs = 0: expected a positive number"),
        ({"entropy_coeff": -0.1}, "entropy_coeff = -0.1: expected 0 or more"),
        ({"critic": "central"}, "critic = 'central': expected one of shared, per_agent, attention"),
        ({"critic_sees": "all"}, "critic_sees = 'all': expected one of observations, state"),
    ],
)
def test_values_out_of_range_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        but(**change)


def test_models_that_cannot_be_stacked_and_stock_runners_are_refused():
    with pytest.raises(ConfigError, match="coma: expected the model mlp"):
        config_of(model=GruModel((8,), 8, (8,), (8,), 5, "tanh", False))
    with pytest.raises(ConfigError, match="the critic of joint decisions needs the batched runner"):
        config_of().use_stock_runner()
