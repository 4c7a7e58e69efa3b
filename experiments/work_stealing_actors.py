"""The part of experiments/work_stealing.py that is measured: clients as actors of Ray, which compute.

A federation of 8 clients that has learned CartPole for some rounds goes on for a few more, in the same way under every
scheduler and profile: the same episodes, and bit for bit the same parameters, which is checked. Each client's actor
plays its episodes for real, and packs and unpacks the states of worlds that are handed over. Fewer cores than actors
cannot compute at the same time; so a step costs the longer of what it takes and of 2 ms over the speed of its client,
the rest of which the actor sleeps: all together they ask for a small part of a core. What is measured is everything
else: messages, Ray, the driver, states, and the machine's other work, which the load average tells of. Batches are cut
in the same way under all schedulers.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from edge_rllib.config.load import load_run
from edge_rllib.experiment.build import algorithm_config, start_ray
from edge_rllib.federated.build import without_ray
from edge_rllib.federated.stealing.accounting import RoundAccount
from edge_rllib.federated.stealing.policies import Scheduler, Static, StealHalf
from edge_rllib.federated.stealing.speeds import SpeedProfile

N_CLIENTS, N_EPISODES, STEP_S = 8, 50, 0.002
LEARNED_ROUNDS = 4  # before the first that is measured: episodes of ten to some hundreds of steps
SCHEDULERS: dict[str, Scheduler] = {
    "static": Static(),
    "steal_half": StealHalf(),
    "steal_half(copy=true)": StealHalf(copy=True),
}


def federation(collector: str, seed: int) -> Any:
    """Return clients that learn CartPole; chunks and parts are as long as suits the actors."""
    values = {
        "seed": seed,
        "algorithm.n_clients": N_CLIENTS,
        "algorithm.n_faulty": 0,
        "algorithm.aggregator": "mean",
        "algorithm.estimator.large_episodes": N_EPISODES,
        "algorithm.stealing.collector": collector,
        "algorithm.stealing.chunk_episodes": "auto",
        "algorithm.stealing.part_steps": "auto",
        "algorithm.stealing.emulated_step_s": STEP_S,
        "algorithm.stealing.limit_s": 600.0,  # a loaded machine takes long to start actors
    }
    return without_ray(algorithm_config(load_run("run/federated_cartpole", values)))


def accounts(learning: Any, start: Any, scheduler: Scheduler, profile: SpeedProfile, n_rounds: int) -> tuple[Any, Any]:
    """Play rounds from a state under a scheduler that knows of no speeds yet.

    Return (account, figures) of each, and the parameters behind them.
    """
    collector = learning.collector
    collector.scheduler, collector.profile, collector.estimates = scheduler, profile, None
    learning.set_state(copy.deepcopy(start))
    found: list[tuple[RoundAccount, dict[str, float]]] = []
    for _ in range(n_rounds):
        learning.play()
        found.append((learning._account, dict(learning.figures)))
    return found, {name: vector.clone() for name, vector in learning.vectors.items()}


def figures(rounds: Sequence[tuple[RoundAccount, dict[str, float]]]) -> dict[str, float]:
    """Return the figures of some rounds as one: a long round counts for more than a short one."""
    makespan_s = sum(account.makespan_s for account, _ in rounds)
    return {
        "makespan_s": makespan_s,
        "idle_frac": sum(account.idle_frac * account.makespan_s for account, _ in rounds) / makespan_s,
        "over_bound": makespan_s / sum(account.bound_s for account, _ in rounds),
        "wasted_frac": sum(account.wasted_s for account, _ in rounds)
        / sum(account.wasted_s + account.useful_s for account, _ in rounds),
        "pull_latency_s": float(np.median([values["pull_latency_s"] for _, values in rounds])),
        "handed_over_a_round": float(np.mean([values["handed_over"] for _, values in rounds])),
        "chunk_episodes": float(np.mean([values["chunk_episodes"] for _, values in rounds])),
        "steals_a_round": float(np.mean([account.traffic.n_steals for account, _ in rounds])),
        "messages_a_round": float(np.mean([account.traffic.n_messages for account, _ in rounds])),
    }


def measured(profiles: dict[str, SpeedProfile], n_rounds: int, seed: int, console: Console) -> dict[str, Any]:
    """Return figures by profile and scheduler."""
    before = federation("in_process", seed)
    for _ in track(range(LEARNED_ROUNDS), "learning", console=console):
        before.play()
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray puts its actors behind all other work, by 15
    start_ray(N_CLIENTS)
    learning = federation("actors", seed)
    found: dict[str, Any] = {}
    try:
        cells = [(profile, name) for profile in profiles for name in SCHEDULERS]
        vectors: Any = None
        for profile, name in track(cells, "actors", console=console):
            rounds, behind = accounts(learning, before.get_state(), SCHEDULERS[name], profiles[profile], n_rounds)
            load = os.getloadavg()[0]  # of the last minute
            found.setdefault(profile, {})[name] = {**figures(rounds), "load_average": load}
            console.print(f"{profile}, {name}: {found[profile][name]}")
            vectors = behind if vectors is None else vectors
            if not all(torch.equal(behind[key], vectors[key]) for key in vectors):
                raise AssertionError(f"{profile}, {name}: learning is not what it was under the first scheduler")
    finally:
        learning.stop()
    n_cores = os.cpu_count()
    return {"rounds": n_rounds, "seed": seed, "step_s": STEP_S, "cores": n_cores, "by_profile": found}
