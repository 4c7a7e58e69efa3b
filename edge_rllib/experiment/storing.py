"""Play a policy, a rule or a learned one, and store its whole episodes in a file to learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge_rllib.config.load import load_rule, load_run
from edge_rllib.experiment.seeding import child_seed
from edge_rllib.experiment.watching import is_result
from edge_rllib.results.files import CONFIG, new_file, result_folder
from edge_rllib.runners.stored_episodes import SIMULATION, EpisodeWriter, Recorded
from envs.arrays import I8
from envs.errors import ConfigError
from envs.scenario import Scenario, make

STORED_WORLD_ID = 2**30  # of the first world: neither trained on, short of a billion worlds, nor judged on
MOST_WORLDS = 16  # played at once
PlayStep = Callable[[], None]


def store_episodes(
    scenario: Scenario,
    policy: str,
    n_episodes: int,
    path: Path,
    *,
    seed: int | None = None,
    world_id: int = STORED_WORLD_ID,
    is_sampled: bool = False,
    watch: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> int:
    """Play episodes under a rule's name, a user's rule or a result's best policy into a file; return their steps.

    Without a seed, that of the result's run is taken, and 0 for rules. ``is_sampled`` draws a learned policy's
    decisions as in training, instead of the most probable. Worlds have equally many episodes, up to one. ``watch`` may
    wrap the episodes.
    """
    if n_episodes < 1:
        raise ConfigError(f"n_episodes = {n_episodes}: expected at least 1")
    n_worlds = min(n_episodes, MOST_WORLDS)
    n_each: I8 = np.full(n_worlds, n_episodes // n_worlds) + (np.arange(n_worlds) < n_episodes % n_worlds)
    if is_result(policy):
        player = _player(scenario, result_folder(Path(policy)), n_worlds, seed, world_id, is_sampled)
        world = player.world
    elif is_sampled:
        raise ConfigError(f"policy {policy!r}: a rule decides as it does; only a learned policy can be sampled")
    else:
        world = make(scenario, n_worlds, seed or 0, world_id)
    with new_file(path) as part, EpisodeWriter(part, world.spec, SIMULATION, n_each=n_each) as writer:
        recorded = Recorded(world, writer)
        if is_result(policy):
            play_step = _steps_of(player, recorded)
        else:
            play_step = _steps_of_rule(policy, recorded, world_id + np.arange(n_worlds), seed or 0)
        for episode in watch(range(n_episodes)):
            while writer.n_episodes <= episode:
                play_step()
        return writer.n_steps


def _steps_of_rule(policy: str, world: Any, world_ids: I8, seed: int) -> PlayStep:
    from envs.baselines.base import Player, look

    player = Player(load_rule(policy), world.spec, world_ids, child_seed(seed, "rules"))
    out = world.outcome()
    world.reset(world_ids, out)
    look(world)  # refuses a world that shows rules nothing
    return lambda: player.step(world, out)


def _player(scenario: Scenario, folder: Path, n_worlds: int, seed: int | None, world_id: int, is_sampled: bool) -> Any:
    """Return the policy of a result's best checkpoint at the controls of worlds."""
    from edge_rllib.experiment.build import algorithm_config
    from edge_rllib.experiment.checkpoints import best
    from edge_rllib.experiment.evaluation import PolicyPlayer

    run = load_run(str(folder / CONFIG))
    config = algorithm_config(dataclasses.replace(run, scenario=scenario))
    player = PolicyPlayer(config, n_worlds, run.seed if seed is None else seed, world_id, is_sampled)
    player.load_weights(best(folder))
    return player


def _steps_of(player: Any, world: Any) -> PlayStep:
    player._runner.env = world

    def play_step() -> None:
        player._runner._fragment(1, player._manner)

    return play_step
