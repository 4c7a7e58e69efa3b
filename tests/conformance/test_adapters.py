"""The adapters under the API tests of PettingZoo and Gymnasium, and against the world that they wrap."""

import pickle
from functools import partial
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from pettingzoo.test import parallel_api_test, parallel_seed_test
from pettingzoo.test.render_test import render_test
from pettingzoo.test.state_test import state_test
from pettingzoo.utils import parallel_to_aec

from envs.adapters.joint_env import JointWorld
from envs.adapters.parallel_env import ParallelWorld
from envs.adapters.vector_env import VectorWorlds
from envs.errors import ConfigError, DecisionError
from envs.matching.world import MatchingParams
from envs.scenario import Scenario, make

BUSY = {"name": "poisson", "tasks_per_s": 20.0}
RING = {"name": "ring", "n_nodes": 4}
ONE_OR_THREE = pytest.mark.parametrize("n_decisions", [1, 3])


@pytest.fixture
def ring(scenario):
    return lambda **params: scenario(RING, BUSY, **{"horizon_slots": 12, **params})


@ONE_OR_THREE
@pytest.mark.filterwarnings("ignore:State numpy array is all zeros")  # so it is: an episode begins without a task
def test_parallel_world_passes_the_tests_of_pettingzoo(ring, n_decisions, capsys):
    def build(**others):
        return ParallelWorld(ring(decisions_per_step=n_decisions), **others)

    parallel_api_test(build(), num_cycles=100)
    parallel_seed_test(build, num_cycles=100)
    state_test(parallel_to_aec(build()), build())
    assert "Passed Parallel API test" in capsys.readouterr().out


@pytest.fixture
def windows(monkeypatch):
    """Put a window that notes what it is shown in the place of matplotlib's; return all that were opened."""
    opened = []

    class Noting:
        def __init__(self, frames_per_s):
            self.shown, self.is_open = [], True
            opened.append(self)

        def show(self, pixels):
            self.shown.append(pixels)

        def close(self):
            self.is_open = False

    monkeypatch.setattr("envs.adapters.session.Window", Noting)
    return opened


def test_parallel_world_renders_for_pettingzoo(ring, windows):
    modes = []

    def build(render_mode):
        modes.append(render_mode)
        return parallel_to_aec(ParallelWorld(ring(), render_mode=render_mode))

    render_test(build)
    assert modes == ["human", "human", "ansi", "rgb_array"]
    assert [bool(window.shown) for window in windows] == [False, True]  # the test uses the second alone


@pytest.mark.parametrize("adapter", [ParallelWorld, JointWorld])
def test_window_shows_each_reset_and_step_by_itself(ring, windows, adapter):
    env = adapter(ring(), render_mode="human")
    env.reset(seed=0)
    for _ in range(3):
        env.step(dict.fromkeys(env.agents, 1) if adapter is ParallelWorld else np.ones(4, np.int64))
    assert env.render() is None
    env.close()

    (window,) = windows
    assert not window.is_open
    assert [pixels.shape for pixels in window.shown] == [(620, 880, 3)] * 4
    assert all((one != two).any() for one, two in pairwise(window.shown))


def test_without_a_display_mode_human_says_what_to_use(ring):
    # the tests run with matplotlib's backend Agg, which has no window
    with pytest.raises(ConfigError, match=r"no window here .backend 'Agg'.* use 'rgb_array' or 'ansi'"):
        ParallelWorld(ring(), render_mode="human")


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_drawing_changes_nothing_that_happens(ring, mode):
    seen = []
    for render_mode in (None, mode):
        env = ParallelWorld(ring(), seed=2, render_mode=render_mode)
        observations, _ = env.reset()
        rng, rows = np.random.default_rng(1), []
        while env.agents:
            env.render()
            observations, rewards, *_ = env.step(random_actions(rng, observations))
            rows.append([*rewards.values(), *np.concatenate([each["observation"] for each in observations.values()])])
        seen.append(np.array(rows))
    assert len(seen[0]) == 12
    np.testing.assert_array_equal(seen[0], seen[1])


def test_pictures_of_many_worlds_are_those_of_each(ring):
    many = VectorWorlds(ring(), 3, seed=5, render_mode="rgb_array")
    alone = [JointWorld(ring(), seed=5, first_world_id=i, render_mode="rgb_array") for i in range(3)]
    many.reset()
    for env in alone:
        env.reset()
    n_same, decisions = 0, np.tile(np.array([1, 0, 2, 1]), (3, 1))
    for _ in range(5):
        many.step(decisions)
        for b, env in enumerate(alone):
            env.step(decisions[b])
            np.testing.assert_array_equal(many.render()[b], env.render())
            n_same += 1
    assert n_same == 15
    assert many.metadata["render_modes"] == ["ansi", "rgb_array"]


