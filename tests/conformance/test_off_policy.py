"""Off-policy algorithms with central critics: they learn from any decisions, in any number of processes, and resume."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge_rllib.algorithms.off_policy import OffPolicyConfig
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.config.load import load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
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

SHORT = {
    "gamma": 0.5,
    "replay_steps": 20_000,
    "warm_up_steps": 320,
    "minibatch_steps": 64,
    "updates_per_step": 0.2,
    "policy_learning_rate": 0.003,
    "critic_learning_rate": 0.003,
    "save_replay": True,
}


def values_of(name, **values):
    """Return the values of an algorithm's yaml with some others in their place."""
    return load_part("algorithm", {"name": name, **values}, Source(None))


MADDPG, MATD3, MASAC = (values_of(name, **SHORT) for name in ("maddpg", "matd3", "masac"))
MLP = MlpModel((32,), (32,), "relu", True)
SCENARIO = Scenario("matching", "matching", None, 0, None, MatchingParams(4, 5, 20, 0.5, 0.6, 0, 0))
EACH = pytest.mark.parametrize("values", [MADDPG, MATD3, MASAC], ids=["maddpg", "matd3", "masac"])


def but(values, **changes):
    return dataclasses.replace(values, **changes)


def config_of(values, model=MLP, scenario=SCENARIO, **settings):
    return values.to_config(RunSettings(scenario, **{"n_worlds": 16, "seed": 0, **settings}), model)


def build(values, **settings):
    return config_of(values, **settings).build_algo()


def train(algorithm, iterations):
    return [algorithm.train() for _ in range(iterations)][-1]


def weights(algorithm):
    modules = algorithm.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
    return {name: np.asarray(value) for name, value in modules["joint"].items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        (but(MADDPG, entropy_coeff=0.1), {}),
        pytest.param(
            but(MATD3, entropy_coeff=0.1, priority_alpha=0.6, n_step=2),
            {"module_sharing": "per_agent"},
            marks=pytest.mark.slow,
        ),
        (but(MASAC, critic="shared", others="policy", target_gradient="gumbel"), {"module_sharing": "per_tier"}),
        (but(values_of("ddpg", **SHORT), n_step=4, n_step_rule="adaptive"), {}),
        pytest.param(but(values_of("td3", **SHORT), n_step=4, n_step_rule="retrace"), {}, marks=pytest.mark.slow),
        pytest.param(but(values_of("sac", **SHORT), n_step=4, n_step_rule="retrace"), {}, marks=pytest.mark.slow),
    ],
    ids=["maddpg", "matd3 per_agent", "masac per_tier", "ddpg adaptive", "td3 retrace", "sac retrace"],
)
def test_what_the_observation_shows_is_learnt(values, settings):
    algorithm = build(values, n_evaluation_worlds=16, total_env_steps=4800, **settings)
    result = train(algorithm, 30)
    assert algorithm.evaluate()["env_runners"]["world"]["paid_frac"] > 0.95
    logged = result["learners"]["joint"]
    assert {"critic_loss", "policy_loss", "q_mean", "td_error_abs_mean", "target_entropy"} <= logged.keys()
    algorithm.stop()


def test_nothing_is_learnt_before_the_warm_up_and_decisions_are_random_until_then():
    algorithm = build(but(MADDPG, warm_up_steps=400))
    before = weights(algorithm)
    logged = train(algorithm, 1)["learners"]["joint"]  # 16 worlds, 10 steps: the last one of each waits
    assert (logged["replay_steps"], logged["gradient_steps"]) == (144, 0)
    logged = train(algorithm, 1)["learners"]["joint"]  # all episodes end with step 20
    assert (logged["replay_steps"], logged["gradient_steps"]) == (320, 0)
    after = weights(algorithm)
    changed = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    assert changed == {f"observation_scale.{part}" for part in ("count", "mean", "std")}
    assert algorithm.env_runner.module["joint"].is_random == 1.0
    logged = train(algorithm, 1)["learners"]["joint"]
    assert logged["gradient_steps"] == 32  # a fifth of the iteration's 160 steps
    assert algorithm.env_runner.module["joint"].is_random == 0.0
    algorithm.stop()


@pytest.mark.parametrize("n_worlds", [8, 32])
def test_gradient_steps_follow_environment_steps_whatever_the_number_of_worlds(n_worlds):
    algorithm = build(but(MADDPG, updates_per_step=0.03, warm_up_steps=64), n_worlds=n_worlds)
    assert type(algorithm).__name__ == "Maddpg"
    logged = train(algorithm, 4)["learners"]["joint"]
    assert logged["gradient_steps"] == int(0.03 * 4 * 10 * n_worlds)
    algorithm.stop()


