"""The loop over agents that the bench compares with does the same arithmetic as the stacked networks."""

from __future__ import annotations

import torch

from edge_rllib.experiment.bench.joint_update import DECISION, HIDDEN, LoopedNetworks, StackedNetworks, random_batch

N_AGENTS, N_ROWS = 3, 16


def test_a_loop_over_agents_and_stacked_networks_end_at_the_same_weights():
    torch.manual_seed(0)
    stacked, looped = StackedNetworks(N_AGENTS, "per_agent"), LoopedNetworks(N_AGENTS)
    stacked.policy.network.load_singles(looped.policies)
    with torch.no_grad():
        for i, single in enumerate(looped.critics):
            joint = single[0].weight
            n_seen = stacked.critic.first.context_weight.shape[-1]
            stacked.critic.first.context_weight[i] = joint[:, :n_seen]
            stacked.critic.first.decision_weight[i] = joint[:, n_seen:].unflatten(-1, (N_AGENTS, DECISION.n_vector))
            stacked.critic.first.bias[i] = single[0].bias
    stacked.critic.rest.load_singles([single[2:] for single in looped.critics])
    networks = stacked.update.networks
    networks.policy_copy.load_state_dict(stacked.policy.state_dict())
    networks.critic_copies[0].load_state_dict(stacked.critic.state_dict())
    looped.start()

    batch = random_batch(N_AGENTS, N_ROWS)
    for _ in range(3):
        stacked.step(batch)
        looped.step(batch)

    for i, single in enumerate(stacked.policy.network.singles()):
        for ours, theirs in zip(single.parameters(), looped.policies[i].parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    for i, single in enumerate(stacked.critic.rest.singles()):
        for ours, theirs in zip(single.parameters(), looped.critics[i][2:].parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    assert stacked.critic.first.bias.shape == (N_AGENTS, HIDDEN[0])