def test_after_the_horizon_the_last_picture_stays_until_the_next_step(ring):
    env = ParallelWorld(ring(), render_mode="rgb_array")
    pictures = []
    for _ in range(2):
        env.reset()
        pictures.append(env.render())
        while env.agents:
            env.step(dict.fromkeys(env.agents, 1))
            pictures.append(env.render())
    assert len(pictures) == 2 * 13
    assert (pictures[0] == pictures[13]).all()  # nothing has happened in either
    assert (pictures[12] == pictures[11]).mean() > 0.9  # the last step's own end cannot be seen
    assert (pictures[12] != pictures[13]).any()


def test_world_without_nodes_is_shown_as_what_its_agents_see():
    matching = Scenario("matching", "matching", None, 0, None, MatchingParams(4, 5, 20, 0.5, 0.6, 0, 0))
    env = ParallelWorld(matching, render_mode="ansi")
    env.reset(seed=0)
    lines = env.render().splitlines()
    assert lines[1].split() == ["agent", "tier", "reward", "has_task", "step_frac", "targets"]
    assert [line.split()[0] for line in lines[2:]] == env.possible_agents
    for mode in ("human", "rgb_array"):
        with pytest.raises(ConfigError, match="a MatchingWorld has no nodes, links and tasks that could be drawn"):
            ParallelWorld(matching, render_mode=mode)


def random_actions(rng, observations):
    """Return an allowed target of each agent."""
    return {agent: rng.choice(np.flatnonzero(seen["action_mask"])) for agent, seen in observations.items()}


def test_parallel_world_is_the_wrapped_world(ring):
    # two episodes: the second begins with reset and is the world's own second episode
    env, world = ParallelWorld(ring(), seed=3, first_world_id=7), make(ring(), 1, 3, 7)
    out, rng, n_steps = world.outcome(), np.random.default_rng(0), 0
    world.reset(None, out)
    for _ in range(2):
        observations, infos = env.reset()
        assert set(infos) == set(env.possible_agents)
        while env.agents:
            for n, agent in enumerate(env.possible_agents):
                np.testing.assert_array_equal(observations[agent]["observation"], out.observation[0, n])
                np.testing.assert_array_equal(observations[agent]["action_mask"], out.target_mask[0, n])
            np.testing.assert_array_equal(env.state(), out.state[0])
            actions = random_actions(rng, observations)
            world.step(np.array([list(actions.values())], np.int64), out)
            observations, rewards, terminations, truncations, infos = env.step(actions)
            assert list(rewards.values()) == out.reward[0].tolist()
            assert set(truncations.values()) == {bool(out.truncated[0])}
            assert set(terminations.values()) == {False}
            n_steps += 1
        for n, agent in enumerate(env.possible_agents):
            np.testing.assert_array_equal(observations[agent]["observation"], out.final_observation[0, n])
            np.testing.assert_array_equal(observations[agent]["action_mask"], out.final_target_mask[0, n])
            assert infos[agent]["figures"].keys() == {metric.name for metric in world.spec.metrics}
        np.testing.assert_array_equal(env.state(), out.final_state[0])
    assert n_steps == 24


def test_reset_in_the_middle_begins_an_episode_that_was_not_played(ring):
    env = ParallelWorld(ring(), seed=1)
    seen = []
    for _ in range(3):
        observations, _ = env.reset()
        for _ in range(6):
            observations, *_ = env.step(dict.fromkeys(env.agents, 0))
        seen.append(np.concatenate([each["observation"] for each in observations.values()]).tobytes())
    assert len(set(seen)) == 3


def test_observations_stay_as_they_were_after_the_next_step(ring):
    env = ParallelWorld(ring())
    first, _ = env.reset(seed=0)
    kept = {agent: {name: array.copy() for name, array in seen.items()} for agent, seen in first.items()}
    for _ in range(5):
        env.step(dict.fromkeys(env.agents, 0))
    assert data_equivalence(first, kept)


def test_parallel_world_says_what_is_wrong_with_decisions(ring):
    env = ParallelWorld(ring())
    with pytest.raises(DecisionError, match="call reset"):
        env.step({"ring_0": 0})
    env.reset(seed=0)
    first, *others = env.agents
    with pytest.raises(DecisionError, match=f"no other: {first}"):
        env.step(dict.fromkeys(others, 0))
    with pytest.raises(DecisionError, match=r"targets are 0 \.\. 2, got 3"):
        env.step({**dict.fromkeys(others, 0), first: 3})
    with pytest.raises(DecisionError, match=r"expected integers of shape \(\), got float64"):
        env.step({**dict.fromkeys(others, 0), first: 0.5})


def test_pickled_parallel_world_goes_on_like_the_first(ring):
    # libraries that run environments in processes of their own send them pickled
    env = ParallelWorld(ring())
    env.reset(seed=0)
    twin, n_steps = pickle.loads(pickle.dumps(env)), 0
    while env.agents:
        actions = dict.fromkeys(env.agents, 0)
        assert data_equivalence(env.step(actions)[:4], twin.step(actions)[:4])
        n_steps += 1
    assert n_steps == 12


