"""What a PeersimGym world is made of while it runs: tasks, nodes, streams, the order of events, the metric sums."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np

from envs.arrays import F8, I8, ROWS, row_type
from envs.constants import TIER_NAMES
from envs.metrics import HISTOGRAM_PREFIX, N_BINS

# Stages of a task.
FREE = 0  # the place is empty
APPLICATION = 1  # on the way from its client to a node
RECEIVED = 2  # at the node, not yet in its queue ("not serialised")
QUEUED = 3
SERVICE = 4
OFFLOADED = 5  # on the way to another node
RESULT = 6  # its result is on the way back to the node that had it first
TO_CLIENT = 7  # its result is on the way to its client

NEVER_SLOT = 2**40
N_ORDERS = 256  # places in the order of a slot's events: 8 random bits

# Why a task left unfinished.
QUEUE_FULL, EXPIRED, LOST_IN_CLOUD, WORLD_FULL = range(4)
DROP_REASONS = ("queue_full", "expired", "lost_in_cloud", "world_full")

_SCALAR_SUMS = (
    "episodes",
    "elapsed_s",
    "created",
    "completed",  # results that clients received in time to count
    "in_time",
    *(f"dropped_{reason}" for reason in DROP_REASONS),
    "unclaimed",  # results of tasks that their clients had given up
    "in_flight",
    "response_s",
    "upload_s",
    "wait_s",
    "service_s",
    "return_s",
    "energy",  # price units
    "reports",  # sent by nodes, one for each entry of their lists
    "results",  # messages with a result that nodes other than the cloud sent
    "decisions",  # with a task to decide on
    "offloads",
    "refused",
    "hops",
    "full_node_slots",
    "node_slots",
    "received",  # tasks of clients that reached a node, accepted or not
    "processed",  # tasks that nodes other than the cloud finished
    "offloads_accepted",
    "client_dropped",  # tasks that clients gave up
    "reported",  # finished tasks in the replies to decisions
    "seen_tasks",  # tasks in nodes at the instants of observation
    "seen_nodes",  # nodes x instants
    "in_nodes",  # tasks in nodes at the last instant
)
_TIER_SUMS = ("to", "run_on", "busy_s", "occupancy", "core_s", "occupancy_slots")
SUM_NAMES: tuple[str, ...] = (
    *_SCALAR_SUMS,
    *(f"{name}_{tier}" for name in _TIER_SUMS for tier in TIER_NAMES),
    *(f"{HISTOGRAM_PREFIX}{index}" for index in range(N_BINS)),
)
(
    EPISODES,
    ELAPSED_S,
    CREATED,
    COMPLETED,
    IN_TIME,
    DROPPED,  # first of the reasons
    _,
    _,
    _,
    UNCLAIMED,
    IN_FLIGHT,
    RESPONSE_S,
    UPLOAD_S,
    WAIT_S,
    SERVICE_S,
    RETURN_S,
    ENERGY,
    REPORTS,
    RESULTS,
    DECISIONS,
    OFFLOADS,
    REFUSED,
    HOPS,
    FULL_NODE_SLOTS,
    NODE_SLOTS,
    ARRIVED,
    PROCESSED,
    ACCEPTED,
    CLIENT_DROPPED,
    REPORTED,
    SEEN_TASKS,
    SEEN_NODES,
    IN_NODES,
) = range(len(_SCALAR_SUMS))
TO_TIER, RUN_ON_TIER, BUSY_S_TIER, OCCUPANCY_TIER, CORE_S_TIER, OCCUPANCY_SLOTS_TIER = (
    len(_SCALAR_SUMS) + 3 * group for group in range(len(_TIER_SUMS))
)
HISTOGRAM = len(_SCALAR_SUMS) + 3 * len(_TIER_SUMS)


class WorldRow:
    """A world as a whole."""

    world_id: Annotated[int, "names the world's random streams"]
    episode: Annotated[int, "episodes begun, less one"]
    slot: Annotated[int, "slots since the episode's start"]
    order: Annotated[int, "place in the order of the slot's events"]
    n_free: Annotated[int, "height of the stack of empty task places"]


class TaskRow:
    """A task that is alive."""

    left_cycles: Annotated[float, "work that is left"]
    type: Annotated[int, "its type"]
    client_entry: Annotated[int, "entry of the neighbour lists that its client sent it on"]
    handler: Annotated[int, "node that its client sent it to"]
    node: Annotated[int, "where it is or goes to"]
    sent_slot: Annotated[int, "slot in which its client sent it"]
    due_slot: Annotated[int, "deadline"]
    give_up_slot: Annotated[int, "first slot in which its client gives it up"]
    entered_slot: Annotated[int, "slot in which it entered its stage"]
    upload_slots: Annotated[int, "slots on links on the way out"]
    wait_slots: Annotated[int, "slots between arrivals at nodes and departures or service"]
    finished_slot: Annotated[int, "slot in which its service ended"]
    started_slot: Annotated[int, "slot in which its service began"]
    stage: Annotated[int, "FREE ... TO_CLIENT"]
    is_marked: Annotated[int, "1: its agent decided that it stays"]
    n_hops: Annotated[int, "links crossed on the way out"]
    hops_left: Annotated[int, "links that the result has still to cross"]
    following: Annotated[int, "task behind this one in its list, -1 for none"]
    preceding: Annotated[int, "task before this one in its list, -1 for none"]


class NodeRow:
    """A node."""

    left_cycles: Annotated[float, "work at the node"]
    first: Annotated[int, "task that is served next, -1 for none"]
    last: Annotated[int, "task at the other end of the queue"]
    n_queued: Annotated[int, "tasks in the queue"]
    first_received: Annotated[int, "oldest task that has not entered the queue, -1 for none"]
    last_received: Annotated[int, "latest such task"]
    n_received: Annotated[int, "such tasks"]
    current: Annotated[int, "task in service, -1 for none"]
    has_changed: Annotated[int, "1: a report is due"]
    n_concluded: Annotated[int, "own tasks finished since the last decision"]
    n_dropped: Annotated[int, "tasks dropped here since the last decision"]
    client_slot: Annotated[int, "slot in which the node's client had its last turn, -1 before the first"]
    n_lost_at_end: Annotated[int, "dropped tasks that the client gives up in the last slot"]
    piece: Annotated[int, "piece of the client's schedule"]
    n_reached: Annotated[int, "tasks of clients that reached the node, accepted or not"]
    n_refused: Annotated[int, "tasks of clients and of other nodes that found no place"]
    n_processed: Annotated[int, "tasks that the node finished"]


class EntryRow:
    """An entry of a neighbour list: a client's stream of tasks to it, and what its reports say."""

    next_slot: Annotated[float, "when the stream's next task is due"]
    n_gaps: Annotated[int, "gaps drawn"]
    n_tasks: Annotated[int, "tasks drawn"]
    seen_tasks: Annotated[int, "tasks in the node by its last report"]
    seen_received: Annotated[int, "those of them that had not entered its queue"]
    seen_cycles: Annotated[float, "work at the node by its last report"]


