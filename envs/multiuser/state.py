"""The state of a batch of multi-user worlds, its metric sums, and the constants and scalars that the kernels read."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.arrays import BOOL, F8, I8, ROWS, row_type

# Metric sums of an episode, in this order.
SUM_NAMES = (
    "episodes",
    "slots",
    "tasks",
    "sent_tasks",
    "shared_tasks",
    "phantom_tasks",
    "lost_tasks",
    "missed_tasks",
    "missed_sent_tasks",
    "refused",
    "local_cost",
    "edge_cost",
    "transmit_cost",
    "miss_cost",
    "cost",
    "delay_s",
    "upload_s",
    "local_s",
    "edge_s",
    "user_backlog_s",
    "edge_backlog_s",
)
(
    EPISODES,
    SLOTS,
    TASKS,
    SENT_TASKS,
    SHARED_TASKS,
    PHANTOM_TASKS,
    LOST_TASKS,
    MISSED_TASKS,
    MISSED_SENT_TASKS,
    REFUSED,
    LOCAL_COST,
    EDGE_COST,
    TRANSMIT_COST,
    MISS_COST,
    COST,
    DELAY_S,
    UPLOAD_S,
    LOCAL_S,
    EDGE_S,
    USER_BACKLOG_S,
    EDGE_BACKLOG_S,
) = range(len(SUM_NAMES))

# Values of the scalars in Rules.
DISCRETE, BOX, AUTOREGRESSIVE = range(3)
NO_INTERFERENCE, OTHERS, RELEASED = range(3)
WHOLE, K_FOLD, SHARING = range(3)
NO_CHANNEL = -1  # a user that stays, where decisions are discrete


class WorldRow:
    """One world."""

    world_id: Annotated[int, "names the random streams"]
    episode: Annotated[int, "number of the episode"]
    slot: Annotated[int, "slots of the episode that have been played"]
    edge_backlog_s: Annotated[float, "seconds of work that the edge server has at the start of the slot"]
    turn: Annotated[int, "autoregressive: users that have decided in this slot; else 0"]
    sent_s: Annotated[float, "seconds of work that those users send to the edge server"]


class UserRow:
    """One user."""

    backlog_s: Annotated[float, "seconds of work on its own processor at the start of the slot"]
    work_cycles: Annotated[float, "of its task"]
    size_bits: Annotated[float, "of its task"]
    deadline_s: Annotated[float, "of its task, from the start of the slot"]
    offloads: Annotated[int, "1: decided to send its task in this slot"]
    channel: Annotated[int, "decided on in this slot; -1 for none"]
    urgency: Annotated[float, "time until its own processor would have done the task, over the deadline"]
    rank: Annotated[int, "place by urgency, the most urgent first; of equals the lower number"]


class ChannelRow:
    """One channel, as the users that have decided in this slot take it; autoregressive, else 0."""

    n_sending: Annotated[int, "users that send on it"]
    received_w: Annotated[float, "power of their signals at the base station"]


class MultiuserState(NamedTuple):
    """Everything that the future of a batch of multi-user worlds depends on, beside the parameters."""

    world: Annotated[ROWS, "B", "worlds", row_type(WorldRow)]
    user: Annotated[ROWS, "B Us", "users", row_type(UserRow)]
    channel: Annotated[ROWS, "B Ch", "channels", row_type(ChannelRow)]
    sums: Annotated[F8, "B G", "metric sums of the episode so far"]


class SlotFigures(NamedTuple):
    """What happened in the last slot, in float64; a new episode leaves it as it is."""

    rate_bps: Annotated[F8, "B Us", "of the transmission; 0 where nothing was sent, as the next two"]
    upload_s: Annotated[F8, "B Us", "time on the way to the edge server"]
    edge_s: Annotated[F8, "B Us", "time from there until the task was done"]
    delay_s: Annotated[F8, "B Us", "from the start of the slot until the task is done"]
    local_cost: Annotated[F8, "B Us", "energy of local work"]
    edge_cost: Annotated[F8, "B Us", "payment to the edge server"]
    transmit_cost: Annotated[F8, "B Us", "energy of the transmission"]
    cost: Annotated[F8, "B Us", "of the task, the penalty included"]
    is_missed: Annotated[BOOL, "B Us", "the task was late"]
    is_lost: Annotated[BOOL, "B Us", "the upload was given up at the deadline"]
    shares_channel: Annotated[BOOL, "B Us", "somebody else sent on its channel"]
    edge_busy_s: Annotated[F8, "B", "time of the slot for which the edge server worked"]
    reward: Annotated[F8, "B N", "reward of the slot"]


class Room(NamedTuple):
    """Room to work in for one world."""

    sender: Annotated[I8, "Us", "users that send, by number"]
    arriving: Annotated[
        I8, "Us", "senders whose tasks arrive, by number; where the server is shared by time of arrival"
    ]
    active: Annotated[I8, "Us", "places of senders whose tasks are at the edge server"]
    ready_at: Annotated[F8, "Us", "share of the server that each active task will have had when it is done, seconds"]
    channel_w: Annotated[F8, "Ch", "power of all who decided for a channel"]
    sending_w: Annotated[F8, "Ch", "power of those who send on it"]
    n_sending: Annotated[I8, "Ch", "users that send on each channel"]


class MultiuserTables(NamedTuple):
    """What does not change: users, their places, and what is seen of both."""

    user_hz: Annotated[F8, "Us", "cycles per second"]
    s_per_cycle: Annotated[F8, "Us", "seconds of a cycle"]
    received_w: Annotated[F8, "Us", "power of the user's signal at the base station"]
    x_frac: Annotated[F8, "Us", "place in the square, 0 to 1"]
    y_frac: Annotated[F8, "Us", "place in the square, 0 to 1"]
    gain_frac: Annotated[F8, "Us", "bits per second and hertz alone on a channel, of the most that is shown; 0 to 1"]
    upload_s_per_bit: Annotated[F8, "Us", "alone on a channel"]
    clip_cycles: Annotated[F8, "Cl", "works in the order of the slots, the same for all users; empty: drawn"]
    clip_bits: Annotated[F8, "Cl", "sizes in the order of the slots; as many"]


class Rules(NamedTuple):
    """The scalars of the parameters that the kernels read; ``per_x`` is 1 over the scale of x in features."""

    slot_s: float
    horizon_slots: int
    is_central: bool
    kind: int
    by_urgency: bool
    interference: int
    has_phantom: bool
    is_sequential: bool
    service: int
    stops_late: bool
    n_channels: int
    bandwidth_hz: float
    noise_w: float
    transmit_w: float
    edge_hz: float
    local_per_cycle: float
    edge_per_cycle: float
    transmit_per_j: float
    miss_cost: float
    reward_scale: float
    is_team: bool
    is_bounded: bool
    sees_gains: bool
    sees_ranks: bool
    work_low_cycles: float
    work_range_cycles: float
    size_low_bits: float
    size_range_bits: float
    deadline_low_s: float
    deadline_range_s: float
    draws_clips: bool
    per_user_hz: float
    per_edge_hz: float
    per_work_cycles: float
    per_size_bits: float
    per_deadline_s: float
    per_user_backlog_s: float
    per_edge_backlog_s: float
    per_slots: float
