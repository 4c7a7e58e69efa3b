"""Question: does a policy that was trained at one load keep its lead over the rules at loads that it never saw?

Command: python experiments/01_other_loads.py results/quickstart-YYYYMMDD-HHMMSS
Cost: a minute on two cores, after `make train`.
Expected picture: the policy leads the best rule at every load, by more where there is more to wait for; the order of
policies does not change. Written beside the result, as experiments/01_other_loads.png and .json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from edge_rllib.config.load import load_run, load_scenario
from edge_rllib.experiment.evaluation import checkpoint_named, evaluate
from edge_rllib.results.files import CONFIG, result_folder
from edge_rllib.results.plots import colour

LOADS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)  # tasks/s of each device
FIGURES = {"response_time_s_mean": "mean response time [s]", "in_time_frac": "share of tasks finished in time"}
RULES = ("least_response_time", "power_of_two", "local")


def measure(folder: Path, n_worlds: int) -> dict[float, dict[str, Any]]:
    """Return the comparison at each load."""
    run = load_run(str(folder / CONFIG))
    checkpoint = checkpoint_named(folder, None)
    found = {}
    for load in LOADS:
        scenario = load_scenario(run.scenario.name, [f"workload.tasks_per_s={load}"])
        with tempfile.TemporaryDirectory() as scratch:
            target = Path(scratch) / "evaluation"
            found[load] = evaluate(run, target, checkpoint, scenario=scenario, n_worlds=n_worlds, note=print)
    return found


def draw(found: dict[float, dict[str, Any]], n_worlds: int, path: Path) -> None:
    """Draw each figure over the load, with 95 % intervals over worlds."""
    chart, axes = plt.subplots(1, len(FIGURES), figsize=(10, 4), layout="constrained")
    for axis, (figure, label) in zip(axes, FIGURES.items(), strict=True):
        for policy in ("learned", *RULES):
            cells = [found[load]["policies"][policy]["figures"][figure] for load in LOADS]
            axis.plot(LOADS, [cell["value"] for cell in cells], "o-", color=colour(policy), label=policy)
            low, high = ([cell[end] for cell in cells] for end in ("low", "high"))
            axis.fill_between(LOADS, low, high, color=colour(policy), alpha=0.2)
        axis.set_xlabel("tasks/s of each device (trained at 2)")
        axis.set_ylabel(label)
    axes[0].set_ylim(bottom=0.0)
    axes[1].legend()
    chart.supxlabel(f"{n_worlds} held-out worlds, 95 % bootstrap over worlds, one training seed", fontsize=8)
    chart.savefig(path, dpi=120)


def main() -> None:
    """Measure, save, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, help="folder of a trained run")
    parser.add_argument("--worlds", type=int, default=32, help="held-out worlds at each load")
    arguments = parser.parse_args()
    folder = result_folder(arguments.result)
    found = measure(folder, arguments.worlds)
    target = folder / "experiments"
    target.mkdir(exist_ok=True)
    (target / "01_other_loads.json").write_text(json.dumps(found, indent=1))
    draw(found, arguments.worlds, target / "01_other_loads.png")
    print(f"written: {target / '01_other_loads.png'}")


if __name__ == "__main__":
    main()
