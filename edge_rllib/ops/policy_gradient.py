"""Weights of the log probabilities whose sum's gradient estimates that of the expected return.

Rows are steps T of streams E: an agent's part in an episode, from its first step; ``is_alive`` (T, E) is false behind
an episode's end. All estimators have the form sum over t of w_t * grad log pi(a_t | s_t), averaged over streams, with
weights w (T, E) that are worked out here. Where decisions were drawn from another policy than the one whose gradient is
sought, ``log_ratio`` (T, E) is log pi(a | s) of that one less that of the one that drew; products of ratios are sums of
it, since products of hundreds of small numbers would vanish.

A baseline may be anything that does not depend on the stream's own decisions: then it leaves the estimate unbiased.
Agents of one episode move each other's rewards, so that other streams are those of other episodes: ``n_members``
neighbouring streams are agents of the same one.

[Williams, Simple statistical gradient-following algorithms, 1992; Baxter and Bartlett, Infinite-horizon policy-gradient
estimation, 2001; Papini et al., Stochastic variance-reduced policy gradient, 2018; Gargiani et al., PAGE-PG, 2022]
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Of what is earned, in root mean square: equal episodes leave up to 4e-5 of it, by rounding and by the value's misfit,
# and one of ten that is a step of a thousand shorter leaves 6e-4.
LEAST_SHARE = 1e-4
N_TIME_POWERS = 4
STEP_SCALE = 100.0  # steps that the powers of time are counted in, as Duan et al. have it
MOST_CROSSED = 12  # features whose products the value sees too: 12 have 66
RIDGE = 0.001  # of what each feature adds to the squares, whatever its unit
# The powers of time carry the mean. Held down as the others they leave some of it to the squares of features, and a
# value that rises with the distance from the centre drives policies there as soon as gae_lambda is below 1.
TIME_RIDGE = 1e-6


def discounted(reward: Tensor, is_alive: Tensor, gamma: float) -> Tensor:
    """Return the rewards (T, E) discounted from each stream's start, zero behind its end."""
    steps = torch.arange(len(reward), dtype=reward.dtype, device=reward.device)
    return torch.where(is_alive, reward, 0.0) * (gamma**steps).unsqueeze(-1)


def to_go(values: Tensor) -> Tensor:
    """Return the sum of each step's value and all behind it, (T, E)."""
    return values.flip(0).cumsum(0).flip(0)


def reinforce(rewards: Tensor) -> Tensor:
    """Return the whole return of its stream for every step, (T, E), of discounted rewards."""
    return rewards.sum(0).expand_as(rewards)


def gpomdp(rewards: Tensor) -> Tensor:
    """Return the rewards from each step on, (T, E), of discounted rewards: what came before it cannot depend on it."""
    return to_go(rewards)


def returns(reward: Tensor, is_alive: Tensor, factor: float) -> Tensor:
    """Return the sum of each step's value and all behind it, (T, E), those k steps behind it times ``factor ** k``.

    Spans are doubled: log T passes, in which no power of the factor is divided by.
    """
    total, span = torch.where(is_alive, reward, 0.0), 1
    while span < len(total):
        total = torch.cat((total[:-span] + factor**span * total[span:], total[-span:]))
        span *= 2
    return total


def mean_of_others(weights: Tensor, is_alive: Tensor, n_members: int = 1) -> Tensor:
    """Return the mean weight of the other streams that are alive at the step, (T, E); zero where there is none."""
    total = _of_others(torch.where(is_alive, weights, 0.0), n_members)
    n_others = _of_others(is_alive.long(), n_members)
    return torch.where(n_others > 0, total / n_others.clamp_min(1), 0.0)


def value_of_others(targets: Tensor, observation: Tensor, is_alive: Tensor, n_members: int = 1) -> Tensor:
    """Return a value of each step (T, E), zero behind the end, learned from the other streams' ``targets`` (T, E).

    It is linear in the observation (T, E, F), its squares and powers of time, with few features also in their products,
    fitted by least squares, and kept within the targets that it was fitted to. There must be two episodes. [Duan et
    al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, who have no products]
    """
    features = _features(observation) * is_alive.unsqueeze(-1)  # (T, E, P)
    targets = torch.where(is_alive, targets, 0.0).double()
    by_stream = features.transpose(0, 1)
    squares = _of_others((by_stream.mT @ by_stream).permute(1, 2, 0), n_members).permute(2, 0, 1)  # (E, P, P)
    products = _of_others(torch.einsum("tep,te->pe", features, targets), n_members).mT  # (E, P)
    own = squares.diagonal(dim1=-2, dim2=-1)
    held = torch.full_like(own, RIDGE)
    held[:, -N_TIME_POWERS:] = TIME_RIDGE
    ridge = torch.diag_embed((held * own).clamp_min(torch.finfo(own.dtype).eps))
    slopes = torch.linalg.solve(squares + ridge, products)
    least = _extreme_of_others(torch.where(is_alive, targets, torch.inf).amin(0), n_members)
    most = -_extreme_of_others(-torch.where(is_alive, targets, -torch.inf).amax(0), n_members)
    values = torch.einsum("tep,ep->te", features, slopes).clamp(least, most)
    return torch.where(is_alive, values, 0.0).to(observation.dtype)


