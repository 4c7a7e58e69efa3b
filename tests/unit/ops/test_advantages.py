from __future__ import annotations

import numpy as np
import pytest
import torch
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets

from edge_rllib.ops.advantages import gae, n_step

GAMMA, LAMBDA = 0.5, 0.5


def column(*values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype)


def flags(*values):
    return column(*values, dtype=torch.bool)


NEVER = flags(0, 0, 0)


def test_gae_of_a_cut_fragment_uses_the_value_behind_it():
    # A_2 = 3 + 0.5 * 4 - 3 = 2; A_1 = 2 + 0.5 * 3 - 2 + 0.25 * 2 = 2; A_0 = 1 + 0.5 * 2 - 1 + 0.25 * 2 = 1.5
    advantages = gae(column(1, 2, 3), column(1, 2, 3), column(2, 3, 4), NEVER, NEVER, GAMMA, LAMBDA)
    assert advantages.tolist() == [1.5, 2.0, 2.0]


def test_gae_sees_no_value_behind_a_termination_and_nothing_flows_back_over_it():
    # A_1 = 2 + 0 - 2 = 0; A_0 = (1 + 0.5 * 2 - 1) + 0.25 * 0 = 1; step 2 starts an episode
    advantages = gae(column(1, 2, 3), column(1, 2, 3), column(2, 9, 4), flags(0, 1, 0), NEVER, GAMMA, LAMBDA)
    assert advantages.tolist() == [1.0, 0.0, 2.0]


def test_gae_bootstraps_a_truncation_from_the_value_given_and_nothing_flows_back_over_it():
    # A_1 = 2 + 0.5 * 8 - 2 = 4; A_0 = 1 + 0.25 * 4 = 2
    advantages = gae(column(1, 2, 3), column(1, 2, 3), column(2, 8, 4), NEVER, flags(0, 1, 0), GAMMA, LAMBDA)
    assert advantages.tolist() == [2.0, 4.0, 2.0]


def test_gae_equals_rllibs_own_on_random_endings():
    rng = np.random.default_rng(1)
    n_steps = 60
    terminated = rng.random(n_steps) < 0.1
    truncated = (rng.random(n_steps) < 0.1) & ~terminated
    rewards, values, bootstrap = rng.normal(size=(3, n_steps)).astype(np.float32)
    cut = float(rng.normal())
    next_values = np.where(truncated, bootstrap, np.append(values[1:], cut)).astype(np.float32)
    ours = gae(*map(torch.from_numpy, (rewards, values, next_values, terminated, truncated)), 0.97, 0.9).numpy()

    # RLlib wants an artificial step behind each part of an episode, which holds the bootstrap value
    parts = {name: [] for name in ("values", "rewards", "terminateds", "truncateds")}
    kept = []
    for t in range(n_steps):
        kept.append(len(parts["values"]))
        is_end = terminated[t] or truncated[t] or t == n_steps - 1
        rows = [(values[t], rewards[t], terminated[t], is_end and not terminated[t])]
        rows += [(next_values[t], 0.0, False, False)] if is_end else []
        for row in rows:
            for name, value in zip(parts, row, strict=True):
                parts[name].append(value)
    arrays = {name: np.asarray(part) for name, part in parts.items()}
    targets = compute_value_targets(**arrays, gamma=0.97, lambda_=0.9)
    np.testing.assert_allclose(ours, (targets - arrays["values"])[kept], atol=2e-6)


def test_n_step_stops_at_cuts_truncations_and_terminations():
    rewards = column(1, 2, 4, 8)
    returns, discounts, last = n_step(rewards, flags(0, 0, 0, 0), flags(0, 0, 0, 0), GAMMA, 2)
    assert returns.tolist() == [2.0, 4.0, 8.0, 8.0]  # 1 + 0.5 * 2, 2 + 0.5 * 4, 4 + 0.5 * 8, 8
    assert discounts.tolist() == [0.25, 0.25, 0.25, 0.5]
    assert last.tolist() == [1, 2, 3, 3]

    returns, discounts, last = n_step(rewards, flags(0, 1, 0, 0), flags(0, 0, 1, 0), GAMMA, 3)
    assert returns.tolist() == [2.0, 2.0, 4.0, 8.0]
    assert discounts.tolist() == [0.0, 0.0, 0.5, 0.5]  # none behind a termination, one step behind the truncation
    assert last.tolist() == [1, 1, 2, 3]


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4)])
def test_gae_broadcasts_endings_over_agents(shape):
    torch.manual_seed(0)
    rewards, values, next_values = torch.randn(3, *shape)
    ended = torch.tensor([False, True, False]).reshape(3, *[1] * (len(shape) - 1))
    advantages = gae(rewards, values, next_values, ended, torch.zeros_like(ended), GAMMA, LAMBDA)
    first = gae(
        rewards.reshape(3, -1)[:, 0], values.reshape(3, -1)[:, 0], next_values.reshape(3, -1)[:, 0],
        ended.flatten(), NEVER, GAMMA, LAMBDA,
    )  # fmt: skip
    torch.testing.assert_close(advantages.reshape(3, -1)[:, 0], first)
