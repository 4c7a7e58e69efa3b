"""Log probabilities of perceptrons' decisions and their gradient, one row after another; see ``row_policy``.

Small batches of many clients are bound by what a call costs: a graph of torch takes half a millisecond, whatever the
number of rows. Gradients are added in float64, in the order of the rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_rllib.runners.row_policy import ELU, HALF_LOG_TWO_PI, RELU, TANH, Network, forward
from envs.accelerate import inlined, kernel
from envs.arrays import BOOL, F4, F8, I8

HAS_SCORES = (RELU, TANH, ELU)  # activations whose slope is known from their value


@kernel
def log_prob_rows(
    logp: F4,
    values: F4,
    probs: F4,
    observation: F4,
    mask: BOOL,
    target: I8,
    amounts: F4,
    is_choice: BOOL,
    widths: I8,
    mean: F4,
    std: F4,
    limits: F8,
    own: F4,
    activation: int,
) -> None:
    """Write log pi of decisions (T, E) where something was chosen, and what ``score_rows`` needs of these R rows.

    Changed are ``logp`` (T, E), ``values`` (R, sum of widths) and ``probs`` (R, K) of the targets. The rest is as in
    ``Streams`` and in ``row_policy.decide``; ``own`` (d,) are the parameters.
    """
    network = Network(
        widths, activation, mean, std, limits[0], limits[1], limits[2], limits[3], limits[4], limits[5], limits[6]
    )
    n_targets, n_amounts = mask.shape[2], amounts.shape[2]
    outputs_at = values.shape[1] - widths[widths.size - 1]
    r = 0
    for t in range(is_choice.shape[0]):
        for e in range(is_choice.shape[1]):
            if not is_choice[t, e]:
                continue
            forward(values[r], observation[t, e], network, own)
            logits = values[r, outputs_at : outputs_at + n_targets]
            best = np.float32(network.masked_logit)
            for k in range(n_targets):
                if not mask[t, e, k]:
                    logits[k] = np.float32(network.masked_logit)
                best = max(best, logits[k])
            total = 0.0
            for k in range(n_targets):
                probs[r, k] = math.exp(logits[k] - best)
                total += probs[r, k]
            for k in range(n_targets):
                probs[r, k] = probs[r, k] / total
            found = float(logits[target[t, e]] - best) - math.log(total)
            for a in range(n_amounts):
                at = outputs_at + n_targets + target[t, e] * n_amounts + a
                log_std = float(own[own.size - n_amounts + a])
                found += _density(float(amounts[t, e, a]), float(values[r, at]), log_std, network)
            logp[t, e] = found
            r += 1


@inlined
def _density(amount: float, mean: float, log_std: float, network: Network) -> float:
    """Return the log density of an amount; see ops.hybrid."""
    span = network.high - network.low
    unit = min(1.0 - network.edge, max(network.edge, (amount - network.low) / span))
    log_std = min(network.log_std_high, max(network.log_std_low, log_std))
    deviation = (0.5 * math.log(unit / (1.0 - unit)) - mean) / math.exp(log_std)
    log_slope = math.log(2.0 * span) + math.log(unit) + math.log(1.0 - unit)
    return -0.5 * deviation * deviation - log_std - HALF_LOG_TWO_PI - log_slope


@kernel
def score_rows(
    gradient: F8,
    delta: F4,
    weight: F4,
    values: F4,
    probs: F4,
    target: I8,
    amounts: F4,
    is_choice: BOOL,
    widths: I8,
    limits: F8,
    own: F4,
    activation: int,
) -> None:
    """Add the gradient (d,) of the sum of weights (T, E) times log probabilities to ``gradient``.

    ``delta`` (2, largest width) is changed, too; ``values`` and ``probs`` are those of ``log_prob_rows``.
    """
    n_targets, n_amounts = probs.shape[1], amounts.shape[2]
    outputs_at = values.shape[1] - widths[widths.size - 1]
    n_layers = widths.size - 1
    r = -1
    for t in range(is_choice.shape[0]):
        for e in range(is_choice.shape[1]):
            if not is_choice[t, e]:
                continue
            r += 1
            if weight[t, e] == 0.0:
                continue
            of_outputs = delta[n_layers & 1]
            for j in range(widths[n_layers]):
                of_outputs[j] = -weight[t, e] * probs[r, j] if j < n_targets else np.float32(0.0)
            of_outputs[target[t, e]] += weight[t, e]
            for a in range(n_amounts):
                at = n_targets + target[t, e] * n_amounts + a
                mean, amount = float(values[r, outputs_at + at]), float(amounts[t, e, a])
                of_mean, of_log_std = _density_slopes(amount, mean, float(own[own.size - n_amounts + a]), limits)
                of_outputs[at] = weight[t, e] * of_mean
                gradient[gradient.size - n_amounts + a] += weight[t, e] * of_log_std
            _backward(gradient[: gradient.size - n_amounts], delta, values[r], widths, own, activation)


@inlined
def _density_slopes(amount: float, mean: float, log_std: float, limits: F8) -> tuple[float, float]:
    """Return the derivatives of ``_density`` by the mean and by the log deviation, zero where that is cut."""
    low, high, least, most, edge = limits[2], limits[3], limits[4], limits[5], limits[6]
    unit = min(1.0 - edge, max(edge, (amount - low) / (high - low)))
    std = math.exp(min(most, max(least, log_std)))
    deviation = (0.5 * math.log(unit / (1.0 - unit)) - mean) / std
    of_log_std = deviation * deviation - 1.0 if least <= log_std <= most else 0.0
    return deviation / std, of_log_std


@inlined
def _slope(value: Any, activation: int) -> Any:
    """Return the slope of an activation where it has a value."""
    if activation == TANH:
        return np.float32(1.0) - value * value
    if activation == ELU:
        return np.float32(1.0) if value > 0.0 else value + np.float32(1.0)
    return np.float32(1.0) if value > 0.0 else np.float32(0.0)


@inlined
def _backward(gradient: F8, delta: F4, values: F4, widths: I8, own: F4, activation: int) -> None:
    """Add a row's gradient (d - A,), from that of the outputs back to the first layer."""
    behind, values_behind = gradient.size, values.size
    for back in range(widths.size - 1):
        layer = widths.size - 2 - back
        n_inputs, n_outputs = widths[layer], widths[layer + 1]
        at = behind - n_outputs * (n_inputs + 1)
        inputs = values[values_behind - n_outputs - n_inputs : values_behind - n_outputs]
        now, before = delta[(layer + 1) & 1], delta[layer & 1]
        of_biases = gradient[at : at + n_outputs]
        for j in range(n_outputs):
            of_biases[j] += now[j]
        for f in range(n_inputs):
            first = at + n_outputs * (f + 1)
            of_weights, value = gradient[first : first + n_outputs], inputs[f]
            for j in range(n_outputs):
                of_weights[j] += value * now[j]
            if layer > 0:
                weights, total = own[first : first + n_outputs], np.float32(0.0)
                for j in range(n_outputs):
                    total += weights[j] * now[j]
                before[f] = total * _slope(value, activation)
        behind, values_behind = at, values_behind - n_outputs
