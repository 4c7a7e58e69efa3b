"""How fast clients of federated training play, agree and do whole rounds, in CPU seconds of one core.

A client's poles are compared with a loop that plays one pole at a time and asks torch for each decision, as published
code does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from edge_rllib.config.load import load_scenario
from edge_rllib.experiment.bench.table import Row
from edge_rllib.federated.clients import Client, Networks
from edge_rllib.federated.episodes import EpisodePlayer
from edge_rllib.federated.estimators import EstimatorParams
from edge_rllib.federated.pipeline import pipeline
from edge_rllib.federated.rounds import Server, StepParams
from edge_rllib.federated.vectors import load_vector, vector_of
from edge_rllib.modules.actor_critic import ActorCritic
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.modules.shape import ObservationShape
from edge_rllib.ops.agreement import FaultyNodes, agree
from edge_rllib.runners.agents import agent_spaces
from envs.arrays import I8
from envs.scenario import Scenario, make

SCENARIO, MODULE = "cartpole_v1", "shared"
MODEL = MlpModel(hidden=(16, 16), critic_hidden=(16,), activation="tanh", normalise_observation=False)  # d = 386
N_CLIENTS, N_FAULTY, N_AGREEMENT_ROUNDS = 13, 3, 3
_PUBLISHED_STEPS = 2_056.0  # environment steps a CPU second of the published code, without agreement; another run
_GROUPS: dict[str, I8] = {MODULE: np.zeros(1, np.int64)}
_N_TIMES = 5
_LEAST_STEPS = 20_000  # of a measurement
_ESTIMATOR = EstimatorParams(
    form="gpomdp",
    baseline="time_mean",
    normalise=True,
    gamma=0.999,
    correction="page",
    is_per_decision=True,
    most_ratio=10.0,
    least_effective_share=0.0,
    large_episodes=50,
    small_episodes=4,
    large_prob=1e-9,  # a large round, and small ones from there on
    epoch_rounds=4,
    gae_lambda=1.0,
    most_ratio_drift=math.inf,
    local_steps=0,
    local_learning_rate=0.01,
    local_clip=0.2,
)


def rows() -> list[Row]:
    """Return the measurements of ``edge-rllib bench federated``."""
    torch.set_num_threads(1)
    scenario = load_scenario(SCENARIO)
    loop = _cpu_rate(loop_of_single_poles(scenario, policy(scenario)))
    together = [
        Row(f"CartPole, a client's {n} poles, {what}", _steps_rate(scenario, n, is_able), "env steps/CPU-s", 1e5, 3e5)
        for what, is_able in (("untrained", False), ("balanced for 500 steps", True))
        for n in (4, 10, 50, 200)
    ]
    beside = "a torch call for one pole a step"
    return [
        *together,
        Row("50 poles, untrained", together[2].value, "env steps/CPU-s", 48.5, 145.5, loop, beside),
        Row("that loop", loop, "env steps/CPU-s", 0.0, 1.0, _PUBLISHED_STEPS, "published code, another run"),
        *(_agreement(rule) for rule in ("nnm > trimmed_mean", "mda", "mda_greedy")),
        *(_round(scenario, n_clients) for n_clients in (N_CLIENTS, 200, 1000)),
    ]


def policy(scenario: Scenario, is_able: bool = False) -> ActorCritic:
    """Return a module as training begins with it, or one that balances a pole for a whole episode."""
    torch.manual_seed(0)
    spec = make(scenario, 1).spec
    observation_space, action_space = agent_spaces(spec, False)
    config = {"model": MODEL, "shape": ObservationShape.of(spec), "is_central": False, "scale_value": False}
    module = ActorCritic(observation_space=observation_space, action_space=action_space, model_config=config)
    if is_able:
        with torch.no_grad():
            load_vector(module, 0.0 * vector_of(module))
            first, second, last = (module.actor[i].weight for i in (0, 2, 4))
            first[0] = torch.tensor([0.5, 2.0, 4.0, 8.0])  # push to where the pole leans and turns to
            second[0, 0] = 10.0
            last[1, 0] = 10.0
    return module


def _steps_rate(scenario: Scenario, n_worlds: int, is_able: bool) -> float:
    """Return environment steps a CPU second of one client."""
    player = EpisodePlayer(scenario, n_worlds, 0, {MODULE: policy(scenario, is_able)}, _GROUPS)
    first = 0

    def play() -> int:
        nonlocal first
        first += n_worlds
        return int(player.play(first + np.arange(n_worlds)).n_steps.sum())

    return _cpu_rate(play)


def loop_of_single_poles(scenario: Scenario, module: ActorCritic) -> Callable[[], int]:
    """Return a function that plays an episode with a call of torch for each step, and returns how many it had."""
    world, network, generator = make(scenario, 1), module.actor, torch.Generator().manual_seed(0)
    out = world.outcome()
    first = 0

    def play() -> int:
        nonlocal first
        first += 1
        world.reset([first], out)
        n_steps = 0
        while n_steps == 0 or not (out.terminated[0] or out.truncated[0]):
            with torch.no_grad():
                probs = network(torch.from_numpy(out.observation[0])).softmax(-1)
            world.step(torch.multinomial(probs, 1, generator=generator).numpy(), out)
            n_steps += 1
        return n_steps

    return play


def _agreement(rule: str) -> Row:
    """Return the time of an iteration's rounds of agreement among liars that tell each receiver something else."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(N_CLIENTS, vector_of(policy(load_scenario(SCENARIO))).numel(), generator=generator)

    def lies(_: int, honest: torch.Tensor) -> torch.Tensor:
        return 1000.0 * torch.randn(len(honest), N_FAULTY, honest.shape[1], generator=generator)

    neighbours = ~torch.eye(N_CLIENTS, dtype=torch.bool)
    faulty = FaultyNodes(tuple(range(N_FAULTY)), lies)

    def iteration() -> int:
        agree(start, neighbours, pipeline(rule), N_FAULTY, N_AGREEMENT_ROUNDS, faulty)
        return 1

    what = f"agreement, K = {N_CLIENTS}, f = {N_FAULTY}, d = {start.shape[1]}, {N_AGREEMENT_ROUNDS} rounds of {rule}"
    return Row(what, 1000.0 / _cpu_rate(iteration, least=10), "CPU-ms", must=20.0, aim=5.0)


