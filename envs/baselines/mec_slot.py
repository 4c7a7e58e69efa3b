"""One slot of a MEC world as rules see it: what a server does with the devices that send to it, and what it costs.

A device that sends the share r of its task to a server works off 1 - r itself, at the same time:

    at home:   own backlog + (1 - r) * local service, nothing where r = 1
    sent:      transfer + wait for those who arrived before + start-up + r * service
    delay:     the later of the two

Servers serve in order of arrival. By radio, devices that send at the same time disturb each other at their servers. The
cost of a slot is the sum over devices of time_weight * delay + (1 - time_weight) * energy. Start-ups and backlogs that
a decision leaves to later slots are not weighed: everything here is myopic.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import numpy as np

from envs.accelerate import inlined, kernel
from envs.arrays import F8, I8, ROWS, allocate, row_type
from envs.mec.observe import MecView

MISS_COST = 2.0**24  # put on a missed deadline or budget to have as few as can be: more than the delays of any slot


class DeviceRow:
    """One device and its task."""

    local_s: Annotated[float, "whole task on the device"]
    backlog_s: Annotated[float, "until the device is free"]
    deadline_s: Annotated[float, "a longer delay is a miss"]
    local_j: Annotated[float, "energy of the whole task on the device"]
    energy_j: Annotated[float, "what the device may still spend; more is a miss"]
    transmit_w: Annotated[float, "power of the device while it sends"]


class PairRow:
    """One server and one device."""

    may_choose: Annotated[int, "1 where the device may use the server"]
    service_s: Annotated[float, "whole task on the server"]
    transfer_s: Annotated[float, "of the whole task where nobody else sends"]
    startup_s: Annotated[float, "still to be paid"]
    snr: Annotated[float, "received power of the device over the noise; 0 where nobody disturbs"]
    in_order: Annotated[int, "device that has this place by transfer_s; of equals the first"]


class Slot(NamedTuple):
    """The slot of B worlds; the own node may always be chosen."""

    device: Annotated[ROWS, "B N", "devices", row_type(DeviceRow)]
    pair: Annotated[ROWS, "B Se N", "servers and devices", row_type(PairRow)]
    server_backlog_s: Annotated[F8, "B Se", "until the server is free"]
    interference: float  # share of the other senders' power that disturbs
    is_transfer_of_share: bool  # transfer time and energy are those of the share, else of the whole task
    overlaps: bool  # a server works on others while a task is on its way; else transfer and wait add up
    time_weight: float


class Room(NamedTuple):
    """Room to work in for one world."""

    member: Annotated[I8, "N", "devices of a server"]
    reach_s: Annotated[F8, "N", "transfer times of whole tasks while the others send"]
    trial: Annotated[F8, "N", "shares that are tried"]


def room_for(n_agents: int) -> Room:
    """Return room for so many devices."""
    return Room(np.zeros(n_agents, np.int64), np.zeros(n_agents), np.zeros(n_agents))


def slot_of(view: MecView) -> Slot:
    """Return the slot that a view shows."""
    n_worlds, n_servers = view.server_hz.shape
    sizes = {"B": n_worlds, "N": view.work_cycles.shape[1], "Se": n_servers}
    is_disturbed = view.interference > 0.0 and view.bandwidth_hz > 0.0
    slot = allocate(
        Slot,
        sizes,
        interference=float(view.interference) if is_disturbed else 0.0,
        is_transfer_of_share=bool(view.is_transfer_of_share),
        overlaps=bool(view.overlaps),
        time_weight=float(view.time_weight),
    )
    device, pair = slot.device, slot.pair
    device["local_s"] = view.work_cycles / view.device_hz
    device["backlog_s"] = view.local_backlog_s
    device["deadline_s"] = view.deadline_s
    device["local_j"] = view.switching_farad * view.device_hz**2 * view.work_cycles
    device["energy_j"] = view.energy_j
    device["transmit_w"] = view.transmit_w
    pair["may_choose"] = view.target_mask[:, :, 1:].transpose(0, 2, 1)
    pair["service_s"] = view.work_cycles[:, None, :] / view.server_hz[:, :, None]
    pair["transfer_s"] = view.transfer_s.transpose(0, 2, 1)
    pair["startup_s"] = view.startup_s.transpose(0, 2, 1)
    if is_disturbed:  # of the rate alone, size / transfer = bandwidth * log2(1 + snr)
        pair["snr"] = np.exp2(view.size_bits[:, None, :] / pair["transfer_s"] / view.bandwidth_hz) - 1.0
    pair["in_order"] = np.argsort(pair["transfer_s"], axis=2, kind="stable")
    slot.server_backlog_s[:] = view.server_backlog_s
    return slot


@inlined
def may_choose(slot: Slot, b: int, n: int, k: int) -> bool:
    """Return whether a device may choose a target."""
    return k == 0 or slot.pair[b, k - 1, n].may_choose == 1


@inlined
def device_cost(slot: Slot, b: int, n: int, delay_s: float, spent_j: float, miss_cost: float) -> float:
    """Return what a device adds to the cost of the slot, ``miss_cost`` included where it misses."""
    cost = slot.time_weight * delay_s + (1.0 - slot.time_weight) * spent_j
    is_missed = delay_s > slot.device[b, n].deadline_s or spent_j > slot.device[b, n].energy_j
    return cost + miss_cost if is_missed else cost


@inlined
def local_cost(slot: Slot, b: int, n: int, miss_cost: float) -> float:
    """Return the cost of a whole task on its device."""
    delay_s = slot.device[b, n].backlog_s + slot.device[b, n].local_s
    return device_cost(slot, b, n, delay_s, slot.device[b, n].local_j, miss_cost)


@inlined
def serve(
    slot: Slot, b: int, e: int, n: int, busy_s: float, share: float, transfer_s: float, miss_cost: float
) -> tuple[float, float]:
    """Return (until when server ``e`` is busy, cost of the device) after it served a share of the next arrival.

    ``busy_s`` is until when the server was busy; without overlap it counts from the arrival. ``transfer_s`` is that
    of the whole task.
    """
    sent_s = share * transfer_s if slot.is_transfer_of_share else transfer_s
    work_s = slot.pair[b, e, n].startup_s + share * slot.pair[b, e, n].service_s
    if slot.overlaps:
        busy_s = max(busy_s, sent_s) + work_s
        delay_s = busy_s
    else:
        busy_s += work_s
        delay_s = sent_s + busy_s
    if share < 1.0:
        delay_s = max(delay_s, slot.device[b, n].backlog_s + (1.0 - share) * slot.device[b, n].local_s)
    spent_j = slot.device[b, n].transmit_w * sent_s + (1.0 - share) * slot.device[b, n].local_j
    return busy_s, device_cost(slot, b, n, delay_s, spent_j, miss_cost)


@inlined
def even_share(slot: Slot, b: int, e: int, n: int, busy_s: float, transfer_s: float) -> float:
    """Return the share with which the next arrival is ready at home and at the server at once, in [0, 1].

    It is 0 where the server is too late for any of it, and 1 where the device is.
    """
    to_spare_s = slot.device[b, n].backlog_s + slot.device[b, n].local_s - slot.pair[b, e, n].startup_s
    slope_s = slot.pair[b, e, n].service_s + slot.device[b, n].local_s
    if slot.is_transfer_of_share:
        share = (to_spare_s - busy_s) / (slope_s + transfer_s)
        if slot.overlaps:  # the task waits for the server, or the server for the task: the later of the two
            share = min((to_spare_s - busy_s) / slope_s, to_spare_s / (slope_s + transfer_s))
    elif slot.overlaps:
        share = (to_spare_s - max(busy_s, transfer_s)) / slope_s
    else:
        share = (to_spare_s - busy_s - transfer_s) / slope_s
    return max(min(share, 1.0), 0.0)


@inlined
def reach_s(slot: Slot, b: int, target: I8, share: F8, n: int) -> float:
    """Return the transfer time of the whole task of device ``n`` to its server while the others send."""
    e = target[n] - 1
    if slot.interference == 0.0:
        return slot.pair[b, e, n].transfer_s
    others = 0.0
    for other in range(target.size):
        if other != n and target[other] > 0 and share[other] > 0.0:
            others += slot.pair[b, e, other].snr
    snr = slot.pair[b, e, n].snr
    return slot.pair[b, e, n].transfer_s * math.log1p(snr) / math.log1p(snr / (1.0 + slot.interference * others))


@kernel
def slot_cost(room: Room, slot: Slot, b: int, target: I8, share: F8, miss_cost: float) -> float:
    """Return the cost of a slot of world ``b`` for targets (N,) and shares (N,).

    A share of 0 is local work, whatever the target.
    """
    cost = 0.0
    for n in range(target.size):
        if target[n] == 0 or share[n] <= 0.0:
            cost += local_cost(slot, b, n, miss_cost)
    for e in range(slot.server_backlog_s.shape[1]):
        n_members = 0
        for i in range(target.size):
            n = slot.pair[b, e, i].in_order
            if target[n] == 1 + e and share[n] > 0.0:
                if slot.pair[b, e, n].may_choose == 0:
                    return np.inf
                room.reach_s[n] = reach_s(slot, b, target, share, n)
                room.member[n_members] = n
                n_members += 1
        if slot.is_transfer_of_share or slot.interference > 0.0:
            _sort_by_arrival(room, slot, n_members, share)
        busy_s = slot.server_backlog_s[b, e]
        for i in range(n_members):
            n = room.member[i]
            busy_s, added = serve(slot, b, e, n, busy_s, share[n], room.reach_s[n], miss_cost)
            cost += added
    return cost


@inlined
def _sort_by_arrival(room: Room, slot: Slot, n_members: int, share: F8) -> None:
    """Sort the devices that send a share to a server; of equals the first stays first."""
    for i in range(1, n_members):
        n, j = room.member[i], i
        arrival_s = _arrival_s(room, slot, n, share)
        while j > 0 and _arrival_s(room, slot, room.member[j - 1], share) > arrival_s:
            room.member[j] = room.member[j - 1]
            j -= 1
        room.member[j] = n


@inlined
def _arrival_s(room: Room, slot: Slot, n: int, share: F8) -> float:
    return room.reach_s[n] * share[n] if slot.is_transfer_of_share else room.reach_s[n]
