"""Question: how much of the time that clients of different speeds wait for each other does work stealing save?

Command: python experiments/work_stealing.py [--profiles linear bimodal ...] [--rounds 25] [--seeds 1 2 3] [--out DIR]
             [--quick] [--actors]
Cost: about three minutes of a core; --quick shows the same in twenty seconds, on few rounds. --actors takes ten minutes
more, on at least one core that is free.
Expected picture: without stealing clients are idle for a third to two thirds of a round, with it for 2 to 4 %; a round
ends 2 to 6 % above the time that no schedule can beat. Where all are equally fast, stealing costs nothing.

Method. Episodes are those of a federation of 8 clients that learns CartPole: a client plays 50 in a round, of 10 to 500
steps. Each round is then played in virtual time, a discrete-event simulation, under every scheduler: a step takes 0.5
ms at speed 1, a message 1 ms, a chunk is one episode, that is handed over in parts of 50 steps where the scheduler
does so. Speeds are those of a profile. All schedulers are given the same episodes and speeds, and know nothing of them
but what they have seen. `small` has the 4 episodes a client of a small batch, `fast` a step of 6 microseconds.

Makespan: from the round's beginning to the end of its last work. Idle: share of the clients' time in it without work
that counts. Bound: all work over all speeds, or the longest episodes on the fastest clients, with interruptions for
free: no schedule is shorter.

--actors plays on 8 actors of Ray instead, which compute, and adds what it measures to the results that are there: see
work_stealing_actors.py. Written to --out: work_stealing.json, .md, and _gantt.png, _idle.png, _speed_up.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import work_stealing_actors
import work_stealing_picture
from rich.console import Console
from rich.progress import track

from edge_rllib.config.load import load_run
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.federated.build import without_ray
from edge_rllib.federated.stealing.estimates import Estimates
from edge_rllib.federated.stealing.network import uniform_network
from edge_rllib.federated.stealing.policies import (
    CentralQueue,
    Guided,
    Proportional,
    RandomVictim,
    Scheduler,
    Static,
    StealHalf,
)
from edge_rllib.federated.stealing.speeds import Bimodal, Constant, Linear, LogNormal, SpeedProfile, Transient
from edge_rllib.federated.stealing.virtual import RoundSetting, VirtualRound, simulate
from edge_rllib.federated.vectors import load_vectors
from edge_rllib.results import files
from envs.arrays import I8

N_CLIENTS, N_EPISODES = 8, 50
MESSAGE_S, PART_STEPS = 0.001, 50
SCHEDULERS: dict[str, Scheduler] = {
    "static": Static(),
    "proportional": Proportional(),
    "central_queue": CentralQueue(1),
    "central_queue, 5 at a time": CentralQueue(5),
    "guided": Guided(),
    "random_victim": RandomVictim(),
    "steal_half, whole episodes": StealHalf(hand_over=False),
    "steal_half": StealHalf(),
    "steal_half, with copies": StealHalf(copy=True),
}
PROFILES: dict[str, SpeedProfile] = {
    "homogeneous": Constant(),
    "linear": Linear(4.0),
    "bimodal": Bimodal(2, 4.0),
    "log_normal": LogNormal(0.5),
    "transient": Transient(0.15, 5.0),
}
ACTOR_ROUNDS = 3
NUMBERS_OF_CLIENTS = (1, 2, 4, 8, 16, 32, 64)


class Batch(NamedTuple):
    """How large a round is, and how long a step takes."""

    n_episodes: int  # of a client
    step_s: float


BATCHES = {"large": Batch(50, 0.0005), "small": Batch(4, 0.0005), "fast": Batch(50, 0.000006)}


def episode_lengths(n_rounds: int, seed: int) -> I8:
    """Return the lengths (rounds, clients, episodes) of a federation's episodes while it learns CartPole, in steps."""
    settings = {"seed": seed, "algorithm.n_clients": N_CLIENTS, "algorithm.n_faulty": 0}
    learning = without_ray(algorithm_config(load_run("run/federated_cartpole", settings)))
    lengths = []
    for index in range(n_rounds):
        learning.play()
        load_vectors(learning.clients[0].networks.now, learning.policy())
        lengths.append([client.play(index, N_EPISODES).n_steps for client in learning.clients])
    return np.array(lengths)


def played(lengths: I8, batch: Batch, scheduler: Scheduler, profile: SpeedProfile, seed: int) -> list[VirtualRound]:
    """Play rounds of lengths (rounds, clients, episodes); what is learnt of speeds is kept from round to round."""
    n_clients = lengths.shape[1]
    demands = batch.step_s * lengths[:, :, : batch.n_episodes].astype(float)
    owners = np.repeat(np.arange(n_clients), demands.shape[2]).tolist()
    estimates = Estimates(n_clients, float(demands[0].mean()))
    network = uniform_network(n_clients, MESSAGE_S)
    rounds = []
    for index, demand in enumerate(demands):
        traces = profile.traces(n_clients, seed, index)
        setting = RoundSetting(traces, network, part_s=PART_STEPS * batch.step_s, seed=seed)
        rounds.append(simulate(demand.ravel(), owners, scheduler, setting, estimates))
        estimates.end_round()
    return rounds


