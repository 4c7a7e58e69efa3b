"""The drivers: one call advances, or observes, every world of a batch. They mutate the arrays of ``out``."""

from __future__ import annotations

from envs.accelerate import inlined, kernel
from envs.arrays import I8
from envs.fog.arrivals import Arrivals
from envs.fog.foresee import foresee
from envs.fog.kernel import decide, end_episode, find_next, run_slot
from envs.fog.network import Network
from envs.fog.observe import View, read_reports, write_global_state, write_observation, write_view
from envs.fog.reward import DENSE, RewardWeights, write_reward
from envs.fog.state import FogState, Rules
from envs.world import Outcome


@inlined
def _clear_step(state: FogState, b: int) -> None:
    """Zero what is added up over a step."""
    state.step_in_time[b, :] = 0.0
    state.step_late[b, :] = 0.0
    state.step_dropped[b, :] = 0.0
    state.step_alive_s[b, :] = 0.0
    state.step_energy_j[b, :] = 0.0
    state.decided[b, :] = 0.0
    state.expected_wait_s[b, :] = 0.0
    state.expected_transfer_s[b, :] = 0.0
    state.expected_service_s[b, :] = 0.0
    state.expected_overload[b, :] = 0.0
    state.expected_late[b, :] = 0.0


@inlined
def _decide_all(
    state: FogState, network: Network, rules: Rules, is_dense: bool, b: int, decision: I8, chosen: I8
) -> None:
    """Carry out all decisions (N, D); who goes first rotates by slot, so that nobody always has the channel first."""
    n_agents = network.node_of_agent.size
    for turn in range(n_agents):
        n = (turn + state.slot[b]) % n_agents
        decide(state, network, rules, b, n, decision[n], chosen[n])
    if is_dense:
        for n in range(n_agents):
            foresee(state, network, rules, b, n, chosen[n])


@kernel
def observe_world(out: Outcome, state: FogState, network: Network, rules: Rules, b: int) -> None:
    """Write what is seen of world ``b``."""
    find_next(state, network, b)
    read_reports(state, network, rules, b)
    write_observation(out.observation[b], out.target_mask[b], state, network, rules, b)
    write_global_state(out.state[b], state, network, rules, b)


@kernel
def step_worlds(
    out: Outcome,
    chosen: I8,
    decision: I8,
    state: FogState,
    network: Network,
    rules: Rules,
    weights: RewardWeights,
    arrivals: Arrivals,
) -> int:
    """Advance all worlds by a step under ``decision`` (B, N, D); return how many ended."""
    n_ended = 0
    for b in range(state.slot.size):
        _clear_step(state, b)
        _decide_all(state, network, rules, weights.form == DENSE, b, decision[b], chosen)
        for _ in range(rules.slots_per_step):
            run_slot(state, network, rules, arrivals, b)
        write_reward(out.reward[b], state, weights, b)
        is_over = state.slot[b] >= rules.horizon_slots
        out.terminated[b] = False
        out.truncated[b] = is_over
        if is_over:
            end_episode(state, network, rules, b)
            n_ended += 1
        observe_world(out, state, network, rules, b)
    return n_ended


@kernel
def view_worlds(view: View, state: FogState, network: Network, rules: Rules) -> None:
    """Write the view of every world."""
    for b in range(state.slot.size):
        write_view(view, state, network, rules, b)


@kernel
def clear_world(state: FogState, b: int) -> None:
    """Empty world ``b``: no task, no report, instant 0."""
    n_tasks = state.stage.shape[1]
    state.slot[b] = 0
    state.next_arrival[b] = 0
    state.stage[b, :] = 0
    state.heap_place[b, :] = -1
    state.heap_size[b] = 0
    state.n_free[b] = n_tasks
    for task in range(n_tasks):
        state.free_task[b, task] = n_tasks - 1 - task
    state.first[b, :] = -1
    state.last[b, :] = -1
    state.n_waiting[b, :] = 0
    state.n_busy[b, :] = 0
    state.n_inbound[b, :] = 0
    state.waiting_cycles[b, :] = 0.0
    state.service_end_s[b, :] = 0.0
    state.inbound_cycles[b, :] = 0.0
    state.channel_free_s[b, :] = 0.0
    state.report_tasks[b, :, :] = 0.0
    state.report_backlog_s[b, :, :] = 0.0
    state.next_task[b, :] = -1
    state.n_alive[b, :] = 0
    state.sums[b, :] = 0.0
    state.n_logged[b] = 0
    _clear_step(state, b)
