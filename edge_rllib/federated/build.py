"""A federation from a config: its modules, clients and rounds, also without RLlib's loop and without Ray."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from edge_rllib.config.load import load_scenario
from edge_rllib.federated.clients import Client, Networks
from edge_rllib.federated.vectors import vector_of
from edge_rllib.runners.agents import agent_mapping, agent_spaces, groups
from envs.scenario import make


def federation(config: Any, modules: Any, older: Any) -> Any:
    """Return clients with a server, a graph or regions, that begin at the weights of ``modules``; ``older`` are copies.

    ``config`` is a ``FederatedConfig``.
    """
    values, settings = config.federated, config.env_config
    seed, networks = settings["seed"], Networks(modules, older)
    scenarios = [load_scenario(name) for name in values.scenarios] or [settings["scenario"]]
    specs = [make(scenario, 1, seed).spec for scenario in scenarios]
    members = [groups(spec, agent_mapping(spec, config.module_sharing)) for spec in specs]
    start = {module_id: vector_of(modules[module_id]) for module_id in members[0]}
    clients = [
        Client(
            index,
            values.n_clients,
            scenarios[index % len(scenarios)],
            seed,
            values.estimator,
            networks,
            members[index % len(scenarios)],
            values.stealing.chunk_episodes,
        )
        for index in range(values.n_clients)
    ]
    return values.federation(clients, start, seed)


def without_ray(config: Any) -> Any:
    """Return a federation whose modules are drawn here: for studies of many short runs, which need no Algorithm."""
    settings = config.env_config
    spec = make(settings["scenario"], 1, settings["seed"]).spec
    keys = (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES, *groups(spec, agent_mapping(spec, config.module_sharing)))
    spaces = dict.fromkeys(keys, agent_spaces(spec, False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed or 0)
        now, older = (
            config.get_multi_rl_module_spec(env=None, spaces=spaces, inference_only=False).build() for _ in range(2)
        )
    return federation(config, now, older)
