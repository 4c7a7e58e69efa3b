"""PeersimGym's published semantics reproduced: 14 figures of 10 cells, scenario by policy, against its own episodes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.reference.peersim_play import play_reference
from envs.arrays import F8
from envs.scenario import Scenario

N_WORLDS = 200
N_THEIRS = 20
REFERENCE = json.loads((Path(__file__).parent / "peersim.json").read_text(encoding="utf-8"))["results"]
CELLS = [(name, policy) for name, cell in REFERENCE.items() for policy in cell]

TWO_TIERS: dict[str, Any] = {
    "positions_m": [[0, 0], [40, 0], [10, 30], [30, 30]],
    "links": [[0, 2], [0, 3], [1, 2], [1, 3]],
    "n_nodes": {"edge": (2, 1e7), "server": (2, 3e7)},
    "rate": 0.4,
    "work": 3e7,
}
# Sizes in MB; agents: names, none for all.
SETTINGS: dict[str, dict[str, Any]] = {
    "R1": {"positions_m": [[0, 0]], "links": [], "n_nodes": {"edge": (1, 1e7)}, "rate": 0.25, "work": 3e7, "size": 1},
    "R2": {**TWO_TIERS, "size": 1, "agents": ["edge_0", "edge_1"]},
    "R3": {**TWO_TIERS, "size": 20},
    "R5": {
        "positions_m": [[0, 0], [40, 0], [50, 35], [20, 60], [-10, 35]],
        "links": [[a, b] for a in range(5) for b in range(a + 1, 5)],
        "n_nodes": {"edge": (5, 1e7)},
        "rate": 0.08,
        "work": 2e7,
        "size": 1,
    },
}


def scenario_of(name: str, **switches: Any) -> Scenario:
    """Return a scenario of the reference under PeersimGym's semantics."""
    settings = SETTINGS[name]
    common = {
        "n_cores": 1,
        "core_hz_spread": 0.0,
        "queue_places": 10,
        "reaches_cloud": False,
        "idle_w": 0.0,
        "busy_w": 0.0,
        "transmit_w": 0.0,
        "queue_bits": float("inf"),
    }
    layers = [
        {
            "name": layer,
            "n_nodes": n_nodes,
            "core_hz": core_hz,
            "tier": "device" if layer == "edge" else "edge",
            "has_clients": layer == "edge",
            "takes_tasks": layer == "edge",
            **common,
        }
        for layer, (n_nodes, core_hz) in settings["n_nodes"].items()
    ]
    topology = {
        "name": "layered",
        "layers": layers,
        "cloud": None,
        "positions_m": settings["positions_m"],
        "links": settings["links"],
        "bandwidth_hz": 2e6,
        "extra_delay_s": [0.0, 0.0],
    }
    size_bits = settings["size"] * 8e6
    task_type = {
        "name": "task",
        "share": 1.0,
        "size_bits": size_bits,
        "result_bits": size_bits,
        "work_cycles": settings["work"],
        "deadline_low_s": 10_000.0,
        "deadline_high_s": 19_999.0,
        "priority": 0,
    }
    workload = {
        "name": "task_types",
        "types": [task_type],
        "schedules": [{"node_type": "", "pieces": [[500.0, settings["rate"]]]}],
        "pattern": None,
    }
    params = {
        "name": "fog",
        "semantics": "peersim",
        "slot_s": 1.0,
        "horizon_slots": 500,
        "agents": "all",
        "agent_nodes": settings.get("agents", []),
        "peersim": switches,
    }
    kinds = {"topology": topology, "workload": workload, "world_params": params}
    parts = {kind: load_part(kind, values, Source(None)) for kind, values in kinds.items()}
    return Scenario(name, "fog", parts["topology"], 0, parts["workload"], parts["world_params"])


@cache
def ours(name: str, policy: str, switches: tuple[tuple[str, Any], ...] = ()) -> dict[str, F8]:
    return play_reference(scenario_of(name, **dict(switches)), policy, N_WORLDS, seed=0)


def distances(name: str, policy: str, switches: tuple[tuple[str, Any], ...] = ()) -> dict[str, float]:
    """Return (ours - theirs) in standard errors of the difference, by figure.

    Where their 20 episodes agree to the last digit, their standard error is taken to be that of 20 of ours: a figure
    that is rarely other than 0 may be 0 in all of them.
    """
    found = {}
    for figure, (mean, error) in REFERENCE[name][policy].items():
        values = ours(name, policy, switches)[figure]
        assert values.shape == (N_WORLDS,)
        sd = values.std(ddof=1)
        width = np.hypot(sd / np.sqrt(N_WORLDS), error or sd / np.sqrt(N_THEIRS))
        difference = values.mean() - mean
        found[figure] = float(difference / width) if width > 0.0 else (0.0 if difference == 0.0 else np.inf)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "policy"), CELLS)
def test_figures_are_those_of_peersimgym(name, policy):
    found = distances(name, policy)
    assert len(found) == 15
    assert {figure: z for figure, z in found.items() if not abs(z) < 3.0} == {}


@pytest.mark.slow
def test_all_cells_together_are_as_near_as_chance_allows():
    z = np.array([value for cell in CELLS for value in distances(*cell).values()])
    assert len(CELLS) == 10
    assert len(z) == 150
    # Of 150 correlated normal numbers a few are beyond 2; figures that are 0 on both sides count as 0.
    assert (np.abs(z) > 2.0).mean() < 0.05
    assert np.sqrt(np.mean(z**2)) < 1.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "policy", "switch", "figures"),
    [
        ("R2", "local", ("queue_order", "fifo"), {"mean_response_time"}),
        ("R2", "local", ("arrivals", "exact"), {"created", "worker_dropped_on_arrival"}),
        ("R5", "leastqueue", ("broadcast", "every_slot"), {"offloaded_from"}),
        ("R5", "leastqueue", ("counts_unserialised_twice", False), {"offloaded_from"}),
        ("R5", "local", ("client_targets", "own"), {"created"}),
        ("R5", "leastqueue", ("event_order", "fixed"), {"offloaded_from", "mean_response_time"}),
        ("R5", "leastqueue", ("offloads", "all"), {"offloaded_from"}),
        ("R2", "leastqueue", ("min_delay_slots", 0), {"mean_response_time"}),
        ("R3", "leastqueue", ("noise_bandwidth", "channel"), {"mean_response_time"}),
        ("R5", "random", ("self_hop", False), {"mean_response_time", "results"}),
        ("R2", "random", ("serialisation", "at_once"), {"mean_response_time"}),
    ],
)
def test_each_peculiarity_shows_in_the_reference(name, policy, switch, figures):
    """Under the correct choice of one switch the reference is missed by more than five standard errors."""
    found = distances(name, policy, (switch,))
    assert {figure for figure in figures if abs(found[figure]) < 5.0} == set()
