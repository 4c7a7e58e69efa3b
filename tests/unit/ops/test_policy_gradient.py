"""Estimators of the gradient of the expected return, against values worked by hand and an exact gradient."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from edge_rllib.ops import policy_gradient as pg

ALIVE = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
REWARD = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 99.0], [8.0, 99.0, 99.0]], dtype=torch.float64)
# discounted by 1/2 from the start, nothing behind an end: 1, 2, 2; 2, 2.5; 3


def test_rewards_are_discounted_from_the_start_and_end_with_the_stream() -> None:
    assert pg.discounted(REWARD, ALIVE, 0.5).tolist() == [[1.0, 2.0, 3.0], [2.0, 2.5, 0.0], [2.0, 0.0, 0.0]]


def test_weights_of_reinforce_and_gpomdp() -> None:
    rewards = pg.discounted(REWARD, ALIVE, 0.5)

    assert pg.reinforce(rewards)[0].tolist() == pg.reinforce(rewards)[2].tolist() == [5.0, 4.5, 3.0]
    assert pg.gpomdp(rewards).tolist() == [[5.0, 4.5, 3.0], [4.0, 2.5, 0.0], [2.0, 0.0, 0.0]]


def test_the_baseline_is_the_mean_of_the_others_that_live() -> None:
    weights = pg.gpomdp(pg.discounted(REWARD, ALIVE, 0.5))

    found = pg.mean_of_others(weights, ALIVE)

    assert found[0].tolist() == [3.75, 4.0, 4.75]
    assert found[1, :2].tolist() == [2.5, 4.0]
    assert found[2, 0].item() == 0.0  # alone


def test_agents_of_one_episode_do_not_judge_each_other() -> None:
    # four streams, two agents in each of two episodes: the mean is that of the other episode's living agents
    weights = torch.tensor([[1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0]])
    alive = torch.tensor([[True, True, True, True], [True, True, True, False]])

    found = pg.mean_of_others(weights, alive, n_members=2)

    assert found.tolist() == [[6.0, 6.0, 1.5, 1.5], [4.0, 4.0, 1.5, 1.5]]


def test_sums_from_each_step_on_count_later_ones_less() -> None:
    # 4 + 8 / 2 = 8 and 1 + 8 / 2 = 5; 5 and 2 + 5 / 2 = 4.5
    assert pg.returns(REWARD, ALIVE, 0.5)[:, :2].tolist() == [[5.0, 4.5], [8.0, 5.0], [8.0, 0.0]]
    # powers of a half beyond what a number can hold do no harm: 1 + 1 / 2 + 1 / 4 + ... = 2
    long = torch.ones(3000, 1, dtype=torch.float64)
    found = pg.returns(long, torch.ones(3000, 1, dtype=torch.bool), 0.5)
    assert found[0].item() == pytest.approx(2.0)
    assert found[-2:, 0].tolist() == [1.5, 1.0]


def test_advantages_look_ahead_by_values() -> None:
    # rewards 1, 2, 4 and values 3, 1, 2: differences 1 + 1 - 3, 2 + 2 - 1, 4 - 2; the second stream ends earlier
    alive = torch.tensor([[True, True], [True, False], [True, False]])
    rewards = torch.tensor([[1.0, 5.0], [2.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    values = torch.tensor([[3.0, 2.0], [1.0, 7.0], [2.0, 7.0]], dtype=torch.float64)

    one_step, half, whole = (pg.advantages(rewards, values, alive, share) for share in (0.0, 0.5, 1.0))

    assert one_step.tolist() == [[-1.0, 3.0], [3.0, 0.0], [2.0, 0.0]]
    assert half.tolist() == [[-1.0 + 1.5 + 0.5, 3.0], [4.0, 0.0], [2.0, 0.0]]
    assert whole.tolist() == [[7.0 - 3.0, 3.0], [6.0 - 1.0, 0.0], [2.0, 0.0]]


def test_a_value_is_fitted_to_the_other_streams() -> None:
    # targets are 3 x - 2 x ** 2 + 1 + 50 t / 100, of which the fit knows all terms; the ridge takes next to nothing
    draw = torch.rand(30, 40, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alive = torch.ones(30, 40, dtype=torch.bool)
    alive[20:, 7] = False
    time = torch.arange(30, dtype=torch.float64).unsqueeze(-1)
    targets = 3.0 * draw[..., 0] - 2.0 * draw[..., 0] ** 2 + 1.0 + 0.5 * time

    found = pg.value_of_others(targets, draw, alive)

    assert (found - targets)[alive].square().mean() < 1e-4 * targets.var()
    assert not found[20:, 7].any()


@pytest.mark.parametrize("n_features", [2, 13])
def test_a_value_of_what_depends_on_time_alone_is_flat_in_the_features(n_features: int) -> None:
    # a pole that is always up: 500 - t are left to earn, wherever the cart is
    draw = torch.randn(400, 5, n_features, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    targets = (500.0 - torch.arange(400, dtype=torch.float64)).unsqueeze(-1).expand(-1, 5)

    found = pg.value_of_others(targets, draw, torch.ones(400, 5, dtype=torch.bool))

    # powers of time that are held down like the features leave 55 too little at the centre, and 26 too much aside
    assert (found - targets).abs().max() < 1.0


def test_a_value_knows_products_of_few_features() -> None:
    draw = torch.randn(60, 6, 13, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    alive = torch.ones(60, 6, dtype=torch.bool)
    targets = draw[..., 0] * draw[..., 1]

    few, many = (pg.value_of_others(targets, draw[..., :n], alive) for n in (12, 13))

    assert (few - targets).square().mean() < 0.05 * targets.var()  # the largest are beyond what the others have seen
    assert (many - targets).square().mean() > 0.9 * targets.var()


def test_a_value_does_not_know_its_own_stream() -> None:
    generator = torch.Generator().manual_seed(1)
    observation = torch.randn(12, 6, 2, generator=generator, dtype=torch.float64)
    targets = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    alive = torch.ones(12, 6, dtype=torch.bool)
    other = targets.clone()
    other[:, 2] += 1000.0

    alone = [pg.value_of_others(each, observation, alive) for each in (targets, other)]
    pairs = [pg.value_of_others(each, observation, alive, n_members=2) for each in (targets, other)]

    assert [torch.allclose(a, b, atol=1e-9) for a, b in zip(alone[0].T, alone[1].T, strict=True)] == [
        stream == 2 for stream in range(6)
    ]
    assert [torch.allclose(a, b, atol=1e-9) for a, b in zip(pairs[0].T, pairs[1].T, strict=True)] == [
        stream in (2, 3) for stream in range(6)
    ]
    assert alone[0].max() <= targets.max()  # within what the others have seen


def test_a_clipped_ratio_gains_nothing_more() -> None:
    # ratios 2, 2, 1/2, 1/2 with a clip of 0.25: the first and the last have gone their way as far as they may
    log_ratio = torch.log(torch.tensor([2.0, 2.0, 0.5, 0.5]))
    weights = torch.tensor([1.0, -1.0, 1.0, -1.0])

    assert pg.clipped_slopes(log_ratio, weights, 0.25).tolist() == pytest.approx([0.0, -2.0, 0.5, 0.0])


def test_weights_at_unit_deviation_keep_their_ratios() -> None:
    # living values 1, 3, 5 have the deviation sqrt(8 / 3)
    weights = torch.tensor([[1.0, 3.0], [5.0, 99.0]])
    found = pg.at_unit_deviation(weights, weights, torch.tensor([[True, True], [True, False]]))

    assert found[1, 0].item() == pytest.approx(5.0 / math.sqrt(8.0 / 3.0))


@pytest.mark.parametrize("gamma", [0.999, 1.0])
@pytest.mark.parametrize("reward", [1.0, -0.3])
def test_equal_episodes_say_nothing_and_one_that_is_a_step_shorter_does(gamma: float, reward: float) -> None:
    alive = torch.ones(500, 10, dtype=torch.bool)
    is_shorter = alive.clone()
    is_shorter[-1, 3] = False
    found = []
    for is_alive in (alive, is_shorter):
        earned = pg.to_go(pg.discounted(torch.full((500, 10), reward), is_alive, gamma))
        found.append(pg.at_unit_deviation(earned - pg.mean_of_others(earned, is_alive), earned, is_alive))

    assert not found[0].any()  # the sums of 500 rewards differ from their mean in the eighth digit
    assert found[1][alive & is_shorter].std(correction=0) == pytest.approx(1.0, rel=1e-2)
    assert (found[1][:-1, 3] * reward < 0.0).all()  # what ends early is blamed, or thanked where steps cost


def test_nothing_earned_and_nobody_alive_are_no_division_by_zero() -> None:
    nothing = torch.zeros(3, 2)

    for is_alive in (torch.ones(3, 2, dtype=torch.bool), torch.zeros(3, 2, dtype=torch.bool)):
        assert pg.at_unit_deviation(nothing, nothing, is_alive).tolist() == nothing.tolist()


def test_ratios_multiply_from_the_start_and_stop_with_the_stream() -> None:
    log_ratio = torch.log(torch.tensor([[2.0, 0.5, 3.0], [3.0, 0.5, 7.0], [0.5, 7.0, 7.0]], dtype=torch.float64))

    found = pg.from_start(log_ratio, ALIVE, most=5.0)

    assert found.flatten().tolist() == pytest.approx([2.0, 0.5, 3.0, 5.0, 0.25, 3.0, 3.0, 0.25, 3.0])
    # (3 + 1/4 + 3)^2 / (3 (9 + 1/16 + 9))
    assert pg.effective_share(log_ratio, ALIVE, 5.0).item() == pytest.approx(6.25**2 / (3 * (18 + 1 / 16)))


def test_long_streams_keep_their_ratio() -> None:
    # a thousand ratios of 0.9 then of 1 / 0.9: their product is 1, though half of them is 2e-46
    log_ratio = torch.cat((torch.full((1000, 1), math.log(0.9)), torch.full((1000, 1), -math.log(0.9))))

    assert pg.from_start(log_ratio, torch.ones(2000, 1, dtype=torch.bool), 10.0)[-1].item() == pytest.approx(
        1.0, rel=1e-3
    )


# Two steps, two decisions each; the policy has a logit for the first step, and one for the second after each first
# decision. Rewards depend on all of it, so that the exact gradient is a sum over the four ways to play.
GAMMA = 0.8
REWARDS = {(0,): 1.0, (1,): -0.5, (0, 0): 2.0, (0, 1): 0.0, (1, 0): -1.0, (1, 1): 3.0}
NOW = torch.tensor([0.3, -0.4, 0.8], dtype=torch.float64)
OTHER = torch.tensor([-0.2, 0.5, 0.1], dtype=torch.float64)


def logp(theta: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return log pi of both decisions, (2, E)."""
    logits = torch.stack((theta[0].expand(first.shape), torch.where(first == 0, theta[1], theta[2])))
    return torch.nn.functional.logsigmoid(torch.where(torch.stack((first, second)) == 1, logits, -logits))


