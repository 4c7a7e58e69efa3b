"""A Ray node dies during training: the run goes on with the others, takes a new node in, and finishes.

The cluster lives in a process of its own, as a process can be connected to one Ray only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

LIMIT_S = 240.0
N_WORLDS, FRAGMENT_STEPS, N_ITERATIONS = 8, 20, 250
KILL_AT, ADD_AFTER = 5, 5  # iterations
RUN = {
    "scenario": "fog_ring_8",
    "scenario.params.horizon_slots": 20,
    "scenario.workload.tasks_per_s": 12.0,
    "algorithm.fragment_steps": FRAGMENT_STEPS,
    "n_env_runners": 2,
    "n_worlds": N_WORLDS,
    "total_env_steps": 2 * N_WORLDS * FRAGMENT_STEPS * N_ITERATIONS,
    "evaluation.worlds": 3,
    "evaluation.every_iterations": 0,
    "evaluation.rules": ["local"],
}


@pytest.mark.slow
def test_run_outlives_a_killed_node_and_takes_a_new_one_in(tmp_path: Path) -> None:
    folder = tmp_path / "result"

    done = subprocess.run(
        [sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    healthy = [int(row["faults/healthy_workers"]) for row in rows]
    killed = json.loads((folder / "killed.json").read_text())["iteration"]
    assert healthy[0] == 2
    assert 1 in healthy[killed:]  # the death was seen
    assert healthy[-1] == 2  # and mended: the env runner was started again on the new node
    assert rows[-1]["faults/remote_worker_restarts"] >= 1
    assert rows[-1]["env_steps"] >= RUN["total_env_steps"]
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    assert set(json.loads((folder / "comparison.json").read_text())["policies"]) == {"learned", "local", "random"}


def play(folder: Path) -> None:
    """Train on a head without slots and two nodes with one each; kill a node, later add one."""
    import ray
    from ray.cluster_utils import Cluster

    from edge_rllib.config.load import load_run
    from edge_rllib.experiment.run import train

    store = {"object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **store})
    victim, _ = (cluster.add_node(num_cpus=1, **store) for _ in range(2))
    try:
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        training = threading.Thread(target=train, args=(load_run("quickstart", RUN), folder), daemon=True)
        training.start()
        disturb(cluster, victim, folder, store)  # starting a node sets signal handlers, so this is the main thread
        training.join(LIMIT_S)
        ray.shutdown()
    finally:
        cluster.shutdown()


def disturb(cluster: Any, victim: Any, folder: Path, store: dict[str, int]) -> None:
    """Kill a node at one iteration and add another at a later one."""
    wait_for(folder, KILL_AT)
    (folder / "killed.json").write_text(json.dumps({"iteration": iterations(folder)}))
    cluster.remove_node(victim, allow_graceful=False)
    wait_for(folder, iterations(folder) + ADD_AFTER)
    cluster.add_node(num_cpus=1, **store)


def wait_for(folder: Path, iteration: int) -> None:
    while iterations(folder) < iteration:
        time.sleep(0.01)


def iterations(folder: Path) -> int:
    path = folder / "progress.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


if __name__ == "__main__":
    play(Path(sys.argv[1]))
