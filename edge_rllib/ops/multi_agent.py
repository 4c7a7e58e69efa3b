"""Mathematics of off-policy learning with central critics: targets, losses, relaxed decisions, moving copies.

Rows R are world-steps, N agents, K targets, A amounts of a decision, W the width of a decision as critics see it: one
number a target, unless there is only one, and the amounts. Losses are sums over rows divided by ``n_rows``, the rows of
all learners together: summed over learners they are the loss of the whole minibatch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def td_targets(returns: Tensor, discount: Tensor, behind: Tensor) -> Tensor:
    """Return ``returns`` (R, N) and, discounted by row (R,), the values (R, N) behind them."""
    return torch.addcmul(returns, discount.unsqueeze(-1), behind)


def twin_minimum(values: Sequence[Tensor]) -> Tensor:
    """Return the least of the critics' values, which counters their overestimation [Fujimoto et al. 2018, eq. 10]."""
    least = values[0]
    for other in values[1:]:
        least = torch.minimum(least, other)
    return least


def critic_loss(predictions: Sequence[Tensor], targets: Tensor, weight: Tensor, n_rows: int) -> Tensor:
    """Return the squared error (R, V) of each critic, weighted by row (R,), averaged over V values, added up."""
    scale = (weight / (n_rows * targets.shape[-1])).unsqueeze(-1)
    return torch.stack([(scale * (values - targets).square()).sum() for values in predictions]).sum()


def td_errors(predictions: Sequence[Tensor], targets: Tensor) -> Tensor:
    """Return each row's absolute error (R,), averaged over critics and values; what priorities are made of."""
    return torch.stack([(values - targets).abs().mean(-1) for values in predictions]).mean(0)


def smoothed(amounts: Tensor, noise: Tensor, std: float, largest: float, low: float, high: float) -> Tensor:
    """Return amounts with normal noise of deviation ``std``, cut at +-``largest``, within their bounds.

    A critic's peak that is narrower than the noise cannot be exploited [Fujimoto et al. 2018, eq. 14].
    """
    return (amounts + (std * noise).clamp_(-largest, largest)).clamp_(low, high)


def gumbel(uniform: Tensor) -> Tensor:
    """Return standard Gumbel noise from uniform numbers in [0, 1)."""
    least = torch.finfo(uniform.dtype).tiny
    return -(-uniform.clamp_min(least).log()).clamp_min(least).log()


def chosen_targets(log_probs: Tensor, noise: Tensor) -> Tensor:
    """Return a target of each distribution (..., K) as a one-hot vector, by the Gumbel-max trick."""
    best = (log_probs + noise).argmax(-1)
    return functional.one_hot(best, log_probs.shape[-1]).to(log_probs.dtype)


def straight_through(log_probs: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Return the same, with the gradient of the softmax at ``temperature`` [Jang, Gu and Poole 2017, section 2.2].

    A forbidden target, its logit at MASKED_LOGIT, is neither chosen nor has a gradient.
    """
    relaxed = torch.softmax((log_probs + noise) / temperature, -1)
    hard = functional.one_hot(relaxed.argmax(-1), log_probs.shape[-1]).to(log_probs.dtype)
    return hard + (relaxed - relaxed.detach())


def decisions_of(targets: Tensor, amounts: Tensor) -> Tensor:
    """Return decisions (..., W) of (relaxed) one-hot targets (..., K) and the amounts of each target (..., K, A)."""
    if amounts.shape[-1] == 0:
        return targets
    taken = (targets.unsqueeze(-1) * amounts).sum(-2)
    return taken if targets.shape[-1] == 1 else torch.cat((targets, taken), -1)


def decisions_of_each(amounts: Tensor) -> Tensor:
    """Return the decision (..., K, W) that each target stands for, with its own amounts (..., K, A)."""
    n_targets = amounts.shape[-2]
    if n_targets == 1:
        return amounts
    identity = torch.eye(n_targets, dtype=amounts.dtype, device=amounts.device)
    return torch.cat((identity.expand(*amounts.shape[:-1], n_targets), amounts), -1)


def released_coordinates(amounts: Tensor, n_servers: int) -> Tensor:
    """Return decisions (..., 2) in [-1, 1] as ExplabOff's released code stores them: server index and share.

    Its critic is trained on these, while its targets and policies see the numbers in [-1, 1].
    """
    server = ((amounts[..., :1] + 1.0) * (0.5 * n_servers)).floor()
    return torch.cat((server, (amounts[..., 1:] + 1.0) * 0.5), -1)


def expected(log_probs: Tensor, values: Tensor) -> Tensor:
    """Return the expectation (...,) of values (..., K) of targets under their distribution."""
    return (log_probs.exp() * values).sum(-1)


def policy_loss(values: Tensor, entropy: Tensor, entropy_coeff: float, n_rows: int) -> Tensor:
    """Return the loss whose descent raises values (R, V) and, by a coefficient, the entropy (R, N) of targets.

    Both are averaged over agents; a team has one value.
    """
    objective = values.sum() / values.shape[-1]
    if entropy_coeff:
        objective = objective + entropy_coeff * entropy.sum() / entropy.shape[-1]
    return -objective / n_rows


def temperature_loss(log_temperature: Tensor, entropy: Tensor, wanted: Tensor, n_rows: int) -> Tensor:
    """Return the loss that raises temperatures (N,) where the entropy (R, N) is below the wanted one (N,) or (R, N).

    The gradient by the logarithm is that of [Haarnoja et al. 2018b, eq. 18] without the factor of the temperature,
    which would slow it down as the temperature falls.
    """
    return (log_temperature * (entropy - wanted).detach()).sum() / n_rows


def normal_log_density(noise: Tensor, log_std: Tensor) -> Tensor:
    """Return the logarithm of a normal distribution's density at ``mean + std * noise``."""
    return -0.5 * noise.square() - log_std - HALF_LOG_TWO_PI


@torch.no_grad()
def polyak(mains: Iterable[nn.Module], copies: Iterable[nn.Module], rate: float) -> None:
    """Move the parameters of ``copies`` towards those of ``mains`` by a share ``rate``, in one call."""
    pairs = [
        pair
        for main, copy in zip(mains, copies, strict=True)
        for pair in zip(copy.parameters(), main.parameters(), strict=True)
    ]
    torch._foreach_lerp_([copy for copy, _ in pairs], [main for _, main in pairs], rate)
