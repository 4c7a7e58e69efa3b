"""A scenario's file may hold only what differs from another scenario: the one that its key ``base`` names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_rllib.config.load import load_scenario
from envs.errors import ConfigError, UnknownName


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_a_file_on_a_named_scenario_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, mine="base: fog_ring_8\ntopology: {n_nodes: 9}\nparams: {max_hops: 1}\n")
    base, scenario = load_scenario("fog_ring_8"), load_scenario(str(tmp_path / "mine.yaml"))

    assert (scenario.name, scenario.topology.n_nodes, scenario.params.max_hops) == ("mine", 9, 1)
    expected = replace(
        base, name="mine", topology=replace(base.topology, n_nodes=9), params=replace(base.params, max_hops=1)
    )
    assert scenario == expected


def test_bases_may_have_bases_and_the_nearest_file_counts(tmp_path: Path) -> None:
    write(
        tmp_path,
        one="base: two.yaml\ntopology_seed: 11\n",
        two="base: three.yaml\ntopology_seed: 12\nworkload: {tasks_per_s: 12}\n",
        three="base: fog_ring_8\ntopology_seed: 13\nworkload: {tasks_per_s: 13}\ntopology: {n_nodes: 13}\n",
    )
    scenario = load_scenario(str(tmp_path / "one.yaml"))

    assert (scenario.topology_seed, scenario.workload.tasks_per_s, scenario.topology.n_nodes) == (11, 12.0, 13)


def test_another_part_takes_nothing_from_the_part_of_the_base(tmp_path: Path) -> None:
    write(tmp_path, mine="base: fog_ring_8\ntopology: full\n")

    assert (
        load_scenario(str(tmp_path / "mine.yaml")).topology == load_scenario("fog_ring_8", ["topology=full"]).topology
    )


def test_overrides_stand_above_file_and_base(tmp_path: Path) -> None:
    write(tmp_path, mine="base: fog_ring_8\ntopology: {n_nodes: 9}\n")

    assert load_scenario(str(tmp_path / "mine.yaml"), ["topology.n_nodes=10"]).topology.n_nodes == 10


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"mine": "base: fog_rin_8\n"}, UnknownName, r"did you mean 'fog_ring_8'\? \(.*mine\.yaml, key 'base'\)"),
        (
            {"mine": "base: nowhere.yaml\n"},
            ConfigError,
            r"no file 'nowhere\.yaml'; looked for .*mine\.yaml, key 'base'",
        ),
        ({"mine": "base: [fog_ring_8]\n"}, ConfigError, r"mine\.yaml, key 'base': expected the name of a scenario"),
        ({"mine": "base: mine.yaml\n"}, ConfigError, r"cannot be built on itself \(mine -> mine\)"),
        (
            {"mine": "base: a.yaml\n", "a": "base: b.yaml\n", "b": "base: a.yaml\n"},
            ConfigError,
            r"b\.yaml, key 'base': a scenario cannot be built on itself \(mine -> a -> b -> a\)",
        ),
        # a wrong value is blamed on the file that holds it
        ({"mine": "base: fog_ring_8\ntopology: {n_node: 9}\n"}, ConfigError, r"mine\.yaml, key 'topology\.n_node'"),
        (
            {"mine": "base: a.yaml\ntopology_seed: 2\n", "a": "base: fog_ring_8\nworkload: {tasks_per_s: many}\n"},
            ConfigError,
            r"/a\.yaml, key 'workload\.tasks_per_s'",
        ),
        (
            {"mine": "base: a.yaml\n", "a": "world: fog\n"},
            ConfigError,
            r"/a\.yaml: key 'topology' of a scenario is missing",
        ),
    ],
)
def test_a_base_that_cannot_be_is_refused_with_its_file(
    tmp_path: Path, files: dict[str, str], error: type[Exception], message: str
) -> None:
    write(tmp_path, **files)

    with pytest.raises(error, match=message):
        load_scenario(str(tmp_path / "mine.yaml"))
