"""The physics of a slot: transfers, queues in order of arrival, start-ups, local work, energy and costs.

A device sends a share of its task to one server and works on the rest itself; the task is done when both are. Servers
serve in ascending order of the transfer times of the slot (ties by device), behind the backlog of earlier slots:

- without overlap, as released, a task waits for all the work before it *after* its transfer: offload = transfer + wait
  + start-up + service, wait = work before it;
- with ``overlap`` a server goes on while a task is on its way: wait = max(0, work before it - transfer).

By radio, a transfer that would take longer than ``outage_s`` is given up after it: its part never reaches the server,
and as no deadline is that late, its task is missed.

Start-ups are paid once a device, server and episode, by the server. Backlogs lose a slot's length at its end.
"""

from __future__ import annotations

from envs.accelerate import inlined
from envs.arrays import F8, I8
from envs.mec import state as s
from envs.mec.radio import interference_w, rate_bps
from envs.mec.state import MecState, MecTables, Rules, SlotFigures


@inlined
def play_slot(
    figures: SlotFigures, order: I8, state: MecState, tables: MecTables, rules: Rules, b: int
) -> tuple[bool, float]:
    """Play the slot under the servers and shares in ``state.agent``; return whether a task was missed, and the cost.

    Mutates ``figures``, ``order`` (N,) and ``state`` of world ``b``. The cost is the sum over devices.
    """
    for e in range(tables.server_hz.size):
        state.server[b, e].free_s = state.server[b, e].backlog_s
    n_sending = _send(figures, order, state, tables, rules, b)
    for place in range(n_sending):
        _serve(figures, state, tables, rules, b, order[place])
    for e in range(tables.server_hz.size):
        state.server[b, e].backlog_s = max(0.0, state.server[b, e].free_s - rules.slot_s)
        figures.backlog_after_s[b, e] = state.server[b, e].backlog_s
    is_missed, cost = False, 0.0
    for n in range(state.agent.shape[1]):
        _work_locally(figures, state, tables, rules, b, n)
        is_missed |= _close_task(figures, state, tables, rules, b, n)
        cost += figures.cost[b, n]
    return is_missed, cost


@inlined
def _send(figures: SlotFigures, order: I8, state: MecState, tables: MecTables, rules: Rules, b: int) -> int:
    """Fill the transfer times, and ``order`` with the senders by ascending time; return how many there are."""
    n_sending = 0
    for n in range(state.agent.shape[1]):
        server, share = state.agent[b, n].server, state.agent[b, n].share
        figures.transfer_s[b, n] = 0.0
        figures.wait_s[b, n] = 0.0
        figures.startup_s[b, n] = 0.0
        figures.service_s[b, n] = 0.0
        figures.offload_s[b, n] = 0.0
        if server < 0 or share <= 0.0:
            continue
        if rules.is_radio:
            others_w = interference_w(state, rules, b, n) if rules.interference > 0.0 else 0.0
            bps = rate_bps(rules, state.pair[b, n, server].gain, others_w)
            transfer_s = share * state.agent[b, n].size_bits / bps
            if not transfer_s <= rules.outage_s:  # a rate of 0 makes it infinite
                figures.transfer_s[b, n] = rules.outage_s
                figures.offload_s[b, n] = rules.outage_s
                state.sums[b, s.OUTAGE_TASKS] += 1.0
                continue
        else:
            transfer_s = tables.transfer_s[n, server]
        figures.transfer_s[b, n] = transfer_s
        place = n_sending  # insertion: few devices, and equal times stay in order of device
        while place > 0 and figures.transfer_s[b, order[place - 1]] > transfer_s:
            order[place] = order[place - 1]
            place -= 1
        order[place] = n
        n_sending += 1
    return n_sending


@inlined
def _serve(figures: SlotFigures, state: MecState, tables: MecTables, rules: Rules, b: int, n: int) -> None:
    """Serve the next task of a server's queue."""
    agent = state.agent[b, n]
    e = agent.server
    server, pair = state.server[b, e], state.pair[b, n, e]
    transfer_s = figures.transfer_s[b, n]
    startup_s = 0.0 if pair.has_started == 1 else tables.startup_s[n, e]
    service_s = agent.share * agent.work_cycles / tables.server_hz[e]
    pair.has_started = 1
    if rules.overlaps:
        wait_s = max(0.0, server.free_s - transfer_s)
        server.free_s = max(server.free_s, transfer_s) + (startup_s + service_s)
        figures.offload_s[b, n] = server.free_s
    else:
        wait_s = server.free_s
        server.free_s = server.free_s + (startup_s + service_s)
        figures.offload_s[b, n] = transfer_s + server.free_s
    figures.wait_s[b, n] = wait_s
    figures.startup_s[b, n] = startup_s
    figures.service_s[b, n] = service_s


