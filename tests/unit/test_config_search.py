"""Searches load, survive the round trip, and refuse what cannot be searched."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_rllib.config.load import override_run
from edge_rllib.config.paths import config_names
from edge_rllib.config.search import dump_search, load_search
from envs.errors import ConfigError, EdgeError


@pytest.mark.parametrize("name", config_names("search"))
def test_every_search_loads_and_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    search = load_search(f"search/{name}")
    file = tmp_path / "search.yaml"
    file.write_text(dump_search(search).replace("  name: quickstart", "  name: quickstart", 1))

    assert load_search(str(file)) == search


@pytest.mark.parametrize("name", config_names("search"))
def test_every_setting_of_a_space_exists_in_its_run(name: str) -> None:
    search = load_search(name)
    for key, law in search.space.items():
        value = next(iter(law.values()))[0]

        assert override_run(search.run, {key: value}) != override_run(search.run, {key: next(iter(law.values()))[-1]})


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("space=null", ["override 'space'", "keys with values"]),
        ("space={algorithm.gamma: 3}", ["'algorithm.gamma'", "grid, choice, uniform, loguniform"]),
        ("space={algorithm.gamma: {normal: [0, 1]}}", ["'algorithm.gamma'", "grid, choice, uniform, loguniform"]),
        ("space={algorithm.gamma: {uniform: [1, 0]}}", ["uniform expects [low, high]"]),
        ("space={algorithm.gamma: {loguniform: [0, 1]}}", ["positive numbers"]),
        ("space={algorithm.gamma: {choice: 3}}", ["a list of values"]),
        ("method=pbt", ["method = 'pbt' needs the settings 'pbt'"]),
        ("method=asah", ["did you mean 'asha'?"]),
        ("n_trials=0", ["n_trials = 0"]),
        ("asha.reduction_factor=1", ["reduction_factor above 1"]),
        ("run.evaluation.every_iterations=0", ["every_iterations = 0"]),
        ("run.algorithm.gama=0.9", ["unknown key 'gama'", "'gamma'"]),
        ("run=quikstart", ["no run named 'quikstart'", "'quickstart'"]),
    ],
)
def test_search_that_cannot_be_run_is_refused(override: str, words: list[str]) -> None:
    with pytest.raises(EdgeError) as caught:
        load_search("ippo_asha", [override])

    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_grid_cannot_be_perturbed() -> None:
    with pytest.raises(ConfigError, match="use choice"):
        load_search("ippo_pbt", ["space={algorithm.gamma: {grid: [0.9, 0.99]}}"])
