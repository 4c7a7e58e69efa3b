"""What changes while a fog world runs: tasks, queues, channels, reports, and the metric sums."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.arrays import F8, I8
from envs.metrics import HISTOGRAM_PREFIX, N_BINS

# Stages of a task. At any instant a task has at most one pending event.
FREE = 0  # the slot is empty
WAITING = 1  # in a queue; its event is its deadline, if tasks expire
SERVICE = 2  # on a core; its event is its completion
UPLOAD = 3  # on the way to the next node; its event is its arrival there
RETURN = 4  # the result is on its way back; its event is its arrival at the next node

# Why a task left unfinished.
QUEUE_FULL, EXPIRED, WORLD_FULL = 0, 1, 2
DROP_REASONS = ("queue_full", "expired", "world_full")

_TIERS = ("device", "edge", "cloud")
_SCALAR_SUMS = (
    "episodes",
    "elapsed_s",
    "created",
    "completed",
    "in_time",
    "dropped_queue_full",
    "dropped_expired",
    "dropped_world_full",
    "in_flight",
    "alive_task_s",
    "response_s",
    "upload_s",
    "wait_s",
    "service_s",
    "return_s",
    "compute_j",
    "transmit_j",
    "idle_j",
    "decisions",
    "offloads",
    "refused",
    "hops",
    "full_node_slots",
    "node_slots",
)
_TIER_SUMS = ("to", "run_on", "busy_s", "occupancy", "core_s", "occupancy_slots")
SUM_NAMES: tuple[str, ...] = (
    *_SCALAR_SUMS,
    *(f"{name}_{tier}" for name in _TIER_SUMS for tier in _TIERS),
    *(f"{HISTOGRAM_PREFIX}{index}" for index in range(N_BINS)),
)
(
    EPISODES,
    ELAPSED_S,
    CREATED,
    COMPLETED,
    IN_TIME,
    DROPPED,  # first of the three reasons
    _,
    _,
    IN_FLIGHT,
    ALIVE_TASK_S,
    RESPONSE_S,
    UPLOAD_S,
    WAIT_S,
    SERVICE_S,
    RETURN_S,
    COMPUTE_J,
    TRANSMIT_J,
    IDLE_J,
    DECISIONS,
    OFFLOADS,
    REFUSED,
    HOPS,
    FULL_NODE_SLOTS,
    NODE_SLOTS,
) = range(len(_SCALAR_SUMS))
TO_TIER, RUN_ON_TIER, BUSY_S_TIER, OCCUPANCY_TIER, CORE_S_TIER, OCCUPANCY_SLOTS_TIER = (
    len(_SCALAR_SUMS) + 3 * group for group in range(len(_TIER_SUMS))
)
HISTOGRAM = len(_SCALAR_SUMS) + 3 * len(_TIER_SUMS)

# Columns of the task log, one row a task that finished or was dropped.
LOG_COLUMNS = (
    "created_s",
    "left_s",
    "origin_node",
    "last_node",
    "drop_reason",  # -1: finished
    "hops",
    "upload_s",
    "wait_s",
    "service_s",
    "return_s",
    "due_s",
    "started_s",  # start of service; -1: never started
)


class FogState(NamedTuple):
    """Everything that the future of a batch of fog worlds depends on, beside the network and the task tables."""

    world_id: Annotated[I8, "B", "names the world's random streams"]
    episode: Annotated[I8, "B", "episodes begun, less one"]
    slot: Annotated[I8, "B", "slots since the episode's start"]
    next_arrival: Annotated[I8, "B", "row of the task table that is created next"]
    created_s: Annotated[F8, "B P", "instant of creation"]
    due_s: Annotated[F8, "B P", "deadline; infinite for none"]
    size_bits: Annotated[F8, "B P", "input that travels with the task"]
    result_bits: Annotated[F8, "B P", "output that returns"]
    work_cycles: Annotated[F8, "B P", "cycles on one core"]
    entered_s: Annotated[F8, "B P", "instant at which the task entered its stage"]
    upload_s: Annotated[F8, "B P", "seconds spent on links so far, waiting for the channel included"]
    wait_s: Annotated[F8, "B P", "seconds spent in queues so far"]
    service_s: Annotated[F8, "B P", "seconds of service; 0 before it ends"]
    started_s: Annotated[F8, "B P", "start of service; -1 before it"]
    origin: Annotated[I8, "B P", "node that created the task"]
    node: Annotated[I8, "B P", "node where the task is, or is going to"]
    stage: Annotated[I8, "B P", "FREE, WAITING, SERVICE, UPLOAD or RETURN"]
    is_decided: Annotated[I8, "B P", "1: no agent may decide on the task at this node any more"]
    n_hops: Annotated[I8, "B P", "links crossed on the way out"]
    hops_left: Annotated[I8, "B P", "links that the result has still to cross"]
    path_link: Annotated[I8, "B P H", "links crossed on the way out"]
    following: Annotated[I8, "B P", "task behind this one in its queue, -1 for none"]
    preceding: Annotated[I8, "B P", "task before this one in its queue, -1 for none"]
    free_task: Annotated[I8, "B P", "stack of empty task slots"]
    n_free: Annotated[I8, "B", "height of that stack"]
    heap_time_s: Annotated[F8, "B P", "binary heap of pending events: instants"]
    heap_task: Annotated[I8, "B P", "binary heap of pending events: tasks"]
    heap_place: Annotated[I8, "B P", "place of a task in the heap, -1 for none"]
    heap_size: Annotated[I8, "B", "pending events"]
    first: Annotated[I8, "B M", "task at the head of the queue, -1 for none"]
    last: Annotated[I8, "B M", "task at the tail of the queue, -1 for none"]
    n_waiting: Annotated[I8, "B M", "tasks in the queue, those in service not counted"]
    n_busy: Annotated[I8, "B M", "tasks in service"]
    n_inbound: Annotated[I8, "B M", "tasks on the way to the node"]
    waiting_cycles: Annotated[F8, "B M", "work in the queue, that in service not counted"]
    service_end_s: Annotated[F8, "B M", "sum of the instants at which the tasks in service complete"]
    inbound_cycles: Annotated[F8, "B M", "work on the way to the node"]
    channel_free_s: Annotated[F8, "B C", "instant at which the channel has sent all that it was given"]
    report_tasks: Annotated[F8, "B R M", "tasks at a node at the start of a slot, by slot modulo R"]
    report_backlog_s: Annotated[F8, "B R M", "core-seconds of work at a node at the start of a slot"]
    seen_tasks: Annotated[F8, "B U M", "tasks at a node as the last report of that lag has it; lag 0: as they are"]
    seen_wait_s: Annotated[F8, "B U M", "backlog of that report, less what was served since, over the node's cores"]
    seen_fill_frac: Annotated[F8, "B U M", "tasks over places"]
    seen_wait: Annotated[F8, "B U M", "the waiting as it is observed, in [0, 1]"]
    next_task: Annotated[I8, "B N", "task that the agent decides on next, -1 for none"]
    n_alive: Annotated[I8, "B N", "tasks of the agent's own node in the system"]
    step_in_time: Annotated[F8, "B N", "own tasks that finished in time in this step"]
    step_late: Annotated[F8, "B N", "own tasks that finished late in this step"]
    step_dropped: Annotated[F8, "B N", "own tasks that were dropped in this step"]
    step_alive_s: Annotated[F8, "B N", "seconds that own tasks spent in the system in this step"]
    step_energy_j: Annotated[F8, "B N", "energy that the agent's node committed to in this step"]
    decided: Annotated[F8, "B N", "tasks that the agent decided on in this step"]
    expected_wait_s: Annotated[F8, "B N", "waiting that those tasks will meet, as all decisions of the slot are known"]
    expected_transfer_s: Annotated[F8, "B N", "upload and return that those tasks will meet"]
    expected_service_s: Annotated[F8, "B N", "service of those tasks"]
    expected_overload: Annotated[F8, "B N", "sum of -log10(free share of places at the target) / 3, each at most 1"]
    expected_late: Annotated[F8, "B N", "those tasks that will finish after their deadline"]
    sums: Annotated[F8, "B G", "metric sums of the episode so far"]
    log: Annotated[F8, "B Z W", "finished and dropped tasks, LOG_COLUMNS"]
    n_logged: Annotated[I8, "B", "tasks that left, logged or not"]


class Rules(NamedTuple):
    """The scalars of FogParams that the kernels read."""

    slot_s: float
    slots_per_step: int
    horizon_slots: int
    holds: bool
    drops_expired: bool
    max_hops: int
    report_every_slots: int
    time_scale_s: float
    n_decisions: int