def _round(scenario: Scenario, n_clients: int) -> Row:
    """Return how many clients a CPU second serves in small rounds, gradients and aggregation included."""
    server = federation(scenario, n_clients)
    server.play()  # the large one

    def play() -> int:
        server.play()
        return n_clients

    what = f"a round of {n_clients:,} virtual clients, {_ESTIMATOR.small_episodes} episodes each"
    return Row(what, _cpu_rate(play, least=1), "clients/CPU-s", must=0.0, aim=0.0)


def federation(scenario: Scenario, n_clients: int) -> Server:
    """Return a server with clients of this process."""
    networks = Networks({MODULE: policy(scenario)}, {MODULE: policy(scenario)})
    clients = [Client(i, n_clients, scenario, 0, _ESTIMATOR, networks, _GROUPS) for i in range(n_clients)]
    start = {MODULE: vector_of(networks.now[MODULE])}
    n_faulty = n_clients * N_FAULTY // N_CLIENTS
    rule = pipeline("nnm > geometric_median")
    return Server(clients, start, _ESTIMATOR, StepParams("adam", 1e-9, 0.0, "constant", 1.0, 1), rule, n_faulty, 0)


def _cpu_rate(work: Callable[[], int], least: int = _LEAST_STEPS) -> float:
    """Return the median units a CPU second, each time of at least so many units; ``work`` returns how many it did."""
    work()
    rates = []
    for _ in range(_N_TIMES):
        begin, n_units = time.process_time(), 0
        while n_units < least:
            n_units += work()
        rates.append(n_units / (time.process_time() - begin))
    return float(np.median(rates))
