"""Stored episodes and earlier weights: what a run can begin with, what it learns from them, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_rllib import compat
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.cli.main import main
from edge_rllib.collective.site import policy_of
from edge_rllib.config.load import load_run, load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.experiment.build import algorithm_config, build
from edge_rllib.experiment.checkpoints import best
from edge_rllib.experiment.evaluation import PolicyPlayer, figures_of, play_rules
from edge_rllib.experiment.run import resume, train
from edge_rllib.experiment.storing import STORED_WORLD_ID, store_episodes
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.runners.stored_episodes import SIMULATION, EpisodeWriter, Recorded, read_episodes
from envs.constants import EVALUATION_WORLD_ID
from envs.errors import ConfigError, EdgeError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario, make

pytestmark = [
    pytest.mark.usefixtures("ray_session"),
    # Ray leaves pipes and sockets of its processes to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

N_EPISODES, HORIZON, N_AGENTS = 40, 20, 3
MLP = MlpModel((16, 16), (16, 16), "relu", True)
SMALL = {
    "ddqn": {"warm_up_rows": 200, "minibatch_rows": 100, "replay_rows": 4000, "train_on": "all", "gamma": 0.5},
    "ddpg": {"warm_up_steps": 200, "minibatch_steps": 50, "replay_steps": 2000, "gamma": 0.5, "priority_alpha": 0.6},
    "td3": {"warm_up_steps": 200, "minibatch_steps": 50, "replay_steps": 2000, "critic_sees": "state"},
    "sac": {"warm_up_steps": 200, "minibatch_steps": 50, "replay_steps": 2000, "n_step": 2, "n_step_rule": "adaptive"},
}
SAVED = {"save_replay": True}


def matching(n_amounts=0):
    return Scenario("matching", "matching", None, 0, None, MatchingParams(N_AGENTS, 4, HORIZON, 0.5, 0.6, 0, n_amounts))


def scenario_of(name):
    return matching(0 if name == "ddqn" else 1)


def logged(path, scenario, n_episodes=N_EPISODES, with_state=True):
    """Store episodes of random decisions."""
    world = make(scenario, 4, seed=5, first_world_id=1000)
    generator, out = np.random.default_rng(2), world.outcome()
    with EpisodeWriter(path, world.spec, SIMULATION, with_state=with_state) as writer:
        recorded = Recorded(world, writer)
        recorded.reset(None, out)
        while writer.n_episodes < n_episodes:
            decision = (generator.random(out.target_mask.shape) * out.target_mask).argmax(-1)
            amounts = generator.random((4, N_AGENTS, 1)) if world.spec.n_amounts else None
            recorded.step(decision, out, amounts)
    return str(path)


def params_of(name, **values):
    return load_part("algorithm", {"name": name, "fragment_steps": 10, **SMALL[name], **values}, Source(None))


def build_small(name, scenario=None, settings=None, **values):
    run = RunSettings(scenario or scenario_of(name), **{"n_worlds": 8, "seed": 0, **(settings or {})})
    return params_of(name, **values).to_config(run, MLP).build_algo()


def learner_of(algorithm):
    return compat.local_learner(algorithm)


def replay_of(algorithm):
    learner = learner_of(algorithm)
    return learner.replays["shared"] if hasattr(learner, "replays") else learner.replay


def n_gradient_steps(algorithm):
    learner = learner_of(algorithm)
    return learner._n_updates if hasattr(learner, "_n_updates") else learner.joint_update.n_steps


def weights(algorithm):
    found = algorithm.learner_group.get_weights()
    return {(m, name): np.asarray(value) for m, state in found.items() for name, value in state.items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=str(name))


@pytest.mark.parametrize("name", ["ddqn", "ddpg", "td3", "sac"])
def test_offline_the_replay_holds_the_file_and_no_world_is_stepped(tmp_path, name):
    path = logged(tmp_path / "a.npz", scenario_of(name))
    algorithm = build_small(name, episodes=(path,), offline=True)
    first = algorithm.train()
    contents = replay_of(algorithm).ring.observation.copy()
    n_ready, n_steps = replay_of(algorithm).n_ready, n_gradient_steps(algorithm)
    result = algorithm.train()

    # of 20 steps of an episode and agent the last leads nowhere that is known; joint rows know their final observation
    assert n_ready == N_EPISODES * ((HORIZON - 1) * N_AGENTS if name == "ddqn" else HORIZON)
    assert replay_of(algorithm).n_ready == n_ready
    np.testing.assert_array_equal(replay_of(algorithm).ring.observation, contents)
    assert algorithm.env_runner._last is None
    assert [each["num_env_steps_sampled_lifetime"] for each in (first, result)] == [80, 160]  # 8 worlds, 10 steps
    # 80 of 800 stored steps are a tenth: of 2280 rows 228, trained on 8 times in minibatches of 100; or 0.2 of 80 steps
    assert n_steps == (18 if name == "ddqn" else 16)
    assert n_gradient_steps(algorithm) == 2 * n_steps
    algorithm.stop()


@pytest.mark.parametrize("name", ["ddqn", "sac"])
def test_online_the_replay_begins_with_the_file_and_goes_on_with_what_is_played(tmp_path, name):
    path = logged(tmp_path / "a.npz", scenario_of(name))
    algorithm, plain = (build_small(name, episodes=files) for files in ((path,), ()))
    for each in (algorithm, plain):
        each.train()
    stored = read_episodes(Path(path))
    rows = stored.observation.reshape(-1, stored.observation.shape[-1]) if name == "ddqn" else stored.observation[:20]
    np.testing.assert_array_equal(replay_of(algorithm).ring.observation[: len(rows)], rows)
    n_stored = N_EPISODES * ((HORIZON - 1) * N_AGENTS if name == "ddqn" else HORIZON)
    assert replay_of(algorithm).n_ready == n_stored + replay_of(plain).n_ready
    # stored rows make learning begin at once, but only played ones count: 8 times 216 rows in hundreds; 0.2 of 80 steps
    assert n_gradient_steps(algorithm) == (17 if name == "ddqn" else 16)
    algorithm.stop()
    plain.stop()


@pytest.mark.parametrize("values", [SAVED, {**SAVED, "offline": True}], ids=["online", "offline"])
@pytest.mark.parametrize("name", ["ddqn", "sac"])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path, name, values):
    path = logged(tmp_path / "a.npz", scenario_of(name))
    algorithm, resumed = (build_small(name, episodes=(path,), **values) for _ in range(2))
    for _ in range(2):
        algorithm.train()
    algorithm.save_to_path(str(tmp_path / "checkpoint"))
    algorithm.train()
    resumed.restore_from_path(str(tmp_path / "checkpoint"))
    resumed.train()
    assert_equal(weights(resumed), weights(algorithm))
    assert replay_of(resumed).n_ready == replay_of(algorithm).n_ready
    algorithm.stop()
    resumed.stop()


def test_a_resumed_run_without_its_replay_reads_the_file_again(tmp_path):
    path = logged(tmp_path / "a.npz", matching())
    algorithm, resumed = (build_small("ddqn", episodes=(path,), offline=True) for _ in range(2))
    algorithm.train()
    algorithm.save_to_path(str(tmp_path / "checkpoint"))
    resumed.restore_from_path(str(tmp_path / "checkpoint"))
    resumed.train()
    assert replay_of(resumed).n_ready == replay_of(algorithm).n_ready
    assert n_gradient_steps(resumed) == 2 * n_gradient_steps(algorithm)
    algorithm.stop()
    resumed.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated")  # Ray's learner actors copy Ray Data's context, old fields and all
@pytest.mark.parametrize("name", ["ddqn", "sac"])
def test_a_remote_learner_learns_the_same_from_a_file(tmp_path, name):
    path = logged(tmp_path / "a.npz", scenario_of(name))
    local, remote = (build_small(name, settings={"n_learners": n}, episodes=(path,), offline=True) for n in (0, 1))
    for algorithm in (local, remote):
        algorithm.train()
    assert_equal(weights(remote), weights(local))
    local.stop()
    remote.stop()


@pytest.mark.parametrize(
    ("name", "values", "settings", "words"),
    [
        ("ddqn", {"episodes": ()}, {}, "offline = true, but episodes = "),
        ("ddqn", {}, {"n_learners": 2}, "n_learners = 2: expected one learner"),
        ("ddqn", {}, {"n_env_runners": 1}, "n_env_runners = 1: they would play nothing"),
        ("sac", {"n_step_rule": "retrace"}, {}, "n_step_rule = 'retrace' with episodes"),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused(name, values, settings, words):
    run = RunSettings(scenario_of(name), **{"n_worlds": 8, **settings})
    with pytest.raises(ConfigError, match=words):
        params_of(name, **{"episodes": ("a.npz",), "offline": True, **values}).to_config(run, MLP)


def test_a_replay_or_warm_up_that_the_file_does_not_fit_is_refused(tmp_path):
    path = logged(tmp_path / "a.npz", matching())
    for values, words in (
        ({"replay_rows": 2000}, "replay_rows: the episodes have 2400 rows, more than the 2000 places"),
        ({"warm_up_rows": 3000}, "warm_up_rows = 3000, but the episodes have 2280 transitions"),
    ):
        algorithm = build_small("ddqn", episodes=(path,), offline=True, **values)
        with pytest.raises(ConfigError, match=words):
            algorithm.train()
        algorithm.stop()


def test_sites_of_a_collective_take_no_files():
    learner = {"name": "ddpg", "episodes": ["a.npz"]}
    params = load_part("algorithm", {"name": "collective", "learner": learner}, Source(None))
    with pytest.raises(ConfigError, match="collective: episodes fill no replay here"):
        params.to_config(RunSettings(load_scenario("mec_2es_3md_v1"), n_worlds=2), MLP).build_algo()


def test_files_of_another_scenario_or_without_states_are_refused(tmp_path):
    path = logged(tmp_path / "a.npz", matching(1), with_state=False)
    with pytest.raises(
        ConfigError, match=r"a.npz: episodes of matching do not fit .*: feature 2 is 'wished_0', expected 'pays_0'"
    ):
        build_small("ddqn", episodes=(path,))
    algorithm = build_small("td3", episodes=(path,))
    with pytest.raises(ConfigError, match=r"a.npz: no global state is stored; .* critic_sees = 'state'"):
        algorithm.train()
    algorithm.stop()


# Runs with their results, on one device and one server

TINY = {
    "algorithm": "ddqn",
    "algorithm.fragment_steps": 20,
    "algorithm.warm_up_rows": 1024,
    "n_worlds": 16,
    "evaluation.worlds": 4,
    "evaluation.every_iterations": 0,
    "evaluation.rules": ["random"],
    "evaluation.bound": "none",
}


def tiny(**values):
    return load_run("tiny_exact", {**TINY, **{name.replace("__", "."): value for name, value in values.items()}})


@pytest.fixture(scope="module")
def random_episodes(tmp_path_factory):
    path = tmp_path_factory.mktemp("episodes") / "random.npz"
    assert store_episodes(load_scenario("tiny_exact"), "random", 16, path) > 4500  # 16 times some 320 decisions
    return str(path)


@pytest.fixture(scope="module")
def result(ray_session, random_episodes, tmp_path_factory):
    """Return the result of a short offline run."""
    folder = tmp_path_factory.mktemp("results") / "first"
    run = tiny(algorithm__episodes=[random_episodes], algorithm__offline=True, total_env_steps=960)
    train(run, folder)
    return folder


def saved_weights(folder):
    player = PolicyPlayer(algorithm_config(load_run(str(folder / "config.yaml"))), 1, 1, 0, explore=False)
    player.load_weights(best(folder))
    return player._runner.module.get_state()["shared"]


@pytest.mark.slow
def test_offline_learning_from_random_decisions_is_far_better_than_they_are(random_episodes):
    run = tiny(algorithm__episodes=[random_episodes], algorithm__offline=True, total_env_steps=48_000, seed=101)
    algorithm = build(run)
    while algorithm.lifetime_steps() < run.total_env_steps:
        algorithm.train()
    player = PolicyPlayer(algorithm_config(run), 64, run.seed, EVALUATION_WORLD_ID, explore=False)
    player.take_weights(algorithm)
    algorithm.stop()
    learned = figures_of(player.world, player.play())["response_time_s_mean"]
    rules = play_rules(make(run.scenario, 64, run.seed, EVALUATION_WORLD_ID), EVALUATION_WORLD_ID, ["random"], run.seed)
    random = figures_of(player.world, rules["random"])["response_time_s_mean"]
    # the exact optimum is 1.26 s, random some 2.8 s: at least 80 % of the way
    assert random > 2.3
    assert learned < random - 0.8 * (random - 1.26)


def test_stored_episodes_of_a_learned_policy_are_those_that_evaluation_plays(result, tmp_path, capsys):
    path = tmp_path / "learned.npz"
    assert main(["play", "tiny_exact", "--policy", str(result), "--episodes", str(path), "--n-episodes", "3"]) == 0
    assert "3 episodes" in capsys.readouterr().out
    stored = read_episodes(path)
    run = load_run(str(result / "config.yaml"))
    player = PolicyPlayer(algorithm_config(run), 3, run.seed, STORED_WORLD_ID, explore=False)
    player.load_weights(best(result))
    returns = [part.sum() for part in np.split(stored.reward[:, 0], np.flatnonzero(stored.truncated) + 1)[:-1]]
    np.testing.assert_allclose(sorted(returns), sorted(player.play().returns[:, 0]), rtol=1e-5)

    sampled = tmp_path / "sampled.npz"
    store_episodes(run.scenario, str(result), 3, sampled, is_sampled=True)
    assert not np.array_equal(read_episodes(sampled).decision, stored.decision)


def test_a_run_starts_from_the_weights_of_another(result):
    algorithm = build(tiny(start_from=str(result), total_env_steps=960))
    before = saved_weights(result)
    runner = algorithm.env_runner.module["shared"].get_state()
    for name, value in before.items():
        np.testing.assert_array_equal(weights(algorithm)["shared", name], value, err_msg=name)
        np.testing.assert_array_equal(runner[name], value, err_msg=name)
    scale = weights(algorithm)["shared", "value_std"]
    while not n_gradient_steps(algorithm):
        algorithm.train()
    assert scale != 1.0
    assert weights(algorithm)["shared", "value_std"] == scale  # values keep the scale that they were learnt at
    algorithm.stop()


def test_a_fine_tuned_result_goes_on_and_is_judged_without_what_it_began_with(result, random_episodes, tmp_path):
    parent, file = tmp_path / "parent", tmp_path / "random.npz"
    shutil.copytree(result, parent)
    shutil.copy(random_episodes, file)
    text = (result / "config.yaml").read_text(encoding="utf-8").replace(random_episodes, "random.npz")
    text = text.replace("start_from: null\n", "start_from: parent\n").replace("offline: true", "offline: false")
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    run = load_run(str(tmp_path / "run.yaml"), {"algorithm.save_replay": True, "total_env_steps": 640})
    assert not run.algorithm.offline
    assert run.start_from == str(parent)  # beside the file that names it
    assert run.algorithm.episodes == (str(file),)
    train(run, tmp_path / "fine")
    assert f"start_from: {parent}" in (tmp_path / "fine/config.yaml").read_text(encoding="utf-8")
    shutil.rmtree(parent)
    finished = resume(tmp_path / "fine", {"total_env_steps": 960})
    assert not finished.is_interrupted
    assert main(["evaluate", str(tmp_path / "fine"), "--worlds", "2", "--bound", "none"]) == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"start_from": "/nowhere/first"}, "no result folder /nowhere/first"),
        ({"module_sharing": "per_agent"}, "no module 'device'.*same module_sharing"),
        ({"model.hidden": [32, 32]}, r"score\.\S+ has shape .* expected \(32"),
        ({"algorithm.is_dueling": False}, "has weights 'base.* that this run does not"),
        ({"algorithm": "ippo"}, "has no weights 'actor"),
        ({"scenario": "fog_ring_8"}, "a policy for tiny_exact does not fit scenario fog_ring_8: .*feature"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(result, values, words):
    shared = {key: value for key, value in TINY.items() if not (key.startswith("algorithm.") and "algorithm" in values)}
    run = load_run("tiny_exact", {**shared, "start_from": str(result), "total_env_steps": 640, **values})
    with pytest.raises(EdgeError, match=words) as error:
        build(run)
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint_is_refused(result, tmp_path):
    shutil.copytree(result, tmp_path / "first")
    (state,) = best(tmp_path / "first").glob("learner_group/learner/rl_module/shared/module_state.pkl")
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"module_state.pkl: cannot be read"):
        build(tiny(start_from=str(tmp_path / "first"), total_env_steps=640))


def test_files_that_do_not_fit_are_refused_before_a_result_is_made(tmp_path, capsys):
    path = logged(tmp_path / "a.npz", matching())
    sets = [f"{key}={value}" for key, value in TINY.items()] + [f"algorithm.episodes=[{path}]"]
    command = ["train", "run/tiny_exact", "--into", str(tmp_path / "new")]
    assert main([*command, *(word for each in sets for word in ("--set", each))]) == 2
    assert "a.npz: episodes of matching do not fit scenario tiny_exact" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def small_config(name, start_from="", seed=0):
    """Return the config of any algorithm, small."""
    if name == "federated":
        run = load_run("run/federated_cartpole", {"algorithm.n_clients": 2, "algorithm.n_faulty": 0})
        return run.algorithm.to_config(
            RunSettings(run.scenario, seed=seed, n_worlds=1, start_from=start_from), run.model
        )
    values, scenario = {"name": name}, matching()
    if name == "collective":
        learner = {"name": "ddpg", "warm_up_steps": 80, "minibatch_steps": 32}
        values |= {"learner": learner, "n_sites": 2, "generation_steps": 160, "fitness_worlds": 4}
        scenario = load_scenario("mec_2es_3md_v1")
    settings = RunSettings(scenario, n_worlds=8, seed=seed, start_from=start_from)
    return load_part("algorithm", values, Source(None)).to_config(settings, MLP)


def vectors(algorithm):
    return {module_id: vector.numpy().copy() for module_id, vector in algorithm.federation.policy().items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ippo", "mappo", "coma", "ddqn", "sac", "federated", "collective"])
def test_any_algorithm_begins_with_the_weights_of_a_checkpoint(tmp_path, name):
    first = small_config(name).build_algo()
    first.train()
    first.save_to_path(str(tmp_path / "checkpoint"))
    expected = weights(first)
    clients = vectors(first) if name == "federated" else {}
    first.stop()
    fresh, started = (small_config(name, path, seed=7).build_algo() for path in ("", str(tmp_path / "checkpoint")))
    assert any(not np.array_equal(value, expected[key]) for key, value in weights(fresh).items())
    assert_equal(weights(started), expected)
    held = started.env_runner.module.get_state()
    for (module_id, part), value in expected.items():
        if part in held[module_id]:
            np.testing.assert_array_equal(held[module_id][part], value)
    if name == "federated":
        assert_equal(vectors(started), clients)
    if name == "collective":
        np.testing.assert_array_equal(policy_of(started.team.sites["site_0"].algorithm), policy_of(started))
    started.train()
    fresh.stop()
    started.stop()
