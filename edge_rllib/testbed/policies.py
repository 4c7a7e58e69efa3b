"""What decides: rules that come with the testbed, or any object with the same method.

``decide(observation, mask)`` gets the features (N, F) float32 and the allowed targets (N, K) and returns the targets
(N,), 0 the device and k server k - 1, and the amounts (N,) in [0, 1]: the share of the stages that is done there. An
object that also has ``observe(sight)`` makes its own features of what was measured.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_rllib.testbed.meter import LOCAL
from edge_rllib.testbed.params import BedScenario
from edge_rllib.testbed.sight import feature_names
from edge_rllib.testbed.vision.stages import N_STAGES
from envs.arrays import BOOL, F4, F8, I8
from envs.errors import ConfigError, DecisionError, UnknownName


class Policy(Protocol):
    """Decides for all devices at once."""

    def decide(self, observation: F4, mask: BOOL) -> tuple[I8, F8]:
        """Return targets (N,) and amounts (N,)."""


class LocalRule:
    """Every device does its own tasks."""

    def __init__(self, scenario: BedScenario) -> None:
        pass

    def decide(self, observation: F4, mask: BOOL) -> tuple[I8, F8]:
        """Return the device itself for all."""
        return np.zeros(len(mask), np.int64), np.ones(len(mask))


class EdgeRule:
    """Every task goes to a server, device n to server n mod M while it is up."""

    def __init__(self, scenario: BedScenario) -> None:
        pass

    def decide(self, observation: F4, mask: BOOL) -> tuple[I8, F8]:
        """Return the device's server, else the next that is up, else the device itself."""
        return np.array([_next_allowed(row, n) for n, row in enumerate(mask)], np.int64), np.ones(len(mask))


class RandomRule:
    """Every allowed target is equally probable, and so is every amount."""

    def __init__(self, scenario: BedScenario) -> None:
        self._rng = np.random.default_rng((scenario.seed, 2))

    def decide(self, observation: F4, mask: BOOL) -> tuple[I8, F8]:
        """Return drawn targets and amounts."""
        targets = [int(self._rng.choice(np.flatnonzero(row))) for row in mask]
        return np.array(targets, np.int64), self._rng.uniform(size=len(mask))


class RoundRobinRule:
    """Each device takes its allowed targets in turn, itself among them; neighbours are one turn apart."""

    def __init__(self, scenario: BedScenario) -> None:
        self._turn = 0

    def decide(self, observation: F4, mask: BOOL) -> tuple[I8, F8]:
        """Return the targets whose turn it is."""
        targets = []
        for n, row in enumerate(mask):
            allowed = np.flatnonzero(row)
            targets.append(allowed[(self._turn + n) % len(allowed)])
        self._turn += 1
        return np.array(targets, np.int64), np.ones(len(mask))


class LeastResponseTimeRule:
    """Each device takes the target and cut with the least expected response time, on its own: it foresees no crowd.

    Stages before a cut cost what the device needs for decoding, which is little; all others are detection, by far the
    longest. So a cut after ``detect`` is as good as local work, and only raw and decoded clips are weighed.
    """

    def __init__(self, scenario: BedScenario) -> None:
        self._n_servers = scenario.n_servers
        self._cuts = (0, 1) if scenario.is_partial else (0,)
        names = feature_names(scenario.n_servers)
        self._place = {name: index for index, name in enumerate(names)}

    def decide(self, observation: F4, mask: BOOL) -> tuple[I8, F8]:
        """Return the best target and cut of each device."""
        n_devices = len(observation)
        targets, amounts = np.zeros(n_devices, np.int64), np.ones(n_devices)
        best = self._of(observation, "local_backlog") + self._of(observation, "local_service")
        raw = self._of(observation, "payload_0")
        for m in range(self._n_servers):
            for cut in self._cuts:
                upload = self._of(observation, f"server_{m}_upload") * self._of(observation, f"payload_{cut}") / raw
                # A device must wait for its lane before it can decode.
                lane = self._of(observation, "local_backlog") if cut else np.zeros(n_devices)
                there = self._of(observation, f"server_{m}_backlog") + self._of(observation, f"server_{m}_service")
                total = upload + lane + there
                is_better = mask[:, m + 1] & (total < best)
                best = np.where(is_better, total, best)
                targets[is_better], amounts[is_better] = m + 1, 1.0 - cut / N_STAGES
        return targets, amounts

    def _of(self, observation: F4, name: str) -> F8:
        return observation[:, self._place[name]].astype(np.float64)


