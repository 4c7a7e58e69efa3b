"""The physics of a slot: radio, the edge server, the users' own processors, and what everything costs.

A user that stays works behind its own backlog, and is done backlog + work / hz after the start of the slot. One that
sends is done after its upload, at bandwidth * log2(1 + signal / (interference + noise)), and its time at the edge:

- with service ``whole`` or ``k_fold`` as released: upload + service + wait, the wait being the server's backlog at the
  start of the slot, and with sequential users the work of lower numbers in the slot, too; nothing of the backlog is
  served during the upload. A service takes k times as long where k tasks are sent and the service is ``k_fold``;
- with ``sharing`` the server serves its backlog first, and from then on those tasks of the slot that have arrived, in
  equal shares (processor sharing), up to the instant when each is done. What is not done at the end of the slot is the
  next one's backlog; that of a task still on its way counts as arrived then.

Late tasks are finished, too, unless their uploads stop at the deadline: they cost a penalty. Results are small, and
their way back is not modelled.
[X. Qiu et al., "Distributed and Collective Deep Reinforcement Learning for Computation Offloading", IEEE TPDS 2021, and
their repository qiuxy23/DC-DRL]
"""

from __future__ import annotations

import math

from envs.accelerate import inlined
from envs.arrays import F8
from envs.multiuser import state as s
from envs.multiuser.state import MultiuserState, MultiuserTables, Room, Rules, SlotFigures

_LN2 = math.log(2.0)
_CANCELS = 1e-3  # of a sum: a smaller part of it has lost three of its sixteen digits


@inlined
def price_slot(
    figures: SlotFigures, room: Room, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int
) -> float:
    """Play the slot under the decisions in ``state.user`` and return its cost; the backlogs stay as they are.

    Mutates ``figures`` and ``room``. The cost is the sum over users; ``room.arriving`` lists the tasks that the edge
    server gets.
    """
    n_arriving = _send(figures, room, state, tables, rules, b)
    if rules.service == s.SHARING:
        _sort_by_arrival(figures, room, b, n_arriving)
        _share_server(figures, room, state, rules, b, n_arriving)
    wait_s, total = state.world[b].edge_backlog_s, 0.0
    for u in range(state.user.shape[1]):
        user = state.user[b, u]
        local_cost, edge_cost, transmit_cost, is_missed = 0.0, 0.0, 0.0, True
        if user.offloads == 0:
            figures.rate_bps[b, u] = 0.0
            figures.upload_s[b, u] = 0.0
            figures.edge_s[b, u] = 0.0
            figures.is_lost[b, u] = False
            figures.shares_channel[b, u] = False
            figures.delay_s[b, u] = user.work_cycles / tables.user_hz[u] + user.backlog_s
            local_cost = user.work_cycles * rules.local_per_cycle
            is_missed = figures.delay_s[b, u] > user.deadline_s
        else:
            transmit_cost = rules.transmit_w * figures.upload_s[b, u] * rules.transmit_per_j
            figures.delay_s[b, u] = user.deadline_s
            if not figures.is_lost[b, u]:
                if rules.service != s.SHARING:
                    service_s = user.work_cycles / rules.edge_hz
                    figures.edge_s[b, u] = service_s * (n_arriving if rules.service == s.K_FOLD else 1) + wait_s
                    wait_s += service_s if rules.is_sequential else 0.0
                figures.delay_s[b, u] = figures.upload_s[b, u] + figures.edge_s[b, u]
                edge_cost = user.work_cycles * rules.edge_per_cycle
                is_missed = figures.delay_s[b, u] > user.deadline_s
        figures.local_cost[b, u] = local_cost
        figures.edge_cost[b, u] = edge_cost
        figures.transmit_cost[b, u] = transmit_cost
        figures.is_missed[b, u] = is_missed
        figures.cost[b, u] = local_cost + transmit_cost + edge_cost + (rules.miss_cost if is_missed else 0.0)
        total += figures.cost[b, u]
    return total


