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
UPDATE = 5  # not a task but a model update on its way; its event is its arrival at the next node
DELIVERED = 6  # a model update that has arrived and was not fetched yet; it has no event

# Why a task left unfinished.
QUEUE_FULL, EXPIRED, WORLD_FULL, MEMORY_FULL = 0, 1, 2, 3
DROP_REASONS = ("queue_full", "expired", "world_full", "memory_full")

# What an agent's step is rewarded by, each added up over the step; see envs/fog/reward.py.
TERMS = (
    "decided",  # tasks that the agent decided on
    "expected_wait_s",  # waiting that those tasks will meet, as all decisions of the step are known
    "expected_transfer_s",  # upload and return that those tasks will meet
    "expected_service_s",  # service of those tasks
    "expected_overload",  # sum of -log10(free share of places at the target) / 3, each at most 1
    "expected_late",  # those tasks that will finish after their deadline
    "finished",  # own tasks that finished
    "in_time",  # own tasks that finished before their deadline
    "late",  # own tasks that finished after it
    "lateness_s",  # seconds by which they were late
    "dropped",  # own tasks that were dropped
    "alive_s",  # seconds that own tasks spent in the system
    "energy_j",  # energy that the agent's node committed to
)
(
    DECIDED,
    EXPECTED_WAIT_S,
    EXPECTED_TRANSFER_S,
    EXPECTED_SERVICE_S,
    EXPECTED_OVERLOAD,
    EXPECTED_LATE,
    FINISHED,
    TERM_IN_TIME,
    LATE,
    LATENESS_S,
    TERM_DROPPED,
    ALIVE_S,
    ENERGY_J,
) = range(len(TERMS))

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
    "dropped_memory_full",
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
    "lateness_s",
    "updates_sent",
    "updates_arrived",
    "update_s",
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
    DROPPED,  # first of the four reasons
    _,
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
    SUM_LATENESS_S,
    UPDATES_SENT,
    UPDATES_ARRIVED,
    UPDATE_S,
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
    "priority",
)


class WorldRow:
    """A world as a whole."""

    world_id: Annotated[int, "names the world's random streams"]
    episode: Annotated[int, "episodes begun, less one"]
    slot: Annotated[int, "slots since the episode's start that are over"]
    now_s: Annotated[float, "instant up to which everything has happened; the next decisions are taken at it"]
    step: Annotated[int, "steps since the episode's start"]
    n_to_decide: Annotated[int, "tasks that some agent may decide on"]
    next_arrival: Annotated[int, "row of the task table that is created next"]
    n_free: Annotated[int, "height of the stack of empty task slots"]
    heap_size: Annotated[int, "pending events"]
    n_logged: Annotated[int, "tasks that left, logged or not"]
    n_posted: Annotated[int, "model updates sent since the episode's start"]


