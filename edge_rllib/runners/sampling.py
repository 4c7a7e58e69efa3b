"""The choice of targets from logits, with random numbers by counter.

A decision is a function of (seed, world id, step, agent, logits): the same in one process or in ten, and after
a resume, without any generator's state. One uniform a decision and the inverse of the cumulative probabilities cost
less than noise for every target.
"""

from __future__ import annotations

import math

import numpy as np

from envs.accelerate import kernel
from envs.arrays import F4, I8, U8
from envs.rng import unit_pair

STREAM_DECISION = 1  # streams of the key "decision"
STREAM_AMOUNTS = 2
NEGLIGIBLE = -80.0  # nats; exp of it is below 1e-34


@kernel
def choose(
    decision: I8, logp: F4, logits: F4, agents: I8, key: np.uint64, stream: np.uint64, world_ids: U8, step: np.uint64
) -> None:
    """Write decisions (B, n) and their log probabilities (B, n) for masked logits (B, n, K).

    ``agents`` (n,) are the agents' indices in the world; two neighbours share a counter. A target more than
    NEGLIGIBLE below the best, as all masked ones are, is never chosen.
    """
    n_worlds, n_agents, n_targets = logits.shape
    for b in range(n_worlds):
        counter = np.uint64(0)
        pair = (0.0, 0.0)
        for i in range(n_agents):
            agent = np.uint64(agents[i])
            wanted = agent >> np.uint64(1)
            if i == 0 or wanted != counter:
                counter = wanted
                pair = unit_pair(key, counter, stream, world_ids[b], step)
            u = pair[0] if agent & np.uint64(1) == np.uint64(0) else pair[1]
            best = logits[b, i, 0]
            for k in range(1, n_targets):
                best = max(best, logits[b, i, k])
            total = 0.0
            for k in range(n_targets):
                if logits[b, i, k] - best > NEGLIGIBLE:
                    total += math.exp(logits[b, i, k] - best)
            threshold = u * total
            cumulative = 0.0
            chosen = 0
            for k in range(n_targets):
                if logits[b, i, k] - best > NEGLIGIBLE:
                    chosen = k
                    cumulative += math.exp(logits[b, i, k] - best)
                    if cumulative > threshold:
                        break
            decision[b, i] = chosen
            logp[b, i] = logits[b, i, chosen] - best - math.log(total)


@kernel
def normals(out: F4, agents: I8, key: np.uint64, stream: np.uint64, world_ids: U8, step: np.uint64) -> None:
    """Fill ``out`` (B, n, A) with standard normal numbers, by the method of Box and Muller [1958]."""
    n_worlds, n_agents, n_amounts = out.shape
    for b in range(n_worlds):
        for i in range(n_agents):
            for a in range(0, n_amounts, 2):
                counter = (np.uint64(agents[i]) << np.uint64(16)) | np.uint64(a >> 1)
                first, second = unit_pair(key, counter, stream, world_ids[b], step)
                radius = math.sqrt(-2.0 * math.log(first))
                out[b, i, a] = radius * math.cos(2.0 * math.pi * second)
                if a + 1 < n_amounts:
                    out[b, i, a + 1] = radius * math.sin(2.0 * math.pi * second)
