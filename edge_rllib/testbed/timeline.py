"""The picture of a run: what each device and server did when."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from edge_rllib.testbed.meter import TaskRecord
from edge_rllib.testbed.params import BedScenario

# Okabe and Ito's palette
COLOURS = {"on the device": "#0072B2", "upload": "#E69F00", "on a server": "#009E73"}
LATE_COLOUR = "#D55E00"
_ROW_IN, _WIDTH_IN = 0.42, 9.0
_LEAST_WIDTH_PT = 0.7  # so that what is short is seen in a long run


def draw(scenario: BedScenario, tasks: Sequence[TaskRecord], about: str) -> Figure:
    """Draw a row for each device, with work, uploads and late tasks, and a row for each server."""
    n_rows = scenario.n_devices + scenario.n_servers
    figure = Figure((_WIDTH_IN, 1.6 + _ROW_IN * n_rows), layout="constrained")
    axes = figure.subplots()
    for task in tasks:
        row = task.device
        for stage in task.stages:
            span = [(stage.start_s, stage.end_s - stage.start_s)]
            if stage.place == "device":
                axes.broken_barh(span, (row - 0.05, 0.4), color=COLOURS["on the device"], linewidth=_LEAST_WIDTH_PT)
            else:
                place = scenario.n_devices + task.target - 1
                # The tasks of a server overlap where it has several lanes.
                axes.broken_barh(span, (place - 0.4, 0.8), color=COLOURS["on a server"], linewidth=0, alpha=0.5)
        if task.upload_start_s is not None and task.upload_end_s is not None:
            span = [(task.upload_start_s, task.upload_end_s - task.upload_start_s)]
            axes.broken_barh(span, (row - 0.4, 0.3), color=COLOURS["upload"], linewidth=_LEAST_WIDTH_PT)
        if task.is_late and task.result_s is not None:
            axes.plot(task.result_s, row, marker="x", color=LATE_COLOUR, markersize=6)
    names = [f"device {n}" for n in range(scenario.n_devices)] + [f"server {m}" for m in range(scenario.n_servers)]
    axes.set_yticks(range(n_rows), names)
    axes.invert_yaxis()
    axes.set_xlabel("time [s of the scenario]")
    axes.grid(axis="x", alpha=0.3)
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    handles.append(Patch(color=LATE_COLOUR, label="x: end of a late task"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8, frameon=False)
    figure.supxlabel(about, fontsize=8)
    return figure
