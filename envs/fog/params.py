"""Parameters of the fog world: time, agents, nodes, links, deadlines, information and reward."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from envs.errors import ConfigError
from envs.fog.peersim.params import PeersimParams
from envs.fog.state import TERMS

AGENT_TIERS: dict[str, tuple[int, ...]] = {"devices": (0,), "devices_and_edges": (0, 1), "all": (0, 1, 2)}

# The weights of a step's terms by the name of the preset.
# dense: for each task that the agent decided on, a utility less the waiting, transfer and service that it is expected
#   to meet, in seconds, and less the overload of its target; the utility-delay-overload form of PeersimGym (arXiv
#   2403.17637, section 3.3) with the delays of the world's own physics.
# sparse: own tasks that finished in time less those that were dropped.
# response: less each second that each own task is in the system, so that the sum over an episode is minus the sum of
#   response times (Little's law); a dropped task costs as much as ten seconds, lest drops pay.
PRESETS: dict[str, dict[str, float]] = {
    "none": {},
    "dense": {
        "decided": 1.0,
        "expected_wait_s": -1.0,
        "expected_transfer_s": -1.0,
        "expected_service_s": -1.0,
        "expected_overload": -0.1,
    },
    "sparse": {"in_time": 1.0, "dropped": -1.0},
    "response": {"alive_s": -1.0, "dropped": -10.0},
}
# In the order of the numbers in state.py.
DISCIPLINES = ("fifo", "lifo", "priority", "edf", "sharing")
CONTENTIONS = ("fifo", "fair", "none")
DEADLINES = ("soft", "waiting", "hard")
POTENTIALS = ("none", "alive_tasks", "backlog", "load_variance")


@dataclass(frozen=True)
class ShapingParams:
    """Potential-based shaping. The potential of an agent is higher in better states."""

    # alive_tasks: minus its own tasks in the system; backlog: minus the core-seconds of work at its node, per core;
    # load_variance: minus the variance over its targets of the share of places taken (PeersimGym's mean_relative_load)
    potential: Literal["none", "alive_tasks", "backlog", "load_variance"]
    weight: float
    gamma: float  # discount of a step; must be the learner's own

    def __post_init__(self) -> None:
        """Refuse a discount outside [0, 1] and weights that are no numbers."""
        if self.potential not in POTENTIALS:
            raise ConfigError(f"shaping.potential = {self.potential!r}: expected one of {', '.join(POTENTIALS)}")
        if not 0.0 <= self.gamma <= 1.0:
            raise ConfigError(f"shaping.gamma = {self.gamma}: expected a number in [0, 1]")
        if not math.isfinite(self.weight):
            raise ConfigError(f"shaping.weight = {self.weight}: expected a finite number")

    @property
    def is_on(self) -> bool:
        """Whether anything is added."""
        return self.potential != "none" and self.weight != 0.0


@dataclass(frozen=True)
class RewardParams:
    """Reward of a step: a preset of weights, weights of single terms on top of it, and shaping."""

    preset: Literal["none", "dense", "sparse", "response"]
    terms: dict[str, float]  # term -> weight; costs are negative; replaces the preset's weight of that term
    team_frac: float  # 0: each agent its own reward; 1: all agents the mean over agents
    shaping: ShapingParams

    def __post_init__(self) -> None:
        """Refuse terms that do not exist, weights that are no numbers and a team share outside [0, 1]."""
        if self.preset not in PRESETS:
            raise ConfigError(f"reward.preset = {self.preset!r}: expected one of {', '.join(PRESETS)}")
        for name, weight in self.terms.items():
            if name not in TERMS:
                near = difflib.get_close_matches(name, TERMS, n=1, cutoff=0.4)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"reward.terms: no term is named {name!r}{hint}; known: {', '.join(TERMS)}")
            if not math.isfinite(weight):
                raise ConfigError(f"reward.terms.{name} = {weight}: expected a finite number")
        if not 0.0 <= self.team_frac <= 1.0:
            raise ConfigError(f"reward.team_frac = {self.team_frac}: expected a number in [0, 1]")

    @property
    def weights(self) -> dict[str, float]:
        """Return the weights other than 0, by term."""
        return {name: weight for name, weight in {**PRESETS[self.preset], **self.terms}.items() if weight != 0.0}


@dataclass(frozen=True)
class FogParams:
    """How a fog world runs; the network and the tasks are parts of the scenario of their own."""

    semantics: Literal["correct", "peersim"]  # peersim: the slots of PeersimGym, see envs/fog/peersim/params.py
    slot_s: float  # seconds of a slot; queues are reported at its start, and decisions taken (decide_on: slots)
    slots_per_step: int  # slots between two decisions of an agent
    horizon_slots: int  # slots of an episode, a multiple of slots_per_step
    decide_on: Literal["slots", "events"]  # events: a step ends when some agent has a task to decide on
    agents: Literal["devices", "devices_and_edges", "all"]  # whose nodes decide
    agent_nodes: tuple[str, ...]  # names of the nodes that decide, and no other; empty: as `agents` says
    undecided: Literal["run", "hold"]  # may a task start on its device before its agent decided on it?
    decisions_per_step: int  # tasks that an agent may decide on in one step (D)
    max_hops: int  # links that a task may cross before it must stay
    max_targets: int  # largest accepted K, the own node counted
    discipline: Literal["fifo", "lifo", "priority", "edf", "sharing"]  # order of service; see envs/fog/queues.py
    service: Literal["cores", "aggregate"]  # aggregate: one core of n_cores x core_hz
    contention: Literal["fifo", "fair", "none"]  # how transmissions share a channel; see envs/fog/links.py
    results: Literal["reverse", "shortest"]  # way of a result: back on its task's path, or the quickest
    route_bits: float  # size for which the quickest ways of results and model updates are found
    deadlines: Literal["soft", "waiting", "hard"]  # what ends at its deadline: nothing, what waits, every task
    max_alive_tasks: int  # tasks of a world alive at once; a further one is dropped and counted (world_full)
    information: Literal["reports", "exact"]  # what an agent knows of its neighbours' queues
    report_every_slots: int  # slots between two reports of a node's queue to its neighbours
    report_bits: float  # size of a report; it reaches a neighbour after its transmission and the link's delay
    time_scale_s: float  # seconds that an observation of a time maps to 1/2
    task_log_places: int  # finished and dropped tasks of an episode to keep row by row; 0 for none
    debug: bool  # True: a masked decision raises; False: it counts as target 0 and is counted
    reward: RewardParams
    peersim: PeersimParams  # read with semantics: peersim alone, which has a reward of its own

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the field, the value and the range."""
        self._at_least("slot_s", self.slot_s, 1e-9)
        self._at_least("time_scale_s", self.time_scale_s, 1e-9)
        for name in ("slots_per_step", "horizon_slots", "decisions_per_step", "max_alive_tasks", "report_every_slots"):
            self._at_least(name, getattr(self, name), 1)
        for name in ("max_hops", "task_log_places", "report_bits", "route_bits"):
            self._at_least(name, getattr(self, name), 0)
        self._at_least("max_targets", self.max_targets, 1)
        if self.horizon_slots % self.slots_per_step:
            raise ConfigError(
                f"horizon_slots = {self.horizon_slots} is not a multiple of slots_per_step = {self.slots_per_step}"
            )
        for name, hint in get_type_hints(type(self)).items():
            choices = get_args(hint)
            if all(isinstance(choice, str) for choice in choices) and choices and getattr(self, name) not in choices:
                expected = ", ".join(map(repr, choices))
                raise ConfigError(f"{name} = {getattr(self, name)!r}: expected one of {expected}")
        if self.discipline == "sharing" and self.undecided == "run":
            raise ConfigError(
                "discipline = 'sharing' with undecided = 'run': every task would start at once, and no agent would "
                "ever decide; expected undecided = 'hold'"
            )
        if self.decide_on == "events" and self.slots_per_step != 1:
            raise ConfigError(
                f"slots_per_step = {self.slots_per_step} with decide_on = 'events': steps end at events, expected 1"
            )

    def _at_least(self, name: str, value: float, least: float) -> None:
        if not value >= least:
            raise ConfigError(f"{name} = {value}: expected at least {least:g}")
        if not math.isfinite(value):
            raise ConfigError(f"{name} = {value}: expected a finite number")

    @property
    def horizon_s(self) -> float:
        """Seconds of an episode."""
        return self.horizon_slots * self.slot_s
