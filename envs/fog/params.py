"""Parameters of the fog world: time, agents, queues, information and reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envs.errors import ConfigError

AGENT_TIERS: dict[str, tuple[int, ...]] = {"devices": (0,), "devices_and_edges": (0, 1), "all": (0, 1, 2)}


@dataclass(frozen=True)
class RewardParams:
    """Reward of a step. Weights are per second, per task or per joule; a weight of 0 leaves its term out."""

    form: Literal["dense", "sparse", "response"]  # see envs/fog/reward.py
    utility: float  # gain of a task: taken in hand (dense) or finished in time (sparse, response)
    wait_weight: float  # dense: cost of a second of expected waiting
    transfer_weight: float  # dense: cost of a second of expected upload and return
    service_weight: float  # dense: cost of a second of service
    overload_weight: float  # dense: weight of -log10 of the share of free places at the target, at most 3
    late_weight: float  # dense: cost of an expected finish after the deadline; response: cost of a late task
    response_weight: float  # response: cost of each second that an own task is in the system
    drop_weight: float  # sparse and response: cost of a dropped task
    energy_weight: float  # cost of each joule that the agent's node spends on computing and sending
    team_frac: float  # 0: each agent its own reward; 1: all agents the mean over agents

    def __post_init__(self) -> None:
        """Refuse weights that are negative and a team share outside [0, 1]."""
        for name, value in vars(self).items():
            if name != "form" and not value >= 0.0:
                raise ConfigError(f"reward.{name} = {value}: expected a number >= 0")
        if self.team_frac > 1.0:
            raise ConfigError(f"reward.team_frac = {self.team_frac}: expected a number in [0, 1]")
        if self.form not in ("dense", "sparse", "response"):
            raise ConfigError(f"reward.form = {self.form!r}: expected 'dense', 'sparse' or 'response'")


@dataclass(frozen=True)
class FogParams:
    """How a fog world runs; the network and the tasks are parts of the scenario of their own."""

    slot_s: float  # seconds of a slot; decisions are taken and states reported at its start
    slots_per_step: int  # slots between two decisions of an agent
    horizon_slots: int  # slots of an episode, a multiple of slots_per_step
    agents: Literal["devices", "devices_and_edges", "all"]  # whose nodes decide
    undecided: Literal["run", "hold"]  # may a task start on its device before its agent decided on it?
    decisions_per_step: int  # tasks that an agent may decide on in one step (D)
    max_hops: int  # links that a task may cross before it must stay
    max_targets: int  # largest accepted K, the own node counted
    drop_expired: bool  # True: a task that waits at its deadline is dropped; False: it is served late
    max_alive_tasks: int  # tasks of a world alive at once; a further one is dropped and counted (world_full)
    report_every_slots: int  # slots between two reports of a node's queue to its neighbours
    report_bits: float  # size of a report; it reaches a neighbour after its transmission and the link's delay
    time_scale_s: float  # seconds that an observation of a time maps to 1/2
    task_log_places: int  # finished and dropped tasks of an episode to keep row by row; 0 for none
    debug: bool  # True: a masked decision raises; False: it counts as target 0 and is counted
    reward: RewardParams

    def __post_init__(self) -> None:
        """Refuse values out of range, naming the field, the value and the range."""
        self._at_least("slot_s", self.slot_s, 1e-9)
        self._at_least("time_scale_s", self.time_scale_s, 1e-9)
        for name in ("slots_per_step", "horizon_slots", "decisions_per_step", "max_alive_tasks", "report_every_slots"):
            self._at_least(name, getattr(self, name), 1)
        for name in ("max_hops", "task_log_places", "report_bits"):
            self._at_least(name, getattr(self, name), 0)
        self._at_least("max_targets", self.max_targets, 1)
        if self.horizon_slots % self.slots_per_step:
            raise ConfigError(
                f"horizon_slots = {self.horizon_slots} is not a multiple of slots_per_step = {self.slots_per_step}"
            )
        if self.agents not in AGENT_TIERS:
            raise ConfigError(f"agents = {self.agents!r}: expected one of {', '.join(map(repr, AGENT_TIERS))}")
        if self.undecided not in ("run", "hold"):
            raise ConfigError(f"undecided = {self.undecided!r}: expected 'run' or 'hold'")

    def _at_least(self, name: str, value: float, least: float) -> None:
        if not value >= least:
            raise ConfigError(f"{name} = {value}: expected at least {least:g}")

    @property
    def horizon_s(self) -> float:
        """Seconds of an episode."""
        return self.horizon_slots * self.slot_s
