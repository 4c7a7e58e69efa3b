"""Rewards of a step, read from what the step left in the state; nothing here writes to it.

- dense: for each task that the agent decided on, ``utility - (wait_weight * wait + transfer_weight * transfer +
  service_weight * service) - overload_weight * overload - late_weight * late``, all expected, in seconds; the
  utility-delay-overload form of PeersimGym (arXiv 2403.17637, section 3.3) with the delays of the world's own physics.
- sparse: ``utility`` for each own task finished in time, ``-drop_weight`` for each dropped one.
- response: sparse, and ``-late_weight`` for each late task and ``-response_weight`` for each second that each own task
  spends in the system: its sum over an episode is minus the weighted sum of response times (Little's law).

Every form subtracts ``energy_weight`` for each joule of the agent's node; ``team_frac`` mixes in the mean over agents.
"""

from __future__ import annotations

from typing import NamedTuple

from envs.accelerate import kernel
from envs.arrays import F4
from envs.fog.params import RewardParams
from envs.fog.state import FogState

DENSE, SPARSE, RESPONSE = 0, 1, 2
_FORMS = {"dense": DENSE, "sparse": SPARSE, "response": RESPONSE}


class RewardWeights(NamedTuple):
    """RewardParams as the kernel reads them."""

    form: int
    utility: float
    wait: float
    transfer: float
    service: float
    overload: float
    late: float
    response: float
    drop: float
    energy: float
    team_frac: float


def reward_weights(params: RewardParams) -> RewardWeights:
    """Return the kernel's view of the parameters."""
    return RewardWeights(
        form=_FORMS[params.form],
        utility=float(params.utility),
        wait=float(params.wait_weight),
        transfer=float(params.transfer_weight),
        service=float(params.service_weight),
        overload=float(params.overload_weight),
        late=float(params.late_weight),
        response=float(params.response_weight),
        drop=float(params.drop_weight),
        energy=float(params.energy_weight),
        team_frac=float(params.team_frac),
    )


@kernel
def write_reward(reward: F4, state: FogState, weights: RewardWeights, b: int) -> None:
    """Fill ``reward`` (N,) of world ``b``."""
    n_agents = reward.size
    total = 0.0
    for n in range(n_agents):
        if weights.form == DENSE:
            value = (
                weights.utility * state.agent[b, n].decided
                - weights.wait * state.agent[b, n].expected_wait_s
                - weights.transfer * state.agent[b, n].expected_transfer_s
                - weights.service * state.agent[b, n].expected_service_s
                - weights.overload * state.agent[b, n].expected_overload
                - weights.late * state.agent[b, n].expected_late
            )
        else:
            value = weights.utility * state.agent[b, n].step_in_time - weights.drop * state.agent[b, n].step_dropped
            if weights.form == RESPONSE:
                value -= weights.late * state.agent[b, n].step_late + weights.response * state.agent[b, n].step_alive_s
        value -= weights.energy * state.agent[b, n].step_energy_j
        reward[n] = value
        total += value
    if weights.team_frac > 0.0:
        mean = total / n_agents
        for n in range(n_agents):
            reward[n] += weights.team_frac * (mean - reward[n])