def advantages(rewards: Tensor, baseline: Tensor, is_alive: Tensor, lambda_: float) -> Tensor:
    """Return generalised advantages (T, E) of discounted rewards and of values discounted alike.

    At 1 that is what is earned from a step on, less the baseline; below 1 what is far behind counts through the values
    alone, which is biased as they are. [Schulman et al., High-Dimensional Continuous Control Using Generalized
    Advantage Estimation, 2016]
    """
    baseline = torch.where(is_alive, baseline, 0.0)
    following = torch.cat((baseline[1:], torch.zeros_like(baseline[:1])))
    return returns(rewards + following - baseline, is_alive, lambda_)


def clipped_slopes(log_ratio: Tensor, weights: Tensor, clip: float) -> Tensor:
    """Return how the clipped objective of each decision rises with its log probability.

    That is the ratio of probabilities times the weight, and zero where the ratio has gone the weight's way beyond
    1 -+ ``clip``. ``log_ratio`` is log pi of the policy that is moved, less that of the one that drew. [Schulman et
    al., Proximal Policy Optimization Algorithms, 2017, equation 7]
    """
    ratio = log_ratio.exp()
    is_free = torch.where(weights > 0.0, ratio < 1.0 + clip, ratio > 1.0 - clip)
    return torch.where(is_free, ratio * weights, 0.0)


def at_unit_deviation(weights: Tensor, earned: Tensor, is_alive: Tensor) -> Tensor:
    """Return the weights over their deviation in all living rows: another length of the step, the same direction.

    ``earned`` is what they are of before a baseline is taken off. Where next to nothing of it is left, all episodes are
    the same and say nothing: then the weights are zero, since rounding errors at unit deviation are a step like any.
    """
    if not is_alive.any():
        return torch.zeros_like(weights)
    std = weights[is_alive].std(correction=0)
    is_told = std > LEAST_SHARE * earned[is_alive].square().mean().sqrt()
    return torch.where(is_told, weights / std, 0.0)


def from_start(log_ratio: Tensor, is_alive: Tensor, most: float) -> Tensor:
    """Return the ratio of the probabilities of all decisions up to each step, (T, E), at most ``most``."""
    total = torch.where(is_alive, log_ratio, 0.0).cumsum(0)
    return total.clamp_max(math.log(most)).exp()


def reweighted(
    rewards: Tensor, baseline: Tensor, log_ratio: Tensor, is_alive: Tensor, is_per_decision: bool, most: float
) -> Tensor:
    """Return the weights (T, E) of GPOMDP for a policy that did not draw the decisions.

    ``is_per_decision`` weighs each reward by the ratio up to its step; else each stream by its whole ratio, which
    varies more. ``baseline`` (T, E) must not depend on the stream's own decisions.
    """
    ratio = from_start(log_ratio, is_alive, most)
    if is_per_decision:
        return to_go(ratio * rewards) - ratio * baseline
    return ratio[-1] * (to_go(rewards) - baseline)


def effective_share(log_ratio: Tensor, is_alive: Tensor, most: float) -> Tensor:
    """Return the effective sample size of the streams' whole ratios over their number: 1 where all are the same."""
    total = torch.where(is_alive, log_ratio, 0.0).sum(0).clamp_max(math.log(most))
    return (2.0 * total.logsumexp(0) - (2.0 * total).logsumexp(0)).exp() / len(total)


def _of_others(values: Tensor, n_members: int) -> Tensor:
    """Return the sum over the streams (..., E) of other episodes, for each stream."""
    of_episodes = values.unflatten(-1, (-1, n_members)).sum(-1)
    others = of_episodes.sum(-1, keepdim=True) - of_episodes
    return others.repeat_interleave(n_members, -1)


def _extreme_of_others(values: Tensor, n_members: int) -> Tensor:
    """Return the least of the values (E,) in other episodes, for each stream."""
    of_episodes = values.unflatten(-1, (-1, n_members)).amin(-1)
    is_own = torch.eye(len(of_episodes), dtype=torch.bool, device=values.device)
    others = of_episodes.expand(len(of_episodes), -1).masked_fill(is_own, torch.inf).amin(-1)
    return others.repeat_interleave(n_members)


def _features(observation: Tensor) -> Tensor:
    """Return what the value sees of each step, (T, E, P): features, products of pairs or squares, powers of time."""
    seen = observation.double()
    n_features = seen.shape[-1]
    if n_features <= MOST_CROSSED:
        first, second = torch.triu_indices(n_features, n_features)
        products = seen[..., first] * seen[..., second]
    else:
        products = seen.square()
    time = torch.arange(len(seen), dtype=seen.dtype, device=seen.device) / STEP_SCALE
    powers = torch.stack([time**power for power in range(N_TIME_POWERS)], -1)
    return torch.cat((seen, products, powers.unsqueeze(1).expand(-1, seen.shape[1], -1)), -1)
