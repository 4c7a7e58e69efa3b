"""Decisions with targets and amounts: densities, entropies and divergences against quadrature and against torch."""

import math

import pytest
import torch

from edge_rllib.ops import categorical, hybrid

SIZES = hybrid.Sizes(n_targets=3, n_amounts=2)
SIGNED = hybrid.Sizes(n_targets=1, n_amounts=1, low=-1.0, high=1.0)


def parts_of(sizes, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(*shape, sizes.n_inputs, generator=generator)
    parts = hybrid.split(inputs, sizes)
    return inputs, parts, categorical.log_softmax(parts.logits)


def test_inputs_are_taken_apart_target_by_target():
    # K = 3, A = 2: logits 0 1 2, means 3 .. 8, log deviations 9 .. 14 scaled into their bounds
    inputs = torch.arange(15.0) / 10.0
    parts = hybrid.split(inputs, SIZES)
    assert parts.logits.tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert parts.mean.flatten().tolist() == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert parts.log_std[0].tolist() == pytest.approx([0.9, 1.0])  # 0.9, then cut at LOG_STD_HIGH
    torch.testing.assert_close(hybrid.join(*parts)[:9], inputs[:9])


def test_sizes_count_inputs_outputs_and_vectors():
    assert (SIZES.n_inputs, SIZES.n_outputs, SIZES.n_vector) == (15, 9, 5)
    assert (SIGNED.n_inputs, SIGNED.n_outputs, SIGNED.n_vector) == (3, 2, 1)  # one target says nothing
    assert hybrid.Sizes(4, 0).n_vector == 4


def test_squashing_between_minus_one_and_one_is_the_hyperbolic_tangent():
    raw = torch.tensor([-2.0, 0.0, 0.7])
    torch.testing.assert_close(hybrid.squash(raw, SIGNED), raw.tanh())
    torch.testing.assert_close(hybrid.log_slope(raw, SIGNED), (1.0 - raw.tanh().square()).log())
    torch.testing.assert_close(hybrid.unsquash(raw.tanh(), SIGNED), raw)


@pytest.mark.parametrize("sizes", [SIGNED, hybrid.Sizes(1, 1)])
def test_the_density_of_an_amount_integrates_to_one(sizes):
    _, parts, _ = parts_of(sizes, 1)
    amounts = torch.linspace(sizes.low, sizes.high, 20_001)[:, None]
    many = hybrid.Parts(*(part.expand(len(amounts), *part.shape[1:]) for part in parts))
    density = hybrid.amounts_logp(many, torch.zeros(len(amounts), dtype=torch.int64), amounts, sizes).exp()
    assert torch.trapezoid(density, amounts[:, 0]).item() == pytest.approx(1.0, abs=2e-4)


def test_a_share_at_the_bound_has_a_finite_density():
    _, parts, log_probs = parts_of(SIZES, 2)
    amounts = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    assert hybrid.logp(parts, log_probs, torch.tensor([0, 2]), amounts, SIZES).isfinite().all()


def test_amounts_belong_to_their_target():
    # deviations of e^-5 before squashing: the amount is the squashed mean of the chosen target, K x A means 0 .. 5
    mean = torch.arange(6.0).reshape(3, 2) / 10.0
    assert hybrid.of_target(mean[None], torch.tensor([1]))[0].tolist() == pytest.approx([0.2, 0.3])


def test_entropy_is_the_mean_of_minus_the_log_density():
    torch.manual_seed(0)
    inputs, parts, log_probs = parts_of(SIZES, 1)
    n_draws = 200_000
    target = torch.multinomial(log_probs[0].exp(), n_draws, replacement=True)
    mean, log_std = parts.mean[0][target], parts.log_std[0][target]
    amounts = hybrid.squash(mean + log_std.exp() * torch.randn_like(mean), SIZES)
    many = hybrid.split(inputs.expand(n_draws, -1), SIZES)
    logp = hybrid.logp(many, log_probs.expand(n_draws, -1), target, amounts, SIZES)
    # standard error 1.3 / sqrt(200 000) = 0.003, and the quadrature's own error at wide deviations
    assert hybrid.entropy(parts, log_probs, SIZES).item() == pytest.approx(-logp.mean().item(), abs=0.02)


def test_divergence_is_that_of_the_gaussians_and_the_targets():
    _, parts, log_probs = parts_of(SIZES, 4)
    _, other, other_log_probs = parts_of(SIZES, 4, seed=1)
    normal = torch.distributions.Normal
    amounts = torch.distributions.kl_divergence(
        normal(parts.mean, parts.log_std.exp()), normal(other.mean, other.log_std.exp())
    ).sum(-1)
    targets = (log_probs.exp() * (log_probs - other_log_probs)).sum(-1)
    expected = targets + (log_probs.exp() * amounts).sum(-1)
    torch.testing.assert_close(hybrid.kl_divergence(parts, log_probs, other, other_log_probs), expected)
    assert hybrid.kl_divergence(parts, log_probs, parts, log_probs).abs().max() < 1e-6


def test_nodes_integrate_polynomials_exactly():
    nodes, weights = hybrid.hermite(torch.zeros(()))
    moments = [(weights * nodes**power).sum().item() for power in (0, 2, 4, 6)]
    assert moments == pytest.approx([1.0, 1.0, 3.0, 15.0], rel=1e-4)


def test_a_decision_as_a_vector_is_one_of_k_and_its_amounts():
    vectors = hybrid.decision_vectors(torch.tensor([[2, 0]]), torch.tensor([[[0.25, 0.5], [1.0, 0.0]]]), SIZES)
    assert vectors.tolist() == [[[0.0, 0.0, 1.0, 0.25, 0.5], [1.0, 0.0, 0.0, 1.0, 0.0]]]
    assert hybrid.decision_vectors(torch.tensor([[0]]), torch.tensor([[[0.3]]]), SIGNED).tolist() == [
        [[pytest.approx(0.3)]]
    ]
    assert math.isclose(hybrid.decision_vectors(torch.tensor([1]), None, hybrid.Sizes(2, 0))[0, 1].item(), 1.0)
