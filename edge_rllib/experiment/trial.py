"""One trial of a search, in a process of its own: trains, looks at held-out worlds, reports, saves and restores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_rllib.callbacks.scalars import scalars, world_tag
from edge_rllib.config.load import override_run
from edge_rllib.config.schema import RunConfig
from edge_rllib.experiment import checkpoints
from edge_rllib.experiment.build import algorithm_config, build
from edge_rllib.experiment.evaluation import PolicyPlayer, figures_of
from envs.constants import EVALUATION_WORLD_ID

HELD_OUT = "held_out"  # key of the figures of held-out worlds in a report, by their own names


class Trial:
    """Trains a run with some settings changed, a report at a time."""

    def __init__(self, run: RunConfig, overrides: dict[str, Any]) -> None:
        """Build the Algorithm and the held-out worlds."""
        self.run = override_run(run, overrides)
        self._algorithm = build(self.run)
        explore = self.run.evaluation.decisions == "sampled"
        n_worlds = self.run.evaluation.watched_worlds
        self._player = PolicyPlayer(algorithm_config(self.run), n_worlds, self.run.seed, EVALUATION_WORLD_ID, explore)
        self._iteration = self._env_steps = 0

    def report(self) -> dict[str, Any]:
        """Train until the next look, and return what was logged and seen; ``done`` at the run's length."""
        values: dict[str, float] = {}
        for _ in range(self.run.evaluation.every_iterations):
            result = self._algorithm.train()
            values |= scalars(result)
            self._iteration += 1
            self._env_steps = int(result["num_env_steps_sampled_lifetime"])
            if self._env_steps >= self.run.total_env_steps:
                break
        self._player.take_weights(self._algorithm)
        figures = figures_of(self._player.world, self._player.play())
        held_out = {f"{HELD_OUT}/{world_tag(name)}": each for name, each in figures.items()}
        return {
            "iteration": self._iteration,
            "env_steps": self._env_steps,
            "done": self._env_steps >= self.run.total_env_steps,
            "tags": {**values, **{tag: value for tag, value in held_out.items() if value == value}},
            HELD_OUT: figures,
        }

    def save(self, folder: Path) -> None:
        """Fill a folder with a checkpoint."""
        checkpoints.fill(self._algorithm, folder, {"iteration": self._iteration, "env_steps": self._env_steps})

    def restore(self, folder: Path) -> None:
        """Continue from a checkpoint, which may be that of a trial with other settings."""
        state = checkpoints.restore(self._algorithm, folder)
        self._iteration, self._env_steps = state["iteration"], state["env_steps"]

    def stop(self) -> None:
        """Stop the Algorithm."""
        self._algorithm.stop()
