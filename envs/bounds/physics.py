"""The rules of the fog world that a bound rests on: when a task may leave a node, start there, and come home."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.arrays import F8, I8
from envs.fog.network import Network, build_network
from envs.fog.params import FogParams
from envs.topologies.topology import Topology


class Physics(NamedTuple):
    """What of a scenario's network and parameters decides about the least time of a task."""

    network: Network
    step_slots: int  # slots between two decisions
    slot_s: float
    is_slotted: bool  # decisions are taken at starts of steps, else whenever there is something to decide
    holds: bool  # a task starts only after its agent decided on it
    max_hops: int
    is_routed_home: bool  # results take the way of the routing table home, else that of the task backwards
    horizon_s: float

    def next_decision_s(self, at_s: F8) -> F8:
        """Return the first instants (T,) at which a task that is there since ``at_s`` (T,) can be decided on.

        Decisions of a step come before its events, so a task that arrives at the very start of a step waits for the
        next one. Instants are products of whole slots, as in the world, so that rounding cannot skip a step.
        """
        if not self.is_slotted:
            return at_s
        step = np.floor(at_s / (self.step_slots * self.slot_s)) + 1.0
        step -= self._start_s(step - 1.0) > at_s
        step += self._start_s(step) <= at_s
        return self._start_s(step)

    def may_decide(self, node: int, n_hops: int) -> bool:
        """Return whether the agent of a node decides on tasks that crossed so many links."""
        return bool(self.network.agent_of_node[node] >= 0) and n_hops < self.max_hops

    def out_links(self, node: int) -> I8:
        """Return the links over which the agent of a node can send."""
        links = self.network.target_link[self.network.agent_of_node[node]]
        return links[links >= 0]

    def service_s(self, node: int, work_cycles: F8) -> F8:
        """Return the service times (T,) on one idle server of a node; no work takes no time."""
        return np.divide(
            work_cycles, self.network.core_hz[node], where=work_cycles > 0.0, out=np.zeros_like(work_cycles)
        )

    def routed_home_s(self, origin: int, result_bits: F8) -> F8:
        """Return the times (M, T) of results from every node to ``origin`` by the routing table, links idle."""
        network = self.network
        home_s = np.zeros((network.tier.size, result_bits.size))
        for node in range(network.tier.size):
            at = node
            while at != origin:
                link = network.next_link[at, origin]
                home_s[node] += result_bits / network.link_rate_bps[link] + network.link_delay_s[link]
                at = int(network.link_target[link])
        return home_s

    def _start_s(self, step: F8) -> F8:
        return (step * self.step_slots) * self.slot_s


def physics_of(topology: Topology, params: FogParams) -> Physics:
    """Return the rules of a scenario."""
    return Physics(
        network=build_network(topology, params),
        step_slots=params.slots_per_step,
        slot_s=float(params.slot_s),
        is_slotted=params.decide_on == "slots",
        holds=params.undecided == "hold",
        max_hops=params.max_hops,
        is_routed_home=params.results == "shortest",
        horizon_s=float(params.horizon_s),
    )
