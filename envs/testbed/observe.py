"""What is known at the start of an epoch, for rules and the testbed alike, and the features made of it.

The world fills a ``BedView`` from its state, a testbed from the reports of its processes; what a policy sees of either
is written by the same kernel.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.accelerate import inlined, kernel
from envs.arrays import BOOL, F4, F8
from envs.testbed.state import CUTS, N_CUTS, NOBODY, BedState, BedTables, Rules

BITS_SCALE = 1e7  # a clip of some raw frames has some ten million bits
OWN_FEATURES = (
    "local_backlog",
    "local_service",
    *(f"payload_{cut}" for cut in range(N_CUTS)),
    "others_backlog",
    "urgency_rank",
)
TARGET_FEATURES = ("is_server", "cut", "upload", "wait", "service", "response")


class BedView(NamedTuple):
    """What devices and servers report; seconds as they expect them. Target 0 is the device itself."""

    target_mask: Annotated[BOOL, "B N K", "targets that may be chosen: those of servers that are up"]
    has_task: Annotated[BOOL, "B N", "there is a task to decide on: always"]
    payload_bits: Annotated[F8, "B N St", "of the new task at each cut: raw, then after each stage but the last"]
    local_backlog_s: Annotated[F8, "B N", "until the device's lane is free"]
    local_service_s: Annotated[F8, "B N", "of the new task on the device"]
    server_backlog_s: Annotated[F8, "B Se", "until the server is free"]
    server_service_s: Annotated[F8, "B N Se", "of the new task on each server"]
    rate_bps: Annotated[F8, "B N Se", "moving average of measured upload rates"]
    is_up: Annotated[BOOL, "B N Se", "the server is there and the link worked last time"]
    upload_s: Annotated[F8, "B N K", "of the new task to each target"]
    wait_s: Annotated[F8, "B N K", "for the lane where the device has a part, and for the server"]
    service_s: Annotated[F8, "B N K", "of the new task at each target"]
    return_s: Annotated[F8, "B N K", "of the result: too short to be foreseen, 0"]


@kernel
def view_worlds(view: BedView, state: BedState, tables: BedTables, rules: Rules) -> None:
    """Fill the view of every world."""
    for b in range(state.world.size):
        view_world(view, state, tables, rules, b)


@kernel
def view_world(view: BedView, state: BedState, tables: BedTables, rules: Rules, b: int) -> None:
    """Fill the view of world ``b``."""
    world = state.world[b]
    epoch = min(world.epoch, rules.horizon_epochs - 1)
    for n in range(state.device.shape[1]):
        device, frames = state.device[b, n], state.task[b, n, epoch].frames
        left_s = device.waiting_frames * device.frame_s
        if device.task != NOBODY:
            running = state.task[b, n, device.task].frames * device.frame_s
            left_s += max(running - (world.now_s - device.start_s), 0.0)
        view.local_backlog_s[b, n] = left_s
        view.local_service_s[b, n] = frames * device.frame_s
        view.payload_bits[b, n, 0] = frames * 8.0 * tables.cut_bytes[0]
        view.payload_bits[b, n, 1] = frames * world.bits_1
        view.payload_bits[b, n, 2] = frames * world.bits_2
        view.payload_bits[b, n, 3] = frames * world.bits_3
        view.has_task[b, n] = True
        for m in range(state.server.shape[1]):
            view.server_service_s[b, n, m] = frames * state.server[b, m].frame_s
            view.rate_bps[b, n, m] = state.link[b, n, m].seen_bps
            view.is_up[b, n, m] = True
    for m in range(state.server.shape[1]):
        server = state.server[b, m]
        left_s = server.waiting_frames * server.frame_s
        for j in range(tables.first_lane[m], tables.first_lane[m + 1]):
            lane = state.lane[b, j]
            if lane.task != NOBODY:
                running = state.task[b, lane.device, lane.task].frames * server.frame_s
                left_s += max(running - (world.now_s - lane.start_s), 0.0)
        view.server_backlog_s[b, m] = left_s / (tables.first_lane[m + 1] - tables.first_lane[m])
    expect_targets(view, rules.kind, b)


@kernel
def expect_targets(view: BedView, kind: int, b: int) -> None:
    """Fill what is expected of each target of world ``b`` from what was reported.

    What the device does before a cut after the first stage is decoding, which is little; after the second it is all
    but a little of the task. So a cut is either as dear for the server as the whole task, or costs it nothing.
    """
    n_cuts = N_CUTS if kind == CUTS else 1
    for n in range(view.has_task.shape[1]):
        backlog_s, local_s = view.local_backlog_s[b, n], view.local_service_s[b, n]
        view.target_mask[b, n, 0] = True
        view.upload_s[b, n, 0], view.return_s[b, n, 0] = 0.0, 0.0
        view.wait_s[b, n, 0], view.service_s[b, n, 0] = backlog_s, local_s
        for m in range(view.is_up.shape[2]):
            for cut in range(n_cuts):
                k = 1 + m * n_cuts + cut
                view.target_mask[b, n, k] = view.is_up[b, n, m]
                view.upload_s[b, n, k] = view.payload_bits[b, n, cut] / view.rate_bps[b, n, m]
                view.wait_s[b, n, k] = view.server_backlog_s[b, m] + (backlog_s if cut > 0 else 0.0)
                view.service_s[b, n, k] = view.server_service_s[b, n, m] if cut <= 1 else local_s
                view.return_s[b, n, k] = 0.0


@kernel
def write_observations(out: F4, view: BedView, kind: int, deadline_s: float, b: int) -> None:
    """Write the features (N, F) of world ``b``; x is times over the deadline or bits over 1e7, shown as x / (1 + x)."""
    n_devices, n_cuts = out.shape[0], N_CUTS if kind == CUTS else 1
    total_s = 0.0
    for n in range(n_devices):
        total_s += view.local_backlog_s[b, n]
    for n in range(n_devices):
        row = out[n]
        row[0] = _part(view.local_backlog_s[b, n] / deadline_s)
        row[1] = _part(view.local_service_s[b, n] / deadline_s)
        for cut in range(N_CUTS):
            row[2 + cut] = _part(view.payload_bits[b, n, cut] / BITS_SCALE)
        others_s = (total_s - view.local_backlog_s[b, n]) / max(n_devices - 1, 1)
        row[2 + N_CUTS] = _part(max(others_s, 0.0) / deadline_s)
        row[3 + N_CUTS] = _rank(view, b, n) / max(n_devices - 1, 1)
        place = 4 + N_CUTS
        for k in range(view.target_mask.shape[2]):
            expected_s = view.upload_s[b, n, k] + view.wait_s[b, n, k] + view.service_s[b, n, k]
            row[place] = 1.0 if k > 0 else 0.0
            row[place + 1] = ((k - 1) % n_cuts) / N_CUTS if k > 0 else 1.0
            row[place + 2] = _part(view.upload_s[b, n, k] / deadline_s)
            row[place + 3] = _part(view.wait_s[b, n, k] / deadline_s)
            row[place + 4] = _part(view.service_s[b, n, k] / deadline_s)
            row[place + 5] = _part(expected_s / deadline_s)
            place += 6


@inlined
def _part(value: float) -> float:
    return value / (1.0 + value)


@inlined
def _rank(view: BedView, b: int, n: int) -> int:
    """Return how many devices have more to do, the new task included; of equals the lower number has."""
    own, rank = view.local_backlog_s[b, n] + view.local_service_s[b, n], 0
    for other in range(view.has_task.shape[1]):
        theirs = view.local_backlog_s[b, other] + view.local_service_s[b, other]
        if theirs > own or (theirs == own and other < n):
            rank += 1
    return rank


@kernel
def write_state(out: F4, view: BedView, deadline_s: float, b: int) -> None:
    """Write the global state of world ``b``: every device's backlog and service, every server's, every rate."""
    n_devices, n_servers, place = view.has_task.shape[1], view.server_backlog_s.shape[1], 0
    for n in range(n_devices):
        out[place] = _part(view.local_backlog_s[b, n] / deadline_s)
        out[place + 1] = _part(view.local_service_s[b, n] / deadline_s)
        place += 2
    for m in range(n_servers):
        out[place] = _part(view.server_backlog_s[b, m] / deadline_s)
        place += 1
        for n in range(n_devices):
            out[place] = _part(view.server_service_s[b, n, m] / deadline_s)
            out[place + 1] = _part(view.payload_bits[b, n, 0] / view.rate_bps[b, n, m] / deadline_s)
            place += 2


def state_names(n_devices: int, n_servers: int) -> list[str]:
    """Return the names of the entries of a global state, in order."""
    names = [f"device_{n}/{name}" for n in range(n_devices) for name in ("backlog", "service")]
    for m in range(n_servers):
        names.append(f"server_{m}/backlog")
        names += [f"server_{m}/device_{n}/{name}" for n in range(n_devices) for name in ("service", "upload")]
    return names


def feature_names(n_targets: int) -> list[str]:
    """Return the names of an agent's features, in order."""
    return [*OWN_FEATURES, *(f"target_{k}/{name}" for k in range(n_targets) for name in TARGET_FEATURES)]