class ReportRow:
    """What a node reported in a slot."""

    tasks: Annotated[int, "tasks in the node"]
    received: Annotated[int, "those that had not entered the queue"]
    left_cycles: Annotated[float, "work at the node"]


class AgentRow:
    """An agent."""

    has_task: Annotated[int, "1: there is a task that can be sent"]
    n_tasks: Annotated[int, "tasks in its node when it was observed"]
    decided: Annotated[float, "reward of its decision by itself"]
    is_penalised: Annotated[int, "1: it chose a target that does not exist, and pays for it"]


class PieceRow:
    """A piece of a client's schedule."""

    until_slot: Annotated[float, "end; infinite of the last"]
    per_slot: Annotated[float, "tasks per slot of each stream"]


class PeersimState(NamedTuple):
    """Everything that the future of a batch depends on, beside the network and the random key."""

    world: Annotated[ROWS, "B", "the worlds", row_type(WorldRow)]
    task: Annotated[ROWS, "B P", "tasks", row_type(TaskRow)]
    node: Annotated[ROWS, "B M", "nodes", row_type(NodeRow)]
    entry: Annotated[ROWS, "B L", "entries of neighbour lists", row_type(EntryRow)]
    report: Annotated[ROWS, "B R M", "reports, by slot modulo R", row_type(ReportRow)]
    agent: Annotated[ROWS, "B N", "agents", row_type(AgentRow)]
    path: Annotated[I8, "B P H", "entries that a task went along on the way out"]
    free_task: Annotated[I8, "B P", "stack of empty task places"]
    first_event: Annotated[I8, "B Y", "of each place of the slot's order, then of slots to come, in turn; -1 for none"]
    following: Annotated[I8, "B E", "event behind an event in the same list, -1 for none"]
    machine: Annotated[I8, "B V", "task on each machine of the cloud, -1 for none"]
    piece: Annotated[ROWS, "B M I", "schedules of clients", row_type(PieceRow)]
    sums: Annotated[F8, "B G", "metric sums of the episode so far"]


