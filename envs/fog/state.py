"""What changes while a fog world runs: tasks, queues, channels, reports, and the metric sums."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.arrays import F8, I8, ROWS, row_type
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


class WorldRow:
    """A world as a whole."""

    world_id: Annotated[int, "names the world's random streams"]
    episode: Annotated[int, "episodes begun, less one"]
    slot: Annotated[int, "slots since the episode's start"]
    next_arrival: Annotated[int, "row of the task table that is created next"]
    n_free: Annotated[int, "height of the stack of empty task slots"]
    heap_size: Annotated[int, "pending events"]
    n_logged: Annotated[int, "tasks that left, logged or not"]


class TaskRow:
    """A task that is alive."""

    created_s: Annotated[float, "instant of creation"]
    due_s: Annotated[float, "deadline; infinite for none"]
    size_bits: Annotated[float, "input that travels with the task"]
    result_bits: Annotated[float, "output that returns"]
    work_cycles: Annotated[float, "cycles on one core"]
    entered_s: Annotated[float, "instant at which the task entered its stage"]
    upload_s: Annotated[float, "seconds spent on links so far, waiting for the channel included"]
    wait_s: Annotated[float, "seconds spent in queues so far"]
    service_s: Annotated[float, "seconds of service; 0 before it ends"]
    started_s: Annotated[float, "start of service; -1 before it"]
    origin: Annotated[int, "node that created the task"]
    node: Annotated[int, "node where the task is, or is going to"]
    stage: Annotated[int, "FREE, WAITING, SERVICE, UPLOAD or RETURN"]
    is_decided: Annotated[int, "1: no agent may decide on the task at this node any more"]
    n_hops: Annotated[int, "links crossed on the way out"]
    hops_left: Annotated[int, "links that the result has still to cross"]
    following: Annotated[int, "task behind this one in its queue, -1 for none"]
    preceding: Annotated[int, "task before this one in its queue, -1 for none"]
    heap_place: Annotated[int, "place of the task's pending event in the heap, -1 for none"]


class EventRow:
    """A pending event: a place of the binary heap."""

    time_s: Annotated[float, "instant"]
    task: Annotated[int, "whose event it is"]


class NodeRow:
    """A node."""

    first: Annotated[int, "task at the head of the queue, -1 for none"]
    last: Annotated[int, "task at the tail of the queue, -1 for none"]
    n_waiting: Annotated[int, "tasks in the queue, those in service not counted"]
    n_busy: Annotated[int, "tasks in service"]
    n_inbound: Annotated[int, "tasks on the way to the node"]
    waiting_cycles: Annotated[float, "work in the queue, that in service not counted"]
    service_end_s: Annotated[float, "sum of the instants at which the tasks in service complete"]
    inbound_cycles: Annotated[float, "work on the way to the node"]


class AgentRow:
    """An agent; what is added up over a step is zeroed at the step's start."""

    next_task: Annotated[int, "task that the agent decides on next, -1 for none"]
    n_alive: Annotated[int, "tasks of the agent's own node in the system"]
    step_in_time: Annotated[float, "own tasks that finished in time in this step"]
    step_late: Annotated[float, "own tasks that finished late in this step"]
    step_dropped: Annotated[float, "own tasks that were dropped in this step"]
    step_alive_s: Annotated[float, "seconds that own tasks spent in the system in this step"]
    step_energy_j: Annotated[float, "energy that the agent's node committed to in this step"]
    decided: Annotated[float, "tasks that the agent decided on in this step"]
    expected_wait_s: Annotated[float, "waiting that those tasks will meet, as all decisions of the slot are known"]
    expected_transfer_s: Annotated[float, "upload and return that those tasks will meet"]
    expected_service_s: Annotated[float, "service of those tasks"]
    expected_overload: Annotated[float, "sum of -log10(free share of places at the target) / 3, each at most 1"]
    expected_late: Annotated[float, "those tasks that will finish after their deadline"]


class ReportRow:
    """What a node reported at the start of a slot."""

    tasks: Annotated[float, "tasks at the node"]
    backlog_s: Annotated[float, "core-seconds of work at the node"]


class SeenRow:
    """A node as agents see it that its reports reach after the same lag; at lag 0 as it is."""

    tasks: Annotated[float, "tasks at the node"]
    wait_s: Annotated[float, "backlog, less what was served since the report, over the node's cores"]
    fill_frac: Annotated[float, "tasks over places"]
    wait: Annotated[float, "the waiting as it is observed, in [0, 1]"]


class FogState(NamedTuple):
    """Everything that the future of a batch of fog worlds depends on, beside the network and the task tables."""

    world: Annotated[ROWS, "B", "the worlds", row_type(WorldRow)]
    task: Annotated[ROWS, "B P", "task slots", row_type(TaskRow)]
    event: Annotated[ROWS, "B P", "binary heap of pending events, the earliest on top", row_type(EventRow)]
    node: Annotated[ROWS, "B M", "nodes", row_type(NodeRow)]
    agent: Annotated[ROWS, "B N", "agents", row_type(AgentRow)]
    report: Annotated[ROWS, "B R M", "reports, by slot modulo R", row_type(ReportRow)]
    seen: Annotated[ROWS, "B U M", "nodes as their reports show them", row_type(SeenRow)]
    path_link: Annotated[I8, "B P H", "links that a task crossed on the way out"]
    free_task: Annotated[I8, "B P", "stack of empty task slots"]
    channel_free_s: Annotated[F8, "B C", "instant at which the channel has sent all that it was given"]
    sums: Annotated[F8, "B G", "metric sums of the episode so far"]
    log: Annotated[F8, "B Z W", "finished and dropped tasks, LOG_COLUMNS"]


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
