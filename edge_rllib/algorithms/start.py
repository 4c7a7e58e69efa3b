"""Begin a run with the weights of another run's checkpoint, module by module."""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import ConfigError

_MODULES = Path("learner_group/learner/rl_module")  # in a checkpoint
_STATE = "module_state.pkl"


def begin_with(algorithm: Any, checkpoint: Path) -> None:
    """Put the weights of a checkpoint into the learners and runners of an Algorithm.

    Scales of observations and values belong to them; optimisers begin anew. A module or a weight that the checkpoint
    lacks, or has in another shape, raises ConfigError.
    """
    own = algorithm.learner_group.get_weights()
    found = {module_id: _saved(checkpoint, module_id) for module_id in own}
    for module_id, weights in own.items():
        _check_weights(f"{checkpoint}: module {module_id!r}", found[module_id], weights)
    algorithm.learner_group.set_state({"learner": {"rl_module": found}})
    algorithm.learner_group.foreach_learner(_keep_value_scale)
    algorithm.sync([dict.fromkeys(own)])


def _keep_value_scale(learner: Any) -> None:
    learner.keeps_value_scale = True


def _saved(checkpoint: Path, module_id: str) -> dict[str, Any]:
    """Return the weights of a module in a checkpoint."""
    folder = checkpoint / _MODULES
    path = folder / module_id / _STATE
    if not path.is_file():
        known = sorted(each.name for each in folder.glob("*") if each.is_dir())
        raise ConfigError(
            f"{checkpoint} has no module {module_id!r}{_near(module_id, known)}; expected a run with the "
            "same module_sharing and agents"
        )
    try:
        with path.open("rb") as file:
            return dict(pickle.load(file))
    except Exception as error:  # a damaged pickle raises anything
        raise ConfigError(f"{path}: cannot be read: {type(error).__name__}: {error}".partition("\n")[0]) from error


def _check_weights(where: str, found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    for name, values in own.items():
        if name not in found:
            raise ConfigError(
                f"{where} has no weights {name!r}{_near(name, found)}; expected the same kind of algorithm and model"
            )
        given, expected = np.shape(found[name]), np.shape(values)
        if given != expected:
            raise ConfigError(
                f"{where}: {name} has shape {given}; expected {expected}, as of the same sizes of model and scenario"
            )
    more = [name for name in found if name not in own]
    if more:
        raise ConfigError(
            f"{where} has weights {more[0]!r} that this run does not{_near(more[0], own)}; expected the "
            "same kind of algorithm and model"
        )


def _near(name: str, known: Iterable[str]) -> str:
    options = list(known)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.4)
    return f"; the nearest is {close[0]!r}" if close else f"; there is: {', '.join(options[:5]) or 'none'}"
