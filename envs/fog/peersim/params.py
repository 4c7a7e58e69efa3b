"""PeersimGym's semantics as named switches: what the simulator does, and what a correct one does instead.

(M. Freitas et al., "PeersimGym: an environment for solving the task offloading problem with reinforcement learning",
ECML PKDD 2024, arXiv 2403.17637.) The names of each switch are given in the order "PeersimGym | correct"; the yaml of
the fog world holds PeersimGym's. Of ``FogParams`` this world reads slot_s, slots_per_step, horizon_slots, the agents,
undecided ("run" is PeersimGym's: a node never waits for a decision), max_targets, max_alive_tasks, time_scale_s and
debug. An episode of T slots shows T instants and takes T - 1 decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from envs.errors import ConfigError

STATE_INFOS = ("none", "next", "queue", "queue_next", "qaggr", "qaggr_next")


def _check_choices(params: object, label: str) -> None:
    """Raise ConfigError where a field that offers a choice holds something else."""
    for name, hint in get_type_hints(type(params)).items():
        options = get_args(hint)
        value = getattr(params, name)
        if options and value not in options:
            raise ConfigError(f"{label}.{name} = {value!r}: expected one of {', '.join(map(repr, options))}")


@dataclass(frozen=True)
class PeersimReward:
    """PeersimGym's rewards. See envs/fog/peersim/reward.py for the formulas."""

    form: Literal["dense", "sparse"]
    # as_implemented: the weights of delays are caps in units of the utility, the waiting at a target lacks the work of
    # a task, all types count as the last one, overload is not divided by 3, sparse credit comes a decision late |
    # as_published: weights multiply, a task has its work, the mean over types, overload / 3, credit with its step
    formula: Literal["as_implemented", "as_published"]
    utility: float
    wait_weight: float  # delay_weight["queue"]
    service_weight: float  # delay_weight["exec"]
    transfer_weight: float  # delay_weight["comm"]
    overload_weight: float
    no_op_reward: float  # of an agent whose node is empty; dense only
    tasks_per_s: float  # arrival rate of a client as the reward believes it, whatever the schedule says

    def __post_init__(self) -> None:
        """Refuse unknown choices and negative weights."""
        _check_choices(self, "peersim.reward")
        for name in ("utility", "wait_weight", "service_weight", "transfer_weight", "overload_weight", "tasks_per_s"):
            if not getattr(self, name) >= 0.0:
                raise ConfigError(f"peersim.reward.{name} = {getattr(self, name)}: expected a number >= 0")


@dataclass(frozen=True)
class PeersimParams:
    """The switches, named "PeersimGym's | the correct choice" (see the module)."""

    # -- time and order
    # Events of a slot, the agents' view among them, in an order drawn anew each slot (8 random bits an event) |
    # decisions, then deliveries, then clients, then nodes.
    event_order: Literal["random", "fixed"]
    scale: int  # slots of a tick (SCALE): delays are rounded to ticks before, grace and serialisation stay in slots | 1
    min_delay_slots: Literal[1, 0]  # least delay of a message, also to the own node
    delay_rounding: Literal["ticks", "slots_up"]  # to the nearest tick, then to slots | up to whole slots
    # -- links
    noise_bandwidth: Literal["message", "channel"]  # noise of a wireless link fills as many hertz as the message has
    # bits | as the channel has; networks other than ``layered`` always use the rates of their links
    # -- clients
    client_targets: Literal["own_first", "all", "own"]  # clientIsSelf = 1: in a slot with a task for the own node only
    # that one, in all others all neighbours | clientIsSelf = 0: all neighbours | what clientIsSelf = 1 says it does
    arrivals: Literal["rounded", "exact"]  # gaps rounded to slots, at most one task a slot and stream, clocks run on
    # when the rate changes | Poisson processes
    type_sampler: Literal["binary_search", "exact"]  # a search in a table that ends at 1 for a number up to the count
    # of types | the shares
    client_deadline: Literal["doubled", "absolute"]  # clients give up at sent + absolute deadline | at the deadline
    cloud_client_tasks: Literal["lost", "none"]  # clients with a link to the cloud send it tasks, which vanish |
    # they do not
    # -- nodes
    queue_order: Literal["lifo", "fifo"]  # the task that entered last is served first
    serialisation: Literal["even_slots", "at_once"]  # tasks of clients enter the queue in even slots, or when it is
    # empty; until then they only hold a place | on arrival
    expires: Literal["queued", "waiting", "all"]  # which tasks a deadline ends: those in the queue | those that have
    # not entered it, too | those in service, too
    expiry_grace_slots: int  # slots past the deadline: 5 | 0
    energy_price: Literal["communication", "computation"]  # price of a cycle: energy_per_mb | energy_per_cycle
    energy_per_mb: float  # price units for a megabyte of a report or a result (energyCostComm)
    energy_per_cycle: float  # price units for a cycle (energyCostComp)
    # -- information
    broadcast: Literal["changes", "every_slot"]  # a node reports after an arrival or an offload, never when it drains
    # | each slot
    counts_unserialised_twice: bool  # the observed queue counts tasks twice that have not entered it
    report_bits: float  # 4.16: 520 bytes divided by 10**9 instead of 10**6, counted in bits | 4160
    # -- decisions
    offloads: Literal["one", "all"]  # a decision concerns the first undecided task | all of them
    local_mark: Literal["top", "undecided"]  # local marks the first task of the queue, marked or not | the first
    # undecided one
    offers_without_task: bool  # targets may be chosen when there is nothing to send: nothing happens | they are masked
    invalid_target: Literal["penalty", "local"]  # costs the utility and does nothing | counts as local, as worlds of
    # this library promise
    max_hops: int  # hops that a task's path has room for, in PeersimGym unlimited; at the limit it stays where it is
    # -- results and cloud
    self_hop: bool  # a result's way home begins with a message of its node to itself
    cloud_capacity: Literal["unlimited", "real"]  # a machine finishes any number of tasks that each fit in a slot |
    # as much as its cycles allow
    # -- what agents see and get
    state_info: Literal["none", "next", "queue", "queue_next", "qaggr", "qaggr_next"]
    queue_repeats_next: bool  # each entry of the listed queue shows the next task | the task at its place
    listed_tasks: int  # entries of the listed queue (PeersimGym: the places of the node)
    reward: PeersimReward

    def __post_init__(self) -> None:
        """Refuse unknown choices and values out of range."""
        _check_choices(self, "peersim")
        for name, least in {"scale": 1, "expiry_grace_slots": 0, "max_hops": 1, "listed_tasks": 1}.items():
            if not getattr(self, name) >= least:
                raise ConfigError(f"peersim.{name} = {getattr(self, name)}: expected at least {least}")
        for name in ("energy_per_mb", "energy_per_cycle", "report_bits"):
            if not getattr(self, name) >= 0.0:
                raise ConfigError(f"peersim.{name} = {getattr(self, name)}: expected a number >= 0")
