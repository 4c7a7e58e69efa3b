"""Central critics: values of the joint decision, for all agents in one pass.

A critic sees the global state, or all observations where there is none, and the decision vectors of all agents (see
``ops.hybrid.decision_vectors``). Axes: R rows (world-steps), N agents, F features, S of the state, W of a decision
vector, M alternatives, V values: N, or 1 for a team's.

An actor's gradient and COMA's baseline need Q_i with agent i's own decision replaced and the others' as they were, for
all i. Written plainly that is N copies of the joint input. Here it costs a small product: in ``shared`` and
``per_agent`` the first layer is linear, so that the own slot's change is added to what the layer made of the decisions
as they were; in ``attention`` an agent's own decision enters behind the attention.

With all decisions replaced, as in the target of a learned policy, call the critic on the new decisions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_rllib.modules.networks import ACTIVATIONS, check_widths, linear
from edge_rllib.modules.stacked import HIDDEN_GAIN, Groups, StackedLayerNorm, StackedLinear, StackedMlp, initial_weights
from envs.errors import ConfigError

CRITICS = ("shared", "per_agent", "attention", "own")
HEARD_SHARE = 2  # what an agent hears is half as wide as an embedding: attention costs most of an update on a CPU


class CriticShape(NamedTuple):
    """Sizes of what a central critic sees."""

    n_agents: int  # N
    n_features: int  # F
    n_state: int  # S; 0 where the critic sees all observations instead
    n_decision: int  # W
    group_of_agent: tuple[int, ...] = ()  # which agents share the weights of critic ``own``; none: every agent its own


class Situation(NamedTuple):
    """What is given when the agents decide."""

    observation: Tensor  # (R, N, F)
    state: Tensor | None = None  # (R, S); needed if the critic was built for one


class CentralCritic(nn.Module, ABC):
    """A critic over the joint decision."""

    n_values: int  # V
    sees_others: ClassVar[bool] = True  # values are those of the joint decision
    rest: nn.Module  # the layers behind the first ones, StackedLinear or StackedMlp

    @property
    def head(self) -> StackedLinear:
        """Return the last layer, such as to change the scale of values; one group a value."""
        last = self.rest.layers[-1] if isinstance(self.rest, StackedMlp) else self.rest
        assert isinstance(last, StackedLinear)
        return last

    @abstractmethod
    def forward(self, situation: Situation, decisions: Tensor) -> Tensor:
        """Return values (R, V) of decisions (R, N, W)."""

    @abstractmethod
    def alternatives(self, situation: Situation, decisions: Tensor, own: Tensor) -> Tensor:
        """Return (M, R, N): the value of agent i if it decided ``own[m, :, i]`` and the others as they did.

        ``own`` is (M, R, N, W). Where one team's value exists, entry i is that value with i's decision replaced.
        """

    def own_replaced(self, situation: Situation, decisions: Tensor, own: Tensor) -> Tensor:
        """Return ``alternatives`` for one alternative ``own`` (R, N, W) an agent, (R, N)."""
        return self.alternatives(situation, decisions, own.unsqueeze(0)).squeeze(0)


def build_critic(
    kind: str,
    shape: CriticShape,
    widths: Sequence[int],
    activation: str,
    initial: str = "orthogonal",
    has_layer_norm: bool = False,
    attention_heads: int = 2,
) -> CentralCritic:
    """Return a central critic.

    ``shared`` has one network and one value for the team; ``per_agent`` a network an agent, stacked; ``attention`` one
    set of weights for any number of agents, each of which attends to the others; ``own`` judges an agent by its own
    observation and decision alone, as DDPG, TD3 and SAC do.
    """
    check_widths("critic_hidden", widths, activation)
    if kind == "attention":
        if has_layer_norm or initial != "orthogonal":
            raise ConfigError("critic attention: expected orthogonal first weights and no layer normalisation")
        return AttentionCritic(shape, widths, activation, attention_heads)
    if kind == "own":
        return OwnCritic(shape, widths, activation, initial, has_layer_norm)
    if kind in CRITICS:
        return JointCritic(shape, widths, activation, kind == "per_agent", initial, has_layer_norm)
    raise ConfigError(f"critic = {kind!r}: expected one of {', '.join(CRITICS)}")


class JointCritic(CentralCritic):
    """Networks over the concatenation of the situation and all decisions: one for the team, or one for each agent."""

    def __init__(
        self,
        shape: CriticShape,
        widths: Sequence[int],
        activation: str,
        is_per_agent: bool,
        initial: str,
        has_layer_norm: bool,
    ) -> None:
        super().__init__()
        self.n_values = shape.n_agents if is_per_agent else 1
        self.has_state = shape.n_state > 0
        groups = Groups(range(self.n_values))
        self.first = JointLayer(shape, self.n_values, widths[0], initial)
        self.norm = StackedLayerNorm(groups, widths[0]) if has_layer_norm else nn.Identity()
        self.activate = ACTIVATIONS[activation]()
        if len(widths) > 1:
            self.rest = StackedMlp(groups, widths[0], widths[1:], 1, activation, initial, 1.0, has_layer_norm)
        else:
            self.rest = StackedLinear(groups, widths[0], 1, initial)

    def forward(self, situation: Situation, decisions: Tensor) -> Tensor:
        """Return values (R, V) of decisions (R, N, W)."""
        return self._values(self.first(self._context(situation), decisions))

    def alternatives(self, situation: Situation, decisions: Tensor, own: Tensor) -> Tensor:
        """Return values (M, R, N) of own decisions (M, R, N, W) among the others' as they were."""
        hidden = self.first(self._context(situation), decisions)  # (R, V, h)
        hidden = hidden.movedim(0, 1).unsqueeze(1) + self.first.own_change(own - decisions)  # (N, M, R, h)
        if self.n_values > 1:
            return self._values(hidden.movedim(0, -2))
        return self._values(hidden.unsqueeze(-2)).squeeze(-1).movedim(0, -1)

    def _context(self, situation: Situation) -> Tensor:
        if not self.has_state:
            return situation.observation.flatten(1)
        assert situation.state is not None
        return situation.state

    def _values(self, hidden: Tensor) -> Tensor:
        values: Tensor = self.rest(self.activate(self.norm(hidden))).squeeze(-1)
        return values


