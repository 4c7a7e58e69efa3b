"""Trajectories of every scenario stay what they were: 64 steps under fixed decisions, against saved figures.

A change on purpose is a new version: regenerate with ``python tests/golden/test_golden.py`` and say so in CHANGELOG.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.load import load_scenario
from edge_rllib.config.paths import config_names
from envs.scenario import make

FOLDER = Path(__file__).parent
N_STEPS, N_WORLDS, SEED = 64, 2, 5
MAX_GROUPS = 32
SCENARIOS = config_names("scenario")


def figures(name: str) -> dict[str, Any]:
    """Return the metric sums, the last observation's sums and the rewards of 64 steps; decisions cycle by agent."""
    world = make(load_scenario(name), N_WORLDS, SEED)
    out = world.outcome()
    world.reset(None, out)
    spec = world.spec
    rewards = np.zeros(spec.n_agents)
    sums = np.zeros(len(spec.sum_names))
    places = np.arange(spec.n_agents)[:, None] + np.arange(spec.n_amounts)
    for step in range(N_STEPS):
        turn = (step + np.arange(spec.n_agents)) % spec.n_targets
        allowed = np.take_along_axis(out.target_mask, np.broadcast_to(turn, (N_WORLDS, spec.n_agents))[..., None], 2)
        amounts = spec.amount_low + (spec.amount_high - spec.amount_low) * ((step + places) % 5) / 4.0
        amounts = np.broadcast_to(amounts, (N_WORLDS, *amounts.shape)).copy() if spec.n_amounts else None
        world.step(np.where(allowed[..., 0], turn, 0).astype(np.int64), out, amounts)
        rewards += out.reward.sum(axis=0)
        sums += out.final_sums[out.terminated].sum(axis=0)
    sums += world.state.sums.sum(axis=0)  # type: ignore[attr-defined]
    return {
        "sums": {key: float(value) for key, value in zip(spec.sum_names, sums, strict=True) if value},
        "reward": grouped(rewards),
        "observation": grouped(np.float64(out.observation).sum(axis=(0, 2))),
    }


def grouped(values: Any) -> list[float]:
    """Return the values of the agents, or of many agents in groups of neighbours, lest files grow with networks."""
    return [float(group.sum()) for group in np.array_split(values, min(len(values), MAX_GROUPS))]


def test_every_scenario_has_a_golden_file():
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_trajectory_is_what_it_was(name):
    saved, now = json.loads((FOLDER / f"{name}.json").read_text()), figures(name)
    assert now["sums"].keys() == saved["sums"].keys()
    for key, value in saved["sums"].items():
        is_count = float(value).is_integer()
        assert now["sums"][key] == (value if is_count else pytest.approx(value, rel=1e-9)), key
    np.testing.assert_allclose(now["reward"], saved["reward"], rtol=1e-5, atol=1e-5)  # float32
    np.testing.assert_allclose(now["observation"], saved["observation"], rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    for scenario in SCENARIOS:
        (FOLDER / f"{scenario}.json").write_text(json.dumps(figures(scenario), indent=1) + "\n")
