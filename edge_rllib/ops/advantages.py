"""Returns and advantages from fragments, time first.

Three ways in which a fragment's step has no successor within the fragment are kept apart: a *termination* has the
value 0 behind it; a *truncation* has the value of the final observation behind it; a *cut* (the fragment's last step)
has the value of the next observation behind it. The caller puts the latter two into ``next_values``; here a
termination removes the value behind a step, and both endings stop the flow of later rewards.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lambda_: float,
) -> Tensor:
    """Return generalised advantage estimates, shaped like ``rewards`` (T, ...).

    ``values`` and ``next_values`` (T, ...) are those of the observation before and after each step, the final
    observation after a truncation. ``terminated`` and ``truncated`` are bool and broadcast against ``rewards``.
    [Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage Estimation, 2016, eq. 16]
    """
    delta = rewards + gamma * next_values.masked_fill(terminated, 0.0) - values
    keep = (~(terminated | truncated)).to(delta.dtype) * (gamma * lambda_)
    advantages = torch.empty_like(delta)
    later = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        later = torch.addcmul(delta[t], keep[t], later)
        advantages[t] = later
    return advantages


def n_step(
    rewards: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, n_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``(returns, discounts, last)`` of up to ``n_steps`` steps from each step, each (T, ...).

    ``returns`` sums the discounted rewards of the steps t .. last; ``last`` (int64) is the step of an ending, of the
    fragment's end, or t + n_steps - 1. The target is ``returns + discounts * value behind step last``; the discount is
    0 behind a termination.
    """
    n_total = len(rewards)
    ended = (terminated | truncated).expand_as(rewards)
    died = terminated.expand_as(rewards)
    returns, discounts, last = torch.empty_like(rewards), torch.empty_like(rewards), torch.empty_like(rewards).long()
    for t in range(n_total):
        total, discount = torch.zeros_like(rewards[t]), torch.ones_like(rewards[t])
        alive = torch.ones_like(ended[t])
        stop = torch.full_like(last[t], t)
        for s in range(t, min(t + n_steps, n_total)):
            total = torch.where(alive, total + discount * rewards[s], total)
            discount = torch.where(alive, discount * gamma, discount)
            stop = torch.where(alive, torch.full_like(stop, s), stop)
            discount = torch.where(alive & died[s], torch.zeros_like(discount), discount)
            alive = alive & ~ended[s]
        returns[t], discounts[t], last[t] = total, discount, stop
    return returns, discounts, last
