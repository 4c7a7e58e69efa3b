"""Collective training as an RLlib Algorithm: sites, their population, and a master that learns from what all have seen.

The learner group is the master's. It has no worlds of its own; its policy is the one that is evaluated, checkpointed
and exported. An iteration is a generation of every site.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    TIMERS,
)

from edge_rllib import compat
from edge_rllib.algorithms.off_policy import OffPolicy
from edge_rllib.collective.experience import Seen
from edge_rllib.collective.ledger import Ledger
from edge_rllib.collective.master import Master
from edge_rllib.collective.population import Population
from edge_rllib.collective.site import Report, n_bytes, policy_of
from edge_rllib.collective.teams import Team

COMPONENT_COLLECTIVE = "collective"
GROUP = "collective"  # of figures


class Collective(OffPolicy):
    """Generations of sites."""

    takes_reward_terms = False  # sites learn where they play
    takes_episodes = False

    def setup(self, config: Any) -> None:
        """Build as RLlib does, then sites that begin at the master's weights."""
        super().setup(config)
        self.ledger = Ledger()
        self.team: Team = self.config.collective.team(self.config, policy_of(self))
        self.master = Master(self)

    def training_step(self) -> None:
        """Let each site do a generation, the master learn from what they share, and send its policy to the runners."""
        reports = self.team.play()
        for report in reports:
            self._book(report)
        seen = self.team.take_experience() if self.config.collective.experience.share else []
        if seen:
            self._learn(seen)
        figures = self.master.choose(self.team) if reports else {}
        self._log(reports, figures)

    def _learn(self, seen: list[Seen]) -> None:
        """Let the master do the gradient steps that shared experience is worth."""
        rollouts = [each.rollout for each in seen]
        for rollout in rollouts:
            self.ledger.sent("experience_to_master", n_bytes(rollout))
        steps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.ledger.n_steps}
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER), reduce="mean", window=1):
            results = self.learner_group.update(**self.learner_data(rollouts), timesteps=steps)
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self.master.publish(self.team, sum(each.n_steps for each in seen))

    def _book(self, report: Report) -> None:
        self.ledger.explored(report.site, report.cost, report.n_steps)
        self.ledger.sent("site_to_population", report.bytes_pushed)
        self.ledger.sent("population_to_site", report.bytes_pulled)
        self.ledger.sent("site_to_experience", report.bytes_seen)

    def _log(self, reports: list[Report], figures: dict[str, float]) -> None:
        """Log what a generation led to, under the names that other algorithms have where they mean the same."""
        population = self.team.ask(_figures)
        log = {**figures, **population, **self.ledger.take_generation(), "lost_sites": float(self.team.n_lost)}
        if reports:
            n_steps = sum(report.n_steps for report in reports)
            steps = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
            self.metrics.log_value(steps, n_steps, reduce="lifetime_sum", with_throughput=True)
            agent_steps = (ENV_RUNNER_RESULTS, NUM_AGENT_STEPS_SAMPLED, "all")
            self.metrics.log_value(agent_steps, n_steps * self.config.n_agents, reduce="sum")
            episodes = n_steps / self._summariser.spec.horizon_steps
            cost = sum(report.cost for report in reports)
            self.metrics.log_dict({EPISODE_RETURN_MEAN: -cost / episodes}, key=ENV_RUNNER_RESULTS, window=1)
            log |= {
                "pulled_frac": float(np.mean([report.has_pulled for report in reports])),
                "push_s_median": float(np.median([report.push_s for report in reports])),
                "pull_s_median": float(np.median([report.pull_s for report in reports])),
                "train_s_mean": float(np.mean([report.train_s for report in reports])),
            }
            log |= {f"site_fitness/{report.site}": report.fitness.mean for report in reports if not report.is_refused}
        self.metrics.log_dict(log, key=(LEARNER_RESULTS, ALL_MODULES, GROUP), window=1)

    def cleanup(self) -> None:
        """End the team, then what RLlib has."""
        if hasattr(self, "team"):
            self.team.stop()
        super().cleanup()

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return RLlib's state and that of the whole population."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if compat.wants(self, COMPONENT_COLLECTIVE, components, not_components):
            state[COMPONENT_COLLECTIVE] = {
                "team": self.team.get_state(),
                "ledger": self.ledger.get_state(),
                "master": self.master.get_state(),
            }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        super().set_state(state)
        if COMPONENT_COLLECTIVE in state:
            saved = state[COMPONENT_COLLECTIVE]
            self.team.set_state(saved["team"])
            self.ledger.set_state(saved["ledger"])
            self.master.set_state(saved["master"])


def _figures(population: Population) -> dict[str, float]:
    """Return what a population has counted."""
    return {
        "version": float(population.version),
        "generation": float(population.generation),
        "members": float(len(population.present)),
        **{f"population/{name}": float(count) for name, count in population.counts.items()},
    }
