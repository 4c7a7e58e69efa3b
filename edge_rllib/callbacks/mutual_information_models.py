"""What the mutual-information reward fits: estimators and entropies, with variables, input scale and optimizer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_rllib.algorithms.reward_terms import JointBatch
from edge_rllib.callbacks.mutual_information_params import BoundParams, MutualInformationParams, estimator_class
from edge_rllib.ops.moments import RunningScale, moments
from edge_rllib.ops.mutual_information.entropies import JointEntropies, Surprises
from edge_rllib.ops.mutual_information.variables import Pairing, WorldSizes

SLAB_ROWS = 16_384  # rows evaluated at a time; bounds the scores to 64 MB a thousand negatives


class Fitted:
    """A network of pairs that is fitted, and its bookkeeping."""

    def __init__(self, network: Any, pairing: Pairing, params: MutualInformationParams, device: Any) -> None:
        self.pairing = pairing
        self.network: nn.Module = network.to(device)
        self.scale = RunningScale(pairing.n_x).to(device) if params.normalise_state else None
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=params.learning_rate, fused=True)
        self.n_fitted = 0

    @property
    def agents(self) -> range:
        """Return whose variables there are; one stands for all where they are joint."""
        return range(self.pairing.sizes.n_agents if self.pairing.is_by_agent else 1)

    def rows(self, steps: JointBatch, agent: int) -> tuple[Tensor, Tensor]:
        """Return the variables of world-steps, x at unit scale."""
        x, y = self.pairing.rows(steps, agent)
        return (x if self.scale is None else self.scale(x)), y

    def observe(self, steps: JointBatch) -> None:
        """Move the scale of x by new world-steps."""
        if self.scale is not None:
            for agent in self.agents:
                self.scale.merge(moments(self.pairing.rows(steps, agent)[0]))

    def step(self, loss: Tensor) -> None:
        """Do a gradient step."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.n_fitted += 1

    def get_state(self) -> dict[str, Any]:
        """Return weights, scale and optimizer."""
        state = {
            "network": self.network.state_dict(),
            "scale": None if self.scale is None else self.scale.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "n_fitted": self.n_fitted,
        }
        return copy.deepcopy(state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over weights, scale and optimizer."""
        self.network.load_state_dict(state["network"])
        if self.scale is not None:
            self.scale.load_state_dict(state["scale"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.n_fitted = state["n_fitted"]


class Bound:
    """An estimator of one side, with its data and weight."""

    def __init__(self, params: MutualInformationParams, bound: BoundParams, sizes: WorldSizes, device: Any) -> None:
        self.params = bound
        pairing = Pairing(bound.variables, params.state, params.decisions, sizes)
        make: Any = estimator_class(bound.estimator, "mutual_information")
        self.estimator = make(params.estimator, pairing.n_x, pairing.layout)
        self.fitted = Fitted(self.estimator, pairing, params, device)

    @property
    def unit(self) -> str:
        """Return the unit of estimates."""
        return "score" if self.estimator.side == "score" else "nats"

    def fit(self, steps: JointBatch, generator: np.random.Generator) -> None:
        """Do a gradient step, on the variables of one agent where they are not joint: its rows alone are negatives."""
        agents = self.fitted.agents
        agent = int(generator.integers(len(agents))) if len(agents) > 1 else 0
        self.fitted.step(self.estimator.loss(*self.fitted.rows(steps, agent)))

    @torch.no_grad()
    def values(self, steps: JointBatch, generator: np.random.Generator) -> Tensor:
        """Return the contribution of each row, (R, 1), or (R, N) where variables are those of one agent.

        Rows meet in random order, since neighbours in time would be negatives that look alike.
        """
        n_rows = len(steps.target)
        order = torch.from_numpy(generator.permutation(n_rows)).to(steps.target.device)
        result = torch.empty((n_rows, len(self.fitted.agents)), device=steps.target.device)
        for agent in self.fitted.agents:
            x, y = self.fitted.rows(steps, agent)
            for slab in order.tensor_split(-(-n_rows // SLAB_ROWS)):
                result[slab, agent] = self.estimator.values(x[slab], y[slab])
        return result


class Entropies:
    """Entropies of the joint decision, by one density that is fitted on the latest episodes."""

    def __init__(self, params: MutualInformationParams, sizes: WorldSizes, device: Any) -> None:
        pairing = Pairing("state_joint", params.state, "vectors", sizes)
        self.density = JointEntropies(params.estimator, pairing.n_x, pairing.layout)
        self.fitted = Fitted(self.density, pairing, params, device)

    def fit(self, steps: JointBatch, generator: np.random.Generator) -> None:
        """Do a gradient step."""
        chances = torch.Generator().manual_seed(int(generator.integers(2**31)))
        self.fitted.step(self.density.loss(*self.fitted.rows(steps, 0), chances))

    def surprises(self, steps: JointBatch) -> Surprises:
        """Return the rows' surprises."""
        return self.density.surprises(*self.fitted.rows(steps, 0))
