"""A rule at the controls: steps are counted, decisions fitted to the world, first episodes summed up."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from envs.baselines.base import Player, Rule, play
from envs.errors import ConfigError
from envs.matching.world import MatchingParams, MatchingWorld
from envs.scenario import Scenario

PARAMS = MatchingParams(
    n_agents=2, n_targets=3, horizon_steps=5, task_prob=0.5, allowed_prob=1.0, lag_steps=0, n_amounts=0
)


@dataclass(frozen=True)
class Watcher(Rule):
    """Notes what it is given and chooses target 1 where there is a task."""

    steps: list

    def decide(self, view, step, draws):
        self.steps.append((step, draws.turns.tolist()))
        return view.has_task.astype(np.int64)


class SeenMatching(MatchingWorld):
    """The matching world with a view: whether there is a task."""

    def reset(self, world_ids, out):
        super().reset(world_ids, out)
        self._seen_mask = out.target_mask

    def view(self):
        @dataclass
        class Tasks:
            has_task: np.ndarray

        return Tasks(self._seen_mask[:, :, 1:].any(-1))


def matching(world_class, n_worlds):
    return world_class(Scenario("matching", "matching", None, 0, None, PARAMS), n_worlds, 0, 0)


@dataclass
class HasTask:
    has_task: np.ndarray


def test_player_counts_steps_and_the_turns_of_agents_with_a_task():
    world, watcher = matching(MatchingWorld, 1), Watcher([])
    player = Player(watcher, world.spec, [0], seed=0)
    decisions = [player.decide(HasTask(np.array([row], np.bool_))) for row in ([1, 0], [1, 1], [0, 0])]
    assert watcher.steps == [(0, [[0, 0]]), (1, [[1, 0]]), (2, [[2, 1]])]
    np.testing.assert_array_equal(decisions, [[[1, 0]], [[1, 1]], [[0, 0]]])


def test_player_sends_all_tasks_of_a_step_to_the_target_of_the_first():
    world = matching(MatchingWorld, 2)
    player = Player(Watcher([]), replace(world.spec, n_decisions=3), [0, 1], seed=0)
    decision = player.decide(HasTask(np.array([[1, 0], [0, 1]], np.bool_)))
    assert decision.dtype == np.int64
    np.testing.assert_array_equal(decision, [[[1, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 1]]])


def test_player_refuses_a_wrong_number_of_world_ids():
    with pytest.raises(ConfigError, match="2 worlds got 3 world ids"):
        Player(Watcher([]), matching(MatchingWorld, 2).spec, [0, 1, 2], seed=0)


def test_play_adds_up_the_first_episode_of_each_world():
    world, watcher = matching(SeenMatching, 3), Watcher([])
    played = play(world, watcher, [4, 5, 6])
    assert [step for step, _ in watcher.steps] == [0, 1, 2, 3, 4]
    # sums: steps, decisions, paid, refused; the reward is 1 for each paid decision
    np.testing.assert_array_equal(played.sums[:, 0], [10.0] * 3)  # 2 agents x 5 steps
    np.testing.assert_array_equal(played.sums[:, 2], played.returns.sum(axis=1))
    assert played.sums[:, 2].sum() > 0
    np.testing.assert_array_equal(played.sums[:, 3], 0.0)


def test_play_refuses_a_world_that_shows_rules_nothing():
    with pytest.raises(ConfigError, match="MatchingWorld has no view"):
        play(matching(MatchingWorld, 1), Watcher([]), [0])
