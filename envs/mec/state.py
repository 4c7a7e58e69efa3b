"""The state of a batch of MEC worlds, its metric sums, and the constants and scalars that the kernels read."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.arrays import BOOL, F8, ROWS, row_type

# Metric sums of an episode, in this order; after them the tasks sent to each server.
SUM_NAMES = (
    "episodes",
    "complete_episodes",
    "slots",
    "met_slots",
    "tasks",
    "sent_tasks",
    "sent_share",
    "missed_tasks",
    "over_budget_tasks",
    "outage_tasks",
    "refused",
    "local_s",
    "transfer_s",
    "wait_s",
    "startup_s",
    "service_s",
    "delay_s",
    "transmit_j",
    "local_j",
    "cost",
    "complete_cost",
    "complete_tasks",
    "reported_cost",
    "survived_frac",
    "met_frac",
    "fairness",
)
(
    EPISODES,
    COMPLETE_EPISODES,
    SLOTS,
    MET_SLOTS,
    TASKS,
    SENT_TASKS,
    SENT_SHARE,
    MISSED_TASKS,
    OVER_BUDGET_TASKS,
    OUTAGE_TASKS,
    REFUSED,
    LOCAL_S,
    TRANSFER_S,
    WAIT_S,
    STARTUP_S,
    SERVICE_S,
    DELAY_S,
    TRANSMIT_J,
    LOCAL_J,
    COST,
    COMPLETE_COST,
    COMPLETE_TASKS,
    REPORTED_COST,
    SURVIVED_FRAC,
    MET_FRAC,
    FAIRNESS,
) = range(len(SUM_NAMES))
TO_SERVER = len(SUM_NAMES)

# Values of the scalars in Rules.
HYBRID, BOX, DISCRETE = range(3)
TERMINAL, SHAPED, COST_FORM = range(3)
LOCAL_SCOPE, NEAR_GLOBAL, FULL = range(3)
NO_SERVER = -1  # the whole task stays on the device


class WorldRow:
    """One world."""

    world_id: Annotated[int, "names the random streams"]
    episode: Annotated[int, "number of the episode"]
    slot: Annotated[int, "slots of the episode that have been played"]
    cost: Annotated[float, "sum over devices and slots of the episode"]


class AgentRow:
    """One device."""

    profile: Annotated[int, "profile of its tasks in this episode"]
    last_server: Annotated[int, "server that it chose last in this episode, -1 for none"]
    work_cycles: Annotated[float, "of its task"]
    size_bits: Annotated[float, "of its task"]
    deadline_s: Annotated[float, "of its task, from the start of the slot"]
    local_backlog_s: Annotated[float, "seconds until the device is free"]
    energy_j: Annotated[float, "energy left in the episode"]
    delay_s: Annotated[float, "sum over the slots of the episode"]
    cost: Annotated[float, "sum over the slots of the episode"]
    x_m: Annotated[float, "place in the square; radio only, as the next two"]
    y_m: Annotated[float, "place in the square"]
    heading: Annotated[int, "0 east, 1 north, 2 west, 3 south"]
    server: Annotated[int, "chosen in this slot, -1 for the whole task local"]
    share: Annotated[float, "of the task that is sent in this slot"]


class ServerRow:
    """One server."""

    backlog_s: Annotated[float, "seconds of service that it has at the start of the slot"]
    free_s: Annotated[float, "in a slot: when it has served all that it was given, from the slot's start"]


class PairRow:
    """One device and one server."""

    has_started: Annotated[int, "the server has worked for the device in this episode"]
    known_backlog_s: Annotated[float, "the server's backlog as the device last heard of it"]
    known_slot: Annotated[int, "slot at whose start it was so"]
    fading_re: Annotated[float, "small-scale coefficient of mean power 1; radio only, as the next three"]
    fading_im: Annotated[float, "its imaginary part"]
    shadowing_db: Annotated[float, "log-normal shadowing"]
    gain: Annotated[float, "received over radiated power in this slot"]


class MecState(NamedTuple):
    """Everything that the future of a batch of MEC worlds depends on, beside the parameters."""

    world: Annotated[ROWS, "B", "worlds", row_type(WorldRow)]
    agent: Annotated[ROWS, "B N", "devices", row_type(AgentRow)]
    server: Annotated[ROWS, "B Se", "servers", row_type(ServerRow)]
    pair: Annotated[ROWS, "B N Se", "devices and servers", row_type(PairRow)]
    sums: Annotated[F8, "B G", "metric sums of the episode so far"]


class SlotFigures(NamedTuple):
    """What happened in the last step, in float64; a new episode leaves it as it is."""

    local_s: Annotated[F8, "B N", "time of the part on the device, waiting included; 0 for none"]
    transfer_s: Annotated[F8, "B N", "time on the way to the server; 0 where nothing was sent, as the next four"]
    wait_s: Annotated[F8, "B N", "time in the server's queue"]
    startup_s: Annotated[F8, "B N", "time of the server's start-up"]
    service_s: Annotated[F8, "B N", "time of service"]
    offload_s: Annotated[F8, "B N", "transfer, wait, start-up and service"]
    delay_s: Annotated[F8, "B N", "the larger of local and offload time"]
    transmit_j: Annotated[F8, "B N", "energy of sending"]
    local_j: Annotated[F8, "B N", "energy of local work"]
    cost: Annotated[F8, "B N", "weighted delay and energy"]
    is_missed: Annotated[BOOL, "B N", "the delay exceeded the deadline, or the energy was used up"]
    backlog_after_s: Annotated[F8, "B Se", "of the servers at the end of the slot"]
    reward: Annotated[F8, "B N", "reward of the step"]
    reported_cost: Annotated[F8, "B", "as the released code reports it at an episode's end; 0 before"]


class MecTables(NamedTuple):
    """What does not change: the cell, the profiles, and what follows from the radio's parameters."""

    device_hz: Annotated[F8, "N", "cycles per second"]
    server_hz: Annotated[F8, "Se", "cycles per second"]
    transfer_s: Annotated[F8, "N Se", "constant time of a transfer"]
    startup_s: Annotated[F8, "N Se", "once an episode"]
    server_xy_m: Annotated[F8, "Se X", "places of the servers"]
    mean_work_cycles: Annotated[F8, "N", "by profile"]
    deadline_s: Annotated[F8, "N", "by profile"]
    share_levels: Annotated[F8, "Le", "shares that can be chosen, kind discrete"]


class Rules(NamedTuple):
    """The scalars of the parameters that the kernels read."""

    slot_s: float
    horizon_slots: int
    is_radio: bool
    overlaps: bool
    carries_over: bool
    ends_on_miss: bool
    terminates: bool
    permutes: bool
    kind: int
    explicit_local: bool
    work_sd_cycles: float
    cycles_per_bit: float
    time_weight: float
    transmit_w: float
    switching_farad: float
    budget_j: float
    reward_form: int
    is_team: bool
    success_numerator: float
    miss_weight: float
    forgives_last_slot: bool
    is_released_layout: bool
    scope: int
    sees_queues_now: bool
    sees_slot: bool
    sees_cost: bool
    time_scale_s: float
    work_scale_cycles: float
    bandwidth_hz: float
    noise_w: float
    interference: float
    intercept_db: float
    slope_db: float
    shadowing_sd_db: float
    shadowing_memory: float
    fading_memory: float
    server_height_m: float
    side_m: float
    step_m: float
    block_m: float
    turn_prob: float
    outage_s: float
