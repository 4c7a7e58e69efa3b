"""Runs whose settings are each fine, and do not fit each other."""

from __future__ import annotations

import pytest

from edge_rllib.config.load import load_run
from edge_rllib.experiment.build import algorithm_config
from envs.errors import ConfigError

SHAPED = ["scenario.params.reward.shaping.potential=backlog", "scenario.params.reward.shaping.gamma=0.9"]


def test_shaping_with_another_discount_than_the_learners_is_refused() -> None:
    run = load_run("quickstart", [*SHAPED, "algorithm.gamma=0.95"])
    with pytest.raises(ConfigError, match=r"quickstart: .*shaping\.gamma = 0\.9, but algorithm\.gamma = 0\.95"):
        algorithm_config(run)


@pytest.mark.parametrize("more", [["algorithm.gamma=0.9"], ["scenario.params.reward.shaping.weight=0"]])
def test_shaping_with_the_learners_discount_or_of_no_weight_is_accepted(more: list[str]) -> None:
    assert algorithm_config(load_run("quickstart", [*SHAPED, *more])).gamma > 0.0
