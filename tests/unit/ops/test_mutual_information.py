"""Estimators of mutual information: formulas by hand, known distributions, and the released code's own numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from edge_rllib.config.registry import names, resolve
from edge_rllib.ops.mutual_information.base import (
    Estimator,
    EstimatorParams,
    Layout,
    block_rows,
    log_mean_exp_of_others,
)
from edge_rllib.ops.mutual_information.club import Club
from edge_rllib.ops.mutual_information.critics import Critic
from edge_rllib.ops.mutual_information.density import LOG_TWO_PI, DecisionDensity
from edge_rllib.ops.mutual_information.donsker_varadhan import DonskerVaradhan, donsker_varadhan
from edge_rllib.ops.mutual_information.infonce import infonce
from edge_rllib.ops.mutual_information.jsd import jsd
from edge_rllib.ops.mutual_information.leave_one_out import leave_one_out
from edge_rllib.ops.mutual_information.nwj import nwj
from edge_rllib.ops.mutual_information.smile import smile
from envs.errors import ConfigError

PARAMS = EstimatorParams(
    critic="separable",
    critic_hidden=(32,),
    density_hidden=(32,),
    n_embedding=16,
    is_embedding_rectified=False,
    n_negatives=255,
    clip=5.0,
    average_rate=0.05,
    log_variance_bound=4.0,
)
ALL = names("mi_estimator")
SCORES = torch.tensor([[math.log(4.0), 0.0], [math.log(2.0), math.log(3.0)]])


def softplus(score: float) -> float:
    return math.log1p(math.exp(score))


def test_jsd_compares_a_pair_with_the_other_x_of_the_same_y() -> None:
    # row 0: 2 log 2 - sp(-log 4) - sp(log 2), sp(-log 4) = log(5/4), sp(log 2) = log 3; row 1: sp(-log 3) and sp(0)
    expected = [
        2 * math.log(2) - math.log(5 / 4) - math.log(3),
        2 * math.log(2) - math.log(4 / 3) - math.log(2),
    ]

    assert jsd(SCORES).tolist() == pytest.approx(expected, abs=1e-6)
    assert jsd(torch.zeros(3, 3)).tolist() == pytest.approx([0.0] * 3, abs=1e-6)


def test_infonce_compares_a_pair_with_all_pairs_of_its_row() -> None:
    # row 0: log(4 / mean(4, 1)); row 1: log(3 / mean(2, 3))
    assert infonce(SCORES).tolist() == pytest.approx([math.log(4 / 2.5), math.log(3 / 2.5)], abs=1e-6)


def test_infonce_never_exceeds_the_log_of_the_number_of_rows() -> None:
    scores = 100.0 * torch.eye(8)

    assert infonce(scores).tolist() == pytest.approx([math.log(8)] * 8, abs=1e-5)


def test_nwj_takes_the_mean_exponential_of_the_other_pairs() -> None:
    # row 0: log 4 - e^(0 - 1); row 1: log 3 - e^(log 2 - 1)
    expected = [math.log(4) - 1 / math.e, math.log(3) - 2 / math.e]

    assert nwj(SCORES).tolist() == pytest.approx(expected, abs=1e-6)


def test_donsker_varadhan_takes_one_log_over_all_other_pairs() -> None:
    # the other pairs have the exponentials 1 and 2, in the mean 1.5
    assert donsker_varadhan(SCORES).tolist() == pytest.approx([math.log(4 / 1.5), math.log(3 / 1.5)], abs=1e-6)


def test_smile_clips_the_scores_in_the_partition_function_only() -> None:
    # clipped at 0.5 the other pairs have the exponentials 1 and e^0.5
    log_mean = math.log((1 + math.exp(0.5)) / 2)

    assert smile(SCORES, 0.5).tolist() == pytest.approx([math.log(4) - log_mean, math.log(3) - log_mean], abs=1e-6)


def test_leave_one_out_takes_the_density_of_a_y_under_the_other_x() -> None:
    # three rows; q of y_0 is 4 under its own x, 2 and 6 under the others: log(4 / mean(2, 6)) = 0
    densities = torch.tensor([[4.0, 1.0, 1.0], [2.0, 9.0, 1.0], [6.0, 5.0, 5.0]])
    expected = [math.log(4 / 4), math.log(9 / 3), math.log(5 / 1)]

    assert leave_one_out(densities.log()).tolist() == pytest.approx(expected, abs=1e-6)


def test_moving_average_weighs_the_newest_batch_by_its_rate() -> None:
    estimator = DonskerVaradhan(dataclasses.replace(PARAMS, average_rate=0.25), 1, Layout(1, 0, 1))
    x, y = torch.randn(8, 1), torch.randn(8, 1)
    estimator.log_denominator.fill_(math.log(2.0))

    loss = estimator.loss(x, y)

    scores = estimator.score(x, y)
    mean = log_mean_exp_of_others(scores).exp().item()
    average = 0.75 * 2.0 + 0.25 * mean
    assert estimator.log_denominator.exp().item() == pytest.approx(average, rel=1e-5)
    assert loss.item() == pytest.approx(mean / average - scores.diagonal().mean().item(), abs=1e-5)


def test_blocks_cover_all_rows_and_the_last_one_is_full() -> None:
    assert block_rows(5, 2).tolist() == [[0, 1], [2, 3], [3, 4]]
    assert block_rows(3, 9).tolist() == [[0, 1, 2]]
    with pytest.raises(ConfigError, match="1 rows: an estimate needs at least 2"):
        block_rows(1, 9)


@pytest.mark.parametrize("kind", ["separable", "concatenated"])
def test_score_of_a_pair_does_not_depend_on_the_other_rows(kind: str) -> None:
    critic = Critic(dataclasses.replace(PARAMS, critic=kind), 3, 2)
    x, y = torch.randn(6, 3), torch.randn(6, 2)

    whole = critic(x, y)

    assert critic(x[2:3], y[5:6]).item() == pytest.approx(whole[2, 5].item(), abs=1e-5)
    assert critic(x.view(2, 3, 3), y.view(2, 3, 2))[1].tolist() == [
        pytest.approx(row, abs=1e-5) for row in whole[3:, 3:].tolist()
    ]


def test_density_of_a_hybrid_decision_is_the_target_s_times_that_of_its_own_amount() -> None:
    density = DecisionDensity(PARAMS, 2, Layout(2, 3, 1))
    x = torch.randn(1, 2)
    y = torch.tensor([[0.0, 1.0, 0.0, 0.3, 1.0, 0.0, 0.0, 0.9]])  # part 0: target 1, 0.3; part 1: target 0, 0.9
    log_probs = torch.log_softmax(density.logits(x).view(2, 3), -1).detach()
    mean, log_variance = (value[0, :, :, 0].detach() for value in density.gaussians(x))

    expected = 0.0
    for part, target, amount in ((0, 1, 0.3), (1, 0, 0.9)):
        variance = log_variance[part, target].exp()
        squared = (amount - mean[part, target]) ** 2 / variance
        expected += log_probs[part, target] - 0.5 * (squared + log_variance[part, target] + LOG_TWO_PI)

    assert density.log_prob(x, y).item() == pytest.approx(float(expected), abs=1e-5)


def test_club_equals_the_mean_over_all_pairs() -> None:
    estimator = Club(PARAMS, 3, Layout(2, 3, 1))
    x, y = torch.randn(7, 3), decisions(7, Layout(2, 3, 1))
    pairs = estimator.score(x, y)

    assert estimator.values(x, y).tolist() == pytest.approx((pairs.diagonal() - pairs.mean(1)).tolist(), abs=1e-5)


def decisions(n_rows: int, layout: Layout) -> Tensor:
    target = torch.nn.functional.one_hot(torch.randint(0, layout.n_categories, (n_rows, layout.n_parts)))
    padded = torch.zeros(n_rows, layout.n_parts, layout.n_categories)
    padded[..., : target.shape[-1]] = target
    return torch.cat((padded, torch.rand(n_rows, layout.n_parts, layout.n_amounts)), -1).flatten(1)


Sampler = Callable[[int], tuple[Tensor, Tensor]]


def gaussians(mi_nats: float, n_dims: int = 2) -> tuple[Sampler, Layout]:
    """Return pairs with correlation r in each of ``n_dims`` dimensions: MI = -n_dims / 2 * log(1 - r^2)."""
    r = math.sqrt(1.0 - math.exp(-2.0 * mi_nats / n_dims))

    def sample(n_rows: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(n_rows, n_dims)
        return x, r * x + math.sqrt(1.0 - r * r) * torch.randn(n_rows, n_dims)

    return sample, Layout(1, 0, n_dims)


def noisy_choice(error_prob: float) -> tuple[Sampler, Layout, float]:
    """Return x one of four, y the same but with a probability of error; and the MI of this symmetric channel."""
    layout = Layout(1, 4, 0)

    def sample(n_rows: int) -> tuple[Tensor, Tensor]:
        sent = torch.randint(0, 4, (n_rows,))
        is_wrong = torch.rand(n_rows) < error_prob
        got = torch.where(is_wrong, (sent + torch.randint(1, 4, (n_rows,))) % 4, sent)
        one_hot = torch.nn.functional.one_hot
        return one_hot(sent, 4).float(), one_hot(got, 4).float()

    # H(y) = log 4; H(y | x) = -(1 - e) log(1 - e) - e log(e / 3)
    mi_nats = math.log(4) + (1 - error_prob) * math.log(1 - error_prob) + error_prob * math.log(error_prob / 3)
    return sample, layout, mi_nats


def noisy_choice_with_share(error_prob: float) -> tuple[Sampler, Layout, float]:
    """Return the choice above and an amount of its own Gaussian channel; their informations add up."""
    choose, _, choice_nats = noisy_choice(error_prob)
    amounts, _ = gaussians(0.5, 1)

    def sample(n_rows: int) -> tuple[Tensor, Tensor]:
        first, second = choose(n_rows), amounts(n_rows)
        return torch.cat((first[0], second[0]), -1), torch.cat((first[1], second[1]), -1)

    return sample, Layout(1, 4, 1), choice_nats + 0.5


def fitted(name: str, params: EstimatorParams, sample: Sampler, layout: Layout, n_steps: int) -> Estimator:
    torch.manual_seed(7)
    n_x = sample(2)[0].shape[1]
    estimator: Estimator = resolve("mi_estimator", name)(params, n_x, layout)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=5e-3, fused=True)
    for _ in range(n_steps):
        optimizer.zero_grad()
        estimator.loss(*sample(128)).backward()
        optimizer.step()
    return estimator


@torch.no_grad()
def estimates(estimator: Estimator, sample: Sampler, n_batches: int = 40, n_rows: int = 256) -> Tensor:
    return torch.stack([estimator.values(*sample(n_rows)).mean() for _ in range(n_batches)])


def club_of_gaussians(mi_nats: float, n_dims: int = 2) -> float:
    """Return what CLUB is for the true density: r^2 / (1 - r^2) = exp(2 MI) - 1 in each dimension, far above MI."""
    return n_dims * (math.exp(2.0 * mi_nats / n_dims) - 1.0)


def assert_on_its_side(name: str, found: Tensor, mi_nats: float, least: float, most: float) -> None:
    """Compare the mean of estimates with the truth and limits; three times the spread of one batch is granted."""
    side = resolve("mi_estimator", name).side
    mean, spread = found.mean().item(), found.std().item()
    print(f"{name:17} {side:5} MI {mi_nats:.2f}: bias {mean - mi_nats:+.3f}, spread {spread:.3f} nats")  # noqa: T201
    assert least < mean < most
    if side == "lower":
        assert mean < mi_nats + 3.0 * spread
    elif side == "upper":
        assert mean > mi_nats - 3.0 * spread


@pytest.mark.parametrize("name", ALL)
def test_estimate_of_correlated_gaussians_is_on_its_side(name: str) -> None:
    sample, layout = gaussians(1.0)
    # the score of the best critic is twice the Jensen-Shannon divergence, here 0.47: see the next test
    limits = {"club": (1.0, 1.15 * club_of_gaussians(1.0)), "jsd": (0.3, 0.55)}

    found = estimates(fitted(name, PARAMS, sample, layout, 150), sample)

    assert_on_its_side(name, found, 1.0, *limits.get(name, (0.7, 1.3)))


def test_score_of_the_true_log_ratio_is_twice_the_jensen_shannon_divergence() -> None:
    torch.manual_seed(3)
    sample, _ = gaussians(1.0)
    x, y = sample(1500)
    variance = math.exp(-1.0)  # 1 - r^2
    means = math.sqrt(1.0 - variance) * x
    log_ratio = (y.square().sum(-1) - torch.cdist(means, y).square() / variance) / 2.0 + 1.0  # (i, j): x_i with y_j

    score = jsd(log_ratio).mean().item()

    # 2 JSD = E_p log 2p/(p + q) + E_q log 2q/(p + q), with the log ratios of p = p(x, y) to q = p(x) p(y)
    seen, unseen = log_ratio.diagonal(), log_ratio[0::2, 1::2].flatten()
    divergence = 2 * math.log(2.0) - (torch.log1p((-seen).exp()).mean() + torch.log1p(unseen.exp()).mean()).item()
    assert score == pytest.approx(divergence, abs=0.02)
    assert score == pytest.approx(0.47, abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("source", [noisy_choice, noisy_choice_with_share])
def test_estimate_of_discrete_and_hybrid_decisions_is_on_its_side(
    name: str, source: Callable[[float], tuple[Sampler, Layout, float]]
) -> None:
    sample, layout, mi_nats = source(0.2)
    limits = {"club": (mi_nats, mi_nats + 2.5), "jsd": (0.2, 0.9)}

    found = estimates(fitted(name, PARAMS, sample, layout, 250), sample)

    assert_on_its_side(name, found, mi_nats, *limits.get(name, (mi_nats - 0.3, mi_nats + 0.3)))


@pytest.mark.slow
@pytest.mark.parametrize("mi_nats", [0.5, 1.0, 2.0, 4.0])
def test_table_of_all_estimators_over_the_mutual_information(mi_nats: float) -> None:
    sample, layout = gaussians(mi_nats, 4)
    ceiling = math.log(256)  # of InfoNCE
    for name in ALL:
        found = estimates(fitted(name, PARAMS, sample, layout, 800), sample)
        most = 1.3 * club_of_gaussians(mi_nats, 4) if name == "club" else mi_nats + 1.0
        assert_on_its_side(name, found, mi_nats, 0.0, min(most, ceiling) if name == "infonce" else most)
