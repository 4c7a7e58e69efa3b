"""What a search is: a run, the settings that trials differ in, and the method that chooses and stops trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import yaml

from edge_rllib.config.convert import build
from edge_rllib.config.load import dump, load_run_part
from edge_rllib.config.paths import config_file
from edge_rllib.config.schema import RunConfig
from edge_rllib.config.source import Source
from edge_rllib.config.tree import Overrides, merge, nested, read_yaml
from envs.errors import ConfigError

LAWS = {"grid": None, "choice": None, "uniform": 2, "loguniform": 2}  # law of a setting -> how many numbers it takes


@dataclass(frozen=True)
class AshaConfig:
    """Successive halving: trials that lag behind at a rung are stopped early [Li et al., 2020]."""

    grace_env_steps: int  # steps that every trial gets; the first rung
    reduction_factor: float  # one in so many trials goes on from rung to rung

    def __post_init__(self) -> None:
        if self.grace_env_steps < 1 or not self.reduction_factor > 1.0:
            raise ConfigError(
                f"grace_env_steps = {self.grace_env_steps}: expected at least 1; reduction_factor above 1"
            )


@dataclass(frozen=True)
class PbtConfig:
    """Population based training: bad trials take over from good ones [Jaderberg et al., 2017]."""

    perturbation_env_steps: int  # steps between two comparisons of a trial with the population
    quantile_frac: float  # share of the population that is replaced, and that is copied from
    resample_prob: float  # chance that a setting is drawn anew instead of changed by a fifth

    def __post_init__(self) -> None:
        if self.perturbation_env_steps < 1:
            raise ConfigError(f"perturbation_env_steps = {self.perturbation_env_steps}: expected at least 1")
        if not 0.0 < self.quantile_frac <= 0.5 or not 0.0 <= self.resample_prob <= 1.0:
            raise ConfigError("quantile_frac: expected a value in (0, 0.5]; resample_prob: in [0, 1]")


@dataclass(frozen=True)
class SearchConfig:
    """Everything that defines a search; trials report after every ``run.evaluation.every_iterations`` iterations."""

    name: str  # of the search; the stem of its file
    run: RunConfig  # the run that all trials are variations of; its evaluation.metric is what is searched for
    space: dict[str, Any]  # dotted setting of the run -> {grid|choice: [...]} or {uniform|loguniform: [low, high]}
    method: Literal["random", "asha", "pbt"]
    n_trials: int  # draws from the space; a grid multiplies them
    asha: AshaConfig | None  # settings of method asha
    pbt: PbtConfig | None  # settings of method pbt

    def __post_init__(self) -> None:
        if self.n_trials < 1:
            raise ConfigError(f"n_trials = {self.n_trials}: expected at least 1")
        if self.run.evaluation.every_iterations < 1:
            raise ConfigError("run.evaluation.every_iterations = 0: trials are compared by what they report then")
        if self.method != "random" and getattr(self, self.method) is None:
            raise ConfigError(f"method = {self.method!r} needs the settings {self.method!r}")
        if not self.space:
            raise ConfigError("space is empty: name at least one setting")
        for key, law in self.space.items():
            _check_law(key, law, self.method)


def load_search(name: str, overrides: Overrides = ()) -> SearchConfig:
    """Return a search by name ("search/ippo_asha"), or by the path of a yaml file."""
    path = config_file("search", name.removeprefix("search/"))
    over = nested(overrides)
    tree = merge({"name": path.stem, **read_yaml(path)}, over)
    source = Source(None).over(Source(path), over)
    if "run" in tree:
        tree["run"] = load_run_part(tree["run"], source.at("run"))
    return build(SearchConfig, tree, source)


def dump_search(search: SearchConfig) -> str:
    """Return the yaml text of a search with every value."""
    tree = {
        "name": search.name,
        "method": search.method,
        "n_trials": search.n_trials,
        "space": search.space,
        "asha": vars(search.asha) if search.asha else None,
        "pbt": vars(search.pbt) if search.pbt else None,
        "run": yaml.safe_load(dump(search.run)),
    }
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=120)


def _check_law(key: str, law: Any, method: str) -> None:
    if not isinstance(law, dict) or len(law) != 1 or next(iter(law)) not in LAWS:
        raise ConfigError(f"space, key {key!r}: expected one of {', '.join(LAWS)} with its values, got {law!r}")
    name, values = next(iter(law.items()))
    if not isinstance(values, list) or not values:
        raise ConfigError(f"space, key {key!r}: expected a list of values, got {values!r}")
    if LAWS[name] is not None:
        is_number = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        if not is_number or len(values) != LAWS[name] or not values[0] < values[1]:
            raise ConfigError(f"space, key {key!r}: {name} expects [low, high] in numbers, got {values!r}")
        if name == "loguniform" and not values[0] > 0:
            raise ConfigError(f"space, key {key!r}: loguniform expects positive numbers, got {values!r}")
    if name == "grid" and method == "pbt":
        raise ConfigError(f"space, key {key!r}: a grid cannot be perturbed; use choice")
