"""Clients with small networks on a few worlds, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from edge_rllib.config.load import load_run
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.federated.attacks.read import attack as read_attack
from edge_rllib.federated.attacks.schedule import FixedSet
from edge_rllib.federated.clients import Client, Networks
from edge_rllib.federated.estimators import EstimatorParams
from edge_rllib.federated.faults import Faults
from edge_rllib.federated.graphs import graph as read_graph
from edge_rllib.federated.peers import Peers
from edge_rllib.federated.pipeline import pipeline
from edge_rllib.federated.rounds import Server, StepParams
from edge_rllib.federated.vectors import vector_of
from edge_rllib.runners.agents import agent_spaces, groups
from envs.scenario import make

DEFAULTS: Any = load_part("algorithm", "federated", Source(None))
ESTIMATOR: dict[str, Any] = {
    "form": "gpomdp",
    "baseline": "time_mean",
    "normalise": False,
    "gamma": 0.99,
    "correction": "page",
    "is_per_decision": False,
    "most_ratio": 1e6,
    "least_effective_share": 0.0,
    "large_episodes": 10,
    "small_episodes": 3,
    "large_prob": 0.3,
    "epoch_rounds": 2,
}


@pytest.fixture
def server() -> Callable[..., Server]:
    """Return a function that builds a server with its clients, or clients on a graph."""

    def build(
        n_clients: int = 2,
        n_faulty: int = 0,
        aggregator: str = "mean",
        seed: int = 0,
        attack: str = "",
        scenario: str = "cartpole_v1",
        rate: float = 0.005,
        over: dict[str, Any] | None = None,
        graph: str = "",
        agreement: str = "nnm > trimmed_mean",
        n_agreement_rounds: int = 3,
        stealing: dict[str, Any] | None = None,
        **estimator: Any,
    ) -> Any:
        torch.manual_seed(seed)
        names = {"scenario": scenario, "n_env_runners": 0, "algorithm": "ippo", "model.hidden": [8], **(over or {})}
        run = load_run("run/quickstart", names)
        config = algorithm_config(run)
        members = groups(make(run.scenario, 1).spec, config.policy_mapping_fn)
        spaces = agent_spaces(make(run.scenario, 1).spec, False)
        keys = (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES, *members)
        spec = {"env": None, "spaces": dict.fromkeys(keys, spaces), "inference_only": False}
        now, older = (config.get_multi_rl_module_spec(**spec).build() for _ in range(2))
        params = replace(DEFAULTS.estimator, **{**ESTIMATOR, **estimator})
        networks = Networks(now, older)
        values = replace(DEFAULTS.stealing, **(stealing or {}))
        told = (run.scenario, seed, params, networks, members, values.chunk_episodes)
        clients = [Client(i, n_clients, *told) for i in range(n_clients)]
        collector = values.collect_with(clients, n_faulty, not graph, seed)
        rule = pipeline(aggregator)
        schedule = FixedSet(n_clients, n_faulty)
        faults = Faults(read_attack(attack), schedule, rule, seed) if attack else None  # type: ignore[arg-type]
        start = {module_id: vector_of(now[module_id]) for module_id in members}
        if graph:
            neighbours = read_graph(graph)(n_clients, np.random.default_rng(0))
            exchange = (neighbours, rule, pipeline(agreement), n_agreement_rounds, n_faulty, seed, faults, collector)
            return Peers(clients, start, params, StepParams("adam", rate, 0.0, "constant", 1.0, 1), *exchange)
        return Server(
            clients,
            start,
            params,
            StepParams("adam", rate, 0.0, "constant", 1.0, 1),
            rule,
            n_faulty,
            seed,
            faults,
            collector,
        )

    return build


@pytest.fixture
def estimator() -> Callable[..., EstimatorParams]:
    """Return a function that makes an estimator's values."""
    return lambda **changes: replace(DEFAULTS.estimator, **{**ESTIMATOR, **changes})
