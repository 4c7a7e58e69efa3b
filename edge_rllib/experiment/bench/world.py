"""How fast the world steps, without any learning, and how much memory and start-up time it takes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from edge_rllib.config.load import load_scenario
from edge_rllib.experiment.bench.table import Row, rate
from envs.scenario import Scenario, make
from envs.world import Outcome, World

SCENARIO = "fog_ether_urban_19"
MEC_SCENARIO = "mec_2es_3md_v1"
MULTIUSER_SCENARIO = "multiuser_10"
N_WORLDS = 256
_N_DECISIONS = 8  # arrays of random decisions that are played in turn
_EXPLABOFF_STEPS = 5_581.0  # its released environment as its runners use it, one core, prints silenced; another run
_DCDRL_USER_STEPS = 10.8e3 * 10  # the step function of the released DC-DRL with ten users, one core; another run
_VMAS_AGENT_STEPS = 2.56e6  # VMAS 1.5.2 on one CPU thread, simple_spread, 4,096 worlds x 3 agents; another run


def rows() -> list[Row]:
    """Return the measurements of ``edge-rllib bench world``."""
    scenario = load_scenario(SCENARIO)
    world, play = player(scenario, N_WORLDS, 100)
    batch = rate(play) * world.spec.n_agents
    label = f"{world.topology.n_nodes} nodes ({world.spec.n_agents} agents)"  # type: ignore[attr-defined]
    _, play_alone = player(scenario, 1, 4000)
    multiuser, play_multiuser = player(load_scenario(MULTIUSER_SCENARIO), N_WORLDS, 400)
    _, play_mec = player(load_scenario(MEC_SCENARIO), N_WORLDS, 1000)
    return [
        Row(
            f"{label}, {N_WORLDS} worlds, one core, random decisions",
            batch,
            "agent-steps/s",
            must=2.5e6,
            aim=10e6,
            reference=_VMAS_AGENT_STEPS,
            reference_is="VMAS, earlier run",
        ),
        Row(f"{label}, one world", rate(play_alone), "steps/s", must=20_000, aim=50_000),
        Row(
            f"MEC, 2 servers and 3 devices, {N_WORLDS} worlds, one core, random decisions",
            rate(play_mec),
            "joint steps/s",
            must=100,
            aim=900,
            reference=_EXPLABOFF_STEPS,
            reference_is="released ExplabOff, earlier run",
        ),
        Row(
            f"many users, {multiuser.spec.n_agents} of them, {N_WORLDS} worlds, CPU time, random decisions",
            rate(play_multiuser, clock=time.process_time) * multiuser.spec.n_agents,
            "user-steps/s",
            must=5e6,
            aim=20e6,
            reference=_DCDRL_USER_STEPS,
            reference_is="released DC-DRL, earlier run",
        ),
        Row("1,024 worlds after an episode, resident memory", _memory_mb(), "MB", must=500, aim=500),
        Row("import edge_rllib", _seconds("import edge_rllib"), "s", must=0.3, aim=0.3),
        Row("edge-rllib list", _seconds(_LIST), "s", must=0.7, aim=0.7),
    ]


def player(scenario: Scenario, n_worlds: int, n_steps: int) -> tuple[World, Callable[[], int]]:
    """Return a world in the middle of an episode and a function that plays it and returns the world-steps done."""
    world = make(scenario, n_worlds)
    out = world.outcome()
    world.reset(None, out)
    rng = np.random.default_rng(0)
    decisions = [_random_decision(world, out, rng) for _ in range(_N_DECISIONS)]
    amounts = [_random_amounts(world, rng) for _ in range(_N_DECISIONS)]

    def play() -> int:
        for step in range(n_steps):
            world.step(decisions[step % _N_DECISIONS], out, amounts[step % _N_DECISIONS])
        return n_steps * n_worlds

    return world, play


def _random_decision(world: World, out: Outcome, rng: np.random.Generator) -> np.ndarray:
    """Return decisions drawn from all targets that exist; agents without a task have theirs refused and stay local."""
    exists = world.spec.target_node >= 0
    score = rng.random(out.target_mask.shape, dtype=np.float32) * exists
    return np.asarray(score.argmax(axis=-1), np.int64)


def _random_amounts(world: World, rng: np.random.Generator) -> np.ndarray | None:
    """Return amounts drawn evenly from their bounds, None where agents decide on targets alone."""
    spec = world.spec
    shape = (spec.n_worlds, spec.n_agents, spec.n_amounts)
    return rng.uniform(spec.amount_low, spec.amount_high, shape) if spec.n_amounts else None


_LIST = "from edge_rllib.cli.main import main; main(['list'])"
_MEMORY = f"""
from pathlib import Path
import resource
import numpy as np
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
from edge_rllib.config.load import load_scenario
from envs.scenario import make
world = make(load_scenario({SCENARIO!r}), 1)
out = world.outcome(); world.reset(None, out)
before = resident_mb()
world = make(load_scenario({SCENARIO!r}), 1024)
out = world.outcome(); world.reset(None, out)
decision = np.zeros((1024, world.spec.n_agents), np.int64)
for _ in range(world.spec.horizon_steps):
    world.step(decision, out)
print(resident_mb() - before)
"""


def _memory_mb() -> float:
    """Return the resident memory that 1,024 worlds add to a process, in MB."""
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _seconds(code: str, repeats: int = 5) -> float:
    """Return the median wall time of a fresh interpreter that runs the code, less that of one that runs nothing."""

    def once(program: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        return time.perf_counter() - begin

    once(code)
    return float(np.median([once(code) - once("pass") for _ in range(repeats)]))
