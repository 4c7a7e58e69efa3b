"""How fast all agents are updated at once: stacked networks and a shared attention critic against a loop over agents.

One update is MADDPG's: critics, policies against the critics just moved, moving copies. All variants get the same
batch and policies of the same sizes. The loop and the stacked networks have critics of the same sizes, too, and do the
same arithmetic (a test holds their weights together).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edge_rllib.algorithms.joint_update import JointUpdate, Networks, Transitions, UpdateRules
from edge_rllib.experiment.bench.table import Row, rate
from edge_rllib.modules.critics import CriticShape, Situation, build_critic
from edge_rllib.modules.joint_policy import JointPolicy
from edge_rllib.modules.stacked import Groups, StackedMlp
from edge_rllib.ops.hybrid import Sizes

N_AGENTS, N_ROWS = 50, 1024
N_FEATURES = 110  # what a device sees in the MEC world with 3 servers and 50 devices: 2 * 3 + 2 * 50 + 4
DECISION = Sizes(1, 2, -1.0, 1.0)  # ExplabOff's box: a number for the server, a number for the share
HIDDEN = (64, 64)
ATTENTION_HIDDEN = (32, 64)  # embeddings of half the width: all agents' rows train the same weights
GAMMA, TARGET_RATE, LEARNING_RATE = 0.95, 0.01, 0.001
_REPEATS = 5


def rows() -> list[Row]:
    """Return the measurements of ``edge-rllib bench joint_update``."""
    torch.set_num_threads(1)
    loop = _rate(loop_update(N_AGENTS))
    return [
        _beside_loop("stacked networks", "per_agent", loop, must=2.0, aim=2.5),
        _beside_loop("shared attention critic of width 32", "attention", loop, must=10.0, aim=10.0),
        *_growth("attention", (25, 50, 100)),
        *_growth("per_agent", (25, 50)),
    ]


def _beside_loop(what: str, kind: str, loop: float, must: float, aim: float) -> Row:
    label = f"one joint update, {N_AGENTS} agents, {N_ROWS:,} rows: {what}"
    value = _rate(stacked_update(N_AGENTS, kind))
    return Row(label, value, "updates/s", must, aim, reference=loop, reference_is="a loop over agents")


def _growth(kind: str, sizes: tuple[int, ...], fewest: int = 10) -> list[Row]:
    """Return agents updated a second, beside those of few agents: a ratio of 1 is a cost linear in their number."""
    reference = fewest * _rate(stacked_update(fewest, kind))
    return [
        Row(
            f"{kind} critic, {n_agents} agents",
            n_agents * _rate(stacked_update(n_agents, kind)),
            "agents/s",
            must=0.5 if kind == "attention" else 0.0,
            aim=1.0,
            reference=reference,
            reference_is=f"{fewest} agents",
        )
        for n_agents in sizes
    ]


def _rate(update: Callable[[], None]) -> float:
    def once() -> int:
        update()
        return 1

    return rate(once, _REPEATS)


def random_batch(n_agents: int, n_rows: int = N_ROWS) -> Transitions:
    """Return transitions of random numbers."""
    decisions = torch.rand(n_rows, n_agents, DECISION.n_vector) * 2.0 - 1.0
    mask = torch.ones(n_rows, n_agents, 1, dtype=torch.bool)
    now, behind = (Situation(torch.randn(n_rows, n_agents, N_FEATURES)) for _ in range(2))
    discount = torch.full((n_rows,), GAMMA)
    return Transitions(now, mask, decisions, torch.randn(n_rows, n_agents), discount, torch.ones(n_rows), behind, mask)


class StackedNetworks:
    """Policies and a critic of all agents, with the update of the off-policy algorithms."""

    def __init__(self, n_agents: int, kind: str) -> None:
        policies = StackedMlp(Groups(range(n_agents)), N_FEATURES, HIDDEN, DECISION.n_amounts)
        self.policy = JointPolicy(policies, DECISION, is_stochastic=False)
        shape = CriticShape(n_agents, N_FEATURES, 0, DECISION.n_vector)
        widths = ATTENTION_HIDDEN if kind == "attention" else HIDDEN
        self.critic = build_critic(kind, shape, widths, "relu")
        networks = Networks(self.policy, [self.critic], copy.deepcopy(self.policy), [copy.deepcopy(self.critic)])
        optimizers = {
            name: torch.optim.Adam(network.parameters(), LEARNING_RATE, fused=True)
            for name, network in (("critic", self.critic), ("actor", self.policy))
        }
        rules = UpdateRules(target_rate=TARGET_RATE, grad_clip=float("inf"))
        self.update = JointUpdate(networks, optimizers, rules, torch.Generator())

    def step(self, batch: Transitions) -> None:
        """Do one update."""
        self.update.step(batch, len(batch.returns), slice(None))


def stacked_update(n_agents: int, kind: str) -> Callable[[], None]:
    """Return a function that does one update of stacked networks."""
    torch.manual_seed(0)
    networks, batch = StackedNetworks(n_agents, kind), random_batch(n_agents)
    return lambda: networks.step(batch)


def network(n_inputs: int, n_outputs: int) -> nn.Sequential:
    """Return one agent's network."""
    first, second = HIDDEN
    return nn.Sequential(
        nn.Linear(n_inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, n_outputs)
    )


