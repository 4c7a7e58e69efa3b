"""Scenarios, runs and parts are found by name, path or class, and written out in full."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edge_rllib.config.load import dump, load_run, load_scenario
from edge_rllib.config.paths import config_names, config_root
from envs.errors import ConfigError, UnknownName

USER_TOPOLOGY = '''"""Two nodes of the user's own."""
from __future__ import annotations
from dataclasses import dataclass
from envs.topologies.pair import Pair

@dataclass(frozen=True)
class MyPair(Pair):
    """A pair with a label."""
    label: str = "mine"
'''


@pytest.mark.parametrize("name", config_names("scenario"))
def test_every_scenario_loads_and_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    scenario = load_scenario(name)
    file = tmp_path / f"{name}.yaml"
    tree = yaml.safe_load(dump(scenario))
    file.write_text(yaml.safe_dump({key: value for key, value in tree.items() if key != "name"}))

    assert load_scenario(str(file)) == scenario


@pytest.mark.parametrize("name", config_names("run"))
def test_every_run_loads_and_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    run = load_run(f"run/{name}")
    file = tmp_path / "config.yaml"
    file.write_text(dump(run))

    assert load_run(str(file)) == run
    assert run.name == name


def test_overrides_reach_every_depth() -> None:
    run = load_run("quickstart", ["algorithm.gamma=0.5", "scenario.params.reward.preset=sparse", "model=target_mlp"])

    assert run.algorithm.gamma == 0.5
    assert run.scenario.params.reward.preset == "sparse"
    assert run.scenario.name == load_run("quickstart").scenario.name
    assert type(run.model).__name__ == "TargetMlpModel"


def test_part_of_another_kind_takes_its_own_values() -> None:
    scenario = load_scenario("fog_ring_8", ["topology=full", "topology.n_nodes=3"])

    assert type(scenario.topology).__name__ == "Full"
    assert scenario.network().n_nodes == 3


def test_user_file_serves_as_a_part_beside_the_scenario_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "my_pair.py").write_text(USER_TOPOLOGY)
    values = yaml.safe_load((config_root() / "topology" / "pair.yaml").read_text())
    (tmp_path / "my_pair.yaml").write_text(yaml.safe_dump(values))
    tree = yaml.safe_load(dump(load_scenario("fog_ring_8")))
    tree["topology"] = {"name": "my_pair.py:MyPair", "label": "theirs"}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in tree.items() if key != "name"}))

    scenario = load_scenario(str(file))

    assert (scenario.name, scenario.topology.label) == ("mine", "theirs")
    assert scenario.network().n_nodes == 2
    assert f"{tmp_path}/my_pair.py:MyPair" in dump(scenario)


def test_unknown_scenario_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'fog_ring_8'"):
        load_scenario("fog_rin_8")


def test_missing_key_of_a_users_scenario_is_named(tmp_path: Path) -> None:
    file = tmp_path / "half.yaml"
    file.write_text("world: fog\ntopology: ring\n")

    with pytest.raises(ConfigError, match=r"half\.yaml: key 'topology_seed' of a scenario is missing"):
        load_scenario(str(file))


def test_every_rule_can_be_asked_for_by_name() -> None:
    from edge_rllib.config.load import load_rule
    from envs.registry import names

    rules = [load_rule(name) for name in names("baseline")]

    assert len(rules) >= 5


def test_overrides_stay_as_the_caller_has_made_them():
    shared = {"name": "ippo", "gamma": 0.5}
    first = load_run("quickstart", {"algorithm": shared, "algorithm.entropy_coeff": 0.5})
    second = load_run("quickstart", {"algorithm": shared})
    assert shared == {"name": "ippo", "gamma": 0.5}
    assert (first.algorithm.entropy_coeff, second.algorithm.gamma) == (0.5, 0.5)
    assert second.algorithm.entropy_coeff != 0.5
