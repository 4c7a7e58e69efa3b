"""From a module of the training to ``program``: the steps of a greedy decision, without critics and exploration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from edge_rllib.export.errors import PolicyError
from edge_rllib.export.program import (
    AMOUNTS,
    LOG_PROBS,
    MASK,
    MEMORY,
    NEXT_MEMORY,
    OBSERVATION,
    SCORES,
    TARGET,
    Program,
    Step,
)
from edge_rllib.modules.actor_critic import ActorCritic
from edge_rllib.modules.counterfactual import CounterfactualModule
from edge_rllib.modules.gru import GruCore
from edge_rllib.modules.joint import JointModule
from edge_rllib.modules.q_module import QModule
from edge_rllib.modules.stacked import StackedMlp
from edge_rllib.modules.target_mlp import TargetScorer
from edge_rllib.ops.categorical import MASKED_LOGIT
from edge_rllib.ops.hybrid import Sizes
from edge_rllib.ops.moments import CLIP
from envs.arrays import F4

ACTIVATIONS: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.ELU: "elu"}
_EXPORTED = "linear layers with relu, tanh, elu or silu, the scorer of target_mlp, and the core of gru"


class Traced(NamedTuple):
    """A network and the agents that it decides for."""

    members: tuple[int, ...]  # indices into the module's agents
    program: Program
    says: str  # LOG_PROBS or SCORES


def trace(module: Any, label: str) -> list[Traced]:
    """Return the networks of a module; one that is made of other parts than those known raises PolicyError.

    A joint module has a network for each group of agents, all others have one, for all their agents.
    """
    if isinstance(module, (JointModule, CounterfactualModule)):
        return _joint(module, label)
    if not isinstance(module, (ActorCritic, QModule)):
        raise PolicyError(
            f"module {label!r} is a {type(module).__name__}, which cannot be exported; expected ActorCritic, QModule, "
            "JointModule or CounterfactualModule"
        )
    sizes: Sizes = module.model_config["shape"].decision
    writer = _Writer(label)
    rows = writer.scaled(module.observation_scale)
    if isinstance(module, QModule):
        writer.decide(*writer.actor(module.score, rows, sizes, has_scores=True), sizes, SCORES)
        return [Traced((), writer.program(has_memory=False), SCORES)]
    if module.core is not None:
        rows = writer.remember(module.core, rows)
    writer.decide(*writer.actor(module.actor, rows, sizes, has_scores=True), sizes, LOG_PROBS)
    return [Traced((), writer.program(module.core is not None), LOG_PROBS)]


def _joint(module: JointModule | CounterfactualModule, label: str) -> list[Traced]:
    network, sizes = module.policy.network, module.sizes
    if not isinstance(network, StackedMlp):
        raise PolicyError(f"module {label!r}: its policy is a {type(network).__name__}; expected a StackedMlp")
    index = network.groups.index.tolist()
    traced = []
    for group, layers in enumerate(network.singles()):
        writer = _Writer(label)
        rows = writer.scaled(module.observation_scale)
        writer.decide(*writer.actor(layers, rows, sizes, sizes.n_targets > 1), sizes, LOG_PROBS)
        members = tuple(agent for agent, its_group in enumerate(index) if its_group == group)
        traced.append(Traced(members, writer.program(has_memory=False), LOG_PROBS))
    return traced


class _Writer:
    """Collects the steps of a network; methods take and return names of arrays."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._steps: list[Step] = []
        self._constants: dict[str, F4] = {}

    def program(self, has_memory: bool) -> Program:
        """Return what was collected."""
        program = Program(tuple(self._steps), self._constants, has_memory)
        program.check(f"module {self._label!r}")
        return program

    def step(self, operation: str, *arguments: str, output: str = "", **values: Any) -> str:
        """Add a step and return the name of its output."""
        output = output or f"{operation}_{len(self._steps)}"
        self._steps.append(Step(operation, arguments, output, values))
        return output

    def constant(self, values: Tensor | float, name: str) -> str:
        """Add a constant and return its name."""
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.array(values)
        name = f"{name}_{len(self._constants)}"
        self._constants[name] = np.array(array, np.float32, order="C")
        return name

    def scaled(self, scale: nn.Module | None) -> str:
        """Bring observations to unit scale."""
        if scale is None:
            return OBSERVATION
        centred = self.step("subtract", OBSERVATION, self.constant(scale.mean, "mean"))
        return self.step("clip", self.step("divide", centred, self.constant(scale.std, "std")), low=-CLIP, high=CLIP)

    def linear(self, rows: str, weight: Tensor, bias: Tensor | None) -> str:
        """Apply a linear layer with a weight (out, in)."""
        product = self.step("matmul", rows, self.constant(weight.T, "weight"))
        return product if bias is None else self.step("add", product, self.constant(bias, "bias"))

    def activate(self, layer: nn.Module, rows: str) -> str:
        """Apply an activation."""
        if type(layer) is nn.SiLU:
            return self.step("multiply", rows, self.step("sigmoid", rows))
        if type(layer) not in ACTIVATIONS or getattr(layer, "alpha", 1.0) != 1.0:
            raise self._refusal(layer)
        return self.step(ACTIVATIONS[type(layer)], rows)

    def layers(self, layers: nn.Module, rows: str) -> str:
        """Apply linear layers and activations in order."""
        if not isinstance(layers, nn.Sequential):
            raise self._refusal(layers)
        for layer in layers:
            is_linear = type(layer) is nn.Linear
            rows = self.linear(rows, layer.weight, layer.bias) if is_linear else self.activate(layer, rows)
        return rows

    def remember(self, core: nn.Module, rows: str) -> str:
        """Apply a gated recurrent unit for one step, as torch.nn.GRU defines it, and return the new memory."""
        if not isinstance(core, GruCore):
            raise self._refusal(core)
        unit = core.gru
        inputs = self.linear(self.layers(core.embed, rows), unit.weight_ih_l0, unit.bias_ih_l0)
        carried = self.linear(MEMORY, unit.weight_hh_l0, unit.bias_hh_l0)
        width = unit.hidden_size

        def part(name: str, index: int) -> str:
            return self.step("slice", name, begin=index * width, end=(index + 1) * width)

        reset, update = (
            self.step("sigmoid", self.step("add", part(inputs, index), part(carried, index))) for index in (0, 1)
        )
        kept = self.step("multiply", reset, part(carried, 2))
        candidate = self.step("tanh", self.step("add", part(inputs, 2), kept))
        change = self.step("multiply", update, self.step("subtract", MEMORY, candidate))
        return self.step("add", candidate, change, output=NEXT_MEMORY)

    def actor(self, actor: nn.Module, rows: str, sizes: Sizes, has_scores: bool) -> tuple[str, str]:
        """Apply a policy network; return scores (n, K) and amounts before squashing (n, K, A), "" for what it lacks."""
        n_targets, n_amounts = sizes.n_targets, sizes.n_amounts
        if isinstance(actor, TargetScorer):
            return self._target_scorer(actor, rows, sizes)
        outputs = self.layers(actor, rows)
        n_scores = n_targets if has_scores else 0
        scores = self.step("slice", outputs, begin=0, end=n_scores) if n_scores else ""
        if not n_amounts:
            return scores, ""
        means = self.step("slice", outputs, begin=n_scores, end=n_scores + n_targets * n_amounts)
        return scores, self.step("reshape", means, shape=[n_targets, n_amounts])

    def _target_scorer(self, actor: TargetScorer, rows: str, sizes: Sizes) -> tuple[str, str]:
        shape, n_targets = actor.shape, sizes.n_targets
        own = self.step("slice", rows, begin=0, end=shape.own_features)
        blocks = self.step("slice", rows, begin=shape.own_features, end=shape.n_features)
        targets = self.step("reshape", blocks, shape=[n_targets, shape.target_features])
        context = self.step(
            "add",
            self.linear(own, actor.own.weight, actor.own.bias),
            self.linear(self.step("mean_of_rows", targets), actor.pooled.weight, None),
        )
        context = self.step("reshape", context, shape=[1, actor.own.out_features])
        embedded = self.step("add", self.linear(targets, actor.target.weight, None), context)
        outputs = self.layers(actor.score, self.activate(actor.activate, embedded))
        scores = self.step("reshape", self.step("slice", outputs, begin=0, end=1), shape=[n_targets])
        if not sizes.n_amounts:
            return scores, ""
        return scores, self.step("slice", outputs, begin=1, end=1 + sizes.n_amounts)

    def decide(self, scores: str, means: str, sizes: Sizes, says: str) -> None:
        """Choose the best allowed target and its amounts, within their bounds."""
        scores = scores or self.constant(0.0, "no_score")
        forbidden = self.constant(MASKED_LOGIT, "forbidden")
        masked = self.step("where", MASK, scores, forbidden)
        if says == LOG_PROBS:
            masked = self.step("log_softmax", masked)
        self.step("where", MASK, masked, forbidden, output=says)  # exactly that: float32 moves in steps of 8 there
        target = self.step("argmax", says, output=TARGET)
        if not sizes.n_amounts:
            return
        raw = self.step("of_target", means, target)
        unit = self.step("sigmoid", self.step("multiply", raw, self.constant(2.0, "steepness")))
        spread = self.step("multiply", unit, self.constant(sizes.high - sizes.low, "range"))
        self.step("add", spread, self.constant(sizes.low, "low"), output=AMOUNTS)

    def _refusal(self, part: nn.Module) -> PolicyError:
        return PolicyError(
            f"module {self._label!r}: {type(part).__name__} in its policy cannot be exported; expected {_EXPORTED}"
        )


def agents_of(traced: Traced, agents: Sequence[int]) -> tuple[int, ...]:
    """Return the world's indices of a network's agents, given those of its module."""
    return tuple(int(agents[member]) for member in traced.members) if traced.members else tuple(map(int, agents))
