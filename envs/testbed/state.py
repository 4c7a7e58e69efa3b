"""The state of a batch of testbed twins, their metric sums, and the constants and scalars that the kernels read."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.arrays import F8, I8, ROWS, row_type

# Metric sums of an episode, in this order.
SUM_NAMES = (
    "episodes",
    "epochs",
    "tasks",
    "finished",
    "late",
    "offloaded",
    "done_by_server",
    "fallbacks",
    "refused",
    "response_s",
    "upload_s",
    "wait_s",
    "service_s",
    "return_s",
    "local_cost",
    "edge_cost",
    "transmit_cost",
    "late_cost",
    "cost",
    "sent_bytes",
    "local_backlog_s",
    "server_backlog_s",
)
(
    EPISODES,
    EPOCHS,
    TASKS,
    FINISHED,
    LATE,
    OFFLOADED,
    DONE_BY_SERVER,
    FALLBACKS,
    REFUSED,
    RESPONSE_S,
    UPLOAD_S,
    WAIT_S,
    SERVICE_S,
    RETURN_S,
    LOCAL_COST,
    EDGE_COST,
    TRANSMIT_COST,
    LATE_COST,
    COST,
    SENT_BYTES,
    LOCAL_BACKLOG_S,
    SERVER_BACKLOG_S,
) = range(len(SUM_NAMES))

N_CUTS = 4  # raw, and after each stage but the last
NOBODY = -1
CUTS, SHARES, WHOLE = range(3)  # kinds of decisions
IDLE, SENDING, CONFIRMING = range(3)  # phases of a link
BY_NOBODY, BY_DEVICE, BY_SERVER = range(3)


class WorldRow:
    """One world."""

    world_id: Annotated[int, "names the random streams"]
    episode: Annotated[int, "number of the episode"]
    epoch: Annotated[int, "decisions that were taken"]
    now_s: Annotated[float, "since the start of the episode"]
    bits_1: Annotated[float, "moving average of bits a frame after the first stage, as tasks that are done showed"]
    bits_2: Annotated[float, "after the second"]
    bits_3: Annotated[float, "after the third"]
    work_factor: Annotated[float, "of the episode"]
    bytes_factor: Annotated[float, "of the episode"]
    delay_s: Annotated[float, "of a link each way"]


class DeviceRow:
    """One device and its lane."""

    hz: Annotated[float, "cycles per second of its lane"]
    frame_s: Annotated[float, "time of a frame in its lane: moving average, first a guess"]
    waiting_frames: Annotated[int, "of jobs that wait for the lane"]
    head: Annotated[int, "jobs that have left its queue"]
    tail: Annotated[int, "jobs that have joined it"]
    task: Annotated[int, "epoch of the task in the lane; -1 for none"]
    first: Annotated[int, "first stage of the job in the lane"]
    last: Annotated[int, "and the stage behind the last"]
    start_s: Annotated[float, "of the job in the lane"]
    end_s: Annotated[float, "of the job in the lane; infinite: none"]
    begin_s: Annotated[float, "when the decision on the newest task comes; infinite: it has come"]
    result_s: Annotated[float, "when the next result arrives; infinite: none is on its way"]
    patient: Annotated[int, "epoch of the oldest task whose patience has not ended"]
    judged: Annotated[int, "epoch of the oldest task whose deadline has not passed"]
    local_cost: Annotated[float, "booked in this step"]
    edge_cost: Annotated[float, "booked in this step"]
    transmit_cost: Annotated[float, "booked in this step"]
    late_cost: Annotated[float, "booked in this step"]


class LinkRow:
    """The link from a device to a server; payloads queue for it."""

    phase: Annotated[int, "0 idle, 1 sending, 2 waiting for the confirmation"]
    task: Annotated[int, "epoch of the task that is sent"]
    left_bits: Annotated[float, "as of since_s"]
    since_s: Annotated[float, "when left_bits was right"]
    bps: Annotated[float, "rate that payloads get while nobody shares it"]
    now_bps: Annotated[float, "rate that what is sent gets"]
    start_s: Annotated[float, "first byte of what is sent"]
    end_s: Annotated[float, "of the phase; infinite: idle"]
    seen_bps: Annotated[float, "moving average of measured rates, first the link's own"]
    head: Annotated[int, "tasks that have left its queue"]
    tail: Annotated[int, "tasks that have joined it"]


class ServerRow:
    """One edge server."""

    factor: Annotated[float, "on its speed, of the episode"]
    frame_s: Annotated[float, "time of a frame in a lane: moving average, first a guess"]
    waiting_frames: Annotated[int, "of tasks that wait"]
    head: Annotated[int, "tasks that have left its queue"]
    tail: Annotated[int, "tasks that have joined it"]
    n_busy: Annotated[int, "lanes that work"]
    since_s: Annotated[float, "when what its lanes have left was right"]


class LaneRow:
    """One lane of a server."""

    device: Annotated[int, "whose task it does; -1 for none"]
    task: Annotated[int, "epoch of the task"]
    left_cycles: Annotated[float, "as of the server's since_s"]
    start_s: Annotated[float, "of the task"]
    end_s: Annotated[float, "at the present speed; infinite: none"]


class TaskRow:
    """The task that a device created in an epoch."""

    frames: Annotated[int, "of the clip"]
    work_factor: Annotated[float, "of its cycles"]
    bytes_factor: Annotated[float, "of its payloads behind the first stage"]
    created_s: Annotated[float, "since the start of the episode"]
    target: Annotated[int, "0 the device, m + 1 server m"]
    cut: Annotated[int, "stages that the device was to do before the upload; 4 for all"]
    done: Annotated[int, "stages that the device has done"]
    has_fallback: Annotated[int, "1: the device stopped waiting"]
    by: Annotated[int, "who finished it: 0 nobody, 1 the device, 2 a server"]
    upload_start_s: Annotated[float, "first byte; NaN: never"]
    upload_end_s: Annotated[float, "last byte at the server; NaN: never"]
    own_start_s: Annotated[float, "of the device's work before the upload, or of all of it; NaN: never"]
    own_s: Annotated[float, "time that it took"]
    rest_start_s: Annotated[float, "of the device's work after its patience ended; NaN: never"]
    rest_s: Annotated[float, "time that it took"]
    serve_start_s: Annotated[float, "at the server; NaN: never"]
    serve_end_s: Annotated[float, "at the server; NaN: never"]
    result_s: Annotated[float, "when the server's result arrives; infinite: none is on its way"]
    done_s: Annotated[float, "end of the task; NaN: in flight"]
    cost: Annotated[float, "of the task so far"]


class BedState(NamedTuple):
    """Everything that the future of a batch of twins depends on, beside the parameters."""

    world: Annotated[ROWS, "B", "worlds", row_type(WorldRow)]
    device: Annotated[ROWS, "B N", "devices", row_type(DeviceRow)]
    link: Annotated[ROWS, "B N Se", "links to servers", row_type(LinkRow)]
    server: Annotated[ROWS, "B Se", "edge servers", row_type(ServerRow)]
    lane: Annotated[ROWS, "B La", "lanes of all servers, one server after another", row_type(LaneRow)]
    task: Annotated[ROWS, "B N Ep", "tasks", row_type(TaskRow)]
    lane_queue: Annotated[I8, "B N Jo", "jobs of a device's lane in their order: (epoch * 8 + first) * 8 + last"]
    link_queue: Annotated[I8, "B N Se Ep", "epochs of tasks that were to be sent, in their order"]
    server_queue: Annotated[I8, "B Se Ta", "tasks that came, in their order: device * epochs + epoch"]
    sums: Annotated[F8, "B G", "metric sums of the episode so far"]


class BedTables(NamedTuple):
    """What does not change."""

    device_hz: Annotated[F8, "N", "cycles per second of each device"]
    up_bps: Annotated[F8, "N Se", "rates that links are set to"]
    down_bps: Annotated[F8, "N Se", "rates that results get"]
    server_cores: Annotated[F8, "Se", "cores of each server"]
    lane_hz: Annotated[F8, "Se", "cycles per second of a lane that is alone"]
    is_shared: Annotated[I8, "Se", "1: the server's lanes share its cores"]
    first_lane: Annotated[I8, "Sn", "place of each server's first lane, and behind the last"]
    stage_cycles: Annotated[F8, "St", "of a frame"]
    cut_bytes: Annotated[F8, "St", "of a frame before each stage"]
    listed_frames: Annotated[I8, "Nf Tf", "of each device's tasks; empty: drawn"]


class Rules(NamedTuple):
    """The scalars of the parameters that the kernels read."""

    kind: int
    horizon_epochs: int
    epoch_s: float
    deadline_s: float
    patience_s: float
    drain_s: float
    decision_delay_s: float
    delay_s: float
    is_shared_air: bool
    goodput_frac: float
    crowding: float
    least_frames: int
    range_frames: int
    overhead_s: float
    result_bytes: float
    work_spread: float
    bytes_spread: float
    local_per_cycle: float
    edge_per_cycle: float
    transmit_per_s: float
    late_cost: float
    reward_scale: float
    is_team: bool
    device_speed_frac: float
    server_speed_frac: float
    rate_frac: float
    work_frac: float
    bytes_frac: float
    delay_frac: float
