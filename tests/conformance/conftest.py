"""Scenarios of registered parts, short enough to be played to the end many times."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge_rllib.config.load import load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from envs.scenario import Scenario


def short_scenario(topology: object = "ring", workload: object = "poisson", **params: object) -> Scenario:
    """Return a fog scenario of two parts by name or mapping; 40 slots of 0.1 s unless the parameters say otherwise."""
    values = {"name": "fog", "horizon_slots": 40, **params}
    return Scenario(
        name=f"{topology} under {workload}",
        world="fog",
        topology=load_part("topology", topology, Source(None)),
        topology_seed=1,
        workload=load_part("workload", workload, Source(None)),
        params=load_part("world_params", values, Source(None)),
    )


@pytest.fixture
def scenario() -> Callable[..., Scenario]:
    return short_scenario


@pytest.fixture
def part() -> Callable[..., object]:
    """Return the part of a kind with the values of its yaml."""
    return lambda kind, spec: load_part(kind, spec, Source(None))


@pytest.fixture
def named() -> Callable[..., Scenario]:
    """Return a scenario of tune_configs with a horizon of 40 slots, of 10 in networks of hundreds of nodes."""

    def short(name: str) -> Scenario:
        n_nodes = load_scenario(name).network().n_nodes
        return load_scenario(name, {"params": {"horizon_slots": 40 if n_nodes < 200 else 10}})

    return short