@inlined
def _send(
    figures: SlotFigures, room: Room, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int
) -> int:
    """Fill rates and upload times of those who send, and ``room.arriving``; return how many tasks arrive."""
    for channel in range(room.channel_w.size):
        room.channel_w[channel] = 0.0
        room.sending_w[channel] = 0.0
        room.n_sending[channel] = 0
    n_sending, n_arriving = 0, 0
    for u in range(state.user.shape[1]):
        channel = state.user[b, u].channel
        if channel >= 0:
            room.channel_w[channel] += tables.received_w[u]
        if state.user[b, u].offloads == 1:
            room.n_sending[channel] += 1
            room.sending_w[channel] += tables.received_w[u]
            room.sender[n_sending] = u
            n_sending += 1
    bps_per_log = rules.bandwidth_hz / _LN2
    for i in range(n_sending):
        u = room.sender[i]
        user = state.user[b, u]
        interference_w = _interference_w(room, state, tables, rules, b, u, n_sending)
        snr = tables.received_w[u] / (interference_w + rules.noise_w)
        figures.shares_channel[b, u] = room.n_sending[user.channel] > 1
        figures.rate_bps[b, u] = bps_per_log * _log_of_1_plus(snr)
        figures.upload_s[b, u] = user.size_bits / figures.rate_bps[b, u]
        figures.edge_s[b, u] = 0.0
        figures.is_lost[b, u] = rules.stops_late and figures.upload_s[b, u] > user.deadline_s
        if figures.is_lost[b, u]:
            figures.upload_s[b, u] = user.deadline_s
        else:
            room.arriving[n_arriving] = u
            n_arriving += 1
    return n_arriving


@inlined
def _interference_w(
    room: Room, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int, u: int, n_sending: int
) -> float:
    """Return the power that disturbs a sender."""
    channel = state.user[b, u].channel
    if rules.interference == s.RELEASED:
        return float(room.channel_w[channel])
    if rules.interference == s.NO_INTERFERENCE or room.n_sending[channel] == 1:
        return 0.0
    others_w = room.sending_w[channel] - tables.received_w[u]
    if others_w > _CANCELS * room.sending_w[channel]:
        return float(others_w)
    total_w = 0.0  # next to its own power the others' would lose their digits in the difference
    for i in range(n_sending):
        other = room.sender[i]
        if other != u and state.user[b, other].channel == channel:
            total_w += tables.received_w[other]
    return total_w


@inlined
def _log_of_1_plus(x: float) -> float:
    """Return log(1 + x); the plain one takes half the time where 1 + x keeps the digits of x."""
    return math.log(1.0 + x) if x > _CANCELS else math.log1p(x)


@inlined
def _sort_by_arrival(figures: SlotFigures, room: Room, b: int, n_arriving: int) -> None:
    """Sort ``room.arriving`` by upload time; of equals the lower number first."""
    for i in range(1, n_arriving):
        u, place = room.arriving[i], i
        while place > 0 and figures.upload_s[b, room.arriving[place - 1]] > figures.upload_s[b, u]:
            room.arriving[place] = room.arriving[place - 1]
            place -= 1
        room.arriving[place] = u


@inlined
def _share_server(
    figures: SlotFigures, room: Room, state: MultiuserState, rules: Rules, b: int, n_arriving: int
) -> None:
    """Fill ``edge_s`` by processor sharing behind the backlog; ``room.arriving`` is in order of arrival.

    Between two events every active task gets 1 / n of the server, so that each is done when the service that a task
    gets from the server's start on has grown by its own work.
    """
    now_s, served_s, n_active, arrived = state.world[b].edge_backlog_s, 0.0, 0, 0
    while arrived < n_arriving or n_active > 0:
        first = 0
        for i in range(1, n_active):
            if room.ready_at[i] < room.ready_at[first]:
                first = i
        if arrived < n_arriving:
            u = room.arriving[arrived]
            upload_s = figures.upload_s[b, u]
            if n_active == 0 or upload_s < now_s + (room.ready_at[first] - served_s) * n_active:
                if upload_s > now_s:
                    if n_active > 0:
                        served_s += (upload_s - now_s) / n_active
                    now_s = upload_s
                room.active[n_active] = u
                room.ready_at[n_active] = served_s + state.user[b, u].work_cycles / rules.edge_hz
                n_active += 1
                arrived += 1
                continue
        now_s += (room.ready_at[first] - served_s) * n_active
        served_s = room.ready_at[first]
        done = room.active[first]
        figures.edge_s[b, done] = now_s - figures.upload_s[b, done]
        n_active -= 1
        room.active[first] = room.active[n_active]
        room.ready_at[first] = room.ready_at[n_active]