@inlined
def _work_locally(figures: SlotFigures, state: MecState, tables: MecTables, rules: Rules, b: int, n: int) -> None:
    """Let a device work on what it did not send, behind its own backlog where that carries over."""
    agent = state.agent[b, n]
    sent_share = agent.share if agent.server >= 0 else 0.0
    own_s = (1.0 - sent_share) * agent.work_cycles / tables.device_hz[n]
    figures.local_s[b, n] = agent.local_backlog_s + own_s if own_s > 0.0 else 0.0
    if rules.carries_over:
        agent.local_backlog_s = max(0.0, agent.local_backlog_s + own_s - rules.slot_s)
    hz = tables.device_hz[n]
    figures.local_j[b, n] = rules.switching_farad * hz * hz * (1.0 - sent_share) * agent.work_cycles
    figures.transmit_j[b, n] = rules.transmit_w * figures.transfer_s[b, n]


@inlined
def _close_task(figures: SlotFigures, state: MecState, tables: MecTables, rules: Rules, b: int, n: int) -> bool:
    """Book the delay, energy and cost of a task; return whether it was missed."""
    agent = state.agent[b, n]
    delay_s = max(figures.local_s[b, n], figures.offload_s[b, n])
    energy_j = figures.transmit_j[b, n] + figures.local_j[b, n]
    cost = rules.time_weight * delay_s + (1.0 - rules.time_weight) * energy_j
    agent.energy_j -= energy_j
    is_missed = delay_s > agent.deadline_s or agent.energy_j < 0.0
    figures.delay_s[b, n] = delay_s
    figures.cost[b, n] = cost
    figures.is_missed[b, n] = is_missed
    agent.delay_s += delay_s
    agent.cost += cost
    if agent.server >= 0:
        agent.last_server = agent.server
    _add(state.sums[b], figures, state, b, n)
    return bool(is_missed)


@inlined
def _add(sums: F8, figures: SlotFigures, state: MecState, b: int, n: int) -> None:
    """Add a task to the metric sums."""
    agent = state.agent[b, n]
    sums[s.TASKS] += 1.0
    if agent.server >= 0 and agent.share > 0.0:
        sums[s.SENT_TASKS] += 1.0
        sums[s.SENT_SHARE] += agent.share
        sums[s.TO_SERVER + agent.server] += 1.0
    if figures.is_missed[b, n]:
        sums[s.MISSED_TASKS] += 1.0
        if agent.energy_j < 0.0:
            sums[s.OVER_BUDGET_TASKS] += 1.0
    sums[s.LOCAL_S] += figures.local_s[b, n]
    sums[s.TRANSFER_S] += figures.transfer_s[b, n]
    sums[s.WAIT_S] += figures.wait_s[b, n]
    sums[s.STARTUP_S] += figures.startup_s[b, n]
    sums[s.SERVICE_S] += figures.service_s[b, n]
    sums[s.DELAY_S] += figures.delay_s[b, n]
    sums[s.TRANSMIT_J] += figures.transmit_j[b, n]
    sums[s.LOCAL_J] += figures.local_j[b, n]
    sums[s.COST] += figures.cost[b, n]


@inlined
def close_episode(state: MecState, rules: Rules, b: int, reported_cost: float) -> None:
    """Complete the metric sums of an episode that ended; ``slot`` counts the slots that were played."""
    sums, n_slots, n_agents = state.sums[b], state.world[b].slot, state.agent.shape[1]
    sums[s.EPISODES] = 1.0
    sums[s.REPORTED_COST] = reported_cost
    if sums[s.MISSED_TASKS] == 0.0:
        sums[s.COMPLETE_EPISODES] = 1.0
        sums[s.COMPLETE_COST] = sums[s.COST]
        sums[s.COMPLETE_TASKS] = sums[s.TASKS]
    last = rules.horizon_slots - 1
    sums[s.SURVIVED_FRAC] = (n_slots - 1) / last if last > 0 else 1.0
    sums[s.MET_FRAC] = sums[s.MET_SLOTS] / rules.horizon_slots
    total, squares = 0.0, 0.0
    for n in range(n_agents):
        total += state.agent[b, n].delay_s
        squares += state.agent[b, n].delay_s * state.agent[b, n].delay_s
    sums[s.FAIRNESS] = total * total / (n_agents * squares) if squares > 0.0 else 1.0


@inlined
def hear_of_servers(state: MecState, b: int) -> None:
    """Tell each device the backlog of the server that it used in this slot; it came with the result."""
    for n in range(state.agent.shape[1]):
        e = state.agent[b, n].server
        if e >= 0 and state.agent[b, n].share > 0.0:
            state.pair[b, n, e].known_backlog_s = state.server[b, e].backlog_s
            state.pair[b, n, e].known_slot = state.world[b].slot
