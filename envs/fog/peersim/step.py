"""The drivers: one call advances, or shows, every world of a batch. They mutate the arrays of ``out``."""

from __future__ import annotations

from envs.accelerate import kernel
from envs.arrays import I8
from envs.fog.observe import View
from envs.fog.peersim.kernel import clear_world, decide, end_episode, look_around, run_to_look
from envs.fog.peersim.observe import write_global_state, write_observation, write_view
from envs.fog.peersim.reward import judge, write_reward
from envs.fog.peersim.state import PeersimState, RewardRules, Rules, Setup
from envs.world import Outcome


@kernel
def begin_world(out: Outcome, state: PeersimState, setup: Setup, rules: Rules, b: int) -> None:
    """Empty world ``b``, go to the first look and write what is seen."""
    clear_world(state, setup, rules, b)
    run_to_look(state, setup, rules, b)
    look_around(state, setup, b)
    write_observation(out.observation[b], out.target_mask[b], state, setup, rules, b)
    write_global_state(out.state[b], state, setup, rules, b)


@kernel
def step_worlds(
    out: Outcome, decision: I8, state: PeersimState, setup: Setup, rules: Rules, rewards: RewardRules
) -> int:
    """Advance all worlds by a step under ``decision`` (B, N); return how many ended."""
    n_ended = 0
    for b in range(state.world.size):
        for n in range(setup.node_of_agent.size):
            target = decide(state, setup, rules, b, n, decision[b, n])
            judge(state, setup, rewards, b, n, target)
        run_to_look(state, setup, rules, b)
        write_reward(out.reward[b], state, setup, rewards, b)
        in_nodes = look_around(state, setup, b)
        is_over = state.world[b].slot + rules.slots_per_step >= rules.horizon_slots
        out.terminated[b] = False
        out.truncated[b] = is_over
        if is_over:
            end_episode(state, setup, rules, b, in_nodes)
            n_ended += 1
        write_observation(out.observation[b], out.target_mask[b], state, setup, rules, b)
        write_global_state(out.state[b], state, setup, rules, b)
    return n_ended


@kernel
def view_worlds(view: View, state: PeersimState, setup: Setup, rules: Rules) -> None:
    """Write the view of every world."""
    for b in range(state.world.size):
        write_view(view, state, setup, rules, b)