def exact_gradient(theta: Tensor) -> Tensor:
    theta = theta.clone().requires_grad_()
    value = torch.zeros((), dtype=torch.float64)
    for first, second in itertools.product((0, 1), repeat=2):
        chance = logp(theta, torch.tensor([first]), torch.tensor([second])).sum().exp()
        value = value + chance * (REWARDS[first,] + GAMMA * REWARDS[first, second])
    return torch.autograd.grad(value, theta)[0]


def play(theta: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return first and second decisions (n,) and rewards (2, n)."""
    uniform = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    first = (uniform[0] < torch.sigmoid(theta[0])).long()
    second = (uniform[1] < torch.sigmoid(torch.where(first == 0, theta[1], theta[2]))).long()
    firsts = torch.tensor([REWARDS[0,], REWARDS[1,]], dtype=torch.float64)[first]
    seconds = torch.tensor([[REWARDS[0, 0], REWARDS[0, 1]], [REWARDS[1, 0], REWARDS[1, 1]]], dtype=torch.float64)
    return first, second, torch.stack((firsts, seconds[first, second]))


def per_stream_gradients(theta: Tensor, weights: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return each stream's gradient (E, 3), worked out from grad log pi = a - sigmoid(logit)."""
    step_1 = first - torch.sigmoid(theta[0])
    logit = torch.where(first == 0, theta[1], theta[2])
    step_2 = second - torch.sigmoid(logit)
    zero = torch.zeros_like(step_2)
    return torch.stack(
        (
            weights[0] * step_1,
            torch.where(first == 0, weights[1] * step_2, zero),
            torch.where(first == 1, weights[1] * step_2, zero),
        ),
        -1,
    )


@pytest.mark.parametrize("baseline", ["none", "time_mean"])
@pytest.mark.parametrize("form", ["reinforce", "gpomdp", "whole ratio", "per decision"])
def test_estimates_are_unbiased(form: str, baseline: str) -> None:
    # groups of four streams, as the baseline is shared in a group; z of each coordinate against the exact gradient
    n_groups, size = 20_000, 4
    alive = torch.ones(2, size, dtype=torch.bool)
    first, second, reward = play(NOW, n_groups * size, seed=7)
    sought = NOW if form in ("reinforce", "gpomdp") else OTHER
    log_ratio = logp(sought, first, second) - logp(NOW, first, second)
    groups = [part.unflatten(-1, (n_groups, size)) for part in (reward, log_ratio)]
    rewards = groups[0] * torch.tensor([1.0, GAMMA], dtype=torch.float64)[:, None, None]
    weights = pg.reinforce(rewards) if form == "reinforce" else pg.gpomdp(rewards)
    base = torch.zeros_like(weights)
    if baseline == "time_mean":
        base = torch.stack([pg.mean_of_others(weights[:, g], alive) for g in range(n_groups)], 1)
    weights = weights - base
    if form in ("whole ratio", "per decision"):
        parts = (rewards.flatten(1), base.flatten(1), log_ratio, torch.ones_like(log_ratio, dtype=torch.bool))
        weights = pg.reweighted(*parts, form == "per decision", most=1e6).unflatten(-1, (n_groups, size))

    estimates = per_stream_gradients(sought, weights.flatten(1), first, second).unflatten(0, (n_groups, size)).mean(1)

    error = (estimates.mean(0) - exact_gradient(sought)) / (estimates.std(0) / math.sqrt(n_groups))
    assert error.abs().max() < 4.0
    assert estimates.std(0).min() > 0.0


def test_the_baseline_lowers_the_variance_of_gpomdp_and_gpomdp_that_of_reinforce() -> None:
    first, second, reward = play(NOW, 40_000, seed=11)
    rewards, alive = (
        reward * torch.tensor([[1.0], [GAMMA]], dtype=torch.float64),
        torch.ones(2, 40_000, dtype=torch.bool),
    )
    plain = pg.gpomdp(rewards)
    forms = (pg.reinforce(rewards), plain, plain - pg.mean_of_others(plain, alive))

    variances = [per_stream_gradients(NOW, w, first, second).var(0).sum().item() for w in forms]

    assert variances[0] > variances[1] > variances[2]


def test_the_gradient_is_that_of_finite_differences() -> None:
    # with the decisions as given, the weighted sum of log probabilities is differentiated exactly by autograd
    first, second, reward = play(NOW, 6, seed=3)
    weights, theta = pg.gpomdp(reward), NOW.clone().requires_grad_()
    value = (weights * logp(theta, first, second)).sum(0).mean()

    found = torch.autograd.grad(value, theta)[0]

    for i in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[i] = 1e-6
        high, low = ((weights * logp(NOW + s * step, first, second)).sum(0).mean() for s in (1, -1))
        assert found[i].item() == pytest.approx((high - low).item() / 2e-6, abs=1e-7)
