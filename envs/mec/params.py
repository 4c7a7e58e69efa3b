"""Parameters of the MEC world: what a decision is, what agents see, what is rewarded, and how the physics runs.

Two published semantics are settings of the same physics (scenarios ``mec_2es_3md_v1`` and ``mec_paper_2es_3md_v1``):

=================  ====================================  ==========================================================
key                as released                           as published
=================  ====================================  ==========================================================
transfer           constant: a table of seconds          radio: share * bits / rate, and the rate from the channel
cost.time_weight   1: the cost is the delay              below 1: delay and energy
energy.budget_j    .inf                                  joules an episode, or the constraint is violated
observation.scope  near_global                           local: own task, channel, energy, servers as last heard of
=================  ====================================  ==========================================================

Units. The published table gives task sizes of kilobits and 900 cycles a bit; 7 kb would be 6.3 Mcycles, which a 1 GHz
device serves in 6.3 ms against a deadline of a second, and nothing would be worth sending. The published motivation and
the released code have 7 Gcycles. The table's unit is therefore read as megabits: 7 Mb * 900 cycles/b = 6.3 Gcycles.
With ``switching_farad`` = 1e-27 and a device of 1 GHz, a second of local work costs a joule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from envs.checks import check_choice, check_number, check_positive, refuse

KINDS = ("hybrid", "box", "discrete")
SCOPES = ("local", "near_global", "full")
REWARDS = ("terminal", "shaped", "cost")


@dataclass(frozen=True)
class DecisionParams:
    """What an agent decides on: a server, and the share of its task that runs there.

    hybrid: a server as target, the share as an amount in [0, 1]. box: one target, two amounts in [-1, 1] that are
    mapped to server and share as in the released code. discrete: a target for every server and level of the share.
    """

    kind: Literal["hybrid", "box", "discrete"]
    explicit_local: bool  # target 0 is the own device; without, "local" is a share of 0 at some server
    share_levels: tuple[float, ...]  # discrete: the shares that can be chosen

    def __post_init__(self) -> None:
        """Refuse unknown kinds, levels outside [0, 1], and a local target in the box, which has one target only."""
        check_choice("decision.kind", self.kind, KINDS)
        if self.kind == "box" and self.explicit_local:
            raise refuse("decision.explicit_local", True, "false for kind box, whose amounts name the server")
        ascends = all(a < b for a, b in zip(self.share_levels, self.share_levels[1:], strict=False))
        if not (self.share_levels and ascends and self.share_levels[0] >= 0.0 and self.share_levels[-1] <= 1.0):
            raise refuse("decision.share_levels", self.share_levels, "ascending shares in [0, 1]")


@dataclass(frozen=True)
class ObservationParams:
    """What an agent sees.

    Layout ``targets`` puts what concerns a target at that target, everything in [-1, 1]. Layout ``released`` has the
    features, the order and the divisors of the released code, and with them its unbounded backlogs (seconds, divided
    by 1) and target numbers: the one choice whose observations may leave [-1, 1]. Its slices follow the sizes of the
    scenario; those of the released code are right for two servers and three devices only.

    Not copied from the released code: its stored next observations hold the sizes of the slot that has passed. Here the
    next observation, the last one of an episode too, holds the tasks of the slot that begins.
    """

    layout: Literal["targets", "released"]
    # local: own task, own node and channels, the servers; near_global: and the sizes of all tasks, by profile;
    # full: and the global state
    scope: Literal["local", "near_global", "full"]
    server_queues: Literal["now", "at_last_result"]  # when an agent hears of a server's backlog
    slot_index: bool  # the share of the episode that has passed; without it the last slot comes as a surprise
    running_cost: bool  # mean cost of the episode so far, on which the reward of the last slot depends
    time_scale_s: float  # a time t is seen as t / (t + scale)

    def __post_init__(self) -> None:
        """Refuse unknown choices; the released layout has the released scope."""
        check_choice("observation.layout", self.layout, ("targets", "released"))
        check_choice("observation.scope", self.scope, SCOPES)
        check_choice("observation.server_queues", self.server_queues, ("now", "at_last_result"))
        check_positive("observation.time_scale_s", self.time_scale_s)
        if self.layout == "released" and self.scope != "near_global":
            raise refuse("observation.scope", self.scope, "near_global for layout released")


@dataclass(frozen=True)
class RewardParams:
    """Reward of a step. A missed task is one whose delay exceeds its deadline, or whose device is out of energy.

    terminal: success_numerator / (mean cost of the episode) ** 2 with the last slot, and minus miss_weight * delay of
    each missed task at once. shaped: every slot success_numerator / cost ** 2 of a task in time or minus miss_weight *
    delay of a missed one, over the slots of an episode. cost: every slot minus the cost, and minus miss_weight * delay
    of a missed task. The team's reward is the mean over devices; with ``terminal`` the mean cost is that of all.
    """

    form: Literal["terminal", "shaped", "cost"]
    team: bool  # all agents get the team's reward; else each its own
    success_numerator: float
    miss_weight: float  # of a second
    forgives_last_slot: bool  # terminal: a miss in the last slot goes unpunished, as in the released code

    def __post_init__(self) -> None:
        """Refuse unknown forms and negative weights."""
        check_choice("reward.form", self.form, REWARDS)
        check_number("reward.success_numerator", self.success_numerator, 0.0)
        check_number("reward.miss_weight", self.miss_weight, 0.0)


@dataclass(frozen=True)
class CostParams:
    """Cost of a task: time_weight * delay in seconds + (1 - time_weight) * energy in joules."""

    time_weight: float  # eta

    def __post_init__(self) -> None:
        """Refuse weights outside [0, 1]."""
        check_number("cost.time_weight", self.time_weight, 0.0, 1.0)


@dataclass(frozen=True)
class EnergyParams:
    """Energy of a device: transmit_w of the cell while it sends, and that of its own work."""

    switching_farad: float  # xi: local work costs switching_farad * hz ** 2 joules a cycle
    budget_j: float  # of a device and an episode; .inf for none

    def __post_init__(self) -> None:
        """Refuse negative numbers and an empty budget."""
        check_number("energy.switching_farad", self.switching_farad, 0.0)
        if not self.budget_j > 0.0:
            raise refuse("energy.budget_j", self.budget_j, "a number > 0, or .inf for no budget")


@dataclass(frozen=True)
class RadioParams:
    """The channel from devices to servers where ``transfer`` is radio. See envs/mec/radio.py for the model."""

    bandwidth_hz: float
    noise_dbm_per_hz: float  # -174 is thermal noise at 290 K
    interference: float  # share of the other senders' power that disturbs: 1 as published, 0 for orthogonal channels
    intercept_db: float  # path gain at 1 km; LTE, 3GPP TR 36.814: -128.1 for macro cells; the paper has -148.1
    slope_db: float  # per decade of distance
    shadowing_sd_db: float
    shadowing_distance_m: float  # way after which the correlation of shadowing has fallen to 1 / e
    doppler_hz: (
        float  # maximal Doppler shift: block fading of a slot has correlation J0(2 pi doppler slot) with the next
    )
    server_height_m: float  # above the devices: the shortest possible distance
    speed_m_per_s: float  # along the streets; 0: devices stay where an episode finds them
    block_m: float  # between two parallel streets
    turn_prob: float  # at a crossing, for left and right together
    outage_s: float  # a transfer that would take longer is given up after this time, and its task is missed

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        for name in ("bandwidth_hz", "shadowing_distance_m", "server_height_m", "block_m", "outage_s"):
            check_positive(f"radio.{name}", getattr(self, name))
        for name in ("slope_db", "shadowing_sd_db", "doppler_hz", "speed_m_per_s"):
            check_number(f"radio.{name}", getattr(self, name), 0.0)
        for name in ("interference", "turn_prob"):
            check_number(f"radio.{name}", getattr(self, name), 0.0, 1.0)
        check_number("radio.noise_dbm_per_hz", self.noise_dbm_per_hz)
        check_number("radio.intercept_db", self.intercept_db)


@dataclass(frozen=True)
class MecParams:
    """How a MEC world runs; devices and servers are its topology ``mec_cell``, tasks its workload ``mec_profiles``."""

    horizon_slots: int  # of an episode; a slot is the period of the workload
    transfer: Literal["constant", "radio"]
    overlap: bool  # a server works on while a task is on its way; else the task waits for the whole backlog after it
    local_carry_over: bool  # own work that does not fit into a slot delays the next; else the device is always free
    on_miss: Literal["end", "go_on"]  # a missed task ends the episode, or is punished and the episode goes on
    last_slot: Literal["terminates", "truncates"]  # whether the horizon is part of the problem or of the simulation
    decision: DecisionParams
    observation: ObservationParams
    reward: RewardParams
    cost: CostParams
    energy: EnergyParams
    radio: RadioParams

    def __post_init__(self) -> None:
        """Refuse unknown choices and an episode without slots."""
        if self.horizon_slots < 1:
            raise refuse("horizon_slots", self.horizon_slots, "a whole number of at least 1")
        check_choice("transfer", self.transfer, ("constant", "radio"))
        check_choice("on_miss", self.on_miss, ("end", "go_on"))
        check_choice("last_slot", self.last_slot, ("terminates", "truncates"))

    @property
    def has_budget(self) -> bool:
        """Whether a device can run out of energy."""
        return math.isfinite(self.energy.budget_j)
