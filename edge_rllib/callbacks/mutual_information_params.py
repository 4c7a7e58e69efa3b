"""Values of the mutual-information reward, and the presets that carry them by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edge_rllib.config.registry import names, resolve
from edge_rllib.ops.mutual_information.base import Estimator, EstimatorParams
from edge_rllib.ops.mutual_information.episodes import ThresholdRule, Unit
from edge_rllib.ops.mutual_information.variables import DecisionForm, StateForm, Variables
from edge_rllib.ops.mutual_information.weights import WeightParams
from envs.errors import ConfigError

Data = Literal["superior", "inferior", "all"]


@dataclass(frozen=True)
class BoundParams:
    """One bound: what it is estimated by, of what, from which episodes, and how much it counts."""

    estimator: str  # registry name of kind mi_estimator
    variables: Variables  # between which mutual information is measured
    data: Data  # episodes that the estimator is fitted on; all: the latest, superior or not
    weight: float  # of the term, reward a nat; 0 only measures. With share_of_reward only the ratio of weights matters


@dataclass(frozen=True)
class EntropyParams:
    """Entropies of the joint decision: measured, and part of the reward where a weight is positive."""

    exploration_weight: float  # of -log q(all decisions): visited decisions shall be spread out
    collaboration_weight: float  # of log q(others' decisions | own one, state): others shall be predictable
    measured_rows: int  # rows of an update on which they are measured for the curves

    def __post_init__(self) -> None:
        _at_least(self, 0, "exploration_weight", "collaboration_weight")
        _at_least(self, 2, "measured_rows")


@dataclass(frozen=True)
class BufferParams:
    """Which episodes are superior, and how many are kept."""

    capacity: int  # of each buffer, in units
    unit: Unit
    rows_per_episode: int  # rows kept of an episode, drawn uniformly; 0 keeps all
    thresholds: tuple[ThresholdRule, ...]  # the largest of them counts: what a superior return must exceed
    window_episodes: int  # latest returns that moving_average and quantile look at
    least_episodes: int  # returns before which those two say nothing
    quantile: float  # in (0, 1): share of returns below the threshold of that name

    def __post_init__(self) -> None:
        _at_least(self, 1, "capacity", "window_episodes", "least_episodes")
        _at_least(self, 0, "rows_per_episode")
        if not self.thresholds:
            raise ConfigError("thresholds = []: expected at least one of minimum, moving_average, quantile")
        if not 0.0 < self.quantile < 1.0:
            raise ConfigError(f"quantile = {self.quantile}: expected a value in (0, 1)")


@dataclass(frozen=True)
class MutualInformationParams:
    """The mutual-information reward: r + factor * (lower.weight * I_lower - upper.weight * I_upper + entropies)."""

    lower: BoundParams | None  # added: what superior episodes have in common is rewarded
    upper: BoundParams | None  # subtracted: what inferior episodes have in common is not
    entropies: EntropyParams | None
    state: StateForm  # the state in the variables
    decisions: DecisionForm  # how decisions are written
    normalise_state: bool  # bring the features of the state to unit scale
    estimator: EstimatorParams
    buffers: BufferParams
    batch_rows: int  # rows of a gradient step of an estimator
    with_replacement: bool  # a batch may hold a row twice, as in the released code
    start_rows: int  # rows that each buffer in use must hold before its estimator is fitted
    learning_rate: float  # of each estimator's Adam
    env_steps_per_gradient_step: int  # steps of single worlds between two gradient steps of each estimator
    weights: WeightParams
    share_of_reward: float  # deviation of the term in those of the reward; 0 adds it as it is
    clip: float  # largest size of a term: with share_of_reward in its deviations, else in reward; 0 does not clip

    def __post_init__(self) -> None:
        _at_least(self, 0, "share_of_reward", "clip")
        _at_least(self, 2, "batch_rows", "start_rows")
        _at_least(self, 1, "env_steps_per_gradient_step")
        if not self.learning_rate > 0.0:
            raise ConfigError(f"learning_rate = {self.learning_rate}: expected a positive number")
        if self.lower is None and self.upper is None and self.entropies is None:
            raise ConfigError("lower, upper and entropies are all null: there is nothing to measure")
        self._check_side("lower", self.lower, ("lower", "score"))
        self._check_side("upper", self.upper, ("upper",))
        self._check_sizes()

    def _check_side(self, key: str, bound: BoundParams | None, sides: tuple[str, ...]) -> None:
        if bound is None:
            return
        if bound.weight < 0.0:
            raise ConfigError(f"{key}.weight = {bound.weight}: expected 0 or more; the sign is that of the bound")
        side = estimator_class(bound.estimator, f"mutual_information.{key}.estimator").side
        if side not in sides:
            known = [name for name in names("mi_estimator") if estimator_class(name, "").side in sides]
            raise ConfigError(
                f"{key}.estimator = {bound.estimator!r} estimates mutual information from the other side ({side}); "
                f"expected one of {', '.join(known)}"
            )

    def _check_sizes(self) -> None:
        kept = self.buffers
        most = kept.capacity * (1 if kept.unit == "transitions" else kept.rows_per_episode)
        if not self.with_replacement and self.batch_rows > self.start_rows:
            raise ConfigError(
                f"batch_rows = {self.batch_rows} is more than start_rows = {self.start_rows}, the rows that a buffer "
                "may begin with: shrink the batch, or set with_replacement: true to draw rows twice"
            )
        if most and self.start_rows > most:  # without rows_per_episode the world decides how long an episode is
            raise ConfigError(
                f"start_rows = {self.start_rows}: a buffer holds {most} rows at most, so learning would never start"
            )


def estimator_class(name: str, where: str) -> type[Estimator]:
    """Return the class of an estimator."""
    found: Any = resolve("mi_estimator", name, where)
    return found


def _at_least(params: Any, least: int, *fields: str) -> None:
    for name in fields:
        if not getattr(params, name) >= least:
            raise ConfigError(f"{name} = {getattr(params, name)}: expected {least} or more")


@dataclass(frozen=True)
class ExplaboffReleased(MutualInformationParams):
    """As ExplabOff's code: JSD score of superior, CLUB of inferior decisions, raw, decoded, 3.5 against 1."""


@dataclass(frozen=True)
class ExplaboffPaper(MutualInformationParams):
    """As ExplabOff's paper: InfoNCE of superior, leave-one-out of inferior episodes; fitted by maximum likelihood."""


@dataclass(frozen=True)
class Explaboff(MutualInformationParams):
    """ExplabOff with a term of stated size: SMILE against leave-one-out, scaled to the reward and clipped."""
