"""How a client estimates the gradient of its expected return from a few episodes.

Without a correction every round has a large batch, v = g(theta). With one, most rounds have a small batch whose noise
is that of a difference, v = u + g(theta) - g(theta'), where the second gradient is reweighted to the older policy
theta' and u is what is known of the gradient there:
  page   u is the last aggregate and theta' the parameters before the last step; a coin, the same for all clients,
         makes a round large.
  svrpg  u is the aggregate of the last large round and theta' its parameters; every so many rounds is large.
  scsg   the same, with a geometric number of small rounds of mean large / small batch behind each large one.

The value baseline is fitted anew to each batch, to the other episodes of it, and is no network: so it is unbiased from
the first round on, a client stays a function of what it is told, and there is no critic that liars could spoil.

With ``local_steps`` a client sends no gradient but the way that its parameters went in so many steps of its own, up the
clipped objective on the round's batch: the server steps along the aggregate of ways, sgd at rate 1 for FedAvg, adam for
FedAdam. [McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017; Reddi et al.,
Adaptive Federated Optimization, 2021]

[Gargiani et al., PAGE-PG, 2022; Papini et al., Stochastic variance-reduced policy gradient, 2018; Fan et al.,
Fault-Tolerant Federated Reinforcement Learning with Theoretical Guarantee, 2021]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edge_rllib.federated.episodes import Streams
from edge_rllib.federated.scores import scores
from edge_rllib.federated.vectors import load_vector, vector_of
from edge_rllib.ops import policy_gradient as pg
from envs.errors import ConfigError


@dataclass(frozen=True)
class EstimatorParams:
    """Values of an estimator."""

    form: Literal["reinforce", "gpomdp"]  # weights: the whole return, or what is earned from a step on
    # time_mean: of the other episodes at the same step; value: a function of the step, fitted to the other episodes
    baseline: Literal["none", "time_mean", "value"]
    normalise: bool  # weights at unit deviation: another length of the step in each batch
    gamma: float
    correction: Literal["none", "page", "svrpg", "scsg"]
    is_per_decision: bool  # reweigh each reward by the ratio up to its step; else each episode by its whole ratio
    most_ratio: float  # larger ratios are cut to it
    least_effective_share: float  # of the small batch: below it, in the median of clients, the next round is large
    large_episodes: int  # of a client in a large round
    small_episodes: int  # of a client in a small round
    large_prob: float  # page: chance of a large round
    epoch_rounds: int  # svrpg: small rounds behind a large one
    gae_lambda: float  # of the value baseline; below 1 less variance for some bias
    # the mean ratio of a decision further from 1 than this makes the next round large; FedPG-BR's code has 0.005
    most_ratio_drift: float
    local_steps: int  # of a client's own Adam up the clipped objective; 0: it sends the gradient
    local_learning_rate: float
    local_clip: float  # of the ratio of a decision's probabilities

    def __post_init__(self) -> None:
        if not (0.0 < self.gamma <= 1.0 and 0.0 < self.large_prob <= 1.0):
            raise ConfigError(f"gamma = {self.gamma}, large_prob = {self.large_prob}: expected values in (0, 1]")
        for name in ("large_episodes", "small_episodes", "epoch_rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: expected 1 or more")
        if not (self.most_ratio >= 1.0 and 0.0 <= self.least_effective_share <= 1.0):
            raise ConfigError(
                f"most_ratio = {self.most_ratio}, least_effective_share = {self.least_effective_share}: expected a "
                "number from 1 and a share in [0, 1]"
            )
        if not (0.0 <= self.gae_lambda <= 1.0 and self.most_ratio_drift > 0.0):
            raise ConfigError(
                f"gae_lambda = {self.gae_lambda}, most_ratio_drift = {self.most_ratio_drift}: expected a number in "
                "[0, 1] and a positive one"
            )
        if not (self.local_steps >= 0 and self.local_learning_rate > 0.0 and self.local_clip > 0.0):
            raise ConfigError(
                f"local_steps = {self.local_steps}, local_learning_rate = {self.local_learning_rate}, "
                f"local_clip = {self.local_clip}: expected 0 or more steps, a positive rate and a positive clip"
            )
        self._check_pairs()

    def _check_pairs(self) -> None:
        """Refuse values that do not go together, with ConfigError."""
        if self.form == "reinforce" and self.correction != "none":
            raise ConfigError(f"form = reinforce with correction = {self.correction}: expected form = gpomdp")
        if self.baseline != "none" and min(self.large_episodes, self.small_episodes) < 2:
            raise ConfigError(
                f"baseline = {self.baseline}: needs 2 episodes in every round, of which one judges the other"
            )
        if self.baseline == "value" and self.form != "gpomdp":
            raise ConfigError(f"baseline = value with form = {self.form}: expected form = gpomdp")
        if self.gae_lambda < 1.0 and (self.baseline != "value" or self.correction != "none"):
            raise ConfigError(
                f"gae_lambda = {self.gae_lambda} with baseline = {self.baseline}, correction = {self.correction}: "
                "expected baseline = value and correction = none"
            )
        if self.local_steps and self.correction != "none":
            raise ConfigError(f"local_steps = {self.local_steps} with correction = {self.correction}: expected none")

    @property
    def mean_small_rounds(self) -> float:
        """Return the mean number of small rounds behind a large one."""
        means = {
            "none": 0.0,
            "page": (1.0 - self.large_prob) / self.large_prob,
            "svrpg": float(self.epoch_rounds),
            "scsg": self.large_episodes / self.small_episodes,
        }
        return means[self.correction]


class Plan:
    """Says of each round whether its batches are large; all clients follow the same plan."""

    def __init__(self, params: EstimatorParams, seed: int) -> None:
        """Begin with a large round."""
        self.params = params
        self._coin = np.random.default_rng(seed)
        self._n_left = 0  # small rounds until the next large one; of page the coin decides
        self._is_first = True

    def next(self, effective_share: float) -> bool:
        """Return whether the next round is large, given the effective share of the last one (1 where there is none)."""
        params = self.params
        toss = float(self._coin.random())  # in every round, so that what one round does leaves the others' coins alone
        is_spent = effective_share < params.least_effective_share or effective_share == 0.0
        is_large = self._is_first or params.correction == "none" or is_spent
        is_large = is_large or (toss < params.large_prob if params.correction == "page" else self._n_left == 0)
        self._is_first = False
        if is_large and params.correction == "svrpg":
            self._n_left = params.epoch_rounds
        elif is_large and params.correction == "scsg":
            stop = params.small_episodes / (params.large_episodes + params.small_episodes)
            self._n_left = int(np.floor(np.log1p(-toss) / np.log1p(-stop)))
        elif not is_large:
            self._n_left -= 1
        return is_large

    def get_state(self) -> dict[str, Any]:
        """Return what the next rounds depend on."""
        return {"coin": self._coin.bit_generator.state, "n_left": self._n_left, "is_first": self._is_first}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._coin.bit_generator.state = state["coin"]
        self._n_left, self._is_first = state["n_left"], state["is_first"]


class Estimate(NamedTuple):
    """What a client found in its episodes."""

    vector: Tensor  # (d,)
    effective_share: float  # of a small batch, 0 where the policy has gone too far; 1 for a large one


def weights_of(params: EstimatorParams, streams: Streams, n_members: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Return discounted rewards, baseline and the weights of the decisions less it, (T, E) each.

    ``n_members`` neighbouring streams are agents of one episode.
    """
    is_alive = streams.is_alive
    rewards = pg.discounted(streams.reward, is_alive, params.gamma)
    weights = pg.reinforce(rewards) if params.form == "reinforce" else pg.gpomdp(rewards)
    if params.baseline == "time_mean":
        baseline = pg.mean_of_others(weights, is_alive, n_members)
    elif params.baseline == "value":
        to_go = pg.returns(streams.reward, is_alive, params.gamma)
        value = pg.value_of_others(to_go, streams.observation, is_alive, n_members)
        baseline = pg.discounted(value, is_alive, params.gamma)
    else:
        baseline = torch.zeros_like(weights)
    if params.gae_lambda < 1.0:
        return rewards, baseline, pg.advantages(rewards, baseline, is_alive, params.gae_lambda)
    return rewards, baseline, weights - baseline