@inlined
def settle_slot(
    figures: SlotFigures, room: Room, state: MultiuserState, tables: MultiuserTables, rules: Rules, b: int
) -> None:
    """Move the backlogs on by a slot that was priced, and add it to the metric sums."""
    _add(state.sums[b], figures, state, rules, b)
    n_arriving, sent_s = 0, 0.0
    for u in range(state.user.shape[1]):
        user = state.user[b, u]
        added_s = 0.0
        if user.offloads == 0:
            added_s = user.work_cycles / tables.user_hz[u]
        elif not figures.is_lost[b, u]:
            n_arriving += 1
            sent_s += user.work_cycles / rules.edge_hz
        user.backlog_s = max(0.0, user.backlog_s + added_s - rules.slot_s)
    world = state.world[b]
    if rules.service == s.SHARING:
        figures.edge_busy_s[b] = _busy_s(figures, room, state, rules, b, n_arriving)
    else:
        figures.edge_busy_s[b] = min(rules.slot_s, world.edge_backlog_s + sent_s)
    world.edge_backlog_s = max(0.0, world.edge_backlog_s + sent_s - figures.edge_busy_s[b])


@inlined
def _busy_s(figures: SlotFigures, room: Room, state: MultiuserState, rules: Rules, b: int, n_arriving: int) -> float:
    """Return for how long of the slot the shared server works; it waits only where nothing has arrived."""
    free_s, busy_s = state.world[b].edge_backlog_s, min(state.world[b].edge_backlog_s, rules.slot_s)
    for i in range(n_arriving):
        u = room.arriving[i]
        begin_s = max(free_s, figures.upload_s[b, u])
        if begin_s >= rules.slot_s:
            break
        free_s = begin_s + state.user[b, u].work_cycles / rules.edge_hz
        busy_s += min(free_s, rules.slot_s) - begin_s
    return busy_s


@inlined
def _add(sums: F8, figures: SlotFigures, state: MultiuserState, rules: Rules, b: int) -> None:
    """Add a slot to the metric sums; what is added up in registers first is three times as fast."""
    n_users = state.user.shape[1]
    n_sent, n_shared, n_phantom, n_lost, n_missed, n_missed_sent = 0, 0, 0, 0, 0, 0
    local_cost, edge_cost, transmit_cost, cost = 0.0, 0.0, 0.0, 0.0
    delay_s, upload_s, local_s, edge_s, backlog_s = 0.0, 0.0, 0.0, 0.0, 0.0
    for u in range(n_users):
        local_cost += figures.local_cost[b, u]
        edge_cost += figures.edge_cost[b, u]
        transmit_cost += figures.transmit_cost[b, u]
        cost += figures.cost[b, u]
        delay_s += figures.delay_s[b, u]
        upload_s += figures.upload_s[b, u]
        edge_s += figures.edge_s[b, u]
        backlog_s += state.user[b, u].backlog_s
        n_shared += figures.shares_channel[b, u]
        n_lost += figures.is_lost[b, u]
        n_missed += figures.is_missed[b, u]
        if state.user[b, u].offloads == 1:
            n_sent += 1
            n_missed_sent += figures.is_missed[b, u]
            n_phantom += state.user[b, u].channel >= rules.n_channels
        else:
            local_s += figures.delay_s[b, u]
    sums[s.SLOTS] += 1.0
    sums[s.TASKS] += n_users
    sums[s.SENT_TASKS] += n_sent
    sums[s.SHARED_TASKS] += n_shared
    sums[s.PHANTOM_TASKS] += n_phantom
    sums[s.LOST_TASKS] += n_lost
    sums[s.MISSED_TASKS] += n_missed
    sums[s.MISSED_SENT_TASKS] += n_missed_sent
    sums[s.LOCAL_COST] += local_cost
    sums[s.EDGE_COST] += edge_cost
    sums[s.TRANSMIT_COST] += transmit_cost
    sums[s.MISS_COST] += rules.miss_cost * n_missed
    sums[s.COST] += cost
    sums[s.DELAY_S] += delay_s
    sums[s.UPLOAD_S] += upload_s
    sums[s.LOCAL_S] += local_s
    sums[s.EDGE_S] += edge_s
    sums[s.USER_BACKLOG_S] += backlog_s
    sums[s.EDGE_BACKLOG_S] += state.world[b].edge_backlog_s


@inlined
def write_reward(figures: SlotFigures, rules: Rules, b: int, cost: float) -> None:
    """Fill ``figures.reward`` of a slot of this cost; a team's reward is the mean."""
    n_agents = figures.reward.shape[1]
    for n in range(n_agents):
        own = cost / n_agents if rules.is_central or rules.is_team else figures.cost[b, n]
        figures.reward[b, n] = -rules.reward_scale * own
