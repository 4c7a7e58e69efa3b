"""Least expected response time: add up what is known of upload, waiting, service and return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from envs.arrays import I8
from envs.baselines.base import Rule, least
from envs.baselines.draws import RuleDraws
from envs.fog.observe import View
from envs.testbed.observe import BedView


@dataclass(frozen=True)
class LeastResponseTime(Rule):
    """Choose the target with the least upload + wait + service + return, by the last reports; of equals the own node.

    It is greedy: agents that saw the same report go to the same target.
    """

    worlds: ClassVar[tuple[str, ...]] = ("fog", "testbed")

    def decide(self, view: View | BedView, step: int, draws: RuleDraws) -> I8:
        """Return the target that promises the earliest result for every agent."""
        return least(view.upload_s + view.wait_s + view.service_s + view.return_s, view.target_mask)
