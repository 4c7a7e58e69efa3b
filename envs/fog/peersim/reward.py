"""PeersimGym's rewards. All symbols are of its authors; times are in seconds, i the agent's node, j the target.

With q the tasks in node i when the agent looked, q_j those at the target by its last report (0 of a cloud, q at home),
I and S work and size of a task, U the utility, c the clients that may send to a node, P a node's cycles per second:

- dense, of an agent whose node is empty: no_op_reward; else ``U - D - O`` with
  wait      max(q - 1, 0) I / P_i at home; else the same + q_j / P_j (as implemented) or + q_j I / P_j (as published)
  transfer  S over the rate of the link, noise filling the channel's bandwidth; 0 at home
  service   I / P_j - I / P_i
  D         as implemented: min(wait, U w) + min(transfer, U w) + clip(service, -U w, U w), each with its weight w;
            as published: the weighted sum
  load      clip(q + lambda c_i - P_i / I, 0, places) at home; else clip(q_j + 1 + lambda c_j - P_j / I, 0, places)
  O         weight * -log10(max((places - load) / places, 0.001)), as published divided by 3
- sparse: U for each own task finished and -U for each task dropped at the node: own ones as told when the decision was
  taken (as implemented, a step late) or of this step (as published), drops of this step.

A target that does not exist costs U where the switch invalid_target says so. lambda and P / I are per tick.
"""

from __future__ import annotations

import math

from envs.accelerate import inlined, kernel
from envs.arrays import F4
from envs.fog.peersim import state as s
from envs.fog.peersim.state import PeersimState, RewardRules, Setup

_LEAST_FREE_FRAC = 1e-3


@inlined
def _dense(state: PeersimState, setup: Setup, rules: RewardRules, b: int, n: int, target: int) -> float:
    """Return the dense reward of a decision, from what the agent knows when it takes it."""
    tasks = state.agent[b, n].n_tasks
    if tasks < 1:
        return rules.no_op
    m = setup.node_of_agent[n]
    entry = setup.node[m].first_entry + target
    other = setup.entry[entry].node
    own_hz, other_hz = setup.node[m].reward_hz, setup.node[other].reward_hz
    wait = max(tasks - 1, 0) * rules.cycles / own_hz
    transfer, load = 0.0, float(tasks)
    if target > 0:
        seen = 0 if setup.node[other].is_cloud == 1 else state.entry[b, entry].seen_tasks
        wait += seen * (1.0 if rules.as_implemented else rules.cycles) / other_hz
        transfer = setup.entry[entry].reward_s
        load = seen + 1.0
    service = rules.cycles / other_hz - rules.cycles / own_hz
    if rules.as_implemented:
        most_wait, most_service = rules.utility * rules.wait, rules.utility * rules.service
        delay = min(wait, most_wait) + min(max(service, -most_service), most_service)
        delay += min(transfer, rules.utility * rules.transfer)
    else:
        delay = rules.wait * wait + rules.service * service + rules.transfer * transfer
    places = setup.node[other].reward_places
    load += rules.tasks_per_slot * setup.node[other].reward_clients - other_hz * rules.tick_s / rules.cycles
    free_frac = (places - min(max(load, 0.0), places)) / places
    overload = rules.overload * -math.log10(max(free_frac, _LEAST_FREE_FRAC))
    return float(rules.utility - delay - (overload if rules.as_implemented else overload / 3.0))


@kernel
def judge(state: PeersimState, setup: Setup, rules: RewardRules, b: int, n: int, target: int) -> None:
    """Take down what a decision earns by itself, with the reply to it; a target of -1 is one that does not exist."""
    m = setup.node_of_agent[n]
    state.node[b, m].n_dropped = 0
    state.agent[b, n].is_penalised = 1 if target < 0 else 0
    if target < 0:  # PeersimGym does not pass such a decision on, and so gets no reply
        state.agent[b, n].decided = -rules.utility
        return
    told = state.node[b, m].n_concluded
    state.node[b, m].n_concluded = 0
    state.sums[b, s.REPORTED] += told
    if rules.is_dense:
        state.agent[b, n].decided = _dense(state, setup, rules, b, n, target)
    else:
        state.agent[b, n].decided = rules.utility * told if rules.as_implemented else 0.0


@kernel
def write_reward(reward: F4, state: PeersimState, setup: Setup, rules: RewardRules, b: int) -> None:
    """Fill ``reward`` (N,) of world ``b`` after a step."""
    for n in range(reward.size):
        m = setup.node_of_agent[n]
        value = state.agent[b, n].decided
        if not rules.is_dense and state.agent[b, n].is_penalised == 0:
            value -= rules.utility * state.node[b, m].n_dropped
            if not rules.as_implemented:
                value += rules.utility * state.node[b, m].n_concluded
        reward[n] = value
