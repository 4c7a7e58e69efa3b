"""The drivers: one call advances, or observes, every world of a batch. They mutate the arrays of ``out``."""

from __future__ import annotations

from envs.accelerate import inlined, kernel
from envs.arrays import I8
from envs.fog.arrivals import Arrivals
from envs.fog.decide import decide, find_next
from envs.fog.foresee import foresee
from envs.fog.kernel import end_episode, run_slot
from envs.fog.network import Network
from envs.fog.observe import View, read_reports, write_global_state, write_observation, write_view
from envs.fog.reward import RewardWeights, begin_potentials, shape_reward, write_reward
from envs.fog.state import ALIVE_S, ENERGY_J, FogState, Rules
from envs.world import Outcome


@inlined
def _begin_step(state: FogState, b: int) -> None:
    """Zero what is added up over a step."""
    for n in range(state.agent.shape[1]):
        for j in range(state.term.shape[2]):
            state.term[b, n, j] = 0.0
        state.term[b, n, ENERGY_J] = state.agent[b, n].posted_j
        state.agent[b, n].posted_j = 0.0
        # The integral of a step function over [t0, t1] is n(t1) t1 - n(t0) t0 less its rises, each times its instant.
        state.term[b, n, ALIVE_S] = -state.agent[b, n].n_alive * state.world[b].now_s


@inlined
def _end_step(state: FogState, b: int) -> None:
    """Complete what is added up over a step."""
    state.world[b].step += 1
    for n in range(state.agent.shape[1]):
        state.term[b, n, ALIVE_S] += state.agent[b, n].n_alive * state.world[b].now_s


@inlined
def _decide_all(
    state: FogState, network: Network, rules: Rules, needs_foresight: bool, b: int, decision: I8, chosen: I8
) -> None:
    """Carry out all decisions (N, D); who goes first rotates by step, so that nobody always has the channel first."""
    n_agents = network.node_of_agent.size
    for turn in range(n_agents):
        n = (turn + state.world[b].step) % n_agents
        decide(state, network, rules, b, n, decision[n], chosen[n])
    if needs_foresight:
        for n in range(n_agents):
            foresee(state, network, rules, b, n, chosen[n])


@inlined
def _run(state: FogState, network: Network, rules: Rules, arrivals: Arrivals, b: int) -> None:
    """Let time pass until the next decisions are due, or the horizon is reached."""
    if rules.on_events:
        while state.world[b].n_to_decide == 0 and state.world[b].slot < rules.horizon_slots:
            run_slot(state, network, rules, arrivals, b)
        return
    for _ in range(rules.slots_per_step):
        run_slot(state, network, rules, arrivals, b)


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
    for b in range(state.world.size):
        _begin_step(state, b)
        _decide_all(state, network, rules, weights.needs_foresight, b, decision[b], chosen)
        _run(state, network, rules, arrivals, b)
        _end_step(state, b)
        write_reward(out.reward[b], state, weights, b)
        is_over = state.world[b].slot >= rules.horizon_slots or state.world[b].step >= rules.horizon_steps
        out.terminated[b] = False
        out.truncated[b] = is_over
        if is_over:
            end_episode(state, network, rules, b)
            n_ended += 1
        observe_world(out, state, network, rules, b)
        shape_reward(out.reward[b], state, network, weights, b)
    return n_ended


@kernel
def first_observation(
    out: Outcome, state: FogState, network: Network, rules: Rules, weights: RewardWeights, b: int
) -> None:
    """Write what is seen of world ``b`` at the start of its episode."""
    observe_world(out, state, network, rules, b)
    begin_potentials(state, network, weights, b)


@kernel
def view_worlds(view: View, state: FogState, network: Network, rules: Rules) -> None:
    """Write the view of every world."""
    for b in range(state.world.size):
        write_view(view, state, network, rules, b)


@kernel
def clear_world(state: FogState, b: int) -> None:
    """Empty world ``b``: no task, no report, instant 0."""
    n_tasks = state.task.shape[1]
    state.world[b].slot = 0
    state.world[b].now_s = 0.0
    state.world[b].step = 0
    state.world[b].n_to_decide = 0
    state.world[b].n_posted = 0
    state.world[b].next_arrival = 0
    state.world[b].heap_size = 0
    state.world[b].n_logged = 0
    state.world[b].n_free = n_tasks
    for task in range(n_tasks):
        state.task[b, task].stage = 0
        state.task[b, task].heap_place = -1
        state.free_task[b, task] = n_tasks - 1 - task
    for m in range(state.node.shape[1]):
        _clear_node(state, b, m)
    for n in range(state.agent.shape[1]):
        state.agent[b, n].next_task = -1
        state.agent[b, n].n_alive = 0
        state.agent[b, n].posted_j = 0.0
    for c in range(state.channel.shape[1]):
        _clear_channel(state, b, c)
    state.sums[b, :] = 0.0
    state.term[b, :, :] = 0.0


@inlined
def _clear_channel(state: FogState, b: int, c: int) -> None:
    """Silence a channel."""
    channel = state.channel[b, c]
    channel.free_s = 0.0
    channel.first = -1
    channel.n_flows = 0
    channel.since_s = 0.0
    channel.left_bits = 0.0


@inlined
def _clear_node(state: FogState, b: int, m: int) -> None:
    """Empty a node and its reports."""
    node = state.node[b, m]
    node.first = -1
    node.last = -1
    node.n_waiting = 0
    node.n_busy = 0
    node.undecided = -1
    node.n_inbound = 0
    node.waiting_cycles = 0.0
    node.held_bits = 0.0
    node.service_end_s = 0.0
    node.serving = -1
    node.served_cycles = 0.0
    node.since_s = 0.0
    node.mark_cycles = 0.0
    node.inbound_cycles = 0.0
    for place in range(state.report.shape[1]):
        state.report[b, place, m].tasks = 0.0
        state.report[b, place, m].backlog_s = 0.0