class NodeFacts:
    """A node, as no step changes it."""

    slot_cycles: Annotated[float, "cycles in a slot; of the cloud those of one machine"]
    hz: Annotated[float, "cycles per second, all cores; of the cloud those of one machine"]
    tier: Annotated[int, "0 device, 1 edge, 2 cloud"]
    is_cloud: Annotated[int, "1: machines behind an endless queue"]
    is_client: Annotated[int, "1: its client is active"]
    queue_places: Annotated[int, "capacity in tasks, the one in service counted"]
    agent: Annotated[int, "agent that decides for the node, -1 for none"]
    first_entry: Annotated[int, "where its neighbour list begins: itself, its neighbours, the cloud"]
    n_entries: Annotated[int, "length of its neighbour list"]
    reward_hz: Annotated[float, "cycles per second as the reward believes them"]
    reward_places: Annotated[float, "queue places as the reward believes them"]
    reward_clients: Annotated[float, "clients that send tasks to the node, as the reward believes"]


class EntryFacts:
    """An entry of a neighbour list, as no step changes it."""

    source: Annotated[int, "whose list it is in"]
    node: Annotated[int, "the neighbour"]
    back: Annotated[int, "the entry of the way back"]
    is_stream: Annotated[int, "1: the client of the list sends tasks to it"]
    report_slots: Annotated[int, "delay of a report"]
    reward_s: Annotated[float, "seconds of a transmission as the reward believes them"]


class TypeFacts:
    """A type of tasks."""

    work_cycles: Annotated[float, "work"]
    size_mb: Annotated[float, "input, megabytes"]
    result_mb: Annotated[float, "output, megabytes"]
    cumulative: Annotated[float, "share of this type and those before it"]
    due_low: Annotated[int, "least slots to the deadline; -1: no deadline"]
    due_high: Annotated[int, "most slots to the deadline"]


class Setup(NamedTuple):
    """Everything about network and tasks that no step changes."""

    node: Annotated[ROWS, "M", "nodes", row_type(NodeFacts)]
    entry: Annotated[ROWS, "L", "entries of neighbour lists, one list after the other", row_type(EntryFacts)]
    type: Annotated[ROWS, "J", "types of tasks", row_type(TypeFacts)]
    out_slots: Annotated[I8, "L J", "delay of a task"]
    back_slots: Annotated[I8, "L J", "delay of a result"]
    node_of_agent: Annotated[I8, "N", "node that an agent decides for"]
    target_node: Annotated[I8, "N K", "node of each target, -1 padding; column 0 the own node"]


class Rules(NamedTuple):
    """The scalars that the kernels read; a flag is True for PeersimGym's choice unless its name says otherwise."""

    key: np.uint64
    slot_s: float
    slots_per_step: int
    horizon_slots: int
    is_random_order: bool
    own_first: bool
    rounds_arrivals: bool
    searches_types: bool
    doubles_deadline: bool
    is_lifo: bool
    serialises_late: bool
    expires: bool  # some type has a deadline
    expires_received: bool  # the correct choice
    expires_current: bool  # the correct choice
    grace_slots: int
    cycle_price: float
    mb_price: float
    report_mb: float
    reports_always: bool  # the correct choice
    received_weight: int  # 2: tasks that have not entered the queue count twice
    offloads_one: bool
    marks_top: bool
    offers_without_task: bool
    penalises: bool
    holds: bool  # nodes of agents serve decided tasks only; not PeersimGym's
    self_hop: bool
    cloud_is_unlimited: bool
    time_scale_s: float
    shows_next: bool
    shows_total: bool
    n_listed: int
    repeats_next: bool
    mean_hz: float
    mean_cycles: float


class RewardRules(NamedTuple):
    """The scalars of PeersimReward as the kernels read them."""

    is_dense: bool
    as_implemented: bool
    utility: float
    wait: float
    service: float
    transfer: float
    overload: float
    no_op: float
    tasks_per_slot: float
    cycles: float  # of a task
    tick_s: float
