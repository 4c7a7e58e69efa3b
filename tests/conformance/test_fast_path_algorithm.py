"""Algorithms on the batched path: they learn, resume, survive a killed runner, and do not care how many learners."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from edge_rllib.algorithms.a2c import A2cParams
from edge_rllib.algorithms.ippo import IppoParams
from edge_rllib.algorithms.mappo import MappoParams
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.modules.gru import GruModel
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.modules.target_mlp import TargetMlpModel
from envs.errors import ConfigError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario

pytestmark = [
    pytest.mark.usefixtures("ray_session"),
    # Ray leaves pipes and sockets of its processes to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COMMON = {
    "fragment_steps": 20,
    "learning_rate": 0.003,
    "final_learning_rate": 0.003,
    "gamma": 0.9,
    "gae_lambda": 0.95,
    "entropy_coeff": 0.0,
    "value_coeff": 0.5,
    "grad_clip": 0.5,
    "normalise_value": True,
    "train_on": "decisions",
}
PPO = {
    **COMMON,
    "minibatch_rows": 500,
    "epochs": 4,
    "clip": 0.2,
    "value_clip": 10.0,
    "kl_coeff": 0.0,
    "kl_target": 0.01,
}
IPPO = IppoParams(**PPO)
MLP = MlpModel((32, 32), (32, 32), "relu", True)
GRU = GruModel((32,), 32, (32,), (32,), 10, "relu", True)
TARGET = TargetMlpModel(16, (16,), (32,), "relu", True)


def scenario(lag_steps=0, n_amounts=0):
    return Scenario("matching", "matching", None, 0, None, MatchingParams(4, 5, 20, 0.5, 0.6, lag_steps, n_amounts))


def build(params=IPPO, model=MLP, lag_steps=0, n_amounts=0, **settings):
    run = RunSettings(scenario(lag_steps, n_amounts), **{"n_worlds": 16, "seed": 0, **settings})
    return params.to_config(run, model).build_algo()


def weights(algorithm):
    state = algorithm.learner_group.get_state(components="learner/rl_module")
    modules = state["learner"]["rl_module"]
    return {(m, name): np.asarray(value) for m in modules if m != "__all__" for name, value in modules[m].items()}


def train(algorithm, iterations):
    return [algorithm.train() for _ in range(iterations)][-1]


def assert_equal(first, second, atol=0.0):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=0, atol=atol, err_msg=str(name))


@pytest.mark.parametrize(
    ("params", "model", "settings"),
    [
        (IPPO, MLP, {}),
        (IPPO, TARGET, {"module_sharing": "per_tier"}),
        (IppoParams(**{**PPO, "kl_coeff": 0.2}), MLP, {"module_sharing": "per_agent"}),
        (MappoParams(**PPO), MLP, {}),
        (A2cParams(**{**COMMON, "learning_rate": 0.01}), MLP, {}),
    ],
    ids=["ippo", "ippo target_mlp per_tier", "ippo kl per_agent", "mappo", "a2c"],
)
def test_what_the_observation_shows_is_learnt(params, model, settings):
    algorithm = build(params, model, **settings)
    result = train(algorithm, 30)
    assert result["env_runners"]["world"]["paid_frac"] > 0.95
    losses = result["learners"][next(iter(algorithm.env_runner.groups))]
    assert {"policy_loss", "vf_loss", "entropy", "vf_explained_var", "total_loss"} <= losses.keys()
    algorithm.stop()


@pytest.mark.parametrize(
    ("params", "model"), [(IPPO, MLP), (MappoParams(**{**PPO, "kl_coeff": 0.1}), TARGET)], ids=["ippo", "mappo kl"]
)
def test_numbers_beside_the_target_are_learnt_too(params, model):
    # the right target with 0.5 for the two numbers pays 0.75 in the mean; 0.9 needs both to follow what is shown
    algorithm = build(params, model, n_amounts=2)
    before = train(algorithm, 1)["env_runners"]["world"]["paid_frac"]
    after = train(algorithm, 44)["env_runners"]["world"]["paid_frac"]
    assert before < 0.4
    assert after > 0.85
    algorithm.stop()


def test_an_algorithm_for_targets_alone_says_so():
    with pytest.raises(ConfigError, match=r"decisions have amounts \(number_0\).*choose discrete decisions"):
        build(load_part("algorithm", "ddqn", Source(None)), n_amounts=1)


def test_the_stock_runner_refuses_amounts():
    with pytest.raises(ConfigError, match="the stock runner takes targets alone"):
        IPPO.to_config(RunSettings(scenario(n_amounts=1)), MLP).use_stock_runner()


def test_only_memory_learns_what_was_shown_a_step_before():
    without, with_memory = (build(IppoParams(**{**PPO, "train_on": "all"}), m, lag_steps=1) for m in (MLP, GRU))
    # without memory the best is to guess among about 3 allowed targets
    assert train(without, 30)["env_runners"]["world"]["paid_frac"] < 0.5
    assert train(with_memory, 30)["env_runners"]["world"]["paid_frac"] > 0.85
    without.stop()
    with_memory.stop()


@pytest.mark.parametrize("model", [MLP, GRU], ids=["mlp", "gru"])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(model, tmp_path):
    params = IppoParams(**{**PPO, "train_on": "all"})
    algorithm, resumed = build(params, model), build(params, model)
    train(algorithm, 2)
    algorithm.save_to_path(str(tmp_path))
    expected_result = train(algorithm, 2)
    expected = weights(algorithm)
    resumed.restore_from_path(str(tmp_path))
    result = train(resumed, 2)
    assert_equal(weights(resumed), expected)
    assert result["training_iteration"] == expected_result["training_iteration"] == 4
    assert result["env_runners"]["world"] == expected_result["env_runners"]["world"]

    algorithm.restore_from_path(str(tmp_path))  # back to an earlier iteration, in place
    train(algorithm, 2)
    assert_equal(weights(algorithm), expected)
    algorithm.stop()
    resumed.stop()


def test_a_checkpoint_alone_rebuilds_the_algorithm(tmp_path):
    algorithm = build(n_evaluation_worlds=4)
    train(algorithm, 1)
    algorithm.save_to_path(str(tmp_path))
    rebuilt = type(algorithm).from_checkpoint(str(tmp_path))
    assert rebuilt.evaluate()["env_runners"]["world"] == algorithm.evaluate()["env_runners"]["world"]
    train(algorithm, 1)
    train(rebuilt, 1)
    assert_equal(weights(rebuilt), weights(algorithm))
    algorithm.stop()
    rebuilt.stop()


def test_evaluation_uses_held_out_worlds_and_leaves_training_alone():
    algorithm, undisturbed = build(n_evaluation_worlds=8), build()
    train(algorithm, 1)
    evaluated = algorithm.evaluate()["env_runners"]
    assert evaluated["num_episodes"] == 8
    assert algorithm.eval_env_runner.world_ids.tolist() == [2**31 + b for b in range(8)]
    train(algorithm, 1)
    train(undisturbed, 2)
    assert_equal(weights(algorithm), weights(undisturbed))
    algorithm.stop()
    undisturbed.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")
def test_the_stock_runner_trains_the_same_algorithm(tmp_path):
    config = IppoParams(**{**PPO, "train_on": "all"}).to_config(RunSettings(scenario(), n_worlds=4), MLP)
    algorithm = config.use_stock_runner().build_algo()
    before = train(algorithm, 1)["env_runners"]["episode_return_mean"]
    # 4 agents, 20 steps, half of them with a task: 40 at best, about 13 at first
    assert train(algorithm, 60)["env_runners"]["episode_return_mean"] > before + 12
    algorithm.save_to_path(str(tmp_path))
    batched = build(IppoParams(**{**PPO, "train_on": "all"}), n_worlds=4)
    batched.restore_from_path(str(tmp_path / "learner_group"), component="learner_group")
    assert_equal(weights(batched), weights(algorithm))
    algorithm.stop()
    batched.stop()


def test_a_callback_may_change_the_rewards_of_a_rollout():
    def nothing_pays(env_runner, metrics_logger, samples, **kwargs):
        for rollout in samples:
            for columns in rollout.columns.values():
                columns["rewards"][:] = 0.0

    config = IPPO.to_config(RunSettings(scenario(), n_worlds=16), MLP)
    algorithm = config.callbacks(on_sample_end=nothing_pays).build_algo()
    assert train(algorithm, 15)["env_runners"]["world"]["paid_frac"] < 0.5  # test_what_the_observation_shows: 0.99
    algorithm.stop()


def test_the_learning_rate_falls_over_the_run():
    params = IppoParams(**{**PPO, "final_learning_rate": 0.001})
    algorithm = build(params, total_env_steps=640)
    # 320 steps an iteration: half of the way down after the first, all of it after the second
    rates = [train(algorithm, 1)["learners"]["shared"]["default_optimizer_learning_rate"] for _ in range(2)]
    np.testing.assert_allclose(rates, [0.002, 0.001])
    algorithm.stop()


@pytest.mark.slow
def test_two_remote_runners_train_exactly_as_one_local_one_with_all_worlds(tmp_path):
    local, remote = build(n_worlds=16), build(n_worlds=8, n_env_runners=2)
    expected, result = train(local, 5), train(remote, 5)
    assert_equal(weights(remote), weights(local), atol=1e-6)  # products of other sizes may round otherwise
    assert result["env_runners"]["world"] == expected["env_runners"]["world"]
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == 5 * 320
    remote.save_to_path(str(tmp_path))
    train(remote, 2)
    resumed = build(n_worlds=8, n_env_runners=2)
    resumed.restore_from_path(str(tmp_path))
    train(resumed, 2)
    assert_equal(weights(resumed), weights(remote))
    for algorithm in (local, remote, resumed):
        algorithm.stop()


@pytest.mark.slow
def test_training_survives_a_killed_runner_and_gets_it_back():
    algorithm = build(n_worlds=8, n_env_runners=2)
    train(algorithm, 2)
    (victim, _) = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    os.kill(victim, signal.SIGKILL)
    steps = [train(algorithm, 1)["env_runners"]["num_env_steps_sampled"] for _ in range(3)]
    assert steps == [320] * 3  # the survivor fills the batch
    for _ in range(200):  # restarting takes some seconds; each iteration looks for restarted runners
        result = train(algorithm, 1)
        if algorithm.env_runner_group.num_healthy_remote_env_runners() == 2:
            break
    assert algorithm.env_runner_group.num_healthy_remote_env_runners() == 2
    result = train(algorithm, 2)
    newest = result["training_iteration"] - 1
    numbers = algorithm.env_runner_group.foreach_env_runner(lambda r: r._weights_seq_no, local_env_runner=False)
    assert all(number >= newest for number in numbers)
    algorithm.stop()


@pytest.mark.slow
def test_sampling_ahead_learns_from_weights_one_update_old():
    algorithm = build(n_worlds=8, n_env_runners=2, sample_ahead=True)
    result = train(algorithm, 30)
    assert result["env_runners"]["world"]["paid_frac"] > 0.9
    assert result["env_runners"]["weights_seq_no"] == result["training_iteration"] - 2
    algorithm.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated")  # Ray's learner actors copy Ray Data's context, old fields and all
@pytest.mark.parametrize(
    ("params", "model"),
    [
        (IppoParams(**{**PPO, "kl_coeff": 0.2}), MLP),
        (IppoParams(**{**PPO, "train_on": "all"}), GRU),
        (MappoParams(**PPO), MLP),
        (A2cParams(**COMMON), MLP),
    ],
    ids=["ippo kl decisions", "ippo gru", "mappo", "a2c"],
)
def test_two_learners_give_the_result_of_one(params, model):
    one, two = build(params, model), build(params, model, n_learners=2)
    train(one, 3)
    train(two, 3)
    assert_equal(weights(two), weights(one), atol=2e-6)
    states = [state.get() for state in two.learner_group.foreach_learner(lambda learner: learner.module.get_state())]
    for name, value in states[0]["shared"].items():
        assert np.array_equal(value, states[1]["shared"][name]), name
    one.stop()
    two.stop()