def test_runners_follow_the_schedule_of_exploration():
    values = but(MADDPG, epsilon=0.5, final_epsilon=0.1, noise_frac=0.4, final_noise_frac=0.0, exploration_frac=0.5)
    values = but(values, entropy_coeff=0.2, final_entropy_coeff=0.0)
    algorithm = build(values, total_env_steps=1280)  # 160 an iteration; both fall over the first four
    seen = []
    for _ in range(6):
        algorithm.train()
        module = algorithm.env_runner.module["joint"]
        (coefficient,) = algorithm.learner_group.foreach_learner(lambda learner: learner.joint_update.entropy_coeff)
        seen.append((float(module.epsilon), float(module.noise_std), coefficient.get()))
    # all episodes end with iteration 2, and with 320 transitions the warm-up
    expected = [(0.0, 0.0, 0.2), (0.3, 0.2, 0.1), (0.2, 0.1, 0.05), *[(0.1, 0.0, 0.0)] * 3]
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    algorithm.stop()


@pytest.mark.slow
def test_devices_learn_to_share_two_servers_in_time():
    # ExplabOff's setting; the oracle of a slot costs 0.907, the best assignment of whole tasks 1.26, all to one server
    # is always too late; 5,000 of 20,000 steps on training seed 101 gave success 1.0 and 1.06
    going_on = ["params.on_miss=go_on", "params.reward.form=cost", "params.reward.miss_weight=1.0"]
    values = values_of("mdoff", critic="shared", others="policy", updates_per_step=0.5)
    algorithm = values.to_config(
        RunSettings(
            load_scenario("mec_2es_3md_v1", going_on),
            n_worlds=8,
            seed=102,
            total_env_steps=10_000,
            n_evaluation_worlds=64,
        ),
        MlpModel((64, 64), (128, 128), "relu", False),
    ).build_algo()
    train(algorithm, 125)
    world = algorithm.evaluate()["env_runners"]["world"]
    assert world["success_frac"] >= 0.99
    assert world["cost_mean"] <= 1.05
    algorithm.stop()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (MADDPG, "discrete"),
        (but(MATD3, noise_rate=0.15, parameter_noise_frac=0.1), "box"),
        (but(MASAC, n_step_rule="retrace"), "hybrid"),
    ],
    ids=["maddpg", "matd3 noise", "masac retrace"],
)
def test_a_resumed_run_with_its_replay_is_the_run_that_was_not_interrupted(values, kind, tmp_path):
    values = but(values, n_step=2, priority_alpha=0.5)
    scenario = load_scenario("mec_2es_3md_v1", [f"params.decision.kind={kind}", "params.horizon_slots=15"])
    algorithm, resumed = (build(values, scenario=scenario) for _ in range(2))
    train(algorithm, 4)
    algorithm.save_to_path(str(tmp_path))
    expected_result = train(algorithm, 2)
    resumed.restore_from_path(str(tmp_path))
    result = train(resumed, 2)
    assert_equal(weights(resumed), weights(algorithm))
    assert result["env_runners"]["world"] == expected_result["env_runners"]["world"]
    algorithm.stop()
    resumed.stop()


def test_a_resumed_run_without_its_replay_fills_it_anew_before_it_learns(tmp_path):
    values = but(MADDPG, save_replay=False)
    algorithm, resumed = build(values), build(values)
    n_steps = train(algorithm, 4)["learners"]["joint"]["gradient_steps"]
    algorithm.save_to_path(str(tmp_path))
    saved = weights(algorithm)
    resumed.restore_from_path(str(tmp_path))
    assert_equal(weights(resumed), saved)
    steps = [train(resumed, 1)["learners"]["joint"]["gradient_steps"] for _ in range(2)]
    assert 0 < n_steps == steps[0] < steps[1]  # two iterations make 320 transitions
    algorithm.stop()
    resumed.stop()


@EACH
@pytest.mark.parametrize("critic", ["per_agent", "attention"])
def test_the_fog_world_with_its_masks_is_played_and_learnt_from(values, critic):
    algorithm = build(but(values, critic=critic, warm_up_steps=64), scenario=load_scenario("pair_best_known"))
    logged = train(algorithm, 2)["learners"]["joint"]
    assert logged["gradient_steps"] > 0
    assert np.isfinite([logged["critic_loss"], logged["policy_loss"]]).all()
    algorithm.stop()


@EACH
@pytest.mark.parametrize("kind", ["hybrid", "box", "discrete"])
def test_all_kinds_of_decisions_of_the_mec_world_are_learnt_from(values, kind):
    scenario = load_scenario("mec_2es_3md_v1", [f"params.decision.kind={kind}"])
    values = but(values, critic="shared", critic_sees="state", warm_up_steps=64)
    algorithm = build(values, scenario=scenario)
    logged = train(algorithm, 2)["learners"]["joint"]
    assert logged["gradient_steps"] > 0
    assert np.isfinite([logged["critic_loss"], logged["policy_loss"]]).all()
    algorithm.stop()


