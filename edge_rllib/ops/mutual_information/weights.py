"""How much of the mutual-information term counts: fixed, annealed, or learned from what it brings."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from envs.errors import ConfigError

EXPLORATION = 1.0  # weight of the confidence bound, in standard deviations of the payoff


@dataclass(frozen=True)
class WeightParams:
    """The factor on both weights over time."""

    rule: Literal["fixed", "annealed", "learned"]
    start_env_steps: int  # steps of single worlds before which the term is off
    start_episodes: int  # finished episodes before which the term is off
    final_factor: float  # annealed: factor at the end; it begins with 1
    anneal_env_steps: int  # annealed: steps of single worlds in which the factor goes there, linearly, after the start
    factors: tuple[float, ...]  # learned: what is chosen among
    period_episodes: int  # learned: episodes between two choices
    window_periods: int  # learned: periods that are remembered

    def __post_init__(self) -> None:
        for name in ("start_env_steps", "start_episodes", "final_factor"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: expected 0 or more")
        if self.rule == "annealed" and self.anneal_env_steps < 1:
            raise ConfigError(f"anneal_env_steps = {self.anneal_env_steps}: expected 1 or more to anneal")
        if self.rule != "learned":
            return
        if len(self.factors) < 2 or min(self.factors) < 0.0:
            raise ConfigError(f"factors = {list(self.factors)}: expected two or more, none below 0, to choose among")
        if self.period_episodes < 1 or self.window_periods < len(self.factors):
            raise ConfigError(
                f"period_episodes = {self.period_episodes}, window_periods = {self.window_periods}: expected at least "
                f"1 episode a period and a window of {len(self.factors)} periods, one for each factor"
            )


class Factor:
    """The factor on the term's weights.

    The learned rule is a bandit with a sliding window: a factor is kept for a period, its payoff is how much the mean
    return of the environment, without the term, rose against the period before. So the weights serve the task and not
    the term, need no gradient through learning, and follow as the best factor changes in the course of a run.
    [Garivier and Moulines, On Upper-Confidence Bound Policies for Switching Bandit Problems, 2011; Badia et al.,
    Agent57, 2020, chooses the weight of an exploration bonus so]
    """

    def __init__(self, params: WeightParams) -> None:
        self.params = params
        self.arm = 0
        self._period: list[float] = []
        self._before: float | None = None  # mean return of the period before
        self._payoffs: deque[tuple[int, float]] = deque(maxlen=params.window_periods)

    def value(self, env_steps: int, n_episodes: int) -> float:
        """Return the factor after so many steps of single worlds and finished episodes."""
        params = self.params
        if env_steps < params.start_env_steps or n_episodes < params.start_episodes:
            return 0.0
        if params.rule == "learned":
            return params.factors[self.arm]
        if params.rule == "annealed":
            progress = min(1.0, (env_steps - params.start_env_steps) / params.anneal_env_steps)
            return 1.0 + (params.final_factor - 1.0) * progress
        return 1.0

    def observe(self, total: float) -> None:
        """Take in the return of an episode; at the end of a period choose a factor for the next."""
        if self.params.rule != "learned":
            return
        self._period.append(total)
        if len(self._period) < self.params.period_episodes:
            return
        mean, self._period = float(np.mean(self._period)), []
        if self._before is not None:
            self._payoffs.append((self.arm, mean - self._before))
            self.arm = self._choice()
        self._before = mean

    def _choice(self) -> int:
        """Return the arm with the highest upper confidence bound; arms outside the window come first."""
        payoffs = np.array([payoff for _, payoff in self._payoffs])
        scale = float(payoffs.std()) or 1.0
        bounds = []
        for arm in range(len(self.params.factors)):
            own = [payoff for other, payoff in self._payoffs if other == arm]
            if not own:
                return arm
            bounds.append(float(np.mean(own)) / scale + EXPLORATION * math.sqrt(math.log(len(payoffs)) / len(own)))
        return int(np.argmax(bounds))

    def get_state(self) -> dict[str, Any]:
        """Return what was learned."""
        return {
            "arm": self.arm,
            "period": list(self._period),
            "before": self._before,
            "payoffs": list(self._payoffs),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what was learned."""
        self.arm, self._period, self._before = state["arm"], list(state["period"]), state["before"]
        self._payoffs = deque(state["payoffs"], maxlen=self.params.window_periods)
