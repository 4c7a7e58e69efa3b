"""Power of two choices: look at two random targets and take the less loaded one.

M. Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 12(10), 2001. The chance keeps
agents that saw the same report from all going to the same target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.arrays import F8, I8
from envs.baselines.base import Rule, nth_allowed
from envs.baselines.draws import RuleDraws
from envs.fog.observe import View


@dataclass(frozen=True)
class PowerOfTwo(Rule):
    """Draw two different allowed targets, the own node among them, and choose the one with the shorter reported queue.

    Of equals the first drawn is taken.
    """

    def decide(self, view: View, step: int, draws: RuleDraws) -> I8:
        """Return the less loaded of two random targets for every agent."""
        mask = view.target_mask
        first_draw, second_draw = draws.uniforms(step)
        n_allowed = mask.sum(axis=2)
        first_number = (first_draw * n_allowed).astype(np.int64)
        second_number = (second_draw * (n_allowed - 1)).astype(np.int64)
        second_number += second_number >= first_number  # skips the first; with one target it names none, and is 0 below
        first, second = nth_allowed(mask, first_number), nth_allowed(mask, second_number)
        return np.where(_tasks(view, second) < _tasks(view, first), second, first)


def _tasks(view: View, target: I8) -> F8:
    return np.take_along_axis(view.queue_tasks, target[:, :, None], axis=2)[:, :, 0]
