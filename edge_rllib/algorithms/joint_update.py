"""Gradient steps of off-policy learning with central critics, on networks of any origin; no Ray in here.

The learner runs them on the networks of its module; the comparison with ExplabOff's released code runs them on the
released weights. Order of a step: critics, then policies against the critics just moved, then the moving copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edge_rllib.algorithms import checks
from edge_rllib.modules.critics import CentralCritic, Situation
from edge_rllib.modules.joint_policy import JointPolicy, Says
from edge_rllib.modules.stacked import clip_group_norms
from edge_rllib.ops import categorical, hybrid, multi_agent, traces
from edge_rllib.ops.traces import EXACTLY, Agreement

SumGradients = Callable[[Sequence[Tensor]], None]
OTHERS = ("replay", "policy")
LARGEST_RAW = 1.5  # squashed 0.95 of the range; from 3 on the slope of squashing is below a hundredth
TARGET_GRADIENTS = ("gumbel", "expectation")


class Step(NamedTuple):
    """One step of each of R transitions."""

    now: Situation
    mask: Tensor  # (R, N, K)
    target: Tensor  # (R, N)
    amounts: Tensor  # (R, N, A)
    logp: Tensor  # (R, N) with which the decisions were drawn
    decisions: Tensor  # (R, N, W) as critics see them
    reward: Tensor  # (R, N)
    discount: Tensor  # (R,) weight of the value behind
    is_alive: Tensor  # (R,) False beyond a transition's end
    behind: Situation
    behind_mask: Tensor  # (R, N, K)


class Transitions(NamedTuple):
    """A minibatch of joint transitions, or the part of R rows that one learner works on."""

    now: Situation
    mask: Tensor  # (R, N, K)
    decisions: Tensor  # (R, N, W) as critics see them
    returns: Tensor  # (R, N)
    discount: Tensor  # (R,) weight of the value behind
    weight: Tensor  # (R,) importance weights
    behind: Situation
    behind_mask: Tensor  # (R, N, K)
    path: Sequence[Step] = ()  # all steps one by one, where targets follow their decisions by Retrace


@dataclass(frozen=True)
class UpdateRules:
    """How a step is made; the names of algorithms stand for settings of it."""

    target_rate: float = 0.01  # share by which the copies move each time
    grad_clip: float = 0.5  # largest norm of the gradient of a critic, and of one group's policy
    policy_interval: int = 1  # critic steps to a step of policies and copies; MATD3 has 2
    smoothing_std: float = 0.0  # of noise on the amounts behind a transition, in units of the amount
    smoothing_clip: float = 0.0  # largest noise
    others: str = "replay"  # decisions of the others in an agent's policy loss: from replay, or of their policies
    target_gradient: str = "gumbel"  # of the choice of a target: one relaxed draw, or the expectation over all
    relaxation: float = 1.0  # temperature of the relaxed draw
    entropy_coeff: float = 0.0  # weight of the entropy of targets in the loss of deterministic policies
    decision_penalty: float = 0.0  # weight of the mean square of decisions, as in ExplabOff's release
    trace_decay: float = 1.0  # of Retrace, a step
    agreement: Agreement = EXACTLY  # when deterministic amounts are those that were decided
    saturation_penalty: float = 0.0  # weight of the mean square of what amounts before squashing exceed LARGEST_RAW by

    def __post_init__(self) -> None:
        checks.one_of(self, others=OTHERS, target_gradient=TARGET_GRADIENTS)


class Networks(NamedTuple):
    """The networks of a step and their moving copies; two critics for the twin minimum.

    Where the policy is its own copy, targets come from the present policy.
    """

    policy: JointPolicy
    critics: Sequence[CentralCritic]
    policy_copy: JointPolicy
    critic_copies: Sequence[CentralCritic]


class Noise:
    """Random numbers of a step: drawn for the whole minibatch, so that each learner's part is the same in any split."""

    def __init__(self, generator: torch.Generator) -> None:
        """Use a generator that is in the same state on all learners."""
        self.generator = generator
        self.n_rows, self.part = 0, slice(None)

    def gumbel(self, *shape: int) -> Tensor:
        """Return Gumbel noise for this learner's rows, (R, ...)."""
        uniform = torch.rand(self.n_rows, *shape, generator=self.generator, device=self.generator.device)
        return multi_agent.gumbel(uniform[self.part])

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers for this learner's rows, (R, ...)."""
        return torch.randn(self.n_rows, *shape, generator=self.generator, device=self.generator.device)[self.part]


