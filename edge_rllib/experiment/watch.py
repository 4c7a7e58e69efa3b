"""Looks at a policy while it is trained: held-out worlds, histograms of decisions and queues, the network's load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge_rllib.callbacks.scalars import world_tag
from edge_rllib.callbacks.tensorboard import TensorBoard
from edge_rllib.config.schema import RunConfig
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.experiment.evaluation import PolicyPlayer, Watched, figures_of, judging_sign, play_rules, rule_names
from edge_rllib.results import plots
from edge_rllib.results.files import WATCHED_RULES, append_row, write_json
from envs.constants import EVALUATION_WORLD_ID, TIER_NAMES
from envs.scenario import make

N_AMOUNT_BINS = 32


class Watch:
    """Plays the newest weights on worlds that are neither trained on nor judged on."""

    def __init__(self, run: RunConfig, folder: Path, board: TensorBoard) -> None:
        """Build the worlds; ``run.evaluation`` says how many and by which figure weights are compared."""
        self._lead, self._folder, self._board = run.evaluation.metric, folder, board
        explore = run.evaluation.decisions == "sampled"
        self._player = PolicyPlayer(
            algorithm_config(run), run.evaluation.watched_worlds, run.seed, EVALUATION_WORLD_ID, explore
        )
        if not (folder / WATCHED_RULES).is_file():
            self._play_rules(run)
        self._sign = judging_sign(run)

    def _play_rules(self, run: RunConfig) -> None:
        """Write the rules' figures on the watched worlds: the lines that a learning curve is read against."""
        world = make(run.scenario, run.evaluation.watched_worlds, run.seed, EVALUATION_WORLD_ID)
        rules = rule_names(run.evaluation.rules, run.scenario.world)
        played = play_rules(world, EVALUATION_WORLD_ID, rules, run.seed)
        figures = {rule: figures_of(world, each) for rule, each in played.items()}
        write_json(self._folder / WATCHED_RULES, figures)

    def is_better(self, value: float, than: float) -> bool:
        """Return whether one value of the leading figure beats another; NaN beats nothing."""
        return self._sign * value > self._sign * than or (than != than and value == value)

    def look(self, algorithm: Any, iteration: int, env_steps: int) -> float:
        """Play an episode in each world, write what was seen, and return the leading figure."""
        self._player.take_weights(algorithm)
        watched = Watched()
        played = self._player.play(watched)
        world = self._player.world
        figures = figures_of(world, played)
        values = {f"held_out/{world_tag(name)}": value for name, value in figures.items() if value == value}
        self._board.scalars(values, env_steps)
        append_row(self._folder, {"iteration": iteration, "env_steps": env_steps, "held_out": figures})
        self._draw(watched, env_steps)
        return figures[self._lead]

    def _draw(self, watched: Watched, env_steps: int) -> None:
        world = self._player.world
        if watched.target_tier:
            tiers = np.concatenate(watched.target_tier)
            self._board.histogram("decisions/tier_device_edge_cloud", tiers, env_steps)
        if watched.target and world.spec.n_targets > 1:
            self._board.histogram("decisions/target", np.concatenate(watched.target), env_steps)
        if watched.amounts:
            spec, amounts = world.spec, np.concatenate(watched.amounts)
            edges = np.linspace(spec.amount_low, spec.amount_high, N_AMOUNT_BINS + 1)
            for name, values in zip(spec.amount_names, np.moveaxis(amounts, -1, 0), strict=True):
                self._board.histogram(f"decisions/{name}", values, env_steps, edges)
        for tier, queues in watched.queues_by_tier(world.spec.agent_tier).items():
            self._board.histogram(f"queues/tasks_at_{TIER_NAMES[tier]}", queues, env_steps)
        busy_cores = watched.mean_busy_cores()
        if busy_cores is not None and hasattr(world, "topology"):
            figure = plots.network(world.topology, busy_cores / world.topology.n_cores)
            self._board.image("network/load", plots.pixels(figure), env_steps)
