"""DDQN on the batched path: it learns with any sharing and any number of processes, resumes, and refuses misfits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from edge_rllib.algorithms.ddqn import DdqnConfig, DdqnParams
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.modules.gru import GruModel
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.modules.target_mlp import TargetMlpModel
from edge_rllib.runners.batched import BatchedEnvRunner
from envs.errors import ConfigError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario

pytestmark = [
    pytest.mark.usefixtures("ray_session"),
    # Ray leaves pipes and sockets of its processes to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PARAMS = DdqnParams(
    episodes=(),
    offline=False,
    fragment_steps=20,
    learning_rate=0.003,
    final_learning_rate=0.003,
    gamma=0.5,
    n_step=2,
    train_on="decisions",
    replay_rows=20_000,
    warm_up_rows=600,
    minibatch_rows=200,
    replay_ratio=4.0,
    priority_alpha=0.6,
    importance_beta=0.4,
    epsilon=1.0,
    final_epsilon=0.0,
    epsilon_frac=0.5,
    is_double=True,
    is_dueling=True,
    target_interval=1,
    target_rate=0.05,
    huber=1.0,
    grad_clip=10.0,
    normalise_value=True,
    save_replay=True,
)
MLP = MlpModel((32, 32), (32, 32), "relu", True)
TARGET = TargetMlpModel(16, (16,), (32,), "relu", False)
SCENARIO = Scenario("matching", "matching", None, 0, None, MatchingParams(4, 5, 20, 0.5, 0.6, 0, 0))


def config_of(params=PARAMS, model=MLP, **settings):
    return params.to_config(RunSettings(SCENARIO, **{"n_worlds": 16, "seed": 0, **settings}), model)


def build(params=PARAMS, model=MLP, **settings):
    return config_of(params, model, **settings).build_algo()


def but(**values):
    return dataclasses.replace(PARAMS, **values)


def train(algorithm, iterations):
    return [algorithm.train() for _ in range(iterations)][-1]


def weights(algorithm):
    state = algorithm.learner_group.get_state(components="learner/rl_module")
    modules = state["learner"]["rl_module"]
    return {(m, name): np.asarray(value) for m in modules if m != "__all__" for name, value in modules[m].items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=str(name))


@pytest.mark.parametrize(
    ("params", "model", "settings"),
    [
        (PARAMS, MLP, {}),
        pytest.param(but(train_on="all", n_step=1, priority_alpha=0.0), MLP, {}, marks=pytest.mark.slow),
        (but(is_dueling=False, is_double=False, target_interval=20, target_rate=1.0), MLP, {}),
        (PARAMS, TARGET, {"module_sharing": "per_tier"}),
        pytest.param(
            but(warm_up_rows=1200, replay_ratio=8.0),
            MLP,
            {"module_sharing": "per_agent", "n_worlds": 32},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["decisions", "all rows, even draws", "plain, hard copies", "target_mlp per_tier", "per_agent"],
)
def test_what_the_observation_shows_is_learnt(params, model, settings):
    algorithm = build(params, model, n_evaluation_worlds=16, **settings)
    result = train(algorithm, 50)
    assert algorithm.evaluate()["env_runners"]["world"]["paid_frac"] > 0.95
    logged = result["learners"][next(iter(algorithm.env_runner.groups))]
    assert {"q_loss", "q_mean", "td_error_abs_mean", "epsilon", "replay_rows", "gradient_steps"} <= logged.keys()
    algorithm.stop()


def test_values_are_those_of_the_world():
    # one target pays 1 and all decisions are taken right: each decision is worth 1, half of the steps have one
    algorithm = build(but(normalise_value=False, train_on="all", n_step=1))
    logged = train(algorithm, 60)["learners"]["shared"]
    # all rows, discount 0.5: a mean of 0.5 a step makes 0.5 / (1 - 0.5) = 1; rows of the random beginning pull down
    assert 0.6 < logged["q_mean"] < 1.1
    algorithm.stop()


def test_nothing_is_learnt_before_the_warm_up_and_decisions_are_random_until_then():
    algorithm = build(but(warm_up_rows=1500))
    before = weights(algorithm)
    # 16 worlds, 4 agents, 20 steps, half with a decision: some 640 rows an iteration
    logged = train(algorithm, 2)["learners"]["shared"]
    assert (logged["epsilon"], logged["gradient_steps"]) == (1.0, 0)
    changed = {name for name, value in weights(algorithm).items() if not np.array_equal(value, before[name])}
    assert {name for _, name in changed} == {f"observation_scale.{part}" for part in ("count", "mean", "std")}
    logged = train(algorithm, 1)["learners"]["shared"]
    assert logged["gradient_steps"] > 0
    assert logged["replay_rows"] >= 1500
    algorithm.stop()


@pytest.mark.parametrize("n_worlds", [8, 32])
def test_each_transition_is_trained_on_as_often_whatever_the_number_of_worlds(n_worlds):
    algorithm = build(but(replay_ratio=3.0, warm_up_rows=200, train_on="all", n_step=1), n_worlds=n_worlds)
    first = train(algorithm, 1)["learners"]["shared"]
    last = train(algorithm, 4)["learners"]["shared"]
    trained = (last["gradient_steps"] - first["gradient_steps"]) * 200
    stored = last["replay_rows"] - first["replay_rows"]
    assert stored == 4 * 19 * 4 * n_worlds  # the last of 20 steps is cut by the horizon
    assert abs(trained - 3 * stored) <= 200
    algorithm.stop()


def test_runners_follow_the_schedule_of_random_decisions():
    algorithm = build(total_env_steps=3200)  # 320 an iteration; epsilon falls to 0 over the first half
    epsilons = []
    for _ in range(6):
        algorithm.train()
        epsilons.append(float(algorithm.env_runner.module["shared"].epsilon))
    # iteration 1 ends the warm-up; from iteration 2 on: 1 - steps / 1600
    np.testing.assert_allclose(epsilons, [1.0, 0.6, 0.4, 0.2, 0.0, 0.0], atol=1e-6)
    algorithm.stop()


def test_a_resumed_run_with_its_replay_is_the_run_that_was_not_interrupted(tmp_path):
    algorithm, resumed = build(), build()
    train(algorithm, 3)
    algorithm.save_to_path(str(tmp_path))
    expected_result = train(algorithm, 2)
    resumed.restore_from_path(str(tmp_path))
    result = train(resumed, 2)
    assert_equal(weights(resumed), weights(algorithm))
    assert result["env_runners"]["world"] == expected_result["env_runners"]["world"]
    algorithm.stop()
    resumed.stop()


def test_a_resumed_run_without_its_replay_fills_it_anew_before_it_learns(tmp_path):
    params = but(save_replay=False, warm_up_rows=1000)
    algorithm, resumed = build(params), build(params)
    train(algorithm, 3)
    algorithm.save_to_path(str(tmp_path))
    saved = weights(algorithm)
    resumed.restore_from_path(str(tmp_path))
    assert_equal(weights(resumed), saved)
    steps = [train(resumed, 1)["learners"]["shared"]["gradient_steps"] for _ in range(2)]
    assert 0 < steps[0] < steps[1]  # the first iteration stores some 600 rows, the second passes 1000
    algorithm.stop()
    resumed.stop()


def loss_of(**values):
    """Return the loss of two rows with one decision each, under networks that value every target alike."""
    config = config_of(but(is_dueling=False, normalise_value=False, **values))
    runner = BatchedEnvRunner(config=config, worker_index=0, num_workers=0)
    learner = config.build_learner(spaces=runner.get_spaces())
    module = learner.module["shared"].unwrapped()
    with torch.no_grad():
        for parameter in (*module.score.parameters(), *module.target_score.parameters()):
            parameter.zero_()
        module.score[-1].bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
        module.target_score[-1].bias.copy_(torch.tensor([50.0, 40.0, 30.0, 20.0, 10.0]))
    mask = torch.tensor([[True, True, True, False, False], [True, False, False, False, False]])
    batch = {
        "obs": torch.zeros(2, 12),
        "action_mask": torch.ones(2, 5, dtype=torch.bool),
        "actions": torch.tensor([4, 1]),
        "returns": torch.tensor([1.0, 7.0]),
        "discount": torch.tensor([0.5, 0.0]),
        "next_obs": torch.zeros(2, 12),
        "next_action_mask": mask,
        "weight": torch.tensor([1.0, 0.5]),
    }
    learner._drawn = {"shared": (np.arange(2), None)}
    fwd_out = module.forward_train(batch)
    loss = learner.compute_loss_for_module(module_id="shared", config=config, batch=batch, fwd_out=fwd_out)
    return float(loss.detach()), learner._drawn["shared"][1]


def test_the_double_target_is_the_copys_value_of_the_networks_choice():
    # row 0: of targets 0..2 the network prefers 2, worth 30 to the copy: target 1 + 0.5 * 30 = 16, value 5, error 11
    # row 1: nothing behind a termination: target 7, value 2, error 5; Huber at 1: |error| - 0.5
    loss, priorities = loss_of(is_double=True)
    assert loss == pytest.approx((10.5 + 0.5 * 4.5) / 2)
    np.testing.assert_allclose(priorities, [11.001, 5.001])


def test_the_plain_target_is_the_highest_value_of_the_copy():
    # row 0: target 1 + 0.5 * 50 = 26, value 5, error 21
    loss, _ = loss_of(is_double=False)
    assert loss == pytest.approx((20.5 + 0.5 * 4.5) / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.5}, r"gamma = 1.5: expected a value in \[0, 1\]"),
        ({"n_step": 0}, "n_step = 0: expected a positive number"),
        ({"target_rate": 0.0}, "target_rate = 0.0: expected a positive number"),
        ({"train_on": "some"}, "train_on = 'some': expected one of all, decisions"),
        ({"warm_up_rows": 100}, "minibatch_rows = 200, warm_up_rows = 100"),
        ({"final_learning_rate": -1.0}, "final_learning_rate = -1.0: expected 0 or more"),
    ],
)
def test_values_out_of_range_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        but(**change)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="choose a model without memory"):
        config_of(model=GruModel((8,), 8, (8,), (8,), 10, "relu", False))
    with pytest.raises(ConfigError, match="save_replay = true with n_learners = 2"):
        config_of(n_learners=2)
    with pytest.raises(ConfigError, match="the replay of ddqn needs the batched runner"):
        DdqnConfig().use_stock_runner()


@pytest.mark.slow
def test_remote_runners_fill_the_replay():
    algorithm = build(n_worlds=8, n_env_runners=2, n_evaluation_worlds=16)
    train(algorithm, 50)
    assert algorithm.evaluate()["env_runners"]["world"]["paid_frac"] > 0.95
    algorithm.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated")  # Ray's learner actors copy Ray Data's context, old fields and all
def test_two_learners_with_a_replay_each_learn_the_same_weights():
    algorithm = build(but(save_replay=False), n_learners=2, n_evaluation_worlds=16)
    train(algorithm, 50)
    assert algorithm.evaluate()["env_runners"]["world"]["paid_frac"] > 0.95
    group = algorithm.learner_group
    states = [state.get() for state in group.foreach_learner(lambda learner: learner.module.get_state())]
    for name, value in states[0]["shared"].items():
        assert np.array_equal(value, states[1]["shared"][name]), name
    algorithm.stop()