def test_released_coordinates_train_on_the_released_box_alone():
    values = but(MADDPG, released_servers=2, critic="shared", others="policy", warm_up_steps=64)
    scenario = load_scenario("mec_2es_3md_v1", ["params.decision.kind=box"])
    algorithm = build(values, scenario=scenario)
    assert train(algorithm, 2)["learners"]["joint"]["gradient_steps"] > 0
    algorithm.stop()
    with pytest.raises(ConfigError, match="released_servers = 2: decisions have 5 targets and 0 amounts"):
        config_of(values)


@pytest.mark.parametrize(
    ("values", "change", "message"),
    [
        (MADDPG, {"gamma": 1.5}, r"gamma = 1.5: expected a value in \[0, 1\]"),
        (MADDPG, {"n_step": 0}, "n_step = 0: expected a positive number"),
        (MADDPG, {"updates_per_step": 0.0}, "updates_per_step = 0.0: expected a positive number"),
        (MADDPG, {"warm_up_steps": 50}, "minibatch_steps = 64, warm_up_steps = 50"),
        (MADDPG, {"replay_steps": 100}, "warm_up_steps = 320, replay_steps = 100"),
        (MADDPG, {"critic": "its"}, "critic = 'its': expected one of shared, per_agent, attention, own"),
        (MADDPG, {"n_step_rule": "lambda"}, "n_step_rule = 'lambda': expected one of fixed, adaptive, retrace"),
        (MADDPG, {"noise_rate": 0.0}, "noise_rate = 0.0: expected a positive number"),
        (MADDPG, {"parameter_noise_frac": -1.0}, "parameter_noise_frac = -1.0: expected 0 or more"),
        (MADDPG, {"critic_sees": "all"}, "critic_sees = 'all': expected one of observations, state"),
        (MADDPG, {"first_weights": "zero"}, "first_weights = 'zero': expected one of orthogonal, uniform"),
        (MADDPG, {"noise_frac": -0.1}, "noise_frac = -0.1: expected 0 or more"),
        (MADDPG, {"released_servers": -1}, "released_servers = -1: expected 0 or more"),
        (MATD3, {"policy_interval": 0}, "policy_interval = 0: expected a positive number"),
        (MATD3, {"smoothing_frac": -1.0}, "smoothing_frac = -1.0: expected 0 or more"),
        (MASAC, {"temperature": 0.0}, "temperature = 0.0: expected a positive number"),
        (MASAC, {"target_entropy_frac": 2.0}, r"target_entropy_frac = 2.0: expected a value in \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused(values, change, message):
    with pytest.raises(ConfigError, match=message):
        but(values, **change)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="masac: expected the model mlp"):
        config_of(MASAC, model=TargetMlpModel(16, (16,), (32,), "relu", False))
    with pytest.raises(ConfigError, match="save_replay = true with n_learners = 2"):
        config_of(MADDPG, n_learners=2)
    with pytest.raises(ConfigError, match="the joint replay needs the batched runner"):
        OffPolicyConfig().use_stock_runner()
    with pytest.raises(ConfigError, match="attention_heads = 2: expected a divisor of half the width 30"):
        build(but(MADDPG, critic="attention"), model=MlpModel((32,), (30,), "relu", False))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated")  # Ray's learner actors copy Ray Data's context, old fields and all
def test_two_learners_are_one_up_to_the_order_of_additions():
    values = but(MATD3, save_replay=False, priority_alpha=0.5)
    one, two = build(values), build(values, n_learners=2)
    two.learner_group.set_state(one.learner_group.get_state())
    two.env_runner_group.sync_weights(from_worker_or_learner_group=two.learner_group, inference_only=True)
    for _ in range(2):  # the warm-up ends with the second iteration
        expected, result = one.train(), two.train()
    assert expected["learners"]["joint"]["gradient_steps"] == result["learners"]["joint"]["gradient_steps"] == 32
    states = [state.get() for state in two.learner_group.foreach_learner(lambda learner: learner.module.get_state())]
    alone = weights(one)
    for name, value in states[0]["joint"].items():
        assert np.array_equal(value, states[1]["joint"][name]), name
        np.testing.assert_allclose(np.asarray(value), alone[name], rtol=0, atol=1e-3, err_msg=name)
    one.stop()
    two.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated")  # as above
@pytest.mark.parametrize("n_learners", [0, 2])
def test_remote_runners_fill_the_replay_of_every_learner(n_learners):
    values = but(MADDPG, save_replay=False)
    algorithm = build(values, n_worlds=8, n_env_runners=2, n_learners=n_learners)
    logged = train(algorithm, 4)["learners"]["joint"]
    assert logged["replay_steps"] == 640  # all episodes have ended
    assert logged["gradient_steps"] == 96  # learning began with 320 transitions, in the second iteration
    if n_learners:
        sizes = [size.get() for size in algorithm.learner_group.foreach_learner(lambda learner: learner.replay.n_ready)]
        assert sizes == [640, 640]
    algorithm.stop()