class JointUpdate:
    """Steps of policies with deterministic amounts: MADDPG; and MATD3 with two critics, smoothing, delayed policies.

    [Lowe et al., Multi-Agent Actor-Critic for Mixed Cooperative-Competitive Environments, 2017; Fujimoto et al.,
    Addressing Function Approximation Error in Actor-Critic Methods, 2018; Ackermann et al., Reducing Overestimation
    Bias in Multi-Agent Domains, 2019]
    """

    def __init__(
        self,
        networks: Networks,
        optimizers: dict[str, torch.optim.Optimizer],
        rules: UpdateRules,
        generator: torch.Generator,
        sum_gradients: SumGradients | None = None,
    ) -> None:
        """Take networks, the optimizers ``critic`` and ``actor``, and what adds up gradients over learners."""
        self.networks, self.optimizers, self.rules = networks, optimizers, rules
        self.sizes = networks.policy.sizes
        self.noise = Noise(generator)
        self.sum_gradients = sum_gradients
        self.n_steps = 0
        self.entropy_coeff = rules.entropy_coeff  # may follow a schedule
        self.figures: dict[str, Tensor] = {}  # of the latest steps of critics and policies, on their device

    def step(self, batch: Transitions, n_rows: int, part: slice) -> Tensor:
        """Do one gradient step; return the absolute temporal-difference errors (R,) of this learner's rows.

        ``n_rows`` is the number of rows of the minibatch over all learners, ``part`` says which ones ``batch`` holds.
        """
        self.noise.n_rows, self.noise.part = n_rows, part
        errors = self._step_critics(batch)
        self.n_steps += 1
        if self.n_steps % self.rules.policy_interval == 0:
            self._step_policies(batch)
            self._move_copies()
        return errors

    @torch.no_grad()
    def targets(self, batch: Transitions) -> Tensor:
        """Return the values (R, V) that critics are moved to."""
        if batch.path:
            return self._retraced(batch.path)
        return self.td_targets(batch, self.state_values(batch.behind, batch.behind_mask))

    def state_values(self, behind: Situation, mask: Tensor) -> Tensor:
        """Return the values (R, V) of what the copied policies decide, with noise where the rules smooth."""
        says = self.networks.policy_copy(behind.observation, mask)
        amounts = hybrid.squash(says.mean, self.sizes)
        if self.rules.smoothing_std:
            noise, rules = self.noise.normal(*amounts.shape[1:]), self.rules
            limits = rules.smoothing_clip, self.sizes.low, self.sizes.high
            amounts = multi_agent.smoothed(amounts, noise, rules.smoothing_std, *limits)
        return self.copied_values(behind, self.sampled(says.log_probs, amounts))

    def log_ratio(self, says: Says, step: Step) -> Tensor:
        """Return the logarithm (R, N) of how much likelier the policies are to decide as the step did."""
        chosen = says.log_probs.gather(-1, step.target.unsqueeze(-1)).squeeze(-1)
        amounts = hybrid.of_target(hybrid.squash(says.mean, self.sizes), step.target)
        is_same = traces.same_amounts(amounts, step.amounts, self.rules.agreement)
        return (chosen - step.logp).masked_fill(~is_same, -torch.inf)

    def policy_loss(self, batch: Transitions) -> Tensor:
        """Return the loss of the policies, and write down their figures."""
        rules, n_rows = self.rules, self.noise.n_rows
        says = self.networks.policy(batch.now.observation, batch.mask)
        amounts = hybrid.squash(says.mean, self.sizes)
        entropy = categorical.entropy(says.log_probs)
        values, decisions = self.values_now(batch, says.log_probs, amounts)
        loss = multi_agent.policy_loss(values, entropy, self.entropy_coeff, n_rows)
        if rules.decision_penalty:
            n_numbers = decisions[0].numel() * n_rows
            loss = loss + rules.decision_penalty * decisions.square().sum() / n_numbers
        if rules.saturation_penalty and self.sizes.n_amounts:
            excess = (says.mean.abs() - LARGEST_RAW).clamp_min(0.0)
            loss = loss + rules.saturation_penalty * excess.square().sum() / (excess[0].numel() * n_rows)
        self.figures["target_entropy"] = entropy.detach().mean()
        return loss

    def copied_values(self, situation: Situation, decisions: Tensor) -> Tensor:
        """Return the copies' least values (R, V) of joint decisions (R, N, W)."""
        return multi_agent.twin_minimum([copy(situation, decisions) for copy in self.networks.critic_copies])

    def td_targets(self, batch: Transitions, behind: Tensor) -> Tensor:
        """Return targets (R, V) for values behind; a team's value is that of the agents' mean reward."""
        return multi_agent.td_targets(_by_value(batch.returns, behind), batch.discount, behind)

    def _retraced(self, path: Sequence[Step]) -> Tensor:
        """Return Retrace's targets (R, V); one trace for all agents where values are of the joint decision."""
        values = [self.copied_values(step.now, step.decisions) for step in path]
        behind = [self.state_values(step.behind, step.behind_mask) for step in path]
        rewards = [_by_value(step.reward, value) for step, value in zip(path, values, strict=True)]
        weights = [torch.ones_like(values[0])]
        for step, value in zip(path[1:], values[1:], strict=True):
            ratio = self.log_ratio(self.networks.policy(step.now.observation, step.mask), step)
            if self.networks.critics[0].sees_others:
                ratio = ratio.sum(-1, keepdim=True)
            weight = self.rules.trace_decay * ratio.clamp_max(0.0).exp() * step.is_alive.unsqueeze(-1)
            weights.append(weight.expand_as(value))
        return traces.retrace(values, rewards, behind, [step.discount for step in path], weights)

    def values_now(self, batch: Transitions, log_probs: Tensor, amounts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first critic's values (R, V) of the policies' decisions, and these decisions.

        Both have the gradients of the policies. A relaxed draw makes decisions (R, N, W); the expectation over targets
        makes (R, N, K, W). Against a team's value all policies move at once with ``others: policy``: an agent's own
        gradient is the same as if its decision alone were replaced.
        """
        critic = self.networks.critics[0]
        is_one_draw = self.rules.target_gradient == "gumbel" or self.sizes.n_targets == 1
        of_policies = self.rules.others == "policy"
        others = batch.decisions
        if is_one_draw or of_policies:
            drawn = self.relaxed(log_probs, amounts)
            if of_policies:
                others = drawn.detach()
            if is_one_draw and of_policies and critic.n_values == 1:
                return critic(batch.now, drawn), drawn
            if is_one_draw:
                return critic.own_replaced(batch.now, others, drawn), drawn
        each = multi_agent.decisions_of_each(amounts)
        values = critic.alternatives(batch.now, others, each.movedim(-2, 0))
        return multi_agent.expected(log_probs, values.movedim(0, -1)), each

    def sampled(self, log_probs: Tensor, amounts: Tensor) -> Tensor:
        """Return decisions (R, N, W) with targets drawn from the policies."""
        chosen = torch.ones_like(log_probs)
        if self.sizes.n_targets > 1:
            chosen = multi_agent.chosen_targets(log_probs, self.noise.gumbel(*log_probs.shape[1:]))
        return multi_agent.decisions_of(chosen, amounts)

    def relaxed(self, log_probs: Tensor, amounts: Tensor) -> Tensor:
        """Return decisions (R, N, W) drawn from the policies, with their gradient."""
        chosen = torch.ones_like(log_probs)
        if self.sizes.n_targets > 1:
            noise = self.noise.gumbel(*log_probs.shape[1:])
            chosen = multi_agent.straight_through(log_probs, noise, self.rules.relaxation)
        return multi_agent.decisions_of(chosen, amounts)

    def _step_critics(self, batch: Transitions) -> Tensor:
        critics = self.networks.critics
        targets = self.targets(batch)
        values = [critic(batch.now, batch.decisions) for critic in critics]
        loss = multi_agent.critic_loss(values, targets, batch.weight, self.noise.n_rows)
        self.differentiate(loss, "critic")
        for critic in critics:
            nn.utils.clip_grad_norm_(critic.parameters(), self.rules.grad_clip, foreach=True)
        self.optimizers["critic"].step()
        values = [value.detach() for value in values]
        self.figures |= {"critic_loss": loss.detach(), "q_mean": values[0].mean()}
        return multi_agent.td_errors(values, targets)

    def _step_policies(self, batch: Transitions) -> None:
        loss = self.policy_loss(batch)
        self.differentiate(loss, "actor")
        clip_group_norms(_parameters(self.optimizers["actor"]), self.rules.grad_clip)
        self.optimizers["actor"].step()
        self.figures["policy_loss"] = loss.detach()

    def _move_copies(self) -> None:
        networks = self.networks
        mains: list[nn.Module] = list(networks.critics)
        copies: list[nn.Module] = list(networks.critic_copies)
        if networks.policy_copy is not networks.policy:
            mains, copies = [*mains, networks.policy], [*copies, networks.policy_copy]
        multi_agent.polyak(mains, copies, self.rules.target_rate)

    def differentiate(self, loss: Tensor, optimizer: str) -> None:
        """Set the gradients of an optimizer's parameters, and of no others, summed over learners."""
        parameters = _parameters(self.optimizers[optimizer])
        gradients = torch.autograd.grad(loss, parameters)
        if self.sum_gradients is not None:
            self.sum_gradients(gradients)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient


def _by_value(rewards: Tensor, values: Tensor) -> Tensor:
    """Return rewards (R, N) for values (R, V): a team's is the mean of its agents'."""
    return rewards if values.shape[-1] == rewards.shape[-1] else rewards.mean(-1, keepdim=True)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