class JointLayer(nn.Module):
    """The first layer of V networks that all see the same joint input: one product for all."""

    def __init__(self, shape: CriticShape, n_values: int, width: int, initial: str) -> None:
        super().__init__()
        n_context = shape.n_state or shape.n_agents * shape.n_features
        n_inputs = n_context + shape.n_agents * shape.n_decision
        # outputs before inputs, so that all networks' weights are one matrix without a copy
        weight = initial_weights(n_values, n_inputs, width, initial, HIDDEN_GAIN).transpose(1, 2)
        bound = 0.0 if initial == "orthogonal" else 1.0 / math.sqrt(n_inputs)
        decision = weight[..., n_context:].unflatten(-1, (shape.n_agents, shape.n_decision))
        self.context_weight = nn.Parameter(weight[..., :n_context].contiguous())  # (V, h, C)
        self.decision_weight = nn.Parameter(decision.contiguous())  # (V, h, N, W)
        self.bias = nn.Parameter(torch.empty(n_values, width).uniform_(-bound, bound))

    def forward(self, context: Tensor, decisions: Tensor) -> Tensor:
        """Return (R, V, h) of a context (R, C) and decisions (R, N, W)."""
        seen = functional.linear(context, self.context_weight.flatten(0, 1), self.bias.flatten())
        hidden = torch.addmm(seen, decisions.flatten(1), self.decision_weight.flatten(0, 1).flatten(1).T)
        return hidden.unflatten(-1, self.bias.shape)

    def own_change(self, change: Tensor) -> Tensor:
        """Return (N, M, R, h): what a change (M, R, N, W) of agent i's own decision adds to the network judging i.

        With one network for all, entry i is what the change of i's decision alone adds to it.
        """
        by_agent = change.movedim(-2, 0).contiguous()
        weight = self.decision_weight
        if len(weight) > 1:
            own = weight.diagonal(dim1=0, dim2=2).permute(2, 1, 0)  # (N, W, h)
        else:
            own = weight.squeeze(0).permute(1, 2, 0)
        return torch.bmm(by_agent.flatten(1, 2), own).unflatten(1, by_agent.shape[1:3])


class AttentionCritic(CentralCritic):
    """A critic whose weights all agents share and whose size does not depend on how many there are.

    An agent listens to the others by their observations and decisions, guided by its own observation; what it heard,
    its own observation and decision make the value. The multi-head form is that of Iqbal and Sha, Actor-Attention-
    Critic for Multi-Agent Reinforcement Learning, 2019, there with some weights for each agent, here with none.
    """

    def __init__(self, shape: CriticShape, widths: Sequence[int], activation: str, attention_heads: int) -> None:
        """Take the width of embeddings first, then those of the layers behind the attention."""
        super().__init__()
        if attention_heads < 1 or widths[0] % (2 * attention_heads):
            raise ConfigError(f"attention_heads = {attention_heads}: expected a divisor of half the width {widths[0]}")
        self.n_values = shape.n_agents
        n_outputs = widths[1] if len(widths) > 1 else widths[0]
        # a list of one, whose parameters' names checkpoints have
        self.listeners = nn.ModuleList([Listener(shape, widths[0], n_outputs, activation, attention_heads)])
        groups = Groups([0])
        self.activate = ACTIVATIONS[activation]()
        if len(widths) > 2:
            self.rest = StackedMlp(groups, widths[1], widths[2:], 1, activation)
        else:
            self.rest = StackedLinear(groups, widths[-1], 1)

    def forward(self, situation: Situation, decisions: Tensor) -> Tensor:
        """Return values (R, N) of decisions (R, N, W)."""
        return self._values(self.listeners[0](situation, decisions))

    def alternatives(self, situation: Situation, decisions: Tensor, own: Tensor) -> Tensor:
        """Return values (M, R, N) of own decisions (M, R, N, W) among the others' as they were."""
        return self._values(self.listeners[0](situation, decisions, own))

    def _values(self, hidden: Tensor) -> Tensor:
        values: Tensor = self.rest(self.activate(hidden)).squeeze(-1)
        return values


