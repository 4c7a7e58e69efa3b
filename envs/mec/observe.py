"""What rules and oracles may know of a MEC world: the whole state of the slot, in SI units."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.arrays import BOOL, F8


class MecView(NamedTuple):
    """Tasks, nodes and channels at the start of a slot. Target 0 is the device itself, target 1 + e server e."""

    target_mask: Annotated[BOOL, "B N K", "targets that may be chosen, K = 1 + E; local where nothing is explicit, too"]
    has_task: Annotated[BOOL, "B N", "there is a task to decide on: always"]
    work_cycles: Annotated[F8, "B N", "cycles of the task"]
    size_bits: Annotated[F8, "B N", "bits of the task"]
    deadline_s: Annotated[F8, "B N", "seconds from the start of the slot"]
    device_hz: Annotated[F8, "B N", "cycles per second of the device"]
    server_hz: Annotated[F8, "B Se", "cycles per second of the server"]
    local_backlog_s: Annotated[F8, "B N", "seconds until the device is free; 0 without local carry-over"]
    server_backlog_s: Annotated[F8, "B Se", "seconds until the server has served what it has"]
    transfer_s: Annotated[F8, "B N Se", "seconds to send the whole task at the present rate, nobody else sending"]
    startup_s: Annotated[F8, "B N Se", "seconds that the server still has to start up for the device; 0 once done"]
    is_transfer_of_share: bool  # the transfer time is proportional to the share that is sent; else constant
    overlaps: bool  # a server works on others while a task is on its way; else transfer and wait add up
    slot_s: float
    miss_weight: float  # reward of a second of delay of a missed task, as a positive number
    time_weight: float  # cost = time_weight * delay + (1 - time_weight) * energy
    transmit_w: Annotated[F8, "B N", "power of the device while it sends"]
    switching_farad: float  # energy of local work: switching_farad * hz ** 2 joules a cycle
    energy_j: Annotated[F8, "B N", "energy that the device may still spend in the episode; infinite without a budget"]
