"""Retrace within the gradient steps: which decisions it trusts, and what it makes of them."""

from __future__ import annotations

import copy

import pytest
import torch

from edge_rllib.algorithms.joint_update import JointUpdate, Networks, Step, Transitions, UpdateRules
from edge_rllib.algorithms.soft_update import SoftJointUpdate, WantedEntropy
from edge_rllib.modules.critics import CriticShape, Situation, build_critic
from edge_rllib.modules.joint_policy import JointPolicy, n_policy_outputs
from edge_rllib.modules.stacked import Groups, StackedMlp
from edge_rllib.ops import hybrid
from edge_rllib.ops.hybrid import Sizes
from edge_rllib.ops.traces import Agreement

ROWS, N, F, L = 5, 2, 3, 3
BOX = Sizes(1, 2, -1.0, 1.0)
GAMMA = 0.5


def networks_of(sizes=BOX, kind="own", is_stochastic=False):
    torch.manual_seed(0)
    network = StackedMlp(Groups([0, 1]), F, (8,), n_policy_outputs(sizes, is_stochastic))
    policy = JointPolicy(network, sizes, is_stochastic)
    critic = build_critic(kind, CriticShape(N, F, 0, sizes.n_vector), (8, 8), "tanh")
    return Networks(policy, [critic], copy.deepcopy(policy), [copy.deepcopy(critic)])


def update_of(networks, **rules):
    values = {"trace_decay": 1.0, "agreement": Agreement((), 1e-4), **rules}
    update = JointUpdate(networks, {}, UpdateRules(**values), torch.Generator().manual_seed(5))
    update.noise.n_rows = ROWS
    return update


def path_of(networks, sizes=BOX):
    """Steps on which the policies' own decisions were taken."""
    generator = torch.Generator().manual_seed(1)
    seen = [torch.randn(ROWS, N, F, generator=generator) for _ in range(L + 1)]
    mask = torch.ones(ROWS, N, 1, dtype=torch.bool)
    target = torch.zeros(ROWS, N, dtype=torch.int64)
    steps = []
    for j in range(L):
        with torch.no_grad():
            amounts = hybrid.squash(networks.policy(seen[j], mask).mean, sizes).squeeze(-2)
        steps.append(
            Step(
                Situation(seen[j]),
                mask,
                target,
                amounts,
                torch.zeros(ROWS, N),
                amounts,
                torch.randn(ROWS, N, generator=generator),
                torch.full((ROWS,), GAMMA),
                torch.ones(ROWS, dtype=torch.bool),
                Situation(seen[j + 1]),
                mask,
            )
        )
    return steps


def batch_of(path):
    first = path[0]
    none = torch.zeros(ROWS, N)
    return Transitions(first.now, first.mask, first.decisions, none, first.discount, none[:, 0], *path[-1][-2:], path)


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_along_the_policies_own_decisions_targets_are_the_return_of_all_steps(kind):
    networks = networks_of(kind=kind)
    path, update = path_of(networks), update_of(networks)
    rewards = [step.reward if kind == "own" else step.reward.mean(-1, keepdim=True) for step in path]
    last = update.state_values(path[-1].behind, path[-1].behind_mask)
    expected = rewards[0] + GAMMA * rewards[1] + GAMMA**2 * rewards[2] + GAMMA**3 * last
    torch.testing.assert_close(update.targets(batch_of(path)), expected)


def test_behind_a_decision_of_another_policy_nothing_counts_for_whom_it_is_judged():
    for kind, touched in (("own", [1]), ("shared", [0])):
        networks = networks_of(kind=kind)
        path = path_of(networks)
        amounts = path[1].amounts.clone()
        amounts[:, 1] = -amounts[:, 1]  # agent 1 decided otherwise in the second step
        path[1] = path[1]._replace(amounts=amounts, decisions=amounts)
        update = update_of(networks)
        found = update.targets(batch_of(path))
        behind = update.state_values(path[0].behind, path[0].behind_mask)
        reward = path[0].reward if kind == "own" else path[0].reward.mean(-1, keepdim=True)
        one_step = reward + GAMMA * behind
        torch.testing.assert_close(found[:, touched], one_step[:, touched])
        if kind == "own":  # agent 0 decided as it would today
            assert (found[:, 0] - one_step[:, 0]).abs().min() > 1e-4


def test_steps_beyond_an_end_and_behind_a_termination_count_nothing():
    networks = networks_of()
    path = path_of(networks)
    nothing = torch.zeros(ROWS)
    path[1] = path[1]._replace(discount=nothing)
    dead = path[2]._replace(is_alive=nothing.bool(), reward=torch.full((ROWS, N), 1e6))
    update = update_of(networks)
    expected = path[0].reward + GAMMA * path[1].reward
    torch.testing.assert_close(update.targets(batch_of([*path[:2], dead])), expected, atol=1e-4, rtol=1e-4)


def test_a_stochastic_policys_trace_is_the_ratio_of_densities_cut_at_one():
    networks = networks_of(is_stochastic=True)
    temperatures = (torch.zeros(N), torch.zeros(N))
    arguments = networks, {}, UpdateRules(), torch.Generator(), None, WantedEntropy(0.5, 1.0), temperatures
    update = SoftJointUpdate(*arguments)
    (step, *_) = path_of(networks)
    says = networks.policy(step.now.observation, step.mask)
    parts = hybrid.Parts(says.log_probs, says.mean, says.log_std)
    logp = hybrid.logp(parts, says.log_probs, step.target, step.amounts, BOX)
    ratio = update.log_ratio(says, step._replace(logp=logp + 0.25))
    torch.testing.assert_close(ratio, torch.full((ROWS, N), -0.25))