def estimate(params: EstimatorParams, module: Any, streams: Streams, n_members: int = 1) -> Estimate:
    """Return the gradient of the expected return of the policy that played, or the way of its own steps."""
    rewards, _, weights = weights_of(params, streams, n_members)
    if params.normalise:
        weights = pg.at_unit_deviation(weights, pg.to_go(rewards), streams.is_choice)
    find = _local_way if params.local_steps else _gradient
    return Estimate(find(params, module, streams, weights), 1.0)


def corrected(
    params: EstimatorParams, module: Any, older: Any, known: Tensor, streams: Streams, n_members: int = 1
) -> Estimate:
    """Return ``known`` (d,), the gradient of the older policy, moved to that of the policy that played."""
    rewards, baseline, weights = weights_of(params, streams, n_members)
    older_scores = scores(older, streams)
    log_ratio = older_scores.logp - torch.where(streams.is_choice, streams.logp, 0.0)
    reweighted = pg.reweighted(
        rewards, baseline, log_ratio, streams.is_alive, params.is_per_decision, params.most_ratio
    )
    if params.normalise:
        both, is_choice = torch.stack((weights, reweighted)), streams.is_choice.expand(2, -1, -1)
        scaled = pg.at_unit_deviation(both, pg.to_go(rewards).expand_as(both), is_choice)
        weights, reweighted = scaled.unbind()
    now = _gradient(params, module, streams, weights)
    then = older_scores.gradient(reweighted / streams.n_streams)
    drift = abs(float(log_ratio[streams.is_choice].exp().mean()) - 1.0)
    share = float(pg.effective_share(log_ratio, streams.is_alive, params.most_ratio))
    return Estimate(known + now - then, share if drift <= params.most_ratio_drift else 0.0)


def _gradient(params: EstimatorParams, module: Any, streams: Streams, weights: Tensor) -> Tensor:
    return scores(module, streams).gradient(weights / streams.n_streams)


def _local_way(params: EstimatorParams, module: Any, streams: Streams, weights: Tensor) -> Tensor:
    """Return how far (d,) steps on the whole batch move the parameters; the module keeps its own."""
    start, moved = vector_of(module), vector_of(module)
    optimizer = torch.optim.Adam([moved], params.local_learning_rate, maximize=True)
    drawn = torch.where(streams.is_choice, streams.logp, 0.0)
    for _ in range(params.local_steps):
        found = scores(module, streams)
        slopes = pg.clipped_slopes(found.logp - drawn, weights, params.local_clip)
        moved.grad = found.gradient(torch.where(streams.is_choice, slopes, 0.0) / streams.n_streams)
        optimizer.step()
        load_vector(module, moved)
    load_vector(module, start)
    return moved - start
