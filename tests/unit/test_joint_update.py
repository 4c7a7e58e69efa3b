"""Steps of MADDPG, MATD3 and MASAC: targets by hand, who moves when, and parts of a minibatch that add up to it."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from edge_rllib.algorithms.joint_update import JointUpdate, Networks, Transitions, UpdateRules
from edge_rllib.algorithms.soft_update import SoftJointUpdate, WantedEntropy
from edge_rllib.modules.critics import CRITICS, CriticShape, Situation, build_critic
from edge_rllib.modules.joint_policy import JointPolicy, n_policy_outputs
from edge_rllib.modules.stacked import Groups, StackedMlp
from edge_rllib.ops.hybrid import Sizes
from envs.errors import ConfigError

N, F, ROWS = 3, 4, 12
HYBRID = Sizes(n_targets=2, n_amounts=1)
ALL = slice(None)


def networks_of(sizes=HYBRID, kind="shared", n_critics=1, is_stochastic=False):
    torch.manual_seed(0)
    network = StackedMlp(Groups([0, 1, 0]), F, (8,), n_policy_outputs(sizes, is_stochastic))
    policy = JointPolicy(network, sizes, is_stochastic)
    critics = [build_critic(kind, CriticShape(N, F, 0, sizes.n_vector), (8, 8), "tanh") for _ in range(n_critics)]
    return Networks(policy, critics, copy.deepcopy(policy), copy.deepcopy(critics))


def optimizers_of(networks, kind=torch.optim.SGD, rate=1.0):
    critics = [parameter for critic in networks.critics for parameter in critic.parameters()]
    return {"critic": kind(critics, lr=rate), "actor": kind(networks.policy.parameters(), lr=rate)}


def update_of(rules, networks, **values):
    return JointUpdate(networks, optimizers_of(networks), rules, torch.Generator().manual_seed(5), **values)


def batch_of(sizes=HYBRID, rows=ALL):
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(ROWS, *shape, generator=generator)[rows]

    mask = torch.ones(ROWS, N, sizes.n_targets, dtype=torch.bool)[rows]
    now, behind = Situation(normal(N, F)), Situation(normal(N, F))
    discount = torch.full((ROWS,), 0.5)
    discount[0] = 0.0
    weight = torch.linspace(0.5, 1.0, ROWS)[rows]
    return Transitions(now, mask, normal(N, sizes.n_vector), normal(N), discount[rows], weight, behind, mask)


def values_of(networks):
    return [[p.detach().clone() for p in part.parameters()] for part in (*networks.critics, networks.policy)]


def copies_of(networks):
    return [[p.detach().clone() for p in part.parameters()] for part in (*networks.critic_copies, networks.policy_copy)]


def is_same(first, second):
    return all(torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))


def make_constant(critic, value):
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
        critic.head.bias.fill_(value)


@pytest.mark.parametrize("kind", ["shared", "per_agent"])
def test_the_target_is_the_lower_twin_behind_and_a_teams_reward_is_the_mean(kind):
    networks = networks_of(kind=kind, n_critics=2)
    make_constant(networks.critic_copies[0], 8.0)
    make_constant(networks.critic_copies[1], 6.0)
    batch = batch_of()
    update = update_of(UpdateRules(smoothing_std=0.2, smoothing_clip=0.3), networks)
    update.noise.n_rows = ROWS
    returns = batch.returns if kind == "per_agent" else batch.returns.mean(-1, keepdim=True)
    # row 0 ends in a termination; behind the others half of 6 counts
    expected = returns + torch.tensor([0.0] + [3.0] * (ROWS - 1)).unsqueeze(-1)
    torch.testing.assert_close(update.targets(batch), expected)


def test_delayed_policies_and_copies_move_with_every_second_step_only():
    networks = networks_of()
    update = update_of(UpdateRules(policy_interval=2), networks)
    first, first_copies = values_of(networks), copies_of(networks)
    update.step(batch_of(), ROWS, ALL)
    second = values_of(networks)
    assert not is_same(first[:1], second[:1])
    assert is_same(first[1:], second[1:])
    assert is_same(first_copies, copies_of(networks))
    update.step(batch_of(), ROWS, ALL)
    assert not is_same(second[1:], values_of(networks)[1:])
    assert not is_same(first_copies, copies_of(networks))


RULES = [
    UpdateRules(others=others, target_gradient=gradient)
    for others in ("replay", "policy")
    for gradient in ("gumbel", "expectation")
]


@pytest.mark.parametrize("kind", CRITICS)
@pytest.mark.parametrize("sizes", [HYBRID, Sizes(3, 0), Sizes(1, 2, -1.0, 1.0)], ids=["hybrid", "targets", "box"])
@pytest.mark.parametrize("rules", RULES, ids=lambda rules: f"{rules.others} {rules.target_gradient}")
def test_parts_of_a_minibatch_add_up_to_it(kind, sizes, rules):
    gradients = []
    for rows in (ALL, slice(0, 5), slice(5, ROWS)):
        networks = networks_of(sizes, kind)
        update = update_of(rules, networks)
        update.noise.n_rows, update.noise.part = ROWS, rows
        loss = update.policy_loss(batch_of(sizes, rows))
        gradients.append(torch.autograd.grad(loss, list(networks.policy.parameters())))
    for whole, first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first + second, whole, rtol=1e-4, atol=1e-7)
        assert whole.abs().max() > 0.0


def test_gradients_of_all_learners_are_summed_before_they_are_cut():
    networks = networks_of()
    seen = []

    def double(gradients):
        seen.append(len(gradients))
        for gradient in gradients:
            gradient.mul_(2.0)

    first = values_of(networks)
    update_of(UpdateRules(grad_clip=1e-3), networks, sum_gradients=double).step(batch_of(), ROWS, ALL)
    assert len(seen) == 2
    moved = [(b - a).flatten() for a, b in zip(first[0], values_of(networks)[0], strict=True)]
    assert float(torch.cat(moved).norm()) == pytest.approx(1e-3, rel=1e-3)  # a plain step of rate 1 of the cut gradient


def test_a_relaxed_draw_and_the_expectation_have_the_same_gradient_on_average():
    # one agent's choice between two targets whose values a critic tells apart; the relaxed draw is biased, so only
    # the direction is asked for
    sizes = Sizes(2, 0)
    directions = []
    for gradient in ("expectation", "gumbel"):
        networks = networks_of(sizes, "per_agent")
        update = update_of(UpdateRules(target_gradient=gradient), networks)
        update.noise.n_rows = ROWS
        total = [torch.zeros_like(p) for p in networks.policy.parameters()]
        for _ in range(200):
            loss = update.policy_loss(batch_of(sizes))
            for sum_, part in zip(total, torch.autograd.grad(loss, list(networks.policy.parameters())), strict=True):
                sum_ += part
        directions.append(torch.cat([part.flatten() for part in total]))
    assert float(torch.cosine_similarity(*directions, dim=0)) > 0.95


@pytest.mark.parametrize("kind", ["shared", "per_agent"])
def test_entropies_behind_are_worth_their_temperatures(kind):
    sizes = Sizes(2, 0)
    networks = networks_of(sizes, kind, 2, is_stochastic=True)
    with torch.no_grad():
        for parameter in networks.policy.parameters():
            parameter.zero_()  # both targets alike: an entropy of log 2 an agent
    make_constant(networks.critic_copies[0], 4.0)
    make_constant(networks.critic_copies[1], 5.0)
    temperatures = torch.full((N,), math.log(0.5)), torch.zeros(N)
    generator = torch.Generator().manual_seed(0)
    wanted = WantedEntropy(0.1, 2.0)
    update = SoftJointUpdate(networks, {}, UpdateRules(), generator, None, wanted, temperatures)
    update.noise.n_rows = ROWS
    batch = batch_of(sizes)
    worth = 0.5 * math.log(2.0) * (N if kind == "shared" else 1)  # a team's value has the entropies of all
    returns = batch.returns if kind == "per_agent" else batch.returns.mean(-1, keepdim=True)
    expected = returns + batch.discount.unsqueeze(-1) * (4.0 + worth)
    torch.testing.assert_close(update.targets(batch), expected)


def test_the_entropy_of_amounts_is_that_of_the_squashed_normal():
    networks = networks_of(is_stochastic=True)
    update = SoftJointUpdate(
        networks,
        {},
        UpdateRules(),
        torch.Generator().manual_seed(0),
        None,
        WantedEntropy(0.1, 2.0),
        (torch.zeros(N),) * 2,
    )
    n_rows = 20_000
    update.noise.n_rows = n_rows
    observation, mask = torch.zeros(n_rows, N, F), torch.ones(n_rows, N, 2, dtype=torch.bool)
    with torch.no_grad():
        for parameter in networks.policy.parameters():
            parameter.zero_()
        networks.policy.network.layers[-1].bias[:, -2:] = -3.0  # log deviations
        drawn = update.drawn(networks.policy(observation, mask))
    # sigmoid(2 u) at 0 has slope 1 / 2: a narrow normal of deviation e^-3 becomes one half as wide
    expected = -3.0 + math.log(0.5) + 0.5 * math.log(2 * math.pi * math.e)
    assert float(drawn.of_amounts.mean()) == pytest.approx(expected, abs=0.01)
    torch.testing.assert_close(drawn.of_targets, torch.full((n_rows, N), math.log(2.0)))


def test_temperatures_follow_the_wanted_entropies():
    networks = networks_of(is_stochastic=True)
    temperatures = tuple(torch.zeros(N, requires_grad=True) for _ in range(2))
    optimizers = optimizers_of(networks, torch.optim.Adam, 1e-3)
    optimizers["temperature"] = torch.optim.SGD(temperatures, lr=1.0)
    wanted = WantedEntropy(target_frac=0.5, amount_nats=1.0)
    update = SoftJointUpdate(
        networks, optimizers, UpdateRules(), torch.Generator().manual_seed(0), None, wanted, temperatures
    )
    batch = batch_of()
    mask = batch.mask.clone()
    mask[:, 0, 1] = False  # agent 0 has one target: no entropy is wanted, none is there
    update.step(batch._replace(mask=mask), ROWS, ALL)
    assert temperatures[0][0] == 0.0
    assert (temperatures[0][1:] < 0.0).all()  # policies begin near an even choice, above half of its entropy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"others": "all"}, "others = 'all': expected one of replay, policy"),
        ({"target_gradient": "none"}, "target_gradient = 'none': expected one of gumbel, expectation"),
    ],
)
def test_unknown_rules_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        UpdateRules(**values)


def test_amounts_near_their_bounds_are_pulled_back():
    networks = networks_of(Sizes(1, 1))
    make_constant(networks.critics[0], 0.0)
    with torch.no_grad():
        for parameter in networks.policy.parameters():
            parameter.zero_()
        networks.policy.network.layers[-1].bias[:, 0] = torch.tensor([-3.5, 1.0])  # agents 0 and 2; agent 1
    update = update_of(UpdateRules(saturation_penalty=0.3), networks)
    update.noise.n_rows = ROWS
    # two of three agents are 2 beyond the limit of 1.5: 0.3 * (4 + 4 + 0) / 3
    assert update.policy_loss(batch_of(Sizes(1, 1))).item() == pytest.approx(0.8)


def test_targets_alone_have_nothing_to_pull_back():
    update = update_of(UpdateRules(saturation_penalty=0.3), networks_of(Sizes(2, 0)))
    update.noise.n_rows = ROWS
    assert torch.isfinite(update.policy_loss(batch_of(Sizes(2, 0))))
