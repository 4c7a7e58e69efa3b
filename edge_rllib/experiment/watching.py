"""Play a policy, a rule or a learned one, on one world and record what happens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edge_rllib.config.load import load_rule, load_run
from edge_rllib.experiment.seeding import child_seed
from edge_rllib.results.files import CONFIG, result_folder
from envs.arrays import I8
from envs.scenario import Scenario, make
from envs.viewer.glimpse import watchable
from envs.viewer.recorder import Watch, new_recorder, record
from envs.viewer.recording import Recording


def watch_policy(
    scenario: Scenario, policy: str, n_steps: int, seed: int | None, world_id: int, watch: Watch = iter
) -> Recording:
    """Return the beginning of a world's first episode under a rule's name, a user's rule or a result's best policy.

    Without a seed, that of the result's run is taken, and 0 for rules. ``watch`` may wrap the steps.
    """
    scenario = watchable(scenario)
    if is_result(policy):
        return _watch_learned(scenario, result_folder(Path(policy)), n_steps, seed, world_id, watch)
    from envs.baselines.base import Player, look

    rule = load_rule(policy)
    world = make(scenario, 1, seed or 0, world_id)
    new_recorder(world)  # refuses a world that cannot be drawn, before it is asked for a view
    out = world.outcome()
    world.reset([world_id], out)
    player = Player(rule, world.spec, [world_id], child_seed(seed or 0, "rules"))

    def play_step() -> I8:
        decision = player.decide(look(world)).copy()
        world.step(decision, out)
        return decision

    return record(world, play_step, n_steps, policy=policy.rpartition(":")[2], watch=watch)


def is_result(policy: str) -> bool:
    """Return whether a policy's name is meant as a folder."""
    return Path(policy).is_dir() or ("/" in policy and ".py" not in policy)


def _watch_learned(
    scenario: Scenario, folder: Path, n_steps: int, seed: int | None, world_id: int, watch: Watch
) -> Recording:
    """Record the policy of a result's best checkpoint, which takes the most probable target."""
    from edge_rllib.experiment.build import algorithm_config
    from edge_rllib.experiment.checkpoints import best
    from edge_rllib.experiment.evaluation import PolicyPlayer

    checkpoint = best(folder)
    run = load_run(str(folder / CONFIG))
    new_recorder(make(scenario, 1))  # refuses a world that cannot be drawn, before modules are built
    config = algorithm_config(dataclasses.replace(run, scenario=scenario))
    player = PolicyPlayer(config, 1, run.seed if seed is None else seed, world_id, explore=False)
    player.load_weights(checkpoint)

    def play_step() -> I8:
        buffers, _, _ = player._runner._fragment(1, player._manner)
        return buffers.decision[0].copy()

    name = type(run.algorithm).__name__.removesuffix("Params").lower()
    return record(player.world, play_step, n_steps, policy=f"{name} ({folder.resolve().name})", watch=watch)