def figures(rounds: Sequence[VirtualRound]) -> dict[str, float]:
    """Return the figures of a run's rounds as one: a long round counts for more than a short one."""
    accounts = [each.account for each in rounds]
    makespan_s = sum(account.makespan_s for account in accounts)
    return {
        "makespan_s": makespan_s,
        "idle_frac": sum(account.idle_frac * account.makespan_s for account in accounts) / makespan_s,
        "over_bound": makespan_s / sum(account.bound_s for account in accounts),
        "over_bound_p95": float(np.quantile([each.bound_ratio for each in rounds], 0.95)),
        "steals_a_round": float(np.mean([account.traffic.n_steals for account in accounts])),
        "messages_a_round": float(np.mean([account.traffic.n_messages for account in accounts])),
    }


def compared(lengths: Mapping[int, I8], profiles: Sequence[str], console: Console) -> dict[str, Any]:
    """Return figures by batch, profile and scheduler: the mean over seeds."""
    found: dict[str, Any] = {}
    cells = [(batch, profile, name) for batch in BATCHES for profile in profiles for name in SCHEDULERS]
    for batch, profile, name in track(cells, "schedulers", console=console):
        each = [
            figures(played(steps, BATCHES[batch], SCHEDULERS[name], PROFILES[profile], seed))
            for seed, steps in lengths.items()
        ]
        mean = {key: float(np.mean([values[key] for values in each])) for key in each[0]}
        found.setdefault(batch, {}).setdefault(profile, {})[name] = mean
    return found


def speed_up(lengths: I8, console: Console) -> dict[str, Any]:
    """Return by profile and scheduler how much faster K clients are than one of speed 1, with a client's work each."""
    found: dict[str, Any] = {}
    pool = lengths.reshape(-1)
    generator = np.random.default_rng(1)
    for profile in track(("homogeneous", "linear"), "numbers of clients", console=console):
        for name in ("static", "central_queue", "steal_half"):
            values = []
            for n_clients in NUMBERS_OF_CLIENTS:
                steps = generator.choice(pool, (3, n_clients, 50))
                rounds = played(steps, BATCHES["large"], SCHEDULERS[name], PROFILES[profile], 1)
                alone_s = BATCHES["large"].step_s * float(steps.sum())
                values.append(alone_s / sum(each.account.makespan_s for each in rounds))
            found.setdefault(profile, {})[name] = values
    return {"n_clients": NUMBERS_OF_CLIENTS, "by_profile": found}


def gantt(lengths: I8, profile: str) -> dict[str, Any]:
    """Return the intervals of one round, in the middle of learning, under three schedulers."""
    one = lengths[len(lengths) // 2 :][:1]
    found = {}
    for name in ("static", "central_queue, 5 at a time", "steal_half"):
        (single,) = played(one, BATCHES["large"], SCHEDULERS[name], PROFILES[profile], 1)
        account = single.account
        found[name] = {
            "makespan_s": account.makespan_s,
            "bound_s": account.bound_s,
            "idle_frac": account.idle_frac,
            "rows": [
                [(each.kind.value, each.start_s, each.end_s, each.owner) for each in line.intervals]
                for line in account.timelines
            ],
        }
    return {"profile": profile, "schedulers": found}


def simulated(n_rounds: int, seeds: Sequence[int], profiles: Sequence[str], console: Console) -> dict[str, Any]:
    """Return all that is found in virtual time."""
    lengths = {
        seed: episode_lengths(n_rounds, seed) for seed in track(seeds, "episodes of a federation", console=console)
    }
    first = lengths[seeds[0]]
    return {
        "n_clients": N_CLIENTS,
        "rounds": n_rounds,
        "seeds": list(seeds),
        "mean_steps": [float(steps.mean()) for steps in first],
        "figures": compared(lengths, profiles, console),
        "speed_up": speed_up(first, console),
        "gantt": gantt(first, "linear"),
    }


def main() -> None:
    """Play, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES))
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("results/work_stealing"))
    parser.add_argument("--quick", action="store_true", help="8 rounds of one seed; one on actors")
    parser.add_argument("--actors", action="store_true", help="measure on actors, and add that to the results in --out")
    given = parser.parse_args()
    n_rounds, seeds = (8, given.seeds[:1]) if given.quick else (given.rounds, given.seeds)
    console = Console()
    path = given.out / "work_stealing.json"
    found = files.read_json(path) if path.exists() else {}
    if given.actors:
        n_measured = 1 if given.quick else ACTOR_ROUNDS
        profiles = {name: PROFILES[name] for name in given.profiles}
        found["actors"] = work_stealing_actors.measured(profiles, n_measured, seeds[0], console)
    else:
        found |= simulated(n_rounds, seeds, given.profiles, console)
    given.out.mkdir(parents=True, exist_ok=True)
    files.write_json(path, found)
    for drawn in work_stealing_picture.write(found, given.out):
        console.print(f"written: {drawn}")
    print(work_stealing_picture.table(found))


if __name__ == "__main__":
    main()
