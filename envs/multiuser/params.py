"""Parameters of the multi-user world: who decides on what, what is seen, what is paid, and how the physics runs.

Every ambiguity of the released code of DC-DRL is a switch of its own. Two groups of values have names:

==========================  ===================================  =================================================
key                         released (``multiuser_released_10``)  corrected (``multiuser_10``)
==========================  ===================================  =================================================
semantics.interference      released: all of the channel,        others: those who send on the channel, too
                            oneself and those who stay included
semantics.phantom_channel   true: 1.0 names one more channel     false: 1.0 names the last channel
semantics.users             sequential: later users wait for     simultaneous: all meet what the edge server had
                            the work of earlier ones, too        at the start of the slot
semantics.service           k_fold: as if all k senders were     sharing: equal shares among those who are there,
                            there all the time                   up to the instant when each is done
semantics.late_uploads      run: as long as they take            stop: at the deadline, when the task is lost
agents                      central: one for all users           users: one for each
decision.kind               box: two numbers in [-1, 1] a user   discrete: local, or one of the channels;
                                                                 autoregressive: the same, user after user
==========================  ===================================  =================================================

With ``sequential`` and ``k_fold`` the work of the slot counts twice: it makes later users wait, and it slows all down.
A user of a discrete decision that stays is on no channel, so that it disturbs nobody under any rule of interference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envs.checks import check_choice, check_number, check_positive, refuse

INTERFERENCES = ("none", "others", "released")
SERVICES = ("whole", "k_fold", "sharing")
KINDS = ("discrete", "box", "autoregressive")
ORDERS = ("index", "urgency")


@dataclass(frozen=True)
class DecisionParams:
    """What is decided for a user.

    discrete: target 0 is the user's own processor, target 1 + m channel m to the edge server. A central agent has as
    many decisions as there are users. box: two amounts in [-1, 1] a user, as released: it offloads where the first is
    at least 0, on channel floor((second + 1) * channels / 2). autoregressive: a central agent decides for one user a
    step, in an order, and sees what those before it in the slot have decided; with the last of them the slot is played.
    """

    kind: Literal["discrete", "box", "autoregressive"]
    order: Literal["index", "urgency"]  # autoregressive: by number, or the most urgent first

    def __post_init__(self) -> None:
        """Refuse unknown kinds and orders."""
        check_choice("decision.kind", self.kind, KINDS)
        check_choice("decision.order", self.order, ORDERS)


@dataclass(frozen=True)
class SemanticsParams:
    """How the physics of a slot runs; the table above has the two groups of values.

    users: sequential users wait behind the work that users of lower number sent in the same slot. service: whole, a
    task has the edge server for itself once its turn comes; k_fold, it takes k times as long where k tasks are sent in
    the slot; sharing, the server first serves what earlier slots left and then gives equal shares to the tasks of the
    slot that have arrived, and works on while others are on their way. late_uploads: run takes as long as the rate
    says, which may be hours beside a user next to the base station; with stop a user that could not send its task by
    the deadline gives up then, and nobody works on the task.
    """

    interference: Literal["none", "others", "released"]
    phantom_channel: bool  # box: the number 1.0 names one channel more than there are
    users: Literal["sequential", "simultaneous"]
    service: Literal["whole", "k_fold", "sharing"]
    late_uploads: Literal["run", "stop"]

    def __post_init__(self) -> None:
        """Refuse unknown choices, an order where all are served at once, and whole servers for several at a time."""
        check_choice("semantics.interference", self.interference, INTERFERENCES)
        check_choice("semantics.users", self.users, ("sequential", "simultaneous"))
        check_choice("semantics.service", self.service, SERVICES)
        check_choice("semantics.late_uploads", self.late_uploads, ("run", "stop"))
        if self.service == "sharing" and self.users == "sequential":
            raise refuse("semantics.users", self.users, "simultaneous for service sharing, which has no order")
        if self.service == "whole" and self.users == "simultaneous":
            raise refuse("semantics.users", self.users, "sequential for service whole: one task after the other")


@dataclass(frozen=True)
class CostParams:
    """Cost of a task: price of its cycles, cost of the energy of its transmission, and a penalty if it is late."""

    local_per_cycle: float  # energy of a cycle on the user's processor
    edge_per_cycle: float  # payment for a cycle on the edge server
    transmit_per_j: float  # of transmission energy
    miss: float  # of a task that is done later than its deadline

    def __post_init__(self) -> None:
        """Refuse negative prices."""
        for name in ("local_per_cycle", "edge_per_cycle", "transmit_per_j", "miss"):
            check_number(f"cost.{name}", getattr(self, name), 0.0)


@dataclass(frozen=True)
class RewardParams:
    """Reward of a slot: minus the cost, times a scale; a central agent gets the sum over users."""

    scale: float  # 1, or 1 / 200 in the twin of the testbed
    team: bool  # users as agents all get the mean of their rewards; else each its own

    def __post_init__(self) -> None:
        """Refuse scales that are not positive."""
        check_positive("reward.scale", self.scale)


@dataclass(frozen=True)
class ScaleParams:
    """What features are divided by."""

    user_hz: float
    edge_hz: float
    work_cycles: float
    size_bits: float
    deadline_s: float
    user_backlog_s: float
    edge_backlog_s: float
    slots: float  # slots of the episode, the one that begins included

    def __post_init__(self) -> None:
        """Refuse scales that are not positive."""
        for name in self.__dataclass_fields__:
            check_positive(f"observation.scale.{name}", getattr(self, name))


@dataclass(frozen=True)
class ObservationParams:
    """What is seen; all of it in [-1, 1], unless ``bounded`` is false.

    A central agent sees the released vector: speed, backlog, place, work, deadline and size of each user, then speed
    and backlog of the edge server and the number of the slot. A user sees its own figures, the edge server's and
    aggregates of the others.
    """

    bounded: bool  # a backlog q is seen as q / (q + scale), all else at most 1; else divided alone, as released
    gains: bool  # the rate that each user, or oneself, has alone on a channel
    ranks: bool  # the place of each user, or oneself, in the order of urgency: time of local work over deadline
    scale: ScaleParams


@dataclass(frozen=True)
class SiteParams:
    """How far sites differ beside their places; the site's number is the scenario's ``topology_seed``.

    A site multiplies the law of works, and that of sizes, by 1 + spread * uniform(-1, 1), and adds spread *
    uniform(-1, 1) decibels to the noise.
    """

    work_spread_frac: float
    size_spread_frac: float
    noise_spread_db: float

    def __post_init__(self) -> None:
        """Refuse spreads that could reach 0."""
        for name in ("work_spread_frac", "size_spread_frac"):
            check_number(f"site.{name}", getattr(self, name), 0.0, 0.95)
        check_number("site.noise_spread_db", self.noise_spread_db, 0.0, 60.0)


@dataclass(frozen=True)
class MultiuserParams:
    """How a multi-user world runs; its topology is a ``multiuser_cell``, and its slot the period of its workload."""

    horizon_slots: int  # after so many the episode is truncated
    agents: Literal["central", "users"]
    decision: DecisionParams
    semantics: SemanticsParams
    cost: CostParams
    reward: RewardParams
    observation: ObservationParams
    site: SiteParams

    def __post_init__(self) -> None:
        """Refuse unknown choices and an episode without slots."""
        if self.horizon_slots < 1:
            raise refuse("horizon_slots", self.horizon_slots, "a whole number of at least 1")
        check_choice("agents", self.agents, ("central", "users"))
        if self.takes_turns and not self.is_central:
            raise refuse("agents", self.agents, "central for decision.kind autoregressive: one agent, user after user")

    @property
    def is_central(self) -> bool:
        """Whether one agent decides for all users."""
        return self.agents == "central"

    @property
    def takes_turns(self) -> bool:
        """Whether a step is the decision for one user."""
        return self.decision.kind == "autoregressive"