class TaskRow:
    """A task that is alive, or a model update on its way.

    In processor sharing a task in service is in its node's list of those, the one that completes first at the head;
    where channels are shared fairly, what is being sent is in its channel's list. All lists run over ``following`` and
    ``preceding``. The fields that a walk along a list reads come first, as neighbours in memory.
    """

    following: Annotated[int, "task behind this one in its list, -1 for none"]
    preceding: Annotated[int, "task before this one in its list, -1 for none"]
    work_cycles: Annotated[float, "cycles on one core"]
    is_decided: Annotated[int, "1: no agent may decide on the task at this node any more"]
    stage: Annotated[int, "FREE, WAITING, SERVICE, UPLOAD, RETURN, UPDATE or DELIVERED"]
    heap_place: Annotated[int, "place of the task's pending event in the heap, -1 for none"]
    node: Annotated[int, "node where the task is, or is going to"]
    entered_s: Annotated[float, "instant at which the task entered its stage"]
    link: Annotated[int, "link that it is on, where it is on one"]
    size_bits: Annotated[float, "input that travels with the task"]
    due_s: Annotated[float, "deadline; infinite for none"]
    completed_s: Annotated[float, "end of service, known when it starts unless nodes share; -1 before that"]
    n_hops: Annotated[int, "links crossed on the way out"]
    origin: Annotated[int, "node that created the task"]
    created_s: Annotated[float, "instant of creation"]
    is_sending: Annotated[int, "fair channels: 1 while bits are sent, 0 while they propagate"]
    result_bits: Annotated[float, "output that returns"]
    upload_s: Annotated[float, "seconds spent on links so far, waiting for the channel included"]
    wait_s: Annotated[float, "seconds spent in queues so far"]
    service_s: Annotated[float, "seconds of service; 0 before it ends"]
    started_s: Annotated[float, "start of service; -1 before it"]
    mark_cycles: Annotated[float, "sharing: what its node will have served each task when this one completes"]
    left_bits: Annotated[float, "fair channels: bits still to be sent, as of the channel's since_s"]
    rate_bps: Annotated[float, "fair channels: bits per second at present"]
    target: Annotated[int, "model update: node that it is sent to"]
    number: Annotated[int, "model update: how many were sent before it in the episode"]
    priority: Annotated[int, "0 is served first, where nodes serve by priority"]
    hops_left: Annotated[int, "links of that path that the result has still to cross"]


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
    undecided: Annotated[int, "first task of the queue that the node's agent may decide on, -1 for none"]
    n_inbound: Annotated[int, "tasks on the way to the node"]
    waiting_cycles: Annotated[float, "work in the queue, that in service not counted"]
    held_bits: Annotated[float, "input of the tasks in the queue and in service"]
    service_end_s: Annotated[float, "sum of the instants at which the tasks in service complete; 0 in sharing"]
    serving: Annotated[int, "sharing: task in service that completes first, -1 for none"]
    served_cycles: Annotated[float, "sharing: cycles that each task in service got since the node was last empty"]
    since_s: Annotated[float, "sharing: instant at which that was so"]
    mark_cycles: Annotated[float, "sharing: sum of the marks of the tasks in service"]
    inbound_cycles: Annotated[float, "work on the way to the node"]


class AgentRow:
    """An agent."""

    next_task: Annotated[int, "task that the agent decides on next, -1 for none"]
    n_alive: Annotated[int, "tasks of the agent's own node in the system"]
    potential: Annotated[float, "of the last observed state, where rewards are shaped"]
    posted_j: Annotated[float, "energy that its node committed to for model updates since the last step"]


class ChannelRow:
    """What transmissions queue for, or share."""

    free_s: Annotated[float, "fifo: instant at which the channel has sent all that it was given"]
    first: Annotated[int, "fair: first transmission of the list, -1 for none"]
    n_flows: Annotated[int, "fair: transmissions"]
    since_s: Annotated[float, "fair: instant at which their left_bits were so"]
    left_bits: Annotated[float, "fair: bits of all transmissions at that instant"]


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
    channel: Annotated[ROWS, "B C", "channels", row_type(ChannelRow)]
    term: Annotated[F8, "B N O", "TERMS of the step so far"]
    sums: Annotated[F8, "B G", "metric sums of the episode so far"]
    log: Annotated[F8, "B Z W", "finished and dropped tasks, LOG_COLUMNS"]


# Values of the scalars in Rules.
FIFO, LIFO, PRIORITY, EDF, SHARING = range(5)
CHANNEL_FIFO, CHANNEL_FAIR, CHANNEL_NONE = range(3)
SOFT, EXPIRES_WAITING, HARD = range(3)


class Rules(NamedTuple):
    """The scalars of FogParams that the kernels read."""

    slot_s: float
    slots_per_step: int
    horizon_slots: int
    horizon_steps: int
    on_events: bool
    holds: bool
    discipline: int
    contention: int
    deadlines: int
    by_shortest_way: bool
    max_hops: int
    report_every_slots: int
    time_scale_s: float
    n_decisions: int
