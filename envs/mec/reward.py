"""Rewards of a step; see RewardParams for the forms."""

from __future__ import annotations

from envs.accelerate import inlined
from envs.mec.state import COST_FORM, TERMINAL, MecState, Rules, SlotFigures


@inlined
def write_reward(figures: SlotFigures, state: MecState, rules: Rules, b: int, is_missed: bool) -> None:
    """Fill ``figures.reward`` of world ``b``; ``slot`` counts the slots played, ``cost`` is their sum."""
    n_agents, n_slots = state.agent.shape[1], state.world[b].slot
    is_last = n_slots == rules.horizon_slots
    forgives = is_last and rules.forgives_last_slot
    pays = rules.reward_form == TERMINAL and is_last and (forgives or not is_missed)
    total = 0.0
    for n in range(n_agents):
        reward = _own(figures, rules, b, n, forgives)
        if pays and not rules.is_team:
            reward += _bonus(rules, state.agent[b, n].cost / n_slots)
        figures.reward[b, n] = reward
        total += reward
    if rules.is_team:
        reward = total / n_agents
        if pays:
            reward += _bonus(rules, state.world[b].cost / (n_slots * n_agents))
        for n in range(n_agents):
            figures.reward[b, n] = reward


@inlined
def _bonus(rules: Rules, mean_cost: float) -> float:
    """Return what an episode's mean cost earns."""
    return rules.success_numerator / (mean_cost * mean_cost)


@inlined
def _own(figures: SlotFigures, rules: Rules, b: int, n: int, forgives: bool) -> float:
    """Return what a device earns in its slot, without what the whole episode earns."""
    cost = figures.cost[b, n]
    penalty = rules.miss_weight * figures.delay_s[b, n] if figures.is_missed[b, n] else 0.0
    if rules.reward_form == TERMINAL:
        return 0.0 if forgives else -penalty
    if rules.reward_form == COST_FORM:
        return -cost - penalty
    value = -penalty if figures.is_missed[b, n] else _bonus(rules, cost)
    return value / rules.horizon_slots
