"""Conformance checks for one's own worlds, networks, workloads and rules: whole episodes, errors that say what failed.

Each check returns counts of what it looked at, so that a test can assert that something was looked at.
"""

from __future__ import annotations

from envs.testing.parts import (
    BaselineReport,
    TopologyReport,
    WorkloadReport,
    check_baseline,
    check_topology,
    check_workload,
)
from envs.testing.watched import ConformanceError
from envs.testing.worlds import WorldReport, check_world

__all__ = [
    "BaselineReport",
    "ConformanceError",
    "TopologyReport",
    "WorkloadReport",
    "WorldReport",
    "check_baseline",
    "check_topology",
    "check_workload",
    "check_world",
]
