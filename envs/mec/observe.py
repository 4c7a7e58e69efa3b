"""What rules and oracles may know of a MEC world: the whole state of the slot, in SI units."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from envs.accelerate import inlined, kernel
from envs.arrays import BOOL, F8
from envs.mec.features import whole_transfer_s
from envs.mec.state import MecState, MecTables, Rules


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
    bandwidth_hz: float  # of the channel that all share; 0 where transfers are constant
    interference: float  # share of the other senders' power that disturbs at a server; 0 where transfers are constant
    is_transfer_of_share: bool  # the transfer time is proportional to the share that is sent; else constant
    overlaps: bool  # a server works on others while a task is on its way; else transfer and wait add up
    slot_s: float
    miss_weight: float  # reward of a second of delay of a missed task, as a positive number
    time_weight: float  # cost = time_weight * delay + (1 - time_weight) * energy
    transmit_w: Annotated[F8, "B N", "power of the device while it sends"]
    switching_farad: float  # energy of local work: switching_farad * hz ** 2 joules a cycle
    energy_j: Annotated[F8, "B N", "energy that the device may still spend in the episode; infinite without a budget"]


@kernel
def view_worlds(view: MecView, state: MecState, tables: MecTables, rules: Rules) -> None:
    """Fill the view of every world."""
    for b in range(state.world.size):
        _write_view(view, state, tables, rules, b)


@inlined
def _write_view(view: MecView, state: MecState, tables: MecTables, rules: Rules, b: int) -> None:
    """Fill the view of world ``b``."""
    for e in range(tables.server_hz.size):
        view.server_hz[b, e] = tables.server_hz[e]
        view.server_backlog_s[b, e] = state.server[b, e].backlog_s
    for n in range(state.agent.shape[1]):
        agent = state.agent[b, n]
        view.has_task[b, n] = True
        view.work_cycles[b, n] = agent.work_cycles
        view.size_bits[b, n] = agent.size_bits
        view.deadline_s[b, n] = agent.deadline_s
        view.device_hz[b, n] = tables.device_hz[n]
        view.local_backlog_s[b, n] = agent.local_backlog_s
        view.transmit_w[b, n] = rules.transmit_w
        view.energy_j[b, n] = agent.energy_j
        view.target_mask[b, n, 0] = True
        for e in range(tables.server_hz.size):
            view.target_mask[b, n, 1 + e] = True
            view.transfer_s[b, n, e] = whole_transfer_s(state, tables, rules, b, n, e)
            has_started = state.pair[b, n, e].has_started == 1
            view.startup_s[b, n, e] = 0.0 if has_started else tables.startup_s[n, e]
