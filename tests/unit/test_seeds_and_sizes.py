"""Seeds and numbers of worlds that cannot be are refused wherever they come in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import edge_rllib
from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.cli.main import main
from edge_rllib.config.load import load_run
from edge_rllib.experiment.build import algorithm_config
from envs.errors import ConfigError
from envs.matching.world import MatchingParams
from envs.rng import key_from_seed
from envs.scenario import Scenario, make

MATCHING = Scenario("matching", "matching", None, 0, None, MatchingParams(2, 3, 8, 0.7, 0.6, 0, 0))
BAD_SEEDS = [-1, 2**63 + 1, 1.5, True, "7"]


@pytest.mark.parametrize("seed", BAD_SEEDS)
def test_make_refuses_a_seed_that_is_none(seed: Any) -> None:
    message = re.escape(f"seed = {seed!r}: expected a whole number from 0 to 2**63")
    with pytest.raises(ConfigError, match=message):
        make(MATCHING, 1, seed)
    with pytest.raises(ConfigError, match=message):
        edge_rllib.make("fog_ring_8", 1, seed)
    with pytest.raises(ConfigError, match=message):
        key_from_seed(seed, "world")


@pytest.mark.parametrize("seed", [0, 2**63])
def test_make_takes_the_smallest_and_the_largest_seed(seed: int) -> None:
    assert make(MATCHING, 1, seed).spec.n_worlds == 1


@pytest.mark.parametrize("n_worlds", [0, -3, 2.0, True])
def test_make_refuses_a_batch_without_worlds(n_worlds: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"n_worlds = {n_worlds!r}: expected a whole number of at least 1")):
        make(MATCHING, n_worlds)


@pytest.mark.parametrize(("first", "n_worlds"), [(-1, 1), (2**32 - 1, 2)])
def test_make_refuses_world_ids_beyond_32_bits(first: int, n_worlds: int) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"first_world_id = {first}: expected ids from 0 to 2**32 - 1")):
        make(MATCHING, n_worlds, 0, first)


@pytest.mark.parametrize("seed", [-1, 2**63 + 1])
@pytest.mark.parametrize("key", ["seed", "scenario.topology_seed"])
def test_config_refuses_a_seed_out_of_range_and_names_it(key: str, seed: int) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{key.partition('.')[2] or key} = {seed}: expected")):
        load_run("quickstart", {key: seed})


def test_config_says_where_the_seed_of_a_topology_stands() -> None:
    with pytest.raises(ConfigError, match=r"topology_seed.*: topology_seed = -1: expected"):
        load_run("quickstart", {"scenario.topology_seed": -1})


def test_numpy_and_torch_get_seeds_that_they_can_take() -> None:
    seeds = [0, 7, 2**31, 2**40, 2**63]
    given = [RunSettings(MATCHING, seed=seed).global_seed for seed in seeds]

    assert given[:2] == [0, 7]
    assert len(set(given)) == len(seeds)
    assert max(given) < 2**31
    with pytest.raises(ConfigError, match="seed = -1: expected"):
        RunSettings(MATCHING, seed=-1)


def test_algorithm_config_of_a_large_seed_keeps_it_for_the_worlds_alone() -> None:
    config = algorithm_config(load_run("quickstart", {"seed": 2**63}))

    assert config.env_config["seed"] == 2**63
    assert config.seed == RunSettings(MATCHING, seed=2**63).global_seed


def test_large_seed_of_a_config_keeps_every_digit() -> None:
    assert load_run("quickstart", {"seed": 2**62 + 1}).seed == 2**62 + 1
    assert load_run("quickstart", [f"seed={2**62 + 1}"]).seed == 2**62 + 1


@pytest.mark.parametrize("seed", ["-1", str(2**63 + 1)])
def test_command_line_refuses_a_seed_out_of_range_in_one_line(
    seed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "run/quickstart", "--set", f"seed={seed}", "--set", f"results={tmp_path}"]) == 2

    error = capsys.readouterr().err
    assert f"seed = {seed}: expected a whole number from 0 to 2**63" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