RULES: dict[str, type[Policy]] = {
    "local": LocalRule,
    "edge": EdgeRule,
    "random": RandomRule,
    "round_robin": RoundRobinRule,
    "least_response_time": LeastResponseTimeRule,
}


def load_policy(name: str, scenario: BedScenario) -> Policy:
    """Return a rule by name, an object of a user's ``file.py:Class``, made with the scenario, or a folder's policy.

    A folder is a result of `edge-rllib train`, or what `edge-rllib export` made of one.
    """
    place, _, attribute = name.rpartition(":")
    if place.endswith(".py"):
        return _from_file(Path(place), attribute, scenario)
    if name in RULES:
        return RULES[name](scenario)  # type: ignore[call-arg]
    if not Path(name).is_dir():
        raise UnknownName("rule of the testbed, nor folder,", name, RULES, "--policy")
    from edge_rllib.testbed.learned import load_learned

    return load_learned(Path(name), scenario)


def _from_file(path: Path, attribute: str, scenario: BedScenario) -> Policy:
    if not path.is_file():
        raise ConfigError(f"--policy {path}:{attribute}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = getattr(module, attribute, None)
    if made is None:
        raise ConfigError(f"--policy: {path} has no {attribute!r}")
    policy: Any = made(scenario)
    if not callable(getattr(policy, "decide", None)):
        raise ConfigError(f"--policy: {attribute} of {path} has no method decide(observation, mask)")
    return policy


def checked(decision: Any, mask: BOOL, is_partial: bool) -> tuple[I8, I8, int]:
    """Return targets (N,), cuts (N,), and how many masked targets were replaced by the device itself.

    Raises DecisionError for a decision of another shape, a target that is none, or an amount outside [0, 1].
    """
    targets, amounts = (np.asarray(part) for part in decision)
    n_devices, n_targets = mask.shape
    if targets.shape != (n_devices,) or amounts.shape != (n_devices,) or targets.dtype.kind not in "iu":
        raise DecisionError(
            f"the policy returned targets {targets.dtype} {targets.shape} and amounts {amounts.shape}; expected whole "
            f"numbers and amounts of shape ({n_devices},)"
        )
    if not ((targets >= 0) & (targets < n_targets)).all() or not ((amounts >= 0.0) & (amounts <= 1.0)).all():
        raise DecisionError(
            f"the policy returned targets {targets.tolist()} and amounts {amounts.tolist()}; expected targets below "
            f"{n_targets} and amounts from 0 to 1"
        )
    is_allowed = mask[np.arange(n_devices), targets]
    targets = np.where(is_allowed, targets, LOCAL).astype(np.int64)
    return targets, cuts_of(targets, amounts, is_partial), int((~is_allowed).sum())


def cuts_of(targets: I8, amounts: F8, is_partial: bool) -> I8:
    """Return how many stages each device does before it uploads: all of a local task, else the share 1 - amount.

    A task that goes to a server leaves at least its last stage to it.
    """
    kept = np.minimum(np.floor((1.0 - amounts) * N_STAGES + 1e-9), N_STAGES - 1) if is_partial else 0.0 * amounts
    return np.where(targets == LOCAL, N_STAGES, kept).astype(np.int64)


def _next_allowed(row: BOOL, n: int) -> int:
    n_servers = len(row) - 1
    for step in range(n_servers):
        target = 1 + (n + step) % n_servers
        if row[target]:
            return target
    return LOCAL