class LoopedNetworks:
    """A policy and a critic an agent, updated one after the other, as most implementations have it."""

    def __init__(self, n_agents: int) -> None:
        n_joint = n_agents * (N_FEATURES + DECISION.n_vector)
        self.policies = [network(N_FEATURES, DECISION.n_amounts) for _ in range(n_agents)]
        self.critics = [network(n_joint, 1) for _ in range(n_agents)]
        self.start()

    def start(self) -> None:
        """Make copies and optimizers of the networks as they are."""
        self.policy_copies, self.critic_copies = copy.deepcopy(self.policies), copy.deepcopy(self.critics)
        self.policy_steps, self.critic_steps = (
            [torch.optim.Adam(one.parameters(), LEARNING_RATE, fused=True) for one in networks]
            for networks in (self.policies, self.critics)
        )

    def step(self, batch: Transitions) -> None:
        """Do one update."""
        n_agents = len(self.policies)
        with torch.no_grad():
            seen = batch.behind.observation
            chosen = torch.stack([torch.tanh(self.policy_copies[i](seen[:, i])) for i in range(n_agents)], 1)
            behind = torch.cat((seen.flatten(1), chosen.flatten(1)), -1)
        situation = batch.now.observation.flatten(1)
        joint = torch.cat((situation, batch.decisions.flatten(1)), -1)
        for i in range(n_agents):
            with torch.no_grad():
                target = batch.returns[:, i] + batch.discount * self.critic_copies[i](behind).squeeze(-1)
            loss = (self.critics[i](joint).squeeze(-1) - target).square().mean()
            _descend(self.critics[i], self.critic_steps[i], loss / n_agents)
            decisions = batch.decisions.clone()
            decisions[:, i] = torch.tanh(self.policies[i](batch.now.observation[:, i]))
            value = self.critics[i](torch.cat((situation, decisions.flatten(1)), -1)).mean()
            _descend(self.policies[i], self.policy_steps[i], -value / n_agents)
        self._move_copies()

    @torch.no_grad()
    def _move_copies(self) -> None:
        for main, moving in zip(self.policies + self.critics, self.policy_copies + self.critic_copies, strict=True):
            for parameter, copied in zip(main.parameters(), moving.parameters(), strict=True):
                copied.lerp_(parameter, TARGET_RATE)


def loop_update(n_agents: int) -> Callable[[], None]:
    """Return a function that does one update in a loop over agents."""
    torch.manual_seed(0)
    networks, batch = LoopedNetworks(n_agents), random_batch(n_agents)
    return lambda: networks.step(batch)


def _descend(one: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Do a step of one network with its own gradient alone."""
    parameters = list(one.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
