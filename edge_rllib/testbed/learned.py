"""A trained policy at the controls of a testbed: it sees what it saw in the twin, and says where each task goes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from edge_rllib.export.loading import is_exported, load
from edge_rllib.export.policy import ExportedPolicy
from edge_rllib.testbed.mec_policy import MecPolicy
from edge_rllib.testbed.params import BedScenario
from edge_rllib.testbed.seeing import Seeing
from edge_rllib.testbed.sight import Sight
from envs.arrays import BOOL, F4, F8, I8
from envs.errors import ConfigError, EdgeError
from envs.scenario import Scenario
from envs.testbed.decode import N_STAGES, n_targets, placement
from envs.testbed.observe import OWN_FEATURES, TARGET_FEATURES, feature_names
from envs.testbed.state import N_CUTS


class LearnedPolicy:
    """An exported policy that was trained in a world ``testbed``."""

    def __init__(self, policy: ExportedPolicy, scenario: BedScenario, label: str) -> None:
        """Take a policy; raises ConfigError for one whose features or targets are not the scenario's."""
        self.kind = _kind_of(policy, scenario, label)
        self._policy = policy
        self._seeing = Seeing(self.kind, scenario.n_devices, scenario.n_servers, scenario.deadline_s)
        self.observe(_any_sight(scenario))  # compiles what it needs before the clock runs
        policy.decide(self._seeing.out.observation[0], self._seeing.out.target_mask[0])
        policy.reset()

    def observe(self, sight: Sight) -> F4:
        """Return the features (N, F) of what was reported, as the twin writes them."""
        self._seeing.look(sight)
        return self._seeing.out.observation[0].copy()

    def decide(self, observation: F4, mask: BOOL) -> tuple[I8, F8]:
        """Return targets (N,) and amounts (N,); ``mask`` (N, M + 1) tells which servers may be chosen."""
        n_cuts = N_CUTS if self.kind == "cuts" else 1
        of_targets = np.concatenate([mask[:, :1], np.repeat(mask[:, 1:], n_cuts, axis=1)], axis=1)
        decision, amounts = self._policy.decide(observation, of_targets)
        placed = placement(self.kind, decision, amounts[:, 0].astype(np.float64) if amounts.shape[1] else None)
        return placed.target, np.where(placed.target > 0, 1.0 - placed.cut / N_STAGES, 1.0)


def load_learned(folder: Path, scenario: BedScenario) -> LearnedPolicy | MecPolicy:
    """Return the policy of a result, or of a folder that `edge-rllib export` made.

    A result whose policy was not exported yet is exported, which takes some seconds and needs torch.
    """
    if not is_exported(folder):
        from edge_rllib.results.files import result_folder

        folder = _exported(result_folder(folder))
    policy, label = load(folder), f"policy {folder}"
    trained_in = _scenario_of(policy, folder)
    if trained_in is not None and trained_in.world == "mec":
        return MecPolicy(policy, trained_in, scenario, label)
    return LearnedPolicy(policy, scenario, label)


def _scenario_of(policy: ExportedPolicy, folder: Path) -> Scenario | None:
    """Return the scenario of the result in which a policy lies, else the one of the name that it tells, if known."""
    from edge_rllib.config.load import load_run, load_scenario
    from edge_rllib.results.files import CONFIG

    beside = folder.parent / CONFIG
    if beside.is_file():
        return load_run(str(beside)).scenario
    try:
        return load_scenario(policy.about.scenario)
    except EdgeError:
        return None


def _exported(result: Path) -> Path:
    from edge_rllib.experiment.evaluation import checkpoint_named
    from edge_rllib.export.manifest import read
    from edge_rllib.export.writing import DEFAULT_FOLDER, default_formats, export_result

    logging.getLogger("ray._common.deprecation").setLevel(logging.ERROR)  # RLlib calls what it has deprecated
    target, checkpoint = result / DEFAULT_FOLDER, checkpoint_named(result, None)
    if not is_exported(target) or read(target).checkpoint != checkpoint.name:
        export_result(result, target, checkpoint, default_formats()[0])
    return target


def _kind_of(policy: ExportedPolicy, scenario: BedScenario, label: str) -> str:
    """Return the kind of decisions that a policy takes."""
    about, n_servers = policy.about, scenario.n_servers
    kinds = {
        (n_targets("cuts", n_servers), 0): "cuts",
        (n_targets("shares", n_servers), 1): "shares",
        (n_targets("whole", n_servers), 0): "whole",
    }
    if about.feature_names[: len(OWN_FEATURES)] != OWN_FEATURES or (
        tuple(name.partition("/")[2] for name in about.feature_names[len(OWN_FEATURES) :])
        != about.n_targets * TARGET_FEATURES
    ):
        raise ConfigError(
            f"{label} was trained in scenario {about.scenario}, with features such as {about.feature_names[0]!r}; a "
            "testbed shows those of a world 'testbed': see `edge-rllib testbed calibrate`, which writes a twin to "
            "train in"
        )
    kind = kinds.get((about.n_targets, about.n_amounts))
    if kind is None or about.feature_names != tuple(feature_names(about.n_targets)):
        raise ConfigError(
            f"{label} has {about.n_targets} targets and {about.n_amounts} amounts; testbed scenario {scenario.name} "
            f"has {n_servers} servers, for which a policy has {' or '.join(f'{k} and {a}' for k, a in kinds)}"
        )
    if kind != "whole" and not scenario.is_partial:
        raise ConfigError(f"{label} divides tasks, and testbed scenario {scenario.name} does not (is_partial: false)")
    if len(about.groups) > 1 and len(about.agents) != scenario.n_devices:
        raise ConfigError(
            f"{label} has weights of its own for each of {len(about.agents)} devices; testbed scenario {scenario.name} "
            f"has {scenario.n_devices}"
        )
    return kind


def _any_sight(scenario: BedScenario) -> Sight:
    n, m = scenario.n_devices, scenario.n_servers
    return Sight(
        n_frames=np.ones(n),
        payload_bits=np.ones((n, N_CUTS)),
        local_backlog_s=np.zeros(n),
        local_service_s=np.ones(n),
        server_backlog_s=np.zeros(m),
        server_service_s=np.ones((n, m)),
        rate_bps=np.ones((n, m)),
        is_up=np.ones((n, m), np.bool_),
        deadline_s=scenario.deadline_s,
    )
