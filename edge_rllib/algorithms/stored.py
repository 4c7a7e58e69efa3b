"""Learning from files of episodes: they fill the replay before training, which goes on in the world or on them alone.

Stored steps reach a Learner as the rollouts of one world, so that they become transitions as others do. Offline, an
iteration is worth as many gradient steps as if it had collected its steps; those are counted, and nothing is played.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_AGENT_STEPS_SAMPLED, NUM_ENV_STEPS_SAMPLED_LIFETIME

from edge_rllib import compat
from edge_rllib.algorithms.base import BatchedAlgorithm
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.runners.agents import groups
from edge_rllib.runners.stored_episodes import count_steps, fragments, no_steps, read_episodes
from envs.errors import ConfigError

COMPONENT_FILLED = "is_filled_from_episodes"
FRAGMENT_STEPS = 256  # that a Learner is handed in one piece, for which its replay must have room


@dataclass(frozen=True, kw_only=True)
class StoredParams:
    """Values of algorithms with a replay, which can be filled from files."""

    episodes: tuple[str, ...]  # files of episodes whose transitions are in the replay before training
    offline: bool  # learn from these alone, without a step of the world

    def check_episodes(self, settings: RunSettings) -> None:
        """Refuse values and a run's settings that do not fit each other."""
        if self.offline and not self.episodes:
            raise ConfigError("offline = true, but episodes = []: expected a file to learn from at least")
        if self.episodes and settings.n_learners > 1:
            raise ConfigError(
                f"episodes with n_learners = {settings.n_learners}: expected one learner, who has them all"
            )
        if self.offline and settings.n_env_runners:
            raise ConfigError(
                f"offline = true with n_env_runners = {settings.n_env_runners}: they would play nothing; expected 0"
            )


class FromEpisodes(BatchedAlgorithm):
    """Base of algorithms whose Learners own a replay; ``config.stored`` are the values."""

    takes_episodes: ClassVar[bool] = True

    def setup(self, config: Any) -> None:
        """Build as for any run, and look at the files: what does not fit is refused before anything is learnt."""
        super().setup(config)
        values = self.config.stored
        if values.episodes and not self.takes_episodes:
            raise ConfigError(f"{type(self).__name__.lower()}: episodes fill no replay here; expected none")
        self._is_filled = not values.episodes
        self._n_stored = sum(count_steps(Path(path), self._summariser.spec) for path in values.episodes)

    def learn(self, **options: Any) -> None:
        """Do one iteration, the first one with a full replay."""
        if not self._is_filled:
            self._fill()
            self._is_filled = True
        if self.config.stored.offline:
            options["new_frac"] = self.config.total_train_batch_size / self._n_stored
        super().learn(**options)

    def collect(self, n_steps: int = 0) -> list[Any]:
        """Return rollouts, as for any run; offline count the steps and return a rollout of none."""
        if not self.config.stored.offline:
            return super().collect(n_steps)
        wanted = n_steps or self.config.total_train_batch_size
        steps = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        self.metrics.log_value(steps, wanted, reduce="lifetime_sum", with_throughput=True)
        agent_steps = (ENV_RUNNER_RESULTS, NUM_AGENT_STEPS_SAMPLED, "all")
        self.metrics.log_value(agent_steps, wanted * self.config.n_agents, reduce="sum")
        return [no_steps(self._summariser.spec, self._groups(), self._with_state)]

    def _fill(self) -> None:
        """Hand the files to the Learner, which stores them and learns nothing yet."""
        spec, values = self._summariser.spec, self.config.stored
        for path in values.episodes:
            stored = read_episodes(Path(path), spec)
            if self._with_state and stored.state is None:
                raise ConfigError(f"{path}: no global state is stored; expected it, as critic_sees = 'state'")
            rollouts = list(fragments(stored, self._groups(), FRAGMENT_STEPS, self._with_state))
            steps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.lifetime_steps()}
            self.learner_group.update(**self.learner_data(rollouts), timesteps=steps, new_frac=0.0)

    def _groups(self) -> Any:
        return groups(self._summariser.spec, self.config.policy_mapping_fn)

    @property
    def _with_state(self) -> bool:
        return bool(self.config.env_config["with_state"])

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return the state of any run, and whether the replay has been filled."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if compat.wants(self, COMPONENT_FILLED, components, not_components):
            state[COMPONENT_FILLED] = self._is_filled
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a state; a replay that was not saved is filled anew."""
        super().set_state(state)
        values = self.config.stored
        self._is_filled = not values.episodes or (values.save_replay and state.get(COMPONENT_FILLED, False))


def check_filling(name: str, n_written: int, n_places: int, new_frac: float | None) -> None:
    """Refuse a replay, whose size has a name, that is too small for the episodes that it is being filled with."""
    if new_frac == 0.0 and n_written > n_places:
        raise ConfigError(
            f"{name}: the episodes have {n_written} rows, more than the {n_places} places of the replay; "
            "expected room for all"
        )


def check_warm(name: str, n_ready: int, wanted: int, new_frac: float | None) -> None:
    """Refuse a warm-up, whose length has a name, that never ends because nothing is added offline."""
    if new_frac and n_ready < wanted:
        raise ConfigError(
            f"{name} = {wanted}, but the episodes have {n_ready} transitions, to which offline learning "
            "adds none; expected at most as many"
        )