class OwnCritic(CentralCritic):
    """Values of each agent's own decision by its own observation, and the global state where there is one.

    Others are part of the world: independent learners, or the one agent of a world that decides for all.
    """

    sees_others = False

    def __init__(
        self, shape: CriticShape, widths: Sequence[int], activation: str, initial: str, has_layer_norm: bool
    ) -> None:
        super().__init__()
        self.n_values, self.has_state = shape.n_agents, shape.n_state > 0
        groups = Groups(shape.group_of_agent or range(shape.n_agents))
        n_inputs = shape.n_features + shape.n_state + shape.n_decision
        self.rest = StackedMlp(groups, n_inputs, widths, 1, activation, initial, 1.0, has_layer_norm)

    def forward(self, situation: Situation, decisions: Tensor) -> Tensor:
        """Return values (..., N) of decisions (..., N, W)."""
        seen = situation.observation
        if self.has_state:
            assert situation.state is not None
            seen = torch.cat((seen, situation.state.unsqueeze(-2).expand(*seen.shape[:-1], -1)), -1)
        rows = torch.cat((seen.expand(*decisions.shape[:-1], -1), decisions), -1)
        values: Tensor = self.rest(rows).squeeze(-1)
        return values

    def alternatives(self, situation: Situation, decisions: Tensor, own: Tensor) -> Tensor:
        """Return values (M, R, N) of own decisions (M, R, N, W), whatever the others do."""
        return self(situation, own)


class Listener(nn.Module):
    """What a critic makes of each agent's observation, decision and the others, before the layers of values."""

    def __init__(self, shape: CriticShape, width: int, n_outputs: int, activation: str, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        n_heard = width // HEARD_SHARE
        self.see_and_ask = linear(shape.n_features, width + n_heard, HIDDEN_GAIN)
        self.decide = nn.Linear(shape.n_decision, width, bias=False)
        self.activate = ACTIVATIONS[activation]()
        self.key_and_value = nn.Linear(width, 2 * n_heard, bias=False)  # softmax would cancel the bias of a key
        self.own = linear(width, n_outputs, HIDDEN_GAIN)
        self.heard = nn.Linear(n_heard, n_outputs, bias=False)
        self.state = nn.Linear(shape.n_state, n_outputs, bias=False) if shape.n_state else None

    def forward(self, situation: Situation, decisions: Tensor, own: Tensor | None = None) -> Tensor:
        """Return (R, N, h), or (M, R, N, h) for own decisions (M, R, N, W) among the others' as they were."""
        seen, query = self.see_and_ask(situation.observation).split((self.own.in_features, self.heard.in_features), -1)
        embedding = self.activate(seen + self.decide(decisions))
        context = self.heard(self._listen(query, embedding))
        if self.state is not None:
            assert situation.state is not None
            context = context + self.state(situation.state).unsqueeze(-2)
        mine = embedding if own is None else self.activate(seen + self.decide(own))
        return context + self.own(mine)

    def _listen(self, query: Tensor, embedding: Tensor) -> Tensor:
        """Return what each agent hears of the others, like ``query`` (R, N, width / 2); one alone hears nothing."""
        key, value = self.key_and_value(embedding).chunk(2, -1)
        n_agents = embedding.shape[-2]
        if n_agents == 1:
            return 0.0 * (query + key + value)  # every parameter has a gradient, of zero

        def by_head(rows: Tensor) -> Tensor:
            return rows.unflatten(-1, (self.n_heads, -1)).transpose(-3, -2)

        others = ~torch.eye(n_agents, dtype=torch.bool, device=embedding.device)
        heard = functional.scaled_dot_product_attention(by_head(query), by_head(key), by_head(value), attn_mask=others)
        return heard.transpose(-3, -2).flatten(-2)
