"""Uniform random: every allowed target is equally likely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.arrays import I8
from envs.baselines.base import Rule, nth_allowed
from envs.baselines.draws import RuleDraws
from envs.fog.observe import View


@dataclass(frozen=True)
class Random(Rule):
    """Choose among the allowed targets, the own node included, with equal chances."""

    def decide(self, view: View, step: int, draws: RuleDraws) -> I8:
        """Return a random allowed target for every agent."""
        first, _ = draws.uniforms(step)
        n_allowed = view.target_mask.sum(axis=2)
        return nth_allowed(view.target_mask, (first * n_allowed).astype(np.int64))