@pytest.mark.parametrize(
    ("build", "mode", "known"),
    [
        (ParallelWorld, "ascii", "'human' or 'ansi' or 'rgb_array'"),
        (JointWorld, "ascii", "'human' or 'ansi' or 'rgb_array'"),
        (partial(VectorWorlds, num_envs=2), "human", "'ansi' or 'rgb_array'"),
    ],
)
def test_unknown_render_mode_is_refused(ring, build, mode, known):
    with pytest.raises(ConfigError, match=f"render_mode = '{mode}': expected None or {known}"):
        build(ring(), render_mode=mode)


def test_render_before_reset_says_so(ring):
    with pytest.raises(ConfigError, match="expected a reset before"):
        ParallelWorld(ring(), render_mode="rgb_array").render()


def test_text_picture_shows_time_nodes_queues_and_rewards(ring):
    env = ParallelWorld(ring(), render_mode="ansi")
    env.reset(seed=0)
    for _ in range(9):
        _, rewards, *_ = env.step(dict.fromkeys(env.agents, 0))
    lines = env.render().splitlines()
    assert lines[0].endswith("t = 0.900 s, step 9")
    assert lines[2].split() == ["#", "node", "queue", "tasks", "cores", "reward", "just", "now"]
    rows = [line.split()[1:] for line in lines[3:7]]  # sign, name, bar, tasks / places, busy / cores, reward, ...
    assert [row[1] for row in rows] == env.possible_agents
    nodes = env._session.world.state.node[0]
    assert [row[3].split("/")[0] for row in rows] == [str(n) for n in nodes["n_waiting"] + nodes["n_busy"]]
    assert [row[4].split("/")[0] for row in rows] == [str(n) for n in nodes["n_busy"]]
    assert [row[5] for row in rows] == [f"{reward:.2f}" for reward in rewards.values()]
    assert nodes["n_busy"].sum() > 4  # 20 tasks/s of some tenths of a second at four nodes


@ONE_OR_THREE
def test_joint_world_passes_the_test_of_gymnasium(ring, n_decisions, windows):
    name = f"edge_rllib_test/JointWorld{n_decisions}-v0"
    gym.register(name, JointWorld, kwargs={"scenario": ring(decisions_per_step=n_decisions)})
    env = gym.make(name)  # the checker wants a spec, to build the environment again in each render mode
    check_env(env.unwrapped)
    assert env.spec.id == name
    assert len(windows) == 1


@ONE_OR_THREE
def test_vector_worlds_are_gymnasiums_own_vector_of_joint_worlds(ring, n_decisions):
    wanted = ring(decisions_per_step=n_decisions)
    ours = VectorWorlds(wanted, 3, seed=5)
    builders = [lambda i=i: JointWorld(wanted, seed=5, first_world_id=i) for i in range(3)]
    theirs = SyncVectorEnv(builders, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"]
    for name in ("single_observation_space", "single_action_space", "observation_space", "action_space"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert data_equivalence(ours.reset(), theirs.reset())
    ours.action_space.seed(0)
    n_ended = 0
    for _ in range(30):
        actions = ours.action_space.sample()
        one, two = ours.step(actions), theirs.step(actions)
        final_one, final_two = one[4].pop("final_obs", None), two[4].pop("final_obs", None)
        if final_two is not None:
            np.testing.assert_array_equal(np.stack(final_one), np.stack(final_two))
            n_ended += len(final_two)
        figures_one, figures_two = (infos.pop("final_info", {}).get("figures", {}) for infos in (one[4], two[4]))
        assert figures_one.keys() == figures_two.keys()
        for name in figures_one:
            np.testing.assert_array_equal(figures_one[name], figures_two[name])  # NaN is equal to NaN here
        assert data_equivalence(one, two)
        assert ours.observation_space.contains(one[0])
    assert n_ended == 6
    theirs.close()
    ours.close()


def test_vector_worlds_are_a_function_of_the_seed(ring):
    env = VectorWorlds(ring(), 3)
    runs = []
    for seed in (1, 1, 2):
        env.reset(seed=seed)
        env.action_space.seed(0)
        runs.append(np.stack([env.step(env.action_space.sample())[0] for _ in range(15)]).tobytes())
    assert runs[0] == runs[1] != runs[2]


def test_vector_worlds_run_under_a_wrapper_as_gymnasiums_own_vector_does(ring):
    builders = [lambda i=i: JointWorld(ring(), first_world_id=i) for i in range(2)]
    theirs = SyncVectorEnv(builders, autoreset_mode=AutoresetMode.SAME_STEP)
    returns = []
    for env in (VectorWorlds(ring(), 2), theirs):
        watched = gym.wrappers.vector.RecordEpisodeStatistics(env)
        watched.reset()
        for _ in range(24):
            *_, infos = watched.step(np.zeros(env.action_space.shape, np.int64))
            if "episode" in infos:
                returns.append(infos["episode"]["r"].tolist())
    assert len(returns) == 4
    assert returns[:2] == returns[2:]
    assert all(value != 0.0 for pair in returns for value in pair)


def test_vector_worlds_refuse_to_reset_single_worlds(ring):
    with pytest.raises(ConfigError, match="reset_mask"):
        VectorWorlds(ring(), 2).reset(options={"reset_mask": np.array([True, False])})
