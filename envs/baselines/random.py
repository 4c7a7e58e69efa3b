"""Uniform random: every allowed target is equally likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.arrays import BOOL, F8, I8
from envs.baselines.base import Choice, Rule, nth_allowed
from envs.baselines.draws import RuleDraws
from envs.constants import LOCAL
from envs.fog.observe import View
from envs.mec.observe import MecView
from envs.multiuser.observe import MultiuserView


@dataclass(frozen=True)
class Random(Rule):
    """Choose among the allowed targets, the own node included, with equal chances.

    Where tasks can be split, every allowed server is equally likely and the share that goes there uniform in [0, 1];
    the own node is what is left. Where the server is reached by channels, a user stays in half of the slots and takes
    every channel equally often in the others, as even draws of the released box do.
    """

    worlds: ClassVar[tuple[str, ...]] = ("fog", "mec", "multiuser", "testbed")

    def decide(self, view: View | MecView | MultiuserView, step: int, draws: RuleDraws) -> I8 | Choice:
        """Return a random allowed target for every agent."""
        first, second = draws.uniforms(step)
        if isinstance(view, MultiuserView):
            n_channels = view.target_mask.shape[2] - 1
            return np.where(second < 0.5, LOCAL, 1 + (first * n_channels).astype(np.int64))
        if not isinstance(view, MecView):
            return _any_of(view.target_mask, first)
        is_server = view.target_mask.copy()
        is_server[:, :, LOCAL] &= ~is_server[:, :, 1:].any(axis=2)
        return Choice(_any_of(is_server, first), second)


def _any_of(mask: BOOL, draw: F8) -> I8:
    """Return the allowed target that draws in (0, 1) fall on, (B, N)."""
    return nth_allowed(mask, (draw * mask.sum(axis=2)).astype(np.int64))
