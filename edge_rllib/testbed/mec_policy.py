"""A policy that was trained in the MEC world at the controls of a testbed: what processes report, put in that world.

Times are carried over, for speeds differ: a task has the cycles that a device of the MEC scenario needs as long for as
the device here expects to need. Of energy there is as much as at the start, and servers are known as of now. The share
of the work that goes to a server is taken as the share of the stages.
"""

from __future__ import annotations

import numpy as np

from edge_rllib.export.policy import ExportedPolicy
from edge_rllib.testbed.params import BedScenario
from edge_rllib.testbed.sight import Sight
from envs.arrays import BOOL, F4, F8, I8
from envs.errors import ConfigError
from envs.mec.build import parts_of
from envs.mec.decode import placement
from envs.mec.start import MecStart
from envs.mec.world import MecWorld
from envs.scenario import Scenario, make

_LEAST_SHARE = 0.125  # below half a stage's share a task stays whole on its device


class MecPolicy:
    """An exported policy whose scenario is one of world ``mec``."""

    def __init__(self, policy: ExportedPolicy, trained_in: Scenario, scenario: BedScenario, label: str) -> None:
        """Take a policy and its scenario; raises ConfigError for one of other numbers of devices or servers."""
        world = make(trained_in, 1)
        assert isinstance(world, MecWorld)
        cell, _, params = parts_of(trained_in)
        self._device_hz, n_servers = np.array(cell.device_hz, np.float64), len(cell.server_hz)
        here, there = (scenario.n_devices, scenario.n_servers), (len(self._device_hz), n_servers)
        if here != there:
            raise ConfigError(
                f"{label} was trained in {trained_in.name} with {there[0]} devices and {there[1]} servers; testbed "
                f"scenario {scenario.name} has {here[0]} and {here[1]}"
            )
        if not scenario.is_partial:
            raise ConfigError(f"{label} divides tasks; testbed scenario {scenario.name} does not (is_partial: false)")
        if policy.about.feature_names != world.spec.feature_names:
            raise ConfigError(f"{label} has other features than its scenario {trained_in.name} shows")
        self._policy, self._world, self._out = policy, world, world.outcome()
        world.reset(None, self._out)
        self._decision_params, self._horizon = params.decision, world.spec.horizon_steps
        self._last: I8 = np.full((1, here[0]), -1, np.int64)
        self._has_started: BOOL = np.zeros((1, *here), np.bool_)
        self._epoch = 0
        policy.decide(self._out.observation[0], self._out.target_mask[0])  # compiles and loads before the clock runs
        policy.reset()

    def observe(self, sight: Sight) -> F4:
        """Return the features (N, F) of what was reported, as the MEC world shows them."""
        n_devices = len(sight.n_frames)
        work = np.maximum(sight.local_service_s * self._device_hz, 1.0)
        start = MecStart(
            work_cycles=work[None],
            profile=np.arange(n_devices, dtype=np.int64)[None],
            deadline_s=np.full((1, n_devices), sight.deadline_s),
            slot=np.array([self._epoch % self._horizon], np.int64),
            server_backlog_s=sight.server_backlog_s[None].astype(np.float64),
            has_started=self._has_started,
            last_server=self._last,
            local_backlog_s=sight.local_backlog_s[None].astype(np.float64),
        )
        self._world.load(start, self._out)
        self._epoch += 1
        return self._out.observation[0].copy()

    def decide(self, observation: F4, mask: BOOL) -> tuple[I8, F8]:
        """Return targets (N,) and amounts (N,): the share of the stages that the server does."""
        decision, amounts = self._policy.decide(observation, self._out.target_mask[0])
        target, share = placement(self._decision_params, mask.shape[1] - 1, decision, amounts.astype(np.float64))
        stays = (share < _LEAST_SHARE) | ~np.take_along_axis(mask, target[:, None], axis=1)[:, 0]
        target = np.where(stays, 0, target)
        sends = target > 0
        self._last[0, sends] = target[sends] - 1
        self._has_started[0, np.flatnonzero(sends), target[sends] - 1] = True
        return target, np.where(sends, share, 1.0)
